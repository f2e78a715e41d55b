"""Angles of gates: numbers, trainable parameters, inputs, and sums and products of them.

    parameter("theta", 0, 1) * input_angle(2) * 2 + 0.5       2 theta[0, 1] x[2] + 0.5

An angle is data: frozen, hashable, and compared by what it says.
"""

import math
import numbers
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, SupportsFloat, TypeVar

from qjax.checks import check, fail

Value = TypeVar("Value")


@dataclass(frozen=True)
class Parameter:
    """One entry of a named array of trainable values; `index` is () where the array is a scalar."""

    name: str
    index: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check(isinstance(self.name, str) and self.name != "", "name", "be a non-empty text", self.name)
        object.__setattr__(self, "index", tuple(as_index("index", i) for i in self.index))

    def __repr__(self) -> str:
        return f"{self.name}[{','.join(map(str, self.index))}]" if self.index else self.name


@dataclass(frozen=True)
class Input:
    """One entry of an example's `inputs` `[num_inputs]`."""

    index: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", as_index("index", self.index))

    def __repr__(self) -> str:
        return f"x[{self.index}]"


Reference = Parameter | Input
Term = tuple[float, tuple[Reference, ...]]


@dataclass(frozen=True)
class Angle:
    """An angle in radians: shift + sum of scale * product of references.

    Shift and scales are float64, references what the caller gives, float32 or float64. A simulation computes the sum
    exactly but for multiples of 4 pi, and rounds it once to the references' dtype: so large angles are right, and the
    same in every batch, with and without jit. For products of three references and more it has twice the digits of
    the dtype (44 bits of float32, 100 of float64). A product beyond the largest number of that dtype is infinite, and
    what is rotated by an infinite angle is NaN.

    Terms are kept sorted and merged, so that equal expressions are equal and hash alike. A term whose scale
    has become 0 stays: the shapes of a circuit's parameters do not depend on values.
    """

    shift: float = 0.0
    terms: tuple[Term, ...] = ()

    __array_ufunc__ = None  # so that NumPy scalars leave the arithmetic to this class

    def __post_init__(self) -> None:
        merged: dict[tuple[Reference, ...], float] = {}
        for scale, references in self.terms:
            ordered = tuple(sorted(references, key=_sort_key))
            merged[ordered] = merged.get(ordered, 0.0) + float(scale)
        terms = sorted(((s, r) for r, s in merged.items()), key=lambda term: [_sort_key(r) for r in term[1]])
        for number in (self.shift, *(scale for scale, _ in terms)):
            check(isinstance(number, numbers.Real), "angle", "be made of real numbers", number)
            check(math.isfinite(number), "angle", "be made of finite numbers", float(number))
        object.__setattr__(self, "shift", float(self.shift))
        object.__setattr__(self, "terms", tuple(terms))

    def __add__(self, other: "AngleLike") -> "Angle":
        other = as_angle(other)
        return Angle(self.shift + other.shift, self.terms + other.terms)

    __radd__ = __add__

    def __neg__(self) -> "Angle":
        return self * -1.0

    def __sub__(self, other: "AngleLike") -> "Angle":
        return self + as_angle(other) * -1.0

    def __rsub__(self, other: "AngleLike") -> "Angle":
        return as_angle(other) - self

    def __mul__(self, other: "AngleLike") -> "Angle":
        left, right = _all_terms(self), _all_terms(as_angle(other))
        products: list[Term] = [(a * b, refs_a + refs_b) for a, refs_a in left for b, refs_b in right]
        return Angle(sum((s for s, refs in products if not refs), 0.0), tuple(t for t in products if t[1]))

    __rmul__ = __mul__

    def __truediv__(self, divisor: "AngleLike") -> "Angle":
        number = as_angle(divisor)
        expectation = "be a number other than 0: angles are sums and products"
        check(number.is_constant and number.shift != 0.0, "divisor", expectation, divisor)
        return Angle(self.shift / number.shift, tuple((scale / number.shift, refs) for scale, refs in self.terms))

    @property
    def is_constant(self) -> bool:
        """Whether the angle refers to no parameter and no input."""
        return not self.terms

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every parameter and input that the angle refers to, once each."""
        return tuple(dict.fromkeys(ref for _, refs in self.terms for ref in refs))

    def evaluate(self, lookup: Callable[[Reference], Value]) -> Value | float:
        """Returns the value of the angle, given the values of its references."""
        total: Any = None
        for scale, refs in self.terms:
            product: Any = lookup(refs[0])
            for ref in refs[1:]:
                product = product * lookup(ref)
            if scale != 1.0:
                product = product * scale
            total = product if total is None else total + product
        if total is None:
            return self.shift
        return total + self.shift if self.shift else total  # type: ignore[no-any-return]

    def map_parameters(self, change: Callable[[Parameter], Parameter]) -> "Angle":
        """Returns the angle with change(parameter) in place of every parameter."""

        def move(ref: Reference) -> Reference:
            return change(ref) if isinstance(ref, Parameter) else ref

        return Angle(self.shift, tuple((scale, tuple(map(move, refs))) for scale, refs in self.terms))

    def __repr__(self) -> str:
        parts = [_show_term(scale, refs) for scale, refs in self.terms]
        if self.shift or not parts:
            parts.append(f"{self.shift:g}")
        return "+".join(parts).replace("+-", "-")


# What an angle may be given as: an Angle or a real number.
AngleLike = Angle | SupportsFloat


def _sort_key(reference: Reference) -> tuple[int, str, tuple[int, ...]]:
    if isinstance(reference, Input):
        return (0, "", (reference.index,))
    return (1, reference.name, reference.index)


def _all_terms(angle: Angle) -> tuple[Term, ...]:
    """The terms with the shift as a product of nothing, where there is one."""
    return ((angle.shift, ()), *angle.terms) if angle.shift or not angle.terms else angle.terms


def _show_term(scale: float, references: tuple[Reference, ...]) -> str:
    product = "*".join(map(repr, references))
    if scale == 1.0:
        return product
    return f"-{product}" if scale == -1.0 else f"{scale:g}*{product}"


def as_index(argument: str, value: object, least: int = 0) -> int:
    """Returns `value` as a Python int, or raises unless it is an integer of at least `least`."""
    try:
        index = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        fail(argument, "be an integer", value)
    check(not isinstance(value, bool) and index >= least, argument, f"be an integer of at least {least}", value)
    return index


def as_tuple(argument: str, values: Any) -> tuple[Any, ...]:
    """Returns a sequence as a tuple, or raises unless it is one."""
    try:
        return tuple(values)
    except TypeError:
        fail(argument, "be a sequence", values)


def as_angle(value: object) -> Angle:
    """Returns an angle as it is, and a real number as a constant angle.

    Raises:
      UserError: `value` is neither.
    """
    if isinstance(value, Angle):
        return value
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            return Angle(float(value))
        except OverflowError:
            fail("angle", "be made of finite numbers", "an integer beyond the largest float")
    expectation = "be a real number or an Angle (`parameter` and `input_angle` stand for arrays and traced values)"
    fail("angle", expectation, value)


def parameter(name: str, *index: int) -> Angle:
    """Returns the angle params[name][index]; without an index the parameter is a scalar."""
    return Angle(0.0, ((1.0, (Parameter(name, index),)),))


def input_angle(index: int) -> Angle:
    """Returns the angle inputs[index] of each example."""
    return Angle(0.0, ((1.0, (Input(index),)),))


def constant(value: SupportsFloat) -> Angle:
    """Returns a fixed angle in radians."""
    return as_angle(value)
