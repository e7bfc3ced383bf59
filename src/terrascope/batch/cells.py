"""Cells of a manifest as what they mean. Each reader takes what any of the three kinds of file may hold."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

from terrascope.errors import SceneError, TerraScopeError
from terrascope.georeference import Georeference
from terrascope.question import parse_options
from terrascope.rasters.geoparquet import SIDES
from terrascope.rasters.grids import LonLatBox, check_box
from terrascope.rasters.sensors import sensor_named
from terrascope.scene import Modality


class CellError(TerraScopeError):
    """A cell does not mean anything: why, and what would be right, without the place of the cell."""


def text(value: Any) -> str | None:
    """A text; None for an empty cell. Numbers and dates are written out.

    Raises:
        CellError: the cell holds several values.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, datetime.datetime):
        value = value.date()
    if isinstance(value, bool) or not isinstance(value, str | int | float | datetime.date):
        raise CellError(f"holds {_shown(value)}; write a text")
    written = str(value).strip()
    try:
        written.encode()
    except UnicodeEncodeError:
        raise CellError(f"{_shown(written)} holds half a character; write it anew") from None
    return written or None


def texts(value: Any, separator: str) -> tuple[str, ...]:
    """Texts that a list holds, or that are separated in one text; none for an empty cell.

    Raises:
        CellError: one of them is empty, or none.
    """
    if isinstance(value, list | tuple):
        parts = [text(part) for part in value]
    else:
        whole = text(value)
        parts = [] if whole is None else [part.strip() or None for part in whole.split(separator)]
    if None in parts:
        raise CellError(f"{_shown(value)} has an empty part; write one between any two {separator!r}")
    return tuple(part for part in parts if part is not None)


def images(value: Any) -> tuple[tuple[str, ...], ...]:
    """The files of the image of each date: dates separated by `;`, band files of one date by `,`; or lists of these.

    Raises:
        CellError: a path is empty.
    """
    if isinstance(value, list | tuple):
        # A path in a list may hold any character.
        return tuple(texts(one, "") if isinstance(one, list | tuple) else texts([one], "") for one in value)
    return tuple(texts(one, ",") for one in texts(value, ";"))


def number(value: Any) -> float | None:
    """A number; None for an empty cell.

    Raises:
        CellError: it is none.
    """
    written = text(value)
    if written is None:
        return None
    try:
        found = float(written)
    except ValueError:
        raise CellError(f"{_shown(written)} is no number; write one, with a point") from None
    if not math.isfinite(found):
        raise CellError(f"{_shown(written)} is no finite number; write one, or leave the cell empty")
    # A minus zero is the same number, but not the same text.
    return found + 0.0


def gsd_m(value: Any) -> float | None:
    """A pixel size in metres.

    Raises:
        TerraScopeError: it is none.
    """
    size = number(value)
    if size is not None:
        Georeference(gsd_m=size)
    return size


def sensor(value: Any, modality: Modality) -> str | None:
    """The name of a sensor of this kind.

    Raises:
        TerraScopeError: there is no such sensor.
    """
    name = text(value)
    if name is not None and sensor_named(name).modality != modality:
        raise CellError(f"{name} is no sensor of {modality} images; write one that is")
    return name


def reference(value: Any) -> Modality | None:
    """Whose grid is used.

    Raises:
        CellError: neither optical nor sar.
    """
    name = text(value)
    if name is None or name == "optical" or name == "sar":
        return name  # type: ignore[return-value]
    raise CellError(f"{_shown(name)} is not known; write optical or sar")


def bbox(value: Any) -> LonLatBox | None:
    """West, south, east and north in degrees: a text, a list, or a struct as GeoParquet has it.

    Raises:
        SceneError: they are no box.
    """
    if isinstance(value, Mapping):
        value = [value.get(side) for side in SIDES]
        if all(side is None for side in value):
            return None
    elif not isinstance(value, list | tuple):
        written = text(value)
        if written is None:
            return None
        value = written.split(",")
    return box(value)


def box(value: Sequence[Any]) -> LonLatBox:
    """The same of four numbers.

    Raises:
        SceneError: they are no box.
    """
    if any(isinstance(side, bool) for side in value):
        raise SceneError(f"bbox {_shown(value)} is not a box; give west, south, east and north in degrees")
    return check_box(list(value))


def options(value: Any) -> tuple[str, ...]:
    """The options of a question, without letters.

    Raises:
        TerraScopeError: they cannot be told apart, or are too few or too many.
    """
    try:
        return parse_options(texts(value, "|"))
    except TerraScopeError as error:
        raise CellError(str(error).replace(" with --choice", "")) from None


def _shown(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
