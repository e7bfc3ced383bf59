"""`terrascope bench`: what it builds, prints and refuses."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from endpoint import KEY, Scripted, served
from terrascope import bench_commands, data_commands
from terrascope.answer import Answer
from terrascope.bench.items import shown_of
from terrascope.bench.predictors import BASELINES, WRAPPERS
from terrascope.bench.store import open_bench
from terrascope.bench_commands import asking
from terrascope.errors import QuestionError
from terrascope.predictor import Predictor
from terrascope.scene import Scene
from terrascope.sources import generated
from terrascope.usage import end_command
from tests.bench.drawn_scenes import make_sample


class Commands(TyperGroup):
    """Ends commands as the program does."""

    def main(self, *args: Any, **options: Any) -> Any:
        options["standalone_mode"] = False
        return sys.exit(end_command(partial(super().main, *args, **options)))


app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)
app.add_typer(bench_commands.app, name="bench")


@app.callback()
def _program() -> None:
    """So that `bench` is a command beside others."""


def invoke(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["bench", *(str(argument) for argument in arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module", autouse=True)
def _drawn() -> Iterator[None]:
    """Generated scenes are the drawn ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generated, "make_sample", make_sample)
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine drawn scenes, three of them towns."""
    out = tmp_path_factory.mktemp("built") / "bench"
    code, _, err = invoke("build", "--source", "synthetic=9", "--out", out)
    assert (code, err) == (0, "")
    return out


@pytest.fixture(scope="module")
def runs(bench: Path) -> dict[str, Path]:
    """Runs of two baselines: one that knows the answers, and one that guesses."""
    folders = {name: bench.parent / name for name in ("oracle", "random")}
    for name, folder in folders.items():
        code, _, err = invoke("run", bench, "--model", name, "--out", folder)
        assert (code, err) == (0, "")
    return folders


def test_build_says_what_it_found_and_what_was_wanted(tmp_path: Path) -> None:
    out = tmp_path / "bench"
    code, printed, err = invoke(
        "build",
        "--source",
        "synthetic=12",
        "--quota",
        "coverage=5",
        "--quota",
        "distance=0",
        "--seed",
        "3",
        "--out",
        out,
    )
    assert (code, err) == (0, "")
    bench = open_bench(out)
    questions = [sample for sample in bench.samples if shown_of(sample) == "optical"]
    lines = printed.splitlines()
    assert lines[0] == (
        f"{out}: {len(questions)} questions about 12 places, {len(bench.samples)} with all versions, of 12 chips"
    )
    assert lines[1] == "coverage: 5" and not any(line.startswith("distance") for line in lines)
    assert "building_change: 4 of 288 wanted" in lines
    assert lines[-1] == f"sources: synthetic {len(bench.samples)}"


RECIPE = """
sources:
  - {name: towns, kind: synthetic, root: 4, tasks: [building_change]}
  - {name: fields, kind: ombria, root: nowhere}
split: val
quota: {coverage: 3, area: 2}
"""


def test_what_is_typed_overrules_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "bench.yaml"
    recipe.write_text(RECIPE)
    code, _, err = invoke("build", "--recipe", recipe, "--out", tmp_path / "out")
    assert code == 2 and err == (
        "error: nowhere: no such folder; for ombria, give a folder of Sentinel-1 and -2 before and after floods\n"
    )
    code, _, err = invoke(
        "build", "--recipe", recipe, "--read", f"fields={tmp_path / 'here'}", "--out", tmp_path / "out"
    )
    assert code == 2 and err.startswith(f"error: {tmp_path / 'here'}: no such folder")
    arguments = ("--source", "synthetic=9", "--quota", "area=1", "--shown", "sar", "--split", "test")
    code, printed, err = invoke("build", "--recipe", recipe, *arguments, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "coverage: 3" in printed.splitlines() and "area: 1" in printed.splitlines()
    bench = open_bench(tmp_path / "out")
    assert {shown_of(sample) for sample in bench.samples} == {"sar"}
    assert {sample.split for sample in bench.samples} == {"test"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "no data set was given; name one with --source NAME=DIR"),
        (("--source", "synthetic"), "--source synthetic: give the name of a data set and its folder, as NAME=DIR"),
        (("--source", "synthetic=3", "--quota", "area"), "--quota area: give a task and how many questions"),
        (("--source", "synthetic=3", "--quota", "size=2"), "the recipe: quota: no task size; choose among coverage"),
        (
            ("--source", "synthetic=3", "--shown", "radar"),
            "the recipe: shown.0: choose 'optical', 'sar' or 'both'",
        ),
        (("--source", "synthetic=3", "--read", "xbd"), "--read xbd: give the name of a source and its folder"),
        (("--source", "synthetic=3", "--read", "xbd=a"), "--read xbd: the recipe has no source of this name"),
        (("--source", "synthetic=3,size=x"), "synthetic: size is 'x'; give a whole number"),
        (("--recipe", "missing.yaml"), "missing.yaml: cannot be read (No such file or directory); give a recipe"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(arguments: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    code, out, err = invoke("build", *arguments, "--out", tmp_path / "bench")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_quota_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    recipe = tmp_path / "bench.yaml"
    recipe.write_text("sources: [{name: synthetic, root: 3}]\nquota: many\n")
    code, _, err = invoke("build", "--recipe", recipe, "--out", tmp_path / "bench")
    assert code == 2 and err.startswith(f"error: {recipe}: quota: ") and err.count("\n") == 1


def test_too_many_failed_chips_are_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from terrascope.sources.chips import Chip, ChipError
    from terrascope.sources.generated import FIRST_SEED, Generated

    read = Generated.read

    def fail(source: Generated, key: str) -> Chip:
        if int(key) < FIRST_SEED["test"] + 2:
            raise ChipError(f"{key}: broken", reason="unreadable label")
        return read(source, key)

    monkeypatch.setattr(Generated, "read", fail)
    code, out, err = invoke("build", "--source", "synthetic=8", "--out", tmp_path / "a")
    assert (code, err) == (1, "error: 2 of 8 chips failed, more than the 5 % that may\n")
    assert "failed chips: unreadable label 2" in out.splitlines()
    code, _, _ = invoke("build", "--source", "synthetic=8", "--max-failed", "0.3", "--out", tmp_path / "a")
    assert code == 0


def test_a_benchmark_is_counted_as_data_sets_are_and_has_no_card(tmp_path: Path) -> None:
    out = tmp_path / "bench"
    assert invoke("build", "--source", "synthetic=6", "--out", out)[0] == 0
    data = data_app()
    result = CliRunner().invoke(data, ["data", "stats", str(out), "--json"])
    assert result.exit_code == 0, result.stderr
    num = len(open_bench(out).samples)
    counted = json.loads(result.stdout)
    assert counted["levels"] == {"bench": num} and counted["tasks"]["bench/coverage"] > 0
    result = CliRunner().invoke(data, ["data", "stats", str(out), "--card"])
    assert result.exit_code == 2
    assert result.stderr == f"error: {out}: a benchmark has no card; leave --card out to count what is in it\n"


def test_a_run_goes_on_and_says_how_many_it_asked(bench: Path, tmp_path: Path) -> None:
    num = len(open_bench(bench).samples)
    arguments = ("run", bench, "--model", "box:oracle", "--out", tmp_path / "run", "--seed", "2")
    code, printed, err = invoke(*arguments, "--limit", "3")
    assert (code, err) == (0, "")
    assert printed.startswith("box:oracle on bench: 3 questions, 3 asked now, ") and printed.count("\n") == 1
    code, printed, _ = invoke(*arguments)
    assert code == 0 and printed.startswith(f"box:oracle on bench: {num} questions, {num - 3} asked now, ")
    assert len((tmp_path / "run" / "replies.jsonl").read_text().splitlines()) == num
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["benchmark"]["digest"] == open_bench(bench).digest and about["settings"] == {"seed": 2}
    code, _, err = invoke("run", bench, "--model", "random", "--out", tmp_path / "run")
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1


def test_a_model_is_loaded_as_it_was_typed(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[str, Any]] = []

    def load(name: str, answering: asking.Answering) -> Predictor:
        loaded.append((name, answering))
        return Shy()

    monkeypatch.setattr(asking, "_load_model", load)
    arguments = ("--model", "blank-sar:mine", "--dtype", "float16", "--profile", "release", "--limit", "2")
    code, printed, err = invoke("run", bench, "--out", tmp_path / "run", *arguments)
    assert (code, err) == (
        1,
        f"error: no question has an answer; mend what failed and start the same run again: {tmp_path / 'run'}\n",
    )
    ((name, answering),) = loaded
    assert (name, answering.dtype, answering.profile, answering.device) == ("mine", "float16", "release", "auto")
    assert "2 failed (2 question refused)" in printed and "; the last that failed: " in printed
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert settings == {"seed": 0, "dtype": "float16", "profile": "release"}


class Shy:
    """Refuses every question."""

    name = "shy"

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        raise QuestionError("not now")

    def segment(self, scene: Scene, class_name: str) -> Answer:
        raise QuestionError("not now")


def test_a_model_behind_an_endpoint_is_asked(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRASCOPE_LLM_KEY", KEY)
    with served(lambda _: Scripted(text="B")) as server:
        arguments = ("--model", "endpoint:gpt", "--endpoint", server.url, "--limit", "4", "--several", "side-by-side")
        code, printed, err = invoke("run", bench, "--out", tmp_path / "run", *arguments)
    assert (code, err) == (0, "")
    assert "4 questions, 4 asked now, 4 chose an option" in printed
    written = "".join(path.read_text() for path in (tmp_path / "run").rglob("*.json*"))
    assert KEY not in written and server.url not in (tmp_path / "run" / "run.json").read_text()


def test_a_run_is_of_one_address_and_of_one_data_set(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERRASCOPE_LLM_KEY", KEY)
    with served(lambda _: Scripted(text="B")) as first, served(lambda _: Scripted(text="A")) as second:
        codes = []
        for url, limit in ((first.url, "1"), (second.url, "2"), (f"{first.url}/", "2")):
            arguments = ("--model", "endpoint:gpt", "--endpoint", url, "--limit", limit, "--timeout", "5")
            code, _, err = invoke("run", bench, "--out", tmp_path / "run", *arguments)
            codes.append(code)
            if code:
                assert "holds a run with other settings" in err and err.count("\n") == 1
    # Each call knocks first; the second server is asked nothing.
    assert (codes, first.num_asked, second.num_asked) == ([0, 2, 0], 4, 1)
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert list(settings) == ["seed", "endpoint"] and re.fullmatch("[0-9a-f]{12}", settings["endpoint"])
    told = [
        asking.Answering(**given).settings()
        for given in (
            {"learn_from": ["hls-worldcover=a/same"]},
            {"learn_from": ["hls-worldcover=b/same"]},
            {"learn_from": ["hls-worldcover=./a/same"]},
            {"max_tokens": 7},
        )
    ]
    assert told[0] == told[2] != told[1] and told[0]["learn_from"][0].startswith("hls-worldcover ")
    assert told[3] == {"max_tokens": 7}


def test_the_folder_of_another_source_is_missed_at_once(bench: Path, tmp_path: Path) -> None:
    code, _, err = invoke("run", bench, "--model", "oracle", "--read", "foo=x", "--out", tmp_path / "run")
    assert (code, err) == (
        2,
        "error: --read foo: bench asks about no source of this name; it asks about synthetic\n",
    )
    assert not (tmp_path / "run").exists()


def test_no_chip_in_any_split_is_another_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "split.csv").write_text("chip,scene,split\n")
    for folder in ("s1_before", "s1_after", "s2_before", "s2_after", "mask"):
        (tmp_path / "empty" / folder).mkdir()
    code, _, err = invoke("build", "--source", f"ombria={tmp_path / 'empty'}", "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "no split has one" in err or "no chip" not in err


def test_a_run_without_all_questions_is_not_ranked(bench: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    few = tmp_path / "few"
    assert invoke("run", bench, "--model", "oracle", "--limit", "3", "--out", few)[0] == 0
    code, printed, err = invoke("report", bench, few, runs["random"], "--out", tmp_path / "report", "--failures", "0")
    num = len(open_bench(bench).samples)
    assert (code, err) == (0, "")
    assert printed.splitlines()[0].startswith("1. random: ")
    assert printed.splitlines()[1] == f"not ranked: oracle: 100.0 % of 3 of {num} questions"
    code, _, err = invoke("score", bench, few, few)
    assert code == 2 and err == f"error: {few}: this run is given twice; give each once\n"


def test_baselines_learn_from_what_is_named(bench: Path, tmp_path: Path) -> None:
    data = tmp_path / "training"
    result = CliRunner().invoke(
        data_app(), ["data", "build", "--source", "synthetic=9", "--level", "L1", "--out", str(data)]
    )
    assert result.exit_code == 0, result.stderr
    code, _, err = invoke(
        "run", bench, "--model", "majority", "--training", data, "--out", tmp_path / "m", "--limit", "5"
    )
    assert (code, err) == (0, "")
    arguments = ("--model", "forest", "--learn-from", "synthetic=6", "--limit", "2", "--out", tmp_path / "f")
    pytest.importorskip("sklearn")
    code, printed, err = invoke("run", bench, *arguments)
    assert (code, err) == (0, "") and "2 questions, 2 asked now" in printed


def data_app() -> typer.Typer:
    data = typer.Typer(cls=Commands, pretty_exceptions_enable=False)
    data.add_typer(data_commands.app, name="data")
    return data


def test_the_oracle_is_always_right(bench: Path, runs: dict[str, Path]) -> None:
    code, printed, err = invoke("score", bench, runs["random"], runs["oracle"], "--json")
    assert (code, err) == (0, "")
    first, second = json.loads(printed)["runs"]
    assert (first["run"], second["run"]) == ("oracle", "random")
    assert first["overall"]["macro"]["mean"] == 1.0
    assert set(first["overall"]["tasks"]) == {"coverage", "area", "distance", "ranking", "boundary", "building_change"}
    assert 0 < second["overall"]["macro"]["mean"] < 0.8
    code, printed, _ = invoke("score", bench, runs["oracle"], "--rule", "strict")
    assert code == 0 and "rule of reading: strict" in printed


def test_a_report_is_written_for_several_runs(bench: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "report"
    code, printed, err = invoke("report", bench, *runs.values(), "--out", out, "--failures", "1")
    assert (code, err) == (0, "")
    assert printed.splitlines()[0] == "1. oracle: 100.0 %" and printed.splitlines()[-1] == str(out / "report.html")
    assert {path.name for path in out.iterdir()} == {"report.html", "leaderboard.md", "scores.json"}


def test_a_report_of_a_run_that_can_do_nothing_has_a_dash(bench: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    failed = tmp_path / "failed"
    shutil.copytree(runs["random"], failed)
    lines = [json.loads(line) for line in (failed / "replies.jsonl").read_text().splitlines()]
    lines = [{**line, "text": "", "raw": "", "masks": [], "failed": "out of memory"} for line in lines]
    (failed / "replies.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    code, printed, err = invoke(
        "report", bench, failed, runs["oracle"], "--out", tmp_path / "report", "--failures", "0"
    )
    assert (code, err) == (0, "")
    assert printed.splitlines()[:2] == ["1. oracle: 100.0 %", "2. random: -"]


def test_the_help_names_everyone_who_can_be_asked() -> None:
    options = {option.name: option for option in typer.main.get_command(asking.app).params}
    words = re.findall(r"[\w-]+:?", options["model"].help)
    assert {*BASELINES, *(f"{name}:" for name in WRAPPERS)} <= set(words)


def test_other_words_come_offline_or_from_a_language_model(bench: Path, tmp_path: Path) -> None:
    code, printed, err = invoke("rephrase", bench, "--out", tmp_path / "other", "--seed", "4")
    assert (code, err) == (0, "")
    before, after = open_bench(bench), open_bench(tmp_path / "other")
    assert [sample.truth for sample in after.samples] == [sample.truth for sample in before.samples]
    changed = sum(a.question != b.question for a, b in zip(before.samples, after.samples, strict=True))
    assert changed > len(before.samples) / 2 and " questions reworded by composer" in printed.splitlines()[0]
    code, _, err = invoke("rephrase", bench, "--out", tmp_path / "x", "--model", "gpt")
    assert (code, err) == (2, "error: the offline composer asks no endpoint; choose --writer llm\n")
    code, _, err = invoke("rephrase", bench, "--out", tmp_path / "x", "--writer", "llm")
    assert (code, err) == (2, "error: a language model has a name on its server; give it with --model\n")


def test_questions_go_out_to_experts_and_to_harnesses(bench: Path, tmp_path: Path) -> None:
    code, printed, err = invoke("export-review", bench, "--out", tmp_path / "review", "--task", "building_change")
    assert (code, err) == (0, "")
    projects = [Path(line.partition(":")[0]) for line in printed.splitlines()]
    assert projects and all((project / "tasks.json").is_file() for project in projects)
    for harness, name in (("lmms-eval", "bench.yaml"), ("vlmevalkit", "bench.tsv")):
        code, printed, err = invoke("export-harness", bench, "--for", harness, "--out", tmp_path / harness)
        assert (code, err) == (0, "")
        num = len(open_bench(bench).samples)
        assert str(tmp_path / harness / name) in printed.splitlines() and f"{num} questions" in printed.splitlines()
    code, _, err = invoke("import-review", bench, tmp_path / "none.json", "--out", tmp_path / "left")
    assert code == 2 and err.startswith(f"error: {tmp_path / 'none.json'}: not found") and err.count("\n") == 1


def test_benchmarks_of_others_are_scored_too(tmp_path: Path) -> None:
    code, _, err = invoke("score", tmp_path, tmp_path, "--external", "mmbench")
    assert code == 2 and err.startswith("error: unknown benchmark 'mmbench'; choose one of terrascope-bench, ")
    code, _, err = invoke("score", tmp_path, tmp_path, "--images", tmp_path)
    assert (code, err.count("\n")) == (2, 1) and err.startswith("error: --images is for the benchmarks of others")
    arguments = ("--external", "landsat30-au", "--read", "a=b", "--out", tmp_path / "run")
    code, _, err = invoke("run", tmp_path, *arguments)
    assert (code, err.count("\n")) == (2, 1) and err.startswith("error: --read is for benchmarks that were built here")


def test_the_table_of_others_can_be_asked(tmp_path: Path, real_data: Path) -> None:
    questions = real_data / "landsat30-au" / "Landsat30-AU-VQA-test.csv"
    arguments = ("--external", "landsat30-au", "--model", "random", "--limit", "3", "--out", tmp_path / "run")
    code, printed, err = invoke("run", questions, *arguments)
    # The images are not there.
    assert code == 1 and err.startswith("error: no question has an answer")
    assert "3 questions, 3 asked now, 0 chose an option, 3 failed (" in printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--model", "endpoint:gpt"), "endpoint:gpt needs an address; give it with --endpoint URL"),
        (("--model", "majority"), "the baseline majority needs a training data set; give its folder with --training"),
        (("--model", "forest"), "the baseline forest needs labelled training chips; give a data set with --learn-from"),
        (("--model", "forest", "--learn-from", "a"), "--source a: give the name of a data set and its folder"),
        (("--model", "box:"), "'' names no model; write the model's name, such as nano, or one of random, "),
        (
            ("--read", "synthetic=20,size=128"),
            "--read synthetic=20,size=128: its options are known from how this was built; give its folder alone, as "
            "synthetic=20",
        ),
        (("--read", "xbd"), "--read xbd: give the name of a source and its folder, as NAME=DIR"),
    ],
)
def test_who_cannot_be_asked_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, bench: Path, tmp_path: Path
) -> None:
    code, out, err = invoke("run", bench, *arguments, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}") and err.count("\n") == 1
