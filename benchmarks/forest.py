"""The baseline: a random forest on the colours around a pixel, fitted to the HLS training chips.

    python benchmarks/forest.py --data DIR

Prints its mean IoU and its coverage error on the validation chips, one question per chip and class that covers more
than 3 % of it: once on the picture that the model sees (red, green, blue), once on all seven bands. `validate.py` puts
the first of them beside the model. It knows no text: it is told the class and asked for the mask.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from alone import cpu_name
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from scipy import ndimage
from scoring import MIN_COVERAGE, StepScore, score_step
from sklearn.ensemble import RandomForestClassifier

from terrascope.bench.statistics import bootstrap
from terrascope.landcover import UNLABELLED
from terrascope.rasters.sensors import render
from terrascope.scene import Observation
from terrascope.sources.chips import Chip, read_all
from terrascope.sources.hls_worldcover import CLASS_IDS, HlsWorldCover

NUM_TREES = 100
WINDOW = 5
PIXELS_PER_CHIP = 400

Picture = Callable[[Observation], NDArray[np.float32]]


def all_bands(observation: Observation) -> NDArray[np.float32]:
    """The reflectances `[bands, H, W]` as they are."""
    return observation.pixels


def describe_pixels(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features `[H, W, 3 * C]` of an image `[C, H, W]`: values, then means, then deviations of 5 x 5 pixels.

    The window is mirrored at the edges; the deviation is the population's.
    """
    values = image.astype(np.float64)
    size = (1, WINDOW, WINDOW)
    mean = ndimage.uniform_filter(values, size, mode="reflect")
    variance = ndimage.uniform_filter(values**2, size, mode="reflect") - mean**2
    features = np.concatenate([values, mean, np.sqrt(np.clip(variance, 0, None))])
    return np.moveaxis(features, 0, -1).astype(np.float32)


def fit_forest(chips: Iterable[Chip], picture: Picture, *, seed: int = 0) -> RandomForestClassifier:
    """A forest fitted to at most `PIXELS_PER_CHIP` labelled pixels of each chip, drawn at random."""
    rng = np.random.default_rng(seed)
    features, ids = [], []
    for chip in chips:
        observation, label_map = chip.scene.observations[0], chip.labels[0]
        known = np.flatnonzero(observation.valid & (label_map.ids != UNLABELLED))
        drawn = rng.choice(known, min(PIXELS_PER_CHIP, len(known)), replace=False)
        described = describe_pixels(picture(observation))
        features.append(described.reshape(-1, described.shape[-1])[drawn])
        ids.append(label_map.ids.ravel()[drawn])
    forest = RandomForestClassifier(NUM_TREES, n_jobs=os.cpu_count(), random_state=seed)
    return forest.fit(np.concatenate(features), np.concatenate(ids))


def predict_ids(forest: RandomForestClassifier, observation: Observation, picture: Picture) -> NDArray[np.uint8]:
    """The most likely class id of every pixel, uint8 `[H, W]`."""
    features = describe_pixels(picture(observation))
    predicted = forest.predict(features.reshape(-1, features.shape[-1]))
    return np.asarray(predicted, np.uint8).reshape(observation.shape)


def score_chip(predicted: NDArray[np.uint8], chip: Chip) -> list[StepScore]:
    """One score for each class that covers more than `MIN_COVERAGE` of a chip's known pixels."""
    label_map = chip.labels[0]
    known = chip.scene.observations[0].valid & (label_map.ids != UNLABELLED)
    scores = [score_step(predicted == i, label_map.mask(i) & known, known) for i in CLASS_IDS]
    return [score for score in scores if score.coverage > MIN_COVERAGE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default_data(), help="folder that holds hls-worldcover")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="at most so many chips of each split, for a trial")
    arguments = parser.parse_args()
    # The chips come without a place on the ground; their pixel size is known.
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    root = arguments.data / "hls-worldcover"
    train, val = (list(read_all(HlsWorldCover(root), split))[: arguments.limit] for split in ("train", "val"))
    print(f"{cpu_name()}, {os.cpu_count()} cores; seed {arguments.seed}")
    print(f"{NUM_TREES} trees on {PIXELS_PER_CHIP} pixels of each of {len(train)} chips; {len(val)} validation chips\n")
    print("| input | questions | mean IoU (95 %) | coverage error, points (95 %) | fit, s | predict, s per chip |")
    print("|---|---|---|---|---|---|")
    for name, picture in (("RGB", render), ("7 bands", all_bands)):
        start = time.perf_counter()
        forest = fit_forest(train, picture, seed=arguments.seed)
        fitted = time.perf_counter()
        scores = [(chip.place, score) for chip in val for score in score_chip(_predict(forest, chip, picture), chip)]
        seconds = time.perf_counter() - fitted
        groups = [group for group, _ in scores]
        iou = bootstrap([score.iou for _, score in scores], groups, seed=arguments.seed)
        error = bootstrap([score.error_points for _, score in scores], groups, seed=arguments.seed)
        print(f"| {name} | {len(scores)} | {iou:.3f} | {error:.1f} | {fitted - start:.1f} | {seconds / len(val):.2f} |")


def _predict(forest: RandomForestClassifier, chip: Chip, picture: Picture) -> NDArray[np.uint8]:
    return predict_ids(forest, chip.scene.observations[0], picture)


def default_data() -> Path:
    """TERRASCOPE_DATA, or `shared/data` beside the repository."""
    named = os.environ.get("TERRASCOPE_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[1].parent / "shared" / "data"


if __name__ == "__main__":
    main()
