"""TEOChatlas: records of its form with known regions, days and questions."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from terrascope.errors import SceneError
from terrascope.sources.chips import ChipError
from terrascope.sources.teochat import REGION_CHANGE, TeoChat

FIRST, SECOND = "QFabric/100.d1.01012012_0_256.png", "QFabric/100.d2.05062015_0_256.png"
XBD = ("xBD/socal-fire_00000123_pre_disaster_4.png", "xBD/socal-fire_00000123_post_disaster_4.png")
WKT = "POLYGON ((16 32, 96 32, 96 64, 16 64, 16 32), (20 40, 40 40, 40 50, 20 50, 20 40))"


def record(video: Any, *turns: str, task: str = REGION_CHANGE, **more: Any) -> dict[str, Any]:
    speakers = ("human", "gpt")
    conversations = [{"from": speakers[number % 2], "value": turn} for number, turn in enumerate(turns)]
    return {"video": video, "conversations": conversations, "task": task, "timestamp": [], **more}


RECORDS = [
    record([SECOND, FIRST], "<video>\nDescribe the changes.", "Houses.", task="captioning"),
    record(
        [SECOND, FIRST],
        "These are satellite images of one place at two times: <video>\nWhat was built in [6, 12, 37, 25]?",
        "Residential",
        timestamp=["2015-06-05", "2012-01-01"],
        polygon=WKT,
    ),
    record(list(XBD), "<video>Is [25, 50, 75, 100] destroyed?", "Yes.", "And the rest?", "No."),
    record([SECOND, FIRST], "<video>\nWas it a road?", "No.", timestamp=["2015-06-05", "2012-01-01"]),
    record(list(XBD), "<video>", "No question."),
    {"task": REGION_CHANGE},
]


def write(root: Path, records: Any, file: str = "train/instruct.json") -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(records))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, RECORDS)
    for folder, names in (("train", (FIRST, SECOND)), (".", XBD)):
        for number, name in enumerate(names):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((256, 256, 3), 50 + number, np.uint8)).save(path)
    return tmp_path


def test_records_about_the_same_images_are_one_chip_with_all_their_questions(root: Path) -> None:
    index = TeoChat(root).index("train")
    # In order of days the images of record 1 are others than those of record 0, which states none.
    assert index.entries == (("1", "QFabric/100"), ("2", "xBD/socal-fire_00000123"))
    assert index.skipped == {"no question with an answer": 1, "record of another form": 1}
    first, second = (TeoChat(root).read(entry.key) for entry in index.entries)
    assert [(q.text, q.answer) for q in first.questions] == [
        ("What was built in [6, 12, 37, 25]?", "Residential"), ("Was it a road?", "No."),
    ]  # fmt: skip
    assert [(q.text, q.answer) for q in second.questions] == [
        ("Is [25, 50, 75, 100] destroyed?", "Yes."), ("And the rest?", "No."),
    ]  # fmt: skip
    assert {q.kind for chip in (first, second) for q in chip.questions} == {REGION_CHANGE}
    assert (first.source, first.split, first.labels, first.captions) == ("teochat", "train", (), ())


def test_images_are_in_the_order_of_their_days(root: Path) -> None:
    chip = TeoChat(root).read("1")
    assert chip.scene.dates == (datetime.date(2012, 1, 1), datetime.date(2015, 6, 5))
    assert [int(o.band("red")[0, 0]) for o in chip.scene.observations] == [50, 51]
    assert TeoChat(root).read("2").scene.dates == (None, None)
    assert chip.labelled.pixel_size is None and chip.lonlat is None


def test_a_region_is_the_polygon_with_its_holes_or_the_box_of_the_text(root: Path) -> None:
    by_polygon, without = (question.polygon for question in TeoChat(root).read("1").questions)
    assert without is None and by_polygon is not None and len(by_polygon) == 2
    np.testing.assert_array_equal(by_polygon[0], [(16, 32), (96, 32), (96, 64), (16, 64), (16, 32)])
    np.testing.assert_array_equal(by_polygon[1], [(20, 40), (40, 40), (40, 50), (20, 50), (20, 40)])
    box = TeoChat(root).read("2").questions[0].polygon
    assert box is not None
    np.testing.assert_array_equal(box[0], [(64, 128), (192, 128), (192, 256), (64, 256), (64, 128)])


def test_regions_follow_the_size_of_the_image(root: Path) -> None:
    for name in (FIRST, SECOND):
        path = root / "train" / name
        Image.open(path).resize((512, 128)).save(path)
    polygon = TeoChat(root).read("1").questions[0].polygon
    assert polygon is not None
    np.testing.assert_array_equal(polygon[0], [(32, 16), (192, 16), (192, 32), (32, 32), (32, 16)])


def test_tasks_are_chosen_and_do_not_change_the_keys(root: Path) -> None:
    captions = TeoChat(root, ("captioning",))
    assert captions.index("train").entries == (("0", "QFabric/100"),)
    assert captions.read("0").questions[0].answer == "Houses."
    assert [entry.key for entry in TeoChat(root, "all").index("train").entries] == ["0", "1", "2"]
    assert TeoChat(root, f"captioning, {REGION_CHANGE}") == TeoChat(root, ("captioning", REGION_CHANGE))
    with pytest.raises(SceneError, match=f"no record of localization; its tasks are captioning, {REGION_CHANGE}"):
        TeoChat(root, "localization").index("train")


def test_the_file_tells_the_split(root: Path) -> None:
    assert TeoChat(root).index("test").entries == () == TeoChat(root).index("val").entries
    write(root, RECORDS[2:3], "eval/xBD_SRE_QA_RQA.json")
    evaluation = TeoChat(root, records="eval/xBD_SRE_QA_RQA.json")
    assert [entry.key for entry in evaluation.index("test").entries] == ["0"]
    assert evaluation.read("0").split == "test" and evaluation.index("train").entries == ()


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("xBD/palu-tsunami_00000009_post_disaster_11.png", "xBD/palu-tsunami_00000009"),
        ("QFabric/31.d4.02032018_512_1024.tif", "QFabric/31"),
        ("airport_5/airport_5_3_rgb_2.jpg", "airport_5/airport_5"),
        ("S2Looking/123_7.png", "S2Looking/123"),
        ("lonely.png", "lonely"),
    ],
)
def test_crops_and_dates_of_one_image_are_one_place(tmp_path: Path, name: str, place: str) -> None:
    write(tmp_path, [record([name], "<video>What?", "That.")])
    assert TeoChat(tmp_path).index("train").entries == (("0", place),)


def test_images_lie_where_the_folder_option_says(root: Path) -> None:
    (root / "pictures").mkdir()
    (root / "train" / "QFabric").rename(root / "pictures" / "QFabric")
    with pytest.raises(ChipError, match="no such image") as caught:
        TeoChat(root).read("1")
    assert caught.value.reason == "missing image"
    assert len(TeoChat(root, images="pictures").read("1").scene.pairs) == 2


def test_what_cannot_be_used_has_a_reason(root: Path) -> None:
    write(root, [record([FIRST, XBD[0]], "<video>a", "b"), record([FIRST], "<video>a", "b", polygon="POLYGON ((")])
    Image.fromarray(np.zeros((100, 256, 3), np.uint8)).save(root / XBD[0])
    for key, sentence, reason in (
        ("0", "must share one grid", "images of no one grid"), ("1", "record 1: unreadable polygon", "bad region"),
        ("7", "no sequence 7", "unknown chip"),
    ):  # fmt: skip
        with pytest.raises(ChipError, match=sentence) as caught:
            TeoChat(root).read(key)
        assert caught.value.reason == reason


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"instruct\.json: not found; give the folder that holds train/instruct\.json"):
        TeoChat(tmp_path).index("train")
    for content, sentence in (("{", "not readable as JSON"), ('{"a": 1}', "not a list of records")):
        write(tmp_path, [])
        (tmp_path / "train" / "instruct.json").write_text(content)
        with pytest.raises(SceneError, match=sentence):
            TeoChat(tmp_path).index("train")
