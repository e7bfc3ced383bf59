"""Opening a benchmark of others: one sentence for whatever is wrong with what was named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from terrascope.bench.external import EXTERNAL, open_external
from terrascope.errors import SampleError, TerraScopeError


@pytest.mark.parametrize(
    ("kind", "path", "images", "says"),
    [
        ("geobench", ".", None, "unknown benchmark 'geobench'; choose one of terrascope-bench, landsat30-au, "),
        ("landsat30-au", "nowhere.csv", None, "nowhere.csv: does not exist; give the CSV file of Landsat30-AU"),
        ("landsat30-au", ".", "nowhere", "nowhere: no such folder; give the one that holds the images of landsat30-au"),
        ("terrascope-bench", ".", None, "holds no Parquet file; give TerraScope_bench.parquet or its folder"),
        ("disasterm3", ".", None, "holds no data/benchmark_release.json; give that file of DisasterM3"),
        ("earthmind-bench", ".", None, "holds no JSON file; give the questions of EarthMind-Bench"),
        ("rsvqa-lr", ".", ".", "the pictures of rsvqa-lr lie in its own folder; leave the folder of images out"),
        ("bigearthnet", ".", ".", "the images of bigearthnet lie in its own folder; leave the folder of images out"),
        ("rsvqa-lr", ".", None, "not found; give the folder of RSVQA-LR that holds its split files"),
        ("bigearthnet", ".", None, "not found; give the folder of BigEarthNet v2 that holds metadata.parquet"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_sentence(
    kind: str, path: str, images: str | None, says: str, tmp_path: Path
) -> None:
    with pytest.raises(TerraScopeError, match=re.escape(says)) as raised:
        open_external(kind, tmp_path / path, None if images is None else tmp_path / images)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", list(EXTERNAL))
def test_a_damaged_file_of_any_kind_is_no_traceback(kind: str, tmp_path: Path) -> None:
    for name in ("metadata.parquet", "benchmark_release.json", "x.parquet", "LR_split_test_questions.json",
                 "LR_split_test_answers.json"):  # fmt: skip
        (tmp_path / name).write_bytes(b"PAR1\x00\xff{")
    path = tmp_path / "x.parquet" if kind == "landsat30-au" else tmp_path
    with pytest.raises(TerraScopeError):
        open_external(kind, path)


def test_a_file_of_which_nothing_can_be_asked_is_refused_with_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps([{"file_name": "a"}, 7]))
    with pytest.raises(SampleError, match=r"holds no question that can be asked \(fields missing: 2\)"):
        open_external("earthmind-bench", tmp_path / "x.json")
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(SampleError, match=r"\(it is empty\)"):
        open_external("earthmind-bench", tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(SampleError, match="not a JSON list"):
        open_external("earthmind-bench", tmp_path / "x.json")
