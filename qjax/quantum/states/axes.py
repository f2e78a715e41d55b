"""The axes of a state: separate axes for some of its qubits, and sums over amplitudes."""

from collections.abc import Sequence

import numpy as np
from jax import lax

from qjax.quantum.states.sums import sum_rows
from qjax.types import Array


def num_qubits_of(state: Array) -> int:
    """Returns n for a state `[2**n, batch]`."""
    return int(state.shape[0]).bit_length() - 1


def split_axes(state: Array, qubits: Sequence[int]) -> tuple[Array, list[int]]:
    """Returns the state `[2**n, ...]` with one axis of 2 for each qubit, and those axes in the order of `qubits`.

    The shape is [2**gap, 2, 2**gap, 2, ..., 2**gap, ...]: few axes, whatever the number of qubits.
    """
    shape, axes = _axes(num_qubits_of(state), qubits)
    return state.reshape((*shape, *state.shape[1:])), axes


def _axes(n: int, qubits: Sequence[int]) -> tuple[list[int], list[int]]:
    """Returns the shape [2**gap, 2, 2**gap, 2, ..., 2**gap] for 2**n, and the axis of each qubit."""
    shape: list[int] = []
    places: dict[int, int] = {}
    previous = -1
    for q in sorted(qubits):
        shape += [2 ** (q - previous - 1), 2]
        places[q], previous = len(shape) - 1, q
    return [*shape, 2 ** (n - previous - 1)], [places[q] for q in qubits]


def squared(amplitudes: Array) -> Array:
    """Returns |amplitude|**2 without a square root, whose derivative at 0 would be nan."""
    return lax.real(amplitudes) ** 2 + lax.imag(amplitudes) ** 2


def split_qubits(state: Array, qubits: Sequence[int]) -> Array:
    """Moves some qubits to the first axis: `[2**n, ...]` -> `[2**k, 2**(n-k), ...]`, the others in order."""
    cut, axes = split_axes(state, qubits)
    front = cut.transpose(_qubits_first(axes, cut.ndim))
    return front.reshape((2 ** len(qubits), state.shape[0] >> len(qubits), *state.shape[1:]))


def join_qubits(split: Array, qubits: Sequence[int]) -> Array:
    """Undoes `split_qubits`: `[2**k, 2**(n-k), ...]` -> `[2**n, ...]`."""
    dim, rest = split.shape[0] * split.shape[1], split.shape[2:]
    shape, axes = _axes(dim.bit_length() - 1, qubits)
    shape += rest
    order = _qubits_first(axes, len(shape))
    front = split.reshape([shape[axis] for axis in order])
    return front.transpose(np.argsort(order)).reshape((dim, *rest))


def _qubits_first(axes: Sequence[int], ndim: int) -> list[int]:
    return [*axes, *(axis for axis in range(ndim) if axis not in axes)]


def spread_qubits(local: Array, qubits: Sequence[int], n: int) -> Array:
    """Returns what each basis state of some qubits has, `[2**k, batch]`, for those of all qubits, `[2**n, batch]`."""
    shape, axes = _axes(n, qubits)
    cube = local.reshape((2,) * len(qubits) + (-1,)).transpose((*np.argsort(qubits).tolist(), len(qubits)))
    few = [2 if axis in axes else 1 for axis in range(len(shape))]
    wide = lax.broadcast_in_dim(cube.reshape((*few, -1)), (*shape, cube.shape[-1]), range(len(shape) + 1))
    return wide.reshape(2**n, -1)


def marginal(probs: Array, kept: tuple[int, ...], n: int) -> Array:
    """Sums `[2**n, batch]` over the qubits that are not kept -> `[2**k, batch]`, in the order of `kept`."""
    cube = probs.reshape((2,) * n + (-1,))
    dropped = tuple(q for q in range(n) if q not in kept)
    ascending = sorted(kept)
    summed = cube.sum(axis=dropped).transpose((*(ascending.index(q) for q in kept), len(kept)))
    return summed.reshape(2 ** len(kept), -1)


def real_overlap(first: Array, second: Array) -> Array:
    """Returns the real part of <first|second> for each example, `[batch]`."""
    products = lax.real(first) * lax.real(second) + lax.imag(first) * lax.imag(second)
    return sum_rows(products)
