"""Layers of shared gates on a CPU, factored into real rotations and tables of phases.

A unitary matrix on one qubit is L R D, with a real rotation R and diagonal L and D (Euler angles, ZYZ). Gates of
which none changes what another depends on form a layer. The D of a layer and the L of the layer before it multiply
each row of the state by a phase, the same for every example: a table of 2**n numbers, made once in a call. The
rotations are fast Givens rotations (Gentleman 1973, doi:10.1093/imamat/12.3.329): [[1, -t], [t, 1]] with |t| <= 1,
whose scale goes into the table. So a pair of amplitudes takes 4 multiply-adds for each gate and 8 for each table,
where a matrix takes 16. Shared diagonal gates become phases, too. In the reverse pass the sums for their numbers are
taken before the table undoes them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from qjax.quantum.engines.native.table.layout import (
    CPU_MAKER_KINDS,
    DIAGONALS,
    FORMS,
    GIVENS,
    MAX_GIVENS,
    MAX_GIVENS_BACK,
    MAX_QUBITS,
    SINGLE,
    SUMS,
    Entry,
    FactorWord,
    LayerEntry,
    RotationWord,
)
from qjax.quantum.engines.native.table.passes import are_apart, with_cosets

# A layer of fewer gates stays as it is: its table would cost what the rotations save.
MIN_LAYER = 3


@dataclass(frozen=True, eq=False)
class Givens:
    """The entries of a table after its layers have become rotations and phases.

    Attributes:
      gates: entries of the forward pass, int32 `[entries, ENTRY]`.
      gates_back: entries of the reverse pass, which takes them from last to first, int32 `[entries, ENTRY]`.
      rotations: int32 `[rotations, GIVENS_WORDS]`.
      factors: of the tables of phases, one table after the other, int32 `[factors, FACTOR_WORDS]`.
      num_tables: number of tables.
    """

    gates: np.ndarray
    gates_back: np.ndarray
    rotations: np.ndarray
    factors: np.ndarray
    num_tables: int


def givens_of(
    entries: np.ndarray, num_qubits: int, num_shared: int, signs: Mapping[int, np.ndarray] | None = None
) -> Givens:
    """Returns the entries with layers of shared gates as rotations and phases.

    Args:
      entries: of a table, one for each gate, `[entries, ENTRY]`.
      num_qubits: bits of a row.
      num_shared: number of shared coefficients, which come first.
      signs: for diagonal gates whose numbers are 1 and -1 in every call, by the index of their first coefficient:
        1 where the number is -1.
    """
    layers = _Layers(num_qubits, num_shared, signs or {})
    for entry in entries:
        if entry[Entry.KIND] == SINGLE and entry[Entry.FIRST] < num_shared:
            layers.add(entry)
        elif entry[Entry.KIND] in CPU_MAKER_KINDS:  # changes no amplitude
            layers.emit(entry)
        elif entry[Entry.KIND] in DIAGONALS:
            layers.add_diagonal(entry)
        else:
            layers.add_other(entry)
    layers.finish()
    gates, gates_back = (np.array(one, np.int32).reshape(-1, Entry.SIZE) for one in layers.entries.values())
    return Givens(
        gates,
        gates_back,
        np.array(layers.rotations, np.int32).reshape(-1, RotationWord.SIZE),
        np.array(layers.factors, np.int32).reshape(-1, FactorWord.SIZE),
        layers.num_tables,
    )


@dataclass
class _Layers:
    """Collects gates into layers, and emits entries, rotations and factors.

    Attributes:
      entries: those emitted, forward and reverse; the key is the most rotations that are applied at once.
      layer: gates of the layer that is being collected.
      pending: gates of the layer before it, not emitted yet, as more phases may come; the first is rotation `first`.
      after_pending: per-example diagonal gates that come after the pending layer.
      diagonals: shared diagonal gates that may become phases.
      phases: factors of the table that comes next.
      sums: entries that take the sums of the diagonal gates in that table.
    """

    num_qubits: int
    num_shared: int
    signs: Mapping[int, np.ndarray]
    entries: dict[int, list[np.ndarray]] = field(default_factory=lambda: {MAX_GIVENS: [], MAX_GIVENS_BACK: []})
    rotations: list[list[int]] = field(default_factory=list)
    factors: list[list[int]] = field(default_factory=list)
    num_tables: int = 0
    layer: list[np.ndarray] = field(default_factory=list)
    pending: list[np.ndarray] = field(default_factory=list)
    first: int = 0
    after_pending: list[np.ndarray] = field(default_factory=list)
    diagonals: list[np.ndarray] = field(default_factory=list)
    phases: list[list[int]] = field(default_factory=list)
    sums: list[np.ndarray] = field(default_factory=list)

    def emit(self, *entries: np.ndarray) -> None:
        """Emits entries as they are, for both passes."""
        for emitted in self.entries.values():
            emitted += entries

    def add(self, gate: np.ndarray) -> None:
        """Adds a shared gate on one qubit."""
        if not all(are_apart(gate, other) for other in self.layer):
            self._close()
        self.layer.append(gate)

    def add_diagonal(self, entry: np.ndarray) -> None:
        """Adds a diagonal gate: a shared one becomes phases, a per-example one lets other phases pass."""
        self._close()
        if int(entry[Entry.FIRST]) in self.signs:
            self.phases += _sign_factors(entry, self.signs[int(entry[Entry.FIRST])])
        elif entry[Entry.FIRST] < self.num_shared and FORMS[entry[Entry.KIND]][1] in SUMS:
            self.diagonals.append(entry)
        elif self.pending:
            self.after_pending.append(entry)
        else:
            self.add_other(entry)

    def add_other(self, entry: np.ndarray) -> None:
        """Adds any other gate."""
        self._close()
        self._emit_pending()
        self.emit(entry)

    def finish(self) -> None:
        """Emits what is left."""
        self._close()
        self._emit_pending()

    def _close(self) -> None:
        """Ends a layer: its gates become rotations, and the diagonals before these join the table before it."""
        gates, self.layer = self.layer, []
        if len(gates) < MIN_LAYER:
            if gates:
                self._emit_pending()
            self.emit(*gates)
            return
        self._take_diagonals(True)
        first = len(self.rotations)
        self.phases += _factors(gates, first, True)
        self._emit_pending()
        self.phases += _factors(gates, first, False)
        self.pending, self.first = gates, first
        for k, gate in enumerate(gates):
            words, done = [0] * RotationWord.SIZE, k - k % MAX_GIVENS_BACK + MAX_GIVENS_BACK
            words[RotationWord.GATE], words[RotationWord.SCALED], words[RotationWord.SCALED_END] = (
                int(gate[Entry.FIRST]),
                first,
                first + min(done, len(gates)),
            )
            self.rotations.append(words)

    def _emit_pending(self) -> None:
        """Emits the pending rotations with their phases, and the diagonal gates after them."""
        self._take_diagonals(bool(self.phases) or len(self.diagonals) >= MIN_LAYER)
        if self.phases:
            for at_once, entries in self.entries.items():
                for start in range(0, max(len(self.pending), 1), at_once):
                    gates, is_last = self.pending[start : start + at_once], start + at_once >= len(self.pending)
                    entries.append(self._entry(gates, self.first + start, is_last))
            for words in self.phases:
                words[FactorWord.COUNT] = len(self.phases)
            self.factors += self.phases
            self.num_tables += 1
            self.entries[MAX_GIVENS_BACK] += self.sums
        self.emit(*self.after_pending)
        self.pending, self.after_pending, self.phases, self.sums = [], [], [], []

    def _take_diagonals(self, as_phases: bool) -> None:
        """Makes phases of the shared diagonal gates, or else emits them as they are."""
        gates, self.diagonals = self.diagonals, []
        if not as_phases:
            self.emit(*gates)
            return
        for gate in gates:
            self.phases += self._number_factors(gate)
            self.sums.append(gate.copy())
            self.sums[-1][Entry.KIND] = SUMS[FORMS[gate[Entry.KIND]][1]]

    def _number_factors(self, gate: np.ndarray) -> Iterator[list[int]]:
        """Yields a factor for each number of a diagonal gate, on the rows that the number belongs to."""
        count = FORMS[gate[Entry.KIND]][1]
        for k in range(2**count):
            bits = k >> np.arange(count)[::-1] & 1
            weights, flips = gate[Entry.WEIGHTS : Entry.WEIGHTS + count], gate[Entry.FLIP : Entry.FLIP + count]
            yield _factor(len(self.rotations), True, weights, flips ^ bits ^ 1)
            self.rotations.append([int(gate[Entry.FIRST]) + 2 * k, -1, 0, 0])

    def _entry(self, gates: Sequence[np.ndarray], first: int, phases: bool) -> np.ndarray:
        """Returns the entry of rotations that are applied at once."""
        entry, count = np.zeros(Entry.SIZE, np.int64), len(gates)
        entry[Entry.KIND], entry[Entry.FIRST], entry[LayerEntry.PHASES] = (
            GIVENS[count, phases],
            first,
            self.num_tables,
        )
        for word in (Entry.MASK, Entry.WEIGHTS, Entry.FLIP):
            entry[word : word + count] = [gate[word] for gate in gates]
        return with_cosets(entry, [int(gate[Entry.MASK]) for gate in gates], self.num_qubits)


def _factors(gates: Sequence[np.ndarray], first: int, before: bool) -> Iterator[list[int]]:
    """Yields the diagonals before, or after, the rotations of a layer whose first one has number `first`."""
    for k, gate in enumerate(gates):
        yield _factor(first + k, before, gate[[Entry.WEIGHTS]], gate[[Entry.FLIP]])


def _sign_factors(entry: np.ndarray, signs: np.ndarray) -> Iterator[list[int]]:
    """Yields products of qubits; their sum, modulo 2, is 1 where the sign is -1 (algebraic normal form)."""
    count = len(signs).bit_length() - 1
    sums = signs.astype(bool).reshape((2,) * count)
    for axis in range(count):
        low, high = np.split(sums, 2, axis=axis)
        sums = np.concatenate([low, low ^ high], axis=axis)
    for chosen in np.argwhere(sums):
        qubits = np.flatnonzero(chosen)
        yield _factor(-1, False, entry[Entry.WEIGHTS + qubits], entry[Entry.FLIP + qubits])


def _factor(rotation: int, before: bool, weights: np.ndarray, flips: np.ndarray) -> list[int]:
    """Returns the words of a factor, except FACTORS, which is known later."""
    words = [0] * FactorWord.SIZE
    words[FactorWord.ROTATION], words[FactorWord.BEFORE] = rotation, int(before)
    for k in range(MAX_QUBITS):
        exists = k < len(weights)
        words[FactorWord.WEIGHTS + k] = int(weights[k]) if exists else 0
        words[FactorWord.FLIPS + k] = int(flips[k]) & 1 if exists else 1
    return words
