"""Encodings: circuits that carry an example's inputs. Each function returns a Circuit."""

from qjax.checks import check_choice
from qjax.quantum.angle import input_angle
from qjax.quantum.circuit import Circuit, operation

AXES = ("rx", "ry", "rz")


def angle_encoding(num_qubits: int, axis: str = "ry") -> Circuit:
    """Returns one rotation by input i on each qubit i: the state is a product of single-qubit states.

    With axis 'rz' on |0...0> the inputs are nothing but a global phase; put a layer of 'h' before it.

    Args:
      num_qubits: qubits, and inputs of an example.
      axis: 'rx', 'ry' or 'rz'.

    Source: Schuld and Petruccione 2018, Supervised Learning with Quantum Computers, section 5.3 (angle or qubit
    encoding).
    """
    check_choice("axis", axis, AXES)
    return Circuit(num_qubits, tuple(operation(axis, q, input_angle(q)) for q in range(num_qubits)))
