"""The steps of a plan: what each does to a state in real arithmetic, forwards and backwards.

A step knows at compile time in which layout it finds the state and in which it leaves it. It is given the state
`[2**bits, 1 or batch]` and its tensors: small arrays `[..., 1 or batch]` that follow from parameters and inputs. Each
step is a real isometry, so that `undo`, its transpose, takes back the state as well as a cotangent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.circuits.operation import Operation
from qjax.quantum.engines.xla.phase_table import PhaseTable
from qjax.quantum.engines.xla.planes import (
    HIGHEST,
    Layout,
    gather_bits,
    join_planes,
    matrix_cotangent,
    move,
    multiply,
    real_matrix,
    scatter_bits,
    split_planes,
    transpose,
)
from qjax.quantum.engines.xla.trigonometry import cos_sin
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.apply import apply_operation
from qjax.quantum.states.barriers import barrier, stored
from qjax.quantum.states.batch import with_batch
from qjax.quantum.states.matrices import constant_phases
from qjax.quantum.states.row_numbers import source_rows
from qjax.types import Array

Tensors = tuple[Any, ...]

# A permutation of more qubits is done gate by gate: its table of row numbers would be a constant of the program, and
# slow to read.
MAX_TABLE_QUBITS = 16
# Amplitudes whose sign is changed one by one; more of them by a table of signs.
MAX_FLIPPED_ROWS = 8


@runtime_checkable
class Step(Protocol):
    """One step of a plan."""

    @property
    def before(self) -> Layout:
        """Layout in which it finds the state."""

    @property
    def after(self) -> Layout:
        """Layout in which it leaves the state."""

    def apply(self, state: Array, tensors: Tensors) -> Array:
        """Returns the state after the step."""

    def undo(self, state: Array, tensors: Tensors) -> Array:
        """Returns the state before it, or the cotangent of the state before it."""

    def cotangents(self, after: Array, cotangent: Array, tensors: Tensors, per_example: bool) -> Tensors:
        """Returns the cotangent of each tensor, from state and cotangent after the step.

        With `per_example` each is `[..., batch]`, also where the tensor is shared.
        """


@dataclass(frozen=True, eq=False)
class MatrixStep:
    """A real matrix on some bits; tensors: that matrix, none where it is constant.

    Attributes:
      before: layout in which it finds the state.
      after: layout in which it leaves it.
      qubits: those of the block, ascending where they are neighbours.
      constant: the block's unitary where no angle is in it.
      takes_plane: whether bit c takes part.
    """

    before: Layout
    after: Layout
    qubits: tuple[int, ...]
    constant: np.ndarray | None
    takes_plane: bool

    @property
    def is_window(self) -> bool:
        """Whether the block is on neighbouring qubits in order."""
        return self.qubits == tuple(range(self.qubits[0], self.qubits[0] + len(self.qubits)))

    @property
    def first_bit(self) -> int:
        """The first of the bits that the matrix acts on; 0 where they are brought to the front."""
        if not self.is_window:
            return 0
        place = self.before.place if self.before.place is not None else self.after.place
        inside = self.takes_plane or place is None or place > self.qubits[0]
        return self.qubits[0] + (0 if inside else 1)

    def prepare(self, unitary: Any) -> Any:
        """Returns the real matrix of the block's unitary, `[d, d, 1 or batch]` or a constant `[d, d]`."""
        if not self.takes_plane:
            return real_matrix(unitary, self.qubits[0], None, None)
        if not self.is_window:
            return real_matrix(unitary, 0, 0, 0)
        return real_matrix(unitary, self.qubits[0], self.before.place, self.after.place)

    def matrix(self, tensors: Tensors) -> Any:
        """Returns the real matrix, `[rows, columns, 1 or batch]` or a constant `[rows, columns]`."""
        return self.prepare(self.constant) if self.constant is not None else tensors[0]

    def _bits(self) -> list[int]:
        assert self.before == self.after, "blocks on scattered qubits leave bit c where it is"
        own = [self.before.bit(q) for q in self.qubits]
        return [cast(int, self.before.place), *own] if self.takes_plane else own

    def _through_front(self, state: Array, matrix: Any) -> Array:
        batch = max(state.shape[1], matrix.shape[2] if matrix.ndim == 3 else 1)
        front, shape, order = gather_bits(state, self._bits())
        done = multiply(front.reshape(-1, state.shape[1]), matrix, 0)
        return scatter_bits(done, shape, order, batch)

    def apply(self, state: Array, tensors: Tensors) -> Array:
        matrix = self.matrix(tensors)
        return multiply(state, matrix, self.first_bit) if self.is_window else self._through_front(state, matrix)

    def undo(self, state: Array, tensors: Tensors) -> Array:
        matrix = transpose(self.matrix(tensors))
        return multiply(state, matrix, self.first_bit) if self.is_window else self._through_front(state, matrix)

    def cotangents(self, after: Array, cotangent: Array, tensors: Tensors, per_example: bool) -> Tensors:
        if not tensors:
            return ()
        if not self.is_window:
            after, cotangent = (gather_bits(x, self._bits())[0].reshape(-1, x.shape[1]) for x in (after, cotangent))
        return (matrix_cotangent(after, cotangent, tensors[0], self.first_bit, per_example),)


@dataclass(frozen=True, eq=False)
class GatherStep:
    """A permutation of the basis states, bit c put where the next step wants it: one gather of rows."""

    before: Layout
    after: Layout
    operations: tuple[Operation, ...]

    def _source(self) -> np.ndarray:
        """Returns for each row after the step the row that it comes from."""
        n = self.before.num_qubits
        source = np.arange(2**n, dtype=np.int32)
        for op in self.operations:
            source = source[source_rows(op, n)]
        if self.before.place is None:
            return source
        old, new = (_plane_rows(layout) for layout in (self.before, self.after))
        moved = np.empty(2 ** (n + 1), np.int32)
        moved[new] = old[:, source]
        return moved

    def apply(self, state: Array, tensors: Tensors) -> Array:
        if self.before.num_qubits > MAX_TABLE_QUBITS:
            return self._one_by_one(state, self.operations)
        return _take(state, self._source())

    def undo(self, state: Array, tensors: Tensors) -> Array:
        if self.before.num_qubits > MAX_TABLE_QUBITS:
            undone = [inverse for op in reversed(self.operations) for inverse in op.inverse()]
            return self._one_by_one(state, undone)
        return _take(state, np.argsort(self._source()).astype(np.int32))

    def _one_by_one(self, state: Array, operations: Sequence[Operation]) -> Array:
        """Applies the operations without a table; bit c stays where it is, as if it were a qubit."""
        none = Values({}, jnp.zeros((0, 1), state.dtype), state.dtype)
        bits = [self.before.bit(q) for q in range(self.before.num_qubits)]
        for op in operations:
            state = apply_operation(state, op.remap(bits), none)
        return barrier(state)

    def cotangents(self, after: Array, cotangent: Array, tensors: Tensors, per_example: bool) -> Tensors:
        return ()


def _plane_rows(layout: Layout) -> np.ndarray:
    """Returns the row of each amplitude's real and imaginary part, `[2, 2**n]`."""
    assert layout.place is not None
    rows = np.arange(2**layout.num_bits, dtype=np.int32).reshape(2**layout.place, 2, -1)
    return rows.swapaxes(0, 1).reshape(2, -1)


def _take(state: Array, rows: np.ndarray) -> Array:
    return stored(jnp.take(state, rows, axis=0, unique_indices=True, mode="clip"))


@dataclass(frozen=True, eq=False)
class MoveStep:
    """Moves bit c, or makes a real state complex where there was none."""

    before: Layout
    after: Layout

    def apply(self, state: Array, tensors: Tensors) -> Array:
        assert self.after.place is not None
        if self.before.place is None:
            return join_planes(state, jnp.zeros_like(state), self.after)
        return move(state, self.before.place, self.after.place)

    def undo(self, state: Array, tensors: Tensors) -> Array:
        assert self.after.place is not None
        if self.before.place is None:
            cut = state.reshape(2**self.after.place, 2, -1, state.shape[-1])
            return cut[:, 0].reshape(-1, state.shape[-1])
        return move(state, self.after.place, self.before.place)

    def cotangents(self, after: Array, cotangent: Array, tensors: Tensors, per_example: bool) -> Tensors:
        return ()


@dataclass(frozen=True, eq=False)
class PhaseStep:
    """Multiplication by e^(i phase) of each basis state.

    Tensors: with a table the value of each of its angles, `[1, 1 or batch]`; else the phases of each operation,
    `[2**k, 1 or batch]`.
    """

    before: Layout
    after: Layout
    qubits: tuple[tuple[int, ...], ...]
    table: PhaseTable | None = None

    def _total(self, tensors: Tensors, dtype: Any) -> Array:
        """Returns the phase of each basis state, `[2**n, 1 or batch]`."""
        if self.table is not None:
            total = jnp.asarray(self.table.constant[:, None], dtype)
            for is_batched in (False, True):  # those that are shared first
                places = [i for i, tensor in enumerate(tensors) if (tensor.shape[-1] > 1) == is_batched]
                if places:
                    weights = jnp.asarray(self.table.weights[:, places], dtype)
                    # Stored, or XLA would make of the product of what is put together a sum of products, one by one.
                    values = stored(jnp.concatenate([tensors[i] for i in places]))
                    total = total + jnp.matmul(weights, values, precision=HIGHEST)
            return total
        spread: Any = 0.0
        pairs = zip(self.qubits, tensors, strict=True)
        for qubits, local in sorted(pairs, key=lambda pair: pair[1].shape[-1]):  # those that are shared first
            spread = spread + spread_over(local, qubits, self.before.num_qubits)
        return cast(Array, spread)

    def _turn(self, state: Array, tensors: Tensors, sign: int) -> Array:
        phases = self._total(tensors, state.dtype)
        cos, sin = cos_sin(phases)
        cos, sin = stored(cos), stored(sign * sin)
        re, im = split_planes(state, self.before)
        return stored(join_planes(cos * re - sin * im, cos * im + sin * re, self.after))

    def apply(self, state: Array, tensors: Tensors) -> Array:
        return self._turn(state, tensors, 1)

    def undo(self, state: Array, tensors: Tensors) -> Array:
        return self._turn(state, tensors, -1)

    def cotangents(self, after: Array, cotangent: Array, tensors: Tensors, per_example: bool) -> Tensors:
        re, im = split_planes(after, self.after)
        ct_re, ct_im = split_planes(cotangent, self.after)
        slopes = stored(ct_im * re - ct_re * im)  # d(re + i im) = i (re + i im) d(phase)
        batch = slopes.shape[-1]
        if not per_example and batch > 1 and all(t.shape[-1] == 1 for t in tensors):
            slopes = jnp.matmul(slopes, jnp.ones((batch, 1), slopes.dtype), precision=HIGHEST)
        inputs = tuple(with_batch(t, batch) for t in tensors) if per_example else tensors
        return tuple(jax.vjp(lambda xs: self._total(xs, slopes.dtype), inputs)[1](slopes)[0])


def _known_phases(op: Operation) -> np.ndarray:
    phases = constant_phases(op)
    assert phases is not None, "signs have no angles"
    return phases


def spread_over(local: Array, qubits: Sequence[int], n: int) -> Array:
    """Returns `[2**k, b]`, values on some qubits, as `[2**n, b]`."""
    order = sorted(range(len(qubits)), key=lambda i: qubits[i])
    if order != list(range(len(qubits))):
        local = local.reshape((2,) * len(qubits) + (local.shape[-1],)).transpose((*order, len(qubits)))
    few: list[int] = []
    many: list[int] = []
    previous = -1
    for q in sorted(qubits):
        if few and q == previous + 1:  # neighbours are one axis: XLA is slow to compile many of them
            few[-1], many[-1] = 2 * few[-1], 2 * many[-1]
        else:
            few += [1, 2]
            many += [2 ** (q - previous - 1), 2]
        previous = q
    few += [1, local.shape[-1]]
    many += [2 ** (n - previous - 1), local.shape[-1]]
    return jnp.broadcast_to(local.reshape(few), many).reshape(2**n, -1)


@dataclass(frozen=True, eq=False)
class FlipStep:
    """Changes the signs of some amplitudes."""

    before: Layout
    after: Layout
    operations: tuple[Operation, ...]

    def apply(self, state: Array, tensors: Tensors) -> Array:
        n, place = self.before.num_qubits, self.before.place
        if len(self.operations) == 1 and len(self.operations[0].all_qubits) == n:
            marked = np.flatnonzero(np.cos(_known_phases(self.operations[0])) < 0).tolist()
            if len(marked) <= MAX_FLIPPED_ROWS:
                return self._flip_rows(state, marked)
        signs = jnp.ones((1, 1), state.dtype)
        for op in self.operations:
            local = np.cos(_known_phases(op)).round()[:, None]
            signs = signs * spread_over(jnp.asarray(local, state.dtype), op.all_qubits, n)
        shape = (1, 1, 2**n, 1) if place is None else (2**place, 1, 2 ** (n - place), 1)
        cut = state.reshape(shape[0], -1, shape[2], state.shape[-1])
        return barrier((cut * signs.reshape(shape)).reshape(state.shape))

    def _flip_rows(self, state: Array, marked: Sequence[int]) -> Array:
        """Changes the sign of single rows in place: a mark on all qubits is one amplitude."""
        (op,) = self.operations
        n, place = self.before.num_qubits, self.before.place
        for local in marked:
            bits = {q: local >> (n - 1 - i) & 1 for i, q in enumerate(op.all_qubits)}
            for plane in (0,) if place is None else (0, 1):
                placed = {self.before.bit(q): bit for q, bit in bits.items()} | (
                    {} if place is None else {place: plane}
                )
                row = sum(bit << (self.before.num_bits - 1 - b) for b, bit in placed.items())
                state = lax.dynamic_update_slice_in_dim(state, -state[row : row + 1], row, 0)
        return state

    undo = apply

    def cotangents(self, after: Array, cotangent: Array, tensors: Tensors, per_example: bool) -> Tensors:
        return ()


@dataclass(frozen=True, eq=False)
class ReflectionStep:
    """1 - 2 |s><s| with s the even superposition of some qubits: one mean and one subtraction."""

    before: Layout
    after: Layout
    qubits: tuple[int, ...]

    def apply(self, state: Array, tensors: Tensors) -> Array:
        factor = np.asarray(2.0 ** (1 - len(self.qubits)), state.dtype)
        if self.before.place is None and len(self.qubits) == self.before.num_qubits:
            return barrier(state - barrier(state.sum(axis=0, keepdims=True) * factor))
        axes: list[int] = []
        shape: list[int] = []
        own = {self.before.bit(q) for q in self.qubits}
        for bit in range(self.before.num_bits):
            if shape and (bit - 1 in own) == (bit in own):
                shape[-1] *= 2
            else:
                shape.append(2)
                axes += [len(shape) - 1] if bit in own else []
        cut = state.reshape(*shape, state.shape[-1])
        total = barrier(cut.sum(axis=tuple(axes), keepdims=True) * factor)
        return barrier((cut - total).reshape(state.shape))

    undo = apply

    def cotangents(self, after: Array, cotangent: Array, tensors: Tensors, per_example: bool) -> Tensors:
        return ()
