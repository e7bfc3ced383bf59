"""The commands under `terrascope data`: build a data set, check it, look into it, hand it on. Wiring only."""

from __future__ import annotations

import typer

from terrascope.data_commands import building, checking, handing_on, looking

app = typer.Typer(help="Build, check and hand on data sets.", no_args_is_help=True)
for part in (building, checking, looking, handing_on):
    app.add_typer(part.app)
