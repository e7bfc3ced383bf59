"""What the names that agencies give to their products say: kind of product, sensor, day of acquisition."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass

from terrascope.errors import SceneError

FIRST_BASELINE_WITH_OFFSET = 400
"""Since processing baseline 04.00 the numbers of Sentinel-2 are reflectance x 10000 + 1000."""


@dataclass(frozen=True, kw_only=True)
class ProductName:
    """What the name of a product says.

    Attributes:
        title: kind of product, for people. text: the part of the name that says so.
        sensor: name of the sensor's entry, or None where the name leaves it open.
        date: day of acquisition.
        layers: regular expression for the files of its folder that are the image; "" where the folder decides.
    """

    title: str
    text: str
    sensor: str | None
    date: datetime.date | None
    layers: str


@dataclass(frozen=True, kw_only=True)
class _Convention:
    """How one kind of product is named.

    `sensor_of` gives the sensor of a match, None where it is open. `of_folders` says that a folder of this name speaks
    for the files in it, whatever they are called. `refusal` is why such a file cannot be read.
    """

    title: str
    pattern: re.Pattern[str]
    sensor_of: Callable[[re.Match[str]], str | None] = lambda match: None
    date_format: str = "%Y%m%d"
    layers: str = ""
    of_folders: bool = False
    refusal: str = ""


def sentinel_2_of(baseline: int) -> str:
    """The sensor of a Sentinel-2 product by its processing baseline times 100: 509 for 05.09."""
    return "sentinel-2-offset" if baseline >= FIRST_BASELINE_WITH_OFFSET else "sentinel-2"


def _named(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9]){pattern}", flags=re.IGNORECASE)


_CONVENTIONS = (
    _Convention(
        title="Sentinel-2 product",
        pattern=_named(r"S2[A-D]_MSIL(?:1C|2A)_(?P<date>\d{8})T\d{6}_N(?P<baseline>\d{4})_R\d{3}_T\w{5}_\d{8}T\d{6}"),
        sensor_of=lambda match: sentinel_2_of(int(match["baseline"])),
        of_folders=True,
    ),
    _Convention(
        title="Sentinel-2 image",
        pattern=_named(r"(?P<date>\d{8})T\d{6}_\d{8}T\d{6}_T\d{2}[A-Z]{3}(?![A-Za-z0-9])"),
        of_folders=True,
    ),
    _Convention(
        title="Landsat Collection 2 Level 2 product",
        pattern=_named(r"L(?P<kind>C0[89]|E07|T0[45])_L2S[PR]_\d{6}_(?P<date>\d{8})_\d{8}_02_(?:T1|T2|RT)"),
        sensor_of=lambda match: "landsat" if match["kind"].upper().startswith("C") else "landsat-tm",
        layers=r"_(?:SR_B\d|QA_PIXEL)\.tif",
    ),
    _Convention(
        title="Landsat Level 1 product",
        pattern=_named(r"L[A-Z]\d{2}_L1[A-Z]{2}_\d{6}_(?P<date>\d{8})_\d{8}_02_(?:T1|T2|RT)_B\d+\.tif"),
        refusal="its numbers are no surface reflectance; give the Level-2 product (L2SP) of the scene",
    ),
    _Convention(
        title="HLS product",
        pattern=_named(r"HLS\.(?P<kind>[LS]30)\.T\w{5}\.(?P<date>\d{7})T\d{6}\.v\d\.\d"),
        sensor_of=lambda match: f"hls-{match['kind'].lower()}",
        date_format="%Y%j",
        layers=r"\.(?:B\d[0-9A]|Fmask)\.tif",
    ),
    _Convention(
        title="PlanetScope surface reflectance",
        pattern=_named(r"(?P<date>\d{8})_\d{6}(?:_\d{1,2})?_\w{4}_3B_AnalyticMS_SR(?P<eight>_8b)?"),
        sensor_of=lambda match: "planetscope-8band" if match["eight"] else "planetscope",
        layers=r"_3B_AnalyticMS_SR\w*\.tif",
    ),
    _Convention(
        title="PlanetScope radiance",
        pattern=_named(
            r"(?P<date>\d{8})_\d{6}(?:_\d{1,2})?_\w{4}_3B_AnalyticMS(?:_8b)?(?:_harmonized)?(?:_clip)?\.tif"
        ),
        refusal="its numbers are radiance, which only its metadata turn into reflectance; give the AnalyticMS_SR file",
    ),
    _Convention(title="PlanetScope picture", pattern=_named(r"(?P<date>\d{8})_\d{6}(?:_\d{1,2})?_\w{4}_3B_Visual")),
    _Convention(
        title="Sentinel-1 GRD measurement",
        pattern=_named(r"s1[a-d]-(?:iw|ew|s\d|wv)-grd-(?:vv|vh|hh|hv)-(?P<date>\d{8})t\d{6}"),
        sensor_of=lambda match: "sentinel-1-grd",
        layers=r"-grd-(?:vv|vh)-[^/]*\.tiff?$",
    ),
    _Convention(
        title="OPERA RTC-S1 product",
        pattern=_named(r"OPERA_L2_RTC-S1_T\w{3}-\d{6}-\w{3}_(?P<date>\d{8})T\d{6}Z_\d{8}T\d{6}Z_S1[A-D]_\d+_v\d+\.\d+"),
        sensor_of=lambda match: "sentinel-1-linear",
        layers=r"_(?:VV|VH)\.tif",
    ),
    _Convention(
        title="HyP3 RTC product",
        pattern=_named(r"S1[A-D]_(?:IW|EW|SM)_(?P<date>\d{8})T\d{6}_[DS][VH][A-Z]_RTC\d+_"),
        layers=r"_(?:VV|VH)\.tif",
    ),
    _Convention(
        title="Sentinel-1 product",
        pattern=_named(r"S1[A-D]_(?:IW|EW|S\d|WV)_(?:GRD[FHM]|SLC_)_\w{4}_(?P<date>\d{8})T\d{6}_\d{8}T\d{6}"),
        of_folders=True,
    ),
)


def read_product_name(name: str, *, is_folder: bool = False) -> ProductName | None:
    """What the name of a file says, or of a folder that it lies in; None where no convention is known.

    Raises:
        SceneError: the file is an original whose numbers cannot be read as an image.
    """
    for convention in _CONVENTIONS:
        match = convention.pattern.search(name)
        if match is None or (is_folder and not convention.of_folders):
            continue
        if convention.refusal:
            raise SceneError(f"{name}: {convention.title}: {convention.refusal}")
        return ProductName(
            title=convention.title,
            text=match[0],
            sensor=convention.sensor_of(match),
            date=parse_date(match["date"], convention.date_format),
            layers=convention.layers,
        )
    return None


def parse_date(text: str, date_format: str) -> datetime.date | None:
    """The day that digits stand for; None where they are none, or one on which no satellite flew."""
    try:
        day = datetime.datetime.strptime(text, date_format).date()
    except ValueError:
        return None
    return day if 1960 <= day.year <= 2100 else None


def date_in(text: str) -> datetime.date | None:
    """The one day that a text names as YYYYMMDD or YYYY-MM-DD (colons as TIFF has them); None for none or several."""
    days = _days_in(text)
    return days.pop() if len(days) == 1 else None


def holds_day(text: str) -> bool:
    """True if a text names at least one day."""
    return bool(_days_in(text))


def _days_in(text: str) -> set[datetime.date]:
    found = re.findall(r"(?<!\d)(\d{4})([-:]?)(\d{2})\2(\d{2})(?!\d)", text)
    days = (parse_date(f"{year}{month}{day}", "%Y%m%d") for year, _, month, day in found)
    return {day for day in days if day is not None}
