"""Matrices of the workloads' gates, for the reference and for peers that take matrices.

`xp` is the array module: numpy or jax.numpy. The first qubit is the most significant bit.
"""

from typing import Any

import numpy as np

_ROOT = 2**-0.5
FIXED = {
    "h": np.array([[_ROOT, _ROOT], [_ROOT, -_ROOT]], np.complex128),
    "cx": np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], np.complex128),
    "cz": np.diag([1, 1, 1, -1]).astype(np.complex128),
    "iswap": np.array([[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]], np.complex128),
}


def gate_matrix(xp: Any, gate: str, angles: tuple[Any, ...]) -> Any:
    """Returns the matrix `[2**k, 2**k]` of a gate at scalar angles."""
    if gate in FIXED:
        return FIXED[gate]
    if gate == "u":
        return _u(xp, *angles)
    cos, sin = xp.cos(angles[0] / 2), xp.sin(angles[0] / 2)
    if gate == "rz":
        return xp.diag(xp.stack([cos - 1j * sin, cos + 1j * sin]))
    if gate == "rzz":
        low, high = cos - 1j * sin, cos + 1j * sin
        return xp.diag(xp.stack([low, high, high, low]))
    small = _square(xp, cos, -1j * sin, -1j * sin, cos) if gate in ("rx", "crx") else _square(xp, cos, -sin, sin, cos)
    if gate in ("rx", "ry"):
        return small + 0j
    corner = xp.asarray(np.kron(np.diag([1, 0]), np.eye(2)))
    return corner + xp.kron(xp.asarray(np.diag([0, 1])), small)  # crx, cry


def _u(xp: Any, theta: Any, phi: Any, lam: Any) -> Any:
    cos, sin = xp.cos(theta / 2), xp.sin(theta / 2)
    first, second = xp.exp(1j * phi), xp.exp(1j * lam)
    return _square(xp, cos + 0j, -second * sin, first * sin, first * second * cos)


def _square(xp: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    return xp.stack([xp.stack([a + 0j, b + 0j]), xp.stack([c + 0j, d + 0j])])
