"""Shared gates on fresh qubits: they make columns of two numbers, and need not act on whole states."""

from collections.abc import Mapping, Sequence

from qjax.quantum.engines.native.table.layout import FORMS, MAKER_KINDS, SINGLE, START, Entry, MadeEntry


def new_entry(kind: str, num_qubits: int, first: int, num_controls: int = 0) -> list[int]:
    """Returns an entry that says no more than what it is, and where its coefficients begin, `ENTRY` integers."""
    entry = [0] * Entry.SIZE
    entry[Entry.KIND], entry[Entry.FIRST] = FORMS.index((kind, num_qubits, num_controls)), first
    return entry


def with_fresh_columns(entries: Sequence[list[int]], num_shared: int, first: int) -> list[list[int]]:
    """Returns entries where gates that all examples share, each the next one on a fresh qubit, make its first column.

    Such a matrix times the column is another column: two numbers of each example, not all rows of its state.

    Args:
      entries: in order.
      num_shared: number of coefficients that all examples share, which come first.
      first: where the numbers of the columns may begin, which are made for each example.
    """
    makers: list[list[int]] = []
    columns: list[list[int]] = []
    starts: list[list[int]] = []
    later: list[list[int]] = []
    fresh: dict[int, list[int]] = {}
    rest = list(entries)
    while rest:
        entry = rest[0]
        if entry[Entry.KIND] == START:
            starts.append(entry)
            fresh[entry[Entry.MASK]] = entry
        elif entry[Entry.KIND] in MAKER_KINDS:
            (later if columns else makers).append(entry)
        elif entry[Entry.KIND] == SINGLE and entry[Entry.FIRST] < num_shared and _is_fresh(entry, fresh):
            start = fresh.pop(entry[Entry.MASK])
            product = new_entry("column", 1, first + 4 * len(columns))
            product[MadeEntry.LEFT], product[MadeEntry.RIGHT], start[Entry.FIRST] = (
                entry[Entry.FIRST],
                start[Entry.FIRST],
                product[Entry.FIRST],
            )
            columns.append(product)
        else:
            break
        del rest[0]
    return [*makers, *columns, *starts, *later, *rest]


def _is_fresh(gate: list[int], fresh: Mapping[int, list[int]]) -> bool:
    """Whether a gate's qubit is still the bit of a row that its start made it."""
    return gate[Entry.MASK] in fresh and gate[Entry.WEIGHTS] == gate[Entry.MASK] and not gate[Entry.FLIP]
