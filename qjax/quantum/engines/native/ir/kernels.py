"""The kernels: what each form of gate does to the states of a few examples, forwards and backwards.

A tile is the states of as many examples as a vector has numbers: for each row the vector of the real parts, then that
of the imaginary parts, which real states have not. A gate's numbers, its coefficients, are vectors too, an entry for
each example, and have both parts always.
"""

from collections.abc import Sequence
from typing import Any

from qjax.quantum.engines.native.ir.sin_cos import write_rotation, write_rotation_back
from qjax.quantum.engines.native.ir.writer import INT32, Code, Complex, Value, int32, int64
from qjax.quantum.engines.native.table.layout import Entry, Form, MadeEntry, num_numbers


def forward(code: Code, tile: Value, entry: Value, coefficients: Any, *, form: Form) -> None:
    """Writes what applies a gate to a tile."""
    if form[0] == "column":
        matrix, column = _factors(code, entry, coefficients)
        code.store_numbers(code.of_entry(entry, Entry.FIRST, coefficients), code.apply(matrix, column))
        return
    if form[0] == "rotation":
        write_rotation(code, entry, coefficients)
        return
    if form[0] == "product":
        left, right = (_matrix(code, entry, word, coefficients) for word in (MadeEntry.LEFT, MadeEntry.RIGHT))
        code.store_numbers(code.of_entry(entry, Entry.FIRST, coefficients), _product(code, left, right))
        return
    gate = Gate(code, form, entry, coefficients)

    def body(firsts: list[Value], _: list[Value]) -> list[Value]:
        places = [gate.places(first) for first in firsts]
        old = [code.load_rows(tile, at[:1] if form[0] == "start" else at) for at in places]
        new = [gate.apply(rows) for rows in old]
        for at, rows in zip(places, new, strict=True):
            code.store_rows(tile, at, rows)
        return []

    code.each_coset(code.load_int32(entry, Entry.COUNT), gate.first_row, 2 ** form[1], body)


def backward(
    code: Code,
    tile: Value,
    cotangent: Value,
    entry: Value,
    coefficients: Any,
    sums: Any,
    *,
    form: Form,
    changes: bool = True,
) -> None:
    """Writes what takes a state and its cotangent back through a gate, or, if it changes nothing, takes sums alone.

    To `sums` it adds the cotangents of the coefficients: of U[j, k] the sum of cotangent[j] * conj(state[k]), the
    state that before the gate (Jones & Gacon 2020, arXiv:2009.02823, equation 8).
    """
    if form[0] == "column":
        _product_back(code, entry, coefficients, sums)
        return
    if form[0] == "rotation":
        write_rotation_back(code, entry, coefficients, sums)
        return
    if form[0] == "product":
        left, right = (_matrix(code, entry, word, coefficients) for word in (MadeEntry.LEFT, MadeEntry.RIGHT))
        cotangents = _matrix(code, entry, Entry.FIRST, sums)
        of_left = _product(code, cotangents, code.adjoint(right))
        code.add_numbers(code.of_entry(entry, MadeEntry.LEFT, sums), of_left)
        of_right = _product(code, code.adjoint(left), cotangents)
        code.add_numbers(code.of_entry(entry, MadeEntry.RIGHT, sums), of_right)
        return
    gate = Gate(code, form, entry, coefficients)
    total, count = code.of_entry(entry, Entry.FIRST, sums), num_numbers(form)
    kept, parts = count <= code.max_kept_sums, 2 if code.is_complex else 1

    def body(firsts: list[Value], values: list[Value]) -> list[Value]:
        places = [gate.places(first) for first in firsts]
        states = [code.load_rows(tile, at) for at in places]
        cotangents = [code.load_rows(cotangent, at) for at in places]
        added = paired(values, parts) if kept else code.load_numbers(total, count)
        for at, after, cotangent_rows in zip(places, states, cotangents, strict=True):
            before, back = gate.undo(after), gate.undo(cotangent_rows)
            for k, (row, column) in enumerate(gate.products()):
                added[k] = code.multiply(code.conjugate(before[column]), cotangent_rows[row], added[k])
            stored = at[: changes * (1 if form[0] == "start" else len(at))]
            code.store_rows(tile, stored, before[: len(stored)])
            code.store_rows(cotangent, stored, back[: len(stored)])
        if not kept:
            code.store_numbers(total, added)
        return [part for number in added for part in number[:parts]] if kept else []

    initial = [code.zero] * (parts * count) if kept else []
    totals = code.each_coset(code.load_int32(entry, Entry.COUNT), gate.first_row, 2 * 2 ** form[1], body, initial)
    if kept:
        code.add_sums(total, code.orient(form, entry, paired(totals, parts)))


def _product_back(code: Code, entry: Value, coefficients: Any, sums: Any) -> None:
    """Writes what takes the cotangent of a column to those of its factors."""
    matrix, column = _factors(code, entry, coefficients)
    cotangents = code.load_numbers(code.of_entry(entry, Entry.FIRST, sums), 2)
    products = [code.multiply(code.conjugate(k), row) for row in cotangents for k in column]
    code.add_numbers(code.of_entry(entry, MadeEntry.LEFT, sums), products)
    code.add_numbers(code.of_entry(entry, MadeEntry.RIGHT, sums), code.apply(code.adjoint(matrix), cotangents))


def _factors(code: Code, entry: Value, coefficients: Any) -> tuple[list[list[Complex]], list[Complex]]:
    matrix = _matrix(code, entry, MadeEntry.LEFT, coefficients)
    return matrix, code.load_numbers(code.of_entry(entry, MadeEntry.RIGHT, coefficients), 2)


def _matrix(code: Code, entry: Value, word: int, base: Any) -> list[list[Complex]]:
    """Returns the matrix on one qubit whose numbers a word of an entry points to."""
    numbers = code.load_numbers(code.of_entry(entry, word, base), 4)
    return [numbers[:2], numbers[2:]]


def _product(code: Code, left: Sequence[Sequence[Complex]], right: Sequence[Sequence[Complex]]) -> list[Complex]:
    """Returns the numbers of left @ right, row by row."""
    columns = [code.apply(left, column) for column in zip(*right, strict=True)]
    return [column[row] for row in range(len(left)) for column in columns]


def paired(values: Sequence[Value], parts: int) -> list[Complex]:
    """Returns values as numbers of two parts, or of real ones alone."""
    return [(values[k], values[k + 1] if parts == 2 else None) for k in range(0, len(values), parts)]


class Rows:
    """The rows that gates mix, in a kernel that is being written, by what an entry says of each qubit."""

    def __init__(self, code: Code, num_qubits: int, num_controls: int, entry: Value) -> None:
        self.code, self.num_qubits = code, num_qubits
        self.lows, self.masks, self.weights, self.flips = (
            [code.load_int32(entry, first + k) for k in range(num_qubits + num_controls)]
            for first in (Entry.LOW, Entry.MASK, Entry.WEIGHTS, Entry.FLIP)
        )

    def numbers_of(self, row: Value) -> list[Value]:
        """Returns the rows that are mixed, given the first one; the first qubit is most significant."""
        b = self.code.builder
        rows = []
        for k in range(2**self.num_qubits):
            mixed = row
            for q in range(self.num_qubits):
                mixed = b.xor(mixed, self.masks[q]) if k >> (self.num_qubits - 1 - q) & 1 else mixed
            rows.append(mixed)
        return rows

    def places(self, row: Value) -> list[Value]:
        """Returns where these lie."""
        return [self.code.place(mixed) for mixed in self.numbers_of(row)]

    def first_row(self, coset: Value) -> Value:
        """Returns the row of a coset where all of the qubits are 0, and the controls as they must be."""
        b = self.code.builder
        row = coset
        for low in self.lows:  # a 0 is put in at the pivot
            row = b.sub(b.shl(row, int32(1)), b.and_(row, low))
        first = row
        count_ones = self.code.external("llvm.ctpop.i32", INT32, [INT32])
        for mask, weights, flip in zip(self.masks, self.weights, self.flips, strict=True):
            parity = b.and_(b.call(count_ones, [b.and_(first, weights)]), int32(1))
            flip = b.and_(b.call(count_ones, [b.and_(flip, self.code.coset)]), int32(1))
            row = b.xor(row, b.and_(b.sub(int32(0), b.xor(parity, flip)), mask))
        return row


class Gate(Rows):
    """A gate in a kernel that is being written: its numbers, and the rows that it mixes."""

    def __init__(self, code: Code, form: Form, entry: Value, coefficients: Value) -> None:
        super().__init__(code, form[1], form[2], entry)
        self.kind = form[0]
        numbers = code.load_numbers(code.of_entry(entry, Entry.FIRST, coefficients), num_numbers(form))
        self.numbers = code.orient(form, entry, numbers)

    def first_row(self, coset: Value) -> Value:
        return coset if self.kind == "start" else super().first_row(coset)

    def apply(self, old: Sequence[Complex]) -> list[Complex]:
        """Returns the rows after the gate."""
        if self.kind == "diagonal":
            return [self.code.multiply(number, value) for number, value in zip(self.numbers, old, strict=True)]
        if self.kind == "pair":
            return self._apply_pair(old)
        return self.code.apply(self._matrix(), old)

    def undo(self, new: Sequence[Complex]) -> list[Complex]:
        """Returns the rows before the gate."""
        if self.kind == "diagonal":
            conjugates = map(self.code.conjugate, self.numbers)
            return [self.code.multiply(number, value) for number, value in zip(conjugates, new, strict=True)]
        return self.code.apply(self.code.adjoint(self._matrix()), new)

    def products(self) -> list[tuple[int, int]]:
        """Returns for each of the numbers its row and column in the matrix."""
        if self.kind == "diagonal":
            return [(k, k) for k in range(len(self.numbers))]
        columns = 1 if self.kind == "start" else 2**self.num_qubits
        return [divmod(k, columns) for k in range(len(self.numbers))]

    def _matrix(self) -> list[list[Complex]]:
        columns = 1 if self.kind == "start" else 2**self.num_qubits
        return [self.numbers[k : k + columns] for k in range(0, len(self.numbers), columns)]

    def _apply_pair(self, old: Sequence[Complex]) -> list[Complex]:
        first, last = ([self.numbers[k : k + 2], self.numbers[k + 2 : k + 4]] for k in (0, 4))
        rows = list(old)
        for k in (0, 1):
            rows[k], rows[k + 2] = self.code.apply(first, [rows[k], rows[k + 2]])
        for k in (0, 2):
            rows[k], rows[k + 1] = self.code.apply(last, [rows[k], rows[k + 1]])
        return rows


# Gates as unit-diagonal matrices, and the sums of the reverse pass. -----------------------------------------


def mix(code: Code, rows: list[Complex], gates: Sequence[tuple[Sequence[tuple[int, int]], Complex, Complex]]) -> None:
    """Writes what applies [[1, a], [b, 1]] to pairs of rows, for each gate given as the pairs, a and b."""
    for pairs, a, other in gates:
        for low, high in pairs:
            first, last = rows[low], rows[high]
            rows[low], rows[high] = _added_product(code, first, a, last), _added_product(code, last, other, first)


def _added_product(code: Code, total: Complex, x: Complex, y: Complex) -> Complex:
    """Returns total + x * y, x being real where it has no imaginary part."""
    if x[1] is not None:
        return code.multiply(x, y, total)
    real = code.multiply_add(x[0], y[0], total[0])
    return real, None if y[1] is None else code.multiply_add(x[0], y[1], total[1])


def add_skew_sums(
    code: Code,
    states: Sequence[Complex],
    cotangents: Sequence[Complex],
    gates: Sequence[Sequence[tuple[int, int]]],
    values: Sequence[Value],
) -> list[Value]:
    """Returns sums with those of some rows, with M[j, k] the sum of cotangent[j] * conj(state[k]).

    Args:
      code: of the kernel.
      states: rows of the state.
      cotangents: the same rows of its cotangent.
      gates: the pairs of rows that each gate mixes.
      values: for each gate real and imaginary part of M01 - conj(M10), and then for each row the imaginary part of
        M[j, j]; in real arithmetic the real parts alone.
    """
    parts = 2 if code.is_complex else 1
    added = list(values)

    def plus(total: Value, x: Value, y: Value, sign: int) -> Value:
        return code.multiply_add(x if sign > 0 else code.builder.fneg(x), y, total)

    for k, pairs in enumerate(gates):
        real = parts * k
        for low, high in pairs:
            for row, column, sign in ((low, high, 1), (high, low, -1)):
                (x, y), (u, v) = cotangents[row], states[column]
                added[real] = plus(added[real], x, u, sign)
                if y is not None and v is not None:
                    added[real] = plus(added[real], y, v, sign)
                    added[real + 1] = plus(added[real + 1], y, u, 1)
                    added[real + 1] = plus(added[real + 1], x, v, -1)
    if code.is_complex:
        for j, ((x, y), (u, v)) in enumerate(zip(cotangents, states, strict=True), parts * len(gates)):
            added[j] = plus(plus(added[j], y, u, 1), x, v, -1)
    return added


# Readouts: strings of I and Z. ------------------------------------------------------------------------------


def squares(code: Code, tile: Value, probabilities: Value, rows: Value) -> None:
    """Writes what makes the squared magnitudes, rows of real numbers."""
    b = code.builder
    with code.each(rows) as loop:
        ((re, im),) = code.load_rows(tile, [code.place(loop.index)])
        value = b.fmul(re, re) if im is None else code.multiply_add(re, re, b.fmul(im, im))
        code.store(value, probabilities, code.real_place(loop.index))


def weighting(code: Code, tile: Value, weights: Value, cotangent: Value, rows: Value) -> None:
    """Writes the transpose of `squares`: 2 * weight * amplitude."""
    b = code.builder
    with code.each(rows) as loop:
        place = code.place(loop.index)
        ((re, im),) = code.load_rows(tile, [place])
        weight = code.load(weights, code.real_place(loop.index))
        weight = b.fadd(weight, weight)
        code.store_rows(cotangent, [place], [(b.fmul(re, weight), None if im is None else b.fmul(im, weight))])


def walsh_hadamard(code: Code, data: Value, rows: Value, qubits: Value) -> None:
    """Writes what makes of every row of real numbers the sum over all others with their signs.

    Row r becomes the sum over s of (-1)**(number of ones of r & s) * row s: the value of the string whose Z stand
    where r has ones.
    """
    b, low = code.builder, int64(1)
    for bits, count in ((3, b.sdiv(qubits, int64(3))), (1, b.srem(qubits, int64(3)))):
        with code.loop(count, [low]) as loop:
            _butterflies(code, data, b.lshr(rows, int64(bits)), loop.values[0], bits)
            code.synchronize()
            loop.next = [b.shl(loop.values[0], int64(bits))]
        low = loop.values[0]


def _butterflies(code: Code, data: Value, count: Value, low: Value, bits: int) -> None:
    """Writes the sums and differences over neighbouring bits, the lowest of value `low`; count rows have none."""
    b = code.builder
    with code.each(count) as loop:
        below = b.and_(loop.index, b.sub(low, int64(1)))
        row = b.add(b.mul(b.sub(loop.index, below), int64(2**bits)), below)
        places = [code.real_place(b.add(row, b.mul(low, int64(k)))) for k in range(2**bits)]
        values = [code.load(data, place) for place in places]
        for bit in range(bits):
            for k in range(2**bits):
                if not k >> bit & 1:
                    other = k | 1 << bit
                    values[k], values[other] = b.fadd(values[k], values[other]), b.fsub(values[k], values[other])
        for place, value in zip(places, values, strict=True):
            code.store(value, data, place)
