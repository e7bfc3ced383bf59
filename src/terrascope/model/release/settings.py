"""The configuration of a released checkpoint as ours: sizes from its own file, behaviour of the profile `release`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig, InternVLConfig, InternVLVisionConfig, Sam2Config, Sam2VisionConfig
from transformers.models.sam2.configuration_sam2 import (
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
)

from terrascope.errors import ModelError
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.profiles import profile_named

RELEASED_TYPE = "sa2va_chat"

HIERA_LARGE: dict[str, Any] = {
    "embed_dim": 144,
    "num_heads": 2,
    "stages": [2, 6, 36, 4],
    "global_att_blocks": [23, 33, 43],
    "window_pos_embed_bkg_spatial_size": [7, 7],
    "window_spec": [8, 4, 16, 8],
}
"""SAM-2's image encoder of the released weights. Their configuration leaves it out; a file `grounding_encoder.json`
beside it may name another."""

_VISION_FIELDS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "patch_size")
_VISION_DEFAULTS = {"norm_type": "layer_norm", "layer_norm_eps": 1e-6, "qk_normalization": False}


def our_configuration(
    released: Mapping[str, Any], hiera: Mapping[str, Any] | None, token_ids: Mapping[str, int]
) -> TerraScopeConfig:
    """The configuration of ours that a released checkpoint fits.

    Args:
        released: its `config.json`.
        hiera: sizes of SAM-2's image encoder, under the names of `HIERA_LARGE`; None for those.
        token_ids: ids of `<IMG_CONTEXT>` and `[SEG]` in its tokenizer.

    Raises:
        ModelError: a field is missing, or names what no released checkpoint has.
    """
    if released.get("model_type") != RELEASED_TYPE:
        raise ModelError(
            f"model_type is {released.get('model_type')!r}, but a released checkpoint says {RELEASED_TYPE!r}"
        )
    try:
        vlm = _internvl(released, token_ids["<IMG_CONTEXT>"])
        sam = _sam2(HIERA_LARGE | dict(hiera or {}))
        tiles = (released["min_dynamic_patch"], released["max_dynamic_patch"])
    except KeyError as error:
        raise ModelError(f"config.json lacks {error.args[0]!r}, which a released checkpoint states") from None
    if released.get("select_layer", -1) != -1 or released.get("ps_version", "v2") != "v2":
        raise ModelError("config.json: only select_layer -1 and ps_version 'v2' are known of released checkpoints")
    return TerraScopeConfig(
        vlm_config=vlm,
        sam_config=sam,
        seg_token_id=token_ids["[SEG]"],
        min_tiles=tiles[0],
        max_tiles=tiles[1] if released.get("dynamic_image_size", True) else 1,
        **profile_named("release").model,
    )


def _internvl(released: Mapping[str, Any], image_token_id: int) -> InternVLConfig:
    theirs = _VISION_DEFAULTS | dict(released["vision_config"])
    size, patch = released["force_image_size"], theirs["patch_size"]
    vision = InternVLVisionConfig(
        **{field: theirs[field] for field in _VISION_FIELDS},
        image_size=size,
        attention_bias=theirs["qkv_bias"],
        use_qk_norm=theirs["qk_normalization"],
        norm_type=theirs["norm_type"],
        layer_norm_eps=theirs["layer_norm_eps"],
    )
    language = dict(released["llm_config"])
    kind = language.pop("model_type")
    for field in ("architectures", "auto_map", "torch_dtype", "_name_or_path", "transformers_version"):
        language.pop(field, None)
    try:
        text = AutoConfig.for_model(kind, **language)
    except ValueError:
        raise ModelError(f"config.json: the language model is of the unknown type {kind!r}") from None
    return InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=image_token_id,
        image_seq_length=int((size // patch * released["downsample_ratio"]) ** 2),
        downsample_ratio=released["downsample_ratio"],
        tie_word_embeddings=bool(released.get("tie_word_embeddings", False)),
    )


def _sam2(hiera: Mapping[str, Any]) -> Sam2Config:
    widths = [hiera["embed_dim"] * 2**stage for stage in range(len(hiera["stages"]))]
    backbone = Sam2HieraDetConfig(
        hidden_size=hiera["embed_dim"],
        num_attention_heads=hiera["num_heads"],
        blocks_per_stage=list(hiera["stages"]),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[hiera["num_heads"] * 2**stage for stage in range(len(widths))],
        window_size_per_stage=list(hiera["window_spec"]),
        window_positional_embedding_background_size=list(hiera["window_pos_embed_bkg_spatial_size"]),
        global_attention_blocks=list(hiera["global_att_blocks"]),
    )
    return Sam2Config(
        vision_config=Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=widths[::-1]),
        prompt_encoder_config=Sam2PromptEncoderConfig(),
        mask_decoder_config=Sam2MaskDecoderConfig(dynamic_multimask_via_stability=False),
    )
