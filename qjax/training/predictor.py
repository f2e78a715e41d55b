"""Predictions of a model for any examples of a data set, in fixed batch shapes, on all devices of the mesh."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from qjax.data.batches import BatchIndices, batch_plan
from qjax.training.features import Features
from qjax.training.inputs import FeatureInputs, Inputs, TokenInputs, make_batch
from qjax.training.mesh import make_mesh, parallelize, replicate, shard

# Of features that are kept while the others are computed: few enough that little is lost by a stop.
BATCHES_IN_A_PART = 4


def fetch(array: Any) -> np.ndarray:
    """Returns a global array as NumPy, gathered from every host where there are several."""
    if jax.process_count() > 1:
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)


@dataclasses.dataclass(frozen=True)
class Batching:
    """Shapes of batches: rows, the lengths they are padded to, and whether an example has one row a word."""

    batch_size: int
    bucket_lengths: tuple[int, ...]
    words: bool

    def buckets(self, inputs: Inputs) -> tuple[int, ...]:
        """Returns the bucket lengths that fit `inputs`: a sentence's features have no length to bucket by."""
        if isinstance(inputs, FeatureInputs) and not inputs.words:
            return (1,)
        return self.bucket_lengths


def predict(
    step: Callable[[dict[str, Any]], Any],
    *,
    inputs: Inputs,
    subset: np.ndarray,
    batching: Batching,
    mesh: Mesh,
    check_stop: Callable[[], None] | None = None,
    progress: Callable[[int], Any] = lambda num_examples: None,
) -> list[np.ndarray]:
    """Returns `step`'s output for each example of `subset`, in its order.

    Args:
      step: takes a batch placed on the mesh, returns `[batch, ...]` with one row an example.
      inputs: of the whole data set.
      subset: data set indices.
      batching: shapes; the same shapes give the same numbers to the last digit.
      mesh: devices.
      check_stop: called before each batch; what it raises ends the prediction.
      progress: called with the number of examples done after each batch.

    Returns:
      `[...]` of each example; per-word outputs are cut to the example's words that the model saw.
    """
    outputs: list[np.ndarray] = [np.zeros(0)] * len(subset)
    plan = _plan(inputs, subset, batching)
    for spec in plan:
        if check_stop is not None:
            check_stop()
        for index, row in _outputs(step, [spec], inputs, subset, words=batching.words, mesh=mesh):
            outputs[index] = row
        progress(int((np.asarray(spec.indices) >= 0).sum()))
    return outputs


def _plan(inputs: Inputs, subset: np.ndarray, batching: Batching) -> tuple[BatchIndices, ...]:
    return batch_plan(
        inputs.lengths[subset],
        seed=0,
        epoch=0,
        batch_size=batching.batch_size,
        bucket_lengths=batching.buckets(inputs),
        shuffle=False,
    )


def _outputs(
    step: Callable[[dict[str, Any]], Any],
    plan: Sequence[BatchIndices],
    inputs: Inputs,
    subset: np.ndarray,
    *,
    words: bool,
    mesh: Mesh,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields place in `subset` and output of each example of some batches, as in `predict`."""
    for spec in plan:
        batch = make_batch(inputs, None, subset, spec, words=words)
        rows = fetch(step(shard(batch, mesh)))
        for row, index in zip(rows, spec.indices, strict=True):
            if index >= 0:
                yield int(index), row[: inputs.num_words(int(subset[index]))] if words else row


def compute_features(
    encode: Callable[[Any, dict[str, Any]], Any],
    params: Any,
    inputs: TokenInputs,
    *,
    batching: Batching,
    mesh: Mesh | None = None,
    progress: Callable[[int], Any] = lambda num_examples: None,
    keep: Callable[[str, Callable[[], Features]], Features] = lambda name, compute: compute(),
) -> Features:
    """Returns a frozen encoder's features of every example.

    Args:
      encode: per-device `(params, batch) -> [batch, features]` or `[batch, words, features]`.
      params: of the encoder.
      inputs: word pieces.
      batching: shapes.
      mesh: devices; all by default.
      progress: called with the numbers of examples done, which add up to all.
      keep: `(name, compute) -> features` of a part of the examples, computed or kept from a run that was stopped; the
        name says which examples in which batches.
    """
    mesh = mesh or make_mesh()
    step = parallelize(encode, mesh=mesh, wrapper="shard_map", batch_argument=1, num_arguments=2, sharded_output=True)
    placed = replicate(params, mesh)

    everything = np.arange(len(inputs.token_ids))
    plan = _plan(inputs, everything, batching)
    rows: list[np.ndarray] = [np.zeros(0)] * len(everything)
    for first in range(0, len(plan), BATCHES_IN_A_PART):
        specs = plan[first : first + BATCHES_IN_A_PART]

        def compute(specs: Sequence[BatchIndices] = specs) -> Features:
            outputs = _outputs(
                lambda batch: step(placed, batch), specs, inputs, everything, words=batching.words, mesh=mesh
            )
            return Features.of_rows([row for _, row in outputs])

        part = keep(f"{batching.batch_size}-{first}", compute)
        indices = [int(i) for spec in specs for i in spec.indices if i >= 0]
        for place, index in enumerate(indices):
            rows[index] = part.of(place)
        progress(len(indices))
    return Features.of_rows(rows)
