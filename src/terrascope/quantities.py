"""How numbers are put for people: rounded, with their units. One wording for answers, terminal, pictures and report."""

from __future__ import annotations

import math
from collections.abc import Mapping

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


def format_coverage(coverage: float) -> str:
    """A measured share (0-1) with one decimal: `12.5 %`; `< 0.1 %` for less than that, but something."""
    return "< 0.1 %" if 0 < coverage < 0.0005 else f"{100 * coverage:.1f} %"


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


def format_objects(num_objects: int) -> str:
    """`1 object`, `3 objects`."""
    return f"{num_objects} object{'' if num_objects == 1 else 's'}"


def list_counts(counts: Mapping[str, int]) -> str:
    """What was counted, as in "water 1,200, tree 3"."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
