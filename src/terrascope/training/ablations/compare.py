"""How sure a difference between variants is, and whether it is the paper's.

Every variant was asked the same questions, once for every seed of its training. Intervals come from drawing places and
seeds anew, both at once: the questions of one place stand or fall together, and so does all that one seed answered.
Two variants are compared on the same draws, seed by seed. Of fewer than `MIN_GROUPS` places there are means, but no
interval, no p value and no verdict other than "not told apart".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from terrascope.bench.score import Score, Scored
from terrascope.bench.statistics import (
    MIN_GROUPS,
    NOTHING,
    NUM_RESAMPLES,
    Correlation,
    Interval,
    bootstrap_p,
    correlate,
    mean_of_cells,
    resample_means,
    spread,
)

Verdict = Literal["yes", "no", "not told apart"]
Direction = Literal["better", "worse", "not told apart"]

Drawn = tuple[float, NDArray[np.float64]]
"""A number as it is, and in every resample `[NUM_RESAMPLES]`."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a variant answered.

    Attributes:
        name: of the variant.
        scores: by seed, over the same questions; one under any seed for start weights, which have none.
        is_trained: False for start weights: they count as the same under every seed.
    """

    name: str
    scores: Mapping[int, Score]
    is_trained: bool = True

    def of_seeds(self, seeds: Sequence[int]) -> list[Score]:
        """Its scores under these seeds, in order."""
        return [self.scores[seed] if self.is_trained else next(iter(self.scores.values())) for seed in seeds]


@dataclass(frozen=True, kw_only=True)
class Separation:
    """Whether good masks go with right answers (paper, Fig. 6).

    Attributes:
        right_iou, wrong_iou: mean IoU of the questions that were answered right and wrong.
        gap: their difference.
        correlation: of IoU and rightness, over questions and seeds; by_task: within each task.
        verdict: whether right answers have the better masks.
    """

    right_iou: Interval
    wrong_iou: Interval
    gap: Interval
    correlation: Correlation
    by_task: Mapping[str, Correlation]
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant of a table.

    Attributes:
        seeds: of its runs; empty where it needs none.
        by_seed: average accuracy of each run, in the order of `seeds`.
        macro: average accuracy over tasks; tasks: of each.
        iou: of its masks; nothing where no run gave one.
        difference: in average accuracy from the reference variant; nothing for the reference, and where the two have
            no seed in common. p: of none, two-sided.
        verdict: whether the difference is the paper's; None where the paper has none.
        direction: of the difference.
        separation: None where no run gave a mask.
    """

    name: str
    seeds: tuple[int, ...]
    by_seed: tuple[float, ...]
    num_questions: int
    macro: Interval
    tasks: Mapping[str, Interval]
    iou: Interval
    difference: Interval
    p: float | None
    verdict: Verdict | None
    direction: Direction | None
    separation: Separation | None


@dataclass(frozen=True, kw_only=True)
class Order:
    """The paper's order: of all pairs of variants that it ranks, those that stand as in the paper, those that stand
    the other way round, and those that these questions and seeds do not tell apart."""

    num_same: int
    num_reversed: int
    num_open: int

    @property
    def num_pairs(self) -> int:
        return self.num_same + self.num_reversed + self.num_open

    @property
    def verdict(self) -> Verdict | None:
        """`yes` where every pair stands as in the paper, `no` where one is reversed; None without a pair."""
        if not self.num_pairs:
            return None
        return "no" if self.num_reversed else "not told apart" if self.num_open else "yes"


def compare(
    judged: Sequence[Judged], reference: str, paper: Mapping[str, float], *, seed: int = 0
) -> tuple[tuple[Row, ...], Order]:
    """All rows of a table, and how they stand to the paper's order.

    Args:
        judged: variants with at least one score, all over the same questions.
        reference: name of the variant that the others are compared with; it need not be among them.
        paper: average accuracy of variants in the paper, in percent.
        seed: of the resampling.
    """
    by_name = {one.name: one for one in judged}
    rows = tuple(_row(one, by_name.get(reference), paper, seed) for one in judged)
    counts = {"yes": 0, "no": 0, "not told apart": 0}
    for first, second in combinations([name for name in by_name if name in paper], 2):
        if paper[first] == paper[second]:
            continue
        difference = difference_of(by_name[first], by_name[second], seed=seed)
        counts[judge_sign(difference, paper[first] - paper[second])] += 1
    order = Order(num_same=counts["yes"], num_reversed=counts["no"], num_open=counts["not told apart"])
    return rows, order


def judge_sign(difference: Interval, expected: float) -> Verdict:
    """`yes` or `no` where the whole interval lies on one side of zero: that of `expected`, or the other."""
    if not has_interval(difference) or difference.low <= 0 <= difference.high:
        return "not told apart"
    return "yes" if (difference.low > 0) == (expected > 0) else "no"


def has_interval(found: Interval) -> bool:
    """False where there is no value, or too few places for an interval."""
    return found.num > 0 and not math.isnan(found.low)


def difference_of(one: Judged, other: Judged, *, seed: int = 0) -> Interval:
    """What the first has more than the second in average accuracy, over the seeds that both have."""
    drawn = _drawn_difference(one, other, seed)
    return NOTHING if drawn is None else _interval(drawn, next(iter(one.scores.values())).questions)


def over_seeds(drawn: Sequence[Drawn], *, seed: int) -> Drawn:
    """The mean over seeds: as it is, and when seeds are drawn anew in every resample.

    Args:
        drawn: of each seed, with the same places in the same resample. What is not a number is passed over.
    """
    values, resampled = zip(*drawn, strict=True)
    num = len(values)
    picked = np.random.default_rng([seed, num]).integers(0, num, (NUM_RESAMPLES, num))
    taken = np.stack(resampled, axis=1)[np.arange(NUM_RESAMPLES)[:, None], picked]
    return float(_mean_known(np.array(values))), _mean_known(taken)


# ---------------------------------------------------------------------------------------------------------------------


def _row(one: Judged, reference: Judged | None, paper: Mapping[str, float], seed: int) -> Row:
    seeds = tuple(sorted(one.scores)) if one.is_trained else ()
    scores = one.of_seeds(seeds or (0,))
    macros = [_drawn_macro(score, seed) for score in scores]
    questions, has_masks = scores[0].questions, any(score.grounding is not None for score in scores)
    masked = [question for question in questions if question.grounded is not None]
    tasks = {}
    for name in dict.fromkeys(question.task for question in scores[0].questions):
        drawn = over_seeds([_drawn_task(score, name, seed) for score in scores], seed=seed)
        tasks[name] = _interval(drawn, [question for question in scores[0].questions if question.task == name])
    compared = None if reference is None or reference is one else _drawn_difference(one, reference, seed)
    difference = NOTHING if compared is None else _interval(compared, questions)
    gap = None
    if compared is not None and reference is not None and one.name in paper and reference.name in paper:
        gap = paper[one.name] - paper[reference.name]
    return Row(
        name=one.name,
        seeds=seeds,
        by_seed=tuple(mean for mean, _ in macros),
        num_questions=len(questions),
        macro=_interval(over_seeds(macros, seed=seed), questions),
        tasks=tasks,
        iou=_interval(over_seeds([_drawn_iou(score, seed) for score in scores], seed=seed), masked)
        if has_masks
        else NOTHING,
        difference=difference,
        p=bootstrap_p(compared[1]) if compared is not None and has_interval(difference) else None,
        verdict=None if gap is None else judge_sign(difference, gap),
        direction=None if compared is None else _direction(difference),
        separation=_separate(scores, seed) if has_masks else None,
    )


def _direction(difference: Interval) -> Direction:
    verdict = judge_sign(difference, 1.0)
    return "better" if verdict == "yes" else "worse" if verdict == "no" else "not told apart"


def _drawn_difference(one: Judged, other: Judged, seed: int) -> Drawn | None:
    """None where no seed was judged for both."""
    if one.is_trained and other.is_trained:
        shared = sorted(set(one.scores) & set(other.scores))
    else:
        shared = sorted((one if one.is_trained else other).scores)
    if not shared:
        return None
    gains = []
    for first, second in zip(one.of_seeds(shared), other.of_seeds(shared), strict=True):
        (mean, drawn), (other_mean, other_drawn) = _drawn_macro(first, seed), _drawn_macro(second, seed)
        gains.append((mean - other_mean, drawn - other_drawn))
    return over_seeds(gains, seed=seed)


def _drawn_macro(score: Score, seed: int) -> Drawn:
    names = list(dict.fromkeys(question.task for question in score.questions))
    cells = np.array([[question.task == name for name in names] for question in score.questions])
    return mean_of_cells(*_resample(score, [score.credit(question) for question in score.questions], cells, seed))


def _drawn_task(score: Score, name: str, seed: int) -> Drawn:
    cells = np.array([[question.task == name] for question in score.questions])
    means, drawn = _resample(score, [score.credit(question) for question in score.questions], cells, seed)
    return float(means[0]), drawn[:, 0]


def _drawn_iou(score: Score, seed: int) -> Drawn:
    means, drawn = _resample(score, _ious(score), _has_masks(score)[:, None], seed)
    return float(means[0]), drawn[:, 0]


def _separate(scores: Sequence[Score], seed: int) -> Separation:
    rights, wrongs, gaps = [], [], []
    for score in scores:
        is_right = np.array([score.is_right(question) for question in score.questions])
        cells = np.stack([is_right, ~is_right], axis=1) & _has_masks(score)[:, None]
        means, drawn = _resample(score, _ious(score), cells, seed)
        rights.append((float(means[0]), drawn[:, 0]))
        wrongs.append((float(means[1]), drawn[:, 1]))
        gaps.append((float(means[0] - means[1]), drawn[:, 0] - drawn[:, 1]))
    known = [(score, question) for score in scores for question in score.questions if question.grounded is not None]
    of_right = [question for score, question in known if score.is_right(question)]
    of_wrong = [question for score, question in known if not score.is_right(question)]
    has_gap = any(not math.isnan(mean) for mean, _ in gaps)
    gap = _interval(over_seeds(gaps, seed=seed), [question for _, question in known]) if has_gap else NOTHING
    return Separation(
        right_iou=_interval(over_seeds(rights, seed=seed), of_right),
        wrong_iou=_interval(over_seeds(wrongs, seed=seed), of_wrong),
        gap=gap,
        correlation=_correlate(known, seed),
        by_task={
            name: _correlate([pair for pair in known if pair[1].task == name], seed)
            for name in dict.fromkeys(question.task for _, question in known)
        },
        verdict=judge_sign(gap, 1.0),
    )


def _correlate(pairs: Sequence[tuple[Score, Scored]], seed: int) -> Correlation:
    ious = [question.grounded.iou for _, question in pairs if question.grounded is not None]
    rights = [float(score.is_right(question)) for score, question in pairs]
    return correlate(ious, rights, [question.place for _, question in pairs], seed=seed)


def _interval(drawn: Drawn, questions: Sequence[Scored]) -> Interval:
    """The interval of a number that comes from these questions; its ends are not numbers where places are too few."""
    if not questions:
        return NOTHING
    if len({question.place for question in questions}) < MIN_GROUPS:
        return Interval(mean=drawn[0], low=math.nan, high=math.nan, num=len(questions))
    return spread(*drawn, len(questions))


def _resample(
    score: Score, values: Sequence[float], cells: NDArray[np.bool_], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return resample_means(values, cells, [question.place for question in score.questions], seed=seed)


def _ious(score: Score) -> list[float]:
    return [0.0 if question.grounded is None else question.grounded.iou for question in score.questions]


def _has_masks(score: Score) -> NDArray[np.bool_]:
    return np.array([question.grounded is not None for question in score.questions])


def _mean_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean along the last axis of what is a number; not a number where nothing is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(known, values, 0.0).sum(axis=-1) / known.sum(axis=-1)
    return mean
