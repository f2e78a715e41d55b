"""The matrix of a circuit that all examples share, for a plan that applies it at once."""

from collections.abc import Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.engines.batch_last import call
from qjax.quantum.engines.readouts import StateReadout
from qjax.quantum.states.angle_values import Values
from qjax.quantum.states.batch import batch_of
from qjax.types import Array


def shared_unitary(circuit: Circuit, values: Values) -> Array:
    """Returns the unitary of a circuit without inputs, `[2**n, 2**n, 1 or batch]`, complex.

    It is a simulation of its own, whose examples are the basis states: so its reverse pass is the one by hand.
    """
    operands = [values.params[name] for name in circuit.parameter_shapes]
    batch = batch_of(operands)
    if batch == 1:
        return _columns(circuit, values, operands)[:, :, None]
    axes = [-1 if x.shape[-1] > 1 else None for x in operands]
    each = jax.vmap(lambda xs: _columns(circuit, values, _with_axis(xs, axes)), in_axes=(axes,), out_axes=-1)
    return cast(Array, each(operands))  # type: ignore[no-untyped-call]


def _with_axis(operands: Sequence[Array], axes: Sequence[int | None]) -> list[Array]:
    return [x if axis is None else x[..., None] for x, axis in zip(operands, axes, strict=True)]


def _columns(circuit: Circuit, values: Values, operands: Sequence[Array]) -> Array:
    """Returns the unitary for parameters without a batch."""
    from qjax.quantum.engines.simulation import Simulation

    simulation = Simulation(circuit=circuit, readout=StateReadout(), given=1)
    basis = jnp.asarray(np.eye(2**circuit.num_qubits), values.dtype)
    return jax.lax.complex(*call(simulation, *operands, values.inputs[:, :1], basis))
