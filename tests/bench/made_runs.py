"""Questions, replies and runs of known content, for the tests of what is made of a finished run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terrascope import masks
from terrascope.bench.items import Item, Shown, show_only, shown_of
from terrascope.bench.replies import Reply
from terrascope.errors import SceneError
from terrascope.sample import Sample, SampleMask
from tests.terracot.made_samples import images_of, make_chip

HEIGHT, WIDTH = 12, 10
KINDS: dict[Shown, tuple[str, ...]] = {"optical": ("optical",), "sar": ("sar",), "both": ("optical", "sar")}


def columns(first: int, last: int) -> NDArray[np.bool_]:
    """The columns from `first` up to `last`: each is a tenth of the scene."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, first:last] = True
    return mask


def mask_of(first: int, last: int, name: str = "water", image: int = 1) -> SampleMask:
    counts = masks.encode_rle(columns(first, last))["counts"]
    return SampleMask(counts=counts, image=image, class_name=name)


def make_question(
    number: int,
    *,
    task: str = "coverage",
    place: str | None = None,
    options: Sequence[str] = ("10%", "20%", "30%", "40%"),
    answer: str = "B",
    true_masks: Sequence[SampleMask] = (),
    shown: Shown = "optical",
    value: float | None = None,
    unit: str | None = None,
) -> Sample:
    return Sample(
        id=f"q{number}",
        level="bench",
        task=task,
        source="made",
        key=f"k{number}",
        place=place or f"p{number}",
        split="test",
        images=images_of(kinds=KINDS[shown]),
        height=HEIGHT,
        width=WIDTH,
        gsd_m=10.0,
        question="How much of the image is water?",
        options=tuple(options),
        reasoning=f"<think>{'It is here: [SEG] ' * len(true_masks)}</think><answer>{answer}</answer>",
        masks=tuple(true_masks),
        truth=options["ABCDE".index(answer)] if options else answer,
        value=value,
        unit=unit,
    )


def say(
    sample: Sample, text: str | None = None, *, found: Sequence[SampleMask] | None = None, failed: str | None = None
) -> Reply:
    """A reply: the right one with the true masks, where nothing else is said."""
    written = sample.answer if text is None else text
    return Reply(
        id=sample.id,
        text="" if failed else written,
        raw="" if failed else written,
        masks=() if failed else tuple(sample.masks if found is None else found),
        failed=failed,
    )


@dataclass(frozen=True, kw_only=True)
class MadeBenchmark:
    """Questions about made scenes, which are there unless `blind`."""

    samples: tuple[Sample, ...]
    name: str = "made-bench"
    digest: str = "ab" * 32
    blind: bool = False

    def item(self, index: int) -> Item:
        sample = self.samples[index]
        if self.blind:
            raise SceneError(f"{sample.key}.tif: not found")
        scene = make_chip(kinds=("optical", "sar")).scene
        return Item(sample=sample, scene=show_only(scene, shown_of(sample)))


def write_run(folder: Path, benchmark: MadeBenchmark, replies: Iterable[Reply], *, predictor: str = "model") -> Path:
    folder.mkdir(parents=True)
    about = {
        "form": "terrascope-run/1",
        "benchmark": {"name": benchmark.name, "digest": benchmark.digest, "items": len(benchmark.samples)},
        "predictor": predictor,
        "settings": {"device": "cpu"},
        "versions": {"terrascope": "0"},
        "machine": {"cpus": 2},
        "started": "2026-01-01T00:00:00+00:00",
    }
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    lines = "".join(f"{reply.to_line()}\n" for reply in replies)
    (folder / "replies.jsonl").write_text(lines, encoding="utf-8", errors="replace")
    return folder
