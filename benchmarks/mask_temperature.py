"""Fit the temperature that makes the confidence of masks mean what it says, and show how far it is off without.

    python benchmarks/mask_temperature.py --model nano --data DIR

Every class that covers more than 3 % of a validation scene is asked for by name, as `TerraScope.segment` does. The
temperature is the one by which the masks' logits explain the labels best (lowest cross-entropy, every mask alike). What
is printed of its effect comes from scenes that it was not fitted to: it is fitted to one half of them for the other.
A model takes it as `mask_temperature` in its config.json; masks stay the same.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import report
import torch
from alone import cpu_name
from forest import default_data
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rich.console import Console
from rich.table import Table
from scoring import MIN_COVERAGE
from torch import Tensor
from validation_scenes import ValidationScene, generated_scenes, hls_scenes

from terrascope.bench.statistics import NUM_RESAMPLES, Interval, bootstrap, spread
from terrascope.landcover import TERRASCOPE
from terrascope.model import TerraScope
from terrascope.model.drawing import mask_logits, read_mask
from terrascope.model.encoding import encode_scene
from terrascope.model.engine.requests import Ground, Program
from terrascope.model.generation import reason
from terrascope.trace import Step, Trace, render

TEMPERATURES = np.exp(np.linspace(np.log(0.25), np.log(4), 141))
NUM_BINS = 10
PIXELS_PER_MASK = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A mask as it was drawn: logits float32 `[n]` of some known pixels, and bool `[n]`: what is there in truth."""

    source: str
    group: str
    logits: NDArray[np.float32]
    truth: NDArray[np.bool_]

    @cached_property
    def cross_entropy(self) -> NDArray[np.float64]:
        """float64 `[temperatures]`: the mean over the pixels."""
        signed = np.where(self.truth, self.logits, -self.logits).astype(np.float64)
        return np.array([np.logaddexp(0, -signed / temperature).mean() for temperature in TEMPERATURES])

    def probability(self, temperature: float) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(-self.logits.astype(np.float64) / temperature))

    def by_bins(self, temperature: float) -> NDArray[np.float64]:
        """float64 `[bins, 3]`: share of the pixels, sum of their probabilities, and of their truth, over all pixels."""
        probability = self.probability(temperature)
        bins = np.minimum((probability * NUM_BINS).astype(int), NUM_BINS - 1)
        columns = (np.ones_like(probability), probability, self.truth)
        return np.stack([np.bincount(bins, c, NUM_BINS) for c in columns], axis=1) / len(bins)

    def overconfidence(self, temperature: float) -> float | None:
        """Confidence of the mask less the share of it that is right; None where it is empty."""
        inside = self.logits > 0
        return float(self.probability(temperature)[inside].mean() - self.truth[inside].mean()) if inside.any() else None


def draw_masks(front: TerraScope, scenes: Iterable[ValidationScene], rng: np.random.Generator) -> Iterator[Drawn]:
    """Every class of every scene, on every date where it covers enough."""
    model, processor = front.model, front.processor
    for where in scenes:
        with torch.inference_mode():
            encoded = encode_scene(model, processor.image_processor.prepare_scene(where.scene))
        facts = processor.describe(where.scene)
        dates = range(len(where.labelled.labels))
        for class_id in sorted({i for labels in where.labelled.labels for i in labels.class_ids_known}):
            truths = [labels.mask(class_id) for labels in where.labelled.labels]
            knowns = [where.labelled.measured(date) for date in dates]
            if all((t & k).sum() <= MIN_COVERAGE * k.sum() for t, k in zip(truths, knowns, strict=True)):
                continue
            name = TERRASCOPE[class_id].name
            steps = tuple(Step(text=f"The {name}:", image=d + 1 if len(dates) > 1 else None) for d in dates)
            text = render(Trace(steps=steps, answer=name))
            found: list[Tensor] = []

            def look(pair: int, state: Tensor, _: str, found: list[Tensor] = found) -> Program[tuple[Tensor, float]]:
                yield from ()
                ((logits, seen),) = mask_logits(model, [Ground(encoded, pair, state)])  # noqa: B023 (called at once)
                found.append(logits)
                return read_mask(logits, seen, 1.0)

            reason(
                model, processor, encoded, processor.prepare_prompt(facts, f"Where is the {name}?"),
                forced_ids=processor.tokenizer(text, add_special_tokens=False)["input_ids"], ground_with=look,
            )  # fmt: skip
            for logits, truth, known in zip(found, truths, knowns, strict=True):
                if (truth & known).sum() > MIN_COVERAGE * known.sum():
                    places = np.flatnonzero(known)
                    kept = rng.choice(places, min(PIXELS_PER_MASK, len(places)), replace=False)
                    yield Drawn(
                        source=where.source, group=where.group, logits=logits.numpy().ravel()[kept],
                        truth=truth.ravel()[kept],
                    )  # fmt: skip


def _resamples(groups: Sequence[str], seed: int = 0) -> NDArray[np.float64]:
    """float64 `[NUM_RESAMPLES, values]`: how often each value is drawn when whole groups are drawn anew."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    num_groups = int(numbers.max()) + 1
    drawn = np.random.default_rng(seed).integers(0, num_groups, (NUM_RESAMPLES, num_groups))
    return np.stack([np.bincount(row, minlength=num_groups)[numbers] for row in drawn]).astype(np.float64)


def fit_temperature(masks: Sequence[Drawn]) -> Interval:
    """The best temperature and its 95 % interval over scenes."""
    losses = np.stack([mask.cross_entropy for mask in masks])
    drawn = _resamples([mask.group for mask in masks]) @ losses
    return spread(float(TEMPERATURES[losses.sum(0).argmin()]), TEMPERATURES[drawn.argmin(1)], len(masks))


def calibration_error(masks: Sequence[Drawn], temperatures: Sequence[float]) -> Interval:
    """The expected calibration error: how far probability and truth are apart, over bins of probability."""
    bins = np.stack([mask.by_bins(t) for mask, t in zip(masks, temperatures, strict=True)])
    drawn = np.tensordot(_resamples([mask.group for mask in masks]), bins, 1)

    def error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.abs(sums[..., 1] - sums[..., 2]).sum(-1) / sums[..., 0].sum(-1)

    return spread(float(error(bins.sum(0))), error(drawn), len(masks))


def held_out(masks: Sequence[Drawn]) -> list[float]:
    """For each mask the temperature that is fitted to the other half of the scenes."""
    halves = dict.fromkeys(sorted({mask.group for mask in masks}), 0)
    halves |= {group: place % 2 for place, group in enumerate(halves)}
    losses = np.stack([mask.cross_entropy for mask in masks])
    half = np.array([halves[mask.group] for mask in masks])
    best = [TEMPERATURES[losses[half != side].sum(0).argmin()] for side in (0, 1)]
    return [float(best[side]) for side in half]


def show(console: Console, title: str, masks: Sequence[Drawn]) -> None:
    """The figures of one set of masks."""
    fitted, ones = held_out(masks), [1.0] * len(masks)
    console.print(f"\n{title}: {len(masks)} masks, {len({mask.group for mask in masks})} scenes")
    console.print(f"temperature {fit_temperature(masks):.2f}; of the halves {min(fitted):.2f}, {max(fitted):.2f}")
    table = Table("", "without", "with")
    errors = [calibration_error(masks, temperatures) for temperatures in (ones, fitted)]
    table.add_row("expected calibration error", *(f"{error:.3f}" for error in errors))
    table.add_row(
        "confidence less share that is right",
        *(f"{_gap(masks, temperatures, signed=True):+.3f}" for temperatures in (ones, fitted)),
    )
    table.add_row(
        "the same, without its sign",
        *(f"{_gap(masks, temperatures, signed=False):.3f}" for temperatures in (ones, fitted)),
    )
    console.print(table)
    table = Table("probability", "pixels", "mean", "true", "pixels with", "mean", "true")
    sums = [sum(m.by_bins(t) for m, t in zip(masks, ts, strict=True)) / len(masks) for ts in (ones, fitted)]
    for number in range(NUM_BINS):
        cells = []
        for share, probability, truth in (of_bins[number] for of_bins in sums):
            cells += [f"{share:.1%}", *(f"{value / share:.2f}" if share else "-" for value in (probability, truth))]
        table.add_row(f"{number / NUM_BINS:.1f} to {(number + 1) / NUM_BINS:.1f}", *cells)
    console.print(table)


def _gap(masks: Sequence[Drawn], temperatures: Sequence[float], *, signed: bool) -> Interval:
    pairs = [(mask.group, mask.overconfidence(t)) for mask, t in zip(masks, temperatures, strict=True)]
    known = [(group, gap if signed else abs(gap)) for group, gap in pairs if gap is not None]
    return bootstrap([gap for _, gap in known], [group for group, _ in known])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="nano, a folder, or a repository of the hub")
    parser.add_argument("--data", type=Path, default=default_data(), help="folder with hls-worldcover")
    parser.add_argument("--generated", type=int, default=20, help="generated scenes of each kind")
    parser.add_argument("--hls", type=int, help="at most so many HLS chips")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not (arguments.data / "hls-worldcover").is_dir():
        parser.error(f"--data {arguments.data}: no hls-worldcover in it; name the folder of the chips")
    # The chips come without a place on the ground; it is not needed here.
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    torch.set_num_threads(1)
    start = time.perf_counter()
    rng = np.random.default_rng(arguments.seed)
    front = TerraScope.from_pretrained(arguments.model, device="cpu", dtype="float32")
    generated = [
        mask
        for kind in ("country", "town")
        for mask in draw_masks(front, generated_scenes(kind, arguments.generated), rng)
    ]
    chips = list(hls_scenes(arguments.data))[: arguments.hls]
    hls = list(draw_masks(front, chips, rng))
    console = Console(width=110)
    setting = {"model": Path(arguments.model).name, "cpu": f"{cpu_name()}, {os.cpu_count()} cores", **report.versions()}
    console.print(", ".join(f"{key} {value}" for key, value in setting.items()) + f", seed {arguments.seed}")
    show(console, "generated scenes", generated)
    show(console, "HLS", hls)
    show(console, "both", [*generated, *hls])
    console.print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
