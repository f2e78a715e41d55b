"""A circuit as a picture."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle
from matplotlib.textpath import text_to_path

from qjax.checks import check
from qjax.quantum.circuits.angle import Angle, Input, Parameter
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.drawing import (
    Bar,
    Column,
    Mark,
    cut,
    fold,
    make_marks,
    place_columns,
    show_angle,
    show_global_phase,
)
from qjax.quantum.circuits.operation import Operation
from qjax.visualization.saving import save_figure

MIN_WIDTH = 4.0
MAX_SIZE = 400.0  # Agg has a limit of 2**16 pixels a side
DPI = 150

# Lengths are in inches, as are the coordinates of the axes; y grows downwards. Font sizes are in points.
_WIRES = 0.62  # from one wire to the next
_BOX = 0.46  # height, and least width, of a box
_GAP = 0.16  # between columns
_MARGIN = 0.15
_ABOVE = 0.5  # from the top of a row to its first wire
_BELOW = 0.42
_BAND = 0.31  # from the first and the last wire to the ends of a Repeat's band
_LINE = 0.26  # a line below the rows
_TITLE_SIZE, _NAME_SIZE, _ANGLE_SIZE, _SMALL_SIZE = 12.0, 10.0, 7.5, 6.5
_ANGLE_COLUMNS, _ANGLE_LINES = 17, 2
_INK, _WIRE_INK, _FAINT = "#1f2933", "#7b8794", "#9aa5b1"

# (fill, edge) by what a gate's angles hold.
_COLOURS = {
    "fixed": ("#f1f3f5", "#52606d"),
    "input": ("#dcebf9", "#1f5fa8"),
    "trainable": ("#fce8d5", "#c2651d"),
    "input and trainable": ("#e9e0f5", "#6b46a8"),
}
_NAMES = {
    "sdg": "S†",
    "tdg": "T†",
    "sx": "√X",
    "sxdg": "√X†",
    "iswap": "iSWAP",
    "xx_plus_yy": "XX+YY",
    "xx_minus_yy": "XX-YY",
    "p": "P",
    "unitary": "Unitary",
    "diagonal": "Diagonal",
    "permutation": "Permutation",
    "gphase": "phase",
}


@dataclass(frozen=True)
class _Box:
    """A box from its first to its last qubit; `places` says which qubit of the gate is where, if that matters."""

    low: int
    high: int
    name: str
    angles: tuple[str, ...]
    places: tuple[tuple[int, int], ...]

    @property
    def width(self) -> float:
        sizes = [_text_width(self.name, _NAME_SIZE)] + [_text_width(line, _ANGLE_SIZE) for line in self.angles]
        beside = 0.24 if self.places else 0.0
        return max(_BOX, max(sizes) + 0.16 + beside)


def draw_circuit(circuit: Circuit, path: str | Path, *, title: str = "", width: float | int = 10.0) -> None:
    """Writes a picture of a circuit, time from left to right, qubit 0 on top.

    Filled dots are controls that wait for 1, hollow ones wait for 0. A box is coloured by what its angles hold:
    nothing or numbers, inputs, trainable parameters, or both. A Repeat is a shaded band that ends in its count. A
    circuit that is too long for one row goes on in the next. Small numbers in a box say which qubit of the gate is
    where. A global phase stands below.

    Args:
      circuit: what to draw.
      path: file to write, of any format that matplotlib knows by its suffix.
      title: text above the picture.
      width: largest width of the picture in inches; the picture is as wide as it needs to be.

    Raises:
      UserError: `circuit` is not a Circuit, the suffix names no format, `width` is not in 4..400, or the circuit is
        so long that the picture would be higher than 400 inches.
    """
    check(isinstance(circuit, Circuit), "circuit", "be a Circuit", circuit)
    suffix = Path(path).suffix.removeprefix(".").lower()
    formats = sorted(FigureCanvasAgg.get_supported_filetypes())
    check(suffix in formats, "path", "end in a format that matplotlib writes", f"'{suffix}'", formats)
    check(Path(path).parent.is_dir(), "path", "lie in a folder that exists", str(path))
    check(MIN_WIDTH <= width <= MAX_SIZE, "width", f"be between {MIN_WIDTH:g} and {MAX_SIZE:g} inches", width)
    columns = place_columns(circuit)
    left = _MARGIN + _text_width(f"q{circuit.num_qubits - 1}", _NAME_SIZE) + 0.12
    room = width - left - _GAP - _MARGIN
    rows = [columns[start:end] for start, end in fold(columns, list(map(_column_width, columns)), room)]
    row_height = _ABOVE + (circuit.num_qubits - 1) * _WIRES + _BELOW
    footer = _footer(circuit)
    top = _MARGIN + (0.3 if title else 0.0)
    bottom = top + len(rows) * row_height
    height = bottom + _LINE * len(footer) + _MARGIN
    check(height <= MAX_SIZE, "circuit", f"fit in a picture {MAX_SIZE:g} inches high", f"{height:.0f} inches")
    texts = [_text_width(title, _TITLE_SIZE), *map(_footer_width, footer)]
    full = max(left + max(map(_row_width, rows)), _MARGIN + max(texts)) + _MARGIN
    figure = Figure(figsize=(full, height), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, full), ylim=(height, 0))
    axes.set_axis_off()
    _write(axes, _MARGIN, _MARGIN + 0.08, title, _TITLE_SIZE, ha="left")
    depth = 0
    for number, row in enumerate(rows):
        picture = _Row(axes, circuit.num_qubits, left, top + number * row_height + _ABOVE)
        picture.draw_wires(_row_width(row), is_last=number == len(rows) - 1)
        depth = picture.draw(row, depth)
    for number, line in enumerate(footer):
        _draw_footer(axes, line, bottom + _LINE * (number + 0.5))
    save_figure(figure, path, dpi=DPI)


# Sizes. -----------------------------------------------------------------------------------------------------


@cache
def _text_width(text: str, size: float) -> float:
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width) / 72


def _column_width(column: Column) -> float:
    """Width of a column and of the gap after it."""
    if isinstance(column, Bar):
        return max(0.2, _text_width(column.label, _ANGLE_SIZE)) + _GAP
    return max(_operation_width(op) for op in column) + _GAP


def _row_width(row: list[Column]) -> float:
    return max(sum(map(_column_width, row)) + _GAP, 0.5)


def _operation_width(op: Operation) -> float:
    if op.is_barrier:
        return 0.1
    marks = make_marks(op)
    beside = [
        2 * (0.12 + _text_width(_show_phase(mark, op), _ANGLE_SIZE)) for mark in marks.values() if _is_phase(mark)
    ]
    return max([0.3, *beside, *(box.width for box in _boxes(op, marks))])


# Boxes. -----------------------------------------------------------------------------------------------------


def _boxes(op: Operation, marks: dict[int, Mark]) -> Iterator[_Box]:
    """One box over neighbouring qubits that have one name; one on each qubit otherwise."""
    inside = {q: mark for q, mark in sorted(marks.items()) if mark.kind == "box"}
    if not inside:
        return
    angles = tuple(_wrap([_show(angle) for angle in op.angles]))
    low, high = min(inside), max(inside)
    places = tuple((q, mark.place) for q, mark in inside.items() if mark.place is not None)
    if high - low == len(inside) - 1 and len({mark.name for mark in inside.values()}) == 1:
        yield _Box(low, high, _show_name(inside[low].name), angles, places)
        return
    for q, mark in inside.items():
        yield _Box(q, q, _show_name(mark.name), angles, tuple(pair for pair in places if pair[0] == q))


def _show_name(name: str) -> str:
    return _NAMES.get(name, name.upper())


def _show(angle: Angle) -> str:
    return show_angle(angle, digits=4).replace("*", "·").replace("-", "−")


def _wrap(texts: list[str]) -> list[str]:
    """Breaks angles into lines after commas and before signs, and cuts what does not fit."""
    lines = [""]
    for piece in re.split(r"(?<=,)|(?<=[^,e])(?=[+−])", ",".join(texts)):
        if lines[-1] and len(lines[-1]) + len(piece) > _ANGLE_COLUMNS:
            lines.append("")
        lines[-1] += piece
    if len(lines) > _ANGLE_LINES:
        lines = [*lines[: _ANGLE_LINES - 1], lines[_ANGLE_LINES - 1] + "…"]
    return [cut(line, _ANGLE_COLUMNS + 1) for line in lines if line]


def _is_phase(mark: Mark) -> bool:
    return mark.kind in ("control", "open") and mark.name != ""


def _show_phase(mark: Mark, op: Operation) -> str:
    return f"{_show_name(mark.name)} {cut(_show(op.angles[0]), _ANGLE_COLUMNS)}"


def _colour(op: Operation) -> str:
    kinds = {type(ref) for angle in op.angles for ref in angle.references}
    names = {Input: "input", Parameter: "trainable"}
    return " and ".join(names[kind] for kind in (Input, Parameter) if kind in kinds) or "fixed"


# Drawing. ---------------------------------------------------------------------------------------------------


class _Row:
    """One row of the picture: its wires and what stands on them."""

    def __init__(self, axes: Axes, num_qubits: int, left: float, top: float) -> None:
        self.axes, self.num_qubits, self.left, self.top = axes, num_qubits, left, top

    def y(self, qubit: int) -> float:
        """Returns where the wire of a qubit is."""
        return self.top + qubit * _WIRES

    def draw_wires(self, length: float, *, is_last: bool) -> None:
        """Draws a line and a name for each qubit; a row that goes on ends in dots."""
        for q in range(self.num_qubits):
            y = self.y(q)
            _write(self.axes, self.left - 0.1, y, f"q{q}", _NAME_SIZE, ha="right")
            self.axes.plot([self.left, self.left + length], [y, y], color=_WIRE_INK, linewidth=1.0, zorder=1)
            if not is_last:
                ends = [self.left + length + 0.03 + 0.035 * i for i in range(3)]
                self.axes.plot(ends, [y] * 3, ".", color=_WIRE_INK, markersize=1.6, zorder=1)

    def draw(self, columns: list[Column], depth: int) -> int:
        """Draws columns; `depth` Repeats are open before them, and as many as it returns after them."""
        x = self.left + _GAP
        starts = [self.left] * depth
        for column in columns:
            width = _column_width(column) - _GAP
            if isinstance(column, Bar):
                self._draw_bar(column, x, width)
                if column.is_start:
                    starts.append(x)
                else:
                    self._shade(starts.pop(), x + width)
            else:
                for op in column:
                    self._draw_operation(op, x + width / 2)
            x += width + _GAP
        for start in starts:
            self._shade(start, x)
        return len(starts)

    def _shade(self, start: float, end: float) -> None:
        top, bottom = self.top - _BAND, self.y(self.num_qubits - 1) + _BAND
        band = Rectangle((start, top), end - start, bottom - top, gid="repeat", zorder=0)
        band.set(facecolor="#3e4c59", alpha=0.06, edgecolor="none")
        self.axes.add_patch(band)

    def _draw_bar(self, bar: Bar, x: float, width: float) -> None:
        top, bottom = self.top - _BAND, self.y(self.num_qubits - 1) + _BAND
        edge, foot = (x, x + 0.09) if bar.is_start else (x + width, x + width - 0.09)
        self.axes.plot([foot, edge, edge, foot], [top, top, bottom, bottom], color=_INK, linewidth=1.4, gid="bracket")
        if not bar.is_start:
            label = bar.label.replace("x", "×", 1)
            _write(self.axes, x + width, top - 0.09, label, _ANGLE_SIZE + 0.5, ha="right", weight="bold")

    def _draw_operation(self, op: Operation, x: float) -> None:
        marks = make_marks(op)
        fill, edge = _COLOURS[_colour(op)]
        if op.is_barrier:
            for q in marks:
                ends = [self.y(q) - _WIRES / 2, self.y(q) + _WIRES / 2]
                self.axes.plot([x, x], ends, color=_FAINT, linewidth=1.6, linestyle=(0, (2, 1.6)), gid="barrier")
            return
        ink = _INK if _colour(op) == "fixed" else edge
        if len(marks) > 1:
            self.axes.plot([x, x], [self.y(min(marks)), self.y(max(marks))], color=ink, linewidth=1.3, zorder=2)
        for box in _boxes(op, marks):
            self._draw_box(box, x, fill, edge)
        for q, mark in marks.items():
            if mark.kind != "box":
                self._draw_symbol(mark.kind, x, self.y(q), ink)
            if _is_phase(mark):
                _write(
                    self.axes, x + 0.1, self.y(q) - 0.11, _show_phase(mark, op), _ANGLE_SIZE, ha="left", colour=ink
                )

    def _draw_symbol(self, kind: str, x: float, y: float, ink: str) -> None:
        if kind in ("control", "open"):
            face = ink if kind == "control" else "white"
            dot = Circle((x, y), 0.055, facecolor=face, edgecolor=ink, linewidth=1.2, zorder=4, gid=kind)
            self.axes.add_patch(dot)
        elif kind == "target":
            ring = Circle((x, y), 0.125, facecolor="white", edgecolor=ink, linewidth=1.3, zorder=3, gid=kind)
            self.axes.add_patch(ring)
            self.axes.plot([x - 0.125, x + 0.125], [y, y], color=ink, linewidth=1.3, zorder=4)
            self.axes.plot([x, x], [y - 0.125, y + 0.125], color=ink, linewidth=1.3, zorder=4)
        else:
            self.axes.plot([x], [y], "x", color=ink, markersize=8, markeredgewidth=1.5, zorder=4, gid=kind)

    def _draw_box(self, box: _Box, x: float, fill: str, edge: str) -> None:
        top, bottom = self.y(box.low) - _BOX / 2, self.y(box.high) + _BOX / 2
        shape = "round,pad=0,rounding_size=0.045"
        corner = (x - box.width / 2, top)
        patch = FancyBboxPatch(corner, box.width, bottom - top, boxstyle=shape, gid="box", zorder=3)
        patch.set(facecolor=fill, edgecolor=edge, linewidth=1.0)
        self.axes.add_patch(patch)
        for q, place in box.places:
            _write(self.axes, corner[0] + 0.06, self.y(q), str(place), _SMALL_SIZE, ha="left", colour=edge)
        y = (top + bottom) / 2 - 0.062 * len(box.angles)
        _write(self.axes, x, y, box.name, _NAME_SIZE)
        for i, line in enumerate(box.angles):
            _write(self.axes, x, y + 0.075 + 0.062 + 0.11 * i, line, _ANGLE_SIZE, colour=edge)


def _write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float,
    *,
    ha: str = "center",
    colour: str = _INK,
    weight: str = "normal",
) -> None:
    shown = axes.text(x, y, text, ha=ha, va="center_baseline", fontsize=size, color=colour, weight=weight, zorder=5)
    shown.set_parse_math(False)  # a parameter may be called $w$


# Below the rows. --------------------------------------------------------------------------------------------

Footer = str | tuple[str, ...]


def _footer(circuit: Circuit) -> list[Footer]:
    """Lines below the picture: the global phase, and a legend as the kinds of angles in use."""
    phase = show_global_phase(circuit)
    used = {_colour(op) for op in circuit.iter_operations() if op.all_qubits}
    used.discard("fixed")
    legend = tuple(kind for kind in _COLOURS if kind in used)
    return [line for line in (cut(phase, 80), legend) if line]


def _footer_width(line: Footer) -> float:
    if isinstance(line, str):
        return _text_width(line, _ANGLE_SIZE + 1)
    return sum(0.42 + _text_width(kind, _ANGLE_SIZE + 1) for kind in line)


def _draw_footer(axes: Axes, line: Footer, y: float) -> None:
    if isinstance(line, str):
        _write(axes, _MARGIN, y, line, _ANGLE_SIZE + 1, ha="left")
        return
    x = _MARGIN
    for kind in line:
        fill, edge = _COLOURS[kind]
        axes.add_patch(Rectangle((x, y - 0.07), 0.14, 0.14, facecolor=fill, edgecolor=edge, gid="legend"))
        _write(axes, x + 0.21, y, kind, _ANGLE_SIZE + 1, ha="left")
        x += 0.42 + _text_width(kind, _ANGLE_SIZE + 1)
