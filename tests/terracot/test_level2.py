"""Composed questions: every truth is found again by plain numpy and scipy, with none of the code under test."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from terracot.drawn_chips import chip_of, drawn, paint
from terrascope.landcover import CORINE_19, OTHER, TERRASCOPE, UNLABELLED
from terrascope.question import needs_scale
from terrascope.sources.chips import Chip
from terrascope.tasks import Question
from terrascope.terracot.kinds import kind_of
from terrascope.terracot.layout import lay_out
from terrascope.terracot.level2 import CHANGE, SEMANTIC, SPATIAL, compose
from terrascope.terracot.level2.changes import ShareChange, Trend
from terrascope.terracot.level2.drafting import Desk, Draft, Rule
from terrascope.terracot.level2.hazards import Damage, FloodEffect, FloodSeverity
from terrascope.terracot.level2.landscape import LandscapeType
from terrascope.terracot.level2.neighbours import AdjacencyChain, Between, ByDistance
from terrascope.terracot.level2.patches import DensestQuarter, LargestPatch
from terrascope.terracot.level2.sizes import Combined, Extreme, Ranking, Ratio
from terrascope.terracot.level2.suitability import Farming
from terrascope.terracot.naming import named_classes
from terrascope.terracot.verify import check
from terrascope.trace import LETTERS, parse, render, resolve_images

Mask = NDArray[np.bool_]
ALL = (*SPATIAL, *SEMANTIC, *CHANGE)
BY_TASK = {rule.task: rule for rule in ALL}


def draft(rule: Rule, chip: Chip, seed: int = 0) -> Draft | None:
    return rule.draft(Desk(lay_out(chip.labelled), np.random.default_rng(seed)))


def ask(rule: Rule, chip: Chip, seed: int = 0) -> Question:
    drafted = draft(rule, chip, seed)
    assert drafted is not None
    return drafted.question


@cache
def asked() -> tuple[tuple[Chip, Question], ...]:
    """What every rule asks of a population, and what is composed of it."""
    found: list[tuple[Chip, Question]] = []
    for seed, chip in enumerate((*drawn(90), *MAPS)):
        for rule in ALL:
            drafted = draft(rule, chip, seed)
            if drafted is not None:
                found.append((chip, drafted.question))
        found += [(chip, question) for question in compose(chip, [], np.random.default_rng(seed))]
    return tuple(found)


FOREST_AND_TOWN = paint(
    ("tree", (0, 50, 0, 40)),
    ("developed area", (60, 90, 60, 100)),
    ("water", (0, 10, 60, 100)),
    ("crop", (70, 100, 0, 30)),
    background="grass",
)
PATCHY = paint(
    *[("tree", (top, top + 8, left, left + 8)) for top in (0, 20, 40, 60) for left in (0, 30, 60)],
    ("water", (90, 100, 0, 100)),
    background="crop",
)
BARE = paint(("snow", (0, 50, 0, 100)), ("water", (95, 100, 0, 5)), background="bare land")
FLOOD_AFTER = np.where(np.arange(100)[:, None] < 30, TERRASCOPE.id_of("flood"), FOREST_AND_TOWN).astype(np.uint8)
MAPS = (
    chip_of(FOREST_AND_TOWN),
    chip_of(FOREST_AND_TOWN, gsd_m=30),
    chip_of(PATCHY),
    chip_of(BARE),
    chip_of(FOREST_AND_TOWN, FLOOD_AFTER),
    chip_of(FOREST_AND_TOWN, FOREST_AND_TOWN),
)


# -- the slow path: the same truths, from label ids alone


def masks_of(chip: Chip, question: Question) -> list[tuple[str, Mask]]:
    """Of every step its class and all pixels of it on its image."""
    images = resolve_images(question.trace, len(chip.labels))
    return [
        (name, (chip.labels[image - 1].ids == TERRASCOPE.id_of(name)) & chip.labelled.measured(image - 1))
        for name, image in zip(question.classes, images, strict=True)
    ]


def share(chip: Chip, image: int, kinds: set[str]) -> float:
    ids = chip.labels[image - 1].ids[chip.labelled.measured(image - 1)]
    wanted = [i for i in chip.labels[image - 1].class_ids_known if kind_of(TERRASCOPE[i].name) in kinds]
    return float(np.isin(ids, wanted).mean())


def image_of(chip: Chip, question: Question) -> int:
    return resolve_images(question.trace, len(chip.labels))[0]


def gap_px(a: Mask, b: Mask) -> float:
    return float(ndimage.distance_transform_edt(~a)[b].min())


def gap_m(chip: Chip, a: Mask, b: Mask) -> float:
    return gap_px(a, b) * float(chip.labelled.pixel_size.width_m[0])


def says_yes(question: Question, denied: str) -> bool:
    """Whether the rule holds, by the truth and whether the question asks the opposite."""
    assert question.truth in ("Yes", "No")
    return (question.truth == "Yes") != bool(re.search(denied, question.text))


def check_ratio(chip: Chip, question: Question) -> None:
    (_, a), (_, b) = masks_of(chip, question)
    ratio = max(a.sum(), b.sum()) / min(a.sum(), b.sum())
    assert question.value == pytest.approx(ratio)
    assert float(question.truth.split()[0]) == pytest.approx(ratio, rel=0.05)


def check_extreme(chip: Chip, question: Question) -> None:
    sizes = {name: int(mask.sum()) for name, mask in masks_of(chip, question)}
    best = (max if question.task.endswith("largest") else min)(sizes, key=lambda name: sizes[name])
    assert question.truth == best and len(sizes) == 3


def check_ranking(chip: Chip, question: Question) -> None:
    sizes = {name: int(mask.sum()) for name, mask in masks_of(chip, question)}
    assert question.truth.split(", ") == sorted(sizes, key=lambda name: -sizes[name])


def check_combined(chip: Chip, question: Question) -> None:
    either = np.logical_or.reduce([mask for _, mask in masks_of(chip, question)])
    if question.unit == "m2":
        assert question.value == pytest.approx(either.sum() * float(chip.labelled.pixel_size.area_m2[0]))
    else:
        measured = chip.labelled.measured(image_of(chip, question) - 1)
        assert question.value == pytest.approx(100 * either[measured].mean())
        assert question.truth == f"{round(question.value)}%"


def check_chain(chip: Chip, question: Question) -> None:
    found = masks_of(chip, question)
    touching = [bool((ndimage.binary_dilation(a) & b).any()) for (_, a), (_, b) in pairwise(found)]
    assert question.truth == ("Yes" if all(touching) else "No")


def check_between(chip: Chip, question: Question) -> None:
    (_, a), (_, c), (name, b) = masks_of(chip, question)
    assert question.truth == name
    assert not (ndimage.binary_dilation(a) & c).any()
    assert (ndimage.binary_dilation(a) & b).any() and (ndimage.binary_dilation(c) & b).any()


def check_by_distance(chip: Chip, question: Question) -> None:
    found = masks_of(chip, question)
    reference = found[0][1]
    distances = {
        name: gap_px(reference, mask) for name, mask in found if mask is not found[0][1] and name != found[0][0]
    }
    best = (min if question.task.endswith("nearest") else max)(distances, key=lambda name: distances[name])
    assert question.truth == best and len(distances) >= 2


def check_largest_patch(chip: Chip, question: Question) -> None:
    numbers, num = ndimage.label(masks_of(chip, question)[0][1], np.ones((3, 3)))
    pixels = max(int((numbers == number).sum()) for number in range(1, num + 1))
    assert question.trace.grounded_steps[1].mask.sum() == pixels
    if question.unit == "m2":
        assert question.value == pytest.approx(pixels * float(chip.labelled.pixel_size.area_m2[0]))
    else:
        assert question.value == pytest.approx(100 * pixels / chip.labelled.valid.sum(), rel=0.01)


def check_quarter(chip: Chip, question: Question) -> None:
    mask = masks_of(chip, question)[0][1]
    half = mask.shape[0] // 2
    columns = np.flatnonzero(chip.labelled.valid.any(axis=0))
    middle = (columns[0] + columns[-1] + 1) // 2
    parts = {
        "northwestern quarter": mask[:half, :middle], "northeastern quarter": mask[:half, middle:],
        "southwestern quarter": mask[half:, :middle], "southeastern quarter": mask[half:, middle:],
    }  # fmt: skip
    assert question.truth == max(parts, key=lambda name: parts[name].sum())
    assert question.trace.grounded_steps[1].mask.sum() == parts[question.truth].sum()


def threshold_of(question: Question) -> float:
    """The share (0-1) or the metres that the question states."""
    number, unit = re.search(r"([0-9.]+)(%| k?m\b)", question.text).groups()
    return float(number) * {"%": 0.01, " m": 1, " km": 1000}[unit]


def reaches(value: float, question: Question, *, gap: float) -> bool:
    threshold = threshold_of(question)
    assert abs(value - threshold) >= gap - 1e-9
    return value >= threshold


def is_within(distance_m: float, question: Question) -> bool:
    threshold_m = threshold_of(question)
    assert distance_m >= 1.29 * threshold_m or distance_m <= threshold_m / 1.29
    return distance_m <= threshold_m


def check_farming(chip: Chip, question: Question) -> None:
    arable = share(chip, image_of(chip, question), {"crop", "grass"})
    assert says_yes(question, "unsuitable|poor|too little") == reaches(arable, question, gap=0.05)


def water_distance(chip: Chip, question: Question) -> float:
    """Metres from the first step's class to open water; infinite where there is none."""
    image = image_of(chip, question)
    ids = chip.labels[image - 1].ids
    measured = chip.labelled.measured(image - 1)
    water = (ids == TERRASCOPE.id_of("water")) & measured
    return gap_m(chip, masks_of(chip, question)[0][1], water) if water.any() else np.inf


def check_irrigation(chip: Chip, question: Question) -> None:
    distance = water_distance(chip, question)
    assert says_yes(question, "too far|lack") == is_within(distance, question)


def check_exposure(chip: Chip, question: Question) -> None:
    distance = water_distance(chip, question)
    assert says_yes(question, "safe from|safe distance") == is_within(distance, question)


def check_expansion(chip: Chip, question: Question) -> None:
    image = image_of(chip, question)
    ids = np.where(chip.labelled.valid, chip.labels[image - 1].ids, UNLABELLED)
    grown = ndimage.binary_dilation(ids == TERRASCOPE.id_of("developed area"))
    beside = {kind for kind in ("grass", "bare land", "shrub") if (grown & (ids == TERRASCOPE.id_of(kind))).any()}
    room = share(chip, image, {kind_of(name) for name in beside})
    assert says_yes(question, "lack|hindered") == reaches(room, question, gap=0.03)


def check_landscape(chip: Chip, question: Question) -> None:
    groups = {
        "forest landscape": {"forest"}, "farming landscape": {"crop"},
        "urban landscape": {"developed", "building", "ruin"},
        "water landscape": {"water", "wetland", "flood"}, "snow landscape": {"snow"},
        "open landscape of grass, shrubs or bare land": {"grass", "shrub", "bare"},
    }  # fmt: skip
    shares = {name: share(chip, image_of(chip, question), kinds) for name, kinds in groups.items()}
    best, second = sorted(shares.values(), reverse=True)[:2]
    assert shares[question.truth] == best >= 0.45 and best - second >= 0.12


def check_footprint(chip: Chip, question: Question) -> None:
    made = share(chip, image_of(chip, question), {"crop", "developed", "building", "ruin"})
    assert says_yes(question, "less than") == reaches(made, question, gap=0.05)


def check_habitat(chip: Chip, question: Question) -> None:
    mask = masks_of(chip, question)[0][1]
    sizes = np.bincount(ndimage.label(mask, np.ones((3, 3)))[0].ravel())[1:]
    part = sizes.max() / mask.sum()
    assert says_yes(question, "fragmented|have to cross|split up") == reaches(part, question, gap=0.05)


def check_severity(chip: Chip, question: Question) -> None:
    flooded = share(chip, image_of(chip, question), {"flood"})
    names = ("minor", "moderate", "severe", "extreme")
    assert question.truth == f"{names[int(np.digitize(flooded, (0.05, 0.2, 0.45)))]} flood"


def check_effect(chip: Chip, question: Question) -> None:
    flood = (chip.labels[-1].ids == TERRASCOPE.id_of("flood")) & chip.labelled.valid
    counts = np.bincount(chip.labels[0].ids[flood])
    assert question.truth == TERRASCOPE[int(counts.argmax())].name
    assert question.trace.grounded_steps[1].mask.sum() == counts.max()


def check_damage(chip: Chip, question: Question) -> None:
    objects = chip.labels[0].objects
    numbers = np.unique(objects[objects > 0])

    def mostly(date: int, name: str) -> int:
        ids = (chip.labels[date].ids == TERRASCOPE.id_of(name)) & chip.labelled.valid
        return sum(2 * int((ids & (objects == n)).sum()) > int((objects == n).sum()) for n in numbers)

    rate = mostly(-1, "destroyed building") / mostly(0, "building")
    expected = "no" if not rate else ("light", "moderate", "severe")[int(np.digitize(rate, (0.2, 0.5)))]
    assert question.truth == f"{expected} damage"


def check_change(chip: Chip, question: Question) -> None:
    before, after = (100 * mask[chip.labelled.valid].mean() for _, mask in masks_of(chip, question))
    assert question.value == pytest.approx(abs(after - before))
    assert question.truth == f"{round(abs(after - before))} percentage points"
    assert bool(re.search("grow|larger|gain", question.text)) == bool(after > before)


def check_trend(chip: Chip, question: Question) -> None:
    before, after = (mask.mean() for _, mask in masks_of(chip, question))
    ratio = after / before
    expected = "stayed the same" if abs(ratio - 1) <= 0.02 else "grown" if ratio > 1 else "shrunk"
    assert question.truth == expected and (expected == "stayed the same" or abs(ratio - 1) >= 0.12)


ORACLES: dict[str, Callable[[Chip, Question], None]] = {
    "spatial/adjacency_chain": check_chain,
    "spatial/between": check_between,
    "spatial/ratio": check_ratio,
    "spatial/nearest": check_by_distance,
    "spatial/farthest": check_by_distance,
    "spatial/largest": check_extreme,
    "spatial/smallest": check_extreme,
    "spatial/combined_share": check_combined,
    "spatial/combined_area": check_combined,
    "spatial/ranking": check_ranking,
    "spatial/largest_patch": check_largest_patch,
    "spatial/densest_quarter": check_quarter,
    "semantic/farming": check_farming,
    "semantic/irrigation": check_irrigation,
    "semantic/urban_expansion": check_expansion,
    "semantic/flood_exposure": check_exposure,
    "semantic/landscape_type": check_landscape,
    "semantic/human_footprint": check_footprint,
    "semantic/habitat": check_habitat,
    "semantic/flood_severity": check_severity,
    "semantic/flood_effect": check_effect,
    "semantic/damage": check_damage,
    "semantic/change": check_change,
    "semantic/trend": check_trend,
}


OF_CLASSES = {
    "spatial/between", "spatial/nearest", "spatial/farthest", "spatial/largest", "spatial/smallest", "spatial/ranking",
    "semantic/flood_effect",
}  # fmt: skip
"""Rules whose answers are words for classes."""


def test_every_rule_has_an_oracle() -> None:
    assert set(ORACLES) == set(BY_TASK) and len(BY_TASK) == len(ALL)


@pytest.mark.parametrize("task", ORACLES)
def test_truths_are_those_of_the_slow_path(task: str) -> None:
    found = [(chip, question) for chip, question in asked() if question.task == task]
    assert len(found) >= 3
    for chip, question in found:
        named = named_classes(question.truth, TERRASCOPE)
        ORACLES[task](chip, replace(question, truth=", ".join(named)) if task in OF_CLASSES else question)


def test_options_say_what_the_question_says() -> None:
    """Whoever is asked about `open water or forest` chooses between these very words."""
    num = 0
    for _, question in asked():
        if question.task in {"spatial/nearest", "spatial/farthest", "spatial/largest", "spatial/smallest"}:
            num += 1
            assert all(word in question.text for word in (question.truth, *question.options)), question
        if question.task == "spatial/ranking":
            assert all(word in question.text for word in question.truth.split(", "))
    assert num > 20


# -- what all of them promise


def test_every_question_passes_the_check() -> None:
    for chip, question in asked():
        assert check(question, chip.labelled) == (), (question.task, question.text, render(question.trace))


def test_traces_read_back_and_conclude() -> None:
    for _, question in asked():
        assert parse(render(question.trace)) == question.trace
        assert re.match(r"(?:So|Thus|Therefore) ", question.trace.conclusion)


def test_questions_are_clean_english() -> None:
    for _, question in asked():
        findings = " ".join(step.finding for step in question.trace.grounded_steps if step.finding)
        text = " ".join((question.text, findings, question.trace.conclusion))
        assert question.text[0].isupper() and question.text[-1] in "?."
        assert not re.search(r"  |[{}]|\s[.,;?]|\b(\w+) \1\b|None", text), text
        assert not re.search(r"\b[Dd]o the (?:forest|water|cropland|farmland|grassland|woodland)\b", text), text
        assert not re.search(r"\b[Dd]oes the (?:crops|fields|trees|shrubs|buildings|\w+ areas)\b", text), text


def test_options_are_distinct_and_as_many_as_promised() -> None:
    with_options = [question for _, question in asked() if question.options]
    assert len(with_options) > 60
    for question in with_options:
        assert len(question.options) == len(set(question.options))
        assert question.options[LETTERS.index(question.trace.answer)] == question.truth
        if question.truth in ("Yes", "No"):
            assert sorted(question.options) == ["No", "Yes"]
        elif question.value is not None:
            assert len(question.options) == 4


def test_answers_are_balanced() -> None:
    """Yes and No, the letters, and the rank of the right number among the options."""
    answers: Counter[str] = Counter()
    letters: Counter[str] = Counter()
    ranks: Counter[int] = Counter()
    for seed in range(12):
        for number, chip in enumerate(drawn(60)):
            for question in compose(chip, [], np.random.default_rng([seed, number])):
                answers[question.truth] += 1
                if len(question.options) == 4:
                    letters[question.trace.answer] += 1
                    if question.value is not None:
                        ranks[sorted(question.options, key=number_of).index(question.truth)] += 1
    assert 0.4 <= answers["Yes"] / (answers["Yes"] + answers["No"]) <= 0.6
    assert len(letters) == 4 and max(letters.values()) <= 1.5 * min(letters.values())
    assert (
        len(ranks) == 4 and max(ranks.values()) <= 0.4 * ranks.total() and min(ranks.values()) >= 0.15 * ranks.total()
    )


def number_of(option: str) -> float:
    value, _, unit = option.replace("%", " %").partition(" ")
    return float(value) * {"ha": 1e4, "km2": 1e6}.get(unit, 1.0)


def test_two_or_three_questions_of_both_kinds() -> None:
    num_both = 0
    for seed, chip in enumerate(drawn(60)):
        tasks = [question.task for question in compose(chip, [], np.random.default_rng(seed))]
        assert 2 <= len(tasks) <= 3 and len(set(tasks)) == len(tasks)
        num_both += {task.split("/")[0] for task in tasks} == {"spatial", "semantic"}
    # Where a scene allows only the frequent answer of every rule, two questions of one kind may be all.
    assert num_both >= 54


def test_a_threshold_is_reached_or_missed_alike_and_clearly() -> None:
    thresholds = (0.1, 0.2, 0.3, 0.4, 0.9)
    desk = Desk(lay_out(chip_of(FOREST_AND_TOWN).labelled), np.random.default_rng(0))
    drawn_ = Counter(desk.draw_threshold(0.22, thresholds, gap=0.05) for _ in range(1000))
    assert set(drawn_) == {0.1, 0.3, 0.4} and 430 < drawn_[0.1] < 570
    far = Counter(desk.draw_threshold(200.0, (100.0, 160.0, 250.0, 300.0), ratio=1.3) for _ in range(1000))
    assert set(far) == {100.0, 300.0} and 430 < far[100.0] < 570
    seldom = Counter(desk.draw_threshold(0.0, thresholds, gap=0.05) for _ in range(1000))
    assert 5 < 1000 - seldom[None] < 60 and set(seldom) <= {0.1, 0.2, None}


@pytest.mark.parametrize(
    ("task", "least"),
    [("semantic/farming", 60), ("semantic/human_footprint", 60), ("semantic/habitat", 25), ("semantic/trend", 15)],
)
def test_a_rule_does_not_mostly_hold_or_fail(task: str, least: int) -> None:
    """Whichever way the question is put: what is asked about is so as often as not."""
    holds: Counter[object] = Counter()
    denied = "unsuitable|poor|too little|less than|fragmented|have to cross|split up"
    for seed, chip in enumerate(drawn(120)):
        for repeat in range(4):
            drafted = draft(BY_TASK[task], chip, 1000 * seed + repeat)
            if drafted is not None:
                question = drafted.question
                holds[says_yes(question, denied) if question.truth in ("Yes", "No") else question.truth] += 1
    assert holds.total() >= least
    assert max(holds.values()) <= 0.62 * holds.total(), holds


def test_the_same_generator_asks_the_same() -> None:
    for seed, chip in enumerate(drawn(10)):
        first, second = (compose(chip, [], np.random.default_rng(seed)) for _ in range(2))
        assert first == second


def test_without_labels_nothing_is_asked() -> None:
    chip = drawn(1)[0]
    assert compose(replace(chip, labels=()), [], np.random.default_rng(0)) == []
    assert compose(chip_of(np.full((100, 100), OTHER, np.uint8)), [], np.random.default_rng(0)) == []


def test_only_classes_are_asked_about_that_the_map_vouches_for() -> None:
    known = ("tree", "grass", "water")
    chip = chip_of(FOREST_AND_TOWN, known=known)
    for seed in range(40):
        for rule in ALL:
            drafted = draft(rule, chip, seed)
            if drafted is not None:
                assert set(drafted.question.classes) <= set(known)
                assert not re.search("crop|farm|field|developed|built", render(drafted.question.trace)), rule.task


def test_without_a_scale_nothing_is_said_in_metres() -> None:
    chip = chip_of(FOREST_AND_TOWN, FLOOD_AFTER, gsd_m=None)
    num = 0
    for seed in range(30):
        for rule in ALL:
            drafted = draft(rule, chip, seed)
            if drafted is not None:
                num += 1
                question = drafted.question
                assert not needs_scale(question.text, (question.truth, *drafted.wrong)), question.text
                assert not re.search(r"\d (?:m|m2|ha|km|km2)\b", render(question.trace))
    assert num > 200


def test_areas_and_distances_in_answers_are_recognized_as_such() -> None:
    for _, question in asked():
        if question.unit == "m2":
            assert needs_scale(question.text, question.options)


def test_classes_of_the_simple_questions_come_first() -> None:
    chip = MAPS[0]
    pairs = [replace(ask(Ratio(), chip), classes=("water", "crop"))]
    counts = {"with": Counter(), "without": Counter()}
    for seed in range(80):
        for name, given in (("with", pairs), ("without", [])):
            for question in compose(chip, given, np.random.default_rng(seed)):
                if question.task.startswith("spatial"):
                    counts[name].update(set(question.classes))
    assert counts["with"]["water"] + counts["with"]["crop"] > 1.2 * (
        counts["without"]["water"] + counts["without"]["crop"]
    )


# -- known geometry


def test_nearest_of_two_with_their_distances() -> None:
    ids = paint(("water", (0, 10, 0, 100)), ("crop", (20, 30, 0, 100)), ("snow", (60, 80, 0, 100)), background="grass")
    chip = chip_of(ids, known=("water", "crop", "snow"))
    questions = [ask(ByDistance(nearest=True), chip, seed) for seed in range(12)]
    of_water = next(question for question in questions if question.classes[0] == "water")
    assert named_classes(of_water.truth, TERRASCOPE) == ("crop",)
    findings = dict(zip(of_water.classes, (step.finding for step in of_water.trace.grounded_steps), strict=True))
    assert "110 m from" in findings["crop"] and "510 m from" in findings["snow"]
    assert len(of_water.classes) == 4 and of_water.classes[2] == "water"


HALF, NEXT = (0, 50, 0, 100), (50, 98, 0, 100)

TOO_CLOSE: tuple[tuple[Rule, Chip], ...] = (
    (Ratio(), chip_of(paint(("water", HALF), ("crop", NEXT)))),
    (Ranking(), chip_of(paint(("water", HALF), ("crop", NEXT)))),
    (Extreme(largest=True), chip_of(paint(("water", (0, 34, 0, 100)), ("crop", (34, 67, 0, 100)), background="tree"))),
    (LandscapeType(), chip_of(paint(("crop", (0, 48, 0, 100)), background="tree"))),
    (FloodSeverity(), chip_of(paint(("flood", (0, 21, 0, 100)), background="tree"))),
    (FloodEffect(), chip_of(paint(("crop", (0, 100, 0, 52)), background="tree"), paint(background="flood"))),
    (DensestQuarter(), chip_of(paint(("water", (20, 80, 20, 80))))),
    (LargestPatch(), chip_of(paint(("water", (0, 20, 0, 50)), ("water", (40, 60, 0, 49))))),
    (
        AdjacencyChain(),
        chip_of(paint(("water", (0, 20, 0, 30)), ("crop", (21, 40, 0, 30)), ("tree", (0, 40, 31, 60)))),
    ),
    (Between(), chip_of(paint(("water", (0, 30, 0, 99)), ("crop", (31, 60, 0, 99)), ("tree", (29, 32, 99, 100))))),
    (
        ByDistance(nearest=True),
        chip_of(paint(("water", (0, 9, 0, 9)), ("crop", (30, 60, 0, 9)), ("tree", (0, 9, 32, 60)))),
    ),
    (Combined(areas=True), chip_of(paint(("water", (0, 30, 0, 100)), background="tree"), gsd_m=None)),
    (ShareChange(), chip_of(paint(("crop", (0, 52, 0, 100))), paint(("crop", HALF)))),
    (Trend(), chip_of(paint(("crop", HALF)), paint(("crop", (0, 53, 0, 100))))),
    (Damage(), chip_of(paint(("building", (0, 9, 0, 9))), paint(("destroyed building", (0, 9, 0, 9))))),
)


@pytest.mark.parametrize(("rule", "chip"), TOO_CLOSE, ids=[rule.task for rule, _ in TOO_CLOSE])
def test_what_is_too_close_to_call_is_not_asked(rule: Rule, chip: Chip) -> None:
    assert all(draft(rule, chip, seed) is None for seed in range(20))


@pytest.mark.parametrize("num_destroyed", [0, 1, 4, 9])
def test_damage_is_graded_by_whole_buildings(num_destroyed: int) -> None:
    objects = np.zeros((100, 100), np.int32)
    for number in range(10):
        objects[10 * number : 10 * number + 6, 10:30] = number + 1
    before = np.where(objects > 0, TERRASCOPE.id_of("building"), TERRASCOPE.id_of("grass")).astype(np.uint8)
    after = before.copy()
    after[(objects > 0) & (objects <= num_destroyed)] = TERRASCOPE.id_of("destroyed building")
    chip = chip_of(before, after, objects=objects, gsd_m=0.5)
    question = ask(Damage(), chip)
    assert question.truth == {0: "no", 1: "light", 4: "moderate", 9: "severe"}[num_destroyed] + " damage"
    assert "10 buildings" in question.trace.grounded_steps[0].finding
    assert check(question, chip.labelled) == ()


def test_rules_speak_of_kinds_in_any_nomenclature() -> None:
    ids = paint(
        ("arable land", (0, 50, 0, 100)), ("pasture", (50, 80, 0, 100)), ("inland water", (95, 100, 0, 100)),
        background="mixed forest", nomenclature=CORINE_19,
    )  # fmt: skip
    chip = chip_of(ids, nomenclature=CORINE_19)
    farming = ask(Farming(), chip)
    assert {"arable land", "pasture"} <= set(farming.classes)
    assert says_yes(farming, "unsuitable|poor|too little") == (threshold_of(farming) < 0.8)
    assert ask(LandscapeType(), chip).truth == "farming landscape"
    for seed in range(20):
        for question in compose(chip, [], np.random.default_rng(seed)):
            assert check(question, chip.labelled) == ()


def test_kinds_of_all_known_classes() -> None:
    expected = {
        "agro-forestry area": "crop", "transitional woodland-shrub": "shrub", "inland wetland": "wetland",
        "heathland or sclerophyllous vegetation": "shrub", "natural grassland or sparse vegetation": "grass",
        "farmland with natural vegetation": "crop", "beach, dune or sand": "bare", "marine water": "water",
        "destroyed building": "ruin", "undamaged building": "building", "urban fabric": "developed",
        "broad-leaved forest": "forest", "tree": "forest", "savanna": "grass", "road": "developed", "flood": "flood",
        "industrial or commercial unit": "developed", "complex cultivation pattern": "crop", "cloud": "cloud",
        "something else": "other",
    }  # fmt: skip
    assert {name: kind_of(name) for name in expected} == expected
