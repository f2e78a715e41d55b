"""Amplitude amplification for any preparation circuit A and any set of good states.

One round is Q = A S_0(phi) A^dagger S_good(varphi), after Brassard, Hoyer, Mosca and Tapp 2000
(arXiv:quant-ph/0005055, sections 2 and 2.1), with the reflections by an angle

    S_good(varphi) = 1 - (1 - e^(i varphi)) P_good       S_0(phi) = 1 - (1 - e^(i phi)) |0...0><0...0|

Their Q has another sign, which changes nothing that can be measured: with both angles pi, k rounds give (-1)^k times
the state of Grover's algorithm.

What it does to a probability. Let p be the probability of the good states in A|0...0>, and sin(theta) = sqrt(p). With
both angles pi a round is a rotation by 2 theta in the plane of the good and the bad part of A|0...0>, so that k
rounds take p to sin^2((2k + 1) asin sqrt(p)). That map is (2k + 1)^2 p for small p, reaches 1 where (2k + 1) theta is
pi/2, and falls again beyond.

Two forms: `amplification_circuit` is gates, for gradients in little memory and for export; `amplify` runs A once, and
each round as a sign flip and a reflection about A|0...0>.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax.algorithms.marking import Marked, marked_mask
from qjax.checks import check
from qjax.quantum.circuits.angle import AngleLike, as_index, parameter
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.repeat import Repeat
from qjax.quantum.simulate import state
from qjax.types import Array, CircuitParams, Complex, Float


@dataclass(frozen=True, eq=False)
class AmplificationResult:
    """What amplitude amplification gives.

    Attributes:
      state: after the last round, `[2**n]` or `[batch, 2**n]`.
      success_probabilities: of the good states after 0, 1, ... rounds, `[num_rounds + 1]` or
        `[batch, num_rounds + 1]`.
    """

    state: Complex[Array, "*batch states"]
    success_probabilities: Float[Array, "*batch rounds"]


def amplification_circuit(
    preparation: Circuit, qubits: Sequence[int], values: Sequence[int], num_rounds: int, *, phases: str | None = None
) -> Circuit:
    """Returns the circuit A, then `num_rounds` rounds of Q = A S_0(phi) A^dagger S_good(varphi).

    Parameters and inputs of A are the same in every A and A^dagger, under the names that they have in A. With fixed
    phases the rounds are a Repeat and their marks change signs alone.

    Args:
      preparation: the circuit A.
      qubits: the good states are those in which these qubits hold `values`.
      values: 0 or 1 for each of `qubits`.
      num_rounds: k, at least 0.
      phases: None fixes all angles at pi. A name makes them parameters of the circuit, of shape [num_rounds, 2]: the
        angle varphi of the oracle and then phi of the diffuser, of each round; there are none without rounds.

    Raises:
      UserError: qubits are repeated, out of range or none, a value is not 0 or 1, `num_rounds` is not an integer of
        at least 0, or the preparation has a parameter named like the phases.

    >>> amplification_circuit(Circuit(1).append("h", 0), (0,), (1,), 1)
    Circuit(1 qubits: h 0, 1 x [gphase(3.14159) if 0=1, h 0, gphase(3.14159) if 0=0, h 0] shared)
    """
    n, rounds = preparation.num_qubits, as_index("num_rounds", num_rounds)
    places = tuple(as_index("qubits", q) for q in qubits)
    distinct = len(set(places)) == len(places) > 0 and max(places) < n
    check(distinct, "qubits", f"hold distinct integers in 0..{n - 1}, at least one", places)
    bits = tuple(values)
    valid = len(bits) == len(places) and all(bit in (0, 1) for bit in bits)
    check(valid, "values", f"hold 0 or 1 for each of {len(places)} qubit(s)", bits)
    free = phases not in preparation.parameter_shapes
    check(free, "phases", "not be the name of a parameter of the preparation", repr(phases))
    undone = preparation.inverse()

    def one_round(oracle: AngleLike, diffuser: AngleLike) -> Circuit:
        marked = Circuit(n).append("gphase", (), oracle, controls=places, control_values=bits)
        zero = Circuit(n).append("gphase", (), diffuser, controls=range(n), control_values=(0,) * n)
        return marked + undone + zero + preparation

    if rounds == 0:
        return preparation
    if phases is None:
        return preparation + Circuit(n, (Repeat(one_round(np.pi, np.pi), rounds, shared=True),))
    circuit = preparation
    for r in range(rounds):
        circuit += one_round(parameter(phases, r, 0), parameter(phases, r, 1))
    return circuit


def amplify(
    preparation: Circuit,
    marked: Marked,
    num_rounds: int,
    params: CircuitParams | None = None,
    inputs: Any = None,
    *,
    phases: Any = None,
) -> AmplificationResult:
    """Amplifies any set of good states in A|0...0>: the state of `amplification_circuit`, without its gates.

    A runs once. The rounds are a loop over the full state, each with one inner product with A|0...0>, and can be
    differentiated by JAX with respect to params, inputs and phases; the reverse pass keeps a state a round.

    Args:
      preparation: the circuit A.
      marked: the good states; see `marked_mask`.
      num_rounds: k, at least 0.
      params: of A, as for `simulate.state`.
      inputs: of A, `[num_inputs]` or `[batch, num_inputs]`.
      phases: real `[num_rounds, 2]` in radians, the angle varphi of the oracle and phi of the diffuser in each round;
        None for pi.

    Raises:
      UserError: `marked`, `num_rounds`, params or inputs are wrong, or the phases have another shape.
    """
    rounds = as_index("num_rounds", num_rounds)
    mask = marked_mask(preparation.num_qubits, marked)
    start = state(preparation, params, inputs)
    return AmplificationResult(*_amplify(start, mask, _phase_factors(phases, rounds, start.real.dtype)))


@jax.jit
def _amplify(start: Array, mask: Array, factors: Array) -> tuple[Array, Array]:
    """Returns the final state and the success probabilities; `factors` are e^(i angle), `[num_rounds, 2]`."""
    mask = jnp.broadcast_to(mask, start.shape)
    # Divided out below: a reflection about a state whose norm is rounded would let the norm drift, round by round.
    norm = (start.conj() * start).sum(axis=-1, keepdims=True)

    def success(amplitudes: Array) -> Array:
        return jnp.where(mask, amplitudes.real**2 + amplitudes.imag**2, 0).sum(axis=-1)

    def one_round(amplitudes: Array, turn: Array) -> tuple[Array, Array]:
        turned = jnp.where(mask, amplitudes * turn[0], amplitudes)
        overlap = (start.conj() * turned).sum(axis=-1, keepdims=True) / norm
        amplitudes = turned - start * jnp.broadcast_to((1 - turn[1]) * overlap, start.shape)
        return amplitudes, success(amplitudes)

    final, later = lax.scan(one_round, start, factors)
    return final, jnp.moveaxis(jnp.concatenate([success(start)[None], later]), 0, -1)


def _phase_factors(phases: Any, num_rounds: int, dtype: Any) -> Array:
    """Returns e^(i angle) for the angles of each round, `[num_rounds, 2]`; exactly -1 where they are None."""
    if phases is None:
        return lax.complex(jnp.full((num_rounds, 2), -1, dtype), jnp.zeros((num_rounds, 2), dtype))
    shape = np.shape(phases)
    check(shape == (num_rounds, 2), "phases", f"have the shape [{num_rounds}, 2]", f"the shape {list(shape)}")
    angles = jnp.asarray(phases, dtype)
    return lax.complex(jnp.cos(angles), jnp.sin(angles))
