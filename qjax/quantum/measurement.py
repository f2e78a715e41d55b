"""Expectation values of Pauli strings and sums from a state `[2**n, batch]`."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.observables import Observable, PauliString
from qjax.quantum.stages import apply_matrix, barrier
from qjax.types import Array, Complex, Float

_H = np.array([[1, 1], [1, -1]], np.complex128) / np.sqrt(2)
# Turns the eigenbasis of each Pauli matrix into that of Z: H X H = Z, and (H Sdg) Y (S H) = Z.
_TO_Z_BASIS = {"X": _H, "Y": _H @ np.diag([1, -1j])}


def observable_values(
    amplitudes: Complex[Array, "dim batch"], observables: tuple[Observable, ...]
) -> Float[Array, "observables batch"]:
    """Returns the expectation value of each observable for each example.

    Every distinct string is measured once, and strings with their X and Y on the same qubits share a change of basis.
    """
    terms = [((1.0, o),) if isinstance(o, PauliString) else o.terms for o in observables]
    strings = tuple(dict.fromkeys(string.paulis for term in terms for _, string in term))
    groups: dict[str, list[str]] = {}
    for paulis in strings:
        groups.setdefault(paulis.replace("Z", "I"), []).append(paulis)
    values: dict[str, Array] = {}
    for basis, members in groups.items():
        rotated = amplitudes
        for q, letter in enumerate(basis):
            if letter != "I":
                rotated = apply_matrix(rotated, _TO_Z_BASIS[letter], (q,))
        probs = barrier(lax.real(rotated) ** 2 + lax.imag(rotated) ** 2)
        values.update(_fold(probs, {paulis: paulis for paulis in members}))
    return jnp.stack([_sum_terms([(c, values[s.paulis]) for c, s in term]) for term in terms])


def _sum_terms(terms: list[tuple[float, Array]]) -> Array:
    """Returns the sum of coefficient * value."""
    total = terms[0][1] * terms[0][0]
    for coefficient, value in terms[1:]:
        total = total + value * coefficient
    return total


def _fold(probs: Array, rest: dict[str, str]) -> dict[str, Array]:
    """Returns for each string the sum of probabilities `[2**k, batch]`, signed by its letters -> `[batch]`.

    A tree of sums: the first qubit left is added out for strings with I there and subtracted for the others (Z, or X
    and Y in their own basis), so that strings share the work for all that they begin with. All <Z> of n qubits cost
    about 3 * 2**n additions instead of n * 2**n.

    Args:
      probs: probabilities of the qubits left.
      rest: string -> its letters on the qubits left.
    """
    trivial = [string for string, letters in rest.items() if set(letters) <= {"I"}]
    results: dict[str, Array] = {}
    if trivial:
        total = probs.sum(axis=0)
        results = dict.fromkeys(trivial, total)
    added = {s: letters[1:] for s, letters in rest.items() if s not in results and letters[0] == "I"}
    subtracted = {s: letters[1:] for s, letters in rest.items() if s not in results and letters[0] != "I"}
    if added or subtracted:
        first, second = lax.split(probs, (probs.shape[0] // 2,) * 2, axis=0)
        if added:
            results |= _fold(first + second, added)
        if subtracted:
            results |= _fold(first - second, subtracted)
    return results
