"""tensorcircuit-ng on its JAX backend, complex64, under jit and vmap.

Neighbouring single-qubit gates are merged into one 2 x 2 matrix (`Circuit.any`) in all forms. Forms, with what was
measured on one core (W1, forward / gradient):
- 'merged': the whole circuit as one network, greedy contractor: at n = 8, batch 512 9.6 / 22 ms. There the gates as
  written take 32 / 115 ms, with the contractor's own merging (`preprocessing=True`) 18 / 75 ms, with 'plain' 26 / 150
  ms, `expectation_ps` for each qubit 48 / 103 ms; all of these compile for 15 to 40 s instead of 2 s. 'merged' with
  `preprocessing=True` takes 36 / 137 ms, with the contractor 'plain' 15 / 48 ms.
- 'layer by layer' and 'scan': the state after each layer, in a Python loop or under `lax.scan`, which keeps the
  greedy contractor from large intermediate tensors: at n = 12, batch 512 about 214 / 1260 ms, where 'merged' takes
  971 / 2994 ms and the contractor 'plain' 353 / 1580 ms.
- 'chunks': the batch in chunks under `lax.map`.
"""

from typing import Any

import numpy as np
import tensorcircuit as tc

from benchmarks.case import Case, Layer, Op
from benchmarks.peers import jax_common
from benchmarks.peers.base import Form, Unsupported, values_of, versions_of
from benchmarks.peers.jax_common import backend as backend
from benchmarks.peers.jax_common import warm_up as warm_up

tc.set_backend("jax")
tc.set_dtype("complex64")
tc.set_contractor("greedy")

SCAN_FROM = 16  # layers; unrolled, 16 layers already compile for minutes
LAYERS_FROM = 10  # qubits


def versions() -> dict[str, str]:
    return versions_of("tensorcircuit-ng", "jax", "jaxlib", "numpy")


def forms(case: Case) -> dict[str, Form]:
    if case.kind.startswith("grover"):
        raise Unsupported("not among the frameworks asked for Grover's search")
    if case.kind == "state":
        raise Unsupported("not among the frameworks asked for one large random circuit")
    found: dict[str, Form] = {}
    states: dict[str, Any] = {}
    large = case.num_qubits >= LAYERS_FROM and case.num_layer_weights
    if case.num_layers < SCAN_FROM:
        states["layer by layer" if large else "merged"] = _layered if large else _unrolled
    if large and case.num_layers <= 3:
        states["scan"] = lambda case: _scanned(case, recompute=False)
    for name, state in states.items():
        for chunk in jax_common.chunks_of(case):
            key = f"{name}, chunks of {chunk}" if chunk else name
            found[key] = lambda case, state=state, chunk=chunk: jax_common.state_run(case, state(case), chunk)
    return found | jax_common.scan_forms(case, _scanned)


def forms_as_written(case: Case) -> dict[str, Form]:
    """Each gate given as it stands, nothing multiplied by hand before: what a user writes first.

    The contractor merges gates itself ('preprocessing'), or the layers are scanned; the batch whole or in chunks.
    """
    found: dict[str, Form] = {}
    for chunk in jax_common.chunks_of(case):
        end = f", chunks of {chunk}" if chunk else ""
        if case.num_qubits < LAYERS_FROM:
            found["contractor merges" + end] = lambda case, chunk=chunk: _as_written(case, chunk, scan=False)
        found["scan" + end] = lambda case, chunk=chunk: _as_written(case, chunk, scan=True)
    return found


def _as_written(case: Case, chunk: int, scan: bool) -> Any:
    tc.set_contractor("greedy", preprocessing=not scan)
    state = _scanned(case, recompute=False, add=_one_by_one) if scan else _unrolled(case, add=_one_by_one)
    return jax_common.state_run(case, state, chunk)


def _one_by_one(circuit: Any, operations: Layer, weights: Any, row: Any) -> Any:
    """Adds each gate of W1 as it stands and returns the state `[2**n]`."""
    for op in operations:
        if op.gate == "cx":
            circuit.cnot(*op.qubits)
        else:
            getattr(circuit, op.gate)(*op.qubits, theta=values_of(op, weights, row)[0])
    return circuit.state()


def _apply(circuit: Any, operations: Layer, weights: Any, row: Any) -> Any:
    """Adds the operations to a circuit and returns its state `[2**n]`."""
    steps = jax_common.merged_steps(operations)
    matrices = jax_common.single_qubit_matrices(steps, weights, row)
    for place, ops in enumerate(steps):
        op = ops[0]
        if place in matrices:
            circuit.any(*op.qubits, unitary=matrices[place])
        elif op.gate in ("cx", "cz"):
            getattr(circuit, {"cx": "cnot", "cz": "cz"}[op.gate])(*op.qubits)
        elif op.gate in ("iswap", "x"):
            getattr(circuit, op.gate)(*op.qubits)
        elif op.gate == "pauli":
            _rotate(circuit, op, values_of(op, weights, row)[0])
        else:
            getattr(circuit, op.gate)(*op.qubits, theta=values_of(op, weights, row)[0])
    return circuit.state()


def _rotate(circuit: Any, op: Op, angle: Any) -> None:
    """Adds a Pauli rotation: changes of basis and a ladder of CX around one RZ."""
    letters = list(zip(op.letters, op.qubits, strict=True))
    ladder = list(zip(op.qubits, op.qubits[1:], strict=False))
    into = {"X": lambda q: circuit.h(q), "Y": lambda q: circuit.rx(q, theta=np.pi / 2), "Z": lambda q: None}
    back = into | {"Y": lambda q: circuit.rx(q, theta=-np.pi / 2)}
    for letter, q in letters:
        into[letter](q)
    for pair in ladder:
        circuit.cnot(*pair)
    circuit.rz(op.qubits[-1], theta=angle)
    for pair in reversed(ladder):
        circuit.cnot(*pair)
    for letter, q in letters:
        back[letter](q)


def _unrolled(case: Case, add: Any = _apply) -> Any:
    return lambda weights, row: add(_start(case, row), case.operations, weights, row)


def _start(case: Case, row: Any) -> Any:
    """Returns a circuit on |0...0>, or on the state that `row` is."""
    given = case.inputs_are == "states"
    return tc.Circuit(case.num_qubits, inputs=row.astype("complex64")) if given else tc.Circuit(case.num_qubits)


def _layered(case: Case) -> Any:
    n = case.num_qubits

    def state(weights: Any, row: Any) -> Any:
        psi = _apply(_start(case, row), case.encoding, weights, row)
        for layer in case.layers:
            psi = _apply(tc.Circuit(n, inputs=psi), layer, weights, row)
        return psi

    return state


def _scanned(case: Case, recompute: bool, add: Any = _apply) -> Any:
    n = case.num_qubits

    def state(weights: Any, row: Any) -> Any:
        first = add(_start(case, row), case.encoding, weights, row)

        def layer(layer_weights: Any, psi: Any) -> Any:
            return add(tc.Circuit(n, inputs=psi), case.layer, layer_weights, row)

        return jax_common.scan_layers(case, layer, first, weights, recompute)

    return state
