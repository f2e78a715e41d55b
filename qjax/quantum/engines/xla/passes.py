"""Passes over a large state: steps on neighbouring bits, done part by part while a part is in the cache.

A state that does not fit into the cache is limited by its passes over the memory. Steps that follow one another and
act on few neighbouring bits take each part of the state, all values of these bits for some values of the others, on
its own. So a part is read, taken through all of them, and written in place. Backwards a part of the state and the
same part of the cotangent go through all of them together, so that only the state after a pass is ever kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import jax.numpy as jnp
from jax import lax

from qjax.quantum.compile.compiler import MAX_KEPT_PLANS
from qjax.quantum.compile.conditions import Conditions, conditional_flip, conditional_sign
from qjax.quantum.engines.choices import MIN_LANE_BITS, PART_BITS, in_parts
from qjax.quantum.engines.xla.planes import HIGHEST, Layout, move, multiply, sum_outer, transpose
from qjax.quantum.engines.xla.steps import MAX_TABLE_QUBITS, FlipStep, GatherStep, MatrixStep, MoveStep, Step, Tensors
from qjax.types import Array


@dataclass(frozen=True)
class Pass:
    """Steps `first` to `end` of a sequence, and the bits `low` to `high` that they act on.

    A pass of one step that has no bits is done as the step does it by itself.
    """

    first: int
    end: int
    low: int = 0
    high: int = 0

    @property
    def is_blocked(self) -> bool:
        """Whether the steps are done part by part."""
        return self.high > 0


@lru_cache(maxsize=MAX_KEPT_PLANS)
def passes_of(steps: tuple[Step, ...]) -> tuple[Pass, ...]:
    """Returns the passes of steps, in order."""
    found: list[Pass] = []
    i = 0
    while i < len(steps):
        bits = _part(steps[i], _bits(steps[i]))
        end = i + 1
        while bits is not None and end < len(steps):
            more = bits if _is_signs(steps[end]) else _bits(steps[end])
            joined = _part(steps[end], more and (min(bits[0], more[0]), max(bits[1], more[1])))
            if joined is None:
                break
            bits, end = joined, end + 1
        found.append(Pass(i, end, *(bits or ())))
        i = end
    return tuple(found)


def _bits(step: Step) -> tuple[int, int] | None:
    """Returns the bits (first, last + 1) that a step acts on; None for a step that is done by itself."""
    if step.before.num_bits != step.after.num_bits:
        return None
    if isinstance(step, MoveStep) and step.before.place is not None and step.after.place is not None:
        low, high = sorted((step.before.place, step.after.place))
        return low, high + 1
    if isinstance(step, MatrixStep) and step.is_window:
        return step.first_bit, step.first_bit + len(step.qubits) + step.takes_plane
    if isinstance(step, GatherStep) and step.before.num_qubits > MAX_TABLE_QUBITS:
        return _bits_of_flips(step)
    return None


def _bits_of_flips(step: GatherStep) -> tuple[int, int] | None:
    """Returns the bits of the targets of a permutation that flips qubits under conditions; None for another one."""
    flips = [conditional_flip(op) for op in step.operations]
    if any(flip is None for flip in flips):
        return None
    targets = [step.before.bit(flip[0]) for flip in flips if flip]
    return min(targets), max(targets) + 1


def _is_signs(step: Step) -> bool:
    """Whether a step changes signs under conditions, which any part of the state can do by itself."""
    return isinstance(step, FlipStep) and all(conditional_sign(op) is not None for op in step.operations)


def _part(step: Step, bits: tuple[int, int] | None) -> tuple[int, int] | None:
    """Returns the bits of a part for steps on some bits; None where a part would not fit into the cache."""
    total = step.before.num_bits
    if bits is None or not in_parts(total):
        return None
    last = max(total - PART_BITS, 0)
    if bits[0] >= last:  # neighbours in memory
        return last, total
    return bits if bits[1] - bits[0] <= PART_BITS - MIN_LANE_BITS else None


def is_shared(state: Array, tensors: Sequence[Tensors]) -> bool:
    """Whether there is one state, with matrices that belong to no example."""
    return state.shape[-1] == 1 and all(x.ndim < 3 or x.shape[-1] == 1 for own in tensors for x in own)


def run_pass(
    steps: Sequence[Step], one: Pass, state: Array, tensors: Sequence[Tensors], *, back: bool = False
) -> Array:
    """Returns the state `[2**bits, 1]` after the steps of a pass; with `back` the state or cotangent before them."""
    pairs = list(zip(steps, tensors, strict=True))

    def through(_: Any, parts: tuple[Array, ...], where: _Where) -> tuple[Any, tuple[Array, ...]]:
        (part,) = parts
        for step, own in reversed(pairs) if back else pairs:
            part = _run_step(step, where, part, own, back)
        return (), (part,)

    return _part_by_part(through, one, (), (state,))[1][0]


def pull_pass(
    steps: Sequence[Step], one: Pass, after: Array, cotangent: Array, tensors: Sequence[Tensors]
) -> tuple[Array, Array, tuple[Tensors, ...]]:
    """Returns state and cotangent before the steps of a pass, and the cotangents of the tensors.

    With y = R x, the cotangent of R is the sum of ct_y x^T, which is R times the sum of ct_x x^T, since R is
    orthogonal. Taken from what is before a step, it leaves each part one use only, without which XLA would copy the
    whole state for each part.
    """
    zeros = tuple(tuple(jnp.zeros((x.shape[1],) * 2, x.dtype) for x in own) for own in tensors)

    def through(sums: Any, parts: tuple[Array, ...], where: _Where) -> tuple[Any, tuple[Array, ...]]:
        state, slope = parts
        added: list[Tensors] = []
        for step, own, total in zip(reversed(steps), reversed(tensors), reversed(sums), strict=True):
            state, slope = (_run_step(step, where, x, own, True) for x in (state, slope))
            if own:
                groups = 2 ** (cast(MatrixStep, step).first_bit - one.low)
                added.append((total[0] + sum_outer(slope, state, own[0].shape[1], groups),))
            else:
                added.append(())
        return tuple(reversed(added)), (state, slope)

    sums, (before, pulled) = _part_by_part(through, one, zeros, (after, cotangent))
    slopes = tuple(
        tuple(jnp.matmul(x[:, :, 0], s, precision=HIGHEST)[:, :, None] for x, s in zip(own, total, strict=True))
        for own, total in zip(tensors, sums, strict=True)
    )
    return before, pulled, slopes


def _part_by_part(
    function: Callable[[Any, tuple[Array, ...], "_Where"], tuple[Any, tuple[Array, ...]]],
    one: Pass,
    carry: Any,
    states: tuple[Array, ...],
) -> tuple[Any, tuple[Array, ...]]:
    """Takes each part `[2**bits, lanes]` of the states through function(carry, parts, where), in place.

    The function returns the new (carry, parts).
    """
    outside, rows, width = 2**one.low, 2 ** (one.high - one.low), states[0].size >> one.high
    lanes = min(width, 2**PART_BITS // rows)
    count = width // lanes
    # No axis of length 1: XLA would hold it in several orders, and copy the state from one to another.
    shape: tuple[int, ...] = (outside, rows, width) if outside > 1 else (rows, width)
    size: tuple[int, ...] = (1, rows, lanes) if outside > 1 else (rows, lanes)
    if count == 1:
        shape, size = (states[0].size,), (rows * lanes,)

    def step(i: Array, held: Any) -> Any:
        carry, cubes = held
        start = (i // count, 0, i % count * lanes)
        place = (i * rows * lanes,) if count == 1 else start[-len(shape) :]
        parts = tuple(lax.dynamic_slice(x, place, size).reshape(-1, lanes) for x in cubes)
        carry, parts = function(carry, parts, _Where(one, states[0].size, start[0], start[2], lanes))
        new = (lax.dynamic_update_slice(x, part.reshape(size), place) for x, part in zip(cubes, parts, strict=True))
        return carry, tuple(new)

    carry, cubes = lax.fori_loop(0, outside * count, step, (carry, tuple(x.reshape(shape) for x in states)))
    return carry, tuple(x.reshape(-1, 1) for x in cubes)


@dataclass(frozen=True)
class _Where:
    """Which part of the state is at hand.

    Attributes:
      one: the pass.
      size: numbers in the state.
      outside: value of the bits before those of the pass.
      first_lane: value of the bits after them, of the first column.
      lanes: columns.
    """

    one: Pass
    size: int
    outside: Array
    first_lane: Array
    lanes: int

    def bit(self, bit: int) -> Array:
        """Returns the value of a bit of the state, in a shape that broadcasts to `[2**bits, lanes]`."""
        low, high = self.one.low, self.one.high
        if bit < low:
            return (self.outside >> (low - 1 - bit) & 1)[None, None]
        if bit < high:
            rows = lax.iota(jnp.int32, 2 ** (high - low))[:, None]
            return rows >> (high - 1 - bit) & 1
        columns = self.first_lane + lax.iota(jnp.int32, self.lanes)[None]
        return columns >> (self.size.bit_length() - 2 - bit) & 1

    def holds(self, layout: Layout, conditions: Conditions) -> Array:
        """Returns where qubits have the values wanted, in a shape that broadcasts to `[2**bits, lanes]`."""
        held = jnp.ones((1, 1), bool)
        for qubit, value in conditions:
            held = held & (self.bit(layout.bit(qubit)) == value)
        return held


def _run_step(step: Step, where: _Where, part: Array, tensors: Tensors, back: bool) -> Array:
    """Returns a part after a step, with `back` before it."""
    low = where.one.low
    if isinstance(step, MatrixStep):
        matrix = step.matrix(tensors)
        return multiply(part, transpose(matrix) if back else matrix, step.first_bit - low)
    if isinstance(step, FlipStep):
        for op in step.operations:
            part = jnp.where(where.holds(step.before, cast(Conditions, conditional_sign(op))), -part, part)
        return part
    if isinstance(step, GatherStep):
        for op in reversed(step.operations) if back else step.operations:  # each is its own inverse
            target, conditions = cast(tuple[int, Conditions], conditional_flip(op))
            cut = part.reshape(2 ** (step.before.bit(target) - low), 2, -1)
            flipped = cut[:, ::-1].reshape(part.shape)
            part = jnp.where(where.holds(step.before, conditions), flipped, part)
        return part
    assert step.before.place is not None
    assert step.after.place is not None
    old, new = step.before.place - low, step.after.place - low
    return move(part, *((new, old) if back else (old, new)))
