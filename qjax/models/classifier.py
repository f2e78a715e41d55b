"""The whole model: an encoder, a pooling and a head; or the head alone, on features computed before."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from qjax.checks import check_choice
from qjax.types import Array, Float, Int, Key

POOLINGS = ("mean", "cls")


def pool(
    hidden: Float[Array, "batch length features"], mask: Int[Array, "batch length"], pooling: str
) -> Float[Array, "batch features"]:
    """Returns one feature vector a text: the mean over its real tokens, or the first ([CLS]) token's.

    A row without a real token (the filling of a last batch) gives zeros under 'mean'.
    """
    check_choice("encoder.pooling", pooling, POOLINGS)
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.astype(hidden.dtype)
    total = jnp.einsum("bl,blf->bf", weights, hidden)
    return total / jnp.maximum(weights.sum(axis=1, keepdims=True), 1)


def take_first_pieces(
    hidden: Float[Array, "batch length features"], positions: Int[Array, "batch words"]
) -> Float[Array, "batch words features"]:
    """Returns each word's features: those of its first word piece. Position -1 (no word) gives zeros."""
    words = jnp.take_along_axis(hidden, jnp.maximum(positions, 0)[:, :, None], axis=1)
    return jnp.where((positions >= 0)[:, :, None], words, jnp.zeros((), hidden.dtype))


def features_of(encoder_output: Any, batch: Mapping[str, Any], *, task: str, pooling: str) -> Float[Array, "..."]:
    """Returns what a head reads of an encoder's output, `[batch, features]` or `[batch, words, features]`."""
    hidden = encoder_output.last_hidden_state
    hidden = hidden.astype(jnp.promote_types(hidden.dtype, jnp.float32))
    if task == "entities":
        return take_first_pieces(hidden, batch["positions"])
    return pool(hidden, batch["mask"], pooling)


class Classifier(nn.Module):
    """Encoder and head under one set of parameters.

    Attributes:
      head: a module of `qjax.models.heads`, or any with the same call.
      encoder: a module called as `Bert`; None where batches carry 'features' already.
      task: 'sentence' or 'entities'.
      pooling: see `pool`; unused for entities.
    """

    head: nn.Module
    encoder: nn.Module | None = None
    task: str = "sentence"
    pooling: str = "mean"

    def __call__(
        self, batch: Mapping[str, Any], *, dropout_keys: Key[Array, " batch"] | None = None
    ) -> Float[Array, "..."]:
        """Returns logits `[batch, classes]` or, for entities, `[batch, words, classes]`.

        Args:
          batch: 'features' without an encoder; with one 'token_ids' and 'mask', `[batch, length]`, and for entities
            'positions', `[batch, words]`, each word's first word piece.
          dropout_keys: one key an example; None for no dropout.
        """
        if self.encoder is None:
            features = batch["features"]
        else:
            output = self.encoder(batch["token_ids"], batch["mask"], dropout_keys=dropout_keys)
            features = features_of(output, batch, task=self.task, pooling=self.pooling)
        return self.head(features, dropout_keys=dropout_keys)
