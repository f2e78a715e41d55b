"""What heads with a quantum circuit share: features become angles of a circuit, and circuits leave for a device."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from qjax import quantum
from qjax.checks import check
from qjax.models.dropout import ExampleDropout
from qjax.quantum import Circuit
from qjax.types import Array, Complex, Float

# Added to a probability before its logarithm: the size of float32's rounding in a sum of 2**n squared amplitudes, so
# that a class of probability 0 gets a finite logit and a finite gradient.
PROBABILITY_FLOOR = 1e-7

# Site of the heads' dropout: far from the numbers of an encoder's sites, which see the same example keys.
DROPOUT_SITE = 1 << 20


class CircuitHead(nn.Module):
    """A head whose features are projected to one angle a qubit, in (-pi, pi) by pi tanh.

    The angles enter as rotations about `encoding_axis`; a hardware-efficient ansatz follows. What is done with the
    state is the subclass's, whose circuit parameters are those of its module `quantum`.
    """

    num_classes: int
    num_qubits: int
    encoding_axis: str = "ry"
    reps: int = 3
    rotations: tuple[str, ...] = ("ry", "rz")
    entangler: str = "cx"
    pattern: str = "ring"
    dropout: float = 0.0

    def setup(self) -> None:
        self.dropout_layer = ExampleDropout(self.dropout, site=DROPOUT_SITE)
        self.projection = nn.Dense(self.num_qubits)

    def circuit(self) -> Circuit:
        """Returns the circuit that prepares every example's state: encoding, then ansatz."""
        return quantum.angle_encoding(self.num_qubits, axis=self.encoding_axis) + quantum.hardware_efficient(
            self.num_qubits,
            reps=self.reps,
            rotations=self.rotations,
            entangler=self.entangler,
            pattern=self.pattern,
        )

    def circuits(self) -> dict[str, Circuit]:
        """Returns the circuits that a device runs for one example, by the ending of their names."""
        return {"": self.circuit()}

    def observables(self) -> tuple[quantum.PauliString, ...]:
        """Returns the measured observables; none where probabilities are read."""
        return ()

    def measured_observables(self) -> tuple[quantum.PauliString, ...]:
        """Returns Z of each qubit that the readout reads: what to compare with a device."""
        return self.observables() or quantum.z_observables(self.num_qubits)[: len(self.label_qubits())]

    def label_qubits(self) -> tuple[int, ...]:
        """Returns the first ceil(log2(num_classes)) qubits; basis state c of them is the label state of class c."""
        needed = max(1, math.ceil(math.log2(self.num_classes)))
        check(
            needed <= self.num_qubits,
            "head.num_qubits",
            f"be at least {needed} to give {self.num_classes} classes a label state each",
            self.num_qubits,
        )
        return tuple(range(needed))

    def angles(self, features: Float[Array, "*batch features"]) -> Float[Array, "*batch num_qubits"]:
        """Returns the encoding's angles in radians."""
        return jnp.pi * jnp.tanh(self.projection(features))

    def bind_circuits(self, features: Float[Array, "batch features"]) -> tuple[Circuit, ...]:
        """Returns each example's `circuits` with all their angles as numbers; not for use under a transform.

        Call as `head.apply(variables, features, method="bind_circuits")`.
        """
        angles = jax.device_get(self.angles(features))
        params = jax.device_get(self.variables["params"]["quantum"])
        return tuple(circuit.bind(params, row) for row in angles for circuit in self.circuits().values())

    def simulate(
        self, features: Float[Array, "batch features"]
    ) -> tuple[Complex[Array, "circuits amplitudes"], Float[Array, "circuits observables"]]:
        """Returns final states and `measured_observables` of the head's own run, in the order of `bind_circuits`."""
        circuit, params, angles = self.circuit(), self.variables["params"]["quantum"], self.angles(features)
        states = quantum.state(circuit, params, angles)
        return states, quantum.expectation(circuit, params, angles, self.measured_observables())
