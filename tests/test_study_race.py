"""Racing: the first rule loses no winner, the second few, and the family-wise error rate stays below 5%."""

import numpy as np
import pytest
from scipy import stats

from yolograft.study.race import differences, seeds_to_race, stopped
from yolograft.study.statistics import holm, sign_flip
from yolograft.study.verdict import Word, adjust, choose


def race(table, *, risk=0.05):
    """Run a race over a full (arms, seeds) table; return the differences that were run, and the stopped arms."""
    arms, seeds = table.shape
    seen = np.full(table.shape, np.nan)
    out = {}
    for seed in range(seeds):
        for arm in range(arms):
            if f"arm{arm}" not in out:
                seen[arm, seed] = table[arm, seed]
        out = stopped(scores(seen), "none", range(seeds), risk=risk)
        if len(out) == arms:
            break
    return seen, out


def scores(table):
    base = dict.fromkeys(range(table.shape[1]), 0.0)
    rows = {f"arm{i}": {s: v for s, v in enumerate(row) if not np.isnan(v)} for i, row in enumerate(table)}
    return {"none": base, **rows}


def words(seen, out):
    arms = len(seen)
    p_values = adjust(seen, [f"arm{i}" in out for i in range(arms)])[2]
    return [choose(int((~np.isnan(row)).sum()), np.nanmean(row), p, stopped=f"arm{i}" in out)
            for i, (row, p) in enumerate(zip(seen, p_values, strict=True))]


@pytest.mark.parametrize("seeds", [7, 8, 10])
def test_the_first_rule_stops_no_winner(seeds):
    rng = np.random.default_rng(seeds)
    won = saved = 0
    for _ in range(150):
        table = rng.normal(rng.choice([0, 0.8, 2.0], (3, 1)), 1, (3, seeds)).round(1)  # with ties and zeros
        full = holm([sign_flip(row) for row in table])
        seen, out = race(table, risk=0)
        winners = {f"arm{i}" for i in range(3) if full[i] <= 0.05 and table[i].mean() > 0}
        assert not winners & set(out)
        assert {f"arm{i}" for i, word in enumerate(words(seen, out)) if word is Word.HELPS} == winners
        won += len(winners)
        saved += np.isnan(seen).sum()
    assert won > 20
    assert saved > 150 * seeds * 0.5


def test_the_best_case_is_a_lower_bound_of_the_final_p_value():
    from yolograft.study.race import _best_case

    rng = np.random.default_rng(1)
    for _ in range(200):
        first = rng.normal(0, 1, rng.integers(1, 6))
        rest = rng.normal(0, 10 ** rng.uniform(-2, 6), 8 - len(first))
        rest = np.abs(rest) if rng.random() < 0.5 else rest
        p = sign_flip([*first, *rest])
        if first.sum() + rest.sum() > 0:
            assert p >= _best_case(first, 8) - 1e-12
    assert _best_case(np.array([0.5, 0.1]), 8) == sign_flip([0.5, 0.1, *np.arange(1, 7) * 1e3])


def test_a_stopped_arm_stays_stopped():
    rng = np.random.default_rng(2)
    for _ in range(50):
        table = rng.normal(0, 1, (4, 8))
        seen, out = race(table)
        assert stopped(scores(seen), "none", range(8)) == out
        for arm, pairs in out.items():
            assert (~np.isnan(seen[int(arm[3:])])).sum() == pairs


@pytest.mark.parametrize(("arms", "seeds"), [(1, 6), (3, 7), (6, 9)])
def test_the_family_wise_error_rate_of_a_race_is_at_most_five_percent(arms, seeds):
    rng, studies = np.random.default_rng(arms), 400
    wrong = 0
    for _ in range(studies):
        base = rng.normal(0, 1, seeds)
        table = rng.normal(0, 1, (arms, seeds)) - base
        table[0] += 3.0 if arms > 1 else 0  # one that helps, when there are others
        seen, out = race(table)
        wrong += Word.HELPS in words(seen, out)[arms > 1:]
    assert wrong <= stats.binom.ppf(0.9999, studies, 0.05)


def test_the_second_rule_stops_a_harmful_arm_before_the_first():
    hurts = [-0.5, -0.52, -0.51, -0.5]
    assert stopped(scores(np.array([hurts + [np.nan] * 12])), "none", range(16)) == {"arm0": 3}
    assert stopped(scores(np.array([hurts + [np.nan] * 12])), "none", range(16), risk=0) == {}
    assert stopped(scores(np.array([hurts + [np.nan] * 26])), "none", range(30)) == {"arm0": 3}
    assert stopped(scores(np.zeros((1, 8))), "none", range(8)), "an arm equal to the baseline cannot win"


def test_seeds_to_race_is_the_smallest_number_that_can_be_significant():
    for arms in range(1, 12):
        need = seeds_to_race(arms)
        assert arms * 2.0 ** (1 - need) <= 0.05 < arms * 2.0 ** (2 - need)


def test_differences_use_only_complete_pairs():
    table = differences({"a": {0: 1.0, 2: 3.0}, "b": {0: 2.0, 1: 9.0, 2: 2.5}}, "a", ["b"], [2, 1, 0])
    np.testing.assert_array_equal(table, [[-0.5, np.nan, 1.0]])
