from itertools import combinations

import dense_reference as dense
import jax
import numpy as np
import pytest
from bound_circuits import dense_state, dense_unitary

from qjax.checks import UserError
from qjax.quantum import Circuit, PauliString, Repeat, expectation, input_angle, parameter
from qjax.quantum.templates.tensor_networks import (
    mera,
    mps,
    pooled_qubits,
    pooling_block,
    qcnn,
    qcnn_output_qubits,
    quantum_convolution,
    quantum_pooling,
    ry_cx_block,
    su4_block,
    tree_tensor_network,
)


def random_values(circuit: Circuit, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-3, 3, shape) for name, shape in circuit.parameter_shapes.items()}


def random_state(n: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    psi = rng.normal(size=2**n) + 1j * rng.normal(size=2**n)
    return psi / np.linalg.norm(psi)


def two_qubit(theta: np.ndarray) -> np.ndarray:
    """`ry_cx_block` from its definition."""
    return dense.CX @ np.kron(dense.exp_pauli("Y", float(theta[0])), dense.exp_pauli("Y", float(theta[1])))


def pooling(theta: np.ndarray) -> np.ndarray:
    turned = [dense.exp_pauli("X", float(theta[1])), dense.exp_pauli("Z", float(theta[0]))]
    return np.kron(dense.P0, turned[0]) + np.kron(dense.P1, turned[1])


def product_of(n: int, placed: list[tuple[np.ndarray, tuple[int, ...]]]) -> np.ndarray:
    total = np.eye(2**n, dtype=complex)
    for matrix, qubits in placed:
        total = dense.embed(matrix, qubits, n) @ total
    return total


# Blocks -----------------------------------------------------------------------------------------------------------

# Columns are the Bell states in which local unitaries are real (Makhlin 2002, arXiv:quant-ph/0002045).
MAGIC = np.array([[1, 0, 0, 1j], [0, 1j, 1, 0], [0, 1j, -1, 0], [1, 0, 0, -1j]]) / np.sqrt(2)


def local_invariants(u: np.ndarray) -> np.ndarray:
    """The two numbers that are equal exactly for gates on two qubits that differ by gates on one."""
    m = MAGIC.conj().T @ u @ MAGIC
    m = m.T @ m
    determinant = np.linalg.det(u)
    return np.array([np.trace(m) ** 2 / 16, (np.trace(m) ** 2 - np.trace(m @ m)) / 4]) / determinant


@pytest.mark.parametrize("seed", range(4))
def test_su4_block_is_every_gate_up_to_local_ones(seed: int) -> None:
    """The middle is exp(-i (a XX + b YY + c ZZ)) for known angles; 'u' before and after does the rest."""
    a, b, c = np.random.default_rng(seed).uniform(-np.pi, np.pi, 3)
    canonical = dense.exponential(a * dense.pauli("XX") + b * dense.pauli("YY") + c * dense.pauli("ZZ"), -1.0)
    theta = np.zeros(15)
    theta[6:9] = 2 * c - np.pi / 2, np.pi / 2 - 2 * a, 2 * b - np.pi / 2
    found = dense_unitary(su4_block(), {"theta": theta})
    np.testing.assert_allclose(local_invariants(found), local_invariants(canonical), atol=1e-10)


def test_su4_block_moves_in_all_directions() -> None:
    """Its 15 derivatives U^dagger dU are independent, as many as SU(4) has directions."""
    theta, step = random_values(su4_block())["theta"], 1e-5
    u = dense_unitary(su4_block(), {"theta": theta})
    directions = []
    for e in np.eye(15):
        ends = [dense_unitary(su4_block(), {"theta": theta + sign * step * e}) for sign in (1, -1)]
        flat = (u.conj().T @ (ends[0] - ends[1]) / (2 * step)).ravel()
        directions.append(np.concatenate([flat.real, flat.imag]))
    assert np.linalg.matrix_rank(np.array(directions), tol=1e-3) == 15


def test_pooling_block_does_what_a_measurement_does() -> None:
    """The kept qubit is as if the other were measured, and it turned by rz or rx as the outcome says."""
    values = {"pool": np.array([0.7, -1.2])}
    psi = random_state(2)
    after = (dense_unitary(pooling_block(), values) @ psi).reshape(2, 2)
    kept = np.einsum("ab,ac->bc", after, after.conj())
    outcomes = psi.reshape(2, 2)
    turned = [dense.exp_pauli("X", -1.2) @ outcomes[0], dense.exp_pauli("Z", 0.7) @ outcomes[1]]
    np.testing.assert_allclose(kept, sum(np.outer(v, v.conj()) for v in turned), atol=1e-12)


# Networks ---------------------------------------------------------------------------------------------------------


def places(circuit: Circuit) -> list[tuple[int, ...]]:
    return [op.qubits for op in circuit.iter_operations() if op.gate.name == "cx"]


@pytest.mark.parametrize(
    ("circuit", "pairs"),
    [
        (mps(5), [(0, 1), (1, 2), (2, 3), (3, 4)]),
        (tree_tensor_network(2), [(0, 1)]),
        (tree_tensor_network(8), [(0, 1), (2, 3), (4, 5), (6, 7), (1, 3), (5, 7), (3, 7)]),
        (tree_tensor_network(5), [(0, 1), (2, 3), (1, 3), (3, 4)]),
        (mera(2), [(0, 1)]),
        (mera(3), [(1, 2), (0, 1), (1, 2)]),
        (
            mera(8),
            [(1, 2), (3, 4), (5, 6), (0, 1), (2, 3), (4, 5), (6, 7), (3, 5), (1, 3), (5, 7), (3, 7)],
        ),
    ],
)
def test_networks_are_blocks_on_these_pairs(circuit: Circuit, pairs: list[tuple[int, int]]) -> None:
    """Each with parameters of its own."""
    assert places(circuit) == pairs
    assert circuit.parameter_shapes == {"theta": (len(pairs), 2)}
    if circuit.num_qubits <= 5:
        theta = random_values(circuit)["theta"]
        expected = product_of(circuit.num_qubits, [(two_qubit(t), p) for t, p in zip(theta, pairs, strict=True)])
        np.testing.assert_allclose(dense_unitary(circuit, {"theta": theta}), expected, atol=1e-12)


@pytest.mark.parametrize("width", [2, 3])
def test_bond_dimension_of_mps(width: int) -> None:
    """A cut anywhere has Schmidt rank 2**(w - 1), no more, and in the middle no less."""
    block = Circuit(width)
    for k, pair in enumerate(combinations(range(width), 2)):
        block += su4_block(f"theta{k}").remap(pair, width)
    circuit = mps(6, block)
    assert circuit.parameter_shapes == dict.fromkeys(block.parameter_shapes, (7 - width, 15))
    psi = dense_state(circuit, random_values(circuit))
    ranks = [np.linalg.matrix_rank(psi.reshape(2**cut, -1), tol=1e-9) for cut in range(1, 6)]
    assert max(ranks) <= 2 ** (width - 1)
    assert ranks[2] == 2 ** (width - 1)


def test_blocks_with_repeats_and_inputs() -> None:
    """Axes of the block's parameter come after the block's number; inputs are shared."""
    layer = Circuit(2).append("ry", 0, parameter("w", 0)).append("cry", (0, 1), parameter("w", 1) * input_angle(0))
    circuit = mps(3, Circuit(2, (Repeat(layer, 2),)))
    assert circuit.parameter_shapes == {"w": (2, 2, 2)}
    w, x = random_values(circuit)["w"], 0.8
    placed = []
    for block, pair in enumerate([(0, 1), (1, 2)]):
        for rep in range(2):
            placed.append((dense.exp_pauli("Y", float(w[block, rep, 0])), pair[:1]))
            placed.append((dense.controlled(dense.exp_pauli("Y", float(w[block, rep, 1] * x))), pair))
    np.testing.assert_allclose(dense_unitary(circuit, {"w": w}, [x]), product_of(3, placed), atol=1e-12)


# Convolution and pooling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "qubits", "pairs"),
    [
        (2, None, [(0, 1)]),
        (4, None, [(0, 1), (2, 3), (1, 2), (3, 0)]),
        (3, None, [(0, 1), (1, 2), (2, 0)]),
        (5, (4, 1, 3), [(4, 1), (1, 3), (3, 4)]),
    ],
)
def test_convolution_is_one_block_on_all_neighbours(n: int, qubits: object, pairs: list) -> None:
    circuit = quantum_convolution(n, qubits)  # type: ignore[arg-type]
    assert circuit.parameter_shapes == {"conv": (2,)}
    theta = np.array([0.4, -1.3])
    expected = product_of(n, [(two_qubit(theta), pair) for pair in pairs])
    np.testing.assert_allclose(dense_unitary(circuit, {"conv": theta}), expected, atol=1e-12)


def test_convolution_of_commuting_blocks_is_invariant_under_translation() -> None:
    block = Circuit(2).append("rzz", (0, 1), parameter("conv", 0)).append("rz", 0, parameter("conv", 1))
    circuit = quantum_convolution(4, block=block)
    values = {"conv": np.array([0.4, -1.3])}
    moved = dense_unitary(circuit.remap((1, 2, 3, 0)), values)
    np.testing.assert_allclose(dense_unitary(circuit, values), moved, atol=1e-12)


def test_pooling_of_a_line() -> None:
    circuit = quantum_pooling(5, (0, 2, 3, 1, 4))
    assert circuit.parameter_shapes == {"pool": (2,)}
    theta = np.array([0.4, -1.3])
    expected = product_of(5, [(pooling(theta), (0, 2)), (pooling(theta), (3, 1))])
    np.testing.assert_allclose(dense_unitary(circuit, {"pool": theta}), expected, atol=1e-12)
    assert pooled_qubits((0, 2, 3, 1, 4)) == (2, 1, 4)


@pytest.mark.parametrize(
    ("n", "reps", "lines"),
    [(4, None, [(0, 1, 2, 3), (1, 3)]), (4, 1, [(0, 1, 2, 3)]), (5, None, [(0, 1, 2, 3, 4), (1, 3, 4), (3, 4)])],
)
def test_qcnn_is_convolutions_and_poolings(n: int, reps: int | None, lines: list[tuple[int, ...]]) -> None:
    circuit = qcnn(n, reps)
    assert circuit.parameter_shapes == {"conv": (len(lines), 2), "pool": (len(lines), 2)}
    values = random_values(circuit)
    expected = np.eye(2**n, dtype=complex)
    for layer, line in enumerate(lines):
        for step, name in ((quantum_convolution(n, line), "conv"), (quantum_pooling(n, line), "pool")):
            expected = dense_unitary(step, {name: values[name][layer]}) @ expected
    np.testing.assert_allclose(dense_unitary(circuit, values), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("n", "reps", "qubits"),
    [(2, None, (1,)), (8, None, (7,)), (8, 2, (3, 7)), (8, 1, (1, 3, 5, 7)), (6, None, (5,)), (6, 1, (1, 3, 5))],
)
def test_output_qubits_of_qcnn(n: int, reps: int | None, qubits: tuple[int, ...]) -> None:
    assert qcnn_output_qubits(n, reps) == qubits


def test_qcnn_in_the_simulator_and_its_gradient() -> None:
    """The derivative of the answer with respect to every entry against central differences of the dense reference."""
    circuit = qcnn(2)
    values = random_values(circuit)
    observable = PauliString("IZ")
    with jax.enable_x64(True):

        def answer(params: dict) -> jax.Array:
            return expectation(circuit, params, None, [observable])[0]

        found, gradient = jax.jit(jax.value_and_grad(answer))(values)

    def reference(params: dict) -> float:
        return float(np.abs(dense_state(circuit, params)) ** 2 @ np.tile([1, -1], 2))

    assert found == pytest.approx(reference(values), abs=1e-12)
    step = 1e-5
    for name in values:
        for index in np.ndindex(values[name].shape):
            ends = []
            for sign in (1, -1):
                moved = values[name].copy()
                moved[index] += sign * step
                ends.append(reference(values | {name: moved}))
            assert gradient[name][index] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)


WIDE = Circuit(3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mps(1), r"`block` must have 2 to 1 qubits, but got 2"),
        (lambda: mps(3, Circuit(1)), r"`block` must have 2 to 3 qubits, but got 1"),
        (lambda: tree_tensor_network(1), "`num_qubits` must be an integer of at least 2, but got 1"),
        (lambda: tree_tensor_network(4, WIDE), "`block` must have 2 qubits, but got 3"),
        (lambda: mera(1), "`num_qubits` must be an integer of at least 2, but got 1"),
        (lambda: mera(4, WIDE), "`block` must have 2 qubits, but got 3"),
        (lambda: quantum_convolution(1), r"`qubits` must hold at least 2 distinct integers in 0\.\.0"),
        (lambda: quantum_convolution(3, (0, 3)), r"`qubits` must hold at least 2 distinct integers in 0\.\.2"),
        (lambda: quantum_convolution(3, (0, 0)), r"`qubits` must hold at least 2 distinct integers in 0\.\.2"),
        (lambda: quantum_convolution(3, block=WIDE), "`block` must have 2 qubits, but got 3"),
        (lambda: quantum_pooling(3, (1,)), r"`qubits` must hold at least 2 distinct integers in 0\.\.2"),
        (lambda: quantum_pooling(3, block=WIDE), "`block` must have 2 qubits, but got 3"),
        (lambda: qcnn(4, convolution=WIDE), "`convolution` must have 2 qubits, but got 3"),
        (lambda: qcnn(4, pooling=WIDE), "`pooling` must have 2 qubits, but got 3"),
        (lambda: qcnn(4, pooling=ry_cx_block("conv")), "`pooling` must have no parameter of the convolution's.*conv"),
        (lambda: qcnn(4, 3), r"`reps` must be an integer in 1\.\.2 on 4 qubits, but got 3"),
        (lambda: qcnn_output_qubits(4, 0), r"`reps` must be an integer in 1\.\.2 on 4 qubits, but got 0"),
    ],
)
def test_tensor_network_errors(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()  # type: ignore[operator]
