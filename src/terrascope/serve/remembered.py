"""Scenes that were read lately: the next question about one finds the same object, and the model what it saw of it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np

from terrascope.rasters.store import FileStore, Progress
from terrascope.scene import Scene
from terrascope.serve.job import ReadScene
from terrascope.serve.metrics import Metrics
from terrascope.serve.settings import MB


class RememberedScenes:
    """Scenes by what they were read from. Threads may share it.

    Args:
        max_scenes, max_mb: how many, and the memory that they take; the one asked about longest ago goes first.
    """

    def __init__(self, metrics: Metrics, *, max_scenes: int, max_mb: int) -> None:
        self.metrics, self.max_scenes, self.max_bytes = metrics, max_scenes, max_mb * MB
        self._scenes: OrderedDict[Hashable, tuple[Scene, int]] = OrderedDict()
        self._lock = threading.Lock()

    def reader(self, key: Hashable, read: ReadScene, *, stays: bool) -> ReadScene:
        """What gives the scene that is remembered, or reads it.

        Args:
            key: equal for equal scenes; None for a scene that is not to be remembered.
            stays: what the scene is read from is still there when the question has ended.
        """

        def recall(progress: Progress) -> Scene:
            scene = self._find(key)
            self.metrics.scenes.labels("read" if scene is None else "remembered").inc()
            if scene is not None:
                return scene
            # Two equal questions at once may both read it; they go on with the same object.
            return self._keep(key, read(progress), stays=stays)

        return recall

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._scenes.clear()
            self._count()

    def _find(self, key: Hashable) -> Scene | None:
        with self._lock:
            if key not in self._scenes:
                return None
            self._scenes.move_to_end(key)
            return self._scenes[key][0]

    def _keep(self, key: Hashable, scene: Scene, *, stays: bool) -> Scene:
        num_bytes = _num_bytes(scene, stays=stays)
        if key is None or num_bytes is None or num_bytes > self.max_bytes:
            return scene
        with self._lock:
            scene, num_bytes = self._scenes.setdefault(key, (scene, num_bytes))
            while len(self._scenes) > self.max_scenes or self._total_bytes() > self.max_bytes:
                self._scenes.popitem(last=False)
            self._count()
            return scene

    def _total_bytes(self) -> int:
        return sum(num_bytes for _, num_bytes in self._scenes.values())

    def _count(self) -> None:
        self.metrics.remembered_bytes.set(self._total_bytes())


def _num_bytes(scene: Scene, *, stays: bool) -> int | None:
    """Memory that a scene takes; None where it cannot be told, or where its files will be gone."""
    total = 0
    for image in scene.observations:
        total += image.valid.nbytes
        if isinstance(image.pixels, np.ndarray):
            total += image.pixels.nbytes
        elif stays and isinstance(image.pixels, FileStore):
            reduced = image.pixels.reduced
            total += 0 if reduced is None else reduced.pixels.nbytes + reduced.valid.nbytes
        else:
            return None
    return total
