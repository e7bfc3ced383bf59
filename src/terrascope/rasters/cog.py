"""Masks as cloud-optimised GeoTIFFs: one band per step, and all steps in one band of colours."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS as RasterCRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetWriter
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window

from terrascope.errors import OutputError
from terrascope.georeference import Georeference
from terrascope.output import written_whole
from terrascope.rasters.named_mask import NamedMask, check_one_grid, printable

NODATA = 255
"""Number in a mask file where the scene was not measured."""

NO_STEP = 0
"""Number in a file of steps where no step looked; it is that file's nodata number, and so transparent."""

_TILE = 512
_CACHE_BYTES = 128 * 2**20
"""What GDAL may keep of its files in memory; its own default is a share of the machine."""

_UNMEASURED = (128, 128, 128, 255)


def write_masks_tif(path: str | os.PathLike[str], masks: Sequence[NamedMask], georeference: Georeference) -> None:
    """Write masks as a COG: uint8, one band per mask (steps may overlap), 1 in the mask, 0 outside, 255 unmeasured.

    Band descriptions carry the names; band tags carry the properties. CRS and transform are written if known. Beside
    the masks, memory is bounded by a strip of rows and GDAL's cache.

    Raises:
        OutputError: there is no mask, the masks differ in size, or the file cannot be written.
    """
    with _cog(Path(path), masks, georeference, num_bands=len(masks), nodata=NODATA) as dataset:
        dataset.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (len(masks) - 1)
        for index, mask in enumerate(masks, start=1):
            for rows, window in _strips(*mask.mask.shape):
                strip = np.where(mask.valid[rows], mask.mask[rows], np.uint8(NODATA))
                dataset.write(strip.astype(np.uint8), index, window=window)
            dataset.set_band_description(index, printable(mask.name))
            known = {key: value for key, value in mask.properties.items() if value is not None}
            dataset.update_tags(index, **{key: printable(str(value)) for key, value in known.items()})


def write_steps_tif(path: str | os.PathLike[str], masks: Sequence[NamedMask], georeference: Georeference) -> None:
    """Write all masks in one band as a COG with a colour table: uint8, the number of the step, later ones on top.

    0 (the nodata number, so that a map below shows through) is where no step looked, 255 what no image measured. GDAL
    writes the names of the numbers beside it, as `<name>.aux.xml`.

    Raises:
        OutputError: there is no mask or more than 254, the masks differ in size, or the file cannot be written.
    """
    path = Path(path)
    if len(masks) >= NODATA:
        raise OutputError(f"{path}: {len(masks)} masks do not fit into one band; write masks.tif alone")
    names = ["no step", *(f"{number}. {printable(mask.name)}" for number, mask in enumerate(masks, start=1))]
    names += [""] * (NODATA - len(names)) + ["not measured"]
    with _cog(path, masks, georeference, num_bands=1, nodata=NO_STEP, names=names) as dataset:
        colors = {number: (*mask.color, 255) for number, mask in enumerate(masks, start=1)}
        dataset.write_colormap(1, {NO_STEP: (0, 0, 0, 0), **colors, NODATA: _UNMEASURED})
        dataset.set_band_description(1, "step")
        for rows, window in _strips(*masks[0].mask.shape):
            dataset.write(_numbered(masks, rows), 1, window=window)


def _numbered(masks: Sequence[NamedMask], rows: slice) -> NDArray[np.uint8]:
    measured = np.logical_or.reduce([mask.valid[rows] for mask in masks])
    numbers = np.where(measured, np.uint8(NO_STEP), np.uint8(NODATA))
    for number, mask in enumerate(masks, start=1):
        numbers[mask.mask[rows] & mask.valid[rows]] = number
    return numbers


@contextmanager
def _cog(
    path: Path,
    masks: Sequence[NamedMask],
    georeference: Georeference,
    *,
    num_bands: int,
    nodata: int,
    names: Sequence[str] = (),
) -> Iterator[DatasetWriter]:
    """A dataset to fill in, which then becomes a COG: GDAL can lay one out only as the copy of a finished raster."""
    height, width = check_one_grid(path, masks)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": num_bands,
        "height": height,
        "width": width,
        "nodata": nodata,
        "compress": "deflate",
        "zlevel": 1,
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "interleave": "band",
        "photometric": "palette" if names else "minisblack",
        "bigtiff": "if_safer",
    }
    if georeference.crs is not None and georeference.transform is not None:
        profile |= {"crs": RasterCRS.from_wkt(georeference.crs.to_wkt()), "transform": georeference.transform}
    draft = path.with_name(f".{path.stem}.{os.getpid()}.draft.tif")
    unfinished_names = None
    try:
        with written_whole(path) as unfinished, warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            unfinished_names = _sidecar(unfinished)
            try:
                with rasterio.open(draft, "w", **profile) as dataset:
                    yield dataset
                if names:
                    _sidecar(draft).write_text(_categories(names), encoding="utf-8")
                copy_raster(
                    draft,
                    unfinished,
                    driver="COG",
                    compress="deflate",
                    blocksize=_TILE,
                    # Of each 2 x 2 pixels what most of them are: a mean would make numbers that name no step.
                    overview_resampling="mode",
                    bigtiff="if_safer",
                )
            except RasterioError as error:
                raise OSError(str(error)) from error
        if names:
            os.replace(unfinished_names, _sidecar(path))
    finally:
        for leftover in (draft, _sidecar(draft), unfinished_names):
            if leftover is not None:
                leftover.unlink(missing_ok=True)


def _strips(height: int, width: int) -> Iterator[tuple[slice, Window]]:
    for top in range(0, height, _TILE):
        bottom = min(top + _TILE, height)
        yield slice(top, bottom), Window(0, top, width, bottom - top)


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.aux.xml")


def _categories(names: Sequence[str]) -> str:
    """The names of a band's numbers as GDAL keeps them beside a file; GeoTIFF itself has no place for them."""
    entries = "".join(f"<Category>{escape(name)}</Category>" for name in names)
    return f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{entries}</CategoryNames></PAMRasterBand></PAMDataset>'
