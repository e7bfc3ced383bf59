"""What a model that knows nothing of our grammar is asked: the paper's one prompt for all of them (Appendix F.2).

The question, its options as lines "A. ...", and the sentence that asks for a letter alone. One optical image goes with
no further word. SAR is called SAR, since its picture is in false colours; several images are numbered; and where the
answer is a length or an area, the width of the image on the ground is told, as nothing in a picture tells it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terrascope.errors import QuestionError, ScaleError
from terrascope.quantities import format_distance
from terrascope.question import LETTERS, needs_scale
from terrascope.rasters.overlay import to_bytes
from terrascope.rasters.sensors import render_overview
from terrascope.scene import Observation, Scene

Picture = NDArray[np.uint8]
"""What is shown: uint8 `[H, W, 3]`."""

Several = Literal["images", "side-by-side", "one-by-one"]
"""How several images are shown: each in one turn, joined from left to right into one, or each in a turn of its own."""

SEVERAL: tuple[Several, ...] = get_args(Several)

MAX_SIDE = 1024
"""Longest side of a picture that is shown, in pixels, as most models reduce larger ones themselves."""

SEEN = "I see it."
"""What the model is taken to have said to an image that came in a turn of its own."""

_GAP_PX = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Turn:
    """One turn of a conversation.

    Attributes:
        role: who speaks.
        text: what is said.
        pictures: what is shown before it, in order.
    """

    role: Literal["user", "assistant"] = "user"
    text: str
    pictures: tuple[Picture, ...] = field(default=(), repr=False)


def guidance(num_options: int) -> str:
    """The paper's sentence that asks for a letter alone (Appendix F.2), with the letters that there are."""
    letters = LETTERS[:num_options]
    listed = " or ".join(letters) if num_options == 2 else f"{', '.join(letters[:-1])}, or {letters[-1]}"
    return f"Please respond with only the option letter ({listed}) corresponding to your answer."


def word_question(question: str, options: Sequence[str] = ()) -> str:
    """The question, its options as lines "A. ...", and the guidance; a free question as it is."""
    if not options:
        return question
    lines = (f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))
    return "\n".join([question, *lines, guidance(len(options))])


def check_several(several: str) -> Several:
    """One of `SEVERAL`.

    Raises:
        QuestionError: it is none of them.
    """
    for known in SEVERAL:
        if several == known:
            return known
    raise QuestionError(f"several images cannot be shown {several!r}; choose one of {', '.join(SEVERAL)}")


def make_turns(
    scene: Scene, question: str, options: Sequence[str] = (), *, several: Several = "images", max_side: int = MAX_SIDE
) -> tuple[Turn, ...]:
    """A question about a scene as a conversation; the last turn is the question, and the user's.

    Args:
        several: how the images are shown where there are several.
        max_side: longest side of a picture, in pixels; of several that are joined, of each.

    Raises:
        SceneError: an image cannot be shown.
    """
    pictures = tuple(to_bytes(render_overview(image, max_side)) for image in scene.observations)
    asked = "\n".join([*_width(scene, question, options), word_question(question, options)])
    names = _name_images(scene)
    if len(pictures) == 1:
        sar = ["The image is a SAR image."] if scene.observations[0].modality == "sar" else []
        return (Turn(text="\n".join([*sar, asked]), pictures=pictures),)
    if several == "side-by-side":
        told = f"The picture shows {len(pictures)} images of one place side by side. From left to right: "
        return (Turn(text=f"{told}{'; '.join(names)}.\n{asked}", pictures=(_join(pictures),)),)
    if several == "images":
        told = f"These are {len(pictures)} images of one place, in this order: "
        return (Turn(text=f"{told}{'; '.join(names)}.\n{asked}", pictures=pictures),)
    turns: list[Turn] = []
    for name, picture in zip(names[:-1], pictures[:-1], strict=True):
        turns += [Turn(text=f"This is {name}.", pictures=(picture,)), Turn(role="assistant", text=SEEN)]
    last = f"This is {names[-1]}, of the same place.\n{asked}"
    return (*turns, Turn(text=last, pictures=pictures[-1:]))


def to_png(picture: Picture) -> bytes:
    """A picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return file.getvalue()


def _name_images(scene: Scene) -> list[str]:
    """`image 1 (optical, 2024-05-01)`; both images of a date have its number."""
    return [
        f"image {number} ({_describe(image)})"
        for number, pair in enumerate(scene.pairs, 1)
        for image in pair.observations
    ]


def _describe(image: Observation) -> str:
    kind = "SAR" if image.modality == "sar" else "optical"
    return f"{kind}, {image.date.isoformat()}" if image.date else kind


def _width(scene: Scene, question: str, options: Sequence[str]) -> list[str]:
    if not needs_scale(question, options):
        return []
    height, width = scene.shape
    try:
        size = scene.georeference.pixel_size(height, width)
    except ScaleError:
        return []
    width_m, height_m = float(size.width_m[height // 2] * width), float(size.height_m.sum())
    return [f"An image is {format_distance(width_m)} wide and {format_distance(height_m)} high on the ground."]


def _join(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one height from left to right, white between them."""
    gap = np.full((pictures[0].shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=1)
