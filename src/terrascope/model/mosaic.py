"""Reasoning about a scene larger than the model's view: a first look at the whole, then every pixel at its own size.

The first look reasons on the reduced scene and finds out what is asked for: its [SEG] states. One sweep decodes all
of them at full resolution. Then the reasoning is written again, and each [SEG] gets the mask that the sweep has made
of it: so the words, the injected visual tokens and every number follow from the masks of the whole scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from terrascope.model.generation import EncodedScene, GenerationSettings, Grounder, Reasoning, ground
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import TerraScopeProcessor
from terrascope.model.sweep import Progress, Query, SweepSettings, Swept, sweep
from terrascope.scene import OVERVIEW_SIDE, Pair, Scene
from terrascope.trace import parse

OVERLAP = 1 / 4
"""Share of a view that its neighbour sees too."""

REDUCED_NOTE = "The model saw the scene reduced {:.0f} times: what is narrower than {} pixels may be missing."
VIEWS_NOTE = (
    "The words come from a look at the whole scene, reduced {:.0f} times; the masks from views of {} x {} pixels at "
    "full resolution."
)
UNSAVED_NOTE = "The work on the scene could not be saved for resuming ({})."

_Key = tuple[int, str]
"""The pair (from 0) and the words of a step: what a [SEG] asks for."""


def reduce_scene(scene: Scene) -> Scene:
    """The scene as the first look sees it, in memory; a scene that is small enough as it is."""
    if max(scene.shape) <= OVERVIEW_SIDE:
        return scene
    pairs = tuple(
        Pair(
            optical=None if pair.optical is None else pair.optical.overview(),
            sar=None if pair.sar is None else pair.sar.overview(),
        )
        for pair in scene.pairs
    )
    return Scene(pairs, notes=scene.notes)


class Mosaic:
    """Masks of one scene at full resolution, by what is asked for; each is made once, however many questions need it.

    Args:
        scene: the whole scene. encoded: what the encoders saw of the reduced one.
        settings: `look` and `view_size` say how it is covered. progress: called after every row of views.
    """

    def __init__(
        self,
        model: TerraScopeForConditionalGeneration,
        processor: TerraScopeProcessor,
        scene: Scene,
        encoded: EncodedScene,
        settings: GenerationSettings,
        progress: Progress | None = None,
    ) -> None:
        self.model, self.processor, self.scene, self.encoded, self.progress = model, processor, scene, encoded, progress
        self.reduction = max(scene.shape) / model.config.sam_size
        self.by_views = settings.look == "views" or (settings.look == "auto" and self.reduction > 1)
        view = settings.view_size or model.config.view_size or model.config.sam_size
        self.settings = SweepSettings(view=view, overlap=int(OVERLAP * view))
        self.masks: dict[_Key, Swept] = {}
        self.problem: str | None = None

    @property
    def notes(self) -> list[str]:
        """What a reader of the answer should know of how its masks were made."""
        notes = []
        if self.by_views:
            notes.append(VIEWS_NOTE.format(math.ceil(self.reduction), self.settings.view, self.settings.view))
        elif self.reduction > 2:
            notes.append(REDUCED_NOTE.format(self.reduction, math.ceil(2 * self.reduction)))
        if self.problem is not None:
            notes.append(UNSAVED_NOTE.format(self.problem))
        return notes

    def reason(self, write: Callable[[Grounder | None], Reasoning]) -> Reasoning:
        """The reasoning that `write` makes with the masks of a grounder (None: those of the encoded scene)."""
        if not self.by_views:
            is_reduced = self.encoded.inputs.valid[0].shape != self.scene.shape
            return write(self._ground_reduced if is_reduced else None)
        asked: dict[_Key, Tensor] = {}

        def look(pair: int, state: Tensor, text: str) -> tuple[Tensor, float]:
            asked.setdefault(_key(pair, text), state.clone())
            return ground(self.model, self.encoded, pair, state)

        write(look)
        self._prepare(asked)
        return write(self._ground)

    def _prepare(self, asked: dict[_Key, Tensor]) -> None:
        missing = {key: state for key, state in asked.items() if key not in self.masks}
        if not missing:
            return
        queries = [Query(pair, state) for (pair, _), state in missing.items()]
        swept, problem = sweep(
            self.model, self.processor.image_processor, self.scene, queries, self.settings, self.progress
        )
        self.problem = self.problem or problem
        self.masks |= dict(zip(missing, swept, strict=True))

    def _ground(self, pair: int, state: Tensor, text: str) -> tuple[Tensor, float]:
        # A step that the first look did not foresee costs a sweep of its own.
        key = _key(pair, text)
        self._prepare({key: state.clone()})
        return torch.from_numpy(self.masks[key].mask), self.masks[key].confidence

    def _ground_reduced(self, pair: int, state: Tensor, text: str) -> tuple[Tensor, float]:
        mask, confidence = ground(self.model, self.encoded, pair, state)
        # The rows and columns that were averaged into one pixel of the overview share its mask.
        rows, columns = (
            np.repeat(np.arange(n), np.diff(np.arange(n + 1) * side // n))
            for n, side in zip(mask.shape, self.scene.shape, strict=True)
        )
        return mask[torch.from_numpy(rows)][:, torch.from_numpy(columns)] & torch.from_numpy(
            self.scene.pairs[pair].valid
        ), confidence


def _key(pair: int, text: str) -> _Key:
    return pair, parse(text).grounded_steps[-1].text
