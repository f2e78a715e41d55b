"""Which row of a state goes where when basis states are permuted."""

from collections.abc import Sequence

import numpy as np

from qjax.quantum.circuits.operation import Operation


def source_rows(op: Operation, n: int) -> np.ndarray:
    """Returns for each row of the state after a permutation, controls included, the row that it comes from."""
    assert op.gate.permutation is not None
    image = op.gate.permutation()
    local_source = np.empty(len(image), np.int64)
    local_source[image] = np.arange(len(image))
    rows = np.arange(2**n, dtype=np.int64)
    moved = _set_bits(rows, op.qubits, local_source[_get_bits(rows, op.qubits, n)], n)
    wanted = sum(v << i for i, v in enumerate(reversed(op.control_values)))
    return np.where(_get_bits(rows, op.controls, n) == wanted, moved, rows).astype(np.int32)


def _get_bits(rows: np.ndarray, qubits: Sequence[int], n: int) -> np.ndarray:
    """Returns the bits of some qubits as one number, the first qubit the most significant."""
    local = np.zeros_like(rows)
    for q in qubits:
        local = (local << 1) | ((rows >> (n - 1 - q)) & 1)
    return local


def _set_bits(rows: np.ndarray, qubits: Sequence[int], local: np.ndarray, n: int) -> np.ndarray:
    """Returns the rows with the bits of some qubits taken from one number."""
    for place, q in enumerate(reversed(qubits)):
        shift = n - 1 - q
        rows = (rows & ~(1 << shift)) | (((local >> place) & 1) << shift)
    return rows
