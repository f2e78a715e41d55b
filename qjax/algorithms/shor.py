"""Shor's algorithm: factors of a number from the orders of random bases (Shor 1997, arXiv:quant-ph/9508027).

Where the order r of a modulo N is even and b = a**(r/2) is not -1, b**2 = 1 while b is neither 1 nor -1, so that the
greatest common divisors of b - 1 and b + 1 with N are factors of N (Nielsen and Chuang 2010, theorem 5.2). At least
half of the bases are of this kind where N is odd and no prime power (theorem 5.3). `order_finding.py` finds orders,
and says which simulation runs and why.
"""

from dataclasses import dataclass
from math import gcd

import jax

from qjax.algorithms.modular import is_prime, multiplicative_order, prime_power
from qjax.algorithms.order_finding import (
    SIMULATIONS,
    OrderRun,
    Resources,
    check_budget,
    find_order,
    order_finding_resources,
    order_success_probability,
)
from qjax.checks import check, check_choice
from qjax.quantum.circuits.angle import as_index
from qjax.types import Array, Key


@dataclass(frozen=True)
class FactorAttempt:
    """One base that was tried.

    Attributes:
      base: a, drawn from 2..N-2.
      run: the one run of order finding; None where the base had a factor in common with N, and nothing was run.
      factors: what it gave, ascending; empty where it failed.
      verdict: in words.
    """

    base: int
    run: OrderRun | None
    factors: tuple[int, ...]
    verdict: str


@dataclass(frozen=True)
class FactorResult:
    """What `factor` found.

    Attributes:
      number: N.
      factors: ascending, their product is N: two of them, p k times for N = p**k, N itself where it is prime; empty
        where all attempts failed.
      answered_by: 'prime', 'even', 'prime power' (classical, nothing was run), 'gcd' (a base that shared a factor),
        'order finding', or 'nothing'.
      attempts: all that were made, in order; only the last may have given the factors.
      resources: qubits and memory of order finding; None where N was answered classically.
    """

    number: int
    factors: tuple[int, ...]
    answered_by: str
    attempts: tuple[FactorAttempt, ...] = ()
    resources: Resources | None = None

    @property
    def num_runs(self) -> int:
        """Runs of order finding."""
        return sum(attempt.run is not None for attempt in self.attempts)


def factor(
    number: int,
    key: Key[Array, ""],
    *,
    max_attempts: int = 32,
    num_counting_qubits: int | None = None,
    max_qubits: int | None = None,
    use_lucky_gcd: bool = True,
    simulation: str = "circuit",
) -> FactorResult:
    """Splits a number in two by Shor's algorithm.

    An even number above 2, a prime and a prime power are answered by classical tests. For any other number each
    attempt draws a base of 2..N-2 (1 and N-1 can give nothing) and runs order finding once, so that
    `success_probability` is the chance of an attempt. A base that shares a factor with N is an attempt that
    succeeds without a run; without `use_lucky_gcd` such a base is drawn again, and every attempt is a run.

    Args:
      number: N, at least 2.
      key: typed random key; attempt i uses fold_in(key, i).
      max_attempts: at least 1.
      num_counting_qubits: t; None for 2 ceil(log2 N), so 3 ceil(log2 N) qubits in all: 24 for N = 143.
      max_qubits: the most that may be used, counting and work qubits together; None leaves it to the memory.
      use_lucky_gcd: whether a base that shares a factor with N is an answer.
      simulation: 'circuit' or 'direct', see `order_finding.py`.

    Raises:
      UserError: an argument is out of range, or qubits or memory are not enough.
    """
    n = as_index("number", number)
    check(n >= 2, "number", "be an integer of at least 2", number)
    check(as_index("max_attempts", max_attempts) >= 1, "max_attempts", "be an integer of at least 1", max_attempts)
    check_choice("simulation", simulation, SIMULATIONS)
    known = _answer_classically(n)
    if known is not None:
        return known
    resources = order_finding_resources(n, num_counting_qubits, simulation=simulation)
    check_budget("number", n, resources, max_qubits)
    attempts: list[FactorAttempt] = []
    while len(attempts) < max_attempts and not (attempts and attempts[-1].factors):
        base_key, run_key = jax.random.split(jax.random.fold_in(key, len(attempts)))
        base = _draw_base(base_key, n, coprime=not use_lucky_gcd)
        attempts.append(_attempt(base, n, run_key, resources.num_counting_qubits, simulation))
    factors = attempts[-1].factors
    by = "nothing" if not factors else "order finding" if attempts[-1].run is not None else "gcd"
    return FactorResult(n, factors, by, tuple(attempts), resources)


def _answer_classically(n: int) -> FactorResult | None:
    if n > 2 and n % 2 == 0:
        return FactorResult(n, (2, n // 2), "even")
    if is_prime(n):
        return FactorResult(n, (n,), "prime")
    power = prime_power(n)
    return None if power is None else FactorResult(n, (power[0],) * power[1], "prime power")


def _draw_base(key: Key[Array, ""], n: int, *, coprime: bool) -> int:
    """Returns a random integer of 2..N-2, one without a common factor with N where `coprime`."""
    while True:
        key, own = jax.random.split(key)
        base = int(jax.random.randint(own, (), 2, n - 1))
        if not coprime or gcd(base, n) == 1:
            return base


def _attempt(base: int, n: int, key: Key[Array, ""], t: int, simulation: str) -> FactorAttempt:
    """Returns what one base gives: a common factor, or one run of order finding and what follows from it."""
    common = gcd(base, n)
    if common > 1:
        return FactorAttempt(base, None, _pair(common, n), "the base shares a factor with the number")
    run = find_order(base, n, key, max_runs=1, num_counting_qubits=t, simulation=simulation).runs[0]
    if run.order is None:
        return FactorAttempt(base, run, (), "the order was not found")
    if run.order % 2:
        return FactorAttempt(base, run, (), "the order is odd")
    root = pow(base, run.order // 2, n)
    if root == n - 1:
        return FactorAttempt(base, run, (), "base**(order/2) is -1")
    return FactorAttempt(base, run, _pair(gcd(root - 1, n), n), "factors found")


def _pair(divisor: int, n: int) -> tuple[int, int]:
    return min(divisor, n // divisor), max(divisor, n // divisor)


# Theory. ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SuccessProbability:
    """What theory says of one attempt of `factor`; means are over all bases of 2..N-2 that share no factor with N.

    Attributes:
      order_found: mean probability that one run of order finding gives the order.
      useful_bases: share of the bases whose order r is even with base**(r/2) not -1.
      factor_found: probability of a factor, without lucky ones: the mean over the bases of order_found where the base
        is useful, and 0 elsewhere. It is not quite the product of the two: how often an order is found depends on it.
      lucky_bases: share of 2..N-2 that share a factor with N.
    """

    order_found: float
    useful_bases: float
    factor_found: float
    lucky_bases: float

    @property
    def with_luck(self) -> float:
        """Probability that an attempt with `use_lucky_gcd` gives a factor."""
        return self.lucky_bases + (1 - self.lucky_bases) * self.factor_found


def success_probability(number: int, num_counting_qubits: int | None = None) -> SuccessProbability:
    """Returns the exact probabilities of one attempt of `factor`, from the closed form of the distribution.

    Args:
      number: N, odd, neither prime nor a prime power.
      num_counting_qubits: t; None for 2 ceil(log2 N).

    Raises:
      UserError: the number is of another kind, which `factor` answers classically, or t is below 1.
    """
    n = as_index("number", number)
    known = n < 2 or _answer_classically(n) is not None
    check(not known, "number", "be odd, composite and no prime power", number)
    bases = [a for a in range(2, n - 1) if gcd(a, n) == 1]
    orders = {a: multiplicative_order(a, n) for a in bases}
    of_order = {r: a for a, r in orders.items()}  # one base for each order: the probability depends on it alone
    found = {r: order_success_probability(a, n, num_counting_qubits) for r, a in of_order.items()}
    useful = [r for a, r in orders.items() if r % 2 == 0 and pow(a, r // 2, n) != n - 1]
    return SuccessProbability(
        order_found=sum(found[r] for r in orders.values()) / len(bases),
        useful_bases=len(useful) / len(bases),
        factor_found=sum(found[r] for r in useful) / len(bases),
        lucky_bases=1 - len(bases) / (n - 3),
    )
