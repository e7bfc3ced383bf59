"""Algorithm 1: reasoning in which every [SEG] becomes a mask, and the mask's visual tokens go back into the context."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from terrascope.answer import Grounding
from terrascope.choice import ChoiceRule
from terrascope.events import Drew, Listener, Wrote
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.devices import check_finite
from terrascope.model.drafting import Phrases, drafter
from terrascope.model.encoding import EncodedScene, embed_prompt
from terrascope.model.engine.engine import Engine
from terrascope.model.engine.requests import Feed, Ground, Prefill, Program
from terrascope.model.injection import inject, weigh_pairs
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import Prompt, TerraScopeProcessor
from terrascope.question import LETTERS
from terrascope.trace import parse_image_indicator

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
        phrases: guesses what comes next, so that several tokens go through the model in one pass; None for none. A
            guess that the model does not choose itself is taken back, so the answer stays what it is.
    """

    max_new_tokens: int = 1024
    constrain_choices: bool = True
    choice_rule: ChoiceRule | None = None
    look: Look = "auto"
    view_size: int | None = None
    phrases: Phrases | None = None


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
    a program that comes to the mask, bool `[H, W]`, and its confidence."""

    def __call__(self, pair: int, state: Tensor, text: str) -> Program[tuple[Tensor, float]]: ...


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
    """Answer a question about an encoded scene (Algorithm 1), greedily: `reasoning`, run to its end by itself.

    Raises:
        ModelError: the model's numbers are not finite.
    """
    return Engine(model).run(
        lambda: reasoning(
            model, processor, encoded, prompt, settings, forced_ids=forced_ids, forced_masks=forced_masks,
            ground_with=ground_with, keep_record=keep_record,
        )
    )  # fmt: skip


def reasoning(
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
    tell: Listener | None = None,
) -> Program[Reasoning]:
    """Algorithm 1 as a program of the engine.

    Args:
        model, processor: of one checkpoint.
        encoded: from `encode_scene`.
        prompt: from `TerraScopeProcessor.prepare_prompt`.
        settings: limits.
        forced_ids: tokens to emit instead of the model's own choice; generation ends with them.
        forced_masks: masks to use instead of the decoded ones, for the first [SEG]s in order (an oracle).
        ground_with: makes the masks instead of the engine; they may have another resolution than the encoded scene.
        keep_record: keep embeddings, logits and token indices of every step.
        tell: called with every token as it is written (`Wrote`) and every mask as it is drawn (`Drew`).

    Returns:
        The reasoning. `finish_reason` is `end`, `length` (the budget was reached) or `masks` (too many [SEG]).

    Raises:
        ModelError: the model's numbers are not finite.
    """
    settings = settings or GenerationSettings()
    tokenizer, config = processor.tokenizer, model.config
    embed = model.get_input_embeddings()
    # The library looks for them among all parameters, each time.
    device, dtype = model.device, model.dtype
    record = Record() if keep_record else None
    visual = weigh_pairs(
        model,
        [{kind: encoded.context[place] for kind, place in pair.items()} for pair in encoded.pairs],
        encoded.inputs.layouts,
        prompt,
    )
    begin = Prefill(
        embed_prompt(model, prompt, encoded.context),
        model.prompt_positions(prompt.input_ids.to(device))[..., 0, :],
        encoded,
        shared_ids(prompt),
    )
    length = len(begin.embeddings)
    if record is not None:
        record.embeddings.append(begin.embeddings)
    logits, _ = yield begin
    end = length + settings.max_new_tokens
    answer_id = tokenizer.convert_tokens_to_ids("<answer>")
    letters = _letter_ids(processor, prompt.num_options)
    end_ids = {tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids(list(config.stop_tokens))}
    token_ids: list[int] = []
    groundings: list[Grounding] = []
    # Tokens that were fed before they were chosen: id, embedding, and the output after each.
    ahead: deque[tuple[int, Tensor, Tensor, Tensor]] = deque()
    draft = drafter(config.seg_token_id, forced_ids, settings.phrases)
    finish_reason = "length"
    while True:
        # Before the budget: a text whose last mask uses it up has ended, and was not cut off.
        if forced_ids is not None and len(token_ids) == len(forced_ids):
            finish_reason = "end"
            break
        if length >= end:
            break
        check_finite(logits, dtype)
        if forced_ids is not None:
            token = int(forced_ids[len(token_ids)])
        elif letters and settings.constrain_choices and token_ids and token_ids[-1] == answer_id:
            token = letters[int(logits[letters].argmax())]
        else:
            token = int(logits.argmax())
        if record is not None:
            record.logits.append(logits)
            record.positions.append(length)
        token_ids.append(token)
        if token in end_ids and forced_ids is None:
            finish_reason = "end"
            break
        if tell is not None:
            tell(Wrote(tokenizer.decode(token_ids)))
        # The state of [SEG] is the one with [SEG] as input: feed, then read (docs/decisions.md).
        if not (ahead and ahead[0][0] == token):
            drafted = draft(token_ids)[: end - length - 1]
            fed = embed(torch.tensor([token, *drafted], device=device))
            outputs = yield Feed(fed, every=True, forget=len(ahead))
            ahead = deque(zip((token, *drafted), fed, *outputs, strict=True))
        _, fed, logits, hidden = ahead.popleft()
        length += 1
        if record is not None:
            record.embeddings.append(fed[None])
        if token != config.seg_token_id:
            continue
        text = tokenizer.decode(token_ids)
        pair = route(config, text, len(groundings), len(encoded.pairs))
        if forced_masks is not None and len(groundings) < len(forced_masks):
            mask, confidence = torch.from_numpy(forced_masks[len(groundings)]), 1.0
        elif ground_with is not None:
            mask, confidence = yield from ground_with(pair, hidden, text)
        else:
            mask, confidence = yield Ground(encoded, pair, hidden)
        indices, features, is_optical = inject(model, visual[pair], mask, written=token_ids)
        fits = length + len(indices) <= end
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
        if tell is not None:
            tell(Drew(groundings[-1]))
        if not fits:
            break
        if record is not None:
            record.seg_states.append(hidden)
            record.injected.append(indices)
        if len(indices):
            fed = features.to(dtype)
            length += len(fed)
            if record is not None:
                record.embeddings.append(fed)
            logits, _ = yield Feed(fed, forget=len(ahead))
            ahead.clear()
        if len(groundings) >= config.max_masks and forced_ids is None:
            finish_reason = "masks"
            break
    if settings.phrases is not None and forced_ids is None:
        settings.phrases.learn(token_ids)
    shown = token_ids[:-1] if token_ids and token_ids[-1] in end_ids else token_ids
    return Reasoning(tokenizer.decode(shown), tuple(token_ids), tuple(groundings), finish_reason, record)


def shared_ids(prompt: Prompt) -> tuple[int, ...]:
    """The tokens that the prompts of all questions about a scene begin with: up to the question."""
    asked = prompt.question.nonzero()
    return tuple(prompt.input_ids[: int(asked[0])].tolist()) if len(asked) else ()


def route(config: TerraScopeConfig, text: str, num_masks: int, num_pairs: int) -> int:
    """The pair (from 0) that the next [SEG] lies on, after `text` and `num_masks` others."""
    if config.routing == "round_robin":
        return num_masks % num_pairs
    return (parse_image_indicator(text, num_pairs) or 1) - 1


def _letter_ids(processor: TerraScopeProcessor, num_options: int) -> list[int]:
    """Token ids of the letters of the options."""
    return [processor.tokenizer.convert_tokens_to_ids(letter) for letter in LETTERS[:num_options]]
