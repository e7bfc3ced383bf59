"""An answer as files: for programs, for people, and for a GIS."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terrascope.answer_json import describe_step, to_dict
from terrascope.landcover import TERRASCOPE
from terrascope.output import written_together
from terrascope.rasters.named_mask import NamedMask, printable
from terrascope.rasters.overlay import PICTURE_SIDE
from terrascope.rasters.vectors import trace_outlines
from terrascope.rasters.write import (
    NO_STEP,
    NODATA,
    write_item,
    write_masks_geojson,
    write_masks_parquet,
    write_masks_tif,
    write_overlay,
    write_steps_tif,
)
from terrascope.report import first_of_pairs, take_pictures, write_report
from terrascope.scene import Scene

if TYPE_CHECKING:
    from terrascope.answer import Answer, GroundedStep


@dataclass(frozen=True, kw_only=True)
class _File:
    """What a file of an answer is: its title for people, its media type and roles for a STAC item."""

    title: str
    media_type: str
    roles: tuple[str, ...]
    more: Mapping[str, Any] | None = None


_COG = "image/tiff; application=geotiff; profile=cloud-optimized"

FILES = {
    "report.html": _File(title="Report for people", media_type="text/html", roles=("overview",)),
    "answer.json": _File(
        title="Answer, reasoning and numbers for programs", media_type="application/json", roles=("metadata",)
    ),
    "overlay.png": _File(
        title="Picture of the scene and of every step", media_type="image/png", roles=("overview", "visual")
    ),
    "masks.tif": _File(
        title="Masks, one band per step: 1 in the mask, 0 outside, 255 not measured",
        media_type=_COG,
        roles=("data",),
        more={"data_type": "uint8", "nodata": NODATA},
    ),
    "steps.tif": _File(
        title="All steps in one band, with colours: the number of the step, 255 not measured",
        media_type=_COG,
        roles=("data", "visual"),
        more={"data_type": "uint8", "nodata": NO_STEP},
    ),
    "steps.tif.aux.xml": _File(
        title="Names of the numbers in steps.tif", media_type="application/xml", roles=("metadata",)
    ),
    "masks.geojson": _File(
        title="Outlines in longitude and latitude", media_type="application/geo+json", roles=("data",)
    ),
    "masks.parquet": _File(
        title="Outlines in the scene's own CRS", media_type="application/vnd.apache.parquet", roles=("data",)
    ),
    "item.json": _File(title="STAC item", media_type="application/geo+json", roles=("metadata",)),
}
"""The files of an answer, in the order in which people want them."""

_PALETTE = ((230, 85, 13), (49, 130, 189), (49, 163, 84), (158, 84, 189), (222, 45, 106), (180, 150, 20))
"""Colours of masks whose step names no class."""


def save(answer: Answer, directory: str | os.PathLike[str]) -> dict[str, Path]:
    """Write the files of an answer together: those of masks where there is one, `item.json` where the scene is located.

    Raises:
        OutputError: the folder cannot be written, or a file stands in the way.
    """
    told = to_dict(answer)
    content = json.dumps(told, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    scene, georeference = answer.scene, answer.scene.georeference
    masks = name_masks(answer)
    pictures = take_pictures(scene, PICTURE_SIDE)
    reduced = [mask.reduced(pictures[0].valid.shape) for mask in masks]
    writers: dict[str, Callable[[Path], None]] = {
        # A file name may hold bytes that are no text; JSON has an escape for them.
        "answer.json": lambda path: _write_text(path, content),
        "overlay.png": lambda path: write_overlay(path, first_of_pairs(pictures), reduced),
    }
    if masks:
        outlines = trace_outlines(masks)
        writers |= {
            "masks.tif": lambda path: write_masks_tif(path, masks, georeference),
            "steps.tif": lambda path: write_steps_tif(path, masks, georeference),
            "masks.geojson": lambda path: write_masks_geojson(path, masks, georeference, outlines),
            "masks.parquet": lambda path: write_masks_parquet(path, masks, georeference, outlines),
        }
    with written_together(directory, tuple(FILES)) as folder:
        for name, write in writers.items():
            write(folder / name)
        others = [name for name in FILES if (folder / name).exists()]
        if georeference.is_located:
            write_item(
                folder / "item.json",
                item_id=f"terrascope-{hashlib.sha256(content.encode(errors='replace')).hexdigest()[:16]}",
                georeference=georeference,
                shape=scene.shape,
                dates=[observation.date for observation in scene.observations],
                properties=_provenance(told),
                assets={name: describe_asset(name, told) for name in [*others, "report.html"]},
            )
        present = [name for name in FILES if (folder / name).exists()]
        titles = {name: FILES[name].title for name in present}
        write_report(folder / "report.html", told, pictures=pictures, masks=reduced, files=titles)
        written = [name for name in FILES if (folder / name).exists()]
    return {name: Path(directory) / name for name in written}


def _write_text(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8", errors="backslashreplace")


def name_masks(answer: Answer) -> list[NamedMask]:
    """The masks of an answer's steps, in order, with what files say about each."""
    return [_named(number, step, answer.scene) for number, step in enumerate(answer.steps, 1)]


def describe_asset(name: str, told: Mapping[str, Any], href: str | None = None) -> dict[str, Any]:
    """A file of an answer as an asset of a STAC item.

    Args:
        name: one of `FILES`.
        told: the answer as JSON values.
        href: where it lies, if not under its own name beside the item.
    """
    file = FILES[name]
    asset: dict[str, Any] = {
        "href": href or f"./{name}",
        "type": file.media_type,
        "title": file.title,
        "roles": list(file.roles),
        **(file.more or {}),
    }
    if name == "masks.tif":
        asset["bands"] = [
            {"name": f"step-{step['step']}", "description": step["text"] or "-"} for step in told["steps"]
        ]
    return asset


def _provenance(told: Mapping[str, Any]) -> dict[str, Any]:
    images = told["scene"]["images"]
    sources = [image[kind]["source"] for image in images for kind in ("optical", "sar") if image[kind] is not None]
    return {
        "title": printable(told["question"]),
        "terrascope:question": told["question"],
        "terrascope:answer": told["answer_option"] or told["answer"],
        "terrascope:measured": told["measured"],
        "terrascope:num_disagreements": told["num_disagreements"],
        "terrascope:notes": told["notes"],
        "terrascope:model": told["model"],
        "terrascope:version": told["terrascope_version"],
        "terrascope:sources": sources,
    }


def _named(number: int, step: GroundedStep, scene: Scene) -> NamedMask:
    warnings = " ".join(str(d) for d in step.disagreements)
    text = " ".join(part for part in (step.text, step.finding, f"! {warnings}" if warnings else "") if part)
    told = {
        **describe_step(number, step, scene),
        "text": text,
        "coverage": step.measurement.coverage,
        "disagreements": warnings,
    }
    return NamedMask(
        name=printable(step.text).rstrip(" .:") or f"mask {number}",
        mask=step.mask,
        valid=scene.pairs[step.image - 1].valid,
        color=_color(step.text, number),
        properties={key: printable(value) if isinstance(value, str) else value for key, value in told.items()},
    )


def _color(text: str, number: int) -> tuple[int, int, int]:
    """The colour of the class that a text names (the longest name wins), else one by the step's number."""
    words = [(word, c.color) for c in TERRASCOPE.classes for word in (c.name, c.plural)]
    for word, color in sorted(words, key=lambda entry: -len(entry[0])):
        if re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE):
            return color
    return _PALETTE[(number - 1) % len(_PALETTE)]
