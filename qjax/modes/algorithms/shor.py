"""Shor's algorithm for `--mode=algorithm`."""

from dataclasses import dataclass
from typing import Any

import jax
from ml_collections import ConfigDict

from qjax.algorithms.modular import is_prime, multiplicative_order, prime_power
from qjax.algorithms.order_finding import order_finding_circuit, order_finding_resources
from qjax.algorithms.shor import FactorAttempt, FactorResult, factor, success_probability
from qjax.checks import fail
from qjax.modes.algorithms.outcome import Exported, Needs, Outcome, Row, number, progress

# Theory looks at every outcome and every base: seconds up to here.
_MAX_THEORY_QUBITS = 18


def _num_counting_qubits(config: ConfigDict) -> int | None:
    return config.num_counting_qubits or None


def _is_classical(n: int) -> bool:
    """Whether `factor` answers the number without order finding."""
    return n % 2 == 0 or is_prime(n) or prime_power(n) is not None


def needs(config: ConfigDict) -> Needs:
    """Returns what order finding takes; nothing where the number is answered classically."""
    if _is_classical(config.number):
        return Needs(0, 0, "number", "an even number, a prime or a prime power: answered classically")
    resources = order_finding_resources(config.number, _num_counting_qubits(config), simulation=config.simulation)
    note = f"{resources.num_counting_qubits} counting and {resources.num_work_qubits} work qubits"
    return Needs(resources.num_qubits, resources.memory_bytes, "number", note)


def run(config: ConfigDict) -> Outcome:
    """Tries bases until one gives factors, or all attempts are used up."""
    found = _factor(config)
    result = {
        "number": config.number,
        "factors": list(found.factors),
        "answered_by": found.answered_by,
        "attempts": [_attempt(attempt) for attempt in found.attempts],
        "num_runs": found.num_runs,
        "max_attempts": config.max_attempts,
    }
    headline = f"{config.number} = {' x '.join(map(str, found.factors))}" if len(found.factors) > 1 else ""
    if found.answered_by == "prime":
        headline = f"{config.number} is prime"
    if not found.factors:
        headline = f"{config.number} was not factored in {config.max_attempts} attempts"
    if found.resources is None:
        return Outcome(f"{headline}, by classical tests ({found.answered_by})", (), result)
    rows, more = _compare(config, found)
    notes = tuple(f"base {attempt.base}: {_words(attempt)}" for attempt in found.attempts)
    return Outcome(headline, rows, result | more, notes=notes, status=0 if found.factors else 1)


def _factor(config: ConfigDict) -> FactorResult:
    """Returns what `factor` returns with the attempts made one by one, for a bar to count them."""
    key = jax.random.key(config.seed)
    attempts: list[FactorAttempt] = []
    with progress(config.max_attempts, "attempt") as bar:
        for i in range(config.max_attempts):
            found = factor(
                config.number,
                jax.random.fold_in(key, i),
                max_attempts=1,
                num_counting_qubits=_num_counting_qubits(config),
                use_lucky_gcd=config.use_lucky_gcd,
                simulation=config.simulation,
            )
            attempts += found.attempts
            bar.update(1)
            if found.factors:
                break
    return FactorResult(found.number, found.factors, found.answered_by, tuple(attempts), found.resources)


def _attempt(attempt: FactorAttempt) -> dict[str, Any]:
    run = attempt.run
    return {
        "base": attempt.base,
        "outcome": None if run is None else run.outcome,
        "order": None if run is None else run.order,
        "factors": list(attempt.factors),
        "verdict": attempt.verdict,
    }


def _words(attempt: FactorAttempt) -> str:
    run = attempt.run
    return attempt.verdict if run is None else f"outcome {run.outcome}, {run.verdict}; {attempt.verdict}"


@dataclass(frozen=True)
class _Theory:
    chance: float | None
    words: str


def _theory(config: ConfigDict, num_counting_qubits: int) -> _Theory:
    if num_counting_qubits > _MAX_THEORY_QUBITS:
        return _Theory(None, f"not computed above {_MAX_THEORY_QUBITS} counting qubits")
    exact = success_probability(config.number, num_counting_qubits)
    if config.use_lucky_gcd:
        return _Theory(exact.with_luck, "mean over all bases, lucky ones too")
    return _Theory(exact.factor_found, "mean over the bases without a common factor")


def _compare(config: ConfigDict, found: FactorResult) -> tuple[tuple[Row, ...], dict[str, Any]]:
    assert found.resources is not None
    tried, n, t = len(found.attempts), config.number, found.resources.num_counting_qubits
    theory = _theory(config, t)
    expected = None if theory.chance is None else 1 / theory.chance if theory.chance > 0 else None
    # One controlled multiplication for each counting qubit; classically a is multiplied until 1 returns.
    orders = [multiplicative_order(a.base, n) for a in found.attempts if a.run is not None]
    quantum, classical = t * found.num_runs, sum(order - 1 for order in orders)
    rate = f"{1 if found.factors else 0} of {tried}"
    chance = "-" if theory.chance is None else f"{theory.chance:.4f}"
    rows = (
        Row("success of an attempt", rate, chance, "", theory.words),
        Row("attempts until success", number(tried) if found.factors else "-", number(expected), "", "one over it"),
        Row("multiplications modulo N", number(quantum), "", number(classical), "classically until a base gives 1"),
    )
    more = {
        "num_qubits": found.resources.num_qubits,
        "num_counting_qubits": t,
        "success_probability": 1 / tried if found.factors else 0.0,
        "theory": theory.chance,
        "expected_attempts": expected,
        "queries": quantum,
        "classical_queries": classical,
    }
    return rows, more


def circuits(config: ConfigDict, result: dict[str, Any]) -> Exported:
    """Returns the circuit of the last run of order finding."""
    bases = [attempt["base"] for attempt in result["attempts"] if attempt["outcome"] is not None]
    if not bases:
        how = f"export of {config.number}, answered by {result['answered_by']}"
        fail("--mode", "be used with a number that needed order finding", how)
    circuit = order_finding_circuit(bases[-1], config.number, _num_counting_qubits(config))
    return Exported({f"order_of_{bases[-1]}": circuit})
