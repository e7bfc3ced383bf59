"""Masks with and without their specks: overlap, number of pieces, and distances between classes.

    python benchmarks/specks.py --model nano --data DIR

A distance between two masks depends on their nearest pixels, and a count of pieces on the smallest: a speck decides
both. This drops pieces that are smaller than 0, 1, 2, 4 and 8 cells of the mask decoder's grid (`min_object_cells`)
and compares with the truth. Generated scenes that are no validation scenes, and every third HLS training chip, so that
the setting is not chosen on what a model is judged by.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path

import numpy as np
from alone import cpu_name
from forest import default_data
from rasterio.errors import NotGeoreferencedWarning
from scoring import MIN_COVERAGE
from validation_scenes import ValidationScene, chip_scenes, generated_scenes

from terrascope import masks, spatial
from terrascope.errors import TerraScopeError
from terrascope.landcover import TERRASCOPE
from terrascope.masks import Mask
from terrascope.model import TerraScope
from terrascope.model.checkpoint import take_settings
from terrascope.model.configuration import TerraScopeConfig
from terrascope.scene import Scene
from terrascope.sources.chips import read_all
from terrascope.sources.hls_worldcover import HlsWorldCover

CELLS = (0, 1, 2, 4, 8)
FIRST_SEED = 500_200
"""Far from the seeds of training and of validation."""

MIN_SHARE = 0.003
MAX_PIECES = 12
MAX_PIECES_APART = 8
MIN_DISTANCE_PX = 3.0
"""Of what tasks ask: classes of at least so large a share; counts up to so many; distances of classes in few pieces."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """One class of one scene: its mask as drawn, specks included, and the true one."""

    scene: str
    mask: Mask
    truth: Mask
    known: Mask


def draw(model: TerraScope, scenes: Iterator[ValidationScene]) -> list[Drawn]:
    """The masks of all classes that a scene has, on its first date."""
    drawn = []
    for where in scenes:
        labels, known = where.labelled.labels[0], where.labelled.measured(0)
        truths = {TERRASCOPE[number].name: labels.mask(number) & known for number in labels.class_ids_known}
        names = [name for name, truth in truths.items() if truth.sum() > MIN_SHARE * known.sum() and name != "cloud"]
        scene = Scene(where.scene.pairs[:1])
        for name, answer in zip(names, model.segment_many(scene, names), strict=True):
            if isinstance(answer, TerraScopeError):
                raise answer
            drawn.append(Drawn(scene=where.name, mask=answer.masks[0] & known, truth=truths[name], known=known))
    return drawn


@dataclass(frozen=True, kw_only=True)
class Found:
    """How masks compare with the truth: mean IoU, the share of counts and of distances that are near it, and the
    medians of what they are times the truth."""

    iou: float
    near_counts: float
    count_ratio: float
    near_distances: float
    distance_ratio: float
    nums: tuple[int, int, int]


def compare(drawn: Sequence[Drawn], config: TerraScopeConfig) -> Found:
    """What is found once the specks are dropped."""
    cleaned = [masks.drop_specks(one.mask, config.min_object_pixels(one.mask.shape)) for one in drawn]
    pairs = list(zip(cleaned, drawn, strict=True))
    pieces = [(spatial.count_objects(mask), spatial.count_objects(one.truth)) for mask, one in pairs]
    ious = [masks.iou(mask, one.truth) for mask, one in pairs if one.truth.sum() > MIN_COVERAGE * one.known.sum()]
    counts = np.array([(found, true) for found, true in pieces if found and true <= MAX_PIECES], float)
    distances = np.array(list(_distances(drawn, cleaned, pieces)), float)
    count_ratio, distance_ratio = counts[:, 0] / counts[:, 1], distances[:, 0] / distances[:, 1]
    return Found(
        iou=float(np.mean(ious)),
        near_counts=float((np.abs(count_ratio - 1) <= 0.25).mean()),
        count_ratio=float(np.median(count_ratio)),
        near_distances=float((np.abs(np.log2(np.maximum(distance_ratio, 1e-9))) < 0.5).mean()),
        distance_ratio=float(np.median(distance_ratio)),
        nums=(len(ious), len(counts), len(distances)),
    )


def _distances(
    drawn: Sequence[Drawn], cleaned: Sequence[Mask], pieces: Sequence[tuple[int, int]]
) -> Iterator[tuple[float, float]]:
    """Found and true distances in pixels of two classes of one scene that are apart."""
    for a, b in combinations(range(len(drawn)), 2):
        if drawn[a].scene != drawn[b].scene or max(pieces[a][1], pieces[b][1]) > MAX_PIECES_APART:
            continue
        if not (cleaned[a].any() and cleaned[b].any()):
            continue
        true = spatial.distance_px(drawn[a].truth, drawn[b].truth)
        if true > MIN_DISTANCE_PX:
            yield spatial.distance_px(cleaned[a], cleaned[b]), true


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="nano, a folder, or a repository of the hub")
    parser.add_argument("--data", type=Path, default=default_data(), help="folder that holds hls-worldcover")
    parser.add_argument("--generated", type=int, default=70, help="generated scenes of each kind")
    parser.add_argument("--limit", type=int, help="at most so many chips, for a trial")
    arguments = parser.parse_args()
    # The chips come without a place on the ground; their pixel size is known.
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    model = TerraScope.from_pretrained(arguments.model)
    take_settings(model.model.config, model.processor, {"min_object_cells": 0.0})
    drawn: list[Drawn] = []
    for kind in ("country", "town"):
        scenes = generated_scenes(kind, arguments.generated, FIRST_SEED)
        drawn += draw(model, (where for where in scenes if where.shown == "both"))
    chips = chip_scenes("HLS", read_all(HlsWorldCover(arguments.data / "hls-worldcover"), "train"))
    drawn += draw(model, islice(chips, 0, arguments.limit and 3 * arguments.limit, 3))
    config = model.model.config
    print(f"{cpu_name()}, {os.cpu_count()} cores; {Path(arguments.model).name}")
    num_masks, num_counts, num_distances = compare(drawn, config).nums
    print(f"{num_masks} masks, {num_counts} counts, {num_distances} distances\n")
    print("| cells | IoU | counts within 25 % | pieces, times true | distances within 40 % | distance, times true |")
    print("|---|---|---|---|---|---|")
    for cells in CELLS:
        config.min_object_cells = float(cells)
        found = compare(drawn, config)
        print(
            f"| {cells} | {found.iou:.3f} | {found.near_counts:.0%} | {found.count_ratio:.2f} "
            f"| {found.near_distances:.0%} | {found.distance_ratio:.2f} |"
        )


if __name__ == "__main__":
    main()
