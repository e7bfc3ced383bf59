"""Scenes larger than the model's view: masks of one reduced look against masks of views, and what a whole tile costs.

    python benchmarks/large.py --model nano --data DIR       # quality: validation scenes joined to large ones
    python benchmarks/large.py --model nano --size 10980     # cost: one question to a generated scene on disk

Quality: the HLS validation chips side by side (their order drawn once), and generated country scenes of validation
seeds, sixteen side by side. Classes that cover more than 1 % are segmented; *small found* is the share of true regions
of 16 to 400 pixels of which at least half lies in the mask. Cost: seconds and peak memory of the command in a process
of its own: one reduced look; views, killed on the way; the same again, which goes on from there. Needs Linux.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from alone import cpu_name
from report import versions
from validation_scenes import VALIDATION_SEED, Shown, show

from terrascope import masks
from terrascope.landcover import TERRASCOPE, UNLABELLED
from terrascope.scene import Observation, Pair, Scene
from terrascope.sources.chips import read_all
from terrascope.sources.hls_worldcover import HlsWorldCover
from terrascope.sources.synthetic import make_sample
from terrascope.trace import SEG

MIN_SHARE = 0.01
SMALL_PX = (16, 400)
COUNTRIES, PER_COUNTRY = 3, 16
WAYS: dict[str, dict[str, object]] = {
    "whole": {"look": "whole"},
    "views of 256": {"look": "views", "view_size": 256},
    "views of 128": {"look": "views", "view_size": 128},
}


def join(parts: Sequence[np.ndarray], num_columns: int) -> np.ndarray:
    """Arrays `[..., h, w]` of one size side by side, row by row; what does not fill the last row is left out."""
    rows = range(0, len(parts) - num_columns + 1, num_columns)
    return np.concatenate([np.concatenate(parts[i : i + num_columns], axis=-1) for i in rows], axis=-2)


def join_images(images: Sequence[Observation | None], num_columns: int) -> Observation | None:
    """Images of one sensor as one; None where there are none."""
    present = [image for image in images if image is not None]
    if not present:
        return None
    pixels = join([np.asarray(image.pixels) for image in present], num_columns)
    return replace(present[0], pixels=pixels, valid=join([image.valid for image in present], num_columns))


def joined_scenes(data: Path | None, seed: int) -> Iterator[tuple[str, Scene, np.ndarray]]:
    """Source, scene of one date, and class ids `[H, W]`."""
    if data is not None:
        chips = list(read_all(HlsWorldCover(data / "hls-worldcover"), "val"))
        chips = [chips[i] for i in np.random.default_rng(seed).permutation(len(chips))]
        image = join_images([chip.scene.pairs[0].optical for chip in chips], 7)
        yield "HLS", Scene((Pair(optical=image),)), join([chip.labels[0].ids for chip in chips], 7)
    for number in range(COUNTRIES):
        first = VALIDATION_SEED + 20_000 + number * PER_COUNTRY
        samples = [make_sample(first + i, kind="country", num_dates=1, cloudy=False) for i in range(PER_COUNTRY)]
        pairs = [sample.scene.pairs[0] for sample in samples]
        pair = Pair(
            optical=join_images([pair.optical for pair in pairs], 4), sar=join_images([pair.sar for pair in pairs], 4)
        )
        yield "generated country", Scene((pair,)), join([sample.labels[0].ids for sample in samples], 4)


def score(found: np.ndarray, truth: np.ndarray, known: np.ndarray) -> tuple[float, int, int]:
    """IoU on known pixels, small true regions that were found, and how many there are."""
    labels, num = masks.label_components(truth)
    sizes = np.bincount(labels.ravel(), minlength=num + 1)
    hits = np.bincount(labels[found], minlength=num + 1)
    small = (sizes >= SMALL_PX[0]) & (sizes <= SMALL_PX[1])
    small[0] = False
    return masks.iou(found & known, truth), int((small & (2 * hits >= sizes)).sum()), int(small.sum())


def measure_quality(model: str, data: Path | None, seed: int) -> None:
    from terrascope.model import TerraScope
    from terrascope.model.generation import GenerationSettings

    predictor = TerraScope.from_pretrained(model)
    results: dict[tuple[str, Shown, str], list[tuple[float, int, int]]] = {}
    for source, scene, ids in joined_scenes(data, seed):
        kinds: tuple[Shown, ...] = ("optical",) if scene.pairs[0].sar is None else ("optical", "sar", "both")
        names = [c.name for c in TERRASCOPE.classes if (ids == TERRASCOPE.id_of(c.name)).mean() > MIN_SHARE]
        for shown in kinds:
            for way, settings in WAYS.items():
                # One text for all classes, so that one sweep makes all of their masks.
                text = "".join(f"The {name}: {SEG} " for name in names)
                found = predictor.ground(
                    show(scene, shown),
                    "Where are they?",
                    text,
                    settings=GenerationSettings(**settings),  # type: ignore[arg-type]
                )
                for name, mask in zip(names, found.masks, strict=True):
                    scored = score(mask, ids == TERRASCOPE.id_of(name), ids != UNLABELLED)
                    results.setdefault((source, shown, way), []).append(scored)
    print("| scenes, shown | masks from | mean IoU | small found | classes |")
    print("|---|---|---|---|---|")
    for (source, shown, way), scores in results.items():
        found, num = sum(s[1] for s in scores), sum(s[2] for s in scores)
        share = f"{100 * found / num:.0f}% of {num:,}" if num else "-"
        print(f"| {source}, {shown} | {way} | {np.mean([s[0] for s in scores]):.3f} | {share} | {len(scores)} |")


# ---------------------------------------------------------------------------------------------------------------------
# What a whole tile costs.


def write_tile(path: Path, size: int) -> None:
    """Four bands uint16 (reflectance x 10000) of `size` x `size` pixels of 10 m: one generated scene, repeated."""
    import rasterio
    from affine import Affine

    image = make_sample(VALIDATION_SEED, kind="country", num_dates=1, cloudy=False).scene.observations[0]
    bands = {name: np.round(image.band(name) * 1e4).astype(np.uint16) for name in ("B02", "B03", "B04", "B8A")}
    side = next(iter(bands.values())).shape[0]
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": len(bands), "dtype": "uint16", "crs": "EPSG:32632",
        "transform": Affine(10, 0, 600_000, 0, -10, 5_400_000), "tiled": True, "compress": "zstd",
        "blockxsize": 512, "blockysize": 512, "bigtiff": "if_safer",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.descriptions = tuple(bands)
        for number, band in enumerate(bands.values(), 1):
            row = np.tile(band, (1, size // side + 1))[:, :size]
            for top in range(0, size, side):
                height = min(side, size - top)
                file.write(row[:height], number, window=((top, top + height), (0, size)))


def run_command(
    arguments: Sequence[str], cache: Path, stop: Callable[[float], bool] | None = None
) -> tuple[float, float]:
    """Seconds and peak MiB of `terrascope` with arguments; killed as soon as `stop(seconds)` says so."""
    environment = os.environ | {"TERRASCOPE_CACHE": str(cache)}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "terrascope", *arguments], stdout=subprocess.DEVNULL, env=environment
    )
    while stop is not None and process.poll() is None and not stop(time.perf_counter() - start):
        time.sleep(0.2)
    if stop is not None:
        process.send_signal(signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if stop is None and process.returncode:
        raise SystemExit(f"terrascope failed with exit code {process.returncode}; run it by hand to see why")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def measure_cost(model: str, size: int, kill_after: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scene, cache = Path(folder, "tile.tif"), Path(folder, "cache")
        write_tile(scene, size)
        question = "What percentage of the image is water?"
        ask = ["ask", question, "--optical", str(scene), "--sensor", "sentinel-2", "--model", model]
        print(f"{size} x {size} pixels, 4 bands, {scene.stat().st_size / 2**20:.0f} MiB on disk")
        seconds, memory = run_command([*ask, "--look", "whole"], cache)
        print(f"one reduced look, no files:           {seconds:6.0f} s  {memory:6.0f} MiB")
        ask += ["--out", str(Path(folder, "answer"))]
        killed, memory = run_command(ask, cache, lambda s: s > kill_after)
        left = "some" if Path(folder, "answer").exists() else "none"
        print(f"views at full resolution, killed:     {killed:6.0f} s  {memory:6.0f} MiB  (files left: {left})")
        rest, memory = run_command(ask, cache)
        print(f"the same command again, all files:    {rest:6.0f} s  {memory:6.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--data", type=Path, default=os.environ.get("TERRASCOPE_DATA"), help="holds hls-worldcover")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the chips")
    parser.add_argument("--size", type=int, help="edge of the generated scene whose cost is measured; no quality then")
    parser.add_argument(
        "--kill-after", type=float, default=120, metavar="S", help="seconds until the command is killed"
    )
    arguments = parser.parse_args()
    print(
        f"machine: {cpu_name()}, {os.cpu_count()} cores; " + "; ".join(versions().values()) + f"; seed {arguments.seed}"
    )
    if arguments.size is None:
        measure_quality(arguments.model, arguments.data, arguments.seed)
    else:
        measure_cost(arguments.model, arguments.size, arguments.kill_after)


if __name__ == "__main__":
    main()
