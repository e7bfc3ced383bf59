"""What a model that does not know our grammar is asked, word for word, and shown."""

from __future__ import annotations

import datetime
from dataclasses import replace

import numpy as np
import pytest

from terrascope.bench.prompts import SEEN, check_several, guidance, make_turns, word_question
from terrascope.errors import QuestionError
from terrascope.rasters.overlay import to_bytes
from terrascope.rasters.sensors import render
from terrascope.scene import Pair, Scene
from tests.bench.made_benchmark import SIZE, make_image, make_scene

QUESTION = "How much of the image is water?"
ASKED = (
    "How much of the image is water?\nA. 5%\nB. 20%\nC. 40%\nD. 60%\n"
    "Please respond with only the option letter (A, B, C, or D) corresponding to your answer."
)
OPTIONS = ("5%", "20%", "40%", "60%")


def two_dates() -> Scene:
    """Optical images of two days, the second of them darker."""
    first = replace(make_image(), date=datetime.date(2024, 5, 1))
    second = replace(first, pixels=first.pixels / 2, date=datetime.date(2024, 5, 13))
    return Scene((Pair(optical=first), Pair(optical=second)))


def test_the_guidance_is_the_papers_sentence_with_the_letters_that_there_are() -> None:
    assert guidance(4) == "Please respond with only the option letter (A, B, C, or D) corresponding to your answer."
    assert guidance(2) == "Please respond with only the option letter (A or B) corresponding to your answer."
    assert guidance(5) == "Please respond with only the option letter (A, B, C, D, or E) corresponding to your answer."


def test_one_optical_image_goes_with_question_options_and_guidance_alone() -> None:
    (turn,) = make_turns(make_scene(), QUESTION, OPTIONS)
    assert (turn.role, turn.text) == ("user", ASKED)
    np.testing.assert_array_equal(turn.pictures[0], to_bytes(render(make_scene().observations[0])))


def test_a_free_question_stays_as_it_is() -> None:
    assert word_question(QUESTION) == QUESTION
    assert make_turns(make_scene(), QUESTION)[0].text == QUESTION


def test_sar_is_called_sar() -> None:
    scene = Scene((Pair(sar=make_image("sar")),))
    assert make_turns(scene, QUESTION, OPTIONS)[0].text == f"The image is a SAR image.\n{ASKED}"


def test_the_two_images_of_a_date_have_its_number() -> None:
    (turn,) = make_turns(make_scene(sar=True), QUESTION, OPTIONS)
    assert turn.text == (f"These are 2 images of one place, in this order: image 1 (optical); image 1 (SAR).\n{ASKED}")
    assert len(turn.pictures) == 2


def test_several_images_in_one_turn() -> None:
    (turn,) = make_turns(two_dates(), QUESTION, OPTIONS, several="images")
    assert turn.text == (
        "These are 2 images of one place, in this order: image 1 (optical, 2024-05-01); "
        f"image 2 (optical, 2024-05-13).\n{ASKED}"
    )
    assert turn.pictures[0].mean() > turn.pictures[1].mean()


def test_several_images_side_by_side() -> None:
    (turn,) = make_turns(two_dates(), QUESTION, OPTIONS, several="side-by-side")
    assert turn.text == (
        "The picture shows 2 images of one place side by side. From left to right: image 1 (optical, 2024-05-01); "
        f"image 2 (optical, 2024-05-13).\n{ASKED}"
    )
    (picture,) = turn.pictures
    first, second = (to_bytes(render(image)) for image in two_dates().observations)
    np.testing.assert_array_equal(picture[:, :SIZE], first)
    np.testing.assert_array_equal(picture[:, -SIZE:], second)
    assert picture.shape[0] == SIZE and (picture[:, SIZE:-SIZE] == 255).all() and picture.shape[1] > 2 * SIZE


def test_several_images_one_by_one() -> None:
    turns = make_turns(two_dates(), QUESTION, OPTIONS, several="one-by-one")
    assert [(turn.role, turn.text, len(turn.pictures)) for turn in turns] == [
        ("user", "This is image 1 (optical, 2024-05-01).", 1),
        ("assistant", SEEN, 0),
        ("user", f"This is image 2 (optical, 2024-05-13), of the same place.\n{ASKED}", 1),
    ]


def test_lengths_and_areas_are_asked_with_the_width_on_the_ground() -> None:
    (turn,) = make_turns(make_scene(), "What is the area of the water?", ("1 ha", "2 ha"))
    assert turn.text.startswith("An image is 200 m wide and 200 m high on the ground.\nWhat is the area")
    assert "wide" not in make_turns(make_scene(), QUESTION, OPTIONS)[0].text
    unknown = Scene((Pair(optical=make_image(gsd_m=None)),))
    assert "wide" not in make_turns(unknown, "What is the area of the water?", ("1 ha", "2 ha"))[0].text


def test_large_images_are_reduced() -> None:
    (turn,) = make_turns(make_scene(), QUESTION, max_side=10)
    assert turn.pictures[0].shape == (10, 10, 3)


def test_an_unknown_way_is_refused() -> None:
    assert check_several("one-by-one") == "one-by-one"
    with pytest.raises(QuestionError, match="choose one of images, side-by-side, one-by-one"):
        check_several("video")
