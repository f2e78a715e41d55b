"""Helpers to write the kernels of a GPU for large states: those of `writer.py`, for cosets of one size."""

from collections.abc import Sequence

from qjax.quantum.engines.native.cuda.launch_shape import coset_threads
from qjax.quantum.engines.native.cuda.memory_banks import BANK_BITS, SHIFTS
from qjax.quantum.engines.native.cuda.writer import WARP_SHIFT, CudaCode
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, Arithmetic, Complex, Value, int32, int64
from qjax.quantum.engines.native.table.layout import Launch


class PassCode(CudaCode):
    """A kernel that is being written for tiles of one example and cosets of one size: these sizes are constants.

    Attributes:
      bits: log2 of the rows of a coset.
      threads: of a block.
    """

    def __init__(
        self, module: ir.Module, name: str, num_arrays: int, arithmetic: Arithmetic, emulated: bool, bits: int
    ) -> None:
        """Starts a kernel; see `CudaCode` and `write_passes`."""
        self.bits, self.threads = bits, coset_threads(bits)
        self._constants = {Launch.QUBITS: bits, Launch.LANES: 0, Launch.GROUPS: self.threads.bit_length() - 1}
        super().__init__(module, name, num_arrays, arithmetic, emulated)

    def word(self, place: Launch) -> Value:
        return int64(self._constants[place]) if place in self._constants else super().word(place)

    def place(self, row: Value) -> Value:
        b = self.builder
        row = b.trunc(row, INT32) if row.type != INT32 else row
        mixed: Value = int32(0)
        for shift in SHIFTS:
            mixed = b.xor(mixed, b.lshr(row, int32(shift)))
        bank = b.and_(mixed, int32((1 << BANK_BITS) - 1))
        return b.zext(b.shl(b.xor(row, bank), int32(2)), INT64)

    def load_once(self, base: Value, offset: Value) -> list[Value]:
        """As `load_wide`, for numbers that are read once: they displace nothing in the first-level cache."""
        if self.emulated:
            return self.load_wide(base, offset)
        address = self.builder.gep(base, [offset])
        kind = ir.FunctionType(ir.LiteralStructType([self.real] * 4), [address.type])
        text = "ld.global.cs.v4.f32 {$0, $1, $2, $3}, [$4];"
        whole = self.builder.asm(kind, text, "=f,=f,=f,=f,l,~{memory}", [address], side_effect=True)
        return [self.builder.extract_value(whole, k) for k in range(4)]

    def store_wide(self, values: Sequence[Value], base: Value, offset: Value) -> None:
        """Stores four neighbouring numbers."""
        whole: Value = ir.Constant(ir.VectorType(self.real, 4), ir.Undefined)
        for k, value in enumerate(values):
            whole = self.builder.insert_element(whole, value, int32(k))
        self.builder.store(whole, self.at(base, offset, whole.type), align=16)

    def add_real(self, value: Value, numbers: tuple[Value, Value], index: Value) -> None:
        """As in other kernels, by an atomic addition, so that the thread need not wait for the old sum.

        No other thread adds to this sum at the same time, so the order stays the same.
        """
        place = self.at(numbers[0], self.builder.mul(index, numbers[1]), self.real)
        self.builder.atomic_rmw("fadd", place, value, "monotonic")

    def add_all_sums(
        self, numbers: Sequence[tuple[Value, Value]], values: Sequence[Sequence[Complex]], step: int | None = None
    ) -> None:
        """As in other kernels; a warp adds up many numbers of one example at once."""
        b = self.builder
        parts = [part for of_gate in values for value in of_gate for part in value if part is not None]
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
            total, index = self._spread_over_warp(parts)
            self.store(total, staging, self.bytes_of(b.add(base, index)))
        self.synchronize()
        threads = b.shl(int32(1), self.groups_shift)
        left = b.sub(b.add(int32(used), b.sub(threads, int32(1))), self.thread)
        with self.loop(b.ashr(left, self.groups_shift)) as loop:
            part = b.add(self.thread, b.shl(loop.index, self.groups_shift))
            with self.loop(b.shl(int32(1), warps_shift), [self.zero]) as inner:
                place = b.add(b.mul(inner.index, int32(count)), part)
                inner.next = [b.fadd(inner.values[0], self.load(staging, self.bytes_of(place)))]
            self.add_part(numbers, part, each, inner.values[0], step)

    def _spread_over_warp(self, values: Sequence[Value]) -> tuple[Value, Value]:
        """Sums each of the values over the threads of a warp; returns one sum to each thread, and the sum's index.

        The number of values is a power of two. In each step two threads exchange halves of their values and add: 31
        exchanges for 32 values.
        """
        b = self.builder
        shuffle = self.external("llvm.nvvm.shfl.sync.bfly.f32", self.real, [INT32, self.real, INT32, INT32])
        index: Value = int32(0)
        held = list(values)
        for bit in reversed(range(WARP_SHIFT)):
            half = len(held) // 2
            upper = b.icmp_unsigned("!=", b.and_(self.thread, int32(1 << bit)), int32(0))
            kept, given = held, held
            if half:
                kept = [b.select(upper, held[k + half], held[k]) for k in range(half)]
                given = [b.select(upper, held[k], held[k + half]) for k in range(half)]
                index = b.or_(index, b.select(upper, int32(half), int32(0)))
            got = [b.call(shuffle, [int32(-1), value, int32(1 << bit), int32(31)]) for value in given]
            held = [b.fadd(mine, other) for mine, other in zip(kept, got, strict=True)]
        assert len(held) == 1
        return held[0], index
