"""What to measure, what it should give, and how far from that a finite number of shots may fall.

A Pauli string is measured by turning each of its X and Y into Z and counting bits, so strings that agree wherever
neither has an I share one setting: one run of the circuit with one basis a qubit. Hermitian matrices and projectors
are measured as the sums of strings that `pauli_terms` makes of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from qjax.export.observables import pauli_terms
from qjax.quantum.measure.observables import Observable

# Probability below which an outcome counts as impossible: the rounding of a float64 state, and rarer than any run.
IMPOSSIBLE = 1e-12


@dataclass(frozen=True, eq=False)
class MeasurementPlan:
    """Settings and what each outcome is worth.

    Attributes:
      bases: a setting each, one letter of I, X, Y, Z a qubit, qubit 0 first; I is measured like Z.
      values: for each observable, setting -> value of each outcome `[2**n]`, indexed with qubit 0 most significant;
        the observable is the sum of these over its settings.
    """

    bases: tuple[str, ...]
    values: tuple[dict[int, np.ndarray], ...]


def plan_measurements(observables: Sequence[Observable]) -> MeasurementPlan:
    """Returns settings that measure every observable; all strings of I and Z alone share one.

    Each string joins the first setting that it agrees with (first fit), those of I and Z before the others.
    """
    terms = [(k, *term) for k, observable in enumerate(observables) for term in pauli_terms(observable)]
    bases: list[str] = []
    values: tuple[dict[int, np.ndarray], ...] = tuple({} for _ in observables)
    for k, coefficient, paulis in sorted(terms, key=lambda term: not set(term[2]) <= set("IZ")):
        setting = next((s for s, basis in enumerate(bases) if _agree(basis, paulis)), len(bases))
        if setting == len(bases):
            bases.append(paulis)
        bases[setting] = "".join(b if p == "I" else p for b, p in zip(bases[setting], paulis, strict=True))
        values[k][setting] = values[k].get(setting, 0.0) + coefficient * parities(paulis)
    return MeasurementPlan(tuple(bases), values)


def parities(paulis: str) -> np.ndarray:
    """Returns +1 or -1 for each outcome `[2**n]`: -1 where an odd number of the qubits without I measured 1."""
    signs: np.ndarray = np.ones(1)
    for letter in paulis:  # qubit 0 first, so that it becomes the most significant bit
        signs = np.kron(signs, [1.0, 1.0] if letter == "I" else [1.0, -1.0])
    return signs


def _agree(first: str, second: str) -> bool:
    """Whether two strings hold the same letter wherever neither holds an I."""
    return all(a == b or "I" in (a, b) for a, b in zip(first, second, strict=True))


def outcome_probabilities(state: ArrayLike, basis: str) -> np.ndarray:
    """Returns the exact probability of each outcome `[2**n]` of a setting, in float64.

    Args:
      state: amplitudes `[2**n]`, qubit 0 most significant.
      basis: one letter a qubit.
    """
    hadamard = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    changes = {"X": hadamard, "Y": hadamard @ np.diag([1, -1j])}
    amplitudes = np.asarray(state, dtype=np.complex128).reshape((2,) * len(basis))
    for qubit, letter in enumerate(basis):
        if letter in changes:
            turned = np.tensordot(changes[letter], amplitudes, axes=(1, qubit))
            amplitudes = np.moveaxis(turned, 0, qubit)
    probabilities: np.ndarray = np.abs(amplitudes.reshape(-1)) ** 2
    probabilities /= probabilities.sum()
    return probabilities


def standard_error(
    values: dict[int, np.ndarray], probabilities: Sequence[np.ndarray], shots: int
) -> tuple[float, float]:
    """Returns the exact standard error of an observable's estimate, and the spread of its single shots.

    Args:
      values: setting -> value of each outcome `[2**n]`.
      probabilities: for each setting, of each outcome `[2**n]`.
      shots: of every setting.

    Returns:
      sqrt(sum over settings of variance / shots), and the largest difference between two possible values of one shot.
      Both are 0 where every shot must give the same.
    """
    variance, spread = 0.0, 0.0
    for setting, outcome_values in values.items():
        possible = probabilities[setting] > IMPOSSIBLE
        weights, worth = probabilities[setting][possible], outcome_values[possible]
        variance += float(weights @ (worth - weights @ worth) ** 2) / shots
        spread = max(spread, float(np.ptp(worth)))
    return (float(np.sqrt(variance)), spread) if spread > 0 else (0.0, 0.0)


def in_standard_errors(difference: float, *, error: float, spread: float, shots: int, floor: float) -> float:
    """Returns how many standard errors lie between an estimate and its exact value, safe for rare outcomes.

    It is the s that solves difference = s error + s^2 spread / (6 shots), which for ordinary outcomes is
    difference / error to a few per cent. By Bernstein's inequality the chance of more than s is at most
    2 exp(-s^2 / 2) whatever the distribution; without the second term one rare outcome (probability 1e-6, seen once
    in 1e4 shots) would count as ten standard errors.

    Args:
      difference: absolute, between the mean over the shots and the exact expectation.
      error: standard error of the mean; 0 where every shot must give the same.
      spread: largest difference between two values of one shot.
      shots: of every setting.
      floor: rounding of the exact expectation, taken as the error where that is smaller.

    Source: Bernstein's inequality for bounded variables; Boucheron, Lugosi and Massart 2013, Concentration
      Inequalities, section 2.8.
    """
    linear, quadratic = max(error, floor), spread / (6 * shots)
    return float(2 * difference / (linear + np.sqrt(linear**2 + 4 * quadratic * difference)))
