"""Random circuits: states against dense algebra and Qiskit Aer, gradients against central differences.

Each test has a sibling marked slow with about twenty times the circuits. The inputs are a batch throughout.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import dense_reference as dense
import jax
import numpy as np
import pytest
from random_circuits import (
    LONG,
    MAKE_GATE,
    Case,
    PlainGate,
    PlainRepeat,
    every_item,
    given_seeds,
    is_thorough,
    random_case,
    random_state,
    random_unitary,
    random_values,
    run_compiled,
)
from scipy.linalg import expm

from qjax.quantum import PauliString, PauliSum, compile_circuit, expectation, state
from qjax.quantum.compile.stages import Loop

BATCH = 2
STEP = 3e-5  # of central differences
ATOL = {np.float32: 1e-5, np.float64: 1e-12}


# The reference itself -------------------------------------------------------------------------------------------

QISKIT_NAMES = {"i": "id", "rc3x": "rcccx", "gphase": "global_phase"}


@pytest.mark.parametrize("name", dense.WIDTHS)
def test_reference_equals_qiskit(name: str) -> None:
    from qiskit import QuantumCircuit
    from qiskit.circuit import library
    from qiskit.quantum_info import Operator

    k = dense.WIDTHS[name]
    angles = (0.7, -0.4, 2.9, 1.3)[: dense.NUM_ANGLES[name]]
    if name in ("c3x", "c4x"):
        gate = library.C3XGate() if name == "c3x" else library.C4XGate()
    else:
        gate = library.get_standard_gate_name_mapping()[QISKIT_NAMES.get(name, name)].base_class(*angles)
    circuit = QuantumCircuit(k)
    circuit.append(gate, range(k)[::-1])  # Qiskit's first qubit is the least significant
    np.testing.assert_allclose(dense.matrix(name, angles), Operator(circuit).data, atol=1e-14)


@pytest.mark.parametrize("text", ["X", "Y", "Z", "ZX", "YIY", "XYZ"])
def test_reference_exponentials_equal_scipys(text: str) -> None:
    for t in (-7.1, 0.0, 0.4, 3.0):
        np.testing.assert_allclose(dense.exp_pauli(text, t), expm(-0.5j * t * dense.pauli(text)), atol=1e-14)
        both = dense.pauli(text) + np.diag(np.arange(2 ** len(text)))
        np.testing.assert_allclose(dense.exponential(both, t), expm(1j * t * both), atol=1e-12)


@pytest.mark.parametrize("num_controls", [0, 1, 2, 3])
def test_reference_on_slices_equals_kronecker_products(num_controls: int) -> None:
    rng = np.random.default_rng(num_controls)
    for k in range(3):
        places = tuple(int(q) for q in rng.permutation(6))
        values = tuple(int(v) for v in rng.integers(0, 2, num_controls))
        u, before = random_unitary(rng, 2**k), random_state(k, (64,))
        step = dense.Step("unitary", places[:k], (), places[k : k + num_controls], values, u)
        whole = dense.embed(dense.controlled(u, values), places[k : k + num_controls] + places[:k], 6)
        np.testing.assert_allclose(dense.apply(before, step), whole @ before, atol=1e-14)


def test_reference_of_gates_outside_the_table() -> None:
    moved = dense.matrix("permutation", (), [2, 0, 3, 1]) @ np.arange(4)
    np.testing.assert_array_equal(moved, [1, 3, 0, 2])  # amplitude i goes to place table[i]
    np.testing.assert_allclose(
        dense.matrix("diagonal", (), [0.3, -1.0]), [[np.exp(0.3j), 0], [0, np.exp(-1j)]], atol=1e-15
    )
    np.testing.assert_allclose(dense.matrix("pauli_rotation", (0.8,), "ZX"), dense.matrix("rzx", (0.8,)), atol=1e-15)


def test_random_circuits_cover_the_language() -> None:
    """Some hundred circuits have every gate, with and without controls, and every kind of Repeat."""
    cases = [random_case(seed) for seed in range(300)]
    assert {case.num_qubits for case in cases} == set(range(1, 9))
    items = [item for case in cases for item in every_item(case.items)]
    gates = [item for item in items if isinstance(item, PlainGate)]
    repeats = [item for item in items if isinstance(item, PlainRepeat)]
    names = set(dense.WIDTHS) | set(MAKE_GATE)
    assert {gate.name for gate in gates} == names
    assert {gate.name for gate in gates if gate.controls} == names - {"barrier"}
    assert {gate.control_values for gate in gates} >= {(0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1), (0, 1, 0)}
    assert max(len(gate.controls) for gate in gates) >= 6
    kinds = {(r.reverse, r.shared, r.reps == LONG) for r in repeats}
    assert kinds == {(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)}
    nested = [(r.shared, inner.shared) for r in repeats for inner in r.body if isinstance(inner, PlainRepeat)]
    assert set(nested) == {(a, b) for a in (False, True) for b in (False, True)}
    assert sum(case.num_inputs > 0 for case in cases) > 100
    stages = [stage for case in cases for stage in compile_circuit(case.circuit).stages]
    loops = [stage for stage in stages if isinstance(stage, Loop)]
    assert len(loops) > 50  # and not all written out
    assert sum(loop.reverse and bool(loop.names) for loop in loops) > 10


# States ---------------------------------------------------------------------------------------------------------


def reference_states(case: Case, params: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    rows = inputs if case.num_inputs else inputs[:1]
    states = np.stack([dense.run(case.num_qubits, case.reference_gates(params, row)) for row in rows])
    return np.broadcast_to(states, (len(inputs), states.shape[1]))


def one_dtype(seed: int) -> Any:
    """One of the two for each seed, as often for thorough ones as for others."""
    return (np.float32, np.float64)[seed // 10 % 2]


def check_states(seed: int, expected: Callable[..., np.ndarray], dtypes: Sequence[Any]) -> None:
    """The states of a batch against `expected` of (case, params, inputs), for each of the dtypes."""
    case = random_case(seed)
    params, inputs = random_values(case, seed, batch=BATCH, dtype=np.float64)
    wanted = expected(case, params, inputs)
    assert case.circuit.parameter_shapes == case.parameter_shapes
    assert case.circuit.num_inputs == case.num_inputs
    for real in dtypes:
        values = {name: value.astype(real) for name, value in params.items()}, inputs.astype(real)
        with jax.enable_x64(real is np.float64):
            as_users_do = is_thorough(seed) and real is one_dtype(seed)
            found = run_compiled(lambda p, x: state(case.circuit, p, x), *values, as_users_do=as_users_do)
        assert found.dtype == (np.complex128 if real is np.float64 else np.complex64)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=ATOL[real])


@given_seeds(20)
def test_states_against_dense_algebra(seed: int) -> None:
    check_states(seed, reference_states, [one_dtype(seed)])


@pytest.mark.slow
@given_seeds(600)
def test_states_of_600_circuits_against_dense_algebra(seed: int) -> None:
    check_states(seed, reference_states, (np.float32, np.float64))


@lru_cache(maxsize=1)
def aer() -> tuple[Any, Any]:
    """Aer's simulator, and what prepares circuits for it."""
    from qiskit.transpiler import generate_preset_pass_manager

    from qjax.export.aer import make_simulator

    simulator = make_simulator()
    return simulator, generate_preset_pass_manager(optimization_level=0, backend=simulator)


def aer_states(case: Case, params: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """Aer's states [batch, 2**n] in our order, with the global phase that Qiskit gives them."""
    from qjax.export.circuits import from_qiskit_state, to_qiskit

    simulator, prepare = aer()
    rows = inputs if case.num_inputs else inputs[:1]
    jobs = [prepare.run(to_qiskit(case.circuit.bind(params, row))) for row in rows]
    for job in jobs:
        job.save_statevector()
    result = simulator.run(jobs, shots=1).result()
    states = from_qiskit_state([np.asarray(result.data(k)["statevector"]) for k in range(len(jobs))])
    return np.broadcast_to(states, (len(inputs), states.shape[1]))


@given_seeds(6)
def test_states_against_qiskit_aer(seed: int) -> None:
    check_states(seed, aer_states, [one_dtype(seed)])


@pytest.mark.slow
@given_seeds(200)
def test_states_of_200_circuits_against_qiskit_aer(seed: int) -> None:
    check_states(seed, aer_states, [one_dtype(seed)])


# Gradients ------------------------------------------------------------------------------------------------------


def check_gradient(seed: int) -> None:
    """A weighted sum of expectations and its derivatives, against the dense algebra and its central differences."""
    case = random_case(seed, max_qubits=4, max_gates=10, max_steps=40)
    params, inputs = random_values(case, seed, batch=BATCH, dtype=np.float64)
    rng = np.random.default_rng(seed)
    strings = [PauliString("".join(rng.choice(list("IXYZ"), case.num_qubits))) for _ in range(4)]
    observables = [*strings[:2], PauliSum(((0.7, strings[2]), (-0.4, strings[3])))]
    weights = rng.uniform(-1, 1, (BATCH, 3))

    def loss(p: Any, x: Any) -> Any:
        return (expectation(case.circuit, p, x, observables) * weights).sum()

    first, second, *pair = (dense.pauli(string.paulis) for string in strings)
    totals = np.einsum("bo,oij->bij", weights, np.stack([first, second, 0.7 * pair[0] - 0.4 * pair[1]]))

    def dense_loss(p: Any, x: np.ndarray) -> float:
        states = reference_states(case, p, x)
        return float(np.einsum("bi,bij,bj->", states.conj(), totals, states).real)

    with jax.enable_x64(True):
        value_and_gradient = jax.value_and_grad(loss, argnums=(0, 1))
        value, found = run_compiled(value_and_gradient, params, inputs, as_users_do=is_thorough(seed))
    np.testing.assert_allclose(value, dense_loss(params, inputs), rtol=0, atol=1e-12)
    leaves, tree = jax.tree.flatten((params, inputs))
    for place, leaf in enumerate(leaves):
        numeric = np.zeros(leaf.shape)
        for index in np.ndindex(leaf.shape):

            def shifted(h: float, place: int = place, index: tuple[int, ...] = index) -> float:
                copies = [np.array(value) for value in leaves]
                copies[place][index] += h
                return dense_loss(*tree.unflatten(copies))

            slope = [(shifted(h) - shifted(-h)) / (2 * h) for h in (STEP, 2 * STEP)]
            numeric[index] = (4 * slope[0] - slope[1]) / 3  # Richardson: the error is of fourth order
        np.testing.assert_allclose(jax.tree.leaves(found)[place], numeric, rtol=0, atol=1e-7)


@given_seeds(4)
def test_gradients_against_central_differences(seed: int) -> None:
    check_gradient(seed)


@pytest.mark.slow
@given_seeds(100)
def test_gradients_of_100_circuits_against_central_differences(seed: int) -> None:
    check_gradient(seed)
