"""Cosine and sine of many phases at once.

XLA's own, in float32 on a CPU, are most of what a layer of phases costs (jax 0.10). Here one reduction to
[-pi/4, pi/4] serves both, and the polynomials are those of Moshier's Cephes library (single precision, sinf.c): off
by at most 1.2e-7 up to twice the `LIMIT` of bounded angles (`reduction.py`), whose multiples of pi/2 are exact.
"""

from typing import Any

import jax
import jax.numpy as jnp

from qjax.quantum.states.barriers import stored
from qjax.types import Array

# pi / 2 in three parts; the first two have so few bits that their multiples are exact.
HALF_PI = (1.5703125, 4.837512969970703125e-4, 7.549789948768648e-8)
# Of the polynomials in the square of an angle y: sin(y) = y + y**3 p, cos(y) = 1 - y**2 / 2 + y**4 p.
SINE = (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4)
COSINE = (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5)


@jax.custom_jvp
def cos_sin(phases: Array) -> tuple[Array, Array]:
    """Returns cosine and sine, of bounded phases in radians; `jnp.cos` and `jnp.sin` of any dtype but float32."""
    if phases.dtype != jnp.float32:
        return jnp.cos(phases), jnp.sin(phases)
    quarters = jnp.round(phases * jnp.float32(2 / jnp.pi))
    y = phases
    for part in HALF_PI:
        y = y - quarters * jnp.float32(part)
    z = y * y
    sine = y + y * z * _polynomial(z, SINE)
    cosine = 1 - z / 2 + z * z * _polynomial(z, COSINE)
    quadrant = quarters.astype(jnp.int32)
    swapped, cosine_negative, sine_negative = quadrant & 1 == 1, (quadrant + 1) & 2 == 2, quadrant & 2 == 2
    cosine, sine = jnp.where(swapped, sine, cosine), jnp.where(swapped, cosine, sine)
    return jnp.where(cosine_negative, -cosine, cosine), jnp.where(sine_negative, -sine, sine)


@cos_sin.defjvp
def _cos_sin_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Any, Any]:
    cosine, sine = cos_sin(*primals)
    (tangent,) = tangents
    return (cosine, sine), (-sine * tangent, cosine * tangent)


@jax.custom_jvp
def stored_cos_sin(angles: Array) -> tuple[Array, Array]:
    """Returns cosine and sine of angles `[..., 1 or batch]`, those of a batch computed once for all readers."""
    if angles.shape[-1] == 1:
        return jnp.cos(angles), jnp.sin(angles)
    cosine, sine = cos_sin(angles)
    return stored(cosine), stored(sine)


@stored_cos_sin.defjvp
def _stored_cos_sin_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Any, Any]:
    cosine, sine = stored_cos_sin(*primals)
    (tangent,) = tangents
    return (cosine, sine), (-sine * tangent, cosine * tangent)


def _polynomial(z: Array, coefficients: tuple[float, ...]) -> Array:
    total: Any = jnp.float32(0.0)
    for coefficient in reversed(coefficients):
        total = total * z + jnp.float32(coefficient)
    return jnp.asarray(total)
