import copy
import json
import os
import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest
from random_circuits import random_case, random_values

from qjax.checks import UserError
from qjax.quantum import (
    Circuit,
    Operation,
    Repeat,
    barrier_gate,
    constant,
    diagonal_gate,
    input_angle,
    operation,
    parameter,
    pauli_rotation_gate,
    permutation_gate,
    unitary_gate,
)
from qjax.quantum.circuits import circuit

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
    assert value((a + 3 * b + 1) / 3) == pytest.approx((0.3 - 5.1 + 1) / 3)


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


@pytest.mark.parametrize("divisor", [0, parameter("b")])
def test_angles_are_divided_by_numbers_alone(divisor: object) -> None:
    with pytest.raises(UserError, match="Argument `divisor` must be a number other than 0"):
        parameter("a") / divisor  # type: ignore[operator]


def test_reference_errors() -> None:
    with pytest.raises(UserError, match="Argument `index` must be an integer of at least 0, but got -1"):
        input_angle(-1)
    with pytest.raises(UserError, match="Argument `name` must be a non-empty text"):
        parameter("")


# Building -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Circuit(0), r"`num_qubits` must be an integer in 1\.\.65536, but got 0"),
        (lambda: Circuit(10**9), r"`num_qubits` must be an integer in 1\.\.65536, but got 1000000000"),
        (lambda: Circuit(1).append("rx", 0, 10**400), r"`angle` must be made of finite numbers"),
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
        (
            lambda: (
                Circuit(2).append("rx", 0, parameter("w", 3, 0)) + Circuit(2, (Repeat(repeated(3), 4, shared=True),))
            ),
            r"\[3, 2\] as in the Repeat, but got \[4, 2\]",
        ),
    ],
)
def test_mistakes_are_found_while_building(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (Circuit, {"num_qubits": 1, "operations": operation("x", 0)}, "`operations` must be a sequence of Operation"),
        (Operation, {"gate": "x", "qubits": (0,)}, "`gate` must be a Gate; `operation` takes names, too, but got x"),
    ],
)
def test_fields_of_other_types_are_found_without_a_type_checker(kind: type, fields: dict, message: str) -> None:
    made = object.__new__(kind)  # the tests' type checker watches __init__
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    with pytest.raises(UserError, match=message):
        made.__post_init__()


@pytest.mark.parametrize("seed", SEEDS[:10])
def test_a_circuit_built_piece_by_piece_is_the_one_built_at_once(seed: int) -> None:
    whole = random_case(seed).circuit
    pieces = Circuit(whole.num_qubits)
    for op in whole.operations:
        pieces = pieces + Circuit(whole.num_qubits, (op,))
    assert pieces == whole
    assert hash(pieces) == hash(whole)
    assert list(pieces.parameter_shapes.items()) == list(whole.parameter_shapes.items())
    assert pieces.num_inputs == whole.num_inputs


def test_building_gate_by_gate_looks_at_each_gate_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, shapes_of = [], circuit._shapes_of
    monkeypatch.setattr(circuit, "_shapes_of", lambda op: looked_at.append(op) or shapes_of(op))
    built = Circuit(1)
    for k in range(50):
        built = built.append("ry", 0, parameter("w", k))
    assert built.num_parameters == len(looked_at) == 50


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
        ("{", "`text` must be the JSON of a circuit, but got no JSON"),
        ('{"format": "other"}', "`text` must be JSON of format 'qjax.circuit'"),
        ('{"format": "qjax.circuit", "version": 2}', "`version` must be 1, but got 2"),
        (
            '{"format": "qjax.circuit", "version": 1}',
            "`text` must be the JSON of a circuit, but got one with a KeyError",
        ),
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


def test_traced_values_are_not_bound() -> None:
    message = r"`params\['w'\]` must be known to bind; `state` and `expectation` take traced values"
    with pytest.raises(UserError, match=message):
        jax.jit(lambda w: repeated().bind({"w": w}, np.zeros(5)))(np.zeros((3, 2)))


# Copies ------------------------------------------------------------------------------------------


def with_every_kind_of_gate() -> Circuit:
    gates = (unitary_gate([[0, 1j], [1, 0]]), diagonal_gate([0.1, 0.2]), permutation_gate([1, 0]))
    made = repeated().append(barrier_gate(2), (0, 1)).append(pauli_rotation_gate("XY"), (1, 0), parameter("t"))
    for gate in gates:
        made = made.append(gate, 0, controls=1, control_values=0)
    return made


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_copies_are_equal_and_as_usable(again: object) -> None:
    made = with_every_kind_of_gate()
    other = again(made)  # type: ignore[operator]
    assert other == made
    assert hash(other) == hash(made)
    assert other.parameter_shapes == made.parameter_shapes
    for op, twin in zip(made.iter_operations(), other.iter_operations(), strict=True):
        if not op.angles:
            np.testing.assert_array_equal(twin.gate.matrix(), op.gate.matrix())


def test_a_circuit_from_another_process_hashes_alike() -> None:
    build = "Circuit(1).append('ry', 0, parameter('w'))"
    code = f"import pickle, sys; from qjax.quantum import Circuit, parameter; made = {build}; hash(made)"
    code += "; sys.stdout.buffer.write(pickle.dumps(made))"
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    sent = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
    here = Circuit(1).append("ry", 0, parameter("w"))
    assert {here: 1}[pickle.loads(sent)] == 1


def test_json_from_before_repeats_could_share_is_read() -> None:
    body = {"num_qubits": 1, "operations": [{"gate": "rx", "qubits": [0], "angles": [0.5]}]}
    data = {"num_qubits": 1, "operations": [{"repeat": body, "reps": 3, "reverse": False}]}
    text = json.dumps({"format": "qjax.circuit", "version": 1, **data})
    assert Circuit.from_json(text) == Circuit(1, (Repeat(Circuit(1).append("rx", 0, 0.5), 3),))
