"""The files of a folder of chips: which images and label rasters belong to one chip, and to which of its dates."""

from __future__ import annotations

import csv
import datetime
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from terrascope.errors import SceneError
from terrascope.sources.places import SPLITS

SUFFIXES = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg")
"""Endings of images and label rasters; where two files differ in nothing else, the first of these is taken."""

_DATED = re.compile(r"(?P<chip>.+)__(?:(?P<number>\d{1,3})|(?P<year>\d{4})-?(?P<month>\d{2})-?(?P<day>\d{2}))")


class Where(NamedTuple):
    """Patterns of paths below the root, `*` for the chip's name; empty for what there is not."""

    optical: str
    sar: str
    labels: str


@dataclass(frozen=True, kw_only=True)
class Dated:
    """The images of one date of a chip, and its label raster; `order` sorts the dates."""

    order: tuple[int, ...]
    day: datetime.date | None
    optical: Path | None = None
    sar: Path | None = None
    label: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The chips of a folder with their dates in order; how many were left out, by reason; whether there are labels."""

    chips: Mapping[str, tuple[Dated, ...]]
    skipped: Mapping[str, int]
    is_labelled: bool


def stamps_of(root: Path, where: Where) -> tuple[int, ...]:
    """When the folders were last changed, by which a listing is told from an earlier one."""
    folders = [(root / pattern).parent for pattern in where if pattern]
    return tuple(folder.stat().st_mtime_ns if folder.is_dir() else 0 for folder in folders)


@lru_cache(maxsize=4)
def list_chips(root: Path, where: Where, stamps: tuple[int, ...]) -> Listing:
    """The chips that lie where the patterns say, in the order of their names.

    Raises:
        SceneError: a folder is missing, or there is no chip to use.
    """
    found = {kind: _find(root / pattern) if pattern else {} for kind, pattern in where._asdict().items()}
    skipped: Counter[str] = Counter()
    chips: dict[str, list[Dated]] = {}
    incomplete, labelled = set(), set()
    wanted = [kind for kind in ("optical", "sar") if getattr(where, kind)]
    for stem in sorted({*found["optical"], *found["sar"]}):
        chip, order, day = _read_name(stem)
        paths = {kind: found[kind].get(stem) for kind in wanted}
        if None in paths.values():
            incomplete.add(chip)
        if stem in found["labels"]:
            labelled.add(chip)
        dated = Dated(order=order, day=day, label=found["labels"].get(stem), **paths)
        chips.setdefault(chip, []).append(dated)
    skipped["no optical or no SAR image"] = len(incomplete)
    if where.labels:
        skipped["no label raster"] = len(chips.keys() - incomplete - labelled)
        skipped["label raster without an image"] = len(
            found["labels"].keys() - found["optical"].keys() - found["sar"].keys()
        )
    used = {
        chip: tuple(sorted(dates, key=lambda dated: dated.order))
        for chip, dates in chips.items()
        if chip not in incomplete and (chip in labelled or not where.labels)
    }
    if not used:
        looked = " and ".join(f"{kind} {root / getattr(where, kind)}" for kind in wanted)
        raise SceneError(
            f"{root}: no chip to use ({looked}; {_say(skipped)}); give images, and labels of the same names"
        )
    return Listing(chips=used, skipped=dict(+skipped), is_labelled=bool(where.labels))


def _say(skipped: Counter[str]) -> str:
    return ", ".join(f"{reason}: {num}" for reason, num in (+skipped).items()) or "nothing there"


def _find(pattern: Path) -> dict[str, Path]:
    """Name of a chip, with its date -> its file, or its folder of band files.

    Raises:
        SceneError: the folder is missing, or the pattern has its `*` elsewhere.
    """
    if pattern.name.count("*") != 1 or "*" in str(pattern.parent):
        raise SceneError(f"{pattern}: give a folder, or a pattern with one * in its last part")
    if not pattern.parent.is_dir():
        raise SceneError(f"{pattern.parent}: no such folder; name it with optical=, sar= or labels=")
    start, _, end = pattern.name.partition("*")
    found: dict[str, tuple[int, Path]] = {}
    for path in sorted(pattern.parent.iterdir()):
        rank = len(SUFFIXES) if path.is_dir() else _rank(path)
        if rank is None or path.name.startswith("."):
            continue
        # A pattern may leave the file's ending out.
        names = (path.name,) if path.is_dir() else (path.name[: -len(path.suffix)], path.name)
        name = next((name for name in names if name.startswith(start) and name.endswith(end)), "")
        stem = name[len(start) : len(name) - len(end)]
        if stem and (stem not in found or rank < found[stem][0]):
            found[stem] = rank, path
    return {stem: path for stem, (_, path) in found.items()}


def _rank(path: Path) -> int | None:
    return SUFFIXES.index(path.suffix.lower()) if path.suffix.lower() in SUFFIXES else None


def _read_name(stem: str) -> tuple[str, tuple[int, ...], datetime.date | None]:
    """The chip that a name means, what sorts its dates, and the day if the name states one."""
    dated = _DATED.fullmatch(stem)
    if dated is None:
        return stem, (0,), None
    if dated["number"] is not None:
        return dated["chip"], (int(dated["number"]),), None
    year, month, day = (int(dated[part]) for part in ("year", "month", "day"))
    try:
        return dated["chip"], (year, month, day), datetime.date(year, month, day)
    except ValueError:
        return stem, (0,), None


@lru_cache(maxsize=4)
def read_places(path: Path, changed_ns: int) -> Mapping[str, tuple[str, str]]:
    """Chip -> place and split, of a table with the columns chip, group and split; a chip without a group is its own.

    Raises:
        SceneError: a line of it cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    places = {}
    for number, row in enumerate(rows, 1):
        chip, group, split = ((row.get(column) or "").strip() for column in ("chip", "group", "split"))
        if not chip or split not in SPLITS:
            raise SceneError(
                f"{path}, row {number}: a row needs chip, group and split, which is one of {', '.join(SPLITS)}"
            )
        places[chip] = (group or chip, split)
    return places
