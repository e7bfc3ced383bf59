"""The command line: wiring only. What needs torch is imported by the command that needs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer
from typer.core import TyperGroup

from terrascope import __version__
from terrascope.errors import SceneError
from terrascope.usage import end_command

if TYPE_CHECKING:
    from terrascope.model import TerraScope
    from terrascope.predictor import Answer
    from terrascope.scene import Scene

    Use = Callable[[TerraScope, dict[str, Any]], Answer]

GROUND_QUESTION = "What does the image show?"
DEMO_QUESTION = "What percentage of the scene is covered by water?"


class _Commands(TyperGroup):
    def main(self, *args: Any, **options: Any) -> Any:
        alone = options.pop("standalone_mode", True)
        options["standalone_mode"] = False
        command = partial(super().main, *args, **options)
        return sys.exit(end_command(command)) if alone else command()


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
Reference = Annotated[
    Optional[Literal["optical", "sar"]],  # noqa: UP045
    typer.Option("--reference", help="Whose grid the answer lies on; without it the optical image's, if there is one."),
]
BoundingBox = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--bbox", metavar="W,S,E,N", help="Use only this part of the scene, in degrees."),
]
AllowVirtual = Annotated[
    bool, typer.Option("--allow-virtual", help="Also open virtual rasters (VRT, /vsi...), which may lead anywhere.")
]
Nodata = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--nodata", metavar="NUMBER", help="Number of pixels without measurement, where the files do not say."
    ),
]
Model = Annotated[str, typer.Option("--model", metavar="NAME", help="nano, a folder, or a repository of the hub.")]
Device = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="auto (a CUDA device if there is one), cpu, cuda, cuda:1, or mps."),
]
NumberFormat = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option("--dtype", help="Number format; auto: the model's own on a GPU, float32 for small models on a CPU."),
]
Bits = Annotated[
    Optional[Literal["8bit", "4bit"]],  # noqa: UP045
    typer.Option("--quantization", help="Fewer bits for the language model; needs bitsandbytes and accelerate."),
]
ProfileName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--profile", metavar="NAME", help="Behave as in the paper (paper) or as the released code (release)."),
]
Out = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--out", metavar="DIR", help="Write the answer there: report.html, answer.json, and masks for a GIS."),
]
LookName = Annotated[
    Literal["auto", "whole", "views"],
    typer.Option(
        "--look",
        help="Reduce a large scene to one view (whole), or cover it at full resolution (views); auto: by its size.",
    ),
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
    nodata: Nodata = None,
    reference: Reference = None,
    bbox: BoundingBox = None,
    allow_virtual: AllowVirtual = False,
    model: Model = "nano",
    device: Device = "auto",
    dtype: NumberFormat = "auto",
    quantization: Bits = None,
    profile: ProfileName = None,
    look: LookName = "auto",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Ask a question about a scene."""
    from terrascope.question import check_question

    scene = _open(optical, sar, date, sensor, sar_sensor, gsd, nodata, reference, bbox, allow_virtual)
    question, options = check_question(scene, question, choice or ())
    loading = {"name": model, "device": device, "dtype": dtype, "quantization": quantization, "profile": profile}
    _answer(lambda predictor, how: predictor.ask(scene, question, options=options, **how), loading, look, out, as_json)


@app.command()
def segment(
    class_name: Annotated[str, typer.Argument(metavar="CLASS", help="What to segment, such as water or building.")],
    optical: Optical = None,
    sar: Sar = None,
    date: Dates = None,
    sensor: SensorName = None,
    sar_sensor: SarSensorName = None,
    gsd: Gsd = None,
    nodata: Nodata = None,
    reference: Reference = None,
    bbox: BoundingBox = None,
    allow_virtual: AllowVirtual = False,
    model: Model = "nano",
    device: Device = "auto",
    dtype: NumberFormat = "auto",
    quantization: Bits = None,
    profile: ProfileName = None,
    look: LookName = "auto",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Segment one class on a scene."""
    scene = _open(optical, sar, date, sensor, sar_sensor, gsd, nodata, reference, bbox, allow_virtual)
    loading = {"name": model, "device": device, "dtype": dtype, "quantization": quantization, "profile": profile}
    _answer(lambda predictor, how: predictor.segment(scene, class_name, **how), loading, look, out, as_json)


@app.command()
def ground(
    text: Annotated[str, typer.Argument(help="A reasoning or caption with a [SEG] wherever a mask is wanted.")],
    question: Annotated[str, typer.Option("--question", metavar="TEXT", help="What it answers.")] = GROUND_QUESTION,
    optical: Optical = None,
    sar: Sar = None,
    date: Dates = None,
    sensor: SensorName = None,
    sar_sensor: SarSensorName = None,
    gsd: Gsd = None,
    nodata: Nodata = None,
    reference: Reference = None,
    bbox: BoundingBox = None,
    allow_virtual: AllowVirtual = False,
    model: Model = "nano",
    device: Device = "auto",
    dtype: NumberFormat = "auto",
    quantization: Bits = None,
    profile: ProfileName = None,
    look: LookName = "auto",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Make the masks of a text that is already written."""
    scene = _open(optical, sar, date, sensor, sar_sensor, gsd, nodata, reference, bbox, allow_virtual)
    loading = {"name": model, "device": device, "dtype": dtype, "quantization": quantization, "profile": profile}
    _answer(lambda predictor, how: predictor.ground(scene, question, text, **how).answer, loading, look, out, as_json)


@app.command()
def info(
    files: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="FILE", help="Images whose kind is told by evidence; as --optical and --sar take them."),
    ] = None,
    optical: Optical = None,
    sar: Sar = None,
    date: Dates = None,
    sensor: SensorName = None,
    sar_sensor: SarSensorName = None,
    gsd: Gsd = None,
    nodata: Nodata = None,
    reference: Reference = None,
    bbox: BoundingBox = None,
    allow_virtual: AllowVirtual = False,
    picture: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--picture", metavar="FILE.png", help="Write a small picture of what the model will see."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is understood of images, from which evidence, and what is assumed."""
    from terrascope.info import look_at, write_picture
    from terrascope.info_printout import print_info
    from terrascope.progress import Waiting
    from terrascope.rasters.grids import check_box

    with Waiting("reading the images") as waiting:

        def advance(_: str, done: int, total: int) -> None:
            waiting.advance(done, total)

        understood = look_at(
            [_files_of(value) for value in files or ()],
            optical=[_files_of(value) for value in optical or ()],
            sar=[_files_of(value) for value in sar or ()],
            dates=date or None,
            sensor=sensor,
            sar_sensor=sar_sensor,
            gsd_m=gsd,
            nodata=nodata,
            reference=reference,
            bbox=None if bbox is None else check_box(bbox.split(",")),
            allow_virtual=allow_virtual,
            progress=advance,
        )
        if picture is not None:
            write_picture(understood, picture)
        waiting.say("looking at the values")
        described = understood.to_dict(advance)
    if as_json:
        typer.echo(json.dumps(described, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        print_info(described)
    if understood.problem:
        raise SceneError(f"these images do not form one scene: {understood.problem}")


@app.command()
def demo(
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Where the files of the answer go.")] = "out/demo",
    model: Model = "nano",
    device: Device = "auto",
    dtype: NumberFormat = "auto",
    quantization: Bits = None,
    profile: ProfileName = None,
) -> None:
    """Ask a question about a scene that the program generates."""
    from terrascope.sources.synthetic import demo_scene

    scene = demo_scene()
    loading = {"name": model, "device": device, "dtype": dtype, "quantization": quantization, "profile": profile}
    _answer(lambda predictor, how: predictor.ask(scene, DEMO_QUESTION, **how), loading, "auto", out, as_json=False)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A released checkpoint: a folder, or a hub id.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="The folder to make.")],
    dtype: Annotated[
        Literal["kept", "float32", "bfloat16", "float16"],
        typer.Option("--dtype", help="Number format of the weights."),
    ] = "kept",
) -> None:
    """Import a released TerraScope checkpoint, tensor by tensor and without its code."""
    from terrascope.progress import Waiting

    with Waiting("importing") as waiting:
        from terrascope.model.release.arrival import fetch
        from terrascope.model.release.convert import import_release

        number_format = None if dtype == "kept" else dtype
        report = import_release(fetch(source), target, dtype=number_format, progress=waiting.advance)
    typer.echo(f"{target}: {report.num_tensors} tensors; {len(report.dropped)} of the video memory left out")
    typer.echo(f"conversion.json names them. Use it with --model {target}")


@app.command()
def export(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A folder with one of our checkpoints.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="The folder to make.")],
) -> None:
    """Write a checkpoint in the layout of the released ones."""
    from terrascope.progress import Waiting

    with Waiting("exporting") as waiting:
        from terrascope.model.release.export import export_release

        report = export_release(source, target, progress=waiting.advance)
    left_out = f"; left out: {', '.join(report.dropped)}" if report.dropped else ""
    typer.echo(f"{target}: {report.num_tensors} tensors{left_out}")


@app.command("compose")
def compose_parts(
    places: Annotated[
        list[str], typer.Argument(metavar="[VLM SAM] DST", help="Folders or hub ids of the parts; the folder to make.")
    ],
    preset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--preset", metavar="SIZE", help="1b, 2b, 8b or 14b: the parts of that size."),
    ] = None,
) -> None:
    """Join a vision-language model and a mask decoder to an untrained model, for training."""
    from terrascope.progress import Waiting

    *parts, target = places
    vlm, sam = parts if len(parts) == 2 else (parts[0] if parts else None, None)
    with Waiting("composing"):
        from terrascope.model import TerraScope
        from terrascope.model.release.convert import new_folder

        with new_folder(Path(target)) as folder:
            TerraScope.compose(vlm, sam, preset=preset).save_pretrained(str(folder))
    typer.echo(f"{target}: an untrained model; it needs training before it can answer")


@app.command()
def doctor(
    model: Model = "nano",
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Where answers are meant to be written.")] = "out",
    as_json: AsJson = False,
) -> None:
    """Check the libraries, this machine, the folders and the model; exit code 1 if something must be mended."""
    from terrascope.doctor import examine

    findings = []
    for finding in examine(model, out):
        findings.append(finding)
        if not as_json:
            typer.echo(str(finding))
    if as_json:
        typer.echo(json.dumps([finding.to_dict() for finding in findings], ensure_ascii=False, indent=2))
    if any(finding.status == "FAIL" for finding in findings):
        raise typer.Exit(1)


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
    nodata: float | None,
    reference: Literal["optical", "sar"] | None,
    bbox: str | None,
    allow_virtual: bool,
) -> Scene:
    if not (optical or sar):
        raise SceneError("no image was given; name one with --optical FILE or --sar FILE")
    from terrascope.progress import Waiting
    from terrascope.rasters.grids import check_box
    from terrascope.rasters.read import open_scene

    with Waiting("reading the images") as waiting:
        return open_scene(
            optical=[_files_of(value) for value in optical or ()],
            sar=[_files_of(value) for value in sar or ()],
            dates=dates or None,
            sensor=sensor,
            sar_sensor=sar_sensor,
            gsd_m=gsd_m,
            nodata=nodata,
            reference=reference,
            bbox=None if bbox is None else check_box(bbox.split(",")),
            allow_virtual=allow_virtual,
            progress=lambda _, done, total: waiting.advance(done, total),
        )


def _files_of(value: str) -> str | list[str]:
    """One path, or the band files of one image separated by commas; a path that exists may itself hold a comma."""
    if "," not in value or Path(value).exists():
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _answer(
    use: Use, loading: dict[str, Any], look: Literal["auto", "whole", "views"], out: str | None, as_json: bool
) -> None:
    """Load the model, let it answer, save the answer where wanted, and print it."""
    from terrascope.output import check_folder
    from terrascope.printout import print_answer
    from terrascope.progress import Waiting

    if out is not None:
        check_folder(out)
    with Waiting("loading the model") as waiting:
        from terrascope.model import GenerationSettings, TerraScope

        tell = partial(waiting.console.print, highlight=False, soft_wrap=True)
        predictor = TerraScope.from_pretrained(**loading, progress=waiting.advance, tell=tell)
        waiting.say("looking at the scene")
        answer = use(predictor, {"settings": GenerationSettings(look=look), "progress": waiting.advance})
        waiting.say("writing the answer")
        files = answer.save(out) if out is not None else {}
    if as_json:
        typer.echo(json.dumps(answer.to_dict(), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        print_answer(answer, files)


def main() -> None:
    """Entry point of the `terrascope` command."""
    app(prog_name="terrascope")
