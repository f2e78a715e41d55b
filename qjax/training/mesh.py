"""Devices: which take part, and how a per-device function over the axis 'data' becomes one call.

The function itself is written once, for one device's share of the batch; `parallelize` wraps it by `jax.shard_map`
or by `jax.pmap`. Both take the whole batch, with its first axis dealt out in order, and a replicated state.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from qjax.checks import check, check_choice

AXIS = "data"
WRAPPERS = ("shard_map", "pmap")


def make_mesh(num_devices: int = 0) -> Mesh:
    """Returns a mesh of the first `num_devices` devices of all hosts (0: all of them) along the axis 'data'."""
    devices = jax.devices()
    check(
        0 <= num_devices <= len(devices),
        "train.num_devices",
        f"lie in 0..{len(devices)}, the number of {devices[0].platform} devices here (0 takes all)",
        num_devices,
    )
    return Mesh(np.asarray(devices[: num_devices or None]), (AXIS,))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Returns `tree` with every array whole on every device of the mesh, on one host or several."""
    sharding = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    # device_put cannot place typed keys on other hosts' devices; a jitted identity can.
    return jax.jit(lambda tree: tree, out_shardings=sharding)(jax.device_get(tree))


def shard(batch: Any, mesh: Mesh) -> Any:
    """Returns `batch` with the first axis of every array dealt out along 'data', on one host or several.

    Every process passes the whole batch (a pure function of seed and position) and places its own devices' rows.
    """
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))

    def place(array: Any) -> jax.Array:
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(place, batch)


def everywhere(condition: bool) -> bool:
    """Returns whether `condition` holds on every process; all of them call this."""
    if jax.process_count() == 1:
        return condition
    return bool(np.all(multihost_utils.process_allgather(np.asarray(condition))))


def parallelize(
    function: Callable[..., Any],
    *,
    mesh: Mesh,
    wrapper: str,
    batch_argument: int,
    num_arguments: int,
    sharded_output: bool = False,
    donate_state: bool = False,
) -> Callable[..., Any]:
    """Returns the jitted whole-batch form of a per-device function.

    Args:
      function: takes `num_arguments` positional trees; may use collectives over 'data'.
      mesh: from `make_mesh`.
      wrapper: 'shard_map' or 'pmap'.
      batch_argument: the argument whose arrays are dealt out along their first axis; the others are replicated.
      num_arguments: of `function`.
      sharded_output: the result keeps a first axis dealt out like the batch; else it is replicated.
      donate_state: let the result take over argument 0's memory. Left alone on CPU, where it gains nothing and where
        an asynchronous checkpoint may still be reading that memory.
    """
    check_choice("train.parallel", wrapper, WRAPPERS)
    donate = (0,) if donate_state and mesh.devices.flat[0].platform != "cpu" else ()
    if wrapper == "shard_map":
        out_spec = PartitionSpec(AXIS) if sharded_output else PartitionSpec()
        specs = tuple(PartitionSpec(AXIS) if i == batch_argument else PartitionSpec() for i in range(num_arguments))
        # check_vma=False: under the varying-axes check `grad` would already sum over devices and the psum after it
        # would count every gradient once a device.
        mapped = jax.shard_map(
            function,
            mesh=mesh,
            in_specs=specs,
            out_specs=out_spec,
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=donate)
    return _pmapped(
        function,
        mesh=mesh,
        batch_argument=batch_argument,
        num_arguments=num_arguments,
        sharded_output=sharded_output,
    )


def _pmapped(
    function: Callable[..., Any], *, mesh: Mesh, batch_argument: int, num_arguments: int, sharded_output: bool
) -> Callable[..., Any]:
    num_devices = mesh.size
    mapped = jax.pmap(
        function,
        axis_name=AXIS,
        devices=list(mesh.devices.flat),
        in_axes=tuple(0 if i == batch_argument else None for i in range(num_arguments)),
        out_axes=0 if sharded_output else None,
    )

    def call(*arguments: Any) -> Any:
        split = jax.tree.map(lambda x: x.reshape(num_devices, -1, *x.shape[1:]), arguments[batch_argument])
        outputs = mapped(*arguments[:batch_argument], split, *arguments[batch_argument + 1 :])
        if sharded_output:
            return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)
        return replicate(outputs, mesh)

    return call
