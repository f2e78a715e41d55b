"""Amplitude amplification, as gates and by reflections, against dense algebra, the closed form and Aer."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qjax.algorithms.amplitude_amplification import amplification_circuit, amplify
from qjax.algorithms.grover import search
from qjax.checks import UserError
from qjax.export import to_qiskit
from qjax.export.aer import simulate_states
from qjax.quantum import (
    Circuit,
    angle_encoding,
    compile_circuit,
    hardware_efficient,
    parameter,
    probabilities,
    state,
    unitary,
)

PI = float(np.pi)


def preparation(n: int) -> Circuit:
    return angle_encoding(n) + hardware_efficient(n, reps=1)


def values_for(circuit: Circuit, seed: int) -> tuple[dict[str, Any], Any]:
    """Returns random parameters and inputs."""
    rng = np.random.default_rng(seed)
    params = {
        name: jnp.asarray(rng.uniform(-2, 2, size=shape), jnp.float32)
        for name, shape in circuit.parameter_shapes.items()
    }
    return params, jnp.asarray(rng.uniform(-2, 2, size=circuit.num_inputs), jnp.float32)


def good_states(n: int, qubits: Sequence[int], bits: Sequence[int]) -> np.ndarray:
    index = np.arange(2**n)
    return np.all([(index >> (n - 1 - q) & 1) == bit for q, bit in zip(qubits, bits, strict=True)], axis=0)


def dense_amplification(matrix: np.ndarray, good: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """Returns the states after 0, 1, ... rounds, from the matrix of A and the definition of a round."""
    states = [matrix[:, 0]]
    for oracle, diffuser in phases:
        mark = np.diag(np.where(good, np.exp(1j * oracle), 1))
        zero = np.eye(len(matrix), dtype=complex)
        zero[0, 0] = np.exp(1j * diffuser)
        states.append(matrix @ zero @ matrix.conj().T @ mark @ states[-1])
    return np.array(states)


CASES = [
    (1, (0,), (1,), 2),
    (3, (2, 0), (1, 0), 4),
    (4, (0, 1, 2, 3), (1, 1, 0, 1), 1),
]


@pytest.mark.parametrize(("n", "qubits", "bits", "rounds"), CASES)
@pytest.mark.parametrize("phases", [None, "turns"])
def test_circuit_is_the_definition(
    n: int, qubits: tuple[int, ...], bits: tuple[int, ...], rounds: int, phases: str | None
) -> None:
    """Also in its global phase."""
    circuit = amplification_circuit(preparation(n), qubits, bits, rounds, phases=phases)
    params, inputs = values_for(circuit, seed=n)
    angles = np.asarray(params.pop("turns", np.full((rounds, 2), PI)))
    assert angles.shape == (rounds, 2)
    matrix = np.asarray(unitary(preparation(n), params, inputs))
    expected = dense_amplification(matrix, good_states(n, qubits, bits), angles)
    given_params = params if phases is None else {**params, "turns": jnp.asarray(angles)}
    np.testing.assert_allclose(state(circuit, given_params, inputs), expected[-1], atol=5e-6)
    # The reflections give the same, with the good states in another form, and so does every round of theirs.
    turns = None if phases is None else angles
    result = amplify(preparation(n), good_states(n, qubits, bits), rounds, params, inputs, phases=turns)
    np.testing.assert_allclose(result.state, expected[-1], atol=5e-6)
    success = (np.abs(expected) ** 2 * good_states(n, qubits, bits)).sum(axis=1)
    np.testing.assert_allclose(result.success_probabilities, success, atol=5e-6)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(0, 3))
def test_map_of_a_probability(probability: float, rounds: int) -> None:
    """p becomes sin^2((2k + 1) asin sqrt(p)), also at 0 and 1."""
    turn = parameter("turn")
    circuit = amplification_circuit(Circuit(2).append("h", 0).append("ry", 1, turn), (1,), (1,), rounds)
    angle = 2 * np.arcsin(np.sqrt(probability))
    amplified = probabilities(circuit, {"turn": jnp.float32(angle)}, qubits=(1,))[1]
    expected = np.sin((2 * rounds + 1) * angle / 2) ** 2
    assert abs(float(amplified) - expected) < 1e-5


def test_no_rounds_leave_the_preparation() -> None:
    assert amplification_circuit(preparation(2), (0,), (1,), 0) == preparation(2)
    assert amplification_circuit(preparation(2), (0,), (1,), 0, phases="turns").parameter_shapes == {
        "ansatz": (1, 2, 2)
    }
    assert amplify(Circuit(1).append("h", 0), [1], 0).success_probabilities.shape == (1,)


@pytest.mark.parametrize("phases", [None, "turns"])
def test_parameters_and_inputs_are_shared(phases: str | None) -> None:
    circuit = amplification_circuit(preparation(3), (0,), (1,), 4, phases=phases)
    expected = dict(preparation(3).parameter_shapes) | ({} if phases is None else {"turns": (4, 2)})
    assert circuit.parameter_shapes == expected
    assert circuit.num_inputs == 3


def test_grover_compiles_to_signs_and_means() -> None:
    n = 4
    hadamards = Circuit(n)
    for qubit in range(n):
        hadamards = hadamards.append("h", qubit)
    for rounds in (2, 40):  # written out, and as a loop
        circuit = amplification_circuit(hadamards, range(n), (1, 0, 1, 1), rounds)
        shown = str(compile_circuit(circuit))
        assert shown.count("reflection about") == shown.count("signs:") > 0
        assert "dense" not in shown
        sign = (-1) ** rounds
        np.testing.assert_allclose(state(circuit), sign * search(n, ["1011"], rounds).state, atol=5e-6)
        by_reflections = amplify(hadamards, ["1011"], rounds)
        np.testing.assert_allclose(by_reflections.state, state(circuit), atol=2e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    circuit = amplification_circuit(preparation(2), (1,), (0,), 2, phases="turns")
    with jax.enable_x64(True):
        params, inputs = values_for(circuit, seed=5)
        params = {name: jnp.asarray(value, jnp.float64) for name, value in params.items()}
        inputs = jnp.asarray(inputs, jnp.float64)

        @jax.jit
        def by_gates(values: dict[str, Any]) -> Any:
            return jnp.log(probabilities(circuit, values, inputs, qubits=(1,))[0])

        @jax.jit
        def by_reflections(values: dict[str, Any]) -> Any:
            rest = {"ansatz": values["ansatz"]}
            result = amplify(preparation(2), ["00", "10"], 2, rest, inputs, phases=values["turns"])
            return jnp.log(result.success_probabilities[-1])

        gates, reflections = jax.grad(by_gates)(params), jax.grad(by_reflections)(params)
        for name, value in params.items():
            flat, step = np.asarray(value).ravel(), 1e-6
            for i in range(flat.size):
                ends = []
                for sign in (1, -1):
                    moved = flat.copy()
                    moved[i] += sign * step
                    ends.append(float(by_gates({**params, name: jnp.asarray(moved.reshape(value.shape))})))
                expected = (ends[0] - ends[1]) / (2 * step)
                assert gates[name].ravel()[i] == pytest.approx(expected, abs=1e-6)
                assert reflections[name].ravel()[i] == pytest.approx(expected, abs=1e-6)


def test_many_rounds_stay_on_the_curve() -> None:
    """The state of A has a norm of 1 - 2e-7 in float32: a reflection about it as it is would be off by 4e-5."""
    params, inputs = values_for(preparation(3), seed=0)
    inputs = jnp.stack([inputs, -inputs, inputs + 1])
    found = np.asarray(amplify(preparation(3), [1, 5], 100, params, inputs).success_probabilities, np.float64)
    expected = np.sin((2 * np.arange(101) + 1) * np.arcsin(np.sqrt(found[:, :1]))) ** 2
    np.testing.assert_allclose(found, expected, atol=3e-5)


def test_a_batch_is_its_examples() -> None:
    circuit = preparation(3)
    params, _ = values_for(circuit, seed=1)
    inputs = jnp.asarray(np.random.default_rng(2).normal(size=(4, 3)), jnp.float32)
    together = amplify(circuit, ["101", "000"], 3, params, inputs)
    assert together.success_probabilities.shape == (4, 4)
    for row in range(4):
        alone = amplify(circuit, ["101", "000"], 3, params, inputs[row])
        np.testing.assert_allclose(together.state[row], alone.state, atol=2e-6)
        np.testing.assert_allclose(together.success_probabilities[row], alone.success_probabilities, atol=2e-6)


@pytest.mark.parametrize("phases", [None, "turns"])
def test_aer_agrees_on_the_exported_form(phases: str | None) -> None:
    circuit = amplification_circuit(preparation(3), (2, 1), (0, 1), 2, phases=phases)
    params, inputs = values_for(circuit, seed=8)
    bound = circuit.bind(params, np.asarray(inputs))
    aer = simulate_states([to_qiskit(bound)])[0]
    np.testing.assert_allclose(state(circuit, params, inputs), aer, atol=5e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: amplification_circuit(a, (), (), 1), r"`qubits` must hold distinct integers in 0\.\.1"),
        (lambda a: amplification_circuit(a, (0, 0), (1, 1), 1), r"`qubits` must hold distinct integers in 0\.\.1"),
        (lambda a: amplification_circuit(a, (2,), (1,), 1), r"`qubits` must hold distinct integers in 0\.\.1"),
        (lambda a: amplification_circuit(a, (0,), (1, 0), 1), r"`values` must hold 0 or 1 for each of 1 qubit"),
        (lambda a: amplification_circuit(a, (0,), (2,), 1), r"`values` must hold 0 or 1"),
        (lambda a: amplification_circuit(a, (0,), (1,), -1), "`num_rounds` must be an integer of at least 0"),
        (
            lambda a: amplification_circuit(a, (0,), (1,), 1, phases="ansatz"),
            "`phases` must not be the name of a parameter of the preparation, but got 'ansatz'",
        ),
        (lambda a: amplify(a, [4], 1), r"`marked` must hold indices in 0\.\.3"),
        (lambda a: amplify(a, [1], -1), "`num_rounds` must be an integer of at least 0"),
        (lambda a: amplify(Circuit(2), [1], 1, phases=np.zeros((2, 2))), r"`phases` must have the shape \[1, 2\]"),
    ],
)
def test_mistakes(call: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call(preparation(2))
