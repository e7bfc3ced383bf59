"""`terrascope bench score` and `report`: what runs came to, on the terminal and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from terrascope.bench_commands.options import AskedBench, Bench, Seed
from terrascope.command_options import AsJson, with_options

app = typer.Typer()

Runs = Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders that `bench run` has written.")]
RuleName = Annotated[
    Literal["paper", "release", "strict"],
    typer.Option("--rule", help="How an answer is read; where the three differ, all are reported."),
]


@app.command()
@with_options
def score(
    bench: Bench,
    runs: Runs,
    asked: AskedBench,
    rule: RuleName = "paper",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Score runs: accuracy of each task, and how well the masks lie."""
    from terrascope.bench.leaderboard import open_runs, rank, score_run
    from terrascope.bench.score_printout import print_score
    from terrascope.progress import Waiting

    with Waiting("scoring") as waiting:
        benchmark = asked.opened(bench, with_scenes=False)
        scores = []
        for done, one in enumerate(opened := open_runs(benchmark, runs)):
            waiting.advance(done, len(opened))
            scores.append(score_run(benchmark, one, rule=rule, seed=seed))
        board = rank(benchmark, scores, seed=seed)
    if as_json:
        typer.echo(json.dumps(board.to_dict(), ensure_ascii=False, indent=2))
    else:
        for entry in board.scores:
            print_score(entry)


@app.command()
@with_options
def report(
    bench: Bench,
    runs: Runs,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Write report.html, leaderboard.md, scores.json.")],
    asked: AskedBench,
    rule: RuleName = "paper",
    failures: Annotated[
        int, typer.Option("--failures", min=0, metavar="NUMBER", help="The worst failures of each run to show.")
    ] = 6,
    seed: Seed = 0,
) -> None:
    """Compare runs on a page; with --read, it shows the scenes of the worst failures."""
    from terrascope.bench.report import write_report
    from terrascope.bench.tables import asked as asked_of
    from terrascope.bench.tables import plain_percent
    from terrascope.progress import Waiting

    with Waiting("scoring"):
        benchmark = asked.opened(bench, with_scenes=False)
        board = write_report(out, benchmark, runs, rule=rule, num_failures=failures, seed=seed)
    for place, entry in enumerate(board.scores):
        told = f"{entry.run}: {plain_percent(entry.overall.macro)}"
        ranked = place < board.num_ranked
        typer.echo(f"{board.rank(place)}. {told}" if ranked else f"not ranked: {told} of {asked_of(entry)} questions")
    typer.echo(str(out / "report.html"))
