import inspect
from collections.abc import Callable
from typing import Any

import dense_reference as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.checks import UserError
from qjax.quantum import (
    Circuit,
    PauliString,
    Projector,
    Repeat,
    angle_encoding,
    expectation,
    hardware_efficient,
    init_params,
    input_angle,
    parameter,
    parameter_shift,
    probabilities,
    sample,
    state,
    z_observables,
)
from qjax.quantum.circuits.binding import check_values

BATCH = 3
# These tests compile many programs and run each once.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def quick_jit(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function, compiler_options=QUICK)


def test_qubit_zero_is_the_most_significant_bit() -> None:
    flipped = Circuit(3).append("x", 0)
    np.testing.assert_allclose(state(flipped), np.eye(8)[0b100], atol=1e-7)
    controlled = flipped.append("cx", (0, 2)).append("ry", 1, 0.6)  # |1> (cos .3 |0> + sin .3 |1>) |1>
    expected = np.zeros(8)
    expected[0b101], expected[0b111] = np.cos(0.3), np.sin(0.3)
    np.testing.assert_allclose(state(controlled), expected, atol=1e-7)
    found = expectation(controlled, observables=(PauliString("ZII"), PauliString("IZI"), PauliString("IIZ")))
    np.testing.assert_allclose(found, [-1, np.cos(0.6), -1], atol=1e-6)


def classifier(n: int = 3) -> tuple[Circuit, dict[str, Any], Any]:
    circuit = angle_encoding(n) + hardware_efficient(n, 2)
    params = init_params(jax.random.key(0), circuit, scale=1.0)
    return circuit, params, jax.random.uniform(jax.random.key(1), (BATCH, n), minval=-3.0, maxval=3.0)


def test_batched_equals_one_at_a_time_and_vmap() -> None:
    circuit, params, inputs = classifier()
    observables = z_observables(3)

    def run(p: Any, x: Any) -> Any:
        return expectation(circuit, p, x, observables)

    batched, one = quick_jit(run)(params, inputs), quick_jit(run)
    assert batched.shape == (BATCH, 3)
    np.testing.assert_allclose(batched, [one(params, x) for x in inputs], atol=1e-6)
    np.testing.assert_allclose(batched, quick_jit(jax.vmap(run, (None, 0)))(params, inputs), atol=1e-6)
    many = jax.tree.map(lambda a: jnp.stack([a, -a]), params)
    over_params = quick_jit(jax.vmap(run, (0, None)))(many, inputs)
    np.testing.assert_allclose(over_params[0], batched, atol=1e-6)
    np.testing.assert_allclose(over_params[1], one(jax.tree.map(jnp.negative, params), inputs), atol=1e-6)
    paired = quick_jit(jax.vmap(run))(many, inputs[:2])
    np.testing.assert_allclose(paired, [over_params[0, 0], over_params[1, 1]], atol=1e-6)


def test_gradient_of_vmap_and_inside_scan() -> None:
    circuit, params, inputs = classifier()

    def loss(p: Any, x: Any) -> Any:
        return jnp.sum(expectation(circuit, p, x, z_observables(3)) ** 2)

    batched = quick_jit(jax.grad(loss))(params, inputs)
    vmapped = quick_jit(jax.grad(lambda p: jnp.sum(jax.vmap(loss, (None, 0))(p, inputs))))(params)
    np.testing.assert_allclose(vmapped["ansatz"], batched["ansatz"], atol=1e-5)
    per_example = quick_jit(jax.vmap(jax.grad(loss), (None, 0)))(params, inputs)
    np.testing.assert_allclose(per_example["ansatz"].sum(axis=0), batched["ansatz"], atol=1e-5)

    def step(p: Any, x: Any) -> tuple[Any, Any]:
        value, gradient = jax.value_and_grad(loss)(p, x)
        return jax.tree.map(lambda a, g: a - 0.1 * g, p, gradient), value

    scanned, values = quick_jit(lambda p, x: jax.lax.scan(step, p, x))(params, inputs)
    looped, compiled_step = params, quick_jit(step)
    for x, value in zip(inputs, values, strict=True):
        looped, expected = compiled_step(looped, x)
        np.testing.assert_allclose(value, expected, atol=1e-5)
    np.testing.assert_allclose(scanned["ansatz"], looped["ansatz"], atol=1e-5)


def test_forward_mode_and_second_derivatives() -> None:
    circuit = (
        Circuit(2).append("ry", 0, parameter("a", 0)).append("cx", (0, 1)).append("crx", (1, 0), parameter("a", 1))
    )

    def f(p: Any) -> Any:
        return expectation(circuit, p, None, (PauliString("ZX"), PauliString("YZ")))

    params = {"a": jnp.asarray([0.4, -1.1])}
    forward, backward = quick_jit(jax.jacfwd(f))(params)["a"], quick_jit(jax.jacrev(f))(params)["a"]
    np.testing.assert_allclose(forward, backward, atol=1e-6)
    hessian = quick_jit(jax.hessian(lambda p: f(p).sum()))(params)["a"]["a"]
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-5)
    step = jnp.asarray([1e-2, 0.0])

    @quick_jit
    def slope(a: Any) -> Any:
        return jax.grad(lambda p: f(p).sum())({"a": a})["a"]

    numeric = (slope(params["a"] + step) - slope(params["a"] - step)) / 2e-2
    np.testing.assert_allclose(hessian[0], numeric, atol=1e-3)


def test_gradient_is_finite_where_a_probability_is_zero() -> None:
    circuit = Circuit(1).append("ry", 0, parameter("a"))
    gradient = jax.grad(lambda a: probabilities(circuit, {"a": a})[1] * 1.0)(jnp.asarray(0.0))
    assert float(gradient) == 0.0


def test_a_repeat_equals_its_expansion_looped_or_written_out() -> None:
    body = Circuit(2).append("rx", 0, parameter("w", 0) * input_angle(0)).append("cry", (0, 1), parameter("w", 1))
    for reps in (2, 40):
        circuit = Circuit(2).append("h", 1) + Circuit(2, (Repeat(body, reps),))
        params = {"w": jnp.linspace(-1.0, 2.0, reps * 2).reshape(reps, 2)}
        x = jnp.asarray([[0.3], [0.9]])
        found = quick_jit(lambda p, x, c=circuit: state(c, p, x))(params, x)
        bound = [circuit.bind(params, row) for row in x]
        np.testing.assert_allclose(found, [state(b) for b in bound] if reps == 2 else found, atol=1e-5)
        plain = [[(op.gate.name, op.qubits, tuple(a.shift for a in op.angles)) for op in b.operations] for b in bound]
        np.testing.assert_allclose(found, [dense.run(2, gates) for gates in plain], atol=1e-5)


@pytest.mark.parametrize("reps", [3, 40])  # written out, and as a loop
def test_inverse_of_a_repeat_takes_its_parameters_backwards(reps: int) -> None:
    body = Circuit(2).append("rx", 0, parameter("w", 0)).append("cx", (0, 1)).append("rz", 1, parameter("w", 1))
    circuit = Circuit(2).append("h", 0) + Circuit(2, (Repeat(body, reps),))
    assert isinstance(circuit.inverse().operations[0], Repeat)
    params = {"w": jax.random.normal(jax.random.key(0), (reps, 2))}
    found = quick_jit(lambda p: state(circuit + circuit.inverse(), p))(params)
    np.testing.assert_allclose(found, [1, 0, 0, 0], atol=2e-5)


@pytest.mark.parametrize("qubits", [(0, 2), (2, 0)])
def test_a_phase_keeps_the_order_of_control_and_target(qubits: tuple[int, int]) -> None:
    circuit = Circuit(3).append("h", 0).append("h", 2).append("cx", (0, 1)).append("cx", (1, 2)).append("ry", 0, 0.4)
    circuit = circuit.append("cx", (1, 0)).append("crz", qubits, 0.9).append("cz", (1, 2))
    found = quick_jit(lambda: state(circuit))()
    np.testing.assert_allclose(found, dense.run(3, circuit_gates(circuit)), atol=1e-6)


def test_dtype_follows_the_angles() -> None:
    circuit = Circuit(1).append("rx", 0, parameter("a"))
    assert state(circuit, {"a": np.float32(0.1)}).dtype == jnp.complex64
    assert state(Circuit(1)).dtype == jnp.complex64
    with jax.enable_x64(True):
        assert state(circuit, {"a": np.float32(0.1)}).dtype == jnp.complex64
        assert state(circuit, {"a": np.float64(0.1)}).dtype == jnp.complex128
        assert expectation(circuit, {"a": np.float64(0.1)}, None, z_observables(1)).dtype == jnp.float64
        assert state(Circuit(1)).dtype == jnp.complex128


def test_batch_axis_stands_even_where_nothing_depends_on_the_inputs() -> None:
    circuit = Circuit(2).append("h", 0)
    assert state(circuit, None, np.zeros((4, 0), np.float32)).shape == (4, 4)
    assert state(circuit, None, np.zeros((0,), np.float32)).shape == (4,)


def test_marginals_have_the_order_of_the_qubits() -> None:
    n = 3
    circuit = Circuit(n).append("ry", 0, 0.4).append("cry", (0, 2), 1.3).append("ry", 1, 2.0).append("cx", (1, 2))
    full = np.abs(dense.run(n, circuit_gates(circuit))) ** 2
    np.testing.assert_allclose(probabilities(circuit), full, atol=1e-6)
    cube = full.reshape(2, 2, 2)
    np.testing.assert_allclose(probabilities(circuit, qubits=(2, 0)), cube.sum(1).T.reshape(-1), atol=1e-6)
    np.testing.assert_allclose(probabilities(circuit, qubits=(1,)), cube.sum((0, 2)), atol=1e-6)


def circuit_gates(circuit: Circuit) -> list[Any]:
    return [(op.gate.name, op.qubits, tuple(a.shift for a in op.angles)) for op in circuit.iter_operations()]


def test_samples_follow_the_probabilities() -> None:
    circuit, params, inputs = classifier()
    shots = 4000
    found = quick_jit(lambda k: sample(k, circuit, params, inputs, shots))(jax.random.key(3))
    assert found.shape == (BATCH, shots)
    assert jnp.issubdtype(found.dtype, jnp.integer)
    frequencies = np.stack([np.bincount(row, minlength=8) for row in np.asarray(found)]) / shots
    expected = np.asarray(probabilities(circuit, params, inputs))
    assert np.all(np.abs(frequencies - expected) < 5 * np.sqrt(expected * (1 - expected) / shots) + 1e-6)
    certain = sample(jax.random.key(0), Circuit(2).append("x", 1), shots=20)
    np.testing.assert_array_equal(certain, np.full(20, 1))


def test_large_state_without_a_table() -> None:
    n = 21  # above conditions.MAX_TABLE_QUBITS
    circuit = Circuit(n).append("h", 0).append("cx", (0, 20)).append("x", 7).append("swap", (7, 3))
    found = quick_jit(lambda: state(circuit))()
    expected = [1 << 17, (1 << 20) | (1 << 17) | 1]
    np.testing.assert_allclose(found[jnp.asarray(expected)], np.sqrt(0.5), atol=1e-6)
    assert int(jnp.sum(jnp.abs(found) > 1e-6)) == 2


ENCODED = angle_encoding(2).append("rx", 0, parameter("w", 1))
GOOD = {"w": np.zeros(2, np.float32)}
X = np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: state(ENCODED, {}, X), r"`params` must hold 'w' of shape \[2\]"),
        (
            lambda: state(ENCODED, {"v": X}, X),
            r"`params` must hold the parameters of the circuit and no other, but got v",
        ),
        (
            lambda: state(ENCODED, GOOD, np.zeros(3)),
            r"`inputs` must have shape \[2\] or \[batch, 2\], but got shape \[3\]",
        ),
        (lambda: state(ENCODED, GOOD, None), r"`inputs` must have shape \[2\] or \[batch, 2\], but got None"),
        (
            lambda: state(ENCODED, {"w": np.zeros(2, int)}, X),
            r"`params\['w'\]` must hold float32 or float64, but got int",
        ),
        (
            lambda: state(ENCODED, GOOD, X.astype(np.float16)),
            r"`inputs` must hold float32 or float64, but got float16",
        ),
        (lambda: expectation(ENCODED, GOOD, X), r"`observables` must hold at least one observable"),
        (
            lambda: expectation(ENCODED, GOOD, X, z_observables(3)),
            r"`observables` must have 2 letters, one a qubit, but got",
        ),
        (lambda: probabilities(ENCODED, GOOD, X, (0, 2)), r"`qubits` must hold distinct integers in 0..1"),
        (lambda: probabilities(ENCODED, GOOD, X, (1, 1)), r"`qubits` must hold distinct integers in 0..1"),
        (
            lambda: sample(jax.random.key(0), ENCODED, GOOD, X, 0),
            r"`shots` must be an integer of at least 1, but got 0",
        ),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize(
    ("circuit", "params", "message"),
    [
        (ENCODED, X, "`params` must be a mapping from names to arrays, but got a ndarray"),
        (jax.random.key(0), None, "`circuit` must be a Circuit, but got"),
    ],
)
def test_values_of_other_types_are_found_without_a_type_checker(circuit: Any, params: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        inspect.unwrap(check_values)(circuit, params, X)  # without the tests' type checker


def test_two_dtypes_are_refused() -> None:
    with jax.enable_x64(True), pytest.raises(UserError, match="`params and inputs` must have one dtype, but got"):
        state(ENCODED, GOOD, X.astype(np.float64))


def test_errors_are_raised_under_jit_too() -> None:
    with pytest.raises(UserError, match="must have shape"):
        quick_jit(lambda x: state(ENCODED, GOOD, x))(jnp.zeros(3))


@pytest.mark.parametrize(
    "circuit",
    [
        Circuit(2, (Repeat(angle_encoding(2).append("cx", (0, 1)), 50),)),
        angle_encoding(2).append("cu", (0, 1), input_angle(0), 0.3, 0.2, parameter("w")),
        Circuit(3).append("ry", 2, input_angle(0), controls=(0, 1)).append("rzz", (0, 1), input_angle(1), controls=2),
    ],
)
def test_a_batch_may_be_empty(circuit: Circuit) -> None:
    n, params = circuit.num_qubits, {"w": jnp.asarray(0.5)} if circuit.num_parameters else {}
    inputs = jnp.zeros((0, 2))
    assert state(circuit, params, inputs).shape == (0, 2**n)
    assert expectation(circuit, params, inputs, z_observables(n)).shape == (0, n)
    assert expectation(circuit, params, inputs, (Projector.from_bits("1", (0,), n),)).shape == (0, 1)
    assert probabilities(circuit, params, inputs, 0).shape == (0, 2)
    assert sample(jax.random.key(0), circuit, params, inputs, 5).shape == (0, 5)
    shapes = {name: (0, n, *shape) for name, shape in circuit.parameter_shapes.items()}
    gradients = parameter_shift(circuit, params, inputs, z_observables(n))
    assert {name: gradient.shape for name, gradient in gradients.items()} == shapes


def test_one_qubit_needs_no_sequence() -> None:
    circuit = Circuit(2).append("x", 1)
    np.testing.assert_array_equal(probabilities(circuit, qubits=1), probabilities(circuit, qubits=(1,)))
