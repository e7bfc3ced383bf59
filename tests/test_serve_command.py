from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from typer.testing import CliRunner

from serve.told import TOKEN, StreamingOracle, events_of, fields
from terrascope import serve_command
from terrascope.cli import app
from terrascope.errors import ServeError
from terrascope.serve import app as application
from terrascope.serve import ray_app
from terrascope.serve.settings import ServeSettings


def run(*arguments: str, token: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["serve", *arguments], env={"TERRASCOPE_TOKEN": token or ""})
    return result.exit_code, result.output


def test_it_does_not_listen_to_the_world_without_a_token() -> None:
    code, said = run("--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert said == (
        "error: 0.0.0.0 can be reached from elsewhere: set a token in TERRASCOPE_TOKEN, or say --no-token to let "
        "everybody ask\n"
    )


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("terrascope.serve.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    code, said = run("--port", "0")
    assert (code, said) == (
        2, "error: serving needs fastapi, which is not installed: pip install 'terrascope-eo[serve]'\n"
    )  # fmt: skip


def test_replicas_are_of_ray() -> None:
    code, said = run("--replicas", "3")
    assert (code, said) == (2, "error: --replicas is for --engine ray; a model in this process is one\n")


def test_a_token_and_no_token_do_not_go_together() -> None:
    code, said = run("--no-token", token=TOKEN)
    assert code == 2 and "--no-token" in said and "TERRASCOPE_TOKEN" in said


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = run("--port", str(taken.getsockname()[1]))
    assert code == 2 and said.startswith("error: 127.0.0.1:") and said.count("\n") == 1


def test_a_root_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    code, said = run("--root", str(tmp_path / "none"))
    assert code == 2 and "--root" in said and said.count("\n") == 1


REFUSED_TOKEN = (
    "error: the token must be 16 or more printable ASCII characters without spaces around them, such as those of: "
    "openssl rand -hex 32\n"
)


@pytest.mark.parametrize("token", ["a", TOKEN[:-1], 2 * TOKEN + "ä", TOKEN + "\n" + TOKEN, TOKEN + " ", 16 * " "])
def test_a_token_that_is_soon_guessed_or_that_no_header_can_hold_is_refused(token: str) -> None:
    assert run("--token", token) == run(token=token) == (2, REFUSED_TOKEN)


def test_an_empty_token_is_not_taken_for_none() -> None:
    assert run("--token", "") == run("--token", "", token=TOKEN) == (2, REFUSED_TOKEN)


def test_the_help_says_how_long_a_token_is() -> None:
    code, said = run("--help")
    assert code == 0 and "16 characters" in " ".join(said.replace("│", " ").split())


def test_replicas_are_waited_for_by_a_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the server that is started: with Ray there is room for all replicas, and nobody takes turns."""
    started: list[ServeSettings] = []

    @contextmanager
    def on_ray(*_: object, **__: object) -> Iterator[StreamingOracle]:
        yield StreamingOracle()

    def create_app(_: object, settings: ServeSettings) -> None:
        started.append(settings)
        raise ServeError("started")

    monkeypatch.setattr(ray_app, "on_ray", on_ray)
    monkeypatch.setattr(application, "create_app", create_app)
    monkeypatch.setattr(serve_command, "_load", lambda *_, **__: StreamingOracle())
    assert run("--port", "0", "--engine", "ray", "--replicas", "3", "--max-running", "4") == (2, "error: started\n")
    assert run("--port", "0", "--max-running", "4") == (2, "error: started\n")
    assert [(settings.in_turns, settings.max_running) for settings in started] == [(False, 12), (True, 4)]


def test_the_model_keeps_as_many_scenes_encoded_as_the_server_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SimpleNamespace(engine=SimpleNamespace(max_rows=0), encoded=SimpleNamespace(max_scenes=0))
    started: list[ServeSettings] = []

    def create_app(_: object, settings: ServeSettings) -> None:
        started.append(settings)
        raise ServeError("started")

    monkeypatch.setattr("terrascope.model.TerraScope.from_pretrained", lambda **_: model)
    monkeypatch.setattr(application, "create_app", create_app)
    given = ("--max-running", "3", "--remember-scenes", "7", "--remember-mb", "11")
    assert run("--port", "0", *given) == (2, "error: started\n")
    assert (model.engine.max_rows, model.encoded.max_scenes) == (3, 7)
    assert (started[0].remember_scenes, started[0].remember_mb) == (7, 11)


@pytest.mark.weights
@pytest.mark.slow
def test_the_command_answers_with_the_packaged_model() -> None:
    command = [sys.executable, "-m", "terrascope", "serve", "--port", "0"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        line = next(line for line in iter(running.stderr.readline, "") if "listening on" in line)
        url = line.split()[-1]
        question = "What percentage of the scene is covered by water?"
        form = fields(question=question, sample="demo", stream="true", pictures="true")
        events = events_of(httpx.post(f"{url}/v1/ask", files=form, timeout=120).text)
        names = [name for name, _ in events]
        assert names[0] == "scene" and names[-1] == "answer" and "mask" in names
        told = events[-1][1]
        assert told["model"] == "nano" and told["answer"].endswith("%")
        assert events[names.index("mask")][1]["mask_rle"] == told["steps"][0]["mask_rle"]
        assert httpx.get(url + told["files"]["report.html"], timeout=60).status_code == 200
        running.terminate()
        assert running.wait(60) == 0
    finally:
        running.kill()
        running.wait(10)
