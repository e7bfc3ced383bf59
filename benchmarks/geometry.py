"""Time and memory of the geometry on a large mask, beside scipy in the same run.

    python benchmarks/geometry.py --size 10980

Prints one line per measure: seconds (best of `--repeats`) and peak memory beyond the masks themselves, for TerraScope
and for scipy, and the value, on which both must agree. Every measurement runs in a process of its own, so that each
peak is its own. Needs Linux.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from alone import cpu_name, run_alone
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


def load_masks(folder: Path) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return np.load(folder / "a.npy"), np.load(folder / "b.npy")


def small_masks() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    corner = np.eye(64, dtype=bool)
    return corner, ~ndimage.binary_dilation(corner, iterations=3)


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
        for label, measures in MEASURES.items():
            ours, theirs = (
                run_alone(measure, load_masks, folder, rehearse=small_masks, repeats=arguments.repeats)
                for measure in measures
            )
            agree = np.isclose(ours.value, theirs.value, rtol=1e-9)
            verdict = f"{ours.value:.10g}" if agree else f"{ours.value} but scipy {theirs.value}"
            print(
                f"{label:<14}{ours.seconds:>10.3f} s {ours.peak_mib:>6.0f} MiB "
                f"{theirs.seconds:>9.3f} s {theirs.peak_mib:>6.0f} MiB "
                f"{theirs.seconds / ours.seconds:>7.1f}x  {verdict}"
            )


if __name__ == "__main__":
    main()
