"""Circuits as text: one line a qubit, gates from left to right, folded at a width."""

from qjax.checks import check
from qjax.quantum.circuit import Circuit, Operation, Repeat

_MIN_WIDTH = 40


def draw(circuit: Circuit, width: int = 80) -> str:
    """Returns a drawing of the circuit whose lines have at most `width` characters.

    A Repeat stands between `|:` and `:|xN`, as in music. A cell that is wider than a line is cut and ends in '~'.
    """
    check(width >= _MIN_WIDTH, "width", f"be at least {_MIN_WIDTH}", width)
    n = circuit.num_qubits
    names = [f"q{q}: ".rjust(len(str(n - 1)) + 3) for q in range(n)]
    room = width - len(names[0]) - 1
    columns = [_pad(_clip(column, room)) for column in _columns(circuit)]
    blocks: list[list[list[str]]] = [[]]
    used = 0
    for column in columns:
        if used + len(column[0]) > room and blocks[-1]:
            blocks.append([])
            used = 0
        blocks[-1].append(column)
        used += len(column[0])
    return "\n\n".join(_show_block(block, names) for block in blocks)


def _show_block(block: list[list[str]], names: list[str]) -> str:
    lines = []
    for row in range(2 * len(names) - 1):  # even rows are qubits, odd rows the space between two
        head = names[row // 2] + "─" if row % 2 == 0 else " " * (len(names[0]) + 1)
        lines.append((head + "".join(column[row] for column in block)).rstrip())
    return "\n".join(line for i, line in enumerate(lines) if i % 2 == 0 or line)


def _columns(circuit: Circuit) -> list[list[str]]:
    """Returns columns of cells, one a row; gates on separate ranges of qubits share a column."""
    rows = 2 * circuit.num_qubits - 1
    columns: list[list[str]] = []
    ends = [0] * circuit.num_qubits  # first column that is free on each qubit
    for op in circuit.operations:
        if isinstance(op, Repeat):
            start, end = ["|:"] * rows, [f":|x{op.reps}{' rev' if op.reverse else ''}"] * rows
            columns += [start, *_columns(op.body), end]
            ends = [len(columns)] * circuit.num_qubits
            continue
        low, high = min(op.qubits), max(op.qubits)
        place = max(ends[low : high + 1])
        if place == len(columns):
            columns.append([""] * rows)
        for row, cell in _cells(op).items():
            columns[place][row] = cell
        ends[low : high + 1] = [place + 1] * (high - low + 1)
    return columns


def _cells(op: Operation) -> dict[int, str]:
    """Returns row -> text for one gate, with the line that joins its qubits."""
    angles = f"({','.join(map(repr, op.angles))})" if op.angles else ""
    name = op.gate.name
    if len(op.qubits) == 1:
        return {2 * op.qubits[0]: name + angles}
    labels = [name + angles] * len(op.qubits)
    if name == "swap":
        labels = ["x", "x"]
    elif name == "cz":
        labels = ["●", "●"]
    elif name.startswith("c"):
        labels = ["●", "⊕" if name == "cx" else name[1:] + angles]
    low, high = 2 * min(op.qubits), 2 * max(op.qubits)
    cells = {row: "┼" if row % 2 == 0 else "│" for row in range(low + 1, high)}
    return cells | {2 * q: label for q, label in zip(op.qubits, labels, strict=True)}


def _clip(column: list[str], room: int) -> list[str]:
    return [cell if len(cell) < room else cell[: room - 2] + "~" for cell in column]


def _pad(column: list[str]) -> list[str]:
    """Gives all cells of a column one width: wire on the rows of qubits, space between them."""
    width = max(len(cell) for cell in column) + 1
    padded = []
    for row, cell in enumerate(column):
        fill = "─" if row % 2 == 0 else " "
        padded.append(cell + fill * (width - len(cell)))
    return padded
