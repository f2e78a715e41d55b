"""Kernels of gates that a list of Pauli strings of Z describes: any number of controls, and sums of phases.

A string is odd on a row where the qubits that it names have an odd number of ones. A gate under controls acts where
every string of its list is odd. The phase of a row is the sum of angles, each with the sign of its string: of angles
at the places that the strings are in a Walsh-Hadamard transform, n additions a row in place of one for each string.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from qjax.quantum.engines.native.ir.kernels import Gate, walsh_hadamard
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.sin_cos import HALF_PI_64, near_cos_sin
from qjax.quantum.engines.native.ir.writer import INT32, INT64, Code, Complex, Loop, Value, int32, int64
from qjax.quantum.engines.native.table.layout import Entry, Form, ListEntry, RecordWord
from qjax.quantum.states.trigonometry import HALF_PI


class Record:
    """A record of a list, in a kernel that is being written: see `RECORD_WORDS`."""

    def __init__(self, code: Code, address: Value) -> None:
        self.code, self._address = code, address
        words = RecordWord.WEIGHTS, RecordWord.LANES, RecordWord.ANGLE, RecordWord.LOW
        self.weights, self.lanes, self.angle, self.low = (code.load_int32(address, word) for word in words)
        self.mask = self.angle  # of a qubit

    def parity(self, row: Value) -> Value:
        """Returns 1 where the string is odd on a row, in the first place of a vector, else 0."""
        code, b = self.code, self.code.builder
        flip = b.and_(code.load_int32(self._address, RecordWord.FLIP), code.coset)
        return b.xor(code.parity(flip), code.parity(b.and_(row, self.weights)))

    def odd(self, row: Value) -> Value:
        """Returns where in a vector the string is odd on a row."""
        return self.code.odd_lanes(self.parity(row), self.lanes)

    def signed(self, value: Value) -> Value:
        """Returns values with the sign of the string on row 0."""
        b = self.code.builder
        return b.select(self.odd(int32(0)), b.fneg(value), value)

    def scale(self) -> Value:
        """Returns a vector of what the angle is multiplied by."""
        code = self.code
        place = code.at(self._address, int64(4 * RecordWord.SCALE), ir.DoubleType())
        return code.splat(code.cast(code.builder.load(place, align=4), code.real))


@contextmanager
def _each_record(
    code: Code, entry: Value, records: Value, initial: Sequence[Value] = (), start: int | Value = 0
) -> Iterator[tuple[Loop, Record]]:
    """Does the body for each record of an entry's list, from number `start` on, given the loop and the record."""
    b, start = code.builder, int64(start) if isinstance(start, int) else start
    first, count = (
        b.sext(code.load_int32(entry, word), INT64) for word in (ListEntry.RECORDS, ListEntry.NUM_RECORDS)
    )
    with code.loop(b.sub(count, start), initial) as loop:
        place = b.add(b.add(first, start), loop.index)
        yield loop, Record(code, b.gep(records, [b.mul(place, int64(4 * RecordWord.SIZE))]))


# Any number of controls. --------------------------------------------------------------------------------------


def controlled(code: Code, form: Form, tile: Value, entry: Value, coefficients: Any, records: Value) -> None:
    """Writes what applies a matrix where all strings of a list are odd."""
    gate = Gate(code, form, entry, coefficients)

    def body(firsts: list[Value], _: list[Value]) -> list[Value]:
        for first in firsts:
            with where_all_odd(code, entry, records, first) as where:
                places = gate.places(first)
                old = code.load_rows(tile, places)
                code.store_rows(tile, places, chosen(code, where, gate.apply(old), old))
        return []

    code.each_coset(code.load_int32(entry, Entry.COUNT), gate.first_row, 2 ** form[1], body)


def controlled_back(
    code: Code, form: Form, tile: Value, cotangent: Value, entry: Value, coefficients: Any, sums: Any, records: Value
) -> None:
    """Writes what takes a state and its cotangent back through that, and adds to the cotangents of the matrix."""
    gate = Gate(code, form, entry, coefficients)
    total = code.of_entry(entry, Entry.FIRST, sums)
    nothing = code.zero, code.zero if code.is_complex else None

    def body(firsts: list[Value], _: list[Value]) -> list[Value]:
        for first in firsts:
            with where_all_odd(code, entry, records, first) as where:
                places = gate.places(first)
                after, cotangent_rows = code.load_rows(tile, places), code.load_rows(cotangent, places)
                before, back = gate.undo(after), gate.undo(cotangent_rows)
                inside = chosen(code, where, cotangent_rows, [nothing] * len(cotangent_rows))
                added = [code.multiply(code.conjugate(before[k]), inside[j]) for j, k in gate.products()]
                code.add_numbers(total, code.orient(form, entry, added))
                code.store_rows(tile, places, chosen(code, where, before, after))
                code.store_rows(cotangent, places, chosen(code, where, back, cotangent_rows))
        return []

    code.each_coset(code.load_int32(entry, Entry.COUNT), gate.first_row, 2 * 2 ** form[1], body)


@contextmanager
def where_all_odd(code: Code, entry: Value, records: Value, row: Value, start: int | Value = 0) -> Iterator[Value]:
    """Does the body, given where in a vector all strings of an entry's list are odd on a row, if they are anywhere.

    The list begins at record number `start` of those that the entry has.
    """
    with _each_record(code, entry, records, [code.everywhere], start) as (loop, record):
        loop.next = [code.builder.and_(loop.values[0], record.odd(row))]
    with code.builder.if_then(code.any_lane(loop.values[0])):
        yield loop.values[0]


def chosen(code: Code, where: Value, rows: Sequence[Complex], others: Sequence[Complex]) -> list[Complex]:
    """Returns rows where they are wanted, others elsewhere."""
    select = code.builder.select
    return [
        (select(where, row[0], other[0]), None if row[1] is None else select(where, row[1], other[1]))
        for row, other in zip(rows, others, strict=True)
    ]


# Sums of phases. -----------------------------------------------------------------------------------------------


def sum_phases(
    code: Code, tile: Value, entry: Value, coefficients: Any, records: Value, content: Value, workspace: Value
) -> None:
    """Writes what multiplies each row by its phase; the workspace has a real number for each row."""
    rows = _write_phases(code, entry, coefficients, records, workspace)
    with code.loop(rows) as loop:
        place = code.place(loop.index)
        (row,) = code.load_rows(tile, [place])
        number = near_cos_sin(code, code.load_real(workspace, loop.index))
        code.store_rows(tile, [place], [_times(code, number, row)])


def sum_phases_back(
    code: Code,
    tile: Value,
    cotangent: Value,
    entry: Value,
    coefficients: Any,
    sums: Any,
    records: Value,
    content: Value,
    workspace: Value,
) -> None:
    """Writes what takes a state and its cotangent back, and adds to the cotangents of the angles.

    The cotangent of a row's phase is the imaginary part of conj(amplitude) times the amplitude's cotangent.
    """
    b = code.builder
    rows = _write_phases(code, entry, coefficients, records, workspace)
    with code.loop(rows) as loop:
        place = code.place(loop.index)
        cosine, sine = near_cos_sin(code, code.load_real(workspace, loop.index))
        (state,), (cotangent_row,) = (code.load_rows(array, [place]) for array in (tile, cotangent))
        slope = code.zero
        if code.is_complex:
            slope = code.multiply_add(b.fneg(state[1]), cotangent_row[0], b.fmul(state[0], cotangent_row[1]))
        code.store_real(slope, workspace, loop.index)
        for array, row in ((tile, state), (cotangent, cotangent_row)):
            code.store_rows(array, [place], [_times(code, (cosine, b.fneg(sine)), row)])
    walsh_hadamard(code, workspace, rows, _log2(code, rows))
    with _each_record(code, entry, records) as (_, record), b.if_then(b.icmp_signed(">=", record.angle, int32(0))):
        value = record.signed(b.fmul(record.scale(), code.load(workspace, code.real_place(record.weights))))
        angle = b.sext(record.angle, INT64)
        code.store_real(b.fadd(code.load_real(sums, angle), value), sums, angle)


def _write_phases(code: Code, entry: Value, coefficients: Any, records: Value, workspace: Value) -> Value:
    """Writes into the workspace the phase of each row; returns the number of rows."""
    b = code.builder
    rows = b.sext(code.load_int32(entry, Entry.COUNT), INT64)
    with code.loop(rows) as loop:
        code.store_real(code.zero, workspace, loop.index)
    with _each_record(code, entry, records) as (_, record):
        is_number = b.icmp_signed("<", record.angle, int32(0))
        angle = b.sext(b.select(is_number, int32(0), record.angle), INT64)
        value = b.select(is_number, code.one, code.load_real(coefficients, angle))
        value = record.signed(_within_period(code, b.fmul(record.scale(), value)))
        place = code.real_place(record.weights)
        code.store(b.fadd(code.load(workspace, place), value), workspace, place)
    walsh_hadamard(code, workspace, rows, _log2(code, rows))
    return rows


def _within_period(code: Code, value: Value) -> Value:
    """Returns angles without their multiples of 2 pi."""
    b = code.builder
    turns = b.call(code.intrinsic("rint", code.vector, [code.vector]), [b.fmul(value, code.constant(0.5 / np.pi))])
    for part in HALF_PI if code.itemsize == 4 else HALF_PI_64:
        value = code.multiply_add(turns, code.constant(-4 * part), value)
    return value


def _times(code: Code, number: tuple[Value, Value], row: Any) -> Any:
    """Returns a row times exp(i phase), given cosine and sine; real rows have phases of 0 and pi."""
    return code.multiply(number, row) if code.is_complex else (code.builder.fmul(number[0], row[0]), None)


def _log2(code: Code, rows: Value) -> Value:
    b = code.builder
    count = code.external("llvm.ctpop.i32", INT32, [INT32])
    return b.zext(b.call(count, [b.trunc(b.sub(rows, int64(1)), INT32)]), INT64)
