import math

import numpy as np
import pytest
from bound_circuits import dense_state

from qjax.checks import UserError
from qjax.quantum.templates.sim_circuits import SIM_NUMBERS, sim_circuit

# One layer on four qubits, read from figure 2 of the paper from left to right: a gate's name alone stands on every
# qubit; else the qubits follow, the control before the target.
FIGURE = {
    1: "rx rz",
    2: "rx rz cx:32 cx:21 cx:10",
    3: "rx rz crz:32 crz:21 crz:10",
    4: "rx rz crx:32 crx:21 crx:10",
    5: "rx rz crz:32 crz:31 crz:30 crz:23 crz:21 crz:20 crz:13 crz:12 crz:10 crz:03 crz:02 crz:01 rx rz",
    6: "rx rz crx:32 crx:31 crx:30 crx:23 crx:21 crx:20 crx:13 crx:12 crx:10 crx:03 crx:02 crx:01 rx rz",
    7: "rx rz crz:10 crz:32 rx rz crz:21",
    8: "rx rz crx:10 crx:32 rx rz crx:21",
    9: "h cz:32 cz:21 cz:10 rx",
    10: "cz:32 cz:21 cz:10 cz:03 ry",
    11: "ry rz cx:10 cx:32 ry:1 ry:2 rz:1 rz:2 cx:21",
    12: "ry rz cz:10 cz:32 ry:1 ry:2 rz:1 rz:2 cz:21",
    13: "ry crz:30 crz:23 crz:12 crz:01 ry crz:32 crz:03 crz:10 crz:21",
    14: "ry crx:30 crx:23 crx:12 crx:01 ry crx:32 crx:03 crx:10 crx:21",
    15: "ry cx:30 cx:23 cx:12 cx:01 ry cx:32 cx:03 cx:10 cx:21",
    16: "rx rz crz:10 crz:32 crz:21",
    17: "rx rz crx:10 crx:32 crx:21",
    18: "rx rz crz:30 crz:23 crz:12 crz:01",
    19: "rx rz crx:30 crx:23 crx:12 crx:01",
}


def far(n: int) -> int:
    """Gates of the ring of range 3; on 3 qubits it is one of range 2."""
    return n if n == 3 else n // math.gcd(n, 3)


# Parameters of a layer on n qubits, and gates on two qubits: the paper's table of costs.
COSTS = {
    1: (lambda n: 2 * n, lambda n: 0),
    2: (lambda n: 2 * n, lambda n: n - 1),
    3: (lambda n: 3 * n - 1, lambda n: n - 1),
    4: (lambda n: 3 * n - 1, lambda n: n - 1),
    5: (lambda n: n * n + 3 * n, lambda n: n * n - n),
    6: (lambda n: n * n + 3 * n, lambda n: n * n - n),
    7: (lambda n: 5 * n - 1, lambda n: n - 1),
    8: (lambda n: 5 * n - 1, lambda n: n - 1),
    9: (lambda n: n, lambda n: n - 1),
    10: (lambda n: n, lambda n: n),
    11: (lambda n: 4 * n - 4, lambda n: n - 1),
    12: (lambda n: 4 * n - 4, lambda n: n - 1),
    13: (lambda n: 3 * n + far(n), lambda n: n + far(n)),
    14: (lambda n: 3 * n + far(n), lambda n: n + far(n)),
    15: (lambda n: 2 * n, lambda n: n + far(n)),
    16: (lambda n: 3 * n - 1, lambda n: n - 1),
    17: (lambda n: 3 * n - 1, lambda n: n - 1),
    18: (lambda n: 3 * n, lambda n: n),
    19: (lambda n: 3 * n, lambda n: n),
}


def written_out(figure: str) -> list[tuple[str, tuple[int, ...]]]:
    gates = []
    for word in figure.split():
        name, _, places = word.partition(":")
        gates += [(name, tuple(map(int, places)))] if places else [(name, (q,)) for q in range(4)]
    return gates


def meyer_wallach(state: np.ndarray) -> float:
    """2 (1 - mean purity of a qubit): equation 19 of Brennen 2003, the measure of the paper's figure 4."""
    n = len(state).bit_length() - 1
    purities = []
    for q in range(n):
        halves = np.moveaxis(state.reshape((2,) * n), q, 0).reshape(2, -1)
        purities.append(np.sum(np.abs(halves @ halves.conj().T) ** 2))
    return float(2 * (1 - np.mean(purities)))


@pytest.mark.parametrize("number", SIM_NUMBERS)
def test_four_qubits_are_the_figure_and_angles_are_counted_through(number: int) -> None:
    circuit = sim_circuit(number, 4, 2)
    layer = written_out(FIGURE[number])
    expected = ([("ry", (q,)) for q in range(4)] if number == 10 else []) + layer + layer
    operations = list(circuit.iter_operations())
    assert [(op.gate.name, op.qubits) for op in operations] == expected
    used = [repr(angle) for op in operations for angle in op.angles]
    per_layer = (len(used) - (4 if number == 10 else 0)) // 2
    first = [f"ansatz_first[{q}]" for q in range(4)] if number == 10 else []
    assert used == first + [f"ansatz[{r},{k}]" for r in range(2) for k in range(per_layer)]


@pytest.mark.parametrize("n", [3, 5, 6])
@pytest.mark.parametrize("number", SIM_NUMBERS)
def test_costs(number: int, n: int) -> None:
    circuit = sim_circuit(number, n, 3, "theta")
    num_parameters, num_two_qubit = (cost(n) for cost in COSTS[number])
    shapes = {"theta": (3, num_parameters)} | ({"theta_first": (n,)} if number == 10 else {})
    assert circuit.parameter_shapes == shapes
    assert sum(len(op.qubits) == 2 for op in circuit.iter_operations()) == 3 * num_two_qubit


def test_the_second_ring_has_range_3() -> None:
    def second_ring(n: int) -> list[tuple[int, ...]]:
        gates = [op.qubits for op in sim_circuit(15, n, 1).iter_operations()]
        return gates[3 * n :]

    assert second_ring(5) == [(4, 2), (0, 3), (1, 4), (2, 0), (3, 1)]
    assert second_ring(6) == [(5, 2), (2, 5)]
    assert second_ring(9) == [(8, 2), (2, 5), (5, 8)]
    assert second_ring(3) == [(2, 1), (0, 2), (1, 0)]


def test_few_qubits() -> None:
    for number in SIM_NUMBERS:
        assert sim_circuit(number, 1, 1).two_qubit_depth() == 0
    # On two qubits a ring of CZ closed twice would do nothing.
    assert sim_circuit(10, 2, 1).counts() == {"ry": 4, "cz": 1}
    assert [op.qubits for op in sim_circuit(15, 2, 1).iter_operations() if op.gate.name == "cx"] == [
        (1, 0), (0, 1), (1, 0), (0, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(("number", "entanglement"), [(1, 0.0), (9, 1.0)])
def test_entangling_capability_that_is_known_exactly(number: int, entanglement: float) -> None:
    """Circuit 1 has no gate on two qubits; circuit 9 is a linear cluster state but for local gates."""
    circuit = sim_circuit(number, 4, 1)
    params = {"ansatz": np.random.default_rng(number).uniform(0, 2 * np.pi, circuit.parameter_shapes["ansatz"])}
    assert meyer_wallach(dense_state(circuit, params)) == pytest.approx(entanglement, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((20, 4, 1), r"`number` must be one of the choices, but got 20\..*Choices: 1, 2, 3"),
        ((0, 4, 1), "`number` must be one of the choices, but got 0"),
        ((1, 0, 1), "`num_qubits` must be an integer in 1..65536, but got 0"),
        ((1, 4, 0), "`reps` must be an integer of at least 1, but got 0"),
    ],
)
def test_errors(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sim_circuit(*arguments)
