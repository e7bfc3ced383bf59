"""Floating-point operations of a step: by hand, and against what torch counts."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from terrascope.training import throughput
from terrascope.training.stages import LoraSettings, prepare_stage
from terrascope.training.throughput import StepCost, peak_flops
from tests.model.conftest import make_tiny

PLAIN = partial(sdpa_kernel, SDPBackend.MATH)
"""Attention as matrix products: those of the faster ways on a CPU torch does not count."""

PARTS: dict[str, Any] = {
    "layer_parameters": 1000, "trained_parameters": 100, "head_parameters": 500, "head_moves": False,
    "attention_width": 8, "gradient_passes": True, "tile": 7, "image": 11, "mask": 13,
    "tile_passes": 1, "image_passes": 1, "mask_passes": 3,
}  # fmt: skip


def test_the_formula_by_hand() -> None:
    step = {"num_positions": 20, "mean_length": 10.0, "num_supervised": 5}
    forwards = 2 * 1000 * 20 + 2 * 8 * 20 * 10 + 2 * 500 * 5
    backwards = 2 * 1000 * 20 + 4 * 8 * 20 * 10 + 2 * 100 * 20 + 2 * 500 * 5
    assert StepCost(**PARTS).count(**step) == forwards + backwards == 103_600
    assert StepCost(**{**PARTS, "gradient_passes": False}).count(**step) == forwards == 48_200
    assert StepCost(**{**PARTS, "head_moves": True}).count(**step) == forwards + backwards + 5_000
    seen = StepCost(**PARTS).count(**step, num_tiles=2, num_images=3, num_masks=4)
    assert seen - forwards - backwards == 2 * 7 + 3 * 11 + 3 * 4 * 13


@pytest.mark.parametrize(
    ("stage", "lora"), [("instruction", None), ("instruction", LoraSettings(rank=2)), ("grounding", None)]
)
def test_the_language_model_costs_what_torch_counts(stage: Any, lora: LoraSettings | None) -> None:
    model, _ = make_tiny()
    prepare_stage(model, stage, lora)
    batch, length = 3, 24
    embeddings = torch.randn(batch, length, 32, requires_grad=stage != "grounding")
    with FlopCounterMode(display=False) as counter, PLAIN():
        logits = model(inputs_embeds=embeddings).logits
        if stage != "grounding":
            logits.sum().backward()
    counted = StepCost.of(model).count(num_positions=batch * length, mean_length=length, num_supervised=batch * length)
    # Torch counts the whole square of the attention, of which causality leaves half; and of adapters their own path.
    square = 2 * (1 if stage == "grounding" else 3) * StepCost.of(model).attention_width * batch * length * length
    assert counted + square == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_encoders_and_decoder_cost_what_torch_counts() -> None:
    model, _ = make_tiny()
    prepare_stage(model, "grounding")
    cost = StepCost.of(model)
    for expected, work in [
        (cost.tile, lambda: model.encode_tiles(torch.zeros(1, 3, 32, 32))),
        (cost.image, lambda: model.encode_for_masks(torch.zeros(1, 3, 64, 64))),
        (cost.image + cost.mask, lambda: model.decode_masks(
            model.encode_for_masks(torch.zeros(1, 3, 64, 64)), torch.zeros(1, 1, 32))),
    ]:  # fmt: skip
        with FlopCounterMode(display=False) as counter, torch.no_grad(), PLAIN():
            work()
        assert expected == counter.get_total_flops() > 0
    assert (cost.tile_passes, cost.image_passes, cost.mask_passes, cost.gradient_passes) == (1, 1, 3, False)
    prepare_stage(model, "all")
    assert (StepCost.of(model).tile_passes, StepCost.of(model).image_passes) == (3, 3)


@pytest.mark.parametrize(
    ("name", "dtype", "peak"),
    [
        ("NVIDIA H200", torch.bfloat16, 989e12),
        ("NVIDIA H100 80GB HBM3", torch.bfloat16, 989e12),
        ("NVIDIA H100 PCIe", torch.bfloat16, 756e12),
        ("NVIDIA A100-SXM4-80GB", torch.bfloat16, 312e12),
        ("NVIDIA L4", torch.bfloat16, 121e12),
        ("NVIDIA L40S", torch.bfloat16, 362e12),
        ("NVIDIA A10", torch.bfloat16, 125e12),
        ("NVIDIA H200", torch.float32, None),
        ("Another GPU", torch.bfloat16, None),
    ],
)
def test_the_peak_of_a_gpu_is_known_by_its_name(
    name: str, dtype: torch.dtype, peak: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput.torch.cuda, "get_device_name", lambda device: name)
    assert peak_flops(torch.device("cuda", 0), dtype) == peak


def test_the_peak_of_a_cpu_is_measured() -> None:
    found = peak_flops(torch.device("cpu"), torch.float32)
    assert found is not None and 1e8 < found < 1e14
    assert peak_flops(SimpleNamespace(type="mps"), torch.float32) is None  # type: ignore[arg-type]
