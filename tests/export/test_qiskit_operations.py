"""Every kind of operation in Qiskit's form, in QPY, in OpenQASM 3 and on Aer, against dense algebra."""

import io
from dataclasses import replace
from itertools import product
from pathlib import Path

import dense_reference as dense
import numpy as np
import pytest
import qiskit.quantum_info as qi
from dense_reference import Step
from matplotlib.image import imread
from qiskit import QuantumCircuit, qasm3, qpy
from scipy.stats import unitary_group

from qjax.checks import UserError
from qjax.export import to_openqasm, to_qiskit, write_circuits
from qjax.export.aer import simulate_states
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.custom_gates import (
    barrier_gate,
    diagonal_gate,
    pauli_rotation_gate,
    permutation_gate,
    unitary_gate,
)
from qjax.quantum.circuits.gates import GATES

CUSTOM = {
    "unitary": unitary_gate,
    "diagonal": diagonal_gate,
    "permutation": permutation_gate,
    "pauli_rotation": pauli_rotation_gate,
    "barrier": barrier_gate,
}
RNG = np.random.default_rng(0)
# None of them is symmetric under a reversal of its qubits.
CONTENT = {
    "unitary": unitary_group.rvs(4, random_state=1),
    "diagonal": RNG.uniform(-3, 3, size=8),
    "permutation": RNG.permutation(8),
    "pauli_rotation": "XIZY",
}
PATTERNS = [values for count in (1, 2, 3) for values in product((0, 1), repeat=count)]
SOME_CONTROLLED = ["gphase", "x", "p", "ry", "cx", "swap", "cu", "rzx"]


def circuit_of(num_qubits: int, steps: list[Step]) -> Circuit:
    circuit = Circuit(num_qubits)
    for step in steps:
        gate = step.name if step.data is None else CUSTOM[step.name](step.data)
        options = {"controls": step.controls, "control_values": step.control_values} if step.controls else {}
        circuit = circuit.append(gate, step.qubits, *step.angles, **options)
    return circuit


def unitary_of(exported: QuantumCircuit) -> np.ndarray:
    """Qiskit's matrix of a circuit with the bits of both indices reversed: qubit 0 most significant."""
    n = exported.num_qubits
    order = [int(f"{index:0{n}b}"[::-1], 2) for index in range(2**n)]
    return qi.Operator(exported).data[np.ix_(order, order)]


def assert_same_unitary(exported: QuantumCircuit, num_qubits: int, steps: list[Step]) -> None:
    """The global phase included."""
    np.testing.assert_allclose(unitary_of(exported), dense.unitary(num_qubits, steps), atol=1e-9)


def table_step(name: str, num_qubits: int) -> Step:
    """A gate of the table on the last qubits in descending order."""
    qubits = tuple(range(num_qubits))[::-1][: dense.WIDTHS[name]]
    return Step(name, qubits, tuple(0.4 + 0.9 * k for k in range(dense.NUM_ANGLES[name])))


def custom_step(name: str, num_qubits: int, data: object = None) -> Step:
    data = CONTENT[name] if data is None else data
    width = len(data) if isinstance(data, str) else len(data).bit_length() - 1
    angles = (0.7,) if name == "pauli_rotation" else ()
    return Step(name, tuple(range(num_qubits))[::-1][:width], angles, data=data)


def under(step: Step, values: tuple[int, ...]) -> Step:
    """The step under controls 0, 1, ... in an order that is not sorted."""
    controls = tuple(range(len(values)))[::-1] if len(values) != 3 else (1, 2, 0)
    return step._replace(controls=controls, control_values=values)


def width_of(step: Step) -> int:
    return max(len(step.qubits), 1)


def read_back_qpy(exported: QuantumCircuit) -> QuantumCircuit:
    file = io.BytesIO()
    qpy.dump(exported, file)
    file.seek(0)
    return qpy.load(file)[0]


def test_reference_knows_every_gate() -> None:
    assert set(GATES) == set(dense.WIDTHS)
    assert {name: row.num_qubits for name, row in GATES.items()} == dense.WIDTHS


@pytest.mark.parametrize("name", sorted(dense.WIDTHS))
def test_every_gate_of_the_table(name: str) -> None:
    """Alone, and under two controls of which one must be 0."""
    n = dense.WIDTHS[name] + 1
    plain = [table_step(name, n)]
    assert_same_unitary(to_qiskit(circuit_of(n, plain)), n, plain)
    n = width_of(plain[0]) + 2
    controlled = [under(table_step(name, n), (0, 1))]
    exported = to_qiskit(circuit_of(n, controlled))
    assert_same_unitary(exported, n, controlled)
    assert_same_unitary(read_back_qpy(exported), n, controlled)


@pytest.mark.parametrize("name", SOME_CONTROLLED)
def test_every_pattern_of_control_values(name: str) -> None:
    for values in PATTERNS:
        n = max(dense.WIDTHS[name], 1) + len(values)
        steps = [under(table_step(name, n), values)]
        assert_same_unitary(to_qiskit(circuit_of(n, steps)), n, steps)


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_gates_with_content_under_every_pattern(name: str) -> None:
    for values in [(), *PATTERNS]:
        n = len(custom_step(name, 4).qubits) + len(values)
        steps = [under(custom_step(name, n), values)]
        assert_same_unitary(to_qiskit(circuit_of(n, steps)), n, steps)


def test_matrix_of_one_qubit_takes_any_number_of_controls() -> None:
    """Beyond the width of a matrix, so that only the angles of a U gate can be what is written."""
    matrix = unitary_group.rvs(2, random_state=3)
    steps = [Step("unitary", (4,), (), (9, 0, 1, 8, 2, 3, 5, 7, 6), (1, 0, 1, 1, 0, 0, 1, 1, 0), matrix)]
    exported = to_qiskit(circuit_of(10, steps))
    for k in range(4):  # columns: two that the controls choose, one that they do not, and their sum
        column = [0b0100001100 ^ 1, 0, 3, 5][k]
        state = np.zeros(2**10, complex)
        state[[column, 0b0101001111]] = 0.6, 0.8
        ours = dense.run(10, steps, state)
        order = np.arange(2**10).reshape((2,) * 10).transpose().reshape(-1)
        theirs = qi.Statevector(state[order]).evolve(exported).data[order]
        np.testing.assert_allclose(theirs, ours, atol=1e-9)


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        ([Step("x", (0,), (), (1,), (1,))], ["cx"]),
        ([Step("x", (0,), (), (1, 2), (1, 0))], ["ccx_o1"]),
        ([Step("x", (0,), (), (1, 2, 3, 4, 5), (1,) * 5)], ["mcx"]),
        ([Step("p", (0,), (0.3,), (1, 2, 3), (1,) * 3)], ["mcphase"]),
        ([Step("gphase", (), (0.3,), (1, 2, 3), (1,) * 3)], ["mcphase"]),
        ([Step("gphase", (), (0.3,), (2,), (1,))], ["p"]),
        ([Step("gphase", (), (0.3,))], []),
        ([Step("barrier", (0, 2), data=2)], ["barrier"]),
        ([Step("pauli_rotation", (0, 2), (0.3,), data="XZ")], ["PauliEvolution"]),
        ([Step("diagonal", (0, 2), data=CONTENT["diagonal"][:4])], ["diagonal"]),
    ],
)
def test_known_gates_have_their_own_form(steps: list[Step], names: list[str]) -> None:
    exported = to_qiskit(circuit_of(6, steps))
    assert [item.operation.name for item in exported.data] == names


@pytest.mark.parametrize("controls", [(), (2, 0)])
def test_gate_that_qiskit_has_no_name_for_becomes_its_matrix(controls: tuple[int, ...]) -> None:
    unnamed = replace(GATES["ry"], name="unnamed", qiskit=None)
    exported = to_qiskit(Circuit(3).append(unnamed, 1, 0.7, controls=controls))
    steps = [Step("ry", (1,), (0.7,), controls, (1,) * len(controls))]
    np.testing.assert_allclose(unitary_of(exported), dense.unitary(3, steps), atol=1e-6)


@pytest.mark.parametrize("controls", [(), (2, 0)])
def test_matrix_of_float32_is_taken_for_the_unitary_next_to_it(controls: tuple[int, ...]) -> None:
    matrix = unitary_group.rvs(2, random_state=4).astype(np.complex64)
    steps = [Step("unitary", (1,), (), controls, (1,) * len(controls), matrix)]
    exported = to_qiskit(circuit_of(3, steps))
    np.testing.assert_allclose(unitary_of(exported), dense.unitary(3, steps), atol=1e-6)


def test_barrier_is_on_the_qubits_that_it_names() -> None:
    exported = to_qiskit(circuit_of(4, [Step("barrier", (3, 1), data=2)]))
    assert {exported.find_bit(qubit).index for qubit in exported.data[0].qubits} == {1, 3}


def whole_table() -> list[Step]:
    """Every gate of the table, each on other qubits of 5."""
    steps = []
    for k, name in enumerate(sorted(dense.WIDTHS)):
        qubits = tuple((2 * q + k) % 5 for q in range(dense.WIDTHS[name]))
        steps.append(Step(name, qubits, tuple(0.1 + k / 7 + a for a in range(dense.NUM_ANGLES[name]))))
    return steps


def everything_else() -> list[Step]:
    """Controls and gates with content, on 5 qubits, with a Hadamard on each before them."""
    steps = [Step("h", (q,)) for q in range(5)]
    steps += [custom_step(name, 5) for name in sorted(CONTENT)]
    steps += [Step("barrier", (0, 3, 1), data=3), Step("gphase", (), (0.9,))]
    steps += [under(table_step(name, 5), (0, 1)) for name in SOME_CONTROLLED]
    steps += [under(custom_step(name, 5), (0,)) for name in sorted(CONTENT)]
    steps += [under(custom_step("unitary", 5, unitary_group.rvs(2, random_state=5)), (1, 0, 1))]
    return steps


CIRCUITS = {"table": whole_table(), "controls and content": everything_else()}


@pytest.mark.parametrize("steps", CIRCUITS.values(), ids=CIRCUITS)
def test_qpy_openqasm_and_aer_agree(steps: list[Step]) -> None:
    circuit = circuit_of(5, steps)
    exported = to_qiskit(circuit)
    assert_same_unitary(exported, 5, steps)
    assert_same_unitary(read_back_qpy(exported), 5, steps)
    text = to_openqasm(circuit)
    assert "\ngate " not in text  # only gates that the standard file defines
    assert_same_unitary(qasm3.loads(text), 5, steps)
    theirs = simulate_states([exported])[0]
    np.testing.assert_allclose(theirs, dense.run(5, steps), atol=1e-9)


def test_drawing_of_everything_keeps_to_its_columns(tmp_path: Path) -> None:
    """Qiskit would write the 8 complex entries of the diagonal gate into one box."""
    write_circuits(tmp_path, [circuit_of(5, everything_else())], ["everything"])
    text = (tmp_path / "circuit.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 100
    assert all(word in text for word in ("diagonal", "Unitary", "global phase: 0.9", "░"))
    assert np.ptp(imread(tmp_path / "circuit.png")[..., :3]) > 0.5  # not a blank page


def test_openqasm_says_a_global_phase() -> None:
    text = to_openqasm(Circuit(1).append("gphase", (), 0.125).append("x", 0).append("gphase", (), 0.125))
    assert text.splitlines()[1:] == ['include "stdgates.inc";', "qubit[1] q;", "x q[0];", "gphase(0.25);"]
    assert "gphase" not in to_openqasm(Circuit(1).append("x", 0))


def test_openqasm_borrows_no_qubit_that_it_takes_for_zero() -> None:
    """Qubits 5 and 6 are idle, and Qiskit could save gates by trusting that they begin in |0>."""
    steps = [Step("x", (0,), (), (1, 2, 3, 4), (1, 1, 0, 1))]
    assert_same_unitary(qasm3.loads(to_openqasm(circuit_of(7, steps))), 7, steps)


@pytest.mark.parametrize(
    ("gate", "num_controls"), [(permutation_gate(np.arange(512)), 0), (unitary_gate(np.eye(4)[::-1]), 7)]
)
def test_wide_matrix_is_refused(gate: object, num_controls: int) -> None:
    width = 9 - num_controls
    circuit = Circuit(9).append(gate, tuple(range(width)), controls=tuple(range(width, 9)))
    expected = rf"`circuit` must have no '{gate.name}' gate on more than 8 qubits.*, but got one on 9"
    with pytest.raises(UserError, match=expected):
        to_qiskit(circuit)
