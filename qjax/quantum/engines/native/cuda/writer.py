"""Helpers to write LLVM IR for NVIDIA GPUs: the methods of `ir/writer.py`, as one thread of a block runs them.

A block of threads works on one tile, which lies in its shared memory: 2**LANES examples side by side, all rows of
real parts before those of imaginary parts. A thread works on one example, whose rows are divided among one thread of
each group. Where a CPU has a vector, a thread has one number.
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
_BANK_BITS = 5  # the shared memory has 2**5 banks
# Most rows that a thread loads before it stores the first one, and most cosets that these belong to.
_ROWS_AT_ONCE, _COSETS_AT_ONCE = 8, 4


@dataclass(frozen=True)
class Segment:
    """A range of the coefficients, or of the sums, that lies in one array.

    Attributes:
      start: index of the first one, among all.
      pointer: address of this thread's number of that index.
      stride: bytes from one index to the next.
    """

    start: Value
    pointer: Value
    stride: Value


class CudaCode(Code):
    """A kernel that is being written, in float32.

    Attributes:
      thread: number of the thread in its block.
      lane: its example in the tile.
      group: its place among the threads of that example.
      shared: address of the block's shared memory.
      listed_places: address of the lists of first rows of cosets (`memory_banks.py`); None without such lists.
    """

    listed_places: Value | None = None

    max_kept_sums = 16
    has_library = False

    def __init__(self, module: ir.Module, name: str, num_arrays: int, arithmetic: Arithmetic, emulated: bool) -> None:
        """Starts a kernel.

        Args:
          module: the module that gets the kernel.
          name: of the kernel.
          num_arrays: number of operands and results; the words of `Launch` follow them as arguments.
          arithmetic: what the amplitudes are.
          emulated: whether it is written for tests on a CPU, where each thread is a thread of the operating system.
            The kernel then has five more arguments: number of the thread, number of the block, number of blocks,
            address of the shared memory, and address of the barrier.
        """
        self.emulated = emulated
        self.global_pointer = ir.IntType(8).as_pointer(0 if emulated else GLOBAL)
        self._num_arrays = num_arrays
        arguments = [self.global_pointer] * num_arrays + [INT64] * len(Launch)
        arguments += [*[INT64] * 3, *[ir.IntType(8).as_pointer()] * 2] if emulated else []
        super().__init__(module, name, VOID, arguments, arithmetic)

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
        self.lanes_shift, self.groups_shift = (
            b.trunc(self.word(place), INT32) for place in (Launch.LANES, Launch.GROUPS)
        )
        self.num_lanes_here = b.shl(int32(1), self.lanes_shift)
        self.lane = b.and_(self.thread, b.sub(self.num_lanes_here, int32(1)))
        self.group = b.lshr(self.thread, self.lanes_shift)
        self.lane_bytes = self.bytes_of(self.lane)
        self.row_shift = b.add(b.zext(self.lanes_shift, INT64), int64(2))
        self.real_shift = self.row_shift
        self.to_imag = b.shl(self.rows, self.row_shift)
        self._bank_bits = b.sub(int32(_BANK_BITS), self.lanes_shift)
        self._bank_mask = b.sub(b.shl(int32(1), self._bank_bits), int32(1))
        parity = b.alloca(INT32)  # which half of the staging area is next
        b.store(int32(0), parity)
        self._parity = parity

    # Arguments of the kernel. ----------------------------------------------------------------------------------

    def array(self, index: int) -> Value:
        """Returns the address of an operand or result."""
        return self.arguments[index]

    def word(self, place: Launch) -> Value:
        """Returns a word of the launch, 64 bits."""
        return self.arguments[self._num_arrays + place]

    @property
    def rows(self) -> Value:
        """The number of rows of a tile."""
        return self.builder.shl(int64(1), self.word(Launch.QUBITS))

    def bytes_of(self, count: Value) -> Value:
        """Returns how many bytes `count` numbers take, 64 bits."""
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
        """Returns the place of a row in the tile, in bytes; it is linear in the bits of the row, modulo 2.

        Higher bits of the row change its bank, too, so threads whose rows differ in a few bits, whichever these are,
        seldom wait for each other.
        """
        b = self.builder
        row = b.trunc(row, INT32) if row.type != INT32 else row
        bank = b.and_(b.lshr(row, self._bank_bits), self._bank_mask)
        return b.zext(b.shl(b.xor(row, bank), b.add(self.lanes_shift, int32(2))), INT64)

    def real_place(self, row: Value) -> Value:
        return self.place(row)

    def of_entry(self, entry: Value, word: int, base: Sequence[Segment]) -> tuple[Value, Value]:
        b = self.builder
        index = b.sext(self.load_int32(entry, word), INT64)
        numbers: tuple[Value, Value] | None = None
        for segment in base:
            pointer = b.gep(segment.pointer, [b.mul(b.sub(index, segment.start), segment.stride)])
            if numbers is None:
                numbers = pointer, segment.stride
            else:
                here = b.icmp_signed(">=", index, segment.start)
                numbers = b.select(here, pointer, numbers[0]), b.select(here, segment.stride, numbers[1])
        assert numbers is not None
        return numbers

    def load_real(self, numbers: tuple[Value, Value], index: Value) -> Value:
        return self.load(numbers[0], self.builder.mul(index, numbers[1]))

    def store_real(self, value: Value, numbers: tuple[Value, Value], index: Value) -> None:
        self.store(value, numbers[0], self.builder.mul(index, numbers[1]))

    def load_numbers(self, numbers: tuple[Value, Value], count: int) -> list[Complex]:
        pointer, stride = numbers  # moved step by step: 64-bit products are expensive
        step = stride if self.is_complex else self.builder.shl(stride, int64(1))
        parts = []
        for _ in range(count * (1 + self.is_complex)):
            parts.append(self.load(pointer, int64(0)))
            pointer = self.builder.gep(pointer, [step])
        if not self.is_complex:
            return [(part, None) for part in parts]
        return list(zip(parts[::2], parts[1::2], strict=True))

    def load_wide(self, base: Value, offset: Value, kind: Any = None) -> list[Value]:
        """Returns four neighbouring numbers, by default real, from an address that is a multiple of 16 bytes."""
        whole = self.builder.load(self.at(base, offset, ir.VectorType(kind or self.real, 4)), align=16)
        return [self.builder.extract_element(whole, int32(k)) for k in range(4)]

    def count_ones(self, number: Value) -> Value:
        """Returns how many bits of a 32-bit number are 1."""
        return self.builder.call(self.external("llvm.ctpop.i32", INT32, [INT32]), [number])

    def is_odd(self, number: Value) -> Value:
        """Returns whether a 32-bit number is odd, as a bit."""
        return self.builder.icmp_unsigned("!=", self.builder.and_(number, int32(1)), int32(0))

    def anew(self, address: Value, index: Value) -> Value:
        """Returns an address in a form that makes each round of a loop load from it anew, which saves registers.

        Args:
          address: of numbers that are the same in all rounds.
          index: of the round.
        """
        zero = self.builder.and_(self.builder.zext(index, INT64), self.word(Launch.ZERO))
        return self.builder.gep(address, [zero])

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
        """As on a CPU, but with several cosets at once: a first row is linear in the bits of its coset's number."""
        at_once = max(1, min(_COSETS_AT_ONCE, _ROWS_AT_ONCE // num_rows))
        if at_once == 1:
            return super().each_coset(count, first_row, num_rows, body, initial)
        b = self.builder
        shift = b.add(self.groups_shift, int32(at_once.bit_length() - 1))
        many, few, done = (b.append_basic_block(name) for name in ("many", "few", "done"))
        b.cbranch(b.icmp_signed(">=", count, b.shl(int32(1), shift)), many, few)
        b.position_at_end(many)
        zero = first_row(int32(0))
        steps = [b.xor(first_row(b.shl(int32(k), self.groups_shift)), zero) for k in range(at_once)]
        with self.loop(b.lshr(count, shift), initial) as loop:
            first = first_row(b.add(self.group, b.shl(loop.index, shift)))
            loop.next = body([b.xor(first, step) for step in steps], loop.values)
        ends = [(loop.values, b.block)]
        b.branch(done)
        b.position_at_end(few)
        ends.append((super().each_coset(count, first_row, num_rows, body, initial), b.block))
        b.branch(done)
        b.position_at_end(done)
        results = []
        for k, value in enumerate(initial):
            phi = b.phi(value.type)
            for values, block in ends:
                phi.add_incoming(values[k], block)
            results.append(phi)
        return results

    def add_sums(self, numbers: tuple[Value, Value], values: Sequence[Complex]) -> None:
        self.add_all_sums([numbers], [values])

    def add_all_sums(
        self, numbers: Sequence[tuple[Value, Value]], values: Sequence[Sequence[Complex]], step: int | None = None
    ) -> None:
        """Adds the sums of all threads of an example to those of some gates, in the same order in every run.

        Args:
          numbers: address and stride of the sums of each gate.
          values: this thread's sums for each gate, equally many for each.
          step: indices from one sum to the next; None leaves an index for each imaginary part, even in real
            arithmetic.
        """
        b = self.builder
        parts = [
            self._over_warp(part) for of_gate in values for value in of_gate for part in value if part is not None
        ]
        warp_lanes = b.and_(self.thread, int32((1 << self.warp_shift) - 1))
        total_shift = b.add(self.lanes_shift, self.groups_shift)
        warps_shift = b.sub(total_shift, self._stage_shift())
        staging = self._next_staging()
        warp = b.lshr(self.thread, self._stage_shift())
        place_in_row = b.add(b.shl(warp, self.lanes_shift), self.lane)
        row_shift = b.add(warps_shift, self.lanes_shift)
        with b.if_then(b.or_(ir.Constant(BIT, self.emulated), b.icmp_signed("<", warp_lanes, self.num_lanes_here))):
            for k, part in enumerate(parts):
                self.store(part, staging, self.bytes_of(b.add(b.shl(int32(k), row_shift), place_in_row)))
        self.synchronize()
        totals = b.shl(int32(len(parts)), self.lanes_shift)
        threads = b.shl(int32(1), total_shift)
        left = b.sub(b.add(totals, b.sub(threads, int32(1))), self.thread)
        with self.loop(b.ashr(left, total_shift)) as loop:
            number = b.add(self.thread, b.shl(loop.index, total_shift))
            part = b.lshr(number, self.lanes_shift)
            base = b.add(b.shl(part, row_shift), self.lane)
            with self.loop(b.shl(int32(1), warps_shift), [self.zero]) as inner:
                place = b.add(base, b.shl(inner.index, self.lanes_shift))
                inner.next = [b.fadd(inner.values[0], self.load(staging, self.bytes_of(place)))]
            self.add_part(numbers, part, len(parts) // len(values), inner.values[0], step)

    def add_part(
        self, numbers: Sequence[tuple[Value, Value]], part: Value, each: int, value: Value, step: int | None
    ) -> None:
        """Adds `value` to number `part % each` of gate `part // each`; see `add_all_sums`."""
        b = self.builder
        gate, index = b.udiv(part, int32(each)), b.urem(part, int32(each))
        pointer, stride = numbers[0]
        for k, (other, other_stride) in enumerate(numbers[1:], 1):
            here = b.icmp_unsigned("==", gate, int32(k))
            pointer, stride = b.select(here, other, pointer), b.select(here, other_stride, stride)
        self.add_real(value, (pointer, stride), b.zext(b.mul(index, int32(step or 2 - self.is_complex)), INT64))

    def add_real(self, value: Value, numbers: tuple[Value, Value], index: Value) -> None:
        """Adds `value` to the number at `index` of some numbers; `of_entry` returns their address and stride."""
        self.store_real(self.builder.fadd(self.load_real(numbers, index), value), numbers, index)

    def _stage_shift(self) -> Value:
        """Returns log2 of the threads that stage one row of numbers: a warp, or all lanes if these are more."""
        b, warp = self.builder, int32(self.warp_shift)
        return b.select(b.icmp_signed(">", self.lanes_shift, warp), self.lanes_shift, warp)

    def _next_staging(self) -> Value:
        """Returns the halves of the staging area of sums in turns, so that one barrier for each gate is enough."""
        b = self.builder
        parity = b.load(self._parity)
        b.store(b.xor(parity, int32(1)), self._parity)
        start, half = self.word(Launch.STAGING), self.word(Launch.STAGING_SIZE)
        place = b.add(start, b.mul(b.zext(parity, INT64), half))
        return b.gep(self.shared, [self.bytes_of(place)])

    def _over_warp(self, value: Value) -> Value:
        """Returns the sum over the threads of a warp that work on the same example."""
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
