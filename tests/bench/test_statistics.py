"""Intervals and tests against scipy, exact enumeration and numbers that are known."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from terrascope.bench.statistics import (
    MIN_GROUPS,
    NUM_RESAMPLES,
    Interval,
    bootstrap,
    bootstrap_p,
    correlate,
    mcnemar_p,
    mean_of_cells,
    resample_means,
    spread,
)


def test_the_interval_resamples_groups() -> None:
    apart = bootstrap([0.0, 1.0] * 50, [str(i) for i in range(100)])
    assert apart.mean == 0.5 and apart.num == 100
    assert 0.38 < apart.low < 0.45 and 0.55 < apart.high < 0.62
    # The same values in two groups: the mean of a resample is 0, a half or 1.
    together = bootstrap([0.0] * 50 + [1.0] * 50, ["a"] * 50 + ["b"] * 50)
    assert (together.low, together.mean, together.high) == (0.0, 0.5, 1.0)
    nothing = bootstrap([], [])
    assert math.isnan(nothing.mean) and f"{nothing:.2f}" == "-"


def test_the_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(3).random(60)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    ours = bootstrap(values.tolist(), [str(place) for place in range(60)])
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.008)


def test_groups_of_unequal_size_by_enumeration() -> None:
    groups = {"a": [1.0, 1.0, 0.0], "b": [0.0], "c": [1.0]}
    values = [value for members in groups.values() for value in members]
    names = [name for name, members in groups.items() for _ in members]
    possible = set()
    for drawn in product(groups, repeat=3):
        members = [value for name in drawn for value in groups[name]]
        possible.add(round(sum(members) / len(members), 9))
    means, drawn_means = resample_means(values, np.ones((5, 1)), names)
    assert means.tolist() == [0.6]
    assert drawn_means.shape == (NUM_RESAMPLES, 1)
    assert {round(float(mean), 9) for mean in drawn_means[:, 0]} == possible


def test_cells_of_one_draw_belong_together() -> None:
    # Both cells hold the same values at the same places: whatever is drawn, their means are equal.
    values = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    cells = [[1, 0], [0, 1]] * 3
    means, drawn = resample_means(values, cells, ["a", "a", "b", "b", "c", "c"])
    assert means == pytest.approx([2 / 3, 2 / 3])
    assert np.array_equal(drawn[:, 0], drawn[:, 1])
    assert len(np.unique(drawn)) > 1


def test_an_empty_cell_is_not_a_number_and_is_passed_over() -> None:
    means, drawn = resample_means([1.0, 0.0], [[1, 0, 0], [0, 1, 0]], ["a", "b"])
    assert means[:2].tolist() == [1.0, 0.0] and math.isnan(means[2])
    # A resample may hold one place twice, and then has no value of the other's cell.
    assert np.isnan(drawn[:, 0]).any()
    # A cell that was not drawn keeps its mean, so that the mean of both stays what it is.
    mean, drawn_means = mean_of_cells(means[:2], drawn[:, :2])
    assert mean == 0.5 and set(drawn_means) == {0.5}
    mean, drawn_means = mean_of_cells(means[:0], drawn[:, :0])
    assert math.isnan(mean) and np.isnan(drawn_means).all() and len(drawn_means) == NUM_RESAMPLES
    interval = spread(1.0, drawn[:, 0], 1)
    assert (interval.low, interval.high) == (1.0, 1.0)


def test_the_same_seed_gives_the_same_interval() -> None:
    values, groups = list(np.random.default_rng(0).random(30)), [str(place) for place in range(30)]
    assert bootstrap(values, groups, seed=4) == bootstrap(values, groups, seed=4)
    assert bootstrap(values, groups, seed=4) != bootstrap(values, groups, seed=5)


def test_an_interval_is_written() -> None:
    assert f"{Interval(mean=0.5, low=0.25, high=0.75, num=3):.2f}" == "0.50 (0.25 to 0.75)"


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (5, 0), (0, 5), (8, 2), (10, 10), (30, 12)])
def test_the_exact_test_sums_the_binomial(only_first: int, only_second: int) -> None:
    num, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(num, k) for k in range(fewer + 1)) / 2**num
    gains = [1] * only_first + [-1] * only_second + [0] * 7
    found = mcnemar_p(gains, [str(place) for place in range(len(gains))])
    assert found == pytest.approx(min(1.0, 2 * tail))


def test_questions_of_one_place_change_sides_together() -> None:
    # Optical, SAR and both of five questions: by itself each would make 2 / 2**15 of it.
    places = [f"p{number // 3}" for number in range(15)]
    assert mcnemar_p([1] * 15, places) == pytest.approx(2 / 2**5)
    # What is won and lost at one place says nothing.
    assert mcnemar_p([1, -1, 0], ["a", "a", "b"]) == 1.0


def test_gains_over_places_by_enumeration() -> None:
    gains, places = [1, 1, 0, -1, 1, 1, 1, -1, 1, 1], list("aabbbccdee")
    of_place = [2, 0, 2, -1, 2]
    sums = [sum(s * g for s, g in zip(signs, of_place, strict=True)) for signs in product((1, -1), repeat=5)]
    assert mcnemar_p(gains, places) == pytest.approx(np.mean([abs(one) >= 5 for one in sums]))


def test_the_p_value_counts_resamples_on_the_other_side() -> None:
    assert bootstrap_p(np.array([1.0] * 998 + [-1.0])) == pytest.approx(2 * 2 / 1000)
    assert bootstrap_p(np.ones(999)) == pytest.approx(2 / 1000)
    assert bootstrap_p(np.zeros(100)) == 1.0
    assert bootstrap_p(np.array([1.0, math.nan, -1.0, 1.0])) == 1.0


def test_pearson_is_that_of_scipy_and_by_hand() -> None:
    rng = np.random.default_rng(2)
    ious, rights = rng.random(40), (rng.random(40) < 0.5).astype(float)
    found, theirs = correlate(ious.tolist(), rights.tolist()), stats.pearsonr(ious, rights)
    assert (found.r, found.num) == (pytest.approx(theirs.statistic), 40)
    # Of pairs that are drawn one by one, the p value is near to that of the formula.
    assert found.p == pytest.approx(theirs.pvalue, abs=0.06)
    by_hand = ((ious - ious.mean()) * (rights - rights.mean())).mean() / ious.std() / rights.std()
    assert found.r == pytest.approx(by_hand)


def test_a_correlation_of_few_places_is_no_surer_for_many_questions() -> None:
    rng = np.random.default_rng(5)
    ious, rights = rng.random(12), (rng.random(12) < 0.5).astype(float)
    once = correlate(ious.tolist(), rights.tolist(), [f"p{place}" for place in range(12)])
    often = correlate(
        np.repeat(ious, 30).tolist(),
        np.repeat(rights, 30).tolist(),
        [f"p{place:02}" for place in np.repeat(range(12), 30)],
    )
    assert often.r == pytest.approx(once.r) and often.num == 360
    assert once.p is not None and often.p == pytest.approx(once.p, abs=0.1) and often.p > 0.05
    assert stats.pearsonr(np.repeat(ious, 30), np.repeat(rights, 30)).pvalue < often.p / 2
    # All fifteen groups add to the covariance: of all tosses only two are as far from zero.
    line = correlate(list(range(15)), list(range(15)))
    assert (line.r, line.p) == (pytest.approx(1.0), pytest.approx(1 / (NUM_RESAMPLES + 1), abs=0.002))


def test_fewer_groups_than_needed_have_no_p_value() -> None:
    values, other = [0.1, 0.2, 0.3, 0.4] * MIN_GROUPS, [1.0, 2.0, 3.0, 5.0] * MIN_GROUPS
    places = [f"p{number % MIN_GROUPS}" for number in range(len(values))]
    few = ["p0" if place == "p1" else place for place in places]
    enough, too_few = correlate(values, other, places), correlate(values, other, few)
    assert (enough.p, too_few.p) == (pytest.approx(0.0, abs=0.01), None)
    assert too_few.r == enough.r == pytest.approx(stats.pearsonr(values, other).statistic)


@pytest.mark.parametrize("num_places", [MIN_GROUPS, 15, 40])
def test_what_is_unrelated_is_seldom_taken_for_related(num_places: int) -> None:
    """One to eleven pairs a place, which have something in common on either side, but not with each other."""
    rng, num_taken, num_trials = np.random.default_rng(num_places), 0, 600
    for trial in range(num_trials):
        places = np.repeat(np.arange(num_places), rng.integers(1, 12, num_places))
        first, second = (rng.normal(size=num_places)[places] + rng.normal(size=len(places)) for _ in range(2))
        found = correlate(first.tolist(), second.tolist(), [str(place) for place in places], seed=trial)
        assert found.p is not None
        num_taken += found.p < 0.05
    assert 0.025 < num_taken / num_trials < 0.08


@pytest.mark.parametrize(("first", "second"), [([], []), ([0.5], [1.0]), ([0.1, 0.2, 0.3], [1.0, 1.0, 1.0])])
def test_what_never_changes_has_no_correlation(first: list[float], second: list[float]) -> None:
    found = correlate(first, second)
    assert (found.r, found.p, found.num) == (None, None, len(first))
