"""Legends: what the codes or colours of a label raster mean, from a table, a data set's own, or a line of text."""

from __future__ import annotations

import colorsys
import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import QuestionError, SceneError
from terrascope.landcover import (
    CORINE_TERRASCOPE_CODES,
    CORINE_TERRASCOPE_IGNORED,
    OTHER,
    TERRAMIND_CODES,
    TERRASCOPE,
    UNLABELLED,
    WORLDCOVER_CODES,
    WORLDCOVER_IGNORED,
    LandClass,
    Nomenclature,
    color_codes,
)
from terrascope.sources.chips import ChipError

KNOWN: Mapping[str, tuple[Mapping[int, str], frozenset[int]]] = {
    "worldcover": (WORLDCOVER_CODES, WORLDCOVER_IGNORED),
    "corine": (CORINE_TERRASCOPE_CODES, CORINE_TERRASCOPE_IGNORED),
    "terramind": (TERRAMIND_CODES, frozenset({0})),
}
"""Legends of data sets by name: codes in TERRASCOPE, and codes that say nothing."""

UNLABELLED_NAMES = ("unlabelled", "unlabeled", "unknown", "ignore", "nodata", "no data", "void")
"""Names of codes that say nothing."""

OTHER_NAMES = ("other", "others", "background")
"""Names of codes that say: none of the classes of the legend."""

_MOST_CLASSES = 200


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a legend; the colour, RGB 0-255, only where the legend gives one."""

    code: int
    name: str
    plural: str = ""
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Legend:
    """Codes with their classes.

    Attributes:
        origin: where it comes from, for messages.
        rows: its lines.
    """

    origin: str
    rows: tuple[Row, ...]

    @cached_property
    def nomenclature(self) -> Nomenclature:
        """TERRASCOPE where it knows every name, else a nomenclature of the legend's own names."""
        names = dict.fromkeys(row.name for row in self._class_rows)
        if all(_is_known(name) for name in names):
            return TERRASCOPE
        if len(names) > _MOST_CLASSES:
            raise SceneError(f"{self.origin}: {len(names)} classes are more than {_MOST_CLASSES}")
        first = {row.name: row for row in reversed(self._class_rows)}
        return Nomenclature(
            name="legend", classes=tuple(_land_class(first[name], number) for number, name in enumerate(names))
        )

    @cached_property
    def class_ids(self) -> tuple[int, ...]:
        """The classes of the legend, whose absence a label raster vouches for."""
        return tuple(sorted({self._id_of(row.name) for row in self._class_rows}))

    def translate(self, layers: NDArray[np.generic], source: str, *, nodata: float | None = None) -> NDArray[np.uint8]:
        """Class ids uint8 `[H, W]` of a label raster.

        Args:
            layers: `[layers, H, W]` as stored: one layer of codes, or three (four with alpha) of colours, if every row
                of the legend has a colour.
            source: the raster's name, for messages.
            nodata: number that the raster marks unlabelled pixels with; a row of the legend for it wins.

        Raises:
            ChipError: a code or colour that the legend lacks, fractions, or another number of layers.
        """
        if layers.shape[0] in (3, 4) and all(row.color is not None for row in self.rows):
            codes: NDArray[np.int64] = color_codes(np.moveaxis(layers[:3], 0, -1).astype(np.uint8)).astype(np.int64)
            measured, written = np.ones(codes.shape, bool), "06X"
            rows = {_packed(row.color): row for row in self.rows if row.color is not None}
        elif layers.shape[0] == 1:
            codes, measured = _whole_numbers(layers[0], source)
            rows, written = {row.code: row for row in self.rows}, "d"
            if nodata is not None and nodata not in rows:
                measured &= codes != nodata
        else:
            raise ChipError(
                f"{source}: {layers.shape[0]} layers; a label raster has one of codes, or three of colours if every "
                "row of the legend has a color",
                reason="label with several layers",
            )
        found, place = np.unique(codes[measured], return_inverse=True)
        unknown = [code for code in found.tolist() if code not in rows]
        if unknown:
            known = ", ".join(format(code, written) for code in sorted(rows))
            said = f"{'code' if written == 'd' else 'colour'} {format(unknown[0], written)}"
            raise ChipError(
                f"{source}: {said} is not in the legend {self.origin} ({known})", reason="unknown class code"
            )
        ids = np.full(codes.shape, UNLABELLED, np.uint8)
        ids[measured] = np.array([self._class_id(rows[code]) for code in found.tolist()], np.uint8)[place]
        return ids

    @property
    def _class_rows(self) -> list[Row]:
        return [row for row in self.rows if row.name.lower() not in (*UNLABELLED_NAMES, *OTHER_NAMES)]

    def _class_id(self, row: Row) -> int:
        if row.name.lower() in UNLABELLED_NAMES:
            return UNLABELLED
        return OTHER if row.name.lower() in OTHER_NAMES else self._id_of(row.name)

    def _id_of(self, name: str) -> int:
        # By its name alone: a plural may be the name of another class.
        nomenclature = self.nomenclature
        return nomenclature.id_of(name) if nomenclature is TERRASCOPE else nomenclature.names.index(name)


def read_legend(told: str, root: Path) -> Legend:
    """The legend of a folder.

    Args:
        told: `code=name;code=name;...` (commas do, too, but part the options of a command line); or a name of `KNOWN`;
            or the path of a table, from `root` or as it is; empty for `legend.csv` or `legend.json` in `root`. A table
            has the columns `code` and `name`, and may have `plural` and `color` (`#RRGGBB`); as JSON it is a list of
            such objects, or an object of names by code.

    Raises:
        SceneError: no such table, or a line of it cannot be read.
    """
    if told in KNOWN:
        names, ignored = KNOWN[told]
        rows = [*({"code": code, "name": name} for code, name in names.items())]
        rows += [{"code": code, "name": UNLABELLED_NAMES[0]} for code in sorted(ignored)]
        return _legend(told, rows)
    if "=" in told:
        pairs = [part.partition("=") for part in re.split("[,;]", told) if part.strip()]
        return _legend(f'"{told}"', [{"code": code, "name": name} for code, _, name in pairs])
    candidates = [root / told, Path(told)] if told else [root / "legend.csv", root / "legend.json"]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise SceneError(
            f"{candidates[0]}: no such legend; write one with the columns code and name, or say what the "
            f"codes are (legend=1=water;2=tree), or one of {', '.join(KNOWN)}"
        )
    try:
        if path.suffix.lower() == ".json":
            return _legend(str(path), _rows_of_json(json.loads(path.read_text(encoding="utf-8-sig"))))
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _legend(str(path), list(csv.DictReader(file)))
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise SceneError(f"{path}: not a legend, a table with the columns code and name ({error})") from error


def _rows_of_json(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [{"code": code, **(row if isinstance(row, dict) else {"name": row})} for code, row in value.items()]
    return [dict(row) for row in value]


def _legend(origin: str, rows: Sequence[Mapping[str, Any]]) -> Legend:
    read: dict[int, Row] = {}
    for number, row in enumerate(rows, 1):
        try:
            code, name = int(str(row["code"]).strip()), str(row["name"] or "").strip()
        except (KeyError, ValueError):
            raise SceneError(
                f"{origin}, row {number}: a row needs a code, which is a whole number, and a name"
            ) from None
        if not name:
            raise SceneError(f"{origin}, row {number}: code {code} has no name; call it unlabelled if it means nothing")
        if code in read:
            raise SceneError(f"{origin}, row {number}: code {code} stands there twice")
        plural = str(row.get("plural") or "").strip()
        read[code] = Row(code=code, name=name, plural=plural, color=_color(row.get("color"), f"{origin}, row {number}"))
    if not any(row.name.lower() not in (*UNLABELLED_NAMES, *OTHER_NAMES) for row in read.values()):
        raise SceneError(f"{origin}: names no class; give at least one")
    return Legend(origin=origin, rows=tuple(read.values()))


def _color(value: Any, where: str) -> tuple[int, int, int] | None:
    """`#RRGGBB`, `R G B`, `R,G,B` or `[R, G, B]`."""
    if value in (None, ""):
        return None
    text = str(value).strip().strip("[]()")
    try:
        if text.startswith("#") and len(text) == 7:
            number = int(text[1:], 16)
            return number >> 16, number >> 8 & 255, number & 255
        red, green, blue = (int(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise SceneError(f"{where}: the color {text} is not of the form #RRGGBB") from None
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise SceneError(f"{where}: the color {text} goes beyond 255")
    return red, green, blue


def _land_class(row: Row, number: int) -> LandClass:
    """A class of a legend's own; what the row does not say comes from TERRASCOPE, or is made up."""
    known = TERRASCOPE[TERRASCOPE.id_of(row.name)] if row.name in TERRASCOPE.names else None
    # Hues at the golden ratio's distance are far apart however many there are.
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.65, 0.85)
    made_up = (round(255 * red), round(255 * green), round(255 * blue))
    return LandClass(
        name=row.name,
        plural=row.plural or (known.plural if known else row.name),
        color=row.color or (known.color if known else made_up),
    )


def _is_known(name: str) -> bool:
    try:
        TERRASCOPE.id_of(name)
    except QuestionError:
        return False
    return True


def _packed(color: tuple[int, int, int]) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _whole_numbers(layer: NDArray[np.generic], source: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Codes int64 `[H, W]` of a layer, and where it holds one: NaN is none."""
    if not np.issubdtype(layer.dtype, np.floating):
        return layer.astype(np.int64), np.ones(layer.shape, bool)
    measured = np.isfinite(layer)
    codes = np.where(measured, layer, 0).astype(np.int64)
    if (codes != layer)[measured].any():
        raise ChipError(f"{source}: holds fractions; the codes of classes are whole numbers", reason="no class codes")
    return codes, measured
