"""BigEarthNet v2 (reBEN): 480,038 patches of 120 x 120 pixels in ten countries of Europe, Sentinel-2 and Sentinel-1.

The images lie as `bigearthnet_files` says. `metadata.parquet` holds a row for each patch: `patch_id, split, country,
s1_name, contains_seasonal_snow, contains_cloud_or_shadow` and more; so does, if it is there,
`metadata_for_patches_with_snow_cloud_or_shadow.parquet` for those that the data set itself leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from terrascope.errors import SceneError
from terrascope.landcover import (
    CORINE_19,
    CORINE_CODES,
    CORINE_IGNORED,
    CORINE_TERRASCOPE_CODES,
    CORINE_TERRASCOPE_IGNORED,
    TERRASCOPE,
    Nomenclature,
)
from terrascope.rasters.grids import Grid
from terrascope.rasters.product_names import date_in
from terrascope.rasters.registry import SENSORS
from terrascope.rasters.time_order import gap_notes
from terrascope.scene import LabelMap, Observation
from terrascope.sources.band_stacks import stack_bands
from terrascope.sources.bigearthnet_files import GSD_M, PatchFiles, find_files
from terrascope.sources.chips import Chip, ChipError, Entry, Index
from terrascope.sources.images import find_center, join
from terrascope.sources.label_codes import find_class_ids
from terrascope.sources.stored import StoredRaster

METADATA = "metadata.parquet"
LEFT_OUT = "metadata_for_patches_with_snow_cloud_or_shadow.parquet"

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""Our names of the splits -> those in the table."""

_OUR_SPLITS = {theirs: ours for ours, theirs in SPLITS.items()}

FLAGS = {"contains_seasonal_snow": "seasonal snow", "contains_cloud_or_shadow": "cloud or shadow"}
"""Columns that say that the label map does not show what the image shows -> the reason of leaving the patch out."""

TEN_METRE_BANDS = ("B02", "B03", "B04", "B08")

_COLUMNS = ("patch_id", "split", "country", "s1_name", *FLAGS)
_SENSOR = SENSORS["sentinel-2"]
_RESOLUTIONS = {band.name: band.resolution_m or GSD_M for band in _SENSOR.spectrum if band.name != "B10"}
_NODATA = 0
_CODES: Mapping[str, tuple[Nomenclature, Mapping[int, str], frozenset[int]]] = {
    CORINE_19.name: (CORINE_19, CORINE_CODES, CORINE_IGNORED),
    TERRASCOPE.name: (TERRASCOPE, CORINE_TERRASCOPE_CODES, CORINE_TERRASCOPE_IGNORED),
}


@dataclass(frozen=True)
class BigEarthNet:
    """The patches below a folder.

    The place of a patch is its ground: the tile of Sentinel-2's grid and the patch's column and row in it, without the
    day, because many tiles were taken on several days. It is not the whole tile: BigEarthNet splits every tile into a
    rim for training, a ring for validation and a centre for testing, so each of its splits shows every tile.

    Attributes:
        root: the folder.
        nomenclature: `corine-19` or `terrascope`.
        bands: of Sentinel-2, at least those of its picture. The ten-metre bands are the quickest to read.
        sar: whether the Sentinel-1 image is read too.
    """

    root: Path
    nomenclature: str = CORINE_19.name
    bands: tuple[str, ...] = TEN_METRE_BANDS
    sar: bool = True
    name: str = "bigearthnet"

    def __post_init__(self) -> None:
        if self.nomenclature not in _CODES:
            raise SceneError(f"bigearthnet: no label map in {self.nomenclature!r}; choose one of {', '.join(_CODES)}")
        unknown = [band for band in self.bands if band not in _RESOLUTIONS]
        missing = [band for band in _SENSOR.display_bands if band not in self.bands]
        if unknown or missing:
            raise SceneError(
                f"bigearthnet: the bands {', '.join(self.bands)} must be of {', '.join(_RESOLUTIONS)} "
                f"and hold {', '.join(_SENSOR.display_bands)}"
            )

    def index(self, split: str) -> Index:
        """The patches of a split in the order of the table; those with snow, clouds or shadow are counted.

        Raises:
            SceneError: no table, one without a needed column, or an unknown split.
        """
        if split not in SPLITS:
            raise SceneError(f"bigearthnet: no split {split!r}; choose one of {', '.join(SPLITS)}")
        table = _read_table(self.root)
        table = table.filter(pc.equal(table["split"], SPLITS[split]))
        skipped = {}
        for flag, reason in FLAGS.items():
            flagged = pc.fill_null(table[flag], False)
            skipped[reason] = int(pc.sum(flagged).as_py() or 0)
            table = table.filter(pc.invert(flagged))
        patches = table["patch_id"].to_pylist()
        return Index(
            entries=tuple(Entry(patch, place_of(patch)) for patch in patches),
            skipped={reason: count for reason, count in skipped.items() if count},
        )

    def read(self, key: str) -> Chip:
        """A patch: Sentinel-2 in reflectance, Sentinel-1 in decibels, and the classes of its reference map.

        Raises:
            ChipError: not in the table, flagged there, or an image or the reference map is missing, damaged, of another
                size, or holds an unknown code.
        """
        row = _row_of(self.root, key)
        flag = next((reason for flag, reason in FLAGS.items() if row[flag]), None)
        if flag is not None:
            raise ChipError(f"{self.root / METADATA}: {key} shows {flag}", reason=flag)
        split = _OUR_SPLITS.get(row["split"])
        if split is None:
            raise ChipError(f"{self.root / METADATA}: {key} is of no split but {row['split']!r}", reason="of no split")
        files = find_files(self.root)
        optical = self._optical(files, key)
        if self.sar and not row["s1_name"]:
            raise ChipError(f"{self.root / METADATA}: {key} has no s1_name", reason="missing image")
        sar = [self._sar(files, row["s1_name"], optical)] if self.sar else []
        scene = replace(join(key, optical=[optical], sar=sar), notes=tuple(gap_notes([optical], sar)))
        return Chip(
            source=self.name,
            key=key,
            place=place_of(key),
            split=split,
            scene=scene,
            labels=(self._labels(files, key, optical),),
            country=row["country"],
            lonlat=find_center(scene),
        )

    def _optical(self, files: PatchFiles, patch: str) -> Observation:
        stored = files.optical(patch, self.bands)
        grid = stored[_SENSOR.display_bands[0]].grid
        for name, band in stored.items():
            side = GSD_M / _RESOLUTIONS[name]
            _check(band, (round(grid.height * side), round(grid.width * side)), np.integer, "image")
        source = stored[self.bands[0]].source
        return stack_bands(stored, grid, sensor=_SENSOR.name, nodata=_NODATA, date=date_in(patch), source=source)

    def _sar(self, files: PatchFiles, s1_name: str, optical: Observation) -> Observation:
        stored = files.sar(s1_name)
        for band in stored.values():
            # Decibels as whole numbers were cut off somewhere on their way.
            _check(band, optical.shape, np.floating, "image")
        grid = _grid_of(optical)
        return stack_bands(stored, grid, sensor="sentinel-1", date=date_in(s1_name), source=stored["VV"].source)

    def _labels(self, files: PatchFiles, patch: str, optical: Observation) -> LabelMap:
        stored = files.codes(patch)
        _check(stored, optical.shape, np.integer, "label")
        if not stored.grid.equals(_grid_of(optical)):
            raise ChipError(f"{stored.source}: does not lie on {optical.source}", reason="label of another place")
        nomenclature, mapping, ignored = _CODES[self.nomenclature]
        return LabelMap(
            ids=find_class_ids(stored.numbers[0], mapping, nomenclature, ignored=ignored, source=stored.source),
            nomenclature=nomenclature,
            class_ids_known=tuple(sorted({nomenclature.id_of(name) for name in mapping.values()})),
        )


def place_of(patch: str) -> str:
    """The ground of a patch: `S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57` lies at `T33UUP_26_57`."""
    return "_".join(patch.split("_")[-3:])


def _check(band: StoredRaster, shape: tuple[int, int], kind: type, what: str) -> None:
    if band.grid.shape != shape:
        height, width = band.grid.shape
        raise ChipError(
            f"{band.source}: has {width} x {height} pixels, not {shape[1]} x {shape[0]}",
            reason=f"{what} of another size",
        )
    if not np.issubdtype(band.numbers.dtype, kind):
        expected = "whole numbers" if kind is np.integer else "floating-point numbers"
        raise ChipError(f"{band.source}: holds {band.numbers.dtype}, not {expected}", reason=f"{what} of another type")


def _grid_of(image: Observation) -> Grid:
    height, width = image.shape
    return Grid(height=height, width=width, georeference=image.georeference)


def _row_of(root: Path, patch: str) -> dict[str, Any]:
    table = _read_table(root)
    number = pc.index(table["patch_id"], patch).as_py()
    if number < 0:
        raise ChipError(f"{root / METADATA}: no patch {patch}", reason="unknown chip")
    row: dict[str, Any] = table.slice(number, 1).to_pylist()[0]
    return row


def _read_table(root: Path) -> pa.Table:
    """The needed columns of both tables of a folder."""
    path = root / METADATA
    if not path.is_file():
        raise SceneError(f"{path}: not found; give the folder of BigEarthNet v2 that holds {METADATA}")
    paths = [path, *(other for other in [root / LEFT_OUT] if other.is_file())]
    return _read_tables(tuple((path, path.stat().st_mtime_ns) for path in paths))


@lru_cache(maxsize=4)
def _read_tables(versions: tuple[tuple[Path, int], ...]) -> pa.Table:
    """Tables read once for all their patches; each path comes with the time of its last change."""
    tables = []
    for path, _ in versions:
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise SceneError(f"{path}: cannot be read as Parquet ({error}); fetch it again") from None
        missing = next((column for column in _COLUMNS if column not in table.column_names), None)
        if missing is not None:
            raise SceneError(f"{path}: has no column {missing}; give the table of BigEarthNet v2")
        tables.append(table.select(_COLUMNS))
    return pa.concat_tables(tables).combine_chunks()
