"""Quantum phase estimation: the circuit, the distribution of its outcomes, and what theory says of both.

Of U|v> = exp(2 pi i phase)|v> the circuit finds `phase`, in [0, 1), to t bits (Kitaev 1995, arXiv:quant-ph/9511026;
in this form Cleve, Ekert, Macchiavello and Mosca 1998, arXiv:quant-ph/9708016; Nielsen and Chuang 2010, section 5.2).
Qubits 0..t-1 are the precision qubits, qubit 0 the most significant bit of the outcome y, which stands for the phase
y / 2**t. The qubits of U follow.
"""

from dataclasses import dataclass
from functools import partial
from math import ceil, log2
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike

from qjax.algorithms.qft import qft
from qjax.checks import check, fail
from qjax.quantum.circuits.angle import as_index
from qjax.quantum.circuits.binding import check_values
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.measure.samples import sample_indices
from qjax.quantum.simulate import state
from qjax.types import Array, CircuitParams, Complex, Key

# The distribution of t precision qubits takes 2**t - 1 applications of U, one after the other, each of which rounds.
# In float32 the probabilities are off by 3e-3 at t = 20, by 0.02 at 21 and by more beyond. In float64 it is time that
# ends it.
MAX_PRECISION_QUBITS = {"float32": 20, "float64": 24}


@dataclass(frozen=True, eq=False)
class PhaseEstimate:
    """What phase estimation found.

    Attributes:
      phase: of the most frequent outcome, or of the most likely one where there are no shots; in [0, 1).
      probabilities: of each outcome, `[2**t]`, float64; the phase of outcome y is y / 2**t.
      samples: measured outcomes, `[shots]`; None where there are no shots.
      num_applications: controlled applications of U in one run of the circuit, 2**t - 1. Each shot is a run.
    """

    phase: float
    probabilities: np.ndarray
    samples: np.ndarray | None
    num_applications: int


def phase_estimation_circuit(
    unitary: Circuit,
    num_precision_qubits: int,
    preparation: Circuit | None = None,
    *,
    controlled: Circuit | None = None,
) -> Circuit:
    """Returns the circuit of t precision qubits and the n qubits of U; measuring the former gives the outcome.

    U**(2**j) is U repeated, so compile time does not grow with it. Parameters and inputs keep their names.

    Args:
      unitary: the circuit U.
      num_precision_qubits: t, at least 1.
      preparation: on the n qubits of U, before everything else; None leaves them in |0...0>.
      controlled: U under control of qubit 0, its own qubits following; None takes `unitary.controlled()`, which puts
        the control on every gate. Where U = V W V^dagger only W needs it.

    Raises:
      UserError: the numbers of qubits do not fit, or t is not an integer of at least 1.
    """
    n, t = unitary.num_qubits, _check_precision(num_precision_qubits)
    controlled = unitary.controlled() if controlled is None else controlled
    check(controlled.num_qubits == n + 1, "controlled", f"have {n + 1} qubits", controlled.num_qubits)
    system = range(t, t + n)
    circuit = Circuit(t + n)
    for q in range(t):
        circuit = circuit.append("h", q)
    if preparation is not None:
        _check_width(preparation, n)
        circuit += preparation.remap(system, t + n)
    for q in range(t):
        circuit += controlled.power(2 ** (t - 1 - q)).remap((q, *system), t + n)
    return circuit + qft(t, inverse=True).remap(range(t), t + n)


def estimate_phase(
    unitary: Circuit,
    num_precision_qubits: int,
    preparation: Circuit | None = None,
    params: CircuitParams | None = None,
    inputs: Any = None,
    initial_state: Any = None,
    *,
    key: Key[Array, ""] | None = None,
    shots: int | None = None,
) -> PhaseEstimate:
    """Runs phase estimation and returns what it finds.

    Args:
      unitary: the circuit U on n qubits.
      num_precision_qubits: t, from 1 to the number that `MAX_PRECISION_QUBITS` has for the dtype.
      preparation: of the n qubits of U; None for none.
      params: name -> array, for U and the preparation together, as for `simulate.state`.
      inputs: `[num_inputs]`, likewise.
      initial_state: amplitudes `[2**n]` of the qubits of U before the preparation, normalised; None for |0...0>.
      key: typed random key, for the shots.
      shots: runs of the circuit, each with a measurement; None for the exact distribution alone.

    Raises:
      UserError: as for `phase_estimation_circuit` and `simulate.state`, or there are shots without a key.
    """
    probabilities = outcome_probabilities(unitary, num_precision_qubits, preparation, params, inputs, initial_state)
    samples = None if shots is None else sample_outcomes(key, probabilities, shots)
    size = len(probabilities)
    return PhaseEstimate(most_frequent(probabilities, samples) / size, probabilities, samples, size - 1)


def outcome_probabilities(
    unitary: Circuit,
    num_precision_qubits: int,
    preparation: Circuit | None = None,
    params: CircuitParams | None = None,
    inputs: Any = None,
    initial_state: Any = None,
) -> np.ndarray:
    """Returns the probability of each outcome of phase estimation, `[2**t]`, float64, from runs of U alone.

    Before the inverse Fourier transform row j of the register holds U**j |v>, divided by sqrt(M), with M = 2**t. The
    outcome y therefore has the probability

        sum over j, l in 0..M-1 of exp(-2 pi i (j - l) y / M) <v| U**(j - l) |v> / M**2

    because U is unitary. So the M numbers <v| U**d |v> are enough, and the memory is that of two states of n qubits
    and not of t + n. In complex64 the error of a probability is about 1e-6 up to t = 8, 1e-5
    at t = 12 and 3e-3 at t = 20: rounding grows with the 2**t applications of U.

    Args:
      unitary: see `estimate_phase`, as for the other arguments.
      num_precision_qubits: likewise.
      preparation: likewise.
      params: likewise.
      inputs: likewise.
      initial_state: likewise.

    Raises:
      UserError: as for `estimate_phase`.
    """
    size = check_register(num_precision_qubits)
    before = Circuit(unitary.num_qubits) if preparation is None else preparation
    _check_width(before, unitary.num_qubits)
    check_values(before + unitary, params, inputs)
    for name, array in (("inputs", inputs), ("initial_state", initial_state)):
        check(np.ndim(array) < 2, name, "be of one example", f"shape {list(np.shape(array))}")
    start = state(before, *_own_values(before, params, inputs), initial_state)
    overlaps = power_overlaps(unitary, *_own_values(unitary, params, inputs), start, None, size)
    return overlap_distribution(overlaps)


def apply_signed(
    unitary: Circuit, params: CircuitParams | None, inputs: Any, current: Array, kept: Array | None
) -> Complex[Array, " dim"]:
    """Returns U S of a state, S changing the sign of every basis state that is not in `kept`, booleans `[2**n]`.

    As an argument S is no part of the compiled program: another oracle compiles nothing. None changes no sign.
    """
    return state(unitary, params, inputs, current if kept is None else jnp.where(kept, current, -current))


@partial(jax.jit, static_argnames=("unitary", "count"))
def power_overlaps(
    unitary: Circuit, params: CircuitParams | None, inputs: Any, start: Array, kept: Array | None, count: int
) -> Complex[Array, " count"]:
    """Returns <v| (U S)**d |v> for d in 0..count-1, v being `start`; see `apply_signed`."""

    def step(current: Array, _: None) -> tuple[Array, Array]:
        return apply_signed(unitary, params, inputs, current, kept), jnp.vdot(start, current)

    return lax.scan(step, start, None, length=count)[1]


@partial(jax.jit, static_argnames=("unitary",))
def apply_power(
    unitary: Circuit, params: CircuitParams | None, inputs: Any, start: Array, kept: Array | None, count: Any
) -> Complex[Array, " dim"]:
    """Returns (U S)**count of a state; see `apply_signed`. Another `count` compiles nothing."""
    return lax.fori_loop(0, count, lambda _, s: apply_signed(unitary, params, inputs, s, kept), start)


def overlap_distribution(overlaps: ArrayLike) -> np.ndarray:
    """Returns the probability of each outcome, `[M]`, from <v| U**d |v> for d in 0..M-1: see `outcome_probabilities`.

    In its sum over j and l there are M - |d| pairs with j - l = d, and -d conjugates the term of d.
    """
    values = np.asarray(overlaps, np.complex128)
    size = len(values)
    weighted = np.fft.fft(values * np.arange(size, 0, -1))
    probabilities = np.maximum(2 * weighted.real - size * values[0].real, 0)  # rounding can go below 0
    return probabilities / probabilities.sum()


def check_register(num_precision_qubits: int) -> int:
    """Returns M = 2**t for t precision qubits, and raises where t is below 1 or above `MAX_PRECISION_QUBITS`."""
    t = _check_precision(num_precision_qubits)
    dtype = jnp.dtype(jnp.result_type(float)).name
    most = MAX_PRECISION_QUBITS[dtype]
    switch = "" if dtype == "float64" else f" (JAX_ENABLE_X64=1 allows {MAX_PRECISION_QUBITS['float64']})"
    why = "take long" if dtype == "float64" else "round"
    expectation = f"be at most {most} in {dtype}{switch}: all 2**t - 1 applications of U are simulated, and {why}"
    check(t <= most, "num_precision_qubits", expectation, t)
    return int(2**t)


def _own_values(circuit: Circuit, params: CircuitParams | None, inputs: Any) -> tuple[dict[str, Array], Any]:
    """Returns what one of two circuits uses of the values of both: it may use less of a parameter than the other."""
    own = {
        name: jnp.asarray((params or {})[name])[tuple(map(slice, shape))]
        for name, shape in circuit.parameter_shapes.items()
    }
    return own, None if inputs is None else jnp.asarray(inputs)[: circuit.num_inputs]


# Outcomes. --------------------------------------------------------------------------------------------------------


def sample_outcomes(key: Key[Array, ""] | None, probabilities: ArrayLike, shots: int) -> np.ndarray:
    """Returns `shots` independent outcomes, integers `[shots]`.

    Args:
      key: typed random key.
      probabilities: of the outcomes 0, 1, ...; they need not add up to 1.
      shots: at least 1.

    Raises:
      UserError: there is no key, `shots` is not an integer of at least 1, or the probabilities have no finite sum
        above 0.
    """
    as_index("shots", shots, 1)
    if key is None:
        fail("key", "be a random key where there are shots", "None")
    outcomes = np.asarray(sample_indices(key, np.asarray(probabilities, np.float64), shots))
    check(bool(outcomes[0] >= 0), "probabilities", "have a finite sum above 0", f"a sum of {np.sum(probabilities)}")
    return outcomes


def most_frequent(probabilities: np.ndarray, samples: np.ndarray | None) -> int:
    """Returns the most frequent outcome among the samples, or the most likely one where there are none."""
    weights = probabilities if samples is None else np.bincount(samples, minlength=len(probabilities))
    return int(np.argmax(weights))


# Theory. ----------------------------------------------------------------------------------------------------------


def phase_distribution(phase: float | int, num_precision_qubits: int) -> np.ndarray:
    """Returns the probability of each outcome for an eigenvector of this phase, `[2**t]`, float64.

    With d = phase - y / 2**t it is sin^2(2**t pi d) / (2**(2t) sin^2(pi d)), and 1 where d is a whole number
    (Nielsen and Chuang 2010, the modulus of equation 5.26, squared).

    Args:
      phase: any real number; whole numbers make no difference.
      num_precision_qubits: t, at least 1.

    Raises:
      UserError: t is not an integer of at least 1.
    """
    size = 2 ** _check_precision(num_precision_qubits)
    distance = (phase - np.arange(size) / size + 0.5) % 1 - 0.5  # in [-1/2, 1/2), where sinc(distance) is above 0.6
    return (np.sinc(size * distance) / np.sinc(distance)) ** 2


def required_precision_qubits(num_bits: int, failure_probability: float) -> int:
    """Returns t = num_bits + ceil(log2(2 + 1 / (2 eps))): enough to be within 2**-num_bits with probability 1 - eps.

    Nielsen and Chuang 2010, equation 5.35.

    Args:
      num_bits: at least 1.
      failure_probability: eps, between 0 and 1.

    Raises:
      UserError: a number is out of range.
    """
    check(as_index("num_bits", num_bits) >= 1, "num_bits", "be an integer of at least 1", num_bits)
    check(bool(0 < failure_probability < 1), "failure_probability", "lie between 0 and 1", failure_probability)
    return num_bits + ceil(log2(2 + 1 / (2 * failure_probability)))


def success_probability_bound(num_bits: int, num_precision_qubits: int) -> float:
    """Returns what the probability of an outcome within 2**-num_bits of the phase is at least.

    Distances are on a circle of length 1. With t precision qubits the bound is 1 - 1 / (2 (2**(t - num_bits) - 2)),
    from the text before equation 5.35 in Nielsen and Chuang 2010; it is 0 where that says nothing, which is for t
    below num_bits + 2.

    Args:
      num_bits: at least 1.
      num_precision_qubits: t, at least 1.

    Raises:
      UserError: a number is not an integer of at least 1.
    """
    check(as_index("num_bits", num_bits) >= 1, "num_bits", "be an integer of at least 1", num_bits)
    extra = _check_precision(num_precision_qubits) - num_bits
    return 1 - 1 / (2 * (2.0**extra - 2)) if extra >= 2 else 0.0


def _check_precision(num_precision_qubits: int) -> int:
    t = as_index("num_precision_qubits", num_precision_qubits)
    check(t >= 1, "num_precision_qubits", "be an integer of at least 1", num_precision_qubits)
    return t


def _check_width(preparation: Circuit, num_qubits: int) -> None:
    width = preparation.num_qubits
    check(width == num_qubits, "preparation", f"have {num_qubits} qubit(s) like the unitary", width)
