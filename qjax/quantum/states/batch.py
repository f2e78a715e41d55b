"""Arrays whose last axis is the batch: `[..., 1]` if all examples share them, else `[..., batch]`."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from qjax.types import Array

# Shape and dtype of each array.
Shapes = tuple[tuple[tuple[int, ...], Any], ...]


def batch_of(arrays: Sequence[Array]) -> int:
    """Returns the number of examples in arrays `[..., 1 or batch]`."""
    return max((x.shape[-1] for x in arrays), default=1)


def batch_of_shapes(shapes: Shapes) -> int:
    """Returns the number of examples in arrays of these shapes."""
    return max((shape[-1] for shape, _ in shapes), default=1)


def with_batch(array: Array, batch: int) -> Array:
    """Returns the array as `[..., batch]`."""
    return array if array.shape[-1] == batch else jnp.broadcast_to(array, (*array.shape[:-1], batch))


def shapes_of(operands: Sequence[Any]) -> Shapes:
    """Returns shape and dtype of each array, traced or not."""
    return tuple((tuple(x.shape), x.dtype) for x in operands)
