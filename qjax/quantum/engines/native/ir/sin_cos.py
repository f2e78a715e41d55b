"""Kernels that make the coefficients of a gate from each example's angle.

A gate of one angle t is C + A cos(s t) + B sin(s t), with constant matrices and one scale s. So the kernel needs only
the angles, and JAX need not write their cosines and sines to memory.
"""

from collections.abc import Sequence
from functools import reduce
from math import factorial
from typing import Any

import numpy as np

from qjax.quantum.engines.native.ir.llvm import ir
from qjax.quantum.engines.native.ir.writer import INT64, Code, Value, int32, int64
from qjax.quantum.engines.native.table.layout import NUM_SCALES, Entry, MadeEntry
from qjax.quantum.states.reduction import LIMIT
from qjax.quantum.states.trigonometry import COSINE, HALF_PI, SINE

# What `trigonometry.py` has for float32, for float64: pi / 2 in parts, the first of 26 bits, and 1 / k!.
HALF_PI_64 = (1.5707963109016418, 1.5893254712295857e-08, 6.123233995736766e-17)
_SINE_64 = tuple((-1) ** k / factorial(2 * k + 1) for k in range(1, 7))
_COSINE_64 = tuple((-1) ** k / factorial(2 * k) for k in range(2, 8))

# Constants of each number of the gate: real and imaginary parts of C, A and B.
_PER_NUMBER = 6


def write_rotation(code: Code, entry: Value, coefficients: Any) -> None:
    """Writes the code that makes the coefficients of a gate; cosine and sine of the angle are stored after them."""
    made, constants, angle = (
        code.of_entry(entry, word, coefficients) for word in (Entry.FIRST, MadeEntry.LEFT, MadeEntry.RIGHT)
    )
    cosine, sine = cos_sin(code, code.load_real(angle, int64(0)), _scales(code, constants))
    count = code.builder.sext(code.load_int32(entry, Entry.COUNT), INT64)
    with code.loop(count) as loop:
        number = _Number(code, constants, loop.index)
        for part in (0, 1):
            total = code.multiply_add(number.cosine[part], cosine, number.constant[part])
            code.store_real(code.multiply_add(number.sine[part], sine, total), made, number.parts[part])
    end = code.builder.shl(count, int64(1))
    code.store_real(cosine, made, end)
    code.store_real(sine, made, code.builder.add(end, int64(1)))


def write_rotation_back(code: Code, entry: Value, coefficients: Any, sums: Any) -> None:
    """Writes the code that adds the cotangent of the angle to the angle's sum.

    The sums of the coefficients are set to 0, as a repeated gate uses them again.
    """
    b = code.builder
    made, constants = (code.of_entry(entry, word, coefficients) for word in (Entry.FIRST, MadeEntry.LEFT))
    cotangents, angle = (code.of_entry(entry, word, sums) for word in (Entry.FIRST, MadeEntry.RIGHT))
    count = b.sext(code.load_int32(entry, Entry.COUNT), INT64)
    end = b.shl(count, int64(1))
    cosine, sine = code.load_real(made, end), code.load_real(made, b.add(end, int64(1)))
    with code.loop(count, [code.zero]) as loop:
        number = _Number(code, constants, loop.index)
        total = loop.values[0]
        for part in (0, 1):
            slope = b.fsub(b.fmul(number.sine[part], cosine), b.fmul(number.cosine[part], sine))
            total = code.multiply_add(slope, code.load_real(cotangents, number.parts[part]), total)
            code.store_real(code.zero, cotangents, number.parts[part])
        loop.next = [total]
    old = code.load_real(angle, int64(0))
    scale = reduce(b.fadd, _scales(code, constants))
    code.store_real(code.multiply_add(loop.values[0], scale, old), angle, int64(0))


def _scales(code: Code, constants: Any) -> list[Value]:
    """Returns numbers of float32 whose sum is the scale; on a GPU only the first, as no more digits are used."""
    return [code.load_real(constants, int64(k)) for k in range(NUM_SCALES if code.has_library else 1)]


class _Number:
    """The constants of one number of a gate, and the indices of its real and imaginary part."""

    def __init__(self, code: Code, constants: Any, index: Value) -> None:
        b = code.builder
        start = b.add(b.mul(index, int64(_PER_NUMBER)), int64(NUM_SCALES))
        values = [code.load_real(constants, b.add(start, int64(k))) for k in range(_PER_NUMBER)]
        self.constant, self.cosine, self.sine = values[:2], values[2:4], values[4:]
        first = b.shl(index, int64(1))
        self.parts = [first, b.add(first, int64(1))]


def cos_sin(code: Code, angle: Value, scales: Sequence[Value]) -> tuple[Value, Value]:
    """Returns cosine and sine of an angle times the sum of some scales, as exact as the dtype of the caller's arrays.

    For angles that are not large these are the polynomials of `trigonometry.cos_sin`, or Taylor's, off by at most
    2e-14, where float32 is computed in float64. For other angles they are those of the C library. On a GPU angles are
    bounded (`reduction.py`), and so are their products with the one scale.
    """
    b = code.builder
    fused = code.intrinsic("fma", code.vector, [code.vector] * 3)
    if not code.has_library:
        return _bounded_cos_sin(code, b.fmul(angle, scales[0]), None)
    if code.itemsize == 4:
        phase = b.fmul(angle, scales[0])
        rest = b.call(fused, [angle, scales[0], b.fneg(phase)])
        rest = code.multiply_add(angle, scales[1], rest)
    else:
        scale = reduce(b.fadd, scales)
        phase = b.fmul(angle, scale)
        rest = b.call(fused, [angle, scale, b.fneg(phase)])
    size = b.call(code.intrinsic("fabs", code.vector, [code.vector]), [phase])
    large = b.fcmp_unordered(">", size, _constant(code, 2 * LIMIT))  # or NaN
    mask = ir.IntType(code.num_lanes)
    some = b.icmp_unsigned("!=", b.bitcast(large, mask), ir.Constant(mask, 0))
    branches, results = [], []
    with b.if_else(some) as (far, near):
        with far:
            branches.append((_any_cos_sin(code, angle, scales), b.block))
        with near:
            branches.append((near_cos_sin(code, phase, rest), b.block))
    for place in (0, 1):
        result = b.phi(code.vector)
        for values, block in branches:
            result.add_incoming(values[place], block)
        results.append(result)
    return results[0], results[1]


def _any_cos_sin(code: Code, angle: Value, scales: Sequence[Value]) -> tuple[Value, Value]:
    """Returns cosine and sine of the exact product, the sum of two numbers of float64."""
    b = code.builder
    wide = ir.VectorType(ir.DoubleType(), code.num_lanes)
    name = f"v{code.num_lanes}f64"
    angle, scale = code.cast(angle, wide), reduce(b.fadd, [code.cast(scale, wide) for scale in scales])
    fused, cosine, sine = (
        code.external(f"llvm.{function}.{name}", wide, [wide] * count)
        for function, count in (("fma", 3), ("cos", 1), ("sin", 1))
    )
    phase = b.fmul(angle, scale)
    rest = b.call(fused, [angle, scale, b.fneg(phase)])
    (cos, of_rest), (sin, sine_of_rest) = ([b.call(f, [x]) for x in (phase, rest)] for f in (cosine, sine))
    cosine = b.fsub(b.fmul(cos, of_rest), b.fmul(sin, sine_of_rest))
    sine = b.fadd(b.fmul(sin, of_rest), b.fmul(cos, sine_of_rest))
    return code.cast(cosine, code.vector), code.cast(sine, code.vector)


def near_cos_sin(code: Code, phases: Value, rest: Value | None = None) -> tuple[Value, Value]:
    """Returns cosine and sine of phases that are not large, and of what these were rounded by."""
    if code.stored_itemsize == 4:
        return _bounded_cos_sin(code, phases, rest)
    b, kinds = code.builder, [code.vector]
    cosine, sine = (b.call(code.intrinsic(name, code.vector, kinds), [phases]) for name in ("cos", "sin"))
    if rest is None:
        return cosine, sine
    return code.multiply_add(b.fneg(sine), rest, cosine), code.multiply_add(cosine, rest, sine)


def _bounded_cos_sin(code: Code, phases: Value, rest: Value | None) -> tuple[Value, Value]:
    """Returns cosine and sine of phases, and of what they were rounded by.

    The number of quarter turns needs no conversion, which NaN has none of: it is in the last bits of its sum with a
    number so large that these stand for integers.
    """
    b, single = code.builder, code.itemsize == 4
    large = _constant(code, 1.5 * 2.0 ** (23 if single else 52))
    shifted = b.fadd(b.fmul(phases, _constant(code, 2 / np.pi)), large)
    quarters = b.fsub(shifted, large)
    y = phases
    for part in HALF_PI if single else HALF_PI_64:
        y = code.multiply_add(quarters, _constant(code, -part), y)
    y = y if rest is None else b.fadd(y, rest)
    z = b.fmul(y, y)
    sine = code.multiply_add(b.fmul(y, z), _polynomial(code, z, SINE if single else _SINE_64), y)
    near = code.multiply_add(z, _constant(code, -0.5), code.one)
    cosine = code.multiply_add(b.fmul(z, z), _polynomial(code, z, COSINE if single else _COSINE_64), near)
    quadrant = code.low_bits(shifted)
    one, two, none = (code.splat(int32(value)) for value in (1, 2, 0))
    swapped = b.icmp_signed("!=", b.and_(quadrant, one), none)
    cosine, sine = b.select(swapped, sine, cosine), b.select(swapped, cosine, sine)
    negative = [b.icmp_signed("!=", b.and_(q, two), none) for q in (b.add(quadrant, one), quadrant)]
    return b.select(negative[0], b.fneg(cosine), cosine), b.select(negative[1], b.fneg(sine), sine)


def _polynomial(code: Code, z: Value, coefficients: Sequence[float]) -> Value:
    terms = [_constant(code, coefficient) for coefficient in reversed(coefficients)]
    return reduce(lambda total, term: code.multiply_add(total, z, term), terms)


def _constant(code: Code, value: float) -> ir.Constant:
    return code.constant(float(np.float32(value)) if code.itemsize == 4 else value)
