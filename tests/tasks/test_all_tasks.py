"""What every task promises, held on many drawn label maps."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tasks.drawn_scenes import draw

from terrascope import spatial
from terrascope.georeference import Georeference
from terrascope.landcover import TERRASCOPE, UNLABELLED
from terrascope.question import needs_scale
from terrascope.scene import LabelMap
from terrascope.tasks import TASKS, LabelledScene, Question
from terrascope.trace import LETTERS, check_step, parse, render, resolve_images


def questions(name: str, num: int = 40) -> list[tuple[LabelledScene, Question]]:
    """Questions of a task about drawn scenes, every other one with options."""
    asked = []
    for seed in range(num):
        labelled = draw(seed)
        question = TASKS[name].ask(labelled, np.random.default_rng(seed), with_options=bool(seed // 3 % 2))
        if question is not None:
            asked.append((labelled, question))
    return asked


every_task = pytest.mark.parametrize("name", TASKS)


@every_task
def test_traces_agree_with_their_own_masks(name: str) -> None:
    asked = questions(name)
    assert len(asked) >= 4
    for labelled, question in asked:
        assert labelled.pixel_size is not None
        before = None
        for step, image in zip(question.trace.steps, resolve_images(question.trace, labelled.num_dates), strict=True):
            assert step.mask is not None
            measured = labelled.measured(image - 1)
            assert not (step.mask & ~measured).any()
            apart = None
            if before is not None and before.any() and step.mask.any():
                apart = spatial.distance_m(before, step.mask, labelled.pixel_size)
            disagreements = check_step(
                step,
                coverage=spatial.coverage(step.mask, measured),
                area_m2=spatial.area_m2(step.mask, labelled.pixel_size),
                num_objects=spatial.count_objects(step.mask),
                distance_m=apart,
            )
            assert disagreements == (), (question.text, step)
            before = step.mask


@every_task
def test_traces_read_back_as_they_were_written(name: str) -> None:
    for _, question in questions(name):
        assert parse(render(question.trace)) == question.trace


@every_task
def test_questions_are_complete(name: str) -> None:
    for labelled, question in questions(name):
        assert question.task == name
        assert "{" not in question.text and question.text[0].isupper() and question.text[-1] in "?."
        assert question.truth
        assert len(question.classes) == len(question.trace.grounded_steps)
        for step, name_of_class in zip(question.trace.steps, question.classes, strict=True):
            assert step.text == f"The {name_of_class}:"
            assert (step.image is None) == (labelled.num_dates == 1)
        if not question.options:
            assert question.trace.answer == question.truth
            continue
        assert len(question.options) == len(set(question.options)) == TASKS[name].num_options
        assert question.options[LETTERS.index(question.trace.answer)] == question.truth
        assert question.trace.conclusion.endswith(f"So the answer is {question.trace.answer}.")


@every_task
def test_only_areas_and_distances_speak_of_metres(name: str) -> None:
    for _, question in questions(name):
        assert needs_scale(question.text, question.options) == (name in ("area", "distance"))


@every_task
def test_the_same_generator_asks_the_same(name: str) -> None:
    for seed in range(6):
        first, second = (TASKS[name].ask(draw(seed), np.random.default_rng(seed), with_options=True) for _ in range(2))
        assert first == second


@every_task
def test_the_truth_stands_anywhere_among_the_options(name: str) -> None:
    task = TASKS[name]
    labelled = next(
        scene
        for scene in map(draw, range(60))
        if task.ask(scene, np.random.default_rng(0), with_options=True) is not None
    )
    rng = np.random.default_rng(1)
    drawn = [task.ask(labelled, rng, with_options=True) for _ in range(400)]
    letters = [question.trace.answer for question in drawn if question is not None]
    counts = np.array([letters.count(letter) for letter in LETTERS[: task.num_options]])
    expected = len(letters) / task.num_options
    assert len(letters) >= 300
    # The chi-square quantiles of 99.9 % for one and three degrees of freedom.
    assert ((counts - expected) ** 2 / expected).sum() < {2: 10.8, 4: 16.3}[task.num_options]


@every_task
def test_nothing_is_asked_of_an_unlabelled_scene(name: str) -> None:
    ids = np.full((8, 8), UNLABELLED, np.uint8)
    labels = LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=tuple(range(len(TERRASCOPE))))
    labelled = LabelledScene(
        labels=(labels, labels), valid=np.ones((8, 8), bool), pixel_size=Georeference(gsd_m=10).pixel_size(8, 8)
    )
    assert TASKS[name].ask(labelled, np.random.default_rng(0), with_options=False) is None


def test_without_a_scale_neither_areas_nor_distances_are_asked() -> None:
    for seed in range(20):
        drawn = draw(seed)
        labelled = LabelledScene(labels=drawn.labels, valid=drawn.valid, pixel_size=None)
        for name in ("area", "distance"):
            assert TASKS[name].ask(labelled, np.random.default_rng(seed), with_options=False) is None
        assert TASKS["coverage"].ask(labelled, np.random.default_rng(seed), with_options=False) is not None


@pytest.mark.parametrize("name", ["existence", "coverage"])
def test_absent_classes_are_asked_for_too(name: str) -> None:
    labelled = draw(1)
    rng = np.random.default_rng(0)
    drawn = [TASKS[name].ask(labelled, rng, with_options=False) for _ in range(300)]
    absent = [question for question in drawn if question is not None and question.truth in ("No", "0%")]
    assert 60 <= len(absent) <= 120
    for question in absent:
        step = question.trace.steps[0]
        assert step.mask is not None and not step.mask.any()
        assert step.finding == "There is none."
