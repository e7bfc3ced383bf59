"""`terrascope data validate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from terrascope.command_options import AsJson
from terrascope.data_commands.options import Folder

SHOWN = 20
"""Problems that are printed; all are counted."""

app = typer.Typer()


@app.command()
def validate(
    folder: Folder,
    exclude: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--exclude", metavar="BENCH", help="A benchmark none of whose scenes may be among these."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check files, samples, and stated numbers against masks; exit code 1 if something is wrong."""
    from terrascope.progress import Waiting

    with Waiting("checking") as waiting:
        from terrascope.terracot.separation import Benchmark, SeparationError, check_separate
        from terrascope.terracot.store import open_store
        from terrascope.terracot.validate import validate as check

        found = check(folder, waiting.advance)
        problems = list(found.problems)
        if exclude is not None and not problems:
            try:
                check_separate(Benchmark.open(folder).chips, Benchmark.open(exclude))
            except SeparationError as error:
                problems.append(str(error))
        num_rows = found.num_samples if problems else len(open_store(folder))
    if as_json:
        counted = {"samples": num_rows, "masks": found.num_masks, "problems": problems}
        typer.echo(json.dumps(counted, ensure_ascii=False, indent=2))
    else:
        for problem in problems[:SHOWN]:
            typer.echo(problem)
        if len(problems) > SHOWN:
            typer.echo(f"... and {len(problems) - SHOWN:,} more")
        num = len(problems)
        verdict = "no problem" if not num else "1 problem" if num == 1 else f"{num:,} problems"
        typer.echo(f"{folder}: {num_rows:,} samples, {found.num_masks:,} masks, {verdict}")
    if problems:
        raise typer.Exit(1)
