"""Boolean masks `[H, W]`: run-length code, overlap, components, growth, polygons.

The one room that knows OpenCV and pycocotools. A mask is True where the pixel belongs to the thing meant. Every
function reads its masks without changing them, and returns arrays that share no memory with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def encode_rle(mask: Mask) -> dict[str, Any]:
    """COCO's compressed run-length code: `{"size": [H, W], "counts": str}`, fit for JSON and Parquet."""
    encoded = coco.encode(np.asfortranarray(_bytes(mask)))
    return {"size": [int(side) for side in mask.shape], "counts": encoded["counts"].decode("ascii")}


def decode_rle(rle: dict[str, Any]) -> Mask:
    """The mask bool `[H, W]` of COCO's compressed run-length code; `counts` may be str or bytes.

    Decoded here and not by pycocotools, which reads memory that it does not own when `counts` is cut short.

    Raises:
        SceneError: a field is missing, or the runs do not fill the size.
    """
    try:
        height, width = (int(side) for side in rle["size"])
        counts = rle["counts"]
        text = counts if isinstance(counts, bytes) else counts.encode("ascii")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SceneError('a run-length mask needs "size": [height, width] and "counts": text') from None
    runs = _runs(text)
    if min(height, width) < 0 or runs is None or (runs < 0).any() or runs.sum() != height * width:
        raise SceneError(f'the "counts" of a run-length mask do not fill its "size" of {height} x {width} pixels')
    values = np.arange(len(runs)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)


def _runs(text: bytes) -> NDArray[np.int64] | None:
    """Lengths of the runs, False first, down the columns; None if the text ends amid a number or is no such code.

    Five bits a character, lowest first, offset 48; bit 5 says that the number goes on. From the fourth number on, each
    is the difference to the number two before.
    """
    # Characters below 48 wrap to above 63. Small types, because a ragged mask of a whole scene has millions of runs.
    digits = np.frombuffer(text, np.uint8) - np.uint8(48)
    if not len(digits):
        return np.zeros(0, np.int64)
    ends = np.flatnonzero(digits & 0x20 == 0)
    if digits.max() > 63 or not len(ends) or ends[-1] != len(digits) - 1:
        return None
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > 8:
        return None
    runs = np.where(digits[ends] & 0x10, np.int64(-1) << 5 * lengths, 0)
    for place in range(int(lengths.max())):
        longer = np.flatnonzero(lengths > place)
        runs[longer] += (digits[ends[longer] - lengths[longer] + 1 + place] & 0x1F).astype(np.int64) << 5 * place
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


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
    from shapely.geometry import shape as to_geometry

    found = shapes(_bytes(mask), mask=mask, connectivity=4, transform=transform or Affine.identity())
    return [to_geometry(geometry) for geometry, _ in found]


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
