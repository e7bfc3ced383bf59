"""RSVQA-LR: a tree of the exact layout with known questions, answers and pictures."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from terrascope.errors import SceneError
from terrascope.sources.chips import ChipError
from terrascope.sources.rsvqa import RsvqaLr, range_of

# Number, picture, kind, text, answer, split.
QUESTIONS: tuple[tuple[int, int, str, str, str, str], ...] = (
    (0, 7, "presence", "Is there a road?", "yes", "train"),
    (1, 7, "count", "What is the number of buildings?", "0", "train"),
    (2, 3, "rural_urban", "Is it a rural or an urban area", "rural", "train"),
    (3, 5, "comp", "Are there more roads than water areas?", "no", "val"),
    (4, 7, "count", "How many roads are there?", "134", "train"),
    (5, 9, "count", "How many buildings are there?", "10", "test"),
    (6, 9, "count", "How many water areas are there?", "11", "test"),
)


def question(number: int, **values: Any) -> dict[str, Any]:
    _, image, kind, text, _, _ = QUESTIONS[number]
    return {"id": number, "date_added": 1.5, "img_id": image, "people_id": 0, "type": kind, "question": text,
            "answers_ids": [100 + number], "active": True} | values  # fmt: skip


def answer(number: int, **values: Any) -> dict[str, Any]:
    said = QUESTIONS[number][4]
    return {"id": 100 + number, "date_added": 1.5, "question_id": number, "people_id": 0, "answer": said,
            "active": True} | values  # fmt: skip


def save(root: Path, name: str, kind: str, records: list[dict[str, Any]]) -> None:
    (root / f"{name}_{kind}.json").write_text(json.dumps({kind: records}))


def write_picture(path: Path, size: int = 256) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = np.stack([np.full((size, size), int(path.stem) * 10 + band, np.uint8) for band in range(3)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", count=3, height=size, width=size, dtype="uint8") as target:
            target.write(layers)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Every file of a split lists all records, and of those of other splits only the number, as the data set does."""
    pictures = sorted({image for _, image, *_ in QUESTIONS})
    for split in ("train", "val", "test"):
        mine = [record[-1] == split for record in QUESTIONS]
        blank = [{"id": number, "active": False} for number in range(len(QUESTIONS))]
        save(
            tmp_path, f"LR_split_{split}", "questions", [question(n) if own else blank[n] for n, own in enumerate(mine)]
        )
        save(
            tmp_path, f"LR_split_{split}", "answers",
            [answer(n) if own else {"id": 100 + n, "active": False} for n, own in enumerate(mine)],
        )  # fmt: skip
        images = {image for (_, image, *_), own in zip(QUESTIONS, mine, strict=True) if own}
        save(tmp_path, f"LR_split_{split}", "images", [{"id": n, "active": n in images} for n in pictures])
    save(tmp_path, "all", "questions", [question(n) for n in range(len(QUESTIONS))])
    save(tmp_path, "all", "answers", [answer(n) for n in range(len(QUESTIONS))])
    for number in pictures:
        write_picture(tmp_path / "Images_LR" / f"{number}.tif")
    return tmp_path


def test_pictures_come_in_the_order_of_the_split_files_with_what_is_active(root: Path) -> None:
    source = RsvqaLr(root)
    assert [(entry.key, entry.place) for entry in source.index("train").entries] == [("7", "7"), ("3", "3")]
    assert [entry.key for entry in source.index("val").entries] == ["5"]
    assert [entry.key for entry in source.index("test").entries] == ["9"]
    assert source.index("train").skipped == {}


def test_a_picture_with_its_questions(root: Path) -> None:
    chip = RsvqaLr(root).read("7")
    said = [(given.kind, given.text, given.answer) for given in chip.questions]
    assert said == [
        ("presence", "Is there a road?", "yes"),
        ("count", "What is the number of buildings?", "0"),
        ("count", "How many roads are there?", "between 101 and 1000"),
    ]
    assert all(given.polygon is None for given in chip.questions)
    assert (chip.source, chip.key, chip.place, chip.split) == ("rsvqa-lr", "7", "7", "train")
    assert chip.labels == () and chip.captions == () and chip.country == "Netherlands"
    (image,) = chip.scene.observations
    assert (image.sensor, image.bands, image.shape) == ("rgb", ("red", "green", "blue"), (256, 256))
    for band, value in zip(image.bands, (70, 71, 72), strict=True):
        assert (image.band(band) == value).all()
    assert chip.scene.georeference.pixel_size(256, 256).basis == "stated: 10 m" and chip.lonlat is None


def test_counts_are_said_in_the_ranges_of_the_benchmark(root: Path) -> None:
    assert [given.answer for given in RsvqaLr(root).read("9").questions] == ["between 1 and 10", "between 11 and 100"]
    ranges = {0: "0", 1: "between 1 and 10", 10: "between 1 and 10", 11: "between 11 and 100",
              100: "between 11 and 100", 101: "between 101 and 1000", 1000: "between 101 and 1000",
              1001: "more than 1000", 10**6: "more than 1000"}  # fmt: skip
    assert {count: range_of(count) for count in ranges} == ranges
    assert RsvqaLr(root).read("3").questions[0].answer == "rural"


def test_an_answer_in_numbers_of_another_kind_of_question_stays(root: Path) -> None:
    save(root, "LR_split_val", "answers", [answer(3, answer="12")])
    assert RsvqaLr(root).read("5").questions[0].answer == "12"


def test_texts_that_a_split_leaves_out_are_those_of_all(root: Path) -> None:
    expected = RsvqaLr(root).read("7").questions
    save(root, "LR_split_train", "questions", [{"id": n, "active": True} for n in (0, 1, 2, 4)])
    save(root, "LR_split_train", "answers", [{"id": 100 + n, "active": True} for n in (0, 1, 2, 4)])
    assert RsvqaLr(root).read("7").questions == expected
    assert [entry.key for entry in RsvqaLr(root).index("train").entries] == ["7", "3"]


def test_records_are_found_by_their_numbers_not_their_places(root: Path) -> None:
    expected = RsvqaLr(root).read("7").questions
    save(root, "LR_split_train", "answers", [answer(n) for n in (4, 2, 1, 0)])
    assert RsvqaLr(root).read("7").questions == expected


def test_questions_that_cannot_be_used_are_counted(root: Path) -> None:
    records = [
        question(0),
        question(1, answers_ids=[999]),
        question(2, answers_ids=[]),
        question(4, question=""),
        question(5, active=False),
        question(6),
    ]
    save(root, "LR_split_train", "questions", records)
    index = RsvqaLr(root).index("train")
    assert [entry.key for entry in index.entries] == ["7"], "picture 3 has lost its only question"
    assert index.skipped == {
        "question without an answer": 2, "question without text or picture": 1, "question about an inactive picture": 1,
    }  # fmt: skip
    assert [given.text for given in RsvqaLr(root).read("7").questions] == ["Is there a road?"]


def test_without_the_file_of_pictures_all_count(root: Path) -> None:
    (root / "LR_split_train_images.json").unlink()
    save(root, "LR_split_train", "questions", [question(0), question(6)])
    assert [entry.key for entry in RsvqaLr(root).index("train").entries] == ["7", "9"]


def test_a_split_alone_is_enough(root: Path) -> None:
    for path in [*root.glob("LR_split_val*"), *root.glob("LR_split_test*"), *root.glob("all_*")]:
        path.unlink()
    assert RsvqaLr(root).read("3").split == "train"
    with pytest.raises(SceneError, match=r"LR_split_val_questions\.json: not found; give the folder of RSVQA-LR"):
        RsvqaLr(root).index("val")


def test_pictures_that_cannot_be_read(root: Path) -> None:
    (root / "Images_LR" / "7.tif").unlink()
    (root / "Images_LR" / "3.tif").write_bytes((root / "Images_LR" / "5.tif").read_bytes()[:5000])
    for key, reason in (("7", "missing image"), ("3", "unreadable image"), ("8", "unknown chip")):
        with pytest.raises(ChipError) as caught:
            RsvqaLr(root).read(key)
        assert caught.value.reason == reason
    assert RsvqaLr(root).read("5").split == "val"


def test_files_of_another_form(root: Path) -> None:
    path = root / "LR_split_train_questions.json"
    for text in ("{", "[]", '{"questions": [{"active": true}]}', '{"questions": 3}', '{"answers": []}'):
        path.write_text(text)
        with pytest.raises(SceneError, match=r"LR_split_train_questions\.json: not of the form"):
            RsvqaLr(root).index("train")
    with pytest.raises(SceneError, match="no split 'validation'; choose one of train, val, test"):
        RsvqaLr(root).index("validation")
