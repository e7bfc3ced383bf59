"""A tiny random model and scenes with optical and SAR images for it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import InternVLConfig, InternVLVisionConfig, Qwen2Config, Sam2Config, Sam2VisionConfig
from transformers.models.sam2.configuration_sam2 import (
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
)

from terrascope.model.checkpoint import make_processor
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.nano_tokenizer import train_tokenizer
from terrascope.model.processing import TerraScopeProcessor
from terrascope.sources.synthetic import make_sample

Loaded = tuple[TerraScopeForConditionalGeneration, TerraScopeProcessor]


def tiny_config(vocab_size: int, image_token_id: int, seg_token_id: int, **settings: int) -> TerraScopeConfig:
    """An InternVL with 4 x 4 tokens a tile and a SAM-2 on 64 pixels, both a few thousand parameters."""
    vlm = InternVLConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, attention_bias=True,
            image_size=32, patch_size=4, layer_scale_init_value=1.0,
        ),
        text_config=Qwen2Config(
            vocab_size=vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=2048, tie_word_embeddings=True,
        ),
        image_token_id=image_token_id, image_seq_length=16, tie_word_embeddings=True,
    )  # fmt: skip
    sam = Sam2Config(
        vision_config=Sam2VisionConfig(
            backbone_config=Sam2HieraDetConfig(
                hidden_size=8, image_size=[64, 64], blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[8, 16, 32, 64],
                num_attention_heads_per_stage=[1, 1, 2, 2], window_size_per_stage=[4, 4, 4, 2],
                global_attention_blocks=[3],
            ),
            backbone_channel_list=[64, 32, 16, 8], backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
            fpn_hidden_size=32,
        ),
        prompt_encoder_config=Sam2PromptEncoderConfig(hidden_size=32, image_size=64),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=32, mlp_dim=32, iou_head_hidden_dim=16, num_attention_heads=2,
            dynamic_multimask_via_stability=False,
        ),
    )  # fmt: skip
    return TerraScopeConfig(vlm_config=vlm, sam_config=sam, seg_token_id=seg_token_id, **{"max_tiles": 1, **settings})


def make_tiny(**settings: int) -> Loaded:
    """A tiny model with random weights, wide enough apart that its greedy choices are clear, and its processor."""
    torch.manual_seed(0)
    words = "The water: tree: Image: 1 2 It covers % of the image. So the answer is A B C D user assistant optical sar"
    tokenizer = train_tokenizer([words] * 4, 340)
    config = tiny_config(
        len(tokenizer),
        tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        tokenizer.convert_tokens_to_ids("[SEG]"),
        **settings,
    )
    model = TerraScopeForConditionalGeneration(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5)
    processor = make_processor(config, tokenizer)
    processor.system_prompt = ""
    return model.eval(), processor


def _norm(module: Any, values: Tensor) -> Tensor:
    return functional.rms_norm(values, values.shape[-1:], module.weight, module.variance_epsilon)


def in_double(model: TerraScopeForConditionalGeneration) -> TerraScopeForConditionalGeneration:
    """The model in double precision: rounding, which depends on who is beside whom, flips no pixel of a mask."""
    for module in model.vlm.model.language_model.modules():
        if hasattr(module, "variance_epsilon"):
            # The library's own norm rounds to single precision.
            module.forward = partial(_norm, module)
    return model.double()


def make_exact() -> Loaded:
    """The tiny model in double precision, and its processor."""
    model, processor = make_tiny()
    return in_double(model), processor


@pytest.fixture(scope="session")
def exact() -> Loaded:
    """One such model for all tests that only read it."""
    return make_exact()


@pytest.fixture(scope="session")
def tiny() -> Loaded:
    """One tiny model for all tests that only read it."""
    return make_tiny()


@pytest.fixture(scope="session")
def two_dates():  # type: ignore[no-untyped-def]
    """A generated scene with optical and SAR images of two dates, 64 x 64 pixels."""
    return make_sample(3, size=64, kind="country", num_dates=2, cloudy=True)


@pytest.fixture
def half_masks() -> list[np.ndarray]:
    """Masks of known geometry on a 64 x 64 grid: left half, one pixel, nothing, everything, a middle block."""
    masks = [np.zeros((64, 64), bool) for _ in range(5)]
    masks[0][:, :32] = True
    masks[1][40, 50] = True
    masks[3][:] = True
    masks[4][16:48, 8:40] = True
    return masks
