"""Amplitude estimation: the probability a of the good states in A|0...0>, canonical and iterative.

Both count rotations by Q = -A S_0 A^dagger S_good, where S_0 and S_good change the sign of |0...0> and of the good
states (Brassard, Hoyer, Mosca and Tapp 2000, arXiv:quant-ph/0005055, section 2). With a = sin^2(theta) the state
Q^k A|0...0> is good with probability sin^2((2k + 1) theta), and A|0...0> is made of two eigenvectors of Q, of the
eigenvalues exp(2 i theta) and exp(-2 i theta).

- `estimate_amplitude` finds the phase by phase estimation (their section 4): the error falls as 1 / queries.
- `estimate_amplitude_iteratively` measures Q^k A|0...0> for growing k, with no precision qubits, and returns a
  confidence interval (Grinko, Gacon, Zoufal and Woerner 2021, arXiv:1912.05559).

A query is one use of S_good. Arguments in common:
  preparation: the circuit A on n qubits.
  marked: the good values of `qubits`, in any form that `marking.marked_mask` takes.
  qubits: which of the n, the first as the most significant bit of a value; None for all in order.
  params: name -> array, for A, as for `simulate.state`.
  inputs: `[num_inputs]`, likewise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log, log2, pi, sin, sqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import betaincinv

from qjax.algorithms.marking import Marked, marked_mask
from qjax.algorithms.phase_estimation import (
    apply_power,
    check_register,
    most_frequent,
    overlap_distribution,
    phase_estimation_circuit,
    power_overlaps,
    sample_outcomes,
)
from qjax.checks import check, check_choice
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.custom_gates import diagonal_gate
from qjax.quantum.engines.memory import check_fits
from qjax.quantum.simulate import state
from qjax.types import Array, CircuitParams, Key

# Confidence interval -> constant c of `iterative_query_bound`.
_QUERY_CONSTANTS = {"clopper_pearson": 14.0, "chernoff_hoeffding": 50.0}
CONFIDENCE_METHODS = tuple(_QUERY_CONSTANTS)
# A batch that may be the last one is split into this many, so that no needless shots are taken (algorithm 1).
_LAST_BATCHES = 10


def grover_operator(preparation: Circuit, marked: Marked, qubits: Sequence[int] | None = None) -> Circuit:
    """Returns the circuit Q = -A S_0 A^dagger S_good, with the parameters and inputs of A.

    The module states the arguments.

    Raises:
      UserError: `qubits` are repeated or out of range, or `marked` does not fit them.
    """
    minus_good, zero = _reflections(preparation.num_qubits, marked, qubits)
    return minus_good + preparation.inverse() + zero + preparation


def amplitude_estimation_circuit(
    preparation: Circuit, marked: Marked, num_precision_qubits: int, qubits: Sequence[int] | None = None
) -> Circuit:
    """Returns the circuit of t precision qubits and the n of A: phase estimation of Q on A|0...0>.

    Measuring the precision qubits gives y, and sin^2(pi y / 2**t) estimates a. Only the two reflections are under
    control: without them A and A^dagger undo each other.

    Args:
      preparation: see the module, as for `marked` and `qubits`.
      marked: likewise.
      num_precision_qubits: t, at least 1.
      qubits: likewise.

    Raises:
      UserError: as for `grover_operator` and `phase_estimation_circuit`.
    """
    n = preparation.num_qubits
    minus_good, zero = (part.controlled() for part in _reflections(n, marked, qubits))
    inside = preparation.remap(range(1, n + 1), n + 1)
    controlled = minus_good + inside.inverse() + zero + inside
    operator = grover_operator(preparation, marked, qubits)
    return phase_estimation_circuit(operator, num_precision_qubits, preparation, controlled=controlled)


def _reflections(n: int, marked: Marked, qubits: Sequence[int] | None) -> tuple[Circuit, Circuit]:
    """Returns -S_good and S_0; the sign is not beside S_0, which Hadamards around it make one reflection."""
    places, mask = _good_values(n, marked, qubits)
    minus = Circuit(n).append("gphase", (), pi)
    if np.count_nonzero(mask) == 1:  # gates that a device has, in place of a list of all signs
        bits = tuple(map(int, f"{int(np.argmax(mask)):0{len(places)}b}"))
        good = minus.append("gphase", (), pi, controls=places, control_values=bits)
    else:
        good = minus.append(diagonal_gate(np.where(mask, pi, 0.0)), places)
    return good, _zero_reflection(n)


def _zero_reflection(n: int) -> Circuit:
    return Circuit(n).append("gphase", (), pi, controls=range(n), control_values=(0,) * n)


def _good_values(n: int, marked: Marked, qubits: Sequence[int] | None) -> tuple[tuple[int, ...], np.ndarray]:
    """Returns the qubits and which of their values are good, `[2**len(qubits)]`, where a state of n qubits fits."""
    check_fits(n, 1, jnp.result_type(float))
    places = tuple(as_index("qubits", q) for q in (range(n) if qubits is None else qubits))
    distinct = len(set(places)) == len(places) > 0 and max(places) < n
    check(distinct, "qubits", f"hold distinct integers in 0..{n - 1}, at least one", places)
    return places, np.asarray(marked_mask(len(places), marked))


@dataclass(frozen=True, eq=False)
class AmplitudeEstimate:
    """What canonical amplitude estimation found.

    Attributes:
      estimate: sin^2(pi y / 2**t) of the most frequent y, or of the most likely one where there are no shots; y and
        2**t - y count as one.
      error_bound: largest error of one run, at `confidence`: theorem 12 with k = 1, at the estimate.
      confidence: 8 / pi^2.
      probabilities: of each outcome y, `[2**t]`, float64.
      samples: measured y, `[shots]`; None where there are no shots.
      num_queries: of one run of the circuit, 2**t - 1. Each shot is a run.
    """

    estimate: float
    error_bound: float
    confidence: float
    probabilities: np.ndarray
    samples: np.ndarray | None
    num_queries: int


def estimate_amplitude(
    preparation: Circuit,
    marked: Marked,
    num_precision_qubits: int,
    *,
    qubits: Sequence[int] | None = None,
    params: CircuitParams | None = None,
    inputs: Any = None,
    key: Key[Array, ""] | None = None,
    shots: int | None = None,
) -> AmplitudeEstimate:
    """Runs canonical amplitude estimation (Brassard et al. 2000, algorithm Est_Amp) and returns what it finds.

    Args:
      preparation: see the module.
      marked: see the module.
      num_precision_qubits: t, from 1 to what `phase_estimation.MAX_PRECISION_QUBITS` has for the dtype.
      qubits: see the module, as for `params` and `inputs`.
      params: likewise.
      inputs: likewise.
      key: typed random key, for the shots.
      shots: runs of the circuit; None for the exact distribution alone.

    Raises:
      UserError: as for `grover_operator` and `estimate_phase`.
    """
    size = check_register(num_precision_qubits)
    good, start = _good_states(preparation, marked, qubits), _start(preparation, params, inputs)
    probabilities = overlap_distribution(power_overlaps(_conjugated(preparation), params, inputs, start, good, size))
    samples = None if shots is None else sample_outcomes(key, probabilities, shots)
    folded = np.bincount(_fold(np.arange(size), size), probabilities)
    outcome = most_frequent(folded, None if samples is None else _fold(samples, size))
    estimate = sin(pi * outcome / size) ** 2
    bound = amplitude_error_bound(estimate, num_precision_qubits)
    return AmplitudeEstimate(estimate, bound, estimate_confidence(1), probabilities, samples, size - 1)


def _fold(outcomes: np.ndarray, size: int) -> np.ndarray:
    return np.minimum(outcomes, size - outcomes)


def amplitude_error_bound(amplitude: float | int, num_precision_qubits: int, k: int = 1) -> float:
    """Returns 2 pi k sqrt(a (1 - a)) / M + k^2 pi^2 / M^2, M = 2**t: the largest error with `estimate_confidence(k)`.

    Theorem 12 of Brassard et al. 2000. It holds with a the true probability, and also with a its estimate: the proof
    (their lemma 7) needs no more than that the two angles are within pi k / M of one another.

    Args:
      amplitude: a, the probability of the good states, in 0..1.
      num_precision_qubits: t, at least 1.
      k: at least 1; a larger one gives a wider bound of higher confidence.

    Raises:
      UserError: a number is out of range.
    """
    check(bool(0 <= amplitude <= 1), "amplitude", "lie in 0..1", amplitude)
    t = as_index("num_precision_qubits", num_precision_qubits)
    check(t >= 1, "num_precision_qubits", "be an integer of at least 1", t)
    angle = pi * _check_k(k) / 2**t
    return 2 * angle * sqrt(amplitude * (1 - amplitude)) + angle**2


def estimate_confidence(k: int = 1) -> float:
    """Returns what the probability of an error within `amplitude_error_bound` is at least (theorem 12).

    It is 8 / pi^2 for k = 1, and 1 - 1 / (2 (k - 1)) for a larger k.
    """
    return 8 / pi**2 if _check_k(k) == 1 else 1 - 1 / (2 * (k - 1))


def _check_k(k: int) -> int:
    check(as_index("k", k) >= 1, "k", "be an integer of at least 1", k)
    return k


@dataclass(frozen=True)
class Measurement:
    """One batch of measurements of Q^k A|0...0>: power is k, and `hits` of the `shots` gave a good state."""

    power: int
    shots: int
    hits: int


@dataclass(frozen=True)
class IterativeEstimate:
    """What iterative amplitude estimation found.

    Attributes:
      estimate: the middle of the interval.
      interval: both ends of the confidence interval for a.
      confidence: 1 - alpha.
      measurements: every batch, in order.
    """

    estimate: float
    interval: tuple[float, float]
    confidence: float
    measurements: tuple[Measurement, ...]

    @property
    def num_queries(self) -> int:
        """Uses of S_good, and so of Q, in all: the N_oracle of the paper."""
        return sum(m.shots * m.power for m in self.measurements)

    @property
    def num_shots(self) -> int:
        """Measurements in all."""
        return sum(m.shots for m in self.measurements)


def estimate_amplitude_iteratively(
    key: Key[Array, ""],
    preparation: Circuit,
    marked: Marked,
    epsilon: float,
    *,
    qubits: Sequence[int] | None = None,
    params: CircuitParams | None = None,
    inputs: Any = None,
    alpha: float = 0.05,
    shots: int = 100,
    confidence_method: str = "clopper_pearson",
) -> IterativeEstimate:
    """Runs iterative amplitude estimation (Grinko et al. 2021, algorithm 1) and returns an interval for a.

    The interval is at most 2 epsilon wide and covers a with probability 1 - alpha or more. alpha is shared out among
    the values of k, as in the paper; looking at the batches of one k one after the other is not accounted for, there
    or here. The states are simulated, each from the one before, and looked at by drawing shots alone.

    Args:
      key: typed random key.
      preparation: see the module.
      marked: see the module.
      epsilon: half the width of the interval at most, between 0 and 0.5.
      qubits: see the module, as for `params` and `inputs`.
      params: likewise.
      inputs: likewise.
      alpha: largest probability that the interval misses a, between 0 and 1.
      shots: of a batch, at least 1.
      confidence_method: 'clopper_pearson' or 'chernoff_hoeffding', which is simpler and wider.

    Raises:
      UserError: as for `grover_operator` and `simulate.state`, or a number is out of range.
    """
    check(bool(0 < epsilon < 0.5), "epsilon", "lie between 0 and 0.5", epsilon)
    check(bool(0 < alpha < 1), "alpha", "lie between 0 and 1", alpha)
    check(as_index("shots", shots) >= 1, "shots", "be an integer of at least 1", shots)
    check_choice("confidence_method", confidence_method, CONFIDENCE_METHODS)
    good, reflection = _good_states(preparation, marked, qubits), _conjugated(preparation)
    miss = alpha / max_rounds(epsilon)
    widest = _largest_angle_error(shots, miss, confidence_method)
    low, high, k, half_turn = 0.0, pi / 2, 0, 0
    current, power = _start(preparation, params, inputs), 0
    measurements: list[Measurement] = []
    while high - low > 2 * epsilon:
        k, half_turn = find_next_k(k, low, high, half_turn)
        factor = 4 * k + 2
        may_be_last = factor > ceil(widest / epsilon)
        taken = ceil(shots * widest / (epsilon * factor * _LAST_BATCHES)) if may_be_last else shots
        current, power = apply_power(reflection, params, inputs, current, good, k - power), k
        key, batch_key = jax.random.split(key)
        measurements.append(Measurement(k, taken, _count_hits(batch_key, current, good, taken, shots)))
        same = [m for m in measurements if m.power == k]
        hits, total = sum(m.hits for m in same), sum(m.shots for m in same)
        ends = _angle_interval(np.asarray([hits]), total, miss, confidence_method, half_turn)
        low, high = (float(end[0]) / factor for end in ends)
    interval = (sin(low) ** 2, sin(high) ** 2)
    return IterativeEstimate(sum(interval) / 2, interval, 1 - alpha, tuple(measurements))


def find_next_k(k: int, low: float, high: float, half_turn: int) -> tuple[int, int]:
    """Returns the next power of Q and the half turn its angle lies in (Grinko et al. 2021, algorithm 2, with r = 2).

    theta lies in low..high, in radians. The next power is the largest k' with K' = 4k' + 2 at least twice 4k + 2 for
    which all of K' low .. K' high lies in one half turn m pi .. (m + 1) pi, where a probability says which angle it
    is. Where there is none, k and its `half_turn` m stay. An end that is a multiple of pi but for rounding, as one of
    pi/2 is, counts as that multiple.
    """
    largest = floor(pi / (high - low))
    for factor in range(largest - (largest - 2) % 4, 2 * (4 * k + 2) - 1, -4):
        first, last = floor(factor * low / pi + 1e-12), ceil(factor * high / pi - 1e-12) - 1
        if first == last:
            return (factor - 2) // 4, first
    return k, half_turn


def max_rounds(epsilon: float) -> int:
    """Returns T, how many different k there can be at most.

    K = 4k + 2 begins at 2, is 2 more than a multiple of 4, and at least doubles, so that the i-th is 2**(i+1) - 2 or
    more. It is less than pi / (2 epsilon), because the search stops at an interval of 2 epsilon. So T is at most
    log2(pi / (8 epsilon) + 1/2), rounded up (the paper has it without the 1/2).
    """
    return max(1, ceil(log2(pi / (8 * epsilon) + 0.5)))


def iterative_query_bound(epsilon: float, alpha: float, confidence_method: str = "clopper_pearson") -> float:
    """Returns the paper's bound on `num_queries`, c / epsilon log(2 / alpha log2(pi / (4 epsilon))).

    Grinko et al. 2021, theorem 1: c is 50 for Chernoff-Hoeffding intervals and 14 for Clopper-Pearson ones.
    """
    check_choice("confidence_method", confidence_method, CONFIDENCE_METHODS)
    return _QUERY_CONSTANTS[confidence_method] / epsilon * log(2 / alpha * log2(pi / (4 * epsilon)))


def confidence_interval(hits: np.ndarray, shots: int, miss: float, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends of the interval that misses a probability with probability `miss` at most, for hits `[...]`.

    `method` is one of `CONFIDENCE_METHODS`: Clopper and Pearson 1934, or Hoeffding 1963.
    """
    if method == "chernoff_hoeffding":
        error = sqrt(log(2 / miss) / (2 * shots))
        return np.maximum(hits / shots - error, 0), np.minimum(hits / shots + error, 1)
    lower = np.where(hits > 0, betaincinv(np.maximum(hits, 1), shots - hits + 1, miss / 2), 0.0)
    upper = np.where(hits < shots, betaincinv(hits + 1, np.maximum(shots - hits, 1), 1 - miss / 2), 1.0)
    return lower, upper


def _angle_interval(
    hits: np.ndarray, shots: int, miss: float, method: str, half_turn: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the interval for K theta in its half turn; the probability is sin^2(K theta / 2)."""
    low, high = (2 * np.arcsin(np.sqrt(end)) for end in confidence_interval(hits, shots, miss, method))
    start = half_turn * pi
    return (start + low, start + high) if half_turn % 2 == 0 else (start + pi - high, start + pi - low)


def _largest_angle_error(shots: int, miss: float, method: str) -> float:
    """Returns half the width of the widest interval for K theta that a batch can give, L_max of the paper."""
    low, high = _angle_interval(np.arange(shots + 1), shots, miss, method, 0)
    return float(np.max(high - low)) / 2


def _good_states(preparation: Circuit, marked: Marked, qubits: Sequence[int] | None) -> np.ndarray:
    """Returns which basis states of all n qubits are good, `[2**n]`."""
    n = preparation.num_qubits
    places, mask = _good_values(n, marked, qubits)
    m = len(places)
    cube = np.broadcast_to(mask.reshape((2,) * m + (1,) * (n - m)), (2,) * n)
    return np.moveaxis(cube, range(m), places).reshape(-1)


def _conjugated(preparation: Circuit) -> Circuit:
    """Returns A S_0 A^dagger; Q is that after -S_good, which keeps the signs of the good states."""
    return preparation.inverse() + _zero_reflection(preparation.num_qubits) + preparation


def _start(preparation: Circuit, params: CircuitParams | None, inputs: Any) -> Array:
    check(np.ndim(inputs) < 2, "inputs", "be of one example", f"shape {list(np.shape(inputs))}")
    return state(preparation, params, inputs)


def _count_hits(key: Key[Array, ""], current: Array, good: np.ndarray, taken: int, shots: int) -> int:
    """Returns how many of `taken` measurements are good; always `shots` are drawn, so that shapes stay."""
    weights = np.abs(np.asarray(current, np.complex128)) ** 2
    outcomes = sample_outcomes(key, [weights[~good].sum(), weights[good].sum()], shots)
    return int(np.count_nonzero(outcomes[:taken]))
