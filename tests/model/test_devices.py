"""Devices and number formats: what is chosen, what is refused, and whole answers in each format."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.quantizers.quantizers_utils import should_convert_module

from terrascope.errors import ModelError
from terrascope.model import devices
from terrascope.model.checkpoint import load
from terrascope.model.devices import Quantization, choose_device, choose_dtype, placement
from terrascope.model.generation import GenerationSettings
from terrascope.model.terrascope import TerraScope
from terrascope.sources.synthetic import demo_scene
from tests.model.conftest import Loaded

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TEXT = "<think>The water: [SEG] It covers. Image: 2 [SEG]</think><answer>A</answer>"


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)


def test_a_gpu_is_taken_where_there_is_one(one_gpu: None) -> None:
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:0") == torch.device("cuda:0") and choose_device("cpu") == CPU
    with pytest.raises(ModelError, match=r"device 'cuda:3' was asked for, but there are 1, from cuda:0"):
        choose_device("cuda:3")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", r"unknown device 'gpu': give auto, cpu, cuda, cuda:1 \(the second\), or mps"),
        ("", "unknown device ''"),
        ("meta", "unknown device 'meta'"),
        ("cuda", "'cuda' was asked for, but this installation of torch is built without CUDA; give --device cpu"),
        ("mps", "'mps' was asked for, but torch finds no Apple GPU; give --device cpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    no_gpu: None, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == CPU
    with pytest.raises(ModelError, match=message):
        TerraScope.from_pretrained("nano", device=name)


def test_the_number_format_follows_device_and_size(one_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_dtype("auto", CPU, torch.bfloat16, 10**7) == torch.float32
    assert choose_dtype("auto", CPU, torch.bfloat16, 8 * 10**9) == torch.bfloat16
    assert choose_dtype("auto", CUDA, torch.bfloat16, 10**7) == torch.bfloat16
    assert choose_dtype("auto", CUDA, torch.float64, 10**7) == torch.float32
    assert choose_dtype("float16", CPU, torch.bfloat16, 10**7) == torch.float16
    assert choose_dtype(torch.bfloat16, CPU, torch.float32, 10**7) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert choose_dtype("auto", CUDA, torch.bfloat16, 10**7) == torch.float16
    for wrong in ("half", torch.int8):
        with pytest.raises(ModelError, match=r"unknown number format '.+': give auto, float32, bfloat16, float16"):
            choose_dtype(wrong, CPU, torch.float32, 1)


def test_what_a_placement_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed: set[str] = set()
    monkeypatch.setattr(devices, "find_spec", lambda name: name if name in installed else None)
    assert placement(CPU, None, None) == {} and placement(CUDA, None, None) == {}
    for arguments, message in (
        ((CUDA, None, "8bit"), "loading in 8bit needs the package bitsandbytes: pip install bitsandbytes"),
        ((CPU, "auto", None), "device_map='auto' needs the package accelerate: pip install accelerate"),
        ((CPU, "balanced", None), "unknown device map 'balanced': give 'auto' or none"),
        ((CPU, None, "2bit"), "unknown quantization '2bit': give 8bit or 4bit, or none"),
    ):
        with pytest.raises(ModelError, match=message):
            placement(*arguments)
    installed.add("bitsandbytes")
    with pytest.raises(ModelError, match="loading in 4bit works on CUDA devices and CPUs, not on mps; give --dtype"):
        placement(torch.device("mps"), None, "4bit")
    with pytest.raises(ModelError, match="loading in 4bit needs the package accelerate"):
        placement(CUDA, None, "4bit")
    installed.add("accelerate")
    assert placement(CUDA, None, None) == {"device_map": {"": CUDA}}
    assert placement(CPU, "auto", None) == {"device_map": "auto"}
    quantized = placement(CUDA, None, "4bit")["quantization_config"]
    assert quantized.load_in_4bit and not quantized.load_in_8bit
    assert quantized.llm_int8_skip_modules == list(devices.NOT_QUANTIZED)


def test_only_matrices_of_the_language_model_are_quantized(tiny: Loaded) -> None:
    linear = [name for name, module in tiny[0].named_modules() if isinstance(module, torch.nn.Linear)]
    converted = {name for name in linear if should_convert_module(name, list(devices.NOT_QUANTIZED))}
    assert converted == {name for name in linear if name.startswith("vlm.model.language_model.layers.")}
    assert len(converted) == 2 * 7


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_whole_answer_in_a_short_format(tiny: Loaded, two_dates, tmp_path: Path, dtype: str) -> None:  # type: ignore[no-untyped-def]
    TerraScope(*tiny, "tiny").save_pretrained(str(tmp_path / "tiny"))
    exact = TerraScope(*tiny, "tiny").ground(two_dates.scene, "Q?", TEXT, keep_record=True)
    front = TerraScope.from_pretrained(str(tmp_path / "tiny"), device="cpu", dtype=dtype)
    assert front.model.dtype == getattr(torch, dtype)
    assert {parameter.dtype for parameter in front.model.mask_fusion.parameters()} == {torch.float32}
    short = front.ground(two_dates.scene, "Q?", TEXT, keep_record=True)
    assert short.logits is not None and exact.logits is not None
    # Eight bits of mantissa, or eleven, through two layers of random numbers.
    assert float((short.logits - exact.logits)[0].abs().max()) < (0.3 if dtype == "bfloat16" else 0.03)
    for ours, theirs in zip(short.masks, exact.masks, strict=True):
        assert (ours == theirs).mean() > 0.9
    answer = front.ask(two_dates.scene, "How much is water?", settings=GenerationSettings(max_new_tokens=40))
    assert answer.text is not None
    assert len(front.segment(two_dates.scene, "water").masks) == 2
    by_views = GenerationSettings(look="views", view_size=32)
    swept = front.segment(two_dates.scene, "water", settings=by_views)
    assert all(mask.shape == (64, 64) and mask.dtype == np.bool_ for mask in swept.masks)


@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="device_map needs accelerate")
def test_a_spread_model_answers_alike(tiny: Loaded, two_dates, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    TerraScope(*tiny, "tiny").save_pretrained(str(tmp_path / "tiny"))
    spread = TerraScope.from_pretrained(str(tmp_path / "tiny"), dtype="float32", device_map="auto")
    ours = spread.ground(two_dates.scene, "Q?", TEXT)
    theirs = TerraScope(*tiny, "tiny").ground(two_dates.scene, "Q?", TEXT)
    for one, other in zip(ours.masks, theirs.masks, strict=True):
        assert (one == other).mean() > 0.999


@pytest.mark.weights
@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="quantization needs bitsandbytes")
@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_a_quantized_model_answers_nearly_alike(quantization: Quantization) -> None:
    exact = TerraScope.from_pretrained("nano", device="cpu").segment(demo_scene(), "water")
    short = TerraScope.from_pretrained("nano", device="cpu", quantization=quantization)
    kinds = {
        (name.startswith("vlm.model.language_model.layers."), type(module).__name__)
        for name, module in short.model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    assert kinds == {(True, "Linear8bitLt" if quantization == "8bit" else "Linear4bit"), (False, "Linear")}
    assert (short.segment(demo_scene(), "water").masks[0] == exact.masks[0]).mean() > 0.995


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_answers_as_the_cpu_does(tiny: Loaded, two_dates, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    TerraScope(*tiny, "tiny").save_pretrained(str(tmp_path / "tiny"))
    model, _ = load(str(tmp_path / "tiny"), device="cuda", dtype="float32")
    assert model.device.type == "cuda"
    front = TerraScope.from_pretrained(str(tmp_path / "tiny"), device="cuda", dtype="float32")
    ours = front.ground(two_dates.scene, "Q?", TEXT)
    theirs = TerraScope(*copy.deepcopy(tiny), "tiny").ground(two_dates.scene, "Q?", TEXT)
    for one, other in zip(ours.masks, theirs.masks, strict=True):
        assert (one == other).mean() > 0.99
