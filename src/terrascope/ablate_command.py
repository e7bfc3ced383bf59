"""`terrascope ablate`: repeat a table of the paper's ablations. Wiring only."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from terrascope.bench_commands.options import read_roots
from terrascope.command_options import Device, Reading
from terrascope.errors import TrainingError
from terrascope.train_commands import NEEDED

app = typer.Typer()


def _list_tables(context: typer.Context, parameter: typer.CallbackParam, value: Any) -> Any:
    """Print the list once both `--list` and `--seeds` are known, in whichever order they stand."""
    known = {**context.params, parameter.name: value}
    if known.get("listed") and "seeds" in known:
        from terrascope.training.ablations.tables import list_tables

        typer.echo(list_tables(known["seeds"]))
        raise typer.Exit
    return value


@app.command()
def ablate(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="One of those that --list prints, such as 2 or K.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Samples, as terrascope data build writes them.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Runs, questions and tables; begun ones go on.")],
    read: Reading = None,
    start: Annotated[
        str, typer.Option("--start", metavar="NAME", help="Where every training starts: nano, a folder, or a hub id.")
    ] = "nano",
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="NAME", help="What all trainings share, as for terrascope train.")
    ] = "nano-stage2",
    grounding_recipe: Annotated[
        str, typer.Option("--grounding-recipe", metavar="NAME", help="The stage 1 that goes before one row of table J.")
    ] = "nano-stage1",
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another value for a setting of all trainings."),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds",
            min=1,
            metavar="NUMBER",
            callback=_list_tables,
            is_eager=True,
            help="Trainings of each kind.",
        ),
    ] = 3,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, metavar="NUMBER", help="Of each training; else the recipe's.")
    ] = None,
    questions: Annotated[
        int, typer.Option("--questions", min=1, metavar="NUMBER", help="Of each task, at most, on places not trained.")
    ] = 100,
    split: Annotated[
        Literal["val", "test"], typer.Option("--split", help="Of the data sets, on which the questions are.")
    ] = "val",
    choice: Annotated[
        Literal["letter", "nearest"],
        typer.Option("--choice", help="The letter that the model writes, or the option nearest to its free answer."),
    ] = "letter",
    budget: Annotated[
        int, typer.Option("--budget", min=1, metavar="NUMBER", help="Positions that may follow a prompt.")
    ] = 1024,
    device: Device = "auto",
    listed: Annotated[
        bool,
        typer.Option(
            "--list", callback=_list_tables, is_eager=True, help="Say what each table does, and what it costs."
        ),
    ] = False,
) -> None:
    """Repeat a table of the paper's ablations: train every variant, ask all the same questions, compare."""
    absent = next((package for package in NEEDED if find_spec(package) is None), None)
    if absent is not None:
        raise TrainingError(f"training needs the package {absent}: pip install 'terrascope-eo[train]'")
    from terrascope.progress import Waiting

    roots = read_roots(read)

    with Waiting("preparing") as waiting:
        from terrascope.training.ablations.ablate import ablate as make_table
        from terrascope.training.ablations.report import percent_or_mean
        from terrascope.training.ablations.runs import Setup

        setup = Setup(
            store=data,
            roots=roots,
            start=start,
            out=out,
            recipe=recipe,
            grounding_recipe=grounding_recipe,
            overrides=change or (),
            num_seeds=seeds,
            steps=steps,
            num_questions=questions,
            split=split,
            choice=choice,
            budget=budget,
            device=device,
        )
        tell = partial(waiting.console.print, highlight=False, soft_wrap=True)
        finding = make_table(table, setup, stage=waiting.say, tell=tell, progress=waiting.advance)
    for failure in finding.failures:
        typer.echo(f"failed: {failure.what}, seed {failure.seed}: {failure.reason}", err=True)
    for row in finding.rows:
        typer.echo(f"{row.name}: {percent_or_mean(row.macro)}")
    if finding.order.verdict is not None:
        few = " (too few places to tell)" if finding.has_few_places else ""
        typer.echo(f"the paper's order is reproduced: {finding.order.verdict}{few}")
    typer.echo(str(out / "tables" / table / "table.md"))
    if finding.failures or not finding.rows:
        raise typer.Exit(1)
