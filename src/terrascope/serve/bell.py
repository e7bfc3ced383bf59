"""From any thread into an event loop: who is roused there is woken, once for all that are roused together."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable


def call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    """Call a function in an event loop, soon and from any thread; not at all where the loop was closed."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        # Nobody listens any more in a loop that was closed.
        if not loop.is_closed():
            raise


class Bell:
    """Wakes listeners. Who is roused until the loop looks is woken in one go: a step of a model tells many at once."""

    def __init__(self) -> None:
        self._roused: deque[asyncio.Event] = deque()
        self._lock, self._is_ringing = threading.Lock(), False

    def rouse(self, listener: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        """Set a listener's event soon, in its loop; from any thread."""
        self._roused.append(listener)
        with self._lock:
            if self._is_ringing:
                return
            self._is_ringing = True
        call_in(loop, self._wake_all)

    def _wake_all(self) -> None:
        with self._lock:
            self._is_ringing = False
        while self._roused:
            self._roused.popleft().set()
