"""What masks of known geometry answer, for everything that can be asked for."""

from __future__ import annotations

import numpy as np
import pytest

from terrascope.bench.baselines.measuring import Found, answer_from_masks, asked_for, measure
from tests.bench.made_benchmark import SIZE, make_scene


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[top:bottom, left:right] = True
    return mask


LAKE = Found(name="water", image=1, mask=box(0, 10, 0, 4))
"""40 of 400 pixels of 10 m: 10 %, 4,000 m2."""
FIELD = Found(name="crop", image=1, mask=box(0, 20, 10, 20))
"""Half of the image; seven columns from the lake's last column: 70 m."""
SHORE = Found(name="grass", image=1, mask=box(0, 10, 4, 6))
"""Beside the lake."""
NOTHING = Found(name="snow", image=1, mask=box(0, 0, 0, 0))


@pytest.mark.parametrize(
    ("options", "found", "expected"),
    [
        (("3%", "11%", "60%", "30%"), [LAKE], ("10%", "B")),
        (("0%", "11%"), [NOTHING], ("0%", "A")),
        (("1 ha", "0.4 ha", "4 km2"), [LAKE], ("4000 m2", "B")),
        (("70 m", "0.2 km", "20 m"), [LAKE, FIELD], ("70 m", "A")),
        (("water", "crop"), [LAKE, FIELD], ("crop", "B")),
        (("Yes", "No"), [LAKE, SHORE], ("Yes", "A")),
        (("Yes", "No"), [LAKE, FIELD], ("No", "B")),
        (("No", "Yes"), [LAKE], ("Yes", "B")),
        (("Yes", "No"), [NOTHING], ("No", "B")),
        (("2", "1", "7"), [LAKE], ("1", "B")),
        (("eastern part", "northwestern part"), [LAKE], ("northwestern part", "B")),
    ],
)
def test_what_masks_measure_chooses_the_nearest_option(
    options: tuple[str, ...], found: list[Found], expected: tuple[str, str]
) -> None:
    scene, question = make_scene(), "What of water and crops?"
    assert measure(scene, question, options, found) == expected[0]
    answer = answer_from_masks(scene, question, options, found, "masks")
    assert answer.text == expected[1]
    for given, mask in zip(found, answer.masks, strict=True):
        np.testing.assert_array_equal(given.mask, mask)


@pytest.mark.parametrize(("question", "expected"), [("Which is larger?", "crop"), ("Which is smaller?", "water")])
def test_the_smaller_is_told_from_the_larger(question: str, expected: str) -> None:
    assert measure(make_scene(), question, ("water", "crop"), [LAKE, FIELD]) == expected


def test_of_two_dates_the_objects_are_compared() -> None:
    houses = box(0, 2, 0, 2) | box(5, 7, 5, 7) | box(10, 12, 10, 12) | box(15, 17, 15, 17)
    found = [
        Found(name="building", image=1, mask=houses),
        Found(name="destroyed building", image=2, mask=box(0, 2, 0, 2)),
    ]
    question = "What share of the buildings was destroyed?"
    assert measure(make_scene(2), question, ("25%", "50%"), found) == "25%"
    assert measure(make_scene(2), "How many buildings were destroyed?", ("1", "4"), found) == "1"
    answer = answer_from_masks(make_scene(2), question, ("50%", "25%"), found, "masks")
    assert answer.text == "B" and [step.image for step in answer.steps] == [1, 2]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("10 m", "20 m"), [LAKE, NOTHING]),
        (("10 m", "20 m"), [LAKE]),
        (("water", "crop"), [LAKE]),
        (("water", "crop"), [LAKE, LAKE]),
        (("northern part", "central part"), [NOTHING]),
        (("5%", "10%"), []),
    ],
)
def test_what_masks_do_not_tell_is_left_unanswered(options: tuple[str, ...], found: list[Found]) -> None:
    answer = answer_from_masks(make_scene(), "Which?", options, found, "masks")
    assert (answer.text, answer.option) == ("", None)


def test_only_valid_pixels_count() -> None:
    scene = make_scene()
    scene.pairs[0].optical.valid[:10] = False  # type: ignore[union-attr]
    assert measure(scene, "How much?", ("0%", "50%"), [LAKE]) == "0%"
    assert measure(scene, "How much?", ("0%", "50%"), [FIELD]) == "50%"


@pytest.mark.parametrize(
    ("question", "options", "expected"),
    [
        ("?", ("less than 1%", "12 percent"), "share"),
        ("?", ("12 hectares", "0.1 km2"), "area"),
        ("?", ("120 meters", "3 km"), "length"),
        ("?", ("3 buildings", "12"), "count"),
        ("?", ("Yes, they do", "No, they do not"), "yes or no"),
        ("?", ("Central part", "eastern part"), "part"),
        ("?", ("developed area", "tree"), "class"),
        ("Is there water?", (), "yes or no"),
        ("How much of the image is water?", (), "share"),
        ("How large is the area of water?", (), "area"),
        ("How far is the water from the trees?", (), "length"),
        ("How many buildings are there?", (), "count"),
        ("Where is the water?", (), "part"),
        ("Which is larger, water or crops?", (), "class"),
        ("Describe it.", (), None),
    ],
)
def test_what_is_asked_for_is_read_off_options_and_words(
    question: str, options: tuple[str, ...], expected: str | None
) -> None:
    assert asked_for(question, options) == expected


def test_a_free_question_is_answered_with_the_measurement() -> None:
    assert answer_from_masks(make_scene(), "How much is water?", (), [LAKE], "masks").text == "10%"
