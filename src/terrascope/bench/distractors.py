"""Wrong options of a question: drawn, read from a draft, and held against the truth and each other."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from terrascope.bench.asking import NUMBER, Fault, class_meant
from terrascope.choice import nearest_option
from terrascope.quantities import format_area, format_distance, format_share
from terrascope.sample import Sample
from terrascope.tasks.counting import count_distractors
from terrascope.tasks.options import scaled_values, spaced_integers
from terrascope.trace import METRES, SQUARE_METRES, stated_numbers

OTHER_KIND = "a distractor of another kind or unit"
IMPLAUSIBLE = "an implausible distractor"
ALIKE = "options too close to each other"

NUM_OPTIONS: Mapping[str, int] = {
    "coverage": 4,
    "area": 4,
    "distance": 4,
    "ranking": 2,
    "boundary": 2,
    "building_change": 4,
}
"""Options of each task (paper, Appendix D, Stage 2)."""


@dataclass(frozen=True, kw_only=True)
class Spacing:
    """How far apart options are.

    Attributes:
        min_points: least distance of two shares, in percentage points.
        min_ratio: least factor between two areas, or two distances.
        min_count_share: least distance of two counts, as a share of the truth; at least one.
        max_ratio: an area, a distance or a count that differs from the truth by more than this factor is implausible.
        gap_points, ratios, count_share: the same bounds for options that are drawn, as the tasks draw theirs.
        tries: draws until options pass their checks and leave the truth its rank.
    """

    min_points: float = 5.0
    min_ratio: float = 1.2
    min_count_share: float = 0.1
    max_ratio: float = 20.0
    gap_points: int = 8
    ratios: tuple[float, float] = (1.4, 2.2)
    count_share: float = 0.2
    tries: int = 200


DEFAULT = Spacing()


def word_quantity(value: float, unit: str) -> str:
    """A quantity in `unit` (`%`, `m2`, `m`, `count`) as the tasks word it."""
    if unit == "%":
        return format_share(value / 100)
    if unit == "m2":
        return format_area(value)
    return format_distance(value) if unit == "m" else str(round(value))


def read_quantity(text: str, unit: str) -> float | None:
    """The one quantity that a text states, in `unit`; None where it states none, several, or one of another kind."""
    if len(NUMBER.findall(text)) != 1:
        return None
    number = next(iter(stated_numbers(text)), None)
    if number is None or number.unit == "count":
        bare = re.fullmatch(r"\D*?(\d{1,9})\D*", text.replace(",", ""))
        return float(bare[1]) if bare and unit == "count" and "-" not in text else None
    if unit == "%" and number.unit == "%":
        return number.value / 2 if "less than" in text.lower() else number.value
    if unit == "m2" and number.unit in SQUARE_METRES:
        return number.value * SQUARE_METRES[number.unit]
    return number.value * METRES[number.unit] if unit == "m" and number.unit in METRES else None


def read_option(sample: Sample, text: str) -> str | None:
    """A drafted option in the words of the tasks, so that its form does not tell it from the truth; None if it is none.

    A number gets the digits and units of the others; a class is called by its name; yes and no lose what follows.
    """
    if sample.unit is not None:
        value = read_quantity(text, sample.unit)
        return None if value is None else word_quantity(value, sample.unit)
    if sample.task == "boundary":
        found = re.match(r"\s*(yes|no)\b", text, re.I)
        return None if found is None else found[1].capitalize()
    return class_meant(text, sample.classes)


def rank_among(truth: str, others: Iterable[str], unit: str | None) -> int:
    """How many of other options are numbers below the truth; 0 where options are no numbers."""
    value = None if unit is None else read_quantity(truth, unit)
    if value is None:
        return 0
    found = [read_quantity(text, str(unit)) for text in others]
    return sum(other is not None and other < value for other in found)


def rank_of(sample: Sample) -> int | None:
    """The `rank_among` its options of a sample's truth; None where it has no numbers to choose from."""
    return rank_among(sample.truth, sample.options, sample.unit) if sample.options and sample.unit else None


def draw_distractors(sample: Sample, rng: np.random.Generator, spacing: Spacing = DEFAULT) -> tuple[str, ...] | None:
    """Wrong options as the tasks draw them; None where none fit.

    Where the sample has options, the truth has the same rank among the new ones: small numbers have no room for all
    ranks, so that ranks drawn freely would make the smallest option the best guess of a benchmark.
    """
    if sample.unit is None or sample.value is None:
        other = _only_other(sample)
        return None if other is None else (other,)
    rank = rank_of(sample)
    for _ in range(spacing.tries):
        drawn = _draw(sample, sample.value, rng, spacing)
        if drawn is None or (rank is not None and rank_among(sample.truth, drawn, sample.unit) != rank):
            continue
        if not distractor_faults(sample, drawn, spacing):
            return drawn
    return None


def distractor_faults(sample: Sample, distractors: Sequence[str], spacing: Spacing = DEFAULT) -> list[Fault]:
    """Why texts cannot be the wrong options of a sample, beside its truth; nothing if they can.

    They must be of the truth's kind and unit, plausible, and far enough apart from it and from each other, rounded as
    they stand, so that `choice.nearest_option` takes each for itself alone.
    """
    options = (sample.truth, *distractors)
    faults = []
    if sample.unit is None:
        if any(text != _only_other(sample) for text in distractors):
            faults.append(Fault(OTHER_KIND, f"The only wrong option is {_only_other(sample)}."))
        return faults + _likeness(options)
    unit = sample.unit
    values = [read_quantity(text, unit) for text in options]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return [Fault(OTHER_KIND, f"Every option must be a quantity of one kind, worded like {sample.truth}.")]
    for text, value in zip(distractors, known[1:], strict=True):
        if not _is_plausible(sample, value, known[0], spacing):
            faults.append(Fault(IMPLAUSIBLE, f"The option {text} is not plausible beside {sample.truth}."))
    close = [pair for pair in combinations(known, 2) if not _are_apart(*pair, truth=known[0], unit=unit, by=spacing)]
    if close:
        first, second = (word_quantity(value, unit) for value in close[0])
        faults.append(Fault(ALIKE, f"The options {first} and {second} are too close to each other."))
    return faults or _likeness(options)


def largest_value(sample: Sample) -> float:
    """The largest quantity in the unit of a sample that its scene has room for."""
    if sample.unit == "%":
        return 100.0
    if sample.unit == "count" or sample.gsd_m is None:
        return math.inf
    height_m, width_m = sample.height * sample.gsd_m, sample.width * sample.gsd_m
    return height_m * width_m if sample.unit == "m2" else math.hypot(height_m, width_m)


def _draw(sample: Sample, value: float, rng: np.random.Generator, spacing: Spacing) -> tuple[str, ...] | None:
    num = NUM_OPTIONS[sample.task] - 1
    if sample.unit == "count":
        counts = count_distractors(round(value), rng, num=num, relative_gap=spacing.count_share)
        return None if counts is None else tuple(counts)
    if sample.unit == "%":
        percent, low = (0, 0) if value < 1 else (round(value), 1)
        shares = spaced_integers(percent, rng, num=num, gap=spacing.gap_points, low=low, high=100)
        return None if shares is None else tuple(f"{share}%" for share in shares)
    scaled = scaled_values(value, rng, num=num, ratios=spacing.ratios, high=largest_value(sample))
    return tuple(word_quantity(each, sample.unit or "") for each in scaled)


def _only_other(sample: Sample) -> str | None:
    """The one wrong answer of a question with two answers."""
    if sample.task == "boundary":
        return {"Yes": "No", "No": "Yes"}.get(sample.truth)
    others = [name for name in sample.classes if name != sample.truth]
    return others[0] if len(others) == 1 else None


def _is_plausible(sample: Sample, value: float, truth: float, spacing: Spacing) -> bool:
    if not 0 <= value <= largest_value(sample):
        return False
    if sample.unit == "%":
        # Nobody asks for what is not there, so that nothing, or next to nothing, would be known to be wrong.
        return value >= 1 or truth < 1
    return value > 0 and truth / spacing.max_ratio <= value <= truth * spacing.max_ratio


def _are_apart(first: float, second: float, *, truth: float, unit: str, by: Spacing) -> bool:
    if unit == "%":
        return abs(first - second) >= by.min_points
    if unit == "count":
        return abs(first - second) >= max(1.0, by.min_count_share * truth)
    small, large = sorted((first, second))
    return small > 0 and large / small >= by.min_ratio


def _likeness(options: Sequence[str]) -> list[Fault]:
    """Options that cannot be told apart by who answers in words."""
    if all(nearest_option(text, options) == place for place, text in enumerate(options)):
        return []
    return [Fault(ALIKE, "Two options mean the same.")]
