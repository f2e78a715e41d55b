"""Matrices of the workloads' gates, for the reference and for peers that take matrices.

`xp` is the array module: numpy or jax.numpy. The first qubit is the most significant bit.
"""

from typing import Any

import numpy as np

_ROOT = 2**-0.5
PAULIS = {
    "x": np.array([[0, 1], [1, 0]], np.complex128),
    "y": np.array([[0, -1j], [1j, 0]], np.complex128),
    "z": np.diag([1, -1]).astype(np.complex128),
}
FIXED = PAULIS | {
    "h": np.array([[_ROOT, _ROOT], [_ROOT, -_ROOT]], np.complex128),
    "s": np.diag([1, 1j]),
    "sdg": np.diag([1, -1j]),
    "t": np.diag([1, np.exp(0.25j * np.pi)]),
    "tdg": np.diag([1, np.exp(-0.25j * np.pi)]),
    "sx": np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2,
    "sxdg": np.array([[1 - 1j, 1 + 1j], [1 + 1j, 1 - 1j]]) / 2,
    "swap": np.eye(4, dtype=np.complex128)[[0, 2, 1, 3]],
    "iswap": np.array([[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]], np.complex128),
    "dcx": np.eye(4, dtype=np.complex128)[[0, 2, 3, 1]],
    "ecr": _ROOT * (np.kron(PAULIS["x"], np.eye(2)) - np.kron(PAULIS["y"], PAULIS["x"])),
    "rccx": np.diag([1, 1, 1, 1, 1, -1, 0, 0]).astype(np.complex128)
    + np.pad(np.array([[0, -1j], [1j, 0]]), ((6, 0), (6, 0))),
}


def gate_matrix(xp: Any, gate: str, angles: tuple[Any, ...]) -> Any:
    """Returns the matrix `[2**k, 2**k]` of a gate at scalar angles."""
    if gate in FIXED:
        return FIXED[gate]
    if gate == "p":
        return _square(xp, 1 + 0 * angles[0], 0 * angles[0], 0 * angles[0], xp.exp(1j * angles[0]))
    if gate == "u":
        return _u(xp, *angles)
    if gate == "r":
        return _u(xp, angles[0], angles[1] - np.pi / 2, np.pi / 2 - angles[1])
    if gate == "cu":
        return _controlled(xp, xp.exp(1j * angles[3]) * _u(xp, *angles[:3]))
    if gate.startswith("c"):
        return _controlled(xp, gate_matrix(xp, gate[1:], angles))
    cos, sin = xp.cos(angles[0] / 2), xp.sin(angles[0] / 2)
    if gate in ("xx_plus_yy", "xx_minus_yy"):
        low, high = (1, 2) if gate == "xx_plus_yy" else (3, 0)
        one, other = _unit(low, high), _unit(high, low)
        turned = -1j * sin * (xp.exp(1j * angles[1]) * one + xp.exp(-1j * angles[1]) * other)
        both = _unit(low, low) + _unit(high, high)
        return np.eye(4) - both + cos * both + turned
    pauli = PAULIS[gate[1]] if len(gate) == 2 else np.kron(PAULIS[gate[1]], PAULIS[gate[2]])
    return cos * xp.eye(len(pauli)) - 1j * sin * xp.asarray(pauli)  # rx, ry, rz, rxx, ryy, rzz, rzx


def _u(xp: Any, theta: Any, phi: Any, lam: Any) -> Any:
    cos, sin = xp.cos(theta / 2), xp.sin(theta / 2)
    first, second = xp.exp(1j * phi), xp.exp(1j * lam)
    return _square(xp, cos + 0j, -second * sin, first * sin, first * second * cos)


def _square(xp: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    return xp.stack([xp.stack([a + 0j, b + 0j]), xp.stack([c + 0j, d + 0j])])


def _controlled(xp: Any, matrix: Any) -> Any:
    size = len(matrix)
    return xp.asarray(np.diag([1.0] * size + [0.0] * size)) + xp.kron(xp.asarray(np.diag([0, 1])), matrix)


def _unit(row: int, column: int) -> np.ndarray:
    out = np.zeros((4, 4))
    out[row, column] = 1
    return out
