"""Controls, powers, moved and renamed operations and circuits, against dense algebra."""

import numpy as np
import pytest
from scipy.linalg import block_diag, expm, fractional_matrix_power

from qjax.checks import UserError
from qjax.quantum import Circuit, Repeat, input_angle, operation, parameter, unitary
from qjax.quantum.circuits.custom_gates import (
    barrier_gate,
    diagonal_gate,
    pauli_rotation_gate,
    permutation_gate,
    unitary_gate,
)

X = np.array([[0, 1], [1, 0]])
Y = np.array([[0, -1j], [1j, 0]])
Z = np.diag([1, -1])
RNG = np.random.default_rng(0)
RANDOM_UNITARY = np.linalg.qr(RNG.normal(size=(4, 4)) + 1j * RNG.normal(size=(4, 4)))[0]


def ry(theta: float) -> np.ndarray:
    return np.asarray(expm(-0.5j * theta * Y))


def angles_circuit() -> Circuit:
    """Two qubits, asymmetric, with a parameter, an input, a global phase and a gate of each structure."""
    circuit = Circuit(2).append("h", 0).append("ry", 1, parameter("w", 0)).append("cx", (1, 0))
    return circuit.append("rz", 0, input_angle(0)).append("gphase", (), 0.7).append("crx", (0, 1), parameter("w", 1))


PARAMS = {"w": np.array([0.4, -1.3], np.float32)}
INPUTS = np.array([0.9], np.float32)


def matrix(circuit: Circuit) -> np.ndarray:
    has_inputs = circuit.num_inputs > 0
    return np.asarray(unitary(circuit, PARAMS if circuit.num_parameters else None, INPUTS if has_inputs else None))


# Controls -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize(
    ("gate", "block"), [("x", X), ("ry", ry(0.6)), ("p", np.diag([1, np.exp(0.6j)])), ("y", Y), ("sx", None)]
)
def test_a_controlled_gate_fills_the_block_of_its_values(values: tuple[int, int], gate: str, block: object) -> None:
    angles = (0.6,) if gate in ("ry", "p") else ()
    block = expm(-0.25j * np.pi * (X - np.eye(2))) if gate == "sx" else block
    found = matrix(Circuit(3, (operation(gate, 2, *angles, controls=(0, 1), control_values=values),)))
    place = values[0] * 2 + values[1]
    np.testing.assert_allclose(found, block_diag(*[block if i == place else np.eye(2) for i in range(4)]), atol=1e-6)


def test_the_order_of_controls_and_values_goes_together() -> None:
    one = Circuit(4).append("ry", 1, 0.6, controls=(3, 0), control_values=(0, 1))
    other = Circuit(4).append("ry", 1, 0.6, controls=(0, 3), control_values=(1, 0))
    np.testing.assert_allclose(matrix(one), matrix(other), atol=1e-7)
    wide = np.zeros((16, 16), complex)
    for i in range(16):
        bits = [(i >> (3 - q)) & 1 for q in range(4)]
        acts = bits[0] == 1 and bits[3] == 0
        for b in (0, 1):
            j = (i & ~0b0100) | (b << 2)
            wide[j, i] = ry(0.6)[b, bits[1]] if acts else float(i == j)
    np.testing.assert_allclose(matrix(one), wide, atol=1e-6)


def test_a_global_phase_under_controls_is_a_phase_of_one_state() -> None:
    found = matrix(Circuit(3).append("gphase", (), 0.8, controls=(2, 0), control_values=(0, 1)))
    diagonal = np.ones(8, complex)
    for i in (0b100, 0b110):
        diagonal[i] = np.exp(0.8j)
    np.testing.assert_allclose(found, np.diag(diagonal), atol=1e-6)
    np.testing.assert_allclose(matrix(Circuit(1).append("gphase", (), 0.8)), np.exp(0.8j) * np.eye(2), atol=1e-6)


@pytest.mark.parametrize("values", [None, (0,), (1, 0)])
def test_a_controlled_circuit_is_the_block_matrix(values: tuple[int, ...] | None) -> None:
    count = 1 if values is None else len(values)
    place = sum(v << i for i, v in enumerate(reversed(values or (1,))))
    inner = angles_circuit() + Circuit(2, (Repeat(Circuit(2).append("cy", (1, 0)).append("t", 1), 3),))
    blocks = [matrix(inner) if i == place else np.eye(4) for i in range(2**count)]
    np.testing.assert_allclose(matrix(inner.controlled(count, values)), block_diag(*blocks), atol=1e-6)


# Inverse and powers -------------------------------------------------------------------------------

EVERY_KIND = [
    operation("crx", (0, 1), 0.7),
    operation("iswap", (1, 0)),
    operation("u", 1, 0.3, 1.1, -2.0),
    operation("csx", (1, 0)),
    operation(unitary_gate(RANDOM_UNITARY), (1, 0)),
    operation(diagonal_gate([0.1, -0.4, 2.0, 3.0]), (1, 0)),
    operation(permutation_gate([1, 2, 3, 0]), (1, 0)),
    operation(pauli_rotation_gate("YX"), (0, 1), 0.9),
    operation("h", 1, controls=0, control_values=(0,)),
    operation("gphase", (), 0.3, controls=1),
]


@pytest.mark.parametrize("op", EVERY_KIND, ids=repr)
@pytest.mark.parametrize("exponent", [-1, 0, 1, 3, -2])
def test_whole_powers(op: object, exponent: int) -> None:
    one = Circuit(2, (op,))  # type: ignore[arg-type]
    expected = np.linalg.matrix_power(matrix(one).astype(complex), exponent)
    np.testing.assert_allclose(matrix(Circuit(2, op.power(exponent))), expected, atol=2e-6)  # type: ignore[attr-defined]
    np.testing.assert_allclose(matrix(one.power(exponent)), expected, atol=2e-6)
    if exponent == -1:
        np.testing.assert_allclose(matrix(one.inverse()), expected, atol=2e-6)


@pytest.mark.parametrize("op", EVERY_KIND, ids=repr)
@pytest.mark.parametrize("exponent", [0.5, -1 / 3])
def test_fractions_are_the_principal_power(op: object, exponent: float) -> None:
    circuit = Circuit(2, (op,))  # type: ignore[arg-type]
    expected = fractional_matrix_power(matrix(circuit).astype(complex), exponent)
    np.testing.assert_allclose(matrix(circuit.power(exponent)), expected, atol=5e-6)


def test_a_circuit_has_a_root_once_it_is_bound() -> None:
    bound = angles_circuit().bind(PARAMS, INPUTS)
    root = bound.power(0.5)
    assert len(root.operations) == 1
    np.testing.assert_allclose(matrix(root) @ matrix(root), matrix(bound), atol=2e-6)


@pytest.mark.parametrize("reps", [2, 50])  # written out, and as a loop
def test_a_shared_repeat_keeps_its_parameters(reps: int) -> None:
    circuit = angles_circuit().power(reps)
    assert circuit.parameter_shapes == {"w": (2,)}
    expected = np.linalg.matrix_power(matrix(angles_circuit()).astype(np.complex128), reps)
    np.testing.assert_allclose(matrix(circuit), expected, atol=1e-5)
    np.testing.assert_allclose(matrix(circuit.inverse()), expected.conj().T, atol=1e-5)
    assert circuit.expand().parameter_shapes == {"w": (2,)}


def test_a_repeat_inside_a_shared_repeat_runs_along_its_own_axis() -> None:
    layer = Circuit(1).append("rx", 0, parameter("v")).append("rz", 0, parameter("s"))
    nested = Circuit(1, (Repeat(Circuit(1, (Repeat(layer, 2),)), 40, shared=True),))
    assert nested.parameter_shapes == {"v": (2,), "s": (2,)}
    params = {"v": np.array([0.1, 0.5], np.float32), "s": np.array([-0.3, 0.2], np.float32)}
    one = np.eye(2)
    for v, s in zip(params["v"], params["s"], strict=True):
        one = expm(-0.5j * s * Z) @ expm(-0.5j * v * X) @ one
    np.testing.assert_allclose(unitary(nested, params), np.linalg.matrix_power(one, 40), atol=1e-5)


# Moved and renamed --------------------------------------------------------------------------------


@pytest.mark.parametrize("places", [(2, 0), (1, 3)])
def test_remap_moves_qubits(places: tuple[int, int]) -> None:
    moved = angles_circuit().remap(places, num_qubits=4)
    u, wide = matrix(angles_circuit()), matrix(moved)
    for i in range(16):
        bits = [(i >> (3 - q)) & 1 for q in range(4)]
        column = np.zeros(16, complex)
        for j in range(4):
            new = list(bits)
            new[places[0]], new[places[1]] = j >> 1, j & 1
            column[sum(b << (3 - q) for q, b in enumerate(new))] = u[j, bits[places[0]] * 2 + bits[places[1]]]
        np.testing.assert_allclose(wide[:, i], column, atol=1e-6)


def test_rename_lets_a_template_be_used_twice() -> None:
    twice = angles_circuit() + angles_circuit().rename({"w": "v"})
    assert twice.parameter_shapes == {"w": (2,), "v": (2,)}
    repeated = Circuit(2, (Repeat(angles_circuit(), 3),)).rename({"w": "v"})
    assert repeated.parameter_shapes == {"v": (3, 2)}


# Barriers and counts ------------------------------------------------------------------------------


def test_a_barrier_does_nothing_but_hold_gates_back() -> None:
    plain = angles_circuit()
    held = Circuit(2, (*plain.operations[:2], operation(barrier_gate(2), (0, 1)), *plain.operations[2:]))
    np.testing.assert_allclose(matrix(held), matrix(plain), atol=1e-7)
    assert held.counts() == plain.counts()
    assert held.inverse().inverse() == held
    assert held.controlled().operations[2] == operation(barrier_gate(2), (1, 2))
    late = Circuit(2).append("h", 0).append("h", 0).append(barrier_gate(2), (0, 1)).append("h", 1)
    assert late.depth() == 3


def test_counts_depth_and_connectivity_know_controls() -> None:
    circuit = Circuit(4).append("x", 3, controls=(0, 1)).append("rz", 2, 0.1, controls=3).append("ccx", (0, 1, 2))
    circuit = circuit.append("gphase", (), 0.2)
    assert circuit.counts() == {"c2-x": 1, "c-rz": 1, "ccx": 1, "gphase": 1}
    assert (circuit.depth(), circuit.two_qubit_depth()) == (3, 3)
    assert circuit.connectivity() == ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


def test_repr_and_json_keep_controls_and_content() -> None:
    op = operation("ry", 3, 2 * parameter("a", 1), controls=(0, 2), control_values=(0, 1))
    assert repr(op) == "ry(2*a[1]) 3 if 0=0 2=1"
    circuit = Circuit(4, (op, *EVERY_KIND, Repeat(Circuit(4, (op,)), 2, shared=True)))
    again = Circuit.from_json(circuit.to_json())
    assert again == circuit
    assert hash(again) == hash(circuit)
    assert repr(again) == repr(circuit)


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: operation("x", 0, controls=(1, 0)),
            r"`controls` must hold distinct integers that are not among the",
        ),
        (lambda: operation("x", 0, controls=(1, 1)), r"`controls` must hold distinct integers .* but got \(1, 1\)"),
        (lambda: operation("x", 0, controls=-1), r"`controls` must be an integer of at least 0, but got -1"),
        (
            lambda: operation("x", 0, controls=1, control_values=(2,)),
            r"`control_values` must hold 0 or 1 for each of 1",
        ),
        (
            lambda: operation("x", 0, controls=1, control_values=(1, 0)),
            r"`control_values` must hold 0 or 1 for each of",
        ),
        (
            lambda: operation("x", 0, controls=1, control_values=()),
            r"`control_values` must hold 0 or 1 for each control",
        ),
        (lambda: operation(barrier_gate(2), (0, 1), controls=2), r"`controls` must be left out for a barrier"),
        (
            lambda: Circuit(2).append("x", 0, controls=2),
            r"`controls` must hold distinct integers in 0..1, but got \(2,",
        ),
        (lambda: Circuit(2).remap((0, 0)), r"`qubits` must hold 2 distinct integers in 0..1, but got \(0, 0\)"),
        (lambda: Circuit(2).remap((0, 2)), r"`qubits` must hold 2 distinct integers in 0..1, but got \(0, 2\)"),
        (lambda: Circuit(2).remap((0,)), r"`qubits` must hold 2 distinct integers in 0..1, but got \(0,\)"),
        (lambda: Circuit(2).controlled(0), r"`num_controls` must be an integer of at least 1, but got 0"),
        (lambda: Circuit(2).controlled(2, (1,)), r"`control_values` must hold 0 or 1 for each of 2 control"),
        (lambda: angles_circuit().rename({"v": "w"}), r"`names` must name parameters of the circuit, but got v"),
        (
            lambda: (angles_circuit() + angles_circuit().rename({"w": "v"})).rename({"v": "w"}),
            r"`names` must keep the parameters apart",
        ),
        (lambda: angles_circuit().power(0.5), r"`exponent` must be a whole number for a circuit that is not bound"),
        (
            lambda: Circuit(9).append("h", 0).append("h", 1).power(0.5),
            r"`exponent` must be a whole number beyond 8 qubits, but got 0.5",
        ),
        (
            lambda: operation("u", 0, parameter("a"), 0.0, 0.0).power(0.5),
            r"`exponent` must be a whole number for gate 'u' of unknown angles, but got 0.5",
        ),
        (lambda: Repeat("h", 2), r"`body` must be a Circuit, but got h"),  # type: ignore[arg-type]
    ],
)
def test_mistakes(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()  # type: ignore[operator]
