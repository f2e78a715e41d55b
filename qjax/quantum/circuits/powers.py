"""Powers of whole circuits."""

import numpy as np

from qjax.checks import check
from qjax.quantum.circuits.custom_gates import in_float64, power_gate, unitary_gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.circuits.repeat import CircuitLike, Repeat

# A root is one dense gate on all qubits: past this it is neither quick to find nor to apply.
MAX_ROOT_QUBITS = 8


def power(circuit: CircuitLike, exponent: float) -> CircuitLike:
    """`Circuit.power`, which states arguments and errors."""
    n, make = circuit.num_qubits, type(circuit)
    if exponent.is_integer():
        count = int(exponent)
        body = circuit if count >= 0 else circuit.inverse()
        if abs(count) <= 1:
            return body if count else make(n)
        return make(n, (Repeat(body, abs(count), shared=True),))
    if len(circuit.operations) == 1 and isinstance(circuit.operations[0], Operation):
        return make(n, circuit.operations[0].power(exponent))
    check(circuit.is_bound, "exponent", "be a whole number for a circuit that is not bound", exponent)
    check(n <= MAX_ROOT_QUBITS, "exponent", f"be a whole number beyond {MAX_ROOT_QUBITS} qubits", exponent)
    gate = power_gate(unitary_gate(_matrix(circuit)), (), exponent)
    return make(n, (Operation(gate, tuple(range(n))),))


def _matrix(circuit: CircuitLike) -> np.ndarray:
    """Returns the unitary of a bound circuit in complex128, `[2**n, 2**n]`."""
    n = circuit.num_qubits
    columns = np.eye(2**n, dtype=np.complex128).reshape((2,) * n + (-1,))
    for op in circuit.iter_operations():
        if op.is_barrier:
            continue
        gate = in_float64(op.gate.matrix, [angle.shift for angle in op.angles])
        k = len(op.qubits)
        # Controls first, in the order in which indexing by them leaves the other axes.
        chosen = tuple(op.control_values[op.controls.index(q)] if q in op.controls else slice(None) for q in range(n))
        left = [q for q in range(n) if q not in op.controls]
        axes = [left.index(q) for q in op.qubits]
        part = np.moveaxis(columns[chosen], axes, range(k))
        done = (gate @ part.reshape(2**k, -1)).reshape(part.shape)
        columns[chosen] = np.moveaxis(done, range(k), axes)
    return columns.reshape(2**n, 2**n)
