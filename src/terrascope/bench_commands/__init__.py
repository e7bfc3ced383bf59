"""The commands under `terrascope bench`: build a benchmark, ask a predictor, score what it answered. Wiring only."""

from __future__ import annotations

import typer

from terrascope.bench_commands import asking, building, handing_on, reviewing, scoring

app = typer.Typer(help="Build a benchmark, ask models its questions, and score them.", no_args_is_help=True)
for part in (building, asking, scoring, reviewing, handing_on):
    app.add_typer(part.app)
