"""Powers of whole circuits."""

import jax
import numpy as np

from qjax.checks import check
from qjax.quantum.circuits.circuit import Circuit, Repeat
from qjax.quantum.circuits.custom_gates import power_gate, unitary_gate
from qjax.quantum.circuits.operation import Operation

# A root is one dense gate on all qubits: past this it is neither quick to find nor to apply.
MAX_ROOT_QUBITS = 8


def power(circuit: Circuit, exponent: float) -> Circuit:
    """`Circuit.power`, which states arguments and errors."""
    n = circuit.num_qubits
    if exponent.is_integer():
        count = int(exponent)
        body = circuit if count >= 0 else circuit.inverse()
        if abs(count) <= 1:
            return body if count else Circuit(n)
        return Circuit(n, (Repeat(body, abs(count), shared=True),))
    if len(circuit.operations) == 1 and isinstance(circuit.operations[0], Operation):
        return Circuit(n, circuit.operations[0].power(exponent))
    check(circuit.is_bound, "exponent", "be a whole number for a circuit that is not bound", exponent)
    check(n <= MAX_ROOT_QUBITS, "exponent", f"be a whole number beyond {MAX_ROOT_QUBITS} qubits", exponent)
    from qjax.quantum.simulate import unitary

    # The gate is data of the circuit: it is computed now and in float64, whatever is being traced around it.
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        matrix = np.asarray(unitary(circuit), np.complex128)
    gate = power_gate(unitary_gate(matrix), (), exponent)
    return Circuit(n, (Operation(gate, tuple(range(n))),))
