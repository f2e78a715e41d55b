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

from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.conditions import conditional_sign, hold
from qjax.quantum.compile.stages import Flip, Loop
from qjax.quantum.states.barriers import barrier
from qjax.quantum.states.sums import sum_rows
from qjax.types import Array

# Iterations of one pass: fewer sums, but rounding errors of the two sums grow with each.
MAX_FUSED = 16
# Up to so many qubits both sums are one product with constant masks, above they are sums that need none (n = 8, 10,
# 16, 50 iterations: 8.6, 11 and 233 us for 16, 19 and 282).
MAX_MASK_QUBITS = 16


def repeat_search(loop: Loop, state: Array, *, back: bool) -> Array:
    """Returns the state `[2**n, batch]` after all repetitions of a search, or with `back` the state before them."""
    n = len(state).bit_length() - 1
    flip = next(stage for stage in loop.body if isinstance(stage, Flip))
    flips_first = isinstance(loop.body[0], Flip) != back
    has_masks = n <= MAX_MASK_QUBITS
    marked = marked_rows(flip.operations, np.arange(2**n) if has_masks else lax.iota(np.int32, 2**n), n)[:, None]
    counts = [mask.sum(dtype=state.dtype) for mask in (marked, ~marked)]
    share = 2.0 ** (1 - n)

    def both_sums(current: Array) -> list[Array]:  # each `[1, batch]`
        if not has_masks:
            return [sum_rows(jnp.where(mask, current, 0))[None] for mask in (marked, ~marked)]
        masks = np.concatenate([marked, ~marked], axis=1).T.astype(state.dtype)
        return jnp.split(jnp.matmul(masks, current, precision=lax.Precision.HIGHEST), 2)

    def fused(current: Array, count: int) -> Array:
        of_marked, of_others = both_sums(current)
        taken = []
        for _ in range(count):
            first = -of_marked if flips_first else of_marked
            taken.append((first + of_others) * share)
            after = first - counts[0] * taken[-1]
            of_marked, of_others = after if flips_first else -after, of_others - counts[1] * taken[-1]
        for number in barrier(taken):
            if flips_first:
                current = jnp.where(marked, -current, current) - number
            else:
                current = current - number
                current = jnp.where(marked, -current, current)
        return barrier(current)

    if loop.reps >= MAX_FUSED:
        state = lax.fori_loop(0, loop.reps // MAX_FUSED, lambda _, x: fused(x, MAX_FUSED), state)
    return fused(state, loop.reps % MAX_FUSED) if loop.reps % MAX_FUSED else state


def marked_rows(operations: Sequence[Operation], rows: Any, n: int) -> Any:
    """Returns which of the basis states `rows`, integers of NumPy or JAX, change their sign by conditional signs."""
    marked = rows < 0
    for op in operations:
        marked = marked ^ hold(rows, conditional_sign(op) or (), n)
    return marked
