"""Tables of gates that a GPU scales, and what takes their sums back, against products of the matrices themselves."""

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.quantum.engines.native.cuda import scaled_gates as scaled
from qjax.quantum.engines.native.table.layout import MAX_GROUP, MAX_SCALED


def rotations(rng: Any, count: int) -> np.ndarray:
    """Random unitary matrices, complex `[count, 2, 2]`."""
    return np.linalg.qr(rng.normal(size=(count, 2, 2)) + 1j * rng.normal(size=(count, 2, 2)))[0]


def numbers_of(matrices: np.ndarray) -> np.ndarray:
    """What the coefficients of gates are, `[8 * count, 1]`."""
    return np.stack([matrices.real, matrices.imag], axis=-1).reshape(-1, 1)


def applied(table: np.ndarray, count: int, state: np.ndarray) -> np.ndarray:
    """What a kernel does: unit-diagonal matrices, and then the diagonal; bit k of a row's number is qubit k."""
    others = table[: scaled.OTHERS].reshape(MAX_SCALED, 2, 2) @ np.array([1, 1j])
    diagonal = (table[scaled.OTHERS :].reshape(-1, 2) @ np.array([1, 1j]))[: 2**count]
    found = state.reshape((2,) * count)  # the last axis is qubit 0
    for k in range(count):
        unit = np.array([[1, others[k, 0]], [others[k, 1], 1]])
        axis = count - 1 - k
        found = np.moveaxis(np.tensordot(unit, found, (1, axis)), 0, axis)
    return diagonal * found.reshape(-1)


NEARLY_FLIPS = [
    np.array([[0, 1], [1, 0]]),
    np.array([[0, -1j], [1j, 0]]),
    np.array([[np.cos(1.57), -1j * np.sin(1.57)], [-1j * np.sin(1.57), np.cos(1.57)]]),
    np.array([[-4e-8, -1], [1, -4e-8]]),
    np.diag([1, 1j]),
]


@pytest.mark.parametrize("count", range(1, MAX_SCALED + 1))
@pytest.mark.parametrize("flips", [False, True], ids=["any", "nearly permutations"])
def test_a_table_is_the_product_of_the_gates(count: int, flips: bool) -> None:
    rng = np.random.default_rng(count)
    matrices = rotations(rng, 7)
    if flips:
        matrices[:5] = NEARLY_FLIPS
    firsts = np.full((2, MAX_SCALED), -1)
    firsts[0, :count], firsts[1, :count] = 8 * np.arange(count), 8 * rng.permutation(7)[:count]
    found = scaled.tables(jnp.asarray(numbers_of(matrices), jnp.float32), firsts)
    state = rng.normal(size=2**count) + 1j * rng.normal(size=2**count)
    state /= np.linalg.norm(state)
    for table, own in zip(np.asarray(found, np.float64).reshape(2, scaled.TABLE), firsts[:, :count], strict=True):
        whole = reduce(lambda x, first: np.kron(matrices[first // 8], x), own, np.eye(1))
        np.testing.assert_allclose(applied(table, count, state), whole @ state, atol=3e-7)


@pytest.mark.parametrize("half", [0.3, np.pi / 2, -np.pi / 2, 3 * np.pi / 2, np.pi / 2 + 1e-6, np.pi, 0.0])
@pytest.mark.parametrize("phases", [(0, 0), (0.9, -0.9), (np.pi / 2, 0), (3, 2)])
def test_rows_that_are_real_but_for_a_phase_have_real_others(half: float, phases: tuple[float, float]) -> None:
    """Kernels leave out the imaginary parts of a and b then; a diagonal entry of nearly 0 keeps its row's phase."""
    entries = [np.cos(half), -np.sin(half)], [np.sin(half), np.cos(half)]
    matrix = np.diag(np.exp(1j * np.array(phases))) @ np.array(entries).astype(np.float32)  # cos(pi / 2) is no 0
    firsts = np.array([[0] + [-1] * (MAX_SCALED - 1)])
    table = np.array(scaled.tables(jnp.asarray(numbers_of(matrix), jnp.float32), firsts), np.float64)
    table[1 : scaled.OTHERS : 2] = 0
    for state in np.eye(2):
        np.testing.assert_allclose(applied(table, 1, state), matrix @ state, atol=2e-7)


def test_without_gates_there_is_no_table() -> None:
    nothing = np.zeros((0, MAX_SCALED), np.int64)
    assert scaled.tables(jnp.ones((8, 1)), nothing).shape == (0,)
    np.testing.assert_array_equal(scaled.cotangents(jnp.zeros(0), jnp.ones((8, 1)), nothing, True), np.zeros((8, 1)))


def sums_of(matrix: np.ndarray, is_complex: bool) -> list[float]:
    """What a kernel finds of a gate, given the sum of cotangent[j] * conj(state[k]) after it."""
    between = matrix[0, 1] - matrix[1, 0].conj()
    if not is_complex:
        return [between.real]
    return [(matrix[0, 0] - matrix[1, 1]).imag, between.real, between.imag]


PAULIS = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


@pytest.mark.parametrize("is_complex", [True, False])
def test_sums_become_the_cotangents_of_angles(is_complex: bool) -> None:
    """The derivative, by differences, of the real part of the sum of conj(c) . U v over gates and fixed c and v."""
    rng = np.random.default_rng(0)
    firsts = np.full((2, MAX_SCALED), -1)
    firsts[0, :3], firsts[1, :2] = [8, 16, 0], [16, 24]  # the gate at 16 is in both
    cotangents, states = (rng.normal(size=(2, 4, 2)) + 1j * is_complex * rng.normal(size=(2, 4, 2)) for _ in "cs")
    if is_complex:  # all gates of a piece share the imaginary part of the trace
        cotangents = 1j * np.conj(1 / states) * [0.7, -0.4] + 0.0
    turns = rng.normal(size=(4, 3)) * ([1, 1, 1] if is_complex else [0, 1, 0])

    def matrices_of(angles: np.ndarray) -> np.ndarray:
        """Each gate turned on by its angle, about each axis in turn."""
        found = np.tile(np.eye(2, dtype=complex), (4, 1, 1))
        for k, own in enumerate(turns):
            for turn, pauli in zip(own, PAULIS, strict=True):
                half = 0.5 * turn * angles[k]
                found[k] = (np.cos(half) * np.eye(2) - 1j * np.sin(half) * pauli) @ found[k]
        return found

    angles, step = rng.normal(size=4), 1e-6
    matrices = matrices_of(angles)
    used = [(piece, k, first // 8) for piece in range(2) for k, first in enumerate(firsts[piece]) if first >= 0]
    before = {(piece, k): matrices[g].conj().T @ states[piece, k] for piece, k, g in used}
    sums = np.zeros((2, scaled.num_sums(is_complex)))
    for piece, k, _ in used:
        outer = np.outer(cotangents[piece, k], states[piece, k].conj())
        if is_complex:
            sums[piece, 0] = np.trace(outer).imag
        own = sums_of(outer, is_complex)
        sums[piece, is_complex + len(own) * k :][: len(own)] = own

    def value(angles: np.ndarray) -> float:
        now = matrices_of(angles)
        return sum(np.vdot(cotangents[p, k], now[g] @ before[p, k]).real for p, k, g in used)

    with jax.enable_x64(True):
        facts = jnp.asarray(sums.reshape(-1)), jnp.asarray(numbers_of(matrices)), firsts, is_complex
        back = np.asarray(scaled.cotangents(*facts))
    assert back.shape == (32, 1)
    for shift in step * np.eye(4):
        expected = (value(angles + shift) - value(angles - shift)) / (2 * step)
        moved = (numbers_of(matrices_of(angles + shift)) - numbers_of(matrices_of(angles - shift))) / (2 * step)
        assert abs(expected) > 1e-3
        np.testing.assert_allclose((back * moved).sum(), expected, atol=1e-8)


def test_the_number_of_sums() -> None:
    assert (scaled.num_sums(True), scaled.num_sums(False)) == (1 + 3 * MAX_GROUP, MAX_GROUP)
