"""Kernels of gates on any number of qubits: the rows that such a gate mixes are gathered, coset by coset.

A row's index says what the gate's qubits are, the first one the most significant bit. A matrix and a permutation take
the rows of a coset into scratch first; a reflection subtracts twice their mean from each.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.string_kernels import Record, chosen, where_all_odd
from qjax.quantum.engines.native.ir.writer import INT32, INT64, Code, Complex, Value, int32, int64
from qjax.quantum.engines.native.table.layout import Entry, ListEntry, RecordWord


class Gathered:
    """The rows of each coset, in a kernel that is being written."""

    def __init__(self, code: Code, entry: Value, records: Value, content: Value, scratch: Value) -> None:
        b = code.builder
        self.code, self.entry, self.records = code, entry, records
        first, place = (
            b.sext(code.load_int32(entry, word), INT64) for word in (ListEntry.RECORDS, ListEntry.CONTENT)
        )
        self.targets = b.sext(code.load_int32(entry, ListEntry.TARGETS), INT64)
        self.content = b.gep(content, [b.shl(place, int64(2))])
        self._strings = b.gep(records, [b.mul(first, int64(4 * RecordWord.SIZE))])
        self.count = b.shl(int64(1), self.targets)
        size = b.shl(self.count, code.row_shift)
        self.old, self.new = scratch, b.gep(scratch, [size])
        self._offsets = b.gep(self.new, [size])
        self._write_offsets()

    def _target(self, index: Value) -> Record:
        b = self.code.builder
        return Record(self.code, b.gep(self._strings, [b.mul(index, int64(4 * RecordWord.SIZE))]))

    def _write_offsets(self) -> None:
        """Writes how the row of each index differs from that of index 0."""
        code, b = self.code, self.code.builder
        b.store(int32(0), code.at(self._offsets, int64(0), INT32))
        with code.loop(self.targets) as loop:
            mask = self._target(b.sub(b.sub(self.targets, int64(1)), loop.index)).mask
            bit = b.shl(int64(1), loop.index)
            with code.loop(bit) as inner:
                place = code.at(self._offsets, b.shl(b.add(inner.index, bit), int64(2)), INT32)
                b.store(b.xor(self._offset(inner.index), mask), place)

    def _offset(self, index: Value) -> Value:
        code = self.code
        return code.builder.load(code.at(self._offsets, code.builder.shl(index, int64(2)), INT32))

    def place(self, first: Value, index: Value) -> Value:
        """Returns where in a tile the row of an index lies, given that of index 0."""
        return self.code.place(self.code.builder.xor(first, self._offset(index)))

    @contextmanager
    def each_coset(self) -> Iterator[tuple[Value, Value]]:
        """Does the body for each coset, given the row of index 0, and where in a vector all controls are."""
        code, b = self.code, self.code.builder
        with code.loop(code.load_int32(self.entry, Entry.COUNT)) as loop:
            with code.loop(self.targets, [loop.index]) as inner:
                row = inner.values[0]
                inner.next = [b.sub(b.shl(row, int32(1)), b.and_(row, self._target(inner.index).low))]
            start = inner.values[0]
            with code.loop(self.targets, [start]) as inner:
                target = self._target(inner.index)
                odd = b.sub(int32(0), target.parity(start))
                inner.next = [b.xor(inner.values[0], b.and_(odd, target.mask))]
            first = inner.values[0]
            with where_all_odd(code, self.entry, self.records, first, self.targets) as where:
                yield first, where

    def load(self, tile: Value, first: Value) -> None:
        """Takes the rows of a coset into scratch, by their indices."""
        code = self.code
        with code.loop(self.count) as loop:
            code.store_rows(self.old, [code.place(loop.index)], code.load_rows(tile, [self.place(first, loop.index)]))
        self._orient(self.old)

    def store(self, tile: Value, first: Value, where: Value) -> None:
        """Puts the new rows back, where they are wanted."""
        code = self.code
        self._orient(self.new)
        with code.loop(self.count) as loop:
            place = self.place(first, loop.index)
            new, old = code.load_rows(self.new, [code.place(loop.index)]), code.load_rows(tile, [place])
            code.store_rows(tile, [place], chosen(code, where, new, old))

    def _orient(self, rows: Value) -> None:
        """Exchanges rows where in a vector a qubit is the opposite of what it is in the first place."""
        code, b = self.code, self.code.builder
        with code.loop(self.targets) as loop:
            target = self._target(loop.index)
            with b.if_then(b.icmp_signed("!=", target.lanes, int32(0))):
                bit = b.shl(int64(1), b.sub(b.sub(self.targets, int64(1)), loop.index))
                flipped = code.odd_lanes(int32(0), target.lanes)
                with code.loop(b.lshr(self.count, int64(1))) as inner:
                    below = b.and_(inner.index, b.sub(bit, int64(1)))
                    low = b.add(b.shl(b.sub(inner.index, below), int64(1)), below)
                    places = [code.place(low), code.place(b.add(low, bit))]
                    pair = code.load_rows(rows, places)
                    code.store_rows(rows, places, chosen(code, flipped, pair[::-1], pair))


def gather(code: Code, kind: str, is_backward: bool, tiles: Sequence[Value], entry: Value, *lists: Value) -> None:
    """Writes what applies a gate to some tiles, or its inverse.

    Args:
      code: of the kernel.
      kind: 'matrix', 'permutation' or 'reflection'.
      is_backward: whether it is the inverse.
      tiles: the state, and in the reverse pass its cotangent.
      entry: of the table.
      *lists: records, content and scratch.
    """
    rows = Gathered(code, entry, *lists)
    with rows.each_coset() as (first, where):
        for tile in tiles:
            if kind == "reflection":
                _reflect(rows, tile, first, where)
                continue
            rows.load(tile, first)
            (_multiply if kind == "matrix" else _permute)(rows, is_backward)
            rows.store(tile, first, where)


def _multiply(rows: Gathered, is_backward: bool) -> None:
    """Writes the product of the matrix, float64 `[rows, rows, 2]`, or its adjoint, and the rows in scratch."""
    code, b = rows.code, rows.code.builder
    with code.loop(rows.count) as outer:
        with code.loop(rows.count, [code.zero] * (1 + code.is_complex)) as inner:
            row, column = (inner.index, outer.index) if is_backward else (outer.index, inner.index)
            number = _number(rows, b.add(b.mul(row, rows.count), column))
            number = code.conjugate(number) if is_backward else number
            total: Complex = inner.values[0], inner.values[1] if code.is_complex else None
            (old,) = code.load_rows(rows.old, [code.place(inner.index)])
            inner.next = [part for part in code.multiply(number, old, total) if part is not None]
        found = inner.values[0], inner.values[1] if code.is_complex else None
        code.store_rows(rows.new, [code.place(outer.index)], [found])


def _number(rows: Gathered, index: Value) -> Complex:
    """Returns a number of the matrix, in each place of a vector."""
    code, b = rows.code, rows.code.builder
    parts = []
    for k in range(1 + code.is_complex):
        place = code.at(rows.content, b.add(b.shl(index, int64(4)), int64(8 * k)), ir.DoubleType())
        parts.append(code.splat(code.cast(b.load(place, align=4), code.real)))
    return parts[0], parts[1] if code.is_complex else None


def _permute(rows: Gathered, is_backward: bool) -> None:
    """Writes what takes row i in scratch to row `content[i]`, int32, or back."""
    code, b = rows.code, rows.code.builder
    with code.loop(rows.count) as loop:
        image = b.load(code.at(rows.content, b.shl(loop.index, int64(2)), INT32))
        source, target = (image, loop.index) if is_backward else (loop.index, image)
        code.store_rows(rows.new, [code.place(target)], code.load_rows(rows.old, [code.place(source)]))


def _reflect(rows: Gathered, tile: Value, first: Value, where: Value) -> None:
    """Writes what subtracts twice the mean of a coset's rows from each of them."""
    code, b = rows.code, rows.code.builder
    parts = 1 + code.is_complex
    with code.loop(rows.count, [code.zero] * parts) as loop:
        (row,) = code.load_rows(tile, [rows.place(first, loop.index)])
        loop.next = [b.fadd(total, part) for total, part in zip(loop.values, row, strict=False)]
    scale = code.splat(b.fdiv(ir.Constant(code.real, 2.0), b.sitofp(rows.count, code.real)))
    means = [b.fmul(total, scale) for total in loop.values]
    with code.loop(rows.count) as again:
        place = rows.place(first, again.index)
        old = code.load_rows(tile, [place])
        real, imag = old[0]
        new = b.fsub(real, means[0]), None if imag is None else b.fsub(imag, means[1])
        code.store_rows(tile, [place], chosen(code, where, [new], old))
