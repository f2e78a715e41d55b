"""Groups of gates, each on one qubit, that a GPU applies at once to the rows that a thread has in its registers.

The entry before a group says how many gates it has, and which cosets of rows these mix.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qjax.quantum.engines.native.cuda.memory_banks import CosetLists, place_of
from qjax.quantum.engines.native.table.layout import (
    GROUP_KINDS,
    MAX_GROUP,
    MAX_GROUP_BACK,
    MAX_SCALED,
    SINGLE,
    Entry,
    GroupEntry,
    GroupMembers,
    max_scaled,
)
from qjax.quantum.engines.native.table.passes import (
    GateWithMakers,
    Skipped,
    are_apart,
    gates_with_makers,
    with_cosets,
)


@dataclass(frozen=True, eq=False)
class GroupedEntries:
    """The entries of a pass as a kernel reads them.

    Attributes:
      entries: int32 `[entries, ENTRY]`.
      count: number of entries, where a group counts as one.
      firsts: index of the first coefficient of each gate of each scaled group, int64 `[groups, MAX_SCALED]`; -1 where
        there is no gate.
    """

    entries: np.ndarray
    count: int
    firsts: np.ndarray


def grouped_entries(
    entries: np.ndarray,
    num_bits: int,
    num_shared: int,
    backward: bool,
    before: int = 0,
    lists: CosetLists | None = None,
) -> GroupedEntries:
    """Returns the entries of a pass with its gates in groups.

    In the reverse pass groups are in reverse order; the entry that describes a group still comes before it.

    Args:
      entries: of the pass, `[entries, ENTRY]`.
      num_bits: log2 of the rows of a coset.
      num_shared: number of shared coefficients.
      backward: whether this is the reverse pass.
      before: number of scaled groups in the passes before.
      lists: of the cosets' first rows, for a kernel of one size of tile; None for one that computes these rows.
    """
    most = max_scaled(backward, lists is not None), MAX_GROUP_BACK if backward else MAX_GROUP
    groups = group_gates(entries, num_bits, num_shared, most, 2 if lists is None else 1)
    grouped: list[np.ndarray] = []
    firsts: list[list[int]] = []
    for group in groups[::-1] if backward else groups:
        if len(group) == 1:
            grouped += group
            continue
        head, *gates = group
        if head[Entry.KIND] != GROUP_KINDS["dense_group", len(gates)]:
            head[Entry.FIRST] = before + len(firsts)
            firsts.append([int(gate[Entry.FIRST]) for gate in gates] + [-1] * (MAX_SCALED - len(gates)))
        if lists is not None:
            head[GroupEntry.COSETS] = lists.start(int(gate[Entry.WEIGHTS]) for gate in gates)
        grouped += [head, _packed(head, gates, lists is not None)]
    of_scaled = np.array(firsts, np.int64).reshape(-1, MAX_SCALED)
    return GroupedEntries(np.array(grouped, np.int32).reshape(-1, Entry.SIZE), len(groups), of_scaled)


def group_gates(
    entries: np.ndarray, num_bits: int, num_shared: int, most: tuple[int, int], least: int = 2
) -> list[list[np.ndarray]]:
    """Returns the entries of a pass in groups, in an order in which they can be applied.

    A group is one entry, or one that describes some gates and then these: int64 or int32 arrays `[ENTRY]`. Gates of
    shared coefficients are scaled.

    Args:
      entries: see `grouped_entries`.
      num_bits: likewise.
      num_shared: likewise.
      most: most gates in a group: of scaled gates, and of others.
      least: fewest scaled gates that have an entry before them; other gates have one if they are at least two.
    """
    groups: list[list[np.ndarray]] = []
    waiting: Sequence[GateWithMakers] = gates_with_makers(entries)
    while waiting:
        taken, waiting = _take(waiting, num_shared, most)
        groups += [[maker] for group in taken for maker in group.entries[:-1]]
        gates = [group.entries[-1] for group in taken]
        is_scaled = gates[0][Entry.KIND] == SINGLE and gates[0][Entry.FIRST] < num_shared
        has_head = len(gates) >= (least if is_scaled else 2)
        groups.append([_head(gates, num_bits, num_shared), *gates] if has_head else gates)
    return groups


def _take(
    waiting: Sequence[GateWithMakers], num_shared: int, most: tuple[int, int]
) -> tuple[list[GateWithMakers], list[GateWithMakers]]:
    """Returns the first gate with those that can be applied together with it, and all others."""
    taken, skipped = [waiting[0]], Skipped()
    is_shared = taken[0].entries[-1][Entry.FIRST] < num_shared
    for group in waiting[1:]:
        same_kind = (group.entries[-1][Entry.FIRST] < num_shared) == is_shared
        fits = same_kind and len(taken) < most[not is_shared]
        if fits and all(_apart(group, other) for other in taken) and skipped.lets_pass(group):
            taken.append(group)
        else:
            skipped.add(group)
    return taken, skipped.groups


def _apart(first: GateWithMakers, second: GateWithMakers) -> bool:
    """Whether two gates on one qubit each have different coefficients, and neither changes what the other reads."""
    gate, other = first.entries[-1], second.entries[-1]
    are_single = gate[Entry.KIND] == other[Entry.KIND] == SINGLE
    differ = all(gate[word] != other[word] for word in (Entry.MASK, Entry.FIRST))
    return are_single and differ and are_apart(gate, other)


def _head(gates: Sequence[np.ndarray], num_bits: int, num_shared: int) -> np.ndarray:
    """Returns the entry that comes before a group and describes it."""
    head = np.zeros(Entry.SIZE, gates[0].dtype)
    kind = "scaled_real" if all(gate[Entry.REAL_ROWS] for gate in gates) else "scaled"
    head[Entry.KIND] = GROUP_KINDS[kind if gates[0][Entry.FIRST] < num_shared else "dense_group", len(gates)]
    head[GroupEntry.MEMBERS] = 1
    return with_cosets(head, [int(gate[Entry.MASK]) for gate in gates], num_bits)


def _packed(head: np.ndarray, gates: Sequence[np.ndarray], listed: bool) -> np.ndarray:
    """Returns one entry for all gates of a group; writes the indices of their first coefficients into `head`."""
    count, packed = len(gates), np.zeros(Entry.SIZE, head.dtype)
    firsts, masks, weights, flips = np.array(gates)[:, [Entry.FIRST, Entry.MASK, Entry.WEIGHTS, Entry.FLIP]].T
    if listed:
        words = {GroupMembers.COSET_FLIPS: flips, GroupMembers.MOVES: 4 * place_of(masks)}
    else:
        lows = head[Entry.LOW : Entry.LOW + count]
        words = {
            GroupMembers.MASKS: masks,
            GroupMembers.WEIGHTS: weights,
            GroupMembers.FLIPS: flips,
            GroupMembers.LOWS: lows,
        }
    for word, values in words.items():
        packed[word : word + count] = values
    head[GroupEntry.FIRSTS : GroupEntry.FIRSTS + count] = firsts
    return packed
