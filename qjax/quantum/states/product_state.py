"""The first state, a product of one column for each qubit, in real arithmetic, forwards and backwards.

The columns are joined in two halves, arrays `[2, rows, 1 or batch]`: all real parts, then all imaginary parts, which
a real state has not, `[1, rows, 1 or batch]`. The state is the outer product of the halves, the one pass over the
state that it costs.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from qjax.quantum.compile.stages import ProductState
from qjax.quantum.engines.xla.planes import HIGHEST, Layout, join_planes, split_planes
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.barriers import stored
from qjax.quantum.states.batch import with_batch
from qjax.quantum.states.matrices import start_columns
from qjax.types import Array

# Sums over at most this many rows are written out, term by term: 50 us for 85 as products of XLA's (16 x 16 rows,
# batch 128), but 256 for 70 (64 x 64, batch 8).
MAX_WRITTEN_SUM = 16


def halves(start: ProductState, values: Values) -> tuple[Array, Array]:
    """Returns what each qubit's run of operations makes of |0>, joined in two halves."""
    columns = start_columns(start.runs, values)
    if start.is_real:
        columns = [column.real for column in columns]
    one = jnp.ones((1, 1), columns[0].dtype)  # what a product of no columns is
    # Equal halves are quicker backwards (n = 8); up to 4 qubits either way takes the same time.
    middle = len(columns) // 2 if len(columns) > 4 else (len(columns) - 1) // 2
    return _join([one, *columns[:middle]]), _join(columns[middle:])


def product_of_halves(parts: Sequence[Array]) -> Array:
    """Returns the product of two halves as a complex state, `[2**n, 1 or batch]`."""
    whole = [lax.complex(x[0], jnp.zeros_like(x[0]) if len(x) == 1 else x[1]) for x in parts]
    product = whole[0][:, None] * whole[1][None]
    return product.reshape(-1, product.shape[-1])


def product_state(parts: Sequence[Array], layout: Layout) -> Array:
    """Returns the product of two halves as a state in the layout, `[2**bits, 1 or batch]`."""
    high, low = parts
    if high.shape[-1] == low.shape[-1] == 1 and layout.place is not None:
        left, right = _factors(high[:, :, 0], low[:, :, 0], layout.place)
        return stored(jnp.matmul(left, right, precision=HIGHEST).reshape(-1, 1))  # which XLA cannot compute anew
    # Each part of a batch stored by itself: what reads the state computes it, and would read slices of all halves.
    high, low = (stored(x) for x in (high[:, :, None], low[:, None]))
    if layout.is_real:
        real = high[0] * low[0]
        return stored(real.reshape(-1, real.shape[-1]))
    (re_a, im_a), (re_b, im_b) = high, low
    real = re_a * re_b - im_a * im_b
    batch = real.shape[-1]
    imag = re_a * im_b + im_a * re_b
    return stored(join_planes(real.reshape(-1, batch), imag.reshape(-1, batch), layout))


def pull_back_product(parts: Sequence[Array], layout: Layout, cotangent: Array) -> tuple[Array, ...]:
    """Returns the cotangents of two halves from that of their product."""
    high, low = parts
    batch = cotangent.shape[-1]
    if batch == 1:
        return tuple(jax.vjp(lambda *xs: product_state(xs, layout), *parts)[1](cotangent))
    high, low = (with_batch(x, batch) for x in parts)
    shape = (high.shape[1], low.shape[1], batch)
    if layout.is_real:
        real, imag = cotangent.reshape(shape), None
    else:
        real, imag = (x.reshape(shape) for x in split_planes(cotangent, layout))
    of_high = _weighted_rows(real.swapaxes(0, 1), None if imag is None else imag.swapaxes(0, 1), low)
    of_low = _weighted_rows(real, imag, high)
    return tuple(
        ct.sum(axis=-1, keepdims=True) if x.shape[-1] < batch else ct
        for ct, x in zip((of_high, of_low), parts, strict=True)
    )


def _weighted_rows(real: Array, imag: Array | None, weights: Array) -> Array:
    """Returns the sums over k of (real + i imag)[k] times the conjugate of weights[:, k], for each example.

    Real and imaginary parts `[2, rows, batch]`, of a real state the real ones `[1, rows, batch]`.
    """
    if weights.shape[1] > MAX_WRITTEN_SUM:
        by = partial(jnp.einsum, "krb,kb->rb", precision=HIGHEST)
        re, *im = weights
        if imag is None:
            return by(real, re)[None]
        return jnp.stack([by(real, re) + by(imag, im[0]), by(imag, re) - by(real, im[0])])
    first: Any = 0.0
    second: Any = 0.0
    for k in range(weights.shape[1]):
        re, *im = weights[:, k, None]
        first = first + real[k] * re
        if imag is not None:
            first = first + imag[k] * im[0]
            second = second + imag[k] * re - real[k] * im[0]
    return jnp.stack([first] if imag is None else [first, second])


def _join(columns: Sequence[Array]) -> Array:
    """Returns the product state of some qubits, real and imaginary parts, `[1 or 2, 2**k, 1 or batch]`."""
    state = columns[0]
    for column in columns[1:]:
        product = state[:, None, :] * column[None, :, :]
        state = product.reshape(-1, product.shape[-1])
    state = stored(state)
    return stored(jnp.stack([state.real, state.imag]) if jnp.iscomplexobj(state) else state[None])


def _factors(high: Array, low: Array, place: int) -> tuple[Array, Array]:
    """Returns two real matrices, `[rows, 2]` and `[2, columns]`, whose product is the product of two halves."""
    first = high.shape[1].bit_length() - 1
    if place <= first:  # bit c is among the bits of the first half
        return _with_turned(high, place).T, low
    return high.T, _with_turned(low, place - first)


def _with_turned(half: Array, place: int) -> Array:
    """Returns a half and i times that half, `[2, 2 rows]`, bit c at the place."""
    re, im = half.reshape(2, 2**place, 1, -1)
    return jnp.stack([jnp.concatenate(pair, 1).reshape(-1) for pair in ((re, im), (-im, re))])
