"""Classification heads: features of a text or of each word in, one logit a class out.

A head is chosen by name (`make_head`). Each takes features `[..., features]` with any leading axes, so that the same
head serves sentences, `[batch, features]`, and words, `[batch, words, features]`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from qjax import quantum
from qjax.checks import check, check_choice
from qjax.models.dropout import ExampleDropout
from qjax.models.quantum_layer import QuantumLayer
from qjax.quantum import Circuit
from qjax.types import Array, Float, Key

# Added to a probability before its logarithm: the size of float32's rounding in a sum of 2**n squared amplitudes, so
# that a class of probability 0 gets a finite logit and a finite gradient.
PROBABILITY_FLOOR = 1e-7

# Site of the heads' dropout: far from the numbers of an encoder's sites, which see the same example keys.
DROPOUT_SITE = 1 << 20


class LinearHead(nn.Module):
    """Logits by one affine map of the features: the first classical control."""

    num_classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, features: Float[Array, "*batch features"], *, dropout_keys: Key[Array, " batch"] | None = None
    ) -> Float[Array, "*batch classes"]:
        features = ExampleDropout(self.dropout, site=DROPOUT_SITE)(features, dropout_keys)
        return nn.Dense(self.num_classes, name="output")(features)


class MLPHead(nn.Module):
    """Logits by one hidden layer of tanh units: the classical control of equal size."""

    num_classes: int
    hidden_size: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, features: Float[Array, "*batch features"], *, dropout_keys: Key[Array, " batch"] | None = None
    ) -> Float[Array, "*batch classes"]:
        features = ExampleDropout(self.dropout, site=DROPOUT_SITE)(features, dropout_keys)
        hidden = jnp.tanh(nn.Dense(self.hidden_size, name="hidden")(features))
        return nn.Dense(self.num_classes, name="output")(hidden)


class VariationalHead(nn.Module):
    """Logits read from a variational quantum circuit (Benedetti et al. 2019, arXiv:1906.07682, section 2).

    The features are projected to one angle a qubit, in (-pi, pi) by pi tanh; the angles enter as rotations about
    `encoding_axis`; a hardware-efficient ansatz follows; then one of two readouts:

    - 'expectation': <Z> of every qubit, through an affine map to the logits.
    - 'log_probabilities': the logits are the logarithms of the probabilities of the basis states 0..num_classes - 1
      of the first ceil(log2(num_classes)) qubits, the label qubits. The loss renormalises them.

    How the reverse pass gets at the circuit's states is `reverse_pass` (`qjax.quantum.simulate`).
    """

    num_classes: int
    num_qubits: int
    encoding_axis: str = "ry"
    reps: int = 3
    rotations: tuple[str, ...] = ("ry", "rz")
    entangler: str = "cx"
    pattern: str = "ring"
    readout: str = "expectation"
    reverse_pass: str = "auto"
    dropout: float = 0.0

    def setup(self) -> None:
        check_choice("head.readout", self.readout, ("expectation", "log_probabilities"))
        self.dropout_layer = ExampleDropout(self.dropout, site=DROPOUT_SITE)
        self.projection = nn.Dense(self.num_qubits)
        self.quantum = QuantumLayer(
            circuit=self.circuit(),
            observables=self.observables(),
            probability_qubits=self.label_qubits(),
            reverse_pass=self.reverse_pass,
        )
        if self.readout == "expectation":
            self.output = nn.Dense(self.num_classes)

    def circuit(self) -> Circuit:
        """Returns the circuit that every example runs: encoding, then ansatz."""
        return quantum.angle_encoding(self.num_qubits, axis=self.encoding_axis) + quantum.hardware_efficient(
            self.num_qubits,
            reps=self.reps,
            rotations=self.rotations,
            entangler=self.entangler,
            pattern=self.pattern,
        )

    def observables(self) -> tuple[quantum.PauliString, ...]:
        """Returns the measured observables: Z of each qubit, none where probabilities are read."""
        return quantum.z_observables(self.num_qubits) if self.readout == "expectation" else ()

    def measured_observables(self) -> tuple[quantum.PauliString, ...]:
        """Returns Z of each qubit that the readout reads: what to compare with a device."""
        return self.observables() or quantum.z_observables(self.num_qubits)[: len(self.label_qubits())]

    def label_qubits(self) -> tuple[int, ...]:
        """Returns the qubits whose joint distribution gives the classes; none with readout 'expectation'."""
        if self.readout == "expectation":
            return ()
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

    def __call__(
        self, features: Float[Array, "*batch features"], *, dropout_keys: Key[Array, " batch"] | None = None
    ) -> Float[Array, "*batch classes"]:
        measured = self.quantum(self.angles(self.dropout_layer(features, dropout_keys)))
        if self.readout == "expectation":
            return self.output(measured)
        return jnp.log(measured[..., : self.num_classes] + PROBABILITY_FLOOR)

    def bind_circuits(self, features: Float[Array, "batch features"]) -> tuple[Circuit, ...]:
        """Returns each example's circuit with all its angles as numbers, for export; not for use under a transform.

        Call as `head.apply(variables, features, method="bind_circuits")`.
        """
        angles = jax.device_get(self.angles(features))
        params = jax.device_get(self.variables["params"]["quantum"])
        return tuple(self.circuit().bind(params, row) for row in angles)


HEADS: dict[str, type[nn.Module]] = {"linear": LinearHead, "mlp": MLPHead, "variational": VariationalHead}


def make_head(name: str, *, num_classes: int, **options: Any) -> nn.Module:
    """Returns the head called `name`.

    Args:
      name: one of `HEADS`.
      num_classes: number of logits.
      **options: the fields of that head's class.
    """
    check_choice("head.name", name, HEADS)
    return HEADS[name](num_classes=num_classes, **options)
