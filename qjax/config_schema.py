"""What a configuration may hold: the keys of `configs/default.py`, their ranges, and when each is read.

The schema is `configs/default.py` itself: its keys, their types and their defaults. A configuration is a
`ConfigDict` with exactly those keys. Keys are written with dots, 'head.num_qubits'.
"""

import functools
import math
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from qjax.checks import check, check_choice, fail, nearest, printable
from qjax.configs import default
from qjax.untrusted import MAX_COUNT, MAX_LAYERS, MAX_QUBITS, MAX_SIZE

# Keys whose value is one of a few names.
CHOICES: dict[str, tuple[str, ...]] = {
    "task": ("sentence", "entities"),
    "data.source": ("movie_reviews", "twitter_ner", "file"),
    "encoder.regime": ("frozen", "full"),
    "encoder.pooling": ("mean", "cls"),
    "encoder.dtype": ("float32", "bfloat16"),
    "head.name": ("variational", "linear", "mlp", "grover"),
    # No "rz": on |0> it is only a phase, and the head would not see its input.
    "head.encoding_axis": ("rx", "ry"),
    "head.entangler": ("cx", "cz"),
    "head.pattern": ("ring", "linear", "full", "none"),
    "head.readout": ("expectation", "log_probabilities"),
    "head.phases": ("fixed", "trainable"),
    "head.simulation": ("probabilities", "states"),
    "optimizer.schedule": ("cosine", "linear", "constant"),
    "optimizer.name": ("adamw", "sgd"),
    "train.metric": ("accuracy", "balanced_accuracy", "f1", "macro_f1", "loss"),
    "train.parallel": ("shard_map", "pmap"),
}

# Keys of earlier versions, and what took their place.
REMOVED = {"head.reverse_pass": "the engine chooses it now (`--mode=explain` says which one runs)"}

Rule = tuple[Callable[[Any], bool], str]


def between(least: int, most: int) -> Rule:
    """Returns the rule of a number that both ends may be."""
    return lambda value: least <= value <= most, f"lie in {least}..{most}"


QUBITS, LAYERS, SIZE = between(1, MAX_QUBITS), between(1, MAX_LAYERS), between(1, MAX_SIZE)
COUNT, COUNT_OR_NONE = between(1, MAX_COUNT), between(0, MAX_COUNT)
SEED: Rule = between(0, MAX_COUNT)
RATE: Rule = (lambda value: value >= 0, "be a rate of 0 or more")
SHARE: Rule = (lambda value: 0 < value < 1, "lie strictly between 0 and 1")
DROPOUT: Rule = (lambda value: 0 <= value < 1, "lie in [0, 1)")

# Keys whose value lies in a range: the test, and the words that complete "must ...".
RANGES: dict[str, Rule] = {
    "seed": SEED,
    "data.labels": (
        lambda value: all(isinstance(name, str) and name for name in value) and len(set(value)) == len(value) != 1,
        "be () or at least two distinct names",
    ),
    "data.split_seed": SEED,
    "data.validation_fraction": SHARE,
    "data.test_fraction": SHARE,
    "data.max_examples": COUNT_OR_NONE,
    "data.max_length": (
        lambda value: 3 <= value <= MAX_SIZE,
        f"lie in 3..{MAX_SIZE}, two special word pieces and one of the text at least",
    ),
    "data.bucket_lengths": (
        lambda value: (
            all(type(length) is int and 1 <= length <= MAX_SIZE for length in value)
            and list(value) == sorted(set(value))
        ),
        "be a tuple of positive integers that increase, or () for lengths up to data.max_length",
    ),
    "encoder.checkpoint": (lambda value: value != "", "name a checkpoint"),
    "encoder.num_frozen_layers": between(0, MAX_LAYERS),
    "encoder.dropout": (lambda value: value == -1 or 0 <= value < 1, "lie in [0, 1), or be -1 for the checkpoint's"),
    "encoder.random_num_layers": LAYERS,
    "encoder.random_hidden_size": between(1, MAX_SIZE // 4),  # a layer's feed-forward part has four times as many
    "encoder.random_num_heads": SIZE,
    "head.dropout": DROPOUT,
    "head.num_qubits": QUBITS,
    "head.reps": LAYERS,
    "head.rotations": (
        lambda value: 0 < len(value) <= 8 and all(axis in ("rx", "ry", "rz") for axis in value),
        "be a tuple of 'rx', 'ry' and 'rz', not empty and of at most 8",
    ),
    "head.num_iterations": COUNT_OR_NONE,
    "head.hidden_size": SIZE,
    "optimizer.learning_rate": RATE,
    "optimizer.circuit_learning_rate": RATE,
    "optimizer.encoder_learning_rate": RATE,
    "optimizer.warmup_fraction": DROPOUT,
    "optimizer.weight_decay": RATE,
    "optimizer.clip_norm": (lambda value: value >= 0, "be a norm above 0, or 0 for no clipping"),
    "train.batch_size": SIZE,
    "train.num_epochs": COUNT,
    "train.gradient_accumulation": SIZE,
    "train.eval_every": COUNT,
    "train.log_every": COUNT,
    "train.patience": COUNT_OR_NONE,
    "train.keep_best": COUNT,
    "train.num_devices": COUNT_OR_NONE,
}

# Keys that are read only where another key has one of some values; elsewhere a changed value is an error.
Condition = tuple[str, tuple[Any, ...]]
FILE: Condition = ("data.source", ("file",))
SENTENCE: Condition = ("task", ("sentence",))
FULL: Condition = ("encoder.regime", ("full",))
RANDOM: Condition = ("encoder.checkpoint", ("random",))
VARIATIONAL: Condition = ("head.name", ("variational",))
GROVER: Condition = ("head.name", ("grover",))
CIRCUIT: Condition = ("head.name", ("variational", "grover"))
CONDITIONS: dict[str, tuple[Condition, ...]] = {
    "data.path": (FILE,),
    "data.validation_path": (FILE,),
    "data.test_path": (FILE,),
    "data.text_column": (FILE, SENTENCE),
    "data.label_column": (FILE, SENTENCE),
    "data.labels": (FILE,),
    "data.validation_fraction": (("data.validation_path", ("",)),),
    "data.test_fraction": (("data.test_path", ("",)),),
    "encoder.num_frozen_layers": (FULL,),
    "encoder.remat": (FULL,),
    "encoder.dropout": (FULL,),
    "encoder.pooling": (SENTENCE,),
    "encoder.random_num_layers": (RANDOM,),
    "encoder.random_hidden_size": (RANDOM,),
    "encoder.random_num_heads": (RANDOM,),
    "head.num_qubits": (CIRCUIT,),
    "head.encoding_axis": (CIRCUIT,),
    "head.reps": (CIRCUIT,),
    "head.rotations": (CIRCUIT,),
    "head.entangler": (CIRCUIT, ("head.pattern", ("ring", "linear", "full"))),
    "head.pattern": (CIRCUIT,),
    "head.readout": (VARIATIONAL,),
    "head.num_iterations": (GROVER,),
    "head.phases": (GROVER,),
    "head.simulation": (GROVER,),
    "head.hidden_size": (("head.name", ("mlp",)),),
    "optimizer.circuit_learning_rate": (CIRCUIT,),
    "optimizer.encoder_learning_rate": (FULL,),
    "optimizer.weight_decay": (("optimizer.name", ("adamw",)),),
}

# Metrics of whole entities beside those of words: recall over tags, nearly all 'O', has no such form.
ENTITY_METRICS = tuple(name for name in CHOICES["train.metric"] if name != "balanced_accuracy")

# The sources that hold one kind of example only.
SOURCE_TASKS = {"movie_reviews": "sentence", "twitter_ner": "entities"}

TYPE_WORDS = {int: "an integer", float: "a finite number", bool: "true or false", str: "text", tuple: "a tuple"}


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Returns 'section.key' -> value; reading a recorded config this way leaves no record."""
    flat: dict[str, Any] = {}
    for name, value in config.items(preserve_field_references=True):
        if isinstance(value, ConfigDict):
            flat.update({f"{name}.{key}": leaf for key, leaf in flatten(value).items()})
        else:
            flat[str(name)] = value
    return flat


@functools.cache
def schema() -> Mapping[str, Any]:
    """Returns every key with its default value, as `configs/default.py` gives them."""
    return types.MappingProxyType(flatten(default.get_config()))


def unflatten(flat: Mapping[str, Any]) -> ConfigDict:
    """Returns the `ConfigDict` whose `flatten` is `flat`."""
    config = ConfigDict()
    for name, value in flat.items():
        section, _, key = name.rpartition(".")
        if section and section not in config:
            config[section] = ConfigDict()
        (config[section] if section else config)[key] = value
    return config


def check_key(
    argument: str, key: str, keys: Mapping[str, Any] | None = None, file: str = "configs/default.py"
) -> None:
    """Raises, naming the nearest key and the keys of its section, unless `key` is one of `keys`, those of `file`."""
    known = schema() if keys is None else keys
    if key in known:
        return
    if key in REMOVED:
        fail(argument, "be left out", f"a key of earlier versions: {REMOVED[key]}")
    section, _, leaf = key.rpartition(".")
    near = nearest(key, known)
    sections = {section, key, near.rpartition(".")[0] if near else ""} - {""}
    choices = [name for name in known if name.rpartition(".")[0] in sections or name.endswith(f".{leaf}")]
    fail(argument, f"name a key of {file}", key, choices or list(known))


def checked_values(
    given: Mapping[str, Any],
    standard: Mapping[str, Any],
    file: str,
    choices: Mapping[str, Collection[str]],
    ranges: Mapping[str, Rule],
) -> dict[str, Any]:
    """Returns the given values in the types of the standard ones, or raises for the first key or value that is wrong.

    Args:
      given: key -> value.
      standard: key -> default, for every key of `file`.
      file: what a mistake's message names.
      choices: key -> allowed values, for the keys that have a few.
      ranges: key -> rule, for the keys that have one.
    """
    for key in given:
        check_key(key, key, standard, file)
    values = {}
    for key, value in standard.items():
        check(key in given, key, f"be in the configuration, as it is in {file}", "nothing")
        values[key] = cast(key, given[key], type(value))
        if key in choices:
            check_choice(key, values[key], choices[key])
        if key in ranges:
            holds, expectation = ranges[key]
            check(holds(values[key]), key, expectation, values[key])
    return values


def validate_config(config: ConfigDict, *, unused_ok: Collection[str] = ()) -> ConfigDict:
    """Returns `config` as a locked copy with the types of the schema, or raises for its first mistake.

    The copy states the bucket lengths that `config` leaves open.

    Args:
      config: has every key of `configs/default.py` and no other; lists stand for tuples, integers for floats.
      unused_ok: keys that may differ from their default although the chosen task, head or regime ignores them.
    """
    given = flatten(config)
    for section in {key.partition(".")[0] for key in schema() if "." in key}:
        check(section not in given, section, "be a section that holds keys", given.get(section))
    values = checked_values(given, schema(), "configs/default.py", CHOICES, RANGES)
    _check_conditions(values, unused_ok)
    _check_combinations(values)
    values["data.bucket_lengths"] = values["data.bucket_lengths"] or bucket_lengths(values["data.max_length"])
    return unflatten(values).lock()


def bucket_lengths(max_length: int) -> tuple[int, ...]:
    """Returns the lengths that batches are padded to where none are given, two for each doubling from 16 on.

    >>> bucket_lengths(64)
    (16, 24, 32, 48, 64)
    """
    lengths = (length << power for power in range(max_length.bit_length()) for length in (16, 24))
    return (*(length for length in lengths if length < max_length), max_length)


def cast(key: str, value: Any, kind: type) -> Any:
    """Returns `value` as a `kind`; only an integer for a float and a list for a tuple are converted."""
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and type(value) is list:
        value = tuple(value)
    is_right = type(value) is kind and not (isinstance(value, float) and not math.isfinite(value))
    check(is_right, key, f"be {TYPE_WORDS[kind]}", repr(value))
    texts = [text for text in (value if kind is tuple else [value]) if isinstance(text, str)]
    check(all(printable(text) == text for text in texts), key, "hold no control characters", repr(value))
    return value


def _check_conditions(values: Mapping[str, Any], unused_ok: Collection[str]) -> None:
    """Raises for a changed key that nothing reads under the other values."""
    for key, conditions in CONDITIONS.items():
        for other, needed in conditions:
            standard = schema()[key]
            is_read = values[other] in needed or values[key] == standard or key in unused_ok
            wanted = " or ".join(map(repr, needed))
            expectation = f"keep its default {standard!r} unless `{other}` is {wanted}, for nothing else reads it"
            check(is_read, key, expectation, f"{values[key]!r} with `{other}` {values[other]!r}")


def _check_combinations(values: Mapping[str, Any]) -> None:
    """Raises for values that are right alone and wrong together."""
    source = values["data.source"]
    task = SOURCE_TASKS.get(source, values["task"])
    check(values["task"] == task, "task", f"be '{task}' with the data.source '{source}'", values["task"])
    metric = values["train.metric"]
    expectation = "be a metric of whole entities with the task 'entities'"
    check(task != "entities" or metric in ENTITY_METRICS, "train.metric", expectation, repr(metric), ENTITY_METRICS)
    check(source != "file" or values["data.path"] != "", "data.path", "name a file with data.source 'file'", "''")
    share = values["data.validation_fraction"] + values["data.test_fraction"]
    check(share < 1, "data.test_fraction", "leave examples to train on beside data.validation_fraction", share)
    buckets, length = values["data.bucket_lengths"], values["data.max_length"]
    expectation = f"reach data.max_length ({length}) at its end, or be () for lengths up to it"
    check(not buckets or buckets[-1] >= length, "data.bucket_lengths", expectation, buckets)
    hidden, heads = values["encoder.random_hidden_size"], values["encoder.random_num_heads"]
    check(hidden % heads == 0, "encoder.random_hidden_size", f"be a multiple of the {heads} heads", hidden)
    _check_amplification(values)
    batch, parts = values["train.batch_size"], values["train.gradient_accumulation"]
    check(batch % parts == 0, "train.batch_size", f"be a multiple of train.gradient_accumulation ({parts})", batch)


def max_iterations(num_qubits: int) -> int:
    """Returns the largest `head.num_iterations` that is allowed with this many qubits.

    It is the optimal number of Grover's iterations for one marked state of 2**n, the integer nearest to
    pi / (4 asin(2**(-n/2))) - 1/2 (Boyer, Brassard, Hoyer and Tapp 1998, arXiv:quant-ph/9605034, section 3). A class
    has at least one state of the register. With more rounds even that one, and with it every class, overshoots where
    the states are equally likely.
    """
    return round(math.pi / (4 * math.asin(2 ** (-num_qubits / 2))) - 0.5)


def _check_amplification(values: Mapping[str, Any]) -> None:
    """Raises where the Grover head's rounds overshoot from every start, or there are none to train phases of."""
    if values["head.name"] != "grover":
        return
    rounds, qubits = values["head.num_iterations"], values["head.num_qubits"]
    most = max_iterations(qubits)
    why = f"be at most {most} with head.num_qubits {qubits}: Grover's own number for one state of {2**qubits}"
    check(rounds <= most, "head.num_iterations", why, rounds)
    trained = values["head.phases"] == "trainable"
    check(not trained or rounds > 0, "head.phases", "be 'fixed' with head.num_iterations 0", "'trainable'")
