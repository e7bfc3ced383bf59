"""How far experts agree: in their ratings, and in the masks that they drew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from terrascope import masks
from terrascope.masks import Mask


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement over the questions that at least two experts have rated. None where there is nothing to compare.

    Attributes:
        num_questions: those questions.
        unanimous: share of them to which all experts gave one rating.
        pairwise: mean over the questions of the share of pairs of experts that gave one rating.
        fleiss_kappa: `pairwise` beyond what ratings at random would agree in: 1 for always, 0 for no more than that.
        num_masks: masks that some expert has corrected, of which at least two experts have one.
        mask_iou: mean over these of the intersection over union of each two experts' masks.
    """

    num_questions: int
    unanimous: float | None
    pairwise: float | None
    fleiss_kappa: float | None
    num_masks: int
    mask_iou: float | None


def measure_agreement(ratings: Sequence[Sequence[str]], drawn: Sequence[Sequence[Mask]] = ()) -> Agreement:
    """The agreement of experts.

    Fleiss' kappa takes for each question the pairs of those who rated it, so that their number may differ.

    Args:
        ratings: for each question what its experts gave it; those with fewer than two count for nothing.
        drawn: for each mask that some expert has corrected, that of every expert.
    """
    rated = [given for given in ratings if len(given) > 1]
    shared = [given for given in drawn if len(given) > 1]
    pairwise = [fmean(a == b for a, b in combinations(given, 2)) for given in rated]
    overlaps = [fmean(masks.iou(a, b) for a, b in combinations(given, 2)) for given in shared]
    return Agreement(
        num_questions=len(rated),
        unanimous=fmean(len(set(given)) == 1 for given in rated) if rated else None,
        pairwise=fmean(pairwise) if rated else None,
        fleiss_kappa=_kappa(rated, fmean(pairwise)) if rated else None,
        num_masks=len(shared),
        mask_iou=fmean(overlaps) if shared else None,
    )


def _kappa(rated: Sequence[Sequence[str]], observed: float) -> float | None:
    counts = Counter(rating for given in rated for rating in given)
    by_chance = sum((num / counts.total()) ** 2 for num in counts.values())
    # With one rating throughout, agreement says nothing of how well experts tell ratings apart.
    return None if len(counts) == 1 else (observed - by_chance) / (1 - by_chance)
