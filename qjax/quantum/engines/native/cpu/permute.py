"""Putting every amplitude of a large state where it belongs, or back: out[i] = in[A i + b], bits added modulo 2."""

from dataclasses import dataclass

import numpy as np

from qjax.quantum.compile.relabelling import Frame
from qjax.quantum.engines.native.table.passes import Space, span


@dataclass(frozen=True)
class LinearMap:
    """From the number of an amplitude to that of another one.

    Attributes:
      columns: what each bit of the number adds.
      offset: what number 0 becomes.
    """

    columns: tuple[int, ...]
    offset: int

    def turns(self, number: int) -> int:
        """Returns what bits of the number add."""
        found = 0
        for bit, column in enumerate(self.columns):
            if number >> bit & 1:
                found ^= column
        return found


def to_rows(frame: Frame) -> LinearMap:
    """Returns the map from a basis index to the row of a frame."""
    offset = 0
    for mask, flip in zip(frame.masks, frame.flips, strict=True):
        offset ^= mask * flip
    return LinearMap(tuple(frame.masks[::-1]), offset)


def to_indices(frame: Frame) -> LinearMap:
    """Returns the map from a row of a frame to the basis index."""
    n = frame.num_qubits
    columns = [sum((frame.weights[q] >> bit & 1) << (n - 1 - q) for q in range(n)) for bit in range(n)]
    return LinearMap(tuple(columns), sum(flip << (n - 1 - q) for q, flip in enumerate(frame.flips)))


@dataclass(frozen=True, eq=False)
class Moves:
    """How the amplitudes move, a coset at a time; all int32.

    Attributes:
      pivots: bits below the pivots of the cosets that are written, `[k]`.
      sources: rows that are read, without the lowest bits, `[2**(k - low)]`.
      targets: rows that are written, likewise.
      places: where in the coset that was read each of these begins, `[2**(k - low)]`.
      steps: and what their lowest bits add to that, `[2**low]`.
    """

    pivots: np.ndarray
    sources: np.ndarray
    targets: np.ndarray
    places: np.ndarray
    steps: np.ndarray


def moves_of(forth: LinearMap, back: LinearMap, size: int, low: int) -> Moves:
    """Returns how amplitudes move.

    Args:
      forth: from the number of an amplitude to that of the one that takes its place.
      back: its inverse.
      size: dimension k of the cosets, at least twice `low`.
      low: so many lowest bits are in each coset that is read, and that is written.
    """
    n = len(forth.columns)
    sources = Space(low)
    for column in (*forth.columns[:low], *(1 << bit for bit in range(n))):
        if len(sources.basis) < size:
            sources.add(column)
    targets = Space(low)
    for vector in sources.basis:
        targets.add(back.turns(vector))
    assert len(targets.basis) == size
    places = [sources.rest(forth.turns(vector))[1] for vector in targets.basis]
    read, written, begin = (span(basis[low:]) for basis in (sources.basis, targets.basis, places))
    lows = np.array([2**pivot - 1 for pivot in sorted(targets.vectors)])
    tables = (table.astype(np.int32) for table in (lows, read, written, begin, span(places[:low])))
    return Moves(*tables)
