"""Writing a figure to a file."""

from pathlib import Path

from matplotlib.figure import Figure

from qjax.files import new_file


def save_figure(figure: Figure, path: str | Path, *, dpi: int) -> None:
    """Writes the figure in the format that the suffix of `path` names, whole or not at all."""
    with new_file(path) as file:
        figure.savefig(file, format=Path(path).suffix.removeprefix("."), dpi=dpi)
