"""An answer as a notebook shows it: HTML that needs no script, keeps to itself, and stays small."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from terrascope.answer_files import name_masks
from terrascope.answer_json import describe_step
from terrascope.errors import TerraScopeError
from terrascope.question import LETTERS
from terrascope.rasters.named_mask import NamedMask
from terrascope.rasters.overlay import draw_overlay
from terrascope.report import (
    LOSSY_QUALITY,
    Picture,
    asset,
    color,
    data_uri,
    drawn,
    fill_in,
    first_of_pairs,
    first_shown,
    is_small,
    label,
    layer,
    take_pictures,
)

if TYPE_CHECKING:
    from terrascope.answer import Answer

_PICTURE_SIDE = 640
"""Longest side, in pixels, of a picture."""

_MAX_STEPS, _MAX_PICTURES, _MAX_CHARACTERS = 24, 12, 600
"""Steps and pictures that are shown, and characters of one text; the files of an answer hold all."""

_PICTURES_BUDGET, _LAYERS_BUDGET, _SHEET_BUDGET = 170_000, 70_000, 60_000
"""Characters of all pictures, of all masks, and of the sheet for viewers that drop styles."""

_SHRINKING = 0.75

_SHEET_WIDTH, _SHEET_STEPS, _CAPTION = 900, 8, 160
"""The sheet's width in pixels, the steps on it, and characters of a caption."""


def to_html(answer: Answer) -> str:
    """The answer as a piece of HTML: pictures with a mask for every step, texts, numbers, warnings.

    It has no script, as viewers of notebooks drop those of others. Where a viewer drops styles too, the pictures come
    as one sheet. Its styles bear on nothing else; colours are those around it. What cannot be read is said in words.
    """
    masks = name_masks(answer)[:_MAX_STEPS]
    notes = list(answer.notes)
    try:
        shown = _shown(take_pictures(answer.scene, _PICTURE_SIDE)[:_MAX_PICTURES], masks)
    except TerraScopeError as error:
        # A scene outlives its files; the answer is still worth reading.
        shown = {"pictures": [], "layers": [], "first": 0, "sheet": None}
        notes.append(f"No pictures: {error}")
    steps = [describe_step(n, step, answer.scene) for n, step in enumerate(answer.steps[:_MAX_STEPS], 1)]
    scope = f"terrascope-{secrets.token_hex(4)}"
    html = fill_in(
        "answer_display.html.jinja",
        **shown,
        scope=scope,
        style=asset("answer_display.css").replace(".terrascope-answer", f".{scope}"),
        model=answer.model,
        question=_clipped(answer.question),
        options=[_clipped(option) for option in answer.options],
        letters=LETTERS,
        answer=_clipped(answer.text),
        option=answer.option if answer.option is None else _clipped(answer.option),
        measured=answer.measured,
        num_disagreements=answer.num_disagreements,
        notes=[_clipped(note) for note in notes[:_MAX_STEPS]],
        introduction=_clipped(" ".join(step.text for step in answer.trace.steps if not step.grounded)),
        conclusion=_clipped(answer.trace.conclusion),
        steps=[_with_short_texts(step) for step in steps],
        num_left_out=len(answer.steps) - len(steps),
        colors=[color(mask) for mask in masks],
        has_both={pair.optical is not None and pair.sar is not None for pair in answer.scene.pairs} == {True},
        num_images=len(answer.scene.pairs),
    )
    # A lone surrogate, which the name of a file may hold, stops the notebook's messages.
    return html.encode(errors="replace").decode()


def _shown(pictures: Sequence[Picture], masks: Sequence[NamedMask]) -> dict[str, Any]:
    """The pictures, the masks on them, and both as one sheet, each as the address of an image."""
    reduced = [mask.reduced(pictures[0].valid.shape) for mask in masks]
    images = {picture.image for picture in pictures}
    on_pictures = [mask for mask in reduced if mask.properties["image"] in images]
    return {
        "pictures": [
            {
                "image": picture.image,
                "label": label(picture, pictures),
                "width": picture.valid.shape[1],
                "height": picture.valid.shape[0],
                "is_small": is_small(picture),
                "data": _first_within(_PICTURES_BUDGET // len(pictures), _encodings(drawn(picture), is_small(picture))),
            }
            for picture in pictures
        ],
        "layers": [_first_within(_LAYERS_BUDGET // len(masks), _ever_coarser(mask)) for mask in reduced],
        "first": first_shown(pictures, on_pictures),
        "sheet": _sheet(pictures, on_pictures[:_SHEET_STEPS]),
    }


def _sheet(pictures: Sequence[Picture], masks: Sequence[NamedMask]) -> str:
    captioned = [
        replace(
            mask,
            name=_clipped(mask.name, _CAPTION),
            properties={**mask.properties, "text": _clipped(mask.properties["text"], _CAPTION)},
        )
        for mask in masks
    ]
    sheet = draw_overlay(first_of_pairs(pictures), captioned)
    if sheet.width > _SHEET_WIDTH:
        height = round(sheet.height * _SHEET_WIDTH / sheet.width)
        sheet = sheet.resize((_SHEET_WIDTH, height), Image.Resampling.LANCZOS)
    return _first_within(_SHEET_BUDGET, _encodings(sheet))


def _first_within(budget: int, candidates: Iterator[str]) -> str:
    """The first that is no longer than the budget, else the last."""
    candidate = ""
    for candidate in candidates:
        if len(candidate) <= budget:
            break
    return candidate


def _encodings(image: Image.Image, lossless: bool = False) -> Iterator[str]:
    if lossless:
        yield data_uri(image, "PNG", optimize=True)
    while True:
        yield data_uri(image, "WEBP", quality=LOSSY_QUALITY)
        size = tuple(max(1, round(side * _SHRINKING)) for side in image.size)
        if size == image.size:
            return
        image = image.resize((size[0], size[1]), Image.Resampling.BOX)


def _ever_coarser(mask: NamedMask) -> Iterator[str]:
    while True:
        yield layer(mask)
        height, width = (max(1, round(side * _SHRINKING)) for side in mask.mask.shape)
        if (height, width) == mask.mask.shape:
            return
        mask = mask.reduced((height, width))


def _clipped(text: str, max_characters: int = _MAX_CHARACTERS) -> str:
    return text if len(text) <= max_characters else text[: max_characters - 1] + "…"


def _with_short_texts(step: Mapping[str, Any]) -> dict[str, Any]:
    messages = [_clipped(disagreement["message"]) for disagreement in step["disagreements"][:_MAX_STEPS]]
    return {**step, "text": _clipped(step["text"]), "finding": _clipped(step["finding"]), "warnings": messages}
