"""The command line: wiring only. What needs torch is imported by the command that needs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer
from typer.core import TyperGroup

from terrascope import (
    __version__,
    ablate_command,
    batch_commands,
    bench_commands,
    data_commands,
    serve_command,
    train_commands,
)
from terrascope.command_options import AnswerOptions, AsJson, Model, SceneOptions, files_of, with_options
from terrascope.errors import ModelError, SceneError
from terrascope.usage import end_command

if TYPE_CHECKING:
    from terrascope.answer import Answer
    from terrascope.model import TerraScope
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
app.add_typer(batch_commands.app)
app.add_typer(train_commands.app, name="train")
app.add_typer(ablate_command.app)
app.add_typer(data_commands.app, name="data")
app.add_typer(bench_commands.app, name="bench")
app.add_typer(serve_command.app)


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
@with_options
def ask(
    question: Annotated[str, typer.Argument(help="What to ask, in English.")],
    scene: SceneOptions,
    answer: AnswerOptions,
    choice: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--choice", metavar="TEXT", help='One of 2 to 5 options to choose from, such as "A. 10%".'),
    ] = None,
) -> None:
    """Ask a question about a scene."""
    from terrascope.question import check_question

    opened = _open(scene)
    words, options = check_question(opened, question, choice or ())
    _answer(lambda predictor, how: predictor.ask(opened, words, options=options, **how), answer)


@app.command()
@with_options
def segment(
    class_name: Annotated[str, typer.Argument(metavar="CLASS", help="What to segment, such as water or building.")],
    scene: SceneOptions,
    answer: AnswerOptions,
) -> None:
    """Segment one class on a scene."""
    opened = _open(scene)
    _answer(lambda predictor, how: predictor.segment(opened, class_name, **how), answer)


@app.command()
@with_options
def ground(
    text: Annotated[str, typer.Argument(help="A reasoning or caption with a [SEG] wherever a mask is wanted.")],
    scene: SceneOptions,
    answer: AnswerOptions,
    question: Annotated[str, typer.Option("--question", metavar="TEXT", help="What it answers.")] = GROUND_QUESTION,
) -> None:
    """Make the masks of a text that is already written."""
    from terrascope.predictor import check_text

    check_text(text)
    opened = _open(scene)
    _answer(lambda predictor, how: predictor.ground(opened, question, text, **how).answer, answer)


@app.command()
@with_options
def info(
    scene: SceneOptions,
    files: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="FILE", help="Images whose kind is told by evidence; as --optical and --sar take them."),
    ] = None,
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

    with Waiting("reading the images") as waiting:

        def advance(_: str, done: int, total: int) -> None:
            waiting.advance(done, total)

        understood = look_at([files_of(value) for value in files or ()], **scene.arguments(), progress=advance)
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
@with_options
def demo(answer: AnswerOptions) -> None:
    """Ask a question about a scene that the program generates; without --out its files go to out/demo."""
    from terrascope.sources.synthetic import demo_scene

    scene = demo_scene()
    options = replace(answer, out=answer.out or "out/demo")
    _answer(lambda predictor, how: predictor.ask(scene, DEMO_QUESTION, **how), options)


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
    source: Annotated[str, typer.Argument(metavar="SRC", help="A folder with one of our checkpoints; no hub id.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="The folder to make.")],
) -> None:
    """Write a checkpoint in the layout of the released ones, without the video memory, which ours do not have."""
    from terrascope.progress import Waiting

    with Waiting("exporting") as waiting:
        from terrascope.model.release.export import export_release

        report = export_release(source, target, progress=waiting.advance)
    left_out = f"; left out: {', '.join(report.dropped)}" if report.dropped else ""
    typer.echo(f"{target}: {report.num_tensors} tensors{left_out}")
    typer.echo(
        "It has no tensors of SAM-2's video memory, which no mask of an image depends on; docs/models.md says more"
    )


@app.command("compose")
def compose_parts(
    places: Annotated[
        list[str], typer.Argument(metavar="[VLM SAM] DST", help="Folders or hub ids of the parts; the folder to make.")
    ],
    preset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--preset", metavar="SIZE", help="1b, 2b, 8b or 14b: the parts of that size."),
    ] = None,
    dtype: Annotated[
        Literal["kept", "float32", "bfloat16", "float16"],
        typer.Option("--dtype", help="Number format of the weights; kept: that of the vision-language model."),
    ] = "kept",
) -> None:
    """Join a vision-language model and a mask decoder to an untrained model, for training."""
    from terrascope.progress import Waiting

    *parts, target = places
    if len(places) != (3 if preset is None else 1):
        wanted = "VLM SAM DST" if preset is None else "DST alone, since the preset names both parts"
        said = f"{len(places)} {'place was' if len(places) == 1 else 'places were'} given ({' '.join(places)})"
        raise ModelError(
            f"{said}: give {wanted}, or a --preset and DST" if preset is None else f"{said}: give {wanted}"
        )
    vlm, sam = parts if parts else (None, None)
    with Waiting("composing") as waiting:
        from terrascope.model import TerraScope
        from terrascope.model.release.folders import new_folder

        tell = partial(waiting.console.print, highlight=False, soft_wrap=True)
        number_format = None if dtype == "kept" else dtype
        with new_folder(target) as folder:
            model = TerraScope.compose(vlm, sam, preset=preset, dtype=number_format, tell=tell, stage=waiting.say)
            waiting.say("writing the weights")
            model.save_pretrained(str(folder))
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


def _open(options: SceneOptions) -> Scene:
    if not (options.optical or options.sar):
        raise SceneError("no image was given; name one with --optical FILE or --sar FILE")
    from terrascope.progress import Waiting
    from terrascope.rasters.read import open_scene

    with Waiting("reading the images") as waiting:
        return open_scene(**options.arguments(), progress=lambda _, done, total: waiting.advance(done, total))


def _answer(use: Use, options: AnswerOptions) -> None:
    """Load the model, let it answer, save the answer where wanted, and print it."""
    from terrascope.output import check_folder
    from terrascope.printout import print_answer
    from terrascope.progress import Waiting

    if options.out is not None:
        check_folder(options.out)
    with Waiting("loading the model") as waiting:
        from terrascope.model import GenerationSettings, TerraScope

        tell = partial(waiting.console.print, highlight=False, soft_wrap=True)
        predictor = TerraScope.from_pretrained(**options.loading(), progress=waiting.advance, tell=tell)
        waiting.say("looking at the scene")
        answer = use(predictor, {"settings": GenerationSettings(look=options.look), "progress": waiting.advance})
        waiting.say("writing the answer")
        files = answer.save(options.out) if options.out is not None else {}
    if options.as_json:
        typer.echo(json.dumps(answer.to_dict(), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        print_answer(answer, files)


def main() -> None:
    """Entry point of the `terrascope` command."""
    app(prog_name="terrascope")
