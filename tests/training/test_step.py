"""The training step on a softmax regression whose loss and gradient NumPy states in closed form."""

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qjax.checks import UserError
from qjax.training.checkpoint import Checkpoints
from qjax.training.mesh import make_mesh, parallelize, replicate, shard
from qjax.training.optimizer import make_optimizer
from qjax.training.state import count_params, init_state, is_frozen, merge_params, split_params
from qjax.training.step import check_batch_size, example_keys, make_predict_step, make_train_step, update

NUM_FEATURES, NUM_CLASSES = 3, 3
RNG = np.random.default_rng(0)
PARAMS = {
    "head": {
        "kernel": RNG.normal(size=(NUM_FEATURES, NUM_CLASSES)).astype(np.float32),
        "bias": RNG.normal(size=NUM_CLASSES).astype(np.float32),
    }
}
SGD = optax.sgd(1.0)  # the next parameters are the old ones minus the gradient
WRAPPERS = ["shard_map", "pmap"]


def apply(variables: Any, batch: Any, dropout_keys: Any = None) -> Any:
    """Softmax regression; with 'noise' in the batch each example's key adds a number of its own to the features."""
    features = batch["features"]
    if dropout_keys is not None and "noise" in batch:
        features = features + batch["noise"] * jax.vmap(jax.random.normal)(dropout_keys)[:, None]
    params = variables["params"]["head"]
    return features @ params["kernel"] + params["bias"]


def make_batch(rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "features": rng.normal(size=(rows, NUM_FEATURES)).astype(np.float32),
        "labels": rng.integers(0, NUM_CLASSES, rows).astype(np.int32),
        "ids": np.arange(10, 10 + rows, dtype=np.int32),
    }


@cache
def mesh() -> Any:
    return make_mesh(1)


@cache
def train_step(parallel: str = "shard_map", num_micro_batches: int = 1) -> Callable[..., Any]:
    """One compiled SGD step a kind, shared by all tests."""
    return make_train_step(apply, SGD, mesh=mesh(), parallel=parallel, num_micro_batches=num_micro_batches)


def fresh_state(optimizer: Any = SGD, seed: int = 7) -> Any:
    return replicate(init_state(PARAMS, optimizer, jax.random.key(seed)), mesh())


def run(batch: dict[str, np.ndarray], **kind: Any) -> tuple[Any, dict[str, float]]:
    """Returns the state after one step and the metrics as numbers."""
    state, metrics = train_step(**kind)(fresh_state(), {}, shard(batch, mesh()))
    return state, {name: float(value) for name, value in metrics.items()}


def gradient_of(state: Any) -> dict[str, np.ndarray]:
    return jax.tree.map(lambda before, after: before - np.asarray(after), PARAMS, state.params)["head"]


def by_hand(batch: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics and gradient in float64: the gradient of the mean loss is features^T (softmax - one hot) / count."""
    valid = batch["labels"] >= 0
    x, y = batch["features"][valid].astype(float), batch["labels"][valid]
    logits = x @ PARAMS["head"]["kernel"] + PARAMS["head"]["bias"]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = (p - np.eye(NUM_CLASSES)[y]) / len(y)
    gradient = {"kernel": x.T @ error, "bias": error.sum(axis=0)}
    metrics = {
        "loss": -np.log(p[np.arange(len(y)), y]).mean(),
        "count": len(y),
        "correct": (logits.argmax(axis=1) == y).sum(),
        "gradient_norm": np.sqrt(sum((g**2).sum() for g in gradient.values())),
        "finite": 1.0,
    }
    return metrics, gradient


def assert_equal(actual: Any, expected: Any, atol: float = 1e-6) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), actual, expected)


@contextlib.contextmanager
def count_compilations() -> Iterator[list[str]]:
    """Yields a list that grows by one entry with every program that XLA compiles inside the block."""
    seen: list[str] = []

    def listen(name: str, _: float, **__: object) -> None:
        if name.endswith("backend_compile_duration"):
            seen.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


# Dropout keys -------------------------------------------------------------------------------------------------------


def test_example_keys_depend_on_run_step_and_id_and_not_on_place() -> None:
    key, ids = jax.random.key(3), np.asarray([4, 9, 2])
    data = np.asarray(jax.random.key_data(example_keys(key, 5, ids)))
    expected = [jax.random.key_data(jax.random.fold_in(jax.random.fold_in(key, 5), i)) for i in ids]
    np.testing.assert_array_equal(data, expected)
    np.testing.assert_array_equal(jax.random.key_data(example_keys(key, 5, ids[[2, 0]])), data[[2, 0]])
    for other in (example_keys(key, 6, ids), example_keys(jax.random.key(4), 5, ids)):
        assert (jax.random.key_data(other) != data).any(axis=1).all()


def test_example_keys_of_filling_rows_exist() -> None:
    keys = example_keys(jax.random.key(3), 0, np.asarray([-1, 0]))
    np.testing.assert_array_equal(*jax.random.key_data(keys))


# One step -----------------------------------------------------------------------------------------------------------


def test_step_against_the_closed_form() -> None:
    batch = make_batch(8)
    state, metrics = run(batch)
    expected_metrics, expected_gradient = by_hand(batch)
    assert_equal(metrics, expected_metrics)
    assert_equal(gradient_of(state), expected_gradient)
    assert (int(state.step), bool(state.finite)) == (1, True)


def test_gradient_accumulation_equals_one_batch() -> None:
    batch = make_batch(8) | {"noise": np.ones((8, 1), np.float32)}
    # Uneven parts: a mean of their means would be another number.
    batch["labels"][[1, 2, 3, 5]] = -1
    state, metrics = run(batch)
    parts_state, parts_metrics = run(batch, num_micro_batches=4)
    assert_equal(parts_metrics, metrics)
    assert_equal(gradient_of(parts_state), gradient_of(state))
    quiet = {name: value for name, value in batch.items() if name != "noise"}
    assert metrics["loss"] != pytest.approx(by_hand(quiet)[0]["loss"], abs=1e-3)  # the keys did something


def test_filling_rows_change_nothing() -> None:
    batch = make_batch(8)
    batch["labels"][5:] = batch["ids"][5:] = -1
    batch["features"][5:] = 1e4  # whatever stands there
    state, metrics = run(batch)
    expected_metrics, expected_gradient = by_hand({name: value[:5] for name, value in batch.items()})
    assert_equal(metrics, expected_metrics)
    assert_equal(gradient_of(state), expected_gradient)


def test_words_without_a_label_count_for_nothing() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(4, 3, NUM_FEATURES)).astype(np.float32)
    labels = np.asarray([[0, 1, -1], [2, -1, -1], [1, 1, 0], [-1, -1, -1]], np.int32)
    state, metrics = run({"features": features, "labels": labels, "ids": np.asarray([3, 1, 2, -1], np.int32)})
    flat = {"features": features.reshape(-1, NUM_FEATURES), "labels": labels.ravel()}
    expected_metrics, expected_gradient = by_hand(flat)
    assert metrics["count"] == 6
    assert_equal(metrics, expected_metrics)
    assert_equal(gradient_of(state), expected_gradient)


def test_a_batch_of_nothing_but_filling_is_a_step_of_zero() -> None:
    batch = make_batch(8)
    batch["labels"][:] = batch["ids"][:] = -1
    state, metrics = run(batch)
    assert metrics == {"loss": 0.0, "count": 0.0, "correct": 0.0, "gradient_norm": 0.0, "finite": 1.0}
    assert_equal(state.params, PARAMS, atol=0)
    assert (int(state.step), bool(state.finite)) == (1, True)


# A loss that is not finite ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_freezes_the_state(poison: float) -> None:
    step, good, bad = train_step(), shard(make_batch(8), mesh()), make_batch(8)
    bad["features"][3, 0] = poison
    before, _ = step(fresh_state(), {}, good)
    state, metrics = step(before, {}, shard(bad, mesh()))
    assert not np.isfinite(metrics["loss"])
    assert not metrics["finite"]
    for _ in range(2):  # and stays frozen, whatever comes after
        assert not bool(state.finite)
        assert int(state.step) == 1
        assert_equal(state.params, before.params, atol=0)
        assert_equal(state.opt_state, before.opt_state, atol=0)
        np.testing.assert_array_equal(jax.random.key_data(state.key), jax.random.key_data(before.key))
        state, metrics = step(state, {}, good)
        assert np.isfinite(metrics["loss"])
        assert not metrics["finite"]


@pytest.mark.parametrize(
    ("gradient", "loss", "finite"),
    [(2.0, 0.5, True), (np.nan, 0.5, False), (np.inf, 0.5, False), (2.0, np.nan, False), (2.0, -np.inf, False)],
)
def test_update_looks_at_loss_and_gradient(gradient: float, loss: float, finite: bool) -> None:
    optimizer = optax.sgd(0.1, momentum=0.9)
    state = init_state({"w": jnp.asarray([1.0, 3.0])}, optimizer, jax.random.key(0))
    after, norm = update(state, {"w": jnp.asarray([gradient, 0.0])}, jnp.asarray(loss), optimizer)
    assert bool(after.finite) is finite
    np.testing.assert_allclose(norm, gradient)
    np.testing.assert_allclose(after.params["w"], [0.8, 3.0] if finite else [1.0, 3.0])
    momentum = jax.tree.leaves(after.opt_state)[0]
    np.testing.assert_allclose(momentum, [2.0, 0.0] if finite else [0.0, 0.0])
    assert int(after.step) == int(finite)


# Compilations -------------------------------------------------------------------------------------------------------


@cache
def adamw_step(parallel: str) -> tuple[Any, Callable[..., Any]]:
    """The real optimizer, whose state has counts and moments, and its step."""
    optimizer = make_optimizer(
        name="adamw",
        learning_rate=0.1,
        circuit_learning_rate=0.1,
        encoder_learning_rate=0.1,
        schedule="cosine",
        warmup_fraction=0.1,
        weight_decay=0.01,
        clip_norm=1.0,
        num_steps=20,
    )
    return optimizer, make_train_step(apply, optimizer, mesh=mesh(), parallel=parallel)


@pytest.mark.parametrize("parallel", WRAPPERS)
def test_second_step_of_a_shape_does_not_compile_again(parallel: str) -> None:
    optimizer, step = adamw_step(parallel)
    state = fresh_state(optimizer)
    with count_compilations() as seen:
        state, _ = step(state, {}, shard(make_batch(4), mesh()))
        first = len(seen)
        for seed in (2, 3):
            state, _ = step(state, {}, shard(make_batch(4, seed), mesh()))
        assert len(seen) == first
        step(state, {}, shard(make_batch(6), mesh()))
        assert len(seen) > first  # another shape does compile, so the count counts


@pytest.mark.parametrize("parallel", WRAPPERS)
def test_first_step_after_a_resume_does_not_compile_again(parallel: str, tmp_path: Path) -> None:
    optimizer, step = adamw_step(parallel)
    batches = [shard(make_batch(4, seed), mesh()) for seed in (2, 3)]
    before, _ = step(fresh_state(optimizer), {}, batches[0])
    expected, _ = step(before, {}, batches[1])
    with Checkpoints(tmp_path, metric="accuracy", mode="max", keep_best=1) as checkpoints:
        checkpoints.save(1, before, {}, 0.5, wait=True)
        restored = checkpoints.restore_latest(fresh_state(optimizer, seed=0))
    assert restored is not None
    with count_compilations() as seen:
        after, _ = step(restored.state, {}, batches[1])
    assert seen == []
    assert_equal(after.params, expected.params, atol=0)
    assert_equal(after.opt_state, expected.opt_state, atol=0)


# Prediction, devices and arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", WRAPPERS)
def test_predict_step_gives_log_probabilities_of_trainable_and_frozen_parameters(parallel: str) -> None:
    batch = make_batch(8)
    trainable = {"head": {"kernel": PARAMS["head"]["kernel"]}}
    frozen = {"head": {"bias": PARAMS["head"]["bias"]}}
    step = make_predict_step(apply, mesh=mesh(), parallel=parallel)
    actual = step(replicate(trainable, mesh()), replicate(frozen, mesh()), shard(batch, mesh()))
    logits = batch["features"] @ PARAMS["head"]["kernel"] + PARAMS["head"]["bias"]
    expected = np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_frozen_parameters_get_no_update() -> None:
    frozen = {"head": {"bias": jnp.asarray(PARAMS["head"]["bias"])}}
    state = replicate(init_state({"head": {"kernel": PARAMS["head"]["kernel"]}}, SGD, jax.random.key(0)), mesh())
    state, _ = train_step()(state, frozen, shard(make_batch(8), mesh()))
    assert set(state.params["head"]) == {"kernel"}
    expected = PARAMS["head"]["kernel"] - by_hand(make_batch(8))[1]["kernel"]
    np.testing.assert_allclose(state.params["head"]["kernel"], expected, atol=1e-6)


@pytest.mark.parametrize(("batch_size", "num_devices", "num_micro_batches"), [(8, 2, 4), (6, 3, 1), (1, 1, 1)])
def test_batch_sizes_that_divide_evenly(batch_size: int, num_devices: int, num_micro_batches: int) -> None:
    check_batch_size(batch_size, num_devices=num_devices, num_micro_batches=num_micro_batches)


@pytest.mark.parametrize("batch_size", [6, 0, -8])
def test_batch_sizes_that_do_not_divide_evenly(batch_size: int) -> None:
    message = rf"`train.batch_size` must be a multiple of 8 \(2 devices x 4 micro-batches\), but got {batch_size}"
    with pytest.raises(UserError, match=message):
        check_batch_size(batch_size, num_devices=2, num_micro_batches=4)


def test_unknown_wrapper() -> None:
    with pytest.raises(UserError, match=r"`train.parallel` .*Did you mean 'shard_map'\? Choices: shard_map, pmap"):
        parallelize(lambda x: x, mesh=mesh(), wrapper="shardmap", batch_argument=0, num_arguments=1)


@pytest.mark.parametrize("num_devices", [-1, 10_000])
def test_number_of_devices_that_are_not_there(num_devices: int) -> None:
    count = len(jax.devices())
    with pytest.raises(UserError, match=rf"`train.num_devices` must lie in 0\.\.{count}, .* but got {num_devices}"):
        make_mesh(num_devices)


def test_the_mesh_takes_all_devices_or_as_many_as_asked() -> None:
    assert make_mesh().size == len(jax.devices())
    assert make_mesh(1).axis_names == ("data",)
    assert list(make_mesh(1).devices.flat) == jax.devices()[:1]


# State --------------------------------------------------------------------------------------------------------------

TREE = {
    "encoder": {"embeddings": {"word": jnp.ones((4, 2))}, "frozen_layers": jnp.ones(3), "layers": jnp.ones(5)},
    "head": {"output": {"kernel": jnp.ones((2, 2))}},
}


def test_split_and_merge_of_parameters() -> None:
    trainable, frozen = split_params(TREE, num_frozen_layers=1)
    assert jax.tree.map(jnp.size, trainable) == {"encoder": {"layers": 5}, "head": {"output": {"kernel": 4}}}
    assert jax.tree.map(jnp.size, frozen) == {"encoder": {"embeddings": {"word": 8}, "frozen_layers": 3}}
    assert_equal(merge_params(trainable, frozen), TREE, atol=0)
    assert count_params(trainable) + count_params(frozen) == count_params(TREE) == 20
    everything, nothing = split_params(TREE, num_frozen_layers=0)
    assert nothing == {}
    assert_equal(everything, TREE, atol=0)


def test_only_the_encoder_is_ever_frozen() -> None:
    assert is_frozen(("encoder", "embeddings", "word"), num_frozen_layers=2)
    assert not is_frozen(("encoder", "embeddings", "word"), num_frozen_layers=0)
    assert not is_frozen(("head", "embeddings"), num_frozen_layers=2)


def test_a_fresh_state() -> None:
    state = init_state(PARAMS, SGD, jax.random.key(1))
    assert (state.step.dtype, int(state.step), bool(state.finite)) == (jnp.int32, 0, True)
    assert_equal(state.params, PARAMS, atol=0)
