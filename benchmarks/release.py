"""Released checkpoints: what importing and loading one costs at full size, and how near an import is to the original.

    python benchmarks/release.py --make-8b DIR
    python benchmarks/release.py --working-memory DIR
    python benchmarks/release.py --parity DIR

`--make-8b` writes random numbers in the exact layout of the released 8B weights below DIR (16.4 GB, and as much again
for the import), imports them, loads the import, loads the same tensors with plain transformers, and removes all of it.
`--working-memory` compares the estimate of `terrascope.model.memory` with what answering takes, with encoders of full
size. Every measurement runs in a process of its own. `--parity` compares an import with recorded outputs. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alone import cpu_name

Shapes = Mapping[str, tuple[int, ...]]

GB = 1e9
SHARD_BYTES = int(4.9 * GB)
NUM_LAYERS = 28
SEED = 0
SPARE_BYTES = 3 * 2**30
"""Memory that is left to others: nothing is loaded that would take it."""

RELEASED_8B: dict[str, Any] = {
    "model_type": "sa2va_chat",
    "force_image_size": 448,
    "downsample_ratio": 0.5,
    "min_dynamic_patch": 1,
    "max_dynamic_patch": 12,
    "tie_word_embeddings": False,
    "vision_config": {
        "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
        "patch_size": 14, "qkv_bias": True,
    },
    "llm_config": {
        "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": NUM_LAYERS,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 151685, "max_position_embeddings": 32768,
        "rope_theta": 1000000.0, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    },
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# A checkpoint of random numbers.


def released_config(num_layers: int) -> dict[str, Any]:
    """`config.json` of the 8B weights, with so many layers of the language model instead of 28."""
    return {**RELEASED_8B, "llm_config": {**RELEASED_8B["llm_config"], "num_hidden_layers": num_layers}}


def model_shapes(num_layers: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the released tensors that our model has a place for, from that model without its numbers."""
    from terrascope.model.modeling import TerraScopeForConditionalGeneration
    from terrascope.model.release.names import our_sources, released_names
    from terrascope.model.release.settings import our_configuration

    config = our_configuration(released_config(num_layers), None, {"<IMG_CONTEXT>": 1, "[SEG]": 2})
    with torch.device("meta"):
        ours = {n: tuple(t.shape) for n, t in TerraScopeForConditionalGeneration(config).state_dict().items()}
    shapes = {}
    for theirs in {theirs: None for name in ours for theirs in released_names(name)}:
        sources = our_sources(theirs)
        blocks = sources[0].rows[1] if sources[0].rows else 1
        rows, *inner = ours[sources[0].name] or (1,)
        shapes[theirs] = (rows * len(sources) // blocks, *inner)
    return shapes


def video_memory_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of SAM-2's video memory, which an import leaves out."""
    shapes: dict[str, tuple[int, ...]] = {
        "maskmem_tpos_enc": (7, 1, 1, 64), "no_mem_pos_enc": (1, 1, 256), "no_obj_ptr": (1, 256),
    }  # fmt: skip

    def add(name: str, *weight: int, bias: int | None = None) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, (weight[0] if bias is None else bias,)

    add("mask_downsample", 1, 1, 4, 4)
    for n in range(3):
        add(f"obj_ptr_proj.layers.{n}", 256, 256)
    for layer in (f"memory_attention.layers.{n}" for n in range(4)):
        for attention, width in (("self_attn", 256), ("cross_attn_image", 64)):
            for part in ("q_proj", "out_proj"):
                add(f"{layer}.{attention}.{part}", 256, 256)
            for part in ("k_proj", "v_proj"):
                add(f"{layer}.{attention}.{part}", 256, width)
        add(f"{layer}.linear1", 2048, 256)
        add(f"{layer}.linear2", 256, 2048)
        for n in (1, 2, 3):
            add(f"{layer}.norm{n}", 256)
    add("memory_attention.norm", 256)
    for layer in (f"memory_encoder.fuser.layers.{n}" for n in range(2)):
        shapes[f"{layer}.g_weight"] = (256,)
        add(f"{layer}.dwconv", 256, 1, 7, 7)
        add(f"{layer}.norm", 256)
        add(f"{layer}.pwconv1", 1024, 256)
        add(f"{layer}.pwconv2", 256, 1024)
    sampler = "memory_encoder.mask_downsampler.encoder"
    for place, before, after in ((0, 1, 4), (3, 4, 16), (6, 16, 64), (9, 64, 256)):
        add(f"{sampler}.{place}", after, before, 3, 3)
        add(f"{sampler}.{place + 1}", after)
    add(f"{sampler}.12", 256, 256, 1, 1)
    add("memory_encoder.out_proj", 64, 256, 1, 1)
    add("memory_encoder.pix_feat_proj", 256, 256, 1, 1)
    return {f"grounding_encoder.sam2_model.{name}": shape for name, shape in shapes.items()}


def num_bytes(shapes: Shapes) -> int:
    """Bytes of tensors in bfloat16."""
    return 2 * sum(math.prod(shape) for shape in shapes.values())


def write_released(folder: Path, num_layers: int, shard_bytes: int = SHARD_BYTES) -> dict[str, tuple[int, ...]]:
    """Write a checkpoint of random bfloat16 numbers in the released layout; its tensors by name.

    The numbers repeat after 32 million, which no file system here looks for; a file is never in memory as a whole.
    """
    from terrascope.model.checkpoint import WEIGHTS
    from terrascope.model.release.convert import TOKENIZER_FILES
    from terrascope.model.release.files import plan_shards

    folder.mkdir(parents=True)
    shapes = {**model_shapes(num_layers), **video_memory_shapes()}
    generator = torch.Generator().manual_seed(SEED)
    numbers = torch.randn(2**25, generator=generator).mul_(0.02).to(torch.bfloat16).view(torch.uint8).numpy()
    shards = plan_shards({name: 2 * math.prod(shape) for name, shape in shapes.items()}, shard_bytes)
    files = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for file, members in zip(files, shards, strict=True):
        _write_shard(folder / file, {name: shapes[name] for name in members}, numbers)
    weight_map = {name: file for file, members in zip(files, shards, strict=True) for name in members}
    index = {"metadata": {"total_size": num_bytes(shapes)}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(released_config(num_layers)))
    for name in TOKENIZER_FILES:
        if (WEIGHTS / "nano" / name).is_file():
            shutil.copy(WEIGHTS / "nano" / name, folder)
    return shapes


def _write_shard(path: Path, shapes: Shapes, numbers: np.ndarray) -> None:
    header, place = {}, 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [place, place := place + 2 * math.prod(shape)]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for start in range(0, place, len(numbers)):
            file.write(numbers[: min(len(numbers), place - start)])


# ---------------------------------------------------------------------------------------------------------------------
# What it costs.


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of a piece of work, and what its process took at the peak.

    Attributes:
        resident_bytes: all that was in memory, with the pages of files that the system may drop at any time.
        own_bytes: without those pages.
    """

    seconds: float
    resident_bytes: int
    own_bytes: int
    said: str


def cost_of(work: Callable[..., str], *arguments: Any) -> Cost:
    """The cost of `work(*arguments)` in a fresh process, all imports counted for memory and none for time."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_watched, (work, arguments))


def _watched(work: Callable[..., str], arguments: tuple[Any, ...]) -> Cost:
    import terrascope.model  # noqa: F401 (so that its seconds are not counted)

    done = threading.Event()
    own = [_status("RssAnon")]

    def watch() -> None:
        while not done.wait(0.02):
            own.append(_status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        said = work(*arguments)
    finally:
        done.set()
        watcher.join()
    seconds = time.perf_counter() - start
    return Cost(seconds=seconds, resident_bytes=_status("VmHWM"), own_bytes=max(own), said=said)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def run_import(source: Path, target: Path) -> str:
    from terrascope.model.release.convert import import_release

    report = import_release(source, target)
    return f"{report.num_tensors} tensors written, {len(report.dropped)} left out"


def load_ours(folder: Path) -> str:
    from terrascope.model.checkpoint import load

    model, _ = load(str(folder), device="cpu", dtype=torch.bfloat16)
    return f"{_touch(model) / 1e9:.2f} billion parameters"


def load_plain(folder: Path) -> str:
    """The InternVL part alone, from the same files, by the library's own class."""
    from transformers import AutoConfig, InternVLForConditionalGeneration
    from transformers.utils import logging

    import terrascope.model  # noqa: F401 (registers the configuration)

    # It would list all tensors of SAM-2 as unexpected.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(folder).vlm_config
    model = InternVLForConditionalGeneration.from_pretrained(
        folder, config=config, dtype=torch.bfloat16, key_mapping={r"^vlm\.": ""}
    )
    return f"{_touch(model) / 1e9:.2f} billion parameters"


def _touch(model: torch.nn.Module) -> int:
    """Number of parameters; every page of them is read, so that none of the loading is left for later."""
    for parameter in model.parameters():
        float(parameter.detach().flatten()[::1024].float().sum())
    return sum(parameter.numel() for parameter in model.parameters())


def measure_8b(folder: Path, num_layers: int, num_loaded_layers: int | None) -> Iterator[str]:
    """Rows of a Markdown table; everything below `folder` that was written is removed at the end."""
    from terrascope.doctor.machine import memory_limits

    yield "| what | size | seconds | resident at the peak | of that its own |"
    yield "|---|---|---|---|---|"
    folder.mkdir(parents=True)
    try:
        start = time.perf_counter()
        shapes = write_released(folder / "released", num_layers)
        size = num_bytes(shapes)
        yield (
            f"| written: {len(shapes)} tensors, {sum(map(math.prod, shapes.values())) / 1e9:.2f} billion numbers | "
            f"{size / GB:.1f} GB | {time.perf_counter() - start:.0f} | | |"
        )
        yield _row("import", size, cost_of(run_import, folder / "released", folder / "ours"))
        shutil.rmtree(folder / "released")
        free = min(bytes_free for _, bytes_free in memory_limits())
        if num_loaded_layers is None and size + SPARE_BYTES > free:
            yield f"| loading | {size / GB:.1f} GB | not done: {free / GB:.1f} GB of memory are free | | |"
            return
        if num_loaded_layers is not None:
            shutil.rmtree(folder / "ours")
            size = num_bytes(write_released(folder / "released", num_loaded_layers))
            run_import(folder / "released", folder / "ours")
            shutil.rmtree(folder / "released")
        for label, work in (("loading", load_ours), ("loading with plain transformers, without SAM-2", load_plain)):
            # Once for the files to be in the system's memory as far as they fit, for both alike.
            yield _row(label, size, cost_of(work, folder / "ours"))
            yield _row(f"{label}, again", size, cost_of(work, folder / "ours"))
    finally:
        shutil.rmtree(folder)


def _row(label: str, size: int, cost: Cost) -> str:
    return (
        f"| {label}: {cost.said} | {size / GB:.1f} GB | {cost.seconds:.1f} | {cost.resident_bytes / GB:.2f} GB | "
        f"{cost.own_bytes / GB:.2f} GB |"
    )


# ---------------------------------------------------------------------------------------------------------------------
# What working takes.


def work_on_image(folder: Path, dtype: str, width: int, height: int) -> str:
    """Segment one class of a picture of noise; the estimate for the same model."""
    from terrascope import Scene
    from terrascope.model import TerraScope
    from terrascope.model.memory import estimate_memory
    from terrascope.model.release.files import list_tensors
    from terrascope.scene import Observation

    front = TerraScope.from_pretrained(str(folder), device="cpu", dtype=dtype)
    pixels = np.random.default_rng(SEED).integers(0, 256, (3, height, width)).astype(np.float32)
    image = Observation(
        pixels=pixels, bands=("red", "green", "blue"), modality="optical", sensor="rgb",
        valid=np.ones((height, width), bool),
    )  # fmt: skip
    layout = front.processor.image_processor.layout_of((height, width), 1)
    front.segment(Scene.of(optical=[image]), "water")
    need = estimate_memory(front.model.config, list_tensors(folder), torch.device("cpu"), front.model.dtype)
    weights = need.weights_bytes if dtype != "bfloat16" else 0
    return (
        f"{dtype}, {layout.num_tiles} tiles | {need.working_bytes / GB:.2f} GB to work, "
        f"{weights / GB:.2f} GB of weights in its own memory"
    )


def measure_work(folder: Path) -> Iterator[str]:
    """Rows of a Markdown table: encoders of full size, a language model of two layers."""
    yield "| format, picture | estimate | its own at the peak |"
    yield "|---|---|---|"
    folder.mkdir(parents=True)
    try:
        write_released(folder / "released", 2)
        run_import(folder / "released", folder / "ours")
        shutil.rmtree(folder / "released")
        for dtype in ("bfloat16", "float32"):
            for width, height in ((448, 448), (1792, 1344)):
                cost = cost_of(work_on_image, folder / "ours", dtype, width, height)
                yield f"| {cost.said} | {cost.own_bytes / GB:.2f} GB |"
    finally:
        shutil.rmtree(folder)


# ---------------------------------------------------------------------------------------------------------------------
# How near an import is.


def compare(folder: Path, image: str, record: str) -> Iterator[tuple[str, str]]:
    """(stage, largest difference) between an import of `folder/checkpoint` and a record of the released code."""
    import tempfile

    from terrascope import Scene
    from terrascope.model import TerraScope
    from terrascope.model.encoding import encode_scene
    from terrascope.model.release.convert import import_release

    expected = np.load(folder / record)
    with tempfile.TemporaryDirectory() as place:
        import_release(folder / "checkpoint", Path(place) / "ours")
        front = TerraScope.from_pretrained(str(Path(place) / "ours"), device="cpu", dtype="float32")
    front.processor.system_prompt = ""
    scene = Scene.open(optical=folder / image)
    prompt = front.processor.prepare_prompt(front.processor.describe(scene), "Q?")
    yield "prompt ids", _num_different(prompt.input_ids.numpy(), expected["input_ids"][0])
    replayed = front.ground(scene, "Q?", str(expected["prediction"]), keep_record=True)
    assert replayed.logits is not None and replayed.seg_states is not None
    with torch.inference_mode():
        projected = front.model.seg_projection(replayed.seg_states)
        encoded = encode_scene(front.model, front.processor.image_processor.prepare_scene(scene))
        drawn, _ = front.model.decode_masks(encoded.embeddings, replayed.seg_states[None])
        size = front.model.config.sam_size
        mask_logits = torch.nn.functional.interpolate(drawn, (size, size), mode="bilinear")[0, :, ::8, ::8]
    yield "projected [SEG] prompt", _largest(projected.numpy(), expected["seg_prompt"])
    recorded = np.stack([expected[f"mask_logits_{n}_8x"][0, 0] for n in range(len(replayed.masks))])
    yield "mask logits", _largest(mask_logits.numpy(), recorded)
    masks = np.stack([expected[f"mask_{n}"] for n in range(len(replayed.masks))])
    yield "masks", _num_different(np.stack(replayed.masks), masks, "pixels")
    injected = np.stack([expected[f"visual_token_indices_{n}"] for n in range(len(replayed.masks))])
    yield "injected tokens", _num_different(np.stack(replayed.injected), injected)
    # The record has one row more for each [SEG] itself, after which no token is chosen.
    is_seg = np.array(replayed.token_ids) == front.model.config.seg_token_id
    rows = np.arange(len(is_seg)) + np.cumsum(is_seg) - is_seg
    yield "logits", _largest(replayed.logits.numpy(), expected["logits"][rows])


def _largest(ours: np.ndarray, theirs: np.ndarray) -> str:
    return f"{np.abs(ours - theirs).max():.1e} (values to {np.abs(theirs).max():.3g})"


def _num_different(ours: np.ndarray, theirs: np.ndarray, unit: str = "values") -> str:
    if ours.shape != theirs.shape:
        return f"{ours.shape} instead of {theirs.shape}"
    return f"{np.count_nonzero(ours != theirs)} of {theirs.size} {unit}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make-8b", type=Path, metavar="DIR", help="a new folder with room for twice 16.4 GB")
    parser.add_argument("--layers", type=int, default=NUM_LAYERS, help="layers of the language model (default 28)")
    parser.add_argument("--load-layers", type=int, help="load a checkpoint with so many layers instead")
    parser.add_argument("--working-memory", type=Path, metavar="DIR", help="a new folder with room for 9 GB")
    parser.add_argument("--parity", type=Path, metavar="DIR", help="a folder with checkpoint/, an image and a record")
    parser.add_argument("--image", default="image_b.png")
    parser.add_argument("--record", default="single_256.npz")
    arguments = parser.parse_args()
    if arguments.make_8b is None and arguments.working_memory is None and arguments.parity is None:
        parser.error("give --make-8b DIR, --working-memory DIR or --parity DIR")
    print(
        f"{cpu_name()}, {torch.get_num_threads()} threads, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "safetensors")), f"seed {SEED}\n")
    if arguments.parity is not None:
        print("| stage | largest difference |\n|---|---|")
        for stage, difference in compare(arguments.parity, arguments.image, arguments.record):
            print(f"| {stage} | {difference} |")
    if arguments.working_memory is not None:
        if arguments.working_memory.exists():
            sys.exit(f"error: {arguments.working_memory} exists already; give a new folder")
        for row in measure_work(arguments.working_memory):
            print(row, flush=True)
    if arguments.make_8b is not None:
        folder = arguments.make_8b
        if folder.exists():
            sys.exit(f"error: {folder} exists already; give a new folder")
        needed = 2 * num_bytes({**model_shapes(arguments.layers), **video_memory_shapes()})
        free = shutil.disk_usage(folder.absolute().parent).free
        if needed > 0.95 * free:
            sys.exit(f"error: {needed / GB:.0f} GB are needed and {free / GB:.0f} GB are free; give fewer --layers")
        for row in measure_8b(folder, arguments.layers, arguments.load_layers):
            print(row, flush=True)


if __name__ == "__main__":
    main()
