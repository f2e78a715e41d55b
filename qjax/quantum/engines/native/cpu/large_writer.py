"""Helpers to write LLVM IR for large states on a CPU, whose vectors hold neighbouring amplitudes, not examples."""

from collections.abc import Sequence
from typing import Any

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
    int32,
    int64,
)
from qjax.quantum.engines.native.table.layout import VECTOR_BYTES, Entry, Form


class LargeCode(Code):
    """A function that is being written."""

    max_kept_sums = 16

    def orient(self, form: Form, entry: Value, numbers: list[Complex]) -> list[Complex]:
        """Returns the numbers for each lane: where a qubit is flipped, rows and columns are exchanged."""
        kind, qubits, _ = form
        dim = 1 << qubits
        if kind == "pair":
            return [
                *self._exchanged(numbers[:4], self._flipped(entry, 0), 3),
                *self._exchanged(numbers[4:], self._flipped(entry, 1), 3),
            ]
        for k in range(qubits):
            value = dim >> (k + 1)
            numbers = self._exchanged(
                numbers, self._flipped(entry, k), value if kind == "diagonal" else value * (dim + 1)
            )
        return numbers

    def _exchanged(self, numbers: Sequence[Complex], flipped: Value, places: int) -> list[Complex]:
        """Returns the numbers; in the lanes that are flipped, number k is exchanged with number k ^ places."""
        select = self.builder.select
        pairs = [(number, numbers[k ^ places]) for k, number in enumerate(numbers)]
        return [
            (select(flipped, other[0], row[0]), None if row[1] is None else select(flipped, other[1], row[1]))
            for row, other in pairs
        ]

    def _flipped(self, entry: Value, qubit: int) -> Value:
        """Returns the lanes in which a qubit is flipped."""
        b = self.builder
        weights = b.and_(b.lshr(self.load_int32(entry, Entry.LANES), int32(4 * qubit)), int32(15))
        return self.odd_lanes(int32(0), weights)

    @property
    def everywhere(self) -> Value:
        return ir.Constant(ir.VectorType(ir.IntType(1), self.num_lanes), [1] * self.num_lanes)

    def odd_lanes(self, parity: Value, lanes: Value) -> Value:
        b, kind = self.builder, ir.VectorType(INT32, self.num_lanes)
        seen = b.and_(ir.Constant(kind, list(range(self.num_lanes))), self.splat(lanes))
        ones = b.call(self.external(f"llvm.ctpop.v{self.num_lanes}i32", kind, [kind]), [seen])
        return b.icmp_signed(
            "!=", b.and_(b.xor(ones, self.splat(parity)), self.splat(int32(1))), self.splat(int32(0))
        )

    def any_lane(self, where: Value) -> Value:
        bits = ir.IntType(self.num_lanes)
        return self.builder.icmp_unsigned("!=", self.builder.bitcast(where, bits), ir.Constant(bits, 0))


def write_transpose(module: ir.Module, arithmetic: Arithmetic) -> ir.Function:
    """Writes the function (tile, rows) that transposes the lanes of a vector with as many neighbouring rows."""
    code = LargeCode(module, "turn", VOID, [POINTER, INT64], arithmetic)
    tile, rows = code.arguments
    b, lanes = code.builder, code.num_lanes
    with code.loop(b.udiv(rows, int64(lanes))) as loop:
        first = b.mul(loop.index, int64(lanes))
        for part in range(1 + code.is_complex):
            places = [
                b.add(b.shl(b.add(first, int64(k)), code.row_shift), int64(VECTOR_BYTES * part)) for k in range(lanes)
            ]
            for place, vector in zip(places, _transposed(code, [code.load(tile, p) for p in places]), strict=True):
                code.store(vector, tile, place)
    b.ret_void()
    return code.function


def _transposed(code: Code, vectors: list[Value]) -> list[Value]:
    """Returns the transpose of a square matrix, bit by bit: each step exchanges one bit of row and column."""
    b, lanes = code.builder, code.num_lanes
    step = 1
    while step < lanes:
        low = [k if not k & step else lanes + (k ^ step) for k in range(lanes)]  # of the row whose bit is 0
        high = [(k ^ step) if not k & step else lanes + k for k in range(lanes)]
        changed: list[Any] = list(vectors)
        for k in range(lanes):
            if not k & step:
                pair = vectors[k], vectors[k | step]
                changed[k], changed[k | step] = (
                    b.shuffle_vector(*pair, ir.Constant(ir.VectorType(INT32, lanes), places))
                    for places in (low, high)
                )
        vectors = changed
        step *= 2
    return vectors
