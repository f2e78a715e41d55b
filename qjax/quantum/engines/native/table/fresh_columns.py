"""Gates that all examples share on fresh qubits: they make columns of two numbers, and turn no whole states."""

from collections.abc import Mapping, Sequence

import numpy as np

from qjax.quantum.engines.native.table.layout import (
    ENTRY,
    FIRST,
    FLIP,
    FORMS,
    KIND,
    LEFT,
    MAKER_KINDS,
    MASK,
    RIGHT,
    SINGLE,
    START,
    WEIGHTS,
)


def new_entry(kind: str, num_qubits: int, first: int, num_controls: int = 0) -> np.ndarray:
    """Returns an entry that says no more than what it is, and where its coefficients begin, int64 `[ENTRY]`."""
    entry = np.zeros(ENTRY, np.int64)
    entry[KIND], entry[FIRST] = FORMS.index((kind, num_qubits, num_controls)), first
    return entry


def turned_starts(entries: Sequence[np.ndarray], num_shared: int, first: int) -> list[np.ndarray]:
    """Returns entries where gates that all examples share, each the next one on a fresh qubit, make its first column.

    Such a matrix times the column is another column: two numbers of each example, not all rows of its state.

    Args:
      entries: in order.
      num_shared: number of coefficients that all examples share, which come first.
      first: where the numbers of the columns may begin, which are made for each example.
    """
    makers: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    starts: list[np.ndarray] = []
    later: list[np.ndarray] = []
    fresh: dict[int, np.ndarray] = {}
    rest = list(entries)
    while rest:
        entry = rest[0]
        if entry[KIND] == START:
            starts.append(entry)
            fresh[int(entry[MASK])] = entry
        elif entry[KIND] in MAKER_KINDS:
            (later if columns else makers).append(entry)
        elif entry[KIND] == SINGLE and entry[FIRST] < num_shared and _is_fresh(entry, fresh):
            start = fresh.pop(int(entry[MASK]))
            product = new_entry("column", 1, first + 4 * len(columns))
            product[LEFT], product[RIGHT], start[FIRST] = entry[FIRST], start[FIRST], product[FIRST]
            columns.append(product)
        else:
            break
        del rest[0]
    return [*makers, *columns, *starts, *later, *rest]


def _is_fresh(gate: np.ndarray, fresh: Mapping[int, np.ndarray]) -> bool:
    """Whether a gate's qubit is still the bit of a row that its start made it."""
    return int(gate[MASK]) in fresh and int(gate[WEIGHTS]) == int(gate[MASK]) and not int(gate[FLIP])
