"""Writes the code of a group of gates on a GPU: a thread has the rows that the gates mix in its registers.

So the whole group reads and writes the tile once. `grouping.py` forms the groups.
"""

from collections.abc import Sequence
from functools import reduce

from qjax.quantum.engines.native.cuda.scaled_gates import OTHERS, TABLE, num_sums
from qjax.quantum.engines.native.cuda.writer import CudaCode, Segment
from qjax.quantum.engines.native.ir.kernels import add_skew_sums, mix, paired
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, Complex, Value, int32, int64
from qjax.quantum.engines.native.table.layout import Entry, GroupEntry, GroupMembers


class _Group:
    """A group of gates in a kernel that is being written, and the rows that they mix."""

    def __init__(self, code: CudaCode, count: int, entry: Value) -> None:
        """Reads the two entries of a group of so many gates, from the address of the first one on."""
        self.code, self.count, self.entry = code, count, entry
        b = code.builder
        packed = b.gep(entry, [int64(4 * Entry.SIZE)])
        self.listed = code.listed_places
        if self.listed is None:
            masks, self.weights, flips, self.lows = (
                self._four(packed, word)[:count]
                for word in (GroupMembers.MASKS, GroupMembers.WEIGHTS, GroupMembers.FLIPS, GroupMembers.LOWS)
            )
            self.moves = [code.place(mask) for mask in masks]
            self.flips = [code.count_ones(b.and_(flip, code.coset)) for flip in flips]
            return
        flips, moves = (
            [x for k in range(0, count, 4) for x in self._four(packed, word + k)][:count]
            for word in (GroupMembers.COSET_FLIPS, GroupMembers.MOVES)
        )
        self.flips = [code.count_ones(b.and_(flip, code.coset)) for flip in flips]
        self.moves = [b.zext(move, INT64) for move in moves]
        self.listed = b.gep(self.listed, [code.bytes_of(code.load_int32(entry, GroupEntry.COSETS))])
        self.flip_move: Value = int64(0)  # what the flips add to the places in the list
        for flip, move in zip(self.flips, self.moves, strict=True):
            self.flip_move = b.xor(self.flip_move, self._if_odd(flip, move))

    def _four(self, base: Value, word: int, kind: ir.Type = INT32) -> list[Value]:
        """Loads four neighbouring words."""
        return self.code.load_wide(base, int64(4 * word), kind)

    @property
    def _num_cosets(self) -> Value:
        """Number of cosets; a constant where the size of a tile is constant."""
        code, b = self.code, self.code.builder
        if self.listed is None:
            return code.load_int32(self.entry, Entry.COUNT)
        return b.trunc(b.lshr(code.rows, int64(self.count)), INT32)

    def places(self, coset: Value) -> list[Value]:
        """Returns the places of a coset's rows in the tile; bit k of a row's index is the qubit of gate k."""
        b = self.code.builder
        places = [self._place(coset)]
        for move in self.moves:
            places += [b.xor(place, move) for place in places]
        return places

    def _place(self, coset: Value) -> Value:
        """Returns the place of a coset's first row, where all qubits of the gates are 0."""
        code, b = self.code, self.code.builder
        if self.listed is not None:
            listed = b.load(code.at(self.listed, code.bytes_of(coset), INT32))
            return b.xor(b.zext(listed, INT64), self.flip_move)
        first = coset
        for low in self.lows:  # insert a 0 at the pivot
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


class DenseGroup(_Group):
    """A group of gates that are applied as their 2 x 2 matrices."""

    def __init__(self, code: CudaCode, count: int, entry: Value, coefficients: Sequence[Segment]) -> None:
        """Reads the entries, see `_Group`, and the matrices of the gates."""
        super().__init__(code, count, entry)
        numbers = [
            code.load_numbers(code.of_entry(entry, GroupEntry.FIRSTS + k, coefficients), 4) for k in range(count)
        ]
        self.matrices = [[entries[:2], entries[2:]] for entries in numbers]

    def apply(self, rows: Sequence[Complex]) -> list[Complex]:
        """Returns the rows after all gates."""
        rows = list(rows)
        for k, matrix in enumerate(self.matrices):
            for low, high in self.pairs(k):
                rows[low], rows[high] = self.code.apply(matrix, [rows[low], rows[high]])
        return rows

    def forward(self, tile: Value) -> None:
        """Writes the code that applies the gates to a tile."""
        code = self.code
        with code.each(self._num_cosets) as loop:
            places = self.places(loop.index)
            code.store_rows(tile, places, self.apply(code.load_rows(tile, places)))

    def backward(self, tile: Value, cotangent: Value, sums: Sequence[Segment]) -> None:
        """Writes the code that undoes the gates on a state and its cotangent, and adds to the matrices' cotangents.

        As in `kernels.backward` these are sums of cotangent[j] * conj(state[k]), with the state before the gate.
        """
        code, parts = self.code, 2 if self.code.is_complex else 1
        with code.each(self._num_cosets, [code.zero] * (4 * parts * self.count)) as loop:
            places = self.places(loop.index)
            states, cotangents = (code.load_rows(array, places) for array in (tile, cotangent))
            of_matrices = paired(loop.values, parts)
            for k, matrix in enumerate(self.matrices):
                undo, of_matrix = code.adjoint(matrix), of_matrices[4 * k : 4 * k + 4]
                for pair in self.pairs(k):
                    before, after = code.apply(undo, [states[r] for r in pair]), [cotangents[r] for r in pair]
                    for number in range(4):
                        row, column = divmod(number, 2)
                        factor = code.conjugate(before[column])
                        of_matrix[number] = code.multiply(factor, after[row], of_matrix[number])
                    back = code.apply(undo, after)
                    for r, state, value in zip(pair, before, back, strict=True):
                        states[r], cotangents[r] = state, value
                of_matrices[4 * k : 4 * k + 4] = of_matrix
            code.store_rows(tile, places, states)
            code.store_rows(cotangent, places, cotangents)
            loop.next = [part for number in of_matrices for part in number[:parts]]
        of_matrices = paired(loop.values, parts)
        numbers = [code.of_entry(self.entry, GroupEntry.FIRSTS + k, sums) for k in range(self.count)]
        code.add_all_sums(numbers, [of_matrices[4 * k : 4 * k + 4] for k in range(self.count)])


class ScaledGroup(_Group):
    """A group of gates that are applied as unit-diagonal matrices and one diagonal; see `scaled_gates.py`."""

    def __init__(self, code: CudaCode, count: int, entry: Value, is_real: bool, tables: Value) -> None:
        """Reads the entries, see `_Group`, and the table of the gates, whose unit-diagonal matrices may be real."""
        super().__init__(code, count, entry)
        b = code.builder
        self.number = b.sext(code.load_int32(entry, Entry.FIRST), INT64)
        self.table = b.gep(tables, [b.mul(self.number, int64(4 * TABLE))])
        four = [self._four(self.table, 4 * k, code.real) for k in range(count)]
        self.off_diagonals: list[tuple[Complex, Complex]] = [
            ((a, None), (other, None)) if is_real else ((a, imag), (other, other_imag))
            for a, imag, other, other_imag in four
        ]

    def _diagonal(self, index: Value) -> list[Complex]:
        """Returns the numbers of the diagonal; each round loads them, as there are no registers to keep them."""
        diagonal: list[Complex] = []
        table = self.code.anew(self.table, index)
        for k in range(0, 1 << self.count, 2):
            numbers = self._four(table, OTHERS + 2 * k, self.code.real)
            diagonal += paired(numbers, 2) if self.code.is_complex else [(numbers[0], None), (numbers[2], None)]
        return diagonal

    def forward(self, tile: Value) -> None:
        """Writes the code that applies the gates to a tile."""
        code = self.code
        with code.each(self._num_cosets) as loop:
            places = self.places(loop.index)
            rows = code.load_rows(tile, places)
            self._mix(rows, self.off_diagonals)
            numbers = self._diagonal(loop.index)
            rows = [code.multiply(number, row) for number, row in zip(numbers, rows, strict=True)]
            code.store_rows(tile, places, rows)

    def backward(self, tile: Value, cotangent: Value, sums: Segment) -> None:
        """Writes the code that undoes the gates on a state and its cotangent, and adds to the gates' sums.

        These are the sums that `scaled_gates.cotangents` takes.
        """
        code = self.code
        adjoint = [(self._conjugate(other), self._conjugate(a)) for a, other in self.off_diagonals]
        initial = [code.zero] * ((2 * self.count + (1 << self.count)) if code.is_complex else self.count)
        with code.each(self._num_cosets, initial) as loop:
            places = self.places(loop.index)
            both = [code.load_rows(array, places) for array in (tile, cotangent)]
            loop.next = add_skew_sums(code, both[0], both[1], [self.pairs(k) for k in range(self.count)], loop.values)
            numbers = [code.conjugate(number) for number in self._diagonal(loop.index)]
            for rows, array in zip(both, (tile, cotangent), strict=True):
                rows[:] = [code.multiply(number, row) for number, row in zip(numbers, rows, strict=True)]
                self._mix(rows, adjoint)
                code.store_rows(array, places, rows)
        first = code.builder.mul(self.number, int64(num_sums(code.is_complex)))
        pointer = code.builder.gep(sums.pointer, [code.builder.mul(first, sums.stride)])
        code.add_all_sums([(pointer, sums.stride)], [[(value, None) for value in self._sums(loop.values)]], step=1)

    def _mix(self, rows: list[Complex], off_diagonals: Sequence[tuple[Complex, Complex]]) -> None:
        mix(self.code, rows, [(self.pairs(k), a, other) for k, (a, other) in enumerate(off_diagonals)])

    def _conjugate(self, value: Complex) -> Complex:  # real in complex arithmetic, too
        return value if value[1] is None else self.code.conjugate(value)

    def _sums(self, values: Sequence[Value]) -> list[Value]:
        """Returns the sums over all cosets in the order that `scaled_gates.cotangents` takes."""
        if not self.code.is_complex:
            return list(values)
        b, off_diagonal, rows = self.code.builder, values[: 2 * self.count], list(values[2 * self.count :])
        differences: list[Value] = []
        for _ in range(self.count):  # for each bit its differences; then rows are summed over it
            pairs = list(zip(rows[::2], rows[1::2], strict=True))
            differences.append(reduce(b.fadd, [b.fsub(x, y) for x, y in pairs]))
            rows = [b.fadd(x, y) for x, y in pairs]
        sums = [rows[0]]
        for k in range(self.count):
            sums += [differences[k], off_diagonal[2 * k], off_diagonal[2 * k + 1]]
        return sums
