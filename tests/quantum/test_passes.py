"""Passes: part by part in place, the same states, cotangents and gradients as step by step."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_state
from random_circuits import QUICK, random_case, random_values

from qjax.quantum import (
    Circuit,
    PauliString,
    PauliSum,
    efficient_su2,
    expectation,
    hardware_efficient,
    init_params,
    real_amplitudes,
    state,
)
from qjax.quantum.engines import choices
from qjax.quantum.engines.simulation import plan_of
from qjax.quantum.engines.xla import passes, plan, steps
from qjax.quantum.engines.xla.loop_step import run_back, run_saving
from qjax.quantum.engines.xla.passes import passes_of
from qjax.quantum.states.angle_values import Values

SIZES = [(4, 5, 1), (4, 7, 3)]


@pytest.fixture(params=SIZES, ids=str)
def small_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """States of a few qubits go in parts of a few numbers."""
    for name, bits in zip(("MIN_PASS_BITS", "PART_BITS", "MIN_LANE_BITS"), request.param, strict=True):
        for module in (choices, passes, plan):
            monkeypatch.setattr(module, name, bits, raising=False)
    for module in (passes, plan, steps):
        monkeypatch.setattr(module, "MAX_TABLE_QUBITS", 3)
    monkeypatch.setattr("qjax.quantum.engines.choices.MIN_WIDE_QUBITS", 2)
    for cached in (passes_of, plan_of):
        cached.cache_clear()
    jax.clear_caches()
    yield
    for cached in (passes_of, plan_of):
        cached.cache_clear()
    jax.clear_caches()


def prepared(circuit: Circuit, seed: int = 0) -> tuple[Any, Any, Any]:
    """A plan, its first state and its tensors."""
    made = plan_of(circuit, 0, frozenset(), 1)
    params = init_params(jax.random.key(seed), circuit)
    values = Values({name: x[..., None] for name, x in params.items()}, jnp.zeros((0, 1)), jnp.float32)
    return made, made.prepare(made.start_tensors(values)), made.tensors(values)


def with_flips(n: int) -> Circuit:
    """Gates under conditions on bits before, in and after those of a pass."""
    circuit = hardware_efficient(n, 1, ("rx", "rz"))
    circuit = circuit.append("x", n - 1, controls=(0, 2), control_values=(0, 1)).append("ccx", (n - 1, 3, 0))
    circuit = circuit.append("cz", (0, n - 1)).append("z", 2, controls=(n - 1, 1), control_values=(1, 0))
    return circuit + hardware_efficient(n, 1, ("rx", "rz"), name="more")


CIRCUITS = {
    "complex": lambda: (
        hardware_efficient(7, 1, ("rx", "ry", "rz")) + efficient_su2(7, 1, pattern="linear", name="more")
    ),
    "real": lambda: real_amplitudes(7, 2),
    "loop": lambda: hardware_efficient(6, 9),
    "loop of complex states": lambda: hardware_efficient(7, 9, ("ry", "rz")),
    "loop of signs": lambda: hardware_efficient(7, 9, ("rx",), entangler="cz"),
    "loop after others": lambda: (
        hardware_efficient(7, 1, ("ry", "rz")) + hardware_efficient(7, 9, ("rx",), name="more")
    ),
    "flips under conditions": lambda: with_flips(7),
}


@pytest.mark.parametrize(
    ("small_parts", "stored"), [(SIZES[0], True), (SIZES[1], False)], indirect=["small_parts"], ids=str
)
@pytest.mark.parametrize("name", CIRCUITS)
def test_passes_are_the_steps_one_by_one(name: str, stored: bool, small_parts: None) -> None:
    made, first, tensors = prepared(CIRCUITS[name]())
    bodies = [made.steps, *(step.body for step in made.steps if hasattr(step, "body"))]
    assert any(one.is_blocked for own in bodies for one in passes_of(own))

    def both_ways(first: Any, tensors: Any) -> Any:
        final, saved = run_saving(made.steps, first, tensors)
        cotangent = jnp.cos(jnp.arange(final.size, dtype=final.dtype)).reshape(final.shape)
        return final, run_back(made.steps, final, cotangent, tensors, saved if stored else None, False)[1:]

    def by_autodiff(first: Any, tensors: Any) -> Any:
        final, pull = jax.vjp(lambda x, t: _one_by_one(made.steps, x, t), first, tensors)
        cotangent = jnp.cos(jnp.arange(final.size, dtype=final.dtype)).reshape(final.shape)
        return final, pull(cotangent)

    found = jax.jit(both_ways, compiler_options=QUICK)(first, tensors)
    expected = jax.jit(by_autodiff, compiler_options=QUICK)(first, tensors)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), found, expected)


def _one_by_one(sequence: Any, current: Any, tensors: Any) -> Any:
    for step, own in zip(sequence, tensors, strict=True):
        for i in range(getattr(step, "reps", 1)):
            if hasattr(step, "body"):
                mine = jax.tree.map(lambda x, i=i: x[i], own) if step.sliced else own
                current = _one_by_one(step.body, current, mine)
            else:
                current = step.apply(current, own)
    return current


@pytest.mark.parametrize("small_parts", SIZES[:1], indirect=True, ids=str)
@pytest.mark.parametrize("name", CIRCUITS)
def test_whole_circuits_in_parts(name: str, small_parts: None) -> None:
    circuit = CIRCUITS[name]()
    with jax.enable_x64(True):
        params = {k: np.asarray(v, np.float64) for k, v in init_params(jax.random.key(1), circuit).items()}
        found = jax.jit(lambda p: state(circuit, p))(params)
        np.testing.assert_allclose(found, dense_state(circuit, params), atol=1e-10)


def test_a_layer_with_a_ring_is_one_pass_over_first_and_one_over_last_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (passes, plan):
        monkeypatch.setattr(module, "PART_BITS", 16)
    passes_of.cache_clear()
    plan_of.cache_clear()
    made = plan_of(hardware_efficient(20, 4, ("ry", "rz")), 0, frozenset(), 1, True)
    (loop,) = (step for step in made.steps if hasattr(step, "body"))
    assert [one.is_blocked for one in passes_of(loop.body)] == [True, True]
    assert [op.all_qubits for op in made.dropped] == [(19, 0)]


@pytest.mark.parametrize("seed", [1, 5, 17])
def test_random_circuits_in_parts(seed: int, small_parts: None) -> None:
    case = random_case(seed, max_qubits=6, max_gates=14, max_steps=40)
    with jax.enable_x64(True):
        params, inputs = random_values(case, seed, batch=2, dtype=np.float64)
        found = jax.jit(lambda p, x: state(case.circuit, p, x), compiler_options=QUICK)(params, inputs[0])
        np.testing.assert_allclose(found, dense_state(case.circuit, params, inputs[0]), atol=1e-10)


@pytest.mark.parametrize("reverse_pass", ["store", "recompute", "rerun"])
def test_gradient_and_hessian_are_those_of_finite_differences(reverse_pass: str, small_parts: None) -> None:
    circuit = hardware_efficient(4, 1, ("ry", "rz")) + efficient_su2(4, 1, pattern="linear", name="more")
    observable = PauliSum(((1.0, PauliString("ZZII")), (0.5, PauliString("XIXI"))))
    params = {k: np.asarray(v, np.float64) for k, v in init_params(jax.random.key(3), circuit).items()}
    direction = {k: np.cos(np.arange(v.size)).reshape(v.shape) for k, v in params.items()}
    with jax.enable_x64(True):

        def loss(p: Any) -> Any:
            return expectation(circuit, p, None, (observable,), reverse_pass=reverse_pass)[0]

        value, gradient = (jax.jit(f, compiler_options=QUICK) for f in (loss, jax.grad(loss)))
        along = jax.jit(lambda p: jax.jvp(jax.grad(loss), (p,), (direction,))[1], compiler_options=QUICK)

        def moved(step: float) -> Any:
            return {k: v + step * direction[k] for k, v in params.items()}

        slope = sum(float((g * direction[k]).sum()) for k, g in gradient(params).items())
        np.testing.assert_allclose(slope, (value(moved(1e-5)) - value(moved(-1e-5))) / 2e-5, atol=1e-8)
        for k, curve in along(params).items():
            difference = (gradient(moved(1e-5))[k] - gradient(moved(-1e-5))[k]) / 2e-5
            np.testing.assert_allclose(curve, difference, atol=1e-7)


def test_a_gradient_for_each_example_goes_step_by_step(small_parts: None) -> None:
    circuit = hardware_efficient(4, 2)
    rows = jnp.stack([init_params(jax.random.key(i), circuit)["ansatz"] for i in range(3)])
    z = (PauliString("ZIIZ"),)
    gradient = jax.grad(lambda w: expectation(circuit, {"ansatz": w}, None, z)[0])
    expected = np.stack([gradient(row) for row in rows])
    np.testing.assert_allclose(jax.vmap(gradient)(rows), expected, atol=1e-5)
