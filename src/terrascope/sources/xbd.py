"""xBD: satellite images before and after a disaster, every building outlined, and graded by its damage.

Layouts: `{train,tier3,test,hold}/{images,labels}`, `<disaster>/{images,labels}` (also below `xBD`), or `images` and
`labels` alone; in them `<disaster>_<8 digits>_{pre,post}_disaster`, `.png` or `.tif` and `.json` (1024 x 1024 pixels).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rasterio.features import rasterize

from terrascope.errors import SceneError
from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED, XBD_DAMAGE, XBD_SUBTYPES, XBD_TO_TERRASCOPE
from terrascope.scene import LabelMap
from terrascope.sources.chips import Chip, ChipError, Entry, Index
from terrascope.sources.images import find_center, join, read_image
from terrascope.sources.places import SPLITS, split_of_place
from terrascope.sources.xbd_labels import (
    UNCLASSIFIED,
    Building,
    areal,
    capture_date,
    find_buildings,
    first_lng_lat,
    fit_georeference,
    read_label,
)

SPLIT_FOLDERS = {"train": "train", "tier3": "train", "hold": "val", "test": "test"}
"""The folders of xBD's own split."""

CELL_DEG = 0.05
"""Side of the cells of longitude and latitude by which places are told apart: about 5 km, or 10 chips."""

NOMENCLATURES = {TERRASCOPE.name: TERRASCOPE, XBD_DAMAGE.name: XBD_DAMAGE}

COUNTRIES = {
    "guatemala-volcano": "Guatemala",
    "hurricane-matthew": "Haiti",
    "mexico-earthquake": "Mexico",
    "nepal-flooding": "Nepal",
    "palu-tsunami": "Indonesia",
    "pinery-bushfire": "Australia",
    "portugal-wildfire": "Portugal",
    "sunda-tsunami": "Indonesia",
}
"""Where the disasters were; all others of xBD were in the United States."""

_NAME = re.compile(r"(?P<chip>(?P<disaster>.+)_\d{8})_(?P<when>pre|post)_disaster")
_SUFFIXES = (".png", ".tif", ".tiff")


@dataclass(frozen=True)
class Xbd:
    """The chips below a folder: two dates each, with the buildings of both.

    Neighbouring chips of one disaster show one town on one day, and xBD's own split, which is random, tears them apart.
    So the place of a chip is its disaster and the cell of longitude and latitude that it begins in, and chips of xBD's
    training folders whose place `test` or `hold` show as well are left out and counted. What remains is all of `tier3`,
    whose disasters are in no other folder, and little of `train`. `by_place=False` takes xBD's split as it is: every
    chip is a place of its own. Folders without a split are split by place.

    Attributes:
        root: the folder.
        nomenclature: `terrascope` (building, destroyed building) or `xbd-damage` (all grades of damage).
        by_place: whether neighbouring chips are one place.
    """

    root: Path
    nomenclature: str = TERRASCOPE.name
    by_place: bool = True
    name: str = "xbd"

    def __post_init__(self) -> None:
        if self.nomenclature not in NOMENCLATURES:
            raise SceneError(
                f"xbd: no nomenclature {self.nomenclature!r} for buildings; choose one of {', '.join(NOMENCLATURES)}"
            )

    def index(self, split: str) -> Index:
        """The chips of a split, by folder and name. Of the label files only the beginning is read.

        Raises:
            SceneError: no folder `images` where xBD has one, or an unknown split.
        """
        if split not in SPLITS:
            raise SceneError(f"xbd: no split {split!r}; choose one of {', '.join(SPLITS)}")
        entries, skipped = [], Counter[str]()
        listed: list[tuple[str, Entry]] = []
        for folder in self._folders():
            if self._official(folder) not in (None, split) and not (self.by_place and split == "train"):
                continue
            for chip, reason in self._pairs(folder):
                if reason is not None:
                    skipped[reason] += self._official(folder) in (None, split)
                    continue
                key = f"{folder}/{chip}" if folder else chip
                place = self._place(chip, first_lng_lat(self._label(key, "pre"))) if self.by_place else chip
                listed.append((self._official(folder) or split_of_place(place), Entry(key, place)))
        kept_for_others = {entry.place for owner, entry in listed if owner != "train"} if split == "train" else set()
        for owner, entry in listed:
            if owner == split and entry.place in kept_for_others:
                skipped["shares its place with a chip of another split"] += 1
            elif owner == split:
                entries.append(entry)
        return Index(entries=tuple(entries), skipped=dict(+skipped))

    def read(self, key: str) -> Chip:
        """Both dates of a place, with the buildings of each; a building has one number on both dates.

        Raises:
            ChipError: an image or a label file is missing or damaged.
        """
        named = _NAME.fullmatch(f"{Path(key).name}_pre_disaster")
        if named is None:
            raise ChipError(f"{key}: not the name of an xBD chip (<disaster>_<8 digits>)", reason="unknown chip")
        labels = {when: read_label(self._label(key, when)) for when in ("pre", "post")}
        buildings = {when: find_buildings(label, self._label(key, when)) for when, label in labels.items()}
        georeference = fit_georeference(buildings["pre"]) or fit_georeference(buildings["post"])
        images = []
        for when, label in labels.items():
            image = read_image(self._image(key, when), sensor="rgb", date=capture_date(label))
            images.append(image if georeference is None else replace(image, georeference=georeference))
        scene = join(key, optical=images)
        numbers = {
            uid: number for number, uid in enumerate({b.uid: None for both in buildings.values() for b in both}, 1)
        }
        place = self._place(named["chip"], first_lng_lat(self._label(key, "pre"))) if self.by_place else named["chip"]
        return Chip(
            source=self.name,
            key=key,
            place=place,
            split=self._official(str(Path(key).parent)) or split_of_place(place),
            scene=scene,
            labels=(
                self._label_map(buildings["pre"], numbers, scene.shape, known=("building",)),
                self._label_map(buildings["post"], numbers, scene.shape, known=self._grades),
            ),
            country=COUNTRIES.get(named["disaster"], "United States"),
            lonlat=find_center(scene),
        )

    @property
    def _grades(self) -> tuple[str, ...]:
        """Classes that the label map after a disaster tells apart."""
        if self.nomenclature == XBD_DAMAGE.name:
            return tuple(XBD_SUBTYPES.values())
        return tuple(dict.fromkeys(XBD_TO_TERRASCOPE.values()))

    def _label_map(
        self, buildings: list[Building], numbers: Mapping[str, int], shape: tuple[int, int], *, known: tuple[str, ...]
    ) -> LabelMap:
        nomenclature = NOMENCLATURES[self.nomenclature]
        class_of = np.full(len(numbers) + 1, OTHER, np.uint8)
        for building in buildings:
            class_of[numbers[building.uid]] = self._class_id(building)
        # One pass burns what `masks.rasterize` would one by one: pixels whose centre lies inside, holes left open.
        polygons = [(areal(building.xy), numbers[building.uid]) for building in buildings]
        burnt = [(polygon, number) for polygon, number in polygons if not polygon.is_empty]
        objects = rasterize(burnt, out_shape=shape, dtype="int32") if burnt else np.zeros(shape, np.int32)
        return LabelMap(
            ids=class_of[objects],
            nomenclature=nomenclature,
            class_ids_known=tuple(nomenclature.id_of(name) for name in known),
            objects=objects,
        )

    def _class_id(self, building: Building) -> int:
        if building.subtype == UNCLASSIFIED:
            return UNLABELLED
        grade = "building" if building.subtype is None else XBD_SUBTYPES[building.subtype]
        if self.nomenclature == XBD_DAMAGE.name:
            return XBD_DAMAGE.id_of(grade)
        return TERRASCOPE.id_of(XBD_TO_TERRASCOPE[grade])

    def _folders(self) -> list[str]:
        """The folders that hold `images`, relative to the root; an empty name for the root itself."""
        if not self.root.is_dir():
            raise SceneError(f"{self.root}: no such folder; give the one that holds xBD")
        if (self.root / "images").is_dir():
            return [""]
        found = sorted(path.parent for depth in ("*", "*/*") for path in self.root.glob(f"{depth}/images"))
        if not found:
            expected = ", ".join([*SPLIT_FOLDERS, "<disaster>"])
            raise SceneError(f"{self.root}: no folder images in it, nor in a folder of it ({expected})")
        return [str(path.relative_to(self.root)) for path in found]

    def _official(self, folder: str) -> str | None:
        """The split that xBD has put a folder into; None where it has not."""
        return SPLIT_FOLDERS.get(Path(folder).name)

    def _pairs(self, folder: str) -> Iterator[tuple[str, str | None]]:
        """The chips of a folder, each with what it lacks, or None."""
        images, labels = (
            {path.stem for path in (self.root / folder / kind).iterdir() if path.suffix.lower() in suffixes}
            if (self.root / folder / kind).is_dir()
            else set()
            for kind, suffixes in (("images", _SUFFIXES), ("labels", (".json",)))
        )
        chips = {named["chip"] for stem in images | labels if (named := _NAME.fullmatch(stem)) is not None}
        for chip in sorted(chips):
            stems = {f"{chip}_{when}_disaster" for when in ("pre", "post")}
            lacks = "no image of one of the dates" if stems - images else "no labels of one of the dates"
            yield chip, lacks if stems - images or stems - labels else None

    def _label(self, key: str, when: str) -> Path:
        folder, chip = self.root / Path(key).parent, Path(key).name
        return folder / "labels" / f"{chip}_{when}_disaster.json"

    def _image(self, key: str, when: str) -> Path:
        stem = self.root / Path(key).parent / "images" / f"{Path(key).name}_{when}_disaster"
        paths = [stem.with_name(stem.name + suffix) for suffix in _SUFFIXES]
        return next((path for path in paths if path.exists()), paths[0])

    def _place(self, chip: str, lng_lat: tuple[float, float] | None) -> str:
        if lng_lat is None:  # without a building nothing tells where it lies
            return chip
        column, row = (math.floor(degrees / CELL_DEG) for degrees in lng_lat)
        return f"{chip.rpartition('_')[0]}/{column}_{row}"
