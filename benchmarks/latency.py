"""Time and memory of one answer: the whole command, its stages, and what a mask adds to the peak of memory.

    python benchmarks/latency.py --model nano

Runs on a scene that the program generates. Every part runs in processes of its own: the command as users start it; its
stages with a clock between them; and memory in another, where glibc is told to give every large block back at once.
Needs Linux. A token and a mask are timed by `engine.py`.
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
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from alone import cpu_name

if TYPE_CHECKING:
    from terrascope.model import TerraScope
    from terrascope.model.encoding import EncodedScene
    from terrascope.model.processing import Prompt

SCENE_SEED = 1_000_000
QUESTION = "What percentage of the scene is covered by water?"
FILLER = "It covers 34% of the image. "
"""Text without a [SEG], between the masks."""

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
    from terrascope.model.encoding import encode_scene
    from terrascope.rasters.read import open_scene

    predictor = TerraScope.from_pretrained(model)
    opened = open_scene(optical=[str(scene)], sensor="hls")
    prompt = predictor.processor.prepare_prompt(predictor.processor.describe(opened), QUESTION)
    with torch.inference_mode():
        encoded = encode_scene(predictor.model, predictor.processor.image_processor.prepare_scene(opened))
    return predictor, encoded, prompt


def _filler(predictor: TerraScope) -> list[int]:
    ids = predictor.processor.tokenizer(FILLER * NUM_TOKENS, add_special_tokens=False)["input_ids"]
    return list(ids[:NUM_TOKENS])


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
        memory = _in_new_process("memory", arguments, scene, MALLOC_MMAP_THRESHOLD_="65536")
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "terrascope-eo"))
    print(
        f"{cpu_name()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"{packages}; model {Path(arguments.model).name}; medians of {arguments.repeats}\n"
    )
    seconds = [wall for wall, _ in runs]
    print(f"terrascope ask, 256 x 256 pixels, {stages[0]['masks']:.0f} mask(s), from start to exit")
    print(f"  {'whole command':<26}{statistics.median(seconds):>9.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")
    for name in stages[0]:
        if name != "masks":
            print(f"  {name:<26}{statistics.median(stage[name] for stage in stages):>9.2f} s")
    print(f"  {'peak memory':<26}{statistics.median(peak for _, peak in runs):>9.0f} MiB resident")
    first = memory["1"] - memory["0"]
    further = (memory[str(NUM_MASKS)] - memory["1"]) / (NUM_MASKS - 1)
    print(f"  {'peak memory of a mask':<26}{first:>9.1f} MiB the first, {further:.2f} MiB each further one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="nano, a folder, or a repository of the hub")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--part", choices=("stages", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--scene", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "stages":
        print(json.dumps(measure_stages(arguments.scene, arguments.model, arguments.start)))
    elif arguments.part == "memory":
        print(json.dumps(measure_memory(arguments.scene, arguments.model)))
    else:
        report(arguments)


if __name__ == "__main__":
    main()
