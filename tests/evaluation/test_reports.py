"""Reports against scikit-learn's and seqeval's own, and against sums written out by hand."""

import json
import math

import numpy as np
import pytest
import seqeval.metrics
import sklearn.metrics

from qjax.checks import UserError
from qjax.evaluation import (
    compare_reports,
    entity_report,
    format_report,
    majority_baseline,
    majority_tag_baseline,
    majority_warning,
    sentence_report,
)
from qjax.evaluation.metrics import confusion_matrix

NAMES = ["negative", "neutral", "positive"]


def random_predictions(num_examples: int = 200, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(num_examples, num_classes))
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return rng.integers(num_classes, size=num_examples), logs


TRUE_TAGS = [["B-PER", "I-PER", "O", "B-geo-loc"], [], ["O", "O"], ["B-geo-loc", "B-geo-loc", "I-geo-loc"]]
PREDICTED_TAGS = [["B-PER", "O", "O", "I-geo-loc"], [], ["B-ORG", "O"], ["B-geo-loc", "I-geo-loc", "I-geo-loc"]]


def test_sentence_report_equals_scikit_learn() -> None:
    labels, logs = random_predictions()
    predicted = logs.argmax(axis=1)
    report = sentence_report(labels, logs, NAMES)
    expected = sklearn.metrics.classification_report(
        labels, predicted, labels=range(3), target_names=NAMES, output_dict=True, zero_division=0
    )
    for name in NAMES:
        for key in ("precision", "recall", "support"):
            assert report["per_class"][name][key] == expected[name][key]
        assert report["per_class"][name]["f1"] == expected[name]["f1-score"]
    assert report["f1"] == report["macro_f1"] == sklearn.metrics.f1_score(labels, predicted, average="macro")
    assert report["balanced_accuracy"] == sklearn.metrics.balanced_accuracy_score(labels, predicted)
    assert report["accuracy"] == pytest.approx(expected["accuracy"], abs=0)
    assert report["loss"] == pytest.approx(sklearn.metrics.log_loss(labels, np.exp(logs)), rel=1e-12)
    assert report["confusion"] == sklearn.metrics.confusion_matrix(labels, predicted).tolist()
    assert report["num_examples"] == 200


def test_sentence_text_is_scikit_learns_with_four_digits() -> None:
    labels, logs = random_predictions()
    expected = sklearn.metrics.classification_report(
        labels, logs.argmax(axis=1), target_names=NAMES, digits=4, zero_division=0
    )
    assert format_report(sentence_report(labels, logs, NAMES)).startswith(expected)


def test_sentence_loss_is_float64_for_float32_input() -> None:
    """200,000 equal terms: a float32 sum would be off in the fifth digit."""
    logs = np.log(np.full((200_000, 2), [0.1, 0.9], dtype=np.float32))
    report = sentence_report(np.zeros(200_000, dtype=np.int32), logs, ["a", "b"])
    assert report["loss"] == pytest.approx(-float(logs[0, 0]), rel=1e-12)


def test_class_without_examples_scores_zero_and_nothing_is_nan() -> None:
    report = sentence_report([0, 0], np.log([[0.9, 0.05, 0.05], [0.6, 0.2, 0.2]]), NAMES)
    assert report["per_class"]["positive"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert report["f1"] == pytest.approx(1 / 3)
    assert "NaN" not in json.dumps(report)


def test_label_names_that_scikit_learn_uses_itself_lose_nothing() -> None:
    labels, logs = random_predictions(50, 2)
    report = sentence_report(labels, logs, ["accuracy", "macro avg"])
    assert set(report["per_class"]) == {"accuracy", "macro avg"}
    assert report["per_class"]["accuracy"]["support"] == int((labels == 0).sum())


def test_certain_and_right_prediction_costs_nothing() -> None:
    with np.errstate(divide="ignore"):
        assert sentence_report([1], np.log([[0.0, 1.0]]), ["a", "b"])["loss"] == 0.0


@pytest.mark.parametrize(
    ("labels", "logs", "names", "message"),
    [
        ([], np.zeros((0, 2)), ["a", "b"], "`labels` must be a non-empty"),
        ([0, 2], np.log([[0.5, 0.5]] * 2), ["a", "b"], r"`labels` must hold integers in 0..1, but got 2 in row 1"),
        ([0.0], np.log([[0.5, 0.5]]), ["a", "b"], "`labels` must hold integers, but got dtype float64"),
        ([0], np.log([[0.5, 0.5]] * 2), ["a", "b"], r"have the shape \[examples, classes\] = \[1, 2\]"),
        ([0, 1], np.array([[0.0, -np.inf], [3.0, 1.0]]), ["a", "b"], "sum to 1 in each row, but got the sum 22.8"),
        ([0], np.array([[np.nan, 0.0]]), ["a", "b"], "sum to 1 in each row, but got the sum nan"),
        ([1], np.array([[0.0, -np.inf]]), ["a", "b"], "finite for the true label, but got -inf in row 0"),
        ([0], np.log([[0.5, 0.5]]), ["a", "a"], "`label_names` must be distinct, but got a more than once"),
        ([0], np.zeros((1, 0)), [], "`label_names` must hold at least one name"),
    ],
)
def test_sentence_report_refuses(labels: list, logs: np.ndarray, names: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sentence_report(labels, logs, names)


def test_confusion_matrix_refuses_predictions_that_do_not_fit() -> None:
    with pytest.raises(UserError, match=r"`predictions` must have one row a label \(2\), but got 1"):
        confusion_matrix([0, 1], [0], 2)
    with pytest.raises(UserError, match=r"`predictions` must hold integers in 0..1, but got -1 in row 1"):
        confusion_matrix([0, 1], [0, -1], 2)


def test_entity_report_equals_seqeval() -> None:
    report = entity_report(TRUE_TAGS, PREDICTED_TAGS, 0.5)
    expected = seqeval.metrics.classification_report(TRUE_TAGS, PREDICTED_TAGS, output_dict=True, zero_division=0)
    for name in ("PER", "geo-loc", "ORG"):
        assert report["per_class"][name]["f1"] == expected[name]["f1-score"]
        assert report["per_class"][name]["support"] == expected[name]["support"]
    assert report["f1"] == seqeval.metrics.f1_score(TRUE_TAGS, PREDICTED_TAGS, average="micro")
    assert report["macro_f1"] == seqeval.metrics.f1_score(TRUE_TAGS, PREDICTED_TAGS, average="macro")
    assert report["accuracy"] == seqeval.metrics.accuracy_score(TRUE_TAGS, PREDICTED_TAGS)
    assert (report["num_examples"], report["num_words"], report["loss"]) == (4, 9, 0.5)
    json.dumps(report)


def test_entity_scores_by_hand() -> None:
    """Four entities on each side, one of them right: the first geo-loc, although its predicted tag is a lone I-."""
    report = entity_report(TRUE_TAGS, PREDICTED_TAGS, 0.0)
    assert report["precision"] == pytest.approx(1 / 4)
    assert report["recall"] == pytest.approx(1 / 4)
    assert report["label_names"] == ["O", "B-ORG", "B-PER", "I-PER", "B-geo-loc", "I-geo-loc"]
    names, confusion = report["label_names"], np.array(report["confusion"])
    assert confusion[names.index("I-PER"), names.index("O")] == 1
    assert confusion[names.index("O"), names.index("I-PER")] == 0
    assert confusion.sum() == 9


def test_entity_text_is_seqevals_with_four_digits() -> None:
    expected = seqeval.metrics.classification_report(TRUE_TAGS, PREDICTED_TAGS, digits=4, zero_division=0)
    assert format_report(entity_report(TRUE_TAGS, PREDICTED_TAGS, 0.5)).startswith(expected)


def test_entities_without_any_entity_score_zero() -> None:
    report = entity_report([["O", "O"]], [["O", "O"]], 0.1)
    assert (report["f1"], report["accuracy"], report["per_class"]) == (0.0, 1.0, {})
    assert "NaN" not in json.dumps(report)
    assert "0.0000" in format_report(report)


@pytest.mark.parametrize(
    ("true", "predicted", "loss", "message"),
    [
        ([], [], 0.0, "`true_tags` must hold at least one word"),
        ([[]], [[]], 0.0, "`true_tags` must hold at least one word"),
        ([["O"]], [["O"], ["O"]], 0.0, "`predicted_tags` must hold 1 sentences, but got 2"),
        ([["O", "O"]], [["O"]], 0.0, r"hold one tag a word \(2 in sentence 0\), but got 1 tags"),
        (
            [["O"]],
            [["PER"]],
            0.0,
            "`predicted_tags` must hold 'O', 'B-TYPE' or 'I-TYPE', but got 'PER' in sentence 0",
        ),
        ([["B-"]], [["O"]], 0.0, "`true_tags` must hold 'O', 'B-TYPE'"),
        ([["O"]], [["O"]], math.nan, "`loss` must be finite, but got nan"),
    ],
)
def test_entity_report_refuses(true: list, predicted: list, loss: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        entity_report(true, predicted, loss)


def test_majority_baseline() -> None:
    report = majority_baseline([0, 1, 1, 1], [0, 1, 2], ["a", "b", "c"])
    assert report["accuracy"] == pytest.approx(1 / 3)
    assert report["per_class"]["b"]["recall"] == 1.0
    # counts 1, 3, 0 with one added to each: 2/7, 4/7, 1/7
    assert report["loss"] == pytest.approx(-(math.log(2 / 7) + math.log(4 / 7) + math.log(1 / 7)) / 3)


def test_majority_baseline_refuses_an_empty_training_split() -> None:
    with pytest.raises(UserError, match="`train_labels` must be a non-empty"):
        majority_baseline([], [0], ["a"])


def test_majority_tag_baseline() -> None:
    report = majority_tag_baseline([["O", "O", "B-X"]], [["O", "B-Y"], ["O"]])
    assert (report["f1"], report["accuracy"]) == (0.0, pytest.approx(2 / 3))
    # O, B-X, B-Y counted 2, 1, 0 with one added to each: 3/6, 2/6, 1/6
    assert report["loss"] == pytest.approx(-(2 * math.log(3 / 6) + math.log(1 / 6)) / 3)


def test_compare_reports_aligns_its_columns() -> None:
    labels, logs = random_predictions()
    trained = sentence_report(labels, logs, NAMES)
    text = compare_reports({"majority class": majority_baseline(labels, labels, NAMES), "after training": trained})
    head, first, second = text.splitlines()
    assert len(head) == len(first) == len(second)
    assert head.split() == ["accuracy", "balanced", "accuracy", "f1", "loss"]
    columns = ("accuracy", "balanced_accuracy", "f1", "loss")
    assert second.split() == ["after", "training", *(f"{trained[key]:.4f}" for key in columns)]


def test_a_class_without_examples_has_no_part_in_the_balanced_accuracy() -> None:
    probabilities = [[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.4, 0.3, 0.3]]
    report = sentence_report([0, 0, 0, 1], np.log(probabilities), NAMES)
    assert report["balanced_accuracy"] == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize(("right", "warns"), [(48, True), (50, True), (51, False)])
def test_a_model_that_is_not_above_the_majority_class_is_warned_of(right: int, warns: bool) -> None:
    labels = np.array([0] * 50 + [1])
    predicted = np.where(np.arange(51) < right, labels, 1 - labels)
    report = sentence_report(labels, np.log(np.where(np.eye(2)[predicted] > 0, 0.9, 0.1)), ["many", "few"])
    warning = majority_warning(report, majority_baseline(labels, labels, ["many", "few"]))
    assert (warning is not None) == warns
    if warning is not None:
        assert f"accuracy {right / 51:.4f} against 0.9804, balanced accuracy" in warning


@pytest.mark.parametrize(("predicted", "warns"), [(["O", "O", "O"], True), (["B-X", "O", "B-Y"], False)])
def test_entities_are_held_against_the_majority_by_f1(predicted: list[str], warns: bool) -> None:
    tags = [["B-X", "O", "O"]]
    warning = majority_warning(entity_report(tags, [predicted], 0.5), majority_tag_baseline([["O"]], tags))
    assert (warning is not None) == warns


def test_compare_reports_refuses_none_and_a_mixture() -> None:
    with pytest.raises(UserError, match="`reports` must hold at least one report"):
        compare_reports({})
    labels, logs = random_predictions()
    mixture = {"a": sentence_report(labels, logs, NAMES), "b": entity_report([["O"]], [["O"]], 0.0)}
    with pytest.raises(UserError, match="`reports` must be of one task, but got entities, sentence"):
        compare_reports(mixture)
