"""Weights from and to a Hugging Face directory; test_bert checks what they compute."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from reference import FIXTURES, write_checkpoint
from safetensors.numpy import load_file, save_file

from qjax.checks import UserError
from qjax.data import sources
from qjax.models.bert import Bert
from qjax.models.pretrained import load_pretrained, random_config, save_pretrained, split_layers

QUERY = "encoder.layer.0.attention.self.query.weight"
NORM = "encoder.layer.1.output.LayerNorm"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint", "bert_tiny_shared")


def read(checkpoint: Path) -> dict[str, np.ndarray]:
    return load_file(checkpoint / "model.safetensors")


def write(checkpoint: Path, tensors: dict[str, np.ndarray]) -> None:
    save_file(tensors, checkpoint / "model.safetensors")


def shard(checkpoint: Path) -> dict[str, str]:
    """Splits the weights over two files; returns the index's map."""
    tensors = read(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in tensors if files[name] == file}, checkpoint / file)
    write_index(checkpoint, files)
    return files


def write_index(checkpoint: Path, weight_map: Any) -> None:
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def assert_same_params(actual: Any, expected: Any) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


# Reading ------------------------------------------------------------------------------------------------------------


def test_params_are_what_bert_reads(checkpoint: Path) -> None:
    pretrained = load_pretrained(checkpoint, add_pooling_layer=True, num_frozen_layers=1)
    ids = np.ones((1, 2), np.int32)
    model = Bert(pretrained.config, num_frozen_layers=1)
    expected = jax.eval_shape(lambda: model.init(jax.random.key(0), ids, ids))["params"]
    assert jax.tree.structure(pretrained.params) == jax.tree.structure(expected)
    for actual, shape in zip(jax.tree.leaves(pretrained.params), jax.tree.leaves(expected), strict=True):
        assert isinstance(actual, np.ndarray)
        assert (actual.shape, actual.dtype) == (shape.shape, np.float32)
    np.testing.assert_array_equal(pretrained.params["frozen_layers"]["query"]["kernel"][0], read(checkpoint)[QUERY].T)


def test_sha256_is_the_files(checkpoint: Path) -> None:
    data = (checkpoint / "model.safetensors").read_bytes()
    assert load_pretrained(checkpoint).sha256 == hashlib.sha256(data).hexdigest()
    files = sorted(set(shard(checkpoint).values()))
    lines = [f"{name} {hashlib.sha256((checkpoint / name).read_bytes()).hexdigest()}\n" for name in files]
    assert load_pretrained(checkpoint).sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_shards_prefix_and_old_names_give_the_same_params(checkpoint: Path) -> None:
    expected = load_pretrained(checkpoint, add_pooling_layer=True).params
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = {}
    for name, tensor in read(checkpoint).items():
        for new_name, old_name in old.items():
            name = name.replace(new_name, old_name)
        tensors["bert." + name] = tensor
    tensors |= {"cls.predictions.bias": np.zeros(3, np.float32), "qa_outputs.weight": np.zeros(2, np.float32)}
    tensors["bert.embeddings.position_ids"] = np.arange(4)
    write(checkpoint, tensors)
    assert_same_params(load_pretrained(checkpoint, add_pooling_layer=True).params, expected)
    shard(checkpoint)
    assert_same_params(load_pretrained(checkpoint, add_pooling_layer=True).params, expected)


def test_pooling_layer_is_read_when_wanted(checkpoint: Path) -> None:
    assert "pooler" not in load_pretrained(checkpoint).params
    assert "pooler" in load_pretrained(checkpoint, add_pooling_layer=True).params
    masked_lm = write_checkpoint(checkpoint.parent / "masked_lm", "bert_tiny_masked_lm")
    with pytest.raises(UserError, match=r"missing: pooler\.dense\.bias; missing: pooler\.dense\.weight"):
        load_pretrained(masked_lm, add_pooling_layer=True)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_half_precision_is_upcast_without_change(checkpoint: Path, dtype: Any) -> None:
    tensors = {name: tensor.astype(dtype) for name, tensor in read(checkpoint).items()}
    write(checkpoint, tensors)
    kernel = load_pretrained(checkpoint).params["layers"]["query"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel[0], tensors[QUERY].T.astype(np.float32))


def test_minilm_loads() -> None:
    directory = sources.fetch("minilm")
    pretrained = load_pretrained(directory)
    assert pretrained.config.num_hidden_layers == 6
    # The published size of the model, 22.7M, with its 384 x 384 pooling layer and bias left out.
    assert sum(leaf.size for leaf in jax.tree.leaves(pretrained.params)) == 22_713_216 - 384 * 385


# Splitting and writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray])
def test_split_layers_can_be_undone(checkpoint: Path, convert: Any) -> None:
    whole = jax.tree.map(convert, load_pretrained(checkpoint).params)
    kernel = whole["layers"]["output"]["kernel"]
    half = split_layers(whole, 1)
    np.testing.assert_array_equal(half["frozen_layers"]["output"]["kernel"], kernel[:1])
    np.testing.assert_array_equal(half["layers"]["output"]["kernel"], kernel[1:])
    assert "layers" not in split_layers(half, 2)
    assert_same_params(split_layers(split_layers(half, 2), 0), whole)
    assert type(split_layers(half, 0)["layers"]["output"]["kernel"]) is type(kernel)
    with pytest.raises(UserError, match=r"`num_frozen_layers` must lie in 0\.\.2, the encoder's layers, but got 3"):
        split_layers(whole, 3)
    with pytest.raises(UserError, match="`params` must hold the encoder's group 'layers'"):
        split_layers({"embeddings": {}}, 0)


@pytest.mark.parametrize("num_frozen_layers", [0, 1])
def test_written_tensors_are_those_of_transformers(checkpoint: Path, tmp_path: Path, num_frozen_layers: int) -> None:
    pretrained = load_pretrained(checkpoint, add_pooling_layer=True, num_frozen_layers=num_frozen_layers)
    save_pretrained(tmp_path / "new", pretrained.config, pretrained.params)
    original = load_file(FIXTURES / "bert_tiny_shared.safetensors")  # written by transformers
    written = read(tmp_path / "new")
    assert set(written) == set(original)
    for name, tensor in original.items():
        np.testing.assert_array_equal(written[name], tensor, err_msg=name)
    again = load_pretrained(tmp_path / "new", add_pooling_layer=True, num_frozen_layers=num_frozen_layers)
    assert again.config == pretrained.config
    assert_same_params(again.params, pretrained.params)
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    theirs = json.loads((checkpoint / "config.json").read_text())
    assert {key: theirs[key] for key in config if key in theirs} == {
        key: config[key] for key in config if key in theirs
    }


def test_save_pretrained_loses_nothing(checkpoint: Path, tmp_path: Path) -> None:
    pretrained = load_pretrained(checkpoint)
    with pytest.raises(UserError, match=r"`directory` must hold no model\.safetensors yet"):
        save_pretrained(checkpoint, pretrained.config, pretrained.params)
    broken = dict(pretrained.params) | {"extra": {"kernel": np.zeros(2, np.float32)}}
    del broken["embeddings"]
    with pytest.raises(UserError, match=r"`params` must hold exactly .*; and 1 more faults"):
        save_pretrained(tmp_path / "new", pretrained.config, broken)
    assert not (tmp_path / "new").exists()


def test_random_config_makes_an_encoder() -> None:
    config = random_config(num_layers=1, hidden_size=8, num_heads=2, vocab_size=11)
    ids = np.ones((1, 2), np.int32)
    params = jax.eval_shape(lambda: Bert(config).init(jax.random.key(0), ids, ids))["params"]
    assert params["embeddings"]["word_embeddings"]["embedding"].shape == (11, 8)
    assert params["layers"]["intermediate"]["kernel"].shape == (1, 8, 32)
    with pytest.raises(UserError, match="`hidden_size` must be a multiple"):
        random_config(num_layers=1, hidden_size=9, num_heads=2, vocab_size=11)


# Refusals -----------------------------------------------------------------------------------------------------------


def test_all_faulty_tensors_are_listed(checkpoint: Path) -> None:
    tensors = read(checkpoint)
    del tensors["encoder.layer.1.intermediate.dense.bias"]
    tensors["encoder.layer.2.output.dense.bias"] = np.zeros(24, np.float32)
    tensors[QUERY] = tensors[QUERY][:, :20].copy()
    tensors[f"{NORM}.bias"] = tensors[f"{NORM}.bias"].astype(np.float64)
    tensors[f"{NORM}.weight"][3] = np.nan
    write(checkpoint, tensors)
    with pytest.raises(UserError) as error:
        load_pretrained(checkpoint)
    listed = set(str(error.value).partition("but got ")[2].rstrip(".").split("; "))
    assert listed == {
        "missing: encoder.layer.1.intermediate.dense.bias",
        "surplus: encoder.layer.2.output.dense.bias",
        f"shape [24, 20] instead of [24, 24]: {QUERY}",
        f"float64 instead of float32, bfloat16, float16: {NORM}.bias",
        f"not finite: {NORM}.weight",
    }


def test_a_tensor_under_two_names_is_refused(checkpoint: Path) -> None:
    tensors = read(checkpoint)
    write(checkpoint, tensors | {"bert." + QUERY: tensors[QUERY] + 1})
    with pytest.raises(UserError, match=f"hold each tensor once, but got two tensors for {QUERY}"):
        load_pretrained(checkpoint)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "bert_model.ckpt.index", "tf_model.h5"])
def test_pickled_and_other_formats_are_refused_by_name(checkpoint: Path, name: str) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / name)
    with pytest.raises(UserError, match=f"only {name} in .*can run code.*To convert: `AutoModel"):
        load_pretrained(checkpoint)


def test_a_pickle_beside_safetensors_is_not_read(checkpoint: Path) -> None:
    (checkpoint / "pytorch_model.bin").write_bytes(b"not a pickle")
    assert load_pretrained(checkpoint).config.hidden_size == 24


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
def test_damaged_weights_are_refused(checkpoint: Path, damage: str) -> None:
    path = checkpoint / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes({"truncated": data[:-100], "empty": b"", "garbage": b"\xff" * 200}[damage])
    with pytest.raises(UserError, match=r"model\.safetensors` must be a whole safetensors file"):
        load_pretrained(checkpoint)


def test_missing_files_are_named(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="`checkpoint` must be a directory"):
        load_pretrained(checkpoint / "nothing")
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"hold model\.safetensors or model\.safetensors\.index\.json, but got neither"
    ):
        load_pretrained(checkpoint)
    (checkpoint / "config.json").unlink()
    with pytest.raises(UserError, match=r"hold config\.json, but got none"):
        load_pretrained(checkpoint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"config.json` must be a JSON object, but got no JSON"),
        ("[]", "must be a JSON object, but got a JSON list"),
        ("\udcff", "bytes that are not UTF-8"),
        ('{"model_type": "roberta"}', r"config.json: Argument `model_type` must be 'bert', .*, but got 'roberta'\.$"),
    ],
)
def test_a_bad_config_is_refused(checkpoint: Path, text: str, message: str) -> None:
    (checkpoint / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=message):
        load_pretrained(checkpoint)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (None, "map tensors to files under 'weight_map'"),
        ({}, "map tensors to files"),
        ({"a": 1}, "map tensors to files"),
        ({"a": "../model.safetensors"}, r"list safetensors files beside it, but got '\.\./model"),
        ({"a": "model.bin"}, "list safetensors files beside it"),
        ({"a": "gone.safetensors"}, r"list files that are there, but got the missing gone\.safetensors"),
    ],
)
def test_a_bad_index_is_refused(checkpoint: Path, weight_map: Any, message: str) -> None:
    (checkpoint / "model.safetensors").unlink()
    write_index(checkpoint, weight_map)
    with pytest.raises(UserError, match=message):
        load_pretrained(checkpoint)


def test_a_tensor_in_two_shards_is_refused(checkpoint: Path) -> None:
    names = sorted(set(shard(checkpoint).values()))
    (checkpoint / names[1]).write_bytes((checkpoint / names[0]).read_bytes())
    with pytest.raises(UserError, match="hold tensors of no other file"):
        load_pretrained(checkpoint)
