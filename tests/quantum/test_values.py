"""Angles and what a run of operations makes of |0>, built together: equal to one by one, in value and in gradient."""

from typing import Any

import dense_reference as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.quantum import input_angle, operation, parameter
from qjax.quantum.circuits.angle import Angle
from qjax.quantum.measure.expectation import MAX_SIGN_ROWS, MIN_SIGN_BATCH, observable_values
from qjax.quantum.measure.observables import PauliString
from qjax.quantum.states.angle_values import Values, _box_of
from qjax.quantum.states.barriers import stored
from qjax.quantum.states.matrices import start_columns
from qjax.quantum.states.sums import sum_rows
from qjax.quantum.states.trigonometry import cos_sin

W = [[parameter("w", i, j) for j in range(4)] for i in range(3)]
ANGLES = {  # name -> (angles, whether one slice holds them)
    "a row": (W[1], True),
    "a column": ([W[i][2] for i in range(3)], True),
    "every second, of every second": ([W[i][j] for i in (0, 2) for j in (1, 3)], True),
    "all, in another order": ([W[i][j] for j in range(4) for i in range(3)], False),
    "backwards": (W[0][::-1], False),
    "with a gap": ([W[0][0], W[0][1], W[0][3]], False),
    "one of them twice": ([W[0][0], W[0][0], W[0][1]], False),
    "scaled and shifted alike": ([2.0 * a + 0.5 for a in W[2]], True),
    "scaled unlike": ([W[0][0] * 2.0, W[0][1] * 3.0], False),
    "inputs": ([input_angle(i) for i in (0, 2)], True),
    "scalars": ([parameter("s"), parameter("s") * 2.0], False),
    "products": ([W[0][0] * input_angle(0), W[0][1] * input_angle(1)], False),
    "of two arrays": ([W[0][0], input_angle(1)], False),
    "numbers": ([W[0][0] * 0.0 + 1.0, Angle(2.0)], False),
}


def some_values(w: Any, s: Any, inputs: Any) -> Values:
    return Values({"w": w[..., None], "s": s[..., None]}, inputs, w.dtype)


@pytest.fixture
def arrays() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(5)
    return jnp.asarray(rng.normal(size=(3, 4))), jnp.asarray(rng.normal()), jnp.asarray(rng.normal(size=(3, 5)))


@pytest.mark.parametrize("name", ANGLES)
def test_angles_together_are_the_angles_one_by_one(name: str, arrays: tuple[Any, Any, Any]) -> None:
    angles, is_slice = ANGLES[name]
    assert (_box_of(angles) is not None) is is_slice
    weights = np.random.default_rng(1).normal(size=(len(angles), 5)).astype(arrays[0].dtype)

    def together(*arrays: Any) -> Any:
        return jnp.broadcast_to(some_values(*arrays).stacked(angles), weights.shape)

    def one_by_one(*arrays: Any) -> Any:
        return jnp.stack([jnp.broadcast_to(some_values(*arrays).each([a])[0], (5,)) for a in angles])

    np.testing.assert_allclose(together(*arrays), one_by_one(*arrays), rtol=1e-6)
    found, expected = (
        jax.grad(lambda xs, f=f: (f(*xs) * weights).sum())(arrays)  # type: ignore[misc]
        for f in (together, one_by_one)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


def test_one_angle_for_all_is_held_once(arrays: tuple[Any, Any, Any]) -> None:
    assert some_values(*arrays).stacked([W[1][1]] * 3).shape == (1, 1)


@pytest.mark.parametrize(
    "run",
    [
        (),
        (operation("h", 0),),
        (operation("ry", 0, input_angle(0)), operation("rx", 0, W[0][0]), operation("rz", 0, W[0][1])),
        (operation("rx", 0, W[1][0]), operation("s", 0), operation("ry", 0, input_angle(1)), operation("h", 0)),
        (operation("gphase", (), W[0][0]), operation("x", 0), operation("gphase", (), input_angle(2))),
        (operation("ry", 0, input_angle(0)), operation("rz", 0, input_angle(1)), operation("t", 0)),
    ],
    ids=["none", "constant", "encoding first", "encoding between", "global phases", "two with a batch"],
)
def test_a_run_on_zero_is_the_product_of_its_matrices(run: Any, arrays: tuple[Any, Any, Any]) -> None:
    (column,) = start_columns([run], some_values(*arrays))
    w, s, inputs = (np.asarray(x, np.float64) for x in arrays)
    for b in range(5):
        expected = np.array([1.0, 0.0], complex)
        for op in run:
            angles = [op_angle.evaluate(lambda ref, b=b: _value(ref, w, s, inputs[:, b])) for op_angle in op.angles]
            matrix = dense.matrix(op.gate.name, angles)
            expected = matrix @ expected if matrix.shape == (2, 2) else matrix.item() * expected
        np.testing.assert_allclose(np.asarray(column)[:, b % column.shape[1]], expected, atol=1e-6)


def _value(ref: Any, w: Any, s: Any, row: Any) -> float:
    if not hasattr(ref, "name"):
        return float(row[ref.index])
    return float(w[ref.index] if ref.name == "w" else s)


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_what_is_stored_is_itself_and_so_is_its_cotangent(
    holds: bool, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qjax.quantum.states.barriers.BARRIER_HOLDS", holds)
    array = jnp.asarray(np.random.default_rng(0).normal(size=(4, batch)))
    found, pull = jax.vjp(lambda x: stored(x * 2.0), array)
    np.testing.assert_array_equal(found, array * 2.0)
    np.testing.assert_array_equal(pull(array)[0], array * 2.0)


@pytest.mark.parametrize(
    ("n", "batch", "halved_from"),
    [(3, MIN_SIGN_BATCH - 1, 2), (3, MIN_SIGN_BATCH, 12), (5, MIN_SIGN_BATCH, 2), (5, 1, 12)],
)
def test_strings_by_matrices_and_by_a_tree_are_the_dense_values(
    n: int, batch: int, halved_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2**n <= MAX_SIGN_ROWS
    monkeypatch.setattr("qjax.quantum.measure.expectation.MIN_HALVED_QUBITS", halved_from)
    rng = np.random.default_rng(n)
    state = rng.normal(size=(2**n, batch)) + 1j * rng.normal(size=(2**n, batch))
    state = (state / np.linalg.norm(state, axis=0)).astype(np.complex64)
    letters = ["".join(rng.choice(["I", "Z"], n)) for _ in range(4)] + [
        "I" * n,
        "X" + "Z" * (n - 1),
        "X" + "I" * (n - 1),
    ]
    strings = tuple(map(PauliString, letters))
    found, pull = jax.vjp(lambda x: observable_values(x, strings), jnp.asarray(state))
    weights = rng.normal(size=found.shape).astype(np.float32)
    total = np.zeros_like(state)
    pauli = {
        "I": np.eye(2),
        "X": np.array([[0, 1], [1, 0]]),
        "Z": np.diag([1, -1]),
    }
    for row, text, weight in zip(np.asarray(found), letters, weights, strict=True):
        matrix = np.eye(1)
        for letter in text:
            matrix = np.kron(matrix, pauli[letter])
        expected = np.einsum("ib,ij,jb->b", state.conj(), matrix, state).real
        np.testing.assert_allclose(row, expected, atol=1e-5)
        total += 2 * weight * (matrix @ state)
    np.testing.assert_allclose(pull(jnp.asarray(weights))[0], total.conj(), atol=1e-5)  # JAX's convention


@pytest.mark.parametrize("shape", [(1, 1), (8, 1), (6, 1), (5, 3), (1024, 1), (2, 16, 300), (96, 7), (3, 4, 5, 2)])
def test_sums_of_rows_and_their_derivatives(shape: tuple[int, ...]) -> None:
    array = jnp.asarray(np.random.default_rng(2).normal(size=shape), jnp.float32)
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(sum_rows(array), np.asarray(array, np.float64).sum(axes), atol=1e-4)
    weights: Any = jnp.arange(1.0, shape[-1] + 1)
    gradient = jax.grad(lambda x: jnp.vdot(weights, sum_rows(x)))(array)
    np.testing.assert_array_equal(gradient, np.broadcast_to(weights, shape))


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
