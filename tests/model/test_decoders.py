"""Other mask decoders behind [SEG]: each against transformers' own way of running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from terrascope.errors import ModelError
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.decoders import mask_model_named
from terrascope.model.grounding import MaskFusion, decode_masks, encode_images
from terrascope.model.terrascope import TerraScope
from tests.model.conftest import Loaded
from tests.model.families import SAMS, make_family


@pytest.fixture(scope="module", params=list(SAMS))
def family(request: pytest.FixtureRequest) -> Loaded:
    return make_family(sam=request.param)


def pixels_for(model: Any) -> torch.Tensor:
    size = model.config.sam_size
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_embeddings_are_those_of_the_library(family: Loaded) -> None:
    sam, pixels = family[0].sam, pixels_for(family[0])
    assert sam.no_memory_embedding.any(), "or it could be forgotten unseen"
    with torch.no_grad():
        ours = encode_images(sam, pixels)
        vision = sam.get_image_features(pixels, return_dict=True)
        # The library's own reshaping, of the three maps that its mask decoder takes.
        maps = list(vision.fpn_hidden_states[:3])
        maps[2] = maps[2] + sam.no_memory_embedding
        theirs = [
            m.permute(1, 2, 0).view(2, -1, *size) for m, size in zip(maps, sam.backbone_feature_sizes, strict=True)
        ]
    for mine, other in zip((ours.fine, ours.middle, ours.features), theirs, strict=True):
        assert torch.allclose(mine, other, atol=1e-5)


def test_masks_are_those_of_the_library_but_for_the_prompt(family: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its forward with a point labelled -1 is our decoding less the last prompt token."""
    sam, pixels = family[0].sam, pixels_for(family[0])
    plain = sam.mask_decoder.forward
    prompts = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        embedding = encode_images(sam, pixels)
        logits, quality = decode_masks(sam, embedding, prompts)
        library = sam(
            image_embeddings=[embedding.fine, embedding.middle, embedding.features],
            input_points=torch.zeros(2, 1, 1, 2), input_labels=-torch.ones(2, 1, 1, dtype=torch.int),
            multimask_output=False,
        )  # fmt: skip
        monkeypatch.setattr(
            sam.mask_decoder, "forward",
            lambda *, sparse_prompt_embeddings, **rest: plain(
                sparse_prompt_embeddings=sparse_prompt_embeddings[:, :, :2], **rest
            ),
        )  # fmt: skip
        without, _ = decode_masks(sam, embedding, prompts[:, :1])
    assert torch.allclose(without, library.pred_masks[:, :, 0], atol=1e-4)
    edge = 4 * embedding.features.shape[-1]
    assert logits.shape == (2, 3, edge, edge) and quality.shape == (2, 3)
    assert (logits[:, 0] - logits[:, 1]).abs().max() > 1e-2, "different prompts, different masks"
    assert (logits[0] - logits[1]).abs().max() > 1e-2, "different images, different masks"


def test_gradient_reaches_the_decoder_and_the_image_encoder(family: Loaded) -> None:
    model = family[0]
    model.zero_grad()
    states = torch.randn(2, 2, 32, generator=torch.Generator().manual_seed(3)).requires_grad_(True)
    logits, _ = model.decode_masks(model.encode_for_masks(pixels_for(model)), states)
    logits.square().mean().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    model.zero_grad()
    assert states.grad is not None and states.grad.abs().min() > 0
    for part in ("seg_projection.0", "sam.vision_encoder.backbone", "sam.mask_decoder.conv_s0",
                 "sam.mask_decoder.transformer.layers.0.self_attn.q_proj", "sam.no_memory_embedding"):  # fmt: skip
        assert any(name.startswith(part) for name in moved), part


def test_a_scene_is_segmented_and_the_model_survives_the_disk(family: Loaded, two_dates: Any, tmp_path: Path) -> None:
    first = TerraScope(*family, "first")
    first.save_pretrained(str(tmp_path))
    again = TerraScope.from_pretrained(str(tmp_path))
    assert type(again.model.sam) is type(first.model.sam)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    masks = [m.segment(two_dates.scene, "water").masks for m in (first, again)]
    assert len(masks[0]) == 2 and masks[0][0].shape == (64, 64)
    assert all(np.array_equal(a, b) for a, b in zip(*masks, strict=True))


def test_the_tensors_of_a_video_checkpoint_go_to_the_model_for_still_images() -> None:
    for name in ("sam2", "edgetam", "sam3_tracker"):
        assert mask_model_named(f"{name}_video") is mask_model_named(name)


def test_an_unknown_decoder_is_refused() -> None:
    with pytest.raises(ModelError, match="'sam' is no mask decoder known here: give one of sam2, edgetam, sam3_track"):
        TerraScopeConfig(sam_config={"model_type": "sam"})


def test_fusion_works_in_every_number_format() -> None:
    fusion = MaskFusion()
    optical, sar = torch.randn(2, 8, 8), torch.randn(2, 8, 8)
    with torch.no_grad():
        full, half = fusion(optical, sar), fusion.bfloat16()(optical.bfloat16(), sar.bfloat16())
    assert half.dtype == torch.float32 and torch.allclose(half, full, atol=0.05)
