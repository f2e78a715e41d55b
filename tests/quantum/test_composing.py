"""Gates that all examples share, which the native code makes from their angles: against NumPy in float64."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_state
from by_engine import by
from random_circuits import run_compiled

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
from qjax.quantum.engines.native.table.entries import table_of
from qjax.types import Array

INPUTS = frozenset({"inputs"})
ROUNDED = 2.0**-24  # half the distance from 1 to the next float32


def gates_of(n: int) -> dict[str, Circuit]:
    """Circuits whose gates are products of one factor or several, with and without gates of no angle between."""
    w = [parameter("w", k) for k in range(4)]
    begun = Circuit(n)
    for q in range(n):
        begun = begun.append("h", q).append("t", q)
    begun = begun.append("cx", (0, 1)).append("cx", (1, 2))
    return {
        "one factor": begun.append("rx", 0, w[0]).append("ry", 2, w[1]),
        "several": begun.append("rx", 0, w[0])
        .append("s", 0)
        .append("ry", 0, w[1])
        .append("rz", 0, w[2])
        .append("h", 0),
        "in the first state": Circuit(n).append("rx", 0, w[0]).append("ry", 0, w[1]).append("rx", 1, w[2]),
        "u": begun.append("u", 0, *w[:3]).append("u", 1, w[3], 0.2, w[0]),
        "two qubits": begun.append("rxx", (0, 2), w[0]).append("crx", (2, 1), w[1]).append("ryy", (1, 0), w[1]),
        "diagonal": begun.append("rzz", (0, 2), w[0]).append("cp", (0, 1), w[1]).append("rz", 1, w[2]).append("h", 1),
        "under controls": begun.append("ry", 0, w[0], controls=(1, 2)).append("rx", 2, w[1], controls=0),
        "no angle": begun.append("sx", 0).append("h", 2, controls=1),
        "angles in common": begun.append("rx", 0, 2 * w[0] - 0.3).append("ry", 1, w[0] * w[1]).append("rx", 2, w[0]),
        "two angles each": begun.append("r", 0, w[0], w[1]).append("ry", 1, w[2]),
    }


def values_of(circuit: Circuit, seed: int = 0, dtype: Any = np.float32) -> dict[str, Array]:
    """Angles that float32 has exactly, whatever the dtype."""
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(rng.normal(scale=3, size=shape).astype(np.float32), dtype)
        for name, shape in circuit.parameter_shapes.items()
    }


def dense_gradient(value: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Central differences in float64 with Richardson's correction."""
    found = np.zeros(at.size)
    for k in range(at.size):
        moved = np.zeros(at.size)
        moved[k] = step
        ends = [value(at + (t * moved).reshape(at.shape)) for t in (1, -1, 2, -2)]
        found[k] = (8 * (ends[0] - ends[1]) - (ends[2] - ends[3])) / (12 * step)
    return found.reshape(at.shape)


def weighted(probabilities: np.ndarray, n: int) -> float:
    """The sum over qubits q of (q + 1) <Z_q>."""
    bits = (np.arange(2**n)[:, None] >> np.arange(n)[::-1]) & 1
    return float(probabilities @ ((1 - 2 * bits) @ np.arange(1, n + 1)))


def loss(circuit: Circuit, params: Any, inputs: Any = None, engine: str = "auto") -> Any:
    """The same of a circuit, for each row of inputs where there are some; other than 'auto' is XLA's own code."""
    values = by(engine, expectation, circuit, params, inputs, z_observables(circuit.num_qubits))
    return values @ jnp.arange(1, circuit.num_qubits + 1, dtype=values.dtype)


def composed(circuit: Circuit) -> list[bool]:
    """Whether the native code makes them, of all gates that examples share."""
    items = [item for item, _ in table_of(circuit, INPUTS).level.gates()]
    return [item.is_constant or bool(item.factors) for item in items if item.form and not item.per_example]


@pytest.mark.parametrize("name", gates_of(3))
def test_which_gates_the_native_code_makes(name: str) -> None:
    assert all(composed(gates_of(3)[name]))


def test_those_of_a_gpu_are_made_by_jax() -> None:
    found = table_of(gates_of(3)["several"], INPUTS, composes=False)
    assert found.counts.composed == len(found.operands.recipes) == 0


def check_gradient(circuit: Circuit, slopes: Any, params: Any, inputs: Any, atol: float) -> None:
    """Compares with differences of the mean of the loss over rows of inputs."""
    known = {key: np.asarray(value, np.float64) for key, value in params.items()}
    n = circuit.num_qubits

    def value(name: str, at: np.ndarray) -> float:
        states = [dense_state(circuit, known | {name: at}, row) for row in np.asarray(inputs, np.float64)]
        return float(np.mean([weighted(np.abs(psi) ** 2, n) for psi in states]))

    for key, at in known.items():
        wanted = dense_gradient(lambda v, key=key: value(key, v), at)
        np.testing.assert_allclose(slopes[key], wanted, atol=atol, rtol=0)


@pytest.mark.parametrize("name", gates_of(3))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_single_states_and_gradients_are_rounded_once(name: str, dtype: Any) -> None:
    circuit = gates_of(3)[name]
    with jax.enable_x64(dtype == np.float64):
        params = values_of(circuit, dtype=dtype)
        found = run_compiled(lambda p: state(circuit, p), params)
        slopes = run_compiled(jax.grad(lambda p: loss(circuit, p)), params)
    # Gates that JAX makes in float32 have errors of a few roundings; so has an angle that JAX adds up.
    plain = name not in ("two angles each", "angles in common")
    unit = 1e-12 if dtype == np.float64 else ROUNDED if plain else 16 * ROUNDED
    wanted = dense_state(circuit, {k: np.asarray(v, np.float64) for k, v in params.items()}, np.zeros(0))
    np.testing.assert_allclose(found, wanted, atol=unit, rtol=0)
    check_gradient(circuit, slopes, params, np.zeros((1, 0)), max(8 * unit, 1e-10))


@pytest.mark.parametrize(
    ("batch", "shared"),
    [
        (8, True),
        pytest.param(8, False, marks=pytest.mark.slow),
        (9, False),
        pytest.param(17, True, marks=pytest.mark.slow),
    ],
)
def test_loops_have_gates_for_each_slice(batch: int, shared: bool) -> None:
    """Up to 8 examples go through in float64, more in float32, whose rounding then is what counts."""
    body = Circuit(3).append("rx", 0, parameter("w", 0)).append("rz", 0, parameter("v")).append("h", 1)
    body = body.append("ry", 1, parameter("w", 1)).append("cx", (0, 1)).append("cx", (1, 2))
    circuit = angle_encoding(3, axis="ry") + Circuit(3, (Repeat(body, 3, shared=shared),))
    params = values_of(circuit)
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(batch, 3)).astype(np.float32))
    assert all(composed(circuit))
    found = run_compiled(lambda p, x: state(circuit, p, x), params, inputs)
    known = {key: np.asarray(value, np.float64) for key, value in params.items()}
    wanted = [dense_state(circuit, known, np.asarray(row, np.float64)) for row in inputs]
    np.testing.assert_allclose(found, wanted, atol=(1 if batch == 8 else 12) * ROUNDED, rtol=0)
    slopes = run_compiled(jax.grad(lambda p, x: loss(circuit, p, x).mean()), params, inputs)
    check_gradient(circuit, slopes, params, inputs, 8 * ROUNDED if batch == 8 else 40 * ROUNDED)


def test_explain_says_what_is_computed_in_float64() -> None:
    circuit = gates_of(3)["several"] + angle_encoding(3)
    assert "complex float64 amplitudes; 8 examples at a time" in explain(circuit, batch=8).stages[0]
    assert "complex amplitudes; 16 examples at a time" in explain(circuit, batch=9).stages[0]


def test_more_gates_than_a_vector_has_numbers() -> None:
    """11 gates of one kind: the last vector of them is not full."""
    circuit = Circuit(4)
    for k in range(11):
        q = k % 4
        circuit = circuit.append("rx", q, parameter("w", k)).append("rz", q, parameter("v", k))
        circuit = circuit.append("cx", (q, (q + 1) % 4)).append("ry", (q + 2) % 4, 0.4)
    params = values_of(circuit)
    slopes = run_compiled(jax.grad(lambda p: loss(circuit, p)), params)
    check_gradient(circuit, slopes, params, np.zeros((1, 0)), 8 * ROUNDED)


def test_errors_of_deep_circuits_do_not_add_up() -> None:
    """With matrices rounded to float32 this is off by 1e-6, with states in float32 by as much again."""
    layer = hardware_efficient(4, 1, rotations=("ry", "rz"), entangler="cx")
    circuit = Circuit(4, (Repeat(layer, 300),))
    params = values_of(circuit)
    found = run_compiled(lambda p: loss(circuit, p), params)
    slopes = run_compiled(jax.grad(lambda p: loss(circuit, p)), params)
    with jax.enable_x64(True):
        exact = values_of(circuit, dtype=np.float64)
        wanted, of_weights = run_compiled(jax.value_and_grad(lambda p: loss(circuit, p, engine="XLA")), exact)
    np.testing.assert_allclose(found, wanted, atol=10 * ROUNDED, rtol=0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=10 * ROUNDED, rtol=0), slopes, of_weights)


def test_constants_of_gates_have_no_error_that_adds_up() -> None:
    """The norm of a state is as much off as its gates are from unitary ones, 6e-17 each if pi is taken for exact."""
    count = 2000
    circuit = Circuit(2, (Repeat(Circuit(2).append("ry", 0, parameter("w")).append("cx", (0, 1)), count),))
    with jax.enable_x64(True):
        params = values_of(circuit, dtype=np.float64)
        norm = jnp.linalg.norm(run_compiled(lambda p: state(circuit, p), params))
    np.testing.assert_allclose(norm, 1.0, atol=2e-14, rtol=0)


def test_transformations_compose() -> None:
    circuit = gates_of(3)["several"].append("ry", 1, parameter("v"))
    params, other = (values_of(circuit, seed) for seed in (0, 1))
    stacked = jax.tree.map(lambda *x: jnp.stack(x), params, other)
    transforms: dict[str, tuple[Callable[..., Any], Any]] = {
        "grad": (jax.grad, params),
        "hessian": (jax.hessian, params),
        "grad of jit": (lambda f: jax.grad(jax.jit(f)), params),
        "vmap of grad": (lambda f: jax.vmap(jax.grad(f)), stacked),
        "jvp": (lambda f: lambda p: jax.jvp(f, (p,), (other,)), params),
    }
    for name, (transform, at) in transforms.items():
        found, wanted = (
            run_compiled(transform(lambda p, way=way: loss(circuit, p, engine=way)), at) for way in ("auto", "XLA")
        )
        jax.tree.map(lambda a, b, n=name: np.testing.assert_allclose(a, b, atol=3e-5, err_msg=n), found, wanted)


def test_an_input_that_is_shared_is_no_slice() -> None:
    """Inputs of one example are angles that all examples share."""
    circuit = angle_encoding(3, axis="rx").append("cx", (0, 1)).append("ry", 1, input_angle(2))
    row = np.array([0.3, -1.7, 2.2], np.float32)
    found = run_compiled(lambda x: state(circuit, None, x), row)
    np.testing.assert_allclose(found, dense_state(circuit, {}, row.astype(np.float64)), atol=ROUNDED, rtol=0)
