"""How well the masks of an answer lie on the true ones: intersection over union, from run-length code alone.

A mask belongs to the true one that it is named after: the k-th mask of a class on an image to the k-th true one of that
class on that image, which is the order of [SEG] where classes agree. Masks whose name is none of the question's true
classes go to the true masks of their image that are left, as best fits (`by_name` is False): names differ between
models. A true mask without a mask counts 0, even where it is empty itself; where both are empty the two agree: 1. Masks
beyond the true ones count nothing, and are told (`num_surplus`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from terrascope import masks
from terrascope.bench.statistics import Correlation, Interval, bootstrap, correlate
from terrascope.errors import QuestionError, SampleError, SceneError
from terrascope.landcover import TERRASCOPE
from terrascope.sample import Sample, SampleMask

Runs = NDArray[np.int64]

SHARES = (0.0, 0.01, 0.03, 0.10, 0.30, 1.0)
"""Bounds of the shares of a scene by which true masks are told apart."""


@dataclass(frozen=True, kw_only=True)
class MaskScore:
    """A true mask and what was found of it.

    Attributes:
        share: of the scene that the true mask covers, 0 to 1.
        iou: with the mask that belongs to it; 0 where there is none.
        found: number, from 0, of that mask among those of the answer; None where there is none.
        by_name: whether the two have one name.
    """

    share: float
    iou: float
    found: int | None = None
    by_name: bool = False


@dataclass(frozen=True, kw_only=True)
class Grounded:
    """The true masks of one question, in order, and what was found of them.

    Attributes:
        num_surplus: masks of the answer that belong to no true one.
        num_damaged: masks of the answer whose code does not fill the grid; they count as missing.
    """

    masks: tuple[MaskScore, ...]
    num_surplus: int = 0
    num_damaged: int = 0

    @property
    def iou(self) -> float:
        """Mean over the true masks."""
        return sum(mask.iou for mask in self.masks) / len(self.masks)


@dataclass(frozen=True, kw_only=True)
class Grounding:
    """The masks of a run, over questions with true masks.

    Attributes:
        num_masks: true ones; num_missing: those without a mask; num_fitted: those whose mask has another name.
        num_surplus, num_damaged: masks of the run that count nothing.
        iou: mean over questions, each the mean over its true masks; mask_iou: mean over true masks.
        right_iou, wrong_iou: mean IoU of the questions that were answered right and wrong.
        correlation: of IoU and rightness over questions, its p value over places; by_task: within each task.
        tasks: mean IoU of the questions of each task.
        by_share: mean IoU of the true masks from each of `SHARES` up to the next.
    """

    num_questions: int
    num_masks: int
    num_missing: int
    num_fitted: int
    num_surplus: int
    num_damaged: int
    iou: Interval
    mask_iou: Interval
    right_iou: Interval
    wrong_iou: Interval
    correlation: Correlation
    by_task: Mapping[str, Correlation]
    tasks: Mapping[str, Interval]
    by_share: tuple[Interval, ...]


@dataclass(frozen=True, kw_only=True)
class GroundedQuestion:
    """One question with true masks: its masks, whether it was answered right, its task and its place."""

    grounded: Grounded
    right: bool
    task: str
    place: str


def ground(sample: Sample, predicted: Sequence[SampleMask]) -> Grounded:
    """Compare the masks of an answer with those of a sample that has at least one.

    Raises:
        SampleError: a true mask does not fill the grid.
    """
    size = (sample.height, sample.width)
    truths = []
    for mask in sample.masks:
        try:
            truths.append(masks.runs_of_rle({"size": size, "counts": mask.counts}))
        except SceneError as error:
            raise SampleError(f"sample {sample.id}: {error}") from None
    runs: dict[int, Runs] = {}
    for place, mask in enumerate(predicted):
        try:
            runs[place] = masks.runs_of_rle({"size": size, "counts": mask.counts})
        except SceneError:
            continue
    named = _match_names(sample.masks, predicted, runs)
    fitted = _match_best(sample.masks, predicted, truths, runs, named)
    num_pixels = max(sample.height * sample.width, 1)
    found = {**fitted, **named}
    return Grounded(
        masks=tuple(
            MaskScore(
                share=masks.count_of_runs(truth) / num_pixels,
                iou=masks.iou_of_runs(truth, runs[found[place]]) if place in found else 0.0,
                found=found.get(place),
                by_name=place in named,
            )
            for place, truth in enumerate(truths)
        ),
        num_surplus=len(runs) - len(found),
        num_damaged=len(predicted) - len(runs),
    )


def summarize_grounding(questions: Sequence[GroundedQuestion], *, seed: int = 0) -> Grounding:
    """Means and correlations over questions, of which there is at least one (paper, Figs. 5 and 6)."""

    def mean(chosen: Sequence[GroundedQuestion]) -> Interval:
        return bootstrap([q.grounded.iou for q in chosen], [q.place for q in chosen], seed=seed)

    def correlation(chosen: Sequence[GroundedQuestion]) -> Correlation:
        ious, rights = [q.grounded.iou for q in chosen], [float(q.right) for q in chosen]
        return correlate(ious, rights, [q.place for q in chosen], seed=seed)

    scored = [(mask, question.place) for question in questions for mask in question.grounded.masks]
    of_task = {name: [q for q in questions if q.task == name] for name in dict.fromkeys(q.task for q in questions)}
    bins = np.digitize([mask.share for mask, _ in scored], SHARES[1:-1])
    return Grounding(
        num_questions=len(questions),
        num_masks=len(scored),
        num_missing=sum(mask.found is None for mask, _ in scored),
        num_fitted=sum(mask.found is not None and not mask.by_name for mask, _ in scored),
        num_surplus=sum(question.grounded.num_surplus for question in questions),
        num_damaged=sum(question.grounded.num_damaged for question in questions),
        iou=mean(questions),
        mask_iou=bootstrap([mask.iou for mask, _ in scored], [place for _, place in scored], seed=seed),
        right_iou=mean([question for question in questions if question.right]),
        wrong_iou=mean([question for question in questions if not question.right]),
        correlation=correlation(questions),
        by_task={name: correlation(chosen) for name, chosen in of_task.items()},
        tasks={name: mean(chosen) for name, chosen in of_task.items()},
        by_share=tuple(
            bootstrap(
                [mask.iou for (mask, _), number in zip(scored, bins, strict=True) if number == wanted],
                [place for (_, place), number in zip(scored, bins, strict=True) if number == wanted],
                seed=seed,
            )
            for wanted in range(len(SHARES) - 1)
        ),
    )


def _match_names(
    truths: Sequence[SampleMask], predicted: Sequence[SampleMask], runs: dict[int, Runs]
) -> dict[int, int]:
    """Place of a true mask -> place of the predicted mask of its name, image and turn."""
    queues = defaultdict(list)
    for place in runs:
        queues[_meaning(predicted[place].class_name), predicted[place].image].append(place)
    found = {}
    for place, mask in enumerate(truths):
        queue = queues[_meaning(mask.class_name), mask.image]
        if queue:
            found[place] = queue.pop(0)
    return found


def _match_best(
    truths: Sequence[SampleMask],
    predicted: Sequence[SampleMask],
    truth_runs: Sequence[Runs],
    runs: dict[int, Runs],
    named: dict[int, int],
) -> dict[int, int]:
    """The same for masks of foreign names: the assignment, image by image, with the largest sum of IoU."""
    meanings = {_meaning(mask.class_name) for mask in truths}
    found = {}
    for image in {mask.image for mask in truths}:
        rows = [place for place, mask in enumerate(truths) if mask.image == image and place not in named]
        columns = [p for p in runs if predicted[p].image == image and _meaning(predicted[p].class_name) not in meanings]
        if not rows or not columns:
            continue
        from scipy.optimize import linear_sum_assignment

        gain = np.array([[masks.iou_of_runs(truth_runs[row], runs[column]) for column in columns] for row in rows])
        for row, column in zip(*linear_sum_assignment(gain, maximize=True), strict=True):
            found[rows[row]] = columns[column]
    return found


@lru_cache(maxsize=4096)
def _meaning(class_name: str) -> int | str:
    """What a name stands for: one of our classes under any of its names, else the words themselves."""
    plain = class_name.strip().casefold().removeprefix("the ")
    try:
        return TERRASCOPE.id_of(plain)
    except QuestionError:
        return plain
