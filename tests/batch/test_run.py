"""Batches: what lies in the folder, read back by other programs, and how they go on after any end."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
from pyarrow import parquet
from pystac.validation import JsonSchemaSTACValidator
from rio_cogeo.cogeo import cog_validate

from terrascope.answer import Answer
from terrascope.batch.asking import ask_scenes
from terrascope.batch.folder import ABOUT, JOURNAL, SCENES
from terrascope.batch.manifest import read_manifest
from terrascope.batch.plan import AskedQuestion, AskedScene, Plan
from terrascope.batch.plan import make_plan as plan_of
from terrascope.batch.run import BatchReport, run
from terrascope.errors import ModelError, OutputError, TerraScopeError
from terrascope.predictor import Ask
from terrascope.scene import Scene
from tests.batch.made_manifests import NUM_ROWS, ROWS, WATER, Slow, make_plan, write_manifest
from tests.oracle import TREE, Oracle, make_scene
from tests.oracle import WATER as WATER_MASK

ROOT = Path(__file__).resolve().parents[2]


def ask(plan: Plan, out: Path, predictor: Any = None, **how: Any) -> BatchReport:
    asked = {"model": "oracle", **how}
    return run(plan, lambda scenes: ask_scenes(predictor or Oracle(), scenes), out, **asked)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return make_plan(tmp_path_factory.mktemp("batch") / "in")


@pytest.fixture(scope="module")
def done(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a batch that nothing has stopped."""
    folder = tmp_path_factory.mktemp("done")
    report = ask(plan, folder / "out")
    assert (report.num_scenes, report.num_questions, report.num_asked, report.num_answered) == (4, 5, 5, 4)
    assert dict(report.failed) == {"image cannot be read": 1}
    return folder / "out"


def test_the_folder_holds_these_files(done: Path) -> None:
    found = {str(path.relative_to(done)) for path in done.rglob("*") if path.is_file()}
    assert found - {".run.lock"} == {
        "batch.json", "journal.jsonl", "answers.parquet", "masks.parquet", "failures.csv", "collection.json",
        *(f"scenes/a/{name}" for name in ("a.json", "a.tif", "b.json", "b.tif", "masks.parquet", "item.json")),
        *(f"scenes/d/{name}" for name in ("d.json", "d.tif", "masks.parquet", "item.json")),
        *(f"scenes/e/{name}" for name in ("e.json", "e.tif", "masks.parquet")),
    }  # fmt: skip


def test_answers_are_rows_at_their_place(done: Path) -> None:
    answers = geopandas.read_parquet(done / "answers.parquet")
    assert answers.crs == "EPSG:4326"
    assert answers["id"].tolist() == ["a", "b", "d", "e"]
    assert answers["scene"].tolist() == ["a", "a", "d", "e"]
    assert answers["answer"].tolist() == ["10%", "B", "10%", "10%"]
    assert answers["option"].fillna("-").tolist() == ["-", "trees", "-", "-"]
    assert answers["user:site"].fillna("-").tolist() == ["Elbe", "-", "Elbe", "nowhere"]
    assert answers["confidence"].tolist() == [0.75] * 4
    assert answers["coverage_percent"][0].tolist() == [10, 12.5]
    assert answers["num_objects"][0].tolist() == [1, 1]
    assert answers["area_m2"][0].tolist() == pytest.approx([20_000, 25_000], rel=2e-3)
    assert answers["area_m2"][3].tolist() == [None, None] or np.isnan(answers["area_m2"][3]).all()
    assert answers["model"].unique().tolist() == ["oracle"]
    west, south, east, north = answers.to_crs("EPSG:32633").geometry[0].bounds
    assert (west, south, east, north) == pytest.approx((500_000, 4_999_600, 500_500, 5_000_000), abs=0.1)
    assert answers.geometry[3] is None


def test_outlines_have_the_area_of_the_masks(done: Path) -> None:
    masks = geopandas.read_parquet(done / "masks.parquet")
    assert masks.crs == "EPSG:4326"
    assert masks["id"].tolist() == ["a", "a", "b", "b", "d", "d", "e", "e"]
    assert masks["step"].tolist() == [1, 2] * 4
    located = masks[masks["scene"] != "e"].to_crs("EPSG:32633")
    assert located.area.tolist() == pytest.approx([20_000, 25_000] * 3, rel=1e-4)
    assert located.geometry.iloc[0].bounds == pytest.approx((500_000, 4_999_800, 500_100, 5_000_000), abs=0.1)
    assert masks[masks["scene"] == "e"].geometry.isna().all()
    assert masks["num_pixels"].tolist() == [200, 250] * 4


def test_masks_are_cogs_on_the_grid_of_their_scene(done: Path) -> None:
    path = done / "scenes" / "d" / "d.tif"
    assert cog_validate(path, quiet=True)[0]
    with rasterio.open(path) as dataset:
        assert (dataset.crs.to_epsg(), dataset.transform[:6]) == (32633, (10, 0, 500_000, 0, -10, 5_000_000))
        assert dataset.descriptions == ("The water", "The trees")
        assert np.array_equal(dataset.read(), np.stack([WATER_MASK, TREE]).astype(np.uint8))


def test_items_and_collection_are_stac(done: Path) -> None:
    collection = pystac.Collection.from_file(str(done / "collection.json"))
    validator = JsonSchemaSTACValidator()
    assert validator.validate_core(collection.to_dict(), pystac.STACObjectType.COLLECTION, "1.1.0")
    items = {item.id: item for item in collection.get_items()}
    assert set(items) == {"a", "d"}
    for item in items.values():
        assert validator.validate_core(item.to_dict(), pystac.STACObjectType.ITEM, "1.1.0")
        assert item.get_collection().id == collection.id == item.collection_id
        assert all(Path(asset.get_absolute_href()).is_file() for asset in item.assets.values())
    asked = items["a"].properties["terrascope:questions"]
    assert [(one["id"], one["answer"]) for one in asked] == [("a", "10%"), ("b", "trees")]
    assert set(items["a"].assets) == {"a.tif", "a.json", "b.tif", "b.json", "masks.parquet"}
    west, south, east, north = collection.extent.spatial.bboxes[0]
    assert items["a"].bbox == [west, south, east, north]


def test_failures_are_listed(done: Path) -> None:
    with (done / "failures.csv").open(newline="") as file:
        (failure,) = csv.DictReader(file)
    assert (failure["id"], failure["scene"], failure["reason"]) == ("c", "c", "image cannot be read")
    assert failure["message"].endswith("missing.tif: no such file; give the path of a GeoTIFF, PNG or JPEG")


def test_the_answer_of_a_row_is_that_of_ask(done: Path) -> None:
    told = json.loads((done / "scenes" / "d" / "d.json").read_text())
    assert (told["schema"], told["question"], told["answer"]) == ("terrascope-answer/1", WATER, "10%")


def test_what_is_done_is_not_asked_again(tmp_path: Path) -> None:
    plan, out = make_plan(tmp_path / "in"), tmp_path / "out"
    ask(plan, out)
    before = contents(out)
    predictor = Slow()
    report = ask(plan, out, predictor)
    assert (report.num_asked, predictor.asked, report.num_answered) == (0, [], 4)
    assert contents(out) == before


def test_failures_are_asked_again_where_that_is_wanted(tmp_path: Path) -> None:
    plan, out = make_plan(tmp_path / "in"), tmp_path / "out"
    (tmp_path / "in" / "west.tif").rename(tmp_path / "in" / "later.tif")
    assert ask(plan, out).num_answered == 3
    (tmp_path / "in" / "later.tif").rename(tmp_path / "in" / "west.tif")
    assert ask(plan, out).num_asked == 0
    report = ask(plan, out, again=True)
    assert (report.num_asked, report.num_answered, dict(report.failed)) == (2, 4, {"image cannot be read": 1})
    assert sorted(path.name for path in (out / SCENES).iterdir()) == ["a", "d", "e"]


class Choosy(Oracle):
    """Refuses one question until it is told otherwise."""

    refused: str | None = "Which covers more?"

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = (), **how: object) -> Answer:
        if question == self.refused:
            raise MemoryError if self.refused.startswith("Which") else ModelError("it broke")
        return super().ask(scene, question, options=options, **how)


def test_an_answer_that_comes_later_joins_its_scene(tmp_path: Path, plan: Plan, done: Path) -> None:
    out = tmp_path / "out"
    predictor = Choosy()
    report = ask(plan, out, predictor)
    assert dict(report.failed) == {"out of memory": 1, "image cannot be read": 1}
    assert sorted(path.name for path in (out / SCENES / "a").iterdir()) == [
        "a.json",
        "a.tif",
        "item.json",
        "masks.parquet",
    ]
    predictor.refused = None
    ask(plan, out, predictor, again=True)
    assert {"a.json", "b.json", "a.tif", "b.tif"} < {path.name for path in (out / SCENES / "a").iterdir()}
    assert answers(out) == answers(done)
    assert not (out / ".unfinished").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rows": ROWS[:-1]}, "holds a batch of manifest.csv as it was before"),
        ({"model": "other"}, "holds a batch of the model oracle"),
        ({"settings": {"dtype": "float16"}}, r"holds a batch with other settings \(\{\}\)"),
    ],
)
def test_another_batch_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    out = tmp_path / "out"
    ask(make_plan(tmp_path / "in"), out)
    before = contents(out)
    plan = read_manifest(write_manifest(tmp_path / "in", change.pop("rows", ROWS)))
    with pytest.raises(OutputError, match=f"{reason}; give another --out, or remove that batch"):
        ask(plan, out, **change)
    assert contents(out) == before


def test_what_cannot_begin_leaves_no_note(tmp_path: Path) -> None:
    plan, out = make_plan(tmp_path / "in"), tmp_path / "out"

    def broken(scenes: Sequence[AskedScene]) -> Iterator[Any]:
        raise ModelError("there is no such model")
        yield

    with pytest.raises(ModelError):
        run(plan, broken, out, model="nanoo")
    assert not (out / ABOUT).exists()
    assert ask(plan, out).num_answered == 4


def test_a_folder_is_held_by_one_process(tmp_path: Path) -> None:
    plan, out = make_plan(tmp_path / "in"), tmp_path / "out"

    def meddle(scenes: Sequence[AskedScene]) -> Iterator[Any]:
        with pytest.raises(OutputError, match="another run is writing there"):
            ask(plan, out)
        yield from ask_scenes(Oracle(), scenes)

    assert run(plan, meddle, out, model="oracle").num_answered == 4


def test_a_folder_that_cannot_be_a_batch(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "in")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where the output folder should be"):
        ask(plan, tmp_path / "file")
    out = tmp_path / "out"
    ask(plan, out)
    (out / ABOUT).write_text("{")
    with pytest.raises(OutputError, match=r"batch\.json: not readable as the note of a batch"):
        ask(plan, out)
    (out / ABOUT).unlink()
    with pytest.raises(OutputError, match=r"holds results but no batch\.json"):
        ask(plan, out)


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    plan, out = make_plan(tmp_path / "in"), tmp_path / "out"
    ask(plan, out)
    lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)
    (out / JOURNAL).write_bytes(b"".join([*lines[:2], b"nonsense\n", *lines[2:]]))
    with pytest.raises(OutputError, match=r"journal\.jsonl: line 3 is no row of a batch"):
        ask(plan, out)


@pytest.mark.parametrize("place", range(1, 12))
def test_a_torn_journal_goes_on(tmp_path: Path, plan: Plan, done: Path, place: int) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    whole = (out / JOURNAL).read_bytes()
    (out / JOURNAL).write_bytes(whole[: len(whole) * place // 12])
    ask(plan, out)
    assert answers(out) == answers(done)


def test_lost_files_are_made_again(tmp_path: Path, plan: Plan, done: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    shutil.rmtree(out / SCENES / "a")
    assert ask(plan, out).num_asked == 2
    assert answers(out) == answers(done)


@pytest.mark.parametrize("step", range(1, 60, 3))
def test_an_end_between_any_two_steps_of_the_writing_goes_on(
    tmp_path: Path, plan: Plan, done: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Any rename, link or removal may be the one that a process does not reach."""
    out = tmp_path / "out"
    predictor = Choosy()
    ask(plan, out, predictor)
    predictor.refused = None
    num_left = step

    class Ended(BaseException):
        pass

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **how: Any) -> Any:
            nonlocal num_left
            num_left -= 1
            if num_left == 0:
                raise Ended
            return function(*arguments, **how)

        return call

    with monkeypatch.context() as patched:
        for owner, name in ((os, "replace"), (os, "link"), (Path, "rename"), (Path, "mkdir"), (shutil, "rmtree")):
            patched.setattr(owner, name, counted(getattr(owner, name)))
        with suppress(Ended):
            ask(plan, out, predictor, again=True)
    ask(plan, out, predictor, again=True)
    assert answers(out) == answers(done)
    assert contents(out, SCENES) == contents(done, SCENES)
    assert not (out / ".unfinished").exists()


@pytest.mark.slow
def test_a_killed_process_is_gone_on_with(tmp_path: Path) -> None:
    write_manifest(tmp_path / "in")
    command = [sys.executable, "-m", "tests.batch.killed_run", str(tmp_path / "in"), str(tmp_path / "out")]
    drawn = random.Random(0)
    for _ in range(4):
        process = subprocess.Popen([*command, "0.05"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(drawn.randint(0, 3)):
            process.stdout.readline()
        time.sleep(drawn.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for path in tmp_path.glob("out/scenes/*"):
            assert (path / "masks.parquet").exists()
        for path in tmp_path.glob("out/[!.]*.parquet"):
            geopandas.read_parquet(path)
    (tmp_path / "out" / ".answers.123456.parquet").write_bytes(b"half")
    subprocess.run([*command, "0"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    ask(make_plan(tmp_path / "in"), tmp_path / "fresh")
    assert answers(tmp_path / "out") == answers(tmp_path / "fresh")
    assert contents(tmp_path / "out", SCENES) == contents(tmp_path / "fresh", SCENES)
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "fresh").keys()


def answers(out: Path) -> str:
    """The tables as text, without the time that each answer took."""
    tables = [parquet.read_table(out / name) for name in ("answers.parquet", "masks.parquet")]
    plain = [table.drop_columns(["seconds"]) if "seconds" in table.column_names else table for table in tables]
    return "\n".join([*(repr(table.to_pylist()) for table in plain), (out / "failures.csv").read_text()])


def contents(out: Path, part: str = "") -> dict[str, bytes]:
    """Bytes of all files but those that hold the time at which they were made."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in (out / part).rglob("*")
        if path.is_file() and path.name not in ("item.json", "collection.json", ".run.lock")
    }


# ---------------------------------------------------------------------------------------------------------------------
# The asking.


class Held:
    """Images that are in memory already, and say when they are opened."""

    def __init__(self, opened: list[str], name: str, scene: Scene | TerraScopeError | BaseException) -> None:
        self.opened, self.name, self.scene = opened, name, scene

    def open(self) -> Scene:
        self.opened.append(self.name)
        if isinstance(self.scene, BaseException):
            raise self.scene
        return self.scene

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


class Together(Oracle):
    """Takes all questions that it is given before it answers the first."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[int] = []

    def ask_many(self, asks: Any) -> Iterator[Answer | TerraScopeError]:
        taken = list(asks)
        self.groups.append(len(taken))
        for one in taken:
            yield self.ask(one.scene, one.question, options=one.options) if isinstance(one, Ask) else one


def held_plan(scenes: Sequence[Any], opened: list[str], num_questions: int = 2) -> Plan:
    return plan_of(
        "held",
        [
            (
                f"s{n}",
                Held(opened, f"s{n}", scene),
                [AskedQuestion(id=f"{n}-{q}", question=WATER) for q in range(num_questions)],
            )
            for n, scene in enumerate(scenes)
        ],
    )


def test_scenes_under_way_are_bounded_by_memory() -> None:
    scene = make_scene()
    num_bytes = sum(image.pixels.nbytes + image.valid.nbytes for image in scene.observations)
    plan = held_plan([scene] * 5, [])
    for memory_bytes, groups in ((num_bytes * 2, [4, 4, 2]), (1, [2] * 5), (10**9, [10])):
        predictor = Together()
        results = list(ask_scenes(predictor, plan.scenes, memory_bytes=memory_bytes))
        assert predictor.groups == groups
        assert [result.id for result in results] == [f"{n}-{q}" for n in range(5) for q in range(2)]


def test_what_fails_does_not_end_the_others() -> None:
    plan = held_plan([make_scene(), ModelError("no"), MemoryError(), make_scene()], [])
    results = list(ask_scenes(Together(), plan.scenes))
    assert [result.failed for result in results] == [
        None, None, "model failed", "model failed", "out of memory", "out of memory", None, None,
    ]  # fmt: skip


def test_reading_is_only_so_far_ahead_and_ends() -> None:
    opened: list[str] = []
    plan = held_plan([make_scene()] * 20, opened, 1)
    results = ask_scenes(Oracle(), plan.scenes)
    next(results)
    time.sleep(0.5)
    assert 2 <= len(opened) <= 6
    results.close()
    time.sleep(0.5)
    before = len(opened)
    time.sleep(0.3)
    assert len(opened) == before
    assert not [t for t in threading.enumerate() if t.name == "terrascope-reading-ahead" and t.is_alive()]


def test_a_fault_of_the_program_is_raised_and_not_listed() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ask_scenes(Oracle(), held_plan([make_scene(), ZeroDivisionError("bug")], []).scenes))


def test_the_report_counts(tmp_path: Path) -> None:
    report = ask(make_plan(tmp_path / "in"), tmp_path / "out")
    told = str(replace(report, seconds=1.25))
    assert told == (
        f"{NUM_ROWS} questions about 4 scenes: 4 answered, 1 failed (1 image cannot be read; see failures.csv); "
        f"5 asked now in 1.2 s; {tmp_path / 'out' / 'answers.parquet'}"
    )
