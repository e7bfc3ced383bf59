"""A manifest: a table with a row for every question, or for every scene that is asked the same questions.

`docs/batch.md` describes its columns. Everything wrong with it is said before an image is opened, but for images that
do not exist or cannot be read: these are failures of their rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from terrascope.batch import cells
from terrascope.batch.plan import AskedQuestion, FileImages, Plan, make_plan, number_questions
from terrascope.batch.table_files import Table, read_table
from terrascope.errors import ManifestError, TerraScopeError
from terrascope.rasters.time_order import check_days

T = TypeVar("T")

COLUMNS = (
    "id",
    "scene",
    "optical",
    "sar",
    "date",
    "sensor",
    "sar_sensor",
    "gsd",
    "nodata",
    "reference",
    "bbox",
    "question",
    "options",
)
USER = "user:"
"""Columns whose names begin so are handed on to the results."""


def read_manifest(
    path: str | os.PathLike[str],
    questions: Sequence[str] = (),
    *,
    sensor: str | None = None,
    sar_sensor: str | None = None,
    allow_virtual: bool = False,
) -> Plan:
    """Read a manifest.

    Args:
        path: of a CSV, Parquet or GeoJSON file. Relative paths in it are relative to its folder.
        questions: asked of every row, where the manifest has no column `question`.
        sensor, sar_sensor: of rows that name none.
        allow_virtual: also open virtual rasters.

    Raises:
        ManifestError: it cannot be used; the sentence names file, row and column.
        SceneError: there is no such sensor.
    """
    own_sensor, own_sar_sensor = cells.sensor(sensor, "optical"), cells.sensor(sar_sensor, "sar")
    table = read_table(Path(path))
    _check_columns(table, questions)
    asked = [" ".join(question.split()) for question in questions]
    if not all(asked):
        raise ManifestError("--question is empty; ask for instance: What percentage of the scene is water?")
    scenes: dict[Any, _Scene] = {}
    rows_of_ids: dict[str, int] = {}
    for number, (values, bounds) in enumerate(zip(table.rows, table.bounds, strict=True), 1):
        row = _Row(table=table, number=number, values=values)
        images = _images(row, bounds)
        images = replace(
            images,
            sensor=images.sensor or own_sensor,
            sar_sensor=images.sar_sensor or own_sar_sensor,
            folder=str(table.path.parent.absolute()),
            allow_virtual=allow_virtual,
        )
        own_id = _id(row, rows_of_ids)
        named = row.read("scene", cells.text)
        scene = scenes.setdefault(named or images, _Scene(name=named or own_id, images=images, row=number))
        if scene.images != images:
            raise ManifestError(
                f"{table.path}: row {number}, column scene: {named} has other images or settings than in row "
                f"{scene.row}; give it the same ones, or another name"
            )
        scene.questions += _questions(row, own_id, asked)
    return make_plan(table.path.name, [(scene.name, scene.images, scene.questions) for scene in scenes.values()])


@dataclass
class _Scene:
    name: str
    images: FileImages
    row: int
    questions: list[AskedQuestion] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Row:
    table: Table
    number: int
    values: dict[str, Any]

    def read(self, column: str, reader: Callable[[Any], T]) -> T:
        """What a cell means.

        Raises:
            ManifestError: nothing.
        """
        try:
            return reader(self.values.get(column))
        except TerraScopeError as error:
            raise self.refusal(column, str(error)) from None

    def refusal(self, column: str, why: str) -> ManifestError:
        return ManifestError(f"{self.table.path}: row {self.number}, column {column}: {why}")


def _check_columns(table: Table, questions: Sequence[str]) -> None:
    for name in table.columns:
        if name in COLUMNS or (name.startswith(USER) and name != USER):
            continue
        near = get_close_matches(name, COLUMNS, n=1)
        hint = f"did you mean {near[0]}" if near else f"the columns are {', '.join(COLUMNS)}"
        raise ManifestError(f"{table.path}: unknown column {name!r}; {hint}, or {USER}{name} to keep it")
    if "optical" not in table.columns and "sar" not in table.columns:
        raise ManifestError(f"{table.path}: has neither a column optical nor a column sar; give one with images")
    if "question" in table.columns and questions:
        raise ManifestError(f"{table.path}: has a column question; leave out --question, or remove the column")
    if "question" not in table.columns and not questions:
        raise ManifestError(f"{table.path}: asks nothing; give a column question, or --question TEXT")
    if "question" not in table.columns and "options" in table.columns:
        raise ManifestError(f"{table.path}: has a column options but none of questions; give a column question")


def _images(row: _Row, bounds: tuple[float, float, float, float] | None) -> FileImages:
    optical, sar = row.read("optical", cells.images), row.read("sar", cells.images)
    if not optical and not sar:
        raise row.refusal("optical" if "optical" in row.table.columns else "sar", "names no image; give a path")
    if optical and sar and len(optical) != len(sar):
        raise row.refusal("sar", f"{len(optical)} optical and {len(sar)} SAR images cannot be paired; give one a date")
    dates = row.read("date", lambda value: cells.texts(value, ";"))
    if dates:
        row.read("date", lambda _: check_days(dates, max(len(optical), len(sar))))
    bbox = row.read("bbox", cells.bbox)
    if bbox is None and bounds is not None:
        around = bounds
        bbox = row.read("geometry", lambda _: cells.box(around))
    return FileImages(
        optical=optical,
        sar=sar,
        dates=dates,
        sensor=row.read("sensor", lambda value: cells.sensor(value, "optical")),
        sar_sensor=row.read("sar_sensor", lambda value: cells.sensor(value, "sar")),
        gsd_m=row.read("gsd", cells.gsd_m),
        nodata=row.read("nodata", cells.number),
        reference=row.read("reference", cells.reference),
        bbox=bbox,
    )


def _id(row: _Row, rows_of_ids: dict[str, int]) -> str:
    if "id" not in row.table.columns:
        return str(row.number)
    own_id = row.read("id", cells.text)
    if own_id is None:
        raise row.refusal("id", "is empty; give every row an id, or none")
    if own_id in rows_of_ids:
        raise row.refusal("id", f"{own_id!r} is also that of row {rows_of_ids[own_id]}; give each row its own")
    rows_of_ids[own_id] = row.number
    return own_id


def _questions(row: _Row, own_id: str, asked: Sequence[str]) -> list[AskedQuestion]:
    user = {name: row.read(name, cells.text) for name in row.table.columns if name.startswith(USER)}
    if not asked:
        question = row.read("question", cells.text)
        if question is None:
            raise row.refusal("question", "is empty; ask for instance: What percentage of the scene is water?")
        return [AskedQuestion(id=own_id, question=question, options=row.read("options", cells.options), user=user)]
    return number_questions(own_id, asked, user)
