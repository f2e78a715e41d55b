"""Batches of examples of similar length, and the stream of them that training reads.

The plan of an epoch is a pure function of lengths, seed and epoch, and the stream's position is one integer: the
number of batches before. A stream that starts anywhere therefore goes on exactly as one that came there by itself.
"""

import contextlib
import functools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from qjax.checks import check
from qjax.untrusted import MAX_COUNT

_NUM_THREADS = 2
_NUM_PREFETCHED = 8


@dataclass(frozen=True, eq=False)
class BatchIndices:
    """One batch of a plan.

    Attributes:
      length: the bucket's length, to which every row is padded.
      indices: int64 `[batch_size]`, positions in the `lengths` of the plan, and -1 in rows of padding.
    """

    length: int
    indices: np.ndarray


def batch_plan(
    lengths: np.ndarray,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    bucket_lengths: Sequence[int],
    shuffle: bool = True,
) -> tuple[BatchIndices, ...]:
    """Returns the batches of one epoch: every example exactly once, each in the first bucket that fits it.

    A batch holds examples of one bucket. The last batch of each bucket may be partial: its indices end in -1. Every
    epoch has `batches_per_epoch` batches. Both the examples of a bucket and the batches come in an order that (seed,
    epoch) determine; it is the same under every NumPy version.

    Args:
      lengths: int `[examples]`, number of tokens each.
      seed, epoch: integers from 0; they choose the order.
      batch_size: rows of every batch.
      bucket_lengths: lengths of the buckets, ascending; the last holds the longest example.
      shuffle: False takes the examples by index and the buckets by length, in every epoch.
    """
    buckets = _assign_buckets(lengths, batch_size, bucket_lengths)
    check(seed >= 0 and epoch >= 0, "seed and epoch", "be 0 or more", (seed, epoch))
    generator = np.random.PCG64(np.random.SeedSequence([seed, epoch]))
    batches = []
    for bucket, length in enumerate(bucket_lengths):
        members = np.flatnonzero(buckets == bucket)
        if shuffle:
            members = members[_permutation(generator, len(members))]
        padding = np.full(-len(members) % batch_size, -1, dtype=np.int64)
        for indices in np.concatenate([members, padding]).reshape(-1, batch_size):
            batches.append(BatchIndices(int(length), indices))
    order = _permutation(generator, len(batches)) if shuffle else np.arange(len(batches))
    return tuple(batches[position] for position in order)


def batches_per_epoch(lengths: np.ndarray, *, batch_size: int, bucket_lengths: Sequence[int]) -> int:
    """Returns the number of batches in every epoch of `batch_plan`."""
    buckets = _assign_buckets(lengths, batch_size, bucket_lengths)
    return int(sum(-(-count // batch_size) for count in np.bincount(buckets)))


def pad_rows(arrays: Sequence[np.ndarray], indices: np.ndarray, *, length: int, fill: int) -> np.ndarray:
    """Returns the arrays of a batch side by side, padded at the end.

    Args:
      arrays: `[n]` each, one dtype, n at most `length` for those that are chosen.
      indices: `[batch_size]`, which arrays; -1 makes a row of nothing but `fill`.
      length: of the rows.
      fill: value of padding.

    Returns:
      `[batch_size, length]`, in the dtype of the arrays.
    """
    rows = np.full((len(indices), length), fill, dtype=arrays[0].dtype)
    for row, index in enumerate(indices):
        if index >= 0:
            rows[row, : len(arrays[index])] = arrays[index]
    return rows


class BatchStream:
    """All batches of a training run, read by position and made ahead of time on background threads."""

    def __init__(
        self,
        make_batch: Callable[[BatchIndices], dict[str, np.ndarray]],
        lengths: np.ndarray,
        *,
        seed: int,
        batch_size: int,
        bucket_lengths: Sequence[int],
        num_epochs: int,
    ):
        """Makes a stream of `num_epochs` epochs of `batch_plan`.

        Args:
          make_batch: makes the arrays of a batch; called on several threads at once, so it must be pure.
          lengths, seed, batch_size, bucket_lengths: as in `batch_plan`.
          num_epochs: epochs until the stream ends.
        """
        check(num_epochs >= 1, "train.num_epochs", "be at least 1", num_epochs)
        self.batches_per_epoch = batches_per_epoch(lengths, batch_size=batch_size, bucket_lengths=bucket_lengths)
        self.num_batches = num_epochs * self.batches_per_epoch
        most = MAX_COUNT // self.batches_per_epoch  # steps are counted in 32 bits
        expectation = f"be at most {most} with {self.batches_per_epoch} steps an epoch"
        check(num_epochs <= most, "train.num_epochs", expectation, num_epochs)
        self._make_batch = make_batch
        plan = functools.partial(
            batch_plan, lengths, seed=seed, batch_size=batch_size, bucket_lengths=tuple(bucket_lengths)
        )
        # Two epochs: at the border of epochs the threads read from both.
        self._plan = functools.lru_cache(maxsize=2)(lambda epoch: plan(epoch=epoch))

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, position: int) -> dict[str, np.ndarray]:
        """Returns the batch at a position, from 0 to below `num_batches`."""
        return self._make_batch(self.batch_indices(position))

    def batch_indices(self, position: int) -> BatchIndices:
        """Returns which examples are in the batch at a position."""
        if not 0 <= position < self.num_batches:
            raise IndexError(f"position {position} is not in 0..{self.num_batches - 1}")
        epoch, place = divmod(position, self.batches_per_epoch)
        return self._plan(epoch)[place]

    def iterate(self, position: int = 0) -> Generator[tuple[int, dict[str, np.ndarray]], None, None]:
        """Yields (position, batch) from a position to the end of the stream.

        Batches are prefetched; an error in `make_batch` is raised here, at its batch. The threads end with the
        iteration, and when the iterator is closed or dropped before the end.
        """
        check(0 <= position <= self.num_batches, "position", f"lie in 0..{self.num_batches}", position)
        return self._prefetched(position)

    def _prefetched(self, position: int) -> Generator[tuple[int, dict[str, np.ndarray]], None, None]:
        if position == self.num_batches:
            return
        # Here because grain imports jax, which plans and padding do without.
        import grain

        options = grain.ReadOptions(num_threads=_NUM_THREADS, prefetch_buffer_size=_NUM_PREFETCHED)
        dataset = grain.MapDataset.range(position, self.num_batches).map(self.__getitem__).to_iter_dataset(options)
        with contextlib.closing(iter(dataset)) as batches:
            yield from enumerate(batches, start=position)


def _assign_buckets(lengths: np.ndarray, batch_size: int, bucket_lengths: Sequence[int]) -> np.ndarray:
    """Returns for each example the number of the first bucket that fits it."""
    check(len(lengths) > 0, "examples of a batch plan", "be at least one", "none")
    check(batch_size >= 1, "batch_size", "be at least 1", batch_size)
    ascending = len(bucket_lengths) > 0 and bucket_lengths[0] >= 1 and bool(np.all(np.diff(bucket_lengths) > 0))
    check(ascending, "data.bucket_lengths", "be positive lengths in ascending order", tuple(bucket_lengths))
    longest = int(np.max(lengths))
    check(
        longest <= bucket_lengths[-1], "data.bucket_lengths", f"reach the longest example, {longest}", bucket_lengths
    )
    return np.searchsorted(np.asarray(bucket_lengths), lengths, side="left")


def _permutation(generator: np.random.PCG64, size: int) -> np.ndarray:
    """Returns a random order of `size` things from the raw words of the generator.

    NumPy promises the raw words to be the same in all its versions, and what `Generator.permutation` makes of them
    not (NEP 19).
    """
    return np.argsort(generator.random_raw(size), kind="stable")
