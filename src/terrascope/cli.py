"""The command line: wiring only. What needs torch is imported by the command that needs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from typer.core import TyperGroup

from terrascope import __version__
from terrascope.errors import SceneError, TerraScopeError

if TYPE_CHECKING:
    from terrascope.predictor import Answer, Predictor
    from terrascope.scene import Scene

DEMO_QUESTION = "What percentage of the scene is covered by water?"


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TerraScopeError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    name="terrascope",
    cls=_Commands,
    help="Ask a satellite scene a question; every step of the answer is a mask on that scene.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
train = typer.Typer(help="Train a model.", no_args_is_help=True)
app.add_typer(train, name="train")

# typer reads these at run time, and its own form of an option that may be missing is Optional.
Optical = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--optical",
        metavar="FILE",
        help="Optical image, once per date: a file, a folder of bands, or bands as F1,F2,...",
    ),
]
Sar = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--sar", metavar="FILE", help="SAR image, once per date; paired with the optical image of its place."),
]
Dates = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--date", metavar="YYYY-MM-DD", help="Day of the images, once per date."),
]
SensorName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--sensor", metavar="NAME", help="Sensor of the optical images, where the files do not tell."),
]
SarSensorName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--sar-sensor", metavar="NAME", help="Sensor of the SAR images, where the files do not tell."),
]
Gsd = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--gsd", metavar="METRES", help="Size of a pixel on the ground; overrules what the files say."),
]
Model = Annotated[str, typer.Option("--model", metavar="NAME", help="nano, a folder, or a repository of the hub.")]
Out = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--out", metavar="DIR", help="Write answer.json, overlay.png, masks.tif and masks.geojson there."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"terrascope {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Ask a satellite scene a question; every step of the answer is a mask on that scene."""


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask, in English.")],
    optical: Optical = None,
    sar: Sar = None,
    date: Dates = None,
    sensor: SensorName = None,
    sar_sensor: SarSensorName = None,
    choice: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--choice", metavar="TEXT", help='One of 2 to 5 options to choose from, such as "A. 10%".'),
    ] = None,
    gsd: Gsd = None,
    model: Model = "nano",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Ask a question about a scene."""
    from terrascope.question import check_question

    scene = _open(optical, sar, date, sensor, sar_sensor, gsd)
    question, options = check_question(scene, question, choice or ())
    _answer(lambda predictor: predictor.ask(scene, question, options=options), model, out, as_json)


@app.command()
def segment(
    class_name: Annotated[str, typer.Argument(metavar="CLASS", help="What to segment, such as water or building.")],
    optical: Optical = None,
    sar: Sar = None,
    date: Dates = None,
    sensor: SensorName = None,
    sar_sensor: SarSensorName = None,
    gsd: Gsd = None,
    model: Model = "nano",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Segment one class on a scene."""
    scene = _open(optical, sar, date, sensor, sar_sensor, gsd)
    _answer(lambda predictor: predictor.segment(scene, class_name), model, out, as_json)


@app.command()
def demo(
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Where the files of the answer go.")] = "out/demo",
    model: Model = "nano",
) -> None:
    """Ask a question about a scene that the program generates."""
    from terrascope.sources.synthetic import demo_scene

    scene = demo_scene()
    _answer(lambda predictor: predictor.ask(scene, DEMO_QUESTION), model, out, as_json=False)


@train.command(
    "nano", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def train_nano(ctx: typer.Context) -> None:
    """Train the small model that comes with the package; all arguments go to the training."""
    from terrascope.training import nano

    nano.main(ctx.args)


def _open(
    optical: Sequence[str] | None,
    sar: Sequence[str] | None,
    dates: Sequence[str] | None,
    sensor: str | None,
    sar_sensor: str | None,
    gsd_m: float | None,
) -> Scene:
    if not (optical or sar):
        raise SceneError("no image was given; name one with --optical FILE or --sar FILE")
    from terrascope.rasters.read import open_scene

    return open_scene(
        optical=[_files_of(value) for value in optical or ()],
        sar=[_files_of(value) for value in sar or ()],
        dates=dates or None,
        sensor=sensor,
        sar_sensor=sar_sensor,
        gsd_m=gsd_m,
    )


def _files_of(value: str) -> str | list[str]:
    """One path, or the band files of one image separated by commas; a path that exists may itself hold a comma."""
    if "," not in value or Path(value).exists():
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _answer(use: Callable[[Predictor], Answer], model: str, out: str | None, as_json: bool) -> None:
    """Load the model, let it answer, save the answer where wanted, and print it."""
    from rich.console import Console

    from terrascope.output import check_folder
    from terrascope.printout import print_answer

    if out is not None:
        check_folder(out)
    errors = Console(stderr=True)
    with errors.status("loading the model") if errors.is_terminal else nullcontext() as status:
        from terrascope.model import TerraScope

        predictor = TerraScope.from_pretrained(model)
        if status is not None:
            status.update("reasoning")
        answer = use(predictor)
    files = answer.save(out) if out is not None else {}
    if as_json:
        typer.echo(json.dumps(answer.to_dict(), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        print_answer(answer, files)


def main() -> None:
    """Entry point of the `terrascope` command."""
    app(prog_name="terrascope")
