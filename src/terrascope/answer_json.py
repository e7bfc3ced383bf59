"""An answer as JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from terrascope import __version__
from terrascope.errors import ScaleError
from terrascope.masks import encode_rle
from terrascope.scene import Observation, Scene

if TYPE_CHECKING:
    from terrascope.answer import Answer, GroundedStep

SCHEMA = "terrascope-answer/1"


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
        "steps": [
            {**describe_step(number, step, answer.scene), "mask_rle": encode_rle(step.mask)}
            for number, step in enumerate(answer.steps, 1)
        ],
        "introduction": " ".join(step.text for step in answer.trace.steps if not step.grounded),
        "conclusion": answer.trace.conclusion,
        "reasoning": answer.reasoning,
    }


def describe_step(number: int, step: GroundedStep, scene: Scene) -> dict[str, Any]:
    """A step as JSON values, but for its mask; `number` counts from 1."""
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
    }


def _scene(scene: Scene) -> dict[str, Any]:
    height, width = scene.shape
    georeference = scene.georeference
    try:
        basis = georeference.pixel_size(height, width).basis
    except ScaleError:
        basis = None
    return {
        "height_px": height,
        "width_px": width,
        "crs": georeference.crs.to_string() if georeference.crs is not None else None,
        "transform": list(georeference.transform)[:6] if georeference.transform is not None else None,
        "scale_basis": basis,
        "notes": list(scene.notes),
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
        "date": observation.date.isoformat() if observation.date else None,
        "bands": list(observation.bands),
        "valid_percent": round(100 * float(observation.valid.mean()), 3),
        "evidence": list(observation.evidence),
        "assumptions": list(observation.assumptions),
    }
