"""True masks answer every question that masks decide; boxes and shifted masks do not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from terrascope.bench.baselines import ChangedMasks, OracleMasks, box_of, random_box, shifted
from terrascope.bench.baselines.changed_masks import Change
from terrascope.bench.recipe import TASKS
from terrascope.errors import QuestionError
from terrascope.tasks.measured import measured_answer
from tests.bench.made_benchmark import drawn_benchmark, make_benchmark, make_scene

DRAWN = drawn_benchmark(36).items


def test_every_question_of_every_task_is_answered_right() -> None:
    asked = Counter(item.sample.task for item in DRAWN)
    assert set(asked) == set(TASKS) and min(asked.values()) >= 3, asked
    wrong = [item.sample.id for item in DRAWN if OracleMasks().ask_item(item).text != item.sample.answer]
    assert wrong == []


def test_the_masks_are_the_true_ones() -> None:
    for item in DRAWN[:10]:
        answer = OracleMasks().ask_item(item)
        for number, step in enumerate(answer.steps):
            np.testing.assert_array_equal(step.mask, item.sample.mask(number))
            assert step.image == item.sample.masks[number].image
        assert answer.num_disagreements == 0


def test_it_agrees_with_what_any_answer_is_measured_by() -> None:
    """Where `tasks.measured` has something to say of an answer, it is what the oracle measured."""
    told = 0
    for item in DRAWN:
        measured = measured_answer(OracleMasks().ask_item(item))
        if measured is not None and item.sample.task in ("coverage", "area", "distance", "ranking"):
            told += 1
            assert measured == item.sample.truth
    assert told > 30


def test_it_does_not_know_the_right_option() -> None:
    item = DRAWN[0]
    lied = replace(item, sample=replace(item.sample, truth="nothing", reasoning=item.sample.reasoning + " "))
    assert OracleMasks().ask_item(lied).text == OracleMasks().ask_item(item).text


def share_right(change: Change, *tasks: str) -> float:
    changed = ChangedMasks(OracleMasks(), change, "changed")
    asked = [item for item in DRAWN if item.sample.task in tasks]
    return sum(changed.ask_item(item).text == item.sample.answer for item in asked) / len(asked)


def test_changed_masks_answer_worse() -> None:
    assert share_right(box_of, "coverage", "area", "ranking") < 0.8
    assert share_right(random_box, "coverage", "area", "ranking") < 0.6
    # At another place, sizes stay as they are, but what lies beside what does not.
    assert share_right(shifted, "distance", "boundary") < 0.8
    assert share_right(shifted, "area") > 0.9


def test_without_masks_there_is_nothing_to_measure() -> None:
    with pytest.raises(QuestionError, match="no true masks"):
        OracleMasks().ask_item(make_benchmark(1).items[0])
    with pytest.raises(QuestionError, match="only answers items of a benchmark"):
        OracleMasks().ask(make_scene(), "How much of the image is water?")
