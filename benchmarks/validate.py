"""Score a model on the validation splits, beside the same model with true masks, chance, and a random forest.

    python benchmarks/validate.py --model nano --data DIR --out validation.md

HLS and OMBRIA validation chips and generated validation scenes, by every task, as optical images, SAR images and both
show them. Every question goes through `TerraScope.ask_many`. benchmarks/README.md says what the columns mean.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import report
from alone import cpu_name
from forest import default_data, fit_forest, predict_ids
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rich.console import Console
from rich.progress import Progress
from scoring import MIN_COVERAGE, StepScore, is_right, is_unparsable, score_steps
from validation_scenes import (
    Asked,
    ValidationScene,
    ask_tasks,
    ask_under_clouds,
    generated_scenes,
    hls_scenes,
    ombria_scenes,
)

from terrascope.choice import ChoiceRule
from terrascope.errors import ModelError, TerraScopeError
from terrascope.landcover import TERRASCOPE
from terrascope.model.checkpoint import locate
from terrascope.predictor import Ask
from terrascope.rasters.sensors import render
from terrascope.scene import Scene
from terrascope.sources.chips import read_all
from terrascope.sources.hls_worldcover import HlsWorldCover
from terrascope.tasks import Question

if TYPE_CHECKING:
    from terrascope.model import TerraScope


@dataclass(frozen=True, kw_only=True, eq=False)
class Reply:
    """What the model answered, and what it answered with the true masks in place of its own."""

    answer: str
    masks: tuple[NDArray[np.bool_], ...]
    num_disagreements: int
    oracle_answer: str


@lru_cache(maxsize=1)
def _load(model: str) -> TerraScope:
    """The model in a worker, on one thread."""
    import torch

    from terrascope.model import TerraScope

    torch.set_num_threads(1)
    return TerraScope.from_pretrained(model)


def answer_all(model: str, rule: ChoiceRule | None, scene: Scene, questions: Sequence[Question]) -> list[Reply]:
    """Ask a model several questions about one scene, each also with the true masks."""
    from terrascope.model import GenerationSettings

    asks = []
    for question in questions:
        ask = Ask(scene=scene, question=question.text, options=question.options)
        truths = tuple(step.mask for step in question.trace.grounded_steps if step.mask is not None)
        asks += [ask, replace(ask, masks=truths)]
    answers = []
    for answer in _load(model).ask_many(asks, settings=GenerationSettings(choice_rule=rule)):
        if isinstance(answer, TerraScopeError):
            raise answer
        answers.append(answer)
    return [
        Reply(
            answer=answer.text,
            masks=answer.masks,
            num_disagreements=answer.num_disagreements,
            oracle_answer=oracle.text,
        )
        for answer, oracle in zip(answers[::2], answers[1::2], strict=True)
    ]


def answer_in_parallel(model: str, rule: ChoiceRule | None, asked: Sequence[Asked], num_workers: int) -> list[Reply]:
    """The replies to all questions, in their order; neighbours that share a scene go to one worker together."""
    jobs = [list(group) for _, group in groupby(asked, key=lambda one: id(one.where.scene))]
    console = Console(stderr=True)
    replies: list[Reply] = []
    with (
        ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as executor,
        Progress(console=console, disable=not console.is_terminal) as progress,
    ):
        bar = progress.add_task("asking", total=len(asked))
        futures = [
            executor.submit(answer_all, model, rule, job[0].where.scene, [one.question for one in job]) for job in jobs
        ]
        for future in futures:
            replies += future.result()
            progress.update(bar, completed=len(replies))
    return replies


def score(asked: Asked, reply: Reply, forest_ids: NDArray[np.uint8] | None) -> report.Score:
    """One question's score; `forest_ids` are the forest's classes on the scene, where it was fitted for such scenes."""
    question, labelled = asked.question, asked.where.labelled
    truths = [step.mask for step in asked.steps if step.mask is not None]
    knowns = [labelled.measured((step.image or 1) - 1) for step in asked.steps]
    forest_steps: tuple[StepScore, ...] = ()
    if forest_ids is not None:
        names = [step.text.removeprefix("The ").rstrip(":") for step in asked.steps]
        forest_steps = score_steps([forest_ids == TERRASCOPE.id_of(name) for name in names], truths, knowns)
    return report.Score(
        source=asked.where.source,
        shown=asked.where.shown,
        task=question.task,
        group=asked.where.group,
        num_options=len(question.options),
        steps=score_steps(reply.masks, truths, knowns),
        forest_steps=forest_steps,
        right=is_right(question, reply.answer),
        oracle_right=is_right(question, reply.oracle_answer),
        disagrees=reply.num_disagreements > 0,
        unparsable=is_unparsable(question, reply.answer),
    )


def plan(data: Path, *, num_generated: int, per_cell: int, seed: int, limit: int | None) -> list[Asked]:
    """The questions of all sources and modalities, those of one scene together."""
    sources = [
        hls_scenes(data),
        ombria_scenes(data),
        generated_scenes("country", num_generated),
        generated_scenes("town", num_generated),
    ]
    everything: list[Asked] = []
    for number, source in enumerate(sources):
        scenes = list(source)
        for place, shown in enumerate(("optical", "sar", "both")):
            rng = np.random.default_rng([seed, number, place])
            asked = ask_tasks([scene for scene in scenes if scene.shown == shown], rng, per_cell=per_cell)
            if limit is not None:
                asked = [asked[int(i)] for i in sorted(rng.permutation(len(asked))[:limit])]
            everything += asked
    return everything


def fit_and_predict(data: Path, asked: Sequence[Asked], seed: int) -> dict[str, NDArray[np.uint8]]:
    """The forest's class ids of every HLS scene that is asked about, by the scene's name."""
    forest = fit_forest(read_all(HlsWorldCover(data / "hls-worldcover"), "train"), render, seed=seed)
    scenes: dict[str, ValidationScene] = {one.where.name: one.where for one in asked if one.where.source == "HLS"}
    return {name: predict_ids(forest, where.scene.observations[0], render) for name, where in scenes.items()}


def score_under_clouds(asked: Asked, reply: Reply, cloud: NDArray[np.bool_]) -> report.CloudScore:
    """The mask of one class against the ground: everywhere, under the clouds (bool `[H, W]`), and between them."""
    truths = [step.mask for step in asked.steps if step.mask is not None]
    places = {"everywhere": np.ones_like(cloud), "under clouds": cloud, "between clouds": ~cloud}
    scores = {name: score_steps(reply.masks, truths, [place])[0] for name, place in places.items() if place.any()}
    # Where little of the class lies under the clouds, a few pixels would decide.
    kept = {name: step.iou for name, step in scores.items() if step.coverage > MIN_COVERAGE}
    return report.CloudScore(shown=asked.where.shown, group=asked.where.group, iou=kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="nano, a folder, or a repository of the hub")
    parser.add_argument("--data", type=Path, default=default_data(), help="folder with hls-worldcover and ombria")
    parser.add_argument("--per-cell", type=int, default=16, help="questions per source, modality and task")
    parser.add_argument("--generated", type=int, default=40, help="generated scenes of each kind")
    parser.add_argument("--cloudy", type=int, default=16, help="generated scenes of the cloud comparison")
    parser.add_argument(
        "--choice-rule", choices=("letter", "nearest"), help="instead of the model's own rule for options"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="at most so many questions per source and modality, for a trial")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes, each on one thread")
    parser.add_argument("--out", type=Path, help="also write the report there: Markdown (.md) or numbers (.json)")
    arguments = parser.parse_args()
    if arguments.out is not None and arguments.out.suffix not in (".md", ".json"):
        parser.error(f"--out {arguments.out}: give a name that ends in .md or .json")
    if not (arguments.data / "hls-worldcover").is_dir():
        parser.error(f"--data {arguments.data}: no hls-worldcover in it; name the folder of the chips")
    try:
        locate(arguments.model)
    except ModelError as error:
        parser.error(f"--model: {error}")
    # The chips come without a place on the ground; their pixel size is known.
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    start = time.perf_counter()
    asked = plan(
        arguments.data,
        num_generated=arguments.generated,
        per_cell=arguments.per_cell,
        seed=arguments.seed,
        limit=arguments.limit,
    )
    predicted = fit_and_predict(arguments.data, asked, arguments.seed)
    num_cloudy = arguments.cloudy if arguments.limit is None else min(arguments.cloudy, arguments.limit)
    cloudy, samples = ask_under_clouds(num_cloudy, min_coverage=MIN_COVERAGE)
    replies = answer_in_parallel(arguments.model, arguments.choice_rule, [*asked, *cloudy], arguments.workers)
    made = report.Report(
        setting={
            "model": Path(arguments.model).name,
            "cpu": f"{cpu_name()}, {os.cpu_count()} cores, {arguments.workers} processes",
            **report.versions(),
            "seed": str(arguments.seed),
            "per_cell": str(arguments.per_cell) + (f", limit {arguments.limit}" if arguments.limit else ""),
            "seconds": f"{time.perf_counter() - start:.0f}",
        },
        seed=arguments.seed,
        scores=[
            score(one, reply, predicted.get(one.where.name))
            for one, reply in zip(asked, replies[: len(asked)], strict=True)
        ],
        clouds=[
            score_under_clouds(one, reply, samples[one.where.name].clouds[0])
            for one, reply in zip(cloudy, replies[len(asked) :], strict=True)
        ],
    )
    text = made.to_markdown()
    sys.stdout.write(text)
    if arguments.out is not None:
        if arguments.out.suffix == ".json":
            text = json.dumps(made.to_dict(), indent=2, allow_nan=False) + "\n"
        part = arguments.out.with_name(arguments.out.name + ".part")
        part.write_text(text, encoding="utf-8")
        os.replace(part, arguments.out)


if __name__ == "__main__":
    main()
