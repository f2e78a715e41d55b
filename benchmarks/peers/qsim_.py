"""qsim through Cirq: fused gates, complex64, no gradients of its own.

Forms: the largest fused gate on 2, 3 or 4 qubits. Its translation of a circuit is kept between calls
(`circuit_memoization_size`), and the state comes back as one array (`simulate_into_1d_array`).
"""

import os
from typing import Any

import cirq
import numpy as np
import qsimcirq

from benchmarks.case import Case, Ref
from benchmarks.matrices import gate_matrix
from benchmarks.peers.base import Form, Run, Unsupported, rows_of, values_of, versions_of

_TURNS = {"rx": cirq.rx, "ry": cirq.ry, "rz": cirq.rz}


def versions() -> dict[str, str]:
    return versions_of("qsimcirq", "cirq-core", "numpy")


def forms(case: Case) -> dict[str, Form]:
    if case.compile_only:
        raise Unsupported("nothing is compiled")
    makers: dict[str, Any] = {
        "expectation": _expectation,
        "accuracy": _expectation,
        "state": _state,
        "grover_gates": _grover,
    }
    if case.kind == "grover":
        raise Unsupported("no reflections; the search gate by gate is run instead")
    if case.kind not in makers:
        raise Unsupported("no gradients of its own")
    make = makers[case.kind]
    sizes = (2, 4) if case.num_qubits < 16 else (2, 3, 4)
    return {f"fused to {size} qubits": (lambda case, size=size: make(case, _simulator(size))) for size in sizes}


def _simulator(size: int) -> qsimcirq.QSimSimulator:
    threads = len(os.sched_getaffinity(0))
    options = qsimcirq.QSimOptions(max_fused_gate_size=size, cpu_threads=threads)
    return qsimcirq.QSimSimulator(options, circuit_memoization_size=4)


def _operations(case: Case, symbols: bool) -> list[Any]:
    qubits, out = cirq.LineQubit.range(case.num_qubits), []
    for op in case.operations:
        targets = [qubits[q] for q in op.qubits]
        if op.gate == "cx":
            out.append(cirq.CNOT(*targets))
        elif op.gate == "cz":
            out.append(cirq.CZ(*targets))
        elif op.gate in _TURNS:
            angle = op.angles[0]
            if symbols and isinstance(angle, Ref) and angle.kind == "x":
                import sympy

                turn: Any = sympy.Symbol(f"x{angle.index}")
            else:
                turn = values_of(op, case.weights, None)[0]
            out.append(_TURNS[op.gate](turn)(targets[0]))
        else:
            matrix = gate_matrix(np, op.gate, tuple(np.asarray(a) for a in op.angles))
            out.append(cirq.MatrixGate(matrix)(*targets))
    return out


def _expectation(case: Case, simulator: qsimcirq.QSimSimulator) -> Run:
    circuit, qubits = cirq.Circuit(_operations(case, symbols=True)), cirq.LineQubit.range(case.num_qubits)
    words = [cirq.PauliString({qubits[q]: cirq.Z for q in places}) for places in case.observables]
    sweep = [
        cirq.ParamResolver({f"x{i}": v for i, v in enumerate(row)} if row is not None else {})
        for row in rows_of(case)
    ]

    def call() -> Any:
        return simulator.simulate_expectation_values_sweep(circuit, words, sweep, qubit_order=qubits)

    def result(out: Any) -> dict[str, np.ndarray]:
        values = np.asarray(out).real.reshape(len(sweep), -1)
        if case.kind == "accuracy":
            return {"value": np.asarray((values @ np.asarray(case.coefficients)).mean())}
        return {"expectations": values}

    return Run(call, result)


def _final(simulator: qsimcirq.QSimSimulator, circuit: cirq.Circuit, qubits: list[Any]) -> np.ndarray:
    """Returns the state `[2**n]`, qubit 0 as the most significant bit."""
    _, array, _ = simulator.simulate_into_1d_array(circuit, qubit_order=qubits)
    return np.asarray(array).reshape(-1)


def _state(case: Case, simulator: qsimcirq.QSimSimulator) -> Run:
    circuit, qubits = cirq.Circuit(_operations(case, symbols=False)), cirq.LineQubit.range(case.num_qubits)
    scale = 2 ** (case.num_qubits / 2)
    return Run(
        lambda: _final(simulator, circuit, qubits)[case.amplitude_indices], lambda out: {"amplitudes": out * scale}
    )


def _grover(case: Case, simulator: qsimcirq.QSimSimulator) -> Run:
    n, qubits = case.num_qubits, cirq.LineQubit.range(case.num_qubits)

    def flip(state: int) -> list[Any]:
        bits = [(state >> (n - 1 - q)) & 1 for q in range(n)]
        sign = [cirq.X(qubits[-1])] if bits[-1] == 0 else []
        return [*sign, cirq.Z(qubits[-1]).controlled_by(*qubits[:-1], control_values=bits[:-1]), *sign]

    hadamards = [cirq.H(q) for q in qubits]
    step = [*flip(case.marked), *hadamards, *flip(0), *hadamards]
    circuit = cirq.Circuit(hadamards + step * case.num_iterations)
    return Run(
        lambda: _final(simulator, circuit, qubits)[case.marked],
        lambda out: {"probability": np.asarray(abs(complex(out)) ** 2)},
    )
