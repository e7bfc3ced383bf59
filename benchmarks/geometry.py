"""Time and memory of the geometry on a large mask, beside scipy in the same run.

    python benchmarks/geometry.py --size 10980

Prints one line per measure: seconds (best of `--repeats`) and peak memory beyond the masks themselves, for TerraScope
and for scipy, and the value, on which both must agree. Every measurement runs in a process of its own, so that each
peak is its own. Needs Linux.
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
from numpy.typing import NDArray
from scipy import ndimage

from terrascope import spatial
from terrascope.georeference import Georeference

Measure = Callable[[NDArray[np.bool_], NDArray[np.bool_]], float]
GSD_M = 10.0
EIGHT = np.ones((3, 3), bool)


def draw_masks(size: int, seed: int = 0) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two disjoint masks of ragged blobs: where smoothed noise is high, and where it is low."""
    coarse = np.random.default_rng(seed).standard_normal((size // 32 + 2,) * 2).astype(np.float32)
    smooth = ndimage.zoom(coarse, 32, order=1)[:size, :size]
    rough = np.random.default_rng(seed + 1).standard_normal((size, size), dtype=np.float32)
    smooth += 0.05 * rough
    return smooth > 1.2, smooth < -1.6


def area(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return spatial.area_m2(a, Georeference(gsd_m=GSD_M).pixel_size(*a.shape))


def area_scipy(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(ndimage.sum_labels(a)) * GSD_M**2


def objects(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return spatial.count_objects(a)


def objects_scipy(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(ndimage.label(a, EIGHT)[1])


def distance(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return spatial.distance_m(a, b, Georeference(gsd_m=GSD_M).pixel_size(*a.shape))


def distance_scipy(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(ndimage.distance_transform_edt(~a)[b].min()) * GSD_M


def adjacency(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(spatial.are_adjacent(a, b))


def adjacency_scipy(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((ndimage.binary_dilation(a) & b).any())


MEASURES: dict[str, tuple[Measure, Measure]] = {
    "area, m2": (area, area_scipy),
    "components": (objects, objects_scipy),
    "distance, m": (distance, distance_scipy),
    "adjacency": (adjacency, adjacency_scipy),
}


def measured_alone(measure: Measure, folder: Path, repeats: int) -> tuple[float, float, float]:
    """Value, best seconds, and peak MiB above the masks themselves, from a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (measure, folder, repeats))


def _measured(measure: Measure, folder: Path, repeats: int) -> tuple[float, float, float]:
    a, b = np.load(folder / "a.npy"), np.load(folder / "b.npy")
    # What is imported on first use counts neither as time nor as memory.
    corner = np.eye(64, dtype=bool)
    measure(corner, ~ndimage.binary_dilation(corner, iterations=3))
    # Linux then counts the peak from here on; getrusage would begin with the peak of the parent process.
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory_mib("VmRSS")
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        value = measure(a, b)
        seconds.append(time.perf_counter() - start)
    return value, min(seconds), _memory_mib("VmHWM") - before


def _memory_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def cpu_name() -> str:
    """The processor's name as Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096, help="side of the masks in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        a, b = draw_masks(arguments.size)
        np.save(folder / "a.npy", a)
        np.save(folder / "b.npy", b)
        print(f"{cpu_name()}, {os.cpu_count()} cores; best of {arguments.repeats}")
        print(f"masks {a.shape[0]} x {a.shape[1]}, covering {a.mean():.1%} and {b.mean():.1%}\n")
        print(f"{'':<14}{'terrascope':>22}{'scipy':>22}{'faster':>9}  value")
        for label, (ours, theirs) in MEASURES.items():
            value, seconds, peak = measured_alone(ours, folder, arguments.repeats)
            value_scipy, seconds_scipy, peak_scipy = measured_alone(theirs, folder, arguments.repeats)
            verdict = (
                f"{value:.10g}" if np.isclose(value, value_scipy, rtol=1e-9) else f"{value} but scipy {value_scipy}"
            )
            print(
                f"{label:<14}{seconds:>10.3f} s {peak:>6.0f} MiB {seconds_scipy:>9.3f} s {peak_scipy:>6.0f} MiB "
                f"{seconds_scipy / seconds:>7.1f}x  {verdict}"
            )


if __name__ == "__main__":
    main()
