"""What a build makes, settled before the first image is read: which chips, in which shards, asked what.

A plan is a recipe with its chips listed. It is saved beside the shards, so that a run that was interrupted goes on as
it began, and a run that wants something else is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from terrascope import __version__
from terrascope.errors import SampleError
from terrascope.output import written_whole
from terrascope.sources.chips import Source
from terrascope.terracot.level1 import Level1Settings, Presence
from terrascope.terracot.recipe import Recipe, settle
from terrascope.terracot.referring import ReferringSettings, class_weights

PLAN = "plan.json"
CALLS = "calls.jsonl"
"""The log of requests to a language model, in the output folder."""

FORM = "terrascope-plan/1"

Item = TypeVar("Item")


class PlannedChip(NamedTuple):
    """A chip of a plan: its source's name, its key there, and its place."""

    source: str
    key: str
    place: str


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """How common a class is in a part of the chips: label maps that show it, and those that would if it were there."""

    shown: int
    known: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A recipe and its chips. Two plans are equal if they make the same shards.

    Attributes:
        recipe: what is built.
        shards: the chips of each shard, in order.
        skipped: for each source, how many chips it left out of its index, by reason.
        classes: how common each class is, counted once for all shards, so that each of them asks alike.
        presence: how often each class is there on each date of each source, counted in the same way.
        digest: SHA-256 of all that decides what the shards hold; shards of another plan are told by it.
    """

    recipe: Recipe = field(compare=False)
    shards: tuple[tuple[PlannedChip, ...], ...] = field(compare=False)
    skipped: Mapping[str, Mapping[str, int]] = field(default_factory=dict, compare=False)
    classes: Mapping[str, ClassCount] = field(default_factory=dict, compare=False)
    presence: Presence = field(default_factory=dict, compare=False)
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            exact = json.dumps(self._values(), sort_keys=True)
            object.__setattr__(self, "digest", hashlib.sha256(exact.encode()).hexdigest())

    @property
    def num_chips(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @property
    def chips(self) -> tuple[PlannedChip, ...]:
        return tuple(chip for shard in self.shards for chip in shard)

    @cached_property
    def referring(self) -> ReferringSettings:
        """The settings of stage 1; rare classes are preferred."""
        return replace(settle(ReferringSettings, self.recipe.referring), weights=self._weights)

    @cached_property
    def level1(self) -> Level1Settings:
        """The settings of level 1; rare classes are preferred, and no class alone tells whether it is there."""
        return replace(settle(Level1Settings, self.recipe.level1), weights=self._weights, presence=self.presence)

    @cached_property
    def _weights(self) -> dict[str, float]:
        return class_weights({name: count.shown for name, count in self.classes.items()})

    def shard_name(self, number: int) -> str:
        """File name of a shard (from 0): `train-00003-of-00012.parquet`."""
        return f"{self.recipe.split}-{number:05d}-of-{len(self.shards):05d}.parquet"

    def save(self, folder: Path) -> None:
        """Write `plan.json`.

        Raises:
            OutputError: it cannot be written.
        """
        with written_whole(folder / PLAN) as unfinished:
            unfinished.write_text(json.dumps(self._values(), separators=(",", ":")), encoding="utf-8")

    def _values(self) -> dict[str, Any]:
        return {
            "form": FORM,
            "version": __version__,
            "recipe": self.recipe.public(),
            "shards": [[list(chip) for chip in shard] for shard in self.shards],
            "skipped": {name: dict(reasons) for name, reasons in self.skipped.items()},
            "classes": {name: asdict(count) for name, count in self.classes.items()},
            "presence": {source: [dict(shares) for shares in dates] for source, dates in self.presence.items()},
        }


def load_plan(folder: Path, recipe: Recipe) -> Plan | None:
    """The plan of a folder in which `recipe` was begun; None if nothing was begun there.

    Raises:
        SampleError: another recipe was begun there, or the plan cannot be read.
    """
    path = folder / PLAN
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        form, version, begun = values["form"], values["version"], values["recipe"]
        shards = tuple(tuple(PlannedChip(*chip) for chip in shard) for shard in values["shards"])
        skipped = values["skipped"]
        classes = {name: ClassCount(**count) for name, count in values["classes"].items()}
        presence = {source: tuple(dates) for source, dates in values["presence"].items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SampleError(f"{path}: not a readable plan ({error}); give a new folder with --out") from None
    if (form, version) != (FORM, __version__):
        raise SampleError(
            f"{path}: begun by terrascope {version}, and this is {__version__}; give a new folder with --out"
        )
    changed = [name for name, value in recipe.public().items() if begun.get(name) != value]
    if changed:
        raise SampleError(
            f"{folder}: another recipe was begun here ({', '.join(changed)} differ); "
            "give the same one to go on, or a new folder with --out"
        )
    return Plan(recipe=recipe, shards=shards, skipped=skipped, classes=classes, presence=presence)


def list_chips(recipe: Recipe, sources: Mapping[str, Source]) -> Plan:
    """List the chips of a recipe and cut them into shards, none of which has chips of two sources.

    Args:
        sources: the opened data sets, by name.

    Raises:
        SampleError: there is no chip at all.
        SceneError: a folder is not laid out as its data set is.
    """
    shards: list[tuple[PlannedChip, ...]] = []
    skipped: dict[str, Mapping[str, int]] = {}
    for wanted in recipe.sources:
        index = sources[wanted.name].index(recipe.split)
        skipped[wanted.name] = dict(index.skipped)
        entries = spread(index.entries, wanted.limit or recipe.limit)
        chips = [PlannedChip(wanted.name, entry.key, entry.place) for entry in entries]
        for first in range(0, len(chips), recipe.chips_per_shard):
            shards.append(tuple(chips[first : first + recipe.chips_per_shard]))
    if not shards:
        names = ", ".join(source.name for source in recipe.sources)
        raise SampleError(f"{names}: no chip in the split {recipe.split}; choose another one with --split")
    return Plan(recipe=recipe, shards=tuple(shards), skipped=skipped)


def spread(items: Sequence[Item], limit: int | None) -> Sequence[Item]:
    """At most `limit` of the items, spread evenly over them; always the same ones."""
    if limit is None or limit >= len(items):
        return items
    return [items[math.floor((2 * place + 1) * len(items) / (2 * limit))] for place in range(limit)]
