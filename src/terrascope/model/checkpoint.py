"""Finding and loading a TerraScope checkpoint: the embedded `nano`, a local folder, or a repository of the hub."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
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
from terrascope.model import hub
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.devices import Quantization, choose_device, choose_dtype, placement
from terrascope.model.fields import check_arguments, first_of
from terrascope.model.memory import WORTH_SAYING, check_memory, estimate_memory, memory_errors_in_words
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import TerraScopeImageProcessor, TerraScopeProcessor
from terrascope.model.profiles import profile_named
from terrascope.model.release.files import list_tensors

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
    name: str,
    *,
    folder: Path | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    device_map: str | None = None,
    quantization: Quantization | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[TerraScopeForConditionalGeneration, TerraScopeProcessor]:
    """Load a model, in eval mode, and its processor.

    Args:
        name: `nano`, a folder, or a hub id.
        folder: where it lies, if that is known already; the name then only stands in messages.
        device, dtype: by name; `auto` is explained at `devices.choose_device` and `devices.choose_dtype`.
        device_map: `auto` spreads the model over all GPUs and the CPU; needs the package accelerate.
        quantization: of the language model's matrices; needs bitsandbytes and accelerate.
        tell: called with a sentence on what a large model needs.

    Raises:
        ModelError: the checkpoint cannot be found, fetched or read, does not fit its own configuration, or needs more
            memory than is free; the device or the number format is unknown, or a package is missing.
    """
    where = choose_device(device)
    arguments = placement(where, device_map, quantization)
    folder = folder or _folder_of(name)
    # A bar for half a second of loading would stand in the middle of the answer.
    logging.disable_progress_bar()
    try:
        stored = list_tensors(folder)
        config = AutoConfig.from_pretrained(folder)
        formats = Counter(tensor.dtype for tensor in stored.values())
        num_parameters = sum(torch.Size(tensor.shape).numel() for tensor in stored.values())
        chosen = choose_dtype(dtype, where, formats.most_common(1)[0][0], num_parameters)
        need = estimate_memory(config, stored, where, chosen, quantization)
        if need.total_bytes > WORTH_SAYING and tell is not None:
            tell(f"model {name} needs {need}")
        if device_map is None:
            check_memory(name, need, where)
        processor = AutoProcessor.from_pretrained(folder)
        with memory_errors_in_words(where):
            model, report = AutoModelForImageTextToText.from_pretrained(
                folder, dtype=chosen, output_loading_info=True, **arguments
            )
    except ModelError as error:
        said = str(error)
        raise ModelError(said if said.startswith("model ") else f"model {name!r} cannot be loaded: {said}") from error
    except (
        StrictDataclassError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError
    ) as error:  # fmt: skip
        # Where a field of the configuration is wrong, the first line of the library's message does not say how.
        said = str(error).strip() or type(error).__name__
        lines = said.splitlines() if isinstance(error, StrictDataclassError) else said.splitlines()[:1]
        reason = " ".join(line.strip() for line in lines)[:300]
        raise ModelError(f"model {name!r} cannot be loaded: {reason}") from error
    if not isinstance(model, TerraScopeForConditionalGeneration) or not isinstance(processor, TerraScopeProcessor):
        raise ModelError(f"model {name!r} is a {type(model).__name__}; give a TerraScope checkpoint")
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(f"model {name!r}: the weights lack {first_of(missing, 'tensors')}")
    seg_id = processor.tokenizer.convert_tokens_to_ids("[SEG]")
    if seg_id != model.config.seg_token_id:
        raise ModelError(
            f"model {name!r}: the tokenizer's [SEG] is {seg_id}, but the configuration says {model.config.seg_token_id}"
        )
    if processor.prompt_modalities != model.config.prompt_modalities:
        raise ModelError(
            f"model {name!r}: prompt_modalities is {model.config.prompt_modalities!r} in config.json, but "
            f"{processor.prompt_modalities!r} in processor_config.json; let both say the same"
        )
    if not arguments:
        with memory_errors_in_words(where):
            model.to(where)
    return model.eval(), processor


def _folder_of(name: str) -> Path:
    place = locate(name)
    if Path(place).is_dir():
        return Path(place)
    # The configuration is looked at before anything is made of the rest.
    return Path(locate(str(hub.fetch(place))))


def take_profile(config: TerraScopeConfig, processor: TerraScopeProcessor, name: str) -> None:
    """Set every setting in which the profiles differ to the value of one of them; all other settings stay.

    Raises:
        ModelError: there is no such profile.
    """
    profile = profile_named(name)
    for part, settings in (
        (config, profile.model),
        (processor, profile.processor),
        (processor.image_processor, profile.image_processor),
    ):
        for setting, value in settings.items():
            setattr(part, setting, list(value) if isinstance(value, tuple) else value)


def take_settings(config: TerraScopeConfig, processor: TerraScopeProcessor, settings: Mapping[str, Any]) -> None:
    """Change settings of a model's configuration; what the processor shares with it changes there as well.

    Args:
        config, processor: of one model.
        settings: names of arguments of `TerraScopeConfig` that are no parts of the model, with their values.

    Raises:
        ModelError: there is no such setting, or a value is of another type or out of its range; nothing is changed.
    """
    given = {name: getattr(config, name, None) for name in inspect.signature(TerraScopeConfig.__init__).parameters}
    known = sorted(given.keys() - {"self", "kwargs", *config.sub_configs})
    unknown = sorted(settings.keys() - set(known))
    if unknown:
        raise ModelError(f"unknown setting {unknown[0]!r}: choose of {', '.join(known)}")
    check_arguments(TerraScopeConfig.__init__, {**given, **settings})
    for setting, value in settings.items():
        for owner in (config, processor, processor.image_processor):
            if owner is config or hasattr(owner, setting):
                setattr(owner, setting, value)


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
    return TerraScopeProcessor(
        image_processor,
        tokenizer,
        image_marks=config.backbone.image_marks,
        prompt_modalities=config.prompt_modalities,
    )
