"""An answer as files: `answer.json`, `overlay.png`, `masks.tif`, `masks.geojson`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from terrascope import __version__
from terrascope.errors import ScaleError
from terrascope.landcover import TERRASCOPE
from terrascope.masks import encode_rle
from terrascope.output import written_together
from terrascope.rasters.sensors import render
from terrascope.rasters.write import NamedMask, write_masks_geojson, write_masks_tif, write_overlay
from terrascope.scene import Observation, Scene

if TYPE_CHECKING:
    from terrascope.predictor import Answer, GroundedStep

SCHEMA = "terrascope-answer/1"
NAMES = ("answer.json", "overlay.png", "masks.tif", "masks.geojson")

_PALETTE = ((230, 85, 13), (49, 130, 189), (49, 163, 84), (158, 84, 189), (222, 45, 106), (180, 150, 20))
"""Colours of masks whose step names no class."""


def to_dict(answer: Answer) -> dict[str, Any]:
    """An answer as JSON values; `docs/answer-json.md` describes them."""
    return {
        "schema": SCHEMA,
        "terrascope_version": __version__,
        "model": answer.model,
        "question": answer.question,
        "options": list(answer.options),
        "answer": answer.text,
        "answer_option": answer.option,
        "measured": answer.measured,
        "notes": list(answer.notes),
        "num_disagreements": answer.num_disagreements,
        "scene": _scene(answer.scene),
        "steps": [_step(number, step, answer.scene) for number, step in enumerate(answer.steps, 1)],
        "introduction": " ".join(step.text for step in answer.trace.steps if not step.grounded),
        "conclusion": answer.trace.conclusion,
        "reasoning": answer.reasoning,
    }


def save(answer: Answer, directory: str | os.PathLike[str]) -> dict[str, Path]:
    """Write the files of an answer together; without any mask there is no `masks.tif`.

    Raises:
        OutputError: the folder cannot be written, or a file stands in the way.
    """
    masks = [_named(number, step, answer.scene) for number, step in enumerate(answer.steps, 1)]
    georeference = answer.scene.georeference
    pictures = np.stack([render(pair.observations[0]) for pair in answer.scene.pairs])
    with written_together(directory, NAMES) as folder:
        content = json.dumps(to_dict(answer), ensure_ascii=False, indent=2, allow_nan=False)
        (folder / "answer.json").write_text(content + "\n", encoding="utf-8")
        write_overlay(folder / "overlay.png", pictures, masks)
        write_masks_geojson(folder / "masks.geojson", masks, georeference)
        if masks:
            write_masks_tif(folder / "masks.tif", masks, georeference)
        written = [name for name in NAMES if (folder / name).exists()]
    return {name: Path(directory) / name for name in written}


def _scene(scene: Scene) -> dict[str, Any]:
    height, width = scene.shape
    crs = scene.georeference.crs
    try:
        basis = scene.georeference.pixel_size(height, width).basis
    except ScaleError:
        basis = None
    return {
        "height_px": height,
        "width_px": width,
        "crs": crs.to_string() if crs is not None else None,
        "scale_basis": basis,
        "images": [
            {
                "image": number,
                "date": pair.date.isoformat() if pair.date else None,
                "optical": _observation(pair.optical),
                "sar": _observation(pair.sar),
            }
            for number, pair in enumerate(scene.pairs, 1)
        ],
    }


def _observation(observation: Observation | None) -> dict[str, Any] | None:
    if observation is None:
        return None
    return {
        "source": observation.source,
        "sensor": observation.sensor,
        "bands": list(observation.bands),
        "valid_percent": round(100 * float(observation.valid.mean()), 3),
    }


def _step(number: int, step: GroundedStep, scene: Scene) -> dict[str, Any]:
    date = scene.dates[step.image - 1]
    measurement = step.measurement
    return {
        "step": number,
        "text": step.text,
        "finding": step.finding,
        "image": step.image,
        "date": date.isoformat() if date else None,
        "num_pixels": measurement.num_pixels,
        "coverage_percent": 100 * measurement.coverage,
        "area_m2": measurement.area_m2,
        "scale_basis": measurement.scale_basis,
        "num_objects": measurement.num_objects,
        "position": measurement.position,
        "distance_to_previous_step_m": step.distance_m,
        "confidence": step.confidence,
        "num_tokens": step.num_tokens,
        "num_optical_tokens": step.num_optical_tokens,
        "num_sar_tokens": step.num_sar_tokens,
        "agrees": not step.disagreements,
        "disagreements": [
            {"stated": d.stated, "measured": d.measured, "unit": d.unit, "message": str(d)} for d in step.disagreements
        ],
        "mask_rle": encode_rle(step.mask),
    }


def _named(number: int, step: GroundedStep, scene: Scene) -> NamedMask:
    told = _step(number, step, scene)
    del told["mask_rle"]
    warnings = " ".join(str(d) for d in step.disagreements)
    text = " ".join(part for part in (step.text, step.finding, f"! {warnings}" if warnings else "") if part)
    return NamedMask(
        name=step.text.rstrip(" .:") or f"mask {number}",
        mask=step.mask,
        valid=scene.pairs[step.image - 1].valid,
        color=_color(step.text, number),
        properties={**told, "text": text, "coverage": step.measurement.coverage, "disagreements": warnings},
    )


def _color(text: str, number: int) -> tuple[int, int, int]:
    """The colour of the class that a text names (the longest name wins), else one by the step's number."""
    words = [(word, c.color) for c in TERRASCOPE.classes for word in (c.name, c.plural)]
    for word, color in sorted(words, key=lambda entry: -len(entry[0])):
        if re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE):
            return color
    return _PALETTE[(number - 1) % len(_PALETTE)]
