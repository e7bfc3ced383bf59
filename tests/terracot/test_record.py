"""What is kept of a chip: its samples, which read back as the questions that they were, and a note of itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stripes import GSD_M, HEIGHT, NORTH_M, WATER, WIDTH, make_chip, water_question
from terrascope.georeference import Georeference
from terrascope.landcover import UNLABELLED
from terrascope.sample import Sample, SampleImage
from terrascope.scene import LabelMap, Scene
from terrascope.sources.chips import Chip, Origin
from terrascope.tasks import Question
from terrascope.terracot.record import ChipRecord, box_around, record_chip, to_question, to_sample
from terrascope.trace import Step, Trace


def two_dates(chip: Chip) -> Chip:
    (image,) = chip.scene.observations
    later = replace(image, date=None, pixels=image.pixels + 1)
    return replace(chip, scene=Scene.of(optical=[image, later]), labels=chip.labels * 2)


def pointing(chip: Chip) -> Question:
    """Three steps: on image 2, on the image named last, on image 1."""
    water = chip.labels[0].mask(WATER)
    steps = (
        Step(text="The water:", image=2, finding="It covers 17% of the image.", mask=water),
        Step(text="The rest:", mask=~water),
        Step(text="The upper half:", image=1, mask=np.arange(HEIGHT)[:, None] < np.full(WIDTH, HEIGHT // 2)),
    )
    return Question(
        task="area",
        text="Which is larger?",
        options=("water", "the rest"),
        trace=Trace(steps=steps, conclusion="So the answer is B.", answer="B"),
        truth="the rest",
        value=80.5,
        unit="%",
        classes=("water", "tree", "crop"),
    )


def test_a_sample_says_all_of_its_question_and_scene() -> None:
    chip = two_dates(make_chip(3))
    question = pointing(chip)
    sample = to_sample(chip, question, level="L1", number=2, writer="composer", labels="refined", root=Path("/data"))
    assert (sample.id, sample.level, sample.task) == ("stripes/3/L1/2", "L1", "area")
    assert (sample.source, sample.key, sample.place, sample.split) == ("stripes", "3", "place 1", "train")
    assert (sample.height, sample.width, sample.writer, sample.labels) == (HEIGHT, WIDTH, "composer", "refined")
    assert (sample.question, sample.options, sample.truth) == (question.text, question.options, "the rest")
    assert (sample.value, sample.unit, sample.answer) == (80.5, "%", "B")
    assert [mask.image for mask in sample.masks] == [2, 2, 1]
    assert sample.classes == ("water", "tree", "crop")
    for index, step in enumerate(question.trace.steps):
        np.testing.assert_array_equal(sample.mask(index), step.mask)
    named = "stripes/images/3.tif"
    assert sample.images == (
        SampleImage(number=1, modality="optical", sensor="rgb", day="2021-06-04", file=named),
        SampleImage(number=2, modality="optical", sensor="rgb", day=None, file=named),
    )


def test_place_and_scale_are_those_of_the_middle_of_the_grid() -> None:
    sample = to_sample(make_chip(0), pointing(two_dates(make_chip(0))), level="L1", number=1)
    # UTM's central meridian, 120 m to the east; a degree of latitude is 111.2 km there, one of longitude 74.9 km.
    assert sample.lon == pytest.approx(9 + 120 / 74_900, abs=1e-5)
    assert sample.lat == pytest.approx(47.853, abs=2e-3)
    assert sample.gsd_m == pytest.approx(GSD_M / 0.9996, rel=1e-4), "the ground is larger than the map"


def test_a_stated_place_is_taken_and_an_unknown_scale_stays_unknown() -> None:
    chip = make_chip(0)
    (image,) = chip.scene.observations
    bare = replace(chip, scene=Scene.of(optical=[replace(image, georeference=Georeference())]))
    sample = to_sample(bare, pointing(two_dates(chip)), level="L1", number=1)
    assert (sample.gsd_m, sample.lon, sample.lat) == (None, None, None)
    stated = to_sample(replace(bare, lonlat=(11.5, -2.25)), pointing(two_dates(chip)), level="L1", number=1)
    assert (stated.lon, stated.lat) == (11.5, -2.25)


def test_a_question_comes_back_from_its_row() -> None:
    chip = two_dates(make_chip(3))
    question = pointing(chip)
    sample = to_sample(chip, question, level="L1", number=1)
    assert Sample.from_row(sample.to_row()) == sample
    read = to_question(Sample.from_row(sample.to_row()))
    assert read == question
    for step, original in zip(read.trace.steps, question.trace.steps, strict=True):
        np.testing.assert_array_equal(step.mask, original.mask)


def test_files_are_named_without_folders_of_this_machine() -> None:
    chip = make_chip(5)
    question = water_question(chip, "area", "How much?", "17%")
    sample = to_sample(chip, question, level="L1", number=1)
    assert sample.images[0].file == "5.tif"
    (image,) = chip.scene.observations
    generated = replace(chip, scene=Scene.of(optical=[replace(image, source="generated, seed 7")]))
    assert to_sample(generated, question, level="L1", number=1).images[0].file == "generated, seed 7"


@pytest.mark.parametrize("fault", ["classes", "mask"])
def test_a_question_without_class_or_mask_for_a_step_is_a_bug(fault: str) -> None:
    chip = make_chip(0)
    question = water_question(chip, "area", "How much?", "17%")
    if fault == "classes":
        question, words = replace(question, classes=()), "area: 0 classes for 1 grounded steps"
    else:
        step = replace(question.trace.steps[0], mask=None)
        question = replace(question, trace=replace(question.trace, steps=(step,)))
        words = "area: the step 'The water:' has no mask"
    with pytest.raises(ValueError, match=words):
        to_sample(chip, question, level="L1", number=1)


def test_the_note_of_a_chip_knows_its_content_and_not_its_name() -> None:
    chip, renamed = make_chip(3), replace(make_chip(3), source="other", key="x", place="y")
    note = record_chip(chip)
    assert note.contents == record_chip(renamed).contents
    assert [content.split(":")[0] for content in note.contents] == ["image", "labels"]
    assert set(note.contents).isdisjoint(record_chip(make_chip(4)).contents)
    other_light = record_chip(make_chip(3, seed=99))
    assert set(note.contents) & set(other_light.contents) == {note.contents[1]}, "one place, another image"
    assert note.num_measured == (HEIGHT * WIDTH,)


def test_what_is_alike_everywhere_tells_nothing() -> None:
    chip = make_chip(0)
    (image,) = chip.scene.observations
    blank = replace(image, pixels=np.zeros_like(image.pixels))
    ids = np.full((HEIGHT, WIDTH), WATER, np.uint8)
    ids[0] = UNLABELLED
    even = LabelMap(ids=ids, nomenclature=chip.labels[0].nomenclature, class_ids_known=(WATER,))
    note = record_chip(replace(chip, scene=Scene.of(optical=[blank]), labels=(even,)))
    assert note.contents == ()
    assert note.num_measured == ((HEIGHT - 1) * WIDTH,)


def test_the_footprint_is_the_four_corners_of_the_grid() -> None:
    footprint = record_chip(make_chip(0)).footprint
    assert footprint is not None
    from pyproj import Transformer

    to_map = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    found = np.column_stack(to_map.transform(*np.array(footprint).T))
    east, south = 500_000 + WIDTH * GSD_M, NORTH_M - HEIGHT * GSD_M
    np.testing.assert_allclose(found, [(500_000, NORTH_M), (east, NORTH_M), (east, south), (500_000, south)], atol=0.05)


def test_a_stated_centre_gives_a_box() -> None:
    box = box_around((10.0, 60.0), 100.0, (200, 400))
    assert box is not None
    lon, lat = np.array(box).T
    assert np.ptp(lat) == pytest.approx(20_000 / 111_320)
    assert np.ptp(lon) == pytest.approx(2 * 40_000 / 111_320), "at 60 degrees, a degree is half as wide"
    assert (lon.mean(), lat.mean()) == (pytest.approx(10), pytest.approx(60))
    assert box_around(None, 10.0, (2, 2)) is None and box_around((0.0, 0.0), None, (2, 2)) is None


def test_a_note_survives_json() -> None:
    import json

    came_back = replace(make_chip(1), origins=(Origin("d", "e", "f"),))
    for note in (record_chip(came_back), ChipRecord(source="a", key="b", place="c")):
        assert ChipRecord.from_json(json.loads(json.dumps(note.to_json()))) == note
