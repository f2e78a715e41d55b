"""The function that XLA calls: it shares the tiles of a batch among XLA's threads and leads each through the table.

A share is tiles at equal distances, whichever thread does it, and has sums of its own: so no result depends on which
thread was quicker.

Operands, for the forward pass: the plan, int32 (below); what all examples share, `[., 1]`, and what each has,
`[., batch]`, angles and then coefficients; the first states, `[parts * rows, batch]`, or `[0, batch]` for |0...0>.
Real ones may lack their imaginary parts.
Results: the values read, `[., batch]`; the final states, like the first ones, or `[0, batch]` where these are not
kept; and a workspace. For the reverse pass the cotangents of the values follow the operands, and the results are
the cotangents of what is shared, of what each example has, and of the first states, or `[0, batch]` where these are
not wanted; and a workspace.

The plan is one array, as XLA spends time on each: the words of a `Call` before SHARED; the table of the gates,
`[gates, ENTRY]`; the table of the reverse pass; the rows to read; the recipes of the gates that all examples share;
constants of float64, from which those of each example are made; and the words of rotations and of their phases
(`shared_layers.py`). Where the final states were kept, the reverse pass has them in place of the first ones, and its
first table has those entries alone that make coefficients.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from qjax.quantum.engines.native.cpu.call_record import change, release, schedule_workers
from qjax.quantum.engines.native.cpu.kernel_list import kernels, kernels_back, listed_kernels
from qjax.quantum.engines.native.cpu.recipe_code import exact_function, write_compose, write_compose_back
from qjax.quantum.engines.native.cpu.shared_layers_code import (
    Scalars,
    write_cotangents,
    write_rotations,
    write_tables,
)
from qjax.quantum.engines.native.cpu.workspace import Lanes, Workspace, follow
from qjax.quantum.engines.native.ir.kernels import squares, walsh_hadamard, weighting
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import (
    INT32,
    INT64,
    POINTER,
    VOID,
    Arithmetic,
    Code,
    Complex,
    Value,
    int64,
)
from qjax.quantum.engines.native.ir.xla_call import (
    BUFFER_DATA,
    BUFFER_SHAPE,
    FRAME_ARGUMENTS,
    FRAME_RESULTS,
    answer_version,
)
from qjax.quantum.engines.native.table.layout import (
    CPU_FORMS,
    GIVENS,
    PLACES,
    RECORD_SHIFT,
    VECTOR_SHIFT,
    Call,
)

# Operands behind the plan, and their lengths.
_GIVEN = ((Call.SHARED, Call.NUM_SHARED), (Call.PER_EXAMPLE, Call.NUM_PER_EXAMPLE), (Call.BEGIN, Call.NUM_BEGIN))


class Driver:
    """The module of one pass, forward or reverse; `module` holds its code, whose entry point is `handler`."""

    def __init__(self, arithmetic: Arithmetic, backward: bool, lists: bool = False) -> None:
        """Writes the code.

        Args:
          arithmetic: what the amplitudes are.
          backward: whether it is the reverse pass.
          lists: whether it has gates with lists.
        """
        self.module, self.arithmetic, self.backward = ir.Module("qjax"), arithmetic, backward
        apply = kernels() | (listed_kernels(False) if lists else {})
        undo = kernels_back() | (listed_kernels(True) if lists else {}) if backward else {}
        self.apply = {kind: self._function(*facts) for kind, facts in apply.items()}
        self.undo = {kind: self._function(*facts) for kind, facts in undo.items()}
        self.squares = self._function("squares", 2, squares, 1)
        self.weighting = self._function("weighting", 3, weighting, 1)
        self.walsh_hadamard = self._function("walsh_hadamard", 1, walsh_hadamard, 2)
        exact = partial(exact_function, self.module, arithmetic)
        self.compose = exact("compose", 3, write_compose)
        self.compose_back = exact("compose_back", 4, write_compose_back) if backward else None
        self.rotations = exact("rotations", 3, write_rotations, Scalars)
        self.tables = exact("tables", 3, partial(_tables, arithmetic.is_complex), num_integers=2)
        self.cotangents = exact("cotangents", 5, write_cotangents, Scalars) if backward else None
        self.worker = Worker(self).function
        self._write_handler()

    def _function(
        self, name: str, num_pointers: int, write: Callable[..., None], num_integers: int = 0
    ) -> ir.Function:
        """Returns the function of addresses, and then of 64-bit integers, whose body is written so."""
        kinds = [POINTER] * num_pointers + [INT64] * num_integers
        code = Code(self.module, name, VOID, kinds, self.arithmetic)
        code.align_stack()
        write(code, *code.arguments)
        code.builder.ret_void()
        return code.function

    def _write_handler(self) -> None:
        code = Code(self.module, "handler", POINTER, [POINTER], self.arithmetic)
        b, frame = code.builder, code.arguments[0]
        answer_version(code, frame)
        record = b.call(code.external("malloc", POINTER, [INT64]), [int64(8 * len(Call))])
        self._fill(code, frame, record)
        schedule_workers(code, frame, record, self.worker)
        b.call(self.worker, [record])
        wait, ready = b.append_basic_block("wait"), b.append_basic_block("ready")
        b.branch(wait)
        b.position_at_end(wait)
        done = b.load_atomic(code.at(record, int64(8 * Call.DONE), INT64), "acquire", 8)
        b.cbranch(b.icmp_signed("<", done, code.load_int64(record, Call.WORKERS)), wait, ready)
        b.position_at_end(ready)
        if self.backward:
            _add_up(code, record)
        release(code, record)
        b.ret(ir.Constant(POINTER, None))

    def _fill(self, code: Code, frame: Value, record: Value) -> None:
        """Writes into the record what the operands and results are."""
        arguments, results = code.load_pointer(frame, FRAME_ARGUMENTS), code.load_pointer(frame, FRAME_RESULTS)

        def data(array: Value, index: int) -> Value:
            return code.load_int64(code.load_pointer(array, index), BUFFER_DATA)

        def length(index: int, array: Value = arguments) -> Value:
            return code.load_int64(code.load_pointer(code.load_pointer(array, index), BUFFER_SHAPE), 0)

        for index, (place, count) in enumerate(_GIVEN, 1):
            code.store_int64(data(arguments, index), record, place)
            code.store_int64(length(index), record, count)
        plan = code.load_pointer(code.load_pointer(arguments, 0), BUFFER_DATA)
        for fact in range(Call.SHARED):
            value = code.builder.sext(code.load_int32(plan, fact), INT64)
            if fact in PLACES:
                value = code.builder.add(data(arguments, 0), code.builder.shl(value, int64(2)))
            code.store_int64(value, record, fact)
        names = (Call.SHARED_SUMS, Call.PER_EXAMPLE_SUMS) if self.backward else (Call.VALUES,)
        for index, place in enumerate((*names, Call.END, Call.SCRATCH)):
            code.store_int64(data(results, index), record, place)
        code.store_int64(length(len(names), results), record, Call.NUM_END)
        if self.backward:
            code.store_int64(data(arguments, 4), record, Call.VALUES)
        for place in (Call.NEXT, Call.DONE):
            code.store_int64(int64(0), record, place)
        workers = code.load_int64(record, Call.WORKERS)
        code.store_int64(code.builder.add(workers, int64(1)), record, Call.REFERENCES)  # one is the caller's own


def _tables(is_complex: bool, code: Code, held: Any, *operands: Value) -> None:
    write_tables(code, held, is_complex, *operands)


def _add_up(code: Code, record: Value) -> None:
    """Adds the sums of the shared coefficients over the workers and the examples of a tile."""
    b = code.builder
    workers = code.load_int64(record, Call.WORKERS)
    parts = Workspace(code, record, int64(0))
    workspace, sums = code.load_int64(record, Call.WORKSPACE), code.load_pointer(record, Call.SHARED_SUMS)
    add = code.intrinsic("vector.reduce.fadd", code.real, [code.real, code.vector])
    with code.loop(code.load_int64(record, Call.NUM_SHARED)) as loop:
        place = b.shl(loop.index, int64(VECTOR_SHIFT))
        with code.loop(workers, [code.zero]) as inner:
            here = b.add(b.mul(inner.index, workspace), place)
            inner.next = [b.fadd(inner.values[0], code.load(parts.sums, here))]
        nothing = ir.Constant(code.real, 0.0)
        total = b.call(add, [nothing, inner.values[0]], fastmath=("reassoc",))
        place = code.at(sums, b.mul(loop.index, int64(code.stored_itemsize)), code.stored)
        b.store(code.cast(total, code.stored), place)


class Worker:
    """The function that a thread runs: takes one share after the other until none is left."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.code = Code(driver.module, "work", VOID, [POINTER], driver.arithmetic)
        self.record, self.function = self.code.arguments[0], self.code.function
        self._write()

    def _get(self, place: Call) -> Value:
        return self.code.load_int64(self.record, place)

    def _write(self) -> None:
        code, b = self.code, self.code.builder
        take, some, none = (b.append_basic_block(name) for name in ("take", "some", "none"))
        b.branch(take)
        b.position_at_end(take)
        share, workers = change(code, self.record, Call.NEXT, 1), self._get(Call.WORKERS)
        b.cbranch(b.icmp_signed("<", share, workers), some, none)
        b.position_at_end(some)
        self.workspace = Workspace(code, self.record, share, self.driver.backward)
        self.per_example_offset = self.workspace.starts[3]
        self._begin()
        left = b.sub(b.add(self._get(Call.TILES), b.sub(workers, int64(1))), share)
        with code.loop(b.udiv(left, workers)) as loop:
            self._do_tile(b.add(share, b.mul(loop.index, workers)))
        if self.driver.backward:
            self._begin_back()
        change(code, self.record, Call.DONE, 1)
        b.branch(take)
        b.position_at_end(none)
        release(code, self.record)
        b.ret_void()

    @property
    def _composed(self) -> list[Value]:
        """What the functions that compose gates are given first."""
        recipes, shared = (self.code.load_pointer(self.record, place) for place in (Call.RECIPES, Call.SHARED))
        return [recipes, shared, self.workspace.coefficients]

    def _begin(self) -> None:
        """Makes a vector of each coefficient that all examples share."""
        code, b, workspace = self.code, self.code.builder, self.workspace
        shared, constants = (code.load_pointer(self.record, place) for place in (Call.SHARED, Call.CONSTANTS))
        with code.loop(self._get(Call.NUM_SHARED)) as loop:
            value = code.splat(code.load_stored(shared, loop.index))
            code.store(value, workspace.coefficients, b.shl(loop.index, int64(VECTOR_SHIFT)))
        with code.loop(self._get(Call.NUM_CONSTANTS)) as loop:
            place = code.at(constants, b.shl(loop.index, int64(3)), ir.DoubleType())
            value = code.splat(code.cast(b.load(place, align=4), code.real))
            offset = b.add(workspace.starts[1], b.shl(loop.index, int64(VECTOR_SHIFT)))
            code.store(value, workspace.coefficients, offset)
        b.call(self.driver.compose, [*self._composed, self._get(Call.NUM_RECIPES)])
        rotations, factors = (code.load_pointer(self.record, place) for place in (Call.ROTATIONS, Call.FACTORS))
        count = self._get(Call.NUM_ROTATIONS)
        b.call(self.driver.rotations, [rotations, workspace.coefficients, workspace.rotations, count])
        b.call(
            self.driver.tables,
            [factors, workspace.rotations, workspace.tables, self._get(Call.NUM_TABLES), workspace.rows],
        )
        if self.driver.backward:
            self._clear(workspace.sums, int64(0), self.per_example_offset)
            self._clear(workspace.rotation_sums, int64(0), b.shl(count, int64(RECORD_SHIFT)))

    def _begin_back(self) -> None:
        """Goes back through what `_begin` makes."""
        code, b, workspace = self.code, self.code.builder, self.workspace
        made = [workspace.coefficients, workspace.rotations, workspace.rotation_sums, workspace.sums]
        rotations = code.load_pointer(self.record, Call.ROTATIONS)
        b.call(self.driver.cotangents, [rotations, *made, self._get(Call.NUM_ROTATIONS)])
        b.call(self.driver.compose_back, [*self._composed, workspace.sums, self._get(Call.NUM_RECIPES)])

    def _clear(self, sums: Value, start: Value, end: Value) -> None:
        """Sets sums to 0."""
        code, b = self.code, self.code.builder
        with code.loop(b.lshr(b.sub(end, start), int64(VECTOR_SHIFT))) as loop:
            code.store(code.zero, sums, b.add(start, b.shl(loop.index, int64(VECTOR_SHIFT))))

    def _do_tile(self, number: Value) -> None:
        code, b, workspace = self.code, self.code.builder, self.workspace
        lanes = Lanes(code, b.mul(number, int64(code.num_lanes)), self._get(Call.BATCH))
        per_example = code.load_pointer(self.record, Call.PER_EXAMPLE)
        with code.loop(self._get(Call.NUM_PER_EXAMPLE)) as loop:
            place = b.add(self.per_example_offset, b.shl(loop.index, int64(VECTOR_SHIFT)))
            code.store(lanes.take(per_example, loop.index), workspace.coefficients, place)
        if self.driver.backward:
            self._clear(workspace.sums, self.per_example_offset, workspace.starts[-1])
        code.store_rows(workspace.tile, [int64(0)], [(code.one, code.zero if code.is_complex else None)])
        with self._rows_of(Call.BEGIN, Call.NUM_BEGIN) as (begin, place, row, half):
            real, imag = self._take(lanes, begin, row, half)
            if imag is not None:
                imag = b.select(b.icmp_signed("==", half, int64(0)), code.zero, imag)
            code.store_rows(workspace.tile, [place], [(real, imag)])
        gates = code.load_pointer(self.record, Call.GATES), self._get(Call.NUM_GATES)
        listed = [
            *(code.load_pointer(self.record, place) for place in (Call.RECORDS, Call.CONTENT)),
            workspace.scratch,
        ]
        after = [[workspace.coefficients], [workspace.rotations, workspace.tables], [workspace.coefficients, *listed]]
        self._follow(*gates, self.driver.apply, [workspace.tile], after, False)
        if not self.driver.backward:
            self._put_out(lanes, workspace.tile)
            self._read(lanes)
            return
        self._read_back(lanes)
        gates = code.load_pointer(self.record, Call.GATES_BACK), self._get(Call.NUM_GATES_BACK)
        numbers = [workspace.coefficients, workspace.sums]
        after = [numbers, [workspace.rotations, workspace.tables, workspace.rotation_sums], [*numbers, *listed]]
        self._follow(*gates, self.driver.undo, [workspace.tile, workspace.cotangent], after, True)
        self._put_out(lanes, workspace.cotangent)
        sums = code.load_pointer(self.record, Call.PER_EXAMPLE_SUMS)
        with code.loop(self._get(Call.NUM_PER_EXAMPLE)) as loop:
            place = b.add(self.per_example_offset, b.shl(loop.index, int64(VECTOR_SHIFT)))
            lanes.put(code.load(workspace.sums, place), sums, loop.index)

    def _put_out(self, lanes: Lanes, tile: Value) -> None:
        """Puts states, or their cotangents, where they are wanted."""
        with self._rows_of(Call.END, Call.NUM_END) as (end, place, row, half):
            self._put(lanes, self.code.load_rows(tile, [place])[0], end, row, half)

    @contextmanager
    def _rows_of(self, array: Call, num_rows: Call) -> Iterator[tuple[Value, Value, Value, Value]]:
        """Does the body for each row of a tile where there is such an array.

        Yields the array, the row's place and number, and where imaginary parts begin; 0 where the array has none.
        """
        code, b, rows = self.code, self.code.builder, self.workspace.rows
        count = self._get(num_rows)
        half = b.sub(count, rows)
        with b.if_then(b.icmp_signed("!=", count, int64(0))), code.loop(rows) as loop:
            yield code.load_pointer(self.record, array), b.shl(loop.index, code.row_shift), loop.index, half

    def _take(self, lanes: Lanes, array: Value, index: Value, half: Value) -> Complex:
        """Returns a row of amplitudes from an array whose second half has the imaginary parts."""
        imag = lanes.take(array, self.code.builder.add(half, index)) if self.code.is_complex else None
        return lanes.take(array, index), imag

    def _put(self, lanes: Lanes, row: Complex, array: Value, index: Value, half: Value) -> None:
        """Puts a row of amplitudes into such an array; real parts last, which are the same places where half is 0."""
        if row[1] is not None:
            lanes.put(row[1], array, self.code.builder.add(half, index))
        lanes.put(row[0], array, index)

    def _follow(
        self,
        table: Value,
        count: Value,
        kernels: Mapping[int, Any],
        before: Sequence[Value],
        after: Sequence[Sequence[Value]],
        reverse: bool,
    ) -> None:
        """Calls the kernel of each entry of a table: with what gates, rotations, or gates of lists want after it."""

        def call(kind: int, entry: Value) -> None:
            rest = after[(kind in GIVENS.values()) + 2 * (kind in CPU_FORMS.values())]
            self.code.builder.call(kernels[kind], [*before, entry, *rest])

        follow(self.code, table, count, kernels, call, reverse)

    def _row_to_read(self, index: Value) -> Value:
        b, rows = self.code.builder, self.code.load_pointer(self.record, Call.READ)
        return b.sext(b.load(self.code.at(rows, b.shl(index, int64(2)), INT32)), INT64)

    def _read(self, lanes: Lanes) -> None:
        """Puts out what is read from the final state."""
        code, b, workspace = self.code, self.code.builder, self.workspace
        values, count = code.load_pointer(self.record, Call.VALUES), self._get(Call.NUM_READ)
        with b.if_else(b.icmp_signed("!=", self._get(Call.STATE), int64(0))) as (amplitudes, strings):
            with amplitudes, code.loop(count) as loop:
                place = b.shl(self._row_to_read(loop.index), code.row_shift)
                ((real, imag),) = code.load_rows(workspace.tile, [place])
                self._put(lanes, (real, code.zero if imag is None else imag), values, loop.index, count)
            with strings:
                b.call(self.driver.squares, [workspace.tile, workspace.probabilities, workspace.rows])
                b.call(self.driver.walsh_hadamard, [workspace.probabilities, workspace.rows, self._get(Call.QUBITS)])
                with code.loop(count) as loop:
                    place = b.shl(self._row_to_read(loop.index), int64(VECTOR_SHIFT))
                    lanes.put(code.load(workspace.probabilities, place), values, loop.index)

    def _read_back(self, lanes: Lanes) -> None:
        """Makes the cotangent of the final state from those of what is read."""
        code, b, workspace = self.code, self.code.builder, self.workspace
        values, count = code.load_pointer(self.record, Call.VALUES), self._get(Call.NUM_READ)
        with b.if_else(b.icmp_signed("!=", self._get(Call.STATE), int64(0))) as (amplitudes, strings):
            with amplitudes, code.loop(count) as loop:
                place = b.shl(self._row_to_read(loop.index), code.row_shift)
                code.store_rows(workspace.cotangent, [place], [self._take(lanes, values, loop.index, count)])
            with strings:
                with code.loop(workspace.rows) as loop:
                    code.store(code.zero, workspace.probabilities, b.shl(loop.index, int64(VECTOR_SHIFT)))
                with code.loop(count) as loop:
                    place = b.shl(self._row_to_read(loop.index), int64(VECTOR_SHIFT))
                    earlier = code.load(workspace.probabilities, place)
                    code.store(b.fadd(earlier, lanes.take(values, loop.index)), workspace.probabilities, place)
                b.call(self.driver.walsh_hadamard, [workspace.probabilities, workspace.rows, self._get(Call.QUBITS)])
                b.call(
                    self.driver.weighting,
                    [workspace.tile, workspace.probabilities, workspace.cotangent, workspace.rows],
                )
