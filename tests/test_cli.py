"""The command line: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from terrascope import cli
from terrascope.command_options import files_of
from terrascope.errors import ModelError
from tests.oracle import Oracle, make_scene, write_picture

SHARE = "What percentage of the image is water?"


class LoadedOracle:
    """Stands where the model stands, so that the command line is tested without weights."""

    stated_percent = 10.0
    num_loaded = 0

    @classmethod
    def from_pretrained(cls, name: str, **loading: object) -> Oracle:
        cls.num_loaded += 1
        if name != "nano":
            raise ModelError(f"unknown model {name!r}: give nano, a folder, or a repository of the hub")
        return Oracle(cls.stated_percent)


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> type[LoadedOracle]:
    stand_in = types.ModuleType("terrascope.model")
    stand_in.TerraScope = LoadedOracle  # type: ignore[attr-defined]
    stand_in.GenerationSettings = types.SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "terrascope.model", stand_in)
    monkeypatch.setattr(LoadedOracle, "stated_percent", 10.0)
    monkeypatch.setattr(LoadedOracle, "num_loaded", 0)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    return LoadedOracle


@pytest.fixture
def picture(tmp_path: Path) -> str:
    folder = tmp_path / "in"
    folder.mkdir()
    return str(write_picture(folder / "scene.png"))


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_ask_prints_every_step_and_the_answer(picture: str) -> None:
    code, out, err = invoke(
        "ask", SHARE, "--optical", picture, "--gsd", "10", "--choice", "A. 5%", "--choice", "B. 10%"
    )
    assert (code, err) == (0, "")
    lines = [line.strip() for line in out.splitlines() if line.strip()]
    assert lines == [
        SHARE,
        "A. 5%",
        "B. 10%",
        "50 x 40 pixels, optical (rgb), 1 date, scale: stated: 10 m",
        "1. The water:",
        "image 1 · coverage 10.0 % · area 2 ha · 1 object · northwestern part · "
        "9 tokens (7 optical, 2 SAR) · confidence 0.75",
        "It covers 10% of the image.",
        "2. The trees:",
        "image 1 · coverage 12.5 % · area 2.5 ha · 1 object · southeastern part · 190 m from step before · "
        "9 tokens (7 optical, 2 SAR) · confidence 0.75",
        "They cover 12.5% of the image.",
        "So the answer is B.",
        "Answer: B. 10%",
    ]


def test_without_a_scale_there_is_no_area(picture: str) -> None:
    _, out, _ = invoke("ask", SHARE, "--optical", picture)
    assert "no ground scale" in out
    assert "coverage 10.0 % · 1 object" in out


def test_a_disagreement_cannot_be_overlooked(picture: str, model: type[LoadedOracle]) -> None:
    model.stated_percent = 30.0
    code, out, _ = invoke("ask", SHARE, "--optical", picture)
    assert code == 0
    assert "! The text says 30 %, but the mask shows 10 %." in out
    assert "Warning: 1 stated number(s) disagree with their mask." in out


def test_json_is_all_that_stands_on_standard_output(picture: str, tmp_path: Path) -> None:
    out_folder = tmp_path / "out"
    code, out, err = invoke(
        "ask", SHARE, "--optical", picture, "--date", "2024-05-01", "--json", "--out", str(out_folder)
    )
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["answer"] == "10%"
    assert told["scene"]["images"][0]["date"] == "2024-05-01"
    assert told["scene"]["images"][0]["optical"]["source"] == picture
    assert [step["coverage_percent"] for step in told["steps"]] == [10.0, 12.5]
    assert told == json.loads((out_folder / "answer.json").read_text(encoding="utf-8"))


def test_out_is_named_file_by_file(picture: str, tmp_path: Path) -> None:
    out_folder = tmp_path / "out"
    code, out, _ = invoke("segment", "water", "--optical", picture, "--out", str(out_folder))
    assert code == 0
    for name in ("answer.json", "overlay.png", "masks.tif", "masks.geojson"):
        assert str(out_folder / name) in out
        assert (out_folder / name).stat().st_size > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_bands_may_be_listed_with_commas(tmp_path: Path) -> None:
    assert files_of("B02.tif,B03.tif, B04.tif") == ["B02.tif", "B03.tif", "B04.tif"]
    odd = tmp_path / "a,b.png"
    write_picture(odd)
    assert files_of(str(odd)) == str(odd)
    assert invoke("ask", SHARE, "--optical", str(odd))[0] == 0


def test_demo_asks_a_generated_scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from terrascope.sources import synthetic

    monkeypatch.setattr(synthetic, "demo_scene", lambda: make_scene(gsd_m=10), raising=False)
    code, out, _ = invoke("demo", "--out", str(tmp_path / "demo"))
    assert code == 0
    assert cli.DEMO_QUESTION in out
    assert str(tmp_path / "demo" / "overlay.png") in out


def test_version() -> None:
    assert invoke("--version") == (0, f"terrascope {cli.__version__}\n", "")


BAD = [
    (["ask", SHARE], "no image was given; name one with --optical FILE or --sar FILE"),
    (["ask", SHARE, "--optical", "missing.tif"], "missing.tif: no such file"),
    (["ask", "  ", "--optical", "PICTURE"], "the question is empty"),
    (["ask", "How far is the water from the trees?", "--optical", "PICTURE"], "give --gsd METRES"),
    (["ask", SHARE, "--optical", "PICTURE", "--gsd", "-3"], "--gsd must be a positive number of metres"),
    (["ask", SHARE, "--optical", "PICTURE", "--gsd", "nan"], "--gsd must be a positive number of metres"),
    (["ask", SHARE, "--optical", "PICTURE", "--choice", "A. 10%"], "2 to 5 options, but 1"),
    (["ask", SHARE, "--optical", "PICTURE", "--date", "yesterday"], "write it as YYYY-MM-DD"),
    (["ask", SHARE, "--optical", "PICTURE", "--sensor", "hubble"], "hubble"),
    (["ask", SHARE, "--optical", "TEXT"], "cannot be read as an image"),
    (["ask", SHARE, "--optical", "PICTURE", "--model", "giant"], "unknown model 'giant'"),
    (["ask", SHARE, "--optical", "PICTURE", "--out", "TEXT"], "a file stands where the output folder should be"),
    (["segment", "unicorn", "--optical", "PICTURE"], "unknown class 'unicorn'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input_is_one_sentence_and_code_2(
    arguments: list[str], message: str, picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = tmp_path / "in" / "notes.txt"
    text.write_text("no image")
    code, out, err = invoke(*({"PICTURE": picture, "TEXT": str(text)}.get(a, a) for a in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_what_can_be_refused_early_is_refused_before_the_model_is_loaded(
    picture: str, model: type[LoadedOracle]
) -> None:
    invoke("ask", "What is the area of the water?", "--optical", picture)
    invoke("ask", SHARE, "--optical", picture, "--out", picture)
    assert model.num_loaded == 0


@pytest.mark.parametrize(
    "arguments", [["ask"], ["ask", SHARE, "--colour", "x"], ["ask", SHARE, "--gsd", "ten"], ["fly"]]
)
def test_wrong_usage_is_code_2(arguments: list[str]) -> None:
    code, out, err = invoke(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--help"], 0), (["--version"], 0), (["ask", "x", "--optical", "missing.tif"], 2), (["fly"], 2)],
)
def test_exit_codes_of_the_program(arguments: list[str], code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "terrascope", *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
