"""The kernels of a GPU: a block of threads takes one tile after the other through the whole circuit, and back.

Operands and results are those of `driver.py`, but that tables follow the coefficients (`scaled_gates.py`), and that
there are results for the sums of shared coefficients, and of the gates with tables, for each block, `[., blocks]`.
What the blocks do does not depend on each other, nor its order on which is quicker.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from qjax.quantum.engines.native.cuda.grouped_code import Scaled, Several
from qjax.quantum.engines.native.cuda.launch_shape import RESIDENT_THREADS, RESIDENT_THREADS_BACK
from qjax.quantum.engines.native.cuda.writer import CudaCode, Piece
from qjax.quantum.engines.native.ir.kernels import backward, forward, squares, walsh_hadamard, weighting
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, Arithmetic, Value, int32, int64
from qjax.quantum.engines.native.table.layout import (
    ENTRY,
    FORMS,
    KIND,
    MAKER_KINDS,
    MAX_SEVERAL,
    MAX_SEVERAL_BACK,
    MEMBERS,
    RIGHT,
    SEVERAL,
    SEVERAL_KINDS,
    Form,
    Launch,
    max_scaled,
)

# Places of operands and results: those of both passes, and then those of either.
GATES, GATES_BACK, READ, SHARED, OWN, TABLES = range(6)
VALUES, KEPT, SCRATCH, NUM_FORWARD = range(6, 10)
KEPT_BACK, VALUES_BACK, SHARED_SUMS, OWN_SUMS, SCALED_SUMS, SCRATCH_BACK, NUM_BACKWARD = range(6, 13)
MAX_THREADS = RESIDENT_THREADS, RESIDENT_THREADS_BACK
_ROTATION, _COLUMN = MAKER_KINDS


def write_kernel(name: str, arithmetic: Arithmetic, is_backward: bool, emulated: bool = False) -> ir.Module:
    """Returns the module of a pass, whose kernel has that name.

    Args:
      name: of the kernel.
      arithmetic: what the amplitudes are.
      is_backward: whether it is the reverse pass.
      emulated: see `CudaCode`.
    """
    module, num_arrays = ir.Module(name), NUM_BACKWARD if is_backward else NUM_FORWARD
    code = CudaCode(module, name, num_arrays, arithmetic, emulated)
    finish(_Kernel(code, is_backward), MAX_THREADS[is_backward], 1)
    return module


def finish(kernel: "Follower", threads: int, blocks: int) -> None:
    """Says for what a kernel is written: so many blocks, of so many threads at most, must have registers."""
    module = kernel.code.module
    if kernel.code.emulated:
        return
    module.triple = "nvptx64-nvidia-cuda"
    for name, count in (("maxntidx", threads), ("minctasm", blocks)):
        facts = [kernel.code.function, ir.MetaDataString(module, name), int32(count)]
        module.add_named_metadata("nvvm.annotations", module.add_metadata(facts))


class Follower(ABC):
    """A kernel that leads a tile through entries of a table.

    Attributes:
      code: that is being written.
      tile: where this thread's amplitudes lie.
      cotangent: and the cotangents of these.
      coefficients: where the numbers of the gates are.
      sums: and the cotangents of these.
      tables: of gates that are scaled.
      scaled_sums: what goes back to these.
    """

    coefficients: Sequence[Piece]
    sums: Sequence[Piece]
    tables: Value
    scaled_sums: Piece

    def __init__(self, code: CudaCode, is_backward: bool) -> None:
        self.code, self.is_backward = code, is_backward
        b, planes = code.builder, 2 if code.is_complex else 1
        self.num_shared, self.num_own, self.num_made = (
            code.word(place) for place in (Launch.NUM_SHARED, Launch.NUM_OWN, Launch.NUM_MADE)
        )
        self.tile = b.gep(code.shared, [code.lane_bytes])
        self.cotangent = b.gep(self.tile, [b.mul(b.shl(code.rows, code.row_shift), int64(planes))])
        self._write()

    def _forms(self, reverse: bool) -> dict[int, Form]:
        """Returns what entries say, by their kinds: a kernel that goes back goes forward first, by other ones."""
        found = {kind: form for kind, form in enumerate(FORMS) if form[0] != "pair"}
        for (name, count), kind in SEVERAL.items():
            is_scaled, listed = name != "several", self.code.listed_places is not None
            least = 1 if is_scaled and listed else 2
            most = MAX_SEVERAL_BACK if reverse else MAX_SEVERAL
            most = max_scaled(reverse, listed) if is_scaled else most
            if least <= count <= most and (self.code.is_complex or name != "scaled"):
                found[kind] = name, count, 0
        return found

    @abstractmethod
    def _write(self) -> None:
        """Writes the kernel."""

    def _num_tiles(self) -> Value:
        """Returns how many tiles a block does, at equal distances."""
        code, b = self.code, self.code.builder
        tiles = b.sub(b.add(self._count(Launch.TILES), b.sub(code.num_blocks, int32(1))), code.block)
        return b.udiv(tiles, code.num_blocks)

    def _tile_number(self, index: Value) -> Value:
        """Returns the number, among all, of one of those tiles."""
        return self.code.builder.add(self.code.block, self.code.builder.mul(index, self.code.num_blocks))

    def _count(self, place: Launch) -> Value:
        """Returns a number of the launch, 32 bits."""
        return self.code.builder.trunc(self.code.word(place), INT32)

    # The table. -----------------------------------------------------------------------------------------------

    def _follow(
        self, table: Value, number: Value, do: Callable[..., None], reverse: bool, makes_only: bool = False
    ) -> None:
        """Does so many entries, one after the other, or those alone that make numbers.

        Args:
          table: where the first entry is.
          number: how many are done; those of gates that are done at once count as one.
          do: writes what is done, given the form and the entry.
          reverse: whether it takes the amplitudes back.
          makes_only: whether entries that do something to amplitudes are left out.
        """
        code, b = self.code, self.code.builder
        last = b.sub(number, int32(1))
        with code.loop(number, [int32(0)]) as loop:
            index = loop.values[0]
            entry = self._entry(table, index)
            kind = code.load_int32(entry, KIND)
            done = b.append_basic_block("gate_done")
            switch = b.switch(kind, done)
            for k, form in self._forms(reverse).items():
                if makes_only and k not in (_ROTATION, _COLUMN):
                    continue
                block = b.append_basic_block(f"form_{k}")
                switch.add_case(int32(k), block)
                b.position_at_end(block)
                if k in (_ROTATION, _COLUMN):  # for each example one group does it, for the same angle the same one
                    groups = b.shl(int32(1), code.groups_shift)
                    owner = b.and_(code.load_int32(entry, RIGHT), b.sub(groups, int32(1)))
                    with b.if_then(b.icmp_signed("==", owner, code.group)):
                        do(form, entry)
                else:
                    do(form, entry)
                b.branch(done)
            b.position_at_end(done)
            beyond = b.icmp_signed("==", loop.index, last)
            loop.next = [b.add(index, b.add(code.load_int32(entry, MEMBERS), int32(1)))]
            following = code.load_int32(self._entry(table, b.select(beyond, index, loop.next[0])), KIND)
            with b.if_then(b.or_(beyond, self._must_wait(kind, following, reverse))):
                code.synchronize()

    def _must_wait(self, kind: Value, following: Value, reverse: bool) -> Value:
        """Returns whether an entry must be done before the next one: neighbours that only make numbers need not.

        Those that go back through amplitudes have waited, already, for their sums.
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
        return b.gep(table, [b.mul(b.sext(index, INT64), int64(4 * ENTRY))])

    def _forward(self, form: Form, entry: Value) -> None:
        if form[0] == "several":
            Several(self.code, form[1], entry, self.coefficients).forward(self.tile)
        elif form[0] in SEVERAL_KINDS:
            self._scaled(form, entry).forward(self.tile)
        else:
            forward(self.code, form, self.tile, entry, self.coefficients)

    def _backward(self, form: Form, entry: Value) -> None:
        tiles = self.tile, self.cotangent
        if form[0] == "several":
            Several(self.code, form[1], entry, self.coefficients).backward(*tiles, self.sums)
        elif form[0] in SEVERAL_KINDS:
            self._scaled(form, entry).backward(*tiles, self.scaled_sums)
        else:
            backward(self.code, form, *tiles, entry, self.coefficients, self.sums)

    def _scaled(self, form: Form, entry: Value) -> Scaled:
        return Scaled(self.code, form[1], entry, form[0] == "scaled_real", self.tables)


class _Kernel(Follower):
    def _write(self) -> None:
        code, b = self.code, self.code.builder
        own_scratch = b.mul(b.zext(code.block, INT64), code.word(Launch.SCRATCH))
        scratch = b.gep(code.array(SCRATCH_BACK if self.is_backward else SCRATCH), [code.bytes_of(own_scratch)])
        self.made = b.gep(scratch, [code.lane_bytes])
        self.lane_stride = b.shl(int64(1), code.row_shift)
        self.all_sums = b.gep(self.made, [b.shl(self.num_made, code.row_shift)])
        self.sums = [Piece(int64(0), self.all_sums, self.lane_stride)]
        self.tables = code.array(TABLES)
        of_blocks = [(int64(0), self.num_shared, SHARED_SUMS)]
        if self.is_backward:
            start, count = b.add(b.add(self.num_shared, self.num_own), self.num_made), code.word(Launch.NUM_SCALED)
            self.scaled_sums = Piece(start, b.gep(self.all_sums, [b.mul(start, self.lane_stride)]), self.lane_stride)
            of_blocks.append((start, count, SCALED_SUMS))
            for start, count, _ in of_blocks:
                self._zero_sums(start, b.add(start, count))
        with code.loop(self._num_tiles()) as loop:
            self._do_tile(self._tile_number(loop.index))
        if self.is_backward:
            for own in of_blocks:
                self._put_sums(*own)
        b.ret_void()

    def _do_tile(self, number: Value) -> None:
        """Writes what is done to a tile."""
        code, b = self.code, self.code.builder
        batch = self._count(Launch.BATCH)
        example = b.add(b.shl(number, code.lanes_shift), code.lane)
        self.valid = b.icmp_signed("<", example, batch)
        last = b.sub(batch, int32(1))
        self.example_bytes = code.bytes_of(b.select(self.valid, example, last))
        self.batch_bytes = code.bytes_of(batch)
        own_end = b.add(self.num_shared, self.num_own)
        self.coefficients = [
            Piece(int64(0), code.array(SHARED), int64(4)),
            Piece(self.num_shared, self._of_example(OWN), self.batch_bytes),
            Piece(own_end, self.made, self.lane_stride),
        ]
        with b.if_then(b.icmp_signed("==", code.group, int32(0))):
            code.store_rows(self.tile, [int64(0)], [(code.one, code.zero if code.is_complex else None)])
        if self.is_backward:
            self._zero_sums(self.num_shared, b.add(own_end, self.num_made))
        code.synchronize()
        self._follow(code.array(GATES), self._count(Launch.NUM_GATES), self._forward, False)
        self._keep()
        if self.is_backward:
            self._read_back()
            self._follow(code.array(GATES_BACK), self._count(Launch.NUM_GATES_BACK), self._backward, True)
            code.synchronize()
            with code.each(self.num_own) as loop:
                here = b.add(self.num_shared, loop.index)
                value = code.load(self.all_sums, b.mul(here, self.lane_stride))
                self._put(value, self._of_example(OWN_SUMS), loop.index)
        else:
            self._read()
        code.synchronize()

    # What is read and kept. -----------------------------------------------------------------------------------

    def _of_example(self, array: int) -> Value:
        return self.code.builder.gep(self.code.array(array), [self.example_bytes])

    def _put(self, value: Value, array: Value, row: Value) -> None:
        """Sets this example's number of a row of an array `[., batch]`, where there is such an example."""
        b = self.code.builder
        with b.if_then(self.valid):
            self.code.store(value, array, b.mul(row, self.batch_bytes))

    def _take(self, array: Value, row: Value) -> Value:
        """Returns this example's number of a row; 0 where there is no such example."""
        b = self.code.builder
        return b.select(self.valid, self.code.load(array, b.mul(row, self.batch_bytes)), self.code.zero)

    def _keep(self) -> None:
        """Puts the final states where they are kept, or gets them from there."""
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
                with code.each(count) as loop:  # each string has a row of its own
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
        """Adds up sums over the examples of the tile, and puts them into an array `[., blocks]`."""
        code, b = self.code, self.code.builder
        first = b.sub(int64(0), code.lane_bytes)  # of the lanes
        base, blocks = b.gep(self.all_sums, [first]), b.zext(code.num_blocks, INT64)
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
