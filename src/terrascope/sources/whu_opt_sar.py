"""WHU-OPT-SAR: 100 scenes of 5556 x 3704 pixels of 5 m in Hubei, China: optical, SAR and land cover.

Layout: `optical`, `sar` and `lbl` with a GeoTIFF of the same name each: red, green, blue and near infrared in 8 bits;
one band of backscatter in 8 bits; class codes 10 to 70, 0 for background. The files do not say where they lie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import SceneError
from terrascope.georeference import Georeference
from terrascope.landcover import (
    OTHER,
    TERRASCOPE,
    WHU_OPT_SAR,
    WHU_OPT_SAR_CODES,
    WHU_OPT_SAR_IGNORED,
    WHU_OPT_SAR_OTHER,
    WHU_OPT_SAR_TO_TERRASCOPE,
    Nomenclature,
)
from terrascope.rasters.grids import Part
from terrascope.rasters.registry import Sensor
from terrascope.rasters.sensors import sensor_named, to_physical
from terrascope.scene import LabelMap, Observation
from terrascope.sources.chips import Chip, ChipError, Entry, Index
from terrascope.sources.images import join
from terrascope.sources.label_codes import find_class_ids
from terrascope.sources.places import SPLITS, split_of_place
from terrascope.sources.stored import StoredRaster, read_size, read_stored

GSD_M = 5.0
COUNTRY = "China"
FOLDERS = ("optical", "sar", "lbl")

_CODES: Mapping[str, tuple[Nomenclature, Mapping[int, str]]] = {
    WHU_OPT_SAR.name: (WHU_OPT_SAR, WHU_OPT_SAR_CODES),
    TERRASCOPE.name: (
        TERRASCOPE,
        {code: WHU_OPT_SAR_TO_TERRASCOPE[name] for code, name in WHU_OPT_SAR_CODES.items()},
    ),
}


@dataclass(frozen=True)
class WhuOptSar:
    """The scenes below a folder, cut into chips; what remains on the right and below is left out.

    A chip's key is `<scene>_<row>_<column>` with the row and column of its first pixel, its place is the scene. The
    data set has no split: a scene's name draws one (`places.split_of_place`; 80, 10 and 10 %), always the same.

    Attributes:
        root: the folder.
        size: edge of a chip in pixels.
        nomenclature: `whu-opt-sar` or `terrascope`.
        sensor: what the optical files are; its bands are theirs, in order.
    """

    root: Path
    size: int = 512
    nomenclature: str = WHU_OPT_SAR.name
    sensor: str = "rgb-nir"
    name: str = "whu-opt-sar"

    def __post_init__(self) -> None:
        if self.nomenclature not in _CODES:
            raise SceneError(f"whu-opt-sar: no label map in {self.nomenclature!r}; choose one of {', '.join(_CODES)}")
        if self.size < 1:
            raise SceneError(f"whu-opt-sar: chips of {self.size} pixels; the size must be a positive number")
        sensor_named(self.sensor)

    def index(self, split: str) -> Index:
        """The chips of a split, scene by scene in the order of their names. Of the label maps only headers are read.

        Raises:
            SceneError: a folder is missing, or an unknown split.
        """
        if split not in SPLITS:
            raise SceneError(f"whu-opt-sar: no split {split!r}; choose one of {', '.join(SPLITS)}")
        missing = next((folder for folder in FOLDERS if not (self.root / folder).is_dir()), None)
        if missing is not None:
            raise SceneError(f"{self.root / missing}: not found; give the folder that holds {', '.join(FOLDERS)}")
        entries, skipped = [], Counter[str]()
        for path in sorted((self.root / "lbl").glob("*.tif")):
            scene = path.stem
            if split_of_place(scene) != split:
                continue
            try:
                height, width = _size(path, path.stat().st_mtime_ns)
            except SceneError:
                skipped["unreadable label"] += 1
                continue
            entries += [
                Entry(f"{scene}_{row}_{column}", scene)
                for row in range(0, height - self.size + 1, self.size)
                for column in range(0, width - self.size + 1, self.size)
            ]
        return Index(entries=tuple(entries), skipped=dict(skipped))

    def read(self, key: str) -> Chip:
        """A chip: 8-bit optical and SAR images and their classes, read from its part of the files.

        Raises:
            ChipError: no such chip; a file is missing, damaged or of another size or kind; a code is unknown; nothing
                was measured.
        """
        scene, row, column = _parse(key)
        part = slice(row, row + self.size), slice(column, column + self.size)
        stored = self._read("lbl", scene, part)
        optical, sar = (
            self._image(self._read(folder, scene, part), sensor_named(sensor), stored)
            for folder, sensor in (("optical", self.sensor), ("sar", "sar-8bit"))
        )
        nomenclature, mapping = _CODES[self.nomenclature]
        codes, ignored = stored.numbers[0], {*WHU_OPT_SAR_IGNORED, WHU_OPT_SAR_OTHER}
        ids = find_class_ids(codes, mapping, nomenclature, ignored=ignored, source=stored.source)
        ids[codes == WHU_OPT_SAR_OTHER] = OTHER
        labels = LabelMap(
            ids=ids,
            nomenclature=nomenclature,
            class_ids_known=tuple(sorted({nomenclature.id_of(name) for name in mapping.values()})),
        )
        return Chip(
            source=self.name,
            key=key,
            place=scene,
            split=split_of_place(scene),
            scene=join(key, optical=[optical], sar=[sar]),
            labels=(labels,),
            country=COUNTRY,
        )

    def _read(self, folder: str, scene: str, part: Part) -> StoredRaster:
        what = "label" if folder == "lbl" else "image"
        stored = read_stored(self.root / folder / f"{scene}.tif", what, gsd_m=GSD_M, part=part)
        if not np.issubdtype(stored.numbers.dtype, np.integer):
            sentence = f"{stored.source}: holds {stored.numbers.dtype}, not whole numbers"
            raise ChipError(sentence, reason=f"{what} of another type")
        return stored

    def _image(self, stored: StoredRaster, sensor: Sensor, labels: StoredRaster) -> Observation:
        """An image; a pixel that is 0 in every band was not measured."""
        source, numbers = stored.source, stored.numbers
        if stored.grid.shape != labels.grid.shape:
            (height, width), (rows, columns) = stored.grid.shape, labels.grid.shape
            sentence = f"{source}: has {width} x {height} pixels, but its label map {columns} x {rows}"
            raise ChipError(sentence, reason="label of another size")
        if len(numbers) != len(sensor.bands) or (sensor.is_8bit and numbers.dtype != np.uint8):
            sentence = f"{source}: has {len(numbers)} bands of {numbers.dtype}, not {', '.join(sensor.bands)}"
            raise ChipError(f"{sentence} as {sensor.name} has them", reason="image of another kind")
        pixels, measured = to_physical(sensor, numbers)
        valid: NDArray[np.bool_] = np.logical_or.reduce(numbers != 0) & np.logical_and.reduce(measured)
        if not valid.any():
            raise ChipError(f"{source}: no pixel of the chip was measured", reason="nothing measured")
        pixels[:, ~valid] = 0
        return Observation(
            pixels=pixels,
            bands=sensor.bands,
            modality=sensor.modality,
            sensor=sensor.name,
            valid=valid,
            georeference=Georeference(gsd_m=GSD_M),
            source=source,
        )


def _parse(key: str) -> tuple[str, int, int]:
    parts = key.rsplit("_", 2)
    if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        raise ChipError(f"whu-opt-sar: {key!r} is no chip; write it as <scene>_<row>_<column>", reason="unknown chip")
    return parts[0], int(parts[1]), int(parts[2])


@lru_cache(maxsize=256)
def _size(path: Path, changed_ns: int) -> tuple[int, int]:
    """`read_size`, once for a file; `changed_ns` tells it from an earlier version."""
    return read_size(path)
