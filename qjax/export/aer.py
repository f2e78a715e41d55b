"""Runs of circuits on Qiskit Aer's statevector simulator, given back in our order of bits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qjax.export.circuits import from_qiskit_state

if TYPE_CHECKING:
    import qiskit
    import qiskit_aer


def make_simulator(**options: Any) -> "qiskit_aer.AerSimulator":
    """Returns Aer's statevector simulator in double precision, without gate fusion; `options` are Aer's own.

    Aer 0.18.2's fusion gives wrong states: after `u` on every qubit, swap(2, 6), x(6), y(6), sdg(6) has a fidelity of
    0.61 on 15 qubits and more, and on any number where `fusion_threshold` lets fusion start.
    """
    from qiskit_aer import AerSimulator

    return AerSimulator(**options, method="statevector", precision="double", fusion_enable=False)


def simulate_states(circuits: "Sequence[qiskit.QuantumCircuit]") -> np.ndarray:
    """Returns Aer's state of each circuit `[circuits, 2**n]`, complex128, qubit 0 most significant."""
    from qiskit_aer.library import SaveStatevector

    jobs = []
    for circuit in circuits:
        jobs.append(circuit.copy())
        jobs[-1].append(SaveStatevector(circuit.num_qubits), range(circuit.num_qubits))
    result = _run_aer(jobs, shots=1, seed=0)
    return from_qiskit_state([np.asarray(result.data(k)["statevector"]) for k in range(len(jobs))])


def simulate_shots(
    circuits: "Sequence[qiskit.QuantumCircuit]", bases: Sequence[str], *, shots: int, seed: int
) -> np.ndarray:
    """Returns Aer's frequency of each outcome `[circuits, bases, 2**n]`, qubit 0 most significant.

    Args:
      circuits: without measurements.
      bases: settings, one letter of I, X, Y, Z a qubit, qubit 0 first.
      shots: of each circuit in each setting.
      seed: Aer's, which derives a seed of its own for each of them.
    """
    jobs = [_measured(circuit, basis) for circuit in circuits for basis in bases]
    result = _run_aer(jobs, shots=shots, seed=seed)
    frequencies = np.zeros((len(jobs), 2 ** len(bases[0])))
    for k in range(len(jobs)):
        for bits, count in result.get_counts(k).items():
            frequencies[k, int(bits[::-1], 2)] = count / shots  # Qiskit writes qubit 0 last
    return frequencies.reshape(len(circuits), len(bases), -1)


def _measured(circuit: "qiskit.QuantumCircuit", basis: str) -> "qiskit.QuantumCircuit":
    """Returns the circuit with each qubit rotated into the basis, and measured into the bit of its number."""
    measured = circuit.copy()
    for qubit, letter in enumerate(basis):
        if letter == "Y":
            measured.sdg(qubit)
        if letter in "XY":
            measured.h(qubit)
    measured.measure_all()
    return measured


def _run_aer(jobs: "list[qiskit.QuantumCircuit]", *, shots: int, seed: int) -> Any:
    from qiskit import transpile

    simulator = make_simulator()
    # In this process: Qiskit's workers are forked, which a process with JAX's threads must not do.
    prepared = transpile(jobs, simulator, optimization_level=0, num_processes=1)
    return simulator.run(prepared, shots=shots, seed_simulator=seed).result()
