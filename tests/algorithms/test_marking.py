"""The forms in which marked states are said all give one mask, and each mistake its error."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qjax.algorithms.marking import marked_indices, marked_mask
from qjax.checks import UserError


@st.composite
def marked_sets(draw: Callable[..., Any]) -> tuple[int, set[int]]:
    n = draw(st.integers(1, 6))
    return n, draw(st.sets(st.integers(0, 2**n - 1), min_size=1))


@settings(max_examples=12, deadline=None)
@given(marked_sets())
def test_all_forms_give_one_mask(case: tuple[int, set[int]]) -> None:
    n, marked = case
    expected = np.array([i in marked for i in range(2**n)])
    indices = list(marked)
    table = jnp.asarray(expected)
    forms: list[Any] = [
        indices,
        np.array(indices, np.uint8),
        jnp.array(indices),
        tuple(f"{i:0{n}b}" for i in indices),
    ]
    forms += [expected, expected.tolist(), table, lambda index: table[index]]
    for form in forms:
        mask = marked_mask(n, form)
        assert mask.dtype == jnp.bool_
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_array_equal(marked_indices(n, form), sorted(marked))


def test_qubit_0_is_leftmost_in_a_bitstring() -> None:
    np.testing.assert_array_equal(marked_indices(3, ["100", "011"]), [3, 4])


def test_one_index_and_one_bitstring_stand_alone() -> None:
    np.testing.assert_array_equal(marked_indices(3, 6), [6])
    np.testing.assert_array_equal(marked_indices(3, "110"), [6])


def test_predicate_is_traced_over_int32_indices() -> None:
    seen = []

    def predicate(index: Any) -> Any:
        seen.append(index)
        return (index * index) % 7 == 2

    expected = [i for i in range(64) if i * i % 7 == 2]
    np.testing.assert_array_equal(marked_indices(6, predicate), expected)
    assert isinstance(seen[0], jax.Array)
    assert (seen[0].shape, seen[0].dtype) == ((64,), jnp.int32)


def test_nothing_may_be_marked_by_booleans_and_predicates() -> None:
    assert not marked_mask(2, [False] * 4).any()
    assert not marked_mask(2, lambda index: index > 3).any()


def test_a_mask_may_be_traced() -> None:
    mask = jnp.array([True, False])
    np.testing.assert_array_equal(jax.jit(lambda m: marked_mask(1, m))(mask), mask)


@pytest.mark.parametrize(
    ("num_qubits", "marked", "message"),
    [
        (2, [], "name at least one state, but got none"),
        (2, [0, 4], r"hold indices in 0\.\.3, but got 4"),
        (2, [-1], r"hold indices in 0\.\.3, but got -1"),
        (2, [3, 1, 3], "name each state once, but got 3 2 times"),
        (2, ["011"], "hold bitstrings of 2 characters 0 and 1, but got '011'"),
        (2, ["0x"], "hold bitstrings of 2 characters 0 and 1, but got '0x'"),
        (2, ["01", "01"], "name each state once"),
        (2, [True, False], r"have one boolean for each of 4 basis states, but got the shape \[2\]"),
        (2, [1.0], "hold basis indices, bitstrings.*type float64"),
        (2, [[0, 1]], r"have one axis, but got the shape \[1, 2\]"),
        (2, [[0], [1, 2]], "hold basis indices, bitstrings"),
        (2, lambda index: index, "return an array of booleans, but got int32"),
        (2, lambda index: (index, index), "return an array of booleans, but got tuple"),
        (2, lambda index: True, r"one boolean for each of 4 basis states, but got the shape \[\]"),
        (2, lambda index: (index == 1)[:2], r"one boolean for each of 4 basis states, but got the shape \[2\]"),
        (2, lambda index: index > 1 if index[0] == 0 else index < 1, "be a function that JAX can trace"),
        (0, [0], r"`num_qubits` must be an integer in 1\.\.31, but got 0"),
        (32, [0], r"`num_qubits` must be an integer in 1\.\.31, but got 32"),
    ],
)
def test_mistakes(num_qubits: Any, marked: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        marked_mask(num_qubits, marked)
