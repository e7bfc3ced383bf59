"""Export: what other trainings read, how it comes back, and that nothing is half written."""

from __future__ import annotations

import json
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from terrascope import masks
from terrascope.errors import OutputError, SampleError
from terrascope.sample import Sample
from terrascope.sources.chips import Chip, ChipError, Origin
from terrascope.sources.record_scenes import read_scene
from terrascope.sources.terracot_json import TerraCotJson, read_samples
from terrascope.terracot.conversations import FORMATS, FORMS
from terrascope.terracot.export import export
from terrascope.terracot.pictures import name_images, picture_files
from terrascope.terracot.record import record_chip
from tests.terracot.made_samples import (
    HEIGHT,
    SAMPLE,
    TREE,
    WATER,
    WIDTH,
    make_chip,
    of_dates,
    reader,
    samples,
)

FILE = {"internvl": "{}-train.jsonl", "llava": "{}-train.json", "terrascope": "{}-train-single.json"}


def records(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    found = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
    assert isinstance(found, list)
    return found


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_date_of_one_scene_is_not_called_like_another_scene() -> None:
    dates = of_dates(2, ("optical",))
    both = of_dates(1, ("optical", "sar"))
    names = [*name_images(dates).dates, *name_images(dates).images, *name_images(both).images]
    assert name_images(dates).dates == ("made/a@1.png", "made/a@2.png")
    for key in ("a_1", "a_2", "a_1_optical", "a@1", "a@1_sar"):
        alone = name_images(replace(SAMPLE, key=key))
        assert {*alone.images, *alone.dates}.isdisjoint(names)


def test_plain_is_the_question_with_lettered_options_and_the_letter(tmp_path: Path) -> None:
    done = export([SAMPLE], tmp_path, form="plain", file_format="internvl", read=None)
    (record,) = records(tmp_path / "plain-train.jsonl")
    assert record == {
        "id": "made/a/L1/1",
        "image": "made/a.png",
        "width": WIDTH,
        "height": HEIGHT,
        "conversations": [
            {"from": "human", "value": "<image>\nWhich is larger, water or trees?\nA. tree\nB. water"},
            {"from": "gpt", "value": "B"},
        ],
    }
    assert (done.records, done.num_images, done.left_out) == ({"plain-train.jsonl": 1}, 0, {})


def test_thinking_keeps_the_tags_and_reads_well_without_seg(tmp_path: Path) -> None:
    export([of_dates(2)], tmp_path, form="thinking", file_format="llava", read=None)
    (record,) = records(tmp_path / "thinking-train.json")
    assert record["conversations"][1]["value"] == (
        "<think>The water in image 1: it covers 20% of the image. The tree in image 2: it covers 20% of the image. "
        "So the answer is B.</think><answer>B</answer>"
    )
    assert "masks" not in record and "terrascope" not in record


def test_several_images_stand_before_the_question_each_with_date_and_kind(tmp_path: Path) -> None:
    sample = of_dates(2, ("optical", "sar"))
    export([sample], tmp_path, form="plain", file_format="internvl", read=None)
    (record,) = records(tmp_path / "plain-train.jsonl")
    assert record["image"] == [f"made/a@{date}_{kind}.png" for date in (1, 2) for kind in ("optical", "sar")]
    assert record["width_list"] == [WIDTH] * 4 and record["height_list"] == [HEIGHT] * 4
    assert record["conversations"][0]["value"].splitlines()[:4] == [
        "Image: 1 2023-05-01 optical <image>",
        "Image: 1 2023-05-01 sar <image>",
        "Image: 2 2023-05-02 optical <image>",
        "Image: 2 2023-05-02 sar <image>",
    ]


def test_the_table_of_internvl_leads_to_text_and_images(tmp_path: Path) -> None:
    export([SAMPLE, SAMPLE], tmp_path, form="plain", file_format="internvl", read=reader({"a": make_chip()}))
    (table,) = json.loads((tmp_path / "plain-train_meta.json").read_text()).values()
    (first, second) = records(Path(table["annotation"]))
    assert table["length"] == 2 and table["repeat_time"] == 1
    assert (Path(table["root"]) / first["image"]).is_file() and first == second


def test_the_authors_temporal_layout_has_the_first_date_s_masks_first(tmp_path: Path) -> None:
    export([of_dates(2)], tmp_path, form="grounded", file_format="terrascope", read=None)
    (record,) = records(tmp_path / "grounded-train-temporal.json")
    assert (record["pre_image"], record["post_image"]) == ("made/a@1.png", "made/a@2.png")
    assert record["conversations"][0]["value"].count("<image>") == 1
    decoded = [masks.decode_rle(part) for (part,) in record["masks"]]
    nothing = np.zeros((HEIGHT, WIDTH), bool)
    for found, expected in zip(decoded, (WATER, nothing, nothing, TREE), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_authors_sar_layout_has_a_gray_picture_for_each_polarisation(tmp_path: Path) -> None:
    kinds = ("optical", "sar")
    done = export(
        [of_dates(1, kinds)],
        tmp_path,
        form="grounded",
        file_format="terrascope",
        read=reader({"a": make_chip(kinds=kinds)}),
    )
    (record,) = records(tmp_path / "grounded-train-sar.json")
    assert record["image"] == "made/a.png" and done.num_images == 3
    assert (pixels(tmp_path / "s1_images/vv/made/a.png") == 51).all()
    assert (pixels(tmp_path / "s1_images/vh/made/a.png") == 102).all()
    assert pixels(tmp_path / "s1_images/vv/made/a.png").shape == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(pixels(tmp_path / "s2_images/made/a.png")[3, 7], [10, 3, 7])


def test_pictures_are_the_scene_in_8_bits_and_sar_is_vh_vv_mean(tmp_path: Path) -> None:
    chip = make_chip(num_dates=2, kinds=("optical", "sar"))
    sample = of_dates(2, ("optical", "sar"))
    done = export([sample], tmp_path, form="plain", file_format="llava", read=reader({"a": chip}))
    assert done.num_images == 4
    second = pixels(tmp_path / "images" / "made" / "a@2_optical.png")
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    np.testing.assert_array_equal(second, np.dstack([np.full_like(rows, 20), rows, columns]))
    radar = pixels(tmp_path / "images" / "made" / "a@1_sar.png")
    assert {tuple(pixel) for pixel in radar.reshape(-1, 3).tolist()} in ({(102, 51, 76)}, {(102, 51, 77)})


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("num_dates", [1, 2])
def test_what_shows_the_optical_or_the_sar_image_alone_has_its_own_pictures(
    file_format: Any, num_dates: int, tmp_path: Path
) -> None:
    versions = [of_dates(num_dates, kinds) for kinds in (("sar",), ("optical",), ("optical", "sar"))]
    versions = [replace(sample, id=f"q/{number}") for number, sample in enumerate(versions)]
    chip = make_chip(num_dates=num_dates, kinds=("optical", "sar"))
    export(versions, tmp_path, form="grounded", file_format=file_format, read=reader({"a": chip}))
    files = [picture_files(sample, file_format, tmp_path) for sample in versions]
    shown: dict[Path, Any] = {}
    for path, what in (pair for of_sample in files for pair in of_sample.items()):
        assert shown.setdefault(path, what) == what, path
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for path, (date, modality, channel) in shown.items():
        if modality == "optical":
            np.testing.assert_array_equal(pixels(path), np.dstack([np.full_like(rows, 10 * date), rows, columns]))
        elif channel is None:
            assert (pixels(path)[..., :2] == (102, 51)).all(), "VH and VV"
        else:
            assert (pixels(path) == (51, 102)[channel]).all()
    assert files[0].keys().isdisjoint(files[1])
    scenes = {
        sample.id: read_scene(tmp_path, list(found.images if file_format != "terrascope" else found.dates), sample)
        for sample in versions
        for found in (name_images(sample),)
    }
    told = {name: {(pair.optical is not None, pair.sar is not None) for pair in s.pairs} for name, s in scenes.items()}
    assert told == {"q/0": {(False, True)}, "q/1": {(True, False)}, "q/2": {(True, True)}}
    assert {len(scene.pairs) for scene in scenes.values()} == {num_dates}


def test_a_scene_is_read_once_and_an_export_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    calls: list[str] = []
    chips = {key: make_chip(key=key) for key in "abc"}
    many = [replace(SAMPLE, key=key, id=f"{key}{number}") for key in "abc" for number in range(3)]
    seen: list[int] = []

    def cut_off() -> Iterator[Sample]:
        yield from many[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(cut_off(), tmp_path, form="plain", file_format="llava", read=reader(chips, calls))
    assert not list(tmp_path.glob("*.json")) and calls == ["a", "b"]
    done = export(many, tmp_path, form="plain", file_format="llava", read=reader(chips, calls), progress=seen.append)
    assert calls == ["a", "b", "c"] and done.num_images == 1 and seen == list(range(1, 10))
    assert [record["id"] for record in records(tmp_path / "plain-train.json")] == [sample.id for sample in many]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "plain-train.json"]


def test_what_cannot_be_exported_is_counted_by_reason(tmp_path: Path) -> None:
    tries: list[str] = []

    def read(source: str, key: str) -> Chip:
        tries.append(key)
        if key == "broken":
            raise ChipError("broken.tif: damaged", reason="unreadable image")
        return make_chip(key=key)

    given_samples = [
        replace(SAMPLE, key="broken"),
        replace(SAMPLE, key="broken"),
        replace(SAMPLE, level="referring"),
        replace(SAMPLE, height=HEIGHT + 1, key="other"),
        replace(SAMPLE, images=of_dates(2).images, key="short"),
        SAMPLE,
    ]
    done = export(given_samples, tmp_path, form="plain", file_format="llava", read=read)
    assert done.left_out == {
        "unreadable image": 2,
        "no answer in words": 1,
        "scene of another size": 1,
        "scene without that image": 1,
    }
    assert tries.count("broken") == 1 and done.records == {"plain-train.json": 1}


def test_referring_samples_are_grounded_only(tmp_path: Path) -> None:
    sample = replace(SAMPLE, level="referring", options=())
    done = export([sample], tmp_path, form="grounded", file_format="llava", read=None)
    assert done.records == {"grounded-train.json": 1} and done.left_out == {}


def test_each_split_has_its_file_and_old_files_of_the_form_go(tmp_path: Path) -> None:
    export([replace(SAMPLE, split=s) for s in ("train", "val")], tmp_path, form="plain", file_format="llava", read=None)
    assert {path.name for path in tmp_path.iterdir()} == {"plain-train.json", "plain-val.json"}
    export([SAMPLE], tmp_path, form="thinking", file_format="llava", read=None)
    export([SAMPLE], tmp_path, form="plain", file_format="llava", read=None)
    assert {path.name for path in tmp_path.iterdir()} == {"plain-train.json", "thinking-train.json"}


def test_wrong_words_and_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"no export 'naked' as 'llava': choose of plain, thinking, grounded"):
        export([SAMPLE], tmp_path, form="naked", file_format="llava", read=None)  # type: ignore[arg-type]
    with pytest.raises(SampleError, match=r"sample made/a/L1/1: split 'all'"):
        export([replace(SAMPLE, split="all")], tmp_path, form="plain", file_format="llava", read=None)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where the output folder should be"):
        export([SAMPLE], tmp_path / "file", form="plain", file_format="llava", read=None)


def test_names_of_pictures_are_safe_and_differ_where_keys_do(tmp_path: Path) -> None:
    keys = ["a/b", "a b", "../../etc", "é", "x" * 300, "x" * 301, "a", ".", "A|B", "a_sar"]
    names = [name_images(replace(SAMPLE, key=key)).images[0] for key in keys]
    of_sar = [name_images(replace(of_dates(1, ("sar",)), key=key)).images[0] for key in keys]
    assert len({*names, *of_sar}) == 2 * len(keys)
    for name in names:
        folder, _, file = name.partition("/")
        assert folder == "made" and "/" not in file and file.isascii() and len(file) < 130 and not file.startswith(".")
    assert names[6] == "made/a.png"


@settings(max_examples=60, deadline=None)
@given(st.lists(samples(), max_size=4), st.sampled_from(FORMATS))
def test_grounded_export_and_import_is_the_identity(given_samples: list[Sample], file_format: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = export(given_samples, Path(folder), form="grounded", file_format=file_format, read=None)
        faults: Counter[str] = Counter()
        found = [sample for name in done.records for sample in read_samples(Path(folder) / name, faults=faults)]
    assert not faults and not done.left_out

    def in_files(sample: Sample) -> str:
        return repr(sample)

    assert sorted(found, key=in_files) == sorted(given_samples, key=in_files)


@settings(max_examples=60, deadline=None)
@given(samples(), st.sampled_from(FORMATS), st.sampled_from(["plain", "thinking"]))
def test_no_special_token_is_left_in_the_other_forms(sample: Sample, file_format: Any, form: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = export([sample], Path(folder), form=form, file_format=file_format, read=None)
        texts = [
            turn["value"]
            for name in done.records
            for record in records(Path(folder) / name)
            for turn in record["conversations"]
        ]
    allowed = ("<think>", "</think>", "<answer>", "</answer>") if form == "thinking" else ()
    for text in texts:
        assert "[SEG]" not in text and "<REGION>" not in text
        for tag in ("<think>", "</think>", "<answer>", "</answer>"):
            assert text.count(tag) == (tag in allowed and text is texts[-1])


@pytest.mark.parametrize("name", ["terracot", "again"])
@pytest.mark.parametrize("file_format", FORMATS)
def test_an_export_that_is_exported_again_keeps_all_that_its_scenes_were(
    tmp_path: Path, file_format: Any, name: str
) -> None:
    sample, chip = replace(SAMPLE, place="p"), make_chip()
    expected: list[Origin] = []
    for number in range(4):
        export(
            [sample],
            folder := tmp_path / str(number),
            form="grounded",
            file_format=file_format,
            read=lambda source, key, chip=chip: chip,
            origins={(sample.source, sample.key): expected},
        )
        source = TerraCotJson(folder, name)
        ((key, _),) = source.index("train").entries
        chip, expected = source.read(key), [Origin(sample.source, sample.key, "p"), *expected]
        assert source.samples(key) == (sample,) and list(chip.origins) == expected
        assert record_chip(chip).places[-1] == ("made", "p")
        sample = replace(sample, source=name, key=key)
    assert len(set(expected)) == 4 and expected[-1] == ("made", "a", "p")


def test_origins_that_are_none_are_no_sample(tmp_path: Path) -> None:
    origins = {("made", "a"): [Origin("first", "k", "p")]}
    export([SAMPLE], tmp_path, form="grounded", file_format="llava", read=None, origins=origins)
    path = tmp_path / "grounded-train.json"
    (record,) = records(path)
    assert record["terrascope"]["origins"] == [["first", "k", "p"]]
    for damaged in (7, [7], [["first", "k"]], [["first", "k", 7]]):
        record["terrascope"]["origins"] = damaged
        path.write_text(json.dumps([record]))
        faults: Counter[str] = Counter()
        assert list(read_samples(path, faults=faults)) == [] and faults == {"not a sample": 1}
    export([SAMPLE], tmp_path, form="plain", file_format="llava", read=None, origins=origins)
    assert "terrascope" not in records(tmp_path / "plain-train.json")[0]


def test_samples_are_not_held_once_they_are_written(tmp_path: Path) -> None:
    held: list[weakref.ref[Sample]] = []
    most = 0

    def many() -> Iterator[Sample]:
        nonlocal most
        for number in range(200):
            most = max(most, sum(one() is not None for one in held))
            sample = replace(SAMPLE, id=str(number))
            held.append(weakref.ref(sample))
            yield sample

    export(many(), tmp_path, form="grounded", file_format="llava", read=None)
    # The generator's own, and the one that the loop over it still names.
    assert most <= 2
    assert sum(1 for _ in read_samples(tmp_path / "grounded-train.json")) == 200


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("file_format", FORMATS)
def test_every_form_in_every_format_is_json_that_names_its_images(tmp_path: Path, form: Any, file_format: Any) -> None:
    done = export([SAMPLE], tmp_path, form=form, file_format=file_format, read=reader({"a": make_chip()}))
    (record,) = records(tmp_path / FILE[file_format].format(form))
    assert done.num_images == 1 and (tmp_path / "images" / record["image"]).is_file()
    assert [turn["from"] for turn in record["conversations"]] == ["human", "gpt"]
    assert ("masks" in record) == (form == "grounded")
