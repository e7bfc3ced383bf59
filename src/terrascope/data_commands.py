"""The commands under `terrascope data`: build a data set, check it, look into it, hand it on. Wiring only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

from terrascope.command_options import (
    AsJson,
    EndpointAddress,
    EndpointModel,
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

if TYPE_CHECKING:
    from terrascope.predictor import Predictor
    from terrascope.sources.chips import Chip, Source
    from terrascope.terracot.build import BuildReport
    from terrascope.terracot.card import Making
    from terrascope.terracot.store import Store

SHOWN = 20
"""Problems that `validate` prints; it counts them all."""

_OPTIONS = {
    "sources": "--source",
    "levels": "--level",
    "seed": "--seed",
    "limit": "--limit",
    "chips_per_shard": "--chips-per-shard",
    "max_failed_share": "--max-failed",
}
"""The options by which fields of a recipe are typed, for messages."""

app = typer.Typer(help="Build, check and hand on data sets.", no_args_is_help=True)

LevelName = Literal["referring", "caption", "L1", "L2"]

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder of a data set, or one Parquet file of samples.")
]
OnlyLevel = Annotated[Optional[LevelName], typer.Option("--level", help="Samples of this level alone.")]  # noqa: UP045
OnlyTask = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--task", metavar="NAME", help="Samples of this task alone, such as area."),
]
OnlySource = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--source", metavar="NAME", help="Samples of this source alone."),
]


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
    draw(chosen, out, read=_reader(store, read), title=folder.resolve().name)
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
            read=_reader(store, read) if pictures else None,
            origins={(chip.source, chip.key): chip.origins for chip in store.chips() if chip.origins},
            progress=lambda number: waiting.advance(number, len(store)),
        )
    for name, number in done.records.items():
        typer.echo(f"{out / name}: {number:,} samples")
    typer.echo(f"{done.num_images:,} pictures written")
    if done.left_out:
        typer.echo(f"left out: {_list(done.left_out)}")


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


def _reader(store: Store, places: Sequence[str] | None) -> Callable[[str, str], Chip]:
    """Reads chips of the sources whose folders are given, and of those that need none."""
    from terrascope.sources.chips import ChipError
    from terrascope.terracot.recipe import Recipe

    built_from = {one["name"]: one for one in store.manifest["recipe"]["sources"]} if store.manifest else {}
    opened: dict[str, Source] = {}
    for text in places or ():
        one = read_source(text)
        built = built_from.get(one["name"], {})
        given = {"kind": one["kind"] or built.get("kind"), "options": one["options"] or built.get("options", {})}
        opened[one["name"]] = Recipe.of({"sources": [{**one, **given}]}, "--read").sources[0].opened()
    for name, one in built_from.items():
        if (one["kind"] or name) == "synthetic" and name not in opened:
            opened[name] = Recipe.of({"sources": [one]}).sources[0].opened()

    def read(source: str, key: str) -> Chip:
        if source not in opened:
            raise ChipError(f"{source}: its folder was not given; name it with --read {source}=DIR", reason="no folder")
        return opened[source].read(key)

    return read


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


def _describe(report: BuildReport, out: str) -> Iterable[str]:
    """What a build made, line by line."""
    total = report.total
    kept = f" ({report.num_kept} were there already)" if report.num_kept else ""
    yield f"{out}: {total.num_samples:,} samples of {total.num_chips:,} chips in {report.num_shards:,} files{kept}"
    if total.by_level:
        yield f"levels: {_list(total.by_level)}"
    if total.by_source:
        yield f"sources: {_list(total.by_source)}"
    for source, reasons in report.skipped.items():
        if reasons:
            yield f"left out by {source}: {_list(reasons)}"
    if total.num_empty:
        yield f"nothing to ask: {total.num_empty:,} chips"
    if total.num_unlabelled:
        yield f"without labels: {total.num_unlabelled:,} of these chips; --annotate MODEL makes labels"
    if total.failed:
        yield f"failed chips: {_list(total.failed)}"
        yield from (f"  {reason}, such as {sentence}" for reason, sentence in total.told.items())
    if total.num_without_reply:
        yield f"without a reply: {total.num_without_reply:,} of these chips; the same command asks for them again"
    if total.rejected:
        yield f"rejected drafts: {_list(total.rejected)}"
    if report.usage is not None:
        yield f"language model: {report.used_now}"
        if report.usage != report.used_now:
            yield f"language model, over all runs: {report.usage}"


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
