"""Generated scenes: the same seed gives the same scene, and images and truth say the same thing."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from terrascope.errors import SceneError
from terrascope.landcover import TERRASCOPE
from terrascope.sources import open_source
from terrascope.sources.synthetic import (
    BANDS,
    DEMO_SEED,
    ID,
    SURFACES,
    SyntheticSample,
    demo_scene,
    fractal_noise,
    make_sample,
)

SIZE = 96


@cache
def countries() -> list[SyntheticSample]:
    return [make_sample(seed, size=SIZE, kind="country", num_dates=2, cloudy=False) for seed in range(30)]


@cache
def towns() -> list[SyntheticSample]:
    return [make_sample(seed, size=192, kind="town", num_dates=2, cloudy=False) for seed in range(15)]


def touching(mask: np.ndarray) -> np.ndarray:
    """Every pixel within one step of the mask, diagonals included."""
    return ndimage.binary_dilation(mask, np.ones((3, 3), bool))


def test_the_same_arguments_give_the_same_scene_bit_for_bit() -> None:
    first, again = make_sample(11, size=SIZE), make_sample(11, size=SIZE)
    assert len(first.labels) == len(again.labels) == len(first.scene.pairs)
    for a, b in zip(first.scene.observations, again.scene.observations, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        assert a.georeference == b.georeference
    for a, b in zip(first.labels, again.labels, strict=True):
        np.testing.assert_array_equal(a.ids, b.ids)
    for a, b in zip(first.clouds, again.clouds, strict=True):
        np.testing.assert_array_equal(a, b)
    other = make_sample(12, size=SIZE)
    assert not np.array_equal(first.scene.observations[0].pixels, other.scene.observations[0].pixels)


def test_kind_dates_and_clouds_are_as_asked_and_otherwise_drawn_in_their_shares() -> None:
    drawn = [make_sample(seed, size=32) for seed in range(200)]
    rural = sum(ID["grass"] in s.labels[0].class_ids_known and ID["snow"] in s.labels[0].class_ids_known for s in drawn)
    cloudy = sum(bool(sample.clouds[0].any()) for sample in drawn)
    # Within three standard deviations of 70 %, 50 % and 35 % of 200.
    assert 120 <= rural <= 160
    assert 79 <= sum(len(sample.labels) == 2 for sample in drawn) <= 121
    assert 49 <= cloudy <= 91


def test_labels_hold_only_classes_that_the_map_vouches_for() -> None:
    for label_map in (label_map for sample in [*countries(), *towns()] for label_map in sample.labels):
        assert set(np.unique(label_map.ids)) <= set(label_map.class_ids_known)
        assert label_map.nomenclature is TERRASCOPE


def test_what_only_a_later_date_can_show_is_known_from_the_second_date_on() -> None:
    before, after = countries()[0].labels
    assert set(after.class_ids_known) - set(before.class_ids_known) == {ID["flood"]}
    before, after = towns()[0].labels
    assert set(after.class_ids_known) - set(before.class_ids_known) == {ID["destroyed building"]}


def test_floods_come_on_the_second_date_over_dry_land() -> None:
    flooded = 0
    for sample in countries():
        before, after = (label_map.ids for label_map in sample.labels)
        flood = after == ID["flood"]
        assert not (before == ID["flood"]).any()
        assert not np.isin(before[flood], [ID["water"], ID["snow"]]).any()
        np.testing.assert_array_equal(after[~flood], before[~flood])
        flooded += bool(flood.any())
    assert 15 <= flooded <= 29, "about three quarters of 30 scenes are flooded"


def test_destroyed_buildings_were_buildings() -> None:
    struck = 0
    for sample in towns():
        before, after = (label_map.ids for label_map in sample.labels)
        ruins = after == ID["destroyed building"]
        assert (before[ruins] == ID["building"]).all()
        np.testing.assert_array_equal(after[~ruins], before[~ruins])
        struck += bool(ruins.any())
    assert struck >= 8, "most of 15 towns are struck"


def test_objects_are_the_components_of_the_building_mask() -> None:
    num_houses = 0
    for sample in towns():
        label_map = sample.labels[0]
        building = label_map.mask(ID["building"])
        components, num = ndimage.label(building, np.ones((3, 3)))
        if label_map.objects is None:
            assert num == 0
            continue
        np.testing.assert_array_equal(label_map.objects > 0, building)
        for number in range(1, num + 1):
            assert len(np.unique(label_map.objects[components == number])) == 1
        assert len(np.unique(label_map.objects[building])) == num
        num_houses += num
        # The gap: one step around a house there is no other house, and none one step further.
        for number in np.unique(label_map.objects[building]):
            around = touching(touching(label_map.objects == number))
            assert set(np.unique(label_map.objects[around])) <= {0, number}
    assert num_houses > 60
    assert countries()[0].labels[0].objects is None


@pytest.mark.parametrize("kind", ["country", "town"])
def test_clouds_change_the_optical_image_under_them_and_nothing_else(kind: str) -> None:
    for seed in range(5):
        clear, cloudy = (make_sample(seed, size=SIZE, kind=kind, num_dates=1, cloudy=c) for c in (False, True))
        np.testing.assert_array_equal(clear.labels[0].ids, cloudy.labels[0].ids)
        cloud = cloudy.clouds[0]
        assert not clear.clouds[0].any()
        assert 0.04 <= cloud.mean() <= 0.51
        before, after = (s.scene.pairs[0].optical.pixels for s in (clear, cloudy))  # type: ignore[union-attr]
        # The veil is a Gaussian of sigma 2 pixels, cut at 8: beyond it the ground is untouched.
        far = ~ndimage.binary_dilation(cloud, np.ones((17, 17), bool))
        np.testing.assert_array_equal(before[:, far], after[:, far])
        deep = ndimage.binary_erosion(cloud, iterations=3, border_value=1) & (clear.labels[0].ids != ID["snow"])
        assert after[0, deep].mean() > 0.3, "a cloud is bright in the blue"
        if (far & (clear.labels[0].ids != ID["snow"])).any():
            assert after[0, deep].mean() > 2 * before[0, deep].mean()


def test_radar_sees_through_clouds() -> None:
    gaps = []
    for seed in range(12):
        sample = make_sample(seed, size=SIZE, kind="country", num_dates=1, cloudy=True)
        ids, cloud = sample.labels[0].ids, sample.clouds[0]
        vv = sample.scene.pairs[0].sar.band("VV")  # type: ignore[union-attr]
        for class_id in np.unique(ids):
            under, clear = (ids == class_id) & cloud, (ids == class_id) & ~cloud
            if min(under.sum(), clear.sum()) > 300 and class_id != ID["crop"]:
                gaps.append(float(vv[under].mean() - vv[clear].mean()))
    assert len(gaps) >= 8
    assert abs(np.mean(gaps)) < 0.3 and np.abs(gaps).max() < 1.5, "in dB: below the terrain's own variation"


def test_water_is_darker_than_land_in_radar() -> None:
    gaps = []
    for sample in countries():
        wet = sample.labels[0].mask(ID["water"])
        if min(wet.mean(), 1 - wet.mean()) < 0.03:
            continue
        vv = sample.scene.pairs[0].sar.band("VV")  # type: ignore[union-attr]
        gaps.append(float(vv[~wet].mean() - vv[wet].mean()))
    assert len(gaps) >= 10
    assert min(gaps) > 3.0 and 5.0 < np.mean(gaps) < 13.0


def test_speckle_has_the_mean_of_its_class() -> None:
    water = np.concatenate(
        [s.scene.pairs[0].sar.pixels[:, s.labels[0].mask(ID["water"])].mean(1)[None] for s in countries()  # type: ignore[union-attr]
         if s.labels[0].mask(ID["water"]).mean() > 0.05]
    )  # fmt: skip
    # Speckle of 4 to 10 looks lowers a mean in dB by 0.2 to 0.6.
    np.testing.assert_allclose(water.mean(0), np.array(SURFACES["water"][1]) - 0.4, atol=1.0)


def class_means(name: str, samples: list[SyntheticSample]) -> np.ndarray:
    """Mean spectrum `[6]` of a class over the scenes that hold at least 30 pixels of it, far from its border."""
    spectra = []
    for sample in samples:
        inner = ndimage.binary_erosion(sample.labels[0].mask(ID[name]), iterations=2)
        if inner.sum() >= 30:
            spectra.append(sample.scene.pairs[0].optical.pixels[:, inner].mean(1))  # type: ignore[union-attr]
    assert len(spectra) >= 4
    return np.mean(spectra, axis=0)


def test_spectra_stand_in_their_natural_order() -> None:
    water, tree, grass, crop, bare = (
        class_means(n, countries()) for n in ("water", "tree", "grass", "crop", "bare land")
    )
    red, nir, swir = BANDS.index("B04"), BANDS.index("B8A"), BANDS.index("B11")
    for plant in (tree, grass, crop):
        assert plant[nir] > 4 * water[nir]
        assert plant[nir] > 1.8 * plant[red], "vegetation is bright in the near infrared and dark in the red"
    assert water[nir] < water[red]
    assert tree[red] < grass[red] < bare[red]
    assert bare[swir] > bare[nir] > bare[red]


def test_scale_is_stated_and_fits_the_kind_of_place() -> None:
    assert {s.scene.georeference.gsd_m for s in countries()} == {10.0, 20.0, 30.0}
    assert {s.scene.georeference.gsd_m for s in towns()} == {0.5, 1.0, 2.0}
    for observation in towns()[0].scene.observations:
        assert observation.georeference.gsd_m == towns()[0].scene.georeference.gsd_m
    assert countries()[0].scene.georeference.pixel_size(SIZE, SIZE).basis.startswith("stated")


def test_images_are_reflectance_and_decibels_everywhere_measured() -> None:
    for sample in (countries()[0], towns()[0]):
        for pair in sample.scene.pairs:
            assert pair.optical is not None and pair.sar is not None
            assert pair.optical.bands == BANDS and pair.sar.bands == ("VV", "VH")
            assert pair.optical.valid.all() and pair.sar.valid.all()
            assert pair.optical.pixels.min() >= 0 and pair.optical.pixels.max() <= 1.2
            assert pair.sar.pixels.min() > -60 and pair.sar.pixels.max() < 20


def test_noise_has_zero_mean_and_unit_deviation_and_is_smooth() -> None:
    smooth, rough = (fractal_noise(np.random.default_rng(0), 64, exponent) for exponent in (2.0, 0.0))
    for field in (smooth, rough):
        assert abs(field.mean()) < 1e-12 and abs(field.std() - 1) < 1e-9
    assert np.abs(np.diff(smooth)).mean() < 0.3 * np.abs(np.diff(rough)).mean()


def test_the_demo_scene_lies_in_utm_with_pixels_of_ten_metres() -> None:
    scene = demo_scene()
    assert scene.shape == (256, 256) and len(scene.pairs) == 1
    crs = scene.georeference.crs
    assert crs is not None and crs.to_epsg() == 32632 and scene.georeference.gsd_m is None
    size = scene.georeference.pixel_size(*scene.shape)
    # UTM is true to scale within 0.04 % .. 0.1 % in its zone.
    np.testing.assert_allclose(size.width_m, 10.0, rtol=2e-3)
    np.testing.assert_allclose(size.area_m2, 100.0, rtol=4e-3)
    made = make_sample(DEMO_SEED, kind="country", num_dates=1, cloudy=True)
    np.testing.assert_array_equal(scene.observations[0].pixels, made.scene.observations[0].pixels)
    assert made.clouds[0].any() and made.labels[0].mask(ID["water"]).any()


def test_a_source_gives_scenes_of_the_kind_and_dates_that_it_was_asked_for() -> None:
    towns = open_source("synthetic", "3", kind="town", num_dates="2", size="64", called="towns")
    keys = [entry.key for entry in towns.index("train").entries]
    assert keys == ["0", "1", "2"]
    for key in keys:
        chip = towns.read(key)
        expected = make_sample(int(key), size=64, kind="town", num_dates=2, cloudy=False)
        assert chip.source == "towns" and len(chip.scene.pairs) == 2
        assert all(np.array_equal(a.ids, b.ids) for a, b in zip(chip.labels, expected.labels, strict=True))
        assert TERRASCOPE.id_of("building") in chip.labels[0].class_ids_known
    with pytest.raises(SceneError, match="of the kind country or town, got kind=village"):
        open_source("synthetic", "3", kind="village")
    with pytest.raises(SceneError, match="have 1 or 2 dates, got num_dates=3"):
        open_source("synthetic", "3", num_dates=3)
