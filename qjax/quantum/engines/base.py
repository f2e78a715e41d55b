"""What every engine is: it takes a task or says why not, runs it forwards and back, and tells what that costs.

A task is all that the choice of an engine, and what it compiles, may depend on. `choose.py` chooses the engine,
`simulation.py` runs it under the transformations of JAX.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.engines.readouts import Readout
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.batch import with_batch
from qjax.types import Array


@dataclass(frozen=True)
class Task:
    """A circuit to run, what is read from its final state, and the kind of its operands.

    The operands are the parameters in the order of `circuit.parameter_shapes`, each `[*shape, 1 or batch]`, in
    radians; the inputs `[num_inputs, 1 or batch]`; and, where the first state is given, its real part and, where it
    is complex, its imaginary part, `[2**n, 1 or batch]`.

    Attributes:
      circuit: what to run.
      readout: what is read from the final state.
      given: arrays of the first state: 0 where the run starts from |0...0>, 1 where it is real, 2 where complex.
      batched: names of the parameters that differ between examples, and 'inputs' where these do.
      batch: number of examples.
      dtype: real dtype of the operands.
      platform: where it runs, as JAX names it when lowering: 'cpu', 'cuda', 'tpu', ...
    """

    circuit: Circuit
    readout: Readout
    given: int
    batched: frozenset[str]
    batch: int
    dtype: np.dtype[Any]
    platform: str

    @property
    def num_qubits(self) -> int:
        """The number of qubits, n."""
        return self.circuit.num_qubits

    def values(self, operands: Sequence[Array]) -> Values:
        """Returns the values of the circuit's angles."""
        names = tuple(self.circuit.parameter_shapes)
        params = dict(zip(names, operands[: len(names)], strict=True))
        return Values(params, operands[len(names)], operands[len(names)].dtype)

    def first_state(self, operands: Sequence[Array]) -> tuple[Array, ...]:
        """Returns the arrays of the given first state; none where the run starts from |0...0>."""
        return tuple(operands[len(operands) - self.given :]) if self.given else ()

    def widened(self, operands: Sequence[Array]) -> "tuple[Task, tuple[Array, ...]]":
        """Returns the task with operands `[..., batch]` for each example, and these."""
        names = (*self.circuit.parameter_shapes, "inputs")
        batched = frozenset(names) if self.batch > 1 else self.batched
        return replace(self, batched=batched), tuple(with_batch(x, self.batch) for x in operands)


@dataclass(frozen=True)
class Work:
    """An amount of work, counted by a model, not measured.

    Attributes:
      passes: reads and writes of all states in the memory, in pairs; half a pass reads or writes.
      num_bytes: bytes read and written.
      flops: floating-point operations; a sine or a cosine is one.
    """

    passes: float | int = 0
    num_bytes: int = 0
    flops: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.passes + other.passes, self.num_bytes + other.num_bytes, self.flops + other.flops)

    def times(self, count: int) -> "Work":
        """Returns the work of doing it `count` times."""
        return Work(self.passes * count, self.num_bytes * count, self.flops * count)


@dataclass(frozen=True)
class Description:
    """What an engine does for a task.

    Attributes:
      stages: what is done to the states, in plain words, in order.
      forward: the work of a run.
      reverse: the work of the reverse pass, that of the run before it left out.
    """

    stages: tuple[str, ...]
    forward: Work
    reverse: Work


class Engine(ABC):
    """Runs tasks. Engines have no state: what they make for a task is cached by its circuit."""

    name: str

    @abstractmethod
    def refusal(self, task: Task) -> str:
        """Returns why it does not take the task, in words for `explain`; '' where it does."""

    @abstractmethod
    def bytes_held(self, task: Task, gradient: bool) -> int:
        """Returns an estimate of the most bytes that a run holds at once, with its reverse pass where `gradient`."""

    @abstractmethod
    def describe(self, task: Task) -> Description:
        """Returns what it does, for `explain`."""

    @abstractmethod
    def rows_saved(self, task: Task) -> int:
        """Returns how many real numbers of each example a run saves for the reverse pass."""

    @abstractmethod
    def forward(self, task: Task, operands: Sequence[Array], rows: int) -> tuple[tuple[Array, ...], Array]:
        """Returns what is read, each `[..., batch]`, and what is saved, `[rows, batch]`.

        Args:
          task: that the engine does not refuse.
          operands: see `Task`.
          rows: `rows_saved`, or 0 where nothing is wanted.
        """

    @abstractmethod
    def backward(
        self,
        task: Task,
        operands: Sequence[Array],
        saved: Array,
        cotangents: Sequence[Array],
        per_example: bool,
    ) -> tuple[Array, ...]:
        """Returns the cotangent of each operand: of its shape, or `[..., batch]` with `per_example`.

        Args:
          task: that the engine does not refuse.
          operands: see `Task`.
          saved: what `forward` saved, `[rows, batch]`; `[0, batch]` where it saved nothing, or another engine did.
          cotangents: of what is read, each `[..., batch]`.
          per_example: whether the cotangents of shared operands are wanted for each example, in place of their sum.
        """


def platform_here() -> str:
    """Returns the platform on which JAX runs unless told otherwise, as it names it when lowering."""
    backend = str(jax.default_backend())
    return "cuda" if backend == "gpu" else backend


def nothing_saved(batch: int, dtype: Any) -> Array:
    """Returns what is saved by a run that saves nothing, `[0, batch]`."""
    return jnp.zeros((0, batch), dtype)
