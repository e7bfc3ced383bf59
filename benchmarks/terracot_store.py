"""A Terra-CoT data set on disk: how fast it is built and read back, and how large it is.

    python benchmarks/terracot_store.py --chips 600

Builds a data set of all levels from generated label maps with one worker and with two, checks that both wrote the same
bytes, and reads rows at random by `terrascope.terracot.store` and by `datasets`. Prints the machine, the versions, and
one line per measure. Making the label maps stands for reading files: its share of the time is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from alone import cpu_name
from scipy.spatial import cKDTree

from terrascope.georeference import Georeference
from terrascope.landcover import TERRASCOPE
from terrascope.sample import LEVELS
from terrascope.scene import LabelMap, Observation, Scene
from terrascope.sources.chips import Chip, Entry, Index
from terrascope.terracot.build import build, make_plan
from terrascope.terracot.composer import Composer
from terrascope.terracot.recipe import Recipe
from terrascope.terracot.store import open_store
from terrascope.terracot.tools import Tools

CLASSES = ("water", "tree", "shrub", "grass", "crop", "developed area", "bare land", "wetland")
IDS = np.array([TERRASCOPE.id_of(name) for name in CLASSES], np.uint8)
NUM_FIELDS = 24
BANDS = ("B02", "B03", "B04", "B08")


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Label maps of fields with straight edges, each of one class, under images of noise."""

    num: int
    size: int
    name: str = "fields"

    def index(self, split: str) -> Index:
        return Index(entries=tuple(Entry(str(number), str(number)) for number in range(self.num)))

    def read(self, key: str) -> Chip:
        rng = np.random.default_rng(int(key))
        rows, columns = np.indices((self.size, self.size)).reshape(2, -1)
        centers = rng.random((NUM_FIELDS, 2)) * self.size
        nearest = cKDTree(centers).query(np.column_stack([rows, columns]))[1]
        ids = rng.choice(IDS, NUM_FIELDS)[nearest].reshape(self.size, self.size)
        image = Observation(
            pixels=rng.random((len(BANDS), self.size, self.size), dtype=np.float32),
            bands=BANDS,
            modality="optical",
            sensor="sentinel-2",
            valid=np.ones(ids.shape, bool),
            georeference=Georeference(gsd_m=10.0),
            source=f"fields {key}",
        )
        labels = LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=tuple(int(value) for value in IDS))
        return Chip(
            source=self.name, key=key, place=key, split="train", scene=Scene.of(optical=[image]), labels=(labels,)
        )


def open_tools(recipe: Recipe, out: Path) -> Tools:
    (one,) = recipe.sources
    return Tools(sources={one.name: Fields(**one.options)}, roots={}, writer=Composer())


def hash_shards(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.parquet")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def rows_per_second(read: Callable[[int], object], num_rows: int, num_reads: int, repeats: int) -> float:
    """Best rate of reading rows in random order, one at a time, once all have been touched."""
    places = [int(place) for place in np.random.default_rng(0).integers(0, num_rows, num_reads)]
    for place in range(0, num_rows, 100):
        read(place)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        for place in places:
            read(place)
        seconds.append(time.perf_counter() - start)
    return num_reads / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=600)
    parser.add_argument("--size", type=int, default=256, help="side of the label maps in pixels")
    parser.add_argument("--reads", type=int, default=20_000, help="rows that are read at random")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    import datasets

    datasets.disable_progress_bars()
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pyarrow", "datasets", "numpy"))
    print(f"{cpu_name()}, {os.cpu_count()} cores; {libraries}; seed 0")
    print(f"{arguments.chips} label maps of {arguments.size} x {arguments.size} pixels; all levels, offline composer\n")

    source = Fields(num=arguments.chips, size=arguments.size)
    start = time.perf_counter()
    for number in range(min(100, arguments.chips)):
        source.read(str(number))
    reading_s = (time.perf_counter() - start) / min(100, arguments.chips)

    options = {"num": arguments.chips, "size": arguments.size}
    recipe = Recipe.of(
        {
            "sources": [{"name": "fields", "root": "fields", "options": options}],
            "levels": LEVELS,
            "chips_per_shard": 100,
        }
    )
    with tempfile.TemporaryDirectory() as name:
        hashes = set()
        for num_workers in (1, 2):
            folder = Path(name) / f"{num_workers}"
            folder.mkdir()
            # Part of the chips are read to count their classes; of a large data set that is a small part.
            make_plan(recipe, open_tools(recipe, folder)).save(folder)
            start = time.perf_counter()
            report = build(recipe, folder, open_tools=open_tools, num_workers=num_workers)
            seconds = time.perf_counter() - start
            hashes.add(hash_shards(folder))
            rate = report.total.num_samples / seconds
            million_min = 1e6 / rate / 60
            print(
                f"{f'build, {num_workers} worker(s)':<28}{rate:>10,.0f} samples/s {arguments.chips / seconds:>8,.1f} "
                f"chips/s   {million_min:.0f} min for a million samples"
            )
        print(f"{'making label maps alone':<28}{1 / reading_s:>28,.1f} chips/s")
        print(f"{'the same bytes':<28}{'yes' if len(hashes) == 1 else 'NO':>10}")

        files = sorted(folder.glob("*.parquet"))
        store = open_store(folder)
        num_bytes = sum(path.stat().st_size for path in files)
        print(f"{'size':<28}{num_bytes / len(store):>10,.0f} bytes/sample of {len(store):,} samples")
        start = time.perf_counter()
        for _ in store:
            pass
        print(f"{'one after another':<28}{len(store) / (time.perf_counter() - start):>10,.0f} samples/s")
        ours = rows_per_second(lambda place: store[place], len(store), arguments.reads, arguments.repeats)
        print(f"{'at random, terrascope':<28}{ours:>10,.0f} samples/s")
        read = datasets.load_dataset(
            "parquet", data_files=[str(path) for path in files], split="train", cache_dir=f"{name}/cache"
        )
        theirs = rows_per_second(lambda place: read[place], len(store), arguments.reads, arguments.repeats)
        print(f"{'at random, datasets':<28}{theirs:>10,.0f} rows/s")


if __name__ == "__main__":
    main()
