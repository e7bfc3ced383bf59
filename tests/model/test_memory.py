"""Memory: estimated from the headers of the files, compared with what is free, and said when it runs out."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from terrascope.errors import ModelError
from terrascope.model import memory
from terrascope.model.checkpoint import WEIGHTS, load
from terrascope.model.memory import check_memory, estimate_memory, free_memory, memory_errors_in_words
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.release.files import Stored, list_tensors
from terrascope.model.release.settings import our_configuration
from terrascope.model.terrascope import TerraScope
from tests.model.conftest import Loaded

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tiny: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("memory") / "tiny"
    TerraScope(*tiny, "tiny").save_pretrained(str(place))
    return place


def headers_8b() -> tuple[object, dict[str, Stored]]:
    """The configuration of the released 8B weights, and the tensors that files of ours would hold of them."""
    released = {
        "model_type": "sa2va_chat", "force_image_size": 448, "downsample_ratio": 0.5, "min_dynamic_patch": 1,
        "max_dynamic_patch": 12, "tie_word_embeddings": False,
        "vision_config": {
            "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
            "patch_size": 14, "qkv_bias": True,
        },
        "llm_config": {
            "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 151685, "tie_word_embeddings": False,
            "rope_theta": 1000000.0,
        },
    }  # fmt: skip
    config = our_configuration(released, None, {"<IMG_CONTEXT>": 1, "[SEG]": 2})
    with torch.device("meta"):
        state = TerraScopeForConditionalGeneration(config).state_dict()
    return config, {
        name: Stored(name=name, path=Path("none"), shape=tuple(tensor.shape), dtype=torch.bfloat16)
        for name, tensor in state.items()
    }


def test_weights_are_counted_in_the_format_they_get(tiny: Loaded, folder: Path) -> None:
    stored = list_tensors(folder)
    numbers = sum(math.prod(tensor.shape) for tensor in stored.values())
    assert numbers == sum(p.numel() for p in {id(p): p for p in tiny[0].state_dict(keep_vars=True).values()}.values())
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        assert estimate_memory(tiny[0].config, stored, CPU, dtype).weights_bytes == size * numbers


def test_the_need_of_the_8b_weights() -> None:
    config, stored = headers_8b()
    half = estimate_memory(config, stored, CPU, torch.bfloat16)  # type: ignore[arg-type]
    assert half.weights_bytes == pytest.approx(16.36e9, rel=0.002)
    # 28 layers of two times 512 numbers for each of 13 * 256 + 1536 positions, two bytes each: 0.28 GB of KV cache.
    assert 0.28e9 < half.working_bytes < 2.5e9
    full = estimate_memory(config, stored, CPU, torch.float32)  # type: ignore[arg-type]
    assert full.weights_bytes == 2 * half.weights_bytes
    assert str(full).startswith(f"about {full.total_bytes / 1e9:.1f} GB of memory in float32 (32.7 GB of weights, ")
    four = estimate_memory(config, stored, torch.device("cuda"), torch.bfloat16, "4bit")  # type: ignore[arg-type]
    # 6.53 billion numbers in the matrices of 28 layers take half a byte, all others two.
    layers = 28 * (2 * 3584**2 + 2 * 512 * 3584 + 3 * 3584 * 18944)
    assert four.weights_bytes == pytest.approx(half.weights_bytes - 1.5 * layers, rel=1e-3)


def test_a_model_that_does_not_fit_is_refused_with_both_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_limits", lambda: [("of the machine", 10**11), ("limit of the group", 10**7)])
    assert free_memory(CPU) == (10**7, "limit of the group")
    with pytest.raises(ModelError) as caught:
        load(str(folder), device="cpu")
    assert str(caught.value) == (
        f"model {str(folder)!r} needs about 355 MB of memory in float32 (630 kB of weights, 354 MB to work with), "
        "but 10 MB are free (limit of the group); give --dtype bfloat16, or another --device"
    )


def test_a_card_that_is_too_small_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 10**9, 12 * 10**9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Small Card")
    config, stored = headers_8b()
    card = torch.device("cuda")
    need = estimate_memory(config, stored, card, torch.bfloat16)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"but 8\.0 GB are free \(on Small Card\); give --quantization 4bit, or"):
        check_memory("8b", need, card)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (24 * 10**9, 24 * 10**9))
    check_memory("8b", need, card)


def test_a_large_model_says_what_it_needs_and_a_small_one_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    load(str(folder), tell=said.append)
    assert said == []
    monkeypatch.setattr("terrascope.model.checkpoint.WORTH_SAYING", 0)
    load(str(folder), tell=said.append)
    assert len(said) == 1 and said[0].startswith(f"model {folder} needs about 355 MB of memory in float32 (")


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried"), MemoryError(), RuntimeError("can't allocate memory: you")],
)
def test_memory_that_runs_out_is_one_sentence(error: Exception) -> None:
    said = r"^memory ran out on cpu \(.+ GB are free now, .+\); give --dtype bfloat16, "
    with pytest.raises(ModelError, match=said), memory_errors_in_words(CPU):
        raise error
    with pytest.raises(RuntimeError, match="another fault"), memory_errors_in_words(CPU):
        raise RuntimeError("another fault")


def test_memory_that_runs_out_in_an_answer_is_one_sentence(tiny: Loaded, two_dates) -> None:  # type: ignore[no-untyped-def]
    front = TerraScope(*tiny, "tiny")
    original = front.model.encode_tiles
    front.model.encode_tiles = lambda tiles: torch.empty(10**15)  # type: ignore[method-assign]
    try:
        for use in (
            lambda: front.ask(two_dates.scene, "How much is water?"),
            lambda: front.segment(two_dates.scene, "water"),
            lambda: front.ground(two_dates.scene, "Q?", "[SEG]"),
        ):
            with pytest.raises(ModelError, match="memory ran out on cpu"):
                use()
    finally:
        front.model.encode_tiles = original  # type: ignore[method-assign]


def test_the_command_ends_with_one_sentence(folder: Path) -> None:
    code = (
        "import sys; from terrascope.cli import main; from terrascope.model import memory;"
        "memory.memory_limits = lambda: [('of the machine', 10**8)];"
        f"sys.argv = ['terrascope', 'demo', '--model', {str(folder)!r}, '--out', {str(folder.parent / 'out')!r}];"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and not (folder.parent / "out").exists()
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: model {str(folder)!r} needs about 355 MB of memory in float32 (")
    assert "but 100 MB are free (of the machine); give --dtype bfloat16, or another --device" in done.stderr


def test_the_documented_memory_is_the_estimate() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    nano = WEIGHTS / "nano"
    models = {"`nano`": (AutoConfig.from_pretrained(nano), list_tensors(nano)), "released 8B": headers_8b()}
    for name, (config, stored) in models.items():
        for device in ("CPU", "CUDA"):
            needs = [
                estimate_memory(config, stored, torch.device(device.lower()), dtype, quantization)  # type: ignore[arg-type]
                for dtype, quantization in (
                    (torch.float32, None), (torch.bfloat16, None), (torch.bfloat16, "8bit"), (torch.bfloat16, "4bit"),
                )
            ]  # fmt: skip
            cells = " | ".join(f"{need.total_bytes / 1e9:.1f} GB" for need in needs)
            assert f"| {name} | {device} | {cells} |" in text
