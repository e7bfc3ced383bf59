"""What a survey works out once, against `terrascope.spatial` and numpy on the masks themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from tests.tasks.drawn_scenes import draw

from terrascope import masks, spatial
from terrascope.georeference import Georeference
from terrascope.landcover import TERRASCOPE, UNLABELLED
from terrascope.scene import LabelMap
from terrascope.tasks import TASKS, LabelledScene
from terrascope.tasks import survey as survey_module
from terrascope.tasks.regions import find_objects
from terrascope.tasks.survey import Region, Survey
from terrascope.trace import Tolerance

PLACES = {
    "stated": Georeference(gsd_m=0.7),
    "utm": Georeference(crs=CRS.from_epsg(32633), transform=Affine(10, 0, 5e5, 0, -10, 5e6)),
    "turned": Georeference(crs=CRS.from_epsg(2154), transform=Affine(8, 6, 7e5, 6, -8, 6.6e6)),
    "degrees": Georeference(crs=CRS.from_epsg(4326), transform=Affine(1e-4, 0, 10, 0, -1e-4, 61)),
}


def draw_ragged(seed: int, place: Georeference) -> LabelledScene:
    """Few to many classes in few to many pieces, holes in what is known, any shape from a line to a square."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    scale = int(rng.integers(1, 9))
    coarse = rng.integers(0, rng.integers(1, 7), (height // scale + 1, width // scale + 1))
    ids = np.kron(coarse, np.ones((scale, scale), int))[:height, :width].astype(np.uint8)
    ids[rng.random(ids.shape) < 0.05] = UNLABELLED
    ids[rng.random(ids.shape) < 0.02] = 9
    return LabelledScene(
        labels=(LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=tuple(range(8))),),
        valid=rng.random(ids.shape) < (0.9 if seed % 2 else 1.0),
        pixel_size=place.pixel_size(height, width),
    )


def pairs(survey: Survey) -> list[tuple[Region, Region]]:
    present = [region for region in survey.regions if region.num_pixels]
    return [(a, b) for a in present for b in present if a is not b]


@pytest.mark.parametrize("seed", range(40))
def test_regions_measure_what_their_masks_do(seed: int) -> None:
    labelled = draw_ragged(seed, PLACES["stated"])
    survey, pixel_size = labelled.surveys[0], labelled.pixel_size
    assert pixel_size is not None
    ids = labelled.labels[0].ids
    measured = labelled.valid & (ids != UNLABELLED)
    assert (labelled.measured(0) == measured).all()
    if not measured.any():
        assert survey.regions == ()
        return
    assert [region.class_id for region in survey.regions] == list(range(8))
    for region in survey.regions:
        mask = (ids == region.class_id) & measured
        assert (region.mask == mask).all()
        assert region.coverage == spatial.coverage(mask, measured)
        assert region.num_objects == spatial.count_objects(mask)
        assert region.area_m2 == spatial.area_m2(mask, pixel_size)
        if mask.any():
            assert region.position == spatial.position(mask, labelled.valid)
            rows, columns = np.nonzero(mask)
            assert region.spread == pytest.approx((rows.std(), columns.std()), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_pairs_are_as_far_apart_as_their_masks(seed: int) -> None:
    survey = draw_ragged(seed, PLACES["stated"]).surveys[0]
    for first, second in pairs(survey):
        assert survey.are_adjacent(first, second) == spatial.are_adjacent(first.mask, second.mask)
        distance_px = spatial.distance_px(first.mask, second.mask)
        for least in (0.0, 1.0, 1.2, 1.5, 2.0, 2.9, 3.0, 3.5, 4.4, 7.0, distance_px, distance_px + 1e-9):
            assert survey.are_apart(first, second, least) == (distance_px >= least)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("many_pixels", [0, 20_000])
def test_distances_on_the_ground(place: str, many_pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "_MANY_PIXELS", many_pixels)
    num_compared = 0
    for seed in range(12):
        labelled = draw_ragged(seed, PLACES[place])
        assert labelled.pixel_size is not None
        for first, second in pairs(labelled.surveys[0])[:6]:
            expected = spatial.distance_m(first.mask, second.mask, labelled.pixel_size)
            assert labelled.surveys[0].distance_m(first, second) == pytest.approx(expected, rel=1e-9)
            num_compared += 1
    assert num_compared > 20


def test_numbered_objects_count_where_they_are_mostly_of_the_class() -> None:
    for seed in range(0, 60, 3):
        labelled = draw(seed)
        for survey in labelled.surveys:
            objects, measured = survey.label_map.objects, labelled.measured(survey.date)
            assert objects is not None
            for region in survey.regions:
                wanted = [
                    number
                    for number in range(1, int(objects.max()) + 1)
                    if 2 * (region.mask & (objects == number)).sum() > (objects == number).sum()
                ]
                mask = np.isin(objects, wanted) & measured
                found = find_objects(region, Tolerance())
                accepted = Tolerance().accepts_count(len(wanted), spatial.count_objects(mask))
                assert (found is not None) == accepted
                if found is not None:
                    assert found[1] == len(wanted)
                    assert (found[0].mask == mask).all()
                    assert found[0].coverage == spatial.coverage(mask, measured)


def test_the_number_of_objects_is_that_of_the_mask_where_none_are_numbered() -> None:
    labelled = draw(1)
    for region in labelled.surveys[0].regions:
        assert find_objects(region, Tolerance()) == (region, spatial.count_objects(region.mask))


def test_a_label_map_is_measured_once_for_all_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    labelled = draw(1)
    calls: list[NDArray[np.bool_]] = []
    label_components = masks.label_components

    def counted(mask: NDArray[np.bool_], **how: object) -> tuple[NDArray[np.int32], int]:
        calls.append(mask)
        return label_components(mask)

    monkeypatch.setattr(masks, "label_components", counted)
    asked = [
        task.ask(labelled, np.random.default_rng(seed), with_options=False)
        for seed in range(5)
        for task in TASKS.values()
    ]
    num_present = sum(bool(region.num_pixels) for survey in labelled.surveys for region in survey.regions)
    assert sum(question is not None for question in asked) > 15
    assert 0 < len(calls) <= num_present


def test_a_scene_with_another_truth_is_measured_anew() -> None:
    labelled = draw(1)
    before = labelled.surveys[0].num_measured
    half = labelled.valid.copy()
    half[:, ::2] = False
    assert replace(labelled, valid=half).surveys[0].num_measured < before
    assert labelled.surveys[0].num_measured == before
