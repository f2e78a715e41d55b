"""Diagonal operations as one matrix: the phase of each basis state is linear in the values of their angles.

A diagonal gate multiplies basis state z by e^(i w(z) angle) with fixed weights w, and an angle is a sum of products
of parameters and inputs. So the phases of any number of such gates are one product of a constant matrix, a row for
each basis state and a column for each product, with the values of the products; the sums of their cotangents are one
product with its transpose. Gates whose angles are small multiples of one parameter, as in a cost layer of QAOA, share
a column. Values are taken mod 4 pi, so that large ones lose nothing: weights are multiples of 1/2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from qjax.quantum.circuits.angle import Angle, Term
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.states.matrices import phase_weights
from qjax.quantum.states.reduction import number_within_period

# On more qubits, or of more numbers, the matrix would be a large constant of the program.
MAX_PHASE_TABLE_QUBITS, MAX_PHASE_TABLE_SIZE = 12, 2**20
# Multiples up to this one share a column: more of them would lose more digits.
MAX_MULTIPLE = 16


@dataclass(frozen=True, eq=False)
class PhaseTable:
    """The phases of diagonal operations: `constant` + `weights` @ values of `angles`.

    Attributes:
      constant: `[2**n]`, in [0, 2 pi), float64.
      angles: a multiple of a product of parameters and inputs for each column.
      weights: `[2**n, angles]`, float64.
    """

    constant: np.ndarray
    angles: tuple[Angle, ...]
    weights: np.ndarray


def phase_table(operations: Sequence[Operation], num_qubits: int) -> PhaseTable | None:
    """Returns the table of diagonal operations on n qubits; None where it would be too large."""
    terms = {(abs(scale), refs) for op in operations for angle in op.angles for scale, refs in angle.terms}
    bases = _bases(terms)
    if num_qubits > MAX_PHASE_TABLE_QUBITS or len(set(bases.values())) << num_qubits > MAX_PHASE_TABLE_SIZE:
        return None
    constant = np.zeros(2**num_qubits)
    columns: dict[Term, np.ndarray] = {}
    for op in operations:
        weights = _on_all(phase_weights(op), op.all_qubits, num_qubits)
        angle = op.angles[0] if op.angles else Angle(1.0)
        constant += number_within_period(angle.shift) * weights
        for scale, refs in angle.terms:
            base = bases[abs(scale), refs]
            columns[base] = columns.get(base, 0.0) + scale / base[0] * weights
    angles = tuple(Angle(0.0, (base,)) for base in columns)
    table = np.stack([np.zeros_like(constant), *columns.values()], axis=1)[:, 1:]
    return PhaseTable(np.remainder(constant, 2 * np.pi), angles, table)


def _bases(terms: Iterable[Term]) -> dict[Term, Term]:
    """Returns for each term, of a positive scale, the one that it is a small multiple of, itself if of no other."""
    found: dict[Term, Term] = {}
    for scale, refs in sorted(terms, key=lambda term: term[0]):
        known = (base for base in found.values() if base[1] == refs)
        multiples = (base for base in known if Fraction(scale) / Fraction(base[0]) in range(1, MAX_MULTIPLE + 1))
        found[scale, refs] = next(multiples, (scale or 1.0, refs))
    return found


def _on_all(local: np.ndarray, qubits: Sequence[int], num_qubits: int) -> np.ndarray:
    """Returns values on some qubits, `[2**k]`, for each basis state, `[2**n]`."""
    rows = np.arange(2**num_qubits)
    places = np.zeros_like(rows)
    for q in qubits:
        places = 2 * places + (rows >> (num_qubits - 1 - q) & 1)
    return local[places]
