"""DisasterM3: lists of the exact fields, with known pictures before and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from terrascope.bench.external import open_external
from terrascope.errors import SceneError
from tests.bench.external.made_pictures import color_of, save


def record(number: int, **values: Any) -> dict[str, Any]:
    return {
        "task": "building_damage_counting",
        "prompts": "How many buildings were destroyed?",
        "options_str": "A. 0 B. 3 C. 12 D. 40 E. 90",
        "ground_truth_option": "C",
        "pre_image_path": f"test_images\\{number}_pre.png",
        "post_image_path": f"test_images\\{number}_post.png",
        "post_image_type": "Optical",
    } | values


def write(root: Path, *records: Any) -> Path:
    (root / "data").mkdir(exist_ok=True)
    (root / "data" / "benchmark_release.json").write_text(json.dumps(records))
    for number, each in enumerate(records):
        if isinstance(each, dict):
            save(root / "test_images" / f"{number}_pre.png", (number, 10, 20))
            save(root / "test_images" / f"{number}_post.png", (number, 99, 99))
    return root


def test_two_dates_of_optical_images(tmp_path: Path) -> None:
    benchmark = open_external("disasterm3", write(tmp_path, record(0), record(1)))
    shown = benchmark.item(1)
    assert shown.sample.options == ("0", "3", "12", "40", "90")
    assert (shown.sample.answer, shown.sample.truth, shown.sample.task) == ("C", "12", "building_damage_counting")
    assert [image.file for image in shown.sample.images] == ["test_images/1_pre.png", "test_images/1_post.png"]
    assert shown.sample.num_dates == 2 and shown.shown == "optical"
    assert [color_of(pair.optical) for pair in shown.scene.pairs] == [(1, 10, 20), (1, 99, 99)]


def test_a_sar_image_afterwards_is_the_other_half_of_a_pair(tmp_path: Path) -> None:
    root = write(tmp_path, record(0, post_image_type="SAR"))
    save(root / "test_images" / "0_post.png", (77, 77, 77))
    shown = open_external("disasterm3", root).item(0)
    (pair,) = shown.scene.pairs
    assert shown.shown == "both" and shown.sample.num_dates == 1
    assert color_of(pair.optical) == (0, 10, 20) and color_of(pair.sar) == (77,)
    assert (pair.sar.sensor, pair.sar.bands) == ("sar-8bit", ("backscatter",))
    assert shown.scene.notes == ("The optical image was taken before the disaster, the SAR image after it.",)


def test_the_file_and_the_folder_above_it_are_the_same(tmp_path: Path) -> None:
    root = write(tmp_path, record(0))
    by_file = open_external("disasterm3", root / "data" / "benchmark_release.json")
    assert by_file.samples == open_external("disasterm3", root).samples
    assert color_of(by_file.item(0).scene.pairs[1].optical) == (0, 99, 99)


def test_forms_of_options_and_prompts(tmp_path: Path) -> None:
    benchmark = open_external(
        "disasterm3",
        write(
            tmp_path,
            record(0, options_str="A. none\nB. some", ground_truth_option="B. some"),
            record(1, options_str="", options_list=["x", "y"], ground_truth_option="a"),
            record(2, options_str=None, prompts=["Which?\nA. u\nB. v"], ground_truth_option="B"),
            record(3, options_str={"A": "p", "B": "q"}, ground_truth_option="q"),
        ),
    )
    assert [sample.options for sample in benchmark.samples] == [("none", "some"), ("x", "y"), ("u", "v"), ("p", "q")]
    assert [sample.truth for sample in benchmark.samples] == ["some", "x", "v", "q"]
    assert benchmark.samples[2].question == "Which?"


def test_what_cannot_be_asked_is_counted(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        record(0),
        record(1, options_str="", ground_truth_option=""),
        record(2, options_str="A. 1 B. 1", ground_truth_option="A"),
        record(3, ground_truth_option="F"),
        record(4),
        {"task": "x"},
        "text",
        record(7, prompts=""),
        record(8, post_image_path=None),
    )
    (root / "test_images" / "4_post.png").unlink()
    benchmark = open_external("disasterm3", root)
    assert [sample.id for sample in benchmark.samples] == ["disasterm3/0"]
    assert benchmark.skipped == {
        "options missing": 1, "an option given twice": 1, "an answer outside the options": 1, "missing image": 2,
        "fields missing": 2, "question missing": 1,
    }  # fmt: skip


def test_images_of_two_sizes_are_an_error_of_their_item(tmp_path: Path) -> None:
    root = write(tmp_path, record(0))
    save(root / "test_images" / "0_post.png", (1, 1, 1), (8, 8))
    with pytest.raises(SceneError, match="must share one grid"):
        open_external("disasterm3", root).item(0)
