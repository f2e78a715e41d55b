"""Large states: which gates can be applied while a part of the state is at hand.

A part is a coset of the space that some masks span (`frame.py`): 2**k rows, among which each gate whose masks are in
that space moves amplitudes. So a pass over the state reads one coset after the other, applies all such gates that may
come now, and writes it back. In the coset its rows have numbers of their own, of k bits.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from qjax.quantum.frame import pivots
from qjax.quantum.native.forms import COUNT, ENTRY, FLIP, FORMS, KIND, LOW, MASK, WEIGHTS
from qjax.quantum.native.table import MAKERS, pair_neighbours


@dataclass(frozen=True, eq=False)
class Pass:
    """A pass over the state.

    Attributes:
      basis: of the space whose cosets are the parts; each has a bit, its pivot, that no other one has, ascending.
      entries: of the table, for rows as the coset numbers them, int32 `[entries, ENTRY]`.
      paired: the same with neighbours on one qubit each in pairs.
    """

    basis: tuple[int, ...]
    entries: np.ndarray
    paired: np.ndarray

    @property
    def pivots(self) -> list[int]:
        """Bit j of a row's number in the coset is this bit of the row."""
        return pivots(self.basis)

    def rows(self, low: int) -> np.ndarray:
        """Returns the rows of the coset of row 0 whose numbers are multiples of 2**low, int32."""
        found = np.zeros(1, np.int64)
        for mask in self.basis[low:]:
            found = np.concatenate([found, found ^ mask])
        return found.astype(np.int32)


@dataclass
class _Space:
    """A space of masks, by its basis in reduced form."""

    vectors: dict[int, int] = field(default_factory=dict)

    def rest(self, mask: int) -> int:
        """Returns what of a mask is not in the space; 0 where all of it is."""
        for pivot, vector in self.vectors.items():
            if mask >> pivot & 1:
                mask ^= vector
        return mask

    def add(self, mask: int) -> None:
        """Makes the space contain the mask."""
        rest = self.rest(mask)
        if rest:
            pivot = rest.bit_length() - 1
            for other, vector in self.vectors.items():
                if vector >> pivot & 1:
                    self.vectors[other] = vector ^ rest
            self.vectors[pivot] = rest

    def copy(self) -> "_Space":
        return _Space(dict(self.vectors))


@dataclass(frozen=True)
class _Group:
    """A gate's entry, after those that make its numbers; the gate turns over `masks` and depends on `weights`."""

    entries: tuple[np.ndarray, ...]
    needed: tuple[int, ...]
    masks: tuple[int, ...]
    weights: tuple[int, ...]

    def commutes(self, masks: Iterable[int], weights: Iterable[int]) -> bool:
        """Whether it may come before gates that turn over and depend on these."""
        return not any(_odd(m, w) for m in self.masks for w in weights) and not any(
            _odd(m, w) for m in masks for w in self.weights
        )


def passes_of(entries: np.ndarray, num_qubits: int, size: int, low: int) -> list[Pass]:
    """Returns the passes that apply all gates of a table.

    Args:
      entries: of the table, int32 `[entries, ENTRY]`.
      num_qubits: n.
      size: dimension k of the spaces, at most n, and at least `low` and three more.
      low: so many lowest bits of a row are in every space, which makes neighbouring numbers neighbouring rows.
    """
    waiting, found = _groups(entries), []
    while waiting:
        space = _Space({bit: 1 << bit for bit in range(low)})
        taken, skipped = [], []
        masks, weights = _Space(), _Space()  # of what is skipped
        for place, group in enumerate(waiting):
            if len(weights.vectors) == num_qubits and len(masks.vectors) == num_qubits:
                skipped += waiting[place:]
                break
            grown = space.copy()
            for mask in group.needed:
                grown.add(mask)
            fits = len(grown.vectors) <= size
            if fits and group.commutes(masks.vectors.values(), weights.vectors.values()):
                taken.append(group)
                space = grown
                continue
            skipped.append(group)
            for mask in group.masks:
                masks.add(mask)
            for weight in group.weights:
                weights.add(weight)
        found.append(_pass(space, taken, size))
        waiting = skipped
    return found


def _groups(entries: np.ndarray) -> list[_Group]:
    found: list[_Group] = []
    makers: list[np.ndarray] = []
    for entry in entries:
        if entry[KIND] in MAKERS:
            makers.append(entry)
            continue
        kind, targets, controls = FORMS[entry[KIND]]
        needed = tuple(int(mask) for mask in entry[MASK : MASK + targets + controls])
        weights = tuple(int(x) for x in entry[WEIGHTS : WEIGHTS + targets + controls])
        masks = () if kind == "diagonal" else needed[:targets]
        found.append(_Group((*makers, entry), needed, masks, weights))
        makers = []
    return found


def _pass(space: _Space, groups: Sequence[_Group], size: int) -> Pass:
    """Returns the pass of some gates; the space is filled up with the lowest bits."""
    bit = 0
    while len(space.vectors) < size:
        space.add(1 << bit)
        bit += 1
    chosen = sorted(space.vectors)
    basis = tuple(space.vectors[pivot] for pivot in chosen)
    local = [_local(entry, basis, chosen) for group in groups for entry in group.entries]
    whole = np.array(local, np.int32).reshape(-1, ENTRY)
    return Pass(basis, whole, pair_neighbours(whole, size))


def _local(entry: np.ndarray, basis: Sequence[int], chosen: Sequence[int]) -> np.ndarray:
    """Returns an entry for the numbers of rows in a coset.

    What a qubit is does not depend on the number alone: the bits of the coset's first row whose parity counts, too,
    stand behind the lowest bit of its flip.
    """
    if entry[KIND] in MAKERS:
        return entry
    found, count = entry.copy(), sum(FORMS[entry[KIND]][1:])
    bits = list(enumerate(chosen))
    masks = [sum((int(mask) >> pivot & 1) << j for j, pivot in bits) for mask in entry[MASK : MASK + count]]
    found[MASK : MASK + count] = masks
    for k in range(count):
        weights = int(entry[WEIGHTS + k])
        found[WEIGHTS + k] = sum(_odd(vector, weights) << j for j, vector in enumerate(basis))
        found[FLIP + k] = int(entry[FLIP + k]) | weights << 1
    found[LOW : LOW + count] = [2**bit - 1 for bit in pivots(masks)]
    found[COUNT] = 2 ** (len(basis) - count)
    return found


def _odd(mask: int, weights: int) -> bool:
    return (mask & weights).bit_count() % 2 == 1
