"""Phase estimation against sums over eigenvectors, the closed form, and Qiskit's simulation of the same circuit."""

from math import ceil, log2, pi

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.quantum_info import Statevector
from scipy.stats import chisquare, unitary_group

from qjax.algorithms.phase_estimation import (
    estimate_phase,
    outcome_probabilities,
    phase_distribution,
    phase_estimation_circuit,
    required_precision_qubits,
    sample_outcomes,
    success_probability_bound,
)
from qjax.checks import UserError
from qjax.export import to_qiskit
from qjax.quantum import Circuit, input_angle, parameter, probabilities, unitary_gate


def phase_gate(phase: float) -> Circuit:
    """|1> is an eigenvector of this phase."""
    return Circuit(1).append("p", 0, 2 * pi * phase)


ONE = Circuit(1).append("x", 0)


def mixture(matrix: np.ndarray, vector: np.ndarray, t: int) -> np.ndarray:
    """Each eigenvector gives the distribution of its phase, with the weight that it has in the vector."""
    values, vectors = np.linalg.eig(matrix)
    weights = np.abs(np.linalg.solve(vectors, vector)) ** 2  # those of a normal matrix are orthogonal
    size = 2**t
    total = np.zeros(size)
    for value, weight in zip(values, weights, strict=True):
        register = value ** np.arange(size) / size
        total += weight * np.abs(np.fft.fft(register)) ** 2
    return total


@pytest.mark.parametrize(("n", "t"), [(1, 1), (1, 4), (2, 3), (3, 2), (2, 5)])
def test_any_unitary_on_any_state(n: int, t: int) -> None:
    matrix = unitary_group.rvs(2**n, random_state=n + 10 * t)
    other = unitary_group.rvs(2**n, random_state=3 * n + t)
    u = Circuit(n).append(unitary_gate(matrix), range(n))
    preparation = Circuit(n).append(unitary_gate(other), range(n))
    expected = mixture(matrix, other[:, 0], t)
    np.testing.assert_allclose(outcome_probabilities(u, t, preparation), expected, atol=3e-6)
    circuit = phase_estimation_circuit(u, t, preparation)
    np.testing.assert_allclose(probabilities(circuit, qubits=range(t)), expected, atol=3e-6)
    # An initial state does the same as its preparation.
    given_state = outcome_probabilities(u, t, initial_state=other[:, 0].astype(np.complex64))
    np.testing.assert_allclose(given_state, expected, atol=3e-6)


@pytest.mark.parametrize("t", [1, 2, 5, 9])
@pytest.mark.parametrize("phase", [0.0, 0.5, 0.3, 0.999, 0.40625])
def test_eigenvector_gives_the_closed_form(phase: float, t: int) -> None:
    found = estimate_phase(phase_gate(phase), t, ONE)
    np.testing.assert_allclose(found.probabilities, phase_distribution(phase, t), atol=2e-5 if t > 5 else 5e-6)
    distance = abs((found.phase - phase + 0.5) % 1 - 0.5)
    assert distance <= 2.0 ** -(t + 1) + 1e-9
    assert 0 <= found.phase < 1
    assert found.samples is None
    assert found.num_applications == 2**t - 1


@settings(max_examples=50, deadline=None)
@given(st.floats(-2, 2), st.integers(1, 7))
def test_closed_form_is_the_sum(phase: float, t: int) -> None:
    size = 2**t
    steps = np.exp(2j * pi * np.outer(np.arange(size) / size, -np.arange(size)) + 2j * pi * phase * np.arange(size))
    found = phase_distribution(phase, t)
    np.testing.assert_allclose(found, np.abs(steps.sum(axis=1) / size) ** 2, atol=1e-10)
    assert found.sum() == pytest.approx(1, abs=1e-9)


def test_whole_bits_are_certain() -> None:
    np.testing.assert_allclose(phase_distribution(5 / 8, 3), np.eye(8)[5], atol=1e-15)
    assert estimate_phase(phase_gate(5 / 8), 3, ONE).phase == 5 / 8


def test_global_phase_counts_under_control() -> None:
    found = estimate_phase(Circuit(1).append("gphase", (), 2 * pi * 0.25), 4)
    assert found.phase == 0.25
    circuit = phase_estimation_circuit(Circuit(1).append("gphase", (), 2 * pi * 0.25), 4)
    np.testing.assert_allclose(probabilities(circuit, qubits=range(4)), np.eye(16)[4], atol=1e-6)


@pytest.mark.parametrize(("num_bits", "epsilon"), [(1, 0.4), (2, 0.1), (3, 0.05), (4, 0.01), (3, 0.25)])
def test_promised_success_probability(num_bits: int, epsilon: float) -> None:
    t = required_precision_qubits(num_bits, epsilon)
    assert t == num_bits + ceil(log2(2 + 1 / (2 * epsilon)))
    assert success_probability_bound(num_bits, t) >= 1 - epsilon
    outcomes = np.arange(2**t) / 2**t
    worst = 1.0
    for phase in np.linspace(0, 1, 101) + 0.00037:
        near = np.abs((outcomes - phase + 0.5) % 1 - 0.5) <= 2.0**-num_bits
        worst = min(worst, phase_distribution(phase, t)[near].sum())
    assert worst >= success_probability_bound(num_bits, t)
    # Not idle: with no qubit to spare the promise is broken somewhere.
    assert success_probability_bound(num_bits, num_bits + 1) == 0


def test_parameters_and_inputs_as_in_state() -> None:
    """U and the preparation share names; each may use another part of a parameter and of the inputs."""
    theta = [parameter("theta", i) for i in range(3)]
    preparation = Circuit(2).append("ry", 0, theta[0]).append("ry", 1, theta[2] + input_angle(1))
    u = Circuit(2).append("rx", 0, theta[1] + input_angle(0)).append("crz", (0, 1), parameter("phi"))
    params = {"theta": np.asarray([0.3, -1.2, 2.1], np.float32), "phi": np.float32(0.7)}
    inputs = np.asarray([0.4, -0.9], np.float32)
    found = outcome_probabilities(u, 3, preparation, params, inputs)
    circuit = phase_estimation_circuit(u, 3, preparation)
    np.testing.assert_allclose(found, probabilities(circuit, params, inputs, qubits=range(3)), atol=3e-6)
    numbers = Circuit(2).append("ry", 0, 0.3).append("ry", 1, 2.1 - 0.9)
    bound = outcome_probabilities(Circuit(2).append("rx", 0, -1.2 + 0.4).append("crz", (0, 1), 0.7), 3, numbers)
    np.testing.assert_allclose(found, bound, atol=3e-6)


@pytest.mark.parametrize("t", [1, 4, 7])
def test_circuit_applies_u_as_often_as_it_says(t: int) -> None:
    circuit = phase_estimation_circuit(phase_gate(0.3), t, ONE)
    assert circuit.num_qubits == t + 1
    assert circuit.counts()["c-p"] == 2**t - 1
    assert len(circuit.operations) <= t + 1 + t + t * (t + 1) // 2 + t // 2  # repeats are not written out


def test_control_where_it_is_needed_alone() -> None:
    around, inner = Circuit(2).append("h", 0).append("cx", (0, 1)), Circuit(2).append("rz", 1, 0.9)
    u = around.inverse() + inner + around
    moved = around.remap((1, 2), 3)
    controlled = moved.inverse() + inner.controlled() + moved
    preparation = Circuit(2).append("ry", 0, 0.3).append("ry", 1, 1.1)
    generic = phase_estimation_circuit(u, 3, preparation)
    special = phase_estimation_circuit(u, 3, preparation, controlled=controlled)
    np.testing.assert_allclose(probabilities(special), probabilities(generic), atol=2e-6)
    np.testing.assert_allclose(
        probabilities(special, qubits=range(3)), outcome_probabilities(u, 3, preparation), atol=3e-6
    )


def test_exported_circuit_in_qiskit() -> None:
    t = 4
    circuit = phase_estimation_circuit(phase_gate(0.3), t, ONE)
    theirs = Statevector(to_qiskit(circuit).reverse_bits()).probabilities().reshape(2**t, 2).sum(axis=1)
    np.testing.assert_allclose(theirs, phase_distribution(0.3, t), atol=1e-9)


def test_samples_follow_the_distribution() -> None:
    key, shots = jax.random.key(7), 20_000
    found = estimate_phase(phase_gate(0.3), 4, ONE, key=key, shots=shots)
    assert found.samples is not None
    counts = np.bincount(found.samples, minlength=16)
    assert chisquare(counts, phase_distribution(0.3, 4) * shots).pvalue > 1e-4
    assert found.phase == np.argmax(counts) / 16
    again = estimate_phase(phase_gate(0.3), 4, ONE, key=key, shots=shots)
    np.testing.assert_array_equal(found.samples, again.samples)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: phase_estimation_circuit(ONE, 0), "`num_precision_qubits` must be an integer of at least 1"),
        (lambda: outcome_probabilities(phase_gate(0.1), 40), r"at most 20 in float32 \(JAX_ENABLE_X64=1 allows 24\)"),
        (lambda: phase_estimation_circuit(ONE, 2, Circuit(2)), r"`preparation` must have 1 qubit\(s\)"),
        (lambda: outcome_probabilities(ONE, 2, Circuit(2)), r"`preparation` must have 1 qubit\(s\)"),
        (lambda: phase_estimation_circuit(ONE, 2, controlled=ONE), "`controlled` must have 2 qubits"),
        (lambda: estimate_phase(ONE, 2, shots=5), "`key` must be a random key where there are shots"),
        (lambda: estimate_phase(ONE, 2, key=jax.random.key(0), shots=0), "`shots` must be an integer of at least 1"),
        (lambda: sample_outcomes(jax.random.key(0), [0.0, np.nan], 5), "`probabilities` must have a finite sum"),
        (lambda: estimate_phase(ONE, 2, params={"theta": np.zeros(2, np.float32)}), "`params` must hold"),
        (lambda: estimate_phase(ONE, 2, initial_state=np.eye(2)), "`initial_state` must be of one example"),
        (lambda: required_precision_qubits(3, 0.0), "`failure_probability` must lie between 0 and 1"),
        (lambda: success_probability_bound(0, 3), "`num_bits` must be an integer of at least 1"),
    ],
)  # fmt: skip
def test_mistakes(call: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()  # type: ignore[operator]


def test_double_precision_allows_more_precision_qubits() -> None:
    with jax.enable_x64(True):
        with pytest.raises(UserError, match="`num_precision_qubits` must be at most 24 in float64: "):
            outcome_probabilities(phase_gate(0.1), 25)
        found = outcome_probabilities(phase_gate(0.3), 9, Circuit(1).append("x", 0))
    np.testing.assert_allclose(found, phase_distribution(0.3, 9), atol=1e-12)
