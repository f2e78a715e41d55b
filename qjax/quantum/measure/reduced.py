"""What is left of a state when some qubits are measured or ignored: postselection, reduced density matrices.

States are `[..., 2**n]`, of one example or many, from `state` or built by hand. Qubit 0 is the most significant bit
of an index.
"""

from collections.abc import Iterable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from qjax.checks import check
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.arguments import as_jax_array
from qjax.quantum.states.axes import split_qubits, squared
from qjax.types import Array, Complex, Float


def postselect(
    state: ArrayLike, qubits: int | Sequence[int], bits: str | Sequence[int]
) -> tuple[Complex[Array, "*batch remaining"], Float[Array, "*batch"]]:
    """Returns what is left where a measurement of `qubits` has given `bits`, and the probability that it does.

    >>> bell = jnp.array([1.0, 0.0, 0.0, 1.0]) / jnp.sqrt(2.0)
    >>> left, probability = postselect(bell, 0, "1")
    >>> print(left.real.round(5), f"{probability:.2f}")
    [0. 1.] 0.50

    Args:
      state: `[..., 2**n]`, normalised.
      qubits: k of them, in any order.
      bits: what they give, in the order of `qubits`: text such as "01", or a 0 or 1 for each.

    Returns:
      The normalised state `[..., 2**(n-k)]` of the other qubits, in their order, and the probability `[...]`. Where
      the probability is 0, or below the smallest normal number, that state is all zeros, and so is its gradient.

    Raises:
      UserError: the state is not one, the qubits are out of range or repeated, or the bits are not one 0 or 1 each.
    """
    amplitudes, n = as_state("state", state)
    places = check_qubits(qubits, n)
    values = tuple(bits) if isinstance(bits, str) else tuple(map(str, bits))
    valid = len(values) == len(places) and set(values) <= {"0", "1"}
    check(valid, "bits", f"hold {len(places)} times 0 or 1, one for each of `qubits`", repr(bits))
    outcome = int("".join(values), 2)
    left = split_qubits(jnp.moveaxis(amplitudes, -1, 0), places)[outcome]
    probability = squared(left).sum(axis=0)
    possible = probability >= np.finfo(np.dtype(probability.dtype)).tiny  # smaller numbers may be 0 on a device
    norm = lax.rsqrt(jnp.where(possible, probability, jnp.ones_like(probability)))
    left = left * lax.complex(norm, jnp.zeros_like(norm))[None]
    return jnp.moveaxis(left, 0, -1), probability


def reduced_density_matrix(state: ArrayLike, qubits: int | Sequence[int]) -> Complex[Array, "*batch dim dim"]:
    """Returns the density matrix of some qubits, the others traced out: `[..., 2**k, 2**k]`.

    Entry (r, c) is the sum over the other qubits' outcomes j of <r, j|state> <state|c, j> (Nielsen and Chuang,
    Quantum Computation and Quantum Information, section 2.4.3).

    >>> bell = jnp.array([1.0, 0.0, 0.0, 1.0]) / jnp.sqrt(2.0)
    >>> print(reduced_density_matrix(bell, 0).real.round(3))
    [[0.5 0. ]
     [0.  0.5]]

    Args:
      state: `[..., 2**n]`, normalised.
      qubits: k of them; the first is the most significant bit of the matrix.

    Raises:
      UserError: the state is not one, or the qubits are out of range or repeated.
    """
    amplitudes, n = as_state("state", state)
    places = check_qubits(qubits, n)
    split = split_qubits(jnp.moveaxis(amplitudes, -1, 0), places)
    return jnp.einsum("rj...,cj...->...rc", split, split.conj(), precision=lax.Precision.HIGHEST)


# Shared with `entanglement.py`. ------------------------------------------------------------------------------


def as_state(argument: str, state: ArrayLike) -> tuple[Complex[Array, "*batch dim"], int]:
    """Returns a state as a complex array, and its number of qubits; real amplitudes are made complex."""
    array = as_jax_array(argument, state)
    dim = array.shape[-1] if array.ndim else 0
    power = dim >= 2 and dim & (dim - 1) == 0
    check(power, argument, "have shape [..., 2**n] with n of at least 1", f"shape {list(array.shape)}")
    return as_complex(argument, array), dim.bit_length() - 1


def as_complex(argument: str, array: Array) -> Array:
    """Returns the array as complex64 or complex128."""
    if array.dtype in (jnp.float32, jnp.float64):
        return lax.complex(array, jnp.zeros_like(array))
    allowed = array.dtype in (jnp.complex64, jnp.complex128)
    check(allowed, argument, "hold complex or real floating numbers of 32 or 64 bits each", str(array.dtype))
    return array


def check_qubits(qubits: int | Sequence[int], num_qubits: int) -> tuple[int, ...]:
    """Returns one qubit or several as Python integers; raises unless they are distinct, in range and at least one."""
    places = tuple(as_index("qubits", q) for q in (qubits if isinstance(qubits, Iterable) else (qubits,)))
    distinct = len(set(places)) == len(places) > 0 and max(places) < num_qubits
    check(distinct, "qubits", f"hold distinct integers in 0..{num_qubits - 1}, at least one", places)
    return places
