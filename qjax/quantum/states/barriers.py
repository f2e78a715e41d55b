"""What keeps XLA from computing an array anew in every kernel that reads it."""

from typing import TypeVar, cast

import jax
from jax import lax

from qjax.types import Array

# Whether XLA keeps an optimization barrier until it has fused: on the CPU, jax 0.10 does not.
BARRIER_HOLDS = jax.__version_info__ >= (0, 11)

Arrays = TypeVar("Arrays", Array, list[Array])


def barrier(arrays: Arrays) -> Arrays:
    """Returns the arrays; XLA computes them once, before anything that uses them."""
    return cast(Arrays, lax.optimization_barrier(arrays))  # type: ignore[no-untyped-call]


def stored(array: Array) -> Array:
    """Returns `[rows, ...]` as a `barrier` does, also where XLA drops that one before it fuses.

    Then an update of a row by itself takes its place: XLA computes what is updated before it. For a single
    state the copies that it makes are not worth it.
    """
    if BARRIER_HOLDS or array.shape[-1] == 1:
        return barrier(array)
    axis = next((i for i, size in enumerate(array.shape) if size > 1), 0)
    return lax.dynamic_update_slice_in_dim(array, lax.slice_in_dim(array, 0, 1, axis=axis), 0, axis)
