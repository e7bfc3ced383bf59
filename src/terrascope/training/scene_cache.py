"""Scenes as training needs them, kept on disk: what the encoders see, what prompts state, where the truth is known."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from terrascope.errors import OutputError
from terrascope.model.processing import SceneFacts, SceneInputs, TerraScopeProcessor
from terrascope.model.reasoner import reduce_scene
from terrascope.model.tiles import TileLayout
from terrascope.output import written_whole
from terrascope.scene import LabelMap, Scene
from terrascope.sources.chips import Source
from terrascope.training.examples import known_pixels

FORM = "terrascope-scene/1"
"""Form of a file. It changes with whatever makes another picture of the same scene."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedScene:
    """A scene without its bands.

    Attributes:
        inputs: what the encoders see, in half precision.
        facts: what its prompts state.
        known: per pair, bool `[H, W]`: where the truth is known.
    """

    inputs: SceneInputs
    facts: SceneFacts
    known: tuple[Tensor, ...]


def prepare_scene(processor: TerraScopeProcessor, scene: Scene, labels: Sequence[LabelMap]) -> PreparedScene:
    """A scene as the first look of inference sees it, in half precision."""
    inputs = processor.image_processor.prepare_scene(reduce_scene(scene))
    return PreparedScene(
        inputs=replace(inputs, tiles=inputs.tiles.half(), sam_images=inputs.sam_images.half()),
        facts=processor.describe(scene),
        known=known_pixels(scene, labels),
    )


class SceneCache:
    """Prepared scenes in a folder, one safetensors file each.

    A file is found again by the scene's id, the source with its options, and all settings of the image processor. That
    files of a source have changed is not noticed: remove the folder then.

    Args:
        folder: made where there is none.
        processor: whose image settings count.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: Path, processor: TerraScopeProcessor) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be made ({error.strerror}); give another folder as scene_cache"
            ) from None
        self.folder = folder
        self._settings = processor.image_processor.to_dict()
        self._begun: dict[str, bytes] = {}

    def path_of(self, scene_id: str, source: Source) -> Path:
        """The file of a scene."""
        if source.name not in self._begun:
            told = json.dumps([FORM, describe_source(source), self._settings], sort_keys=True, default=str)
            self._begun[source.name] = told.encode()
        digest = hashlib.sha256(self._begun[source.name] + scene_id.encode()).hexdigest()[:32]
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def get(self, scene_id: str, source: Source, make: Callable[[], PreparedScene]) -> PreparedScene:
        """The scene from its file; made and written where there is none, or only a damaged one.

        Raises:
            OutputError: the file cannot be written.
        """
        path = self.path_of(scene_id, source)
        if path.is_file():
            try:
                return _read(path)
            except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
                _log.warning("%s: not a readable scene (%s); it is made anew", path, " ".join(str(error).split()))
        made = make()
        with written_whole(path) as unfinished:
            path.parent.mkdir(exist_ok=True)
            _write(made, scene_id, unfinished)
        return made


def describe_source(source: Source) -> list[Any]:
    """What tells a source from others: its kind and its fields."""
    names = [field.name for field in dataclasses.fields(source)] if dataclasses.is_dataclass(source) else ["name"]
    return [type(source).__name__, {name: getattr(source, name) for name in names}]


def _write(scene: PreparedScene, scene_id: str, path: Path) -> None:
    tensors = {
        "tiles": scene.inputs.tiles,
        "sam_images": scene.inputs.sam_images,
        "valid": torch.stack(scene.inputs.valid),
        "known": torch.stack(scene.known),
    }
    layout = scene.inputs.layouts[0]
    cut = [layout.rows, layout.columns, layout.grid]
    about = {"form": FORM, "id": scene_id, "layout": cut, "facts": asdict(scene.facts)}
    # In one entry: several would be written in an order that differs from run to run.
    try:
        save_file(tensors, path, metadata={"scene": json.dumps(about)})
    except SafetensorError as error:
        raise OSError(" ".join(str(error).split())) from error


def _read(path: Path) -> PreparedScene:
    with safe_open(path, "pt") as file:
        about = json.loads((file.metadata() or {})["scene"])
        tiles, sam_images, valid, known = map(file.get_tensor, ("tiles", "sam_images", "valid", "known"))
    facts: dict[str, Any] = about["facts"]
    modalities = tuple(tuple(kinds) for kinds in facts["modalities"])
    return PreparedScene(
        inputs=SceneInputs(
            tiles=tiles,
            sam_images=sam_images,
            layouts=(TileLayout(*about["layout"]),) * len(modalities),
            modalities=modalities,
            valid=tuple(valid),
        ),
        facts=SceneFacts(**{**facts, "modalities": modalities, "dates": tuple(facts["dates"])}),
        known=tuple(known),
    )
