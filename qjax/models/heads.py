"""Classification heads: features of a text or of each word in, one logit a class out.

A head is chosen by name (`make_head`). Each takes features `[..., features]` with any leading axes, so that the same
head serves sentences, `[batch, features]`, and words, `[batch, words, features]`.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from qjax import quantum
from qjax.checks import check_choice
from qjax.models.circuit_head import DROPOUT_SITE, PROBABILITY_FLOOR, CircuitHead
from qjax.models.dropout import ExampleDropout
from qjax.models.grover_head import GroverHead
from qjax.models.quantum_layer import QuantumLayer
from qjax.types import Array, Float, Key


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


class VariationalHead(CircuitHead):
    """Logits read from a variational quantum circuit (Benedetti et al. 2019, arXiv:1906.07682, section 2).

    The circuit is that of `CircuitHead`, with one of two readouts:

    - 'expectation': <Z> of every qubit, through an affine map to the logits.
    - 'log_probabilities': the logits are the logarithms of the probabilities of the basis states 0..num_classes - 1
      of the first ceil(log2(num_classes)) qubits, the label qubits. The loss renormalises them.
    """

    readout: str = "expectation"

    def setup(self) -> None:
        super().setup()
        check_choice("head.readout", self.readout, ("expectation", "log_probabilities"))
        self.quantum = QuantumLayer(
            circuit=self.circuit(),
            observables=self.observables(),
            probability_qubits=self.label_qubits(),
        )
        if self.readout == "expectation":
            self.output = nn.Dense(self.num_classes)

    def observables(self) -> tuple[quantum.PauliString, ...]:
        """Returns the measured observables: Z of each qubit, none where probabilities are read."""
        return quantum.z_observables(self.num_qubits) if self.readout == "expectation" else ()

    def label_qubits(self) -> tuple[int, ...]:
        """Returns the qubits whose joint distribution gives the classes; none with readout 'expectation'."""
        return () if self.readout == "expectation" else super().label_qubits()

    def __call__(
        self, features: Float[Array, "*batch features"], *, dropout_keys: Key[Array, " batch"] | None = None
    ) -> Float[Array, "*batch classes"]:
        measured = self.quantum(self.angles(self.dropout_layer(features, dropout_keys)))
        if self.readout == "expectation":
            return self.output(measured)
        return jnp.log(measured[..., : self.num_classes] + PROBABILITY_FLOOR)


HEADS: dict[str, type[nn.Module]] = {
    "linear": LinearHead,
    "mlp": MLPHead,
    "variational": VariationalHead,
    "grover": GroverHead,
}


def make_head(name: str, *, num_classes: int, **options: Any) -> nn.Module:
    """Returns the head called `name`.

    Args:
      name: one of `HEADS`.
      num_classes: number of logits.
      **options: the fields of that head's class.
    """
    check_choice("head.name", name, HEADS)
    return HEADS[name](num_classes=num_classes, **options)
