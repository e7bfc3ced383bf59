"""A question as it is answered, as JSON values: the events of the stream, and the reply."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import shapely

from terrascope.answer import Answer, GroundedStep
from terrascope.answer_files import FILES, name_masks
from terrascope.errors import ScaleError
from terrascope.events import Drew, Looked, Wrote
from terrascope.masks import encode_rle
from terrascope.rasters.lonlat import LonLat, bbox
from terrascope.rasters.named_mask import NamedMask
from terrascope.rasters.vectors import write_masks_geojson
from terrascope.report import color
from terrascope.scene import Scene
from terrascope.serve.job import JobEvent, Opened, Queued
from terrascope.serve.pictures import layer_of, pictures_of
from terrascope.trace import SEG

Event = tuple[str, dict[str, Any]]
"""The name of an event, and its data."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the reply should hold beside the answer: outlines, pictures of the scene and its masks. And whether the
    answer is kept."""

    geojson: bool = False
    pictures: bool = False
    keep: bool = True


@dataclass(kw_only=True)
class Narration:
    """Tells of one question. Its methods take long on large scenes: they belong into a thread.

    Attributes:
        id: under which the answer is kept. is_kept: it will be. folder: where files may be written meanwhile.
    """

    id: str
    wishes: Wishes
    folder: Path
    question: str
    is_kept: bool = True
    _scene: Scene | None = None
    _text: str = ""
    _steps: list[GroundedStep] = field(default_factory=list)
    _layers: list[str] = field(default_factory=list)

    def tell(self, event: JobEvent) -> Event:
        """The event of the stream for what happened at the desk."""
        if isinstance(event, Queued):
            return "queued", {"position": event.position}
        if isinstance(event, Opened):
            self._scene = event.scene
            return "scene", self._tell_scene(event.scene)
        if isinstance(event, Wrote):
            self._text = event.text
            return "text", {"text": event.text}
        if isinstance(event, Looked):
            return "looked", {"done": event.num_done, "views": event.num_views}
        if isinstance(event, Drew):
            return "mask", self._tell_mask(event)
        return "answer", self.reply(event)

    def reply(self, answer: Answer) -> dict[str, Any]:
        """The body of the reply."""
        told: dict[str, Any] = {"id": self.id, **answer.to_dict()}
        masks = name_masks(answer)
        names = names_of_files(answer) if self.is_kept else []
        told["files"] = {name: f"/v1/answers/{self.id}/{name}" for name in names}
        # The masks of the stream are drawn once; the final ones may be others where an option had to be chosen.
        is_told = len(self._layers) == len(masks)
        for number, (step, mask) in enumerate(zip(told["steps"], masks, strict=True)):
            step["color"] = color(mask)
            if self.wishes.pictures:
                same = is_told and self._steps[number].mask is answer.steps[number].mask
                step["picture"] = self._layers[number] if same else layer_of(mask)
        if self.wishes.geojson:
            told["geojson"] = self._outlines(answer, masks)
        return told

    def _tell_scene(self, scene: Scene) -> dict[str, Any]:
        empty = Answer.from_reasoning(
            scene=scene, question=self.question, reasoning="<answer>none</answer>", groundings=[], model=""
        )
        corners = corners_of(scene)
        return {
            "id": self.id,
            "scene": empty.to_dict()["scene"],
            "bounds": bounds_of(scene),
            "corners": corners,
            "pictures": pictures_of(scene) if self.wishes.pictures else [],
        }

    def _tell_mask(self, event: Drew) -> dict[str, Any]:
        """The mask that was drawn last, measured as the answer will measure it."""
        assert self._scene is not None
        before, _, _ = self._text.rpartition(SEG)
        words = before.rpartition(SEG)[2].replace("<think>", "")
        partial = Answer.from_reasoning(
            scene=self._scene,
            question=self.question,
            reasoning=f"<think>{words}{SEG}</think><answer>none</answer>",
            groundings=[event.grounding],
            model="",
        )
        self._steps.append(partial.steps[0])
        named = name_masks(replace(partial, steps=tuple(self._steps)))[-1]
        step = partial.steps[0]
        told: dict[str, Any] = {
            "step": len(self._steps),
            "image": step.image,
            "mask_rle": encode_rle(step.mask),
            "confidence": step.confidence,
            "num_optical_tokens": step.num_optical_tokens,
            "num_sar_tokens": step.num_sar_tokens,
            "coverage_percent": 100 * step.measurement.coverage,
            "area_m2": step.measurement.area_m2,
            "num_objects": step.measurement.num_objects,
            "position": step.measurement.position,
            "color": color(named),
        }
        if self.wishes.pictures:
            told["picture"] = layer_of(named)
            self._layers.append(told["picture"])
        return told

    def _outlines(self, answer: Answer, masks: list[NamedMask]) -> dict[str, Any]:
        if not masks:
            return {"type": "FeatureCollection", "features": []}
        path = self.folder / f"{self.id}.geojson"
        try:
            write_masks_geojson(path, masks, answer.scene.georeference)
            outlines: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        finally:
            path.unlink(missing_ok=True)
        return outlines


def names_of_files(answer: Answer) -> list[str]:
    """The files that `Answer.save` writes of an answer, in their order."""
    left_out = set() if answer.steps else {name for name in FILES if name.startswith(("masks.", "steps."))}
    if not answer.scene.georeference.is_located:
        left_out.add("item.json")
    return [name for name in FILES if name not in left_out]


def corners_of(scene: Scene) -> list[list[float]] | None:
    """Longitude and latitude of the upper left, upper right, lower right and lower left corner; None if unknown."""
    height, width = scene.shape
    try:
        lon, lat = scene.georeference.to_lonlat([0, width, width, 0], [0, 0, height, height])
    except ScaleError:
        return None
    return [[round(float(x), 7), round(float(y), 7)] for x, y in zip(lon, lat, strict=True)]


def bounds_of(scene: Scene) -> list[float] | None:
    """West, south, east and north in degrees; None where the scene knows no place."""
    height, width = scene.shape
    lonlat = LonLat.of(scene.georeference, height, width)
    if lonlat is None:
        return None
    try:
        _, extent = lonlat.geometry(shapely.multipolygons([shapely.box(0, 0, width, height)]))
    except ScaleError:
        return None
    return bbox([extent])
