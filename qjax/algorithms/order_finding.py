"""Order finding, the quantum part of Shor's algorithm (Shor 1997, arXiv:quant-ph/9508027, section 5).

The order r of a modulo N is the least r >= 1 with a**r = 1. The circuit puts the counting register into the even
superposition of all x, multiplies the work register, which starts in |1>, by a**x mod N, and applies the inverse
Fourier transform to the counting register, whose outcome y is then near a multiple of 2**t / r. A continued fraction
finds r from it (Nielsen and Chuang 2010, section 5.3.1).

Two simulations, chosen by `simulation`:

'circuit' runs `order_finding_circuit` on all t + m qubits. It is what runs unless one asks for the other, because
nothing is taken out of it. For N = 143, 24 qubits, a base takes 8 seconds on one core, half of them to compile: the
permutations are constants of the program.
'direct' draws from the same distribution in milliseconds. Measurements of the two registers commute, so it measures
the work register first: the counting register is then the even superposition of the x with one value of a**x mod N,
whose Fourier transform has 2**t amplitudes in place of 2**(t + m). The powers are multiplied up bit by bit; r is not
used. It is there for many keys, and for numbers whose circuit does not fit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from qjax.algorithms.modular import (
    MAX_WORK_QUBITS,
    check_base,
    continued_fraction_convergents,
    modular_exponentiation,
    modular_powers,
    multiplicative_order,
    num_work_qubits,
    reduce_period,
)
from qjax.algorithms.phase_estimation import phase_distribution, sample_outcomes
from qjax.algorithms.qft import qft
from qjax.checks import check, check_choice
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.operation import operation
from qjax.quantum.engines.memory import STATES_IN_USE, device_bytes, state_bytes
from qjax.quantum.simulate import probabilities
from qjax.types import Array, Float, Int, Key

SIMULATIONS = ("circuit", "direct")
# Multiples of a denominator that are tried as periods. The denominator is r / gcd(s, r) for a random s, so that small
# multiples save most of the runs in which the two share a factor (Shor 1997, end of section 5).
MAX_MULTIPLE = 4


def order_finding_circuit(base: int, modulus: int, num_counting_qubits: int | None = None) -> Circuit:
    """Returns the circuit whose first t qubits, measured, give y with y / 2**t near s / r for some integer s.

    Qubits 0..t-1 are the counting register, qubit 0 the most significant bit of y; ceil(log2 N) work qubits follow.
    Each controlled multiplication is a permutation gate under one control.

    Args:
      base: a, with no factor in common with the modulus.
      modulus: N, at least 2.
      num_counting_qubits: t; None for 2 ceil(log2 N), so that 2**t >= N**2 and y determines s / r.

    Raises:
      UserError: a number is not such an integer.

    >>> order_finding_circuit(7, 15).num_qubits
    12
    """
    base, modulus = check_base(base, modulus)
    t = _num_counting_qubits(modulus, num_counting_qubits)
    powers = modular_exponentiation(base, modulus, t)
    n = powers.num_qubits
    start = Circuit(n, tuple(operation("h", q) for q in range(t))).append("x", n - 1)
    return start + powers + qft(t, inverse=True).remap(range(t), n)


def _num_counting_qubits(modulus: int, given: int | None) -> int:
    t = 2 * num_work_qubits(modulus) if given is None else as_index("num_counting_qubits", given)
    check(t >= 1, "num_counting_qubits", "be an integer of at least 1", given)
    return t


@dataclass(frozen=True)
class Resources:
    """What order finding takes.

    Attributes:
      num_counting_qubits: t.
      num_work_qubits: m.
      memory_bytes: that the simulation needs at its peak.
    """

    num_counting_qubits: int
    num_work_qubits: int
    memory_bytes: int

    @property
    def num_qubits(self) -> int:
        """Qubits of the circuit, t + m, whichever way it is simulated."""
        return self.num_counting_qubits + self.num_work_qubits


def order_finding_resources(
    modulus: int, num_counting_qubits: int | None = None, *, simulation: str = "circuit"
) -> Resources:
    """Returns the qubits and the memory of order finding, before anything is run.

    Args:
      modulus: N, at least 2.
      num_counting_qubits: t; None for 2 ceil(log2 N).
      simulation: 'circuit', three states of t + m qubits, or 'direct', three of t.

    Raises:
      UserError: a number is not such an integer, or there is no such simulation.

    >>> order_finding_resources(143)
    Resources(num_counting_qubits=16, num_work_qubits=8, memory_bytes=402653184)
    """
    check_choice("simulation", simulation, SIMULATIONS)
    t, m = _num_counting_qubits(modulus, num_counting_qubits), num_work_qubits(modulus)
    simulated = t + m if simulation == "circuit" else t
    return Resources(t, m, STATES_IN_USE * state_bytes(simulated, 1, jnp.result_type(float)))


def check_budget(argument: str, modulus: int, resources: Resources, max_qubits: int | None) -> None:
    """Raises where the qubits are more than allowed, or their simulation does not fit into memory.

    Args:
      argument: name of the argument at fault.
      modulus: N.
      resources: what its order finding takes.
      max_qubits: the most that is allowed, counting and work qubits together; None for no limit but the memory.
    """
    needs = f"{modulus}, which takes {resources.num_qubits} qubits and {resources.memory_bytes:,} bytes"
    if max_qubits is not None:
        allowed = as_index("max_qubits", max_qubits)
        check(resources.num_qubits <= allowed, argument, f"take at most {allowed} qubits (`max_qubits`)", needs)
    available = device_bytes()
    fits = resources.memory_bytes <= available
    check(fits, argument, f"fit into this device, which has {available:,} bytes", needs)
    expectation = f"have at most {MAX_WORK_QUBITS} bits, for multiplication by tables"
    check(resources.num_work_qubits <= MAX_WORK_QUBITS, argument, expectation, needs)


# One run. ---------------------------------------------------------------------------------------------------------


def make_run(base: int, modulus: int, t: int, simulation: str) -> Callable[[Key[Array, ""]], int]:
    """Returns the function from a random key to the outcome of one run; what all runs share is computed once.

    Args:
      base: a, checked.
      modulus: N, checked.
      t: number of counting qubits.
      simulation: 'circuit' or 'direct'.
    """
    if simulation == "circuit":
        outcomes = np.asarray(probabilities(order_finding_circuit(base, modulus, t), qubits=tuple(range(t))))
        return lambda key: int(sample_outcomes(key, outcomes, 1)[0])
    powers = modular_powers(base, modulus, t)
    on_device = jnp.asarray(powers)

    def run(key: Key[Array, ""]) -> int:
        work_key, counting_key = jax.random.split(key)
        x = int(jax.random.randint(work_key, (), 0, len(powers)))  # |a**x mod N> is measured as often as it has an x
        return int(sample_outcomes(counting_key, outcomes_given_work(on_device, on_device[x]), 1)[0])

    return run


@jax.jit
def outcomes_given_work(powers: Int[Array, " outcomes"], work_value: Int[Array, ""]) -> Float[Array, " outcomes"]:
    """Returns the probability of each outcome y, once the work register was measured: what 'direct' draws from.

    Args:
      powers: a**x mod N for each x (`modular_powers`), `[2**t]`.
      work_value: what was measured, one of the powers.
    """
    chosen = jnp.where(powers == work_value, 1.0, 0.0)
    return jnp.abs(jnp.fft.fft(chosen)) ** 2 / (chosen.sum() * chosen.size)


@dataclass(frozen=True)
class OrderRun:
    """One run of order finding.

    Attributes:
      outcome: y, the measured counting register.
      candidate: denominator of the last convergent of y / 2**t below N.
      order: what was found, and checked to be the order; None where no small multiple of the candidate is a period.
    """

    outcome: int
    candidate: int
    order: int | None

    @property
    def verdict(self) -> str:
        """What became of the candidate, in words."""
        if self.order is not None:
            same = self.order == self.candidate
            return "the candidate is the order" if same else f"order {self.order} found from the candidate"
        if self.candidate == 1:
            return "no information: the phase is next to a whole number"
        return "no small multiple of the candidate is a period"


def order_from_phase(
    outcome: int, num_counting_qubits: int, base: int, modulus: int, *, max_multiple: int = MAX_MULTIPLE
) -> OrderRun:
    """Returns what one outcome of order finding says of the order.

    The candidate is the denominator d of the last convergent of outcome / 2**t with d < N. With 2**t >= N**2 and an
    outcome within 1/2 of 2**t s / r it is that of s / r in lowest terms, because no other fraction with a denominator
    below N is as near (Shor 1997, section 5). Its multiples d, 2d, ... below N are tried as periods. Not those of
    d = 1, which tells nothing: trying them would be a search without a quantum computer. From the first period prime
    factors are taken away until it is the order. Fewer counting qubits give the order less often:
    `order_success_probability` says how often.

    Args:
      outcome: y, of 0 .. 2**t - 1.
      num_counting_qubits: t.
      base: a.
      modulus: N.
      max_multiple: of the candidate.

    Raises:
      UserError: a number is not an integer of its range.

    >>> order_from_phase(64, 8, 7, 15)
    OrderRun(outcome=64, candidate=4, order=4)
    """
    base, modulus = check_base(base, modulus)
    size = 2 ** _num_counting_qubits(modulus, num_counting_qubits)
    y = as_index("outcome", outcome)
    check(y < size, "outcome", f"be an integer of 0..{size - 1}", y)
    check(as_index("max_multiple", max_multiple) >= 1, "max_multiple", "be an integer of at least 1", max_multiple)
    candidate = _candidate(y, size, modulus)
    largest = 1 if candidate == 1 else max_multiple
    periods = (k * candidate for k in range(1, largest + 1) if k * candidate < modulus)
    period = next((p for p in periods if pow(base, p, modulus) == 1), None)
    return OrderRun(y, candidate, None if period is None else reduce_period(period, base, modulus))


def _candidate(outcome: int, size: int, modulus: int) -> int:
    return max(q for _, q in continued_fraction_convergents(outcome, size) if q < modulus)


@dataclass(frozen=True)
class OrderResult:
    """What `find_order` found.

    Attributes:
      order: None where no run gave it.
      runs: all that were made, in order; only the last may have given the order.
      resources: qubits and memory.
    """

    order: int | None
    runs: tuple[OrderRun, ...]
    resources: Resources


def find_order(
    base: int,
    modulus: int,
    key: Key[Array, ""],
    *,
    max_runs: int = 16,
    num_counting_qubits: int | None = None,
    max_qubits: int | None = None,
    simulation: str = "circuit",
) -> OrderResult:
    """Returns the order of the base, found by runs of order finding until one gives it.

    An order that is returned has been checked and is right. The simulated state is computed once and measured anew
    for each run.

    Args:
      base: a, with no factor in common with the modulus.
      modulus: N, at least 2.
      key: typed random key; run i uses fold_in(key, i).
      max_runs: at least 1.
      num_counting_qubits: t; None for 2 ceil(log2 N).
      max_qubits: the most that may be used, counting and work qubits together; None leaves it to the memory.
      simulation: 'circuit' or 'direct', see the module.

    Raises:
      UserError: an argument is out of range, or qubits or memory are not enough.
    """
    base, modulus = check_base(base, modulus)
    check(as_index("max_runs", max_runs) >= 1, "max_runs", "be an integer of at least 1", max_runs)
    resources = order_finding_resources(modulus, num_counting_qubits, simulation=simulation)
    check_budget("modulus", modulus, resources, max_qubits)
    t = resources.num_counting_qubits
    measure = make_run(base, modulus, t, simulation)
    runs: list[OrderRun] = []
    while len(runs) < max_runs and not (runs and runs[-1].order):
        outcome = measure(jax.random.fold_in(key, len(runs)))
        runs.append(order_from_phase(outcome, t, base, modulus))
    return OrderResult(runs[-1].order, tuple(runs), resources)


# Theory. ----------------------------------------------------------------------------------------------------------


def order_finding_distribution(order: int, num_counting_qubits: int) -> np.ndarray:
    """Returns the probability of each outcome y of order finding, `[2**t]`, float64, in closed form.

    |1> is the even superposition of the r eigenvectors of the multiplication, whose phases are s / r for s in 0..r-1
    (Nielsen and Chuang 2010, equation 5.44). They are orthogonal and stay in the work register, so that the
    distribution is the mean of those of their phases.

    Args:
      order: r, at least 1.
      num_counting_qubits: t, at least 1.

    Raises:
      UserError: a number is not such an integer.
    """
    r = as_index("order", order)
    check(r >= 1, "order", "be an integer of at least 1", order)
    return sum((phase_distribution(s / r, num_counting_qubits) for s in range(r)), np.zeros(1)) / r


def order_success_probability(base: int, modulus: int, num_counting_qubits: int | None = None) -> float:
    """Returns the probability that one run of order finding gives the order of the base through `order_from_phase`.

    It is the sum of the closed-form distribution over the outcomes that give it: those with a multiple of the
    candidate that is a multiple of the order, the multiples as there. All 2**t outcomes are looked at.

    Raises:
      UserError: as for `order_finding_circuit`.
    """
    base, modulus = check_base(base, modulus)
    t = _num_counting_qubits(modulus, num_counting_qubits)
    order, candidates = multiplicative_order(base, modulus), _candidates(t, modulus)
    found = candidates % order == 0
    for k in range(2, MAX_MULTIPLE + 1):
        tried = (candidates > 1) & (k * candidates < modulus)
        found |= tried & (k * candidates % order == 0)
    return float(order_finding_distribution(order, t) @ found.astype(np.float64))


@lru_cache(maxsize=4)
def _candidates(t: int, modulus: int) -> np.ndarray:
    """Returns the candidate of each outcome, `[2**t]`; the bases of one modulus share them."""
    return np.array([_candidate(y, 2**t, modulus) for y in range(2**t)])
