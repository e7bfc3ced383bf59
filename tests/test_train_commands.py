"""The commands under `terrascope train`: what they print, and how they refuse."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from terrascope import cli, train_commands
from terrascope.training import nano, run
from terrascope.training.nano import NanoRecipe
from terrascope.training.recipe import Recipe


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["train", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, Path, bool]]:
    """What `run_recipe` was asked for, which does nothing here but show how far it is."""
    asked = []

    def carry_out(recipe: Recipe, out: Path, *, resume: bool, tell: Any, progress: Any) -> Any:
        asked.append((recipe, out, resume))
        tell("1.00 million parameters move")
        progress(1, 1200, "loss 1.000")
        return types.SimpleNamespace(model=out / "model", num_steps=1200)

    monkeypatch.setattr(run, "run_recipe", carry_out)
    return asked


def test_recipes_are_listed_with_what_they_are() -> None:
    code, printed, _ = invoke("--list")
    lines = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert code == 0 and {"stage1-8b", "stage2-8b", "nano-stage2"} <= lines.keys()
    assert lines["stage2-8b-table-b"].startswith("stage 2 of the paper as Table B has it")


@pytest.mark.parametrize("before", [(), ("recipe",)])
def test_a_recipe_is_carried_out_with_what_is_typed(
    before: tuple[str, ...], carried_out: list[tuple[Recipe, Path, bool]], tmp_path: Path
) -> None:
    out, data = tmp_path / "out", tmp_path / "it's: data"
    code, printed, said = invoke(
        *before, "stage2-8b", "--data", str(data), "--read", "hls-worldcover=a: b", "--read", "synthetic=8,size=64",
        "--out", str(out), "--set", "seed=3", "--set", "optimizer.learning_rate=1e-3", "--no-resume",
    )  # fmt: skip
    assert (code, printed) == (0, f"{out / 'model'}: trained in 1,200 steps\n")
    assert "1.00 million parameters move" in said
    recipe, folder, resume = carried_out[0]
    assert (folder, resume) == (out, False)
    assert (recipe.store, recipe.seed, recipe.optimizer.learning_rate) == (data, 3, 1e-3)
    assert recipe.read == {"hls-worldcover": "a: b", "synthetic": "8,size=64"}


def test_a_run_goes_on_unless_it_is_told_not_to(carried_out: list[Any], tmp_path: Path) -> None:
    assert invoke("nano-stage1", "--out", str(tmp_path))[0] == 0
    assert carried_out[0][2] is True and carried_out[0][0].store is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["stage2-8b", "--set", "learning_rate=1"],
            "--set learning_rate=1: there is no setting learning_rate; did you mean optimizer.learning_rate?",
        ),
        (["stage2-8"], "no such recipe stage2-8; did you mean stage2-8b?"),
        (
            ["stage2-8b", "--read", "synthetic"],
            "--read synthetic: give the name of a source and its folder, as NAME=DIR",
        ),
    ],
)
def test_what_is_wrong_ends_with_code_2_and_a_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.app(["train", *arguments, "--out", str(tmp_path / "out")])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out, printed.err) == (2, "", f"error: {said}\n")
    assert not (tmp_path / "out").exists()


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(train_commands, "find_spec", lambda name: None if name == "peft" else object())
    with pytest.raises(SystemExit) as ended, pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("terrascope.usage.typer.echo", lambda text, err: said.append(text))
        cli.app(["train", "stage2-8b", "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert said == ["error: training needs the package peft: pip install 'terrascope-eo[train]'"]


def test_nano_is_made_with_what_is_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[Any, ...]] = []

    def make(folder: Path, store: Path, read: dict[str, str], recipe: NanoRecipe, **named: Any) -> Path:
        asked.append((folder, store, read, recipe, named["chips"], named["start"]))
        return folder / "nano"

    monkeypatch.setattr(nano, "train", make)
    out, data = tmp_path / "out", tmp_path / "data"
    code, printed, _ = invoke(
        "nano", "--out", str(out), "--data", str(data), "--read", "synthetic=8", "--read", "ombria=a,b=c",
        "--chips", str(tmp_path), "--start", "nano", "--size", "language_steps=5", "--size", "vocabulary=300",
    )  # fmt: skip
    assert (code, printed) == (0, f"the checkpoint lies in {out / 'nano'}\n")
    recipe = NanoRecipe(language_steps=5, vocabulary=300)
    assert asked == [(out, data, {"synthetic": "8", "ombria": "a,b=c"}, recipe, tmp_path, "nano")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "language_steps=many"], "--size language_steps=many: give a stage and a whole number"),
        (["--size", "steps=3"], "--size steps=3: there is no such stage; choose among num_scenes"),
        (["--chips", "nowhere"], "nowhere: not a folder; --chips names the folder that holds hls-worldcover"),
        (["--read", "synthetic"], "--read synthetic: give the name of a source and its folder, as NAME=DIR"),
        ([], "data/manifest.json: not found; give the folder of a data set"),
    ],
)
def test_nano_refuses_in_a_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out, data = tmp_path / "out", tmp_path / "data"
    with pytest.raises(SystemExit) as ended:
        cli.app(["train", "nano", "--out", str(out), "--data", str(data), *arguments])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "") and said in printed.err and printed.err.count("\n") == 1
    assert not out.exists()
