"""Peephole rules that find reflections among gates: Grover's oracles and diffusers, written with Hadamards and X.

Each rule takes operations that follow one another and replaces them by fewer of the same effect:

- H X(controls) H on the target is a controlled Z;
- X on some qubits before and after a controlled Z marks another basis state of the same qubits;
- H on all qubits of a mark of |0...0>, before and after it, is a reflection about their even superposition.
"""

from collections.abc import Sequence

import numpy as np

from qjax.quantum.circuits.angle import as_angle
from qjax.quantum.circuits.gates import gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.conditions import conditional_sign
from qjax.quantum.compile.stages import Flip, Loop, Reflection

OperationOrReflection = Operation | Reflection

# Gates that are X or Z under controls, with their number of controls.
_CONTROLLED_X = {"x": 0, "cx": 1, "ccx": 2, "c3x": 3, "c4x": 4}
_CONTROLLED_Z = {"z": 0, "cz": 1, "ccz": 2}


def find_reflections(operations: Sequence[Operation]) -> list[OperationOrReflection]:
    """Returns the operations with all three rules applied."""
    return join_diffusers(absorb_x_into_marks(controlled_x_to_z(operations)))


def controlled_x_to_z(operations: Sequence[Operation]) -> list[Operation]:
    """Replaces H on the target, X under controls, and H on the target by Z under the same controls."""
    simplified: list[Operation] = []
    for op in operations:
        simplified.append(op)
        if len(simplified) < 3:
            continue
        before, middle, after = simplified[-3:]
        count = _CONTROLLED_X.get(middle.gate.name)
        conditioned = count is not None and len(middle.all_qubits) > 1
        if conditioned and _is_plain(before, "h") and before == after and before.qubits[0] == middle.qubits[-1]:
            inner = middle.qubits[:-1]
            values = (*middle.control_values, *(1 for _ in inner))
            simplified[-3:] = [Operation(gate("z"), middle.qubits[-1:], (), (*middle.controls, *inner), values)]
    return simplified


def mark(qubits: Sequence[int], values: Sequence[int]) -> Operation:
    """Returns the operation that changes the sign of the basis state of some qubits, and of no other."""
    order = sorted(range(len(qubits)), key=lambda i: qubits[i])
    controls = tuple(qubits[i] for i in order)
    return Operation(gate("gphase"), (), (as_angle(np.pi),), controls, tuple(values[i] for i in order))


def as_mark(op: Operation) -> Operation | None:
    """Returns a Z under controls as a `mark`; None for any other operation."""
    if op.gate.name in _CONTROLLED_Z:
        return mark((*op.controls, *op.qubits), (*op.control_values, *(1 for _ in op.qubits)))
    is_sign = op.gate.name == "gphase" and op.controls and op.angles[0] == as_angle(np.pi)
    return mark(op.controls, op.control_values) if is_sign else None


def absorb_x_into_marks(operations: Sequence[Operation]) -> list[Operation]:
    """Removes X on some qubits of a mark, before and after it, and changes the basis state that it marks."""
    simplified: list[Operation] = []
    i = 0
    while i < len(operations):
        marked = as_mark(operations[i])
        if marked is not None and len(marked.controls) > 1:
            before, after = _run_of(simplified[::-1], "x"), _run_of(operations[i + 1 :], "x")
            flips = before if before == after and before <= set(marked.controls) else set()
            if flips:
                del simplified[len(simplified) - len(flips) :]
                values = [v ^ (q in flips) for q, v in zip(marked.controls, marked.control_values, strict=True)]
                simplified.append(mark(marked.controls, values))
                i += 1 + len(flips)
                continue
        simplified.append(operations[i])
        i += 1
    return simplified


def join_diffusers(operations: Sequence[Operation]) -> list[OperationOrReflection]:
    """Joins H on all qubits of a mark of |0...0>, the mark, and H again into a reflection."""
    simplified: list[OperationOrReflection] = []
    i = 0
    while i < len(operations):
        marked = as_mark(operations[i])
        if marked is not None and not any(marked.control_values):
            qubits = set(marked.controls)
            count = len(qubits)
            around = simplified[len(simplified) - count :], operations[i + 1 : i + 1 + count]
            if all(_run_of(side, "h") == qubits for side in around):
                del simplified[len(simplified) - count :]
                simplified.append(Reflection(marked.controls))
                i += 1 + count
                continue
        simplified.append(operations[i])
        i += 1
    return simplified


def _is_plain(op: OperationOrReflection, name: str) -> bool:
    return isinstance(op, Operation) and op.gate.name == name and not op.controls


def _run_of(operations: Sequence[OperationOrReflection], name: str) -> set[int]:
    """Returns the qubits of the gates of one name that the operations begin with, up to the first repetition."""
    qubits: set[int] = set()
    for op in operations:
        if not _is_plain(op, name) or op.qubits[0] in qubits:  # type: ignore[union-attr]
            break
        qubits.add(op.qubits[0])  # type: ignore[union-attr]
    return qubits


def is_search(loop: Loop, n: int) -> bool:
    """Whether the body of a loop flips signs, under conditions that XLA can compute, and reflects about the mean."""
    flips = [stage for stage in loop.body if isinstance(stage, Flip)]
    reflections = [stage for stage in loop.body if isinstance(stage, Reflection) and len(stage.qubits) == n]
    conditional = all(conditional_sign(op) is not None for flip in flips for op in flip.operations)
    return len(flips) == len(reflections) == 1 and len(loop.body) == 2 and conditional
