"""The stages of a compiled program, as static data: what runs of gates amount to.

`engines/xla/stage_steps.py` says what each does to a state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qjax.quantum.circuits.operation import Operation


@dataclass(frozen=True)
class ProductState:
    """Operations on single qubits in |0>, one run of them a qubit: one outer product instead of any gate."""

    runs: tuple[tuple[Operation, ...], ...]

    @property
    def is_real(self) -> bool:
        """Whether the state has real amplitudes."""
        return all(op.gate.is_real for run in self.runs for op in run)

    def __str__(self) -> str:
        return "product state: " + ", ".join(_show(run) if run else f"|0> {q}" for q, run in enumerate(self.runs))


class UnitaryStage:
    """A stage that can be undone."""

    is_unitary = True


@dataclass(frozen=True)
class Dense(UnitaryStage):
    """Operations on few qubits, multiplied together first: one pass over the state."""

    qubits: tuple[int, ...]
    operations: tuple[Operation, ...]

    @property
    def is_real(self) -> bool:
        """Whether real amplitudes stay real."""
        return all(op.gate.is_real for op in self.operations)

    def __str__(self) -> str:
        return f"dense on {self.qubits}: {_show(self.operations)}"


@dataclass(frozen=True)
class Single(UnitaryStage):
    """One operation that is too wide for a dense block: a gate on many qubits, or one under controls."""

    operation: Operation

    @property
    def is_real(self) -> bool:
        """Whether real amplitudes stay real."""
        return self.operation.gate.is_real

    def __str__(self) -> str:
        return f"single: {self.operation}"


@dataclass(frozen=True)
class _Operations(UnitaryStage):
    operations: tuple[Operation, ...]
    title: ClassVar[str]

    def __str__(self) -> str:
        return f"{self.title}: {_show(self.operations)}"


class Phase(_Operations):
    """Diagonal operations: one elementwise multiplication, by a vector that has no batch where no angle has."""

    title, is_real = "phase", False


class Flip(_Operations):
    """Diagonal operations without angles that change signs alone, such as CZ and Z: real amplitudes stay real."""

    title, is_real = "signs", True


class Permutation(_Operations):
    """Operations that permute the basis states: one static gather."""

    title, is_real = "permutation", True


@dataclass(frozen=True)
class Reflection(UnitaryStage):
    """1 - 2 |s><s| on some qubits, s their even superposition: a Grover diffuser, up to its sign.

    Attributes:
      qubits: ascending.
    """

    qubits: tuple[int, ...]
    is_real = True

    def __str__(self) -> str:
        return f"reflection about the even superposition of {self.qubits}"


@dataclass(frozen=True)
class Loop(UnitaryStage):
    """A repeated body as `lax.scan`: compile time does not grow with the number of repetitions.

    Attributes:
      body: its stages.
      reps: repetitions.
      reverse: whether the last slice of the parameters comes first.
      names: parameters of which each repetition has a slice; the others are shared by all.
    """

    body: tuple["Stage", ...]
    reps: int
    reverse: bool
    names: tuple[str, ...]

    @property
    def is_real(self) -> bool:
        """Whether real amplitudes stay real."""
        return all(stage.is_real for stage in self.body)

    def __str__(self) -> str:
        inner = "".join(f"\n    {line}" for stage in self.body for line in str(stage).splitlines())
        return f"repeat {self.reps} times{' in reverse' if self.reverse else ''}:{inner}"


Stage = Dense | Single | Phase | Flip | Permutation | Reflection | Loop


def _show(operations: Sequence[Operation]) -> str:
    return ", ".join(map(repr, operations))
