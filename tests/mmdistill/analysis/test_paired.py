"""Differences of runs of equal seed, and their interval."""

import math

import numpy as np
import pytest

from mmdistill.analysis.paired import paired_difference, t_quantile

stats = pytest.importorskip('scipy.stats')


@pytest.mark.parametrize('degrees', [1, 2, 4, 9, 30])
def test_quantiles_are_those_of_students_t(degrees):
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=5e-4)


def test_beyond_the_table_the_interval_is_a_little_too_wide_never_too_narrow():
    exact = stats.t.ppf(0.975, 1000)
    assert exact < t_quantile(1000) < 1.045 * exact


def test_an_interval_needs_two_runs():
    with pytest.raises(ValueError, match='two runs'):
        t_quantile(0)


def test_the_interval_is_that_of_a_paired_t_test():
    runs = {0: 0.61, 1: 0.66, 2: 0.58, 5: 0.64, 7: 0.60}
    others = {7: 0.57, 5: 0.62, 2: 0.57, 1: 0.61, 0: 0.59}
    found = paired_difference(runs, others)
    a, b = ([values[seed] for seed in sorted(runs)] for values in (runs, others))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(a) - np.mean(b))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-4)
    assert found.is_above_zero


def test_what_seeds_do_to_both_cancels_out():
    common = {seed: math.sin(seed) for seed in range(5)}
    found = paired_difference({s: v + 0.01 for s, v in common.items()}, common)
    assert (found.low, found.high) == pytest.approx((0.01, 0.01))


def test_only_common_seeds_are_compared():
    found = paired_difference({0: 1.0, 1: 5.0}, {0: 0.5, 2: 9.0})
    assert found.seeds == (0,)
    assert found.mean == 0.5
    assert found.low is None
    assert not found.is_above_zero


def test_rows_without_a_common_seed_are_not_compared():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
