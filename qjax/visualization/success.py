"""Success probability against the number of iterations."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from qjax.checks import check
from qjax.visualization.saving import save_figure
from qjax.visualization.text import set_title

MAX_MARKERS = 60


def plot_success(
    steps: ArrayLike,
    found: ArrayLike,
    theory: ArrayLike,
    path: str | Path,
    *,
    title: str,
    xlabel: str = "iterations",
    found_label: str = "found",
    theory_label: str = "theory",
) -> None:
    """Writes a PNG of the success probabilities of a run and of theory's.

    Args:
      steps: `[steps]`, the number of iterations of each point, ascending.
      found: `[steps]` probabilities.
      theory: `[steps]` likewise.
      path: file to write, of any format that matplotlib knows by its suffix.
      title: text above the picture.
      xlabel: what is counted.
      found_label: says where `found` is from: simulated exactly, or the share of so many runs.
      theory_label: says which theory.
    """
    x = np.asarray(steps)
    check(x.ndim == 1 and x.size > 0, "steps", "have the shape [steps], at least 1", f"{list(x.shape)}")
    lines = {"found": np.asarray(found), "theory": np.asarray(theory)}
    for name, values in lines.items():
        check(values.shape == x.shape, name, f"have the shape {list(x.shape)} of the steps", f"{list(values.shape)}")
        in_range = bool(np.all((values >= -1e-6) & (values <= 1 + 1e-6)))
        check(in_range, name, "hold probabilities", f"{values.min()} to {values.max()}")
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(x, lines["theory"], label=theory_label, color="#9aa7b8", linewidth=3)
    marker = "o" if len(x) <= MAX_MARKERS else None
    axes.plot(x, lines["found"], label=found_label, color="#1f5fa8", linewidth=1.2, marker=marker, markersize=3.5)
    axes.set(xlabel=xlabel, ylabel="success probability", ylim=(-0.03, 1.03))
    set_title(figure, title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save_figure(figure, path, dpi=150)
