"""Small matrices of gates and runs of gates, `[d, d, 1 or batch]`: multiplied before the state is touched."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax.quantum.circuit import Operation
from qjax.quantum.values import Values
from qjax.types import Array

# A NumPy constant [d, d, 1] as long as every factor is one, a traced array after that.
Matrix = Any


def gate_matrix(op: Operation, values: Values) -> Matrix:
    """Returns the matrix of one operation, `[d, d, 1]` or `[d, d, batch]`."""
    if not op.angles:
        constant: np.ndarray = op.gate.matrix()
        return constant.astype(values.complex_dtype)[:, :, None]
    angles = [values.angle(angle) for angle in op.angles]
    batch = max(angle.shape[0] for angle in angles)
    return op.gate.matrix(*(jnp.broadcast_to(angle, (batch,)) for angle in angles))


def diagonal(op: Operation, values: Values) -> Matrix:
    """Returns the diagonal of a diagonal operation, `[d, 1]` or `[d, batch]`."""
    matrix = gate_matrix(op, values)
    return jnp.stack([matrix[k, k] for k in range(matrix.shape[0])])


def product(left: Matrix, right: Matrix) -> Matrix:
    """Returns left @ right for each entry of the batch."""
    return (left[:, :, None] * right[None]).sum(axis=1)


def kron(left: Matrix, right: Matrix) -> Matrix:
    """Returns the Kronecker product: `left` acts on the more significant qubit."""
    dim = left.shape[0] * right.shape[0]
    spread = left[:, None, :, None] * right[None, :, None, :]
    return spread.reshape(dim, dim, spread.shape[-1])


def run_matrix(run: Sequence[Operation], values: Values) -> Matrix:
    """Returns the 2 x 2 product of a run of single-qubit gates on one qubit; the identity for an empty run."""
    matrix: Matrix = None
    for op in run:
        factor = gate_matrix(op, values)
        matrix = factor if matrix is None else product(factor, matrix)
    return np.eye(2, dtype=values.complex_dtype)[:, :, None] if matrix is None else matrix


def column_of_run(run: Sequence[Operation], values: Values) -> Array:
    """Returns what a run of single-qubit gates makes of |0>, `[2, 1]` or `[2, batch]`."""
    return jnp.asarray(run_matrix(run, values)[:, 0])


def block_matrix(operations: Sequence[Operation], qubits: tuple[int, ...], values: Values) -> Matrix:
    """Returns the product of operations on one or two qubits; `qubits[0]` is the most significant.

    Single-qubit gates are gathered a qubit at a time and joined by a Kronecker product only where a two-qubit gate or
    the end needs it. A product of constants alone is returned as a NumPy array `[d, d]`.
    """
    whole: Matrix = None
    runs: dict[int, list[Operation]] = {q: [] for q in qubits}

    def close_runs(whole: Matrix) -> Matrix:
        matrix = run_matrix(runs[qubits[0]], values)
        for q in qubits[1:]:
            matrix = kron(matrix, run_matrix(runs[q], values))
        return matrix if whole is None else product(matrix, whole)

    for op in operations:
        if len(op.qubits) == 1:
            runs[op.qubits[0]].append(op)
            continue
        whole = close_runs(whole)
        runs = {q: [] for q in qubits}
        matrix = gate_matrix(op, values)
        if op.qubits != qubits:  # the same two qubits the other way round: exchange the bits of rows and columns
            matrix = matrix.reshape(2, 2, 2, 2, -1).transpose(1, 0, 3, 2, 4).reshape(4, 4, -1)
        whole = product(matrix, whole)
    if whole is None or any(runs.values()):
        whole = close_runs(whole)
    return whole[:, :, 0] if isinstance(whole, np.ndarray) else whole
