"""Trainable rows for a few tokens of an embedding matrix that is frozen otherwise: [SEG] and the tags, beside LoRA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

_NAME = "token_rows"


class TokenRows(nn.Module):
    """The rows `[k, D]` of some tokens, in place of those of a matrix `[V, D]`.

    Training a whole matrix for the sake of five rows would take the memory of a layer of its own for its gradient and
    for the optimizer, and weight decay would pull at every other row.
    """

    token_ids: Tensor

    def __init__(self, matrix: Tensor, token_ids: Sequence[int]) -> None:
        super().__init__()
        ids = torch.tensor(list(token_ids), device=matrix.device)
        self.register_buffer("token_ids", ids, persistent=False)
        self.rows = nn.Parameter(matrix.detach()[ids].clone())

    def embed(self, ids: Tensor, embeddings: Tensor) -> Tensor:
        """Embeddings `[..., D]` of token ids `[...]`, with these rows where they belong."""
        hits = ids[..., None] == self.token_ids
        rows = functional.embedding(hits.int().argmax(-1), self.rows).to(embeddings.dtype)
        return torch.where(hits.any(-1, keepdim=True), rows, embeddings)

    def score(self, hidden: Tensor, logits: Tensor) -> Tensor:
        """Logits `[..., V]` of hidden states `[..., D]`, with those of these tokens from these rows."""
        own = functional.linear(hidden, self.rows.to(hidden.dtype)).to(logits.dtype)
        return logits.index_copy(-1, self.token_ids, own)


def _embed(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return module.token_rows.embed(inputs[0], output)


def _score(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return module.token_rows.score(inputs[0], output)


def add_token_rows(embedding: nn.Module, head: nn.Module, token_ids: Sequence[int]) -> None:
    """Give both matrices trainable rows; one set where they are one matrix. `fold_token_rows` takes them back."""
    matrices: Any = (embedding, head)
    own = TokenRows(matrices[0].weight, token_ids)
    tied = matrices[0].weight is matrices[1].weight
    for part, hook, rows in (
        (matrices[0], _embed, own),
        (matrices[1], _score, own if tied else TokenRows(matrices[1].weight, token_ids)),
    ):
        part.add_module(_NAME, rows)
        part.token_rows_hook = part.register_forward_hook(hook)


@torch.no_grad()
def fold_token_rows(*matrices: nn.Module) -> None:
    """Write the rows into their matrices, which are plain ones again; matrices without such rows stay as they are."""
    for part in matrices:
        rows: Any = getattr(part, _NAME, None)
        if rows is None:
            continue
        weight: Any = part.weight
        weight[rows.token_ids] = rows.rows.to(weight.dtype)
        handle: RemovableHandle = part.token_rows_hook  # type: ignore[assignment]
        handle.remove()
        del part.token_rows_hook
        delattr(part, _NAME)
