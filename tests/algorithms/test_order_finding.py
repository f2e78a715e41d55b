"""Order finding against the dense algebra of its state, Qiskit Aer, and the outcomes that theory predicts."""

import re
from collections.abc import Callable
from fractions import Fraction
from math import gcd

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.algorithms.modular import modular_powers, multiplicative_order, num_work_qubits
from qjax.algorithms.order_finding import (
    MAX_MULTIPLE,
    OrderRun,
    find_order,
    order_finding_circuit,
    order_finding_distribution,
    order_finding_resources,
    order_from_phase,
    order_success_probability,
    outcomes_given_work,
)
from qjax.checks import UserError
from qjax.export import to_qiskit
from qjax.export.aer import simulate_states
from qjax.quantum import compile_circuit, simulate
from qjax.quantum.compile.stages import Permutation
from qjax.quantum.engines.memory import device_bytes

KEY = jax.random.key(0)


def bases_of(modulus: int) -> list[int]:
    return [a for a in range(1, modulus) if gcd(a, modulus) == 1]


def dense_state(base: int, modulus: int, t: int) -> np.ndarray:
    """The state `[2**t, 2**m]` after the inverse transform: row x is |a**x mod N> before it, a column a signal."""
    rows = np.zeros((2**t, 2 ** num_work_qubits(modulus)))
    rows[np.arange(2**t), [pow(base, x, modulus) for x in range(2**t)]] = 2.0 ** (-t / 2)
    return np.fft.fft(rows, axis=0) * 2.0 ** (-t / 2)  # NumPy's sign is that of the inverse transform of physics


def dense_distribution(base: int, modulus: int, t: int) -> np.ndarray:
    return (np.abs(dense_state(base, modulus, t)) ** 2).sum(axis=1)


# The circuit. -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("base", "modulus", "t"), [(1, 2, 1), (2, 3, 4), (2, 9, 5), (7, 15, None)])
def test_circuit_gives_the_dense_state(base: int, modulus: int, t: int | None) -> None:
    circuit = order_finding_circuit(base, modulus, t)
    used = 2 * num_work_qubits(modulus) if t is None else t
    expected = dense_state(base, modulus, used).reshape(-1)
    np.testing.assert_allclose(simulate.state(circuit), expected, atol=1e-6)


def test_multiplications_are_permutation_stages() -> None:
    circuit = order_finding_circuit(7, 15)
    stages = [stage for stage in compile_circuit(circuit).stages if isinstance(stage, Permutation)]
    multiplied = [op for stage in stages for op in stage.operations if op.gate.name == "permutation"]
    assert [op.controls for op in multiplied] == [(q,) for q in reversed(range(8))]
    assert all(op.qubits == (8, 9, 10, 11) for op in multiplied)


def test_circuit_beyond_the_tables_of_the_simulator() -> None:
    """18 qubits: permutations are applied one by one, on the part of the state where the control is 1."""
    found = simulate.probabilities(order_finding_circuit(2, 35), qubits=tuple(range(12)))
    np.testing.assert_allclose(found, dense_distribution(2, 35, 12), atol=1e-6)


@pytest.mark.slow
def test_circuit_of_24_qubits() -> None:
    found = simulate.probabilities(order_finding_circuit(2, 143), qubits=tuple(range(16)))
    np.testing.assert_allclose(found, order_finding_distribution(60, 16), atol=1e-6)


@pytest.mark.parametrize("base", [7, 11])
def test_aer_agrees_on_the_counting_register(base: int) -> None:
    circuit = order_finding_circuit(base, 15)
    aer = (np.abs(simulate_states([to_qiskit(circuit)])[0].reshape(2**8, 2**4)) ** 2).sum(axis=1)
    ours = simulate.probabilities(circuit, qubits=tuple(range(8)))
    np.testing.assert_allclose(ours, aer, atol=1e-6)
    peaks = np.flatnonzero(aer > 1e-6).tolist()
    assert peaks == list(range(0, 256, 256 // multiplicative_order(base, 15)))


@pytest.mark.parametrize(("base", "modulus", "t"), [(7, 15, 8), (4, 21, 7), (5, 33, 9)])
def test_direct_form_has_the_distribution_of_the_circuit(base: int, modulus: int, t: int) -> None:
    powers = modular_powers(base, modulus, t)
    values, counts = np.unique(powers, return_counts=True)
    given = [outcomes_given_work(jnp.asarray(powers), jnp.asarray(value)) for value in values]
    direct = np.average(given, axis=0, weights=counts / 2**t)
    joint = np.asarray(simulate.probabilities(order_finding_circuit(base, modulus, t))).reshape(2**t, -1)
    np.testing.assert_allclose(direct, joint.sum(axis=1), atol=1e-6)
    for value, count, row in zip(values, counts, given, strict=True):
        np.testing.assert_allclose(joint[:, value], np.asarray(row) * count / 2**t, atol=1e-6)


# From outcomes to orders. -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("modulus", "t"), [(15, 8), (21, 10), (33, 12), (63, 12)])
def test_every_good_outcome_gives_the_order(modulus: int, t: int) -> None:
    """Within 1/2 of 2**t s / r the candidate is the denominator of s / r, and small multiples of it are tried."""
    for base in bases_of(modulus):
        r = multiplicative_order(base, modulus)
        for s in range(r):
            exact = Fraction(s, r)
            run = order_from_phase(round(2**t * exact) % 2**t, t, base, modulus)
            assert run.candidate == exact.denominator
            is_found = gcd(s, r) <= MAX_MULTIPLE and (s > 0 or r == 1)
            assert run.order == (r if is_found else None)
            alone = order_from_phase(round(2**t * exact) % 2**t, t, base, modulus, max_multiple=1)
            assert alone.order == (r if gcd(s, r) == 1 else None)


@pytest.mark.parametrize(("base", "modulus", "t"), [(2, 21, 10), (4, 33, 6)])
def test_an_order_is_right_whatever_the_outcome(base: int, modulus: int, t: int) -> None:
    orders = {order_from_phase(y, t, base, modulus).order for y in range(2**t)}
    assert orders == {None, multiplicative_order(base, modulus)}


@pytest.mark.parametrize(
    ("outcome", "run", "verdict"),
    [
        (0, OrderRun(0, 1, None), "no information: the phase is next to a whole number"),
        (255, OrderRun(255, 1, None), "no information: the phase is next to a whole number"),
        (192, OrderRun(192, 4, 4), "the candidate is the order"),
        (128, OrderRun(128, 2, 4), "order 4 found from the candidate"),
        (85, OrderRun(85, 3, 4), "order 4 found from the candidate"),  # 12 is a period, and reduced to 4
        (37, OrderRun(37, 7, None), "no small multiple of the candidate is a period"),
    ],
)
def test_verdicts(outcome: int, run: OrderRun, verdict: str) -> None:
    found = order_from_phase(outcome, 8, 7, 15)
    assert (found, found.verdict) == (run, verdict)


# Theory. ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("base", "modulus", "t"), [(1, 2, 3), (7, 15, 8), (11, 15, 8), (2, 21, 10), (2, 35, 4)])
def test_closed_form_is_the_distribution(base: int, modulus: int, t: int) -> None:
    closed = order_finding_distribution(multiplicative_order(base, modulus), t)
    assert closed.dtype == np.float64
    np.testing.assert_allclose(closed, dense_distribution(base, modulus, t), atol=1e-12)


@pytest.mark.parametrize(("modulus", "t"), [(15, None), (21, None), (21, 5), (33, 7)])
def test_success_is_the_sum_over_outcomes(modulus: int, t: int | None) -> None:
    used = 2 * num_work_qubits(modulus) if t is None else t
    for base in bases_of(modulus)[:6]:
        gives = [order_from_phase(y, used, base, modulus).order is not None for y in range(2**used)]
        expected = dense_distribution(base, modulus, used) @ np.array(gives, float)
        assert order_success_probability(base, modulus, t) == pytest.approx(expected, abs=1e-12)


def test_success_where_the_order_divides_the_register() -> None:
    """The outcomes are exactly 0, 64, 128, 192, of which 0 gives nothing; of order 2 they are 0 and 128."""
    assert order_success_probability(7, 15) == pytest.approx(3 / 4)
    assert order_success_probability(11, 15) == pytest.approx(1 / 2)
    assert order_success_probability(1, 15) == pytest.approx(1)


@pytest.mark.parametrize(
    ("base", "modulus", "simulation", "trials"),
    [(7, 15, "circuit", 50), (2, 21, "direct", 200), (5, 63, "direct", 200)],
)
def test_measured_rate_agrees_with_theory(base: int, modulus: int, simulation: str, trials: int) -> None:
    """Each run is retried until it succeeds: the number of runs an order takes is geometric."""
    expected = order_success_probability(base, modulus)
    runs = orders = 0
    while runs < trials:
        key = jax.random.key(runs)
        result = find_order(base, modulus, key, max_runs=trials - runs, simulation=simulation)
        runs, orders = runs + len(result.runs), orders + (result.order is not None)
    noise = (expected * (1 - expected) / trials) ** 0.5
    assert abs(orders / trials - expected) < 4 * noise


# find_order. ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("simulation", "bases"), [("circuit", [7, 11]), ("direct", bases_of(15))])
def test_orders_of_bases(simulation: str, bases: list[int]) -> None:
    for base in bases:
        result = find_order(base, 15, KEY, simulation=simulation)
        assert result.order == multiplicative_order(base, 15)
        assert [run.order for run in result.runs] == [None] * (len(result.runs) - 1) + [result.order]
        assert all(run == order_from_phase(run.outcome, 8, base, 15) for run in result.runs)


def test_the_key_decides_the_runs() -> None:
    results = [find_order(2, 21, jax.random.key(seed), simulation="direct") for seed in (1, 1, 2)]
    assert results[0] == results[1] != results[2]


def test_runs_end_without_an_order() -> None:
    found = [find_order(11, 15, jax.random.key(seed), max_runs=1, simulation="direct") for seed in range(20)]
    failed = [result for result in found if result.order is None]
    assert 0 < len(failed) < 20
    assert all(len(result.runs) == 1 and result.runs[0].outcome == 0 for result in failed)


def test_resources_are_three_states() -> None:
    circuit, direct = (order_finding_resources(143, simulation=name) for name in ("circuit", "direct"))
    assert (circuit.num_counting_qubits, circuit.num_work_qubits, circuit.num_qubits) == (16, 8, 24)
    assert circuit.memory_bytes == 3 * 8 * 2**24
    assert (direct.num_qubits, direct.memory_bytes) == (24, 3 * 8 * 2**16)
    assert order_finding_resources(143, 9).num_qubits == order_finding_circuit(2, 143, 9).num_qubits == 17


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: order_finding_circuit(5, 15), "`base` must share no factor with the modulus 15, but got 5, gcd 5"),
        (
            lambda: order_finding_circuit(2, 15, 0),
            "`num_counting_qubits` must be an integer of at least 1, but got 0",
        ),
        (lambda: order_from_phase(256, 8, 7, 15), "`outcome` must be an integer of 0..255, but got 256"),
        (lambda: order_from_phase(1, 8, 7, 15, max_multiple=0), "`max_multiple` must be an integer of at least 1"),
        (lambda: order_finding_distribution(0, 8), "`order` must be an integer of at least 1, but got 0"),
        (lambda: order_finding_resources(15, simulation="driect"), "Did you mean 'direct'?"),
        (lambda: find_order(2, 15, KEY, max_runs=0), "`max_runs` must be an integer of at least 1, but got 0"),
        (
            lambda: find_order(2, 15, KEY, max_qubits=11),
            "`modulus` must take at most 11 qubits (`max_qubits`), but got 15, which takes 12 qubits and 98,304 byt",
        ),
        (
            lambda: find_order(2, 60_001, KEY),
            f"`modulus` must fit into this device, which has {device_bytes():,} bytes, but got 60001, which takes 48 "
            "qubits and 6,755,399,441,055,744 bytes.",
        ),
        (lambda: find_order(2, 2**17 + 1, KEY, num_counting_qubits=3), "`modulus` must have at most 16 bits"),
    ],
)
def test_mistakes_get_one_clear_error(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        call()
