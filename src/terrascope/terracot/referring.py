"""Pairs for the grounded pre-training: "Please segment the water." and the mask (stage 1; paper, Appendix E.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from terrascope.sources.chips import Chip
from terrascope.tasks import Question
from terrascope.tasks.survey import Region
from terrascope.tasks.wording import is_plural, name_class
from terrascope.terracot.bounds import check_least, check_shares, check_weights
from terrascope.trace import Trace

PLAIN = "Please segment the {thing}."
"""The paper's instruction; it calls the class by its plural."""

TEMPLATES = (
    PLAIN,
    "Segment the {thing}.",
    "Please mark the {thing}.",
    "Mark all {thing} in {images}.",
    "Please outline the {thing} in {images}.",
    "Show me the {thing}.",
    "Find the {thing} in {images} and segment {it}.",
    "Give me a mask of the {thing}.",
    "Which pixels of {images} show {thing}?",
    "Can you segment the {thing} in {images}?",
)


@dataclass(frozen=True, kw_only=True)
class ReferringSettings:
    """What is asked of a chip.

    Attributes:
        per_image: most classes asked of one chip; each is asked once. The paper asks one.
        min_pixels: a class with fewer pixels on every date is passed over; one without any always is.
        weights: how much likelier each class is asked for, as `class_weights` gives it; 1 where a class has none.
        plain_share: instructions in the words of the paper; the others are worded in other ways.
    """

    per_image: int = 1
    min_pixels: int = 16
    weights: Mapping[str, float] = field(default_factory=dict)
    plain_share: float = 0.5

    def __post_init__(self) -> None:
        check_least(self, 0, "per_image", "min_pixels")
        check_shares(self, "plain_share")
        check_weights("weights", self.weights)


DEFAULT = ReferringSettings()


def count_classes(chips: Iterable[Chip], min_pixels: int = ReferringSettings.min_pixels) -> Counter[str]:
    """The number of chips that can be asked for each class, for `class_weights`."""
    counts: Counter[str] = Counter()
    for chip in chips:
        regions = (region for survey in chip.labelled.surveys for region in survey.regions)
        counts.update({region.name for region in regions if region.num_pixels >= max(min_pixels, 1)})
    return counts


def class_weights(counts: Mapping[str, int], power: float = 0.5) -> dict[str, float]:
    """Weights by which rare classes are preferred: 1 for the commonest, `(commonest / count) ** power` for the others.

    Args:
        counts: chips that show each class; classes that none shows get no weight.
        power: 0 asks as the classes come; 1 evens out what chips with several classes allow to even out.
    """
    commonest = max(counts.values(), default=0)
    return {name: (commonest / count) ** power for name, count in counts.items() if count > 0}


def ask(chip: Chip, rng: np.random.Generator, settings: ReferringSettings = DEFAULT) -> list[Question]:
    """Up to `per_image` instructions about a chip, each for another class; none where it has no label map.

    The answer has one step for every date whose label map knows the class, as `TerraScope.segment` words it.
    """
    found: dict[str, list[Region]] = {}
    for survey in chip.labelled.surveys:
        for region in survey.regions:
            found.setdefault(region.name, []).append(region)
    names = [
        name
        for name, regions in found.items()
        if max(region.num_pixels for region in regions) >= max(settings.min_pixels, 1)
    ]
    # The smallest of exponential draws, divided by the weights, is a draw by the weights; the next is one of the rest.
    keys = [float(rng.exponential()) / settings.weights.get(name, 1.0) for name in names]
    chosen = [names[place] for place in np.argsort(keys, kind="stable")[: settings.per_image]]
    return [_instruct(found[name], chip.labelled.num_dates, rng, settings.plain_share) for name in chosen]


def _instruct(regions: list[Region], num_dates: int, rng: np.random.Generator, plain_share: float) -> Question:
    name = regions[0].name
    if rng.random() < plain_share:
        text = PLAIN.format(thing=regions[0].land_class.plural)
    else:
        template = TEMPLATES[int(rng.integers(len(TEMPLATES)))]
        images = "the image" if num_dates == 1 else "the images"
        thing = name_class(regions[0].land_class, rng)
        text = template.format(thing=thing, images=images, it="them" if is_plural(thing) else "it")
    return Question(
        task="referring",
        text=text,
        options=(),
        trace=Trace(steps=tuple(region.step(num_dates, "") for region in regions), answer=name),
        truth=name,
        classes=(name,) * len(regions),
    )
