"""Pixel sizes against pyproj's geodesic polygon area and against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Geod, Transformer

from terrascope.errors import ScaleError
from terrascope.georeference import Georeference
from tests.ground import web_mercator_y

WGS84 = Geod(ellps="WGS84")


def polygon_area_m2(georeference: Georeference, row: int, width: int) -> float:
    """Area of one pixel of the row: a block of 1 km around it, divided by the pixels in it."""
    size = georeference.pixel_size(row + 1, width)
    half = max(0.5, round(500 / float(size.width_m[row])))
    x, y = width / 2, row + 0.5
    corners = [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]
    to_lonlat = Transformer.from_crs(georeference.crs, "EPSG:4326", always_xy=True)
    lon, lat = zip(*[to_lonlat.transform(*(georeference.transform @ corner)) for corner in corners], strict=True)
    return abs(WGS84.polygon_area_perimeter(lon, lat)[0]) / (2 * half) ** 2


GRIDS = {
    "utm": ("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_000_000)),
    "utm_edge": ("EPSG:32633", Affine(10, 0, 230_000, 0, -10, 5_000_000)),
    "utm_non_square": ("EPSG:32633", Affine(10, 0, 500_000, 0, -20, 5_000_000)),
    "utm_rotated": ("EPSG:32633", Affine.translation(500_000, 5e6) @ Affine.rotation(30) @ Affine.scale(10, -10)),
    "utm_small": ("EPSG:32633", Affine(0.3, 0, 500_000, 0, -0.3, 5_000_000)),
    "lonlat_0": ("EPSG:4326", Affine(1e-4, 0, 15, 0, -1e-4, 0.001)),
    "lonlat_45": ("EPSG:4326", Affine(1e-4, 0, 15, 0, -1e-4, 45)),
    "lonlat_70": ("EPSG:4326", Affine(1e-4, 0, 15, 0, -2e-4, 70)),
    "lonlat_south_up": ("EPSG:4326", Affine(1e-4, 0, 15, 0, 1e-4, -45)),
    "lonlat_rotated": ("EPSG:4326", Affine.translation(15, 45) @ Affine.rotation(20) @ Affine.scale(1e-4, -1e-4)),
    "mercator_0": ("EPSG:3857", Affine(10, 0, 1_669_792, 0, -10, 50)),
    "mercator_45": ("EPSG:3857", Affine(10, 0, 1_669_792, 0, -10, web_mercator_y(45))),
    "mercator_70": ("EPSG:3857", Affine(10, 0, 1_669_792, 0, -10, web_mercator_y(70))),
    "us_feet": ("EPSG:2263", Affine(3, 0, 980_000, 0, -3, 200_000)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_area_agrees_with_the_geodesic_polygon(name: str) -> None:
    crs, transform = GRIDS[name]
    georeference = Georeference(crs=CRS(crs), transform=transform)
    size = georeference.pixel_size(41, 60)
    for row in (0, 20, 40):
        assert size.area_m2[row] == pytest.approx(polygon_area_m2(georeference, row, 60), rel=1e-3)
    assert size.basis == f"geodesic, {crs}"


def test_utm_pixel_has_the_scale_factor_of_the_central_meridian() -> None:
    georeference = Georeference(crs=CRS("EPSG:32633"), transform=Affine(10, 0, 500_000 - 50, 0, -20, 5_000_000))
    size = georeference.pixel_size(3, 10)
    assert size.width_m == pytest.approx(np.full(3, 10 / 0.9996), rel=1e-6)
    assert size.height_m == pytest.approx(np.full(3, 20 / 0.9996), rel=1e-6)
    assert size.area_m2 == pytest.approx(np.full(3, 200 / 0.9996**2), rel=1e-6)


def test_lonlat_pixels_follow_the_radii_of_the_ellipsoid() -> None:
    a, e2 = 6_378_137.0, 0.00669437999014
    georeference = Georeference(crs=CRS("EPSG:4326"), transform=Affine(1e-4, 0, 7, 0, -1e-4, 45.00005))
    size = georeference.pixel_size(1, 4)
    root = 1 - e2 * math.sin(math.radians(45)) ** 2
    assert size.width_m[0] == pytest.approx(math.radians(1e-4) * math.cos(math.radians(45)) * a / root**0.5, rel=1e-6)
    assert size.height_m[0] == pytest.approx(math.radians(1e-4) * a * (1 - e2) / root**1.5, rel=1e-6)


def test_sizes_are_interpolated_over_many_rows() -> None:
    georeference = Georeference(crs=CRS("EPSG:4326"), transform=Affine(0.02, 0, 15, 0, -0.02, 70))
    size = georeference.pixel_size(3000, 4)
    for row in (1, 777, 1501, 2998):
        single = Georeference(crs=georeference.crs, transform=georeference.transform @ Affine.translation(0, row))
        assert size.area_m2[row] == pytest.approx(single.pixel_size(1, 4).area_m2[0], rel=1e-4)


def test_web_mercator_45_degrees_halves_the_area() -> None:
    transform = Affine(10, 0, 0, 0, -10, web_mercator_y(45))
    area = Georeference(crs=CRS("EPSG:3857"), transform=transform).pixel_size(1, 1).area_m2[0]
    assert area == pytest.approx(50.0, rel=5e-3)
    assert area != pytest.approx(100.0, rel=0.1)


def test_stated_size_overrides_the_georeference() -> None:
    georeference = Georeference(crs=CRS("EPSG:32651"), transform=Affine(1, 0, -0.5, 0, 1, -0.5), gsd_m=10)
    size = georeference.pixel_size(2, 5)
    assert size.width_m.tolist() == [10, 10]
    assert size.area_m2.tolist() == [100, 100]
    assert size.basis == "stated: 10 m"


@pytest.mark.parametrize("georeference", [Georeference(), Georeference(crs=CRS("EPSG:4326"))])
def test_unknown_scale_is_refused(georeference: Georeference) -> None:
    with pytest.raises(ScaleError, match="no usable georeference and no stated pixel size; give --gsd METRES"):
        georeference.pixel_size(4, 4)


@pytest.mark.parametrize("gsd_m", [1e300, 1e-300, 1e7, 1e-4])
def test_absurd_sizes_are_refused(gsd_m: float) -> None:
    with pytest.raises(ScaleError, match="must lie from 0.001 to 1e+06 m".replace("+", r"\+")):
        Georeference(gsd_m=gsd_m)


@pytest.mark.parametrize("gsd_m", [0.0, -1.0, math.nan, math.inf])
def test_impossible_sizes_are_refused(gsd_m: float) -> None:
    with pytest.raises(ScaleError, match="positive number of metres"):
        Georeference(gsd_m=gsd_m)


def test_transform_without_area_is_refused() -> None:
    with pytest.raises(ScaleError, match="no area"):
        Georeference(crs=CRS("EPSG:4326"), transform=Affine(1, 0, 0, 0, 0, 0))


def test_transform_outside_of_the_projection_is_refused() -> None:
    with pytest.raises(ScaleError, match="outside of its CRS"):
        Georeference(crs=CRS("EPSG:4326"), transform=Affine(1, 0, 0, 0, -1, 900)).pixel_size(4, 4)


def test_to_lonlat_takes_pixel_corners() -> None:
    georeference = Georeference(crs=CRS("EPSG:4326"), transform=Affine(0.5, 0, 10, 0, -0.25, 50))
    lon, lat = georeference.to_lonlat([0, 2], [0, 4])
    assert lon.tolist() == [10, 11]
    assert lat.tolist() == [50, 49]
    lon, lat = Georeference(crs=CRS("EPSG:32633"), transform=Affine(10, 0, 500_000, 0, -10, 0)).to_lonlat([0], [0])
    assert (lon[0], lat[0]) == pytest.approx((15.0, 0.0), abs=1e-9)


def test_to_lonlat_needs_a_place() -> None:
    with pytest.raises(ScaleError, match="no CRS"):
        Georeference(gsd_m=10).to_lonlat([0], [0])


def test_local_crs_is_refused() -> None:
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    with pytest.raises(ScaleError, match="no longitude and latitude; give --gsd METRES"):
        Georeference(crs=local, transform=Affine(1, 0, 5, 0, -1, 5)).pixel_size(2, 2)


def test_a_grid_whose_corners_lie_beside_the_earth_is_sized_at_its_centre_column() -> None:
    crs = CRS.from_proj4("+proj=ortho +lat_0=0 +lon_0=0 +ellps=WGS84")
    size = Georeference(crs=crs, transform=Affine(10_000, 0, -6e6, 0, -10_000, 6e6)).pixel_size(1200, 1200)
    assert size.basis.startswith("geodesic, ") and size.basis.endswith(", at the centre column")
    # Seen from far above the equator, a pixel near the pole lies aslant: 6000 km up, it is 1 / cos(70 degrees) as high.
    assert size.area_m2[600] == pytest.approx(1e8, rel=1e-3)
    assert size.area_m2[0] == pytest.approx(1e8 / math.sqrt(1 - (5_995 / 6_357) ** 2), rel=0.01)


def test_a_row_of_utm_is_sized_pixel_by_pixel() -> None:
    # Across 110 km, six degrees from the central meridian, pixels differ by 0.4 %.
    georeference = Georeference(crs=CRS("EPSG:32633"), transform=Affine(100, 0, 1_110_000, 0, -100, 100_000))
    size = georeference.pixel_size(3, 1098)
    assert size.sampled_area_m2 is not None and size.column_weights is not None
    areas = size.sampled_area_m2 @ size.column_weights.T
    assert areas.shape == (3, 1098)
    single = [
        Georeference(crs=georeference.crs, transform=georeference.transform @ Affine.translation(column, 0))
        for column in (0, 500, 1097)
    ]
    for column, there in zip((0, 500, 1097), single, strict=True):
        assert areas[0, column] == pytest.approx(there.pixel_size(1, 1).area_m2[0], rel=1e-7)
    assert areas[0, 0] / areas[0, -1] == pytest.approx(1.004, abs=5e-4)
    assert size.area_m2 == pytest.approx(areas.mean(axis=1), rel=1e-7)


def test_geocentric_places_are_those_of_proj() -> None:
    georeference = Georeference(crs=CRS("EPSG:32633"), transform=Affine(10, 0, 650_000, 0, -10, 5_000_000))
    x, y = np.array([0.0, 700.5]), np.array([3.0, 10_000.0])
    expected = Transformer.from_crs("EPSG:32633", "EPSG:4978", always_xy=True).transform(
        650_000 + 10 * x, 5_000_000 - 10 * y, np.zeros(2)
    )
    np.testing.assert_allclose(georeference.to_geocentric(x, y), np.stack(expected, axis=-1), atol=1e-3)


@pytest.mark.parametrize("pixel", [1e-12, 1e-5])
def test_pixels_without_a_size_on_the_ground_are_refused(pixel: float) -> None:
    georeference = Georeference(crs=CRS("EPSG:2056"), transform=Affine(pixel, 0, 2_600_000, 0, -pixel, 1_200_000))
    with pytest.raises(ScaleError, match="which is impossible; give --gsd METRES"):
        georeference.pixel_size(3, 2)
