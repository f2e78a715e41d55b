"""What can be measured: Pauli strings and sums, Hermitian matrices and projectors, as frozen, hashable data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from qjax.checks import check, fail
from qjax.quantum.circuits.angle import as_index, as_tuple
from qjax.quantum.circuits.arguments import as_array
from qjax.quantum.measure.pauli import PauliString as PauliString
from qjax.quantum.measure.pauli import PauliSum as PauliSum
from qjax.quantum.measure.pauli import check_small

# How far a matrix may be from Hermitian, or a vector from length 1: the rounding of float32 input.
TOLERANCE = 1e-5


@dataclass(frozen=True, init=False)
class Hermitian:
    """Any Hermitian matrix on some of the qubits, identity on the others.

    >>> Hermitian([[1, 1j], [-1j, 0]], qubits=[2], num_qubits=3)
    Hermitian(num_qubits=3, qubits=(2,))
    """

    num_qubits: int
    qubits: tuple[int, ...]
    data: bytes = field(repr=False)

    def __init__(self, matrix: ArrayLike, qubits: Sequence[int] | None = None, num_qubits: int | None = None) -> None:
        """Checks the matrix and keeps it as the bytes of its complex128 entries.

        Args:
          matrix: `[2**k, 2**k]`, equal to its conjugate transpose up to rounding.
          qubits: k of them, the first as the most significant bit of the matrix; by default 0 to k-1.
          num_qubits: of the whole observable; by default the largest of `qubits` plus one.

        Raises:
          UserError: the matrix is not square with a power of two, not finite or not Hermitian, or does not fit.
        """
        array = as_array("matrix", matrix, np.complex128)
        k = len(array).bit_length() - 1 if array.ndim else 0
        square = k >= 1 and array.shape == (2**k, 2**k)
        check(square, "matrix", "have shape [2**k, 2**k] with k of at least 1", f"shape {list(array.shape)}")
        check(bool(np.isfinite(array).all()), "matrix", "hold finite numbers", "inf or nan")
        away = float(np.abs(array - array.conj().T).max())
        hermitian = away <= TOLERANCE * max(1.0, float(np.abs(array).max()))
        check(hermitian, "matrix", "equal its conjugate transpose", f"a difference of up to {away:.1e}")
        width, places = _place(k, qubits, num_qubits)
        object.__setattr__(self, "num_qubits", width)
        object.__setattr__(self, "qubits", places)
        object.__setattr__(self, "data", _as_bytes((array + array.conj().T) / 2))

    @property
    def local_matrix(self) -> np.ndarray:
        """The matrix on `qubits` alone, `[2**k, 2**k]` complex128."""
        return np.frombuffer(self.data, np.complex128).reshape(2 ** len(self.qubits), -1)

    def matrix(self) -> np.ndarray:
        """Returns the matrix on all qubits, `[2**n, 2**n]`; for at most `MAX_MATRIX_QUBITS` (UserError)."""
        return _embed(self)


@dataclass(frozen=True)
class Projector:
    """A projector on some outcomes of some qubits, or on a pure state of them; its expectation is a probability.

    Made by `from_bits` or `from_state`.

    Attributes:
      num_qubits: of the whole observable.
      qubits: k of them, the first as the most significant bit of an outcome.
      outcomes: the outcomes in ascending order; () where it projects on a state.
      data: bytes of that state, `[2**k]` in complex128; empty where it projects on outcomes.
    """

    num_qubits: int
    qubits: tuple[int, ...]
    outcomes: tuple[int, ...] = ()
    data: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        given = as_tuple("qubits", self.qubits)
        num_qubits, qubits = _place(len(given), given, self.num_qubits)
        outcomes = tuple(sorted({as_index("outcomes", outcome) for outcome in as_tuple("outcomes", self.outcomes)}))
        inside = not outcomes or outcomes[-1] < 2 ** len(qubits)
        check(inside, "outcomes", f"be in 0..{2 ** len(qubits) - 1}", outcomes)
        one_kind = len(self.data) == (0 if outcomes else 16 * 2 ** len(qubits))
        check(one_kind, "outcomes", "hold at least one, or `data` one state and no outcome", outcomes)
        object.__setattr__(self, "num_qubits", num_qubits)
        object.__setattr__(self, "qubits", qubits)
        object.__setattr__(self, "outcomes", outcomes)

    @staticmethod
    def from_bits(
        bits: str | Iterable[str], qubits: Sequence[int] | None = None, num_qubits: int | None = None
    ) -> "Projector":
        """Projects on measuring `qubits` with one of the given results.

        >>> Projector.from_bits(["01", "10"], qubits=(0, 2), num_qubits=3)
        Projector(num_qubits=3, qubits=(0, 2), outcomes=(1, 2))

        Args:
          bits: text of k times 0 or 1, or several of them.
          qubits: k of them, in the order of the text; by default 0 to k-1.
          num_qubits: of the whole observable; by default the largest of `qubits` plus one.

        Raises:
          UserError: the bits are not such text, or the qubits do not fit.
        """
        texts = (bits,) if isinstance(bits, str) else tuple(bits)
        check(len(texts) > 0, "bits", "hold at least one text of 0 and 1", texts)
        for text in texts:
            valid = set(text) <= {"0", "1"} and text != ""
            check(valid, "bits", "be text of 0 and 1", repr(text))
            check(len(text) == len(texts[0]), "bits", "be of one length", repr(texts))
        width, places = _place(len(texts[0]), qubits, num_qubits)
        return Projector(width, places, tuple(int(text, 2) for text in texts))

    @staticmethod
    def from_state(
        vector: ArrayLike, qubits: Sequence[int] | None = None, num_qubits: int | None = None
    ) -> "Projector":
        """Projects `qubits` on a pure state; the expectation is the fidelity with it.

        Args:
          vector: `[2**k]`, of length 1 up to rounding.
          qubits: k of them, the first as the most significant bit; by default 0 to k-1.
          num_qubits: of the whole observable; by default the largest of `qubits` plus one.

        Raises:
          UserError: the vector has another shape or length, or the qubits do not fit.
        """
        array = as_array("vector", vector, np.complex128)
        k = len(array).bit_length() - 1 if array.ndim else 0
        flat = k >= 1 and array.shape == (2**k,)
        check(flat, "vector", "have shape [2**k] with k of at least 1", f"shape {list(array.shape)}")
        length = float(np.linalg.norm(array))
        check(abs(length - 1) <= TOLERANCE, "vector", "have length 1", f"length {length:g}")
        width, places = _place(k, qubits, num_qubits)
        return Projector(width, places, data=_as_bytes(array / length))

    @property
    def vector(self) -> np.ndarray | None:
        """The state that it projects on, `[2**k]` complex128; None where it projects on outcomes."""
        return np.frombuffer(self.data, np.complex128) if self.data else None

    @property
    def local_matrix(self) -> np.ndarray:
        """The matrix on `qubits` alone, `[2**k, 2**k]` complex128."""
        vector = self.vector
        if vector is not None:
            return np.outer(vector, vector.conj())
        return np.diag(np.isin(np.arange(2 ** len(self.qubits)), self.outcomes).astype(np.complex128))

    def matrix(self) -> np.ndarray:
        """Returns the matrix on all qubits, `[2**n, 2**n]`; for at most `MAX_MATRIX_QUBITS` (UserError)."""
        return _embed(self)


Observable = PauliString | PauliSum | Hermitian | Projector
# What may be asked for: one observable or several, Pauli strings also as their letters.
Observables = str | Observable | Sequence[str | Observable]


def z_observables(num_qubits: int) -> tuple[PauliString, ...]:
    """Returns Z on each qubit in turn: ZII, IZI, IIZ for 3 qubits."""
    num_qubits = as_index("num_qubits", num_qubits, 1)
    return tuple(PauliString("I" * q + "Z" + "I" * (num_qubits - q - 1)) for q in range(num_qubits))


def check_observables(observables: Observables, num_qubits: int) -> tuple[Observable, ...]:
    """Returns the observables as a tuple, or raises unless they are at least one, all on `num_qubits` qubits.

    Args:
      observables: one alone, or a sequence; a text is the Pauli string of its letters.
      num_qubits: on which all have to be.

    Raises:
      UserError: they are none, or one is of another type or number of qubits.
    """
    given = (observables,) if isinstance(observables, str | Observable) else as_tuple("observables", observables)
    items = tuple(PauliString(item) if isinstance(item, str) else item for item in given)
    check(len(items) > 0, "observables", "hold at least one observable", items)
    for item in items:
        if not isinstance(item, Observable):
            fail("observables", "hold PauliString, PauliSum, Hermitian or Projector", item)
        pauli = isinstance(item, PauliString | PauliSum)
        expectation = f"have {num_qubits} letters, one a qubit" if pauli else f"be on {num_qubits} qubits"
        check(item.num_qubits == num_qubits, "observables", expectation, repr(str(item)) if pauli else item)
    return items


def _place(k: int, qubits: Sequence[int] | None, num_qubits: int | None) -> tuple[int, tuple[int, ...]]:
    """Returns number of qubits and the qubits of something on k of them, defaults filled in."""
    chosen = range(k) if qubits is None else as_tuple("qubits", qubits)
    places = tuple(as_index("qubits", q) for q in chosen)
    distinct = len(places) == k >= 1 and len(set(places)) == k
    check(distinct, "qubits", f"hold {max(k, 1)} distinct integer(s)", places)
    width = max(places) + 1 if num_qubits is None else as_index("num_qubits", num_qubits)
    check(max(places) < width, "qubits", f"hold distinct integers in 0..{width - 1}", places)
    return width, places


def _as_bytes(array: np.ndarray) -> bytes:
    """Returns the entries as bytes, equal for equal arrays: adding 0 makes each -0 a 0."""
    return (array + 0.0).astype(np.complex128).tobytes()


def _embed(observable: Hermitian | Projector) -> np.ndarray:
    """Returns the matrix `[2**n, 2**n]` of what acts on some qubits: identity on the others."""
    n, k = observable.num_qubits, len(observable.qubits)
    check_small(n)
    full = np.kron(observable.local_matrix, np.eye(2 ** (n - k))).reshape((2,) * (2 * n))
    order = [*observable.qubits, *(q for q in range(n) if q not in observable.qubits)]
    axes = [order.index(q) for q in range(n)]
    return full.transpose([*axes, *(n + axis for axis in axes)]).reshape(2**n, -1)
