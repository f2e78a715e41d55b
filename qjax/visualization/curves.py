"""Training curves from the rows of metrics.jsonl."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qjax.checks import check, check_choice, fail
from qjax.visualization.saving import save_figure
from qjax.visualization.text import set_title

SPLITS = ("train", "validation")
COLOURS = {"train": "#9aa7b8", "validation": "#1f5fa8"}
METRIC_COLOURS = {
    "accuracy": "#1f5fa8",
    "f1": "#d1762f",
    "balanced_accuracy": "#2f8f5b",
    "macro_f1": "#8a4fa3",
}
# Curves that are nowhere further apart than this share of their range lie on each other within a line's width.
_LINE_WIDTH = 0.01

Series = tuple[list[int], list[float]]


def plot_curves(
    metrics_rows: Sequence[Mapping[str, Any]], path: str | Path, *, title: str = "", best_step: int | None = None
) -> None:
    """Writes a PNG of the losses (upper panel) and the validation metrics (lower panel) against the step.

    Metrics that would hide each other are drawn as one line with both names.

    Args:
      metrics_rows: rows of metrics.jsonl: 'step', 'split' ('train' or 'validation'), 'loss' and, where measured,
        'accuracy', 'f1', 'balanced_accuracy' and 'macro_f1'; other keys are left alone. A value that is missing, null
        or not finite leaves a gap.
      path: file to write, of any format that matplotlib knows by its suffix.
      title: text above the picture.
      best_step: step to mark, None for none.
    """
    check(len(metrics_rows) > 0, "metrics_rows", "hold at least one row", "none")
    for row in metrics_rows:
        if "step" not in row or "split" not in row:
            fail("metrics_rows", "hold 'step' and 'split' in each row", f"a row with {', '.join(map(str, row))}")
        check_choice("metrics_rows['split']", row["split"], SPLITS)
    figure = Figure(figsize=(7.5, 6.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    set_title(figure, title)
    for split in SPLITS:
        _plot_series(upper, _series(metrics_rows, split, "loss"), label=split, colour=COLOURS[split])
    upper.set_ylabel("loss (nats)")
    for names, series in _metric_lines(metrics_rows):
        label = " and ".join(name.replace("_", " ") for name in names)
        _plot_series(lower, series, label=label, colour=METRIC_COLOURS[names[0]])
    lower.set_ylabel("validation metric")
    lower.set_xlabel("step")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (upper, lower):
        if best_step is not None:
            label = f"best step: {best_step}" if axes is lower else ""
            axes.axvline(best_step, label=label, color="#444444", linewidth=1.0, linestyle=":", zorder=1)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    save_figure(figure, path, dpi=150)


def _metric_lines(rows: Sequence[Mapping[str, Any]]) -> list[tuple[list[str], Series]]:
    """Returns the validation metrics, each with the names of those that coincide with it."""
    lines: list[tuple[list[str], Series]] = []
    for metric in METRIC_COLOURS:
        series = _series(rows, "validation", metric)
        same = next((names for names, other in lines if _coincide(series, other)), None)
        if same is not None:
            same.append(metric)
        elif any(map(math.isfinite, series[1])):
            lines.append(([metric], series))
    return lines


def _coincide(first: Series, second: Series) -> bool:
    if first[0] != second[0]:
        return False
    values = np.asarray([first[1], second[1]])
    finite = values[np.isfinite(values)]
    tolerance = _LINE_WIDTH * float(np.ptp(finite)) if finite.size else 0.0
    return bool(np.allclose(values[0], values[1], rtol=0, atol=tolerance, equal_nan=True))


def _series(rows: Sequence[Mapping[str, Any]], split: str, key: str) -> Series:
    """Returns steps and values of `key`; NaN, which matplotlib leaves out of a line, where there is no number."""
    chosen = sorted((row for row in rows if row["split"] == split and key in row), key=lambda row: row["step"])
    values = [math.nan if row[key] is None else float(row[key]) for row in chosen]
    return [row["step"] for row in chosen], [value if math.isfinite(value) else math.nan for value in values]


def _plot_series(axes: Axes, series: Series, *, label: str, colour: str) -> None:
    steps, values = series
    if any(map(math.isfinite, values)):
        # Markers where points are few: a single validation would be invisible as a line.
        marker = "o" if len(steps) <= 50 else None
        axes.plot(steps, values, label=label, color=colour, marker=marker, markersize=3.5, linewidth=1.5)
