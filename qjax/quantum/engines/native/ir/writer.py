"""Helpers to write LLVM IR in Python: loops, vectors of 64 bytes, and complex arithmetic on them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.table.layout import VECTOR_BYTES, VECTOR_SHIFT, Form

INT64, INT32, VOID = ir.IntType(64), ir.IntType(32), ir.VoidType()
POINTER = ir.IntType(8).as_pointer()

# Values of the code that is being written.
Value = Any
# Real and imaginary part; in real arithmetic the latter is None.
Complex = tuple[Value, Value | None]
FirstRow = Callable[[Value], Value]
CosetBody = Callable[[list[Value], list[Value]], list[Value]]


def int64(value: int) -> ir.Constant:
    """Returns a constant."""
    return ir.Constant(INT64, value)


def int32(value: int) -> ir.Constant:
    """Returns a constant."""
    return ir.Constant(INT32, value)


@dataclass
class Loop:
    """A loop that is being written.

    Attributes:
      index: counts from 0.
      values: of this round, after the loop those of the last.
      next: of the next round, set by the body.
    """

    index: Value
    values: list[Value]
    next: list[Value] = field(default_factory=list)


@dataclass(frozen=True)
class Arithmetic:
    """What the amplitudes are.

    Attributes:
      real: type of real numbers, float or double.
      is_complex: whether they have imaginary parts.
      stored: type of the numbers in the arrays of the caller, where it is another: float where `real` is double.
    """

    real: Any
    is_complex: bool = True
    stored: Any = None


class Code:
    """A function that is being written; addresses are counted in bytes.

    Attributes:
      max_kept_sums: sums of at most so many products stay in registers while a gate goes back through the rows.
      has_library: whether the functions of the C library are there.
    """

    max_kept_sums = 4
    has_library = True

    def __init__(
        self, module: ir.Module, name: str, returns: Any, arguments: Sequence[Any], arithmetic: Arithmetic
    ) -> None:
        """Starts a function.

        Args:
          module: where it goes.
          name: of the function.
          returns: its type.
          arguments: their types.
          arithmetic: what the amplitudes are.
        """
        self.module, self.real, self.is_complex = module, arithmetic.real, arithmetic.is_complex
        self.itemsize = 4 if isinstance(self.real, ir.FloatType) else 8
        self.stored = arithmetic.stored or self.real
        self.stored_itemsize = 4 if isinstance(self.stored, ir.FloatType) else 8
        self.function = ir.Function(module, ir.FunctionType(returns, arguments), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.arguments = self.function.args
        self._set_layout()

    def _set_layout(self) -> None:
        """Says what a vector is, and how rows lie in a tile."""
        self.num_lanes = VECTOR_BYTES // self.itemsize
        self.vector = ir.VectorType(self.real, self.num_lanes)
        self.coset: Value = int32(1)  # its first row, and behind it a 1: see `passes.py`
        # A row of amplitudes takes 2**row_shift bytes, its imaginary part after the real one; real numbers take less.
        self.row_shift, self.real_shift = int64(VECTOR_SHIFT + self.is_complex), int64(VECTOR_SHIFT)
        self.to_imag = int64(VECTOR_BYTES)

    def align_stack(self) -> None:
        """Has the function's stack begin at a multiple of a vector's size.

        Else vectors for which there is no register lie across two cache lines each, as the caller's stack has it.
        """
        b = self.builder
        room = b.alloca(INT64)
        room.align = VECTOR_BYTES
        kind = ir.FunctionType(VOID, [room.type])
        b.asm(kind, "", "r", [room], side_effect=True)  # an empty one: what nobody uses would be left out

    def constant(self, value: float) -> ir.Constant:
        """Returns a vector of one number."""
        return ir.Constant(self.vector, [value] * self.num_lanes)

    @property
    def zero(self) -> ir.Constant:
        """Zeros."""
        return self.constant(0.0)

    @property
    def one(self) -> ir.Constant:
        """Ones."""
        return self.constant(1.0)

    def flags(self) -> Any:
        """Returns the type of a vector of 32-bit integers, one for each number of a vector."""
        return ir.VectorType(INT32, self.num_lanes)

    def low_bits(self, value: Value) -> Value:
        """Returns the lowest 32 bits of each number of a vector."""
        if self.itemsize == 4:
            return self.builder.bitcast(value, self.flags())
        wide = self.builder.bitcast(value, ir.VectorType(INT64, self.num_lanes))
        return self.builder.trunc(wide, self.flags())

    # Memory. --------------------------------------------------------------------------------------------------

    def at(self, base: Value, offset: Value, kind: Any) -> Value:
        """Returns the address `base + offset` of something of a kind."""
        return self.builder.bitcast(self.builder.gep(base, [offset]), kind.as_pointer(base.type.addrspace))

    def load(self, base: Value, offset: Value) -> Value:
        """Returns the vector that lies there, whose address is a multiple of its size."""
        return self.builder.load(self.at(base, offset, self.vector), align=self.num_lanes * self.itemsize)

    def store(self, value: Value, base: Value, offset: Value) -> None:
        """Puts a vector there."""
        self.builder.store(value, self.at(base, offset, self.vector), align=self.num_lanes * self.itemsize)

    def load_int32(self, base: Value, index: int) -> Value:
        """Returns an entry of an array of 32-bit integers."""
        return self.builder.load(self.at(base, int64(4 * index), INT32))

    def load_int64(self, base: Value, index: int) -> Value:
        """Returns an entry of an array of 64-bit integers."""
        return self.builder.load(self.at(base, int64(8 * index), INT64))

    def store_int64(self, value: Value, base: Value, index: int) -> None:
        """Sets an entry of an array of 64-bit integers."""
        self.builder.store(value, self.at(base, int64(8 * index), INT64))

    def load_pointer(self, base: Value, index: int) -> Value:
        """Returns an entry of an array of addresses."""
        return self.builder.inttoptr(self.load_int64(base, index), POINTER)

    def of_entry(self, entry: Value, word: int, base: Any) -> Any:
        """Returns the address in `base` that this word of the entry points to."""
        place = self.builder.sext(self.load_int32(entry, word), INT64)
        return self.builder.gep(base, [self.builder.shl(place, int64(VECTOR_SHIFT))])

    def load_real(self, numbers: Any, index: Value) -> Value:
        """Returns the vector at `index` of some numbers, whose address `of_entry` returns."""
        return self.load(numbers, self.builder.shl(index, int64(VECTOR_SHIFT)))

    def store_real(self, value: Value, numbers: Any, index: Value) -> None:
        """Stores the vector at `index` of some numbers."""
        self.store(value, numbers, self.builder.shl(index, int64(VECTOR_SHIFT)))

    def load_numbers(self, numbers: Any, count: int) -> list[Complex]:
        """Returns the first `count` complex numbers from an address."""
        step = 1 if self.is_complex else 2
        parts = [self.load_real(numbers, int64(k)) for k in range(0, 2 * count, step)]
        return (
            list(zip(parts[::2], parts[1::2], strict=True)) if self.is_complex else [(part, None) for part in parts]
        )

    def store_numbers(self, numbers: Any, values: Sequence[Complex]) -> None:
        """Stores complex numbers from an address on."""
        for k, (real, imag) in enumerate(values):
            self.store_real(real, numbers, int64(2 * k))
            if imag is not None:
                self.store_real(imag, numbers, int64(2 * k + 1))

    def add_numbers(self, numbers: Any, values: Sequence[Complex]) -> None:
        """Adds to complex numbers from an address on."""
        pairs = zip(self.load_numbers(numbers, len(values)), values, strict=True)
        self.store_numbers(numbers, [self.add(old, value) for old, value in pairs])

    def place(self, row: Value) -> Value:
        """Returns where in a tile a row of amplitudes begins, given its number, of 32 or 64 bits."""
        return self.builder.shl(self.builder.zext(row, INT64), self.row_shift)

    def real_place(self, row: Value) -> Value:
        """Returns where a row of real numbers begins, given its number."""
        return self.builder.shl(self.builder.zext(row, INT64), self.real_shift)

    def load_rows(self, tile: Value, places: Sequence[Value]) -> list[Complex]:
        """Returns rows of a tile."""
        add = self.builder.add
        return [
            (self.load(tile, place), self.load(tile, add(place, self.to_imag)) if self.is_complex else None)
            for place in places
        ]

    def store_rows(self, tile: Value, places: Sequence[Value], rows: Sequence[Complex]) -> None:
        """Sets rows of a tile."""
        for place, (real, imag) in zip(places, rows, strict=True):
            self.store(real, tile, place)
            if imag is not None:
                self.store(imag, tile, self.builder.add(place, self.to_imag))

    def load_stored(self, base: Value, index: Value) -> Value:
        """Returns a number of an array of the caller, as a number of this code."""
        place = self.at(base, self.builder.mul(index, int64(self.stored_itemsize)), self.stored)
        return self.cast(self.builder.load(place), self.real)

    def cast(self, value: Value, kind: Any) -> Value:
        """Returns real numbers, or a vector of them, as another type has them."""
        if value.type == kind:
            return value
        narrow = isinstance(getattr(kind, "element", kind), ir.FloatType)
        return self.builder.fptrunc(value, kind) if narrow else self.builder.fpext(value, kind)

    # Control. -------------------------------------------------------------------------------------------------

    @contextmanager
    def loop(self, count: Value, initial: Sequence[Value] = ()) -> Iterator[Loop]:
        """Repeats the body `count` times, with values that go from one round to the next."""
        b = self.builder
        before = b.block
        head, body, done = (b.append_basic_block(name) for name in ("head", "body", "done"))
        b.branch(head)
        b.position_at_end(head)
        index = b.phi(count.type)
        index.add_incoming(ir.Constant(count.type, 0), before)
        phis = [b.phi(value.type) for value in initial]
        for phi, value in zip(phis, initial, strict=True):
            phi.add_incoming(value, before)
        b.cbranch(b.icmp_signed("<", index, count), body, done)
        b.position_at_end(body)
        loop = Loop(index, phis)
        yield loop
        index.add_incoming(b.add(index, ir.Constant(count.type, 1)), b.block)
        for phi, value in zip(phis, loop.next, strict=True):
            phi.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(done)

    def each_coset(
        self, count: Value, first_row: FirstRow, num_rows: int, body: CosetBody, initial: Sequence[Value] = ()
    ) -> list[Value]:
        """Does something to all cosets of rows, or for all numbers of a range.

        Args:
          count: how many there are, a 32-bit integer.
          first_row: the function that writes from the number of a coset the number of its first row.
          num_rows: how many rows the body holds at once for each coset, of all tiles.
          body: writes what is done to some of the cosets, given the first row of each; it gets values, and returns
            those for the next.
          initial: the first of the values.

        Returns:
          The last of the values.
        """
        with self.each(count, initial) as loop:
            loop.next = body([first_row(loop.index)], loop.values)
        return loop.values

    @contextmanager
    def each(self, count: Value, initial: Sequence[Value] = ()) -> Iterator[Loop]:
        """Does the body for all numbers of a range, by whoever works on this tile."""
        with self.loop(count, initial) as loop:
            yield loop

    def add_sums(self, numbers: Any, values: Sequence[Complex]) -> None:
        """Adds the sums of `each_coset` to complex numbers; on a GPU all threads of the tile take part."""
        self.add_numbers(numbers, values)

    def orient(self, form: Form, entry: Value, numbers: list[Complex]) -> list[Complex]:
        """Returns the numbers of a gate, or sums for them, as each place in a vector wants them.

        Where the places are examples all want the same. Done twice it changes nothing.
        """
        return numbers

    # Strings of Z: where in a vector one is odd, given its parity, and which bits of a place in a vector it sees. ---

    @property
    def everywhere(self) -> Value:
        """All places in a vector; where the places are examples all are alike."""
        return ir.Constant(ir.IntType(1), 1)

    def odd_lanes(self, parity: Value, lanes: Value) -> Value:
        """Returns where a string is odd."""
        return self.builder.icmp_signed("!=", parity, int32(0))

    def any_lane(self, where: Value) -> Value:
        """Returns whether that is anywhere."""
        return where

    def parity(self, value: Value) -> Value:
        """Returns 1 where a 32-bit integer has an odd number of ones, else 0."""
        ones = self.external("llvm.ctpop.i32", INT32, [INT32])
        return self.builder.and_(self.builder.call(ones, [value]), int32(1))

    def synchronize(self) -> None:
        """Waits until all who work on this tile are here; on a CPU that is one thread."""

    def external(self, name: str, returns: Any, arguments: Sequence[Any]) -> Value:
        """Returns a function that is defined elsewhere: of LLVM, or of the C library."""
        return self.module.globals.get(name) or ir.Function(self.module, ir.FunctionType(returns, arguments), name)

    # Arithmetic. ----------------------------------------------------------------------------------------------

    def intrinsic(self, name: str, returns: Any, arguments: Sequence[Any]) -> Value:
        """Returns LLVM's function of that name for vectors."""
        lanes = f"v{self.num_lanes}" if self.num_lanes > 1 else ""
        return self.external(f"llvm.{name}.{lanes}f{8 * self.itemsize}", returns, arguments)

    def multiply_add(self, x: Value, y: Value, total: Value) -> Value:
        """Returns x * y + total, rounded once where the machine can."""
        function = self.intrinsic("fmuladd", self.vector, [self.vector] * 3)
        return self.builder.call(function, [x, y, total])

    def splat(self, value: Value) -> Value:
        """Returns a vector of one number, of its type."""
        kind = ir.VectorType(value.type, self.num_lanes)
        nothing = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(nothing, value, int32(0))
        return self.builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT32, self.num_lanes), None))

    def conjugate(self, value: Complex) -> Complex:
        """Returns the complex conjugate."""
        return value[0], self.builder.fneg(value[1]) if self.is_complex else None

    def multiply(self, x: Complex, y: Complex, total: Complex | None = None) -> Complex:
        """Returns x * y, added to `total` where there is one."""
        b = self.builder
        if not self.is_complex:
            return b.fmul(x[0], y[0]) if total is None else self.multiply_add(x[0], y[0], total[0]), None
        if total is None:
            real, imag = b.fmul(x[0], y[0]), b.fmul(x[0], y[1])
        else:
            real, imag = self.multiply_add(x[0], y[0], total[0]), self.multiply_add(x[0], y[1], total[1])
        return self.multiply_add(b.fneg(x[1]), y[1], real), self.multiply_add(x[1], y[0], imag)

    def add(self, x: Complex, y: Complex) -> Complex:
        """Returns x + y."""
        return self.builder.fadd(x[0], y[0]), self.builder.fadd(x[1], y[1]) if self.is_complex else None

    def apply(self, matrix: Sequence[Sequence[Complex]], column: Sequence[Complex]) -> list[Complex]:
        """Returns matrix @ column."""
        found = []
        for row in matrix:
            total: Complex | None = None
            for entry, value in zip(row, column, strict=True):
                total = self.multiply(entry, value, total)
            assert total is not None
            found.append(total)
        return found

    def adjoint(self, matrix: Sequence[Sequence[Complex]]) -> list[list[Complex]]:
        """Returns the conjugate transpose."""
        return [[self.conjugate(row[k]) for row in matrix] for k in range(len(matrix[0]))]
