"""Heads against NumPy: parameter counts, affine maps, dense statevectors, central differences."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from reference import quick_jit

from qjax import quantum
from qjax.checks import UserError
from qjax.configs.default import get_config
from qjax.models.circuit_head import CircuitHead
from qjax.models.heads import LinearHead, VariationalHead, make_head

FEATURES = np.random.default_rng(1).normal(size=(4, 5))


def init(head: Any, num_features: int = 5, seed: int = 0) -> dict[str, Any]:
    """Returns a head's parameters, every leaf drawn anew so that no bias is zero."""
    shapes = jax.eval_shape(lambda: head.init(jax.random.key(0), jnp.zeros((1, num_features))))["params"]
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: rng.normal(scale=0.7, size=s.shape), shapes)


def run(head: Any, params: Any, features: Any) -> np.ndarray:
    """Returns the logits in float64."""
    with jax.enable_x64(True):
        return np.asarray(quick_jit(head.apply)({"params": params}, features))


def affine(params: Any, x: np.ndarray) -> np.ndarray:
    return x @ params["kernel"] + params["bias"]


# The variational head by dense algebra ------------------------------------------------------------------------------

GENERATORS = {
    "rx": np.asarray([[0, 1], [1, 0]]),
    "ry": np.asarray([[0, -1j], [1j, 0]]),
    "rz": np.asarray([[1, 0], [0, -1]]),
}


def rotation(axis: str, angle: float) -> np.ndarray:
    """exp(-i angle / 2 G), which is cos - i sin G because G squares to one."""
    return math.cos(angle / 2) * np.eye(2) - 1j * math.sin(angle / 2) * GENERATORS[axis]


def on_qubit(matrix: np.ndarray, qubit: int, n: int) -> np.ndarray:
    """Kronecker product with identities; qubit 0 is the leftmost factor."""
    return np.kron(np.kron(np.eye(2**qubit), matrix), np.eye(2 ** (n - qubit - 1)))


def entangle(gate: str, control: int, target: int, n: int) -> np.ndarray:
    flip = {"cx": GENERATORS["rx"], "cz": GENERATORS["rz"]}[gate]
    zero, one = np.diag([1, 0]), np.diag([0, 1])
    return on_qubit(zero, control, n) + on_qubit(one, control, n) @ on_qubit(flip, target, n)


def pairs(pattern: str, n: int) -> list[tuple[int, int]]:
    if pattern == "full":
        return [(i, j) for i in range(n) for j in range(i + 1, n)]
    line = [(q, q + 1) for q in range(n - 1)]
    return [*line, (n - 1, 0)] if pattern == "ring" and n > 2 else line


def preparation(head: CircuitHead, params: Any, features: np.ndarray) -> np.ndarray:
    """The matrix of the head's circuit for one example `[features]`, gate by gate."""
    n = head.num_qubits
    matrix = np.eye(2**n, dtype=complex)
    for q, angle in enumerate(np.pi * np.tanh(affine(params["projection"], features))):
        matrix = on_qubit(rotation(head.encoding_axis, angle), q, n) @ matrix
    for layer in params["quantum"]["ansatz"]:
        for q in range(n):
            for axis, angle in zip(head.rotations, layer[q], strict=True):
                matrix = on_qubit(rotation(axis, angle), q, n) @ matrix
        for control, target in pairs(head.pattern, n):
            matrix = entangle(head.entangler, control, target, n) @ matrix
    return matrix


def dense_state(head: VariationalHead, params: Any, features: np.ndarray) -> np.ndarray:
    """State `[2**n]` of one example `[features]`."""
    return preparation(head, params, features)[:, 0]


def label_probabilities(head: VariationalHead, params: Any) -> np.ndarray:
    """Probabilities `[batch, states]` of the label qubits, which are the leading axes of the state."""
    probabilities = np.abs([dense_state(head, params, x) for x in FEATURES]) ** 2
    return probabilities.reshape(len(FEATURES), 2 if head.num_classes == 2 else 4, -1).sum(axis=-1)


HEADS = [
    VariationalHead(num_classes=3, num_qubits=3, reps=2),
    VariationalHead(num_classes=2, num_qubits=3, reps=1, entangler="cz", pattern="full", rotations=("rx", "ry")),
    VariationalHead(num_classes=3, num_qubits=3, reps=2, encoding_axis="rx", pattern="linear"),
]


@pytest.mark.parametrize("readout", ["expectation", "log_probabilities"])
@pytest.mark.parametrize("head", HEADS, ids=["ring", "full", "linear"])
def test_variational_head_against_dense_algebra(head: VariationalHead, readout: str) -> None:
    head = head.clone(readout=readout)
    params = init(head)
    if readout == "expectation":
        probabilities = np.abs([dense_state(head, params, x) for x in FEATURES]) ** 2
        n = head.num_qubits
        z = np.stack([probabilities @ np.diag(on_qubit(np.diag([1, -1]), q, n)) for q in range(n)], axis=-1)
        expected = affine(params["output"], z)
    else:
        expected = np.log(label_probabilities(head, params)[:, : head.num_classes] + 1e-7)
    np.testing.assert_allclose(run(head, params, FEATURES), expected, atol=1e-10)


def test_angles_lie_between_minus_pi_and_pi() -> None:
    head = HEADS[0]
    params = init(head)
    angles = head.apply({"params": params}, jnp.asarray(FEATURES * 100), method="angles")
    assert np.abs(angles).max() <= np.pi + 1e-6
    angles = head.apply({"params": params}, jnp.asarray(FEATURES), method="angles")
    np.testing.assert_allclose(angles, np.pi * np.tanh(affine(params["projection"], FEATURES)), rtol=1e-4)


# Readout 'log_probabilities' ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [2, 3])
def test_log_probabilities_renormalise_over_the_classes(num_classes: int) -> None:
    head = VariationalHead(num_classes=num_classes, num_qubits=2, reps=1, readout="log_probabilities")
    params = init(head)
    logits = run(head, params, FEATURES)
    total = np.exp(logits).sum(axis=-1)
    if num_classes == 2:
        np.testing.assert_allclose(total, 1, atol=1e-6)
    else:
        assert (total < 0.99).any()  # label state |11> belongs to no class
    chances = np.exp(logits) / total[:, None]
    expected = label_probabilities(head, params)[:, :num_classes]
    np.testing.assert_allclose(chances, expected / expected.sum(axis=-1, keepdims=True), atol=1e-6)


def test_probability_zero_has_a_finite_logit_and_gradient() -> None:
    head = VariationalHead(num_classes=4, num_qubits=2, reps=1, readout="log_probabilities")
    zeros = jax.tree.map(np.zeros_like, init(head))  # all angles 0: the state stays |00>

    def loss(params: Any, features: Any) -> Any:
        return -jax.nn.log_softmax(head.apply({"params": params}, features))[:, 3].sum()

    value, gradient = quick_jit(jax.value_and_grad(loss, argnums=(0, 1)))(
        jax.tree.map(jnp.float32, zeros), jnp.ones((2, 5))
    )
    assert float(value) == pytest.approx(2 * -math.log(1e-7), rel=1e-3)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(("num_classes", "needed"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (9, 4)])
def test_label_qubits_are_as_many_as_the_classes_need(num_classes: int, needed: int) -> None:
    head = VariationalHead(num_classes=num_classes, num_qubits=4, readout="log_probabilities")
    assert head.label_qubits() == tuple(range(needed))
    assert head.observables() == ()
    assert [str(o) for o in head.measured_observables()] == ["ZIII", "IZII", "IIZI", "IIIZ"][:needed]


def test_expectation_measures_every_qubit() -> None:
    head = HEADS[0]
    assert head.label_qubits() == ()
    assert [str(o) for o in head.observables()] == ["ZII", "IZI", "IIZ"]
    assert head.measured_observables() == head.observables()


# Classical heads ----------------------------------------------------------------------------------------------------


def test_linear_head_is_an_affine_map() -> None:
    head = make_head("linear", num_classes=3)
    params = init(head)
    np.testing.assert_allclose(run(head, params, FEATURES), affine(params["output"], FEATURES), atol=1e-12)


def test_mlp_head_is_two_affine_maps_around_tanh() -> None:
    head = make_head("mlp", num_classes=3, hidden_size=4)
    params = init(head)
    expected = affine(params["output"], np.tanh(affine(params["hidden"], FEATURES)))
    np.testing.assert_allclose(run(head, params, FEATURES), expected, atol=1e-12)


# Sizes --------------------------------------------------------------------------------------------------------------


def count(head: Any, num_features: int) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(init(head, num_features)))


def test_parameter_counts() -> None:
    assert count(make_head("linear", num_classes=3), 7) == 7 * 3 + 3
    assert count(make_head("mlp", num_classes=3, hidden_size=4), 7) == (7 * 4 + 4) + (4 * 3 + 3)
    head = make_head("variational", num_classes=3, num_qubits=5, reps=2, rotations=("rx", "ry", "rz"))
    assert count(head, 7) == (7 * 5 + 5) + 2 * 5 * 3 + (5 * 3 + 3)
    # Probabilities are logits without an output layer.
    assert count(head.clone(readout="log_probabilities"), 7) == (7 * 5 + 5) + 2 * 5 * 3


def test_mlp_of_the_default_configuration_has_the_size_of_the_variational_head() -> None:
    config = get_config().head
    assert config.name == "variational"
    options = {
        name: config[name]
        for name in ("num_qubits", "encoding_axis", "reps", "rotations", "entangler", "pattern", "readout")
    }
    variational = count(make_head("variational", num_classes=2, **options), 384)
    mlp = count(make_head("mlp", num_classes=2, hidden_size=config.hidden_size), 384)
    assert abs(mlp - variational) / variational < 0.05


# Shapes, gradients, dropout, export ---------------------------------------------------------------------------------

SMALL = [
    ("linear", {}),
    ("mlp", {"hidden_size": 3}),
    ("variational", {"num_qubits": 2, "reps": 1}),
]


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_words_are_classified_like_sentences(name: str, options: dict[str, Any]) -> None:
    head = make_head(name, num_classes=3, **options)
    params = init(head)
    words = np.random.default_rng(2).normal(size=(2, 3, 5))
    flat = run(head, params, words.reshape(6, 5))
    assert flat.shape == (6, 3)
    np.testing.assert_allclose(run(head, params, words), flat.reshape(2, 3, 3), atol=1e-12)


@pytest.mark.parametrize("readout", ["expectation", "log_probabilities"])
def test_gradient_against_central_differences(readout: str) -> None:
    head = VariationalHead(num_classes=3, num_qubits=2, reps=1, rotations=("rz", "ry"), readout=readout)
    weights = np.random.default_rng(3).normal(size=(4, 3))
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(init(head))
        features = jnp.asarray(FEATURES)

        def loss(flat: Any) -> Any:
            return (weights * head.apply({"params": unravel(flat)}, features)).sum()

        run_both = quick_jit(jax.value_and_grad(loss))
        gradient = np.asarray(run_both(flat)[1])
        step = 1e-5
        shifts = step * np.eye(flat.size)
        expected = [float(run_both(flat + s)[0] - run_both(flat - s)[0]) / (2 * step) for s in shifts]
    assert gradient.shape == (flat.size,)
    np.testing.assert_allclose(gradient, expected, atol=1e-7)
    assert (np.abs(gradient) > 1e-8).all()


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_dropout_follows_the_examples_keys(name: str, options: dict[str, Any]) -> None:
    head = make_head(name, num_classes=3, dropout=0.5, **options)
    params = {"params": jax.tree.map(jnp.float32, init(head))}
    features = jnp.asarray(np.tile(FEATURES[:1], (4, 1)), jnp.float32)
    keys = jax.random.split(jax.random.key(5), 4)
    apply = quick_jit(head.apply)
    dropped = np.asarray(apply(params, features, dropout_keys=keys))
    assert len(np.unique(dropped.round(5), axis=0)) > 1
    np.testing.assert_allclose(apply(params, features, dropout_keys=keys[::-1]), dropped[::-1], atol=1e-6)
    plain = np.asarray(apply(params, features))
    assert len(np.unique(plain.round(5), axis=0)) == 1
    assert np.abs(plain - dropped).max() > 1e-3


def test_dropout_zeroes_or_scales_each_feature() -> None:
    head = LinearHead(num_classes=5, dropout=0.25)
    identity = {"params": {"output": {"kernel": jnp.eye(5), "bias": jnp.zeros(5)}}}
    features = jnp.asarray(np.tile(FEATURES, (50, 1)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 200)
    seen = np.asarray(quick_jit(head.apply)(identity, features, dropout_keys=keys))
    kept = seen != 0
    np.testing.assert_allclose(seen[kept], np.asarray(features)[kept] / 0.75, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 0.05  # 1000 draws: three and a half standard deviations


@pytest.mark.parametrize("readout", ["expectation", "log_probabilities"])
def test_bound_circuits_give_the_states_of_the_batched_run(readout: str) -> None:
    head = VariationalHead(num_classes=3, num_qubits=3, reps=1, readout=readout)
    params, features = init(head), FEATURES[:2]
    with jax.enable_x64(True):
        variables = {"params": jax.tree.map(jnp.asarray, params)}
        circuits = head.apply(variables, jnp.asarray(features), method="bind_circuits")
        assert [circuit.is_bound for circuit in circuits] == [True, True]
        angles = head.apply(variables, jnp.asarray(features), method="angles")
        batched = np.asarray(quick_jit(lambda x: quantum.state(head.circuit(), params["quantum"], x))(angles))
        bound = quick_jit(lambda: [quantum.state(circuit) for circuit in circuits])()
    np.testing.assert_allclose(bound, batched, atol=1e-12)
    np.testing.assert_allclose(batched, [dense_state(head, params, x) for x in features], atol=1e-12)


# Mistakes -----------------------------------------------------------------------------------------------------------


def test_unknown_head_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"`head.name` .*Did you mean 'variational'\? Choices: linear, mlp, vari"):
        make_head("varational", num_classes=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"readout": "expectations"}, "`head.readout` must be one of .*Did you mean 'expectation'"),
        (
            {"readout": "log_probabilities", "num_classes": 5},
            "`head.num_qubits` must be at least 3 to give 5 classes a label state each, but got 2",
        ),
        ({"encoding_axis": "rw"}, "`axis` must be one of the choices"),
        ({"entangler": "cnot"}, "`entangler` must be one of the choices"),
        ({"pattern": "rings"}, "Did you mean 'ring'"),
        ({"rotations": ()}, "`rotations` must name at least one gate"),
        ({"dropout": 1.0}, r"`rate` must be a probability in \[0, 1\)"),
    ],
)
def test_bad_options_of_the_variational_head(options: dict[str, Any], message: str) -> None:
    head = make_head("variational", **{"num_classes": 2, "num_qubits": 2, **options})
    with pytest.raises(UserError, match=message):
        jax.eval_shape(lambda: head.init(jax.random.key(0), jnp.zeros((1, 5))))
