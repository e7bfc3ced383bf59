"""The geometry against brute force over all pairs of pixels, scipy, the geodesic, and shapes whose answer is known."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pyproj import CRS, Geod
from scipy import ndimage

from terrascope import spatial
from terrascope.errors import QuestionError
from terrascope.georeference import Georeference, PixelSize
from terrascope.masks import Connectivity, Mask
from tests.ground import WIDE_GRIDS, Rectangle, true_area_m2, true_distance_m

mask_pairs = array_shapes(min_dims=2, max_dims=2, max_side=7).flatmap(
    lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape))
)
metres = st.floats(0.1, 1000.0)
NAMES = [
    ["northwestern part", "northern part", "northeastern part"],
    ["western part", "central part", "eastern part"],
    ["southwestern part", "southern part", "southeastern part"],
]


def draw(*rows: str) -> Mask:
    """A mask from rows of text: `#` is True."""
    return np.array([[character == "#" for character in row] for row in rows])


def at(shape: tuple[int, int], *places: tuple[int, int]) -> Mask:
    """A mask that is True at the given (row, column)s."""
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


def sizes(width_m: NDArray[np.float64], height_m: NDArray[np.float64]) -> PixelSize:
    return PixelSize(width_m=width_m, height_m=height_m, area_m2=width_m * height_m, basis="test")


def even(height: int, width_m: float, height_m: float) -> PixelSize:
    return sizes(np.full(height, width_m), np.full(height, height_m))


def degrees(north: float, step: float, *, west: float = 5.0) -> Georeference:
    return Georeference(crs=CRS.from_epsg(4326), transform=Affine(step, 0, west, 0, -step, north))


def geodesic_m(a: Mask, b: Mask, georeference: Georeference) -> float:
    """The smallest geodesic over all pairs of pixel centres."""
    pairs = list(product(np.argwhere(a), np.argwhere(b)))
    first, second = (np.array([pair[i] for pair in pairs]) + 0.5 for i in (0, 1))
    ends = *georeference.to_lonlat(first[:, 1], first[:, 0]), *georeference.to_lonlat(second[:, 1], second[:, 0])
    return float(Geod(ellps="WGS84").inv(*ends)[2].min())


# Coverage and area


def test_coverage_counts_valid_pixels_alone() -> None:
    mask, valid = draw("##..", "##.."), draw("#.#.", "#.##")
    assert spatial.coverage(mask, valid) == 2 / 5
    assert spatial.coverage(mask, np.ones_like(mask)) == 0.5
    with pytest.raises(QuestionError, match="at least one valid pixel"):
        spatial.coverage(mask, np.zeros_like(mask))
    with pytest.raises(ValueError, match="one shape"):
        spatial.coverage(mask, valid.T)


@given(mask_pairs)
def test_coverage_against_numpy(pair: tuple[Mask, Mask]) -> None:
    mask, valid = pair
    if valid.any():
        assert spatial.coverage(mask, valid) == mask[valid].mean()


def test_area_weights_every_row_with_its_own_pixel() -> None:
    mask = draw("##..", "....", "###.")
    assert spatial.area_m2(mask, even(3, 10, 10)) == 500.0
    assert spatial.area_m2(mask, sizes(np.array([10.0, 11.0, 12.0]), np.full(3, 10.0))) == 2 * 100 + 3 * 120
    with pytest.raises(ValueError, match="2 rows"):
        spatial.area_m2(mask, even(2, 10, 10))


def test_area_of_a_degree_cell_is_that_of_the_ellipsoid() -> None:
    georeference = degrees(61.0, 0.01)
    mask = np.ones((100, 100), bool)
    # The parallels are no geodesics: put points along them.
    lon = [*np.linspace(5, 6, 200), *np.linspace(6, 5, 200)]
    lat = [61.0] * 200 + [60.0] * 200
    expected = abs(Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)[0])
    assert spatial.area_m2(mask, georeference.pixel_size(100, 100)) == pytest.approx(expected, rel=1e-4)


def rectangles(height: int, width: int) -> list[Rectangle]:
    """The whole grid, strips along its four sides, and a corner: where a size taken elsewhere shows."""
    low, narrow = height // 20, width // 20
    return [
        (0, height, 0, width), (0, height, 0, narrow), (0, height, width - narrow, width), (0, low, 0, width),
        (height - low, height, 0, width), (height - low, height, width - narrow, width),
    ]  # fmt: skip


@pytest.mark.parametrize("name", WIDE_GRIDS)
def test_areas_on_wide_scenes_are_geodesic(name: str) -> None:
    crs, transform, height, width = WIDE_GRIDS[name]
    pixel_size = Georeference(crs=CRS(crs), transform=transform).pixel_size(height, width)
    for top, bottom, left, right in rectangles(height, width):
        mask = np.zeros((height, width), bool)
        mask[top:bottom, left:right] = True
        expected = true_area_m2(crs, transform, (top, bottom, left, right))
        assert spatial.area_m2(mask, pixel_size) == pytest.approx(expected, rel=1e-4)


def test_area_of_a_whole_sentinel_tile() -> None:
    transform, side = Affine(10, 0, 780_000, 0, -10, 100_020), 10_980
    georeference = Georeference(crs=CRS("EPSG:32633"), transform=transform)
    mask = np.zeros((side, side), bool)
    mask[2000:, 10_000:] = True
    expected = true_area_m2("EPSG:32633", transform, (2000, side, 10_000, side))
    assert spatial.area_m2(mask, georeference.pixel_size(side, side)) == pytest.approx(expected, rel=1e-6)


def test_areas_of_columns_need_as_many_columns() -> None:
    georeference = Georeference(crs=CRS("EPSG:32633"), transform=Affine(100, 0, 780_000, 0, -100, 100_000))
    with pytest.raises(ValueError, match="50 columns"):
        spatial.area_m2(np.ones((4, 51), bool), georeference.pixel_size(4, 50))


# Distance


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((2, 2), (2, 2), 0.0),
        ((2, 2), (2, 3), 1.0),
        ((2, 2), (3, 2), 1.0),
        ((2, 2), (3, 3), math.sqrt(2)),
        ((0, 0), (3, 4), 5.0),
        ((5, 0), (0, 12), 13.0),
    ],
)
def test_distance_px_known(a: tuple[int, int], b: tuple[int, int], expected: float) -> None:
    assert spatial.distance_px(at((6, 13), a), at((6, 13), b)) == pytest.approx(expected, rel=1e-12)


def test_distance_m_known() -> None:
    a, b = at((6, 13), (0, 0)), at((6, 13), (3, 4))
    assert spatial.distance_m(a, b, even(6, 10, 10)) == pytest.approx(50.0, rel=1e-12)
    assert spatial.distance_m(a, b, even(6, 3, 4)) == pytest.approx(math.hypot(12, 12), rel=1e-12)
    assert spatial.distance_m(a, b, sizes(np.full(6, 3.0), np.array([2.0, 4.0, 6.0, 8.0, 1.0, 1.0]))) == pytest.approx(
        math.hypot(12, 3 + 5 + 7), rel=1e-12
    )


def test_the_nearest_pixel_in_metres_need_not_be_the_nearest_in_pixels() -> None:
    a, b = at((6, 13), (0, 0)), at((6, 13), (3, 0), (0, 4))
    assert spatial.distance_px(a, b) == 3.0
    assert spatial.distance_m(a, b, even(6, 5, 10)) == pytest.approx(20.0, rel=1e-12)


@settings(max_examples=150)
@given(mask_pairs, metres, st.data())
def test_distance_against_all_pairs(pair: tuple[Mask, Mask], width_m: float, data: st.DataObject) -> None:
    a, b = pair
    heights = np.array(data.draw(st.lists(metres, min_size=len(a), max_size=len(a))))
    if not (a.any() and b.any()):
        with pytest.raises(QuestionError, match="not empty"):
            spatial.distance_m(a, b, sizes(np.full(len(a), width_m), heights))
        with pytest.raises(QuestionError, match="not empty"):
            spatial.distance_px(a, b)
        return
    y = np.cumsum(heights) - heights / 2
    pairs = list(product(np.argwhere(a).tolist(), np.argwhere(b).tolist()))
    in_m = min(math.hypot(y[p[0]] - y[q[0]], width_m * (p[1] - q[1])) for p, q in pairs)
    in_px = min(math.dist(p, q) for p, q in pairs)
    assert spatial.distance_m(a, b, sizes(np.full(len(a), width_m), heights)) == pytest.approx(in_m, rel=1e-9, abs=1e-9)
    assert spatial.distance_px(a, b) == pytest.approx(in_px, rel=1e-9)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 300), st.integers(1, 5), st.integers(1, 5))
def test_distance_over_many_blocks_against_all_pairs(
    seed: int, height: int, width: int, num_a: int, num_b: int
) -> None:
    rng = np.random.default_rng(seed)
    places = [np.column_stack([rng.integers(0, height, n), rng.integers(0, width, n)]) for n in (num_a, num_b)]
    a, b = (at((height, width), *map(tuple, some)) for some in places)
    steps = (places[0][:, None] - places[1][None]) * (3.0, 7.0)
    expected = np.hypot(steps[..., 0], steps[..., 1]).min()
    assert spatial.distance_m(a, b, even(height, 7, 3)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("density", [0.00005, 0.001, 0.03])
@pytest.mark.parametrize("gap", [0, 40, 200])
def test_distance_of_rough_masks_against_scipy(density: float, gap: int) -> None:
    rng = np.random.default_rng(11)
    a, b = rng.random((2, 500, 700)) < density
    # No two pixels of the masks nearer than `gap`, nor ever as near as the smallest possible distance.
    b &= ndimage.distance_transform_edt(~a) > max(gap, 2)
    if gap == 200:
        a[:, 250:] = b[:, :450] = False
    assert a.any()
    b[0, 699] |= not b.any()
    expected = ndimage.distance_transform_edt(~a, sampling=(2.0, 3.0))[b].min()
    assert spatial.distance_m(a, b, even(500, 3, 2)) == pytest.approx(expected, rel=1e-9)
    assert spatial.distance_m(b, a, even(500, 3, 2)) == pytest.approx(expected, rel=1e-9)


def test_distance_of_solid_regions_against_scipy() -> None:
    y, x = np.mgrid[:400, :500]
    a, b = np.hypot(y - 90, x - 110) < 70, np.hypot(y - 300, x - 380) < 60
    expected = ndimage.distance_transform_edt(~a)[b].min()
    assert spatial.distance_px(a, b) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(-75, 80),
    st.sampled_from([0.0001, 0.001, 0.01]),
    st.integers(2, 250),
    st.integers(2, 250),
)
def test_distance_in_degrees_is_the_geodesic(seed: int, north: float, step: float, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    shape, georeference = (height, width), degrees(north, step)
    a, b = (at(shape, *zip(rng.integers(0, height, 3), rng.integers(0, width, 3), strict=True)) for _ in range(2))
    distance_m = spatial.distance_m(a, b, georeference.pixel_size(*shape))
    assert distance_m == pytest.approx(geodesic_m(a, b, georeference), rel=1e-3)


@pytest.mark.parametrize(("north", "south_row"), [(62.0, 0), (62.0, 1999), (30.0, 1000)])
def test_a_diagonal_at_the_edge_of_a_wide_scene_in_degrees(north: float, south_row: int) -> None:
    # Two degrees wide and high: taking x as column times row width would be wrong by several per cent here.
    shape, georeference = (2000, 2000), degrees(north, 0.001)
    a, b = at(shape, (south_row, 1990)), at(shape, (abs(south_row - 200), 1790))
    distance_m = spatial.distance_m(a, b, georeference.pixel_size(*shape))
    assert distance_m == pytest.approx(geodesic_m(a, b, georeference), rel=1e-3)


def test_distance_on_web_mercator_is_the_geodesic() -> None:
    georeference = Georeference(crs=CRS.from_epsg(3857), transform=Affine(100, 0, 1e6, 0, -100, 8e6))
    a, b = at((1500, 1500), (20, 30)), at((1500, 1500), (700, 1400))
    distance_m = spatial.distance_m(a, b, georeference.pixel_size(1500, 1500))
    assert distance_m == pytest.approx(geodesic_m(a, b, georeference), rel=1e-3)
    assert distance_m < 0.7 * 100 * math.hypot(680, 1370)


def test_distance_in_utm_is_the_geodesic() -> None:
    georeference = Georeference(crs=CRS.from_epsg(32633), transform=Affine(10, 0, 499_000, 0, -10, 5_000_000))
    a, b = at((200, 300), (10, 20)), at((200, 300), (150, 290))
    distance_m = spatial.distance_m(a, b, georeference.pixel_size(200, 300))
    assert distance_m == pytest.approx(geodesic_m(a, b, georeference), rel=1e-3)


@pytest.mark.parametrize("name", WIDE_GRIDS)
def test_distances_on_wide_scenes_are_geodesic(name: str) -> None:
    crs, transform, height, width = WIDE_GRIDS[name]
    georeference = Georeference(crs=CRS(crs), transform=transform)
    pixel_size = georeference.pixel_size(height, width)
    rng = np.random.default_rng(len(name))
    # Far apart, across the scene, and near each other at a corner, where a straight line on the map errs the most.
    for spread in ((height, width), (height // 4, width // 4), (70, 70)):
        corner = np.array([height, width]) - 1
        a, b = (at((height, width), *map(tuple, corner - rng.integers(0, spread, (5, 2)))) for _ in range(2))
        expected = true_distance_m(crs, transform, np.argwhere(a), np.argwhere(b))
        assert spatial.distance_m(a, b, pixel_size) == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert spatial.distance_m(b, a, pixel_size) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_way_across_180_degrees_is_the_shorter_one() -> None:
    georeference = degrees(90.0, 0.5, west=-180.0)
    a, b = np.zeros((2, 360, 720), bool)
    a[150:160, :20] = b[150:160, 700:] = True
    expected = geodesic_m(at(a.shape, (150, 0)), at(a.shape, (150, 719)), georeference)
    assert spatial.distance_m(a, b, georeference.pixel_size(360, 720)) == pytest.approx(expected, rel=1e-3)


def test_distances_up_to_the_poles() -> None:
    # 65 rows: the last block of rows is a single one, and beyond it the Earth ends.
    georeference = degrees(90.0, 180 / 65, west=-180.0)
    a, b = at((65, 130), (64, 0), (64, 100)), at((65, 130), (64, 3), (0, 50))
    expected = geodesic_m(a, b, georeference)
    assert spatial.distance_m(a, b, georeference.pixel_size(65, 130)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("density", [0.001, 0.05, 0.5])
@pytest.mark.parametrize("name", ["UTM, sheared", "degrees at 70, rotated", "polar stereographic"])
def test_distance_of_noise_on_slanting_pixels(name: str, density: float) -> None:
    crs, transform, _, _ = WIDE_GRIDS[name]
    rng = np.random.default_rng(2)
    shape = (150, 200)
    pixels = np.argwhere(rng.random(shape) < density)
    rng.shuffle(pixels)
    a, b = (
        at(shape, *map(tuple, some)) for some in (pixels[: len(pixels) // 2][:200], pixels[len(pixels) // 2 :][:600])
    )
    pixel_size = Georeference(crs=CRS(crs), transform=transform).pixel_size(*shape)
    expected = true_distance_m(crs, transform, np.argwhere(a), np.argwhere(b))
    assert spatial.distance_m(a, b, pixel_size) == pytest.approx(expected, rel=2e-4)


def test_a_stated_pixel_size_makes_distances_plane() -> None:
    georeference = Georeference(crs=CRS("EPSG:3857"), transform=Affine(10, 0, 0, 0, -10, 1e7), gsd_m=3.0)
    a, b = at((40, 50), (0, 0)), at((40, 50), (30, 40))
    assert spatial.distance_m(a, b, georeference.pixel_size(40, 50)) == pytest.approx(150.0, rel=1e-12)


def test_distance_of_growing_pixels_needs_a_place() -> None:
    with pytest.raises(ValueError, match="need a georeference"):
        spatial.distance_m(
            at((2, 3), (0, 0)), at((2, 3), (1, 2)), sizes(np.array([10.0, 11.0]), np.array([10.0, 10.0]))
        )


def test_neighbours_in_degrees_are_one_pixel_apart() -> None:
    pixel_size = degrees(60.0, 0.01).pixel_size(4, 4)
    a = at((4, 4), (1, 1))
    assert spatial.distance_m(a, at((4, 4), (1, 2)), pixel_size) == pytest.approx(pixel_size.width_m[1], rel=1e-6)
    between = (pixel_size.height_m[1] + pixel_size.height_m[2]) / 2
    assert spatial.distance_m(a, at((4, 4), (2, 1)), pixel_size) == pytest.approx(between, rel=1e-6)


def test_distance_needs_one_grid() -> None:
    with pytest.raises(ValueError, match="one shape"):
        spatial.distance_px(at((2, 3), (0, 0)), at((3, 2), (0, 0)))
    with pytest.raises(ValueError, match="5 rows"):
        spatial.distance_m(at((2, 3), (0, 0)), at((2, 3), (0, 1)), even(5, 1, 1))


# Adjacency


@given(mask_pairs)
def test_adjacency_against_scipy(pair: tuple[Mask, Mask]) -> None:
    a, b = pair
    corners = np.ones((3, 3), bool)
    assert spatial.are_adjacent(a, b) == (ndimage.binary_dilation(a) & b).any()
    assert spatial.are_adjacent(a, b) == spatial.are_adjacent(b, a)
    assert spatial.are_adjacent(a, b, connectivity=8) == (ndimage.binary_dilation(a, corners) & b).any()


@given(mask_pairs)
def test_shared_boundary_against_all_pairs(pair: tuple[Mask, Mask]) -> None:
    a, b = pair
    only_a, only_b = np.argwhere(a & ~b).tolist(), np.argwhere(b & ~a).tolist()
    expected = sum(math.dist(p, q) == 1 for p, q in product(only_a, only_b))
    assert spatial.shared_boundary_px(a, b) == expected
    if not (a & b).any():
        assert spatial.are_adjacent(a, b) == (expected > 0)


def test_adjacency_known() -> None:
    left, right = draw("##..", "##..", "...."), draw("..#.", "..##", ".#..")
    assert spatial.are_adjacent(left, right) and spatial.shared_boundary_px(left, right) == 3
    corner = draw("....", "....", "..#.")
    assert not spatial.are_adjacent(left, corner) and spatial.are_adjacent(left, corner, connectivity=8)
    assert spatial.shared_boundary_px(left, corner) == 0
    assert not spatial.are_adjacent(left, np.zeros_like(left))
    assert spatial.are_adjacent(left, left) and spatial.shared_boundary_px(left, left) == 0


# Objects


def test_objects_known() -> None:
    mask = draw("##..#", "#..#.", ".....", "..###", "#....")
    assert spatial.count_objects(mask) == 4
    assert spatial.count_objects(mask, connectivity=4) == 5
    assert spatial.count_objects(mask, min_pixels=2) == 3
    assert spatial.count_objects(mask, min_pixels=3) == 2
    assert spatial.count_objects(mask, min_pixels=4) == 0
    assert spatial.object_areas(mask).tolist() == [3, 3, 2, 1]
    assert spatial.count_objects(np.zeros((3, 3), bool)) == 0
    assert spatial.object_areas(np.zeros((3, 3), bool)).tolist() == []


@given(mask_pairs, st.integers(1, 6), st.sampled_from([4, 8]))
def test_objects_against_scipy(pair: tuple[Mask, Mask], min_pixels: int, connectivity: Connectivity) -> None:
    mask = pair[0]
    labels, num = ndimage.label(mask, ndimage.generate_binary_structure(2, connectivity // 4))
    areas = np.bincount(labels.ravel(), minlength=num + 1)[1:]
    assert spatial.object_areas(mask, connectivity=connectivity).tolist() == sorted(areas.tolist(), reverse=True)
    expected = (areas >= min_pixels).sum()
    assert spatial.count_objects(mask, min_pixels=min_pixels, connectivity=connectivity) == expected


# Position


@pytest.mark.parametrize(("row", "column"), list(product(range(3), repeat=2)))
def test_position_of_every_ninth(row: int, column: int) -> None:
    mask = np.zeros((30, 60), bool)
    mask[10 * row : 10 * row + 10, 20 * column : 20 * column + 20] = True
    assert spatial.position(mask) == NAMES[row][column]


def test_position_is_that_of_the_centroid() -> None:
    assert spatial.position(at((9, 9), (0, 0), (0, 8))) == "northern part"
    assert spatial.position(at((9, 9), (0, 0), (8, 8))) == "central part"
    assert spatial.position(at((9, 9), (8, 8), (8, 7), (8, 0))) == "southern part"
    assert spatial.position(np.ones((2, 2), bool)) == "central part"


def test_position_on_a_cut_is_central() -> None:
    # The centroid of columns 0 to 3 of 6 lies at 2, exactly a third of the way.
    assert spatial.position(draw("####..")) == "central part"
    assert spatial.position(draw("###...")) == "western part"
    assert spatial.position(draw("..####")) == "central part"


@given(mask_pairs)
def test_position_against_the_centroid(pair: tuple[Mask, Mask]) -> None:
    mask, valid = pair
    if not mask.any():
        with pytest.raises(QuestionError, match="no position"):
            spatial.position(mask)
        return
    row, column = ((np.argwhere(mask) + 0.5).mean(axis=0) / mask.shape * 3).round(9)
    assert spatial.position(mask) == NAMES[1 + (row > 2) - (row < 1)][1 + (column > 2) - (column < 1)]
    if valid.any():
        start = np.argwhere(valid).min(axis=0)
        frame = np.argwhere(valid).max(axis=0) + 1 - start
        row, column = (((np.argwhere(mask) + 0.5).mean(axis=0) - start) / frame * 3).round(9)
        assert spatial.position(mask, valid) == NAMES[1 + (row > 2) - (row < 1)][1 + (column > 2) - (column < 1)]


# Comparison


def test_comparison_in_pixels_and_on_the_ground() -> None:
    north, south = draw("####.", ".....", "....."), draw(".....", ".....", "###..")
    assert spatial.larger(north, south) == "first" and spatial.larger(south, north) == "second"
    assert spatial.ratio(north, south) == 4 / 3
    pixel_size = sizes(np.array([10.0, 15.0, 20.0]), np.full(3, 10.0))
    assert spatial.larger(north, south, pixel_size) == "second"
    assert spatial.ratio(north, south, pixel_size) == 400 / 600
    assert spatial.larger(north, north) is None
    empty = np.zeros_like(north)
    assert spatial.ratio(empty, north) == 0.0 and spatial.larger(empty, north) == "second"
    with pytest.raises(QuestionError, match="not empty"):
        spatial.ratio(north, empty)


# All at once


def test_measure_with_a_stated_scale() -> None:
    mask, valid = np.zeros((6, 8), bool), np.ones((6, 8), bool)
    mask[0:2, 5:8] = True
    mask[5, 0] = True
    valid[3:, 0:4] = False
    assert spatial.measure(mask, valid=valid, georeference=Georeference(gsd_m=10)) == spatial.Measurement(
        num_pixels=6,
        coverage=6 / 36,
        area_m2=600.0,
        scale_basis="stated: 10 m",
        scale_error=None,
        num_objects=1,
        position="northeastern part",
    )


def test_measure_without_a_scale_says_why_and_still_answers_the_rest() -> None:
    mask = draw("##..", "....")
    measured = spatial.measure(mask, valid=np.ones_like(mask), georeference=Georeference())
    assert (measured.num_pixels, measured.coverage, measured.num_objects) == (2, 0.25, 1)
    assert measured.area_m2 is None and measured.scale_basis is None
    assert measured.scale_error is not None and "--gsd" in measured.scale_error


def test_measure_of_an_empty_mask_has_no_position() -> None:
    empty = np.zeros((4, 4), bool)
    measured = spatial.measure(empty, valid=~empty, georeference=Georeference(gsd_m=10))
    assert (measured.num_pixels, measured.coverage, measured.area_m2, measured.num_objects) == (0, 0.0, 0.0, 0)
    assert measured.position is None


def test_measure_in_degrees_uses_each_rows_area() -> None:
    georeference, mask = degrees(60.0, 0.1), at((100, 100), (5, 5), (90, 5))
    area = georeference.pixel_size(100, 100).area_m2
    measured = spatial.measure(mask, valid=np.ones_like(mask), georeference=georeference)
    assert measured.area_m2 == pytest.approx(area[5] + area[90], rel=1e-12)
    assert measured.scale_basis == "geodesic, EPSG:4326"


def test_masks_are_left_as_they_were() -> None:
    a, b = np.random.default_rng(2).random((2, 40, 50)) < 0.3
    before = a.copy(), b.copy()
    spatial.measure(a, valid=b, georeference=Georeference(gsd_m=10))
    spatial.distance_px(a & ~b, b & ~a)
    spatial.are_adjacent(a, b)
    spatial.shared_boundary_px(a, b)
    assert np.array_equal(a, before[0]) and np.array_equal(b, before[1])
