"""What a vision-language model must offer to reason with masks, and the families that do (docs/backbones.md)."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from terrascope.errors import ModelError


class Backbone(Protocol):
    """How one family of vision-language models is driven.

    Its models have, as transformers names them, `model.language_model` (embeddings in, hidden states after the last
    norm out, with a cache), `lm_head`, and `text_config` in their configuration. The rest differs and stands here.

    Attributes:
        config_class, model_class: of transformers.
        image_marks: the tokens before an image, of one visual token, and after the image.
    """

    config_class: type[PreTrainedConfig]
    model_class: type[PreTrainedModel]
    image_marks: tuple[str, str, str]

    def token_grid(self, config: Any) -> int:
        """Visual tokens along one edge of a tile."""
        ...

    def tile_size(self, config: Any) -> int:
        """Pixels along one edge of a tile."""
        ...

    def encode_tiles(self, vlm: Any, pixel_values: Tensor) -> Tensor:
        """Visual tokens `[tiles, N, D]` in the language model's space, row by row, of tiles `[tiles, 3, S, S]`."""
        ...

    def positions(self, config: Any, input_ids: Tensor) -> Tensor:
        """Positions of a prompt `[T]` as its language model takes them: int64 `[1, T]`, or `[axes, 1, T]`.

        What follows the prompt counts on from their maximum, on all axes alike.
        """
        ...


class InternVL:
    """InternVL3 and InternVL3.5: tiles of one size, one position per token, a text model of any kind."""

    config_class = InternVLConfig
    model_class = InternVLForConditionalGeneration
    image_marks = ("<img>", "<IMG_CONTEXT>", "</img>")

    def token_grid(self, config: InternVLConfig) -> int:
        return round(config.image_seq_length**0.5)

    def tile_size(self, config: InternVLConfig) -> int:
        return int(config.vision_config.image_size[0])

    def encode_tiles(self, vlm: InternVLForConditionalGeneration, pixel_values: Tensor) -> Tensor:
        return vlm.model.get_image_features(pixel_values, return_dict=True).pooler_output

    def positions(self, config: InternVLConfig, input_ids: Tensor) -> Tensor:
        return torch.arange(len(input_ids), device=input_ids.device)[None]


class Qwen25VL:
    """Qwen2.5-VL: images of any size, of which we show square tiles, and positions on three axes (M-RoPE).

    A tile is to the model an image of its own. Its tokens share one position in time and differ by row and column.
    """

    config_class = Qwen2_5_VLConfig
    model_class = Qwen2_5_VLForConditionalGeneration
    image_marks = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")
    TILE_TOKENS = 256
    """Visual tokens of a tile whose configuration does not say `image_seq_length`: 448 pixels, as InternVL's."""

    def token_grid(self, config: Qwen2_5_VLConfig) -> int:
        return round(getattr(config, "image_seq_length", self.TILE_TOKENS) ** 0.5)

    def tile_size(self, config: Qwen2_5_VLConfig) -> int:
        vision = config.vision_config
        return self.token_grid(config) * vision.spatial_merge_size * vision.patch_size

    def encode_tiles(self, vlm: Qwen2_5_VLForConditionalGeneration, pixel_values: Tensor) -> Tensor:
        vision = vlm.config.vision_config
        patch, merge, frames = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
        tiles, _, height, width = pixel_values.shape
        cut = pixel_values.unflatten(3, (-1, merge, patch)).unflatten(2, (-1, merge, patch))
        # [tiles, 3, rows, merge, patch, columns, merge, patch]: the patches that are merged stand together, and a still
        # image is a film of equal frames.
        cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)[:, :, :, :, :, :, None].expand(*[-1] * 6, frames, -1, -1)
        grid = torch.tensor([[1, height // patch, width // patch]] * tiles, device=pixel_values.device)
        encoded = vlm.model.get_image_features(cut.flatten(5).flatten(0, 4), grid, return_dict=True)
        return torch.stack(list(encoded.pooler_output))

    def positions(self, config: Qwen2_5_VLConfig, input_ids: Tensor) -> Tensor:
        side = self.token_grid(config)
        row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        tile = torch.stack([torch.zeros_like(row), row, column]).flatten(1)
        is_image = (input_ids == config.image_token_id).tolist()
        pieces, place, position = [], 0, 0
        while place < len(is_image):
            piece = tile if is_image[place] else torch.zeros(3, 1, dtype=torch.int64)
            pieces.append(piece + position)
            place += piece.shape[1]
            position += side if is_image[place - 1] else 1
        return torch.cat(pieces, dim=1)[:, None].to(input_ids.device)


BACKBONES: dict[str, Backbone] = {"internvl": InternVL(), "qwen2_5_vl": Qwen25VL()}
"""The families by the model type that their configurations state. Another one is plugged in by one more entry."""


def backbone_named(model_type: str) -> Backbone:
    """The family of a model type.

    Raises:
        ModelError: there is no such family here.
    """
    if model_type not in BACKBONES:
        raise ModelError(f"{model_type!r} is no vision-language model known here: give one of {', '.join(BACKBONES)}")
    return BACKBONES[model_type]
