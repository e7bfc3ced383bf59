"""What the commands under `terrascope data` share: which samples are meant, where their scenes lie, counts in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from terrascope.command_options import read_source

if TYPE_CHECKING:
    from terrascope.sources.chips import Chip, Source
    from terrascope.terracot.store import Store

LevelName = Literal["referring", "caption", "L1", "L2"]

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder of a data set, or one Parquet file of samples.")
]
OnlyLevel = Annotated[Optional[LevelName], typer.Option("--level", help="Samples of this level alone.")]  # noqa: UP045
OnlyTask = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--task", metavar="NAME", help="Samples of this task alone, such as area."),
]
OnlySource = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--source", metavar="NAME", help="Samples of this source alone."),
]


def reader_of(store: Store, places: Sequence[str] | None) -> Callable[[str, str], Chip]:
    """Reads chips of the sources whose folders are given, and of those that need none."""
    from terrascope.sources.chips import ChipError
    from terrascope.terracot.recipe import Recipe

    built_from = {one["name"]: one for one in store.manifest["recipe"]["sources"]} if store.manifest else {}
    opened: dict[str, Source] = {}
    for text in places or ():
        one = read_source(text)
        built = built_from.get(one["name"], {})
        given = {"kind": one["kind"] or built.get("kind"), "options": one["options"] or built.get("options", {})}
        opened[one["name"]] = Recipe.of({"sources": [{**one, **given}]}, "--read").sources[0].opened()
    for name, one in built_from.items():
        if (one["kind"] or name) == "synthetic" and name not in opened:
            opened[name] = Recipe.of({"sources": [one]}).sources[0].opened()

    def read(source: str, key: str) -> Chip:
        if source not in opened:
            raise ChipError(f"{source}: its folder was not given; name it with --read {source}=DIR", reason="no folder")
        return opened[source].read(key)

    return read
