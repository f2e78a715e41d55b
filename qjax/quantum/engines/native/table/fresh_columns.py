"""Gates that need not act on whole states: shared ones on fresh qubits make columns, per-example ones products."""

from collections.abc import Mapping, Sequence

from qjax.quantum.engines.native.table.layout import (
    CPU_MAKER_KINDS,
    FORMS,
    MAKER_KINDS,
    PRODUCT_KIND,
    SINGLE,
    START,
    Entry,
    MadeEntry,
)


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
            product[MadeEntry.LEFT], product[MadeEntry.RIGHT] = entry[Entry.FIRST], start[Entry.FIRST]
            start[Entry.FIRST] = product[Entry.FIRST]
            columns.append(product)
        else:
            break
        del rest[0]
    return [*makers, *columns, *starts, *later, *rest]


def _is_fresh(gate: list[int], fresh: Mapping[int, list[int]]) -> bool:
    """Whether a gate's qubit is still the bit of a row that its start made it."""
    return gate[Entry.MASK] in fresh and gate[Entry.WEIGHTS] == gate[Entry.MASK] and not gate[Entry.FLIP]


def with_products(entries: Sequence[list[int]], num_shared: int, first: int) -> list[list[int]]:
    """Returns entries where matrices that follow each other on a qubit are one, if a per-example one is among them.

    The native code makes their product for each example: that is a few numbers, not all rows of its state. The
    arguments are those of `with_fresh_columns`.
    """
    merged: list[list[int]] = []
    count = 0
    for entry in entries:
        place = next((k for k in range(len(merged) - 1, -1, -1) if merged[k][Entry.KIND] not in CPU_MAKER_KINDS), -1)
        if place >= 0 and _is_product(merged[place], entry, num_shared):
            before = merged.pop(place)
            product = [0] * Entry.SIZE
            product[Entry.KIND], product[Entry.FIRST] = PRODUCT_KIND, first + 8 * count
            product[MadeEntry.LEFT], product[MadeEntry.RIGHT] = entry[Entry.FIRST], before[Entry.FIRST]
            entry = list(entry)
            entry[Entry.FIRST], entry[Entry.REAL_ROWS] = product[Entry.FIRST], 0
            merged.append(product)
            count += 1
        merged.append(entry)
    return merged


def _is_product(before: Sequence[int], after: Sequence[int], num_shared: int) -> bool:
    """Whether two entries are matrices on one qubit, and one of them is a per-example one."""
    same = all(before[word] == after[word] for word in (Entry.MASK, Entry.WEIGHTS, Entry.FLIP))
    kinds = before[Entry.KIND] == after[Entry.KIND] == SINGLE
    return kinds and same and max(before[Entry.FIRST], after[Entry.FIRST]) >= num_shared
