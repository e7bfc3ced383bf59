"""A small benchmark of known geometry, and experts who review it, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terracot.drawn_chips import SIZE, chip_of, paint
from terrascope.bench.brush import encode_brush
from terrascope.bench.recipe import TASKS
from terrascope.sample import Sample
from terrascope.scene import Observation, Pair, Scene
from terrascope.sources.chips import Chip
from terrascope.tasks import Question
from terrascope.terracot.build import write_manifest
from terrascope.terracot.record import record_chip, to_sample
from terrascope.terracot.shard import ShardReport, write_shard

NAME = "test-00000-of-00001.parquet"
VERSIONS = ("optical", "sar", "both")


@cache
def land_chip() -> Chip:
    """100 x 100 pixels of 10 m: water 20 %, trees 40 %, crops 30 %, bare land 10 %; water lies 300 m from the crops."""
    ids = paint(
        ("water", (0, 100, 0, 20)), ("tree", (0, 100, 20, 60)), ("bare land", (0, 100, 60, 70)),
        ("crop", (0, 100, 70, 100)),
    )  # fmt: skip
    return _with_sar(chip_of(ids, known=("water", "tree", "crop", "bare land")), "land")


@cache
def ruins_chip() -> Chip:
    """Two dates with sixteen buildings, of which four are destroyed."""
    places = [(10 + 20 * row, 10 + 20 * column) for row in range(4) for column in range(4)]
    boxes = [(y, y + 6, x, x + 6) for y, x in places]
    before = paint(*(("building", box) for box in boxes))
    after = paint(*(("destroyed building" if n < 4 else "building", box) for n, box in enumerate(boxes)))
    return _with_sar(chip_of(before, after, known=("building", "destroyed building")), "ruins")


def _with_sar(chip: Chip, key: str) -> Chip:
    def seen(image: Observation | None) -> Observation:
        assert image is not None
        return replace(image, sensor="rgb")

    def radar(image: Observation | None) -> Observation:
        assert image is not None
        return replace(
            image,
            pixels=np.full((2, SIZE, SIZE), -15, np.float32),
            bands=("VV", "VH"),
            modality="sar",
            sensor="sentinel-1",
        )

    pairs = tuple(Pair(optical=seen(pair.optical), sar=radar(pair.optical)) for pair in chip.scene.pairs)
    return replace(chip, scene=Scene(pairs), key=key, place=key)


def read(source: str, key: str) -> Chip:
    assert source == "painted"
    return {"land": land_chip, "ruins": ruins_chip}[key]()


def ask(chip: Chip, task: str, *classes: str, seed: int = 0) -> Question:
    """The question of a task about these classes of a chip."""
    rng = np.random.default_rng(seed)
    for _ in range(500):
        question = TASKS[task].ask(chip.labelled, rng, with_options=True)
        if question is not None and (not classes or question.classes == classes):
            return question
    raise AssertionError(f"{task} asks nothing of {classes}")


def versions(chip: Chip, question: Question, number: int = 1) -> list[Sample]:
    """A question shown with optical images, with SAR, and with both."""
    whole = to_sample(chip, question, level="bench", number=number)
    return [
        replace(
            whole,
            id=f"{chip.source}/{chip.key}/{question.task}/{number}/{shown}",
            images=tuple(image for image in whole.images if shown in ("both", image.modality)),
        )
        for shown in VERSIONS
    ]


@cache
def questions() -> tuple[tuple[Sample, ...], ...]:
    """One question of each task."""
    land, ruins = land_chip(), ruins_chip()
    asked = [
        (land, ask(land, "coverage", "water")),
        (land, ask(land, "area", "crop")),
        (land, ask(land, "distance", "water", "bare land")),
        (land, ask(land, "ranking", "water", "tree")),
        (land, ask(land, "boundary", "water", "tree")),
        (ruins, ask(ruins, "building_change")),
    ]
    return tuple(tuple(versions(chip, question)) for chip, question in asked)


def samples() -> list[Sample]:
    return [sample for of_question in questions() for sample in of_question]


def write(folder: Path, written: Sequence[Sample] | None = None, **tasks: Mapping[str, Any]) -> Path:
    """A benchmark's folder, with the thresholds of tasks in its recipe."""
    written = samples() if written is None else written
    folder.mkdir(parents=True)
    records = [record_chip(read("painted", key)) for key in dict.fromkeys(sample.key for sample in written)]
    report = ShardReport.of(number=0, num_chips=len(records), num_empty=0, samples=written, failed={}, rejected={})
    write_shard(folder / NAME, written, records, report, plan="plan")
    sources = [{"name": "painted", "root": "painted", "kind": None, "options": {}}]
    write_manifest(
        folder,
        recipe={"seed": 0, "split": "test", "sources": sources, "tasks": tasks},
        plan="plan",
        num_chips={"painted": len(records)},
        skipped={},
        total=report,
        shards={NAME: len(written)},
    )
    return folder


# ---------------------------------------------------------------------------------------------------------------------
# Experts: what Label Studio exports of what they do.


def choice(name: str, value: str) -> dict[str, Any]:
    return {"type": "choices", "from_name": name, "to_name": "optical1", "value": {"choices": [value]}}


def brush(mask: NDArray[np.bool_], class_name: str, *, image: int = 1) -> dict[str, Any]:
    return {
        "type": "brushlabels",
        "from_name": f"masks{image}",
        "to_name": f"optical{image}",
        "original_width": mask.shape[1],
        "original_height": mask.shape[0],
        "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [class_name]},
    }


def annotate(*results: dict[str, Any], by: Any = 1, rating: str | None = "high", **fields: Any) -> dict[str, Any]:
    rated = [] if rating is None else [choice("quality", rating)]
    return {"id": 1, "completed_by": by, "result": [*results, *rated], "was_cancelled": False, **fields}


def export(
    project: Path,
    path: Path,
    annotations: Mapping[str, Sequence[dict[str, Any]]],
    *,
    others: Sequence[dict[str, Any]] = (),
) -> Path:
    """A JSON export of a project; what the experts say of each question by its task, `others` of the rest."""
    tasks = json.loads((project / "tasks.json").read_text())
    exported = [
        {"id": number, "data": task["data"], "annotations": list(annotations.get(task["data"]["task"], others))}
        for number, task in enumerate(tasks, 1)
    ]
    path.write_text(json.dumps(exported))
    return path
