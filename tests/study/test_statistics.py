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
    assert (same.above_zero, same.probability, same.p, same.verdict) == (0.5, None, None, "unclear")
    same = estimate([0.3 - 0.1, 0.2, 0.5 - 0.3])  # equal but for rounding
    assert (same.low, same.high, same.sd, same.verdict) == (None, None, 0.0, "unclear")


def test_two_seeds_give_an_interval_and_no_verdict():
    result = estimate([0.2, 0.200001])
    assert result.low > 0
    assert result.verdict == "unclear"
    assert estimate([0.2, 0.200001, 0.2]).verdict == "above"


def test_an_interval_ends_where_the_figures_range_does():
    values = [0.97, 0.99, 1.0]
    free, cut = estimate(values), estimate(values, bounds=(0.0, 1.0))
    assert free.high > 1
    assert (cut.low, cut.high) == (free.low, 1.0)
    assert estimate([0.02, 0.0, 0.01], bounds=(0.0, 1.0)).low == 0.0


def test_a_cut_interval_covers_as_often():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(600):
        result = estimate(
            rng.binomial(20, 0.95, size=5) / 20 + 1e-9 * rng.normal(size=5), bounds=(0, 1), resamples=2
        )
        hits += result.low is None or result.low <= 0.95 <= result.high
    assert hits / 600 > 0.9


def test_overlapping_splits_widen_the_interval_by_nadeau_and_bengios_factor():
    values = [0.1, 0.3, 0.2, 0.5, 0.0, 0.4]
    plain, wide = estimate(values), estimate(values, overlap=0.25)
    factor = math.sqrt(1 + 6 * 0.25)
    assert math.isclose(wide.high - wide.mean, factor * (plain.high - plain.mean), rel_tol=1e-12)
    assert wide.p > plain.p
    assert wide.boot_low is None


def test_overlapping_splits_need_the_correction_to_cover_their_level():
    """Means over random splits of one finite sample: uncorrected, the interval misses the truth far too often."""
    rng = np.random.default_rng(4)
    missed = {0.0: 0, 0.5: 0}
    for _ in range(400):
        data = rng.normal(size=60)
        values = [rng.permutation(data)[:20].mean() for _ in range(10)]
        for overlap in missed:
            result = estimate(values, overlap=overlap, resamples=2)
            missed[overlap] += not result.low <= 0 <= result.high
    assert missed[0.0] / 400 > 0.3
    assert missed[0.5] / 400 < 0.08


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


def test_the_whole_interval_decides_and_not_the_mean():
    for sign, side in ((1, "above"), (-1, "below")):
        loose = estimate([sign * v for v in (0.9, -0.5, 0.8, -0.4)])
        assert sign * loose.mean > 0
        assert loose.verdict == "unclear"
        assert estimate([sign * v for v in (0.9, 0.7, 0.8, 0.75)]).verdict == side
