"""Grover iterations repeated: many of them in one pass over the state.

An iteration changes the signs of marked amplitudes and subtracts twice the mean of all. What is subtracted next
follows from the sum of the marked amplitudes and that of the others: a change of signs turns the first sum over, and
a subtraction takes the same from each amplitude. So both sums are taken once, every number to subtract follows from
them, and one pass gives each amplitude all of its updates.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.compile.conditions import conditional_sign
from qjax.quantum.engines.choices import MAX_MASK_QUBITS
from qjax.quantum.engines.xla.planes import HIGHEST
from qjax.quantum.engines.xla.steps import FlipStep, ReflectionStep, Step
from qjax.quantum.states.barriers import barrier
from qjax.quantum.states.sums import sum_rows
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
    has_masks = n <= MAX_MASK_QUBITS
    rows = np.arange(2**n) if has_masks else lax.iota(jnp.int32, 2**n)
    marked = _marked(flip, rows).reshape(cut[0], 1, -1, 1)
    counts = [x.sum(dtype=state.dtype) for x in (marked, ~marked)]
    share = jnp.asarray(2.0 ** (1 - n), state.dtype)

    def total(array: Array) -> Array:
        return jnp.stack([sum_rows(array[:, plane]) for plane in range(planes)])[None, :, None]

    def both_sums(current: Array) -> Sequence[Array]:
        if not has_masks:
            return [total(jnp.where(mask, current, 0)) for mask in (marked, ~marked)]
        masks = np.stack([marked, ~marked])[:, :, 0, :, 0].astype(state.dtype)
        return list(jnp.einsum("sah,aphb->spb", masks, current, precision=HIGHEST)[:, None, :, None])

    def fused(current: Array, count: int) -> Array:
        sums = both_sums(current)
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


def _marked(flip: FlipStep, rows: Any) -> Any:
    """Returns which of the basis states `rows` change their sign, `[rows]`, from NumPy's integers or JAX's."""
    n = flip.before.num_qubits
    marked = rows < 0
    for op in flip.operations:
        fixed = wanted = 0
        for qubit, value in conditional_sign(op) or ():
            fixed |= 1 << (n - 1 - qubit)
            wanted |= value << (n - 1 - qubit)
        marked = marked ^ (rows & fixed == wanted)
    return marked
