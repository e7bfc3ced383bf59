"""Every validation chip, every class: the masks and shares of a model, one question each, beside a random forest.

    python benchmarks/every_chip.py --model nano --data DIR

One question per chip and class that covers more than 3 % of it, as `forest.py` counts: HLS chips by optical images, the
second date of OMBRIA floods by optical images, SAR images and both. `validate.py` asks by every task, but few questions
of each; this is the larger sample of masks. Intervals are of places drawn anew; the forest saw the training chips.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from alone import cpu_name
from forest import default_data, fit_forest, predict_ids
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from scoring import MIN_COVERAGE, StepScore, score_step, score_steps
from validation_scenes import CLOUD_TEMPLATE, ValidationScene, hls_scenes, ombria_scenes

from terrascope import spatial
from terrascope.bench.statistics import Interval, bootstrap
from terrascope.errors import TerraScopeError
from terrascope.landcover import TERRASCOPE
from terrascope.model import TerraScope
from terrascope.predictor import Ask
from terrascope.rasters.sensors import render
from terrascope.sources.chips import read_all
from terrascope.sources.hls_worldcover import HlsWorldCover

FLOOD_QUESTION = "How much of image 2 is flooded?"


@dataclass(frozen=True, kw_only=True, eq=False)
class Wanted:
    """One mask that is asked for: of a class on the last date of a scene."""

    where: ValidationScene
    class_id: int
    truth: NDArray[np.bool_]
    known: NDArray[np.bool_]

    @property
    def ask(self) -> Ask:
        """The question about it."""
        plural = TERRASCOPE[self.class_id].plural
        has_dates = len(self.where.scene.pairs) > 1
        return Ask(scene=self.where.scene, question=FLOOD_QUESTION if has_dates else CLOUD_TEMPLATE.format(plural))


def list_wanted(scenes: Iterable[ValidationScene]) -> Iterator[Wanted]:
    """A mask for each class that covers more than `MIN_COVERAGE` of the known pixels."""
    for where in scenes:
        labels = where.labelled.labels[-1]
        known = where.labelled.measured(len(where.scene.pairs) - 1)
        for class_id in labels.class_ids_known:
            truth = labels.mask(class_id)
            if known.any() and spatial.coverage(truth & known, known) > MIN_COVERAGE:
                yield Wanted(where=where, class_id=class_id, truth=truth, known=known)


def score_model(model: TerraScope, wanted: list[Wanted]) -> list[StepScore]:
    """The first mask of each answer against the true one."""
    scores = []
    for one, answer in zip(wanted, model.ask_many(one.ask for one in wanted), strict=True):
        if isinstance(answer, TerraScopeError):
            raise answer
        scores += score_steps(answer.masks[:1], [one.truth], [one.known])
    return scores


def summarize(wanted: list[Wanted], scores: list[StepScore], seed: int) -> tuple[Interval, Interval, Interval]:
    """IoU, coverage error in points, and the mean over places of their mean IoU."""
    places = [one.where.group for one in wanted]
    iou = {place: [s.iou for s, p in zip(scores, places, strict=True) if p == place] for place in places}
    return (
        bootstrap([score.iou for score in scores], places, seed=seed),
        bootstrap([score.error_points for score in scores], places, seed=seed),
        bootstrap([float(np.mean(values)) for values in iou.values()], list(iou), seed=seed),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="nano, a folder, or a repository of the hub")
    parser.add_argument("--data", type=Path, default=default_data(), help="folder with hls-worldcover and ombria")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="at most so many masks of each source and modality, for a trial")
    arguments = parser.parse_args()
    # The chips come without a place on the ground; their pixel size is known.
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    start = time.perf_counter()
    hls = list(list_wanted(hls_scenes(arguments.data)))[: arguments.limit]
    floods = list(list_wanted(ombria_scenes(arguments.data)))
    model = TerraScope.from_pretrained(arguments.model)
    rows = {"HLS, optical": (hls, score_model(model, hls))}
    for shown, name in (("optical", "optical"), ("sar", "SAR"), ("both", "both")):
        chosen = [one for one in floods if one.where.shown == shown][: arguments.limit]
        rows[f"OMBRIA, second date, {name}"] = chosen, score_model(model, chosen)
    forest = fit_forest(read_all(HlsWorldCover(arguments.data / "hls-worldcover"), "train"), render)
    ids = {one.where.name: predict_ids(forest, one.where.scene.observations[0], render) for one in hls}
    rows["HLS, optical, by the forest"] = (
        hls,
        [score_step(ids[one.where.name] == one.class_id, one.truth, one.known) for one in hls],
    )
    print(f"{cpu_name()}, {os.cpu_count()} cores; {Path(arguments.model).name}; seed {arguments.seed}; ", end="")
    print(f"{time.perf_counter() - start:.0f} s\n")
    print("| chips | masks | places | IoU (95 %) | coverage error, points (95 %) | IoU, places alike (95 %) |")
    print("|---|---|---|---|---|---|")
    for name, (wanted, scores) in rows.items():
        iou, error, by_place = summarize(wanted, scores, arguments.seed)
        print(f"| {name} | {len(scores)} | {by_place.num} | {iou:.2f} | {error:.1f} | {by_place:.2f} |")
    print("\n| class | masks | IoU |\n|---|---|---|")
    for class_id in sorted({one.class_id for one in hls}):
        found = [s.iou for one, s in zip(*rows["HLS, optical"], strict=True) if one.class_id == class_id]
        print(f"| {TERRASCOPE[class_id].name} | {len(found)} | {np.mean(found):.2f} |")


if __name__ == "__main__":
    main()
