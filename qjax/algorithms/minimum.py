"""Quantum minimum finding: the index of the least entry of a table, by searches below a falling threshold.

Durr and Hoyer 1996 (arXiv:quant-ph/9607014): start from a random index y; search the entries below T[y], without
knowing how many there are; what is found becomes y; stop when the time is used up. In a table of N entries the
expected time until y is the minimum is at most half of 22.5 sqrt(N) + 1.4 lg^2 N (lemma 2), so that stopping there
gives the minimum with probability at least 1/2 (theorem 1).
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from qjax.algorithms.grover import search_unknown
from qjax.checks import check
from qjax.quantum.circuits.angle import as_index
from qjax.types import Array, Key


@dataclass(frozen=True)
class MinimumStep:
    """One search below a threshold.

    Attributes:
      threshold_index: y; its entry is the threshold.
      threshold: T[y].
      iterations: of each run of Grover's search in it, one measurement and one check after each.
      num_queries: of the oracle that compares an entry with the threshold: one an iteration, and one a check.
      found: an index whose entry is below the threshold; None where the queries were used up before one was found.
    """

    threshold_index: int
    threshold: float
    iterations: tuple[int, ...]
    num_queries: int
    found: int | None


@dataclass(frozen=True)
class MinimumResult:
    """What quantum minimum finding gives.

    Attributes:
      index: the last threshold's.
      value: the table's entry there.
      steps: every search, in order.
      max_queries: queries after which it stops.
    """

    index: int
    value: float
    steps: tuple[MinimumStep, ...]
    max_queries: int

    @property
    def num_queries(self) -> int:
        """Queries of the oracle in all steps."""
        return sum(step.num_queries for step in self.steps)


def query_bound(num_entries: int) -> int:
    """Returns 22.5 sqrt(N) + 1.4 lg^2 N, rounded down: after as many queries, success has probability 1/2 at least.

    Args:
      num_entries: N, at least 1. For a table whose length is no power of 2 it is that of the register, the next one.

    >>> query_bound(16)
    112
    """
    check(as_index("num_entries", num_entries) >= 1, "num_entries", "be an integer of at least 1", num_entries)
    return math.floor(22.5 * math.sqrt(num_entries) + 1.4 * math.log2(num_entries) ** 2)


def find_minimum(values: ArrayLike, key: Key[Array, ""], *, max_queries: int | None = None) -> MinimumResult:
    """Returns the index of the least entry of a table, with probability at least 1/2, and a ledger of the queries.

    The register has the least n with 2**n entries or more; what lies beyond the table is never marked. Everything
    that asks the oracle is counted, also the check of each measured index, where the paper counts iterations and
    lg N for each preparation of the register.

    Args:
      values: real and finite, `[N]` with N at least 1. Of equal least entries any may be found.
      key: typed random key.
      max_queries: when to stop; None for `query_bound(2**n)`.

    Raises:
      UserError: the table is empty, has another number of axes, or an entry is not real and finite; `max_queries` is
        not an integer of at least 0; or the search does not fit into memory.
    """
    table = np.asarray(values)
    check(table.ndim == 1 and table.size > 0, "values", "have the shape [N], N at least 1", f"{list(table.shape)}")
    check(table.dtype.kind in "iufb", "values", "hold real numbers", f"entries of type {table.dtype}")
    check(bool(np.isfinite(table).all()), "values", "hold finite numbers", "nan or infinity")
    num_qubits = max((len(table) - 1).bit_length(), 1)
    limit = query_bound(2**num_qubits) if max_queries is None else as_index("max_queries", max_queries)
    key, draw = jax.random.split(key)
    index, left = int(jax.random.randint(draw, (), 0, len(table))), limit
    steps: list[MinimumStep] = []
    while True:
        key, step_key = jax.random.split(key)
        below = np.zeros(2**num_qubits, np.bool_)
        below[: len(table)] = table < table[index]
        result = search_unknown(num_qubits, jnp.asarray(below), step_key, max_queries=left)
        queries = result.num_queries
        steps.append(MinimumStep(index, float(table[index]), result.iterations, queries, result.answer))
        left -= queries
        if result.answer is None:
            return MinimumResult(index, float(table[index]), tuple(steps), limit)
        index = result.answer
