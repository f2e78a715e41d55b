"""The lists of gates on any number of qubits: records of strings of Z and of qubits, matrices and permutations."""

from collections.abc import Sequence

import numpy as np

from qjax.quantum.compile.relabelling import Relabelling, pivots
from qjax.quantum.engines.native.table.layout import CPU_FORMS, GATHERS, Entry, ListEntry, RecordWord
from qjax.quantum.engines.native.table.native_gates import NativeGate


class Lists:
    """The lists of a table.

    Attributes:
      records: int64 arrays `[RECORD_WORDS]`, the last two words a number of float64.
      content: of matrices and permutations, int32 arrays `[.]`.
    """

    def __init__(self, relabelling: Relabelling) -> None:
        """Starts without any; `relabelling` says what the rows stand for, whenever an entry is made."""
        self.records: list[np.ndarray] = []
        self.content: list[np.ndarray] = []
        self._relabelling, self._places = relabelling, {b"": 0}

    def entry(self, item: NativeGate, first: int, angles: Sequence[int]) -> list[int]:
        """Returns the entry of a gate, given the places of its numbers and angles, and adds its lists."""
        assert item.form is not None
        entry, kind = [0] * Entry.SIZE, CPU_FORMS[item.form]
        entry[Entry.KIND], entry[Entry.FIRST], entry[ListEntry.RECORDS] = kind, first, len(self.records)
        if kind in GATHERS:
            entry[ListEntry.TARGETS], entry[ListEntry.CONTENT] = len(item.qubits), self._content_at(item)
            masks = [self._relabelling.masks[q] for q in item.qubits]
            for q, mask, bit in zip(item.qubits, masks, pivots(masks), strict=True):
                self._record((q,), 0, mask)[RecordWord.LOW] = 2**bit - 1
        for q, value in zip(item.controls, item.control_values, strict=True):
            self._record((q,), value ^ 1)
        for qubits, place, scale in item.strings:
            self._record(qubits, 0, (*angles, -1)[place], scale)
        entry[ListEntry.NUM_RECORDS] = len(self.records) - entry[ListEntry.RECORDS]
        return entry

    def _record(self, qubits: Sequence[int], flip: int, angle: int = -1, scale: float = 0.0) -> np.ndarray:
        """Adds the record of a string of Z, odd where so many of its qubits, and `flip`, are."""
        record = np.zeros(RecordWord.SIZE, np.int64)
        for q in qubits:
            record[RecordWord.WEIGHTS] ^= self._relabelling.weights[q]
            flip ^= self._relabelling.flips[q]
        record[RecordWord.FLIP], record[RecordWord.ANGLE] = flip, angle
        record[RecordWord.SCALE :] = np.array([scale]).view(np.int32)
        self.records.append(record)
        return record

    def _content_at(self, item: NativeGate) -> int:
        """Returns where a matrix or a permutation lies; equal ones lie in one place."""
        words = np.zeros(0, np.int32)
        for op in item.operations:  # one, or none
            table = op.gate.permutation
            words = op.gate.matrix().reshape(-1).view(np.int32) if table is None else table().astype(np.int32)
        if words.tobytes() not in self._places:
            self._places[words.tobytes()] = sum(map(len, self.content))
            self.content.append(words)
        return self._places[words.tobytes()]


def records_of(entry: np.ndarray, records: np.ndarray) -> np.ndarray:
    """Returns the records of an entry."""
    if entry[Entry.KIND] not in CPU_FORMS.values():
        return records[:0]
    first = entry[ListEntry.RECORDS]
    return records[first : first + entry[ListEntry.NUM_RECORDS]]


def num_targets(entry: np.ndarray) -> int:
    """Returns how many of an entry's records are qubits on which its gate acts."""
    return int(entry[ListEntry.TARGETS]) if entry[Entry.KIND] in GATHERS else 0


def with_records_at(entries: np.ndarray, first: int) -> np.ndarray:
    """Returns entries whose records begin at this place."""
    moved = entries.copy()
    moved[np.isin(entries[:, Entry.KIND], [*CPU_FORMS.values()]), ListEntry.RECORDS] += first
    return moved
