"""`terrascope bench build`: from labelled scenes to a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from terrascope.bench_commands.options import read_roots
from terrascope.command_options import (
    Limit,
    MaxFailed,
    Reading,
    RecipeFile,
    RecipeSeed,
    SourceTexts,
    Split,
    read_source,
)
from terrascope.errors import SampleError
from terrascope.quantities import list_counts

if TYPE_CHECKING:
    from terrascope.bench.build import BenchReport

app = typer.Typer()


@app.command()
def build(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write the benchmark into.")],
    source: SourceTexts = None,
    recipe: RecipeFile = None,
    read: Reading = None,
    split: Split = None,
    seed: RecipeSeed = None,
    quota: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--quota", metavar="TASK=NUMBER", help="Questions of a task, once per task; else the paper's."),
    ] = None,
    shown: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--shown", metavar="NAME", help="optical, sar or both, once per version; without it, all."),
    ] = None,
    limit: Limit = None,
    max_failed: MaxFailed = None,
) -> None:
    """Build a benchmark from labelled scenes; exit code 1 if too many chips failed."""
    from terrascope.progress import Waiting

    with Waiting("preparing") as waiting:
        from terrascope.bench import build as builder
        from terrascope.bench.recipe import BenchRecipe
        from terrascope.terracot.recipe import read_recipe_file

        values = read_recipe_file(recipe) if recipe is not None else {}
        typed = {
            "sources": [read_source(text) for text in source] if source else None,
            "split": split,
            "seed": seed,
            "quota": _overrule(values.get("quota"), quota or ()) if quota else None,
            "shown": shown or None,
            "limit": limit,
            "max_failed_share": max_failed,
        }
        values |= {name: value for name, value in typed.items() if value is not None}
        if "sources" not in values:
            raise SampleError("no data set was given; name one with --source NAME=DIR, such as --source synthetic=100")
        _place_sources(values, read_roots(read))
        wanted = BenchRecipe.of(values, str(recipe or "the recipe"))

        def advance(stage: str, done: int, total: int) -> None:
            if stage != waiting.stage:
                waiting.say(stage)
            waiting.advance(done, total)

        report = builder.build(wanted, out, advance)
    typer.echo("\n".join(_describe(report, out)))
    if report.too_many_failed:
        failed, total = report.total.num_failed, report.total.num_chips
        typer.echo(
            f"error: {failed} of {total} chips failed, more than the {100 * report.max_failed_share:g} % that may",
            err=True,
        )
        raise typer.Exit(1)


def _overrule(quota: Any, texts: Iterable[str]) -> dict[str, int]:
    """The quota of a recipe with what was typed as `TASK=NUMBER`."""
    quota = dict(quota) if isinstance(quota, Mapping) else {}
    for text in texts:
        name, equals, number = text.partition("=")
        if not (name and equals and number.isdecimal()):
            raise SampleError(f"--quota {text}: give a task and how many questions, such as distance=40")
        quota[name] = int(number)
    return quota


def _place_sources(values: dict[str, Any], roots: Mapping[str, str]) -> None:
    """Give the sources of a recipe the folders that were typed."""
    sources = values["sources"]
    if not roots or not isinstance(sources, list) or not all(isinstance(source, dict) for source in sources):
        return
    unknown = next((name for name in roots if name not in [source.get("name") for source in sources]), None)
    if unknown is not None:
        raise SampleError(f"--read {unknown}: the recipe has no source of this name")
    values["sources"] = [
        {**source, "root": roots[source["name"]]} if source.get("name") in roots else source for source in sources
    ]


def _describe(report: BenchReport, out: Path) -> Iterable[str]:
    """What a build made, line by line."""
    total = report.total
    num = sum(report.questions.values())
    yield (
        f"{out}: {num:,} questions about {report.num_places:,} places, {total.num_samples:,} with all versions, "
        f"of {total.num_chips:,} chips"
    )
    for task, wanted in report.wanted.items():
        if wanted:
            found = report.questions.get(task, 0)
            yield f"{task}: {found:,}" + (f" of {wanted:,} wanted" if found < wanted else "")
    yield f"sources: {list_counts(total.by_source)}"
    for source, reasons in report.skipped.items():
        if reasons:
            yield f"left out by {source}: {list_counts(reasons)}"
    if total.num_empty:
        yield f"nothing to ask: {total.num_empty:,} chips"
    if total.failed:
        yield f"failed chips: {list_counts(total.failed)}"
    if total.rejected:
        yield f"rejected drafts: {list_counts(total.rejected)}"
