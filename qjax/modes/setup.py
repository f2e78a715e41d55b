"""From a configuration to the parts of a run: encoder, tokenizer, model, devices, inputs.

The one place that reads the configuration and calls everything else with keyword arguments.
"""

import dataclasses
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict

from qjax.checks import UserError, check, printable
from qjax.config import config_hash, read_config
from qjax.data import (
    Dataset,
    Tokenizer,
    load_dataset,
    load_tokenizer,
    random_tokenizer,
    resolve_checkpoint,
    split_hash,
)
from qjax.files import write_text
from qjax.models.bert import Bert, BertConfig
from qjax.models.classifier import Classifier
from qjax.models.heads import make_head
from qjax.models.pretrained import load_pretrained, random_config, save_pretrained
from qjax.quantum.engines.memory import device_bytes, show_bytes
from qjax.training import checksum
from qjax.training.mesh import make_mesh
from qjax.training.state import count_params
from qjax.untrusted import MAX_COUNT, read_json

INFO_FILE = "run.json"
ENCODER_FOLDER = "encoder"

# Options of the circuit that all quantum heads have.
CIRCUIT_OPTIONS = ("num_qubits", "encoding_axis", "reps", "rotations", "entangler", "pattern")
# Options of each head, by the config key that holds them.
HEAD_OPTIONS = {
    "linear": ("dropout",),
    "mlp": ("dropout", "hidden_size"),
    "variational": ("dropout", *CIRCUIT_OPTIONS, "readout"),
    "grover": ("dropout", *CIRCUIT_OPTIONS, "num_iterations", "phases", "simulation"),
}


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A loaded encoder.

    Attributes:
      config: its shape and switches.
      params: as the module wants them.
      sha256: of the file of weights.
      tokenizer: that goes with it.
    """

    config: BertConfig
    params: dict[str, Any]
    sha256: str
    tokenizer: Tokenizer

    @property
    def config_sha256(self) -> str:
        """Hash of `config`: the same weights under other switches are another encoder."""
        return hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What a workdir remembers of its data beside config.json, as `run.json`.

    Attributes:
      label_names: class names, or BIO tags, in the order of the logits.
      train_label_counts: items of each label in the training split.
      split_sha256: of the split's indices and data.
      encoder_sha256, encoder_config_sha256, tokenizer_sha256: of what the run started from.
      description: what the run is, from `qjax.modes.description`; None in a workdir from before there was one.
      config_sha256: of config.json, from `qjax.config.config_hash`; '' in a workdir from before it was kept.
    """

    label_names: tuple[str, ...]
    train_label_counts: tuple[int, ...]
    split_sha256: str
    encoder_sha256: str
    encoder_config_sha256: str
    tokenizer_sha256: str
    description: dict[str, Any] | None = None
    config_sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that the modes share."""

    config: ConfigDict
    workdir: Path
    info: RunInfo
    encoder: Encoder
    model: Classifier
    mesh: Mesh

    @property
    def frozen_features(self) -> bool:
        """Whether the model is the head alone, on cached features."""
        return self.config.encoder.regime == "frozen"

    @property
    def num_frozen_layers(self) -> int:
        """First encoder layers that stay fixed while the rest is trained."""
        return 0 if self.frozen_features else self.config.encoder.num_frozen_layers


def load_data(config: ConfigDict) -> Dataset:
    """Returns the data set that the configuration names."""
    data = config.data
    return load_dataset(
        task=config.task,
        source=data.source,
        path=data.path,
        validation_path=data.validation_path,
        test_path=data.test_path,
        text_column=data.text_column,
        label_column=data.label_column,
        labels=tuple(data.labels),
        split_seed=data.split_seed,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        max_examples=data.max_examples,
    )


def load_encoder(config: ConfigDict, workdir: Path, dataset: Dataset | None) -> Encoder:
    """Returns the configured encoder; a random one is drawn from the seed once and kept in the workdir.

    Args:
      config: the run's.
      workdir: where a random encoder is kept.
      dataset: of a run that begins, gives a random encoder its vocabulary; None where the workdir holds the encoder.
    """
    settings = config.encoder
    if settings.checkpoint == "random":
        directory = workdir / ENCODER_FOLDER
        if dataset is not None:
            if jax.process_index() == 0:
                shutil.rmtree(directory, ignore_errors=True)  # drawn for a run that never began
                _save_random_encoder(config, directory, dataset)
            multihost_utils.sync_global_devices("random encoder")
    else:
        directory = resolve_checkpoint(settings.checkpoint)
    num_frozen = settings.num_frozen_layers if settings.regime == "full" else 0
    pretrained = load_pretrained(directory, add_pooling_layer=False, num_frozen_layers=num_frozen)
    check(
        config.data.max_length <= pretrained.config.max_position_embeddings,
        "data.max_length",
        f"be at most {pretrained.config.max_position_embeddings}, the positions of {settings.checkpoint}",
        config.data.max_length,
    )
    tokenizer, rows = load_tokenizer(directory), pretrained.config.vocab_size
    expectation = f"have ids below {rows}, the vocab_size of {directory / 'config.json'}"
    check(
        tokenizer.vocab_size <= rows,
        f"tokenizer in {directory}",
        expectation,
        f"ids up to {tokenizer.vocab_size - 1}",
    )
    return Encoder(config=pretrained.config, params=pretrained.params, sha256=pretrained.sha256, tokenizer=tokenizer)


def _save_random_encoder(config: ConfigDict, directory: Path, dataset: Dataset) -> None:
    train = [dataset.items[i] for i in dataset.splits["train"]]
    texts = [item if isinstance(item, str) else " ".join(item) for item in train]
    tokenizer = random_tokenizer(texts)
    bert_config = random_config(
        num_layers=config.encoder.random_num_layers,
        hidden_size=config.encoder.random_hidden_size,
        num_heads=config.encoder.random_num_heads,
        vocab_size=tokenizer.vocab_size,
    )
    ids = jnp.zeros((1, 4), jnp.int32)
    model = Bert(config=bert_config, add_pooling_layer=False)
    arguments = (jax.random.key(config.seed), ids, jnp.ones_like(ids))
    check_params_fit("encoder.random_hidden_size", bert_config.hidden_size, model.init, *arguments)
    params = model.init(*arguments)["params"]
    tokenizer.save(directory)
    save_pretrained(directory, bert_config, jax.device_get(params))


def check_params_fit(key: str, value: object, init: Callable[..., Any], *arguments: Any) -> None:
    """Raises, before anything is drawn, where the parameters that `init` would return are larger than the memory."""
    needed, available = 4 * count_params(jax.eval_shape(init, *arguments)), device_bytes()
    expectation = f"leave the parameters within this device's memory of {show_bytes(available)}"
    check(needed <= available, key, expectation, f"{value}, with which they take {show_bytes(needed)}")


def make_encoder_module(config: ConfigDict, bert_config: BertConfig) -> Bert:
    """Returns the module that runs the encoder: for its features alone, or to be trained."""
    settings, dtype = config.encoder, jnp.dtype(config.encoder.dtype)
    if settings.regime == "frozen":
        return Bert(config=bert_config, dtype=dtype, add_pooling_layer=False)
    if settings.dropout >= 0:
        bert_config = dataclasses.replace(
            bert_config, hidden_dropout_prob=settings.dropout, attention_probs_dropout_prob=settings.dropout
        )
    return Bert(
        config=bert_config,
        num_frozen_layers=settings.num_frozen_layers,
        dtype=dtype,
        remat=settings.remat,
        add_pooling_layer=False,
    )


def make_model(config: ConfigDict, bert_config: BertConfig, num_classes: int) -> Classifier:
    """Returns the classifier; without its encoder in the 'frozen' regime, where batches carry features."""
    options = {name: config.head[name] for name in HEAD_OPTIONS[config.head.name]}
    if "rotations" in options:
        options["rotations"] = tuple(options["rotations"])
    head = make_head(config.head.name, num_classes=num_classes, **options)
    encoder = make_encoder_module(config, bert_config) if config.encoder.regime == "full" else None
    return Classifier(head=head, encoder=encoder, task=config.task, pooling=config.encoder.pooling)


def make_info(config: ConfigDict, dataset: Dataset, encoder: Encoder) -> RunInfo:
    """Returns what a new workdir is to remember."""
    train = [dataset.labels[i] for i in dataset.splits["train"]]
    flat = np.concatenate([np.atleast_1d(np.asarray(labels, np.int64)) for labels in train])
    counts = np.bincount(flat, minlength=len(dataset.label_names))
    return RunInfo(
        label_names=tuple(dataset.label_names),
        train_label_counts=tuple(int(c) for c in counts),
        split_sha256=split_hash(dataset),
        encoder_sha256=encoder.sha256,
        encoder_config_sha256=encoder.config_sha256,
        tokenizer_sha256=encoder.tokenizer.sha256,
        config_sha256=config_hash(config),
    )


def read_info(workdir: Path) -> RunInfo | None:
    """Returns the workdir's `run.json`, None before the first run."""
    path = workdir / INFO_FILE
    if not path.exists():
        return None
    try:
        saved = read_json(path, "the record of a run")
        is_old = "config_sha256" not in saved and checksum.KEY not in saved
        check(is_old or checksum.is_intact(saved), checksum.KEY, "be that of the file", "another one: it is damaged")
        saved.pop(checksum.KEY, None)
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
        return _checked_info(RunInfo(**fields))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is not a run's record: {error}. Restore it, or train in a new workdir.") from error


def _checked_info(info: RunInfo) -> RunInfo:
    names, counts = info.label_names, info.train_label_counts
    are_names = isinstance(names, tuple) and all(isinstance(n, str) and printable(n) == n for n in names)
    check(are_names and len(set(names)) == len(names) > 1, "label_names", "hold distinct names", names)
    are_counts = isinstance(counts, tuple) and all(type(count) is int and 0 <= count <= MAX_COUNT for count in counts)
    check(are_counts and len(counts) == len(names), "train_label_counts", "hold a count for each label", counts)
    hashes = [getattr(info, field.name) for field in dataclasses.fields(info) if field.name.endswith("sha256")]
    check(all(isinstance(digest, str) for digest in hashes), "sha256", "be text", hashes)
    return info


def write_info(workdir: Path, info: RunInfo) -> None:
    """Writes `run.json`, sealed by its own checksum, whole or not at all."""
    write_text(workdir / INFO_FILE, json.dumps(checksum.seal(dataclasses.asdict(info)), indent=1) + "\n")


def check_same_origin(saved: RunInfo, workdir: Path, *, encoder: Encoder, dataset: Dataset | None) -> None:
    """Raises where config.json, encoder, tokenizer or data are not those that the workdir's run was trained with."""
    found = {
        "config": config_hash(read_config(workdir)) if saved.config_sha256 else "",
        "encoder": encoder.sha256,
        "encoder_config": encoder.config_sha256,
        "tokenizer": encoder.tokenizer.sha256,
    }
    if dataset is not None:
        found["split"] = split_hash(dataset)
    for name, sha256 in found.items():
        expected = getattr(saved, f"{name}_sha256")
        if sha256 != expected:
            what = name.replace("_", " ")
            same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(expected, sha256, strict=False))
            place = len(list(same)) + 1
            raise UserError(
                f"The {what} is not the one that {workdir} was trained with: expected sha256 {expected}, found "
                f"{sha256}, another from digit {place} on. Restore the original files, or train in a new workdir."
            )


def prepare_run(config: ConfigDict, workdir: Path, dataset: Dataset | None, *, is_new: bool = False) -> Run:
    """Returns the assembled run of a workdir, or of a new run in it.

    Args:
      config: validated.
      workdir: exists.
      dataset: the run's data set; None where the mode reads other texts only.
      is_new: the run begins; a random encoder is drawn and kept in the workdir, nothing else is written.
    """
    if is_new:
        assert dataset is not None
        encoder = load_encoder(config, workdir, dataset)
        info = make_info(config, dataset, encoder)
    else:
        saved = read_info(workdir)
        check(saved is not None, "--workdir", "hold a trained run (run.json)", str(workdir))
        assert saved is not None
        encoder, info = load_encoder(config, workdir, None), saved
        check_same_origin(saved, workdir, encoder=encoder, dataset=dataset)
    model = make_model(config, encoder.config, len(info.label_names))
    mesh = make_mesh(config.train.num_devices)
    return Run(config=config, workdir=workdir, info=info, encoder=encoder, model=model, mesh=mesh)
