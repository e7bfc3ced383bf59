"""Raster files: which belong to one image, what they say of their layers and place, and what one layer holds."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError

from terrascope.errors import ScaleError, SceneError
from terrascope.georeference import Georeference
from terrascope.rasters.bands import Layer
from terrascope.rasters.grids import Grid

FilePath = str | os.PathLike[str]
ImagePath = FilePath | Sequence[FilePath]
"""One image: a file, a folder of single-band files, or a list of them."""

_SUFFIXES = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg")


def find_files(path_or_paths: ImagePath) -> tuple[list[str], str, bool]:
    """The files of one image, its name for messages, and True if it was given as a folder."""
    if isinstance(path_or_paths, str | os.PathLike):
        path = os.fspath(path_or_paths)
        if not os.path.isdir(path):
            return [path], path, False
        found = sorted(str(p) for p in Path(path).iterdir() if p.is_file() and p.suffix.lower() in _SUFFIXES)
        if not found:
            raise SceneError(f"{path}: the folder holds no image ({', '.join(_SUFFIXES)})")
        return found, path, True
    paths = [os.fspath(path) for path in path_or_paths]
    if not paths:
        raise SceneError("an empty list of files was given as an image; give at least one file")
    return paths, paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more", False


def open_raster(path: str) -> rasterio.DatasetReader:
    """Open a raster, local or remote.

    Raises:
        SceneError: missing, unreadable, or a container without an image of its own.
    """
    is_remote = "://" in path or path.startswith("/vsi")
    if not is_remote and not os.path.exists(path):
        raise SceneError(f"{path}: no such file; give the path of a GeoTIFF, PNG or JPEG")
    try:
        dataset = rasterio.open(path)
    except (RasterioError, OSError):
        raise SceneError(f"{path}: cannot be read as an image; give a GeoTIFF, PNG or JPEG") from None
    if dataset.count == 0:
        dataset.close()
        raise SceneError(f"{path}: holds no image of its own; give one of its subdatasets or a GeoTIFF")
    return dataset


def describe_layers(path: str, max_pixels: int) -> list[Layer]:
    """What a raster says of its layers, alpha left out: `valid` holds that.

    Raises:
        SceneError: the file cannot be read, has more than `max_pixels` rows x columns, or complex numbers.
    """
    with open_raster(path) as dataset:
        if dataset.width * dataset.height > max_pixels:
            raise SceneError(
                f"{path}: {dataset.width} x {dataset.height} pixels are more than the limit of {max_pixels:,}; "
                "cut out the part in question (gdal_translate -srcwin), or reduce it (-outsize)"
            )
        stem = Path(path.split("?")[0]).stem
        colors = [color.name for color in dataset.colorinterp]
        picture = [i for i, color in enumerate(dataset.colorinterp) if color != ColorInterp.alpha]
        layers = []
        for i in picture:
            if dataset.dtypes[i].startswith("complex"):
                raise SceneError(f"{path}: band {i + 1} is complex; give its intensity in decibels")
            description = dataset.descriptions[i] or ""
            label = f"{stem} {description}".strip() if len(picture) == 1 else description
            layers.append(Layer(path=path, index=i + 1, label=label, color=colors[i], dtype=dataset.dtypes[i]))
        return layers


def has_offset(paths: Sequence[str]) -> bool:
    """True if the files lie in an original product of processing baseline 04.00 or later, whose numbers are + 1000."""
    baselines = [re.search(r"_MSIL(?:1C|2A)_\w*?N(\d{4})_[^/\\]*\.SAFE", os.path.abspath(path)) for path in paths]
    return all(baseline is not None and int(baseline[1]) >= 400 for baseline in baselines)


def read_grid(path: str) -> Grid:
    """Size and place of a raster; the place is unknown where its CRS or transform does not lead to the Earth.

    Raises:
        SceneError: the file cannot be read, or its transform gives pixels no area.
    """
    with open_raster(path) as dataset:
        georeference = Georeference()
        if dataset.crs is not None and not _counts_pixels(dataset.transform):
            crs = pyproj.CRS.from_wkt(dataset.crs.to_wkt())
            # A local (engineering) CRS has no place on the Earth, so it is worth as much as none.
            if crs.geodetic_crs is not None:
                georeference = _placed(path, crs, dataset.transform)
        return Grid(height=dataset.height, width=dataset.width, georeference=georeference)


def _placed(path: str, crs: pyproj.CRS, transform: Affine) -> Georeference:
    try:
        return Georeference(crs=crs, transform=transform)
    except ScaleError as error:
        raise SceneError(f"{path}: {error}") from None


def _counts_pixels(transform: Affine) -> bool:
    """True if the transform is that of a file written without one: its coordinates are pixel numbers, not a place."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return (abs(a), b, d, abs(e)) == (1, 0, 0, 1) and c in (0, -0.5) and f in (0, -0.5)


def read_layer(layer: Layer) -> tuple[NDArray[np.float32], NDArray[np.bool_], tuple[float, float] | None]:
    """Stored numbers float32 `[H, W]`, measured bool `[H, W]`, and the scale and offset if the file states them."""
    with open_raster(layer.path) as dataset:
        try:
            numbers = dataset.read(layer.index).astype(np.float32)
            measured = dataset.read_masks(layer.index) > 0
        except (RasterioError, OSError):
            raise SceneError(
                f"{layer.path}: band {layer.index} cannot be read; the file is damaged or cut short"
            ) from None
        scale, offset = dataset.scales[layer.index - 1], dataset.offsets[layer.index - 1]
    stated = None if (scale, offset) == (1.0, 0.0) else (scale, offset)
    return numbers, measured & np.isfinite(numbers), stated
