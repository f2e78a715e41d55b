"""Numbers of the rows of a state after a permutation of basis states."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax.quantum.circuits.operation import Operation

# If a gate moves more basis states than this, XLA looks the moves up in a table instead of comparing.
MAX_COMPARED = 16


def source_rows(op: Operation, n: int, rows: Any = None) -> Any:
    """Returns for rows of the state after a permutation, controls included, the rows that they come from.

    Args:
      op: the permutation.
      n: number of qubits.
      rows: int32, an array of NumPy or of JAX; None stands for all 2**n rows in order, as NumPy's.
    """
    assert op.gate.permutation is not None
    image = op.gate.permutation()
    source = np.argsort(image)
    # The bits that the gate flips, in the positions of a row.
    bits = _set_bits(np.arange(len(image)) ^ source, op.qubits, n).astype(np.int32)
    rows = np.arange(2**n, dtype=np.int32) if rows is None else rows
    module = np if isinstance(rows, np.ndarray) else jnp
    local = _get_bits(rows, op.qubits, n)
    moved = np.flatnonzero(bits)
    if module is np or len(moved) > MAX_COMPARED:
        flips = module.asarray(bits)[local]
    else:
        flips = sum(jnp.where(local == place, bits[place], np.int32(0)) for place in moved.tolist())
    wanted = sum(v << i for i, v in enumerate(reversed(op.control_values)))
    holds = _get_bits(rows, op.controls, n) == wanted
    return rows ^ module.where(holds, flips, module.zeros_like(flips))


def _get_bits(rows: Any, qubits: Sequence[int], n: int) -> Any:
    """Returns the bits of some qubits as one number, the first qubit the most significant."""
    local = rows & 0
    for q in qubits:
        local = (local << 1) | ((rows >> (n - 1 - q)) & 1)
    return local


def _set_bits(local: np.ndarray, qubits: Sequence[int], n: int) -> np.ndarray:
    """Undoes `_get_bits`: returns rows that have these bits, and 0 in all others."""
    rows = np.zeros_like(local)
    for place, q in enumerate(reversed(qubits)):
        rows |= (local >> place & 1) << (n - 1 - q)
    return rows
