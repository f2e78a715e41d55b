"""Grover's search against dense algebra and closed forms, its memory, its program, and what it measures."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from qjax.algorithms import grover
from qjax.algorithms.grover import (
    optimal_iterations,
    search,
    search_bytes,
    search_unknown,
    success_probability_after,
)
from qjax.checks import UserError


def some_numbers(n: int) -> list[int]:
    total = 2**n
    return sorted({1, 2, 3, 100, total // 3, total // 2, total - 1, total} & set(range(1, total + 1)))


def random_mask(n: int, num_marked: int, seed: int = 0) -> np.ndarray:
    mask = np.zeros(2**n, bool)
    mask[np.random.default_rng(seed + n).permutation(2**n)[:num_marked]] = True
    return mask


@pytest.mark.parametrize("n", [2, 3, 4, 6, 9, 12, 16, 18, pytest.param(20, marks=pytest.mark.slow)])
def test_success_probability_is_the_closed_form(n: int) -> None:
    """Over 804 iterations, the optimal number for 20 qubits: for smaller n far beyond the first maximum."""
    steps = np.arange(805)
    for num_marked in some_numbers(n):
        mask = random_mask(n, num_marked)
        result = search(n, mask, 804)
        theta = np.arcsin(np.sqrt(num_marked / 2**n))
        expected = np.sin((2 * steps + 1) * theta) ** 2
        np.testing.assert_allclose(result.success_probabilities, expected, rtol=0, atol=1e-5)
        weights = np.asarray(result.state, np.float64) ** 2  # what is read from two amplitudes holds for the state
        assert abs(weights[mask].sum() - expected[-1]) < 1e-5
        assert abs(weights.sum() - 1) < 1e-6
        assert result.num_marked == num_marked


@pytest.mark.parametrize("count", [3, 40])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_state_is_that_of_dense_reflections(n: int, count: int) -> None:
    total = 2**n
    for seed, num_marked in enumerate(range(total + 1)):
        mask = random_mask(n, num_marked, seed)
        oracle = np.diag(np.where(mask, -1.0, 1.0))
        diffuser = np.full((total, total), 2 / total) - np.eye(total)
        expected = np.linalg.matrix_power(diffuser @ oracle, count) @ np.full(total, total**-0.5)
        result = search(n, mask, count)
        np.testing.assert_allclose(result.state, expected, atol=2e-6)
        expected_success = success_probability_after(n, num_marked, count)
        np.testing.assert_allclose(result.success_probabilities[-1], expected_success, atol=2e-6)


@pytest.mark.parametrize("n", range(1, 9))
def test_optimal_iterations_is_the_first_maximum(n: int) -> None:
    for num_marked in range(1, 2**n + 1):
        best = optimal_iterations(n, num_marked)
        values = [success_probability_after(n, num_marked, k) for k in range(best + 2)]
        assert values[best] == pytest.approx(max(values), abs=1e-12)
        assert all(values[k] < values[k + 1] for k in range(best))  # the first such maximum, and rising up to it


def test_optimal_iterations_where_most_states_are_marked() -> None:
    assert [optimal_iterations(2, m) for m in (1, 2, 3, 4)] == [1, 0, 0, 0]
    assert optimal_iterations(24, 1) == 3216
    assert optimal_iterations(24, 2**23) == 0


def test_success_probability_after_with_nothing_marked() -> None:
    assert success_probability_after(3, 0, 5) == 0
    assert search(3, [False] * 8, 5).success_probabilities.max() == 0


def test_search_takes_the_optimal_number() -> None:
    result = search(6, lambda index: index % 21 == 5)
    assert (result.num_marked, result.num_iterations) == (3, 3)
    assert result.success_probabilities.shape == (4,)
    assert result.answers == ()
    np.testing.assert_allclose(result.success_probabilities[-1], success_probability_after(6, 3, 3), atol=1e-6)


def test_answers_come_from_the_state() -> None:
    assert set(search(2, [2], key=jax.random.key(0), shots=50).answers) == {2}
    result = search(4, [3, 9], 1, key=jax.random.key(1), shots=4000)
    counts = np.bincount(result.answers, minlength=16)
    assert chisquare(counts, 4000 * np.asarray(result.state, np.float64) ** 2).pvalue > 1e-3
    again = search(4, [3, 9], 1, key=jax.random.key(1), shots=4000)
    assert again.answers == result.answers
    assert all(isinstance(answer, int) for answer in result.answers)


def test_a_search_holds_two_states_and_the_mask() -> None:
    mask, weights = jax.ShapeDtypeStruct((2**16,), jnp.bool_), jax.ShapeDtypeStruct((2, 2), jnp.float32)
    found = grover._state_after.lower(mask, weights, True).compile().memory_analysis()
    held = found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes
    assert held < 1.001 * search_bytes(16)


def test_the_numbers_of_states_fit_where_int32_does_not() -> None:
    mask, weights = jax.ShapeDtypeStruct((2**31,), jnp.bool_), jax.ShapeDtypeStruct((2, 2), jnp.float32)
    with jax.enable_x64(False):
        jax.eval_shape(grover._state_after, mask, weights, True)


def test_double_precision() -> None:
    with jax.enable_x64(True):
        result = search(10, [5], 300)
        assert result.state.dtype == jnp.float64
        expected = [success_probability_after(10, 1, k) for k in range(301)]
        np.testing.assert_allclose(result.success_probabilities, expected, rtol=0, atol=1e-12)


def test_what_cannot_fit_is_refused_with_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grover, "device_bytes", lambda: search_bytes(10))
    search(10, [1], 1)
    message = rf"at most 10 on this device, which has {search_bytes(10):,} bytes.*needs {search_bytes(11):,} bytes"
    with pytest.raises(UserError, match=message):
        search(11, [1], 1)
    with pytest.raises(UserError, match=message):
        search_unknown(11, [1], jax.random.key(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optimal_iterations(3, 0), r"`num_marked` must be an integer in 1\.\.8, but got 0"),
        (lambda: optimal_iterations(3, 9), r"`num_marked` must be an integer in 1\.\.8, but got 9"),
        (lambda: success_probability_after(3, 9, 1), r"`num_marked` must be an integer in 0\.\.8"),
        (lambda: success_probability_after(3, 1, -1), "`num_iterations` must be an integer of at least 0"),
        (lambda: search(3, [False] * 8), r"`num_marked` must be an integer in 1\.\.8, but got 0"),
        (lambda: search(3, [1], -1), "`num_iterations` must be an integer of at least 0"),
        (lambda: search(3, [1], shots=5), "`key` must be given for 5 shots"),
        (lambda: search_unknown(3, [1], jax.random.key(0), growth=1.0), "`growth` must be above 1 and below 4/3"),
        (lambda: search_unknown(3, [1], jax.random.key(0), growth=1.34), "`growth` must be above 1 and below 4/3"),
        (lambda: search_unknown(3, [1], jax.random.key(0), max_queries=-1), "`max_queries` must be an integer"),
    ],
)
def test_mistakes(call: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize("growth", [6 / 5, 8 / 7])
@pytest.mark.parametrize("num_marked", [1, 5, 40, 48, 63, 64])
def test_unknown_number_of_marked_states(num_marked: int, growth: float) -> None:
    """Each answer is marked, and the mean number of iterations keeps the bound of the paper for growth 6/5."""
    n, runs = 6, 60
    mask = random_mask(n, num_marked)
    results = [search_unknown(n, mask, jax.random.key(seed), growth=growth) for seed in range(runs)]
    assert all(result.answer is not None and mask[result.answer] for result in results)
    for result in results:
        for step, count in enumerate(result.iterations):
            assert 0 <= count < math.ceil(min(growth**step, 8))
        assert result.num_queries == sum(result.iterations) + len(result.iterations)
    if num_marked <= 48 and growth == 6 / 5:
        bound = 9 / 2 * 2**n / (2 * math.sqrt((2**n - num_marked) * num_marked))
        assert np.mean([sum(result.iterations) for result in results]) <= bound
    if num_marked == 64:
        assert all(result.iterations == (0,) for result in results)


def test_unknown_search_measures_with_the_right_probability() -> None:
    """Lemma 2 of the paper: with a bound m, 1/2 - sin(4 m theta) / (4 m sin(2 theta)); here for single runs."""
    mask = jnp.asarray(random_mask(5, 3))
    keys = jax.random.split(jax.random.key(0), 200)
    for count in (0, 1, 2):
        found = [grover._attempt(key, mask, 3, count)[1] for key in keys]
        probability = success_probability_after(5, 3, count)
        assert abs(np.mean(found) - probability) < 4 * math.sqrt(probability * (1 - probability) / len(keys)) + 1e-6


def test_unknown_search_gives_up_where_nothing_is_marked() -> None:
    result = search_unknown(4, [False] * 16, jax.random.key(0))
    grows = math.ceil(math.log(4, 6 / 5))  # 1.2**8 = 4.3 is the first power at the full bound
    assert result.answer is None
    assert len(result.iterations) == grows + grover.GIVE_UP_AFTER
    assert all(count <= 3 for count in result.iterations)


@pytest.mark.parametrize("limit", [0, 1, 10, 200])
def test_unknown_search_keeps_to_its_queries(limit: int) -> None:
    for seed in range(5):
        result = search_unknown(4, [False] * 16, jax.random.key(seed), max_queries=limit)
        assert result.answer is None
        assert limit - 4 <= result.num_queries <= limit  # the next run would have taken at most 4
