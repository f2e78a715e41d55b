"""Observables on a state `[2**n, batch]`: their expectation values, and an observable applied to the state."""

from collections.abc import Sequence
from itertools import groupby

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.measure.observables import Hermitian, Observable, PauliString, PauliSum, Projector
from qjax.quantum.measure.pauli import pauli_masks
from qjax.quantum.states.apply import apply_matrix, multiply_diagonal
from qjax.quantum.states.axes import join_qubits, real_overlap, split_qubits, squared
from qjax.quantum.states.barriers import barrier, stored
from qjax.quantum.states.sums import sum_rows
from qjax.types import Array, Complex, Float

_H = np.array([[1, 1], [1, -1]], np.complex128) / np.sqrt(2)
# Maps the eigenbasis of each Pauli matrix to that of Z: H X H = Z, and (H Sdg) Y (S H) = Z.
_TO_Z_BASIS = {"X": _H, "Y": _H @ np.diag([1, -1j])}
# Sums of more terms are applied to the state as a whole. Term by term, a Heisenberg chain of 10 qubits compiles 3
# times as long and runs 4 times as long, and 60 random strings of 12 qubits compile longer than 5000 do as a whole.
MAX_MEASURED_TERMS = 4
# A sum of more terms of I and Z alone is one weight for each basis state.
MAX_FOLDED_TERMS = 2
# Strings that flip the same qubits form a group; more groups than this are applied in a loop.
MAX_UNROLLED_FLIPS = 32
# Signs of more strings than this are added up by a Walsh-Hadamard transform.
MAX_ADDED_SIGNS = 8
# Strings of at least this many qubits are measured half by half, if they have at most so many different first halves.
MIN_HALVED_QUBITS, MAX_FIRST_HALVES = 12, 32
# Else one matrix product measures all strings, for states of at most so many rows in batches of at least so many.
MAX_SIGN_ROWS, MIN_SIGN_BATCH = 2**12, 8


def observable_values(
    amplitudes: Complex[Array, "dim batch"], observables: tuple[Observable, ...]
) -> Float[Array, "observables batch"]:
    """Returns the expectation value of each observable for each example.

    Every distinct string is measured once, and strings with their X and Y on the same qubits share a change of basis.
    """
    terms = [_measured_terms(observable) for observable in observables]
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
        values.update(_signed_sums(stored(squared(rotated)), members))
    return jnp.stack(
        [
            _sum_terms([(c, values[s.paulis]) for c, s in term]) if term else _other_value(amplitudes, observable)
            for observable, term in zip(observables, terms, strict=True)
        ]
    )


def apply_observable(amplitudes: Complex[Array, "dim batch"], observable: Observable) -> Complex[Array, "dim batch"]:
    """Returns O |state>, which is not normalised."""
    if isinstance(observable, PauliString | PauliSum):
        return _apply_sum(amplitudes, observable.to_sum())
    if isinstance(observable, Hermitian):
        return apply_matrix(amplitudes, observable.local_matrix, observable.qubits)
    if observable.vector is None:
        chosen = np.isin(np.arange(2 ** len(observable.qubits)), observable.outcomes)
        return multiply_diagonal(amplitudes, chosen[:, None], observable.qubits)
    overlaps, column = _overlaps(amplitudes, observable)
    return join_qubits(column[:, None, None] * overlaps[None], observable.qubits)


# Expectation values. ----------------------------------------------------------------------------------------


def _measured_terms(observable: Observable) -> tuple[tuple[float | int, PauliString], ...]:
    """Returns the terms that are measured string by string; none for an observable that is treated as a whole."""
    if isinstance(observable, PauliString):
        return ((1.0, observable),)
    if not isinstance(observable, PauliSum):
        return ()
    limit = MAX_FOLDED_TERMS if is_diagonal(observable) else MAX_MEASURED_TERMS
    return observable.terms if len(observable.terms) <= limit else ()


def is_diagonal(observable: Observable) -> bool:
    """Whether the observable is a string of I and Z alone, or a sum of such."""
    if not isinstance(observable, PauliString | PauliSum):
        return False
    return all(set(s.paulis) <= {"I", "Z"} for _, s in observable.to_sum().terms)


def _diagonal_value(amplitudes: Array, observable: PauliSum) -> Array:
    """Returns the expectation value `[batch]` of a sum of strings of I and Z: probabilities times weights.

    The weight of basis state (i, j), i the first half of its bits, is the sum over strings of coefficient times the
    sign that i gives it times the sign that j gives it: one small matrix product.
    """
    n = observable.num_qubits
    signs = [
        np.stack([_signs(string.paulis[part]) for _, string in observable.terms])
        for part in (slice(n // 2), slice(n // 2, n))
    ]
    coefficients = np.array([coefficient for coefficient, _ in observable.terms])
    dtype = lax.real(amplitudes).dtype
    high, low = jnp.asarray(signs[0].T * coefficients, dtype), jnp.asarray(signs[1], dtype)
    weights = barrier(jnp.matmul(high, low, precision=lax.Precision.HIGHEST).reshape(-1, 1))
    return sum_rows(squared(amplitudes) * weights)


def _signs(paulis: str) -> np.ndarray:
    """Returns (-1)**(number of 1 bits at letters other than I) for each basis state, `[2**k]`."""
    signs: np.ndarray = np.ones(1)
    for letter in paulis:
        signs = np.kron(signs, [1, 1] if letter == "I" else [1, -1])
    return signs


def _other_value(amplitudes: Array, observable: Observable) -> Array:
    """Returns the expectation value `[batch]` of an observable that is not measured string by string."""
    if isinstance(observable, Projector):
        if observable.vector is not None:
            return squared(_overlaps(amplitudes, observable)[0]).sum(axis=0)
        outcomes = split_qubits(amplitudes, observable.qubits)
        chosen = jnp.take(outcomes, np.array(observable.outcomes), axis=0, unique_indices=True, mode="clip")
        return squared(chosen).sum(axis=(0, 1))
    if isinstance(observable, PauliSum) and is_diagonal(observable):
        return _diagonal_value(amplitudes, observable)
    applied = apply_observable(amplitudes, observable)
    return real_overlap(amplitudes, applied)


def _overlaps(amplitudes: Array, projector: Projector) -> tuple[Array, Array]:
    """Returns <v|state> for each outcome of the other qubits, `[2**(n-k), batch]`, and v, `[2**k]`."""
    column = jnp.asarray(projector.vector, amplitudes.dtype)
    split = split_qubits(amplitudes, projector.qubits)
    return jnp.einsum("k,kjb->jb", column.conj(), split, precision=lax.Precision.HIGHEST), column


def _sum_terms(terms: list[tuple[float, Array]]) -> Array:
    """Returns the sum of coefficient * value."""
    first, *rest = (value * coefficient for coefficient, value in terms)
    return sum(rest, first)


def _signed_sums(probs: Array, strings: Sequence[str]) -> dict[str, Array]:
    """Returns for each string the sum of probabilities `[2**n, batch]`, signed by its letters -> `[batch]`.

    Matrix products where several strings are measured on enough qubits or examples; else a tree of sums.
    """
    n, middle = len(strings[0]), len(strings[0]) // 2
    if len(strings) > 1 and n >= MIN_HALVED_QUBITS and len({s[:middle] for s in strings}) <= MAX_FIRST_HALVES:
        return _halved_sums(probs, strings, middle)
    if len(strings) > 1 and len(probs) <= MAX_SIGN_ROWS and probs.shape[-1] >= MIN_SIGN_BATCH:
        signs = np.stack([_signs(paulis) for paulis in strings]).astype(probs.dtype)
        return dict(zip(strings, jnp.matmul(signs, probs, precision=lax.Precision.HIGHEST), strict=True))
    return _fold(probs, {paulis: paulis for paulis in strings})


def _halved_sums(probs: Array, strings: Sequence[str], middle: int) -> dict[str, Array]:
    """Returns what `_signed_sums` does, by two matrix products.

    The sign of basis state (i, j) is the sign that the first letters give i times the sign that the others give j. So
    the first product is over i, for the different first halves, and a small second one is over j. Their transpose is
    two products, too, where XLA would compile that of a tree into one slow kernel.
    """
    firsts = tuple(dict.fromkeys(s[:middle] for s in strings))
    seconds = tuple(dict.fromkeys(s[middle:] for s in strings))
    high, low = (np.stack([_signs(letters) for letters in half]).astype(probs.dtype) for half in (firsts, seconds))
    batch = probs.shape[-1]
    summed = jnp.matmul(high, probs.reshape(high.shape[1], -1), precision=lax.Precision.HIGHEST)
    pairs = summed.reshape(len(firsts), low.shape[1], batch)
    sums = jnp.einsum("sj,fjb->fsb", low, pairs, precision=lax.Precision.HIGHEST)
    return {s: sums[firsts.index(s[:middle]), seconds.index(s[middle:])] for s in strings}


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
            results |= _fold(barrier(first + second), added)
        if subtracted:
            results |= _fold(barrier(first - second), subtracted)
    return results


# Pauli sums applied to a state. -----------------------------------------------------------------------------


def _apply_sum(amplitudes: Array, total: PauliSum) -> Array:
    """Applies a sum of strings; those that flip the same qubits become one diagonal and then this flip."""
    groups: dict[int, dict[int, complex]] = {}
    for coefficient, string in total.terms:
        flips, signs, phase = pauli_masks(string.paulis)
        group = groups.setdefault(flips, {})
        group[signs] = group.get(signs, 0.0) + coefficient * phase
    if len(groups) > MAX_UNROLLED_FLIPS:
        return _apply_in_loop(amplitudes, groups)
    parts = []
    for flips, weights in groups.items():
        diagonal = _sum_of_signs(weights, amplitudes.shape[0], amplitudes.dtype)
        parts.append(_flip(amplitudes * diagonal[:, None], flips))
    return sum(parts[1:], parts[0])


def _apply_in_loop(amplitudes: Array, groups: dict[int, dict[int, complex]]) -> Array:
    """Applies many groups as a scan, so that compile time does not grow with their number."""
    longest = max(map(len, groups.values()))
    signs = np.zeros((len(groups), longest), np.int32)
    weights = np.zeros((len(groups), longest), amplitudes.dtype)
    for row, group in enumerate(groups.values()):
        signs[row, : len(group)] = list(group)
        weights[row, : len(group)] = list(group.values())
    dim = amplitudes.shape[0]

    @jax.checkpoint
    def step(total: Array, group: tuple[Array, Array, Array]) -> tuple[Array, None]:
        flips, signs, weights = group
        spectrum = jnp.zeros((dim,), amplitudes.dtype).at[signs].add(weights)  # padding has weight 0
        signed = amplitudes * _walsh_hadamard(spectrum)[:, None]
        moved = jnp.take(signed, lax.iota(np.int32, dim) ^ flips, axis=0, unique_indices=True, mode="clip")
        return total + moved, None

    rows = (jnp.asarray(list(groups), np.int32), jnp.asarray(signs), jnp.asarray(weights))
    return lax.scan(step, jnp.zeros_like(amplitudes), rows)[0]


def _sum_of_signs(weights: dict[int, complex], dim: int, dtype: np.dtype) -> Array:
    """Returns for each basis state i, `[dim]`, the sum over masks of weight * (-1)**(number of bits of i & mask)."""
    if len(weights) > MAX_ADDED_SIGNS:
        entries = jnp.asarray(list(weights.values()), dtype)
        spectrum = jnp.zeros((dim,), dtype).at[np.array(list(weights))].set(entries, unique_indices=True)
        return _walsh_hadamard(spectrum)
    rows = lax.iota(np.int32, dim)
    total = jnp.zeros((dim,), dtype)
    for mask, weight in weights.items():
        parity = lax.population_count(rows & np.int32(mask)) & np.int32(1)
        total = total + (np.int32(1) - np.int32(2) * parity).astype(dtype) * jnp.asarray(weight, dtype)
    return barrier(total)


def _walsh_hadamard(vector: Array) -> Array:
    """Returns for each i the sum over j of (-1)**(number of bits of i & j) * vector[j], in n * 2**n steps."""
    half = len(vector) // 2
    while half:
        pairs = vector.reshape(-1, 2, half)
        first, second = lax.split(pairs, (1, 1), axis=1)
        vector = barrier(lax.concatenate([first + second, first - second], 1).reshape(-1))
        half //= 2
    return vector


def _flip(state: Array, flips: int) -> Array:
    """Flips the qubits whose bit is set: entry i of `[2**n, batch]` moves to i ^ flips.

    Reversing an axis of 2**r flips r neighbouring qubits at once.
    """
    if not flips:
        return state
    bits = f"{flips:0{int(state.shape[0]).bit_length() - 1}b}"
    runs = [(bit, len(list(members))) for bit, members in groupby(bits)]
    cut = state.reshape((*(2**length for _, length in runs), state.shape[1]))
    return lax.rev(cut, [axis for axis, (bit, _) in enumerate(runs) if bit == "1"]).reshape(state.shape)
