"""Pictures are written, hold what they were given, and leave no global state behind."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from qjax.checks import UserError
from qjax.visualization import plot_confusion, plot_curves

ROWS: list[dict[str, Any]] = [
    {"step": 0, "split": "validation", "loss": 0.7, "accuracy": 0.5, "f1": 0.4},
    {"step": 20, "split": "train", "loss": 0.6, "learning_rate": 1e-3},
    {"step": 40, "split": "train", "loss": None},
    {"step": 60, "split": "train", "loss": float("inf")},
    {"step": 80, "split": "train", "loss": 0.5},
    {"step": 80, "split": "validation", "loss": 0.55, "accuracy": 0.75, "f1": 0.7},
]
BIO = ["O", *(f"{letter}-type{number}" for number in range(10) for letter in "BI")]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collects each figure at the moment it is saved."""
    saved: list[Figure] = []
    save = Figure.savefig

    def savefig(self: Figure, *args: Any, **kwargs: Any) -> None:
        saved.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return saved


def test_curves_show_each_series_with_gaps_where_a_value_is_missing(tmp_path: Path, figures: list[Figure]) -> None:
    plot_curves(ROWS[::-1], tmp_path / "curves.png")
    upper, lower = figures[0].axes
    lines = {line.get_label(): np.asarray(line.get_xydata()) for axes in (upper, lower) for line in axes.lines}
    np.testing.assert_array_equal(lines["train"], [[20, 0.6], [40, np.nan], [60, np.nan], [80, 0.5]])
    np.testing.assert_array_equal(lines["validation"], [[0, 0.7], [80, 0.55]])
    np.testing.assert_array_equal(lines["accuracy"], [[0, 0.5], [80, 0.75]])
    np.testing.assert_array_equal(lines["f1"], [[0, 0.4], [80, 0.7]])
    assert imread(tmp_path / "curves.png").shape == (900, 1125, 4)


@pytest.mark.parametrize(
    ("f1", "labels"),
    [
        ([0.501, 0.698, 0.799], ["accuracy and f1", "best step: 20"]),  # nearer than a line's width
        ([0.4, 0.7, 0.8], ["accuracy", "f1", "best step: 20"]),
        ([0.5, None, 0.8], ["accuracy", "f1", "best step: 20"]),
    ],
)
def test_metrics_that_hide_each_other_are_one_line(
    f1: list[float | None], labels: list[str], tmp_path: Path, figures: list[Figure]
) -> None:
    accuracies = [0.5, 0.7, 0.8]
    rows = [
        {"step": 10 * i, "split": "validation", "loss": 0.5, "accuracy": a, "f1": f}
        for i, (a, f) in enumerate(zip(accuracies, f1, strict=True))
    ]
    plot_curves(rows, tmp_path / "curves.png", title="a run: $movies$, seed 3", best_step=20)
    upper, lower = figures[0].axes
    assert [text.get_text() for text in lower.get_legend().get_texts()] == labels
    assert figures[0].get_suptitle() == "a run: $movies$, seed 3"
    for axes in (upper, lower):
        assert [20, 20] in [list(line.get_xdata()) for line in axes.lines]


def test_a_metric_of_the_configuration_is_drawn(tmp_path: Path, figures: list[Figure]) -> None:
    plot_curves([{**ROWS[-1], "balanced_accuracy": 0.6}], tmp_path / "curves.png")
    texts = [text.get_text() for text in figures[0].axes[1].get_legend().get_texts()]
    assert texts == ["accuracy", "f1", "balanced accuracy"]


@pytest.mark.parametrize("size", [2, 6])
def test_a_long_label_does_not_squeeze_the_matrix(size: int, tmp_path: Path, figures: list[Figure]) -> None:
    long = "a label that somebody took from the first sentence of a paragraph $x_{$"
    for names in ([f"class {i}" for i in range(size)], [f"{long} {i} {long}" for i in range(size)]):
        plot_confusion(np.eye(size, dtype=int), names, tmp_path / "x.png", title=f"run: $\\bad{long}\ntest")
    inches = [figure.axes[0].get_window_extent().width / figure.dpi for figure in figures]
    assert inches[1] > 0.9 * inches[0] > 1.5
    shown = [label.get_text() for label in figures[1].axes[0].get_yticklabels()]
    assert all(len(name) <= 24 for name in shown)
    assert len(set(shown)) == size


def test_curves_of_a_run_that_never_validated(tmp_path: Path, figures: list[Figure]) -> None:
    plot_curves(ROWS[1:2], tmp_path / "curves.png")
    assert [len(axes.lines) for axes in figures[0].axes] == [1, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "`metrics_rows` must hold at least one row"),
        ([{"split": "train"}], "`metrics_rows` must hold 'step' and 'split' in each row, but got a row with split"),
        ([{"step": 1, "split": "validaton"}], "Did you mean 'validation'"),
    ],
)
def test_curves_refuse(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        plot_curves(rows, tmp_path / "curves.png")


@pytest.mark.parametrize("names", [["negative", "positive"], BIO])
def test_confusion_shows_counts_with_true_labels_down(
    names: list[str], tmp_path: Path, figures: list[Figure]
) -> None:
    matrix = np.diag(np.arange(1, len(names) + 1))
    matrix[0, 1] = 77  # true 0, predicted 1
    plot_confusion(matrix.tolist(), names, tmp_path / "confusion.png", title="test split")
    axes = figures[0].axes[0]
    shown = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}
    assert shown == {(row, column): str(matrix[row, column]) for row, column in np.argwhere(matrix)}
    assert (axes.get_xlabel(), axes.get_ylabel(), figures[0].get_suptitle()) == ("predicted", "true", "test split")
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    shares = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1, 2]], r"`matrix` must have the shape \[classes, classes\] = \[2, 2\], but got \[1, 2\]"),
        ([[1, -1], [0, 0]], "`matrix` must hold counts"),
        ([[0.5, 0.5], [0.0, 1.0]], "`matrix` must hold counts"),
    ],
)
def test_confusion_refuses(matrix: list, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        plot_confusion(matrix, ["a", "b"], tmp_path / "confusion.png", title="")


def test_import_does_not_load_pyplot() -> None:
    code = "import sys, qjax.visualization; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
