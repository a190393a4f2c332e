"""benchmarks/screen_tau.py: tau of known rankings, halves of seeds, permutation p-values and the F test."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "screen_tau.py"
SPEC = importlib.util.spec_from_file_location("screen_tau", PATH)
assert SPEC is not None
assert SPEC.loader is not None
screen_tau = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(screen_tau)


def test_four_seeds_have_three_pairs_of_halves_and_five_have_fifteen() -> None:
    effects = np.linspace(-1, 1, 6)[:, None]
    assert screen_tau.halves(effects + np.zeros((6, 4))) == pytest.approx([1.0] * 3)
    assert len(screen_tau.halves(effects + np.zeros((6, 5)))) == 15


def test_equal_orders_of_five_places_have_two_of_120_permutations() -> None:
    places = np.arange(5.0)
    assert screen_tau.permutation_p(places, places, np.random.default_rng(0)) == pytest.approx(2 / math.factorial(5))


def test_the_interval_holds_a_perfect_tau_and_is_wide_for_noise() -> None:
    rng = np.random.default_rng(0)
    effects = np.arange(8.0)
    low, high = screen_tau.interval(effects, effects[:, None] + np.zeros((8, 3)), rng)
    assert low == pytest.approx(1)
    assert high == pytest.approx(1)
    low, high = screen_tau.interval(effects, rng.normal(size=(8, 3)), rng)
    assert high - low > 0.5


def test_f_equals_that_of_a_one_way_analysis_without_seed_effects() -> None:
    from scipy import stats

    differences = np.random.default_rng(0).normal(size=(4, 6)) + np.arange(4)[:, None]
    differences -= differences.mean(axis=0)  # without seed effects, only the degrees of freedom differ
    f, p = screen_tau.f_test(differences)
    expected = stats.f_oneway(*differences).statistic * (4 - 1) * (6 - 1) / (4 * (6 - 1))
    assert f == pytest.approx(expected)
    assert 0 < p < 0.05
