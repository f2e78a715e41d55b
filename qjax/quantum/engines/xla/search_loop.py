"""Grover iterations repeated: any number of them in two passes over the state.

An iteration changes the signs of the marked amplitudes and subtracts twice the mean of all. The even superpositions
of marked and of other basis states span a plane that it maps to itself. Up to a sign it is a rotation there, by twice
the angle theta with sin(theta)^2 the marked share (Boyer et al. 1996, arXiv:quant-ph/9605034). What is orthogonal to
the plane has no mean: only its signs change. So many iterations are a change of signs, and one number added to all
marked amplitudes and one to all others, which follow from the sums of both.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.conditions import conditional_sign, hold
from qjax.quantum.compile.stages import Flip, Loop
from qjax.quantum.states.axes import num_qubits_of
from qjax.quantum.states.barriers import barrier
from qjax.types import Array


def repeat_search(loop: Loop, state: Array, *, back: bool) -> Array:
    """Returns the state `[2**n, batch]` after all repetitions of a search, or with `back` the state before them."""
    n = num_qubits_of(state)
    flip = next(stage for stage in loop.body if isinstance(stage, Flip))
    weights = search_weights(_count_marked(flip.operations, n), 2**n, loop.reps)
    flips_first = isinstance(loop.body[0], Flip) != back
    marked = marked_rows(flip.operations, lax.iota(np.int32, 2**n), n)[:, None]
    return iterate(state, marked, weights if flips_first else weights.T, loop.reps % 2 == 1)


@lru_cache(maxsize=64)
def _count_marked(operations: tuple[Operation, ...], n: int) -> int:
    """Returns the number of marked rows: counted once, not for each state of each pass."""
    return int(np.count_nonzero(marked_rows(operations, np.arange(2**n, dtype=np.int32), n)))


def search_weights(num_marked: int, num_states: int, reps: int | np.ndarray) -> np.ndarray:
    """Returns the factors of both sums (columns) in what marked and other amplitudes (rows) gain, `[..., 2, 2]`.

    They are those of iterations that change signs first. Those that do it last are their inverse, the transpose.

    Args:
      num_marked: number of marked states.
      num_states: number of all states.
      reps: number of iterations, an integer or `[...]`.
    """
    others, sign = num_states - num_marked, 1 - 2 * (np.asarray(reps) % 2)
    angle = reps * math.atan2(math.sqrt(num_marked), math.sqrt(others))
    across = sign * np.sin(2 * angle) / math.sqrt(max(1, num_marked * others))
    of_marked = -2 * sign * np.sin(angle) ** 2 / max(1, num_marked)
    of_others = -2 * np.where(sign > 0, np.sin(angle), np.cos(angle)) ** 2 / max(1, others)
    return np.moveaxis(np.array([[of_marked, across], [-across, of_others]]), (0, 1), (-2, -1))


def iterate(state: Array, marked: Array, weights: Any, is_odd: Any) -> Array:
    """Returns the state `[2**n, batch]` after as many iterations as `search_weights` are given for.

    Args:
      state: the state before them.
      marked: which rows are marked, `[2**n, 1]`.
      weights: see `search_weights`.
      is_odd: whether the number of iterations is odd.
    """
    of_marked, of_others = (jnp.where(rows, state, 0).sum(axis=0, keepdims=True) for rows in (marked, ~marked))
    factors = jnp.asarray(weights).astype(state.dtype)
    gains = barrier([row[0] * of_marked + row[1] * of_others for row in factors])
    return jnp.where(marked, jnp.where(is_odd, -state, state) + gains[0], state + gains[1])


def marked_rows(operations: Sequence[Operation], rows: Any, n: int) -> Any:
    """Returns which of the basis states `rows`, integers of NumPy or JAX, change their sign by conditional signs."""
    marked = rows < 0
    for op in operations:
        marked = marked ^ hold(rows, conditional_sign(op) or (), n)
    return marked
