"""OMBRIA: 256 x 256 chips before and after a flood, Sentinel-2 false colour and Sentinel-1, with masks of new flooding.

Layout: `s2_before`, `s2_after`, `s1_before`, `s1_after`, `mask` with one PNG of the same name each, and `split.csv`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from terrascope.landcover import OTHER, TERRASCOPE
from terrascope.rasters.read import read_observation
from terrascope.rasters.sensors import SENSORS
from terrascope.scene import LabelMap, Observation, Scene
from terrascope.sources.chips import Chip, read_layers, read_split

GSD_M = 10.0
FLOOD = TERRASCOPE.id_of("flood")


def read_chips(root: Path, split: str) -> Iterator[Chip]:
    """Yield the chips of a split in the order of `split.csv`: two dates, optical and SAR, flood known on both."""

    def read(folder: str, chip: str, sensor: str) -> Observation:
        modality = SENSORS[sensor].modality
        return read_observation(root / folder / chip, sensor=sensor, modality=modality, gsd_m=GSD_M)

    for row in read_split(root, split):
        chip = row["chip"]
        flooded = read_layers(root / "mask" / chip)[0] > 127
        scene = Scene.of(
            optical=[read(f"s2_{when}", chip, "false-color") for when in ("before", "after")],
            sar=[read(f"s1_{when}", chip, "sar-8bit") for when in ("before", "after")],
        )
        labels = tuple(
            LabelMap(ids=ids.astype(np.uint8), nomenclature=TERRASCOPE, class_ids_known=(FLOOD,))
            for ids in (np.full(flooded.shape, OTHER), np.where(flooded, FLOOD, OTHER))
        )
        yield Chip(name=chip, group=row["scene"], scene=scene, labels=labels)
