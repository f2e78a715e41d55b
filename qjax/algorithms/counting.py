"""Quantum counting: how many of the 2**n basis states an oracle marks.

Amplitude estimation with A = H on all n qubits, where the probability of the good states is t / 2**n of t marked ones
(Brassard, Hoyer, Mosca and Tapp 2000, arXiv:quant-ph/0005055, section 4). Qubits 0..p-1 of the circuit are the
precision qubits, the n of the search follow.
"""

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from scipy.special import ndtri

from qjax.algorithms.amplitude_estimation import (
    amplitude_error_bound,
    amplitude_estimation_circuit,
    estimate_amplitude,
    estimate_confidence,
)
from qjax.algorithms.marking import Marked
from qjax.checks import check
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.operation import operation
from qjax.types import Array, Key


@dataclass(frozen=True, eq=False)
class CountResult:
    """What quantum counting found.

    Attributes:
      estimate: of the number of marked states, in 0..2**n.
      rounded: the integer nearest to it.
      error_bound: largest error of one run, at `confidence`: theorem 13 with k = 1, at the estimate.
      confidence: 8 / pi^2.
      probabilities: of each outcome y, `[2**p]`, float64; y stands for 2**n sin^2(pi y / 2**p).
      samples: measured y, `[shots]`; None where there are no shots.
      num_queries: uses of the oracle in one run, 2**p - 1. Each shot is a run.
      classical_queries: what sampling needs for the same error and confidence, see `classical_queries`.
    """

    estimate: float
    rounded: int
    error_bound: float
    confidence: float
    probabilities: np.ndarray
    samples: np.ndarray | None
    num_queries: int
    classical_queries: int


def counting_circuit(num_qubits: int, marked: Marked, num_precision_qubits: int) -> Circuit:
    """Returns the circuit whose precision qubits, measured, give the outcome y.

    Args:
      num_qubits: n, of the search.
      marked: what the oracle marks, in any form that `marking.marked_mask` takes.
      num_precision_qubits: p, at least 1.

    Raises:
      UserError: a number is out of range, or `marked` does not fit n qubits.
    """
    return amplitude_estimation_circuit(_uniform(num_qubits), marked, num_precision_qubits)


def count(
    num_qubits: int,
    marked: Marked,
    num_precision_qubits: int,
    key: Key[Array, ""] | None = None,
    shots: int | None = None,
) -> CountResult:
    """Estimates how many basis states the oracle marks.

    Args:
      num_qubits: n, of the search.
      marked: what the oracle marks, in any form that `marking.marked_mask` takes.
      num_precision_qubits: p, from 1 to what `phase_estimation.MAX_PRECISION_QUBITS` has for the dtype.
      key: typed random key, for the shots.
      shots: runs of the circuit; None for the exact distribution alone.

    Raises:
      UserError: as for `counting_circuit`, or there are shots without a key.
    """
    found = estimate_amplitude(_uniform(num_qubits), marked, num_precision_qubits, key=key, shots=shots)
    size = 2**num_qubits
    estimate, bound = size * found.estimate, size * found.error_bound
    return CountResult(
        estimate=estimate,
        rounded=round(estimate),
        error_bound=bound,
        confidence=found.confidence,
        probabilities=found.probabilities,
        samples=found.samples,
        num_queries=found.num_queries,
        classical_queries=classical_queries(num_qubits, estimate, bound, found.confidence),
    )


def count_error_bound(num_qubits: int, num_marked: float | int, num_precision_qubits: int, k: int = 1) -> float:
    """Returns 2 pi k sqrt(t (N - t)) / M + pi^2 k^2 N / M^2 with N = 2**n, M = 2**p and t marked states.

    The error of the estimate is at most this with probability `estimate_confidence(k)` (Brassard et al. 2000, theorem
    13). With none marked, or all, there is no error.

    Args:
      num_qubits: n, at least 1.
      num_marked: t, in 0..2**n.
      num_precision_qubits: p, at least 1.
      k: at least 1.

    Raises:
      UserError: a number is out of range.
    """
    size = 2 ** _check_count(num_qubits, num_marked)
    return size * amplitude_error_bound(num_marked / size, num_precision_qubits, k)


def classical_queries(
    num_qubits: int, num_marked: float | int, error: float | int, confidence: float = estimate_confidence()
) -> int:
    """Returns how many of the N = 2**n states sampling must look at to count t marked ones within `error`.

    Drawn without replacement, S of them estimate t with the standard deviation sqrt(t (N - t) (N - S) / (S (N - 1))),
    and the error is normal with it but for small S. So S = S0 / (1 + (S0 - 1) / N) with S0 = z^2 t (N - t) / error^2
    (Cochran 1977, Sampling Techniques, chapter 4), z the quantile of the normal distribution. It is at most N, and at
    least 1, as where t is 0: like the bound on the quantum side this is for the t that there is, not for all.

    Args:
      num_qubits: n, at least 1.
      num_marked: t, in 0..2**n.
      error: largest error of the count, above 0.
      confidence: probability of no larger one, between 0 and 1.

    Raises:
      UserError: a number is out of range.
    """
    size = 2 ** _check_count(num_qubits, num_marked)
    check(bool(error > 0), "error", "be above 0", error)
    check(bool(0 < confidence < 1), "confidence", "lie between 0 and 1", confidence)
    deviations = float(ndtri((1 + confidence) / 2)) * sqrt(num_marked * (size - num_marked)) / error
    unlimited = deviations**2
    return max(1, ceil(unlimited / (1 + (unlimited - 1) / size)))


def _check_count(num_qubits: int, num_marked: float | int) -> int:
    n = as_index("num_qubits", num_qubits)
    check(n >= 1, "num_qubits", "be an integer of at least 1", num_qubits)
    check(bool(0 <= num_marked <= 2**n), "num_marked", f"lie in 0..{2**n}", num_marked)
    return n


def _uniform(num_qubits: int) -> Circuit:
    n = as_index("num_qubits", num_qubits)
    check(n >= 1, "num_qubits", "be an integer of at least 1", num_qubits)
    return Circuit(n, tuple(operation("h", q) for q in range(n)))
