"""Answers: masks at their steps, measured and checked, and read back from their files."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from terrascope.answer import Answer
from terrascope.errors import OutputError, QuestionError, ScaleError
from terrascope.masks import decode_rle
from terrascope.predictor import Predictor
from tests.oracle import HEIGHT, TREE, WATER, WIDTH, Oracle, ground, make_scene

SHARE = "What percentage of the image is water?"


def reason(
    reasoning: str,
    *masks: np.ndarray,
    question: str = SHARE,
    options: tuple[str, ...] = (),
    num_dates: int = 1,
    image: int = 1,
) -> Answer:
    return Answer.from_reasoning(
        scene=make_scene(gsd_m=10, num_dates=num_dates),
        question=question,
        options=options,
        reasoning=reasoning,
        groundings=[ground(mask, image=image) for mask in masks],
        model="test",
    )


def test_every_step_carries_its_mask_and_what_it_measures() -> None:
    predictor: Predictor = Oracle()
    answer = predictor.ask(make_scene(gsd_m=10), SHARE, options=["A. 5%", "B. 10%"])
    water, tree = answer.steps
    assert answer.text == "B"
    assert answer.option == "10%"
    assert answer.options == ("5%", "10%")
    assert np.array_equal(answer.masks[0], WATER)
    assert np.array_equal(answer.masks[1], TREE)
    assert [
        np.array_equal(step.mask, mask) for step, mask in zip(answer.trace.grounded_steps, answer.masks, strict=True)
    ] == [True, True]
    assert (water.measurement.num_pixels, water.measurement.coverage, water.measurement.area_m2) == (200, 0.1, 20_000.0)
    assert (tree.measurement.num_pixels, tree.measurement.coverage, tree.measurement.area_m2) == (250, 0.125, 25_000.0)
    assert (water.text, water.finding) == ("The water:", "It covers 10% of the image.")
    assert (water.num_tokens, water.num_optical_tokens, water.num_sar_tokens, water.confidence) == (9, 7, 2, 0.75)
    assert water.distance_m is None
    # From row 19, column 9 to row 30, column 25.
    assert tree.distance_m == pytest.approx(10 * np.hypot(11, 16))
    assert answer.num_disagreements == 0
    assert answer.notes == ()


def test_a_number_that_the_mask_contradicts_is_flagged() -> None:
    answer = Oracle(stated_percent=30).ask(make_scene(), SHARE)
    (disagreement,) = answer.steps[0].disagreements
    assert (disagreement.stated, disagreement.measured, disagreement.unit) == (30.0, 10.0, "%")
    assert answer.steps[1].disagreements == ()
    assert answer.num_disagreements == 1


def test_pixels_without_measurement_count_nowhere() -> None:
    scene = make_scene(gsd_m=10)
    scene.observations[0].valid[:10] = False
    step = Oracle().ask(scene, SHARE).steps[0]
    assert (step.measurement.num_pixels, step.measurement.area_m2) == (100, 10_000.0)
    assert step.measurement.coverage == pytest.approx(100 / 1500)


def test_its_short_form_is_one_line() -> None:
    answer = reason("<think>The water: [SEG]</think><answer>11%</answer>", WATER)
    assert repr(answer) == f"<Answer '11%' to {SHARE!r}: 1 step, by test>"
    chosen = reason("<think>Water.</think><answer>B</answer>", options=("10%", "20%"))
    assert repr(chosen) == f"<Answer '20%' to {SHARE!r}: 0 steps, by test>"


def test_an_answer_that_names_no_option_says_so() -> None:
    answer = reason("<think>The water: [SEG]</think><answer>perhaps</answer>", WATER, options=("5%", "10%"))
    assert (answer.text, answer.option) == ("perhaps", None)
    assert answer.notes == ("The answer names none of the options.",)


def test_a_reasoning_without_an_answer_says_so() -> None:
    answer = reason("<think>The water: [SEG] It covers", WATER)
    assert answer.text == ""
    assert answer.notes == ("The reasoning ended without an answer.",)


def test_empty_masks_and_missing_images_are_noted() -> None:
    nothing = np.zeros((HEIGHT, WIDTH), bool)
    answer = reason("<think>The snow: Image: 9 [SEG]</think><answer>none</answer>", nothing, num_dates=2, image=2)
    assert answer.steps[0].image == 2
    assert answer.steps[0].measurement.position is None
    assert answer.notes == (
        "The reasoning names Image: 9, which the scene does not have.",
        "The mask of step 1 is empty.",
    )


def test_as_many_masks_as_seg_tokens() -> None:
    with pytest.raises(ValueError, match=r"1 \[SEG\] tokens, but 2 masks"):
        reason("<think>[SEG]</think><answer>x</answer>", WATER, TREE)
    with pytest.raises(ValueError, match="lies on image 3, but the scene has 1"):
        reason("<think>[SEG]</think><answer>x</answer>", WATER, image=3)


def test_the_dictionary_is_json_with_units_in_its_keys() -> None:
    told = Oracle(stated_percent=30).ask(make_scene(gsd_m=10), SHARE, options=["5%", "30%"]).to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["schema"] == "terrascope-answer/1"
    assert (told["model"], told["question"], told["options"]) == ("oracle", SHARE, ["5%", "30%"])
    assert (told["answer"], told["answer_option"], told["num_disagreements"]) == ("B", "30%", 1)
    assert told["conclusion"] == "So the answer is B."
    assert told["scene"] == {
        "height_px": HEIGHT,
        "width_px": WIDTH,
        "crs": None,
        "transform": None,
        "scale_basis": "stated: 10 m",
        "notes": [],
        "images": [
            {
                "image": 1,
                "date": None,
                "optical": {
                    "source": "scene.png",
                    "sensor": "rgb",
                    "date": None,
                    "bands": ["red", "green", "blue"],
                    "valid_percent": 100.0,
                    "evidence": [],
                    "assumptions": [],
                },
                "sar": None,
            }
        ],
    }
    step = told["steps"][0]
    assert np.array_equal(decode_rle(step.pop("mask_rle")), WATER)
    assert step == {
        "step": 1,
        "text": "The water:",
        "finding": "It covers 30% of the image.",
        "image": 1,
        "date": None,
        "num_pixels": 200,
        "coverage_percent": 10.0,
        "area_m2": 20_000.0,
        "scale_basis": "stated: 10 m",
        "num_objects": 1,
        "position": "northwestern part",
        "distance_to_previous_step_m": None,
        "confidence": 0.75,
        "num_tokens": 9,
        "num_optical_tokens": 7,
        "num_sar_tokens": 2,
        "agrees": False,
        "disagreements": [
            {"stated": 30.0, "measured": 10.0, "unit": "%", "message": "The text says 30 %, but the mask shows 10 %."}
        ],
    }


def test_without_a_scale_areas_are_null_and_coverage_stays() -> None:
    step = Oracle().ask(make_scene(), SHARE).to_dict()["steps"][1]
    assert (step["area_m2"], step["scale_basis"], step["distance_to_previous_step_m"]) == (None, None, None)
    assert step["coverage_percent"] == 12.5


def test_a_file_in_the_way_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="a file stands where the output folder should be"):
        Oracle().ask(make_scene(), SHARE).save(tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "mine"


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ScaleError, match="--gsd METRES"):
        Oracle().ask(make_scene(), "What is the area of the water?")
    with pytest.raises(QuestionError, match="the question is empty"):
        Oracle().ask(make_scene(), " ")


def test_a_free_answer_that_its_mask_contradicts_is_doubted() -> None:
    fits = reason("<think>The water: [SEG]</think><answer>11%</answer>", WATER)
    assert fits.notes == ()
    wrong = reason("<think>The water: [SEG]</think><answer>9 ha</answer>", WATER, question="How much is water?")
    assert wrong.notes == ("The answer does not fit: The text says 9 ha, but the mask shows 2 ha.",)
    # The share of two masks may be of anything; a length is their distance, 10 m * hypot(11, 16) = 194 m.
    far = partial(reason, question="How far apart are they?")
    both = "<think>The water: [SEG] It is here. The tree: [SEG] It is there.</think><answer>{}</answer>"
    assert reason(both.format("90%"), WATER, TREE).notes == ()
    assert far(both.format("190 m"), WATER, TREE).notes == ()
    assert len(far(both.format("500 m"), WATER, TREE).notes) == 1


@pytest.mark.parametrize(
    ("question", "answer", "note"),
    [
        ("How many lakes are there?", "11%", "The question asks for a number, but the answer states a share."),
        ("How large is the lake?", "11%", "The question asks for an area, but the answer states a share."),
        ("What percentage is water?", "2 ha", "The question asks for a share, but the answer states an area."),
        ("How many lakes are there?", "one", None),
        ("How large is the lake?", "2 ha, that is 11%", None),
        ("How much of it is water?", "2 ha", None),
    ],
)
def test_an_answer_of_another_kind_than_asked_for_is_doubted(question: str, answer: str, note: str | None) -> None:
    found = reason(f"<think>The water: [SEG]</think><answer>{answer}</answer>", WATER, question=question)
    assert found.notes == ((note,) if note else ())


def test_the_same_step_twice_is_doubted() -> None:
    answer = reason(
        "<think>The water: [SEG] It is here. The water: [SEG] It is here.</think><answer>Yes</answer>", WATER, WATER
    )
    assert answer.notes == ("Two steps show the same thing; the question may name something else.",)
