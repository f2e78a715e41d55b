"""Cross-entropy as sums and counts of valid items, so that shards and micro-batches add up exactly.

A mean of means depends on how the items were dealt out; a sum of sums divided once by the sum of counts does not.
"""

import jax
import jax.numpy as jnp

from qjax.types import Array, Float, Int


def binary_cross_entropy(logits: Float[Array, "*items 2"], labels: Int[Array, "*items"]) -> Float[Array, "*items"]:
    """Returns -[y log p + (1 - y) log(1 - p)] of each item, p the probability of class 1.

    With two logits p = sigmoid(logit_1 - logit_0); both logarithms come from log_sigmoid, which does not overflow.
    """
    difference = logits[..., 1] - logits[..., 0]
    y = labels.astype(logits.dtype)
    return -(y * jax.nn.log_sigmoid(difference) + (1 - y) * jax.nn.log_sigmoid(-difference))


def cross_entropy(logits: Float[Array, "*items classes"], labels: Int[Array, "*items"]) -> Float[Array, "*items"]:
    """Returns -log p[label] of each item, p the softmax of its logits; with two classes the binary form.

    Labels below 0 (an item that does not count) give an unspecified finite value: mask them.
    """
    labels = jnp.maximum(labels, 0)
    if logits.shape[-1] == 2:
        return binary_cross_entropy(logits, labels)
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]


def loss_sums(
    logits: Float[Array, "*items classes"], labels: Int[Array, "*items"]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Returns the summed loss, the number of valid items and of right ones among them.

    Args:
      logits: `[..., classes]`.
      labels: `[...]`; -1 marks padding, masked sub-tokens and the filling of a last batch, which count for nothing.
    """
    valid = labels >= 0
    # `where` on the loss, not a product: 0 * nan would let one bad filling row poison the sum.
    losses = jnp.where(valid, cross_entropy(logits, labels), jnp.zeros((), logits.dtype))
    right = valid & (jnp.argmax(logits, axis=-1) == labels)
    return losses.sum(), valid.sum().astype(logits.dtype), right.sum().astype(logits.dtype)
