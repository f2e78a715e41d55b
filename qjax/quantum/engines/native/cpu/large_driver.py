"""The function that XLA calls for large states on a CPU: its threads share the cosets of one pass after the other.

Operands: the entries of all passes, int32 `[entries, ENTRY]`; for each pass the first of them and their number, int32
`[passes, 2]`, the bits below its pivots, `[passes, k]`, and the rows of its first coset whose numbers are multiples
of the places in a vector, `[passes, .]`; records of strings of Z, `[., RECORD_WORDS]`; matrices and permutations,
`[.]`; constants of float64 and then recipes of gates, in int32; what all examples share, from which the recipes make
the other coefficients (`recipe_code.py`); then the two halves whose product the first state is, `[parts, rows]`, or
the first states, `[batch, parts * 2**n]`, and nothing; for the reverse pass the states after all gates, an array like
that, and their cotangents; the first words of `LargeCall`. Results: the states, of the reverse pass as they were
before all gates, with their cotangents and the sums of the coefficients; and a workspace.

A share is cosets at equal distances, with its own workspace and sums, whichever thread does it: no result depends on
which thread was quicker.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from qjax.quantum.engines.native.cpu.call_record import release, schedule_workers
from qjax.quantum.engines.native.cpu.kernel_list import kernels, kernels_back, listed_kernels
from qjax.quantum.engines.native.cpu.large_writer import LargeCode, write_transpose
from qjax.quantum.engines.native.cpu.recipe_code import exact_function, write_compose, write_compose_back
from qjax.quantum.engines.native.cpu.workspace import follow
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, POINTER, VOID, Arithmetic, Value, int32, int64
from qjax.quantum.engines.native.ir.xla_call import BUFFER_DATA, FRAME_ARGUMENTS, FRAME_RESULTS, answer_version
from qjax.quantum.engines.native.table.layout import (
    CPU_FORMS,
    MAKER_KINDS,
    START,
    TRANSPOSE,
    VECTOR_SHIFT,
    Entry,
    LargeCall,
)

_OPERANDS = ("ENTRIES", "COUNTS", "PIVOTS", "ROWS", "RECORDS", "CONTENT", "NUMBERS", "SHARED")
# Of Linux: madvise takes addresses that are multiples of a page, and what follows is its word for large ones.
_PAGE, _LARGE_PAGE, _MADV_HUGEPAGE = 4096, 2**21, 14
_FORWARD, _BACKWARD = ("HIGH", "LOW"), ("STATE", "COTANGENT")


class LargeDriver:
    """The module of one pass, forward or reverse; `module` holds its code, whose entry point is `handler`."""

    def __init__(self, arithmetic: Arithmetic, is_backward: bool, lists: bool = False) -> None:
        """Writes the code.

        Args:
          arithmetic: what the amplitudes are.
          is_backward: whether it is the reverse pass.
          lists: whether it has gates with lists.
        """
        self.module, self.arithmetic, self.is_backward = ir.Module("qjax"), arithmetic, is_backward
        self.operands: tuple[str, ...] = (*_OPERANDS, *(_BACKWARD if is_backward else _FORWARD))
        self.results = ("NEW_STATE", "NEW_COTANGENT", "SUMS", "SCRATCH") if is_backward else ("NEW_STATE", "SCRATCH")
        self.transpose = write_transpose(self.module, arithmetic)
        forms = kernels_back() if is_backward else kernels()
        chosen = {
            kind: facts for kind, facts in forms.items() if kind < TRANSPOSE and kind not in (*MAKER_KINDS, START)
        }
        chosen |= listed_kernels(is_backward) if lists else {}
        self.kernels = {kind: self._kernel(*facts) for kind, facts in chosen.items()}
        exact = partial(exact_function, self.module, arithmetic)
        self.compose = exact("compose", 3, write_compose)
        self.compose_back = exact("compose_back", 4, write_compose_back) if is_backward else None
        self.worker = LargeWorker(self).function
        self._write_handler()

    def _kernel(self, name: str, count: int, write: Callable[..., None]) -> ir.Function:
        """Returns the function of so many addresses, and a coset, whose body is written so."""
        code = LargeCode(self.module, name, VOID, [POINTER] * count + [INT32], self.arithmetic)
        *pointers, code.coset = code.arguments
        write(code, *pointers)
        code.builder.ret_void()
        return code.function

    def _write_handler(self) -> None:
        code = LargeCode(self.module, "handler", POINTER, [POINTER], self.arithmetic)
        b, frame = code.builder, code.arguments[0]
        answer_version(code, frame)
        arguments, results = code.load_pointer(frame, FRAME_ARGUMENTS), code.load_pointer(frame, FRAME_RESULTS)

        def data(array: Value, index: int) -> Value:
            return code.load_int64(code.load_pointer(array, index), BUFFER_DATA)

        facts = b.inttoptr(data(arguments, len(self.operands)), POINTER)
        passes = b.sext(code.load_int32(facts, LargeCall.PASSES), INT64)
        words = b.add(int64(len(LargeCall)), b.shl(passes, int64(1)))
        record = b.call(code.external("calloc", POINTER, [INT64, INT64]), [words, int64(8)])
        for index, name in enumerate(self.operands):
            code.store_int64(data(arguments, index), record, LargeCall[name])
        for index, name in enumerate(self.results):
            code.store_int64(data(results, index), record, LargeCall[name])
        for fact in range(LargeCall.ENTRIES):
            code.store_int64(b.sext(code.load_int32(facts, fact), INT64), record, fact)
        workers = b.sext(code.load_int32(facts, LargeCall.WORKERS), INT64)
        code.store_int64(b.add(workers, int64(1)), record, LargeCall.REFERENCES)  # one is the caller's own
        if sys.platform == "linux":
            _want_large_pages(code, record, self.results)
        if "SHARED" in self.operands:
            self._make_coefficients(code, record)
        schedule_workers(code, frame, record, self.worker, LargeCall.REFERENCES)
        b.call(self.worker, [record])
        if self.is_backward:
            self._add_up(code, record)
        release(code, record, LargeCall.REFERENCES)
        b.ret(ir.Constant(POINTER, None))

    def _make_coefficients(self, code: LargeCode, record: Value) -> None:
        """Makes a vector of each coefficient, before the shares' workspaces."""
        b, scratch = code.builder, code.load_pointer(record, LargeCall.SCRATCH)
        shared, numbers = (code.load_pointer(record, place) for place in (LargeCall.SHARED, LargeCall.NUMBERS))
        num_shared = code.load_int64(record, LargeCall.NUM_SHARED)
        with code.loop(num_shared) as loop:
            value = b.load(code.at(shared, b.mul(loop.index, int64(code.itemsize)), code.real))
            code.store_real(code.splat(value), scratch, loop.index)
        with code.loop(code.load_int64(record, LargeCall.NUM_CONSTANTS)) as loop:
            value = b.load(code.at(numbers, b.shl(loop.index, int64(3)), ir.DoubleType()), align=4)
            code.store_real(code.splat(code.cast(value, code.real)), scratch, b.add(num_shared, loop.index))
        b.call(self.compose, [*_recipes(code, record), code.load_int64(record, LargeCall.NUM_RECIPES)])

    def _add_up(self, code: LargeCode, record: Value) -> None:
        """Adds the sums over the shares, goes back through the recipes, and adds over what a vector holds."""
        b, whole = code.builder, LargeWorkspace(code, record, int64(0)).sums
        sums, shares = code.load_pointer(record, LargeCall.SUMS), code.load_int64(record, LargeCall.SHARES)
        with code.loop(code.load_int64(record, LargeCall.NUM_COEFFICIENTS)) as loop:
            with code.loop(shares, [code.zero]) as inner:
                workspace = LargeWorkspace(code, record, inner.index)
                inner.next = [b.fadd(inner.values[0], code.load_real(workspace.sums, loop.index))]
            code.store_real(inner.values[0], whole, loop.index)
        b.call(self.compose_back, [*_recipes(code, record), whole, code.load_int64(record, LargeCall.NUM_RECIPES)])
        add = code.intrinsic("vector.reduce.fadd", code.real, [code.real, code.vector])
        with code.loop(code.load_int64(record, LargeCall.NUM_SHARED)) as loop:
            lane_sums = code.load_real(whole, loop.index)
            total = b.call(add, [ir.Constant(code.real, 0.0), lane_sums], fastmath=("reassoc",))
            b.store(total, code.at(sums, b.mul(loop.index, int64(code.itemsize)), code.real))


def _want_large_pages(code: LargeCode, record: Value, results: Sequence[str]) -> None:
    """Asks for large pages where new states are: cosets lie far apart, and each touches many pages."""
    b = code.builder
    advise = code.external("madvise", INT32, [POINTER, INT64, INT32])
    count = b.shl(code.load_int64(record, LargeCall.BATCH), code.load_int64(record, LargeCall.TOTAL))
    size = b.mul(count, int64(code.itemsize * (1 + code.is_complex)))
    for name in results:
        if not name.startswith("NEW"):
            continue
        start = b.and_(b.add(code.load_int64(record, LargeCall[name]), int64(_PAGE - 1)), int64(-_PAGE))
        with b.if_then(b.icmp_signed(">", size, int64(_LARGE_PAGE))):
            b.call(advise, [b.inttoptr(start, POINTER), b.sub(size, int64(_PAGE)), int32(_MADV_HUGEPAGE)])


def _recipes(code: LargeCode, record: Value) -> list[Value]:
    """Returns the addresses that the functions that compose gates are given first."""
    numbers, count = code.load_pointer(record, LargeCall.NUMBERS), code.load_int64(record, LargeCall.NUM_CONSTANTS)
    recipes = code.builder.gep(numbers, [code.builder.shl(count, int64(3))])
    return [recipes, code.load_pointer(record, LargeCall.SHARED), code.load_pointer(record, LargeCall.SCRATCH)]


class LargeWorkspace:
    """The parts of a share's workspace: its tile; in the reverse pass its cotangent and sums; and scratch."""

    def __init__(self, code: LargeCode, record: Value, share: Value) -> None:
        b = code.builder
        count = code.load_int64(record, LargeCall.NUM_COEFFICIENTS)
        self.coefficients = code.load_pointer(record, LargeCall.SCRATCH)
        begin = b.add(b.shl(count, int64(VECTOR_SHIFT)), b.mul(share, code.load_int64(record, LargeCall.WORKSPACE)))
        self.tile = b.gep(self.coefficients, [begin])
        lanes_shift = int64(code.num_lanes.bit_length() - 1)
        self.rows = b.lshr(b.shl(int64(1), code.load_int64(record, LargeCall.BITS)), lanes_shift)
        size = b.shl(self.rows, code.row_shift)
        self.cotangent = b.gep(self.tile, [size])
        self.sums = b.gep(self.cotangent, [size])
        self.scratch = b.gep(self.sums, [b.shl(count, int64(VECTOR_SHIFT))])


class LargeWorker:
    """The function that a thread runs: takes one share of a pass after the other, pass by pass.

    Attributes:
      rows: where the rows of the pass's first coset are.
    """

    def __init__(self, driver: LargeDriver) -> None:
        self.driver = driver
        self.code = LargeCode(driver.module, "work", VOID, [POINTER], driver.arithmetic)
        self.record, self.function = self.code.arguments[0], self.code.function
        self._write()

    def _get(self, place: LargeCall) -> Value:
        return self.code.load_int64(self.record, place)

    def _write(self) -> None:
        code, b = self.code, self.code.builder
        shares = self._get(LargeCall.SHARES)
        with code.loop(self._get(LargeCall.PASSES)) as loop:
            counters = b.add(int64(len(LargeCall)), b.shl(loop.index, int64(1)))
            places = [b.shl(b.add(counters, int64(k)), int64(3)) for k in (0, 1)]
            taken, done = (code.at(self.record, place, INT64) for place in places)
            take, some, wait, idle, ready = (
                b.append_basic_block(name) for name in ("take", "some", "wait", "idle", "ready")
            )
            b.branch(take)
            b.position_at_end(take)
            share = b.atomic_rmw("add", taken, int64(1), "seq_cst")
            b.cbranch(b.icmp_signed("<", share, shares), some, wait)
            b.position_at_end(some)
            self._do_share(loop.index, share, shares)
            b.atomic_rmw("add", done, int64(1), "seq_cst")
            b.branch(take)
            b.position_at_end(wait)
            left = b.icmp_signed("<", b.load_atomic(done, "acquire", 8), shares)
            b.cbranch(left, idle, ready)
            b.position_at_end(idle)
            b.call(code.external("sched_yield", INT32, []), [])
            b.branch(wait)
            b.position_at_end(ready)
        release(code, self.record, LargeCall.REFERENCES)
        b.ret_void()

    def _do_share(self, number: Value, share: Value, shares: Value) -> None:
        code, b = self.code, self.code.builder
        self.workspace = LargeWorkspace(code, self.record, share)
        bits = self._get(LargeCall.BITS)
        self.begins = b.icmp_signed("==", number, int64(0))
        if self.driver.is_backward:
            with b.if_then(self.begins), code.loop(self._get(LargeCall.NUM_COEFFICIENTS)) as loop:
                code.store_real(code.zero, self.workspace.sums, loop.index)
            number = b.sub(b.sub(self._get(LargeCall.PASSES), int64(1)), number)
        self.rows = self._of_pass(LargeCall.ROWS, number, self.workspace.rows)
        self.pivots = self._of_pass(LargeCall.PIVOTS, number, bits)
        counts = code.load_pointer(self.record, LargeCall.COUNTS)
        first, count = (
            b.sext(b.load(code.at(counts, b.add(b.shl(number, int64(3)), int64(4 * k)), INT32)), INT64)
            for k in (0, 1)
        )
        entries = b.gep(code.load_pointer(self.record, LargeCall.ENTRIES), [b.mul(first, int64(4 * Entry.SIZE))])
        self._do_tiles(share, shares, lambda example, coset: self._do_coset(example, coset, entries, count))

    def _do_tiles(self, share: Value, shares: Value, do: Callable[[Value, Value], None]) -> None:
        """Does something to each tile of a share, given the number of its example and that of its coset."""
        code, b = self.code, self.code.builder
        cosets_shift = b.sub(self._get(LargeCall.TOTAL), self._get(LargeCall.BITS))
        tiles = b.shl(self._get(LargeCall.BATCH), cosets_shift)
        left = b.sub(b.add(tiles, b.sub(shares, int64(1))), share)
        with code.loop(b.udiv(left, shares)) as loop:
            tile = b.add(share, b.mul(loop.index, shares))
            below = b.sub(b.shl(int64(1), cosets_shift), int64(1))
            do(b.lshr(tile, cosets_shift), b.trunc(b.and_(tile, below), INT32))

    def _first_row(self, pivots: Value, coset: Value) -> Value:
        """Returns the row of a coset without any of the pivots."""
        code, b = self.code, self.code.builder
        with code.loop(self._get(LargeCall.BITS), [coset]) as loop:
            low, row = b.load(code.at(pivots, b.shl(loop.index, int64(2)), INT32)), loop.values[0]
            loop.next = [b.sub(b.shl(row, int32(1)), b.and_(row, low))]
        return loop.values[0]

    def _of_pass(self, array: LargeCall, number: Value, size: Value) -> Value:
        """Returns where a pass has its part of an array of 32-bit integers."""
        b = self.code.builder
        return b.gep(self.code.load_pointer(self.record, array), [b.shl(b.mul(number, size), int64(2))])

    def _do_coset(self, example: Value, coset: Value, entries: Value, count: Value) -> None:
        code, b, workspace = self.code, self.code.builder, self.workspace
        first = self._first_row(self.pivots, coset)
        parts = int64(1 + code.is_complex)
        size = b.mul(b.shl(int64(1), self._get(LargeCall.TOTAL)), int64(code.itemsize))
        start = b.mul(b.mul(example, parts), size)
        if self.driver.is_backward:
            moved = [(workspace.tile, LargeCall.STATE, LargeCall.NEW_STATE)]
            moved.append((workspace.cotangent, LargeCall.COTANGENT, LargeCall.NEW_COTANGENT))
            self._fetch(moved, start, first, size)
        else:
            moved = [(workspace.tile, LargeCall.HIGH, LargeCall.NEW_STATE)]
            is_made = b.icmp_signed(">=", self._get(LargeCall.LOW_QUBITS), int64(0))
            with b.if_else(b.and_(self.begins, is_made)) as (begin, go_on):
                with begin:
                    self._make(workspace.tile, first)
                with go_on:
                    self._fetch(moved, start, first, size)
        behind = b.or_(b.shl(first, int32(1)), int32(1))
        kinds = *self.driver.kernels, TRANSPOSE
        follow(code, entries, count, kinds, partial(self._do_entry, behind), self.driver.is_backward)
        for tile, _, new in moved:
            self._move(tile, b.gep(code.load_pointer(self.record, new), [start]), first, size, load=False)

    def _fetch(self, moved: Sequence[Any], start: Value, first: Value, size: Value) -> None:
        """Gets the coset from what was before the first pass, or from what the pass before has made."""
        b = self.code.builder
        for tile, old, new in moved:
            source = b.select(self.begins, *(self.code.load_pointer(self.record, place) for place in (old, new)))
            self._move(tile, b.gep(source, [start]), first, size, load=True)

    def _make(self, tile: Value, first: Value) -> None:
        """Makes the coset of the first state, a product of two halves."""
        code, b = self.code, self.code.builder
        high, low = (code.load_pointer(self.record, half) for half in (LargeCall.HIGH, LargeCall.LOW))
        below, total = self._get(LargeCall.LOW_QUBITS), self._get(LargeCall.TOTAL)
        sizes = [b.mul(b.shl(int64(1), bits), int64(code.itemsize)) for bits in (b.sub(total, below), below)]
        with code.loop(self.workspace.rows) as loop:
            row = b.zext(b.xor(b.load(code.at(self.rows, b.shl(loop.index, int64(2)), INT32)), first), INT64)
            far = b.mul(b.lshr(row, below), int64(code.itemsize))
            near = b.mul(b.and_(row, b.sub(b.shl(int64(1), below), int64(1))), int64(code.itemsize))
            parts = range(1 + code.is_complex)
            left = [
                code.splat(b.load(code.at(high, b.add(far, b.mul(sizes[0], int64(k))), code.real))) for k in parts
            ]
            right = [code.load(low, b.add(near, b.mul(sizes[1], int64(k)))) for k in parts]
            pairs = [(half[0], half[1] if code.is_complex else None) for half in (left, right)]
            code.store_rows(tile, [b.shl(loop.index, code.row_shift)], [code.multiply(*pairs)])

    def _move(self, tile: Value, array: Value, first: Value, size: Value, load: bool) -> None:
        """Gets the coset from an example's state, or puts it there."""
        code, b = self.code, self.code.builder
        with code.loop(self.workspace.rows) as loop:
            row = b.load(code.at(self.rows, b.shl(loop.index, int64(2)), INT32))
            real = b.mul(b.zext(b.xor(row, first), INT64), int64(code.itemsize))
            places = [real, b.add(real, size)][: 1 + code.is_complex]
            in_tile = b.shl(loop.index, code.row_shift)
            if load:
                parts = [code.load(array, place) for place in places]
                code.store_rows(tile, [in_tile], [(parts[0], parts[1] if code.is_complex else None)])
            else:
                for place, part in zip(places, code.load_rows(tile, [in_tile])[0], strict=False):
                    code.store(part, array, place)

    def _do_entry(self, coset: Value, kind: int, entry: Value) -> None:
        b, workspace, backward = self.code.builder, self.workspace, self.driver.is_backward
        tiles: list[Any] = [workspace.tile, workspace.cotangent] if backward else [workspace.tile]
        if kind == TRANSPOSE:
            for tile in tiles:
                b.call(self.driver.transpose, [tile, workspace.rows])
            return
        sums = [workspace.sums] if backward else []
        scratch = workspace.scratch if backward else workspace.cotangent  # which forwards there is none of
        lists = [self.code.load_pointer(self.record, place) for place in (LargeCall.RECORDS, LargeCall.CONTENT)]
        listed = [*lists, scratch] if kind in CPU_FORMS.values() else []
        b.call(self.driver.kernels[kind], [*tiles, entry, workspace.coefficients, *sums, *listed, coset])
