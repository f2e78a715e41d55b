"""How the gates that all examples share are made from their angles, by the native code of a CPU.

A gate is a product of factors, F = C + A cos(s t) + B sin(s t) with constant matrices and one scale s: an operation
of one angle t, with those around it that have none. The angles alone are handed over, and the native code makes
numbers and derivatives (`recipe_code.py`), in float64: XLA would need several kernels for them, each in float32. Of
an angle a x + c with an entry x of an array that entry is handed over: the constants have a and c, in float64.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qjax.quantum.circuits.angle import Angle
from qjax.quantum.circuits.custom_gates import in_float64
from qjax.quantum.circuits.gates import gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.engines.native.table.layout import MAX_NUMBERS, Form, Recipe
from qjax.quantum.states.matrices import constant_matrix, with_matrix

# Gates of several angles as gates of one each, the first that acts first: (gate, which of the angles).
_PARTS = {"u": (("p", 2), ("ry", 0), ("p", 1))}

# What cosine and sine of multiples of pi / 2 are off by at most.
_ROUNDING = 1e-15


@dataclass(frozen=True)
class Factor:
    """A matrix of one angle.

    Attributes:
      operations: in order; one at most has an angle that is no number.
      angle: what is handed over for that one (`handed_over`); None where there is none.
    """

    operations: tuple[Operation, ...]
    angle: Angle | None

    def numbers(self, qubits: tuple[int, ...], form: Form) -> np.ndarray:
        """Returns its constants as a recipe has them, `[1 + 6 * numbers]`."""

        def numbers(known: tuple[Operation, ...]) -> np.ndarray:
            matrix = constant_matrix(known, qubits)
            assert matrix is not None
            return np.diag(matrix) if form[0] == "diagonal" else matrix.reshape(-1)

        return constants_of(self.operations, self.angle, numbers)


def handed_over(angle: Angle) -> Angle:
    """Returns what the native code of a CPU is given for an angle: where it is a x + c, the entry x of an array."""
    if len(angle.terms) == 1 and len(angle.terms[0][1]) == 1:
        return Angle(0.0, ((1.0, angle.terms[0][1]),))
    return angle


def relation(angle: Angle, handed: Angle) -> tuple[float, float]:
    """Returns scale and shift of an angle as a function of what is handed over for it."""
    return (1.0, 0.0) if angle == handed else (angle.terms[0][0], angle.shift)


def constants_of(
    operations: Sequence[Operation],
    handed: Angle | None,
    numbers: Callable[[tuple[Operation, ...]], np.ndarray],
) -> np.ndarray:
    """Returns s, then of each number real and imaginary part of C, A, B: it is C + A cos(s t) + B sin(s t).

    Args:
      operations: of which one at most has an angle that is no number.
      handed: t, what is handed over for that one.
      numbers: those of operations without such an angle, complex `[numbers]`.
    """
    turning = [op for op in operations if not all(angle.is_constant for angle in op.angles)]
    scale = _frequencies(turning[0])[0] if turning else 0.0

    def at(angle: float) -> np.ndarray:
        return numbers(tuple(_turned(op, angle) if op in turning else op for op in operations))

    if turning:
        ends = at(0.0), at(np.pi / scale)
        constant, cosine = (ends[0] + ends[1]) / 2, (ends[0] - ends[1]) / 2
        sine = at(np.pi / 2 / scale) - constant
        (angle,) = (angle for angle in turning[0].angles if not angle.is_constant)
        assert handed is not None
        multiple, shift = relation(angle, handed)
        if shift:
            along, across = np.cos(scale * shift), np.sin(scale * shift)
            cosine, sine = along * cosine + across * sine, along * sine - across * cosine
        scale *= multiple
    else:
        constant = at(0.0)
        cosine = sine = np.zeros_like(constant)
    parts = [part for value in (constant, cosine, sine) for part in (value.real, value.imag)]
    return np.concatenate([[scale], np.stack(parts, axis=1).reshape(-1)])


def _turned(op: Operation, angle: float) -> Operation:
    """Returns the operation at a multiple of pi / 2, whose cosine and sine are exact, as pi is not.

    What a gate is off by adds up where it is repeated: 1000 layers were off by 6e-13.
    """
    found = in_float64(op.gate.matrix, [angle]).view(np.float64)
    exact = np.where(np.abs(found - np.round(found)) < _ROUNDING, np.round(found), found)
    return with_matrix(op, exact.view(np.complex128))


def has_one_frequency(op: Operation) -> bool:
    """Whether the operation has one angle, and its matrix one frequency of it."""
    return len(op.angles) == 1 and bool(op.gate.exponents) and len(_frequencies(op)) == 1


def _frequencies(op: Operation) -> list[float]:
    return sorted({abs(m) for m in op.gate.exponents[0]} - {0.0})


def factors_of(operations: Sequence[Operation], form: Form) -> tuple[Factor, ...]:
    """Returns the factors of a gate, the first that acts first; none where it is no such product."""
    operations = [part for op in operations for part in _parts(op)]
    angles = [[a for a in op.angles if not a.is_constant] for op in operations]
    turning = [i for i, own in enumerate(angles) if own]
    dim = 1 << form[1]
    fits = (dim if form[0] == "diagonal" else dim * dim) <= MAX_NUMBERS
    if not fits or not all(has_one_frequency(operations[i]) for i in turning):
        return ()
    ends = [*turning[1:], len(operations)]
    starts = [0, *turning[1:]]
    if not turning:
        return (Factor(tuple(operations), None),)
    return tuple(
        Factor(tuple(operations[start:end]), handed_over(angles[i][0]))
        for start, end, i in zip(starts, ends, turning, strict=True)
    )


def _parts(op: Operation) -> list[Operation]:
    """Returns operations of one angle each that make up an operation, itself where it is not known how."""
    parts = _PARTS.get(op.gate.name)
    if parts is None:
        return [op]
    return [replace(op, gate=gate(name), angles=(op.angles[place],)) for name, place in parts]


def recipe_of(
    factors: Sequence[Factor], qubits: tuple[int, ...], form: Form, places: Mapping[int, Sequence[int]]
) -> np.ndarray:
    """Returns the recipe of gates that are built alike, int32 `[size]`; see `Recipe`.

    Args:
      factors: of one of them.
      qubits: of that one.
      form: of all.
      places: of the coefficients of each -> of its angles.
    """
    diagonal, dim_shift = form[0] == "diagonal", form[1]
    constants = np.concatenate([factor.numbers(qubits, form) for factor in factors]).view(np.int32)
    rows = np.array([[first, *angles] for first, angles in places.items()], np.int32).T
    words = np.zeros(len(Recipe), np.int32)
    words[Recipe.BLOCKS], words[Recipe.DIM_SHIFT] = (2**dim_shift, 0) if diagonal else (1, dim_shift)
    words[Recipe.COLUMN_SHIFT] = 0 if diagonal or form[0] == "start" else dim_shift
    words[Recipe.FACTORS], words[Recipe.ITEMS] = len(factors), len(places)
    words[Recipe.PLACES] = len(words) + len(constants)
    padding = np.zeros(rows.size % 2, np.int32)
    words[Recipe.SIZE] = words[Recipe.PLACES] + rows.size + padding.size
    return np.concatenate([words, constants, rows.reshape(-1), padding])
