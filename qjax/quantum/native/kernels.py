"""The kernels: what each form of gate does to the states of a few examples, forwards and backwards.

A tile is the states of as many examples as a vector has numbers: for each row the vector of the real parts, then that
of the imaginary parts, which real states have not. A gate's numbers, its coefficients, are vectors too, an entry for
each example, and have both parts always.
"""

from collections.abc import Sequence

from llvmlite import ir

from qjax.quantum.native.angles import write_rotation, write_rotation_back
from qjax.quantum.native.code import INT32, INT64, POINTER, VOID, Arithmetic, Code, Complex, Value, int32, int64
from qjax.quantum.native.forms import (
    COUNT,
    FIRST,
    FLIP,
    LEFT,
    LOW,
    MASK,
    RIGHT,
    VECTOR_BYTES,
    VECTOR_SHIFT,
    WEIGHTS,
    Form,
    num_numbers,
)

# Sums of at most so many products stay in registers while a gate goes back through the rows.
MAX_KEPT_SUMS = 4


def write_forward(module: ir.Module, arithmetic: Arithmetic, form: Form) -> ir.Function:
    """Writes the kernel (tile, entry, coefficients) that applies a gate."""
    if form[0] in ("column", "rotation"):
        write = _write_product if form[0] == "column" else write_rotation
        return write(module, arithmetic)
    code = Code(module, f"apply_{'_'.join(map(str, form))}", VOID, [POINTER] * 3, arithmetic)
    tile, entry, coefficients = code.arguments
    gate = _Gate(code, form, entry, coefficients)
    with code.loop(code.load_int32(entry, COUNT)) as loop:
        places = gate.places(loop.index)
        old = load_rows(code, tile, places[:1] if form[0] == "start" else places)
        store_rows(code, tile, places, gate.apply(old))
    code.builder.ret_void()
    return code.function


def write_backward(module: ir.Module, arithmetic: Arithmetic, form: Form) -> ir.Function:
    """Writes the kernel (tile, cotangent, entry, coefficients, sums) that takes a state and its cotangent back.

    To `sums` it adds the cotangents of the coefficients: of U[j, k] the sum of cotangent[j] * conj(state[k]), the
    state that before the gate (Jones & Gacon 2020, arXiv:2009.02823, equation 8).
    """
    if form[0] in ("column", "rotation"):
        write = _write_product_back if form[0] == "column" else write_rotation_back
        return write(module, arithmetic)
    code = Code(module, f"undo_{'_'.join(map(str, form))}", VOID, [POINTER] * 5, arithmetic)
    tile, cotangent, entry, coefficients, sums = code.arguments
    gate = _Gate(code, form, entry, coefficients)
    total = code.of_entry(entry, FIRST, sums)
    count = num_numbers(form)
    kept = count <= MAX_KEPT_SUMS
    parts = 2 if code.is_complex else 1
    initial = [code.zero] * (parts * count) if kept else []
    with code.loop(code.load_int32(entry, COUNT), initial) as loop:
        places = gate.places(loop.index)
        after, known = load_rows(code, tile, places), load_rows(code, cotangent, places)
        before, back = gate.undo(after), gate.undo(known)
        added = _paired(loop.values, parts) if kept else _load_numbers(code, total, count)
        for k, (row, column) in enumerate(gate.products()):
            added[k] = code.multiply(code.conjugate(before[column]), known[row], added[k])
        if not kept:
            _store_numbers(code, total, added)
        loop.next = [part for number in added for part in number[:parts]] if kept else []
        own = places[:1] if form[0] == "start" else places
        store_rows(code, tile, own, before)
        store_rows(code, cotangent, own, back)
    if kept:
        earlier = _load_numbers(code, total, count)
        new = _paired(loop.values, parts)
        _store_numbers(code, total, [code.add(a, b) for a, b in zip(earlier, new, strict=True)])
    code.builder.ret_void()
    return code.function


def _write_product(module: ir.Module, arithmetic: Arithmetic) -> ir.Function:
    """Writes the kernel (tile, entry, coefficients) that makes a column."""
    code = Code(module, "multiply_column", VOID, [POINTER] * 3, arithmetic)
    _, entry, coefficients = code.arguments
    matrix, column = _factors(code, entry, coefficients)
    _store_numbers(code, code.of_entry(entry, FIRST, coefficients), code.apply(matrix, column))
    code.builder.ret_void()
    return code.function


def _write_product_back(module: ir.Module, arithmetic: Arithmetic) -> ir.Function:
    """Writes the kernel (tile, cotangent, entry, coefficients, sums) that takes it back to its factors."""
    code = Code(module, "multiply_column_back", VOID, [POINTER] * 5, arithmetic)
    _, _, entry, coefficients, sums = code.arguments
    matrix, column = _factors(code, entry, coefficients)
    known = _load_numbers(code, code.of_entry(entry, FIRST, sums), 2)
    places = [code.of_entry(entry, word, sums) for word in (LEFT, RIGHT)]
    totals = _load_numbers(code, places[0], 4)
    products = [(row, k) for row in known for k in column]
    added = [code.multiply(code.conjugate(k), row, old) for (row, k), old in zip(products, totals, strict=True)]
    _store_numbers(code, places[0], added)
    back = zip(code.apply(code.adjoint(matrix), known), _load_numbers(code, places[1], 2), strict=True)
    _store_numbers(code, places[1], [code.add(x, y) for x, y in back])
    code.builder.ret_void()
    return code.function


def _factors(code: Code, entry: Value, coefficients: Value) -> tuple[list[list[Complex]], list[Complex]]:
    numbers = _load_numbers(code, code.of_entry(entry, LEFT, coefficients), 4)
    return [numbers[:2], numbers[2:]], _load_numbers(code, code.of_entry(entry, RIGHT, coefficients), 2)


def _paired(values: Sequence[Value], parts: int) -> list[Complex]:
    """Returns values as numbers of two parts, or of real ones alone."""
    return [(values[k], values[k + 1] if parts == 2 else None) for k in range(0, len(values), parts)]


class _Gate:
    """A gate in a kernel that is being written: its numbers, and the rows that it mixes."""

    def __init__(self, code: Code, form: Form, entry: Value, coefficients: Value) -> None:
        self.code, self.kind, self.num_qubits = code, form[0], form[1]
        self.lows, self.masks, self.weights, self.flips = (
            [code.load_int32(entry, first + k) for k in range(form[1] + form[2])]
            for first in (LOW, MASK, WEIGHTS, FLIP)
        )
        self.numbers = _load_numbers(code, code.of_entry(entry, FIRST, coefficients), num_numbers(form))

    def places(self, coset: Value) -> list[Value]:
        """Returns the addresses of the rows that the gate mixes, its first qubit the most significant."""
        b = self.code.builder
        row = coset if self.kind == "start" else self._first_row(coset)
        found = []
        for k in range(2**self.num_qubits):
            own = row
            for q in range(self.num_qubits):
                own = b.xor(own, self.masks[q]) if k >> (self.num_qubits - 1 - q) & 1 else own
            found.append(b.shl(b.zext(own, INT64), int64(self.code.row_shift)))
        return found

    def _first_row(self, coset: Value) -> Value:
        """Returns the row of a coset where all of the gate's qubits are 0, and its controls as they must be."""
        b = self.code.builder
        row = coset
        for low in self.lows:  # a 0 is put in at the pivot
            row = b.sub(b.shl(row, int32(1)), b.and_(row, low))
        first = row
        count_ones = self.code.external("llvm.ctpop.i32", INT32, [INT32])
        for mask, weights, flip in zip(self.masks, self.weights, self.flips, strict=True):
            parity = b.and_(b.call(count_ones, [b.and_(first, weights)]), int32(1))
            row = b.xor(row, b.and_(b.sub(int32(0), b.xor(parity, flip)), mask))
        return row

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


def load_rows(code: Code, tile: Value, places: Sequence[Value]) -> list[Complex]:
    """Returns rows of a tile."""
    add, half = code.builder.add, int64(VECTOR_BYTES)
    return [
        (code.load(tile, place), code.load(tile, add(place, half)) if code.is_complex else None) for place in places
    ]


def store_rows(code: Code, tile: Value, places: Sequence[Value], rows: Sequence[Complex]) -> None:
    """Sets rows of a tile."""
    for place, (real, imag) in zip(places, rows, strict=True):
        code.store(real, tile, place)
        if imag is not None:
            code.store(imag, tile, code.builder.add(place, int64(VECTOR_BYTES)))


def _load_numbers(code: Code, base: Value, count: int) -> list[Complex]:
    return load_rows(code, base, [int64(2 * VECTOR_BYTES * k) for k in range(count)])


def _store_numbers(code: Code, base: Value, numbers: Sequence[Complex]) -> None:
    store_rows(code, base, [int64(2 * VECTOR_BYTES * k) for k in range(len(numbers))], numbers)


# Readouts: strings of I and Z. ------------------------------------------------------------------------------


def write_squares(module: ir.Module, arithmetic: Arithmetic) -> ir.Function:
    """Writes the kernel (tile, probabilities, rows) of the squared magnitudes."""
    code = Code(module, "squares", VOID, [POINTER, POINTER, INT64], arithmetic)
    tile, probabilities, rows = code.arguments
    b = code.builder
    with code.loop(rows) as loop:
        ((re, im),) = load_rows(code, tile, [b.shl(loop.index, int64(code.row_shift))])
        value = b.fmul(re, re) if im is None else code.multiply_add(re, re, b.fmul(im, im))
        code.store(value, probabilities, b.shl(loop.index, int64(VECTOR_SHIFT)))
    b.ret_void()
    return code.function


def write_weighting(module: ir.Module, arithmetic: Arithmetic) -> ir.Function:
    """Writes the kernel (tile, weights, cotangent, rows) of the transpose of `squares`: 2 * weight * amplitude."""
    code = Code(module, "weighting", VOID, [POINTER, POINTER, POINTER, INT64], arithmetic)
    tile, weights, cotangent, rows = code.arguments
    b = code.builder
    with code.loop(rows) as loop:
        place = b.shl(loop.index, int64(code.row_shift))
        ((re, im),) = load_rows(code, tile, [place])
        weight = code.load(weights, b.shl(loop.index, int64(VECTOR_SHIFT)))
        weight = b.fadd(weight, weight)
        pair = b.fmul(re, weight), None if im is None else b.fmul(im, weight)
        store_rows(code, cotangent, [place], [pair])
    b.ret_void()
    return code.function


def write_walsh_hadamard(module: ir.Module, arithmetic: Arithmetic) -> ir.Function:
    """Writes the function (data, rows, qubits) that makes of every row the sum over all others with their signs.

    Row r becomes the sum over s of (-1)**(number of ones of r & s) * row s: the value of the string whose Z stand
    where r has ones.
    """
    steps = {bits: _write_butterflies(module, arithmetic, bits) for bits in (3, 1)}
    code = Code(module, "walsh_hadamard", VOID, [POINTER, INT64, INT64], arithmetic)
    data, rows, qubits = code.arguments
    b, low = code.builder, int64(1)
    for bits, count in ((3, b.sdiv(qubits, int64(3))), (1, b.srem(qubits, int64(3)))):
        with code.loop(count, [low]) as loop:
            b.call(steps[bits], [data, b.lshr(rows, int64(bits)), loop.values[0]])
            loop.next = [b.shl(loop.values[0], int64(bits))]
        low = loop.values[0]
    b.ret_void()
    return code.function


def _write_butterflies(module: ir.Module, arithmetic: Arithmetic, bits: int) -> ir.Function:
    """Writes the kernel (data, count, low) for neighbouring bits, the lowest of value `low`; count rows have none."""
    code = Code(module, f"butterflies_{bits}", VOID, [POINTER, INT64, INT64], arithmetic)
    data, count, low = code.arguments
    b = code.builder
    with code.loop(count) as loop:
        below = b.and_(loop.index, b.sub(low, int64(1)))
        row = b.add(b.mul(b.sub(loop.index, below), int64(2**bits)), below)
        places = [b.shl(b.add(row, b.mul(low, int64(k))), int64(VECTOR_SHIFT)) for k in range(2**bits)]
        values = [code.load(data, place) for place in places]
        for bit in range(bits):
            for k in range(2**bits):
                if not k >> bit & 1:
                    other = k | 1 << bit
                    values[k], values[other] = b.fadd(values[k], values[other]), b.fsub(values[k], values[other])
        for place, value in zip(places, values, strict=True):
            code.store(value, data, place)
    b.ret_void()
    return code.function
