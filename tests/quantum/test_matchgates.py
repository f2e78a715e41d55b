from collections.abc import Callable
from functools import reduce

import dense_reference as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_state, dense_unitary

from qjax.checks import UserError
from qjax.quantum import Circuit, state
from qjax.quantum.templates.matchgates import (
    matchgate_layer,
    orthogonal_pyramid,
    rbs,
    unary_loader,
    unary_loader_angles,
)


def unary_indices(n: int) -> list[int]:
    """Basis index of the state with qubit q alone in |1>."""
    return [1 << (n - 1 - q) for q in range(n)]


def givens(n: int, i: int, theta: float) -> np.ndarray:
    """The rotation e_i -> cos e_i + sin e_j, e_j -> cos e_j - sin e_i of the plane of i and j = i + 1."""
    matrix = np.eye(n)
    matrix[i : i + 2, i : i + 2] = [[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]]
    return matrix


@pytest.mark.parametrize("theta", [0.0, 0.4, -2.5])
def test_rbs_is_its_definition(theta: float) -> None:
    c, s = np.cos(theta), np.sin(theta)
    expected = np.array([[1, 0, 0, 0], [0, c, s, 0], [0, -s, c, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(dense_unitary(Circuit(2, (rbs(theta),)), {}), expected, atol=1e-12)
    upside_down = dense_unitary(Circuit(2, (rbs(theta, (1, 0)),)), {})
    np.testing.assert_allclose(upside_down, expected.T, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_pyramid_has_the_gates_and_the_depth_of_the_paper(n: int) -> None:
    circuit = orthogonal_pyramid(n, "t")
    assert circuit.parameter_shapes == {"t": (n * (n - 1) // 2,)}
    assert circuit.depth() == 2 * n - 3
    assert [repr(op.angles[0]) for op in circuit.iter_operations()] == [f"2*t[{k}]" for k in range(n * (n - 1) // 2)]
    pairs = [op.qubits for op in circuit.iter_operations()]
    assert [pairs.count((q, q + 1)) for q in range(n - 1)] == list(range(n - 1, 0, -1))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_pyramid_is_the_product_of_givens_rotations_on_unary_states(n: int) -> None:
    circuit = orthogonal_pyramid(n, "t")
    angles = np.random.default_rng(n).uniform(-3, 3, n * (n - 1) // 2)
    matrix = dense_unitary(circuit, {"t": angles})
    rotations = [givens(n, op.qubits[0], t) for op, t in zip(circuit.iter_operations(), angles, strict=True)]
    unary = unary_indices(n)
    expected = reduce(lambda product, rotation: rotation @ product, rotations)
    np.testing.assert_allclose(matrix[np.ix_(unary, unary)], expected, atol=1e-10)
    weights = np.array([bin(i).count("1") for i in range(2**n)])
    assert np.abs(matrix[weights[:, None] != weights[None, :]]).max() < 1e-12  # no number of excitations changes


@pytest.mark.parametrize("n", [3, 4])
def test_pyramid_reaches_every_rotation(n: int) -> None:
    """The rows of the Jacobian at a generic point span the tangent space, of dimension n (n - 1) / 2."""
    circuit = orthogonal_pyramid(n, "t")
    angles = np.random.default_rng(0).uniform(-3, 3, n * (n - 1) // 2)

    def rotation(t: np.ndarray) -> np.ndarray:
        places = [op.qubits[0] for op in circuit.iter_operations()]
        return reduce(lambda product, k: givens(n, places[k], t[k]) @ product, range(len(t)), np.eye(n))

    steps = 1e-5 * np.eye(len(angles))
    rows = [(rotation(angles + step) - rotation(angles - step)).ravel() / 2e-5 for step in steps]
    assert np.linalg.matrix_rank(np.array(rows), tol=1e-3) == n * (n - 1) // 2


@pytest.mark.parametrize("n", [2, 3, 5])
def test_unary_loader_loads_a_vector_of_any_length(n: int) -> None:
    rng = np.random.default_rng(n)
    features = rng.normal(size=(6, n)) * 3
    features[1, -1] = 0
    features[2, :-1] = 0
    features[3, 0] = -2
    features[4, n // 2 :] = 0
    features[5] = 0
    with jax.enable_x64(True):
        angles = jax.jit(unary_loader_angles)(jnp.asarray(features))
    states = [dense_state(unary_loader(n), inputs=np.asarray(row)) for row in angles]
    expected = np.zeros((6, 2**n))
    expected[:5, unary_indices(n)] = features[:5] / np.linalg.norm(features[:5], axis=1, keepdims=True)
    expected[5, unary_indices(n)[0]] = 1
    np.testing.assert_allclose(states, expected, atol=1e-12)


@pytest.mark.parametrize(("size", "expected"), [(1e-20, 1), (1e-30, 1), (1e20, 1), (1e38, 1), (1e-42, 0), (1e-32, 0)])
def test_the_length_of_a_unary_vector_does_not_matter_but_near_zero(size: float, expected: int) -> None:
    features = np.asarray([0.3, -1.0, 0.2, -0.5])
    angles = jax.jit(unary_loader_angles)((size * features).astype(np.float32))
    norms = np.sqrt(np.cumsum(features[::-1] ** 2))[::-1]
    right = np.arctan2([norms[1], norms[2], features[3]], features[:3])
    np.testing.assert_allclose(angles, expected * right, rtol=1e-5)


def test_unary_loader_and_pyramid_multiply_a_vector_in_the_simulator() -> None:
    features = jnp.asarray([0.3, -1.0, 2.0], jnp.float32)
    angles = np.array([0.4, -2.0, 1.1], np.float32)
    inputs = jax.jit(unary_loader_angles)(features)
    assert inputs.shape == (2,)
    actual = np.asarray(state(unary_loader(3) + orthogonal_pyramid(3, "t"), {"t": angles}, inputs))
    matrix = givens(3, 0, angles[2]) @ givens(3, 1, angles[1]) @ givens(3, 0, angles[0])
    expected = matrix @ np.asarray(features) / np.linalg.norm(features)
    np.testing.assert_allclose(actual[unary_indices(3)], expected, atol=1e-6)


def test_unary_loader_angles_have_finite_derivatives_everywhere() -> None:
    with jax.enable_x64(True):
        features = jnp.asarray([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.3, -2.0, 0.5, 1.1]])
        jacobians = jax.jit(jax.vmap(jax.jacobian(unary_loader_angles)))(features)
        assert np.isfinite(jacobians).all()
        steps = 1e-6 * np.eye(4)
        above, below = (jax.jit(unary_loader_angles)(features[2][None] + sign * steps) for sign in (1, -1))
        np.testing.assert_allclose(jacobians[2], (above - below).T / 2e-6, atol=1e-7)


def majorana_operators(n: int) -> list[np.ndarray]:
    """Z...Z X I...I and Z...Z Y I...I for every qubit (Jordan and Wigner)."""
    return [dense.pauli("Z" * q + letter + "I" * (n - 1 - q)) for q in range(n) for letter in "XY"]


@pytest.mark.parametrize(("n", "reps"), [(2, 1), (3, 2), (4, 2)])
def test_matchgates_rotate_majorana_operators(n: int, reps: int) -> None:
    circuit = matchgate_layer(n, reps, "a")
    assert circuit.parameter_shapes == {"a": (reps, n), "a_pairs": (reps, n - 1, 2)}
    rng = np.random.default_rng(n)
    params = {name: rng.uniform(-3, 3, shape) for name, shape in circuit.parameter_shapes.items()}
    u = dense_unitary(circuit, params)
    majoranas = majorana_operators(n)
    moved = [u @ operator @ u.conj().T for operator in majoranas]
    rotation = np.array([[np.trace(b @ a) / 2**n for b in majoranas] for a in moved])
    assert np.abs(rotation.imag).max() < 1e-10
    np.testing.assert_allclose(rotation.real @ rotation.real.T, np.eye(2 * n), atol=1e-10)
    assert np.linalg.det(rotation.real) == pytest.approx(1)
    assert np.abs(rotation.real - np.eye(2 * n)).max() > 0.1


def test_matchgate_layer_is_a_brick_wall() -> None:
    layer = [(op.gate.name, op.qubits) for op in matchgate_layer(4).iter_operations()]
    pairs = [(gate, pair) for pair in ((0, 1), (2, 3), (1, 2)) for gate in ("rxx", "ryy")]
    assert layer == [("rz", (q,)) for q in range(4)] + pairs


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: orthogonal_pyramid(1), "`num_qubits` must be an integer of at least 2, but got 1"),
        (lambda: unary_loader(1), "`num_qubits` must be an integer of at least 2, but got 1"),
        (lambda: matchgate_layer(1), "`num_qubits` must be an integer of at least 2, but got 1"),
        (lambda: matchgate_layer(3, 0), "`reps` must be an integer of at least 1, but got 0"),
        (lambda: rbs(0.1, (1, 1)), r"`qubits` must hold distinct integers for gate 'xx_plus_yy', but got \(1, 1\)"),
        (lambda: unary_loader_angles(jnp.ones((3, 1))), "`features` must have a last axis of at least 2"),
    ],
)
def test_errors(build: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()
