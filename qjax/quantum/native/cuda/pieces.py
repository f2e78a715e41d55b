"""Which gates on one qubit each a GPU applies at once to the rows that a thread has in its registers.

Such gates stand behind an entry that says how many they are, and which cosets of rows they mix together.
"""

from collections.abc import Sequence

import numpy as np

from qjax.quantum.native.cosets import Group, Skipped, groups_of, with_cosets
from qjax.quantum.native.forms import (
    ENTRY,
    FIRST,
    FORMS,
    KIND,
    MASK,
    MAX_SEVERAL,
    MAX_SEVERAL_BACK,
    MEMBERS,
    SEVERAL,
    WEIGHTS,
)

_SINGLE = FORMS.index(("dense", 1, 0))


def in_several(entries: np.ndarray, num_bits: int, most: int) -> list[list[np.ndarray]]:
    """Returns the entries of a pass in pieces, in an order in which they can be done.

    A piece is one entry, or one that says that several gates follow, and these: int64 or int32 arrays `[ENTRY]`.

    Args:
      entries: of the pass, `[entries, ENTRY]`.
      num_bits: of the rows of a coset.
      most: so many gates are done at once at most.
    """
    found: list[list[np.ndarray]] = []
    waiting: Sequence[Group] = groups_of(entries)
    while waiting:
        taken, waiting = _take(waiting, most)
        found += [[maker] for group in taken for maker in group.entries[:-1]]
        gates = [group.entries[-1] for group in taken]
        found.append([_head(gates, num_bits), *gates] if len(gates) > 1 else gates)
    return found


def pieces_of(entries: np.ndarray, num_bits: int, backward: bool) -> tuple[np.ndarray, int]:
    """Returns the entries for a pass, int32 `[entries, ENTRY]`, and how many of them are done one after the other.

    Those of the reverse pass are in reverse order, but that gates follow the entry that announces them.
    """
    most, step = (MAX_SEVERAL_BACK, -1) if backward else (MAX_SEVERAL, 1)
    pieces = in_several(entries, num_bits, most)[::step]
    return np.concatenate(pieces).astype(np.int32), len(pieces)


def _take(waiting: Sequence[Group], most: int) -> tuple[list[Group], list[Group]]:
    """Returns the first of the gates, with those that can be done with it, and all others."""
    taken, skipped = [waiting[0]], Skipped()
    for group in waiting[1:]:
        fits = len(taken) < most and all(_apart(group, other) for other in taken)
        if fits and skipped.lets_pass(group):
            taken.append(group)
        else:
            skipped.add(group)
    return taken, skipped.groups


def _apart(first: Group, second: Group) -> bool:
    """Whether two gates are on one qubit each, with numbers of their own, and neither changes what the other sees."""
    gates = first.entries[-1], second.entries[-1]
    if any(gate[KIND] != _SINGLE for gate in gates) or any(gates[0][x] == gates[1][x] for x in (MASK, FIRST)):
        return False
    return all((int(a[WEIGHTS]) & int(b[MASK])).bit_count() % 2 == 0 for a, b in (gates, gates[::-1]))


def _head(gates: Sequence[np.ndarray], num_bits: int) -> np.ndarray:
    """Returns the entry that says that these gates follow."""
    head = np.zeros(ENTRY, gates[0].dtype)
    head[KIND], head[MEMBERS] = SEVERAL[len(gates)], len(gates)
    return with_cosets(head, [int(gate[MASK]) for gate in gates], num_bits)
