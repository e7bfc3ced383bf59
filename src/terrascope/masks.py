"""Boolean masks `[H, W]`: run-length code, overlap, components, growth, polygons.

The one room that knows pycocotools and, but for the letters on pictures, OpenCV. A mask is True where the pixel
belongs to the thing meant. Every function reads its masks without changing them, and returns arrays that share no
memory with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from terrascope.errors import SceneError

if TYPE_CHECKING:
    from affine import Affine
    from shapely import Polygon
    from shapely.geometry.base import BaseGeometry

Mask = NDArray[np.bool_]
Connectivity = Literal[4, 8]

_CHARACTERS_AT_ONCE = 1_000_000
"""Characters of a run-length code that are decoded at a time: a ragged mask of a whole scene has tens of millions."""

_POLYGONS_AT_ONCE = 10_000


def encode_rle(mask: Mask) -> dict[str, Any]:
    """COCO's compressed run-length code: `{"size": [H, W], "counts": str}`, fit for JSON and Parquet."""
    # OpenCV transposes several times as fast as numpy brings an array into Fortran's order.
    columns = cv2.transpose(_bytes(mask)) if mask.size else np.zeros(mask.shape[::-1], np.uint8)
    encoded = coco.encode(columns.reshape(mask.shape[::-1]).T)
    return {"size": [int(side) for side in mask.shape], "counts": encoded["counts"].decode("ascii")}


def decode_rle(rle: dict[str, Any]) -> Mask:
    """The mask bool `[H, W]` of COCO's compressed run-length code; `counts` may be str or bytes.

    Decoded here and not by pycocotools, which reads memory that it does not own when `counts` is cut short.

    Raises:
        SceneError: a field is missing, or the runs do not fill the size.
    """
    height, width, text = _checked_rle(rle)
    try:
        pixels = np.empty(height * width, np.bool_)
    except (MemoryError, ValueError):
        raise SceneError(f"a run-length mask of {height} x {width} pixels does not fit into memory") from None
    filled, value = 0, False
    for runs in _runs(text):
        stop = filled + int(runs.sum())
        if (runs < 0).any() or stop > len(pixels):
            raise _wrong_rle(height, width)
        values = np.full(len(runs), value)
        values[1::2] = not value
        pixels[filled:stop] = np.repeat(values, runs)
        filled, value = stop, value ^ bool(len(runs) % 2)
    if filled != len(pixels):
        raise _wrong_rle(height, width)
    columns = pixels.reshape(width, height)
    return cv2.transpose(columns.view(np.uint8)).reshape(height, width).view(np.bool_) if pixels.size else columns.T


def runs_of_rle(rle: dict[str, Any]) -> NDArray[np.int64]:
    """Where the runs of COCO's compressed run-length code end: int64 `[num_runs]`, down the columns, False first.

    For what needs no pixels, as `iou_of_runs`: a tenth of the time that decoding takes.

    Raises:
        SceneError: a field is missing, or the runs do not fill the size.
    """
    height, width, text = _checked_rle(rle)
    parts = list(_runs(text))
    runs = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    ends = np.cumsum(runs)
    # The sum of damaged runs may overflow and seem to fit.
    is_wrong = (runs < 0).any() or (runs > height * width).any()
    if is_wrong or (ends[-1] if len(ends) else 0) != height * width:
        raise _wrong_rle(height, width)
    return ends


def count_of_runs(ends: NDArray[np.int64]) -> int:
    """Number of True pixels of a mask from `runs_of_rle`."""
    return int(ends[1::2].sum() - ends[0 : len(ends) - 1 : 2].sum())


def iou_of_runs(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Intersection over union, 0 to 1, of two masks of one grid from `runs_of_rle`; two empty masks agree: 1.0.

    Raises:
        ValueError: the masks do not have the same number of pixels.
    """
    if (a[-1] if len(a) else 0) != (b[-1] if len(b) else 0):
        raise ValueError("masks of one scene must have one shape, got run-length codes of different sizes")
    few, many = (a, b) if len(a) < len(b) else (b, a)
    starts, ends = many[0 : len(many) - 1 : 2], many[1::2]
    num_before = np.concatenate([[0], np.cumsum(ends - starts)])
    # True pixels of the one before each end of the other: of all its runs that have ended, and of one that has not.
    num_ended = np.searchsorted(many, few, side="right")
    begun = np.where(num_ended % 2, few - many[num_ended - 1], 0) if len(many) else 0
    num_true = num_before[num_ended // 2] + begun
    num_both = int(num_true[1::2].sum() - num_true[0 : len(few) - 1 : 2].sum())
    num_either = int(num_before[-1]) + count_of_runs(few) - num_both
    return num_both / num_either if num_either else 1.0


def _checked_rle(rle: dict[str, Any]) -> tuple[int, int, bytes]:
    """Height, width and code.

    Raises:
        SceneError: a field is missing, or a side is negative.
    """
    try:
        height, width = (int(side) for side in rle["size"])
        counts = rle["counts"]
        text = counts if isinstance(counts, bytes) else counts.encode("ascii")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SceneError('a run-length mask needs "size": [height, width] and "counts": text') from None
    if min(height, width) < 0:
        raise _wrong_rle(height, width)
    return height, width, text


def _wrong_rle(height: int, width: int) -> SceneError:
    return SceneError(f'the "counts" of a run-length mask do not fill its "size" of {height} x {width} pixels')


def _runs(text: bytes) -> Iterator[NDArray[np.int64]]:
    """Lengths of the runs, False first, down the columns, some at a time; -1 where the text is no such code.

    Five bits a character, lowest first, offset 48; bit 5 says that the number goes on. From the fourth number on, each
    is the difference to the number two before.
    """
    start, num_runs, two_before = 0, 0, [0, 0]
    while start < len(text):
        # Characters below 48 wrap to above 63.
        digits = np.frombuffer(text, np.uint8, min(_CHARACTERS_AT_ONCE, len(text) - start), start) - np.uint8(48)
        ends = np.flatnonzero(digits & 0x20 == 0)
        lengths = np.diff(ends, prepend=-1)
        if digits.max() > 63 or not len(ends) or lengths.max() > 8:
            yield np.full(1, -1)
            return
        last = digits[ends]
        runs = last.astype(np.int64) - ((last & 0x10).astype(np.int64) << 1)
        longest = int(lengths.max())
        if longest > 1:
            # Few numbers have several characters: runs longer or shorter by 16 pixels than the one two before.
            longer = np.flatnonzero(lengths > 1)
            runs[longer] <<= 5 * (lengths[longer] - 1)
            for place in range(longest - 1):
                longer = longer[lengths[longer] > place + 1]
                low = digits[ends[longer] - lengths[longer] + 1 + place] & 0x1F
                runs[longer] += low.astype(np.int64) << 5 * place
        for first in (0, 1):
            # The very first number has no part in the differences.
            deltas = runs[first + 2 * (num_runs + first == 0) :: 2]
            odd = (num_runs + first) % 2
            if len(deltas):
                np.cumsum(deltas, out=deltas)
                deltas += two_before[odd]
                two_before[odd] = int(deltas[-1])
        yield runs
        start, num_runs = start + int(ends[-1]) + 1, num_runs + len(runs)


def class_histogram(ids: NDArray[np.uint8], *, valid: Mask | None = None) -> NDArray[np.int64]:
    """Number of pixels of each value 0 to 255 of `ids` uint8 `[H, W]`, int64 `[256]`; of the `valid` pixels alone."""
    if ids.dtype != np.uint8 or ids.ndim != 2:
        raise ValueError(f"class ids are uint8 [H, W], got {ids.dtype} {ids.shape}")
    total = np.zeros(256, np.int64)
    # OpenCV returns float32, whose whole numbers are exact up to 2**24.
    rows_at_once = max(1, 2**24 // max(ids.shape[1], 1))
    for top in range(0, ids.shape[0] if ids.size else 0, rows_at_once):
        strip = np.s_[top : top + rows_at_once]
        where = None if valid is None else _bytes(valid[strip])
        counts = cv2.calcHist([np.ascontiguousarray(ids[strip])], [0], where, [256], [0, 256])
        total += counts.reshape(-1).astype(np.int64)
    return total


def count(mask: Mask) -> int:
    """Number of True pixels."""
    return int(cv2.countNonZero(_bytes(mask))) if mask.size else 0


def count_rows(mask: Mask) -> NDArray[np.int64]:
    """Number of True pixels of each row, int64 `[H]`."""
    return cv2.reduce(_bytes(mask), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).reshape(-1).astype(np.int64)


def count_columns(mask: Mask) -> NDArray[np.int64]:
    """Number of True pixels of each column, int64 `[W]`."""
    return cv2.reduce(_bytes(mask), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).reshape(-1).astype(np.int64)


def iou(a: Mask, b: Mask) -> float:
    """Intersection over union, 0 to 1; two empty masks agree: 1.0."""
    check_same_grid(a, b)
    num_both = count(a & b)
    num_either = count(a) + count(b) - num_both
    return num_both / num_either if num_either else 1.0


def label_components(mask: Mask, *, connectivity: Connectivity = 8) -> tuple[NDArray[np.int32], int]:
    """Number the connected components: int32 `[H, W]` (0 outside the mask, then 1 to `num`) and `num`."""
    num_labels, labels = cv2.connectedComponents(_bytes(mask), connectivity=connectivity, ltype=cv2.CV_32S)
    return np.asarray(labels, np.int32), num_labels - 1


def component_sizes(mask: Mask, *, connectivity: Connectivity = 8) -> NDArray[np.int64]:
    """Pixels of each connected component, int64 `[num]`, in the order of `label_components`."""
    stats = cv2.connectedComponentsWithStats(_bytes(mask), connectivity=connectivity, ltype=cv2.CV_32S)[2]
    return stats[1:, cv2.CC_STAT_AREA].astype(np.int64)


def drop_specks(mask: Mask, min_pixels: float) -> Mask:
    """The mask without components (8 neighbours) of fewer than `min_pixels` pixels.

    Where all have fewer, those of the most pixels stay: a mask is not made empty.
    """
    if min_pixels <= 1:
        return mask.copy()
    _, labels, stats, _ = cv2.connectedComponentsWithStats(_bytes(mask), connectivity=8, ltype=cv2.CV_32S)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    if not len(sizes) or sizes.min() >= min_pixels:
        return mask.copy()
    is_kept = np.concatenate([[False], sizes >= min(min_pixels, sizes.max())])
    return is_kept[labels]


def dilate(mask: Mask, radius: int = 1, *, connectivity: Connectivity = 8) -> Mask:
    """The mask grown by `radius` pixels: to all 8 neighbours (a square) or to the 4 that share a side (a diamond)."""
    if radius < 0:
        raise ValueError(f"radius must not be negative, got {radius}")
    if radius == 0:
        return mask.copy()
    grown = cv2.dilate(_bytes(mask), _neighbours(connectivity), iterations=radius, borderType=cv2.BORDER_CONSTANT)
    return grown.view(np.bool_)


def boundary(mask: Mask) -> Mask:
    """True at the pixels of the mask of which one of the 4 neighbours is not of the mask.

    What lies outside of the grid is unknown, and not a neighbour: a mask that fills its grid has no boundary.
    """
    # OpenCV's default border counts as True for an erosion, which is what the docstring says.
    inner = cv2.erode(_bytes(mask), _neighbours(4))
    return mask & ~inner.view(np.bool_)


def rasterize(
    polygons: Sequence[BaseGeometry], shape: tuple[int, int], *, fill: Literal["center", "cv2"] = "center"
) -> Mask:
    """Burn polygons into a mask bool `[H, W]`.

    Args:
        polygons: (multi-)polygons in pixel coordinates: x = column, y = row, (0, 0) the first pixel's outer corner.
        shape: (height, width) of the mask.
        fill: `center` sets the pixels whose centre lies inside, and keeps holes. `cv2` does as the paper's benchmark
            did (Appendix D, building change): `cv2.fillPoly` over rounded vertices, which sets every pixel that the
            outline touches, fills holes, and so makes small buildings about 7 % too large.

    Raises:
        ValueError: a geometry is neither a polygon nor a multi-polygon.
    """
    parts = [part for geometry in polygons for part in _polygon_parts(geometry)]
    burnt = np.zeros(shape, np.uint8)
    if fill == "cv2":
        for part in parts:
            vertices = np.round(np.asarray(part.exterior.coords)[:, :2]).astype(np.int32)
            # One call per polygon: a joint call fills by the even-odd rule and would clear overlaps.
            cv2.fillPoly(burnt, [vertices.reshape(-1, 1, 2)], 1)
    elif parts:
        from rasterio.features import rasterize as burn

        burn(parts, out=burnt, default_value=1)
    return burnt.view(np.bool_)


def to_polygons(mask: Mask, transform: Affine | None = None) -> list[Polygon]:
    """Outlines of the mask along its pixels' edges: one polygon, holes kept, per region connected over pixel sides.

    Args:
        mask: bool `[H, W]`.
        transform: pixel coordinates -> wanted coordinates; None for pixel coordinates as in `rasterize`.
    """
    from affine import Affine
    from rasterio.features import shapes

    found = shapes(_bytes(mask), mask=mask, connectivity=4, transform=transform or Affine.identity())
    outlines = (geometry["coordinates"] for geometry, _ in found)
    polygons: list[Polygon] = []
    while some := list(islice(outlines, _POLYGONS_AT_ONCE)):
        polygons += _join_rings(some)
    return polygons


def _join_rings(outlines: Sequence[Sequence[Sequence[tuple[float, float]]]]) -> list[Polygon]:
    """Polygons of many outlines (the outer ring, then the holes) in one call, as one by one they take far longer."""
    import shapely

    rings = [ring for outline in outlines for ring in outline]
    points = np.array(list(chain.from_iterable(rings)), np.float64)
    ring_of_point = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    polygon_of_ring = np.repeat(np.arange(len(outlines)), [len(outline) for outline in outlines])
    return list(shapely.polygons(shapely.linearrings(points, indices=ring_of_point), indices=polygon_of_ring))


def use_one_thread() -> None:
    """Let this process compute on one thread: for workers of which there are as many as cores."""
    cv2.setNumThreads(1)


def check_same_grid(a: Mask, b: Mask) -> None:
    """Raise ValueError unless both masks have one shape."""
    if a.shape != b.shape:
        raise ValueError(f"masks of one scene must have one shape, got {a.shape} and {b.shape}")


def _bytes(mask: Mask) -> NDArray[np.uint8]:
    """The mask as OpenCV reads it: contiguous uint8 0 or 1, without a copy where that is possible."""
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(f"a mask is boolean [H, W], got {mask.dtype} {mask.shape}")
    return np.ascontiguousarray(mask).view(np.uint8)


def _neighbours(connectivity: Connectivity) -> NDArray[np.uint8]:
    shape = cv2.MORPH_RECT if connectivity == 8 else cv2.MORPH_CROSS
    return np.asarray(cv2.getStructuringElement(shape, (3, 3)), np.uint8)


def _polygon_parts(geometry: BaseGeometry) -> Iterator[Polygon]:
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"only polygons can be burnt into a mask, got a {geometry.geom_type}")
    parts = getattr(geometry, "geoms", [geometry])
    return (part for part in parts if not part.is_empty)
