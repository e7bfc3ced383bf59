"""Tiny models of every family that can be a backbone or a mask decoder, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    EdgeTamConfig,
    EdgeTamMaskDecoderConfig,
    EdgeTamPromptEncoderConfig,
    InternVLConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2_5_VLConfig,
    Qwen3Config,
    Sam2Config,
    Sam3TrackerConfig,
    Sam3TrackerMaskDecoderConfig,
    Sam3TrackerPromptEncoderConfig,
    Sam3ViTConfig,
)
from transformers.models.sam3.configuration_sam3 import Sam3VisionConfig

from terrascope.model.backbones import backbone_named
from terrascope.model.checkpoint import make_processor
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.nano_tokenizer import train_tokenizer
from tests.model.conftest import Loaded, tiny_config

_DECODER: dict[str, Any] = {
    "hidden_size": 32, "mlp_dim": 32, "iou_head_hidden_dim": 16, "num_attention_heads": 2,
    "dynamic_multimask_via_stability": False,
}  # fmt: skip


def internvl3(vocab_size: int) -> InternVLConfig:
    return tiny_config(vocab_size, 0, 0).vlm_config


def internvl35(vocab_size: int) -> InternVLConfig:
    """An InternVL whose text model is a Qwen3 (no bias, normalised queries and keys, heads wider than D / heads)."""
    text = Qwen3Config(
        vocab_size=vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=2048, tie_word_embeddings=False,
    )  # fmt: skip
    vision = internvl3(vocab_size).vision_config
    return InternVLConfig(vision_config=vision, text_config=text, image_seq_length=16, tie_word_embeddings=False)


def internvl_llama(vocab_size: int) -> InternVLConfig:
    """An InternVL whose text model is a Llama, with biases everywhere and a stretched rotary embedding."""
    text = LlamaConfig(
        vocab_size=vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=1, max_position_embeddings=2048, attention_bias=True, mlp_bias=True,
        rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 512,
        },
    )  # fmt: skip
    vision = internvl3(vocab_size).vision_config
    return InternVLConfig(vision_config=vision, text_config=text, image_seq_length=16, tie_word_embeddings=False)


def qwen25vl(vocab_size: int) -> Qwen2_5_VLConfig:
    """A Qwen2.5-VL with 4 x 4 merged tokens of 8 x 8 pixels a tile, and windows of 2 x 2 tokens."""
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "patch_size": 4, "window_size": 16,
        "out_hidden_size": 32, "fullatt_block_indexes": [1],
    }  # fmt: skip
    text = {
        "vocab_size": vocab_size, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
        "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    return Qwen2_5_VLConfig(vision_config=vision, text_config=text, image_seq_length=16, tie_word_embeddings=False)


def sam2() -> Sam2Config:
    return tiny_config(64, 0, 0).sam_config


def edgetam() -> EdgeTamConfig:
    """EdgeTAM's prompt encoder and mask decoder on a Hiera: its own image encoder needs timm."""
    return EdgeTamConfig(
        vision_config=sam2().vision_config,
        prompt_encoder_config=EdgeTamPromptEncoderConfig(hidden_size=32, image_size=64),
        mask_decoder_config=EdgeTamMaskDecoderConfig(**_DECODER),
    )


def sam3() -> Sam3TrackerConfig:
    """A SAM-3 tracker on 112 pixels, 8 x 8 patches."""
    vit = Sam3ViTConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=112,
        window_size=4, global_attn_indexes=[1], pretrain_image_size=56,
    )  # fmt: skip
    return Sam3TrackerConfig(
        vision_config=Sam3VisionConfig(
            backbone_config=vit, fpn_hidden_size=32, backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]]
        ),
        prompt_encoder_config=Sam3TrackerPromptEncoderConfig(hidden_size=32, image_size=112),
        mask_decoder_config=Sam3TrackerMaskDecoderConfig(**_DECODER),
    )


VLMS = {"internvl3": internvl3, "internvl35": internvl35, "qwen25vl": qwen25vl}
TEXTS = {**VLMS, "internvl_llama": internvl_llama}
"""Also those that differ from the others in their text model alone."""
SAMS = {"sam2": sam2, "edgetam": edgetam, "sam3": sam3}


def tokenizer_for(vlm: PreTrainedConfig) -> Any:
    """A tokenizer that has the family's image tokens beside those of `nano`."""
    words = "The water: tree: Image: 1 2 It covers % of the image. So the answer is A B C D user assistant optical sar"
    tokenizer = train_tokenizer([words] * 4, 340)
    tokenizer.add_tokens(list(backbone_named(vlm.model_type).image_marks), special_tokens=True)
    return tokenizer


def spread(model: torch.nn.Module) -> None:
    """Weights wide enough apart that greedy choices are clear and masks differ."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)


def make_family(vlm: str = "internvl3", sam: str = "sam2", **settings: Any) -> Loaded:
    """A model of these two families in eval mode, with its processor."""
    tokenizer = tokenizer_for(TEXTS[vlm](64))
    vlm_config = TEXTS[vlm](len(tokenizer))
    marks = backbone_named(vlm_config.model_type).image_marks
    vlm_config.image_token_id = tokenizer.convert_tokens_to_ids(marks[1])
    config = TerraScopeConfig(
        vlm_config=vlm_config, sam_config=SAMS[sam](), seg_token_id=tokenizer.convert_tokens_to_ids("[SEG]"),
        **{"max_tiles": 1, **settings},
    )  # fmt: skip
    torch.manual_seed(0)
    model = TerraScopeForConditionalGeneration(config)
    spread(model)
    processor = make_processor(config, tokenizer)
    processor.system_prompt = ""
    return model.eval(), processor
