"""A confusion matrix as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from qjax.checks import check
from qjax.visualization.saving import save_figure
from qjax.visualization.text import LETTER, set_title, shorten

MAX_LABEL = 24


def plot_confusion(matrix: ArrayLike, label_names: Sequence[str], path: str | Path, *, title: str) -> None:
    """Writes a PNG of a confusion matrix: colour is the share of the true label's row, the number is the count.

    Args:
      matrix: `[classes, classes]` counts, rows true, columns predicted.
      label_names: `[classes]` names in the same order; long ones are shortened in the middle.
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
    names = [shorten(name, MAX_LABEL) for name in label_names]
    if len(set(names)) < size:  # what tells them apart was left out
        names = [f"{i}: {shorten(name, MAX_LABEL - 5)}" for i, name in enumerate(label_names)]
    longest = max(map(len, names))
    is_upright = size > 3 or longest > 10
    # The picture grows with the names, so that the matrix keeps its size.
    side, room = max(2.6, 0.42 * size + 0.6), LETTER * longest
    figure = Figure(figsize=(side + room + 2.0, side + (room if is_upright else 0.2) + 1.2), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(size), names, rotation=90 if is_upright else 0)
    axes.set_yticks(range(size), names)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)  # a label may be called $x$
    axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="#dddddd", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.set(xlabel="predicted", ylabel="true")
    set_title(figure, title)
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.55 else "black"
        font_size = 10 if size <= 6 else 7
        text = f"{counts[row, column]}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=font_size)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true label")
    save_figure(figure, path, dpi=150)
