"""Several gates on one qubit each at once, on a GPU: a thread has the rows that they mix in its registers.

So all of them read and write the tile once. See `grouping.py` for which gates these are.
"""

from collections.abc import Sequence

from qjax.quantum.engines.native.cuda.scaled_gates import OTHERS, TABLE, num_sums
from qjax.quantum.engines.native.cuda.writer import CudaCode, Piece
from qjax.quantum.engines.native.ir.kernels import add_skew_sums, mix, paired
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, Complex, Value, int32, int64
from qjax.quantum.engines.native.table.layout import (
    ALL_WEIGHTS,
    COUNT,
    ENTRY,
    FIRST,
    FIRSTS,
    FLIPS,
    LISTED,
    LISTED_FLIPS,
    LOWS,
    MASKS,
    MOVES,
)


class _Cosets:
    """Gates in a kernel that is being written, and the rows that they mix."""

    def __init__(self, code: CudaCode, count: int, entry: Value) -> None:
        """Reads what the entries say of the gates.

        Args:
          code: that is being written.
          count: how many gates there are.
          entry: the one that says so.
        """
        self.code, self.count, self.entry = code, count, entry
        b = code.builder
        packed = b.gep(entry, [int64(4 * ENTRY)])
        self.listed = code.listed_places
        if self.listed is None:
            masks, self.weights, flips, self.lows = (
                self._four(packed, word)[:count] for word in (MASKS, ALL_WEIGHTS, FLIPS, LOWS)
            )
            self.moves = [code.place(mask) for mask in masks]
            self.flips = [code.count_ones(b.and_(flip, code.coset)) for flip in flips]
            return
        flips, moves = (
            [x for k in range(0, count, 4) for x in self._four(packed, word + k)][:count]
            for word in (LISTED_FLIPS, MOVES)
        )
        self.flips = [code.count_ones(b.and_(flip, code.coset)) for flip in flips]
        self.moves = [b.zext(move, INT64) for move in moves]
        self.listed = b.gep(self.listed, [code.bytes_of(code.load_int32(entry, LISTED))])
        self.turned: Value = int64(0)
        for flip, move in zip(self.flips, self.moves, strict=True):
            self.turned = b.xor(self.turned, self._if_odd(flip, move))

    def _four(self, base: Value, word: int, kind: ir.Type = INT32) -> list[Value]:
        """Returns the numbers at four neighbouring words."""
        return self.code.load_wide(base, int64(4 * word), kind)

    @property
    def _num_cosets(self) -> Value:
        """How many cosets there are; a constant where the size of a tile is one."""
        code, b = self.code, self.code.builder
        if self.listed is None:
            return code.load_int32(self.entry, COUNT)
        return b.trunc(b.lshr(code.rows, int64(self.count)), INT32)

    def places(self, coset: Value) -> list[Value]:
        """Returns where the rows of a coset are: bit k of a row's index is qubit k."""
        b = self.code.builder
        found = [self._place(coset)]
        for move in self.moves:
            found += [b.xor(own, move) for own in found]
        return found

    def _place(self, coset: Value) -> Value:
        """Returns where the first row of a coset is."""
        code, b = self.code, self.code.builder
        if self.listed is not None:
            listed = b.load(code.at(self.listed, code.bytes_of(coset), INT32))
            return b.xor(b.zext(listed, INT64), self.turned)
        first = coset
        for low in self.lows:  # a 0 is put in at the pivot
            first = b.sub(b.shl(first, int32(1)), b.and_(first, low))
        place = code.place(first)
        for weights, flip, move in zip(self.weights, self.flips, self.moves, strict=True):
            parity = b.xor(code.count_ones(b.and_(first, weights)), flip)
            place = b.xor(place, self._if_odd(parity, move))
        return place

    def _if_odd(self, number: Value, move: Value) -> Value:
        return self.code.builder.select(self.code.is_odd(number), move, int64(0))

    def pairs(self, gate: int) -> list[tuple[int, int]]:
        """Returns the rows that a gate mixes, by their index in a coset."""
        return [(k, k | 1 << gate) for k in range(1 << self.count) if not k >> gate & 1]


class Several(_Cosets):
    """Gates that are done as the matrices that they are."""

    def __init__(self, code: CudaCode, count: int, entry: Value, coefficients: Sequence[Piece]) -> None:
        """Reads the gates' entries and numbers.

        Args:
          code: see `_Cosets`.
          count: likewise.
          entry: likewise.
          coefficients: where the numbers of the gates are.
        """
        super().__init__(code, count, entry)
        numbers = [code.load_numbers(code.of_entry(entry, FIRSTS + k, coefficients), 4) for k in range(count)]
        self.matrices = [[own[:2], own[2:]] for own in numbers]

    def apply(self, rows: Sequence[Complex]) -> list[Complex]:
        """Returns the rows after all gates."""
        found = list(rows)
        for k, matrix in enumerate(self.matrices):
            for low, high in self.pairs(k):
                found[low], found[high] = self.code.apply(matrix, [found[low], found[high]])
        return found

    def forward(self, tile: Value) -> None:
        """Writes what applies the gates to a tile."""
        code = self.code
        with code.each(self._num_cosets) as loop:
            places = self.places(loop.index)
            code.store_rows(tile, places, self.apply(code.load_rows(tile, places)))

    def backward(self, tile: Value, cotangent: Value, sums: Sequence[Piece]) -> None:
        """Writes what takes a state and its cotangent back, and adds the cotangents of the matrices to `sums`.

        These are, as in `kernels.backward`, sums of cotangent[j] * conj(state[k]), the state that before the gate.
        """
        code, parts = self.code, 2 if self.code.is_complex else 1
        with code.each(self._num_cosets, [code.zero] * (4 * parts * self.count)) as loop:
            places = self.places(loop.index)
            states, known = (code.load_rows(own, places) for own in (tile, cotangent))
            added = paired(loop.values, parts)
            for k, matrix in enumerate(self.matrices):
                undo, own = code.adjoint(matrix), added[4 * k : 4 * k + 4]
                for pair in self.pairs(k):
                    before, after = code.apply(undo, [states[r] for r in pair]), [known[r] for r in pair]
                    for place in range(4):
                        row, column = divmod(place, 2)
                        own[place] = code.multiply(code.conjugate(before[column]), after[row], own[place])
                    back = code.apply(undo, after)
                    for r, state, value in zip(pair, before, back, strict=True):
                        states[r], known[r] = state, value
                added[4 * k : 4 * k + 4] = own
            code.store_rows(tile, places, states)
            code.store_rows(cotangent, places, known)
            loop.next = [part for number in added for part in number[:parts]]
        found = paired(loop.values, parts)
        numbers = [code.of_entry(self.entry, FIRSTS + k, sums) for k in range(self.count)]
        code.add_all_sums(numbers, [found[4 * k : 4 * k + 4] for k in range(self.count)])


class Scaled(_Cosets):
    """Gates that are done as unit-diagonal matrices and one diagonal; see `scaled_gates.py`."""

    def __init__(self, code: CudaCode, count: int, entry: Value, is_real: bool, tables: Value) -> None:
        """Reads the gates' entries and table.

        Args:
          code: see `_Cosets`.
          count: likewise.
          entry: likewise.
          is_real: whether the matrices are.
          tables: where the tables begin.
        """
        super().__init__(code, count, entry)
        b = code.builder
        self.piece = b.sext(code.load_int32(entry, FIRST), INT64)
        self.table = b.gep(tables, [b.mul(self.piece, int64(4 * TABLE))])
        self.others: list[tuple[Complex, Complex]] = []
        for k in range(count):
            numbers = self._four(self.table, 4 * k, code.real)
            a, other = ((x, None if is_real else y) for x, y in (numbers[:2], numbers[2:]))
            self.others.append((a, other))

    def _diagonal(self, index: Value) -> list[Complex]:
        """Returns the numbers of the diagonal, read anew in each round: there are no registers to keep them."""
        found: list[Complex] = []
        table = self.code.anew(self.table, index)
        for k in range(0, 1 << self.count, 2):
            numbers = self._four(table, OTHERS + 2 * k, self.code.real)
            found += paired(numbers, 2) if self.code.is_complex else [(numbers[0], None), (numbers[2], None)]
        return found

    def forward(self, tile: Value) -> None:
        """Writes what applies the gates to a tile."""
        code = self.code
        with code.each(self._num_cosets) as loop:
            places = self.places(loop.index)
            rows = code.load_rows(tile, places)
            self._mix(rows, self.others)
            numbers = self._diagonal(loop.index)
            rows = [code.multiply(number, row) for number, row in zip(numbers, rows, strict=True)]
            code.store_rows(tile, places, rows)

    def backward(self, tile: Value, cotangent: Value, sums: Piece) -> None:
        """Writes what takes a state and its cotangent back, and adds the sums that `scaled.cotangents` wants."""
        code = self.code
        adjoint = [(self._conjugate(other), self._conjugate(a)) for a, other in self.others]
        initial = [code.zero] * ((2 * self.count + (1 << self.count)) if code.is_complex else self.count)
        with code.each(self._num_cosets, initial) as loop:
            places = self.places(loop.index)
            rows = [code.load_rows(own, places) for own in (tile, cotangent)]
            loop.next = add_skew_sums(code, rows[0], rows[1], [self.pairs(k) for k in range(self.count)], loop.values)
            numbers = [code.conjugate(number) for number in self._diagonal(loop.index)]
            for own, start in zip(rows, (tile, cotangent), strict=True):
                own[:] = [code.multiply(number, row) for number, row in zip(numbers, own, strict=True)]
                self._mix(own, adjoint)
                code.store_rows(start, places, own)
        first = code.builder.mul(self.piece, int64(num_sums(code.is_complex)))
        pointer = code.builder.gep(sums.pointer, [code.builder.mul(first, sums.stride)])
        code.add_all_sums([(pointer, sums.stride)], [[(value, None) for value in self._found(loop.values)]], step=1)

    def _mix(self, rows: list[Complex], others: Sequence[tuple[Complex, Complex]]) -> None:
        mix(self.code, rows, [(self.pairs(k), *own) for k, own in enumerate(others)])

    def _conjugate(self, value: Complex) -> Complex:
        return value if value[1] is None else self.code.conjugate(value)

    def _found(self, values: Sequence[Value]) -> list[Value]:
        """Returns the sums of all cosets as `scaled.cotangents` wants them."""
        if not self.code.is_complex:
            return list(values)
        b, own, rows = self.code.builder, values[: 2 * self.count], list(values[2 * self.count :])
        differences: list[Value] = []
        for _ in range(self.count):  # bit by bit: differences over this one, sums over it for all others
            pairs = list(zip(rows[::2], rows[1::2], strict=True))
            differences.append(self._total([b.fsub(x, y) for x, y in pairs]))
            rows = [b.fadd(x, y) for x, y in pairs]
        found = [rows[0]]
        for k in range(self.count):
            found += [differences[k], own[2 * k], own[2 * k + 1]]
        return found

    def _total(self, values: list[Value]) -> Value:
        total = values[0]
        for value in values[1:]:
            total = self.code.builder.fadd(total, value)
        return total
