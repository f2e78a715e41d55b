import dense_reference as dense
import jax
import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator

from qjax.checks import UserError
from qjax.quantum import GATES, gate, operation

ANGLES = (-2.7, 0.0, 0.4, 3.0)


def cases() -> list[tuple[str, tuple[float, ...]]]:
    return [(name, (t,) * g.num_angles) for name, g in GATES.items() for t in (ANGLES if g.num_angles else (0.0,))]


def our_matrix(name: str, angles: tuple[float, ...]) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(gate(name).matrix(*(np.float64(a) for a in angles)))


def test_the_table_is_the_one_that_the_reference_knows() -> None:
    assert set(GATES) == set(dense.WIDTHS)
    assert {name: g.num_qubits for name, g in GATES.items()} == dense.WIDTHS
    assert {name for name, g in GATES.items() if g.num_angles} == set(dense.ROTATIONS)


@pytest.mark.parametrize(("name", "angles"), cases())
def test_matrix_equals_its_definition(name: str, angles: tuple[float, ...]) -> None:
    np.testing.assert_allclose(our_matrix(name, angles), dense.matrix(name, angles), atol=1e-14)


@pytest.mark.parametrize(("name", "angles"), cases())
def test_matrix_equals_qiskits(name: str, angles: tuple[float, ...]) -> None:
    g = gate(name)
    circuit = QuantumCircuit(g.num_qubits)
    # Qiskit's first qubit is the least significant bit: reversing the qubits of the call gives our order.
    getattr(circuit, g.qiskit)(*angles, *reversed(range(g.num_qubits)))
    np.testing.assert_allclose(our_matrix(name, angles), Operator(circuit).data, atol=1e-14)


@pytest.mark.parametrize("name", GATES)
def test_structure_is_what_the_matrix_shows(name: str) -> None:
    m = our_matrix(name, (0.7,) * gate(name).num_angles)
    if gate(name).structure == "diagonal":
        np.testing.assert_array_equal(m, np.diag(np.diag(m)))
    elif gate(name).structure == "permutation":
        np.testing.assert_array_equal(np.sort(m.real, axis=0)[-1], 1)
        np.testing.assert_array_equal(np.sort(m.real, axis=1)[:, -1], 1)
        assert np.abs(m).sum() == len(m)


@pytest.mark.parametrize("name", GATES)
def test_inverse_undoes(name: str) -> None:
    g = gate(name)
    op = operation(name, tuple(range(g.num_qubits)), *(0.7,) * g.num_angles)
    total = our_matrix(name, (0.7,) * g.num_angles)
    for undo in op.inverse():
        u = our_matrix(undo.gate.name, tuple(a.shift for a in undo.angles))
        total = dense.embed(u, undo.qubits, g.num_qubits) @ total
    np.testing.assert_allclose(total, np.eye(len(total)), atol=1e-14)


@pytest.mark.parametrize("name", [name for name, g in GATES.items() if g.num_angles])
def test_matrix_takes_arrays_of_angles_in_their_dtype(name: str) -> None:
    theta = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    batched = gate(name).matrix(theta)
    dim = 2 ** gate(name).num_qubits
    assert batched.shape == (dim, dim, 2, 3)
    assert batched.dtype == np.complex64
    np.testing.assert_allclose(batched[:, :, 1, 2], dense.matrix(name, (1.0,)), atol=1e-6)


def test_constants_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        gate("x").matrix()[0, 0] = 1


def test_unknown_gate_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"Argument `name` must be one of the choices, but got 'rxz'.*Did you mean"):
        gate("rxz")
