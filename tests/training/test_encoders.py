"""Scenes as training encodes them: what inference sees, with gradients where something moves, kept within a limit."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from terrascope.model.encoding import encode_scene
from terrascope.training.encoders import (
    SceneEncoders,
    is_frozen,
    place_images,
    projector_of,
    split_tokens,
    vision_encoder_of,
)
from terrascope.training.segmentation import first_images
from terrascope.training.stages import prepare_stage
from tests.model.conftest import Loaded, make_tiny
from tests.model.families import make_family
from tests.training.batches_by_hand import make_batch


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    loaded = make_tiny(min_tiles=2, max_tiles=4)
    prepare_stage(loaded[0], "instruction")
    return loaded


@pytest.mark.parametrize("cache_mb", [0, 100])
@pytest.mark.parametrize("family", ["internvl", "qwen"])
def test_scenes_are_what_inference_sees(tiny: Loaded, family: str, cache_mb: int) -> None:
    loaded = tiny if family == "internvl" else make_family("qwen25vl", "edgetam")
    batch = make_batch(loaded)
    encoders = SceneEncoders(loaded[0], cache_mb)
    for _ in range(2):
        with torch.no_grad():
            tokens = encoders.look(batch.scenes, batch.scene_ids)
            embedding = encoders.embed(batch.scenes, batch.scene_ids)
        starts = first_images(batch.scenes)
        assert starts == [0, 1, 3, 4, 8]
        for number, scene in enumerate(batch.scenes):
            with torch.no_grad():
                expected = encode_scene(loaded[0], scene)
            assert tuple(place_images(scene)) == expected.pairs
            found = [seen for pair in split_tokens(scene, tokens[number]) for seen in pair.values()]
            for one, other in zip(found, expected.context, strict=True):
                assert torch.allclose(one, other, atol=1e-5)
            for name in ("features", "fine", "middle"):
                images = getattr(embedding, name)[starts[number] : starts[number + 1]]
                assert torch.allclose(images, getattr(expected.embeddings, name), atol=1e-4)


def test_frozen_encoders_leave_no_graph_and_what_follows_them_gets_gradients(tiny: Loaded) -> None:
    model, _ = tiny
    batch = make_batch(tiny)
    model.zero_grad()
    encoders = SceneEncoders(model)
    embedding = encoders.embed(batch.scenes, batch.scene_ids)
    assert not embedding.features.requires_grad and embedding.fine.requires_grad and embedding.middle.requires_grad
    total = sum(seen.square().sum() for seen in encoders.look(batch.scenes, batch.scene_ids))
    (total + embedding.fine.square().sum() + embedding.middle.square().sum()).backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    expected = {f"vlm.model.multi_modal_projector.{name}" for name, _ in projector_of(model).named_parameters()}
    expected |= {f"sam.mask_decoder.conv_s{n}.{part}" for n in (0, 1) for part in ("weight", "bias")}
    assert reached == expected


def test_what_is_kept_stays_within_its_limit_and_the_oldest_goes_first(tiny: Loaded) -> None:
    model, _ = tiny
    batch = make_batch(tiny)
    seen: list[int] = []
    hook = model.sam.vision_encoder.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    # Maps of one image: 32 channels of 16, 8 and 4 squared, 4 bytes each.
    one = 32 * (16**2 + 8**2 + 4**2) * 4
    encoders = SceneEncoders(model, 1)
    encoders._maps.limit = 4 * one

    def embed(*rows: int) -> list[int]:
        seen.clear()
        encoders.embed([batch.scenes[row] for row in rows], [batch.scene_ids[row] for row in rows])
        return list(seen)

    # Scenes of 1, 2, 1 and 4 images.
    assert embed(0, 1) == [3] and embed(1, 0) == []
    assert embed(0, 2) == [1] and encoders._maps.size == 4 * one
    assert embed(3) == [4], "it fills the limit alone"
    assert encoders._maps.size == 4 * one and embed(3) == []
    assert embed(0) == [1] and embed(3, 0) == [4] and embed(0) == [], "of one step, the last is kept"
    hook.remove()
    kept = encoders._maps.scenes[batch.scene_ids[0]][0]
    assert kept.untyped_storage().nbytes() == kept.numel() * 4, "no piece of a larger tensor"


@pytest.mark.parametrize("stage", ["instruction", "all"])
def test_scenes_in_half_precision_are_seen_as_in_single(stage: str) -> None:
    loaded = make_tiny()
    prepare_stage(loaded[0], stage)  # type: ignore[arg-type]
    batch = make_batch(loaded)
    half = [replace(s, tiles=s.tiles.half(), sam_images=s.sam_images.half()) for s in batch.scenes]
    single = [replace(s, tiles=s.tiles.float(), sam_images=s.sam_images.float()) for s in half]
    for context in (nullcontext(), torch.autocast("cpu", torch.bfloat16)):
        with torch.no_grad(), context:
            encoders = [SceneEncoders(loaded[0]) for _ in range(2)]
            seen = [one.look(scenes, batch.scene_ids) for one, scenes in zip(encoders, (half, single), strict=True)]
            maps = [one.embed(scenes, batch.scene_ids) for one, scenes in zip(encoders, (half, single), strict=True)]
        assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))
        assert torch.equal(maps[0].features, maps[1].features) and torch.equal(maps[0].fine, maps[1].fine)


def test_kept_scenes_are_neither_seen_nor_read_again(tiny: Loaded) -> None:
    batch = make_batch(tiny)
    encoders = SceneEncoders(tiny[0], 100)
    num_tiles, num_images = sum(len(s.tiles) for s in batch.scenes), sum(len(s.sam_images) for s in batch.scenes)
    first = encoders.look(batch.scenes, batch.scene_ids)
    encoders.embed(batch.scenes, batch.scene_ids)
    assert (encoders.num_tiles, encoders.num_images) == (num_tiles, num_images)
    # Without any pixels: converting them would fail.
    empty = [replace(s, tiles=s.tiles.to("meta"), sam_images=s.sam_images.to("meta")) for s in batch.scenes]
    again = encoders.look(empty, batch.scene_ids)
    encoders.embed(empty, batch.scene_ids)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert (encoders.num_tiles, encoders.num_images) == (num_tiles, num_images)


def test_moving_encoders_are_never_kept() -> None:
    loaded = make_tiny()
    prepare_stage(loaded[0], "all")
    batch = make_batch(loaded)
    encoders = SceneEncoders(loaded[0], 100)
    tokens, embedding = (
        encoders.look(batch.scenes, batch.scene_ids),
        encoders.embed(batch.scenes, batch.scene_ids),
    )
    assert tokens[0].requires_grad and embedding.features.requires_grad
    assert not encoders._maps.scenes and not encoders._patches.scenes
    encoders.look(batch.scenes, batch.scene_ids)
    encoders.embed(batch.scenes, batch.scene_ids)
    assert encoders.num_tiles == 2 * sum(len(scene.tiles) for scene in batch.scenes)
    assert encoders.num_images == 2 * sum(len(scene.sam_images) for scene in batch.scenes)
    assert not is_frozen(vision_encoder_of(loaded[0]))
