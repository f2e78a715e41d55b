"""Every derivative against central differences of dense NumPy algebra, closed forms, or another way to take it."""

import math
from collections.abc import Callable
from typing import Any

import dense_reference as dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bound_circuits import dense_state
from jax.flatten_util import ravel_pytree

from qjax.checks import UserError
from qjax.quantum import (
    GATES,
    Circuit,
    Gate,
    PauliString,
    PauliSum,
    Repeat,
    expectation,
    gradients,
    input_angle,
    operation,
    parameter,
    state,
    z_observables,
)
from qjax.quantum.circuits.custom_gates import pauli_rotation_gate
from qjax.quantum.gradients import free_angles, hessian, parameter_shift, quantum_metric, shift_rule

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
Params = dict[str, Any]


def quick(function: Callable[..., Any], *arguments: Any) -> Any:
    return jax.jit(function, compiler_options=QUICK)(*arguments)


# References ---------------------------------------------------------------------------------------------------------


def dense_expectation(circuit: Circuit, observables: Any, params: Params, x: Any = None, start: Any = None) -> Any:
    psi = dense_state(circuit, params, x, start)
    all_terms = [o.terms if isinstance(o, PauliSum) else ((1.0, o),) for o in observables]
    return np.asarray([sum(c * (psi.conj() @ dense.pauli(s.paulis) @ psi).real for c, s in t) for t in all_terms])


def differences(function: Callable[[np.ndarray], np.ndarray], at: np.ndarray) -> np.ndarray:
    """Derivatives [..., len(at)] by central differences, extrapolated: the error is of order step**4."""

    def slope(direction: np.ndarray, step: float) -> np.ndarray:
        return (function(at + step * direction) - function(at - step * direction)) / (2 * step)

    return np.stack([(4 * slope(d, 1e-3) - slope(d, 2e-3)) / 3 for d in np.eye(len(at))], axis=-1)


def flat_function(function: Callable[[Params], np.ndarray], params: Params) -> tuple[Any, np.ndarray]:
    """`function` of all parameters end to end, names sorted as JAX does, and where they stand now."""
    names = sorted(params)
    shapes = [np.shape(params[name]) for name in names]
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]

    def run(vector: np.ndarray) -> np.ndarray:
        pieces = [piece.reshape(shape) for piece, shape in zip(np.split(vector, ends), shapes, strict=True)]
        return function(dict(zip(names, pieces, strict=True)))

    return run, np.concatenate([np.reshape(params[name], -1) for name in names])


def flatten(tree: Params, leading: int) -> np.ndarray:
    """Arrays [..., *shape] of a dictionary as [..., total], names sorted."""
    arrays = [np.asarray(tree[name]) for name in sorted(tree)]
    return np.concatenate([a.reshape(*a.shape[:leading], -1) for a in arrays], axis=-1)


# Circuits -----------------------------------------------------------------------------------------------------------


TURNED = (*(gate for gate in GATES.values() if gate.num_angles), pauli_rotation_gate("XZY"))


def every_gate() -> Circuit:
    """All gates that have angles, each angle a parameter, every second gate under a control and before a turn."""
    n, rng, count = 4, np.random.default_rng(1), 0
    circuit = Circuit(n, tuple(operation("u", q, *rng.uniform(0, 6, 3)) for q in range(n)))
    for i, gate in enumerate(TURNED):
        places = [int(q) for q in rng.permutation(n)]
        own, controls = places[: gate.num_qubits], places[gate.num_qubits :][: i % 2]
        angles = [parameter("theta", count + k) for k in range(gate.num_angles)]
        values = [int(v) for v in rng.integers(0, 2, len(controls))]
        circuit = circuit.append(gate, own, *angles, controls=controls, control_values=values)
        if i % 2:
            circuit = circuit.append("u", own[0] if own else 0, *rng.uniform(0, 6, 3))
        count += gate.num_angles
    return circuit


def mixed() -> Circuit:
    """Sums and products of angles, shared parameters, inputs, and Repeats of both kinds."""
    a, b, x = parameter("a"), parameter("b", 1), input_angle(0)
    body = Circuit(3).append("crx", (1, 2), parameter("w", 0) * x).append("ry", 0, parameter("w", 1), controls=2)
    inner = Circuit(3).append("rzz", (0, 2), parameter("s") - parameter("s") * parameter("s"))
    looped = Circuit(3, (Repeat(inner.append("rx", 1, parameter("s") + x), 2, shared=True),))
    circuit = Circuit(3).append("h", 0).append("ry", 1, 2 * a + 0.3).append("rx", 2, x - 1)
    circuit = circuit.append("r", 0, a * b, b * b * x - a).append("cx", (0, 1)) + looped
    return circuit + Circuit(3, (Repeat(body, 2),)) + Circuit(3).append("rx", 0, 0.5 * parameter("b", 0) - b)


def mixed_values(batch: int, dtype: Any = np.float64) -> tuple[Params, np.ndarray]:
    rng = np.random.default_rng(5)
    params = {k: np.asarray(rng.uniform(-2, 2, s), dtype) for k, s in mixed().parameter_shapes.items()}
    return params, rng.uniform(-2, 2, (batch, 1)).astype(dtype)


def small() -> Circuit:
    """Three parameters and an input; 12 shifted runs."""
    circuit = (
        Circuit(2).append("h", 0).append("ry", 1, parameter("b") * input_angle(0)).append("rx", 0, input_angle(0))
    )
    circuit = circuit.append("crx", (0, 1), parameter("a", 1) * parameter("a", 0))
    return circuit.append("rzx", (0, 1), parameter("a", 0)).append("ry", 0, parameter("a", 1), controls=1)


SMALL_VALUES = {"a": np.asarray([0.3, -1.2], np.float32), "b": np.float32(0.7)}


def random_states(count: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    states = rng.normal(size=(count, 2**n)) + 1j * rng.normal(size=(count, 2**n))
    return states / np.linalg.norm(states, axis=1, keepdims=True)


OBSERVABLES = (PauliString("ZXY"), PauliSum.from_text("0.5 XZI - 1.5 IYZ + 0.25 ZZZ"), *z_observables(3))


# Shift rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frequencies",
    [
        *[tuple(base * k for k in range(1, r + 1)) for base, r in ((1.0, 1), (0.5, 2), (2.0, 3), (0.7, 7))],
        (1.0, 3.0),
        (2.0, 0.5),
        (0.31, 1.0, 1.73, 2.9, 4.01),
        (1.0, 1.01),
        (0.01, 5.0),
        tuple(np.sort(np.random.default_rng(0).uniform(0.1, 6.0, 9)).tolist()),
    ],
)
def test_a_shift_rule_is_exact_on_trigonometric_polynomials(frequencies: tuple[float, ...]) -> None:
    coefficients, shifts = shift_rule(frequencies)
    assert coefficients.shape == shifts.shape == (2 * len(frequencies),)
    assert np.abs(coefficients).sum() < 4 * sum(frequencies)  # no large numbers that cancel
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, len(frequencies)))
    w = np.asarray(frequencies)

    def value(t: float) -> float:
        return float(0.3 + a @ np.cos(w * t) + b @ np.sin(w * t))

    for t in (0.0, 0.9, -2.2):
        exact = -(a * w) @ np.sin(w * t) + (b * w) @ np.cos(w * t)
        found = sum(c * value(t + s) for c, s in zip(coefficients, shifts, strict=True))
        np.testing.assert_allclose(found, exact, atol=1e-10)


def test_shift_rules_of_the_literature() -> None:
    coefficients, shifts = shift_rule([0.5, 1.0])  # four terms: Anselmetti et al. 2021, arXiv:2104.05695
    order = np.argsort(shifts)
    np.testing.assert_allclose(shifts[order], np.pi * np.asarray([-1.5, -0.5, 0.5, 1.5]))
    inner, outer = (np.sqrt(2) + 1) / (4 * np.sqrt(2)), (np.sqrt(2) - 1) / (4 * np.sqrt(2))
    np.testing.assert_allclose(coefficients[order], [outer, -inner, inner, -outer])


@pytest.mark.parametrize(
    ("frequencies", "message"),
    [
        ([], r"`frequencies` must hold finite numbers above 0, at least one, but got \[\]"),
        ([1.0, -2.0], r"`frequencies` must hold finite numbers above 0"),
        ([1.0, math.inf], r"`frequencies` must hold finite numbers above 0"),
        ([1.0, 2.0, 1.0], r"`frequencies` must be distinct, but got \[1\.0, 2\.0, 1\.0\]"),
    ],
)
def test_shift_rule_errors(frequencies: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        shift_rule(frequencies)


# Parameter shift ----------------------------------------------------------------------------------------------------


def test_parameter_shift_of_every_gate() -> None:
    circuit = every_gate()
    observables = (PauliString("ZXYI"), PauliString("XZZY"), PauliString("IIZX"))
    theta = np.random.default_rng(3).uniform(-3, 3, circuit.parameter_shapes["theta"])
    with jax.enable_x64(True):
        found = quick(lambda p: parameter_shift(circuit, p, None, observables), {"theta": theta})["theta"]
    expected = differences(lambda t: dense_expectation(circuit, observables, {"theta": t}), theta)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("num_controls", [0, 1, 2])
@pytest.mark.parametrize("gate", TURNED, ids=lambda gate: gate.name)
def test_the_rule_of_each_gate_is_exact_for_dense_states(gate: Gate, num_controls: int) -> None:
    n = gate.num_qubits + max(num_controls, 1)
    rng = np.random.default_rng(n)
    angles = [parameter("t", k) for k in range(gate.num_angles)]
    controls, values = range(num_controls), (1, 0)[:num_controls]
    circuit = Circuit(n).append(
        gate, range(n - gate.num_qubits, n), *angles, controls=controls, control_values=values
    )
    psi, noise = random_states(1, n)[0], rng.normal(size=(2, 2**n, 2**n))
    observable = noise[0] + noise[0].T + 1j * (noise[1] - noise[1].T)

    def value(t: np.ndarray) -> np.ndarray:
        after = dense_state(circuit, {"t": t}, None, psi)
        return np.asarray((after.conj() @ observable @ after).real)

    at = rng.uniform(-3, 3, gate.num_angles)
    expected = differences(value, at)
    for direction, frequencies, slope in zip(
        np.eye(len(at)), free_angles(circuit).frequencies, expected, strict=True
    ):
        rule = shift_rule(frequencies) if frequencies else ((), ())
        found = sum(c * value(at + s * direction) for c, s in zip(*rule, strict=True))
        np.testing.assert_allclose(found, slope, atol=1e-8)


def test_parameter_shift_through_sums_products_and_repeats() -> None:
    circuit = mixed()
    params, inputs = mixed_values(batch=2)
    starts = random_states(2, 3)
    with jax.enable_x64(True):
        found = quick(lambda p, x, s: parameter_shift(circuit, p, x, OBSERVABLES, s), params, inputs, starts)
        shapes = jax.eval_shape(jax.jacrev(lambda p: expectation(circuit, p, inputs, OBSERVABLES, starts)), params)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), found) == jax.tree.map(lambda a: (a.shape, a.dtype), shapes)
    for row, x, start in zip(flatten(found, 2), inputs, starts, strict=True):
        run, at = flat_function(lambda p, x=x, s=start: dense_expectation(circuit, OBSERVABLES, p, x, s), params)
        np.testing.assert_allclose(row, differences(run, at), atol=1e-9)


def test_parameter_shift_in_pieces_without_a_batch_and_with_a_batch_of_states(monkeypatch: Any) -> None:
    circuit, params, observables = small(), SMALL_VALUES, (PauliString("ZY"), PauliString("XI"))
    inputs, states = np.asarray([[0.4], [-1.0], [2.5]], np.float32), random_states(3, 2).astype(np.complex64)

    def run(x: Any, start: Any = None) -> Any:
        found = quick(lambda p, x, s: parameter_shift(circuit, p, x, observables, s), params, x, start)
        return flatten(found, np.ndim(found["b"]))

    whole = run(inputs)
    assert whole.shape == (3, 2, 3)
    monkeypatch.setattr(gradients, "MAX_SHIFTED_BYTES", 5 * 3 * 32)  # 5 of 12 runs at a time, of 3 states each
    np.testing.assert_allclose(run(inputs), whole, atol=1e-6)
    np.testing.assert_allclose(run(inputs[1]), whole[1], atol=1e-6)
    np.testing.assert_allclose(run(inputs[1], states)[2], run(inputs[1], states[2]), atol=1e-6)


def test_each_occurrence_of_an_angle_has_its_frequencies() -> None:
    a, x = parameter("a"), input_angle(0)
    circuit = Circuit(2, (Repeat(Circuit(2).append("rx", 0, a).append("crx", (0, 1), a * x), 2, shared=True),))
    circuit = circuit.append("rx", 1, x).append("ry", 0, 0.3).append("p", 1, a, controls=0).append("gphase", (), a)
    circuit = circuit.append("r", 0, 0.2, a).append("rz", 1, a, controls=0, control_values=(0,))
    free = free_angles(circuit)
    two = ((1.0,), (0.5, 1.0))
    assert free.frequencies == (*two, *two, (), (1.0,), (), (1.0, 2.0), (0.5, 1.0))
    assert free.circuit.num_inputs == len(free.angles) == 9
    assert free.circuit.num_parameters == 0


def test_where_nothing_turns_the_state() -> None:
    params = {"a": np.float32(0.4)}
    phase = Circuit(1).append("h", 0).append("gphase", (), parameter("a"))
    found = quick(lambda p: parameter_shift(phase, p, None, z_observables(1)), params)
    np.testing.assert_array_equal(found["a"], [0.0])
    assert parameter_shift(Circuit(1).append("h", 0), None, None, z_observables(1)) == {}
    assert hessian(Circuit(1).append("h", 0), None, None, z_observables(1)) == {}


# Forward mode and second derivatives --------------------------------------------------------------------------------


def test_jvp_and_jacfwd_against_dense_differences() -> None:
    circuit, observables, inputs = small(), (PauliString("ZY"), PauliString("XI")), np.asarray([[0.4], [-1.0]])
    params = {name: np.asarray(value, np.float64) for name, value in SMALL_VALUES.items()}
    rng = np.random.default_rng(8)
    tangent = {name: rng.normal(size=np.shape(value)) for name, value in params.items()}
    with jax.enable_x64(True):
        slope = quick(lambda p, t: jax.jvp(lambda q: state(circuit, q, inputs), (p,), (t,))[1], params, tangent)
        jacobian = quick(jax.jacfwd(lambda p: expectation(circuit, p, inputs, observables)), params)
    rows = flatten(jacobian, 2)
    for i, x in enumerate(inputs):

        def along(t: np.ndarray, x: Any = x) -> np.ndarray:
            return dense_state(circuit, {name: params[name] + t[0] * tangent[name] for name in params}, x)

        np.testing.assert_allclose(slope[i], differences(along, np.zeros(1))[:, 0], atol=1e-9)
        run, at = flat_function(lambda p, x=x: dense_expectation(circuit, observables, p, x), params)
        np.testing.assert_allclose(rows[i], differences(run, at), atol=1e-9)


def test_hessian_against_dense_differences() -> None:
    circuit, observables = small(), (PauliString("ZY"), PauliString("XX"))
    params = {name: np.asarray(value, np.float64) for name, value in SMALL_VALUES.items()}
    inputs = np.asarray([[0.4], [-1.0]])
    with jax.enable_x64(True):
        found = quick(lambda p, x: hessian(circuit, p, x, observables), params, inputs)
        shapes = jax.eval_shape(jax.hessian(lambda p: expectation(circuit, p, inputs, observables)), params)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), found) == jax.tree.map(lambda a: (a.shape, a.dtype), shapes)
    rows = {name: flatten(found[name], 2 + np.ndim(params[name])).reshape(2, 2, -1, 3) for name in found}
    whole = np.concatenate([rows["a"], rows["b"]], axis=2)
    for matrices, x in zip(whole, inputs, strict=True):
        run, at = flat_function(lambda p, x=x: dense_expectation(circuit, observables, p, x), params)
        expected = differences(lambda v, run=run: differences(run, v), at)
        np.testing.assert_allclose(matrices, expected, atol=1e-7)


def test_hessian_with_a_batch_of_states() -> None:
    circuit, observables = Circuit(1).append("ry", 0, parameter("a")), z_observables(1)
    params, starts = {"a": np.float32(0.7)}, random_states(2, 1).astype(np.complex64)
    found = quick(lambda p: hessian(circuit, p, None, observables, starts), params)["a"]["a"]
    assert found.dtype == jnp.float32
    values = [dense_expectation(circuit, observables, params, None, start) for start in starts]
    np.testing.assert_allclose(found, np.negative(values), atol=1e-6)  # its one frequency is 1


# The metric ---------------------------------------------------------------------------------------------------------


def test_metric_of_one_qubit_is_that_of_the_bloch_sphere() -> None:
    circuit = Circuit(1).append("ry", 0, parameter("polar")).append("rz", 0, parameter("azimuth"))
    circuit = circuit.append("gphase", (), parameter("phase"))
    params = {"polar": np.float32(0.8), "azimuth": np.float32(-0.3), "phase": np.float32(1.1)}
    expected = np.diag([np.sin(0.8) ** 2 / 4, 0.0, 1 / 4])  # azimuth, phase, polar
    found = quick(lambda p: quantum_metric(circuit, p), params)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_metric_of_rotations_of_one_state_is_the_covariance_of_their_generators() -> None:
    circuit = Circuit(2).append("rzz", (0, 1), parameter("t", 0)).append("rz", 0, parameter("t", 1))
    psi = random_states(1, 2)[0]
    turned = np.stack([dense.pauli(text) @ psi / 2 for text in ("ZZ", "ZI")])  # these generators commute
    means = (turned @ psi.conj()).real
    expected = (turned.conj() @ turned.T).real - np.outer(means, means)
    with jax.enable_x64(True):
        found = quick(lambda p: quantum_metric(circuit, p, None, psi), {"t": np.asarray([0.4, 2.0])})
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_metric_against_dense_differences() -> None:
    circuit = mixed()
    params, inputs = mixed_values(batch=2)
    with jax.enable_x64(True):
        found = quick(lambda p, x: quantum_metric(circuit, p, x), params, inputs)
    assert found.shape == (2, *ravel_pytree(params)[0].shape * 2)
    for metric, x in zip(found, inputs, strict=True):
        run, at = flat_function(lambda p, x=x: dense_state(circuit, p, x), params)
        psi, slopes = run(at), differences(run, at)
        projected = slopes - np.outer(psi, psi.conj() @ slopes)
        np.testing.assert_allclose(metric, (projected.conj().T @ projected).real, atol=1e-9)


# Errors -------------------------------------------------------------------------------------------------------------

SIMPLE = Circuit(1).append("ry", 0, parameter("a"))
GOOD = {"a": np.float32(0.1)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parameter_shift(SIMPLE, {}, None, z_observables(1)), "`params` must hold 'a'"),
        (lambda: parameter_shift(SIMPLE, GOOD), "`observables` must"),
        (lambda: parameter_shift(SIMPLE, GOOD, None, z_observables(2)), "`observables` must"),
        (lambda: parameter_shift(SIMPLE, {"a": 1}, None, z_observables(1)), r"`params\['a'\]` must hold float32"),
        (lambda: hessian(SIMPLE, GOOD, None, ()), "`observables` must"),
        (
            lambda: hessian(small(), SMALL_VALUES, np.zeros((3, 1)), z_observables(2), np.zeros((2, 4))),
            r"`initial_state` must have the batch of the inputs, but got batches of \[2, 3\]",
        ),
        (lambda: hessian(SIMPLE, {"b": 0.1}, None, z_observables(1)), "`params` must hold the parameters"),
        (lambda: quantum_metric(SIMPLE, {"a": np.zeros(2, np.float32)}), r"`params\['a'\]` must have shape \[\]"),
        (lambda: quantum_metric(Circuit(1).append("h", 0), {}), "`circuit` must have parameters, but got none"),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
