"""`terrascope data build`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

from terrascope.command_options import (
    EndpointAddress,
    EndpointModel,
    Limit,
    MaxFailed,
    RecipeFile,
    RecipeSeed,
    SourceTexts,
    Split,
    read_source,
)
from terrascope.errors import SampleError
from terrascope.quantities import list_counts

if TYPE_CHECKING:
    from terrascope.predictor import Predictor
    from terrascope.terracot.build import BuildReport

app = typer.Typer()

_OPTIONS = {
    "sources": "--source",
    "levels": "--level",
    "seed": "--seed",
    "limit": "--limit",
    "chips_per_shard": "--chips-per-shard",
    "max_failed_share": "--max-failed",
}
"""The options by which fields of a recipe are typed, for messages."""


@app.command()
def build(
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="The folder to build in, or to go on in.")],
    source: SourceTexts = None,
    recipe: RecipeFile = None,
    level: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--level", metavar="NAME", help="referring, caption, L1 or L2, once per level; without it, all."),
    ] = None,
    split: Split = None,
    seed: RecipeSeed = None,
    limit: Limit = None,
    chips_per_shard: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--chips-per-shard", metavar="NUMBER", help="Chips that one file is about."),
    ] = None,
    max_failed: MaxFailed = None,
    exclude: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--exclude", metavar="BENCH", help="A benchmark none of whose scenes may be among these."),
    ] = None,
    writer: Annotated[
        Optional[Literal["offline", "llm"]],  # noqa: UP045
        typer.Option("--writer", help="Who words captions and composed questions."),
    ] = None,
    endpoint: EndpointAddress = None,
    model: EndpointModel = None,
    cache: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--cache", metavar="DIR", help="Replies of language models, for all builds."),
    ] = None,
    annotate: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--annotate", metavar="MODEL", help="Label the chips by this model: nano, a folder, a hub id."),
    ] = None,
    shown: Annotated[
        Literal["all", "drawn"] | None,
        typer.Option("--shown", help="Of optical and SAR pairs, show both images, or draw the one, the other or both."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="NUMBER", help="Shards built at a time.")] = 1,
    engine: Annotated[
        Literal["local", "ray"], typer.Option("--engine", help="Processes of this machine, or Ray (extra ray).")
    ] = "local",
) -> None:
    """Build a data set, or go on with one; exit code 1 if too many chips failed, or there is no sample."""
    from terrascope.progress import Waiting

    with Waiting("preparing") as waiting:
        from terrascope.terracot import build as builder
        from terrascope.terracot.recipe import Recipe, read_recipe_file
        from terrascope.terracot.toolbox import open_tools

        values = read_recipe_file(recipe) if recipe is not None else {}
        typed = {
            "sources": [read_source(text) for text in source] if source else None,
            "levels": level or None,
            "split": split,
            "seed": seed,
            "limit": limit,
            "chips_per_shard": chips_per_shard,
            "max_failed_share": max_failed,
            "exclude": exclude,
            "writer": _overrule(values.get("writer"), kind=writer, endpoint=endpoint, model=model, cache=cache),
            "annotate": annotate,
            "shown": shown,
        }
        values |= {name: value for name, value in typed.items() if value is not None}
        if "sources" not in values:
            raise SampleError("no data set was given; name one with --source NAME=DIR, such as --source synthetic=100")
        options = {name: option for name, option in _OPTIONS.items() if typed[name] is not None}
        wanted = Recipe.of(values, str(recipe or "the recipe"), typed=options)

        def advance(stage: str, done: int, total: int) -> None:
            if stage != waiting.stage:
                waiting.say(stage)
            waiting.advance(done, total)

        report = builder.build(
            wanted,
            Path(out),
            open_tools=partial(open_tools, load=_load_model),
            engine=engine,
            num_workers=workers,
            progress=advance,
        )
    typer.echo("\n".join(_describe(report, out)))
    if report.too_many_failed:
        failed, total = report.total.num_failed, report.total.num_chips
        allowed = f"{100 * report.max_failed_share:g} %"
        typer.echo(f"error: {failed} of {total} chips failed, more than the {allowed} that may", err=True)
        raise typer.Exit(1)
    if not report.total.num_samples:
        typer.echo(f"error: no sample was made of {report.total.num_chips:,} chips", err=True)
        raise typer.Exit(1)


def _overrule(
    writer: Any, *, kind: str | None, endpoint: str | None, model: str | None, cache: Path | None
) -> dict[str, Any] | None:
    """The writer of a recipe with what was typed; None if neither says anything."""
    typed_endpoint = {name: value for name, value in (("base_url", endpoint), ("model", model)) if value is not None}
    if kind is None and not typed_endpoint and cache is None:
        return None
    values: dict[str, Any] = dict(writer) if isinstance(writer, Mapping) else {}
    if kind is not None:
        values["kind"] = kind
    if typed_endpoint:
        values["endpoint"] = {**values.get("endpoint", {}), **typed_endpoint}
    if cache is not None:
        values["cache"] = cache
    return values


def _load_model(name: str) -> Predictor:
    from terrascope.model import TerraScope

    return TerraScope.from_pretrained(name)


def _describe(report: BuildReport, out: str) -> Iterable[str]:
    """What a build made, line by line."""
    total = report.total
    kept = f" ({report.num_kept} were there already)" if report.num_kept else ""
    yield f"{out}: {total.num_samples:,} samples of {total.num_chips:,} chips in {report.num_shards:,} files{kept}"
    if total.by_level:
        yield f"levels: {list_counts(total.by_level)}"
    if total.by_source:
        yield f"sources: {list_counts(total.by_source)}"
    for source, reasons in report.skipped.items():
        if reasons:
            yield f"left out by {source}: {list_counts(reasons)}"
    if total.num_empty:
        yield f"nothing to ask: {total.num_empty:,} chips"
    if total.num_unlabelled:
        yield f"without labels: {total.num_unlabelled:,} of these chips; --annotate MODEL makes labels"
    if total.failed:
        yield f"failed chips: {list_counts(total.failed)}"
        yield from (f"  {reason}, such as {sentence}" for reason, sentence in total.told.items())
    if total.num_without_reply:
        yield f"without a reply: {total.num_without_reply:,} of these chips; the same command asks for them again"
    if total.rejected:
        yield f"rejected drafts: {list_counts(total.rejected)}"
    if report.usage is not None:
        yield f"language model: {report.used_now}"
        if report.usage != report.used_now:
            yield f"language model, over all runs: {report.usage}"
