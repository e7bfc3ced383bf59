"""What a file's header claims, checked against what the file can hold."""

from __future__ import annotations

import os

import numpy as np
import rasterio

from terrascope.errors import SceneError
from terrascope.rasters.paths import is_remote

MAX_BLOCK_BYTES = 2**29
"""Decoded size of one stored block above which a file is refused: GDAL holds whole blocks in memory."""

MAX_BANDS = 1000
"""Bands above which a file is refused: no sensor has as many, and a damaged header claims 65,535."""

_CHECKED_PIXELS = 16_000_000
"""Rows x columns above which a file is asked whether it stores anything before it is read."""


def check_dataset(dataset: rasterio.DatasetReader, path: str, *, remote: bool) -> None:
    """Refuse what would fill the memory or holds nothing, before a pixel is read.

    Raises:
        SceneError: no image, too many bands, blocks too large for memory, or a large size of which no block is stored.
    """
    if dataset.count == 0:
        raise SceneError(f"{path}: holds no image of its own; give one of its subdatasets or a GeoTIFF")
    if dataset.count > MAX_BANDS:
        raise SceneError(
            f"{path}: claims {dataset.count} bands, more than {MAX_BANDS}; fetch it again if it has fewer, or take "
            "those in question (gdal_translate -b)"
        )
    height, width = dataset.block_shapes[0]
    if dataset.driver == "WEBP" or (dataset.driver == "PNG" and _is_interlaced(path)):
        height, width = dataset.height, dataset.width
    whole = dataset.interleaving is not None and dataset.interleaving.name == "pixel"
    together = dataset.count if whole else 1
    if height * width * together * np.dtype(_plain(dataset.dtypes[0])).itemsize > MAX_BLOCK_BYTES:
        raise SceneError(
            f"{path}: its {dataset.width} x {dataset.height} pixels are stored in blocks of {width} x {height}, too "
            "large for memory; write it anew in tiles (gdal_translate -co TILED=YES -co BIGTIFF=IF_SAFER)"
        )
    is_large = dataset.width * dataset.height > _CHECKED_PIXELS
    if is_large and dataset.driver == "GTiff" and not remote and not _stores_a_block(dataset):
        raise SceneError(
            f"{path}: claims {dataset.width} x {dataset.height} pixels but stores none of them; it may be cut short"
        )


def _stores_a_block(dataset: rasterio.DatasetReader) -> bool:
    height, width = dataset.block_shapes[0]
    return any(
        dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=1) is not None
        for row in range(-(-dataset.height // height))
        for column in range(-(-dataset.width // width))
    )


def _is_interlaced(path: str) -> bool:
    if is_remote(path) or not os.path.isfile(path):
        return True
    with open(path, "rb") as file:
        header = file.read(29)
    return len(header) < 29 or header[28] != 0


def _plain(dtype: str) -> str:
    return "complex64" if dtype == "complex_int16" else dtype
