"""Reports: one dictionary of plain numbers a model, written as JSON, shown to a person as a table.

Every report holds 'task', 'num_examples', 'accuracy', 'f1', 'macro_f1', 'loss', 'per_class' (name -> precision,
recall, f1, support), 'averages', 'label_names' and 'confusion' (rows true, columns predicted, in the order of
'label_names'); that of sentences 'balanced_accuracy', too. No value is ever NaN: where nothing can be measured the
report is refused.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qjax.checks import check
from qjax.evaluation import metrics

Report = dict[str, Any]

# Columns of `compare_reports` by task.
_COMPARED = {
    "sentence": ("accuracy", "balanced_accuracy", "f1", "loss"),
    "entities": ("accuracy", "f1", "macro_f1", "loss"),
}


def sentence_report(labels: ArrayLike, log_probabilities: ArrayLike, label_names: Sequence[str]) -> Report:
    """Returns the report of one label a sentence; the prediction is the most probable label (the first of equals).

    Args:
      labels: `[examples]` integers in 0..classes-1.
      log_probabilities: `[examples, classes]`, natural logarithms, each row normalised.
      label_names: `[classes]` distinct names.

    Returns:
      The report: 'f1' and 'macro_f1' are the macro average, 'balanced_accuracy' the mean recall over the classes that
      have examples, 'loss' the mean cross-entropy in nats; the scores are scikit-learn's.
    """
    names = _check_names(label_names)
    true = metrics.check_labels(labels, len(names))
    logs = metrics.check_log_probabilities(log_probabilities, (true.size, len(names)))
    predicted = logs.argmax(axis=1)
    table = metrics.label_scores(true, predicted, names)
    return {
        "task": "sentence",
        "num_examples": int(true.size),
        "accuracy": float(np.mean(true == predicted)),
        "balanced_accuracy": metrics.balanced_accuracy(table.per_class),
        "f1": table.averages["macro avg"]["f1"],
        "macro_f1": table.averages["macro avg"]["f1"],
        "loss": metrics.cross_entropy(true, logs),
        "per_class": table.per_class,
        "averages": table.averages,
        "label_names": names,
        "confusion": metrics.confusion_matrix(true, predicted, len(names)).tolist(),
    }


def entity_report(true_tags: Sequence[Sequence[str]], predicted_tags: Sequence[Sequence[str]], loss: float) -> Report:
    """Returns the report of one BIO tag a word.

    Args:
      true_tags: a list of tags for each sentence.
      predicted_tags: the same lengths.
      loss: mean cross-entropy a word in nats, which tags alone cannot tell.

    Returns:
      The report: 'precision', 'recall' and 'f1' are seqeval's micro averages over whole entities (see
      `metrics.tag_scores` for I- without B-), 'macro_f1' is the mean over their types, 'accuracy' counts words,
      'confusion' counts words by tag.
    """
    metrics.check_tags(true_tags, predicted_tags)
    check(bool(np.isfinite(loss)), "loss", "be finite", loss)
    table = metrics.tag_scores(true_tags, predicted_tags)
    names = metrics.sorted_tags([*true_tags, *predicted_tags])
    true, predicted = metrics.tag_indices(true_tags, names), metrics.tag_indices(predicted_tags, names)
    micro = table.averages["micro avg"]
    return {
        "task": "entities",
        "num_examples": len(true_tags),
        "num_words": int(true.size),
        "accuracy": float(np.mean(true == predicted)),
        "precision": micro["precision"],
        "recall": micro["recall"],
        "f1": micro["f1"],
        "macro_f1": table.averages["macro avg"]["f1"],
        "loss": float(loss),
        "per_class": table.per_class,
        "averages": table.averages,
        "label_names": names,
        "confusion": metrics.confusion_matrix(true, predicted, len(names)).tolist(),
    }


def majority_baseline(train_labels: ArrayLike, labels: ArrayLike, label_names: Sequence[str]) -> Report:
    """Returns the `sentence_report` of always answering the most frequent label of the training split.

    Its probabilities are the training frequencies, one added to each count so that a label unseen in training has a
    finite loss (Laplace's rule); of equally frequent labels the first is taken.
    """
    names = _check_names(label_names)
    train = metrics.check_labels(train_labels, len(names), "train_labels")
    true = metrics.check_labels(labels, len(names))
    counts = np.bincount(train, minlength=len(names)) + 1
    return sentence_report(true, np.tile(np.log(counts / counts.sum()), (true.size, 1)), names)


def majority_tag_baseline(train_tags: Sequence[Sequence[str]], true_tags: Sequence[Sequence[str]]) -> Report:
    """Returns the `entity_report` of giving every word the most frequent tag of the training split, mostly 'O'.

    The loss is that of the training frequencies with one added to each count, as in `majority_baseline`.
    """
    metrics.check_tags(train_tags, train_tags)
    metrics.check_tags(true_tags, true_tags)
    names = metrics.sorted_tags([*train_tags, *true_tags])
    counts = np.bincount(metrics.tag_indices(train_tags, names), minlength=len(names)) + 1
    true = metrics.tag_indices(true_tags, names)
    loss = metrics.cross_entropy(true, np.tile(np.log(counts / counts.sum()), (true.size, 1)))
    majority = names[int(np.argmax(counts))]
    return entity_report(true_tags, [[majority] * len(sentence) for sentence in true_tags], loss)


def format_report(report: Mapping[str, Any]) -> str:
    """Returns the report as a text table in the layout of scikit-learn and seqeval with four digits, and the loss."""
    averages = report["averages"]
    width = max(map(len, [*report["per_class"], *averages]))
    heads = ("precision", "recall", "f1-score", "support")
    lines = [" " * (width + 1) + "".join(f" {head:>9}" for head in heads), ""]
    lines += [_score_line(name, scores, width) for name, scores in report["per_class"].items()]
    lines.append("")
    if report["task"] == "sentence":
        lines.append(f"{'accuracy':>{width}}  {'':9} {'':9} {report['accuracy']:9.4f} {report['num_examples']:9d}")
    lines += [_score_line(name, scores, width) for name, scores in averages.items()]
    lines += ["", f"{'loss':>{width}}  {report['loss']:9.4f}"]
    if report["task"] == "entities":
        words = f"({report['num_words']} words in {report['num_examples']} sentences)"
        lines.append(f"{'accuracy':>{width}}  {report['accuracy']:9.4f}  {words}")
    return "\n".join(lines) + "\n"


def compare_reports(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a text table with a row for each report: accuracy, f1 and loss side by side.

    For sentences the balanced accuracy stands beside the accuracy, for entities the macro F1 beside the F1.

    Args:
      reports: what the row is called (such as 'majority class', 'before training', 'after training') -> report.
    """
    check(len(reports) > 0, "reports", "hold at least one report", "none")
    tasks = Counter(report["task"] for report in reports.values())
    check(len(tasks) == 1, "reports", "be of one task", ", ".join(sorted(tasks)))
    width = max(map(len, reports))
    columns = _COMPARED[next(iter(tasks))]
    heads = [f"{column.replace('_', ' '):>9}" for column in columns]
    lines = ["  ".join([" " * width, *heads])]
    for name, report in reports.items():
        values = [f"{report[column]:{len(head)}.4f}" for column, head in zip(columns, heads, strict=True)]
        lines.append("  ".join([f"{name:<{width}}", *values]))
    return "\n".join(lines) + "\n"


def majority_warning(report: Mapping[str, Any], majority: Mapping[str, Any]) -> str | None:
    """Returns a sentence where a model's report is not above the majority class's, None where it is.

    Sentences are compared by accuracy, entities by F1: of words, the majority 'O' is right nearly always.
    """
    measure, other = ("f1", "accuracy") if report["task"] == "entities" else ("accuracy", "balanced_accuracy")
    if report[measure] > majority[measure]:
        return None
    parts = [f"{name.replace('_', ' ')} {report[name]:.4f} against {majority[name]:.4f}" for name in (measure, other)]
    return f"The model is not above the majority class: {', '.join(parts)}."


def _check_names(label_names: Sequence[str]) -> list[str]:
    names = [str(name) for name in label_names]
    check(len(names) > 0, "label_names", "hold at least one name", "none")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    check(not repeated, "label_names", "be distinct", f"{', '.join(repeated)} more than once")
    return names


def _score_line(name: str, scores: Mapping[str, Any], width: int) -> str:
    columns = f"{scores['precision']:9.4f} {scores['recall']:9.4f} {scores['f1']:9.4f} {scores['support']:9d}"
    return f"{name:>{width}}  {columns}"
