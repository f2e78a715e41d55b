"""Intervals against scipy's own tests, published formulas and simulation."""

import numpy as np
import pytest
from scipy import stats

from qjax.checks import UserError
from qjax.evaluation import mean_interval, paired_interval

RNG = np.random.default_rng(0)
A, B = RNG.normal(0.80, 0.02, size=15), RNG.normal(0.78, 0.02, size=15)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_paired_interval_equals_scipys_paired_t_test(confidence: float) -> None:
    expected = stats.ttest_rel(A, B).confidence_interval(confidence)
    mean, low, high = paired_interval(A, B, confidence=confidence)
    assert mean == pytest.approx((A - B).mean(), rel=1e-12)
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_order_matters() -> None:
    assert paired_interval(A, B).mean == -paired_interval(B, A).mean


def test_nadeau_bengio_correction() -> None:
    """Their statistic is mean / sqrt((1/n + n_test/n_train) s^2): at 10 % test, 1/15 becomes 1/15 + 1/9."""
    plain, corrected = paired_interval(A, B), paired_interval(A, B, test_fraction=0.1)
    widths = (corrected.high - corrected.low) / (plain.high - plain.low)
    assert widths == pytest.approx(np.sqrt((1 / 15 + 1 / 9) / (1 / 15)), rel=1e-12)


def test_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    samples = np.random.default_rng(1).normal(3.0, 1.0, size=(2000, 5))
    covered = np.mean([low <= 3.0 <= high for _, low, high in map(mean_interval, samples)])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_equal_values_have_an_interval_without_width() -> None:
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0.5],), {}, r"`values` must hold at least 2 values, \[n\], but got shape \(1,\)"),
        (([0.5, np.nan],), {}, "`values` must hold finite values"),
        ((A,), {"confidence": 95.0}, "`confidence` must lie between 0 and 1, but got 95"),
        ((A,), {"test_fraction": 1.0}, "`test_fraction` must lie between 0 and 1"),
    ],
)
def test_mean_interval_refuses(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        mean_interval(*arguments, **options)


def test_paired_interval_refuses_samples_of_different_size() -> None:
    with pytest.raises(UserError, match=r"`b` must hold as many values as `a` \(15\), but got 14"):
        paired_interval(A, B[1:])
