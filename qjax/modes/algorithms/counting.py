"""Quantum counting for `--mode=algorithm`."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from qjax.algorithms.counting import classical_queries, count, count_error_bound, counting_circuit
from qjax.algorithms.marking import marked_indices
from qjax.algorithms.phase_estimation import phase_distribution
from qjax.modes.algorithms.outcome import Exported, Needs, Outcome, Row, number
from qjax.modes.algorithms.phase_estimation import BYTES_PER_OUTCOME
from qjax.quantum.engines.memory import STATES_IN_USE, state_bytes

_CLOSED_FORM = "from the two phases of the Grover operator"


def needs(config: ConfigDict) -> Needs:
    """Returns what counting takes: the states of the search's qubits, and the outcomes."""
    n, p = config.num_qubits, config.num_precision_qubits
    states = STATES_IN_USE * state_bytes(n, 1, jnp.result_type(float))
    outcomes = BYTES_PER_OUTCOME * 2**p
    key = "num_qubits" if states > outcomes else "num_precision_qubits"
    return Needs(n + p, states + outcomes, key, f"{STATES_IN_USE} states of {n} qubits and {2**p:,} outcomes")


def circuits(config: ConfigDict, result: dict[str, object]) -> Exported:
    """Returns the circuit of the precision qubits and those of the search."""
    circuit = counting_circuit(config.num_qubits, config.marked, config.num_precision_qubits)
    return Exported({"counting": circuit})


def run(config: ConfigDict) -> Outcome:
    """Counts the marked states and holds the distribution against the closed form."""
    n, p, size = config.num_qubits, config.num_precision_qubits, 2**config.num_qubits
    marked = marked_indices(n, config.marked)
    true = len(marked)
    found = count(n, config.marked, p, jax.random.key(config.seed), config.shots)
    theory = count_distribution(n, true, p)
    bound = count_error_bound(n, true, p)
    estimates = size * np.sin(np.pi * np.arange(2**p) / 2**p) ** 2
    within = np.abs(estimates - true) <= bound
    assert found.samples is not None
    share = float(np.mean(within[found.samples]))
    classical = classical_queries(n, true, bound, found.confidence)
    result = {
        "num_qubits": n,
        "marked": marked.tolist(),
        "num_precision_qubits": p,
        "estimate": found.estimate,
        "rounded": found.rounded,
        "count": true,
        "error_bound": bound,
        "success_probability": float(found.probabilities[within].sum()),
        "theory": float(theory[within].sum()),
        "confidence": found.confidence,
        "largest_difference": float(np.max(np.abs(found.probabilities - theory))),
        "shots": config.shots,
        "share_within": share,
        "queries": found.num_queries,
        "classical_queries": classical,
    }
    chance, exact = f"within {bound:.2f}", f"{result['theory']:.6f}"
    rows = (
        Row("marked states", f"{found.estimate:.2f}", f"{true}", "", f"to {bound:.2f} with probability 8 / pi^2"),
        Row(f"{chance}, probability", f"{result['success_probability']:.6f}", exact, "", _CLOSED_FORM),
        Row(f"{chance}, of {config.shots:,} shots", f"{share:.4f}", f"{result['theory']:.4f}", "", "the same"),
        Row("queries of a run", number(found.num_queries), "", number(classical), "samples for the same error"),
    )
    return Outcome(f"about {found.estimate:.2f} of {size:,} states are marked; {true} are", rows, result)


def count_distribution(num_qubits: int, num_marked: int, num_precision_qubits: int) -> np.ndarray:
    """Returns the probability of each outcome of counting, `[2**p]`, in closed form.

    The even superposition is made of two eigenvectors of equal weight, of the phases theta / pi and -theta / pi with
    sin^2(theta) = t / N, that are orthogonal (Brassard et al. 2000, arXiv:quant-ph/0005055, section 2). With nothing
    marked, or everything, both phases are the same.
    """
    phase = math.asin(math.sqrt(num_marked / 2**num_qubits)) / math.pi
    return (phase_distribution(phase, num_precision_qubits) + phase_distribution(-phase, num_precision_qubits)) / 2
