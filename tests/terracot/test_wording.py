"""Other words for the same question: whatever is drawn, what can be read from it stays the same."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from terrascope import spatial
from terrascope.landcover import NOMENCLATURES
from terrascope.question import needs_scale
from terrascope.tasks import TASKS, LabelledScene, Question
from terrascope.tasks.measured import class_of
from terrascope.terracot.wording import (
    ANY_LEADS,
    CONCLUSIONS,
    FINDINGS,
    FIRST_LEADS,
    LATER_LEADS,
    WordingSettings,
    paraphrase,
)
from terrascope.trace import Step, Trace, check_step, parse, render, resolve_images, stated_numbers
from tests.tasks.drawn_scenes import draw

ALWAYS = WordingSettings(plain_share=0.0)


def asked(name: str, num: int = 45) -> list[tuple[LabelledScene, Question, Question]]:
    """Questions of a task and the same in other words."""
    found = []
    for seed in range(num):
        labelled = draw(seed)
        question = TASKS[name].ask(labelled, np.random.default_rng(seed), with_options=bool(seed // 3 % 2))
        if question is not None:
            found.append((labelled, question, paraphrase(question, np.random.default_rng(seed), ALWAYS)))
    assert len(found) >= 4
    return found


every_task = pytest.mark.parametrize("name", TASKS)


@every_task
def test_only_words_change(name: str) -> None:
    for _, before, after in asked(name):
        assert replace(after, text=before.text, trace=before.trace) == before
        assert after.trace.answer == before.trace.answer
        steps = list(zip(before.trace.grounded_steps, after.trace.grounded_steps, strict=True))
        assert all(one.mask is other.mask and one.image == other.image for one, other in steps)
        assert needs_scale(after.text, after.options) == needs_scale(before.text, before.options)
        assert before.text.lower().rstrip("?.") in after.text.lower()


@every_task
def test_it_reads_back_as_it_was_written(name: str) -> None:
    for labelled, before, after in asked(name):
        assert parse(render(after.trace)) == after.trace
        assert resolve_images(after.trace, labelled.num_dates) == resolve_images(before.trace, labelled.num_dates)


@every_task
def test_the_same_numbers_are_stated(name: str) -> None:
    for _, before, after in asked(name):
        for one, other in zip(before.trace.grounded_steps, after.trace.grounded_steps, strict=True):
            assert stated_numbers(other.finding) == stated_numbers(one.finding), other.finding
        expected = stated_numbers(before.trace.conclusion)
        if after.trace.conclusion and not before.trace.conclusion:
            expected = stated_numbers(before.truth)
            assert before.truth in after.trace.conclusion
        assert stated_numbers(after.trace.conclusion) == expected, after.trace.conclusion


@every_task
def test_the_masks_agree_with_the_numbers(name: str) -> None:
    for labelled, _, after in asked(name):
        assert labelled.pixel_size is not None
        earlier = None
        images = resolve_images(after.trace, labelled.num_dates)
        for step, image in zip(after.trace.grounded_steps, images, strict=True):
            assert step.mask is not None
            apart = None
            if earlier is not None and earlier.any() and step.mask.any():
                apart = spatial.distance_m(earlier, step.mask, labelled.pixel_size)
            found = check_step(
                step,
                coverage=spatial.coverage(step.mask, labelled.measured(image - 1)),
                area_m2=spatial.area_m2(step.mask, labelled.pixel_size),
                num_objects=spatial.count_objects(step.mask),
                distance_m=apart,
            )
            assert found == (), step
            earlier = step.mask


@every_task
def test_the_class_and_the_letter_can_still_be_read(name: str) -> None:
    for _, _, after in asked(name):
        assert tuple(class_of(step.text) for step in after.trace.grounded_steps) == after.classes
        if after.options:
            assert re.findall(r"\b[A-D]\b", after.trace.conclusion) == [after.trace.answer]


def test_every_lead_names_its_class_whatever_the_nomenclature() -> None:
    names = {land_class.name for nomenclature in NOMENCLATURES.values() for land_class in nomenclature.classes}
    for lead in (*ANY_LEADS, *FIRST_LEADS, *LATER_LEADS):
        for name in names:
            text = lead.format(name=name)
            assert class_of(text) == class_of(f"The {name}:") is not None
            before = Step(text="The ground:", image=1, finding="It covers 5% of the image.")
            trace = Trace(steps=(before, Step(text=text, image=2, finding="They touch.")), answer="Yes")
            assert parse(render(trace)) == trace


@pytest.mark.parametrize(
    "sentence",
    [
        "It covers 34% of the image.",
        "It covers less than 1% of the image.",
        "There is none.",
        "The area is 120 m2.",
        "The area is 3.4 ha.",
        "The area is 12 km2.",
        "There is 1 separate area.",
        "There are 7 separate areas.",
        "There is 1 building.",
        "There are 12 buildings.",
        "There are 3 destroyed buildings.",
        "5 are destroyed.",
        "It lies in the southwestern part.",
        "They are 130 m apart.",
        "They are 1.3 km apart.",
        "They touch.",
        "They do not touch.",
    ],
)
def test_every_form_of_a_finding_states_what_the_plain_one_does(sentence: str) -> None:
    found = [(pattern.fullmatch(sentence), forms) for pattern, forms in FINDINGS]
    ((match, forms),) = [(match, forms) for match, forms in found if match]
    said = [form.format(**match.groupdict()) for form in forms]
    assert sentence in said and len(said) == len(set(said)) >= 6
    for text in said:
        assert stated_numbers(text) == stated_numbers(sentence)
        assert text[-1] == "." and not text.startswith(("So", "Therefore", "Thus", "Hence", "Overall"))


def test_conclusions_begin_with_a_word_that_says_so() -> None:
    for _, forms in CONCLUSIONS:
        assert all(form.split()[0].rstrip(",") in ("So", "Therefore", "Thus", "Hence", "Overall") for form in forms)


def test_there_are_dozens_of_forms() -> None:
    labelled = draw(1)
    question = TASKS["coverage"].ask(labelled, np.random.default_rng(0), with_options=True)
    assert question is not None
    drawn = [paraphrase(question, np.random.default_rng(seed), ALWAYS) for seed in range(3000)]
    for part, least in (
        ({q.trace.grounded_steps[0].text for q in drawn}, 20),
        ({q.trace.grounded_steps[0].finding for q in drawn}, 8),
        ({q.trace.conclusion for q in drawn}, 10),
        ({q.text for q in drawn}, 12),
        ({q.trace.steps[0].text for q in drawn if not q.trace.steps[0].grounded}, 9),
        ({render(q.trace) for q in drawn}, 1500),
    ):
        assert len(part) >= least


def test_shares_are_kept() -> None:
    labelled = draw(1)
    question = TASKS["coverage"].ask(labelled, np.random.default_rng(0), with_options=False)
    assert question is not None and not question.trace.conclusion
    settings = WordingSettings(plain_share=0.4, opening_share=0.5, conclusion_share=0.2, frame_share=0.7)
    drawn = [paraphrase(question, np.random.default_rng(seed), settings) for seed in range(4000)]
    counts = Counter(
        plain=sum(q is question for q in drawn),
        opening=sum(not q.trace.steps[0].grounded for q in drawn),
        conclusion=sum(bool(q.trace.conclusion) for q in drawn),
        frame=sum(q.text != question.text for q in drawn),
    )
    expected = {"plain": 0.4, "opening": 0.6 * 0.5, "conclusion": 0.6 * 0.2, "frame": 0.6 * 0.7}
    assert {part: count / 4000 for part, count in counts.items()} == pytest.approx(expected, abs=0.03)


def test_the_same_generator_gives_the_same_words() -> None:
    for _, question, _ in asked("distance"):
        first, second = (paraphrase(question, np.random.default_rng(3), ALWAYS) for _ in range(2))
        assert first == second


def test_what_it_does_not_know_is_kept() -> None:
    trace = Trace(
        steps=(
            Step(text="A look at it all.", grounded=False),
            Step(text="See", finding="Fine. It covers all."),
        ),
        conclusion="So be it.",
        answer="A caption. It has two sentences.",
    )
    question = Question(task="caption", text="Describe the image.", options=(), trace=trace, truth=trace.answer)
    for seed in range(50):
        assert paraphrase(question, np.random.default_rng(seed), ALWAYS).trace == trace
    bare = replace(question, trace=replace(trace, conclusion=""))
    assert all(not paraphrase(bare, np.random.default_rng(s), ALWAYS).trace.conclusion for s in range(50))
