from itertools import product
from math import pi

import dense_reference as dense
import jax
import numpy as np
import pytest
from bound_circuits import assert_equal_up_to_phase, dense_state, dense_unitary
from qiskit.circuit.library import pauli_feature_map as qiskit_pauli_feature_map
from qiskit.circuit.library import zz_feature_map as qiskit_zz_feature_map
from qiskit.quantum_info import Operator
from scipy.linalg import expm

from qjax.checks import UserError
from qjax.quantum import expectation, state, z_observables
from qjax.quantum.templates.encodings import (
    basis_encoding,
    basis_state,
    dense_angle_encoding,
    entangler_blocks,
    iqp_encoding,
    pauli_feature_map,
    zz_feature_map,
)

FEATURES = np.asarray([0.3, -1.1, 2.4, 0.7, -0.2, 1.9])


def basis_vector(n: int, index: int) -> np.ndarray:
    return np.eye(2**n)[index]


@pytest.mark.parametrize("n", [1, 3])
def test_dense_angle_encoding_is_its_formula(n: int) -> None:
    qubits = [[np.cos(a), np.exp(1j * b) * np.sin(a)] for a, b in FEATURES[: 2 * n].reshape(n, 2)]
    found = state(dense_angle_encoding(n), None, FEATURES[: 2 * n].astype(np.float32))
    np.testing.assert_allclose(found, dense.kron_all([np.array([q]) for q in qubits])[0], atol=1e-6)


def test_basis_encoding_of_all_bits() -> None:
    rows = np.asarray(list(product([0, 1], repeat=3)), np.float32)
    np.testing.assert_allclose(state(basis_encoding(3), None, rows), np.eye(8), atol=1e-6)


@pytest.mark.parametrize(
    ("bits", "index"), [("0", 0), ("110", 6), ([0, 1, 1, 1], 7), (np.array([1, 0]), 2), ((False, True), 1)]
)
def test_basis_state(bits: object, index: int) -> None:
    circuit = basis_state(bits)  # type: ignore[arg-type]
    np.testing.assert_array_equal(dense_state(circuit), basis_vector(circuit.num_qubits, index))


# Feature maps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "size", "pattern", "blocks"),
    [
        (3, 1, "linear", [(0,), (1,), (2,)]),
        (3, 1, [(0, 1)], [(0,), (1,), (2,)]),
        (4, 3, "full", [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)]),
        (4, 2, "linear", [(0, 1), (1, 2), (2, 3)]),
        (4, 3, "reverse_linear", [(1, 2, 3), (0, 1, 2)]),
        (4, 2, "ring", [(0, 1), (1, 2), (2, 3), (3, 0)]),
        (4, 3, "ring", [(0, 1, 2), (1, 2, 3), (2, 3, 0), (3, 0, 1)]),
        (2, 2, "ring", [(0, 1)]),
        (3, 2, "circular", [(2, 0), (0, 1), (1, 2)]),
        (5, 2, "brick", [(0, 1), (2, 3), (1, 2), (3, 4)]),
        (5, 3, "brick", [(0, 1, 2), (1, 2, 3), (2, 3, 4)]),
        (3, 2, [(2, 0), (0, 1, 2), (1, 2)], [(2, 0), (1, 2)]),
    ],
)
def test_entangler_blocks(n: int, size: int, pattern: object, blocks: list[tuple[int, ...]]) -> None:
    assert list(entangler_blocks(n, size, pattern)) == blocks  # type: ignore[arg-type]


def qiskit_unitary(circuit: object, features: np.ndarray) -> np.ndarray:
    bound = circuit.assign_parameters(features)  # type: ignore[attr-defined]
    return np.asarray(Operator(bound.reverse_bits()).data)


@pytest.mark.parametrize(
    ("n", "reps", "pattern", "alpha"),
    [(2, 1, "full", 2.0), (3, 2, "linear", 2.0), (4, 2, "circular", 0.7), (5, 1, "full", 2.0), (3, 3, "full", -1.0)],
)
def test_zz_feature_map_is_qiskits(n: int, reps: int, pattern: str, alpha: float) -> None:
    theirs = qiskit_unitary(qiskit_zz_feature_map(n, reps, pattern, alpha), FEATURES[:n])
    assert_equal_up_to_phase(dense_unitary(zz_feature_map(n, reps, pattern, alpha), None, FEATURES[:n]), theirs, 1e-9)


RING = {1: [(0,), (1,), (2,), (3,)], 2: [(0, 1), (1, 2), (2, 3), (3, 0)], 3: [(3, 1, 0), (0, 2, 3)]}


@pytest.mark.parametrize(
    ("n", "reps", "paulis", "pattern", "theirs"),
    [
        (3, 2, ("Z",), "full", "full"),
        (3, 1, ("ZZZ",), "full", "full"),
        (3, 2, ("YY", "X"), "linear", "linear"),
        (4, 1, ("Z", "XYZ"), "full", "full"),
        (4, 2, ("XYZ", "ZX"), "circular", "circular"),
        (4, 1, ("XY", "Y"), "reverse_linear", "reverse_linear"),
        (5, 1, ("YX",), "brick", "pairwise"),
        (4, 1, ("XY",), "ring", RING),
        (4, 1, ("ZXY", "Z"), RING[3], RING),
        (4, 1, ("IX", "XIY"), "linear", "linear"),
        (4, 1, ("XYZX", "ZZ"), "linear", "linear"),
    ],
)
def test_pauli_feature_map_is_qiskits(n: int, reps: int, paulis: tuple, pattern: object, theirs: object) -> None:
    reversed_strings = [string[::-1] for string in paulis]  # Qiskit's last letter is for the first qubit
    expected = qiskit_unitary(qiskit_pauli_feature_map(n, reps, theirs, paulis=reversed_strings), FEATURES[:n])
    found = dense_unitary(pauli_feature_map(n, reps, paulis, pattern), None, FEATURES[:n])  # type: ignore[arg-type]
    assert_equal_up_to_phase(found, expected, 1e-9)


@pytest.mark.parametrize(("order", "reps"), [(1, 1), (2, 2), (3, 1)])
def test_iqp_encoding_is_its_formula(order: int, reps: int) -> None:
    x, hadamards = FEATURES[:3], dense.kron_all([dense.H] * 3)
    signs = np.array(list(product([1, -1], repeat=3)))
    sets = [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]][: {1: 3, 2: 6, 3: 7}[order]]
    phases = -0.5 * sum(np.prod(x[s]) * signs[:, s].prod(axis=1) for s in sets)
    layer = np.diag(np.exp(1j * phases)) @ hadamards
    expected = np.linalg.matrix_power(layer, reps)[:, 0]
    np.testing.assert_allclose(dense_state(iqp_encoding(3, reps, order), None, x), expected, atol=1e-12)


def test_data_map_takes_the_inputs_of_a_block() -> None:
    circuit = pauli_feature_map(
        3, 1, ("ZXY",), pattern=[(2, 0, 1)], alpha=0.5, data_map=lambda x: x[0] + 2 * x[1] * x[2]
    )
    x = FEATURES[:3]
    rotation = expm(-0.25j * (x[2] + 2 * x[0] * x[1]) * dense.pauli("XYZ"))
    expected = rotation @ dense.kron_all([dense.H] * 3)
    np.testing.assert_allclose(dense_unitary(circuit, None, x), expected, atol=1e-12)


def test_feature_map_in_the_simulator_and_its_gradient() -> None:
    circuit = zz_feature_map(2, 2)
    with jax.enable_x64(True):
        rows = FEATURES[:4].reshape(2, 2)

        def energies(inputs: jax.Array) -> jax.Array:
            return expectation(circuit, None, inputs, z_observables(2)) @ np.array([1.0, -2.0])

        def reference(row: np.ndarray) -> float:
            probabilities = np.abs(dense_state(circuit, None, row)) ** 2
            signs = np.array(list(product([1, -1], repeat=2)))
            return float(probabilities @ signs @ [1.0, -2.0])

        found, gradients = jax.jit(lambda r: (energies(r), jax.grad(lambda q: energies(q).sum())(r)))(rows)
    np.testing.assert_allclose(found, [reference(row) for row in rows], atol=1e-10)
    step = 1e-5
    for row, gradient in zip(rows, gradients, strict=True):
        slopes = [(reference(row + step * e) - reference(row - step * e)) / (2 * step) for e in np.eye(2)]
        np.testing.assert_allclose(gradient, slopes, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: dense_angle_encoding(0), "`num_qubits` must be an integer of at least 1, but got 0"),
        (lambda: basis_encoding(-1), "`num_qubits` must be an integer of at least 1, but got -1"),
        (lambda: basis_state("102"), "`bits` must hold 0 or 1 for each qubit, at least one, but got '102'"),
        (lambda: basis_state([]), "`bits` must hold 0 or 1"),
        (lambda: iqp_encoding(3, order=4), r"`order` must be an integer in 1\.\.3, but got 4"),
        (lambda: iqp_encoding(3, order=0), r"`order` must be an integer in 1\.\.3, but got 0"),
        (lambda: zz_feature_map(3, reps=0), "`reps` must be an integer of at least 1, but got 0"),
        (lambda: zz_feature_map(1), "`num_qubits` must be an integer of at least 2, but got 1"),
        (lambda: zz_feature_map(3, pattern="rings"), "`pattern` must be one of the choices.*Did you mean 'ring'"),
        (lambda: pauli_feature_map(3, paulis="ZZ"), "`paulis` must be a sequence of Pauli strings, but got 'ZZ'"),
        (lambda: pauli_feature_map(3, paulis=()), "`paulis` must be a sequence of Pauli strings"),
        (lambda: pauli_feature_map(3, paulis=("II",)), "`paulis` must hold text of the letters.*but got 'II'"),
        (lambda: pauli_feature_map(3, paulis=("zz",)), "`paulis` must hold text of the letters.*but got 'zz'"),
        (lambda: zz_feature_map(3, pattern=[(0, 3)]), r"`pattern` must hold blocks of distinct integers in 0\.\.2"),
        (lambda: zz_feature_map(3, pattern=[(1, 1)]), r"`pattern` must hold blocks of distinct integers in 0\.\.2"),
        (lambda: zz_feature_map(3, pattern=[(0, 1, 2)]), "`pattern` must hold at least one block of 2 qubits"),
    ],
)
def test_encoding_errors(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()  # type: ignore[operator]


def test_default_data_map_is_finite_at_pi() -> None:
    """At x = pi all products vanish, and pairs are left alone."""
    found = dense_unitary(pauli_feature_map(2, 1, ("ZZ",)), None, [pi, 0.4])
    np.testing.assert_allclose(found, np.kron(dense.H, dense.H), atol=1e-12)
