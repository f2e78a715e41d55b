"""Gates that a GPU applies at once: in whatever order they are done, the product is the same matrix."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qjax.quantum.frame import Frame
from qjax.quantum.native.cuda.pieces import in_several, pieces_of
from qjax.quantum.native.forms import (
    COUNT,
    ENTRY,
    FIRST,
    FLIP,
    FORMS,
    KIND,
    LOW,
    MASK,
    MAX_SEVERAL,
    MAX_SEVERAL_BACK,
    MEMBERS,
    SEVERAL,
    WEIGHTS,
)

_SINGLE, _ROTATION = FORMS.index(("dense", 1, 0)), FORMS.index(("rotation", 1, 0))
_OTHERS = [("dense", 1, 1), ("dense", 2, 0), ("diagonal", 1, 0), ("diagonal", 2, 0)]


def random_entries(seed: int, num_qubits: int, count: int) -> np.ndarray:
    """Gates on random qubits, most of them on one, between CX and SWAP that move the frame."""
    rng, frame = np.random.default_rng(seed), Frame(num_qubits)
    found = []
    while len(found) < count:
        qubits = rng.permutation(num_qubits).tolist()
        if rng.random() < 0.3:
            frame.cx(*qubits[:2])
            continue
        form = ("dense", 1, 0) if rng.random() < 0.8 else _OTHERS[rng.integers(len(_OTHERS))]
        entry = np.zeros(ENTRY, np.int64)
        entry[KIND], entry[FIRST] = FORMS.index(form), 100 * len(found)
        for k, q in enumerate(qubits[: form[1] + form[2]]):
            entry[MASK + k], entry[WEIGHTS + k], entry[FLIP + k] = frame.masks[q], frame.weights[q], frame.flips[q]
        found.append(entry)
    return np.stack(found)


def matrix_of(entry: np.ndarray, num_qubits: int) -> np.ndarray:
    """The dense matrix of an entry, with numbers that its place alone decides on."""
    kind, targets, controls = FORMS[entry[KIND]]
    numbers = np.random.default_rng(int(entry[FIRST])).normal(size=(2**targets, 2**targets))
    small = np.diag(numbers[0]) if kind == "diagonal" else numbers
    whole = np.zeros((2**num_qubits, 2**num_qubits))
    for row in range(2**num_qubits):
        bits = [
            ((row & int(entry[WEIGHTS + k])).bit_count() + int(entry[FLIP + k])) % 2
            for k in range(targets + controls)
        ]
        if any(bit == 0 for bit in bits[targets:]):
            whole[row, row] = 1
            continue
        index = int("".join(map(str, bits[:targets])), 2)
        for other in range(2**targets):
            turned = [k for k in range(targets) if (index ^ other) >> (targets - 1 - k) & 1]
            column = reduce(lambda x, k: x ^ int(entry[MASK + k]), turned, row)
            whole[row, column] += small[index, other]
    return whole


def product(entries: Sequence[np.ndarray], num_qubits: int) -> Any:
    return reduce(lambda whole, entry: matrix_of(entry, num_qubits) @ whole, entries, np.eye(2**num_qubits))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), num_qubits=st.integers(3, 6), most=st.sampled_from([2, 3, 4]))
def test_pieces_are_the_same_circuit(seed: int, num_qubits: int, most: int) -> None:
    entries = random_entries(seed, num_qubits, 14)
    pieces = in_several(entries, num_qubits, most)
    gates = [entry for piece in pieces for entry in (piece[1:] if len(piece) > 1 else piece)]
    assert sorted(int(gate[FIRST]) for gate in gates) == sorted(entries[:, FIRST])
    expected = product(list(entries), num_qubits)
    np.testing.assert_allclose(product(gates, num_qubits), expected, atol=1e-9 * np.abs(expected).max())
    for piece in pieces:
        assert len(piece) == 1 or 2 <= len(piece) - 1 <= most


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_entry_before_gates_says_how_many_they_are_and_where_their_cosets_begin(count: int) -> None:
    frame = Frame(5)
    entries = np.zeros((count, ENTRY), np.int64)
    for k, entry in enumerate(entries):
        entry[KIND], entry[FIRST] = _SINGLE, 8 * k
        entry[MASK], entry[WEIGHTS] = frame.masks[k], frame.weights[k]
    (piece,) = in_several(entries, 5, 4)
    head = piece[0]
    assert (head[KIND], head[MEMBERS], head[COUNT]) == (SEVERAL[count], count, 2 ** (5 - count))
    assert list(head[LOW : LOW + count]) == [2**k - 1 for k in range(count)]
    np.testing.assert_array_equal(piece[1:], entries)


def test_gates_with_the_same_numbers_are_not_done_at_once() -> None:
    """Their sums would be added to one place by several threads."""
    entries = np.zeros((2, ENTRY), np.int64)
    for k, entry in enumerate(entries):
        entry[KIND], entry[MASK], entry[WEIGHTS] = _SINGLE, 1 << k, 1 << k
    assert [len(piece) for piece in in_several(entries, 4, 4)] == [1, 1]


def test_what_makes_numbers_comes_before_the_gates_that_need_them_and_after_them_on_the_way_back() -> None:
    entries = np.zeros((6, ENTRY), np.int64)
    for k in range(3):
        entries[2 * k, KIND], entries[2 * k, FIRST] = _ROTATION, 10 * k
        entries[2 * k + 1, [KIND, FIRST]] = _SINGLE, 10 * k
        entries[2 * k + 1, [MASK, WEIGHTS]] = 1 << k, 1 << k
    for backward, kinds in (
        (False, [_ROTATION, _ROTATION, _ROTATION, SEVERAL[3], _SINGLE, _SINGLE, _SINGLE]),
        (True, [SEVERAL[3], _SINGLE, _SINGLE, _SINGLE, _ROTATION, _ROTATION, _ROTATION]),
    ):
        found, count = pieces_of(entries, 4, backward)
        assert (found[:, KIND].tolist(), count, found.dtype) == (kinds, 4, np.int32)


def test_fewer_gates_go_back_at_once() -> None:
    entries = np.zeros((4, ENTRY), np.int64)
    for k, entry in enumerate(entries):
        entry[[KIND, FIRST, MASK, WEIGHTS]] = _SINGLE, k, 1 << k, 1 << k
    assert [pieces_of(entries, 4, backward)[0][0, MEMBERS] for backward in (False, True)] == [
        MAX_SEVERAL,
        0,  # the last gate alone comes first
    ]
    assert MAX_SEVERAL_BACK == 3
