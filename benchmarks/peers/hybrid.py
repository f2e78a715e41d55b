"""W6: a training step around a circuit, the same for every circuit that JAX can differentiate."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.case import Case
from benchmarks.peers.base import Run

LEARNING_RATE = 1e-3


def step_run(case: Case, circuit: Callable[[Any, Any], Any]) -> Run:
    """Returns a run of: Dense, circuit, Dense, cross entropy, gradient, AdamW.

    Args:
      case: what to run; its first weights are the circuit's parameters.
      circuit: (weights `[num_weights]`, angles `[batch, n]`) -> `[batch, n]`.
    """
    data = {name: jnp.asarray(array) for name, array in case.training.items()}
    features, labels = data.pop("features"), data.pop("labels")
    params = data | {"circuit": jnp.asarray(case.weights, jnp.float32)}
    optimizer = optax.adamw(LEARNING_RATE)

    def make_step(layer: Callable[[Any, Any], Any]) -> Callable[[], Any]:
        def loss(params: Any, features: Any, labels: Any) -> Any:
            angles = jnp.pi * jnp.tanh(features @ params["kernel_in"] + params["bias_in"])
            logits = layer(params["circuit"], angles) @ params["kernel_out"] + params["bias_out"]
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        def step(params: Any, state: Any, features: Any, labels: Any) -> Any:
            value, grads = jax.value_and_grad(loss)(params, features, labels)
            updates, state = optimizer.update(grads, state, params)
            return value, grads, optax.apply_updates(params, updates), state

        args = (params, optimizer.init(params), features, labels)
        compiled = jax.jit(step).lower(*args).compile()
        return lambda: jax.block_until_ready(compiled(*args))

    def result(out: Any) -> dict[str, np.ndarray]:
        value, grads = out[0], out[1]
        return {
            "value": np.asarray(value),
            "weights": np.asarray(grads["circuit"]),
            "kernel": np.asarray(grads["kernel_in"]),
        }

    # The classical step: the same without the circuit, whose place a multiplication takes.
    return Run(make_step(circuit), result, also={"classical": make_step(lambda w, x: x * jnp.mean(w))})
