"""Samples as a page or a picture for people: every mask on its scene, beside the words that it belongs to."""

from __future__ import annotations

import base64
import heapq
import io
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terrascope.errors import OutputError, SampleError
from terrascope.output import written_whole
from terrascope.quantities import format_area, format_coverage
from terrascope.question import LETTERS
from terrascope.rasters.lettering import Color, draw_line, wrap_lines
from terrascope.rasters.named_mask import NamedMask
from terrascope.rasters.overlay import BLIND, draw_overlay
from terrascope.sample import Level, Sample
from terrascope.terracot.drawing import Drawn, draw
from terrascope.terracot.pictures import Read
from terrascope.trace import SEG

SHARP_SIDE = 320
"""A smaller picture is shown enlarged, pixel by pixel, and kept without loss."""

_LOSSY_QUALITY = 85
_TAGS = re.compile(r"</?(?:think|answer)>")
_PAPER, _INK, _PALE_INK, _ACCENT = (250, 250, 248), (24, 26, 30), (92, 96, 104), (11, 98, 168)
_GAP, _LINE, _TEXT_SIZE, _HEAD_SIZE = 18, 21, 14, 17


def choose_samples(
    samples: Iterable[Sample],
    *,
    sample_id: str | None = None,
    level: Level | None = None,
    task: str | None = None,
    source: str | None = None,
    num: int = 1,
    seed: int | None = None,
) -> list[Sample]:
    """The samples to be shown: of an id, a level, a task and a source, all where None.

    Args:
        num: how many.
        seed: draws them at random, in one pass; the first ones where None.

    Raises:
        SampleError: there is none.
    """
    wanted = {"id": sample_id, "level": level, "task": task, "source": source}
    found = (s for s in samples if all(value in (None, getattr(s, name)) for name, value in wanted.items()))
    if seed is None:
        chosen = list(islice(found, num))
    else:
        # The smallest of random numbers, one a sample: each is as likely to be chosen, however many there are.
        rng = np.random.default_rng(seed)
        drawn = heapq.nsmallest(num, ((rng.random(), place, s) for place, s in enumerate(found)))
        chosen = [sample for _, _, sample in sorted(drawn, key=lambda entry: entry[1])]
    if not chosen:
        asked = ", ".join(f"{name} {value}" for name, value in wanted.items() if value is not None)
        raise SampleError(f"no sample{f' with {asked}' if asked else ''}; 'terrascope data stats' tells what there is")
    return chosen


def show(samples: Sequence[Sample], path: Path, *, read: Read | None = None, title: str = "Terra-CoT") -> None:
    """Draw samples as one self-contained page (`.html`) or one picture (`.png`).

    Args:
        read: gives the chip of a source's name and a key; without it, and where it cannot, masks are drawn alone.
        title: of the page.

    Raises:
        SampleError: a sample has not one mask for every [SEG].
        SceneError: a mask does not fill the grid.
        OutputError: the file cannot be written, or its name ends otherwise.
    """
    if path.suffix.lower() not in (".html", ".png"):
        raise OutputError(f"{path}: samples are drawn as .html or .png; give a name that ends so")
    drawn = [draw(sample, read) for sample in samples]
    if path.suffix.lower() == ".html":
        page = _page(drawn, title)
        with written_whole(path) as unfinished:
            unfinished.write_text(page, encoding="utf-8", errors="replace")
        return
    with written_whole(path) as unfinished:
        Image.fromarray(_sheet(drawn)).save(unfinished, format="PNG")


# ---------------------------------------------------------------------------------------------------------------------
# The page.


def _page(drawn: Sequence[Drawn], title: str) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template, *styles = (_asset(name) for name in ("samples.html.jinja", "report.css", "samples.css"))
    told = [_told(entry) for entry in drawn]
    return environment.from_string(template).render(title=title, style="\n".join(styles), samples=told, letters=LETTERS)


def _asset(name: str) -> str:
    return (resources.files("terrascope") / "assets" / name).read_text(encoding="utf-8")


def _told(drawn: Drawn) -> dict[str, Any]:
    """What the template says of a sample."""
    sample = drawn.sample
    thought, _, _ = sample.reasoning.partition("<answer>")
    height, width = drawn.size
    return {
        "sample": sample,
        "note": drawn.note,
        "width": width,
        "height": height,
        "is_small": max(height, width) <= SHARP_SIDE,
        "pictures": [{"label": picture.label, "data": picture_uri(picture.pixels)} for picture in drawn.pictures],
        "masks": [
            {
                "layer": layer_uri(mask),
                "color": "#{:02x}{:02x}{:02x}".format(*mask.color),
                "name": mask.name,
                "picture": _picture_of(drawn, int(mask.properties["image"])),
                "facts": " · ".join(_facts(mask, sample)),
            }
            for mask in drawn.masks
        ],
        "thought": [_TAGS.sub("", part) for part in thought.split(SEG)],
        "facts": _provenance(sample),
    }


def _picture_of(drawn: Drawn, image: int) -> int | None:
    """The number (from 0) of the first picture of a date; None where there is none."""
    return next((place for place, picture in enumerate(drawn.pictures) if picture.image == image), None)


def _facts(mask: NamedMask, sample: Sample) -> list[str]:
    known = mask.properties
    facts = [f"image {known['image']}"] if sample.num_dates > 1 else []
    facts.append(format_coverage(known["coverage"]))
    return [*facts, format_area(known["area_m2"])] if known["area_m2"] is not None else facts


def _provenance(sample: Sample) -> str:
    ground = f"{sample.width} × {sample.height} pixels" + (f" of {sample.gsd_m:.3g} m" if sample.gsd_m else "")
    place = f"{sample.lat:.3f}°, {sample.lon:.3f}°" if sample.lat is not None and sample.lon is not None else ""
    facts = (f"{sample.source} / {sample.key}", sample.split, ground, place, sample.country, f"by {sample.writer}")
    return " · ".join(fact for fact in facts if fact)


def layer_uri(mask: NamedMask) -> str:
    """The mask in its colour, the rest transparent."""
    layer = Image.fromarray(mask.inside.astype(np.uint8)).convert("P")
    layer.putpalette([0, 0, 0, *mask.color])
    return _data_uri(layer, "PNG", transparency=0, bits=1, optimize=True)


def picture_uri(pixels: NDArray[np.uint8]) -> str:
    """A small picture without loss, as it is shown pixel by pixel; a larger one with little."""
    is_small = max(pixels.shape[:2]) <= SHARP_SIDE
    image = Image.fromarray(pixels)
    return _data_uri(image, "PNG") if is_small else _data_uri(image, "WEBP", quality=_LOSSY_QUALITY)


def _data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


# ---------------------------------------------------------------------------------------------------------------------
# The picture.


def _sheet(drawn: Sequence[Drawn]) -> NDArray[np.uint8]:
    """All samples below each other, uint8 `[H, W, 3]`."""
    panels = [np.asarray(_panels(entry)) for entry in drawn]
    width = max(panel.shape[1] for panel in panels)
    parts = []
    for entry, panel in zip(drawn, panels, strict=True):
        below = np.full((panel.shape[0], width, 3), _PAPER, np.uint8)
        below[:, : panel.shape[1]] = panel
        parts += [_heading(entry, width), below]
    return np.concatenate(parts)


def _panels(drawn: Drawn) -> Image.Image:
    """The scene and a panel a mask, side by side. Where there is no scene, its place is taken by all masks on gray."""
    shown = {picture.image: picture.pixels for picture in reversed(drawn.pictures)}
    dates = range(1, drawn.sample.num_dates + 1)
    images = np.stack([shown[date] if date in shown else _masks_alone(drawn, date) for date in dates])
    return draw_overlay(images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255), drawn.masks)


def _masks_alone(drawn: Drawn, date: int) -> NDArray[np.uint8]:
    pixels = np.full((*drawn.size, 3), BLIND, np.uint8)
    for mask in drawn.masks:
        if mask.properties["image"] == date:
            pixels[mask.inside] = mask.color
    return pixels


def _heading(drawn: Drawn, width: int) -> NDArray[np.uint8]:
    """Question, options and reasoning as lines of text, uint8 `[h, width, 3]`."""
    sample = drawn.sample
    thought = _TAGS.sub("", sample.reasoning.partition("<answer>")[0])
    for place in range(len(sample.masks)):
        thought = thought.replace(SEG, f"[{place + 1}]", 1)
    options = [
        (f"{letter}. {text}{'  (right)' if letter == sample.answer else ''}", letter == sample.answer)
        for letter, text in zip(LETTERS, sample.options, strict=False)
    ]
    texts: list[tuple[str, int, Color]] = [
        (f"{sample.level} / {sample.task} · {sample.id}", _TEXT_SIZE, _PALE_INK),
        (sample.question, _HEAD_SIZE, _INK),
        *((text, _TEXT_SIZE, _ACCENT if right else _INK) for text, right in options),
        (thought, _TEXT_SIZE, _INK),
        (f"Answer: {sample.answer}", _TEXT_SIZE, _ACCENT),
        (drawn.note, _TEXT_SIZE, _PALE_INK),
    ]
    lines = [
        (line, size, color)
        for text, size, color in texts
        for line in (wrap_lines(text, size=size, width=width - 2 * _GAP) if text else ())
    ]
    heading = np.full((len(lines) * _LINE + _GAP, width, 3), _PAPER, np.uint8)
    for row, (line, size, color) in enumerate(lines):
        draw_line(heading, line, _GAP, _GAP + row * _LINE - (size - _TEXT_SIZE), size=size, color=color)
    return heading
