"""Grover's search for `--mode=algorithm`: with a known number of marked states, and without knowing it."""

import math

import jax
import numpy as np
from ml_collections import ConfigDict

from qjax.algorithms.grover import (
    GIVE_UP_AFTER,
    optimal_iterations,
    search,
    search_bytes,
    search_unknown,
    success_probability_after,
)
from qjax.algorithms.grover_circuits import search_circuit
from qjax.algorithms.marking import marked_indices, marked_mask
from qjax.modes.algorithms.outcome import Curve, Exported, Needs, Outcome, Row, number, progress
from qjax.types import Array, Bool

# By which the bound of an unknown search grows, the default of `search_unknown`.
_GROWTH = 6 / 5
_QUERIES = "classically (N + 1) / (t + 1) on average"


def needs(config: ConfigDict) -> Needs:
    """Returns what a search takes, whether or not the number of marked states is known."""
    return Needs(config.num_qubits, search_bytes(config.num_qubits), "num_qubits", "two real states and the marks")


def run(config: ConfigDict) -> Outcome:
    """Runs the search that is configured."""
    mask = marked_mask(config.num_qubits, config.marked)
    return _search_unknown(config, mask) if config.search == "unknown" else _search_known(config, mask)


def circuits(config: ConfigDict, result: dict[str, object]) -> Exported:
    """Returns the search as gates, and the state that the reflections give; for an unknown one its optimal form."""
    n, iterations = config.num_qubits, _iterations(config, len(marked_indices(config.num_qubits, config.marked)))
    circuit = search_circuit(n, config.marked, iterations)
    return Exported({"grover": circuit}, np.asarray(search(n, config.marked, iterations).state)[None])


def _iterations(config: ConfigDict, num_marked: int) -> int:
    given: int = config.num_iterations
    return optimal_iterations(config.num_qubits, num_marked) if given == -1 else given


def _search_known(config: ConfigDict, mask: Bool[Array, " states"]) -> Outcome:
    n, num_marked, total = config.num_qubits, int(mask.sum()), 2**config.num_qubits
    iterations = _iterations(config, num_marked)
    key = jax.random.key(config.seed)
    with progress(iterations, "iteration") as bar:
        searched = search(n, mask, iterations, key=key, shots=config.shots, on_progress=bar.update)
    simulated, answers = np.asarray(searched.success_probabilities, np.float64), np.asarray(searched.answers)
    hits = int(np.count_nonzero(np.asarray(mask)[answers]))
    theory = np.array([success_probability_after(n, num_marked, k) for k in range(iterations + 1)])
    found, share = float(simulated[-1]), hits / config.shots
    classical = (total + 1) / (num_marked + 1)
    # Each try is a search and a check of what was measured.
    queries, expected = ((iterations + 1) / p if p > 1e-9 else None for p in (found, float(theory[-1])))
    result = {
        "num_qubits": n,
        "marked": np.flatnonzero(np.asarray(mask)).tolist(),
        "num_iterations": iterations,
        "success_probability": found,
        "theory": float(theory[-1]),
        "success_probabilities": [float(p) for p in simulated],
        "shots": config.shots,
        "hits": hits,
        "most_frequent": int(np.argmax(np.bincount(answers))),
        "queries_to_success": queries,
        "classical_queries": classical,
    }
    rows = (
        Row("success probability", f"{found:.6f}", f"{theory[-1]:.6f}", "", "sin^2((2k + 1) asin sqrt(t / N))"),
        Row(f"marked, of {config.shots:,} shots", f"{share:.4f}", f"{theory[-1]:.4f}", "", "the same"),
        Row("queries until success", number(queries), number(expected), number(classical), _QUERIES),
    )
    headline = f"{num_marked} of {total:,} states marked, {iterations:,} iterations"
    steps, formula = np.arange(iterations + 1), "theory: sin$^2$((2k + 1)$\\theta$)"
    curve = Curve(steps, simulated, theory, "iterations", "simulated, exact", formula)
    return Outcome(headline, rows, result, curve)


# A number of marked states that is not known. --------------------------------------------------------------------


def _search_unknown(config: ConfigDict, mask: Bool[Array, " states"]) -> Outcome:
    n, num_marked, total = config.num_qubits, int(mask.sum()), 2**config.num_qubits
    key, found = jax.random.key(config.seed), []
    with progress(config.shots, "search") as bar:
        for shot in range(config.shots):
            found.append(search_unknown(n, mask, jax.random.fold_in(key, shot), growth=_GROWTH))
            bar.update(1)
    successes = [result for result in found if result.answer is not None]
    share, queries = len(successes) / len(found), float(np.mean([result.num_queries for result in found]))
    chances, costs = unknown_search_theory(n, num_marked)
    reached = np.concatenate([[1.0], np.cumprod(1 - chances)])  # probability that a run is needed
    expected, theory = float(reached[:-1] @ costs), float(1 - reached[-1])
    classical = (total + 1) / (num_marked + 1)
    result = {
        "num_qubits": n,
        "marked": np.flatnonzero(np.asarray(mask)).tolist(),
        "num_iterations": float(np.mean([sum(result.iterations) for result in found])),
        "success_probability": share,
        "theory": theory,
        "searches": len(found),
        "queries": queries,
        "expected_queries": expected,
        "classical_queries": classical,
        "answers": [result.answer for result in found],
    }
    rows = (
        Row("success probability", f"{share:.4f}", f"{theory:.4f}", "", "1 - product of (1 - lemma 2) over the runs"),
        Row("queries of a search, mean", number(queries), number(expected), number(classical), _QUERIES),
    )
    headline = f"{num_marked} of {total:,} states marked, their number not used; {len(found):,} searches"
    return Outcome(
        headline, rows, result, _unknown_curve([len(r.iterations) for r in successes], len(found), reached)
    )


def unknown_search_theory(num_qubits: int, num_marked: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns, for each run of `search_unknown`, its chance of success and the mean of its queries, `[runs]`.

    A run draws its iterations j evenly below a bound m, so that its chance is the mean of sin^2((2j + 1) theta)
    (Boyer, Brassard, Hoyer and Tapp 1996, arXiv:quant-ph/9605034, lemma 2); (m - 1) / 2 iterations and one check are
    its queries on average. The bounds depend on nothing but the number of runs before.
    """
    theta = math.asin(math.sqrt(num_marked / 2**num_qubits))
    full, bound, failures = math.sqrt(2**num_qubits), 1.0, 0
    chances, queries = [], []
    while failures < GIVE_UP_AFTER:
        m = math.ceil(bound)
        chances.append(float(np.mean(np.sin((2 * np.arange(m) + 1) * theta) ** 2)))
        queries.append((m - 1) / 2 + 1)
        failures += bound == full
        bound = min(bound * _GROWTH, full)
    return np.array(chances), np.array(queries)


def _unknown_curve(runs: list[int], num_searches: int, reached: np.ndarray) -> Curve:
    """Returns the share of the searches that had found a state after 0, 1, ... measurements, beside its theory."""
    shown = max([2, *runs, int(np.count_nonzero(reached > 1e-3))])
    steps = np.arange(min(shown, len(reached) - 1) + 1)
    share = np.array([sum(r <= step for r in runs) for step in steps]) / num_searches
    label = f"share of {num_searches:,} searches"
    return Curve(steps, share, 1 - reached[: len(steps)], "measurements", label, "theory: lemma 2 of Boyer et al.")
