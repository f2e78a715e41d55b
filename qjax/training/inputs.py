"""Model-ready inputs of a list of texts or sentences, and the batches cut from them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from qjax.data.batches import BatchIndices, pad_rows
from qjax.training.features import Features


@dataclasses.dataclass(frozen=True)
class TokenInputs:
    """Word pieces for an encoder.

    Attributes:
      token_ids: int32 `[pieces]` of each example.
      positions: for entities, int32 `[words]` of each example: the first piece of each word that was not cut off.
      num_cut: texts (or words, for entities) that `data.max_length` cut.
    """

    token_ids: Sequence[np.ndarray]
    positions: Sequence[np.ndarray] | None = None
    num_cut: int = 0

    @property
    def lengths(self) -> np.ndarray:
        """Lengths by which batches are bucketed: pieces, `[examples]`."""
        return np.asarray([len(ids) for ids in self.token_ids], np.int64)

    def num_words(self, example: int) -> int:
        """Returns how many leading words of an example the model sees; those beyond `data.max_length` are cut."""
        assert self.positions is not None
        return len(self.positions[example])

    def rows(self, spec: BatchIndices) -> dict[str, np.ndarray]:
        """Returns 'token_ids' and 'mask' `[batch, length]` and, for entities, 'positions' `[batch, length]`."""
        token_ids = pad_rows(self.token_ids, spec.indices, length=spec.length, fill=0)
        lengths = np.asarray([len(self.token_ids[i]) if i >= 0 else 0 for i in spec.indices])
        mask = (np.arange(spec.length)[None, :] < lengths[:, None]).astype(np.int32)
        batch = {"token_ids": token_ids, "mask": mask}
        if self.positions is not None:
            batch["positions"] = pad_rows(self.positions, spec.indices, length=spec.length, fill=-1)
        return batch


@dataclasses.dataclass(frozen=True)
class FeatureInputs:
    """Features of a frozen encoder.

    Attributes:
      features: rows of every example.
      words: for entities the words of each example; None for sentences, which have one row each.
      num_cut: as in `TokenInputs`.
    """

    features: Features
    words: bool = False
    num_cut: int = 0

    @property
    def lengths(self) -> np.ndarray:
        """Lengths by which batches are bucketed: words for entities, 1 for sentences, `[examples]`."""
        return np.diff(self.features.offsets)

    def num_words(self, example: int) -> int:
        """As in `TokenInputs`."""
        return len(self.features.of(example))

    def rows(self, spec: BatchIndices) -> dict[str, np.ndarray]:
        """Returns 'features', `[batch, features]` or `[batch, words, features]`; filling rows are zeros."""
        width = self.features.values.shape[1]
        values = np.zeros((len(spec.indices), spec.length, width), self.features.values.dtype)
        for row, index in enumerate(spec.indices):
            if index >= 0:
                own = self.features.of(int(index))
                values[row, : len(own)] = own
        return {"features": values if self.words else values[:, 0]}


Inputs = TokenInputs | FeatureInputs


def label_rows(inputs: Inputs, labels: Sequence[Any], spec: BatchIndices, *, words: bool) -> np.ndarray:
    """Returns int32 labels, `[batch]` or `[batch, length]`; -1 where nothing counts.

    Args:
      inputs: say how many words of an example the model sees; a word that was cut is not trained on.
      labels: an int, or the ints of the words, of each example.
      spec: the batch.
      words: whether labels belong to words.
    """
    if not words:
        return np.asarray([labels[i] if i >= 0 else -1 for i in spec.indices], np.int32)
    rows = np.full((len(spec.indices), spec.length), -1, np.int32)
    for row, index in enumerate(spec.indices):
        if index >= 0:
            seen = inputs.num_words(int(index))
            rows[row, :seen] = labels[index][:seen]
    return rows


def make_batch(
    inputs: Inputs, labels: Sequence[Any] | None, subset: np.ndarray, spec: BatchIndices, *, words: bool
) -> dict[str, np.ndarray]:
    """Returns one batch of arrays.

    Args:
      inputs: of the whole data set.
      labels: of the whole data set; None where there are none (prediction).
      subset: `[examples of a split]`, data set indices; `spec` counts within it.
      spec: which rows, and the padded length.
      words: whether labels belong to words.
    """
    chosen = np.where(spec.indices >= 0, subset[np.maximum(spec.indices, 0)], -1)
    spec = dataclasses.replace(spec, indices=chosen)
    batch = inputs.rows(spec)
    batch["ids"] = chosen.astype(np.int32)
    if labels is not None:
        batch["labels"] = label_rows(inputs, labels, spec, words=words)
    return batch
