"""Circuits as text: one line a qubit, gates from left to right, folded at a width.

`place_columns` says what stands beside what, and `make_marks` what a gate looks like on each of its qubits; the
pictures of `qjax/visualization` are made from the same two.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qjax.checks import check
from qjax.quantum.circuits.angle import Angle
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.circuits.repeat import CircuitLike, Repeat

_MIN_WIDTH = 40
_LABEL = 24  # a shorter label is never cut; a longer one where it takes more than half a line

# Gates that are drawn as controls and what these control: name -> (how many of the first qubits, name of the rest).
CONTROLLED = {
    **{f"c{name}": (1, name) for name in ("x", "y", "z", "h", "p", "s", "sdg", "sx", "rx", "ry", "rz")},
    **{f"c{name}": (1, name) for name in ("u", "u1", "u3", "swap")},
    "ccx": (2, "x"),
    "ccz": (2, "z"),
    "c3x": (3, "x"),
    "c3sx": (3, "sx"),
    "c4x": (4, "x"),
}
# Boxes that say the same on every qubit, because exchanging the qubits changes nothing.
SYMMETRIC = ("iswap", "rxx", "ryy", "rzz", "xx_minus_yy")

Kind = Literal["control", "open", "target", "cross", "box", "barrier"]


@dataclass(frozen=True)
class Mark:
    """What a gate looks like on one qubit.

    Attributes:
      kind: a 'control' that waits for 1 or an 'open' one for 0, the 'target' of a CX, a 'cross' of a SWAP, a 'box',
        or a 'barrier'.
      name: of a box; of a control only where it carries the name of a phase.
      place: which qubit of the gate this is, where that makes a difference.
    """

    kind: Kind
    name: str = ""
    place: int | None = None


@dataclass(frozen=True)
class Bar:
    """The start or the end of a Repeat, a column of its own."""

    repeat: Repeat
    is_start: bool

    @property
    def label(self) -> str:
        """What stands at the end: x3, x3 rev, x3 shared."""
        words = [f"x{self.repeat.reps}"]
        words += ["rev"] * self.repeat.reverse + ["shared"] * self.repeat.shared
        return "" if self.is_start else " ".join(words)


Column = Bar | list[Operation]


def draw(circuit: CircuitLike, width: int = 80) -> str:
    """Returns a drawing of the circuit whose lines have at most `width` characters.

    A Repeat stands between `|:` and `:|xN`, as in music; its parameters are shown as the body has them. A control is
    `●` where it waits for 1 and `○` where it waits for 0. A gate whose qubits differ says which of them is which:
    `0:ecr` and `1:ecr`. A Pauli rotation has one letter on each qubit. Long angles end in `…`.

    >>> from qjax.quantum import Circuit
    >>> print(draw(Circuit(2).append("h", 0).append("cx", (0, 1)).append("rz", 1, math.pi / 2)))
    q0: ─h─●─────────
           │
    q1: ───⊕─rz(π/2)─

    Raises:
      UserError: `width` is below 40.
    """
    expectation = f"be an integer of at least {_MIN_WIDTH}; qjax.visualization makes pictures"
    check(isinstance(width, int) and width >= _MIN_WIDTH, "width", expectation, width)
    n = circuit.num_qubits
    names = [f"q{q}: ".rjust(len(str(n - 1)) + 3) for q in range(n)]
    space = width - len(names[0]) - 1
    columns = place_columns(circuit)
    cells = [_pad(_column_cells(column, n, space)) for column in columns]
    blocks = [cells[start:end] for start, end in fold(columns, [len(column[0]) for column in cells], space)]
    shown = [_show_block(block, names) for block in blocks]
    phase = show_global_phase(circuit)
    return "\n\n".join([*shown, cut(phase, width)] if phase else shown)


# Layout of a drawing, for text and for pictures. -----------------------------------------------------------


def place_columns(circuit: CircuitLike) -> list[Column]:
    """Returns the columns of a drawing: gates on separate ranges of qubits share one; a global phase has none."""
    columns: list[Column] = []
    ends = [0] * circuit.num_qubits  # first column that is free on each qubit
    for op in circuit.operations:
        if isinstance(op, Repeat):
            columns += [Bar(op, True), *place_columns(op.body), Bar(op, False)]
            ends = [len(columns)] * circuit.num_qubits
            continue
        if not op.all_qubits:
            continue
        low, high = min(op.all_qubits), max(op.all_qubits)
        position = max(ends[low : high + 1])
        if position == len(columns):
            columns.append([])
        column = columns[position]
        assert isinstance(column, list)  # no gate is placed before the end of a Repeat
        column.append(op)
        ends[low : high + 1] = [position + 1] * (high - low + 1)
    return columns


def fold(columns: Sequence[Column], widths: Sequence[float | int], line_width: float | int) -> list[tuple[int, int]]:
    """Divides columns into lines: (first, past the last) of each. No line ends with the start of a Repeat."""
    lines: list[tuple[int, int]] = []
    first = 0
    for position in range(len(columns)):
        if sum(widths[first : position + 1]) <= line_width or position == first:
            continue
        end = position
        while end - 1 > first and _is_start(columns[end - 1]):
            end -= 1
        if sum(widths[end : position + 1]) > line_width:
            end = position
        lines.append((first, end))
        first = end
    return [*lines, (first, len(columns))]


def _is_start(column: Column) -> bool:
    return isinstance(column, Bar) and column.is_start


def make_marks(op: Operation) -> dict[int, Mark]:
    """Returns qubit -> what the operation looks like on it."""
    num_controls, name = CONTROLLED.get(op.gate.name, (0, op.gate.name))
    kinds: dict[bool, Kind] = {True: "control", False: "open"}
    marks = {q: Mark(kinds[bool(value)]) for q, value in zip(op.controls, op.control_values, strict=True)}
    marks |= {q: Mark("control") for q in op.qubits[:num_controls]}
    rest = op.qubits[num_controls:]
    if not rest:  # a global phase of the states that the controls wait for
        marks |= {q: Mark(marks[q].kind, name) for q in marks if q == max(marks)}
    elif marks and name == "x":
        marks[rest[0]] = Mark("target")
    elif marks and name == "z":
        marks[rest[0]] = Mark("control")
    elif name in ("swap", "barrier"):
        marks |= {q: Mark("cross" if name == "swap" else "barrier") for q in rest}
    elif name == "pauli_rotation":
        marks |= {q: Mark("box", f"r{letter}") for q, letter in zip(rest, op.gate.data.decode(), strict=True)}
    else:
        alike = len(rest) == 1 or name in SYMMETRIC
        marks |= {q: Mark("box", name, None if alike else i) for i, q in enumerate(rest)}
    return marks


def show_global_phase(circuit: CircuitLike) -> str:
    """Returns 'global phase: ...', or nothing where no gate is a global phase: 'global phase: 0.5+g + 3 x [t[0]]'."""
    parts = _phase_parts(circuit)
    return f"global phase: {' + '.join(parts)}" if parts else ""


def _phase_parts(circuit: CircuitLike) -> list[str]:
    phases = [op.angles[0] for op in circuit.operations if isinstance(op, Operation) and not op.all_qubits]
    parts = [show_angle(sum(phases, Angle()))] if phases else []
    for op in circuit.operations:
        inner = _phase_parts(op.body) if isinstance(op, Repeat) else []
        if isinstance(op, Repeat) and inner:
            parts.append(f"{op.reps} x [{' + '.join(inner)}]")
    return parts


# Angles. ----------------------------------------------------------------------------------------------------


def show_angle(angle: Angle, digits: int = 6) -> str:
    """Returns the angle with its numbers rounded and simple multiples of pi as such: 2*x[0]+π/2."""
    parts = []
    for scale, references in angle.terms:
        product = "*".join(map(repr, references))
        number = {1.0: "", -1.0: "-"}.get(scale, f"{show_number(scale, digits)}*")
        parts.append(number + product)
    if angle.shift or not parts:
        parts.append(show_number(angle.shift, digits))
    return "+".join(parts).replace("+-", "-")


def show_number(value: float, digits: int = 6) -> str:
    """Returns a number in `digits` digits, or as a multiple of pi: -3π/4.

    >>> show_number(-0.75 * math.pi), show_number(1 / 3, digits=2)
    ('-3π/4', '0.33')
    """
    for denominator in (1, 2, 3, 4, 6, 8, 12, 16):
        count = round(value * denominator / math.pi)
        if 0 < abs(count) <= 99 and math.isclose(value, count * math.pi / denominator, rel_tol=1e-12):
            factor = {1: "", -1: "-"}.get(count, str(count))
            return f"{factor}π" + (f"/{denominator}" if denominator > 1 else "")
    return f"{value:.{digits}g}"


def cut(text: str, limit: int) -> str:
    """Returns text of at most `limit` characters, cut after a sign or a factor where one ends in its second half."""
    if len(text) <= limit:
        return text
    head = text[: max(limit - 1, 0)]
    for pattern in (r"(?<!e)[+-]", r"[*]"):
        ends = [match.end() for match in re.finditer(pattern, head)]
        if ends and ends[-1] > limit // 2:
            return head[: ends[-1]] + "…"
    return head + "…"


def _join_angles(texts: Sequence[str], space: int) -> str:
    """Joins angles with commas, and cuts the longest until they take at most `space` characters."""
    limit = max(map(len, texts))
    while limit > 2 and sum(min(len(text), limit) + 1 for text in texts) - 1 > space:
        limit -= 1
    return ",".join(cut(text, limit) for text in texts)


# Text. ------------------------------------------------------------------------------------------------------


def _show_block(block: list[list[str]], names: list[str]) -> str:
    lines = []
    for row in range(2 * len(names) - 1):  # even rows are qubits, odd rows the space between two
        head = names[row // 2] + "─" if row % 2 == 0 else " " * (len(names[0]) + 1)
        lines.append((head + "".join(column[row] for column in block)).rstrip())
    return "\n".join(line for i, line in enumerate(lines) if i % 2 == 0 or line)


def _column_cells(column: Column, num_qubits: int, limit: int) -> list[str]:
    """Returns one text a row, each shorter than `limit`."""
    rows = 2 * num_qubits - 1
    if isinstance(column, Bar):
        bar = "|:" if column.is_start else ":|"
        return [bar + column.label] + [bar] * (rows - 1)
    cells = [""] * rows
    for op in column:
        for row, cell in _operation_cells(op, limit).items():
            cells[row] = cut(cell, limit - 1)
    return cells


def _operation_cells(op: Operation, limit: int) -> dict[int, str]:
    """Returns row -> text for one gate, with the line that joins its qubits."""
    marks = make_marks(op)
    cells: dict[int, str] = {}
    for row in range(2 * min(marks) + 1, 2 * max(marks)):
        if op.gate.name != "barrier":
            cells[row] = "┼" if row % 2 == 0 else "│"
        elif row % 2 == 1 and {row // 2, row // 2 + 1} <= marks.keys():
            cells[row] = "┊"
    return cells | {2 * q: _show_mark(mark, op, limit) for q, mark in marks.items()}


def _show_mark(mark: Mark, op: Operation, limit: int) -> str:
    symbol = {"control": "●", "open": "○", "target": "⊕", "cross": "×", "barrier": "┊", "box": ""}[mark.kind]
    symbol += "" if mark.place is None else f"{mark.place}:"
    symbol += mark.name
    if not (mark.name and op.angles):
        return symbol
    texts = [show_angle(angle) for angle in op.angles]
    return f"{symbol}({_join_angles(texts, max(limit // 2, _LABEL) - len(symbol) - 2)})"


def _pad(column: list[str]) -> list[str]:
    """Gives all cells of a column one width: wire on the rows of qubits, space between them."""
    width = max(map(len, column)) + 1
    return [cell.ljust(width, " " if row % 2 else "─") for row, cell in enumerate(column)]
