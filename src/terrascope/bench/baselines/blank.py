"""How much of an answer comes from the picture: the same predictor, with images that show nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from terrascope.answer import Answer
from terrascope.bench.item_predictor import Outcome, ask_item, ask_items, ask_many
from terrascope.bench.items import Item
from terrascope.errors import TerraScopeError
from terrascope.predictor import Ask, Predictor
from terrascope.rasters.sensors import sensor_named
from terrascope.scene import Modality, Observation, Pair, Scene

A = TypeVar("A", Ask, Item)

MODALITIES: tuple[Modality, ...] = ("optical", "sar")


class Blanked:
    """A predictor that sees scenes whose images of some modalities are of one gray; what is valid stays so.

    A question that shows no other modality is asked of a blank image. The answers speak of the blanked scene.
    """

    def __init__(self, inner: Predictor, modalities: Collection[Modality], name: str) -> None:
        self.inner, self.modalities, self.name = inner, frozenset(modalities), name

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = (), **how: Any) -> Answer:
        """As `Predictor.ask`; further arguments are passed on."""
        return self.inner.ask(blank(scene, self.modalities), question, options=options, **how)

    def ask_item(self, item: Item) -> Answer:
        """As `ItemPredictor.ask_item`."""
        return ask_item(self.inner, replace(item, scene=blank(item.scene, self.modalities)))

    def ask_items(self, items: Iterable[Item | TerraScopeError]) -> Iterator[Outcome]:
        """As `ItemsPredictor.ask_items`."""
        return ask_items(self.inner, self._blanked(items))

    def ask_many(self, asks: Iterable[Ask | TerraScopeError]) -> Iterator[Outcome]:
        """As `ManyPredictor.ask_many`, one after the other where the predictor cannot do better."""
        return ask_many(self.inner, self._blanked(asks))

    def _blanked(self, asked: Iterable[A | TerraScopeError]) -> Iterator[A | TerraScopeError]:
        seen: Scene | None = None
        for one in asked:
            if isinstance(one, TerraScopeError):
                yield one
                continue
            # One blank scene for one scene, so that its questions share their work.
            if seen is not one.scene:
                seen, shown = one.scene, blank(one.scene, self.modalities)
            yield replace(one, scene=shown)

    def segment(self, scene: Scene, class_name: str) -> Answer:
        """As `Predictor.segment`."""
        return self.inner.segment(blank(scene, self.modalities), class_name)


def blank(scene: Scene, modalities: Collection[Modality] = MODALITIES) -> Scene:
    """The scene with every pixel of these modalities in the middle of what its sensor's picture shows."""
    pairs = tuple(
        Pair(
            optical=_blank(pair.optical) if pair.optical and "optical" in modalities else pair.optical,
            sar=_blank(pair.sar) if pair.sar and "sar" in modalities else pair.sar,
        )
        for pair in scene.pairs
    )
    return Scene(pairs, notes=scene.notes)


def _blank(image: Observation) -> Observation:
    sensor = sensor_named(image.sensor)
    middles = {
        sensor.band_of(entry): (low + high) / 2
        for entry, (low, high) in zip(sensor.display, sensor.stretch, strict=True)
    }
    other = float(np.mean(list(middles.values())))
    values = np.array([middles.get(band, other) for band in image.bands], np.float32)
    # A view of one value a band: a blank scene takes no memory, however large it is.
    return replace(image, pixels=np.broadcast_to(values[:, None, None], (len(image.bands), *image.shape)))
