"""A benchmark in memory, for tests: a painted scene, or drawn ones of all tasks; and predictors by a script."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from terrascope.answer import Answer, Grounding
from terrascope.bench.items import Item
from terrascope.bench.recipe import TASKS
from terrascope.errors import QuestionError
from terrascope.georeference import Georeference
from terrascope.sample import Sample
from terrascope.scene import Observation, Pair, Scene
from terrascope.tasks.question import free_question, pose
from terrascope.terracot.record import to_sample
from tests.tasks.drawn_scenes import chip_of, draw

SIZE = 20


@dataclass(frozen=True, kw_only=True)
class MadeBenchmark:
    """Items that were made beforehand, as a `Benchmark`."""

    items: tuple[Item, ...]
    name: str = "made"

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(item.sample for item in self.items)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(repr([sample.to_row() for sample in self.samples]).encode()).hexdigest()

    def item(self, index: int) -> Item:
        return self.items[index]


def make_image(modality: str = "optical", gsd_m: float | None = 10.0) -> Observation:
    """20 x 20 pixels: the left fifth blue or dark as water, all else bright."""
    bands = ("B04", "B03", "B02") if modality == "optical" else ("VV", "VH")
    pixels = np.full((len(bands), SIZE, SIZE), 0.2 if modality == "optical" else -8.0, np.float32)
    pixels[:, :, :4] = 0.02 if modality == "optical" else -22.0
    return Observation(
        pixels=pixels,
        bands=bands,
        modality="optical" if modality == "optical" else "sar",
        sensor="sentinel-2" if modality == "optical" else "sentinel-1",
        valid=np.ones((SIZE, SIZE), bool),
        georeference=Georeference(gsd_m=gsd_m),
        source=f"{modality}.tif",
    )


def make_scene(num_dates: int = 1, *, sar: bool = False) -> Scene:
    pair = Pair(optical=make_image(), sar=make_image("sar") if sar else None)
    return Scene((pair,) * num_dates)


WATER = np.zeros((SIZE, SIZE), bool)
WATER[:, :4] = True
"""The left fifth."""


def make_benchmark(num: int = 6, name: str = "made") -> MadeBenchmark:
    """Questions for the share of the water (20 %), the right option in turn at each place."""
    chip = replace(chip_of(draw(1)), scene=make_scene())
    items = []
    for number in range(num):
        question = free_question(
            task="coverage",
            text=f"How much of the image is water? ({number})",
            num_dates=1,
            steps=(),
            truth="20%",
            value=20.0,
            unit="%",
        )
        sample = to_sample(
            chip, pose(question, ["5%", "40%", "60%"], np.random.default_rng(number)), level="bench", number=number
        )
        items.append(Item(sample=sample, scene=chip.scene))
    return MadeBenchmark(items=tuple(items), name=name)


def drawn_benchmark(num_scenes: int = 24) -> MadeBenchmark:
    """One question of every task that can be asked of each drawn scene: land with floods, and towns with ruins."""
    items = []
    for seed in range(num_scenes):
        labelled = draw(seed)
        chip = chip_of(labelled)
        for number, task in enumerate(TASKS.values()):
            question = task.ask(labelled, np.random.default_rng([seed, number]), with_options=True)
            if question is not None:
                sample = to_sample(replace(chip, key=str(seed)), question, level="bench", number=number)
                items.append(Item(sample=sample, scene=chip.scene))
    return MadeBenchmark(items=tuple(items), name="drawn")


def answer(scene: Scene, question: str, options: Sequence[str], text: str, *masks: np.ndarray) -> Answer:
    """An answer with these masks at its [SEG]s."""
    return Answer.from_reasoning(
        scene=scene,
        question=question,
        options=options,
        reasoning=text,
        groundings=[
            Grounding(mask=mask, image=1, confidence=1.0, num_optical_tokens=0, num_sar_tokens=0) for mask in masks
        ],
        model="scripted",
    )


class Scripted:
    """Answers B with the water's mask, or does what a function says; remembers the questions."""

    name = "scripted"

    def __init__(self, act: Callable[[str], str | None] = lambda question: None) -> None:
        self.act = act
        self.asked: list[str] = []

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        self.asked.append(question)
        text = self.act(question)
        if text is not None:
            return answer(scene, question, options, text)
        text = "<think>The water: [SEG] It covers 20% of the image.</think><answer>B</answer>"
        return answer(scene, question, options, text, WATER)

    def segment(self, scene: Scene, class_name: str) -> Answer:
        raise QuestionError("nothing is segmented here")
