"""`terrascope data export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from terrascope.command_options import Reading
from terrascope.data_commands.options import Folder, OnlyLevel, OnlySource, OnlyTask, reader_of
from terrascope.quantities import list_counts

app = typer.Typer()


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")],
    form: Annotated[
        Literal["plain", "thinking", "grounded"],
        typer.Option("--form", help="Question and answer; with reasoning but without [SEG]; with everything."),
    ] = "grounded",
    file_format: Annotated[
        Literal["internvl", "llava", "terrascope"],
        typer.Option("--format", help="Whose training reads it."),
    ] = "internvl",
    level: OnlyLevel = None,
    task: OnlyTask = None,
    source: OnlySource = None,
    read: Reading = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Write the pictures of the scenes, too.")
    ] = True,
) -> None:
    """Write a data set as conversations for the training of other models."""
    from terrascope.progress import Waiting

    with Waiting("exporting") as waiting:
        from terrascope.terracot.export import export as write
        from terrascope.terracot.show import choose_samples
        from terrascope.terracot.store import open_store

        store = open_store(folder)
        # Refuses, as `show` does, where there is no such sample.
        choose_samples(store.select(level=level, task=task, source=source), level=level, task=task, source=source)
        done = write(
            store.select(level=level, task=task, source=source),
            out,
            form=form,
            file_format=file_format,
            read=reader_of(store, read) if pictures else None,
            origins={(chip.source, chip.key): chip.origins for chip in store.chips() if chip.origins},
            progress=lambda number: waiting.advance(number, len(store)),
        )
    for name, number in done.records.items():
        typer.echo(f"{out / name}: {number:,} samples")
    typer.echo(f"{done.num_images:,} pictures written")
    if done.left_out:
        typer.echo(f"left out: {list_counts(done.left_out)}")
