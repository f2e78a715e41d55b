"""Phase estimation of a phase gate for `--mode=algorithm`."""

import math

import jax
import numpy as np
from ml_collections import ConfigDict

from qjax.algorithms.phase_estimation import estimate_phase, phase_distribution, phase_estimation_circuit
from qjax.modes.algorithms.outcome import Exported, Needs, Outcome, Row, number
from qjax.quantum import Circuit

# Overlaps, their Fourier transform, the distribution and that of theory, most of them in double precision.
BYTES_PER_OUTCOME = 128
_CLOSED_FORM = "sin^2(2^t pi d) / (2^(2t) sin^2(pi d)), d the distance"
_CLASSICAL = "one use at a time for this deviation (Cramer and Rao)"


def needs(config: ConfigDict) -> Needs:
    """Returns what phase estimation takes: its outcomes, for the states of U's one qubit are simulated in turn."""
    t = config.num_precision_qubits
    note = f"{2**t:,} outcomes; U is applied to 1 qubit alone"
    return Needs(t + 1, BYTES_PER_OUTCOME * 2**t, "num_precision_qubits", note)


def _gate(phase: float) -> tuple[Circuit, Circuit]:
    """Returns U, and the preparation of its eigenvector |1>."""
    return Circuit(1).append("p", 0, 2 * math.pi * phase), Circuit(1).append("x", 0)


def circuits(config: ConfigDict, result: dict[str, object]) -> Exported:
    """Returns the circuit of the precision qubits and the one of U."""
    unitary, preparation = _gate(config.phase)
    return Exported({"phase_estimation": phase_estimation_circuit(unitary, config.num_precision_qubits, preparation)})


def run(config: ConfigDict) -> Outcome:
    """Estimates the phase and holds the distribution against the closed form."""
    t, phase = config.num_precision_qubits, config.phase
    unitary, preparation = _gate(phase)
    found = estimate_phase(unitary, t, preparation, key=jax.random.key(config.seed), shots=config.shots)
    theory, size = phase_distribution(phase, t), 2**t
    best = int(np.argmax(theory))
    assert found.samples is not None
    chance, share = float(found.probabilities[best]), float(np.mean(found.samples == best))
    error = abs((found.phase - phase + 0.5) % 1 - 0.5)
    resolution = 0.5 / size
    # A measurement after a single controlled U has the Fisher information (2 pi)^2 about the phase at most.
    classical = math.ceil(1 / (2 * math.pi * resolution) ** 2)
    result = {
        "phase": phase,
        "num_precision_qubits": t,
        "estimate": found.phase,
        "error": error,
        "best_outcome": best,
        "success_probability": chance,
        "theory": float(theory[best]),
        "largest_difference": float(np.max(np.abs(found.probabilities - theory))),
        "shots": config.shots,
        "share_of_best": share,
        "queries": found.num_applications,
        "classical_queries": classical,
    }
    rows = (
        Row("phase", f"{found.phase:.8g}", f"{phase:.8g}", "", f"to 2^-{t + 1} = {resolution:.2g}"),
        Row("best outcome, probability", f"{chance:.6f}", f"{theory[best]:.6f}", "", _CLOSED_FORM),
        Row(f"best outcome, of {config.shots:,} shots", f"{share:.4f}", f"{theory[best]:.4f}", "", "the same"),
        Row("uses of U in a run", number(found.num_applications), "", number(classical), _CLASSICAL),
    )
    return Outcome(f"phase {found.phase:.8g}, off by {error:.2g}", rows, result)
