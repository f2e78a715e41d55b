"""Sums over the amplitudes of states, batch last."""

import jax

from qjax.quantum.states.barriers import barrier
from qjax.types import Array

# Numbers side by side that a sum needs for full vectors.
MIN_LANES = 256


@jax.custom_jvp
def sum_rows(array: Array) -> Array:
    """Sums `[..., batch]` over all axes but the last, `[batch]`, eight slices at a time: XLA does them in vectors."""
    batch = array.shape[-1]
    rows = array.reshape(-1, batch)
    lanes = 1
    while lanes * batch < MIN_LANES and len(rows) % 2 == 0:  # a short batch fills no vector: rows side by side do
        rows, lanes = rows.reshape(len(rows) // 2, -1), 2 * lanes
    while len(rows) > 1:
        count = next(k for k in (8, 4, 2, len(rows)) if len(rows) % k == 0)
        cut = rows.reshape(count, -1, rows.shape[-1])
        total = cut[0]
        for i in range(1, count):
            total = total + cut[i]
        rows = barrier(total)
    return rows.reshape(lanes, batch).sum(axis=0)


@sum_rows.defjvp
def _sum_rows_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """The transpose of slices is padding; that of a plain sum is a broadcast."""
    (tangent,) = tangents
    return sum_rows(*primals), tangent.sum(axis=tuple(range(tangent.ndim - 1)))
