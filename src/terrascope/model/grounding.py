"""[SEG] -> mask: a projected [SEG] state is one more sparse prompt of the mask decoder (paper, Appendix C).

The image is encoded once; every [SEG] that falls on it is decoded from the same embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from terrascope.model.profiles import MaskChoice


@dataclass(frozen=True)
class ImageEmbedding:
    """SAM-2's view of a batch of images, all that its mask decoder needs.

    Attributes:
        features: `[B, C, G, G]`, stride 16.
        fine: `[B, C/8, 4G, 4G]`, stride 4.
        middle: `[B, C/4, 2G, 2G]`, stride 8.
    """

    features: Tensor
    fine: Tensor
    middle: Tensor

    def __getitem__(self, rows: slice | Tensor) -> ImageEmbedding:
        return ImageEmbedding(self.features[rows], self.fine[rows], self.middle[rows])

    @staticmethod
    def cat(embeddings: Sequence[ImageEmbedding]) -> ImageEmbedding:
        """One batch of several, all of images of one size."""
        if len(embeddings) == 1:
            return embeddings[0]
        maps = zip(*((one.features, one.fine, one.middle) for one in embeddings), strict=True)
        return ImageEmbedding(*(torch.cat(one) for one in maps))


def encode_images(sam: Any, pixel_values: Tensor) -> ImageEmbedding:
    """Encode images `[B, 3, S, S]`; unlike `Sam2Model.get_image_embeddings`, differentiable."""
    # SAM-3 makes a fourth, coarser map, which its mask decoder does not see.
    return embed_features(sam, *sam.vision_encoder(pixel_values).fpn_hidden_states[:3])


def embed_features(sam: Any, fine: Tensor, middle: Tensor, coarse: Tensor) -> ImageEmbedding:
    """The last step of the encoding, from the three FPN maps: the convolutions that belong to the mask decoder."""
    decoder = sam.mask_decoder
    no_memory = sam.no_memory_embedding.reshape(1, -1, 1, 1)
    return ImageEmbedding(coarse + no_memory, decoder.conv_s0(fine), decoder.conv_s1(middle))


def decode_masks(
    sam: Any, embedding: ImageEmbedding, prompts: Tensor, choice: MaskChoice = "single"
) -> tuple[Tensor, Tensor]:
    """Decode one mask per prompt.

    Args:
        sam: the model whose mask decoder is used.
        embedding: of B images.
        prompts: `[B, P, C]`, P projected [SEG] states per image.
        choice: the decoder's one mask, or the best of its three by the IoU that it predicts for them.

    Returns:
        Mask logits `[B, P, 4G, 4G]` and predicted IoU `[B, P]`.
    """
    batch, num_prompts, _ = prompts.shape
    encoder = sam.prompt_encoder
    # A point with label -1 and its padding: two "not a point" tokens, as SAM-2 does without points or boxes.
    not_a_point = encoder.not_a_point_embed.weight.expand(batch, num_prompts, 2, -1)
    sparse = torch.cat([not_a_point.to(prompts.dtype), prompts[:, :, None, :]], dim=2)
    dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(batch, -1, *embedding.features.shape[-2:])
    position = sam.get_image_wide_positional_embeddings().expand(batch, -1, -1, -1)
    logits, quality, _, _ = sam.mask_decoder(
        image_embeddings=embedding.features,
        image_positional_embeddings=position.to(embedding.features.dtype),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=choice == "best",
        high_resolution_features=[embedding.fine, embedding.middle],
    )
    best = quality.argmax(-1, keepdim=True)
    chosen = logits.take_along_dim(best[..., None, None], dim=2)
    return chosen[:, :, 0], quality.take_along_dim(best, dim=2)[:, :, 0]


class MaskFusion(nn.Module):
    """Mask logits of an optical and a SAR image of one date -> logits of the ground, pixel by pixel.

    Their mean, corrected by a small network of the two. Untrained, the correction is zero. Trained, it can tell an
    optical logit that is undecided under a cloud from one that denies, and then follow SAR.
    """

    WIDTH = 16

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(2, self.WIDTH)
        self.correction = nn.Linear(self.WIDTH, 1)

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Logits of any one shape -> fused logits of that shape, float32."""
        both = torch.stack([optical, sar], dim=-1).float()
        # Beyond a few units a logit only says "sure"; tanh keeps such pixels from ruling the correction.
        hidden = functional.gelu(_in_float32(self.hidden, 4 * torch.tanh(both / 4)))
        return both.mean(-1) + _in_float32(self.correction, hidden)[..., 0]

    def reset(self) -> None:
        """Make the correction zero."""
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)


def _in_float32(layer: nn.Linear, values: Tensor) -> Tensor:
    return functional.linear(values, layer.weight.float(), layer.bias.float())


def resize_logits(logits: Tensor, shape: tuple[int, int], by_size: int | None = None) -> Tensor:
    """Bilinear resize of mask logits `[B, P, h, w]` to a scene's grid `[B, P, H, W]`, in float32.

    With `by_size` they are resized to a square of that size first, which gives other pixels than one step.
    """
    logits = logits.float()
    if by_size is not None:
        logits = functional.interpolate(logits, size=(by_size, by_size), mode="bilinear", align_corners=False)
    return functional.interpolate(logits, size=shape, mode="bilinear", align_corners=False)
