"""Diagonal operations as one matrix: the phase of each basis state is linear in the values of their angles.

A diagonal gate multiplies basis state z by e^(i w(z) angle) with fixed weights w, and an angle is a sum of products
of parameters and inputs. So the phases of any number of such gates are one product of a constant matrix, a row for
each basis state and a column for each product, with the values of the products; the sums of their cotangents are one
product with its transpose. Gates whose angles are multiples of one parameter, as in a cost layer of QAOA, share a
column.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qjax.quantum.angle import Angle, Reference
from qjax.quantum.matrices import phase_weights
from qjax.quantum.operation import Operation

# On more qubits, or of more numbers, the matrix would be a large constant of the program.
MAX_PHASE_TABLE_QUBITS, MAX_PHASE_TABLE_SIZE = 12, 2**20


@dataclass(frozen=True, eq=False)
class PhaseTable:
    """The phases of diagonal operations: `constant` + `weights` @ values of `angles`.

    Attributes:
      constant: `[2**n]`, in [0, 2 pi), float64.
      angles: a product of parameters and inputs for each column.
      weights: `[2**n, angles]`, float64.
    """

    constant: np.ndarray
    angles: tuple[Angle, ...]
    weights: np.ndarray


def phase_table(operations: Sequence[Operation], num_qubits: int) -> PhaseTable | None:
    """Returns the table of diagonal operations on n qubits; None where it would be too large."""
    products = {refs for op in operations for angle in op.angles for _, refs in angle.terms}
    if num_qubits > MAX_PHASE_TABLE_QUBITS or len(products) << num_qubits > MAX_PHASE_TABLE_SIZE:
        return None
    constant = np.zeros(2**num_qubits)
    columns: dict[tuple[Reference, ...], np.ndarray] = {}
    for op in operations:
        weights = _on_all(phase_weights(op), op.all_qubits, num_qubits)
        angle = op.angles[0] if op.angles else Angle(1.0)
        constant += angle.shift * weights
        for scale, refs in angle.terms:
            columns[refs] = columns.get(refs, 0.0) + scale * weights
    angles = tuple(Angle(0.0, ((1.0, refs),)) for refs in columns)
    table = np.stack([np.zeros_like(constant), *columns.values()], axis=1)[:, 1:]
    return PhaseTable(np.remainder(constant, 2 * np.pi), angles, table)


def _on_all(local: np.ndarray, qubits: Sequence[int], num_qubits: int) -> np.ndarray:
    """Returns values on some qubits, `[2**k]`, for each basis state, `[2**n]`."""
    rows = np.arange(2**num_qubits)
    places = np.zeros_like(rows)
    for q in qubits:
        places = 2 * places + (rows >> (num_qubits - 1 - q) & 1)
    return local[places]
