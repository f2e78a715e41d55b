"""Circuits with numbers for angles in the dense NumPy reference: what a circuit does, without a simulator."""

from typing import Any

import dense_reference as dense
import numpy as np

from qjax.quantum import Circuit
from qjax.quantum.circuits.custom_gates import to_json_data


def dense_steps(circuit: Circuit, params: Any = None, inputs: Any = None) -> list[dense.Step]:
    steps = []
    for op in circuit.bind(params, inputs).iter_operations():
        data = to_json_data(op.gate) if op.gate.name in dense.CUSTOM else None
        if op.gate.name == "unitary":  # rows of [real, imaginary] pairs
            data = np.asarray(data) @ [1, 1j]
        angles = tuple(angle.shift for angle in op.angles)
        steps.append(dense.Step(op.gate.name, op.qubits, angles, op.controls, op.control_values, data))
    return steps


def dense_state(circuit: Circuit, params: Any = None, inputs: Any = None, start: Any = None) -> np.ndarray:
    return dense.run(circuit.num_qubits, dense_steps(circuit, params, inputs), start)


def dense_unitary(circuit: Circuit, params: Any = None, inputs: Any = None) -> np.ndarray:
    return dense.unitary(circuit.num_qubits, dense_steps(circuit, params, inputs))


def assert_equal_up_to_phase(found: np.ndarray, expected: np.ndarray, atol: float) -> None:
    """Both are unitary (or normalised), and so equal up to a phase where their overlap is as large as can be."""
    phase = np.vdot(expected, found)
    np.testing.assert_allclose(found * (abs(phase) / phase), expected, atol=atol)
