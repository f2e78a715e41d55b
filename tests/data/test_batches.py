"""Batches: the plan's properties, and streams that start anywhere."""

import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qjax.checks import UserError
from qjax.data.batches import BatchIndices, BatchStream, batch_plan, batches_per_epoch, pad_rows

BUCKETS = (4, 8, 16)
LENGTHS = np.random.RandomState(0).randint(1, 17, size=101)


def plan(lengths=LENGTHS, **changes):
    values = {"seed": 0, "epoch": 0, "batch_size": 8, "bucket_lengths": BUCKETS}
    return batch_plan(np.asarray(lengths), **{**values, **changes})


def indices_of(batches):
    return [batch.indices.tolist() for batch in batches]


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 16), min_size=1, max_size=70),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 5),
    shuffle=st.booleans(),
)
def test_plan_is_a_partition_into_full_buckets(lengths, batch_size, seed, epoch, shuffle):
    batches = plan(lengths, seed=seed, epoch=epoch, batch_size=batch_size, shuffle=shuffle)
    seen = [index for batch in batches for index in batch.indices if index >= 0]
    assert sorted(seen) == list(range(len(lengths)))
    for batch in batches:
        assert batch.indices.shape == (batch_size,)
        assert batch.indices.dtype == np.int64
        real = batch.indices[batch.indices >= 0]
        assert len(real) > 0
        assert batch.indices.tolist() == [*real, *[-1] * (batch_size - len(real))]
        for index in real:  # the first bucket that fits, by trying each
            assert batch.length == next(length for length in BUCKETS if lengths[index] <= length)
    partial = Counter(batch.length for batch in batches if -1 in batch.indices)
    assert all(count == 1 for count in partial.values())
    assert len(batches) == batches_per_epoch(np.array(lengths), batch_size=batch_size, bucket_lengths=BUCKETS)


def test_order_is_determined_by_seed_and_epoch():
    assert indices_of(plan()) == indices_of(plan())
    orders = {str(indices_of(plan(seed=seed, epoch=epoch))) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert indices_of(plan(shuffle=False, seed=1)) == indices_of(plan(shuffle=False, epoch=3))
    assert [batch.length for batch in plan(shuffle=False)] == sorted(batch.length for batch in plan())


def test_order_is_the_recorded_one():
    # Every version of NumPy, Python and this project must give it, or a run could not be resumed after an update.
    batches = plan(range(1, 9), batch_size=2, seed=7, epoch=3)
    recorded = [(8, [5, 6]), (8, [4, 7]), (4, [2, 3]), (4, [1, 0])]
    assert [(batch.length, batch.indices.tolist()) for batch in batches] == recorded


def test_order_is_uniform():
    """Each of four examples comes first about as often as any other (chi-squared, 3 degrees of freedom, p 0.001)."""
    firsts = Counter(int(plan([1] * 4, batch_size=4, seed=seed)[0].indices[0]) for seed in range(1000))
    assert sum((firsts[i] - 250) ** 2 / 250 for i in range(4)) < 16.3


def test_pad_rows():
    arrays = [np.array([1, 2, 3], np.int32), np.array([], np.int32), np.array([4], np.int32)]
    rows = pad_rows(arrays, np.array([2, -1, 0, 1]), length=3, fill=9)
    assert rows.dtype == np.int32
    assert rows.tolist() == [[4, 9, 9], [9, 9, 9], [1, 2, 3], [9, 9, 9]]
    with pytest.raises(ValueError, match="broadcast"):
        pad_rows(arrays, np.array([0]), length=2, fill=0)


def make_batch(batch: BatchIndices) -> dict[str, np.ndarray]:
    arrays = [np.full(length, index, np.int32) for index, length in enumerate(LENGTHS)]
    return {"token_ids": pad_rows(arrays, batch.indices, length=batch.length, fill=-1), "indices": batch.indices}


def stream(make=make_batch, **changes):
    values = {"seed": 3, "batch_size": 8, "bucket_lengths": BUCKETS, "num_epochs": 3}
    return BatchStream(make, LENGTHS, **{**values, **changes})


def test_stream_is_the_plans_one_after_another():
    batches = stream()
    expected = [indices for epoch in range(3) for indices in indices_of(plan(seed=3, epoch=epoch))]
    read = list(batches.iterate())
    assert [position for position, _ in read] == list(range(len(batches)))
    assert [batch["indices"].tolist() for _, batch in read] == expected
    assert len(batches) == 3 * batches.batches_per_epoch == len(expected)
    assert batches[5]["indices"].tolist() == expected[5]


def test_stream_goes_on_from_anywhere_bit_for_bit():
    whole = list(stream().iterate())
    per_epoch = stream().batches_per_epoch
    for position in (0, 1, per_epoch - 1, per_epoch, per_epoch + 5, len(whole) - 1, len(whole)):
        rest = list(stream().iterate(position))
        assert len(rest) == len(whole) - position
        for (at, batch), (expected_at, expected) in zip(rest, whole[position:], strict=True):
            assert at == expected_at
            for name in expected:
                np.testing.assert_array_equal(batch[name], expected[name], strict=True)


def grain_threads():
    return [thread for thread in threading.enumerate() if "grain-prefetch" in thread.name]


def assert_no_threads():
    deadline = time.monotonic() + 5
    while grain_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert grain_threads() == []


def test_threads_end_with_the_iteration():
    iterator = stream().iterate(2)
    assert next(iterator)[0] == 2
    assert grain_threads()
    iterator.close()
    assert_no_threads()
    list(stream().iterate())
    assert_no_threads()


def test_error_in_a_batch_is_raised_at_that_batch():
    def fails(batch):
        if 17 in batch.indices:
            raise RuntimeError("example 17 is bad")
        return {"indices": batch.indices}

    batches = stream(fails)
    bad = next(p for p in range(len(batches)) if 17 in batches.batch_indices(p).indices)
    positions = []
    with pytest.raises(RuntimeError, match="example 17 is bad"):
        positions.extend(position for position, _ in batches.iterate(max(bad - 2, 0)))
    assert_no_threads()


def test_batches_are_made_ahead_and_only_as_needed():
    made = []
    iterator = stream(lambda batch: made.append(batch) or {"i": batch.indices}, num_epochs=50).iterate()
    next(iterator)
    time.sleep(0.2)
    assert 1 < len(made) < 20
    iterator.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size` must be at least 1"),
        ({"bucket_lengths": ()}, r"data\.bucket_lengths` must be positive lengths in ascending order"),
        ({"bucket_lengths": (8, 8, 16)}, "ascending order"),
        ({"bucket_lengths": (0, 16)}, "positive lengths"),
        ({"bucket_lengths": (4, 8)}, r"data\.bucket_lengths` must reach the longest example, 16"),
        ({"seed": -1}, r"seed and epoch` must be 0 or more"),
        ({"lengths": []}, "examples of a batch plan` must be at least one"),
    ],
)
def test_refused_plans(changes, message):
    with pytest.raises(UserError, match=message):
        plan(**changes)


def test_refused_streams():
    with pytest.raises(UserError, match=r"train\.num_epochs` must be at least 1"):
        stream(num_epochs=0)
    batches = stream()
    for position in (-1, len(batches) + 1):
        with pytest.raises(UserError, match=r"position` must lie in 0\.\."):
            batches.iterate(position)
    with pytest.raises(IndexError, match="position"):
        batches.batch_indices(len(batches))
