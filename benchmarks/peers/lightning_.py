"""PennyLane's lightning.qubit: C++ kernels and adjoint gradients, complex64.

Measured on one core, W2 at n = 20, 4 layers: complex64 0.64 s, complex128 2.9 s. A tape handed to the device costs
0.64 s, the same circuit as a QNode 0.67 s, so tapes are used: all of a batch in one call, with no interface between.
The loss is one observable (a weighted sum of Pauli words), since the adjoint method pays for each observable.
Lightning has no batch of its own. On all cores `OMP_NUM_THREADS` is the number of cores.
"""

from typing import Any

import numpy as np
import pennylane as qml
from pennylane.devices import ExecutionConfig
from pennylane.tape import QuantumScript

from benchmarks.case import Case, Op, Ref, without_u
from benchmarks.peers.base import Form, Result, Run, Unsupported, gradient_result, rows_of, values_of, versions_of
from benchmarks.peers.pennylane_ import GATES


def versions() -> dict[str, str]:
    return versions_of("pennylane", "pennylane_lightning", "numpy")


def forms(case: Case) -> dict[str, Form]:
    if case.kind == "grover":
        raise Unsupported("no reflections; the search gate by gate is run instead")
    if case.kind == "unitary":
        raise Unsupported("no matrix of a circuit")
    if case.kind == "step":
        raise Unsupported("no gradient inside a jitted JAX step without leaving it for every example")
    if case.compile_only:
        raise Unsupported("nothing is compiled")
    if case.kind == "grover_gates":
        return {"gates": _grover}
    if case.kind == "state":
        return {"gates": _state}
    return {"adjoint": _adjoint} if case.kind != "expectation" else {"tapes": _expectation}


def _device(case: Case) -> Any:
    """A device in complex64; in complex128 for UCCSD, whose thousands of gates put complex64 off by 3e-4."""
    precise = any(op.gate == "pauli" for op in case.operations)
    return qml.device("lightning.qubit", wires=case.num_qubits, c_dtype=np.complex128 if precise else np.complex64)


def _operations(case: Case, weights: Any, row: Any) -> list[Any]:
    out = [qml.StatePrep(row, wires=range(case.num_qubits))] if case.inputs_are == "states" else []
    for op in case.operations:
        values = values_of(op, weights, row)
        out += _pauli(op, values[0]) if op.gate == "pauli" else [GATES[op.gate](*values, wires=op.qubits)]
    return out


def _pauli(op: Op, angle: Any) -> list[Any]:
    """A Pauli rotation as changes of basis around MultiRZ: the adjoint derivative of `PauliRot` is 0 on tapes."""
    places = list(zip(op.letters, op.qubits, strict=True))
    into = [qml.adjoint(qml.S(q)) for x, q in places if x == "Y"]
    back = [qml.S(q) for x, q in places if x == "Y"]
    swap = [qml.Hadamard(q) for x, q in places if x != "Z"]
    return [*into, *swap, qml.MultiRZ(angle, wires=op.qubits), *swap, *back]


def _word(places: tuple[int, ...]) -> Any:
    return qml.prod(*(qml.Z(q) for q in places)) if len(places) > 1 else qml.Z(places[0])


def _trainable(case: Case) -> list[int]:
    """Positions, among all parameters of a tape, of the angles that are differentiated."""
    out, place = [], int(case.inputs_are == "states")  # the state that is prepared is the first parameter
    for op in case.operations:
        for angle in op.angles:
            if isinstance(angle, Ref):
                out.append(place)
            place += 1
    return out


def _adjoint(case: Case) -> Run:
    device, config = _device(case), ExecutionConfig(gradient_method="adjoint", use_device_gradient=True)
    loss = qml.Hamiltonian(list(case.coefficients), [_word(places) for places in case.observables])
    case = without_u(case)  # U3 has no adjoint derivative in lightning
    rows, weights, trainable = rows_of(case), case.weights, _trainable(case)

    def call() -> Any:
        tapes = []
        for row in rows:
            tape = QuantumScript(_operations(case, weights, row), [qml.expval(loss)])
            tape.trainable_params = trainable
            tapes.append(tape)
        return device.execute_and_compute_derivatives(tuple(tapes), config)

    def result(out: Any) -> Result:
        values, jacobians = out
        flat = np.stack([np.ravel(np.asarray(j, np.float64)) for j in jacobians])
        return gradient_result(case, np.asarray(values, np.float64).reshape(-1), flat)

    return Run(call, result)


def _expectation(case: Case) -> Run:
    device, rows = _device(case), rows_of(case)
    measured = [qml.expval(_word(places)) for places in case.observables]

    def call() -> Any:
        return device.execute(tuple(QuantumScript(_operations(case, case.weights, row), measured) for row in rows))

    return Run(call, lambda out: {"expectations": np.asarray(out, np.float64).reshape(len(rows), -1)})


def _state(case: Case) -> Run:
    device, places = _device(case), case.amplitude_indices
    tape = QuantumScript(_operations(case, None, None), [qml.state()])
    scale = 2 ** (case.num_qubits / 2)
    return Run(lambda: np.ravel(device.execute(tape))[places], lambda out: {"amplitudes": out * scale})


def _grover(case: Case) -> Run:
    """Hadamard gates, and Z under controls on all other qubits (lightning has controlled kernels for it)."""
    n, device = case.num_qubits, _device(case)
    controls = list(range(n - 1))

    def flip(state: int) -> list[Any]:
        bits = [(state >> (n - 1 - q)) & 1 for q in range(n)]
        sign = [qml.X(n - 1)] if bits[-1] == 0 else []
        return [*sign, qml.ctrl(qml.Z(n - 1), controls, control_values=bits[:-1]), *sign]

    hadamards = [qml.Hadamard(q) for q in range(n)]
    step = [*flip(case.marked), *hadamards, *flip(0), *hadamards]
    tape = QuantumScript(hadamards + step * case.num_iterations, [qml.state()])
    return Run(
        lambda: device.execute(tape),
        lambda out: {"probability": np.asarray(abs(np.asarray(out).reshape(-1)[case.marked]) ** 2)},
    )
