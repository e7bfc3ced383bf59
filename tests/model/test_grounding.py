"""[SEG] -> mask against transformers' own path through SAM-2, and that what should learn can."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from terrascope.model.grounding import ImageEmbedding, decode_masks, embed_features, encode_images, resize_logits
from tests.model.conftest import Loaded, make_tiny


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def seg_prompts(num_images: int, num: int) -> Tensor:
    return torch.randn(num_images, num, 32, generator=torch.Generator().manual_seed(1))


def agree(one: Tensor, other: Tensor) -> bool:
    """Equal to five digits of the largest number (the tiny model's logits reach thousands)."""
    return bool((one - other).abs().max() <= 1e-5 * max(1.0, float(other.abs().max())))


def test_embeddings_are_those_of_sam(tiny: Loaded, pixels: Tensor) -> None:
    sam = tiny[0].sam
    assert sam.no_memory_embedding.any(), "or it could be forgotten unseen"
    with torch.no_grad():
        ours = encode_images(sam, pixels)
        fine, middle, features = sam.get_image_embeddings(pixels)
    assert (
        ours.features.shape == (2, 32, 4, 4) and ours.middle.shape == (2, 8, 8, 8) and ours.fine.shape == (2, 4, 16, 16)
    )
    for mine, theirs in ((ours.fine, fine), (ours.middle, middle), (ours.features, features)):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_masks_without_a_seg_prompt_are_those_of_sam(
    tiny: Loaded, pixels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAM-2's forward with a point labelled -1 is our decoding less its last prompt token."""
    sam = tiny[0].sam
    plain = sam.mask_decoder.forward
    seen: list[Tensor] = []

    def listen(*, sparse_prompt_embeddings: Tensor, **rest: object):  # type: ignore[no-untyped-def]
        seen.append(sparse_prompt_embeddings)
        return plain(sparse_prompt_embeddings=sparse_prompt_embeddings[:, :, :2], **rest)

    with torch.no_grad():
        library = sam(
            pixel_values=pixels, input_points=torch.zeros(2, 1, 1, 2),
            input_labels=-torch.ones(2, 1, 1, dtype=torch.int), multimask_output=False,
        )  # fmt: skip
        monkeypatch.setattr(sam.mask_decoder, "forward", listen)
        prompts = seg_prompts(2, 1)
        logits, quality = decode_masks(sam, encode_images(sam, pixels), prompts)
    assert seen[0].shape == (2, 1, 3, 32) and torch.equal(seen[0][:, :, 2], prompts)
    assert agree(logits, library.pred_masks[:, :, 0])
    assert agree(quality, library.iou_scores[:, :, 0])


def test_many_prompts_equal_single_calls(tiny: Loaded, pixels: Tensor) -> None:
    sam, prompts = tiny[0].sam, seg_prompts(2, 5)
    with torch.no_grad():
        embedding = encode_images(sam, pixels)
        logits, quality = decode_masks(sam, embedding, prompts)
        assert logits.shape == (2, 5, 16, 16) and quality.shape == (2, 5)
        for image in range(2):
            for number in range(5):
                one = embedding[torch.tensor([image])]
                mask, score = decode_masks(sam, one, prompts[image : image + 1, number : number + 1])
                assert agree(logits[image, number], mask[0, 0])
                assert agree(quality[image, number], score[0, 0])
    assert (logits[:, 0] - logits[:, 1]).abs().max() > 1e-2, "different prompts, different masks"
    assert (logits[0] - logits[1]).abs().max() > 1e-2, "different images, different masks"


def test_rows_of_an_embedding(tiny: Loaded, pixels: Tensor) -> None:
    with torch.no_grad():
        embedding = encode_images(tiny[0].sam, pixels)
    assert isinstance(embedding[1:], ImageEmbedding)
    picked = embedding[torch.tensor([1, 1, 0])]
    for name in ("features", "fine", "middle"):
        whole = getattr(embedding, name)
        assert torch.equal(getattr(embedding[1:], name), whole[1:])
        assert torch.equal(getattr(picked, name), whole[[1, 1, 0]])


def test_seg_states_pass_the_projection(tiny: Loaded, pixels: Tensor) -> None:
    model = tiny[0]
    states = seg_prompts(2, 2)
    with torch.no_grad():
        embedding = model.encode_for_masks(pixels)
        first, second = model.seg_projection[0], model.seg_projection[2]
        projected = functional.relu(states @ first.weight.T + first.bias) @ second.weight.T + second.bias
        ours, _ = model.decode_masks(embedding, states)
        by_hand, _ = decode_masks(model.sam, embedding, projected)
    assert agree(ours, by_hand)


def test_gradient_reaches_everything_that_makes_a_mask(pixels: Tensor) -> None:
    model, _ = make_tiny()
    states = seg_prompts(2, 2).requires_grad_(True)
    logits, _ = model.decode_masks(model.encode_for_masks(pixels), states)
    logits.square().mean().backward()
    assert states.grad is not None and states.grad.abs().min() > 0
    moved = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    for name in (
        "seg_projection.0.weight", "seg_projection.2.bias", "sam.vision_encoder.backbone.patch_embed.projection.weight",
        "sam.vision_encoder.backbone.pos_embed", "sam.mask_decoder.conv_s0.weight", "sam.mask_decoder.conv_s1.weight",
        "sam.mask_decoder.transformer.layers.0.self_attn.q_proj.weight", "sam.no_memory_embedding",
        "sam.prompt_encoder.not_a_point_embed.weight", "sam.prompt_encoder.no_mask_embed.weight",
    ):  # fmt: skip
        assert name in moved, name
    assert not any(name.startswith("vlm.") for name in moved)


def test_frozen_maps_still_train_the_decoders_convolutions(pixels: Tensor) -> None:
    """What the grounding stage does: the image encoder without gradient, the decoder's own convolutions with."""
    model, _ = make_tiny()
    with torch.no_grad():
        maps = model.sam.vision_encoder(pixels).fpn_hidden_states
    logits, _ = decode_masks(model.sam, embed_features(model.sam, *maps), seg_prompts(2, 1))
    logits.square().mean().backward()
    decoder = model.sam.mask_decoder
    assert decoder.conv_s0.weight.grad.any() and decoder.conv_s1.weight.grad.any()
    assert all(parameter.grad is None for parameter in model.sam.vision_encoder.parameters())


def test_logits_are_resized_bilinearly_to_the_scene() -> None:
    logits = torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]], dtype=torch.bfloat16)
    full = resize_logits(logits, (4, 2))
    assert full.dtype == torch.float32
    # Pixel centres of four rows on two: the outer ones stay, the inner ones are 3:1 mixtures.
    assert torch.equal(full[0, 0], torch.tensor([[0.0, 4.0], [2.0, 6.0], [6.0, 10.0], [8.0, 12.0]]))
