"""Factoring: what is answered classically, every number of the list, and success rates against theory."""

import inspect
import re
from collections.abc import Callable
from math import gcd, prod
from typing import Any

import jax
import numpy as np
import pytest

from qjax.algorithms.modular import is_prime, multiplicative_order, prime_power
from qjax.algorithms.order_finding import order_from_phase, order_success_probability
from qjax.algorithms.shor import FactorResult, factor, success_probability
from qjax.checks import UserError

KEY = jax.random.key(0)
SMALL = [n for n in range(3, 64, 2) if prime_power(n) is None]
LARGE = [77, 91, 143]


def check_result(result: FactorResult) -> None:
    """Recomputes every attempt of a run from what the ledger says was measured."""
    n = result.number
    assert result.resources is not None
    for position, attempt in enumerate(result.attempts):
        assert 2 <= attempt.base <= n - 2
        assert bool(attempt.factors) == (position == len(result.attempts) - 1 and bool(result.factors))
        if attempt.run is None:
            assert gcd(attempt.base, n) > 1
            continue
        t = result.resources.num_counting_qubits
        assert attempt.run == order_from_phase(attempt.run.outcome, t, attempt.base, n)
        order = multiplicative_order(attempt.base, n)
        assert attempt.run.order in (None, order)
        useful = order % 2 == 0 and pow(attempt.base, order // 2, n) != n - 1
        assert bool(attempt.factors) == (useful and attempt.run.order is not None)
    if result.factors:
        low, high = result.factors
        assert 1 < low <= high
        assert low * high == n
        assert result.answered_by == ("gcd" if result.attempts[-1].run is None else "order finding")
    else:
        assert result.answered_by == "nothing"


def test_list_of_small_numbers() -> None:
    assert SMALL == [15, 21, 33, 35, 39, 45, 51, 55, 57, 63]


@pytest.mark.parametrize(
    ("number", "factors", "answered_by"),
    [
        (2, (2,), "prime"),
        (3, (3,), "prime"),
        (97, (97,), "prime"),
        (2**61 - 1, (2**61 - 1,), "prime"),
        (4, (2, 2), "even"),
        (30, (2, 15), "even"),
        (10**30, (2, 5 * 10**29), "even"),
        (9, (3, 3), "prime power"),
        (125, (5, 5, 5), "prime power"),
        (1_000_003**2, (1_000_003, 1_000_003), "prime power"),
    ],
)
def test_classical_answers_run_nothing(number: int, factors: tuple[int, ...], answered_by: str) -> None:
    result = factor(number, KEY, max_qubits=1)
    assert result == FactorResult(number, factors, answered_by)
    assert (result.attempts, result.num_runs, result.resources) == ((), 0, None)


def test_every_number_up_to_150_is_split() -> None:
    for n in range(2, 151):
        result = factor(n, jax.random.key(n), simulation="direct")
        assert prod(result.factors) == n
        assert is_prime(n) == (result.factors == (n,))


@pytest.mark.parametrize("number", SMALL + LARGE)
def test_quantum_part_alone_splits_the_number(number: int) -> None:
    for seed in range(5):
        result = factor(number, jax.random.key(seed), use_lucky_gcd=False, simulation="direct")
        assert result.answered_by == "order finding"
        assert result.num_runs == len(result.attempts)
        check_result(result)


@pytest.mark.parametrize("number", [15, *(pytest.param(n, marks=pytest.mark.slow) for n in (*SMALL[1:], *LARGE))])
def test_circuit_splits_the_number(number: int) -> None:
    result = factor(number, KEY, use_lucky_gcd=False, max_qubits=24)
    assert result.answered_by == "order finding"
    check_result(result)


def test_lucky_bases_are_reported_apart() -> None:
    results = [factor(21, jax.random.key(seed), simulation="direct") for seed in range(40)]
    for result in results:
        check_result(result)
    assert {result.answered_by for result in results} == {"gcd", "order finding"}
    assert all(result.num_runs == len(result.attempts) - (result.answered_by == "gcd") for result in results)


def test_bases_are_drawn_evenly_from_2_to_n_minus_2() -> None:
    results = [factor(15, jax.random.key(seed), max_attempts=1, simulation="direct") for seed in range(300)]
    drawn = np.bincount([result.attempts[0].base for result in results], minlength=15)
    assert drawn[[0, 1, 14]].sum() == 0
    assert abs(drawn[2:14] - 25).max() < 4 * 25**0.5


def test_attempts_can_run_out() -> None:
    keys = [jax.random.key(seed) for seed in range(40)]
    results = [factor(21, key, max_attempts=1, use_lucky_gcd=False, simulation="direct") for key in keys]
    for result in results:
        check_result(result)
    failed = [result for result in results if not result.factors]
    assert {result.attempts[0].verdict for result in failed} == {
        "the order was not found",
        "the order is odd",
        "base**(order/2) is -1",
    }


def test_the_key_decides_the_attempts() -> None:
    first, again, other = (factor(35, jax.random.key(seed), simulation="direct") for seed in (1, 1, 2))
    assert first == again != other


def test_resources_are_those_of_order_finding() -> None:
    resources = factor(143, KEY, simulation="direct").resources
    assert resources is not None
    assert (resources.num_counting_qubits, resources.num_work_qubits, resources.num_qubits) == (16, 8, 24)
    assert resources.memory_bytes == 3 * 8 * 2**16


# Theory. ----------------------------------------------------------------------------------------------------------


def test_success_probability_of_15() -> None:
    """Orders 4, 2, 4, 4, 2, 4 of 2, 4, 7, 8, 11, 13: found with 3/4 and 1/2, and all of these bases are useful."""
    theory = success_probability(15)
    assert theory.order_found == pytest.approx((4 * 3 / 4 + 2 * 1 / 2) / 6)
    assert theory.useful_bases == 1
    assert theory.factor_found == pytest.approx(theory.order_found)
    assert theory.lucky_bases == pytest.approx(6 / 12)
    assert theory.with_luck == pytest.approx(0.5 + 0.5 * theory.factor_found)


@pytest.mark.parametrize("number", [15, 39, 63, 77])
def test_half_of_the_bases_are_useful(number: int) -> None:
    """Nielsen and Chuang's theorem 5.3 counts 1 and N - 1 too: of 1 to N - 1 at least half are useful."""
    theory = success_probability(number)
    bases = [a for a in range(2, number - 1) if gcd(a, number) == 1]
    roots = [pow(a, r // 2, number) for a in bases if (r := multiplicative_order(a, number)) % 2 == 0]
    useful = sum(1 < gcd(root - 1, number) < number for root in roots)
    assert theory.useful_bases == pytest.approx(useful / len(bases))
    assert useful >= (len(bases) + 2) / 2
    found = [order_success_probability(a, number) for a in bases] if number < 64 else [theory.order_found]
    assert theory.order_found == pytest.approx(np.mean(found))
    assert theory.factor_found == pytest.approx(theory.order_found * theory.useful_bases, abs=0.02)


@pytest.mark.parametrize(
    ("number", "use_lucky_gcd"),
    [(15, False), (45, False), (91, False), pytest.param(143, False, marks=pytest.mark.slow), (21, True)],
)
def test_measured_rate_agrees_with_theory(number: int, use_lucky_gcd: bool) -> None:
    theory = success_probability(number)
    expected = theory.with_luck if use_lucky_gcd else theory.factor_found
    trials = 200
    attempts = factors = 0
    while attempts < trials:
        left = trials - attempts
        result = factor(
            number,
            jax.random.key(attempts),
            max_attempts=left,
            use_lucky_gcd=use_lucky_gcd,
            simulation="direct",
        )
        attempts, factors = attempts + len(result.attempts), factors + bool(result.factors)
    noise = (expected * (1 - expected) / trials) ** 0.5
    assert abs(factors / trials - expected) < 4 * noise


# Mistakes. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
def test_numbers_below_2_are_refused(number: int) -> None:
    with pytest.raises(UserError, match=f"Argument `number` must be an integer of at least 2, but got {number}"):
        factor(number, KEY)


@pytest.mark.parametrize("number", [-15, 15.0, "15", None, True])
def test_other_things_than_integers_are_refused(number: Any) -> None:
    with pytest.raises(UserError, match=r"Argument `number` must be an integer.*, but got"):
        inspect.unwrap(factor)(number, KEY)  # without the types that the tests check


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: factor(10**25 + 1, KEY), "`number` must be below 3317044064679887385961981"),
        (lambda: factor(15, KEY, max_attempts=0), "`max_attempts` must be an integer of at least 1, but got 0"),
        (lambda: factor(15, KEY, simulation="qasm"), "`simulation` must be one of the choices, but got 'qasm'."),
        (lambda: factor(15, KEY, num_counting_qubits=0), "`num_counting_qubits` must be an integer of at least 1"),
        (
            lambda: factor(143, KEY, max_qubits=20),
            "`number` must take at most 20 qubits (`max_qubits`), but got 143, which takes 24 qubits and "
            "402,653,184 bytes.",
        ),
        (lambda: factor(60_003, KEY), "which takes 48 qubits and 6,755,399,441,055,744 bytes."),
        (lambda: success_probability(1), "`number` must be odd, composite and no prime power, but got 1."),
        (lambda: success_probability(17), "`number` must be odd, composite and no prime power, but got 17."),
        (lambda: success_probability(22), "`number` must be odd, composite and no prime power, but got 22."),
        (lambda: success_probability(27), "`number` must be odd, composite and no prime power, but got 27."),
    ],
)
def test_mistakes_get_one_clear_error(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        call()
