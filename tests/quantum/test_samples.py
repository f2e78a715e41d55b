"""Draws against the probabilities they are made from: rare branches, many outcomes, zeros, batches, keys."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chisquare

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.measure import samples
from qjax.quantum.measure.samples import sample_indices
from qjax.quantum.simulate import sample
from qjax.quantum.templates.encodings import angle_encoding

SURE = 1e-4  # smallest p value of a right draw; the keys are fixed


def superposition(n: int, rare: float | None = None) -> Circuit:
    """H on every qubit; or on all but qubit 0, which is 1 with the probability `rare`."""
    first = Circuit(n).append("h", 0) if rare is None else Circuit(n).append("ry", 0, 2 * np.arcsin(np.sqrt(rare)))
    for qubit in range(1, n):
        first = first.append("h", qubit)
    return first


def check_even(values: Any, num_values: int) -> None:
    assert chisquare(np.bincount(values, minlength=num_values)).pvalue > SURE


def check_bits_even(outcomes: np.ndarray, num_bits: int) -> None:
    """The lowest and the highest of `num_bits` bits, up to 8 of each, take all their values equally often."""
    width = min(8, num_bits)
    check_even(outcomes % 2**width, 2**width)
    check_even((outcomes % 2**num_bits) >> (num_bits - width), 2**width)


# Rare branches and many outcomes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 16, 24])
def test_every_qubit_of_an_even_superposition_is_fair(n: int) -> None:
    found = np.asarray(sample(jax.random.key(n), superposition(n), shots=20_000))
    check_bits_even(found, n)
    for qubit in range(n):
        ones = np.count_nonzero((found >> qubit) & 1)
        assert abs(ones - 10_000) < 5 * np.sqrt(5_000), qubit


@pytest.mark.slow
def test_every_qubit_of_an_even_superposition_is_fair_on_26_qubits() -> None:
    check_bits_even(np.asarray(sample(jax.random.key(0), superposition(26), shots=100_000)), 26)


def test_outcomes_of_26_qubits_with_a_rare_branch() -> None:
    halves = jnp.repeat(jnp.asarray([1 - 1e-2, 1e-2], jnp.float32), 2**25)
    found = np.asarray(sample_indices(jax.random.key(0), halves, 200_000))
    rare = found[found >= 2**25]
    assert binom.cdf(len(rare), 200_000, 1e-2) > SURE
    assert binom.sf(len(rare), 200_000, 1e-2) > SURE
    check_bits_even(rare, 25)
    check_bits_even(found[found < 2**25], 25)


def test_qubits_are_fair_within_a_rare_branch() -> None:
    n, rare, shots = 16, 1e-3, 1_000_000
    drawn = jax.jit(lambda key: sample(key, superposition(n, rare), shots=shots))(jax.random.key(1))
    found = np.asarray(drawn)[np.asarray(drawn) >= 2 ** (n - 1)]
    assert min(binom.cdf(len(found), shots, rare), binom.sf(len(found), shots, rare)) > SURE
    for qubit in range(n - 1):
        ones = np.count_nonzero((found >> qubit) & 1)
        assert abs(ones - len(found) / 2) < 5 * np.sqrt(len(found) / 4), qubit


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("n", [1, 3, 7])
def test_outcomes_of_any_weights(n: int, x64: bool) -> None:
    rng = np.random.default_rng(n)
    amplitudes = rng.normal(size=2**n) * 10.0 ** rng.integers(-2, 1, 2**n)
    amplitudes[::3] = 0
    amplitudes[1] = -0.5
    shots, weights = 50_000, amplitudes**2
    with jax.enable_x64(x64):
        for values, weight in ((weights, samples._itself), (amplitudes, jnp.square)):
            found = np.bincount(sample_indices(jax.random.key(n), values, shots, weight), minlength=2**n)
            assert found[weights == 0].sum() == 0
            expected = shots * weights / weights.sum()
            often = expected > 5
            both = [np.append(part[often], part[~often].sum()) for part in (found, expected)]
            kept = both[1] > 0
            assert kept.sum() == 1 or chisquare(both[0][kept], both[1][kept]).pvalue > SURE


@pytest.mark.parametrize("count", [1, 3, 5, 100])
def test_any_number_of_outcomes(count: int) -> None:
    found = np.asarray(sample_indices(jax.random.key(0), np.ones(count, np.float32), 20_000))
    assert found.max() == count - 1
    assert count == 1 or chisquare(np.bincount(found, minlength=count)).pvalue > SURE


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("p", [0.4, 1e-3, 1e-6, 1e-9, 1e-12])
def test_a_half_is_taken_with_its_probability(p: float, upper: bool) -> None:
    """Of all pairs of words, a share of p, to one part in a million, takes the half of probability p."""

    def taken(share: float) -> bool:
        high, low = divmod(int(share * 2**64), 2**32)
        weights = np.asarray([1 - p, p] if upper else [p, 1 - p], np.float32)
        words = jnp.asarray([high, low], jnp.uint32)
        return bool(samples._take_upper(jnp.asarray(weights[0]), jnp.asarray(weights[1]), words)) == upper

    assert taken(p * (1 - 1e-6))
    assert not taken(p * (1 + 1e-6))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1e-45, 1e-30, 1e-6, 1.0, 1e30]), min_size=16, max_size=16), st.integers(0, 2**32)
)
def test_what_has_no_weight_is_never_drawn(weights: list, seed: int) -> None:
    """Also where all random words are at an end of their range."""
    rows = np.asarray([weights], np.float32)
    drawn = sample_indices(jax.random.key(seed), rows, 64)
    _, levels = samples._partial_sums(jnp.asarray(rows), samples._itself)
    ends = np.full((4, 2, 1, 2), [0, 2**32 - 1], np.uint32)
    if rows.max() < np.finfo(np.float32).tiny:
        np.testing.assert_array_equal(drawn, -1)
    else:
        assert rows[0, np.asarray(drawn)].min() >= np.finfo(np.float32).tiny
        assert rows[0, np.asarray(samples._descend(levels, jnp.asarray(ends)))].min() >= np.finfo(np.float32).tiny


def test_examples_without_a_distribution_give_minus_one_and_leave_the_others_alone() -> None:
    rows = np.asarray([[0, 0], [np.nan, 1], [np.inf, 1], [3e38, 3e38], [1e-45, 0], [0, 1]], np.float32)
    found = np.asarray(sample_indices(jax.random.key(0), rows, 10))
    np.testing.assert_array_equal(found, np.repeat([[-1], [-1], [-1], [-1], [-1], [1]], 10, axis=1))
    angles = np.asarray([[np.pi], [np.nan]], np.float32)
    found = sample(jax.random.key(0), angle_encoding(1), inputs=angles, shots=5)
    np.testing.assert_array_equal(found, [[1] * 5, [-1] * 5])


# Keys, batches, memory -------------------------------------------------------------------------------------------


def test_a_key_gives_the_same_shots_eagerly_and_under_jit() -> None:
    circuit = angle_encoding(6).append("cx", (0, 3)).append("ry", 3, 0.3)
    inputs = np.random.default_rng(0).uniform(-3, 3, (3, 6)).astype(np.float32)
    eager = sample(jax.random.key(5), circuit, inputs=inputs, shots=20_000)
    jitted = jax.jit(lambda key, x: sample(key, circuit, inputs=x, shots=20_000))(jax.random.key(5), inputs)
    np.testing.assert_array_equal(eager, jitted)
    assert np.any(eager != sample(jax.random.key(6), circuit, inputs=inputs, shots=20_000))


def test_vmap_over_keys_gives_what_each_key_gives() -> None:
    rows = np.random.default_rng(0).random((3, 8), np.float32)
    keys = jax.random.split(jax.random.key(0), 3)
    found = jax.vmap(lambda key, row: sample_indices(key, row, 500))(keys, rows)
    expected = [sample_indices(key, row, 500) for key, row in zip(keys, rows, strict=True)]
    np.testing.assert_array_equal(found, expected)


def test_examples_and_shots_are_independent() -> None:
    """Pairs of two examples, and of shots in turn and a part apart, are as frequent as they should be."""
    shots = 3 * samples._DRAWS_AT_ONCE  # in parts
    first, second = np.asarray(sample_indices(jax.random.key(2), np.ones((2, 4), np.float32), shots))
    part = samples._DRAWS_AT_ONCE // 2
    for left, right in ((first, second), (first[1:], first[:-1]), (first[part:], first[:-part])):
        check_even(4 * left + right, 16)


def test_empty_batch() -> None:
    assert sample_indices(jax.random.key(0), np.ones((0, 4), np.float32), 3).shape == (0, 3)


@pytest.mark.parametrize("weight", [samples._itself, jnp.square])
def test_draws_take_less_memory_than_the_probabilities(weight: Any) -> None:
    n = 20
    values = jax.ShapeDtypeStruct((2**n,), jnp.float32)
    compiled = samples._sample.lower(jax.random.key(0), values, 1000, weight).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 0.5 * 4 * 2**n
