"""Intervals against scipy's own, coverage by simulation, and the degenerate cases."""

import math

import numpy as np
import pytest
from scipy import stats

from counterpoint.study.statistics import contrast, estimate, holm


def test_interval_and_p_equal_scipys_paired_test():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=9) + 0.4, rng.normal(size=9)
    result = estimate(a - b)
    test = stats.ttest_rel(a, b)
    low, high = test.confidence_interval(0.95)
    assert math.isclose(result.low, low, rel_tol=1e-12)
    assert math.isclose(result.high, high, rel_tol=1e-12)
    assert math.isclose(result.p, test.pvalue, rel_tol=1e-10)
    one_sided = stats.ttest_rel(a, b, alternative="less").pvalue
    assert math.isclose(result.probability, one_sided, rel_tol=1e-10)


def test_student_interval_covers_its_level_with_five_seeds():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(600):
        result = estimate(rng.normal(0.3, 1.0, size=5), resamples=10)
        hits += result.low <= 0.3 <= result.high
    assert 0.92 < hits / 600 < 0.98


def test_bootstrap_brackets_the_mean_and_does_not_change_between_calls():
    values = [0.1, 0.5, -0.2, 0.9, 0.3, 0.2, 0.0, 0.4]
    first, second = estimate(values), estimate(values)
    assert first == second
    assert min(values) < first.boot_low < first.mean < first.boot_high < max(values)


def test_one_seed_has_no_interval_and_is_unclear():
    result = estimate([0.7])
    assert (result.low, result.high, result.p, result.verdict) == (None, None, None, "unclear")


def test_identical_differences_and_ties():
    same = estimate([0.0, 0.0, 0.0])
    assert (same.above_zero, same.probability, same.p, same.verdict) == (0.5, 0.5, 1.0, "unclear")
    assert estimate([0.2, 0.2]).verdict == "above"


def test_not_a_number_gives_no_interval():
    assert estimate([0.1, float("nan"), 0.3]).low is None


def test_no_values_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_contrast_pairs_by_seed_and_ignores_order():
    figures = {"a": {1: 5.0, 0: 3.0}, "b": {0: 1.0, 1: 2.0}, "c": {0: 0.5, 1: 0.5}}
    assert contrast(figures, {"a": 1, "b": -2, "c": 1}) == [1.5, 1.5]


def test_holm_is_monotone_and_bounded():
    adjusted = holm({"a": 0.001, "b": 0.03, "c": 0.02, "d": 0.9})
    assert adjusted == {"a": 0.004, "c": 0.06, "b": 0.06, "d": 0.9}
