"""Instructions to segment a class: which classes, which words, which masks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from terrascope.georeference import Georeference
from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED
from terrascope.scene import LabelMap
from terrascope.sources.chips import Chip
from terrascope.tasks import LabelledScene
from terrascope.terracot.referring import ReferringSettings, ask, class_weights, count_classes
from terrascope.trace import parse, render
from tests.tasks.drawn_scenes import chip_of, draw

ID = {name: TERRASCOPE.id_of(name) for name in TERRASCOPE.names}


def chip(*dates: dict[str, int], known: tuple[tuple[str, ...], ...]) -> Chip:
    """Dates of 20 x 20 pixels with so many pixels of classes, the rest of none."""
    labels = []
    for counts, names in zip(dates, known, strict=True):
        ids = np.full(400, OTHER, np.uint8)
        classes = [ID[name] for name, count in counts.items() for _ in range(count)]
        ids[: len(classes)] = classes
        labels.append(
            LabelMap(
                ids=ids.reshape(20, 20), nomenclature=TERRASCOPE, class_ids_known=tuple(ID[name] for name in names)
            )
        )
    valid = np.ones((20, 20), bool)
    pixel_size = Georeference(gsd_m=10).pixel_size(20, 20)
    return chip_of(LabelledScene(labels=tuple(labels), valid=valid, pixel_size=pixel_size))


def test_the_plain_instruction_and_its_answer() -> None:
    scene = chip({"water": 60}, known=(("water", "crop"),))
    (question,) = ask(scene, np.random.default_rng(0), ReferringSettings(plain_share=1.0))
    assert question.text == "Please segment the water."
    assert render(question.trace) == "<think>The water: [SEG]</think><answer>water</answer>"
    assert (question.task, question.truth, question.classes, question.options) == ("referring", "water", ("water",), ())
    mask = question.trace.steps[0].mask
    assert mask is not None and mask.sum() == 60 and mask[:3].all()


def test_one_step_for_every_date_that_knows_the_class() -> None:
    names = ("water", "flood"), ("flood",), ("water", "flood")
    scene = chip({"water": 40}, {"flood": 50}, {"water": 30, "flood": 20}, known=names)
    settings = ReferringSettings(plain_share=1.0, per_image=2)
    by_class = {q.truth: q for q in ask(scene, np.random.default_rng(0), settings)}
    assert render(by_class["water"].trace) == (
        "<think>The water: Image: 1 [SEG] The water: Image: 3 [SEG]</think><answer>water</answer>"
    )
    sizes = [step.mask.sum() for step in by_class["flood"].trace.steps if step.mask is not None]
    assert sizes == [0, 50, 20]
    assert by_class["flood"].classes == ("flood",) * 3


@pytest.mark.parametrize(("min_pixels", "names"), [(0, {"water", "crop"}), (40, {"water", "crop"}), (41, {"water"})])
def test_small_and_absent_classes_are_passed_over(min_pixels: int, names: set[str]) -> None:
    scene = chip({"water": 60, "crop": 40}, known=(("water", "crop", "snow"),))
    settings = ReferringSettings(per_image=5, min_pixels=min_pixels)
    for seed in range(20):
        assert {question.truth for question in ask(scene, np.random.default_rng(seed), settings)} == names


def test_pixels_that_were_not_measured_do_not_count() -> None:
    scene = chip({"water": 60}, known=(("water",),))
    scene.labels[0].ids[:] = UNLABELLED
    assert ask(scene, np.random.default_rng(0)) == []


def test_nothing_is_asked_without_label_maps() -> None:
    bare = chip_of(LabelledScene(labels=(), valid=np.ones((8, 8), bool), pixel_size=None))
    assert ask(bare, np.random.default_rng(0)) == []


def test_classes_are_asked_for_by_their_weights() -> None:
    scene = chip({"water": 100, "crop": 100, "snow": 100}, known=(("water", "crop", "snow"),))
    settings = ReferringSettings(weights={"snow": 8.0, "crop": 2.0, "water": 0.5})
    drawn = Counter(ask(scene, np.random.default_rng(seed), settings)[0].truth for seed in range(4000))
    shares = {name: count / 4000 for name, count in drawn.items()}
    assert shares == pytest.approx({"snow": 8 / 10.5, "crop": 2 / 10.5, "water": 0.5 / 10.5}, abs=0.03)


def test_chips_are_counted_by_what_they_can_be_asked_for() -> None:
    known = (("water", "crop"),)
    chips = [chip({"water": 60, "crop": 15}, known=known), chip({"water": 16}, known=known), chip({}, known=known)]
    assert count_classes(chips) == {"water": 2}
    assert count_classes(chips, min_pixels=0) == {"water": 2, "crop": 1}


def test_weights_even_out_how_often_classes_are_asked_for() -> None:
    assert class_weights({"crop": 900, "snow": 100, "wetland": 0}) == {"crop": 1.0, "snow": 3.0}
    assert class_weights({"crop": 900, "snow": 100}, power=1.0) == {"crop": 1.0, "snow": 9.0}
    assert class_weights({"crop": 900, "snow": 100}, power=0.0) == {"crop": 1.0, "snow": 1.0}
    assert class_weights({}) == {}
    # Every scene has crops, every fifth has snow too.
    common = chip({"crop": 200}, known=(("crop", "snow"),))
    rare = chip({"crop": 200, "snow": 50}, known=(("crop", "snow"),))
    population = [common, common, common, common, rare] * 80
    share = {}
    for power in (0.0, 1.0):
        settings = ReferringSettings(weights=class_weights({"crop": 400, "snow": 80}, power))
        drawn = [ask(scene, np.random.default_rng(seed), settings)[0].truth for seed, scene in enumerate(population)]
        share[power] = drawn.count("snow") / len(drawn)
    assert share[0.0] < 0.14 < share[1.0]


def test_instructions_name_the_class_in_many_ways() -> None:
    scene = chip({"tree": 100}, known=(("tree",),))
    questions = [ask(scene, np.random.default_rng(seed))[0] for seed in range(1000)]
    texts = Counter(question.text for question in questions)
    assert 0.45 < texts["Please segment the trees."] / 1000 < 0.6
    assert len(texts) >= 20
    assert all(re_named(text) for text in texts)
    assert len({render(question.trace) for question in questions}) == 1


def re_named(text: str) -> bool:
    return any(word in text for word in ("tree", "trees", "forest", "tree cover", "woodland")) and "{" not in text


def test_the_same_generator_asks_the_same_and_reads_back() -> None:
    settings = ReferringSettings(per_image=3)
    for seed in range(20):
        scene = chip_of(draw(seed))
        first, second = (ask(scene, np.random.default_rng(seed), settings) for _ in range(2))
        assert first == second
        assert len({question.truth for question in first}) == len(first) > 0
        for question in first:
            assert parse(render(question.trace)) == question.trace


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"per_image": -3}, "per_image is -3; give at least 0"),
        ({"plain_share": 1.5}, "plain_share is 1.5; give a share from 0 to 1"),
        ({"weights": {"water": 0.0}}, "weights: water is 0; give a number above 0"),
    ],
)
def test_settings_out_of_bounds_are_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        ReferringSettings(**fields)
    assert str(caught.value) == sentence
