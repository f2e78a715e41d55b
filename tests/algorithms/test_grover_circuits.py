"""The gate-level searches against the reflections, gate by gate in NumPy, in our simulator and in Aer."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from qjax.algorithms.grover import optimal_iterations, search
from qjax.algorithms.grover_circuits import (
    FORMS,
    diffuser_circuit,
    multi_controlled_phase,
    oracle_circuit,
    search_circuit,
)
from qjax.checks import UserError
from qjax.export import to_qiskit
from qjax.export.aer import simulate_states
from qjax.quantum import Circuit, parameter, state, unitary

OWN_CONTROLS = {"h": 0, "x": 0, "p": 0, "gphase": 0, "cx": 1, "cp": 1, "ccx": 2}


def apply_gates(circuit: Circuit, start: np.ndarray) -> np.ndarray:
    """Returns the state after the circuit, gate by gate, each on the half, quarter, ... that its controls choose."""
    n = circuit.num_qubits
    amplitudes = start.astype(complex).reshape((2,) * n)
    for op in circuit.iter_operations():
        inner = OWN_CONTROLS[op.gate.name]
        controls = (*op.controls, *op.qubits[:inner])
        chosen: list[Any] = [slice(None)] * n
        for qubit, value in zip(controls, (*op.control_values, *(1,) * inner), strict=True):
            chosen[qubit] = value
        name = op.gate.name[inner:]
        if name == "gphase":
            amplitudes[tuple(chosen)] *= np.exp(1j * op.angles[0].shift)
            continue
        ends = []
        for bit in (0, 1):
            chosen[op.qubits[-1]] = bit
            ends.append(tuple(chosen))
        zero, one = (amplitudes[end].copy() for end in ends)
        if name == "p":
            amplitudes[ends[1]] = one * np.exp(1j * op.angles[0].shift)
        else:
            new = {"x": (one, zero), "h": ((zero + one) / 2**0.5, (zero - one) / 2**0.5)}[name]
            amplitudes[ends[0]], amplitudes[ends[1]] = new
    return amplitudes.reshape(-1)


def from_zero(circuit: Circuit) -> np.ndarray:
    return apply_gates(circuit, np.eye(1, 2**circuit.num_qubits)[0])


def marks(n: int, num_marked: int) -> np.ndarray:
    return np.random.default_rng(1000 * n + num_marked).permutation(2**n)[:num_marked]


def assert_same_up_to_phase(found: np.ndarray, expected: np.ndarray) -> None:
    phase = np.vdot(expected, found)
    assert abs(abs(phase) - 1) < 1e-5
    np.testing.assert_allclose(found, expected * phase / abs(phase), atol=3e-6)


def check_search(n: int, num_marked: int, form: str) -> None:
    marked = marks(n, num_marked)
    num_iterations = 2 if n < 6 else 1
    found = from_zero(search_circuit(n, marked, num_iterations, form=form)).reshape(2**n, -1)
    assert np.abs(found[:, 1:]).max(initial=0) < 1e-12  # ancillas are clean
    assert_same_up_to_phase(found[:, 0], np.asarray(search(n, marked, num_iterations).state))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_gates_give_the_state_of_the_reflections(n: int, form: str) -> None:
    for num_marked in range(1, 2**n + 1):
        check_search(n, num_marked, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("n", "num_marked"), [(6, 1), (6, 40), (7, 1), (7, 5), (8, 2), (8, 30)])
def test_gates_on_more_qubits(n: int, num_marked: int, form: str) -> None:
    check_search(n, num_marked, form)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [6, 7, 8])
def test_gates_on_more_qubits_for_every_number_of_marked_states(n: int, form: str) -> None:
    for num_marked in range(1, 2**n + 1):
        check_search(n, num_marked, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("n", "num_marked"), [(2, 1), (3, 4), (5, 3)])
def test_our_simulator_and_aer_agree(n: int, num_marked: int, form: str) -> None:
    circuit = search_circuit(n, marks(n, num_marked), 2, form=form)
    expected = from_zero(circuit)
    np.testing.assert_allclose(state(circuit), expected, atol=5e-6)
    np.testing.assert_allclose(simulate_states([to_qiskit(circuit)])[0], expected, atol=1e-10)


@pytest.mark.parametrize("num_iterations", [0, 1, 3])
def test_the_sign_is_as_stated(num_iterations: int) -> None:
    expected = (-1) ** num_iterations * search(4, [5, 6], num_iterations).state
    np.testing.assert_allclose(from_zero(search_circuit(4, [5, 6], num_iterations)), expected, atol=2e-6)


def test_optimal_number_and_forms_of_marks() -> None:
    circuit = search_circuit(5, lambda index: index == 19)
    assert circuit == search_circuit(5, ["10011"], optimal_iterations(5, 1))
    assert abs(from_zero(circuit)[19]) ** 2 > 0.99
    assert search_circuit(1, [0, 1]) == Circuit(1).append("h", 0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("k", range(1, 10))
def test_multi_controlled_phase(k: int, form: str) -> None:
    """On any state of k qubits in any places; ancillas start and end in |0>, qubits that are borrowed keep theirs."""
    rng = np.random.default_rng(k)
    spare = max(k - 2, 0) if form == "ancillas" else 0
    width = k + 1 + spare
    places = [int(q) for q in rng.permutation(k + 1)[:k]]
    values = [int(bit) for bit in rng.integers(0, 2, size=k)]
    angle = float(rng.uniform(-3, 3))
    circuit = multi_controlled_phase(
        width, places, angle, values=values, form=form, ancillas=range(k + 1, width) if spare else ()
    )
    start = np.zeros((2 ** (k + 1), 2**spare), complex)
    start[:, 0] = rng.normal(size=2 ** (k + 1)) + 1j * rng.normal(size=2 ** (k + 1))
    index = np.arange(2 ** (k + 1))
    holds = np.all([(index >> (k - q) & 1) == bit for q, bit in zip(places, values, strict=True)], axis=0)
    expected = start * np.where(holds, np.exp(1j * angle), 1)[:, None]
    np.testing.assert_allclose(apply_gates(circuit, start.reshape(-1)), expected.reshape(-1), atol=1e-12)
    operations = [op for op in circuit.iter_operations() if op.gate.name != "x"]
    if form != "controls":
        assert max(len(op.all_qubits) for op in operations) <= 3
    if form == "ancillas":
        assert circuit.counts().get("ccx", 0) == 2 * spare
    if form == "decomposed":
        assert len(operations) <= 10 * k**2


@pytest.mark.parametrize("form", FORMS)
def test_the_angle_may_be_a_parameter(form: str) -> None:
    circuit = multi_controlled_phase(6, range(4), parameter("turn") * 2, form=form, ancillas=(4, 5))
    bound = circuit.bind({"turn": 0.4})
    plain = multi_controlled_phase(6, range(4), 0.8)
    hadamards = Circuit(6)
    for qubit in range(4):
        hadamards = hadamards.append("h", qubit)
    np.testing.assert_allclose(from_zero(hadamards + bound), from_zero(hadamards + plain), atol=1e-12)
    by_simulator = state(hadamards + circuit, {"turn": jnp.float32(0.4)})
    np.testing.assert_allclose(by_simulator, from_zero(hadamards + plain), atol=2e-6)


@pytest.mark.parametrize("angle", [np.pi, 0.7])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_oracle_and_diffuser_are_reflections_by_an_angle(n: int, angle: float) -> None:
    turn = np.exp(1j * angle)
    diffuser = np.eye(2**n) - (1 - turn) * np.full((2**n, 2**n), 2.0**-n)
    np.testing.assert_allclose(unitary(diffuser_circuit(n, angle)), diffuser, atol=2e-6)
    oracle = np.ones(2**n, complex)
    oracle[[0, -1]] = turn
    np.testing.assert_allclose(unitary(oracle_circuit(n, [0, 2**n - 1], angle)), np.diag(oracle), atol=2e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: search_circuit(3, [1], form="ancilla"),
            "`form` must be one of the choices.*Did you mean 'ancillas'",
        ),
        (lambda: search_circuit(3, [8]), r"`marked` must hold indices in 0\.\.7"),
        (lambda: search_circuit(3, [1], -1), "`num_iterations` must be an integer of at least 0"),
        (lambda: search_circuit(2, [False] * 4), r"`num_marked` must be an integer in 1\.\.4, but got 0"),
        (lambda: multi_controlled_phase(3, (), 0.1), "`qubits` must hold at least one qubit"),
        (lambda: multi_controlled_phase(3, (0, 0), 0.1), "`qubits` must be distinct"),
        (lambda: multi_controlled_phase(3, (0, 1), 0.1, values=(1,)), "`values` must hold 0 or 1 for each of 2"),
        (
            lambda: multi_controlled_phase(5, (0, 1, 2, 3), 0.1, form="ancillas", ancillas=(4,)),
            "`ancillas` must hold at least 2 qubits for 4",
        ),
        (
            lambda: multi_controlled_phase(4, (0, 1, 2), 0.1, form="ancillas", ancillas=(2,)),
            "`qubits` must be distinct, and none of the ancillas",
        ),
    ],
)
def test_mistakes(call: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
