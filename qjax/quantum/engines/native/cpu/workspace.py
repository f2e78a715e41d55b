"""The workspace of a worker on a CPU, and how the examples of a tile lie in the caller's arrays."""

from collections.abc import Callable, Iterable

from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT32, POINTER, VOID, Code, Value, int32, int64
from qjax.quantum.engines.native.table.layout import RECORD_SHIFT, VECTOR_BYTES, VECTOR_SHIFT, Call, Entry


class Workspace:
    """The parts of a worker's workspace, in the order of `workspace_bytes`; those of the reverse pass come last.

    Attributes:
      tile: the states of some examples.
      probabilities: rows of real numbers for them.
      rotations: what is made of gates that all examples share, and `tables` of phases: see `shared_layers_code.py`.
      coefficients: of the gates.
      starts: where the coefficients of each kind begin, and end.
      rotation_sums: of the rotations, and `sums`, the cotangents of the coefficients.
      cotangent: cotangents of the states.
      scratch: for gates on any number of qubits, and phases of strings.
      rows: number of rows of a tile.
    """

    def __init__(self, code: Code, record: Value, share: Value, backward: bool = False) -> None:
        b = code.builder
        rows = b.shl(int64(1), code.load_int64(record, Call.QUBITS))
        # What lies among the coefficients, in this order.
        kinds = (Call.NUM_SHARED, Call.NUM_CONSTANTS, Call.NUM_COMPOSED, Call.NUM_PER_EXAMPLE, Call.NUM_MADE)
        self.starts = [int64(0)]
        for place in kinds:
            count = b.shl(code.load_int64(record, place), int64(VECTOR_SHIFT))
            self.starts.append(b.add(self.starts[-1], count))
        numbers = self.starts[-1]
        place = b.mul(share, code.load_int64(record, Call.WORKSPACE))
        self.tile = b.gep(code.load_pointer(record, Call.SCRATCH), [place])
        self.probabilities = b.gep(self.tile, [b.shl(rows, code.row_shift)])
        records = b.shl(code.load_int64(record, Call.NUM_ROTATIONS), int64(RECORD_SHIFT))
        self.rotations = b.gep(self.probabilities, [b.shl(rows, int64(VECTOR_SHIFT))])
        self.coefficients = b.gep(self.rotations, [records])
        self.tables = b.gep(self.coefficients, [numbers])
        size = b.mul(
            b.mul(code.load_int64(record, Call.NUM_TABLES), rows), int64((1 + code.is_complex) * code.itemsize)
        )
        size = b.and_(b.add(size, int64(VECTOR_BYTES - 1)), int64(-VECTOR_BYTES))
        self.rotation_sums = b.gep(self.tables, [size])
        self.sums = b.gep(self.rotation_sums, [records])
        self.cotangent = b.gep(self.sums, [numbers])
        self.scratch = b.gep(self.cotangent, [b.shl(rows, code.row_shift)]) if backward else self.rotation_sums
        self.rows = rows


def follow(
    code: Code, table: Value, count: Value, kinds: Iterable[int], do: Callable[[int, Value], None], reverse: bool
) -> None:
    """Does the entries of a table one after the other; `do` writes it for a kind, given the entry."""
    b = code.builder
    with code.loop(count) as loop:
        index = b.sub(b.sub(count, int64(1)), loop.index) if reverse else loop.index
        entry = b.gep(table, [b.mul(index, int64(4 * Entry.SIZE))])
        done = b.append_basic_block("gate_done")
        switch = b.switch(code.load_int32(entry, Entry.KIND), done)
        for kind in kinds:
            block = b.append_basic_block(f"form_{kind}")
            switch.add_case(int32(kind), block)
            b.position_at_end(block)
            do(kind, entry)
            b.branch(done)
        b.position_at_end(done)


class Lanes:
    """The examples of a tile in arrays `[., batch]`; the last tile may have fewer than a vector has numbers."""

    def __init__(self, code: Code, first: Value, batch: Value) -> None:
        b = code.builder
        self.code = code
        self.start, self.stride = (b.mul(value, int64(code.stored_itemsize)) for value in (first, batch))
        self.kind = ir.VectorType(code.stored, code.num_lanes)
        self.suffix = f"v{code.num_lanes}f{8 * code.stored_itemsize}"
        numbers = ir.Constant(ir.VectorType(INT32, code.num_lanes), list(range(code.num_lanes)))
        self.mask = b.icmp_signed("<", numbers, code.splat(b.trunc(b.sub(batch, first), INT32)))

    def _place(self, array: Value, row: Value) -> Value:
        b = self.code.builder
        return b.gep(array, [b.add(self.start, b.mul(row, self.stride))])

    def take(self, array: Value, row: Value) -> Value:
        """Returns the tile's part of a row; 0 where there is no example."""
        code, kinds = self.code, [POINTER, INT32, self.mask.type, self.kind]
        load = code.external(f"llvm.masked.load.{self.suffix}", self.kind, kinds)
        nothing = ir.Constant(self.kind, [0.0] * code.num_lanes)
        alignment = int32(code.stored_itemsize)
        return code.cast(
            code.builder.call(load, [self._place(array, row), alignment, self.mask, nothing]), code.vector
        )

    def put(self, value: Value, array: Value, row: Value) -> None:
        """Sets the tile's part of a row."""
        code, kinds = self.code, [self.kind, POINTER, INT32, self.mask.type]
        store = code.external(f"llvm.masked.store.{self.suffix}", VOID, kinds)
        alignment = int32(code.stored_itemsize)
        code.builder.call(store, [code.cast(value, self.kind), self._place(array, row), alignment, self.mask])
