"""Several gates on one qubit each at once, on a GPU: a thread has the rows that they mix in its registers.

So all of them read and write the tile once. See `pieces.py` for which gates these are.
"""

from collections.abc import Sequence

from qjax.quantum.native.code import INT32, Complex, Value, int32, int64
from qjax.quantum.native.cuda.code import CudaCode, Piece
from qjax.quantum.native.forms import COUNT, ENTRY, FIRST, FLIP, LOW, MASK, WEIGHTS
from qjax.quantum.native.kernels import paired


class Several:
    """Gates in a kernel that is being written, and the rows that they mix."""

    def __init__(self, code: CudaCode, count: int, entry: Value, coefficients: Sequence[Piece]) -> None:
        """Reads the gates' entries and numbers.

        Args:
          code: that is being written.
          count: how many gates there are.
          entry: the one that says so.
          coefficients: where the numbers of the gates are.
        """
        self.code, self.count, self.coefficients = code, count, coefficients
        b = code.builder
        self.num_cosets = code.load_int32(entry, COUNT)
        self.lows = [code.load_int32(entry, LOW + k) for k in range(count)]
        self.members = [b.gep(entry, [int64(4 * ENTRY * (k + 1))]) for k in range(count)]
        self.masks, self.weights, flips = (
            [code.load_int32(member, word) for member in self.members] for word in (MASK, WEIGHTS, FLIP)
        )
        self.moves = [code.place(mask) for mask in self.masks]
        self._count_ones = code.external("llvm.ctpop.i32", INT32, [INT32])
        self.flips = [b.call(self._count_ones, [b.and_(flip, code.coset)]) for flip in flips]
        numbers = [code.load_numbers(code.of_entry(member, FIRST, coefficients), 4) for member in self.members]
        self.matrices = [[own[:2], own[2:]] for own in numbers]

    def places(self, coset: Value) -> list[Value]:
        """Returns where the rows of a coset are: bit k of a row's index is qubit k."""
        code, b = self.code, self.code.builder
        first = coset
        for low in self.lows:  # a 0 is put in at the pivot
            first = b.sub(b.shl(first, int32(1)), b.and_(first, low))
        place = code.place(first)
        for weights, flip, move in zip(self.weights, self.flips, self.moves, strict=True):
            parity = b.and_(b.xor(b.call(self._count_ones, [b.and_(first, weights)]), flip), int32(1))
            turned = b.icmp_unsigned("!=", parity, int32(0))
            place = b.xor(place, b.select(turned, move, int64(0)))
        found = [place]
        for move in self.moves:
            found += [b.xor(own, move) for own in found]
        return found

    def apply(self, rows: Sequence[Complex]) -> list[Complex]:
        """Returns the rows after all gates."""
        found = list(rows)
        for k, matrix in enumerate(self.matrices):
            for low, high in self._pairs(k):
                found[low], found[high] = self.code.apply(matrix, [found[low], found[high]])
        return found

    def forward(self, tile: Value) -> None:
        """Writes what applies the gates to a tile."""
        code = self.code
        with code.each(self.num_cosets) as loop:
            places = self.places(loop.index)
            code.store_rows(tile, places, self.apply(code.load_rows(tile, places)))

    def backward(self, tile: Value, cotangent: Value, sums: Sequence[Piece]) -> None:
        """Writes what takes a state and its cotangent back, and adds the cotangents of the matrices to `sums`.

        These are, as in `kernels.backward`, sums of cotangent[j] * conj(state[k]), the state that before the gate.
        """
        code, parts = self.code, 2 if self.code.is_complex else 1
        with code.each(self.num_cosets, [code.zero] * (4 * parts * self.count)) as loop:
            places = self.places(loop.index)
            states, known = (code.load_rows(own, places) for own in (tile, cotangent))
            added = paired(loop.values, parts)
            for k, matrix in enumerate(self.matrices):
                undo, own = code.adjoint(matrix), added[4 * k : 4 * k + 4]
                for pair in self._pairs(k):
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
        numbers = [code.of_entry(member, FIRST, sums) for member in self.members]
        code.add_all_sums(numbers, [found[4 * k : 4 * k + 4] for k in range(self.count)])

    def _pairs(self, gate: int) -> list[tuple[int, int]]:
        """Returns the rows that a gate mixes, by their index in a coset."""
        return [(k, k | 1 << gate) for k in range(1 << self.count) if not k >> gate & 1]
