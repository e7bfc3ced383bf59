"""OMBRIA: 256 x 256 chips before and after a flood, Sentinel-2 false colour and Sentinel-1, with masks of new flooding.

Layout: `s2_before`, `s2_after`, `s1_before`, `s1_after`, `mask` with one PNG of the same name each, and `split.csv`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from terrascope.landcover import OTHER, TERRASCOPE
from terrascope.rasters.read import read_observation
from terrascope.rasters.sensors import SENSORS
from terrascope.scene import LabelMap, Observation, Scene
from terrascope.sources.chips import Chip, Entry, Index, read_layers, read_split, row_of

GSD_M = 10.0
FLOOD = TERRASCOPE.id_of("flood")


@dataclass(frozen=True)
class Ombria:
    """The chips below a folder: two dates, optical and SAR, flood known on both."""

    root: Path
    name: str = "ombria"

    def index(self, split: str) -> Index:
        """The chips of `train` or `val`, in the order of `split.csv`."""
        return Index(
            entries=tuple(Entry(row["chip"], row["scene"]) for row in read_split(self.root, split, place="scene"))
        )

    def read(self, key: str) -> Chip:
        """Two dates of a place, before and after a flood, and what of it is newly flooded."""
        row = row_of(self.root, key)
        flooded = read_layers(self.root / "mask" / key)[0] > 127
        scene = Scene.of(
            optical=[self._image(f"s2_{when}", key, "false-color") for when in ("before", "after")],
            sar=[self._image(f"s1_{when}", key, "sar-8bit") for when in ("before", "after")],
        )
        labels = tuple(
            LabelMap(ids=ids.astype(np.uint8), nomenclature=TERRASCOPE, class_ids_known=(FLOOD,))
            for ids in (np.full(flooded.shape, OTHER), np.where(flooded, FLOOD, OTHER))
        )
        return Chip(source=self.name, key=key, place=row["scene"], split=row["split"], scene=scene, labels=labels)

    def _image(self, folder: str, key: str, sensor: str) -> Observation:
        modality = SENSORS[sensor].modality
        return read_observation(self.root / folder / key, sensor=sensor, modality=modality, gsd_m=GSD_M)
