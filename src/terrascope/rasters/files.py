"""Raster files: which belong to one image, how they are opened, and what they say of their layers and place."""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyproj
import rasterio
from affine import Affine
from pyproj.exceptions import CRSError
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from terrascope.errors import ScaleError, SceneError
from terrascope.georeference import Georeference
from terrascope.rasters.bands import Layer
from terrascope.rasters.claims import check_dataset
from terrascope.rasters.grids import Grid
from terrascope.rasters.paths import FORMATS, check_path, is_remote

FilePath = str | os.PathLike[str]
ImagePath = FilePath | Sequence[FilePath]
"""One image: a file, a folder of single-band files, or a list of them."""

_SUFFIXES = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg")

_CACHE_BYTES = 2**28
"""What GDAL may keep of decoded blocks."""

_SETTINGS = {
    "GDAL_CACHEMAX": _CACHE_BYTES,
    # GDAL's own way to decode a PNG as a whole takes a file cut short for complete.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    # Threads of GDAL would print what fails in them on standard error.
    "GDAL_NUM_THREADS": "1",
    # A raw file must be as long as its header says.
    "RAW_CHECK_FILE_SIZE": "YES",
    "GDAL_HTTP_CONNECTTIMEOUT": 5,
    # A server that sends nothing for 10 s is given up; one that sends drops, after a minute.
    "GDAL_HTTP_LOW_SPEED_TIME": 10,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1,
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_MAX_RETRY": 2,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
}
_ALSO_REMOTE = {
    # The server's folder is not listed, and no files are looked for beside the image.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
}


_warnings_lock = threading.Lock()


def find_files(path_or_paths: ImagePath) -> tuple[list[str], str, bool]:
    """The files of one image, its name for messages, and True if it was given as a folder.

    Raises:
        SceneError: an empty list, an empty folder, or something that is no path.
    """
    if isinstance(path_or_paths, str | bytes | os.PathLike):
        path = os.fsdecode(path_or_paths)
        if not _is_folder(path):
            return [path], path, False
        try:
            found = sorted(str(p) for p in Path(path).iterdir() if p.is_file() and p.suffix.lower() in _SUFFIXES)
        except OSError as error:
            raise SceneError(f"{path}: the folder cannot be read ({error.strerror})") from None
        if not found:
            raise SceneError(f"{path}: the folder holds no image ({', '.join(_SUFFIXES)})")
        return found, path, True
    if not isinstance(path_or_paths, list | tuple):
        raise SceneError(f"{path_or_paths!r} is no image; give the path of a file or folder, or a list of band files")
    for path_like in path_or_paths:
        if not isinstance(path_like, str | bytes | os.PathLike):
            raise SceneError(f"{path_like!r} is no file; an image that is given as a list must be a list of paths")
    paths = [os.fsdecode(path) for path in path_or_paths]
    if not paths:
        raise SceneError("an empty list of files was given as an image; give at least one file")
    return paths, paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more", False


@contextmanager
def gdal_settings(*, remote: bool = False) -> Iterator[None]:
    """GDAL with bounded memory and patience, for everything that opens or reads files."""
    with rasterio.Env(**_SETTINGS, **(_ALSO_REMOTE if remote else {})):
        yield


@contextmanager
def without_warnings(category: type[Warning]) -> Iterator[None]:
    """No warnings of a category from any thread. The filters belong to the whole process: one thread at a time."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def open_raster(path: str, *, allow_virtual: bool = False) -> rasterio.DatasetReader:
    """Open a raster, local or over HTTP, within `gdal_settings`.

    Args:
        allow_virtual: also open formats and paths that lead to other files (VRT, `/vsi...`).

    Raises:
        SceneError: missing, unreadable, not a file, or a format that may lead elsewhere; a container without an image
            of its own; blocks too large for memory.
    """
    name = check_path(path, allow_virtual=allow_virtual)
    remote = is_remote(path)
    # rasterio compares a nodata number beyond float32 with its limits.
    with gdal_settings(remote=remote), np.errstate(over="ignore"), without_warnings(NotGeoreferencedWarning):
        try:
            # `rasterio.open` takes one driver only.
            dataset = rasterio.DatasetReader(name, driver=None if allow_virtual else list(FORMATS))
        except (RasterioError, CPLE_BaseError, OSError, ValueError) as error:
            _refuse(path, error)
    try:
        check_dataset(dataset, path, remote=remote)
    except SceneError:
        dataset.close()
        raise
    return dataset


def describe_file(path: str, *, allow_virtual: bool = False) -> tuple[list[Layer], Grid]:
    """What a raster says of its layers, and its size and place.

    Alpha is no layer: `valid` holds it. The place is unknown where CRS or transform do not lead to the Earth.

    Raises:
        SceneError: the file cannot be read, has complex numbers, or its transform gives pixels no area.
    """
    with open_raster(path, allow_virtual=allow_virtual) as dataset:
        try:
            return _layers_of(dataset, path), _grid_of(dataset, path)
        except (RasterioError, CPLE_BaseError) as error:
            raise SceneError(
                f"{path}: its header is damaged ({describe_reason(error)}); fetch the file again"
            ) from None
        except UnicodeDecodeError:
            raise SceneError(
                f"{path}: a text in its header is no UTF-8; write the file anew (gdal_translate)"
            ) from None


def _layers_of(dataset: rasterio.DatasetReader, path: str) -> list[Layer]:
    stem = Path(path.split("?")[0] if is_remote(path) else path).stem
    colors = dataset.colorinterp
    picture = [i for i, color in enumerate(colors) if color != ColorInterp.alpha]
    layers = []
    # Each is told anew when asked, for all bands; a damaged header may claim 65,535 of them.
    dtypes, descriptions, units = dataset.dtypes, dataset.descriptions, dataset.units
    for i in picture:
        if dtypes[i].startswith("complex"):
            raise SceneError(f"{path}: band {i + 1} is complex; give its intensity in decibels")
        description = descriptions[i] or ""
        layers.append(
            Layer(
                path=path,
                index=i + 1,
                label=f"{stem} {description}".strip() if len(picture) == 1 else description,
                color=colors[i].name,
                dtype=dtypes[i],
                unit=units[i] or "",
            )
        )
    return layers


def _grid_of(dataset: rasterio.DatasetReader, path: str) -> Grid:
    georeference = Georeference()
    crs = _crs_of(dataset)
    # A local (engineering) CRS has no place on the Earth, so it is worth as much as none.
    if crs is not None and crs.geodetic_crs is not None and not _counts_pixels(dataset.transform):
        _check_transform(dataset.transform, path)
        try:
            georeference = Georeference(crs=crs, transform=dataset.transform)
        except ScaleError as error:
            raise SceneError(f"{path}: {error}") from None
    return Grid(height=dataset.height, width=dataset.width, georeference=georeference)


def _is_folder(path: str) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:  # a null character
        return False


def _crs_of(dataset: rasterio.DatasetReader) -> pyproj.CRS | None:
    try:
        return None if dataset.crs is None else pyproj.CRS.from_wkt(dataset.crs.to_wkt())
    except (CRSError, RasterioError, CPLE_BaseError):
        return None


def _counts_pixels(transform: Affine) -> bool:
    """True if the transform is that of a file written without one: its coordinates are pixel numbers, not a place."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return (abs(a), b, d, abs(e)) == (1, 0, 0, 1) and c in (0, -0.5) and f in (0, -0.5)


def _check_transform(transform: Affine, path: str) -> None:
    numbers = tuple(transform)[:6]
    a, b, c, d, e, f = numbers
    # Beyond this no CRS has coordinates; and a pixel must change them, or GDAL would search for it without end.
    sensible = all(math.isfinite(number) and abs(number) < 1e12 for number in numbers)
    sensible = sensible and min(math.hypot(a, d), math.hypot(b, e)) > 1e-12
    if not (sensible and c + a + b != c and f + d + e != f):
        raise SceneError(f"{path}: its transform {numbers} leads to no place; set it right (gdal_edit -a_ullr)")


def _refuse(path: str, error: Exception) -> NoReturn:
    reason = describe_reason(error)
    if is_remote(path):
        if "not recognized" in reason:
            raise SceneError(
                f"{path}: what the server sends is no GeoTIFF; give the address of the file itself"
            ) from None
        if "Range downloading not supported" in reason:
            raise SceneError(
                f"{path}: its server gives no parts of files; download the file and give its path"
            ) from None
        raise SceneError(f"{path}: cannot be fetched ({reason}); check the address and the connection") from None
    raise SceneError(f"{path}: cannot be read as an image; give a {', '.join(FORMATS.values())} file") from None


def describe_reason(error: Exception) -> str:
    """The last cause in GDAL's words, on one line."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
