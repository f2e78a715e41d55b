"""The perceptrons against closed forms, and dissipative networks against dense NumPy channels."""

from collections.abc import Callable
from itertools import product
from typing import Any

import dense_reference as dense
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qjax.checks import UserError
from qjax.quantum import Circuit, init_params, probabilities, state
from qjax.quantum.measure.reduced import postselect, reduced_density_matrix
from qjax.quantum.perceptron import (
    activation,
    apply_dissipative_layers,
    controlled_rotations,
    dissipative_network,
    heralded_state,
    measured_perceptron,
    repeat_until_success_perceptron,
    success_probability,
)

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def quick(function: Callable[..., Any], *arguments: Any) -> Any:
    return jax.jit(function, compiler_options=QUICK)(*arguments)


def neuron_values(num_inputs: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Parameters, all bit strings [2**n, n] in the order of the basis, and w . x + b for each."""
    rng = np.random.default_rng(num_inputs)
    weights, bias = rng.uniform(-1.5, 1.5, num_inputs), rng.uniform(-1, 1)
    bits = np.asarray(list(product((0.0, 1.0), repeat=num_inputs)))
    return {"perceptron_weights": weights, "perceptron_bias": np.asarray(bias)}, bits, bits @ weights + bias


def sigmoid(theta: np.ndarray, rounds: int) -> np.ndarray:
    """The paper's q, as it writes it."""
    for _ in range(rounds):
        theta = np.arctan(np.tan(theta) ** 2)
    return theta


def random_states(count: int, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(count, 2**n)) + 1j * rng.normal(size=(count, 2**n))
    return states / np.linalg.norm(states, axis=1, keepdims=True)


# Controlled rotations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3])
def test_controlled_rotations_turn_by_the_weighted_sum(n: int) -> None:
    params, _, theta = neuron_values(n)
    starts = np.kron(np.eye(2**n), [1.0, 0.0])  # |x> |0> for every x
    with jax.enable_x64(True):
        found = quick(lambda p, s: state(controlled_rotations(n), p, None, s), params, starts)
    turned = np.stack([np.cos(theta), np.sin(theta)], axis=1)
    np.testing.assert_allclose(found, np.einsum("xy,xo->xyo", np.eye(2**n), turned).reshape(2**n, -1), atol=1e-12)


def test_measured_perceptron() -> None:
    params, bits, theta = neuron_values(2)
    with jax.enable_x64(True):
        found = quick(lambda p, x: probabilities(measured_perceptron(2), p, x, (2,)), params, bits)
        even = measured_perceptron(2, encoding=Circuit(2).append("h", 0).append("h", 1))
        averaged = quick(lambda p: probabilities(even, p, None, (2,)), params)
    np.testing.assert_allclose(found[:, 1], np.sin(theta) ** 2, atol=1e-12)
    np.testing.assert_allclose(averaged[1], np.mean(np.sin(theta) ** 2), atol=1e-12)
    assert set(measured_perceptron(2, name="p").parameter_shapes) == {"p_weights", "p_bias"}


# Repeat until success -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "rounds"), [(2, 1), (2, 2), (1, 3)])
def test_heralded_output_of_every_input(n: int, rounds: int) -> None:
    circuit = repeat_until_success_perceptron(n, rounds)
    assert circuit.num_qubits == n + 2**rounds
    params, bits, theta = neuron_values(n)
    with jax.enable_x64(True):
        found, probability = quick(lambda p, x: heralded_state(circuit, n, p, x), params, bits)
    q, expected = sigmoid(theta, rounds), np.ones_like(theta)
    for k in range(rounds):  # two inner circuits, and the ancilla of this round
        before = sigmoid(theta, k)
        expected = expected**2 * (np.cos(before) ** 4 + np.sin(before) ** 4)
    turned = np.stack([np.cos(q), np.sin(q)], axis=1)
    np.testing.assert_allclose(probability, expected, atol=1e-12)
    np.testing.assert_allclose(found, np.einsum("xy,xo->xyo", np.eye(2**n), turned).reshape(2**n, -1), atol=1e-12)
    with jax.enable_x64(True):
        np.testing.assert_allclose(activation(theta, rounds), q, atol=1e-12)
        np.testing.assert_allclose(success_probability(theta, rounds), expected, atol=1e-12)


@pytest.mark.parametrize("rounds", [1, 2])
def test_heralded_output_of_a_superposition_and_of_any_output_qubit(rounds: int) -> None:
    n = 2
    circuit = repeat_until_success_perceptron(n, rounds, encoding=Circuit(n))
    params, _, theta = neuron_values(n)
    amplitudes, output = random_states(1, n)[0], random_states(1, 1, seed=1)[0]
    ancillas = np.eye(2 ** (circuit.num_qubits - n - 1))[0]
    start = np.kron(np.kron(amplitudes, ancillas), output)
    with jax.enable_x64(True):
        found, probability = quick(lambda p, s: heralded_state(circuit, n, p, None, s), params, start)
        each = np.asarray(success_probability(theta, rounds))
    turned = [dense.exp_pauli("Y", 2 * float(q)) @ output for q in sigmoid(theta, rounds)]
    expected = (amplitudes * np.sqrt(each))[:, None] * np.stack(turned)
    total = np.abs(amplitudes) ** 2 @ each
    np.testing.assert_allclose(probability, total, atol=1e-12)
    np.testing.assert_allclose(found, expected.reshape(-1) / np.sqrt(total), atol=1e-12)


def test_a_failure_is_undone_by_a_quarter_turn() -> None:
    circuit = repeat_until_success_perceptron(1)
    output = random_states(1, 1)[0]
    params, _, theta = neuron_values(1)
    for x in (0, 1):
        start = np.kron(np.eye(4)[2 * x], output)
        with jax.enable_x64(True):
            after = quick(lambda p, s: state(circuit, p, np.zeros(1), s), params, start)
            failed, probability = postselect(after, 1, "1")
        mended = np.kron(np.eye(2), dense.exp_pauli("Y", np.pi / 2)) @ np.asarray(failed)
        np.testing.assert_allclose(probability, 1 - np.cos(theta[x]) ** 4 - np.sin(theta[x]) ** 4, atol=1e-12)
        fidelity = abs(np.vdot(mended, np.kron(np.eye(2)[x], output)))
        assert fidelity == pytest.approx(1, abs=1e-12)


def test_activation_and_its_gradient() -> None:
    theta = np.asarray([0.0, 0.3, np.pi / 4, 1.0, np.pi / 2, 2.0])
    with jax.enable_x64(True):
        np.testing.assert_allclose(activation(theta), sigmoid(theta, 1), atol=1e-12)
        np.testing.assert_allclose(activation(theta + np.pi, 2), activation(theta, 2), atol=1e-12)
        for function in (activation, success_probability):
            slope = jax.vmap(jax.grad(lambda t, f=function: f(t, 2)))(theta)
            numeric = (function(theta + 1e-6, 2) - function(theta - 1e-6, 2)) / 2e-6
            np.testing.assert_allclose(slope, numeric, atol=1e-8)
    sharp = activation(np.asarray([0.5, 1.0], np.float32), rounds=6)
    assert sharp.dtype == jnp.float32
    np.testing.assert_allclose(sharp, [0.0, np.pi / 2], atol=1e-5)


def test_gradient_through_a_heralded_output() -> None:
    circuit = repeat_until_success_perceptron(1)

    def one(p: Any) -> Any:
        left, _ = heralded_state(circuit, 1, p, jnp.ones(1))
        return jnp.abs(left[3]) ** 2  # input 1, output 1

    params = {"perceptron_weights": np.asarray([0.4]), "perceptron_bias": np.asarray(0.2)}
    with jax.enable_x64(True):
        found = quick(jax.grad(one), params)
        expected = jax.grad(lambda t: jnp.sin(activation(t)) ** 2)(0.6)
    np.testing.assert_allclose(found["perceptron_weights"], [expected], atol=1e-12)
    np.testing.assert_allclose(found["perceptron_bias"], expected, atol=1e-12)


# Dissipative networks -----------------------------------------------------------------------------------------------


def network_values(widths: tuple[int, ...], block: str) -> dict[str, np.ndarray]:
    shapes = dissipative_network(widths, block).parameter_shapes
    rng = np.random.default_rng(sum(widths))
    return {name: rng.uniform(-2, 2, shape) for name, shape in shapes.items()}


def random_density(n: int) -> np.ndarray:
    states, weights = random_states(3, n), np.asarray([0.5, 0.3, 0.2])
    return np.einsum("k,ka,kb->ab", weights, states, states.conj())


def dense_step(widths: tuple[int, ...], layer: int, block: str, params: dict[str, np.ndarray]) -> np.ndarray:
    """Unitary of one step on the qubits of both layers, from the definitions."""
    m, k = widths[layer : layer + 2]
    total = np.eye(2 ** (m + k), dtype=complex)
    if block == "can":
        total = dense.embed(
            dense.kron_all([dense.matrix("u", angles) for angles in params[f"dissipative_u{layer}"]]), range(m), m + k
        )
    for j in range(k):
        if block == "can":
            for i in range(m):
                angles = params[f"dissipative_can{layer}"][j, i]
                for letters, angle in zip(("XX", "YY", "ZZ"), angles, strict=True):
                    total = dense.embed(dense.exp_pauli(letters, angle), (i, m + j), m + k) @ total
            continue
        strings = ["".join(letters) for letters in product("IXYZ", repeat=m + 1)][1:]
        for letters, angle in zip(strings, params[f"dissipative_pauli{layer}"][j], strict=True):
            total = dense.embed(dense.exp_pauli(letters, angle), (*range(m), m + j), m + k) @ total
    if block == "can" and layer == len(widths) - 2:
        last = dense.kron_all([dense.matrix("u", angles) for angles in params[f"dissipative_u{layer + 1}"]])
        total = dense.embed(last, range(m, m + k), m + k) @ total
    return total


def dense_network(rho: np.ndarray, params: Any, widths: tuple[int, ...], block: str) -> np.ndarray:
    """Each step: fresh qubits in |0...0>, the unitary, and the partial trace over the layer that is left behind."""
    for layer in range(len(widths) - 1):
        m, k = widths[layer : layer + 2]
        fresh = np.zeros((2**k, 2**k))
        fresh[0, 0] = 1
        u = dense_step(widths, layer, block, params)
        joint = (u @ np.kron(rho, fresh) @ u.conj().T).reshape(2**m, 2**k, 2**m, 2**k)
        rho = np.einsum("iaib->ab", joint)
    return rho


@pytest.mark.parametrize(("widths", "block"), [((2, 1), "can"), ((1, 2, 2), "can"), ((1, 1, 1), "pauli")])
def test_dissipative_network_against_dense_algebra(widths: tuple[int, ...], block: str) -> None:
    network, params = dissipative_network(widths, block), network_values(widths, block)
    n, first = sum(widths), widths[0]
    inputs = random_states(2, first)
    densities = np.stack([*(np.outer(s, s.conj()) for s in inputs), random_density(first)])
    starts = np.stack([np.kron(s, np.eye(2 ** (n - first))[0]) for s in inputs])
    with jax.enable_x64(True):
        layered = quick(lambda p, r: apply_dissipative_layers(r, p, widths, block), params, densities)
        whole = quick(lambda p, s: state(network, p, None, s), params, starts)
        output = reduced_density_matrix(whole, tuple(range(n - widths[-1], n)))
    expected = np.stack([dense_network(rho, params, widths, block) for rho in densities])
    np.testing.assert_allclose(layered, expected, atol=1e-12)
    np.testing.assert_allclose(output, expected[:2], atol=1e-12)
    np.testing.assert_allclose(np.trace(layered, axis1=1, axis2=2), 1, atol=1e-12)
    assert np.linalg.eigvalsh(layered).min() > -1e-12


def test_pauli_block_on_three_qubits() -> None:
    """63 rotations: too many to compile often, so that the step is read off the circuit and multiplied by hand."""
    params = network_values((2, 1), "pauli")
    total = np.eye(8, dtype=complex)
    for op in dissipative_network((2, 1), "pauli").bind(params).iter_operations():
        total = dense.embed(dense.exp_pauli(op.gate.data.decode(), op.angles[0].shift), op.qubits, 3) @ total
    np.testing.assert_allclose(total, dense_step((2, 1), 0, "pauli", params), atol=1e-12)


def test_encoding_of_a_dissipative_network() -> None:
    params = {name: value.astype(np.float32) for name, value in network_values((2, 1), "can").items()}
    encoded = dissipative_network((2, 1), encoding=Circuit(2).append("x", 1))
    output = quick(lambda p: reduced_density_matrix(state(encoded, p), 2), params)
    given = np.zeros((4, 4))
    given[1, 1] = 1
    np.testing.assert_allclose(output, dense_network(given, params, (2, 1), "can"), atol=1e-6)


def test_a_dissipative_network_learns_a_unitary() -> None:
    """Gradient ascent on the fidelity of six training pairs, judged on ten others."""
    target = dense.exp_pauli("ZX", 1.1) @ dense.kron_all([dense.matrix("u", (0.7, 0.3, -1)), dense.H])
    states = random_states(16, 2).astype(np.complex64)
    images = states @ target.T.astype(np.complex64)
    densities = jnp.asarray(np.einsum("ka,kb->kab", states, states.conj()))

    def fidelities(p: Any, densities: Any, images: Any) -> Any:
        output = apply_dissipative_layers(densities, p, (2, 2))
        return jnp.einsum("ka,kab,kb->k", images.conj(), output, images).real

    optimizer = optax.adam(0.1)

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        p, moments = carry
        loss, gradient = jax.value_and_grad(lambda q: -fidelities(q, densities[:6], images[:6]).mean())(p)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(p, updates), moments), -loss

    params = init_params(jax.random.key(0), dissipative_network((2, 2)), scale=0.5)
    with jax.numpy_dtype_promotion("standard"):  # optax counts its steps in integers
        (trained, _), history = quick(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, length=60), params)
    assert history[0] < 0.6
    assert quick(fidelities, trained, densities[6:], images[6:]).mean() > 0.95


# Errors -------------------------------------------------------------------------------------------------------------


def test_two_precisions_are_refused() -> None:
    params = network_values((1, 1), "can")
    with jax.enable_x64(True), pytest.raises(UserError, match="`density` must have the precision of the parameters"):
        jax.eval_shape(lambda rho: apply_dissipative_layers(rho, params, (1, 1)), np.eye(2, dtype=np.float32))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: controlled_rotations(0), "`num_inputs` must be an integer of at least 1, but got 0"),
        (lambda: measured_perceptron(2, Circuit(3)), "`encoding` must have 2 qubits, one an input, but got 3"),
        (lambda: repeat_until_success_perceptron(1, 0), "`rounds` must be an integer of at least 1, but got 0"),
        (lambda: activation(0.1, 0), "`rounds` must be an integer of at least 1, but got 0"),
        (
            lambda: heralded_state(measured_perceptron(2), 2),
            "`circuit` must have ancillas between its inputs and its output, but got 3 qubits of which 2 are inputs",
        ),
        (lambda: dissipative_network((2,)), r"`widths` must hold at least two layers, .*but got \(2,\)"),
        (lambda: dissipative_network((2, 0)), r"`widths` must hold at least two layers, each of at least 1 qubit"),
        (
            lambda: dissipative_network((1, 1), "cans"),
            "`block` must be one of the choices, but got 'cans'. Did you mean",
        ),
        (
            lambda: dissipative_network((1, 1), encoding=Circuit(2)),
            "`encoding` must have 1 qubits like the first layer, but got 2",
        ),
        (
            lambda: apply_dissipative_layers(np.eye(4), network_values((1, 1), "can"), (1, 1)),
            r"`density` must have shape \[\.\.\., 2, 2\], but got shape \[4, 4\]",
        ),
        (lambda: apply_dissipative_layers(np.eye(2), {}, (1, 1)), "`params` must hold 'dissipative_u0'"),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
