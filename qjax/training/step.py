"""One training step and one prediction step, each written for one device's share of the batch."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh

from qjax.checks import check
from qjax.training.losses import loss_sums
from qjax.training.mesh import AXIS, parallelize
from qjax.training.state import TrainState, merge_params
from qjax.types import Array, Key

# A batch maps names to arrays [batch, ...]: what the model reads, 'labels' (-1 where nothing counts) and 'ids', the
# examples' indices in the data set (-1 for a filling row).
Batch = Mapping[str, Any]
Apply = Callable[..., Any]  # model.apply
Sums = dict[str, Any]  # 'loss', 'count', 'correct': float scalars, summed over items


def example_keys(key: Key[Array, ""], step: Any, ids: Any) -> Key[Array, " batch"]:
    """Returns one dropout key an example: a function of run, step and example, never of its place in the batch."""
    step_key = jax.random.fold_in(key, step)
    return jax.vmap(lambda i: jax.random.fold_in(step_key, i))(jnp.maximum(ids, 0))


def sums_and_gradient(apply: Apply, params: Any, frozen: Any, batch: Batch, *, dropout_keys: Any) -> tuple[Sums, Any]:
    """Returns this batch's sums and the gradient of its summed (not averaged) loss."""

    def summed_loss(params: Any) -> tuple[Any, Sums]:
        logits = apply({"params": merge_params(params, frozen)}, batch, dropout_keys=dropout_keys)
        loss, count, correct = loss_sums(logits, batch["labels"])
        return loss, {"loss": loss, "count": count, "correct": correct}

    (_, sums), gradient = jax.value_and_grad(summed_loss, has_aux=True)(params)
    return sums, gradient


def accumulated(
    apply: Apply, params: Any, frozen: Any, batch: Batch, *, dropout_keys: Any, num_micro_batches: int
) -> tuple[Sums, Any]:
    """Returns the same as `sums_and_gradient`, computed in `num_micro_batches` parts one after another."""
    if num_micro_batches == 1:
        return sums_and_gradient(apply, params, frozen, batch, dropout_keys=dropout_keys)
    parts = jax.tree.map(
        lambda x: x.reshape(num_micro_batches, -1, *x.shape[1:]), {"batch": dict(batch), "keys": dropout_keys}
    )

    def add(total: Any, part: Any) -> tuple[Any, None]:
        here = sums_and_gradient(apply, params, frozen, part["batch"], dropout_keys=part["keys"])
        return jax.tree.map(jnp.add, total, here), None

    shapes = jax.eval_shape(
        lambda part: sums_and_gradient(apply, params, frozen, part["batch"], dropout_keys=part["keys"]),
        jax.tree.map(lambda x: x[0], parts),
    )
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return lax.scan(add, zeros, parts)[0]


def mean_loss_and_gradient(
    apply: Apply, params: Any, frozen: Any, batch: Batch, *, dropout_keys: Any, num_micro_batches: int = 1
) -> tuple[Sums, Any]:
    """Returns the sums over all devices and the gradient of the loss averaged over all valid items.

    Runs on one device of the axis 'data'. Sums, counts and gradients are added over micro-batches and devices, and
    divided once.
    """
    sums, gradient = accumulated(
        apply, params, frozen, batch, dropout_keys=dropout_keys, num_micro_batches=num_micro_batches
    )
    sums, gradient = lax.psum((sums, gradient), AXIS)
    count = jnp.maximum(sums["count"], 1)
    return sums, jax.tree.map(lambda g: (g / count).astype(g.dtype), gradient)


def update(
    state: TrainState, gradient: Any, loss: Any, optimizer: optax.GradientTransformation
) -> tuple[TrainState, Any]:
    """Returns the next state and the gradient's norm; see `TrainState.finite` for a gradient that is not finite."""
    norm = optax.tree.norm(gradient)
    finite = state.finite & jnp.isfinite(norm) & jnp.isfinite(loss)

    def advance(state: TrainState) -> TrainState:
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return dataclasses.replace(state, step=state.step + 1, params=params, opt_state=opt_state)

    state = lax.cond(finite, advance, lambda state: state, state)
    return dataclasses.replace(state, finite=finite), norm


def check_batch_size(batch_size: int, *, num_devices: int, num_micro_batches: int) -> None:
    """Raises unless every device gets the same number of whole micro-batches."""
    share = num_devices * num_micro_batches
    check(
        batch_size > 0 and batch_size % share == 0,
        "train.batch_size",
        f"be a multiple of {share} ({num_devices} devices x {num_micro_batches} micro-batches)",
        batch_size,
    )


def make_train_step(
    apply: Apply,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    parallel: str = "shard_map",
    num_micro_batches: int = 1,
) -> Callable[[TrainState, Any, Batch], tuple[TrainState, Sums]]:
    """Returns the jitted step `(state, frozen, batch) -> (state, metrics)`.

    Metrics: 'loss' (mean over valid items), 'count', 'correct', 'gradient_norm' (before clipping) and 'finite', which
    is `TrainState.finite` after the step: the state itself may be donated to the next step before anyone reads it.
    """

    def per_device(state: TrainState, frozen: Any, batch: Batch) -> tuple[TrainState, Sums]:
        keys = example_keys(state.key, state.step, batch["ids"])
        sums, gradient = mean_loss_and_gradient(
            apply, state.params, frozen, batch, dropout_keys=keys, num_micro_batches=num_micro_batches
        )
        loss = sums["loss"] / jnp.maximum(sums["count"], 1)
        state, norm = update(state, gradient, loss, optimizer)
        return state, {**sums, "loss": loss, "gradient_norm": norm, "finite": state.finite}

    return parallelize(per_device, mesh=mesh, wrapper=parallel, batch_argument=2, num_arguments=3, donate_state=True)


def make_predict_step(apply: Apply, *, mesh: Mesh, parallel: str = "shard_map") -> Callable[[Any, Any, Batch], Any]:
    """Returns the jitted `(params, frozen, batch) -> log probabilities [batch, ..., classes]`, without dropout."""

    def per_device(params: Any, frozen: Any, batch: Batch) -> Any:
        logits = apply({"params": merge_params(params, frozen)}, batch, dropout_keys=None)
        return jax.nn.log_softmax(logits, axis=-1)

    return parallelize(
        per_device, mesh=mesh, wrapper=parallel, batch_argument=2, num_arguments=3, sharded_output=True
    )
