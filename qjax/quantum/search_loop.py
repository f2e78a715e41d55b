"""Grover iterations repeated: many of them in one pass over the state.

An iteration changes the signs of marked amplitudes and subtracts twice the mean of all. What is subtracted next
follows from the sum of the marked amplitudes and that of the others: a change of signs turns the first sum over, and
a subtraction takes the same from each amplitude. So both sums are taken once, every number to subtract follows from
them, and one pass gives each amplitude all of its updates.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from qjax.quantum.barriers import barrier
from qjax.quantum.conditions import conditional_sign
from qjax.quantum.planes import sum_rows
from qjax.quantum.steps import FlipStep, ReflectionStep, Step
from qjax.types import Array

# Iterations of one pass: fewer sums, but rounding errors of the two sums grow with each.
MAX_FUSED = 16


def is_search(body: Sequence[Step]) -> bool:
    """Whether steps are a change of signs, under conditions that XLA can compute, and a reflection about the mean."""
    if len(body) != 2:
        return False
    flip, reflection = sorted(body, key=lambda step: isinstance(step, ReflectionStep))
    return (
        isinstance(flip, FlipStep)
        and isinstance(reflection, ReflectionStep)
        and len(reflection.qubits) == reflection.before.num_qubits
        and all(conditional_sign(op) is not None for op in flip.operations)
    )


def repeat_search(body: Sequence[Step], reps: int, state: Array, *, back: bool) -> Array:
    """Returns the state `[2**bits, batch]` after all repetitions of a body; with `back` the state before them.

    Args:
      body: two steps, see `is_search`; each is its own inverse.
      reps: repetitions.
      state: with bit c anywhere, or real.
      back: whether to undo.
    """
    layout, n = body[0].before, body[0].before.num_qubits
    flip = next(step for step in body if isinstance(step, FlipStep))
    flips_first = isinstance(body[0], FlipStep) != back
    planes = 1 if layout.place is None else 2
    cut = (2 ** (layout.place or 0), planes, -1, state.shape[-1])
    marked = _marked(flip, n).reshape(cut[0], 1, -1, 1)
    share = jnp.asarray(2.0 ** (1 - n), state.dtype)
    counts = [x.sum(dtype=state.dtype) for x in (marked, ~marked)]

    def total(array: Array) -> Array:
        return jnp.stack([sum_rows(array[:, plane]) for plane in range(planes)])[None, :, None]

    def fused(current: Array, count: int) -> Array:
        sums = [total(jnp.where(mask, current, 0)) for mask in (marked, ~marked)]
        taken = []
        for _ in range(count):
            first = -sums[0] if flips_first else sums[0]
            taken.append((first + sums[1]) * share)
            after = first - counts[0] * taken[-1]
            sums = [after if flips_first else -after, sums[1] - counts[1] * taken[-1]]
        for number in barrier(taken):
            if flips_first:
                current = jnp.where(marked, -current, current) - number
            else:
                current = current - number
                current = jnp.where(marked, -current, current)
        return barrier(current)

    current = state.reshape(cut)
    if reps >= MAX_FUSED:
        current = lax.fori_loop(0, reps // MAX_FUSED, lambda _, x: fused(x, MAX_FUSED), current)
    if reps % MAX_FUSED:
        current = fused(current, reps % MAX_FUSED)
    return current.reshape(state.shape)


def _marked(flip: FlipStep, n: int) -> Array:
    """Returns which basis states change their sign, `[2**n]`, computed and not held as a constant."""
    rows = lax.iota(jnp.int32, 2**n)
    marked: Array = jnp.zeros(2**n, bool)
    for op in flip.operations:
        fixed = wanted = 0
        for qubit, value in conditional_sign(op) or ():
            fixed |= 1 << (n - 1 - qubit)
            wanted |= value << (n - 1 - qubit)
        marked = marked ^ (rows & fixed == wanted)
    return marked
