"""Gates that a GPU applies at once: in whatever order they are done, the product is the same matrix."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qjax.quantum import operation
from qjax.quantum.circuits.custom_gates import in_float64
from qjax.quantum.circuits.gates import gate
from qjax.quantum.compile.relabelling import Relabelling
from qjax.quantum.engines.native.cuda.grouping import group_gates, grouped_entries
from qjax.quantum.engines.native.cuda.memory_banks import CosetLists, dealt_out, place_of
from qjax.quantum.engines.native.table.entries import has_real_rows
from qjax.quantum.engines.native.table.layout import (
    FORMS,
    GROUP_KINDS,
    MAX_GROUP,
    MAX_GROUP_BACK,
    MAX_SCALED,
    Entry,
    GroupEntry,
    GroupMembers,
)

_SINGLE, _ROTATION = FORMS.index(("dense", 1, 0)), FORMS.index(("rotation", 1, 0))
_OTHERS = [("dense", 1, 1), ("dense", 2, 0), ("diagonal", 1, 0), ("diagonal", 2, 0)]


def random_entries(seed: int, num_qubits: int, count: int) -> np.ndarray:
    """Gates on random qubits, most of them on one, between CX and SWAP that move the relabelling."""
    rng, relabelling = np.random.default_rng(seed), Relabelling(num_qubits)
    found = []
    while len(found) < count:
        qubits = rng.permutation(num_qubits).tolist()
        if rng.random() < 0.3:
            relabelling.cx(*qubits[:2])
            continue
        form = ("dense", 1, 0) if rng.random() < 0.8 else _OTHERS[rng.integers(len(_OTHERS))]
        entry = np.zeros(Entry.SIZE, np.int64)
        entry[Entry.KIND], entry[Entry.FIRST] = FORMS.index(form), 100 * len(found)
        for k, q in enumerate(qubits[: form[1] + form[2]]):
            entry[Entry.MASK + k], entry[Entry.WEIGHTS + k], entry[Entry.FLIP + k] = (
                relabelling.masks[q],
                relabelling.weights[q],
                relabelling.flips[q],
            )
        found.append(entry)
    return np.stack(found)


def matrix_of(entry: np.ndarray, num_qubits: int) -> np.ndarray:
    """The dense matrix of an entry, with numbers that its place alone decides on."""
    kind, targets, controls = FORMS[entry[Entry.KIND]]
    numbers = np.random.default_rng(int(entry[Entry.FIRST])).normal(size=(2**targets, 2**targets))
    small = np.diag(numbers[0]) if kind == "diagonal" else numbers
    whole = np.zeros((2**num_qubits, 2**num_qubits))
    for row in range(2**num_qubits):
        bits = [
            ((row & int(entry[Entry.WEIGHTS + k])).bit_count() + int(entry[Entry.FLIP + k])) % 2
            for k in range(targets + controls)
        ]
        if any(bit == 0 for bit in bits[targets:]):
            whole[row, row] = 1
            continue
        index = int("".join(map(str, bits[:targets])), 2)
        for other in range(2**targets):
            turned = [k for k in range(targets) if (index ^ other) >> (targets - 1 - k) & 1]
            column = reduce(lambda x, k: x ^ int(entry[Entry.MASK + k]), turned, row)
            whole[row, column] += small[index, other]
    return whole


def product(entries: Sequence[np.ndarray], num_qubits: int) -> Any:
    return reduce(lambda whole, entry: matrix_of(entry, num_qubits) @ whole, entries, np.eye(2**num_qubits))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), num_qubits=st.integers(3, 6), most=st.sampled_from([2, 3, 4]))
def test_pieces_are_the_same_circuit(seed: int, num_qubits: int, most: int) -> None:
    entries = random_entries(seed, num_qubits, 14)
    pieces = group_gates(entries, num_qubits, 700, (most, 3))  # the first seven are shared
    gates = [entry for piece in pieces for entry in (piece[1:] if len(piece) > 1 else piece)]
    assert sorted(int(gate[Entry.FIRST]) for gate in gates) == sorted(entries[:, Entry.FIRST])
    expected = product(list(entries), num_qubits)
    np.testing.assert_allclose(product(gates, num_qubits), expected, atol=1e-9 * np.abs(expected).max())
    for head, *gates in pieces:
        shared = [int(gate[Entry.FIRST]) < 700 for gate in gates]
        assert not gates or 2 <= len(gates) <= (most if all(shared) else 3)
        assert not gates or head[Entry.KIND] == GROUP_KINDS["scaled" if shared[0] else "dense_group", len(gates)]
        assert len(set(shared)) <= 1


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_entry_before_gates_says_how_many_they_are_and_where_their_cosets_begin(count: int) -> None:
    relabelling = Relabelling(5)
    entries = np.zeros((count, Entry.SIZE), np.int64)
    for k, entry in enumerate(entries):
        entry[Entry.KIND], entry[Entry.FIRST] = _SINGLE, 8 * k
        entry[Entry.MASK], entry[Entry.WEIGHTS] = relabelling.masks[k], relabelling.weights[k]
    (piece,) = group_gates(entries, 5, 0, (4, 4))
    head = piece[0]
    assert (head[Entry.KIND], head[GroupEntry.MEMBERS], head[Entry.COUNT]) == (
        GROUP_KINDS["dense_group", count],
        1,
        2 ** (5 - count),
    )
    assert list(head[Entry.LOW : Entry.LOW + count]) == [2**k - 1 for k in range(count)]
    np.testing.assert_array_equal(piece[1:], entries)
    found = grouped_entries(entries, 5, 0, False)
    assert (found.count, len(found.entries), len(found.firsts)) == (1, 2, 0)
    assert list(found.entries[0, GroupEntry.FIRSTS : GroupEntry.FIRSTS + count]) == [8 * k for k in range(count)]
    assert list(found.entries[1, GroupMembers.MASKS : GroupMembers.MASKS + count]) == [
        relabelling.masks[k] for k in range(count)
    ]
    assert list(found.entries[1, GroupMembers.LOWS : GroupMembers.LOWS + count]) == [2**k - 1 for k in range(count)]


def test_gates_with_the_same_numbers_are_not_done_at_once() -> None:
    """Their sums would be added to one place by several threads."""
    entries = np.zeros((2, Entry.SIZE), np.int64)
    for k, entry in enumerate(entries):
        entry[Entry.KIND], entry[Entry.MASK], entry[Entry.WEIGHTS] = _SINGLE, 1 << k, 1 << k
    assert [len(piece) for piece in group_gates(entries, 4, 0, (4, 4))] == [1, 1]


def test_what_makes_numbers_comes_before_the_gates_that_need_them_and_after_them_on_the_way_back() -> None:
    entries = np.zeros((6, Entry.SIZE), np.int64)
    for k in range(3):
        entries[2 * k, Entry.KIND], entries[2 * k, Entry.FIRST] = _ROTATION, 10 * k
        entries[2 * k + 1, [Entry.KIND, Entry.FIRST]] = _SINGLE, 10 * k
        entries[2 * k + 1, [Entry.MASK, Entry.WEIGHTS]] = 1 << k, 1 << k
    for backward, kinds in (
        (False, [_ROTATION, _ROTATION, _ROTATION, GROUP_KINDS["dense_group", 3], 1]),
        (True, [GROUP_KINDS["dense_group", 3], 1, _ROTATION, _ROTATION, _ROTATION]),
    ):
        found = grouped_entries(
            entries, 4, 0, backward
        )  # 1: the first mask, where the entry before says what there is
        assert (found.entries[:, Entry.KIND].tolist(), found.count, found.entries.dtype) == (kinds, 4, np.int32)


def singles(count: int) -> np.ndarray:
    entries = np.zeros((count, Entry.SIZE), np.int64)
    for k, entry in enumerate(entries):
        entry[[Entry.KIND, Entry.FIRST, Entry.MASK, Entry.WEIGHTS, Entry.REAL_ROWS]] = (
            _SINGLE,
            8 * k,
            1 << k,
            1 << k,
            k != 4,
        )
    return entries


def test_fewer_gates_go_back_at_once() -> None:
    entries = singles(4)
    assert [grouped_entries(entries, 4, 0, backward).entries[0, Entry.KIND] for backward in (False, True)] == [
        GROUP_KINDS["dense_group", MAX_GROUP],
        _SINGLE,  # the last gate alone comes first
    ]
    assert MAX_GROUP_BACK == 3


def test_pieces_of_shared_gates_are_numbered_and_say_where_their_numbers_are() -> None:
    entries = singles(7)
    lists = CosetLists(8)
    before = grouped_entries(entries[:4], 8, 56, True, 0, lists)
    found = grouped_entries(entries, 8, 56, False, len(before.firsts), lists)
    assert found.entries[::2, [Entry.KIND, Entry.FIRST]].tolist() == [
        [GROUP_KINDS["scaled", MAX_SCALED], 1],  # the fifth gate has no real rows
        [GROUP_KINDS["scaled_real", 2], 2],
    ]
    assert found.firsts.tolist() == [[0, 8, 16, 24, 32], [40, 48, -1, -1, -1]]
    assert found.entries[::2, GroupEntry.COSETS].tolist() == [16, 16 + 8]  # behind the 16 cosets of the piece before
    assert len(lists.places) == 16 + 8 + 64
    assert grouped_entries(entries, 8, 56, False, 0, lists).entries[0, GroupEntry.COSETS] == 16  # the same list
    assert len(lists.places) == 16 + 8 + 64
    assert (
        found.entries[3, GroupMembers.MOVES : GroupMembers.MOVES + 2].tolist()
        == (4 * place_of(np.array([1 << 5, 1 << 6]))).tolist()
    )
    alone = grouped_entries(entries[:1], 8, 56, True, 0, CosetLists(8))
    assert alone.entries[0, Entry.KIND] == GROUP_KINDS["scaled_real", 1]
    assert grouped_entries(entries[:1], 8, 56, True).entries[:, Entry.KIND].tolist() == [_SINGLE]


@pytest.mark.parametrize("num_bits", [8, 11, 12, 13])
def test_places_are_all_different_and_linear(num_bits: int) -> None:
    rows = np.arange(2**num_bits)
    places = place_of(rows)
    np.testing.assert_array_equal(np.sort(places), rows)
    first, second = np.random.default_rng(0).integers(0, 2**num_bits, (2, 50))
    np.testing.assert_array_equal(place_of(first ^ second), place_of(first) ^ place_of(second))
    neighbours = place_of(4 * np.arange(32)[:, None] + np.arange(4))  # a warp moves four rows of each thread
    assert all(len(set((own & 31).tolist())) == 32 for own in neighbours.T)


def test_lists_have_the_rows_on_which_all_qubits_are_0() -> None:
    lists = CosetLists(8)
    assert (lists.start([0b11, 0b100]), lists.start([0b1]), lists.start([0b100, 0b11])) == (0, 64, 0)
    rows = np.arange(256)
    first = rows[(rows & 4 == 0) & (rows >> 1 & 1 == rows & 1)]
    np.testing.assert_array_equal(np.sort(lists.places[:64]), np.sort(4 * place_of(first)))
    np.testing.assert_array_equal(np.sort(lists.places[64:]), np.sort(4 * place_of(rows[rows & 1 == 0])))


def test_the_rows_of_a_warp_are_in_different_banks() -> None:
    rows = np.array([row for row in range(2**12) if not row & 0b10111])
    found = dealt_out(rows)
    np.testing.assert_array_equal(np.sort(found), rows)
    banks = (place_of(found) & 31).reshape(-1, 32)
    assert all(len(set(own)) == 32 for own in banks.tolist())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["ry"], True),
        (["ry", "rz"], True),
        (["h", "ry", "rz", "p", "t"], True),
        (["ry", "rz", "ry"], False),
        (["rx"], False),
        (["rz", "ry"], False),
        (["z", "ry"], True),
        ([], True),
    ],
)
def test_rows_are_real_but_for_a_phase_where_diagonal_gates_come_last(names: list[str], expected: bool) -> None:
    operations = [operation(name, 0, *[0.3 + k] * gate(name).num_angles) for k, name in enumerate(names)]
    assert has_real_rows(operations) == expected
    matrices = [in_float64(op.gate.matrix, [a.shift for a in op.angles]) for op in operations]
    matrix = reduce(lambda whole, own: own @ whole, matrices, np.eye(2))
    ratio = matrix[:, 0] * matrix[:, 1].conj()
    assert (np.abs(ratio.imag).max() < 1e-12) == expected
