"""Gates as rotations between diagonals, on a CPU: what the table becomes, and what the code for it computes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_engine import by
from random_circuits import given_seeds, run_compiled

from qjax.quantum import (
    Circuit,
    PauliString,
    Repeat,
    angle_encoding,
    expectation,
    hardware_efficient,
    input_angle,
    operation,
    parameter,
    real_amplitudes,
    state,
    z_observables,
)
from qjax.quantum.engines.native.cpu import shared_layers
from qjax.quantum.engines.native.cpu.shared_layers import Givens, givens_of
from qjax.quantum.engines.native.table.entries import Table, table_of
from qjax.quantum.engines.native.table.fresh_columns import with_fresh_columns
from qjax.quantum.engines.native.table.layout import (
    FORMS,
    GIVENS,
    MAX_QUBITS,
    SUMS,
    Entry,
    FactorWord,
    LayerEntry,
    MadeEntry,
    RotationWord,
    form_of,
)
from qjax.quantum.engines.native.whole_states import whole_plan_of
from qjax.quantum.engines.readouts import StateReadout

INPUTS = frozenset({"inputs"})
ATOL = {np.float32: 1e-5, np.float64: 1e-12}


def loaded_again(n: int, reps: int = 2, rotations: tuple[str, ...] = ("rz", "ry", "rz")) -> Circuit:
    """Layers that all examples share between inputs."""
    body = hardware_efficient(n, 1, rotations=rotations) + hardware_efficient(n, 1, entangler="cz", name="more")
    return angle_encoding(n) + Circuit(n, (Repeat(body + angle_encoding(n, axis="rz"), reps),))


def of_all_kinds(n: int) -> Circuit:
    """What stands between layers: diagonal gates, signs, and others."""
    between = [
        operation("rzz", (0, 1), parameter("v", 0)),
        operation("cz", (1, 2)),
        operation("ccz", (2, 0, 1)),
        operation("z", 1).controlled((0,), (0,)),
        operation("t", 2),
        operation("crx", (2, 0), parameter("v", 1)),
        operation("x", 1),
        operation("rxx", (1, 2), parameter("v", 2)),
        operation("ry", 1, input_angle(1)),
        operation("cx", (2, 1)),
        operation("rzz", (0, 2), input_angle(0) * 0.3),
    ]
    layers = [hardware_efficient(n, 1, rotations=("ry", "rz"), entangler="cz", name=name) for name in "abcdefgh"]
    circuit = angle_encoding(n) + layers[0]
    for k, op in enumerate(between):
        circuit = circuit + Circuit(n, (op,)) + layers[1 + k % 7]
    return circuit


CIRCUITS = {
    "cx": lambda n: angle_encoding(n) + hardware_efficient(n, 3, rotations=("rx", "ry", "rz")),
    "cz": lambda n: angle_encoding(n) + hardware_efficient(n, 2, entangler="cz"),
    "real": lambda n: real_amplitudes(n, 2) + angle_encoding(n, axis="ry") + real_amplitudes(n, 2, name="more"),
    "loaded again": loaded_again,
    "rzz": lambda n: angle_encoding(n) + hardware_efficient(n, 2, rotations=("ry", "rx"), entangler="rzz"),
    "crz": lambda n: angle_encoding(n) + hardware_efficient(n, 2, rotations=("rz",), entangler="crz"),
    "all kinds": of_all_kinds,
}


def values_of(circuit: Circuit, batch: int, dtype: Any, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    params = {name: jnp.asarray(2 * rng.normal(size=s), dtype) for name, s in circuit.parameter_shapes.items()}
    return params, jnp.asarray(rng.normal(size=(batch, circuit.num_inputs)), dtype)


def both(circuit: Circuit, params: Any, inputs: Any, strings: Any = None) -> tuple[Any, Any]:
    """Values, gradients of a loss and the states, by the native code and by XLA's own."""
    strings = z_observables(circuit.num_qubits) if strings is None else strings
    weights = np.random.default_rng(1).normal(size=(len(inputs), circuit.num_qubits))

    def loss(way: str, params: Any, inputs: Any) -> Any:
        found = by(way, expectation, circuit, params, inputs, strings)
        return (jnp.asarray(weights, found.dtype)[:, : found.shape[1]] * found**2).sum(), found

    def every(way: str, params: Any, inputs: Any) -> Any:
        gradient = jax.value_and_grad(lambda *xs: loss(way, *xs), (0, 1), has_aux=True)(params, inputs)
        return gradient, by(way, state, circuit, params, inputs)

    return tuple(run_compiled(lambda *xs, way=way: every(way, *xs), params, inputs) for way in ("auto", "XLA"))


def assert_alike(found: Any, expected: Any, atol: float) -> None:
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, atol=atol * max(1.0, float(np.abs(y).max(initial=0))))


def num_rotations(circuit: Circuit, batch: int, dtype: Any) -> int:
    native = whole_plan_of(circuit, StateReadout(), INPUTS, batch, np.dtype(dtype))
    return len(native._givens.rotations)


# What the code computes. --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "n", "dtype"),
    [(name, 3, np.float64) for name in CIRCUITS if name != "all kinds"]
    + [(name, 8, np.float32) for name in ("cx", "cz", "rzz")]
    + [("all kinds", 4, np.float32), ("all kinds", 4, np.float64)],
)
def test_values_and_gradients_are_those_of_xlas_code(name: str, n: int, dtype: Any) -> None:
    circuit = CIRCUITS[name](n)
    with jax.enable_x64(dtype == np.float64):
        params, inputs = values_of(circuit, 35, dtype)
        assert num_rotations(circuit, 35, dtype) > 0
        assert_alike(*both(circuit, params, inputs), ATOL[dtype])


ANGLES = [0.0, np.pi, -np.pi, 2 * np.pi, np.pi / 2, -np.pi / 2, 3 * np.pi, 1e-9, np.pi + 1e-7, np.pi / 2 - 1e-7]


@pytest.mark.parametrize(("rotations", "dtype"), [(("ry",), np.float32), (("rz", "ry", "rz"), np.float64)])
def test_angles_at_which_a_matrix_has_zeros(rotations: tuple[str, ...], dtype: Any) -> None:
    """Half of these gates are nearly the identity or nearly flip the qubit: no phase of an entry that is 0 counts."""
    n = 4
    circuit = angle_encoding(n) + hardware_efficient(n, 3, rotations=rotations)
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype == np.float64):
        for _ in range(3):
            angles = rng.choice(ANGLES, size=circuit.parameter_shapes["ansatz"])
            params, inputs = {"ansatz": jnp.asarray(angles, dtype)}, jnp.asarray(rng.normal(size=(20, n)), dtype)
            assert_alike(*both(circuit, params, inputs), ATOL[dtype])


def test_gradients_are_differences_of_values() -> None:
    circuit = loaded_again(3)
    with jax.enable_x64(True):
        params, inputs = values_of(circuit, 11, np.float64)
        loss = jax.jit(lambda p, x: jnp.sin(expectation(circuit, p, x, z_observables(3))).sum())
        found, step = jax.grad(loss)(params, inputs), 1e-5
        for name, value in params.items():
            for index in list(np.ndindex(value.shape))[::3]:
                ends = [loss(params | {name: value.at[index].add(sign * step)}, inputs) for sign in (1, -1)]
                np.testing.assert_allclose(found[name][index], (ends[0] - ends[1]) / (2 * step), atol=1e-8)


def test_other_strings_are_read_from_the_states() -> None:
    circuit = CIRCUITS["cx"](4)
    params, inputs = values_of(circuit, 33, np.float32)
    strings = [PauliString("XZIY"), PauliString("IYXX")]
    assert_alike(*both(circuit, params, inputs, strings), 1e-5)


@given_seeds(1)
def test_random_layers_are_those_of_xlas_code(seed: int) -> None:
    check_random_layers(seed)


@pytest.mark.slow
@given_seeds(50)
def test_50_random_layers_are_those_of_xlas_code(seed: int) -> None:
    check_random_layers(seed)


def check_random_layers(seed: int) -> None:
    circuit = random_layers(seed)
    with jax.enable_x64(True):
        params, inputs = values_of(circuit, 9, np.float64, seed)
        assert_alike(*both(circuit, params, inputs), 1e-11)


def random_layers(seed: int) -> Circuit:
    """Gates on each qubit that all examples share, between gates that move, sign or turn, or are each example's."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 6))
    circuit = angle_encoding(n)
    for layer in range(int(rng.integers(2, 5))):
        kinds = rng.choice(["ry", "rx", "rz", "h", "s", "sx", "u"], size=n)
        for q, kind in enumerate(kinds):
            count = {"u": 3, "h": 0, "s": 0, "sx": 0}.get(str(kind), 1)
            angles = [parameter("w", layer, q, k) for k in range(count)]
            circuit = circuit.append(str(kind), q, *angles) if rng.random() < 0.9 else circuit
        for _ in range(int(rng.integers(0, 6))):
            a, b, c = (int(q) for q in rng.permutation(n)[:3])
            more = [
                operation("cx", (a, b)),
                operation("cz", (a, b)),
                operation("swap", (a, b)),
                operation("x", a),
                operation("ccz", (a, b, c)),
                operation("rzz", (a, b), parameter("v", layer)),
                operation("rz", a, input_angle(a)),
                operation("ry", a, input_angle(b)),
                operation("crz", (a, b), parameter("v", layer)),
                operation("ccx", (a, b, c)),
            ]
            circuit = circuit + Circuit(n, (more[int(rng.choice(len(more), p=[0.2, 0.2, *[0.075] * 8]))],))
    return circuit


# What the table becomes. --------------------------------------------------------------------------------------------


def numbers_for(table: Table, seed: int) -> dict[int, np.ndarray]:
    """Random unitary numbers for each gate of a table, by the place of its coefficients; signs as they are."""
    rng, found = np.random.default_rng(seed), {}
    for entry in table.gates_back:
        kind, qubits, _ = form_of(entry[Entry.KIND])
        first, dim = int(entry[Entry.FIRST]), 2**qubits
        if kind == "dense":
            found[first] = np.linalg.qr(rng.normal(size=(dim, dim)) + 1j * rng.normal(size=(dim, dim)))[0]
        elif kind == "diagonal":
            found[first] = np.diag(np.exp(1j * rng.normal(size=dim)))
    for first, signs in table.operands.signs.items():
        found[first] = np.diag(1.0 - 2 * signs)
    return found


def parity(rows: np.ndarray, weights: Any, flip: Any) -> np.ndarray:
    return (np.bitwise_count(rows & int(weights)) + int(flip)) % 2


def applied(state: np.ndarray, matrix: np.ndarray, entry: np.ndarray, num_targets: int, num_controls: int) -> Any:
    """A gate by what its entry says of each qubit, row by row."""
    rows = np.arange(len(state))
    bits = [
        parity(rows, entry[Entry.WEIGHTS + k], entry[Entry.FLIP + k] & 1) for k in range(num_targets + num_controls)
    ]
    own = sum(bit << (num_targets - 1 - k) for k, bit in enumerate(bits[:num_targets]))
    new = np.zeros_like(state)
    for column in range(2**num_targets):
        other = rows.copy()
        for k in range(num_targets):
            turn = (own ^ column) >> (num_targets - 1 - k) & 1
            other = np.where(turn == 1, other ^ int(entry[Entry.MASK + k]), other)
        new += matrix[own, column] * state[other]
    controlled = np.all([bit == 0 for bit in bits[num_targets:]], axis=0) if num_controls else True
    return np.where(controlled, new, state)


def turned(gate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The diagonal after a real rotation, the rotation, and the diagonal before it."""
    cosine, sine = abs(gate[0, 0]), abs(gate[1, 0])
    after = np.array([gate[0, 0] / cosine, gate[1, 0] / sine])
    before = np.array([1, -gate[0, 1] / (after[0] * sine)])
    return after, np.array([[cosine, -sine], [sine, cosine]]), before


def parts_of(one: np.ndarray, numbers: dict[int, np.ndarray]) -> tuple[Any, Any, Any]:
    """The same of what is said of a rotation, or of a number of a diagonal gate."""
    if one[RotationWord.SCALED] >= 0:
        return turned(numbers[int(one[RotationWord.GATE])])
    (first,) = (first for first, own in numbers.items() if first <= one[RotationWord.GATE] < first + 2 * len(own))
    return (), (), (1, numbers[first].diagonal()[(one[RotationWord.GATE] - first) // 2])


def followed(state: np.ndarray, found: Givens, gates: np.ndarray, numbers: dict[int, np.ndarray]) -> np.ndarray:
    """What entries do, rotations and phases among them."""
    by_kind = {kind: key for key, kind in GIVENS.items()}
    parts = [parts_of(one, numbers) for one in found.rotations]
    rows, starts = np.arange(len(state)), [0]
    while starts[-1] < len(found.factors):
        starts.append(starts[-1] + int(found.factors[starts[-1], FactorWord.COUNT]))
    assert len(starts) == found.num_tables + 1
    for entry in gates:
        kind = int(entry[Entry.KIND])
        if kind in SUMS.values():  # changes nothing
            continue
        if kind not in by_kind:
            form = form_of(kind)
            if form[0] in ("dense", "diagonal"):
                state = applied(state, numbers[int(entry[Entry.FIRST])], entry, form[1], form[2])
            continue
        count, phases = by_kind[kind]
        for k in range(count):
            own = np.zeros(Entry.SIZE, np.int64)
            own[[Entry.MASK, Entry.WEIGHTS, Entry.FLIP]] = entry[[Entry.MASK + k, Entry.WEIGHTS + k, Entry.FLIP + k]]
            state = applied(state, parts[int(entry[Entry.FIRST]) + k][1], own, 1, 0)
        if phases:
            place = int(entry[LayerEntry.PHASES])
            for factor in found.factors[starts[place] : starts[place + 1]]:
                bits = [
                    parity(rows, factor[FactorWord.WEIGHTS + k], factor[FactorWord.FLIPS + k])
                    for k in range(MAX_QUBITS)
                ]
                odd = np.all(np.array(bits) == 1, axis=0)
                own = (
                    parts[factor[FactorWord.ROTATION]][2 if factor[FactorWord.BEFORE] else 0]
                    if factor[FactorWord.ROTATION] >= 0
                    else (1, -1)
                )
                state = state * np.where(odd, own[1], own[0])
    return state


@given_seeds(15)
def test_rotations_and_phases_are_the_gates(seed: int) -> None:
    circuit = random_layers(seed)
    table = table_of(circuit, INPUTS)
    numbers, rng = numbers_for(table, seed), np.random.default_rng(seed)
    psi = rng.normal(size=2**table.num_qubits) + 1j * rng.normal(size=2**table.num_qubits)
    nothing = givens_of(table.gates_back, table.num_qubits, 0)
    assert len(nothing.rotations) == nothing.num_tables == 0
    np.testing.assert_array_equal(nothing.gates, table.gates_back)
    expected = followed(psi, nothing, nothing.gates, numbers)
    found = givens_of(table.gates_back, table.num_qubits, table.num_shared, table.operands.signs)
    for gates in (found.gates, found.gates_back):
        np.testing.assert_allclose(followed(psi, found, gates, numbers), expected, atol=1e-12)
    for k, one in enumerate(found.rotations):
        assert one[RotationWord.SCALED] < 0 or one[RotationWord.SCALED] <= k < one[RotationWord.SCALED_END] <= len(
            found.rotations
        )


def test_a_layer_is_rotations_and_one_table() -> None:
    table = table_of(CIRCUITS["cx"](8), INPUTS)
    found = givens_of(table.gates_back, 8, table.num_shared, table.operands.signs)
    by_kind = {kind: key for key, kind in GIVENS.items()}
    kinds = [by_kind[kind] for kind in found.gates[:, Entry.KIND] if kind in by_kind]
    assert kinds == [(0, True), *[(3, False), (3, False), (2, True)] * 2]
    assert len(found.rotations) == 16
    assert list(found.factors[:, FactorWord.COUNT]) == [8] * 8 + [16] * 16 + [8] * 8
    back = [by_kind[kind] for kind in found.gates_back[:, Entry.KIND] if kind in by_kind]
    assert back == [(0, True), *[(2, False)] * 3, (2, True), *[(2, False)] * 3, (2, True)]


def test_few_gates_side_by_side_stay_what_they_are() -> None:
    table = table_of(CIRCUITS["cx"](2), INPUTS)
    found = givens_of(table.gates_back, 2, table.num_shared, table.operands.signs)
    np.testing.assert_array_equal(found.gates, table.gates_back)
    assert num_rotations(CIRCUITS["cx"](4), 16, np.float32) == 0  # one vector of examples: tables would cost more


@pytest.mark.parametrize("count", [1, 2, 3])
def test_signs_are_sums_of_products(count: int) -> None:
    rng = np.random.default_rng(count)
    rows = np.arange(2**4)
    for _ in range(20):
        entry = np.zeros(Entry.SIZE, np.int64)
        entry[Entry.WEIGHTS : Entry.WEIGHTS + count] = rng.permutation(2**4 - 1)[:count] + 1
        entry[Entry.FLIP : Entry.FLIP + count] = rng.integers(0, 2, count)
        signs = rng.integers(0, 2, 2**count).astype(bool)
        bits = [parity(rows, entry[Entry.WEIGHTS + k], entry[Entry.FLIP + k]) for k in range(count)]
        expected = 1 - 2 * signs[sum(bit << (count - 1 - k) for k, bit in enumerate(bits))].astype(int)
        found = np.ones(len(rows))
        for factor in shared_layers._sign_factors(entry, signs):
            own = [
                parity(rows, factor[FactorWord.WEIGHTS + k], factor[FactorWord.FLIPS + k]) for k in range(MAX_QUBITS)
            ]
            found = np.where(np.all(np.array(own) == 1, axis=0), -found, found)
        np.testing.assert_array_equal(found, expected)


# Fresh qubits. ------------------------------------------------------------------------------------------------------


def test_the_first_gates_of_a_loop_make_columns() -> None:
    table = table_of(angle_encoding(3) + hardware_efficient(3, 3, rotations=("rx", "ry", "rz")), INPUTS)
    kinds = [FORMS[kind][0] for kind in table.gates_back[:, Entry.KIND]]
    assert kinds == ["rotation"] * 3 + ["column"] * 3 + ["start"] * 3 + ["dense"] * 6
    columns = table.gates_back[3:6]
    assert len({*columns[:, MadeEntry.LEFT], *columns[:, MadeEntry.RIGHT], *columns[:, Entry.FIRST]}) == 9
    assert table.num_made == table.counts.made + 12


def test_other_gates_do_not() -> None:
    def entry(kind: tuple[str, int, int], first: int, mask: int, weights: int = 0, flip: int = 0) -> Any:
        found = np.zeros(Entry.SIZE, np.int64)
        found[[Entry.KIND, Entry.FIRST, Entry.MASK, Entry.WEIGHTS, Entry.FLIP]] = (
            FORMS.index(kind),
            first,
            mask,
            weights,
            flip,
        )
        return found.tolist()

    start, dense = ("start", 1, 0), ("dense", 1, 0)
    starts = [entry(start, 100, 1), entry(start, 104, 2)]
    fits = entry(dense, 0, 1, 1)
    for other in (
        entry(dense, 8, 1, 1),  # a second one on that qubit
        entry(dense, 50, 2, 2),  # of each example
        entry(dense, 8, 3, 2),
        entry(dense, 8, 2, 3),
        entry(dense, 8, 2, 2, 1),
        entry(("dense", 2, 0), 8, 2, 2),
    ):
        found = with_fresh_columns([*(one.copy() for one in starts), fits, other, entry(dense, 16, 2, 2)], 48, 200)
        assert [FORMS[one[Entry.KIND]][0] for one in found] == ["column", "start", "start", "dense", "dense"]
        assert [int(one[Entry.FIRST]) for one in found[:3]] == [200, 200, 104]
        assert (found[0][MadeEntry.LEFT], found[0][MadeEntry.RIGHT]) == (0, 100)
        assert found[3] == other
