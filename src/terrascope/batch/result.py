"""What comes of one question: the row that tells of it, and the bytes of its files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely

from terrascope.answer import Answer
from terrascope.answer_files import name_masks
from terrascope.batch.plan import AskedQuestion, AskedScene
from terrascope.bench.run import reason_of
from terrascope.errors import TerraScopeError
from terrascope.rasters.stac_item import footprint
from terrascope.rasters.write import write_masks_tif


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a question. It is pickled, where another process than the asking one writes it down.

    Attributes:
        id: of the question. scene: the name of its scene.
        row: what the tables tell of it, JSON values by column; of a failure `reason` and `message`.
        files: their bytes by suffix: `.json` always, `.tif` where there is a mask; none of a failure.
    """

    id: str
    scene: str
    row: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def failed(self) -> str | None:
        """Why there is no answer, in a few words; None where there is one."""
        reason: str | None = self.row.get("reason")
        return reason


def answered(scene: AskedScene, question: AskedQuestion, answer: Answer, seconds: float) -> Result:
    """The result of a question that has an answer.

    Raises:
        OutputError: the masks cannot be written.
    """
    told = answer.to_dict()
    files = {".json": (json.dumps(told, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace")}
    masks = name_masks(answer)
    if masks:
        # GDAL lays a COG out only in a file.
        with tempfile.TemporaryDirectory(prefix="terrascope-batch-") as folder:
            path = Path(folder) / "masks.tif"
            write_masks_tif(path, masks, answer.scene.georeference)
            files[".tif"] = path.read_bytes()
    return Result(
        id=question.id,
        scene=scene.name,
        row={**_asked(scene, question), **_row(answer, told), "seconds": round(seconds, 6)},
        files=files,
    )


def not_answered(scene: AskedScene, question: AskedQuestion, error: TerraScopeError | MemoryError) -> Result:
    """The result of a question without an answer."""
    message = " ".join(str(error).split()) or "memory ran out"
    return Result(
        id=question.id,
        scene=scene.name,
        row={**_asked(scene, question), "reason": reason_of(error), "message": message},
    )


def _asked(scene: AskedScene, question: AskedQuestion) -> dict[str, Any]:
    return {
        "id": question.id,
        "scene": scene.name,
        "question": question.question,
        "options": list(question.options),
        "user": dict(question.user),
    }


def _row(answer: Answer, told: Mapping[str, Any]) -> dict[str, Any]:
    scene, steps = answer.scene, answer.steps
    measurements = [step.measurement for step in steps]
    outline = footprint(scene.georeference, scene.shape)
    days = sorted(date for date in scene.dates if date is not None)
    return {
        "answer": answer.text,
        "option": answer.option,
        "measured": answer.measured,
        "confidence": min((step.confidence for step in steps), default=None),
        "num_disagreements": answer.num_disagreements,
        "notes": list(answer.notes),
        "steps": [step.text for step in steps],
        "coverage_percent": [100 * measurement.coverage for measurement in measurements],
        "area_m2": [measurement.area_m2 for measurement in measurements],
        "num_objects": [measurement.num_objects for measurement in measurements],
        "distance_m": [step.distance_m for step in steps],
        "date_first": days[0].isoformat() if days else None,
        "date_last": days[-1].isoformat() if days else None,
        "height_px": scene.shape[0],
        "width_px": scene.shape[1],
        "crs": told["scene"]["crs"],
        "sources": [observation.source for observation in scene.observations],
        "model": answer.model,
        "terrascope_version": told["terrascope_version"],
        "footprint": None if outline is None else shapely.to_wkb(outline[0], hex=True),
    }
