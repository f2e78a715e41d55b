"""Which basis states an oracle marks: one boolean mask, from any of the forms in which a person says it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.checks import check, fail
from qjax.quantum.circuits.angle import as_index
from qjax.types import Array, Bool

# Indices, bitstrings, booleans for all states, or a function from an array of indices to booleans.
Marked = int | str | Sequence[Any] | np.ndarray | Array | Callable[[Array], Any]

# Basis indices are int32 unless x64 is switched on.
MAX_QUBITS = 31
_FORMS = "hold basis indices, bitstrings, or one boolean for each basis state, or be a function of indices"


def marked_mask(num_qubits: int, marked: Marked) -> Bool[Array, " states"]:
    """Returns whether each basis state is marked, `[2**n]`.

    Args:
      num_qubits: n, in 1..31.
      marked: one of
        - basis indices in 0..2**n - 1, or one of them;
        - bitstrings of n characters 0 and 1, qubit 0 leftmost, or one of them;
        - booleans `[2**n]`, which may all be False;
        - a function that JAX can trace, from the basis indices, int32 `[2**n]`, to booleans `[2**n]`.

    Raises:
      UserError: there is no index or bitstring at all, or one twice; an index is out of range; a bitstring has
        another length or other characters; booleans have another shape; the entries or the function's results are of
        another type; or JAX cannot trace the function.

    >>> marked_mask(2, ["10"])
    Array([False, False,  True, False], dtype=bool)
    """
    n = as_index("num_qubits", num_qubits)
    check(1 <= n <= MAX_QUBITS, "num_qubits", f"be an integer in 1..{MAX_QUBITS}", n)
    if callable(marked):
        return _evaluate(n, marked)
    if isinstance(marked, jax.Array) and marked.dtype == jnp.bool_:  # traced ones, too
        return _check_shape(n, marked)
    entries = _as_entries(marked)
    if entries.dtype == np.bool_:
        return jnp.asarray(_check_shape(n, entries))
    indices = _from_bitstrings(n, entries) if entries.dtype.kind == "U" else _check_range(n, entries)
    values, counts = np.unique(indices, return_counts=True)
    check(
        bool(counts.max() == 1), "marked", "name each state once", f"{values[counts.argmax()]} {counts.max()} times"
    )
    mask = np.zeros(2**n, np.bool_)
    mask[indices] = True
    return jnp.asarray(mask)


def marked_indices(num_qubits: int, marked: Marked) -> np.ndarray:
    """Returns the basis indices that are marked, ascending; arguments and errors are those of `marked_mask`."""
    return np.flatnonzero(np.asarray(marked_mask(num_qubits, marked)))


def _as_entries(marked: Any) -> np.ndarray:
    """Returns indices, bitstrings or booleans as an array of one axis."""
    try:
        entries = np.atleast_1d(np.asarray(marked))
    except ValueError:  # rows of different lengths
        fail("marked", _FORMS, marked)
    check(entries.ndim == 1, "marked", "have one axis", f"the shape {list(entries.shape)}")
    check(entries.size > 0, "marked", "name at least one state", "none")
    check(entries.dtype.kind in "iubU", "marked", _FORMS, f"entries of type {entries.dtype}")
    return entries


def _evaluate(num_qubits: int, predicate: Callable[[Array], Any]) -> Array:
    def evaluate() -> Any:
        return predicate(jnp.arange(2**num_qubits, dtype=jnp.int32))

    try:
        mask = jax.jit(evaluate)()  # one program, so that the indices need not be in memory
    except jax.errors.JAXTypeError as error:
        fail("marked", "be a function that JAX can trace", f"{type(error).__name__} while tracing it")
    known = isinstance(mask, jax.Array) and mask.dtype == jnp.bool_
    finding = str(mask.dtype) if isinstance(mask, jax.Array) else type(mask).__name__
    check(known, "marked", "return an array of booleans", finding)
    return _check_shape(num_qubits, mask)


def _check_shape(num_qubits: int, mask: Any) -> Any:
    expectation = f"have one boolean for each of {2**num_qubits} basis states"
    check(mask.shape == (2**num_qubits,), "marked", expectation, f"the shape {list(mask.shape)}")
    return mask


def _check_range(num_qubits: int, indices: np.ndarray) -> np.ndarray:
    outside = indices[(indices < 0) | (indices >= 2**num_qubits)]
    if outside.size:
        fail("marked", f"hold indices in 0..{2**num_qubits - 1}", int(outside[0]))
    return indices


def _from_bitstrings(num_qubits: int, bitstrings: np.ndarray) -> np.ndarray:
    for bits in bitstrings.tolist():
        valid = len(bits) == num_qubits and set(bits) <= {"0", "1"}
        check(valid, "marked", f"hold bitstrings of {num_qubits} characters 0 and 1", repr(bits))
    return np.array([int(bits, 2) for bits in bitstrings.tolist()])
