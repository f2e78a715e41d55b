"""qujax: jitted, vmapped functions from parameters to a state, complex64.

Forms: 'gates' as its own gate table has them, and 'merged', where the single-qubit gates between two entanglers are
one gate function of their own (qujax takes any function of parameters as a gate). Deep circuits use 'scan': the
function of one layer, which takes a state, under `lax.scan`. qujax counts angles in units of pi.
"""

import inspect
from typing import Any

import jax.numpy as jnp
import numpy as np
import qujax

from benchmarks.case import Case, Layer
from benchmarks.matrices import FIXED, gate_matrix
from benchmarks.peers import jax_common
from benchmarks.peers.base import Form, Unsupported, values_of, versions_of
from benchmarks.peers.jax_common import warm_up as warm_up

SCAN_FROM = 16
_NAMES = {"rx": "Rx", "ry": "Ry", "rz": "Rz", "h": "H", "cx": "CX", "cz": "CZ", "crx": "CRx", "cry": "CRy"}


def versions() -> dict[str, str]:
    return versions_of("qujax", "jax", "jaxlib", "numpy")


def forms(case: Case) -> dict[str, Form]:
    if case.kind.startswith("grover") or case.kind == "state":
        raise Unsupported("not among the frameworks asked for this workload")
    found: dict[str, Form] = {}
    if case.num_layers < SCAN_FROM and case.num_qubits < 8:
        found["gates"] = lambda case: jax_common.state_run(case, _unrolled(case, merge=False))
    if case.num_layers < SCAN_FROM:
        found["merged"] = lambda case: jax_common.state_run(case, _unrolled(case, merge=True))
    return found | jax_common.scan_forms(case, _scanned)


def _gate(gate: str) -> Any:
    """A gate for `get_params_to_statetensor_func`: a name, an array, or a function of angles in units of pi."""
    if gate in _NAMES:
        return _NAMES[gate]
    if gate in FIXED:
        return jnp.asarray(FIXED[gate], jnp.complex64)
    return _with_arguments(
        lambda *turns: jnp.asarray(gate_matrix(jnp, gate, tuple(jnp.pi * t for t in turns))), 3 if gate == "u" else 1
    )


def _function(operations: Layer, num_qubits: int, merge: bool) -> Any:
    """Returns (weights, row, state or None) -> state `[2] * n`."""
    steps = jax_common.merged_steps(operations) if merge else [(op,) for op in operations]
    gates: list[Any] = []
    places: list[list[int]] = []
    count = 0
    for ops in steps:
        angles = sum(len(op.angles) for op in ops)
        gates.append(_merged_gate(tuple(op.gate for op in ops)) if len(ops) > 1 else _gate(ops[0].gate))
        places.append(list(range(count, count + angles)))
        count += angles
    function = qujax.get_params_to_statetensor_func(gates, [list(ops[0].qubits) for ops in steps], places, num_qubits)

    def apply(weights: Any, row: Any, psi: Any = None) -> Any:
        values = [v for ops in steps for op in ops for v in values_of(op, weights, row)]
        turns = (
            jnp.stack([jnp.asarray(v, jnp.float32) for v in values]) / np.float32(np.pi) if values else jnp.zeros(0)
        )
        return function(turns, psi) if values else function(psi)

    return apply


def _merged_gate(gates: tuple[str, ...]) -> Any:
    counts = [{"h": 0, "u": 3}.get(gate, 1) for gate in gates]

    def matrix(*turns: Any) -> Any:
        total, place = None, 0
        for gate, count in zip(gates, counts, strict=True):
            step = jnp.asarray(gate_matrix(jnp, gate, tuple(jnp.pi * t for t in turns[place : place + count])))
            total, place = (step if total is None else step @ total), place + count
        return total

    return _with_arguments(matrix, sum(counts))


def _with_arguments(function: Any, count: int) -> Any:
    """Returns the function with `count` arguments in its signature, which qujax reads."""
    names = [inspect.Parameter(f"turn{i}", inspect.Parameter.POSITIONAL_ONLY) for i in range(count)]
    function.__signature__ = inspect.Signature(names)
    return function


def _unrolled(case: Case, merge: bool) -> Any:
    apply = _function(case.operations, case.num_qubits, merge)
    return lambda weights, row: apply(weights, row)


def _scanned(case: Case, recompute: bool) -> Any:
    n = case.num_qubits
    layer = _function(case.layer, n, merge=True)
    encoding = _function(case.encoding, n, merge=True) if case.encoding else None

    def state(weights: Any, row: Any) -> Any:
        first = qujax.all_zeros_statetensor(n) if encoding is None else encoding(weights, row)
        return jax_common.scan_layers(case, lambda ws, psi: layer(ws, row, psi), first, weights, recompute)

    return state
