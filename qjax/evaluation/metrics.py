"""Counts and scores of predictions: NumPy in, plain Python numbers out, float64 throughout."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as entity_scores
from sklearn.metrics import precision_recall_fscore_support

from qjax.checks import check, fail

# 'precision', 'recall', 'f1' as floats and 'support' as an int.
Scores = dict[str, Any]

BIO_TAG = re.compile(r"O|[BI]-\S+")


@dataclass(frozen=True)
class ScoreTable:
    """Scores of each class, and their averages ('micro avg', 'macro avg', 'weighted avg')."""

    per_class: dict[str, Scores]
    averages: dict[str, Scores]


def check_labels(labels: ArrayLike, num_classes: int, argument: str = "labels") -> np.ndarray:
    """Returns `labels` as an int64 array `[examples]`; refuses none at all and any outside 0..num_classes-1."""
    array = np.asarray(labels)
    check(array.ndim == 1 and array.size > 0, argument, "be a non-empty [examples] array", f"shape {array.shape}")
    check(np.issubdtype(array.dtype, np.integer), argument, "hold integers", f"dtype {array.dtype}")
    outside = (array < 0) | (array >= num_classes)
    if outside.any():
        row = int(np.argmax(outside))
        fail(argument, f"hold integers in 0..{num_classes - 1}", f"{array[row]} in row {row}")
    return array.astype(np.int64)


def check_log_probabilities(log_probabilities: ArrayLike, shape: tuple[int, int]) -> np.ndarray:
    """Returns them as float64; refuses another shape, NaN, and rows that are not log-probabilities (logits)."""
    array = np.asarray(log_probabilities, dtype=np.float64)
    check(
        array.shape == shape,
        "log_probabilities",
        f"have the shape [examples, classes] = {list(shape)}",
        f"{list(array.shape)}",
    )
    total = np.exp(array).sum(axis=1)
    wrong = ~(np.abs(total - 1) <= 1e-2)  # also true where the row holds NaN
    if wrong.any():
        row = int(np.argmax(wrong))
        expectation = "hold logarithms of probabilities that sum to 1 in each row"
        fail("log_probabilities", expectation, f"the sum {total[row]:.4g} in row {row}")
    return array


def cross_entropy(labels: ArrayLike, log_probabilities: ArrayLike) -> float:
    """Returns the mean of -log p(label) over the examples, in nats, in float64.

    Args:
      labels: `[examples]` integers.
      log_probabilities: `[examples, classes]`, natural logarithms.
    """
    logs = np.asarray(log_probabilities, dtype=np.float64)
    chosen = logs[np.arange(logs.shape[0]), check_labels(labels, logs.shape[1])]
    if not np.isfinite(chosen).all():
        row = int(np.argmin(np.isfinite(chosen)))
        fail("log_probabilities", "be finite for the true label", f"{chosen[row]} in row {row}")
    return float(-chosen.mean())


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """Returns counts `[classes, classes]` (int64): rows are the true labels, columns the predictions."""
    true = check_labels(labels, num_classes)
    predicted = check_labels(predictions, num_classes, "predictions")
    check(true.shape == predicted.shape, "predictions", f"have one row a label ({true.size})", predicted.size)
    counts = np.bincount(true * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def label_scores(labels: ArrayLike, predictions: ArrayLike, label_names: Sequence[str]) -> ScoreTable:
    """Returns scikit-learn's precision, recall, f1 and support of every class.

    A ratio 0/0 counts as 0 (`zero_division=0`), and a class without examples takes part in the macro average.
    """
    true = check_labels(labels, len(label_names))
    predicted = check_labels(predictions, len(label_names), "predictions")
    options: dict[str, Any] = {"labels": np.arange(len(label_names)), "zero_division": 0}
    columns = precision_recall_fscore_support(true, predicted, average=None, **options)
    averages = {}
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = precision_recall_fscore_support(true, predicted, average=average, **options)
        averages[f"{average} avg"] = _scores(precision, recall, f1, true.size)
    return ScoreTable(_score_rows(label_names, columns), averages)


def balanced_accuracy(per_class: Mapping[str, Scores]) -> float:
    """Returns the mean recall over the classes that have examples, each of them counting alike."""
    return float(np.mean([scores["recall"] for scores in per_class.values() if scores["support"]]))


def tag_scores(true_tags: Sequence[Sequence[str]], predicted_tags: Sequence[Sequence[str]]) -> ScoreTable:
    """Returns seqeval's precision, recall, f1 and support of every entity type.

    An entity is right when its type and both ends are right. seqeval's default mode follows the conlleval script:
    an I- tag that follows O or another type opens an entity as if it were B-. Where neither side holds an entity
    every score is 0.
    """
    true = [list(sentence) for sentence in true_tags]
    predicted = [list(sentence) for sentence in predicted_tags]
    types = sorted({name for tags in (true, predicted) for name, _, _ in get_entities(tags)})
    averages = {f"{average} avg": _scores(0, 0, 0, 0) for average in ("micro", "macro", "weighted")}
    if not types:  # seqeval would average over nothing and return NaN
        return ScoreTable({}, averages)
    columns = entity_scores(true, predicted, average=None, zero_division=0)
    for average in ("micro", "macro", "weighted"):
        averages[f"{average} avg"] = _scores(*entity_scores(true, predicted, average=average, zero_division=0))
    return ScoreTable(_score_rows(types, columns), averages)


def check_tags(true_tags: Sequence[Sequence[str]], predicted_tags: Sequence[Sequence[str]]) -> None:
    """Refuses tags outside the BIO scheme, sentences of unequal length, and data without a single word."""
    check(len(true_tags) > 0 and any(true_tags), "true_tags", "hold at least one word", f"{len(true_tags)} sentences")
    found = len(predicted_tags)
    check(found == len(true_tags), "predicted_tags", f"hold {len(true_tags)} sentences", found)
    for row, (true, predicted) in enumerate(zip(true_tags, predicted_tags, strict=True)):
        expectation = f"hold one tag a word ({len(true)} in sentence {row})"
        check(len(predicted) == len(true), "predicted_tags", expectation, f"{len(predicted)} tags")
        for argument, tags in (("true_tags", true), ("predicted_tags", predicted)):
            for tag in tags:
                if not BIO_TAG.fullmatch(tag):
                    fail(argument, "hold 'O', 'B-TYPE' or 'I-TYPE'", f"{tag!r} in sentence {row}")


def sorted_tags(sentences: Sequence[Sequence[str]]) -> list[str]:
    """Returns the distinct BIO tags of `sentences`: O first, then by type, B- before I-."""
    tags = {tag for sentence in sentences for tag in sentence}
    return sorted(tags, key=lambda tag: ("", "") if tag == "O" else (tag[2:], tag[0]))


def tag_indices(sentences: Sequence[Sequence[str]], names: Sequence[str]) -> np.ndarray:
    """Returns the position in `names` of every word's tag, all sentences in one `[words]` array."""
    index = {name: position for position, name in enumerate(names)}
    return np.array([index[tag] for sentence in sentences for tag in sentence], dtype=np.int64)


def _scores(precision: Any, recall: Any, f1: Any, support: Any) -> Scores:
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}


def _score_rows(names: Sequence[str], columns: Sequence[Any]) -> dict[str, Scores]:
    return {name: _scores(*row) for name, *row in zip(names, *columns, strict=True)}
