"""Training and benchmark apart: by place, by content, and by where they lie on the ground."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stripes import make_chip, open_tools, recipe, water_question
from terrascope.errors import SampleError
from terrascope.sample import arrow_schema
from terrascope.sources.chips import Origin
from terrascope.terracot.build import build
from terrascope.terracot.plan import PlannedChip
from terrascope.terracot.record import ChipRecord, record_chip, to_sample
from terrascope.terracot.separation import Benchmark, SeparationError, check_separate


def benchmark_of(*chips: ChipRecord) -> Benchmark:
    return Benchmark(origin="bench", chips=chips)


SQUARE = ((10.0, 50.0), (10.1, 50.0), (10.1, 49.9), (10.0, 49.9))


def at(east: float, north: float = 0.0, **fields: object) -> ChipRecord:
    """A chip of 0.1 x 0.1 degrees, moved."""
    footprint = tuple((lon + east, lat + north) for lon, lat in SQUARE)
    return ChipRecord(**{"source": "a", "key": f"{east}", "place": f"{east} {north}", "footprint": footprint} | fields)


def test_a_place_of_the_benchmark_is_refused_whatever_the_chip() -> None:
    benchmark = benchmark_of(ChipRecord(source="a", key="1", place="p"))
    benchmark.check_places([PlannedChip("a", "2", "q"), PlannedChip("b", "2", "p")])
    sentence = (
        "a/2 would be a training scene, but shows the scene a/1 of the benchmark bench: both are of the place p; "
        "leave it out, or choose another split"
    )
    with pytest.raises(SeparationError) as caught:
        benchmark.check_places([PlannedChip("a", "2", "p")])
    assert str(caught.value) == sentence
    with pytest.raises(SeparationError, match="place p"):
        check_separate([ChipRecord(source="a", key="2", place="p")], benchmark)


def test_a_chip_that_was_exported_and_read_again_is_told_by_what_it_was() -> None:
    came_back = ChipRecord(source="terracot", key="a/1.png", place="p", origins=(Origin("a", "1", "p"),))
    original = ChipRecord(source="a", key="1", place="p")
    with pytest.raises(SeparationError, match=r"^terracot/a/1\.png would .* scene a/1 of .* the place p of a; leave"):
        benchmark_of(original).check(came_back)
    with pytest.raises(SeparationError, match=r"^a/1 would .* scene terracot/a/1\.png of .* both are of the place p;"):
        benchmark_of(came_back).check(original)
    benchmark_of(original).check(replace(came_back, origins=(Origin("b", "1", "p"), Origin("a", "1", "q"))))


def test_the_same_image_under_another_name_is_refused() -> None:
    chip = make_chip(3)
    copy = replace(make_chip(3), source="b", key="x", place="elsewhere")
    unplaced = replace(record_chip(copy), footprint=None)
    with pytest.raises(SeparationError, match=r"b/x would be .* stripes/3 of the benchmark bench: their images are"):
        check_separate([unplaced], benchmark_of(record_chip(chip)))
    check_separate([replace(record_chip(make_chip(4)), footprint=None, place="q")], benchmark_of(record_chip(chip)))


def test_the_same_label_map_under_another_image_is_refused() -> None:
    other_light = replace(record_chip(make_chip(3, seed=77)), footprint=None, place="q", source="b")
    with pytest.raises(SeparationError, match="their label maps are the same"):
        check_separate([other_light], benchmark_of(record_chip(make_chip(3))))


@pytest.mark.parametrize(("east", "north"), [(0.0, 0.0), (0.05, 0.0), (-0.09, 0.09), (360.0, 0.0), (-359.95, 0.02)])
def test_footprints_that_overlap_are_refused(east: float, north: float) -> None:
    with pytest.raises(SeparationError, match="they overlap on the ground"):
        check_separate([at(east, north, source="b")], benchmark_of(at(0, source="c")))


@pytest.mark.parametrize(("east", "north"), [(0.1, 0.0), (0.0, -0.1), (0.0995, 0.05), (0.2, 0.0), (5.0, 5.0)])
def test_footprints_side_by_side_are_not(east: float, north: float) -> None:
    check_separate([at(east, north, source="b")], benchmark_of(at(0, source="c")))


def test_the_date_line_hides_no_overlap() -> None:
    over = at(169.95, source="b")
    folded = tuple((lon - 360 if lon > 180 else lon, lat) for lon, lat in over.footprint or ())
    assert {lon > 0 for lon, _ in folded} == {True, False}
    check = benchmark_of(replace(over, footprint=folded, source="c")).check
    with pytest.raises(SeparationError):
        check(at(170.01, source="b"))
    with pytest.raises(SeparationError):
        check(at(-190.05 - 0.05, source="b"))
    check(at(0, source="b"))


def test_a_finished_data_set_is_a_benchmark(tmp_path: Path) -> None:
    build(recipe(levels=["L1"], options={"first": 4, "num": 2}), tmp_path / "bench", open_tools=open_tools)
    benchmark = Benchmark.open(tmp_path / "bench")
    assert benchmark.origin == "bench"
    assert [chip.name for chip in benchmark.chips] == ["stripes/4", "stripes/5"]
    assert benchmark.chips[0] == record_chip(make_chip(4))


def test_a_file_of_another_program_is_a_benchmark_of_places_and_boxes(tmp_path: Path) -> None:
    chip = make_chip(4)
    rows = [to_sample(chip, water_question(chip, "area", "?", "x"), level="L1", number=n).to_row() for n in (1, 2)]
    path = tmp_path / "bench.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema()), path)
    benchmark = Benchmark.open(path)
    (scene,) = benchmark.chips
    assert (scene.name, scene.place, scene.contents) == ("stripes/4", "place 2", ())
    with pytest.raises(SeparationError, match="both are of the place place 2"):
        benchmark.check(record_chip(make_chip(5)))
    moved = replace(record_chip(make_chip(4, source="b", at=0.5)), contents=())
    with pytest.raises(SeparationError, match="overlap on the ground"):
        benchmark.check(moved)
    benchmark.check(record_chip(make_chip(9, source="b")))


def test_an_empty_benchmark_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bench.parquet"
    pq.write_table(pa.Table.from_pylist([], schema=arrow_schema()), path)
    with pytest.raises(SampleError, match=r"bench\.parquet: holds no sample; give the benchmark's folder"):
        Benchmark.open(path)
    with pytest.raises(SampleError, match=r"manifest\.json: not found; give the folder of a data set"):
        Benchmark.open(tmp_path)


@pytest.mark.parametrize(
    ("train", "why"),
    [
        ({"num": 6}, "both are of the place place 2"),
        ({"first": 12, "num": 4, "at": -8}, "they overlap on the ground"),
    ],
)
def test_a_build_that_would_show_a_scene_of_the_benchmark_is_refused(
    tmp_path: Path, train: dict[str, object], why: str
) -> None:
    build(recipe(levels=["L1"], options={"first": 4, "num": 2}), tmp_path / "bench", open_tools=open_tools)
    wanted = recipe(levels=["L1"], options=train, exclude=str(tmp_path / "bench"))
    with pytest.raises(SeparationError, match=why):
        build(wanted, tmp_path / "out", open_tools=open_tools)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_build_beside_the_benchmark_is_not(tmp_path: Path) -> None:
    build(recipe(levels=["L1"], options={"first": 4, "num": 2}), tmp_path / "bench", open_tools=open_tools)
    # Other columns of water, so that the label maps differ; side by side on the ground.
    wanted = recipe(levels=["L1"], options={"first": 6, "num": 4}, exclude=str(tmp_path / "bench"))
    report = build(wanted, tmp_path / "out", open_tools=open_tools)
    assert report.total.num_chips == 4 and not report.total.failed
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["recipe"]["exclude"] == "bench"
