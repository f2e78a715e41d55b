"""States in real arithmetic, and what matrices do to them.

A complex state is held as a real array `[2**(n + 1), batch]`: one more bit, c, tells real parts (0) from imaginary
parts (1). Bit c may lie between any two qubits; its place is the number of qubits before it. A unitary U on k
neighbouring qubits is then the orthogonal matrix R = [[Re U, -Im U], [Im U, Re U]] on k + 1 neighbouring bits, and
one product of real matrices applies it, which XLA does twice as fast as complex ones. The rows of R may come in any
order, so that c moves to the other side of the block at no cost. A state whose amplitudes are all real has no bit c
and half the work.

Everything done to such a state is a real orthogonal (or isometric) map, so one function both undoes a stage and pulls
a cotangent back through it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.states.barriers import barrier
from qjax.quantum.states.sums import sum_rows
from qjax.types import Array

# Blocks with fewer numbers in a row than this are transposed for the product: the kernels are slow on short rows (2.5
# times at 8, 1.5 at 16; two transpositions cost 0.4 of a product of 32 x 32).
MIN_ROW = 32
# Products with the batch kept are written out up to this many rows.
MAX_WRITTEN_ROWS = 8
HIGHEST = lax.Precision.HIGHEST


@dataclass(frozen=True)
class Layout:
    """How a state lies in memory: `[2**n, batch]` where all amplitudes are real, else with bit c at `place`."""

    num_qubits: int
    place: int | None

    @property
    def is_real(self) -> bool:
        """Whether all amplitudes are real."""
        return self.place is None

    @property
    def num_bits(self) -> int:
        """Number of bits of a row's number."""
        return self.num_qubits + (self.place is not None)

    def bit(self, qubit: int) -> int:
        """Returns the position of a qubit among the bits, the most significant first."""
        return qubit + (self.place is not None and qubit >= self.place)


def to_complex(planes: Array, layout: Layout) -> Array:
    """Returns the state `[2**n, batch]`, complex."""
    if layout.place is None:
        return lax.complex(planes, jnp.zeros_like(planes))
    return lax.complex(*split_planes(planes, layout))


def from_complex(state: Array, layout: Layout) -> Array:
    """Returns a complex state `[2**n, batch]` in the layout; a real layout drops imaginary parts."""
    if layout.place is None:
        return lax.real(state) if jnp.iscomplexobj(state) else state
    return join_planes(lax.real(state), lax.imag(state), layout)


def join_planes(real: Array, imag: Array, layout: Layout) -> Array:
    """Returns real and imaginary parts `[2**n, batch]` as one array in the layout, which has a bit c."""
    assert layout.place is not None
    batch = real.shape[-1]
    halves = [x.reshape(2**layout.place, 1, -1, batch) for x in (real, imag)]
    return lax.concatenate(halves, 1).reshape(-1, batch)


def split_planes(planes: Array, layout: Layout) -> tuple[Array, Array]:
    """Returns real and imaginary parts, `[2**n, batch]` each, of a state that has a bit c."""
    assert layout.place is not None
    cut = planes.reshape(2**layout.place, 2, -1, planes.shape[-1])
    re, im = cut[:, 0], cut[:, 1]
    return re.reshape(-1, planes.shape[-1]), im.reshape(-1, planes.shape[-1])


def move(planes: Array, old: int, new: int) -> Array:
    """Moves bit c from one place to another: one transposition."""
    low, high = min(old, new), max(old, new)
    inner = (2, 2 ** (high - low)) if old < new else (2 ** (high - low), 2)
    cut = planes.reshape(2**low, *inner, -1)
    return cut.transpose(0, 2, 1, 3).reshape(planes.shape)


# Matrices on neighbouring bits. -----------------------------------------------------------------------------


def real_matrix(unitary: Any, first: int, before: int | None, after: int | None) -> Any:
    """Returns the real matrix of a unitary on the qubits from `first` on, for given places of bit c.

    Args:
      unitary: `[d, d, 1 or batch]`, or a constant `[d, d]` of NumPy; complex, or real where c takes no part.
      first: the first of its qubits.
      before: place of c in the state that it is applied to, within the block; None where that state is real or c
        takes no part.
      after: place of c in the result.
    """
    if after is None:
        return unitary.real if before is None else unitary
    module = np if isinstance(unitary, np.ndarray) else jnp
    dim, rest = unitary.shape[0], unitary.shape[2:]
    re, im = unitary.real, unitary.imag
    outer, inner = 2 ** (after - first), dim >> (after - first)
    if before is None:
        blocks = module.stack([re, im])  # [c', row, column, ...]
        ordered = blocks.reshape(2, outer, inner, dim, *rest).swapaxes(0, 1)
        return ordered.reshape(2 * dim, dim, *rest)
    wide, narrow = 2 ** (before - first), dim >> (before - first)
    blocks = module.stack([module.stack([re, -im]), module.stack([im, re])])  # [c', c, row, column, ...]
    cut = blocks.reshape(2, 2, outer, inner, wide, narrow, *rest)
    order = (2, 0, 3, 4, 1, 5, *range(6, cut.ndim))
    return cut.transpose(order).reshape(2 * dim, 2 * dim, *rest)


def multiply(planes: Array, matrix: Any, first_bit: int) -> Array:
    """Applies a real matrix `[rows, columns, 1 or batch]`, or `[rows, columns]`, to the bits from `first_bit` on."""
    rows, columns = matrix.shape[:2]
    batch = planes.shape[-1]
    if matrix.ndim == 3 and matrix.shape[2] > 1:
        return _multiply_batched(planes, matrix, first_bit)
    matrix = jnp.asarray(matrix.reshape(rows, columns), planes.dtype)
    groups = 2**first_bit
    width = planes.size // (groups * columns)
    if groups == 1:
        done = jnp.matmul(matrix, planes.reshape(columns, width), precision=HIGHEST)
    elif width == 1:
        done = jnp.matmul(planes.reshape(groups, columns), matrix.T, precision=HIGHEST)
    elif width < MIN_ROW:
        turned = planes.reshape(groups, columns, width).swapaxes(1, 2).reshape(-1, columns)
        done = swap_back(jnp.matmul(turned, matrix.T, precision=HIGHEST).reshape(groups, width, rows))
    else:
        shared = jnp.broadcast_to(matrix, (groups, rows, columns))
        dims = (((2,), (1,)), ((0,), (0,)))
        done = lax.dot_general(shared, planes.reshape(groups, columns, width), dims, precision=HIGHEST)
    return done.reshape(-1, batch)


def swap_back(array: Array) -> Array:
    """Returns `[groups, columns, rows]` as `[groups, rows, columns]`.

    In two parts, each of which XLA moves row by row: a swap that is reshaped afterwards it does number by number,
    which takes about three times as long (CPU, jax 0.10).
    """
    middle = len(array) // 2
    return jnp.concatenate([part.swapaxes(1, 2) for part in (array[:middle], array[middle:])])


def transpose(matrix: Any) -> Any:
    """Returns the transpose of `[rows, columns]` or `[rows, columns, 1 or batch]`."""
    return matrix.swapaxes(0, 1)


def matrix_cotangent(after: Array, cotangent: Array, matrix: Any, first_bit: int, per_example: bool) -> Array:
    """Returns the cotangent of a matrix that was applied by `multiply`, from the state after it.

    With y = R x and R isometric, x is R^T y, so that the cotangent of R, sum of ct x^T, is (sum of ct y^T) R.

    Args:
      after: the state after it, `[..., 1 or batch]`.
      cotangent: of that state, `[..., batch]`.
      matrix: `[rows, columns, 1 or batch]`.
      first_bit: see `multiply`.
      per_example: whether a matrix that all examples share gets a cotangent for each of them.

    Returns:
      `[rows, columns, 1]`, or `[rows, columns, batch]` where the matrix has a batch or `per_example` is set.
    """
    rows = matrix.shape[0]
    batch = max(after.shape[-1], cotangent.shape[-1])
    if per_example or matrix.shape[2] > 1:
        y, ct = (x.reshape(2**first_bit, rows, -1, x.shape[-1]) for x in (after, cotangent))
        outer = _outer_by_example(ct, y)
        return cast(Array, (outer[:, :, None] * matrix[None]).sum(axis=1))
    after, cotangent = (jnp.broadcast_to(x, (x.shape[0], batch)) for x in (after, cotangent))
    total = sum_outer(cotangent, after, rows, 2**first_bit)
    return jnp.matmul(total, matrix[:, :, 0], precision=HIGHEST)[:, :, None]


def sum_outer(left: Array, right: Array, rows: int, groups: int) -> Array:
    """Returns sum of left[g, r, w] right[g, s, w] over g and w, `[r, s]`."""
    width = left.size // (groups * rows)
    if width == 1:
        return jnp.matmul(left.reshape(groups, rows).T, right.reshape(groups, rows), precision=HIGHEST)
    a, b = (x.reshape(groups, rows, width) for x in (left, right))
    if width < MIN_ROW:
        a, b = (x.swapaxes(1, 2) for x in (a, b))  # over two axes, which XLA does faster than over one
        return lax.dot_general(a, b, (((0, 1), (0, 1)), ((), ())), precision=HIGHEST)
    if groups == 1:
        return jnp.matmul(a[0], b[0].T, precision=HIGHEST)
    products = lax.dot_general(a, b, (((2,), (2,)), ((0,), (0,))), precision=HIGHEST)
    return barrier(products).sum(axis=0)


def _outer_by_example(left: Array, right: Array) -> Array:
    """Returns sum of left[g, r, w, b] right[g, s, w, b] over g and w, `[r, s, b]`."""
    rows = left.shape[1]
    if rows > MAX_WRITTEN_ROWS:
        return jnp.einsum("grwb,gswb->rsb", left, jnp.broadcast_to(right, left.shape), precision=HIGHEST)
    return jnp.stack([jnp.stack([sum_rows(left[:, r] * right[:, s]) for s in range(rows)]) for r in range(rows)])


def _multiply_batched(planes: Array, matrix: Array, first_bit: int) -> Array:
    """Applies a matrix for each example, `[rows, columns, batch]`."""
    rows, columns = matrix.shape[:2]
    cut = planes.reshape(2**first_bit, columns, -1, planes.shape[-1])
    if columns > MAX_WRITTEN_ROWS:
        wide = jnp.broadcast_to(cut, (*cut.shape[:3], matrix.shape[2]))
        return jnp.einsum("rcb,gcwb->grwb", matrix, wide, precision=HIGHEST).reshape(-1, matrix.shape[2])
    entries, done = barrier(matrix).reshape(rows, columns, 1, 1, -1), []
    for r in range(rows):
        row = entries[r, 0] * cut[:, 0]
        for c in range(1, columns):
            row = row + entries[r, c] * cut[:, c]
        done.append(row)
    return jnp.stack(done, axis=1).reshape(-1, matrix.shape[2])


# Matrices on bits that are not neighbours. ------------------------------------------------------------------


def gather_bits(planes: Array, bits: Sequence[int]) -> tuple[Array, tuple[int, ...], list[int]]:
    """Brings some bits to the front, `[2**k, rest * batch]`; `scatter_bits` undoes it with what else is returned."""
    num_bits = int(planes.shape[0]).bit_length() - 1
    shape: list[int] = []
    axes: dict[int, int] = {}
    previous = -1
    for b in sorted(bits):
        shape += [2 ** (b - previous - 1), 2]
        axes[b], previous = len(shape) - 1, b
    shape += [2 ** (num_bits - previous - 1), planes.shape[1]]
    order = [axes[b] for b in bits] + [i for i in range(len(shape)) if i not in axes.values()]
    return planes.reshape(shape).transpose(order).reshape(2 ** len(bits), -1), tuple(shape), order


def scatter_bits(front: Array, shape: tuple[int, ...], order: list[int], batch: int) -> Array:
    """Undoes `gather_bits`, for a batch that may have grown."""
    full = (*shape[:-1], batch)
    back = front.reshape([full[i] for i in order]).transpose(np.argsort(order).tolist())
    return back.reshape(-1, batch)
