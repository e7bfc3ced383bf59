"""A sample made ready to be drawn: its scene as pictures, its masks in the colours of their classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terrascope import masks as mask_code
from terrascope.errors import SampleError, SceneError
from terrascope.landcover import TERRASCOPE
from terrascope.rasters.lettering import Color
from terrascope.rasters.named_mask import NamedMask
from terrascope.rasters.overlay import BLIND, to_bytes
from terrascope.rasters.sensors import render, shown_overview
from terrascope.reduction import reduced_size
from terrascope.sample import Sample
from terrascope.scene import Observation
from terrascope.terracot.pictures import Read
from terrascope.trace import SEG

PICTURE_SIDE = 512
"""Longest side, in pixels, of a scene that is drawn."""

_PALETTE = ((230, 85, 13), (49, 130, 189), (49, 163, 84), (158, 84, 189), (222, 45, 106), (180, 150, 20))


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One image of a scene: number of its date (from 1), its name for people, pixels uint8 `[h, w, 3]`."""

    image: int
    modality: str
    label: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A sample with its pictures and masks, reduced for the page. `note` says why there are no pictures."""

    sample: Sample
    pictures: tuple[Picture, ...]
    masks: tuple[NamedMask, ...]
    note: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its pictures and masks."""
        shape = (
            self.pictures[0].pixels.shape
            if self.pictures
            else reduced_size((self.sample.height, self.sample.width), PICTURE_SIDE)
        )
        return shape[0], shape[1]


def draw(sample: Sample, read: Read | None) -> Drawn:
    """A sample with the pictures of its scene and its masks; without `read`, or where it cannot, with its masks alone.

    Raises:
        SampleError: there is not one mask for every [SEG].
        SceneError: a mask does not fill the grid.
    """
    num_segs = sample.reasoning.count(SEG)
    if num_segs != len(sample.masks):
        raise SampleError(f"sample {sample.id}: {num_segs} [SEG]s but {len(sample.masks)} masks; give one for each")
    pictures, valid, note = [], {}, "The scene itself is not at hand: its masks are drawn alone."
    if read is not None:
        try:
            scene = read(sample.source, sample.key).scene
            if scene.shape != (sample.height, sample.width):
                raise SceneError(f"the scene is now {scene.shape}, its masks are {sample.height, sample.width}")
            note = ""
            # The versions of a benchmark's question each show a part of their scene.
            shown = {(image.number, image.modality) for image in sample.images}
            for number, pair in enumerate(scene.pairs, 1):
                valid[number] = pair.valid
                pictures += [
                    _picture(observation, number, len(scene.pairs))
                    for observation in pair.observations
                    if (number, observation.modality) in shown
                ]
        except SceneError as error:
            pictures, note = [], f"The scene cannot be read: {error}"
    everything = np.ones((sample.height, sample.width), bool)
    size = pictures[0].pixels.shape[:2] if pictures else reduced_size((sample.height, sample.width), PICTURE_SIDE)
    named = []
    for place, mask in enumerate(sample.masks):
        pixels, measured = sample.mask(place), valid.get(mask.image, everything)
        num_pixels = mask_code.count(pixels)
        whole = NamedMask(
            name=mask.class_name,
            mask=pixels,
            valid=measured,
            color=_color(mask.class_name),
            properties={
                "step": place + 1,
                "image": mask.image,
                "coverage": num_pixels / max(mask_code.count(measured), 1),
                "area_m2": num_pixels * sample.gsd_m**2 if sample.gsd_m else None,
            },
        )
        named.append(whole.reduced(size))
    return Drawn(sample=sample, pictures=tuple(pictures), masks=tuple(named), note=note)


def _picture(observation: Observation, number: int, num_dates: int) -> Picture:
    small = shown_overview(observation, PICTURE_SIDE)
    pixels = to_bytes(render(small))
    pixels[~small.valid] = BLIND
    parts = [f"Image {number}"] if num_dates > 1 else []
    parts += [observation.date.isoformat()] if observation.date else []
    parts += ["SAR" if observation.modality == "sar" else "optical"]
    return Picture(image=number, modality=observation.modality, label=" · ".join(parts), pixels=pixels)


def _color(class_name: str) -> Color:
    """The colour of a class; of one that is not ours, one that depends on its name alone."""
    known = {land_class.name: land_class.color for land_class in TERRASCOPE.classes}
    return known.get(class_name, _PALETTE[sum(class_name.encode(errors="replace")) % len(_PALETTE)])
