"""Quantum minimum finding: how often it is right within its bound, and whether its ledger is exact."""

import math
from typing import Any

import jax
import numpy as np
import pytest

from qjax.algorithms import grover
from qjax.algorithms.minimum import MinimumResult, find_minimum, query_bound
from qjax.checks import UserError


def check_ledger(result: MinimumResult, table: np.ndarray) -> None:
    """Every step starts from what the step before found, below its threshold, and all queries are there."""
    total = 0
    for step, later in zip(result.steps, [*result.steps[1:], None], strict=True):
        assert step.threshold == table[step.threshold_index]
        assert step.num_queries == sum(step.iterations) + len(step.iterations)
        total += step.num_queries
        if later is None:
            assert step.found is None
            assert step.threshold_index == result.index
        else:
            assert step.found == later.threshold_index
            assert later.threshold < step.threshold
    assert result.num_queries == total <= result.max_queries
    assert result.value == table[result.index]


@pytest.mark.parametrize(("num_entries", "num_tables"), [(2, 20), (3, 20), (8, 20), (21, 30), (64, 30), (100, 20)])
def test_right_within_the_bound_at_least_every_other_time(num_entries: int, num_tables: int) -> None:
    right = 0
    for seed in range(num_tables):
        table = np.random.default_rng(seed).normal(size=num_entries)
        result = find_minimum(table, jax.random.key(seed))
        check_ledger(result, table)
        assert result.max_queries == query_bound(2 ** math.ceil(math.log2(num_entries)))
        right += result.index == table.argmin()
    assert right >= num_tables / 2


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
def test_ties_and_padding(dtype: Any) -> None:
    """Few values, so that many entries are equal; all above 0, which an entry beyond the table could be taken for."""
    for seed in range(15):
        table = np.random.default_rng(seed).integers(5, 8, size=11).astype(dtype)
        result = find_minimum(table, jax.random.key(seed))
        check_ledger(result, table)
        assert result.index < 11
        assert result.value == table.min()  # within 22.5 * 4 + 1.4 * 16 queries it hardly ever fails


def test_a_constant_table_and_one_entry() -> None:
    result = find_minimum([7, 7, 7, 7], jax.random.key(0))
    assert len(result.steps) == 1
    assert result.value == 7
    assert find_minimum([3.5], jax.random.key(0)).index == 0


def test_it_needs_fewer_queries_than_looking_at_all() -> None:
    """At 1024 entries the queries up to the last threshold average far below the 1024 look-ups."""
    spent = []
    for seed in range(5):
        table = np.random.default_rng(seed).permutation(1024)
        result = find_minimum(table, jax.random.key(seed))
        assert result.value == 0
        spent.append(sum(step.num_queries for step in result.steps[:-1]))
    assert np.mean(spent) < query_bound(1024) / 2 < 512


@pytest.mark.parametrize("limit", [0, 3, 20])
def test_the_queries_may_be_limited(limit: int) -> None:
    table = np.random.default_rng(0).normal(size=32)
    result = find_minimum(table, jax.random.key(3), max_queries=limit)
    check_ledger(result, table)
    assert result.max_queries == limit


def test_all_it_asks_of_the_oracle_is_in_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the iterations and checks that are really run."""
    asked = []
    attempt = grover._attempt

    def counted(key: Any, mask: Any, num_marked: int, count: int) -> Any:
        asked.append(count + 1)
        return attempt(key, mask, num_marked, count)

    monkeypatch.setattr(grover, "_attempt", counted)
    result = find_minimum(np.random.default_rng(1).normal(size=40), jax.random.key(1))
    assert sum(asked) == result.num_queries
    assert len(asked) == sum(len(step.iterations) for step in result.steps)


def test_query_bound() -> None:
    assert query_bound(1) == 22
    assert query_bound(256) == math.floor(22.5 * 16 + 1.4 * 64)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"`values` must have the shape \[N\], N at least 1, but got \[0\]"),
        ([[1, 2]], r"`values` must have the shape \[N\], N at least 1, but got \[1, 2\]"),
        ([1.0, math.nan], "`values` must hold finite numbers"),
        ([1j, 2.0], "`values` must hold real numbers"),
    ],
)
def test_mistakes(values: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_minimum(values, jax.random.key(0))


def test_a_wrong_limit() -> None:
    with pytest.raises(UserError, match="`max_queries` must be an integer of at least 0"):
        find_minimum([1, 2], jax.random.key(0), max_queries=-1)
    with pytest.raises(UserError, match="`num_entries` must be an integer of at least 1"):
        query_bound(0)
