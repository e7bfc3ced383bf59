"""Predicted masks intersected with annotations, and what becomes of words that were written for them."""

from __future__ import annotations

import numpy as np
import pytest

from terracot.known_chip import CROP, IDS, TREE, WATER, make_chip, make_labels
from terrascope import trace
from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED
from terrascope.tasks.question import Question
from terrascope.terracot import refine, verify
from terrascope.terracot.refine import LITTLE_LEFT, NOTHING_LEFT, contradicted, refine_caption, refine_labels
from terrascope.trace import Step, Trace

W, T, C, S = WATER, TREE, CROP, TERRASCOPE.id_of("snow")
U, O = UNLABELLED, OTHER  # noqa: E741


def row(*ids: int) -> np.ndarray:
    return np.array([ids], np.uint8)


def test_what_an_annotation_contradicts() -> None:
    annotated = make_labels(row(W, T, O, U), known=(W, T))
    assert contradicted(annotated, W).tolist() == [[False, True, True, False]]
    # Crops are none of the classes that the annotation tells apart: where it names none, crops may be.
    assert contradicted(annotated, C).tolist() == [[True, True, False, False]]


def test_the_intersection_pixel_by_pixel() -> None:
    predicted = make_labels(row(W, W, W, W, T, C, C, O, O, U, U), known=(W, T, C, S))
    annotated = make_labels(row(W, W, U, O, T, O, U, W, O, W, U), known=(W, T))
    refined = refine_labels(predicted, annotated)
    assert refined.labels.ids.tolist() == row(W, W, W, U, T, C, C, U, O, U, U).tolist()
    assert refined.labels.class_ids_known == (W, T, C, S)
    assert refined.dropped == ()


def test_a_class_that_loses_most_of_its_mask_is_dropped() -> None:
    predicted = make_labels(row(W, W, W, T, T, T, C, C), known=(W, T, C))
    annotated = make_labels(row(W, T, T, C, C, C, C, T), known=(W, T, C))
    refined = refine_labels(predicted, annotated)
    assert refined.dropped == (LITTLE_LEFT, NOTHING_LEFT)
    assert refined.labels.ids.tolist() == row(U, U, U, U, U, U, C, U).tolist()
    assert refined.labels.class_ids_known == (C,)
    assert refine_labels(predicted, annotated, min_kept=0.3).labels.class_ids_known == (W, C)
    assert refine_labels(predicted, annotated, min_kept=0.3).labels.ids.tolist() == row(W, U, U, U, U, U, C, U).tolist()


def test_absence_is_vouched_for_only_where_both_agree() -> None:
    """Snow was not predicted but is annotated: a question of whether there is any would get a wrong answer."""
    predicted = make_labels(row(W, O, O), known=(W, T, S))
    refined = refine_labels(predicted, make_labels(row(W, S, O), known=(W, S)))
    assert refined.labels.class_ids_known == (W, T)
    assert refined.labels.ids.tolist() == row(W, U, O).tolist()


def test_refining_by_itself_changes_nothing_and_twice_is_once() -> None:
    rng = np.random.default_rng(3)
    choices = np.array([W, T, C, O, U], np.uint8)
    for _ in range(20):
        first, second = (make_labels(rng.choice(choices, (9, 9)), known=(W, T, C)) for _ in range(2))
        same = refine_labels(first, first)
        assert (same.labels.ids == first.ids).all() and same.dropped == ()
        once = refine_labels(first, second, min_kept=0.01).labels
        twice = refine_labels(once, second, min_kept=0.01).labels
        assert (once.ids == twice.ids).all() and once.class_ids_known == twice.class_ids_known
        for class_id in once.class_ids_known:
            brute = first.mask(class_id) & ((second.ids == class_id) | (second.ids == U))
            assert (once.mask(class_id) == brute).all()


def test_maps_that_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="share one nomenclature and one grid"):
        refine_labels(make_labels(row(W)), make_labels(row(W, W)))


WRITTEN = (
    "The water: [SEG] It covers 30% of the image. It is a lake. It measures 1.2 ha. "
    "Next to it, the trees: [SEG] They cover 31% of the image and form 1 patch. The lake lies 0 m away. "
    "The snow: [SEG] It covers 10% of the image. So water and trees meet. So snow lies on 10% of it."
)
CAPTION = (
    "A lake lies beside a forest. The forest covers 30% of the image. The water covers 60% of the image. "
    "Snow covers the rest. It is a calm place."
)


def make_caption() -> Question:
    """Masks of 120 pixels of water, 80 of which are, the trees as they are, and snow where there is none."""
    water, snow = IDS == WATER, np.zeros(IDS.shape, bool)
    water[:10, 8:12] = True
    snow[15:17] = True
    parsed = trace.parse(f"<think>{WRITTEN}</think><answer>{CAPTION}</answer>")
    masks = iter((water, IDS == TREE, snow))
    steps = tuple(Step(text=s.text, finding=s.finding, mask=next(masks)) for s in parsed.steps)
    return Question(
        task="caption",
        text="Describe the image.",
        options=(),
        trace=Trace(steps=steps, conclusion=parsed.conclusion, answer=parsed.answer),
        truth=parsed.answer,
        classes=("water", "tree", "snow"),
    )


def test_numbers_are_measured_again_and_what_does_not_hold_goes() -> None:
    refined = refine_caption(make_caption(), make_chip().labelled)
    assert refined.dropped == (NOTHING_LEFT,)
    question = refined.question
    assert question is not None and question.classes == ("water", "tree")
    water, tree = question.trace.steps
    assert (water.mask == (IDS == WATER)).all()
    # 30 % is off by 10 points and 1.2 ha by more than the allowance: the share is measured again, the area goes.
    assert water.finding == "It covers 20% of the image. It is a lake."
    # The trees touch the water: their centres are 10 m apart.
    assert tree.finding == "They cover 31% of the image and form 1 patch."
    assert question.trace.conclusion == "So water and trees meet."
    assert (
        question.truth
        == question.trace.answer
        == ("A lake lies beside a forest. The forest covers 30% of the image. It is a calm place.")
    )
    assert verify.check(question, make_chip().labelled) == ()


def test_a_caption_that_holds_stays_as_it_is() -> None:
    refined = refine_caption(make_caption(), make_chip().labelled)
    assert refined.question is not None
    again = refine_caption(refined.question, make_chip().labelled)
    assert again.dropped == () and again.question is not None
    assert again.question.trace == refined.question.trace and again.question.truth == refined.question.truth


def test_captions_of_which_nothing_is_left() -> None:
    labelled = make_chip(np.full(IDS.shape, CROP, np.uint8)).labelled
    refined = refine_caption(make_caption(), labelled)
    assert refined.question is None
    assert refined.dropped == (NOTHING_LEFT,) * 3 + (refine.NO_MASK_LEFT,)
    asked = make_caption()
    only = Trace(steps=asked.trace.steps, answer="Snow covers 90% of the image.")
    refined = refine_caption(Question(**{**vars(asked), "trace": only, "truth": only.answer}), make_chip().labelled)
    assert refined.question is None and refined.dropped == (NOTHING_LEFT, refine.NO_CAPTION_LEFT)


def test_little_left_is_a_named_share() -> None:
    few = IDS.copy()
    few[:10, 3:8] = CROP
    labelled = make_chip(few).labelled  # 30 of 120 pixels of the water's mask are left
    assert LITTLE_LEFT in refine_caption(make_caption(), labelled).dropped
    assert LITTLE_LEFT not in refine_caption(make_caption(), labelled, min_kept=0.25).dropped


def test_only_captions_are_refined() -> None:
    with pytest.raises(ValueError, match="only captions are refined, got coverage"):
        refine_caption(Question(**{**vars(make_caption()), "task": "coverage"}), make_chip().labelled)
