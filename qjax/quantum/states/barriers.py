"""Barriers that keep XLA from computing an array again in every kernel that reads it."""

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
    """Returns `[rows, ...]` as a `barrier` does, also in versions of XLA that drop a barrier before they fuse.

    There a row is updated with its own value instead: XLA computes the array before the update. The copies that
    this makes are not worth it for a single state.
    """
    if BARRIER_HOLDS or array.shape[-1] == 1:
        return barrier(array)
    axis = next((i for i, size in enumerate(array.shape) if size > 1), 0)
    return lax.dynamic_update_slice_in_dim(array, lax.slice_in_dim(array, 0, 1, axis=axis), 0, axis)
