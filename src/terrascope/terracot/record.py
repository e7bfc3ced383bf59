"""From a chip to what is kept of it: the samples that were asked of it, and a note of the chip itself."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from terrascope import masks, trace
from terrascope.errors import ScaleError
from terrascope.landcover import UNLABELLED
from terrascope.sample import Labels, Level, Sample, SampleImage, SampleMask
from terrascope.scene import LabelMap, Observation
from terrascope.sources.chips import Chip, Origin
from terrascope.tasks import Question

LonLat = tuple[float, float]

_EDGE_DECIMALS = 7
"""Decimals of a degree that footprints keep: a centimetre."""

_METRES_PER_DEGREE = 111_320.0

_TELLING_SHARE = 0.05
"""A label map can be told from others by its content where its largest class leaves at least this share to others."""


@dataclass(frozen=True, kw_only=True)
class ChipRecord:
    """What a data set notes of a chip: enough to find it again, whatever it is called elsewhere.

    Attributes:
        source, key, place: as its samples have them.
        num_measured: pixels measured and labelled, per date: what its shares are shares of.
        contents: fingerprints of its images and label maps; those that are all of one value or class are left out, as
            they are alike wherever they were made.
        footprint: longitude and latitude of its four corners, in order; None where its place is unknown.
        origins: what it was before it was exported and read again.
    """

    source: str
    key: str
    place: str
    num_measured: tuple[int, ...] = ()
    contents: tuple[str, ...] = ()
    footprint: tuple[LonLat, ...] | None = None
    origins: tuple[Origin, ...] = ()

    @property
    def name(self) -> str:
        """`source/key`, as messages name it."""
        return f"{self.source}/{self.key}"

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Its data set and place there, under every name that is known of it."""
        return ((self.source, self.place), *((origin.source, origin.place) for origin in self.origins))

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        if not self.origins:
            # As nearly everywhere.
            del values["origins"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ChipRecord:
        corners = values["footprint"]
        return cls(
            source=values["source"],
            key=values["key"],
            place=values["place"],
            num_measured=tuple(values["num_measured"]),
            contents=tuple(values["contents"]),
            footprint=None if corners is None else tuple((lon, lat) for lon, lat in corners),
            origins=tuple(Origin(*origin) for origin in values.get("origins", ())),
        )


def record_chip(chip: Chip) -> ChipRecord:
    """The note of a chip."""
    measured = [masks.count(chip.labelled.measured(date)) for date in range(len(chip.labels))]
    contents = [_image_content(image) for image in chip.scene.observations if _varies(image)]
    contents += [_label_content(labels) for labels in chip.labels if _is_telling(labels)]
    return ChipRecord(
        source=chip.source,
        key=chip.key,
        place=chip.place,
        num_measured=tuple(measured),
        contents=tuple(sorted(set(contents))),
        footprint=_footprint(chip),
        origins=chip.origins,
    )


def to_sample(
    chip: Chip,
    question: Question,
    *,
    level: Level,
    number: int,
    writer: str = "templates",
    labels: Labels = "annotated",
    root: Path | None = None,
) -> Sample:
    """A question about a chip as a record of the data set.

    Args:
        level: of the data set.
        number: of the question among those of its level on this chip, from 1.
        writer: what worded it: `templates`, `composer`, or the name of a language model.
        labels: where its masks come from.
        root: the folder of the source: files are named from there, as no one else has our folders.

    Raises:
        ValueError: a grounded step has no mask, or there is not one class for every grounded step.
    """
    steps = question.trace.grounded_steps
    if len(question.classes) != len(steps):
        raise ValueError(f"{question.task}: {len(question.classes)} classes for {len(steps)} grounded steps")
    images = trace.resolve_images(question.trace, len(chip.scene.pairs))
    pointed = []
    for step, image, name in zip(steps, images, question.classes, strict=True):
        if step.mask is None:
            raise ValueError(f"{question.task}: the step {step.text!r} has no mask")
        pointed.append(SampleMask(counts=masks.encode_rle(step.mask)["counts"], image=image, class_name=name))
    height, width = chip.scene.shape
    ground = _ground(chip)
    return Sample(
        id=f"{chip.source}/{chip.key}/{level}/{number}",
        level=level,
        task=question.task,
        source=chip.source,
        key=chip.key,
        place=chip.place,
        split=chip.split,
        images=sample_images(chip, root),
        height=height,
        width=width,
        gsd_m=ground.gsd_m,
        lon=ground.lonlat[0] if ground.lonlat else None,
        lat=ground.lonlat[1] if ground.lonlat else None,
        country=chip.country,
        question=question.text,
        options=question.options,
        reasoning=trace.render(question.trace),
        masks=tuple(pointed),
        truth=question.truth,
        value=None if question.value is None else float(question.value),
        unit=question.unit,
        writer=writer,
        labels=labels,
    )


def to_question(sample: Sample) -> Question:
    """The question of a sample, its masks at their steps.

    Raises:
        SampleError: there are not as many masks as [SEG]s.
        SceneError: a mask does not fill the grid.
    """
    return Question(
        task=sample.task,
        text=sample.question,
        options=sample.options,
        trace=sample.trace(),
        truth=sample.truth,
        value=sample.value,
        unit=sample.unit,
        classes=tuple(mask.class_name for mask in sample.masks),
    )


def sample_images(chip: Chip, root: Path | None = None) -> tuple[SampleImage, ...]:
    """The images of a chip, by date; files are named from `root` on, and others without their folders."""
    return tuple(
        SampleImage(
            number=number,
            modality=image.modality,
            sensor=image.sensor,
            day=image.date.isoformat() if image.date else None,
            file=_file_of(image, root),
        )
        for number, pair in enumerate(chip.scene.pairs, 1)
        for image in pair.observations
    )


@dataclass(frozen=True, kw_only=True)
class _Ground:
    gsd_m: float | None
    lonlat: LonLat | None


@lru_cache(maxsize=8)
def _ground(chip: Chip) -> _Ground:
    """Scale and place of a chip, found once for all its samples."""
    height, width = chip.scene.shape
    size = chip.labelled.pixel_size
    gsd_m = None if size is None else math.sqrt(float(size.area_m2[height // 2]))
    return _Ground(gsd_m=gsd_m, lonlat=chip.lonlat or next(iter(_lonlat(chip, [width / 2], [height / 2])), None))


def _lonlat(chip: Chip, x: Sequence[float], y: Sequence[float]) -> list[LonLat]:
    """Longitude and latitude of pixel coordinates; none where the place of the chip is unknown."""
    georeference = chip.scene.georeference
    if not georeference.is_located:
        return []
    try:
        lon, lat = georeference.to_lonlat(x, y)
    except ScaleError:
        return []
    return [(round(float(a), _EDGE_DECIMALS), round(float(b), _EDGE_DECIMALS)) for a, b in zip(lon, lat, strict=True)]


def _footprint(chip: Chip) -> tuple[LonLat, ...] | None:
    height, width = chip.scene.shape
    corners = _lonlat(chip, [0, width, width, 0], [0, 0, height, height])
    if corners:
        return tuple(corners)
    ground = _ground(chip)
    return box_around(ground.lonlat, ground.gsd_m, chip.scene.shape)


def box_around(
    center: LonLat | None, gsd_m: float | None, shape: tuple[int, int]
) -> tuple[LonLat, LonLat, LonLat, LonLat] | None:
    """Corners of a north-up image of `shape` (height, width) around its centre; None where centre or scale is unknown.

    Good to about a percent of the image's side, and not at the poles.
    """
    if center is None or gsd_m is None:
        return None
    lon, lat = center
    down = shape[0] / 2 * gsd_m / _METRES_PER_DEGREE
    right = shape[1] / 2 * gsd_m / (_METRES_PER_DEGREE * max(math.cos(math.radians(lat)), 0.01))
    return (
        (lon - right, lat + down),
        (lon + right, lat + down),
        (lon + right, lat - down),
        (lon - right, lat - down),
    )


def _image_content(image: Observation) -> str:
    digest = hashlib.blake2b(repr(image.pixels.shape).encode(), digest_size=8)
    for _, pixels in image.parts():
        digest.update(np.ascontiguousarray(pixels).data)
    return f"image:{digest.hexdigest()}"


def _varies(image: Observation) -> bool:
    first = None
    for _, pixels in image.parts():
        first = pixels[:, 0, 0] if first is None else first
        if (pixels != first[:, None, None]).any():
            return True
    return False


def _label_content(labels: LabelMap) -> str:
    digest = hashlib.blake2b(repr((labels.nomenclature.name, labels.ids.shape)).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(labels.ids).data)
    return f"labels:{digest.hexdigest()}"


def _is_telling(labels: LabelMap) -> bool:
    """True unless the map is nearly all of one class."""
    counts = np.bincount(labels.ids.ravel(), minlength=256)
    known = int(counts.sum() - counts[UNLABELLED])
    counts[UNLABELLED] = 0
    return known > 0 and float(counts.max()) <= (1 - _TELLING_SHARE) * known


def _file_of(image: Observation, root: Path | None) -> str:
    path = Path(image.source)
    if root is not None and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.name if path.is_absolute() else image.source
