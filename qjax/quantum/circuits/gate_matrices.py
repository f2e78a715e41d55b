"""The matrices behind the gate table: NumPy constants, and functions of real angles.

Angles of one call have one shape `[...]`, which comes after the axes of the matrix: `[d, d, ...]`, or `[d, ...]` for
a diagonal. The first qubit of a matrix is the most significant bit of its indices. float32 angles give complex64,
float64 angles complex128; NumPy's angles give NumPy's arrays, computed at once, and any others JAX's.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

# Constant matrices. -----------------------------------------------------------------------------------------

I = np.eye(2, dtype=np.complex128)  # noqa: E741
X = np.array([[0, 1], [1, 0]], np.complex128)
Y = np.array([[0, -1j], [1j, 0]], np.complex128)
Z = np.diag([1, -1]).astype(np.complex128)
H = np.array([[1, 1], [1, -1]], np.complex128) / np.sqrt(2)
S = np.diag([1, 1j])
T = np.diag([1, np.exp(0.25j * np.pi)])
SX = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2
SWAP = np.eye(4, dtype=np.complex128)[[0, 2, 1, 3]]
ISWAP = np.array([[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]])
# CX with the first qubit as control, then CX with the second: |10> -> |11> -> |01>.
DCX = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0]], np.complex128)
ECR = (np.kron(X, I) - np.kron(Y, X)) / np.sqrt(2)

PAULIS = {"I": I, "X": X, "Y": Y, "Z": Z}


def block_diagonal(*blocks: np.ndarray) -> np.ndarray:
    """Returns the square matrix with `blocks` along its diagonal and zeros elsewhere."""
    dim = sum(len(block) for block in blocks)
    whole = np.zeros((dim, dim), np.complex128)
    start = 0
    for block in blocks:
        whole[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    return whole


def controlled(matrix: np.ndarray, num_controls: int = 1) -> np.ndarray:
    """Returns the matrix that acts where all of `num_controls` qubits, put first, are 1."""
    dim = len(matrix)
    return block_diagonal(np.eye(dim * (2**num_controls - 1)), matrix)


def pauli_product(paulis: str) -> np.ndarray:
    """Returns the Kronecker product of the letters I, X, Y and Z, the first as the most significant qubit."""
    whole: np.ndarray = np.ones((1, 1), np.complex128)
    for letter in paulis:
        whole = np.kron(whole, PAULIS[letter])
    return whole


# Functions of angles. ---------------------------------------------------------------------------------------


def rotation(generator: np.ndarray, theta: ArrayLike) -> Any:
    """exp(-i theta G / 2) = cos(theta/2) - i sin(theta/2) G for a generator with G G = 1, `[d, d, ...]`."""
    numpy = _numpy_of(theta)
    cos, sin = _cos_sin(numpy.asarray(theta) / 2)
    minus_i_g = -1j * generator
    real = _spread(np.eye(len(generator)), cos) + _spread(minus_i_g.real, sin)
    return _complex(real, _spread(minus_i_g.imag, sin))


def phases(weights: Sequence[float] | np.ndarray, theta: ArrayLike) -> Any:
    """exp(i w theta) for each weight w, `[d, ...]`; one sine and cosine for all weights of one size."""
    numpy = _numpy_of(theta)
    theta, column = numpy.asarray(theta), np.asarray(weights, np.float64)
    real: Any = 0.0
    imag: Any = 0.0
    for size in np.unique(np.abs(column)):
        chosen = np.abs(column) == size
        angle = theta if size == 1 else theta * float(size)
        real = real + _spread(chosen, numpy.cos(angle) if size else numpy.ones_like(theta))
        imag = imag + _spread(chosen * np.sign(column), numpy.sin(angle) if size else numpy.zeros_like(theta))
    return _complex(real, imag)


def diagonal_matrix(weights: Sequence[float] | np.ndarray, theta: ArrayLike) -> Any:
    """The diagonal matrix of `phases`, `[d, d, ...]`."""
    vector = phases(weights, theta)
    dim = vector.shape[0]
    eye = np.eye(dim, dtype=vector.dtype).reshape((dim, dim) + (1,) * (vector.ndim - 1))
    return vector[:, None] * eye


def u_matrix(theta: ArrayLike, phi: ArrayLike, lam: ArrayLike) -> Any:
    """[[cos t/2, -e^(i lam) sin t/2], [e^(i phi) sin t/2, e^(i (phi + lam)) cos t/2]], `[2, 2, ...]`.

    Phases are multiplied: a sum of large angles would be rounded.
    """
    numpy = _numpy_of(theta)
    half, phi, lam = numpy.asarray(theta) / 2, numpy.asarray(phi), numpy.asarray(lam)
    cos, sin = (_complex(x, numpy.zeros_like(x)) for x in (numpy.cos(half), numpy.sin(half)))
    left, right = (_complex(numpy.cos(x), numpy.sin(x)) for x in (phi, lam))
    return _stack(cos, -right * sin, left * sin, left * right * cos)


def u2_matrix(phi: ArrayLike, lam: ArrayLike) -> Any:
    """`u_matrix` with theta = pi/2."""
    return u_matrix(_numpy_of(phi).full_like(phi, np.pi / 2), phi, lam)


def phased_u_matrix(theta: ArrayLike, phi: ArrayLike, lam: ArrayLike, gamma: ArrayLike) -> Any:
    """e^(i gamma) times `u_matrix`: what the gate cu does to its target."""
    return phases((1.0,), gamma)[None] * u_matrix(theta, phi, lam)


def r_matrix(theta: ArrayLike, phi: ArrayLike) -> Any:
    """exp(-i theta/2 (cos phi X + sin phi Y)), `[2, 2, ...]`."""
    numpy = _numpy_of(theta)
    half, phi = numpy.asarray(theta) / 2, numpy.asarray(phi)
    cos, sin = numpy.cos(half), numpy.sin(half)
    along_x, along_y = sin * numpy.cos(phi), sin * numpy.sin(phi)
    zero = numpy.zeros_like(cos)
    return _complex(_stack(cos, -along_y, along_y, cos), _stack(zero, -along_x, -along_x, zero))


def controlled_block(block: Any) -> Any:
    """`[d, d, ...]` -> `[2 d, 2 d, ...]`: acts where one more qubit, put first, is 1."""
    return embedded(block, start=block.shape[0], step=1, dim=2 * block.shape[0])


def xx_plus_yy_matrix(theta: ArrayLike, beta: ArrayLike) -> Any:
    """exp(-i theta/4 (XX + YY)) between Rz(beta) and Rz(-beta) of the second qubit, `[4, 4, ...]`."""
    return embedded(r_matrix(theta, -_numpy_of(beta).asarray(beta)), start=1, step=1, dim=4)


def xx_minus_yy_matrix(theta: ArrayLike, beta: ArrayLike) -> Any:
    """exp(-i theta/4 (XX - YY)) between Rz(-beta) and Rz(beta) of the second qubit, `[4, 4, ...]`."""
    return embedded(r_matrix(theta, beta), start=0, step=3, dim=4)


def embedded(block: Any, *, start: int, step: int, dim: int) -> Any:
    """Puts `[d, d, ...]` on rows and columns start, start + step, ... of the identity of size `dim`."""
    rest = block.ndim - 2
    padded: Any
    places = range(start, start + step * block.shape[0], step)
    if isinstance(block, np.ndarray):
        padded = np.zeros((dim, dim, *block.shape[2:]), block.dtype)
        padded[np.ix_(places, places)] = block
    else:
        edge = (start, dim - 1 - places[-1], step - 1)
        padded = lax.pad(block, np.zeros((), block.dtype), (edge, edge) + ((0, 0, 0),) * rest)
    untouched = np.array([k not in places for k in range(dim)])
    return padded + np.diag(untouched).astype(block.dtype).reshape((dim, dim) + (1,) * rest)


def _numpy_of(angle: ArrayLike) -> Any:
    """Returns NumPy for an angle of NumPy, else JAX's NumPy."""
    return np if isinstance(angle, np.ndarray | np.generic) else jnp


def _complex(real: Any, imag: Any) -> Any:
    return real + 1j * imag if isinstance(real, np.ndarray | np.generic) else lax.complex(real, imag)


def _cos_sin(angles: Any) -> tuple[Any, Any]:
    """Returns cosine and sine. Without the barrier XLA would compute those of a batch again for each matrix entry."""
    numpy = _numpy_of(angles)
    both = numpy.cos(angles), numpy.sin(angles)
    return both if numpy is np or angles.shape[-1:] in ((), (1,)) else lax.optimization_barrier(both)  # type: ignore[no-untyped-call]


def _spread(constant: np.ndarray, weight: Any) -> Any:
    """Real `[d, ...]` or `[d, d]` times real `[...]`, in the dtype of the weight and with its axes last."""
    columns = _numpy_of(weight).asarray(constant, weight.dtype).reshape(constant.shape + (1,) * weight.ndim)
    return columns * weight.reshape((1,) * constant.ndim + weight.shape)


def _stack(a: Any, b: Any, c: Any, d: Any) -> Any:
    return _numpy_of(a).stack([a, b, c, d]).reshape(2, 2, *a.shape)


def eigen_decomposition(unitary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns eigenvalues `[d]` and orthonormal eigenvectors in columns `[d, d]` of a unitary matrix.

    `numpy.linalg.eig` gives no orthonormal vectors for eigenvalues that repeat. The Cayley transform
    H = i (1 - W) / (1 + W) takes e^(i t) to tan(t/2), so `eigh` of H has the vectors. W is the unitary times a phase
    that puts the widest gap between eigenvalues at -1, where the tangent would be infinite.
    """
    phases = np.sort(np.angle(np.linalg.eigvals(unitary)))
    gaps = np.diff(phases, append=phases[0] + 2 * np.pi)
    middle = phases[np.argmax(gaps)] + gaps.max() / 2
    rotated = unitary * np.exp(1j * (np.pi - middle))
    one = np.eye(len(unitary))
    hermitian = 1j * np.linalg.solve(one + rotated, one - rotated)
    vectors = np.linalg.eigh((hermitian + hermitian.conj().T) / 2)[1]
    return np.sum(vectors.conj() * (unitary @ vectors), axis=0), vectors
