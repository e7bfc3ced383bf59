"""What may be asked, and what needs a ground scale."""

from __future__ import annotations

import numpy as np
import pytest

from terrascope.errors import QuestionError, ScaleError
from terrascope.georeference import Georeference
from terrascope.landcover import TERRASCOPE
from terrascope.question import asked_quantity, check_question, needs_scale, parse_options
from terrascope.scene import LabelMap
from terrascope.tasks.area import Area
from terrascope.tasks.boundary import Boundary
from terrascope.tasks.coverage import Coverage
from terrascope.tasks.distance import Distance
from terrascope.tasks.existence import Existence
from terrascope.tasks.question import LabelledScene, Task
from terrascope.tasks.ranking import Ranking
from tests.oracle import TREE, WATER, make_scene


@pytest.mark.parametrize(
    "question",
    [
        "What is the area of the water?",
        "What is the area of the water in hectares?",
        "What is the total area of the crops?",
        "How many square kilometres of forest are there?",
        "How many km2 are flooded?",
        "How many km² are flooded?",
        "How large is the lake?",
        "How far is the nearest building from the river?",
        "What is the distance between the water and the trees?",
        "What is the minimum distance between water and crop?",
        "Are there houses within 100 m of the water?",
        "How much land is flooded?",
        "How many metres lie between them?",
        "How many ha are burnt, and what percentage is that?",
    ],
)
def test_lengths_and_areas_need_a_scale(question: str) -> None:
    assert needs_scale(question)


@pytest.mark.parametrize(
    "question",
    [
        "What percentage of the area is water?",
        "What is the area of water as a percentage of the image?",
        "Which covers the larger area, water or trees?",
        "What area is larger: water or crop?",
        "Is there any developed area?",
        "How many buildings are destroyed?",
        "How many developed areas are there?",
        "What is the share of the flooded area?",
        "In which part of the image is the flooded area?",
        "Do the crops border the water?",
        "What happened between the two images?",
    ],
)
def test_shares_counts_and_comparisons_need_none(question: str) -> None:
    assert not needs_scale(question)


@pytest.mark.parametrize(
    ("options", "expected"), [(("120 m", "300 m"), True), (("12 ha", "3 ha"), True), (("10%", "20%"), False)]
)
def test_options_count_as_well(options: tuple[str, ...], expected: bool) -> None:
    assert needs_scale("Which of these is right?", options) is expected


@pytest.mark.parametrize("with_options", [False, True])
def test_the_questions_of_the_tasks_are_understood(with_options: bool) -> None:
    ids = np.full(WATER.shape, TERRASCOPE.id_of("crop"), np.uint8)
    ids[WATER], ids[TREE] = TERRASCOPE.id_of("water"), TERRASCOPE.id_of("tree")
    labels = LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=tuple(range(len(TERRASCOPE))))
    labelled = LabelledScene(
        labels=(labels,),
        valid=np.ones(ids.shape, bool),
        pixel_size=Georeference(gsd_m=10).pixel_size(*ids.shape),
    )
    wanted: list[tuple[Task, bool]] = [
        (Area(), True),
        (Distance(), True),
        (Coverage(), False),
        (Ranking(), False),
        (Boundary(), False),
        (Existence(), False),
    ]
    for task, scale in wanted:
        asked = [task.ask(labelled, np.random.default_rng(seed), with_options=with_options) for seed in range(60)]
        questions = [question for question in asked if question is not None]
        assert len(questions) > 10
        for question in questions:
            assert needs_scale(question.text, question.options) is scale, question.text


def test_letters_of_options_are_optional() -> None:
    assert parse_options(["A. 10%", "B) 20%", "c: 30%"]) == ("10%", "20%", "30%")
    assert parse_options(["10%", " 20% "]) == ("10%", "20%")
    assert parse_options([]) == ()
    assert parse_options(["A field", "B-road"]) == ("A field", "B-road")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (["10%"], "2 to 5 options, but 1"),
        (list("123456"), "2 to 5 options, but 6"),
        (["B. 10%", "A. 20%"], "lettered A, B in this order"),
        (["A. 10%", "20%"], "lettered A, B in this order"),
        (["10%", "  "], "option given with --choice is empty"),
        (["A. 10%", "B. 10%"], "'10%' is given twice"),
    ],
)
def test_bad_options_are_refused(choices: list[str], message: str) -> None:
    with pytest.raises(QuestionError, match=message):
        parse_options(choices)


def test_question_is_trimmed_and_must_not_be_empty() -> None:
    assert check_question(make_scene(), "  Is there\n water? ", ["A. yes", "B. no"]) == (
        "Is there water?",
        ("yes", "no"),
    )
    with pytest.raises(QuestionError, match="the question is empty"):
        check_question(make_scene(), " \n ")


def test_metres_are_refused_without_a_scale_and_answered_with_one() -> None:
    with pytest.raises(ScaleError, match=r"scene\.png has no known scale: .*--gsd METRES"):
        check_question(make_scene(), "How far is it from the water to the trees?")
    with pytest.raises(ScaleError, match="--gsd METRES"):
        check_question(make_scene(), "Which is right?", ["A. 2 ha", "B. 3 ha"])
    check_question(make_scene(gsd_m=10), "How far is it from the water to the trees?")
    check_question(make_scene(), "What percentage is water?")


def test_what_is_no_scene_or_no_words_is_refused() -> None:
    with pytest.raises(QuestionError, match=r"a str cannot be asked; open it first, as in Scene\.open"):
        check_question("a.tif", "How much is water?")  # type: ignore[arg-type]
    with pytest.raises(QuestionError, match="asked in words, not as int"):
        check_question(make_scene(), 5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("What percentage of the area is covered by water?", "share"),
        ("How many percent is forest?", "share"),
        ("How many hectares of forest are there?", "area"),
        ("How large is the lake?", "area"),
        ("What is the total area of the tree in square meters?", "area"),
        ("How far is the water from the trees?", "length"),
        ("How many metres are the lakes apart?", "length"),
        ("How many buildings are there?", "number"),
        ("What is the number of destroyed buildings?", "number"),
        ("Which class covers a larger area: crops or tree?", None),
        ("How many more buildings stand on the second image?", None),
        ("How much of the image is water?", None),
        ("Where is the water?", None),
    ],
)
def test_the_kind_of_quantity_that_is_asked_for(question: str, kind: str | None) -> None:
    assert asked_quantity(question) == kind
