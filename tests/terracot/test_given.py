"""Questions and samples that data sets bring along."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stripes import make_chip
from terrascope.sample import Sample, SampleImage, SampleMask
from terrascope.sources.chips import Chip, Entry, GivenQuestion, Index
from terrascope.terracot import given
from terrascope.terracot.asking import ask_chip
from terrascope.terracot.composer import Composer
from terrascope.terracot.plan import Plan
from terrascope.terracot.recipe import Recipe
from terrascope.terracot.tools import Tools

OUTER = np.array([(2, 2), (10, 2), (10, 8), (2, 8)], float)
HOLE = np.array([(4, 4), (6, 4), (6, 6), (4, 6)], float)


def chip_with(*questions: GivenQuestion) -> Chip:
    return replace(make_chip(0), labels=(), questions=questions)


def test_a_question_about_a_region_points_at_it_with_its_hole() -> None:
    chip = chip_with(GivenQuestion(kind="change", text="What happened here?", answer="a fire", polygon=(OUTER, HOLE)))
    (question,) = given.ask(chip)
    assert (question.task, question.text, question.truth) == ("given/change", "What happened here?", "a fire")
    assert question.trace.answer == "a fire" and question.classes == ("region",) * len(chip.scene.pairs)
    expected = np.zeros(chip.scene.shape, bool)
    expected[2:8, 2:10] = True
    expected[4:6, 4:6] = False
    for step, pair in zip(question.trace.steps, chip.scene.pairs, strict=True):
        np.testing.assert_array_equal(step.mask, expected & pair.valid)


def test_a_question_about_the_whole_image_or_about_nothing_makes_no_sample() -> None:
    whole = GivenQuestion(kind="presence", text="Is there water?", answer="yes")
    outside = GivenQuestion(kind="change", text="And here?", answer="nothing", polygon=(OUTER + 1000,))
    assert given.ask(chip_with(whole, outside)) == []


@dataclass(frozen=True)
class Grounded:
    """A source of one chip without labels, with one sample under a foreign name."""

    name: str = "brought"

    def index(self, split: str) -> Index:
        return Index(entries=(Entry("a", "there"),))

    def read(self, key: str) -> Chip:
        question = GivenQuestion(kind="change", text="What happened here?", answer="a fire", polygon=(OUTER,))
        return replace(make_chip(0), source=self.name, key=key, place="there", labels=(), questions=(question,))

    def samples(self, key: str) -> tuple[Sample, ...]:
        sample = Sample(
            id="x", level="L2", task="spatial/ratio", source="elsewhere", key="b", place="b", split="val",
            images=(SampleImage(number=1, modality="optical", sensor="rgb"),), height=2, width=2, question="Why?",
            reasoning="<think>The water: [SEG]</think><answer>so</answer>",
            masks=(SampleMask(counts="04", image=1, class_name="water"),), truth="so",
        )  # fmt: skip
        return sample, replace(sample, level="caption")


def test_a_build_keeps_both_under_the_names_of_its_own_source(tmp_path: Path) -> None:
    recipe = Recipe.of({"sources": [{"name": "brought", "root": str(tmp_path)}], "levels": ["L1", "L2"]})
    tools = Tools(sources={"brought": Grounded()}, roots={}, writer=Composer())
    asked = ask_chip(Plan(recipe=recipe, shards=()), tools, None, "brought", "a")
    assert asked.failed is None
    assert [(s.id, s.task, s.writer) for s in asked.samples] == [
        ("brought/a/L1/1", "given/change", "data set"),
        ("brought/a/L2/1", "spatial/ratio", "templates"),
    ]
    assert {(s.source, s.key, s.place) for s in asked.samples} == {("brought", "a", "there")}
