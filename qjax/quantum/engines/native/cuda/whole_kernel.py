"""The kernels of a GPU for whole states: a block of threads takes tile after tile through the circuit, and back.

The order of operands and results stands below. Those of a CPU have no tables of scaled gates (`scaled_gates.py`), and
no sums of each block: of shared coefficients and of scaled gates, `[., blocks]`. Blocks do not depend on each other,
and each sum has the same order in every run.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from qjax.quantum.engines.native.cuda.grouped_code import DenseGroup, ScaledGroup
from qjax.quantum.engines.native.cuda.launch_shape import RESIDENT_THREADS, RESIDENT_THREADS_BACK
from qjax.quantum.engines.native.cuda.writer import CudaCode, Segment
from qjax.quantum.engines.native.ir.kernels import backward, forward, squares, walsh_hadamard, weighting
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, Arithmetic, Value, int32, int64
from qjax.quantum.engines.native.table.layout import (
    FORMS,
    GROUP_FORMS,
    GROUP_KINDS,
    MAKER_KINDS,
    MAX_GROUP,
    MAX_GROUP_BACK,
    Entry,
    Form,
    GroupEntry,
    Launch,
    MadeEntry,
    max_scaled,
)

# Indices of operands and results: operands of both kernels, then the rest of the forward and of the reverse one.
GATES, GATES_BACK, READ, SHARED, PER_EXAMPLE, TABLES = range(6)
VALUES, KEPT, SCRATCH, NUM_FORWARD = range(6, 10)
KEPT_BACK, VALUES_BACK, SHARED_SUMS, PER_EXAMPLE_SUMS, SCALED_SUMS, SCRATCH_BACK, NUM_BACKWARD = range(6, 13)
# Of the forward kernel and of the reverse one, where the results begin and end.
RESULTS = (VALUES, NUM_FORWARD), (SHARED_SUMS, NUM_BACKWARD)
MAX_THREADS = RESIDENT_THREADS, RESIDENT_THREADS_BACK
_ROTATION, _COLUMN = MAKER_KINDS


def write_kernel(name: str, arithmetic: Arithmetic, is_backward: bool, emulated: bool = False) -> ir.Module:
    """Returns the module of the forward or the reverse kernel.

    Args:
      name: of the kernel.
      arithmetic: what the amplitudes are.
      is_backward: whether it is the reverse pass.
      emulated: see `CudaCode`.
    """
    module = ir.Module(name)
    code = CudaCode(module, name, RESULTS[is_backward][1], arithmetic, emulated)
    set_launch_bounds(_WholeStatesKernel(code, is_backward), MAX_THREADS[is_backward], 1)
    return module


def set_launch_bounds(kernel: "TableKernel", threads: int, blocks: int) -> None:
    """Sets launch bounds: at most `threads` a block, registers for `blocks` blocks."""
    module = kernel.code.module
    if kernel.code.emulated:
        return
    module.triple = "nvptx64-nvidia-cuda"
    for name, count in (("maxntidx", threads), ("minctasm", blocks)):
        facts = [kernel.code.function, ir.MetaDataString(module, name), int32(count)]
        module.add_named_metadata("nvvm.annotations", module.add_metadata(facts))


class TableKernel(ABC):
    """A kernel that applies the entries of a table to tiles.

    Attributes:
      code: writes the kernel.
      tile: address of this thread's amplitudes.
      cotangent: address of the cotangents of these.
      coefficients: where the numbers of the gates are.
      sums: where the cotangents of these are added up.
      tables: address of the tables of scaled gates.
      scaled_sums: where the sums of scaled gates are added up.
    """

    coefficients: Sequence[Segment]
    sums: Sequence[Segment]
    tables: Value
    scaled_sums: Segment

    def __init__(self, code: CudaCode, is_backward: bool) -> None:
        self.code, self.is_backward = code, is_backward
        b, parts = code.builder, 2 if code.is_complex else 1
        self.num_shared, self.num_per_example, self.num_made = (
            code.word(place) for place in (Launch.NUM_SHARED, Launch.NUM_PER_EXAMPLE, Launch.NUM_MADE)
        )
        self.tile = b.gep(code.shared, [code.lane_bytes])
        self.cotangent = b.gep(self.tile, [b.mul(b.shl(code.rows, code.row_shift), int64(parts))])
        self._write()

    def _forms(self, reverse: bool) -> dict[int, Form]:
        """Returns the form of each kind of entry; the reverse pass has other groups of gates than the forward one."""
        forms = {kind: form for kind, form in enumerate(FORMS) if form[0] != "pair"}
        for (name, count), kind in GROUP_KINDS.items():
            is_scaled, listed = name != "dense_group", self.code.listed_places is not None
            least = 1 if is_scaled and listed else 2
            most = MAX_GROUP_BACK if reverse else MAX_GROUP
            most = max_scaled(reverse, listed) if is_scaled else most
            if least <= count <= most and (self.code.is_complex or name != "scaled"):
                forms[kind] = name, count, 0
        return forms

    @abstractmethod
    def _write(self) -> None:
        """Writes the kernel."""

    def _num_tiles(self) -> Value:
        """Returns how many tiles this block works on; their numbers have equal distances."""
        code, b = self.code, self.code.builder
        tiles = b.sub(b.add(self._count(Launch.TILES), b.sub(code.num_blocks, int32(1))), code.block)
        return b.udiv(tiles, code.num_blocks)

    def _tile_number(self, index: Value) -> Value:
        """Returns the number, among all tiles, of a tile of this block."""
        return self.code.builder.add(self.code.block, self.code.builder.mul(index, self.code.num_blocks))

    def _count(self, place: Launch) -> Value:
        """Returns a word of the launch, 32 bits."""
        return self.code.builder.trunc(self.code.word(place), INT32)

    # The table. -----------------------------------------------------------------------------------------------

    def _run_entries(
        self, table: Value, number: Value, do: Callable[..., None], reverse: bool, makes_only: bool = False
    ) -> None:
        """Writes a loop that does the entries of a table one after the other.

        Args:
          table: address of the first entry.
          number: how many entries there are; a group of gates counts as one.
          do: writes the code of an entry, given its form and address.
          reverse: whether this is the reverse pass.
          makes_only: whether only entries that make coefficients are done, and none that changes amplitudes.
        """
        code, b = self.code, self.code.builder
        last = b.sub(number, int32(1))
        with code.loop(number, [int32(0)]) as loop:
            index = loop.values[0]
            entry = self._entry(table, index)
            kind = code.load_int32(entry, Entry.KIND)
            done = b.append_basic_block("gate_done")
            switch = b.switch(kind, done)
            for k, form in self._forms(reverse).items():
                if makes_only and k not in (_ROTATION, _COLUMN):
                    continue
                block = b.append_basic_block(f"form_{k}")
                switch.add_case(int32(k), block)
                b.position_at_end(block)
                if k in (_ROTATION, _COLUMN):  # one group makes these; all of one angle have the same group
                    groups = b.shl(int32(1), code.groups_shift)
                    owner = b.and_(code.load_int32(entry, MadeEntry.RIGHT), b.sub(groups, int32(1)))
                    with b.if_then(b.icmp_signed("==", owner, code.group)):
                        do(form, entry)
                else:
                    do(form, entry)
                b.branch(done)
            b.position_at_end(done)
            beyond = b.icmp_signed("==", loop.index, last)
            loop.next = [b.add(index, b.add(code.load_int32(entry, GroupEntry.MEMBERS), int32(1)))]
            following = code.load_int32(self._entry(table, b.select(beyond, index, loop.next[0])), Entry.KIND)
            with b.if_then(b.or_(beyond, self._must_wait(kind, following, reverse))):
                code.synchronize()

    def _must_wait(self, kind: Value, following: Value, reverse: bool) -> Value:
        """Returns whether all threads must have done an entry before the next one begins.

        Two neighbours of one kind that make coefficients need not wait. Nor need two gates in the reverse pass: they
        have waited for their sums.
        """
        b = self.code.builder
        makes = [
            b.or_(b.icmp_signed("==", x, int32(_ROTATION)), b.icmp_signed("==", x, int32(_COLUMN)))
            for x in (kind, following)
        ]
        alike = b.and_(makes[0], b.icmp_signed("==", kind, following))
        free = b.or_(alike, b.not_(b.or_(*makes))) if reverse else alike
        return b.not_(free)

    def _entry(self, table: Value, index: Value) -> Value:
        b = self.code.builder
        return b.gep(table, [b.mul(b.sext(index, INT64), int64(4 * Entry.SIZE))])

    def _forward(self, form: Form, entry: Value) -> None:
        if form[0] == "dense_group":
            DenseGroup(self.code, form[1], entry, self.coefficients).forward(self.tile)
        elif form[0] in GROUP_FORMS:
            self._scaled(form, entry).forward(self.tile)
        else:
            forward(self.code, self.tile, entry, self.coefficients, form=form)

    def _backward(self, form: Form, entry: Value) -> None:
        tiles = self.tile, self.cotangent
        if form[0] == "dense_group":
            DenseGroup(self.code, form[1], entry, self.coefficients).backward(*tiles, self.sums)
        elif form[0] in GROUP_FORMS:
            self._scaled(form, entry).backward(*tiles, self.scaled_sums)
        else:
            backward(self.code, *tiles, entry, self.coefficients, self.sums, form=form)

    def _scaled(self, form: Form, entry: Value) -> ScaledGroup:
        return ScaledGroup(self.code, form[1], entry, form[0] == "scaled_real", self.tables)


class _WholeStatesKernel(TableKernel):
    def _write(self) -> None:
        code, b = self.code, self.code.builder
        block_start = b.mul(b.zext(code.block, INT64), code.word(Launch.SCRATCH))
        scratch = b.gep(code.array(SCRATCH_BACK if self.is_backward else SCRATCH), [code.bytes_of(block_start)])
        self.made = b.gep(scratch, [code.lane_bytes])
        self.lane_stride = b.shl(int64(1), code.row_shift)
        self.all_sums = b.gep(self.made, [b.shl(self.num_made, code.row_shift)])
        self.sums = [Segment(int64(0), self.all_sums, self.lane_stride)]
        self.tables = code.array(TABLES)
        block_sums = [(int64(0), self.num_shared, SHARED_SUMS)]
        if self.is_backward:
            start = b.add(b.add(self.num_shared, self.num_per_example), self.num_made)
            count, offset = code.word(Launch.NUM_SCALED), b.mul(start, self.lane_stride)
            self.scaled_sums = Segment(start, b.gep(self.all_sums, [offset]), self.lane_stride)
            block_sums.append((start, count, SCALED_SUMS))
            for start, count, _ in block_sums:
                self._zero_sums(start, b.add(start, count))
        with code.loop(self._num_tiles()) as loop:
            self._do_tile(self._tile_number(loop.index))
        if self.is_backward:
            for start, count, array in block_sums:
                self._put_sums(start, count, array)
        b.ret_void()

    def _do_tile(self, number: Value) -> None:
        """Writes what a block does to one tile."""
        code, b = self.code, self.code.builder
        batch = self._count(Launch.BATCH)
        example = b.add(b.shl(number, code.lanes_shift), code.lane)
        self.valid = b.icmp_signed("<", example, batch)
        last = b.sub(batch, int32(1))
        self.example_bytes = code.bytes_of(b.select(self.valid, example, last))
        self.batch_bytes = code.bytes_of(batch)
        made_start = b.add(self.num_shared, self.num_per_example)
        self.coefficients = [
            Segment(int64(0), code.array(SHARED), int64(4)),
            Segment(self.num_shared, self._of_example(PER_EXAMPLE), self.batch_bytes),
            Segment(made_start, self.made, self.lane_stride),
        ]
        with b.if_then(b.icmp_signed("==", code.group, int32(0))):
            code.store_rows(self.tile, [int64(0)], [(code.one, code.zero if code.is_complex else None)])
        if self.is_backward:
            self._zero_sums(self.num_shared, b.add(made_start, self.num_made))
        code.synchronize()
        self._run_entries(code.array(GATES), self._count(Launch.NUM_GATES), self._forward, False)
        self._keep()
        if self.is_backward:
            self._read_back()
            self._run_entries(code.array(GATES_BACK), self._count(Launch.NUM_GATES_BACK), self._backward, True)
            code.synchronize()
            with code.each(self.num_per_example) as loop:
                index = b.add(self.num_shared, loop.index)
                value = code.load(self.all_sums, b.mul(index, self.lane_stride))
                self._put(value, self._of_example(PER_EXAMPLE_SUMS), loop.index)
        else:
            self._read()
        code.synchronize()

    # Final states, and what is read from them. ----------------------------------------------------------------

    def _of_example(self, array: int) -> Value:
        return self.code.builder.gep(self.code.array(array), [self.example_bytes])

    def _put(self, value: Value, array: Value, row: Value) -> None:
        """Stores this example's number of a row of an array `[., batch]`, if the example exists."""
        b = self.code.builder
        with b.if_then(self.valid):
            self.code.store(value, array, b.mul(row, self.batch_bytes))

    def _take(self, array: Value, row: Value) -> Value:
        """Returns this example's number of a row; 0 if the example does not exist."""
        b = self.code.builder
        return b.select(self.valid, self.code.load(array, b.mul(row, self.batch_bytes)), self.code.zero)

    def _keep(self) -> None:
        """Stores the final states for the reverse pass, or loads them there."""
        code, b = self.code, self.code.builder
        kept = self._of_example(KEPT_BACK if self.is_backward else KEPT)
        with b.if_then(b.icmp_signed("!=", code.word(Launch.KEPT), int64(0))):
            with code.each(code.rows) as loop:
                place = code.place(loop.index)
                rows = [loop.index, b.add(code.rows, loop.index)][: 1 + code.is_complex]
                if self.is_backward:
                    parts = [self._take(kept, row) for row in rows]
                    code.store_rows(self.tile, [place], [(parts[0], parts[1] if code.is_complex else None)])
                else:
                    parts = [part for part in code.load_rows(self.tile, [place])[0] if part is not None]
                    for part, row in zip(parts, rows, strict=True):
                        self._put(part, kept, row)
            if self.is_backward:
                code.synchronize()

    def _row_to_read(self, index: Value) -> Value:
        b = self.code.builder
        return b.sext(b.load(self.code.at(self.code.array(READ), b.shl(index, int64(2)), INT32)), INT64)

    def _read(self) -> None:
        code, b = self.code, self.code.builder
        values, count = self._of_example(VALUES), code.word(Launch.NUM_READ)
        with b.if_else(b.icmp_signed("!=", code.word(Launch.STATE), int64(0))) as (amplitudes, strings):
            with amplitudes, code.each(count) as loop:
                place = code.place(self._row_to_read(loop.index))
                ((real, imag),) = code.load_rows(self.tile, [place])
                self._put(real, values, loop.index)
                self._put(code.zero if imag is None else imag, values, b.add(count, loop.index))
            with strings:
                squares(code, self.tile, self.tile, code.rows)  # in place: the real parts are rows of real numbers
                code.synchronize()
                walsh_hadamard(code, self.tile, code.rows, code.word(Launch.QUBITS))
                with code.each(count) as loop:
                    place = code.real_place(self._row_to_read(loop.index))
                    self._put(code.load(self.tile, place), values, loop.index)

    def _read_back(self) -> None:
        code, b = self.code, self.code.builder
        values, count = self._of_example(VALUES_BACK), code.word(Launch.NUM_READ)
        with b.if_else(b.icmp_signed("!=", code.word(Launch.STATE), int64(0))) as (amplitudes, strings):
            with amplitudes, code.each(count) as loop:
                place = code.place(self._row_to_read(loop.index))
                real = self._take(values, loop.index)
                imag = self._take(values, b.add(count, loop.index)) if code.is_complex else None
                code.store_rows(self.cotangent, [place], [(real, imag)])
            with strings:
                with code.each(code.rows) as loop:
                    code.store(code.zero, self.cotangent, code.real_place(loop.index))
                code.synchronize()
                with code.each(count) as loop:  # no two strings have the same row
                    place = code.real_place(self._row_to_read(loop.index))
                    code.store(self._take(values, loop.index), self.cotangent, place)
                code.synchronize()
                walsh_hadamard(code, self.cotangent, code.rows, code.word(Launch.QUBITS))
                weighting(code, self.tile, self.cotangent, self.cotangent, code.rows)
        code.synchronize()

    # Sums. ----------------------------------------------------------------------------------------------------

    def _zero_sums(self, start: Value, stop: Value) -> None:
        code, b = self.code, self.code.builder
        with code.each(b.sub(stop, start)) as loop:
            code.store(code.zero, self.all_sums, b.mul(b.add(start, loop.index), self.lane_stride))

    def _put_sums(self, start: Value, count: Value, array: int) -> None:
        """Adds up sums over the lanes of the tile, and stores them in an array `[., blocks]`."""
        code, b = self.code, self.code.builder
        to_lane_0 = b.sub(int64(0), code.lane_bytes)
        base, blocks = b.gep(self.all_sums, [to_lane_0]), b.zext(code.num_blocks, INT64)
        base = b.gep(base, [b.mul(start, self.lane_stride)])
        threads = b.shl(int64(1), b.zext(b.add(code.lanes_shift, code.groups_shift), INT64))
        thread = b.zext(code.thread, INT64)
        left = b.sub(b.add(count, b.sub(threads, int64(1))), thread)
        with code.loop(b.udiv(left, threads)) as loop:
            index = b.add(thread, b.mul(loop.index, threads))
            row = b.gep(base, [b.mul(index, self.lane_stride)])
            with code.loop(code.num_lanes_here, [code.zero]) as inner:
                inner.next = [b.fadd(inner.values[0], code.load(row, code.bytes_of(inner.index)))]
            place = b.add(b.mul(index, blocks), b.zext(code.block, INT64))
            code.store(inner.values[0], code.array(array), code.bytes_of(place))
