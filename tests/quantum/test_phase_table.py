"""Phases as one matrix, rotations turned to phases, and their cosines and sines, against dense algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qjax import quantum
from qjax.quantum import Circuit, angle_encoding, input_angle, operation, parameter
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.compiler import Blocks, compile_circuit
from qjax.quantum.compile.stages import Phase
from qjax.quantum.engines.xla.phase_table import MAX_PHASE_TABLE_QUBITS, phase_table
from qjax.quantum.engines.xla.plan import make_plan
from qjax.quantum.engines.xla.steps import PhaseStep
from qjax.quantum.engines.xla.trigonometry import cos_sin
from qjax.quantum.engines.xla.turned import turn_rotations

X, W = input_angle(0), parameter("w", 1)
DIAGONALS = [
    operation("rz", 1, 2 * X + 0.5),
    operation("rzz", (2, 0), X * W - 1.5 * X),
    operation("t", 0),
    operation("cp", (0, 2), W),
    operation("cz", (1, 2)),
    Operation(quantum.gate("rz"), (2,), (W + X + 0.25,), (1,), (0,)),
]


@pytest.mark.parametrize("count", range(1, len(DIAGONALS) + 1))
def test_table_gives_the_diagonal_of_the_operations(count: int) -> None:
    x, w = 0.7, -1.3
    operations = DIAGONALS[:count]
    table = phase_table(operations, 3)
    assert table is not None
    values = [angle.evaluate(lambda ref: x if ref == X.references[0] else w) for angle in table.angles]
    assert len(set(table.angles)) == len(table.angles)
    phases = table.constant + table.weights @ np.array(values).reshape(-1)
    with jax.enable_x64(True):
        params = {"w": jnp.array([0.0, w])} if any("w" in repr(op) for op in operations) else None
        inputs = jnp.array([x]) if any("x[" in repr(op) for op in operations) else None
        expected = np.diag(np.asarray(quantum.unitary(Circuit(3, tuple(operations)), params, inputs)))
    np.testing.assert_allclose(np.exp(1j * phases), expected, atol=1e-12)


def test_multiples_of_one_input_share_a_column_and_large_tables_are_not_made() -> None:
    edges = [(i, j) for i in range(5) for j in range(i)]
    operations = [operation("rzz", edge, (1.0 + k) * X) for k, edge in enumerate(edges)]
    table = phase_table(operations, 5)
    assert table is not None
    assert table.weights.shape == (32, 1)
    assert phase_table(operations, MAX_PHASE_TABLE_QUBITS + 1) is None
    many = [operation("rz", q % 12, input_angle(q)) for q in range(300)]
    assert phase_table(many, 12) is None


# Rotations as phases. -----------------------------------------------------------------------------------------------


def reloaded(n: int, seed: int, layers: int = 2) -> Circuit:
    """Inputs loaded by RX and RY into qubits that gates have touched."""
    rng = np.random.default_rng(seed)
    circuit = Circuit(n).append("h", 0)
    for layer in range(layers):
        for q in range(n):
            circuit = circuit.append(str(rng.choice(["rx", "ry"])), q, 1.5 * input_angle(q))
            circuit = circuit.append("u", q, *(parameter("w", layer, q, k) for k in range(3)))
        for q in range(n - 1):
            circuit = circuit.append("cx", (q, q + 1))
    return circuit


@given(n=st.integers(3, 5), seed=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_turned_rotations_are_the_same_unitary(n: int, seed: int) -> None:
    circuit = reloaded(n, seed, layers=1)
    turned = turn_rotations(circuit.operations, lambda op: "x[" in repr(op))
    assert not any(op.gate.name in ("rx", "ry") for op in turned)
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        params = {"w": jnp.asarray(rng.uniform(-3, 3, (1, n, 3)))}
        x = jnp.asarray(rng.uniform(-3, 3, n))
        expected, found = (quantum.unitary(c, params, x) for c in (circuit, Circuit(n, tuple(turned))))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_few_rotations_and_real_circuits_stay_as_they_are() -> None:
    few = [operation("h", 0), operation("rx", 0, X), operation("rx", 1, X), operation("cx", (0, 1))]
    assert turn_rotations(few, lambda op: "x[" in repr(op)) == few
    real = [operation("ry", q, X) for q in range(4)]
    assert turn_rotations(real, lambda op: True) == real
    shared = [operation("rx", q, W) for q in range(4)]
    assert turn_rotations(shared, lambda op: False) == shared


@pytest.mark.parametrize("n", [4, 6])
def test_a_layer_of_inputs_is_one_phase(n: int) -> None:
    program = compile_circuit(reloaded(n, 0), True, Blocks(3, frozenset({"inputs"}), num_all=n))
    phases = [stage for stage in program.stages if isinstance(stage, Phase)]
    assert [len(stage.operations) for stage in phases] == [n]  # the first layer is on fresh qubits
    steps = [step for step in make_plan(program).steps if isinstance(step, PhaseStep)]
    assert all(step.table is not None for step in steps)


@pytest.mark.parametrize("n", [3, 5])
def test_values_and_gradients_of_reloaded_inputs(n: int) -> None:
    circuit = reloaded(n, 1) + angle_encoding(n, axis="rx")
    rng = np.random.default_rng(n)
    observables = quantum.z_observables(n)
    with jax.enable_x64(True):
        params = {"w": jnp.asarray(rng.uniform(-3, 3, (2, n, 3)))}
        x = jnp.asarray(rng.uniform(-3, 3, (4, n)))

        def loss(params: object, x: object) -> jax.Array:
            return jnp.sin(quantum.expectation(circuit, params, x, observables)).sum()  # type: ignore[arg-type]

        one_by_one = sum(loss(params, row) for row in x)
        np.testing.assert_allclose(loss(params, x), one_by_one, atol=1e-12)
        gradient = jax.grad(loss, argnums=(0, 1))(params, x)
        alone = [jax.grad(loss, argnums=(0, 1))(params, row) for row in x]
    np.testing.assert_allclose(gradient[0]["w"], sum(np.asarray(g[0]["w"]) for g in alone), atol=1e-12)
    np.testing.assert_allclose(gradient[1], [np.asarray(g[1]) for g in alone], atol=1e-12)


# Cosine and sine. ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [1, 30])
def test_cos_sin(turns: int) -> None:
    quarters = np.arange(-4 * turns, 4 * turns + 1) * (np.pi / 2)
    phases = np.concatenate([quarters, np.random.default_rng(0).uniform(-turns, turns, 10_000) * 2 * np.pi])
    rounded = phases.astype(np.float32)
    cosine, sine = jax.jit(cos_sin)(rounded)
    np.testing.assert_allclose(cosine, np.cos(rounded.astype(np.float64)), atol=2e-7)
    np.testing.assert_allclose(sine, np.sin(rounded.astype(np.float64)), atol=2e-7)
    with jax.enable_x64(True):
        cosine, sine = cos_sin(jnp.asarray(phases))
        np.testing.assert_allclose(cosine, np.cos(phases), atol=1e-15)
        np.testing.assert_allclose(sine, np.sin(phases), atol=1e-15)


def test_slopes_of_cos_sin() -> None:
    phases = jnp.linspace(-7.0, 7.0, 101)
    ones = jnp.ones_like(phases)
    _, (of_cosine, of_sine) = jax.jvp(cos_sin, (phases,), (ones,))
    np.testing.assert_allclose(of_cosine, -np.sin(phases), atol=1e-6)
    np.testing.assert_allclose(of_sine, np.cos(phases), atol=1e-6)
    second = jax.vmap(jax.grad(jax.grad(lambda x: cos_sin(x)[0])))(phases)
    np.testing.assert_allclose(second, -np.cos(phases), atol=1e-6)
