"""Building a data set: the same bytes whoever builds it, going on after whatever happened, and counting what failed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from stripes import make_chip, open_tools, recipe
from terrascope import __version__
from terrascope.errors import EndpointError, OutputError, SampleError
from terrascope.landcover import UNLABELLED
from terrascope.predictor import Predictor
from terrascope.sample import Sample
from terrascope.terracot import level1, referring, toolbox
from terrascope.terracot.asking import ask_chip, rng_of
from terrascope.terracot.build import BuildReport, build, make_plan
from terrascope.terracot.engines import Engine
from terrascope.terracot.plan import ClassCount, Plan, load_plan
from terrascope.terracot.recipe import Recipe
from terrascope.terracot.record import to_sample
from terrascope.terracot.store import open_store
from terrascope.terracot.validate import validate


def make(
    out: Path, *, wanted: Recipe | None = None, engine: Engine = "local", num_workers: int = 1, **fields: object
) -> BuildReport:
    return build(wanted or recipe(**fields), out, open_tools=open_tools, engine=engine, num_workers=num_workers)


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(folder.glob("[!.]*"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve chips in three shards, built in one go by one process."""
    path = tmp_path_factory.mktemp("built") / "data"
    make(path)
    return path


def read(folder: Path) -> list[Sample]:
    return list(open_store(folder))


def test_a_data_set_is_shards_a_plan_and_a_manifest(built: Path) -> None:
    names = [f"train-0000{number}-of-00003.parquet" for number in range(3)]
    assert sorted(path.name for path in built.iterdir()) == sorted([*names, "plan.json", "manifest.json"])
    manifest = json.loads((built / "manifest.json").read_text())
    assert [shard["file"] for shard in manifest["shards"]] == names
    for shard in manifest["shards"]:
        content = (built / shard["file"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert shard["rows"] == pq.read_metadata(built / shard["file"]).num_rows
    assert sum(shard["rows"] for shard in manifest["shards"]) == manifest["total"]["num_samples"] == len(read(built))
    assert manifest["sources"] == [{"name": "stripes", "root": "stripes", "chips": 12, "skipped": {"cloudy": 3}}]
    assert (manifest["form"], manifest["samples"]) == ("terrascope-store/1", "terrascope-sample/1")
    assert (manifest["seed"], manifest["split"], manifest["usage"]) == (0, "train", None)
    assert manifest["versions"]["terrascope"] == __version__
    assert str(built.parent) not in (built / "manifest.json").read_text()
    assert validate(built).problems == ()


def load_none(name: str) -> Predictor:
    raise AssertionError(f"no model labels anything here, but {name} was asked for")


def test_of_pairs_the_one_the_other_or_both_are_drawn_level_by_level(tmp_path: Path) -> None:
    sources = [{"name": "synthetic", "root": "24"}]
    fields = {"sources": sources, "levels": ["referring", "L1"], "seed": 3}
    for shown in ("all", "drawn"):
        wanted = Recipe.of({**fields, "shown": shown})
        build(wanted, tmp_path / shown, open_tools=partial(toolbox.open_tools, load=load_none))
    whole, drawn = read(tmp_path / "all"), read(tmp_path / "drawn")
    assert [replace(sample, images=()) for sample in whole] == [replace(sample, images=()) for sample in drawn]
    for before, after in zip(whole, drawn, strict=True):
        kinds = {image.modality for image in after.images}
        assert after.images == tuple(image for image in before.images if image.modality in kinds)
    assert {sample.num_dates for sample in drawn} == {1, 2}
    by_level: dict[tuple[str, str], set[frozenset[str]]] = {}
    for sample in drawn:
        kinds = frozenset(image.modality for image in sample.images)
        by_level.setdefault((sample.key, sample.level), set()).add(kinds)
    assert all(len(kinds) == 1 for kinds in by_level.values()), "samples of a level share their images"
    counts = Counter(next(iter(kinds)) for kinds in by_level.values())
    shares = {tuple(sorted(kinds)): num / len(by_level) for kinds, num in counts.items()}
    assert shares == pytest.approx({("optical",): 0.4, ("sar",): 0.25, ("optical", "sar"): 0.35}, abs=0.16)
    assert validate(tmp_path / "drawn").problems == ()


def test_every_chip_is_asked_on_every_level(built: Path) -> None:
    samples = read(built)
    by_chip = Counter((sample.key, sample.level) for sample in samples)
    for number in range(12):
        key = str(number)
        assert by_chip[key, "referring"] == by_chip[key, "caption"] == by_chip[key, "L2"] == 1
        assert 2 <= by_chip[key, "L1"] <= 4
    assert len({sample.id for sample in samples}) == len(samples)
    assert [sample.key for sample in samples] == sorted((sample.key for sample in samples), key=int)
    assert {s.level: s.writer for s in samples} == {
        "referring": "templates",
        "L1": "templates",
        "caption": "few words",
        "L2": "few words",
    }
    (caption,) = (sample for sample in samples if sample.id == "stripes/7/caption/1")
    (deep,) = (sample for sample in samples if sample.id == "stripes/7/L2/1")
    num_pairs = by_chip["7", "L1"]
    assert deep.question == f"After {num_pairs} questions: {caption.truth}?", "the writer sees caption and pairs"


def test_samples_are_what_the_levels_ask_with_chance_of_their_own(built: Path) -> None:
    plan = load_plan(built, recipe())
    assert plan is not None
    chip = make_chip(5)
    asked = level1.ask(chip, rng_of(0, "stripes", "5", "L1"), plan.level1)
    asked_to_segment = referring.ask(chip, rng_of(0, "stripes", "5", "referring"), plan.referring)
    expected = [
        to_sample(chip, question, level=level, number=number, root=Path("/data/stripes"))
        for level, questions in (("referring", asked_to_segment), ("L1", asked))
        for number, question in enumerate(questions, 1)
    ]
    found = [sample for sample in read(built) if sample.key == "5" and sample.level in ("referring", "L1")]
    # Files of the stand-in do not lie where its root says; everything else is equal.
    assert [replace(one, images=()) for one in found] == [replace(one, images=()) for one in expected]


def test_classes_are_counted_once_for_all_shards(built: Path) -> None:
    plan = load_plan(built, recipe())
    assert plan is not None
    assert plan.classes == {name: ClassCount(shown=12, known=12) for name in ("crop", "tree", "water")}


@pytest.mark.parametrize("num_workers", [2, 3])
def test_the_same_bytes_from_any_number_of_workers(built: Path, tmp_path: Path, num_workers: int) -> None:
    make(tmp_path / "data", num_workers=num_workers)
    assert hashes(tmp_path / "data") == hashes(built)


@pytest.mark.slow
def test_the_same_bytes_from_ray(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    make(tmp_path / "data", engine="ray", num_workers=2)
    assert hashes(tmp_path / "data") == hashes(built)


def test_another_seed_asks_otherwise(built: Path, tmp_path: Path) -> None:
    make(tmp_path / "data", seed=1)
    assert read(tmp_path / "data") != read(built)


def test_a_level_is_the_same_whichever_others_are_asked_for(built: Path, tmp_path: Path) -> None:
    make(tmp_path / "data", levels=["L2"])
    assert read(tmp_path / "data") == [sample for sample in read(built) if sample.level == "L2"]


def test_what_is_asked_of_a_chip_does_not_depend_on_its_shard(built: Path, tmp_path: Path) -> None:
    make(tmp_path / "data", chips_per_shard=5)
    assert read(tmp_path / "data") == read(built)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_another_seed(path: Path) -> None:
    other = path.parent.parent / "other"
    make(other, seed=1)
    (other / path.name).rename(path)


@pytest.mark.parametrize("damage", [Path.unlink, cut_short, empty, of_another_seed])
def test_a_build_goes_on_with_the_shards_that_are_whole(
    built: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    out, log = tmp_path / "data", tmp_path / "log"
    wanted = recipe(options={"log": str(log)})
    make(out, wanted=wanted)
    expected = hashes(out)
    damage(out / "train-00001-of-00003.parquet")
    (out / "manifest.json").unlink()
    (out / ".train-00001-of-00003.999.parquet").write_bytes(b"half")
    log.unlink()
    report = make(out, wanted=wanted)
    assert (report.num_shards, report.num_kept) == (3, 2)
    assert log.read_text().split() == ["4", "5", "6", "7"]
    assert hashes(out) == expected
    assert not list(out.glob(".*")), "what a killed worker left half written is gone"
    assert report.total.num_chips == 12


def test_a_finished_build_is_left_as_it_is(built: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.glob("*.parquet")}
    report = make(built)
    assert report.num_kept == 3
    assert {path: path.stat().st_mtime_ns for path in built.glob("*.parquet")} == before


def test_chips_that_cannot_be_read_are_counted_and_passed_over(built: Path, tmp_path: Path) -> None:
    report = make(tmp_path / "data", options={"unreadable": ["2", "9"]}, max_failed_share=0.1)
    assert report.total.failed == {"unreadable label": 2}
    assert report.total.num_chips == 12 and report.too_many_failed
    told = {"unreadable label": "stripes/2: 2.tif: not a readable label raster"}
    assert report.total.told == told == json.loads((tmp_path / "data" / "manifest.json").read_text())["total"]["told"]
    left = [sample for sample in read(built) if sample.key not in ("2", "9")]
    found = read(tmp_path / "data")
    assert {sample.key for sample in found} == {sample.key for sample in left}
    assert [s for s in found if s.level == "caption"] == [s for s in left if s.level == "caption"]
    assert {chip.key for chip in open_store(tmp_path / "data").chips()} == {sample.key for sample in left}
    assert not make(tmp_path / "data", options={"unreadable": ["2", "9"]}, max_failed_share=0.17).too_many_failed


def test_a_data_set_of_which_nothing_can_be_read_is_all_failures(tmp_path: Path) -> None:
    report = make(tmp_path / "data", options={"unreadable": [str(n) for n in range(12)]})
    assert report.total.num_samples == 0 and report.total.num_failed == 12 and report.too_many_failed
    assert len(open_store(tmp_path / "data")) == 0


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_fault_of_the_program_stops_the_build_with_its_traceback(tmp_path: Path, num_workers: int) -> None:
    with pytest.raises(ZeroDivisionError, match="a fault in reading 6") as caught:
        # As a plan is made, chips are read, too: the fault is in one that is not among those.
        make_with_plan(tmp_path / "data", num_workers, broken=["6"])
    if num_workers == 2:
        assert "a fault in reading 6" in caught.value.__notes__[0]
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_a_server_that_is_gone_stops_the_build_with_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match=r"^http://localhost:1: nothing answers; start the server$"):
        make_with_plan(tmp_path / "data", 1, unreachable=["6"])
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"plan.json", "train-00000-of-00003.parquet"}
    # Before anything was made there is nothing to go on with, and the folder is free for another recipe.
    with pytest.raises(EndpointError, match="nothing answers"):
        make_with_plan(tmp_path / "none", 1, unreachable=["0"])
    assert not list((tmp_path / "none").iterdir())


def make_with_plan(out: Path, num_workers: int, **options: object) -> None:
    wanted = recipe(options=options)
    out.mkdir()
    plan = make_plan(wanted, open_tools(recipe(), out))
    plan.save(out)
    build(wanted, out, open_tools=open_tools, num_workers=num_workers)


def test_another_recipe_into_the_same_folder_is_refused(built: Path) -> None:
    before = hashes(built)
    with pytest.raises(SampleError, match=r"another recipe was begun here \(seed differ\)"):
        make(built, seed=3)
    assert hashes(built) == before


def test_two_builds_do_not_meet_in_one_folder(built: Path) -> None:
    handle = os.open(built, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(SampleError, match="another build is at work here; wait for it, or give another --out"):
            make(built)
    finally:
        os.close(handle)
    make(built)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="a file stands where the output folder should be"):
        make(tmp_path / "file" / "data")


def test_progress_counts_chips(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    wanted = recipe(options={"num": 9})
    build(wanted, tmp_path, open_tools=open_tools, progress=lambda *stage: told.append(stage))
    assert told == [("counting classes", n, 9) for n in range(1, 10)] + [("building", n, 9) for n in (0, 4, 8, 9)]
    told.clear()
    build(wanted, tmp_path, open_tools=open_tools, progress=lambda *stage: told.append(stage))
    assert told == [("building", 9, 9)]


def test_an_error_after_the_first_level_keeps_what_was_asked(tmp_path: Path) -> None:
    from terrascope.llm import NoReply
    from terrascope.terracot.writer import Written

    class Silent:
        name = "silent"

        def caption(self, chip: object, rng: np.random.Generator) -> Written:
            raise NoReply("no reply after 5 tries", "timed out")

    tools = replace(open_tools(recipe(), tmp_path), writer=Silent())  # type: ignore[arg-type]
    plan = Plan(recipe=recipe(), shards=())
    asked = ask_chip(plan, tools, None, "stripes", "4")
    assert asked.failed == "timed out"
    assert {sample.level for sample in asked.samples} == {"referring", "L1"}
    assert asked.record is not None


def test_a_chip_of_which_little_is_labelled_is_asked_for_its_masks_alone(tmp_path: Path) -> None:
    tools = open_tools(recipe(), tmp_path)
    source = tools.sources["stripes"]

    class Sparse:
        """The stripes with a fifth of the labels left out."""

        name = "stripes"

        def read(self, key: str) -> object:
            chip = source.read(key)
            ids = chip.labels[0].ids.copy()
            ids[: len(ids) // 5] = UNLABELLED
            return replace(chip, labels=(replace(chip.labels[0], ids=ids), *chip.labels[1:]))

    sparse = replace(tools, sources={"stripes": Sparse()})  # type: ignore[dict-item]
    asked = ask_chip(Plan(recipe=recipe(), shards=()), sparse, None, "stripes", "4")
    assert {sample.level for sample in asked.samples} == {"referring"}
    assert (asked.failed, asked.rejected) == (None, ("too little of it is labelled",))
    lenient = Plan(recipe=recipe(level1={"min_labelled": 0.5}), shards=())
    assert {"referring", "L1", "caption"} <= {s.level for s in ask_chip(lenient, sparse, None, "stripes", "4").samples}


def test_chance_depends_on_every_name_and_on_no_machine() -> None:
    assert rng_of(0, "a", "b").integers(1 << 62) == 2405376590558942726
    draws = {
        int(rng_of(*names).integers(1 << 62)) for names in ((0, "a", "b"), (1, "a", "b"), (0, "ab"), (0, "b", "a"))
    }
    assert len(draws) == 4


DRIVER = """
import json, sys
from pathlib import Path
from stripes import open_tools, recipe
from terrascope.terracot.build import build

if __name__ == "__main__":
    build(recipe(**json.loads(sys.argv[2])), Path(sys.argv[1]), open_tools=open_tools, num_workers=2)
"""


def test_a_build_that_was_killed_goes_on_and_loses_nothing(tmp_path: Path) -> None:
    """SIGKILL of the driver in the middle: the shards that were done are kept, at most one a worker is repeated."""
    out, log = tmp_path / "data", tmp_path / "log"
    fields = {"options": {"log": str(log), "num": 16, "seconds": 0.05}, "chips_per_shard": 2}
    wanted = recipe(**fields)
    out.mkdir()
    make_plan(wanted, open_tools(recipe(options={"num": 16}), out)).save(out)
    (tmp_path / "driver.py").write_text(DRIVER)
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), str(out), json.dumps(fields)],
        env={**os.environ, "PYTHONPATH": path},
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("train-*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    time.sleep(0.5)
    finished = sorted(out.glob("train-*.parquet"))
    assert 3 <= len(finished) < 8 and not (out / "manifest.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in finished}
    report = build(wanted, out, open_tools=open_tools)
    assert report.num_kept == len(finished)
    assert {path: path.stat().st_mtime_ns for path in finished} == kept
    reads = Counter(log.read_text().split())
    assert set(reads) == {str(number) for number in range(16)}
    assert sum(reads.values()) - 16 <= 4, "two chips a shard, one shard a worker"
    make(tmp_path / "whole", wanted=wanted)
    assert hashes(tmp_path / "whole") == hashes(out)
