"""Masks against brute force, scipy and pycocotools, and on shapes whose answer is known."""

from __future__ import annotations

from collections import deque
from itertools import product
from typing import Literal

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco
from scipy import ndimage
from shapely import LineString, MultiPolygon, Point, Polygon, box

from terrascope import masks
from terrascope.errors import SceneError
from terrascope.masks import Connectivity, Mask

tiny_masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=7))
mask_pairs = array_shapes(min_dims=2, max_dims=2, max_side=7).flatmap(
    lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape))
)
connectivities: st.SearchStrategy[Connectivity] = st.sampled_from([4, 8])


def draw(*rows: str) -> Mask:
    """A mask from rows of text: `#` is True."""
    return np.array([[character == "#" for character in row] for row in rows])


def neighbours(row: int, column: int, shape: tuple[int, ...], connectivity: Connectivity) -> list[tuple[int, int]]:
    steps = [(dy, dx) for dy, dx in product((-1, 0, 1), repeat=2) if (dy, dx) != (0, 0)]
    steps = [step for step in steps if connectivity == 8 or 0 in step]
    places = [(row + dy, column + dx) for dy, dx in steps]
    return [(y, x) for y, x in places if 0 <= y < shape[0] and 0 <= x < shape[1]]


def flood_fill(mask: Mask, connectivity: Connectivity) -> list[set[tuple[int, int]]]:
    found, unseen = [], {(int(y), int(x)) for y, x in np.argwhere(mask)}
    while unseen:
        component, queue = set(), deque([unseen.pop()])
        while queue:
            place = queue.popleft()
            component.add(place)
            for other in neighbours(*place, mask.shape, connectivity):
                if other in unseen:
                    unseen.remove(other)
                    queue.append(other)
        found.append(component)
    return found


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@given(tiny_masks)
def test_run_length_code_is_that_of_coco_and_comes_back(mask: Mask) -> None:
    rle = masks.encode_rle(mask)
    assert rle["size"] == list(mask.shape)
    assert np.array_equal(coco.decode(rle).astype(bool), mask)
    assert np.array_equal(masks.decode_rle(rle), mask)
    assert np.array_equal(masks.decode_rle({"size": mask.shape, "counts": rle["counts"].encode()}), mask)


def test_run_length_code_known_text() -> None:
    mask = np.zeros((6, 8), bool)
    mask[1:3, 1:4] = True
    mask[3, 4] = True
    assert masks.encode_rle(mask) == {"size": [6, 8], "counts": "7240002O>"}
    decoded = masks.decode_rle({"size": [6, 8], "counts": "7240002O>"})
    assert decoded.dtype == np.bool_ and decoded.flags.c_contiguous and decoded.flags.writeable


@pytest.mark.parametrize("density", [0.0, 0.001, 0.5, 1.0])
def test_run_length_code_of_long_runs(density: float) -> None:
    mask = np.random.default_rng(3).random((700, 900)) < density
    assert np.array_equal(masks.decode_rle(masks.encode_rle(mask)), mask)


@pytest.mark.parametrize("at_once", [8, 9, 1000])
def test_run_length_code_comes_back_in_pieces(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "_CHARACTERS_AT_ONCE", at_once)
    rng = np.random.default_rng(4)
    for density in (0.0, 0.01, 0.5, 1.0):
        mask = rng.random((70, 90)) < density
        rle = masks.encode_rle(mask)
        assert np.array_equal(masks.decode_rle(rle), mask)
        with pytest.raises(SceneError, match="do not fill"):
            masks.decode_rle({"size": [70, 90], "counts": rle["counts"] + "1"})


def test_a_run_length_code_of_impossible_size_is_refused() -> None:
    with pytest.raises(SceneError, match="does not fit into memory"):
        masks.decode_rle({"size": [10**9, 10**9], "counts": "0"})
    with pytest.raises(SceneError, match="do not fill"):
        masks.decode_rle({"size": [3, 3], "counts": "0oooooo0"})


@given(tiny_masks, st.data())
def test_damaged_run_length_code_is_refused_or_fills_its_size(mask: Mask, data: st.DataObject) -> None:
    rle = masks.encode_rle(mask)
    alphabet = st.characters(min_codepoint=32, max_codepoint=126)
    cut = data.draw(st.integers(0, len(rle["counts"])))
    rle["counts"] = rle["counts"][:cut] + data.draw(st.text(alphabet, max_size=3))
    try:
        decoded = masks.decode_rle(rle)
    except SceneError as error:
        assert "counts" in str(error)
        with pytest.raises(SceneError, match="counts"):
            masks.runs_of_rle(rle)
    else:
        assert decoded.shape == mask.shape
        assert masks.count_of_runs(masks.runs_of_rle(rle)) == decoded.sum()


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"counts": "7240002O>"}, "needs"),
        ({"size": [6], "counts": "7240002O>"}, "needs"),
        ({"size": [6, 8], "counts": [7, 2]}, "needs"),
        ({"size": [6, 8], "counts": ""}, "6 x 8"),
        ({"size": [6, 8], "counts": "9"}, "6 x 8"),
        ({"size": [6, 9], "counts": "7240002O>"}, "6 x 9"),
        ({"size": [-6, -8], "counts": "7240002O>"}, "-6 x -8"),
        ({"size": [6, 8], "counts": "ooooooooooooooooooo"}, "6 x 8"),
        ({"size": [6, 8], "counts": "\x01"}, "6 x 8"),
    ],
)
def test_wrong_run_length_code(rle: dict[str, object], message: str) -> None:
    for read in (masks.decode_rle, masks.runs_of_rle):
        with pytest.raises(SceneError, match=message):
            read(rle)


@given(mask_pairs)
def test_overlap_from_run_length_code(pair: tuple[Mask, Mask]) -> None:
    a, b = (masks.runs_of_rle(masks.encode_rle(mask)) for mask in pair)
    assert masks.iou_of_runs(a, b) == pytest.approx(masks.iou(*pair), abs=1e-12)
    assert masks.count_of_runs(a) == pair[0].sum()


@pytest.mark.parametrize("density", [0.0, 0.001, 0.5, 1.0])
def test_overlap_from_long_run_length_code(density: float) -> None:
    rng = np.random.default_rng(6)
    a, b = rng.random((700, 900)) < density, rng.random((700, 900)) < 0.3
    runs = [masks.runs_of_rle(masks.encode_rle(mask)) for mask in (a, b)]
    assert masks.iou_of_runs(*runs) == pytest.approx(masks.iou(a, b), abs=1e-12)
    theirs = coco.iou([coco.encode(np.asfortranarray(a.view(np.uint8)))], [coco.encode(np.asfortranarray(b))], [0])
    if density:
        assert masks.iou_of_runs(*runs) == pytest.approx(float(theirs[0, 0]), abs=1e-12)


def test_ends_of_runs_are_those_of_the_columns() -> None:
    ends = masks.runs_of_rle(masks.encode_rle(draw("#..", "#.#")))
    assert ends.tolist() == [0, 2, 5, 6]
    assert masks.runs_of_rle({"size": [0, 3], "counts": ""}).tolist() == []


def test_run_length_codes_of_two_sizes_are_not_compared() -> None:
    a, b = (masks.runs_of_rle(masks.encode_rle(np.ones((3, width), bool))) for width in (3, 4))
    with pytest.raises(ValueError, match="one shape"):
        masks.iou_of_runs(a, b)


@given(tiny_masks)
def test_counts(mask: Mask) -> None:
    assert masks.count(mask) == mask.sum()
    assert masks.count(mask.T) == mask.sum()
    assert masks.count_rows(mask).tolist() == mask.sum(axis=1).tolist()
    assert masks.count_columns(mask).tolist() == mask.sum(axis=0).tolist()


def test_row_counts_do_not_overflow_a_byte() -> None:
    mask = np.ones((3, 1000), bool)
    assert masks.count_rows(mask).tolist() == [1000, 1000, 1000]
    assert masks.count_columns(mask.T).tolist() == [1000, 1000, 1000]


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9)), st.data())
def test_class_histogram_against_numpy(ids: np.ndarray, data: st.DataObject) -> None:
    valid = data.draw(arrays(np.bool_, ids.shape))
    assert masks.class_histogram(ids).tolist() == np.bincount(ids.ravel(), minlength=256).tolist()
    assert masks.class_histogram(ids, valid=valid).tolist() == np.bincount(ids[valid], minlength=256).tolist()
    assert masks.class_histogram(ids.T).tolist() == np.bincount(ids.ravel(), minlength=256).tolist()


def test_class_histogram_counts_more_than_float32_can() -> None:
    ids = np.full((5000, 5001), 7, np.uint8)
    ids[-1, -3:] = 255
    counts = masks.class_histogram(ids)
    assert counts[7] == 5000 * 5001 - 3 and counts[255] == 3 and counts.sum() == ids.size
    assert masks.class_histogram(np.zeros((0, 4), np.uint8)).sum() == 0
    with pytest.raises(ValueError, match="uint8"):
        masks.class_histogram(ids.astype(np.int32))


@given(mask_pairs)
def test_iou(pair: tuple[Mask, Mask]) -> None:
    a, b = pair
    either = (a | b).sum()
    assert masks.iou(a, b) == ((a & b).sum() / either if either else 1.0)
    assert masks.iou(a, b) == masks.iou(b, a)


def test_iou_known() -> None:
    assert masks.iou(draw("##.."), draw(".##.")) == 1 / 3
    assert masks.iou(draw("##.."), draw("....")) == 0.0


def test_masks_of_two_grids_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4\) and \(4, 1\)"):
        masks.iou(draw("##.."), draw("#", "#", ".", "."))


@pytest.mark.parametrize("not_a_mask", [np.ones((2, 2), np.uint8), np.ones((1, 2, 2), bool), np.ones(4, bool)])
def test_only_boolean_planes_are_masks(not_a_mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a mask is boolean"):
        masks.count(not_a_mask)


@given(tiny_masks, connectivities)
def test_components_against_flood_fill(mask: Mask, connectivity: Connectivity) -> None:
    labels, num = masks.label_components(mask, connectivity=connectivity)
    components = flood_fill(mask, connectivity)
    assert labels.dtype == np.int32 and labels.shape == mask.shape and num == len(components)
    assert np.array_equal(labels > 0, mask)
    labelled = [{(int(y), int(x)) for y, x in np.argwhere(labels == label)} for label in range(1, num + 1)]
    assert sorted(map(sorted, labelled)) == sorted(map(sorted, components))
    assert masks.component_sizes(mask, connectivity=connectivity).tolist() == [len(part) for part in labelled]


@given(tiny_masks, st.floats(0, 30))
def test_specks_against_flood_fill(mask: Mask, min_pixels: float) -> None:
    found = masks.drop_specks(mask, min_pixels)
    components = flood_fill(mask, 8)
    smallest = min(min_pixels, max(map(len, components), default=0))
    kept = {place for part in components if len(part) >= smallest for place in part}
    assert {(int(y), int(x)) for y, x in np.argwhere(found)} == kept
    assert found.any() == mask.any() and not np.shares_memory(found, mask)


def test_components_known() -> None:
    mask = draw("##..#", "#..#.", ".....", "..###")
    assert masks.label_components(mask, connectivity=8)[1] == 3
    assert masks.label_components(mask, connectivity=4)[1] == 4
    assert sorted(masks.component_sizes(mask, connectivity=8)) == [2, 3, 3]
    assert masks.component_sizes(np.zeros((4, 5), bool)).shape == (0,)


def test_components_against_scipy_on_a_rough_scene() -> None:
    mask = np.random.default_rng(5).random((200, 300)) < 0.5
    cases: list[tuple[Connectivity, Mask]] = [(4, ndimage.generate_binary_structure(2, 1)), (8, np.ones((3, 3), bool))]
    for connectivity, structure in cases:
        labels, num = masks.label_components(mask, connectivity=connectivity)
        expected, expected_num = ndimage.label(mask, structure)
        assert num == expected_num
        assert len(np.unique(np.stack([labels, expected]).reshape(2, -1), axis=1).T) == num + 1


@given(tiny_masks, st.integers(0, 3), connectivities)
def test_dilate_against_the_definition(mask: Mask, radius: int, connectivity: Connectivity) -> None:
    expected, before = mask.copy(), mask.copy()
    for _ in range(radius):
        for y, x in np.argwhere(expected.copy()):
            for place in neighbours(y, x, mask.shape, connectivity):
                expected[place] = True
    grown = masks.dilate(mask, radius, connectivity=connectivity)
    assert grown.dtype == np.bool_ and np.array_equal(grown, expected)
    assert np.array_equal(mask, before) and not np.shares_memory(grown, mask)
    if radius:
        structure = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
        assert np.array_equal(grown, ndimage.binary_dilation(mask, structure, iterations=radius))


def test_dilate_known() -> None:
    point = draw(".....", ".....", "..#..", ".....", ".....")
    assert np.array_equal(masks.dilate(point, 2, connectivity=8), np.ones((5, 5), bool))
    diamond = draw("..#..", ".###.", "#####", ".###.", "..#..")
    assert np.array_equal(masks.dilate(point, 2, connectivity=4), diamond)
    with pytest.raises(ValueError, match="-1"):
        masks.dilate(point, -1)


@given(tiny_masks)
def test_boundary_against_the_definition(mask: Mask) -> None:
    expected = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        expected[y, x] = any(not mask[place] for place in neighbours(y, x, mask.shape, 4))
    assert np.array_equal(masks.boundary(mask), expected)


def test_boundary_known() -> None:
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True
    ring = mask.copy()
    ring[2:5, 2:5] = False
    assert np.array_equal(masks.boundary(mask), ring)
    assert not masks.boundary(np.ones((3, 4), bool)).any()


def test_rasterize_sets_pixels_whose_center_is_inside_and_keeps_holes() -> None:
    square = Polygon(box(1, 1, 6, 6).exterior.coords, [box(3, 3, 5, 5).exterior.coords])
    expected = np.zeros((8, 9), bool)
    expected[1:6, 1:6] = True
    expected[3:5, 3:5] = False
    assert np.array_equal(masks.rasterize([square], (8, 9)), expected)
    assert np.array_equal(masks.rasterize([box(0.6, 0.4, 2.6, 2.4)], (3, 3)), draw(".##", ".##", "..."))


@given(st.lists(st.tuples(*[st.floats(-2, 12, allow_nan=False, width=32)] * 4), max_size=3))
def test_rasterize_rectangles_against_pixel_centers(corners: list[tuple[float, float, float, float]]) -> None:
    boxes = [box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)) for x0, y0, x1, y1 in corners]
    boxes = [geometry for geometry in boxes if geometry.area > 0]
    # A centre that lies on an outline may fall to either side.
    burnt = masks.rasterize(boxes, (10, 10))
    for y, x in product(range(10), repeat=2):
        center = Point(x + 0.5, y + 0.5)
        if all(geometry.exterior.distance(center) > 1e-3 for geometry in boxes):
            assert burnt[y, x] == any(geometry.contains(center) for geometry in boxes)


def test_rasterize_as_the_paper_did_fills_holes_and_is_larger() -> None:
    square = Polygon(box(1, 1, 6, 6).exterior.coords, [box(3, 3, 5, 5).exterior.coords])
    expected = np.zeros((8, 9), bool)
    expected[1:7, 1:7] = True
    assert np.array_equal(masks.rasterize([square], (8, 9), fill="cv2"), expected)
    # Overlapping polygons stay filled, and what leaves the grid is cut off.
    burnt = masks.rasterize([box(-3, -3, 2, 2), box(1, 1, 4, 4)], (6, 6), fill="cv2")
    assert burnt[:3, :3].all() and burnt[1:5, 1:5].all() and burnt.sum() == 9 + 16 - 4


@pytest.mark.parametrize("fill", ["center", "cv2"])
def test_rasterize_many_parts_and_none(fill: Literal["center", "cv2"]) -> None:
    parts = MultiPolygon([box(0, 0, 1, 1), box(4, 4, 5, 5)])
    burnt = masks.rasterize([parts, Polygon()], (6, 6), fill=fill)
    assert burnt[0, 0] and burnt[4, 4] and not burnt[2, 2] and burnt.dtype == np.bool_
    assert not masks.rasterize([], (6, 6), fill=fill).any()
    with pytest.raises(ValueError, match="LineString"):
        masks.rasterize([LineString([(0, 0), (3, 3)])], (6, 6), fill=fill)


@settings(max_examples=60)
@given(tiny_masks)
def test_polygons_come_back_as_the_mask(mask: Mask) -> None:
    polygons = masks.to_polygons(mask)
    assert len(polygons) == len(flood_fill(mask, 4))
    assert sum(polygon.area for polygon in polygons) == mask.sum()
    assert all(polygon.is_valid for polygon in polygons)
    assert np.array_equal(masks.rasterize(polygons, mask.shape), mask)


def test_many_polygons_with_many_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "_POLYGONS_AT_ONCE", 7)
    mask = np.random.default_rng(6).random((80, 90)) < 0.6
    polygons = masks.to_polygons(mask)
    assert len(polygons) == ndimage.label(mask)[1] > 50
    assert sum(polygon.area for polygon in polygons) == mask.sum()
    assert sum(len(polygon.interiors) for polygon in polygons) > 50
    assert np.array_equal(masks.rasterize(polygons, mask.shape), mask)


def test_polygons_carry_the_transform_and_holes() -> None:
    mask = draw("###", "#.#", "###")
    (polygon,) = masks.to_polygons(mask, Affine(10, 0, 500_000, 0, -10, 4_000_000))
    assert polygon.area == 800 and polygon.bounds == (500_000, 3_999_970, 500_030, 4_000_000)
    assert len(polygon.interiors) == 1 and Polygon(polygon.interiors[0]).area == 100
