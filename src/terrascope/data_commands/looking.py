"""`terrascope data show` and `stats`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from terrascope.command_options import AsJson, Reading
from terrascope.data_commands.options import Folder, OnlyLevel, OnlySource, OnlyTask, reader_of
from terrascope.errors import SampleError

if TYPE_CHECKING:
    from terrascope.terracot.card import Making
    from terrascope.terracot.store import Store

app = typer.Typer()


@app.command()
def show(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page (.html) or picture (.png) to write.")],
    sample_id: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--id", metavar="ID", help="The sample of this id."),
    ] = None,
    level: OnlyLevel = None,
    task: OnlyTask = None,
    source: OnlySource = None,
    num: Annotated[int, typer.Option("--num", min=1, metavar="NUMBER", help="How many samples.")] = 1,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--seed", metavar="NUMBER", help="Draw them at random; without it, the first ones."),
    ] = None,
    read: Reading = None,
) -> None:
    """Draw samples with their masks beside their words."""
    from terrascope.terracot.show import choose_samples
    from terrascope.terracot.show import show as draw
    from terrascope.terracot.store import open_store

    store = open_store(folder)
    wanted = store.select(level=level, task=task, source=source)
    chosen = choose_samples(wanted, sample_id=sample_id, level=level, task=task, source=source, num=num, seed=seed)
    draw(chosen, out, read=reader_of(store, read), title=folder.resolve().name)
    typer.echo(f"{out}: {', '.join(sample.id for sample in chosen)}")


@app.command()
def stats(
    folder: Folder,
    card: Annotated[
        bool, typer.Option("--card", help="Write the data card into the folder: README.md with its plots.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count what is in a data set."""
    from rich.console import Console

    from terrascope.progress import Waiting

    with Waiting("counting") as waiting:
        from terrascope.terracot.card import write_card
        from terrascope.terracot.stats import print_summary, summarize
        from terrascope.terracot.store import open_store

        store = open_store(folder)
        summary = summarize(store, lambda done: waiting.advance(done, len(store)))
        files = write_card(folder, summary, _making(store)) if card else {}
    if as_json:
        typer.echo(json.dumps(summary.to_dict(), ensure_ascii=False, indent=2))
    else:
        print_summary(summary, Console())
    for path in files.values():
        typer.echo(str(path), err=as_json)


def _making(store: Store) -> Making:
    """How a data set was made, for its card."""
    from terrascope.terracot.card import Making

    manifest = store.manifest
    if manifest is None:
        raise SampleError(f"{store.path}: a file of its own has no card; give the folder of a data set")
    recipe, total = manifest["recipe"], manifest["total"]
    if "levels" not in recipe:
        raise SampleError(f"{store.path}: a benchmark has no card; leave --card out to count what is in it")
    writer = recipe["writer"]
    settings = {
        "levels": ", ".join(recipe["levels"]),
        "writer": writer["endpoint"]["model"] if writer["kind"] == "llm" else "offline composer",
        "labels": f"predicted by {recipe['annotate']}" if recipe["annotate"] else "of the data sets",
    }
    return Making(
        name=store.path.resolve().name,
        seed=manifest["seed"],
        data_files={manifest["split"]: f"{manifest['split']}-*.parquet"},
        settings=settings,
        skipped={one["name"]: one["skipped"] for one in manifest["sources"]},
        failed=total["failed"],
        rejected=total["rejected"],
        held_out=recipe["exclude"] or "",
        version=manifest["versions"]["terrascope"],
    )
