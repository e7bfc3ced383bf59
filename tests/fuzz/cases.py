"""The kinds of input that are fuzzed: how one is made, and what TerraScope makes of it.

Making and taking are apart, so that a long run can make the files in another process: GDAL's writers die of some of
them, and what dies there is no defect of reading.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz import invariants
from tests.fuzz.masks import write_and_reread
from tests.fuzz.mutations import damage
from tests.fuzz.rasters import SUBJECTS, write_raster
from tests.fuzz.texts import read_text

Make = Callable[[Random, Path, Sequence[Path]], list[Path]]
"""Writes the files of an input into a folder and gives those to read; the third argument: rasters of real layouts."""

Take = Callable[[Random, list[Path], Path], str]
"""Has an input read (or masks written, into a folder): `read`, `written` or `refused`. An exception is a defect."""


_LITTLE = (0.0, 0.0, 0.03, 0.1)
"""Oddness of files of which several must be read."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    make: Make
    take: Take


def _read(random: Random, paths: list[Path], folder: Path) -> str:
    return invariants.read(paths, random)


def _nothing(random: Random, folder: Path, seeds: Sequence[Path]) -> list[Path]:
    return []


def _one(random: Random, folder: Path, seeds: Sequence[Path]) -> list[Path]:
    return [write_raster(random, folder)]


def _damaged(random: Random, folder: Path, seeds: Sequence[Path]) -> list[Path]:
    if seeds and random.random() < 0.5:
        path = Path(shutil.copy(random.choice(seeds), folder))
        path.chmod(0o600)
    else:
        path = write_raster(random, folder)
    path.write_bytes(damage(random, path.read_bytes()))
    return [path]


def _cut(random: Random, folder: Path, seeds: Sequence[Path]) -> list[Path]:
    """A raster, and the same cut short."""
    (folder / "cut").mkdir()
    whole = write_raster(random, folder, oddness=_LITTLE)
    data = whole.read_bytes()
    cut = folder / "cut" / whole.name
    cut.write_bytes(data[: random.randrange(len(data))])
    return [whole, cut]


def _two_dates(random: Random, folder: Path, seeds: Sequence[Path]) -> list[Path]:
    subject = random.choice(SUBJECTS)
    paths = []
    for name in ("a", "b"):
        (folder / name).mkdir()
        paths.append(write_raster(random, folder / name, subject=subject, oddness=_LITTLE))
    return paths


def _bands(random: Random, folder: Path, seeds: Sequence[Path]) -> list[Path]:
    (folder / "scene").mkdir()
    bands, dtype, kind = random.choice(
        (
            (("B02", "B03", "B04"), "uint16", "reflectance"),
            (("B02", "B03", "B04", "SCL", "preview"), "int16", "reflectance"),
            (("VV", "VH"), "float32", "decibels"),
        )
    )
    for band in bands:
        write_raster(random, folder / "scene", subject=((band,), dtype, kind), oddness=_LITTLE)
    return [folder / "scene"]


KINDS: Mapping[str, Kind] = {
    "made": Kind(make=_one, take=_read),
    "damaged": Kind(make=_damaged, take=_read),
    "cut": Kind(make=_cut, take=lambda random, paths, folder: invariants.read_cut(*paths)),
    "dates": Kind(make=_two_dates, take=_read),
    "bands": Kind(make=_bands, take=_read),
    "masks": Kind(make=_nothing, take=lambda random, paths, folder: write_and_reread(random, folder)),
    "texts": Kind(make=_nothing, take=lambda random, paths, folder: read_text(random, folder)),
}


def make(case: str, folder: Path, seeds: Sequence[Path] = ()) -> list[Path]:
    """Write the files of a case, such as `damaged:123`, into an empty folder."""
    return KINDS[case.partition(":")[0]].make(Random(case), folder, seeds)


def take(case: str, paths: list[Path], folder: Path) -> str:
    """Try a case whose files are made. `folder` takes what is written."""
    return KINDS[case.partition(":")[0]].take(Random(f"{case}, taken"), paths, folder)
