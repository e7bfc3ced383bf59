"""Questions per second of `terrascope batch`, beside the same questions asked one by one.

    python benchmarks/batch.py
    python benchmarks/batch.py --chips 64 --questions 4 --repeats 3

Generated country scenes are written as GeoTIFFs. Every scene is asked the same questions, in one process, by one model
that has answered before:

- *batch*: `terrascope.batch.run.run` with the local engine, from the reading of the manifest to the tables;
- *one by one*: each scene is opened once, and asked by `TerraScope.ask`; nothing is written;
- *one by one, saved*: the same, and every answer is saved by `Answer.save`.

They take turns, after one round that does not count. Stated are questions per second: the median, and the smallest and
the largest.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import platform
import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
import torch
from alone import cpu_name, time_alternately
from rasterio.transform import from_origin

import terrascope
from terrascope import Scene, TerraScope
from terrascope.batch.asking import ask_scenes
from terrascope.batch.manifest import read_manifest
from terrascope.batch.run import run
from terrascope.sources.generated import FIRST_SEED
from terrascope.sources.synthetic import make_sample

QUESTIONS = (
    "What percentage of the image is water?",
    "What percentage of the image is covered by trees?",
    "What is the area of the crops?",
    "What percentage of the image is grass?",
)
PIXEL_M = 30.0


def write_scenes(folder: Path, num: int, size: int) -> Path:
    """Write the optical images of generated scenes, and a manifest that names them."""
    sensor = ""
    for number in range(num):
        image = make_sample(FIRST_SEED["val"] + number, size=size, cloudy=False).scene.pairs[-1].optical
        assert image is not None and isinstance(image.pixels, np.ndarray)
        sensor = image.sensor
        with rasterio.open(
            folder / f"{number}.tif", "w", driver="GTiff", count=len(image.bands), height=size, width=size,
            dtype="int16", crs="EPSG:32633", transform=from_origin(500_000, 5_000_000 + number * 1e5, PIXEL_M, PIXEL_M),
        ) as dataset:  # fmt: skip
            dataset.write(np.round(image.pixels * 1e4).astype(np.int16))
            for index, name in enumerate(image.bands, 1):
                dataset.set_band_description(index, name)
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([["optical", "sensor"], *([f"{number}.tif", sensor] for number in range(num))])
    return path


def ask_as_batch(model: TerraScope, manifest: Path, questions: tuple[str, ...], out: Path) -> None:
    report = run(read_manifest(manifest, questions), partial(ask_scenes, model), out, model="nano")
    assert report.num_answered == report.num_questions, report


def ask_one_by_one(model: TerraScope, manifest: Path, questions: tuple[str, ...], out: Path | None) -> None:
    with manifest.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            scene = Scene.open(optical=[str(manifest.parent / row["optical"])], sensor=row["sensor"])
            for place, question in enumerate(questions):
                answer = model.ask(scene, question)
                if out is not None:
                    answer.save(out / f"{number}-{place}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--chips", type=int, default=8, help="scenes")
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--questions", type=int, default=4, choices=range(1, len(QUESTIONS) + 1), help="of each scene")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    questions = QUESTIONS[: options.questions]
    model = TerraScope.from_pretrained(options.model, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        home, turn = Path(folder), itertools.count()
        manifest = write_scenes(home, options.chips, options.size)
        ways = {
            "batch": lambda: ask_as_batch(model, manifest, questions, home / f"batch-{next(turn)}"),
            "one by one": lambda: ask_one_by_one(model, manifest, questions, None),
            "one by one, saved": lambda: ask_one_by_one(model, manifest, questions, home / f"saved-{next(turn)}"),
        }
        milliseconds = time_alternately(list(ways.values()), options.repeats)
    num = options.chips * len(questions)
    print(f"{cpu_name()}, {torch.get_num_threads()} threads of torch {torch.__version__}, {platform.python_version()}, "
          f"terrascope {terrascope.__version__}, model {options.model}")  # fmt: skip
    print(f"{num} questions about {options.chips} generated scenes of {options.size} x {options.size} pixels, "
          f"seeds from {FIRST_SEED['val']}, {options.repeats} turns\n")  # fmt: skip
    print("| way | questions per second | smallest | largest |\n|---|---|---|---|")
    for name, taken in zip(ways, milliseconds, strict=True):
        rates = [1000 * num / one for one in taken]
        print(f"| {name} | {statistics.median(rates):.2f} | {min(rates):.2f} | {max(rates):.2f} |")


if __name__ == "__main__":
    main()
