"""Confidence intervals of repeated measurements, by Student's t distribution."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from qjax.checks import check


class Interval(NamedTuple):
    """A mean and the two ends of its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float


def mean_interval(values: ArrayLike, *, confidence: float = 0.95, test_fraction: float | None = None) -> Interval:
    """Returns the mean of `values` and its confidence interval.

    With `test_fraction=None` the values are taken as independent: mean ± t s / sqrt(n), with s the sample standard
    deviation and t the quantile of Student's distribution with n - 1 degrees of freedom.

    Scores of one learner on repeated random splits of one data set are not independent, since the training sets
    overlap, and that interval is too narrow. Given `test_fraction`, 1/n becomes 1/n + n_test/n_train: the corrected
    resampled t interval of Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52 (2003).
    Scores that share a split (several seeds) are to be averaged over the seeds first, one value a split.

    Args:
      values: `[n]` finite numbers, n at least 2.
      confidence: probability that the interval covers the true mean, between 0 and 1.
      test_fraction: share of the data in the test split, n_test / (n_test + n_train), between 0 and 1.
    """
    sample = _check_sample("values", values)
    check(0 < confidence < 1, "confidence", "lie between 0 and 1", confidence)
    correction = 0.0
    if test_fraction is not None:
        check(0 < test_fraction < 1, "test_fraction", "lie between 0 and 1", test_fraction)
        correction = test_fraction / (1 - test_fraction)
    mean = float(sample.mean())
    quantile = float(stats.t.ppf((1 + confidence) / 2, df=sample.size - 1))
    half_width = quantile * float(sample.std(ddof=1)) * float(np.sqrt(1 / sample.size + correction))
    return Interval(mean, mean - half_width, mean + half_width)


def paired_interval(
    a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95, test_fraction: float | None = None
) -> Interval:
    """Returns the mean of a - b and its confidence interval, for measurements made in pairs.

    Args:
      a: `[n]` scores of one method, n at least 2.
      b: `[n]` scores of the other, on the same splits in the same order.
      confidence: see `mean_interval`.
      test_fraction: see `mean_interval`.
    """
    first, second = _check_sample("a", a), _check_sample("b", b)
    check(first.shape == second.shape, "b", f"hold as many values as `a` ({first.size})", second.size)
    return mean_interval(first - second, confidence=confidence, test_fraction=test_fraction)


def _check_sample(argument: str, values: ArrayLike) -> np.ndarray:
    sample = np.asarray(values, dtype=np.float64)
    check(sample.ndim == 1 and sample.size >= 2, argument, "hold at least 2 values, [n]", f"shape {sample.shape}")
    check(bool(np.isfinite(sample).all()), argument, "hold finite values", f"{sample.tolist()}")
    return sample
