"""Inputs, initial parameters, predictions and reports of an assembled run: what train, evaluate and predict share."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax import signals
from qjax.data import cache_dir
from qjax.evaluation.reports import Report, entity_report, majority_baseline, majority_tag_baseline, sentence_report
from qjax.models.classifier import features_of
from qjax.modes.setup import Run, check_params_fit, make_encoder_module
from qjax.training.features import Features, features_key, hash_texts, load_or_compute, load_or_compute_part
from qjax.training.inputs import FeatureInputs, Inputs, TokenInputs
from qjax.training.mesh import parallelize, replicate
from qjax.training.predictor import Batching, compute_features, predict
from qjax.training.progress import Progress
from qjax.training.state import merge_params, split_params
from qjax.training.step import make_predict_step

# Rows of a batch while features are computed: enough to keep a device busy, independent of the training batch so that
# every run shares one cache.
FEATURE_BATCH_SIZE = 64
# Predictions that take no longer show no progress.
SECONDS_WITHOUT_BAR = 2.0


def is_main_process() -> bool:
    """Whether this process is the one that prints and writes."""
    return jax.process_index() == 0


def tokenize(run: Run, items: Sequence[Any]) -> TokenInputs:
    """Returns the word pieces of texts, or of sentences of words."""
    max_length = run.config.data.max_length
    if run.config.task == "entities":
        encoded = run.encoder.tokenizer.encode_words(items, max_length)
        seen = [positions[positions >= 0] for positions in encoded.first_positions]
        return TokenInputs(encoded.token_ids, positions=seen, num_cut=encoded.num_cut)
    texts = run.encoder.tokenizer.encode_texts(items, max_length)
    return TokenInputs(texts.token_ids, num_cut=texts.num_cut)


def batching(run: Run, batch_size: int) -> Batching:
    """Returns the run's batch shapes with `batch_size` rows."""
    buckets = tuple(length for length in run.config.data.bucket_lengths if length < run.config.data.max_length)
    return Batching(
        batch_size=batch_size,
        bucket_lengths=(*buckets, run.config.data.max_length),
        words=run.config.task == "entities",
    )


def make_inputs(run: Run, items: Sequence[Any], *, announce: bool = True) -> Inputs:
    """Returns what the model reads of `items`: cached features of a frozen encoder, else word pieces."""
    tokens = tokenize(run, items)
    if not run.frozen_features:
        return tokens
    config = run.config
    key = features_key(
        weights=run.encoder.sha256,
        encoder=run.encoder.config.to_dict(),
        tokenizer=run.encoder.tokenizer.sha256,
        texts=hash_texts(items),
        task=config.task,
        max_length=config.data.max_length,
        pooling="first_piece" if config.task == "entities" else config.encoder.pooling,
        dtype=config.encoder.dtype,
    )
    announce = announce and is_main_process()

    def compute() -> Features:
        if announce:
            print(f"features  computing those of {len(items)} examples, once; later runs read them", flush=True)
        return _encode(run, tokens, keep)

    def keep(name: str, compute: Callable[[], Features]) -> Features:
        return load_or_compute_part(directory, key, name, compute, write=is_main_process())

    directory = cache_dir() / "features"
    signals.set_phase("while computing features, of which the finished part is kept")
    features, cached = load_or_compute(directory, key, compute, write=is_main_process())
    signals.set_phase("after computing features")
    if announce and cached:
        print(f"features  of {len(items)} examples read from the cache", flush=True)
    return FeatureInputs(features, words=config.task == "entities", num_cut=tokens.num_cut)


def _encode(run: Run, tokens: TokenInputs, keep: Callable[[str, Callable[[], Features]], Features]) -> Features:
    module = make_encoder_module(run.config, run.encoder.config)
    task, pooling = run.config.task, run.config.encoder.pooling

    def encode(params: Any, batch: dict[str, Any]) -> Any:
        output = module.apply({"params": params}, batch["token_ids"], batch["mask"])
        return features_of(output, batch, task=task, pooling=pooling)

    rows = -(-FEATURE_BATCH_SIZE // run.mesh.size) * run.mesh.size
    with Progress("features", len(tokens.token_ids), "text", enabled=is_main_process()) as bar:
        return compute_features(
            encode,
            run.encoder.params,
            tokens,
            batching=batching(run, rows),
            mesh=run.mesh,
            progress=bar.update,
            keep=keep,
        )


def check_head(run: Run) -> None:
    """Raises what the head would on its first batch, such as too many qubits for the memory; nothing is computed."""
    train, width = run.config.train, run.encoder.config.hidden_size
    rows = train.batch_size // (run.mesh.size * train.gradient_accumulation)
    shape = (rows, max(batching(run, rows).bucket_lengths), width) if run.config.task == "entities" else (rows, width)

    def gradient(key: Any, features: Any) -> Any:
        head: Any = run.model.head
        return jax.grad(lambda params: head.apply(params, features).sum())(head.init(key, features))

    jax.eval_shape(gradient, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


def initial_params(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns `(trainable, frozen)` before training: the encoder's as loaded, the head's drawn from the seed."""
    width = run.encoder.config.hidden_size
    shape = (1, 1, width) if run.config.task == "entities" else (1, width)
    key = jax.random.fold_in(jax.random.key(run.config.seed), 1)
    check_params_fit("head", run.config.head.name, run.model.head.init, key, jnp.zeros(shape))
    head = jax.jit(run.model.head.init)(key, jnp.zeros(shape))["params"]
    if run.frozen_features:
        return {"head": head}, {}
    params = {"encoder": run.encoder.params, "head": head}
    return split_params(params, num_frozen_layers=run.num_frozen_layers)


def make_scorer(
    run: Run,
    frozen: Any,
    inputs: Inputs,
    *,
    announce: bool = False,
    check_stop: Callable[[], None] | None = None,
) -> Callable[[Any, np.ndarray], list[np.ndarray]]:
    """Returns `(params, subset) -> log probabilities`, `[classes]` or `[words, classes]` an example.

    Args:
      run: the run.
      frozen: parameters beside `params`.
      inputs: of the whole data set.
      announce: whether to show the progress of a call that takes a while.
      check_stop: called before each batch; what it raises ends a scoring.
    """
    step = make_predict_step(run.model.apply, mesh=run.mesh, parallel=run.config.train.parallel)
    placed_frozen = replicate(frozen, run.mesh)
    shapes = batching(run, run.config.train.batch_size)

    def score(params: Any, subset: np.ndarray) -> list[np.ndarray]:
        placed = replicate(params, run.mesh)
        shown = announce and is_main_process()
        with Progress("predict", len(subset), "example", delay=SECONDS_WITHOUT_BAR, enabled=shown) as bar:
            return predict(
                lambda batch: step(placed, placed_frozen, batch),
                inputs=inputs,
                subset=subset,
                batching=shapes,
                mesh=run.mesh,
                progress=bar.update,
                check_stop=check_stop,
            )

    return score


def model_report(run: Run, log_probabilities: Sequence[np.ndarray], labels: Sequence[Any]) -> Report:
    """Returns the report of predictions against labels.

    A word that `data.max_length` cut counts as predicted 'O'; the loss is over the words that the model saw.
    """
    names = run.info.label_names
    if run.config.task == "sentence":
        return sentence_report(np.asarray(labels), np.stack(log_probabilities).astype(np.float64), names)
    true = [[names[i] for i in tags] for tags in labels]
    predicted = [predicted_tags(rows, names, len(tags)) for rows, tags in zip(log_probabilities, labels, strict=True)]
    losses = [
        -rows.astype(np.float64)[np.arange(len(rows)), np.asarray(tags)[: len(rows)]]
        for rows, tags in zip(log_probabilities, labels, strict=True)
    ]
    return entity_report(true, predicted, float(np.concatenate(losses).mean()))


def predicted_tags(rows: np.ndarray, names: Sequence[str], num_words: int) -> list[str]:
    """Returns the most probable tag of each word, 'O' for the words that were cut."""
    tags = [names[int(i)] for i in rows.argmax(axis=-1)] if len(rows) else []
    return tags + ["O"] * (num_words - len(tags))


def majority_report(run: Run, labels: Sequence[Any]) -> Report:
    """Returns the report of always answering the training split's most frequent label."""
    names, counts = run.info.label_names, run.info.train_label_counts
    if run.config.task == "sentence":
        return majority_baseline(np.repeat(np.arange(len(names)), counts), np.asarray(labels), names)
    train = [[name] * count for name, count in zip(names, counts, strict=True) if count]
    return majority_tag_baseline(train, [[names[i] for i in tags] for tags in labels])


def compare(
    run: Run,
    score: Callable[[Any, np.ndarray], list[np.ndarray]],
    *,
    before: Any,
    after: Any,
    subset: np.ndarray,
    labels: Sequence[Any],
) -> dict[str, Report]:
    """Returns the reports of the majority class, of the model before training and of the trained one.

    Args:
      run: the run.
      score: from `make_scorer`.
      before, after: trainable parameters.
      subset: data set indices to report on.
      labels: of the whole data set.
    """
    chosen = [labels[i] for i in subset]
    return {
        "majority class": majority_report(run, chosen),
        "before training": model_report(run, score(before, subset), chosen),
        "after training": model_report(run, score(after, subset), chosen),
    }


def cut_items(run: Run, items: Sequence[Any]) -> list[bool]:
    """Says of each text, or sentence of words, whether `data.max_length` cut something off."""
    max_length = run.config.data.max_length
    if run.config.task == "entities":
        positions = run.encoder.tokenizer.encode_words(items, max_length).first_positions
        return [bool((own < 0).any()) for own in positions]
    return [bool(cut) for cut in run.encoder.tokenizer.encode_texts(items, max_length).cut]


def head_features(run: Run, params: Any, frozen: Any, inputs: Inputs, subset: np.ndarray) -> list[np.ndarray]:
    """Returns what the head reads of each example: `[features]`, or `[words, features]` for entities."""
    words = run.config.task == "entities"
    if isinstance(inputs, FeatureInputs):
        own = [inputs.features.of(int(i)) for i in subset]
        return own if words else [rows[0] for rows in own]
    tree = merge_params(params, frozen)
    module = make_encoder_module(run.config, run.encoder.config)
    task, pooling = run.config.task, run.config.encoder.pooling

    def per_device(params: Any, batch: dict[str, Any]) -> Any:
        output = module.apply({"params": params}, batch["token_ids"], batch["mask"])
        return features_of(output, batch, task=task, pooling=pooling)

    step = parallelize(
        per_device, mesh=run.mesh, wrapper="shard_map", batch_argument=1, num_arguments=2, sharded_output=True
    )
    placed = replicate(tree["encoder"], run.mesh)
    shapes = batching(run, run.config.train.batch_size)
    return predict(lambda batch: step(placed, batch), inputs=inputs, subset=subset, batching=shapes, mesh=run.mesh)
