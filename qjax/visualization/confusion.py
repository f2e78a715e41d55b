"""A confusion matrix as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from qjax.checks import check
from qjax.visualization.saving import save_figure


def plot_confusion(matrix: ArrayLike, label_names: Sequence[str], path: str | Path, *, title: str) -> None:
    """Writes a PNG of a confusion matrix: colour is the share of the true label's row, the number is the count.

    Args:
      matrix: `[classes, classes]` counts, rows true, columns predicted.
      label_names: `[classes]` names in the same order.
      path: file to write, of any format that matplotlib knows by its suffix.
      title: text above the picture.
    """
    counts = np.asarray(matrix)
    size = len(label_names)
    expectation = f"have the shape [classes, classes] = {[size, size]}"
    check(size > 0 and counts.shape == (size, size), "matrix", expectation, f"{list(counts.shape)}")
    check(bool(np.issubdtype(counts.dtype, np.integer) and (counts >= 0).all()), "matrix", "hold counts", counts)
    # A row without examples stays white. Shares, not counts: 'O' would drown every other tag.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(3.2, 0.42 * size + 1.2)
    figure = Figure(figsize=(side + 1.4, side + 0.6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    rotation = 0 if size <= 3 and max(map(len, label_names)) <= 10 else 90
    axes.set_xticks(range(size), label_names, rotation=rotation)
    axes.set_yticks(range(size), label_names)
    axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="#dddddd", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.55 else "black"
        font_size = 10 if size <= 6 else 7
        text = f"{counts[row, column]}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=font_size)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true label")
    save_figure(figure, path, dpi=150)
