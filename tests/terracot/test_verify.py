"""The check of drafts: each fault is found and named, and nonsense is survived; truths are computed again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terracot.drawn_chips import chip_of, drawn, paint
from terrascope.tasks import LabelledScene, Question
from terrascope.terracot import verify
from terrascope.terracot.level2 import compose
from terrascope.terracot.recompute import RULES, Truth, recompute
from terrascope.terracot.verify import FAULTS, check
from terrascope.trace import Step, Tolerance, Trace, parse

IDS = paint(("water", (0, 20, 0, 100)), ("crop", (60, 100, 0, 50)), ("crop", (60, 70, 80, 90)), background="tree")
LATER = paint(("water", (0, 40, 0, 100)), ("crop", (60, 100, 0, 50)), background="tree")
CHIP = chip_of(IDS, known=("water", "crop", "tree", "grass"))
LABELLED = CHIP.labelled
TWO_DATES = chip_of(IDS, LATER).labelled


def step(name: str, finding: str, *, text: str | None = None, image: int | None = None) -> Step:
    class_id = CHIP.labels[0].nomenclature.id_of(name)
    return Step(text=f"The {name}:" if text is None else text, finding=finding, image=image, mask=class_id == IDS)


def good(*steps: Step, **changes: object) -> Question:
    """A question with options that is true: the shares of water and crops."""
    steps = steps or (step("water", "It covers 20% of the image."), step("crop", "They cover 21% of the image."))
    question = Question(
        task="spatial/larger",
        text="Which is larger, the water or the crops?",
        options=("water", "crop"),
        trace=Trace(steps=steps, conclusion="So the crops are larger.", answer="B"),
        truth="crop",
        classes=tuple("crop" if "crop" in s.text else "water" for s in steps if s.grounded),
    )
    return replace(question, **changes)


def retrace(question: Question, **changes: object) -> Question:
    return replace(question, trace=replace(question.trace, **changes))


def first_step(**changes: object) -> Question:
    question = good()
    first, *rest = question.trace.steps
    return retrace(question, steps=(replace(first, **changes), *rest))


def test_a_true_question_has_no_fault() -> None:
    assert check(good(), LABELLED) == ()


SMALL = np.zeros((100, 100), bool)
SMALL[0, :5] = True

CASES: dict[str, Question] = {
    verify.NO_QUESTION: good(text="  "),
    verify.NO_STEP: retrace(good(classes=()), steps=()),
    verify.NO_MASK: first_step(mask=None),
    verify.WRONG_GRID: first_step(mask=np.ones((50, 50), bool)),
    verify.EMPTY_MASK: first_step(mask=np.zeros((100, 100), bool)),
    verify.NO_IMAGE: first_step(image=2),
    verify.NUM_CLASSES: good(classes=("water",)),
    verify.UNKNOWN_CLASS: good(classes=("lava", "crop")),
    verify.OTHER_CLASS: good(classes=("tree", "crop")),
    verify.NOT_READ_BACK: first_step(text="Look. The water covers 3% here."),
    verify.SHARE_OFF: first_step(finding="It covers 40% of the image."),
    verify.AREA_OFF: first_step(finding="It covers 40 ha."),
    verify.COUNT_OFF: first_step(finding="It forms 3 patches."),
    verify.DISTANCE_OFF: good(step("water", ""), step("crop", "They are 90 m apart.")),
    verify.NO_ANSWER: retrace(good(), answer=""),
    verify.OPTIONS_ALIKE: good(options=("Crop", "crop")),
    verify.NOT_AN_OPTION: good(options=("water", "tree")),
    verify.WRONG_OPTION: retrace(good(), answer="A"),
    verify.ANSWER_OFF: retrace(good(truth="water"), answer="A"),
    verify.UNTRUE_TRUTH: good(options=()),
    verify.CAPTION_OFF: retrace(
        good(task="caption", options=(), truth="Water covers 60% of the image."),
        answer="Water covers 60% of the image.",
    ),
}


@pytest.mark.parametrize("fault", CASES)
def test_every_fault_is_found(fault: str) -> None:
    assert fault in check(CASES[fault], LABELLED)


def test_the_faults_that_need_a_scene_of_their_own() -> None:
    covered = replace(LABELLED, valid=~SMALL)
    assert verify.UNMEASURED in check(good(), covered)
    without = replace(LABELLED, pixel_size=None)
    assert verify.NO_SCALE in check(first_step(finding="It covers 20 ha."), without)
    assert set(CASES) | {verify.UNMEASURED, verify.NO_SCALE} == set(FAULTS)


def test_a_class_that_the_map_does_not_vouch_for_is_unknown() -> None:
    chip = chip_of(IDS, known=("crop", "tree"))
    assert verify.UNKNOWN_CLASS in check(good(), chip.labelled)


@pytest.mark.parametrize(("stated", "holds"), [(20, True), (23, True), (17, True), (24, False), (16, False)])
def test_the_tolerance_of_shares_is_that_of_the_trace(stated: int, holds: bool) -> None:
    question = first_step(finding=f"It covers {stated}% of the image.")
    assert (check(question, LABELLED) == ()) == holds
    assert (check(question, LABELLED, tolerance=Tolerance(coverage_points=0.5, relative=0.0)) == ()) == (stated == 20)


def test_distances_are_those_between_a_mask_and_the_one_before() -> None:
    apart = good(step("water", ""), step("crop", "They are 410 m apart."))
    assert check(apart, LABELLED) == ()
    first = good(step("water", "It lies 410 m away."), step("crop", ""))
    assert verify.DISTANCE_OFF in check(first, LABELLED)


def test_parts_of_a_class_may_be_pointed_at() -> None:
    """A mask within the class, such as its largest patch, is of the class; one mostly beside it is not."""
    part = CHIP.labels[0].nomenclature.id_of("water") == IDS
    part[10:] = False
    assert check(first_step(mask=part, finding="It covers 10% of the image."), LABELLED) == ()
    beside = part.copy()
    beside[30:50] = True
    assert check(first_step(mask=beside, finding=""), LABELLED) == (verify.OTHER_CLASS,)


@pytest.mark.parametrize(
    ("caption", "holds"),
    [
        ("Water covers 20% of the image.", True),
        ("Lakes and crops together cover 41% of the image.", True),
        ("Water (21%) lies in the north, while trees (59%) fill the rest.", True),
        ("Water covers 59% of the image, and trees 20%.", False),
        ("The rest, 20%, is open.", True),
        ("The rest, 50%, is open.", False),
        ("It shows 40% of the crops of the country.", True),
    ],
)
def test_shares_in_captions_are_those_of_the_class_that_the_clause_names(caption: str, holds: bool) -> None:
    question = retrace(good(task="caption", options=(), truth=caption), answer=caption)
    assert check(question, LABELLED) == (() if holds else (verify.CAPTION_OFF,))


# -- truths, computed again


def of(rule: str, *classes: str, labelled: LabelledScene = LABELLED, images: tuple[int, ...] = ()) -> Truth:
    truth = recompute(rule, classes, labelled, images)
    assert truth is not None
    return truth


def test_truths_of_known_geometry() -> None:
    assert of("coverage", "water").value == pytest.approx(20)
    assert of("combined_share", "water", "crop").value == pytest.approx(41)
    assert of("area", "crop").value == pytest.approx(2100 * 100)
    assert of("combined_area", "crop", "water").value == pytest.approx(4100 * 100)
    assert of("ratio", "crop", "tree").value == pytest.approx(5900 / 2100)
    assert of("ratio", "tree", "crop").value == pytest.approx(5900 / 2100)
    assert of("distance", "water", "crop").value == pytest.approx(410)
    assert of("adjacency", "water", "crop").yes is False
    assert of("adjacency", "water", "tree").yes is True
    assert of("adjacency_chain", "water", "tree", "crop").yes is True
    assert of("adjacency_chain", "tree", "water", "crop").yes is False
    assert of("larger", "water", "crop").classes == ("crop",)
    assert of("smaller", "water", "crop").classes == ("water",)
    assert of("largest", "water", "crop", "tree").classes == ("tree",)
    assert of("smallest", "crop", "water", "tree").classes == ("water",)
    assert of("ranking", "water", "crop", "tree").classes == ("tree", "crop", "water")
    assert of("nearest", "water", "crop", "water", "tree").classes == ("tree",)
    assert of("farthest", "water", "tree", "crop").classes == ("crop",)
    assert of("count", "crop").value == 2
    assert of("change", "water", "water", labelled=TWO_DATES, images=(1, 2)).value == pytest.approx(20)
    assert {rule for rule in RULES} == {
        "coverage", "combined_share", "area", "combined_area", "ratio", "distance", "adjacency", "adjacency_chain",
        "larger", "smaller", "largest", "smallest", "ranking", "nearest", "farthest", "count", "change",
    }  # fmt: skip


def test_distances_without_a_scale_are_compared_in_pixels() -> None:
    without = replace(LABELLED, pixel_size=None)
    assert of("nearest", "water", "crop", "tree", labelled=without).classes == ("tree",)
    assert recompute("distance", ("water", "crop"), without) is None
    assert recompute("area", ("water",), without) is None


@pytest.mark.parametrize(
    ("rule", "classes", "images"),
    [
        ("is it nice", ("water",), ()), ("coverage", (), ()), ("coverage", ("lava",), ()), ("ratio", ("water",), ()),
        ("ratio", ("water", "grass"), ()), ("distance", ("water", "grass"), ()), ("coverage", ("water",), (3,)),
        ("coverage", ("water",), (1, 1)), ("nearest", ("water", "crop"), ()), ("change", ("water", "crop"), (1, 1)),
        ("largest", ("water",), ()), ("adjacency", ("water",), ()), ("count", ("water", "crop"), ()),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_rule_has_no_truth(rule: str, classes: tuple[str, ...], images: tuple[int, ...]) -> None:
    assert recompute(rule, classes, LABELLED, images) is None


@pytest.mark.parametrize(
    ("task", "classes", "truth", "value", "holds"),
    [
        ("spatial/coverage", ("water",), "20%", None, True),
        ("spatial/coverage", ("water",), "29%", None, False),
        ("spatial/coverage", ("water",), "a lot", None, False),
        ("spatial/area", ("water",), "20 ha", None, True),
        ("spatial/area", ("water",), "0.2 km2", None, True),
        ("spatial/area", ("water",), "20 m2", None, False),
        ("spatial/area", ("water",), "20 ha", 5.0, False),
        ("spatial/distance", ("water", "crop"), "410 m", None, True),
        ("spatial/distance", ("water", "crop"), "0.4 km", None, True),
        ("spatial/distance", ("water", "crop"), "41 m", None, False),
        ("spatial/ratio", ("tree", "crop"), "2.8 times", None, True),
        ("spatial/ratio", ("crop", "tree"), "about 0.36", None, True),
        ("spatial/ratio", ("crop", "tree"), "5 times", None, False),
        ("spatial/adjacency", ("water", "crop"), "No, they do not.", None, True),
        ("spatial/adjacency", ("water", "crop"), "Yes", None, False),
        ("spatial/adjacency", ("water", "crop"), "Maybe", None, False),
        ("spatial/larger", ("water", "tree"), "The trees.", None, True),
        ("spatial/larger", ("water", "tree"), "forest", None, True),
        ("spatial/larger", ("water", "tree"), "the lake", None, False),
        ("spatial/larger", ("water", "tree"), "jungle", None, False),
        ("spatial/ranking", ("water", "crop", "tree"), "trees > crops > water", None, True),
        ("spatial/ranking", ("water", "crop", "tree"), "trees, then crops and then water", None, True),
        ("spatial/ranking", ("water", "crop", "tree"), "crops, trees, water", None, False),
        ("spatial/count", ("crop",), "2 fields", None, True),
        ("spatial/count", ("crop",), "3", None, False),
        ("semantic/suitability", ("crop",), "It may be.", None, True),
    ],
)
def test_answers_in_words_are_held_against_the_truth(
    task: str, classes: tuple[str, ...], truth: str, value: float | None, holds: bool
) -> None:
    steps = tuple(step(name, "") for name in classes)
    question = Question(
        task=task, text="What?", options=(), trace=Trace(steps=steps, answer=truth), truth=truth, value=value,
        classes=classes,
    )  # fmt: skip
    assert check(question, LABELLED) == (() if holds else (verify.ANSWER_OFF,))


# -- nonsense


@given(
    text=st.text(alphabet="[SEG] Image:29%ham<think>answer/.So thepw\n", max_size=120),
    classes=st.lists(st.sampled_from(["water", "crop", "lava", ""]), max_size=4),
    options=st.lists(st.text(max_size=5), max_size=4),
    task=st.sampled_from(["caption", "", "spatial/nearest", "semantic/ratio", "spatial/", "///", "spatial/change"]),
    with_masks=st.booleans(),
)
def test_nonsense_is_survived(text: str, classes: list[str], options: list[str], task: str, with_masks: bool) -> None:
    parsed = parse(text + " The water: [SEG] It covers 20% of the image." * with_masks)
    steps = tuple(replace(s, mask=IDS == 0) if s.grounded and with_masks else s for s in parsed.steps)
    question = Question(
        task=task, text=text, options=tuple(options), trace=replace(parsed, steps=steps), truth=parsed.answer,
        classes=tuple(classes),
    )  # fmt: skip
    for labelled in (LABELLED, TWO_DATES, replace(LABELLED, labels=()), replace(LABELLED, valid=SMALL & ~SMALL)):
        faults = check(question, labelled)
        assert set(faults) <= set(FAULTS) and len(set(faults)) == len(faults)


def test_a_swapped_mask_does_not_pass() -> None:
    """Of composed questions whose first two masks are exchanged, hardly any is still true of them."""
    num, passed = 0, 0
    for seed, chip in enumerate(drawn(40)):
        for question in compose(chip, [], np.random.default_rng(seed)):
            steps = question.trace.steps
            if len(steps) < 2 or steps[0].mask is None or question.classes[0] == question.classes[1]:
                continue
            swapped = (replace(steps[0], mask=steps[1].mask), replace(steps[1], mask=steps[0].mask), *steps[2:])
            num += 1
            passed += check(retrace(question, steps=swapped), chip.labelled) == ()
    assert num >= 25 and passed == 0
