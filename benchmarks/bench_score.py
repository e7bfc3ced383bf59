"""How fast answers with masks are scored: 3,837 of them, as many as the paper's benchmark has questions.

    python benchmarks/bench_score.py

Every question has two true masks of 256 x 256 pixels, smooth ones of 1 to 70 % of the scene; every answer has two masks
that depart from them in 3 % of all pixels, drawn at random, so that their run-length code is ragged as that of a weak
model is. Scoring is all of `terrascope.bench.score`: three rules of reading, IoU, correlations, and intervals from a
thousand resamples of places. Times are processor seconds of one process; reading files is not part of it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
from alone import cpu_name
from numpy.typing import NDArray
from scipy import ndimage

from terrascope import masks
from terrascope.bench.recipe import QUOTA
from terrascope.bench.replies import Reply
from terrascope.bench.score import Score, score
from terrascope.sample import Sample, SampleImage, SampleMask

SIZE = 256
CLASSES = ("water", "tree")


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A score, the processor seconds that it took, and the mean length of a predicted mask's code."""

    score: Score
    seconds: float
    num_characters: float


def make_questions(quota: dict[str, int], size: int = SIZE, seed: int = 0) -> tuple[list[Sample], list[Reply]]:
    """Questions of every task with a reply to each, seven of ten of which are right; two questions share a place."""
    rng = np.random.default_rng(seed)
    samples, replies = [], []
    for number, task in enumerate(task for task, num in quota.items() for _ in range(num)):
        options = ("1", "2") if task in ("ranking", "boundary") else ("1", "2", "3", "4")
        answer = "ABCD"[rng.integers(len(options))]
        truths = [_draw_blobs(rng, size) for _ in CLASSES]
        found = [truth ^ (rng.random((size, size)) < 0.03) for truth in truths]
        samples.append(
            Sample(
                id=f"q{number}",
                level="bench",
                task=task,
                source="drawn",
                key=str(number),
                place=str(number // 2),
                split="test",
                images=(SampleImage(number=1, modality="optical", sensor="rgb"),),
                height=size,
                width=size,
                question="Which?",
                options=options,
                reasoning=f"<think>Here: [SEG] And here: [SEG]</think><answer>{answer}</answer>",
                masks=_encode(truths),
            )
        )
        text = answer if rng.random() < 0.7 else "ABCD"[rng.integers(len(options))]
        replies.append(Reply(id=f"q{number}", text=text, raw=text, masks=_encode(found)))
    return samples, replies


def time_score(samples: list[Sample], replies: list[Reply]) -> Timed:
    """Score once; what is imported on first use is imported before."""
    score(samples[:4], replies[:4])
    start = time.process_time()
    found = score(samples, replies)
    seconds = time.process_time() - start
    lengths = [len(mask.counts) for reply in replies for mask in reply.masks]
    return Timed(score=found, seconds=seconds, num_characters=sum(lengths) / len(lengths))


def _draw_blobs(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    smooth = ndimage.gaussian_filter(rng.standard_normal((size, size)), 6)
    return smooth > np.quantile(smooth, rng.uniform(0.3, 0.99))


def _encode(drawn: list[NDArray[np.bool_]]) -> tuple[SampleMask, ...]:
    return tuple(
        SampleMask(counts=masks.encode_rle(mask)["counts"], image=1, class_name=name)
        for name, mask in zip(CLASSES, drawn, strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=SIZE, help="side of a scene in pixels")
    arguments = parser.parse_args()
    samples, replies = make_questions(dict(QUOTA), arguments.size)
    timed = time_score(samples, replies)
    assert timed.score.grounding is not None
    print(f"{cpu_name()}, one process")
    size, num_masks = arguments.size, timed.score.grounding.num_masks
    print(f"{len(samples):,} answers with {num_masks:,} masks of {size} x {size} pixels", end=" ")
    print(f"({timed.num_characters:,.0f} characters each): {timed.seconds:.2f} s")


if __name__ == "__main__":
    main()
