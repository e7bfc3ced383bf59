"""What is read of a released checkpoint's `config.json` and `grounding_encoder.json`: types, ranges, what fits what.

Fields that are not named here are left alone; a value that would ask for another model than the one that is built here
is refused by name.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from terrascope.model.fields import STRICT, Layers, Size

Positive = Annotated[float, Field(gt=0)]
Four = Annotated[list[Layers], Field(min_length=4, max_length=4)]


class Vision(BaseModel):
    """`vision_config`: an InternViT."""

    model_config = STRICT

    hidden_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    intermediate_size: Size
    patch_size: Size
    image_size: Size | None = None
    qkv_bias: bool
    qk_normalization: bool = False
    norm_type: Literal["layer_norm", "rms_norm"] = "layer_norm"
    layer_norm_eps: Positive = 1e-6
    hidden_act: Literal["gelu"] = "gelu"

    @model_validator(mode="after")
    def _check(self) -> Vision:
        _divides("num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)
        return self


class Language(BaseModel):
    """`llm_config`: a Qwen as transformers has it, which reads the rest of the fields itself."""

    model_config = STRICT

    model_type: Literal["qwen2", "qwen3"]
    hidden_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    num_key_value_heads: Size
    intermediate_size: Size
    vocab_size: Size
    max_position_embeddings: Size = 32768
    rms_norm_eps: Positive = 1e-6
    hidden_act: Literal["silu"] = "silu"
    head_dim: Size | None = None
    tie_word_embeddings: bool = False
    rope_theta: Positive | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check(self) -> Language:
        _divides("num_key_value_heads", self.num_key_value_heads, "num_attention_heads", self.num_attention_heads)
        if self.head_dim is None:
            _divides("num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)
        # The library would take a number of its own, and the model would be another one.
        if self.rope_theta is None and "rope_theta" not in (self.rope_parameters or {}):
            raise ValueError("lacks rope_theta")
        return self


class Released(BaseModel):
    """`config.json`."""

    model_config = STRICT

    template: Literal["qwen_chat"] = "qwen_chat"
    select_layer: Literal[-1] = -1
    ps_version: Literal["v2"] = "v2"
    force_image_size: Size
    downsample_ratio: Annotated[float, Field(gt=0, le=1)]
    min_dynamic_patch: Size
    max_dynamic_patch: Annotated[int, Field(ge=1, le=100)]
    dynamic_image_size: bool = True
    use_thumbnail: Literal[True] = True
    tie_word_embeddings: bool = False
    vision_config: Vision
    llm_config: Language

    @property
    def token_grid(self) -> float:
        """Visual tokens along one edge of a tile; a whole number where all fits."""
        return self.force_image_size / self.vision_config.patch_size * self.downsample_ratio

    @model_validator(mode="after")
    def _check(self) -> Released:
        size, stated = self.force_image_size, self.vision_config.image_size
        _divides("vision_config.patch_size", self.vision_config.patch_size, "force_image_size", size)
        if stated is not None and stated != size:
            raise ValueError(f"vision_config.image_size is {stated}, but force_image_size {size}")
        if not math.isclose(self.token_grid, max(round(self.token_grid), 1), rel_tol=1e-9):
            raise ValueError(
                f"downsample_ratio {self.downsample_ratio} makes no whole number of tokens of a tile of {size} pixels"
            )
        if self.min_dynamic_patch > self.max_dynamic_patch:
            raise ValueError(f"min_dynamic_patch {self.min_dynamic_patch} is above max_dynamic_patch")
        return self


class Neck(BaseModel):
    """What follows the image encoder, where the file states it: SAM-2's, which has no other form."""

    model_config = STRICT

    d_model: Literal[256] = 256
    backbone_channel_list: list[int] | None = None
    fpn_top_down_levels: Annotated[list[Literal[2, 3]], Field(min_length=2, max_length=2)] = [2, 3]
    fpn_interp_model: Literal["nearest"] = "nearest"
    scalp: Literal[1] = 1


class Hiera(BaseModel):
    """`grounding_encoder.json`: SAM-2's image encoder; Hiera-L, that of the released weights, where it is silent."""

    model_config = STRICT

    embed_dim: Size = 144
    num_heads: Size = 2
    stages: Four = Field([2, 6, 36, 4])
    global_att_blocks: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field([23, 33, 43])
    window_pos_embed_bkg_spatial_size: Annotated[list[Size], Field(min_length=2, max_length=2)] = Field([7, 7])
    window_spec: Four = Field([8, 4, 16, 8])
    neck: Neck = Neck()

    @property
    def widths(self) -> list[int]:
        """Channels of each stage."""
        return [self.embed_dim * 2**stage for stage in range(len(self.stages))]

    @model_validator(mode="after")
    def _check(self) -> Hiera:
        _divides("num_heads", self.num_heads, "embed_dim", self.embed_dim)
        beyond = [block for block in self.global_att_blocks if block >= sum(self.stages)]
        if beyond:
            raise ValueError(f"global_att_blocks names block {beyond[0]}, but stages has {sum(self.stages)}, from 0")
        if self.neck.backbone_channel_list not in (None, self.widths[::-1]):
            raise ValueError(
                f"neck.backbone_channel_list is {self.neck.backbone_channel_list}, but the stages give "
                f"{self.widths[::-1]}"
            )
        return self


def _divides(name: str, number: int, whole_name: str, whole: int) -> None:
    if whole % number:
        raise ValueError(f"{name} {number} does not divide {whole_name} {whole}")
