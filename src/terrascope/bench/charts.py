"""Charts as inline SVG, in the colours of the page around them: bars with intervals, a histogram of two kinds."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from terrascope.bench.statistics import Interval

_WIDTH, _ROW, _BAR, _BASE = 340, 36, 9, 14
_BINS = 10
_LONGEST_NAME = 30


def draw_bars(
    rows: Sequence[tuple[str, Interval]], *, title: str, percent: bool = True, chance: float | None = None
) -> str:
    """One horizontal bar a row from 0 to 1, its interval as a line, its name above it.

    Args:
        title: for those who do not see it.
        percent: writes values as percentages; else with two digits.
        chance: what guessing gives, as a dashed line.
    """
    height = _ROW * len(rows) + 4
    parts = []
    for place, (name, interval) in enumerate(rows):
        top = place * _ROW
        text = _value(interval, percent)
        shown = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        parts.append(
            f'<text class="name" x="0" y="{top + _BASE}">{escape(shown)}</text>'
            f'<text class="value" x="{_WIDTH}" y="{top + _BASE}" text-anchor="end">{text}</text>'
        )
        y = top + _BASE + 6
        parts.append(f'<rect class="track" x="0" y="{y}" width="{_WIDTH}" height="{_BAR}" rx="2"/>')
        if interval.num:
            parts.append(
                f'<rect class="bar" x="0" y="{y}" width="{_WIDTH * interval.mean:.1f}" height="{_BAR}" rx="2"/>'
                f'<path class="whisker" d="M{_WIDTH * interval.low:.1f} {y + _BAR / 2}H{_WIDTH * interval.high:.1f}'
                f'M{_WIDTH * interval.low:.1f} {y + 1}v{_BAR - 2}M{_WIDTH * interval.high:.1f} {y + 1}v{_BAR - 2}"/>'
            )
            if chance is not None:
                parts.append(f'<path class="chance" d="M{_WIDTH * chance:.1f} {y - 3}v{_BAR + 6}"/>')
    return _svg(height, title, parts)


def draw_histogram(right: Sequence[float], wrong: Sequence[float], *, title: str) -> str:
    """Shares of two kinds of values between 0 and 1 in tenths, side by side, with the mean of each (paper, Fig. 6)."""
    floor, left, top = 150, 34, 12
    width = _WIDTH - left
    heights = [
        np.histogram(values, _BINS, (0.0, 1.0))[0] / len(values) if len(values) else np.zeros(_BINS)
        for values in (right, wrong)
    ]
    most = max(float(max(values.max() for values in heights)), 0.1)
    parts = []
    for share in (0.0, most / 2, most):
        y = floor - (floor - top) * share / most
        parts.append(
            f'<path class="rule" d="M{left} {y:.1f}h{width}"/>'
            f'<text class="tick" x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{100 * share:.0f} %</text>'
        )
    step = width / _BINS
    for kind, (shares, name) in enumerate(zip(heights, ("right", "wrong"), strict=True)):
        for place, share in enumerate(shares):
            height = (floor - top) * share / most
            x = left + place * step + 2 + kind * (step - 4) / 2
            parts.append(
                f'<rect class="{name}-bar" x="{x:.1f}" y="{floor - height:.1f}" '
                f'width="{(step - 4) / 2:.1f}" height="{height:.1f}"/>'
            )
    for tick in (0.0, 0.5, 1.0):
        x = left + tick * width
        parts.append(f'<text class="tick" x="{x:.1f}" y="{floor + 15}" text-anchor="middle">{tick:g}</text>')
    for values, name in ((right, "right"), (wrong, "wrong")):
        if len(values):
            x = left + width * float(np.mean(values))
            parts.append(f'<path class="{name}-mean" d="M{x:.1f} {top - 8}V{floor}"/>')
    return _svg(floor + 20, title, parts)


def _value(interval: Interval, percent: bool) -> str:
    if not interval.num:
        return "–"
    if percent:
        return f"{100 * interval.mean:.1f} % ({100 * interval.low:.0f}–{100 * interval.high:.0f})"
    return f"{interval.mean:.2f} ({interval.low:.2f}–{interval.high:.2f})"


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    label = escape(title, quote=True)
    return f'<svg viewBox="-1 0 {_WIDTH + 12} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
