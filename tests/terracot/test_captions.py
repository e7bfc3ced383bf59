"""Captions: true of their masks, grounded, in good English, and not all alike."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from terracot.drawn_chips import chip_of, drawn, paint
from terrascope.landcover import CORINE_19, TERRASCOPE, UNLABELLED, XBD_DAMAGE
from terrascope.tasks import Question
from terrascope.terracot.captions import CaptionSettings, describe
from terrascope.terracot.captions.places import Place, direction_between, place_of
from terrascope.terracot.captions.setting import setting_of
from terrascope.terracot.layout import lay_out
from terrascope.terracot.nouns import NOUNS, Noun
from terrascope.terracot.verify import check
from terrascope.trace import parse, render


def caption(chip, seed: int = 0, **settings: float) -> Question:
    question = describe(chip, np.random.default_rng(seed), CaptionSettings(**settings) if settings else None)
    assert question is not None
    return question


def captions(num: int = 120) -> list[tuple[object, Question]]:
    return [(chip, caption(chip, seed)) for seed, chip in enumerate(drawn(num))]


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.])\s+", text)


def test_every_caption_is_true_of_its_masks() -> None:
    for chip, question in captions():
        assert check(question, chip.labelled) == (), render(question.trace)


def test_shares_areas_and_counts_are_those_of_the_mask_itself() -> None:
    """By scipy and plain sums, with none of the code under test; every number is looked at."""
    seen = {"share": 0, "patches": 0, "area": 0}
    for chip, question in captions(60):
        pixel_m2 = float(chip.labelled.pixel_size.area_m2[0])
        for step in question.trace.grounded_steps:
            share = 100 * step.mask[chip.labelled.valid].mean()
            for stated in re.findall(r"(\d+)% of the (?:image|scene)", step.finding):
                assert abs(int(stated) - share) <= 0.5 + 1e-9
                seen["share"] += 1
            for stated in re.findall(r"(\d+)(?: separate)? patches", step.finding):
                assert int(stated) == ndimage.label(step.mask, np.ones((3, 3)))[1]
                seen["patches"] += 1
            for stated, unit in re.findall(r"([\d.]+) (m2|ha|km2)\b", step.finding):
                metres = float(stated) * {"m2": 1, "ha": 1e4, "km2": 1e6}[unit]
                assert metres == pytest.approx(step.mask.sum() * pixel_m2, rel=0.051)
                seen["area"] += 1
    assert min(seen.values()) >= 40


def test_borders_that_are_told_are_there() -> None:
    """`It borders the crops` holds of the masks of the two classes, by scipy's dilation."""
    told = 0
    for _, question in captions():
        masks_of = {}
        for step, name in zip(question.trace.grounded_steps, question.classes, strict=True):
            named = re.search(r"(?:border|touch|meet|adjacent to|next to|boundary with)s? (the [^.]*)\.", step.finding)
            if named and "not touch" not in step.finding:
                for (other, image), mask in masks_of.items():
                    words = NOUNS.get(other, (other,))
                    if image == step.image and any(re.search(rf"the {word}\b", named[1]) for word in words):
                        assert (ndimage.binary_dilation(mask) & step.mask).any()
                        told += 1
            masks_of[name, step.image] = step.mask
    assert told >= 50


def test_the_reasoning_reads_back_with_its_steps() -> None:
    for chip, question in captions():
        assert parse(render(question.trace)) == question.trace
        assert len(question.classes) == len(question.trace.grounded_steps) >= 1
        assert question.trace.answer == question.truth
        several = len(chip.labels) > 1
        assert all((step.image is not None) == several for step in question.trace.grounded_steps)


def test_the_largest_class_comes_first_and_small_ones_have_no_mask() -> None:
    for chip, question in captions():
        measured = chip.labelled.measured(0)
        shares = {
            TERRASCOPE[int(i)].name: float((chip.labels[0].ids[measured] == i).mean())
            for i in np.unique(chip.labels[0].ids)
        }
        assert question.classes[0] == max(shares, key=lambda name: shares[name])
        for step in question.trace.grounded_steps:
            assert step.mask is not None
            assert step.mask.sum() >= 0.002 * measured.sum()


def test_captions_are_two_to_four_sentences_of_clean_english() -> None:
    for _, question in captions():
        found = sentences(question.truth)
        assert 2 <= len(found) <= 4, question.truth
        everything = " ".join(
            (question.text, question.truth, *(step.finding for step in question.trace.grounded_steps))
        )
        assert "{" not in everything and "  " not in everything and "None" not in everything
        assert not re.search(r"\s[.,;]|[.,;]{2}|\b(\w+) \1\b", everything), everything
        assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in found), question.truth


@pytest.mark.parametrize("plural", [True, False])
def test_verbs_agree_with_their_subjects(plural: bool) -> None:
    """At the beginning of a sentence the class is the subject: `Crops cover`, `Water covers`."""
    words = [word for nouns in NOUNS.values() for word in nouns if (word[-1] == "s" and word[-2] != "s") == plural]
    wrong = (
        r"covers|takes|makes|lies|is|has|borders|forms|follows" if plural else r"cover|take|make|lie|are|have|border"
    )
    pattern = re.compile(rf"(?:^|[.;] )(?:the )?(?:{'|'.join(words)}) (?:{wrong})\b", re.I)
    pronoun = re.compile(r"(?:^|[.;] )(?:They (?:covers|takes|is|has|lies)|It (?:cover|take|are|have|lie))\b")
    right = 0
    for _, question in captions():
        for text in (question.truth, *(step.finding for step in question.trace.steps)):
            assert not pattern.search(text), text
            assert not pronoun.search(text), text
            right += bool(re.search(rf"(?:^|[.] )(?:{'|'.join(words)}) (?:cover|take|is|are)", text, re.I))
    assert right >= 5


def test_thousands_of_forms() -> None:
    """Sentences that differ in more than their numbers."""
    forms, openings = set(), set()
    for seed in range(4):
        for number, chip in enumerate(drawn(120)):
            question = caption(chip, 1000 * seed + number)
            forms |= {re.sub(r"[\d.]+", "#", sentence) for sentence in sentences(question.truth)}
            openings.add(re.sub(r"[\d.]+", "#", question.truth))
    assert len(openings) >= 470
    assert len(forms) >= 1000


def test_the_same_generator_says_the_same() -> None:
    for seed, chip in enumerate(drawn(10)):
        assert caption(chip, seed) == caption(chip, seed)


def test_nothing_is_said_of_what_is_not_known() -> None:
    nothing = paint()
    assert describe(chip_of(nothing), np.random.default_rng(0)) is None
    assert describe(replace(chip_of(nothing), labels=()), np.random.default_rng(0)) is None
    assert describe(chip_of(np.full_like(nothing, UNLABELLED)), np.random.default_rng(0)) is None
    unknown = chip_of(paint(("water", (0, 50, 0, 100)), background="tree"), known=("tree",))
    for seed in range(20):
        question = caption(unknown, seed)
        assert set(question.classes) == {"tree"} and "water" not in render(question.trace)


def test_metres_need_a_scale() -> None:
    chip = chip_of(paint(("water", (0, 20, 0, 100)), ("crop", (60, 100, 0, 50)), background="tree"), gsd_m=None)
    for seed in range(60):
        question = caption(chip, seed)
        assert check(question, chip.labelled) == ()
        assert not re.search(r"\d (?:m|m2|ha|km|km2)\b", render(question.trace))


def test_an_island_is_enclosed_and_a_strip_is_long() -> None:
    chip = chip_of(paint(("water", (0, 100, 0, 60)), ("crop", (40, 60, 20, 40)), background="tree"), country="Chad")
    said = {caption(chip, seed).trace.grounded_steps[2].finding for seed in range(80)}
    assert any("enclosed by" in finding or "completely surrounded by" in finding for finding in said)
    strip = chip_of(paint(("water", (0, 100, 48, 56)), background="tree"))
    assert any("from north to south" in caption(strip, seed).trace.grounded_steps[1].finding for seed in range(20))
    assert any("Chad" in render(caption(chip, seed).trace) for seed in range(20))


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((0, 30, 70, 100), Place("part", "northeast")),
        ((35, 65, 35, 65), Place("center")),
        ((85, 100, 0, 100), Place("edge", "south")),
        ((0, 45, 0, 100), Place("half", "north")),
        ((0, 100, 40, 60), Place("band", "from north to south")),
        ((0, 45, 5, 45), Place("corner", "northwest")),
        ((0, 100, 0, 100), Place("everywhere")),
    ],
)
def test_places(box: tuple[int, int, int, int], place: Place) -> None:
    layout = lay_out(chip_of(paint(("water", box))).labelled)
    assert place_of(layout.covers[0][0]) == place


def test_one_lies_north_of_another_only_if_its_bulk_does() -> None:
    apart = lay_out(chip_of(paint(("water", (0, 20, 0, 100)), ("crop", (60, 100, 0, 100)))).labelled)
    crop, water = apart.covers[0]
    assert (direction_between(water, crop), direction_between(crop, water)) == ("north", "south")
    stripes = [("water", (top, top + 10, 0, 100)) for top in (0, 40, 80)]
    mixed = lay_out(chip_of(paint(*stripes, background="crop")).labelled)
    assert direction_between(*mixed.covers[0]) == ""
    corner = lay_out(chip_of(paint(("water", (0, 20, 80, 100)), ("crop", (60, 100, 0, 40)))).labelled)
    assert direction_between(corner.cover("water", 0), corner.cover("crop", 0)) == "northeast"


def test_a_flood_is_new_only_where_the_first_map_vouches_for_it() -> None:
    before, after = paint(), paint(("flood", (0, 30, 0, 100)))
    for seed in range(10):
        question = caption(chip_of(before, after, known=("flood",)), seed)
        assert question.classes == ("flood",) and question.trace.grounded_steps[0].image == 2
        assert "no flood" in question.truth and "30%" in question.trace.grounded_steps[0].finding


def test_a_class_that_changes_is_shown_before_and_after() -> None:
    before = paint(("crop", (0, 50, 0, 100)), background="tree")
    after = paint(("crop", (0, 50, 0, 100)), ("flood", (0, 20, 0, 100)), background="tree")
    for seed in range(20):
        question = caption(chip_of(before, after), seed)
        steps = [(n, s.image) for n, s in zip(question.classes, question.trace.grounded_steps, strict=True)]
        assert set(steps) == {("crop", 1), ("tree", 1), ("crop", 2), ("flood", 2)}
        assert "from 50% to 30%" in question.truth and "20%" in question.truth


def test_buildings_by_damage_are_seen_and_not_called_new() -> None:
    nomenclature = XBD_DAMAGE
    before = paint(("building", (0, 10, 0, 100)), nomenclature=nomenclature)
    after = paint(
        ("undamaged building", (0, 10, 0, 60)), ("destroyed building", (0, 10, 60, 100)), nomenclature=nomenclature
    )
    chip = chip_of(before, after, nomenclature=nomenclature)
    labels = tuple(
        replace(label_map, class_ids_known=known)
        for label_map, known in zip(chip.labels, ((0,), (1, 2, 3, 4)), strict=True)
    )
    chip = replace(chip, labels=labels)
    for seed in range(20):
        question = caption(chip, seed)
        assert check(question, chip.labelled) == ()
        assert question.classes == ("building", "undamaged building", "destroyed building")
        assert not re.search(r"newly|appear|spread|change|dominant|dominate", render(question.trace))


def test_another_nomenclature_is_spoken_of_in_its_own_words() -> None:
    ids = paint(
        ("coniferous forest", (0, 60, 0, 100)), ("inland water", (60, 85, 0, 100)), ("pasture", (85, 100, 0, 100)),
        nomenclature=CORINE_19,
    )  # fmt: skip
    chip = chip_of(ids, nomenclature=CORINE_19)
    for seed in range(20):
        question = caption(chip, seed)
        assert check(question, chip.labelled) == ()
        assert question.classes == ("coniferous forest", "inland water", "pasture")
        assert "coniferous forests" in question.truth.lower()


@pytest.mark.parametrize(
    ("plain", "singular"),
    [("cover", "covers"), ("take up", "takes up"), ("occupy", "occupies"), ("stretch", "stretches"), ("lie", "lies")],
)
def test_verb_forms(plain: str, singular: str) -> None:
    assert Noun(text="water", plural=False).verb(plain) == singular
    assert Noun(text="crops", plural=True).verb(plain) == plain


def test_a_sensor_is_named_only_where_its_pixels_fit() -> None:
    def words(gsd_m: float | None) -> str:
        return setting_of(chip_of(paint(background="crop"), gsd_m=gsd_m)).sensor

    assert [words(gsd_m) for gsd_m in (None, 20.0, 10.0, 0.5)] == ["Sentinel-2"] * 3 + ["multispectral"]
    for chip in drawn(20):
        assert "HLS" not in setting_of(chip).sensor


def test_numbered_buildings_are_counted_as_such() -> None:
    """Twenty buildings, two of which stand wall to wall: 19 patches in the mask."""
    objects = np.zeros((100, 100), np.int32)
    for number in range(20):
        row, column = divmod(number, 4)
        objects[20 * row : 20 * row + 10, 25 * column : 25 * column + 15] = number + 1
    objects[0:10, 15:25] = 1
    ids = np.where(objects > 0, TERRASCOPE.id_of("building"), TERRASCOPE.id_of("grass")).astype(np.uint8)
    said = [caption(chip_of(ids, objects=objects, gsd_m=0.5), seed) for seed in range(60)]
    text = " ".join(render(question.trace) for question in said)
    assert "There are 20 buildings." in text
    assert not re.search("(?:19|20) (?:separate |small )?patches", text)
