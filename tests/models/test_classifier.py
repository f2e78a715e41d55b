"""Pooling and word features against NumPy, and the join of encoder and head."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from reference import quick_jit

from qjax.checks import UserError
from qjax.models.classifier import Classifier, features_of, pool, take_first_pieces
from qjax.models.heads import LinearHead

RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=(4, 5, 3)).astype(np.float32)
# A full row, a padded one, a single token, and a filling row without any.
MASK = np.asarray([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.int32)
POSITIONS = np.asarray([[1, 3, 4], [2, -1, -1], [0, 0, -1], [-1, -1, -1]], np.int32)


def mean_by_hand() -> np.ndarray:
    rows = [hidden[: int(mask.sum())] for hidden, mask in zip(HIDDEN, MASK, strict=True)]
    return np.stack([row.mean(axis=0) if len(row) else np.zeros(3) for row in rows])


def words_by_hand() -> np.ndarray:
    return np.stack(
        [
            [hidden[p] if p >= 0 else np.zeros(3) for p in positions]
            for hidden, positions in zip(HIDDEN, POSITIONS, strict=True)
        ]
    )


# Pooling ------------------------------------------------------------------------------------------------------------


def test_mean_pooling_leaves_padding_out() -> None:
    pooled = pool(jnp.asarray(HIDDEN), jnp.asarray(MASK), "mean")
    np.testing.assert_allclose(pooled, mean_by_hand(), atol=1e-6)
    assert (np.asarray(pooled)[3] == 0).all()  # an all-padding row: zeros, not 0 / 0
    # Padding may hold anything finite.
    changed = np.where(MASK[:, :, None] > 0, HIDDEN, 1e6).astype(np.float32)
    np.testing.assert_allclose(pool(jnp.asarray(changed), jnp.asarray(MASK), "mean"), pooled, atol=1e-6)


def test_mean_pooling_has_a_finite_gradient_on_an_all_padding_row() -> None:
    gradient = jax.grad(lambda hidden: pool(hidden, jnp.asarray(MASK), "mean").sum())(jnp.asarray(HIDDEN))
    expected = MASK / np.maximum(MASK.sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(gradient, np.repeat(expected[:, :, None], 3, axis=2), atol=1e-6)


def test_cls_pooling_is_the_first_token() -> None:
    np.testing.assert_array_equal(pool(jnp.asarray(HIDDEN), jnp.asarray(MASK), "cls"), HIDDEN[:, 0])


def test_unknown_pooling() -> None:
    with pytest.raises(UserError, match=r"`encoder.pooling` must be one of .*'max'.*Choices: mean, cls"):
        pool(jnp.asarray(HIDDEN), jnp.asarray(MASK), "max")


def test_first_pieces_are_taken_and_missing_words_are_zeros() -> None:
    words = take_first_pieces(jnp.asarray(HIDDEN), jnp.asarray(POSITIONS))
    np.testing.assert_array_equal(words, words_by_hand())


def test_missing_words_stay_zero_over_a_first_token_that_is_not_finite() -> None:
    hidden = HIDDEN.copy()
    hidden[3] = np.nan
    assert (np.asarray(take_first_pieces(jnp.asarray(hidden), jnp.asarray(POSITIONS)))[3] == 0).all()


class Output(NamedTuple):
    last_hidden_state: Any


@pytest.mark.parametrize(
    ("task", "pooling", "expected"),
    [
        ("sentence", "mean", mean_by_hand()),
        ("sentence", "cls", HIDDEN[:, 0]),
        ("entities", "mean", words_by_hand()),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_features_are_float32_at_least(task: str, pooling: str, expected: np.ndarray, dtype: str) -> None:
    batch = {"mask": jnp.asarray(MASK), "positions": jnp.asarray(POSITIONS)}
    features = features_of(Output(jnp.asarray(HIDDEN, dtype)), batch, task=task, pooling=pooling)
    assert features.dtype == jnp.float32
    np.testing.assert_allclose(features, expected, atol=1e-6 if dtype == "float32" else 2e-2)


def test_features_of_a_float64_encoder_stay_float64() -> None:
    with jax.enable_x64(True):
        batch = {"mask": jnp.asarray(MASK)}
        features = features_of(Output(jnp.asarray(HIDDEN, "float64")), batch, task="sentence", pooling="mean")
        assert features.dtype == jnp.float64


# The whole model ----------------------------------------------------------------------------------------------------


class FakeEncoder(nn.Module):
    """Looks token ids up in a table; with dropout keys it adds one, so that a test sees them arrive."""

    @nn.compact
    def __call__(self, token_ids: Any, mask: Any, *, dropout_keys: Any = None) -> Output:
        table = self.param("table", nn.initializers.normal(1.0), (7, 3))
        shift = 0.0 if dropout_keys is None else 1.0
        return Output(table[token_ids] + shift)


TOKEN_IDS = RNG.integers(0, 7, (4, 5)).astype(np.int32)
BATCH = {"token_ids": jnp.asarray(TOKEN_IDS), "mask": jnp.asarray(MASK), "positions": jnp.asarray(POSITIONS)}


@pytest.mark.parametrize(("task", "pooling"), [("sentence", "mean"), ("sentence", "cls"), ("entities", "mean")])
def test_logits_are_the_head_on_the_encoders_features(task: str, pooling: str) -> None:
    model = Classifier(head=LinearHead(num_classes=2), encoder=FakeEncoder(), task=task, pooling=pooling)
    logits, variables = quick_jit(model.init_with_output)(jax.random.key(0), BATCH)
    params = jax.device_get(variables["params"])
    assert set(params) == {"encoder", "head"}
    hidden = params["encoder"]["table"][TOKEN_IDS]
    if task == "entities":
        rows = np.arange(4)[:, None]
        features = hidden[rows, np.maximum(POSITIONS, 0)] * (POSITIONS >= 0)[:, :, None]
    elif pooling == "cls":
        features = hidden[:, 0]
    else:
        features = (hidden * MASK[:, :, None]).sum(axis=1) / np.maximum(MASK.sum(axis=1, keepdims=True), 1)
    output = params["head"]["output"]
    np.testing.assert_allclose(logits, features @ output["kernel"] + output["bias"], atol=1e-5)


def test_without_an_encoder_the_head_reads_features() -> None:
    model = Classifier(head=LinearHead(num_classes=2))
    features = jnp.asarray(HIDDEN[:, 0])
    logits, variables = quick_jit(model.init_with_output)(jax.random.key(0), {"features": features})
    params = jax.device_get(variables["params"])
    assert set(params) == {"head"}
    output = params["head"]["output"]
    np.testing.assert_allclose(logits, HIDDEN[:, 0] @ output["kernel"] + output["bias"], atol=1e-6)


def test_dropout_keys_reach_encoder_and_head() -> None:
    keys = jax.random.split(jax.random.key(3), 4)
    params = {
        "encoder": {"table": jnp.zeros((7, 3))},
        "head": {"output": {"kernel": jnp.eye(3), "bias": jnp.zeros(3)}},
    }

    def logits(dropout: float, dropout_keys: Any) -> np.ndarray:
        model = Classifier(
            head=LinearHead(num_classes=3, dropout=dropout), encoder=FakeEncoder(), task="sentence", pooling="cls"
        )
        return np.asarray(quick_jit(model.apply)({"params": params}, BATCH, dropout_keys=dropout_keys))

    assert (logits(0.5, None) == 0).all()
    assert (logits(0.0, keys) == 1).all()  # the encoder's shift
    assert set(np.unique(logits(0.5, keys))) == {0.0, 2.0}  # the head's dropout on top of it
