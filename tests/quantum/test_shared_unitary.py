"""What all examples share as one matrix: the same values and derivatives as one example at a time, which has none."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_state
from random_circuits import QUICK

from qjax.quantum import (
    Circuit,
    Repeat,
    angle_encoding,
    expectation,
    explain,
    hardware_efficient,
    input_angle,
    parameter,
    state,
    z_observables,
)
from qjax.quantum.engines.choices import MAX_JOINED_QUBITS, one_matrix_pays
from qjax.quantum.engines.simulation import plan_of
from qjax.quantum.engines.xla.costs import peak_bytes, unitaries_of

LONG = 20  # repetitions that are not written out


def layers(n: int, reps: int, name: str) -> Circuit:
    return hardware_efficient(n, reps, rotations=("rx", "rz"), entangler="cx").rename({"ansatz": name})


def plain(n: int) -> Circuit:
    return angle_encoding(n, axis="ry") + layers(n, 4, "a")


def hadamards_first(n: int) -> Circuit:
    circuit = Circuit(n)
    for q in range(n):
        circuit = circuit.append("h", q).append("rz", q, input_angle(q)).append("ry", q, parameter("first", q))
    return circuit + layers(n, 4, "a")


def loaded_again(n: int) -> Circuit:
    return layers(n, 4, "a") + angle_encoding(n, axis="rx") + layers(n, 4, "b") + angle_encoding(n, axis="rz")


def shared_loop(n: int) -> Circuit:
    return angle_encoding(n) + Circuit(n, (Repeat(layers(n, 1, "a"), LONG, reverse=True),)) + layers(n, 4, "b")


def batched_loop(n: int) -> Circuit:
    return Circuit(n, (Repeat(angle_encoding(n) + layers(n, 4, "a"), LONG),))


def real_gates(n: int) -> Circuit:
    return angle_encoding(n, axis="ry") + hardware_efficient(n, 4, rotations=("ry",)).rename({"ansatz": "a"})


CIRCUITS = {f.__name__: f for f in (plain, hadamards_first, loaded_again, shared_loop, batched_loop, real_gates)}


def case(name: str, n: int, batch: int) -> tuple[Circuit, dict[str, Any], Any]:
    circuit, rng = CIRCUITS[name](n), np.random.default_rng(n)
    params = {key: rng.normal(size=shape) for key, shape in circuit.parameter_shapes.items()}
    assert unitaries_of(plan_of(circuit, 0, frozenset({"inputs"}), batch).sources)
    return circuit, params, rng.normal(size=(batch, n))


@pytest.mark.parametrize("name", CIRCUITS)
@pytest.mark.parametrize("n", [3])
def test_states_are_those_of_dense_algebra(name: str, n: int) -> None:
    with jax.enable_x64(True):
        circuit, params, inputs = case(name, n, 64)
        found = jax.jit(lambda p, x: state(circuit, p, x), compiler_options=QUICK)(params, inputs)
    for row, amplitudes in zip(inputs[:3], found, strict=False):
        np.testing.assert_allclose(amplitudes, dense_state(circuit, params, row), atol=1e-10)


@pytest.mark.parametrize("name", CIRCUITS)
def test_derivatives_are_those_of_one_example_at_a_time(name: str) -> None:
    n, batch = 2, 24
    with jax.enable_x64(True):
        circuit, params, inputs = case(name, n, batch)
        weights = np.random.default_rng(0).normal(size=(batch, n))

        def loss(p: Any, x: Any, w: Any) -> Any:
            return (w * expectation(circuit, p, x, z_observables(n))).sum()

        pair = jax.jit(jax.grad(loss, (0, 1)), compiler_options=QUICK)(params, inputs, weights)
        one = jax.jit(jax.grad(loss, (0, 1)), compiler_options=QUICK)
        rows = [one(params, x, w) for x, w in zip(inputs, weights, strict=True)]
        for key in params:
            np.testing.assert_allclose(pair[0][key], sum(row[0][key] for row in rows), atol=1e-10)
        np.testing.assert_allclose(pair[1], [row[1] for row in rows], atol=1e-10)


@pytest.mark.parametrize("reverse_pass", ["store", "recompute", "rerun"])
def test_every_way_back(reverse_pass: str) -> None:
    n, batch = 2, 24
    with jax.enable_x64(True):
        circuit, params, inputs = case("loaded_again", n, batch)

        def loss(a: Any, x: Any, way: str) -> Any:
            p = {**params, "a": a}
            return (expectation(circuit, p, x, z_observables(n), reverse_pass=way) ** 2).sum()

        gradient = jax.jit(jax.grad(loss), static_argnums=2, compiler_options=QUICK)
        one = sum(gradient(params["a"], x, "auto") for x in inputs)
        np.testing.assert_allclose(gradient(params["a"], inputs, reverse_pass), one, atol=1e-10)


def test_every_transformation_composes() -> None:
    n, batch = 2, 16
    with jax.enable_x64(True):
        circuit, params, inputs = case("plain", n, batch)
        flat = params["a"]

        def loss(a: Any, x: Any) -> Any:
            return (expectation(circuit, {"a": a}, x, z_observables(n)) ** 2).sum()

        rows = [jax.grad(loss)(flat, x) for x in inputs]
        np.testing.assert_allclose(jax.vmap(jax.grad(loss), (None, 0))(flat, inputs), rows, atol=1e-10)
        mapped = jax.grad(lambda a: jax.vmap(lambda x: loss(a, x))(inputs).sum())(flat)
        np.testing.assert_allclose(mapped, sum(rows), atol=1e-10)
        members = jnp.stack([flat, 0.5 * flat])
        several = jax.vmap(jax.grad(loss), (0, None))(members, inputs)
        np.testing.assert_allclose(several[1], jax.grad(loss)(0.5 * flat, inputs), atol=1e-10)
        along = np.random.default_rng(1).normal(size=flat.shape)
        forward = jax.jvp(jax.grad(lambda a: loss(a, inputs)), (flat,), (along,))[1]
        step = 1e-5
        ends = [jax.grad(loss)(flat + sign * step * along, inputs) for sign in (1, -1)]
        np.testing.assert_allclose(forward, (ends[0] - ends[1]) / (2 * step), atol=1e-6)


def test_a_batch_of_first_states() -> None:
    n, batch = 3, 32
    circuit, rng = layers(n, 4, "a"), np.random.default_rng(0)
    assert unitaries_of(plan_of(circuit, 2, frozenset(), batch).sources)
    params = {"a": rng.normal(size=(4, n, 2)).astype(np.float32)}
    first = rng.normal(size=(batch, 2**n)) + 1j * rng.normal(size=(batch, 2**n))
    first = (first / np.linalg.norm(first, axis=1, keepdims=True)).astype(np.complex64)
    found = state(circuit, params, initial_state=first)
    np.testing.assert_allclose(found, [state(circuit, params, initial_state=row) for row in first], atol=1e-6)


def test_one_matrix_only_where_it_costs_less() -> None:
    assert one_matrix_pays(4, 512, 8)
    assert not one_matrix_pays(4, 512, 2)  # a matrix and a permutation are as cheap
    assert not one_matrix_pays(4, 512, 5)  # a layer or two between inputs that are loaded again
    assert not one_matrix_pays(4, 16, 100)  # as many basis states as examples
    assert not one_matrix_pays(8, 512, 12)
    assert one_matrix_pays(8, 512, 40)
    assert not one_matrix_pays(MAX_JOINED_QUBITS + 1, 10**6, 10**6)


def test_it_is_explained_and_its_memory_counted() -> None:
    circuit = plain(4)
    found = explain(circuit, batch=256, observables=z_observables(4))
    assert "one matrix on all qubits: 48 gates" in str(found)
    matrix = next(step for step in found.steps if step.matrix == (32, 16))  # the first state is real
    assert matrix.forward.flops > 2 * 32 * 16 * 256  # applying it, and building it
    assert peak_bytes(circuit, 256, "float32", True) > peak_bytes(angle_encoding(4), 256, "float32", True)
