import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolograft.study import statistics
from yolograft.study.sequential import intervals, read, spend
from yolograft.study.verdict import Word, decide

DECIDED = (Word.HELPS, Word.HURTS)


def tables(data, looks):
    return [data[:, :seeds] for seeds in looks]


def rate(data, looks, spent):
    """The part of all sign patterns of the seeds that gets a word at any look, by trying every pattern."""
    hits = 0
    patterns = list(itertools.product((1.0, -1.0), repeat=data.shape[1]))
    for signs in patterns:
        readings = read(tables(data * np.array(signs), looks), spent)
        hits += any(one.adjusted.min() <= one.level for one in readings)
    return hits / len(patterns)


@pytest.mark.parametrize(("looks", "spent"), [
    ((4, 6, 8), (0.2, 0.2, 0.2)), ((4, 6, 8), (0.02, 0.1, 0.2)), ((6, 7, 8), (0.05, 0.05, 0.05)), ((8,), (0.05,))])
@pytest.mark.parametrize("state", range(2))
def test_the_error_rate_over_all_looks_is_exact_for_any_sizes_of_the_differences(looks, spent, state):
    data = np.random.default_rng(state).standard_t(2, (3, looks[-1]))
    found = rate(data, looks, spent)
    assert found <= spent[-1] + 1e-12
    assert found == pytest.approx(read(tables(data, looks), spent)[-1].used), "`used` counts it without trying all patterns"
    assert found > spent[-1] - 0.05, "and hardly less than what may be spent"


def test_one_look_is_the_max_t_test():
    data = np.random.default_rng(3).normal(0.5, 1, (4, 9))
    (one,) = read([data], [0.05])
    singles, adjusted = statistics.sign_flips(data)
    assert one.adjusted.tolist() == adjusted.tolist()
    assert one.singles.tolist() == singles.tolist()
    assert one.level == 0.05


def test_nothing_is_left_after_a_look_that_has_spent_all():
    data = np.random.default_rng(4).normal(size=(1, 9))
    first, second = read(tables(data, (8, 9)), (12 / 256, 12 / 256))
    assert first.used == 12 / 256
    assert second.level == 0
    assert second.used == first.used


def test_arms_that_are_added_after_a_look_get_what_is_left():
    data = np.random.default_rng(5).normal(size=(2, 6))
    first, second = read([data[:1], data[1:]], (0.05, 0.05))
    assert first.used == 2 / 64
    assert second.level < statistics.smallest_p(6), "1.9% is less than the smallest p of six seeds"


def test_the_spending_grows_to_the_whole_error_rate():
    assert spend([12]) == (0.05,)
    shares = spend([6, 8, 10, 12], 0.04)
    assert list(shares) == sorted(shares)
    assert shares[-1] == 0.04


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(6, 9), st.integers(0, 10**6), st.floats(-2, 2))
def test_the_interval_excludes_zero_exactly_if_the_arm_helps_or_hurts(arms, seeds, state, effect):
    rng = np.random.default_rng(state)
    data = (rng.normal(size=(arms, seeds)) + effect * rng.integers(0, 2, (arms, 1))).round(2)
    for looks in ((seeds,), (seeds - 2, seeds)):
        for one in decide(data, [(count, range(arms), share) for count, share in zip(looks, spend(looks), strict=True)],
                          margin=0.5):
            low, high = one.interval
            assert low <= one.narrow[0] <= one.narrow[1] <= high
            if one.word is Word.HELPS:
                assert low >= 0 < high
            elif one.word is Word.HURTS:
                assert high <= 0 > low
            elif not one.skewed:
                assert low <= 0 <= high
            assert (one.word is Word.EQUIVALENT) <= (one.narrow[0] > -0.5 and one.narrow[1] < 0.5)


@pytest.mark.parametrize("state", range(3))
def test_the_interval_is_the_inverted_test(state):
    """A shift just inside an end is not rejected by the single-step test of the shifted differences; one outside is."""
    data = np.random.default_rng(state).normal(0.3, 1, (3, 8))
    (found,) = intervals(data, statistics.flip(data), [0.05])
    for arm, (low, high) in enumerate(found):
        for end, outwards in ((low, -1e-6), (high, 1e-6)):
            for shift, is_rejected in ((end + outwards, True), (end - outwards, False)):
                moved = data.copy()
                moved[arm] -= shift
                flipped = statistics.flip(moved)
                p = (flipped.max(axis=0) >= flipped[arm, 0] - statistics.TIE).mean()
                assert (p <= 0.05) is np.bool_(is_rejected)


def test_a_word_stays_and_its_interval_too():
    early = np.r_[np.full(8, 1.0) + np.linspace(0, 0.1, 8), [-3.0, -4.0, -3.0, -5.0]]
    (one,) = decide(early[None], [(seeds, [0], share) for seeds, share in zip((8, 12), spend((8, 12)), strict=True)])
    assert one.word is Word.HELPS
    assert one.look == 8
    assert one.interval[0] >= 0


def test_more_than_sixteen_seeds_are_sampled_and_follow_their_first_sixteen():
    assert statistics.signs(20)[:, :16].tolist() == statistics.signs(16).tolist()
    data = np.random.default_rng(6).normal(0.6, 1, (2, 20))
    readings = read(tables(data, (12, 16, 20)), spend((12, 16, 20)))
    assert [round(one.used, 3) for one in readings] == [round(share, 3) for share in spend((12, 16, 20))]


def test_failed_runs_never_make_a_word():
    rng = np.random.default_rng(7)
    for _ in range(100):
        data = rng.normal(0.4, 1, (2, 8))
        broken = data.copy()
        broken[0, rng.integers(0, 8)] = np.nan
        loss, win = (np.where(np.isnan(broken), sign * np.nanmax(np.abs(broken)), broken) for sign in (-1, 1))
        words = {decide(one, [(8, range(2), 0.05)])[0].word for one in (loss, win)}
        found = decide(broken, [(8, range(2), 0.05)])[0].word
        assert found not in DECIDED or words == {found}
