"""What the model sees of a training sample and what the loss counts, built by the functions that inference uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from terrascope.model.encoding import embed_prompt
from terrascope.model.injection import inject, weigh_pairs
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import Prompt
from terrascope.model.tiles import TileLayout

IGNORED = -100


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """What the model is to write, and what its [SEG]s stand for.

    Attributes:
        token_ids: int64 `[R]`.
        masks: per [SEG], its true mask, bool `[H, W]` on the scene's grid.
        pairs: per [SEG], the pair (from 0) that it lies on.
        known: per [SEG], bool `[H, W]`: where the truth is known.
        injected: per [SEG], the mask whose visual tokens follow it; None where that is the true mask.
    """

    token_ids: Tensor
    masks: tuple[Tensor, ...]
    pairs: tuple[int, ...]
    known: tuple[Tensor, ...]
    injected: tuple[Tensor, ...] | None = None


@dataclass(frozen=True, eq=False)
class TrainingSequence:
    """One sample as the language model sees it.

    Attributes:
        embeddings: `[T, D]`.
        labels: int64 `[T]`: the text token that follows each position, `IGNORED` in the prompt and wherever a visual
            token follows (Eq. 6 excludes injected features).
        seg_positions: where [SEG] is the input.
    """

    embeddings: Tensor
    labels: Tensor
    seg_positions: tuple[int, ...]


def build_sequence(
    model: TerraScopeForConditionalGeneration,
    prompt: Prompt,
    pairs: Sequence[Mapping[str, Tensor]],
    layouts: Sequence[TileLayout],
    target: Target,
) -> TrainingSequence:
    """Prompt, then the target's tokens, with the visual tokens of a mask after each [SEG] (paper, Training).

    The mask is the true one, unless the target names another.

    Args:
        model: embeds.
        prompt: of the question.
        pairs: per pair, kind -> visual tokens `[tiles * N, D]`.
        layouts: per pair.
        target: what the model is to write.
    """
    context = [tokens for pair in pairs for tokens in pair.values()]
    visual = weigh_pairs(model, pairs, layouts, prompt)
    ids = target.token_ids.to(model.device)
    words = model.get_input_embeddings()(ids)
    pieces = [embed_prompt(model, prompt, context)]
    labels = [torch.full((len(prompt.input_ids) - 1,), IGNORED), target.token_ids[:1]]
    length = len(prompt.input_ids)
    seg_positions: list[int] = []
    injected = target.masks if target.injected is None else target.injected
    segs = (target.token_ids == model.config.seg_token_id).nonzero()[:, 0].tolist()
    start = 0
    for number, place in enumerate([*segs, len(ids) - 1]):
        pieces.append(words[start : place + 1])
        length += place + 1 - start
        labels.append(target.token_ids[start + 1 : place + 1])
        if number < len(segs):
            seg_positions.append(length - 1)
            indices, features, _ = inject(
                model, visual[target.pairs[number]], injected[number], written=target.token_ids[: place + 1]
            )
            following = target.token_ids[place + 1 : place + 2]
            if len(indices):
                pieces.append(features.to(words.dtype))
                length += len(indices)
                labels.append(torch.full((len(indices),), IGNORED))
            labels.append(following)
        start = place + 1
    labels.append(torch.full((1,), IGNORED))
    return TrainingSequence(torch.cat(pieces), torch.cat(labels), tuple(seg_positions))


def pad_sequences(sequences: Sequence[TrainingSequence]) -> tuple[Tensor, Tensor, Tensor]:
    """Pad on the right: embeddings `[B, T, D]`, attention mask `[B, T]`, labels `[B, T]`."""
    embeddings = torch.nn.utils.rnn.pad_sequence([s.embeddings for s in sequences], batch_first=True)
    labels = torch.nn.utils.rnn.pad_sequence([s.labels for s in sequences], batch_first=True, padding_value=IGNORED)
    lengths = torch.tensor([len(s.labels) for s in sequences])
    attention_mask = (torch.arange(embeddings.shape[1])[None] < lengths[:, None]).long()
    return embeddings, attention_mask.to(embeddings.device), labels
