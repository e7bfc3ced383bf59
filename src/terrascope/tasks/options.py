"""Wrong options: plausible, never equal to the truth, and far enough apart to be told from each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spaced_integers(
    value: int, rng: np.random.Generator, *, num: int, gap: int, low: int, high: int
) -> list[int] | None:
    """`num` whole numbers from `low` to `high`, at least `gap` from `value` and from each other.

    How many of them lie below the truth is drawn, so that its rank gives nothing away. None where they do not fit.
    """
    fitting = [k for k in range(num + 1) if value - k * gap >= low and value + (num - k) * gap <= high]
    if not fitting:
        return None
    below = fitting[int(rng.integers(len(fitting)))]

    def walk(count: int, room: int) -> NDArray[np.int64]:
        widest = min(2 * gap, room // count) if count else gap
        return rng.integers(gap, widest + 1, count).cumsum()

    lower, upper = walk(below, value - low).tolist(), walk(num - below, high - value).tolist()
    return [value - step for step in lower] + [value + step for step in upper]


def scaled_values(
    value: float, rng: np.random.Generator, *, num: int, ratios: tuple[float, float], high: float = np.inf
) -> list[float]:
    """`num` multiples and fractions of a positive value, neighbours apart by a ratio within `ratios`.

    As many as fit lie above the truth at most: none exceeds `high`, which is at least `value`.
    """
    steps = np.cumprod(rng.uniform(*ratios, num))
    above = min(int(rng.integers(num + 1)), int(np.count_nonzero(value * steps <= high)))
    return [float(value * step) for step in steps[:above]] + [float(value / step) for step in steps[: num - above]]


def even_integers(
    value: int, rng: np.random.Generator, *, num: int, gap: int, min_gap: int, low: int, high: int
) -> list[int] | None:
    """As `spaced_integers`, with every rank of the truth as likely as any other.

    The gap shrinks to at least `min_gap`, alike for all ranks, so that each of them fits. None where it does not.
    """
    gap = min(gap, (value - low) // num, (high - value) // num)
    return None if gap < min_gap else spaced_integers(value, rng, num=num, gap=gap, low=low, high=high)


def even_values(
    value: float,
    rng: np.random.Generator,
    *,
    num: int,
    ratios: tuple[float, float],
    min_ratio: float,
    low: float = 0.0,
    high: float = np.inf,
) -> list[float] | None:
    """As `scaled_values`, with every rank of the truth as likely as any other, and no value below `low`.

    The ratios shrink to at least `min_ratio`, alike for all ranks, so that each of them fits. None where it does not.
    """
    room = min(high / value, value / low if low > 0 else np.inf) ** (1 / num) * (1 - 1e-12)
    widest = min(ratios[1], room)
    return (
        None
        if widest < min_ratio
        else scaled_values(
            value, rng, num=num, ratios=(min(ratios[0], max(min_ratio, widest**0.5), widest), widest), high=high
        )
    )
