"""Eq. 4-5: for every token position, the modality that is more relevant to the question (paper, Sec. 3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class VisualTokens:
    """Projected visual tokens of one pair on its token grid.

    Attributes:
        optical, sar: `[N, D]` in the order of the token grid, row by row; None if the pair has no such image.
        token_grid: (rows, columns), N = rows * columns.
        optical_relevance, sar_relevance: `[N]`, beta of Eq. 4; only for pairs with both.
    """

    optical: Tensor | None
    sar: Tensor | None
    token_grid: tuple[int, int]
    optical_relevance: Tensor | None = None
    sar_relevance: Tensor | None = None

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The features at token positions, each from its better modality (Eq. 5).

        Returns:
            Features `[k, D]`, and bool `[k]`: True where the token is optical.
        """
        if self.optical is None or self.sar is None:
            only = self.optical if self.optical is not None else self.sar
            assert only is not None
            return only[indices], torch.full((len(indices),), self.optical is not None)
        assert self.optical_relevance is not None and self.sar_relevance is not None
        is_optical = self.optical_relevance[indices] > self.sar_relevance[indices]
        return torch.where(is_optical[:, None], self.optical[indices], self.sar[indices]), is_optical.cpu()


def relevance(visual: Tensor, question: Tensor) -> Tensor:
    """beta of Eq. 4: how relevant each visual token of one modality is to the question.

    The softmax runs over the visual tokens. Read the other way, over the question's tokens, every beta would be exactly
    1 / L and Eq. 5 would always take SAR (docs/decisions.md).

    Args:
        visual: `[N, D]`, projected tokens.
        question: `[L, D]`, embedded tokens of the question.

    Returns:
        `[N]`, non-negative, summing to 1.
    """
    scores = visual.float() @ question.float().T / math.sqrt(visual.shape[1])
    return scores.softmax(dim=0).mean(dim=1)


def weigh_modalities(
    optical: Tensor | None, sar: Tensor | None, question: Tensor, token_grid: tuple[int, int]
) -> VisualTokens:
    """Visual tokens of a pair, with the relevance of both modalities where there are two."""
    if optical is None or sar is None:
        return VisualTokens(optical, sar, token_grid)
    return VisualTokens(optical, sar, token_grid, relevance(optical, question), relevance(sar, question))
