"""Gates that a GPU applies at once as unit-diagonal matrices and one diagonal, and what takes their sums back.

A matrix U on one qubit is diag(U00, U11) [[1, a], [b, 1]] with a = U01 / U00 and b = U10 / U11. The diagonals of
several gates commute with what the others do, so one diagonal of all of them comes last: for each amplitude and k
gates 2 k + 4 multiply-adds where a and b are real (such as in RZ RY), 4 k + 4 else, in place of 8 k. Each result is
as exact as by U itself, however large a and b are, for each term is rounded relative to itself.

On the way back the cotangent of U matters along unitary matrices alone: dU = K U, K skew-Hermitian. So of M, the sum
of cotangent[j] * conj(state[k]) after the gate, A = (M - M^H) / 2 is enough, and A U stands for the cotangent of U.
Of each gate that is Im(M00 - M11) and M01 - conj(M10), and of all Im(M00 + M11), which is the same for each of them.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.engines.native.table.layout import MAX_LISTED, MAX_SEVERAL
from qjax.types import Array

# Numbers of a table: a and b of each gate, and the diagonal, each real part before its imaginary part.
OTHERS, TABLE = 4 * MAX_LISTED, 4 * MAX_LISTED + 2 * 2**MAX_LISTED
# The size of a diagonal entry that would be less: it is lost beside the others, and its inverse is no infinity, nor
# is the product of all.
_LEAST = 2.0**-25
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def num_sums(is_complex: bool) -> int:
    """Returns how many sums gates that are done at once have: of all of them one, of each three; or of each one."""
    return 1 + 3 * MAX_SEVERAL if is_complex else MAX_SEVERAL


def tables(coefficients: Array, firsts: np.ndarray) -> Array:
    """Returns the tables of gates that are done at once, one after the other, `[pieces * TABLE]`.

    Args:
      coefficients: that all examples share, `[., 1]`: of a matrix each entry's real and imaginary part.
      firsts: where those of each gate begin, int `[pieces, MAX_LISTED]`; -1 where there is no gate.
    """
    if not len(firsts):
        return jnp.zeros(0, coefficients.dtype)
    matrices = _matrices(coefficients, firsts)
    diagonal, beside = matrices[:, :, [0, 3]], matrices[:, :, [1, 2]]  # U00, U11; U01, U10
    # The entry beside a small one is 1 but for its phase: where rows are real but for a phase, a and b stay real.
    diagonal = jnp.where(jnp.abs(diagonal) < _LEAST, _LEAST * beside, diagonal)
    product = diagonal[:, 0]
    for k in range(1, MAX_LISTED):  # bit k of a row's number is qubit k
        product = jnp.concatenate([product * diagonal[:, k, bit, None] for bit in (0, 1)], axis=1)
    others = (beside / diagonal).reshape(len(firsts), -1)  # a, b
    whole = jnp.concatenate([others, product], axis=1)
    return jnp.stack([whole.real, whole.imag], axis=-1).reshape(-1)


def all_cotangents(
    of_shared: Array, of_scaled: Array, coefficients: Array, firsts: np.ndarray, is_complex: bool
) -> Array:
    """Returns the cotangents of the coefficients, `[., 1]`, given what each block found: see `cotangents`.

    Args:
      of_shared: for each coefficient, of gates that are not scaled, `[., blocks]`.
      of_scaled: the sums of those that are, `[pieces * num_sums, blocks]`.
      coefficients: see `tables`.
      firsts: likewise.
      is_complex: whether the amplitudes are.
    """
    found = cotangents(of_scaled.sum(axis=-1), coefficients, firsts, is_complex)
    return of_shared.sum(axis=-1, keepdims=True) + found


def cotangents(sums: Array, coefficients: Array, firsts: np.ndarray, is_complex: bool) -> Array:
    """Returns the cotangents of the coefficients, `[., 1]`, given the sums of all pieces, `[pieces * num_sums]`."""
    if not len(firsts):
        return jnp.zeros_like(coefficients)
    sums, firsts = sums.reshape(len(firsts), -1), firsts[:, :MAX_SEVERAL]
    if is_complex:
        total, own = sums[:, :1], sums[:, 1:].reshape(len(sums), MAX_SEVERAL, 3)
        difference, real, imag = (own[..., k] for k in range(3))
    else:
        total, real, difference, imag = jnp.zeros_like(sums[:, :1]), sums, jnp.zeros_like(sums), jnp.zeros_like(sums)
    nothing = jnp.zeros_like(real)
    entries = [(nothing, total + difference), (real, imag), (-real, imag), (nothing, total - difference)]
    skew = jnp.stack([lax.complex(*entry) / 2 for entry in entries], axis=-1).reshape(*firsts.shape, 2, 2)
    matrices = _matrices(coefficients, firsts).reshape(*firsts.shape, 2, 2)
    products = jnp.sum(skew[..., None] * matrices[..., None, :, :], axis=-2).reshape(-1, 4)
    found = jnp.stack([products.real, products.imag], axis=-1).reshape(-1, 8)
    padded = jnp.concatenate([found, jnp.zeros((1, 8), found.dtype)])
    return padded[_uses(firsts.reshape(-1), len(coefficients))].sum(axis=-1)[:, None]


def _matrices(coefficients: Array, firsts: np.ndarray) -> Array:
    """Returns the gates' matrices, complex `[pieces, gates, 4]`; the identity where there is none."""
    padded = jnp.concatenate([coefficients[:, 0], jnp.array(_IDENTITY, coefficients.dtype)])
    starts = np.where(firsts < 0, len(coefficients), firsts)
    numbers = padded[starts[..., None] + np.arange(8)]
    return lax.complex(numbers[..., ::2], numbers[..., 1::2])


def _uses(firsts: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns which gates, and which of their numbers, each coefficient is: int `[count, uses]`.

    Where there are fewer uses than of others, the number of gates stands. A sum over these is the same in every run,
    which a scatter is not on a GPU.
    """
    found: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for place, first in enumerate(firsts.tolist()):
        if first >= 0:
            for k in range(8):
                found[first + k].append((place, k))
    most = max(1, max(map(len, found), default=1))
    whole = [own + [(len(firsts), 0)] * (most - len(own)) for own in found]
    gates, numbers = np.moveaxis(np.array(whole, np.int64).reshape(count, most, 2), 2, 0)
    return gates, numbers
