from math import pi

import dense_reference as dense
import jax
import numpy as np
import pytest
from bound_circuits import dense_state, dense_unitary
from scipy.linalg import expm

from qjax.checks import UserError
from qjax.quantum import Circuit, PauliString, PauliSum, expectation, parameter, state
from qjax.quantum.templates.evolution import (
    hamiltonian_encoding,
    hamiltonian_evolution,
    hamiltonian_variational,
    pauli_rotation,
    qaoa,
)

# Of the transverse-field Ising kind and beyond: X, Y, Z, a three-qubit term and a multiple of the identity.
ISING = PauliSum.from_text("ZZI + 0.8 IZZ - 0.7 XII + 0.5 IYI + 0.3 XYZ + 0.4 III")
COMMUTING = PauliSum.from_text("XXI + 0.5 YYI - ZZI + 0.25 III + 0.7 IIZ")


def dense_sum(hamiltonian: PauliSum) -> np.ndarray:
    return sum(c * dense.pauli(string.paulis) for c, string in hamiltonian.terms)  # type: ignore[return-value]


def evolved(hamiltonian: PauliSum, time: float = 1.0) -> np.ndarray:
    """exp(-i t H) by scipy, from the Kronecker products."""
    return np.asarray(expm(-1j * time * dense_sum(hamiltonian)))


def factors(hamiltonian: PauliSum, times: np.ndarray) -> np.ndarray:
    """The product of exp(-i t_k c_k P_k), the first term acting first."""
    total = np.eye(2**hamiltonian.num_qubits, dtype=complex)
    for term, time in zip(hamiltonian.terms, times, strict=True):
        total = evolved(PauliSum((term,)), float(time)) @ total
    return total


@pytest.mark.parametrize(
    ("paulis", "qubits", "name", "kept"),
    [
        ("Y", (1,), "ry", (1,)),
        ("ZZ", (2, 0), "rzz", (2, 0)),
        ("XIX", (0, 1, 2), "rxx", (0, 2)),
        ("ZX", (2, 1), "pauli_rotation", (2, 1)),
        ("YZX", (1, 2, 0), "pauli_rotation", (1, 2, 0)),
        ("II", (0, 1), "gphase", ()),
    ],
)
def test_pauli_rotation_is_the_exponential(paulis: str, qubits: tuple, name: str, kept: tuple) -> None:
    op = pauli_rotation(paulis, qubits, 0.7)
    assert (op.gate.name, op.qubits) == (name, kept)
    letters = ["I"] * 3
    for letter, q in zip(paulis, qubits, strict=True):
        letters[q] = letter
    expected = expm(-0.35j * dense.pauli("".join(letters)))
    np.testing.assert_allclose(dense_unitary(Circuit(3, (op,))), expected, atol=1e-12)


# Product formulas -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 4])
def test_evolution_of_commuting_terms_is_exact(order: int) -> None:
    found = dense_unitary(hamiltonian_evolution(COMMUTING, -1.3, steps=3, order=order))
    np.testing.assert_allclose(found, evolved(COMMUTING, -1.3), atol=1e-12)


@pytest.mark.parametrize(("order", "steps"), [(1, 64), (2, 16), (4, 8)])
def test_error_falls_as_the_order_says(order: int, steps: int) -> None:
    """Twice the steps make the error 2**order times smaller."""
    exact = evolved(ISING)
    errors = [
        np.linalg.norm(dense_unitary(hamiltonian_evolution(ISING, 1.0, count, order)) - exact, 2)
        for count in (steps, 2 * steps)
    ]
    assert errors[0] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.1)


def test_first_step_is_in_the_order_of_the_terms() -> None:
    found = dense_unitary(hamiltonian_evolution(ISING, 0.9))
    np.testing.assert_allclose(found, factors(ISING, np.full(6, 0.9)), atol=1e-12)


def test_a_pauli_string_is_a_sum_of_one_term() -> None:
    found = dense_unitary(hamiltonian_evolution(PauliString("XYZ"), 0.4))
    np.testing.assert_allclose(found, evolved(PauliSum.from_text("XYZ"), 0.4), atol=1e-12)


def test_steps_share_a_time_that_is_a_parameter() -> None:
    """In the simulator, with the derivative d<O>/dt against the commutator i <[H, O]>, which commuting terms give."""
    circuit = hamiltonian_evolution(COMMUTING, parameter("t") * 2, steps=2)
    assert circuit.parameter_shapes == {"t": ()}
    start = Circuit(3).append("ry", 0, 0.7).append("rx", 1, 0.4).append("h", 2)
    observable = PauliSum.from_text("XII + 0.5 IIY")
    with jax.enable_x64(True):

        def energy(t: jax.Array) -> jax.Array:
            return expectation(start + circuit, {"t": t}, None, [observable])[0]

        found, slope = jax.jit(jax.value_and_grad(energy))(0.31)
    psi = evolved(COMMUTING, 0.62) @ dense_state(start)
    matrix, hamiltonian = dense_sum(observable), dense_sum(COMMUTING)
    commutator = 2j * (hamiltonian @ matrix - matrix @ hamiltonian)
    np.testing.assert_allclose(found, (psi.conj() @ matrix @ psi).real, atol=1e-12)
    np.testing.assert_allclose(slope, (psi.conj() @ commutator @ psi).real, atol=1e-12)


@pytest.mark.parametrize(("order", "gates"), [(1, 6), (2, 11), (4, 55)])
def test_gates_of_a_step(order: int, gates: int) -> None:
    assert sum(hamiltonian_evolution(ISING, 1.0, 3, order).counts().values()) == 3 * gates


# Inputs -----------------------------------------------------------------------------------------------------------


def test_hamiltonian_encoding_in_the_time() -> None:
    circuit = hamiltonian_encoding(COMMUTING)
    rows = np.asarray([[0.4], [-1.2]], np.float32)
    expected = [evolved(COMMUTING, float(row[0]))[:, 0] for row in rows]
    np.testing.assert_allclose(jax.jit(lambda x: state(circuit, None, x))(rows), expected, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 3])
def test_hamiltonian_encoding_in_the_coefficients(steps: int) -> None:
    x = np.array([0.3, -0.6, 1.1, 0.2, -0.9, 2.0])
    found = dense_unitary(hamiltonian_encoding(ISING, "coefficients", steps), None, x)
    np.testing.assert_allclose(found, np.linalg.matrix_power(factors(ISING, x / steps), steps), atol=1e-12)


# Ansatzes ---------------------------------------------------------------------------------------------------------


def test_qaoa_is_its_formula() -> None:
    cost = PauliSum.from_text("ZZI + 0.5 IZZ - 0.3 ZII + 2 III")
    circuit = qaoa(cost, 2)
    gamma, beta = np.array([0.4, -0.9]), np.array([0.7, 0.2])
    mixer = PauliSum.from_text("XII + IXI + IIX")
    expected = np.full(8, 8**-0.5, complex)
    for g, b in zip(gamma, beta, strict=True):
        expected = evolved(mixer, b) @ evolved(cost, g) @ expected
    np.testing.assert_allclose(dense_state(circuit, {"gamma": gamma, "beta": beta}), expected, atol=1e-12)


@pytest.mark.parametrize(("gamma", "beta"), [(0.3, 0.5), (-1.1, 0.2), (pi / 4, pi / 8)])
def test_qaoa_of_one_edge_has_a_known_energy(gamma: float, beta: float) -> None:
    """<ZZ> = sin(4 beta) sin(2 gamma): Wang et al. 2018 (arXiv:1706.02998), of an edge without neighbours."""
    psi = dense_state(qaoa(PauliSum.from_text("ZZ"), 1), {"gamma": [gamma], "beta": [beta]})
    assert np.abs(psi) ** 2 @ [1, -1, -1, 1] == pytest.approx(np.sin(4 * beta) * np.sin(2 * gamma))


def test_qaoa_with_another_mixer_and_start() -> None:
    """The XY mixer keeps the number of ones, which one of the start's qubits sets."""
    cost, mixer = PauliSum.from_text("ZII - IIZ"), PauliSum.from_text("XXI + YYI + IXX + IYY")
    circuit = qaoa(cost, 2, mixer, initial=Circuit(3).append("x", 1))
    gamma, beta = np.array([0.4, -0.9]), np.array([0.7, 0.2])
    psi = dense_state(circuit, {"gamma": gamma, "beta": beta})
    expected = np.eye(8)[2]
    for g, b in zip(gamma, beta, strict=True):
        expected = factors(mixer, np.full(4, b)) @ evolved(cost, g) @ expected
    np.testing.assert_allclose(psi, expected, atol=1e-12)
    assert np.linalg.norm(psi[[1, 2, 4]]) == pytest.approx(1)


def test_hamiltonian_variational_is_its_formula() -> None:
    groups = [PauliSum.from_text("ZZI + 0.8 IZZ"), PauliSum.from_text("XYZ"), PauliSum.from_text("-0.7 XII + IXI")]
    circuit = hamiltonian_variational(groups, 2, name="angles")
    assert circuit.parameter_shapes == {"angles": (2, 3)}
    theta = np.random.default_rng(0).normal(size=(2, 3))
    expected = np.eye(8, dtype=complex)
    for row in theta:
        for group, angle in zip(groups, row, strict=True):
            expected = evolved(group, angle) @ expected
    np.testing.assert_allclose(dense_unitary(circuit, {"angles": theta}), expected, atol=1e-12)


ZZ, ZZZ = PauliSum.from_text("ZZ"), PauliSum.from_text("ZZZ")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: pauli_rotation("XA", (0, 1), 0.1), "`paulis` must be text with one letter of I, X, Y, Z a qubit"),
        (lambda: pauli_rotation("", (), 0.1), "`paulis` must be text with one letter"),
        (lambda: pauli_rotation("XX", 0, 0.1), "`paulis` must have 1 letters, one a qubit, but got 'XX'"),
        (
            lambda: hamiltonian_evolution(ZZ, order=3),
            r"`order` must be one of the choices, but got 3\.",
        ),
        (lambda: hamiltonian_evolution(ZZ, steps=0), "`steps` must be an integer of at least 1, but got 0"),
        (lambda: hamiltonian_encoding(ZZ, "times"), "`encoded` must be one of the choices.*Did you mean 'time'"),
        (lambda: hamiltonian_encoding(ZZ, "coefficients", 0), "`steps` must be an integer of at least 1, but got 0"),
        (lambda: qaoa(ZZ, 1, "y"), "`mixer` must be one of the choices, but got 'y'"),
        (lambda: qaoa(ZZ, 1, ZZZ), "`mixer` must have 2 letters a string, like the cost"),
        (lambda: qaoa(ZZ, 0), "`reps` must be an integer of at least 1, but got 0"),
        (lambda: qaoa(ZZ, 1, initial=Circuit(3)), "`initial` must have 2 qubits, like the cost, but got 3"),
        (lambda: hamiltonian_variational((), 1), "`groups` must hold at least one sum of Pauli strings"),
        (lambda: hamiltonian_variational((ZZ, ZZZ), 1), "`groups` must have 2 letters a string, like the first"),
    ],
)
def test_evolution_errors(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()  # type: ignore[operator]
