"""A forest on colours: scenes whose classes are told by colour alone, and ones that it has not learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from terrascope.bench.baselines import Forest, training_chips
from terrascope.bench.baselines.forest import _image_in
from terrascope.errors import ModelError, QuestionError
from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED
from terrascope.scene import LabelMap, Pair, Scene
from terrascope.sources.chips import Chip, ChipError, Entry, Index
from tests.bench.made_benchmark import SIZE, WATER, make_image

pytest.importorskip("sklearn", reason="the forest needs scikit-learn, which comes with the dev extra")

CROP = ~WATER


def make_chip(*, sar: bool = False, turned: bool = False, other: bool = False) -> Chip:
    """The painted scene with its truth: the water, and crops, or what is neither."""
    ids = np.full((SIZE, SIZE), OTHER if other else TERRASCOPE.id_of("crop"), np.uint8)
    ids[WATER] = TERRASCOPE.id_of("water")
    images = [make_image()] + ([make_image("sar")] if sar else [])
    if turned:
        ids = ids.T
        images = [replace(image, pixels=image.pixels.transpose(0, 2, 1)) for image in images]
    pair = Pair(optical=images[0], sar=images[1] if sar else None)
    label_map = LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=tuple(range(len(TERRASCOPE))))
    return Chip(source="made", key="0", place="0", split="train", scene=Scene((pair,)), labels=(label_map,))


def make_forest(*chips: Chip) -> Forest:
    return Forest(chips or [make_chip(), make_chip(turned=True)], num_trees=10)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_it_finds_by_colour_and_answers_by_measuring() -> None:
    answer = make_forest().ask(make_chip().scene, "How much of the image is water?", options=["5%", "20%", "60%"])
    assert answer.text == "B" and answer.model == "forest"
    assert iou(answer.masks[0], WATER) > 0.95


@pytest.mark.parametrize(
    ("question", "options", "expected"),
    [
        ("Which is larger, lakes or crops?", ("water", "crop"), "B"),
        ("Do water bodies border the crops?", ("No", "Yes"), "B"),
        ("What is the area of the water?", ("0.8 ha", "3 km2"), "A"),
    ],
)
def test_classes_are_found_under_any_of_their_names(question: str, options: tuple[str, ...], expected: str) -> None:
    assert make_forest().ask(make_chip().scene, question, options=options).text == expected


def test_the_classes_may_stand_in_the_options_alone() -> None:
    answer = make_forest().ask(make_chip().scene, "Which is larger?", options=("water", "crop"))
    assert answer.text == "B" and len(answer.masks) == 2


def test_sensors_have_a_forest_each() -> None:
    forest = make_forest(make_chip(sar=True))
    scene = make_chip(sar=True).scene
    (pair,) = scene.pairs
    for shown in (scene, Scene((Pair(optical=pair.optical),)), Scene((Pair(sar=pair.sar),))):
        assert iou(forest.mask(shown, "water"), WATER) > 0.95
    with pytest.raises(QuestionError, match="has learned from sentinel-2, and not from sentinel-1"):
        make_forest().mask(Scene((Pair(sar=pair.sar),)), "water")


def test_what_is_of_no_class_is_learned_as_such() -> None:
    forest = make_forest(make_chip(other=True))
    assert iou(forest.mask(make_chip().scene, "water"), WATER) > 0.95
    assert not forest.mask(make_chip().scene, "crop").any()


def test_destroyed_buildings_are_sought_on_the_last_image() -> None:
    (pair,) = make_chip().scene.pairs
    answer = make_forest().ask(Scene((pair, pair)), "How many buildings were destroyed?", options=["3", "9"])
    assert [(step.text, step.image) for step in answer.steps] == [("The building:", 1), ("The destroyed building:", 2)]


@pytest.mark.parametrize(
    ("question", "num_images", "expected"),
    [
        ("How much of image 1 is water?", 2, 1),
        ("How much of the second image is water?", 3, 2),
        ("How much is water?", 3, 3),
        ("How much of image 7 is water?", 2, 2),
        ("How much of the image is water?", 1, 1),
    ],
)
def test_the_image_is_the_one_that_the_question_names(question: str, num_images: int, expected: int) -> None:
    assert _image_in(question, num_images) == expected


def test_the_same_seed_gives_the_same_masks() -> None:
    rng = np.random.default_rng(0)
    noisy = replace(make_image(), pixels=rng.uniform(0, 0.3, (3, SIZE, SIZE)).astype(np.float32))
    scene = Scene((Pair(optical=noisy),))
    np.testing.assert_array_equal(make_forest().mask(scene, "water"), make_forest().mask(scene, "water"))


def test_what_it_cannot_know_is_refused() -> None:
    with pytest.raises(QuestionError, match="names no class"):
        make_forest().ask(make_chip().scene, "How pretty is it?", options=["a lot", "a little"])
    with pytest.raises(QuestionError, match="unknown class 'unicorn'"):
        make_forest().segment(make_chip().scene, "unicorn")
    blank = replace(make_chip().labels[0], ids=np.full((SIZE, SIZE), UNLABELLED, np.uint8))
    with pytest.raises(ModelError, match="no labelled pixel"):
        Forest([replace(make_chip(), labels=(blank,))])


def test_segmentation_is_of_every_date() -> None:
    (pair,) = make_chip().scene.pairs
    answer = make_forest().segment(Scene((pair, pair)), "water bodies")
    assert [step.image for step in answer.steps] == [1, 2] and iou(answer.masks[1], WATER) > 0.95


def test_chips_that_cannot_be_read_are_passed_over() -> None:
    class Holed:
        name = "holed"

        def index(self, split: str) -> Index:
            return Index(entries=tuple(Entry(key, key) for key in (f"{split}1", "broken", f"{split}2")))

        def read(self, key: str) -> Chip:
            if key == "broken":
                raise ChipError("broken", reason="corrupt image")
            return replace(make_chip(), key=key)

    chips: Iterator[Chip] = training_chips(Holed())
    assert [chip.key for chip in chips] == ["train1", "train2"]
    passed_over: Counter[str] = Counter()
    list(training_chips(Holed(), passed_over=passed_over))
    assert passed_over == {"corrupt image": 1}
    everything = Index(entries=(Entry("broken", "a"), Entry("broken", "b")))
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ChipError, match="broken"),
    ):
        patch.setattr(Holed, "index", lambda self, split: everything)
        list(training_chips(Holed()))
