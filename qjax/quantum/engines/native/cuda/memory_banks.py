"""Where the rows of a coset lie in the memory that the threads of a block share, which is in 32 banks.

Rows of a warp's 32 threads are read at once where each is in another bank. So a row's bank depends on many bits of
its number, and the cosets that gates mix are dealt out to the warps by the banks of their first rows: all other rows
of a coset are in banks that differ from these by the same bits.
"""

from collections.abc import Iterable

import numpy as np

BANK_BITS = 5
# Bank k has the bits k, k + 2 and k + 7 of a row's number. Of all pairs of shifts these leave the fewest conflicts
# among 280 pieces of W1 and W2: 1.02 rows in a bank for one (a shift of 5 alone 1.10, the best three 1.01).
SHIFTS = (2, 7)
_WARP = 1 << BANK_BITS


def place_of(rows: np.ndarray) -> np.ndarray:
    """Returns where rows are, as numbers; linear in their bits."""
    mixed: np.ndarray = np.zeros_like(rows)
    for shift in SHIFTS:
        mixed = mixed ^ rows >> shift
    return np.asarray(rows ^ mixed & (_WARP - 1))


class Lists:
    """Where the first rows of cosets lie, for all pieces of a circuit; those of the same qubits share a list.

    Attributes:
      num_bits: of a row's number.
    """

    def __init__(self, num_bits: int) -> None:
        self.num_bits = num_bits
        self._starts: dict[frozenset[int], int] = {}
        self._parts: list[np.ndarray] = []
        self._size = 0

    @property
    def places(self) -> np.ndarray:
        """All lists, in bytes, int32."""
        return np.concatenate([np.zeros(0, np.int32), *self._parts])

    def start(self, weights: Iterable[int]) -> int:
        """Returns where the list begins of rows where the qubits of these weights are 0, if none is flipped."""
        key = frozenset(weights)
        if key not in self._starts:
            rows = np.arange(1 << self.num_bits)
            for own in key:
                rows = rows[np.bitwise_count(rows & own) % 2 == 0]
            self._starts[key] = self._size
            self._parts.append((4 * place_of(dealt_out(rows))).astype(np.int32))
            self._size += len(rows)
        return self._starts[key]


def dealt_out(rows: np.ndarray) -> np.ndarray:
    """Returns first rows of cosets in an order in which neighbours are in different banks, as far as they can be."""
    bank = place_of(rows) & (_WARP - 1)
    order = np.argsort(bank, kind="stable")
    starts = np.searchsorted(bank[order], np.arange(_WARP))
    rounds = np.empty(len(rows), np.int64)  # of each row, how many are in its bank before it
    rounds[order] = np.arange(len(rows)) - starts[bank[order]]
    return rows[np.lexsort((bank, rounds))]
