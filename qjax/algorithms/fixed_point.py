"""Fixed-point amplitude amplification: more rounds never lose what was found.

Yoder, Low and Chuang 2014 (arXiv:1409.3305). With phases chosen for l rounds and a delta in (0, 1], the probability
of the good states becomes

    P_L(p) = 1 - delta^2 T_L(T_(1/L)(1/delta) sqrt(1 - p))^2        L = 2l + 1

(equation 1), T_L the Chebyshev polynomial, T_(1/L)(x) = cosh(arccosh(x) / L) for x >= 1. It is at least 1 - delta^2
for every p from w = 1 - 1 / T_(1/L)(1/delta)^2 on, and w falls as l grows: more rounds than needed do no harm, while
plain amplification comes down again behind its maximum. delta = 1 gives phases pi, which are plain amplification.
"""

import math
from typing import Any

import numpy as np

from qjax.algorithms.amplitude_amplification import AmplificationResult, amplify
from qjax.algorithms.marking import Marked
from qjax.checks import check
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.circuit import Circuit
from qjax.types import CircuitParams


def fixed_point_phases(num_rounds: int, delta: float) -> np.ndarray:
    """Returns the angles of the oracle and of the diffuser in each round, float64 `[num_rounds, 2]`, in radians.

    Equation 11 of the paper: alpha_j = 2 arccot(tan(2 pi j / L) sqrt(1 - gamma^2)) = -beta_(l - j + 1), j = 1 .. l,
    with 1/gamma = T_(1/L)(1/delta). Round j turns the good states by beta_j and then A|0...0> by -alpha_j, as the
    rounds of `amplification_circuit` and `amplify` do; the paper's own rounds have another sign.

    Args:
      num_rounds: l, at least 0.
      delta: square root of the probability that may be missed, in (0, 1].

    Raises:
      UserError: an argument is out of range.

    >>> fixed_point_phases(1, 1.0) / np.pi
    array([[-1., -1.]])
    """
    count, inverse_gamma = _check(num_rounds, delta)
    steps = np.arange(1, count + 1)
    slope = math.sqrt(1 - inverse_gamma**-2)
    # arccot in (0, pi): the branch on which the angles go on steadily where the tangent changes its sign
    alpha = 2 * np.arctan2(1, np.tan(2 * np.pi * steps / (2 * count + 1)) * slope)
    return np.stack([-alpha[::-1], -alpha], axis=1)


def fixed_point_success(probability: float, num_rounds: int, delta: float) -> float:
    """Returns P_L, the probability of the good states after the rounds, in closed form (equation 1).

    Args:
      probability: that of the good states in A|0...0>, in 0..1.
      num_rounds: l, at least 0.
      delta: square root of the probability that may be missed, in (0, 1].

    Raises:
      UserError: an argument is out of range.
    """
    count, inverse_gamma = _check(num_rounds, delta)
    check(bool(0 <= probability <= 1), "probability", "be in 0..1", probability)
    return 1 - (delta * _chebyshev(2 * count + 1, inverse_gamma * math.sqrt(1 - probability))) ** 2


def fixed_point_rounds(least_probability: float, delta: float) -> int:
    """Returns the least number of rounds with P_L(p) >= 1 - delta^2 for every p from `least_probability` on.

    That is T_(1/L)(1/delta) sqrt(1 - p) <= 1, so L >= arccosh(1/delta) / arccosh(1 / sqrt(1 - p)). The paper's
    L >= log(2/delta) / sqrt(p) is an upper bound of it.

    Args:
      least_probability: a lower bound of the probability of the good states, above 0 and up to 1.
      delta: square root of the probability that may be missed, in (0, 1].

    Raises:
      UserError: an argument is out of range.

    >>> fixed_point_rounds(0.25, 0.1)
    3
    """
    check(bool(0 < least_probability <= 1), "least_probability", "be above 0 and at most 1", least_probability)
    _check(0, delta)
    if least_probability == 1:
        return 0
    # arccosh(1 / sqrt(1 - p)) = artanh(sqrt(p)), exact for small p
    length = math.acosh(1 / delta) / math.atanh(math.sqrt(least_probability))
    return max(0, math.ceil((length - 1) / 2))


def fixed_point_amplify(
    preparation: Circuit,
    marked: Marked,
    num_rounds: int,
    delta: float,
    params: CircuitParams | None = None,
    inputs: Any = None,
) -> AmplificationResult:
    """Returns what `amplify` gives with the phases of `fixed_point_phases`.

    Only the probability after the last round is P_L: the phases are made for their number.

    Args:
      preparation: the circuit A.
      marked: the good states; see `marked_mask`.
      num_rounds: l; `fixed_point_rounds` says how many are enough.
      delta: square root of the probability that may be missed, in (0, 1].
      params: as for `amplify`.
      inputs: as for `amplify`.

    Raises:
      UserError: as for `amplify` and `fixed_point_phases`.
    """
    phases = fixed_point_phases(num_rounds, delta)
    return amplify(preparation, marked, num_rounds, params, inputs, phases=phases)


def _check(num_rounds: int, delta: float) -> tuple[int, float]:
    """Returns the number of rounds and 1/gamma = T_(1/L)(1/delta)."""
    count = as_index("num_rounds", num_rounds)
    check(bool(0 < delta <= 1), "delta", "be above 0 and at most 1", delta)
    return count, _chebyshev(1 / (2 * count + 1), 1 / delta)


def _chebyshev(order: int | float, x: float) -> float:
    """Returns T_order(x) for x >= 0: of any order where x >= 1, of whole order below."""
    return math.cosh(order * math.acosh(x)) if x >= 1 else math.cos(order * math.acos(x))
