"""Dense batches: images and targets stay on each other through crops, turns and flips; only what is known counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from terrascope.landcover import TERRASCOPE, UNLABELLED
from terrascope.training.batches import CLOUD, TARGET_SIZE, DenseSampler
from terrascope.training.pool import SIZE, Frame, Pool

FLOOD = TERRASCOPE.id_of("flood")
NUM_CODES = 9
"""Class ids 0..8 are drawn into the coded pool; the ninth is cloud, which is no ground."""


def coded_pool(source: str, *, clouds: bool = False) -> Pool:
    """Frames whose every view shows the class ids as brightness (25 per id), in 64-pixel blocks without symmetry."""
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, NUM_CODES, (4, SIZE // 64, SIZE // 64)).astype(np.uint8)
    ids = blocks.repeat(64, 1).repeat(64, 2)
    views = np.broadcast_to((ids * 25)[:, None, None], (4, 3, 3, SIZE, SIZE)).copy()
    hidden = np.zeros(ids.shape, bool)
    if clouds:
        hidden[:, :128] = True
    frames = tuple(
        Frame(source=source, scene=f"{i}", date=0, split="train", gsd_m=10.0, views=(0, 1, 2), known=(0, 1, 2, 3, 4, 5))
        for i in range(4)
    )
    return Pool(frames, views, ids, hidden)


@pytest.fixture
def untinted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DenseSampler, "_tint", lambda self, image, view: image)


def test_shapes_and_ranges(pool: Pool) -> None:
    batch = DenseSampler(pool, 0).draw(6)
    assert batch.images.shape == (6, 3, SIZE, SIZE)
    assert batch.targets.shape == (6, len(TERRASCOPE), TARGET_SIZE, TARGET_SIZE)
    assert batch.known.shape == (6, len(TERRASCOPE)) and batch.known.dtype == torch.bool
    assert batch.weights.shape == (6, len(TERRASCOPE), TARGET_SIZE, TARGET_SIZE)
    assert batch.images.min() >= 0 and batch.images.max() <= 1
    assert set(batch.targets.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.usefixtures("untinted")
@pytest.mark.parametrize("source", ["hls", "synthetic", "ombria"])
def test_image_and_target_are_cut_turned_and_flipped_alike(source: str) -> None:
    sampler = DenseSampler(coded_pool(source), 1)
    for _ in range(4):
        batch = sampler.draw(8)
        seen = (batch.images[:, :, ::2, ::2] * 255 / 25 + batch.images[:, :, 1::2, 1::2] * 255 / 25) / 2
        shown = seen.mean(1)
        said = batch.targets.argmax(1)
        # A bilinear image is a mixture at the blocks' borders, and there nearest may fall on either side.
        inner = (torch.nn.functional.max_pool2d(said[:, None].float(), 9, 1, 4)
                 == -torch.nn.functional.max_pool2d(-said[:, None].float(), 9, 1, 4))[:, 0]  # fmt: skip
        assert inner.float().mean() > 0.5
        assert torch.allclose(shown[inner], said[inner].float(), atol=1e-3)


@pytest.mark.usefixtures("untinted")
def test_all_eight_symmetries_and_many_crops_are_drawn() -> None:
    pool = coded_pool("hls")
    pool.views[:], pool.ids[:] = 0, 0
    pool.views[..., :128, :] = 100  # the north is half bright, and its west is bright
    pool.views[..., :128, :128] = 200
    batch = DenseSampler(pool, 2).draw(200)
    corners = batch.images[:, 0][:, [0, 0, -1, -1], [0, -1, 0, -1]]
    whole = (corners * 255).round().int().tolist()
    # Crops may miss a corner's part; of the whole ones, all eight orders occur.
    orders = {tuple(row) for row in whole if sorted(row) == [0, 0, 100, 200]}
    assert len(orders) == 8
    assert len({round(float(image.mean()), 4) for image in batch.images}) > 100


def test_targets_are_the_frames_classes_and_known_is_what_it_vouches_for(pool: Pool) -> None:
    batch = DenseSampler(coded_pool("hls"), 0).draw(4)
    expected = torch.zeros(len(TERRASCOPE), dtype=torch.bool)
    expected[:6] = True
    assert torch.equal(batch.known, expected.expand(4, -1))
    assert torch.equal(batch.targets.sum(1), torch.ones(4, TARGET_SIZE, TARGET_SIZE))
    assert (batch.weights == 1).all()
    for row in DenseSampler(pool, 0).draw(24).known:
        sources = {frame.known for frame in pool.frames}
        known = set(row.nonzero()[:, 0].tolist())
        assert any(known - {CLOUD} == set(vouched) for vouched in sources)


def test_unlabelled_pixels_have_no_weight_and_no_class() -> None:
    pool = coded_pool("hls")
    pool.ids[:, 64:128] = UNLABELLED
    batch = DenseSampler(pool, 0).draw(8)
    blank = batch.weights[:, 0] == 0
    assert blank.any() and not blank.all()
    assert torch.equal(batch.weights, (~blank).float()[:, None].expand_as(batch.weights))
    assert (batch.targets.sum(1)[blank] == 0).all() and (batch.targets.sum(1)[~blank] == 1).all()


def test_under_clouds_the_ground_counts_less_and_the_cloud_is_a_class() -> None:
    optical = coded_pool("synthetic", clouds=True)
    sampler = DenseSampler(optical, 4)
    views: list[int] = []
    pick = sampler._pick
    sampler._pick = lambda: (lambda drawn: (views.append(drawn[1]), drawn)[1])(pick())  # type: ignore[method-assign]
    batch = sampler.draw(40)
    assert set(views) == {0, 1, 2}
    for row, view in enumerate(views):
        cloud = batch.targets[row, CLOUD] > 0
        if view == 2:
            assert not batch.known[row, CLOUD] and not cloud.any() and (batch.weights[row] == 1).all()
            continue
        assert batch.known[row, CLOUD]
        expected = torch.where(cloud, 0.3, 1.0).repeat(len(TERRASCOPE), 1, 1)
        expected[CLOUD] = 1.0
        assert torch.equal(batch.weights[row], expected)
    assert (batch.weights == 1).any() and (batch.weights < 1).any()


def test_real_chips_have_no_cloud_class() -> None:
    batch = DenseSampler(coded_pool("hls", clouds=True), 0).draw(8)
    assert not batch.known[:, CLOUD].any() and (batch.weights == 1).all()


def test_views_are_drawn_from_those_that_a_frame_has(pool: Pool) -> None:
    sampler = DenseSampler(pool, 0)
    for _ in range(300):
        index, view = sampler._pick()
        assert view in pool.frames[index].views and pool.frames[index].split == "train"


def test_sources_and_second_dates_come_in_their_shares(pool: Pool) -> None:
    sampler = DenseSampler(pool, 0)
    drawn = [pool.frames[sampler._pick()[0]] for _ in range(2000)]
    share = {s: np.mean([frame.source == s for frame in drawn]) for s in ("hls", "synthetic", "ombria")}
    assert share == pytest.approx({"hls": 0.45, "synthetic": 0.35, "ombria": 0.20}, abs=0.04)
    assert np.mean([f.date for f in drawn if f.source == "ombria"]) == pytest.approx(0.85, abs=0.06)


def test_a_pool_without_chips_draws_generated_scenes_only(pool: Pool) -> None:
    kept = [i for i, frame in enumerate(pool.frames) if frame.source == "synthetic"]
    small = Pool(tuple(pool.frames[i] for i in kept), pool.views[kept], pool.ids[kept], pool.clouds[kept])
    sampler = DenseSampler(small, 0)
    assert sampler.sources == ["synthetic"] and sampler.shares.tolist() == [1.0]
    assert sampler.draw(2).known.any(1).all()


def test_the_same_seed_draws_the_same_batches(pool: Pool) -> None:
    one, two, other = (DenseSampler(pool, seed) for seed in (7, 7, 8))
    for _ in range(2):
        first, again, different = one.draw(3), two.draw(3), other.draw(3)
        for name in ("images", "targets", "known", "weights"):
            assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(first.images, different.images)


def test_tint_keeps_radar_grey_and_changes_brightness_mildly() -> None:
    sampler = DenseSampler(coded_pool("synthetic"), 0)
    image = torch.full((3, 4, 4), 0.5)
    radar = [sampler._tint(image, 2) for _ in range(200)]
    assert all(torch.equal(r, r[:1, :1, :1].expand(3, 4, 4)) for r in radar)
    assert np.std([float(r.mean()) for r in radar]) == pytest.approx(0.04, abs=0.006)
    spread = [
        float((sampler._tint(torch.tensor([0.25, 0.75]).expand(3, 1, 2), 2)[0, 0] * torch.tensor([-1, 1])).sum())
        for _ in range(200)
    ]
    assert np.mean(spread) == pytest.approx(0.5, abs=0.01) and np.std(spread) == pytest.approx(0.03, abs=0.006)
    optical = [sampler._tint(image, 0) for _ in range(200)]
    assert np.mean([float(o.mean()) for o in optical]) == pytest.approx(0.5, abs=0.02)
    assert any((o[0] - o[2]).abs().max() > 0.01 for o in optical), "colours shift against each other"


def test_frames_of_either_date_can_be_drawn() -> None:
    pool = coded_pool("synthetic")
    later = Pool((*pool.frames[:3], replace(pool.frames[3], scene="2", date=1)), pool.views, pool.ids, pool.clouds)
    drawn = {DenseSampler(later, seed)._pick()[0] for seed in range(60)}
    assert drawn == {0, 1, 2, 3}
    assert {DenseSampler(pool, seed)._pick()[0] for seed in range(60)} == {0, 1, 2, 3}
