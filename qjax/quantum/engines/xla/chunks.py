"""A batch in parts, one after the other, so that the states of a part stay in the cache."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from qjax.types import Array


def batch_of_tree(tree: Any) -> int:
    """Returns the number of examples in arrays `[..., 1 or batch]`."""
    return max((x.shape[-1] for x in jax.tree.leaves(tree)), default=1)


def in_chunks(function: Callable[[Any], tuple[Any, Any]], tree: Any, batch: int, size: int) -> tuple[Any, Any]:
    """Returns function(tree), computed for `size` examples at a time.

    Args:
      function: from arrays `[..., 1 or size]` to two trees: arrays `[..., size]`, which are put side by side, and
        arrays that are added up. It must give 0 where cotangents are 0.
      tree: arrays `[..., 1 or batch]`; where the last part is not full, zeros fill it up.
      batch: number of examples.
      size: of a part.
    """
    count = -(-batch // size)
    size = -(-batch // count)
    room = count * size - batch

    def fill(x: Array) -> Array:
        return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, room)]) if x.shape[-1] > 1 and room else x

    filled = jax.tree.map(fill, tree)

    def part(i: Any) -> tuple[Any, Any]:
        cut = lambda x: x if x.shape[-1] == 1 else lax.dynamic_slice_in_dim(x, i * size, size, x.ndim - 1)  # noqa: E731
        return function(jax.tree.map(cut, filled))

    shapes = jax.eval_shape(part, jax.ShapeDtypeStruct((), jnp.int32))[1]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def step(added: Any, i: Array) -> tuple[Any, Any]:
        own, more = part(i)
        return jax.tree.map(jnp.add, added, more), own

    added, parts = lax.scan(step, zeros, jnp.arange(count, dtype=jnp.int32))

    def join(x: Array) -> Array:
        moved = jnp.moveaxis(x, 0, -2)
        return moved.reshape((*moved.shape[:-2], -1))[..., : batch if x.shape[-1] else 0]

    return jax.tree.map(join, parts), added
