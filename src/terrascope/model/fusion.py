"""Eq. 4-5: for every token position, the modality that is more relevant to the question (paper, Sec. 3.2).

And what it is compared with in Table 3: the tokens of both modalities, or of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from terrascope.model.profiles import Modalities


@dataclass(frozen=True)
class VisualTokens:
    """Projected visual tokens of one pair on its token grid.

    Attributes:
        optical, sar: `[N, D]` in the order of the token grid, row by row; None if the pair has no such image.
        token_grid: (rows, columns), N = rows * columns.
        optical_relevance, sar_relevance: `[N]`, beta of Eq. 4; only for pairs with both.
        question_ids: token ids of the question.
    """

    optical: Tensor | None
    sar: Tensor | None
    token_grid: tuple[int, int]
    optical_relevance: Tensor | None = None
    sar_relevance: Tensor | None = None
    question_ids: tuple[int, ...] = ()

    def tokens_per_cell(self, modalities: Modalities) -> int:
        """How many tokens `gather` takes from each position."""
        return 2 if modalities == "concatenate" and self.optical is not None and self.sar is not None else 1

    def gather(self, indices: Tensor, modalities: Modalities = "adaptive") -> tuple[Tensor, Tensor]:
        """The features at token positions: each from its better modality (Eq. 5), from both, or from a given one.

        Args:
            indices: int64 `[k]`, positions.
            modalities: `concatenate` takes all optical tokens, then all SAR tokens. A pair with one image has no
                choice.

        Returns:
            Features `[k, D]`, and bool `[k]`: True where the token is optical; `2 k` of both for `concatenate`.
        """
        if self.optical is None or self.sar is None or modalities in ("optical", "sar"):
            from_optical = self.sar is None or (self.optical is not None and modalities != "sar")
            only = self.optical if from_optical else self.sar
            assert only is not None
            return only[indices], torch.full((len(indices),), from_optical)
        if modalities == "concatenate":
            return torch.cat([self.optical[indices], self.sar[indices]]), torch.arange(2 * len(indices)) < len(indices)
        assert self.optical_relevance is not None and self.sar_relevance is not None
        is_optical = self.optical_relevance[indices] > self.sar_relevance[indices]
        return torch.where(is_optical[:, None], self.optical[indices], self.sar[indices]), is_optical.cpu()

    def merged(self, indices: Tensor, block_of: Tensor) -> VisualTokens:
        """One token of each modality for every block of positions: the mean of theirs, and the mean of their relevance.

        Args:
            indices: int64 `[k]`, positions.
            block_of: int64 `[k]`, the block of each, numbered from 0 without gaps.

        Returns:
            tokens `[blocks, D]`, on a grid of one row.
        """
        sizes = torch.bincount(block_of)

        def mean(values: Tensor | None) -> Tensor | None:
            if values is None:
                return None
            chosen = values[indices]
            sums = chosen.new_zeros(len(sizes), *chosen.shape[1:]).index_add(0, block_of, chosen)
            return sums / sizes.to(chosen.dtype).view(-1, *[1] * (chosen.dim() - 1))

        return replace(
            self,
            optical=mean(self.optical),
            sar=mean(self.sar),
            token_grid=(1, len(sizes)),
            optical_relevance=mean(self.optical_relevance),
            sar_relevance=mean(self.sar_relevance),
        )


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
    # Training multiplies in a short format; the choice must be the one that is made when the model reasons.
    with torch.autocast(visual.device.type, enabled=False):
        scores = visual.float() @ question.float().T / math.sqrt(visual.shape[1])
    return scores.softmax(dim=0).mean(dim=1)


def weigh_modalities(
    optical: Tensor | None, sar: Tensor | None, question: Tensor, token_grid: tuple[int, int]
) -> VisualTokens:
    """Visual tokens of a pair, with the relevance of both modalities where there are two."""
    if optical is None or sar is None:
        return VisualTokens(optical, sar, token_grid)
    return VisualTokens(optical, sar, token_grid, relevance(optical, question), relevance(sar, question))
