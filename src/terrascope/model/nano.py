"""The sizes of `nano`: the smallest InternVL + SAM-2 pair that answers on two CPU cores in seconds."""

from __future__ import annotations

from transformers import InternVLConfig, InternVLVisionConfig, Qwen2Config, Sam2Config, Sam2VisionConfig
from transformers.models.sam2.configuration_sam2 import (
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
)

SAM_SIZE = 256
SAM_WIDTH = 192
VIEW_SIZE = 128
"""Pixels of a large scene along the edge of a view: the size of the chips from which SAM-2 learned most."""

VISION_SIZE = 192
TOKEN_GRID = 12
"""Visual tokens per edge: 24 x 24 patches of 8 pixels, two by two shuffled into one token."""


def sam2_config() -> Sam2Config:
    """A Hiera of four stages (64, 32, 16 and 8 cells per edge) with a full top-down neck and a decoder of width 192."""
    backbone = Sam2HieraDetConfig(
        hidden_size=32,
        image_size=[SAM_SIZE, SAM_SIZE],
        blocks_per_stage=[1, 2, 4, 1],
        embed_dim_per_stage=[32, 64, 128, 256],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 8, 8, 8],
        global_attention_blocks=[5],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[256, 128, 64, 32],
        backbone_feature_sizes=[[64, 64], [32, 32], [16, 16]],
        fpn_hidden_size=SAM_WIDTH,
        fpn_top_down_levels=[0, 1, 2, 3],
    )
    return Sam2Config(
        vision_config=vision,
        prompt_encoder_config=Sam2PromptEncoderConfig(hidden_size=SAM_WIDTH, image_size=SAM_SIZE),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=SAM_WIDTH, mlp_dim=384, iou_head_hidden_dim=128, dynamic_multimask_via_stability=False
        ),
    )


def internvl_config(vocab_size: int, image_token_id: int) -> InternVLConfig:
    """A ViT of six layers on 192 x 192 pixels (144 visual tokens) and a Qwen2 of six layers, both narrow."""
    vision = InternVLVisionConfig(
        hidden_size=160,
        num_hidden_layers=6,
        num_attention_heads=5,
        intermediate_size=480,
        attention_bias=True,
        image_size=VISION_SIZE,
        patch_size=8,
        layer_scale_init_value=1.0,
    )
    text = Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    return InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=image_token_id,
        image_seq_length=TOKEN_GRID**2,
        tie_word_embeddings=True,
    )
