"""Circuits, states and observables in Qiskit's form, against dense algebra written out here."""

import subprocess
import sys
from functools import reduce

import numpy as np
import pytest
import qiskit.quantum_info as qi

from qjax.checks import UserError
from qjax.export import from_qiskit_state, to_qiskit, to_qiskit_observable, to_qiskit_state, validate
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.measure.observables import PauliString, PauliSum
from qjax.quantum.templates.ansatz import hardware_efficient
from qjax.quantum.templates.encodings import angle_encoding

PAULIS = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}


def kron(*factors: np.ndarray) -> np.ndarray:
    """Tensor product whose first factor is qubit 0, the most significant bit."""
    return reduce(np.kron, factors)


def rotation(letter: str, angle: float) -> np.ndarray:
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * PAULIS[letter]


def on_two_qubits(matrix: np.ndarray, qubits: tuple[int, int], num_qubits: int) -> np.ndarray:
    """A 4 x 4 matrix on two of n qubits, element by element."""
    full = np.zeros((2**num_qubits, 2**num_qubits), dtype=complex)
    for column in range(2**num_qubits):
        bits = [(column >> (num_qubits - 1 - q)) & 1 for q in range(num_qubits)]
        for out in range(4):
            new = list(bits)
            new[qubits[0]], new[qubits[1]] = out >> 1, out & 1
            row = sum(bit << (num_qubits - 1 - q) for q, bit in enumerate(new))
            full[row, column] += matrix[out, 2 * bits[qubits[0]] + bits[qubits[1]]]
    return full


def asymmetric() -> tuple[Circuit, np.ndarray]:
    """A circuit on 3 qubits that no relabelling of them leaves alone, and its state by dense algebra."""
    circuit = Circuit(3).append("ry", 0, 0.3).append("rx", 1, 1.1).append("ry", 2, 2.0)
    circuit = circuit.append("cx", (0, 2)).append("crx", (2, 1), 0.7)
    product = kron(rotation("Y", 0.3), rotation("X", 1.1), rotation("Y", 2.0))
    cx = np.eye(4)[[0, 1, 3, 2]]
    crx = np.kron(np.diag([1, 0]), np.eye(2)) + np.kron(np.diag([0, 1]), rotation("X", 0.7))
    return circuit, (on_two_qubits(crx, (2, 1), 3) @ on_two_qubits(cx, (0, 2), 3) @ product)[:, 0]


def test_qubit_order_is_not_symmetric() -> None:
    """Two qubits swapped anywhere in the export must show: in the state, in an expectation, in the shots."""
    circuit, expected = asymmetric()
    swapped = expected.reshape(2, 2, 2)
    for axes in ((1, 0, 2), (0, 2, 1), (2, 1, 0)):
        assert np.abs(swapped.transpose(axes).reshape(-1) - expected).max() > 0.1
    exported = qi.Statevector(to_qiskit(circuit))
    np.testing.assert_allclose(from_qiskit_state(exported.data), expected, atol=1e-12)
    for paulis in ("ZII", "IZI", "IIZ", "XYZ", "IZX"):
        dense = np.vdot(expected, kron(*(PAULIS[letter] for letter in paulis)) @ expected).real
        ours = exported.expectation_value(to_qiskit_observable(PauliString(paulis))).real
        assert ours == pytest.approx(dense, abs=1e-12)
    probabilities = exported.probabilities([0])  # Qiskit's qubit 0 alone
    assert probabilities[1] == pytest.approx(np.sin(0.15) ** 2, abs=1e-12)
    assert validate([circuit], [PauliString("ZII"), PauliString("IZX")])["passed"]


def test_repeat_is_written_out_and_angles_keep_every_digit() -> None:
    circuit = angle_encoding(2) + hardware_efficient(2, 3)
    params = {"ansatz": np.linspace(0.1, 1.2, 12).reshape(3, 2, 2)}
    bound = circuit.bind(params, np.array([0.1, 1 / 3]))
    exported = to_qiskit(bound)
    assert dict(exported.count_ops()) == circuit.counts()
    angles = [float(item.operation.params[0]) for item in exported.data if item.operation.params]
    assert angles[:2] == [0.1, 1 / 3]
    np.testing.assert_array_equal(sorted(angles[2:]), params["ansatz"].ravel())


def test_measured_circuit_reads_qubit_q_into_bit_q() -> None:
    exported = to_qiskit(Circuit(3).append("x", 1), measure=True)
    pairs = {
        (exported.find_bit(item.qubits[0]).index, exported.find_bit(item.clbits[0]).index)
        for item in exported.data
        if item.operation.name == "measure"
    }
    assert pairs == {(0, 0), (1, 1), (2, 2)}


def test_unbound_circuit_is_refused() -> None:
    circuit = angle_encoding(3) + hardware_efficient(3, 1)
    with pytest.raises(UserError, match=r"`circuit` must be bound .* of parameter 'ansatz' and 3 inputs"):
        to_qiskit(circuit)
    with pytest.raises(UserError, match="`circuit` must be bound"):
        to_qiskit(angle_encoding(3))


def test_state_reversal_of_a_batch_undoes_itself() -> None:
    states = np.arange(16).reshape(2, 8)
    ours = to_qiskit_state(states)
    assert ours[1].tolist() == [8, 12, 10, 14, 9, 13, 11, 15]  # index 0b001 becomes 0b100
    np.testing.assert_array_equal(from_qiskit_state(ours), states)


@pytest.mark.parametrize("shape", [(6,), (2, 0), ()])
def test_state_of_another_length_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"`state` must have the shape \[..., 2\*\*n\]"):
        to_qiskit_state(np.zeros(shape))


def test_observable_is_the_same_matrix_up_to_the_reversal() -> None:
    observable = PauliSum.from_text("0.5 XZI - ZZY")
    dense = 0.5 * kron(PAULIS["X"], PAULIS["Z"], PAULIS["I"]) - kron(PAULIS["Z"], PAULIS["Z"], PAULIS["Y"])
    order = [int(f"{index:03b}"[::-1], 2) for index in range(8)]
    np.testing.assert_allclose(to_qiskit_observable(observable).to_matrix(), dense[np.ix_(order, order)])
    assert to_qiskit_observable(PauliString("ZIX")).paulis.to_labels() == ["XIZ"]


def test_import_does_not_load_qiskit() -> None:
    code = "import sys, qjax.export; sys.exit('qiskit' in sys.modules or 'qiskit_aer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
