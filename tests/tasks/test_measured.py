"""The measured counterpart of what an answer states."""

from __future__ import annotations

import numpy as np
import pytest
from tests.oracle import HEIGHT, TREE, WATER, WIDTH, ground, make_scene

from terrascope.answer import Answer
from terrascope.tasks.measured import class_of, doubt_class, measured_answer


def answer_with(text: str, *masks: np.ndarray, gsd_m: float | None = 10, options: tuple[str, ...] = ()) -> Answer:
    steps = " ".join("The water: [SEG] It is here." for _ in masks)
    return Answer.from_reasoning(
        scene=make_scene(gsd_m=gsd_m),
        question="What?",
        options=options,
        reasoning=f"<think>{steps}</think><answer>{text}</answer>",
        groundings=[ground(mask) for mask in masks],
        model="test",
    )


@pytest.mark.parametrize(
    ("text", "measured"),
    [
        ("33%", "10%"),
        ("7 ha", "2 ha"),
        ("3 km2", "2 ha"),
        ("12 buildings", "1"),
        ("5", "1"),
        ("Yes", None),
        ("eastern part", "northwestern part"),
    ],
)
def test_one_mask_measures_shares_areas_and_counts(text: str, measured: str | None) -> None:
    assert WATER.sum() == 200 and HEIGHT * WIDTH == 2000
    assert measured_answer(answer_with(text, WATER)) == measured


def test_a_length_is_the_distance_of_the_last_two_masks() -> None:
    # From row 19, column 9 to row 30, column 25: 10 * hypot(11, 16) = 194 m, to two digits.
    assert measured_answer(answer_with("50 m", WATER, TREE)) == "190 m"
    assert measured_answer(answer_with("50 m", WATER)) is None


def test_nothing_is_claimed_where_it_is_not_clear_what_is_meant() -> None:
    assert measured_answer(answer_with("33%", WATER, TREE)) is None
    assert measured_answer(answer_with("7 ha", WATER, gsd_m=None)) is None
    assert measured_answer(answer_with("33%")) is None


def test_a_chosen_option_says_what_is_meant() -> None:
    assert measured_answer(answer_with("B", WATER, options=("4 ha", "9%"))) == "10%"


def compare(question: str, text: str, *masks: np.ndarray, names: tuple[str, str] = ("water", "tree")) -> str | None:
    steps = " ".join(f"The {name}: [SEG] It is here." for name in names)
    answer = Answer.from_reasoning(
        scene=make_scene(gsd_m=None),
        question=question,
        reasoning=f"<think>{steps}</think><answer>{text}</answer>",
        groundings=[ground(mask) for mask in masks],
        model="test",
    )
    return measured_answer(answer)


def test_the_larger_of_two_masks_is_measured() -> None:
    assert WATER.sum() == 200 and TREE.sum() == 250
    assert compare("Which covers more, water or trees?", "water", WATER, TREE) == "tree"
    assert compare("Which is larger, trees or water?", "water", TREE, WATER) == "water"
    assert compare("Which is larger, trees or water?", "water", WATER, WATER) is None
    assert compare("Which covers less, water or trees?", "water", WATER, TREE) is None
    assert compare("What is there?", "water", WATER, TREE) is None
    assert compare("Which is larger?", "water", WATER, TREE, names=("water", "water")) is None
    assert compare("Which is larger?", "water", WATER, TREE, names=("water", "unicorn")) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("The water:", "water"),
        ("The crops:", "crop"),
        ("First I locate the water body:", "water"),
        ("Let me mark the destroyed building.", "destroyed building"),
        ("Next, the bare land:", "bare land"),
        ("The broad-leaved forest:", "broad-leaved forest"),
        ("The urban fabric:", "urban fabric"),
        ("The water beside the lake:", "water"),
        ("Water and trees:", None),
        ("The watering place:", None),
        ("The unicorn:", None),
        ("", None),
    ],
)
def test_a_sentence_names_at_most_one_class(text: str, name: str | None) -> None:
    assert class_of(text) == name


BEFORE = np.zeros((HEIGHT, WIDTH), bool)
BEFORE[2:4, 2:42:5] = True
"""Eight buildings in a row."""
AFTER = BEFORE.copy()
AFTER[:, 15:] = False
"""The first three of them."""


@pytest.mark.parametrize(
    ("text", "names", "images", "masks", "measured"),
    [
        ("7", ("building", "destroyed building"), (1, 2), (BEFORE, AFTER), "3"),
        ("90%", ("buildings", "destroyed buildings"), (1, 2), (BEFORE, AFTER), "38%"),
        ("90%", ("building", "destroyed building"), (1, 2), (AFTER, BEFORE), "100%"),
        ("90%", ("building", "destroyed building"), (1, 2), (BEFORE & False, AFTER), None),
        ("0", ("building", "destroyed building"), (1, 2), (BEFORE, AFTER & False), "0"),
        ("90%", ("destroyed building", "building"), (1, 2), (BEFORE, AFTER), None),
        ("90%", ("building", "destroyed building"), (2, 2), (BEFORE, AFTER), None),
        ("90%", ("building", "destroyed building"), (2, 1), (BEFORE, AFTER), None),
        ("90%", ("building", "building"), (1, 2), (BEFORE, AFTER), None),
        ("7 ha", ("building", "destroyed building"), (1, 2), (BEFORE, AFTER), None),
    ],
)
def test_destroyed_buildings_are_counted_among_those_before(
    text: str, names: tuple[str, str], images: tuple[int, int], masks: tuple[np.ndarray, ...], measured: str | None
) -> None:
    steps = " ".join(f"The {name}: Image: {image} [SEG] Seen." for name, image in zip(names, images, strict=True))
    answer = Answer.from_reasoning(
        scene=make_scene(gsd_m=10, num_dates=2),
        question="How many buildings were destroyed?",
        reasoning=f"<think>{steps}</think><answer>{text}</answer>",
        groundings=[ground(mask, image=image) for mask, image in zip(masks, images, strict=True)],
        model="test",
    )
    assert measured_answer(answer) == measured


@pytest.mark.parametrize(
    ("question", "name", "doubt"),
    [
        ("How many buildings are destroyed?", "building", ("destroyed buildings", "buildings")),
        ("How many buildings did the storm destroy?", "building", ("destroyed buildings", "buildings")),
        ("How much of the image is water?", "flood", ("water", "flood water")),
        ("How many buildings were destroyed?", "destroyed building", None),
        ("How many buildings are there?", "building", None),
        ("How much water is near the trees?", "flood", None),
        ("How much is it?", "water", None),
        ("How much water is there?", "unicorn", None),
    ],
)
def test_a_mask_of_another_class_than_was_asked_about_measures_nothing(
    question: str, name: str, doubt: tuple[str, str] | None
) -> None:
    answer = Answer.from_reasoning(
        scene=make_scene(gsd_m=None),
        question=question,
        reasoning=f"<think>The {name}: [SEG] It is here.</think><answer>7</answer>",
        groundings=[ground(BEFORE)],
        model="test",
    )
    said = None if doubt is None else f"The question asks about {doubt[0]}, but the mask is of {doubt[1]}."
    assert doubt_class(answer) == said
    assert measured_answer(answer) == ("8" if doubt is None else None)


def test_the_larger_class_is_found_in_any_words() -> None:
    answer = Answer.from_reasoning(
        scene=make_scene(gsd_m=None),
        question="Which is larger, trees or water?",
        reasoning="<think>First I look for the trees. [SEG] I see them. Then the water: [SEG] So B.</think>"
        "<answer>water</answer>",
        groundings=[ground(TREE), ground(WATER)],
        model="test",
    )
    assert measured_answer(answer) == "tree"
