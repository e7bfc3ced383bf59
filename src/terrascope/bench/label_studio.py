"""What experts see in Label Studio, and what they give back: labelling configuration, tasks, JSON exports.

A project holds questions whose scenes have the same images, as Label Studio wants every task to have them all. The
first image of each date carries the masks as brushes; the others are there to look at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from terrascope.bench.brush import decode_brush, encode_brush
from terrascope.errors import SampleError
from terrascope.landcover import NOMENCLATURES, TERRASCOPE
from terrascope.masks import Mask
from terrascope.sample import Sample
from terrascope.trace import LETTERS

RATINGS = ("low", "medium", "high")
"""The three-point scale of quality (paper, Appendix D, Stage 3)."""

CHECKS: Mapping[str, str] = {
    "masks": "The masks, as they are drawn now, show what they are said to show.",
    "answer": "The answer follows from the masks; where they were corrected, it will be computed again.",
    "distractors": "The wrong options are plausible, but clearly wrong.",
    "clarity": "The question is unambiguous, and can be answered from the images.",
}
"""What experts check before they rate, by name (paper, Appendix D, Stage 3)."""

YES, NO = "yes", "no"

BENCHMARK, QUESTION = "benchmark", "question_id"
"""Fields of a task by which its annotations are taken back: the benchmark's digest, and the question's id."""

NO_RATING = "a rating is missing"
WRONG_SIZE = "a brush of another size"
BAD_BRUSH = "a brush that cannot be read"
STRAY_BRUSH = "a brush of a class that is not asked about"

_QUALITY, _REMARKS, _TRUTH = "quality", "remarks", "truth"

Layout = tuple[tuple[int, str], ...]
"""The images of a project: number of the date (from 1) and modality of each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotation:
    """What one expert says of one question.

    Attributes:
        expert: who.
        rating: one of `RATINGS`; None where it is missing, or the task was skipped.
        failed: the checks of `CHECKS` that were answered with no.
        masks: by image (from 1) and class, what the expert left of the masks or drew; those that are not there were
            left as they were.
        remarks: in the expert's own words.
        fault: in fixed words, why the annotation cannot be used; None if it can.
    """

    expert: str
    rating: str | None = None
    failed: tuple[str, ...] = ()
    masks: Mapping[tuple[int, str], Mask] = field(default_factory=dict)
    remarks: str = ""
    fault: str | None = None


def layout_of(samples: Iterable[Sample]) -> Layout:
    """All images that the versions of a question show, date by date, optical before SAR."""
    return tuple(sorted({(image.number, image.modality) for sample in samples for image in sample.images}))


def name_layout(layout: Layout) -> str:
    """`optical1_sar1`, as folders and files may be called."""
    return "_".join(f"{modality}{number}" for number, modality in layout)


def write_config(layout: Layout, classes: Sequence[str]) -> str:
    """The labelling configuration of a project, as XML."""
    view = ElementTree.Element("View")
    for place, level in (("$question", "3"), ("$options", "5"), ("$answer", "5")):
        ElementTree.SubElement(view, "Header", value=place, size=level)
    colors = {land.name: land.color for known in (*NOMENCLATURES.values(), TERRASCOPE) for land in known.classes}
    for number, modality in layout:
        name = _image_name(number, modality)
        ElementTree.SubElement(view, "Header", value=f"Image {number}, {modality}", size="6")
        ElementTree.SubElement(view, "Image", name=name, value=f"${name}", zoom="true", zoomControl="true")
        if name != _brushed(layout, number):
            continue
        labels = ElementTree.SubElement(view, "BrushLabels", name=f"masks{number}", toName=name)
        for class_name in classes:
            label = ElementTree.SubElement(labels, "Label", value=class_name)
            if class_name in colors:
                label.set("background", f"#{bytes(colors[class_name]).hex()}")
    first = _image_name(*layout[0])
    for name, statement in CHECKS.items():
        ElementTree.SubElement(view, "Header", value=statement, size="6")
        _add_choices(view, name, first, (YES, NO), required=False)
    ElementTree.SubElement(view, "Header", value="Quality of this sample", size="6")
    _add_choices(view, _QUALITY, first, RATINGS, required=True)
    ElementTree.SubElement(view, "TextArea", name=_REMARKS, toName=first, placeholder="Remarks", maxSubmissions="1")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def write_task(sample: Sample, layout: Layout, *, name: str, digest: str, images: Sequence[str]) -> dict[str, Any]:
    """A question as a task with its true masks as a prediction.

    Args:
        sample: any version of the question.
        layout: the images of the project.
        name: the question's id.
        digest: of the benchmark.
        images: address of each image of the layout.
    """
    options = [f"{letter}. {text}" for letter, text in zip(LETTERS, sample.options, strict=False)]
    results = []
    for place, mask in enumerate(sample.masks):
        results.append(
            {
                "id": f"{_TRUTH}{place + 1}",
                "type": "brushlabels",
                "from_name": f"masks{mask.image}",
                "to_name": _brushed(layout, mask.image),
                "original_width": sample.width,
                "original_height": sample.height,
                "image_rotation": 0,
                "value": {
                    "format": "rle",
                    "rle": encode_brush(sample.mask(place)),
                    "brushlabels": [mask.class_name],
                },
            }
        )
    right = f"{sample.answer}. {sample.truth}" if sample.options else sample.truth
    data = {
        QUESTION: name,
        BENCHMARK: digest,
        "task": sample.task,
        "question": sample.question,
        "options": " | ".join(options),
        "answer": f"Right answer: {right}",
        **{_image_name(*image): address for image, address in zip(layout, images, strict=True)},
    }
    return {"data": data, "predictions": [{"model_version": _TRUTH, "score": 1.0, "result": results}]}


def read_export(
    path: Path, samples: Mapping[str, Sample], digest: str, *, number: int = 1
) -> Iterator[tuple[str, Annotation]]:
    """The annotations of a JSON export, each with the id of its question; of one expert on one question the last.

    An expert is known by the address that the export gives; where it gives a number alone, by the file, too, as every
    installation of Label Studio counts from 1.

    Args:
        samples: a version of each question of the benchmark, by the question's id.
        digest: of the benchmark.
        number: of the file among those that are read together.

    Raises:
        SampleError: it is no such export, or one of another benchmark.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SampleError(f"{path}: not found; give the JSON export of a Label Studio project") from None
    except (OSError, ValueError, RecursionError):
        tasks = None
    if not isinstance(tasks, list) or not all(_is_task(task) for task in tasks):
        raise SampleError(f"{path}: not a JSON export of Label Studio; export the project in the format JSON")
    for task in tasks:
        data = task["data"]
        if not isinstance(data.get(QUESTION), str) or BENCHMARK not in data:
            raise SampleError(f"{path}: holds tasks of another project; export one that was made from a benchmark")
        if data[BENCHMARK] != digest:
            raise SampleError(f"{path}: reviews another benchmark; give the folder that its tasks were exported from")
        sample = samples.get(data[QUESTION])
        if sample is None:
            raise SampleError(f"{path}: the benchmark has no question {data[QUESTION]!r}; give an export of its tasks")
        latest: dict[str, dict[str, Any]] = {}
        for annotation in sorted(task["annotations"], key=_time_of):
            latest[_expert(annotation, path, number)] = annotation
        for expert, annotation in latest.items():
            yield data[QUESTION], _read_annotation(annotation, sample, expert)


def _is_task(task: Any) -> bool:
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        return False
    annotations = task.get("annotations")
    return isinstance(annotations, list) and all(isinstance(one, dict) and _has_results(one) for one in annotations)


def _has_results(annotation: Mapping[str, Any]) -> bool:
    results = annotation.get("result")
    return results is None or (isinstance(results, list) and all(isinstance(one, dict) for one in results))


def _texts(value: Any) -> list[str]:
    """The texts of a list, or the one that stands there by itself; none of anything else."""
    return [value] if isinstance(value, str) else [str(one) for one in value] if isinstance(value, list) else []


def _time_of(annotation: Mapping[str, Any]) -> str:
    # ISO 8601 in one time zone, as Label Studio writes it, sorts as text.
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _expert(annotation: Mapping[str, Any], path: Path, number: int) -> str:
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        if who.get("email"):
            return str(who["email"])
        who = who.get("id")
    return f"{path.stem} ({number}): {who}"


def _read_annotation(annotation: Mapping[str, Any], sample: Sample, expert: str) -> Annotation:
    if annotation.get("was_cancelled"):
        return Annotation(expert=expert)
    rating, remarks, fault = None, "", None
    failed: list[str] = []
    drawn: dict[tuple[int, str], Mask] = {}
    for result in annotation.get("result") or ():
        kind, name, value = result.get("type"), str(result.get("from_name")), result.get("value")
        value = value if isinstance(value, dict) else {}
        if kind == "choices":
            chosen = _texts(value.get("choices"))
            if name == _QUALITY and len(chosen) == 1 and chosen[0] in RATINGS:
                rating = chosen[0]
            elif name in CHECKS and NO in chosen:
                failed.append(name)
        elif kind == "textarea" and name == _REMARKS:
            remarks = " ".join(_texts(value.get("text")))
        elif kind in ("brushlabels", "brush"):
            found = _read_brush(result, value, sample)
            if isinstance(found, str):
                fault = fault or found
                continue
            key, mask = found
            drawn[key] = drawn[key] | mask if key in drawn else mask
    return Annotation(
        expert=expert,
        rating=rating,
        failed=tuple(sorted(failed)),
        masks=drawn,
        remarks=remarks,
        fault=fault,
    )


def _read_brush(
    result: Mapping[str, Any], value: Mapping[str, Any], sample: Sample
) -> tuple[tuple[int, str], Mask] | str:
    """Image, class and mask of a brush; or what is wrong with it."""
    labels = _texts(value.get("brushlabels"))
    asked = {f"masks{mask.image}": mask.image for mask in sample.masks}
    image = asked.get(str(result.get("from_name")))
    key = (image or 0, labels[0] if len(labels) == 1 else "")
    if key not in {(mask.image, mask.class_name) for mask in sample.masks}:
        return STRAY_BRUSH
    if (result.get("original_height"), result.get("original_width")) != (sample.height, sample.width):
        return WRONG_SIZE
    try:
        return key, decode_brush(value.get("rle") or (), (sample.height, sample.width))
    except SampleError:
        return BAD_BRUSH


def _add_choices(view: ElementTree.Element, name: str, to_name: str, values: Sequence[str], *, required: bool) -> None:
    choices = ElementTree.SubElement(view, "Choices", name=name, toName=to_name, choice="single", showInline="true")
    if required:
        choices.set("required", "true")
        choices.set("requiredMessage", "Please rate the sample.")
    for value in values:
        ElementTree.SubElement(choices, "Choice", value=value)


def _image_name(number: int, modality: str) -> str:
    return f"{modality}{number}"


def _brushed(layout: Layout, number: int) -> str:
    """The image of a date that carries its masks."""
    return next(_image_name(*image) for image in layout if image[0] == number)
