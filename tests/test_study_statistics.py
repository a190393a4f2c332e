import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from yolograft.study import statistics as s

numbers = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=1, max_size=8)


def by_hand(differences):
    """The two-sided sign-flip p-value by its definition, in exact arithmetic."""
    whole = [round(d * 1000) for d in differences]
    patterns = list(itertools.product((1, -1), repeat=len(whole)))
    hits = sum(abs(sum(i * d for i, d in zip(p, whole, strict=True))) >= abs(sum(whole)) for p in patterns)
    return hits / len(patterns)


@settings(deadline=None, max_examples=60)
@given(numbers)
def test_sign_flip_equals_its_definition(differences):
    assert s.sign_flip(differences) == pytest.approx(by_hand(differences), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(numbers)
def test_max_t_of_one_arm_is_the_sign_flip_test(differences):
    assert s.max_t([differences])[0] == s.sign_flip(differences)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 10**6))
def test_max_t_is_at_least_the_unadjusted_p_value_and_ignores_the_order_of_arms(arms, seeds, state):
    table = np.random.default_rng(state).normal(size=(arms, seeds)).round(2)
    adjusted = s.max_t(table)
    assert all(a >= s.sign_flip(row) - 1e-12 for a, row in zip(adjusted, table, strict=True))
    assert (adjusted <= 1).all()
    assert (adjusted >= s.smallest_p(seeds) - 1e-12).all()
    order = np.random.default_rng(state).permutation(arms)
    assert s.max_t(table[order]) == pytest.approx(adjusted[order])
    assert s.max_t(-table * 1000) == pytest.approx(adjusted)


@pytest.mark.parametrize("state", range(4))
def test_sign_flip_equals_the_permutation_test_of_scipy(state):
    d = np.random.default_rng(state).normal(0.3, 1, 9)
    theirs = stats.permutation_test((d, np.zeros(9)), lambda x, y, axis: np.mean(x - y, axis=axis), n_resamples=np.inf,
                                    permutation_type="samples", vectorized=True, alternative="two-sided")
    assert s.sign_flip(d) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_max_t_equals_a_step_down_computed_by_hand():
    """Two arms, two seeds, differences (1, 1) and (1, 3): t grows with |sum| / root of the sum of squares.

    Patterns ++, --: |2| / sqrt 2 = 1.414 and |4| / sqrt 10 = 1.265; patterns +-, -+: 0 and |-2| / sqrt 10 = 0.632.
    The first arm is the clearest: the larger of both is at least 1.414 in 2 of 4 patterns. The second alone then: at least
    1.265 in 2 of 4.
    """
    assert s.max_t([[1, 1], [1, 3]]).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("state", range(5))
def test_max_t_equals_its_definition(state):
    """Algorithm 2.8 of Westfall and Young (1993) with Student's t, written as loops."""
    table = np.random.default_rng(state).normal(0.4, 1, (3, 6))
    patterns = list(itertools.product((1, -1), repeat=6))
    t = np.abs([[stats.ttest_1samp(row * np.array(signs), 0).statistic for row in table] for signs in patterns])
    order, p, before = np.argsort(-t[0]), [0.0] * 3, 0.0
    for place, arm in enumerate(order):
        hits = sum(max(flipped[rest] for rest in order[place:]) >= t[0][arm] - 1e-9 for flipped in t)
        before = p[arm] = max(before, hits / len(patterns))
    assert s.max_t(table) == pytest.approx(p, abs=1e-12)


def test_bca_equals_the_formula_of_efron():
    """Efron 1987, by its formula on the same resamples' distribution: bias z0, acceleration a from the jackknife."""
    d = np.random.default_rng(8).exponential(1, 15)
    means = np.random.default_rng(1).choice(d, (60_000, 15)).mean(axis=1)
    z0 = stats.norm.ppf((means < d.mean()).mean())
    jack = np.array([np.delete(d, i).mean() for i in range(15)])
    a = ((jack.mean() - jack) ** 3).sum() / (6 * ((jack.mean() - jack) ** 2).sum() ** 1.5)
    z = stats.norm.ppf([0.025, 0.975])
    expected = np.quantile(means, stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z))))
    assert s.bca_interval(d, resamples=60_000) == pytest.approx(expected, rel=0.02)


def test_the_wilson_interval_equals_that_of_scipy():
    low, high = stats.binomtest(5, 6).proportion_ci(method="wilson")
    assert s.improvement([1, 1, 1, 1, 1, -1]) == pytest.approx((5 / 6, low, high))


def test_max_t_has_a_smaller_minimum_p_value_than_holm():
    table = np.array([[3, 4, 5, 4, 3, 5], [3, 5, 4, 4, 3, 4], [4, 4, 5, 3, 3, 5]]) / 100
    assert s.max_t(table) == pytest.approx([2 / 64] * 3)
    assert s.holm([s.sign_flip(row) for row in table])[0] == pytest.approx(6 / 64)


def test_the_smallest_p_value_of_an_arm_depends_on_its_own_number_of_seeds():
    table = [[1, 1, 1, 1, 1, 1], [1, 1, 1, math.nan, math.nan, math.nan]]
    assert s.max_t(table)[1] >= s.smallest_p(3)
    assert s.max_t(table)[0] == pytest.approx(2 / 64)


def test_equal_arms_and_empty_tables_have_p_value_one():
    assert s.sign_flip([0, 0, 0, 0, 0, 0]) == 1
    assert s.sign_flip([]) == 1
    assert s.max_t(np.zeros((2, 6))).tolist() == [1, 1]
    assert s.max_t(np.empty((3, 0))).tolist() == [1, 1, 1]


@pytest.mark.parametrize("seeds", [1, 4, 6, 17])
def test_sign_flips_equals_sign_flip_and_max_t(seeds):
    rng = np.random.default_rng(5)
    for _ in range(5):
        table = rng.normal(0.3, 1, (5, seeds))
        table[1] = -table[0]
        table[rng.random(table.shape) < 0.2] = np.nan
        singles, adjusted = s.sign_flips(table)
        assert singles.tolist() == [s.sign_flip(row) for row in table]
        assert adjusted.tolist() == s.max_t(table).tolist()


def test_differences_that_cancel_have_p_value_one_despite_rounding():
    rng = np.random.default_rng(6)
    for _ in range(50):
        half = rng.integers(1, 9, 4) / 10
        assert s.sign_flip(rng.permutation([*half, *-half])) == 1


def test_sampled_p_values_are_close_to_the_t_test():
    rng = np.random.default_rng(1)
    for shift in (0.0, 0.4, 0.8):
        d = rng.normal(shift, 1, size=24)
        assert s.sign_flip(d) == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.02)
        assert s.sign_flip(d) == s.sign_flip(d)


@pytest.mark.parametrize(("alpha", "seeds"), [(0.5, 2), (0.25, 3), (0.05, 6), (0.03125, 6), (0.01, 8)])
def test_seeds_to_resolve_is_the_smallest_sufficient_number(alpha, seeds):
    assert s.seeds_to_resolve(alpha) == seeds
    assert s.smallest_p(seeds) <= alpha < s.smallest_p(seeds - 1)


def test_three_seeds_can_never_reach_significance():
    rng = np.random.default_rng(0)
    assert min(s.sign_flip(rng.normal(100, 1, 3)) for _ in range(50)) == 0.25


def test_holm_equals_a_textbook_example():
    p = [0.01, 0.02, 0.03, 0.04]
    assert s.holm(p).tolist() == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert s.holm([0.9, 0.9]).tolist() == [1, 1]


def test_intervals_equal_scipy_and_bca_is_narrower():
    d = np.random.default_rng(3).normal(0.01, 0.01, 12)
    low, high = s.t_interval(d)
    expected = stats.t.interval(0.95, 11, loc=d.mean(), scale=stats.sem(d))
    assert (low, high) == pytest.approx(expected)
    b_low, b_high = s.bca_interval(d)
    assert b_low < d.mean() < b_high
    assert b_high - b_low < high - low, "the bootstrap's is narrower, as it is known to be"
    assert s.bca_interval(d) == (b_low, b_high)
    assert s.t_interval([0.1]) == (-math.inf, math.inf)
    assert s.bca_interval([0.1]) == (-math.inf, math.inf)
    assert s.bca_interval([0.1, 0.1, 0.1]) == (0.1, 0.1)


def test_the_t_interval_has_its_nominal_coverage():
    rng = np.random.default_rng(5)
    hits = sum(low <= 0 <= high for low, high in (s.t_interval(rng.normal(size=6)) for _ in range(4000)))
    assert stats.binomtest(hits, 4000, 0.95).pvalue > 0.001


def test_improvement_counts_ties_one_half():
    share, low, high = s.improvement([1, 1, 1, -1, 0, 1])
    assert share == 4.5 / 6
    assert 0 < low < share < high < 1
    assert s.improvement([1] * 6)[1] < 1, "six wins in six are no certainty"
    assert s.improvement([1] * 60)[1] > s.improvement([1] * 6)[1]
    assert math.isnan(s.improvement([])[0])


def test_the_detectable_effect_is_found_with_80_percent_power():
    effect = s.detectable(0.02, 12)
    rng = np.random.default_rng(7)
    found = sum(s.sign_flip(rng.normal(effect, 0.02, 12)) <= 0.05 for _ in range(600))
    assert 0.74 < found / 600 < 0.86


def test_seeds_needed_is_the_inverse_of_detectable():
    for arms in (1, 3):
        seeds = s.seeds_needed(0.015, 0.02, arms=arms)
        assert s.detectable(0.02, seeds, arms=arms) <= 0.015 < s.detectable(0.02, seeds - 1, arms=arms)
    assert s.seeds_needed(0.015, 0.02, arms=8) > s.seeds_needed(0.015, 0.02)
    assert s.seeds_needed(1.0, 0.02) == 6, "a huge effect still needs as many seeds as the test can resolve"
    assert s.seeds_needed(1e-9, 0.02) is None
    assert s.seeds_needed(0, 0.02) is None
    assert s.detectable(0.02, 3) == math.inf


def test_pairing_gain_is_one_for_independent_runs_and_large_for_correlated_runs():
    rng = np.random.default_rng(2)
    a, b, shared = rng.normal(size=(3, 4000))
    assert s.pairing_gain(a, b) == pytest.approx(1, abs=0.1)
    assert s.pairing_gain(a + 2 * shared, b + 2 * shared) == pytest.approx(5, rel=0.1)
    assert s.pairing_gain([1, 2], [1, 2]) == math.inf


def test_a_value_that_is_not_finite_raises_an_error():
    with pytest.raises(ValueError, match="finite"):
        s.sign_flip([1.0, math.inf])
