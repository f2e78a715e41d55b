"""Pretrained weights: from and to a Hugging Face directory (config.json, model.safetensors), without torch.

The tree of parameters, and each shape in it, comes from `Bert` itself; this file holds the names' translation only.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from qjax.checks import UserError, check, fail
from qjax.files import make_folder, write_bytes, write_text
from qjax.models.bert import Bert, BertConfig
from qjax.untrusted import read_json

Params = dict[str, Any]
Tensors = dict[str, np.ndarray]  # name in the checkpoint -> array
Shapes = dict[tuple[str, ...], tuple[int, ...]]  # path in our tree -> shape

# Our module -> its name in a checkpoint. Leaves follow one rule: 'bias' is 'bias', the others are 'weight', and a
# 'kernel', [inputs, outputs] here, is stored the other way round.
_EMBEDDING_MODULES = {
    "word_embeddings": "embeddings.word_embeddings",
    "position_embeddings": "embeddings.position_embeddings",
    "token_type_embeddings": "embeddings.token_type_embeddings",
    "layer_norm": "embeddings.LayerNorm",
}
_LAYER_MODULES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_layer_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}

# Tensors of a checkpoint that are no part of the encoder: the heads it was trained with, and a list of positions that
# older versions stored. 'pooler.' joins them where no pooling layer is wanted.
_SKIPPED = ("cls.", "classifier.", "qa_outputs.", "embeddings.position_ids")

_MAX_FAULTS = 5  # that one error lists
_PRECISIONS = ("float32", "bfloat16", "float16")

# Formats that are refused. The first ones are pickles, which run code when they are read.
_REFUSED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.ckpt.index", "*.h5", "*.msgpack", "*.onnx")
_CONVERT = (
    "To convert: `AutoModel.from_pretrained(DIRECTORY).save_pretrained(NEW)` with transformers and torch, "
    "in a place where you trust the file"
)


class Pretrained(NamedTuple):
    """A checkpoint in memory.

    Attributes:
      config: sizes and switches.
      params: what `Bert.apply` reads as 'params': nested dict of float32 NumPy arrays.
      sha256: hexadecimal digest of the weights file; of a sharded checkpoint, of the lines "NAME DIGEST" of its
        files, sorted. It names the weights alone, not config.json or the tokenizer.
    """

    config: BertConfig
    params: Params
    sha256: str


def random_config(*, num_layers: int, hidden_size: int, num_heads: int, vocab_size: int) -> BertConfig:
    """Returns the configuration of a small encoder to be trained from random weights."""
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        intermediate_size=4 * hidden_size,
        max_position_embeddings=512,
    )


def split_layers(params: Mapping[str, Any], num_frozen_layers: int) -> Params:
    """Returns `params` with the first `num_frozen_layers` layers in the group 'frozen_layers', as `Bert` wants them.

    The number may be 0, and `params` may be split already, at another place: the layers are joined first.
    """
    params = dict(params)
    groups = [params.pop(name) for name in ("frozen_layers", "layers") if name in params]
    check(bool(groups), "params", "hold the encoder's group 'layers' or 'frozen_layers'", f"only {sorted(params)}")
    layers = jax.tree.map(lambda *leaves: _concatenate(leaves), *groups)
    num_layers = len(jax.tree.leaves(layers)[0])
    fits = 0 <= num_frozen_layers <= num_layers
    check(fits, "num_frozen_layers", f"lie in 0..{num_layers}, the encoder's layers", num_frozen_layers)
    parts = {"frozen_layers": slice(0, num_frozen_layers), "layers": slice(num_frozen_layers, num_layers)}
    for name, part in parts.items():
        if part.start < part.stop:
            params[name] = jax.tree.map(lambda leaf, part=part: leaf[part], layers)
    return params


def _concatenate(leaves: tuple[Any, ...]) -> Any:
    if len(leaves) == 1:
        return leaves[0]
    return (np if isinstance(leaves[0], np.ndarray) else jnp).concatenate(leaves)


def load_pretrained(
    directory: Path | str, *, add_pooling_layer: bool = False, num_frozen_layers: int = 0
) -> Pretrained:
    """Reads an encoder from a directory.

    It holds config.json and model.safetensors, or model.safetensors.index.json and the files that it lists. Names may
    carry the prefix 'bert.', layer norms may be called by their old names gamma and beta, and values may be float32,
    bfloat16 or float16. Task heads ('cls.', 'classifier.', 'qa_outputs.'), 'embeddings.position_ids' and, where it
    isn't wanted, the pooling layer are skipped.

    Args:
      directory: the checkpoint.
      add_pooling_layer: whether to read the pooling layer; as in `Bert`.
      num_frozen_layers: as in `Bert`.

    Raises:
      UserError: a file is missing, damaged or a format that can't be trusted; or tensors are missing, surplus,
        of another shape or precision, or not finite, with a list of the first ones and their number.
    """
    directory = Path(directory)
    check(directory.is_dir(), "checkpoint", "be a directory", str(directory))
    config = _read_config(directory / "config.json")
    files = _weight_files(directory)
    tensors = _encoder_tensors(_read_all(files), add_pooling_layer)
    expected = _expected_params(config, add_pooling_layer)
    _check_tensors(tensors, _checkpoint_shapes(expected, config.num_hidden_layers), str(directory))
    params = _to_tree(tensors, expected, config.num_hidden_layers)
    return Pretrained(config, split_layers(params, num_frozen_layers), _sha256(files))


def save_pretrained(directory: Path | str, config: BertConfig, params: Mapping[str, Any]) -> None:
    """Writes config.json and model.safetensors in the layout that `load_pretrained` and other tools read.

    Args:
      directory: made where it is missing; one that holds weights already is refused.
      config: sizes and switches.
      params: the encoder's parameters, split into frozen and trained layers or not, with or without 'pooler'.
    """
    directory = Path(directory)
    weights = directory / "model.safetensors"
    check(not weights.exists(), "directory", "hold no model.safetensors yet", str(directory))
    params = jax.device_get(split_layers(params, 0))
    expected = _expected_params(config, "pooler" in params)
    here = {"/".join(path): np.asarray(leaf) for path, leaf in _flatten(params)}
    _check_tensors(here, {"/".join(path): shape for path, shape in expected.items()}, "params")
    tensors = _to_tensors(params, config.num_hidden_layers)
    make_folder(directory)
    text = json.dumps(config.to_dict() | {"architectures": ["BertModel"]}, indent=2, sort_keys=True)
    write_text(directory / "config.json", text + "\n")
    write_bytes(weights, save(tensors, metadata={"format": "pt"}))


def _checkpoint_names(path: tuple[str, ...], num_layers: int) -> list[str]:
    """Returns the checkpoint's names for our parameter at `path`: one, or one a layer for a stacked parameter."""
    group, module, leaf = path if len(path) == 3 else (path[0], "", path[1])
    end = "bias" if leaf == "bias" else "weight"
    if group == "layers":
        return [f"encoder.layer.{i}.{_LAYER_MODULES[module]}.{end}" for i in range(num_layers)]
    return [f"{_EMBEDDING_MODULES[module]}.{end}" if group == "embeddings" else f"pooler.dense.{end}"]


def _expected_params(config: BertConfig, add_pooling_layer: bool) -> Shapes:
    """Returns path -> shape of every parameter that `Bert` has."""
    ids = np.zeros((1, 1), np.int32)
    init = partial(Bert(config, add_pooling_layer=add_pooling_layer).init, token_ids=ids, mask=ids)
    return {path: leaf.shape for path, leaf in _flatten(jax.eval_shape(lambda: init(jax.random.key(0)))["params"])}


def _checkpoint_shapes(expected: Shapes, num_layers: int) -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of every tensor that a checkpoint with these parameters holds."""
    shapes = {}
    for path, shape in expected.items():
        one = shape[1:] if path[0] == "layers" else shape
        for name in _checkpoint_names(path, num_layers):
            shapes[name] = one[::-1] if path[-1] == "kernel" else one
    return shapes


def _flatten(params: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return [(tuple(entry.key for entry in path), leaf) for path, leaf in leaves]


def _to_tree(tensors: Tensors, expected: Shapes, num_layers: int) -> Params:
    """Returns checked tensors as the tree of `Bert`, all layers in the group 'layers'."""
    tree: Params = {}
    for path in expected:
        arrays = [tensors[name] for name in _checkpoint_names(path, num_layers)]
        if path[-1] == "kernel":
            arrays = [array.T for array in arrays]
        value = np.stack(arrays) if path[0] == "layers" else arrays[0]
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = np.ascontiguousarray(value, dtype=np.float32)
    return tree


def _to_tensors(params: Mapping[str, Any], num_layers: int) -> Tensors:
    """Returns the inverse of `_to_tree`."""
    tensors = {}
    for path, leaf in _flatten(params):
        array = np.asarray(leaf)
        parts = array if path[0] == "layers" else [array]
        for name, part in zip(_checkpoint_names(path, num_layers), parts, strict=True):
            tensors[name] = np.ascontiguousarray(part.T if path[-1] == "kernel" else part)
    return tensors


def _encoder_tensors(tensors: Tensors, add_pooling_layer: bool) -> Tensors:
    """Returns the encoder's tensors under their plain, present-day names."""
    skipped = _SKIPPED if add_pooling_layer else (*_SKIPPED, "pooler.")
    renamed = {}
    for name, tensor in tensors.items():
        plain = name.removeprefix("bert.")
        if plain.startswith(skipped):
            continue
        if plain.endswith(("LayerNorm.gamma", "LayerNorm.beta")):
            plain = plain.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        check(plain not in renamed, "checkpoint", "hold each tensor once", f"two tensors for {plain}")
        renamed[plain] = tensor
    return renamed


def _check_tensors(tensors: Tensors, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raises one error for the tensors that are missing, surplus, mis-shaped, imprecise or not finite."""
    faults = [f"missing: {name}" for name in shapes if name not in tensors]
    faults += [f"surplus: {name}" for name in tensors if name not in shapes]
    for name, shape in shapes.items():
        tensor = tensors.get(name)
        if tensor is None:
            continue
        if tensor.shape != shape:
            faults.append(f"shape {list(tensor.shape)} instead of {list(shape)}: {name}")
        elif tensor.dtype.name not in _PRECISIONS:
            faults.append(f"{tensor.dtype.name} instead of {', '.join(_PRECISIONS)}: {name}")
        elif not np.isfinite(tensor).all():
            faults.append(f"not finite: {name}")
    if faults:
        more = f"; and {len(faults) - _MAX_FAULTS} more faults" if len(faults) > _MAX_FAULTS else ""
        fail(where, "hold exactly the encoder's tensors", "; ".join(faults[:_MAX_FAULTS]) + more)


def _weight_files(directory: Path) -> list[Path]:
    """Returns the safetensors file or files of a checkpoint, sorted; refuses other formats by name."""
    if (directory / "model.safetensors").is_file():
        return [directory / "model.safetensors"]
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        return _shards(index)
    refused = sorted({path.name for pattern in _REFUSED for path in directory.glob(pattern)})
    if refused:
        reason = "pickled weights can run code when they are read, and other formats are not supported"
        fail(
            "checkpoint", "hold model.safetensors", f"only {', '.join(refused)} in {directory}: {reason}. {_CONVERT}"
        )
    fail("checkpoint", "hold model.safetensors or model.safetensors.index.json", f"neither in {directory}")


def _shards(index: Path) -> list[Path]:
    weight_map = _read_json(index).get("weight_map")
    is_map = isinstance(weight_map, dict) and all(isinstance(name, str) for name in weight_map.values())
    if not is_map or not weight_map:
        fail(str(index), "map tensors to files under 'weight_map'", repr(weight_map))
    names = sorted(set(weight_map.values()))
    for name in names:
        plain = Path(name).name == name and name.endswith(".safetensors")
        check(plain, str(index), "list safetensors files beside it", repr(name))
        check(os.path.isfile(index.parent / name), str(index), "list files that are there", f"the missing {name}")
    return [index.parent / name for name in names]


def _read_all(files: Iterable[Path]) -> Tensors:
    tensors: Tensors = {}
    for path in files:
        try:
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118 - the file object is no mapping
                    check(name not in tensors, str(path), "hold tensors of no other file", name)
                    tensors[name] = file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            fail(str(path), "be a whole safetensors file", f"one that can't be read ({error})")
    return tensors


def _read_config(path: Path) -> BertConfig:
    try:
        return BertConfig.from_dict(_read_json(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _read_json(path: Path) -> dict[str, Any]:
    check(path.is_file(), "checkpoint", f"hold {path.name}", f"none in {path.parent}")
    return read_json(path)


def _sha256(files: list[Path]) -> str:
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(files) == 1:
        return digests[0]
    lines = "".join(f"{path.name} {digest}\n" for path, digest in zip(files, digests, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()
