"""Angles of any size: values and gradients against closed forms in float64, with 4 pi to 120 digits."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_engine import by
from cuda_emulation import both
from hypothesis import given, settings
from hypothesis import strategies as st

from qjax.quantum import (
    Circuit,
    PauliString,
    Repeat,
    expectation,
    input_angle,
    operation,
    parameter,
    parameter_shift,
    state,
    z_observables,
)
from qjax.quantum.circuits.angle import Angle
from qjax.quantum.states.reduction import LIMIT, angle_sum, bounded, number_within_period, within_period
from qjax.quantum.states.trigonometry import cos_sin

PI = Fraction(
    "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798214808651"
)
# Of native code 1, 8 and 16 examples take other ways than the rest; other code has one way.
NATIVE_OR_PLAIN = pytest.mark.parametrize(
    ("batch", "engine"),
    [(1, "auto"), (9, "auto"), (9, "XLA")],
    ids=["1 native", "9 native", "9 plain"],
)
WAYS = {"eager": lambda f: f, "jit": jax.jit}
X = input_angle(0)
Z1 = (PauliString("IZ"),)
# Numbers, and their cosines and sines by mpmath with 3000 bits: the first of each dtype is as near to a multiple of
# pi / 2 as any number of that dtype.
HARD = {
    np.float32: [
        (16367173 * 2.0**72, -1.6147697982476211876e-9, 0.9999999999999999987),
        (float(np.finfo(np.float32).max), 0.85302103983030415805, -0.52187652333365854055),
    ],
    np.float64: [
        (6381956970095103 * 2.0**797, -4.6871659242546276111e-19, 1.0),
        (float(np.finfo(np.float64).max), -0.99998768942655993746, 0.0049619547891840617905),
    ],
}
SOME = np.array([0.5, 1e6, -1e7, 1.7e9, 1e12, 1e30, 3.4e38, LIMIT, -7.0, 1234.5, 1e-40, 0.0], np.float32)


def modulo(exact: Fraction, period: Fraction = 4 * PI) -> float:
    return float(exact - round(exact / period) * period)


def one_qubit(angle: Angle) -> Circuit:
    """The circuit whose <IZ> is the cosine of the angle."""
    return Circuit(2).append("ry", 0, angle).append("cx", (0, 1))


def run_in_batches(function: Callable[[Any], Any], numbers: np.ndarray, batch: int) -> np.ndarray:
    count = -(-len(numbers) // batch) * batch
    rows = np.resize(numbers, count)[:, None]
    found = [np.asarray(function(jnp.asarray(rows[i : i + batch]))) for i in range(0, count, batch)]
    return np.concatenate(found)[: len(numbers), 0]


def value_and_slope(circuit: Circuit, engine: str = "auto") -> tuple[Any, Any]:
    def value(x: Any) -> Any:
        return by(engine, expectation, circuit, None, x, Z1)

    return value, jax.grad(lambda x: value(x).sum())


def any_float(width: int) -> st.SearchStrategy[float]:
    """Floats of all exponents alike, denormals too."""
    info = np.finfo(f"float{width}")
    exponents = st.integers(int(info.minexp) - info.nmant, int(info.maxexp) - 1)
    digits = st.integers(2**info.nmant, 2 ** (info.nmant + 1) - 1)

    def number(exponent: int, digits: int, sign: int) -> float:
        return float(getattr(np, f"float{width}")(sign * np.ldexp(digits / 2**info.nmant, exponent)))

    return st.builds(number, exponents, digits, st.sampled_from([-1, 1]))


# The reduction. -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HARD)
def test_the_nearest_to_quarter_turns_and_the_largest_are_reduced_exactly(dtype: Any) -> None:
    with jax.enable_x64(True):
        numbers, cosines, sines = (np.array(column) for column in zip(*HARD[dtype], strict=True))
        assert (numbers.astype(dtype) == numbers).all()
        for values in (bounded(jnp.asarray(numbers, dtype)), -bounded(jnp.asarray(-numbers, dtype))):
            assert np.abs(values).max() < 6.4
            atol = np.finfo(dtype).eps * 2.1
            np.testing.assert_allclose(np.cos(np.asarray(values, np.float64)), cosines, atol=atol)
            np.testing.assert_allclose(np.sin(np.asarray(values, np.float64)), sines, atol=atol)
    reduced = [number_within_period(float(number)) for number in numbers]
    np.testing.assert_allclose(np.cos(reduced), cosines, atol=1e-15)


REDUCTIONS = (jax.jit(bounded), jax.jit(lambda x: within_period(bounded(x))))


@given(numbers=st.lists(any_float(64), min_size=20, max_size=20), width=st.sampled_from([32, 64]))
@settings(max_examples=30, deadline=None)
def test_every_number_keeps_its_cosine_and_sine(numbers: list[float], width: int) -> None:
    with jax.enable_x64(True), np.errstate(over="ignore"):
        dtype = np.dtype(f"float{width}")
        known = np.clip(numbers, -np.finfo(dtype).max, np.finfo(dtype).max).astype(dtype)
        for function in REDUCTIONS:
            found = np.asarray(function(jnp.asarray(known)), np.float64)
            for turn in (np.cos, np.sin):  # of half the angle: the period is 4 pi
                error = np.abs(turn(found / 2) - turn(known.astype(np.float64) / 2))
                assert error.max() < 1.1 * np.finfo(dtype).eps
        np.testing.assert_array_equal(bounded(jnp.asarray(known[:1])), np.asarray(bounded(jnp.asarray(known)))[:1])


def test_cosine_and_sine_of_bounded_angles_are_off_by_what_is_said() -> None:
    angles = np.random.default_rng(0).uniform(-2 * LIMIT, 2 * LIMIT, 400_000).astype(np.float32)
    for found, turn in zip(jax.jit(cos_sin)(angles), (np.cos, np.sin), strict=True):
        assert np.abs(found - turn(angles.astype(np.float64))).max() < 1.2e-7


@given(
    numbers=st.lists(any_float(32), min_size=3, max_size=3),
    scales=st.lists(st.floats(-100, 100), min_size=2, max_size=2),
    shift=st.floats(-1e12, 1e12),
)
@settings(max_examples=5, deadline=None)
def test_sums_and_products_are_exact(numbers: list[float], scales: list[float], shift: float) -> None:
    x, y, z = (np.float32(np.clip(number, -1e15, 1e15)) for number in numbers)
    exact = Fraction(shift) + Fraction(scales[0]) * Fraction(float(x))
    exact += Fraction(scales[1]) * Fraction(float(y)) * Fraction(float(z))
    arrays = ((jnp.full(1, x),), (jnp.full(1, y), jnp.full(1, z)))
    for way in WAYS.values():
        found = float(way(lambda arrays: angle_sum(shift, tuple(scales), arrays))(arrays)[0])
        assert abs(modulo(Fraction(found) - exact)) < 6e-7


# Circuits. ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "engine"), [*((batch, "auto") for batch in (1, 2, 8, 9, 16)), (1, "XLA"), (9, "XLA")]
)
def test_every_float32_alone_and_in_any_batch(batch: int, engine: str) -> None:
    functions = [way(f) for way in WAYS.values() for f in value_and_slope(one_qubit(X), engine)]

    @given(numbers=st.lists(any_float(32), min_size=16, max_size=16))
    @settings(max_examples=3, deadline=None)
    def check(numbers: list[float]) -> None:
        known = np.concatenate([np.array(numbers, np.float32), SOME])
        wanted = np.cos(known.astype(np.float64)), -np.sin(known.astype(np.float64))
        for function, expected in zip(functions, wanted * 2, strict=True):
            np.testing.assert_allclose(run_in_batches(function, known, batch), expected, atol=4e-7)

    check()


@NATIVE_OR_PLAIN
@given(numbers=st.lists(any_float(64), min_size=9, max_size=9))
@settings(max_examples=5, deadline=None)
def test_every_float64(numbers: list[float], batch: int, engine: str) -> None:
    with jax.enable_x64(True):
        known = np.array([*numbers, *(number for number, *_ in HARD[np.float64])])
        for function, expected in zip(
            value_and_slope(one_qubit(X), engine), (np.cos(known), -np.sin(known)), strict=True
        ):
            np.testing.assert_allclose(run_in_batches(jax.jit(function), known, batch), expected, atol=2e-15)


@NATIVE_OR_PLAIN
@pytest.mark.parametrize(("scale", "shift"), [(-0.1, 0.3), (np.pi, 1e9)], ids=str)
def test_scaled_and_shifted_angles_are_exact(scale: float, shift: float, batch: int, engine: str) -> None:
    known = np.append(SOME[np.abs(SOME) < 1e37], np.float32(1.2345e6))
    angles = [modulo(Fraction(scale) * Fraction(float(x)) + Fraction(shift)) for x in known]
    value, slope = value_and_slope(one_qubit(scale * X + shift), engine)
    for way in WAYS.values():
        np.testing.assert_allclose(run_in_batches(way(value), known, batch), np.cos(angles), atol=4e-7)
    found = run_in_batches(jax.jit(slope), known, batch)
    np.testing.assert_allclose(found / scale, -np.sin(angles), atol=5e-7)


@pytest.mark.parametrize(
    ("number", "engine", "batch"), [(np.nan, "auto", 2), (-np.inf, "auto", 17), (-np.inf, "XLA", 2)]
)
def test_an_infinite_angle_makes_nan_of_its_own_example(number: float, engine: str, batch: int) -> None:
    circuit = Circuit(3).append("h", 1)
    for layer in range(2):
        circuit = circuit.append("ry", 0, X).append("rz", 1, 0.3 * X).append("rzz", (0, 2), X * input_angle(1))
        circuit = circuit.append("rx", 2, parameter("w", layer)).append("cx", (0, 1)).append("rx", 1, X)

    def values(inputs: Any) -> Any:
        params = {"w": jnp.asarray([0.3, 1e8], jnp.float32)}
        return by(engine, expectation, circuit, params, inputs, z_observables(3))

    rng = np.random.default_rng(0)
    inputs = (rng.normal(size=(batch, 2)) * 10.0 ** rng.integers(0, 9, (batch, 2))).astype(np.float32)
    broken = inputs.copy()
    broken[1, 0] = number
    others = [i for i in range(batch) if i != 1]
    for function in (values, jax.grad(lambda x: values(x).sum())):
        found, expected = (np.asarray(jax.jit(function)(jnp.asarray(x))) for x in (broken, inputs))
        assert np.isnan(found[1]).all()
        np.testing.assert_allclose(found[others], expected[others], atol=1e-6 * max(1, np.abs(expected).max()))


LAYER = Circuit(2).append("ry", 0, parameter("v") * 0.3).append("rx", 1, X).append("cx", (0, 1))
LAYERS = {
    "u": Circuit(2).append("h", 0).append("u", 0, X, parameter("w", 0), parameter("w", 1)).append("h", 0),
    "cu": Circuit(2).append("h", 0).append("cu", (0, 1), parameter("w", 0), X, parameter("w", 1), X).append("h", 0),
    "diagonal": Circuit(2)
    .append("h", 0)
    .append("h", 1)
    .append("rz", 0, X * 0.7)
    .append("rzz", (0, 1), parameter("w", 0))
    .append("cp", (0, 1), parameter("w", 1) * 3 + 1e9)
    .append("p", 1, X * parameter("w", 1) + 0.2)
    .append("h", 0)
    .append("h", 1),
    "repeated": Circuit(2, (operation("h", 0), Repeat(LAYER, 3))),
    "constant": Circuit(2).append("h", 0).append("rz", 0, 1e15).append("ry", 0, 1e7).append("rzz", (0, 1), X),
}


@NATIVE_OR_PLAIN
@pytest.mark.parametrize("name", LAYERS)
def test_gates_of_large_angles_are_those_in_float64(name: str, batch: int, engine: str) -> None:
    circuit = LAYERS[name]
    params = {
        key: np.resize([5000.3, -7e9, 123456.7], shape).astype(np.float32)
        for key, shape in circuit.parameter_shapes.items()
    }
    inputs = np.resize([[4000.7], [-3e5], [2.5e12]], (batch, 1)).astype(np.float32)

    def amplitudes(dtype: Any, way: str) -> np.ndarray:
        given = {key: jnp.asarray(array, dtype) for key, array in params.items()}
        function = jax.jit(lambda p, x: by(way, state, circuit, p, x))
        return np.asarray(function(given, jnp.asarray(inputs, dtype)))

    with jax.enable_x64(True):
        expected = amplitudes(jnp.float64, "XLA")
    np.testing.assert_allclose(amplitudes(jnp.float32, engine), expected, atol=1e-6)


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("emulated", [32], indirect=True)
def test_the_kernels_of_a_gpu_take_any_size() -> None:
    circuit = Circuit(3)
    for q, angle in enumerate((X, 0.1 * X + 0.3, X * parameter("w"))):
        circuit = circuit.append("ry", q, angle)
    circuit = circuit.append("rz", 0, parameter("w")).append("ry", 0, X)
    known = np.append(SOME[np.abs(SOME) < 1e20], np.float32(np.nan))[:, None]
    params = {"w": jnp.asarray(7.3e5, jnp.float32)}

    def loss(way: Any, params: Any, inputs: Any) -> Any:
        found = by(way, expectation, circuit, params, inputs, z_observables(3))
        return found.sum(), found

    pair = both(lambda way, *xs: jax.value_and_grad(loss, 1, has_aux=True)(way, *xs), params, jnp.asarray(known[:-1]))
    for found, expected in zip(*map(jax.tree.leaves, pair), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)
    values = both(lambda way, *xs: loss(way, *xs)[1], params, jnp.asarray(known))[0]
    assert np.isnan(values[-1]).all()
    angles = [modulo(Fraction(0.1) * Fraction(float(x)) + Fraction(0.3)) for x in known[:-1, 0]]
    np.testing.assert_allclose(values[:-1, 1], np.cos(angles), atol=5e-7)


# What is made of angles elsewhere. ----------------------------------------------------------------------------------


def test_parameter_shifts_of_large_angles() -> None:
    circuit = one_qubit(0.1 * parameter("w") + 0.3)
    w = np.float32(1.2345e7)
    angle = modulo(Fraction(0.1) * Fraction(float(w)) + Fraction(0.3))
    found = parameter_shift(circuit, {"w": jnp.asarray(w)}, None, Z1)["w"]
    np.testing.assert_allclose(found, [-0.1 * np.sin(angle)], atol=1e-7)
