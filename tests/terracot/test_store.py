"""A data set read back: the same samples by every way of reading, and one sentence for whatever is wrong with it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stripes import make_chip, open_tools, recipe, water_question
from terrascope.errors import SampleError
from terrascope.sample import SCHEMA, Sample, SampleMask, arrow_schema
from terrascope.terracot.build import build
from terrascope.terracot.record import record_chip, to_sample
from terrascope.terracot.shard import ShardReport, add_up, read_footer, write_shard
from terrascope.terracot.store import Store, open_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve chips in three shards, all levels."""
    path = tmp_path_factory.mktemp("store") / "data"
    build(recipe(), path, open_tools=open_tools)
    return path


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    import shutil

    return Path(shutil.copytree(folder, tmp_path / "data"))


def shard(path: Path, number: int = 1) -> Path:
    return path / f"train-{number:05d}-of-00003.parquet"


def rows_of(folder: Path) -> list[dict[str, object]]:
    return [row for number in range(3) for row in pq.read_table(shard(folder, number)).to_pylist()]


def test_any_sample_is_read_at_once(folder: Path) -> None:
    store, expected = open_store(folder), rows_of(folder)
    assert len(store) == len(expected) > 50
    for index in [*range(0, len(expected), 7), len(expected) - 1, 0, -1, -len(expected)]:
        assert store[index].to_row() == Sample.from_row(expected[index]).to_row()
    for index in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError, match=f"sample {index} of {len(expected)}"):
            store[index]


def test_samples_come_in_order_and_by_kind(folder: Path) -> None:
    store = open_store(folder)
    everything = list(store)
    assert [sample.id for sample in everything] == [row["id"] for row in rows_of(folder)]
    assert list(store.select(level="caption")) == [s for s in everything if s.level == "caption"]
    assert len(list(store.select(level="caption"))) == 12
    deep = list(store.select(level="L2", task="spatial/echo", split="train", source="stripes"))
    assert [sample.key for sample in deep] == [str(n) for n in range(12)]
    assert not list(store.select(split="val"))
    assert list(store.rows(columns=["key"], level="L2")) == [{"key": str(n)} for n in range(12)]


def test_datasets_reads_the_same_rows(folder: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = [str(shard(folder, number)) for number in range(3)]
    read = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    store = open_store(folder)
    assert [Sample.from_row(row) for row in read] == list(store)
    assert Sample.from_row(read[17]) == store[17]


def test_a_store_reads_on_in_another_process(folder: Path) -> None:
    store = open_store(folder)
    expected = store[40]
    assert pickle.loads(pickle.dumps(store))[40] == expected


def test_copies_for_random_reads_go_with_the_store(folder: Path) -> None:
    store = open_store(folder)
    sample = store[0]
    copies = Path(store._copies.name)
    assert [path.name for path in copies.iterdir()] == ["0.arrow"], "of no other shard than the one that was read"
    del store
    assert not copies.exists() and sample.level == "referring"


def test_a_store_knows_its_chips_and_counts(folder: Path) -> None:
    store = open_store(folder)
    assert list(store.chips()) == [record_chip(make_chip(number)) for number in range(12)]
    assert store.report.num_samples == len(store)
    assert store.report.by_level["caption"] == 12 and store.report.rejected == {"too short": 12}


def test_one_file_is_a_store_too(folder: Path) -> None:
    store = open_store(shard(folder))
    assert store.manifest is None and {sample.key for sample in store} == {"4", "5", "6", "7"}


def cut_short(path: Path) -> None:
    shard(path).write_bytes(shard(path).read_bytes()[:-200])


def remove(path: Path) -> None:
    shard(path).unlink()


def change_form(path: Path) -> None:
    table = pq.read_table(shard(path))
    pq.write_table(table.replace_schema_metadata({"terrascope": "terrascope-sample/9"}), shard(path))


def drop_column(path: Path) -> None:
    pq.write_table(pq.read_table(shard(path)).drop_columns("truth"), shard(path))


def add_column(path: Path) -> None:
    table = pq.read_table(shard(path))
    pq.write_table(table.append_column("mood", pa.array(["good"] * len(table))), shard(path))


def drop_rows(path: Path) -> None:
    pq.write_table(pq.read_table(shard(path))[3:], shard(path))


def spoil_manifest(path: Path) -> None:
    (path / "manifest.json").write_text("{}")


def change_store_form(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"form": "terrascope-store/9"}))


def forget_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (cut_short, "train-00001-of-00003.parquet: not a whole Parquet file; build it again, or copy it again"),
        (remove, "train-00001-of-00003.parquet: not found; build the data set again"),
        (
            change_form,
            f"train-00001-of-00003.parquet: its samples are of the form terrascope-sample/9, and this program reads "
            f"{SCHEMA}",
        ),
        (
            drop_column,
            f"train-00001-of-00003.parquet: has no column truth; give a file of samples of the form {SCHEMA}",
        ),
        (
            add_column,
            f"train-00001-of-00003.parquet: the column mood is none of a sample; give a file of the form {SCHEMA}",
        ),
        (spoil_manifest, "manifest.json: not a readable manifest; build the data set again to write it anew"),
        (
            change_store_form,
            "manifest.json: a data set of the form terrascope-store/9, and this program reads terrascope-store/1",
        ),
        (forget_manifest, "manifest.json: not found; its build is not finished; build it again to go on"),
    ],
)
def test_a_damaged_store_is_refused_in_one_sentence(
    copied: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    damage(copied)
    with pytest.raises(SampleError) as caught:
        open_store(copied)
    assert str(caught.value) == f"{copied}/{sentence}"


def test_missing_rows_are_refused(copied: Path) -> None:
    num_rows = len(pq.read_table(shard(copied)))
    drop_rows(copied)
    with pytest.raises(
        SampleError, match=rf"{num_rows - 3} samples, but manifest\.json says {num_rows}; build or copy"
    ):
        open_store(copied)


def test_damage_within_a_file_is_named_when_it_is_met(copied: Path) -> None:
    content = bytearray(shard(copied).read_bytes())
    content[4:2000] = bytes(1996)
    shard(copied).write_bytes(content)
    store = open_store(copied)
    with pytest.raises(SampleError, match=r"train-00001-of-00003\.parquet: damaged \("):
        list(store)
    with pytest.raises(SampleError, match=r"train-00001-of-00003\.parquet: damaged \("):
        store[len(store) // 2]


def test_the_same_samples_are_the_same_bytes(tmp_path: Path) -> None:
    chip = make_chip(2)
    samples = [to_sample(chip, water_question(chip, "area", "?", "x"), level="L1", number=n) for n in range(1, 4)]
    report = ShardReport.of(number=0, num_chips=1, num_empty=0, samples=samples, failed={"b": 1, "a": 2}, rejected={})
    for name in ("one", "two"):
        write_shard(tmp_path / name, samples, [record_chip(chip)], report, plan="p")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    footer = read_footer(tmp_path / "one")
    assert (footer.num_rows, footer.plan, footer.report, footer.chips) == (3, "p", report, (record_chip(chip),))
    assert pq.read_schema(tmp_path / "one").equals(arrow_schema())
    assert pq.read_schema(tmp_path / "one").metadata == {b"terrascope": SCHEMA.encode()}
    assert Store(tmp_path / "one", [tmp_path / "one"], None)[2] == samples[2]


def test_samples_are_counted_by_all_that_matters() -> None:
    chip = make_chip(2)
    free = to_sample(chip, water_question(chip, "area", "?", "12"), level="L1", number=1)
    lettered = replace(free, options=("a", "b"), reasoning="<think>x [SEG]</think><answer>B</answer>", truth="b")
    two = SampleMask(counts=free.masks[0].counts, image=1, class_name="tree")
    samples = [
        replace(free, value=12.0),
        lettered,
        replace(free, task="existence", truth="Yes"),
        replace(free, level="L2", task="spatial/x", masks=free.masks * 2 + (two,), truth="the north"),
    ]
    report = ShardReport.of(
        number=4, num_chips=9, num_empty=2, samples=samples, failed={"torn": 3}, rejected={"dull": 1}
    )
    assert report.by_level == {"L1": 3, "L2": 1}
    assert report.by_task == {"L1/area": 2, "L1/existence": 1, "L2/spatial/x": 1}
    assert report.by_class == {"tree": 1, "water": 4}
    assert report.by_answer == {
        "L1/area: B": 1,
        "L1/area: a number": 1,
        "L1/existence: yes": 1,
        "L2/spatial/x: words": 1,
    }
    both = add_up([report, replace(report, failed={"lost": 1}, number=5)])
    assert (both.num_chips, both.num_empty, both.num_samples, both.num_failed) == (18, 4, 8, 4)
    assert both.failed == {"lost": 1, "torn": 3} and both.by_class == {"tree": 2, "water": 8}
    assert add_up([]).num_samples == 0
