"""Quantum minimum finding for `--mode=algorithm`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from qjax.algorithms.grover import search, search_bytes
from qjax.algorithms.grover_circuits import search_circuit
from qjax.algorithms.minimum import MinimumResult, find_minimum, query_bound
from qjax.checks import check
from qjax.modes.algorithms.outcome import Curve, Exported, Needs, Outcome, Row, number, progress

_BOUND = "at most 22.5 sqrt(N) + 1.4 lg^2 N"


def _num_entries(config: ConfigDict) -> int:
    return len(config.table) or int(config.num_values)


def _num_qubits(config: ConfigDict) -> int:
    return max((_num_entries(config) - 1).bit_length(), 1)


def needs(config: ConfigDict) -> Needs:
    """Returns what the searches take, and the table in double precision."""
    n = _num_qubits(config)
    key = "table" if config.table else "num_values"
    return Needs(n, search_bytes(n) + 8 * _num_entries(config), key, "two real states, the marks and the table")


def make_table(config: ConfigDict) -> np.ndarray:
    """Returns the table: the values given, or a random order of 0 .. N - 1 drawn from the seed."""
    if config.table:
        return np.asarray(config.table)
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    return np.asarray(jax.random.permutation(key, config.num_values))


def run(config: ConfigDict) -> Outcome:
    """Searches for the minimum some times over."""
    table, n = make_table(config), _num_qubits(config)
    key, found = jax.random.fold_in(jax.random.key(config.seed), 1), []
    with progress(config.shots, "search") as bar:
        for shot in range(config.shots):
            found.append(find_minimum(table, jax.random.fold_in(key, shot)))
            bar.update(1)
    least = table.min().item()
    waits = [queries_until(result, least) for result in found]
    reached = [wait for wait in waits if wait is not None]
    share, bound = len(reached) / len(found), query_bound(2**n)
    mean = float(np.mean(reached)) if reached else None
    first = found[0]
    result = {
        "num_values": len(table),
        "num_qubits": n,
        "index": first.index,
        "value": first.value,
        "minimum": least,
        "num_queries": first.num_queries,
        "query_bound": bound,
        "success_probability": share,
        "theory": 0.5,
        "queries_until_minimum": mean,
        "classical_queries": len(table) - 1,
        "steps": [_step(step) for step in first.steps],
    }
    classical = number(len(table) - 1)
    rows = (
        Row(f"found it, of {len(found):,} runs", f"{share:.4f}", "0.5", "", "at least (theorem 1 of Durr and Hoyer)"),
        Row("queries until found, mean", number(mean), number(bound / 2), classical, "at most (their lemma 2)"),
        Row("queries until it stops", number(first.num_queries), number(bound), "", _BOUND),
    )
    curve = _curve(reached, len(found), bound)
    headline = f"entry {first.index} of {len(table):,} is {first.value:g}; the minimum is {least:g}"
    return Outcome(headline, rows, result, curve, tuple(_ledger(first)))


def queries_until(result: MinimumResult, least: float | int) -> int | None:
    """Returns the queries before the threshold is the minimum; None where it never is."""
    spent = 0
    for step in result.steps:
        if step.threshold == least:
            return spent
        spent += step.num_queries
    return None


def _step(step: Any) -> dict[str, Any]:
    return {
        "threshold_index": step.threshold_index,
        "threshold": step.threshold,
        "iterations": list(step.iterations),
        "num_queries": step.num_queries,
        "found": step.found,
    }


def _ledger(result: MinimumResult) -> list[str]:
    lines = ["ledger of the first run:"]
    for step in result.steps:
        after = "stopped" if step.found is None else f"entry {step.found}"
        queries = f"{len(step.iterations)} searches, {step.num_queries} queries"
        lines.append(f"  below {step.threshold:g} (entry {step.threshold_index}): {queries} -> {after}")
    return lines


def _curve(reached: list[int], runs: int, bound: int) -> Curve:
    """Returns the share of the runs that had the minimum after so many queries, beside what theory says at least.

    The expected number of queries is at most bound / 2, so that by Markov's inequality more than q are needed with
    probability bound / (2q) at most.
    """
    steps = np.arange(bound + 1)
    share = np.searchsorted(np.sort(reached), steps, side="right") / runs
    theory = np.maximum(0, 1 - bound / 2 / np.maximum(steps, 1))
    label = "theory, at least: lemma 2 of Durr and Hoyer"
    return Curve(steps, share, theory, "queries of the oracle", f"share of {runs:,} runs", label)


def circuits(config: ConfigDict, result: dict[str, Any]) -> Exported:
    """Returns the last search of each step of the first run, as gates and as the reflections give it."""
    table, n = make_table(config), _num_qubits(config)
    gates, states = {}, []
    for i, step in enumerate(result["steps"]):
        if step["iterations"]:
            below = np.zeros(2**n, np.bool_)
            below[: len(table)] = table < step["threshold"]
            iterations = step["iterations"][-1]
            gates[f"search_{i}"] = search_circuit(n, jnp.asarray(below), iterations)
            states.append(np.asarray(search(n, jnp.asarray(below), iterations).state))
    check(bool(gates), "--mode", "be used with a run that has searched", "export of one that has not")
    return Exported(gates, np.stack(states))
