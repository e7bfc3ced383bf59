"""TEOChatlas: sequences of satellite images with instructions; by default its questions about what changes in a region.

Layout: `train/instruct.json`, a list of records with `video` (paths of images), `conversations` (turns of `value`, a
question and its answer by turns), `timestamp` (days, or none), `task`, `polygon` (WKT in pixels of 256 x 256).
"""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from terrascope.errors import SceneError
from terrascope.sources.chips import Chip, ChipError, Entry, GivenQuestion, Index
from terrascope.sources.images import join, read_image
from terrascope.sources.places import SPLITS

REGION_CHANGE = "region_based_question_answering"
"""The task that the paper takes for Cap-CoT (Section E.2): questions about change in a region of two or more images."""

ANY_TASK = "all"

_SIDE = 256
"""Side in pixels of the images that polygons are drawn on."""

_BOX = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]")
_VIDEO = "<video>"

# The names of images -> what of them names the place: all crops and dates of it.
_PLACES = (
    re.compile(r"(?P<place>.+_\d{8})_(?:pre|post)_disaster.*"),  # xBD, as `terrascope.sources.xbd` names its chips
    re.compile(r"(?P<place>\d+)\.d\d+\..*"),  # QFabric
    re.compile(r"(?P<place>.+_\d+)_\d+_(?:rgb|msrgb).*"),  # fMoW
    re.compile(r"(?P<place>.+?)(?:_\d+)*"),  # whatever else: crops are numbered
)


class _Sequence(NamedTuple):
    """Images in time order with all that is asked of them."""

    images: tuple[str, ...]
    days: tuple[datetime.date | None, ...]
    questions: tuple[tuple[str, str, str, str], ...]  # kind, text, answer, WKT or nothing


@dataclass(frozen=True)
class TeoChat:
    """The sequences of a file of records, each with its questions; the key of one is the number of its first record.

    Attributes:
        root: the folder that holds `train`.
        tasks: the kinds of question, as records name them; `all` for every one. A list may be given as one text with
            commas.
        records: the file of records, below the root. Its first folder tells the split: `train`, else `test`.
        images: the folder that the paths of images start from; empty for the root, or the folder of the records.
    """

    root: Path
    tasks: str | tuple[str, ...] = (REGION_CHANGE,)
    records: str = "train/instruct.json"
    images: str = ""
    name: str = "teochat"

    def __post_init__(self) -> None:
        tasks = self.tasks.split(",") if isinstance(self.tasks, str) else self.tasks
        object.__setattr__(self, "tasks", tuple(task.strip() for task in tasks))

    @property
    def split(self) -> str:
        return "train" if Path(self.records).parts[0] == "train" else "test"

    def index(self, split: str) -> Index:
        """The sequences of a split in the order of the file.

        Raises:
            SceneError: the file is missing or of another form, or has none of the tasks.
        """
        if split not in SPLITS:
            raise SceneError(f"teochat: no split {split!r}; choose one of {', '.join(SPLITS)}")
        sequences, skipped, _ = self._read()
        if split != self.split:
            return Index(entries=())
        entries = tuple(Entry(key, _place(sequence.images)) for key, sequence in sequences.items())
        return Index(entries=entries, skipped=dict(skipped))

    def read(self, key: str) -> Chip:
        """The images of a sequence and the questions about them. No label map and no scale come with them.

        Raises:
            ChipError: an image is missing or damaged, the images differ in size, or a region cannot be read.
        """
        sequence = self._read()[0].get(key)
        if sequence is None:
            raise ChipError(f"{self._file}: no sequence {key} of {', '.join(self.tasks)}", reason="unknown chip")
        images = [
            read_image(self._image(name), sensor="rgb", date=day)
            for name, day in zip(sequence.images, sequence.days, strict=True)
        ]
        scene = join(f"{self._file}, record {key}", optical=images)
        return Chip(
            source=self.name,
            key=key,
            place=_place(sequence.images),
            split=self.split,
            scene=scene,
            questions=tuple(
                GivenQuestion(kind=kind, text=text, answer=answer, polygon=self._region(key, text, wkt, scene.shape))
                for kind, text, answer, wkt in sequence.questions
            ),
        )

    @property
    def _file(self) -> Path:
        return self.root / self.records

    def _read(self) -> tuple[Mapping[str, _Sequence], Mapping[str, int], tuple[str, ...]]:
        if not self._file.is_file():
            raise SceneError(
                f"{self._file}: not found; give the folder that holds {self.records}, or name it (records=)"
            )
        read = _sequences(self._file, tuple(self.tasks), self._file.stat().st_mtime_ns)
        if not read[0]:
            raise SceneError(f"{self._file}: no record of {', '.join(self.tasks)}; its tasks are {', '.join(read[2])}")
        return read

    def _image(self, name: str) -> Path:
        folders = (self.root / self.images,) if self.images else (self.root, self._file.parent)
        return next((folder / name for folder in folders if (folder / name).exists()), folders[0] / name)

    def _region(self, key: str, text: str, wkt: str, shape: tuple[int, int]) -> tuple[NDArray[np.float64], ...] | None:
        """The rings of a question's region in pixels of the image: its polygon, else the box that its text names."""
        height, width = shape
        if not wkt:
            box = _BOX.search(text)
            if box is None:
                return None
            left, top, right, bottom = (int(share) / 100 for share in box.groups())
            corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
            return (corners * (width, height),)
        try:
            parts = shapely.get_parts(shapely.from_wkt(wkt))
            rings = shapely.get_rings([part for part in parts if part.geom_type in ("Polygon", "MultiPolygon")])
        except shapely.errors.ShapelyError as error:
            raise ChipError(f"{self._file}, record {key}: unreadable polygon ({error})", reason="bad region") from error
        if not len(rings):
            raise ChipError(f"{self._file}, record {key}: its polygon has no area", reason="bad region")
        return tuple(shapely.get_coordinates(ring) * (width / _SIDE, height / _SIDE) for ring in rings)


def _place(images: Sequence[str]) -> str:
    first = Path(images[0])
    stem = first.name if first.suffix == "" else first.name[: -len(first.suffix)]
    found = next(match["place"] for pattern in _PLACES if (match := pattern.fullmatch(stem)) is not None)
    return f"{first.parent.name}/{found}" if first.parent.name else found


@lru_cache(maxsize=2)
def _sequences(
    path: Path, tasks: tuple[str, ...], changed_ns: int
) -> tuple[Mapping[str, _Sequence], Mapping[str, int], tuple[str, ...]]:
    """The sequences of a file by key, how many records were left out and why, and all tasks there are.

    Records about the same images are one sequence. Its key is the number of the first of them, whatever its task, so
    that it does not depend on the tasks asked for.
    """
    try:
        records = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SceneError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(records, list):
        raise SceneError(f"{path}: not a list of records, each with video and conversations")
    first: dict[tuple[str, ...], int] = {}
    found: dict[int, _Sequence] = {}
    skipped: Counter[str] = Counter()
    all_tasks: dict[str, None] = {}
    for number, record in enumerate(records):
        try:
            task = str(record.get("task", ""))
            images, days = _in_time_order(record)
        except (AttributeError, KeyError, TypeError, ValueError):
            skipped["record of another form"] += 1
            continue
        all_tasks[task] = None
        start = first.setdefault(images, number)
        if ANY_TASK not in tasks and task not in tasks:
            continue
        questions = tuple(_questions(record, task))
        if not questions:
            skipped["no question with an answer"] += 1
            continue
        before = found[start].questions if start in found else ()
        found[start] = _Sequence(images, days, before + questions)
    sequences = {str(number): found[number] for number in sorted(found)}
    return sequences, dict(skipped), tuple(sorted(all_tasks))


def _in_time_order(record: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[datetime.date | None, ...]]:
    """The images of a record by their days; in the order given, without days, where it has none."""
    video, stamps = record["video"], record.get("timestamp") or []
    images = [str(image) for image in ([video] if isinstance(video, str) else video)]
    if not images:
        raise ValueError("no image")
    if not stamps:
        return tuple(images), (None,) * len(images)
    days = [datetime.date.fromisoformat(stamp) for stamp in stamps]
    ordered = sorted(zip(images, days, strict=True), key=lambda pair: pair[1])
    return tuple(image for image, _ in ordered), tuple(day for _, day in ordered)


def _questions(record: Mapping[str, Any], task: str) -> Iterator[tuple[str, str, str, str]]:
    turns = [str(turn.get("value") or "").strip() for turn in record.get("conversations", ())]
    polygon = record.get("polygon") or ""
    wkt = str(polygon[0] if isinstance(polygon, list) else polygon)
    for asked, answer in zip(turns[::2], turns[1::2], strict=False):
        # What stands before the images only says that there are several.
        text = asked.rpartition(_VIDEO)[2].strip()
        if text and answer:
            yield task, text, answer, wkt
