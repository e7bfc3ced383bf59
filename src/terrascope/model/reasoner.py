"""A scene as a model has encoded it: it writes reasonings, at full resolution also where the scene exceeds its view.

For a large scene, a first look reasons on the reduced scene and finds out what is asked for: its [SEG] states. One
sweep decodes all of them at full resolution. Then the reasoning is written again, and each [SEG] gets the mask that the
sweep has made of it: so words, injected visual tokens and numbers all follow from the masks of the whole scene.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terrascope.events import Listener
from terrascope.model.encoding import EncodedScene, encode_scene
from terrascope.model.engine.requests import Ground, Program
from terrascope.model.generation import GenerationSettings, Grounder, Reasoning, reasoning
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import TerraScopeProcessor
from terrascope.model.sweep import Progress, Query, SweepSettings, Swept, sweep
from terrascope.rasters.sensors import shown_overview
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
            optical=None if pair.optical is None else shown_overview(pair.optical, OVERVIEW_SIDE),
            sar=None if pair.sar is None else shown_overview(pair.sar, OVERVIEW_SIDE),
        )
        for pair in scene.pairs
    )
    return Scene(pairs, notes=scene.notes)


class SceneReasoner:
    """Writes the reasonings of one question about a scene, which both encoders see once; a mask, too, is made once.

    Another question takes another one: the same words may stand for another [SEG] state there.

    Args:
        scene: the whole scene.
        settings: limits of a reasoning; `look` and `view_size` say how a large scene is covered.
        progress: called with the views done, and all views of a large scene.
        encoded: what the encoders saw of it, where they have seen it before.
    """

    def __init__(
        self,
        model: TerraScopeForConditionalGeneration,
        processor: TerraScopeProcessor,
        scene: Scene,
        settings: GenerationSettings,
        progress: Progress | None = None,
        encoded: EncodedScene | None = None,
    ) -> None:
        self.model, self.processor, self.scene, self.limits, self.progress = model, processor, scene, settings, progress
        self.facts = processor.describe(scene)
        if encoded is None:
            with torch.inference_mode():
                encoded = encode_scene(model, processor.image_processor.prepare_scene(reduce_scene(scene)))
        self.encoded = encoded
        self.reduction = max(scene.shape) / model.config.sam_size
        self.by_views = settings.look == "views" or (settings.look == "auto" and self.reduction > 1)
        view = settings.view_size or model.config.view_size or model.config.sam_size
        self.sweep_settings = SweepSettings(view=view, overlap=int(OVERLAP * view))
        self.masks: dict[_Key, Swept] = {}
        self.problem: str | None = None

    @property
    def notes(self) -> list[str]:
        """What a reader of the answer should know of how its masks were made."""
        notes = []
        if self.by_views:
            notes.append(VIEWS_NOTE.format(math.ceil(self.reduction), *[self.sweep_settings.view] * 2))
        elif self.reduction > 2:
            notes.append(REDUCED_NOTE.format(self.reduction, math.ceil(2 * self.reduction)))
        if self.problem is not None:
            notes.append(UNSAVED_NOTE.format(self.problem))
        return notes

    def write(
        self,
        question: str,
        options: Sequence[str] = (),
        *,
        forced_ids: Sequence[int] | None = None,
        masks: Sequence[NDArray[np.bool_]] | None = None,
        keep_record: bool = False,
        tell: Listener | None = None,
    ) -> Program[Reasoning]:
        """A reasoning about a question, as a program of the engine; the arguments are those of `reasoning`.

        Of a large scene, `tell` hears the reasoning with the masks of the whole scene, not the first look.
        """
        prompt = self.processor.prepare_prompt(self.facts, question, options)

        def write(ground_with: Grounder | None, tell: Listener | None = None) -> Program[Reasoning]:
            return reasoning(
                self.model, self.processor, self.encoded, prompt, self.limits,
                forced_ids=forced_ids, forced_masks=masks, ground_with=ground_with, keep_record=keep_record, tell=tell,
            )  # fmt: skip

        if not self.by_views:
            is_reduced = self.encoded.inputs.valid[0].shape != self.scene.shape
            return (yield from write(self._ground_reduced if is_reduced else None, tell))
        asked: dict[_Key, Tensor] = {}

        def look(pair: int, state: Tensor, text: str) -> Program[tuple[Tensor, float]]:
            asked.setdefault(_key(pair, text), state.clone())
            return (yield Ground(self.encoded, pair, state))

        yield from write(look)
        yield from self._prepare(asked)
        return (yield from write(self._ground, tell))

    def _prepare(self, asked: dict[_Key, Tensor]) -> Program[None]:
        missing = {key: state for key, state in asked.items() if key not in self.masks}
        if not missing:
            return
        queries = [Query(pair, state) for (pair, _), state in missing.items()]
        swept, problem = yield from sweep(
            self.model, self.processor.image_processor, self.scene, queries, self.sweep_settings, self.progress
        )
        self.problem = self.problem or problem
        self.masks |= dict(zip(missing, swept, strict=True))

    def _ground(self, pair: int, state: Tensor, text: str) -> Program[tuple[Tensor, float]]:
        # A step that the first look did not foresee costs a sweep of its own.
        key = _key(pair, text)
        yield from self._prepare({key: state.clone()})
        return torch.from_numpy(self.masks[key].mask), self.masks[key].confidence

    def _ground_reduced(self, pair: int, state: Tensor, text: str) -> Program[tuple[Tensor, float]]:
        mask, confidence = yield Ground(self.encoded, pair, state)
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
