"""Landsat30-AU: questions about Landsat scenes of Australia, 30 m a pixel, in one CSV file.

Columns: `image_path, question, question_type, options, answer, ...`; options are a Python list as text, and the answer
is the *text* of one. `None` is an answer like others ("How many rivers ...?"), not a missing one. The images are
published apart; without them the questions can be scored but not asked.
"""

from __future__ import annotations

import ast
import csv
import datetime
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from terrascope.bench.external.benchmark import ExternalBenchmark, Unusable, collect, make_sample
from terrascope.bench.external.choices import check_options, find_text
from terrascope.bench.external.pictures import Pictures
from terrascope.errors import SampleError
from terrascope.sample import Sample, SampleImage
from terrascope.scene import Scene

NAME = "landsat30-au"
COLUMNS = ("image_path", "question", "question_type", "options", "answer")
GSD_M = 30.0

_ABBREVIATION = re.compile(r"\(([A-Z]{2,5})\)\s*\Z")
_DAY_FIRST = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")

_Row = Mapping[str, str]


def open_landsat30_au(path: Path, images: Path | None) -> ExternalBenchmark:
    """The questions of the CSV file; tasks carry the abbreviations that it puts in brackets (`NUM`).

    Raises:
        SampleError: it cannot be read, or has not the columns.
        SceneError: `images` holds none of the images.
    """
    rows = _read(path)
    pictures = Pictures.find(images, path.parent, [row["image_path"] for row in rows if row["image_path"]])
    samples, skipped = collect(partial(_make, number, row, pictures) for number, row in enumerate(rows))

    def read(sample: Sample) -> Scene:
        (image,) = sample.images
        day = None if image.day is None else datetime.date.fromisoformat(image.day)
        return Scene.of(optical=[pictures.read(image.file, gsd_m=GSD_M, date=day)])

    return ExternalBenchmark(name=NAME, samples=samples, skipped=skipped, read=read)


def _make(number: int, row: _Row, pictures: Pictures) -> Sample:
    question, name = (row["question"] or "").strip(), (row["image_path"] or "").replace("\\", "/")
    if not question:
        raise Unusable("question missing")
    options = check_options(_list_of(row["options"] or ""))
    truth = find_text(row["answer"], options)
    if not name:
        raise Unusable("missing image")
    pictures.check([name])
    task = (row["question_type"] or "untold").strip()
    abbreviation = _ABBREVIATION.search(task)
    return make_sample(
        name=NAME,
        number=row.get("qa_id") or number,
        task=abbreviation[1] if abbreviation else task,
        question=question,
        options=options,
        truth=truth,
        images=[SampleImage(number=1, modality="optical", sensor="rgb", day=_day(row.get("capture_time")), file=name)],
        key=name,
        gsd_m=GSD_M,
        country="Australia",
    )


def _list_of(text: str) -> list[str]:
    try:
        texts = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise Unusable("options of an unknown form") from None
    if not isinstance(texts, list):
        raise Unusable("options of an unknown form")
    return [str(option) for option in texts]


def _day(text: str | None) -> str | None:
    """The day as `YYYY-MM-DD`; the file also writes it as `25/08/2000`."""
    found = _DAY_FIRST.fullmatch((text or "").strip())
    try:
        if found:
            return datetime.date(int(found[3]), int(found[2]), int(found[1])).isoformat()
        return datetime.date.fromisoformat((text or "").strip()).isoformat()
    except ValueError:
        return None


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = next((name for name in COLUMNS if name not in (reader.fieldnames or ())), None)
            if missing is not None:
                raise SampleError(f"{path}: has no column {missing}; give the CSV file of Landsat30-AU's questions")
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SampleError(f"{path}: cannot be read as CSV ({error}); fetch it again") from None
