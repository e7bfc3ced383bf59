"""Settings by which answers cannot be guessed: even shares of yes and no, weights of classes, no telling options."""

from __future__ import annotations

from collections import Counter

import numpy as np
from tests.tasks.drawn_scenes import draw

from terrascope.georeference import Georeference
from terrascope.landcover import OTHER, TERRASCOPE
from terrascope.scene import LabelMap
from terrascope.tasks import LabelledScene, Question
from terrascope.tasks.area import Area
from terrascope.tasks.boundary import Boundary
from terrascope.tasks.counting import Counting
from terrascope.tasks.existence import Existence
from terrascope.tasks.localization import Localization
from terrascope.tasks.question import Task
from terrascope.tasks.regions import draw_region

ID = {name: TERRASCOPE.id_of(name) for name in TERRASCOPE.names}


def stripes(*names: str, known: tuple[str, ...]) -> LabelledScene:
    """Classes in stripes 10 pixels wide from the left, nothing else; `other` is none of the known classes."""
    columns = [ID.get(name, OTHER) for name in names for _ in range(10)]
    ids = np.tile(np.array(columns, np.uint8), (40, 1))
    return LabelledScene(
        labels=(LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=tuple(ID[name] for name in known)),),
        valid=np.ones(ids.shape, bool),
        pixel_size=Georeference(gsd_m=10).pixel_size(*ids.shape),
    )


def ask_all(task: Task, scenes: list[LabelledScene], *, with_options: bool = False) -> list[Question]:
    asked = [
        task.ask(scene, np.random.default_rng(seed), with_options=with_options) for seed, scene in enumerate(scenes)
    ]
    return [question for question in asked if question is not None]


def share_of_yes(questions: list[Question]) -> float:
    return sum(question.truth == "Yes" for question in questions) / len(questions)


def test_balanced_existence_is_asked_only_where_both_answers_are_possible() -> None:
    task = Existence(balanced=True, absent_share=0.5)
    everything_there = stripes("water", "crop", known=("water", "crop"))
    assert ask_all(task, [everything_there] * 20) == []
    scenes = [everything_there, stripes("water", "crop", known=("water", "crop", "snow"))] * 400
    assert 0.43 < share_of_yes(ask_all(task, scenes)) < 0.57
    assert share_of_yes(ask_all(Existence(absent_share=0.5), scenes)) > 0.7


def test_presence_keeps_the_class_from_telling_the_answer() -> None:
    rng = np.random.default_rng(0)
    known = ("water", "crop", "snow", "tree")
    scenes = []
    for _ in range(4000):
        there = ["crop"] * bool(rng.random() < 0.9) + ["snow"] * bool(rng.random() < 0.1)
        there += [name for name in ("water", "tree") if rng.random() < 0.5]
        scenes.append(stripes("other", *there, known=known))
    presence = ({"crop": 0.9, "snow": 0.1, "water": 0.5, "tree": 0.5},)

    def shares(task: Existence) -> dict[str, float]:
        asked = ask_all(task, scenes)
        return {name: share_of_yes([q for q in asked if q.classes == (name,)]) for name in known}

    told = shares(Existence(balanced=True, absent_share=0.5))
    assert told["crop"] > 0.8 and told["snow"] < 0.2
    kept = shares(Existence(absent_share=0.5, presence=presence))
    assert all(0.4 < share < 0.6 for share in kept.values()), kept
    mostly_there = shares(Existence(absent_share=0.25, presence=presence))
    assert all(0.65 < share < 0.85 for share in mostly_there.values()), mostly_there


def test_balanced_boundaries_are_asked_only_where_both_answers_are_possible() -> None:
    task = Boundary(balanced=True)
    known = ("water", "crop", "snow")
    only_touching = stripes("water", "crop", known=known)
    only_apart = stripes("water", "other", "crop", known=known)
    assert ask_all(task, [only_touching, only_apart] * 10) == []
    both = stripes("water", "crop", "snow", known=known)
    assert 0.43 < share_of_yes(ask_all(task, [both] * 800)) < 0.57


def test_one_piece_is_counted_as_often_as_stated() -> None:
    scenes = [stripes("water", "other", known=("water",))] * 600
    assert len(ask_all(Counting(), scenes)) == 600
    assert 90 < len(ask_all(Counting(single_share=0.2), scenes)) < 150
    two = [stripes("water", "other", "water", known=("water",))] * 20
    assert len(ask_all(Counting(single_share=0.0), two)) == 20


def test_the_central_part_is_not_among_options_if_so_wanted() -> None:
    scenes = [draw(seed) for seed in range(200)]
    usual = ask_all(Localization(), scenes, with_options=True)
    assert any(question.truth == "central part" and question.options for question in usual)
    careful = ask_all(Localization(center_has_options=False), scenes, with_options=True)
    assert len(careful) == len(usual)
    for question in careful:
        assert bool(question.options) == (question.truth != "central part")


def test_classes_are_drawn_by_their_weights() -> None:
    regions = stripes("water", "crop", "snow", known=("water", "crop", "snow")).surveys[0].regions
    rng = np.random.default_rng(0)
    weights = {"snow": 6.0, "crop": 0.0}
    drawn = Counter(draw_region(regions, rng, weights).name for _ in range(1400))
    assert drawn["crop"] == 0 and 150 < drawn["water"] < 250
    even = Counter(draw_region(regions, rng).name for _ in range(1500))
    assert min(even.values()) > 420


def test_tasks_heed_the_weights() -> None:
    scenes = [stripes("water", "crop", "snow", known=("water", "crop", "snow"))] * 200
    asked = Counter(question.classes for question in ask_all(Area(weights={"snow": 50.0}), scenes))
    assert asked[("snow",)] > 170
