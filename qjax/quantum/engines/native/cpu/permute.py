"""Permutes the amplitudes of a large state from rows to basis indices, or back: out[i] = in[A i + b] over bits.

Rows and basis indices are vectors of bits; sums are modulo 2 (XOR).
"""

from dataclasses import dataclass

import numpy as np

from qjax.quantum.compile.relabelling import Relabelling
from qjax.quantum.engines.native.table.passes import Space, span


@dataclass(frozen=True)
class LinearMap:
    """The map i -> A i + b on vectors of bits, with sums modulo 2.

    Attributes:
      columns: of A, one for each bit of i, the lowest bit first.
      offset: b.
    """

    columns: tuple[int, ...]
    offset: int

    def linear(self, number: int) -> int:
        """Returns A times the number, without the offset."""
        total = 0
        for bit, column in enumerate(self.columns):
            if number >> bit & 1:
                total ^= column
        return total


def to_rows(relabelling: Relabelling) -> LinearMap:
    """Returns the map from a basis index to the row where its amplitude lies."""
    offset = 0
    for mask, flip in zip(relabelling.masks, relabelling.flips, strict=True):
        offset ^= mask * flip
    return LinearMap(tuple(relabelling.masks[::-1]), offset)


def to_indices(relabelling: Relabelling) -> LinearMap:
    """Returns the map from a row to the basis index whose amplitude lies there."""
    n = relabelling.num_qubits
    columns = [sum((relabelling.weights[q] >> bit & 1) << (n - 1 - q) for q in range(n)) for bit in range(n)]
    return LinearMap(tuple(columns), sum(flip << (n - 1 - q) for q, flip in enumerate(relabelling.flips)))


@dataclass(frozen=True, eq=False)
class Moves:
    """How a permutation is done one coset after the other; all arrays int32.

    Attributes:
      pivots: bits below the pivots of the cosets that are written, `[k]`.
      sources: rows of the first coset that is read, those whose lowest bits are 0, `[2**(k - low)]`.
      targets: rows of the first coset that is written, those whose lowest bits are 0, `[2**(k - low)]`.
      places: where in the coset that was read the amplitude of each target lies, `[2**(k - low)]`.
      steps: what the lowest bits of a target add to that place, `[2**low]`.
    """

    pivots: np.ndarray
    sources: np.ndarray
    targets: np.ndarray
    places: np.ndarray
    steps: np.ndarray


def moves_of(forth: LinearMap, back: LinearMap, size: int, low: int) -> Moves:
    """Returns how to do the permutation out[i] = in[forth(i)].

    Args:
      forth: from the index of an amplitude in the result to its index in what is read.
      back: the inverse of `forth`.
      size: dimension k of the cosets, at least twice `low`.
      low: number of lowest bits over which each coset runs, of those read and of those written.
    """
    n = len(forth.columns)
    sources = Space(low)
    for column in (*forth.columns[:low], *(1 << bit for bit in range(n))):
        if len(sources.basis) < size:
            sources.add(column)
    targets = Space(low)
    for vector in sources.basis:
        targets.add(back.linear(vector))
    assert len(targets.basis) == size
    places = [sources.rest(forth.linear(vector))[1] for vector in targets.basis]
    read, written, begin = (span(basis[low:]) for basis in (sources.basis, targets.basis, places))
    lows = np.array([2**pivot - 1 for pivot in sorted(targets.vectors)])
    tables = (table.astype(np.int32) for table in (lows, read, written, begin, span(places[:low])))
    return Moves(*tables)
