"""Quantum counting against the closed form, its circuit, the exact number, and sampling without replacement."""

from math import asin, pi, sqrt

import jax
import numpy as np
import pytest
from scipy.stats import hypergeom

from qjax.algorithms.counting import classical_queries, count, count_error_bound, counting_circuit
from qjax.algorithms.phase_estimation import phase_distribution
from qjax.checks import UserError
from qjax.quantum import probabilities


def count_distribution(n: int, num_marked: int, p: int) -> np.ndarray:
    phase = asin(sqrt(num_marked / 2**n)) / pi
    return (phase_distribution(phase, p) + phase_distribution(-phase, p)) / 2


@pytest.mark.parametrize(
    ("n", "marked", "num_marked"),
    [
        (1, [0], 1),
        (2, [1, 2], 2),
        (3, np.zeros(8, bool), 0),
        (3, [5], 1),
        (3, ["000", "111", "010"], 3),
        (3, lambda x: x >= 0, 8),
    ],
)
def test_circuit_and_count_have_the_closed_form(n: int, marked: object, num_marked: int) -> None:
    p = 4
    expected = count_distribution(n, num_marked, p)
    np.testing.assert_allclose(count(n, marked, p).probabilities, expected, atol=5e-6)
    np.testing.assert_allclose(probabilities(counting_circuit(n, marked, p), qubits=range(p)), expected, atol=5e-6)


@pytest.mark.parametrize("num_marked", [0, 1, 7, 16, 29, 32])
def test_error_is_within_theorem_13(num_marked: int) -> None:
    n, p = 5, 6
    marked = np.random.default_rng(num_marked).permutation(32) < num_marked
    found = count(n, marked, p)
    bound = count_error_bound(n, num_marked, p)
    assert bound == pytest.approx(2 * pi / 64 * sqrt(num_marked * (32 - num_marked)) + pi**2 * 32 / 64**2)
    grid = 32 * np.sin(pi * np.arange(64) / 64) ** 2
    assert found.probabilities[np.abs(grid - num_marked) <= bound].sum() >= 8 / pi**2
    assert abs(found.estimate - num_marked) <= min(bound, found.error_bound + 1e-9)
    assert found.rounded == round(found.estimate)
    assert found.num_queries == 63
    if num_marked in (0, 32):
        assert found.estimate == pytest.approx(num_marked, abs=1e-9)


def test_ten_qubits_and_255_iterations() -> None:
    n, p = 10, 8
    found = count(n, lambda x: x % 37 == 0, p, jax.random.key(1), 40)  # 28 of 1024
    np.testing.assert_allclose(found.probabilities, count_distribution(n, 28, p), atol=5e-5)
    assert abs(found.estimate - 28) <= count_error_bound(n, 28, p) + 1e-3
    assert found.samples is not None
    assert found.samples.shape == (40,)
    assert found.num_queries == 255
    assert found.num_queries < found.classical_queries


@pytest.mark.parametrize(
    ("n", "num_marked", "error"), [(10, 300, 20.0), (10, 60, 8.0), (8, 128, 9.0), (12, 2000, 100.0)]
)
def test_classical_queries_against_sampling(n: int, num_marked: int, error: float) -> None:
    """The exact probability that so many draws without replacement count within the error."""
    size, confidence = 2**n, 8 / pi**2
    draws = classical_queries(n, num_marked, error)
    hits = np.arange(draws + 1)

    def success(draws: int) -> float:
        within = np.abs(hits[: draws + 1] * size / draws - num_marked) <= error
        return float(hypergeom(size, num_marked, draws).pmf(hits[: draws + 1])[within].sum())

    # Hits are whole numbers: over some neighbouring sizes the mean is the confidence.
    near = np.mean([success(d) for d in range(draws - draws // 20, draws + 1)])
    assert near == pytest.approx(confidence, abs=0.03)


def test_edges_of_classical_queries() -> None:
    assert classical_queries(6, 0, 1.0) == 1
    assert classical_queries(6, 30, 1e-6) == 64  # looking at all
    assert classical_queries(6, 30, 8.0, 0.99) > classical_queries(6, 30, 8.0, 0.8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: count(0, [0], 3), "`num_qubits` must be an integer of at least 1"),
        (lambda: count(2, [0], 0), "`num_precision_qubits` must be an integer of at least 1"),
        (lambda: count(2, [0], 3, None, 10), "`key` must be a random key where there are shots"),
        (lambda: count_error_bound(2, 5, 3), r"`num_marked` must lie in 0\.\.4"),
        (lambda: classical_queries(2, 1, 0.0), "`error` must be above 0"),
        (lambda: classical_queries(2, 1, 1.0, 1.0), "`confidence` must lie between 0 and 1"),
    ],
)
def test_mistakes(call: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()  # type: ignore[operator]
