"""Amplitude estimation against dense algebra, the distribution in closed form, exact amplitudes and the bounds."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from math import asin, ceil, floor, pi, sin, sqrt

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from qiskit.quantum_info import Statevector
from scipy.stats import binom, binomtest, unitary_group

from qjax.algorithms.amplitude_estimation import (
    CONFIDENCE_METHODS,
    amplitude_error_bound,
    amplitude_estimation_circuit,
    confidence_interval,
    estimate_amplitude,
    estimate_amplitude_iteratively,
    estimate_confidence,
    find_next_k,
    grover_operator,
    iterative_query_bound,
    max_rounds,
)
from qjax.algorithms.phase_estimation import phase_distribution
from qjax.checks import UserError
from qjax.export import to_qiskit
from qjax.quantum import Circuit, input_angle, parameter, probabilities, unitary, unitary_gate

PI = Fraction("3.14159265358979323846264338327950288")
# One qubit whose probability of 1 is sin^2(theta / 2): one compiled program for all amplitudes.
ROTATION = Circuit(1).append("ry", 0, parameter("theta"))


def rotation_params(amplitude: float) -> dict[str, np.float32]:
    return {"theta": np.float32(2 * asin(sqrt(amplitude)))}


def random_preparation(n: int, seed: int) -> tuple[Circuit, np.ndarray]:
    matrix = unitary_group.rvs(2**n, random_state=seed)
    return Circuit(n).append(unitary_gate(matrix), range(n)), matrix


def amplitude_distribution(amplitude: float, t: int) -> np.ndarray:
    """Half of A|0> is in each eigenvector of Q; the phases are theta / pi and -theta / pi."""
    phase = asin(sqrt(amplitude)) / pi
    return (phase_distribution(phase, t) + phase_distribution(-phase, t)) / 2


# Q, by dense algebra: -A S_0 A^dagger S_good.
CASES: list[tuple[int, object, tuple[int, ...] | None, Callable[[str], bool]]] = [
    (1, [1], None, lambda bits: bits == "1"),
    (2, [0, 3], None, lambda bits: bits in ("00", "11")),
    (3, ["01"], (2, 0), lambda bits: bits[2] + bits[0] == "01"),
    (3, [1, 2], (1, 2), lambda bits: bits[1] != bits[2]),
    (2, np.zeros(4, bool), None, lambda bits: False),
    (2, [0, 1, 2, 3], None, lambda bits: True),
]


@pytest.mark.parametrize(("n", "marked", "qubits", "is_good"), CASES)
def test_operator_and_both_simulations(
    n: int, marked: object, qubits: object, is_good: Callable[[str], bool]
) -> None:
    preparation, a = random_preparation(n, n)
    good = np.asarray([is_good(f"{i:0{n}b}") for i in range(2**n)])
    zero = np.diag([1 - 2.0 * (i == 0) for i in range(2**n)])
    q = -a @ zero @ a.conj().T @ np.diag(1 - 2.0 * good)
    np.testing.assert_allclose(unitary(grover_operator(preparation, marked, qubits)), q, atol=2e-6)
    amplitude, t = float(np.sum(np.abs(a[good, 0]) ** 2)), 3
    expected = amplitude_distribution(min(amplitude, 1), t)
    found = estimate_amplitude(preparation, marked, t, qubits=qubits)
    np.testing.assert_allclose(found.probabilities, expected, atol=5e-6)
    circuit = amplitude_estimation_circuit(preparation, marked, t, qubits)
    np.testing.assert_allclose(probabilities(circuit, qubits=range(t)), expected, atol=5e-6)


def test_exported_circuit_in_qiskit() -> None:
    preparation = Circuit(2).append("ry", 0, 1.1).append("cry", (0, 1), 0.7)
    t, amplitude = 3, sin(0.55) ** 2 * sin(0.35) ** 2
    circuit = amplitude_estimation_circuit(preparation, [3], t)
    theirs = Statevector(to_qiskit(circuit).reverse_bits()).probabilities().reshape(2**t, 4).sum(axis=1)
    np.testing.assert_allclose(theirs, amplitude_distribution(amplitude, t), atol=1e-9)


@pytest.mark.parametrize("amplitude", [0.0, 0.03, 0.25, 0.5, 0.7123, 0.99, 1.0])
@pytest.mark.parametrize("t", [2, 5, 8])
def test_canonical_estimate(amplitude: float, t: int) -> None:
    found = estimate_amplitude(ROTATION, [1], t, params=rotation_params(amplitude))
    np.testing.assert_allclose(found.probabilities, amplitude_distribution(amplitude, t), atol=3e-5)
    assert abs(found.estimate - amplitude) <= amplitude_error_bound(amplitude, t) + 1e-6
    assert abs(found.estimate - amplitude) <= found.error_bound + 1e-6
    assert found.num_queries == 2**t - 1
    assert found.confidence == pytest.approx(0.8106, abs=1e-4)
    if amplitude in (0, 1):  # theorem 12: without any error
        assert found.estimate == pytest.approx(amplitude, abs=1e-12)


@pytest.mark.parametrize("t", [1, 3, 6])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_theorem_12(t: int, k: int) -> None:
    """The probability of an error within the bound, summed over outcomes, from either side of the bound."""
    grid = np.sin(pi * np.arange(2**t) / 2**t) ** 2
    masses = []
    for amplitude in np.linspace(0, 1, 60):
        weights = amplitude_distribution(amplitude, t)
        errors = np.abs(grid - amplitude)
        masses.append(weights[errors <= amplitude_error_bound(amplitude, t, k) + 1e-9].sum())
        around = np.asarray([amplitude_error_bound(estimate, t, k) for estimate in grid])
        masses.append(weights[errors <= around + 1e-9].sum())
    assert min(masses) >= estimate_confidence(k) - 1e-9
    if t == 6:  # not idle: half the bound does not do
        halves = [
            amplitude_distribution(a, t)[np.abs(grid - a) <= amplitude_error_bound(a, t, k) / 2 / k].sum()
            for a in np.linspace(0.1, 0.9, 60)
        ]
        assert min(halves) < 8 / pi**2


def test_canonical_shots() -> None:
    key, params = jax.random.key(3), rotation_params(0.3)
    found = estimate_amplitude(ROTATION, [1], 5, params=params, key=key, shots=500)
    assert found.samples is not None
    assert found.samples.shape == (500,)
    values = np.sin(pi * found.samples / 32) ** 2
    # y and 32 - y are one value, and the most frequent one is the estimate.
    distinct, counts = np.unique(values.round(9), return_counts=True)
    assert found.estimate == pytest.approx(distinct[np.argmax(counts)], abs=1e-8)
    for seed in range(20):  # few shots, where the two outcomes of a value do not come first together
        few = estimate_amplitude(ROTATION, [1], 3, params=params, key=jax.random.key(seed), shots=7)
        distinct, counts = np.unique((np.sin(pi * few.samples / 8) ** 2).round(9), return_counts=True)
        assert few.estimate == pytest.approx(distinct[np.argmax(counts)], abs=1e-8)
    within = np.mean(np.abs(values - 0.3) <= amplitude_error_bound(0.3, 5))
    assert within >= 8 / pi**2 - 5 * sqrt(0.15 / 500)


def test_parameters_and_inputs() -> None:
    preparation = Circuit(2).append("ry", 1, parameter("theta")).append("ry", 0, input_angle(0))
    params, inputs = {"theta": np.float32(0.9)}, np.asarray([0.4], np.float32)
    found = estimate_amplitude(preparation, [1], 4, qubits=[1], params=params, inputs=inputs)
    np.testing.assert_allclose(found.probabilities, amplitude_distribution(sin(0.45) ** 2, 4), atol=1e-5)
    iterative = estimate_amplitude_iteratively(
        jax.random.key(0), preparation, ["11"], 0.01, params=params, inputs=inputs
    )
    assert iterative.interval[0] <= (sin(0.45) * sin(0.2)) ** 2 <= iterative.interval[1]


# Iterative --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "alpha"), [("clopper_pearson", 0.05), ("chernoff_hoeffding", 0.1)])
def test_intervals_cover_and_queries_stay_below_the_bound(method: str, alpha: float) -> None:
    amplitudes = np.concatenate([[0.0, 0.5, 1.0, 0.25, 0.75], np.random.default_rng(1).uniform(size=15)])
    misses, runs, epsilon = 0, 0, 0.01
    for number, amplitude in enumerate(amplitudes):
        for seed in range(12):
            key = jax.random.key(100 * number + seed)
            found = estimate_amplitude_iteratively(
                key,
                ROTATION,
                [1],
                epsilon,
                params=rotation_params(amplitude),
                alpha=alpha,
                confidence_method=method,
            )
            low, high = found.interval
            assert high - low <= 2 * epsilon
            assert found.estimate == pytest.approx((low + high) / 2)
            assert found.num_queries <= iterative_query_bound(epsilon, alpha, method)
            misses += not low - 1e-6 <= amplitude <= high + 1e-6  # float32 turns 0 and 1 by 1e-7
            runs += 1
    assert misses <= binom.ppf(0.999, runs, alpha)


@pytest.mark.parametrize("epsilon", [0.2, 0.02, 0.002])
def test_ledger(epsilon: float) -> None:
    """Every batch again from its counts: what is added up, which powers follow one another, and where it ends."""
    amplitude = 0.3567
    found = estimate_amplitude_iteratively(
        jax.random.key(5), ROTATION, [1], epsilon, params=rotation_params(amplitude), shots=200
    )
    powers = [m.power for m in found.measurements]
    assert found.num_queries == sum(m.power * m.shots for m in found.measurements)
    assert found.num_shots == sum(m.shots for m in found.measurements)
    assert powers[0] == 0
    assert powers == sorted(powers)
    distinct = sorted(set(powers))
    assert len(distinct) <= max_rounds(epsilon)
    assert all(4 * b + 2 >= 2 * (4 * a + 2) for a, b in pairwise(distinct))
    assert 4 * distinct[-1] + 2 <= pi / (2 * epsilon)
    assert all(1 <= m.shots <= 200 for m in found.measurements)
    # The last interval is that of all batches of the last power, and its angle lies beside the true one.
    last = [m for m in found.measurements if m.power == powers[-1]]
    hits, shots = sum(m.hits for m in last), sum(m.shots for m in last)
    low, high = binomtest(hits, shots).proportion_ci(1 - 0.05 / max_rounds(epsilon), method="exact")
    factor = 4 * powers[-1] + 2
    half_turn = int(factor * asin(sqrt(amplitude)) / pi)
    ends = sorted(
        sin((half_turn * pi + (2 * asin(sqrt(p)) if half_turn % 2 == 0 else pi - 2 * asin(sqrt(p)))) / factor) ** 2
        for p in (low, high)
    )
    np.testing.assert_allclose(found.interval, ends, atol=1e-6)


def test_measurements_are_of_the_amplified_states() -> None:
    """On three qubits, good by two of them: hits of each power follow sin^2((2k + 1) theta)."""
    preparation, a = random_preparation(3, 11)
    good = [i for i in range(8) if (i & 1) != (i >> 2)]
    theta = asin(sqrt(float(np.sum(np.abs(a[good, 0]) ** 2))))
    surplus, variance, deviations = 0.0, 0.0, []
    for seed in range(15):
        found = estimate_amplitude_iteratively(
            jax.random.key(seed), preparation, ["01", "10"], 0.002, qubits=(0, 2), shots=400
        )
        assert found.interval[0] <= sin(theta) ** 2 <= found.interval[1]
        for power in {m.power for m in found.measurements}:
            batch = [m for m in found.measurements if m.power == power]
            hits, shots = sum(m.hits for m in batch), sum(m.shots for m in batch)
            p = sin((2 * power + 1) * theta) ** 2
            deviations.append((hits - shots * p) / sqrt(shots * p * (1 - p) + 1))
            surplus, variance = surplus + hits - shots * p, variance + shots * p * (1 - p)
    assert max(map(abs, deviations)) < 4.5
    assert len(deviations) > 30
    assert abs(surplus) < 3 * sqrt(variance)


def test_a_run_is_a_function_of_its_key() -> None:
    runs = [
        estimate_amplitude_iteratively(jax.random.key(seed), ROTATION, [1], 0.01, params=rotation_params(0.2))
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@settings(max_examples=100, deadline=None)
@given(st.floats(0, pi / 2 - 0.02), st.floats(0.002, 0.4), st.integers(0, 30))
@example(1.453125, 0.25, 0)
def test_find_next_k(low: float, width: float, k: int) -> None:
    high = min(low + width, pi / 2)
    found, half_turn = find_next_k(k, low, high, -1)

    def fits(power: int) -> bool:  # in exact numbers: 26 times pi / 2 is 13 pi, in float64 a little more
        first, last = (Fraction(angle) * (4 * power + 2) / PI for angle in (low, high))
        return floor(first) == ceil(last) - 1

    candidates = [j for j in range(int(pi / (high - low))) if 4 * j + 2 >= 2 * (4 * k + 2) and fits(j)]
    if found == k:
        assert half_turn == -1
        assert not candidates
    else:
        assert found == max(candidates)
        assert half_turn == int((4 * found + 2) * (low + high) / 2 // pi)


@pytest.mark.parametrize("shots", [1, 10, 250])
def test_clopper_pearson_is_scipys(shots: int) -> None:
    hits = np.unique([0, 1, shots // 3, shots - 1, shots])
    low, high = confidence_interval(hits, shots, 0.02, "clopper_pearson")
    for h, a, b in zip(hits, low, high, strict=True):
        expected = binomtest(int(h), shots).proportion_ci(0.98, method="exact")
        np.testing.assert_allclose((a, b), expected, atol=1e-9)


@pytest.mark.parametrize("method", CONFIDENCE_METHODS)
@pytest.mark.parametrize("shots", [5, 60])
def test_intervals_miss_as_seldom_as_they_say(method: str, shots: int) -> None:
    hits = np.arange(shots + 1)
    low, high = confidence_interval(hits, shots, 0.1, method)
    for p in np.linspace(0, 1, 53):
        covered = (low <= p) & (p <= high)
        assert binom.pmf(hits, shots, p)[covered].sum() >= 0.9 - 1e-9


def test_bounds_of_the_paper() -> None:
    assert iterative_query_bound(0.01, 0.05) == pytest.approx(1400 * np.log(40 * np.log2(pi / 0.04)))
    assert iterative_query_bound(0.01, 0.05, "chernoff_hoeffding") == pytest.approx(
        50 / 14 * iterative_query_bound(0.01, 0.05)
    )
    for epsilon in (0.4, 0.1, 1e-3, 1e-5):
        exact = 1 + sum(2 ** (i + 2) - 2 < pi / (2 * epsilon) for i in range(1, 40))
        assert max_rounds(epsilon) == exact


def run_iteratively(**changes: object) -> object:
    arguments = {"marked": [1], "epsilon": 0.1} | changes
    marked, epsilon = arguments.pop("marked"), arguments.pop("epsilon")
    params = rotation_params(0.3)
    return estimate_amplitude_iteratively(jax.random.key(0), ROTATION, marked, epsilon, params=params, **arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run_iteratively(epsilon=0.5), "`epsilon` must lie between 0 and 0.5"),
        (lambda: run_iteratively(alpha=1.0), "`alpha` must lie between 0 and 1"),
        (lambda: run_iteratively(shots=0), "`shots` must be an integer of at least 1"),
        (lambda: run_iteratively(confidence_method="clopper"), "Did you mean 'clopper_pearson'"),
        (lambda: run_iteratively(inputs=np.zeros((2, 1), np.float32)), "`inputs` must be of one example"),
        (lambda: run_iteratively(qubits=(1,)), r"`qubits` must hold distinct integers in 0\.\.0"),
        (lambda: grover_operator(Circuit(3), [1], (0, 0)), r"`qubits` must hold distinct integers in 0\.\.2"),
        (lambda: grover_operator(Circuit(50), [1]), r"`num_qubits` must be at most .* GiB"),
        (lambda: amplitude_error_bound(1.5, 3), r"`amplitude` must lie in 0\.\.1"),
        (lambda: amplitude_error_bound(0.5, 0), "`num_precision_qubits` must be an integer of at least 1"),
        (lambda: estimate_confidence(0), "`k` must be an integer of at least 1"),
        (lambda: iterative_query_bound(0.1, 0.1, "wald"), "`confidence_method` must be one of the choices"),
    ],
)
def test_mistakes(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
