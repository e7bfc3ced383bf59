"""`terrascope serve`: the model behind HTTP. Wiring only."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

from terrascope.command_options import ModelOptions, with_options
from terrascope.serve.settings import MIN_TOKEN, ServeSettings

if TYPE_CHECKING:
    from terrascope.predictor import StreamingPredictor

app = typer.Typer()

TOKEN_VARIABLE = "TERRASCOPE_TOKEN"


@app.command()
@with_options
def serve(
    answering: ModelOptions,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Where to listen; 0: any free one.")] = 8000,
    root: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--root", metavar="DIR", help="Questions may name files below this folder."),
    ] = None,
    token: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--token",
            metavar="TEXT",
            help=f"Requests must bear it; {MIN_TOKEN} characters or more, better given as {TOKEN_VARIABLE}.",
        ),
    ] = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="Let everybody ask who reaches the server.")] = False,
    max_upload_mb: Annotated[int, typer.Option("--max-upload-mb", min=1, help="Megabytes of one request.")] = 256,
    max_files: Annotated[int, typer.Option("--max-files", min=1, help="Files of one request.")] = 64,
    max_pixels: Annotated[int, typer.Option("--max-pixels", min=1, help="Pixels of an image.")] = 100_000_000,
    max_queue: Annotated[int, typer.Option("--max-queue", min=0, help="Questions that wait.")] = 32,
    max_running: Annotated[int, typer.Option("--max-running", min=1, help="Questions answered at once.")] = 16,
    upload_timeout: Annotated[
        float, typer.Option("--upload-timeout", min=0.1, metavar="SECONDS", help="How long a client may be silent.")
    ] = 30.0,
    ask_timeout: Annotated[
        float, typer.Option("--ask-timeout", min=0.1, metavar="SECONDS", help="How long one answer may take.")
    ] = 600.0,
    remember_scenes: Annotated[
        int, typer.Option("--remember-scenes", min=0, help="Scenes that the next question about them finds again.")
    ] = 4,
    remember_mb: Annotated[int, typer.Option("--remember-mb", min=0, help="Megabytes of them in memory.")] = 512,
    keep_answers: Annotated[int, typer.Option("--keep-answers", min=0, help="Answers that can be fetched.")] = 64,
    keep_mb: Annotated[int, typer.Option("--keep-mb", min=0, help="Megabytes of them on the disk.")] = 2048,
    engine: Annotated[
        Literal["local", "ray"], typer.Option("--engine", help="The model in this process, or in replicas on Ray.")
    ] = "local",
    replicas: Annotated[
        int, typer.Option("--replicas", min=1, help="With --engine ray: models, each with --max-running questions.")
    ] = 1,
) -> None:
    """Answer questions over HTTP, with a page to ask them on."""
    from terrascope.errors import ServeError
    from terrascope.progress import Waiting

    settings = ServeSettings(
        host=host,
        port=port,
        root=root,
        # An empty variable is none, but an empty --token is most likely a variable that was not set.
        token=token if token is not None else os.environ.get(TOKEN_VARIABLE) or None,
        is_open=no_token,
        max_upload_mb=max_upload_mb,
        max_files=max_files,
        max_pixels=max_pixels,
        max_queue=max_queue,
        max_running=max_running,
        upload_timeout_s=upload_timeout,
        ask_timeout_s=ask_timeout,
        remember_scenes=remember_scenes,
        remember_mb=remember_mb,
        keep_answers=keep_answers,
        keep_mb=keep_mb,
    )
    if replicas > 1 and engine != "ray":
        raise ServeError("--replicas is for --engine ray; a model in this process is one")
    if settings.token is not None and no_token:
        raise ServeError(
            f"--no-token was said, but a token is set (--token or {TOKEN_VARIABLE}); leave one of them out"
        )
    if settings.token is None and not settings.is_local and not no_token:
        raise ServeError(
            f"{host} can be reached from elsewhere: set a token in {TOKEN_VARIABLE}, or say --no-token to let "
            "everybody ask"
        )
    try:
        from terrascope.serve.app import create_app
        from terrascope.serve.listening import address_of, listen, server_of
    except ImportError as error:
        raise ServeError(
            f"serving needs {error.name}, which is not installed: pip install 'terrascope-eo[serve]'"
        ) from None

    socket = listen(settings)
    with ExitStack() as running:
        with Waiting("loading the model") as waiting:
            if engine == "ray":
                from terrascope.serve.ray_app import on_ray

                load = partial(_load, answering, max_running)
                timeout_s = settings.ask_timeout_s
                replicated = on_ray(load, num_replicas=replicas, max_running=max_running, timeout_s=timeout_s)
                predictor: StreamingPredictor = running.enter_context(replicated)
                settings = replace(settings, max_running=max_running * replicas, in_turns=False)
            else:
                tell = partial(waiting.console.print, highlight=False, soft_wrap=True)
                predictor = _load(answering, max_running, remember_scenes, progress=waiting.advance, tell=tell)
        server = server_of(create_app(predictor, settings), settings)
        typer.echo(f"listening on {address_of(socket)}", err=True)
        server.run(sockets=[socket])


def _load(answering: ModelOptions, max_running: int, num_encoded: int = 0, **told: Any) -> StreamingPredictor:
    from terrascope.model import TerraScope

    predictor = TerraScope.from_pretrained(**answering.loading(), **told)
    predictor.engine.max_rows = max_running
    predictor.encoded.max_scenes = num_encoded
    return predictor
