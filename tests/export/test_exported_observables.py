"""Hermitian matrices and projectors as sums of Pauli strings: for Qiskit, for shots and in the validation."""

import dense_reference as dense
import numpy as np
import pytest
from scipy.stats import unitary_group

from qjax.checks import UserError
from qjax.export import to_qiskit_observable, validate
from qjax.export.measurement import outcome_probabilities, plan_measurements
from qjax.export.observables import pauli_terms
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.measure.observables import Hermitian, Observable, PauliString, Projector

RNG = np.random.default_rng(0)


def random_hermitian(size: int) -> np.ndarray:
    matrix = RNG.normal(size=(size, size)) + 1j * RNG.normal(size=(size, size))
    return matrix + matrix.conj().T


MATRICES = [random_hermitian(4), random_hermitian(8)]
VECTOR = unitary_group.rvs(4, random_state=1)[0]
# (observable on 3 qubits, its matrix on its own qubits, those qubits): none alike when two qubits change places.
CASES: dict[str, tuple[Observable, np.ndarray, tuple[int, ...]]] = {
    "matrix on two": (Hermitian(MATRICES[0], (2, 0), 3), MATRICES[0], (2, 0)),
    "matrix on all": (Hermitian(MATRICES[1]), MATRICES[1], (0, 1, 2)),
    "zero": (Hermitian(np.zeros((2, 2)), (1,), 3), np.zeros((2, 2)), (1,)),
    "outcomes": (Projector.from_bits(["01", "11"], (2, 1), 3), np.diag([0, 1, 0, 1]), (2, 1)),
    "all outcomes": (Projector.from_bits(["0", "1"], (1,), 3), np.eye(2), (1,)),
    "state": (Projector.from_state(VECTOR, (1, 2), 3), np.outer(VECTOR, VECTOR.conj()), (1, 2)),
}
STATE = unitary_group.rvs(8, random_state=2)[0]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_sum_is_the_matrix(case: tuple[Observable, np.ndarray, tuple[int, ...]]) -> None:
    observable, matrix, qubits = case
    expected = dense.embed(np.asarray(matrix, complex), qubits, 3)
    total = sum(coefficient * dense.pauli(paulis) for coefficient, paulis in pauli_terms(observable))
    np.testing.assert_allclose(total, expected, atol=1e-12)
    order = [int(f"{index:03b}"[::-1], 2) for index in range(8)]
    theirs = to_qiskit_observable(observable).to_matrix()
    np.testing.assert_allclose(theirs[np.ix_(order, order)], expected, atol=1e-12)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_settings_give_the_expectation(case: tuple[Observable, np.ndarray, tuple[int, ...]]) -> None:
    observable, matrix, qubits = case
    plan = plan_measurements([observable])
    probabilities = [outcome_probabilities(STATE, basis) for basis in plan.bases]
    mean = sum(probabilities[setting] @ worth for setting, worth in plan.values[0].items())
    expected = np.vdot(STATE, dense.embed(np.asarray(matrix, complex), qubits, 3) @ STATE).real
    assert mean == pytest.approx(expected, abs=1e-12)


def test_projector_on_outcomes_is_measured_with_z_in_one_setting() -> None:
    plan = plan_measurements([CASES["outcomes"][0], PauliString("ZII")])
    assert len(plan.bases) == 1
    assert set(plan.bases[0]) <= set("IZ")
    assert plan.values[0][0].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]  # qubit 1 is 1: outcomes 01 and 11 of (2, 1)


def test_terms_that_are_zero_are_left_out() -> None:
    swap = Hermitian(np.eye(4)[[0, 2, 1, 3]])
    assert pauli_terms(swap) == ((0.5, "II"), (0.5, "XX"), (0.5, "YY"), (0.5, "ZZ"))


@pytest.mark.parametrize(
    ("observable", "message"),
    [
        (Hermitian(np.eye(64)), "sum of at most 1024 .* but got a Hermitian on 6 qubits"),
        (
            Projector.from_state(np.eye(64)[0]),
            "sum of at most 1024 Pauli strings, .* but got a Projector on 6 qubits",
        ),
        (Projector.from_bits("0" * 11), "sum of at most 1024 .* but got a Projector on 11 qubits"),
    ],
)
def test_wide_observable_is_refused(observable: Observable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pauli_terms(observable)


def test_validation_measures_them_and_finds_a_fault() -> None:
    """Against values from dense algebra; other values must be seen in the exact expectations and in the shots."""
    steps = [("ry", (0,), (0.3,)), ("rx", (1,), (1.1,)), ("ry", (2,), (2.0,)), ("cx", (0, 2), ())]
    circuit = Circuit(3)
    for name, qubits, angles in steps:
        circuit = circuit.append(name, qubits, *angles)
    state = dense.run(3, steps)
    chosen = [CASES[name] for name in ("matrix on two", "outcomes", "state")]
    matrices = [dense.embed(np.asarray(matrix, complex), qubits, 3) for _, matrix, qubits in chosen]
    expected = np.array([np.vdot(state, matrix @ state).real for matrix in matrices])
    observables = [observable for observable, _, _ in chosen]
    right = validate([circuit], observables, states=[state], expectations=[expected])
    assert right["passed"]
    assert right["largest_standard_errors"] > 0.1
    wrong = validate([circuit], observables, states=[state], expectations=[expected + 0.5])
    assert not wrong["passed"]
    assert min(wrong["per_circuit"][0]["expectation_differences"]) > 1e-3
    assert min(wrong["per_circuit"][0]["standard_errors"]) > 5
