"""How a command ends: one sentence and a code, whatever was typed and whoever stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from terrascope import cli
from terrascope.errors import SceneError
from terrascope.usage import end_command

SHARE = "What percentage of the image is water?"

WRONG = [
    (["ask"], "missing argument 'question'; see terrascope ask --help"),
    (["ask", SHARE, "--optcal", "x"], "no such option --optcal; did you mean --optical?"),
    (["ask", SHARE, "--zzzzzz"], "no such option --zzzzzz; see terrascope ask --help"),
    (["ask", SHARE, "--gsd", "ten"], "--gsd must be a number, got 'ten'"),
    (["ask", SHARE, "--gsd", "1\n2"], r"--gsd must be a number, got '1\n2'"),
    (["ask", SHARE, "--gsd"], "option '--gsd' requires an argument"),
    (["ask", SHARE, "more"], "got unexpected extra argument(s) (more); see terrascope ask --help"),
    (["ask", SHARE, "--dtype", "int8"], "invalid value for '--dtype': 'int8' is not one of 'auto', 'float32'"),
    (["data", "build", "--workers", "0"], "invalid value for '--workers': it must be greater than or equal to 1"),
    (["fly"], "no such command 'fly'; see terrascope --help"),
    (["segmnt"], "no such command 'segmnt'; did you mean 'segment'?"),
    (["train", "nanno"], "no such command 'nanno'; did you mean 'nano'?"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(arguments[:3]) for arguments, _ in WRONG])
def test_wrong_usage_is_one_sentence(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli.app, arguments, prog_name="terrascope")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {message}") and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--times", "1.5"], "--times must be a whole number, got '1.5'"),
        (["--times", "9"], "--times"),
        (["few"], "NUMBER must be a number, got 'few'"),
    ],
)
def test_whole_numbers_bounds_and_arguments(typed: list[str], message: str) -> None:
    app = typer.Typer(cls=cli._Commands)

    @app.callback()
    def program() -> None: ...

    @app.command()
    def run(number: Annotated[float, typer.Argument()] = 1.0, times: Annotated[int, typer.Option(max=5)] = 1) -> None:
        raise AssertionError

    result = CliRunner().invoke(app, ["run", *typed])
    assert result.exit_code == 2
    assert message in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["train"]])
def test_without_arguments_the_help_is_shown(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli.app, arguments)
    assert (result.exit_code, result.stderr) == (2, "")
    assert "Usage: " in result.stdout and "Commands" in result.stdout


def test_help_still_lists_options() -> None:
    result = CliRunner().invoke(cli.app, ["ask", "--help"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "--optical" in result.stdout and "Ask a question about a scene." in result.stdout


def test_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: BaseException) -> int:
        def command() -> None:
            raise error

        return end_command(command)

    assert end_command(lambda: None) == 0 and end_command(lambda: 7) == 7
    assert capsys.readouterr() == ("", "")
    assert fail(SceneError("no image")) == 2
    assert capsys.readouterr() == ("", "error: no image\n")
    assert fail(KeyboardInterrupt()) == fail(typer.Abort()) == 130
    assert capsys.readouterr() == ("", "interrupted\n" * 2)
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())


PROGRAM = (
    "from terrascope.cli import app, main\nimport time\n@app.command()\ndef {name}() -> None:\n    {body}\nmain()\n"
)


def start(name: str, body: str, folder: Path) -> subprocess.Popen[str]:
    script = folder / "program.py"
    script.write_text(PROGRAM.format(name=name, body=body))
    return subprocess.Popen(
        [sys.executable, str(script), name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_ctrl_c_is_one_line_and_code_130(tmp_path: Path) -> None:
    program = start("sleep", "print('ready', flush=True); time.sleep(60)", tmp_path)
    assert program.stdout is not None and program.stdout.readline() == "ready\n"
    time.sleep(0.1)
    os.kill(program.pid, signal.SIGINT)
    _, err = program.communicate(timeout=30)
    assert (program.returncode, err) == (130, "interrupted\n")


@pytest.mark.parametrize("body", ["print('line')", "print('line ' * 10**6); print('more')"])
def test_a_reader_that_goes_away_leaves_no_traceback(body: str, tmp_path: Path) -> None:
    program = start("talk", body, tmp_path)
    assert program.stdout is not None and program.stderr is not None
    program.stdout.close()
    err = program.stderr.read()
    program.stderr.close()
    assert (program.wait(timeout=30), err) == (1, "")
