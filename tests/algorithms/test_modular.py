"""Modular arithmetic against brute force, and modular multiplication against permutation matrices built by hand."""

import re
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from math import gcd, lcm

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qjax.algorithms.modular import (
    MAX_WORK_QUBITS,
    PRIME_TEST_BOUND,
    continued_fraction_convergents,
    is_prime,
    modular_exponentiation,
    modular_multiplication_gate,
    modular_powers,
    multiplicative_order,
    num_work_qubits,
    prime_power,
    reduce_period,
)
from qjax.checks import UserError
from qjax.quantum import simulate


def primes_below(bound: int) -> set[int]:
    """The sieve of Eratosthenes."""
    is_left = np.ones(bound, bool)
    is_left[:2] = False
    for p in range(2, int(bound**0.5) + 1):
        if is_left[p]:
            is_left[p * p :: p] = False
    return set(np.flatnonzero(is_left).tolist())


PRIMES = primes_below(20_000)


def test_primes_are_those_of_the_sieve() -> None:
    assert {n for n in range(20_000) if is_prime(n)} == PRIMES


@pytest.mark.parametrize("number", [2**31 - 1, 2**61 - 1, 10**18 + 9])
def test_large_primes_are_known(number: int) -> None:
    assert is_prime(number)


# Composite numbers that pass the strong test to the first 1, 2, 3, 4, 9 and 12 primes (OEIS A014233), and Carmichael
# numbers.
@pytest.mark.parametrize(
    "number",
    [2047, 1373653, 25326001, 3215031751, 3825123056546413051, 318665857834031151167461, 561, 825265, 9746347772161],
)
def test_pseudoprimes_are_found_out(number: int) -> None:
    assert not is_prime(number)


def test_prime_powers_are_those_of_brute_force() -> None:
    powers = {p**k: (p, k) for p in PRIMES for k in range(1, 15) if p**k < 20_000}
    assert all(prime_power(n) == powers.get(n) for n in range(20_000))


@pytest.mark.parametrize(("p", "k"), [(1_000_003, 3), (1_000_003, 2), (3, 50), (2**61 - 1, 1), (1_000_000_007, 2)])
def test_large_prime_powers_are_exact(p: int, k: int) -> None:
    assert prime_power(p**k) == (p, k)
    assert prime_power(p**k * 2) is None
    assert prime_power(p**k * 3) == ((3, k + 1) if p == 3 else None)


@given(st.integers(0, 10**30), st.integers(1, 10**30))
@settings(deadline=None)
def test_convergents_approach_the_fraction_from_both_sides(numerator: int, denominator: int) -> None:
    convergents = continued_fraction_convergents(numerator, denominator)
    exact = Fraction(numerator, denominator)
    assert convergents[-1] == (exact.numerator, exact.denominator)
    for k, ((p, q), (next_p, next_q)) in enumerate(pairwise(convergents)):
        assert next_p * q - p * next_q == (-1) ** k
        assert (exact - Fraction(p, q)) * (-1) ** k > 0
        assert abs(exact - Fraction(p, q)) <= Fraction(1, q * next_q)


@given(st.integers(1, 200), st.integers(0, 200), st.integers(1, 10**6), st.integers(-(10**6), 10**6))
@settings(deadline=None)
def test_every_near_fraction_is_a_convergent(r: int, s: int, scale: int, offset: int) -> None:
    """Legendre's theorem: a fraction s/r within 1 / (2 r**2) of a number is one of its convergents."""
    s %= r
    near = Fraction(s, r)
    number = near + Fraction(offset, 10**6) * Fraction(1, 2 * near.denominator**2) * Fraction(1, scale)
    assume(number >= 0 and abs(number - near) * 2 * near.denominator**2 < 1)
    assert (near.numerator, near.denominator) in continued_fraction_convergents(number.numerator, number.denominator)


@pytest.mark.parametrize("modulus", [2, 3, 9, 15, 21, 64, 143])
def test_orders_are_the_first_periods(modulus: int) -> None:
    for base in range(1, modulus):
        if gcd(base, modulus) == 1:
            powers = [base**k % modulus for k in range(1, modulus + 1)]
            assert multiplicative_order(base, modulus) == powers.index(1) + 1


@given(st.integers(2, 500), st.integers(1, 500), st.integers(1, 720))
@settings(deadline=None)
def test_any_period_is_reduced_to_the_order(modulus: int, base: int, factor: int) -> None:
    assume(gcd(base, modulus) == 1)
    order = multiplicative_order(base, modulus)
    assert reduce_period(order * factor, base, modulus) == order


@pytest.mark.parametrize("modulus", [2, 3, 4, 5, 15, 16, 17, 21])
def test_multiplication_permutes_the_residues_alone(modulus: int) -> None:
    assert 2 ** (num_work_qubits(modulus) - 1) < modulus <= 2 ** num_work_qubits(modulus)
    for base in (b for b in range(1, 2 * modulus) if gcd(b, modulus) == 1):
        matrix = modular_multiplication_gate(base, modulus).matrix()
        expected = np.eye(2 ** num_work_qubits(modulus))
        expected[:modulus, :modulus] = 0
        for y in range(modulus):
            expected[base * y % modulus, y] = 1
        np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize(
    ("base", "modulus", "t"), [(1, 2, 2), (2, 3, 1), (2, 5, 3), (7, 15, 2), (5, 6, 4), (10, 21, 2)]
)
def test_exponentiation_multiplies_by_the_power(base: int, modulus: int, t: int) -> None:
    circuit = modular_exponentiation(base, modulus, t)
    m = num_work_qubits(modulus)
    assert circuit.counts() == {"c-permutation": t}
    expected = np.zeros((2 ** (t + m),) * 2)
    for x in range(2**t):
        for y in range(2**m):
            image = base**x * y % modulus if y < modulus else y
            expected[(x << m) + image, (x << m) + y] = 1
    np.testing.assert_allclose(simulate.unitary(circuit), expected, atol=1e-6)


@pytest.mark.parametrize(("base", "modulus", "t"), [(1, 2, 1), (7, 15, 8), (2, 21, 10), (5, 143, 12), (3, 40_001, 9)])
def test_powers_are_those_of_python(base: int, modulus: int, t: int) -> None:
    powers = modular_powers(base, modulus, t)
    assert powers.dtype == np.int32
    assert powers.tolist() == [pow(base, x, modulus) for x in range(2**t)]


def test_orders_divide_the_carmichael_function() -> None:
    assert {multiplicative_order(a, 77) for a in range(1, 77) if gcd(a, 77) == 1} <= {
        d for d in range(1, 61) if lcm(6, 10) % d == 0
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: is_prime(-1), "`number` must be an integer of at least 0, but got -1"),
        (lambda: is_prime(True), "`number` must be an integer of at least 0, but got True"),
        (lambda: prime_power(PRIME_TEST_BOUND), "`number` must be below 3317044064679887385961981"),
        (lambda: multiplicative_order(6, 15), "`base` must share no factor with the modulus 15, but got 6, gcd 3"),
        (lambda: multiplicative_order(1, 1), "`modulus` must be an integer of at least 2, but got 1"),
        (lambda: reduce_period(3, 7, 15), "`period` must be at least 1 and give 7"),
        (lambda: reduce_period(0, 7, 15), "`period` must be at least 1 and give 7"),
        (lambda: continued_fraction_convergents(1, 0), "`denominator` must be an integer of at least 1, but got 0"),
        (lambda: continued_fraction_convergents(-1, 1), "`numerator` must be an integer of at least 0, but got -1"),
        (lambda: num_work_qubits(1), "`modulus` must be an integer of at least 2, but got 1"),
        (lambda: modular_multiplication_gate(5, 15), "`base` must share no factor with the modulus 15"),
        (lambda: modular_multiplication_gate(2, 2**16 + 1), f"`modulus` must have at most {MAX_WORK_QUBITS} bits"),
        (lambda: modular_exponentiation(2, 15, 0), "`num_counting_qubits` must be an integer of at least 1"),
        (lambda: modular_powers(2, 15, 0), "`num_counting_qubits` must be an integer of at least 1, but got 0"),
    ],
)
def test_mistakes_get_one_clear_error(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        call()
