"""Which gates on one qubit each a GPU applies at once to the rows that a thread has in its registers.

Such gates stand behind an entry that says how many they are, and which cosets of rows they mix together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qjax.quantum.engines.native.cuda.memory_banks import Lists, place_of
from qjax.quantum.engines.native.table.layout import (
    ALL_WEIGHTS,
    ENTRY,
    FIRST,
    FIRSTS,
    FLIP,
    FLIPS,
    KIND,
    LISTED,
    LISTED_FLIPS,
    LOW,
    LOWS,
    MASK,
    MASKS,
    MAX_LISTED,
    MAX_SEVERAL,
    MAX_SEVERAL_BACK,
    MEMBERS,
    MOVES,
    REAL_ROWS,
    SEVERAL,
    SINGLE,
    WEIGHTS,
    max_scaled,
)
from qjax.quantum.engines.native.table.passes import Group, Skipped, are_apart, groups_of, with_cosets


@dataclass(frozen=True, eq=False)
class Pieces:
    """The entries of a pass as a kernel follows them.

    Attributes:
      entries: int32 `[entries, ENTRY]`.
      count: how many of them are done one after the other.
      firsts: where the numbers of each gate of those begin that are scaled, int64 `[pieces, MAX_LISTED]`; -1 where
        there is no gate.
    """

    entries: np.ndarray
    count: int
    firsts: np.ndarray


def pieces_of(
    entries: np.ndarray, num_bits: int, num_shared: int, backward: bool, before: int = 0, lists: Lists | None = None
) -> Pieces:
    """Returns what a kernel does for a pass.

    The entries of the reverse pass are in reverse order, but that gates follow the entry that announces them.

    Args:
      entries: of the pass, `[entries, ENTRY]`.
      num_bits: of the rows of a coset.
      num_shared: number of coefficients that all examples share.
      backward: whether it is the reverse pass.
      before: how many pieces that are scaled come before.
      lists: of the cosets' first rows, for a kernel that knows the size of a tile; None where it finds them itself.
    """
    most = max_scaled(backward, lists is not None), MAX_SEVERAL_BACK if backward else MAX_SEVERAL
    drawn = in_several(entries, num_bits, num_shared, most, 2 if lists is None else 1)
    found: list[np.ndarray] = []
    firsts: list[list[int]] = []
    for piece in drawn[::-1] if backward else drawn:
        if len(piece) == 1:
            found += piece
            continue
        head, *gates = piece
        if head[KIND] != SEVERAL["several", len(gates)]:
            head[FIRST] = before + len(firsts)
            own = [int(gate[FIRST]) for gate in gates]
            firsts.append(own + [-1] * (MAX_LISTED - len(gates)))
        if lists is not None:
            head[LISTED] = lists.start(int(gate[WEIGHTS]) for gate in gates)
        found += [head, _packed(head, gates, lists is not None)]
    whole, of_scaled = np.array(found, np.int32).reshape(-1, ENTRY), np.array(firsts, np.int64)
    return Pieces(whole, len(drawn), of_scaled.reshape(-1, MAX_LISTED))


def in_several(
    entries: np.ndarray, num_bits: int, num_shared: int, most: tuple[int, int], least: int = 2
) -> list[list[np.ndarray]]:
    """Returns the entries of a pass in pieces, in an order in which they can be done.

    A piece is one entry, or one that says that several gates follow, and these: int64 or int32 arrays `[ENTRY]`.

    Args:
      entries: of the pass, `[entries, ENTRY]`.
      num_bits: of the rows of a coset.
      num_shared: number of coefficients that all examples share: gates that have these are scaled.
      most: so many of these, and of other gates, are done at once at most.
      least: so many scaled gates make several; others that are alone need no such entry.
    """
    found: list[list[np.ndarray]] = []
    waiting: Sequence[Group] = groups_of(entries)
    while waiting:
        taken, waiting = _take(waiting, num_shared, most)
        found += [[maker] for group in taken for maker in group.entries[:-1]]
        gates = [group.entries[-1] for group in taken]
        is_scaled = gates[0][KIND] == SINGLE and gates[0][FIRST] < num_shared
        several = len(gates) >= (least if is_scaled else 2)
        found.append([_head(gates, num_bits, num_shared), *gates] if several else gates)
    return found


def _take(waiting: Sequence[Group], num_shared: int, most: tuple[int, int]) -> tuple[list[Group], list[Group]]:
    """Returns the first of the gates, with those that can be done with it, and all others."""
    taken, skipped = [waiting[0]], Skipped()
    is_shared = taken[0].entries[-1][FIRST] < num_shared
    for group in waiting[1:]:
        alike = (group.entries[-1][FIRST] < num_shared) == is_shared
        fits = alike and len(taken) < most[not is_shared]
        if fits and all(_apart(group, other) for other in taken) and skipped.lets_pass(group):
            taken.append(group)
        else:
            skipped.add(group)
    return taken, skipped.groups


def _apart(first: Group, second: Group) -> bool:
    """Whether two gates are on one qubit each, with numbers of their own, and neither changes what the other sees."""
    gates = first.entries[-1], second.entries[-1]
    if any(gate[KIND] != SINGLE for gate in gates) or any(gates[0][x] == gates[1][x] for x in (MASK, FIRST)):
        return False
    return are_apart(*gates)


def _head(gates: Sequence[np.ndarray], num_bits: int, num_shared: int) -> np.ndarray:
    """Returns the entry that says that these gates follow."""
    head = np.zeros(ENTRY, gates[0].dtype)
    kind = "scaled_real" if all(gate[REAL_ROWS] for gate in gates) else "scaled"
    head[KIND] = SEVERAL[kind if gates[0][FIRST] < num_shared else "several", len(gates)]
    head[MEMBERS] = 1
    return with_cosets(head, [int(gate[MASK]) for gate in gates], num_bits)


def _packed(head: np.ndarray, gates: Sequence[np.ndarray], listed: bool) -> np.ndarray:
    """Returns the entry that says all of the gates, and puts the places of their numbers into the first one."""
    packed = np.zeros(ENTRY, head.dtype)
    for k, gate in enumerate(gates):
        if listed:
            packed[LISTED_FLIPS + k], packed[MOVES + k] = gate[FLIP], 4 * place_of(gate[MASK : MASK + 1])[0]
            continue
        packed[MASKS + k], packed[ALL_WEIGHTS + k], packed[FLIPS + k] = gate[MASK], gate[WEIGHTS], gate[FLIP]
        packed[LOWS + k] = head[LOW + k]
    head[FIRSTS : FIRSTS + len(gates)] = [gate[FIRST] for gate in gates]
    return packed
