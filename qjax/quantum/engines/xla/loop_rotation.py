"""Where a loop over a large state is cut: a permutation at the end of its body is sooner at the start.

Repeating W and then P is P^-1 once, then P and W repeated, then P once. The flip of a first qubit under control of a
last one, which closes a ring of CX, then shares a pass over the state with the first blocks of W; P^-1 changes
nothing in |0...0>, and the last P is left to the readout.
"""

from collections.abc import Sequence
from dataclasses import replace

from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.conditions import conditional_flip
from qjax.quantum.compile.stages import Dense, Loop, Permutation, Stage


def rotate_loops(stages: Sequence[Stage], from_zero: bool) -> list[Stage]:
    """Returns the stages, the permutation at the end of a loop's body at its start where it acts on first qubits.

    Args:
      stages: of a program.
      from_zero: whether the state before them is |0...0>.
    """
    rotated: list[Stage] = []
    for stage in stages:
        if not isinstance(stage, Loop) or (last := _last_permutation(stage)) is None:
            rotated.append(stage)
            continue
        undone = last.operations[::-1]  # each flip is its own inverse
        if rotated or not from_zero or not all(map(_keeps_zero, undone)):
            rotated.append(Permutation(undone))
        rotated += [replace(stage, body=(last, *stage.body[:-1])), last]
    return rotated


def _last_permutation(loop: Loop) -> Permutation | None:
    """Returns the permutation at the end of the body that flips qubits of its first block, or ones before them."""
    first, last = loop.body[0], loop.body[-1]
    if not isinstance(first, Dense) or not isinstance(last, Permutation):
        return None
    flips = [conditional_flip(op) for op in last.operations]
    return last if all(flip is not None and flip[0] <= first.qubits[-1] for flip in flips) else None


def _keeps_zero(op: Operation) -> bool:
    """Whether an operation leaves |0...0> as it is: some qubit would have to be 1."""
    flip = conditional_flip(op)
    return flip is not None and any(value == 1 for _, value in flip[1])
