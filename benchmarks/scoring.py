"""From answers and true masks to numbers: how a step and an answer are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terrascope import masks, spatial
from terrascope.bench.parsing import is_free_right, read_value
from terrascope.tasks import Question

Mask = NDArray[np.bool_]

MIN_COVERAGE = 0.03
"""The headline counts the steps whose true mask covers more than this share of the scene."""


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


def is_right(question: Question, answer: str) -> bool:
    """True if an answer (with options: its letter) is right; free ones as `bench.parsing` says."""
    if question.options:
        return is_free_right(answer, question.trace.answer, value=None, unit=None)
    return is_free_right(answer, question.trace.answer, value=question.value, unit=question.unit)


def is_unparsable(question: Question, answer: str) -> bool:
    """True if there is no answer, none of the options is named, or a number is asked for and none is given."""
    if question.options:
        return len(answer) != 1 or not answer.isalpha()
    if question.unit is not None:
        return read_value(answer, question.unit) is None
    return not answer.strip()
