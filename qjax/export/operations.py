"""One operation of ours as Qiskit's gates, with the order of bits reversed where Qiskit takes a matrix or a label.

Our first qubit is the most significant bit of a gate's matrix, Qiskit's first qubit is the least significant one, and
so is the first control in Qiskit's `ctrl_state`.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from qjax.checks import check
from qjax.quantum.circuits.operation import Operation

if TYPE_CHECKING:
    import qiskit

# Widest gate written as one matrix, controls included: 256 x 256, beyond which its OpenQASM has megabytes.
MAX_MATRIX_QUBITS = 8

Bits = tuple[int, ...]
# A gate of Qiskit and its qubits.
Placed = tuple[Any, Bits]


def append_operation(exported: "qiskit.QuantumCircuit", operation: Operation) -> None:
    """Appends a bound operation to a circuit of Qiskit's.

    Each becomes one gate of Qiskit's, except a global phase without controls, which the circuit itself keeps, and
    under controls 'cu' and a matrix of one qubit, which become two.

    Raises:
      UserError: the operation is a matrix or a permutation on more than `MAX_MATRIX_QUBITS` qubits.
    """
    if operation.is_barrier:
        exported.barrier(*operation.qubits)
    elif operation.gate.name == "gphase" and not operation.controls:
        exported.global_phase += operation.angles[0].shift
    else:
        build = _BUILDERS.get(operation.gate.name, _library_gate if operation.gate.qiskit else _unitary)
        for gate, qubits in build(operation):
            exported.append(gate, qubits)


def reverse_bits(values: ArrayLike) -> np.ndarray:
    """Returns the entries `[..., 2**n]` with the bits of the last index in reverse order."""
    array = np.asarray(values)
    num_qubits, batch = array.shape[-1].bit_length() - 1, array.ndim - 1
    by_qubit = array.reshape(*array.shape[:-1], *(2,) * num_qubits)
    return by_qubit.transpose(*range(batch), *range(batch + num_qubits - 1, batch - 1, -1)).reshape(array.shape)


def _angles(operation: Operation) -> list[float]:
    return [angle.shift for angle in operation.angles]


def _place(gate: Any, qubits: Bits, controls: Bits, values: Bits) -> Placed:
    """Returns Qiskit's gate under controls, which become its first qubits."""
    if controls:
        state = sum(value << k for k, value in enumerate(values))
        gate = gate.control(len(controls), ctrl_state=state, annotated=False)
    return gate, (*controls, *qubits)


def _place_own(gate: Any, operation: Operation) -> Placed:
    return _place(gate, operation.qubits, operation.controls, operation.control_values)


def _phase(angle: float, controls: Bits, values: Bits) -> Placed:
    """Returns e^(i angle) under at least one control; where one must be 1, it is the phase gate's own qubit."""
    from qiskit.circuit.library import GlobalPhaseGate, PhaseGate

    if 1 not in values:
        return _place(GlobalPhaseGate(angle), (), controls, values)
    own = values.index(1)
    others = [k for k in range(len(values)) if k != own]
    rest, rest_values = (tuple(bits[k] for k in others) for bits in (controls, values))
    return _place(PhaseGate(angle), (controls[own],), rest, rest_values)


def _library_gate(operation: Operation) -> Iterator[Placed]:
    from qiskit.circuit import library

    yield _place_own(getattr(library, str(operation.gate.qiskit))(*_angles(operation)), operation)


def _global_phase(operation: Operation) -> Iterator[Placed]:
    yield _phase(operation.angles[0].shift, operation.controls, operation.control_values)


def _cu(operation: Operation) -> Iterator[Placed]:
    """Yields CU; under controls as a phase and a U, because Qiskit cannot read a controlled CUGate from its QPY."""
    from qiskit.circuit.library import UGate

    if not operation.controls:
        yield from _library_gate(operation)
        return
    own, target = operation.qubits
    *angles, gamma = _angles(operation)
    controls, values = (*operation.controls, own), (*operation.control_values, 1)
    yield _phase(gamma, controls, values)
    yield _place(UGate(*angles), (target,), controls, values)


def _unitary(operation: Operation) -> Iterator[Placed]:
    from qiskit.circuit.library import UGate
    from qiskit.synthesis import OneQubitEulerDecomposer

    matrix = _nearest_unitary(np.asarray(operation.gate.matrix(*_angles(operation)), dtype=np.complex128))
    if operation.controls and len(matrix) == 2:  # as angles, so that any number of controls is cheap
        *angles, phase = OneQubitEulerDecomposer("U").angles_and_phase(matrix)
        yield _phase(phase, operation.controls, operation.control_values)
        yield _place_own(UGate(*angles), operation)
    else:
        yield from _matrix(matrix, operation)


def _nearest_unitary(matrix: np.ndarray) -> np.ndarray:
    """Returns the unitary next to a matrix that was computed in float32, which Qiskit would not take as it is."""
    if np.allclose(matrix @ matrix.conj().T, np.eye(len(matrix)), rtol=0, atol=1e-12):
        return matrix
    left, _, right = np.linalg.svd(matrix)
    return left @ right


def _permutation(operation: Operation) -> Iterator[Placed]:
    """Yields a matrix: Qiskit's PermutationGate permutes qubits, not basis states."""
    _check_width(operation)
    assert operation.gate.permutation is not None
    image = operation.gate.permutation()
    matrix = np.zeros((len(image), len(image)), dtype=np.complex128)
    matrix[image, np.arange(len(image))] = 1
    yield from _matrix(matrix, operation)


def _matrix(matrix: np.ndarray, operation: Operation) -> Iterator[Placed]:
    """Yields the matrix as one gate on controls and qubits."""
    from qiskit.circuit.library import UnitaryGate

    _check_width(operation)
    dim, full = len(matrix), np.eye(2 ** len(operation.all_qubits), dtype=np.complex128)
    start = dim * _control_index(operation)
    full[start : start + dim, start : start + dim] = matrix
    yield UnitaryGate(reverse_bits(reverse_bits(full).T).T), operation.all_qubits


def _diagonal(operation: Operation) -> Iterator[Placed]:
    from qiskit.circuit.library import DiagonalGate

    assert operation.gate.diagonal is not None
    own = np.asarray(operation.gate.diagonal(), dtype=np.complex128)
    entries = np.ones(2 ** len(operation.all_qubits), dtype=np.complex128)
    start = len(own) * _control_index(operation)
    entries[start : start + len(own)] = own
    yield DiagonalGate(reverse_bits(entries)), operation.all_qubits


def _control_index(operation: Operation) -> int:
    """The control values as a number, the first control most significant as everywhere outside Qiskit."""
    return sum(value << k for k, value in enumerate(reversed(operation.control_values)))


def _pauli_rotation(operation: Operation) -> Iterator[Placed]:
    """Yields exp(-i time P) with time = theta / 2; Qiskit's label has the first qubit last."""
    from qiskit.circuit.library import PauliEvolutionGate
    from qiskit.quantum_info import Pauli

    label = operation.gate.data.decode()[::-1]
    yield _place_own(PauliEvolutionGate(Pauli(label), time=operation.angles[0].shift / 2), operation)


def _check_width(operation: Operation) -> None:
    width = len(operation.all_qubits)
    expectation = f"have no '{operation.gate.name}' gate on more than {MAX_MATRIX_QUBITS} qubits, controls included"
    check(width <= MAX_MATRIX_QUBITS, "circuit", f"{expectation}, for Qiskit takes it as a matrix", f"one on {width}")


_BUILDERS: dict[str, Callable[[Operation], Iterator[Placed]]] = {
    "gphase": _global_phase,
    "cu": _cu,
    "unitary": _unitary,
    "diagonal": _diagonal,
    "permutation": _permutation,
    "pauli_rotation": _pauli_rotation,
}
