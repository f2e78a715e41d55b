"""The nineteen circuits whose expressibility and entangling capability Sim, Johnson and Aspuru-Guzik compared."""

from itertools import count, islice

from qjax.checks import check_choice
from qjax.quantum.circuits.angle import as_index, parameter
from qjax.quantum.circuits.circuit import Circuit
from qjax.quantum.circuits.gates import GATES
from qjax.quantum.circuits.operation import Operation, operation
from qjax.quantum.circuits.repeat import Repeat

SIM_NUMBERS = tuple(range(1, 20))

# One gate at several places: (name, the qubits of each), controls first.
Column = tuple[str, tuple[tuple[int, ...], ...]]


def sim_circuit(number: int, num_qubits: int, reps: int, name: str = "ansatz") -> Circuit:
    """Returns `reps` layers of one of the nineteen circuits of Sim, Johnson and Aspuru-Guzik.

    The parameter is called `name`, of shape `[reps, k]`: k angles a layer, in the order in which the gates are listed
    here. Circuit 10 also has `name_first`, of shape `[num_qubits]`, a layer of RY before all others.

    | number | layer | k for n qubits |
    |---|---|---|
    | 1 | RX, RZ | 2n |
    | 2 | RX, RZ, CX ladder | 2n |
    | 3, 4 | RX, RZ, CRZ or CRX ladder | 3n - 1 |
    | 5, 6 | RX, RZ, CRZ or CRX from each qubit to every other, RX, RZ | n**2 + 3n |
    | 7, 8 | RX, RZ, CRZ or CRX on even pairs, RX, RZ, the same on odd pairs | 5n - 1 |
    | 9 | H, CZ ladder, RX | n |
    | 10 | CZ ring, RY | n |
    | 11, 12 | RY, RZ, CX or CZ on even pairs, RY and RZ on inner qubits, the same on odd pairs | 4n - 4 |
    | 13, 14 | RY, CRZ or CRX ring, RY, CRZ or CRX ring of range 3 | 3n + n / gcd(n, 3) |
    | 15 | RY, CX ring, RY, CX ring of range 3 | 2n |
    | 16, 17 | RX, RZ, CRZ or CRX on even pairs, then on odd pairs | 3n - 1 |
    | 18, 19 | RX, RZ, CRZ or CRX ring | 3n |

    Ladders and pairs have their controls below, from qubit q + 1 to qubit q, a ladder from the last qubit on. The
    ring begins with (n-1, 0) and goes on with (n-2, n-1) up to (0, 1). The ring of range 3 begins with (n-1, 2) and
    goes on with (0, 3), (1, 4), ..., each from a qubit to the third after it; where 3 divides n it is the ring of
    every third qubit alone, (n-1, 2), (2, 5), .... On 3 qubits, where that would join a qubit with itself, its range
    is 2. The paper draws four qubits; this is its figure for four, and the rule of its costs for any other number.

    Args:
      number: 1 to 19.
      num_qubits: qubits.
      reps: layers.
      name: of the parameter.

    Raises:
      UserError: there is no such circuit, or `num_qubits` or `reps` is below 1.

    Source: Sim, Johnson and Aspuru-Guzik 2019, Advanced Quantum Technologies 2, 1900070 (arXiv:1905.10876), figure 2.

    >>> sim_circuit(9, 2, reps=3)
    Circuit(2 qubits: 3 x [h 0, h 1, cz 1 0, rx(ansatz[0]) 0, rx(ansatz[1]) 1])
    """
    check_choice("number", number, SIM_NUMBERS)
    n = as_index("num_qubits", num_qubits)
    layer = Circuit(n, _operations(_columns(number, n), name))
    first = _operations((("ry", tuple((q,) for q in range(n))),), f"{name}_first") if number == 10 else ()
    return Circuit(n, (*first, Repeat(layer, reps)))


def _operations(columns: tuple[Column, ...], name: str) -> tuple[Operation, ...]:
    """Returns the gates of the columns; each angle is the next entry of the parameter."""
    angles = (parameter(name, k) for k in count())
    return tuple(
        operation(gate, qubits, *islice(angles, GATES[gate].num_angles))
        for gate, places in columns
        for qubits in places
    )


def _columns(number: int, n: int) -> tuple[Column, ...]:
    """Returns one layer of a circuit on n qubits, column by column."""
    every = tuple((q,) for q in range(n))
    inner, down = every[1:-1], range(n)[::-1]
    ladder = tuple((q + 1, q) for q in reversed(range(n - 1)))
    even, odd = (tuple((q + 1, q) for q in range(start, n - 1, 2)) for start in (0, 1))
    to_all = tuple((control, target) for control in down for target in down if control != target)
    ring = tuple((q, (q + 1) % n) for q in reversed(range(n)) if n > 1)
    distance = 2 if n == 3 else 3
    step = 3 if n % 3 == 0 and n > 3 else 1  # n / gcd(n, 3) gates
    far_ring = tuple((q % n, (q + distance) % n) for q in range(n - 1, 2 * n - 1, step) if n > 1)
    # CZ is its own inverse and has no direction: on two qubits a second one would undo the first.
    cz_ring = (*ladder, (0, n - 1)) if n > 2 else ladder
    xz: tuple[Column, ...] = (("rx", every), ("rz", every))
    yz: tuple[Column, ...] = (("ry", every), ("rz", every))
    yz_inner: tuple[Column, ...] = (("ry", inner), ("rz", inner))
    table: dict[int, tuple[Column, ...]] = {
        1: xz,
        2: (*xz, ("cx", ladder)),
        3: (*xz, ("crz", ladder)),
        4: (*xz, ("crx", ladder)),
        5: (*xz, ("crz", to_all), *xz),
        6: (*xz, ("crx", to_all), *xz),
        7: (*xz, ("crz", even), *xz, ("crz", odd)),
        8: (*xz, ("crx", even), *xz, ("crx", odd)),
        9: (("h", every), ("cz", ladder), ("rx", every)),
        10: (("cz", cz_ring), ("ry", every)),
        11: (*yz, ("cx", even), *yz_inner, ("cx", odd)),
        12: (*yz, ("cz", even), *yz_inner, ("cz", odd)),
        13: (("ry", every), ("crz", ring), ("ry", every), ("crz", far_ring)),
        14: (("ry", every), ("crx", ring), ("ry", every), ("crx", far_ring)),
        15: (("ry", every), ("cx", ring), ("ry", every), ("cx", far_ring)),
        16: (*xz, ("crz", even), ("crz", odd)),
        17: (*xz, ("crx", even), ("crx", odd)),
        18: (*xz, ("crz", ring)),
        19: (*xz, ("crx", ring)),
    }
    return table[number]
