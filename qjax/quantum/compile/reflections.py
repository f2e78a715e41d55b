"""Peephole rules that find reflections among gates: Grover's oracles and diffusers, written with Hadamards and X.

Each rule takes operations that follow one another and replaces them by fewer of the same effect:

- H X(controls) H on the target is a controlled Z;
- X on some qubits before and after a controlled Z marks another basis state of the same qubits;
- H on all qubits of a mark of |0...0>, before and after it, is a reflection about their even superposition.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from qjax.quantum.circuits.angle import as_angle
from qjax.quantum.circuits.gates import gate
from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.conditions import conditional_sign
from qjax.quantum.compile.stages import Flip, Loop, Reflection

# What replaces a mark and operations around it, and how many of these on each side.
Replacement = tuple[Operation | Reflection, int]

# Gates that are X or Z under controls, with their number of controls.
_CONTROLLED_X = {"x": 0, "cx": 1, "ccx": 2, "c3x": 3, "c4x": 4}
_CONTROLLED_Z = {"z": 0, "cz": 1, "ccz": 2}


def find_reflections(operations: Sequence[Operation]) -> list[Operation | Reflection]:
    """Returns the operations with all three rules applied."""
    return _replace_marks(_replace_marks(_controlled_x_to_z(operations), _absorb_x), _join_diffuser)


def _controlled_x_to_z(operations: Sequence[Operation]) -> list[Operation]:
    """Replaces H on the target, X under controls, and H on the target by Z under the same controls."""
    simplified: list[Operation] = []
    for op in operations:
        simplified.append(op)
        if len(simplified) < 3:
            continue
        before, middle, after = simplified[-3:]
        count = _CONTROLLED_X.get(middle.gate.name)
        conditioned = count is not None and len(middle.all_qubits) > 1
        around = before.gate.name == "h" and before == after and before.all_qubits == middle.qubits[-1:]
        if conditioned and around:
            inner = middle.qubits[:-1]
            values = (*middle.control_values, *(1 for _ in inner))
            simplified[-3:] = [Operation(gate("z"), middle.qubits[-1:], (), (*middle.controls, *inner), values)]
    return simplified


def _mark(qubits: Sequence[int], values: Sequence[int]) -> Operation:
    """Returns the operation that changes the sign of the basis state of some qubits, and of no other."""
    order = sorted(range(len(qubits)), key=lambda i: qubits[i])
    controls = tuple(qubits[i] for i in order)
    return Operation(gate("gphase"), (), (as_angle(np.pi),), controls, tuple(values[i] for i in order))


def _as_mark(op: Operation) -> Operation | None:
    """Returns a Z under controls as a `mark`; None for any other operation."""
    if op.gate.name in _CONTROLLED_Z:
        return _mark((*op.controls, *op.qubits), (*op.control_values, *(1 for _ in op.qubits)))
    is_sign = op.gate.name == "gphase" and op.controls and op.angles[0] == as_angle(np.pi)
    return _mark(op.controls, op.control_values) if is_sign else None


def _replace_marks(
    operations: Sequence[Operation],
    rule: Callable[[Operation, Sequence[Any], Sequence[Operation]], Replacement | None],
) -> list[Any]:
    """Applies a rule to each mark, the operations before it, and those after it."""
    simplified: list[Any] = []
    i = 0
    while i < len(operations):
        marked = _as_mark(operations[i])
        new: Operation | Reflection = operations[i]
        count = 0
        if marked is not None:
            reach = len(marked.controls) + 1  # no rule looks further
            new, count = rule(marked, simplified[-reach:], operations[i + 1 : i + 1 + reach]) or (new, count)
        simplified[len(simplified) - count :] = [new]
        i += 1 + count
    return simplified


def _absorb_x(marked: Operation, before: Sequence[Any], after: Sequence[Operation]) -> Replacement | None:
    """Removes X on some qubits of a mark, before and after it, and changes the basis state that it marks."""
    flips = _run_of(before[::-1], "x")
    if len(marked.controls) < 2 or not flips or flips != _run_of(after, "x") or not flips <= set(marked.controls):
        return None
    values = [v ^ (q in flips) for q, v in zip(marked.controls, marked.control_values, strict=True)]
    return _mark(marked.controls, values), len(flips)


def _join_diffuser(marked: Operation, before: Sequence[Any], after: Sequence[Operation]) -> Replacement | None:
    """Joins H on all qubits of a mark of |0...0>, the mark, and H again into a reflection."""
    count = len(marked.controls)
    around = before[-count:], after[:count]
    if any(marked.control_values) or any(_run_of(side, "h") != set(marked.controls) for side in around):
        return None
    return Reflection(marked.controls), count


def _run_of(operations: Sequence[Operation | Reflection], name: str) -> set[int]:
    """Returns the qubits of the gates of one name that the operations begin with, up to the first repetition."""
    qubits: set[int] = set()
    for op in operations:
        if not isinstance(op, Operation) or op.gate.name != name or op.controls or op.qubits[0] in qubits:
            break
        qubits.add(op.qubits[0])
    return qubits


def is_search(loop: Loop, n: int) -> bool:
    """Whether the body of a loop flips signs, under conditions that XLA can compute, and reflects about the mean."""
    flips = [stage for stage in loop.body if isinstance(stage, Flip)]
    reflections = [stage for stage in loop.body if isinstance(stage, Reflection) and len(stage.qubits) == n]
    conditional = all(conditional_sign(op) is not None for flip in flips for op in flip.operations)
    return len(flips) == len(reflections) == 1 and len(loop.body) == 2 and conditional
