"""An untrained TerraScope model from public parts: a vision-language model and a mask decoder, joined for training."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from pydantic import BaseModel
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from terrascope.errors import ModelError
from terrascope.model import hub
from terrascope.model.backbones import backbone_named
from terrascope.model.checkpoint import make_processor
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.decoders import mask_model_named
from terrascope.model.devices import choose_dtype
from terrascope.model.fields import STRICT, Layers, first_of, read_fields
from terrascope.model.memory import BASE_BYTES, WORTH_SAYING, MemoryNeed, check_memory
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import Deviations, Means, TerraScopeProcessor
from terrascope.model.release.files import Stored, first_rows, list_tensors, read_json
from terrascope.model.tokenizer_files import open_tokenizer
from terrascope.model.vocabulary import add_reasoning_tokens


class _Normalization(BaseModel):
    model_config = STRICT

    image_mean: Means
    image_std: Deviations


class _Depth(BaseModel):
    model_config = STRICT

    num_hidden_layers: Layers | None = None
    depth: Layers | None = None


@dataclass(frozen=True)
class Parts:
    """Two folders or hub ids: a vision-language model, and a mask decoder."""

    vlm: str
    sam: str


_LAYERS = {
    "text_config": re.compile(r"(?:language_model\.(?:model\.)?|^model\.)layers\.(\d+)\."),
    "vision_config": re.compile(r"(?:vision_tower|visual)\.(?:encoder\.)?(?:layer|blocks)\.(\d+)\."),
}
"""Names of the tensors of layers, by the part of a vision-language model that has them."""

PRESETS = {
    "1b": Parts("OpenGVLab/InternVL3-1B-hf", "facebook/sam2.1-hiera-small"),
    "2b": Parts("OpenGVLab/InternVL3-2B-hf", "facebook/sam2.1-hiera-base-plus"),
    "8b": Parts("OpenGVLab/InternVL3-8B-hf", "facebook/sam2.1-hiera-large"),
    "14b": Parts("OpenGVLab/InternVL3-14B-hf", "facebook/sam2.1-hiera-large"),
}


def choose_parts(vlm: str | None, sam: str | None, preset: str | None) -> Parts:
    """The parts that are named one by one, or those of a preset.

    Raises:
        ModelError: there is no such preset, or both ways or half of one were taken.
    """
    if preset is not None and vlm is None and sam is None:
        if preset not in PRESETS:
            raise ModelError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
        return PRESETS[preset]
    if preset is not None or vlm is None or sam is None:
        raise ModelError("name a vision-language model and a mask decoder, or a preset instead of both")
    return Parts(vlm, sam)


def compose(
    parts: Parts,
    *,
    dtype: str | torch.dtype | None = None,
    tell: Callable[[str], None] | None = None,
    stage: Callable[[str], None] | None = None,
) -> tuple[TerraScopeForConditionalGeneration, TerraScopeProcessor]:
    """The model for training, in eval mode, and its processor; no more than one copy of the weights is in memory.

    The weights of both parts arrive unchanged. New are the projection of [SEG] states, the fusion of masks, and the
    rows of tokens that the tokenizer lacks.

    Args:
        parts: what to join.
        dtype: number format of all weights, by name or as torch has it; that of the vision-language model if None.
        tell: called with a sentence on the memory that a large model takes.
        stage: called with what is done next, in a few words.

    Raises:
        ModelError: a part cannot be found, fetched or read; it is of an unknown kind; a tensor is missing, unknown or
            of another shape; the tokenizer does not fit; the weights need more memory than is free.
    """
    logging.disable_progress_bar()
    stage = stage or (lambda _: None)
    stage("looking for the parts")
    vlm_folder, sam_folder = _find(parts.vlm), _find(parts.sam)
    vlm_config, vlm_class = _read_backbone(vlm_folder)
    sam_config, sam_class = _read_mask_model(sam_folder)
    tokenizer = _read_tokenizer(vlm_folder, vlm_config)
    normalization = _read_normalization(vlm_folder)
    sam_normalization = {f"sam_{name}": value for name, value in _read_normalization(sam_folder).items()}
    stored = list_tensors(vlm_folder)
    most = Counter(tensor.dtype for tensor in stored.values()).most_common(1)[0][0]
    number_format = most if dtype is None else choose_dtype(dtype, torch.device("cpu"), most, 0)
    _check_memory(parts, [*stored.values(), *list_tensors(sam_folder).values()], number_format, tell)
    _settle_tie(vlm_config, stored)
    _count_layers(vlm_folder, vlm_config, stored)
    stage("reading the vision-language model")
    vlm = _load_part(vlm_folder, vlm_class, vlm_config, number_format)
    stage("reading the mask decoder")
    sam = _load_part(sam_folder, sam_class, sam_config, number_format)
    stage("joining")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        add_reasoning_tokens(vlm, tokenizer, str(vlm_folder))
        config = TerraScopeConfig(
            vlm_config=vlm.config, sam_config=sam.config, seg_token_id=tokenizer.convert_tokens_to_ids("[SEG]")
        )
        model = _join(config, vlm, sam, number_format)
    settings = {f"image_{name}": value for name, value in normalization.items()} | sam_normalization
    return model.eval(), make_processor(config, tokenizer, **settings)


def _check_memory(
    parts: Parts, stored: Sequence[Stored], dtype: torch.dtype, tell: Callable[[str], None] | None
) -> None:
    """Say what the weights take, and refuse them where that is more than is free."""
    num_bytes = sum(torch.Size(tensor.shape).numel() for tensor in stored) * dtype.itemsize
    name = f"{parts.vlm} + {parts.sam}"
    need = MemoryNeed(weights_bytes=num_bytes, working_bytes=int(BASE_BYTES["cpu"]), dtype=dtype)
    if need.total_bytes > WORTH_SAYING and tell is not None:
        tell(f"model {name} needs {need}")
    check_memory(name, need, torch.device("cpu"))


def _find(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(f"{name}: no such folder; give the folder of a checkpoint, or a hub id (owner/name)")
    return hub.fetch(name)


def _read_backbone(folder: Path) -> tuple[PreTrainedConfig, type[PreTrainedModel]]:
    raw = _read_config(folder)
    if raw["model_type"] == "internvl_chat":
        raise ModelError(f"{folder}: this InternVL needs remote code; give the repository whose name ends in -hf")
    try:
        family = backbone_named(str(raw["model_type"]))
    except ModelError as error:
        raise ModelError(f"{folder / 'config.json'}: {error}") from None
    return _make_config(folder, family.config_class, raw), family.model_class


def _read_mask_model(folder: Path) -> tuple[PreTrainedConfig, type[PreTrainedModel]]:
    raw = _read_config(folder)
    try:
        family = mask_model_named(str(raw["model_type"]))
    except ModelError as error:
        raise ModelError(f"{folder / 'config.json'}: {error}") from None
    config: Any = _make_config(folder, family.config_class, raw)
    # In eval mode it would answer with mask tokens that a loss on the single mask never trained.
    config.mask_decoder_config.dynamic_multimask_via_stability = False
    return config, family.model_class


def _read_config(folder: Path) -> dict[str, Any]:
    raw = read_json(folder / "config.json")
    if "model_type" not in raw:
        raise ModelError(f"{folder / 'config.json'}: lacks model_type; give the folder of a model of transformers")
    return raw


def _make_config(folder: Path, kind: type[PreTrainedConfig], raw: Mapping[str, Any]) -> PreTrainedConfig:
    for part in kind.sub_configs:
        # The library would take its own default for it, which is billions of numbers large.
        if not isinstance(raw.get(part, {}), dict):
            raise ModelError(f"{folder / 'config.json'}: {part} must be an object, but is {raw[part]!r}")
        read_fields(_Depth, raw.get(part, {}), f"{folder / 'config.json'}: {part}")
    try:
        # A video model's configuration holds that of its model for still images, under other model types.
        return kind.from_dict({key: value for key, value in raw.items() if key != "model_type"})
    except (StrictDataclassError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{folder / 'config.json'}: is no configuration of type {kind.model_type} ({_line(error)})"
        ) from None


def _read_tokenizer(folder: Path, config: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of a vision-language model with its own chat template, before any token is added."""
    tokenizer = open_tokenizer(folder)
    mark = backbone_named(config.model_type).image_marks[1]
    found = tokenizer.get_vocab().get(mark)
    if found is None:
        raise ModelError(f"{folder}: its tokenizer lacks {mark}; fetch the one that belongs to the weights")
    if found != config.image_token_id:
        raise ModelError(
            f"{folder}: the tokenizer's {mark} is {found}, but config.json says image_token_id {config.image_token_id}"
        )
    older = folder / "chat_template.json"
    if tokenizer.chat_template is None and older.exists():
        tokenizer.chat_template = read_json(older).get("chat_template")
    if tokenizer.chat_template is None:
        raise ModelError(f"{folder}: has no chat template; take chat_template.jinja from the original repository")
    said = "a question that no template holds"
    turn = [{"role": "user", "content": said}]
    if said not in tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True):
        raise ModelError(f"{folder}: its chat template leaves out what the user says where that is plain text")
    return tokenizer


def _read_normalization(folder: Path) -> dict[str, list[float]]:
    """Mean and deviation per channel with which a part was trained."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).exists():
            raw = read_json(folder / name)
            raw = raw.get("image_processor", raw)
            if isinstance(raw, dict) and "image_mean" in raw and "image_std" in raw:
                stated = read_fields(_Normalization, raw, str(folder / name))
                return {"mean": list(stated.image_mean), "std": list(stated.image_std)}
    raise ModelError(f"{folder}: no preprocessor_config.json that states image_mean and image_std; fetch it too")


def _settle_tie(config: Any, stored: Mapping[str, Stored]) -> None:
    """Set whether the output matrix is the input matrix by what is stored: not every configuration says so."""
    heads = [tensor for name, tensor in stored.items() if name.endswith("lm_head.weight")]
    inputs = [tensor for name, tensor in stored.items() if name.endswith("embed_tokens.weight")]
    if not heads:
        config.tie_word_embeddings = True
    elif inputs and not torch.equal(first_rows(heads[0]), first_rows(inputs[0])):
        config.tie_word_embeddings = False
    config.text_config.tie_word_embeddings = config.tie_word_embeddings


def _count_layers(folder: Path, config: Any, stored: Mapping[str, Stored]) -> None:
    """Refuse numbers of layers that the tensors contradict, before a model of so many is built."""
    for part, pattern in _LAYERS.items():
        sizes = getattr(config, part)
        field = "num_hidden_layers" if hasattr(sizes, "num_hidden_layers") else "depth"
        stated, found = getattr(sizes, field), len({match[1] for match in map(pattern.search, stored) if match})
        if stated != found:
            raise ModelError(
                f"{folder / 'config.json'}: {part}.{field} is {stated}, but the weights have {found} layers"
            )


def _load_part(folder: Path, kind: type[PreTrainedModel], config: PreTrainedConfig, dtype: torch.dtype) -> Any:
    """A part with all its weights, read tensor by tensor into their places."""
    list_tensors(folder)
    verbosity = logging.get_verbosity()
    # What does not fit is said here in one sentence, not as the library's table.
    logging.set_verbosity_error()
    try:
        model, report = kind.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, local_files_only=True,
            ignore_mismatched_sizes=True, output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot be loaded ({_line(error)})") from None
    finally:
        logging.set_verbosity(verbosity)
    if report["mismatched_keys"]:
        name, found, wanted = sorted(report["mismatched_keys"])[0]
        raise ModelError(f"{folder}: {name} is {list(found)}, but config.json asks for {list(wanted)}")
    for fault, key in (("its weights lack", "missing_keys"), ("config.json has no place for", "unexpected_keys")):
        names = sorted(report[key])
        if names:
            raise ModelError(f"{folder}: {fault} {first_of(names, 'tensors')}")
    return model


def _join(config: TerraScopeConfig, vlm: Any, sam: Any, dtype: torch.dtype) -> TerraScopeForConditionalGeneration:
    """The model whose parts are these two; only what is new gets memory of its own."""
    with torch.device("meta"):
        model = TerraScopeForConditionalGeneration(config)
    model.vlm, model.sam = vlm, sam
    model.config.vlm_config, model.config.sam_config = vlm.config, sam.config
    for part in (model.seg_projection, model.mask_fusion):
        part.to_empty(device="cpu")
        for layer in part.modules():
            if isinstance(layer, nn.Linear):
                # Keeps the variance at any width, which the library's fixed deviation does not.
                layer.reset_parameters()
        part.to(dtype)
    model.mask_fusion.reset()
    return model


def _line(error: Exception) -> str:
    said = f"KeyError: {error}" if isinstance(error, KeyError) else str(error).strip()
    lines = (said or type(error).__name__).splitlines()
    # Of a field that is wrong, the first line says which, and the others how.
    return " ".join(line.strip() for line in (lines if isinstance(error, StrictDataclassError) else lines[:1]))[:200]
