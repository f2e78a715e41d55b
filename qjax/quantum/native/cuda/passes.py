"""The kernels of a GPU for large states: each launch is a pass over them, each tile a coset (`cosets.py`).

Operands: the entries of all passes, int32 `[entries, ENTRY]`; for each pass the bits below its pivots, int32
`[passes, k]`, and the rows of its first coset whose numbers are multiples of 2**LOW_BITS, `[passes, .]`; coefficients
that all examples share, and those of each; the states `[batch, parts * 2**n]`. Of the reverse pass the cotangents of
the states follow. Results: the states, and room to work in; of the reverse pass the states and their cotangents as
they were before all gates, the sums of shared coefficients of each block, `[., blocks]`, and of the others of each
tile, `[., tiles]`, and room.
"""

from collections.abc import Sequence

from llvmlite import ir

from qjax.quantum.native.code import INT32, INT64, Arithmetic, Complex, Value, int32, int64
from qjax.quantum.native.cuda.code import WARP_SHIFT, CudaCode, Piece
from qjax.quantum.native.cuda.kernel import Follower, finish
from qjax.quantum.native.cuda.shape import COSET_BLOCKS, COSET_BLOCKS_BACK, COSET_THREADS
from qjax.quantum.native.forms import LOW_BITS, Launch

ENTRIES, PIVOTS, ROWS, SHARED, OWN, STATE = range(6)
NEW_STATE, SCRATCH, NUM_FORWARD = 6, 7, 8
COTANGENT, NEW_STATE_BACK, NEW_COTANGENT, SHARED_SUMS, OWN_SUMS, SCRATCH_BACK, NUM_BACKWARD = 6, 7, 8, 9, 10, 11, 12
# A thread moves so many neighbouring rows at once, as a binary logarithm, and has so many of these on their way.
_ROWS_SHIFT, _AT_ONCE = 2, 8


def write_passes(name: str, arithmetic: Arithmetic, is_backward: bool, emulated: bool = False) -> ir.Module:
    """Returns the module of a pass, whose kernel has that name; see `write_kernel`."""
    module = ir.Module(name)
    blocks = COSET_BLOCKS_BACK if is_backward else COSET_BLOCKS
    finish(module, _Passes(module, name, arithmetic, is_backward, emulated), COSET_THREADS, blocks)
    return module


class PassCode(CudaCode):
    """A kernel that is being written for one example a tile."""

    def _lanes(self) -> Value:
        return int32(0)

    def load_wide(self, base: Value, offset: Value) -> list[Value]:
        """Returns four neighbouring numbers, whose address is a multiple of their size."""
        kind = ir.VectorType(self.real, 4)
        whole = self.builder.load(self.at(base, offset, kind), align=16)
        return [self.builder.extract_element(whole, int32(k)) for k in range(4)]

    def store_wide(self, values: Sequence[Value], base: Value, offset: Value) -> None:
        """Puts four neighbouring numbers there."""
        whole: Value = ir.Constant(ir.VectorType(self.real, 4), ir.Undefined)
        for k, value in enumerate(values):
            whole = self.builder.insert_element(whole, value, int32(k))
        self.builder.store(whole, self.at(base, offset, whole.type), align=16)

    def add_all_sums(self, numbers: Sequence[tuple[Value, Value]], values: Sequence[Sequence[Complex]]) -> None:
        """As in every kernel; a warp adds up many numbers at once, of one example."""
        b = self.builder
        parts = [part for own in values for value in own for part in value if part is not None]
        each, used = len(parts) // len(values), len(parts)
        parts += [self.zero] * ((1 << (used - 1).bit_length()) - used)
        count = len(parts)
        warps_shift = b.sub(self.groups_shift, int32(self.warp_shift))
        staging = self._next_staging()
        base = b.mul(b.lshr(self.thread, int32(self.warp_shift)), int32(count))
        if self.emulated:
            for k, part in enumerate(parts):
                self.store(part, staging, self.bytes_of(b.add(base, int32(k))))
        else:
            total, own = self._spread_over_warp(parts)
            self.store(total, staging, self.bytes_of(b.add(base, own)))
        self.synchronize()
        threads = b.shl(int32(1), self.groups_shift)
        left = b.sub(b.add(int32(used), b.sub(threads, int32(1))), self.thread)
        with self.loop(b.ashr(left, self.groups_shift)) as loop:
            part = b.add(self.thread, b.shl(loop.index, self.groups_shift))
            with self.loop(b.shl(int32(1), warps_shift), [self.zero]) as inner:
                place = b.add(b.mul(inner.index, int32(count)), part)
                inner.next = [b.fadd(inner.values[0], self.load(staging, self.bytes_of(place)))]
            self.add_part(numbers, part, each, inner.values[0])

    def _spread_over_warp(self, values: Sequence[Value]) -> tuple[Value, Value]:
        """Returns one of the sums over a warp of a power of two of numbers, and which of them this thread has.

        In each step two threads exchange halves of what they have, and add: 31 exchanges for 32 numbers.
        """
        b = self.builder
        shuffle = self.external("llvm.nvvm.shfl.sync.bfly.f32", self.real, [INT32, self.real, INT32, INT32])
        own: Value = int32(0)
        held = list(values)
        for bit in reversed(range(WARP_SHIFT)):
            half = len(held) // 2
            upper = b.icmp_unsigned("!=", b.and_(self.thread, int32(1 << bit)), int32(0))
            kept, given = held, held
            if half:
                kept = [b.select(upper, held[k + half], held[k]) for k in range(half)]
                given = [b.select(upper, held[k], held[k + half]) for k in range(half)]
                own = b.or_(own, b.select(upper, int32(half), int32(0)))
            got = [b.call(shuffle, [int32(-1), value, int32(1 << bit), int32(31)]) for value in given]
            held = [b.fadd(mine, other) for mine, other in zip(kept, got, strict=True)]
        assert len(held) == 1
        return held[0], own


class _Passes(Follower):
    num_arrays = NUM_FORWARD, NUM_BACKWARD
    code_class = PassCode
    code: PassCode

    def _write(self) -> None:
        code, b = self.code, self.code.builder
        block = b.zext(code.block, INT64)
        scratch = code.array(SCRATCH_BACK if self.is_backward else SCRATCH)
        self.made = b.gep(scratch, [code.bytes_of(b.mul(block, code.word(Launch.SCRATCH)))])
        self.begins = b.icmp_signed("!=", code.word(Launch.BEGINS), int64(0))
        if self.is_backward:
            stride = code.bytes_of(code.num_blocks)
            shared_sums = b.gep(code.array(SHARED_SUMS), [code.bytes_of(block)])
            self.shared_sums = Piece(int64(0), shared_sums, stride)
            with b.if_then(self.begins):
                self._zero(self.shared_sums, self.num_shared)
        self._do_tiles()
        b.ret_void()

    def _do_tile(self, number: Value) -> None:
        code, b = self.code, self.code.builder
        cosets_shift = b.sub(self._count(Launch.TOTAL), self._count(Launch.QUBITS))
        example = b.lshr(number, cosets_shift)
        first = self._first_row(b.and_(number, b.sub(b.shl(int32(1), cosets_shift), int32(1))))
        code.coset = b.or_(b.shl(first, int32(1)), int32(1))
        batch_bytes, own_end = code.bytes_of(code.word(Launch.BATCH)), b.add(self.num_shared, self.num_own)
        own = b.gep(code.array(OWN), [code.bytes_of(example)])
        self.coefficients = [
            Piece(int64(0), code.array(SHARED), int64(4)),
            Piece(self.num_shared, own, batch_bytes),
            Piece(own_end, self.made, int64(4)),
        ]
        planes = int64(2 if code.is_complex else 1)
        size = b.shl(int64(1), code.word(Launch.TOTAL))
        start = code.bytes_of(b.mul(b.mul(b.zext(example, INT64), planes), size))
        self.first, self.plane_bytes = first, code.bytes_of(size)
        moved = [(self.tile, STATE, NEW_STATE)]
        if self.is_backward:
            moved = [(self.tile, STATE, NEW_STATE_BACK), (self.cotangent, COTANGENT, NEW_COTANGENT)]
            self._start_sums(number, own_end)
        for own_tile, old, new in moved:
            source = b.select(self.begins, code.array(old), code.array(new))
            self._move(own_tile, b.gep(source, [start]), load=True)
        code.synchronize()
        entries = self._entry(code.array(ENTRIES), self._count(Launch.FIRST_GATE))
        count = self._count(Launch.NUM_GATES)
        if self.is_backward:
            with b.if_then(b.icmp_signed("!=", self.num_made, int64(0))):
                self._follow(entries, count, self._forward, False, makes_only=True)
            self._follow(entries, count, self._backward, True)  # the entries are in reverse order
            code.synchronize()
        else:
            self._follow(entries, count, self._forward, False)
        for own_tile, _, new in moved:
            self._move(own_tile, b.gep(code.array(new), [start]), load=False)
        code.synchronize()

    def _first_row(self, coset: Value) -> Value:
        """Returns the row of a coset without any of the pivots."""
        code, b = self.code, self.code.builder
        count = self._count(Launch.QUBITS)
        table = b.gep(code.array(PIVOTS), [code.bytes_of(b.mul(self._count(Launch.PASS), count))])
        with code.loop(count, [coset]) as loop:
            low = b.load(code.at(table, code.bytes_of(loop.index), INT32))
            loop.next = [b.sub(b.shl(loop.values[0], int32(1)), b.and_(loop.values[0], low))]
        return loop.values[0]

    def _move(self, tile: Value, array: Value, load: bool) -> None:
        """Gets the coset from an example's state, or puts it there, four neighbouring rows of a thread at once."""
        code, b = self.code, self.code.builder
        table_size = b.lshr(code.rows, int64(LOW_BITS))
        table = b.gep(code.array(ROWS), [code.bytes_of(b.mul(code.word(Launch.PASS), table_size))])
        rounds = b.lshr(b.trunc(code.rows, INT32), b.add(code.groups_shift, int32(_ROWS_SHIFT)))
        many = b.udiv(rounds, int32(_AT_ONCE))
        with code.loop(many) as loop:
            self._move_some(tile, array, table, b.mul(loop.index, int32(_AT_ONCE)), _AT_ONCE, load)
        done = b.mul(many, int32(_AT_ONCE))
        with code.loop(b.sub(rounds, done)) as loop:
            self._move_some(tile, array, table, b.add(done, loop.index), 1, load)

    def _move_some(self, tile: Value, array: Value, table: Value, begin: Value, count: int, load: bool) -> None:
        """Moves what a thread has in so many rounds; all of it is read before any of it is written."""
        code, b = self.code, self.code.builder
        firsts = [
            b.shl(b.add(code.group, b.shl(b.add(begin, int32(k)), code.groups_shift)), int32(_ROWS_SHIFT))
            for k in range(count)
        ]
        far = [self._far(table, first) for first in firsts]
        near = [[code.place(b.add(first, int32(k))) for k in range(1 << _ROWS_SHIFT)] for first in firsts]
        if load:
            got = [[code.load_wide(array, part) for part in parts] for parts in far]
            for places, own in zip(near, got, strict=True):
                rows = [*zip(*own, strict=True)] if code.is_complex else [(x, None) for x in own[0]]
                code.store_rows(tile, places, rows)
        else:
            held = [code.load_rows(tile, places) for places in near]
            for parts, rows in zip(far, held, strict=True):
                for part, values in zip(parts, zip(*rows, strict=True), strict=False):
                    code.store_wide(values, array, part)

    def _far(self, table: Value, number: Value) -> list[Value]:
        """Returns where in a state the real part of a coset's row is, and the imaginary part."""
        code, b = self.code, self.code.builder
        row = b.load(code.at(table, code.bytes_of(b.lshr(number, int32(LOW_BITS))), INT32))
        low = b.and_(number, int32(2**LOW_BITS - 1))
        real = code.bytes_of(b.xor(self.first, b.or_(row, low)))
        return [real, b.add(real, self.plane_bytes)][: 1 + code.is_complex]

    def _start_sums(self, tile: Value, own_end: Value) -> None:
        """Says where sums are, and sets those to 0 that begin with this tile."""
        code, b = self.code, self.code.builder
        own = b.gep(code.array(OWN_SUMS), [code.bytes_of(tile)])
        own_sums = Piece(self.num_shared, own, code.bytes_of(code.word(Launch.TILES)))
        made_sums = Piece(own_end, b.gep(self.made, [code.bytes_of(self.num_made)]), int64(4))
        self.sums = [self.shared_sums, own_sums, made_sums]
        self._zero(made_sums, self.num_made)
        with b.if_then(self.begins):
            self._zero(own_sums, self.num_own)

    def _zero(self, piece: Piece, count: Value) -> None:
        with self.code.each(count) as loop:
            self.code.store(self.code.zero, piece.pointer, self.code.builder.mul(loop.index, piece.stride))
