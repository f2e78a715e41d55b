"""Dense NumPy algebra in float64, written from the definitions and independently of qjax's gate table.

Rotations are exponentials of their generators by `scipy.linalg.expm`, everything else is written out or built from
projectors; a gate on some qubits of n is a sum of Kronecker products.
"""

from collections.abc import Callable

import numpy as np
from scipy.linalg import expm

I2 = np.array([[1, 0], [0, 1]], complex)
X = np.array([[0, 1], [1, 0]], complex)
Y = np.array([[0, -1j], [1j, 0]], complex)
Z = np.array([[1, 0], [0, -1]], complex)
H = (X + Z) / np.sqrt(2)
P0, P1 = (I2 + Z) / 2, (I2 - Z) / 2
PAULIS = {"I": I2, "X": X, "Y": Y, "Z": Z}


def controlled(u: np.ndarray) -> np.ndarray:
    return np.kron(P0, I2) + np.kron(P1, u)


def root_of_x(sign: int) -> np.ndarray:
    """Principal square root of X (or its inverse): eigenvalues 1 and +-i in the X basis."""
    return H @ np.diag([1, sign * 1j]) @ H


CONSTANTS = {
    "i": I2, "x": X, "y": Y, "z": Z, "h": H,
    "s": np.diag([1, 1j]), "sdg": np.diag([1, -1j]),
    "t": np.diag([1, (1 + 1j) / np.sqrt(2)]), "tdg": np.diag([1, (1 - 1j) / np.sqrt(2)]),
    "sx": root_of_x(1), "sxdg": root_of_x(-1),
    "cx": controlled(X), "cy": controlled(Y), "cz": controlled(Z), "ch": controlled(H),
    "swap": (np.kron(I2, I2) + np.kron(X, X) + np.kron(Y, Y) + np.kron(Z, Z)) / 2,
    "iswap": expm(0.25j * np.pi * (np.kron(X, X) + np.kron(Y, Y))),
}  # fmt: skip
ROTATIONS: dict[str, Callable[[float], np.ndarray]] = {
    "p": lambda t: expm(1j * t * P1),
    "rx": lambda t: expm(-0.5j * t * X),
    "ry": lambda t: expm(-0.5j * t * Y),
    "rz": lambda t: expm(-0.5j * t * Z),
    "cp": lambda t: controlled(expm(1j * t * P1)),
    "crx": lambda t: controlled(expm(-0.5j * t * X)),
    "cry": lambda t: controlled(expm(-0.5j * t * Y)),
    "crz": lambda t: controlled(expm(-0.5j * t * Z)),
    "rxx": lambda t: expm(-0.5j * t * np.kron(X, X)),
    "ryy": lambda t: expm(-0.5j * t * np.kron(Y, Y)),
    "rzz": lambda t: expm(-0.5j * t * np.kron(Z, Z)),
}
WIDTHS = {name: len(m).bit_length() - 1 for name, m in CONSTANTS.items()} | {
    name: len(f(0.1)).bit_length() - 1 for name, f in ROTATIONS.items()
}


def matrix(name: str, angles: tuple[float, ...]) -> np.ndarray:
    return ROTATIONS[name](*angles) if angles else CONSTANTS[name]


def kron_all(factors: list[np.ndarray]) -> np.ndarray:
    total = np.eye(1, dtype=complex)
    for factor in factors:
        total = np.kron(total, factor)
    return total


def embed(u: np.ndarray, qubits: tuple[int, ...], n: int) -> np.ndarray:
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


def run(n: int, gates: list[tuple[str, tuple[int, ...], tuple[float, ...]]]) -> np.ndarray:
    """State [2**n] after gates (name, qubits, angles) on |0...0>."""
    state = np.zeros(2**n, complex)
    state[0] = 1
    for name, qubits, angles in gates:
        state = embed(matrix(name, angles), qubits, n) @ state
    return state


def pauli(text: str) -> np.ndarray:
    return kron_all([PAULIS[letter] for letter in text])
