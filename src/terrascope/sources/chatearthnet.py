"""ChatEarthNet: Sentinel-2 pictures of 256 x 256 pixels with descriptions, and the land cover that these go by.

Layout, each folder a setting: `json_files/ChatEarthNet_caps_{35,4v}_{train,val,test}.json`, a list of `image` (or
`image_id`) and `caption` (text or texts); `s2_rgb_images/s2_images/<column>_<row>_patch{00,01,10,11}.png`; pictures of
the same names in `s2_band_5_6_7_images` and `s2_band_8_11_12_images`. The published archives lack the land cover:
`land_cover` holds pictures of the same names, or SatlasPretrain's own of whole tiles (512 x 512 pixels,
`<column>_<row>/land_cover.png` or `<column>_<row>.png`), in colours or grey codes. `s1_images`, if it is there, holds
`<name>.tif` (VV and VH), or folders `vv` and `vh` of pictures.

Names are tiles of SatlasPretrain: columns and rows of Web Mercator at zoom 13, 512 pixels a tile. So the name tells the
ground size of a pixel, which is 9.55 m at the equator and shrinks with the cosine of the latitude. Other names tell
none, and the scale stays unknown.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from terrascope.errors import SceneError
from terrascope.georeference import Georeference
from terrascope.landcover import (
    SATLAS,
    SATLAS_CODES,
    SATLAS_IGNORED,
    SATLAS_TO_TERRASCOPE,
    TERRASCOPE,
    color_codes,
    translate,
    unknown_codes,
)
from terrascope.scene import LabelMap, Observation
from terrascope.sources.chips import Chip, ChipError, Entry, Index
from terrascope.sources.images import join, read_image, read_picture
from terrascope.sources.places import SPLITS

PATCH, TILE = 256, 512
"""Sides in pixels of a chip, and of the tile that four chips are cut from."""

ZOOM = 13
HALF_WORLD_M = 20_037_508.342789244
"""Half the side of the Web Mercator map."""

CAPTIONS = {"3.5": "35", "4v": "4v"}
"""Who wrote the descriptions -> how its files are called."""

NOMENCLATURES = {
    TERRASCOPE.name: (TERRASCOPE, SATLAS_TO_TERRASCOPE),
    SATLAS.name: (SATLAS, {name: name for name in SATLAS.names}),
}
_GREY_CODES = dict(enumerate(SATLAS.names, 1))
_NAME = re.compile(r"(?P<column>\d+)_(?P<row>\d+)_patch(?P<down>[01])(?P<right>[01])")
_OTHER_BANDS = (("bands_5_6_7", ("B05", "B06", "B07")), ("bands_8_11_12", ("B08", "B11", "B12")))


class _Record(NamedTuple):
    split: str
    captions: tuple[str, ...]


@dataclass(frozen=True)
class ChatEarthNet:
    """The chips below a folder. Four chips of one tile are one place.

    Attributes:
        root: the folder.
        captions: who described them: `3.5` (163,488 chips) or `4v` (10,000).
        nomenclature: `terrascope`, or `satlas` for all eleven classes.
        all_bands: whether to add the red edge and infrared bands, which have pictures of their own.
        json_files, images, bands_5_6_7, bands_8_11_12, s1_images: names of the folders.
        land_cover: likewise; an empty name for chips without label maps.
        sar_sensor: what the numbers of `s1_images/<name>.tif` are: `sentinel-1` (decibels), `sentinel-1-linear` ...
    """

    root: Path
    captions: str = "3.5"
    nomenclature: str = TERRASCOPE.name
    all_bands: bool = False
    json_files: str = "json_files"
    images: str = "s2_rgb_images/s2_images"
    bands_5_6_7: str = "s2_band_5_6_7_images"
    bands_8_11_12: str = "s2_band_8_11_12_images"
    land_cover: str = "land_cover"
    s1_images: str = "s1_images"
    sar_sensor: str = "sentinel-1"
    name: str = "chatearthnet"

    def __post_init__(self) -> None:
        for field, value, known in (
            ("captions", self.captions, CAPTIONS),
            ("nomenclature", self.nomenclature, NOMENCLATURES),
        ):
            if value not in known:
                raise SceneError(f"chatearthnet: {field} {value!r} is not known; choose one of {', '.join(known)}")

    def index(self, split: str) -> Index:
        """The chips of a split in the order of its JSON file.

        Raises:
            SceneError: the file or the folder of images is missing.
        """
        if split not in SPLITS:
            raise SceneError(f"chatearthnet: no split {split!r}; choose one of {', '.join(SPLITS)}")
        for field, else_ in (
            ("images", ""),
            ("land_cover", ", or give none (land_cover=) for chips without label maps"),
        ):
            folder = self.root / getattr(self, field)
            if not folder.is_dir():
                raise SceneError(f"{folder}: no such folder; name the one that holds the pictures with {field}={else_}")
        present = {path.name for path in (self.root / self.images).iterdir()}
        skipped: Counter[str] = Counter()
        entries = []
        for key in self._read_captions(split):
            if f"{key}.png" in present:
                entries.append(Entry(key, _place(key)))
            else:
                skipped["missing image"] += 1
        return Index(entries=tuple(entries), skipped=dict(skipped))

    def read(self, key: str) -> Chip:
        """A picture, its descriptions, and its land cover and SAR image where there are such.

        Raises:
            ChipError: the picture is missing, damaged or a placeholder (all black or all white).
        """
        record = self._record(key)
        optical, sar = self._optical(key), self._sar(key)
        named, lonlat = _NAME.fullmatch(key), None
        if named is not None and max(int(named["column"]), int(named["row"])) < 2**ZOOM:
            georeference, lonlat = _locate(int(named["column"]), int(named["row"]))
            if optical.shape == (PATCH, PATCH):
                optical = replace(optical, georeference=georeference)
                sar = None if sar is None else replace(sar, georeference=georeference)
        scene = join(key, optical=[optical], sar=[] if sar is None else [sar])
        label = self._label(key, scene.shape)
        return Chip(
            source=self.name,
            key=key,
            place=_place(key),
            split=record.split,
            scene=scene,
            labels=() if label is None else (label,),
            captions=record.captions,
            lonlat=lonlat,
        )

    def _captions_file(self, split: str) -> Path:
        return self.root / self.json_files / f"ChatEarthNet_caps_{CAPTIONS[self.captions]}_{split}.json"

    def _read_captions(self, split: str) -> Mapping[str, tuple[str, ...]]:
        path = self._captions_file(split)
        if not path.is_file():
            raise SceneError(f"{path}: not found; name the folder that holds it with json_files=")
        return _captions_of(path, path.stat().st_mtime_ns)

    def _record(self, key: str) -> _Record:
        for split in SPLITS:
            if self._captions_file(split).is_file() and key in (captions := self._read_captions(split)):
                return _Record(split, captions[key])
        raise ChipError(f"{self.root / self.json_files}: no description of {key}", reason="unknown chip")

    def _optical(self, key: str) -> Observation:
        picture = read_image(self.root / self.images / f"{key}.png", sensor="rgb")
        numbers = _numbers(picture)
        if (numbers == 0).all() or (numbers == 255).all():
            raise ChipError(f"{picture.source}: all black or all white, a placeholder", reason="placeholder image")
        pixels, bands, valid = [numbers], ["B04", "B03", "B02"], picture.valid
        for field, names in _OTHER_BANDS if self.all_bands else ():
            more = read_image(self.root / getattr(self, field) / f"{key}.png", sensor="rgb")
            if more.shape != picture.shape:
                raise ChipError(f"{more.source}: not of the size of {picture.source}", reason="images of no one grid")
            pixels.append(_numbers(more))
            bands.extend(names)
            valid = valid & more.valid
        measured = np.where(valid, np.concatenate(pixels), np.float32(0))
        return replace(picture, pixels=measured, bands=tuple(bands), valid=valid, sensor="sentinel-2-8bit")

    def _sar(self, key: str) -> Observation | None:
        folder = self.root / self.s1_images
        if (folder / f"{key}.tif").exists():
            return read_image(folder / f"{key}.tif", sensor=self.sar_sensor, modality="sar")
        # Pictures of 8 bits do not say how their decibels were stretched, so one polarisation is taken as it is.
        picture = folder / "vv" / f"{key}.png"
        return read_image(picture, sensor="sar-8bit", modality="sar") if picture.exists() else None

    def _label(self, key: str, shape: tuple[int, int]) -> LabelMap | None:
        found = self._find_label(key)
        if found is None:
            return None
        path, part = found
        picture = read_picture(path)
        if part is not None and picture.shape[:2] != (TILE, TILE):
            height, width = picture.shape[:2]
            raise ChipError(f"{path}: {width} x {height} pixels; a tile has 512 x 512", reason="label of another size")
        picture = picture if part is None else picture[part]
        if picture.shape[:2] != shape:
            sizes = " and ".join(f"{width} x {height}" for height, width in (picture.shape[:2], shape))
            raise ChipError(f"{path}: label and image differ in size, {sizes}", reason="label of another size")
        is_grey = picture.ndim == 2
        codes = picture if is_grey else color_codes(picture)
        names, ignored = (_GREY_CODES, {0}) if is_grey else (SATLAS_CODES, SATLAS_IGNORED)
        if unknown := unknown_codes(codes, names, ignored):
            code = next(iter(unknown))
            said = f"code {code}" if is_grey else f"colour {code:06X}"
            raise ChipError(f"{path}: {said} is none of SatlasPretrain's land cover", reason="unknown class code")
        nomenclature, into = NOMENCLATURES[self.nomenclature]
        return LabelMap(
            ids=translate(codes, {code: into[name] for code, name in names.items()}, nomenclature),
            nomenclature=nomenclature,
            class_ids_known=tuple(sorted({nomenclature.id_of(name) for name in into.values()})),
        )

    def _find_label(self, key: str) -> tuple[Path, tuple[slice, slice] | None] | None:
        """The label picture of a chip, and which part of it is the chip's, if it is that of a whole tile."""
        if not self.land_cover:
            return None
        folder = self.root / self.land_cover
        if (folder / f"{key}.png").exists():
            return folder / f"{key}.png", None
        named = _NAME.fullmatch(key)
        if named is not None:
            tile = f"{named['column']}_{named['row']}"
            # The first digit of a patch counts downwards, the second to the right, as the indices of an array do.
            part = (_half(int(named["down"])), _half(int(named["right"])))
            for path in (folder / tile / "land_cover.png", folder / f"{tile}.png"):
                if path.exists():
                    return path, part
        raise ChipError(f"{folder / key}.png: no such label picture", reason="missing label")


def _numbers(picture: Observation) -> NDArray[np.float32]:
    return np.stack([picture.band(name) for name in picture.bands])


def _half(number: int) -> slice:
    return slice(number * PATCH, (number + 1) * PATCH)


def _place(key: str) -> str:
    return key.partition("_patch")[0]


def _locate(column: int, row: int) -> tuple[Georeference, tuple[float, float]]:
    """Size of the pixels of a tile, and its centre in degrees.

    Only the size and the tile are taken from the name, not the chip's own quarter of it.
    """
    side_m = 2 * HALF_WORLD_M / 2**ZOOM
    pixel_m = side_m / TILE
    transform = Affine(pixel_m, 0, column * side_m - HALF_WORLD_M, 0, -pixel_m, HALF_WORLD_M - row * side_m)
    tile = Georeference(crs=CRS.from_epsg(3857), transform=transform)
    lon, lat = tile.to_lonlat(TILE / 2, TILE / 2)
    gsd_m = float(np.sqrt(tile.pixel_size(TILE, TILE).area_m2.mean()))
    return Georeference(gsd_m=gsd_m), (float(lon), float(lat))


@lru_cache(maxsize=8)
def _captions_of(path: Path, changed_ns: int) -> Mapping[str, tuple[str, ...]]:
    """Name of each picture without its ending -> its descriptions; `changed_ns` tells the file from an earlier one."""
    try:
        captions = {}
        for record in json.loads(path.read_bytes()):
            image = str(record["image"] if "image" in record else record["image_id"])
            texts = record["caption"] if isinstance(record["caption"], list) else [record["caption"]]
            captions[Path(image).stem] = tuple(str(text).strip() for text in texts if str(text).strip())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SceneError(f"{path}: not a list of image (or image_id) and caption ({error!r})") from error
    return captions
