"""Angles of any size without their multiples of 4 pi, which is a period of every gate, and arithmetic of angles.

The cosine of 1e30 is as well defined as that of 1, but needs 4 pi to 50 digits. As x is m 2**e with an integer m, it
is x mod 4 pi = m (2**e mod 4 pi) mod 4 pi, and a table has 2**e mod 4 pi for each exponent e of the dtype (after
Payne and Hanek 1983, doi:10.1145/1057600.1057602). Numbers are split into parts of so few bits that products
and sums of these are exact. So it does not matter whether a compiler rounds a product before it adds it, and every
device and every batch gets the same angle.
"""

from dataclasses import dataclass
from functools import lru_cache, partial, reduce
from itertools import zip_longest
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.types import Array

# Angles of at most this size are taken as they are: cosine and sine are exact enough up to twice as much.
LIMIT = 4096.0
# A number of twice the digits, as a sum of two; and the factors of each term of a sum of products.
Double = tuple[Any, Any]
Factors = tuple[tuple[Array, ...], ...]
# The scale of a term: one number, or one for each row of its factors.
Scale = float | tuple[float, ...]

# From so many angles on a CPU first tests whether any is large, which takes less time than to reduce large ones (for
# 8 x 512 angles 0.5 us in place of 10).
MIN_BRANCH = 256

_FRACTION_BITS = 1216  # more than the exponents of float64, and 128 bits


@dataclass(frozen=True, eq=False)
class _Constants:
    """Constants of the reduction, for one dtype.

    Attributes:
      integer: the integer dtype of the same size.
      mantissa: bits of a number's fraction.
      width: a third of a number's bits, rounded up.
      period: 4 pi in three parts, whose multiples up to 2**(width + 1) are exact.
      table: 2**e mod 4 pi in two parts, for each exponent and for 2 * width larger ones, `[exponents, 2]`.
    """

    integer: Any
    mantissa: int
    width: int
    period: tuple[float, ...]
    table: np.ndarray


@lru_cache
def _four_pi() -> int:
    """Returns 4 pi times 2**_FRACTION_BITS, by Machin's formula pi = 16 arctan(1/5) - 4 arctan(1/239)."""
    extra = 32

    def arctan(inverse: int) -> int:
        power, total, k = (1 << (_FRACTION_BITS + extra)) // inverse, 0, 1
        while power:
            total += power // k if k % 4 == 1 else -(power // k)
            power, k = power // inverse**2, k + 2
        return total

    return 4 * (16 * arctan(5) - 4 * arctan(239)) >> extra


@lru_cache
def _constants(dtype: Any) -> _Constants:
    info, period = np.finfo(dtype), _four_pi()
    width = -(-(info.nmant + 1) // 3)
    bits = info.nmant - width - 4  # of the first part, after the binary point: 11 in float32, 30 in float64

    def cut(number: int, bits: int) -> tuple[float, int]:
        unit = 1 << (_FRACTION_BITS - bits)
        count = (number + unit // 2) // unit
        return count / 2**bits, number - count * unit

    parts, rest = [], period
    for place in range(3):
        part, rest = cut(rest, bits + place * (bits + 4))
        parts.append(part)
    rows, number = [], 1 << (_FRACTION_BITS + int(info.minexp) - info.nmant - 1)
    for _ in range(2**info.nexp + 2 * width):
        first, rest = cut(number - period if 2 * number > period else number, bits)
        rows.append((first, rest / (1 << _FRACTION_BITS)))
        number = 2 * number % period
    integer = np.dtype(f"int{info.bits}")
    return _Constants(integer, info.nmant, width, tuple(parts), np.array(rows, dtype))


def _near(high: Any, low: Any) -> Double:
    """Returns a number of up to 2**(width + 1) periods, in two parts, without its multiples of 4 pi."""
    first, *others = _constants(np.dtype(high.dtype)).period
    periods = jnp.round(high * (0.25 / np.pi))
    high = high - periods * first
    for part in others:
        low = low - periods * part
    return high, low


def _far(x: Any) -> Double:
    """Returns any number without its multiples of 4 pi."""
    constants = _constants(np.dtype(x.dtype))
    bits = lax.bitcast_convert_type(x, constants.integer)
    exponent = bits >> constants.mantissa & (constants.table.shape[0] - 2 * constants.width - 1)
    digits = bits & (2**constants.mantissa - 1) | 2**constants.mantissa
    table, high, low = jnp.asarray(constants.table), jnp.zeros_like(x), jnp.zeros_like(x)
    for place in range(0, 3 * constants.width, constants.width):
        part = (digits >> place & (2**constants.width - 1)).astype(x.dtype)
        row = table[exponent + place]
        high, low = high + part * row[..., 0], low + part * row[..., 1]
    high, low = _near(high, low)
    sign = jnp.where(jnp.isfinite(x), jnp.sign(x), jnp.nan)
    return high * sign, low * sign


def _is_large(x: Any) -> Any:
    return ~(jnp.abs(x) <= LIMIT)


def _by_size(x: Array, anywhere: Any, near: Any, *operands: Any) -> Any:
    """Returns near(*operands) if no number of `x` is large, else anywhere(*operands)."""
    if not _branch_pays(x.size):
        return anywhere(*operands)
    return lax.cond(jnp.any(_is_large(x)), anywhere, near, *operands)


@jax.custom_jvp
def bounded(angles: Array) -> Array:
    """Returns angles as they are; those beyond `LIMIT` reduced to within 2 pi of 0, and NaN for infinite ones."""

    def anywhere(x: Any) -> Any:
        high, low = _far(x)
        return jnp.where(_is_large(x), high + low, x)

    return _by_size(angles, anywhere, lambda x: x, angles)  # type: ignore[no-any-return]


@bounded.defjvp
def _bounded_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Any, Any]:
    return bounded(*primals), tangents[0]


@jax.custom_jvp
def within_period(angles: Array) -> Array:
    """Returns `bounded` angles reduced to within 2 pi of 0, so that they may be added to others."""
    high, low = _near(angles, jnp.zeros_like(angles))
    return high + low  # type: ignore[no-any-return]


@within_period.defjvp
def _within_period_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Any, Any]:
    return within_period(*primals), tangents[0]


def number_within_period(angle: float) -> float:
    """Returns a number without its multiples of 4 pi, within 2 pi of 0."""
    return float(2 * np.arctan2(np.sin(angle / 2), np.cos(angle / 2)))  # NumPy's are exact for any size


# Arithmetic. -----------------------------------------------------------------------------------------------------


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def angle_sum(shift: float, scales: tuple[Scale, ...], factors: Factors) -> Array:
    """Returns shift + sum of scale * product of factors, mod 4 pi, within 2 pi of 0: exact but for its last digit.

    Products of three factors and more have twice the digits of the dtype before they are reduced: 44 bits of float32,
    100 of float64. Derivatives are rounded as usual.

    Args:
      shift: in float64.
      scales: in float64, one a term, or of a term one for each row of its factors.
      factors: of each term, arrays that broadcast.
    """
    dtype, rest = factors[0][0].dtype, number_within_period(shift)
    doubles, total = [], None
    for scale, (first, *others) in zip(scales, factors, strict=True):
        term = _split(first)
        for other in others:
            term = [part for half in _product(term, _split(other)) for part in _split(half)]
        double = _product(term, _parts_of(scale, dtype))
        doubles.append(double)
        total = double if total is None else _add(total, double)
    if rest:
        high = float(np.asarray(rest, dtype))
        total = _add(total, (high, rest - high))  # type: ignore[arg-type]
    size = reduce(jnp.maximum, [jnp.abs(high) for high, _ in doubles])

    def anywhere(total: Double, factors: Factors) -> Any:
        parts = [jnp.full_like(size, part) for part in _parts_of(rest, dtype)]
        for scale, (first, *others), double in zip(scales, factors, doubles, strict=True):
            if len(others) > 1:  # exact parts would be too many: each factor multiplies their number by 9
                parts += double
                continue
            term = _split(first)
            for other in others:
                term = [part for x in term for y in _split(other) for part in _split(x * y)]
            parts += [part * number for part in term for number in _parts_of(scale, dtype)]
        high, low = _far(jnp.stack(jnp.broadcast_arrays(*parts)))
        return jnp.where(_is_large(size), sum(_near(high.sum(axis=0), low.sum(axis=0))), near(total, factors))

    def near(total: Double, factors: Factors) -> Any:
        return sum(_near(*total))

    return _by_size(size, anywhere, near, total, factors)  # type: ignore[no-any-return]


@angle_sum.defjvp
def _angle_sum_jvp(
    shift: float, scales: tuple[Scale, ...], primals: tuple[Factors], tangents: tuple[Factors]
) -> tuple[Any, Any]:
    def plain(factors: Factors) -> Any:
        total: Any = 0.0
        for scale, (first, *others) in zip(scales, factors, strict=True):
            term = first * (scale if isinstance(scale, float) else jnp.asarray(scale, first.dtype)[:, None])
            for other in others:
                term = term * other
            total = total + term
        return total

    return angle_sum(shift, scales, *primals), jax.jvp(plain, primals, tangents)[1]


def _split(x: Any) -> list[Any]:
    """Splits a number into parts of half as many digits, whose sum it is."""
    constants = _constants(np.dtype(x.dtype))
    digits, parts = (constants.mantissa + 1) // 2, []
    kept = -1 << (constants.mantissa + 1 - digits)
    for _ in range(constants.mantissa // digits):
        bits = lax.bitcast_convert_type(x, constants.integer) & kept
        parts.append(lax.bitcast_convert_type(bits, x.dtype))
        x = x - parts[-1]
    return [*parts, x]


def _parts_of(number: Scale, dtype: Any) -> list[Any]:
    """Splits a number into parts of half the digits of the dtype, the largest first; their sum is the number.

    If there is a number for each row, the parts are arrays `[rows, 1]`.
    """
    if isinstance(number, tuple):
        rows = zip_longest(*(_parts_of(one, dtype) for one in number), fillvalue=0.0)
        return [np.array(row, dtype)[:, None] for row in rows]
    parts: list[float] = []
    digits = (np.finfo(dtype).nmant + 1) // 2
    while number:
        exponent = int(np.frexp(number)[1]) - digits
        parts.append(float(np.ldexp(np.trunc(np.ldexp(number, -exponent)), exponent)))
        number -= parts[-1]
    return parts or [0.0]


def _product(left: list[Any], right: list[Any]) -> Double:
    """Returns the product of two sums of parts, each at most 2**-12 (float32) of the one before it.

    Products of two parts are exact; those below 2**-44 (float32) or 2**-100 of the first one are left out.
    """
    pairs = sorted((i + j, i, j) for i in range(len(left)) for j in range(len(right)) if i + j < 4)
    total: Any = None
    for _, i, j in pairs:
        part = left[i] * right[j]
        total = (part, jnp.zeros_like(part)) if total is None else _add(total, (part, 0.0))
    return total  # type: ignore[no-any-return]


def _add(left: Double, right: Double) -> Double:
    """Returns the sum of two numbers of twice the digits (Knuth's two-sum)."""
    total = left[0] + right[0]
    added = total - left[0]
    error = (left[0] - (total - added)) + (right[0] - added)
    return total, error + (left[1] + right[1])


def _branch_pays(count: int) -> bool:
    """Whether a branch that few calls take becomes a `lax.cond`; on a GPU all would wait for its condition."""
    return bool(jax.default_backend() == "cpu") and count >= MIN_BRANCH
