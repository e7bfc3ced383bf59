"""A batch on Ray: Ray Data hands scenes to actors that keep the model warm, and their results come back here.

Only this process writes into the folder of the batch; the others need the images under the same paths, and no more.
"""

from __future__ import annotations

import logging
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope import masks
from terrascope.batch.asking import ask_scenes
from terrascope.batch.plan import AskedScene
from terrascope.batch.result import Result
from terrascope.errors import TerraScopeError
from terrascope.predictor import Predictor
from terrascope.ray_session import ray_session

SCENES_AT_ONCE = 4
"""Scenes that an actor is given at a time: what is lost where one is killed, and comes back together."""

_Column = dict[str, NDArray[np.object_]]


def ask_on_ray(
    load: Callable[[], Predictor], scenes: Sequence[AskedScene], *, num_workers: int = 1
) -> Iterator[Result]:
    """Ask every question of every scene: on the cluster that `RAY_ADDRESS` names, else in processes of this machine.

    Args:
        load: opens the predictor; pickled, and called once in every actor.
        num_workers: actors at once. Where there are GPUs, each has one.

    Yields:
        the results as they come: those of a scene in order.

    Raises:
        SampleError: Ray is not installed.
        TerraScopeError: the predictor cannot be opened.
    """
    # One process more than there are actors: Ray Data has work of its own.
    with ray_session(num_workers + 1) as ray:
        from ray import data

        # Its warnings are about its own progress bars and plans.
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        data.DataContext.get_current().enable_progress_bars = False
        told = data.from_items(
            [{"scene": pickle.dumps(scene)} for scene in scenes],
            override_num_blocks=math.ceil(len(scenes) / SCENES_AT_ONCE),
        )
        asked = told.map_batches(
            _Asker,
            fn_constructor_args=(load,),
            batch_size=SCENES_AT_ONCE,
            compute=data.ActorPoolStrategy(size=num_workers),
            num_gpus=1 if ray.cluster_resources().get("GPU") else 0,
        )
        for row in asked.iter_rows():
            came = pickle.loads(row["result"])
            if isinstance(came, TerraScopeError):
                raise came
            yield came


class _Asker:
    """The life of an actor: the predictor is opened once, and asked about one group of scenes after the other."""

    def __init__(self, load: Callable[[], Predictor]) -> None:
        masks.use_one_thread()
        self._opened: Predictor | TerraScopeError
        try:
            self._opened = load()
        except TerraScopeError as error:
            # Ray would try to start an actor again whose beginning fails.
            self._opened = error

    def __call__(self, told: _Column) -> _Column:
        return {"result": np.array([pickle.dumps(came) for came in self._come(told)], dtype=object)}

    def _come(self, told: _Column) -> Iterator[Result | TerraScopeError]:
        if isinstance(self._opened, TerraScopeError):
            yield self._opened
            return
        scenes: list[Any] = [pickle.loads(scene) for scene in told["scene"]]
        try:
            yield from ask_scenes(self._opened, scenes)
        except TerraScopeError as error:
            yield error
