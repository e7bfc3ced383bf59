"""Features computed once equal what the vision tower says each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from terrascope.model.tiles import resize_image
from terrascope.training.features import build_features, shuffle_patches
from terrascope.training.instruct import SampleStream, project_batch
from terrascope.training.pool import Pool
from tests.model.conftest import Loaded


def test_projected_features_are_the_visual_tokens(trainable: Loaded) -> None:
    model, _ = trainable
    torch.manual_seed(1)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        shuffled = shuffle_patches(model, pixels)
        assert shuffled.shape == (3, 16, 64)
        tokens = model.vlm.model.multi_modal_projector(shuffled)
        assert torch.allclose(tokens, model.encode_tiles(pixels), atol=1e-6)


def test_every_view_that_a_frame_has_gets_features(
    trainable: Loaded, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = trainable
    path = tmp_path / "features.npy"
    features = build_features(model, pool, path, processor.image_processor, batch_size=5)
    assert features.shape == (len(pool.frames), 3, 16, 64) and features.dtype == np.float16
    assert sorted(p.name for p in tmp_path.iterdir()) == ["features.npy"]
    for i, frame in enumerate(pool.frames):
        for view in range(3):
            assert features[i, view].any() == (view in frame.views)
    i, view = 3, 1
    picture = torch.from_numpy(pool.views[i, view].astype(np.float32) / 255)
    pixels = processor.image_processor.normalize_pixels(resize_image(picture, (32, 32)))[None]
    with torch.no_grad():
        exact = shuffle_patches(model, pixels)[0].numpy()
    # bfloat16 keeps eight bits.
    scale = np.abs(exact).max()
    assert np.abs(features[i, view] - exact).max() < 0.05 * scale
    assert np.abs(features[i, view].astype(np.float32) - exact).mean() < 0.01 * scale
    monkeypatch.setattr("terrascope.training.features.shuffle_patches", None)
    again = build_features(model, pool, path, processor.image_processor)
    np.testing.assert_array_equal(again, features)


def test_each_distinct_view_passes_the_projector_once(
    trainable: Loaded, pool: Pool, features: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = trainable
    stream = SampleStream(pool, processor, 16, 0)
    samples = [stream.sample() for _ in range(3)]
    seen: list[int] = []
    projector = model.vlm.model.multi_modal_projector
    plain = projector.forward
    monkeypatch.setattr(projector, "forward", lambda x: (seen.append(len(x)), plain(x))[1])
    with torch.no_grad():
        shown = project_batch(model, features, [*samples, samples[0]])
        keys = {key for s in samples for pair in s.scene.images for key in pair.values()}
        assert seen == [len(keys)]
        for sample, pairs in zip([*samples, samples[0]], shown, strict=True):
            for images, tokens in zip(sample.scene.images, pairs, strict=True):
                assert list(images) == list(tokens)
                for kind, (frame, view) in images.items():
                    alone = plain(torch.from_numpy(features[frame, view]).float()[None])[0]
                    assert torch.allclose(tokens[kind], alone, atol=1e-5)
