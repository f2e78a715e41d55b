import json

import numpy as np
import pytest
from random_circuits import random_case, random_values

from qjax.checks import UserError
from qjax.quantum import Circuit, Repeat, constant, input_angle, operation, parameter

SEEDS = range(30)


def layer() -> Circuit:
    return Circuit(2).append("ry", 0, parameter("w", 0)).append("ry", 1, parameter("w", 1)).append("cx", (0, 1))


def repeated(reps: int = 3) -> Circuit:
    return Circuit(2).append("h", 0).append("rx", 1, input_angle(4)) + Circuit(2, (Repeat(layer(), reps),))


# Angles -------------------------------------------------------------------------------------------


def test_angle_arithmetic() -> None:
    a, b, x = parameter("a"), parameter("b", 1, 2), input_angle(0)
    values = {"a": 0.3, "b[1,2]": -1.7, "x[0]": 2.5}

    def value(angle: object) -> float:
        return angle.evaluate(lambda ref: values[repr(ref)])  # type: ignore[attr-defined,no-any-return]

    assert value(a + b - 2 * x) == pytest.approx(0.3 - 1.7 - 5)
    assert value((1 - a) * (b + 2) * x) == pytest.approx((1 - 0.3) * (-1.7 + 2) * 2.5)
    assert value(-a) == pytest.approx(-0.3)
    assert value(np.float64(2) * a + np.float32(0.5)) == pytest.approx(1.1)
    assert value(constant(0.25) * 4) == pytest.approx(1.0)


def test_angles_are_equal_when_they_say_the_same() -> None:
    a, x = parameter("a"), input_angle(1)
    assert a * x + x * a - 1 == 2 * x * a - 1
    assert hash(a + x) == hash(x + a)
    assert parameter("a", 0) != parameter("a", 1)


def test_term_with_scale_zero_keeps_its_parameter() -> None:
    for angle in (parameter("a", 3) * 0.0, 0.0 * parameter("a", 3), constant(0.0) * parameter("a", 3)):
        assert Circuit(1).append("rx", 0, angle).parameter_shapes == {"a": (4,)}


def test_angle_reads_as_written() -> None:
    assert repr(2 * parameter("a", 0, 1) * input_angle(2) - 0.5) == "2*x[2]*a[0,1]-0.5"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_angle_must_be_finite(value: float) -> None:
    with pytest.raises(UserError, match="Argument `angle` must be made of finite numbers, but got"):
        operation("rx", 0, value)


def test_angle_must_be_real() -> None:
    data = {"num_qubits": 1, "operations": [{"gate": "rx", "qubits": [0], "angles": ["0.1"]}]}
    with pytest.raises(UserError, match="Argument `angle` must be a real number or an Angle"):
        Circuit.from_json(json.dumps({"format": "qjax.circuit", "version": 1, **data}))


def test_reference_errors() -> None:
    with pytest.raises(UserError, match="Argument `index` must be an integer of at least 0, but got -1"):
        input_angle(-1)
    with pytest.raises(UserError, match="Argument `name` must be a non-empty text"):
        parameter("")


# Building -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Circuit(0), r"`num_qubits` must be an integer of at least 1, but got 0"),
        (lambda: Circuit(2).append("rxy", 0), r"`name` must be one of the choices.*Did you mean"),
        (lambda: Circuit(4).append("cx", (0, 4)), r"`qubits` must hold distinct integers in 0..3, but got \(0, 4\)"),
        (lambda: Circuit(4).append("cx", (1, 1)), r"`qubits` must hold distinct integers for gate 'cx', but got"),
        (lambda: Circuit(4).append("cx", 1), r"`qubits` must hold 2 qubit\(s\) for gate 'cx', but got \(1,\)"),
        (lambda: Circuit(4).append("h", -1), r"`qubits` must be an integer of at least 0, but got -1"),
        (lambda: Circuit(4).append("rx", 1), r"`angles` must hold 1 angle\(s\) for gate 'rx', but got \(\)"),
        (lambda: Circuit(4).append("h", 1, 0.3), r"`angles` must hold 0 angle\(s\) for gate 'h', but got \(0.3,\)"),
        (lambda: Circuit(2) + Circuit(3), r"`other` must have 2 qubits like the circuit before it, but got 3"),
        (lambda: Circuit(3, (Repeat(layer(), 2),)), r"`body` must have 3 qubits like the circuit, but got 2"),
        (lambda: Repeat(layer(), 0), r"`reps` must be an integer of at least 1, but got 0"),
        (
            lambda: layer().append("rx", 0, parameter("w", 0, 0)),
            r"`parameter` must have one number of indices wherever 'w' is used, but got 1 and 2",
        ),
        (lambda: repeated(3) + repeated(2), r"`parameter` must have one shape wherever 'w' is used, \[2, 2\] as in"),
        (lambda: repeated(3).append("rx", 0, parameter("w", 3, 0)), r"\[3, 2\] as in the Repeat, but got \[4, 2\]"),
    ],
)
def test_mistakes_are_found_while_building(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()  # type: ignore[operator]


def test_properties() -> None:
    circuit = repeated()
    assert circuit.parameter_shapes == {"w": (3, 2)}
    assert circuit.num_parameters == 6
    assert circuit.num_inputs == 5
    assert circuit.counts() == {"h": 1, "rx": 1, "ry": 6, "cx": 3}
    assert (circuit.depth(), circuit.two_qubit_depth()) == (7, 3)
    assert (Circuit(1).depth(), Circuit(1).counts(), Circuit(1).num_inputs) == (0, {}, 0)
    assert not circuit.is_bound


def test_parallel_gates_share_depth() -> None:
    circuit = Circuit(4).append("cx", (0, 1)).append("cx", (2, 3)).append("cx", (1, 2)).append("h", 0)
    assert (circuit.depth(), circuit.two_qubit_depth()) == (2, 2)


def test_expand_writes_a_repeat_out() -> None:
    expanded = repeated(2).expand()
    w = [[parameter("w", r, q) for q in range(2)] for r in range(2)]
    expected = Circuit(2).append("h", 0).append("rx", 1, input_angle(4))
    for r in range(2):
        expected = expected.append("ry", 0, w[r][0]).append("ry", 1, w[r][1]).append("cx", (0, 1))
    assert expanded == expected
    assert expanded.parameter_shapes == repeated(2).parameter_shapes


def test_circuits_are_hashable_data() -> None:
    assert repeated() == repeated()
    assert hash(repeated()) == hash(repeated())
    assert len({repeated(), repeated(), repeated(2)}) == 2
    assert repeated() != repeated(4)


def test_repr_can_be_read() -> None:
    text = repr(Circuit(2).append("rx", 1, 2 * input_angle(0)) + Circuit(2, (Repeat(layer(), 2),)))
    assert text == "Circuit(2 qubits: rx(2*x[0]) 1, 2 x [ry(w[0]) 0, ry(w[1]) 1, cx 0 1])"


@pytest.mark.parametrize("seed", SEEDS)
def test_inverse_has_the_same_parameters(seed: int) -> None:
    circuit = random_case(seed).circuit
    assert circuit.inverse().parameter_shapes.keys() == circuit.parameter_shapes.keys()


# JSON ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_json_round_trip(seed: int) -> None:
    circuit = random_case(seed).circuit
    again = Circuit.from_json(circuit.to_json())
    assert again == circuit
    assert hash(again) == hash(circuit)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "`text` must be the JSON of a circuit, but got Expecting"),
        ('{"format": "other"}', "`text` must be JSON of format 'qjax.circuit'"),
        ('{"format": "qjax.circuit", "version": 2}', "`version` must be 1, but got 2"),
        ('{"format": "qjax.circuit", "version": 1}', "`text` must be the JSON of a circuit, but got KeyError"),
    ],
)
def test_json_errors(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Circuit.from_json(text)


# Binding ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_bind_gives_the_numbers_of_the_reference(seed: int) -> None:
    case = random_case(seed)
    params, inputs = random_values(case, seed, batch=1, dtype=np.float64)
    bound = case.circuit.bind(params, inputs[0])
    assert bound.is_bound
    expected = case.reference_gates(params, inputs[0])
    assert [(op.gate.name, op.qubits) for op in bound.iter_operations()] == [step[:2] for step in expected]
    for op, step in zip(bound.iter_operations(), expected, strict=True):
        assert (op.controls, op.control_values) == (step.controls, step.control_values or (1,) * len(step.controls))
        np.testing.assert_allclose([a.shift for a in op.angles], step.angles, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("params", "inputs", "message"),
    [
        ({}, np.zeros(5), r"`params` must hold 'w' of shape \[3, 2\], but got only \[\]"),
        ({"w": np.zeros((2, 3))}, np.zeros(5), r"`params\['w'\]` must have shape \[3, 2\], but got shape \[2, 3\]"),
        (
            {"w": np.zeros((3, 2)), "v": 1.0},
            np.zeros(5),
            r"`params` must hold the parameters .* but got v.*Choices: w",
        ),
        ({"w": np.zeros((3, 2))}, None, r"`inputs` must have shape \[5\] or \[batch, 5\], but got None"),
        (
            {"w": np.zeros((3, 2))},
            np.zeros(4),
            r"`inputs` must have shape \[5\] or \[batch, 5\], but got shape \[4\]",
        ),
        ({"w": np.zeros((3, 2))}, np.zeros((2, 5)), r"`inputs` must be one example to bind, but got shape \[2, 5\]"),
        ({"w": np.full((3, 2), np.nan)}, np.zeros(5), r"`params\['w'\]` must hold finite numbers"),
        ({"w": np.zeros((3, 2))}, np.full(5, np.inf), r"`inputs` must hold finite numbers"),
    ],
)
def test_bind_errors(params: dict, inputs: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        repeated().bind(params, inputs)
