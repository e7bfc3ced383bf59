"""What a question asks for: a wording that asks for the same passes, and one that does not is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.reviewed import samples
from terrascope.bench.asking import (
    GIVEN_AWAY,
    NO_QUESTION,
    OTHER_CLASSES,
    OTHER_IMAGES,
    OTHER_NUMBERS,
    OTHER_QUANTITY,
    class_words,
    image_words,
    quantity_of,
    question_faults,
)
from terrascope.bench.rewording import TEMPLATES, reword
from terrascope.question import needs_scale
from terrascope.sample import Sample

ASKED = {
    "coverage": "How much of the image is covered by the lake?",
    "area": "How large is the area of cropland in the image?",
    "distance": "How far apart are water and bare ground?",
    "ranking": "Which is larger, water or forest?",
    "boundary": "Does water border woodland?",
    "building_change/count": "How many buildings were destroyed?",
    "building_change/%": "What percentage of buildings were destroyed?",
}


def asking(kind: str, question: str | None = None) -> Sample:
    task, _, unit = kind.partition("/")
    sample = next(sample for sample in samples() if sample.task == task)
    value = {"count": {"unit": "count", "truth": "4"}, "%": {"unit": "%", "truth": "25%"}}.get(unit, {})
    return replace(sample, question=question or ASKED[kind], **value)  # type: ignore[arg-type]


def reasons(kind: str, text: str, original: str | None = None) -> list[str]:
    return [fault.reason for fault in question_faults(asking(kind, original), text)]


@pytest.mark.parametrize("kind", ASKED)
def test_every_wording_asks_for_the_same(kind: str) -> None:
    sample = asking(kind)
    assert quantity_of(sample) == kind
    assert question_faults(sample, sample.question) == []
    drawn = {reword(sample, np.random.default_rng(seed)) for seed in range(300)}
    assert len(drawn) == len(TEMPLATES[kind]) == len(set(TEMPLATES[kind])) >= 9
    for text in drawn:
        assert text is not None and question_faults(sample, text) == [], text
        assert needs_scale(text, sample.options) == (kind in ("area", "distance")), text


@pytest.mark.parametrize("kind", ["coverage", "area", "distance", "ranking", "boundary"])
@pytest.mark.parametrize("image", ["image 2", "the second image"])
def test_words_for_classes_and_images_stay(kind: str, image: str) -> None:
    sample = asking(kind, f"{ASKED[kind][:-1].replace(' in the image', '')} in {image}?".replace("of the image ", ""))
    words = class_words(sample)
    assert words is not None and len(words) == len(sample.classes)
    for seed in range(60):
        text = reword(sample, np.random.default_rng(seed))
        assert text is not None and image in text.lower() and text[0].isupper()
        assert all(word in text.lower() for word in words), text
        assert question_faults(sample, text) == [], text


def test_words_of_a_question() -> None:
    assert class_words(asking("distance")) == ("water", "bare ground")
    assert class_words(asking("distance", "How far is bare land from the sea?")) == ("sea", "bare land")
    assert class_words(asking("coverage", "How much is flooded vegetation?")) is None
    assert image_words("How much of Image 3 is water?") == "Image 3"
    assert image_words("What does the first image show?") == "the first image"
    assert image_words("How much of the image is water?") is None


def test_verbs_agree() -> None:
    one, many = asking("area", "What is the area of forest?"), asking("area", "What is the area of fields?")
    one = replace(one, masks=tuple(replace(mask, class_name="tree") for mask in one.masks))
    texts = {reword(one, np.random.default_rng(seed)) for seed in range(200)}
    assert "What area does forest occupy in the image?" in texts
    assert "What is the area on the ground that forest covers in the image?" in texts
    texts = {reword(many, np.random.default_rng(seed)) for seed in range(200)}
    assert "What area do fields occupy in the image?" in texts
    assert "What is the area on the ground that fields cover in the image?" in texts


def test_no_words_where_the_class_cannot_be_found() -> None:
    assert reword(asking("coverage", "How much is that?"), np.random.default_rng(0)) is None
    assert reword(replace(asking("coverage"), task="existence"), np.random.default_rng(0)) is None


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("coverage", "What fraction of the scene does the water body account for?", None),
        ("coverage", "What fraction of the scene is covered by forest?", OTHER_CLASSES),
        ("coverage", "What fraction of the scene is covered by water and forest?", OTHER_CLASSES),
        ("coverage", "What fraction of the scene is covered?", OTHER_CLASSES),
        ("coverage", "How large is the lake?", OTHER_QUANTITY),
        ("coverage", "What share of the image is not water?", OTHER_QUANTITY),
        ("coverage", "What share of image 2 is water?", OTHER_IMAGES),
        ("coverage", "What share of the 100 pixels is water?", OTHER_NUMBERS),
        ("coverage", "Is the share of water 20% of the image?", OTHER_NUMBERS),
        ("coverage", "Water share?", NO_QUESTION),
        ("coverage", "What share of the image is water", NO_QUESTION),
        ("coverage", "What share is water [SEG] of the image?", NO_QUESTION),
        ("coverage", f"What share of the image {'really ' * 40}is water?", NO_QUESTION),
        ("area", "How much ground do the fields take up?", None),
        ("area", "How many hectares of surface do the fields take up?", None),
        ("area", "How many square kilometers of surface do the fields take up?", OTHER_NUMBERS),
        ("area", "What share of the area is cropland?", OTHER_QUANTITY),
        ("distance", "What separates water from bare land, in metres?", None),
        ("distance", "What is the largest distance between water and bare land?", OTHER_QUANTITY),
        ("distance", "What is the distance between water and its shore?", OTHER_CLASSES),
        ("distance", "What is the distance between water and bare land in miles?", OTHER_NUMBERS),
        ("ranking", "Is there more forest or more water in view?", None),
        ("ranking", "Which is smaller, water or forest?", OTHER_QUANTITY),
        ("boundary", "Are forest and lake adjacent?", None),
        ("boundary", "Are forest and lake not adjacent?", OTHER_QUANTITY),
        ("boundary", "Which borders the lake, forest or another class?", OTHER_QUANTITY),
        ("building_change/count", "What is the number of houses that got destroyed?", None),
        ("building_change/count", "How many buildings survived undestroyed?", OTHER_CLASSES),
        ("building_change/count", "How many trees were destroyed?", OTHER_CLASSES),
        ("building_change/count", "What percentage of the buildings was destroyed?", OTHER_QUANTITY),
        ("building_change/%", "How many buildings were destroyed?", OTHER_QUANTITY),
    ],
)
def test_a_wording_that_asks_for_something_else_is_found(kind: str, text: str, reason: str | None) -> None:
    found = reasons(kind, text)
    assert (reason in found) if reason else found == [], found


def test_the_answer_is_not_given_away() -> None:
    assert GIVEN_AWAY in reasons("coverage", "Does water cover a share of 20% of the image?")
    # Which of two classes is right stands in the question anyway.
    assert reasons("ranking", "Which one is larger, trees or water?") == []
