"""A peephole rule for inputs that are loaded again: batched rotations about X and Y become phases.

A rotation by an input is another matrix for each example, which stays as narrow as its qubit: a pass over the state
for each. Rotations about Z are phases, any number of which are one pass. So where several qubits are rotated about X
or Y, RX(t) = H RZ(t) H and RY(t) = SX^dagger RZ(t) SX; the constant gates join the dense blocks on their side.
"""

from collections.abc import Callable, Sequence

from qjax.quantum.circuits.gates import gate
from qjax.quantum.circuits.operation import Operation

# The gate before the rotation about Z, and the one after it.
_AROUND = {"rx": ("h", "h"), "ry": ("sx", "sxdg")}
# Fewer rotations than this, on as many qubits, are left as they are.
MIN_TURNED = 3


def turn_rotations(operations: Sequence[Operation], is_batched: Callable[[Operation], bool]) -> list[Operation]:
    """Returns the operations with batched rotations turned to phases, side by side where the others let them."""
    if all(op.gate.is_real for op in operations):  # then phases would make the state complex
        return list(operations)
    turned: list[Operation] = []
    left = list(operations)
    while left:
        before, group, after = _split(left, is_batched)
        if not group:
            break
        turned += before
        turned += _phases(group) if len(group) >= MIN_TURNED else group
        left = after
    return turned + left


def _split(
    operations: Sequence[Operation], is_batched: Callable[[Operation], bool]
) -> tuple[list[Operation], list[Operation], list[Operation]]:
    """Returns what can come before the next group of rotations, the group, and what can come after it."""
    before: list[Operation] = []
    group: list[Operation] = []
    after: list[Operation] = []
    waiting: set[int] = set()
    for op in operations:
        if not waiting.isdisjoint(op.all_qubits):
            after.append(op)
            waiting.update(op.all_qubits)
        elif op.gate.name in _AROUND and not op.controls and is_batched(op):
            group.append(op)
            waiting.update(op.all_qubits)
        else:
            before.append(op)
    return before, group, after


def _phases(group: Sequence[Operation]) -> list[Operation]:
    first, last = ([Operation(gate(_AROUND[op.gate.name][side]), op.qubits) for op in group] for side in (0, 1))
    return [*first, *(Operation(gate("rz"), op.qubits, op.angles) for op in group), *last]
