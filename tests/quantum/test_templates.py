import dense_reference as dense
import jax
import numpy as np
import pytest

from qjax.checks import UserError
from qjax.quantum import (
    Circuit,
    PauliString,
    PauliSum,
    angle_encoding,
    hardware_efficient,
    init_params,
    state,
    z_observables,
)


@pytest.mark.parametrize("axis", ["rx", "ry", "rz"])
def test_angle_encoding_is_one_rotation_a_qubit(axis: str) -> None:
    x = np.asarray([0.3, -1.2, 2.0], np.float32)
    expected = dense.run(3, [(axis, (q,), (float(x[q]),)) for q in range(3)])
    np.testing.assert_allclose(state(angle_encoding(3, axis), None, x), expected, atol=1e-6)


def test_angle_encoding_error() -> None:
    with pytest.raises(UserError, match="Argument `axis` must be one of the choices, but got 'rw'"):
        angle_encoding(3, "rw")


@pytest.mark.parametrize(
    ("n", "pattern", "pairs"),
    [
        (4, "ring", [(0, 1), (1, 2), (2, 3), (3, 0)]),
        (2, "ring", [(0, 1)]),
        (1, "ring", []),
        (4, "linear", [(0, 1), (1, 2), (2, 3)]),
        (3, "full", [(0, 1), (0, 2), (1, 2)]),
        (4, "none", []),
    ],
)
def test_hardware_efficient_patterns(n: int, pattern: str, pairs: list[tuple[int, int]]) -> None:
    circuit = hardware_efficient(n, 1, pattern=pattern, entangler="cz")
    assert [op.qubits for op in circuit.iter_operations() if op.gate.name == "cz"] == pairs


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


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"rotations": ()}, "`rotations` must name at least one gate"),
        ({"rotations": ("cx",)}, "`rotations` must be one of the choices, but got 'cx'"),
        ({"entangler": "cy"}, "`entangler` must be one of the choices, but got 'cy'"),
        ({"pattern": "rings"}, "`pattern` must be one of the choices, but got 'rings'. Did you mean 'ring'"),
        ({"reps": 0}, "`reps` must be an integer of at least 1, but got 0"),
    ],
)
def test_hardware_efficient_errors(keywords: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        hardware_efficient(**({"num_qubits": 3, "reps": 1} | keywords))


def test_init_params() -> None:
    circuit = hardware_efficient(20, 30, name="a") + hardware_efficient(20, 30, name="b")
    params = init_params(jax.random.key(0), circuit)
    assert {name: p.shape for name, p in params.items()} == {"a": (30, 20, 2), "b": (30, 20, 2)}
    assert params["a"].dtype == np.float32
    assert 0.3 < np.abs(params["a"]).max() <= 0.1 * np.pi
    normal = init_params(jax.random.key(0), circuit, scale=0.5, distribution="normal")["a"]
    assert np.std(normal) == pytest.approx(np.pi / 2, rel=0.1)
    again = init_params(jax.random.key(0), circuit)
    np.testing.assert_array_equal(params["b"], again["b"])
    assert not np.array_equal(params["a"], params["b"])
    assert init_params(jax.random.key(0), Circuit(1)) == {}


def test_init_params_errors() -> None:
    with pytest.raises(UserError, match="`distribution` must be one of the choices, but got 'gauss'"):
        init_params(jax.random.key(0), Circuit(1), distribution="gauss")
    with pytest.raises(UserError, match=r"`scale` must be a finite number of at least 0, but got -1\.0"):
        init_params(jax.random.key(0), Circuit(1), scale=-1.0)


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
        (lambda: PauliSum.from_text("ZZ + Z"), "`terms` must have 2 letters each, like the first, but got 'Z'"),
        (lambda: PauliSum.from_text("ZZ XX"), "`text` must be a sum of Pauli strings.*but got 'XX'"),
        (lambda: PauliSum.from_text(""), "`text` must be a sum of Pauli strings"),
        (lambda: PauliSum.from_text("ZZ + 3"), r"`text` must be a sum of Pauli strings.*but got '\+ 3'"),
        (lambda: PauliSum(((float("nan"), PauliString("Z")),)), "`terms` must have finite coefficients, but got nan"),
        (lambda: z_observables(0), "`num_qubits` must be an integer of at least 1, but got 0"),
    ],
)
def test_observable_errors(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()  # type: ignore[operator]
