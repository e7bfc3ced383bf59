"""The tokens of the reasoning in a vocabulary that does not have them: ids, and rows in the embedding matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from terrascope.errors import ModelError

REASONING_TOKENS = ("<think>", "</think>", "<answer>", "</answer>", "[SEG]")
"""What the grammar of the reasoning needs beside the tokens of a vision-language model."""

NEW_ROW_NOISE = 0.1
"""Spread of the rows of new tokens around the mean row, as a share of the spread of all rows."""


def add_reasoning_tokens(vlm: Any, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Give the tokenizer the reasoning tokens that it lacks, and both matrices their rows.

    A new row is the mean of all rows and a little noise. Beside the mean, a new token is about as likely as a token is
    on average, so it hardly disturbs what the model says; a random row may be likelier than all others. The noise tells
    the new tokens apart.

    Raises:
        ModelError: the tokenizer, called `name` in the message, has more tokens than the weights have rows.
    """
    num_known, num_rows = len(tokenizer), vlm.get_input_embeddings().weight.shape[0]
    if num_known > num_rows:
        raise ModelError(f"{name}: the tokenizer has {num_known} tokens, but the weights only {num_rows} rows")
    known = tokenizer.get_vocab()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": list(REASONING_TOKENS)}, replace_extra_special_tokens=False
    )
    new = [tokenizer.convert_tokens_to_ids(token) for token in REASONING_TOKENS if token not in known]
    if len(tokenizer) > num_rows:
        vlm.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    matrices = {id(part.weight): part.weight for part in (vlm.get_input_embeddings(), vlm.get_output_embeddings())}
    with torch.no_grad():
        for weight in matrices.values():
            mean, deviation = _row_statistics(weight[:num_known])
            noise = torch.randn(len(new), weight.shape[1]) * NEW_ROW_NOISE
            weight[new] = (mean + noise * deviation).to(weight.dtype)


def _row_statistics(rows: Tensor, num: int = 4096) -> tuple[Tensor, Tensor]:
    """Mean and deviation `[D]` over rows `[n, D]`, a few thousand at a time: a float32 copy of all may not fit."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    square = torch.zeros_like(total)
    for part in rows.split(num):
        values = part.double()
        total += values.sum(0)
        square += values.square().sum(0)
    mean = total / len(rows)
    return mean.float(), (square / len(rows) - mean.square()).clamp(min=0).sqrt().float()
