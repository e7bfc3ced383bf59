"""Each task on a label map whose numbers are known by construction: exact answers and exact traces."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from terrascope.georeference import Georeference
from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED
from terrascope.scene import LabelMap
from terrascope.tasks import TASKS, LabelledScene, Question
from terrascope.tasks.boundary import Boundary
from terrascope.tasks.building_change import BuildingChange
from terrascope.tasks.counting import Counting
from terrascope.tasks.coverage import Coverage
from terrascope.tasks.distance import Distance
from terrascope.tasks.existence import Existence
from terrascope.tasks.localization import Localization, far_parts
from terrascope.tasks.ranking import Ranking
from terrascope.trace import render

ID = {name: TERRASCOPE.id_of(name) for name in TERRASCOPE.names}


def paint(**boxes: list[tuple[int, int, int, int]]) -> NDArray[np.uint8]:
    """A 100 x 100 map of OTHER with boxes (top, bottom, left, right) of classes; `_` stands for a blank."""
    ids = np.full((100, 100), OTHER, np.uint8)
    for name, windows in boxes.items():
        for top, bottom, left, right in windows:
            ids[top:bottom, left:right] = ID[name.replace("_", " ")]
    return ids


def label(*dates: NDArray[np.uint8], known: tuple[str, ...], objects: NDArray[np.int32] | None = None) -> LabelledScene:
    """Label maps at 10 m."""
    return LabelledScene(
        labels=tuple(
            LabelMap(
                ids=ids,
                nomenclature=TERRASCOPE,
                class_ids_known=tuple(ID[name] for name in known),
                objects=objects,
            )
            for ids in dates
        ),
        valid=np.ones((100, 100), bool),
        pixel_size=Georeference(gsd_m=10).pixel_size(100, 100),
    )


def ask(task: object, labelled: LabelledScene, *, seed: int = 0, with_options: bool = False) -> Question:
    question = cast(Existence, task).ask(labelled, np.random.default_rng(seed), with_options=with_options)
    assert question is not None
    return question


WATER = label(paint(water=[(0, 50, 0, 68)]), known=("water",))


def test_existence() -> None:
    question = ask(TASKS["existence"], WATER)
    assert render(question.trace) == "<think>The water: [SEG] It covers 34% of the image.</think><answer>Yes</answer>"
    question = ask(TASKS["existence"], label(paint(), known=("water",)))
    assert render(question.trace) == "<think>The water: [SEG] There is none.</think><answer>No</answer>"


def test_coverage() -> None:
    question = ask(TASKS["coverage"], WATER)
    assert render(question.trace) == "<think>The water: [SEG] It covers 34% of the image.</think><answer>34%</answer>"
    assert (question.value, question.unit) == (34.0, "%")


def test_coverage_with_options() -> None:
    question = ask(TASKS["coverage"], WATER, with_options=True)
    letter = question.trace.answer
    assert render(question.trace) == (
        "<think>The water: [SEG] It covers 34% of the image. "
        f"So the answer is {letter}.</think><answer>{letter}</answer>"
    )
    percents = sorted(int(option.rstrip("%")) for option in question.options)
    assert 34 in percents and min(np.diff(percents)) >= 8


def test_unlabelled_and_invalid_pixels_count_in_no_denominator() -> None:
    ids = paint(water=[(0, 50, 0, 100)])
    ids[50:75] = UNLABELLED
    labelled = label(ids, known=("water",))
    valid = np.ones((100, 100), bool)
    valid[:25] = False
    question = ask(TASKS["coverage"], replace(labelled, valid=valid))
    assert question.value == 50.0  # 25 rows of water, 25 rows of something else
    step = question.trace.steps[0]
    assert step.mask is not None and step.mask.sum() == 2500


def test_a_class_is_absent_only_where_the_map_can_vouch_for_it() -> None:
    for seed in range(40):
        question = ask(TASKS["existence"], WATER, seed=seed)
        assert question.trace.steps[0].text == "The water:"


def test_a_trace_of_a_class_is_neither_present_nor_absent() -> None:
    labelled = label(paint(water=[(0, 4, 0, 10)]), known=("water",))  # 0.4 %
    assert TASKS["coverage"].ask(labelled, np.random.default_rng(0), with_options=False) is None
    question = ask(Coverage(min_coverage=0.001), labelled)
    assert question.truth == "less than 1%"


def test_area() -> None:
    question = ask(TASKS["area"], WATER)
    assert render(question.trace) == (
        "<think>The water: [SEG] It covers 34% of the image. The area is 34 ha.</think><answer>34 ha</answer>"
    )
    assert (question.value, question.unit) == (340_000.0, "m2")


def test_counting_areas() -> None:
    labelled = label(paint(water=[(0, 10, 0, 10), (20, 30, 0, 10), (20, 30, 20, 30)]), known=("water",))
    question = ask(TASKS["counting"], labelled)
    assert "separate areas of" in question.text
    assert render(question.trace) == "<think>The water: [SEG] There are 3 separate areas.</think><answer>3</answer>"
    one = ask(TASKS["counting"], WATER)
    assert one.trace.steps[0].finding == "There is 1 separate area."


def numbered(*windows: tuple[int, int, int, int]) -> NDArray[np.int32]:
    objects = np.zeros((100, 100), np.int32)
    for number, (top, bottom, left, right) in enumerate(windows, 1):
        objects[top:bottom, left:right] = number
    return objects


HOUSES = [(10 * row, 10 * row + 5, 10 * column, 10 * column + 6) for row in range(3) for column in range(4)]


def test_counting_buildings() -> None:
    labelled = label(paint(building=HOUSES), known=("building",), objects=numbered(*HOUSES))
    question = ask(TASKS["counting"], labelled)
    assert render(question.trace) == "<think>The building: [SEG] There are 12 buildings.</think><answer>12</answer>"
    assert "separate" not in question.text


def test_buildings_that_the_mask_cannot_tell_apart_are_not_counted() -> None:
    labelled = label(
        paint(building=[(0, 10, 0, 10), (0, 10, 10, 20)]),
        known=("building",),
        objects=numbered((0, 10, 0, 10), (0, 10, 10, 20)),
    )
    assert Counting().ask(labelled, np.random.default_rng(0), with_options=False) is None


@pytest.mark.parametrize(
    ("top", "left", "part"),
    [
        (0, 0, "northwestern"),
        (0, 45, "northern"),
        (0, 85, "northeastern"),
        (45, 85, "eastern"),
        (85, 0, "southwestern"),
    ],
)
def test_localization(top: int, left: int, part: str) -> None:
    labelled = label(paint(snow=[(top, top + 12, left, left + 12)]), known=("snow",))
    question = ask(TASKS["localization"], labelled, with_options=False)
    assert render(question.trace) == (
        f"<think>The snow: [SEG] It lies in the {part} part.</think><answer>{part} part</answer>"
    )


def test_what_lies_everywhere_has_no_place() -> None:
    labelled = label(paint(snow=[(0, 10, 0, 10), (90, 100, 90, 100)]), known=("snow",))
    assert Localization().ask(labelled, np.random.default_rng(0), with_options=False) is None


def test_wrong_places_lie_far_from_the_right_one() -> None:
    assert set(far_parts("northern part")) == {"southwestern part", "southern part", "southeastern part"}
    assert len(far_parts("northeastern part")) == 5
    assert len(far_parts("central part")) == 4


APART = label(paint(water=[(0, 100, 0, 20)], snow=[(0, 100, 32, 42)]), known=("water", "snow"))


def test_distance() -> None:
    question = ask(TASKS["distance"], APART)
    covers = {"water": "The water: [SEG] It covers 20%", "snow": "The snow: [SEG] It covers 10%"}
    first = "water" if question.trace.steps[0].text == "The water:" else "snow"
    second = "snow" if first == "water" else "water"
    # From the centre of column 19 to that of column 32.
    assert render(question.trace) == (
        f"<think>{covers[first]} of the image. {covers[second]} of the image. They are 130 m apart.</think>"
        "<answer>130 m</answer>"
    )
    assert (question.value, question.unit) == (130.0, "m")


def test_no_distance_is_asked_of_what_touches() -> None:
    labelled = label(paint(water=[(0, 100, 0, 20)], snow=[(0, 100, 20, 42)]), known=("water", "snow"))
    assert Distance().ask(labelled, np.random.default_rng(0), with_options=False) is None


def test_ranking() -> None:
    question = ask(TASKS["ranking"], APART, with_options=True)
    assert question.truth == "water"
    assert set(question.options) == {"water", "snow"}
    assert question.trace.conclusion == f"So the water is larger. So the answer is {question.trace.answer}."
    assert {step.finding for step in question.trace.steps} == {
        "It covers 20% of the image.",
        "It covers 10% of the image.",
    }


def test_pairs_of_nearly_one_size_are_not_ranked() -> None:
    labelled = label(paint(water=[(0, 100, 0, 20)], snow=[(0, 100, 32, 55)]), known=("water", "snow"))
    assert Ranking().ask(labelled, np.random.default_rng(0), with_options=False) is None
    assert ask(Ranking(min_ratio=1.1), labelled).truth == "snow"


@pytest.mark.parametrize(("left", "truth", "finding"), [(20, "Yes", "They touch."), (22, "No", "They do not touch.")])
def test_boundary(left: int, truth: str, finding: str) -> None:
    labelled = label(paint(water=[(0, 100, 0, 20)], snow=[(0, 100, left, 42)]), known=("water", "snow"))
    question = ask(TASKS["boundary"], labelled)
    assert question.truth == truth
    assert question.trace.steps[1].finding.endswith(f"of the image. {finding}")


def test_small_or_scattered_classes_are_not_asked_for_a_boundary() -> None:
    small = label(paint(water=[(0, 100, 0, 20)], snow=[(0, 29, 20, 30)]), known=("water", "snow"))  # 2.9 %
    six = [(16 * n, 16 * n + 10, 20, 30) for n in range(6)]
    scattered = label(paint(water=[(0, 100, 0, 20)], snow=six), known=("water", "snow"))
    for labelled in (small, scattered):
        assert Boundary().ask(labelled, np.random.default_rng(0), with_options=False) is None
    assert ask(Boundary(max_objects=6), scattered).truth == "Yes"


def damaged(num_destroyed: int, num_houses: int = 12) -> LabelledScene:
    houses = HOUSES[:num_houses]
    ruins = houses[:num_destroyed]
    return label(
        paint(building=houses),
        paint(building=houses, destroyed_building=ruins),
        known=("building", "destroyed building"),
        objects=numbered(*houses),
    )


def test_building_change() -> None:
    question = ask(BuildingChange(count_share=1), damaged(5))
    assert render(question.trace) == (
        "<think>The building: Image: 1 [SEG] There are 12 buildings. The destroyed building: Image: 2 [SEG] "
        "5 are destroyed. So 42% of the buildings are destroyed.</think><answer>5</answer>"
    )
    share = ask(BuildingChange(count_share=0), damaged(3))
    assert (share.truth, share.value, share.unit) == ("25%", 25.0, "%")


@pytest.mark.parametrize(("num_destroyed", "num_houses"), [(2, 12), (3, 9)])
def test_too_few_buildings_are_not_asked_about(num_destroyed: int, num_houses: int) -> None:
    labelled = damaged(num_destroyed, num_houses)
    assert BuildingChange().ask(labelled, np.random.default_rng(0), with_options=False) is None


def test_a_half_ruined_house_counts_for_what_most_of_it_is() -> None:
    labelled = damaged(5)
    labelled.labels[1].ids[0, 0:6] = ID["building"]  # a remnant of the first ruin
    labelled.labels[1].ids[20, 30:36] = ID["destroyed building"]  # a scar on the last house
    question = ask(BuildingChange(count_share=1), labelled)
    assert question.truth == "5"
    mask = question.trace.steps[1].mask
    assert mask is not None and mask.sum() == 5 * 30


def test_flood() -> None:
    dry, wet = paint(water=[(0, 10, 0, 100)]), paint(water=[(0, 10, 0, 100)], flood=[(10, 29, 0, 100)])
    question = ask(TASKS["flood"], label(dry, wet, known=("water", "flood")))
    assert render(question.trace) == (
        "<think>The flood: Image: 2 [SEG] It covers 19% of the image.</think><answer>19%</answer>"
    )
    assert TASKS["flood"].ask(label(wet, known=("flood",)), np.random.default_rng(0), with_options=False) is None
