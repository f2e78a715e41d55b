"""Gates that a GPU applies at once as unit-diagonal matrices and one diagonal, and the cotangents of these gates.

A matrix U on one qubit is diag(U00, U11) [[1, a], [b, 1]] with a = U01 / U00 and b = U10 / U11. The diagonals of
k gates on different qubits commute with the matrices of the other qubits, so one product of all diagonals comes last.
An amplitude takes 2 k + 4 multiply-adds where a and b are real (as in RZ RY), else 4 k + 4, in place of 8 k. The
result is as exact as that of U, however large a and b are, because each term is rounded relative to itself.

In the reverse pass only changes of U that keep it unitary matter: dU = K U with K skew-Hermitian. Let M be the sum
of cotangent[j] * conj(state[k]) after the gate. Then A = (M - M^H) / 2 is enough, and A U serves as the cotangent of
U. It takes Im(M00 - M11) and M01 - conj(M10) of each gate, and Im(M00 + M11), the same for all gates of a group.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.engines.native.table.layout import MAX_GROUP, MAX_SCALED
from qjax.types import Array

# Real numbers of a group's table: OTHERS for a and b of each gate, then the diagonal; TABLE in all. The real part of
# each number comes before its imaginary part.
OTHERS, TABLE = 4 * MAX_SCALED, 4 * MAX_SCALED + 2 * 2**MAX_SCALED
# Least size of a diagonal entry: a smaller one is raised to it, so that neither its inverse nor a product of these is
# infinite. Rounding in float32 hides the change.
_LEAST = 2.0**-25
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def num_sums(is_complex: bool) -> int:
    """Returns how many sums a group has: one of all gates and three of each; in real arithmetic one of each."""
    return 1 + 3 * MAX_GROUP if is_complex else MAX_GROUP


def tables(coefficients: Array, firsts: np.ndarray) -> Array:
    """Returns the tables of all groups of gates, one after the other, `[groups * TABLE]`.

    Args:
      coefficients: the shared ones, `[., 1]`; of each entry of a matrix the real and the imaginary part.
      firsts: index of the first coefficient of each gate, int `[groups, MAX_SCALED]`; -1 where there is no gate.
    """
    if not len(firsts):
        return jnp.zeros(0, coefficients.dtype)
    matrices = _matrices(coefficients, firsts)
    diagonal, other = matrices[:, :, [0, 3]], matrices[:, :, [1, 2]]  # U00, U11; U01, U10
    # The other entry of such a row has size 1. With its phase in the diagonal, real a and b stay real.
    diagonal = jnp.where(jnp.abs(diagonal) < _LEAST, _LEAST * other, diagonal)
    product = diagonal[:, 0]
    for k in range(1, MAX_SCALED):  # bit k of a row's number is qubit k
        product = jnp.concatenate([product * diagonal[:, k, bit, None] for bit in (0, 1)], axis=1)
    off_diagonal = (other / diagonal).reshape(len(firsts), -1)  # a, b
    numbers = jnp.concatenate([off_diagonal, product], axis=1)
    return jnp.stack([numbers.real, numbers.imag], axis=-1).reshape(-1)


def all_cotangents(
    of_shared: Array, of_scaled: Array, coefficients: Array, firsts: np.ndarray, is_complex: bool
) -> Array:
    """Returns the cotangents of the shared coefficients, `[., 1]`, given the sums of each block: see `cotangents`.

    Args:
      of_shared: cotangent of each coefficient from gates that are not scaled, `[., blocks]`.
      of_scaled: sums of scaled gates, `[groups * num_sums, blocks]`.
      coefficients: see `tables`.
      firsts: see `tables`.
      is_complex: whether the amplitudes are.
    """
    scaled = cotangents(of_scaled.sum(axis=-1), coefficients, firsts, is_complex)
    return of_shared.sum(axis=-1, keepdims=True) + scaled


def cotangents(sums: Array, coefficients: Array, firsts: np.ndarray, is_complex: bool) -> Array:
    """Returns the cotangents of the coefficients, `[., 1]`, given the sums of all groups, `[groups * num_sums]`."""
    if not len(firsts):
        return jnp.zeros_like(coefficients)
    sums, firsts = sums.reshape(len(firsts), -1), firsts[:, :MAX_GROUP]
    if is_complex:
        total, of_gates = sums[:, :1], sums[:, 1:].reshape(len(sums), MAX_GROUP, 3)
        difference, real, imag = (of_gates[..., k] for k in range(3))
    else:
        total, real, difference, imag = jnp.zeros_like(sums[:, :1]), sums, jnp.zeros_like(sums), jnp.zeros_like(sums)
    zeros = jnp.zeros_like(real)
    entries = [(zeros, total + difference), (real, imag), (-real, imag), (zeros, total - difference)]
    skew = jnp.stack([lax.complex(*entry) / 2 for entry in entries], axis=-1).reshape(*firsts.shape, 2, 2)
    matrices = _matrices(coefficients, firsts).reshape(*firsts.shape, 2, 2)
    products = jnp.sum(skew[..., None] * matrices[..., None, :, :], axis=-2).reshape(-1, 4)
    of_gates = jnp.stack([products.real, products.imag], axis=-1).reshape(-1, 8)
    padded = jnp.concatenate([of_gates, jnp.zeros((1, 8), of_gates.dtype)])
    return padded[_uses(firsts.reshape(-1), len(coefficients))].sum(axis=-1)[:, None]


def _matrices(coefficients: Array, firsts: np.ndarray) -> Array:
    """Returns the gates' matrices, complex `[groups, gates, 4]`; the identity where there is none."""
    padded = jnp.concatenate([coefficients[:, 0], jnp.array(_IDENTITY, coefficients.dtype)])
    starts = np.where(firsts < 0, len(coefficients), firsts)
    numbers = padded[starts[..., None] + np.arange(8)]
    return lax.complex(numbers[..., ::2], numbers[..., 1::2])


def _uses(firsts: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each coefficient the gates that use it, and as which of their numbers: two int `[count, uses]`.

    Unused places hold the number of gates. A sum over what is gathered has the same order in every run; a scatter on
    a GPU has not.
    """
    uses: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for gate, first in enumerate(firsts.tolist()):
        if first >= 0:
            for k in range(8):
                uses[first + k].append((gate, k))
    most = max(1, max(map(len, uses), default=1))
    padded = [of_one + [(len(firsts), 0)] * (most - len(of_one)) for of_one in uses]
    gates, numbers = np.moveaxis(np.array(padded, np.int64).reshape(count, most, 2), 2, 0)
    return gates, numbers
