"""`Bert` against the reference implementation's activations, and its own invariants."""

import dataclasses
import math
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import CASES, SHARED, quick_jit, read_arrays, write_checkpoint

from qjax.checks import UserError
from qjax.data import sources
from qjax.models.bert import Bert, BertConfig, BertOutput, attend
from qjax.models.dropout import ExampleDropout, check_dropout_keys, fold_in
from qjax.models.pretrained import Pretrained, load_pretrained, split_layers

TOLERANCE = {"float64": 1e-9, "float32": 2e-5}

CONFIG = BertConfig(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=12,
    initializer_range=0.3,
)
TOKEN_IDS = np.array([[2, 9, 4, 7, 3, 0, 0], [2, 5, 3, 0, 0, 0, 0], [2, 8, 8, 6, 1, 30, 3]], np.int32)
MASK = (TOKEN_IDS > 0).astype(np.int32)


def encode(
    pretrained: Pretrained, arrays: dict[str, Any], dtype: str, jit: Any = quick_jit, **attributes: Any
) -> BertOutput:
    """Runs the encoder on a fixture's batch; NumPy arrays on return."""
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        model = Bert(pretrained.config, dtype=jnp.dtype(dtype), **attributes)
        output = jit(model.apply, static_argnames="output_hidden_states")(
            {"params": pretrained.params},
            arrays["token_ids"],
            arrays["mask"],
            token_type_ids=arrays["token_type_ids"],
            output_hidden_states=True,
        )
        return jax.device_get(output)


def assert_close(actual: Any, expected: np.ndarray, dtype: str) -> None:
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype])


def make(**attributes: Any) -> tuple[Bert, dict[str, Any]]:
    """Returns an encoder of `CONFIG` and random parameters, the same values wherever the split lies."""
    model = Bert(CONFIG, **attributes)
    shapes = jax.eval_shape(lambda: Bert(CONFIG).init(jax.random.key(0), TOKEN_IDS, MASK))["params"]
    rng = np.random.default_rng(3)
    params = jax.tree.map(lambda s: rng.normal(scale=0.3, size=s.shape).astype(s.dtype), shapes)
    return model, {"params": split_layers(params, model.num_frozen_layers)}


def example_keys(seed: int | None, count: int = 3) -> jax.Array | None:
    """Returns one key an example; none for seed None."""
    return None if seed is None else jax.random.split(jax.random.key(seed), count)


@cache
def runner(**attributes: Any) -> Any:
    """Returns (token_ids, mask, token_type_ids, keys) -> output of `make`'s encoder, compiled once a shape."""
    model, variables = make(**attributes)

    @quick_jit
    def run(token_ids: Any, mask: Any, token_type_ids: Any = None, keys: Any = None) -> BertOutput:
        return model.apply(variables, token_ids, mask, token_type_ids=token_type_ids, dropout_keys=keys)

    return run


# Equal to the reference ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "dtype"), [*((case, "float64") for case in CASES), ("gelu", "float32")])
def test_every_switch_equals_the_reference(tmp_path: Path, case: str, dtype: str) -> None:
    directory = write_checkpoint(tmp_path, "bert_tiny_shared", **CASES[case])
    output = encode(load_pretrained(directory, add_pooling_layer=True), SHARED, dtype)
    assert_close(output.hidden_states, SHARED[f"hidden_states/{case}"], dtype)
    assert_close(output.last_hidden_state, SHARED[f"hidden_states/{case}"][-1], dtype)
    assert_close(output.pooled, SHARED[f"pooled/{case}"], dtype)


@pytest.mark.parametrize("name", ["bert_tiny_classifier", "bert_tiny_masked_lm"])
def test_task_checkpoints_equal_the_reference(tmp_path: Path, name: str) -> None:
    arrays = read_arrays(name)
    has_pooler = "pooled" in arrays
    pretrained = load_pretrained(write_checkpoint(tmp_path, name), add_pooling_layer=has_pooler)
    output = encode(pretrained, arrays, "float64", add_pooling_layer=has_pooler)
    assert_close(output.hidden_states, arrays["hidden_states"], "float64")
    if has_pooler:
        assert_close(output.pooled, arrays["pooled"], "float64")
    else:
        assert output.pooled is None


def test_minilm_equals_the_reference() -> None:
    arrays = read_arrays("bert_minilm")
    pretrained = load_pretrained(sources.fetch("minilm"), add_pooling_layer=True)
    output = encode(pretrained, arrays, "float64", jit=jax.jit)
    assert_close(output.hidden_states[..., :: int(arrays["feature_stride"])], arrays["hidden_states"], "float64")
    assert_close(output.pooled, arrays["pooled"], "float64")


def test_float64_is_float64_throughout() -> None:
    with jax.enable_x64(True):
        model = Bert(CONFIG, dtype=jnp.float64)
        variables = jax.eval_shape(lambda: model.init(jax.random.key(0), TOKEN_IDS, MASK))
        assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float64"}
        jaxpr = str(jax.make_jaxpr(model.apply)(variables, TOKEN_IDS, MASK))
    assert "f64[" in jaxpr
    assert "f32[" not in jaxpr


def test_bfloat16_is_close_and_keeps_float32_parameters() -> None:
    expected = runner()(TOKEN_IDS, MASK)
    for keys in (None, example_keys(0)):
        actual = runner(dtype=jnp.bfloat16)(TOKEN_IDS, MASK, None, keys)
        assert actual.last_hidden_state.dtype == actual.pooled.dtype == jnp.bfloat16
        if keys is None:
            # bfloat16 keeps 8 bits of features of size 1, and the errors add up over three layers.
            error = np.abs(actual.last_hidden_state.astype(np.float32) - expected.last_hidden_state)
            assert 0 < error.max() < 0.1
            assert error.mean() < 0.01
    initial = jax.eval_shape(lambda: Bert(CONFIG, dtype=jnp.bfloat16).init(jax.random.key(0), TOKEN_IDS, MASK))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(initial)} == {"float32"}


# Padding ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [None, 5], ids=["evaluation", "training"])
def test_padding_does_not_change_real_tokens(seed: int | None) -> None:
    def run(token_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        return np.asarray(runner()(token_ids, MASK, token_type_ids, example_keys(seed)).last_hidden_state)

    plain = run(TOKEN_IDS, np.zeros_like(MASK))
    mutated = run(np.where(MASK == 1, TOKEN_IDS, 11), 1 - MASK)
    real = MASK.astype(bool)
    np.testing.assert_array_equal(plain[real], mutated[real])
    assert not np.array_equal(plain[~real], mutated[~real])  # the mutation did reach the encoder


def test_padded_length_does_not_change_real_tokens() -> None:
    padded = runner()(TOKEN_IDS, MASK)
    alone = runner()(TOKEN_IDS[1:2, :3], MASK[1:2, :3])
    np.testing.assert_allclose(padded.last_hidden_state[1, :3], alone.last_hidden_state[0], atol=1e-5)
    np.testing.assert_allclose(padded.pooled[1], alone.pooled[0], atol=1e-5)


@pytest.mark.parametrize(("dtype", "seed"), [("float32", 5), ("bfloat16", None)])
def test_all_padding_row_is_finite(dtype: str, seed: int | None) -> None:
    mask = MASK.copy()
    mask[1] = 0
    model, variables = make(dtype=jnp.dtype(dtype))

    def loss(variables: Any) -> jax.Array:
        output = model.apply(variables, TOKEN_IDS, mask, dropout_keys=example_keys(seed))
        return (output.last_hidden_state**2).sum() + output.pooled.sum()

    value, gradient = quick_jit(jax.value_and_grad(loss))(variables)
    assert np.isfinite(np.float64(value))
    assert all(np.isfinite(np.asarray(leaf, np.float64)).all() for leaf in jax.tree.leaves(gradient))


# Freezing and rematerialisation -------------------------------------------------------------------------------------


@cache
def loss_and_gradient(**attributes: Any) -> tuple[Any, Any]:
    """Returns a loss of `make`'s encoder and its gradient, `{'embeddings': ..., ...}`."""
    model, variables = make(**attributes)

    def loss(params: Any) -> jax.Array:
        output = model.apply({"params": params}, TOKEN_IDS, MASK, dropout_keys=example_keys(5))
        return (output.last_hidden_state**3).sum() + (output.pooled**2).sum()

    return jax.device_get(quick_jit(jax.value_and_grad(loss))(variables["params"]))


def residual_bytes(**attributes: Any) -> int:
    """Returns the size of what a forward pass keeps for its reverse pass, parameters that it reads again included."""
    model, variables = make(**attributes)

    def reverse_pass(variables: Any) -> Any:
        return jax.vjp(lambda v: model.apply(v, TOKEN_IDS, MASK).last_hidden_state, variables)[1]

    leaves = jax.tree.leaves(jax.eval_shape(reverse_pass, variables))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


@pytest.mark.parametrize("num_frozen_layers", [1, 3])
def test_frozen_prefix_changes_no_value_and_no_other_gradient(num_frozen_layers: int) -> None:
    value, gradient = loss_and_gradient()
    frozen_value, actual = loss_and_gradient(num_frozen_layers=num_frozen_layers)
    np.testing.assert_allclose(frozen_value, value, rtol=1e-5)
    expected = split_layers(gradient, num_frozen_layers)
    assert set(actual) == set(expected)
    assert ("layers" in actual) == (num_frozen_layers < CONFIG.num_hidden_layers)
    for group in ("embeddings", "frozen_layers"):
        assert all(not np.any(leaf) for leaf in jax.tree.leaves(actual[group]))
        assert all(np.any(leaf) for name, leaf in expected[group].items() if name == "query")
    trained = set(expected) - {"embeddings", "frozen_layers"}
    for group in trained:
        jax.tree.map(
            lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-3, atol=1e-4), actual[group], expected[group]
        )


def test_initial_parameters_have_the_frozen_group() -> None:
    params = quick_jit(Bert(CONFIG, num_frozen_layers=1).init)(jax.random.key(0), TOKEN_IDS, MASK)["params"]
    assert set(params) == {"embeddings", "frozen_layers", "layers", "pooler"}
    assert params["frozen_layers"]["query"]["kernel"].shape == (1, 16, 16)
    assert params["layers"]["query"]["kernel"].shape == (2, 16, 16)
    assert len(np.unique(params["layers"]["query"]["kernel"])) == 2 * 16 * 16  # layers start differently
    scale = np.std(params["layers"]["intermediate"]["kernel"])
    np.testing.assert_allclose(scale, CONFIG.initializer_range, rtol=0.1)


def test_frozen_layers_keep_no_residuals() -> None:
    sizes = [residual_bytes(num_frozen_layers=count) for count in (0, 1, 2, 3)]
    assert sizes[3] == 0
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_remat_changes_memory_only() -> None:
    expected = loss_and_gradient(num_frozen_layers=1)
    actual = loss_and_gradient(num_frozen_layers=1, remat=True)
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-3, atol=1e-4), actual, expected)
    plain, remat = (residual_bytes(num_frozen_layers=1, remat=remat) for remat in (False, True))
    assert remat < plain


# Dropout ------------------------------------------------------------------------------------------------------------


def test_dropout_zeroes_the_stated_share_and_keeps_the_mean() -> None:
    features = jnp.ones((4, 100, 100))
    dropped = np.asarray(ExampleDropout(0.3).apply({}, features, example_keys(0, 4)))
    assert set(np.unique(dropped)) == {np.float32(0), np.float32(1) / np.float32(0.7)}
    share = (dropped == 0).mean(axis=(1, 2))
    np.testing.assert_allclose(share, 0.3, atol=4 * np.sqrt(0.3 * 0.7 / 1e4))
    assert len({row.tobytes() for row in dropped}) == 4  # each example has a mask of its own


def test_dropout_sites_differ_and_none_means_none() -> None:
    features, keys = jnp.ones((2, 50)), example_keys(1, 2)
    one, two = (np.asarray(ExampleDropout(0.5, site=site).apply({}, features, keys)) for site in (1, 2))
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(ExampleDropout(0.5).apply({}, features, None), features)
    np.testing.assert_array_equal(ExampleDropout(0.0).apply({}, features, keys), features)


def test_dropout_does_not_depend_on_the_rest_of_the_batch() -> None:
    keys, order = example_keys(2), np.array([2, 0, 0])
    together = runner()(TOKEN_IDS, MASK, None, keys).last_hidden_state
    moved = runner()(TOKEN_IDS[order], MASK[order], None, keys[order]).last_hidden_state
    np.testing.assert_allclose(moved, together[order], atol=1e-5)


def test_dropout_is_a_function_of_the_key() -> None:
    def run(seed: int | None) -> np.ndarray:
        return np.asarray(runner()(TOKEN_IDS, MASK, None, example_keys(seed)).pooled)

    np.testing.assert_array_equal(run(1), run(1))
    assert np.all(np.any(run(1) != run(2), axis=1))
    np.testing.assert_array_equal(run(None), run(None))


def test_rates_of_zero_mean_no_dropout() -> None:
    _, variables = make()
    silent = dataclasses.replace(CONFIG, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    run = quick_jit(Bert(silent).apply)
    dropped = run(variables, TOKEN_IDS, MASK, dropout_keys=example_keys(1)).pooled
    np.testing.assert_array_equal(dropped, run(variables, TOKEN_IDS, MASK).pooled)


@pytest.mark.parametrize("rate", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
def test_each_rate_of_the_config_is_applied(rate: str) -> None:
    _, variables = make()
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, rate: 0.4}
    run = quick_jit(Bert(dataclasses.replace(CONFIG, **rates)).apply)
    dropped = run(variables, TOKEN_IDS, MASK, dropout_keys=example_keys(3)).last_hidden_state
    plain = runner()(TOKEN_IDS, MASK).last_hidden_state
    assert np.all(np.abs(dropped - plain).max(axis=(1, 2)) > 0.01)


def test_every_site_draws_its_own_mask() -> None:
    model = Bert(CONFIG)
    embeddings, layers = model._site_keys(example_keys(1))
    assert layers.shape == (3, 3, 3)  # layers, sites, examples
    words = np.concatenate([jax.random.key_data(keys).reshape(-1, 2) for keys in (embeddings, layers)])
    heads = jax.random.key_data(fold_in(example_keys(1), ExampleDropout(0.1).site))
    assert len({tuple(row) for row in np.concatenate([words, heads])}) == 3 + 27 + 3
    # The keys are jax.random.fold_in's, one example and site at a time.
    one = jax.random.fold_in(example_keys(1)[2], 1 + 1 + 3 * 1 + 2)
    np.testing.assert_array_equal(jax.random.key_data(layers[1, 2, 2]), jax.random.key_data(one))


def test_attention_dropout_drops_weights_of_each_head_and_query() -> None:
    heads, length, rate = 3, 64, 0.25
    uniform = jnp.zeros((2, length, heads, length))
    value = jnp.broadcast_to(jnp.eye(length)[None, :, None], uniform.shape)  # reads the weights off the output
    mask = jnp.ones((2, length), bool)
    weights = np.asarray(attend(uniform, uniform, value, mask, dropout_rate=rate, dropout_keys=example_keys(4, 2)))
    kept = weights > 0
    np.testing.assert_allclose(weights[kept], 1 / length / (1 - rate), rtol=1e-5)
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / kept.size)
    assert not np.array_equal(kept[:, :, 0], kept[:, :, 1])
    assert not np.array_equal(kept[0], kept[1])


@pytest.mark.parametrize("implementation", ["without dropout", "with dropout"])
def test_attend_equals_a_softmax_by_hand(implementation: str) -> None:
    rng = np.random.default_rng(0)
    query, key, value = rng.normal(size=(3, 2, 5, 2, 4)).astype(np.float32)
    mask = np.array([[1, 1, 1, 0, 1], [1, 0, 0, 0, 0]], bool)
    scores = np.einsum("bqhf,bkhf->bhqk", query, key) / 2
    weights = np.where(mask[:, None, None], np.exp(scores), 0)
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("bhqk,bkhf->bqhf", weights, value)
    # A rate this small drops nothing, and takes the path that dropout takes.
    dropout = {"dropout_rate": 1e-9, "dropout_keys": example_keys(0, 2)} if implementation == "with dropout" else {}
    actual = attend(jnp.asarray(query), jnp.asarray(key), jnp.asarray(value), jnp.asarray(mask), **dropout)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


# Errors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "arguments", "message"),
    [
        ({"num_frozen_layers": 4}, {}, r"`num_frozen_layers` must lie in 0\.\.3"),
        ({"num_frozen_layers": -1}, {}, r"`num_frozen_layers` must lie in 0\.\.3"),
        ({"dtype": jnp.float16}, {}, "`dtype` must be one of the choices, but got 'float16'.*bfloat16"),
        ({"dtype": "float46"}, {}, "`dtype` must be one of the choices, but got 'float46'. Did you mean"),
        ({"dtype": jnp.float64}, {}, "jax_enable_x64"),
        ({}, {"token_ids": TOKEN_IDS[0]}, r"`token_ids` must hold integers, shape \[batch, length\]"),
        ({}, {"token_ids": TOKEN_IDS.astype(np.float32)}, "`token_ids` must hold integers"),
        ({}, {"token_ids": np.zeros((3, 13), np.int32)}, r"length in 1\.\.12 \(max_position_embeddings\)"),
        ({}, {"mask": MASK[:2]}, r"`mask` must hold integers, shape \[3, 7\] like"),
        ({}, {"mask": MASK.astype(np.float32)}, "`mask` must hold integers"),
        ({}, {"token_type_ids": MASK[:, :3]}, "`token_type_ids` must hold integers"),
        ({}, {"dropout_keys": 2}, r"`dropout_keys` must hold one typed key .*shape \(3,\)"),
    ],
)
def test_bad_input_is_named(attributes: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    batch = {"token_ids": TOKEN_IDS, "mask": MASK} | arguments
    if "dropout_keys" in batch:
        batch["dropout_keys"] = example_keys(0, count=batch["dropout_keys"])
    with pytest.raises(UserError, match=message):
        Bert(CONFIG, **attributes).init(jax.random.key(0), **batch)


def test_dropout_refuses_other_keys_and_rates() -> None:
    with pytest.raises(UserError, match="typed key an example"):
        check_dropout_keys(jnp.zeros((3, 2), jnp.uint32), 3)
    with pytest.raises(UserError, match="threefry2x32"):
        check_dropout_keys(jax.random.split(jax.random.key(0, impl="rbg"), 3), 3)
    with pytest.raises(UserError, match=r"`rate` must be a probability in \[0, 1\)"):
        ExampleDropout(1.0).apply({}, jnp.ones((1, 2)), example_keys(0, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "roberta"},
            "`model_type` must be 'bert', as nothing else is supported, but got 'roberta'\\.$",
        ),
        ({"position_embedding_type": "relative_key"}, "`position_embedding_type` must be 'absolute'"),
        ({"is_decoder": True}, "`is_decoder` must be False"),
        ({"add_cross_attention": True}, "`add_cross_attention` must be False"),
        ({"pruned_heads": {"0": [1]}}, "`pruned_heads` must be {}"),
        ({"hidden_act": "gleu"}, "`hidden_act` must be one of the choices, but got 'gleu'. Did you mean 'gelu'"),
        ({"hidden_size": 25}, r"`hidden_size` must be a multiple of num_attention_heads \(4\), but got 25"),
        ({"hidden_size": "24"}, "`hidden_size` must be of type int"),
        ({"hidden_size": True}, "`hidden_size` must be of type int"),
        ({"num_hidden_layers": 0}, r"`num_hidden_layers` must lie in 1\.\.1000, but got 0"),
        ({"num_hidden_layers": 10**9}, r"`num_hidden_layers` must lie in 1\.\.1000, but got 1000000000"),
        ({"vocab_size": 10**99}, r"`vocab_size` must lie in 1\.\.16777216"),
        ({"intermediate_size": 2**20 + 1}, r"`intermediate_size` must lie in 1\.\.1048576"),
        ({"hidden_dropout_prob": 1.0}, "`hidden_dropout_prob` must be a probability"),
        ({"attention_probs_dropout_prob": -0.1}, "`attention_probs_dropout_prob` must be a probability"),
        ({"layer_norm_eps": 0}, "`layer_norm_eps` must lie between 0 and 1"),
        ({"initializer_range": -1.0}, "`initializer_range` must be a finite number of 0 or more"),
        ({"initializer_range": math.inf}, "`initializer_range` must be a finite number of 0 or more"),
        ({"pad_token_id": 40}, r"`pad_token_id` must lie in 0\.\.39"),
        ({"pad_token_id": None}, "`pad_token_id` must be of type int, but got None"),
    ],
)
def test_unsupported_config_is_named(changes: dict[str, Any], message: str) -> None:
    mapping = dataclasses.asdict(CONFIG) | {"num_attention_heads": 4} | changes
    with pytest.raises(UserError, match=message):
        BertConfig.from_dict(mapping)


def test_config_from_dict_wants_sizes_and_ignores_notes() -> None:
    mapping = dataclasses.asdict(CONFIG) | {"hidden_dropout_prob": 0, "id2label": {}, "is_decoder": False}
    assert BertConfig.from_dict(mapping) == dataclasses.replace(CONFIG, hidden_dropout_prob=0.0)
    assert BertConfig.from_dict(CONFIG.to_dict()) == CONFIG
    del mapping["vocab_size"]
    with pytest.raises(UserError, match="`vocab_size` must stand in"):
        BertConfig.from_dict(mapping)
