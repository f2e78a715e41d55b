"""Gates that all examples share as real rotations between diagonals, and which of these become one: for a CPU.

A unitary matrix on one qubit is L R D, with R a real rotation and diagonal L and D (the Euler angles of ZYZ). Gates
none of which changes what another depends on are done side by side. What their D and the L of those before them do is
a phase for each row of the state, the same for every example: a table of 2**n numbers that is made once in a call.
The rotations are fast Givens rotations (Gentleman 1973, doi:10.1093/imamat/12.3.329): [[1, -t], [t, 1]] with
|t| <= 1, whose scale is put into the table. So a pair of amplitudes takes 4 multiply-adds for each gate and 8 for
each table, where a matrix takes 16. Diagonal gates that all examples share are phases, too; on the way back the sums
for their numbers are taken before the table undoes them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from qjax.quantum.engines.native.table.layout import (
    BEFORE,
    DIAGONALS,
    ENTRY,
    FACTOR_FLIPS,
    FACTOR_WEIGHTS,
    FACTOR_WORDS,
    FACTORS,
    FIRST,
    FLIP,
    FORMS,
    GATE,
    GIVENS,
    GIVENS_WORDS,
    KIND,
    MAKER_KINDS,
    MASK,
    MAX_GIVENS,
    MAX_GIVENS_BACK,
    MAX_QUBITS,
    PHASES,
    ROTATION,
    SCALED,
    SCALED_END,
    SINGLE,
    SUMS,
    WEIGHTS,
)
from qjax.quantum.engines.native.table.passes import are_apart, with_cosets

# Fewer gates side by side are left as they are: their tables would cost what they save.
MIN_GROUP = 3


@dataclass(frozen=True, eq=False)
class Givens:
    """What is done for the entries of a table.

    Attributes:
      gates: entries, int32 `[entries, ENTRY]`.
      gates_back: those of the way back, likewise, which takes them in reverse order.
      rotations: int32 `[rotations, GIVENS_WORDS]`.
      factors: of the tables of phases, one table after the other, int32 `[factors, FACTOR_WORDS]`.
      num_tables: how many tables there are.
    """

    gates: np.ndarray
    gates_back: np.ndarray
    rotations: np.ndarray
    factors: np.ndarray
    num_tables: int


def givens_of(
    entries: np.ndarray, num_qubits: int, num_shared: int, signs: Mapping[int, np.ndarray] | None = None
) -> Givens:
    """Returns entries of which some are rotations and phases.

    Args:
      entries: of a table, one for each gate, `[entries, ENTRY]`.
      num_qubits: bits of a row.
      num_shared: number of coefficients that all examples share, which come first.
      signs: of diagonal gates that are 1 and -1 in every call, by the place of their coefficients: 1 where it is -1.
    """
    found = _Givens(num_qubits, num_shared, signs or {})
    for entry in entries:
        if entry[KIND] == SINGLE and entry[FIRST] < num_shared:
            found.add(entry)
        elif entry[KIND] in MAKER_KINDS:  # touches no amplitude
            found.put_out(entry)
        elif entry[KIND] in DIAGONALS:
            found.add_diagonal(entry)
        else:
            found.add_other(entry)
    found.finish()
    gates, gates_back = (np.array(own, np.int32).reshape(-1, ENTRY) for own in found.entries.values())
    return Givens(
        gates,
        gates_back,
        np.array(found.rotations, np.int32).reshape(-1, GIVENS_WORDS),
        np.array(found.factors, np.int32).reshape(-1, FACTOR_WORDS),
        found.num_tables,
    )


@dataclass
class _Givens:
    """Entries, rotations and factors as they come.

    Attributes:
      entries: forwards and back, by how many rotations are done at once at most.
      group: gates side by side, not yet in what follows.
      waiting: those before, of which the first is rotation number `first`; their phases are not all known.
      behind: diagonal gates that come after these, each example's own.
      diagonals: others, which may be phases.
      phases: factors of the phases that come next.
      sums: entries for those of diagonal gates among them.
    """

    num_qubits: int
    num_shared: int
    signs: Mapping[int, np.ndarray]
    entries: dict[int, list[np.ndarray]] = field(default_factory=lambda: {MAX_GIVENS: [], MAX_GIVENS_BACK: []})
    rotations: list[list[int]] = field(default_factory=list)
    factors: list[list[int]] = field(default_factory=list)
    num_tables: int = 0
    group: list[np.ndarray] = field(default_factory=list)
    waiting: list[np.ndarray] = field(default_factory=list)
    first: int = 0
    behind: list[np.ndarray] = field(default_factory=list)
    diagonals: list[np.ndarray] = field(default_factory=list)
    phases: list[list[int]] = field(default_factory=list)
    sums: list[np.ndarray] = field(default_factory=list)

    def put_out(self, *entries: np.ndarray) -> None:
        """Adds entries to those that are done."""
        for own in self.entries.values():
            own += entries

    def add(self, gate: np.ndarray) -> None:
        """Adds a gate on one qubit that all examples share."""
        if not all(are_apart(gate, other) for other in self.group):
            self._close()
        self.group.append(gate)

    def add_diagonal(self, entry: np.ndarray) -> None:
        """Adds a diagonal gate, which phases may pass; where all examples share it, it is phases itself."""
        self._close()
        if int(entry[FIRST]) in self.signs:
            self.phases += _sign_factors(entry, self.signs[int(entry[FIRST])])
        elif entry[FIRST] < self.num_shared and FORMS[entry[KIND]][1] in SUMS:
            self.diagonals.append(entry)
        elif self.waiting:
            self.behind.append(entry)
        else:
            self.add_other(entry)

    def add_other(self, entry: np.ndarray) -> None:
        """Adds any other gate."""
        self._close()
        self._put()
        self.put_out(entry)

    def finish(self) -> None:
        """Adds what is left."""
        self._close()
        self._put()

    def _close(self) -> None:
        """Makes rotations of the gates side by side, whose diagonals before them belong to the phases before."""
        gates, self.group = self.group, []
        if len(gates) < MIN_GROUP:
            if gates:
                self._put()
            self.put_out(*gates)
            return
        self._take_diagonals(True)
        first = len(self.rotations)
        self.phases += _factors(gates, first, True)
        self._put()
        self.phases += _factors(gates, first, False)
        self.waiting, self.first = gates, first
        for k, gate in enumerate(gates):
            words, done = [0] * GIVENS_WORDS, k - k % MAX_GIVENS_BACK + MAX_GIVENS_BACK
            words[GATE], words[SCALED], words[SCALED_END] = int(gate[FIRST]), first, first + min(done, len(gates))
            self.rotations.append(words)

    def _put(self) -> None:
        """Puts out the rotations that wait, with their phases, and what comes behind them."""
        self._take_diagonals(bool(self.phases) or len(self.diagonals) >= MIN_GROUP)
        if self.phases:
            for at_once, entries in self.entries.items():
                for start in range(0, max(len(self.waiting), 1), at_once):
                    gates, is_last = self.waiting[start : start + at_once], start + at_once >= len(self.waiting)
                    entries.append(self._entry(gates, self.first + start, is_last))
            for words in self.phases:
                words[FACTORS] = len(self.phases)
            self.factors += self.phases
            self.num_tables += 1
            self.entries[MAX_GIVENS_BACK] += self.sums
        self.put_out(*self.behind)
        self.waiting, self.behind, self.phases, self.sums = [], [], [], []

    def _take_diagonals(self, as_phases: bool) -> None:
        """Makes phases of the diagonal gates that may be, or puts them out where there are none else."""
        gates, self.diagonals = self.diagonals, []
        if not as_phases:
            self.put_out(*gates)
            return
        for gate in gates:
            self.phases += self._number_factors(gate)
            self.sums.append(gate.copy())
            self.sums[-1][KIND] = SUMS[FORMS[gate[KIND]][1]]

    def _number_factors(self, gate: np.ndarray) -> Iterator[list[int]]:
        """Yields for each number of a diagonal gate the rows that it belongs to."""
        count = FORMS[gate[KIND]][1]
        for k in range(2**count):
            bits = k >> np.arange(count)[::-1] & 1
            weights, flips = gate[WEIGHTS : WEIGHTS + count], gate[FLIP : FLIP + count]
            yield _factor(len(self.rotations), True, weights, flips ^ bits ^ 1)
            self.rotations.append([int(gate[FIRST]) + 2 * k, -1, 0, 0])

    def _entry(self, gates: Sequence[np.ndarray], first: int, phases: bool) -> np.ndarray:
        """Returns the entry of rotations that are done at once."""
        entry, count = np.zeros(ENTRY, np.int64), len(gates)
        entry[KIND], entry[FIRST], entry[PHASES] = GIVENS[count, phases], first, self.num_tables
        for word in (MASK, WEIGHTS, FLIP):
            entry[word : word + count] = [gate[word] for gate in gates]
        return with_cosets(entry, [int(gate[MASK]) for gate in gates], self.num_qubits)


def _factors(gates: Sequence[np.ndarray], first: int, before: bool) -> Iterator[list[int]]:
    """Yields the diagonals before, or after, rotations of which the first has this number."""
    for k, gate in enumerate(gates):
        yield _factor(first + k, before, gate[[WEIGHTS]], gate[[FLIP]])


def _sign_factors(entry: np.ndarray, signs: np.ndarray) -> Iterator[list[int]]:
    """Yields the products of qubits whose sum, modulo 2, is the sign of each row: its algebraic normal form."""
    count = len(signs).bit_length() - 1
    sums = signs.astype(bool).reshape((2,) * count)
    for axis in range(count):
        low, high = np.split(sums, 2, axis=axis)
        sums = np.concatenate([low, low ^ high], axis=axis)
    for chosen in np.argwhere(sums):
        qubits = np.flatnonzero(chosen)
        yield _factor(-1, False, entry[WEIGHTS + qubits], entry[FLIP + qubits])


def _factor(rotation: int, before: bool, weights: np.ndarray, flips: np.ndarray) -> list[int]:
    """Returns what is said of a factor, but for the number of all."""
    words = [0] * FACTOR_WORDS
    words[ROTATION], words[BEFORE] = rotation, int(before)
    for k in range(MAX_QUBITS):
        there = k < len(weights)
        words[FACTOR_WEIGHTS + k] = int(weights[k]) if there else 0
        words[FACTOR_FLIPS + k] = int(flips[k]) & 1 if there else 1
    return words
