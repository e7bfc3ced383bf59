"""Work on many parts by a few threads, with results in order; and the open files that they take turns with."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from terrascope.rasters.windows import OpenRaster

NUM_THREADS = min(4, os.cpu_count() or 1)
"""Threads that decode side by side. Those of GDAL would print what fails in them on standard error."""

_MAX_OPEN = 64
"""Files that each thread keeps open."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], num_threads: int) -> Iterator[Result]:
    """`work(item)` of all items, in their order, by so many threads that are never far ahead of who takes the results.

    The first error ends the work; it is raised where its result would be.
    """
    if num_threads == 1:
        yield from map(work, items)
        return
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(num_threads) as threads:
        try:
            for item in items:
                pending.append(threads.submit(work, item))
                if len(pending) > num_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


class OpenFiles:
    """The files of one image, which stay open between windows: one set for each of the threads that read at a time.

    More threads than `NUM_THREADS` wait for each other. The files are closed when the object goes away. Pickled, it
    arrives with none of them open. Neither it nor what holds it can be used after a fork.
    """

    def __init__(self, *, allow_virtual: bool) -> None:
        self._allow_virtual = allow_virtual
        self._free: list[OrderedDict[str, OpenRaster]] = []
        self._turns = threading.BoundedSemaphore(NUM_THREADS)

    def __reduce__(self) -> tuple[Callable[[], OpenFiles], tuple[()]]:
        return partial(OpenFiles, allow_virtual=self._allow_virtual), ()

    @contextmanager
    def borrowed(self) -> Iterator[Callable[[str], OpenRaster]]:
        """A function that opens a path, or finds it open; no other thread uses its files meanwhile."""
        with self._turns:
            # Taking and giving at one end keeps one reader at the files that are open already.
            opened = self._free.pop() if self._free else OrderedDict()

            def open_path(path: str) -> OpenRaster:
                if path not in opened:
                    opened[path] = OpenRaster(path, allow_virtual=self._allow_virtual)
                    if len(opened) > _MAX_OPEN:
                        opened.popitem(last=False)[1].close()
                opened.move_to_end(path)
                return opened[path]

            try:
                yield open_path
            finally:
                self._free.append(opened)
