"""The leaves of a state as a checkpoint sees them: types as text, and what makes a restored one like a fresh one.

`jit` looks at more than values: sharding, weak type, and whether an array is committed to its devices. Where one of
them differs after a restore, the first step compiles again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.checks import check
from qjax.types import PyTree


def describe(state: PyTree) -> dict[str, str]:
    """Path of each leaf -> type and shape, such as `float32[8,3]` or `key<fry>[]`."""
    described = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        name = jax.tree_util.keystr(path)
        is_array = isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)
        check(is_array, f"state{name}", "be a jax.Array, so that it is restored as it was saved", type(leaf).__name__)
        described[name] = f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
    return described


def check_fit(folder: Path, saved: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raises one `UserError` that names every leaf in which the checkpoint and the target differ."""
    differences = [
        f"{name}: {saved.get(name, 'nothing')} saved, {wanted.get(name, 'nothing')} expected"
        for name in sorted({*saved, *wanted})
        if saved.get(name) != wanted.get(name)
    ]
    found = f"{len(differences)} that differ: " + "; ".join(differences)
    check(not differences, str(folder), "hold the leaves of the model being restored", found)


def abstract_leaf(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Shape, type and sharding of a leaf; one without a sharding goes to the first device."""
    sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)  # type: ignore[no-untyped-call]


def as_fresh(restored: Any, target: Any) -> Any:
    """`restored` with the two properties that orbax loses and `jit` looks at: uncommitted, and weakly typed."""
    if not isinstance(target, jax.Array):
        return restored
    if jnp.issubdtype(target.dtype, jax.dtypes.prng_key):
        if target.committed:
            return restored
        data = jnp.asarray(np.asarray(jax.random.key_data(restored)))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(target))
    if not target.committed:
        restored = jnp.asarray(np.asarray(restored))
    if target.weak_type:
        return jnp.asarray(target.at[...].set(restored))  # an update keeps the weak type of what it updates
    return restored
