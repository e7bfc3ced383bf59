"""The tables of a whole batch: answers, outlines of masks, failures; and the STAC collection of its items."""

from __future__ import annotations

import csv
import datetime
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import shapely

from terrascope.batch.folder import SCENES, BatchFolder
from terrascope.batch.scene_folder import COLLECTION, COLLECTION_ID, ITEM, MASKS, mask_schema
from terrascope.output import written_whole
from terrascope.rasters.geoparquet import geometry_columns, geometry_fields, write_lonlat_tables
from terrascope.rasters.stac_item import STAC_VERSION

if TYPE_CHECKING:
    import pyarrow as pa

ANSWERS, FAILURES = "answers.parquet", "failures.csv"

FAILURE_COLUMNS = ("id", "scene", "question", "reason", "message")

_ROWS_AT_ONCE = 10_000
_WHOLE_EARTH = [-180.0, -90.0, 180.0, 90.0]


def write_tables(batch: BatchFolder) -> None:
    """Write what the questions done by now have come to, in the order of the plan. Each file appears whole.

    Raises:
        OutputError: a file cannot be written.
    """
    rows = [
        batch.rows[question.id]
        for scene in batch.plan.scenes
        for question in scene.questions
        if question.id in batch.rows
    ]
    users = list(dict.fromkeys(name for scene in batch.plan.scenes for q in scene.questions for name in q.user))
    schema = answer_schema(users)
    given = [row for row in rows if row.get("reason") is None]
    chunks = (given[start : start + _ROWS_AT_ONCE] for start in range(0, len(given), _ROWS_AT_ONCE))
    write_lonlat_tables(batch.folder / ANSWERS, (_answer_table(chunk, schema) for chunk in chunks), schema)
    write_lonlat_tables(batch.folder / MASKS, _mask_tables(batch), mask_schema())
    with (
        written_whole(batch.folder / FAILURES) as unfinished,
        unfinished.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(FAILURE_COLUMNS)
        writer.writerows([row[name] for name in FAILURE_COLUMNS] for row in rows if row.get("reason") is not None)
    _write_collection(batch)


def answer_schema(users: list[str]) -> pa.Schema:
    """Columns of the answers; those that end in `s` and the numbers of masks are lists with an entry a step.

    Args:
        users: names of the columns that are handed on from the manifest.
    """
    import pyarrow as pa

    texts, numbers = pa.list_(pa.string()), pa.list_(pa.float64())
    return pa.schema(
        {
            "id": pa.string(),
            "scene": pa.string(),
            "question": pa.string(),
            "options": texts,
            "answer": pa.string(),
            "option": pa.string(),
            "measured": pa.string(),
            "confidence": pa.float64(),
            "num_disagreements": pa.int32(),
            "notes": texts,
            "steps": texts,
            "coverage_percent": numbers,
            "area_m2": numbers,
            "num_objects": pa.list_(pa.int64()),
            "distance_m": numbers,
            "date_first": pa.date32(),
            "date_last": pa.date32(),
            "height_px": pa.int32(),
            "width_px": pa.int32(),
            "crs": pa.string(),
            "sources": texts,
            "model": pa.string(),
            "terrascope_version": pa.string(),
            "seconds": pa.float64(),
            **{name: pa.string() for name in users},
            **geometry_fields(),
        }
    )


def _answer_table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    def value(row: Mapping[str, Any], name: str) -> Any:
        if name in row["user"]:
            return row["user"][name]
        found = row.get(name)
        return datetime.date.fromisoformat(found) if found is not None and name.startswith("date_") else found

    outlines = geometry_columns(
        [None if row["footprint"] is None else shapely.from_wkb(row["footprint"]) for row in rows]
    )
    plain = [name for name in schema.names if name not in outlines]
    columns = {name: pa.array([value(row, name) for row in rows], schema.field(name).type) for name in plain}
    return pa.table({**columns, **outlines}, schema=schema)


def _mask_tables(batch: BatchFolder) -> Iterator[pa.Table]:
    from pyarrow import parquet

    for scene in batch.plan.scenes:
        path = batch.folder / SCENES / scene.name / MASKS
        if path.exists():
            yield parquet.ParquetFile(path).read()


def _write_collection(batch: BatchFolder) -> None:
    """The STAC collection of the items of all scenes that are located; no file where none is."""
    path = batch.folder / COLLECTION
    paths = [batch.folder / SCENES / scene.name / ITEM for scene in batch.plan.scenes]
    items = [(item, json.loads(item.read_text(encoding="utf-8"))) for item in paths if item.exists()]
    if not items:
        path.unlink(missing_ok=True)
        return
    boxes = [item["bbox"] for _, item in items if "bbox" in item]
    starts = [item["properties"]["start_datetime"] for _, item in items]
    ends = [item["properties"]["end_datetime"] for _, item in items]
    collection = {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": COLLECTION_ID,
        "title": f"Answers to {batch.plan.source}",
        "description": "What was asked of each scene, and the masks of every step of the answers.",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [_around(boxes)]},
            "temporal": {"interval": [[min(starts), max(ends)]]},
        },
        "links": [
            {"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"},
            *(
                {
                    "rel": "item",
                    "href": f"./{item.relative_to(batch.folder).as_posix()}",
                    "type": "application/geo+json",
                    "title": told["id"],
                }
                for item, told in items
            ),
        ],
    }
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(collection, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _around(boxes: list[list[float]]) -> list[float]:
    """West, south, east, north around boxes; the whole Earth's width where one crosses the antimeridian."""
    if not boxes:
        return _WHOLE_EARTH
    west, south = (min(box[side] for box in boxes) for side in (0, 1))
    east, north = (max(box[side] for box in boxes) for side in (2, 3))
    return [-180.0, south, 180.0, north] if any(box[0] > box[2] for box in boxes) else [west, south, east, north]
