"""Strings of I and Z as masks of rows: what is read where a circuit's observables are made of them."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.compile.relabelling import Relabelling
from qjax.quantum.engines.native.table.layout import ReadWord
from qjax.quantum.engines.readouts import ExpectationReadout, Readout
from qjax.types import Array


def strings_of(readout: Readout, relabelling: Relabelling, dtype: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the rows of the strings that are read, and the observables in terms of them; None for others.

    Args:
      readout: what is read.
      relabelling: what the rows of the final state stand for.
      dtype: of the observables' coefficients.

    Returns:
      int32 `[strings]`, whose ones are the bits of a row's number whose parity is the sign of its amplitude's square;
      real `[observables, strings]`.
    """
    if not isinstance(readout, ExpectationReadout) or not readout.folds:
        return None
    places: dict[int, int] = {}
    entries: list[tuple[int, int, float]] = []
    for k, observable in enumerate(readout.observables):
        for coefficient, string in observable.to_sum().terms:  # type: ignore[union-attr]
            mask, flip = relabelling.string(string.paulis)
            place = places.setdefault(mask, len(places))
            entries.append((k, place, float(coefficient) * (-1) ** flip))
    matrix = np.zeros((len(readout.observables), len(places)))
    for k, place, value in entries:
        matrix[k, place] += value
    return np.array(list(places), np.int32), matrix.astype(dtype)


def in_coset(masks: np.ndarray, basis: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the words of strings for a kernel that has the cosets that a basis spans.

    Args:
      masks: of the strings, int32 `[strings]`.
      basis: one mask for each bit of a row's number in a coset.

    Returns:
      int32 `[strings, READ_WORDS]`: the row of the coset whose ones say what the sign depends on there, the mask for
      the rest, which the coset's first row decides on, and of the first one of strings that are alike in the coset
      how many these are, else 0. Then the strings' order, in which such strings are neighbours.
    """
    rows = [sum(((int(mask) & own).bit_count() % 2) << j for j, own in enumerate(basis)) for mask in masks]
    order = np.argsort(rows, kind="stable")
    table = np.zeros((len(masks), ReadWord.SIZE), np.int32)
    table[:, ReadWord.ROW], table[:, ReadWord.MASK] = np.array(rows, np.int64)[order], masks[order]
    _, firsts, counts = np.unique(table[:, ReadWord.ROW], return_index=True, return_counts=True)
    table[firsts, ReadWord.NUMBER] = counts
    return table, order


def combined(matrix: np.ndarray, values: Array) -> Array:
    """Returns matrix @ values; one product for each row where the matrix is diagonal."""
    if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.diag(np.diag(matrix))):
        return values if np.all(matrix.diagonal() == 1) else values * np.diag(matrix)[:, None]
    return jnp.matmul(matrix, values, precision=lax.Precision.HIGHEST)
