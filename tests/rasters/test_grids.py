"""Grids that coincide, overlap, or lie apart; and scenes whose images are brought onto one of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyproj import CRS, Transformer
from rasterio.errors import NotGeoreferencedWarning

from terrascope.errors import SceneError
from terrascope.georeference import Georeference
from terrascope.rasters.grids import Grid, check_box, describe_grid, part_in_box, shared_part
from terrascope.rasters.read import open_scene

MARS = 'GEOGCS["Mars",DATUM["Mars",SPHEROID["Mars",3396190,169.9]],PRIMEM["0",0],UNIT["degree",0.0174532925199433]]'


def located(height: int, width: int, transform: Affine, epsg: int = 32633) -> Grid:
    return Grid(height=height, width=width, georeference=Georeference(crs=CRS.from_epsg(epsg), transform=transform))


def utm(height: int, width: int, *, east: float = 0, south: float = 0, step: float = 10) -> Grid:
    return located(height, width, Affine(step, 0, 500_000 + east, 0, -step, 5_000_000 - south))


def optical_file(path: Path, height: int = 20, width: int = 30, value: int = 900, **profile) -> Path:
    profile = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000), **profile}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=3, height=height, width=width, dtype="uint16", **profile
        ) as dataset:
            dataset.write(np.full((3, height, width), value, np.uint16))
            for index, name in enumerate(("B02", "B03", "B04"), start=1):
                dataset.set_band_description(index, name)
    return path


@given(
    row=st.integers(-50, 50),
    column=st.integers(-50, 50),
    shift=st.sampled_from([0.0, 0.02, 0.3]),
    step=st.sampled_from([10.0, 20.0]),
)
def test_whole_shifts_are_known_and_others_are_none(row: int, column: int, shift: float, step: float) -> None:
    base = utm(40, 60)
    moved = utm(30, 20, east=10 * (column + shift), south=10 * row, step=step)
    expected = (row, column) if shift < 0.05 and step == 10 else None
    assert moved.offset_in(base) == expected
    assert base.equals(moved) is False


def test_a_grid_equals_itself_however_its_crs_is_written() -> None:
    grid = utm(5, 7)
    written = CRS.from_wkt(CRS.from_epsg(32633).to_wkt("WKT1_GDAL"))
    same = Grid(height=5, width=7, georeference=Georeference(crs=written, transform=grid.affine))
    assert grid.equals(grid) and grid.equals(same)
    assert not grid.equals(located(5, 7, grid.affine, epsg=32634))


@settings(deadline=None)
@given(data=st.data())
def test_shared_part_is_that_of_brute_force(data) -> None:
    reference = utm(30, 40)
    count = data.draw(st.integers(1, 3))
    grids, covered = [], np.ones((30, 40), bool)
    y, x = np.mgrid[0:30, 0:40] + 0.5
    for _ in range(count):
        east, south = data.draw(st.integers(-600, 600)), data.draw(st.integers(-600, 600))
        # Centres within a twentieth of a pixel of an edge may count as in or out.
        east, south = east + 5 * (east % 10 == 5), south + 5 * (south % 10 == 5)
        height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
        step = data.draw(st.sampled_from([10, 20, 30]))
        grids.append(utm(height, width, east=east, south=south, step=step))
        covered &= (
            (x * 10 > east) & (x * 10 < east + width * step) & (y * 10 > south) & (y * 10 < south + height * step)
        )
    part = shared_part(reference, grids)
    if not covered.any():
        assert part is None
        return
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    assert part == (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))


def test_a_box_in_degrees_is_widened_to_whole_pixels() -> None:
    grid = located(100, 200, Affine(0.01, 0, 10, 0, -0.01, 50), epsg=4326)
    assert part_in_box(grid, (10.5, 49.5, 11.0, 49.75)) == (slice(25, 50), slice(50, 100))
    assert part_in_box(grid, (10.501, 49.501, 10.999, 49.749)) == (slice(25, 50), slice(50, 100))
    assert part_in_box(grid, (9.0, 49.9, 10.015, 60.0)) == (slice(0, 10), slice(0, 2))
    assert part_in_box(grid, (20, 49, 21, 50)) is None
    assert part_in_box(grid, (-180, -90, 180, 90)) == grid.whole


def test_a_box_on_a_utm_grid_holds_the_places_in_it() -> None:
    grid = utm(400, 500)
    west, south, east, north = box = (15.01, 45.12, 15.03, 45.14)
    rows, columns = part_in_box(grid, box)
    y, x = np.mgrid[0:400, 0:500] + 0.5
    lon, lat = grid.georeference.to_lonlat(x, y)
    within = (lon > west) & (lon < east) & (lat > south) & (lat < north)
    part = np.zeros_like(within)
    part[rows, columns] = True
    assert (part | ~within).all()
    found_rows, found_columns = np.flatnonzero(within.any(axis=1)), np.flatnonzero(within.any(axis=0))
    assert 0 <= found_rows[0] - rows.start <= 1 and 0 <= rows.stop - 1 - found_rows[-1] <= 1
    assert 0 <= found_columns[0] - columns.start <= 1 and 0 <= columns.stop - 1 - found_columns[-1] <= 1


def test_boxes_across_the_antimeridian_and_on_grids_to_360() -> None:
    # Around Fiji a degree of longitude has 106 km, and the antimeridian lies 3 degrees east of the zone's middle.
    fiji = located(100, 400, Affine(1000, 0, 600_000, 0, -1000, 8_100_000), epsg=32760)
    _, columns = part_in_box(fiji, (179.5, -18.0, -179.5, -17.5))
    assert abs(columns.start - (500 + 2.5 * 106 - 600)) < 4
    assert abs(columns.stop - (500 + 3.5 * 106 - 600)) < 4
    to_360 = located(180, 360, Affine(1, 0, 0, 0, -1, 90), epsg=4326)
    assert part_in_box(to_360, (-80, 0, -70, 10)) == (slice(80, 90), slice(280, 290))


@pytest.mark.parametrize(
    "wrong",
    ["1,2,3,4", (1, 2, 3), (1, 2, 3, "x"), (1, 5, 3, 4), (1, 2, 1, 4), (0, -91, 1, 1), (float("nan"), 0, 1, 1), 7],
)
def test_what_is_no_box(wrong) -> None:
    with pytest.raises(SceneError, match="west, south, east and north in degrees"):
        check_box(wrong)


def test_descriptions_of_grids() -> None:
    assert describe_grid(utm(10, 10)) == "10 m, EPSG:32633"
    degrees = located(10, 10, Affine(1e-4, 0, 10, 0, -1e-4, 60), epsg=4326)
    assert describe_grid(degrees) == "5.58 m x 11.1 m, EPSG:4326"
    assert describe_grid(Grid(height=3, width=3, georeference=Georeference())) == "no CRS"


def test_the_overlap_is_used_and_reported(tmp_path: Path) -> None:
    moved = Affine(10, 0, 500_000 + 50, 0, -10, 5_000_000 - 70)
    optical = [optical_file(tmp_path / "a.tif"), optical_file(tmp_path / "b.tif", transform=moved, value=1800)]
    for in_memory_pixels in (10, 10_000):
        scene = open_scene(optical=optical, in_memory_pixels=in_memory_pixels)
        assert scene.shape == (13, 25)
        assert scene.notes == (
            "The images overlap in 25 x 13 of the 30 x 20 pixels of a.tif; the answer is about that part.",
        )
        assert all(image.georeference.transform == moved for image in scene.observations)
        np.testing.assert_allclose(scene.pairs[1].optical.band("B02"), 0.18, rtol=1e-5)


def test_another_crs_and_resolution_is_resampled_and_reported(tmp_path: Path) -> None:
    x, y = Transformer.from_crs(32633, 32634, always_xy=True).transform(500_150, 4_999_900)
    zone_34 = {"crs": "EPSG:32634", "transform": Affine(20, 0, x - 400, 0, -20, y + 400)}
    optical = [optical_file(tmp_path / "a.tif"), optical_file(tmp_path / "b.tif", 40, 40, **zone_34)]
    scene = open_scene(optical=optical)
    assert scene.shape == (20, 30)
    assert scene.notes == ("b.tif (20 m, EPSG:32634) was resampled onto the grid of a.tif (10 m, EPSG:32633).",)
    assert scene.pairs[1].optical.valid.all()
    np.testing.assert_allclose(scene.pairs[1].optical.pixels, 0.09, rtol=1e-5)


def test_the_reference_may_be_chosen(tmp_path: Path) -> None:
    optical = optical_file(tmp_path / "a.tif")
    with rasterio.open(
        tmp_path / "s1_VV.tif", "w", driver="GTiff", count=1, height=10, width=15, dtype="float32", crs="EPSG:32633",
        transform=Affine(20, 0, 500_000, 0, -20, 5_000_000),
    ) as dataset:  # fmt: skip
        dataset.write(np.full((1, 10, 15), -12, np.float32))
    assert open_scene(optical=optical, sar=tmp_path / "s1_VV.tif").shape == (20, 30)
    assert open_scene(optical=optical, sar=tmp_path / "s1_VV.tif", reference="sar").shape == (10, 15)
    with pytest.raises(SceneError, match="has no sar image"):
        open_scene(optical=optical, reference="sar")
    with pytest.raises(SceneError, match="reference 'radar' is not known; choose optical or sar"):
        open_scene(optical=optical, reference="radar")


def test_three_images_that_share_nothing(tmp_path: Path) -> None:
    def at(name: str, column: int) -> Path:
        return optical_file(tmp_path / name, transform=Affine(10, 0, 500_000 + 10 * column, 0, -10, 5_000_000))

    with pytest.raises(SceneError, match=r"no part of .*a\.tif that all images cover"):
        open_scene(optical=[at("a.tif", 0), at("b.tif", 20), at("c.tif", -20)])


def test_crss_without_a_way_between_them(tmp_path: Path) -> None:
    mars = optical_file(tmp_path / "mars.tif", crs=CRS.from_wkt(MARS).to_wkt(), transform=Affine(1, 0, 15, 0, -1, 45))
    with pytest.raises(SceneError, match="there is no way from Mars to EPSG:32633; reproject one image"):
        open_scene(optical=[optical_file(tmp_path / "a.tif"), mars])


def test_images_of_no_place_are_taken_as_one_grid(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((20, 30, 3), 50, np.uint8)).save(tmp_path / name)
    scene = open_scene(optical=[tmp_path / "a.png", tmp_path / "b.png"])
    assert scene.notes == ("b.png does not say where it lies, and was taken to lie on a.png, being of equal size.",)
    with pytest.raises(SceneError, match=r"a\.png: does not say where it lies, so a bbox"):
        open_scene(optical=tmp_path / "a.png", bbox=(1, 2, 3, 4))
    # An image without a place follows one that has one, into the part that a third leaves.
    placed = optical_file(tmp_path / "c.tif")
    part = optical_file(tmp_path / "d.tif", transform=Affine(10, 0, 500_100, 0, -10, 5_000_000))
    no_place = optical_file(tmp_path / "e.tif", value=500, crs=None, transform=None)
    scene = open_scene(optical=[no_place, placed, part])
    assert scene.shape == (20, 20)
    assert scene.georeference.is_located
    np.testing.assert_allclose(scene.pairs[0].optical.pixels, 0.05, rtol=1e-5)


def test_a_stated_pixel_size_is_said_where_the_file_differs(tmp_path: Path) -> None:
    path = optical_file(tmp_path / "a.tif", transform=Affine(1, 0, 500_000, 0, -1, 5_000_000))
    assert open_scene(optical=path, gsd_m=10).notes == ("The pixel size is stated as 10 m; the file says 1 m.",)
    assert open_scene(optical=path, gsd_m=1.005).notes == ()
    assert open_scene(optical=path).notes == ()


def test_a_box_outside_of_the_scene(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"bbox 100, 0, 101, 1 lies outside of .*a\.tif"):
        open_scene(optical=optical_file(tmp_path / "a.tif"), bbox=(100, 0, 101, 1))
