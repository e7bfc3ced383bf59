"""`terrascope data`: what it builds, prints and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from endpoint import KEY, FakeServer, Scripted, fails, says, served
from terrascope import data_commands
from terrascope.answer import Answer
from terrascope.data_commands import building
from terrascope.landcover import TERRASCOPE
from terrascope.llm import server
from terrascope.sample import Sample
from terrascope.scene import Scene
from terrascope.sources.generated import Generated
from terrascope.terracot.store import open_store
from terrascope.trace import Step, Trace, render
from terrascope.usage import end_command
from tests.oracle import ground


class Commands(TyperGroup):
    """Ends commands as the program does."""

    def main(self, *args: Any, **options: Any) -> Any:
        options["standalone_mode"] = False
        return sys.exit(end_command(partial(super().main, *args, **options)))


app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)
app.add_typer(data_commands.app, name="data")


@app.callback()
def _program() -> None:
    """So that `data` is a command beside others."""


def invoke(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["data", *(str(argument) for argument in arguments)])
    return result.exit_code, result.stdout, result.stderr


SMALL = "synthetic=3,size=64"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small generated scenes, all levels."""
    out = tmp_path_factory.mktemp("built") / "data"
    code, _, err = invoke("build", "--source", "synthetic=6,size=64", "--chips-per-shard", "4", "--out", out)
    assert (code, err) == (0, "")
    return out


def test_build_says_what_it_made_and_goes_on_where_it_was(built: Path) -> None:
    store = open_store(built)
    levels = store.report.by_level
    assert set(levels) == {"referring", "caption", "L1", "L2"}
    code, out, err = invoke("build", "--source", "synthetic=6,size=64", "--chips-per-shard", "4", "--out", built)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{built}: {len(store)} samples of 6 chips in 2 files (2 were there already)"
    assert lines[1] == "levels: " + ", ".join(f"{name} {levels[name]}" for name in sorted(levels))
    assert lines[2] == f"sources: synthetic {len(store)}"


def test_what_was_built_is_valid(built: Path) -> None:
    code, out, err = invoke("validate", built)
    num_masks = sum(len(sample.masks) for sample in open_store(built))
    assert (code, err) == (0, "")
    assert out == f"{built}: {len(open_store(built))} samples, {num_masks} masks, no problem\n"
    code, out, _ = invoke("validate", built, "--json")
    assert code == 0
    assert json.loads(out) == {"samples": len(open_store(built)), "masks": num_masks, "problems": []}


def test_a_recipe_in_a_file_is_overruled_by_what_is_typed(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "sources:\n  - {name: synthetic, root: 9, options: {size: 64}}\nlevels: [L1, referring]\nseed: 5\nlimit: 2\n"
    )
    code, out, err = invoke("build", "--recipe", path, "--level", "referring", "--seed", "7", "--out", tmp_path / "a")
    assert (code, err) == (0, "")
    store = open_store(tmp_path / "a")
    assert store.manifest is not None and store.manifest["seed"] == 7
    assert [sample.id for sample in store] == ["synthetic/2/referring/1", "synthetic/6/referring/1"]
    assert "2 samples of 2 chips in 1 files" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no data set was given; name one with --source NAME=DIR, such as --source synthetic=100"),
        (["--source", "synthetic"], "--source synthetic: give the name of a data set and its folder, as NAME=DIR"),
        (["--source", "synthetic=3,size"], "--source synthetic=3,size: 'size' is no option; write it as OPTION=VALUE"),
        (["--source", "synthetic=3,depth=2"], "source synthetic has no option 'depth'; it has size, cloudy"),
        (["--source", "nowhere=3"], "unknown source 'nowhere'; choose one of"),
        (
            ["--source", "ombria=/nowhere"],
            "/nowhere: no such folder; for ombria, give a folder of Sentinel-1 and -2 before",
        ),
        (["--source", SMALL, "--source", SMALL], "--source: synthetic is given twice"),
        (["--source", SMALL, "--level", "L3"], "--level: choose 'referring', 'caption', 'L1' or 'L2', got 'L3'"),
        (["--source", SMALL, "--split", "all"], "invalid value for '--split': "),
        (["--source", SMALL, "--seed", "x"], "--seed must be a whole number, got 'x'"),
        (["--source", SMALL, "--seed", "-3"], "--seed: give at least 0, got -3"),
        (["--source", "synthetic=2,size=2"], "generated scenes have from 16 to 4096 pixels a side, got size=2"),
        (["--source", "synthetic=2,size=100000"], "generated scenes have from 16 to 4096 pixels a side, got size=1"),
        (["--source", SMALL, "--limit", "0"], "--limit: give at least 1, got 0"),
        (["--source", SMALL, "--max-failed", "2"], "--max-failed: give at most 1, got 2.0"),
        (["--source", SMALL, "--exclude", "/nowhere"], "/nowhere/manifest.json: not found; give the folder of a data"),
        (["--source", SMALL, "--writer", "llm"], "the recipe: writer: a language model has a name on its server; give"),
        (["--source", SMALL, "--model", "m"], "the recipe: writer: the offline composer asks no endpoint; choose the"),
        (
            ["--source", SMALL, "--writer", "llm", "--model", "m", "--endpoint", "nonsense"],
            "the endpoint 'nonsense' is no address; give one such as http://localhost:8000/v1",
        ),
        (["--recipe", "/nowhere.yaml"], "/nowhere.yaml: cannot be read (No such file or directory); give a recipe in"),
        (["--source", SMALL, "--engine", "cluster"], "invalid value for '--engine': "),
    ],
)
def test_what_cannot_be_built_is_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    code, out, err = invoke("build", "--out", tmp_path / "data", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}") and err.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_another_recipe_into_the_same_folder_is_refused(built: Path) -> None:
    code, _, err = invoke("build", "--source", "synthetic=7,size=64", "--chips-per-shard", "4", "--out", built)
    assert code == 2
    assert err == (
        f"error: {built}: another recipe was begun here (sources differ); "
        "give the same one to go on, or a new folder with --out\n"
    )


def make_tree(root: Path, num_torn: int) -> Path:
    """Ten chips of HLS, some of whose label rasters are torn."""
    from tests.sources.test_hls_worldcover import BANDS, write

    rng = np.random.default_rng(0)
    for chip in range(10):
        image = rng.integers(500, 4000, (8, 32, 32), dtype=np.int16)
        image[7] = 64
        write(root / "images" / f"{chip}.tif", image, BANDS)
        labels = np.zeros((2, 32, 32), np.uint8)
        labels[0] = np.kron(rng.choice([10, 30, 40, 50], (4, 4)), np.ones((8, 8)))
        write(root / "labels" / f"{chip}.tif", labels, ("worldcover", "surface_water"))
    for chip in range(num_torn):
        path = root / "labels" / f"{chip}.tif"
        path.write_bytes(path.read_bytes()[:40])
    (root / "split.csv").write_text("chip,group,split\n" + "".join(f"{n},{n},train\n" for n in range(10)))
    return root


def test_too_many_failed_chips_are_a_failed_build(tmp_path: Path) -> None:
    source = f"hls-worldcover={make_tree(tmp_path / 'hls', num_torn=2)}"
    code, out, err = invoke("build", "--source", source, "--out", tmp_path / "a", "--level", "L1")
    assert code == 1
    assert err == "error: 2 of 10 chips failed, more than the 5 % that may\n"
    assert out.splitlines()[0].endswith("samples of 10 chips in 1 files")
    failed, reason = out.splitlines()[-2:]
    assert failed == "failed chips: unreadable label 2"
    assert reason.startswith("  unreadable label, such as hls-worldcover/0: labels/0.tif: not a readable label ")
    assert str(tmp_path) not in (tmp_path / "a" / "manifest.json").read_text()
    assert {sample.key for sample in open_store(tmp_path / "a")} == {str(n) for n in range(2, 10)}
    more = ("--out", tmp_path / "a", "--level", "L1", "--max-failed", "0.2")
    assert invoke("build", "--source", source, *more)[0] == 0, "the same data set, judged anew"


def test_a_damaged_data_set_is_named_and_counted(tmp_path: Path) -> None:
    out = tmp_path / "data"
    invoke("build", "--source", SMALL, "--chips-per-shard", "2", "--level", "L1", "--out", out)
    shard = out / "train-00001-of-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-9])
    code, told, err = invoke("validate", out)
    lines = told.splitlines()
    assert (code, err) == (1, "")
    assert lines[0] == f"{shard}: not a whole Parquet file; build it again, or copy it again"
    assert lines[1].startswith(f"{out}: ") and lines[1].endswith(", 1 problem")
    code, _, err = invoke("validate", tmp_path)
    assert (code, err) == (2, f"error: {tmp_path}/manifest.json: not found; give the folder of a data set\n")


def test_scenes_of_a_benchmark_are_found_before_and_after(built: Path, tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    invoke("build", "--source", "synthetic=1,size=64", "--level", "L1", "--out", bench)
    code, _, err = invoke("build", "--source", "synthetic=6,size=64", "--exclude", bench, "--out", tmp_path / "a")
    assert code == 2
    assert err == (
        "error: synthetic/0 would be a training scene, but shows the scene synthetic/0 of the benchmark bench: "
        "both are of the place 0; leave it out, or choose another split\n"
    )
    code, out, _ = invoke("validate", built, "--exclude", bench)
    assert code == 1 and "synthetic/0 would be a training scene" in out
    test = ("--split", "test", "--level", "L1", "--out", tmp_path / "b")
    assert invoke("build", "--source", "synthetic=2,size=64", "--exclude", bench, *test)[0] == 0
    assert invoke("validate", tmp_path / "b", "--exclude", bench)[0] == 0


def test_show_draws_samples_with_their_scenes(built: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    code, out, err = invoke("show", built, "--level", "caption", "--num", "2", "--out", page)
    assert (code, err) == (0, "")
    assert out == f"{page}: synthetic/0/caption/1, synthetic/1/caption/1\n"
    assert "data:image" in page.read_text()
    code, _, err = invoke("show", built, "--task", "nothing", "--out", page)
    assert code == 2 and err.startswith("error: no sample with task nothing")


def test_stats_counts_and_writes_the_card(built: Path) -> None:
    code, out, err = invoke("stats", built, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["levels"] == dict(open_store(built).report.by_level)
    code, out, _ = invoke("stats", built)
    assert code == 0 and "L2/" in out
    pytest.importorskip("matplotlib")
    code, out, _ = invoke("stats", built, "--card")
    assert code == 0 and str(built / "README.md") in out
    assert "offline composer" in (built / "README.md").read_text()
    assert invoke("validate", built)[0] == 0, "the card is no part of what is checked"


def test_export_writes_conversations_and_pictures(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, told, err = invoke("export", built, "--level", "L1", "--form", "plain", "--format", "llava", "--out", out)
    num = sum(1 for _ in open_store(built).select(level="L1"))
    assert (code, err) == (0, "")
    assert told.splitlines()[0] == f"{out / 'plain-train.json'}: {num} samples"
    assert len(json.loads((out / "plain-train.json").read_text())) == num
    assert list(out.rglob("*.png"))
    code, told, err = invoke("export", built, "--task", "nothing", "--out", tmp_path / "none")
    assert (code, told) == (2, "") and err.startswith("error: no sample with task nothing; ")
    assert not (tmp_path / "none").exists()
    code, told, _ = invoke("export", built, "--no-pictures", "--out", tmp_path / "text")
    assert code == 0 and "0 pictures written" in told and not list((tmp_path / "text").rglob("*.png"))


def reply(request: dict[str, Any]) -> Scripted:
    """Captions that point at no region; composed questions that cannot be read."""
    if "CaptionDraft" in json.dumps(request["response_format"]):
        return says(
            {"think": "I see the moon: [SEG:77 moon] It is round.", "caption": "A picture of the moon by night."}
        )
    return Scripted(text="I would rather not.")


def build_by_model(fake: FakeServer, out: Path, cache: Path, *more: str | Path) -> tuple[int, str, str]:
    return invoke(
        *("build", "--source", SMALL, "--writer", "llm", "--model", "atlas", "--endpoint", fake.url),
        *("--cache", cache, "--max-failed", "1", "--out", out, *more),
    )


def test_a_language_model_is_asked_counted_and_not_asked_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRASCOPE_LLM_KEY", KEY)
    monkeypatch.setattr(server, "_acquaintances", {})
    with served(reply) as fake:
        code, out, err = build_by_model(fake, tmp_path / "a", tmp_path / "replies", "--level", "caption")
        assert (code, err) == (1, "error: no sample was made of 3 chips\n"), "every caption was rejected"
        assert {headers["authorization"] for headers in fake.headers} == {f"Bearer {KEY}"}
        lines = dict(line.split(": ", 1) for line in out.splitlines())
        assert lines["rejected drafts"] == "a mark without its region 3"
        num_asked = fake.num_asked
        assert lines["language model"].startswith(f"{num_asked} requests sent, 0 from the cache, {100 * num_asked} tok")
        code, out, _ = build_by_model(fake, tmp_path / "b", tmp_path / "replies", "--level", "caption")
        assert code == 1 and fake.num_asked == num_asked
        assert f"language model: 0 requests sent, {num_asked} from the cache" in out
        assert (tmp_path / "a" / "plan.json").read_bytes() == (tmp_path / "b" / "plan.json").read_bytes()
        code, out, _ = build_by_model(fake, tmp_path / "c", tmp_path / "replies")
        assert "failed chips: nonsense 3" in out, "no reply to read for the composed questions"
        assert open_store(tmp_path / "c").report.by_level.keys() == {"L1", "referring"}
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path
    usage = json.loads((tmp_path / "a" / "manifest.json").read_text())["usage"]
    assert (usage["num_sent"], usage["input_tokens"]) == (num_asked, 100 * num_asked)
    assert fake.url not in (tmp_path / "a" / "manifest.json").read_text()


def test_chips_without_a_reply_are_asked_again_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_acquaintances", {})
    monkeypatch.setattr(server, "sleep", lambda seconds: None)
    path, is_well = tmp_path / "recipe.yaml", [False]
    path.write_text("chips_per_shard: 1\nlevels: [referring, caption]\n")

    def answer(request: dict[str, Any]) -> Scripted:
        # The second request is sent in vain, five times; those before and after it are not.
        return fails(500) if not is_well[0] and 1 <= fake.num_asked - 1 <= 5 else reply(request)

    with served(answer) as fake:
        code, out, _ = build_by_model(fake, tmp_path / "a", tmp_path / "replies", "--recipe", path)
        assert code == 0 and "failed chips: server error 1" in out
        assert "without a reply: 1 of these chips; the same command asks for them again" in out
        is_well[0] = True
        before = fake.num_asked
        code, out, _ = build_by_model(fake, tmp_path / "a", tmp_path / "replies", "--recipe", path)
        asked = fake.num_asked - before
        assert code == 0 and "3 files (2 were there already)" in out and "failed" not in out
        assert asked > 0 and f"language model: {asked} requests sent, 1 from the cache" in out, "which was got before"
        assert f"over all runs: {fake.num_asked} requests sent (5 server error)" in out
        code, out, _ = build_by_model(fake, tmp_path / "a", tmp_path / "replies", "--recipe", path)
        assert code == 0 and "(3 were there already)" in out and "language model: 0 requests sent, 0 from" in out
        assert fake.num_asked == before + asked


def test_chips_without_labels_make_no_sample_and_it_is_said_why(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "hls", num_torn=0)
    source = f"folder={root},labels=,sensor=hls"
    code, out, err = invoke("build", "--source", source, "--limit", "3", "--out", tmp_path / "a", "--level", "L1")
    assert (code, err) == (1, "error: no sample was made of 3 chips\n")
    assert "without labels: 3 of these chips; --annotate MODEL makes labels" in out


def test_a_refused_build_leaves_nothing(tmp_path: Path) -> None:
    made = ("build", "--source", "synthetic=4,size=64", "--level", "L1")
    invoke(*made, "--out", tmp_path / "bench")
    invoke("export", tmp_path / "bench", "--format", "terrascope", "--out", tmp_path / "exported")
    back = ("build", "--source", f"terracot={tmp_path / 'exported'}", "--exclude", tmp_path / "bench")
    code, _, err = invoke(*back, "--out", tmp_path / "leak")
    assert code == 2 and "of the benchmark bench: both are of the place 2 of synthetic; leave" in err
    assert not (tmp_path / "leak").exists()


class Halves:
    """A model that sees water in the upper half of everything, and trees in the lower."""

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        raise AssertionError("it was told to segment at once")

    def segment(self, scene: Scene, class_name: str) -> Answer:
        mask = np.zeros(scene.shape, bool)
        half = mask.shape[0] // 2
        mask[slice(half) if class_name == "water" else slice(half, None)] = True
        numbers = range(1, len(scene.pairs) + 1)
        steps = tuple(Step(text=f"The {class_name}:", image=number) for number in numbers)
        return Answer.from_reasoning(
            scene=scene,
            question=f"Please segment the {class_name}.",
            reasoning=render(Trace(steps=steps, answer=class_name)),
            groundings=[ground(mask, image=number) for number in numbers],
            model="halves",
        )


def test_a_model_labels_chips_where_it_is_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(name: str) -> Halves:
        loaded.append(name)
        return Halves()

    monkeypatch.setattr(building, "_load_model", load)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "annotation: {class_names: [water, tree], instruction: null, min_kept: 0}\nreferring: {per_image: 2}\n"
    )
    code, _, err = invoke(
        *("build", "--source", "synthetic=8,size=64", "--recipe", path, "--annotate", "nano", "--level", "L1"),
        *("--level", "referring", "--out", tmp_path / "a"),
    )
    assert (code, err) == (0, "")
    assert loaded == ["nano"], "once for all chips"
    samples = list(open_store(tmp_path / "a"))
    assert samples and {sample.labels for sample in samples} == {"refined"}
    for sample in (one for one in samples if one.truth == "water" and one.level == "referring"):
        for index, mask in enumerate(sample.masks):
            truth = Generated(num=8, size=64).read(sample.key).labels[mask.image - 1].mask(TERRASCOPE.id_of("water"))
            truth[32:] = False
            np.testing.assert_array_equal(sample.mask(index), truth)
    assert {"water", "tree"} == {sample.truth for sample in samples if sample.level == "referring"}


def test_scenes_are_known_again_however_often_they_were_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_load_model", lambda name: Halves())
    invoke("build", "--source", "synthetic=4,size=64", "--level", "L1", "--out", tmp_path / "data-0")
    path = tmp_path / "recipe.yaml"
    path.write_text("annotation: {class_names: [water, tree], instruction: null, min_kept: 0}\n")
    for number in (0, 1):
        read = ("--read", f"terracot={tmp_path / 'out-0'}") if number else ()
        code, _, err = invoke("export", tmp_path / f"data-{number}", *read, "--out", tmp_path / f"out-{number}")
        assert (code, err) == (0, "")
        source = ("--source", f"terracot={tmp_path / f'out-{number}'}", "--level", "referring")
        made = ("--recipe", path, "--annotate", "nano", "--out", tmp_path / f"data-{number + 1}")
        code, _, err = invoke("build", *source, *made)
        assert (code, err) == (0, "")
    first, *others = [list(open_store(tmp_path / f"data-{number}").chips()) for number in range(3)]
    for depth, chips in enumerate(others, 1):
        assert chips and {len(chip.origins) for chip in chips} == {depth}
        assert {chip.origins[-1][:2] for chip in chips} <= {(chip.source, chip.key) for chip in first}


def test_two_workers_and_the_whole_program_build_the_same(built: Path, tmp_path: Path) -> None:
    program = "import sys, typer; from terrascope.data_commands import app; app()"
    arguments = ["build", "--source", "synthetic=6,size=64", "--chips-per-shard", "4", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--out", str(tmp_path / "data")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    read = [Sample.to_row(sample) for sample in open_store(tmp_path / "data")]
    assert read == [Sample.to_row(sample) for sample in open_store(built)]


def test_help_needs_neither_torch_nor_arrow() -> None:
    program = (
        "import sys, typer; from typer.testing import CliRunner; from terrascope.data_commands import app; "
        "assert CliRunner().invoke(app, ['build', '--help']).exit_code == 0; "
        "print(*{'torch', 'pyarrow', 'rasterio', 'pydantic.main'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, set(done.stdout.split()) - {"pydantic.main"}) == (0, set()), done.stderr
