"""qulacs: C++ kernels in complex128 (it has no other), gradients by `backprop`, its adjoint method.

A `ParametricQuantumCircuit` is built once; a call sets its angles and runs it, example by example, since qulacs has
no batch. Qubit 0 is the least significant bit there, and rotations have the other sign. What it cannot differentiate
is written in what it can: u as three rotations, crx and cry as rotations and CZs.

Grover's search: 'StateReflection, both' (qulacs' own reflection gate for oracle and diffuser) and 'controlled Z, then
StateReflection' (n = 20, 50 iterations, one core: about 1.9 times faster), of which the faster one counts. Gate by
gate, Hadamards fused into matrices on 2 or 4 qubits were 3 to 12 times slower than one by one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from qulacs import Observable, ParametricQuantumCircuit, QuantumCircuit, QuantumState, gate
from qulacs.circuit import QuantumCircuitOptimizer

from benchmarks.case import Case, Op, Ref, without_u
from benchmarks.matrices import FIXED, gate_matrix
from benchmarks.peers.base import Form, Result, Run, Unsupported, gradient_result, rows_of, values_of, versions_of

_NAMED = {name: name.upper() for name in ("h", "x", "y", "z", "s", "t", "cz", "swap")}
_NAMED |= {"sdg": "Sdag", "tdg": "Tdag", "sx": "sqrtX", "sxdg": "sqrtXdag"}
_NAMED |= {"cx": "CNOT", "ccx": "TOFFOLI", "cswap": "FREDKIN"}
Slots = list[tuple[int, float]]  # for each parameter of the circuit: which differentiated angle, and its factor


def versions() -> dict[str, str]:
    return versions_of("qulacs", "numpy")


def forms(case: Case) -> dict[str, Form]:
    if case.inputs_are == "states":
        raise Unsupported("`backprop` starts from |0...0>, and there is no matrix of a circuit")
    if case.kind == "step":
        raise Unsupported("no gradient inside a jitted JAX step without leaving it for every example")
    if case.compile_only:
        raise Unsupported("nothing is compiled")
    if case.kind == "grover":
        return {
            "StateReflection, both": lambda case: _search(case, _reflection, _uniform_reflection),
            "controlled Z, then StateReflection": lambda case: _search(case, _controlled_flip, _uniform_reflection),
        }
    if case.kind == "grover_gates":
        return {"gates": lambda case: _search(case, _controlled_flip, _diffuser_gates)}
    if case.kind == "state":
        fused = {f"fused to {k} qubits": (lambda case, k=k: _state(case, k)) for k in (2, 3)}
        return {"gates": lambda case: _state(case, 0), "fused lightly": lambda case: _state(case, 1)} | fused
    return {"zero probabilities": _expectation} if case.kind == "expectation" else {"backprop": _gradient}


# Parametric circuits ---------------------------------------------------------------------------------------------


def _parametric(case: Case) -> tuple[ParametricQuantumCircuit, Slots]:
    """Returns the circuit and what each of its parameters is: (which differentiated angle, factor)."""
    n, circuit = case.num_qubits, ParametricQuantumCircuit(case.num_qubits)
    slots: Slots = []
    angle = 0

    def rotate(name: str, q: int, factor: float) -> None:
        getattr(circuit, f"add_parametric_{name}_gate")(n - 1 - q, 0.0)
        slots.append((angle, -factor))

    for op in case.operations:
        for ref in op.angles:
            if not isinstance(ref, Ref):
                raise Unsupported("a fixed angle in a circuit that is differentiated")
        _add(circuit, op, n, rotate, slots, angle)
        angle += len(op.angles)
    return circuit, slots


def _add(circuit: Any, op: Op, n: int, rotate: Callable[[str, int, float], None], slots: Slots, angle: int) -> None:
    places = [n - 1 - q for q in op.qubits]
    if op.gate in ("rx", "ry", "rz"):
        rotate(op.gate.upper(), op.qubits[0], 1.0)
    elif op.gate in ("rzz", "pauli"):
        letters = ["XYZ".index(letter) + 1 for letter in op.letters or "ZZ"]
        circuit.add_parametric_multi_Pauli_rotation_gate(places, letters, 0.0)
        slots.append((angle, -1.0))
    elif op.gate in ("crx", "cry"):
        target, turn = op.qubits[1], op.gate[1:].upper()
        # CZ turns the sign of RX and of RY alike.
        rotate(turn, target, 0.5)
        circuit.add_CZ_gate(*places)
        rotate(turn, target, -0.5)
        circuit.add_CZ_gate(*places)
    elif op.gate in ("h", "x"):
        getattr(circuit, f"add_{op.gate.upper()}_gate")(places[0])
    elif op.gate == "cx":
        circuit.add_CNOT_gate(*places)
    elif op.gate == "cz":
        circuit.add_CZ_gate(*places)
    else:
        circuit.add_gate(gate.DenseMatrix(places[::-1], FIXED[op.gate]))


def _angles(case: Case, row: Any) -> np.ndarray:
    """`[angles]` in the order of the operations."""
    return np.asarray([value for op in case.operations for value in values_of(op, case.weights, row)])


def _set(circuit: Any, slots: Slots, angles: np.ndarray) -> None:
    for place, (angle, factor) in enumerate(slots):
        circuit.set_parameter(place, factor * angles[angle])


def _expectation(case: Case) -> Run:
    case = without_u(case)
    n, rows, (circuit, slots) = case.num_qubits, rows_of(case), _parametric(case)
    psi = QuantumState(n)
    if any(len(places) > 1 for places in case.observables):
        raise Unsupported("only Z of single qubits is written for it")

    def call() -> Any:
        out = []
        for row in rows:
            _set(circuit, slots, _angles(case, row))
            psi.set_zero_state()
            circuit.update_quantum_state(psi)
            out.append([2 * psi.get_zero_probability(n - 1 - places[0]) - 1 for places in case.observables])
        return out

    return Run(call, lambda out: {"expectations": np.asarray(out)})


def _gradient(case: Case) -> Run:
    case = without_u(case)
    n, rows, (circuit, slots) = case.num_qubits, rows_of(case), _parametric(case)
    loss, psi = Observable(n), QuantumState(n)
    for places, coefficient in zip(case.observables, case.coefficients, strict=True):
        loss.add_operator(coefficient, " ".join(f"Z {n - 1 - q}" for q in places))
    count = sum(len(op.angles) for op in case.operations)

    def call() -> Any:
        values, grads = [], []
        for row in rows:
            _set(circuit, slots, _angles(case, row))
            psi.set_zero_state()
            circuit.update_quantum_state(psi)
            values.append(loss.get_expectation_value(psi))
            grads.append(circuit.backprop(loss))
        return values, grads

    def result(out: Any) -> Result:
        flat = np.zeros((len(rows), count))
        for place, (angle, factor) in enumerate(slots):
            flat[:, angle] += factor * np.asarray(out[1])[:, place]
        return gradient_result(case, out[0], flat)

    return Run(call, result)


# States and searches ---------------------------------------------------------------------------------------------


def _state(case: Case, block: int) -> Run:
    """A fixed circuit, fused by qulacs' optimizer into gates on up to `block` qubits; 1: lightly; 0: not."""
    n, circuit = case.num_qubits, QuantumCircuit(case.num_qubits)
    for op in case.operations:
        places, angles = [n - 1 - q for q in op.qubits], tuple(np.asarray(a) for a in op.angles)
        if op.gate in _NAMED:
            circuit.add_gate(getattr(gate, _NAMED[op.gate])(*places))
        elif op.gate in ("rx", "ry", "rz"):
            circuit.add_gate(getattr(gate, op.gate.upper())(*places, -op.angles[0]))
        else:
            circuit.add_gate(gate.DenseMatrix(places[::-1], gate_matrix(np, op.gate, angles)))
    if block == 1:
        QuantumCircuitOptimizer().optimize_light(circuit)
    elif block:
        QuantumCircuitOptimizer().optimize(circuit, block)
    psi, scale = QuantumState(n), 2 ** (n / 2)

    def call() -> Any:
        psi.set_zero_state()
        circuit.update_quantum_state(psi)
        if n < 16:
            return psi.get_vector()[case.amplitude_indices]
        return [psi.get_amplitude(int(index)) for index in case.amplitude_indices]

    return Run(call, lambda out: {"amplitudes": np.asarray(out) * scale})


def _uniform(n: int) -> QuantumState:
    psi, hadamards = QuantumState(n), QuantumCircuit(n)
    for q in range(n):
        hadamards.add_H_gate(q)
    hadamards.update_quantum_state(psi)
    return psi


def _reflection(case: Case) -> list[Any]:
    psi = QuantumState(case.num_qubits)
    psi.set_computational_basis(case.marked)
    return [gate.StateReflection(psi)]


def _uniform_reflection(case: Case) -> list[Any]:
    return [gate.StateReflection(_uniform(case.num_qubits))]


def _controlled_flip(case: Case, state: int | None = None) -> list[Any]:
    """Sign flip of one basis state: a one-qubit gate under controls on all other qubits."""
    bits = case.marked if state is None else state
    flip = gate.DenseMatrix(0, np.diag([1, -1] if bits & 1 else [-1, 1]).astype(complex))
    for q in range(1, case.num_qubits):
        flip.add_control_qubit(q, (bits >> q) & 1)
    return [flip]


def _diffuser_gates(case: Case) -> list[Any]:
    hadamards = [gate.H(q) for q in range(case.num_qubits)]
    return [*hadamards, *_controlled_flip(case, 0), *hadamards]


def _search(case: Case, oracle: Callable[[Case], list[Any]], diffuser: Callable[[Case], list[Any]]) -> Run:
    start, psi = _uniform(case.num_qubits), QuantumState(case.num_qubits)
    gates = oracle(case) + diffuser(case)

    def call() -> Any:
        psi.load(start)
        for _ in range(case.num_iterations):
            for step in gates:
                step.update_quantum_state(psi)
        return abs(psi.get_amplitude(case.marked)) ** 2

    return Run(call, lambda out: {"probability": np.asarray(out)})
