"""The commands under `terrascope train`: carry out a recipe, or list those that there are. Wiring only."""

from __future__ import annotations

import os
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperGroup

from terrascope.command_options import Reading
from terrascope.errors import RecipeError, SceneError, TrainingError

NEEDED = ("accelerate", "peft", "tensorboard")
"""Packages of the extra `train`."""


class _Recipes(TyperGroup):
    """Takes a word for the name of a recipe, unless it is a command, or nearer to one than to any recipe."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        commands = self.list_commands(ctx)
        recipes = [path.stem for path in (Path(__file__).parent / "training" / "recipes").glob("*.yaml")]
        if args[0] not in commands and not set(get_close_matches(args[0], [*commands, *recipes], n=1)) & set(commands):
            args = ["recipe", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Recipes,
    help="Train a model: terrascope train RECIPE --data DIR --read NAME=DIR --out DIR.",
    no_args_is_help=True,
    subcommand_metavar="RECIPE|COMMAND [ARGS]...",
)


def _list_recipes(wanted: bool) -> None:
    if wanted:
        from terrascope.training.recipe import list_recipes

        for name, about in list_recipes().items():
            typer.echo(f"{name:<20} {about}")
        raise typer.Exit


@app.callback()
def _program(
    _: Annotated[
        bool, typer.Option("--list", callback=_list_recipes, is_eager=True, help="Print the recipes and exit.")
    ] = False,
) -> None:
    """Train a model: terrascope train RECIPE --data DIR --read NAME=DIR --out DIR."""


@app.command("recipe")
def run(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A name that --list prints, or a YAML file.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run.")],
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--data", metavar="DIR", help="Samples, as terrascope data build writes them."),
    ] = None,
    read: Reading = None,
    change: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--set", metavar="KEY=VALUE", help="Another value for a setting; inner ones after dots."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with a run that lies in --out, or begin anew.")
    ] = True,
) -> None:
    """Carry out a recipe, or go on with it; the word recipe itself may be left out."""
    _check_packages()
    from terrascope.progress import Waiting

    with Waiting("preparing") as waiting:
        from terrascope.training.recipe import load_recipe
        from terrascope.training.run import run_recipe

        def tell(text: str) -> None:
            waiting.console.print(text, highlight=False, soft_wrap=True)

        def advance(done: int, total: int, said: str) -> None:
            waiting.stage = said
            if waiting.bar is not None:
                waiting.bar.update(waiting.task, description=said)
            waiting.advance(done, total)

        chosen = load_recipe(recipe, [*_named(data, read), *(change or ())])
        result = run_recipe(chosen, out, resume=resume, tell=tell, progress=advance)
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"{result.model}: trained in {result.num_steps:,} step{'s' * (result.num_steps != 1)}")


@app.command("nano")
def train_nano(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Samples, as terrascope data build writes them.")],
    read: Reading = None,
    chips: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--chips", metavar="DIR", help="Folder with hls-worldcover and ombria, for the encoders; none without."
        ),
    ] = None,
    start: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--start", metavar="NAME", help="A model whose encoders are trained further, such as nano."),
    ] = None,
    size: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--size", metavar="KEY=NUMBER", help="Another size of a stage, such as language_steps=500."),
    ] = None,
) -> None:
    """Make the small model that comes with the package, from nothing: both encoders, then language, then masks."""
    _check_packages()
    from terrascope.output import check_folder
    from terrascope.progress import Waiting

    with Waiting("preparing") as waiting:
        from terrascope.training import nano

        def advance(done: int, total: int, said: str) -> None:
            waiting.stage = said
            waiting.advance(done, total)

        if chips is not None and not chips.is_dir():
            raise SceneError(f"{chips}: not a folder; --chips names the folder that holds hls-worldcover and ombria")
        recipe = nano.sized(_sizes(size))
        sources = dict(_pair(text) for text in read or ())
        finished = nano.train(
            check_folder(out), data, sources, recipe, chips=chips, start=start,
            tell=lambda text: waiting.console.print(text, highlight=False, soft_wrap=True), progress=advance,
        )  # fmt: skip
    typer.echo(f"the checkpoint lies in {finished}")


def _check_packages() -> None:
    absent = next((package for package in NEEDED if find_spec(package) is None), None)
    if absent is not None:
        raise TrainingError(f"training needs the package {absent}: pip install 'terrascope-eo[train]'")


def _sizes(texts: list[str] | None) -> dict[str, int]:
    """Sizes of stages by name."""
    sizes = {}
    for text in texts or ():
        name, _, number = text.partition("=")
        if not number.isdecimal():
            raise RecipeError(f"--size {text}: give a stage and a whole number, such as language_steps=500")
        sizes[name] = int(number)
    return sizes


def _pair(text: str) -> tuple[str, str]:
    name, equals, root = text.partition("=")
    if not (name and equals and root):
        raise RecipeError(f"--read {text}: give the name of a source and its folder, as NAME=DIR")
    return name, root


def _named(data: Path | None, read: list[str] | None) -> list[str]:
    """What is typed by options of its own, as changes of a recipe."""
    from terrascope.training.recipe import quoted

    changes = [] if data is None else [f"store={quoted(data)}"]
    for text in read or ():
        name, root = _pair(text)
        changes.append(f"read.{name}={quoted(root)}")
    return changes
