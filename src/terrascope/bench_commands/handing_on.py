"""`terrascope bench export-harness`: a benchmark for the harnesses of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from terrascope.bench_commands.options import AskedBench, Bench
from terrascope.command_options import with_options
from terrascope.quantities import list_counts

app = typer.Typer()


@app.command("export-harness")
@with_options
def export_harness(
    bench: Bench,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")],
    asked: AskedBench,
    harness: Annotated[
        Literal["lmms-eval", "vlmevalkit"], typer.Option("--for", help="A task folder, or tables (LMUData).")
    ] = "lmms-eval",
) -> None:
    """Write a benchmark for the harness of others."""
    from terrascope.progress import Waiting

    with Waiting("drawing") as waiting:
        from terrascope.bench.harness import export_harness as write

        benchmark = asked.opened(bench, with_scenes=True)
        num = len(benchmark.samples)
        done = write(benchmark, out, harness, lambda number: waiting.advance(number, num))
    for name in done.files:
        typer.echo(str(out / name))
    typer.echo(f"{done.num_questions:,} questions")
    if done.left_out:
        typer.echo(f"left out: {list_counts(done.left_out)}")
