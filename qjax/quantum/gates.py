"""The gate table: everything qjax knows about each gate, in one place.

Qubit 0 of a gate, its first one, is the most significant bit of its matrix: CX, with the control first, is
[[1,0,0,0],[0,1,0,0],[0,0,0,1],[0,0,1,0]]. Definitions follow the OpenQASM 3 standard library (Cross et al. 2022,
arXiv:2104.14722, `stdgates.inc`) without its global phases, and Qiskit's circuit library for the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from qjax.checks import check, check_choice
from qjax.types import Array

Structure = Literal["dense", "diagonal", "permutation"]
MatrixFunction = Callable[..., Any]


@dataclass(frozen=True)
class Gate:
    """One kind of gate. Two gates are equal when name, width and number of angles are.

    Attributes:
      name: lower-case name, the key of the table.
      num_qubits: qubits it acts on.
      num_angles: real angles it takes, in radians.
      matrix: function of `num_angles` real arrays of one shape `[...]` -> unitary `[2**k, 2**k, ...]`. A gate without
        angles returns a NumPy complex128 constant `[2**k, 2**k]`.
      structure: 'diagonal', 'permutation' (of basis states, no phases) or 'dense' (anything else).
      inverse: gates whose product, in the order of application, undoes this one: (name, which of this gate's qubits).
        All angles change their sign.
      qiskit: method of Qiskit's `QuantumCircuit` that appends it.
      openqasm: its name in OpenQASM 3's `stdgates.inc`; None where that file has no such gate.
      source: where the definition comes from.
    """

    name: str
    num_qubits: int
    num_angles: int
    matrix: MatrixFunction = field(compare=False, repr=False)
    structure: Structure = field(compare=False, repr=False)
    inverse: tuple[tuple[str, tuple[int, ...]], ...] = field(compare=False, repr=False)
    qiskit: str = field(compare=False, repr=False)
    openqasm: str | None = field(compare=False, repr=False)
    source: str = field(compare=False, repr=False)


# Constant matrices. -----------------------------------------------------------------------------------------

_I = np.eye(2, dtype=np.complex128)
_X = np.array([[0, 1], [1, 0]], np.complex128)
_Y = np.array([[0, -1j], [1j, 0]], np.complex128)
_Z = np.diag([1, -1]).astype(np.complex128)
_H = np.array([[1, 1], [1, -1]], np.complex128) / np.sqrt(2)
_S = np.diag([1, 1j])
_T = np.diag([1, np.exp(0.25j * np.pi)])
_SX = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2
_ONE = np.diag([0, 1]).astype(np.complex128)  # projector on |1>
_SWAP = np.eye(4, dtype=np.complex128)[[0, 2, 1, 3]]
_ISWAP = np.array([[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]])


def _controlled_constant(matrix: np.ndarray) -> np.ndarray:
    dim = len(matrix)
    return np.block([[np.eye(dim), np.zeros((dim, dim))], [np.zeros((dim, dim)), matrix]]).astype(np.complex128)


# Matrices with an angle: theta [...] -> [d, d, ...]. --------------------------------------------------------


def _weighted(constant: np.ndarray, weight: Array) -> Array:
    """Real `[d, d]` times real `[...]` -> `[d, d, ...]`, in the dtype of the weight."""
    spread = np.asarray(constant, weight.dtype).reshape(constant.shape + (1,) * weight.ndim)
    return jnp.multiply(spread, weight[None, None])


def _rotation(generator: np.ndarray, theta: ArrayLike) -> Array:
    """exp(-i theta G / 2) = cos(theta/2) I - i sin(theta/2) G for a generator with G G = I."""
    cos, sin = jnp.cos(theta / 2), jnp.sin(theta / 2)
    minus_i_g = -1j * generator
    real = _weighted(np.eye(len(generator)), cos) + _weighted(minus_i_g.real, sin)
    return lax.complex(real, _weighted(minus_i_g.imag, sin))


def _phase(projector: np.ndarray, theta: ArrayLike) -> Array:
    """exp(i theta P) = I - P + e^(i theta) P for a projector P that is diagonal."""
    one = projector.real
    rest = _weighted(np.eye(len(one)) - one, jnp.ones_like(theta))
    return lax.complex(rest + _weighted(one, jnp.cos(theta)), _weighted(one, jnp.sin(theta)))


def _controlled(target: MatrixFunction, *angles: ArrayLike) -> Array:
    """Block matrix of the identity and the target's matrix: the control is the first qubit."""
    block = target(*angles)
    dim = block.shape[0]
    padded = jnp.pad(block, ((dim, 0), (dim, 0)) + ((0, 0),) * (block.ndim - 2))
    identity = np.diag([1] * dim + [0] * dim).astype(padded.dtype)
    return padded + identity.reshape(identity.shape + (1,) * (block.ndim - 2))


# The table. -------------------------------------------------------------------------------------------------

_QASM = "Cross et al. 2022, OpenQASM 3, stdgates.inc"
_QISKIT = "Qiskit circuit library"


def _constant_gate(
    name: str,
    matrix: np.ndarray,
    structure: Structure,
    *,
    inverse: str = "",
    qiskit: str = "",
    openqasm: str | None = "",
    source: str = _QASM,
) -> Gate:
    """A gate without angles; its own inverse and called the same elsewhere unless said otherwise."""
    matrix = np.array(matrix)
    matrix.setflags(write=False)
    k = len(matrix).bit_length() - 1
    undo = ((inverse or name, tuple(range(k))),)
    called = name if openqasm == "" else openqasm
    return Gate(name, k, 0, lambda: matrix, structure, undo, qiskit or name, called, source)


def _angle_gate(
    name: str,
    k: int,
    matrix: MatrixFunction,
    structure: Structure,
    *,
    openqasm: str | None = "",
    source: str = _QASM,
) -> Gate:
    """A gate with one angle, undone by the opposite angle."""
    called = name if openqasm == "" else openqasm
    return Gate(name, k, 1, matrix, structure, ((name, tuple(range(k))),), name, called, source)


_RX, _RY, _RZ = partial(_rotation, _X), partial(_rotation, _Y), partial(_rotation, _Z)
_P = partial(_phase, _ONE)
# ISWAP squared is Z on both qubits, so Z Z ISWAP undoes ISWAP.
_UNDO_ISWAP = (("z", (0,)), ("z", (1,)), ("iswap", (0, 1)))

GATES: dict[str, Gate] = {
    row.name: row
    for row in (
        _constant_gate("i", _I, "diagonal", qiskit="id", openqasm="id"),
        _constant_gate("x", _X, "permutation"),
        _constant_gate("y", _Y, "dense"),
        _constant_gate("z", _Z, "diagonal"),
        _constant_gate("h", _H, "dense"),
        _constant_gate("s", _S, "diagonal", inverse="sdg"),
        _constant_gate("sdg", _S.conj(), "diagonal", inverse="s"),
        _constant_gate("t", _T, "diagonal", inverse="tdg"),
        _constant_gate("tdg", _T.conj(), "diagonal", inverse="t"),
        _constant_gate("sx", _SX, "dense", inverse="sxdg"),
        _constant_gate("sxdg", _SX.conj().T, "dense", inverse="sx", openqasm=None, source=_QISKIT),
        _angle_gate("p", 1, _P, "diagonal"),
        _angle_gate("rx", 1, _RX, "dense"),
        _angle_gate("ry", 1, _RY, "dense"),
        _angle_gate("rz", 1, _RZ, "diagonal"),
        _constant_gate("cx", _controlled_constant(_X), "permutation"),
        _constant_gate("cy", _controlled_constant(_Y), "dense"),
        _constant_gate("cz", _controlled_constant(_Z), "diagonal"),
        _constant_gate("ch", _controlled_constant(_H), "dense"),
        _angle_gate("cp", 2, partial(_controlled, _P), "diagonal"),
        _angle_gate("crx", 2, partial(_controlled, _RX), "dense"),
        _angle_gate("cry", 2, partial(_controlled, _RY), "dense"),
        _angle_gate("crz", 2, partial(_controlled, _RZ), "diagonal"),
        _constant_gate("swap", _SWAP, "permutation"),
        Gate("iswap", 2, 0, lambda: _ISWAP, "dense", _UNDO_ISWAP, "iswap", None, _QISKIT),
        _angle_gate("rxx", 2, partial(_rotation, np.kron(_X, _X)), "dense", openqasm=None, source=_QISKIT),
        _angle_gate("ryy", 2, partial(_rotation, np.kron(_Y, _Y)), "dense", openqasm=None, source=_QISKIT),
        _angle_gate("rzz", 2, partial(_rotation, np.kron(_Z, _Z)), "diagonal", openqasm=None, source=_QISKIT),
    )
}


def gate(name: str) -> Gate:
    """Returns the gate called `name` (lower case).

    Raises:
      UserError: there is no such gate; the nearest name and all of them are listed.
    """
    check(isinstance(name, str), "name", "be the name of a gate", name, GATES)
    check_choice("name", name, GATES)
    return GATES[name]
