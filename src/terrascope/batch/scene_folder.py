"""The folder of a scene: the answers and masks of its questions, their outlines in one table, and a STAC item."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyproj
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from shapely import MultiPolygon

from terrascope.answer_files import FILES, describe_asset
from terrascope.batch.plan import AskedQuestion, AskedScene
from terrascope.georeference import Georeference
from terrascope.rasters.files import without_warnings
from terrascope.rasters.geoparquet import geometry_columns, geometry_fields, write_lonlat_tables
from terrascope.rasters.lonlat import LonLat
from terrascope.rasters.outlines import trace_outline
from terrascope.rasters.write import write_item

if TYPE_CHECKING:
    import pyarrow as pa

ITEM, MASKS, COLLECTION = "item.json", "masks.parquet", "collection.json"
COLLECTION_ID = "terrascope-batch"

_LINKS = tuple(
    {"rel": rel, "href": f"../../{COLLECTION}", "type": "application/json"} for rel in ("collection", "parent", "root")
)


@dataclass(frozen=True, kw_only=True)
class _Told:
    question: AskedQuestion
    answer: dict[str, Any]


def write_scene(folder: Path, scene: AskedScene) -> None:
    """Write the outlines of all masks, and the STAC item of a scene that is located, beside the files of its answers.

    Args:
        scene: with those questions that have an answer; their `.json`, and `.tif` where there is a mask, are there.

    Raises:
        OSError: a file cannot be read or written.
    """
    told = [
        _Told(question=question, answer=json.loads((folder / f"{question.file_name}.json").read_text("utf-8")))
        for question in scene.questions
    ]
    if not told:
        return
    _write_masks(folder, scene, told)
    first = told[0].answer["scene"]
    georeference = _georeference(first)
    if georeference.is_located:
        write_item(
            folder / ITEM,
            item_id=scene.name,
            georeference=georeference,
            shape=(first["height_px"], first["width_px"]),
            dates=[_day(image["date"]) for image in first["images"]],
            properties=_properties(told),
            assets=_assets(folder, told),
            collection=COLLECTION_ID,
            links=_LINKS,
        )


def mask_schema() -> pa.Schema:
    """Columns of the outlines: which mask of which answer, what was measured of it, and where it lies."""
    import pyarrow as pa

    return pa.schema(
        {
            "id": pa.string(),
            "scene": pa.string(),
            "question": pa.string(),
            "step": pa.int32(),
            "text": pa.string(),
            "finding": pa.string(),
            "image": pa.int32(),
            "date": pa.date32(),
            "num_pixels": pa.int64(),
            "coverage_percent": pa.float64(),
            "area_m2": pa.float64(),
            "num_objects": pa.int64(),
            "position": pa.string(),
            "distance_to_previous_step_m": pa.float64(),
            "confidence": pa.float64(),
            "agrees": pa.bool_(),
            "outline_block_px": pa.int32(),
            **geometry_fields(),
        }
    )


def _write_masks(folder: Path, scene: AskedScene, told: list[_Told]) -> None:
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    geometries: list[MultiPolygon | None] = []
    for one in told:
        outlines = _outlines(folder / f"{one.question.file_name}.tif", one.answer["scene"])
        for step, (geometry, block_px) in zip(one.answer["steps"], outlines, strict=True):
            known = {"id": one.question.id, "scene": scene.name, "question": one.question.question}
            rows.append({**known, **step, "date": _day(step["date"]), "outline_block_px": block_px})
            geometries.append(geometry)
    schema = mask_schema()
    plain = [name for name in schema.names if name not in ("bbox", "geometry")]
    columns = {name: pa.array([row[name] for row in rows], schema.field(name).type) for name in plain}
    write_lonlat_tables(folder / MASKS, [pa.table({**columns, **geometry_columns(geometries)}, schema=schema)], schema)


def _outlines(path: Path, scene: dict[str, Any]) -> Iterator[tuple[MultiPolygon | None, int]]:
    """The outline of each mask in longitude and latitude, and the side of the blocks that it follows."""
    if not path.exists():
        return
    lonlat = LonLat.of(_georeference(scene), scene["height_px"], scene["width_px"])
    with without_warnings(NotGeoreferencedWarning), rasterio.open(path) as dataset:
        for band in dataset.indexes:
            outline = trace_outline(dataset.read(band) == 1)
            placed = None if lonlat is None or outline.geometry is None else lonlat.geometry(outline.geometry)[0]
            yield placed, outline.block_px


def _georeference(scene: dict[str, Any]) -> Georeference:
    crs, transform = scene["crs"], scene["transform"]
    return Georeference(
        crs=None if crs is None else pyproj.CRS.from_user_input(crs),
        transform=None if transform is None else Affine(*transform),
    )


def _day(text: str | None) -> datetime.date | None:
    return None if text is None else datetime.date.fromisoformat(text)


def _properties(told: list[_Told]) -> dict[str, Any]:
    first = told[0].answer
    images = first["scene"]["images"]
    return {
        "terrascope:questions": [
            {
                "id": one.question.id,
                "question": one.answer["question"],
                "answer": one.answer["answer_option"] or one.answer["answer"],
                "measured": one.answer["measured"],
                "num_disagreements": one.answer["num_disagreements"],
            }
            for one in told
        ],
        "terrascope:model": first["model"],
        "terrascope:version": first["terrascope_version"],
        "terrascope:sources": [
            image[kind]["source"] for image in images for kind in ("optical", "sar") if image[kind] is not None
        ],
    }


def _assets(folder: Path, told: list[_Told]) -> dict[str, dict[str, Any]]:
    assets: dict[str, dict[str, Any]] = {}
    for one in told:
        for kind in ("masks.tif", "answer.json"):
            name = f"{one.question.file_name}{Path(kind).suffix}"
            if (folder / name).exists():
                asset = describe_asset(kind, one.answer, f"./{name}")
                assets[name] = {**asset, "title": f"{FILES[kind].title} ({one.question.id})"}
    assets[MASKS] = {**describe_asset(MASKS, {}), "title": "Outlines of all masks in longitude and latitude"}
    return assets
