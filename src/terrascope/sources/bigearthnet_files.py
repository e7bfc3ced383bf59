"""Where the images of BigEarthNet v2 lie: a tree of GeoTIFF files, or one LMDB of safetensors dictionaries.

Tree: `BigEarthNet-S2/<tile>/<patch>/<patch>_B02.tif` (uint16; 120, 60 or 20 pixels a side, as the band has 10, 20 or
60 m), `BigEarthNet-S1/<scene>/<s1_name>/<s1_name>_{VV,VH}.tif` (float32, decibels), `Reference_Maps/<tile>/<patch>/
<patch>_reference_map.tif` (uint16, CORINE level-3 codes). LMDB, as rico-hdl writes it: the key is a patch, an s1_name
or `<patch>_reference_map`, the value a safetensors dictionary (`B02` .., `VV`, `VH`; `Data`) of the same arrays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from terrascope.errors import SceneError
from terrascope.georeference import Georeference
from terrascope.rasters.grids import Grid
from terrascope.sources.chips import ChipError
from terrascope.sources.stored import StoredRaster, read_stored

if TYPE_CHECKING:
    import lmdb

POLARISATIONS = ("VV", "VH")
GSD_M = 10.0


class PatchFiles(Protocol):
    """The stored bands of a patch."""

    def optical(self, patch: str, bands: Sequence[str]) -> dict[str, StoredRaster]:
        """Bands of the Sentinel-2 image, in the order asked for. Raises ChipError: one is missing or damaged."""
        ...

    def sar(self, s1_name: str) -> dict[str, StoredRaster]:
        """VV and VH. Raises ChipError: one is missing or damaged."""
        ...

    def codes(self, patch: str) -> StoredRaster:
        """The reference map. Raises ChipError: it is missing or damaged."""
        ...


def find_files(root: Path) -> PatchFiles:
    """The files of BigEarthNet below a folder.

    Raises:
        SceneError: there are none, or several LMDBs.
    """
    if (root / "BigEarthNet-S2").is_dir():
        return PatchTree(root=root)
    databases = [root] if (root / "data.mdb").is_file() else sorted(path.parent for path in root.glob("*/data.mdb"))
    if len(databases) != 1:
        raise SceneError(
            f"{root}: holds {len(databases) or 'no'} LMDBs (data.mdb) and no folder BigEarthNet-S2; "
            "give the folder of BigEarthNet v2 with one of them"
        )
    return PatchDatabase(path=databases[0])


@dataclass(frozen=True, kw_only=True)
class PatchTree:
    """The tree of GeoTIFF files."""

    root: Path

    def optical(self, patch: str, bands: Sequence[str]) -> dict[str, StoredRaster]:
        folder = self.root / "BigEarthNet-S2" / patch.rsplit("_", 2)[0] / patch
        return {band: read_stored(folder / f"{patch}_{band}.tif", "image", gsd_m=GSD_M) for band in bands}

    def sar(self, s1_name: str) -> dict[str, StoredRaster]:
        folder = self.root / "BigEarthNet-S1" / s1_name.rsplit("_", 3)[0] / s1_name
        return {band: read_stored(folder / f"{s1_name}_{band}.tif", "image", gsd_m=GSD_M) for band in POLARISATIONS}

    def codes(self, patch: str) -> StoredRaster:
        folder = self.root / "Reference_Maps" / patch.rsplit("_", 2)[0] / patch
        return read_stored(folder / f"{patch}_reference_map.tif", "label", gsd_m=GSD_M)


@dataclass(frozen=True, kw_only=True)
class PatchDatabase:
    """The LMDB. Where a patch lies is not in it, only that its finest pixels have 10 m."""

    path: Path

    def optical(self, patch: str, bands: Sequence[str]) -> dict[str, StoredRaster]:
        return self._bands(patch, bands, "image")

    def sar(self, s1_name: str) -> dict[str, StoredRaster]:
        return self._bands(s1_name, POLARISATIONS, "image")

    def codes(self, patch: str) -> StoredRaster:
        return self._bands(f"{patch}_reference_map", ("Data",), "label")["Data"]

    def _bands(self, key: str, bands: Sequence[str], what: str) -> dict[str, StoredRaster]:
        source = f"{self.path}: {key}"
        arrays = self._arrays(key, source, what)
        missing = next((band for band in bands if band not in arrays), None)
        if missing is not None:
            raise ChipError(f"{source}: has no {missing}, only {', '.join(sorted(arrays))}", reason=f"missing {what}")
        return {band: _without_place(arrays[band], f"{source}, {band}", what) for band in bands}

    def _arrays(self, key: str, source: str, what: str) -> Mapping[str, NDArray[Any]]:
        with _open_database(self.path, os.getpid()).begin(buffers=True) as transaction:
            value = transaction.get(key.encode())
            if value is None:
                raise ChipError(f"{source}: no such key", reason=f"missing {what}")
            try:
                return safetensors.numpy.load(bytes(value))
            except (SafetensorError, ValueError, KeyError) as error:
                raise ChipError(
                    f"{source}: not a safetensors dictionary ({error})", reason=f"unreadable {what}"
                ) from error


@lru_cache(maxsize=4)
def _open_database(path: Path, process: int) -> lmdb.Environment:
    """An open LMDB. It must not be carried into another process, so `process` is part of the key."""
    try:
        import lmdb
    except ImportError:
        raise SceneError(f"{path}: an LMDB is read by the package lmdb; pip install terrascope-eo[data]") from None
    try:
        return lmdb.open(str(path), readonly=True, lock=False, readahead=False, subdir=True)
    except lmdb.Error as error:
        raise SceneError(f"{path}: cannot be opened as an LMDB ({error}); fetch or write it again") from None


def _without_place(numbers: NDArray[Any], source: str, what: str) -> StoredRaster:
    if numbers.ndim != 2:
        raise ChipError(f"{source}: has the shape {numbers.shape}, not [H, W]", reason=f"unreadable {what}")
    grid = Grid(height=numbers.shape[0], width=numbers.shape[1], georeference=Georeference(gsd_m=GSD_M))
    return StoredRaster(numbers=numbers[None], grid=grid, source=source)
