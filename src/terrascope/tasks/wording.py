"""How tasks put things: rounded numbers with units, words for classes and images. A small, closed vocabulary."""

from __future__ import annotations

import math

import numpy as np

from terrascope.landcover import LandClass

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
PLURAL_SHARE, ALIAS_SHARE = 0.6, 0.25
"""How often a question uses a class's plural or one of its aliases; its name otherwise."""

NOUNS = {"built-up": "built-up area", "urban": "urban area", "bare": "bare ground", "barren": "barren land"}
"""Aliases that are adjectives, as a question uses them."""

SIGNIFICANT_DIGITS = 2


def round_significant(value: float) -> float:
    """The value with `SIGNIFICANT_DIGITS` significant digits."""
    if value == 0:
        return 0.0
    return round(value, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(abs(value))))


def format_share(coverage: float) -> str:
    """A share (0-1) as a whole percentage: `0%` only for nothing at all, `less than 1%` below one percent."""
    if 0 < coverage < 0.01:
        return "less than 1%"
    return f"{round(100 * coverage)}%"


def format_area(area_m2: float) -> str:
    """An area with two significant digits: m2 below one hectare, km2 from 1000 hectares on, hectares between."""
    rounded = round_significant(area_m2)
    if rounded < 1e4:
        return f"{rounded:.6g} m2"
    return f"{rounded / 1e4:.6g} ha" if rounded < 1e7 else f"{rounded / 1e6:.10g} km2"


def format_distance(distance_m: float) -> str:
    """A distance with two significant digits: metres below one kilometre, kilometres above."""
    rounded = round_significant(distance_m)
    return f"{rounded:.6g} m" if rounded < 1000 else f"{rounded / 1000:.10g} km"


def name_class(land_class: LandClass, rng: np.random.Generator) -> str:
    """A word for the class as a question may use it: mostly the plural, sometimes the name or an alias."""
    draw = rng.random()
    if draw < PLURAL_SHARE:
        return land_class.plural
    if draw < PLURAL_SHARE + ALIAS_SHARE and land_class.aliases:
        alias = str(rng.choice(land_class.aliases))
        return NOUNS.get(alias, alias)
    return land_class.name


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
