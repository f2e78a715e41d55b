"""Kernels for layers as rotations and phases (`shared_layers.py`), and the functions that make the numbers of these.

The record of a rotation has four vectors. The first holds t in every lane. The second holds whether the two rows are
swapped before, which keeps |t| at most 1, and the scale. The other two hold, in float64, the diagonal after the
rotation, times the scale, and the diagonal before it. The sums of a rotation are four vectors, too: real and
imaginary part of M01 - conj(M10), and the imaginary parts of M00 and M11. M is the sum of cotangent[j] *
conj(state[k]) between the rotation and the diagonal after it.
"""

from collections.abc import Sequence
from typing import Any

from qjax.quantum.engines.native.ir.kernels import Rows, add_skew_sums, mix
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, POINTER, Code, Complex, Value, int32, int64
from qjax.quantum.engines.native.table.layout import (
    MAX_QUBITS,
    RECORD_SHIFT,
    VECTOR_BYTES,
    Entry,
    FactorWord,
    LayerEntry,
    RotationWord,
)

# Where the parts of a record begin, in bytes.
_SWAPPED, _SCALE, _DIAGONALS = VECTOR_BYTES, VECTOR_BYTES + 8, 2 * VECTOR_BYTES
_DOUBLE = ir.DoubleType()


class Scalars(Code):
    """A function that computes with single numbers of float64 in place of vectors."""

    def _set_layout(self) -> None:
        super()._set_layout()
        self.num_lanes, self.vector = 1, self.real

    def constant(self, value: float) -> ir.Constant:
        return ir.Constant(self.real, value)


def write_rotations(code: Code, element: Any, *arguments: Value) -> None:
    """Writes the function that factors shared gates, and so makes the records of the rotations.

    Args:
      code: of the function, for single complex numbers of float64.
      element: type of the coefficients.
      arguments: addresses of the words of the rotations, of the coefficients and of the records; number of rotations.
    """
    rotations, coefficients, records, count = arguments
    b = code.builder
    root = code.intrinsic("sqrt", code.real, [code.real])
    with code.loop(count) as loop:
        words = b.gep(rotations, [b.mul(loop.index, int64(4 * RotationWord.SIZE))])
        record = b.gep(records, [b.shl(loop.index, int64(RECORD_SHIFT))])
        numbers = _numbers(code, element, code.of_entry(words, RotationWord.GATE, coefficients))
        sizes = [b.call(root, [code.multiply_add(x, x, b.fmul(y, y))]) for x, y in numbers]
        cosine, sine = sizes[0], sizes[2]
        swapped = b.fcmp_ordered(">", sine, cosine)
        tangent = b.fdiv(b.select(swapped, cosine, sine), b.select(swapped, sine, cosine))
        scale = b.fdiv(code.one, b.call(root, [code.multiply_add(tangent, tangent, code.one)]))
        after = [_phase(code, numbers[k], sizes[k]) for k in (0, 2)]
        last = [b.select(swapped, b.fneg(x), y) for x, y in zip(numbers[1], numbers[3], strict=True)]
        first = [b.select(swapped, x, y) for x, y in zip(*after, strict=True)]
        size = b.select(swapped, sizes[1], sizes[3])
        before = _phase(code, code.multiply(code.conjugate((first[0], first[1])), (last[0], last[1])), size)
        is_number = b.icmp_signed("<", code.load_int32(words, RotationWord.SCALED), int32(0))
        before = tuple(b.select(is_number, x, y) for x, y in zip(numbers[0], before, strict=True))
        signed = b.select(swapped, b.fneg(scale), scale)
        after = [(b.fmul(x, by), b.fmul(y, by)) for (x, y), by in zip(after, (signed, scale), strict=True)]
        _fill_vector(code, code.cast(tangent, element), record)
        code.store_int64(b.sext(swapped, INT64), record, _SWAPPED // 8)
        code.store(scale, record, int64(_SCALE))
        diagonals = [*after, (code.one, code.zero), before]
        for k, part in enumerate(part for number in diagonals for part in number):
            code.store(part, record, int64(_DIAGONALS + 8 * k))


def _numbers(code: Code, element: Any, start: Value) -> list[Complex]:
    """Returns the four numbers of a gate, each of which stands in all lanes of a vector."""
    places = [code.at(start, int64(VECTOR_BYTES * k), element) for k in range(8)]
    parts = [code.cast(code.builder.load(place), code.real) for place in places]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _phase(code: Code, number: Complex, size: Value) -> Complex:
    """Returns number / size; 1 where the size is 0."""
    b = code.builder
    nonzero = b.fcmp_ordered(">", size, code.zero)
    divisor = b.select(nonzero, size, code.one)
    return b.select(nonzero, b.fdiv(number[0], divisor), code.one), b.fdiv(number[1], divisor)


def _fill_vector(code: Code, value: Value, address: Value) -> None:
    """Stores a vector whose lanes all hold one number."""
    lanes = VECTOR_BYTES // (4 if isinstance(value.type, ir.FloatType) else 8)
    kind = ir.VectorType(value.type, lanes)
    undefined = ir.Constant(kind, ir.Undefined)
    first = code.builder.insert_element(undefined, value, int32(0))
    spread = code.builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT32, lanes), None))
    code.builder.store(spread, code.at(address, int64(0), kind), align=VECTOR_BYTES)


def write_tables(code: Code, element: Any, is_complex: bool, *arguments: Value) -> None:
    """Writes the function that makes the tables of phases, eight rows at once.

    Args:
      code: of the function, in complex numbers of float64.
      element: type of the tables' numbers.
      is_complex: whether they have imaginary parts.
      arguments: addresses of the words of the factors, of the rotations' records, and of the tables; number of tables
        and of rows.
    """
    factors, records, tables, num_tables, num_rows = arguments
    b, lanes = code.builder, code.num_lanes
    places = ir.VectorType(INT64, lanes)
    size = 1 + is_complex
    numbers = ir.Constant(places, list(range(lanes)))
    ones = code.external(f"llvm.ctpop.v{lanes}i64", places, [places])
    itemsize = 4 if isinstance(element, ir.FloatType) else 8
    signs = ir.GlobalVariable(code.module, ir.ArrayType(_DOUBLE, 4), "signs")
    signs.initializer, signs.global_constant = ir.Constant(ir.ArrayType(_DOUBLE, 4), [1.0, 0.0, -1.0, 0.0]), True
    signs = b.bitcast(signs, POINTER)
    with code.loop(num_tables, [factors]) as table:
        first = table.values[0]
        count = b.sext(code.load_int32(first, FactorWord.COUNT), INT64)
        base = b.gep(tables, [b.mul(b.mul(table.index, num_rows), int64(size * itemsize))])
        with code.loop(b.sdiv(num_rows, int64(lanes))) as block:
            start = b.mul(block.index, int64(lanes))
            rows = b.add(code.splat(start), numbers)
            with code.loop(count, [code.one, code.zero]) as loop:
                words = b.gep(first, [b.mul(loop.index, int64(4 * FactorWord.SIZE))])
                all_ones: Value = None
                for k in range(MAX_QUBITS):
                    weights, flip = (
                        code.splat(b.zext(code.load_int32(words, word + k), INT64))
                        for word in (FactorWord.WEIGHTS, FactorWord.FLIPS)
                    )
                    parity = b.add(b.call(ones, [b.and_(rows, weights)]), flip)
                    is_one = b.trunc(parity, ir.VectorType(ir.IntType(1), lanes))
                    all_ones = is_one if all_ones is None else b.and_(all_ones, is_one)
                rotation, before = (
                    b.sext(code.load_int32(words, word), INT64) for word in (FactorWord.ROTATION, FactorWord.BEFORE)
                )
                place = b.add(b.shl(rotation, int64(RECORD_SHIFT)), b.shl(before, int64(5)))
                is_sign = b.icmp_signed("<", rotation, int64(0))
                numbers_at = b.select(is_sign, signs, b.gep(records, [b.add(place, int64(_DIAGONALS))]))
                parts = [code.splat(b.load(code.at(numbers_at, int64(8 * k), _DOUBLE))) for k in range(4)]
                factor = b.select(all_ones, parts[2], parts[0]), b.select(all_ones, parts[3], parts[1])
                real, imag = code.multiply(factor, (loop.values[0], loop.values[1]))
                loop.next = [real, imag]
            kind = ir.VectorType(element, lanes)
            real, imag = (code.cast(part, kind) for part in loop.values)
            if is_complex:
                order = [k + lanes * part for k in range(lanes) for part in (0, 1)]
                mask = ir.Constant(ir.VectorType(INT32, 2 * lanes), order)
                real = b.shuffle_vector(real, imag, mask)
            address = code.at(base, b.mul(start, int64(size * itemsize)), real.type)
            b.store(real, address, align=lanes * itemsize)
        table.next = [b.gep(first, [b.mul(count, int64(4 * FactorWord.SIZE))])]


def write_cotangents(code: Code, element: Any, *arguments: Value) -> None:
    """Writes the function that adds to the coefficients' sums, from the sums of the rotations.

    A unitary U stays unitary under dU = K U with K skew-Hermitian. Let M be the sum after the gate. Then
    A = (M - M^H) / 2 is enough, and A U serves as the cotangent of U. The sums were taken of scaled states; here the
    scale is divided out.

    Args:
      code: see `write_rotations`.
      element: see `write_rotations`.
      arguments: addresses of the words of the rotations, of the coefficients, of the records, of the rotations' sums
        and of the coefficients' sums; number of rotations.
    """
    rotations, *others, count = arguments
    b = code.builder
    with code.loop(count) as loop:
        words = b.gep(rotations, [b.mul(loop.index, int64(4 * RotationWord.SIZE))])
        with b.if_then(b.icmp_signed(">=", code.load_int32(words, RotationWord.SCALED), int32(0))):
            _add_cotangent(code, element, words, b.shl(loop.index, int64(RECORD_SHIFT)), *others)


def _add_cotangent(
    code: Code,
    element: Any,
    words: Value,
    offset: Value,
    coefficients: Value,
    records: Value,
    rotation_sums: Value,
    sums: Value,
) -> None:
    """Writes the code that adds the cotangent of one gate's numbers; see `write_cotangents`."""
    b = code.builder
    record, gate_sums = b.gep(records, [offset]), b.gep(rotation_sums, [offset])
    scaled, end = (
        b.sext(code.load_int32(words, word), INT64) for word in (RotationWord.SCALED, RotationWord.SCALED_END)
    )
    with code.loop(b.sub(end, scaled), [code.one]) as inner:
        place = b.add(b.shl(b.add(scaled, inner.index), int64(RECORD_SHIFT)), int64(_SCALE))
        inner.next = [b.fmul(inner.values[0], code.load(records, place))]
    factor = b.fdiv(code.one, b.fmul(inner.values[0], inner.values[0]))
    real, imag, first, last = (b.fmul(_total(code, element, gate_sums, k), factor) for k in range(4))
    scale = code.load(record, int64(_SCALE))
    diagonal = [code.load(record, int64(_DIAGONALS + 8 * k)) for k in range(4)]
    phase = code.multiply((diagonal[0], diagonal[1]), code.conjugate((diagonal[2], diagonal[3])))
    weight = b.fdiv(code.constant(0.5), b.fmul(scale, scale))
    between = code.multiply(phase, (b.fmul(real, weight), b.fmul(imag, weight)))
    skew = [[(code.zero, first), between], [(b.fneg(between[0]), between[1]), (code.zero, last)]]
    numbers = _numbers(code, element, code.of_entry(words, RotationWord.GATE, coefficients))
    total = code.of_entry(words, RotationWord.GATE, sums)
    for row in (0, 1):
        for column in (0, 1):
            (value,) = code.apply([skew[row]], [numbers[column], numbers[2 + column]])
            for part, added in enumerate(value):
                place = code.at(total, int64(VECTOR_BYTES * (4 * row + 2 * column + part)), element)
                b.store(b.fadd(b.load(place), code.cast(added, element)), place)


def _total(code: Code, element: Any, start: Value, index: int) -> Value:
    """Returns the sum of the lanes of a vector."""
    lanes = VECTOR_BYTES // (4 if isinstance(element, ir.FloatType) else 8)
    kind = ir.VectorType(element, lanes)
    add = code.external(f"llvm.vector.reduce.fadd.v{lanes}f{8 * VECTOR_BYTES // lanes}", element, [element, kind])
    vector = code.builder.load(code.at(start, int64(VECTOR_BYTES * index), kind), align=VECTOR_BYTES)
    total = code.builder.call(add, [ir.Constant(element, 0.0), vector], fastmath=("reassoc",))
    return code.cast(total, code.real)


# Kernels on the states of a tile. ------------------------------------------------------------------------------


def rotate(code: Code, *operands: Value, count: int, phases: bool) -> None:
    """Writes the kernel that applies rotations, and then phases, to a tile.

    Args:
      code: of the function.
      operands: addresses of the tile, of the entry, of the rotations' records, and of the tables.
      count: number of rotations.
      phases: whether phases follow.
    """
    tile, *others = operands
    rotations = _Rotations(code, count, *others)

    def body(firsts: list[Value], _: list[Value]) -> list[Value]:
        for first in firsts:
            rows = rotations.numbers_of(first)
            values = rotations.rotated(code.load_rows(tile, rotations.swapped(rows)), 1)
            if phases:
                values = [code.multiply(rotations.phase(row), value) for row, value in zip(rows, values, strict=True)]
            code.store_rows(tile, [code.place(row) for row in rows], values)
        return []

    code.each_coset(rotations.num_cosets, rotations.first_row, 2**count, body)


def rotate_back(code: Code, *operands: Value, count: int, phases: bool) -> None:
    """Writes the kernel that undoes rotations on a state and its cotangent, and adds to the rotations' sums.

    Args:
      code: see `rotate`.
      count: see `rotate`.
      phases: see `rotate`.
      operands: addresses of the tile, of the cotangent, of the entry, of the rotations' records, of the tables, and
        of the sums.
    """
    tile, cotangent, entry, records, tables, sums = operands
    rotations = _Rotations(code, count, entry, records, tables)
    num_sums = (2 * count + 2**count if code.is_complex else count) if count else 0

    def body(firsts: list[Value], values: list[Value]) -> list[Value]:
        for first in firsts:
            rows = rotations.numbers_of(first)
            both = [code.load_rows(array, [code.place(row) for row in rows]) for array in (tile, cotangent)]
            if phases:
                factors = [code.conjugate(rotations.phase(row)) for row in rows]
                both = [[code.multiply(x, y) for x, y in zip(factors, one, strict=True)] for one in both]
            values = rotations.add_sums(both[0], both[1], values) if count else values
            for array, one in zip((tile, cotangent), both, strict=True):
                code.store_rows(array, rotations.swapped(rows), rotations.rotated(one, -1))
        return values

    totals = code.each_coset(rotations.num_cosets, rotations.first_row, 2 * 2**count, body, [code.zero] * num_sums)
    rotations.store_sums(totals, sums)


class _Rotations(Rows):
    """Rotations that are applied at once, in a kernel that is being written.

    The first one is the most significant bit of a row's index in a coset.
    """

    def __init__(self, code: Code, count: int, entry: Value, records: Value, tables: Value) -> None:
        super().__init__(code, count, 0, entry)
        b, self.count = code.builder, count
        self.num_cosets = code.load_int32(entry, Entry.COUNT)
        self.first = b.shl(b.sext(code.load_int32(entry, Entry.FIRST), INT64), int64(RECORD_SHIFT))
        addresses = [b.gep(records, [b.add(self.first, int64(k << RECORD_SHIFT))]) for k in range(count)]
        self.tangents = [code.load(record, int64(0)) for record in addresses]
        self.swap: Value = int32(0)
        for record, mask in zip(addresses, self.masks, strict=True):
            flag = b.trunc(code.load_int64(record, _SWAPPED // 8), INT32)
            self.swap = b.xor(self.swap, b.and_(flag, mask))
        self._row_bytes = code.itemsize * (1 + code.is_complex)
        size = b.shl(b.zext(self.num_cosets, INT64), int64(count))
        table = b.mul(b.sext(code.load_int32(entry, LayerEntry.PHASES), INT64), size)
        self.table = b.gep(tables, [b.mul(table, int64(self._row_bytes))])

    def swapped(self, rows: Sequence[Value]) -> list[Value]:
        """Returns the places of the rows that the rotations read for these rows, after the swaps."""
        return [self.code.place(self.code.builder.xor(row, self.swap)) for row in rows]

    def phase(self, row: Value) -> Complex:
        """Returns the phase of a row, from the table."""
        code, b = self.code, self.code.builder
        start = b.mul(b.zext(row, INT64), int64(self._row_bytes))
        parts = [
            code.splat(b.load(code.at(self.table, b.add(start, int64(k * code.itemsize)), code.real)))
            for k in range(1 + code.is_complex)
        ]
        return parts[0], parts[1] if code.is_complex else None

    def pairs(self, gate: int) -> list[tuple[int, int]]:
        """Returns the rows that a rotation mixes, by their index in a coset."""
        bit = 1 << (self.count - 1 - gate)
        return [(k, k | bit) for k in range(1 << self.count) if not k & bit]

    def rotated(self, rows: Sequence[Complex], sign: int) -> list[Complex]:
        """Returns the rows after the rotations, without the scale; with sign -1 after the inverse rotations."""
        rows = list(rows)
        signed = [(tangent, self.code.builder.fneg(tangent)) for tangent in self.tangents]
        upper, lower = (1, 0) if sign > 0 else (0, 1)
        mix(self.code, rows, [(self.pairs(k), (t[upper], None), (t[lower], None)) for k, t in enumerate(signed)])
        return rows

    def add_sums(
        self, states: Sequence[Complex], cotangents: Sequence[Complex], sums: Sequence[Value]
    ) -> list[Value]:
        """Returns the sums, to which those of some rows are added; see `add_skew_sums`."""
        return add_skew_sums(self.code, states, cotangents, [self.pairs(k) for k in range(self.count)], sums)

    def store_sums(self, values: Sequence[Value], sums: Value) -> None:
        """Adds the sums over all cosets to the rotations' sums in memory."""
        code, b, parts = self.code, self.code.builder, 1 + self.code.is_complex
        for gate in range(self.count):
            totals = list(values[parts * gate : parts * gate + parts])
            if code.is_complex:
                rows = values[2 * self.count :]
                for half in zip(*self.pairs(gate), strict=True):
                    total = rows[half[0]]
                    for k in half[1:]:
                        total = b.fadd(total, rows[k])
                    totals.append(total)
            start = b.gep(sums, [b.add(self.first, int64(gate << RECORD_SHIFT))])
            for k, value in enumerate(totals):
                place = int64(VECTOR_BYTES * k)
                code.store(b.fadd(code.load(start, place), value), start, place)
