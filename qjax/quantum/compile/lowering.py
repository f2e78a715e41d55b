"""Lowers any gate to few kinds of gates, so that an engine needs code only for these.

They are gates on one or two qubits under any number of controls, and diagonal gates, matrices and
permutations that are data. X, CX and SWAP cost nothing where an engine relabels rows (`relabelling.py`).
"""

from collections.abc import Sequence

import numpy as np

from qjax.quantum.circuits.gates import gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.conditions import conditional_flip
from qjax.quantum.states.matrices import constant_phases, phase_weights

# Gates that are another gate under controls: (that gate, how many of the qubits are controls).
_CONTROLLED = {"cswap": ("swap", 1), "c3sx": ("sx", 3), "ccz": ("z", 2)}
# Strings of Z with a smaller coefficient than this are rounding errors.
_ROUNDING = 1e-14


def lowered(op: Operation) -> tuple[Operation, ...]:
    """Returns operations whose product is the given one, in the order of application.

    >>> from qjax.quantum import operation, pauli_rotation_gate
    >>> lowered(operation(pauli_rotation_gate("XXY"), (0, 1, 2), 0.3))
    (x 0 if 2=1, x 1 if 2=1, ry(0.3) 2, x 1 if 2=1, x 0 if 2=1)
    """
    flip = conditional_flip(op)
    if flip is not None:
        controls, values = zip(*flip[1], strict=True) if flip[1] else ((), ())
        return (Operation(gate("x"), (flip[0],), (), controls, values),)
    if op.gate.name in _CONTROLLED:
        name, count = _CONTROLLED[op.gate.name]
        controls, values = (*op.controls, *op.qubits[:count]), (*op.control_values, *(1,) * count)
        return (Operation(gate(name), op.qubits[count:], (), controls, values),)
    if op.gate.name == "gphase" and op.controls:
        return _phase(op)
    return _pauli_rotation(op) if op.gate.name == "pauli_rotation" else (op,)


def _phase(op: Operation) -> tuple[Operation, ...]:
    """Returns a phase under controls as a phase gate on the last control, which is flipped if its value is 0."""
    *controls, target = op.controls
    *values, value = op.control_values
    inner = Operation(gate("p"), (target,), op.angles, tuple(controls), tuple(values))
    around = () if value else (Operation(gate("x"), (target,)),)
    return (*around, inner, *around)


def _pauli_rotation(op: Operation) -> tuple[Operation, ...]:
    """Returns a rotation about a Pauli string as one about Z, X or Y of its last qubit that can be, between CX.

    CX of control t and target j takes X_t to X_t X_j, and Z_j to Z_t Z_j. So the string becomes, between CX that the
    last qubit t with X or Y controls, one with X or Y on t alone and Z elsewhere. Where it has Y on t, CX of target t
    take each of these Z away; X is Y between S and its inverse.
    """
    letters = list(zip(op.qubits, op.gate.data.decode(), strict=True))
    flips, signs = ([q for q, letter in letters if letter in kinds] for kinds in ("XY", "YZ"))
    if not flips:
        *others, target = signs
        return _between(_ladder(others, [target]), (_rotation("rz", op, target, 1.0),))
    *others, target = flips
    num_y = len(set(flips) & set(signs))
    rest = [q for q in signs if q != target and q not in others] + [q for q in others if q in signs]
    name, sign = "ry" if num_y % 2 or rest else "rx", (-1.0) ** (num_y // 2)
    inner = _between(_ladder(rest, [target]), (_rotation(name, op, target, sign),))
    if rest and not num_y % 2:
        inner = (Operation(gate("s"), (target,)), *inner, Operation(gate("sdg"), (target,)))
    return _between(_ladder([target], others), inner)


def _rotation(name: str, op: Operation, target: int, sign: float) -> Operation:
    return Operation(gate(name), (target,), (op.angles[0] * sign,), op.controls, op.control_values)


def _ladder(controls: Sequence[int], targets: Sequence[int]) -> tuple[Operation, ...]:
    return tuple(Operation(gate("x"), (target,), (), (control,)) for control in controls for target in targets)


def _between(outer: tuple[Operation, ...], inner: tuple[Operation, ...]) -> tuple[Operation, ...]:
    return (*outer, *inner, *outer[::-1])


def z_strings(op: Operation) -> dict[tuple[int, ...], float]:
    """Returns the phase of a diagonal operation as a sum of strings of Z, by the qubits of each.

    It is that of an angle of 1, where the operation has an angle that is no number: see `phase_weights`.

    >>> from qjax.quantum import operation
    >>> z_strings(operation("rzz", (0, 1), 3.0))
    {(0, 1): -1.5}
    """
    constants = constant_phases(op)
    if op.gate.name == "pauli_rotation" and not op.controls:
        scale = -0.5 if constants is None else float(constants[0])
        return {tuple(q for q, letter in zip(op.qubits, op.gate.data.decode(), strict=True) if letter == "Z"): scale}
    phases = phase_weights(op) if constants is None else constants
    count = len(op.all_qubits)
    parts = phases.reshape((2,) * count)
    for axis in range(count):
        low, high = np.split(parts, 2, axis=axis)
        parts = np.concatenate([low + high, low - high], axis=axis) / 2
    chosen = np.argwhere(np.abs(parts) > _ROUNDING)
    return {tuple(op.all_qubits[place] for place in np.flatnonzero(row)): float(parts[tuple(row)]) for row in chosen}
