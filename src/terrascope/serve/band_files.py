"""Files that hold one band each, by their names: those whose names differ in the band alone are one image."""

from __future__ import annotations

import re

from terrascope.rasters.registry import SENSORS

_NAMES = sorted(
    {name for sensor in SENSORS.values() for name in (*sensor.bands, *sensor.quality)},
    key=lambda name: (-len(name), name),
)
_CODES = "|".join(re.sub("^B0", "B0?", name) for name in _NAMES if not name.islower())
_WORDS = "|".join(name for name in _NAMES if name.islower())

# Colours are words of places too (red_lake.tif), so they must be the last. JavaScript reads it as Python does.
BAND_NAME = rf"(?<![A-Za-z0-9])(?:(?:{_CODES})(?:_\d\dm)?(?![A-Za-z0-9])|(?:{_WORDS})(?=\.[A-Za-z0-9]+$))"
"""Regular expression of a band in a file's name, its resolution included; letters may be small or capital."""


def split_band(name: str) -> tuple[str, str] | None:
    """The name of a file without the last band in it, and that band in small letters; None where it holds none."""
    found = list(re.finditer(BAND_NAME, name, re.IGNORECASE))
    return None if not found else (f"{name[: found[-1].start()]}*{name[found[-1].end() :]}", found[-1][0].lower())
