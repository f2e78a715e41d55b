"""The stages of a compiled program: static data, and what each does to a state.

A state is complex `[2**n, batch]`, batch last: neighbouring examples are neighbours in memory, so that every
operation below is a plain loop over them. The batch axis has length 1 until a stage depends on the inputs. A barrier
follows what is computed once and used often: without it XLA computes sines and cosines again for every amplitude.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.circuit import Operation
from qjax.quantum.matrices import block_matrix, column_of_run, diagonal
from qjax.quantum.values import Values
from qjax.types import Array

# A permutation of more qubits is done gate by gate: its table of 2**n row numbers would be a constant of the program.
MAX_TABLE_QUBITS = 20

Arrays = TypeVar("Arrays", Array, list[Array])


@runtime_checkable
class Stage(Protocol):
    """One step of a program."""

    def apply(self, state: Array, values: Values) -> Array:
        """Returns the state `[2**n, batch]` after this stage."""


@dataclass(frozen=True)
class ProductState:
    """Single-qubit gates on |0>, one run of them a qubit: one outer product instead of any gate."""

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
    """Gates on one or two qubits, multiplied together first: one pass over the state."""

    qubits: tuple[int, ...]
    operations: tuple[Operation, ...]

    def apply(self, state: Array, values: Values) -> Array:
        """See `Stage.apply`."""
        matrix = block_matrix(self.operations, self.qubits, values)
        return barrier(apply_matrix(state, matrix, self.qubits))

    def __str__(self) -> str:
        return f"dense on {self.qubits}: {_show(self.operations)}"


@dataclass(frozen=True)
class Phase:
    """Diagonal gates: one elementwise multiplication, by a vector that has no batch where no angle has."""

    operations: tuple[Operation, ...]

    def apply(self, state: Array, values: Values) -> Array:
        """See `Stage.apply`."""
        n = _num_qubits(state)
        phases: dict[bool, Array] = {}
        for op in self.operations:
            factor = diagonal(op, values)
            batched = factor.shape[-1] > 1
            start = phases.get(batched, jnp.ones((1, 1), values.complex_dtype))
            phases[batched] = _multiply_diagonal(start, factor, op.qubits, n)
        for batched in sorted(phases):
            state = state * barrier(phases[batched])
        return barrier(state)

    def __str__(self) -> str:
        return f"phase: {_show(self.operations)}"


@dataclass(frozen=True)
class Permutation:
    """Gates that permute the basis states: one static gather."""

    operations: tuple[Operation, ...]

    def apply(self, state: Array, values: Values) -> Array:
        """See `Stage.apply`."""
        n = _num_qubits(state)
        if n > MAX_TABLE_QUBITS:
            for op in self.operations:
                state = apply_matrix(state, op.gate.matrix(), op.qubits)
            return barrier(state)
        source = np.arange(2**n, dtype=np.int32)
        for op in self.operations:
            source = source[_source_rows(op, n)]
        return barrier(jnp.take(state, source, axis=0, unique_indices=True, mode="clip"))

    def __str__(self) -> str:
        return f"permutation: {_show(self.operations)}"


@dataclass(frozen=True)
class Loop:
    """A repeated body as `lax.scan`: compile time does not grow with the number of repetitions."""

    body: tuple[Stage, ...]
    reps: int
    reverse: bool
    names: tuple[str, ...]
    num_inputs: int

    def apply(self, state: Array, values: Values) -> Array:
        """See `Stage.apply`."""
        batch = max(state.shape[1], values.batch if self.num_inputs else 1)
        state = jnp.broadcast_to(state, (state.shape[0], batch))

        def step(carry: Array, params: dict[str, Array]) -> tuple[Array, None]:
            inner = Values(params, values.inputs, values.dtype)
            for stage in self.body:
                carry = stage.apply(carry, inner)
            return carry, None

        slices = values.slices(self.names)
        return lax.scan(step, state, slices, length=self.reps, reverse=self.reverse)[0]

    def __str__(self) -> str:
        inner = "".join(f"\n    {stage}" for stage in self.body)
        return f"repeat {self.reps} times{' in reverse' if self.reverse else ''}:{inner}"


def apply_matrix(state: Array, matrix: Any, qubits: Sequence[int]) -> Array:
    """Applies a matrix to some qubits by sliced multiply-adds.

    Args:
      state: `[2**n, batch]`.
      matrix: `[d, d, 1]` or `[d, d, batch]`, or a NumPy constant `[d, d]`, whose zeros cost nothing; d = 2**k.
      qubits: k of them; the first is the most significant bit of the matrix.
    """
    n, order = _num_qubits(state), sorted(range(len(qubits)), key=lambda i: qubits[i])
    axes = [0] * len(qubits)
    shape: list[int] = []
    previous = -1
    for i in order:  # [2**gap, 2, 2**gap, 2, ..., 2**gap, batch]: one axis of 2 for each qubit
        shape += [2 ** (qubits[i] - previous - 1), 2]
        axes[i], previous = len(shape) - 1, qubits[i]
    shape += [2 ** (n - previous - 1), state.shape[1]]
    pieces = [state.reshape(shape)]
    for axis in axes:
        pieces = [half for piece in pieces for half in lax.split(piece, (1, 1), axis=axis)]
    rows = _multiply_add(matrix, pieces)
    for axis in reversed(axes):
        rows = [lax.concatenate(rows[i : i + 2], axis) for i in range(0, len(rows), 2)]
    return rows[0].reshape(state.shape[0], -1)


def _multiply_add(matrix: Any, pieces: list[Array]) -> list[Array]:
    """Returns row r = sum over c of matrix[r, c] * pieces[c], for every r."""
    dim, rank = len(pieces), pieces[0].ndim
    if isinstance(matrix, np.ndarray):
        return [_constant_row(matrix[r], pieces) for r in range(dim)]
    flat = lax.split(barrier(matrix.reshape(dim * dim, -1)), [1] * (dim * dim), axis=0)
    entries = [entry.reshape((1,) * (rank - 1) + (-1,)) for entry in flat]
    rows = []
    for r in range(dim):
        row = entries[r * dim] * pieces[0]
        for c in range(1, dim):
            row = row + entries[r * dim + c] * pieces[c]
        rows.append(row)
    return rows


def _constant_row(weights: np.ndarray, pieces: list[Array]) -> Array:
    """Sum of constant weights times pieces, zeros left out; a unitary has no row of zeros."""
    total = None
    for weight, piece in zip(weights, pieces, strict=True):
        if weight == 0:
            continue
        scaled = piece if weight == 1 else piece * np.asarray(weight, piece.dtype).reshape((1,) * piece.ndim)
        total = scaled if total is None else total + scaled
    assert total is not None
    return total


def _multiply_diagonal(vector: Array, factor: Array, qubits: Sequence[int], n: int) -> Array:
    """Multiplies the diagonal `[2**n or 1, b]` by that of a gate, `[2**k, b]`, on `qubits`."""
    order = sorted(range(len(qubits)), key=lambda i: qubits[i])
    batch = factor.shape[-1]
    factor = factor.reshape((2,) * len(qubits) + (batch,)).transpose((*order, len(qubits)))
    shape: list[int] = []
    ones: list[int] = []
    previous = -1
    for i in order:
        gap = 2 ** (qubits[i] - previous - 1)
        shape, ones, previous = [*shape, gap, 2], [*ones, 1, 2], qubits[i]
    shape, ones = [*shape, 2 ** (n - previous - 1)], [*ones, 1]
    if vector.shape[0] == 1:
        vector = jnp.broadcast_to(vector, (2**n, vector.shape[1]))
    product = vector.reshape((*shape, vector.shape[1])) * factor.reshape((*ones, batch))
    return product.reshape(2**n, -1)


def _source_rows(op: Operation, n: int) -> np.ndarray:
    """Returns for each row of the state after `op` the row that it comes from."""
    local_source = np.argmax(op.gate.matrix().real, axis=1)
    rows = np.arange(2**n, dtype=np.int32)
    shifts = [n - 1 - q for q in op.qubits]
    local = np.zeros_like(rows)
    for shift in shifts:
        local = (local << 1) | ((rows >> shift) & 1)
    moved = local_source[local].astype(np.int32)
    for shift in reversed(shifts):
        rows = (rows & ~np.int32(1 << shift)) | ((moved & 1) << shift)
        moved = moved >> 1
    return rows


def _num_qubits(state: Array) -> int:
    return int(state.shape[0]).bit_length() - 1


def barrier(arrays: Arrays) -> Arrays:
    """Returns the arrays; XLA computes them once, before anything that uses them."""
    return cast(Arrays, lax.optimization_barrier(arrays))  # type: ignore[no-untyped-call]


def _show(operations: Sequence[Operation]) -> str:
    return ", ".join(map(repr, operations))
