"""A data set checked: what is whole passes, and whatever is tampered with is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stripes import WATER, make_chip, open_tools, recipe, water_question
from terrascope import masks
from terrascope.errors import SampleError
from terrascope.sample import Sample, SampleMask, arrow_schema
from terrascope.terracot.build import build
from terrascope.terracot.record import to_sample
from terrascope.terracot.validate import check_sample, validate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "data"
    build(recipe(), path, open_tools=open_tools)
    return path


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "data"))


def water_sample(finding: str | None = None, **changes: object) -> Sample:
    """Of chip 4: 8 of 24 columns are water, but for one pixel of crops."""
    chip = make_chip(4)
    question = water_question(chip, "area", "How much?", "x")
    if finding is not None:
        (step,) = question.trace.steps
        question = replace(question, trace=replace(question.trace, steps=(replace(step, finding=finding),)))
    return replace(to_sample(chip, question, level="L1", number=1), **changes)


def test_what_was_built_passes(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    found = validate(folder, lambda done, total: told.append((done, total)))
    assert found.problems == ()
    assert found.num_samples == told[-1][0] == told[-1][1] > 50
    assert found.num_masks >= found.num_samples


@pytest.mark.parametrize(
    "finding",
    [
        None,
        "It covers 33% of the image.",
        "It covers 16,000 m2.",
        "It is one area.",
        "It covers 33% of the image, which is 1.6 ha.",
    ],
)
def test_true_numbers_pass(finding: str | None) -> None:
    assert check_sample(water_sample(finding)) == []


@pytest.mark.parametrize(
    ("finding", "sentence"),
    [
        ("It covers 60% of the image.", "The text says 60 %, but the mask shows 33.1 %."),
        ("It covers 40,000 m2.", "The text says 40,000 m2, but the mask shows 15,9"),
        ("There are 3 separate areas.", "The text says 3, but the mask shows 1."),
        ("There is none.", "The text says 0 %, but the mask shows 33.1 %."),
    ],
)
def test_numbers_that_the_mask_contradicts_are_named(finding: str, sentence: str) -> None:
    (problem,) = check_sample(water_sample(finding))
    assert problem.startswith(f"sample stripes/4/L1/1: {sentence}")


def test_shares_are_shares_of_what_was_measured() -> None:
    sample = water_sample("It covers 50% of the image.")
    assert len(check_sample(sample)) == 1
    assert check_sample(sample, (319,)) == [], "159 pixels of water of 319 that were measured"


def test_distances_are_those_to_the_mask_before() -> None:
    chip = make_chip(4)
    water, crop = (chip.labels[0].ids == ids for ids in (WATER, 4))
    crop[:, :8] = False
    codes = [masks.encode_rle(mask)["counts"] for mask in (water, crop)]
    sample = water_sample(
        masks=tuple(SampleMask(counts=code, image=1, class_name="x") for code in codes),
        reasoning="<think>The water: [SEG] The crops: [SEG] They are {} apart.</think><answer>x</answer>",
    )
    assert np.flatnonzero(crop.any(axis=0))[0] == 18
    near, far = (replace(sample, reasoning=sample.reasoning.format(stated)) for stated in ("110 m", "300 m"))
    assert check_sample(near) == []
    assert check_sample(far) == ["sample stripes/4/L1/1: The text says 300 m, but the masks show 110 m."]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"masks": ()}, "1 [SEG]s but 0 masks; give one for each"),
        (
            {"masks": (SampleMask(counts="abc", image=1, class_name="x"),)},
            'the "counts" of a run-length mask do not fill its "size" of 20 x 24 pixels',
        ),
        (
            {"masks": (replace(water_sample().masks[0], image=2),)},
            "its masks lie on other images than its reasoning names",
        ),
        ({"options": ("a", "b")}, "its answer 'x' is none of its 2 options"),
        (
            {"options": ("a", "b"), "reasoning": "<think>A [SEG]</think><answer>B</answer>", "truth": "a"},
            "its answer 'B' is not 'a'",
        ),
    ],
)
def test_a_sample_at_odds_with_itself_is_named(changes: dict[str, object], problem: str) -> None:
    assert check_sample(water_sample(**changes)) == [f"sample stripes/4/L1/1: {problem}"]


def shard(path: Path) -> Path:
    return path / "train-00001-of-00003.parquet"


def cut_short(path: Path) -> None:
    shard(path).write_bytes(shard(path).read_bytes()[:-100])


def change_a_byte(path: Path) -> None:
    table = pq.read_table(shard(path))
    pq.write_table(table, shard(path), compression="snappy")


def drop_a_row(path: Path) -> None:
    pq.write_table(pq.read_table(shard(path))[1:], shard(path))


def add_a_file(path: Path) -> None:
    shutil.copy(shard(path), path / "more.parquet")


def repeat_a_sample(path: Path) -> None:
    rows = pq.read_table(shard(path)).to_pylist()
    rows[3] = rows[2]
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema()), shard(path))


@pytest.mark.parametrize(
    ("tamper", "problems"),
    [
        (cut_short, ["train-00001-of-00003.parquet: not a whole Parquet file"]),
        (change_a_byte, ["train-00001-of-00003.parquet: its checksum is not that of the manifest"]),
        (drop_a_row, ["train-00001-of-00003.parquet: {} samples, but the manifest says"]),
        (add_a_file, ["more.parquet: not in the manifest; remove it"]),
        (repeat_a_sample, ["train-00001-of-00003.parquet: its checksum", "there are two of this id"]),
    ],
)
def test_files_that_are_not_those_of_the_manifest_are_named(
    copied: Path, tamper: Callable[[Path], None], problems: list[str]
) -> None:
    listed = json.loads((copied / "manifest.json").read_text())["shards"][1]["rows"]
    tamper(copied)
    found = validate(copied)
    assert len(found.problems) == len(problems)
    for problem, expected in zip(found.problems, problems, strict=True):
        assert expected.format(listed - 1) in problem and "\n" not in problem
    assert found.num_samples > 30, "the other shards are checked all the same"


def test_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"manifest\.json: not found; give the folder of a data set"):
        validate(tmp_path)
