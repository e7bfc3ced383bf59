"""Products as agencies deliver them: which files of a folder are the image, and what names and metadata say of it."""

from __future__ import annotations

import datetime
import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from terrascope.errors import SceneError
from terrascope.rasters.files import open_raster
from terrascope.rasters.metadata import read_texts
from terrascope.rasters.paths import is_remote
from terrascope.rasters.plausibility import UNCALIBRATED
from terrascope.rasters.product_names import ProductName, date_in, holds_day, read_product_name, sentinel_2_of

if TYPE_CHECKING:
    from terrascope.rasters.files import ImagePath

_NUM_ANCESTORS = 6
"""From a band of a SAFE product up to the product's folder: R10m, IMG_DATA, granule, GRANULE, the product."""

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_S2_METADATA = ("MTD_MSIL2A.xml", "MTD_MSIL1C.xml")
_S2_FOLDERS = ("IMG_DATA", "GRANULE")
_S2_LAYER = re.compile(r"_(?P<layer>B\d[0-9A]|SCL)(?:_(?P<metres>\d\d)m)?\.(?:jp2|tif)$")
_ACQUIRED = (
    "ACQUISITION_DATE",
    "ACQUISITIONDATETIME",
    "ACQUISITION_DATETIME",
    "DATE_ACQUIRED",
    "SENSING_TIME",
    "PRODUCT_START_TIME",
    "DATETIME",
)
"""Metadata items that say when the image was taken."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """What is known of an image before it is opened, from its names and the metadata beside it.

    Attributes:
        files: the files to read, where the path is a product's folder; None where any image in it may belong to it.
        sensor: name of the sensor's entry, or None where the names leave it open.
        date: day of acquisition, if it is known.
        evidence: what was gone by, one phrase each. assumptions: what was taken for granted, one sentence each.
        scaling: scale and offset that the product's metadata state, in place of the sensor's.
    """

    files: tuple[str, ...] | None = None
    sensor: str | None = None
    date: datetime.date | None = None
    evidence: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    scaling: tuple[float, float] | None = None

    def knowing(self, *evidence: str) -> Product:
        """The same with more evidence."""
        return replace(self, evidence=(*self.evidence, *evidence))


def find_product(path_or_paths: ImagePath, *, allow_virtual: bool = False) -> Product:
    """Recognise a product by its names and metadata: Sentinel-2 and Sentinel-1 SAFE, Landsat, HLS, PlanetScope, RTC.

    The day of acquisition is looked for in the product's name, then in the file's metadata, then as plain digits in the
    names. Names of two days, and digits that are no day, give none. What is no path gives an empty product.

    Args:
        allow_virtual: as for `files.open_raster`.

    Raises:
        SceneError: a file that cannot be opened; an archive that must be unpacked first; several products in one
            image; a product whose numbers cannot be read; metadata that are damaged, or state what no sensor has.
    """
    if isinstance(path_or_paths, str | bytes | os.PathLike):
        given = os.fsdecode(path_or_paths)
        _refuse_archive(given)
        if os.path.isdir(given):
            product = _dated(_product_in_folder(given), [os.path.basename(os.path.abspath(given))], {})
            inside = [Path(path).stem for path in product.files or _files_in(given)]
            return _dated(product, [name for name in inside if holds_day(name)], {})
        paths = [given]
    elif isinstance(path_or_paths, list | tuple) and all(
        isinstance(p, str | bytes | os.PathLike) for p in path_or_paths
    ):
        paths = [os.fsdecode(path) for path in path_or_paths]
        for path in paths:
            _refuse_archive(path)
    else:
        paths = []
    if not paths:
        return Product()
    tags = _tags(paths[0], allow_virtual=allow_virtual)
    return _dated(_product_of_files(paths), [Path(path.split("?")[0]).stem for path in paths], tags)


def _refuse_archive(path: str) -> None:
    if path.lower().endswith(_ARCHIVES) and not os.path.isdir(path):
        raise SceneError(f"{path}: is an archive; unpack it and give the folder that comes out of it")


def _product_in_folder(folder: str) -> Product:
    layers = _sentinel_2_layers(folder)
    if layers:
        return replace(_product_of_files(layers), files=tuple(layers))
    measurements = os.path.join(folder, "measurement")
    files = _files_in(measurements if os.path.isdir(measurements) else folder)
    named = {path: name for path in files if (name := read_product_name(os.path.basename(path))) is not None}
    chosen = [path for path, name in named.items() if name.layers and re.search(name.layers, path, re.IGNORECASE)]
    if chosen:
        return replace(_product_of_files(chosen), files=tuple(chosen))
    return _product_of_files([folder])


def _files_in(folder: str) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(folder) if os.path.isfile(entry.path))
    except OSError as error:
        raise SceneError(f"{folder}: the folder cannot be read ({error.strerror})") from None


def _sentinel_2_layers(folder: str) -> list[str]:
    """The files of a SAFE product (or a folder in it): each layer once, at the finest resolution it comes in."""
    granules = sorted(glob.glob(os.path.join(glob.escape(folder), "GRANULE", "*", "IMG_DATA")))
    if len(granules) > 1:
        example = os.path.relpath(os.path.dirname(granules[0]), folder)
        raise SceneError(f"{folder}: holds {len(granules)} granules; give one of them, such as {example}")
    above, here = os.path.split(os.path.abspath(folder))
    if granules:
        images = granules[0]
    elif os.path.isdir(os.path.join(folder, "IMG_DATA")):
        images = os.path.join(folder, "IMG_DATA")
    elif "IMG_DATA" in (here, os.path.basename(above)):
        images = folder
    else:
        return []
    finest: dict[str, tuple[int, str]] = {}
    for place in (images, *(os.path.join(images, resolution) for resolution in ("R10m", "R20m", "R60m"))):
        for path in _files_in(place) if os.path.isdir(place) else ():
            match = _S2_LAYER.search(path)
            if match is not None:
                candidate = (int(match["metres"] or 0), path)
                finest[match["layer"]] = min(finest.get(match["layer"], candidate), candidate)
    if not finest:
        raise SceneError(f"{folder}: holds no band of Sentinel-2 (*_B02.jp2, R10m/*_B02_10m.jp2); fetch it again")
    return [path for _, (_, path) in sorted(finest.items())]


def _product_of_files(paths: Sequence[str]) -> Product:
    """What names and metadata say of files (or of a folder) that are one image."""
    names = [_name_of(path) for path in paths]
    known = {(name.sensor, name.date): name for name in names if name is not None}
    if len(known) > 1:
        first, second, *_ = known.values()
        raise SceneError(f"{paths[0]}: belongs to {first.text}, but another file to {second.text}; give one product")
    metadata = _sentinel_2_metadata(paths[0])
    name = next(iter(known.values()), None)
    if name is None or None in names:
        # Where some of the files are called otherwise, the name does not speak for the image.
        product = Product()
    else:
        dated = "" if name.date is None else " (and its date)"
        product = Product(
            sensor=name.sensor, date=name.date, evidence=(f"{name.title}{dated}: by the name {name.text}",)
        )
    if metadata is not None:
        product = _with_metadata(product, metadata)
    if product.sensor == "sentinel-2-offset":
        product = product.knowing("sentinel-2-offset: its processing baseline is 04.00 or later")
    if product.sensor == "sentinel-1-grd":
        product = _calibrated(product, Path(os.path.abspath(paths[0])))
    return product


def _name_of(path: str) -> ProductName | None:
    """What a file's own name says, else the folders that it lies in."""
    own = read_product_name(os.path.basename(path.split("?")[0]))
    if own is not None or is_remote(path):
        return own
    names = (read_product_name(os.path.basename(folder), is_folder=True) for folder in _with_folders(path))
    return next((name for name in names if name is not None), None)


def _with_folders(path: str) -> list[str]:
    """The path and the folders that a product's files may lie in, from the inside out."""
    absolute = Path(os.path.abspath(path))
    return [str(folder) for folder in (absolute, *absolute.parents)][: _NUM_ANCESTORS + 1]


def _sentinel_2_metadata(path: str) -> Path | None:
    if is_remote(path):
        return None
    candidates = (os.path.join(folder, name) for folder in _product_folders(path) for name in _S2_METADATA)
    return next((Path(candidate) for candidate in candidates if os.path.isfile(candidate)), None)


def _product_folders(path: str) -> list[str]:
    """The folder that a file lies in, and those above it that belong to its product, from the inside out.

    A folder further up, such as /tmp, belongs to nobody or to others, so what lies in it says nothing of the file.
    """
    folders = _with_folders(path)[0 if os.path.isdir(path) else 1 :]
    names = [os.path.basename(folder) for folder in folders]
    outermost = max(
        level
        for level, name in enumerate(names)
        if level == 0 or names[level - 1] in _S2_FOLDERS or read_product_name(name, is_folder=True) is not None
    )
    return folders[: outermost + 1]


def _with_metadata(product: Product, path: Path) -> Product:
    """Let the metadata of a SAFE product decide on the offset, and on the day where the name does not say it."""
    quantification = ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE")
    offset = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
    texts = read_texts(
        path, {*quantification, *offset, "PROCESSING_BASELINE", "DATATAKE_SENSING_START", "PRODUCT_START_TIME"}
    )
    divisors = {value for name in quantification for value in texts[name]}
    offsets = {value for name in offset for value in texts[name]}
    baseline = next(iter(texts["PROCESSING_BASELINE"]), "")
    if any(_number(value) != 10000 for value in divisors) or {_number(value) for value in offsets} not in (
        {-1000.0},
        {0.0},
        set(),
    ):
        raise SceneError(
            f"{path}: states a quantification of {', '.join(sorted(divisors))} and offsets of "
            f"{', '.join(sorted(offsets)) or 'none'}, but Sentinel-2 is read with 10000 and -1000 or 0; name a sensor "
            "in a file without these metadata"
        )
    if offsets:
        sensor = "sentinel-2-offset" if {_number(value) for value in offsets} == {-1000.0} else "sentinel-2"
        product = replace(product, sensor=sensor).knowing(f"offset {offsets.pop()}: by {path.name}")
    elif re.fullmatch(r"\d\d\.\d\d", baseline):
        product = replace(product, sensor=sentinel_2_of(int(baseline.replace(".", ""))))
    if baseline:
        product = product.knowing(f"baseline {baseline}: by {path.name}")
    started = next(iter(texts["DATATAKE_SENSING_START"] + texts["PRODUCT_START_TIME"]), "")
    if product.date is None and date_in(started) is not None:
        product = replace(product, date=date_in(started)).knowing(f"date: by {path.name}")
    return product


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _calibrated(product: Product, measurement: Path) -> Product:
    """Take the calibration of a GRD product from its annotations, as one mean for the whole image."""
    # What lies above a file that is not in its product says nothing of it.
    is_in_product = measurement.parent.name == "measurement"
    found = sorted(measurement.parent.parent.glob("annotation/calibration/calibration-*.xml")) if is_in_product else []
    constants = [
        np.array(line.split(), np.float64)
        for path in found
        for line in read_texts(path, ["sigmaNought"])["sigmaNought"]
    ]
    values = np.concatenate(constants) if constants else np.array([])
    place = "Its pixels lie in the satellite's own geometry, so their place and size are not known (else give --gsd)."
    if not values.size or not (np.isfinite(values) & (values > 0)).all():
        return replace(product, assumptions=(*product.assumptions, UNCALIBRATED, place))
    constant = float(values.mean())
    said = f"calibration: sigma nought {constant:.1f} on average ({values.min():.1f} to {values.max():.1f}), "
    assumed = "One mean calibration is used for the whole image, and thermal noise is not removed."
    return replace(product, scaling=(1 / constant, 0.0), assumptions=(*product.assumptions, assumed, place)).knowing(
        said + "by annotation/calibration"
    )


def _dated(product: Product, names: Sequence[str], tags: Mapping[str, str]) -> Product:
    """Look for the day where the product's name did not say it: metadata of the file, then digits in the names."""
    if product.date is not None:
        return product
    for item in _ACQUIRED:
        day = date_in(tags.get(item, ""))
        if day is not None:
            return replace(product, date=day).knowing(f"date: by the file's metadata ({item})")
    days = {date_in(name) for name in names}
    day = days.pop() if len(days) == 1 else None
    if day is not None:
        return replace(product, date=day).knowing("date: by the name")
    day = date_in(tags.get("TIFFTAG_DATETIME", ""))
    if day is None or any(holds_day(name) for name in names):
        return product
    assumed = f"The date {day} is that of TIFFTAG_DATETIME, which may be the day on which the file was written."
    return replace(product, date=day, assumptions=(*product.assumptions, assumed)).knowing(
        "date: by the file's metadata (TIFFTAG_DATETIME)"
    )


def _tags(path: str, *, allow_virtual: bool) -> dict[str, str]:
    with open_raster(path, allow_virtual=allow_virtual) as dataset:
        return {key.upper(): value for space in ("IMAGERY", None) for key, value in dataset.tags(ns=space).items()}
