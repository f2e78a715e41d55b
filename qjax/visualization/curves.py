"""Training curves from the rows of metrics.jsonl."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qjax.checks import check, check_choice, fail
from qjax.visualization.saving import save_figure

SPLITS = ("train", "validation")
METRICS = ("accuracy", "f1")
COLOURS = {"train": "#9aa7b8", "validation": "#1f5fa8", "accuracy": "#1f5fa8", "f1": "#d1762f"}


def plot_curves(metrics_rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Writes a PNG of the losses (upper panel) and the validation metrics (lower panel) against the step.

    Args:
      metrics_rows: rows of metrics.jsonl: 'step', 'split' ('train' or 'validation'), 'loss' and, where measured,
        'accuracy' and 'f1'; other keys are left alone. A value that is missing, null or not finite leaves a gap.
      path: file to write, of any format that matplotlib knows by its suffix.
    """
    check(len(metrics_rows) > 0, "metrics_rows", "hold at least one row", "none")
    for row in metrics_rows:
        if "step" not in row or "split" not in row:
            fail("metrics_rows", "hold 'step' and 'split' in each row", f"a row with {', '.join(map(str, row))}")
        check_choice("metrics_rows['split']", row["split"], SPLITS)
    figure = Figure(figsize=(7.5, 6.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for split in SPLITS:
        _plot_series(upper, _series(metrics_rows, split, "loss"), label=split, colour=COLOURS[split])
    upper.set_ylabel("loss (nats)")
    for metric in METRICS:
        _plot_series(lower, _series(metrics_rows, "validation", metric), label=metric, colour=COLOURS[metric])
    lower.set_ylabel("validation metric")
    lower.set_xlabel("step")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    save_figure(figure, path, dpi=150)


def _series(rows: Sequence[Mapping[str, Any]], split: str, key: str) -> tuple[list[int], list[float]]:
    """Returns steps and values of `key`; NaN, which matplotlib leaves out of a line, where there is no number."""
    chosen = sorted((row for row in rows if row["split"] == split and key in row), key=lambda row: row["step"])
    values = [math.nan if row[key] is None else float(row[key]) for row in chosen]
    return [row["step"] for row in chosen], [value if math.isfinite(value) else math.nan for value in values]


def _plot_series(axes: Axes, series: tuple[list[int], list[float]], *, label: str, colour: str) -> None:
    steps, values = series
    if any(map(math.isfinite, values)):
        # Markers where points are few: a single validation would be invisible as a line.
        marker = "o" if len(steps) <= 50 else None
        axes.plot(steps, values, label=label, color=colour, marker=marker, markersize=3.5, linewidth=1.5)
