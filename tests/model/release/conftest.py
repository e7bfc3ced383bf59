"""A tiny model in the released layout, and the same as ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.nano_tokenizer import train_tokenizer
from terrascope.model.processing import TerraScopeProcessor
from terrascope.model.release.convert import finish_processor
from terrascope.model.release.export import export_release
from terrascope.model.release.settings import our_configuration

RELEASED = {
    "model_type": "sa2va_chat",
    "force_image_size": 56,
    "downsample_ratio": 0.5,
    "min_dynamic_patch": 1,
    "max_dynamic_patch": 12,
    "tie_word_embeddings": False,
    "vision_config": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "patch_size": 14, "qkv_bias": True,
    },
    "llm_config": {
        "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 340, "max_position_embeddings": 4096,
        "rope_theta": 1000000.0, "tie_word_embeddings": False,
    },
}  # fmt: skip
HIERA = {
    "embed_dim": 8,
    "num_heads": 1,
    "stages": [1, 2, 2, 1],
    "global_att_blocks": [4],
    "window_pos_embed_bkg_spatial_size": [7, 7],
    "window_spec": [8, 4, 16, 8],
}


@dataclass(frozen=True)
class Checkpoint:
    """Folders of one model in both layouts, and the model itself."""

    ours: Path
    released: Path
    model: TerraScopeForConditionalGeneration
    processor: TerraScopeProcessor


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Random weights, wide enough apart that greedy choices are clear."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["The water: tree: Q? It covers % of the image. ab cd A B user assistant"] * 4, 338)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<REGION>", "<|end|>"]}, replace_extra_special_tokens=False
    )
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in ("<IMG_CONTEXT>", "[SEG]")}
    config = our_configuration(RELEASED, HIERA, ids)
    model = TerraScopeForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and not name.startswith("mask_fusion"):
            torch.nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5)
    # One matrix in the release, two in transformers.
    sam = model.sam
    sam.prompt_encoder.shared_embedding.positional_embedding.data.copy_(sam.shared_image_embedding.positional_embedding)
    model.eval()
    processor = finish_processor(config, tokenizer)
    processor.system_prompt = ""
    model.save_pretrained(folder / "ours")
    processor.save_pretrained(folder / "ours")
    export_release(folder / "ours", folder / "released")
    return Checkpoint(folder / "ours", folder / "released", model, processor)
