"""Scenes read by a thread, a few ahead of whoever asks about them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from terrascope.batch.plan import AskedScene
from terrascope.errors import ModelError, TerraScopeError
from terrascope.scene import Scene

Opened = tuple[AskedScene, Scene | TerraScopeError]
"""A scene, or why it cannot be opened."""

_LOOKED_EVERY_S = 0.2


@contextmanager
def read_ahead(scenes: Iterable[AskedScene], num_ahead: int) -> Iterator[Iterator[Opened]]:
    """The scenes in order, opened by a thread that is at most `num_ahead` of them ahead; it ends with the block.

    What no user can mend is raised where the scene would have come.
    """
    ready: queue.Queue[Opened | BaseException | None] = queue.Queue(maxsize=num_ahead)
    is_over = threading.Event()

    def hand_over(one: Opened | BaseException | None) -> None:
        while not is_over.is_set():
            try:
                ready.put(one, timeout=_LOOKED_EVERY_S)
                return
            except queue.Full:
                continue

    def read() -> None:
        try:
            for scene in scenes:
                if is_over.is_set():
                    return
                hand_over((scene, open_images(scene)))
            hand_over(None)
        except BaseException as error:
            hand_over(error)

    def received() -> Iterator[Opened]:
        while (one := ready.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            yield one

    # A daemon: a server that keeps it waiting must not keep the program from ending.
    thread = threading.Thread(target=read, name="terrascope-reading-ahead", daemon=True)
    thread.start()
    try:
        yield received()
    finally:
        is_over.set()


def open_images(asked: AskedScene) -> Scene | TerraScopeError:
    """A scene, or why it cannot be opened."""
    try:
        return asked.images.open()
    except TerraScopeError as error:
        return error
    except MemoryError:
        return ModelError(f"scene {asked.name}: memory ran out while it was read; give a part of it (bbox)")
