"""Masks of a large scene against the plain sum over its views, and sweeps that are killed and go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from terrascope.doctor.folders import cache_folder
from terrascope.masks import drop_specks
from terrascope.model import sweep as sweeping
from terrascope.model.drawing import ground
from terrascope.model.encoding import encode_scene
from terrascope.model.engine.requests import Pause, Program
from terrascope.model.sweep import Query, SweepSettings, Swept, sweep
from terrascope.model.unfinished import Unfinished
from terrascope.model.views import Axis
from terrascope.rasters.sensors import render
from terrascope.scene import Scene
from terrascope.sources.synthetic import make_sample
from tests.model.conftest import Loaded

T = TypeVar("T")

SETTINGS = SweepSettings(view=40, overlap=12, batch=3, precision=torch.float32)


@pytest.fixture(scope="module")
def large() -> Scene:
    """100 x 100 pixels, two dates, optical and SAR; each image is blind somewhere else, and both are in one corner."""
    scene = make_sample(5, size=100, kind="country", num_dates=2, cloudy=False).scene
    pairs = []
    for pair in scene.pairs:
        optical, sar = pair.optical.valid.copy(), pair.sar.valid.copy()
        optical[:30], sar[:, 60:], optical[60:, :50], sar[60:, :50] = False, False, False, False
        pairs.append(replace(pair, optical=replace(pair.optical, valid=optical), sar=replace(pair.sar, valid=sar)))
    return Scene(tuple(pairs))


def queries(tiny: Loaded, *pairs: int) -> list[Query]:
    width = tiny[0].config.vlm_config.text_config.hidden_size
    states = torch.randn(len(pairs), width, generator=torch.Generator().manual_seed(1))
    return [Query(pair, state) for pair, state in zip(pairs, states, strict=True)]


@torch.inference_mode()
def finish(program: Program[T]) -> T:
    """Run a program that does all of its work itself."""
    while True:
        try:
            assert isinstance(next(program), Pause)
        except StopIteration as stop:
            return stop.value


def run(tiny: Loaded, scene: Scene, asked: Sequence[Query], settings: SweepSettings = SETTINGS) -> list[Swept]:
    results, problem = finish(sweep(tiny[0], tiny[1].image_processor, scene, asked, settings))
    assert problem is None
    return results


def sum_over_views(tiny: Loaded, scene: Scene, query: Query, settings: SweepSettings) -> np.ndarray:
    """Blended logits float64 `[H, W]`, one view at a time, each as a scene of its own."""
    model, processor = tiny
    rows, columns = (Axis(side, settings.view, settings.overlap) for side in scene.shape)
    total = np.zeros(scene.shape)
    for i, row_weights in enumerate(rows.weights):
        for j, column_weights in enumerate(columns.weights):
            part = scene.window(rows.slice(i), columns.slice(j)).pairs[query.pair]
            images = torch.stack([torch.from_numpy(render(image)) for image in part.observations])
            with torch.inference_mode():
                views = torch.stack([processor.image_processor.view_for_masks(image) for image in images])
                embedding = model.encode_for_masks(views)
                logits = model.decode_masks(embedding, query.state.expand(len(views), 1, -1))[0]
                full = torch.nn.functional.interpolate(logits, size=part.valid.shape, mode="bilinear")[:, 0]
                fused = model.fuse_logits(full, torch.from_numpy(np.stack([o.valid for o in part.observations])))
            total[rows.slice(i), columns.slice(j)] += fused.numpy() * row_weights[:, None] * column_weights
    return total


@pytest.mark.parametrize("shown", ["optical", "sar", "both"])
def test_mask_is_the_blend_of_all_views(tiny: Loaded, large: Scene, shown: str) -> None:
    scene = Scene(
        tuple(
            replace(p, optical=None if shown == "sar" else p.optical, sar=None if shown == "optical" else p.sar)
            for p in large.pairs
        )
    )
    asked = queries(tiny, 1, 0, 1)
    for query, result in zip(asked, run(tiny, scene, asked), strict=True):
        logits = sum_over_views(tiny, scene, query, SETTINGS)
        expected = (logits > 0) & scene.pairs[query.pair].valid
        assert 0 < expected.sum() < expected.size
        clear = np.abs(logits) > 1e-4
        assert np.array_equal(result.mask & clear, expected & clear)
        assert result.confidence == pytest.approx((1 / (1 + np.exp(-logits[expected]))).mean(), abs=1e-5)


def test_one_view_of_the_whole_scene_is_the_plain_mask(tiny: Loaded, large: Scene) -> None:
    model, processor = tiny
    (query,) = queries(tiny, 1)
    (result,) = run(tiny, large, [query], SweepSettings(view=100, overlap=0, precision=torch.float32))
    with torch.inference_mode():
        encoded = encode_scene(model, processor.image_processor.prepare_scene(large))
        mask, confidence = ground(model, encoded, 1, query.state)
    assert np.array_equal(result.mask, mask.numpy())
    assert result.confidence == pytest.approx(confidence, abs=1e-5)


def test_temperature_changes_the_confidence_and_not_the_mask(tiny: Loaded, large: Scene, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    model, processor = tiny
    (query,) = queries(tiny, 1)
    (plain,) = run(tiny, large, [query])
    monkeypatch.setattr(model.config, "mask_temperature", 2.5)
    (cooler,) = run(tiny, large, [query])
    logits = sum_over_views(tiny, large, query, SETTINGS)
    assert np.array_equal(cooler.mask, plain.mask)
    inside = logits[cooler.mask]
    assert cooler.confidence == pytest.approx((1 / (1 + np.exp(-inside / 2.5))).mean(), abs=1e-5)
    assert cooler.confidence < plain.confidence - 0.01
    (whole,) = run(tiny, large, [query], SweepSettings(view=100, overlap=0, precision=torch.float32))
    with torch.inference_mode():
        encoded = encode_scene(model, processor.image_processor.prepare_scene(large))
        mask, confidence = ground(model, encoded, 1, query.state)
    assert np.array_equal(whole.mask, mask.numpy()) and whole.confidence == pytest.approx(confidence, abs=1e-5)
    monkeypatch.setattr(sweeping, "_decode", lambda model, views, states, _: torch.full((len(views), 1, 8, 8), -2.0))
    (empty,) = run(tiny, Scene((replace(large.pairs[0], sar=None),)), [replace(query, pair=0)])
    assert empty.confidence == pytest.approx(1 - 1 / (1 + np.exp(2 / 2.5)))


@pytest.mark.parametrize("num_cells", [3.0, 40.0, 1e6])
def test_specks_are_dropped_by_the_size_of_a_view(tiny: Loaded, large: Scene, monkeypatch, num_cells: float) -> None:  # type: ignore[no-untyped-def]
    model, processor = tiny
    asked = queries(tiny, 1, 0)
    plain = run(tiny, large, asked)
    monkeypatch.setattr(model.config, "min_object_cells", num_cells)
    cells = 16 * 16
    for before, after in zip(plain, run(tiny, large, asked), strict=True):
        assert np.array_equal(after.mask, drop_specks(before.mask, num_cells * SETTINGS.view**2 / cells))
        assert after.confidence == before.confidence
    changed = [not np.array_equal(a.mask, b.mask) for a, b in zip(plain, run(tiny, large, asked), strict=True)]
    assert any(changed)
    with torch.inference_mode():
        encoded = encode_scene(model, processor.image_processor.prepare_scene(large))
        mask, confidence = ground(model, encoded, 1, asked[0].state)
        monkeypatch.setattr(model.config, "min_object_cells", 0.0)
        everything, same = ground(model, encoded, 1, asked[0].state)
    height, width = large.shape
    assert np.array_equal(mask.numpy(), drop_specks(everything.numpy(), num_cells * height * width / cells))
    assert confidence == same


def test_an_empty_mask_is_as_sure_as_its_highest_pixel(tiny: Loaded, large: Scene, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sweeping, "_decode", lambda model, views, states, _: torch.full((len(views), 1, 8, 8), -2.0))
    (result,) = run(tiny, Scene((replace(large.pairs[0], sar=None),)), queries(tiny, 0))
    assert not result.mask.any()
    assert result.confidence == pytest.approx(1 - 1 / (1 + np.exp(2)))


def test_batches_and_order_change_nothing(tiny: Loaded, large: Scene) -> None:
    asked = queries(tiny, 0, 1, 0)
    together = run(tiny, large, asked)
    alone = [run(tiny, large, [query], replace(SETTINGS, batch=1))[0] for query in asked]
    for one, other in zip(together, alone, strict=True):
        assert (one.mask != other.mask).mean() < 1e-3
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


class Killed(Exception):
    pass


def test_a_killed_sweep_goes_on_where_it_stopped(tiny: Loaded, large: Scene, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sweeping, "_SAVE_EVERY_S", 0.0)
    asked = queries(tiny, 0, 1)
    whole = run(tiny, large, asked)
    seen: list[tuple[int, int]] = []

    def watch(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == 3:
            raise Killed

    with pytest.raises(Killed):
        finish(sweep(tiny[0], tiny[1].image_processor, large, asked, SETTINGS, watch))
    assert seen == [(0, 16), (4, 16), (8, 16)]
    assert len(list((cache_folder() / "unfinished").iterdir())) == 1
    resumed, _ = finish(sweep(tiny[0], tiny[1].image_processor, large, asked, SETTINGS, watch))
    assert seen[3:] == [(8, 16), (12, 16), (16, 16)]
    for one, other in zip(resumed, whole, strict=True):
        assert np.array_equal(one.mask, other.mask) and one.confidence == other.confidence
    assert not list((cache_folder() / "unfinished").iterdir())


def test_another_question_scene_or_view_is_another_sweep(tiny: Loaded, large: Scene) -> None:
    def name(scene: Scene, asked: list[Query], settings: SweepSettings) -> Path:
        return Unfinished(*sweeping._what_decides(tiny[0], tiny[1].image_processor, scene, asked, settings)).path

    asked = queries(tiny, 0, 1)
    darker = replace(large.pairs[0].optical, pixels=large.pairs[0].optical.pixels * np.float32(0.5))
    names = {
        name(large, asked, SETTINGS),
        name(large, asked[:1], SETTINGS),
        name(large, asked, replace(SETTINGS, overlap=8)),
        name(Scene((replace(large.pairs[0], optical=darker), large.pairs[1])), asked, SETTINGS),
    }
    assert len(names) == 4
    assert name(large, queries(tiny, 0, 1), SETTINGS) in names


def test_a_damaged_state_is_worth_none(tmp_path: Path) -> None:
    state = Unfinished(b"one")
    assert state.load() is None
    state.save({"a": np.arange(3)})
    found = state.load()
    assert found is not None and found["a"].tolist() == [0, 1, 2]
    state.path.write_bytes(state.path.read_bytes()[:40])
    assert state.load() is None
    state.clear()
    assert not state.path.exists()


def test_a_state_that_cannot_be_saved_is_told(tiny: Loaded, large: Scene, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TERRASCOPE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(sweeping, "_SAVE_EVERY_S", 0.0)
    results, problem = finish(sweep(tiny[0], tiny[1].image_processor, large, queries(tiny, 0), SETTINGS))
    assert len(results) == 1
    assert problem is not None and "Not a directory" in problem
