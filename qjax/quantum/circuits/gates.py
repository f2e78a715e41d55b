"""The gate table: everything qjax knows about each gate, in one place.

The first qubit of a gate is the most significant bit of its matrix: CX, with the control first, is
[[1,0,0,0],[0,1,0,0],[0,0,0,1],[0,0,1,0]]. Definitions are those of Qiskit's circuit library, which agree with
OpenQASM 3's `stdgates.inc` (Cross et al. 2022, arXiv:2104.14722) where that file has the gate, but for the global
phase of u2 and u3. Gates that are not in the table are made by `custom_gates.py`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from qjax.checks import check, check_choice, fail
from qjax.quantum.circuits import gate_matrices as gm
from qjax.quantum.circuits.angle import Angle
from qjax.quantum.circuits.gate import Gate, MatrixFunction, Steps, constant_fields

# What the two standard files of OpenQASM have; a row is looked up by its name unless it says another.
_STDGATES = "id x y z h s sdg t tdg sx p u1 rx ry rz cx cy cz ch cp crx cry crz cu swap ccx cswap gphase"
_QELIB1 = (
    "id x y z h s sdg t tdg sx sxdg p rx ry rz u u1 u2 u3 cx cy cz ch csx cp crx cry crz cu cu1 cu3 swap rxx rzz "
    "ccx cswap rccx rc3x c3x c3sqrtx c4x"
)
_MASLOV = "Maslov 2016, arXiv:1508.03273"

# Exponents of one angle: a rotation by half the angle, the same under a control, a phase, and the angle of an axis.
_HALF = (-0.5, 0.5)
_CONTROLLED_HALF = (-0.5, 0.0, 0.5)
_PHASE = (0.0, 1.0)
_AXIS = (-1.0, 0.0, 1.0)


def _names(name: str, qiskit: str, openqasm: str, source: str) -> dict[str, Any]:
    """The fields that say what a row is called elsewhere and where it comes from."""
    called = openqasm or name
    openqasm3 = called if called in _STDGATES.split() else None
    openqasm2 = called if called in _QELIB1.split() else None
    library = "OpenQASM 3, arXiv:2104.14722, stdgates.inc" if openqasm3 else f"Qiskit circuit library, {qiskit}"
    return {"qiskit": qiskit, "openqasm3": openqasm3, "openqasm2": openqasm2, "source": source or library}


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


def _negate(*angles: Angle) -> tuple[Angle, ...]:
    return tuple(-angle for angle in angles)


def _parametric(
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
    return _parametric(name, len(weights).bit_length() - 1, matrix, qiskit, (exponents,), diagonal=diagonal)


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
    _parametric("rx", 1, _RX, "RXGate", (_HALF,)),
    _parametric("ry", 1, _RY, "RYGate", (_HALF,)),
    _phase("rz", (-0.5, 0.5), "RZGate"),
    _parametric("u", 1, gm.u_matrix, "UGate", _U_EXPONENTS, undo=_undo_u, power_angles=None),
    _phase("u1", (0.0, 1.0), "U1Gate"),
    _parametric("u2", 1, gm.u2_matrix, "U2Gate", (_PHASE, _PHASE), undo=_undo_u2, power_angles=None),
    _parametric("u3", 1, gm.u_matrix, "U3Gate", _U_EXPONENTS, undo=_undo_u, power_angles=None),
    _parametric("r", 1, gm.r_matrix, "RGate", (_HALF, _AXIS), undo=_undo_first),
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
    _parametric("crx", 2, _controlled(_RX), "CRXGate", (_CONTROLLED_HALF,)),
    _parametric("cry", 2, _controlled(_RY), "CRYGate", (_CONTROLLED_HALF,)),
    _phase("crz", (0.0, 0.0, -0.5, 0.5), "CRZGate"),
    _parametric(
        "cu", 2, _controlled(gm.phased_u_matrix), "CUGate", (*_CU_EXPONENTS, _PHASE), undo=_undo_u, power_angles=None
    ),
    _phase("cu1", (0.0, 0.0, 0.0, 1.0), "CU1Gate"),
    _parametric("cu3", 2, _controlled(gm.u_matrix), "CU3Gate", _CU_EXPONENTS, undo=_undo_u, power_angles=None),
    _parametric("rxx", 2, partial(gm.rotation, gm.pauli_product("XX")), "RXXGate", (_HALF,)),
    _parametric("ryy", 2, partial(gm.rotation, gm.pauli_product("YY")), "RYYGate", (_HALF,)),
    _phase("rzz", (-0.5, 0.5, 0.5, -0.5), "RZZGate"),
    _parametric("rzx", 2, partial(gm.rotation, gm.pauli_product("ZX")), "RZXGate", (_HALF,)),
    _parametric("xx_plus_yy", 2, gm.xx_plus_yy_matrix, "XXPlusYYGate", (_CONTROLLED_HALF, _AXIS), undo=_undo_first),
    _parametric(
        "xx_minus_yy", 2, gm.xx_minus_yy_matrix, "XXMinusYYGate", (_CONTROLLED_HALF, _AXIS), undo=_undo_first
    ),
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
