"""The Grover head against dense algebra, the closed form of amplification, and the variational head."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from reference import quick_jit
from test_heads import FEATURES, count, init, on_qubit, preparation, run

from qjax import quantum
from qjax.checks import UserError
from qjax.models.grover_head import GroverHead, amplified_probability, amplify, first_maximum
from qjax.models.heads import VariationalHead, make_head

FLOOR = 1e-7


def dense_states(head: GroverHead, params: Any) -> np.ndarray:
    """Amplified states `[examples, classes, 2**n]` by matrix products, A^dagger and A in every round."""
    dim, bits = 2**head.num_qubits, 1 if head.num_classes == 2 else math.ceil(math.log2(head.num_classes))
    phases = params["quantum"].get("phases", np.full((head.num_iterations, 2), np.pi))
    zero = np.zeros((dim, dim))
    zero[0, 0] = 1
    rows = []
    for x in FEATURES:
        a = preparation(head, params, x)
        for c in range(head.num_classes):
            label = np.zeros(2**bits)
            label[c] = 1
            good = np.diag(np.kron(label, np.ones(dim >> bits)))
            state = a[:, 0]
            for oracle, diffuser in phases:
                state = (np.eye(dim) - (1 - np.exp(1j * oracle)) * good) @ state
                state = a @ (np.eye(dim) - (1 - np.exp(1j * diffuser)) * zero) @ a.conj().T @ state
            rows.append(state)
    return np.asarray(rows).reshape(len(FEATURES), head.num_classes, dim)


def label_scores(states: np.ndarray) -> np.ndarray:
    """Scores `[examples, classes]`: state c's probability of label state c."""
    examples, classes, _ = states.shape
    bits = max(1, math.ceil(math.log2(classes)))
    probabilities = (np.abs(states) ** 2).reshape(examples, classes, 2**bits, -1).sum(axis=-1)
    return probabilities[:, np.arange(classes), np.arange(classes)]


HEADS = [
    GroverHead(num_classes=3, num_qubits=3, reps=2, num_iterations=2, phases="trainable"),
    GroverHead(num_classes=3, num_qubits=3, reps=1, num_iterations=3, encoding_axis="rx", pattern="linear"),
    GroverHead(num_classes=2, num_qubits=3, reps=1, num_iterations=1, entangler="cz", rotations=("rx", "ry")),
    GroverHead(num_classes=5, num_qubits=3, reps=1, num_iterations=5, phases="trainable"),
]


SIMULATIONS = pytest.mark.parametrize("simulation", ["probabilities", "states"])


@SIMULATIONS
@pytest.mark.parametrize("head", HEADS, ids=["trainable", "fixed", "two classes", "no work qubit"])
def test_logits_and_states_against_dense_algebra(head: GroverHead, simulation: str) -> None:
    head = head.clone(simulation=simulation)
    params = init(head)
    expected = dense_states(head, params)
    np.testing.assert_allclose(run(head, params, FEATURES), np.log(label_scores(expected) + FLOOR), atol=1e-9)
    with jax.enable_x64(True):
        apply = quick_jit(lambda p, x: head.apply({"params": p}, x, method="simulate"))
        states, expectations = map(np.asarray, apply(params, jnp.asarray(FEATURES)))
    flat = expected.reshape(-1, 2**head.num_qubits)
    np.testing.assert_allclose(states, flat, atol=1e-12)  # the phase too: both forms have the same
    z = [np.diag(on_qubit(np.diag([1, -1]), q, head.num_qubits)) for q in head.label_qubits()]
    np.testing.assert_allclose(expectations, np.abs(flat) ** 2 @ np.transpose(z), atol=1e-12)


@pytest.mark.parametrize("head", HEADS[:3], ids=["trainable", "fixed", "two classes"])
def test_bound_circuits_give_the_states_of_the_batched_run(head: GroverHead) -> None:
    params = init(head)
    assert list(head.circuits()) == [f"_class_{c}" for c in range(head.num_classes)]
    shapes = {name: leaf.shape for name, leaf in params["quantum"].items()}
    assert all(circuit.parameter_shapes == shapes for circuit in head.circuits().values())
    with jax.enable_x64(True):
        variables = {"params": jax.tree.map(jnp.asarray, params)}
        circuits = head.apply(variables, jnp.asarray(FEATURES[:1]), method="bind_circuits")
        bound = quick_jit(lambda: [quantum.state(circuit) for circuit in circuits])()
    np.testing.assert_allclose(bound, dense_states(head, params)[0], atol=1e-12)


# Without rounds -----------------------------------------------------------------------------------------------------


@SIMULATIONS
@pytest.mark.parametrize("num_classes", [2, 6])
def test_without_rounds_it_is_the_variational_head(num_classes: int, simulation: str) -> None:
    options: dict[str, Any] = {"num_classes": num_classes, "num_qubits": 4, "reps": 2}
    grover = make_head("grover", num_iterations=0, simulation=simulation, **options)
    variational = make_head("variational", readout="log_probabilities", **options)
    features = jnp.asarray(FEATURES, jnp.float32)
    key = jax.random.key(3)
    params = quick_jit(variational.init)(key, features)
    own = quick_jit(grover.init)(key, features)
    assert jax.tree.structure(own) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, own, params)
    np.testing.assert_allclose(
        quick_jit(grover.apply)(params, features), quick_jit(variational.apply)(params, features), atol=1e-6
    )


def test_rounds_start_from_the_same_preparation_and_trained_phases_add_two_numbers_each() -> None:
    options: dict[str, Any] = {"num_classes": 3, "num_qubits": 2, "reps": 1}
    features = jnp.asarray(FEATURES, jnp.float32)
    init_of = lambda **more: make_head("grover", **options, **more).init(jax.random.key(3), features)  # noqa: E731
    fixed, trained = init_of(num_iterations=2), init_of(num_iterations=2, phases="trainable")
    phases = np.asarray(trained["params"]["quantum"].pop("phases"))
    jax.tree.map(np.testing.assert_array_equal, fixed, trained)
    assert phases.shape == (2, 2)
    assert (np.abs(phases - np.pi) <= 0.1 * np.pi).all()
    assert (np.abs(phases - np.pi) > 1e-3).all()
    head = make_head("grover", num_iterations=3, phases="trainable", num_classes=3, num_qubits=5, reps=2)
    assert count(head, 7) == (7 * 5 + 5) + 2 * 5 * 2 + 3 * 2


# What amplification does to a probability ---------------------------------------------------------------------------


def score_of(p: Any, phases: Any) -> np.ndarray:
    """Score of label state 1 `[len(p)]` on one label qubit that shows it with probability p, from `amplify`."""
    with jax.enable_x64(True):
        amplitudes = jnp.stack([jnp.sqrt(1 - jnp.asarray(p)), jnp.sqrt(jnp.asarray(p))], axis=1)
        prepared = amplitudes[:, :, None].astype(complex)
        turns = jnp.exp(1j * jnp.asarray(phases))
        final = quick_jit(amplify)(prepared, jnp.asarray(1), turns)
        score = np.asarray(jnp.abs(final[:, 1, 0]) ** 2)
        np.testing.assert_allclose(quick_jit(amplified_probability)(jnp.asarray(p), turns), score, atol=1e-12)
        return score


GRID = np.linspace(0, 1, 4001)


@pytest.mark.parametrize("k", [0, 1, 2, 3, 7])
def test_fixed_phases_are_the_sine_of_the_docstring(k: int) -> None:
    s = score_of(GRID, np.full((k, 2), np.pi))
    np.testing.assert_allclose(s, np.sin((2 * k + 1) * np.arcsin(np.sqrt(GRID))) ** 2, atol=1e-12)
    top = first_maximum(k)
    assert score_of(np.asarray([top]), np.full((k, 2), np.pi))[0] == pytest.approx(1, abs=1e-12)
    below = top >= GRID
    assert (np.diff(s[below]) > 0).all()  # the order of the classes is kept
    assert s[1] / GRID[1] == pytest.approx((2 * k + 1) ** 2, rel=0.02)
    if k:
        bends = np.flatnonzero(np.diff(s, 2) > 1e-9)
        first, a = bends[0] + 1, 2 * k + 1
        assert GRID[first] > top  # concave up to the maximum and beyond
        u = 2 * np.arcsin(np.sqrt(GRID[[first - 2, first + 2]]))
        sides = a * np.sin(u) * np.cos(a * u) - np.cos(u) * np.sin(a * u)  # 0 where tan(a u) = a tan(u)
        assert sides[0] * sides[1] < 0
        inside = s[1:-1]
        assert ((inside > s[:-2]) & (inside >= s[2:])).sum() == k
        half = math.sin(math.pi / (4 * a)) ** 2
        assert score_of(np.asarray([half]), np.full((k, 2), np.pi))[0] == pytest.approx(0.5)


def test_ratios_shrink_below_the_maximum() -> None:
    k, p = 2, np.linspace(0.001, first_maximum(2) - 0.001, 50)
    theta = np.arcsin(np.sqrt(p))
    step = 1e-7
    up, down = (np.log(score_of(p * math.exp(sign * step), np.full((k, 2), np.pi))) for sign in (1, -1))
    np.testing.assert_allclose((up - down) / (2 * step), 5 * np.tan(theta) / np.tan(5 * theta), atol=1e-6)
    assert (np.tan(5 * theta) > 5 * np.tan(theta)).all()


def test_one_round_folds_the_decision_of_two_classes() -> None:
    wins = score_of(GRID, np.full((1, 2), np.pi)) > score_of(1 - GRID, np.full((1, 2), np.pi))
    changes = GRID[1:][wins[1:] != wins[:-1]]
    np.testing.assert_allclose(changes, [0.067, 0.5, 0.933], atol=1e-3)
    assert not wins[0]
    assert wins[-2]


@pytest.mark.parametrize("k", [1, 2, 4])
def test_any_phases_give_a_polynomial_that_keeps_0_and_1(k: int) -> None:
    phases = np.random.default_rng(k).uniform(0, 2 * np.pi, (k, 2))
    s = score_of(GRID, phases)
    assert s[0] == 0
    assert s[-1] == pytest.approx(1, abs=1e-12)
    for degree, small in ((2 * k + 1, True), (2 * k, False)):
        fit = np.polynomial.Chebyshev.fit(GRID, s, degree)
        assert (np.abs(fit(GRID) - s).max() < 1e-10) == small
    np.testing.assert_allclose(score_of(GRID, -phases), s, atol=1e-12)
    np.testing.assert_allclose(score_of(GRID, np.zeros((k, 2))), GRID, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_fixed_point_sequences_are_among_the_phases(k: int) -> None:
    """Yoder, Low and Chuang 2014: s = 1 - delta^2 T_L(T_(1/L)(1/delta) sqrt(1 - p))^2 with L = 2k + 1."""
    length, delta = 2 * k + 1, 0.3
    inverse_gamma = math.cosh(math.acosh(1 / delta) / length)
    root = math.sqrt(1 - 1 / inverse_gamma**2)
    alpha = np.asarray([2 * math.atan2(1, math.tan(2 * math.pi * j / length) * root) for j in range(1, k + 1)])
    phases = np.stack([alpha[::-1], alpha], axis=1)  # the oracle's are the diffuser's in reverse
    chebyshev = np.polynomial.Chebyshev.basis(length)
    expected = 1 - (delta * chebyshev(inverse_gamma * np.sqrt(1 - GRID))) ** 2
    s = score_of(GRID, phases)
    np.testing.assert_allclose(s, expected, atol=1e-9)
    safe = inverse_gamma**2 * (1 - GRID) <= 1
    assert (s[safe] >= 1 - delta**2 - 1e-9).all()


# Gradients ----------------------------------------------------------------------------------------------------------


def gradients(head: GroverHead, params: Any, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the gradient of a weighted sum of logits in all parameters, and its central differences, in float64."""
    weights = np.random.default_rng(3).normal(size=(len(features), head.num_classes))
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(jax.tree.map(np.float64, params))

        def loss(flat: Any) -> Any:
            return (weights * head.apply({"params": unravel(flat)}, jnp.asarray(features))).sum()

        run_both = quick_jit(jax.value_and_grad(loss))
        step = 1e-5
        shifts = step * np.eye(flat.size)
        differences = [float(run_both(flat + s)[0] - run_both(flat - s)[0]) / (2 * step) for s in shifts]
        return np.asarray(run_both(flat)[1]), np.asarray(differences)


@pytest.mark.parametrize(
    "simulation",
    ["states", "probabilities"],
)
def test_gradient_against_central_differences(simulation: str) -> None:
    head = HEADS[0].clone(reps=1, simulation=simulation, rotations=("rz", "ry"))
    found, expected = gradients(head, init(head), FEATURES)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (np.abs(found) > 1e-8).all()


@SIMULATIONS
@pytest.mark.parametrize(("k", "phases"), [(0, "fixed"), (3, "fixed"), (3, "trainable")])
def test_probabilities_0_and_1_have_finite_logits_and_right_gradients(k: int, phases: str, simulation: str) -> None:
    """All angles 0: the state stays |00>, so that class 0 has probability 1 and the others exactly 0."""
    head = GroverHead(num_classes=4, num_qubits=2, reps=1, num_iterations=k, phases=phases, simulation=simulation)
    params = jax.tree.map(np.zeros_like, init(head))
    if "phases" in params["quantum"]:
        params["quantum"]["phases"] = np.random.default_rng(0).uniform(0, 6, (k, 2))
    in_float32 = jax.tree.map(jnp.float32, params)

    def loss(params: Any, features: Any) -> Any:
        logits = head.apply({"params": params}, features)
        return -jax.nn.log_softmax(logits)[:, 3].sum(), logits

    (value, logits), gradient = quick_jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(
        in_float32, jnp.ones((2, 5))
    )
    np.testing.assert_allclose(logits[:, 0], 0, atol=1e-5)
    np.testing.assert_allclose(logits[:, 1:], math.log(FLOOR), rtol=1e-6)
    assert float(value) == pytest.approx(2 * -math.log(FLOOR), rel=1e-3)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    found, expected = gradients(head, params, np.ones((2, 5)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_phases_have_no_slope_at_pi_and_one_where_they_start() -> None:
    head = GroverHead(num_classes=3, num_qubits=2, reps=1, num_iterations=2, phases="trainable")
    params = quick_jit(head.init)(jax.random.key(0), jnp.asarray(FEATURES, jnp.float32))["params"]

    def slope(phases: Any) -> np.ndarray:
        def loss(phases: Any) -> Any:
            changed = {**params, "quantum": {**params["quantum"], "phases": phases}}
            return head.apply({"params": changed}, jnp.asarray(FEATURES, jnp.float32))[:, 0].sum()

        return np.asarray(quick_jit(jax.grad(loss))(phases))

    assert np.abs(slope(jnp.full((2, 2), np.pi))).max() < 1e-4
    assert np.abs(slope(params["quantum"]["phases"])).min() > 1e-3


# Shapes and mistakes ------------------------------------------------------------------------------------------------


def test_words_are_classified_like_sentences_and_dropout_follows_the_examples_keys() -> None:
    head = GroverHead(num_classes=3, num_qubits=2, reps=1, dropout=0.5)
    params = {"params": jax.tree.map(jnp.float32, init(head))}
    words = jnp.asarray(np.random.default_rng(2).normal(size=(2, 3, 5)), jnp.float32)
    flat = head.apply(params, words.reshape(6, 5))
    assert flat.shape == (6, 3)
    np.testing.assert_allclose(head.apply(params, words), flat.reshape(2, 3, 3), atol=1e-5)
    same = jnp.tile(jnp.asarray(FEATURES[:1], jnp.float32), (4, 1))
    keys = jax.random.split(jax.random.key(5), 4)
    dropped = np.asarray(head.apply(params, same, dropout_keys=keys))
    assert len(np.unique(dropped.round(5), axis=0)) > 1
    np.testing.assert_allclose(head.apply(params, same, dropout_keys=keys[::-1]), dropped[::-1], atol=1e-5)


def test_it_is_chosen_by_name() -> None:
    assert make_head("grover", num_classes=2, num_qubits=2) == GroverHead(num_classes=2, num_qubits=2)
    assert not isinstance(GroverHead(num_classes=2, num_qubits=2), VariationalHead)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phases": "trained"}, "`head.phases` must be one of .*Did you mean 'trainable'"),
        ({"simulation": "state"}, "`head.simulation` must be one of .*Did you mean 'states'"),
        ({"num_iterations": -1}, "`head.num_iterations` must be 0 or more, but got -1"),
        ({"num_classes": 5}, "`head.num_qubits` must be at least 3 to give 5 classes a label state each, but got 2"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    head = make_head("grover", **{"num_classes": 2, "num_qubits": 2, **options})
    with pytest.raises(UserError, match=message):
        jax.eval_shape(lambda: head.init(jax.random.key(0), jnp.zeros((1, 5))))
