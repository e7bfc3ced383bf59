"""`terrascope ablate`: what it prints, and how it ends."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from terrascope.bench.statistics import Interval
from terrascope.cli import app
from terrascope.training.ablations import ablate as ablating
from terrascope.training.ablations.compare import Order
from terrascope.training.ablations.report import Failure
from terrascope.training.ablations.runs import Setup


def call(*words: str) -> Any:
    return CliRunner().invoke(app, ["ablate", *words])


class Made:
    """Stands for the making of a table: keeps the setup, and finds what it is told."""

    def __init__(self, *, num_rows: int = 1, is_whole: bool = False) -> None:
        macro = Interval(mean=0.5, low=0.25, high=0.75, num=8)
        self.rows = [SimpleNamespace(name="mask", macro=macro)] * num_rows
        self.is_whole = is_whole
        self.setup: Setup | None = None

    def __call__(self, name: str, setup: Setup, **how: Any) -> Any:
        self.setup = setup
        failures = () if self.is_whole else (Failure(what="training box", seed=1, reason="memory ran out"),)
        return SimpleNamespace(
            rows=self.rows,
            failures=failures,
            order=Order(num_same=2, num_reversed=1, num_open=0),
            name=name,
            has_few_places=False,
        )


def test_what_is_typed_is_the_setup_and_what_was_found_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = Made()
    monkeypatch.setattr(ablating, "ablate", made)
    result = call(
        "2", "--data", "store", "--read", "floods=DIR", "--start", "tiny", "--out", str(tmp_path), "--seeds", "2",
        "--steps", "5", "--questions", "9", "--set", "batch_size=4", "--set", "seed=3", "--choice", "nearest",
    )  # fmt: skip
    # One training has failed.
    assert result.exit_code == 1
    assert made.setup == Setup(
        store=Path("store"), roots={"floods": "DIR"}, start="tiny", out=tmp_path, num_seeds=2, steps=5,
        num_questions=9, overrides=["batch_size=4", "seed=3"], choice="nearest",
    )  # fmt: skip
    assert "mask: 50.0 % (25.0 to 75.0)" in result.output
    assert "the paper's order is reproduced: no" in result.output
    assert "failed: training box, seed 1: memory ran out" in result.output
    assert str(tmp_path / "tables" / "2" / "table.md") in result.output


def test_without_a_single_judged_run_it_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ablating, "ablate", Made(num_rows=0, is_whole=True))
    assert call("2", "--data", "store", "--out", str(tmp_path)).exit_code == 1


def test_with_every_run_judged_it_ends_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = Made(is_whole=True)
    monkeypatch.setattr(ablating, "ablate", made)
    assert call("2", "--data", "store", "--out", str(tmp_path)).exit_code == 0
    assert made.setup is not None and made.setup.num_seeds == 3


def test_the_list_needs_nothing_else() -> None:
    result = call("--list")
    assert result.exit_code == 0
    assert "K: Optical and SAR: what is encoded, and what is fed back (Table K)" in result.output
    assert "costs 18 trainings" in result.output
    for words in (("--list", "--seeds", "2"), ("--seeds", "2", "--list")):
        assert "costs 12 trainings and 12 times optical and SAR pairs, with 2 seeds" in call(*words).output


def test_an_unknown_table_and_a_missing_data_set_are_told(tmp_path: Path) -> None:
    unknown = call("Z", "--data", "x", "--out", str(tmp_path))
    assert (unknown.exit_code, "there is no table 'Z'; choose one of 1, 2, 3" in unknown.output) == (2, True)
    missing = call("2", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out"))
    assert missing.exit_code == 2
    assert f"{tmp_path / 'none'}" in missing.output.replace("\n", "")
