"""A benchmark opened again: its questions, its scenes as they are shown, and what is said when they are not there."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terrascope.bench.build import build
from terrascope.bench.items import Benchmark, digest_of, items
from terrascope.bench.recipe import BenchRecipe
from terrascope.bench.store import open_bench
from terrascope.errors import SampleError, SceneError
from terrascope.sources import generated
from terrascope.sources.chips import Chip
from terrascope.sources.generated import Generated
from terrascope.sources.ombria import Ombria
from terrascope.terracot.store import open_store
from tests.bench.drawn_scenes import make_sample


@pytest.fixture(scope="module", autouse=True)
def _drawn() -> Iterator[None]:
    """Generated scenes are the drawn ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generated, "make_sample", make_sample)
        yield


@pytest.fixture(scope="module")
def floods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two places of OMBRIA's layout, optical and SAR before and after a flood."""
    root = tmp_path_factory.mktemp("floods") / "ombria"
    rng = np.random.default_rng(0)
    with (root.parent / "split.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["chip", "scene", "split"])
        writer.writerows([["a.png", "1", "val"], ["b.png", "2", "val"]])
    for folder in ("s1_before", "s1_after", "s2_before", "s2_after", "mask"):
        (root / folder).mkdir(parents=True)
        for name, width in (("a.png", 9), ("b.png", 20)):
            if folder == "mask":
                pixels = np.zeros((32, 32), np.uint8)
                pixels[:, :width] = 255
            else:
                pixels = rng.integers(1, 255, (32, 32, 3) if folder.startswith("s2") else (32, 32)).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / name)
    shutil.move(root.parent / "split.csv", root / "split.csv")
    return root


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, floods: Path) -> Path:
    """A benchmark about both places and about six generated scenes."""
    out = tmp_path_factory.mktemp("bench") / "small"
    sources = [{"name": "floods", "kind": "ombria", "root": str(floods)}, {"name": "synthetic", "root": 6}]
    build(BenchRecipe.of({"sources": sources, "split": "val"}), out)
    return out


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copied"))


def test_an_item_is_a_question_with_the_images_that_it_shows(built: Path, floods: Path) -> None:
    bench: Benchmark = open_bench(built, {"floods": str(floods)})
    assert bench.name == "small"
    assert bench.samples == tuple(open_store(built)) == tuple(item.sample for item in items(bench))
    shown = set()
    for index, sample in enumerate(bench.samples):
        item = bench.item(index)
        assert item.sample is sample and item.shown == sample.id.rpartition("/")[2]
        own = [
            (number, image.modality) for number, pair in enumerate(item.scene.pairs, 1) for image in pair.observations
        ]
        assert own == [(image.number, image.modality) for image in sample.images]
        source = Ombria(floods) if sample.source == "floods" else Generated(num=6)
        whole = {
            (number, image.modality): image.pixels
            for number, pair in enumerate(source.read(sample.key).scene.pairs, 1)
            for image in pair.observations
        }
        for number, pair in enumerate(item.scene.pairs, 1):
            for image in pair.observations:
                assert np.array_equal(image.pixels, whole[number, image.modality])
        shown.add((sample.source, item.shown))
    assert {("floods", kind) for kind in ("optical", "sar", "both")} <= shown and len(shown) == 6


def test_the_digest_is_that_of_questions_and_truths(built: Path) -> None:
    bench = open_bench(built)
    assert bench.digest == open_bench(built).digest == digest_of(bench.samples)
    first, *others = bench.samples
    assert digest_of([replace(first, truth="9%"), *others]) != bench.digest
    assert digest_of([*others, first]) != bench.digest


def test_a_folder_of_something_else_is_refused_before_anything_is_asked(
    built: Path, floods: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        SampleError, match="--read xbd: small asks about no source of this name; it asks about floods, "
    ):
        open_bench(built, {"floods": str(floods), "xbd": str(tmp_path)})
    other = Path(shutil.copytree(floods, tmp_path / "ombria"))
    for path in (*other.glob("*/*.png"),):
        path.rename(path.with_name(f"other-{path.name}"))
    (other / "split.csv").write_text("chip,scene,split\nother-a.png,1,val\nother-b.png,2,val\n")
    with pytest.raises(SampleError, match="ombria: holds none of the 2 scenes of floods that small asks about"):
        open_bench(built, {"floods": str(other)})


def test_the_table_of_another_data_set_is_one_sentence(built: Path, floods: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(floods, tmp_path / "other"))
    (other / "split.csv").write_text("chip,group,split\n0,0,val\n")
    with pytest.raises(SceneError, match=r"split\.csv: has no column 'scene'; give the folder of the data set"):
        open_bench(built, {"floods": str(other)})


def test_where_no_benchmark_lies(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SampleError, match=f"{place.name}: no benchmark lies there; give the folder of one"):
            open_bench(place)


@pytest.mark.parametrize("recipe", [None, {}, [], 5, {"sources": None}, {"sources": [5]}, {"sources": [{}]}])
def test_a_manifest_without_sources_is_one_sentence(copied: Path, recipe: object) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps({**manifest, "recipe": recipe}))
    with pytest.raises(SampleError, match=r"manifest\.json: its recipe names no sources"):
        open_bench(copied, {})
    (copied / "manifest.json").write_text(json.dumps({n: v for n, v in manifest.items() if n != "recipe"}))
    with pytest.raises(SampleError, match="its recipe names no sources"):
        open_bench(copied)


def test_the_versions_of_a_question_read_their_scene_once(
    built: Path, floods: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, calls = Ombria.read, list[str]()

    def counted(source: Ombria, key: str) -> Chip:
        calls.append(key)
        return read(source, key)

    monkeypatch.setattr(Ombria, "read", counted)
    bench = open_bench(built, {"floods": str(floods)})
    assert calls == [], "nothing is read before it is asked for"
    of_floods = [index for index, sample in enumerate(bench.samples) if sample.source == "floods"]
    assert len(of_floods) == 12
    for index in of_floods:
        bench.item(index)
    assert calls == ["a.png", "b.png"]


def test_a_folder_that_is_not_given_is_missed_at_once_and_not_for_scoring(built: Path) -> None:
    sentence = "the folder of floods, which it asks about, was not given; name it with --read floods=DIR"
    with pytest.raises(SampleError, match=sentence):
        open_bench(built, {})
    bench = open_bench(built)
    numbers = {sample.source: index for index, sample in enumerate(bench.samples)}
    with pytest.raises(SampleError, match=sentence):
        bench.item(numbers["floods"])
    assert bench.item(numbers["synthetic"]).scene.shape == (64, 64)


def test_a_folder_that_does_not_exist_is_one_sentence(built: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"missing: no such folder; for ombria, give a folder of Sentinel-1"):
        open_bench(built, {"floods": str(tmp_path / "missing")})


def test_another_image_or_label_under_the_same_name_is_refused(built: Path, floods: Path, tmp_path: Path) -> None:
    for folder in ("s1_after", "mask"):
        other = Path(shutil.copytree(floods, tmp_path / folder))
        pixels = np.array(Image.open(other / folder / "a.png"))
        pixels[3:9, 3:30] = 255 - pixels[3:9, 3:30]
        Image.fromarray(pixels).save(other / folder / "a.png")
        bench = open_bench(built, {"floods": str(other)})
        keys = {sample.key: index for index, sample in enumerate(bench.samples)}
        assert bench.item(keys["b.png"]).scene.shape == (32, 32)
        with pytest.raises(SampleError, match=r"floods/a.png: its images or labels are not those that small was built"):
            bench.item(keys["a.png"])


def test_generated_images_may_differ_in_their_last_digits_and_their_labels_may_not(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = open_bench(built)
    index = next(number for number, sample in enumerate(bench.samples) if sample.source == "synthetic")
    read = Generated.read
    change = {"labels": False}

    def rounded(source: Generated, key: str) -> Chip:
        chip = read(source, key)
        pair = chip.scene.pairs[0]
        assert pair.optical is not None
        nudged = replace(pair.optical, pixels=np.asarray(pair.optical.pixels) * np.float32(1.000001))
        scene = replace(chip.scene, pairs=(replace(pair, optical=nudged), *chip.scene.pairs[1:]))
        labels = tuple(replace(one, ids=np.flipud(one.ids)) for one in chip.labels) if change["labels"] else chip.labels
        return replace(chip, scene=scene, labels=labels)

    monkeypatch.setattr(Generated, "read", rounded)
    assert bench.item(index).scene.shape == (64, 64)
    change["labels"] = True
    with pytest.raises(SampleError, match="its images or labels are not those"):
        open_bench(built).item(index)


def test_a_truncated_file_is_one_sentence(copied: Path) -> None:
    path = copied / "val-00000-of-00001.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SampleError, match=r"val-00000-of-00001.parquet: not a whole Parquet file; build it again"):
        open_bench(copied)


def test_a_file_with_other_bytes_is_one_sentence(copied: Path) -> None:
    path = copied / "val-00000-of-00001.parquet"
    other = bytearray(path.read_bytes())
    other[len(other) // 3] ^= 0xFF
    path.write_bytes(bytes(other))
    with pytest.raises(SampleError, match="its checksum is not that of the manifest; copy it again"):
        open_bench(copied)


def test_what_is_no_benchmark_is_one_sentence(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="nowhere: no benchmark lies there; give the folder of one"):
        open_bench(tmp_path / "nowhere")
    (copied / "manifest.json").write_text("{")
    with pytest.raises(SampleError, match="not a readable manifest"):
        open_bench(copied)


def test_training_data_is_no_benchmark(copied: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from terrascope.sample import arrow_schema

    rows = [replace(sample, level="L1").to_row() for sample in open_store(copied)]
    path = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema()), path)
    with pytest.raises(SampleError, match=r"is a sample of level L1; give a benchmark's folder"):
        open_bench(path)
    pq.write_table(pa.Table.from_pylist([], schema=arrow_schema()), path)
    with pytest.raises(SampleError, match="holds no question"):
        open_bench(path)


def test_one_file_of_questions_is_a_benchmark_too(copied: Path, floods: Path) -> None:
    path = copied / "val-00000-of-00001.parquet"
    bench = open_bench(path)
    assert bench.name == "val-00000-of-00001"
    assert bench.digest == open_bench(copied).digest
    # Nothing says what kind of source it was built from: its name has to.
    with pytest.raises(SceneError, match="unknown source 'floods'"):
        open_bench(path, {"floods": str(floods)})


def test_a_source_is_opened_as_the_recipe_says(copied: Path, floods: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["recipe"]["sources"][0]["options"] = {"bands": "B02"}
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SceneError, match="source ombria has no option 'bands'"):
        open_bench(copied, {"floods": str(floods)})
