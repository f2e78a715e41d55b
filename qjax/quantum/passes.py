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

from qjax.quantum.choices import MIN_LANE_BITS, MIN_PASS_BITS, PART_BITS
from qjax.quantum.planes import HIGHEST, move, multiply, sum_outer, transpose
from qjax.quantum.steps import MatrixStep, MoveStep, Step, Tensors
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


@lru_cache(maxsize=512)
def passes_of(steps: tuple[Step, ...]) -> tuple[Pass, ...]:
    """Returns the passes of steps, in order."""
    found: list[Pass] = []
    i = 0
    while i < len(steps):
        bits = _part(steps[i], _bits(steps[i]))
        end = i + 1
        while bits is not None and end < len(steps):
            more = _bits(steps[end])
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
    return None


def _part(step: Step, bits: tuple[int, int] | None) -> tuple[int, int] | None:
    """Returns the bits of a part for steps on some bits; None where a part would not fit into the cache."""
    total = step.before.num_bits
    if bits is None or total < MIN_PASS_BITS:
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

    def through(_: Any, parts: tuple[Array, ...]) -> tuple[Any, tuple[Array, ...]]:
        (part,) = parts
        for step, own in reversed(pairs) if back else pairs:
            part = _run_step(step, one, part, own, back)
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

    def through(sums: Any, parts: tuple[Array, ...]) -> tuple[Any, tuple[Array, ...]]:
        state, slope = parts
        added: list[Tensors] = []
        for step, own, total in zip(reversed(steps), reversed(tensors), reversed(sums), strict=True):
            state, slope = (_run_step(step, one, x, own, True) for x in (state, slope))
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
    function: Callable[[Any, tuple[Array, ...]], tuple[Any, tuple[Array, ...]]],
    one: Pass,
    carry: Any,
    states: tuple[Array, ...],
) -> tuple[Any, tuple[Array, ...]]:
    """Takes each part `[2**bits, lanes]` of the states through function(carry, parts) -> (carry, parts), in place."""
    outside, width = 2**one.low, states[0].size >> one.high
    lanes = min(width, 2 ** (PART_BITS - (one.high - one.low)))
    count = width // lanes
    shape = (outside, 2 ** (one.high - one.low), width)

    def step(i: Array, held: Any) -> Any:
        carry, cubes = held
        start = (i // count, 0, i % count * lanes)
        parts = tuple(lax.dynamic_slice(x, start, (1, shape[1], lanes)).reshape(-1, lanes) for x in cubes)
        carry, parts = function(carry, parts)
        new = (
            lax.dynamic_update_slice(x, part.reshape(1, shape[1], lanes), start)
            for x, part in zip(cubes, parts, strict=True)
        )
        return carry, tuple(new)

    carry, cubes = lax.fori_loop(0, outside * count, step, (carry, tuple(x.reshape(shape) for x in states)))
    return carry, tuple(x.reshape(-1, 1) for x in cubes)


def _run_step(step: Step, one: Pass, part: Array, tensors: Tensors, back: bool) -> Array:
    """Returns a part after a step, with `back` before it."""
    if isinstance(step, MatrixStep):
        matrix = step.matrix(tensors)
        return multiply(part, transpose(matrix) if back else matrix, step.first_bit - one.low)
    assert step.before.place is not None
    assert step.after.place is not None
    old, new = step.before.place - one.low, step.after.place - one.low
    return move(part, *((new, old) if back else (old, new)))
