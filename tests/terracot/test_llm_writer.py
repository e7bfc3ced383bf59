"""A language model as a writer: what is drafted, checked, asked again, kept and dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from endpoint import FakeServer, Scripted, says, served
from terracot.known_chip import IDS, LATER_IDS, make_chip
from terrascope import trace
from terrascope.llm import Endpoint, NoReply, server
from terrascope.sources.chips import Chip
from terrascope.terracot import llm_writer, verify
from terrascope.terracot.llm_writer import LlmWriter

RNG = np.random.default_rng

CAPTION = {
    "think": "First, I observe the crops: [SEG:1 crop] They cover 50% of the image. Next, the trees: [SEG:2 tree] They "
    "cover about 29% of the image. Then the water: [SEG:3 water] It measures 0.8 ha. So it is a rural place.",
    "caption": "This satellite image shows cropland in the south below a forest and a lake.",
}


def deep(**changes: Any) -> dict[str, Any]:
    return {
        "question": "What percentage of the image do trees and water cover together?",
        "category": "Spatial Reasoning",
        "reasoning": "The trees: [SEG:2 tree] They cover 30% of the image. The water: [SEG:3 water] It covers 20% of "
        "the image. So together they cover 50%.",
        "answer": "50%",
        "classes": ["tree", "water"],
        "rule": "combined_share",
        **changes,
    }


SEMANTIC = deep(
    question="Is the place suitable for farming with irrigation?",
    category="Semantic Reasoning",
    reasoning="The crops: [SEG:1 crop] They cover 50% of the image. The water: [SEG:3 water] It touches them. So yes.",
    answer="Yes, it is",
    rule="judgement",
)


@contextmanager
def writing(*replies: Scripted, **settings: Any) -> Iterator[tuple[LlmWriter, FakeServer]]:
    with served(replies) as fake:
        at = Endpoint(**{"model": "atlas", "base_url": fake.url, "max_rounds": 2, "max_tries": 1, **settings})
        yield LlmWriter(endpoint=at), fake


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_acquaintances", {})


def test_a_good_caption_is_kept_with_its_masks() -> None:
    chip = make_chip()
    with writing(says(CAPTION)) as (writer, fake):
        written = writer.caption(chip, RNG(0))
    assert writer.name == "atlas" and written.rejected == ()
    [question] = written.questions
    assert (question.task, question.classes, question.truth) == (
        "caption",
        ("crop", "tree", "water"),
        CAPTION["caption"],
    )
    assert trace.render(question.trace) == (
        "<think>First, I observe the crops: [SEG] They cover 50% of the image. Next, the trees: [SEG] They cover about "
        "29% of the image. Then the water: [SEG] It measures 0.8 ha. So it is a rural place.</think>"
        f"<answer>{CAPTION['caption']}</answer>"
    )
    assert [int(step.mask.sum()) for step in question.trace.grounded_steps] == [200, 120, 80]
    assert verify.check(question, chip.labelled) == ()
    content = fake.asked[0]["messages"][1]["content"]
    assert [part["type"] for part in content] == ["text", "image_url"]


@pytest.mark.parametrize(
    ("change", "fault", "reason"),
    [
        (
            {"think": CAPTION["think"].replace("50%", "70%")},
            "On the crop: The text says 70 %, but the mask shows 50 %.",
            verify.SHARE_OFF,
        ),
        (
            {"think": CAPTION["think"].replace("0.8 ha", "8 ha")},
            "On the water: The text says 8 ha, but the mask shows 0.8 ha.",
            verify.AREA_OFF,
        ),
        (
            {"think": CAPTION["think"].replace("SEG:3 water", "SEG:4 water")},
            "There is no region 4; the regions are numbered 1 to 3.",
            llm_writer.WRONG_MARK,
        ),
        (
            {"think": "The crops: [SEG:1 crop] The trees: [SEG:2 tree]"},
            "The reasoning does not mention [SEG:3 water].",
            llm_writer.UNMENTIONED,
        ),
        ({"caption": "Some fields."}, "The caption has fewer than 8 words.", llm_writer.TOO_SHORT),
        (
            {"caption": "This satellite image shows that crops cover 80% of the image."},
            "A share in the caption is off.",
            verify.CAPTION_OFF,
        ),
    ],
)
def test_a_bad_caption_is_asked_again_then_dropped_and_counted(change: dict[str, str], fault: str, reason: str) -> None:
    chip = make_chip()
    bad = says({**CAPTION, **change})
    with writing(bad, says(CAPTION)) as (writer, fake):
        written = writer.caption(chip, RNG(0))
        assert len(written.questions) == 1 and written.rejected == ()
        assert fault in fake.last_words()
    with writing(bad, bad) as (writer, fake):
        written = writer.caption(chip, RNG(0))
        assert written.questions == () and written.rejected == (reason,)
        assert fake.num_asked == 2


def test_several_dates_are_shown_and_spoken_of() -> None:
    chip = make_chip(IDS, LATER_IDS)
    draft = {
        "think": "The crops: [SEG:1 crop, image 1] The trees: [SEG:2 tree, image 1] The water: [SEG:3 water, image 1] "
        "It covers 20% of the image. Later, the water: [SEG:4 water, image 2] It covers 40% of the image.",
        "caption": "Between the two images the water has spread over a part of the fields.",
    }
    with writing(says(draft)) as (writer, fake):
        written = writer.caption(chip, RNG(0))
        assert [part["type"] for part in fake.asked[0]["messages"][1]["content"]] == ["text", "image_url", "image_url"]
    [question] = written.questions
    assert [step.image for step in question.trace.grounded_steps] == [1, 1, 1, 2]
    assert int(question.trace.grounded_steps[3].mask.sum()) == 160


def test_composed_questions_with_their_values() -> None:
    chip = make_chip()
    ratio = deep(
        question="How many times as large as the water are the trees?",
        reasoning="The trees: [SEG:2 tree] They cover 1.2 ha. The water: [SEG:3 water] It covers 0.8 ha. So 1.5 times.",
        answer="1.5 times",
        rule="ratio",
    )
    with writing(says({"questions": [deep(), SEMANTIC, ratio]})) as (writer, fake):
        written = writer.compose(chip, "A caption.", [], RNG(0))
        assert [part["type"] for part in fake.asked[0]["messages"][1]["content"]] == ["text"]
    assert written.rejected == ()
    share, judged, times = written.questions
    assert (share.task, share.truth, share.value, share.unit) == ("spatial/combined_share", "50%", 50.0, "%")
    assert (judged.task, judged.truth, judged.value) == ("semantic/judgement", "Yes, it is", None)
    assert (times.task, times.value, times.unit) == ("spatial/ratio", None, None)
    assert share.classes == ("tree", "water")
    assert all(verify.check(question, chip.labelled) == () for question in written.questions)


@pytest.mark.parametrize(
    ("draft", "fault", "reason"),
    [
        (deep(answer="80%"), "The rule gives 50 %, and the answer is '80%'.", verify.ANSWER_OFF),
        (
            deep(rule="largest", answer="water"),
            "The rule gives tree, and the answer is 'water'.",
            verify.ANSWER_OFF,
        ),
        (
            deep(rule="adjacency_chain", answer="No, they do not touch"),
            "The rule gives Yes, and the answer is 'No, they do not touch'.",
            verify.ANSWER_OFF,
        ),
        (
            deep(rule="change", answer="5"),
            "The rule change gives nothing for the regions pointed at: tree, water.",
            llm_writer.NO_RULE_FITS,
        ),
        (deep(rule="judgement"), "A spatial question needs another rule than judgement.", llm_writer.NO_RULE_FITS),
        (
            deep(answer="it is " * 40),
            "A question is a sentence, and its answer a short phrase.",
            llm_writer.WORD_LIMITS,
        ),
    ],
)
def test_a_bad_question_is_asked_again_and_the_others_are_kept(draft: dict[str, Any], fault: str, reason: str) -> None:
    chip = make_chip()
    bad = says({"questions": [SEMANTIC, draft]})
    with writing(bad, bad) as (writer, fake):
        written = writer.compose(chip, "", [], RNG(0))
        assert f"Question 2: {fault}" in fake.last_words()
        assert [question.task for question in written.questions] == ["semantic/judgement"]
        assert written.rejected == (reason,)


def test_both_categories_are_asked_for() -> None:
    with writing(says({"questions": [SEMANTIC]}), says({"questions": [SEMANTIC, deep()]})) as (writer, fake):
        written = writer.compose(make_chip(), "", [], RNG(0))
        assert "There is no question of the category Spatial Reasoning." in fake.last_words()
        assert len(written.questions) == 2


def test_metres_are_recomputed() -> None:
    apart = IDS.copy()
    apart[:10, 8:11] = 254
    chip: Chip = make_chip(apart)
    draft = deep(
        question="How far are the trees from the water?",
        reasoning="The trees: [SEG:2 tree] The water: [SEG:3 water] It lies 40 m from them. So 40 m.",
        answer="40 m",
        rule="distance",
    )
    with writing(says({"questions": [draft, SEMANTIC]})) as (writer, _):
        distance = writer.compose(chip, "", [], RNG(0)).questions[0]
    assert (distance.value, distance.unit) == (pytest.approx(40.0), "m")


def test_nothing_is_asked_of_a_chip_without_regions() -> None:
    with writing() as (writer, fake):
        for chip in (make_chip(np.full((20, 20), 254, np.uint8)), make_chip(labelled=False)):
            assert writer.caption(chip, RNG(0)).questions == ()
            assert writer.compose(chip, "", [], RNG(0)).questions == ()
        assert fake.num_asked == 0


def test_no_reply_is_left_to_the_build() -> None:
    with writing(Scripted(refusal="No.")) as (writer, _), pytest.raises(NoReply) as caught:
        writer.caption(make_chip(), RNG(0))
    assert caught.value.reason == "refused"
