"""`terrascope batch`: options, what it prints, how it ends, and how it is stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import geopandas
import pytest
from typer.testing import CliRunner

from terrascope import cli
from terrascope.errors import ModelError
from tests.batch.made_manifests import HEADER, ROWS, WATER, write_manifest
from tests.oracle import Oracle

ROOT = Path(__file__).resolve().parents[1]


class LoadedOracle:
    """Stands where the model stands."""

    num_loaded = 0

    @classmethod
    def from_pretrained(cls, name: str, **loading: object) -> Oracle:
        cls.num_loaded += 1
        if name != "nano":
            raise ModelError(f"unknown model {name!r}: give nano, a folder, or a repository of the hub")
        return Oracle()


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> type[LoadedOracle]:
    stand_in = types.ModuleType("terrascope.model")
    stand_in.TerraScope = LoadedOracle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "terrascope.model", stand_in)
    monkeypatch.setattr(LoadedOracle, "num_loaded", 0)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    return LoadedOracle


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["batch", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_manifest_is_answered_and_gone_on_with(tmp_path: Path, model: type[LoadedOracle]) -> None:
    path, out = write_manifest(tmp_path / "in"), tmp_path / "out"
    code, printed, _ = invoke(path, "--out", out)
    assert code == 0
    assert printed.startswith(
        "5 questions about 4 scenes: 4 answered, 1 failed (1 image cannot be read; see failures.csv)"
    )
    assert printed.strip().endswith(str(out / "answers.parquet"))
    code, printed, _ = invoke(path, "--out", out)
    assert (code, model.num_loaded) == (0, 1)
    assert "0 asked now" in printed
    invoke(path, "--out", out, "--again")
    assert model.num_loaded == 2


def test_questions_may_be_typed(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "in")
    path.write_text("optical\neast.tif\nwest.tif\n")
    code, printed, _ = invoke(path, "--out", tmp_path / "out", "--question", WATER, "--question", "Is there snow?")
    assert code == 0 and printed.startswith("4 questions about 2 scenes: 4 answered, none failed")
    answers = geopandas.read_parquet(tmp_path / "out" / "answers.parquet")
    assert answers["id"].tolist() == ["1-1", "1-2", "2-1", "2-2"]


def test_where_nothing_is_answered_the_code_is_1(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "in", (ROWS[2],))
    code, printed, error = invoke(path, "--out", tmp_path / "out")
    assert code == 1
    assert "0 answered, 1 failed" in printed
    assert "error: no question has an answer" in error


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "no scenes were given; name a manifest, or an archive with --stac URL"),
        (
            ["{manifest}", "--collection", "x"],
            "--collection is for scenes from an archive; give its address with --stac",
        ),
        (["{manifest}", "--limit", "3"], "--limit is for scenes from an archive"),
        (["{manifest}", "--stac", "https://a.example"], "scenes come from a manifest or from --stac"),
        (["--stac", "https://a.example", "--question", "x"], "give the collection to search with --collection"),
        (["--stac", "ftp://a", "--collection", "c"], "is no address"),
        (["{manifest}", "--question", "x"], "has a column question; leave out --question"),
        (["{manifest}", "--sensor", "nikon"], "unknown sensor 'nikon'"),
        (["{manifest}", "--model", "nanoo"], "unknown model 'nanoo'"),
        (["missing.csv"], "missing.csv: no such file"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, options: list[str], reason: str) -> None:
    manifest = write_manifest(tmp_path / "in")
    arguments = [option.format(manifest=manifest) for option in options]
    code, printed, error = invoke(*arguments, "--out", tmp_path / "out")
    assert (code, printed) == (2, "")
    assert reason in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "batch.json").exists()


def test_a_right_model_follows_a_wrong_one(tmp_path: Path) -> None:
    path, out = write_manifest(tmp_path / "in"), tmp_path / "out"
    assert invoke(path, "--out", out, "--model", "nanoo")[0] == 2
    assert invoke(path, "--out", out)[0] == 0
    assert "holds a batch of the model nano" in invoke(path, "--out", out, "--model", "other")[2]


def test_an_archive_is_searched(tmp_path: Path) -> None:
    pytest.importorskip("pystac_client")
    pytest.importorskip("odc.stac")
    from tests.batch.stac_server import BOX, sentinel_2, served

    (tmp_path / "served").mkdir()
    with served(tmp_path / "served") as archive:
        archive.add("one", sentinel_2())
        asked: list[Any] = ["--stac", archive.address, "--collection", "sentinel-2-l2a", "--question", WATER]
        asked += ["--bbox", ",".join(map(str, BOX)), "--datetime", "2024-05-01", "--out", tmp_path / "out"]
        code, printed, error = invoke(*asked)
        assert (code, error.strip()) == (0, "")
        assert printed.startswith("1 question about 1 scene: 1 answered")
        nothing = [*asked[:-3], "2020-01-01", "--out", tmp_path / "other"]
        code, _, error = invoke(*nothing)
        assert code == 2 and "finds no image of sentinel-2-l2a" in error
    answers = geopandas.read_parquet(tmp_path / "out" / "answers.parquet")
    assert answers.total_bounds.tolist() == pytest.approx(list(BOX), abs=2e-4)


STOPPED = """
import sys, types
from tests.batch.made_manifests import Slow
stand_in = types.ModuleType("terrascope.model")
stand_in.TerraScope = types.SimpleNamespace(from_pretrained=lambda **how: Slow(0.5))
sys.modules["terrascope.model"] = stand_in
from terrascope.cli import main
sys.argv = ["terrascope", "batch", sys.argv[1], "--out", sys.argv[2]]
main()
"""


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    rows = [f"q{number},east.tif,{WATER},,x" for number in range(40)]
    path, out = write_manifest(tmp_path / "in", rows), tmp_path / "out"
    assert path.read_text().startswith(HEADER)
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(path), str(out)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if (out / "journal.jsonl").exists() and (out / "journal.jsonl").read_bytes().count(b"\n") >= 2:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 40 questions are done: give the same command to go on" in error
    assert error.strip().endswith("interrupted")
    assert "Traceback" not in error
