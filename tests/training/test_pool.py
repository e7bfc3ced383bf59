"""The image pool: what is stored is what was rendered, and a build is whole or not there."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED
from terrascope.rasters.sensors import render
from terrascope.sources import synthetic
from terrascope.sources.chips import read_all
from terrascope.sources.hls_worldcover import HlsWorldCover
from terrascope.sources.ombria import Ombria
from terrascope.training import pool as pool_module
from terrascope.training.pool import SIZE, VALIDATION_SEED, VIEWS, Pool, build_pool
from tests.training.conftest import NUM_TRAIN, NUM_VAL, SerialExecutor


def test_every_frame_is_there_with_its_split(pool: Pool) -> None:
    assert VIEWS == ("optical", "false color", "sar")
    assert pool.views.shape == (len(pool.frames), 3, 3, SIZE, SIZE) and pool.views.dtype == np.uint8
    assert pool.ids.shape == pool.clouds.shape == (len(pool.frames), SIZE, SIZE)
    names = {split: [pool.frames[i].scene for i in pool.select(split, "synthetic")] for split in ("train", "val")}
    assert set(names["train"]) == {f"s{seed}" for seed in range(NUM_TRAIN)}
    assert set(names["val"]) == {f"s{VALIDATION_SEED + seed}" for seed in range(NUM_VAL)}
    assert [pool.frames[i].scene for i in pool.select("train", "hls")] == ["h0", "h2"]
    assert [pool.frames[i].scene for i in pool.select("val", "hls")] == ["h1"]
    assert [pool.frames[i].scene for i in pool.select("val", "ombria")] == ["ob.png", "ob.png"]


def test_frames_of_a_scene_follow_each_other_in_time_order(pool: Pool) -> None:
    scenes = [list(frames) for _, frames in groupby(pool.frames, key=lambda frame: (frame.source, frame.scene))]
    assert all([frame.date for frame in frames] == list(range(len(frames))) for frames in scenes)
    train = [frames for frames in scenes if frames[0].split == "train"]
    assert {len(frames) for frames in train if frames[0].source == "synthetic"} == {1, 2}
    assert [len(frames) for frames in train if frames[0].source == "ombria"] == [2]


@pytest.mark.parametrize("seed", [0, 1, VALIDATION_SEED])
def test_generated_frames_equal_the_renderings_of_their_scene(pool: Pool, seed: int) -> None:
    sample = synthetic.make_sample(seed, size=SIZE)
    frames = [i for i, frame in enumerate(pool.frames) if frame.scene == f"s{seed}"]
    assert len(frames) == len(sample.labels)
    for i, pair, label_map, cloud in zip(frames, sample.scene.pairs, sample.labels, sample.clouds, strict=True):
        assert pool.frames[i].views == (0, 1, 2)
        for view, observation in ((0, pair.optical), (2, pair.sar)):
            assert observation is not None
            np.testing.assert_allclose(pool.views[i, view] / 255, render(observation), atol=0.5 / 255 + 1e-6)
        assert pair.optical is not None
        shown = np.stack([pair.optical.band(name) for name in ("B12", "B8A", "B04")]) / 0.5
        np.testing.assert_allclose(pool.views[i, 1] / 255, np.clip(shown, 0, 1), atol=0.5 / 255 + 1e-6)
        np.testing.assert_array_equal(pool.ids[i], label_map.ids)
        np.testing.assert_array_equal(pool.clouds[i], cloud)
        assert pool.frames[i].known == label_map.class_ids_known
        assert pool.frames[i].gsd_m == sample.scene.georeference.gsd_m


def test_hls_frames_are_doubled_in_size_and_halved_in_scale(pool: Pool, chips: Path) -> None:
    chip = next(read_all(HlsWorldCover(chips / "hls-worldcover"), "train"))
    (i,) = [i for i, frame in enumerate(pool.frames) if frame.scene == "h0"]
    assert pool.frames[i].views == (0, 1) and pool.frames[i].gsd_m == 15.0
    np.testing.assert_array_equal(pool.ids[i], np.kron(chip.labels[0].ids, np.ones((2, 2), np.uint8)))
    picture = render(chip.scene.observations[0])
    # Bilinear doubling: every new pixel is 9/16, 3/16, 3/16 and 1/16 of its four neighbours.
    mixed = 9 * picture[:, 5, 7] + 3 * picture[:, 4, 7] + 3 * picture[:, 5, 6] + picture[:, 4, 6]
    np.testing.assert_allclose(pool.views[i, 0, :, 10, 14] / 255, mixed / 16, atol=0.5 / 255 + 1e-6)
    assert not pool.clouds[i].any() and not pool.views[i, 2].any()
    tree, crop, water = (TERRASCOPE.id_of(name) for name in ("tree", "crop", "water"))
    assert [pool.ids[i][row, column] for row, column in ((0, 0), (0, 255), (200, 255), (255, 0))] == [
        crop, water, tree, UNLABELLED,
    ]  # fmt: skip


def test_ombria_frames_show_false_colour_and_radar(pool: Pool, chips: Path) -> None:
    chip = next(read_all(Ombria(chips / "ombria"), "train"))
    frames = [i for i, frame in enumerate(pool.frames) if frame.scene == "oa.png"]
    flood = TERRASCOPE.id_of("flood")
    for i, pair, label_map in zip(frames, chip.scene.pairs, chip.labels, strict=True):
        assert pool.frames[i].views == (1, 2) and pool.frames[i].known == (flood,) and pool.frames[i].gsd_m == 10.0
        for view, observation in ((1, pair.optical), (2, pair.sar)):
            assert observation is not None
            stored = np.broadcast_to(observation.pixels, (3, SIZE, SIZE))
            np.testing.assert_array_equal(pool.views[i, view], stored)
        assert not pool.views[i, 0].any()
        np.testing.assert_array_equal(pool.ids[i], label_map.ids)
    assert set(np.unique(pool.ids[frames[0]])) == {OTHER}
    assert (pool.ids[frames[1]] == flood).sum() == 76 * 256


def test_a_complete_pool_is_opened_not_built_again(
    pool: Pool, pool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*settings: object) -> None:
        raise AssertionError("nothing may be generated")

    monkeypatch.setattr(pool_module, "ProcessPoolExecutor", refuse)
    before = {path.name: path.stat().st_mtime_ns for path in pool_folder.iterdir()}
    again = build_pool(pool_folder, None, num_train=99, num_val=99, num_workers=1)
    assert again.frames == pool.frames
    for name in ("views", "ids", "clouds"):
        np.testing.assert_array_equal(getattr(again, name), getattr(pool, name))
    assert {path.name: path.stat().st_mtime_ns for path in pool_folder.iterdir()} == before
    assert set(before) == {"frames.json", "views.npy", "ids.npy", "clouds.npy"}


def test_a_build_that_was_killed_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "ProcessPoolExecutor", SerialExecutor)
    folder = tmp_path / "pool"
    folder.mkdir()
    (folder / "views.npy").write_bytes(b"cut short")
    (folder / "frames.json.part").write_text("[{")
    made = build_pool(folder, None, num_train=1, num_val=0, num_workers=1)
    assert {frame.scene for frame in made.frames} == {"s0"}
    np.testing.assert_array_equal(made.ids[0], synthetic.make_sample(0, size=SIZE).labels[0].ids)
    assert not (folder / "frames.json.part").exists()


def test_workers_are_not_forked_from_a_process_with_threads(
    chips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[SerialExecutor] = []

    def record(*settings: object, **named: object) -> SerialExecutor:
        made.append(SerialExecutor(*settings, **named))
        return made[0]

    monkeypatch.setattr(pool_module, "ProcessPoolExecutor", record)
    build_pool(tmp_path / "pool", chips, num_train=1, num_val=0, num_workers=1)
    context = made[0].settings[1].get("mp_context")
    assert context is not None and context.get_start_method() in ("spawn", "forkserver")
