"""Where the rows of a coset lie in the memory that the threads of a block share, which is in 32 banks.

A warp's 32 threads read their rows at once if no two of these are in the same bank. So a row's bank depends on many
bits of its number, and the cosets are dealt out to the warps by the banks of their first rows: the banks of all other
rows of a coset differ from these by the same bits.
"""

from collections.abc import Iterable

import numpy as np

BANK_BITS = 5
# Bit k of a bank's number is the sum, modulo 2, of the bits k, k + 2 and k + 7 of a row's number. Of all pairs of
# shifts these leave the fewest conflicts in 280 groups of gates of the benchmarks W1 and W2: a warp takes 1.02 turns
# on average (1.10 with a shift of 5 alone, 1.01 with the best three shifts).
SHIFTS = (2, 7)
_WARP = 1 << BANK_BITS


def place_of(rows: np.ndarray) -> np.ndarray:
    """Returns the places of rows in shared memory, counted in numbers; linear in the bits of rows, modulo 2."""
    mixed: np.ndarray = np.zeros_like(rows)
    for shift in SHIFTS:
        mixed = mixed ^ rows >> shift
    return np.asarray(rows ^ mixed & (_WARP - 1))


class CosetLists:
    """CosetLists of where the first rows of cosets lie. Groups of gates on the same qubits share a list.

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
        """Returns where the list of first rows begins for the qubits of these weights, without their flips."""
        key = frozenset(weights)
        if key not in self._starts:
            rows = np.arange(1 << self.num_bits)
            for mask in key:
                rows = rows[np.bitwise_count(rows & mask) % 2 == 0]
            self._starts[key] = self._size
            self._parts.append((4 * place_of(dealt_out(rows))).astype(np.int32))
            self._size += len(rows)
        return self._starts[key]


def dealt_out(rows: np.ndarray) -> np.ndarray:
    """Returns first rows of cosets in an order in which neighbours are in different banks, as far as possible."""
    bank = place_of(rows) & (_WARP - 1)
    order = np.argsort(bank, kind="stable")
    starts = np.searchsorted(bank[order], np.arange(_WARP))
    rounds = np.empty(len(rows), np.int64)  # for each row, how many rows before it are in its bank
    rounds[order] = np.arange(len(rows)) - starts[bank[order]]
    return rows[np.lexsort((bank, rounds))]
