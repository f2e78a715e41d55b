"""The kernels of a GPU for large states: each launch is a pass over them, each tile a coset (`passes.py`).

Operands: the entries of all passes, int32 `[entries, ENTRY]`; for each pass the bits below its pivots, int32
`[passes, k]`, and the rows of its first coset whose numbers are multiples of 2**LOW_BITS, `[passes, .]`; coefficients
that all examples share, and those of each; the tables of the gates that are scaled (`scaled_gates.py`), and where
cosets begin that several gates mix (`grouping.py`); what is read in the last pass, int32 `[., 4]` (`z_strings.py`).
Then, on the way forward, the halves whose product is the first state, `[batch, parts * rows]`; back, the states
`[batch, parts * 2**n]`, and their cotangents or those of the strings that are read, `[strings, batch]`.

Results: of the forward pass the states, the values of the strings in each tile, `[strings, tiles]`, and room to work
in; of the reverse pass the cotangents as they were before all gates, room for the states, the sums of shared
coefficients of each block, `[., blocks]`, of the others of each tile, `[., tiles]`, of scaled gates of each block,
and room.
"""

from dataclasses import dataclass

import numpy as np

from qjax.quantum.engines.native.cuda.large_writer import PassCode
from qjax.quantum.engines.native.cuda.launch_shape import coset_blocks, coset_threads
from qjax.quantum.engines.native.cuda.memory_banks import place_of
from qjax.quantum.engines.native.cuda.whole_kernel import Follower, finish
from qjax.quantum.engines.native.cuda.writer import Piece
from qjax.quantum.engines.native.ir.kernels import squares, walsh_hadamard, weighting
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, Arithmetic, Complex, Value, int32, int64
from qjax.quantum.engines.native.table.layout import LOW_BITS, READ_MASK, READ_NUMBER, READ_ROW, READ_WORDS, Launch

ENTRIES, PIVOTS, ROWS, SHARED, OWN, TABLES, PLACES, READ = range(8)
HIGH, LOW, NEW_STATE, VALUES, SCRATCH, NUM_FORWARD = range(8, 14)
STATE, COTANGENT, NEW_STATE_BACK, NEW_COTANGENT, SHARED_SUMS, OWN_SUMS, SCALED_SUMS = range(8, 15)
SCRATCH_BACK, NUM_BACKWARD = 15, 16
# A thread moves so many neighbouring rows at once, as a binary logarithm.
_ROWS_SHIFT = 2


def write_passes(
    name: str, arithmetic: Arithmetic, is_backward: bool, bits: int, emulated: bool = False
) -> ir.Module:
    """Returns the module of a pass, whose kernel has that name; see `write_kernel`.

    Args:
      name: of the kernel.
      arithmetic: what the amplitudes are.
      is_backward: whether it is the reverse pass.
      bits: of the rows of a coset.
      emulated: see `CudaCode`.
    """
    module, num_arrays = ir.Module(name), NUM_BACKWARD if is_backward else NUM_FORWARD
    code = PassCode(module, name, num_arrays, arithmetic, emulated, bits)
    finish(_Passes(code, is_backward), coset_threads(bits), coset_blocks(bits, is_backward))
    return module


@dataclass(frozen=True)
class _Where:
    """Where a tile is.

    Attributes:
      number: among the tiles.
      example: whose it is.
      first: the coset's first row.
      start: bytes before the example's numbers.
      place: where this thread's first row is in the tile.
    """

    number: Value
    example: Value
    first: Value
    start: Value
    place: Value


class _Passes(Follower):
    code: PassCode

    def _write(self) -> None:
        code, b = self.code, self.code.builder
        block = b.zext(code.block, INT64)
        scratch = code.array(SCRATCH_BACK if self.is_backward else SCRATCH)
        self.made = b.gep(scratch, [code.bytes_of(b.mul(block, code.word(Launch.SCRATCH)))])
        self.tables, code.listed_places = code.array(TABLES), code.array(PLACES)
        self.begins, self.ends, self.whole = (
            b.icmp_signed("!=", code.word(place), int64(0)) for place in (Launch.BEGINS, Launch.ENDS, Launch.STATE)
        )
        if self.is_backward:
            stride = code.bytes_of(code.num_blocks)
            self.shared_sums, self.scaled_sums = (
                Piece(int64(0), b.gep(code.array(sums), [code.bytes_of(block)]), stride)
                for sums in (SHARED_SUMS, SCALED_SUMS)
            )
            with b.if_then(self.begins):
                self._zero(self.shared_sums, self.num_shared)
                self._zero(self.scaled_sums, code.word(Launch.NUM_SCALED))
        self._do_tiles()
        b.ret_void()

    def _do_tiles(self) -> None:
        """Does one tile after the other.

        What the next one is made of is on its way while this one is stored.
        """
        code, b = self.code, self.code.builder
        self.own_row = self._coset_row(b.shl(code.group, int32(_ROWS_SHIFT)))
        most = self._offsets[-1]
        self.steps = {bit: self._coset_row(int32(1 << bit)) for bit in range(most.bit_length()) if most >> bit & 1}
        begin = self._where(code.block)
        with code.loop(self._num_tiles(), [begin.first, *self._fetch(begin)]) as loop:
            number = self._tile_number(loop.index)
            first, *self._fetched = loop.values
            self.here, self._next = self._where(number, first), b.add(number, code.num_blocks)
            self._do_tile()
            loop.next = [self.following.first, *self._fetched]

    def _do_tile(self) -> None:
        code, b = self.code, self.code.builder
        code.coset = b.or_(b.shl(self.here.first, int32(1)), int32(1))
        batch_bytes, own_end = code.bytes_of(code.word(Launch.BATCH)), b.add(self.num_shared, self.num_own)
        own = b.gep(code.array(OWN), [code.bytes_of(self.here.example)])
        self.coefficients = [
            Piece(int64(0), code.array(SHARED), int64(4)),
            Piece(self.num_shared, own, batch_bytes),
            Piece(own_end, self.made, int64(4)),
        ]
        entries = self._entry(code.array(ENTRIES), self._count(Launch.FIRST_GATE))
        count = self._count(Launch.NUM_GATES)
        if self.is_backward:
            self._do_back(entries, count, own_end)
        else:
            self._do_forth(entries, count)
        code.synchronize()

    def _do_forth(self, entries: Value, count: Value) -> None:
        code, b = self.code, self.code.builder
        with b.if_else(self.begins) as (first, later):
            with first:
                self._make()
            with later:
                self._put(self.tile, self._fetched)
        code.synchronize()
        self._follow(entries, count, self._forward, False)
        self._fetch_next()
        with b.if_then(b.or_(b.not_(self.ends), b.icmp_signed("!=", code.word(Launch.KEPT), int64(0)))):
            self._store(self.tile, NEW_STATE)
        with b.if_then(b.and_(self.ends, b.not_(self.whole))):
            code.synchronize()
            self._read()

    def _do_back(self, entries: Value, count: Value, own_end: Value) -> None:
        code, b = self.code, self.code.builder
        half = len(self._fetched) // 2
        self._put(self.tile, self._fetched[:half])
        with b.if_else(self._reads_strings) as (strings, others):
            with strings:
                self._read_back()
            with others:
                self._put(self.cotangent, self._fetched[half:])
        self._start_sums(own_end)
        code.synchronize()
        with b.if_then(b.icmp_signed("!=", self.num_made, int64(0))):
            self._follow(entries, count, self._forward, False, makes_only=True)
        self._follow(entries, count, self._backward, True)  # the entries are in reverse order
        code.synchronize()
        self._fetch_next()
        with b.if_then(b.not_(self.ends)):
            self._store(self.tile, NEW_STATE_BACK)
        self._store(self.cotangent, NEW_COTANGENT)

    def _where(self, number: Value, first: Value | None = None) -> "_Where":
        """Returns where the rows of a tile are, given its coset's first row where that is known."""
        code, b = self.code, self.code.builder
        cosets_shift = b.sub(self._count(Launch.TOTAL), self._count(Launch.QUBITS))
        example = b.lshr(number, cosets_shift)
        size = b.shl(int64(1), code.word(Launch.TOTAL))
        planes = int64(2 if code.is_complex else 1)
        start = code.bytes_of(b.mul(b.mul(b.zext(example, INT64), planes), size))
        if first is None:
            first = self._first_row(b.and_(number, b.sub(b.shl(int32(1), cosets_shift), int32(1))))
        # Worked out anew: all places of a thread's rows, kept for every tile, would take the registers of others.
        place = code.place(b.shl(code.group, int32(_ROWS_SHIFT)))
        nothing = b.and_(b.zext(number, INT64), code.word(Launch.ZERO))
        return _Where(number, example, first, start, b.xor(place, nothing))

    def _first_row(self, coset: Value) -> Value:
        """Returns the row of a coset without any of the pivots."""
        code, b = self.code, self.code.builder
        count = self._count(Launch.QUBITS)
        table = b.gep(code.array(PIVOTS), [code.bytes_of(b.mul(self._count(Launch.PASS), count))])
        with code.loop(count, [coset]) as loop:
            low = b.load(code.at(table, code.bytes_of(loop.index), INT32))
            loop.next = [b.sub(b.shl(loop.values[0], int32(1)), b.and_(loop.values[0], low))]
        return loop.values[0]

    # From the device's memory and to it: four neighbouring rows of a thread at once. -------------------------------

    @property
    def _offsets(self) -> range:
        """What is added to a thread's first row of a coset for each next four that it has."""
        return range(0, 1 << self.code.bits, self.code.threads << _ROWS_SHIFT)

    @property
    def _reads_strings(self) -> Value:
        """Whether this pass makes the cotangent from those of strings."""
        return self.code.builder.and_(self.begins, self.code.builder.not_(self.whole))

    def _fetch_next(self) -> None:
        self.following = self._where(self._next)
        self._fetched = self._fetch(self.following)

    def _fetch(self, where: "_Where") -> list[Value]:
        """Returns what a thread brings of a tile: of the state, then of its cotangent; zeros for what is not."""
        b = self.code.builder
        exists = b.icmp_signed("<", where.number, self._count(Launch.TILES))
        if not self.is_backward:
            return self._bring(where, (NEW_STATE, NEW_STATE), b.and_(exists, b.not_(self.begins)))
        needed = b.and_(exists, b.not_(self._reads_strings))
        state = self._bring(where, (STATE, NEW_STATE_BACK), exists)
        return state + self._bring(where, (COTANGENT, NEW_COTANGENT), needed)

    def _bring(self, where: "_Where", arrays: tuple[int, int], needed: Value) -> list[Value]:
        """Returns numbers of a tile, from the first array where this pass is the first; zeros if none are needed."""
        code, b = self.code, self.code.builder
        array = b.select(self.begins, *map(code.array, arrays))
        before = b.block
        with b.if_then(needed):
            own = b.gep(array, [where.start])
            far = [self._far(offset, where) for offset in self._offsets]
            got = [value for parts in far for part in parts for value in code.load_once(own, part)]
            after = b.block
        found = []
        for value in got:
            phi = b.phi(value.type)
            phi.add_incoming(code.zero, before)
            phi.add_incoming(value, after)
            found.append(phi)
        return found

    def _put(self, tile: Value, values: list[Value]) -> None:
        """Puts what a thread has brought into a tile."""
        parts, each = 1 + self.code.is_complex, 1 << _ROWS_SHIFT
        for k, offset in enumerate(self._offsets):
            own = values[k * parts * each : (k + 1) * parts * each]
            self.code.store_rows(tile, self._near(offset), self._as_rows([own[:each], own[each:]]))

    def _as_rows(self, parts: list[list[Value]]) -> list[Complex]:
        """Returns rows, given real parts and, where there are some, imaginary ones."""
        return [*zip(*parts, strict=True)] if self.code.is_complex else [(x, None) for x in parts[0]]

    def _store(self, tile: Value, array: int) -> None:
        """Puts a tile where an example has it."""
        code = self.code
        own = code.builder.gep(code.array(array), [self.here.start])
        for offset in self._offsets:
            rows = code.load_rows(tile, self._near(offset))
            for part, values in zip(self._far(offset, self.here), zip(*rows, strict=True), strict=False):
                code.store_wide(values, own, part)

    def _make(self) -> None:
        """Makes the first state, whose halves have the higher and the lower bits of a row's number."""
        code, b = self.code, self.code.builder
        low_bits = self._count(Launch.LOW_QUBITS)
        sizes = [b.sub(self._count(Launch.TOTAL), low_bits), low_bits]
        halves = []
        for array, bits in zip((HIGH, LOW), sizes, strict=True):
            plane = code.bytes_of(b.shl(int32(1), bits))
            own = b.mul(plane, b.zext(b.mul(self.here.example, int32(1 + code.is_complex)), INT64))
            halves.append((b.gep(code.array(array), [own]), plane))
        (high, high_plane), (low, low_plane) = halves
        for offset in self._offsets:
            row = self._row(offset, self.here)
            there = code.bytes_of(b.lshr(row, low_bits))
            factor: Complex = code.load(high, there), None
            place = code.bytes_of(b.and_(row, b.sub(b.shl(int32(1), low_bits), int32(1))))
            parts = [code.load_wide(low, place)]
            if code.is_complex:
                factor = factor[0], code.load(high, b.add(there, high_plane))
                parts.append(code.load_wide(low, b.add(place, low_plane)))
            rows = [code.multiply(factor, value) for value in self._as_rows(parts)]
            code.store_rows(self.tile, self._near(offset), rows)

    def _near(self, offset: int) -> list[Value]:
        """Returns where four rows of the coset are in a tile; places are linear in the bits of a row."""
        more = 4 * place_of(offset + np.arange(1 << _ROWS_SHIFT))
        return [self.code.builder.xor(self.here.place, int64(int(own))) for own in more]

    def _row(self, offset: int, where: "_Where") -> Value:
        """Returns the first of four rows of the coset; they are linear in the bits of their numbers."""
        b = self.code.builder
        row = b.xor(where.first, self.own_row)
        for bit, step in self.steps.items():
            row = b.xor(row, step) if offset >> bit & 1 else row
        return row

    def _coset_row(self, number: Value) -> Value:
        """Returns the row that has this number in the coset of row 0."""
        code, b = self.code, self.code.builder
        table_size = b.lshr(code.rows, int64(LOW_BITS))
        table = b.gep(code.array(ROWS), [code.bytes_of(b.mul(code.word(Launch.PASS), table_size))])
        row = b.load(code.at(table, code.bytes_of(b.lshr(number, int32(LOW_BITS))), INT32))
        return b.or_(row, b.and_(number, int32(2**LOW_BITS - 1)))

    def _far(self, offset: int, where: "_Where") -> list[Value]:
        """Returns where in a state the real part of a coset's row is, and the imaginary part."""
        code, b = self.code, self.code.builder
        real = code.bytes_of(self._row(offset, where))
        plane = code.bytes_of(b.shl(int64(1), code.word(Launch.TOTAL)))
        return [real, b.add(real, plane)][: 1 + code.is_complex]

    # What is read: strings of I and Z. ------------------------------------------------------------------------------

    def _read(self) -> None:
        """Puts the strings' values, of this tile alone, where they belong; the tile is lost."""
        code, b = self.code, self.code.builder
        squares(code, self.tile, self.tile, code.rows)  # in place: the real parts are rows of real numbers
        code.synchronize()
        walsh_hadamard(code, self.tile, code.rows, code.word(Launch.QUBITS))
        values = b.gep(code.array(VALUES), [code.bytes_of(self.here.number)])
        stride = code.bytes_of(code.word(Launch.TILES))
        with code.each(code.word(Launch.NUM_READ)) as loop:
            string = self._string(loop.index)
            value = code.load(self.tile, code.real_place(code.load_int32(string, READ_ROW)))
            code.store(self._signed(value, string), values, b.mul(loop.index, stride))

    def _read_back(self) -> None:
        """Makes the states' cotangent from those of the strings."""
        code, b = self.code, self.code.builder
        with code.each(code.rows) as loop:
            code.store(code.zero, self.cotangent, code.real_place(loop.index))
        code.synchronize()
        known = b.gep(code.array(COTANGENT), [code.bytes_of(self.here.example)])
        stride = code.bytes_of(code.word(Launch.BATCH))
        with code.each(code.word(Launch.NUM_READ)) as loop:
            # Strings that are alike in a coset are neighbours: the first one adds up those of all.
            count = b.sext(code.load_int32(self._string(loop.index), READ_NUMBER), INT64)
            with code.loop(count, [code.zero]) as inner:
                index = b.add(loop.index, inner.index)
                value = self._signed(code.load(known, b.mul(index, stride)), self._string(index))
                inner.next = [b.fadd(inner.values[0], value)]
            with b.if_then(b.icmp_signed("!=", count, int64(0))):
                place = code.real_place(code.load_int32(self._string(loop.index), READ_ROW))
                code.store(inner.values[0], self.cotangent, place)
        code.synchronize()
        walsh_hadamard(code, self.cotangent, code.rows, code.word(Launch.QUBITS))
        weighting(code, self.tile, self.cotangent, self.cotangent, code.rows)

    def _string(self, index: Value) -> Value:
        """Returns what is said of a string."""
        b = self.code.builder
        return b.gep(self.code.array(READ), [b.mul(index, int64(4 * READ_WORDS))])

    def _signed(self, value: Value, string: Value) -> Value:
        """Returns a value with the sign that a string has on the coset's first row."""
        code, b = self.code, self.code.builder
        odd = code.is_odd(code.count_ones(b.and_(self.here.first, code.load_int32(string, READ_MASK))))
        return b.select(odd, b.fneg(value), value)

    # Sums. ----------------------------------------------------------------------------------------------------------

    def _start_sums(self, own_end: Value) -> None:
        """Says where sums are, and sets those to 0 that begin with this tile."""
        code, b = self.code, self.code.builder
        own = b.gep(code.array(OWN_SUMS), [code.bytes_of(self.here.number)])
        own_sums = Piece(self.num_shared, own, code.bytes_of(code.word(Launch.TILES)))
        made_sums = Piece(own_end, b.gep(self.made, [code.bytes_of(self.num_made)]), int64(4))
        self.sums = [self.shared_sums, own_sums, made_sums]
        self._zero(made_sums, self.num_made)
        with b.if_then(self.begins):
            self._zero(own_sums, self.num_own)

    def _zero(self, piece: Piece, count: Value) -> None:
        with self.code.each(count) as loop:
            self.code.store(self.code.zero, piece.pointer, self.code.builder.mul(loop.index, piece.stride))
