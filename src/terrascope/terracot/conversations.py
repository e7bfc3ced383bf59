"""Samples as conversations for other models (paper, Appendix F.2): three forms, in the formats of three trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from terrascope import masks
from terrascope.sample import Sample, SampleImage
from terrascope.sources.records import EXTRA, IMAGE, join_prompt, pack
from terrascope.terracot.without_masks import SPECIAL, answer_alone, think_without_masks

Form = Literal["plain", "thinking", "grounded"]
"""Question and answer; with the reasoning, but without [SEG]; with everything."""

FORMS: tuple[Form, ...] = ("plain", "thinking", "grounded")

Format = Literal["internvl", "llava", "terrascope"]
"""Whose training reads it: InternVL's (JSON lines), LLaVA's (a JSON list), TerraScope's authors' (JSON lists)."""

FORMATS: tuple[Format, ...] = ("internvl", "llava", "terrascope")


@dataclass(frozen=True, kw_only=True)
class ImageNames:
    """The pictures of a sample's scene, as a record names them.

    Attributes:
        images: one name for every image of the sample, in its order.
        dates: the authors' name of each date; its optical and its SAR picture share it.
    """

    images: tuple[str, ...]
    dates: tuple[str, ...]


def answer_in(form: Form, sample: Sample) -> str | None:
    """What the model shall say; None where the form has nothing to say: a mask that is asked for is no text."""
    if form == "grounded":
        return sample.reasoning
    if sample.level == "referring":
        return None
    return answer_alone(sample.reasoning) if form == "plain" else think_without_masks(sample.reasoning)


def to_record(sample: Sample, form: Form, file_format: Format, names: ImageNames) -> dict[str, Any] | None:
    """The sample as a record of a training file; None where the form has nothing to say of it.

    Grounded records come back whole through `terrascope.sources.terracot_json.read_samples`. InternVL's and LLaVA's
    trainings pass over `masks` and `terrascope`.
    """
    answer = answer_in(form, sample)
    if answer is None:
        return None
    of_authors = file_format == "terrascope"
    question = sample.question if form == "grounded" else SPECIAL.sub("", sample.question).strip()
    prompt = join_prompt([IMAGE] if of_authors else image_lines(sample.images), question, sample.options)
    record: dict[str, Any] = {"id": sample.id}
    record |= _images_of_authors(names) if of_authors else {"image": _one_or_list(names.images)}
    if file_format == "internvl":
        record |= _sides(sample, len(names.images))
    record["conversations"] = [{"from": "human", "value": prompt}, {"from": "gpt", "value": answer}]
    if form == "grounded":
        record["masks"] = _both_dates(sample) if "pre_image" in record else _codes(sample)
        record[EXTRA] = pack(sample, prompt)
    return record


def image_lines(images: Sequence[SampleImage]) -> list[str]:
    """What stands before a question: the image, or every image with its number, day and kind."""
    if len(images) == 1:
        return [IMAGE]
    lines = []
    for image in images:
        day = f" {image.day}" if image.day else ""
        lines.append(f"Image: {image.number}{day} {image.modality} {IMAGE}")
    return lines


def layout_of(sample: Sample) -> Literal["single", "temporal", "sar"]:
    """Which of the authors' layouts holds a sample: they are read by different classes of their training."""
    if sample.num_dates > 1:
        return "temporal"
    return "sar" if {image.modality for image in sample.images} == {"optical", "sar"} else "single"


def _images_of_authors(names: ImageNames) -> dict[str, Any]:
    if len(names.dates) == 2:
        return {"pre_image": names.dates[0], "post_image": names.dates[1]}
    return {"image": _one_or_list(names.dates)}


def _sides(sample: Sample, num_images: int) -> dict[str, Any]:
    if num_images == 1:
        return {"width": sample.width, "height": sample.height}
    return {"width_list": [sample.width] * num_images, "height_list": [sample.height] * num_images}


def _codes(sample: Sample) -> list[list[dict[str, Any]]]:
    size = [sample.height, sample.width]
    return [[{"size": size, "counts": mask.counts}] for mask in sample.masks]


def _both_dates(sample: Sample) -> list[list[dict[str, Any]]]:
    """The authors segment every [SEG] in both images: on the one that it does not point at, its mask is empty."""
    nothing = [masks.encode_rle(np.zeros((sample.height, sample.width), bool))]
    codes = _codes(sample)
    return [
        code if mask.image == date else nothing
        for date in (1, 2)
        for code, mask in zip(codes, sample.masks, strict=True)
    ]


def _one_or_list(names: Sequence[str]) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)
