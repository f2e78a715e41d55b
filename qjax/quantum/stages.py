"""The stages of a compiled program: static data, and what each does to a state.

A state is complex `[2**n, batch]`, batch last: neighbouring examples are neighbours in memory, so that every
operation below is a plain loop over them. The batch axis has length 1 until a stage depends on the inputs. A barrier
follows what is computed once and used often: without it XLA computes sines and cosines again for every amplitude.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.apply import (
    apply_matrix,
    apply_operation,
    barrier,
    num_qubits_of,
    source_rows,
)
from qjax.quantum.matrices import block_matrix, column_of_run
from qjax.quantum.operation import Operation
from qjax.quantum.values import Values
from qjax.types import Array

# A permutation of more qubits is done gate by gate: its table of 2**n row numbers would be a constant of the program.
MAX_TABLE_QUBITS = 20


@runtime_checkable
class Stage(Protocol):
    """One step of a program."""

    def apply(self, state: Array, values: Values) -> Array:
        """Returns the state `[2**n, batch]` after this stage."""


@dataclass(frozen=True)
class ProductState:
    """Operations on single qubits in |0>, one run of them a qubit: one outer product instead of any gate."""

    runs: tuple[tuple[Operation, ...], ...]

    def prepare(self, values: Values) -> Array:
        """Returns the state `[2**n, batch]`."""
        columns = barrier([column_of_run(run, values) for run in self.runs])
        state = columns[0]
        for column in columns[1:]:
            product = state[:, None, :] * column[None, :, :]
            state = product.reshape(-1, product.shape[-1])
        return barrier(state)

    def __str__(self) -> str:
        return "product state: " + ", ".join(_show(run) if run else f"|0> {q}" for q, run in enumerate(self.runs))


@dataclass(frozen=True)
class Dense:
    """Operations on one or two qubits, multiplied together first: one pass over the state."""

    qubits: tuple[int, ...]
    operations: tuple[Operation, ...]

    def apply(self, state: Array, values: Values) -> Array:
        """See `Stage.apply`."""
        matrix = block_matrix(self.operations, self.qubits, values)
        return barrier(apply_matrix(state, matrix, self.qubits))

    def __str__(self) -> str:
        return f"dense on {self.qubits}: {_show(self.operations)}"


@dataclass(frozen=True)
class Single:
    """One operation that is too wide for a dense block: a gate on many qubits, or one under controls."""

    operation: Operation

    def apply(self, state: Array, values: Values) -> Array:
        """See `Stage.apply`."""
        return barrier(apply_operation(state, self.operation, values))

    def __str__(self) -> str:
        return f"single: {self.operation}"


@dataclass(frozen=True)
class Phase:
    """Diagonal operations: one elementwise multiplication, by a vector that has no batch where no angle has."""

    operations: tuple[Operation, ...]

    def apply(self, state: Array, values: Values) -> Array:
        """See `Stage.apply`."""
        n = num_qubits_of(state)
        phases: dict[bool, Array] = {}
        for op in self.operations:
            batched = any(values.angle(angle).shape[0] > 1 for angle in op.angles)
            start = phases.get(batched)
            if start is None:
                start = jnp.ones((2**n, values.batch if batched else 1), values.complex_dtype)
            phases[batched] = apply_operation(start, op, values)
        for batched in sorted(phases):
            state = state * barrier(phases[batched])
        return barrier(state)

    def __str__(self) -> str:
        return f"phase: {_show(self.operations)}"


@dataclass(frozen=True)
class Permutation:
    """Operations that permute the basis states: one static gather."""

    operations: tuple[Operation, ...]

    def apply(self, state: Array, values: Values) -> Array:
        """See `Stage.apply`."""
        n = num_qubits_of(state)
        if n > MAX_TABLE_QUBITS:
            for op in self.operations:
                state = apply_operation(state, op, values)
            return barrier(state)
        source = np.arange(2**n, dtype=np.int32)
        for op in self.operations:
            source = source[source_rows(op, n)]
        return barrier(jnp.take(state, source, axis=0, unique_indices=True, mode="clip"))

    def __str__(self) -> str:
        return f"permutation: {_show(self.operations)}"


@dataclass(frozen=True)
class Loop:
    """A repeated body as `lax.scan`: compile time does not grow with the number of repetitions.

    Attributes:
      body: its stages.
      reps: repetitions.
      reverse: whether the last slice of the parameters comes first.
      names: parameters of which each repetition has a slice; the others are shared by all.
      num_inputs: of the body.
    """

    body: tuple[Stage, ...]
    reps: int
    reverse: bool
    names: tuple[str, ...]
    num_inputs: int

    def apply(self, state: Array, values: Values) -> Array:
        """See `Stage.apply`."""
        batch = max(state.shape[1], values.batch if self.num_inputs else 1)
        state = jnp.broadcast_to(state, (state.shape[0], batch))

        def step(carry: Array, slices: dict[str, Array]) -> tuple[Array, None]:
            inner = values.inside_loop(slices)
            for stage in self.body:
                carry = stage.apply(carry, inner)
            return carry, None

        slices = values.slices(self.names)
        return lax.scan(step, state, slices, length=self.reps, reverse=self.reverse)[0]

    def __str__(self) -> str:
        inner = "".join(f"\n    {line}" for stage in self.body for line in str(stage).splitlines())
        return f"repeat {self.reps} times{' in reverse' if self.reverse else ''}:{inner}"


def _show(operations: Sequence[Operation]) -> str:
    return ", ".join(map(repr, operations))
