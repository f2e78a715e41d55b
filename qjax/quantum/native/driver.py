"""The function that XLA calls: it shares the tiles of a batch among XLA's threads and leads each through the table.

A share is tiles at equal distances, whichever thread does it, and has sums of its own: so no result depends on which
thread was quicker.

Operands, for the forward pass: the table of the gates, int32 `[gates, ENTRY]`; the table for the way back; the rows
to read, int32; the coefficients that all examples share, `[., 1]`, and those of each, `[., batch]`; the `Facts`.
Results: the values read, `[., batch]`; the final states, `[parts * rows, batch]`, or `[0, batch]` where these are not
kept; and room to work in. For the reverse pass what was kept and the cotangents of the values follow the operands,
and the results are the cotangents of the coefficients, shared and of each example, and room to work in. Where states
were kept, the table of the gates has those entries alone that make coefficients.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llvmlite import ir

from qjax.quantum.native.call_frame import (
    BUFFER_DATA,
    BUFFER_SHAPE,
    FRAME_ARGUMENTS,
    FRAME_RESULTS,
    answer_version,
)
from qjax.quantum.native.code import INT32, INT64, POINTER, VOID, Arithmetic, Code, Complex, Value, int32, int64
from qjax.quantum.native.forms import ENTRY, FORMS, KIND, VECTOR_SHIFT, Facts, Form
from qjax.quantum.native.job import Job, change, release, schedule_workers
from qjax.quantum.native.kernels import backward, forward, squares, walsh_hadamard, weighting


class Driver:
    """The module of one pass, forward or reverse; `module` holds its code, whose entry point is `handler`."""

    def __init__(self, arithmetic: Arithmetic, backward: bool) -> None:
        """Writes the code.

        Args:
          arithmetic: what the amplitudes are.
          backward: whether it is the reverse pass.
        """
        self.module, self.arithmetic, self.backward = ir.Module("qjax"), arithmetic, backward
        self.apply = [self._function(f"apply_{_name(form)}", 3, partial(_forward, form=form)) for form in FORMS]
        self.undo = [
            None if form[0] == "pair" else self._function(f"undo_{_name(form)}", 5, partial(_backward, form=form))
            for form in (FORMS if backward else ())
        ]
        self.squares = self._function("squares", 2, squares, 1)
        self.weighting = self._function("weighting", 3, weighting, 1)
        self.walsh_hadamard = self._function("walsh_hadamard", 1, walsh_hadamard, 2)
        self.worker = _Worker(self).function
        self._write_handler()

    def _function(
        self, name: str, num_pointers: int, write: Callable[..., None], num_integers: int = 0
    ) -> ir.Function:
        """Returns the function of addresses, and then of 64-bit integers, whose body is written so."""
        kinds = [POINTER] * num_pointers + [INT64] * num_integers
        code = Code(self.module, name, VOID, kinds, self.arithmetic)
        write(code, *code.arguments)
        code.builder.ret_void()
        return code.function

    def _write_handler(self) -> None:
        code = Code(self.module, "handler", POINTER, [POINTER], self.arithmetic)
        b, frame = code.builder, code.arguments[0]
        answer_version(code, frame)
        job = b.call(code.external("malloc", POINTER, [INT64]), [int64(8 * len(Job))])
        self._fill(code, frame, job)
        schedule_workers(code, frame, job, self.worker)
        b.call(self.worker, [job])
        wait, ready = b.append_basic_block("wait"), b.append_basic_block("ready")
        b.branch(wait)
        b.position_at_end(wait)
        done = b.load_atomic(code.at(job, int64(8 * Job.DONE), INT64), "acquire", 8)
        b.cbranch(b.icmp_signed("<", done, code.load_int64(job, Job.WORKERS)), wait, ready)
        b.position_at_end(ready)
        if self.backward:
            _add_up(code, job)
        release(code, job)
        b.ret(ir.Constant(POINTER, None))

    def _fill(self, code: Code, frame: Value, job: Value) -> None:
        """Writes into the job what the operands and results are."""
        arguments, results = code.load_pointer(frame, FRAME_ARGUMENTS), code.load_pointer(frame, FRAME_RESULTS)

        def data(array: Value, index: int) -> Value:
            return code.load_int64(code.load_pointer(array, index), BUFFER_DATA)

        def length(index: int, array: Value = arguments) -> Value:
            return code.load_int64(code.load_pointer(code.load_pointer(array, index), BUFFER_SHAPE), 0)

        places = ((Job.GATES, Job.NUM_GATES), (Job.GATES_BACK, Job.NUM_GATES_BACK), (Job.READ, Job.NUM_READ))
        for index, (place, count) in enumerate((*places, (Job.SHARED, Job.NUM_SHARED), (Job.OWN, Job.NUM_OWN))):
            code.store_int64(data(arguments, index), job, place)
            code.store_int64(length(index), job, count)
        facts = code.load_pointer(code.load_pointer(arguments, 5), BUFFER_DATA)
        for fact in Facts:
            code.store_int64(code.builder.sext(code.load_int32(facts, fact), INT64), job, Job[fact.name])
        if self.backward:
            kept, values, sums = (arguments, 6), data(arguments, 7), [data(results, 0), data(results, 1)]
        else:
            kept, values, sums = (results, 1), data(results, 0), [int64(0), int64(0)]
        last = (values, *sums, data(results, 2), data(*kept), length(kept[1], kept[0]))
        names = (Job.VALUES, Job.SHARED_SUMS, Job.OWN_SUMS, Job.SCRATCH, Job.KEPT, Job.NUM_KEPT)
        for value, place in zip(last, names, strict=True):
            code.store_int64(value, job, place)
        for place in (Job.NEXT, Job.DONE):
            code.store_int64(int64(0), job, place)
        workers = code.load_int64(job, Job.WORKERS)
        code.store_int64(code.builder.add(workers, int64(1)), job, Job.REFERENCES)  # one is the caller's own


def _name(form: Form) -> str:
    return "_".join(map(str, form))


def _forward(code: Code, *operands: Value, form: Form) -> None:
    forward(code, form, *operands)


def _backward(code: Code, *operands: Value, form: Form) -> None:
    backward(code, form, *operands)


def _add_up(code: Code, job: Value) -> None:
    """Adds the sums of the shared coefficients over the workers and the examples of a tile."""
    b = code.builder
    workers = code.load_int64(job, Job.WORKERS)
    parts = _Room(code, job, int64(0))
    room, sums = code.load_int64(job, Job.ROOM), code.load_pointer(job, Job.SHARED_SUMS)
    add = code.intrinsic("vector.reduce.fadd", code.real, [code.real, code.vector])
    with code.loop(code.load_int64(job, Job.NUM_SHARED)) as loop:
        place = b.shl(loop.index, int64(VECTOR_SHIFT))
        with code.loop(workers, [code.zero]) as inner:
            here = b.add(b.mul(inner.index, room), place)
            inner.next = [b.fadd(inner.values[0], code.load(parts.sums, here))]
        nothing = ir.Constant(code.real, 0.0)
        total = b.call(add, [nothing, inner.values[0]], fastmath=("reassoc",))
        b.store(total, code.at(sums, b.mul(loop.index, int64(code.itemsize)), code.real))


class _Room:
    """The parts of a worker's room, in the order of `room_bytes`: those of the way back last."""

    def __init__(self, code: Code, job: Value, share: Value) -> None:
        b = code.builder
        rows = b.shl(int64(1), code.load_int64(job, Job.QUBITS))
        counts = [code.load_int64(job, place) for place in (Job.NUM_SHARED, Job.NUM_OWN, Job.NUM_MADE)]
        count = b.add(b.add(counts[0], counts[1]), counts[2])
        numbers = b.shl(count, int64(VECTOR_SHIFT))
        place = b.mul(share, code.load_int64(job, Job.ROOM))
        self.tile = b.gep(code.load_pointer(job, Job.SCRATCH), [place])
        self.probabilities = b.gep(self.tile, [b.shl(rows, code.row_shift)])
        self.coefficients = b.gep(self.probabilities, [b.shl(rows, int64(VECTOR_SHIFT))])
        self.sums = b.gep(self.coefficients, [numbers])
        self.cotangent = b.gep(self.sums, [numbers])
        self.rows = rows


class _Worker:
    """The function that a thread runs: takes one share after the other until none is left."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.code = Code(driver.module, "work", VOID, [POINTER], driver.arithmetic)
        self.job, self.function = self.code.arguments[0], self.code.function
        self._write()

    def _get(self, place: Job) -> Value:
        return self.code.load_int64(self.job, place)

    def _write(self) -> None:
        code, b = self.code, self.code.builder
        take, some, none = (b.append_basic_block(name) for name in ("take", "some", "none"))
        b.branch(take)
        b.position_at_end(take)
        share, workers = change(code, self.job, Job.NEXT, 1), self._get(Job.WORKERS)
        b.cbranch(b.icmp_signed("<", share, workers), some, none)
        b.position_at_end(some)
        self.room = _Room(code, self.job, share)
        self.num_shared = self._get(Job.NUM_SHARED)
        self.own_offset = b.shl(self.num_shared, int64(VECTOR_SHIFT))
        self._spread_shared()
        left = b.sub(b.add(self._get(Job.TILES), b.sub(workers, int64(1))), share)
        with code.loop(b.udiv(left, workers)) as loop:
            self._do_tile(b.add(share, b.mul(loop.index, workers)))
        change(code, self.job, Job.DONE, 1)
        b.branch(take)
        b.position_at_end(none)
        release(code, self.job)
        b.ret_void()

    def _spread_shared(self) -> None:
        """Makes a vector of each shared coefficient."""
        code, b, shared = self.code, self.code.builder, self.code.load_pointer(self.job, Job.SHARED)
        with code.loop(self.num_shared) as loop:
            value = b.load(code.at(shared, b.mul(loop.index, int64(code.itemsize)), code.real))
            place = b.shl(loop.index, int64(VECTOR_SHIFT))
            code.store(code.splat(value), self.room.coefficients, place)
            if self.driver.backward:
                code.store(code.zero, self.room.sums, place)

    def _do_tile(self, number: Value) -> None:
        code, b, room = self.code, self.code.builder, self.room
        lanes = _Lanes(code, b.mul(number, int64(code.num_lanes)), self._get(Job.BATCH))
        own = code.load_pointer(self.job, Job.OWN)
        with code.loop(self._get(Job.NUM_OWN)) as loop:
            place = b.add(self.own_offset, b.shl(loop.index, int64(VECTOR_SHIFT)))
            code.store(lanes.take(own, loop.index), room.coefficients, place)
        if self.driver.backward:
            with code.loop(b.add(self._get(Job.NUM_OWN), self._get(Job.NUM_MADE))) as loop:
                code.store(code.zero, room.sums, b.add(self.own_offset, b.shl(loop.index, int64(VECTOR_SHIFT))))
        code.store_rows(room.tile, [int64(0)], [(code.one, code.zero if code.is_complex else None)])
        gates = code.load_pointer(self.job, Job.GATES), self._get(Job.NUM_GATES)
        self._follow(*gates, self.driver.apply, [room.tile], [room.coefficients], False)
        self._keep(lanes)
        if not self.driver.backward:
            self._read(lanes)
            return
        self._read_back(lanes)
        gates = code.load_pointer(self.job, Job.GATES_BACK), self._get(Job.NUM_GATES_BACK)
        self._follow(*gates, self.driver.undo, [room.tile, room.cotangent], [room.coefficients, room.sums], True)
        sums = code.load_pointer(self.job, Job.OWN_SUMS)
        with code.loop(self._get(Job.NUM_OWN)) as loop:
            place = b.add(self.own_offset, b.shl(loop.index, int64(VECTOR_SHIFT)))
            lanes.put(code.load(room.sums, place), sums, loop.index)

    def _keep(self, lanes: "_Lanes") -> None:
        """Puts the final states where they are kept, or gets them from there."""
        code, b, room = self.code, self.code.builder, self.room
        kept, count = code.load_pointer(self.job, Job.KEPT), self._get(Job.NUM_KEPT)
        with b.if_then(b.icmp_signed("!=", count, int64(0))), code.loop(room.rows) as loop:
            place, half = b.shl(loop.index, code.row_shift), room.rows
            if self.driver.backward:
                code.store_rows(room.tile, [place], [self._take(lanes, kept, loop.index, half)])
            else:
                self._put(lanes, code.load_rows(room.tile, [place])[0], kept, loop.index, half)

    def _take(self, lanes: "_Lanes", array: Value, index: Value, half: Value) -> Complex:
        """Returns a row of amplitudes from an array whose second half has the imaginary parts."""
        imag = lanes.take(array, self.code.builder.add(half, index)) if self.code.is_complex else None
        return lanes.take(array, index), imag

    def _put(self, lanes: "_Lanes", row: Complex, array: Value, index: Value, half: Value) -> None:
        """Puts a row of amplitudes into such an array."""
        lanes.put(row[0], array, index)
        if row[1] is not None:
            lanes.put(row[1], array, self.code.builder.add(half, index))

    def _follow(
        self,
        table: Value,
        count: Value,
        kernels: Sequence[Any],
        before: Sequence[Value],
        after: Sequence[Value],
        reverse: bool,
    ) -> None:
        """Calls the kernel of each entry of a table."""
        code, b = self.code, self.code.builder
        with code.loop(count) as loop:
            index = b.sub(b.sub(count, int64(1)), loop.index) if reverse else loop.index
            entry = b.gep(table, [b.mul(index, int64(4 * ENTRY))])
            done = b.append_basic_block("gate_done")
            switch = b.switch(code.load_int32(entry, KIND), done)
            for kind, kernel in enumerate(kernels):
                if kernel is None:
                    continue
                block = b.append_basic_block(f"form_{kind}")
                switch.add_case(int32(kind), block)
                b.position_at_end(block)
                b.call(kernel, [*before, entry, *after])
                b.branch(done)
            b.position_at_end(done)

    def _row_to_read(self, index: Value) -> Value:
        b, rows = self.code.builder, self.code.load_pointer(self.job, Job.READ)
        return b.sext(b.load(self.code.at(rows, b.shl(index, int64(2)), INT32)), INT64)

    def _read(self, lanes: "_Lanes") -> None:
        """Puts out what is read from the final state."""
        code, b, room = self.code, self.code.builder, self.room
        values, count = code.load_pointer(self.job, Job.VALUES), self._get(Job.NUM_READ)
        with b.if_else(b.icmp_signed("!=", self._get(Job.STATE), int64(0))) as (amplitudes, strings):
            with amplitudes, code.loop(count) as loop:
                place = b.shl(self._row_to_read(loop.index), code.row_shift)
                ((real, imag),) = code.load_rows(room.tile, [place])
                self._put(lanes, (real, code.zero if imag is None else imag), values, loop.index, count)
            with strings:
                b.call(self.driver.squares, [room.tile, room.probabilities, room.rows])
                b.call(self.driver.walsh_hadamard, [room.probabilities, room.rows, self._get(Job.QUBITS)])
                with code.loop(count) as loop:
                    place = b.shl(self._row_to_read(loop.index), int64(VECTOR_SHIFT))
                    lanes.put(code.load(room.probabilities, place), values, loop.index)

    def _read_back(self, lanes: "_Lanes") -> None:
        """Makes the cotangent of the final state from those of what is read."""
        code, b, room = self.code, self.code.builder, self.room
        values, count = code.load_pointer(self.job, Job.VALUES), self._get(Job.NUM_READ)
        with b.if_else(b.icmp_signed("!=", self._get(Job.STATE), int64(0))) as (amplitudes, strings):
            with amplitudes, code.loop(count) as loop:
                place = b.shl(self._row_to_read(loop.index), code.row_shift)
                code.store_rows(room.cotangent, [place], [self._take(lanes, values, loop.index, count)])
            with strings:
                with code.loop(room.rows) as loop:
                    code.store(code.zero, room.probabilities, b.shl(loop.index, int64(VECTOR_SHIFT)))
                with code.loop(count) as loop:
                    place = b.shl(self._row_to_read(loop.index), int64(VECTOR_SHIFT))
                    earlier = code.load(room.probabilities, place)
                    code.store(b.fadd(earlier, lanes.take(values, loop.index)), room.probabilities, place)
                b.call(self.driver.walsh_hadamard, [room.probabilities, room.rows, self._get(Job.QUBITS)])
                b.call(self.driver.weighting, [room.tile, room.probabilities, room.cotangent, room.rows])


class _Lanes:
    """The examples of a tile in arrays `[., batch]`; the last tile may have fewer than a vector has numbers."""

    def __init__(self, code: Code, first: Value, batch: Value) -> None:
        b = code.builder
        self.code = code
        self.start, self.stride = (b.mul(value, int64(code.itemsize)) for value in (first, batch))
        numbers = ir.Constant(ir.VectorType(INT32, code.num_lanes), list(range(code.num_lanes)))
        self.mask = b.icmp_signed("<", numbers, code.splat(b.trunc(b.sub(batch, first), INT32)))

    def _place(self, array: Value, row: Value) -> Value:
        b = self.code.builder
        return b.gep(array, [b.add(self.start, b.mul(row, self.stride))])

    def take(self, array: Value, row: Value) -> Value:
        """Returns the tile's part of a row; 0 where there is no example."""
        code, kinds = self.code, [POINTER, INT32, self.mask.type, self.code.vector]
        load = code.intrinsic("masked.load", code.vector, kinds)
        return code.builder.call(load, [self._place(array, row), int32(code.itemsize), self.mask, code.zero])

    def put(self, value: Value, array: Value, row: Value) -> None:
        """Sets the tile's part of a row."""
        code, kinds = self.code, [self.code.vector, POINTER, INT32, self.mask.type]
        store = code.intrinsic("masked.store", VOID, kinds)
        code.builder.call(store, [value, self._place(array, row), int32(code.itemsize), self.mask])
