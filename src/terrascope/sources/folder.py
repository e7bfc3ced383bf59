"""Any folder of images with label rasters and a legend; also images alone, for annotation.

Layout: `images/<chip>.tif` (or `.png`, `.jpg`, `.jp2`, or a folder of single-band files), or `optical/` and `sar/` with
equal names; `labels/<chip>.tif` of the image's size; `legend.csv` (or `.json`) with `code,name` and, if wanted,
`plural,color`; and, if there is one, `split.csv` with `chip,group,split`.

Images of several dates are `<chip>__1`, `<chip>__2` ..., or `<chip>__2024-05-01` (also `<chip>__20240501`), which
states the day; each with a label raster of the same name, as land cover changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from rasterio.errors import RasterioError

from terrascope.errors import SceneError
from terrascope.landcover import UNLABELLED
from terrascope.rasters.files import describe_file, gdal_settings, open_raster
from terrascope.rasters.grids import Grid
from terrascope.rasters.read import open_scene
from terrascope.scene import LabelMap, Scene
from terrascope.sources.chips import Chip, ChipError, Entry, Index
from terrascope.sources.folder_files import Dated, Listing, Where, list_chips, read_places, stamps_of
from terrascope.sources.images import find_center
from terrascope.sources.legend import Legend, read_legend
from terrascope.sources.places import SPLITS, find_outlines, group_overlapping, split_of_place

_OWN_OPTIONS = {"--sar-sensor": "sar_sensor=", "--sensor": "sensor=", "--gsd": "gsd_m=", "--nodata": "nodata="}
"""What a data set calls the options that sentences about images advise."""


@dataclass(frozen=True)
class Folder:
    """The chips of a folder.

    Where images, SAR images and label rasters lie is the name of a folder, or a pattern with one `*` in place of the
    chip's name, as in `S1Hand/*_S1Hand.tif`.

    Chips of one place are never separated. With `split.csv` a place is what the table calls a group. Without it, chips
    that overlap on the ground are one place, and chips whose files do not say where they lie are each their own; eight
    of ten places are for training, one each for validation and test, drawn by the place's name. Images that are added
    may join two places, so a folder that grows should have the table.

    Attributes:
        root: the folder.
        optical, sar: where the images are. If both are None: `optical` and `sar`, as far as there are such folders,
            else `images`, which are optical.
        labels: where the label rasters are; None for `labels` if it is there, an empty name for none. Where there are
            labels, chips without one are left out and counted.
        legend: what the codes of the labels mean, as in `terrascope.sources.legend.read_legend`.
        sensor, sar_sensor: names of `terrascope.rasters.sensors.SENSORS`; None to go by what the files say.
        gsd_m: pixel size in metres, where the files do not know it or are wrong about it.
        nodata: number that marks unmeasured pixels of images, where the files do not say it.
    """

    root: Path
    optical: str | None = None
    sar: str | None = None
    labels: str | None = None
    legend: str = ""
    sensor: str | None = None
    sar_sensor: str | None = None
    gsd_m: float | None = None
    nodata: float | None = None
    name: str = "folder"

    def index(self, split: str) -> Index:
        """The chips of a split, by name.

        Raises:
            SceneError: a folder, or the legend, is missing; or there is no chip at all.
        """
        if split not in SPLITS:
            raise SceneError(f"folder: no split {split!r}; choose one of {', '.join(SPLITS)}")
        listing = self._list()
        if listing.is_labelled:
            read_legend(self.legend, self.root)
        skipped = Counter(listing.skipped)
        places = self._places()
        skipped["not in split.csv"] += sum(chip not in places for chip in listing.chips)
        if (self.root / "split.csv").is_file():
            skipped["in split.csv, but no such chip"] += sum(chip not in listing.chips for chip in places)
        entries = tuple(
            Entry(chip, places[chip][0]) for chip in listing.chips if chip in places and places[chip][1] == split
        )
        return Index(entries=entries, skipped=dict(+skipped))

    def read(self, key: str) -> Chip:
        """The images of a chip on one grid, and a label map for each date where there are labels.

        Raises:
            ChipError: an image or a label raster is damaged, or the two do not fit.
        """
        listing, places = self._list(), self._places()
        dates = listing.chips.get(key)
        if dates is None or key not in places:
            raise ChipError(f"{self.root}: no chip {key}", reason="unknown chip")
        scene, order = self._open(key, dates)
        labels: tuple[LabelMap, ...] = ()
        if listing.is_labelled:
            legend = read_legend(self.legend, self.root)
            labels = tuple(_read_label(dates[date].label, legend, scene) for date in order)
        place, split = places[key]
        return Chip(
            source=self.name,
            key=key,
            place=place,
            split=split,
            scene=scene,
            labels=labels,
            lonlat=find_center(scene),
        )

    def _open(self, key: str, dates: tuple[Dated, ...]) -> tuple[Scene, list[int]]:
        """The scene of a chip, and which of the dates each of its pairs is."""
        optical, sar = ([str(path) for date in dates if (path := getattr(date, kind))] for kind in ("optical", "sar"))
        days = [date.day for date in dates if date.day is not None]
        try:
            scene = open_scene(
                optical=optical,
                sar=sar,
                dates=days if len(days) == len(dates) else None,
                sensor=self.sensor,
                sar_sensor=self.sar_sensor,
                gsd_m=self.gsd_m,
                nodata=self.nodata,
            )
        except SceneError as error:
            sentence = str(error)
            for option, own in _OWN_OPTIONS.items():
                sentence = sentence.replace(option, own)
            raise ChipError(f"chip {key}: {sentence}", reason="unreadable image") from error
        # Images that know their days are put in their order, whatever their names say.
        return scene, [(optical or sar).index(pair.observations[0].source) for pair in scene.pairs]

    def _list(self) -> Listing:
        if not self.root.is_dir():
            raise SceneError(f"{self.root}: no such folder; give the one that holds the images")
        where = self._where()
        return list_chips(self.root, where, stamps_of(self.root, where))

    def _places(self) -> Mapping[str, tuple[str, str]]:
        """Chip -> place and split."""
        table = self.root / "split.csv"
        if table.is_file():
            return read_places(table, table.stat().st_mtime_ns)
        # Of all images, with labels or without, so that a chip's place does not depend on what it is used for.
        where = self._where()._replace(labels="")
        return _places_on_ground(self.root, where, stamps_of(self.root, where))

    def _where(self) -> Where:
        """The patterns by which images and label rasters are found."""
        if self.optical is None and self.sar is None:
            optical, sar = ((kind if (self.root / kind).is_dir() else "") for kind in ("optical", "sar"))
            optical = optical if optical or sar else "images"
        else:
            optical, sar = self.optical or "", self.sar or ""
        labels = self.labels
        if labels is None:
            labels = "labels" if (self.root / "labels").is_dir() else ""
        return Where(*(name if not name or "*" in name else f"{name}/*" for name in (optical, sar, labels)))


@lru_cache(maxsize=4)
def _places_on_ground(root: Path, where: Where, stamps: tuple[int, ...]) -> Mapping[str, tuple[str, str]]:
    """Chip -> place and split, by which chips overlap; the place is called after the first of its chips."""
    chips = list_chips(root, where, stamps).chips
    groups = group_overlapping(find_outlines([dates[0].optical or dates[0].sar for dates in chips.values()]))
    first: dict[int, str] = {}
    for chip, group in zip(chips, groups, strict=True):
        first.setdefault(group, chip)
    return {chip: (first[group], split_of_place(first[group])) for chip, group in zip(chips, groups, strict=True)}


def _read_label(path: Path | None, legend: Legend, scene: Scene) -> LabelMap:
    """The label map of one date on the scene's grid. Of a date without a label raster nothing is known.

    Raises:
        ChipError: the raster is damaged, lies elsewhere or has another size, or holds a code that the legend lacks.
    """
    if path is None:
        return LabelMap(
            ids=np.full(scene.shape, UNLABELLED, np.uint8), nomenclature=legend.nomenclature, class_ids_known=()
        )
    try:
        grid = describe_file(str(path))[1]
        with gdal_settings(), open_raster(str(path)) as raster:
            layers, nodata = raster.read(), raster.nodata
    except (SceneError, RasterioError) as error:
        raise ChipError(f"{path}: not a readable label raster ({error})", reason="unreadable label") from error
    rows, columns = _part_of(grid, scene, path)
    return LabelMap(
        ids=legend.translate(layers[:, rows, columns], str(path), nodata=nodata),
        nomenclature=legend.nomenclature,
        class_ids_known=legend.class_ids,
    )


def _part_of(grid: Grid, scene: Scene, path: Path) -> tuple[slice, slice]:
    """The rows and columns of a label raster that lie on the scene, which may be a part of it."""
    height, width = scene.shape
    there = Grid(height=height, width=width, georeference=scene.georeference)
    if not (grid.is_located and there.is_located):
        if grid.shape != there.shape:
            raise ChipError(
                f"{path}: {grid.width} x {grid.height} pixels, but the image has {width} x {height}; give a label "
                "raster of the image's size",
                reason="label of another size",
            )
        return grid.whole
    if not there.crs.equals(grid.crs, ignore_axis_order=True):
        raise ChipError(
            f"{path}: its CRS ({grid.crs.name}) is not the image's ({there.crs.name}); reproject the label raster",
            reason="label in another CRS",
        )
    offset = there.offset_in(grid)
    if offset is None or min(offset) < 0 or offset[0] + height > grid.height or offset[1] + width > grid.width:
        raise ChipError(
            f"{path}: {grid.width} x {grid.height} pixels that do not cover the image's {width} x {height} one by one; "
            "give a label raster on the image's grid",
            reason="label on another grid",
        )
    return slice(offset[0], offset[0] + height), slice(offset[1], offset[1] + width)
