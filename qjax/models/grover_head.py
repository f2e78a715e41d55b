"""The Grover head: class scores from the amplified probabilities of the label states.

What amplification does to the decision. Let p be the probability of a class's label state in A|0...0>, and sin(theta)
= sqrt(p). With fixed phases, k rounds take p to

    s(p) = sin^2((2k + 1) theta)        (Brassard, Hoyer, Mosca and Tapp 2000, arXiv:quant-ph/0005055, section 2)

- It rises with slope (2k + 1)^2 at p = 0 to its first maximum s = 1 at p* = sin^2(pi / (2 (2k + 1))): 0.25, 0.095 and
  0.050 for k = 1, 2 and 3. Up to there it is concave. The first inflection in p lies beyond the maximum, where
  tan((2k + 1) 2 theta) = (2k + 1) tan(2 theta): at p = 0.5 for k = 1. As a function of the angle theta, s has its
  inflection at half the height, (2k + 1) theta = pi / 4. Between 0 and 1 it has k maxima and k zeros.
- Below p* the order of the classes is kept, but ratios shrink: d log s / d log p = (2k + 1) tan(theta) /
  tan((2k + 1) theta) is 1 at p = 0 and 0 at p*. For small p the factor (2k + 1)^2 is the same for all classes and
  cancels when the scores are renormalised. What is gained there is the share of a device's shots that show the label.
- Beyond p* it overshoots: a more probable class scores less. For two classes p* < 1/2 from k = 1 on, so that the
  decision is folded: with one round, class 0 wins for p in (0.067, 0.5) and for p above 0.933. Hence the bound on k.
  An even distribution over the 2^m states of m label qubits has p = 2^-m, and only k <= pi / (4 asin(2^(-m/2))) - 1/2
  rounds keep it from overshooting: 0, 1, 1, 2, 3 for m = 1..5. The configuration allows no more than Grover's own
  number of iterations for one state of the whole register, `config_schema.max_iterations`: there even the smallest
  probability that an even distribution can have stands at its maximum.

What trainable phases add. With reflections by angles of one's own (Hoyer 2000, arXiv:quant-ph/0006031) the amplitude
of the label state becomes a polynomial of degree 2k + 1 in sqrt(p), and the score s(p) = p |Q(p)|^2, with Q a complex
polynomial of degree k that the 2k phases choose: quantum signal processing. All phases pi give the map above, all 0
give s = p, and the sequences of Yoder, Low and Chuang 2014 (arXiv:1409.3305) give a map that stays above
1 - delta^2 from some p on and cannot overshoot. Whatever the phases, 0 goes to 0 and 1 to 1. Changing the sign of all
phases changes no score, so that at exactly pi, as at 0, the slope in every phase is 0: they start near pi, not at it.

None of this is an advantage of a simulator, where s follows from p alone (`amplified_probability`: the fast form, and
the default). On a device a round costs two more runs of A.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from qjax import quantum
from qjax.algorithms.amplitude_amplification import amplification_circuit
from qjax.checks import check, check_choice
from qjax.models.circuit_head import PROBABILITY_FLOOR, CircuitHead
from qjax.quantum import Circuit
from qjax.types import Array, Complex, Float, Int, Key

PHASES = ("fixed", "trainable")
SIMULATIONS = ("probabilities", "states")
# Name of the trained phases among the circuit's parameters.
PHASES_NAME = "phases"
# They start within this many radians of pi.
PHASES_SPREAD = 0.1 * math.pi
# Rounds that are compiled one by one: twice as fast as a loop for 3 of them, and few enough to compile fast.
UNROLL = 4


def first_maximum(num_iterations: int) -> float:
    """Returns p*, the smallest probability that k rounds with fixed phases take to 1; see the module."""
    return math.sin(math.pi / (2 * (2 * num_iterations + 1))) ** 2


def amplify(
    prepared: Complex[Array, "batch labels rest"], label: Int[Array, ""], phase_factors: Any
) -> Complex[Array, "batch labels rest"]:
    """Returns the state after rounds of amplitude amplification of one label state.

    A round is A S_0(phi) A^dagger S_label(varphi), the unitary of `amplification_circuit`. A S_0(phi) A^dagger is
    1 - (1 - e^(i phi)) |psi><psi| with |psi> = A|0...0>, so that it needs no run of A: one phase, one inner product
    with the prepared state and one multiple of that state added.

    Args:
      prepared: |psi>, normalised; the label qubits are those of the second axis.
      label: index of the marked label state.
      phase_factors: numbers e^(i varphi), e^(i phi) of each round, `[rounds, 2]`.
    """
    marked = (jnp.arange(prepared.shape[1]) == label)[None, :, None]

    def one_round(state: Array, phase_pair: Array) -> tuple[Array, None]:
        state = jnp.where(marked, phase_pair[0] * state, state)
        overlap = (prepared.conj() * state).sum(axis=(1, 2), keepdims=True)
        return state - (1 - phase_pair[1]) * overlap * prepared, None

    return lax.scan(one_round, prepared, phase_factors, unroll=UNROLL)[0]


def amplified_probability(probability: Float[Array, "*batch"], phase_factors: Any) -> Float[Array, "*batch"]:
    """Returns the probability of a label state after the rounds of `amplify`, from its probability p before them.

    With P the projector on the label state, a round maps a P|psi> + b (1 - P)|psi> to a state of the same form
    (Brassard et al. 2000, section 2): first a' = e^(i varphi) a; then, as <psi|state> = a' p + b (1 - p), both lose
    (1 - e^(i phi)) (a' p + b (1 - p)). They start at a = b = 1, and the score is |a|^2 p. No root of p is taken, so
    that the slope at 0 and 1 is finite.

    Args:
      probability: p, in [0, 1].
      phase_factors: numbers e^(i varphi), e^(i phi) of each round, `[rounds, 2]`.
    """
    one = jnp.ones(probability.shape, jnp.result_type(probability, phase_factors))

    def one_round(factors: tuple[Array, Array], phase_pair: Array) -> tuple[tuple[Array, Array], None]:
        inside, outside = phase_pair[0] * factors[0], factors[1]
        lost = (1 - phase_pair[1]) * (inside * probability + outside * (1 - probability))
        return (inside - lost, outside - lost), None

    inside, _ = lax.scan(one_round, (one, one), phase_factors, unroll=UNROLL)[0]
    return (inside.real**2 + inside.imag**2) * probability


class AmplifiedProbabilities(nn.Module):
    """For each class, the probability of its label state after amplifying it.

    Attributes:
      circuit: the preparation A; its inputs are the last axis of the call's argument.
      num_classes: label states 0..num_classes - 1 are amplified, each in a run of its own.
      num_label_qubits: the circuit's first qubits.
      num_iterations: rounds.
      phases: 'fixed' (all pi) or 'trainable' (parameter `phases` `[num_iterations, 2]`, near pi at first).
      simulation: 'probabilities' follows each label's probability through the rounds, 'states' the whole state. They
        differ by rounding.
    """

    circuit: Circuit
    num_classes: int
    num_label_qubits: int
    num_iterations: int
    phases: str
    simulation: str = "probabilities"

    def setup(self) -> None:
        names = self.circuit.parameter_shapes
        self.params = {name: self.param(name, _init_circuit, self.circuit, name) for name in names}
        if self.phases == "trainable" and self.num_iterations:
            self.angles = self.param(PHASES_NAME, _init_phases, (self.num_iterations, 2))

    def phase_factors(self) -> Float[Array, "rounds 2"] | Complex[Array, "rounds 2"]:
        """Returns e^(i angle) of the two reflections of each round."""
        if self.phases == "trainable" and self.num_iterations:
            return jnp.exp(1j * self.angles)
        return jnp.full((self.num_iterations, 2), -1.0)

    def prepare(self, inputs: Float[Array, "batch num_inputs"]) -> Complex[Array, "batch labels rest"]:
        """Returns the prepared states; the label qubits are those of the second axis."""
        state = quantum.state(self.circuit, self.params, inputs)
        labels = 2**self.num_label_qubits
        return state.reshape((len(inputs), labels, state.shape[-1] // labels))

    def __call__(self, inputs: Float[Array, "*batch num_inputs"]) -> Float[Array, "*batch classes"]:
        flat = inputs.reshape((-1, inputs.shape[-1]))
        if self.simulation == "states":
            scores = self.scores_of_states(flat)
        else:
            qubits = tuple(range(self.num_label_qubits))
            before = quantum.probabilities(self.circuit, self.params, flat, qubits)
            scores = amplified_probability(before[:, : self.num_classes], self.phase_factors())
        return scores.reshape((*inputs.shape[:-1], self.num_classes))

    def scores_of_states(self, inputs: Float[Array, "batch num_inputs"]) -> Float[Array, "batch classes"]:
        """Returns the scores by the rounds on the whole states."""
        prepared, phase_factors = self.prepare(inputs), self.phase_factors()

        def score(label: Array) -> Array:
            final = lax.dynamic_index_in_dim(amplify(prepared, label, phase_factors), label, axis=1, keepdims=False)
            return (final.real**2 + final.imag**2).sum(axis=-1)

        # One class after the other, and again in the reverse pass: the states of all classes together would leave the
        # cache, and with 21 tags fill the memory.
        return lax.map(jax.checkpoint(score, prevent_cse=False), jnp.arange(self.num_classes)).T

    def states(self, inputs: Float[Array, "batch num_inputs"]) -> Complex[Array, "batch classes amplitudes"]:
        """Returns each class's amplified state."""
        prepared, phase_factors = self.prepare(inputs), self.phase_factors()
        every = lax.map(lambda label: amplify(prepared, label, phase_factors), jnp.arange(self.num_classes))
        return jnp.moveaxis(every, 0, 1).reshape((len(inputs), self.num_classes, -1))


def _init_circuit(key: Key[Array, ""], circuit: Circuit, name: str) -> Float[Array, "..."]:
    return quantum.init_params(key, circuit)[name]


def _init_phases(key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "rounds 2"]:
    return jax.random.uniform(key, shape, minval=math.pi - PHASES_SPREAD, maxval=math.pi + PHASES_SPREAD)


class GroverHead(CircuitHead):
    """Logits from amplitude amplification: for each class one run that amplifies the class's label state.

    The circuit of `CircuitHead` prepares label and work qubits; class c is marked by basis state c of the label
    qubits (`label_qubits`). `num_iterations` rounds of amplitude amplification follow, and the class's score is the
    probability of its label state then. The logits are the logarithms of the scores; the loss renormalises them.
    Without rounds it is `VariationalHead` with readout 'log_probabilities', parameters included. The module says what
    rounds and `phases` do to the decision.

    With `simulation` 'probabilities' the rounds follow the label states' probabilities (`amplified_probability`),
    which is exact; with 'states' each is simulated on the whole state as the reflection that it is (`amplify`), as
    `simulate` does. Either way the gradient goes back through the rounds and then through A by the simulator's
    reverse pass. `circuits` are the same runs as gates.
    """

    num_iterations: int = 1
    phases: str = "fixed"
    simulation: str = "probabilities"

    def setup(self) -> None:
        super().setup()
        check_choice("head.simulation", self.simulation, SIMULATIONS)
        check_choice("head.phases", self.phases, PHASES)
        check(self.num_iterations >= 0, "head.num_iterations", "be 0 or more", self.num_iterations)
        self.quantum = AmplifiedProbabilities(
            circuit=self.circuit(),
            num_classes=self.num_classes,
            num_label_qubits=len(self.label_qubits()),
            num_iterations=self.num_iterations,
            phases=self.phases,
            simulation=self.simulation,
        )

    def circuits(self) -> dict[str, Circuit]:
        """Returns each class's run as gates, by the ending of its name; all have the parameters of the head."""
        qubits = self.label_qubits()
        phases = PHASES_NAME if self.phases == "trainable" else None
        return {
            f"_class_{c}": amplification_circuit(
                self.circuit(),
                qubits,
                tuple(c >> (len(qubits) - 1 - q) & 1 for q in qubits),
                self.num_iterations,
                phases=phases,
            )
            for c in range(self.num_classes)
        }

    def __call__(
        self, features: Float[Array, "*batch features"], *, dropout_keys: Key[Array, " batch"] | None = None
    ) -> Float[Array, "*batch classes"]:
        scores = self.quantum(self.angles(self.dropout_layer(features, dropout_keys)))
        return jnp.log(scores + PROBABILITY_FLOOR)

    def simulate(
        self, features: Float[Array, "batch features"]
    ) -> tuple[Complex[Array, "circuits amplitudes"], Float[Array, "circuits observables"]]:
        """Returns final states and `measured_observables` of the head's own run, in the order of `bind_circuits`."""
        states = self.quantum.states(self.angles(features)).reshape((-1, 2**self.num_qubits))
        nothing = Circuit(self.num_qubits)
        return states, quantum.expectation(nothing, None, None, self.measured_observables(), states)
