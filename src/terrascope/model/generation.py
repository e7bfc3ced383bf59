"""Algorithm 1: reasoning in which every [SEG] becomes a mask, and the mask's visual tokens go back into the context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from terrascope.choice import ChoiceRule
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.devices import check_finite
from terrascope.model.encoding import EncodedScene, embed_prompt, encode_scene
from terrascope.model.injection import inject, weigh_pairs
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import Prompt, TerraScopeProcessor
from terrascope.predictor import Grounding
from terrascope.question import LETTERS
from terrascope.trace import parse_image_indicator

__all__ = [
    "EncodedScene",
    "GenerationSettings",
    "Grounder",
    "Look",
    "Reasoning",
    "Record",
    "drawn_on",
    "embed_prompt",
    "encode_scene",
    "ground",
    "inject",
    "mask_logits",
    "read_mask",
    "reason",
    "route",
    "weigh_pairs",
]

Look = Literal["auto", "whole", "views"]


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """Limits of one reasoning.

    Attributes:
        max_new_tokens: positions that may follow the prompt, injected visual tokens included.
        constrain_choices: with options, only their letters may open the answer.
        choice_rule: how an option is chosen; what the model's configuration says when None.
        look: `whole` reduces a large scene to what SAM-2 takes; `views` covers it by overlapping views at full
            resolution; `auto` does so where a scene is larger than SAM-2's input.
        view_size: pixels along the edge of a view; what the model's configuration says when None.
    """

    max_new_tokens: int = 1024
    constrain_choices: bool = True
    choice_rule: ChoiceRule | None = None
    look: Look = "auto"
    view_size: int | None = None


@dataclass(eq=False)
class Record:
    """What went through the language model, kept for tests and for replaying.

    Attributes:
        embeddings: `[n, D]` of every pass, the prompt first.
        logits: `[V]` before every token of the reasoning.
        positions: the position of every such token.
        seg_states: `[D]` of every [SEG], before the projection.
        injected: int64 `[k]`, the visual tokens that were fed back after every [SEG]; both of a cell
            have one index.
    """

    embeddings: list[Tensor] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    seg_states: list[Tensor] = field(default_factory=list)
    injected: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Reasoning:
    """One generated reasoning: its text with tags, its tokens, the mask of each [SEG] in order, and why it stopped.

    `record` is there only where it was asked for: its logits take a vocabulary of floats per token.
    """

    text: str
    token_ids: tuple[int, ...]
    groundings: tuple[Grounding, ...]
    finish_reason: str
    record: Record | None = None


class Grounder(Protocol):
    """What turns a [SEG] into a mask: the pair (from 0), the state `[D]`, and the reasoning so far ->
    mask bool `[H, W]` and its confidence."""

    def __call__(self, pair: int, state: Tensor, text: str) -> tuple[Tensor, float]: ...


def ground(
    model: TerraScopeForConditionalGeneration, encoded: EncodedScene, pair: int, seg_state: Tensor
) -> tuple[Tensor, float]:
    """The mask bool `[H, W]` of a [SEG] state `[D]` on a pair, and its confidence: `read_mask` of `mask_logits`."""
    return read_mask(*mask_logits(model, encoded, pair, seg_state), model.config.mask_temperature)


def mask_logits(
    model: TerraScopeForConditionalGeneration, encoded: EncodedScene, pair: int, seg_state: Tensor
) -> tuple[Tensor, Tensor]:
    """What a [SEG] state `[D]` points at on a pair.

    With an optical and a SAR image, the mask is decoded on both and their logits are fused where both were measured;
    elsewhere the one that was measured decides.

    Returns:
        float32 logits `[H, W]` on the scene's grid, and bool `[H, W]`: where anything was measured.
    """
    places = [encoded.pairs[pair][kind] for kind in drawn_on(model.config, tuple(encoded.pairs[pair]))]
    rows = torch.tensor(places, device=model.device)
    states = seg_state.expand(len(places), 1, -1)
    logits, _ = model.decode_masks(encoded.embeddings[rows], states)
    shape = tuple(encoded.inputs.valid[places[0]].shape)
    valid = torch.stack([encoded.inputs.valid[place] for place in places])
    return model.fuse_logits(model.resize_logits(logits, (shape[0], shape[1]))[:, 0], valid), valid.any(0)


def read_mask(logits: Tensor, seen: Tensor, temperature: float) -> tuple[Tensor, float]:
    """The mask bool `[H, W]` that logits `[H, W]` draw where something was measured, and its confidence.

    The confidence is the mean probability inside the mask; for an empty mask, one minus the highest probability
    anywhere. The probability is that of the logits divided by the temperature, which the mask does not depend on.
    """
    mask = (logits > 0) & seen
    probability = torch.sigmoid(logits / temperature)
    return mask, float(probability[mask].mean() if mask.any() else 1 - probability[seen].max())


class _Decoder:
    """The language model with its cache; feeds embeddings and returns the last logits and hidden state."""

    def __init__(self, model: TerraScopeForConditionalGeneration, record: Record | None) -> None:
        self.model, self.record = model, record
        self.cache = DynamicCache()
        self.length = self.next_position = 0

    def feed(self, embeddings: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Append embeddings `[n, D]`, at the next positions if none are given; logits `[V]` and hidden state `[D]` at
        the last of them."""
        num = len(embeddings)
        if positions is None:
            positions = torch.arange(self.next_position, self.next_position + num, device=embeddings.device)[None]
            self.next_position += num
        else:
            self.next_position = int(positions.max()) + 1
        output = self.model(
            inputs_embeds=embeddings[None], position_ids=positions, past_key_values=self.cache, logits_to_keep=1
        )
        self.length += num
        if self.record is not None:
            self.record.embeddings.append(embeddings)
        return output.logits[0, -1].float(), output.last_hidden_state[0, -1]


@torch.inference_mode()
def reason(
    model: TerraScopeForConditionalGeneration,
    processor: TerraScopeProcessor,
    encoded: EncodedScene,
    prompt: Prompt,
    settings: GenerationSettings | None = None,
    *,
    forced_ids: Sequence[int] | None = None,
    forced_masks: Sequence[np.ndarray] | None = None,
    ground_with: Grounder | None = None,
    keep_record: bool = False,
) -> Reasoning:
    """Answer a question about an encoded scene (Algorithm 1), greedily.

    Args:
        model, processor: of one checkpoint.
        encoded: from `encode_scene`.
        prompt: from `TerraScopeProcessor.prepare_prompt`.
        settings: limits.
        forced_ids: tokens to emit instead of the model's own choice; generation ends with them.
        forced_masks: masks to use instead of the decoded ones, for the first [SEG]s in order (an oracle).
        ground_with: makes the masks instead of `ground`; they may have another resolution than the encoded scene.
        keep_record: keep embeddings, logits and token indices of every step.

    Returns:
        The reasoning. `finish_reason` is `end`, `length` (the budget was reached) or `masks` (too many [SEG]).

    Raises:
        ModelError: the model's numbers are not finite.
    """
    settings = settings or GenerationSettings()
    tokenizer, config = processor.tokenizer, model.config
    embed = model.get_input_embeddings()
    record = Record() if keep_record else None
    decoder = _Decoder(model, record)
    visual = weigh_pairs(
        model,
        [{kind: encoded.context[place] for kind, place in pair.items()} for pair in encoded.pairs],
        encoded.inputs.layouts,
        prompt,
    )
    positions = model.prompt_positions(prompt.input_ids.to(model.device))
    logits, _ = decoder.feed(embed_prompt(model, prompt, encoded.context), positions)
    end = decoder.length + settings.max_new_tokens
    answer_id = tokenizer.convert_tokens_to_ids("<answer>")
    letters = _letter_ids(processor, prompt.num_options)
    end_ids = {tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids(list(config.stop_tokens))}
    token_ids: list[int] = []
    groundings: list[Grounding] = []
    finish_reason = "length"
    while True:
        # Before the budget: a text whose last mask uses it up has ended, and was not cut off.
        if forced_ids is not None and len(token_ids) == len(forced_ids):
            finish_reason = "end"
            break
        if decoder.length >= end:
            break
        check_finite(logits, model.dtype)
        if forced_ids is not None:
            token = int(forced_ids[len(token_ids)])
        elif letters and settings.constrain_choices and token_ids and token_ids[-1] == answer_id:
            token = letters[int(logits[letters].argmax())]
        else:
            token = int(logits.argmax())
        if record is not None:
            record.logits.append(logits)
            record.positions.append(decoder.length)
        token_ids.append(token)
        if token in end_ids and forced_ids is None:
            finish_reason = "end"
            break
        # The state of [SEG] is the one with [SEG] as input: feed, then read (docs/decisions.md).
        logits, hidden = decoder.feed(embed(torch.tensor([token], device=model.device)))
        if token != config.seg_token_id:
            continue
        text = tokenizer.decode(token_ids)
        pair = route(config, text, len(groundings), len(encoded.pairs))
        mask, confidence = ground_with(pair, hidden, text) if ground_with else ground(model, encoded, pair, hidden)
        if forced_masks is not None and len(groundings) < len(forced_masks):
            mask, confidence = torch.from_numpy(forced_masks[len(groundings)]), 1.0
        indices, features, is_optical = inject(model, visual[pair], mask, written=token_ids)
        fits = decoder.length + len(indices) <= end
        num_optical = int(is_optical.sum()) if fits else 0
        groundings.append(
            Grounding(
                mask=mask.numpy(),
                image=pair + 1,
                confidence=confidence,
                num_optical_tokens=num_optical,
                num_sar_tokens=len(indices) - num_optical if fits else 0,
            )
        )
        if not fits:
            break
        if record is not None:
            record.seg_states.append(hidden)
            record.injected.append(indices)
        if len(indices):
            logits, _ = decoder.feed(features.to(model.dtype))
        if len(groundings) >= config.max_masks and forced_ids is None:
            finish_reason = "masks"
            break
    shown = token_ids[:-1] if token_ids and token_ids[-1] in end_ids else token_ids
    return Reasoning(tokenizer.decode(shown), tuple(token_ids), tuple(groundings), finish_reason, record)


def drawn_on(config: TerraScopeConfig, kinds: Sequence[str]) -> tuple[str, ...]:
    """Of the kinds of image that a pair has, those on which masks are drawn, the optical one first."""
    if config.mask_images == "optical" and "optical" in kinds:
        return ("optical",)
    return tuple(kind for kind in ("optical", "sar") if kind in kinds)


def route(config: TerraScopeConfig, text: str, num_masks: int, num_pairs: int) -> int:
    """The pair (from 0) that the next [SEG] lies on, after `text` and `num_masks` others."""
    if config.routing == "round_robin":
        return num_masks % num_pairs
    return (parse_image_indicator(text, num_pairs) or 1) - 1


def _letter_ids(processor: TerraScopeProcessor, num_options: int) -> list[int]:
    """Token ids of the letters of the options."""
    return [processor.tokenizer.convert_tokens_to_ids(letter) for letter in LETTERS[:num_options]]
