"""How mixed, how entangled and how alike states are: purity, entropies and fidelities.

A state is `[..., 2**n]`, a density matrix `[..., 2**n, 2**n]`; of one example or of many. Which of the two an array
is cannot be seen from its shape (a batch of 4 states of 2 qubits is as large as one density matrix), so each function
takes one kind in each place. Density matrices are taken as Hermitian with trace 1, as `reduced_density_matrix` gives
them; that is not checked. All can be differentiated, and no gradient is nan.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from qjax.checks import check, fail
from qjax.quantum.circuits.arguments import as_jax_array
from qjax.quantum.measure.reduced import as_complex, as_state
from qjax.quantum.states.axes import squared
from qjax.types import Array, Complex, Float


def purity(rho: ArrayLike) -> Float[Array, "*batch"]:
    """Returns tr(rho**2), `[...]`: 1 for a pure state, 2**-n for the maximally mixed one.

    Args:
      rho: density matrices `[..., 2**n, 2**n]`.

    Raises:
      UserError: `rho` has another shape, or no floating numbers.
    """
    return squared(as_density_matrix("rho", rho)).sum(axis=(-2, -1))


def linear_entropy(rho: ArrayLike) -> Float[Array, "*batch"]:
    """Returns 1 - tr(rho**2), `[...]`: 0 for a pure state, 1 - 2**-n for the maximally mixed one.

    Args:
      rho: density matrices `[..., 2**n, 2**n]`.

    Raises:
      UserError: `rho` has another shape, or no floating numbers.
    """
    pure = purity(rho)
    return jnp.ones_like(pure) - pure


def entropy(rho: ArrayLike, base: float = 2.0) -> Float[Array, "*batch"]:
    """Returns the von Neumann entropy -tr(rho log(rho)), `[...]`; of a part of a pure state, its entanglement.

    Nielsen and Chuang, Quantum Computation and Quantum Information, section 11.3. The gradient is -log(rho) - 1,
    found without differentiating eigenvectors, so that equal eigenvalues do no harm, nor in second derivatives. Its
    logarithm is cut off at the rounding of the dtype: towards an eigenvalue of 0 the true slope is infinite.

    >>> bell = jnp.array([1.0, 0.0, 0.0, 1.0]) / jnp.sqrt(2.0)
    >>> from qjax.quantum.measure.reduced import reduced_density_matrix
    >>> print(entropy(reduced_density_matrix(bell, 0)).round(4))
    1.0

    Args:
      rho: density matrices `[..., 2**n, 2**n]`.
      base: of the logarithm; 2 gives bits.

    Raises:
      UserError: `rho` has another shape or no floating numbers, or `base` is not above 0 and other than 1.
    """
    valid = base > 0 and base != 1 and math.isfinite(base)
    check(valid, "base", "be a finite number above 0 and other than 1", base)
    return _entropy(as_density_matrix("rho", rho)) / math.log(base)


def fidelity(first: ArrayLike, second: ArrayLike) -> Float[Array, "*batch"]:
    """Returns |<first|second>|**2 of two pure states, `[...]`.

    Args:
      first: states `[..., 2**n]`.
      second: states `[..., 2**n]`; leading axes of length 1, or missing ones, stand for any.

    Raises:
      UserError: one is no state, or they do not fit together.
    """
    a, b = as_state("first", first)[0], as_state("second", second)[0]
    a, b = _aligned(a, b, ranks=(1, 1))
    return squared((a.conj() * b).sum(axis=-1))


def mixed_fidelity(state: ArrayLike, rho: ArrayLike) -> Float[Array, "*batch"]:
    """Returns <state| rho |state>, the fidelity of a pure state with a density matrix, `[...]`.

    Args:
      state: states `[..., 2**n]`.
      rho: density matrices `[..., 2**n, 2**n]`; leading axes of length 1, or missing ones, stand for any.

    Raises:
      UserError: one is of another shape, or they do not fit together.
    """
    vector, matrix = as_state("state", state)[0], as_density_matrix("rho", rho)
    vector, matrix = _aligned(vector, matrix, ranks=(1, 2))
    image = jnp.einsum("...rc,...c->...r", matrix, vector, precision=lax.Precision.HIGHEST)
    return lax.real((vector.conj() * image).sum(axis=-1))


def uhlmann_fidelity(rho: ArrayLike, sigma: ArrayLike) -> Float[Array, "*batch"]:
    """Returns (tr sqrt(sqrt(rho) sigma sqrt(rho)))**2, the fidelity of two density matrices, `[...]`.

    Jozsa 1994, Fidelity for mixed quantum states, Journal of Modern Optics 41, 2315. The trace is the sum of the
    singular values of sqrt(rho) sqrt(sigma), which loses less to rounding than eigenvalues under a root. Where a
    matrix has not full rank, the gradient is that of changes which keep the rank: towards others the true slope is
    infinite. Only first derivatives are free of nan.

    Args:
      rho: density matrices `[..., 2**n, 2**n]`.
      sigma: likewise; leading axes of length 1, or missing ones, stand for any.

    Raises:
      UserError: one is of another shape, or they do not fit together.
    """
    a, b = as_density_matrix("rho", rho), as_density_matrix("sigma", sigma)
    return _uhlmann(*_aligned(a, b, ranks=(2, 2)))


def as_density_matrix(argument: str, rho: ArrayLike) -> Complex[Array, "*batch dim dim"]:
    """Returns density matrices as a complex array, or raises where the shape or dtype is none of theirs."""
    array = as_jax_array(argument, rho)
    dim = array.shape[-1] if array.ndim >= 2 else 0
    square = dim >= 2 and dim & (dim - 1) == 0 and array.shape[-2] == dim
    check(square, argument, "have shape [..., 2**n, 2**n] with n of at least 1", f"shape {list(array.shape)}")
    return as_complex(argument, array)


def _aligned(first: Array, second: Array, ranks: tuple[int, int]) -> tuple[Array, Array]:
    """Returns both with the same leading axes, and raises where they have other sizes or dtypes."""
    shown = f"shapes {list(first.shape)} and {list(second.shape)}"
    check(first.shape[-1] == second.shape[-1], "the two", "have one number of qubits", shown)
    check(first.dtype == second.dtype, "the two", "have one dtype", f"{first.dtype} and {second.dtype}")
    leads = first.shape[: first.ndim - ranks[0]], second.shape[: second.ndim - ranks[1]]
    try:
        lead = jnp.broadcast_shapes(*leads)
    except ValueError:
        fail("the two", "have leading axes that fit together", shown)
    return (
        jnp.broadcast_to(first, (*lead, *first.shape[first.ndim - ranks[0] :])),
        jnp.broadcast_to(second, (*lead, *second.shape[second.ndim - ranks[1] :])),
    )


# Matrix functions with derivatives of their own. ------------------------------------------------------------

_product = partial(jnp.matmul, precision=lax.Precision.HIGHEST)


def _eps(array: Array) -> float:
    return float(np.finfo(array.dtype).eps)


def _adjoint(matrix: Array) -> Array:
    return jnp.swapaxes(matrix.conj(), -1, -2)


def _real_trace(first: Array, second: Array) -> Array:
    """Returns the real part of tr(first second) for a Hermitian first matrix."""
    return lax.real((first.conj() * second).sum(axis=(-2, -1)))


def _from_eigen(values: Array, vectors: Array) -> Array:
    """Returns vectors diag(values) vectors^H."""
    spread = lax.complex(values, jnp.zeros_like(values))[..., None, :]
    return _product(vectors * spread, _adjoint(vectors))


@jax.custom_jvp
def _entropy(rho: Array) -> Array:
    """-tr(rho log(rho)) with the natural logarithm."""
    values = jnp.linalg.eigvalsh(rho)
    return -jnp.where(values > 0, values * _safe_log(values), jnp.zeros_like(values)).sum(axis=-1)


def _safe_log(values: Array) -> Array:
    """The logarithm of eigenvalues, cut off at the rounding of their dtype."""
    return jnp.log(jnp.maximum(values, _eps(values)))


@_entropy.defjvp
def _entropy_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """d(-tr(rho log(rho))) = -tr((log(rho) + 1) d rho)."""
    slope = _log_plus_one(primals[0])
    return _entropy(primals[0]), -_real_trace(slope, tangents[0])


@jax.custom_jvp
def _log_plus_one(rho: Array) -> Array:
    """log(rho) + 1, where the logarithm is cut off."""
    values, vectors = jnp.linalg.eigh(rho)
    logs = _safe_log(values)
    return _from_eigen(logs + jnp.ones_like(logs), vectors)


@_log_plus_one.defjvp
def _log_plus_one_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """In the eigenbasis the change is multiplied by divided differences of the logarithm (Daleckii, Krein 1965)."""
    values, vectors = jnp.linalg.eigh(primals[0])
    change = _product(_product(_adjoint(vectors), tangents[0]), vectors)
    quotients = _divided_logs(values)
    change = _product(
        _product(vectors, change * lax.complex(quotients, jnp.zeros_like(quotients))), _adjoint(vectors)
    )
    return _log_plus_one(primals[0]), change


def _divided_logs(values: Array) -> Array:
    """Returns (log a - log b) / (a - b) for each pair of eigenvalues, and its limit where they are nearly equal."""
    eps = _eps(values)
    shape = (*values.shape, values.shape[-1])
    a, b = jnp.broadcast_to(values[..., :, None], shape), jnp.broadcast_to(values[..., None, :], shape)
    total, difference = a + b, a - b
    near = jnp.abs(difference) <= eps**0.25 * jnp.abs(total)
    kept = near & (total > 2 * eps)  # below the cut-off the logarithm is constant
    ratio = jnp.where(kept, difference, 0.0) / jnp.where(kept, total, 1.0)
    limit = jnp.where(kept, 2.0 * (1.0 + ratio**2 / 3.0), 0.0) / jnp.where(kept, total, 1.0)
    apart = jnp.where(near, 1.0, difference)
    return jnp.where(near, limit, (_safe_log(a) - _safe_log(b)) / apart)


def _root(rho: Array) -> tuple[Array, Array]:
    """Returns sqrt(rho), eigenvalues that are rounding left out, and the square root of the largest, `[..., 1]`."""
    values, vectors = jnp.linalg.eigh(rho)
    largest = jnp.maximum(values[..., -1:], 0.0)
    kept = jnp.where(values > rho.shape[-1] * _eps(values) * largest, values, 0.0)
    return _from_eigen(jnp.sqrt(kept), vectors), jnp.sqrt(largest)


@jax.custom_jvp
def _uhlmann(rho: Array, sigma: Array) -> Array:
    """The square of the sum of the singular values of sqrt(rho) sqrt(sigma)."""
    singular = jnp.linalg.svd(_product(_root(rho)[0], _root(sigma)[0]), compute_uv=False)
    return singular.sum(axis=-1) ** 2


@_uhlmann.defjvp
def _uhlmann_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """With sqrt(rho) sqrt(sigma) = U S W^H, dF = tr(S) tr(sqrt(rho) U 1/S U^H sqrt(rho) d sigma) for a change of
    sigma.

    From d tr(sqrt(A)) = tr(A**(-1/2) dA) / 2 for A = sqrt(rho) sigma sqrt(rho); a change of rho is the same with the
    two exchanged.
    """
    (first, size), (second, other) = _root(primals[0]), _root(primals[1])
    left, singular, right = jnp.linalg.svd(_product(first, second), full_matrices=False)
    floor = first.shape[-1] * _eps(singular) * size * other
    kept = singular > jnp.broadcast_to(floor, singular.shape)
    inverse = jnp.where(kept, 1.0, 0.0).astype(singular.dtype) / jnp.where(kept, singular, 1.0)
    total = singular.sum(axis=-1)
    to_sigma = _product(_product(first, _from_eigen(inverse, left)), first)
    to_rho = _product(_product(second, _from_eigen(inverse, _adjoint(right))), second)
    change = _real_trace(to_rho, tangents[0]) + _real_trace(to_sigma, tangents[1])
    return total**2, total * change
