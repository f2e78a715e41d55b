"""qjax, this project: its public names only."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.case import Case, Layer, Op, Ref
from benchmarks.peers import jax_common
from benchmarks.peers.base import Form, Run, versions_of
from benchmarks.peers.jax_common import backend as backend
from benchmarks.peers.jax_common import warm_up as warm_up
from qjax import quantum
from qjax.algorithms.grover import search
from qjax.quantum import Circuit, PauliString, PauliSum, Repeat, input_angle, operation, parameter, pauli_rotation


def versions() -> dict[str, str]:
    return versions_of("jax", "jaxlib", "numpy")


def forms(case: Case) -> dict[str, Form]:
    if case.kind == "state":
        return {"state": _state}
    if case.workload == "W9":
        return {"reflections": _whole_search}
    if case.kind == "grover":  # the compiler finds the reflections among the gates
        return {"reflections": _compiled_search, "search": _whole_search}
    if case.kind == "grover_gates":
        return {"gates": _compiled_search}
    return {"unitary": _unitary} if case.kind == "unitary" else {"expectation": _loss}


def first_forms(case: Case) -> dict[str, Form]:
    """Forms in which nothing is compiled before the first call; for W12."""
    if case.kind == "gradient":
        return {"under jit": _first_gradient}
    return {
        "eagerly": lambda case: _first_state(case, lambda f: f),
        "under jit": lambda case: _first_state(case, jax.jit),
    }


def _first_state(case: Case, transformed: Callable[[Any], Any]) -> Run:
    circuit, scale = circuit_of(case), 2 ** (case.num_qubits / 2)
    function = transformed(lambda: quantum.state(circuit))
    return Run(
        lambda: jax.block_until_ready(function()),
        lambda out: {"amplitudes": np.asarray(out)[case.amplitude_indices] * scale},
    )


def _first_gradient(case: Case) -> Run:
    circuit, weights = circuit_of(case), jnp.asarray(case.weights, jnp.float32)
    (loss,) = observables_of(case, as_loss=True)
    function = jax.jit(jax.value_and_grad(lambda w: quantum.expectation(circuit, _params(case, w), None, loss)[0]))
    return Run(
        lambda: jax.block_until_ready(function(weights)),
        lambda out: {"value": np.asarray(out[0]), "weights": np.asarray(out[1])},
    )


def circuit_of(case: Case) -> Circuit:
    """Returns the case as a qjax circuit: weights are the parameter 'w', `[layers, weights a layer]`."""
    n = case.num_qubits
    circuit = Circuit(n, _operations(case.encoding))
    if not case.num_layers:
        return circuit
    return circuit + Circuit(n, (Repeat(Circuit(n, _operations(case.layer)), case.num_layers),))


def _operations(layer: Layer) -> tuple[Any, ...]:
    def angle(value: Ref | float) -> Any:
        if not isinstance(value, Ref):
            return value
        made = parameter("w", value.index) if value.kind == "w" else input_angle(value.index)
        return made if value.scale == 1.0 else value.scale * made

    def make(op: Op) -> Any:
        if op.gate == "pauli":
            return pauli_rotation(op.letters, op.qubits, angle(op.angles[0]))
        return operation(op.gate, op.qubits, *map(angle, op.angles))

    return tuple(map(make, layer))


def observables_of(case: Case, as_loss: bool) -> tuple[Any, ...]:
    """Returns each observable, or the weighted sum of all of them as one where only the loss is asked for."""
    words = ["".join("Z" if q in places else "I" for q in range(case.num_qubits)) for places in case.observables]
    if as_loss:
        terms = zip(case.coefficients, map(PauliString, words), strict=True)
        return (PauliSum(tuple(terms)),)
    return tuple(PauliString(word) for word in words)


def _loss(case: Case) -> Run:
    circuit = circuit_of(case)
    reduced = case.kind in ("gradient", "gradient_inputs", "accuracy")
    observables = observables_of(case, reduced)

    def measured(weights: Any, inputs: Any, _: Any) -> Any:
        given = (None, observables, inputs) if case.inputs_are == "states" else (inputs, observables)
        out = quantum.expectation(circuit, _params(case, weights), *given)
        out = out if inputs is not None else out[None]
        return out[:, 0] if reduced else out

    return jax_common.loss_run(case, measured, jnp.zeros(()), reduced)


def _params(case: Case, weights: Any) -> dict[str, Any] | None:
    return {"w": weights.reshape(case.num_layers, -1)} if case.num_layers else None


def _unitary(case: Case) -> Run:
    circuit, weights = circuit_of(case), jnp.asarray(case.weights, jnp.float32)
    run = jax_common.compile_run(lambda weights: quantum.unitary(circuit, _params(case, weights)), weights)
    run.result = lambda out: {"matrix": np.asarray(out)}
    return run


def _state(case: Case) -> Run:
    circuit, places = circuit_of(case), jnp.asarray(case.amplitude_indices)
    scale = 2 ** (case.num_qubits / 2)
    run = jax_common.compile_run(lambda places: quantum.state(circuit)[places], places)
    run.result = lambda out: {"amplitudes": np.asarray(out) * scale}
    return run


def _compiled_search(case: Case) -> Run:
    run = jax_common.compile_run(grover_gates(case))
    run.result = lambda out: {"probability": np.asarray(out)}
    return run


def _whole_search(case: Case) -> Run:
    """The search as a user calls it, its checks of the marked states included."""

    def call() -> jax.Array:
        return jax.block_until_ready(
            search(case.num_qubits, [case.marked], case.num_iterations).success_probabilities
        )

    call()
    return Run(call, lambda out: {"probability": np.asarray(out)[-1]})


def grover_gates(case: Case) -> Callable[[], jax.Array]:
    """Returns the probability of the marked state, gate by gate: Hadamards and phases under controls."""
    n, everything = case.num_qubits, tuple(range(case.num_qubits))
    hadamards = Circuit(n, tuple(operation("h", q) for q in range(n)))

    def flip(state: int) -> Circuit:
        bits = tuple((state >> (n - 1 - q)) & 1 for q in range(n))
        return Circuit(n).append("gphase", (), np.pi, controls=everything, control_values=bits)

    step = flip(case.marked) + hadamards + flip(0) + hadamards
    search = hadamards + step.power(case.num_iterations)
    return lambda: jnp.abs(quantum.state(search)[case.marked]) ** 2
