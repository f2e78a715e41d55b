"""What to make of results: variances, counts of samples, postselection, reduced density matrices.

`variance` and `covariance` run a circuit, with the arguments of `simulate.py`. The others take what a run has given:
samples, or states `[..., 2**n]` of one example or many, from `state` or built by hand. Qubit 0 is the most
significant bit of an index.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax
from jax.typing import ArrayLike

from qjax.checks import check
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.arguments import as_array, as_jax_array
from qjax.quantum.circuits.circuit import Circuit, as_circuit
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.engines.readouts import Readout
from qjax.quantum.measure.expectation import apply_observable
from qjax.quantum.measure.observables import Observable, Observables, check_observables
from qjax.quantum.simulate import run
from qjax.quantum.states.axes import real_overlap, split_qubits, squared
from qjax.types import Array, CircuitParams, Complex, Float


def variance(
    circuit: Circuit,
    params: CircuitParams | None = None,
    inputs: Any = None,
    observables: Observables = (),
    initial_state: Any = None,
) -> Float[Array, "*batch observables"]:
    """Returns the variance <O**2> - <O>**2 of each observable, `[num_observables]` or `[batch, num_observables]`.

    The mean of S independent measurements of O has the standard error sqrt(variance / S).

    >>> from qjax.quantum import PauliString
    >>> print(variance(Circuit(2).append("h", 0), observables=[PauliString("ZI"), PauliString("XI")]).round(4))
    [1. 0.]

    Args:
      circuit: see `simulate.py`, as for the other arguments.
      params: likewise.
      inputs: likewise.
      observables: at least one, of any kinds, as for `expectation`.
      initial_state: likewise.

    Raises:
      UserError: as for `expectation`.
    """
    items = check_observables(observables, as_circuit(circuit).num_qubits)
    (values,), batched = run(circuit, params, inputs, initial_state, _VarianceReadout(items))
    return values.T if batched else values[:, 0]


def covariance(
    circuit: Circuit,
    params: CircuitParams | None = None,
    inputs: Any = None,
    observables: Observables = (),
    initial_state: Any = None,
) -> Float[Array, "*batch observables observables"]:
    """Returns <AB + BA>/2 - <A><B> for each pair of observables, `[..., num_observables, num_observables]`.

    The matrix is symmetric and positive semidefinite, and its diagonal is `variance`. For observables that commute it
    is the covariance of measuring both at once. It keeps one state for each observable.

    >>> from qjax.quantum import z_observables
    >>> print(covariance(Circuit(2).append("h", 0).append("cx", (0, 1)), observables=z_observables(2)).round(4))
    [[1. 1.]
     [1. 1.]]

    Args:
      circuit: see `simulate.py`, as for the other arguments.
      params: likewise.
      inputs: likewise.
      observables: at least one, of any kinds, as for `expectation`.
      initial_state: likewise.

    Raises:
      UserError: as for `expectation`.
    """
    items = check_observables(observables, as_circuit(circuit).num_qubits)
    (values,), batched = run(circuit, params, inputs, initial_state, _CovarianceReadout(items))
    return jnp.moveaxis(values, -1, 0) if batched else values[..., 0]


@dataclass(frozen=True)
class _VarianceReadout:
    """The variance of each observable, `[observables, batch]`."""

    observables: tuple[Observable, ...]
    folds = False

    def __call__(self, state: Array) -> tuple[Array, ...]:
        return (jnp.stack([squared(_deviation(state, item)).sum(axis=0) for item in self.observables]),)

    def before(self, operations: Sequence[Operation]) -> Readout:
        raise NotImplementedError


@dataclass(frozen=True)
class _CovarianceReadout:
    """The covariance of each pair, `[observables, observables, batch]`."""

    observables: tuple[Observable, ...]
    folds = False

    def __call__(self, state: Array) -> tuple[Array, ...]:
        moved = [_deviation(state, item) for item in self.observables]
        # Real and imaginary parts one below the other: the real part of <a|b> is the dot product of such vectors.
        stacked = jnp.stack([jnp.concatenate([lax.real(d), lax.imag(d)]) for d in moved])
        return (jnp.einsum("adb,cdb->acb", stacked, stacked, precision=lax.Precision.HIGHEST),)

    def before(self, operations: Sequence[Operation]) -> Readout:
        raise NotImplementedError


def _deviation(amplitudes: Array, observable: Observable) -> Array:
    """Returns (O - <O>) |state>: its square is the variance, without the cancellation in <O**2> - <O>**2."""
    applied = apply_observable(amplitudes, observable)
    mean = real_overlap(amplitudes, applied)
    return applied - amplitudes * lax.complex(mean, jnp.zeros_like(mean))[None]


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
    found = Counter(indices.tolist())
    return {format(i, f"0{num_qubits}b"): found[i] for i in sorted(found)}


def _as_indices(samples: npt.ArrayLike, num_qubits: int) -> np.ndarray:
    """Returns the samples as integers of the host, checked."""
    width = as_index("num_qubits", num_qubits)
    check(width >= 1, "num_qubits", "be an integer of at least 1", num_qubits)
    indices = as_array("samples", samples)
    integers = np.issubdtype(indices.dtype, np.integer)
    check(integers, "samples", "hold integers", str(indices.dtype))
    inside = not indices.size or (indices.min() >= 0 and int(indices.max()) < 2**width)
    check(bool(inside), "samples", f"be in 0..{2**width - 1} for {width} qubits", _range_of(indices))
    return indices


def _range_of(indices: np.ndarray) -> str:
    return f"{indices.min()} to {indices.max()}" if indices.size else "none"


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
    piece = split_qubits(jnp.moveaxis(amplitudes, -1, 0), places)[outcome]
    probability = squared(piece).sum(axis=0)
    possible = probability >= np.finfo(np.dtype(probability.dtype)).tiny  # a device may take what is smaller as 0
    norm = lax.rsqrt(jnp.where(possible, probability, jnp.ones_like(probability)))
    piece = piece * lax.complex(norm, jnp.zeros_like(norm))[None]
    return jnp.moveaxis(piece, 0, -1), probability


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
    pieces = split_qubits(jnp.moveaxis(amplitudes, -1, 0), places)
    return jnp.einsum("rj...,cj...->...rc", pieces, pieces.conj(), precision=lax.Precision.HIGHEST)


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
