"""The first state, a product of one column for each qubit, in real arithmetic.

The columns are joined in two halves, arrays `[2, rows, 1 or batch]`: all real parts, then all imaginary parts. The
halves of a real state have real parts only, `[1, rows, 1 or batch]`. The state is the outer product of the halves,
which is the only pass over the state.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.quantum.circuits.operation import Operation
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.barriers import stored
from qjax.quantum.states.matrices import start_columns
from qjax.types import Array

Runs = tuple[tuple[Operation, ...], ...]


def halves(runs: Runs, values: Values) -> tuple[Array, Array]:
    """Returns what each qubit's run of operations makes of |0>, joined in two halves."""
    columns = start_columns(runs, values)
    if all(op.gate.is_real for run in runs for op in run):
        columns = [column.real for column in columns]
    one = np.ones((1, 1), columns[0].dtype)  # the product of no columns
    # Equal halves are quicker backwards (n = 8); up to 4 qubits either way takes the same time.
    middle = len(columns) // 2 if len(columns) > 4 else (len(columns) - 1) // 2
    return _join([one, *columns[:middle]]), _join(columns[middle:])


def product_state(parts: Sequence[Array]) -> Array:
    """Returns the product of two halves, `[2, 2**n, 1 or batch]`: real, then imaginary parts, or `[1, ...]`."""
    high, low = parts
    rows = high if len(high) == 1 else jnp.stack([high[0], -high[1], high[1], high[0]])
    rows = rows.reshape(len(high), len(high), *high.shape[1:])  # times the parts of `low`, the parts of the state
    if rows.shape[-1] == low.shape[-1] == 1:  # one matrix product
        left = rows[..., 0].swapaxes(1, 2).reshape(-1, len(low))
        product = jnp.matmul(left, low[..., 0], precision=lax.Precision.HIGHEST)
        return stored(product.reshape(len(high), -1, 1))
    # Each half is stored; XLA computes the product where the state is read.
    rows, low = stored(rows)[:, :, :, None], stored(low)[None, :, None]
    product = rows[:, 0] * low[:, 0] if len(high) == 1 else rows[:, 0] * low[:, 0] + rows[:, 1] * low[:, 1]
    return stored(product.reshape(len(high), -1, product.shape[-1]))


def pull_back_product(parts: Sequence[Array], cotangent: Array) -> tuple[Array, Array]:
    """Returns the cotangents of two halves from that of their product; it does not compute the product again."""
    high, low = parts
    of_high = jax.linear_transpose(lambda x: product_state((x, low)), high)
    of_low = jax.linear_transpose(lambda x: product_state((high, x)), low)
    return of_high(cotangent)[0], of_low(cotangent)[0]


def _join(columns: Sequence[Any]) -> Array:
    """Returns the product state of some qubits, real and imaginary parts, `[1 or 2, 2**k, 1 or batch]`."""
    state = columns[0]
    for column in columns[1:]:
        product = state[:, None, :] * column[None, :, :]
        state = product.reshape(-1, product.shape[-1])
    if isinstance(state, np.ndarray):  # a constant
        return jnp.asarray(np.stack([state.real, state.imag]) if np.iscomplexobj(state) else state[None])
    state = stored(state)
    return stored(jnp.stack([state.real, state.imag]) if jnp.iscomplexobj(state) else state[None])
