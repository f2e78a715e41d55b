"""Aer as a referee must be right itself."""

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import Statevector
from qiskit_aer.library import SaveStatevector

from qjax.export.aer import make_simulator, simulate_states
from qjax.export.circuits import from_qiskit_state


def misfused(num_qubits: int) -> QuantumCircuit:
    """A circuit whose state Aer 0.18.2 gets wrong when it fuses gates: 1 - F = 0.39."""
    rng, circuit = np.random.default_rng(0), QuantumCircuit(num_qubits)
    for qubit in range(num_qubits):
        circuit.u(*rng.uniform(-np.pi, np.pi, 3), qubit)
    circuit.swap(2, 6)
    circuit.x(6)
    circuit.y(6)
    circuit.sdg(6)
    return circuit


def test_simulator_is_right_where_fusion_would_start_at_one_qubit() -> None:
    circuit = misfused(8)
    expected = Statevector(circuit).data
    circuit.append(SaveStatevector(8), range(8))
    found = make_simulator(fusion_threshold=1).run(circuit, shots=1).result().get_statevector()
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-12)


def test_states_that_validation_compares_with_are_right() -> None:
    circuit = misfused(15)  # by default fusion starts above 14 qubits
    found = simulate_states([circuit])[0]
    np.testing.assert_allclose(found, from_qiskit_state([Statevector(circuit).data])[0], atol=1e-12)
