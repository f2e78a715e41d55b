"""The optimizer: AdamW with a learning rate for each of encoder, head and circuit angles."""

from typing import Any

import jax
import optax

from qjax.checks import check, check_choice

SCHEDULES = ("cosine", "linear", "constant")
OPTIMIZERS = ("adamw", "sgd")

# Weight decay pulls towards zero what multiplies features; by name, since a stacked bias has two axes as well.
DECAYED_LEAVES = ("kernel", "embedding")


def make_schedule(peak: float, *, schedule: str, num_steps: int, warmup_fraction: float) -> optax.Schedule:
    """Returns step -> learning rate: linear from 0 to `peak`, then to 0 by `schedule` (or kept, 'constant')."""
    check_choice("optimizer.schedule", schedule, SCHEDULES)
    check(0 <= warmup_fraction < 1, "optimizer.warmup_fraction", "lie in [0, 1)", warmup_fraction)
    num_warmup = round(warmup_fraction * num_steps)
    num_decay = max(1, num_steps - num_warmup)
    after = {
        "cosine": optax.cosine_decay_schedule(peak, num_decay),
        "linear": optax.linear_schedule(peak, 0.0, num_decay),
        "constant": optax.constant_schedule(peak),
    }[schedule]
    if num_warmup == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, num_warmup), after], [num_warmup])


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(getattr(entry, "key", entry)) for entry in path)


def group_of(path: tuple[str, ...]) -> str:
    """Returns the group of the parameter at `path`: 'encoder', 'circuit' or 'head'."""
    if path[0] == "encoder":
        return "encoder"
    return "circuit" if "quantum" in path else "head"


def label_params(params: Any) -> Any:
    """Returns a tree like `params` with each leaf's group."""
    return jax.tree_util.tree_map_with_path(lambda path, _: group_of(_names(path)), params)


def decay_mask(params: Any) -> Any:
    """Returns a tree of bools: which leaves weight decay touches (not biases, layer norms or circuit angles)."""

    def decayed(path: tuple[Any, ...], _: Any) -> bool:
        names = _names(path)
        return names[-1] in DECAYED_LEAVES and group_of(names) != "circuit"

    return jax.tree_util.tree_map_with_path(decayed, params)


def make_optimizer(
    *,
    name: str,
    learning_rate: float,
    circuit_learning_rate: float,
    encoder_learning_rate: float,
    schedule: str,
    warmup_fraction: float,
    weight_decay: float,
    clip_norm: float,
    num_steps: int,
) -> optax.GradientTransformation:
    """Returns clipping by the global norm, then an optimizer for each group of parameters.

    Args:
      name: 'adamw' (Loshchilov & Hutter 2019) or 'sgd' without momentum.
      learning_rate: peak for the head's classical parameters; likewise `circuit_` and `encoder_learning_rate`.
      schedule: see `make_schedule`.
      warmup_fraction: share of `num_steps` spent rising.
      weight_decay: of AdamW, times the learning rate; 'sgd' has none.
      clip_norm: largest global norm of a gradient; 0 leaves it as it is.
      num_steps: updates in the whole run.
    """
    check_choice("optimizer.name", name, OPTIMIZERS)
    peaks = {"head": learning_rate, "circuit": circuit_learning_rate, "encoder": encoder_learning_rate}
    transforms = {}
    for group, peak in peaks.items():
        rate = make_schedule(peak, schedule=schedule, num_steps=num_steps, warmup_fraction=warmup_fraction)
        if name == "adamw":
            transforms[group] = optax.adamw(rate, weight_decay=weight_decay, mask=decay_mask)
        else:
            transforms[group] = optax.sgd(rate)
    grouped = optax.multi_transform(transforms, label_params)
    return optax.chain(optax.clip_by_global_norm(clip_norm), grouped) if clip_norm > 0 else grouped
