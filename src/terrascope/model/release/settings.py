"""The configuration of a released checkpoint as ours: sizes from its own file, behaviour of the profile `release`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    InternVLConfig,
    InternVLVisionConfig,
    PreTrainedConfig,
    Sam2Config,
    Sam2VisionConfig,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.sam2.configuration_sam2 import (
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
)

from terrascope.errors import ModelError
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.fields import read_fields
from terrascope.model.profiles import profile_named
from terrascope.model.release.schema import Hiera, Released

RELEASED_TYPE = "sa2va_chat"
CONFIG_FILE = "config.json"
HIERA_FILE = "grounding_encoder.json"
"""Sizes of SAM-2's image encoder. The released configuration leaves them out, and without this file they are those of
Hiera-L."""

_NO_SIZES = ("model_type", "architectures", "auto_map", "dtype", "torch_dtype", "_name_or_path", "transformers_version")


def our_configuration(
    released: Mapping[str, Any], hiera: Mapping[str, Any] | None, token_ids: Mapping[str, int]
) -> TerraScopeConfig:
    """The configuration of ours that a released checkpoint fits.

    Args:
        released: its `config.json`.
        hiera: its `grounding_encoder.json`; None if it has none.
        token_ids: ids of `<IMG_CONTEXT>` and `[SEG]` in its tokenizer.

    Raises:
        ModelError: a field is missing, is none, or names what no released checkpoint has.
    """
    if "model_type" not in released:
        raise ModelError(f"{CONFIG_FILE}: lacks model_type, which is {RELEASED_TYPE!r} in a released checkpoint")
    if released["model_type"] != RELEASED_TYPE:
        raise ModelError(
            f"{CONFIG_FILE}: model_type is {released['model_type']!r}, but a released checkpoint says {RELEASED_TYPE!r}"
        )
    theirs = read_fields(Released, dict(released), CONFIG_FILE)
    encoder = read_fields(Hiera, dict(hiera or {}), HIERA_FILE)
    return TerraScopeConfig(
        vlm_config=_internvl(theirs, _language(released["llm_config"]), token_ids["<IMG_CONTEXT>"]),
        sam_config=_sam2(encoder),
        seg_token_id=token_ids["[SEG]"],
        min_tiles=theirs.min_dynamic_patch if theirs.dynamic_image_size else 1,
        max_tiles=theirs.max_dynamic_patch if theirs.dynamic_image_size else 1,
        **profile_named("release").model,
    )


def _internvl(theirs: Released, text: PreTrainedConfig, image_token_id: int) -> InternVLConfig:
    vision = theirs.vision_config
    text.tie_word_embeddings = theirs.tie_word_embeddings
    return InternVLConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=vision.hidden_size,
            num_hidden_layers=vision.num_hidden_layers,
            num_attention_heads=vision.num_attention_heads,
            intermediate_size=vision.intermediate_size,
            patch_size=vision.patch_size,
            image_size=theirs.force_image_size,
            attention_bias=vision.qkv_bias,
            use_qk_norm=vision.qk_normalization,
            norm_type=vision.norm_type,
            layer_norm_eps=vision.layer_norm_eps,
        ),
        text_config=text,
        image_token_id=image_token_id,
        image_seq_length=round(theirs.token_grid) ** 2,
        downsample_ratio=theirs.downsample_ratio,
        tie_word_embeddings=theirs.tie_word_embeddings,
    )


def _language(stated: Mapping[str, Any]) -> PreTrainedConfig:
    """The language model's configuration: beside the sizes, what the library reads of it."""
    # A copy: the library writes into what it is given.
    fields = copy.deepcopy({key: value for key, value in stated.items() if key not in _NO_SIZES})
    try:
        text = AutoConfig.for_model(stated["model_type"], **fields)
        rope_type = text.rope_parameters["rope_type"]
        if rope_type != "default" and rope_type not in ROPE_INIT_FUNCTIONS:
            raise ValueError(f"rope_scaling is of the unknown type {rope_type!r}")
    except (StrictDataclassError, ValueError, TypeError, KeyError, AttributeError) as error:
        said = " ".join(str(error.args[0] if error.args else error).split())[:200]
        raise ModelError(f"{CONFIG_FILE}: llm_config is none of a {stated['model_type']} ({said})") from None
    return text


def _sam2(hiera: Hiera) -> Sam2Config:
    widths = hiera.widths
    backbone = Sam2HieraDetConfig(
        hidden_size=hiera.embed_dim,
        num_attention_heads=hiera.num_heads,
        blocks_per_stage=hiera.stages,
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[hiera.num_heads * 2**stage for stage in range(len(widths))],
        window_size_per_stage=hiera.window_spec,
        window_positional_embedding_background_size=hiera.window_pos_embed_bkg_spatial_size,
        global_attention_blocks=hiera.global_att_blocks,
    )
    return Sam2Config(
        vision_config=Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=widths[::-1]),
        prompt_encoder_config=Sam2PromptEncoderConfig(),
        mask_decoder_config=Sam2MaskDecoderConfig(dynamic_multimask_via_stability=False),
    )
