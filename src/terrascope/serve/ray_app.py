"""The model in replicas on Ray Serve, one GPU each where there are GPUs; the server in front of them stays one process.

    terrascope serve --engine ray --replicas 4

So there is one queue, one set of limits and counters, and one place where answers are kept: any client finds its answer
again, whichever replica gave it. Ray Serve starts the replicas, spreads questions over them, and starts one again that
has ended. They are on the cluster that `RAY_ADDRESS` names, else processes of this machine. A scene goes to them with
the question. The pixels of an image above 4 million pixels stay in its files, which the replica opens; what goes is
their path, the valid mask and an overview. On a cluster, the files must lie under the same path everywhere.
A server that is killed leaves its application on the cluster, as `terrascope-...`; Ray Serve's own tools remove it.
"""

from __future__ import annotations

import io
import logging
import math
import os
import pickle
import secrets
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from terrascope import masks
from terrascope.answer import Answer
from terrascope.errors import ModelError, ServeError, TerraScopeError
from terrascope.events import Event
from terrascope.predictor import StreamingPredictor
from terrascope.ray_session import ray_session
from terrascope.scene import Scene
from terrascope.serve.desk import Desk
from terrascope.serve.job import Opened, Queued
from terrascope.serve.metrics import Metrics

_ENDED = "a replica of the model ended while it answered; ask again"

Told = Event | Answer | TerraScopeError
"""What a replica tells of a question. An answer comes without its scene, which the asker has."""


@contextmanager
def on_ray(
    load: Callable[[], StreamingPredictor], *, num_replicas: int = 1, max_running: int = 16, timeout_s: float = 600.0
) -> Iterator[RayPredictor]:
    """A predictor whose questions are answered by replicas of a model, for as long as the block runs.

    Args:
        load: opens the model; pickled, and called once in every replica.
        max_running: questions that a replica answers at once.
        timeout_s: how long one may take there.

    Raises:
        SampleError, ServeError: Ray, or its part for serving, is not installed.
        TerraScopeError: the model cannot be opened.
    """
    # Its parts write to the terminal of whoever starts them.
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    with ray_session(num_replicas) as ray:
        try:
            from ray import serve
        except ImportError as error:
            raise ServeError(
                f"--engine ray needs Ray Serve ({error.name} is missing); install it with: pip install 'ray[serve]'"
            ) from None

        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        replicas: Any = serve.deployment(
            name="model",
            num_replicas=num_replicas,
            # What waits, waits at the desk of the server, in order.
            max_ongoing_requests=max_running,
            ray_actor_options={"num_gpus": 1 if ray.cluster_resources().get("GPU") else 0},
        )(Replica)
        name = f"terrascope-{secrets.token_hex(4)}"
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
        handle = serve.run(
            replicas.bind(load, max_running, timeout_s),
            name=name,
            route_prefix=None,
            logging_config={"log_level": "ERROR"},
        )
        try:
            opened = handle.describe.remote().result()
            if isinstance(opened, TerraScopeError):
                raise opened
            yield RayPredictor(handle, opened, ray.exceptions.RayError)
        finally:
            # No more than that: on a cluster, Serve may have others to serve.
            serve.delete(name)


class RayPredictor:
    """Replicas of a model as one `StreamingPredictor`.

    A replica tells no more often than it is listened to: of texts that came meanwhile, only the last is heard. Who asks
    for an event waits for another process, so that each question needs a thread (`ServeSettings.in_turns`).
    """

    def __init__(self, handle: Any, name: str, failure: type[Exception]) -> None:
        self._handle, self._name, self._failure = handle, name, failure

    @property
    def name(self) -> str:
        """Of the model."""
        return self._name

    def stream(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Iterator[Event | Answer]:
        """As `StreamingPredictor.stream`.

        Raises:
            TerraScopeError: what the model raised, or its replica ended.
        """
        told = self._handle.options(stream=True).answer.remote(packed(scene), question, tuple(options))
        try:
            for message in told:
                event: Told = pickle.loads(message)
                if isinstance(event, TerraScopeError):
                    raise event
                yield replace(event, scene=scene) if isinstance(event, Answer) else event
        except self._failure as error:
            raise ModelError(_ENDED) from error
        finally:
            told.cancel()


class Replica:
    """The life of a replica: the model is opened once, and asked whatever comes."""

    def __init__(self, load: Callable[[], StreamingPredictor], max_running: int, timeout_s: float) -> None:
        masks.use_one_thread()
        self._opened: StreamingPredictor | TerraScopeError
        try:
            self._opened = load()
        except TerraScopeError as error:
            # Ray would try to start a replica again whose beginning fails.
            self._opened = error
        self._limits = {"max_running": max_running, "max_queue": max_running, "timeout_s": timeout_s}
        self._desk: Desk | None = None

    async def describe(self) -> str | TerraScopeError:
        """Name of the model, or why it cannot be opened."""
        return self._opened if isinstance(self._opened, TerraScopeError) else self._opened.name

    async def answer(self, scene: bytes, question: str, options: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """What happens to a question, each packed (`Told`); whoever stops listening cancels it."""
        if isinstance(self._opened, TerraScopeError):
            yield packed(self._opened)
            return
        if self._desk is None:
            # It belongs to the event loop of the requests, in which nothing runs before the first of them.
            self._desk = Desk(self._opened, Metrics(), **self._limits)  # type: ignore[arg-type]
        # Unpacked where scenes are read, in a thread: the masks of a large one take their time.
        events = self._desk.submit(lambda _: pickle.loads(scene), question, options).events()
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Answer):
                        yield packed(replace(event, scene=None))  # type: ignore[arg-type]
                    elif not isinstance(event, Queued | Opened):
                        yield packed(event)
        except TerraScopeError as error:
            yield packed(error)


def packed(value: object) -> bytes:
    """A value for `pickle.loads`, its masks as compressed bits: those of a large scene would be most of it."""
    file = io.BytesIO()
    _Packer(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return file.getvalue()


class _Packer(pickle.Pickler):
    def reducer_override(self, value: object) -> Any:
        if type(value) is np.ndarray and value.dtype == np.bool_:
            return _unpacked, (zlib.compress(np.packbits(value).tobytes(), 1), value.shape)
        return NotImplemented


def _unpacked(bits: bytes, shape: tuple[int, ...]) -> masks.Mask:
    numbers = np.frombuffer(zlib.decompress(bits), np.uint8)
    return np.unpackbits(numbers, count=math.prod(shape)).view(np.bool_).reshape(shape)
