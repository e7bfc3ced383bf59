"""The model: a vision-language model and a mask decoder of transformers, and the projection that joins them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache
from transformers.utils import ModelOutput

from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.decoders import mask_model_named
from terrascope.model.devices import check_finite
from terrascope.model.grounding import ImageEmbedding, MaskFusion, decode_masks, encode_images, resize_logits


@dataclass
class TerraScopeOutput(ModelOutput):
    """Output of one pass of the language model.

    Attributes:
        logits: `[B, n, V]`, for all positions or for those asked for.
        last_hidden_state: `[B, T, D]`, after the final norm.
        past_key_values: the cache, if one was given.
    """

    logits: Tensor | None = None
    last_hidden_state: Tensor | None = None
    past_key_values: Cache | None = None


class TerraScopeForConditionalGeneration(PreTrainedModel):
    """A vision-language model whose [SEG] tokens are decoded to masks (paper, Sec. 3.2).

    The reasoning loop (Algorithm 1) lives in `terrascope.model.generation`: `generate()` cannot feed visual tokens back
    in the middle of a sequence.
    """

    config_class = TerraScopeConfig
    base_model_prefix = ""
    main_input_name = "inputs_embeds"
    _supports_sdpa = True
    # It corrects logits, which are float32 whatever the model computes in.
    _keep_in_fp32_modules_strict = {"mask_fusion"}  # noqa: RUF012
    _tied_weights_keys = {"vlm.lm_head.weight": "vlm.model.language_model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: TerraScopeConfig) -> None:
        super().__init__(config)
        self.vlm: Any = config.backbone.model_class(config.vlm_config)
        self.sam: Any = mask_model_named(config.sam_config.model_type).model_class(config.sam_config)
        width = config.vlm_config.text_config.hidden_size
        prompt_width = config.sam_config.prompt_encoder_config.hidden_size
        self.seg_projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, prompt_width))
        self.mask_fusion = MaskFusion()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MaskFusion):
            module.reset()

    def get_input_embeddings(self) -> nn.Module:
        return self.vlm.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.vlm.get_output_embeddings()

    def encode_tiles(self, pixel_values: Tensor) -> Tensor:
        """Visual tokens `[tiles, N, D]` of normalised tiles `[tiles, 3, S, S]`, projected to the language model."""
        return self.config.backbone.encode_tiles(self.vlm, pixel_values)

    def prompt_positions(self, input_ids: Tensor) -> Tensor:
        """Positions of a prompt `[T]`: `[1, T]`, or `[axes, 1, T]`; what follows counts on from their maximum."""
        return self.config.backbone.positions(self.config.vlm_config, input_ids)

    def encode_for_masks(self, pixel_values: Tensor) -> ImageEmbedding:
        """SAM-2's embedding of normalised images `[B, 3, S, S]`."""
        return encode_images(self.sam, pixel_values)

    def decode_masks(self, embedding: ImageEmbedding, seg_states: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits `[B, P, h, w]` and predicted IoU `[B, P]` of [SEG] states `[B, P, D]` (hidden, not projected)."""
        prompts = self.seg_projection(seg_states).to(embedding.features.dtype)
        return decode_masks(self.sam, embedding, prompts, self.config.mask_choice)

    def resize_logits(self, logits: Tensor, shape: tuple[int, int]) -> Tensor:
        """Mask logits `[B, P, h, w]` on a scene's grid `[B, P, H, W]`, in the steps that the configuration names."""
        by_size = self.config.sam_size if self.config.mask_resize == "by_input" else None
        return resize_logits(logits, shape, by_size)

    def fuse_logits(self, logits: Tensor, valid: Tensor) -> Tensor:
        """One set of mask logits on the CPU from those of an image, or of an optical and a SAR image of one date.

        Where both were measured they are fused; elsewhere the one that was measured decides.

        Args:
            logits: `[images, ..., H, W]`, the optical image first.
            valid: bool `[images, H, W]`.

        Raises:
            ModelError: the logits are not finite.
        """
        check_finite(logits, self.dtype)
        only = logits[0].cpu()
        if len(logits) == 1:
            return only
        only = torch.where(valid[0], only, logits[1].cpu())
        with torch.autocast(logits.device.type, enabled=False):
            both = self.mask_fusion(logits[0], logits[1]).cpu()
        return torch.where(valid.all(0), both, only)

    def forward(
        self,
        inputs_embeds: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> TerraScopeOutput:
        """One pass of the language model over embeddings in which visual tokens already stand.

        Args:
            inputs_embeds: `[B, T, D]`; or input_ids `[B, T]` for text alone.
            attention_mask: `[B, T + cached]`, 0 for padding.
            position_ids: `[B, T]`, or `[axes, B, T]` for a backbone with positions on several axes.
            past_key_values: a cache to extend.
            logits_to_keep: the last so many positions, or bool `[B, T]`: only these get logits (`[n, V]`); 0 for all.
        """
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        output = self.vlm.model.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=past_key_values is not None,
        )
        hidden = output.last_hidden_state
        if isinstance(logits_to_keep, Tensor):
            kept = hidden[logits_to_keep]
        else:
            kept = hidden[:, -logits_to_keep:] if logits_to_keep else hidden
        return TerraScopeOutput(
            logits=self.vlm.lm_head(kept), last_hidden_state=hidden, past_key_values=output.past_key_values
        )


def count_parameters(model: nn.Module) -> int:
    """Number of distinct parameters; tied ones count once."""
    return sum(parameter.numel() for parameter in {id(p): p for p in model.parameters()}.values())
