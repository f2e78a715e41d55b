from collections.abc import Callable

import jax
import numpy as np
import pytest
from bound_circuits import dense_unitary

from qjax.checks import UserError
from qjax.quantum import Circuit, hardware_efficient, init_params, input_angle, operation, parameter
from qjax.quantum.templates.initializers import (
    identity_block,
    init_identity_block,
    init_normal,
    init_small_angle,
    init_uniform,
)

KEY = jax.random.key(0)
LARGE = hardware_efficient(20, 30, name="a") + hardware_efficient(20, 30, name="b")


def test_init_params() -> None:
    params = init_params(KEY, LARGE)
    assert {name: p.shape for name, p in params.items()} == {"a": (30, 20, 2), "b": (30, 20, 2)}
    assert params["a"].dtype == np.float32
    assert 0.3 < np.abs(params["a"]).max() <= 0.1 * np.pi
    normal = init_params(KEY, LARGE, scale=0.5, distribution="normal")["a"]
    assert np.std(normal) == pytest.approx(np.pi / 2, rel=0.1)
    again = init_params(KEY, LARGE)
    np.testing.assert_array_equal(params["b"], again["b"])
    assert not np.array_equal(params["a"], params["b"])
    assert init_params(KEY, Circuit(1)) == {}


def test_init_uniform_covers_the_whole_circle() -> None:
    values = np.asarray(init_uniform(KEY, LARGE)["a"])
    assert -np.pi <= values.min() < -3.1
    assert 3.1 < values.max() <= np.pi
    assert np.std(values) == pytest.approx(np.pi / np.sqrt(3), rel=0.05)


def test_init_small_angle_is_normal_in_radians() -> None:
    params = init_small_angle(KEY, LARGE, deviation=0.02)
    assert np.std(params["a"]) == pytest.approx(0.02, rel=0.1)
    assert abs(np.mean(params["a"])) < 0.003
    assert not np.array_equal(params["a"], params["b"])
    assert np.std(init_small_angle(KEY, LARGE)["a"]) == pytest.approx(0.01, rel=0.1)
    assert np.all(init_small_angle(KEY, LARGE, deviation=0)["b"] == 0)


@pytest.mark.parametrize(
    ("keywords", "variance"),
    [
        ({"locality": 2, "num_layers": 7}, 1 / (4 * 2 * 9)),
        ({"locality": 3}, 1 / (4 * 3 * 122)),  # 60 gates on each qubit in either of the two halves
        ({"num_layers": 0}, 1 / 8),
    ],
)
def test_init_normal_narrows_with_depth_and_locality(keywords: dict[str, int], variance: float) -> None:
    values = init_normal(KEY, LARGE, **keywords)["b"]
    assert np.var(values) == pytest.approx(variance, rel=0.1)


def test_init_normal_counts_gates_with_parameters_on_the_busiest_qubit() -> None:
    theta = [parameter("theta", k) for k in range(200)]
    circuit = Circuit(3).append("rx", 0, input_angle(0)).append("h", 0).append("rzz", (0, 1), theta[199])
    circuit = circuit.append("ry", 1, theta[0], controls=2).append("z", 1).append("z", 1)
    circuit = circuit.append("ry", 2, theta[1] * input_angle(1)).append("rz", 2, theta[2])
    explicit = init_normal(KEY, circuit, num_layers=3)
    np.testing.assert_array_equal(init_normal(KEY, circuit)["theta"], explicit["theta"])


def nested_body() -> Circuit:
    """Parameters in a loop and outside, a gate whose inverse swaps its angles, an input and a control."""
    layers = hardware_efficient(2, 2, ("ry", "u"), "crx", name="layers")
    rest = (
        operation("rx", 1, parameter("extra") * input_angle(0)),
        operation("u", 0, parameter("extra"), 0.3, parameter("angles", 1), controls=1, control_values=(0,)),
        operation("iswap", (0, 1)),
    )
    return layers + Circuit(2, rest)


def test_identity_block_is_the_body_and_its_inverse_with_own_parameters() -> None:
    body = nested_body()
    circuit = identity_block(body, 2)
    expected = {f"{name}_block": (2, 2, *shape) for name, shape in body.parameter_shapes.items()}
    assert circuit.parameter_shapes == expected
    rng = np.random.default_rng(0)
    params = {name: rng.uniform(-3, 3, shape) for name, shape in expected.items()}
    matrix = np.eye(4)
    for r in range(2):
        first, second = ({k: params[f"{k}_block"][r, half] for k in body.parameter_shapes} for half in (0, 1))
        matrix = dense_unitary(body, second, [0.7]).conj().T @ dense_unitary(body, first, [0.7]) @ matrix
    np.testing.assert_allclose(dense_unitary(circuit, params, [0.7]), matrix, atol=1e-10)
    assert np.abs(matrix - np.eye(4)).max() > 0.1


def test_equal_halves_of_an_identity_block_cancel() -> None:
    circuit = identity_block(nested_body(), 2)
    rng = np.random.default_rng(0)
    halves = {name: rng.uniform(-3, 3, (2, 1, *shape[2:])) for name, shape in circuit.parameter_shapes.items()}
    params = {name: np.repeat(half, 2, axis=1) for name, half in halves.items()}
    np.testing.assert_allclose(dense_unitary(circuit, params, [1.3]), np.eye(4), atol=1e-10)


def test_init_identity_block_makes_both_halves_equal() -> None:
    body = Circuit(1).append("ry", 0, parameter("theta", 39)).append("rz", 0, parameter("phi"))
    circuit = identity_block(body, 3).append("rx", 0, parameter("phi", 4))
    params = init_identity_block(KEY, circuit)
    assert {name: value.shape for name, value in params.items()} == circuit.parameter_shapes
    theta, phi = np.asarray(params["theta_block"]), np.asarray(params["phi_block"])
    np.testing.assert_array_equal(theta[:, 0], theta[:, 1])
    np.testing.assert_array_equal(phi[:, 0], phi[:, 1])
    assert 3 < np.abs(theta).max() <= np.pi
    assert not np.array_equal(theta[0], theta[1])
    small = init_identity_block(KEY, circuit, scale=0.01)["theta_block"]
    assert 0.03 < np.abs(small).max() <= 0.01 * np.pi


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda c: init_params(KEY, c, distribution="gauss"),
            "`distribution` must be one of the choices, but got 'gauss'",
        ),
        (lambda c: init_params(KEY, c, scale=-1.0), r"`scale` must be a finite number of at least 0, but got -1\.0"),
        (
            lambda c: init_small_angle(KEY, c, deviation=-1),
            "`deviation` must be a finite number of at least 0, but got -1",
        ),
        (lambda c: init_normal(KEY, c, locality=0), "`locality` must be an integer of at least 1, but got 0"),
        (lambda c: init_normal(KEY, c, num_layers=-1), "`num_layers` must be an integer of at least 0, but got -1"),
        (lambda c: identity_block(c, 1), "`body` must have at least one parameter"),
        (lambda c: identity_block(c.append("rx", 0, parameter("t")), 0), "`reps` must be an integer of at least 1"),
        (lambda c: init_identity_block(KEY, c), "`circuit` must have blocks made by `identity_block`"),
        (
            lambda c: init_identity_block(KEY, c.append("rx", 0, parameter("t_block", 3))),
            r"`circuit` must have a parameter 't_block' of shape \[reps, 2, \.\.\.\], but got \[4\]",
        ),
    ],
)
def test_errors(call: Callable[[Circuit], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call(Circuit(1))
