"""Helpers to write LLVM IR for NVIDIA GPUs: what `writer.py` has, as one thread of a block sees it.

A block of threads works on one tile, which lies in the memory that they share: 2**LANES examples side by side, all
rows of real parts before those of imaginary parts. A thread belongs to one example, whose rows it shares with one
thread of each other group. What is a vector on a CPU is a number here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import (
    INT32,
    INT64,
    VOID,
    Arithmetic,
    Code,
    Complex,
    CosetBody,
    FirstRow,
    Loop,
    Value,
    int32,
    int64,
)
from qjax.quantum.engines.native.table.layout import Launch

BIT = ir.IntType(1)
GLOBAL, SHARED = 1, 3  # address spaces
WARP_SHIFT = 5
_BANK_BITS = 5  # of the number of a bank of the shared memory
# How many rows a thread loads before it stores the first one, and of how many cosets at most.
_ROWS_AT_ONCE, _COSETS_AT_ONCE = 8, 4


@dataclass(frozen=True)
class Piece:
    """Rows of numbers, one for each example.

    Attributes:
      start: place of the first row.
      pointer: where this thread's number of that row lies.
      stride: bytes from a row to the next.
    """

    start: Value
    pointer: Value
    stride: Value


class CudaCode(Code):
    """A kernel that is being written, float32.

    Attributes:
      thread: number of the thread in its block.
      lane: its example in the tile.
      group: its place among the threads of that example.
      shared: the memory that the threads of a block share.
      listed_places: where lists of cosets begin (`grouping.py`); None where there are none.
    """

    listed_places: Value | None = None

    max_kept_sums = 16
    has_library = False

    def __init__(self, module: ir.Module, name: str, num_arrays: int, arithmetic: Arithmetic, emulated: bool) -> None:
        """Starts a kernel.

        Args:
          module: where it goes.
          name: of the kernel.
          num_arrays: operands and results; the words of `Launch` follow them.
          arithmetic: what the amplitudes are.
          emulated: whether it is written for a CPU, on which each thread is one of the system's: that is for tests.
            Then these follow: numbers of the thread, of the block and of blocks, the shared memory, and the barrier.
        """
        self.emulated = emulated
        self.global_pointer = ir.IntType(8).as_pointer(0 if emulated else GLOBAL)
        more = [INT64, INT64, INT64, ir.IntType(8).as_pointer(), ir.IntType(8).as_pointer()] if emulated else []
        self._num_arrays = num_arrays
        super().__init__(
            module, name, VOID, [self.global_pointer] * num_arrays + [INT64] * len(Launch) + more, arithmetic
        )

    def _set_layout(self) -> None:
        self.num_lanes, self.vector, self.coset = 1, self.real, int32(1)
        b = self.builder
        if self.emulated:
            self.thread, self.block, self.num_blocks = (b.trunc(x, INT32) for x in self.arguments[-5:-2])
            self.shared, self._barrier = self.arguments[-2:]
            self.warp_shift = 0
        else:
            self.function.calling_convention = "ptx_kernel"
            name = "llvm.nvvm.read.ptx.sreg."
            self.thread, self.block, self.num_blocks = (
                b.call(self.external(name + register, INT32, []), []) for register in ("tid.x", "ctaid.x", "nctaid.x")
            )
            memory = ir.GlobalVariable(self.module, ir.ArrayType(ir.IntType(8), 0), "memory", addrspace=SHARED)
            memory.linkage, memory.align = "external", 16
            self.shared = b.bitcast(memory, ir.IntType(8).as_pointer(SHARED))
            self.warp_shift = WARP_SHIFT
        self.lanes_shift, self.groups_shift = self._lanes(), b.trunc(self.word(Launch.GROUPS), INT32)
        self.num_lanes_here = b.shl(int32(1), self.lanes_shift)
        self.lane = b.and_(self.thread, b.sub(self.num_lanes_here, int32(1)))
        self.group = b.lshr(self.thread, self.lanes_shift)
        self.lane_bytes = self.bytes_of(self.lane)
        self.row_shift = b.add(b.zext(self.lanes_shift, INT64), int64(2))
        self.real_shift = self.row_shift
        self.to_imag = b.shl(self.rows, self.row_shift)
        self._bank_bits = b.sub(int32(_BANK_BITS), self.lanes_shift)
        self._bank_mask = b.sub(b.shl(int32(1), self._bank_bits), int32(1))
        parity = b.alloca(INT32)  # which half of the staging memory is next
        b.store(int32(0), parity)
        self._parity = parity

    def _lanes(self) -> Value:
        """Returns the binary logarithm of the examples of a tile, 32 bits."""
        return self.builder.trunc(self.word(Launch.LANES), INT32)

    # What a launch is about. ----------------------------------------------------------------------------------

    def array(self, index: int) -> Value:
        """Returns an operand or result."""
        return self.arguments[index]

    def word(self, place: Launch) -> Value:
        """Returns a number that the launch has, 64 bits."""
        return self.arguments[self._num_arrays + place]

    @property
    def rows(self) -> Value:
        """The number of rows of a tile."""
        return self.builder.shl(int64(1), self.word(Launch.QUBITS))

    def bytes_of(self, count: Value) -> Value:
        """Returns how many bytes so many numbers take, 64 bits."""
        wide = self.builder.sext(count, INT64) if count.type == INT32 else count
        return self.builder.shl(wide, int64(2))

    # Numbers and where they are. ------------------------------------------------------------------------------

    def constant(self, value: float) -> ir.Constant:
        return ir.Constant(self.real, value)

    def flags(self) -> Any:
        return INT32

    def splat(self, value: Value) -> Value:
        return value

    def place(self, row: Value) -> Value:
        """Returns where a row is, linear in the bits of its number: no few bits alone say in which bank that is.

        So threads whose rows differ in any few bits seldom wait for each other.
        """
        b = self.builder
        row = b.trunc(row, INT32) if row.type != INT32 else row
        bank = b.and_(b.lshr(row, self._bank_bits), self._bank_mask)
        return b.zext(b.shl(b.xor(row, bank), b.add(self.lanes_shift, int32(2))), INT64)

    def real_place(self, row: Value) -> Value:
        return self.place(row)

    def of_entry(self, entry: Value, word: int, base: Sequence[Piece]) -> tuple[Value, Value]:
        b = self.builder
        place = b.sext(self.load_int32(entry, word), INT64)
        found: tuple[Value, Value] | None = None
        for piece in base:
            pointer = b.gep(piece.pointer, [b.mul(b.sub(place, piece.start), piece.stride)])
            if found is None:
                found = pointer, piece.stride
            else:
                here = b.icmp_signed(">=", place, piece.start)
                found = b.select(here, pointer, found[0]), b.select(here, piece.stride, found[1])
        assert found is not None
        return found

    def load_real(self, numbers: tuple[Value, Value], index: Value) -> Value:
        return self.load(numbers[0], self.builder.mul(index, numbers[1]))

    def store_real(self, value: Value, numbers: tuple[Value, Value], index: Value) -> None:
        self.store(value, numbers[0], self.builder.mul(index, numbers[1]))

    def load_numbers(self, numbers: tuple[Value, Value], count: int) -> list[Complex]:
        pointer, stride = numbers  # one step after the other: 64-bit products are expensive
        step = stride if self.is_complex else self.builder.shl(stride, int64(1))
        parts = []
        for _ in range(count * (1 + self.is_complex)):
            parts.append(self.load(pointer, int64(0)))
            pointer = self.builder.gep(pointer, [step])
        if not self.is_complex:
            return [(part, None) for part in parts]
        return list(zip(parts[::2], parts[1::2], strict=True))

    def load_wide(self, base: Value, offset: Value, kind: Any = None) -> list[Value]:
        """Returns four neighbouring numbers, real if not said otherwise, that begin at a multiple of 16 bytes."""
        whole = self.builder.load(self.at(base, offset, ir.VectorType(kind or self.real, 4)), align=16)
        return [self.builder.extract_element(whole, int32(k)) for k in range(4)]

    def count_ones(self, number: Value) -> Value:
        """Returns how many bits of a 32-bit number are 1."""
        return self.builder.call(self.external("llvm.ctpop.i32", INT32, [INT32]), [number])

    def is_odd(self, number: Value) -> Value:
        """Returns whether a 32-bit number is odd, as a bit."""
        return self.builder.icmp_unsigned("!=", self.builder.and_(number, int32(1)), int32(0))

    def anew(self, address: Value, index: Value) -> Value:
        """Returns an address; what a round of a loop loads from there has no registers from before the loop.

        Args:
          address: of something that is the same in all rounds.
          index: of the round.
        """
        nothing = self.builder.and_(self.builder.zext(index, INT64), self.word(Launch.ZERO))
        return self.builder.gep(address, [nothing])

    # Threads. -------------------------------------------------------------------------------------------------

    def synchronize(self) -> None:
        if self.emulated:
            wait = self.external("pthread_barrier_wait", INT32, [ir.IntType(8).as_pointer()])
            self.builder.call(wait, [self._barrier])
        else:
            self.builder.call(self.external("llvm.nvvm.barrier0", VOID, []), [])

    @contextmanager
    def each(self, count: Value, initial: Sequence[Value] = ()) -> Iterator[Loop]:
        b = self.builder
        group, shift = (b.zext(x, count.type) if count.type != INT32 else x for x in (self.group, self.groups_shift))
        one = ir.Constant(count.type, 1)
        others = b.sub(b.shl(one, shift), one)
        rounds = b.ashr(b.add(b.sub(count, group), others), shift)
        with self.loop(rounds, initial) as loop:
            mapped = Loop(b.add(group, b.shl(loop.index, shift)), loop.values)
            yield mapped
            loop.next = mapped.next

    def each_coset(
        self, count: Value, first_row: FirstRow, num_rows: int, body: CosetBody, initial: Sequence[Value] = ()
    ) -> list[Value]:
        """As on a CPU, but several cosets at once: the number of a first row is linear in that of its coset."""
        several = max(1, min(_COSETS_AT_ONCE, _ROWS_AT_ONCE // num_rows))
        if several == 1:
            return super().each_coset(count, first_row, num_rows, body, initial)
        b = self.builder
        shift = b.add(self.groups_shift, int32(several.bit_length() - 1))
        many, few, done = (b.append_basic_block(name) for name in ("many", "few", "done"))
        b.cbranch(b.icmp_signed(">=", count, b.shl(int32(1), shift)), many, few)
        b.position_at_end(many)
        zero = first_row(int32(0))
        steps = [b.xor(first_row(b.shl(int32(k), self.groups_shift)), zero) for k in range(several)]
        with self.loop(b.lshr(count, shift), initial) as loop:
            first = first_row(b.add(self.group, b.shl(loop.index, shift)))
            loop.next = body([b.xor(first, step) for step in steps], loop.values)
        ends = [(loop.values, b.block)]
        b.branch(done)
        b.position_at_end(few)
        ends.append((super().each_coset(count, first_row, num_rows, body, initial), b.block))
        b.branch(done)
        b.position_at_end(done)
        found = []
        for k, value in enumerate(initial):
            phi = b.phi(value.type)
            for values, block in ends:
                phi.add_incoming(values[k], block)
            found.append(phi)
        return found

    def add_sums(self, numbers: tuple[Value, Value], values: Sequence[Complex]) -> None:
        self.add_all_sums([numbers], [values])

    def add_all_sums(
        self, numbers: Sequence[tuple[Value, Value]], values: Sequence[Sequence[Complex]], step: int | None = None
    ) -> None:
        """Adds what all threads of an example have found, in the same order in every run.

        Args:
          numbers: where those of each gate begin.
          values: what this thread has found for each gate, equally many.
          step: so many places from one to the next; if None, imaginary parts have a place even where there are none.
        """
        b = self.builder
        parts = [self._over_warp(part) for own in values for value in own for part in value if part is not None]
        warp_lanes = b.and_(self.thread, int32((1 << self.warp_shift) - 1))
        total_shift = b.add(self.lanes_shift, self.groups_shift)
        warps_shift = b.sub(total_shift, self._stage_shift())
        staging = self._next_staging()
        warp = b.lshr(self.thread, self._stage_shift())
        own = b.add(b.shl(warp, self.lanes_shift), self.lane)
        row_shift = b.add(warps_shift, self.lanes_shift)
        with b.if_then(b.or_(ir.Constant(BIT, self.emulated), b.icmp_signed("<", warp_lanes, self.num_lanes_here))):
            for k, part in enumerate(parts):
                self.store(part, staging, self.bytes_of(b.add(b.shl(int32(k), row_shift), own)))
        self.synchronize()
        items = b.shl(int32(len(parts)), self.lanes_shift)
        threads = b.shl(int32(1), total_shift)
        left = b.sub(b.add(items, b.sub(threads, int32(1))), self.thread)
        with self.loop(b.ashr(left, total_shift)) as loop:
            item = b.add(self.thread, b.shl(loop.index, total_shift))
            part = b.lshr(item, self.lanes_shift)
            base = b.add(b.shl(part, row_shift), self.lane)
            with self.loop(b.shl(int32(1), warps_shift), [self.zero]) as inner:
                place = b.add(base, b.shl(inner.index, self.lanes_shift))
                inner.next = [b.fadd(inner.values[0], self.load(staging, self.bytes_of(place)))]
            self.add_part(numbers, part, len(parts) // len(values), inner.values[0], step)

    def add_part(
        self, numbers: Sequence[tuple[Value, Value]], part: Value, each: int, value: Value, step: int | None
    ) -> None:
        """Adds a sum to one of several gates' numbers, given which it is, each gate having so many."""
        b = self.builder
        gate, index = b.udiv(part, int32(each)), b.urem(part, int32(each))
        pointer, stride = numbers[0]
        for k, (other, its) in enumerate(numbers[1:], 1):
            here = b.icmp_unsigned("==", gate, int32(k))
            pointer, stride = b.select(here, other, pointer), b.select(here, its, stride)
        self.add_real(value, (pointer, stride), b.zext(b.mul(index, int32(step or 2 - self.is_complex)), INT64))

    def add_real(self, value: Value, numbers: tuple[Value, Value], index: Value) -> None:
        """Adds to one of the numbers that begin at `of_entry`."""
        self.store_real(self.builder.fadd(self.load_real(numbers, index), value), numbers, index)

    def _stage_shift(self) -> Value:
        """Returns the binary logarithm of the threads that put one number together: a warp, or those of a group."""
        b, warp = self.builder, int32(self.warp_shift)
        return b.select(b.icmp_signed(">", self.lanes_shift, warp), self.lanes_shift, warp)

    def _next_staging(self) -> Value:
        """Returns one half of the memory for sums, in turns: so one barrier for each gate is enough."""
        b = self.builder
        parity = b.load(self._parity)
        b.store(b.xor(parity, int32(1)), self._parity)
        start = self.word(Launch.STAGING)
        half = self.word(Launch.STAGING_SIZE)
        place = b.add(start, b.mul(b.zext(parity, INT64), half))
        return b.gep(self.shared, [self.bytes_of(place)])

    def _over_warp(self, value: Value) -> Value:
        """Returns the sum over the threads of a warp that have the same example."""
        if self.emulated:
            return value
        b = self.builder
        shuffle = self.external("llvm.nvvm.shfl.sync.bfly.f32", self.real, [INT32, self.real, INT32, INT32])
        count = b.sub(int32(WARP_SHIFT), self.lanes_shift)
        with self.loop(count, [value]) as loop:
            distance = b.lshr(int32(16), loop.index)
            other = b.call(shuffle, [int32(-1), loop.values[0], distance, int32(31)])
            loop.next = [b.fadd(loop.values[0], other)]
        return loop.values[0]
