"""Splits by place, and chips that overlap on the ground."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st

from terrascope.sources.places import SHARES, find_outlines, group_overlapping, split_of_place


def square(x: float, y: float, side: float = 1.0) -> np.ndarray:
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)])


def test_eight_of_ten_places_are_for_training_and_each_keeps_its_split() -> None:
    splits = [split_of_place(f"place {number}") for number in range(20_000)]
    for split, share in SHARES.items():
        assert splits.count(split) / 20_000 == pytest.approx(share, abs=0.01)
    # Drawn by SHA-256: other numbers would move chips of data sets that were built before.
    assert [split_of_place(name) for name in ("a", "b", "c", "282D_485L_3_3", "38D_378R_2_3")] == [
        "train", "train", "train", "train", "val",
    ]  # fmt: skip


def test_what_overlaps_directly_or_through_others_is_one_group() -> None:
    outlines = [square(0, 0), None, square(1, 0), square(0.5, 0.5), square(5, 5), None]
    groups = group_overlapping(outlines)
    assert groups[0] == groups[2] == groups[3] and len(set(groups)) == 4
    assert len(set(group_overlapping([square(0, 0), square(1, 0), square(0.999, 1)]))) == 3, "side by side"
    assert group_overlapping([]) == [] and group_overlapping([None]) == [0]


def test_chips_on_both_sides_of_the_date_line_meet() -> None:
    across = np.array([(179.8, 0), (-179.8, 0), (-179.8, 1), (179.8, 1)])
    groups = group_overlapping([across, square(179.5, 0, 0.4), square(0, 0)])
    assert groups[0] == groups[1] != groups[2]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 5)), max_size=12))
def test_groups_are_the_components_of_overlap(squares: list[tuple[int, int, int]]) -> None:
    outlines = [square(x, y, side) for x, y, side in squares]
    groups = group_overlapping(outlines)
    boxes = [shapely.box(x, y, x + side, y + side) for x, y, side in squares]
    joined = list(range(len(boxes)))
    for _ in boxes:
        for a, b in itertools.combinations(range(len(boxes)), 2):
            if boxes[a].intersection(boxes[b]).area > 0:
                joined[a] = joined[b] = min(joined[a], joined[b])
    for a, b in itertools.combinations(range(len(boxes)), 2):
        assert (groups[a] == groups[b]) == (joined[a] == joined[b])


def test_outlines_are_corners_in_degrees_where_a_file_tells_them(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("placed.tif", "broken.tif", "missing.tif")]
    transform = rasterio.Affine(10, 0, 500_000, 0, -10, 0)  # from the central meridian of zone 32 and the equator
    with rasterio.open(
        paths[0],
        "w",
        driver="GTiff",
        count=1,
        height=50,
        width=100,
        dtype="uint8",
        crs="EPSG:32632",
        transform=transform,
    ) as target:
        target.write(np.ones((1, 50, 100), np.uint8))
    paths[1].write_bytes(b"nothing")
    placed, broken, missing = find_outlines(paths)
    assert broken is None is missing and placed is not None
    east, south = 1000 / 0.9996 / 6_378_137, -500 / 0.9996 / 6_335_439
    expected = np.degrees([(0, 0), (east, 0), (east, south), (0, south)]) + (9, 0)
    np.testing.assert_allclose(placed, expected, atol=1e-8)
