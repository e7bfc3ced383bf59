"""The scenes that `validate.py` asks about, as each modality shows them, and the questions that tasks make of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from terrascope.errors import ScaleError
from terrascope.landcover import TERRASCOPE
from terrascope.quantities import format_share
from terrascope.scene import LabelMap, Pair, Scene
from terrascope.sources.chips import Chip, read_all
from terrascope.sources.hls_worldcover import HlsWorldCover
from terrascope.sources.ombria import Ombria
from terrascope.sources.synthetic import SyntheticSample, make_sample
from terrascope.tasks import TASKS, LabelledScene, Question
from terrascope.trace import Step, Trace

VALIDATION_SEED = 1_000_000
"""Generated validation scenes begin here, as in `terrascope.training.pool`, which this file does not import (torch)."""

CLOUDY_SEED = VALIDATION_SEED + 10_000
CLOUD = TERRASCOPE.id_of("cloud")
MAX_PASSES = 4
CLOUD_TEMPLATE = "What percentage of the image is covered by {}?"

Shown = Literal["optical", "sar", "both"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ValidationScene:
    """A scene as one modality shows it, with its truth; `name` and `group` are the same for all modalities.

    `group` names the place: scenes of one place are resampled together.
    """

    source: str
    shown: Shown
    name: str
    group: str
    scene: Scene
    labelled: LabelledScene


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """A question about a validation scene."""

    where: ValidationScene
    question: Question

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.question.trace.grounded_steps


def show(scene: Scene, shown: Shown) -> Scene:
    """The scene with only its optical or only its SAR images, or with both."""
    return Scene(
        tuple(
            Pair(optical=None if shown == "sar" else pair.optical, sar=None if shown == "optical" else pair.sar)
            for pair in scene.pairs
        )
    )


def label(scene: Scene, labels: tuple[LabelMap, ...]) -> LabelledScene:
    """The truth on a scene's valid pixels and at its scale, if it has one."""
    try:
        pixel_size = scene.georeference.pixel_size(*scene.shape)
    except ScaleError:
        pixel_size = None
    valid = np.logical_and.reduce([pair.valid for pair in scene.pairs])
    return LabelledScene(labels=labels, valid=valid, pixel_size=pixel_size)


def label_generated(sample: SyntheticSample, shown: Shown) -> tuple[LabelMap, ...]:
    """A generated scene's truth: where only optical images are shown, clouds are part of the land cover.

    As in training (`terrascope.training.questions`), objects are the components of the masks.
    """
    maps = []
    for label_map, cloud in zip(sample.labels, sample.clouds, strict=True):
        if shown == "optical":
            ids = np.where(cloud, np.uint8(CLOUD), label_map.ids)
            label_map = replace(label_map, ids=ids, class_ids_known=(*label_map.class_ids_known, CLOUD))
        maps.append(replace(label_map, objects=None))
    return tuple(maps)


def chip_scenes(source: str, chips: Iterable[Chip]) -> Iterator[ValidationScene]:
    """The chips of a source, each as every modality that it has shows it."""
    for chip in chips:
        has_sar = chip.scene.pairs[0].sar is not None
        for shown in _modalities(has_sar):
            scene = show(chip.scene, shown)
            yield ValidationScene(
                source=source, shown=shown, name=f"{source} {chip.key}", group=f"{source} {chip.place}", scene=scene,
                labelled=label(scene, chip.labels),
            )  # fmt: skip


def hls_scenes(data: Path) -> Iterator[ValidationScene]:
    """The HLS validation chips."""
    return chip_scenes("HLS", read_all(HlsWorldCover(data / "hls-worldcover"), "val"))


def ombria_scenes(data: Path) -> Iterator[ValidationScene]:
    """The OMBRIA validation chips."""
    return chip_scenes("OMBRIA", read_all(Ombria(data / "ombria"), "val"))


def generated_scenes(kind: str, num: int, first_seed: int = VALIDATION_SEED) -> Iterator[ValidationScene]:
    """`num` generated scenes of a kind, `country` or `town`; by default the first validation scenes."""
    for seed in range(first_seed, first_seed + num):
        sample = make_sample(seed, kind=kind)
        for shown in _modalities(True):
            scene, name = show(sample.scene, shown), f"{kind} {seed}"
            yield ValidationScene(
                source=f"generated {kind}", shown=shown, name=name, group=name, scene=scene,
                labelled=label(scene, label_generated(sample, shown)),
            )  # fmt: skip


def ask_tasks(scenes: Sequence[ValidationScene], rng: np.random.Generator, *, per_cell: int) -> list[Asked]:
    """Up to `per_cell` questions of every task, half of them with options, sorted by scene.

    Every scene is asked once by every task that can and still needs questions; then they go round again.
    """
    asked: dict[tuple[str, bool], list[Asked]] = {(name, how): [] for name in TASKS for how in (True, False)}
    texts: set[tuple[str, str, tuple[str, ...]]] = set()
    for _ in range(MAX_PASSES):
        for number in rng.permutation(len(scenes)):
            where = scenes[int(number)]
            for name, task in TASKS.items():
                with_options = len(asked[name, True]) <= len(asked[name, False])
                if len(asked[name, with_options]) >= per_cell // 2 + (per_cell % 2 and with_options):
                    continue
                question = task.ask(where.labelled, rng, with_options=with_options)
                if question is None or (key := (where.name, question.text, tuple(sorted(question.options)))) in texts:
                    continue
                texts.add(key)
                asked[name, with_options].append(Asked(where=where, question=question))
    everything = [one for cell in asked.values() for one in cell]
    return sorted(everything, key=lambda one: one.where.name)


def ask_under_clouds(num: int, *, min_coverage: float) -> tuple[list[Asked], dict[str, SyntheticSample]]:
    """The same questions about cloudy scenes as optical images, SAR images and both show them.

    One for each land class that covers more than `min_coverage` of the ground. The truth is the ground for all three:
    who sees only the clouds has to guess. Returns the questions, and the generated scenes by name.
    """
    asked, samples = [], {}
    for seed in range(CLOUDY_SEED, CLOUDY_SEED + num):
        sample = make_sample(seed, kind="country", num_dates=1, cloudy=True)
        name = f"cloudy {seed}"
        samples[name] = sample
        for shown in _modalities(True):
            scene = show(sample.scene, shown)
            where = ValidationScene(
                source="cloudy", shown=shown, name=name, group=name, scene=scene, labelled=label(scene, sample.labels)
            )
            for class_id in sample.labels[0].class_ids_known:
                mask = sample.labels[0].mask(class_id)
                if mask.mean() > min_coverage:
                    asked.append(Asked(where=where, question=_coverage_question(class_id, mask)))
    return asked, samples


def _coverage_question(class_id: int, mask: np.ndarray) -> Question:
    land_class, share = TERRASCOPE[class_id], format_share(float(mask.mean()))
    step = Step(text=f"The {land_class.name}:", finding=f"It covers {share} of the image.", mask=mask)
    return Question(
        task="coverage",
        text=CLOUD_TEMPLATE.format(land_class.plural),
        options=(),
        trace=Trace(steps=(step,), answer=share),
        truth=share,
        value=100 * float(mask.mean()),
        unit="%",
    )


def _modalities(has_sar: bool) -> tuple[Shown, ...]:
    return ("optical", "sar", "both") if has_sar else ("optical",)
