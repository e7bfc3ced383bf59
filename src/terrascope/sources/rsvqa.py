"""RSVQA-LR: 772 Sentinel-2 pictures of the Netherlands, 256 x 256 pixels of 10 m, with questions and their answers.

Layout: `Images_LR/<img_id>.tif` (8-bit red, green, blue), `LR_split_{train,val,test}_{questions,answers,images}.json`
and `all_{questions,answers}.json`. A split's files list all records; what belongs to the split is `active`. Records
refer to each other by their ids, and a record without its text has it in the `all` files. Counts are numbers in the
files and, as in the benchmark, ranges here. There are no label maps.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from terrascope.errors import SceneError
from terrascope.sources.chips import Chip, ChipError, Entry, GivenQuestion, Index
from terrascope.sources.images import find_center, join, read_image
from terrascope.sources.places import SPLITS

GSD_M = 10.0
COUNTRY = "Netherlands"

RANGES = ((0, "0"), (10, "between 1 and 10"), (100, "between 11 and 100"), (1000, "between 101 and 1000"))
"""Largest number of a range of counts, and its name; what lies beyond is `BEYOND`."""

BEYOND = "more than 1000"

_Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Split:
    """The questions of each image of a split that has any, in the order of the files; and what was left out."""

    questions: Mapping[str, tuple[GivenQuestion, ...]]
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class RsvqaLr:
    """The pictures below a folder, each a place of its own, with the questions that the data set asks of it."""

    root: Path
    name: str = "rsvqa-lr"

    def index(self, split: str) -> Index:
        """The pictures of a split in the order of its files; counted are questions without a usable answer or picture.

        Raises:
            SceneError: a file is missing or not of the form that it should have, or an unknown split.
        """
        if split not in SPLITS:
            raise SceneError(f"rsvqa-lr: no split {split!r}; choose one of {', '.join(SPLITS)}")
        found = _read_split(self.root, split)
        return Index(entries=tuple(Entry(key, key) for key in found.questions), skipped=found.skipped)

    def read(self, key: str) -> Chip:
        """A picture with its questions.

        Raises:
            ChipError: no split has such a picture, or its file is missing or damaged.
        """
        present = [split for split in SPLITS if _path(self.root, f"LR_split_{split}", "questions").is_file()]
        split = next((split for split in present if key in _read_split(self.root, split).questions), None)
        if split is None:
            raise ChipError(f"{self.root}: no split asks anything of picture {key}", reason="unknown chip")
        picture = read_image(self.root / "Images_LR" / f"{key}.tif", sensor="rgb", gsd_m=GSD_M)
        scene = join(key, optical=[picture])
        return Chip(
            source=self.name,
            key=key,
            place=key,
            split=split,
            scene=scene,
            questions=_read_split(self.root, split).questions[key],
            country=COUNTRY,
            lonlat=find_center(scene),
        )


def range_of(count: int) -> str:
    """The range of a count, as the benchmark has them."""
    return next((name for largest, name in RANGES if count <= largest), BEYOND)


def _path(root: Path, stem: str, kind: str) -> Path:
    return root / f"{stem}_{kind}.json"


def _read_split(root: Path, split: str) -> _Split:
    names = [*(_path(root, f"LR_split_{split}", kind) for kind in ("questions", "answers", "images")),
             *(_path(root, "all", kind) for kind in ("questions", "answers"))]  # fmt: skip
    missing = next((path for path in names[:2] if not path.is_file()), None)
    if missing is not None:
        raise SceneError(f"{missing}: not found; give the folder of RSVQA-LR that holds its split files")
    return _join_split(root, split, tuple(path.stat().st_mtime_ns if path.is_file() else None for path in names))


@lru_cache(maxsize=6)
def _join_split(root: Path, split: str, changed_ns: tuple[int | None, ...]) -> _Split:
    """Questions, answers and pictures of a split, joined once; `changed_ns` tells them from earlier versions."""
    stem = f"LR_split_{split}"
    answers = _by_id(_path(root, stem, "answers"), "answers")
    hidden = set()
    if _path(root, stem, "images").is_file():
        images = _by_id(_path(root, stem, "images"), "images")
        hidden = {number for number, image in images.items() if not image.get("active")}
    whole: dict[str, Mapping[Any, _Record]] = {}

    def text_of(record: _Record | None, number: object, kind: str, field: str) -> object:
        """A field of a record; where the split leaves it out, that of the `all` file."""
        found = None if record is None else record.get(field)
        path = _path(root, "all", kind)
        if found is None and path.is_file():
            if kind not in whole:
                whole[kind] = _by_id(path, kind)
            found = whole[kind].get(number, {}).get(field)
        return found

    asked: dict[str, list[GivenQuestion]] = {}
    skipped = Counter[str]()
    for number, record in _by_id(_path(root, stem, "questions"), "questions").items():
        if not record.get("active"):
            continue
        image, text, kind = (text_of(record, number, "questions", field) for field in ("img_id", "question", "type"))
        numbers = text_of(record, number, "questions", "answers_ids")
        first = next((n for n in numbers if isinstance(n, int | str)), None) if isinstance(numbers, list) else None
        answer = text_of(answers.get(first), first, "answers", "answer")
        if image is None or not text:
            skipped["question without text or picture"] += 1
        elif image in hidden:
            skipped["question about an inactive picture"] += 1
        elif answer is None:
            skipped["question without an answer"] += 1
        else:
            said = str(answer)
            said = range_of(int(said)) if kind == "count" and said.isdecimal() else said
            asked.setdefault(str(image), []).append(GivenQuestion(kind=str(kind), text=str(text), answer=said))
    return _Split(questions={key: tuple(questions) for key, questions in asked.items()}, skipped=dict(skipped))


def _by_id(path: Path, kind: str) -> dict[Any, _Record]:
    """The records of a file by their ids, in its order."""
    try:
        records = json.loads(path.read_bytes())[kind]
        return {record["id"]: record for record in records}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SceneError(f"{path}: not of the form {{{kind!r}: [{{'id': ...}}]}} ({error!r}); fetch it again") from None
