"""Memory that a model needs, estimated from the headers of its files before anything is loaded, and what is free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from terrascope.doctor.machine import memory_limits
from terrascope.errors import ModelError
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.devices import NOT_QUANTIZED, Quantization, dtype_name
from terrascope.model.release.files import Stored, in_bytes
from terrascope.model.release.names import in_model

GB = 1e9
WORTH_SAYING = GB
"""Bytes from which on a user is told what a model needs."""

BASE_BYTES = {"cpu": 0.35 * GB, "cuda": 0.6 * GB, "mps": 0.35 * GB}
"""The libraries in memory; on a GPU its context and the workspace of the matrix products."""

# Measured on a CPU with the largest encoders, InternViT-300M and Hiera-L (benchmarks/release.py --working-memory):
# numbers that live at once per pixel of what an encoder sees, and per position and width of the language model.
_PER_TILE_PIXEL, _PER_MASK_PIXEL, _PER_POSITION = 75, 190, 3
_PROMPT_WORDS, _NEW_POSITIONS = 512, 1024
"""Positions of a prompt beside its images, and of a reasoning with the default limit."""

_KEPT = tuple(f"{part}." for part in (*NOT_QUANTIZED, "vlm.model.language_model.embed_tokens"))
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "Cannot allocate memory", "not enough memory")


@dataclass(frozen=True, kw_only=True)
class MemoryNeed:
    """Bytes that a model takes: its weights, and the work on one image at the largest number of tiles."""

    weights_bytes: int
    working_bytes: int
    dtype: torch.dtype
    quantization: Quantization | None = None

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.working_bytes

    def __str__(self) -> str:
        form = self.quantization or dtype_name(self.dtype)
        return (
            f"about {in_bytes(self.total_bytes)} of memory in {form} "
            f"({in_bytes(self.weights_bytes)} of weights, {in_bytes(self.working_bytes)} to work with)"
        )


def estimate_memory(
    config: TerraScopeConfig,
    stored: Mapping[str, Stored],
    device: torch.device,
    dtype: torch.dtype,
    quantization: Quantization | None = None,
) -> MemoryNeed:
    """What a model needs on a device, for one image; each further image of a scene takes its share of the work again.

    Args:
        config: of the model.
        stored: its tensors, by the headers of their files (`release.files.list_tensors`).
        device, dtype, quantization: how it is to be loaded.
    """
    bits = {None: 8 * dtype.itemsize, "8bit": 8, "4bit": 4}[quantization]
    weights = 0.0
    for tensor in stored.values():
        size = torch.Size(tensor.shape).numel()
        is_quantized = len(tensor.shape) == 2 and not in_model(tensor.name).startswith(_KEPT)
        weights += size * (bits if is_quantized else 8 * dtype.itemsize) / 8
    working = BASE_BYTES[device.type] + dtype.itemsize * _numbers_at_work(config)
    return MemoryNeed(weights_bytes=int(weights), working_bytes=int(working), dtype=dtype, quantization=quantization)


def _numbers_at_work(config: TerraScopeConfig) -> int:
    """Numbers that live at once: the KV cache of the longest reasoning, and the work of both encoders and the prompt,
    added, because memory that one part gives back is seldom of the size that the next one asks for."""
    text: Any = config.vlm_config.text_config
    num_tiles = config.max_tiles + (config.max_tiles > 1)
    prompt = num_tiles * config.token_grid**2 + _PROMPT_WORDS
    head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    cache = 2 * text.num_hidden_layers * text.num_key_value_heads * head_width * (prompt + _NEW_POSITIONS)
    encoders = _PER_TILE_PIXEL * num_tiles * config.tile_size**2 + _PER_MASK_PIXEL * config.sam_size**2
    return cache + encoders + _PER_POSITION * prompt * (text.intermediate_size + text.hidden_size)


def free_memory(device: torch.device) -> tuple[int, str] | None:
    """Free bytes on a device and what says so; None where nothing tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]), f"on {torch.cuda.get_device_name(device)}"
    limits = [(num_bytes, name) for name, num_bytes in memory_limits()]
    return min(limits) if limits else None


def check_memory(name: str, need: MemoryNeed, device: torch.device) -> None:
    """Refuse a model that does not fit.

    Raises:
        ModelError: it needs more than is free on the device.
    """
    free = free_memory(device)
    if free is None or need.total_bytes <= free[0]:
        return
    smaller = "--dtype bfloat16" if need.dtype == torch.float32 else "--quantization 4bit"
    raise ModelError(
        f"model {name!r} needs {need}, but {in_bytes(free[0])} are free ({free[1]}); "
        f"give {smaller}, or another --device"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch and Python raise where memory ran out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    )


@contextmanager
def memory_errors_in_words(device: torch.device) -> Iterator[None]:
    """Turn the library's error about memory that ran out into one sentence.

    Raises:
        ModelError: the block ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        free = free_memory(device)
        left = f" ({in_bytes(free[0])} are free now, {free[1]})" if free else ""
        raise ModelError(
            f"memory ran out on {device}{left}; give --dtype bfloat16, another --device, or a smaller part with --bbox"
        ) from error
