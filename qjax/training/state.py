"""What a run is, between two steps: one plain pytree, and the split of a model's parameters it rests on."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict

from qjax.types import Array, Key

Params = Mapping[str, Any]


@struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
      step: int32 scalar, updates made so far; also the position in the stream of batches: a step takes one batch.
      params: trainable parameters only; frozen ones are passed beside the state and are never stored with it.
      opt_state: optax state of `params`.
      key: typed key, root of the dropout keys; a step folds in its number, an example its id.
      finite: bool scalar, False from the first step whose loss or gradient was not finite. Such a step changes
        nothing else, nor does any after it, so that the state stays as it was when the fault arose.
    """

    # Of type Any: transformations and orbax rebuild this tree with other things in the places of its arrays.
    step: Any
    params: Any
    opt_state: Any
    key: Any
    finite: Any


def init_state(params: Params, optimizer: optax.GradientTransformation, key: Key[Array, ""]) -> TrainState:
    """Returns the state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        key=key,
        finite=jnp.ones((), bool),
    )


def is_frozen(path: tuple[str, ...], *, num_frozen_layers: int) -> bool:
    """Says whether the parameter at `path` stays fixed while `num_frozen_layers` > 0 first layers do."""
    return num_frozen_layers > 0 and path[0] == "encoder" and path[1] in ("embeddings", "frozen_layers")


def split_params(params: Params, *, num_frozen_layers: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns `(trainable, frozen)`, two nested dicts that `merge_params` joins again."""
    flat = flatten_dict(params)
    frozen = {k: v for k, v in flat.items() if is_frozen(k, num_frozen_layers=num_frozen_layers)}
    trainable = {k: v for k, v in flat.items() if k not in frozen}
    return unflatten_dict(trainable), unflatten_dict(frozen)


def merge_params(trainable: Params, frozen: Params) -> dict[str, Any]:
    """Returns one tree of both, for `model.apply`."""
    return unflatten_dict({**flatten_dict(frozen), **flatten_dict(trainable)})


def count_params(params: Any) -> int:
    """Returns the number of scalars in a tree of arrays."""
    return sum(int(leaf.size) for leaf in jax.tree.leaves(params))
