"""Fixed-point amplification against Chebyshev polynomials, and against what plain amplification does wrong."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from qjax.algorithms.amplitude_amplification import amplification_circuit, amplify
from qjax.algorithms.fixed_point import (
    fixed_point_amplify,
    fixed_point_phases,
    fixed_point_rounds,
    fixed_point_success,
)
from qjax.checks import UserError
from qjax.quantum import Circuit, angle_encoding, input_angle, probabilities, state

DELTAS = [0.05, 0.3, 0.9, 1.0]


def with_probability(probability: float) -> Circuit:
    """Qubit 1 is 1 with this probability."""
    return Circuit(2).append("h", 0).append("ry", 1, 2 * np.arcsin(np.sqrt(probability)))


def with_probabilities(probabilities: list[float]) -> tuple[Circuit, Any]:
    """Returns the same circuit with an input for its angle, and the inputs `[batch, 1]`."""
    angles = 2 * np.arcsin(np.sqrt(probabilities))
    circuit = Circuit(2).append("h", 0).append("ry", 1, input_angle(0))
    return circuit, jnp.asarray(angles[:, None], jnp.float32)


def polynomial(probability: float, num_rounds: int, delta: float) -> float:
    """P_L by the coefficients of T_L; T_(1/L)(1/delta) is the root above 1 of T_L(x) = 1/delta."""
    length = 2 * num_rounds + 1
    series = [0] * length + [1]
    roots = chebyshev.chebroots([-1 / delta, *series[1:]])
    real = roots[np.abs(roots.imag) < 1e-6].real
    return float(1 - (delta * chebyshev.chebval(real.max() * np.sqrt(1 - probability), series)) ** 2)


@pytest.mark.parametrize("delta", DELTAS[:3])
@pytest.mark.parametrize("num_rounds", [0, 1, 2, 3, 5, 8])
def test_closed_form_is_the_polynomial(num_rounds: int, delta: float) -> None:
    for probability in np.linspace(0, 1, 23):
        expected = polynomial(probability, num_rounds, delta)
        assert fixed_point_success(probability, num_rounds, delta) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("num_rounds", [0, 1, 4, 20])
def test_rounds_give_the_closed_form(num_rounds: int, delta: float) -> None:
    inputs = jnp.asarray(np.random.default_rng(num_rounds).uniform(-3, 3, size=(20, 3)), jnp.float32)
    result = fixed_point_amplify(angle_encoding(3), [1, 6], num_rounds, delta, inputs=inputs)
    before = np.asarray(result.success_probabilities[:, 0], np.float64)
    expected = [fixed_point_success(min(p, 1.0), num_rounds, delta) for p in before]
    np.testing.assert_allclose(result.success_probabilities[:, -1], expected, atol=3e-5)


@pytest.mark.parametrize("num_rounds", [1, 2, 5, 8])
def test_phases_are_those_of_equation_11(num_rounds: int) -> None:
    """cot(alpha_j / 2) = tan(2 pi j / L) sqrt(1 - gamma^2), and the oracle's are the diffuser's in reverse order."""
    delta, length = 0.3, 2 * num_rounds + 1
    gamma = 1 / np.cosh(np.arccosh(1 / delta) / length)
    oracle, diffuser = fixed_point_phases(num_rounds, delta).T
    expected = np.tan(2 * np.pi * np.arange(1, num_rounds + 1) / length) * np.sqrt(1 - gamma**2)
    np.testing.assert_allclose(1 / np.tan(-diffuser / 2), expected, rtol=1e-9)
    np.testing.assert_allclose(oracle, diffuser[::-1], rtol=1e-12)


def test_the_circuit_takes_the_same_phases() -> None:
    circuit = amplification_circuit(with_probability(0.07), (1,), (1,), 5, phases="turns")
    turns = jnp.asarray(fixed_point_phases(5, 0.2), jnp.float32)
    amplified = probabilities(circuit, {"turns": turns}, qubits=(1,))[1]
    assert float(amplified) == pytest.approx(fixed_point_success(0.07, 5, 0.2), abs=1e-5)
    by_reflections = fixed_point_amplify(with_probability(0.07), ["01", "11"], 5, 0.2)
    np.testing.assert_allclose(state(circuit, {"turns": turns}), by_reflections.state, atol=5e-6)


def test_delta_1_is_plain_amplification() -> None:
    np.testing.assert_allclose(np.exp(1j * fixed_point_phases(4, 1.0)), -np.ones((4, 2)), atol=1e-12)
    for k in range(6):
        expected = np.sin((2 * k + 1) * np.arcsin(np.sqrt(0.03))) ** 2
        assert fixed_point_success(0.03, k, 1.0) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-4, 1), st.floats(0.01, 0.99), st.integers(0, 30), st.floats(0, 1))
def test_rounds_are_enough_and_too_many_do_no_harm(least: float, delta: float, extra: int, share: float) -> None:
    rounds = fixed_point_rounds(least, delta)
    probability = least + share * (1 - least)
    assert fixed_point_success(probability, rounds + extra, delta) >= 1 - delta**2 - 1e-9
    if rounds > 0:  # and fewer would not do
        assert fixed_point_success(least, rounds - 1, delta) < 1 - delta**2 + 1e-9
    assert 2 * rounds - 1 <= np.log(2 / delta) / np.sqrt(least)  # the paper's length is no shorter


def test_it_does_not_overshoot_where_plain_amplification_does() -> None:
    marked, delta = ["01", "11"], 0.3
    enough = fixed_point_rounds(0.1, delta)
    plain = amplify(with_probability(0.1), marked, 25).success_probabilities
    assert plain[enough:].min() < 0.1
    circuit, inputs = with_probabilities([0.1, 0.2, 0.4, 0.7, 0.95, 1.0])
    for rounds in (enough, 25):
        found = fixed_point_amplify(circuit, marked, rounds, delta, inputs=inputs).success_probabilities
        assert found[:, -1].min() >= 1 - delta**2 - 1e-5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fixed_point_phases(-1, 0.1), "`num_rounds` must be an integer of at least 0"),
        (lambda: fixed_point_phases(2, 0.0), "`delta` must be above 0 and at most 1"),
        (lambda: fixed_point_phases(2, 1.1), "`delta` must be above 0 and at most 1"),
        (lambda: fixed_point_success(1.5, 2, 0.1), r"`probability` must be in 0\.\.1"),
        (lambda: fixed_point_rounds(0.0, 0.1), "`least_probability` must be above 0 and at most 1"),
        (lambda: fixed_point_rounds(0.5, 2.0), "`delta` must be above 0 and at most 1"),
    ],
)
def test_mistakes(call: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
