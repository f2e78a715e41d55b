"""Operations that do one thing to the rows where some qubits have fixed values, and nothing to all others."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.circuits.operation import Operation
from qjax.quantum.states.axes import num_qubits_of
from qjax.quantum.states.matrices import constant_phases
from qjax.quantum.states.row_numbers import source_rows
from qjax.types import Array

# Qubits with the values that they have in the rows that are meant.
Conditions = tuple[tuple[int, int], ...]
# Row numbers of a permutation of more qubits would be a large constant: the program computes them.
MAX_TABLE_QUBITS = 16


@lru_cache(maxsize=4096)
def conditional_flip(op: Operation) -> tuple[int, Conditions] | None:
    """Returns (target, conditions) of an operation that flips a qubit where others have fixed values, as CX does.

    None for any other operation.
    """
    if op.gate.permutation is None:
        return None
    image = op.gate.permutation()
    flipped = np.flatnonzero(image != np.arange(len(image)))
    changed = set((image[flipped] ^ flipped).tolist())
    if len(changed) != 1 or not (change := changed.pop()) or change & (change - 1):
        return None
    conditions = _conditions(flipped, op.qubits)
    if conditions is None:
        return None
    return op.qubits[-change.bit_length()], (*zip(op.controls, op.control_values, strict=True), *conditions)


@lru_cache(maxsize=4096)
def conditional_sign(op: Operation) -> Conditions | None:
    """Returns the conditions under which an operation changes the sign, as Z and CZ do; None for any other one."""
    changed = sign_changes(op) if op.gate.diagonal is not None else None
    return None if changed is None else _conditions(np.flatnonzero(changed), op.all_qubits)


def sign_changes(op: Operation) -> np.ndarray | None:
    """Returns where a diagonal operation is -1, `[2**k]`; None where it is not 1 and -1 alone."""
    phases = constant_phases(op)
    return None if phases is None or np.any(np.abs(np.sin(phases)) > 1e-12) else np.cos(phases) < 0


def _conditions(rows: np.ndarray, qubits: Sequence[int]) -> Conditions | None:
    """Returns the fixed values that single out these rows of some qubits; None where none do."""
    fixed = []
    for place, q in enumerate(qubits):
        bits = set((rows >> (len(qubits) - 1 - place) & 1).tolist())
        fixed += [(q, bits.pop())] if len(bits) == 1 else []
    return tuple(fixed) if len(rows) == 2 ** (len(qubits) - len(fixed)) else None


def permute(state: Array, operations: Sequence[Operation]) -> Array:
    """Applies operations that permute the basis states: one gather of rows."""
    n = num_qubits_of(state)
    rows: Any = np.arange(2**n, dtype=np.int32) if n <= MAX_TABLE_QUBITS else lax.iota(np.int32, 2**n)
    for op in reversed(operations):
        flip = conditional_flip(op)
        if flip is None:
            rows = source_rows(op, n, rows)
        else:  # as X, CX and CCX do, without a table
            target, conditions = flip
            rows = rows ^ (hold(rows, conditions, n).astype(np.int32) << (n - 1 - target))
    return jnp.take(state, rows, axis=0, unique_indices=True, mode="clip")


def hold(rows: Any, conditions: Conditions, n: int) -> Any:
    """Returns for which basis states `rows` all conditions hold."""
    mask = sum(1 << (n - 1 - q) for q, _ in conditions)
    wanted = sum(value << (n - 1 - q) for q, value in conditions)
    return rows & mask == wanted
