"""Run by test_shards.py in a process with two CPU devices: loss and gradient by shard_map, the batch cut in two.

Writes an .npz: for each engine, those of one device and those of two, with and without
the check of varying axes.
"""

import sys
from typing import Any

import jax
import numpy as np
from by_engine import by
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, PartitionSpec

from qjax.quantum import Circuit, Repeat, angle_encoding, expectation, input_angle, parameter, z_observables

BATCH, N = 8, 2


def main(path: str) -> None:
    body = Circuit(N).append("crx", (0, 1), parameter("s")).append("ry", 1, parameter("s") * input_angle(1))
    own = Circuit(N).append("rx", 0, parameter("w", 0)).append("cx", (0, 1))
    circuit = angle_encoding(N) + Circuit(N, (Repeat(own, 40), Repeat(body, 40, shared=True)))
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=shape).astype(np.float32) / 4 for name, shape in circuit.parameter_shapes.items()}
    inputs = rng.normal(size=(BATCH, N)).astype(np.float32)
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))
    results = {}
    for way in ("auto", "XLA"):

        def loss(p: Any, x: Any, way: Any = way) -> Any:
            return (by(way, expectation, circuit, p, x, z_observables(N)) ** 2).sum()

        def on_each(p: Any, x: Any, checked: bool, loss: Any = loss) -> Any:
            value, gradient = jax.value_and_grad(loss)(p, x)
            # With the check, the gradient of what all devices share is summed over them by itself.
            return jax.lax.psum(value, "d"), gradient if checked else jax.lax.psum(gradient, "d")

        results[f"{way}/one"] = ravel_pytree(jax.jit(jax.value_and_grad(loss))(params, inputs))[0]
        for checked in (True, False):
            specs = {"in_specs": (PartitionSpec(), PartitionSpec("d")), "out_specs": PartitionSpec()}
            two = jax.shard_map(lambda p, x, c=checked, f=on_each: f(p, x, c), mesh=mesh, check_vma=checked, **specs)
            results[f"{way}/{checked}"] = ravel_pytree(jax.jit(two)(params, inputs))[0]
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
