"""Chips for tests: painted ones whose numbers are known, and a population of drawn ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from terrascope.georeference import Georeference
from terrascope.landcover import OTHER, TERRASCOPE, Nomenclature
from terrascope.scene import LabelMap, Observation, Scene
from terrascope.sources.chips import Chip
from terrascope.sources.generated import Generated

Box = tuple[int, int, int, int]
SIZE = 100


def paint(
    *boxes: tuple[str, Box], background: str | None = None, nomenclature: Nomenclature = TERRASCOPE
) -> NDArray[np.uint8]:
    """Class ids `[100, 100]`: boxes (top, bottom, left, right) of classes, later ones over earlier ones."""
    ids = np.full((SIZE, SIZE), OTHER if background is None else nomenclature.id_of(background), np.uint8)
    for name, (top, bottom, left, right) in boxes:
        ids[top:bottom, left:right] = nomenclature.id_of(name)
    return ids


def chip_of(
    *dates: NDArray[np.uint8],
    known: tuple[str, ...] | None = None,
    gsd_m: float | None = 10.0,
    nomenclature: Nomenclature = TERRASCOPE,
    objects: NDArray[np.int32] | None = None,
    country: str | None = None,
    lonlat: tuple[float, float] | None = None,
) -> Chip:
    """A chip with these label maps, which vouch for all classes of the nomenclature unless `known` names some."""
    shape = dates[0].shape
    image = Observation(
        pixels=np.zeros((3, *shape), np.float32),
        bands=("red", "green", "blue"),
        modality="optical",
        sensor="sentinel-2",
        valid=np.ones(shape, bool),
        georeference=Georeference(gsd_m=gsd_m),
    )
    names = nomenclature.names if known is None else known
    labels = tuple(
        LabelMap(
            ids=ids,
            nomenclature=nomenclature,
            class_ids_known=tuple(nomenclature.id_of(name) for name in names),
            objects=objects,
        )
        for ids in dates
    )
    return Chip(
        source="painted",
        key="0",
        place="0",
        split="train",
        scene=Scene.of(optical=[image] * len(dates)),
        labels=labels,
        country=country,
        lonlat=lonlat,
    )


@cache
def drawn(num: int, size: int = 96) -> tuple[Chip, ...]:
    """Generated chips: country and town, one date or two; every third lacks its western columns."""
    source = Generated(num=num, size=size)
    chips = [source.read(entry.key) for entry in source.index("train").entries]
    return tuple(_cut(chip, size // 12) if index % 3 == 2 else chip for index, chip in enumerate(chips))


def _cut(chip: Chip, num_columns: int) -> Chip:
    """The chip with its first columns unmeasured."""
    valid = np.ones(chip.scene.shape, bool)
    valid[:, :num_columns] = False

    def cut(image: Observation | None) -> Observation | None:
        return None if image is None else replace(image, valid=valid)

    pairs = tuple(replace(pair, optical=cut(pair.optical), sar=cut(pair.sar)) for pair in chip.scene.pairs)
    return replace(chip, scene=Scene(pairs))
