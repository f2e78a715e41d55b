"""Predictions in the order asked for, whatever batches they were made in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from qjax.checks import UserError
from qjax.training.features import Features, load_or_compute_part
from qjax.training.inputs import FeatureInputs, TokenInputs
from qjax.training.mesh import make_mesh
from qjax.training.predictor import BATCHES_IN_A_PART, Batching, compute_features, fetch, predict

RNG = np.random.default_rng(0)
LENGTHS = [3, 9, 2, 5, 9, 1, 4, 4, 7, 2, 6]
PIECES = [RNG.integers(1, 20, n).astype(np.int32) for n in LENGTHS]
# Every second piece begins a word, except the first.
FIRST_PIECES = [np.arange(1, n, 2, dtype=np.int32) for n in LENGTHS]
BATCHING = Batching(batch_size=3, bucket_lengths=(4, 6, 9), words=False)
WORD_BATCHING = Batching(batch_size=3, bucket_lengths=(4, 6, 9), words=True)
SUBSETS = [np.arange(11), np.arange(11)[::-1], np.asarray([4]), RNG.permutation(11)[:7]]


def run(step: Any, inputs: Any, subset: np.ndarray, batching: Batching) -> list[np.ndarray]:
    return predict(step, inputs=inputs, subset=subset, batching=batching, mesh=make_mesh(1))


@pytest.mark.parametrize("subset", SUBSETS, ids=["all", "reversed", "one", "some"])
def test_outputs_come_in_the_order_of_the_subset(subset: np.ndarray) -> None:
    shapes = []

    def step(batch: dict[str, Any]) -> Any:
        shapes.append(batch["token_ids"].shape)
        return jnp.stack([batch["ids"], batch["token_ids"].sum(axis=1)], axis=1)

    outputs = run(step, TokenInputs(PIECES), subset, BATCHING)
    np.testing.assert_array_equal(np.stack(outputs), [[i, PIECES[i].sum()] for i in subset])
    # Partial batches are filled, and there is one shape a bucket: 6, 2 and 3 of all lengths fall into them.
    assert set(shapes) <= {(3, 4), (3, 6), (3, 9)}
    if len(subset) == 11:
        assert shapes == [(3, 4), (3, 4), (3, 6), (3, 9)]


def test_outputs_of_words_are_cut_to_the_words_that_were_seen() -> None:
    inputs = TokenInputs(PIECES, positions=FIRST_PIECES)
    outputs = run(lambda batch: batch["positions"] * 10, inputs, SUBSETS[3], WORD_BATCHING)
    for output, example in zip(outputs, SUBSETS[3], strict=True):
        np.testing.assert_array_equal(output, FIRST_PIECES[example] * 10)


def test_sentence_features_need_one_bucket() -> None:
    inputs = FeatureInputs(Features(np.arange(22, dtype=np.float32).reshape(11, 2), np.arange(12)))
    assert BATCHING.buckets(inputs) == (1,)
    assert BATCHING.buckets(TokenInputs(PIECES)) == (4, 6, 9)
    assert WORD_BATCHING.buckets(FeatureInputs(inputs.features, words=True)) == (4, 6, 9)
    outputs = run(lambda batch: batch["features"] * 2, inputs, SUBSETS[3], BATCHING)
    np.testing.assert_array_equal(np.stack(outputs), inputs.features.values[SUBSETS[3]] * 2)


def test_nothing_to_predict_is_an_error_not_an_empty_answer() -> None:
    with pytest.raises(UserError, match="`examples of a batch plan` must be at least one, but got none"):
        run(lambda batch: batch["ids"], TokenInputs(PIECES), np.zeros(0, np.int64), BATCHING)


def test_a_text_longer_than_every_bucket() -> None:
    with pytest.raises(UserError, match=r"`data.bucket_lengths` must reach the longest example, 9, but got \(4, 6\)"):
        run(lambda batch: batch["ids"], TokenInputs(PIECES), SUBSETS[0], Batching(3, (4, 6), words=False))


def test_fetch_gives_numpy() -> None:
    array = fetch(jnp.arange(3))
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, [0, 1, 2])


# Features of a frozen encoder ---------------------------------------------------------------------------------------

TABLE = RNG.normal(size=(20, 4)).astype(np.float32)


def encode_sentence(params: Any, batch: dict[str, Any]) -> Any:
    weights = batch["mask"][:, :, None]
    return (params["table"][batch["token_ids"]] * weights).sum(axis=1) / jnp.maximum(weights.sum(axis=1), 1)


def encode_words(params: Any, batch: dict[str, Any]) -> Any:
    pieces = jnp.take_along_axis(batch["token_ids"], jnp.maximum(batch["positions"], 0), axis=1)
    return params["table"][pieces]


def test_features_of_sentences() -> None:
    done: list[int] = []
    features = compute_features(
        encode_sentence, {"table": TABLE}, TokenInputs(PIECES), batching=BATCHING, progress=done.append
    )
    np.testing.assert_allclose(features.values, [TABLE[ids].mean(axis=0) for ids in PIECES], atol=1e-6)
    np.testing.assert_array_equal(features.offsets, np.arange(12))
    assert (features.values.dtype, features.offsets.dtype) == (np.float32, np.int64)
    assert sum(done) == 11
    assert all(0 < count <= 3 * BATCHES_IN_A_PART for count in done)


def test_features_of_words() -> None:
    inputs = TokenInputs(PIECES, positions=FIRST_PIECES)
    features = compute_features(encode_words, {"table": TABLE}, inputs, batching=WORD_BATCHING, mesh=make_mesh(1))
    for example, (ids, first) in enumerate(zip(PIECES, FIRST_PIECES, strict=True)):
        np.testing.assert_array_equal(features.of(example), TABLE[ids[first]])
    assert features.of(5).shape == (0, 4)  # one piece, no word
    assert features.values.dtype == np.float32


@pytest.mark.parametrize("num_parts", [1, 2])
def test_a_stopped_computation_goes_on_with_the_parts_that_it_kept(tmp_path: Path, num_parts: int) -> None:
    inputs = TokenInputs([RNG.integers(1, 20, 1 + i % 6).astype(np.int32) for i in range(40)])
    computed: list[str] = []

    def features(most_parts: int = 1000, directory: Path = tmp_path) -> Features:
        def keep(name: str, compute: Callable[[], Features]) -> Features:
            def counted() -> Features:
                if len(computed) == most_parts:
                    raise KeyboardInterrupt
                computed.append(name)
                return compute()

            return load_or_compute_part(directory, "key", name, counted)

        return compute_features(
            encode_sentence, {"table": TABLE}, inputs, batching=BATCHING, mesh=make_mesh(1), keep=keep
        )

    with pytest.raises(KeyboardInterrupt):
        features(most_parts=num_parts)
    resumed = features()
    assert len(computed) == len(set(computed)) > num_parts  # nothing twice
    undisturbed = features(directory=tmp_path / "other")
    np.testing.assert_array_equal(resumed.values, undisturbed.values)
    np.testing.assert_allclose(resumed.values, [TABLE[ids].mean(axis=0) for ids in inputs.token_ids], atol=1e-6)
    np.testing.assert_array_equal(resumed.offsets, np.arange(41))
