"""What is known of an image beside its land cover: sensor, resolution, place and date, in words."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from terrascope.georeference import PixelSize
from terrascope.quantities import format_distance
from terrascope.sources.chips import Chip
from terrascope.sources.generated import Generated
from terrascope.terracot.nouns import Wording, enumerate_words

SENSORS = (
    ("sentinel-2", "Sentinel-2", 10), ("sentinel-1", "Sentinel-1", 5), ("hls", "HLS", 30), ("landsat", "Landsat", 15),
    ("planetscope", "PlanetScope", 3), ("maxar", "Maxar", 0.3), ("false-color", "false-color", 0),
)  # fmt: skip
"""Beginning of a sensor's name, how it is called in a sentence, its smallest pixels in metres.

Others are called by their modality, and so is what is generated, and images with smaller pixels than their sensor's.
"""

_RESAMPLED = 0.6
"""Pixels down to this part of a sensor's smallest ones may still be its own, resampled."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of a chip's images; None or empty where it is unknown.

    Attributes:
        sensor: `Sentinel-2`, `optical and SAR`.
        resolution: size of a pixel, `10 m`.
        place: with its preposition, `in Austria`, `near 47.2°N, 11.4°E`.
        days: of every date.
        num_dates: of the scene.
    """

    sensor: str
    resolution: str | None
    place: str | None
    days: tuple[datetime.date | None, ...]
    num_dates: int

    @property
    def span(self) -> str | None:
        """The day of the only image, or the first and the last day of several; None where they are unknown."""
        if not all(self.days):
            return None
        first, last = (_format_day(day) for day in (self.days[0], self.days[-1]) if day is not None)
        return f"on {first}" if self.num_dates == 1 else f"between {first} and {last}"


def setting_of(chip: Chip) -> Setting:
    """What a chip says of its images."""
    size = chip.labelled.pixel_size
    place = None
    if chip.country:
        place = f"in {chip.country}"
    elif chip.lonlat is not None:
        lon, lat = chip.lonlat
        place = f"near {abs(lat):.1f}°{'N' if lat >= 0 else 'S'}, {abs(lon):.1f}°{'E' if lon >= 0 else 'W'}"
    pair = chip.scene.pairs[0]
    gsd_m = None if size is None else float(size.height_m.mean())
    names = dict.fromkeys(
        _sensor_words(image.sensor, image.modality, gsd_m, taken=chip.source != Generated.name)
        for image in pair.observations
    )
    return Setting(
        sensor=enumerate_words(tuple(names)),
        resolution=None if size is None else _resolution(size),
        place=place,
        days=chip.scene.dates,
        num_dates=len(chip.scene.pairs),
    )


def introduce(setting: Setting, wording: Wording) -> str:
    """A sentence on the images, to begin a reasoning with."""
    pick = wording.pick
    several = setting.num_dates > 1
    number = {2: "two", 3: "three", 4: "four"}.get(setting.num_dates, str(setting.num_dates))
    several_sensors = " and " in setting.sensor
    subject = f"The {number} {setting.sensor} images" if several else f"The {setting.sensor} image"
    if several_sensors:
        subject = f"The {setting.sensor} images" + (f" of {number} dates" if several else "")
        several = True
    be, have = ("are", "have") if several else ("is", "has")
    parts = []
    if setting.span and wording.chance(0.8):
        was = "were taken" if several else "was taken"
        parts.append(f"{was} {setting.span}" + (f" {setting.place}" if setting.place else ""))
    elif setting.place and wording.chance(0.8):
        parts.append(
            pick(f"{be} from a place {setting.place}", f"{'show' if several else 'shows'} a place {setting.place}")
        )
    if setting.resolution and (not parts or wording.chance(0.6)):
        parts.append(pick(f"{have} pixels of {setting.resolution}", f"{have} a resolution of {setting.resolution}"))
    if not parts and setting.num_dates == 1:
        return f"I look at {subject[0].lower()}{subject[1:]}."
    if not parts:
        parts.append(f"show one place at {number} times")
    return f"{subject} {' and '.join(parts)}."


def name_image(setting: Setting, date: int, wording: Wording) -> str:
    """An image (of a date, from 0) as the subject of a caption's first sentence: `This Sentinel-2 image`."""
    if setting.num_dates > 1:
        first = date == 0
        number = "first" if first else "second" if setting.num_dates == 2 else "last"
        return wording.pick(
            f"The {number} image",
            f"The {'earlier' if first else 'later'} image",
            f"The {number} of the images",
            f"The {number} view",
        )
    of_sensor = f"{setting.sensor} image"
    if " and " in setting.sensor:
        of_sensor = f"pair of {setting.sensor} images"
    start = wording.pick(
        "This image",
        "The image",
        "This satellite image",
        "The scene",
        f"This {of_sensor}",
        f"The {of_sensor}",
    )
    if setting.resolution and wording.chance(0.15):
        start = f"This {of_sensor} with pixels of {setting.resolution}"
    if setting.place and wording.chance(0.5):
        start += (
            f" of a place {setting.place}" if setting.place.startswith("near") else f" of a landscape {setting.place}"
        )
    if setting.span and wording.chance(0.4):
        start += f", taken {setting.span},"
    return start


def _sensor_words(sensor: str, modality: str, gsd_m: float | None, *, taken: bool) -> str:
    known = next(((words, least_m) for start, words, least_m in SENSORS if sensor.startswith(start)), None)
    if known is None:
        return {"sar": "SAR"}.get(modality, modality)
    words, least_m = known
    if taken and (gsd_m is None or gsd_m >= _RESAMPLED * least_m):
        return words
    return "SAR" if modality == "sar" else "multispectral"


def _resolution(size: PixelSize) -> str:
    return format_distance(float(size.height_m.mean()))


def _format_day(day: datetime.date) -> str:
    return f"{day.day} {day:%B %Y}"
