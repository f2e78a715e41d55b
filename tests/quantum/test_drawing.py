"""Whole drawings, as a person sees them, and what holds of all of them."""

import inspect
import math
from itertools import pairwise

import numpy as np
import pytest

from qjax.checks import UserError
from qjax.quantum.circuits.angle import constant, input_angle, parameter
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.custom_gates import (
    barrier_gate,
    diagonal_gate,
    pauli_rotation_gate,
    permutation_gate,
    unitary_gate,
)
from qjax.quantum.circuits.drawing import (
    CONTROLLED,
    SYMMETRIC,
    cut,
    make_marks,
    place_columns,
    show_angle,
    show_number,
)
from qjax.quantum.circuits.gates import GATES
from qjax.quantum.circuits.operation import Operation, operation
from qjax.quantum.circuits.repeat import Repeat

W, X = parameter, input_angle


def controlled() -> Circuit:
    return (
        Circuit(4)
        .append("x", 2, controls=(0, 3), control_values=(1, 0))
        .append("z", 1, controls=0)
        .append("swap", (0, 2), controls=3, control_values=(0,))
        .append("ry", 0, 0.5, controls=(1, 2, 3), control_values=(0, 1, 0))
        .append("cx", (0, 1), controls=3)
        .append("gphase", (), 0.25, controls=(0, 1), control_values=(1, 0))
    )


def table_controls() -> Circuit:
    return (
        Circuit(5)
        .append("ccx", (0, 2, 1))
        .append("ccz", (0, 1, 2))
        .append("cswap", (0, 3, 4))
        .append("c3sx", (1, 2, 3, 4))
        .append("c4x", (4, 0, 1, 2, 3))
        .append("csdg", (0, 1))
        .append("cu1", (2, 3), 0.5)
        .append("cu", (0, 4), 1, 2, 3, 4)
    )


def boxes() -> Circuit:
    return (
        Circuit(3)
        .append("ecr", (2, 0))
        .append("rzx", (0, 1), math.pi / 2)
        .append("iswap", (1, 2))
        .append("xx_plus_yy", (0, 1), W("a"), 0)
        .append("rccx", (0, 1, 2))
    )


def custom() -> Circuit:
    return (
        Circuit(3)
        .append(unitary_gate(np.eye(4)), (2, 1))
        .append(diagonal_gate(np.array([0, 1])), 0)
        .append(permutation_gate(np.array([0, 1, 3, 2])), (0, 1))
        .append(pauli_rotation_gate("XZ"), (2, 0), W("t", 1))
        .append(unitary_gate(np.eye(2)), 1, controls=2)
    )


def barriers() -> Circuit:
    first = Circuit(4).append("h", 0).append(barrier_gate(3), (0, 1, 3)).append("h", 0).append("h", 2).append("h", 3)
    return first.append(barrier_gate(4), range(4)).append("x", 1)


def nested() -> Circuit:
    step = Circuit(2).append("ry", 0, W("w", 0)).append("cx", (0, 1)).append("gphase", (), W("g"))
    inner = Circuit(2, (Repeat(step, 4, shared=True),)).append("h", 1)
    outer = Circuit(2, (Repeat(inner, 3, reverse=True),))
    return Circuit(2).append("gphase", (), math.pi) + outer.append("gphase", (), -2 * X(0))


GOLDEN = {
    "plain": (
        Circuit(3).append("h", 0).append("cx", (0, 2)).append("rzz", (1, 0), 0.5).append("swap", (1, 2)),
        """
        q0: ─h─●─rzz(0.5)───
               │ │
        q1: ───┼─rzz(0.5)─×─
               │          │
        q2: ───⊕──────────×─
        """,
    ),
    "controls and their values": (
        controlled(),
        """
        q0: ─●─●─×─ry(0.5)─●─●─────────────
             │ │ │ │       │ │
        q1: ─┼─●─┼─○───────⊕─○gphase(0.25)─
             │   │ │       │
        q2: ─⊕───×─●───────┼───────────────
             │   │ │       │
        q3: ─○───○─○───────●───────────────
        """,
    ),
    "controls of the gate table": (
        table_controls(),
        """
        q0: ─●─●─●────●─●───────●──────────
             │ │ │    │ │       │
        q1: ─⊕─●─┼─●──●─sdg─────┼──────────
             │ │ │ │  │         │
        q2: ─●─●─┼─●──●─●───────┼──────────
                 │ │  │ │       │
        q3: ─────×─●──⊕─u1(0.5)─┼──────────
                 │ │  │         │
        q4: ─────×─sx─●─────────u(1,2,3,4)─
        """,
    ),
    "boxes say which qubit is which": (
        boxes(),
        """
        q0: ─1:ecr─0:rzx(π/2)───────0:xx_plus_yy(a,0)─0:rccx─
             │     │                │                 │
        q1: ─┼─────1:rzx(π/2)─iswap─1:xx_plus_yy(a,0)─1:rccx─
             │                │                       │
        q2: ─0:ecr────────────iswap───────────────────2:rccx─
        """,
    ),
    "custom gates": (
        custom(),
        """
        q0: ─diagonal──0:permutation─rZ(t[1])─────────
                       │             │
        q1: ─1:unitary─1:permutation─┼────────unitary─
             │                       │        │
        q2: ─0:unitary───────────────rX(t[1])─●───────
        """,
    ),
    "barriers": (
        barriers(),
        """
        q0: ─h─┊─h─┊───
               ┊   ┊
        q1: ───┊───┊─x─
                   ┊
        q2: ─────h─┊───
                   ┊
        q3: ───┊─h─┊───
        """,
    ),
    "repeats and global phases": (
        nested(),
        """
        q0: ─|:─|:─ry(w[0])─●─:|x4 shared───:|x3 rev─
             |: |:          │ :|            :|
        q1: ─|:─|:──────────⊕─:|──────────h─:|───────

        global phase: -2*x[0]+π + 3 x [4 x [g]]
        """,
    ),
    "nothing": (Circuit(2), "q0: ─\nq1: ─"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_drawing(name: str) -> None:
    circuit, expected = GOLDEN[name]
    assert circuit.draw() == inspect.cleandoc(expected)


def test_names_of_qubits_are_aligned() -> None:
    lines = Circuit(11).append("h", 9).append("h", 10).draw().splitlines()
    assert (lines[0], lines[9], lines[10]) == (" q0: ───", " q9: ─h─", "q10: ─h─")


def folded() -> Circuit:
    encoding, layer = Circuit(2), Circuit(2)
    for q in range(2):
        encoding = encoding.append("ry", q, X(q) * W("scale", q) + math.pi / 2)
        layer = layer.append("ry", q, W("ansatz", q)).append("rx", q, W("ansatz", q) * (1 - X(0)) * (W("b") + X(10)))
    return encoding + Circuit(2, (Repeat(layer.append("cx", (0, 1)), 3),))


def test_a_long_circuit_is_folded_and_a_long_angle_is_cut() -> None:
    expected = """
    q0: ─ry(x[0]*scale[0]+π/2)─
    q1: ─ry(x[1]*scale[1]+π/2)─

    q0: ─|:─ry(ansatz[0])─rx(-x[0]*x[10]*…)─
         |:
    q1: ─|:─ry(ansatz[1])─rx(-x[0]*x[10]*…)─

    q0: ─●─:|x3─
         │ :|
    q1: ─⊕─:|───
    """
    assert folded().draw(width=40) == inspect.cleandoc(expected)


def test_a_wide_drawing_shows_every_angle() -> None:
    line = folded().draw(width=200).splitlines()[0]
    assert "─rx(-x[0]*x[10]*ansatz[0]-x[0]*ansatz[0]*b+x[10]*ansatz[0]+ansatz[0]*b)─●─" in line


def test_a_long_global_phase_is_cut() -> None:
    circuit = Circuit(1).append("gphase", (), sum((0.5 * X(i) for i in range(30)), constant(0)))
    last = circuit.draw(width=50).splitlines()[-1]
    assert last == "global phase: 0.5*x[0]+0.5*x[1]+0.5*x[2]+…"


# Every gate of the table, under controls and in a Repeat. -----------------------------------------


def long_circuit(name: str) -> Circuit:
    gate = GATES[name]
    long = sum((W(f"parameter{i}") * X(i) for i in range(5)), constant(0.123456789))
    qubits = tuple(range(gate.num_qubits))[::-1]
    body = Circuit(7)
    for controls in ((), (5,), (5, 6)):
        op = operation(
            gate, qubits, *[long] * gate.num_angles, controls=controls, control_values=(0, 1)[: len(controls)]
        )
        body = Circuit(7, (*body.operations, op))
    return Circuit(7, (Repeat(body, 2, reverse=True),)) + body.rename({p: p.upper() for p in body.parameter_shapes})


@pytest.mark.parametrize("name", GATES)
def test_no_drawing_is_wider_than_asked(name: str) -> None:
    circuit = long_circuit(name)
    for width in (40, 57, 80):
        lines = circuit.draw(width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert "".join(lines).count("○") == 4  # one in each operation with controls, Repeat and not
        assert "".join(lines).count(":|x2 rev") == 1


@pytest.mark.parametrize("depth", [1, 4, 12])
def test_starts_of_many_repeats_do_not_make_a_line_too_wide(depth: int) -> None:
    circuit = Circuit(1).append("rx", 0, sum((X(i) for i in range(9)), constant(0)))
    for _ in range(depth):
        circuit = Circuit(1, (Repeat(circuit, 2),))
    lines = circuit.draw(width=40).splitlines()
    assert max(map(len, lines)) <= 40
    assert sum(line.count("|:") for line in lines) == depth


@pytest.mark.parametrize("name", GATES)
def test_every_qubit_of_a_gate_has_one_mark(name: str) -> None:
    for op in long_circuit(name).iter_operations():
        marks = make_marks(op)
        assert sorted(marks) == sorted(op.all_qubits)
        assert [marks[q].kind for q in op.controls] == ["control" if v else "open" for v in op.control_values]


@pytest.mark.parametrize("name", [name for name, gate in GATES.items() if gate.num_qubits > 1])
def test_the_form_of_a_gate_tells_the_truth(name: str) -> None:
    """Controls are controls, what is drawn alike on all qubits is symmetric, and nothing else is."""
    gate = GATES[name]
    angles = tuple(np.asarray(value, np.float32) for value in np.linspace(0.3, 1.1, gate.num_angles))
    matrix = np.asarray(gate.matrix(*angles))
    if name in CONTROLLED:
        num_controls, rest = CONTROLLED[name]
        block = 2 ** (gate.num_qubits - num_controls)
        assert GATES[rest].num_qubits == gate.num_qubits - num_controls
        np.testing.assert_allclose(matrix[:-block, :-block], np.eye(len(matrix) - block), atol=1e-6)
        if gate.num_angles == GATES[rest].num_angles:
            np.testing.assert_allclose(matrix[-block:, -block:], np.asarray(GATES[rest].matrix(*angles)), atol=1e-6)
        return
    marks = make_marks(operation(gate, range(gate.num_qubits), *map(float, angles)))
    symmetric = all(np.allclose(matrix, exchange(matrix, q), atol=1e-6) for q in range(gate.num_qubits - 1))
    assert symmetric == (name in (*SYMMETRIC, "swap"))
    assert [marks[q].place for q in range(gate.num_qubits)] == [None if symmetric else q for q in marks]


def exchange(matrix: np.ndarray, q: int) -> np.ndarray:
    """The matrix of the same gate with its qubits q and q + 1 exchanged."""
    k = len(matrix).bit_length() - 1
    axes = list(range(2 * k))
    for first in (q, k + q):
        axes[first], axes[first + 1] = first + 1, first
    return matrix.reshape((2,) * (2 * k)).transpose(axes).reshape(matrix.shape)


@pytest.mark.parametrize("seed", range(20))
def test_columns_keep_the_order_of_gates(seed: int) -> None:
    """On every qubit the operations stand in the order in which they are applied, and no two overlap in a column."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    operations = []
    for _ in range(30):
        name = str(rng.choice([name for name, gate in GATES.items() if gate.num_qubits <= n]))
        qubits = [int(q) for q in rng.permutation(n)]
        k = GATES[name].num_qubits
        controls = qubits[k : k + int(rng.integers(0, 3))]
        operations.append(operation(name, qubits[:k], *[0.5] * GATES[name].num_angles, controls=controls))
    columns = place_columns(Circuit(n, tuple(operations)))
    for q in range(n):
        drawn = [op for column in columns if isinstance(column, list) for op in column if q in op.all_qubits]
        assert drawn == [op for op in operations if q in op.all_qubits]
    for column in columns:
        assert isinstance(column, list)
        ranges = sorted((min(op.all_qubits), max(op.all_qubits)) for op in column)
        assert all(first[1] < second[0] for first, second in pairwise(ranges))


# Angles. ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (math.pi, "π"),
        (-math.pi, "-π"),
        (math.pi / 2, "π/2"),
        (-3 * math.pi / 4, "-3π/4"),
        (2 * math.pi / 3, "2π/3"),
        (7 * math.pi, "7π"),
        (3.14159, "3.14159"),
        (0.1234567, "0.123457"),
        (-2.5e-7, "-2.5e-07"),
        (1e9 * math.pi, "3.14159e+09"),
    ],
)
def test_show_number(value: float, text: str) -> None:
    assert show_number(value) == text


def test_show_angle() -> None:
    assert show_angle(math.pi * X(0) - W("w", 1) * X(2) - math.pi / 2) == "π*x[0]-x[2]*w[1]-π/2"
    assert show_angle(W("w") * (1 / 3), digits=2) == "0.33*w"
    assert show_angle(W("w") * 0) == "0*w"
    assert show_angle(constant(0)) == "0"


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("x[0]+x[1]", 9, "x[0]+x[1]"),
        ("x[0]+x[1]", 8, "x[0]+…"),
        ("x[0]+2*a_long_name", 12, "x[0]+2*…"),
        ("a_long_name", 8, "a_long_…"),
        ("123.45*x[0]-1e-05*x[1]", 16, "123.45*x[0]-…"),
        ("name", 2, "n…"),
    ],
)
def test_cut(text: str, limit: int, expected: str) -> None:
    assert cut(text, limit) == expected


@pytest.mark.parametrize("width", [10, 39])
def test_width_must_have_room_for_a_gate(width: int) -> None:
    with pytest.raises(UserError, match=f"`width` must be an integer of at least 40; .*, but got {width}"):
        Circuit(2).draw(width=width)


def test_an_operation_is_drawn_by_its_own_place() -> None:
    """A barrier in the middle of a range does not join what is on both sides of it."""
    op = Operation(barrier_gate(2), (0, 2))
    assert Circuit(3, (op,)).draw() == "q0: ─┊─\nq1: ───\nq2: ─┊─"
