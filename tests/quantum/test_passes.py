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
    passes,
    real_amplitudes,
    state,
)
from qjax.quantum.adjoint import plan_of
from qjax.quantum.loop_step import run_back, run_saving
from qjax.quantum.passes import passes_of
from qjax.quantum.values import Values


@pytest.fixture(params=[(4, 5, 1), (4, 7, 3)], ids=str)
def small_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """States of a few qubits go in parts of a few numbers."""
    for name, bits in zip(("MIN_PASS_BITS", "PART_BITS", "MIN_LANE_BITS"), request.param, strict=True):
        monkeypatch.setattr(passes, name, bits)
    monkeypatch.setattr("qjax.quantum.choices.MIN_WIDE_QUBITS", 2)
    for cached in (passes_of, plan_of):
        cached.cache_clear()
    jax.clear_caches()
    yield
    for cached in (passes_of, plan_of):
        cached.cache_clear()
    jax.clear_caches()


def prepared(circuit: Circuit, seed: int = 0) -> tuple[Any, Any, Any]:
    """A plan, its first state and its tensors."""
    plan = plan_of(circuit, 0, frozenset(), 1)
    params = init_params(jax.random.key(seed), circuit)
    values = Values({name: x[..., None] for name, x in params.items()}, jnp.zeros((0, 1)), jnp.float32)
    return plan, plan.prepare(plan.start_tensors(values)), plan.tensors(values)


CIRCUITS = {
    "complex": lambda: (
        hardware_efficient(7, 1, ("rx", "ry", "rz")) + efficient_su2(7, 1, pattern="linear", name="more")
    ),
    "real": lambda: real_amplitudes(7, 2),
    "loop": lambda: hardware_efficient(6, 9),
}


@pytest.mark.parametrize("name", CIRCUITS)
@pytest.mark.parametrize("stored", [True, False])
def test_passes_are_the_steps_one_by_one(name: str, stored: bool, small_parts: None) -> None:
    plan, first, tensors = prepared(CIRCUITS[name]())
    bodies = [plan.steps, *(step.body for step in plan.steps if hasattr(step, "body"))]
    assert any(one.is_blocked for steps in bodies for one in passes_of(steps))

    def both_ways(first: Any, tensors: Any) -> Any:
        final, saved = run_saving(plan.steps, first, tensors)
        cotangent = jnp.cos(jnp.arange(final.size, dtype=final.dtype)).reshape(final.shape)
        return final, run_back(plan.steps, final, cotangent, tensors, saved if stored else None, False)[1:]

    found = jax.jit(both_ways)(first, tensors)
    final, pull = jax.vjp(lambda x, t: _one_by_one(plan.steps, x, t), first, tensors)
    cotangent = jnp.cos(jnp.arange(final.size, dtype=final.dtype)).reshape(final.shape)
    expected = (final, pull(cotangent))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), found, expected)


def _one_by_one(steps: Any, state: Any, tensors: Any) -> Any:
    for step, own in zip(steps, tensors, strict=True):
        for i in range(getattr(step, "reps", 1)):
            if hasattr(step, "body"):
                state = _one_by_one(step.body, state, jax.tree.map(lambda x, i=i: x[i], own) if step.sliced else own)
            else:
                state = step.apply(state, own)
    return state


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
        value = jax.jit(lambda p: expectation(circuit, p, None, (observable,), reverse_pass=reverse_pass)[0])
        gradient = jax.jit(jax.grad(value))
        along = jax.jit(lambda p: jax.jvp(gradient, (p,), (direction,))[1])

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
