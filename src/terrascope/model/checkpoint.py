"""Finding and loading a TerraScope checkpoint: the embedded `nano`, a local folder, or a repository of the hub."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from terrascope.errors import ModelError
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import TerraScopeImageProcessor, TerraScopeProcessor

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
EMBEDDED = ("nano",)


def register() -> None:
    """Make the classes known to transformers' Auto classes. Importing `terrascope.model` does it."""
    AutoConfig.register(TerraScopeConfig.model_type, TerraScopeConfig, exist_ok=True)
    AutoModelForImageTextToText.register(TerraScopeConfig, TerraScopeForConditionalGeneration, exist_ok=True)
    AutoProcessor.register(TerraScopeConfig, TerraScopeProcessor, exist_ok=True)
    # The library knows two backends and takes "pil" where torchvision is missing; ours is plain torch.
    backends = {"pil": TerraScopeImageProcessor, "torchvision": TerraScopeImageProcessor}
    AutoImageProcessor.register(TerraScopeConfig, image_processor_classes=backends, exist_ok=True)


def locate(name: str) -> str:
    """The folder or hub id that a model's name stands for.

    Raises:
        ModelError: the name is no embedded model, no folder with a checkpoint, and cannot be a hub id.
    """
    if name in EMBEDDED:
        folder = WEIGHTS / name
        if not (folder / "config.json").is_file():
            raise ModelError(f"model {name!r}: its weights are missing from this installation; reinstall the package")
        return str(folder)
    folder = Path(name)
    if folder.is_dir():
        config = folder / "config.json"
        if not config.is_file():
            raise ModelError(f"model {name!r}: the folder has no config.json; give a folder written by save_pretrained")
        try:
            kind = json.loads(config.read_text(encoding="utf-8")).get("model_type")
        except (ValueError, AttributeError) as error:
            raise ModelError(
                f"{config}: not a JSON object ({error}); give a folder written by save_pretrained"
            ) from error
        if kind != TerraScopeConfig.model_type:
            raise ModelError(f"{config}: model_type is {kind!r}, but a TerraScope checkpoint says 'terrascope'")
        return str(folder)
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith("/"):
        known = ", ".join(EMBEDDED)
        raise ModelError(f"unknown model {name!r}: give {known}, a folder with a checkpoint, or a hub id (owner/name)")
    return name


def load(
    name: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[TerraScopeForConditionalGeneration, TerraScopeProcessor]:
    """Load a model, in eval mode, and its processor.

    Raises:
        ModelError: the checkpoint cannot be found, fetched or read, or does not fit its own configuration.
    """
    place = locate(name)
    # A bar for half a second of loading would stand in the middle of the answer.
    logging.disable_progress_bar()
    try:
        local = not Path(place).is_dir() and not _hub_answers()
        processor = AutoProcessor.from_pretrained(place, local_files_only=local)
        model, report = AutoModelForImageTextToText.from_pretrained(
            place, dtype=dtype, output_loading_info=True, local_files_only=local
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ModelError(f"model {name!r} cannot be loaded: {reason}") from error
    if not isinstance(model, TerraScopeForConditionalGeneration) or not isinstance(processor, TerraScopeProcessor):
        raise ModelError(f"model {name!r} is a {type(model).__name__}; give a TerraScope checkpoint")
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(f"model {name!r}: the weights lack {missing[0]} and {len(missing) - 1} more tensors")
    seg_id = processor.tokenizer.convert_tokens_to_ids("[SEG]")
    if seg_id != model.config.seg_token_id:
        raise ModelError(
            f"model {name!r}: the tokenizer's [SEG] is {seg_id}, but the configuration says {model.config.seg_token_id}"
        )
    return model.to(device).eval(), processor


def _hub_answers() -> bool:
    """Whether the hub can be reached; without it only what was fetched before is looked for, instead of minutes of
    retries. Behind a proxy the hub is taken to be there."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((address.hostname, address.port or 443), timeout=5):
            return True
    except OSError:
        return False


def make_processor(
    config: TerraScopeConfig, tokenizer: PreTrainedTokenizerBase, **settings: Any
) -> TerraScopeProcessor:
    """A processor whose image sizes are those of a configuration; `settings` go to the image processor."""
    image_processor = TerraScopeImageProcessor(
        tile_size=config.tile_size,
        token_grid=config.token_grid,
        sam_size=config.sam_size,
        min_tiles=config.min_tiles,
        max_tiles=config.max_tiles,
        **settings,
    )
    return TerraScopeProcessor(image_processor, tokenizer)
