"""Where a model runs, and in which number format: what was asked for, or what suits the machine."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any, Literal

import torch

from terrascope.errors import ModelError

Quantization = Literal["8bit", "4bit"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The number formats that a model can be loaded in, by name."""

SMALL_MODEL = 10**9
"""Parameters below which a model runs in float32 on a CPU: its memory matters little, and its answers are exact."""


def choose_device(asked: str | torch.device = "auto") -> torch.device:
    """The device by its name (`cpu`, `cuda`, `cuda:1`, `mps`), or with `auto` the first CUDA device, else the CPU.

    Raises:
        ModelError: there is no such device on this machine.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise ModelError(f"unknown device {str(asked)!r}: give auto, cpu, cuda, cuda:1 (the second), or mps")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            why = (
                "this installation of torch is built without CUDA" if torch.version.cuda is None else "torch finds none"
            )
            raise ModelError(f"device {str(asked)!r} was asked for, but {why}; give --device cpu")
        if (device.index or 0) >= torch.cuda.device_count():
            raise ModelError(
                f"device {str(asked)!r} was asked for, but there are {torch.cuda.device_count()}, from cuda:0"
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError(f"device {str(asked)!r} was asked for, but torch finds no Apple GPU; give --device cpu")
    return device


def choose_dtype(
    asked: str | torch.dtype, device: torch.device, stored: torch.dtype, num_parameters: int
) -> torch.dtype:
    """The number format by its name, or with `auto` the one that suits.

    On a GPU that is the checkpoint's own (float16 for bfloat16 where the GPU lacks it); on a CPU float32 for a small
    model, and the checkpoint's own for a large one.

    Raises:
        ModelError: there is no such format.
    """
    if asked == "auto":
        if stored not in DTYPES.values() or (device.type == "cpu" and num_parameters < SMALL_MODEL):
            return torch.float32
        lacks_bfloat16 = device.type == "cuda" and not torch.cuda.is_bf16_supported()
        return torch.float16 if lacks_bfloat16 and stored == torch.bfloat16 else stored
    found = DTYPES.get(asked) if isinstance(asked, str) else asked
    if found not in DTYPES.values():
        raise ModelError(f"unknown number format {str(asked)!r}: give auto, {', '.join(DTYPES)}")
    assert found is not None
    return found


def dtype_name(dtype: torch.dtype) -> str:
    """`bfloat16`, as the command line takes it."""
    return str(dtype).removeprefix("torch.")


def check_finite(values: torch.Tensor, dtype: torch.dtype) -> None:
    """Refuse results that are no numbers: nothing that is said or drawn after them means anything.

    Args:
        values: logits, of tokens or of masks.
        dtype: what the model computes in.

    Raises:
        ModelError: one of them is NaN or infinite.
    """
    if not bool(torch.isfinite(values).all()):
        other = "" if dtype == torch.float32 else "give --dtype float32; if that does not help, "
        raise ModelError(
            f"the model's numbers are not finite in {dtype_name(dtype)}; {other}its weights are damaged: "
            "look with terrascope doctor --model"
        )


def placement(device: torch.device, device_map: str | None, quantization: Quantization | None) -> dict[str, Any]:
    """Further arguments of the library's loading: where the parts of a model go, and how many bits they get.

    Args:
        device: where a model goes as a whole.
        device_map: `auto` spreads a model over all GPUs and, where they are too small, the CPU.
        quantization: bits of the language model's matrices; everything else keeps its number format.

    Raises:
        ModelError: what it takes is not installed or not on this machine.
    """
    if device_map not in (None, "auto"):
        raise ModelError(f"unknown device map {device_map!r}: give 'auto' or none")
    if quantization not in (None, "8bit", "4bit"):
        raise ModelError(f"unknown quantization {quantization!r}: give 8bit or 4bit, or none")
    if quantization is not None:
        _need("bitsandbytes", f"loading in {quantization}")
        if device.type == "mps":
            raise ModelError(f"loading in {quantization} works on CUDA devices and CPUs, not on {device}; give --dtype")
    if device_map is not None or quantization is not None:
        _need("accelerate", "device_map='auto'" if device_map else f"loading in {quantization}")
    elif device.type == "cpu" or find_spec("accelerate") is None:
        return {}
    # With accelerate the weights go straight to their device, and never lie in the machine's memory as a whole.
    arguments: dict[str, Any] = {"device_map": device_map or {"": device}}
    if quantization is not None:
        arguments["quantization_config"] = _quantization_config(quantization)
    return arguments


def _quantization_config(quantization: Quantization) -> Any:
    from transformers import BitsAndBytesConfig

    # At every matrix of every token it would say that its inputs become float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    return BitsAndBytesConfig(
        load_in_8bit=quantization == "8bit",
        load_in_4bit=quantization == "4bit",
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=list(NOT_QUANTIZED),
    )


NOT_QUANTIZED = (
    "vlm.model.vision_tower",
    "vlm.model.visual",
    "vlm.model.multi_modal_projector",
    "vlm.lm_head",
    "sam",
    "seg_projection",
    "mask_fusion",
)
"""Parts that keep their number format: small beside the language model, and what masks are made of. Named in full,
since the library takes a name that is only a part of a module's for none of them."""


def _need(package: str, what: str) -> None:
    if find_spec(package) is None:
        raise ModelError(f"{what} needs the package {package}: pip install {package}")
