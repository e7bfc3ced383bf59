"""Time and memory of one answer: the whole command, its stages, a decoded token beside `generate()`, and a mask.

    python benchmarks/latency.py --model nano

Runs on a scene that the program generates. Every part runs in processes of its own: the command as users start it; its
stages with a clock between them; the reasoning loop and transformers' `generate()` in turns in one process; and memory
in another, where glibc is told to give every large block back at once. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from alone import cpu_name

if TYPE_CHECKING:
    from terrascope.model import TerraScope
    from terrascope.model.generation import EncodedScene
    from terrascope.model.processing import Prompt

SCENE_SEED = 1_000_000
QUESTION = "What percentage of the scene is covered by water?"
FILLER = "It covers 34% of the image. "
"""Text without a [SEG]: both loops decode as many tokens of it, so that neither stops early or grounds anything."""

NUM_TOKENS = 64
NUM_MASKS = 8


def write_scene(path: Path) -> None:
    """A generated country scene as a GeoTIFF: 256 x 256 pixels of 10 m, six bands of reflectance x 10000."""
    import rasterio
    from affine import Affine

    from terrascope.sources.synthetic import make_sample

    image = make_sample(SCENE_SEED, kind="country", num_dates=1, cloudy=False).scene.observations[0]
    height, width = image.shape
    profile = {"driver": "GTiff", "width": width, "height": height, "count": len(image.bands), "dtype": "int16"}
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 640_000, 0, -10, 5_320_000), "nodata": -9999}
    with rasterio.open(path, "w", **profile, **place) as file:
        file.write(np.round(image.pixels * 1e4).astype(np.int16))
        file.descriptions = image.bands


# ---------------------------------------------------------------------------------------------------------------------
# The command.


def run_command(scene: Path, model: str) -> tuple[float, float]:
    """Seconds of one `terrascope ask` from start to exit, and its peak resident memory in MiB."""
    arguments = ["ask", QUESTION, "--optical", str(scene), "--sensor", "hls", "--model", model]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "terrascope", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"terrascope ask failed with exit code {process.returncode}; run it by hand to see why")
    return seconds, usage.ru_maxrss / 1024


def measure_stages(scene: Path, model: str, start: float) -> dict[str, float]:
    """Seconds of what `terrascope ask` does, one after the other, since the monotonic clock's `start`."""
    clock = [start]
    seconds: dict[str, float] = {}

    def stop(name: str) -> None:
        clock.append(time.monotonic())
        seconds[name] = clock[-1] - clock[-2]

    from terrascope import printout
    from terrascope.model import TerraScope
    from terrascope.rasters.read import open_scene

    stop("import")
    opened = open_scene(optical=[str(scene)], sensor="hls")
    stop("read the scene")
    predictor = TerraScope.from_pretrained(model)
    stop("load the model")
    answer = predictor.ask(opened, QUESTION)
    stop("answer")
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    printout.print_answer(answer, {})
    sys.stdout = sys.__stdout__
    stop("print")
    return {"masks": float(len(answer.masks)), **seconds}


# ---------------------------------------------------------------------------------------------------------------------
# The loop.


def _prepare(scene: Path, model: str) -> tuple[TerraScope, EncodedScene, Prompt]:
    import torch

    from terrascope.model import TerraScope
    from terrascope.model.generation import encode_scene
    from terrascope.rasters.read import open_scene

    predictor = TerraScope.from_pretrained(model)
    opened = open_scene(optical=[str(scene)], sensor="hls")
    prompt = predictor.processor.prepare_prompt(predictor.processor.describe(opened), QUESTION)
    with torch.inference_mode():
        encoded = encode_scene(predictor.model, predictor.processor.image_processor.prepare_scene(opened))
    return predictor, encoded, prompt


def time_alternately(actions: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Milliseconds of each action, `repeats` times, in turns after one round that does not count."""
    milliseconds: list[list[float]] = [[] for _ in actions]
    for round_number in range(repeats + 1):
        for place, action in enumerate(actions):
            start = time.perf_counter()
            action()
            if round_number:
                milliseconds[place].append(1000 * (time.perf_counter() - start))
    return milliseconds


def measure_loop(scene: Path, model: str, repeats: int) -> dict[str, float]:
    """Milliseconds of the encoders, the prompt, a token (ours and `generate()`'s), and a mask.

    A token of ours: `reason` with `NUM_TOKENS` forced tokens, less `reason` with none, over `NUM_TOKENS`. A token of
    `generate()`: the same weights (`model.vlm`), the same prompt embeddings, greedy, no stop token, `NUM_TOKENS` + 1
    new tokens less 1 new token, over `NUM_TOKENS`. Either way it is as many passes of the language model.
    """
    import torch

    from terrascope.model.generation import GenerationSettings, embed_prompt, encode_scene, ground, reason
    from terrascope.rasters.read import open_scene

    predictor, encoded, prompt = _prepare(scene, model)
    tokenizer, network = predictor.processor.tokenizer, predictor.model
    filler = _filler(predictor)

    def ours(ids: Sequence[int], masks: Sequence[np.ndarray] | None = None) -> object:
        settings = GenerationSettings(max_new_tokens=4096 if ids else 0)
        return reason(network, predictor.processor, encoded, prompt, settings, forced_ids=ids, forced_masks=masks)

    @torch.inference_mode()
    def theirs(num_tokens: int) -> list[int]:
        embeddings = embed_prompt(network, prompt, encoded.context)[None]
        made = network.vlm.generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long),
            max_new_tokens=num_tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        return made[0].tolist()

    @torch.inference_mode()
    def encode() -> object:
        opened = open_scene(optical=[str(scene)], sensor="hls")
        return encode_scene(network, predictor.processor.image_processor.prepare_scene(opened))

    state = torch.randn(network.config.vlm_config.text_config.hidden_size)

    @torch.inference_mode()
    def decode_mask() -> object:
        return ground(network, encoded, 0, state)

    encoding, decoding = time_alternately([encode, decode_mask], repeats)
    prefill, tokens, first, generated = time_alternately(
        [lambda: ours([]), lambda: ours(filler), lambda: theirs(1), lambda: theirs(NUM_TOKENS + 1)], repeats
    )
    seg = tokenizer.convert_tokens_to_ids("[SEG]")
    masks = _true_masks()
    per_mask = []
    for mask in masks:
        plain, grounded = time_alternately(
            [partial(ours, filler[:9]), partial(ours, [*filler[:4], seg, *filler[5:9]], [mask])], repeats
        )
        per_mask.append(statistics.median(grounded) - statistics.median(plain))
    free = list(reason(network, predictor.processor, encoded, prompt, GenerationSettings()).token_ids)
    until_seg = free.index(seg) + 1 if seg in free else len(free)
    return {
        "encode": statistics.median(encoding),
        "prefill": statistics.median(prefill),
        "token": (statistics.median(tokens) - statistics.median(prefill)) / NUM_TOKENS,
        "token_generate": (statistics.median(generated) - statistics.median(first)) / NUM_TOKENS,
        "prefill_generate": statistics.median(first),
        "mask": statistics.median(per_mask),
        "mask_decoding": statistics.median(decoding),
        "num_masks": len(masks),
        "prompt_length": len(prompt.input_ids),
        "tokens_compared": until_seg,
        "tokens_equal": float(free[:until_seg] == theirs(until_seg)),
        "threads": torch.get_num_threads(),
    }


def _filler(predictor: TerraScope) -> list[int]:
    ids = predictor.processor.tokenizer(FILLER * NUM_TOKENS, add_special_tokens=False)["input_ids"]
    return list(ids[:NUM_TOKENS])


def _true_masks() -> list[np.ndarray]:
    """The masks of the classes that the scene shows, from whole image to a corner."""
    from terrascope.sources.synthetic import make_sample

    labels = make_sample(SCENE_SEED, kind="country", num_dates=1, cloudy=False).labels[0]
    return [labels.mask(int(class_id)) for class_id in np.unique(labels.ids)]


# ---------------------------------------------------------------------------------------------------------------------
# Memory.


def measure_memory(scene: Path, model: str) -> dict[str, float]:
    """Peak resident MiB of a reasoning of the same length without a mask, with one, and with `NUM_MASKS`."""
    from terrascope.model.generation import reason

    predictor, encoded, prompt = _prepare(scene, model)
    seg = predictor.processor.tokenizer.convert_tokens_to_ids("[SEG]")
    filler = _filler(predictor)

    def peak(num_masks: int) -> float:
        ids = [seg if i % 8 == 4 and i // 8 < num_masks else token for i, token in enumerate(filler)]
        Path("/proc/self/clear_refs").write_text("5")  # Linux counts the peak from here on
        reason(predictor.model, predictor.processor, encoded, prompt, forced_ids=ids)
        return _memory_mib("VmHWM")

    peak(NUM_MASKS)
    return {str(num): statistics.median(peak(num) for _ in range(5)) for num in (0, 1, NUM_MASKS)}


def _memory_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


# ---------------------------------------------------------------------------------------------------------------------


def _in_new_process(part: str, arguments: argparse.Namespace, scene: Path, **environment: str) -> dict[str, Any]:
    command = [
        sys.executable, __file__, "--part", part, "--scene", str(scene), "--model", arguments.model,
        "--repeats", str(arguments.repeats), "--start", repr(time.monotonic()),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"{part} failed")
    return json.loads(done.stdout)


def run_stages(arguments: argparse.Namespace, scene: Path) -> dict[str, float]:
    """`measure_stages` in a process of its own, and as the last stage what that process needed to end."""
    start = time.monotonic()
    stages = _in_new_process("stages", arguments, scene)
    whole = time.monotonic() - start
    return {**stages, "exit": whole - sum(seconds for name, seconds in stages.items() if name != "masks")}


def report(arguments: argparse.Namespace) -> None:
    """Measure everything and print it."""
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder) / "scene.tif"
        write_scene(scene)
        runs = [run_command(scene, arguments.model) for _ in range(arguments.repeats)]
        stages = [run_stages(arguments, scene) for _ in range(arguments.repeats)]
        loop = _in_new_process("loop", arguments, scene)
        memory = _in_new_process("memory", arguments, scene, MALLOC_MMAP_THRESHOLD_="65536")
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "terrascope-eo"))
    print(
        f"{cpu_name()}, {os.cpu_count()} cores, {loop['threads']:.0f} threads; Python {platform.python_version()}, "
        f"{packages}; model {Path(arguments.model).name}; medians of {arguments.repeats}\n"
    )
    seconds = [wall for wall, _ in runs]
    print(f"terrascope ask, 256 x 256 pixels, {stages[0]['masks']:.0f} mask(s), from start to exit")
    print(f"  {'whole command':<26}{statistics.median(seconds):>9.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")
    for name in stages[0]:
        if name != "masks":
            print(f"  {name:<26}{statistics.median(stage[name] for stage in stages):>9.2f} s")
    print(f"  {'peak memory':<26}{statistics.median(peak for _, peak in runs):>9.0f} MiB resident\n")
    print(f"inside the answer (prompt of {loop['prompt_length']} positions)")
    print(f"  {'read and encode the scene':<26}{loop['encode']:>9.1f} ms")
    print(f"  {'prefill':<26}{loop['prefill']:>9.1f} ms  (generate(): {loop['prefill_generate']:.1f} ms)")
    ratio = loop["token_generate"] / loop["token"]
    print(
        f"  {'a token':<26}{loop['token']:>9.2f} ms  "
        f"(generate(): {loop['token_generate']:.2f} ms, {ratio:.2f} times ours; over {NUM_TOKENS} tokens)"
    )
    print(
        f"  {'a mask':<26}{loop['mask']:>9.1f} ms more than a token  "
        f"(its decoding alone {loop['mask_decoding']:.1f} ms; over {loop['num_masks']} masks)"
    )
    first = memory["1"] - memory["0"]
    further = (memory[str(NUM_MASKS)] - memory["1"]) / (NUM_MASKS - 1)
    print(f"  {'peak memory of a mask':<26}{first:>9.1f} MiB the first, {further:.2f} MiB each further one")
    verdict = "the same" if loop["tokens_equal"] else "NOT the same"
    print(f"\nUp to the first [SEG], both loops choose {verdict} {loop['tokens_compared']:.0f} tokens.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="nano, a folder, or a repository of the hub")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--part", choices=("stages", "loop", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--scene", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "stages":
        print(json.dumps(measure_stages(arguments.scene, arguments.model, arguments.start)))
    elif arguments.part == "loop":
        print(json.dumps(measure_loop(arguments.scene, arguments.model, arguments.repeats)))
    elif arguments.part == "memory":
        print(json.dumps(measure_memory(arguments.scene, arguments.model)))
    else:
        report(arguments)


if __name__ == "__main__":
    main()
