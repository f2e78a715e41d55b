"""Kernels that make the gates which all examples share, from their angles, and that go back through it.

A gate is a product of factors of one angle t each, F = C + A cos(s t) + B sin(s t) (`factor_recipes.py`). Gates that
are built alike lie side by side in a vector, and all is done in float64: rounded once, a gate is as exact as its
numbers can be, which products of many gates show. The reverse pass recomputes each product from the one after it, as
factors are unitary.
"""

from collections.abc import Callable
from typing import Any

from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.sin_cos import cos_sin
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
from qjax.quantum.engines.native.table.layout import MAX_NUMBERS, VECTOR_BYTES, VECTOR_SHIFT, Recipe

# Bytes of a complex number of all gates side by side.
_NUMBER_SHIFT = VECTOR_SHIFT + 1
# Bytes of the constants of a number: real and imaginary parts of C, A and B.
_CONSTANTS = 48


def exact_function(
    module: ir.Module,
    arithmetic: Arithmetic,
    name: str,
    num_pointers: int,
    write: Callable[..., None],
    kind: type[Code] = Code,
    num_integers: int = 1,
) -> ir.Function:
    """Returns the function, written in float64, that makes shared gates or goes back through that.

    Args:
      module: where it is.
      arithmetic: of the amplitudes.
      name: of the function.
      num_pointers: number of addresses that it takes first.
      write: writes it, given the type of the coefficients and the arguments.
      kind: of code.
      num_integers: number of 64-bit integers that it takes then.
    """
    exact = Arithmetic(ir.DoubleType(), True, arithmetic.stored or arithmetic.real)
    code = kind(module, name, VOID, [POINTER] * num_pointers + [INT64] * num_integers, exact)
    code.function.attributes.add("optsize")  # unrolled, its short loops would take LLVM 0.1 s, and save none
    write(code, arithmetic.real, *code.arguments)
    code.builder.ret_void()
    return code.function


def write_compose(code: Code, held: Any, *arguments: Value) -> None:
    """Writes the function that makes all gates.

    Args:
      code: of the function, in complex numbers of float64.
      held: type of the coefficients.
      arguments: address of the recipes, of the angles and of the coefficients; how many recipes there are.
    """
    recipes, angles, coefficients, count = arguments
    with code.loop(count, [recipes]) as loop:
        recipe = _Recipe(code, held, loop.values[0], angles)
        with code.loop(recipe.num_vectors) as vectors:
            recipe.choose(vectors.index)
            recipe.write_identity()
            with code.loop(recipe.num_factors, [recipe.product, recipe.spare]) as factors:
                recipe.write_factor(factors.index)
                _multiply(recipe, recipe.factor, factors.values[0], factors.values[1])
                factors.next = factors.values[::-1]
            recipe.put(factors.values[0], coefficients)
        loop.next = [recipe.end]


def write_compose_back(code: Code, held: Any, *arguments: Value) -> None:
    """Writes the function that adds to the sums of the angles, given those of the gates' numbers.

    Args:
      code: see `write_compose`.
      held: type of the coefficients and of the sums.
      arguments: address of the recipes, of the angles, of the coefficients and of the sums; how many recipes.
    """
    recipes, angles, coefficients, sums, count = arguments
    with code.loop(count, [recipes]) as loop:
        recipe = _Recipe(code, held, loop.values[0], angles)
        buffers = [recipe.product, recipe.spare, recipe.cotangent, recipe.other]
        with code.loop(recipe.num_vectors) as vectors:
            recipe.choose(vectors.index)
            recipe.take(coefficients, sums)
            with code.loop(recipe.num_factors, buffers) as factors:
                last = code.builder.sub(recipe.num_factors, int64(1))
                number = code.builder.sub(last, factors.index)
                recipe.write_factor(number)
                after, before, cotangent, back = factors.values
                _multiply(recipe, recipe.factor, after, before, adjoint=True)
                _multiply(recipe, recipe.factor, cotangent, back, adjoint=True)
                recipe.add_slope(number, before, cotangent, sums)
                factors.next = [before, after, back, cotangent]
        loop.next = [recipe.end]


class _Recipe:
    """One recipe in a function that is being written, and the numbers of the gates that are made at once."""

    def __init__(self, code: Code, held: Any, record: Value, angles: Value) -> None:
        b = code.builder
        self.code, self.held, self.record, self.angles = code, held, record, angles
        self.lanes_held = VECTOR_BYTES // (4 if isinstance(held, ir.FloatType) else 8)
        words = (Recipe.BLOCKS, Recipe.DIM_SHIFT, Recipe.COLUMN_SHIFT, Recipe.FACTORS, Recipe.ITEMS)
        blocks, self.dim_shift, self.column_shift, self.num_factors, self.num_items = (
            b.sext(code.load_int32(record, word), INT64) for word in words
        )
        self.dim, self.columns = (b.shl(int64(1), shift) for shift in (self.dim_shift, self.column_shift))
        size, places = (b.sext(code.load_int32(record, word), INT64) for word in (Recipe.SIZE, Recipe.PLACES))
        self.end, self.places = b.gep(record, [b.shl(size, int64(2))]), b.gep(record, [b.shl(places, int64(2))])
        lanes = code.num_lanes
        self.num_vectors = b.udiv(b.add(self.num_items, int64(lanes - 1)), int64(lanes))
        rows = b.shl(blocks, self.dim_shift)
        self.numbers, self.factor_numbers = b.shl(rows, self.column_shift), b.shl(rows, self.dim_shift)
        names = ("factor", "slope", "product", "spare", "cotangent", "other")
        self.factor, self.slope, self.product, self.spare, self.cotangent, self.other = (
            self._buffer(name, MAX_NUMBERS << _NUMBER_SHIFT) for name in names
        )
        self.turns = self._buffer("turns", VECTOR_BYTES)
        code.store(code.zero, self.turns, int64(0))

    def _buffer(self, name: str, size: int) -> Value:
        """Returns the address of a buffer on the stack, made once for each function."""
        with self.code.builder.goto_entry_block():
            workspace = self.code.builder.alloca(ir.ArrayType(ir.IntType(8), size), name=name)
            workspace.align = VECTOR_BYTES
            return self.code.builder.bitcast(workspace, POINTER)

    def choose(self, vector: Value) -> None:
        """Says which of the gates are in question: those of a vector."""
        b, lanes = self.code.builder, int64(self.code.num_lanes)
        self.first = b.mul(vector, lanes)
        left = b.sub(self.num_items, self.first)
        self.count = b.select(b.icmp_signed("<", left, lanes), left, lanes)

    def _place(self, row: Value, lane: Value) -> Value:
        """Returns where the coefficients of a gate begin (row 0), or where the angle of a factor is (from 1 on)."""
        b = self.code.builder
        index = b.add(b.mul(row, self.num_items), b.add(self.first, lane))
        return b.sext(b.load(self.code.at(self.places, b.shl(index, int64(2)), INT32)), INT64)

    def _lane(self, buffer: Value, offset: Value, lane: Value) -> Value:
        """Returns the address of one gate's number in a vector of a buffer."""
        b = self.code.builder
        return self.code.at(buffer, b.add(offset, b.shl(lane, int64(3))), self.code.real)

    def load(self, buffer: Value, index: Value) -> Complex:
        """Returns a complex number of all gates."""
        offset = self.code.builder.shl(index, int64(_NUMBER_SHIFT))
        return (
            self.code.load(buffer, offset),
            self.code.load(buffer, self.code.builder.add(offset, int64(VECTOR_BYTES))),
        )

    def store(self, value: Complex, buffer: Value, index: Value) -> None:
        """Sets one."""
        offset = self.code.builder.shl(index, int64(_NUMBER_SHIFT))
        self.code.store(value[0], buffer, offset)
        self.code.store(value[1], buffer, self.code.builder.add(offset, int64(VECTOR_BYTES)))

    def split(self, index: Value, shift: Value) -> tuple[Value, Value]:
        """Returns quotient and remainder of a number by 2**shift."""
        b = self.code.builder
        quotient = b.lshr(index, shift)
        return quotient, b.sub(index, b.shl(quotient, shift))

    def write_identity(self) -> None:
        """Sets the product of no factor: the first columns of the identity."""
        code, b = self.code, self.code.builder
        with code.loop(self.numbers) as loop:
            row, column = self.split(loop.index, self.column_shift)
            same = b.icmp_signed("==", self.split(row, self.dim_shift)[1], column)
            self.store((b.select(same, code.one, code.zero), code.zero), self.product, loop.index)

    def write_factor(self, number: Value) -> None:
        """Sets a factor, and its derivative by the angle."""
        code, b = self.code, self.code.builder
        row = b.add(number, int64(1))
        size = b.add(int64(8), b.mul(self.factor_numbers, int64(_CONSTANTS)))
        constants = b.gep(self.record, [b.add(int64(4 * len(Recipe)), b.mul(number, size))])
        with code.loop(self.count) as lanes:
            place = self._place(row, lanes.index)
            address = b.gep(self.angles, [b.mul(place, int64(code.stored_itemsize))])
            # A factor without an angle has the scale 0, which is read in its place.
            source = b.select(b.icmp_signed("<", place, int64(0)), constants, address)
            b.store(code.load_stored(source, int64(0)), self._lane(self.turns, int64(0), lanes.index))
        scale = code.splat(self._double(constants, int64(0)))
        cosine, sine = cos_sin(code, code.load(self.turns, int64(0)), [scale])
        by_cosine, by_sine = b.fmul(cosine, scale), b.fneg(b.fmul(sine, scale))
        with code.loop(self.factor_numbers) as loop:
            start = b.add(int64(8), b.mul(loop.index, int64(_CONSTANTS)))
            value, slope = [], []
            for part in (0, 8):
                fixed, along, across = (
                    code.splat(self._double(constants, b.add(start, int64(part + k)))) for k in (0, 16, 32)
                )
                total = code.multiply_add(along, cosine, fixed)
                value.append(code.multiply_add(across, sine, total))
                slope.append(code.multiply_add(across, by_cosine, b.fmul(along, by_sine)))
            self.store((value[0], value[1]), self.factor, loop.index)
            self.store((slope[0], slope[1]), self.slope, loop.index)

    def _double(self, base: Value, offset: Value) -> Value:
        return self.code.builder.load(self.code.at(base, offset, self.code.real), align=4)

    def put(self, product: Value, coefficients: Value) -> None:
        """Writes each number of each gate, as a vector of its own, to the coefficients."""
        code, b = self.code, self.code.builder
        vector = ir.VectorType(self.held, self.lanes_held)
        nothing = ir.Constant(vector, ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(INT32, vector.count), None)
        with code.loop(self.count) as lanes:
            place = b.gep(coefficients, [b.shl(self._place(int64(0), lanes.index), int64(VECTOR_SHIFT))])
            with code.loop(b.shl(self.numbers, int64(1))) as parts:
                offset = b.shl(parts.index, int64(VECTOR_SHIFT))
                value = code.cast(b.load(self._lane(product, offset, lanes.index)), self.held)
                spread = b.shuffle_vector(b.insert_element(nothing, value, int32(0)), nothing, everywhere)
                b.store(spread, code.at(place, offset, vector), align=VECTOR_BYTES)

    def take(self, coefficients: Value, sums: Value) -> None:
        """Reads the numbers of each gate, and their sums added up over the vectors."""
        code, b = self.code, self.code.builder
        vector = ir.VectorType(self.held, self.lanes_held)
        name = f"llvm.vector.reduce.fadd.v{self.lanes_held}f{8 * VECTOR_BYTES // self.lanes_held}"
        add = code.external(name, self.held, [self.held, vector])
        nothing = ir.Constant(self.held, 0.0)
        with code.loop(self.count) as lanes:
            place = b.shl(self._place(int64(0), lanes.index), int64(VECTOR_SHIFT))
            numbers, totals = b.gep(coefficients, [place]), b.gep(sums, [place])
            with code.loop(b.shl(self.numbers, int64(1))) as parts:
                offset = b.shl(parts.index, int64(VECTOR_SHIFT))
                number = code.cast(b.load(code.at(numbers, offset, self.held)), code.real)
                b.store(number, self._lane(self.product, offset, lanes.index))
                lane_sums = b.load(code.at(totals, offset, vector), align=VECTOR_BYTES)
                total = b.call(add, [nothing, lane_sums], fastmath=("reassoc",))
                b.store(code.cast(total, code.real), self._lane(self.cotangent, offset, lanes.index))

    def add_slope(self, number: Value, before: Value, cotangent: Value, sums: Value) -> None:
        """Adds to the sums of a factor's angles: the real part of sum conj(cotangent) * derivative * before."""
        code, b = self.code, self.code.builder
        with code.loop(self.factor_numbers, [code.zero]) as loop:
            row, inner = self.split(loop.index, self.dim_shift)
            first = b.sub(row, self.split(row, self.dim_shift)[1])  # row of its block
            of_cotangent, of_before = (b.shl(x, self.column_shift) for x in (row, b.add(first, inner)))
            with code.loop(self.columns, [code.zero, code.zero]) as columns:
                left = self.load(cotangent, b.add(of_cotangent, columns.index))
                right = code.conjugate(self.load(before, b.add(of_before, columns.index)))
                real, imag = code.multiply(left, right, (columns.values[0], columns.values[1]))
                columns.next = [real, imag]
            slope = self.load(self.slope, loop.index)
            total = code.multiply_add(slope[0], columns.values[0], loop.values[0])
            loop.next = [code.multiply_add(slope[1], columns.values[1], total)]
        code.store(loop.values[0], self.turns, int64(0))
        with code.loop(self.count) as lanes:
            place = self._place(b.add(number, int64(1)), lanes.index)
            with b.if_then(b.icmp_signed(">=", place, int64(0))):
                added = code.cast(b.load(self._lane(self.turns, int64(0), lanes.index)), self.held)
                address = code.at(sums, b.shl(place, int64(VECTOR_SHIFT)), self.held)
                b.store(b.fadd(b.load(address), added), address)


def _multiply(recipe: _Recipe, factor: Value, old: Value, new: Value, adjoint: bool = False) -> None:
    """Writes new = factor @ old, or the adjoint of the factor @ old, block by block."""
    code, b = recipe.code, recipe.code.builder
    with code.loop(recipe.numbers) as loop:
        row, column = recipe.split(loop.index, recipe.column_shift)
        inside = recipe.split(row, recipe.dim_shift)[1]
        block = b.sub(row, inside)  # its first row
        with code.loop(recipe.dim, [code.zero, code.zero]) as inner:
            if adjoint:
                place = b.add(b.shl(b.add(block, inner.index), recipe.dim_shift), inside)
                left = code.conjugate(recipe.load(factor, place))
            else:
                left = recipe.load(factor, b.add(b.shl(row, recipe.dim_shift), inner.index))
            right = recipe.load(old, b.add(b.shl(b.add(block, inner.index), recipe.column_shift), column))
            real, imag = code.multiply(left, right, (inner.values[0], inner.values[1]))
            inner.next = [real, imag]
        recipe.store((inner.values[0], inner.values[1]), new, loop.index)
