"""A reasoning that is already written, with its masks: for parity, for annotation, for the captions of others."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from terrascope.answer import Answer
from terrascope.model.generation import Record

_REGIONS = re.compile(r"(?:<REGION>)+")
"""What the released code prints in place of visual tokens that it has injected."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """The masks of a given text, and what went through the model on the way.

    Attributes:
        answer: the text, parsed, with a mask at every step, measured and checked.
        token_ids: of the text.
        injected: per [SEG], int64 `[k]`: the visual tokens of its image's token grid that were fed back, in order; a
            cell of which both tokens were stands twice.
        logits: `[steps, V]`, before each token; None unless asked for.
        seg_states: `[num_masks, D]`, the hidden state of each [SEG], before the projection; None unless asked for.
    """

    answer: Answer
    token_ids: tuple[int, ...]
    injected: tuple[NDArray[np.int64], ...]
    logits: Tensor | None = None
    seg_states: Tensor | None = None

    @property
    def masks(self) -> tuple[NDArray[np.bool_], ...]:
        """The masks, bool `[H, W]`, one per [SEG]."""
        return self.answer.masks


def without_regions(text: str) -> str:
    """A text without the placeholders of injected tokens, which are no tokens of the reasoning."""
    return _REGIONS.sub("", text)


def to_arrays(record: Record) -> tuple[NDArray[np.int64], ...]:
    """The injected tokens of every [SEG]."""
    return tuple(indices.numpy() for indices in record.injected)
