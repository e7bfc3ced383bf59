"""Checks of settings: a value out of its bounds is refused with a sentence that names its field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check_shares(settings: Any, *names: str) -> None:
    """Refuse fields that are not from 0 to 1.

    Raises:
        ValueError: there is one.
    """
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value:g}; give a share from 0 to 1")


def check_least(settings: Any, low: int, *names: str) -> None:
    """Refuse fields below `low`.

    Raises:
        ValueError: there is one.
    """
    for name in names:
        value = getattr(settings, name)
        if value < low:
            raise ValueError(f"{name} is {value}; give at least {low}")


def check_weights(name: str, weights: Mapping[str, float]) -> None:
    """Refuse weights that are not above 0: draws divide by them.

    Raises:
        ValueError: there is one.
    """
    for key, weight in weights.items():
        if not 0 < weight < float("inf"):
            raise ValueError(f"{name}: {key} is {weight:g}; give a number above 0")
