"""The authors' JSON: records of every layout, ours and not ours, and what is wrong with others."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from terrascope import masks
from terrascope.errors import SampleError, SceneError
from terrascope.rasters.overlay import to_bytes
from terrascope.rasters.sensors import render
from terrascope.sources import records
from terrascope.sources.chips import ChipError
from terrascope.sources.records import read_records, split_prompt
from terrascope.sources.terracot_json import TerraCotJson, read_samples
from terrascope.terracot.export import export
from tests.terracot.made_samples import HEIGHT, TREE, WATER, WIDTH, make_chip, of_dates, reader

NOTHING = np.zeros((HEIGHT, WIDTH), bool)


def rle(mask: np.ndarray) -> dict[str, Any]:
    return masks.encode_rle(mask)


def conversation(question: str, reply: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": reply}]


RECORD: dict[str, Any] = {
    "image": "a.png",
    "conversations": conversation(
        "<image>\nIs the water larger than the trees?\nA. Yes\nB. No",
        "<think>The water [SEG]<REGION> is as large as the forest [SEG].</think><answer>B</answer>",
    ),
    "masks": [[rle(WATER)], [rle(TREE)]],
}


def write(folder: Path, *content: Any, name: str = "a.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(list(content)), encoding="utf-8")
    return path


def write_image(path: Path, color: tuple[int, int, int] | int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(color, int) else "RGB", size, color).save(path)


def faults_of(folder: Path, record: Any, images: Path | None = None) -> dict[str, int]:
    faults: Counter[str] = Counter()
    assert list(read_samples(write(folder, record), images=images, faults=faults)) == []
    return dict(faults)


def test_a_record_of_theirs_becomes_a_sample(tmp_path: Path) -> None:
    (sample,) = read_samples(write(tmp_path, RECORD))
    assert sample.question == "Is the water larger than the trees?" and sample.options == ("Yes", "No")
    assert sample.reasoning == ("<think>The water [SEG] is as large as the forest [SEG].</think><answer>B</answer>")
    assert (sample.answer, sample.truth, sample.level, sample.source) == ("B", "No", "L1", "terracot")
    assert [mask.class_name for mask in sample.masks] == ["water", "tree"]
    np.testing.assert_array_equal(sample.mask(0), WATER)
    np.testing.assert_array_equal(sample.mask(1), TREE)
    assert (sample.id, sample.key, sample.place, sample.split) == ("a-0", "a.png", "a.png", "train")
    assert [(image.number, image.modality, image.file) for image in sample.images] == [(1, "optical", "a.png")]


def test_several_parts_of_an_object_are_one_mask(tmp_path: Path) -> None:
    record = RECORD | {"masks": [[rle(WATER), rle(TREE), rle(WATER)], rle(TREE)]}
    (sample,) = read_samples(write(tmp_path, record))
    np.testing.assert_array_equal(sample.mask(0), WATER | TREE)
    np.testing.assert_array_equal(sample.mask(1), TREE)


def test_labels_of_the_record_are_the_classes(tmp_path: Path) -> None:
    (sample,) = read_samples(write(tmp_path, RECORD | {"labels": ["sea", "orchard"], "id": 7, "task_type": "ranking"}))
    assert [mask.class_name for mask in sample.masks] == ["sea", "orchard"]
    assert (sample.id, sample.task) == ("7", "ranking")


def test_each_turn_is_a_sample_with_its_own_masks(tmp_path: Path) -> None:
    turns = conversation("<image>\nPlease segment the water.", "<answer>[SEG]</answer>")
    turns += conversation("And a snow field?", "No")
    turns += conversation("Trees?", "<think>Here: [SEG]</think><answer>Yes</answer>")
    one, two, three = read_samples(write(tmp_path, RECORD | {"conversations": turns}))
    assert [one.id, two.id, three.id] == ["a-0-0", "a-0-1", "a-0-2"]
    assert (one.level, two.reasoning, two.truth) == ("referring", "<think></think><answer>No</answer>", "No")
    assert (len(one.masks), len(two.masks), len(three.masks)) == (1, 0, 1)
    np.testing.assert_array_equal(one.mask(0), WATER)
    np.testing.assert_array_equal(three.mask(0), TREE)


def test_of_two_dates_the_mask_of_the_named_image_is_taken(tmp_path: Path) -> None:
    thought = "Water: Image: 2 [SEG] grew. Trees: [SEG] too. Snow: Image: 1 [SEG]"
    record = {
        "pre_image": "a.png",
        "post_image": "b.png",
        "conversations": conversation("<image>\nWhat?", f"<think>{thought}</think><answer>It grew</answer>"),
        "masks": [[rle(m)] for m in (NOTHING, WATER, TREE, WATER, TREE, NOTHING)],
    }
    (sample,) = read_samples(write(tmp_path, record))
    assert [mask.image for mask in sample.masks] == [2, 2, 1]
    for place, expected in enumerate((WATER, TREE, TREE)):
        np.testing.assert_array_equal(sample.mask(place), expected)
    assert sample.num_dates == 2 and sample.key == "a.png|b.png"


def test_of_two_dates_the_date_that_is_not_empty_is_meant_where_none_is_named(tmp_path: Path) -> None:
    record = {
        "pre_image": "a.png",
        "post_image": "b.png",
        "conversations": conversation("<image>\nWhat?", "<think>Here [SEG] and [SEG]</think><answer>x</answer>"),
        "masks": [[rle(m)] for m in (NOTHING, WATER, TREE, TREE)],
    }
    (sample,) = read_samples(write(tmp_path, record))
    assert [mask.image for mask in sample.masks] == [2, 1]
    np.testing.assert_array_equal(sample.mask(0), TREE)
    np.testing.assert_array_equal(sample.mask(1), WATER)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"masks": [[rle(WATER)]]}, "fewer masks than [SEG]s"),
        ({"masks": None}, "fewer masks than [SEG]s"),
        ({"masks": [[rle(WATER)]] * 3}, "more masks than [SEG]s"),
        ({"masks": [[rle(WATER)], [{"size": [HEIGHT, WIDTH], "counts": "1"}]]}, "mask does not decode"),
        ({"masks": [[rle(WATER)], [{"counts": "1"}]]}, "mask does not decode"),
        ({"masks": [[rle(WATER)], [rle(WATER[:5])]]}, "mask of another size"),
        ({"masks": [[rle(WATER), rle(WATER[:5])], [rle(WATER)]]}, "mask of another size"),
        ({"masks": "none"}, "not a sample"),
        ({"image": None}, "no image named"),
        ({"image": []}, "no image named"),
        ({"conversations": []}, "not a sample"),
        ({"conversations": conversation("a", "b")[:1]}, "not a sample"),
        ({"conversations": [{"from": "gpt", "value": "a"}] * 2}, "not a sample"),
        ({"conversations": "hello"}, "not a sample"),
        ({"terrascope": "x"}, "not a sample"),
        ({"terrascope": {"masks": [[1, "a"], [1, "b"]], "height": HEIGHT}}, "not a sample"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_record_is_counted(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    assert faults_of(tmp_path, RECORD | change) == {reason: 1}


@pytest.mark.parametrize("record", [1, "text", None, {}, {"a": 1}])
def test_what_is_no_record_is_counted(tmp_path: Path, record: Any) -> None:
    assert faults_of(tmp_path, record) == {"not a sample": 1}


def test_images_are_looked_for_and_measured_where_their_folder_is_named(tmp_path: Path) -> None:
    assert faults_of(tmp_path, RECORD, images=tmp_path) == {"missing image": 1}
    assert faults_of(tmp_path, RECORD | {"image": "../a.png"}, images=tmp_path) == {"image outside of the folder": 1}
    assert faults_of(tmp_path, RECORD | {"image": "/etc/hosts"}, images=tmp_path) == {"image outside of the folder": 1}
    write_image(tmp_path / "a.png", (1, 2, 3), size=(WIDTH + 1, HEIGHT))
    assert faults_of(tmp_path, RECORD, images=tmp_path) == {"mask of another size": 1}
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert faults_of(tmp_path, RECORD, images=tmp_path) == {"unreadable image": 1}
    write_image(tmp_path / "images" / "b.png", (1, 2, 3))
    assert len(list(read_samples(write(tmp_path, RECORD | {"image": "b.png"}), images=tmp_path))) == 1
    assert faults_of(tmp_path, {"image": "b.png", "conversations": conversation("Snow?", "No")}) == {"size unknown": 1}
    alone = {"image": "b.png", "conversations": conversation("<image>\nSnow?", "No")}
    (sample,) = read_samples(write(tmp_path, alone), images=tmp_path)
    assert (sample.height, sample.width, sample.masks) == (HEIGHT, WIDTH, ())


def test_good_records_between_bad_ones_are_kept_in_order(tmp_path: Path) -> None:
    faults: Counter[str] = Counter()
    found = read_samples(write(tmp_path, RECORD, {}, RECORD | {"id": "x"}, {}), faults=faults)
    assert [sample.id for sample in found] == ["a-0", "x"]
    assert faults == {"not a sample": 2}


@pytest.mark.parametrize(
    ("prompt", "question", "options"),
    [
        ("<image>\nWhat?", "What?", ()),
        ("What?\n<image>", "What?", ()),
        ("What <image>is it?", "What is it?", ()),
        ("<image>\nWhat?\nA. one\nB. two", "What?", ("one", "two")),
        ("<image>\nWhat?\n(A) one\n(B) two\n(C) three", "What?", ("one", "two", "three")),
        ("What?\nB. one\nC. two", "What?\nB. one\nC. two", ()),
        ("What?\nA. one", "What?\nA. one", ()),
        ("Image: 1 2020-01-02 optical <image>\nImage: 2 sar <image>\nWhat?", "What?", ()),
        (
            "A conversation between User and Assistant. The user asks, <think> reasoning process with [SEG] "
            "</think><answer> answer here </answer>.<image>\nWhat?",
            "What?",
            (),
        ),
    ],
)
def test_a_prompt_is_split_into_question_and_options(prompt: str, question: str, options: tuple[str, ...]) -> None:
    assert split_prompt(prompt) == (question, options)


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
def test_records_are_read_piece_by_piece_with_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(records, "_READ_AT_ONCE", at_once)
    content = [{"a": 'ü€ [] {"', "b": [1, {}]}, {}, 12, {"c": None}]
    as_list = json.dumps(content, ensure_ascii=False, indent=1).encode()
    as_lines = "\n".join(json.dumps(one, ensure_ascii=False) for one in content).encode()
    for data in (as_list, as_lines + b"\n", as_lines):
        path = tmp_path / "a"
        path.write_bytes(data)
        found = list(read_records(path))
        assert [one.record for one in found] == content
        assert [json.loads(data[one.start : one.stop]) for one in found] == content
    (tmp_path / "empty").write_text("[]")
    assert list(read_records(tmp_path / "empty")) == []


@pytest.mark.parametrize("cut", [b'[{"a": 1}, {"a"', b'[{"a": 1}, ', b'[{"a": 1}', b'{"a": 1}\n{"a": 1'])
def test_a_file_that_is_cut_off_gives_what_it_has_and_is_named(tmp_path: Path, cut: bytes) -> None:
    path = tmp_path / "cut.json"
    path.write_bytes(cut)
    found = read_records(path)
    assert next(found).record == {"a": 1}
    with pytest.raises(SampleError, match=r"cut\.json: not JSON from byte \d+ on"):
        list(found)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"missing\.json: cannot be read"):
        list(read_samples(tmp_path / "missing.json"))
    (tmp_path / "latin.json").write_bytes(b'[{"a": "\xff"}]')
    with pytest.raises(SampleError, match=r"latin\.json: not text in UTF-8"):
        list(read_samples(tmp_path / "latin.json"))
    with pytest.raises(SceneError, match="no JSON file of conversations"):
        TerraCotJson(tmp_path / "nowhere").index("train")


def test_the_source_lists_images_once_and_reads_them_with_their_questions(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", (1, 2, 3))
    caption = " ".join(["word"] * 30)
    described = {"image": "a.png", "conversations": conversation("<image>\nDescribe the image.", caption)}
    write(tmp_path, RECORD, {"image": "b.png"} | {"conversations": RECORD["conversations"]}, {}, name="one.json")
    write(tmp_path, described, name="two.json")
    source = TerraCotJson(tmp_path)
    index = source.index("train")
    assert [(entry.key, entry.place) for entry in index.entries] == [("a.png", "a.png"), ("b.png", "b.png")]
    assert index.skipped == {"not a sample": 1} and source.index("val").entries == ()
    chip = source.read("a.png")
    assert [(q.kind, q.text, q.answer) for q in chip.questions] == [
        ("L1", "Is the water larger than the trees?", "No"),
        ("caption", "Describe the image.", caption),
    ]
    assert chip.captions == (caption,) and chip.labels == () and chip.lonlat is None and chip.origins == ()
    np.testing.assert_array_equal(to_bytes(render(chip.scene.observations[0]))[0, 0], [1, 2, 3])
    np.testing.assert_array_equal(source.samples("a.png")[0].mask(0), WATER)
    for key, reason in (("b.png", "missing image"), ("c.png", "unknown chip")):
        with pytest.raises(ChipError) as raised:
            source.read(key)
        assert raised.value.reason == reason


def test_their_sar_layout_is_a_pair_in_decibels(tmp_path: Path) -> None:
    write_image(tmp_path / "s2_images" / "a.png", (9, 8, 7))
    write_image(tmp_path / "s1_images" / "vv" / "a.png", 51)
    write_image(tmp_path / "s1_images" / "vh" / "a.png", 102)
    write(tmp_path, RECORD)
    source = TerraCotJson(tmp_path)
    (pair,) = source.read("a.png").scene.pairs
    assert pair.optical is not None and pair.sar is not None
    np.testing.assert_allclose(pair.sar.band("VV"), -20.0, rtol=1e-6)
    np.testing.assert_allclose(pair.sar.band("VH"), -32 + 27 * 102 / 255, rtol=1e-6)
    assert "-25 to 0 dB (VV) and -32 to -5 dB (VH)" in pair.sar.assumptions[0]
    assert [image.modality for image in source.samples("a.png")[0].images] == ["optical", "sar"]
    write_image(tmp_path / "s1_images" / "vh" / "a.png", 102, size=(3, 3))
    with pytest.raises(ChipError) as raised:
        TerraCotJson(tmp_path).read("a.png")
    assert raised.value.reason == "images do not fit together"


@pytest.mark.parametrize("kinds", [("optical",), ("sar",), ("optical", "sar")])
@pytest.mark.parametrize("num_dates", [1, 2, 3])
@pytest.mark.parametrize("file_format", ["internvl", "llava", "terrascope"])
def test_our_own_export_is_a_source_of_the_same_pictures(
    tmp_path: Path, file_format: Any, num_dates: int, kinds: tuple[str, ...]
) -> None:
    chip = make_chip(num_dates=num_dates, kinds=kinds)
    sample = replace(of_dates(num_dates, kinds), split="val", place="p", gsd_m=10.0)
    export([sample], tmp_path, form="grounded", file_format=file_format, read=reader({"a": chip}))
    source = TerraCotJson(tmp_path)
    ((key, place),) = source.index("val").entries
    assert place == "p" and source.index("train").entries == () and source.samples(key) == (sample,)
    back = source.read(key)
    assert (back.place, back.split, back.country, back.lonlat) == ("p", "val", "Austria", (12.5, -7.25))
    assert back.origins == ((sample.source, sample.key, "p"),)
    assert back.scene.dates == chip.scene.dates and back.scene.georeference.gsd_m == 10.0
    assert len(back.scene.pairs) == num_dates
    for ours, theirs in zip(chip.scene.observations, back.scene.observations, strict=True):
        assert ours.modality == theirs.modality
        np.testing.assert_array_equal(to_bytes(render(ours)), to_bytes(render(theirs)))
