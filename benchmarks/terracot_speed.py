"""How fast level 1 and the referring pairs are made from label maps, beside a plain rendering of the same questions.

    python benchmarks/terracot_speed.py

The label maps are those of generated scenes, town and country, with one date and with two; a pixel is 10 m. All times
are processor seconds of one process, so that they hold for one core. The plain rendering asks the very same questions,
with the same templates, thresholds and random numbers, and must give the same texts. It starts from the label map for
each question and measures boolean masks with numpy and scipy.ndimage: `label`, `binary_dilation`,
`distance_transform_edt`. Reading images, run-length code and writing Parquet are not part of it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from alone import cpu_name
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.georeference import Georeference
from terrascope.landcover import UNLABELLED
from terrascope.sources.synthetic import make_sample
from terrascope.tasks import LabelledScene, Question
from terrascope.tasks.survey import Region, Survey
from terrascope.terracot import level1, referring
from terrascope.trace import render

GSD_M = 10.0
SIZES = (120, 256)
EIGHT = np.ones((3, 3), bool)
NUM_SAMPLES, NUM_CORES = 1_000_000, 2


@dataclass(frozen=True, eq=False)
class Labels:
    """What `ask` reads of a chip."""

    labelled: LabelledScene


class PlainRegion(Region):
    """A region that is measured anew whenever it is asked, with numpy and scipy alone."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        assert self.pixels is not None
        return self.pixels

    @property
    def coverage(self) -> float:
        return float(self.mask.sum() / self.survey.measured.sum())

    @property
    def num_objects(self) -> int:
        return int(ndimage.label(self.mask, EIGHT)[1])

    @property
    def area_m2(self) -> float:
        return float(self.mask.sum() * GSD_M**2)

    @property
    def position(self) -> str:
        rows, columns = np.nonzero(self.mask)
        down, across = (
            int(np.clip((places.mean() + 0.5) * 3 // side, 0, 2))
            for places, side in zip((rows, columns), self.mask.shape, strict=True)
        )
        name = ("north", "", "south")[down] + ("west", "", "east")[across]
        return f"{name}ern part" if name else "central part"

    @property
    def spread(self) -> tuple[float, float]:
        rows, columns = np.nonzero(self.mask)
        return (float(rows.std()), float(columns.std())) if len(rows) else (np.nan, np.nan)


class PlainSurvey(Survey):
    """A label map whose classes are compared anew whenever it is asked, with numpy and scipy alone."""

    @property
    def measured(self) -> NDArray[np.bool_]:
        return self.valid & (self.label_map.ids != UNLABELLED)

    @property
    def num_measured(self) -> int:
        return int(self.measured.sum())

    @property
    def regions(self) -> tuple[Region, ...]:
        measured = self.measured
        masks = {class_id: (self.label_map.ids == class_id) & measured for class_id in self.label_map.class_ids_known}
        return tuple(
            PlainRegion(
                survey=self,
                land_class=self.label_map.nomenclature[class_id],
                class_id=class_id,
                num_pixels=int(mask.sum()),
                pixels=mask,
            )
            for class_id, mask in masks.items()
        )

    @property
    def area_m2(self) -> float:
        return self.valid.size * GSD_M**2

    def are_adjacent(self, first: Region, second: Region) -> bool:
        return bool((ndimage.binary_dilation(first.mask) & second.mask).any())

    def are_apart(self, first: Region, second: Region, distance_px: float) -> bool:
        # The distance that is found is also the answer: not even a plain rendering would look for it twice.
        self.__dict__["found_px"] = float(ndimage.distance_transform_edt(~first.mask)[second.mask].min())
        return self.__dict__["found_px"] >= distance_px

    def distance_m(self, first: Region, second: Region) -> float:
        return self.__dict__["found_px"] * GSD_M


class PlainScene(LabelledScene):
    """A labelled scene that keeps nothing between two questions."""

    @property
    def surveys(self) -> tuple[Survey, ...]:
        return tuple(
            PlainSurvey(label_map=label_map, valid=self.valid, pixel_size=self.pixel_size, date=date)
            for date, label_map in enumerate(self.labels)
        )


def draw_scenes(num: int, size: int) -> list[LabelledScene]:
    """Label maps of generated scenes, every other one with its first date alone."""
    pixel_size = Georeference(gsd_m=GSD_M).pixel_size(size, size)
    scenes = []
    for seed in range(num):
        labels = make_sample(seed, size=size, cloudy=False).labels
        labels = labels[:1] if seed % 2 else labels
        scenes.append(LabelledScene(labels=labels, valid=np.ones((size, size), bool), pixel_size=pixel_size))
    return scenes


def located(scene: LabelledScene) -> LabelledScene:
    """The same label maps on a grid in UTM zone 33 N, where lengths are geodesic."""
    from affine import Affine
    from pyproj import CRS

    place = Georeference(crs=CRS.from_epsg(32633), transform=Affine(GSD_M, 0, 5e5, 0, -GSD_M, 5e6))
    return replace(scene, pixel_size=place.pixel_size(*scene.valid.shape))


def ask_all(
    repeats: int,
    scenes: list[LabelledScene],
    make: Callable[..., LabelledScene],
    ask: Callable[..., list[Question]],
) -> tuple[list[list[Question]], float]:
    """The questions about each scene, and the processor seconds that they took: of each scene the best of several.

    Nothing is known of a scene before.
    """
    asked: dict[int, list[Question]] = {}
    seconds = np.full((repeats, len(scenes)), np.inf)
    for repeat in range(repeats):
        for seed, scene in enumerate(scenes):
            chip: Any = Labels(make(labels=scene.labels, valid=scene.valid, pixel_size=scene.pixel_size))
            rng = np.random.default_rng(seed)
            start = time.process_time()
            asked[seed] = ask(chip, rng)
            seconds[repeat, seed] = time.process_time() - start
    return list(asked.values()), float(seconds.min(axis=0).sum())


def task_seconds(scenes: list[LabelledScene]) -> dict[str, float]:
    """Processor seconds of each task, asked of every scene that is fresh to it."""
    seconds: Counter[str] = Counter()
    for seed, scene in enumerate(scenes):
        for name, task in level1.DEFAULT.tasks.items():
            fresh = replace(scene)
            rng = np.random.default_rng(seed)
            start = time.process_time()
            task.ask(fresh, rng, with_options=bool(seed % 2))
            seconds[name] += time.process_time() - start
    return dict(seconds)


def words(asked: list[list[Question]]) -> list[list[tuple[Any, ...]]]:
    return [[(q.text, q.options, render(q.trace), q.truth) for q in questions] for questions in asked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100, help="label maps of each size")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{cpu_name()}, {os.cpu_count()} cores; {arguments.scenes} scenes, best of {arguments.repeats}")
    for size in SIZES:
        scenes = draw_scenes(arguments.scenes, size)
        ours, seconds = ask_all(arguments.repeats, scenes, LabelledScene, level1.ask)
        plain, plain_seconds = ask_all(arguments.repeats, scenes, PlainScene, level1.ask)
        num = sum(map(len, ours))
        print(f"\n{size} x {size}: {num} level 1 samples of {sum(map(bool, ours))} scenes")
        print(f"  samples per second and core   {num / seconds:>10,.0f}")
        print(f"  plain numpy and scipy         {num / plain_seconds:>10,.0f}")
        same = sum(a == b for a, b in zip(words(ours), words(plain), strict=True))
        print(f"  faster                        {plain_seconds / seconds:>10.1f}x, same words for {same} scenes")
        in_utm = [located(scene) for scene in scenes]
        asked, seconds_utm = ask_all(arguments.repeats, in_utm, LabelledScene, level1.ask)
        print(f"  on a grid in UTM              {sum(map(len, asked)) / seconds_utm:>10,.0f}")
        pairs, pair_seconds = ask_all(arguments.repeats, scenes, LabelledScene, referring.ask)
        print(f"  referring pairs               {sum(map(len, pairs)) / pair_seconds:>10,.0f}")
        for name, rate in (("stated scale", num / seconds), ("UTM", sum(map(len, asked)) / seconds_utm)):
            minutes = NUM_SAMPLES / rate / NUM_CORES / 60
            print(f"  {NUM_SAMPLES:,} on {NUM_CORES} cores, {name:<13} {minutes:>7.1f} minutes")
        shares = task_seconds(scenes)
        total = sum(shares.values())
        print("  share of time by task, each alone: ", end="")
        print(", ".join(f"{name} {part / total:.0%}" for name, part in sorted(shares.items(), key=lambda x: -x[1])))


if __name__ == "__main__":
    main()
