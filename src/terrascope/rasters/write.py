"""From masks to files that other programs open: GeoTIFF, GeoJSON and a picture. A file appears whole or not at all."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS as RasterCRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.features import shapes

from terrascope.errors import OutputError
from terrascope.georeference import Georeference
from terrascope.rasters.named_mask import NamedMask
from terrascope.rasters.overlay import draw_overlay

__all__ = ["NODATA", "NamedMask", "write_masks_geojson", "write_masks_tif", "write_overlay"]

NODATA = 255
"""Number in a mask file where the scene was not measured."""

_LONLAT_DECIMALS = 7
"""One centimetre."""

_PIXEL_NOTE = "pixel coordinates: x is the column and y the row from the top left corner, because the scene has no CRS"

Ring = NDArray[np.float64]
"""float64 `[points, 2]`, closed."""


def write_masks_tif(path: str | os.PathLike[str], masks: Sequence[NamedMask], georeference: Georeference) -> None:
    """Write masks as a GeoTIFF: uint8, one band per mask (steps may overlap), 1 in the mask, 0 outside, 255 unmeasured.

    Band descriptions carry the names; band tags carry the properties. CRS and transform are written if known.

    Raises:
        OutputError: there is no mask, the masks differ in size, or the file cannot be written.
    """
    path = Path(path)
    if not masks:
        raise OutputError(f"{path}: there is no mask to write; a file of masks needs at least one")
    height, width = _common_shape(path, masks)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": len(masks),
        "height": height,
        "width": width,
        "nodata": NODATA,
        "compress": "deflate",
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "photometric": "minisblack",
    }
    if georeference.crs is not None and georeference.transform is not None:
        profile |= {"crs": RasterCRS.from_wkt(georeference.crs.to_wkt()), "transform": georeference.transform}
    with _whole_file(path) as unfinished, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(unfinished, "w", **profile) as dataset:
            for index, mask in enumerate(masks, start=1):
                dataset.write(np.where(mask.valid, mask.mask, NODATA).astype(np.uint8), index)
                dataset.set_band_description(index, mask.name)
                dataset.update_tags(index, **{key: str(value) for key, value in mask.properties.items()})


def write_masks_geojson(path: str | os.PathLike[str], masks: Sequence[NamedMask], georeference: Georeference) -> None:
    """Write masks as GeoJSON (RFC 7946): one feature per mask, longitude and latitude, exterior rings counterclockwise.

    Outlines follow the pixels and are not simplified. An empty mask has a null geometry. Without a CRS the coordinates
    are pixels, and a top-level member `note` says so.

    Raises:
        OutputError: the masks differ in size, or the file cannot be written.
        ScaleError: the georeference leads to no longitude and latitude.
    """
    path = Path(path)
    if masks:
        _common_shape(path, masks)
    collection: dict[str, Any] = {"type": "FeatureCollection"}
    if not georeference.is_located:
        collection["note"] = _PIXEL_NOTE
    collection["features"] = [
        {
            "type": "Feature",
            "geometry": _geometry(mask.inside, georeference),
            "properties": {"name": mask.name, **{key: _plain(value) for key, value in mask.properties.items()}},
        }
        for mask in masks
    ]
    with _whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(collection, allow_nan=False), encoding="utf-8")


def write_overlay(path: str | os.PathLike[str], rgb: NDArray[np.float32], masks: Sequence[NamedMask]) -> None:
    """Write a PNG of the plain scene and one panel per mask with its caption.

    Args:
        rgb: float32 `[3, H, W]` in 0..1, or `[T, 3, H, W]` for several dates; a mask's property `image` (from 1)
            then says on which of them it is drawn.

    Raises:
        OutputError: a mask does not lie on the grid of the picture, names an image that is not there, or the file
            cannot be written.
    """
    path = Path(path)
    images = rgb if rgb.ndim == 4 else rgb[None]
    for mask in masks:
        if mask.mask.shape != images.shape[2:]:
            raise OutputError(
                f"{path}: mask {mask.name!r} {mask.mask.shape} does not lie on the image {images.shape[2:]}"
            )
        image_number = int(mask.properties.get("image") or 1)
        if rgb.ndim == 4 and not 1 <= image_number <= len(images):
            raise OutputError(f"{path}: mask {mask.name!r} is of image {image_number}, but there are {len(images)}")
    picture = draw_overlay(images, masks)
    with _whole_file(path) as unfinished:
        picture.save(unfinished, format="PNG")


def _common_shape(path: Path, masks: Sequence[NamedMask]) -> tuple[int, int]:
    sizes = {mask.mask.shape for mask in masks}
    if len(sizes) > 1:
        raise OutputError(f"{path}: masks of one file must share a grid, but their sizes are {sorted(sizes)}")
    height, width = masks[0].mask.shape
    return height, width


@contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place once the block has ended well."""
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except (OSError, RasterioError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise OutputError(
            f"{path}: cannot be written ({reason}); choose a folder that exists and is writable"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)


def _geometry(mask: NDArray[np.bool_], georeference: Georeference) -> dict[str, Any] | None:
    polygons = [
        [np.asarray(ring, np.float64) for ring in shape["coordinates"]]
        for shape, _ in shapes(mask.astype(np.uint8), mask=mask, connectivity=4)
    ]
    if not polygons:
        return None
    if georeference.is_located:
        polygons = _to_lonlat(polygons, georeference)
    # GDAL's rings turn with the rows downwards; what counts is the sense in the coordinates that are written.
    coordinates = [
        [_turned(ring, counterclockwise=number == 0).tolist() for number, ring in enumerate(polygon)]
        for polygon in polygons
    ]
    return {"type": "MultiPolygon", "coordinates": coordinates}


def _to_lonlat(polygons: Sequence[Sequence[Ring]], georeference: Georeference) -> list[list[Ring]]:
    """Transform all rings in one call: a mask may have tens of thousands."""
    rings = [ring for polygon in polygons for ring in polygon]
    points = np.concatenate(rings)
    lonlat = np.stack(georeference.to_lonlat(points[:, 0], points[:, 1]), axis=1).round(_LONLAT_DECIMALS)
    moved = iter(np.split(lonlat, np.cumsum([len(ring) for ring in rings])[:-1]))
    return [[next(moved) for _ in polygon] for polygon in polygons]


def _turned(ring: Ring, *, counterclockwise: bool) -> Ring:
    # Relative to the first point: the shoelace sum of small rings far from the origin would cancel out.
    x, y = (ring - ring[0]).T
    is_counterclockwise = float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) > 0
    return ring if is_counterclockwise == counterclockwise else ring[::-1]


def _plain(value: Any) -> Any:
    """A value as JSON knows it; a number that is none (NaN, infinity) becomes null."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
