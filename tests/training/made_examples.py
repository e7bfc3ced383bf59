"""Examples made of samples whose scenes are in memory."""

from __future__ import annotations

from collections.abc import Sequence

from terrascope.bench.items import kinds_of, show_only
from terrascope.model.processing import TerraScopeProcessor
from terrascope.sample import Sample
from terrascope.scene import LabelMap, Scene
from terrascope.training.examples import Example, Reasoning, Shown, assemble_example, known_pixels, shown_images


def make_example(
    processor: TerraScopeProcessor,
    sample: Sample,
    scene: Scene,
    labels: Sequence[LabelMap],
    *,
    reasoning: Reasoning = "grounded",
    shown: Shown = "all",
) -> Example:
    """What `TerraCotDataset` makes of a sample and what is kept of its scene."""
    scene = show_only(scene, shown_images(kinds_of(sample), shown))
    return assemble_example(
        processor, sample, processor.describe(scene), known_pixels(scene, labels), reasoning=reasoning, shown=shown
    )
