"""What a gate is: its matrix, its inverse, and what else qjax knows about it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from qjax.quantum.circuits.angle import Angle

Structure = Literal["dense", "diagonal", "permutation", "barrier"]
MatrixFunction = Callable[..., Any]
# (gate, which of the qubits, angles) of each gate, in the order of application
Steps = tuple[tuple["Gate", tuple[int, ...], tuple[Angle, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One kind of gate. Two gates are equal when name, width, number of angles and content are.

    Attributes:
      name: lower-case name, the key of the table; the names of gates with content are in `custom_gates.py`.
      num_qubits: k, the qubits it acts on; only gphase has none.
      num_angles: real angles it takes, in radians.
      data: content of a gate that is not in the table, such as the bytes of its matrix.
      matrix: function of `num_angles` real arrays of one shape `[...]` -> unitary `[2**k, 2**k, ...]`, NumPy's
        where the angles are, else JAX's. A gate without angles returns a NumPy complex128 constant `[2**k, 2**k]`
        that cannot be written to.
      structure: 'diagonal', 'permutation' (of basis states, no phases), 'dense' (anything else) or 'barrier' (does
        nothing; gates wait at it in drawings and depths).
      inverse: function of the angles -> the gates that undo this one, as (gate, which of this gate's qubits, angles),
        in the order of application.
      power_angles: which angles are multiplied when the gate is raised to a power; None where that is not enough.
      exponents: for each angle t, in ascending order, all m such that e^(i m t) is in some entry of the matrix: these
        are what parameter-shift rules (Wierichs et al. 2022, arXiv:2107.12390) and the Fourier series of a model
        (Schuld et al. 2021, arXiv:2008.08605) are made from.
      diagonal: of a 'diagonal' gate, function of the angles -> diagonal `[2**k, ...]`; else None.
      permutation: of a 'permutation' gate, function without arguments -> NumPy integers `[2**k]`: |i> becomes
        |permutation()[i]>; else None.
      qiskit: name of the class in `qiskit.circuit.library`, which takes the angles in the same order; None for gates
        with content.
      openqasm3: name in OpenQASM 3's `stdgates.inc`, or of the language's own `gphase` and `barrier`; None where
        there is none, or where it has another global phase.
      openqasm2: name in Qiskit's `qelib1.inc` for OpenQASM 2 (Cross et al. 2017, arXiv:1707.03429), where a global
        phase has no meaning; None where there is none.
      source: where the definition comes from.
    """

    name: str
    num_qubits: int
    num_angles: int
    data: bytes = field(default=b"", repr=False)
    matrix: MatrixFunction = field(compare=False, repr=False)
    structure: Structure = field(compare=False, repr=False)
    inverse: Callable[[tuple[Angle, ...]], Steps] = field(compare=False, repr=False)
    power_angles: tuple[int, ...] | None = field(default=None, compare=False, repr=False)
    exponents: tuple[tuple[float, ...], ...] = field(default=(), compare=False, repr=False)
    diagonal: MatrixFunction | None = field(default=None, compare=False, repr=False)
    permutation: Callable[[], np.ndarray] | None = field(default=None, compare=False, repr=False)
    qiskit: str | None = field(default=None, compare=False, repr=False)
    openqasm3: str | None = field(default=None, compare=False, repr=False)
    openqasm2: str | None = field(default=None, compare=False, repr=False)
    source: str = field(default="", compare=False, repr=False)

    @property
    def is_real(self) -> bool:
        """Whether the matrix is real at every angle, so that real amplitudes stay real."""
        if not self.num_angles:
            if self.structure in ("permutation", "barrier"):
                return True
            constant = self.matrix() if self.diagonal is None else self.diagonal()
            return not np.any(constant.imag)
        letters = self.data.decode() if self.name == "pauli_rotation" else {"ry": "Y", "cry": "Y"}.get(self.name, "")
        return letters.count("Y") % 2 == 1  # exp(-i theta/2 P) is real where P is imaginary


def constant_fields(matrix: np.ndarray) -> dict[str, Any]:
    """Returns the fields of a gate that follow from a constant matrix `[2**k, 2**k]`."""
    matrix = _read_only(np.array(matrix, np.complex128))
    fields: dict[str, Any] = {"matrix": lambda: matrix, "structure": "dense"}
    if np.array_equal(matrix, np.diag(np.diag(matrix))):
        vector = _read_only(np.diag(matrix).copy())
        fields |= {"structure": "diagonal", "diagonal": lambda: vector}
    elif np.all((matrix == 0) | (matrix == 1)):
        image = _read_only(np.argmax(matrix.real, axis=0))
        fields |= {"structure": "permutation", "permutation": lambda: image}
    return fields


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
