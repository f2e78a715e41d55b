"""Draws of outcomes from their probabilities: what measurements of a state give.

A draw goes down a tree of partial sums, one bit of the outcome at a time, with fresh random bits for each. The less
likely half is taken where u < p, with u = hi / 2**32 + lo / 2**64 from two random words. Near 0 such a number has all
digits of its dtype, so a rare half is taken with its own probability, in float32 too, and one of probability 0 never.
One comparison over all outcomes would round every probability to a multiple of 2**-23.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax
from jax.typing import ArrayLike

from qjax.checks import check
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.arguments import as_array
from qjax.quantum.states.barriers import barrier
from qjax.types import Array, Int, Key

# Children of a node of the tree: the partial sums take a third of the memory of the probabilities.
_CHILDREN = 4
# Draws made at once: their random words stay in the cache, and their memory does not grow with the shots.
_DRAWS_AT_ONCE = 2**13


def _itself(values: Array) -> Array:
    return values


def sample_indices(
    key: Key[Array, ""], values: ArrayLike, shots: int, weight: Callable[[Array], Array] = _itself
) -> Int[Array, "*batch shots"]:
    """Returns `shots` independent outcomes 0, 1, ... of each example, drawn by their weights.

    A key gives the same outcomes under `jit` and without. Under `vmap` give each example a key of its own.

    Args:
      key: typed random key.
      values: real, `[..., outcomes]`, what `weight` makes weights of.
      shots: of each example.
      weight: elementwise function to the weights, at least 0, which need not add up to 1; those below the smallest
        normal number of their dtype count as 0. They are made as they are read, and not stored: `jnp.square` draws
        from real amplitudes.

    Returns:
      int32 `[..., shots]`. An example whose weights are all 0, or not all finite, or overflow when added, gives -1.

    Raises:
      UserError: `shots` is not an integer of at least 1.
    """
    outcomes: Array = _sample(key, jnp.asarray(values), as_index("shots", shots, 1), weight)
    return outcomes


@partial(jax.jit, static_argnames=("shots", "weight"))
def _sample(key: Array, values: Array, shots: int, weight: Callable[[Array], Array]) -> Array:
    *batch, count = values.shape
    if 0 in batch:
        return jnp.zeros((*batch, shots), jnp.int32)
    width = 1 << (count - 1).bit_length()
    # Stored before it is read: fused with what made it, the sums would be rounded in another way than without `jit`.
    rows = barrier(values).reshape(-1, count)
    if width > count:
        rows = jnp.pad(rows, ((0, 0), (0, width - count)))
    total, levels = _partial_sums(rows, weight)
    parts = min(shots, -(-shots * len(rows) // _DRAWS_AT_ONCE))
    size = -(-shots // parts)

    def draw(key: Array) -> Array:
        words = jax.random.bits(key, (width.bit_length() - 1, 2, len(rows), size), jnp.uint32)
        return _descend(levels, words)

    drawn = lax.map(draw, jax.random.split(key, parts))
    outcomes = jnp.moveaxis(drawn, 0, 1).reshape(len(rows), parts * size)[:, :shots]
    possible = (total > 0) & jnp.isfinite(total)
    return jnp.where(possible, outcomes, -1).reshape(*batch, shots)


_Level = tuple[Array, Callable[[Array], Array]]


def _partial_sums(rows: Array, weight: Callable[[Array], Array]) -> tuple[Array, list[_Level]]:
    """Returns the sum of the weights `[examples, 1]`, and the levels of the tree, the root's first.

    A level is an array `[examples, children, nodes]` and what is to be made of its numbers: of the children of a node
    the lower bits of the outcome are the node's number, the next ones the child's.
    """

    def leaf(values: Array) -> Array:
        weights = weight(values)
        return jnp.where(weights < np.finfo(np.dtype(weights.dtype)).tiny, 0, weights)

    levels: list[_Level] = []
    sums, read = rows, leaf
    while sums.shape[1] > 1:
        children = sums.reshape(len(rows), min(_CHILDREN, sums.shape[1]), -1)
        levels.insert(0, (children, read))
        # Terms one by one, which XLA fuses with `leaf`; a sum over the axis would store what it adds.
        sums, read = reduce(jnp.add, [read(children[:, c]) for c in range(children.shape[1])]), _itself
    return read(sums), levels


def _descend(levels: list[_Level], words: Array) -> Array:
    """Returns outcomes `[examples, draws]`, given two random words `[bits, 2, examples, draws]` for each bit."""
    outcomes, bit = jnp.zeros(words.shape[2:], jnp.int32), 0
    for children, read in levels:
        nodes = children.shape[2]
        rest = read(jnp.take_along_axis(children, outcomes[:, None], axis=2, mode="clip"))
        while rest.shape[1] > 1:
            lower, upper = jnp.split(rest, 2, axis=1)
            taken = _take_upper(lower.sum(axis=1), upper.sum(axis=1), words[bit])
            outcomes += jnp.where(taken, nodes * lower.shape[1], 0)
            rest, bit = jnp.where(taken[:, None], upper, lower), bit + 1
    return outcomes


def _take_upper(lower: Array, upper: Array, words: Array) -> Array:
    """Returns whether a draw falls on the second of two weights, given two random words `[2, ...]`."""
    high, low = words.astype(lower.dtype)
    below = high * 2.0**-32 + low * 2.0**-64 < jnp.minimum(lower, upper) / (lower + upper)
    return jnp.logical_xor(below, upper > lower)


# Samples in words. --------------------------------------------------------------------------------------------


def bitstrings(samples: npt.ArrayLike, num_qubits: int) -> list[Any]:
    """Returns basis indices as text, qubit 0 first: nested lists of the samples' shape. On the host.

    >>> bitstrings([4, 1], 3)
    ['100', '001']

    Args:
      samples: integers `[..., shots]` from `sample`.
      num_qubits: length of each text.

    Raises:
      UserError: a sample is no integer in 0..2**num_qubits - 1.
    """
    indices = _as_indices(samples, num_qubits)
    texts = np.array([format(i, f"0{num_qubits}b") for i in indices.reshape(-1).tolist()], dtype=object)
    return texts.reshape(indices.shape).tolist()  # type: ignore[no-any-return]


def counts(samples: npt.ArrayLike, num_qubits: int) -> dict[str, int]:
    """Returns how often each result was measured, by its bits with qubit 0 first, in ascending order. On the host.

    >>> counts([2, 0, 2], 2)
    {'00': 1, '10': 2}

    Args:
      samples: integers `[shots]` from `sample`; of a batch, one example's row.
      num_qubits: length of each text.

    Raises:
      UserError: the samples are not of rank 1, or one is no integer in 0..2**num_qubits - 1.
    """
    indices = _as_indices(samples, num_qubits)
    check(indices.ndim == 1, "samples", "have shape [shots]", f"shape {list(indices.shape)}")
    totals = Counter(indices.tolist())
    return {format(i, f"0{num_qubits}b"): totals[i] for i in sorted(totals)}


def _as_indices(samples: npt.ArrayLike, num_qubits: int) -> np.ndarray:
    """Returns the samples as integers of the host, checked."""
    width = as_index("num_qubits", num_qubits, 1)
    indices = as_array("samples", samples)
    integers = np.issubdtype(indices.dtype, np.integer)
    check(integers, "samples", "hold integers", str(indices.dtype))
    if indices.size:
        low, high = int(indices.min()), int(indices.max())
        inside = low >= 0 and high < 2**width
        check(inside, "samples", f"be in 0..{2**width - 1} for {width} qubits", f"{low} to {high}")
    return indices
