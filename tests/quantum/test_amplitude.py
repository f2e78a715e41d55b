import dense_reference as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_state, dense_unitary

from qjax.checks import UserError
from qjax.quantum import Circuit, expectation, state, z_observables
from qjax.quantum.templates.amplitude import (
    amplitude_angles,
    amplitude_encoding,
    amplitude_state,
    uniformly_controlled_rotation,
)


def random_vector(n: int, kind: str, seed: int = 0) -> np.ndarray:
    """Entries of both signs, or of any phase, many of them zero, and for n > 1 a whole branch of zeros."""
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=2**n)
    if kind == "complex":
        vector = vector * np.exp(1j * rng.uniform(-np.pi, np.pi, 2**n))
    vector[rng.random(2**n) < 0.3] = 0
    if n > 1:
        vector[: 2 ** (n - 2)] = 0
    vector[-1] = -0.7
    return vector


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


# As a start state -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("shape", [(3,), (2, 2, 8)])
def test_amplitude_state_is_normalised_and_filled_up(shape: tuple[int, ...], dtype: type) -> None:
    rng = np.random.default_rng(1)
    features = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    features = features if dtype is np.complex64 else features.real
    found = amplitude_state(features, 3)
    assert found.dtype == dtype
    assert found.shape == (*shape[:-1], 8)
    expected = np.zeros(found.shape, dtype)
    expected[..., : shape[-1]] = features / np.linalg.norm(features, axis=-1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e30, 8e37])
def test_amplitude_state_of_very_small_and_large_numbers(size: float) -> None:
    features = np.asarray([3 * size, -4 * size], np.float32)
    np.testing.assert_allclose(amplitude_state(features, 1), [0.6, -0.8], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda f: amplitude_state(f, 1))(features), [0.6, -0.8], rtol=1e-6)
    expected = 2 * np.arctan2(-4, 3)
    np.testing.assert_allclose(amplitude_angles(features, 1), [expected], rtol=1e-6)


@pytest.mark.parametrize("largest", [4e-42, 4e-37, 9e-32])
@pytest.mark.parametrize("unit", [1, 1j])
def test_vectors_too_small_for_a_direction(largest: float, unit: complex) -> None:
    """Denormal numbers, which devices may take as 0, and what these would spoil: refused, and |0> under jit."""
    features = np.asarray([0.75 * largest * unit, largest], np.complex64 if unit == 1j else np.float32)
    for function in (amplitude_state, amplitude_angles):
        with pytest.raises(UserError, match=r"number of at least 9.9e-32 in size in every vector.*of at most [49]"):
            function(features, 1)
    np.testing.assert_array_equal(jax.jit(lambda f: amplitude_state(f, 1))(features), [1, 0])
    np.testing.assert_array_equal(jax.jit(lambda f: amplitude_angles(f, 1))(features), 0)


@pytest.mark.parametrize(("dtype", "least"), [(np.float32, 2.0**-103), (np.float64, 2.0**-970)])
def test_smallest_vectors_with_a_direction(dtype: type, least: float) -> None:
    with jax.enable_x64(dtype is np.float64):
        features = np.asarray([-0.75 * least, least], dtype)
        for found in (amplitude_state(features, 1), jax.jit(lambda f: amplitude_state(f, 1))(features)):
            np.testing.assert_allclose(found, [-0.6, 0.8], rtol=1e-6)
        with pytest.raises(UserError, match="`features` must hold a number of at least"):
            amplitude_state(features * 0.99, 1)


def test_amplitude_state_of_plain_numbers() -> None:
    np.testing.assert_allclose(amplitude_state([0, 3, 4], 2), [0, 0.6, 0.8, 0], atol=1e-7)
    with jax.enable_x64(True):
        dtypes = [jax.eval_shape(lambda x=x: amplitude_state(x, 1)).dtype for x in (np.ones(2), np.array([1, 2j]))]
    assert dtypes == [np.float64, np.complex128]


def test_gradient_of_amplitude_state_is_the_projection() -> None:
    """d(x/|x|)/dx = (1 - u u^T) / |x| with u = x/|x|."""
    with jax.enable_x64(True):
        x = random_vector(3, "real")
        found = jax.jit(jax.jacrev(lambda v: amplitude_state(v, 3)))(jnp.asarray(x))
    np.testing.assert_allclose(found, (np.eye(8) - np.outer(unit(x), unit(x))) / np.linalg.norm(x), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_zeros_inside_a_trace_are_the_first_basis_state(dtype: type) -> None:
    rows = np.stack([np.zeros(4), [0, 0, 2, 0]]).astype(dtype)
    found = jax.jit(lambda f: amplitude_state(f, 2))(rows)
    np.testing.assert_array_equal(found, [[1, 0, 0, 0], [0, 0, 1, 0]])
    angles = jax.jit(lambda f: amplitude_angles(f, 2))(rows)
    np.testing.assert_allclose(
        dense_state(amplitude_encoding(2, dtype is np.complex64), None, angles[0]), [1, 0, 0, 0], atol=1e-12
    )
    weights = np.arange(1.0, 5.0, dtype=np.float32)
    gradient = jax.jit(jax.grad(lambda f: (weights * jnp.real(amplitude_state(f, 2))[0]).sum()))(rows)
    np.testing.assert_array_equal(gradient[0], 0)


def test_expectation_from_an_amplitude_state() -> None:
    features = np.asarray([[1, 2, 0, -1], [0, 0, 3, 1]], np.float32)
    circuit = Circuit(2).append("cx", (0, 1)).append("ry", 1, 0.4)

    @jax.jit
    def energies(f: jax.Array) -> jax.Array:
        return expectation(circuit, None, None, z_observables(2), initial_state=amplitude_state(f, 2))

    found = energies(features)
    steps = [("cx", (0, 1)), ("ry", (1,), (0.4,))]
    states = [dense.run(2, steps, unit(row).astype(complex)) for row in features]
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    np.testing.assert_allclose(found, [np.abs(s) ** 2 @ signs for s in states], atol=1e-6)


# By gates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "n"), [*(("real", n) for n in range(1, 7)), *(("complex", n) for n in range(1, 6))])
def test_amplitude_encoding_prepares_any_state(kind: str, n: int) -> None:
    """With signs, phases and the global phase, in float64, against the vector itself."""
    vectors = np.stack([random_vector(n, kind, seed) for seed in range(3 if n < 5 else 1)])
    for decomposition in ("gray", "multi_controlled"):
        with jax.enable_x64(True):
            rows = np.asarray(jax.jit(lambda v, d=decomposition: amplitude_angles(v, n, d))(vectors))
        circuit = amplitude_encoding(n, kind == "complex", decomposition)
        assert rows.shape == (len(vectors), circuit.num_inputs)
        for vector, angles in zip(vectors, rows, strict=True):
            np.testing.assert_allclose(dense_state(circuit, None, angles), unit(vector), atol=1e-12)


@pytest.mark.parametrize("amplitude", [1.0, -1.0, -1j])
def test_amplitude_encoding_of_every_basis_state(amplitude: complex) -> None:
    kind = isinstance(amplitude, complex)
    circuit = amplitude_encoding(3, kind)
    dtype = np.complex64 if kind else np.float32
    rows = (amplitude * np.eye(8)).astype(dtype)
    found = np.asarray(jax.jit(lambda f: amplitude_angles(f, 3))(rows))
    for row, angles in zip(rows, found, strict=True):
        np.testing.assert_allclose(dense_state(circuit, None, angles), row, atol=1e-6)


@pytest.mark.parametrize(("kind", "decomposition"), [("real", "gray"), ("complex", "multi_controlled")])
def test_amplitude_encoding_in_the_simulator(kind: str, decomposition: str) -> None:
    rows = np.stack([random_vector(2, kind, seed) for seed in range(2)])
    rows = rows.astype(np.complex64 if kind == "complex" else np.float32)
    circuit = amplitude_encoding(2, kind == "complex", decomposition)
    found = jax.jit(lambda f: state(circuit, None, amplitude_angles(f, 2, decomposition)))(rows)
    np.testing.assert_allclose(found, amplitude_state(rows, 2), atol=1e-6)


@pytest.mark.parametrize(
    ("complex_amplitudes", "decomposition", "counts"),
    [
        (False, "gray", {"ry": 15, "cx": 14}),
        (True, "gray", {"ry": 15, "cx": 28, "rz": 15, "gphase": 1}),
        (False, "multi_controlled", {"ry": 1, "c-ry": 2, "c2-ry": 4, "c3-ry": 8}),
    ],
)
def test_counts_of_amplitude_encoding(complex_amplitudes: bool, decomposition: str, counts: dict) -> None:
    circuit = amplitude_encoding(4, complex_amplitudes, decomposition)
    assert circuit.counts() == counts
    assert circuit.num_inputs == (31 if complex_amplitudes else 15)
    assert all(len(angle.references) == 1 for op in circuit.operations for angle in op.angles)


def test_gradient_of_angles_against_differences() -> None:
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        x = rng.normal(size=8)

        @jax.jit
        def angles(v: jax.Array) -> jax.Array:
            return amplitude_angles(jax.lax.complex(v[:4], v[4:]), 2)

        found = jax.jit(jax.jacrev(angles))(jnp.asarray(x))
        step = 1e-6
        slopes = [(angles(x + step * e) - angles(x - step * e)) / (2 * step) for e in np.eye(8)]
    np.testing.assert_allclose(found, np.stack(slopes, axis=1), atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_gradient_of_angles_at_zeros_is_finite(dtype: type) -> None:
    rows = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, -1], [0, 0, 1, 1]], dtype)
    gradient = jax.jit(jax.grad(lambda v: amplitude_angles(v, 2).sum()))(rows)
    assert np.isfinite(np.asarray(gradient)).all()
    np.testing.assert_array_equal(gradient[1], 0)


@pytest.mark.parametrize("decomposition", ["gray", "multi_controlled"])
@pytest.mark.parametrize(
    ("axis", "controls", "target"), [("ry", (2, 0), 1), ("rz", (0, 1), 2), ("ry", (3, 1, 0), 2), ("rz", (), 1)]
)
def test_uniformly_controlled_rotation(axis: str, controls: tuple, target: int, decomposition: str) -> None:
    """The sum over the values of the controls of a projector and a rotation."""
    angles = np.random.default_rng(0).uniform(-3, 3, 2 ** len(controls))
    operations = uniformly_controlled_rotation(axis, controls, target, list(angles), decomposition)
    rotations = [dense.exp_pauli(axis[1].upper(), float(angle)) for angle in angles]
    dim = 2 ** len(controls)
    blocks = sum(np.kron(np.diag(np.eye(dim)[c]), rotations[c]) for c in range(dim))
    expected = dense.embed(blocks, (*controls, target), 4)
    np.testing.assert_allclose(dense_unitary(Circuit(4, operations)), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: amplitude_state(np.zeros(4), 2), "at least 9.9e-32 in size.*but got a vector of at most 0"),
        (
            lambda: amplitude_state(np.eye(3)[:, :2], 1),
            r"in every vector, to have a direction, but got a vector at \[2\] of at most 0",
        ),
        (lambda: amplitude_angles(np.zeros((2, 4)), 2), r"to have a direction, but got a vector at \[0\]"),
        (lambda: amplitude_state([1.0, np.nan], 1), "`features` must hold finite numbers"),
        (lambda: amplitude_state(np.ones(5), 2), r"length in 1\.\.4, but got shape \[5\]"),
        (lambda: amplitude_state(np.ones((2, 0)), 2), r"length in 1\.\.4, but got shape \[2, 0\]"),
        (lambda: amplitude_state(1.0, 2), r"length in 1\.\.4, but got shape \[\]"),
        (lambda: amplitude_state([1.0], 0), "`num_qubits` must be an integer of at least 1, but got 0"),
        (lambda: jax.jit(lambda f: amplitude_state(f, 1))(np.ones(3)), r"length in 1\.\.2, but got shape \[3\]"),
        (lambda: amplitude_encoding(0), "`num_qubits` must be an integer of at least 1, but got 0"),
        (lambda: amplitude_angles([1.0], 1, "grey"), "`decomposition` must be one of the choices.*'gray'"),
        (lambda: amplitude_encoding(2, decomposition="grey"), "`decomposition` must be one of the choices.*'gray'"),
        (lambda: uniformly_controlled_rotation("rx", (0,), 1, (1, 2)), "`axis` must be one of the choices"),
        (
            lambda: uniformly_controlled_rotation("ry", (0,), 1, (1,)),
            r"`angles` must hold 2 angles for 1 control\(s\)",
        ),
    ],
)
def test_amplitude_errors(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()  # type: ignore[operator]
