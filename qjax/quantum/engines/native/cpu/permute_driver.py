"""The function that XLA calls on a CPU to permute the amplitudes of large states; see `permute.py`.

Operands: the arrays of `Moves`; the columns of A and then b, int32 `[n + 1]`; the states `[batch, parts * 2**n]`; the
first words of `LargeCall`. Results: the states, and a workspace.
"""

from qjax.quantum.engines.native.cpu.large_driver import LargeDriver, LargeWorker, LargeWorkspace
from qjax.quantum.engines.native.cpu.large_writer import LargeCode
from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, INT64, Arithmetic, Value, int32, int64
from qjax.quantum.engines.native.table.layout import LargeCall

OPERANDS = ("PIVOTS", "ROWS", "TARGETS", "PLACES", "STEPS", "COLUMNS", "STATE")


class PermuteDriver(LargeDriver):
    """The code of the function: `module` holds it, with the entry point `handler`."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        """Writes the code.

        Args:
          arithmetic: what the amplitudes are.
        """
        self.module, self.arithmetic, self.is_backward = ir.Module("qjax"), arithmetic, False
        self.operands, self.results = OPERANDS, ("NEW_STATE", "SCRATCH")
        self.worker = _Permuter(self).function
        self._write_handler()


class _Permuter(LargeWorker):
    def _do_share(self, number: Value, share: Value, shares: Value) -> None:
        self.workspace, self.rows = LargeWorkspace(self.code, self.record, share), self._pointer(LargeCall.ROWS)
        self._do_tiles(share, shares, self._do_tile)

    def _pointer(self, place: LargeCall) -> Value:
        return self.code.load_pointer(self.record, place)

    def _do_tile(self, example: Value, coset: Value) -> None:
        code, b = self.code, self.code.builder
        first = self._first_row(self._pointer(LargeCall.PIVOTS), coset)
        total, parts = self._get(LargeCall.TOTAL), int64(1 + code.is_complex)
        columns = self._pointer(LargeCall.COLUMNS)
        offset = b.load(code.at(columns, b.shl(total, int64(2)), INT32))
        with code.loop(total, [offset]) as loop:
            bit = b.and_(b.lshr(first, b.trunc(loop.index, INT32)), int32(1))
            column = b.load(code.at(columns, b.shl(loop.index, int64(2)), INT32))
            loop.next = [b.xor(loop.values[0], b.and_(column, b.sub(int32(0), bit)))]
        source = loop.values[0]
        size = b.mul(b.shl(int64(1), total), int64(code.itemsize))
        start = b.mul(b.mul(example, parts), size)
        below = int32(code.num_lanes - 1)
        chunk, inside = b.and_(source, b.not_(below)), b.and_(source, below)
        self._move(self.workspace.tile, b.gep(self._pointer(LargeCall.STATE), [start]), chunk, size, load=True)
        self._put(b.gep(self._pointer(LargeCall.NEW_STATE), [start]), first, inside, size)

    def _put(self, array: Value, first: Value, inside: Value, size: Value) -> None:
        """Writes the rows of a coset, number by number."""
        code, b = self.code, self.code.builder
        targets, places, steps = map(self._pointer, (LargeCall.TARGETS, LargeCall.PLACES, LargeCall.STEPS))
        shift = int32(code.num_lanes.bit_length() - 1)
        with code.loop(self.workspace.rows) as loop:
            offset = b.shl(loop.index, int64(2))
            row = b.zext(b.xor(b.load(code.at(targets, offset, INT32)), first), INT64)
            base = b.xor(b.load(code.at(places, offset, INT32)), inside)
            out = b.gep(array, [b.mul(row, int64(code.itemsize))])
            for lane in range(code.num_lanes):
                place = b.xor(base, code.load_int32(steps, lane))
                # A row of the tile has its real parts and then its imaginary ones.
                row_of, lane_of = b.lshr(place, shift), b.and_(place, int32(code.num_lanes - 1))
                source = b.add(b.shl(b.zext(row_of, INT64), code.row_shift), self._bytes(code, lane_of))
                for part in range(1 + code.is_complex):
                    real_or_imag = b.add(source, b.mul(code.to_imag, int64(part)))
                    value = b.load(code.at(self.workspace.tile, real_or_imag, code.real))
                    target = b.add(b.mul(size, int64(part)), int64(lane * code.itemsize))
                    b.store(value, code.at(out, target, code.real))

    def _bytes(self, code: LargeCode, count: Value) -> Value:
        return code.builder.mul(code.builder.zext(count, INT64), int64(code.itemsize))
