"""How tasks put things: words for classes and images, in a small, closed vocabulary."""

from __future__ import annotations

import numpy as np

from terrascope.landcover import LandClass

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
ALIAS_SHARE = 0.3
"""How often a question calls a class by one of its aliases; by its plural otherwise."""


def name_class(land_class: LandClass, rng: np.random.Generator) -> str:
    """A word for the class as a question may use it: mostly the plural, sometimes an alias."""
    if rng.random() < ALIAS_SHARE and land_class.aliases:
        return land_class.aliases[int(rng.integers(len(land_class.aliases)))]
    return land_class.plural


def name_image(date: int, num_dates: int, rng: np.random.Generator) -> str:
    """`the image` of a scene with one date, else `image 2` or `the second image`; `date` counts from 0."""
    if num_dates == 1:
        return "the image"
    if date >= len(ORDINALS) or rng.random() < 0.5:
        return f"image {date + 1}"
    return f"the {ORDINALS[date]} image"


def is_plural(word: str) -> bool:
    """True for `crops` and `water bodies`, not for `grass`."""
    return word.endswith("s") and not word.endswith("ss")


def fill(templates: tuple[str, ...], rng: np.random.Generator, *, date: int, num_dates: int, **words: str) -> str:
    """One of the templates with its words.

    `{image}` names the image, `{in_image}` only where there are several; `{is_}`, `{does}` agree with the first word.
    """
    image = name_image(date, num_dates, rng)
    in_image = f" in {image}" if num_dates > 1 else ""
    template = templates[int(rng.integers(len(templates)))]
    is_, does = ("are", "do") if is_plural(next(iter(words.values()))) else ("is", "does")
    text = template.format(image=image, in_image=in_image, is_=is_, does=does, **words)
    return text[0].upper() + text[1:]
