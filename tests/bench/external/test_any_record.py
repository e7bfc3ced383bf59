"""Whatever a record holds, a benchmark opens or says in one sentence that it cannot."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.bench.external import open_external
from terrascope.errors import TerraScopeError

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["A", "A. x B. y", "", "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ABCx"), inner, max_size=4),
    max_leaves=6,
)


def records(*fields: str) -> st.SearchStrategy[object]:
    whole = st.fixed_dictionaries(dict.fromkeys(fields, values))
    return st.lists(whole | values, max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


def try_to_open(kind: str, path: Path) -> None:
    with contextlib.suppress(TerraScopeError):
        benchmark = open_external(kind, path)
        assert all(sample.truth in sample.options for sample in benchmark.samples)
        assert all(2 <= len(set(sample.options)) <= 5 for sample in benchmark.samples)


@settings(deadline=None)  # the first one imports the reader
@given(records("file_name", "question", "candidate", "answer", "task_type"))
def test_earthmind_bench(folder: Path, found: object) -> None:
    (folder / "q.json").write_text(json.dumps(found))
    try_to_open("earthmind-bench", folder / "q.json")


@settings(deadline=None)  # the first one imports the reader
@given(records("task", "prompts", "options_str", "ground_truth_option", "pre_image_path", "post_image_path"))
def test_disasterm3(folder: Path, found: object) -> None:
    (folder / "d.json").write_text(json.dumps(found))
    try_to_open("disasterm3", folder / "d.json")


@settings(deadline=None)  # the first one imports the reader
@given(st.lists(st.tuples(values.map(json.dumps), st.sampled_from(["A", "B", "x", "", None])), min_size=1, max_size=4))
def test_terrascope_bench(folder: Path, found: list[tuple[str, str | None]]) -> None:
    rows = [
        {"image": b"x", "question": "What?", "candidates": given, "answer": answer, "task_type": "t"}
        for given, answer in found
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "t.parquet")
    try_to_open("terrascope-bench", folder / "t.parquet")


@settings(deadline=None)  # the first one imports the reader
@given(st.lists(st.tuples(values.map(repr), st.text(max_size=5)), max_size=4))
def test_landsat30_au(folder: Path, found: list[tuple[str, str]]) -> None:
    lines = ["image_path,question,question_type,options,answer"]
    lines += [f'a.png,What?,t,"{options}","{answer}"' for options, answer in found]
    (folder / "l.csv").write_text("\n".join(lines), encoding="utf-8")
    try_to_open("landsat30-au", folder / "l.csv")
