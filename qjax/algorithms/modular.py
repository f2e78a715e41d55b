"""Modular arithmetic for order finding: exact integers, and multiplication as a permutation of basis states."""

from math import gcd

import numpy as np

from qjax.checks import check
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.custom_gates import permutation_gate
from qjax.quantum.circuits.gate import Gate
from qjax.quantum.circuits.operation import operation

# Below the bound no composite number passes the strong test to all of these bases (Sorenson and Webster 2015,
# arXiv:1509.00377, psi_13).
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
PRIME_TEST_BOUND = 3_317_044_064_679_887_385_961_981
# Multiplication by a number is a table of this many bits at most: 65,536 integers for each controlled gate.
MAX_WORK_QUBITS = 16


def is_prime(number: int) -> bool:
    """Returns whether the number is prime, with certainty: Miller's strong test to a set of bases that is enough.

    Args:
      number: at least 0 and below `PRIME_TEST_BOUND`, 3.3e24.

    Raises:
      UserError: the number is not such an integer.
    """
    n = _check_number(number)
    if n < 2 or any(n % p == 0 for p in _WITNESSES):
        return n in _WITNESSES
    twos = ((n - 1) & (1 - n)).bit_length() - 1  # n - 1 = odd * 2**twos
    return all(_passes_strong_test(n, witness, (n - 1) >> twos, twos) for witness in _WITNESSES)


def _check_number(number: int) -> int:
    n = as_index("number", number)
    check(n < PRIME_TEST_BOUND, "number", f"be below {PRIME_TEST_BOUND} for a prime test that is certain", n)
    return n


def _passes_strong_test(n: int, witness: int, odd: int, twos: int) -> bool:
    power = pow(witness, odd, n)
    if power == 1:
        return True
    for _ in range(twos):
        if power == n - 1:
            return True
        power = power * power % n
    return False


def prime_power(number: int) -> tuple[int, int] | None:
    """Returns (p, k) where the number is p**k with p prime and k at least 1; None where it is no such power.

    Raises:
      UserError: as for `is_prime`.

    >>> prime_power(27), prime_power(15)
    ((3, 3), None)
    """
    n = _check_number(number)
    for k in range(n.bit_length(), 0, -1):
        root = n if k == 1 else round(n ** (1 / k))  # below the bound roots are exact in float64
        if root**k == n and is_prime(root):
            return root, k
    return None


def multiplicative_order(base: int, modulus: int) -> int:
    """Returns the least r >= 1 with base**r = 1 modulo the modulus, by trying all: what order finding is tested by.

    Raises:
      UserError: base and modulus are not integers without a common factor, the modulus from 2 on.
    """
    base, modulus = check_base(base, modulus)
    power, order = base % modulus, 1
    while power != 1:
        power, order = power * base % modulus, order + 1
    return order


def reduce_period(period: int, base: int, modulus: int) -> int:
    """Returns the order of the base, given any period of its powers: base**period = 1 modulo the modulus.

    The order divides every period, so that taking away prime factors while it stays a period ends there.

    Raises:
      UserError: the period is none, or base and modulus are not as `multiplicative_order` asks.
    """
    base, modulus = check_base(base, modulus)
    order = as_index("period", period)
    is_period = order >= 1 and pow(base, order, modulus) == 1
    check(is_period, "period", f"be at least 1 and give {base}**period = 1 modulo {modulus}", period)
    left, factor = order, 2
    while left > 1:
        factor = factor if factor * factor <= left else left
        while left % factor == 0:
            left //= factor
            if pow(base, order // factor, modulus) == 1:
                order //= factor
        factor += 1
    return order


def continued_fraction_convergents(numerator: int, denominator: int) -> list[tuple[int, int]]:
    """Returns the convergents p/q of a fraction as pairs (p, q) in lowest terms, the last being the fraction itself.

    With a_k the quotients of Euclid's algorithm, p_k = a_k p_(k-1) + p_(k-2) and q_k = a_k q_(k-1) + q_(k-2) (Nielsen
    and Chuang 2010, appendix 4.4). All integers are exact.

    Args:
      numerator: at least 0.
      denominator: at least 1.

    Raises:
      UserError: a number is not such an integer.

    >>> continued_fraction_convergents(31, 13)
    [(2, 1), (5, 2), (7, 3), (12, 5), (31, 13)]
    """
    high, low = as_index("numerator", numerator), as_index("denominator", denominator)
    check(low >= 1, "denominator", "be an integer of at least 1", denominator)
    convergents = []
    (p, q), (last_p, last_q) = (1, 0), (0, 1)
    while low:
        quotient, rest = divmod(high, low)
        p, last_p = quotient * p + last_p, p
        q, last_q = quotient * q + last_q, q
        convergents.append((p, q))
        high, low = low, rest
    return convergents


def check_base(base: int, modulus: int) -> tuple[int, int]:
    """Returns base and modulus as integers; raises unless the modulus is at least 2 and they share no factor."""
    number, n = as_index("base", base), as_index("modulus", modulus)
    check(n >= 2, "modulus", "be an integer of at least 2", modulus)
    check(gcd(number, n) == 1, "base", f"share no factor with the modulus {n}", f"{base}, gcd {gcd(number, n)}")
    return number, n


def num_work_qubits(modulus: int) -> int:
    """Returns ceil(log2 N), the number of qubits that hold 0..N-1.

    Raises:
      UserError: N is not an integer of at least 2.
    """
    n = as_index("modulus", modulus)
    check(n >= 2, "modulus", "be an integer of at least 2", modulus)
    return (n - 1).bit_length()


def modular_multiplication_gate(multiplier: int, modulus: int) -> Gate:
    """Returns the permutation gate |y> -> |multiplier y mod N> for y < N, on ceil(log2 N) qubits.

    Basis states from N on stay as they are, as in Nielsen and Chuang 2010, equation 5.36.

    Raises:
      UserError: multiplier and modulus share a factor (it would be no permutation) or are not integers, or the gate
        would have more than `MAX_WORK_QUBITS` qubits.

    >>> modular_multiplication_gate(2, 3).permutation()
    array([0, 2, 1, 3])
    """
    multiplier, modulus = check_base(multiplier, modulus)
    return permutation_gate(_multiplication_table(multiplier, modulus))


def _multiplication_table(multiplier: int, modulus: int) -> np.ndarray:
    qubits = num_work_qubits(modulus)
    expectation = f"have at most {MAX_WORK_QUBITS} bits, for multiplication by a table"
    check(qubits <= MAX_WORK_QUBITS, "modulus", expectation, f"{modulus}, which has {qubits}")
    values = np.arange(2**qubits, dtype=np.int64)
    return np.where(values < modulus, values * (multiplier % modulus) % modulus, values)


def modular_exponentiation(base: int, modulus: int, num_counting_qubits: int) -> Circuit:
    """Returns the circuit |x>|y> -> |x>|base**x y mod N> for y < N: one controlled permutation for each bit of x.

    The first t = `num_counting_qubits` qubits hold x, qubit 0 its most significant bit; the last ceil(log2 N) hold y.
    Counting qubit q controls the multiplication by base**(2**(t-1-q)) mod N, a number found by repeated squaring
    (Nielsen and Chuang 2010, box 5.2). None is left out, also where that number is 1.

    Raises:
      UserError: as for `modular_multiplication_gate`, or `num_counting_qubits` is below 1.
    """
    base, modulus = check_base(base, modulus)
    t = as_index("num_counting_qubits", num_counting_qubits)
    check(t >= 1, "num_counting_qubits", "be an integer of at least 1", num_counting_qubits)
    total = t + num_work_qubits(modulus)
    steps = []
    for q in reversed(range(t)):
        gate = modular_multiplication_gate(pow(base, 2 ** (t - 1 - q), modulus), modulus)
        steps.append(operation(gate, range(t, total), controls=q))
    return Circuit(total, tuple(steps))


def modular_powers(base: int, modulus: int, num_counting_qubits: int) -> np.ndarray:
    """Returns base**x mod N for each x of 0 .. 2**t - 1, `[2**t]`, int32.

    It is the work register's basis state beside |x> after `modular_exponentiation` of |x>|1>, followed through the
    same permutations.

    Raises:
      UserError: as for `modular_exponentiation`.
    """
    base, modulus = check_base(base, modulus)
    t = as_index("num_counting_qubits", num_counting_qubits)
    check(t >= 1, "num_counting_qubits", "be an integer of at least 1", num_counting_qubits)
    values = np.ones(1, np.int32)
    for bit in range(t):
        table = _multiplication_table(pow(base, 2**bit, modulus), modulus).astype(np.int32)
        values = np.concatenate([values, table[values]])
    return values
