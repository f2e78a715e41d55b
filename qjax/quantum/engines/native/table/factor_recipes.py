"""How the gates that all examples share are made from their angles, by the native code of a CPU.

A gate is a product of factors, F = C + A cos(s t) + B sin(s t) with constant matrices and one scale s: an operation
of one angle t, with those around it that have none. The angles alone are handed over, and the native code makes
numbers and derivatives (`recipe_code.py`), in float64: XLA would need several kernels for them, each in float32. Of
an angle a x + c with an entry x of an array that entry is handed over: the constants have a and c, in float64.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qjax.quantum.circuits.angle import Angle, as_angle
from qjax.quantum.circuits.gates import gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.engines.native.table.layout import MAX_NUMBERS, Form, Recipe
from qjax.quantum.states.matrices import FixedBlock, constant_matrices, fixed_block

# Gates of several angles as gates of one each, the first that acts first: name, qubits, what the angle is multiplied
# by, and which of the angles; -1 is the number 1.
_U = ("p", (0,), 1.0, 2), ("ry", (0,), 1.0, 0), ("p", (0,), 1.0, 1)
_CU = ("cp", (0, 1), 1.0, 2), ("cry", (0, 1), 1.0, 0), ("cp", (0, 1), 1.0, 1)
_PARTS: dict[str, tuple[tuple[str, tuple[int, ...], float, int], ...]] = {
    "u": _U,
    "u3": _U,
    "u2": (("p", (0,), 1.0, 1), ("ry", (0,), np.pi / 2, -1), ("p", (0,), 1.0, 0)),
    "r": (("p", (0,), -1.0, 1), ("rx", (0,), 1.0, 0), ("p", (0,), 1.0, 1)),
    "cu3": _CU,
    "cu": (*_CU, ("p", (0,), 1.0, 3)),
    "xx_plus_yy": (("p", (1,), -1.0, 1), ("rxx", (0, 1), 0.5, 0), ("ryy", (0, 1), 0.5, 0), ("p", (1,), 1.0, 1)),
    "xx_minus_yy": (("p", (1,), -1.0, 1), ("rxx", (0, 1), 0.5, 0), ("ryy", (0, 1), -0.5, 0), ("p", (1,), 1.0, 1)),
}


@dataclass(frozen=True)
class Factor:
    """A matrix of one angle.

    Attributes:
      operations: in order; one at most has an angle that is no number.
      angle: what is handed over for that one (`handed_over`); None where there is none.
    """

    operations: tuple[Operation, ...]
    angle: Angle | None

    @property
    def relation(self) -> tuple[float, float]:
        """Scale and shift of its angle as a function of what is handed over; 0 and 0 where there is none."""
        angles = (angle for op in self.operations for angle in op.angles if not angle.is_constant)
        return (0.0, 0.0) if self.angle is None else relation(next(angles), self.angle)


def is_entry(angle: Angle) -> bool:
    """Whether an angle is an entry of an array."""
    return not angle.shift and len(angle.terms) == 1 and angle.terms[0][0] == 1.0 and len(angle.terms[0][1]) == 1


def handed_over(angle: Angle) -> Angle:
    """Returns what the native code of a CPU is given for an angle: where it is a x + c, the entry x of an array."""
    if not is_entry(angle) and len(angle.terms) == 1 and len(angle.terms[0][1]) == 1:
        return Angle(0.0, ((1.0, angle.terms[0][1]),))
    return angle


def relation(angle: Angle, handed: Angle) -> tuple[float, float]:
    """Returns scale and shift of an angle as a function of what is handed over for it."""
    return (1.0, 0.0) if angle == handed else (angle.terms[0][0], angle.shift)


def numbers_of(matrix: np.ndarray, form: Form) -> np.ndarray:
    """Returns the numbers that a gate of a form has, given its matrix, complex `[numbers]`."""
    kind = form[0]
    return matrix[:, 0] if kind == "start" else np.diag(matrix) if kind == "diagonal" else matrix.reshape(-1)


def constants_of(factors: Sequence[tuple[Factor, tuple[int, ...], Form]]) -> list[np.ndarray]:
    """Returns of each factor s, then of each number real and imaginary part of C, A, B: C + A cos(s t) + B sin(s t).

    Its angle t is what is handed over. Cosine and sine are exact where C, A and B come from, at multiples of pi / 2s:
    what a gate is off by adds up where it is repeated; 1000 layers were off by 6e-13.

    Args:
      factors: with the qubits and the form of their gates.
    """
    blocks: list[FixedBlock] = []
    scales: list[float] = []
    for factor, qubits, _ in factors:
        places = [i for i, op in enumerate(factor.operations) if not all(a.is_constant for a in op.angles)]
        scales.append(_frequencies(factor.operations[places[0]])[0] if places else 0.0)
        width, parts = fixed_block(factor.operations, qubits)
        for angle in (0.0, np.pi / scales[-1], np.pi / 2 / scales[-1]) if places else ():
            places_of, (name, values, _, _) = parts[places[0]]
            blocks.append(
                (width, [*parts[: places[0]], (places_of, (name, values, (angle,), True)), *parts[places[0] + 1 :]])
            )
        blocks += [] if places else [(width, parts)]
    matrices = iter(constant_matrices(blocks))
    return [_constants(next(matrices), *one, scale, matrices) for one, scale in zip(factors, scales, strict=True)]


def _constants(
    first: np.ndarray, factor: Factor, qubits: tuple[int, ...], form: Form, scale: float, others: Iterator[np.ndarray]
) -> np.ndarray:
    """Returns what `constants_of` does of one factor, given its matrix at 0, and those at pi / s and pi / 2s."""
    constant = numbers_of(first, form)
    cosine = sine = np.zeros_like(constant)
    if factor.angle is not None:
        last, middle = numbers_of(next(others), form), numbers_of(next(others), form)
        constant, cosine = (constant + last) / 2, (constant - last) / 2
        sine = middle - constant
        multiple, shift = factor.relation
        if shift:
            along, across = np.cos(scale * shift), np.sin(scale * shift)
            cosine, sine = along * cosine + across * sine, along * sine - across * cosine
        scale *= multiple
    parts = [part for value in (constant, cosine, sine) for part in (value.real, value.imag)]
    return np.concatenate([[scale], np.stack(parts, axis=1).reshape(-1)])


def has_one_frequency(op: Operation) -> bool:
    """Whether the operation has one angle, and its matrix one frequency of it."""
    return len(op.angles) == 1 and bool(op.gate.exponents) and len(_frequencies(op)) == 1


def _frequencies(op: Operation) -> list[float]:
    return sorted({abs(m) for m in op.gate.exponents[0]} - {0.0})


def factors_of(operations: Sequence[Operation], form: Form) -> tuple[Factor, ...]:
    """Returns the factors of a gate, the first that acts first; none where it is no such product."""
    operations = [part for op in operations for part in _parts(op)]
    angles = [[a for a in op.angles if not a.is_constant] for op in operations]
    turning = [i for i, some in enumerate(angles) if some]
    dim = 1 << form[1]
    fits = (dim if form[0] == "diagonal" else dim * dim) <= MAX_NUMBERS
    if not fits or not all(has_one_frequency(operations[i]) for i in turning):
        return ()
    if not turning:
        return (Factor(tuple(operations), None),)
    starts, ends = [0, *turning[1:]], [*turning[1:], len(operations)]
    return tuple(
        Factor(tuple(operations[start:end]), handed_over(angles[i][0]))
        for start, end, i in zip(starts, ends, turning, strict=True)
    )


def _parts(op: Operation) -> list[Operation]:
    """Returns operations of one angle each that make up an operation, itself where that has one or none."""
    angles = (*op.angles, as_angle(1.0))
    return [
        replace(op, gate=gate(name), qubits=tuple(op.qubits[q] for q in qubits), angles=(angles[place] * scale,))
        for name, qubits, scale, place in _PARTS.get(op.gate.name, ())
    ] or [op]


def recipe_of(constants: Sequence[np.ndarray], form: Form, rows: np.ndarray) -> np.ndarray:
    """Returns the recipe of gates that are built alike, int32 `[size]`; see `Recipe`.

    Rows are places of the numbers of each gate, and of its angles, int32 `[1 + factors, gates]`.
    """
    diagonal, dim_shift = form[0] == "diagonal", form[1]
    numbers = np.concatenate(constants).view(np.int32)
    words = np.zeros(len(Recipe), np.int32)
    words[Recipe.BLOCKS], words[Recipe.DIM_SHIFT] = (2**dim_shift, 0) if diagonal else (1, dim_shift)
    words[Recipe.COLUMN_SHIFT] = 0 if diagonal or form[0] == "start" else dim_shift
    words[Recipe.FACTORS], words[Recipe.ITEMS] = len(constants), rows.shape[1]
    words[Recipe.PLACES] = len(words) + len(numbers)
    padding = np.zeros(rows.size % 2, np.int32)
    words[Recipe.SIZE] = words[Recipe.PLACES] + rows.size + padding.size
    return np.concatenate([words, numbers, rows.reshape(-1), padding])
