"""What the runner of benchmarks adds to the time of a predictor, per question.

    python benchmarks/runner_overhead.py

A benchmark in memory is asked of a predictor that gives back an answer that it made before: what remains is the
runner's own work, from the item to the line on disk. Every answer has two masks of 256 x 256 pixels with ragged edges.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from alone import cpu_name
from scipy import ndimage

from terrascope.answer import Answer, Grounding
from terrascope.bench.items import Item
from terrascope.bench.run import run
from terrascope.sample import Sample, SampleImage
from terrascope.scene import Observation, Scene

SIDE, NUM_QUESTIONS = 256, 2000
REASONING = (
    "<think>The water: [SEG] It covers 30% of the image. The crops: [SEG] They cover 41% of the image. So the answer "
    "is B.</think><answer>B</answer>"
)


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """One item again and again, as a `Benchmark`."""

    samples: tuple[Sample, ...]
    scene: Scene
    name: str = "repeated"
    digest: str = "0" * 64

    def item(self, index: int) -> Item:
        return Item(sample=self.samples[index], scene=self.scene)


class Prepared:
    """Gives back the same answer to every question."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def ask(self, scene: Scene, question: str, *, options: object = ()) -> Answer:
        return self.answer

    def segment(self, scene: Scene, class_name: str) -> Answer:
        return self.answer


def runner_overhead(num_questions: int = NUM_QUESTIONS) -> float:
    """Seconds per question that are not the predictor's."""
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 6)
    masks = (field > np.quantile(field, 0.7), field < np.quantile(field, 0.41))
    image = Observation(
        pixels=np.zeros((3, SIDE, SIDE), np.float32),
        bands=("red", "green", "blue"),
        modality="optical",
        sensor="rgb",
        valid=np.ones((SIDE, SIDE), bool),
    )
    scene = Scene.of(optical=[image])
    question, options = "Which is larger, water or crops?", ("water", "crop")
    answer = Answer.from_reasoning(
        scene=scene,
        question=question,
        options=options,
        reasoning=REASONING,
        groundings=[
            Grounding(mask=mask, image=1, confidence=1.0, num_optical_tokens=0, num_sar_tokens=0) for mask in masks
        ],
        model="prepared",
    )
    samples = tuple(
        Sample(
            id=f"repeated/{number}",
            level="bench",
            task="ranking",
            source="repeated",
            key=str(number),
            place="0",
            split="test",
            images=(SampleImage(number=1, modality="optical", sensor="rgb"),),
            height=SIDE,
            width=SIDE,
            question=question,
            options=options,
            reasoning=REASONING,
            truth="crop",
        )
        for number in range(num_questions)
    )
    benchmark = Repeated(samples=samples, scene=scene)
    with tempfile.TemporaryDirectory() as folder:
        started = perf_counter()
        report = run(benchmark, Prepared(answer), Path(folder) / "run", name="prepared")
        return (perf_counter() - started - report.seconds) / num_questions


if __name__ == "__main__":
    print(f"{cpu_name()}: {1e6 * runner_overhead():.0f} microseconds a question, of {NUM_QUESTIONS}")
