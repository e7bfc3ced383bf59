"""A scene that was kept is the scene that was prepared, and a file that is not whole is made anew."""

from __future__ import annotations

import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from terrascope.errors import OutputError
from terrascope.model.processing import TerraScopeProcessor
from terrascope.sources.generated import Generated
from terrascope.training import scene_cache
from terrascope.training.scene_cache import PreparedScene, SceneCache, prepare_scene
from tests.model.conftest import make_tiny
from tests.training.made_store import SOURCE


@pytest.fixture(scope="module")
def processor() -> TerraScopeProcessor:
    return make_tiny()[1]


@pytest.fixture(scope="module")
def prepared(processor: TerraScopeProcessor) -> PreparedScene:
    chip = SOURCE.read("0")
    return prepare_scene(processor, chip.scene, chip.labels)


def assert_same(one: PreparedScene, other: PreparedScene) -> None:
    assert torch.equal(one.inputs.tiles, other.inputs.tiles)
    assert torch.equal(one.inputs.sam_images, other.inputs.sam_images)
    assert one.inputs.tiles.dtype == other.inputs.sam_images.dtype == torch.float16
    assert one.inputs.layouts == other.inputs.layouts and one.inputs.modalities == other.inputs.modalities
    assert one.facts == other.facts
    for mine, others in ((one.inputs.valid, other.inputs.valid), (one.known, other.known)):
        assert len(mine) == len(others)
        assert all(a.dtype == b.dtype == torch.bool and torch.equal(a, b) for a, b in zip(mine, others, strict=True))


def test_a_prepared_scene_is_what_inference_sees_in_half_precision(processor: TerraScopeProcessor) -> None:
    chip = SOURCE.read("1")
    scene, inputs = chip.scene, processor.image_processor.prepare_scene(chip.scene)
    prepared = prepare_scene(processor, scene, chip.labels)
    assert torch.equal(prepared.inputs.tiles, inputs.tiles.half())
    assert torch.equal(prepared.inputs.sam_images, inputs.sam_images.half())
    assert (prepared.inputs.tiles.float() - inputs.tiles).abs().max() < 2e-3
    assert prepared.facts == processor.describe(scene)
    assert len(prepared.known) == len(scene.pairs) and prepared.known[0].shape == scene.shape


def test_what_was_kept_comes_back(processor: TerraScopeProcessor, prepared: PreparedScene, tmp_path: Path) -> None:
    made: list[str] = []

    def make() -> PreparedScene:
        made.append("made")
        return replace(prepared, facts=replace(prepared.facts, dates=("2020-01-02", *prepared.facts.dates[1:])))

    first = SceneCache(tmp_path / "new" / "scenes", processor).get("synthetic/0", SOURCE, make)
    again = SceneCache(tmp_path / "new" / "scenes", processor).get("synthetic/0", SOURCE, make)
    assert made == ["made"]
    assert_same(first, again)
    assert again.facts.dates[0] == "2020-01-02"
    files = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert files == [SceneCache(tmp_path / "new" / "scenes", processor).path_of("synthetic/0", SOURCE)]


def test_files_are_told_apart_by_scene_source_and_image_settings(
    processor: TerraScopeProcessor, tmp_path: Path
) -> None:
    cache = SceneCache(tmp_path, processor)
    other = make_tiny()[1]
    other.image_processor.sam_size = 128
    paths = {
        cache.path_of("synthetic/0", SOURCE),
        cache.path_of("synthetic/1", SOURCE),
        cache.path_of("synthetic/0 (sar)", SOURCE),
        SceneCache(tmp_path, processor).path_of("synthetic/0", Generated(num=8, size=128)),
        SceneCache(tmp_path, other).path_of("synthetic/0", SOURCE),
    }
    assert len(paths) == 5
    assert SceneCache(tmp_path, make_tiny()[1]).path_of("synthetic/1", SOURCE) in paths


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_file_that_is_not_whole_is_made_anew_and_said(
    processor: TerraScopeProcessor,
    prepared: PreparedScene,
    tmp_path: Path,
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        scene_cache, "_log", types.SimpleNamespace(warning=lambda text, *told: said.append(text % told))
    )
    cache = SceneCache(tmp_path, processor)
    cache.get("synthetic/0", SOURCE, lambda: prepared)
    path = cache.path_of("synthetic/0", SOURCE)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-100], "empty": b"", "other": b"\x02\0\0\0\0\0\0\0{}"}[damage])
    assert_same(cache.get("synthetic/0", SOURCE, lambda: prepared), prepared)
    assert len(said) == 1 and str(path) in said[0] and "made anew" in said[0]
    assert path.read_bytes() == whole
    assert_same(cache.get("synthetic/0", SOURCE, lambda: pytest.fail("kept")), prepared)
    assert len(said) == 1


def test_a_failure_leaves_no_file(processor: TerraScopeProcessor, tmp_path: Path) -> None:
    def fail() -> PreparedScene:
        raise KeyError("broken")

    with pytest.raises(KeyError):
        SceneCache(tmp_path, processor).get("synthetic/0", SOURCE, fail)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_cannot_be_written_is_said(
    processor: TerraScopeProcessor, prepared: PreparedScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"scenes: cannot be made .* give another folder as scene_cache"):
        SceneCache(tmp_path / "file" / "scenes", processor)
    cache = SceneCache(tmp_path / "scenes", processor)

    def fill_the_disk(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(scene_cache, "save_file", fill_the_disk)
    with pytest.raises(OutputError, match=r"cannot be written .*No space left"):
        cache.get("synthetic/0", SOURCE, lambda: prepared)
    assert not [path for path in (tmp_path / "scenes").rglob("*") if path.is_file()]
