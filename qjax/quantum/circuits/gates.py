"""The gate table: everything qjax knows about each gate, in one place.

The first qubit of a gate is the most significant bit of its matrix: CX, with the control first, is
[[1,0,0,0],[0,1,0,0],[0,0,0,1],[0,0,1,0]]. Definitions are those of Qiskit's circuit library, which agree with
OpenQASM 3's `stdgates.inc` (Cross et al. 2022, arXiv:2104.14722) where that file has the gate, but for the global
phase of u2 and u3. Gates that are not in the table are made by `custom_gates.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, SupportsIndex

import numpy as np

from qjax.checks import check, check_choice, fail
from qjax.quantum.circuits import gate_matrices as gm
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

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Pickles a gate as what makes it again, because its functions cannot be pickled."""
        from qjax.quantum.circuits.custom_gates import from_json_data, is_custom, to_json_data

        if GATES.get(self.name) == self:
            return gate, (self.name,)
        if is_custom(self):
            return from_json_data, (self.name, to_json_data(self))
        return super().__reduce_ex__(protocol)


# What the two standard files of OpenQASM have; a row is looked up by its name unless it says another.
_STDGATES = "id x y z h s sdg t tdg sx p u1 rx ry rz cx cy cz ch cp crx cry crz cu swap ccx cswap gphase"
_QELIB1 = (
    "id x y z h s sdg t tdg sx sxdg p rx ry rz u u1 u2 u3 cx cy cz ch csx cp crx cry crz cu cu1 cu3 swap rxx rzz "
    "ccx cswap rccx rc3x c3x c3sqrtx c4x"
)
_MASLOV = "Maslov 2016, arXiv:1508.03273"

# Exponents of one angle: of a rotation by half the angle, the same with a control, of a phase, and of a turned axis.
_HALF = (-0.5, 0.5)
_CONTROLLED_HALF = (-0.5, 0.0, 0.5)
_PHASE = (0.0, 1.0)
_AXIS = (-1.0, 0.0, 1.0)


def _names(name: str, qiskit: str, openqasm: str, source: str) -> dict[str, Any]:
    """The fields that say what a row is called elsewhere and where it comes from."""
    called = openqasm or name
    openqasm3 = called if called in _STDGATES.split() else None
    known = "OpenQASM 3, arXiv:2104.14722, stdgates.inc" if openqasm3 else f"Qiskit circuit library, {qiskit}"
    openqasm2 = called if called in _QELIB1.split() else None
    return {"qiskit": qiskit, "openqasm3": openqasm3, "openqasm2": openqasm2, "source": source or known}


def _fixed(
    name: str,
    matrix: np.ndarray,
    qiskit: str,
    undo: str | tuple[tuple[str, tuple[int, ...]], ...] = "",
    *,
    openqasm: str = "",
    source: str = "",
) -> Gate:
    """A gate without angles, undone by itself unless `undo` names another or several with their qubits."""
    k = len(matrix).bit_length() - 1
    steps = ((undo or name, tuple(range(k))),) if isinstance(undo, str) else undo

    def inverse(angles: tuple[Angle, ...]) -> Steps:
        return tuple((GATES[step], places, ()) for step, places in steps)

    return Gate(
        name=name,
        num_qubits=k,
        num_angles=0,
        inverse=inverse,
        **constant_fields(matrix),
        **_names(name, qiskit, openqasm, source),
    )


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


def _negate(*angles: Angle) -> tuple[Angle, ...]:
    return tuple(-angle for angle in angles)


def _turned(
    name: str,
    num_qubits: int,
    matrix: MatrixFunction,
    qiskit: str,
    exponents: Sequence[tuple[float, ...]],
    *,
    undo: Callable[..., tuple[Angle, ...]] = _negate,
    power_angles: tuple[int, ...] | None = (0,),
    diagonal: MatrixFunction | None = None,
) -> Gate:
    """A gate with an angle for each entry of `exponents`, undone by itself at the angles `undo(*angles)`."""

    def inverse(angles: tuple[Angle, ...]) -> Steps:
        return ((GATES[name], tuple(range(num_qubits)), undo(*angles)),)

    return Gate(
        name=name,
        num_qubits=num_qubits,
        num_angles=len(exponents),
        matrix=matrix,
        structure="dense" if diagonal is None else "diagonal",
        inverse=inverse,
        power_angles=power_angles,
        exponents=tuple(exponents),
        diagonal=diagonal,
        **_names(name, qiskit, "", ""),
    )


def _phase(name: str, weights: tuple[int | float, ...], qiskit: str) -> Gate:
    """The diagonal gate with the entries e^(i w angle), a weight w for each basis state."""
    matrix, diagonal = partial(gm.diagonal_matrix, weights), partial(gm.phases, weights)
    exponents = tuple(sorted(set(weights)))
    return _turned(name, len(weights).bit_length() - 1, matrix, qiskit, (exponents,), diagonal=diagonal)


def _controlled(target: MatrixFunction) -> MatrixFunction:
    """The function of the same angles whose matrix has one control more, put first."""
    return lambda *angles: gm.controlled_block(target(*angles))


_RX, _RY = partial(gm.rotation, gm.X), partial(gm.rotation, gm.Y)
_U_EXPONENTS = (_HALF, _PHASE, _PHASE)
_CU_EXPONENTS = (_CONTROLLED_HALF, _PHASE, _PHASE)
_RCCX = gm.block_diagonal(np.eye(4), gm.Z, gm.Y)
_RC3X = gm.block_diagonal(np.eye(12), 1j * gm.Z, 1j * gm.Y)


def _undo_u(theta: Angle, phi: Angle, lam: Angle, *gamma: Angle) -> tuple[Angle, ...]:
    return (-theta, -lam, -phi, *_negate(*gamma))


def _undo_u2(phi: Angle, lam: Angle) -> tuple[Angle, ...]:
    return (-lam - np.pi, -phi + np.pi)


def _undo_first(theta: Angle, axis: Angle) -> tuple[Angle, ...]:
    return (-theta, axis)


_ROWS = (
    # One qubit, no angle.
    _fixed("i", gm.I, "IGate", openqasm="id"),
    _fixed("x", gm.X, "XGate"),
    _fixed("y", gm.Y, "YGate"),
    _fixed("z", gm.Z, "ZGate"),
    _fixed("h", gm.H, "HGate"),
    _fixed("s", gm.S, "SGate", "sdg"),
    _fixed("sdg", gm.S.conj(), "SdgGate", "s"),
    _fixed("t", gm.T, "TGate", "tdg"),
    _fixed("tdg", gm.T.conj(), "TdgGate", "t"),
    _fixed("sx", gm.SX, "SXGate", "sxdg"),
    _fixed("sxdg", gm.SX.conj(), "SXdgGate", "sx"),
    # One qubit, with angles.
    _phase("p", (0.0, 1.0), "PhaseGate"),
    _turned("rx", 1, _RX, "RXGate", (_HALF,)),
    _turned("ry", 1, _RY, "RYGate", (_HALF,)),
    _phase("rz", (-0.5, 0.5), "RZGate"),
    _turned("u", 1, gm.u_matrix, "UGate", _U_EXPONENTS, undo=_undo_u, power_angles=None),
    _phase("u1", (0.0, 1.0), "U1Gate"),
    _turned("u2", 1, gm.u2_matrix, "U2Gate", (_PHASE, _PHASE), undo=_undo_u2, power_angles=None),
    _turned("u3", 1, gm.u_matrix, "U3Gate", _U_EXPONENTS, undo=_undo_u, power_angles=None),
    _turned("r", 1, gm.r_matrix, "RGate", (_HALF, _AXIS), undo=_undo_first),
    # Two qubits, no angle.
    _fixed("cx", gm.controlled(gm.X), "CXGate"),
    _fixed("cy", gm.controlled(gm.Y), "CYGate"),
    _fixed("cz", gm.controlled(gm.Z), "CZGate"),
    _fixed("ch", gm.controlled(gm.H), "CHGate"),
    _fixed("cs", gm.controlled(gm.S), "CSGate", "csdg"),
    _fixed("csdg", gm.controlled(gm.S.conj()), "CSdgGate", "cs"),
    _fixed("csx", gm.controlled(gm.SX), "CSXGate", (("cx", (0, 1)), ("csx", (0, 1)))),
    _fixed("swap", gm.SWAP, "SwapGate"),
    _fixed("iswap", gm.ISWAP, "iSwapGate", (("z", (0,)), ("z", (1,)), ("iswap", (0, 1)))),
    _fixed("dcx", gm.DCX, "DCXGate", (("dcx", (1, 0)),)),
    _fixed("ecr", gm.ECR, "ECRGate"),
    # Two qubits, with angles.
    _phase("cp", (0.0, 0.0, 0.0, 1.0), "CPhaseGate"),
    _turned("crx", 2, _controlled(_RX), "CRXGate", (_CONTROLLED_HALF,)),
    _turned("cry", 2, _controlled(_RY), "CRYGate", (_CONTROLLED_HALF,)),
    _phase("crz", (0.0, 0.0, -0.5, 0.5), "CRZGate"),
    _turned(
        "cu", 2, _controlled(gm.phased_u_matrix), "CUGate", (*_CU_EXPONENTS, _PHASE), undo=_undo_u, power_angles=None
    ),
    _phase("cu1", (0.0, 0.0, 0.0, 1.0), "CU1Gate"),
    _turned("cu3", 2, _controlled(gm.u_matrix), "CU3Gate", _CU_EXPONENTS, undo=_undo_u, power_angles=None),
    _turned("rxx", 2, partial(gm.rotation, gm.pauli_product("XX")), "RXXGate", (_HALF,)),
    _turned("ryy", 2, partial(gm.rotation, gm.pauli_product("YY")), "RYYGate", (_HALF,)),
    _phase("rzz", (-0.5, 0.5, 0.5, -0.5), "RZZGate"),
    _turned("rzx", 2, partial(gm.rotation, gm.pauli_product("ZX")), "RZXGate", (_HALF,)),
    _turned("xx_plus_yy", 2, gm.xx_plus_yy_matrix, "XXPlusYYGate", (_CONTROLLED_HALF, _AXIS), undo=_undo_first),
    _turned("xx_minus_yy", 2, gm.xx_minus_yy_matrix, "XXMinusYYGate", (_CONTROLLED_HALF, _AXIS), undo=_undo_first),
    # Three qubits and more. rccx and rc3x are ccx and c3x up to the phases of single basis states.
    _fixed("ccx", gm.controlled(gm.X, 2), "CCXGate"),
    _fixed("ccz", gm.controlled(gm.Z, 2), "CCZGate"),
    _fixed("cswap", gm.controlled(gm.SWAP), "CSwapGate"),
    _fixed("rccx", _RCCX, "RCCXGate", source=f"{_MASLOV}, dashed box of figure 3"),
    _fixed("rc3x", _RC3X, "RC3XGate", (("cz", (0, 1)), ("rc3x", (0, 1, 2, 3))), source=f"{_MASLOV}, figure 4"),
    _fixed("c3x", gm.controlled(gm.X, 3), "C3XGate"),
    _fixed(
        "c3sx",
        gm.controlled(gm.SX, 3),
        "C3SXGate",
        (("c3x", (0, 1, 2, 3)), ("c3sx", (0, 1, 2, 3))),
        openqasm="c3sqrtx",
    ),
    _fixed("c4x", gm.controlled(gm.X, 4), "C4XGate"),
    # No qubit: e^(i angle) times everything, which a control turns into p.
    _phase("gphase", (1.0,), "GlobalPhaseGate"),
)
GATES: dict[str, Gate] = {row.name: row for row in _ROWS}

# What else people call rows of the table, and no spelling is near to.
_OTHER_NAMES = {
    "cnot": "cx",
    "cphase": "cp",
    "fredkin": "cswap",
    "hadamard": "h",
    "id": "i",
    "not": "x",
    "phase": "p",
    "toffoli": "ccx",
}


def gate(name: str) -> Gate:
    """Returns the gate called `name` (lower case).

    >>> gate("crz").exponents
    ((-0.5, 0.0, 0.5),)

    Raises:
      UserError: there is no such gate; the nearest name and all of them are listed.
    """
    check(isinstance(name, str), "name", "be the name of a gate", name, GATES)
    if name.lower() in _OTHER_NAMES:
        fail("name", f"be '{_OTHER_NAMES[name.lower()]}' for this gate", repr(name), GATES)
    if name not in GATES and name.lower() in GATES:
        fail("name", f"be in lower case, '{name.lower()}'", repr(name), GATES)
    check_choice("name", name, GATES)
    return GATES[name]
