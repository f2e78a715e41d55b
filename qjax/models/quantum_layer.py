"""A quantum circuit as a Flax (linen) module: angles in, expectation values or probabilities out."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from qjax import quantum
from qjax.quantum import Circuit, Observable
from qjax.types import Array, Float

Initializer = Callable[[Array, Circuit], dict[str, Any]]


class QuantumLayer(nn.Module):
    """Runs `circuit` on per-example angles and measures it.

    The circuit's parameters become parameters of the module, under the names and in the shapes that
    `circuit.parameter_shapes` states. The simulation is exact (no shots) and differentiable.

    Attributes:
      circuit: what to run; its inputs are the last axis of the call's argument.
      observables: one expectation value each; empty with `probability_qubits`.
      probability_qubits: measure these qubits' joint distribution in the computational basis instead.
      init_params: `(key, circuit) -> params`, the initial angles in radians.
    """

    circuit: Circuit
    observables: tuple[Observable, ...] = ()
    probability_qubits: tuple[int, ...] = ()
    init_params: Initializer = quantum.init_params

    @nn.compact
    def __call__(self, inputs: Float[Array, "*batch num_inputs"]) -> Float[Array, "*batch outputs"]:
        """Returns `[..., num_observables]` expectations in [-1, 1], or `[..., 2**num_probability_qubits]`."""
        params = {}
        for name in self.circuit.parameter_shapes:
            params[name] = self.param(name, lambda key, name=name: self.init_params(key, self.circuit)[name])
        batch_shape = inputs.shape[:-1]
        flat = inputs.reshape((-1, inputs.shape[-1]))
        if self.probability_qubits:
            qubits = self.probability_qubits
            outputs = quantum.probabilities(self.circuit, params, flat, qubits)
        else:
            observables = self.observables
            outputs = quantum.expectation(self.circuit, params, flat, observables)
        return outputs.reshape((*batch_shape, outputs.shape[-1]))
