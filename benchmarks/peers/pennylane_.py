"""PennyLane's default.qubit with JAX: backpropagation through a QNode under jit, complex64.

Forms, of a QNode that returns the state and, but for 'broadcast', under vmap:
- 'merged': neighbouring single-qubit gates as one `QubitUnitary`; 'merged with the encoding': those that turn by
  inputs too. At n = 8, batch 32 they take 0.5 ms where the gates as written take 4 ms.
- 'merged, broadcast': PennyLane's own batch, for inputs `[batch]`, in place of vmap.
- 'gates': as written, for small circuits only.
- 'scan': by hand, for deep circuits: a QNode of one layer that starts from a state (`StatePrep`), under `lax.scan`.
"""

from typing import Any

import jax.numpy as jnp
import pennylane as qml

from benchmarks.case import Case, Layer
from benchmarks.peers import jax_common
from benchmarks.peers.base import Form, Unsupported, values_of, versions_of
from benchmarks.peers.jax_common import warm_up as warm_up
from benchmarks.peers.signs import signs_of

SCAN_FROM = 16
GATES = {
    "h": qml.Hadamard,
    "x": qml.PauliX,
    "rx": qml.RX,
    "ry": qml.RY,
    "rz": qml.RZ,
    "cx": qml.CNOT,
    "cz": qml.CZ,
    "rzz": qml.IsingZZ,
    "crx": qml.CRX,
    "cry": qml.CRY,
    "iswap": qml.ISWAP,
    "u": qml.U3,
}


def versions() -> dict[str, str]:
    return versions_of("pennylane", "jax", "jaxlib", "numpy")


def forms(case: Case) -> dict[str, Form]:
    if case.kind.startswith("grover") or case.kind == "state":
        raise Unsupported("not among the frameworks asked for this workload; lightning.qubit is")
    found: dict[str, Form] = {}
    if case.num_layers < SCAN_FROM:
        found["merged"] = lambda case: jax_common.state_run(case, _unrolled(case, "merged"))
        if case.batch and case.inputs_are == "angles":
            found["merged with the encoding"] = lambda case: jax_common.state_run(
                case, _unrolled(case, "encoding too")
            )
            found["merged, broadcast"] = _broadcast
        for chunk in jax_common.chunks_of(case)[1:] if case.inputs_are == "angles" else ():
            found[f"merged with the encoding, chunks of {chunk}"] = lambda case, chunk=chunk: jax_common.state_run(
                case, _unrolled(case, "encoding too"), chunk
            )
        if case.num_qubits < 8:
            found["gates"] = lambda case: jax_common.state_run(case, _unrolled(case, "gates"))
    return found | jax_common.scan_forms(case, _scanned)


def _apply(operations: Layer, weights: Any, row: Any, merge: str = "merged") -> None:
    if merge == "gates":
        steps, matrices = [(op,) for op in operations], {}
    else:
        steps = jax_common.merged_steps(operations, with_inputs=merge == "encoding too")
        matrices = jax_common.single_qubit_matrices(steps, weights, row)
    for place, ops in enumerate(steps):
        if place in matrices:
            qml.QubitUnitary(matrices[place], ops[0].qubits[0])
        else:
            GATES[ops[0].gate](*values_of(ops[0], weights, row), wires=ops[0].qubits)


def _qnode(function: Any, num_qubits: int) -> Any:
    device = qml.device("default.qubit", wires=num_qubits)
    return qml.QNode(function, device, interface="jax", diff_method="backprop")


def _unrolled(case: Case, merge: str) -> Any:
    def circuit(weights: Any, row: Any) -> Any:
        if case.inputs_are == "states":
            qml.StatePrep(row, wires=range(case.num_qubits), validate_norm=False)
        _apply(case.operations, weights, row, merge)
        return qml.state()

    return _qnode(circuit, case.num_qubits)


def _broadcast(case: Case) -> Any:
    """A QNode of the whole batch: inputs `[batch]` each, the batch is the state's first axis."""

    def circuit(weights: Any, columns: Any) -> Any:
        _apply(case.operations, weights, columns)
        return qml.state()

    node = _qnode(circuit, case.num_qubits)

    def measured(weights: Any, inputs: Any, signs: Any) -> Any:
        psi = node(weights, inputs.T)
        return (jnp.real(psi) ** 2 + jnp.imag(psi) ** 2) @ signs

    return jax_common.loss_run(case, measured, jnp.asarray(signs_of(case), jnp.float32))


def _scanned(case: Case, recompute: bool) -> Any:
    n = case.num_qubits

    def encode(weights: Any, row: Any) -> Any:
        _apply(case.encoding, weights, row)
        return qml.state()

    def one_layer(weights: Any, row: Any, psi: Any) -> Any:
        qml.StatePrep(psi, wires=range(n), validate_norm=False)
        _apply(case.layer, weights, row)
        return qml.state()

    encoding_node, layer_node = _qnode(encode, n), _qnode(one_layer, n)

    def state(weights: Any, row: Any) -> Any:
        first = encoding_node(weights, row) if case.encoding else jax_common.zero_state(n)
        return jax_common.scan_layers(case, lambda ws, psi: layer_node(ws, row, psi), first, weights, recompute)

    return state
