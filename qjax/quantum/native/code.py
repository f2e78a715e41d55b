"""Helpers to write LLVM IR in Python: loops, vectors of 64 bytes, and complex arithmetic on them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from llvmlite import ir

from qjax.quantum.native.forms import VECTOR_BYTES, VECTOR_SHIFT

INT64, INT32, VOID = ir.IntType(64), ir.IntType(32), ir.VoidType()
POINTER = ir.IntType(8).as_pointer()

# Values of the code that is being written.
Value = Any
# Real and imaginary part; in real arithmetic the latter is None.
Complex = tuple[Value, Value | None]


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
    """

    real: Any
    is_complex: bool = True


class Code:
    """A function that is being written; addresses are counted in bytes."""

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
        # A row of a tile takes 2**row_shift bytes.
        self.row_shift = VECTOR_SHIFT + self.is_complex
        self.itemsize = 4 if isinstance(self.real, ir.FloatType) else 8
        self.num_lanes = VECTOR_BYTES // self.itemsize
        self.vector = ir.VectorType(self.real, self.num_lanes)
        self.function = ir.Function(module, ir.FunctionType(returns, arguments), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.arguments = self.function.args
        self.zero = ir.Constant(self.vector, [0.0] * self.num_lanes)
        self.one = ir.Constant(self.vector, [1.0] * self.num_lanes)

    # Memory. --------------------------------------------------------------------------------------------------

    def at(self, base: Value, offset: Value, kind: Any) -> Value:
        """Returns the address `base + offset` of something of a kind."""
        return self.builder.bitcast(self.builder.gep(base, [offset]), kind.as_pointer())

    def load(self, base: Value, offset: Value) -> Value:
        """Returns the vector that lies there, whose address is a multiple of its size."""
        return self.builder.load(self.at(base, offset, self.vector), align=VECTOR_BYTES)

    def store(self, value: Value, base: Value, offset: Value) -> None:
        """Puts a vector there."""
        self.builder.store(value, self.at(base, offset, self.vector), align=VECTOR_BYTES)

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

    def of_entry(self, entry: Value, word: int, base: Value) -> Value:
        """Returns the address of the vectors in `base` whose place an entry of the table has in a word."""
        place = self.builder.sext(self.load_int32(entry, word), INT64)
        return self.builder.gep(base, [self.builder.shl(place, int64(VECTOR_SHIFT))])

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

    def external(self, name: str, returns: Any, arguments: Sequence[Any]) -> Value:
        """Returns a function that is defined elsewhere: of LLVM, or of the C library."""
        return self.module.globals.get(name) or ir.Function(self.module, ir.FunctionType(returns, arguments), name)

    # Arithmetic. ----------------------------------------------------------------------------------------------

    def intrinsic(self, name: str, returns: Any, arguments: Sequence[Any]) -> Value:
        """Returns LLVM's function of that name for vectors."""
        return self.external(f"llvm.{name}.v{self.num_lanes}f{8 * self.itemsize}", returns, arguments)

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
