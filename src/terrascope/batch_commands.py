"""`terrascope batch`: many questions about many scenes. Wiring only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

from terrascope.command_options import AllowVirtual, BoundingBox, ModelOptions, SarSensorName, SensorName, with_options
from terrascope.errors import ManifestError

if TYPE_CHECKING:
    from terrascope.batch.plan import AskedScene, Plan
    from terrascope.batch.result import Result
    from terrascope.predictor import Predictor
    from terrascope.progress import Waiting

app = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class ArchiveOptions:
    """What is looked for in which archive."""

    stac: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--stac", metavar="URL", help="Of a STAC API: take the scenes from there, without a manifest."),
    ] = None
    collection: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--collection", metavar="NAME", help="With --stac: the collection, such as sentinel-2-l2a."),
    ] = None
    bbox: BoundingBox = None
    datetime: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--datetime", metavar="A/B", help="With --stac: the first and the last day, or one day."),
    ] = None
    max_cloud: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--max-cloud", min=0, max=100, metavar="PERCENT", help="With --stac: leave out cloudier images."),
    ] = None
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="NUMBER", help="With --stac: images at most.")] = 100
    group: Annotated[
        Literal["item", "day"],
        typer.Option("--group", help="With --stac: a scene is an image, or all images of a day side by side."),
    ] = "item"
    timeout: Annotated[
        float,
        typer.Option("--timeout", min=0.1, metavar="SECONDS", help="With --stac: how long to wait for the archive."),
    ] = 30.0


@app.command()
@with_options
def batch(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of results; a begun one goes on.")],
    answering: ModelOptions,
    archive: ArchiveOptions,
    manifest: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(metavar="MANIFEST", help="Scenes and questions: a .csv, .parquet or .geojson file."),
    ] = None,
    question: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--question", metavar="TEXT", help="Asked of every scene; give several to ask several."),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option("--engine", help="Ask in this process, or on Ray.")
    ] = "local",
    workers: Annotated[
        int, typer.Option("--workers", min=1, metavar="NUMBER", help="With --engine ray: models at once.")
    ] = 1,
    again: Annotated[bool, typer.Option("--again", help="Ask once more what failed before.")] = False,
    sensor: SensorName = None,
    sar_sensor: SarSensorName = None,
    allow_virtual: AllowVirtual = False,
) -> None:
    """Ask many questions about many scenes; a batch that was stopped goes on. Exit code 1 if all of them failed."""
    from terrascope.batch.run import run
    from terrascope.progress import Waiting

    with Waiting("reading what is asked") as waiting:
        reading = {"sensor": sensor, "sar_sensor": sar_sensor}
        if archive.stac is None:
            plan = _plan_of_manifest(manifest, question or [], archive, reading, allow_virtual)
        elif manifest is not None:
            raise ManifestError(f"{manifest}: scenes come from a manifest or from --stac; leave one of them out")
        else:
            waiting.say("searching the archive")
            plan = _plan_of_archive(archive, question or [], reading, out)
        num_done = 0

        def advance(done: int, total: int) -> None:
            nonlocal num_done
            num_done = done
            waiting.advance(done, total)

        try:
            report = run(
                plan,
                _engine(engine, answering, workers, waiting),
                out,
                model=answering.model,
                settings=_settings(answering),
                again=again,
                progress=advance,
            )
        except KeyboardInterrupt:
            typer.echo(
                f"stopped; {num_done:,} of {plan.num_questions:,} questions are done: give the same command to go on",
                err=True,
            )
            raise
    typer.echo(str(report))
    if not report.num_answered:
        typer.echo(f"error: no question has an answer; {out}/failures.csv says why of each", err=True)
        raise typer.Exit(1)


def _plan_of_manifest(
    manifest: Path | None,
    questions: Sequence[str],
    archive: ArchiveOptions,
    reading: dict[str, str | None],
    allow_virtual: bool,
) -> Plan:
    """What a manifest asks.

    Raises:
        TerraScopeError: it cannot be used, or options do not go together.
    """
    given = [
        name.replace("_", "-") for name, value in vars(archive).items() if value != getattr(ArchiveOptions(), name)
    ]
    if given:
        raise ManifestError(f"--{given[0]} is for scenes from an archive; give its address with --stac")
    if manifest is None:
        raise ManifestError("no scenes were given; name a manifest, or an archive with --stac URL")
    from terrascope.batch.manifest import read_manifest

    return read_manifest(manifest, questions, allow_virtual=allow_virtual, **reading)


def _plan_of_archive(
    archive: ArchiveOptions, questions: Sequence[str], reading: dict[str, str | None], out: Path
) -> Plan:
    """The same questions about everything that a search finds.

    Raises:
        TerraScopeError: the archive cannot be searched, or has nothing.
    """
    from terrascope.batch.archive import Search, plan_of

    asked = {name: value for name, value in vars(archive).items() if name not in ("stac", "timeout")}
    return plan_of(Search.of(address=archive.stac or "", **asked, **reading), questions, out, timeout_s=archive.timeout)


def _settings(answering: ModelOptions) -> dict[str, Any]:
    """What decides the answers and was typed."""
    told = {
        "dtype": answering.dtype if answering.dtype != "auto" else None,
        "quantization": answering.quantization,
        "profile": answering.profile,
    }
    return {name: value for name, value in told.items() if value is not None}


def _engine(
    name: str, answering: ModelOptions, workers: int, waiting: Waiting
) -> Callable[[Sequence[AskedScene]], Iterator[Result]]:
    load = partial(load_model, answering)
    if name == "ray":
        from terrascope.batch.ray_engine import ask_on_ray

        waiting.say("asking on Ray")
        return partial(ask_on_ray, load, num_workers=workers)

    def ask(scenes: Sequence[AskedScene]) -> Iterator[Result]:
        from terrascope.batch.asking import ask_scenes

        waiting.say("loading the model")
        predictor = load()
        waiting.say("asking")
        yield from ask_scenes(predictor, scenes)

    return ask


def load_model(answering: ModelOptions) -> Predictor:
    """The model that options name; a function of this module, so that other processes can be told to call it."""
    from terrascope.model import TerraScope

    return TerraScope.from_pretrained(**answering.loading())
