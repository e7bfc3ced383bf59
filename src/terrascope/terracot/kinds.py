"""What a class means for people and nature, whatever the nomenclature calls it: rules of meaning speak of kinds."""

from __future__ import annotations

from functools import cache
from typing import Literal

Kind = Literal[
    "ruin", "building", "flood", "wetland", "water", "snow", "cloud", "crop", "shrub", "forest", "grass", "developed",
    "bare", "other",
]  # fmt: skip

_SIGNS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("ruin", ("destroyed", "collapsed")),
    ("building", ("building", "house")),
    ("flood", ("flood",)),
    ("wetland", ("wetland", "marsh", "mangrove", "peat", "swamp")),
    ("water", ("water", "sea", "lake", "river", "ocean")),
    ("snow", ("snow", "glacier")),
    ("cloud", ("cloud",)),
    ("crop", ("crop", "arable", "cultivat", "agricult", "agro", "farm", "orchard", "vineyard", "paddy")),
    ("shrub", ("shrub", "heath", "moor", "scrub")),
    ("forest", ("forest", "tree", "woodland")),
    ("grass", ("grass", "pasture", "meadow", "rangeland", "savanna")),
    ("developed", ("developed", "urban", "built", "industr", "residential", "road", "city", "village", "commercial")),
    ("bare", ("bare", "barren", "beach", "sand", "rock", "soil", "moss", "lichen")),
)
"""Signs in a class's name, in the order in which they are looked for: `agro-forestry` is farmed, `heathland` shrub."""

MODIFIED: frozenset[Kind] = frozenset({"crop", "developed", "building", "ruin"})
"""Kinds that people have made."""


@cache
def kind_of(name: str) -> Kind:
    """The kind of a class by its name; `other` where the name has no sign of any."""
    lowered = name.lower()
    return next((kind for kind, signs in _SIGNS if any(sign in lowered for sign in signs)), "other")
