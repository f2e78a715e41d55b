"""Given initial states, the circuit's matrix, and the estimate of memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_steps, dense_unitary
from dense_reference import run

from qjax.checks import UserError
from qjax.quantum import (
    Circuit,
    PauliString,
    angle_encoding,
    expectation,
    hardware_efficient,
    input_angle,
    parameter,
    probabilities,
    sample,
    state,
    unitary,
    z_observables,
)
from qjax.quantum.engines import memory
from qjax.quantum.engines.memory import state_bytes


def circuit(n: int, reps: int = 2) -> Circuit:
    layers = angle_encoding(n) + hardware_efficient(n, reps)
    return layers.append("ry", 0, 0.3 * input_angle(0), controls=range(1, n)) if n > 2 else layers


def values(n: int, reps: int = 2, batch: int = 3) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    params = {"ansatz": rng.uniform(-3, 3, (reps, n, 2)).astype(np.float32)}
    starts = rng.normal(size=(batch, 2**n)) + 1j * rng.normal(size=(batch, 2**n))
    starts = (starts / np.linalg.norm(starts, axis=1, keepdims=True)).astype(np.complex64)
    return params, rng.uniform(-3, 3, (batch, n)).astype(np.float32), starts


@pytest.mark.parametrize(("n", "reps"), [(1, 2), (3, 2), (3, 40)])  # 40 repetitions are a loop
def test_the_matrix_is_what_a_circuit_makes_of_given_basis_states(n: int, reps: int) -> None:
    params, inputs, starts = values(n, reps)
    whole = unitary(circuit(n, reps), params, inputs)
    assert whole.shape == (3, 2**n, 2**n)
    for matrix, row in zip(whole, inputs, strict=True):
        np.testing.assert_allclose(matrix, dense_unitary(circuit(n, reps), params, row), atol=1e-5)
    np.testing.assert_allclose(whole[1], unitary(circuit(n, reps), params, inputs[1]), atol=1e-5)
    one_input = state(circuit(n, reps), params, inputs[0], starts)
    np.testing.assert_allclose(one_input, np.einsum("ij,bj->bi", whole[0], starts), atol=1e-5)
    single = state(circuit(n, reps), params, inputs[0], starts[0])
    assert single.shape == (2**n,)
    np.testing.assert_allclose(single, whole[0] @ starts[0], atol=1e-5)


CASES = [
    (1, 17, False, "ry", False), (2, 3, True, "rz", True), (3, 0, False, "rz", False), (3, 16, True, "ry", True),
    (4, 2, False, "rz", True), (6, 8, False, "ry", False), (6, 8, False, "ry", True), (9, 1, True, "rz", False),
    (9, 2, False, "ry", True), (10, 3, True, "rz", False), (11, 1, False, "ry", False), (11, 1, False, "ry", True),
]  # fmt: skip


@pytest.mark.parametrize(("n", "batch", "is_shared", "axis", "is_complex"), CASES)
def test_values_and_cotangents(n: int, batch: int, is_shared: bool, axis: str, is_complex: bool) -> None:
    """With D = sum c_k Z_k, <s|U^t D U|s> has the gradient 2 U^t D U s."""
    layers = angle_encoding(n, axis="ry") + hardware_efficient(n, 2, rotations=(axis,))
    rng, dtype = np.random.default_rng(n), np.float32 if n % 2 else np.float64
    params = {"ansatz": rng.normal(size=layers.parameter_shapes["ansatz"]).astype(dtype)}
    inputs, weights = rng.normal(size=(batch, n)).astype(dtype), rng.normal(size=n).astype(dtype)
    shape = (2**n,) if is_shared else (batch, 2**n)
    parts = [rng.normal(size=shape).astype(dtype) for _ in range(1 + is_complex)]  # not normalised

    def loss(params: Any, inputs: Any, *parts: Any) -> Any:
        start = jax.lax.complex(*parts) if is_complex else parts[0]
        return (expectation(layers, params, inputs, z_observables(n), start) @ weights).sum()

    with jax.enable_x64(dtype == np.float64):
        function = jax.jit(jax.value_and_grad(loss, (0, *range(2, 2 + len(parts)))))
        assert batch == 0 or "@qjax_" in function.lower(params, inputs, *parts).as_text()
        value, (of_params, *of_parts) = function(params, inputs, *parts)
    bits = np.arange(2**n)[:, None] >> np.arange(n)[::-1] & 1
    diagonal = (1 - 2 * bits) @ weights.astype(np.float64)
    starts = np.broadcast_to(parts[0] + np.complex128(1j) * (parts[1] if is_complex else 0), (batch, 2**n))

    def finals(params: Any) -> list[np.ndarray]:
        return [run(n, dense_steps(layers, params, x), own) for x, own in zip(inputs, starts, strict=True)]

    backward = [dense_steps(layers.inverse(), params, x) for x in inputs]
    values = [abs(final) ** 2 @ diagonal for final in finals(params)]
    gradient = [2 * run(n, steps, diagonal * final) for steps, final in zip(backward, finals(params), strict=True)]
    ends = [params["ansatz"].astype(np.float64) for _ in range(2)]
    for end, step in zip(ends, (1e-4, -1e-4), strict=True):
        end[1, n - 1, 0] += step
    high, low = (sum(abs(final) ** 2 @ diagonal for final in finals({"ansatz": end})) for end in ends)
    wanted = np.array(gradient).reshape(batch, 2**n)
    atol = (1e-5 if dtype == np.float32 else 1e-12) * 2**n
    np.testing.assert_allclose(value, sum(values), atol=atol * max(batch, 1))
    for part, own in zip(of_parts, (wanted.real, wanted.imag), strict=False):
        np.testing.assert_allclose(part, own.sum(axis=0) if is_shared else own, atol=atol)
    np.testing.assert_allclose(of_params["ansatz"][1, n - 1, 0], (high - low) / 2e-4, rtol=1e-4, atol=atol * 4)


def test_a_vmapped_first_state_is_the_batch_of_it() -> None:
    params, inputs, starts = values(3)
    one = jax.grad(lambda s, x: expectation(circuit(3), params, x, z_observables(3), s)[1])
    found = jax.jit(jax.vmap(one))(starts.real.copy(), inputs)
    rows = [one(start, row) for start, row in zip(starts.real.copy(), inputs, strict=True)]
    np.testing.assert_allclose(found, np.stack(rows), atol=1e-6)


def test_expectation_probabilities_and_samples_start_from_it() -> None:
    start = np.array([0, 0.6, 0.8, 0], np.float32)  # real: 0.6 |01> + 0.8 |10>
    turned = Circuit(2).append("x", 1)
    np.testing.assert_allclose(probabilities(turned, initial_state=start), [0.36, 0, 0, 0.64], atol=1e-6)
    found = expectation(turned, observables=(PauliString("ZI"), PauliString("XX")), initial_state=start)
    np.testing.assert_allclose(found, [0.36 - 0.64, 2 * 0.6 * 0.8], atol=1e-6)
    drawn = sample(jax.random.key(0), turned, shots=500, initial_state=start)
    assert set(np.unique(drawn)) == {0, 3}
    assert abs(np.mean(np.asarray(drawn) == 3) - 0.64) < 0.1


def test_gradient_with_respect_to_the_initial_state() -> None:
    z = (PauliString("Z"),)
    turn = Circuit(1).append("ry", 0, parameter("a"))

    def value(start: Any) -> Any:
        return expectation(turn, {"a": jnp.float32(0.3)}, None, z, start)[0]

    start = jnp.asarray([0.6, 0.8])
    # <Z> after RY(a) is s^T (cos a Z - sin a X) s for a real state s.
    matrix = np.array([[np.cos(0.3), -np.sin(0.3)], [-np.sin(0.3), -np.cos(0.3)]])
    np.testing.assert_allclose(jax.grad(value)(start), 2 * matrix @ np.asarray(start), atol=1e-6)


@pytest.mark.parametrize(
    ("start", "inputs", "message"),
    [
        (np.ones(3, np.float32), None, r"`initial_state` must have shape \[4\] or \[batch, 4\], but got shape \[3\]"),
        (np.ones(4, np.int32), None, r"`initial_state` must hold float32, float64, complex64 or complex128, but got"),
        (np.ones((3, 4), np.float32), np.ones((2, 2)), r"`initial_state` must have the batch of the inputs, but got"),
    ],
)
def test_errors(start: np.ndarray, inputs: np.ndarray | None, message: str) -> None:
    encoding = Circuit(2) if inputs is None else angle_encoding(2)
    with pytest.raises(UserError, match=message):
        state(encoding, None, None if inputs is None else inputs.astype(np.float32), start)


def test_an_initial_state_of_another_precision_is_refused() -> None:
    with jax.enable_x64(True), pytest.raises(UserError, match=r"must have one dtype, .*'initial_state': 'float64'"):
        state(angle_encoding(1), None, np.ones(1, np.float32), np.ones(2, np.complex128))


def test_bytes_of_a_state() -> None:
    assert state_bytes(3, 5, np.float32) == np.zeros((8, 5), np.complex64).nbytes
    assert state_bytes(3, 5, np.float64) == np.zeros((8, 5), np.complex128).nbytes


@pytest.mark.parametrize(("batch", "largest"), [(1, 10), (4, 8)])
def test_what_does_not_fit_is_refused_before_it_is_tried(batch: int, largest: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(memory, "device_bytes", lambda: 3 * 8 * 2**10)
    x = np.zeros((batch, largest + 1), np.float32)
    pattern = rf"must leave a run within .* of 24\.0 KiB .* but got {largest + 1} qubits with a batch of {batch},"
    with pytest.raises(UserError, match=pattern):
        state(angle_encoding(largest + 1), None, x)
    assert state(angle_encoding(largest), None, x[:, 1:]).shape == (batch, 2**largest)


def test_a_matrix_that_does_not_fit_is_refused_before_it_is_tried(monkeypatch: Any) -> None:
    monkeypatch.setattr(memory, "device_bytes", lambda: 3 * 8 * 2**7)  # 2**6 entries fit, 2**8 do not
    with pytest.raises(UserError, match=r"`num_qubits` must be at most 3 for a matrix .* but got 4 qubits"):
        unitary(Circuit(4))
    assert unitary(Circuit(3)).shape == (8, 8)


def test_the_machines_memory_is_known() -> None:
    assert 2**28 < memory.device_bytes() < 2**50
    with pytest.raises(UserError, match=r"but got 60 qubits with a batch of 1, which need \d\d\.0 EiB"):
        state(Circuit(60))
    with pytest.raises(UserError, match=r"but got 60000 qubits with a batch of 1, which need over 2\^60004 bytes"):
        state(Circuit(60_000))
