"""Our checkpoints in the released layout, for those who run the authors' code."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from terrascope.errors import ModelError
from terrascope.model.checkpoint import locate
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.devices import dtype_name
from terrascope.model.release.convert import (
    MAX_SHARD_BYTES,
    REPORT,
    Conversion,
    Progress,
    count_tensors,
    num_bytes,
    read_tensor,
)
from terrascope.model.release.files import Stored, list_tensors, plan_shards, read_json, write_shards
from terrascope.model.release.folders import new_folder
from terrascope.model.release.names import Source, in_model, our_sources, released_names
from terrascope.model.release.settings import CONFIG_FILE, HIERA_FILE, RELEASED_TYPE, our_configuration
from terrascope.model.release.tokens import write_tokenizer
from terrascope.model.tokenizer_files import open_tokenizer

_NOT_RELEASED = "mask_fusion."
_NO_SIZES = (
    "dtype",
    "architectures",
    "_name_or_path",
    "transformers_version",
    "initializer_range",
    "layer_scale_init_value",
    "id2label",
    "label2id",
)
"""What a configuration holds beside sizes and switches: where it comes from, and how training begins."""

_LANGUAGE_EXTRAS = (
    "transformers_version", "dtype", "_name_or_path", "id2label", "label2id", "architectures", "rope_parameters",
)  # fmt: skip
_LANGUAGE_CLASSES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def export_release(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Progress | None = None,
) -> Conversion:
    """Write one of our checkpoints in the released layout. Importing the result gives the same weights and sizes.

    The fusion of optical and SAR masks has no place there and is left out, and SAM-2's video memory is not there to be
    written: a reader must let these tensors be missing. SAM-2's image encoder is described in a file of its own,
    `grounding_encoder.json`, because the released configuration does not. What the configuration of an imported
    release said beside what ours can say, such as its `auto_map`, is said again.

    Args:
        source: a folder written by `save_pretrained` or by `import_release`.
        target: the folder to make.

    Raises:
        ModelError: a file is missing or damaged, or the model has parts that the layout does not know.
        OutputError: the target exists already or cannot be written.
    """
    source = Path(locate(os.fspath(source)))
    if not source.is_dir():
        raise ModelError(f"{source}: no such folder; export takes a folder with one of our checkpoints, not a hub id")
    config = TerraScopeConfig.from_dict(read_json(source / CONFIG_FILE))
    kinds = (config.vlm_config.model_type, config.sam_config.model_type)
    if kinds != ("internvl", "sam2"):
        raise ModelError(
            f"{source}: the released layout holds an InternVL and a SAM-2, but this is {' and '.join(kinds)}"
        )
    language = config.vlm_config.text_config.model_type
    if language not in _LANGUAGE_CLASSES:
        raise ModelError(f"{source}: the released layout holds a Qwen as its language model, but this is {language!r}")
    _check_sizes(config, source)
    stored = {in_model(name): tensor for name, tensor in list_tensors(source).items()}
    plan = _plan(stored, source)
    sizes = {name: sum(num_bytes(stored[s.name], s) for s in sources) for name, sources in plan.items()}
    shards = plan_shards(sizes, max_shard_bytes)

    dtype = Counter(stored[s.name].dtype for sources in plan.values() for s in sources).most_common(1)[0][0]
    kept = read_json(source / REPORT) if (source / REPORT).is_file() else {}
    tokenizer = open_tokenizer(source)

    def load(name: str) -> Tensor:
        return read_tensor(stored, plan[name])

    with new_folder(target, sum(sizes.values())) as folder:
        write_shards(folder, shards, load, count_tensors(progress, len(plan)))
        said = _over(kept.get("released_config"), released_configuration(config, dtype))
        _write_json(folder / CONFIG_FILE, said)
        _write_json(folder / HIERA_FILE, hiera_sizes(config))
        write_tokenizer(tokenizer, folder, kept.get("released_tokenizer_class"))
    left_out = tuple(sorted(name for name in stored if name.startswith(_NOT_RELEASED)))
    return Conversion(num_tensors=len(plan), dropped=left_out, added=())


def _check_sizes(config: TerraScopeConfig, source: Path) -> None:
    """Refuse sizes that the layout cannot state: importing would give another model."""
    ids = {"<IMG_CONTEXT>": config.vlm_config.image_token_id, "[SEG]": config.seg_token_id}
    again = our_configuration(released_configuration(config), hiera_sizes(config), ids)
    for part in ("vlm_config", "sam_config"):
        ours, theirs = (_leaves(getattr(one, part).to_dict()) for one in (config, again))
        differing = sorted(key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key])
        if differing:
            key = differing[0]
            raise ModelError(
                f"{source}: the released layout cannot state {part}.{key} = {ours[key]}; it stands for {theirs[key]}"
            )


def _leaves(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Sizes and switches by their path; what the library notes about files and training is left out."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if key in _NO_SIZES:
            continue
        if isinstance(value, dict):
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def _plan(stored: Mapping[str, Stored], source: Path) -> dict[str, tuple[Source, ...]]:
    plan: dict[str, tuple[Source, ...]] = {}
    for name in stored:
        if name.startswith(_NOT_RELEASED):
            continue
        released = released_names(name)
        if not released:
            raise ModelError(f"{source}: the released layout has no place for the tensor {name}")
        plan |= {theirs: our_sources(theirs) for theirs in released}
    for theirs, sources in plan.items():
        lost = next((s.name for s in sources if s.name not in stored), None)
        if lost is not None:
            raise ModelError(f"{source}: lacks the tensor {lost}, which {theirs} is made of")
    return plan


def _over(before: Any, now: dict[str, Any]) -> dict[str, Any]:
    """What is said now, and of what was said before that which nothing is said about now."""
    merged = dict(before) if isinstance(before, dict) else {}
    for key, value in now.items():
        merged[key] = _over(merged.get(key), value) if isinstance(value, dict) else value
    return merged


def released_configuration(config: TerraScopeConfig, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """`config.json` of the released layout, in the words of transformers 4; `dtype` is that of the weights."""
    vision, text = config.vlm_config.vision_config, config.vlm_config.text_config
    language = {key: value for key, value in text.to_dict().items() if key not in _LANGUAGE_EXTRAS}
    rope = dict(text.rope_parameters)
    language["architectures"] = [_LANGUAGE_CLASSES[text.model_type]]
    language["rope_theta"] = rope.pop("rope_theta")
    language["rope_scaling"] = rope if rope["rope_type"] != "default" else None
    stated = {} if dtype is None else {"torch_dtype": dtype_name(dtype)}
    return stated | {
        "architectures": ["Sa2VAChatModel"],
        "model_type": RELEASED_TYPE,
        "template": "qwen_chat",
        "select_layer": -1,
        "force_image_size": int(vision.image_size[0]),
        "downsample_ratio": config.vlm_config.downsample_ratio,
        "ps_version": "v2",
        "dynamic_image_size": config.max_tiles > 1,
        "use_thumbnail": True,
        "min_dynamic_patch": config.min_tiles,
        "max_dynamic_patch": config.max_tiles,
        "tie_word_embeddings": config.vlm_config.tie_word_embeddings,
        "vision_config": {
            "hidden_size": vision.hidden_size,
            "num_hidden_layers": vision.num_hidden_layers,
            "num_attention_heads": vision.num_attention_heads,
            "intermediate_size": vision.intermediate_size,
            "image_size": int(vision.image_size[0]),
            "patch_size": int(vision.patch_size[0]),
            "qkv_bias": vision.attention_bias,
            "qk_normalization": vision.use_qk_norm,
            "norm_type": vision.norm_type,
            "layer_norm_eps": vision.layer_norm_eps,
            "architectures": ["InternVisionModel"],
            "model_type": "intern_vit_6b",
        },
        "llm_config": language | stated,
    }


def hiera_sizes(config: TerraScopeConfig) -> dict[str, Any]:
    """Sizes of SAM-2's image encoder, as `grounding_encoder.json` states them."""
    hiera = config.sam_config.vision_config.backbone_config
    return {
        "embed_dim": hiera.hidden_size,
        "num_heads": hiera.num_attention_heads,
        "stages": hiera.blocks_per_stage,
        "global_att_blocks": hiera.global_attention_blocks,
        "window_pos_embed_bkg_spatial_size": hiera.window_positional_embedding_background_size,
        "window_spec": hiera.window_size_per_stage,
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
