"""Grids of every kind, and what areas and distances on them are: by pyproj alone, with none of the code under test."""

from __future__ import annotations

import numpy as np
from affine import Affine
from pyproj import CRS, Geod, Transformer

Rectangle = tuple[int, int, int, int]
"""First and last row, first and last column (the last ones excluded)."""


def web_mercator_y(latitude: float) -> float:
    return Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform(15.0, latitude)[1]


# Name: CRS, transform, height, width. Scenes of 110 km (a Sentinel-2 tile) or 5 degrees, unless the name says more.
WIDE_GRIDS: dict[str, tuple[str, Affine, int, int]] = {
    "UTM, centre of the zone": ("EPSG:32633", Affine(100, 0, 445_000, 0, -100, 5_000_000), 1098, 1098),
    "UTM, edge of the zone at the equator": ("EPSG:32633", Affine(100, 0, 780_000, 0, -100, 100_000), 1098, 1098),
    "UTM, edge of the zone at 45 degrees": ("EPSG:32633", Affine(100, 0, 650_000, 0, -100, 5_000_000), 1098, 1098),
    "UTM, 3 degrees outside at the equator": ("EPSG:32633", Affine(100, 0, 1_110_000, 0, -100, 100_000), 1098, 1098),
    "UTM, 3 degrees outside at 45 degrees": ("EPSG:32633", Affine(100, 0, 920_000, 0, -100, 5_000_000), 1098, 1098),
    "UTM, pixels twice as high as wide": ("EPSG:32633", Affine(100, 0, 700_000, 0, -200, 5_000_000), 500, 1000),
    "UTM, sheared": ("EPSG:32633", Affine(100, 40, 800_000, 20, -90, 5_000_000), 1000, 1000),
    "degrees at 0": ("EPSG:4326", Affine(0.005, 0, 10, 0, -0.005, 2.5), 1000, 1000),
    "degrees at 45": ("EPSG:4326", Affine(0.005, 0, 10, 0, -0.005, 47.5), 1000, 1000),
    "degrees at 70": ("EPSG:4326", Affine(0.005, 0, 10, 0, -0.005, 72.5), 1000, 1000),
    "degrees at 70, rotated": (
        "EPSG:4326",
        Affine.translation(10, 72.5) @ Affine.rotation(30) @ Affine.scale(0.005, -0.005),
        1000,
        1000,
    ),
    "degrees across 180": ("EPSG:4326", Affine(0.005, 0, 177, 0, -0.005, -17), 1000, 1000),
    "Web Mercator at 0": ("EPSG:3857", Affine(100, 0, 1_600_000, 0, -100, web_mercator_y(0.5)), 1098, 1098),
    "Web Mercator at 45": ("EPSG:3857", Affine(100, 0, 1_600_000, 0, -100, web_mercator_y(45.5)), 1098, 1098),
    "Web Mercator at 70": ("EPSG:3857", Affine(100, 0, 1_600_000, 0, -100, web_mercator_y(70.5)), 1098, 1098),
    "polar stereographic": ("EPSG:3995", Affine(100, 0, 500_000, 0, -100, -1_000_000), 1098, 1098),
    "polar stereographic, 6000 km": ("EPSG:3995", Affine(6000, 0, -3e6, 0, -6000, 3e6), 1000, 1000),
    "Lambert conic, all of France": ("EPSG:2154", Affine(1000, 0, 100_000, 0, -1000, 7_100_000), 1000, 1100),
    "Lambert conic in grads": ("EPSG:27572", Affine(100, 0, 550_000, 0, -100, 2_250_000), 1098, 1098),
    "US feet": ("EPSG:2263", Affine(300, 0, 980_000, 0, -300, 200_000), 600, 600),
}


def true_area_m2(crs: str, transform: Affine, rectangle: Rectangle) -> float:
    """Geodesic area of a rectangle of pixels, by pyproj's polygon of 400 points a side."""
    top, bottom, left, right = rectangle
    share = np.linspace(0, 1, 400, endpoint=False)
    x = np.concatenate([left + (right - left) * share, share * 0 + right])
    y = np.concatenate([share * 0 + top, top + (bottom - top) * share])
    x, y = np.concatenate([x, left + right - x]), np.concatenate([y, top + bottom - y])
    return abs(_geod(crs).polygon_area_perimeter(*_lonlat(crs, transform, x, y))[0])


def true_distance_m(crs: str, transform: Affine, pixels: np.ndarray, others: np.ndarray) -> float:
    """The smallest geodesic between the centres of two sets of pixels, int `[N, 2]` (row, column), over all pairs."""
    first, second = np.repeat(pixels, len(others), 0) + 0.5, np.tile(others, (len(pixels), 1)) + 0.5
    ends = (_lonlat(crs, transform, place[:, 1], place[:, 0]) for place in (first, second))
    (lon_0, lat_0), (lon_1, lat_1) = ends
    return float(_geod(crs).inv(lon_0, lat_0, lon_1, lat_1)[2].min())


def _geod(crs: str) -> Geod:
    geod = CRS(crs).get_geod()
    assert geod is not None
    return geod


def _lonlat(crs: str, transform: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    return to_lonlat.transform(*(transform @ (x, y)))
