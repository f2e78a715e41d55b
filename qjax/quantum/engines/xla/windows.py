"""Windows of neighbouring qubits for large states: few passes over the state, each a matrix for many gates.

A state that does not fit into the cache is limited by its passes over the memory. So the window that takes the most
gates comes first, then the next one, across the layers of the circuit: a gate joins where every gate before it on its
qubits has gone. A random circuit of 24 qubits and 20 layers takes 26 windows of 4 qubits for its 687 gates.
"""

from collections.abc import Sequence

from qjax.quantum.circuits.operation import Operation
from qjax.quantum.compile.compiler import Blocks

# Operations that are looked at for the next window.
MAX_AHEAD = 400


def group_by_windows(operations: Sequence[Operation], num_qubits: int, blocks: Blocks) -> list[list[Operation]]:
    """Returns the operations in groups, each of which is one window of at most `blocks.num_qubits` qubits.

    A window of the last qubits may have one more. An operation that no window takes is a group of its own. The order
    of the groups, and within them, gives the same unitary.
    """
    width = min(blocks.num_qubits, num_qubits)
    left = list(operations)
    groups: list[list[Operation]] = []
    while left:
        head, tail = left[:MAX_AHEAD], left[MAX_AHEAD:]
        tried = [_split(head, lo, lo + width, blocks) for lo in range(num_qubits - width + 1)]
        taken, rest = max(tried, key=lambda pair: len(pair[0]))
        if not taken:
            taken, rest = head[:1], head[1:]
        groups.append(taken)
        left = rest + tail
    return _join_last(groups, num_qubits - width - 1, blocks)


def _join_last(groups: Sequence[list[Operation]], first: int, blocks: Blocks) -> list[list[Operation]]:
    """Returns the groups, neighbours on qubits from `first` on as one.

    A matrix on the last qubits acts on few numbers in a row, which is slow: sooner one of twice the size than two.
    """
    joined: list[list[Operation]] = []
    for group in groups:
        both = [op for own in (*joined[-1:], group) for op in own]
        if joined and all(min(op.all_qubits, default=0) >= first and not blocks.is_batched(op) for op in both):
            joined[-1] = both
        else:
            joined.append(group)
    return joined


def _split(
    operations: Sequence[Operation], first: int, end: int, blocks: Blocks
) -> tuple[list[Operation], list[Operation]]:
    """Returns the operations that a window takes, and those that it leaves."""
    taken: list[Operation] = []
    rest: list[Operation] = []
    waiting: set[int] = set()
    for op in operations:
        qubits = op.all_qubits
        inside = all(first <= q < end for q in qubits)
        if inside and waiting.isdisjoint(qubits) and not blocks.is_batched(op):
            taken.append(op)
        else:
            rest.append(op)
            waiting.update(qubits)
    return taken, rest
