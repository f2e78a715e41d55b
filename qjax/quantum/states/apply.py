"""Applies matrices, diagonals, Pauli rotations and controlled gates to a state `[2**n, batch]`."""

from collections.abc import Sequence
from functools import reduce
from operator import add, mul
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.circuits.operation import Operation
from qjax.quantum.states.axes import join_qubits, num_qubits_of, split_axes, split_qubits, spread_qubits
from qjax.quantum.states.barriers import barrier
from qjax.quantum.states.matrices import alike_angles
from qjax.types import Array

# A matrix with more entries than this that are not 0 is applied as a matrix product, not entry by entry.
MAX_SLICED_ENTRIES = 64
# A Pauli rotation on more qubits than this is never a matrix.
MAX_PAULI_MATRIX_QUBITS = 2


def apply_operation(state: Array, op: Operation, angles: Sequence[Array]) -> Array:
    """Applies a dense gate under its controls, at these angles, `[1 or batch]` each."""
    if op.controls:
        return _where_controls_hold(state, op, angles)
    if op.gate.name == "pauli_rotation" and op.gate.num_qubits > MAX_PAULI_MATRIX_QUBITS:
        return _rotate_about_paulis(state, op, angles[0])
    return apply_matrix(state, op.gate.matrix(*alike_angles(angles)), op.qubits)


def apply_matrix(state: Array, matrix: Any, qubits: Sequence[int]) -> Array:
    """Applies a matrix to some qubits.

    Few entries are done by sliced multiply-adds, which keep the loops over the batch plain; many as a matrix product.

    Args:
      state: `[2**n, batch]`.
      matrix: `[d, d, 1]` or `[d, d, batch]`, or a NumPy constant `[d, d]`, whose zeros cost nothing; d = 2**k.
      qubits: k of them; the first is the most significant bit of the matrix.
    """
    constant = isinstance(matrix, np.ndarray) and matrix.ndim == 2
    entries = np.count_nonzero(matrix) if constant else matrix.shape[0] ** 2
    if entries > MAX_SLICED_ENTRIES:
        return _apply_product(state, matrix, qubits)
    cut, axes = split_axes(state, qubits)
    parts = [cut]
    for axis in axes:
        parts = [half for part in parts for half in lax.split(part, (1, 1), axis=axis)]
    rows = _multiply_add(matrix, parts)
    for axis in reversed(axes):
        rows = [lax.concatenate(rows[i : i + 2], axis) for i in range(0, len(rows), 2)]
    return rows[0].reshape(state.shape[0], -1)


def multiply_diagonal(state: Array, factor: Any, qubits: Sequence[int]) -> Array:
    """Multiplies the state by a diagonal on some qubits, `[2**k, 1 or batch]`."""
    return state * spread_qubits(jnp.asarray(factor, state.dtype), qubits, num_qubits_of(state))


def _apply_product(state: Array, matrix: Any, qubits: Sequence[int]) -> Array:
    """Applies a matrix `[d, d]`, or `[d, d, 1 or batch]`, as a matrix product, the qubits' axes in front."""
    columns, matrix = split_qubits(state, qubits), jnp.asarray(matrix, state.dtype)
    if matrix.ndim == 2 or matrix.shape[2] == 1:
        square = matrix.reshape(matrix.shape[:2])
        rows = jnp.einsum("rc,cmb->rmb", square, columns, precision=lax.Precision.HIGHEST)
    else:
        wide = jnp.broadcast_to(columns, (*columns.shape[:2], matrix.shape[2]))
        rows = jnp.einsum("rcb,cmb->rmb", matrix, wide, precision=lax.Precision.HIGHEST)
    return join_qubits(rows, qubits)


def _rotate_about_paulis(state: Array, op: Operation, angle: Array) -> Array:
    """exp(-i theta P / 2) |psi> = cos(theta/2) |psi> - i sin(theta/2) P |psi>; P moves and signs amplitudes only."""
    n = num_qubits_of(state)
    letters = op.gate.data.decode()
    flipped = sum(1 << (n - 1 - q) for q, letter in zip(op.qubits, letters, strict=True) if letter in "XY")
    rows = np.arange(2**n, dtype=np.int32)
    # Row r of P |psi> is the product over qubits of: Z (-1)**bit, Y -i for bit 0 and i for bit 1, bits those of r.
    signs = np.zeros(2**n, np.int32)  # powers of i
    for q, letter in zip(op.qubits, letters, strict=True):
        bit = (rows >> (n - 1 - q)) & 1
        signs += {"I": 0 * bit, "X": 0 * bit, "Z": 2 * bit, "Y": 3 + 2 * bit}[letter]
    half = angle[None, :] / 2
    cos, sin = (f(half).astype(state.dtype) for f in (jnp.cos, jnp.sin))
    factors = np.array([1, 1j, -1, -1j])[signs % 4].astype(state.dtype)[:, None] * np.asarray(-1j, state.dtype)
    moved = jnp.take(state, rows ^ flipped, axis=0, unique_indices=True, mode="clip")
    rotated: Array = state * barrier(cos) + moved * factors * barrier(sin)
    return rotated


def _where_controls_hold(state: Array, op: Operation, angles: Sequence[Array]) -> Array:
    """Applies an operation to the part of the state where its controls have their values."""
    cut, axes = split_axes(state, op.controls)
    start = [0] * cut.ndim
    size = list(cut.shape)
    for axis, value in zip(axes, op.control_values, strict=True):
        start[axis], size[axis] = value, 1
    part = lax.slice(cut, start, [a + b for a, b in zip(start, size, strict=True)])
    left = [q for q in range(num_qubits_of(state)) if q not in op.controls]
    inner = Operation(op.gate, tuple(left.index(q) for q in op.qubits), op.angles)
    done = apply_operation(part.reshape(2 ** len(left), -1), inner, angles)
    if done.shape[1] > state.shape[1]:
        cut = jnp.broadcast_to(cut, (*cut.shape[:-1], done.shape[1]))
    whole = lax.dynamic_update_slice(cut, done.reshape((*size[:-1], done.shape[1])), start)
    return whole.reshape(state.shape[0], -1)


def _multiply_add(matrix: Any, parts: list[Array]) -> list[Array]:
    """Returns row r = sum over c of matrix[r, c] * parts[c], for every r."""
    dim, rank = len(parts), parts[0].ndim
    if isinstance(matrix, np.ndarray) and matrix.ndim == 2:
        return [_constant_row(weights, parts) for weights in matrix]
    flat = lax.split(barrier(jnp.asarray(matrix).reshape(dim * dim, -1)), [1] * (dim * dim), axis=0)
    entries = [entry.reshape((1,) * (rank - 1) + (-1,)) for entry in flat]
    return [reduce(add, map(mul, entries[r : r + dim], parts)) for r in range(0, dim * dim, dim)]


def _constant_row(weights: np.ndarray, parts: list[Array]) -> Array:
    """Returns the sum of constant weights times parts, zeros left out."""
    pairs = [(weight, part) for weight, part in zip(weights, parts, strict=True) if weight != 0]
    terms = [part if weight == 1 else part * np.asarray(weight, part.dtype) for weight, part in pairs]
    return reduce(add, terms) if terms else jnp.zeros_like(parts[0])
