"""Losses against scikit-learn's log_loss and the formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss

from qjax.training.losses import binary_cross_entropy, cross_entropy, loss_sums


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_cross_entropy_against_scikit_learn(classes):
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(20, classes)).astype(np.float32)
    labels = rng.integers(0, classes, 20)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = log_loss(labels, probabilities, labels=range(classes))
    assert np.mean(cross_entropy(jnp.asarray(logits), jnp.asarray(labels))) == pytest.approx(expected, rel=1e-5)


def test_binary_form_is_the_formula():
    logits = np.asarray([[0.3, -1.2], [2.0, 0.5], [0.0, 0.0]])
    y = np.asarray([1, 0, 1])
    p = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    np.testing.assert_allclose(binary_cross_entropy(jnp.asarray(logits), jnp.asarray(y)), expected, rtol=1e-5)


def test_binary_form_does_not_overflow():
    logits = jnp.asarray([[0.0, 1e4], [1e4, 0.0]])
    values, slopes = jax.value_and_grad(lambda x: binary_cross_entropy(x, jnp.asarray([0, 1])).sum())(logits)
    assert np.isfinite(values)
    assert np.isfinite(slopes).all()


def test_masked_items_count_for_nothing():
    logits = jnp.asarray([[[1.0, 2.0, 0.0], [jnp.nan, 0.0, 0.0]], [[0.0, 0.0, 3.0], [5.0, 5.0, 5.0]]])
    labels = jnp.asarray([[1, -1], [0, -1]])
    loss, count, correct = loss_sums(logits, labels)
    expected = cross_entropy(logits[:, 0], labels[:, 0]).sum()
    assert float(loss) == pytest.approx(float(expected))
    assert (float(count), float(correct)) == (2.0, 1.0)


def test_nothing_valid_gives_zero_not_nan():
    loss, count, correct = loss_sums(jnp.zeros((3, 2)), jnp.full(3, -1))
    assert (float(loss), float(count), float(correct)) == (0.0, 0.0, 0.0)
