"""Where the rows of a coset lie in the memory that the threads of a block share, which is in 32 banks.

Rows of a warp's 32 threads are read at once where each is in another bank. So a row's bank depends on many bits of
its number, and the cosets that gates mix are dealt out to the warps by the banks of their first rows: all other rows
of a coset are in banks that differ from these by the same bits.
"""

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


def dealt_out(rows: np.ndarray) -> np.ndarray:
    """Returns first rows of cosets in an order in which neighbours are in different banks, as far as they can be."""
    bank = place_of(rows) & (_WARP - 1)
    order = np.argsort(bank, kind="stable")
    starts = np.searchsorted(bank[order], np.arange(_WARP))
    rounds = np.empty(len(rows), np.int64)  # of each row, how many are in its bank before it
    rounds[order] = np.arange(len(rows)) - starts[bank[order]]
    return rows[np.lexsort((bank, rounds))]
