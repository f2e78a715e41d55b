"""Small matrices of operations and of runs of them, `[d, d, 1 or batch]`: multiplied before the state is touched."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax.quantum.operation import Operation
from qjax.quantum.values import Values
from qjax.types import Array

# A NumPy constant [d, d, 1] as long as every factor is one, a traced array after that.
Matrix = Any


def gate_matrix(op: Operation, values: Values) -> Matrix:
    """Returns the matrix of an operation's gate, controls left out, `[d, d, 1]` or `[d, d, batch]`."""
    if not op.angles:
        constant: np.ndarray = op.gate.matrix()
        return constant.astype(values.complex_dtype)[:, :, None]
    return op.gate.matrix(*_angles(op, values))


def operation_matrix(op: Operation, values: Values) -> Matrix:
    """Returns the matrix on `op.all_qubits`, controls first: the gate's in one block, the identity in others."""
    matrix = gate_matrix(op, values)
    if not op.controls:
        return matrix
    dim, blocks = matrix.shape[0], 2 ** len(op.controls)
    before = dim * sum(v << i for i, v in enumerate(reversed(op.control_values)))
    after = dim * blocks - dim - before
    identity = np.diag([1] * before + [0] * dim + [1] * after).astype(values.complex_dtype)[:, :, None]
    module = np if isinstance(matrix, np.ndarray) else jnp
    return module.pad(matrix, ((before, after), (before, after), (0, 0))) + identity


def diagonal(op: Operation, values: Values) -> Matrix:
    """Returns the diagonal of a diagonal operation's gate, controls left out, `[d, 1]` or `[d, batch]`."""
    assert op.gate.diagonal is not None
    if not op.angles:
        constant: np.ndarray = op.gate.diagonal()
        return constant.astype(values.complex_dtype)[:, None]
    return op.gate.diagonal(*_angles(op, values))


def _angles(op: Operation, values: Values) -> list[Array]:
    """Returns the operation's angles, all `[1]` or all `[batch]`."""
    angles = [values.angle(angle) for angle in op.angles]
    batch = max(angle.shape[0] for angle in angles)
    return [jnp.broadcast_to(angle, (batch,)) for angle in angles]


def product(left: Matrix, right: Matrix) -> Matrix:
    """Returns left @ right for each entry of the batch."""
    return (left[:, :, None] * right[None]).sum(axis=1)


def kron(left: Matrix, right: Matrix) -> Matrix:
    """Returns the Kronecker product: `left` acts on the more significant qubit."""
    dim = left.shape[0] * right.shape[0]
    spread = left[:, None, :, None] * right[None, :, None, :]
    return spread.reshape(dim, dim, spread.shape[-1])


def run_matrix(run: Sequence[Operation], values: Values) -> Matrix:
    """Returns the 2 x 2 product of a run of operations on one qubit, or on none; the identity for an empty run."""
    matrix: Matrix = np.eye(2, dtype=values.complex_dtype)[:, :, None]
    for i, op in enumerate(run):
        factor = operation_matrix(op, values)
        is_global_phase = factor.shape[0] == 1
        matrix = factor * matrix if is_global_phase else product(factor, matrix) if i else factor
    return matrix


def column_of_run(run: Sequence[Operation], values: Values) -> Array:
    """Returns what a run of operations on one qubit makes of |0>, `[2, 1]` or `[2, batch]`."""
    return jnp.asarray(run_matrix(run, values)[:, 0])


def block_matrix(operations: Sequence[Operation], qubits: tuple[int, ...], values: Values) -> Matrix:
    """Returns the product of operations on one or two qubits; `qubits[0]` is the most significant.

    Operations on one qubit are gathered a qubit at a time and joined by a Kronecker product only where one on two
    qubits or the end needs it. A product of constants alone is returned as a NumPy array `[d, d]`.
    """
    whole: Matrix = None
    runs: dict[int, list[Operation]] = {q: [] for q in qubits}

    def close_runs(whole: Matrix) -> Matrix:
        matrix = run_matrix(runs[qubits[0]], values)
        for q in qubits[1:]:
            matrix = kron(matrix, run_matrix(runs[q], values))
        return matrix if whole is None else product(matrix, whole)

    for op in operations:
        if len(op.all_qubits) < 2:
            runs[op.all_qubits[0] if op.all_qubits else qubits[0]].append(op)
            continue
        if whole is None and not any(runs.values()):
            whole = _in_order(operation_matrix(op, values), op.all_qubits, qubits)
            continue
        whole = close_runs(whole) if any(runs.values()) else whole
        runs = {q: [] for q in qubits}
        whole = product(_in_order(operation_matrix(op, values), op.all_qubits, qubits), whole)
    if whole is None or any(runs.values()):
        whole = close_runs(whole)
    return whole[:, :, 0] if isinstance(whole, np.ndarray) else whole


def _in_order(matrix: Matrix, own: tuple[int, ...], qubits: tuple[int, ...]) -> Matrix:
    """Returns the matrix on `own`, two qubits, as one on `qubits`: exchanged bits where the order differs."""
    if own == qubits:
        return matrix
    return matrix.reshape(2, 2, 2, 2, -1).transpose(1, 0, 3, 2, 4).reshape(4, 4, -1)
