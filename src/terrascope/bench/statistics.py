"""How sure a number is, and whether two runs differ: resampling of places, exact and paired tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

NUM_RESAMPLES = 1000

MIN_GROUPS = 10
"""With fewer groups (places) nothing is concluded: what is drawn of so few hardly differs from one draw to the next."""

_RESAMPLES_AT_ONCE = 100


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95 % interval; `num` values went into it. Not a number where there are none."""

    mean: float
    low: float
    high: float
    num: int

    def __format__(self, spec: str) -> str:
        if not self.num:
            return "-"
        return f"{self.mean:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


NOTHING = Interval(mean=math.nan, low=math.nan, high=math.nan, num=0)


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Pearson's r of `num` pairs and its two-sided p value, by group; no r where one side never changes, and no p of
    fewer than `MIN_GROUPS` groups."""

    r: float | None
    p: float | None
    num: int


def resample_means(
    values: ArrayLike, cells: ArrayLike, groups: Sequence[str], *, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of values over cells, as they are and when whole groups are drawn anew.

    As many groups are drawn as there are, each any number of times. What is computed from several cells of one draw, as
    the mean of their means, or the difference of two, has its distribution over groups from here.

    Args:
        values: `[num_values]`.
        cells: `[num_values, num_cells]`, true where a value belongs to a cell.
        groups: of each value, as the place that a question is about.

    Returns:
        means float64 `[num_cells]` and `[NUM_RESAMPLES, num_cells]`; not a number where a cell is empty.
    """
    inside = np.asarray(cells, np.float64)
    columns = np.concatenate([np.asarray(values, np.float64)[:, None] * inside, inside], axis=1)
    with np.errstate(invalid="ignore"):
        means = np.divide(*np.split(_resample_sums(columns, groups, seed), 2, axis=1))
    return means[0], means[1:]


def _resample_sums(columns: NDArray[np.float64], groups: Sequence[str], seed: int) -> NDArray[np.float64]:
    """Sums of columns `[num_values, num_columns]`, as they are and in every resample: `[1 + NUM_RESAMPLES, ...]`."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    num_groups = int(numbers.max()) + 1
    sums = np.stack([np.bincount(numbers, weights=column, minlength=num_groups) for column in columns.T], axis=1)
    rng = np.random.default_rng(seed)
    parts = [sums.sum(axis=0)[None]]
    for _ in range(0, NUM_RESAMPLES, _RESAMPLES_AT_ONCE):
        drawn = rng.integers(0, num_groups, (_RESAMPLES_AT_ONCE, num_groups))
        rows = np.arange(_RESAMPLES_AT_ONCE)[:, None] * num_groups
        times = np.bincount((drawn + rows).reshape(-1), minlength=_RESAMPLES_AT_ONCE * num_groups)
        parts.append(times.reshape(_RESAMPLES_AT_ONCE, num_groups) @ sums)
    return np.concatenate(parts)


def mean_of_cells(means: NDArray[np.float64], drawn: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """The mean over cells of `resample_means`, as it is and in every resample `[NUM_RESAMPLES]`.

    A cell of which nothing was drawn has the mean that it has as it is: without it the others would make another mean.
    """
    if not len(means):
        return np.nan, np.full(len(drawn), np.nan)
    return float(means.mean()), np.where(np.isnan(drawn), means, drawn).mean(axis=1)


def spread(mean: float, resampled: NDArray[np.float64], num: int) -> Interval:
    """The 95 % interval around a mean; resamples in which it is not a number are passed over."""
    if not num:
        return NOTHING
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    return Interval(mean=float(mean), low=float(low), high=float(high), num=num)


def bootstrap(values: Sequence[float], groups: Sequence[str], *, seed: int = 0) -> Interval:
    """The mean of values and its 95 % interval, from resampling whole groups (places): their values go together."""
    if not len(values):
        return NOTHING
    means, drawn = resample_means(values, np.ones((len(values), 1)), groups, seed=seed)
    return spread(float(means[0]), drawn[:, 0], len(values))


def bootstrap_p(resampled: NDArray[np.float64]) -> float:
    """Two-sided p value of "there is no difference" from resampled differences, never below 2 / (resamples + 1)."""
    known = resampled[~np.isnan(resampled)]
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(known) + 1))


def mcnemar_p(gains: Sequence[int], groups: Sequence[str]) -> float:
    """Exact two-sided p value of McNemar's test over groups: what a group has gained could as well be lost.

    Where each question is a group of its own, this is McNemar's exact test.

    Args:
        gains: of each question 1 where only the first of two got it right, -1 where only the second, else 0.
        groups: of each question, as its place; all of a group change sides together.
    """
    of_group: dict[str, int] = {}
    for gain, group in zip(gains, groups, strict=True):
        of_group[group] = of_group.get(group, 0) + gain
    reach = sum(map(abs, of_group.values()))
    # How likely each sum of the gains is, from -reach to reach, when every group's sign is tossed.
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for gain in map(abs, of_group.values()):
        if gain:
            # What is rolled over an end is 0, as no sum lies beyond `reach`.
            chances = (np.roll(chances, gain) + np.roll(chances, -gain)) / 2
    found = abs(sum(of_group.values()))
    return min(1.0, float(chances[np.abs(np.arange(-reach, reach + 1)) >= found].sum()))


def correlate(
    first: Sequence[float], second: Sequence[float], groups: Sequence[str] | None = None, *, seed: int = 0
) -> Correlation:
    """Pearson's r between two lists of equal length, with a p value for which groups, not pairs, are what is drawn.

    Where the two are unrelated, what a group adds to their covariance could as well have the other sign: p is the share
    of tosses of all signs (and the data themselves) whose sum is as far from zero. Unlike the share of resamples beyond
    zero it holds its level from `MIN_GROUPS` groups on, of whatever sizes.

    Args:
        groups: of each pair, as its place; None where each is a group of its own.
    """
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Correlation(r=None, p=None, num=len(first))
    one, other = (np.asarray(values, np.float64) - np.mean(values) for values in (first, second))
    products = one * other
    r = float(products.sum() / np.sqrt((one * one).sum() * (other * other).sum()))
    numbers = np.unique(np.asarray(groups or range(len(one))), return_inverse=True)[1]
    of_group = np.bincount(numbers, weights=products)
    if len(of_group) < MIN_GROUPS:
        return Correlation(r=r, p=None, num=len(first))
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (NUM_RESAMPLES, len(of_group)))
    # Sums that are equal but for rounding are as far from zero.
    is_as_far = np.abs(signs @ of_group) >= abs(of_group.sum()) - 1e-9 * np.abs(of_group).sum()
    return Correlation(r=r, p=float((is_as_far.sum() + 1) / (NUM_RESAMPLES + 1)), num=len(first))
