"""Variances and covariances of observables, with the arguments of `simulate.py`."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax

from qjax.quantum.circuits.circuit import Circuit, as_circuit
from qjax.quantum.engines.readouts import Readout
from qjax.quantum.measure.expectation import apply_observable
from qjax.quantum.measure.observables import Observable, Observables, check_observables
from qjax.quantum.simulate import batch_first, run
from qjax.quantum.states.axes import real_overlap, squared
from qjax.types import Array, CircuitParams, Float


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
      circuit: what to run; see `simulate.py`.
      params: see `simulate.py`.
      inputs: see `simulate.py`.
      observables: at least one, of any kinds, as for `expectation`.
      initial_state: see `simulate.py`.

    Raises:
      UserError: as for `expectation`.
    """
    items = check_observables(observables, as_circuit(circuit).num_qubits)
    (values,), batched = run(circuit, params, inputs, initial_state, _VarianceReadout(items))
    return batch_first(values, batched)


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
      circuit: what to run; see `simulate.py`.
      params: see `simulate.py`.
      inputs: see `simulate.py`.
      observables: at least one, of any kinds, as for `expectation`.
      initial_state: see `simulate.py`.

    Raises:
      UserError: as for `expectation`.
    """
    items = check_observables(observables, as_circuit(circuit).num_qubits)
    (values,), batched = run(circuit, params, inputs, initial_state, _CovarianceReadout(items))
    return batch_first(values, batched)


@dataclass(frozen=True)
class _VarianceReadout(Readout):
    """The variance of each observable, `[observables, batch]`."""

    observables: tuple[Observable, ...]

    def __call__(self, state: Array) -> tuple[Array, ...]:
        return (jnp.stack([squared(_deviation(state, item)).sum(axis=0) for item in self.observables]),)


@dataclass(frozen=True)
class _CovarianceReadout(Readout):
    """The covariance of each pair, `[observables, observables, batch]`."""

    observables: tuple[Observable, ...]

    def __call__(self, state: Array) -> tuple[Array, ...]:
        deviations = [_deviation(state, item) for item in self.observables]
        # With real parts above imaginary parts, the real part of <a|b> is a dot product of real vectors.
        stacked = jnp.stack([jnp.concatenate([lax.real(d), lax.imag(d)]) for d in deviations])
        return (jnp.einsum("adb,cdb->acb", stacked, stacked, precision=lax.Precision.HIGHEST),)


def _deviation(amplitudes: Array, observable: Observable) -> Array:
    """Returns (O - <O>) |state>; its squared norm is the variance, without the cancellation of <O**2> - <O>**2."""
    applied = apply_observable(amplitudes, observable)
    mean = real_overlap(amplitudes, applied)
    return applied - amplitudes * lax.complex(mean, jnp.zeros_like(mean))[None]
