"""Properties that random circuits keep when they are rewritten: no reference but the simulator itself."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from dense_reference import controlled
from random_circuits import QUICK, Case, PlainRepeat, given_seeds, random_case, random_state, random_values

from qjax.quantum import Circuit, Operation, Repeat, state, unitary

# Parameters, and inputs [num_inputs] or [batch, num_inputs].
Values = tuple[dict[str, np.ndarray], np.ndarray]


def small_circuit(seed: int, max_qubits: int = 5) -> tuple[Circuit, Values]:
    """A circuit that can be run more than once, its parameters and one example."""
    case = random_case(seed, max_qubits=max_qubits, max_gates=10, max_steps=40)
    return case.circuit, one_example(case, seed)


def one_example(case: Case, seed: int) -> Values:
    params, inputs = random_values(case, seed, batch=1, dtype=np.float64)
    return params, inputs[0]


def compiled(function: Callable[..., Any], circuit: Circuit) -> Callable[..., np.ndarray]:
    """function(circuit, ...) in float64, as a function of params, inputs and initial_state."""

    def call(params: Any, inputs: Any, **options: Any) -> Any:
        return function(circuit, params, inputs, **options)

    run = jax.jit(call, compiler_options=QUICK)

    def in_double(*args: Any, **options: Any) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(run(*args, **options))

    return in_double


def assert_close(found: np.ndarray, expected: np.ndarray, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


# Properties: each takes a seed. -----------------------------------------------------------------------------------


def check_circuit_then_inverse_is_the_identity(seed: int) -> None:
    circuit, values = small_circuit(seed)
    undone = circuit.inverse()
    both = circuit + undone if seed % 2 else undone + circuit
    before = random_state(seed, (2, 2**circuit.num_qubits))
    assert_close(compiled(state, both)(*values, initial_state=before), before)


def check_remap_commutes_with_permuting_the_state(seed: int) -> None:
    circuit, values = small_circuit(seed)
    n, rng = circuit.num_qubits, np.random.default_rng(seed)
    wide = n + int(rng.integers(3))
    places = tuple(int(q) for q in rng.permutation(wide)[:n])

    def spread(vector: np.ndarray) -> np.ndarray:
        """Qubit q of the state moved to places[q], every other qubit |0>."""
        cube = np.zeros((2,) * wide, complex)
        index = tuple(slice(None) if q in places else 0 for q in range(wide))
        cube[index] = vector.reshape((2,) * n).transpose(np.argsort(places))
        return cube.reshape(-1)

    moved, before = circuit.remap(places, wide), random_state(seed, (2**n,))
    wide_start, start = ({"initial_state": spread(before)}, {"initial_state": before}) if seed % 2 else ({}, {})
    found = compiled(state, moved)(*values, **wide_start)
    assert_close(found, spread(compiled(state, circuit)(*values, **start)))


def check_controlled_is_the_block_matrix(seed: int) -> None:
    circuit, values = small_circuit(seed, max_qubits=3)
    rng = np.random.default_rng(seed)
    bits = tuple(int(v) for v in rng.integers(0, 2, int(rng.integers(1, 4))))
    found = compiled(unitary, circuit.controlled(len(bits), bits))(*values)
    assert_close(found, controlled(compiled(unitary, circuit)(*values), bits))


def check_repeat_equals_its_expansion(seed: int) -> None:
    inner = random_case(seed, max_qubits=4, max_gates=4, max_steps=6)
    rng = np.random.default_rng(seed)
    reps, reverse, shared = int(rng.choice([1, 2, 3, 20])), bool(rng.integers(2)), bool(rng.integers(2))
    case = Case(inner.num_qubits, (PlainRepeat(inner.items, reps, reverse, shared),))
    expanded, values = case.circuit.expand(), one_example(case, seed)
    assert isinstance(case.circuit.operations[0], Repeat)
    assert all(isinstance(op, Operation) for op in expanded.operations)
    assert expanded.counts() == case.circuit.counts()
    cut = {name: values[0][name][tuple(map(slice, size))] for name, size in expanded.parameter_shapes.items()}
    assert_close(compiled(state, case.circuit)(*values), compiled(state, expanded)(cut, values[1]))


def check_json_round_trip_is_equal_and_hashes_alike(seed: int) -> None:
    for number in range(5 * seed, 5 * seed + 5):
        circuit = random_case(number).circuit
        again = Circuit.from_json(circuit.to_json())
        assert again == circuit
        assert hash(again) == hash(circuit)
        assert again.to_json() == circuit.to_json()


def check_power_is_the_power_of_the_matrix(seed: int) -> None:
    circuit, values = small_circuit(seed, max_qubits=3)
    matrix, exponent = compiled(unitary, circuit)(*values), (-2, -1, 2, 3)[seed % 4]
    found = compiled(unitary, circuit.power(exponent))(*values)
    assert_close(found, np.linalg.matrix_power(matrix, exponent))


def check_bound_circuit_has_the_same_state(seed: int) -> None:
    circuit, values = small_circuit(seed)
    bound = circuit.bind(*values)
    names = {name: f"new_{name}" for name in list(values[0])[::2]}
    renamed = {names.get(name, name): value for name, value in values[0].items()}
    assert circuit.rename(names).bind(renamed, values[1]) == bound
    assert_close(compiled(state, bound)(None, None), compiled(state, circuit)(*values))


def check_sum_is_one_after_the_other(seed: int) -> None:
    circuit, values = small_circuit(seed)
    bound = circuit.bind(*values)
    middle = len(bound.operations) // 2
    first, second = (
        Circuit(circuit.num_qubits, part) for part in (bound.operations[:middle], bound.operations[middle:])
    )
    between = compiled(state, first)(None, None)
    assert_close(compiled(state, second)(None, None, initial_state=between), compiled(state, circuit)(*values))


def check_first_column_of_the_unitary_is_the_state(seed: int) -> None:
    circuit, values = small_circuit(seed, max_qubits=4)
    matrix = compiled(unitary, circuit)(*values)
    assert_close(matrix[:, 0], compiled(state, circuit)(*values))
    assert_close(matrix @ matrix.conj().T, np.eye(len(matrix)))


def check_batch_equals_one_at_a_time(seed: int) -> None:
    case = random_case(seed, max_qubits=5, max_gates=10, max_steps=40)
    params, inputs = random_values(case, seed, batch=3, dtype=np.float64)
    before = random_state(seed, (3, 2**case.num_qubits))
    run = compiled(state, case.circuit)
    starts = [{"initial_state": row} for row in before] if seed % 2 else [{}] * 3
    alone = [run(params, row, **start) for row, start in zip(inputs, starts, strict=True)]
    assert_close(run(params, inputs, **({"initial_state": before} if seed % 2 else {})), np.stack(alone))


CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS)
@given_seeds(4)
def test_property(check: Callable[[int], None], seed: int) -> None:
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
@given_seeds(60)
def test_property_of_many_circuits(check: Callable[[int], None], seed: int) -> None:
    check(seed)
