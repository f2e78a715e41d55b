import json
import re
from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import unitary_group

from qjax.checks import UserError
from qjax.quantum.circuits.angle import as_angle, parameter
from qjax.quantum.circuits.custom_gates import (
    barrier_gate,
    diagonal_gate,
    from_json_data,
    pauli_rotation_gate,
    permutation_gate,
    power_gate,
    to_json_data,
    unitary_gate,
)
from qjax.quantum.circuits.gate import Gate
from qjax.quantum.circuits.gates import GATES, gate

RNG = np.random.default_rng(3)
PAULIS = {"I": np.eye(2), "X": np.array([[0, 1], [1, 0]]), "Y": np.array([[0, -1j], [1j, 0]]), "Z": np.diag([1, -1])}


def random_unitary(k: int, seed: int = 0) -> np.ndarray:
    return unitary_group.rvs(2**k, random_state=seed)


def product(paulis: str) -> np.ndarray:
    return reduce(np.kron, [PAULIS[letter] for letter in paulis])


EXAMPLES = [
    unitary_gate(random_unitary(1)),
    unitary_gate(random_unitary(3)),
    unitary_gate(np.diag([1, -1, 1j, 1])),
    diagonal_gate([0.0, -0.3]),
    diagonal_gate(RNG.normal(size=8)),
    permutation_gate([1, 0]),
    permutation_gate(RNG.permutation(16)),
    pauli_rotation_gate("XZY"),
    pauli_rotation_gate("IZ"),
    barrier_gate(1),
    barrier_gate(4),
]
examples = pytest.mark.parametrize("made", EXAMPLES, ids=lambda g: f"{g.name}{g.num_qubits}")


def matrix(made: Gate, *angles: float) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(made.matrix(*map(np.float64, angles)))


@examples
def test_inverse_undoes_and_is_undone_by_the_gate_itself(made: Gate) -> None:
    angles = tuple(map(as_angle, [0.7] * made.num_angles))
    ((undo, places, changed),) = made.inverse(angles)
    assert places == tuple(range(made.num_qubits))
    total = matrix(undo, *(a.shift for a in changed)) @ matrix(made, *(a.shift for a in angles))
    np.testing.assert_allclose(total, np.eye(2**made.num_qubits), atol=1e-14)
    assert undo.inverse(changed) == ((made, places, angles),)


@examples
def test_json_brings_back_an_equal_gate(made: Gate) -> None:
    back = from_json_data(made.name, json.loads(json.dumps(to_json_data(made))))
    assert back == made
    assert hash(back) == hash(made)
    assert back.structure == made.structure
    np.testing.assert_array_equal(matrix(back, *[0.4] * made.num_angles), matrix(made, *[0.4] * made.num_angles))


def test_different_contents_are_different_gates() -> None:
    assert len(set(EXAMPLES)) == len(EXAMPLES)
    assert diagonal_gate([0.0, -0.3]) in EXAMPLES
    assert diagonal_gate([-0.0, -0.3]) in EXAMPLES
    assert unitary_gate(-(0 * 1j) * np.eye(2) - PAULIS["X"]) == unitary_gate(-PAULIS["X"])
    assert len(repr(EXAMPLES[1])) < 80


@pytest.mark.parametrize("k", [1, 2, 3])
def test_unitary_gate_keeps_its_matrix(k: int) -> None:
    u = random_unitary(k)
    made = unitary_gate(u)
    np.testing.assert_array_equal(made.matrix(), u)
    assert made.structure == "dense"
    assert made.diagonal is None
    u[0, 0] = 0  # the gate has a copy
    assert made.matrix()[0, 0] != 0
    with pytest.raises(ValueError, match="read-only"):
        made.matrix()[0, 0] = 0


def test_unitary_gate_knows_a_diagonal() -> None:
    made = unitary_gate(np.diag([1, 1j]))
    assert made.structure == "diagonal"
    assert made.diagonal is not None
    np.testing.assert_array_equal(made.diagonal(), [1, 1j])
    swap = unitary_gate(gate("swap").matrix())
    assert (swap.structure, swap.permutation) == ("dense", None)


def test_unitary_gate_takes_a_matrix_of_float32_and_refuses_what_is_further_off() -> None:
    assert unitary_gate(random_unitary(2).astype(np.complex64)).num_qubits == 2
    assert unitary_gate(np.eye(2) * (1 + 4.9e-7)).num_qubits == 1
    with pytest.raises(UserError, match=r"`matrix` must be unitary, but got .* \|U U\^dagger - 1\| of 1\.02e-06"):
        unitary_gate(np.eye(2) * (1 + 5.1e-7))


@pytest.mark.parametrize("k", [1, 2, 4])
def test_diagonal_gate_is_the_exponential_of_its_phases(k: int) -> None:
    phases = RNG.uniform(-9, 9, 2**k)
    made = diagonal_gate(phases.tolist())
    assert made.diagonal is not None
    np.testing.assert_allclose(made.matrix(), expm(1j * np.diag(phases)), atol=1e-13)
    np.testing.assert_array_equal(made.diagonal(), np.diag(made.matrix()))
    assert (made.num_qubits, made.structure, made.permutation) == (k, "diagonal", None)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_permutation_gate_moves_basis_states_along_its_table(k: int) -> None:
    table = RNG.permutation(2**k)
    made = permutation_gate(table)
    assert made.permutation is not None
    np.testing.assert_array_equal(made.permutation(), table)
    for i, image in enumerate(table):
        np.testing.assert_array_equal(made.matrix() @ np.eye(2**k)[i], np.eye(2**k)[image])
    assert (made.num_qubits, made.structure, made.diagonal) == (k, "permutation", None)


def test_wide_gates_are_made_without_their_matrix() -> None:
    k = 18
    wide = [diagonal_gate(np.arange(2**k)), permutation_gate(np.roll(np.arange(2**k), 1)), barrier_gate(k)]
    for made in wide:
        (undo, _, _) = made.inverse(())[0]
        assert undo.num_qubits == made.num_qubits == k
        with pytest.raises(
            UserError, match=rf"`matrix` must be asked for up to 12 qubits, but got .*'{made.name}' on 18"
        ):
            made.matrix()
    with pytest.raises(UserError, match=r"`matrix` must be asked for up to 12 qubits"):
        pauli_rotation_gate("X" * 13).matrix(np.float32(0.1))


@pytest.mark.parametrize("paulis", ["X", "Y", "Z", "ZX", "IZ", "XIZY", "ZZIZ"])
def test_pauli_rotation_is_the_exponential_of_its_product(paulis: str) -> None:
    made = pauli_rotation_gate(paulis)
    for theta in (-2.7, 0.4):
        wanted = expm(-0.5j * theta * product(paulis))
        np.testing.assert_allclose(matrix(made, theta), wanted, atol=1e-14)
        assert (made.diagonal is not None) == (set(paulis) <= set("IZ")) == (made.structure == "diagonal")
        if made.diagonal is not None:
            found = made.diagonal(np.float32([theta, 1]))
            assert found.dtype == np.complex64
            np.testing.assert_allclose(found[:, 0], np.diag(wanted), atol=1e-6)
    assert made.power_angles == (0,)
    cosines = np.array([[np.exp(1j * m * t) for m in made.exponents[0]] for t in (0.3, 1.1, 2.9)])
    entries = np.array([matrix(made, t).ravel() for t in (0.3, 1.1, 2.9)])
    fitted = cosines @ np.linalg.lstsq(cosines, entries, rcond=None)[0]
    np.testing.assert_allclose(fitted, entries, atol=1e-13)


def test_barrier_does_nothing() -> None:
    made = barrier_gate(3)
    np.testing.assert_array_equal(made.matrix(), np.eye(8))
    assert (made.structure, made.diagonal, made.permutation) == ("barrier", None, None)
    assert power_gate(made, (), 0.5) is made


# Powers. ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "exponent", "wanted"),
    [
        ("x", 0.5, "sx"),
        ("x", -0.5, "sxdg"),
        ("z", 0.25, "t"),
        ("s", 0.5, "t"),
        ("cx", 0.5, "csx"),
        ("c3x", 0.5, "c3sx"),
        ("cz", -0.5, "csdg"),
        ("csx", 3, None),
        ("i", 0.37, "i"),
        ("swap", 2, "i"),
        ("y", 1, "y"),
    ],
)
def test_powers_that_have_a_name(name: str, exponent: float, wanted: str | None) -> None:
    row = gate(name)
    target = matrix(gate(wanted)) if wanted else np.linalg.matrix_power(row.matrix(), int(exponent))
    target = np.eye(2**row.num_qubits) if wanted == "i" else target
    found = power_gate(row, (), exponent)
    np.testing.assert_allclose(found.matrix(), target, atol=1e-14)
    if row.structure == "diagonal":
        assert found.name == "diagonal"


@pytest.mark.parametrize("d", [2, 4, 16])
def test_power_of_a_cycle_is_that_of_its_fourier_transform(d: int) -> None:
    cycle = permutation_gate(np.roll(np.arange(d), -1))
    k = np.arange(d)
    fourier = np.exp(2j * np.pi * np.outer(k, k) / d) / np.sqrt(d)
    phases = 2 * np.pi * np.where(k < d / 2, -k, d - k) / d  # |i> -> |i + 1> has the eigenvalues e^(-2 pi i k / d)
    wanted = (fourier * np.exp(0.3j * phases)) @ fourier.conj().T
    np.testing.assert_allclose(power_gate(cycle, (), 0.3).matrix(), wanted, atol=1e-14)


@pytest.mark.parametrize("seed", range(12))
def test_power_of_a_unitary_with_repeated_and_near_eigenvalues(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d = 2 ** int(rng.integers(1, 6))
    close_ones = [np.pi, -np.pi + 1e-13, 0.0, 1e-15, 1.0, 1.0 + 1e-9, 1.0 + 1e-6, float(rng.uniform(-3, 3))]
    phases = rng.choice(close_ones, d)
    vectors = unitary_group.rvs(d, random_state=seed)
    principal = np.where(phases < -3.14159, np.pi, phases)
    exponent = float(rng.uniform(-2, 2))
    found = power_gate(unitary_gate((vectors * np.exp(1j * phases)) @ vectors.conj().T), (), exponent)
    wanted = (vectors * np.exp(1j * exponent * principal)) @ vectors.conj().T
    np.testing.assert_allclose(found.matrix(), wanted, atol=1e-13)


@pytest.mark.parametrize(
    "name", [name for name, row in GATES.items() if row.num_qubits and row.structure != "diagonal"]
)
def test_roots_of_every_gate_multiply_to_it(name: str) -> None:
    row = gate(name)
    angles = (0.9, -1.7, 2.3, 0.4)[: row.num_angles]
    found = matrix(row, *angles)
    root, rest = (power_gate(row, angles, exponent) for exponent in (1 / 3, -2 / 3))
    np.testing.assert_allclose(np.linalg.matrix_power(root.matrix(), 3), found, atol=1e-14)
    np.testing.assert_allclose(root.matrix() @ rest.matrix().conj().T, found, atol=1e-14)


def test_power_of_a_diagonal_has_principal_phases() -> None:
    found = to_json_data(power_gate(diagonal_gate([np.pi, -np.pi, 4.0, -4.0]), (), 0.5))
    np.testing.assert_allclose(found, [np.pi / 2, np.pi / 2, 2 - np.pi, np.pi - 2], atol=1e-15)
    np.testing.assert_allclose(to_json_data(power_gate(gate("rz"), (5.0,), 0.5)), [-1.25, 1.25], atol=1e-15)


@pytest.mark.parametrize("exponent", [-3, 0, 1, 5])
def test_whole_power_of_a_permutation_is_a_permutation(exponent: int) -> None:
    made = permutation_gate([2, 0, 3, 1, 4, 5, 7, 6])
    found = power_gate(made, (), exponent)
    assert found.name == "permutation"
    np.testing.assert_array_equal(
        found.matrix(), np.linalg.matrix_power(made.matrix().real.astype(int), exponent % 4)
    )


def test_power_is_computed_while_a_caller_is_traced() -> None:
    @jax.jit
    def traced(x: jax.Array) -> jax.Array:
        made = power_gate(gate("u"), (0.3, 0.4, 0.5), 0.5)
        return jnp.asarray(made.matrix().real, np.float32) @ x

    wanted = power_gate(gate("u"), (0.3, 0.4, 0.5), 0.5).matrix().real
    np.testing.assert_allclose(traced(jnp.eye(2, dtype=np.float32)), wanted, atol=1e-6)


# Mistakes. --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "value", "message"),
    [
        (unitary_gate, np.zeros((2, 3)), "`matrix` must be square, `[2**k, 2**k]`, but got the shape [2, 3]"),
        (unitary_gate, np.eye(3), "`matrix` must have a length that is a power of 2, from 2 on, but got 3"),
        (unitary_gate, np.eye(1), "`matrix` must have a length that is a power of 2, from 2 on, but got 1"),
        (unitary_gate, np.full((2, 2), np.nan), "`matrix` must hold finite numbers"),
        (unitary_gate, np.ones((2, 2)), "`matrix` must be unitary, but got a matrix with a largest entry of"),
        (unitary_gate, "swap", "`matrix` must be an array of numbers, but got ValueError"),
        (diagonal_gate, [[0], [1, 2]], "`phases` must be an array of numbers, but got ValueError"),
        (diagonal_gate, [0.0, 1j], "`phases` must hold real numbers, but got complex128"),
        (diagonal_gate, [[0.0, 1.0]], "`phases` must have the shape [2**k], but got the shape [1, 2]"),
        (diagonal_gate, [0.0, 1.0, 2.0], "`phases` must have a length that is a power of 2, from 2 on, but got 3"),
        (diagonal_gate, [0.0, np.inf], "`phases` must hold finite numbers"),
        (permutation_gate, [0.0, 1.0], "`table` must hold integers, but got float64"),
        (permutation_gate, [[0, 1]], "`table` must have the shape [2**k], but got the shape [1, 2]"),
        (permutation_gate, [0, 1, 2], "`table` must have a length that is a power of 2, from 2 on, but got 3"),
        (permutation_gate, [0, 2, 2, 3], "`table` must hold each of 0..3 once, but got 2 where 1 is due"),
        (permutation_gate, [0, -1], "`table` must hold each of 0..1 once, but got -1 where 0 is due"),
        (pauli_rotation_gate, "XA", "`paulis` must be a text of the letters I, X, Y and Z, but got 'XA'"),
        (pauli_rotation_gate, "", "`paulis` must be a text of the letters I, X, Y and Z, but got ''"),
        (pauli_rotation_gate, "II", "`paulis` must have a letter other than I (use 'gphase' for a global phase)"),
        (barrier_gate, 0, "`num_qubits` must be an integer of at least 1, but got 0"),
    ],
)
def test_mistakes_in_making_a_gate(make: Callable[[Any], Gate], value: Any, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make(value)


@pytest.mark.parametrize(
    ("row", "angles", "exponent", "message"),
    [
        (gate("gphase"), (0.3,), 0.5, "`gate` must act on at least one qubit, but got 'gphase'"),
        (gate("u"), (0.3,), 0.5, "`angles` must hold 3 angle(s) for gate 'u', but got (0.3,)"),
        (gate("x"), (), np.nan, "`exponent` must be finite, like the angles, but got (nan,)"),
        (gate("rx"), (np.inf,), 0.5, "`exponent` must be finite, like the angles, but got (0.5, inf)"),
    ],
)
def test_mistakes_in_powers(row: Gate, angles: tuple[float, ...], exponent: float, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        power_gate(row, angles, exponent)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("unitry", [], "`gate` must be one of the choices, but got 'unitry'. Did you mean 'unitary'?"),
        ("unitary", [[1, 0], [0, 1]], "`data` must be rows of [real, imaginary] pairs, but got [2, 2]"),
        ("unitary", [[[1, 0]], [[0, 0], [1, 0]]], "`data` must be an array of numbers, but got ValueError"),
        ("unitary", [[[1, 0], [0, 0]], [[0, 0], [2, 0]]], "`matrix` must be unitary, but got"),
    ],
)
def test_mistakes_in_json(name: str, data: Any, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        from_json_data(name, data)


def test_a_gate_of_the_table_has_no_content() -> None:
    with pytest.raises(UserError, match="`gate` must be one of the choices, but got 'x'"):
        to_json_data(gate("x"))


def test_inverse_of_a_rotation_takes_any_angle() -> None:
    ((undo, _, angles),) = pauli_rotation_gate("XY").inverse((parameter("theta", 1),))
    assert undo == pauli_rotation_gate("XY")
    assert angles == (-parameter("theta", 1),)
