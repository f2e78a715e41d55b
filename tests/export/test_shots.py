"""Measurement settings, exact standard errors and the rare-outcome rule, against dense algebra and simulation."""

from functools import reduce

import numpy as np
import pytest

from qjax.export.measurement import (
    in_standard_errors,
    outcome_probabilities,
    parities,
    plan_measurements,
    standard_error,
)
from qjax.quantum.measure.observables import PauliString, PauliSum, z_observables

PAULIS = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}
RNG = np.random.default_rng(0)
STATE = RNG.normal(size=8) + 1j * RNG.normal(size=8)
STATE /= np.linalg.norm(STATE)


def dense(paulis: str) -> np.ndarray:
    return reduce(np.kron, [PAULIS[letter] for letter in paulis])


def test_all_strings_of_z_share_one_setting() -> None:
    observables = [PauliString("XII"), *z_observables(3), PauliString("ZZZ"), PauliString("IXI"), PauliString("III")]
    plan = plan_measurements(observables)
    assert len(plan.bases) == 2
    assert plan.bases[0] == "ZZZ"
    assert plan.bases[1][:2] == "XX"
    assert [list(values) for values in plan.values] == [[1], [0], [0], [0], [0], [1], [0]]


@pytest.mark.parametrize("text", ["ZII", "IXY", "YII", "0.5 XZI - 2 ZZY + 0.25 IYX", "3 III - XII"])
def test_plan_reproduces_expectation_and_variance(text: str) -> None:
    """Settings of one observable are separate runs, so that their variances add."""
    observable = PauliSum.from_text(text)
    plan = plan_measurements([observable])
    probabilities = [outcome_probabilities(STATE, basis) for basis in plan.bases]
    mean = sum(probabilities[s] @ worth for s, worth in plan.values[0].items())
    matrices = {s: np.zeros((8, 8), dtype=complex) for s in plan.values[0]}
    for coefficient, string in observable.terms:
        setting = next(
            s for s, b in enumerate(plan.bases) if all(p in ("I", q) for p, q in zip(string.paulis, b, strict=True))
        )
        matrices[setting] += coefficient * dense(string.paulis)
    means = [np.vdot(STATE, m @ STATE).real for m in matrices.values()]
    squares = [np.vdot(STATE, m @ m @ STATE).real for m in matrices.values()]
    assert mean == pytest.approx(sum(means), abs=1e-12)
    variance = sum(s - m**2 for s, m in zip(squares, means, strict=True))
    error, _ = standard_error(plan.values[0], probabilities, shots=100)
    assert error == pytest.approx(np.sqrt(variance / 100), abs=1e-9)


def test_outcome_probabilities_are_those_of_the_projectors() -> None:
    for basis in ("ZXY", "IYX", "XXX"):
        probabilities = outcome_probabilities(STATE, basis)
        for index in range(8):
            signs = [1 - 2 * ((index >> (2 - q)) & 1) for q in range(3)]
            projectors = [
                (np.eye(2) + sign * PAULIS["Z" if letter == "I" else letter]) / 2
                for sign, letter in zip(signs, basis, strict=True)
            ]
            expected = np.vdot(STATE, reduce(np.kron, projectors) @ STATE).real
            assert probabilities[index] == pytest.approx(expected, abs=1e-12)


def test_parities_by_hand() -> None:
    assert parities("ZI").tolist() == [1, 1, -1, -1]
    assert parities("YX").tolist() == [1, -1, -1, 1]


def test_certain_outcome_has_no_standard_error() -> None:
    probabilities = [np.array([1 - 1e-15, 1e-15])]
    assert standard_error({0: np.array([1.0, -1.0])}, probabilities, 10) == (0.0, 0.0)


def test_certain_outcome_must_be_met() -> None:
    options = {"error": 0.0, "spread": 0.0, "shots": 10_000, "floor": 1e-5}
    assert in_standard_errors(0.0, **options) == 0
    assert in_standard_errors(1e-6, **options) == pytest.approx(0.1)  # rounding
    assert in_standard_errors(2e-4, **options) == pytest.approx(20)  # one shot of 10,000 fell elsewhere


def test_ordinary_outcome_is_measured_in_plain_standard_errors() -> None:
    distance = in_standard_errors(0.03, error=0.01, spread=2.0, shots=10_000, floor=1e-5)
    assert distance == pytest.approx(3, rel=0.02)
    assert in_standard_errors(0.03, error=0.01, spread=0.0, shots=10_000, floor=1e-5) == pytest.approx(3)


@pytest.mark.parametrize("probability", [1e-6, 1e-5, 1e-4, 1e-3, 0.3])
def test_false_alarms_are_as_rare_as_bernstein_says(probability: float) -> None:
    """Plain standard errors would exceed 3 in up to 10 % of these runs where the outcome is rare."""
    shots, runs = 10_000, 200_000
    counts = np.random.default_rng(1).binomial(shots, probability, size=runs)
    error, spread = standard_error({0: np.array([1.0, -1.0])}, [np.array([1 - probability, probability])], shots)
    differences = np.unique(np.abs(2 * counts / shots - 2 * probability), return_counts=True)
    alarms = sum(
        number
        for difference, number in zip(*differences, strict=True)
        if in_standard_errors(difference, error=error, spread=spread, shots=shots, floor=1e-5) > 3
    )
    assert alarms / runs <= 2 * np.exp(-(3**2) / 2)
