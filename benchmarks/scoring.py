"""From answers and true masks to numbers: how a step and an answer are scored, and how sure a mean is."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terrascope import masks, spatial
from terrascope.tasks import Question
from terrascope.trace import METRES, SQUARE_METRES, stated_numbers

Mask = NDArray[np.bool_]

MIN_COVERAGE = 0.03
"""The headline counts the steps whose true mask covers more than this share of the scene."""

RELATIVE, POINTS = 0.10, 3.0
"""A free number is right within a tenth of the truth; a percentage within so many points."""

NUM_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class StepScore:
    """One predicted mask against the true one.

    Attributes:
        iou: over the pixels with a known label; 1 where both masks are empty.
        coverage: the true mask's share (0-1) of these pixels.
        error_points: how far the predicted share is from it, in percentage points.
    """

    iou: float
    coverage: float
    error_points: float


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


def score_step(predicted: Mask, truth: Mask, known: Mask) -> StepScore:
    """Compare two masks `[H, W]` where the truth is known (at least one pixel)."""
    predicted, truth = predicted & known, truth & known
    shares = spatial.coverage(predicted, known), spatial.coverage(truth, known)
    return StepScore(iou=masks.iou(predicted, truth), coverage=shares[1], error_points=100 * abs(shares[0] - shares[1]))


def score_steps(predicted: Sequence[Mask], truths: Sequence[Mask], knowns: Sequence[Mask]) -> tuple[StepScore, ...]:
    """Compare the n-th predicted with the n-th true mask.

    A missing step has an IoU of 0 and a share of 0, even where the true mask is empty; surplus steps are passed over.
    """
    scores = [score_step(*masks_of_step) for masks_of_step in zip(predicted, truths, knowns, strict=False)]
    for truth, known in zip(truths[len(scores) :], knowns[len(scores) :], strict=True):
        coverage = spatial.coverage(truth & known, known)
        scores.append(StepScore(iou=0.0, coverage=coverage, error_points=100 * coverage))
    return tuple(scores)


def read_value(text: str, unit: str) -> float | None:
    """The first number of a free answer in `unit` (`%`, `m2`, `m` or `count`); None if it states none of that kind."""
    if unit == "count":
        bare = re.search(r"\d+", text)
        return float(bare[0]) if bare else None
    scales = {"%": {"%": 1.0}, "m2": SQUARE_METRES, "m": METRES}[unit]
    return next((number.value * scales[number.unit] for number in stated_numbers(text) if number.unit in scales), None)


def is_right(question: Question, answer: str) -> bool:
    """True if an answer (with options: its letter) is the right one.

    Words must be the same but for case and a full stop; numbers may be `RELATIVE` of the truth or `POINTS` away.
    """
    if question.options or question.value is None or question.unit is None:
        return _plain(answer) == _plain(question.trace.answer)
    value = read_value(answer, question.unit)
    if value is None:
        return False
    allowed = POINTS if question.unit == "%" else RELATIVE * question.value
    return abs(value - question.value) <= allowed + 1e-9


def is_unparsable(question: Question, answer: str) -> bool:
    """True if there is no answer, none of the options is named, or a number is asked for and none is given."""
    if question.options:
        return len(answer) != 1 or not answer.isalpha()
    if question.unit is not None:
        return read_value(answer, question.unit) is None
    return not answer.strip()


def bootstrap(values: Sequence[float], groups: Sequence[str], *, seed: int = 0) -> Interval:
    """The mean of values and its 95 % interval, from resampling whole groups (scenes): their values go together."""
    if not values:
        return Interval(mean=math.nan, low=math.nan, high=math.nan, num=0)
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    sums = np.bincount(numbers, weights=np.asarray(values, float))
    counts = np.bincount(numbers)
    drawn = np.random.default_rng(seed).integers(0, len(counts), (NUM_RESAMPLES, len(counts)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))
    return Interval(mean=float(np.mean(values)), low=float(low), high=float(high), num=len(values))


def _plain(text: str) -> str:
    return text.strip().rstrip(".").casefold()
