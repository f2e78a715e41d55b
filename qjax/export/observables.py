"""Observables as sums of Pauli strings, the one form that Qiskit is given and that shots can measure."""

from itertools import product

import numpy as np

from qjax.checks import check
from qjax.quantum.measure.observables import Hermitian, Observable, PauliString, PauliSum, Projector

# Most strings that a Hermitian or a Projector may turn into: a matrix on 5 qubits, outcomes of 10.
MAX_TERMS = 1024
# Coefficients below this part of the largest one are rounding.
_ROUNDING = 1e-14

# What a letter's coefficient takes of a matrix's 2 x 2 entries, row by row: trace(letter @ matrix) / 2.
_OF_MATRIX = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1j, -1j, 0], [1, 0, 0, -1]]) / 2  # I, X, Y, Z
_OF_DIAGONAL = np.array([[1, 1], [1, -1]]) / 2  # I, Z


def pauli_terms(observable: Observable) -> tuple[tuple[float, str], ...]:
    """Returns (coefficient, one letter a qubit, qubit 0 first) of each term; a PauliString is one term.

    A Hermitian or a Projector A on k qubits becomes the sum over the strings P on them of trace(P A) / 2**k times P,
    without those whose coefficient is 0: up to 4**k, or 2**k of I and Z alone for a Projector on outcomes.

    Raises:
      UserError: a Hermitian or a Projector would become more than `MAX_TERMS` strings.

    >>> from qjax.quantum.measure.observables import Projector
    >>> pauli_terms(Projector.from_bits("1", qubits=[1], num_qubits=2))
    ((0.5, 'II'), (-0.5, 'IZ'))
    """
    if isinstance(observable, PauliString):
        return ((1.0, observable.paulis),)
    if isinstance(observable, PauliSum):
        return tuple((float(coefficient), string.paulis) for coefficient, string in observable.terms)
    return _decompose(observable)


def _decompose(observable: Hermitian | Projector) -> tuple[tuple[float, str], ...]:
    k = len(observable.qubits)
    on_outcomes = isinstance(observable, Projector) and observable.outcomes != ()
    letters, table = ("IZ", _OF_DIAGONAL) if on_outcomes else ("IXYZ", _OF_MATRIX)
    base = len(letters)
    expectation = f"become a sum of at most {MAX_TERMS} Pauli strings, as Qiskit and shots need it"
    check(base**k <= MAX_TERMS, "observable", expectation, f"a {type(observable).__name__} on {k} qubits")
    if isinstance(observable, Projector) and on_outcomes:
        coefficients = np.isin(np.arange(2**k), observable.outcomes).astype(np.float64).reshape((2,) * k)
    else:
        axes = [axis for q in range(k) for axis in (q, k + q)]  # row and column of each qubit side by side
        coefficients = observable.local_matrix.reshape((2,) * (2 * k)).transpose(axes).reshape((4,) * k)
    for axis in range(k):
        coefficients = np.moveaxis(np.tensordot(table, coefficients, axes=(1, axis)), 0, axis)
    values = coefficients.real.reshape(-1)
    smallest = _ROUNDING * np.abs(values).max()
    terms = []
    for value, chosen in zip(values.tolist(), product(letters, repeat=k), strict=True):
        if abs(value) > smallest:
            paulis = ["I"] * observable.num_qubits
            for qubit, letter in zip(observable.qubits, chosen, strict=True):
                paulis[qubit] = letter
            terms.append((value, "".join(paulis)))
    return tuple(terms) or ((0.0, "I" * observable.num_qubits),)
