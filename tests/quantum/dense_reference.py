"""Dense NumPy algebra in float64, written from the definitions and independently of qjax's gate table.

Rotations are exponentials of their generators, controlled gates sums over projectors, the rest products of these.
The first qubit of a gate is the leftmost factor of its matrix. `apply` is quick enough for thousands of circuits;
`embed` says the same in Kronecker products.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

I2 = np.array([[1, 0], [0, 1]], complex)
X = np.array([[0, 1], [1, 0]], complex)
Y = np.array([[0, -1j], [1j, 0]], complex)
Z = np.array([[1, 0], [0, -1]], complex)
H = (X + Z) / np.sqrt(2)
P0, P1 = (I2 + Z) / 2, (I2 - Z) / 2
PAULIS = {"I": I2, "X": X, "Y": Y, "Z": Z}


class Step(NamedTuple):
    """A gate of a circuit; `data` is what a gate outside the table is made of."""

    name: str
    qubits: tuple[int, ...]
    angles: tuple[float, ...] = ()
    controls: tuple[int, ...] = ()
    control_values: tuple[int, ...] = ()
    data: Any = None


# Algebra ----------------------------------------------------------------------------------------------------------


def kron_all(factors: Sequence[np.ndarray]) -> np.ndarray:
    total = np.eye(1, dtype=complex)
    for factor in factors:
        total = np.kron(total, factor)
    return total


def pauli(text: str) -> np.ndarray:
    return kron_all([PAULIS[letter] for letter in text])


def controlled(u: np.ndarray, values: Sequence[int] = (1,)) -> np.ndarray:
    """u where the qubits before it have these values, the identity where they have not."""
    chosen = kron_all([P1 if value else P0 for value in values])
    return np.kron(chosen, u) + np.kron(np.eye(len(chosen)) - chosen, np.eye(len(u)))


def on_second(u: np.ndarray) -> np.ndarray:
    return np.kron(I2, u)


def root_of_x(sign: int) -> np.ndarray:
    """Principal square root of X (or its inverse): eigenvalues 1 and +-i in the X basis."""
    return H @ np.diag([1, sign * 1j]) @ H


def exponential(generator: np.ndarray, t: float) -> np.ndarray:
    """exp(i t G) of a Hermitian G by its eigenvectors: scipy's expm, 50 times slower here, is what tests it."""
    values, vectors = np.linalg.eigh(generator)
    return (vectors * np.exp(1j * t * values)) @ vectors.conj().T


@lru_cache(maxsize=4096)  # the examples of a batch share most angles
def exp_pauli(text: str, t: float) -> np.ndarray:
    """exp(-i t P / 2) of a product P of Pauli matrices."""
    return exponential(pauli(text), -t / 2)


# Gates ------------------------------------------------------------------------------------------------------------


def phase(t: float) -> np.ndarray:
    return exponential(P1, t)


def turn(t: float, phi: float, lam: float) -> np.ndarray:
    """RZ(phi) RY(t) RZ(lam) with the phase that makes the first entry real."""
    return np.exp(0.5j * (phi + lam)) * exp_pauli("Z", phi) @ exp_pauli("Y", t) @ exp_pauli("Z", lam)


def xx_plus_yy(t: float, beta: float) -> np.ndarray:
    """RZ(-beta) exp(-i t (XX + YY) / 4) RZ(beta), with both RZ on the first qubit."""
    frame = np.kron(exp_pauli("Z", beta), I2)
    return frame.conj().T @ exponential(pauli("XX") + pauli("YY"), -t / 4) @ frame


def xx_minus_yy(t: float, beta: float) -> np.ndarray:
    """RZ(beta) exp(-i t (XX - YY) / 4) RZ(-beta), with both RZ on the second qubit."""
    frame = on_second(exp_pauli("Z", beta))
    return frame @ exponential(pauli("XX") - pauli("YY"), -t / 4) @ frame.conj().T


def relative_phase_toffoli() -> np.ndarray:
    """Margolus's gate (Maslov 2016, arXiv:1508.03273, figure 3), by what it does to the third qubit for each pair."""
    return np.kron(np.kron(P0, I2), I2) + np.kron(np.kron(P1, P0), Z) + np.kron(np.kron(P1, P1), Y)


def relative_phase_c3x() -> np.ndarray:
    """Maslov 2016, figure 4: where the first two qubits are 1, iZ or iY on the last as the third says."""
    return controlled(np.kron(P0, 1j * Z) + np.kron(P1, 1j * Y), (1, 1))


SWAP = (pauli("II") + pauli("XX") + pauli("YY") + pauli("ZZ")) / 2
CX, CX_UP = controlled(X), SWAP @ controlled(X) @ SWAP
CONSTANTS: dict[str, np.ndarray] = {
    "i": I2, "x": X, "y": Y, "z": Z, "h": H,
    "s": np.diag([1, 1j]), "sdg": np.diag([1, -1j]),
    "t": np.diag([1, (1 + 1j) / np.sqrt(2)]), "tdg": np.diag([1, (1 - 1j) / np.sqrt(2)]),
    "sx": root_of_x(1), "sxdg": root_of_x(-1),
    "cx": CX, "cy": controlled(Y), "cz": controlled(Z), "ch": controlled(H), "csx": controlled(root_of_x(1)),
    "cs": controlled(np.diag([1, 1j])), "csdg": controlled(np.diag([1, -1j])),
    "swap": SWAP, "iswap": exponential(pauli("XX") + pauli("YY"), np.pi / 4), "dcx": CX_UP @ CX,
    # The echo: RZX, a flip of the first qubit, and RZX the other way round.
    "ecr": exp_pauli("ZX", -np.pi / 4) @ pauli("XI") @ exp_pauli("ZX", np.pi / 4),
    "ccx": controlled(X, (1, 1)), "ccz": controlled(Z, (1, 1)), "cswap": controlled(SWAP),
    "c3x": controlled(X, (1, 1, 1)), "c3sx": controlled(root_of_x(1), (1, 1, 1)), "c4x": controlled(X, (1,) * 4),
    "rccx": relative_phase_toffoli(), "rc3x": relative_phase_c3x(),
}  # fmt: skip
ROTATIONS: dict[str, Callable[..., np.ndarray]] = {
    "gphase": lambda t: np.exp(1j * t) * np.eye(1),
    "p": phase,
    "u1": phase,
    "rx": lambda t: exp_pauli("X", t),
    "ry": lambda t: exp_pauli("Y", t),
    "rz": lambda t: exp_pauli("Z", t),
    "r": lambda t, phi: exponential(np.cos(phi) * X + np.sin(phi) * Y, -t / 2),
    "u": turn,
    "u2": lambda phi, lam: turn(np.pi / 2, phi, lam),
    "u3": turn,
    "cp": lambda t: controlled(phase(t)),
    "cu1": lambda t: controlled(phase(t)),
    "crx": lambda t: controlled(exp_pauli("X", t)),
    "cry": lambda t: controlled(exp_pauli("Y", t)),
    "crz": lambda t: controlled(exp_pauli("Z", t)),
    "cu": lambda t, phi, lam, gamma: controlled(np.exp(1j * gamma) * turn(t, phi, lam)),
    "cu3": lambda t, phi, lam: controlled(turn(t, phi, lam)),
    "rxx": lambda t: exp_pauli("XX", t),
    "ryy": lambda t: exp_pauli("YY", t),
    "rzz": lambda t: exp_pauli("ZZ", t),
    "rzx": lambda t: exp_pauli("ZX", t),
    "xx_plus_yy": xx_plus_yy,
    "xx_minus_yy": xx_minus_yy,
}
# What a gate outside the table does, by its data.
CUSTOM: dict[str, Callable[..., np.ndarray]] = {
    "unitary": lambda data: np.asarray(data, complex),
    "diagonal": lambda data: np.diag(np.exp(1j * np.asarray(data))),
    "permutation": lambda data: np.eye(len(data), dtype=complex)[np.argsort(data)],  # |i> -> |data[i]>
    "pauli_rotation": lambda data, t: exp_pauli(data, t),
    "barrier": lambda data: np.eye(2**data, dtype=complex),
}
NUM_ANGLES = dict.fromkeys(CONSTANTS, 0) | {name: f.__code__.co_argcount for name, f in ROTATIONS.items()}
WIDTHS = {name: len(m).bit_length() - 1 for name, m in CONSTANTS.items()} | {
    name: len(f(*[0.1] * NUM_ANGLES[name])).bit_length() - 1 for name, f in ROTATIONS.items()
}


def matrix(name: str, angles: Sequence[float] = (), data: Any = None) -> np.ndarray:
    if data is not None:
        return CUSTOM[name](data, *angles)
    return ROTATIONS[name](*angles) if name in ROTATIONS else CONSTANTS[name]


# Circuits ---------------------------------------------------------------------------------------------------------


def embed(u: np.ndarray, qubits: Sequence[int], n: int) -> np.ndarray:
    """Sum over the entries of u of |r><c| on `qubits` and the identity elsewhere; qubit 0 is the leftmost factor."""
    k = len(qubits)
    total = np.zeros((2**n, 2**n), complex)
    for r, c in np.argwhere(u != 0):
        factors = [I2] * n
        for place, q in enumerate(qubits):
            unit = np.zeros((2, 2))
            unit[(r >> (k - 1 - place)) & 1, (c >> (k - 1 - place)) & 1] = 1
            factors[q] = unit
        total += u[r, c] * kron_all(factors)
    return total


def apply(state: np.ndarray, step: Step) -> np.ndarray:
    """The state, or the columns of a matrix, `[2**n, ...]` after a gate, which acts where its controls hold."""
    n = len(state).bit_length() - 1
    cube = state.reshape((2,) * n + (-1,)).copy()
    k = len(step.qubits)
    places: list[Any] = [slice(None)] * n
    for control, value in zip(step.controls, step.control_values, strict=True):
        places[control] = value
    chosen = cube[tuple(places)]
    # Qubits that are left keep their order.
    axes = [q - sum(control < q for control in step.controls) for q in step.qubits]
    u = matrix(step.name, step.angles, step.data).reshape((2,) * (2 * k))
    moved = np.tensordot(u, chosen, axes=(range(k, 2 * k), axes))
    cube[tuple(places)] = np.moveaxis(moved, range(k), axes)
    return cube.reshape(state.shape)


def run(n: int, gates: Iterable[Sequence[Any]], state: np.ndarray | None = None) -> np.ndarray:
    """State [2**n] after gates, each a Step or its fields, on |0...0> or on `state`."""
    if state is None:
        state = np.zeros(2**n, complex)
        state[0] = 1
    for gate in gates:
        state = apply(state, Step(*gate))
    return state


def unitary(n: int, gates: Iterable[Sequence[Any]]) -> np.ndarray:
    """Matrix [2**n, 2**n] of the gates."""
    return run(n, gates, np.eye(2**n, dtype=complex))
