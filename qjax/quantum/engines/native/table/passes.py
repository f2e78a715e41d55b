"""Large states: which gates can be applied while a part of the state is at hand.

A part is a coset of the space that some masks span (`relabelling.py`): 2**k rows, among which each gate whose masks
are in that space moves amplitudes. So a pass over the state reads one coset after the other, applies all such gates
that may come now, and writes it back. In the coset its rows have numbers of their own, of k bits.

On a CPU the lowest bits of a row's number say where in a vector it lies. No gate there reaches across a vector: those
that transpose such bits over wait until they have changed places with the next bits, as a matrix that is transposed.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qjax.quantum.compile.relabelling import pivots
from qjax.quantum.engines.native.table.layout import CPU_MAKER_KINDS, TRANSPOSE, Entry, ListEntry, RecordWord, form_of
from qjax.quantum.engines.native.table.lists import num_targets, records_of
from qjax.quantum.engines.native.table.native_gates import Unsupported


@dataclass(frozen=True, eq=False)
class Pass:
    """A pass over the state.

    Attributes:
      basis: of the space whose cosets are the parts, one mask for each bit of a row's number.
      entries: of the table, for rows as the coset numbers them, int32 `[entries, ENTRY]`.
      records: what the entries say of strings of Z, likewise, int32 `[records, RECORD_WORDS]`.
    """

    basis: tuple[int, ...]
    entries: np.ndarray
    records: np.ndarray

    @property
    def pivots(self) -> list[int]:
        """Bits that the first row of no coset has, ascending."""
        return pivots(self.basis)

    def rows(self, low: int) -> np.ndarray:
        """Returns the rows of the coset of row 0 whose numbers are multiples of 2**low, int32."""
        return span(self.basis[low:]).astype(np.int32)


class Space:
    """A space of masks.

    Attributes:
      basis: as it was added, without the lowest bits, which come first, each by itself.
      vectors: the same in reduced form: by its pivot each vector, and which of the basis are its sum.
    """

    def __init__(self, low: int = 0) -> None:
        self.low = low
        self.basis = [1 << bit for bit in range(low)]
        self.vectors = {bit: (1 << bit, 1 << bit) for bit in range(low)}

    def rest(self, mask: int) -> tuple[int, int]:
        """Returns what of a mask is not in the space, and which of the basis are the sum of all else."""
        places = 0
        for pivot, (vector, made_of) in self.vectors.items():
            if mask >> pivot & 1:
                mask, places = mask ^ vector, places ^ made_of
        return mask, places

    def add(self, mask: int) -> None:
        """Makes the space contain the mask."""
        mask = mask >> self.low << self.low
        rest, places = self.rest(mask)
        if not rest:
            return
        places ^= 1 << len(self.basis)
        self.basis.append(mask)
        pivot_bit = rest.bit_length() - 1
        for pivot, (vector, made_of) in self.vectors.items():
            if vector >> pivot_bit & 1:
                self.vectors[pivot] = vector ^ rest, made_of ^ places
        self.vectors[pivot_bit] = rest, places

    def copy(self) -> "Space":
        """Returns one that can be changed by itself."""
        other = Space()
        other.low, other.basis, other.vectors = self.low, list(self.basis), dict(self.vectors)
        return other


def span(basis: Sequence[int]) -> np.ndarray:
    """Returns all sums of a basis, modulo 2: number k has those whose places are the bits of k, int64."""
    found = np.zeros(1, np.int64)
    for mask in basis:
        found = np.concatenate([found, found ^ mask])
    return found


@dataclass(frozen=True)
class GateWithMakers:
    """A gate's entry, after those that make its numbers.

    Attributes:
      entries: these.
      needed: masks that the space must have.
      masks: those of the rows that it moves; a diagonal gate has none.
      weights: those of the qubits that it depends on.
    """

    entries: tuple[np.ndarray, ...]
    needed: tuple[int, ...]
    masks: tuple[int, ...]
    weights: tuple[int, ...]


class _Span:
    """What masks span, as far as others are odd with it."""

    def __init__(self) -> None:
        self.basis: list[int] = []
        self._by_length: dict[int, int] = {}

    def add(self, mask: int) -> None:
        """Makes the span contain the mask."""
        rest = mask
        while rest and rest.bit_length() in self._by_length:
            rest ^= self._by_length[rest.bit_length()]
        if rest:
            self._by_length[rest.bit_length()] = rest
            self.basis.append(mask)

    def meets(self, masks: Sequence[int]) -> bool:
        """Whether any of the masks is odd with any mask of the span."""
        return any(_odd(mask, other) for mask in masks for other in self.basis)


class Skipped:
    """Gates that come later; others may pass them where they commute with all of them."""

    def __init__(self) -> None:
        self.groups: list[GateWithMakers] = []
        self._masks, self._weights = _Span(), _Span()

    def add(self, group: GateWithMakers) -> None:
        self.groups.append(group)
        for mask in group.masks:
            self._masks.add(mask)
        for weight in group.weights:
            self._weights.add(weight)

    def lets_pass(self, group: GateWithMakers) -> bool:
        return not self._weights.meets(group.masks) and not self._masks.meets(group.weights)

    def is_full(self, num_qubits: int) -> bool:
        """Whether nothing can pass."""
        return len(self._masks.basis) == len(self._weights.basis) == num_qubits


def _odd(mask: int, weights: int) -> bool:
    return (mask & weights).bit_count() % 2 == 1


_NO_RECORDS = np.zeros((0, RecordWord.SIZE), np.int64)


def passes_of(
    entries: np.ndarray,
    num_qubits: int,
    size: int,
    low: int,
    lanes: bool = False,
    run: int = 0,
    records: np.ndarray = _NO_RECORDS,
) -> list[Pass]:
    """Returns the passes that apply all gates of a table, at least one.

    Args:
      entries: of the table, int32 `[entries, ENTRY]`.
      num_qubits: n.
      size: dimension k of the spaces, at most n, and at least `low` and three more.
      low: so many lowest bits of a row are in every space, which makes neighbouring numbers neighbouring rows.
      lanes: whether these bits number what a vector holds. Then `size` is at least twice `low`, and three more.
      run: so many lowest bits are in every space if that is more: longer runs of rows are fetched sooner.
      records: of the table's strings of Z.

    Raises:
      Unsupported: a gate cannot be done in any part.
    """
    waiting = deque(gates_with_makers(entries, records))
    found: list[Pass] = []
    while waiting or not found:  # one at least, which makes the first state
        draft, skipped = _Draft(num_qubits, size, low, lanes, run, records), Skipped()
        while waiting and not skipped.is_full(num_qubits):
            group = waiting.popleft()
            if not skipped.lets_pass(group) or not draft.take(group):
                skipped.add(group)
        waiting.extendleft(reversed(skipped.groups))
        if waiting and not draft.groups:
            raise Unsupported
        found.append(draft.finish())
    return found


def gates_with_makers(entries: np.ndarray, records: np.ndarray = _NO_RECORDS) -> list[GateWithMakers]:
    found: list[GateWithMakers] = []
    makers: list[np.ndarray] = []
    for entry in entries:
        if entry[Entry.KIND] in CPU_MAKER_KINDS:
            makers.append(entry)
            continue
        kind, targets, controls = form_of(entry[Entry.KIND])
        needed = tuple(int(mask) for mask in entry[Entry.MASK : Entry.MASK + targets + controls])
        weights = tuple(int(x) for x in entry[Entry.WEIGHTS : Entry.WEIGHTS + targets + controls])
        listed = records_of(entry, records)
        weights += tuple({int(x) for x in listed[:, RecordWord.WEIGHTS]})
        needed += tuple(int(x) for x in listed[: num_targets(entry), RecordWord.MASK])
        moving = () if kind == "diagonal" else needed[:targets] if controls else needed
        found.append(GateWithMakers((*makers, entry), needed, moving, weights))
        makers = []
    return found


class _Draft:
    """A pass while gates are taken into it."""

    def __init__(self, num_qubits: int, size: int, low: int, lanes: bool, run: int, records: np.ndarray) -> None:
        self.num_qubits, self.size, self.low, self.lanes, self.records = num_qubits, size, low, lanes, records
        self.groups: list[GateWithMakers] = []
        self._space = Space(low)
        for bit in range(low, run):
            self._space.add(1 << bit)
        self._used = 0  # which of the basis those gates move along that reach into the lanes

    def take(self, group: GateWithMakers) -> bool:
        """Takes a gate if there is room for it."""
        grown = self._space.copy()
        for mask in group.needed:
            grown.add(mask)
        used = self._used | (_places(grown, group) if self._reaches(group) else 0)
        # As many others as there are lanes must be left to change places with these.
        if len(grown.basis) > self.size or (used >> self.low).bit_count() > self.size - 2 * self.low * self.lanes:
            return False
        self._space, self._used = grown, used
        self.groups.append(group)
        return True

    def finish(self) -> Pass:
        """Returns the pass; its space is filled up with the lowest bits."""
        for bit in range(self.num_qubits):
            if len(self._space.basis) < self.size:
                self._space.add(1 << bit)
        order, exchanged = list(range(self.size)), []
        if self.lanes:
            exchanged = [place for place in order if place >= self.low and not self._used >> place & 1][-self.low :]
            others = [place for place in order[self.low :] if place not in exchanged]
            order = [*order[: self.low], *exchanged, *others]
        local = [self._local(entry, order) for entry in self._in_order(exchanged)]
        entries = np.array([entry for entry, _ in local], np.int32).reshape(-1, Entry.SIZE)
        records = [listed for _, listed in local]
        if self.lanes:
            entries = _in_vectors(entries, records, self.low, self.size)
        basis = tuple(self._space.basis[place] for place in order)
        return Pass(basis, entries, np.concatenate([_NO_RECORDS, *records]).astype(np.int32))

    def _reaches(self, group: GateWithMakers) -> bool:
        """Whether a gate turns bits over that number what a vector holds."""
        return self.lanes and any(mask % (1 << self.low) for mask in group.needed)

    def _in_order(self, exchanged: Sequence[int]) -> list[np.ndarray]:
        """Returns the entries; between those that want the lanes as they are, and the others, the lanes transpose."""
        if not self.lanes:
            return [entry for group in self.groups for entry in group.entries]
        away, transpose = sum(1 << place for place in exchanged), np.zeros(Entry.SIZE, np.int64)
        transpose[Entry.KIND] = TRANSPOSE
        waiting, is_transposed = self.groups, False
        found: list[np.ndarray] = []
        while waiting or is_transposed:
            skipped = Skipped()
            for group in waiting:
                here = not _places(self._space, group) & away if is_transposed else not self._reaches(group)
                if here and skipped.lets_pass(group):
                    found += group.entries
                else:
                    skipped.add(group)
            waiting = skipped.groups
            if waiting or is_transposed:
                found.append(transpose)
                is_transposed = not is_transposed
        return found

    def _local(self, entry: np.ndarray, order: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Returns an entry for the numbers of rows in a coset, and the records of its strings of Z.

        What a qubit is does not depend on the number alone: the bits of the coset's first row whose parity counts,
        too, stand behind the lowest bit of its flip.
        """
        if entry[Entry.KIND] in CPU_MAKER_KINDS or entry[Entry.KIND] == TRANSPOSE:
            return entry, _NO_RECORDS

        def parity_bits(weights: int) -> int:
            """Returns the bits of a row's number whose parity is that of these bits of the row."""
            return sum(_odd(self._space.basis[place], weights) << j for j, place in enumerate(order))

        def moved(mask: int) -> int:
            """Returns a mask as a sum of the basis."""
            places = self._space.rest(mask)[1]
            return sum((places >> place & 1) << j for j, place in enumerate(order))

        found = entry.copy()
        for k in range(len(_masks(entry))):
            weights, found[Entry.MASK + k] = int(entry[Entry.WEIGHTS + k]), moved(int(entry[Entry.MASK + k]))
            found[Entry.WEIGHTS + k] = parity_bits(weights)
            found[Entry.FLIP + k] = int(entry[Entry.FLIP + k]) | weights << 1
        records = records_of(entry, self.records).copy()
        records[:, RecordWord.FLIP] |= records[:, RecordWord.WEIGHTS] << 1
        records[:, RecordWord.WEIGHTS] = [parity_bits(int(weights)) for weights in records[:, RecordWord.WEIGHTS]]
        targets = records[: num_targets(entry), RecordWord.MASK]
        targets[:] = [moved(int(mask)) for mask in targets]
        return with_cosets(found, _masks(found), len(order)), records


def _places(space: Space, group: GateWithMakers) -> int:
    """Returns which of the basis a gate moves along."""
    found = 0
    for mask in group.needed:
        found |= space.rest(mask)[1]
    return found


def _masks(entry: np.ndarray) -> list[int]:
    count = sum(form_of(entry[Entry.KIND])[1:])
    return [int(mask) for mask in entry[Entry.MASK : Entry.MASK + count]]


def with_cosets(entry: np.ndarray, masks: Sequence[int], num_bits: int) -> np.ndarray:
    """Returns an entry with what says where the cosets of these masks begin among rows of so many bits."""
    lows = pivots(masks)
    entry[Entry.LOW : Entry.LOW + len(masks)] = [2**bit - 1 for bit in lows]
    entry[Entry.COUNT] = 2 ** (num_bits - len(masks))
    return entry


def _in_vectors(entries: np.ndarray, records: Sequence[np.ndarray], low: int, size: int) -> np.ndarray:
    """Returns entries for rows of vectors: without the bits that number what a vector holds.

    Qubits that depend on those bits say so in `LANES`, four bits for each of them; so do, in place, the records of
    strings of Z that each entry has.
    """
    is_transposed, below, num_records = False, (1 << low) - 1, 0
    found: list[np.ndarray] = []

    def places(number: int) -> tuple[int, int]:
        """Returns the bits of a row of vectors, and those of a place in a vector."""
        number = _exchanged(number, low) if is_transposed else number
        return number >> low, number & below

    for entry, listed in zip(entries, records, strict=True):
        if entry[Entry.KIND] == TRANSPOSE:
            is_transposed = not is_transposed
            found.append(entry)
            continue
        changed = entry.copy()
        for k in range(len(_masks(entry))):
            changed[Entry.MASK + k], reached = places(int(entry[Entry.MASK + k]))
            assert not reached
            changed[Entry.WEIGHTS + k], lanes = places(int(entry[Entry.WEIGHTS + k]))
            changed[Entry.LANES] |= lanes << 4 * k
        if len(listed):
            parity_bits = [places(weights) for weights in listed[:, RecordWord.WEIGHTS].tolist()]
            listed[:, [RecordWord.WEIGHTS, RecordWord.LANES]] = parity_bits
            changed[ListEntry.RECORDS] = num_records
            num_records += len(listed)
        targets = listed[: num_targets(entry)]
        if len(targets):
            targets[:, RecordWord.MASK] = [places(int(mask))[0] for mask in targets[:, RecordWord.MASK]]
            targets[:, RecordWord.LOW] = [2**bit - 1 for bit in pivots(targets[:, RecordWord.MASK].tolist())]
            changed[Entry.COUNT] = 2 ** (size - low - len(targets))
        else:
            changed = with_cosets(changed, _masks(changed), size - low)
        found.append(changed)
    return np.array(found, np.int32).reshape(-1, Entry.SIZE)


def _exchanged(number: int, low: int) -> int:
    """Returns a number whose lowest bits have changed places with as many next ones."""
    below = (1 << low) - 1
    return number >> 2 * low << 2 * low | (number & below) << low | number >> low & below


def are_apart(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether neither of two gates on one qubit each changes what the other depends on."""
    gates = first, second
    return all((int(a[Entry.WEIGHTS]) & int(b[Entry.MASK])).bit_count() % 2 == 0 for a, b in (gates, gates[::-1]))
