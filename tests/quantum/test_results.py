"""Variances, samples, postselection, density matrices and their measures, against dense algebra and Qiskit."""

from collections.abc import Callable
from functools import partial
from typing import Any

import dense_reference as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from qiskit import quantum_info

from qjax.checks import UserError
from qjax.quantum import Circuit, input_angle, parameter, sample, z_observables
from qjax.quantum.measure.entanglement import (
    entropy,
    fidelity,
    linear_entropy,
    mixed_fidelity,
    purity,
    uhlmann_fidelity,
)
from qjax.quantum.measure.observables import Hermitian, Observable, PauliString, PauliSum, Projector
from qjax.quantum.measure.reduced import postselect, reduced_density_matrix
from qjax.quantum.measure.samples import bitstrings, counts
from qjax.quantum.variances import covariance, variance

RNG = np.random.default_rng(11)
# These tests compile many programs and run each once.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def quick_jit(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function, compiler_options=QUICK)


def random_state(*shape: int) -> np.ndarray:
    """Normalised along the last axis."""
    state = RNG.normal(size=shape) + 1j * RNG.normal(size=shape)
    return state / np.linalg.norm(state, axis=-1, keepdims=True)


def random_density(*lead: int, dim: int = 4, rank: int = 4) -> np.ndarray:
    root = random_state(*lead, rank, dim) / np.sqrt(rank)
    return np.einsum("...kr,...kc->...rc", root, root.conj())


def rotation(generator: np.ndarray, angle: Any) -> Any:
    """exp(i angle G), as JAX, for a Hermitian G."""
    values, vectors = np.linalg.eigh(generator)
    phases = jnp.exp(jax.lax.complex(jnp.zeros(len(values)), angle * values))
    return (vectors * phases[None, :]) @ vectors.conj().T


def central_difference(function: Callable[[Any], Any], at: float, step: float = 1e-5) -> Any:
    return (function(at + step) - function(at - step)) / (2 * step)


# Variance and covariance. -----------------------------------------------------------------------------------

CIRCUIT = (
    Circuit(3).append("h", 0).append("ry", 1, input_angle(0)).append("cx", (0, 2)).append("rx", 2, parameter("a"))
).append("crz", (2, 1), 0.7)
OBSERVABLES: tuple[Observable, ...] = (
    PauliString("ZIX"),
    PauliString("XYI"),
    PauliSum.from_text("0.5 XZI - 1.5 IYZ + 0.25 ZZZ + XII + 2"),
    Hermitian([[1, 2j], [-2j, 0.5]], [2], 3),
    Projector.from_bits(["01", "10"], (2, 0), 3),
    Projector.from_state(np.array([1, 1j, 0, 1]) / np.sqrt(3), (1, 0), 3),
)


def test_variance_and_covariance_against_dense_algebra() -> None:
    inputs, params = np.array([[0.4], [2.0]]), {"a": np.float64(-0.8)}
    with jax.enable_x64(True):
        run = partial(covariance, CIRCUIT, observables=OBSERVABLES)
        found = quick_jit(run)(params, inputs)
        diagonal = quick_jit(partial(variance, CIRCUIT, observables=OBSERVABLES))(params, inputs)
        slope = quick_jit(jax.jacfwd(lambda a: run({"a": a}, inputs)))(params["a"])
    matrices = [observable.matrix() for observable in OBSERVABLES]

    def reference(a: float) -> np.ndarray:
        gates: list[Any] = [
            ("h", (0,)),
            ("ry", (1,), (0.0,)),
            ("cx", (0, 2)),
            ("rx", (2,), (a,)),
            ("crz", (2, 1), (0.7,)),
        ]
        rows = []
        for (x,) in inputs:
            gates[1] = ("ry", (1,), (x,))
            psi = dense.run(3, gates)
            means = [(psi.conj() @ m @ psi).real for m in matrices]
            pairs = [[(psi.conj() @ (p @ q + q @ p) @ psi).real / 2 for q in matrices] for p in matrices]
            rows.append(np.array(pairs) - np.outer(means, means))
        return np.stack(rows)

    np.testing.assert_allclose(found, reference(-0.8), atol=1e-12)
    np.testing.assert_allclose(diagonal, np.einsum("bkk->bk", reference(-0.8)), atol=1e-12)
    np.testing.assert_allclose(slope, central_difference(reference, -0.8), atol=1e-8)


def test_variance_from_an_initial_state_and_without_a_batch() -> None:
    minus = np.array([1, -1], np.complex64) / np.sqrt(2, dtype=np.float32)
    spins = (PauliString("X"), PauliString("Z"), PauliString("Y"))
    found = quick_jit(lambda start: variance(Circuit(1), observables=spins, initial_state=start))(minus)
    np.testing.assert_allclose(found, [0, 1, 1], atol=1e-6)
    pairs = quick_jit(lambda start: covariance(Circuit(1), observables=spins, initial_state=start))
    np.testing.assert_allclose(pairs(minus), np.diag([0, 1, 1]), atol=1e-6)
    np.testing.assert_allclose(pairs(np.stack([minus, minus])), np.stack([np.diag([0, 1, 1])] * 2), atol=1e-6)


def test_a_small_variance_is_not_lost_in_rounding() -> None:
    offset = PauliSum.from_text("1000 + 0.01 Z")  # <O**2> - <O>**2 in float32 would be a multiple of 0.06
    plus = np.full(2, np.sqrt(0.5), np.float32)
    found = variance(Circuit(1), observables=[offset], initial_state=plus)
    np.testing.assert_allclose(found, [1e-4], rtol=0.05)


# Samples. ---------------------------------------------------------------------------------------------------


def test_counts_and_bitstrings() -> None:
    samples = np.array([6, 0, 3, 6, 6, 0])
    assert bitstrings(samples, 3) == ["110", "000", "011", "110", "110", "000"]
    assert bitstrings(samples.reshape(2, 3), 3) == [["110", "000", "011"], ["110", "110", "000"]]
    found = counts(samples, 3)
    assert list(found.items()) == [("000", 2), ("011", 1), ("110", 3)]
    assert counts(np.zeros(0, int), 3) == {}
    measured = counts(sample(jax.random.key(0), Circuit(3).append("x", 1), shots=100), 3)
    assert measured == {"010": 100}  # qubit 0 first


# Postselection and reduced density matrices. ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("qubits", "bits"), [(2, "1"), ((0,), [0]), ((3, 1), "10"), ((1, 0, 2), (1, 1, 0)), ((2, 0, 3, 1), "0110")]
)
def test_postselection_against_slices(qubits: Any, bits: Any) -> None:
    states = random_state(2, 3, 16)
    cube: Any = np.moveaxis(states.reshape(2, 3, 2, 2, 2, 2), (0, 1), (-2, -1))
    chosen = [slice(None)] * 4
    for q, bit in zip(np.atleast_1d(qubits), bits, strict=True):
        chosen[q] = int(bit)  # type: ignore[call-overload]
    piece = np.moveaxis(cube[tuple(chosen)].reshape(-1, 2, 3), 0, -1)
    expected = (np.abs(piece) ** 2).sum(axis=-1)
    with jax.enable_x64(True):
        left, probability = quick_jit(lambda s: postselect(s, qubits, bits))(states)
    np.testing.assert_allclose(probability, expected, atol=1e-14)
    np.testing.assert_allclose(left, piece / np.sqrt(expected)[..., None], atol=1e-13)


def test_postselection_of_what_cannot_be() -> None:
    states = jnp.asarray([[1.0, 0.0, 0.0, 0.0], [0.6, 0.0, 0.8, 0.0]])
    left, probability = quick_jit(lambda s: postselect(s, 0, "1"))(states)
    np.testing.assert_allclose(left, [[0, 0], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(probability, [0, 0.64], atol=1e-6)

    def loss(s: Any) -> Any:
        state, chance = postselect(s, 0, "1")
        return (state.real * jnp.asarray([[1.0, 2.0]] * 2)).sum() + chance.sum()

    # Of the second row: d of (1, 2) . piece/|piece| + |piece|**2 at piece = (0.8, 0) is (2 * 0.8, 2 / 0.8).
    slope = quick_jit(jax.grad(loss))(states)
    np.testing.assert_allclose(slope[1], [0, 0, 1.6, 2.5], atol=1e-5)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("qubits", [0, (3,), (1, 2), (3, 0), (2, 0, 1), (1, 3, 0, 2)])
def test_reduced_density_matrix_against_qiskit(qubits: Any) -> None:
    n, states = 4, random_state(2, 16)
    kept = np.atleast_1d(qubits).tolist()
    found = quick_jit(lambda s: reduced_density_matrix(s, qubits))(states.astype(np.complex64))
    for state, rho in zip(states, found, strict=True):
        # Qiskit's qubit j is our qubit n-1-j; the kept ones keep their order, the highest the most significant.
        # So ours are put into ascending order first, and permuted afterwards.
        traced = quantum_info.partial_trace(
            quantum_info.Statevector(state), [n - 1 - q for q in range(n) if q not in kept]
        )
        k, ascending = len(kept), sorted(kept)
        axes = [ascending.index(q) for q in kept]
        expected = traced.data.reshape((2,) * (2 * k)).transpose([*axes, *(k + a for a in axes)]).reshape(2**k, -1)
        np.testing.assert_allclose(rho, expected, atol=1e-6)


# Purity, entropy, fidelity. ---------------------------------------------------------------------------------


def test_purity_and_entropies_against_qiskit() -> None:
    rhos = np.stack([random_density(), random_density(rank=1), random_density(rank=2), np.eye(4) / 4])
    with jax.enable_x64(True):
        measures = purity, linear_entropy, entropy, partial(entropy, base=np.e)
        found = quick_jit(lambda rhos: [measure(rhos) for measure in measures])(rhos)
    single = quick_jit(lambda rhos: entropy(rhos, 4.0))(rhos.astype(np.complex64))
    pure = [quantum_info.purity(quantum_info.DensityMatrix(rho)).real for rho in rhos]
    bits = [quantum_info.entropy(quantum_info.DensityMatrix(rho), 2) for rho in rhos]
    np.testing.assert_allclose(found[0], pure, atol=1e-12)
    np.testing.assert_allclose(found[1], 1 - np.array(pure), atol=1e-12)
    np.testing.assert_allclose(found[2], bits, atol=1e-12)
    np.testing.assert_allclose(found[3], np.array(bits) * np.log(2), atol=1e-12)
    np.testing.assert_allclose(single, np.array(bits) / 2, atol=1e-5)
    assert single.dtype == np.float32


SPECTRA = {
    "distinct": ([0.1, 0.2, 0.3, 0.4], [0.05, -0.1, 0.02, 0.03]),
    "equal": ([0.25] * 4, [0.0] * 4),
    "pairs": ([0.1, 0.1, 0.4, 0.4], [0.1, 0.1, -0.1, -0.1]),
    "nearly equal": ([0.25, 0.25 + 1e-9, 0.2, 0.3 - 1e-9], [0.1, -0.1, 0.0, 0.0]),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_first_and_second_derivative_of_the_entropy(name: str) -> None:
    """Of U(t) V (base + t change) V^H U(t)^H, whose eigenvalues are linear in t while its eigenvectors turn."""
    base, change = map(np.array, SPECTRA[name])
    generator = random_density()
    vectors = np.linalg.eigh(random_density())[1]

    def family(t: Any) -> Any:
        turn = rotation(generator, 3.0 * t) @ vectors
        values = jnp.asarray(base) + t * jnp.asarray(change)
        return (turn * values.astype(turn.dtype)[None, :]) @ turn.conj().T

    with jax.enable_x64(True):
        run = quick_jit(lambda t: (jax.grad(f := lambda t: entropy(family(t), np.e))(t), jax.grad(jax.grad(f))(t)))
        slope, curvature = run(0.0)
    np.testing.assert_allclose(slope, -(change * (np.log(base) + 1)).sum(), atol=1e-10)
    np.testing.assert_allclose(curvature, -(change**2 / base).sum(), atol=1e-6)


def test_derivatives_of_the_entropy_at_the_maximally_mixed_state() -> None:
    """All eigenvalues are equal: with G of trace 0 the entropy of 1/4 + t G is log(4) - 2 t**2 tr(G**2) + ..."""
    direction = random_density() - np.eye(4) / 4

    def f(t: Any) -> Any:
        return entropy(jnp.eye(4).astype(direction.dtype) / 4 + direction * t, np.e)

    with jax.enable_x64(True):
        run = quick_jit(lambda t: (jax.grad(f)(t), jax.grad(jax.grad(f))(t)))
        slope, curvature = run(0.0)
    np.testing.assert_allclose(slope, 0, atol=1e-12)
    np.testing.assert_allclose(curvature, -4 * np.trace(direction @ direction).real, atol=1e-10)


def test_gradient_of_entanglement_at_and_near_product_states() -> None:
    circuit_state = lambda t: jnp.stack([jnp.cos(t), t * 0, t * 0, jnp.sin(t)])  # noqa: E731

    def entangled(t: Any) -> Any:
        return entropy(reduced_density_matrix(circuit_state(t), 0), np.e)

    angles = np.array([0.0, 0.3, np.pi / 4, np.pi / 2, 2.0])
    p = np.cos(angles) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where((p > 1e-9) & (p < 1 - 1e-9), np.sin(2 * angles) * np.log(p / (1 - p)), 0.0)
    for x64, atol in ((True, 1e-12), (False, 1e-5)):
        with jax.enable_x64(x64):
            found = quick_jit(jax.vmap(jax.grad(entangled)))(angles.astype(np.float64 if x64 else np.float32))
        np.testing.assert_allclose(found, expected, atol=atol)


def test_fidelities_against_qiskit() -> None:
    first, second = random_state(3, 4), random_state(3, 4)
    rho = np.stack([random_density(rank=r) for r in (4, 1, 2)])
    sigma = np.stack([random_density(rank=r) for r in (4, 4, 3)])
    density = lambda a: quantum_info.DensityMatrix(a) if a.ndim == 2 else quantum_info.Statevector(a)  # noqa: E731
    for function, a, b in ((fidelity, first, second), (mixed_fidelity, first, rho), (uhlmann_fidelity, rho, sigma)):
        expected = [quantum_info.state_fidelity(density(x), density(y)) for x, y in zip(a, b, strict=True)]
        with jax.enable_x64(True):
            np.testing.assert_allclose(quick_jit(function)(a, b), expected, atol=1e-7)
        a, b = a.astype(np.complex64), b.astype(np.complex64)
        against_one = quick_jit(function)(a[0], b)  # missing axes stand for any
        expected = [quantum_info.state_fidelity(density(a[0]), density(y), validate=False) for y in b]
        np.testing.assert_allclose(against_one, expected, atol=2e-3 if function is uhlmann_fidelity else 1e-6)


def test_uhlmann_fidelity_of_pure_states_is_their_overlap() -> None:
    a, b = random_state(2, 4), random_state(2, 4)
    pure = [np.einsum("br,bc->brc", x, x.conj()).astype(np.complex64) for x in (a, b)]
    expected = np.abs((a.conj() * b).sum(axis=-1)) ** 2
    np.testing.assert_allclose(quick_jit(uhlmann_fidelity)(*pure), expected, atol=2e-6)
    np.testing.assert_allclose(quick_jit(uhlmann_fidelity)(pure[0], pure[0]), [1, 1], atol=2e-6)
    orthogonal = [np.diag(d).astype(np.complex64) for d in ([0.5, 0.5, 0, 0], [0, 0, 0.3, 0.7])]
    value, slope = quick_jit(jax.value_and_grad(lambda rho: uhlmann_fidelity(rho, orthogonal[1])))(orthogonal[0])
    assert abs(value) < 1e-6
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(("rank", "other"), [(4, 4), (1, 4), (4, 2), (1, 1), (4, 0)])
def test_gradient_of_the_uhlmann_fidelity(rank: int, other: int) -> None:
    """Of states that turn, whose rank stays; other = 0 is the maximally mixed state, where F stays too."""
    rho = random_density(rank=rank)
    sigma = random_density(rank=other) if other else np.eye(4) / 4 + 0j
    first, second = random_density() * 4, random_density() * 4

    def value(t: Any) -> Any:
        turned = [
            rotation(g, s * t) @ m @ rotation(g, -s * t) for g, m, s in ((first, rho, 1.0), (second, sigma, -2.0))
        ]
        return uhlmann_fidelity(*turned)

    with jax.enable_x64(True):
        run = quick_jit(jax.value_and_grad(value))
        found = run(0.3)[1]
        numeric = central_difference(lambda t: np.float64(run(t)[0]), 0.3)
    np.testing.assert_allclose(found, numeric, atol=1e-7)
    if other == 0:
        np.testing.assert_allclose(found, 0, atol=1e-12)


def test_gradient_of_the_uhlmann_fidelity_in_the_spectrum() -> None:
    weights = np.array([0.1, 0.2, 0.3, 0.4])  # of matrices that commute: F = (sum of sqrt(p q))**2

    def value(p: Any) -> Any:
        return uhlmann_fidelity(jnp.diag(p).astype(jnp.complex128), jnp.diag(jnp.asarray(weights)))

    with jax.enable_x64(True):
        found = quick_jit(jax.grad(value))(np.full(4, 0.25))
    np.testing.assert_allclose(found, np.sqrt(weights * 0.25).sum() * np.sqrt(weights / 0.25), atol=1e-12)


def test_batches_equal_vmap_and_one_at_a_time() -> None:
    rhos, states = random_density(3).astype(np.complex64), random_state(3, 4).astype(np.complex64)

    def everything(rho: Any, state: Any) -> Any:
        left, probability = postselect(state, 1, "0")
        reduced = reduced_density_matrix(state, 1)
        measures = (purity(rho), entropy(rho), mixed_fidelity(state, rho), uhlmann_fidelity(rho, rho))
        return left, probability, reduced, measures

    batched = quick_jit(everything)(rhos, states)
    mapped = quick_jit(jax.vmap(everything))(rhos, states)
    one = quick_jit(everything)(rhos[1], states[1])
    jax.tree.map(partial(np.testing.assert_allclose, atol=3e-6), batched, mapped)
    jax.tree.map(lambda many, single: np.testing.assert_allclose(many[1], single, atol=3e-6), batched, one)


# Mistakes. --------------------------------------------------------------------------------------------------

STATE, RHO = np.ones(4, np.float32) / 2, np.eye(4, dtype=np.float32) / 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: variance(Circuit(2), observables=z_observables(3)),
            "`observables` must have 2 letters, one a qubit",
        ),
        (lambda: covariance(Circuit(2)), "`observables` must hold at least one observable"),
        (lambda: counts([4], 2), r"`samples` must be in 0\.\.3 for 2 qubits, but got 4 to 4"),
        (lambda: counts([[1]], 2), r"`samples` must have shape \[shots\], but got shape \[1, 1\]"),
        (lambda: bitstrings([0, -1], 2), r"`samples` must be in 0\.\.3 for 2 qubits, but got -1 to 0"),
        (lambda: bitstrings([0.5], 2), "`samples` must hold integers, but got float64"),
        (lambda: counts([0], 0), "`num_qubits` must be an integer of at least 1, but got 0"),
        (lambda: postselect(STATE, 0, "2"), "`bits` must hold 1 times 0 or 1, one for each of `qubits`, but got '2'"),
        (lambda: postselect(STATE, (0, 1), "1"), "`bits` must hold 2 times 0 or 1"),
        (lambda: postselect(STATE, (1, 1), "10"), r"`qubits` must hold distinct integers in 0\.\.1"),
        (lambda: postselect(STATE, -1, "1"), "`qubits` must be an integer of at least 0, but got -1"),
        (lambda: postselect(STATE[:3], 0, "1"), r"`state` must have shape \[\.\.\., 2\*\*n\].*got shape \[3\]"),
        (lambda: postselect(np.array([1, 0]), 0, "1"), "`state` must hold complex or real floating.*but got int32"),
        (lambda: reduced_density_matrix(STATE, 2), r"`qubits` must hold distinct integers in 0\.\.1"),
        (lambda: reduced_density_matrix(STATE, ()), "`qubits` must hold distinct integers .*at least one"),
        (lambda: purity(STATE), r"`rho` must have shape \[\.\.\., 2\*\*n, 2\*\*n\].*but got shape \[4\]"),
        (lambda: entropy(RHO, 1.0), "`base` must be a finite number above 0 and other than 1, but got 1.0"),
        (lambda: entropy(RHO, -2.0), "`base` must be a finite number above 0"),
        (lambda: entropy(RHO.astype(np.float16)), "`rho` must hold complex or real floating.*but got float16"),
        (lambda: fidelity(STATE, STATE[:2]), r"`the two` must have one number of qubits.*\[4\] and \[2\]"),
        (
            lambda: fidelity(np.stack([STATE] * 2), np.stack([STATE] * 3)),
            r"`the two` must have leading axes that fit together, but got shapes \[2, 4\] and \[3, 4\]",
        ),
        (lambda: mixed_fidelity(STATE, STATE), r"`rho` must have shape \[\.\.\., 2\*\*n, 2\*\*n\]"),
        (lambda: uhlmann_fidelity(RHO, RHO[:2]), r"`sigma` must have shape .*but got shape \[2, 4\]"),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


def test_two_dtypes_are_refused() -> None:
    with jax.enable_x64(True), pytest.raises(UserError, match="`the two` must have one dtype, but got complex64 and"):
        fidelity(STATE, STATE.astype(np.float64))
