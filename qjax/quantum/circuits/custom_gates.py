"""Gates that are not in the gate table. Their content is in `Gate.data`, which is part of their identity.

    unitary_gate(matrix)        data: the matrix, complex128
    diagonal_gate(phases)       data: the phases, float64
    permutation_gate(table)     data: the table, int64
    pauli_rotation_gate("XZ")   data: the letters
    barrier_gate(3)             data: the number of qubits, as text

Two such gates are equal if their bytes are equal.
"""

import copyreg
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, SupportsFloat

import numpy as np
import numpy.typing as npt

from qjax.checks import check, check_choice, fail
from qjax.quantum.circuits import gate_matrices as gm
from qjax.quantum.circuits.angle import Angle, as_index
from qjax.quantum.circuits.arguments import as_array
from qjax.quantum.circuits.gate import Gate, Steps, constant_fields
from qjax.quantum.circuits.gates import GATES, gate

# The dense matrix of a gate with a shorter form is built up to this many qubits: 12 take 256 MiB.
MAX_MATRIX_QUBITS = 12
# Largest entry of U U^dagger - 1 for a matrix that counts as unitary; one computed in float32 does.
UNITARY_TOLERANCE = 1e-6
# A phase within this of -pi is taken for +pi, so that rounding does not choose the branch of the power of -1.
_BRANCH_TOLERANCE = 1e-9


def unitary_gate(matrix: npt.ArrayLike) -> Gate:
    """Returns the gate of a unitary `[2**k, 2**k]`, whose first qubit is the most significant bit of the indices.

    Args:
      matrix: real or complex; the largest entry of U U^dagger - 1 may be `UNITARY_TOLERANCE`.

    Raises:
      UserError: the matrix is not square, its size is no power of 2 from 2 on, an entry is not finite, or it is not
        unitary.

    >>> unitary_gate([[0, 1], [1, 0]])
    Gate(name='unitary', num_qubits=1, num_angles=0)
    """
    array = as_array("matrix", matrix, np.complex128)
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    check(square, "matrix", "be square, `[2**k, 2**k]`", f"the shape {list(array.shape)}")
    _check_length("matrix", len(array))
    check(bool(np.isfinite(array).all()), "matrix", "hold finite numbers", "nan or infinity")
    deviation = max(_deviation(array), _deviation(array.conj().T))
    finding = f"a matrix with a largest entry of |U U^dagger - 1| of {deviation:.3g}"
    check(deviation <= UNITARY_TOLERANCE, "matrix", "be unitary", finding)
    return _unitary(array)


def diagonal_gate(phases: npt.ArrayLike) -> Gate:
    """Returns the gate that multiplies the amplitude of basis state i by exp(i phases[i]).

    Nothing of size 2**k x 2**k is built unless its `matrix()` is asked for, which is refused beyond
    `MAX_MATRIX_QUBITS` qubits.

    Args:
      phases: real, `[2**k]` with k at least 1, in radians; the first qubit is the most significant bit of i.

    Raises:
      UserError: the shape is another, or the numbers are not real and finite.

    >>> diagonal_gate([0, 0, 0, 3.14]).num_qubits
    2
    """
    given = as_array("phases", phases)
    check(given.dtype.kind in "iuf", "phases", "hold real numbers", str(given.dtype))
    check(given.ndim == 1, "phases", "have the shape [2**k]", f"the shape {list(given.shape)}")
    _check_length("phases", len(given))
    check(bool(np.isfinite(given).all()), "phases", "hold finite numbers", "nan or infinity")
    return _diagonal(given.astype(np.float64))


def permutation_gate(table: npt.ArrayLike) -> Gate:
    """Returns the gate that takes basis state |i> to |table[i]>.

    Its `matrix()` is refused beyond `MAX_MATRIX_QUBITS` qubits, as that of a `diagonal_gate` is.

    Args:
      table: integers `[2**k]` with k at least 1, each of 0 .. 2**k - 1 once; the first qubit is the most significant
        bit of an index.

    Raises:
      UserError: the shape is another, or the integers are not a permutation.

    >>> permutation_gate([0, 2, 1, 3]).inverse(())[0][0] == permutation_gate([0, 2, 1, 3])
    True
    """
    given = as_array("table", table)
    check(given.dtype.kind in "iu", "table", "hold integers", str(given.dtype))
    check(given.ndim == 1, "table", "have the shape [2**k]", f"the shape {list(given.shape)}")
    _check_length("table", len(given))
    wrong = np.flatnonzero(np.sort(given) != np.arange(len(given)))
    if len(wrong):
        expectation = f"hold each of 0..{len(given) - 1} once"
        fail("table", expectation, f"{np.sort(given)[wrong[0]]} where {wrong[0]} is due, in ascending order")
    return _permutation(given.astype(np.int64))


def pauli_rotation_gate(paulis: str) -> Gate:
    """Returns the gate with one angle exp(-i theta/2 P), P the product of the letters, one a qubit.

    It is rx, ry, rz, rxx, ryy, rzz or rzx under another name where those exist (Nielsen and Chuang 2010, section
    4.7.3, for products of more letters).

    Args:
      paulis: letters I, X, Y and Z, at least one of them not I; the first is for the first qubit.

    Raises:
      UserError: there are other letters, none, or only I.

    >>> pauli_rotation_gate("XZY")
    Gate(name='pauli_rotation', num_qubits=3, num_angles=1)
    """
    letters = isinstance(paulis, str) and paulis != "" and set(paulis) <= set("IXYZ")
    check(letters, "paulis", "be a text of the letters I, X, Y and Z", repr(paulis))
    check(
        set(paulis) != {"I"}, "paulis", "have a letter other than I (use 'gphase' for a global phase)", repr(paulis)
    )
    return _pauli_rotation(paulis)


def barrier_gate(num_qubits: int) -> Gate:
    """Returns the gate that does nothing: drawings and depths keep what is before it apart from what is after it.

    >>> barrier_gate(3).structure
    'barrier'

    Raises:
      UserError: `num_qubits` is not an integer of at least 1.
    """
    num_qubits = as_index("num_qubits", num_qubits)
    check(num_qubits >= 1, "num_qubits", "be an integer of at least 1", num_qubits)
    return _barrier(num_qubits)


def power_gate(gate: Gate, angles: Sequence[SupportsFloat], exponent: SupportsFloat) -> Gate:
    """Returns the gate U**exponent, the principal power: e^(i a) becomes e^(i a exponent), a in (-pi, pi].

    A diagonal gate stays one, a permutation does where `exponent` is a whole number, and any other becomes a
    `unitary_gate`. Powers of one gate multiply as they should: U**a U**b = U**(a + b).

    Args:
      gate: any gate on at least one qubit; a barrier is returned as it is.
      angles: its angles, in radians.
      exponent: any real number.

    Raises:
      UserError: there is another number of angles, a number is not finite, the gate has no qubit, or its matrix would
        be larger than `MAX_MATRIX_QUBITS` allows.

    >>> from qjax.quantum import gate
    >>> to_json_data(power_gate(gate("s"), (), 2))
    [0.0, 3.141592653589793]
    """
    check(gate.num_qubits >= 1, "gate", "act on at least one qubit", f"'{gate.name}'")
    check(len(angles) == gate.num_angles, "angles", f"hold {gate.num_angles} angle(s) for gate '{gate.name}'", angles)
    power, *numbers = (float(number) for number in (exponent, *angles))
    check(bool(np.isfinite([power, *numbers]).all()), "exponent", "be finite, like the angles", (power, *numbers))
    if gate.structure == "barrier":
        return gate
    if gate.diagonal is not None:
        return _diagonal(_principal_phases(in_float64(gate.diagonal, numbers)) * power)
    if gate.permutation is not None and power.is_integer():
        return _permutation(_permutation_power(gate.permutation(), int(power)))
    values, vectors = gm.eigen_decomposition(in_float64(gate.matrix, numbers))
    powers = np.exp(1j * power * _principal_phases(values))
    return _unitary((vectors * powers) @ vectors.conj().T)


def is_custom(gate: Gate) -> bool:
    """Whether the gate is one of this module's."""
    return gate.name in _FROM_JSON


def to_json_data(gate: Gate) -> Any:
    """Returns the content of a gate of this module as JSON holds it; numbers keep every digit.

    A matrix becomes rows of [real, imaginary] pairs, phases and tables lists, letters a text, a barrier's width an
    integer.

    >>> to_json_data(permutation_gate([1, 0]))
    [1, 0]

    Raises:
      UserError: the gate is not one of this module's.
    """
    check_choice("gate", gate.name, _FROM_JSON)
    if gate.name == "unitary":
        return gate.matrix().view(np.float64).reshape(*gate.matrix().shape, 2).tolist()
    if gate.name == "diagonal":
        return np.frombuffer(gate.data, np.float64).tolist()
    if gate.name == "permutation":
        return np.frombuffer(gate.data, np.int64).tolist()
    return gate.data.decode() if gate.name == "pauli_rotation" else gate.num_qubits


def from_json_data(name: str, data: Any) -> Gate:
    """Returns the gate called `name` whose `to_json_data` is `data`.

    >>> from_json_data("pauli_rotation", "ZZ") == pauli_rotation_gate("ZZ")
    True

    Raises:
      UserError: the name is not one of this module's, or the data is not that of such a gate.
    """
    check_choice("gate", name, _FROM_JSON)
    return _FROM_JSON[name](data)


def _matrix_from_pairs(data: Any) -> Gate:
    pairs = as_array("data", data, np.float64)
    check(pairs.ndim == 3 and pairs.shape[-1] == 2, "data", "be rows of [real, imaginary] pairs", list(pairs.shape))
    return unitary_gate(pairs.view(np.complex128)[..., 0])


_FROM_JSON: dict[str, Callable[[Any], Gate]] = {
    "unitary": _matrix_from_pairs,
    "diagonal": diagonal_gate,
    "permutation": permutation_gate,
    "pauli_rotation": pauli_rotation_gate,
    "barrier": barrier_gate,
}


# Gates from content that has been checked. ------------------------------------------------------------------------


def _undone_by(gate: Callable[[], Gate]) -> Callable[[tuple[Angle, ...]], Steps]:
    """Returns the `inverse` of a gate that another one on the same qubits undoes, at its angles negated."""

    def inverse(angles: tuple[Angle, ...]) -> Steps:
        undo = gate()
        return ((undo, tuple(range(undo.num_qubits)), tuple(-angle for angle in angles)),)

    return inverse


def _unitary(matrix: np.ndarray) -> Gate:
    fields = constant_fields(matrix + 0.0)  # no -0.0, which has other bytes
    if fields["structure"] == "permutation":  # its name says a matrix, and the matrix is here
        fields = {"matrix": fields["matrix"], "structure": "dense"}
    stored = fields["matrix"]()

    inverse = _undone_by(lambda: _unitary(stored.conj().T))
    k = len(matrix).bit_length() - 1
    return Gate(name="unitary", num_qubits=k, num_angles=0, data=stored.tobytes(), inverse=inverse, **fields)


def _diagonal(phases: np.ndarray) -> Gate:
    k, data = len(phases).bit_length() - 1, (phases + 0.0).tobytes()
    phases = np.frombuffer(data, np.float64)

    def vector() -> np.ndarray:
        return np.exp(1j * phases)

    def matrix() -> np.ndarray:
        _check_matrix_size("diagonal", k)
        return np.diag(vector())

    fields: dict[str, Any] = {"structure": "diagonal", "matrix": matrix, "diagonal": vector}
    inverse = _undone_by(lambda: _diagonal(-phases))
    return Gate(name="diagonal", num_qubits=k, num_angles=0, data=data, inverse=inverse, **fields)


def _permutation(table: np.ndarray) -> Gate:
    k, data = len(table).bit_length() - 1, table.tobytes()
    table = np.frombuffer(data, np.int64)

    def matrix() -> np.ndarray:
        _check_matrix_size("permutation", k)
        whole = np.zeros((len(table), len(table)), np.complex128)
        whole[table, np.arange(len(table))] = 1
        return whole

    fields: dict[str, Any] = {"structure": "permutation", "matrix": matrix, "permutation": lambda: table}
    inverse = _undone_by(lambda: _permutation(np.argsort(table)))
    return Gate(name="permutation", num_qubits=k, num_angles=0, data=data, inverse=inverse, **fields)


def _pauli_rotation(paulis: str) -> Gate:
    k = len(paulis)

    def matrix(theta: Any) -> Any:
        _check_matrix_size("pauli_rotation", k)
        return gm.rotation(gm.pauli_product(paulis), theta)

    diagonal = partial(_z_rotation, paulis) if set(paulis) <= set("IZ") else None
    return Gate(
        name="pauli_rotation",
        num_qubits=k,
        num_angles=1,
        data=paulis.encode(),
        matrix=matrix,
        structure="dense" if diagonal is None else "diagonal",
        inverse=_undone_by(lambda: _pauli_rotation(paulis)),
        power_angles=(0,),
        exponents=((-0.5, 0.5),),
        diagonal=diagonal,
        source="Nielsen and Chuang 2010, section 4.7.3",
    )


def _z_rotation(paulis: str, theta: Any) -> Any:
    """Diagonal `[2**k, ...]` of a rotation about I and Z: e^(-i theta/2) where the Zs see an even number of 1s."""
    signs: np.ndarray = np.ones(1)
    for letter in paulis:
        signs = np.kron(signs, [1, -1] if letter == "Z" else [1, 1])
    return gm.phases(-0.5 * signs, theta)


def _barrier(k: int) -> Gate:
    def matrix() -> np.ndarray:
        _check_matrix_size("barrier", k)
        return np.eye(2**k, dtype=np.complex128)

    fields: dict[str, Any] = {"structure": "barrier", "matrix": matrix, "inverse": _undone_by(lambda: _barrier(k))}
    fields |= {"openqasm3": "barrier", "openqasm2": "barrier"}
    return Gate(name="barrier", num_qubits=k, num_angles=0, data=str(k).encode(), **fields)


# Pickling. ---------------------------------------------------------------------------------------------------


def _remade(kind: Gate) -> Any:
    """Pickles a gate as what makes it again, because its functions cannot be pickled."""
    if GATES.get(kind.name) == kind:
        return gate, (kind.name,)
    if is_custom(kind):
        return from_json_data, (kind.name, to_json_data(kind))
    return object.__reduce_ex__(kind, 2)


copyreg.pickle(Gate, _remade)


# Checks and algebra. ----------------------------------------------------------------------------------------


def _check_length(argument: str, size: int) -> None:
    power = size >= 2 and size & (size - 1) == 0
    check(power, argument, "have a length that is a power of 2, from 2 on", size)


def _check_matrix_size(name: str, k: int) -> None:
    finding = f"a gate '{name}' on {k} qubits"
    check(k <= MAX_MATRIX_QUBITS, "matrix", f"be asked for up to {MAX_MATRIX_QUBITS} qubits", finding)


def _deviation(matrix: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):  # of huge entries: infinity and NaN are no small deviation
        return float(np.abs(matrix @ matrix.conj().T - np.eye(len(matrix))).max())


def in_float64(function: Callable[..., Any], angles: Sequence[float]) -> np.ndarray:
    """The function's value in complex128, computed now also where a caller is being traced."""
    return np.asarray(function(*(np.float64(angle) for angle in angles)), np.complex128)


def _principal_phases(values: np.ndarray) -> np.ndarray:
    """Phases in (-pi, pi] of numbers on the unit circle."""
    phases = np.angle(values)
    return np.where(phases <= -np.pi + _BRANCH_TOLERANCE, np.pi, phases)


def _permutation_power(image: np.ndarray, exponent: int) -> np.ndarray:
    """The table of a permutation done `exponent` times, by repeated squaring."""
    square = image if exponent >= 0 else np.argsort(image)
    total, left = np.arange(len(image)), abs(exponent)
    while left:
        total = square[total] if left & 1 else total
        square, left = square[square], left >> 1
    return total
