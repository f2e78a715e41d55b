from collections.abc import Callable
from typing import Any

import dense_reference as dense
import jax
import numpy as np
import pytest
from bound_circuits import dense_unitary
from qiskit.circuit.library import efficient_su2 as qiskit_efficient_su2
from qiskit.circuit.library import excitation_preserving as qiskit_excitation_preserving
from qiskit.circuit.library import n_local as qiskit_n_local
from qiskit.circuit.library import real_amplitudes as qiskit_real_amplitudes
from qiskit.quantum_info import Operator

from qjax.checks import UserError
from qjax.quantum import (
    Circuit,
    PauliString,
    PauliSum,
    Repeat,
    angle_encoding,
    hardware_efficient,
    input_angle,
    operation,
    parameter,
    state,
    unitary,
    z_observables,
)
from qjax.quantum.templates.ansatz import (
    data_reuploading,
    efficient_su2,
    entangler_pairs,
    excitation_preserving,
    real_amplitudes,
    strongly_entangling,
    two_local,
)


def random_params(circuit: Circuit, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-3, 3, shape) for name, shape in circuit.parameter_shapes.items()}


# Encoding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["rx", "ry", "rz"])
def test_angle_encoding_is_one_rotation_a_qubit(axis: str) -> None:
    x = np.asarray([0.3, -1.2, 2.0], np.float32)
    expected = dense.run(3, [(axis, (q,), (float(x[q]),)) for q in range(3)])
    np.testing.assert_allclose(state(angle_encoding(3, axis), None, x), expected, atol=1e-6)


def test_angle_encoding_error() -> None:
    with pytest.raises(UserError, match="Argument `axis` must be one of the choices, but got 'rw'"):
        angle_encoding(3, "rw")


# Hardware-efficient -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "pattern", "pairs"),
    [
        (4, "ring", [(0, 1), (1, 2), (2, 3), (3, 0)]),
        (2, "ring", [(0, 1)]),
        (1, "ring", []),
        (4, "linear", [(0, 1), (1, 2), (2, 3)]),
        (4, "reverse_linear", [(2, 3), (1, 2), (0, 1)]),
        (3, "full", [(0, 1), (0, 2), (1, 2)]),
        (5, "brick", [(0, 1), (2, 3), (1, 2), (3, 4)]),
        (4, "brick", [(0, 1), (2, 3), (1, 2)]),
        (4, "star", [(0, 1), (0, 2), (0, 3)]),
        (1, "star", []),
        (4, "none", []),
    ],
)
def test_hardware_efficient_patterns(n: int, pattern: str, pairs: list[tuple[int, int]]) -> None:
    circuit = hardware_efficient(n, 1, pattern=pattern, entangler="cz")
    assert [op.qubits for op in circuit.iter_operations() if op.gate.name == "cz"] == pairs
    assert list(entangler_pairs(n, pattern)) == pairs


def test_hardware_efficient_against_dense_algebra() -> None:
    circuit = hardware_efficient(3, 2, ("rx", "p"), "cx", "ring", "theta")
    assert circuit.parameter_shapes == {"theta": (2, 3, 2)}
    theta = np.linspace(-2, 3, 12, dtype=np.float32).reshape(2, 3, 2)
    gates: list = []
    for r in range(2):
        for q in range(3):
            gates += [("rx", (q,), (float(theta[r, q, 0]),)), ("p", (q,), (float(theta[r, q, 1]),))]
        gates += [("cx", pair, ()) for pair in ((0, 1), (1, 2), (2, 0))]
    np.testing.assert_allclose(state(circuit, {"theta": theta}), dense.run(3, gates), atol=1e-6)


@pytest.mark.parametrize("entangler", ["cy", "ch", "swap", "iswap", "ecr", "crx", "cp", "rxx", "rzx", "xx_plus_yy"])
def test_hardware_efficient_with_fixed_gates_and_angled_entanglers(entangler: str) -> None:
    circuit = hardware_efficient(3, 2, ("h", "u", "ry"), entangler, "star", "a")
    num_angles = dense.NUM_ANGLES[entangler]
    assert circuit.parameter_shapes.pop("a_entangler", (2, 2, 0)) == (2, 2, num_angles)
    params = random_params(circuit)
    assert params["a"].shape == (2, 3, 4)
    gates: list = []
    for r in range(2):
        for q in range(3):
            *angles, last = params["a"][r, q]
            gates += [("h", (q,)), ("u", (q,), tuple(angles)), ("ry", (q,), (last,))]
        for p, pair in enumerate(((0, 1), (0, 2))):
            gates.append((entangler, pair, tuple(params["a_entangler"][r, p]) if num_angles else ()))
    np.testing.assert_allclose(dense_unitary(circuit, params), dense.unitary(3, gates), atol=1e-9)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"rotations": ()}, "`rotations` must name at least one gate"),
        ({"rotations": ("cx",)}, "`rotations` must be one of the choices, but got 'cx'"),
        ({"rotations": "ry"}, "`rotations` must be a sequence of names, but got 'ry'"),
        ({"entangler": "czz"}, "`entangler` must be one of the choices, but got 'czz'. Did you mean 'cz'"),
        ({"entangler": "ccx"}, "`entangler` must be one of the choices, but got 'ccx'"),
        ({"pattern": "rings"}, "`pattern` must be one of the choices, but got 'rings'. Did you mean 'ring'"),
        ({"reps": 0}, "`reps` must be an integer of at least 1, but got 0"),
        ({"num_qubits": 0}, "`num_qubits` must be an integer in 1..65536, but got 0"),
    ],
)
def test_hardware_efficient_errors(keywords: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        hardware_efficient(**({"num_qubits": 3, "reps": 1} | keywords))


# Strongly entangling ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "reps", "ranges", "expected"),
    [(4, 5, None, (1, 2, 3, 1, 2)), (3, 2, (2, 2), (2, 2)), (2, 2, None, (1, 1)), (1, 2, None, (0, 0))],
)
def test_strongly_entangling_against_dense_algebra(n: int, reps: int, ranges: Any, expected: tuple[int, ...]) -> None:
    circuit = strongly_entangling(n, reps, ranges, "crz", "a")
    params = random_params(circuit)
    assert params["a"].shape == (reps, n, 3)
    gates: list = []
    for r, step in enumerate(expected):
        for q in range(n):
            gates += [(gate, (q,), (params["a"][r, q, k],)) for k, gate in enumerate(("rz", "ry", "rz"))]
        for q in range(n) if n > 1 else ():
            gates.append(("crz", (q, (q + step) % n), (params["a_entangler"][r, q, 0],)))
    np.testing.assert_allclose(dense_unitary(circuit, params), dense.unitary(n, gates), atol=1e-9)
    assert any(isinstance(op, Repeat) for op in circuit.operations) == (len(set(expected)) == 1)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"ranges": (1,)}, r"`ranges` must hold an integer in 1\.\.2 for each of 2 layer\(s\), but got \(1,\)"),
        ({"ranges": (1, 3)}, r"`ranges` must hold an integer in 1\.\.2"),
        ({"ranges": (0, 1)}, r"`ranges` must hold an integer in 1\.\.2"),
        ({"num_qubits": 1, "ranges": (1, 1)}, "`ranges` must be left out for fewer than two qubits"),
        ({"entangler": "rx"}, "`entangler` must be one of the choices, but got 'rx'"),
        ({"reps": 0}, "`reps` must be an integer of at least 1, but got 0"),
        ({"num_qubits": 0}, "`num_qubits` must be an integer in 1..65536, but got 0"),
    ],
)
def test_strongly_entangling_errors(keywords: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        strongly_entangling(**({"num_qubits": 3, "reps": 2} | keywords))


# Qiskit's circuits --------------------------------------------------------------------------------------------------


def qiskit_matrix(circuit: Any, values: np.ndarray) -> np.ndarray:
    return Operator(circuit.assign_parameters(values).reverse_bits()).data


def from_qiskit_order(circuit: Circuit, values: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters of `two_local` from Qiskit's vector, which goes gate by gate where ours go qubit by qubit."""
    shapes = circuit.parameter_shapes
    rest = list(values)

    def take(*shape: int) -> np.ndarray:
        taken = np.array([rest.pop(0) for _ in range(int(np.prod(shape)))])
        return taken.reshape(shape)

    reps, n, angles = shapes["ansatz"]
    params: dict[str, Any] = {name: [] for name in shapes if not name.endswith("final")}
    for _ in range(reps):
        params["ansatz"].append(take(angles, n).T)
        if "ansatz_entangler" in shapes:
            params["ansatz_entangler"].append(take(*shapes["ansatz_entangler"][1:]))
    if "ansatz_final" in shapes:
        params["ansatz_final"] = take(angles, n).T
    assert not rest
    return {name: np.array(value) for name, value in params.items()}


def assert_same_as_qiskit(circuit: Circuit, theirs: Any) -> None:
    values = np.random.default_rng(1).uniform(-3, 3, theirs.num_parameters)
    actual = dense_unitary(circuit, from_qiskit_order(circuit, values))
    np.testing.assert_allclose(actual, qiskit_matrix(theirs, values), atol=1e-9)


PATTERN_NAMES = {"linear": "linear", "reverse_linear": "reverse_linear", "full": "full", "brick": "pairwise"}


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_real_amplitudes_and_efficient_su2_are_qiskits_by_default(n: int) -> None:
    assert_same_as_qiskit(real_amplitudes(n, 2), qiskit_real_amplitudes(n, reps=2))
    assert_same_as_qiskit(efficient_su2(n, 3), qiskit_efficient_su2(n, reps=3))


@pytest.mark.parametrize(("pattern", "theirs"), PATTERN_NAMES.items())
def test_two_local_circuits_are_qiskits_for_every_pattern_in_common(pattern: str, theirs: str) -> None:
    n = 4
    assert_same_as_qiskit(real_amplitudes(n, 2, pattern), qiskit_real_amplitudes(n, theirs, 2))
    without_final = qiskit_efficient_su2(n, ["rx", "ry"], theirs, 2, skip_final_rotation_layer=True)
    assert_same_as_qiskit(efficient_su2(n, 2, ("rx", "ry"), pattern, final_rotations=False), without_final)
    mixed = qiskit_n_local(n, ["h", "rz"], "crx", theirs, 2)
    assert_same_as_qiskit(two_local(n, 2, ("h", "rz"), "crx", pattern), mixed)


@pytest.mark.parametrize("mode", ["iswap", "fsim"])
@pytest.mark.parametrize(("n", "pattern"), [(1, "full"), (2, "full"), (4, "full"), (4, "linear"), (4, "brick")])
def test_excitation_preserving_is_qiskits(n: int, pattern: str, mode: str) -> None:
    theirs = qiskit_excitation_preserving(n, mode, PATTERN_NAMES[pattern], reps=2)
    assert_same_as_qiskit(excitation_preserving(n, 2, pattern, mode), theirs)
    shorter = qiskit_excitation_preserving(n, mode, PATTERN_NAMES[pattern], 2, skip_final_rotation_layer=True)
    assert_same_as_qiskit(excitation_preserving(n, 2, pattern, mode, final_rotations=False), shorter)


def test_the_simulator_agrees_on_a_template_with_every_kind_of_parameter() -> None:
    circuit = excitation_preserving(2, 2, mode="fsim", name="a")
    with jax.enable_x64(True):
        params = random_params(circuit)
        np.testing.assert_allclose(unitary(circuit, params), dense_unitary(circuit, params), atol=1e-12)


def test_excitation_preserving_error() -> None:
    with pytest.raises(UserError, match=r"`mode` must be one of the choices, but got 'swap'\. Did you mean 'iswap'"):
        excitation_preserving(3, 1, mode="swap")


# Data re-uploading --------------------------------------------------------------------------------------------------

INPUTS = np.array([0.7, -1.3])


def reuploaded() -> tuple[Circuit, Circuit]:
    encoding = (
        Circuit(2)
        .append("rx", 0, input_angle(1) * 2 + 0.5)
        .append("h", 1)
        .append("rzz", (0, 1), (np.pi - input_angle(0)) * (np.pi - input_angle(1)) + parameter("shift"))
        .append("ry", 1, parameter("factor") * input_angle(0) * input_angle(0), controls=0, control_values=(0,))
    )
    return encoding, hardware_efficient(2, 1, name="theta")


def controlled_ry(angle: float) -> tuple[Any, ...]:
    return ("ry", (1,), (angle,), (0,), (0,))


def reference_layer(p: dict[str, np.ndarray], weights: np.ndarray) -> list[tuple[Any, ...]]:
    """One repetition with the k-th use of an input multiplied by 1 + weights[k]."""
    a, b, c, d = 1 + weights
    x, y = INPUTS
    gates: list[tuple[Any, ...]] = [("rx", (0,), (2 * a * y + 0.5,)), ("h", (1,))]
    gates.append(("rzz", (0, 1), ((np.pi - b * x) * (np.pi - c * y) + p["shift"],)))
    gates.append(controlled_ry(p["factor"] * (d * x) ** 2))
    for q in range(2):
        gates += [("ry", (q,), (p["theta"][0, q, 0],)), ("rz", (q,), (p["theta"][0, q, 1],))]
    return [*gates, ("cx", (0, 1))]


@pytest.mark.parametrize("weighted", [False, True])
def test_data_reuploading_against_dense_algebra(weighted: bool) -> None:
    circuit = data_reuploading(*reuploaded(), 3, weighted, name="w")
    shapes = {"shift": (3,), "factor": (3,), "theta": (3, 1, 2, 2)}
    assert circuit.parameter_shapes == shapes | ({"w": (3, 4)} if weighted else {})
    assert circuit.num_inputs == 2
    with jax.enable_x64(True):
        params = random_params(circuit)
        gates = []
        for r in range(3):
            here = {name: value[r] for name, value in params.items()}
            gates += reference_layer(here, here["w"] if weighted else np.zeros(4))
        np.testing.assert_allclose(state(circuit, params, INPUTS), dense.run(2, gates), atol=1e-12)


def test_data_reuploading_weights_every_input_of_a_written_out_repeat() -> None:
    body = Circuit(1).append("rx", 0, input_angle(0)).append("ry", 0, parameter("t"))
    encoding = Circuit(1, (Repeat(body, 2),))
    circuit = data_reuploading(encoding, Circuit(1), 3, weighted=True)
    assert circuit.parameter_shapes == {"weights": (3, 2), "t": (3, 2)}
    bound = circuit.bind({"weights": np.full((3, 2), 0.5), "t": np.zeros((3, 2))}, [2.0])
    assert bound.operations[0] == operation("rx", 0, 3.0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda e, a: data_reuploading(a, a, 2), "`encoding` must take inputs"),
        (lambda e, a: data_reuploading(e, Circuit(3), 2), "`ansatz` must have 2 qubits like the encoding, but got 3"),
        (lambda e, a: data_reuploading(e, a, 0), "`reps` must be an integer of at least 1, but got 0"),
        (lambda e, a: data_reuploading(e, a, 2, True, "theta"), "`name` must differ from the parameters"),
    ],
)
def test_data_reuploading_errors(build: Callable[[Circuit, Circuit], Circuit], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(*reuploaded())


# Observables --------------------------------------------------------------------------------------------------------


def test_pauli_sum_from_text() -> None:
    expected = PauliSum(((0.5, PauliString("XZI")), (-1.0, PauliString("ZZI")), (1e-3, PauliString("IIY"))))
    assert PauliSum.from_text("0.5 XZI - ZZI + 1e-3*IIY") == expected
    assert PauliSum.from_text(str(expected)) == expected
    assert PauliSum.from_text("-XY").terms == ((-1.0, PauliString("XY")),)
    assert len({expected, PauliSum.from_text(str(expected))}) == 1
    assert z_observables(3) == (PauliString("ZII"), PauliString("IZI"), PauliString("IIZ"))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PauliString("ZAI"), "`paulis` must be text with one letter of I, X, Y, Z a qubit, but got 'ZAI'"),
        (lambda: PauliString(""), "`paulis` must be text with one letter"),
        (lambda: PauliSum(()), r"`terms` must hold at least one \(coefficient, PauliString\)"),
        (lambda: PauliSum.from_text("ZZ XX"), "`text` must be a sum of Pauli strings.*but got 'XX'"),
        (lambda: PauliSum.from_text(""), "`text` must be a sum of Pauli strings"),
        (lambda: PauliSum(((float("nan"), PauliString("Z")),)), "`terms` must have finite coefficients, but got nan"),
        (lambda: z_observables(0), "`num_qubits` must be an integer of at least 1, but got 0"),
    ],
)
def test_observable_errors(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()  # type: ignore[operator]
