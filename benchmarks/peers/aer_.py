"""Qiskit Aer's statevector simulator: C++ kernels, single precision, fused gates; no gradients of its own.

Circuits hold only gates that Aer runs as they are, so that nothing is transpiled. A batch is one circuit with Aer's
own table of parameters. Forms: Aer's automatic fusion, and fusion off.

Aer 0.18's fusion is wrong for some circuits (see `qjax.export.aer.make_simulator`). It stays among the forms because
Aer is often faster with it: every result here is compared with qjax's and the reference's, and no ratio is claimed
for a wrong one.
"""

from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Pauli
from qiskit_aer import AerSimulator

from benchmarks.case import Case, Ref
from benchmarks.matrices import gate_matrix
from benchmarks.peers.base import Form, Run, Unsupported, rows_of, values_of, versions_of

# What Aer does not run as it is.
_AS_MATRICES = {"ch", "cs", "csdg", "iswap", "dcx", "xx_plus_yy", "xx_minus_yy", "rccx"}


def versions() -> dict[str, str]:
    return versions_of("qiskit-aer", "qiskit", "numpy")


def forms(case: Case) -> dict[str, Form]:
    if case.compile_only:
        raise Unsupported("nothing is compiled")
    if case.kind == "grover":
        raise Unsupported("no reflections; the search gate by gate is run instead")
    makers: dict[str, Any] = {
        "expectation": _expectation,
        "accuracy": _expectation,
        "state": _state,
        "grover_gates": _grover,
    }
    if case.kind not in makers:
        raise Unsupported("no gradients of its own")
    make = makers[case.kind]
    found = {
        "fusion automatic": lambda case: make(case, _simulator()),
        "fusion off": lambda case: make(case, _simulator(False)),
    }
    if case.kind == "state":
        found["fusion to 3 qubits"] = lambda case: make(case, _simulator(fusion_max_qubit=3))
    return found


def _simulator(fusion: bool = True, **options: Any) -> AerSimulator:
    return AerSimulator(method="statevector", precision="single", fusion_enable=fusion, **options)


def _circuit(case: Case, inputs: Any = None) -> QuantumCircuit:
    """The case's circuit, its qubits reversed: Qiskit's qubit 0 is the least significant bit."""
    n, circuit = case.num_qubits, QuantumCircuit(case.num_qubits)
    for op in case.operations:
        angles = [
            inputs[a.index] if isinstance(a, Ref) and a.kind == "x" else float(values_of(op, case.weights, None)[i])
            for i, a in enumerate(op.angles)
        ]
        places = [n - 1 - q for q in op.qubits]
        if op.gate in _AS_MATRICES:
            matrix = gate_matrix(np, op.gate, tuple(np.asarray(a) for a in angles))
            circuit.unitary(matrix, places[::-1])
        else:
            getattr(circuit, op.gate)(*angles, *places)
    return circuit


def _expectation(case: Case, simulator: AerSimulator) -> Run:
    n, rows = case.num_qubits, rows_of(case)
    inputs = ParameterVector("x", case.num_inputs) if case.num_inputs else None
    circuit = _circuit(case, inputs)
    for k, places in enumerate(case.observables):
        letters = "".join("Z" if q in places else "I" for q in range(n))
        circuit.save_expectation_value(Pauli(letters), list(range(n)), label=f"o{k}")
    binds = [{inputs[i]: [float(row[i]) for row in rows] for i in range(case.num_inputs)}] if inputs else None

    def call() -> Any:
        result = simulator.run(circuit, parameter_binds=binds).result()
        return [[result.data(i)[f"o{k}"] for k in range(len(case.observables))] for i in range(len(rows))]

    def result(out: Any) -> dict[str, np.ndarray]:
        if case.kind == "accuracy":
            return {"value": np.asarray((np.asarray(out) @ np.asarray(case.coefficients)).mean())}
        return {"expectations": np.asarray(out)}

    return Run(call, result)


def _state(case: Case, simulator: AerSimulator) -> Run:
    circuit, scale = _circuit(case), 2 ** (case.num_qubits / 2)
    places = sorted(set(case.amplitude_indices.tolist()))
    order = np.searchsorted(places, case.amplitude_indices)
    circuit.save_amplitudes(places)

    def call() -> Any:
        return np.asarray(simulator.run(circuit).result().data(0)["amplitudes"])

    return Run(call, lambda out: {"amplitudes": out[order] * scale})


def _grover(case: Case, simulator: AerSimulator) -> Run:
    """Hadamard gates and Aer's own multi-controlled phase; open controls between X gates."""
    n, circuit = case.num_qubits, QuantumCircuit(case.num_qubits)

    def flip(state: int) -> None:
        opened = [q for q in range(n) if not (state >> q) & 1]
        if opened:
            circuit.x(opened)
        circuit.mcp(np.pi, list(range(1, n)), 0)
        if opened:
            circuit.x(opened)

    circuit.h(range(n))
    for _ in range(case.num_iterations):
        flip(case.marked)
        circuit.h(range(n))
        flip(0)
        circuit.h(range(n))
    circuit.save_amplitudes([case.marked])

    def call() -> Any:
        return simulator.run(circuit).result().data(0)["amplitudes"][0]

    return Run(call, lambda out: {"probability": np.asarray(abs(complex(out)) ** 2)})
