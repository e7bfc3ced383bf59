"""Time, peak memory and size of the files of an answer about a large scene.

    python benchmarks/outputs.py --size 10980 --masks 4

The scene and its masks are generated (ragged blobs, as in `geometry.py`), and no model is asked. Every file is written
in a process of its own, so that each peak is its own; it is told beyond what the scene and the masks take. `noise` is
the outline of the worst mask there is, in which every pixel is a coin's toss. Needs Linux.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from affine import Affine
from geometry import draw_masks
from pyproj import CRS

from terrascope import answer_files
from terrascope.answer import Answer, Grounding
from terrascope.georeference import Georeference
from terrascope.rasters.named_mask import NamedMask
from terrascope.rasters.outlines import trace_outline
from terrascope.rasters.vectors import write_masks_geojson, write_masks_parquet
from terrascope.rasters.write import write_masks_tif, write_steps_tif
from terrascope.scene import Observation, Scene

UTM = Georeference(crs=CRS("EPSG:32633"), transform=Affine(10, 0, 500_000, 0, -10, 5_000_000))
RESET_PEAK = "5"
"""What `/proc/self/clear_refs` takes for: forget the peak of resident memory so far."""


def resident_kib(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{name}:")[1].split()[0])


def make_answer(size: int, num_masks: int) -> Answer:
    """An answer whose scene has four 8-bit bands as float32."""
    valid = np.ones((size, size), bool)
    valid[:, : size // 20] = False
    pixels = np.zeros((3, size, size), np.float32)
    pixels[:, 100:-100] = 90
    image = Observation(
        pixels=pixels, bands=("red", "green", "blue"), modality="optical", sensor="rgb", valid=valid, georeference=UTM
    )
    masks = draw_masks(size)
    groundings = [
        Grounding(mask=masks[n % 2], image=1, confidence=0.9, num_optical_tokens=9, num_sar_tokens=0)
        for n in range(num_masks)
    ]
    reasoning = " ".join(f"The part number {n}: [SEG] It is here." for n in range(num_masks))
    return Answer.from_reasoning(
        scene=Scene.of(optical=[image]),
        question="Where is it?",
        reasoning=f"<think>{reasoning}</think><answer>here</answer>",
        groundings=groundings,
        model="generated",
    )


def whole_answer(size: int, num_masks: int, folder: Path) -> Callable[[], object]:
    answer = make_answer(size, num_masks)
    return lambda: answer_files.save(answer, folder)


def one_file(name: str) -> Callable[[int, int, Path], Callable[[], object]]:
    def prepare(size: int, num_masks: int, folder: Path) -> Callable[[], object]:
        drawn, valid = draw_masks(size), np.ones((size, size), bool)
        masks = [
            NamedMask(name=f"step {n}", mask=drawn[n % 2], valid=valid, color=(200, 80, 10), properties={"step": n + 1})
            for n in range(num_masks)
        ]
        writers = {
            "masks.tif": write_masks_tif,
            "steps.tif": write_steps_tif,
            "masks.geojson": write_masks_geojson,
            "masks.parquet": write_masks_parquet,
        }
        return lambda: writers[name](folder / name, masks, UTM)

    return prepare


def noise(size: int, num_masks: int, folder: Path) -> Callable[[], object]:
    mask = np.random.default_rng(0).integers(0, 2, (size, size), np.uint8).view(np.bool_)
    return lambda: trace_outline(mask)


MEASURES = {
    "masks.tif": one_file("masks.tif"),
    "steps.tif": one_file("steps.tif"),
    "masks.geojson": one_file("masks.geojson"),
    "masks.parquet": one_file("masks.parquet"),
    "outline of noise": noise,
    "all files of an answer": whole_answer,
}


def measure(name: str, size: int, num_masks: int) -> tuple[float, float, float]:
    """Seconds, peak MiB beyond the inputs, and MiB written."""
    with tempfile.TemporaryDirectory() as folder:
        write = MEASURES[name](size, num_masks, Path(folder))
        Path("/proc/self/clear_refs").write_text(RESET_PEAK, encoding="ascii")
        before = resident_kib("VmRSS")
        start = time.perf_counter()
        write()
        seconds = time.perf_counter() - start
        written = sum(path.stat().st_size for path in Path(folder).iterdir())
        return seconds, (resident_kib("VmHWM") - before) / 1024, written / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10980, help="side of the scene in pixels")
    parser.add_argument("--masks", type=int, default=4, help="steps of the answer")
    options = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {options.size} x {options.size} pixels, {options.masks} masks"
    )
    print(f"{'':24}{'seconds':>10}{'peak MiB':>10}{'file MiB':>10}")
    context = multiprocessing.get_context("spawn")
    for name in MEASURES:
        with context.Pool(1) as pool:
            seconds, peak, written = pool.apply(measure, (name, options.size, options.masks))
        print(f"{name:24}{seconds:10.1f}{peak:10.0f}{written:10.1f}")


if __name__ == "__main__":
    main()
