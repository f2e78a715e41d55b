"""Circuits, states and observables in Qiskit's form.

Qubit q here is qubit q there; what differs is how a state is indexed. Here qubit 0 is the most significant bit of a
basis index, in Qiskit it is the least significant one, and Qiskit writes Pauli labels and measured bits with qubit 0
last. This package reverses that order and no other does. Qiskit is imported when a function is called.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from qjax.checks import check, fail
from qjax.export.observables import pauli_terms
from qjax.export.operations import append_operation, reverse_bits
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.measure.observables import Observable

if TYPE_CHECKING:
    import qiskit
    import qiskit.quantum_info


def to_qiskit(circuit: Circuit, *, measure: bool = False) -> "qiskit.QuantumCircuit":
    """Returns the circuit in Qiskit's form, every Repeat written out.

    Args:
      circuit: bound, that is with numbers for all angles (`Circuit.bind`).
      measure: whether to measure qubit q into classical bit q at the end.

    A gate of the table becomes the gate of that name in Qiskit's library, under controls Qiskit's own controlled form
    of it: 'x' a CXGate, CCXGate or MCXGate, 'p' an MCPhaseGate. Of the others, unitary and permutation become a
    UnitaryGate, diagonal a DiagonalGate, pauli_rotation a PauliEvolutionGate; gphase is Qiskit's global phase.

    Raises:
      UserError: an angle still refers to a parameter or an input, or a matrix or permutation is on more than
        `operations.MAX_MATRIX_QUBITS` qubits, controls included.
    """
    from qiskit import QuantumCircuit

    if not circuit.is_bound:
        names = [f"parameter '{name}'" for name in circuit.parameter_shapes]
        names += [f"{circuit.num_inputs} inputs"] * (circuit.num_inputs > 0)
        fail("circuit", "be bound (`circuit.bind(params, inputs)`)", f"a circuit of {' and '.join(names)}")
    exported = QuantumCircuit(circuit.num_qubits)
    for operation in circuit.iter_operations():
        append_operation(exported, operation)
    if measure:
        exported.measure_all()
    return exported


def to_qiskit_state(state: ArrayLike) -> np.ndarray:
    """Returns amplitudes `[..., 2**n]` in Qiskit's order: qubit 0 becomes the least significant bit of the index.

    Raises:
      UserError: the last axis is not as long as a power of 2.
    """
    amplitudes = np.asarray(state)
    size = amplitudes.shape[-1] if amplitudes.ndim else 0
    check(size > 0 and size & (size - 1) == 0, "state", "have the shape [..., 2**n]", f"{list(amplitudes.shape)}")
    return reverse_bits(amplitudes)


def from_qiskit_state(state: ArrayLike) -> np.ndarray:
    """Returns amplitudes `[..., 2**n]` of Qiskit in our order: qubit 0 becomes the most significant bit."""
    return to_qiskit_state(state)  # reversing the bits undoes itself


def to_qiskit_observable(observable: Observable) -> "qiskit.quantum_info.SparsePauliOp":
    """Returns the observable as Qiskit's SparsePauliOp: our 'ZIX', Z on qubit 0, is Qiskit's label 'XIZ'.

    Raises:
      UserError: a Hermitian or a Projector is on too many qubits (`observables.MAX_TERMS`).
    """
    from qiskit.quantum_info import SparsePauliOp

    return SparsePauliOp.from_list([(paulis[::-1], coefficient) for coefficient, paulis in pauli_terms(observable)])
