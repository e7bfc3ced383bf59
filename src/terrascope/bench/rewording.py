"""Other words for the questions of a benchmark without a language model: templates, filled with a question's own words.

Words for classes and the numbers of images are taken over as they stand; what is asked for never changes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from terrascope.bench.asking import class_words, image_words, quantity_of
from terrascope.sample import Sample
from terrascope.tasks.wording import is_plural

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "coverage": (
        "What percentage of {image} is covered by {first}?",
        "What percentage of {image} {does} {first} make up?",
        "What share of {image} {does} {first} take up?",
        "What share of {image} shows {first}?",
        "What fraction of {image} {does} {first} occupy?",
        "What proportion of {image} consists of {first}?",
        "How much of {image} {does} {first} take up?",
        "How much of {image} is occupied by {first}?",
        "How large is the share of {first} in {image}?",
        "How high is the coverage of {first} in {image}?",
        "Estimate the percentage of {image} that {first} {cover}.",
        "Looking at {image}, what percentage of it is {first}?",
        "Of everything seen in {image}, what share is {first}?",
    ),
    "area": (
        "What is the total area of {first} in {image}?",
        "What is the area on the ground that {first} {cover} in {image}?",
        "How large an area {does} {first} cover in {image}?",
        "How large an area is covered by {first} in {image}?",
        "How large is the area that {first} {take} up in {image}?",
        "How big is the area of {first} in {image}?",
        "What area {does} {first} occupy in {image}?",
        "What area of the ground is covered by {first} in {image}?",
        "How much ground {does} {first} cover in {image}?",
        "How much land surface is taken up by {first} in {image}?",
        "What is the extent of {first} in {image}, measured as an area?",
        "Estimate the area of {first} in {image}.",
        "Looking at {image}, how large is the area of {first}?",
    ),
    "distance": (
        "How far apart are {first} and {second} in {image}?",
        "How far is it from {first} to the nearest {second} in {image}?",
        "What is the smallest distance between {first} and {second} in {image}?",
        "What is the shortest distance from {first} to {second} in {image}?",
        "What is the minimum distance that separates {first} from {second} in {image}?",
        "What distance lies between {first} and {second} in {image}, at their nearest?",
        "How wide is the gap between {first} and {second} in {image}, where it is narrowest?",
        "How close do {first} and {second} come to each other in {image}?",
        "By what distance are {first} and {second} separated in {image}?",
        "Where {first} and {second} are nearest to each other in {image}, how far apart are they?",
        "Estimate the shortest distance between {first} and {second} in {image}.",
        "Looking at {image}, what distance separates {first} from {second}?",
    ),
    "ranking": (
        "Which covers the larger part of {image}, {first} or {second}?",
        "Which takes up more of {image}, {first} or {second}?",
        "Which occupies more space in {image}, {first} or {second}?",
        "Which is the more extensive one in {image}, {first} or {second}?",
        "Which of the two is larger in {image}, {first} or {second}?",
        "Which is more widespread in {image}, {first} or {second}?",
        "What covers more of {image}, {first} or {second}?",
        "What takes up the larger share of {image}, {first} or {second}?",
        "Of {first} and {second}, which covers more of {image}?",
        "Of {first} and {second}, which is larger in {image}?",
        "Comparing {first} with {second}, which is larger in {image}?",
        "Between {first} and {second}, which occupies more of {image}?",
        "If you compare {first} and {second} in {image}, which covers more?",
    ),
    "boundary": (
        "Do {first} and {second} border each other in {image}?",
        "Do {first} and {second} touch each other in {image}?",
        "Do {first} and {second} meet anywhere in {image}?",
        "Do {first} and {second} have a boundary in common in {image}?",
        "Are {first} and {second} adjacent to each other in {image}?",
        "Are {first} and {second} direct neighbours in {image}?",
        "Are {first} and {second} in contact with each other in {image}?",
        "Is there a place in {image} where {first} {border} {second}?",
        "Is there a shared boundary of {first} and {second} in {image}?",
        "{Does} {first} lie directly next to {second} anywhere in {image}?",
        "{Does} {first} share an edge with {second} in {image}?",
        "Can {first} and {second} be seen side by side, touching, in {image}?",
        "Looking at {image}, do {first} and {second} touch?",
    ),
    "building_change/count": (
        "How many buildings have been destroyed?",
        "How many buildings did the disaster destroy?",
        "How many buildings were destroyed from one image to the other?",
        "How many of the buildings are destroyed in the later image?",
        "How many destroyed buildings does the comparison of the two images show?",
        "Comparing the two images, how many buildings were destroyed?",
        "What number of buildings was destroyed?",
        "What is the number of buildings that the disaster destroyed?",
        "Count the buildings that were destroyed between the two images.",
        "What is the count of destroyed buildings after the disaster?",
    ),
    "building_change/%": (
        "What percentage of all buildings has been destroyed?",
        "What percentage of the buildings did the disaster destroy?",
        "What share of all buildings was destroyed?",
        "What share of the buildings did the disaster destroy?",
        "What proportion of the buildings was destroyed?",
        "What fraction of the buildings is destroyed in the later image?",
        "Comparing the two images, what percentage of the buildings was destroyed?",
        "How large is the proportion of buildings that were destroyed?",
        "Of all buildings, what share was destroyed between the two images?",
        "Estimate the percentage of buildings that were destroyed.",
    ),
}
"""Wordings of each kind of question. `{first}` and `{second}` are its classes, `{image}` is its image."""

_VERBS = {"cover": "covers", "take": "takes", "border": "borders"}


def reword(sample: Sample, rng: np.random.Generator) -> str | None:
    """The question of a sample in other words; None where its task has none, or its own words cannot be read."""
    templates = TEMPLATES.get(quantity_of(sample))
    words: tuple[str, ...] | None = () if sample.task == "building_change" else class_words(sample)
    if templates is None or words is None:
        return None
    template = templates[int(rng.integers(len(templates)))]
    plural = bool(words) and is_plural(words[0])
    does = "do" if plural else "does"
    slots = dict(zip(("first", "second"), words, strict=False))
    text = template.format(
        **slots,
        image=image_words(sample.question) or "the image",
        does=does,
        Does=does.capitalize(),
        **{plain: plain if plural else third for plain, third in _VERBS.items()},
    )
    return text[0].upper() + text[1:]
