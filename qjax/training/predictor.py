"""Predictions of a model for any examples of a data set, in fixed batch shapes, on all devices of the mesh."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from qjax.data.batches import batch_plan
from qjax.training.features import Features
from qjax.training.inputs import FeatureInputs, Inputs, TokenInputs, make_batch
from qjax.training.mesh import make_mesh, parallelize, replicate, shard


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
    step: Callable[[dict[str, Any]], Any], *, inputs: Inputs, subset: np.ndarray, batching: Batching, mesh: Mesh
) -> list[np.ndarray]:
    """Returns `step`'s output for each example of `subset`, in its order.

    Args:
      step: takes a batch placed on the mesh, returns `[batch, ...]` with one row an example.
      inputs: of the whole data set.
      subset: data set indices.
      batching: shapes; the same shapes give the same numbers to the last digit.
      mesh: devices.

    Returns:
      `[...]` of each example; per-word outputs are cut to the example's words that the model saw.
    """
    outputs: list[np.ndarray] = [np.zeros(0)] * len(subset)
    plan = batch_plan(
        inputs.lengths[subset],
        seed=0,
        epoch=0,
        batch_size=batching.batch_size,
        bucket_lengths=batching.buckets(inputs),
        shuffle=False,
    )
    for spec in plan:
        batch = make_batch(inputs, None, subset, spec, words=batching.words)
        rows = fetch(step(shard(batch, mesh)))
        for row, index in zip(rows, spec.indices, strict=True):
            if index >= 0:
                outputs[index] = row[: inputs.num_words(int(subset[index]))] if batching.words else row
    return outputs


def compute_features(
    encode: Callable[[Any, dict[str, Any]], Any],
    params: Any,
    inputs: TokenInputs,
    *,
    batching: Batching,
    mesh: Mesh | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Features:
    """Returns a frozen encoder's features of every example.

    Args:
      encode: per-device `(params, batch) -> [batch, features]` or `[batch, words, features]`.
      params: of the encoder.
      inputs: word pieces.
      batching: shapes.
      mesh: devices; all by default.
      progress: called with the number of examples done after each batch.
    """
    mesh = mesh or make_mesh()
    step = parallelize(encode, mesh=mesh, wrapper="shard_map", batch_argument=1, num_arguments=2, sharded_output=True)
    placed = replicate(params, mesh)

    def counted(batch: dict[str, Any]) -> Any:
        output = step(placed, batch)
        if progress is not None:
            progress(int((np.asarray(fetch(batch["ids"])) >= 0).sum()))
        return output

    everything = np.arange(len(inputs.token_ids))
    rows = predict(counted, inputs=inputs, subset=everything, batching=batching, mesh=mesh)
    rows = [np.atleast_2d(row) for row in rows] if not batching.words else rows
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Features(values=np.concatenate(rows).astype(np.float32), offsets=offsets)
