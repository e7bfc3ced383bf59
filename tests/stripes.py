"""A tiny data set of striped label maps, and a writer of few words: what tests of building a data set build from.

It lies here, and not beside the tests, so that workers started afresh find it by its name.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from pyproj import CRS

from terrascope.errors import EndpointError
from terrascope.georeference import Georeference
from terrascope.landcover import TERRASCOPE
from terrascope.scene import LabelMap, Observation, Scene
from terrascope.sources.chips import Chip, ChipError, Entry, Index
from terrascope.tasks import Question
from terrascope.terracot.recipe import Recipe
from terrascope.terracot.tools import Tools
from terrascope.terracot.writer import Written
from terrascope.trace import Step, Trace

HEIGHT, WIDTH, GSD_M = 20, 24, 10.0
WATER, TREE, CROP = (TERRASCOPE.id_of(name) for name in ("water", "tree", "crop"))
EAST_M, NORTH_M = 500_000.0, 5_300_000.0


@dataclass(frozen=True, kw_only=True)
class Stripes:
    """Chips 0, 1, ..., two of each place; chip n has 4 + n % 8 columns of water, 6 of crops, and trees.

    Attributes:
        unreadable: keys of chips that cannot be read. broken: keys at which the reader itself has a fault.
        unreachable: keys at which everything ends.
        log: a file to which the key of every chip is added as it is read. seconds: that reading a chip takes.
        at: shift of all chips on the ground, in chips.
    """

    num: int = 12
    unreadable: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    log: str | None = None
    seconds: float = 0.0
    at: float = 0.0
    first: int = 0
    name: str = "stripes"

    def index(self, split: str) -> Index:
        num = self.num if split == "train" else 0
        keys = range(self.first, self.first + num)
        return Index(entries=tuple(Entry(str(n), f"place {n // 2}") for n in keys), skipped={"cloudy": 3})

    def read(self, key: str) -> Chip:
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write(f"{key}\n")
        time.sleep(self.seconds)
        if key in self.unreadable:
            raise ChipError(f"{key}.tif: not a readable label raster", reason="unreadable label")
        if key in self.broken:
            raise ZeroDivisionError(f"a fault in reading {key}")
        if key in self.unreachable:
            raise EndpointError("http://localhost:1: nothing answers; start the server")
        return make_chip(int(key), source=self.name, at=self.at)


def make_chip(number: int, *, source: str = "stripes", at: float = 0.0, seed: int | None = None) -> Chip:
    """Chip of a number; `at` moves it on the ground, `seed` gives it other pixels than those of its number."""
    ids = np.full((HEIGHT, WIDTH), TREE, np.uint8)
    ids[:, : 4 + number % 8] = WATER
    ids[:, -6:] = CROP
    ids[number % HEIGHT, 0] = CROP
    pixels = np.random.default_rng(number if seed is None else seed).random((3, HEIGHT, WIDTH), dtype=np.float32)
    # Chips stand in a row from west to east, side by side.
    west = EAST_M + (number + at) * WIDTH * GSD_M
    image = Observation(
        pixels=pixels,
        bands=("red", "green", "blue"),
        modality="optical",
        sensor="rgb",
        valid=np.ones((HEIGHT, WIDTH), bool),
        georeference=Georeference(crs=CRS.from_epsg(32632), transform=Affine(GSD_M, 0, west, 0, -GSD_M, NORTH_M)),
        date=datetime.date(2021, 6, 1 + number % 28),
        source=f"/data/{source}/images/{number}.tif",
    )
    labels = LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=(WATER, TREE, CROP))
    return Chip(
        source=source,
        key=str(number),
        place=f"place {number // 2}",
        split="train",
        scene=Scene.of(optical=[image]),
        labels=(labels,),
    )


def water_question(chip: Chip, task: str, text: str, truth: str) -> Question:
    """A question whose one step points at the water and says its share."""
    water = chip.labels[0].mask(WATER)
    step = Step(text="The water:", finding=f"It covers {100 * water.mean():.0f}% of the image.", mask=water)
    return Question(
        task=task,
        text=text,
        options=(),
        trace=Trace(steps=(step,), answer=truth),
        truth=truth,
        classes=("water",),
    )


@dataclass(frozen=True)
class FewWords:
    """A writer of one caption and one composed question a chip; of another draft it says why it was rejected."""

    name: str = "few words"

    def caption(self, chip: Chip, rng: np.random.Generator) -> Written:
        text = f"Water and trees, seen {rng.integers(1000)} times."
        return Written(questions=(water_question(chip, "caption", "Describe the image.", text),))

    def compose(self, chip: Chip, caption: str, pairs: Sequence[Question], rng: np.random.Generator) -> Written:
        question = water_question(chip, "spatial/echo", f"After {len(pairs)} questions: {caption}?", "Water")
        return Written(questions=(question,), rejected=("too short",))


def open_tools(recipe: Recipe, out: Path) -> Tools:
    """Striped chips and few words, with the options that a recipe gives."""
    sources = {one.name: Stripes(name=one.name, **_tuples(one.options)) for one in recipe.sources}
    return Tools(sources=sources, roots={name: Path("/data") / name for name in sources}, writer=FewWords())


def _tuples(options: dict[str, object]) -> dict[str, object]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def recipe(**fields: object) -> Recipe:
    """A recipe of striped chips; options of the source are given as `options`."""
    options = fields.pop("options", {})
    source = {"name": "stripes", "root": "stripes", "options": options}
    return Recipe.of({"sources": [source], "chips_per_shard": 4, **fields})
