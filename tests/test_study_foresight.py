import numpy as np
import pytest
from scipy import stats

from yolograft.study import statistics
from yolograft.study.foresight import PUBLISHED, foresee, pooled_spread, sentences
from yolograft.study.plan import Plan
from yolograft.study.verdict import judge

WORDS = {"data": "somewhere", "model": "m", "host": "yolograft.study.dummy", "epochs": 1, "arms": "none; se@8"}


def test_a_plan_says_what_it_can_find_and_exclude():
    found = foresee(Plan.of({**WORDS, "seeds": 10}))
    assert found.spread == PUBLISHED
    assert found.pairs == 0
    assert found.seeds == 10
    assert found.excludable == pytest.approx(0.0098, abs=1e-4)
    text = "\n".join(sentences(Plan.of({**WORDS, "seeds": 10}), found))
    assert "10 seeds are needed to exclude larger differences" in text
    assert foresee(Plan.of({**WORDS, "seeds": 10, "margin": 0.005})).seeds == 34
    assert "cannot find any effect" in "\n".join(sentences(Plan.of({**WORDS, "seeds": 3}), foresee(
        Plan.of({**WORDS, "seeds": 3}))))


def test_a_pilot_replaces_the_published_spread():
    rng = np.random.default_rng(0)
    scores = {"none": dict.fromkeys(range(3), 0.5), "a": dict(enumerate(rng.normal(0.5, 0.02, 3))),
              "b": dict(enumerate(rng.normal(0.6, 0.02, 3)))}
    verdicts = judge(scores, "none")
    spread, pairs = pooled_spread(verdicts)
    assert pairs == 6
    assert spread == pytest.approx(np.sqrt(np.mean([verdict.spread**2 for verdict in verdicts])))
    assert foresee(Plan.of(WORDS), verdicts).spread == spread


def test_the_excludable_margin_is_excluded_with_a_power_of_80_percent():
    margin = statistics.excludable(1.0, 12)
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        row = rng.normal(size=12)
        low, high = stats.t.interval(0.9, 11, loc=row.mean(), scale=stats.sem(row))
        inside += -margin < low and high < margin
    assert 0.77 < inside / 2000 < 0.83
