"""The kernels of a GPU for large states: each launch is a pass over them, each tile a coset (`passes.py`).

Operands of both kernels: the entries of all passes, int32 `[entries, ENTRY]`; for each pass the bits below its
pivots, int32 `[passes, k]`, and the rows of its first coset whose numbers are multiples of 2**LOW_BITS,
`[passes, .]`; shared coefficients; per-example coefficients; the tables of scaled gates (`scaled_gates.py`); the
lists of first rows of cosets (`memory_banks.py`); and the strings that the last pass reads, int32 `[., 4]`
(`z_strings.py`). The forward kernel then has the halves whose product is the first state, `[batch, parts * rows]`.
The reverse one has the states, `[batch, parts * 2**n]`, and their cotangents, or those of the strings,
`[strings, batch]`.

Results of the forward kernel: the states, the values of the strings in each tile, `[strings, tiles]`, and a
workspace. Those of the reverse kernel: a workspace for the states; the cotangents before all gates; the sums of
shared coefficients, `[., blocks]`, of per-example ones, `[., tiles]`, and of scaled gates, `[., blocks]`; and a
workspace.
"""

from dataclasses import dataclass

import numpy as np

from qjax.quantum.engines.native.cuda.large_writer import PassCode
from qjax.quantum.engines.native.cuda.launch_shape import coset_blocks, coset_threads
from qjax.quantum.engines.native.cuda.memory_banks import place_of
from qjax.quantum.engines.native.cuda.whole_kernel import TableKernel, set_launch_bounds
from qjax.quantum.engines.native.cuda.writer import Segment
from qjax.quantum.engines.native.ir.kernels import squares, walsh_hadamard, weighting
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, Arithmetic, Complex, Value, int32, int64
from qjax.quantum.engines.native.table.layout import LOW_BITS, Launch, ReadWord

ENTRIES, PIVOTS, ROWS, SHARED, PER_EXAMPLE, TABLES, PLACES, READ = range(8)
HIGH, LOW, NEW_STATE, VALUES, SCRATCH, NUM_FORWARD = range(8, 14)
STATE, COTANGENT, NEW_STATE_BACK, NEW_COTANGENT, SHARED_SUMS, PER_EXAMPLE_SUMS, SCALED_SUMS = range(8, 15)
SCRATCH_BACK, NUM_BACKWARD = 15, 16
RESULTS = (NEW_STATE, NUM_FORWARD), (NEW_STATE_BACK, NUM_BACKWARD)
# log2 of the neighbouring rows that a thread loads or stores at once.
_ROWS_SHIFT = 2


def write_passes(
    name: str, arithmetic: Arithmetic, is_backward: bool, bits: int, emulated: bool = False
) -> ir.Module:
    """Returns the module of a pass's kernel for cosets of 2**bits rows; see `write_kernel`."""
    module = ir.Module(name)
    code = PassCode(module, name, RESULTS[is_backward][1], arithmetic, emulated, bits)
    set_launch_bounds(_PassKernel(code, is_backward), coset_threads(bits), coset_blocks(bits, is_backward))
    return module


@dataclass(frozen=True)
class _TileLocation:
    """Where a tile lies in the states.

    Attributes:
      number: of the tile, among all tiles.
      example: number of its example.
      first: the coset's first row.
      start: bytes from the first example's state to this example's.
      place: bytes from the start of the tile to this thread's first row.
    """

    number: Value
    example: Value
    first: Value
    start: Value
    place: Value


class _PassKernel(TableKernel):
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
                Segment(int64(0), b.gep(code.array(sums), [code.bytes_of(block)]), stride)
                for sums in (SHARED_SUMS, SCALED_SUMS)
            )
            with b.if_then(self.begins):
                self._zero(self.shared_sums, self.num_shared)
                self._zero(self.scaled_sums, code.word(Launch.NUM_SCALED))
        self._do_tiles()
        b.ret_void()

    def _do_tiles(self) -> None:
        """Does one tile after the other; the next one is loaded while this one is stored."""
        code, b = self.code, self.code.builder
        self.thread_row = self._coset_row(b.shl(code.group, int32(_ROWS_SHIFT)))
        most = self._offsets[-1]
        self.steps = {bit: self._coset_row(int32(1 << bit)) for bit in range(most.bit_length()) if most >> bit & 1}
        begin = self._locate(code.block)
        with code.loop(self._num_tiles(), [begin.first, *self._load_tile(begin)]) as loop:
            number = self._tile_number(loop.index)
            first, *self._loaded = loop.values
            self.location, self._next = self._locate(number, first), b.add(number, code.num_blocks)
            self._do_tile()
            loop.next = [self.following.first, *self._loaded]

    def _do_tile(self) -> None:
        code, b = self.code, self.code.builder
        code.coset = b.or_(b.shl(self.location.first, int32(1)), int32(1))
        batch_bytes, made_start = code.bytes_of(code.word(Launch.BATCH)), b.add(self.num_shared, self.num_per_example)
        per_example = b.gep(code.array(PER_EXAMPLE), [code.bytes_of(self.location.example)])
        self.coefficients = [
            Segment(int64(0), code.array(SHARED), int64(4)),
            Segment(self.num_shared, per_example, batch_bytes),
            Segment(made_start, self.made, int64(4)),
        ]
        entries = self._entry(code.array(ENTRIES), self._count(Launch.FIRST_GATE))
        count = self._count(Launch.NUM_GATES)
        if self.is_backward:
            self._do_reverse(entries, count, made_start)
        else:
            self._do_forward(entries, count)
        code.synchronize()

    def _do_forward(self, entries: Value, count: Value) -> None:
        code, b = self.code, self.code.builder
        with b.if_else(self.begins) as (first, later):
            with first:
                self._make_first_state()
            with later:
                self._put(self.tile, self._loaded)
        code.synchronize()
        self._run_entries(entries, count, self._forward, False)
        self._load_next()
        with b.if_then(b.or_(b.not_(self.ends), b.icmp_signed("!=", code.word(Launch.KEPT), int64(0)))):
            self._store(self.tile, NEW_STATE)
        with b.if_then(b.and_(self.ends, b.not_(self.whole))):
            code.synchronize()
            self._read()

    def _do_reverse(self, entries: Value, count: Value, made_start: Value) -> None:
        code, b = self.code, self.code.builder
        half = len(self._loaded) // 2
        self._put(self.tile, self._loaded[:half])
        with b.if_else(self._reads_strings) as (strings, others):
            with strings:
                self._read_back()
            with others:
                self._put(self.cotangent, self._loaded[half:])
        self._start_sums(made_start)
        code.synchronize()
        with b.if_then(b.icmp_signed("!=", self.num_made, int64(0))):
            self._run_entries(entries, count, self._forward, False, makes_only=True)
        self._run_entries(entries, count, self._backward, True)  # the entries are in reverse order
        code.synchronize()
        self._load_next()
        with b.if_then(b.not_(self.ends)):
            self._store(self.tile, NEW_STATE_BACK)
        self._store(self.cotangent, NEW_COTANGENT)

    def _locate(self, number: Value, first: Value | None = None) -> _TileLocation:
        """Returns where a tile lies; `first` is its coset's first row, computed here if None."""
        code, b = self.code, self.code.builder
        cosets_shift = b.sub(self._count(Launch.TOTAL), self._count(Launch.QUBITS))
        example = b.lshr(number, cosets_shift)
        size = b.shl(int64(1), code.word(Launch.TOTAL))
        parts = int64(2 if code.is_complex else 1)
        start = code.bytes_of(b.mul(b.mul(b.zext(example, INT64), parts), size))
        if first is None:
            first = self._first_row(b.and_(number, b.sub(b.shl(int32(1), cosets_shift), int32(1))))
        # XOR with a zero that the compiler does not know: else it keeps the places of all rows in registers.
        place = code.place(b.shl(code.group, int32(_ROWS_SHIFT)))
        zero = b.and_(b.zext(number, INT64), code.word(Launch.ZERO))
        return _TileLocation(number, example, first, start, b.xor(place, zero))

    def _first_row(self, coset: Value) -> Value:
        """Returns the row of a coset in which all pivots are 0."""
        code, b = self.code, self.code.builder
        count = self._count(Launch.QUBITS)
        table = b.gep(code.array(PIVOTS), [code.bytes_of(b.mul(self._count(Launch.PASS), count))])
        with code.loop(count, [coset]) as loop:
            low = b.load(code.at(table, code.bytes_of(loop.index), INT32))
            loop.next = [b.sub(b.shl(loop.values[0], int32(1)), b.and_(loop.values[0], low))]
        return loop.values[0]

    # Between the GPU's memory and the tile: a thread moves four neighbouring rows at once. --------------------------

    @property
    def _offsets(self) -> range:
        """Numbers, in a coset, of the first of each four rows that thread 0 moves."""
        return range(0, 1 << self.code.bits, self.code.threads << _ROWS_SHIFT)

    @property
    def _reads_strings(self) -> Value:
        """Whether this pass makes the states' cotangent from those of the strings."""
        return self.code.builder.and_(self.begins, self.code.builder.not_(self.whole))

    def _load_next(self) -> None:
        self.following = self._locate(self._next)
        self._loaded = self._load_tile(self.following)

    def _load_tile(self, tile: _TileLocation) -> list[Value]:
        """Loads this thread's rows of a tile: of the state, then of its cotangent; zeros where there are none."""
        b = self.code.builder
        exists = b.icmp_signed("<", tile.number, self._count(Launch.TILES))
        if not self.is_backward:
            return self._load_array(tile, (NEW_STATE, NEW_STATE), b.and_(exists, b.not_(self.begins)))
        needed = b.and_(exists, b.not_(self._reads_strings))
        state = self._load_array(tile, (STATE, NEW_STATE_BACK), exists)
        return state + self._load_array(tile, (COTANGENT, NEW_COTANGENT), needed)

    def _load_array(self, tile: _TileLocation, arrays: tuple[int, int], needed: Value) -> list[Value]:
        """Loads a tile from the first array in the first pass, else from the second; zeros if it is not needed."""
        code, b = self.code, self.code.builder
        array = b.select(self.begins, *map(code.array, arrays))
        before = b.block
        with b.if_then(needed):
            base = b.gep(array, [tile.start])
            places = [self._places_in_state(offset, tile) for offset in self._offsets]
            loaded = [value for parts in places for part in parts for value in code.load_once(base, part)]
            after = b.block
        results = []
        for value in loaded:
            phi = b.phi(value.type)
            phi.add_incoming(code.zero, before)
            phi.add_incoming(value, after)
            results.append(phi)
        return results

    def _put(self, tile: Value, values: list[Value]) -> None:
        """Stores what a thread has loaded in a tile."""
        parts, each = 1 + self.code.is_complex, 1 << _ROWS_SHIFT
        for k, offset in enumerate(self._offsets):
            four = values[k * parts * each : (k + 1) * parts * each]
            self.code.store_rows(tile, self._places_in_tile(offset), self._as_rows([four[:each], four[each:]]))

    def _as_rows(self, parts: list[list[Value]]) -> list[Complex]:
        """Returns rows from their real parts and, in complex arithmetic, their imaginary parts."""
        return [*zip(*parts, strict=True)] if self.code.is_complex else [(x, None) for x in parts[0]]

    def _store(self, tile: Value, array: int) -> None:
        """Stores a tile in the example's state, or cotangent."""
        code = self.code
        base = code.builder.gep(code.array(array), [self.location.start])
        for offset in self._offsets:
            rows = code.load_rows(tile, self._places_in_tile(offset))
            for part, values in zip(
                self._places_in_state(offset, self.location), zip(*rows, strict=True), strict=False
            ):
                code.store_wide(values, base, part)

    def _make_first_state(self) -> None:
        """Makes the first state from its halves; these belong to the higher and the lower bits of a row's number."""
        code, b = self.code, self.code.builder
        low_bits = self._count(Launch.LOW_QUBITS)
        sizes = [b.sub(self._count(Launch.TOTAL), low_bits), low_bits]
        halves = []
        for array, bits in zip((HIGH, LOW), sizes, strict=True):
            part_bytes = code.bytes_of(b.shl(int32(1), bits))
            start = b.mul(part_bytes, b.zext(b.mul(self.location.example, int32(1 + code.is_complex)), INT64))
            halves.append((b.gep(code.array(array), [start]), part_bytes))
        (high, high_part), (low, low_part) = halves
        for offset in self._offsets:
            row = self._row(offset, self.location)
            high_place = code.bytes_of(b.lshr(row, low_bits))
            factor: Complex = code.load(high, high_place), None
            low_place = code.bytes_of(b.and_(row, b.sub(b.shl(int32(1), low_bits), int32(1))))
            parts = [code.load_wide(low, low_place)]
            if code.is_complex:
                factor = factor[0], code.load(high, b.add(high_place, high_part))
                parts.append(code.load_wide(low, b.add(low_place, low_part)))
            rows = [code.multiply(factor, value) for value in self._as_rows(parts)]
            code.store_rows(self.tile, self._places_in_tile(offset), rows)

    def _places_in_tile(self, offset: int) -> list[Value]:
        """Returns the places of four rows of the coset in a tile; they are linear in the bits of a row, modulo 2."""
        steps = 4 * place_of(offset + np.arange(1 << _ROWS_SHIFT))
        return [self.code.builder.xor(self.location.place, int64(int(step))) for step in steps]

    def _row(self, offset: int, tile: _TileLocation) -> Value:
        """Returns the first of four rows of the coset; rows are linear in the bits of their numbers, modulo 2."""
        b = self.code.builder
        row = b.xor(tile.first, self.thread_row)
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

    def _places_in_state(self, offset: int, tile: _TileLocation) -> list[Value]:
        """Returns the place in a state of a row's real part and, in complex arithmetic, of its imaginary part."""
        code, b = self.code, self.code.builder
        real = code.bytes_of(self._row(offset, tile))
        part_bytes = code.bytes_of(b.shl(int64(1), code.word(Launch.TOTAL)))
        return [real, b.add(real, part_bytes)][: 1 + code.is_complex]

    # Strings of I and Z that are read. ------------------------------------------------------------------------------

    def _read(self) -> None:
        """Stores the strings' values in this tile, as results; the tile is overwritten."""
        code, b = self.code, self.code.builder
        squares(code, self.tile, self.tile, code.rows)  # in place: the real parts are rows of real numbers
        code.synchronize()
        walsh_hadamard(code, self.tile, code.rows, code.word(Launch.QUBITS))
        values = b.gep(code.array(VALUES), [code.bytes_of(self.location.number)])
        stride = code.bytes_of(code.word(Launch.TILES))
        with code.each(code.word(Launch.NUM_READ)) as loop:
            string = self._string(loop.index)
            value = code.load(self.tile, code.real_place(code.load_int32(string, ReadWord.ROW)))
            code.store(self._signed(value, string), values, b.mul(loop.index, stride))

    def _read_back(self) -> None:
        """Makes the states' cotangent from those of the strings."""
        code, b = self.code, self.code.builder
        with code.each(code.rows) as loop:
            code.store(code.zero, self.cotangent, code.real_place(loop.index))
        code.synchronize()
        cotangents = b.gep(code.array(COTANGENT), [code.bytes_of(self.location.example)])
        stride = code.bytes_of(code.word(Launch.BATCH))
        with code.each(code.word(Launch.NUM_READ)) as loop:
            # Strings that are the same in a coset are neighbours: the first one adds up the cotangents of all.
            count = b.sext(code.load_int32(self._string(loop.index), ReadWord.NUMBER), INT64)
            with code.loop(count, [code.zero]) as inner:
                index = b.add(loop.index, inner.index)
                value = self._signed(code.load(cotangents, b.mul(index, stride)), self._string(index))
                inner.next = [b.fadd(inner.values[0], value)]
            with b.if_then(b.icmp_signed("!=", count, int64(0))):
                place = code.real_place(code.load_int32(self._string(loop.index), ReadWord.ROW))
                code.store(inner.values[0], self.cotangent, place)
        code.synchronize()
        walsh_hadamard(code, self.cotangent, code.rows, code.word(Launch.QUBITS))
        weighting(code, self.tile, self.cotangent, self.cotangent, code.rows)

    def _string(self, index: Value) -> Value:
        """Returns the address of the words of a string."""
        b = self.code.builder
        return b.gep(self.code.array(READ), [b.mul(index, int64(4 * ReadWord.SIZE))])

    def _signed(self, value: Value, string: Value) -> Value:
        """Returns a value with the sign that a string has on the coset's first row."""
        code, b = self.code, self.code.builder
        odd = code.is_odd(code.count_ones(b.and_(self.location.first, code.load_int32(string, ReadWord.MASK))))
        return b.select(odd, b.fneg(value), value)

    # Sums. ----------------------------------------------------------------------------------------------------------

    def _start_sums(self, made_start: Value) -> None:
        """Sets where sums are added up, and zeroes those that begin with this tile."""
        code, b = self.code, self.code.builder
        address = b.gep(code.array(PER_EXAMPLE_SUMS), [code.bytes_of(self.location.number)])
        example_sums = Segment(self.num_shared, address, code.bytes_of(code.word(Launch.TILES)))
        made_sums = Segment(made_start, b.gep(self.made, [code.bytes_of(self.num_made)]), int64(4))
        self.sums = [self.shared_sums, example_sums, made_sums]
        self._zero(made_sums, self.num_made)
        with b.if_then(self.begins):
            self._zero(example_sums, self.num_per_example)

    def _zero(self, segment: Segment, count: Value) -> None:
        with self.code.each(count) as loop:
            self.code.store(self.code.zero, segment.pointer, self.code.builder.mul(loop.index, segment.stride))
