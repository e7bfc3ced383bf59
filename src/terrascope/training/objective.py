"""Eq. 6 over a batch: L = L_LM + lambda * L_seg, with the masks decoded from the [SEG] states of the same pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from terrascope.model.drawing import ground
from terrascope.model.encoding import EncodedScene
from terrascope.model.grounding import ImageEmbedding
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import SceneInputs
from terrascope.training.alignment import Distance, modality_gaps, state_gaps
from terrascope.training.batch import Batch
from terrascope.training.encoders import SceneEncoders, place_images, split_tokens
from terrascope.training.examples import Example
from terrascope.training.losses import ENTROPY_FIRST, LossWeights, Weight, language_sum
from terrascope.training.segmentation import first_images, segmentation_sum
from terrascope.training.sequence import IGNORED, Target, TrainingSequence, build_sequence, pad_sequences

Injected = Literal["truth", "noisy", "predicted"]


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """Eq. 6 and what goes beyond it.

    Attributes:
        loss: the weights of L_seg and of its terms.
        loss_size: masks are compared on a grid of so many pixels along each edge.
        num_points: compare them at so many points of that grid instead, chosen as PointRend does.
        injected: whose visual tokens follow a [SEG]. `truth`, those of the true mask (paper, Sec. 3.2, Training).
            `noisy`, those of `Target.injected`. `predicted`, those of a mask of the model's own: a first pass without
            gradients has the truth injected, and the masks decoded from its [SEG] states are injected in the second
            pass. The first mask of a text is so what the model would draw by itself; the later ones come from states
            that have still seen the truth of earlier steps, and not, as in inference, the model's own masks.
        alignment: weight of the mean square between projected [SEG] states and the prompts of their classes.
        modality_alignment: weight of how far the projected optical and SAR tokens of one cell are apart, where both
            images were measured.
        modality_distance: one minus the cosine, or the mean square.
    """

    loss: LossWeights = ENTROPY_FIRST
    loss_size: Annotated[int, Field(ge=1)] = 128
    num_points: Annotated[int, Field(ge=1)] | None = None
    injected: Injected = "truth"
    alignment: Weight = 0.0
    modality_alignment: Weight = 0.0
    modality_distance: Distance = "cosine"


@dataclass(kw_only=True, eq=False)
class Losses:
    """Sums and counts of a batch, so that those of several batches or processes give the mean over all.

    Attributes:
        language: sum over text tokens.
        num_tokens: how many.
        segmentation: sum over [SEG]s whose truth is known somewhere; of one with several masks (both images of a pair
            and their fusion), their mean.
        num_masks: how many such [SEG]s.
        extra: by name, the weighted sum of a further term and its count.
        num_positions: positions that went through the language model, without padding.
        seg_loss_weight: the lambda of Eq. 6.
        num_tiles, num_images: tiles that went through the image encoder, and images through that of SAM-2; none of
            those whose encoding was kept, or not needed.
    """

    language: Tensor
    num_tokens: int
    segmentation: Tensor
    num_masks: int
    extra: dict[str, tuple[Tensor, int]]
    num_positions: int
    seg_loss_weight: float
    num_tiles: int = 0
    num_images: int = 0

    def parts(self) -> dict[str, tuple[Tensor, int]]:
        """Every part of the loss by name, as a sum with what it is a sum over."""
        return {
            "language": (self.language, self.num_tokens),
            "segmentation": (self.segmentation, self.num_masks),
            **self.extra,
        }

    def mean(
        self,
        num_tokens: float | None = None,
        num_masks: float | None = None,
        num_extra: Mapping[str, float] | None = None,
    ) -> Tensor:
        """The loss of Eq. 6, each sum divided by its count.

        Args:
            num_tokens, num_masks, num_extra: counts to divide by instead of the batch's own: those of all batches that
                make up one step.
        """
        tokens = self.num_tokens if num_tokens is None else num_tokens
        masks = self.num_masks if num_masks is None else num_masks
        total = self.language / max(tokens, 1) + self.seg_loss_weight * self.segmentation / max(masks, 1)
        for name, (term, count) in self.extra.items():
            total = total + term / max(count if num_extra is None else num_extra[name], 1)
        return total


@dataclass(frozen=True, eq=False)
class _Pass:
    """What came of one pass of the language model: states `[M, D]` of all [SEG]s of the batch, in order."""

    states: Tensor
    language: Tensor
    num_tokens: int
    num_positions: int


class Objective(nn.Module):
    """The loss of a batch, as sums and counts.

    Images are encoded once per scene, whichever samples ask about them; all [SEG]s of a batch are decoded in one call.

    Args:
        model: that is trained; which of its parameters move is settled by `stages.prepare_stage`.
        settings: what is counted.
        class_prompts: `[classes, C]`, for the alignment of [SEG] states.
        cache_mb: MB of main memory for what frozen encoders gave (`encoders.SceneEncoders`).
        states: the [SEG] states `[P, D]` of an example, where they are known already (`states.SegStateCache`): then the
            language model does not run, and only masks are counted.
    """

    class_prompts: Tensor | None

    def __init__(
        self,
        model: TerraScopeForConditionalGeneration,
        settings: ObjectiveSettings,
        *,
        class_prompts: Tensor | None = None,
        cache_mb: int = 0,
        states: Callable[[Example], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if settings.alignment and class_prompts is None:
            raise ValueError("the alignment of [SEG] states needs class_prompts")
        self.model, self.settings, self.known_states = model, settings, states
        self.register_buffer("class_prompts", class_prompts, persistent=False)
        self.encoders = SceneEncoders(model, cache_mb)

    def forward(self, batch: Batch) -> Losses:
        """The losses of a batch; a sample without masks contributes its language loss only.

        Where L_seg has no weight, no mask is drawn.
        """
        model, settings, encoders = self.model, self.settings, self.encoders
        num_tiles, num_images = encoders.num_tiles, encoders.num_images
        draws = settings.loss.seg_loss_weight > 0 or settings.injected == "predicted"
        drawn, embedding = self._embed(batch) if draws else ([], None)
        extra: dict[str, tuple[Tensor, int]] = {}
        if self.known_states is None:
            tokens = encoders.look(batch.scenes, batch.scene_ids)
            targets = self._targets(batch, tokens, drawn, embedding)
            result = self._run(batch, tokens, targets)
            if settings.modality_alignment:
                gaps, count = modality_gaps(batch, tokens, settings.modality_distance)
                extra["modality_alignment"] = settings.modality_alignment * gaps, count
        else:
            known = [self.known_states(example) for example in batch.examples if example.target.masks]
            states = torch.cat(known) if known else torch.zeros(0, model.config.vlm_config.text_config.hidden_size)
            result = _Pass(states.to(model.device, model.dtype), torch.zeros((), device=model.device), 0, 0)
        segmentation, num_masks = segmentation_sum(
            model, batch, result.states, drawn, embedding, settings.loss, settings.loss_size, settings.num_points
        )
        if settings.alignment:
            assert self.class_prompts is not None
            gaps, count = state_gaps(model, batch, result.states, self.class_prompts)
            extra["alignment"] = settings.alignment * gaps, count
        return Losses(
            language=result.language,
            num_tokens=result.num_tokens,
            segmentation=segmentation,
            num_masks=num_masks,
            extra=extra,
            num_positions=result.num_positions,
            seg_loss_weight=settings.loss.seg_loss_weight,
            num_tiles=encoders.num_tiles - num_tiles,
            num_images=encoders.num_images - num_images,
        )

    def read_states(self, batch: Batch) -> list[Tensor]:
        """Per example, the states `[P, D]` of its [SEG]s, without gradients."""
        with torch.no_grad():
            tokens = self.encoders.look(batch.scenes, batch.scene_ids)
            drawn, embedding = self._embed(batch) if self.settings.injected == "predicted" else ([], None)
            targets = self._targets(batch, tokens, drawn, embedding)
            states = self._run(batch, tokens, targets, logits=False).states
        return list(states.split([len(example.target.masks) for example in batch.examples]))

    # The language model.

    def _targets(
        self, batch: Batch, tokens: Sequence[Tensor], drawn: Sequence[int], embedding: ImageEmbedding | None
    ) -> list[Target]:
        """The targets with the masks that are injected."""
        if self.settings.injected == "noisy":
            return [example.target for example in batch.examples]
        true = [replace(example.target, injected=None) for example in batch.examples]
        if self.settings.injected == "truth" or embedding is None:
            return true
        with torch.no_grad():
            states = iter(self._run(batch, tokens, true, logits=False).states)
            encoded = dict(zip(drawn, _split_scenes([batch.scenes[n] for n in drawn], embedding), strict=True))
            return [
                replace(
                    t, injected=tuple(ground(self.model, encoded[owner], p, next(states))[0].cpu() for p in t.pairs)
                )
                for t, owner in zip(true, batch.owners, strict=True)
            ]

    def _run(self, batch: Batch, tokens: Sequence[Tensor], targets: Sequence[Target], *, logits: bool = True) -> _Pass:
        """One pass over all sequences, each with the visual tokens of its own scene."""
        model = self.model
        pairs = [split_tokens(scene, seen) for scene, seen in zip(batch.scenes, tokens, strict=True)]
        built = [
            build_sequence(model, example.prompt, pairs[owner], batch.scenes[owner].layouts, target)
            for example, owner, target in zip(batch.examples, batch.owners, targets, strict=True)
        ]
        embeddings, attention_mask, labels = pad_sequences(built)
        counted = labels != IGNORED
        output = model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=self._positions(batch, built).to(embeddings.device),
            logits_to_keep=counted.to(embeddings.device) if logits else 1,
        )
        rows = torch.tensor([row for row, s in enumerate(built) for _ in s.seg_positions], dtype=torch.long)
        columns = torch.tensor([place for s in built for place in s.seg_positions], dtype=torch.long)
        states = output.last_hidden_state[rows.to(embeddings.device), columns.to(embeddings.device)]
        labels = labels[counted].to(embeddings.device)
        language = language_sum(output.logits, labels) if logits else torch.zeros((), device=embeddings.device)
        return _Pass(states, language, len(labels), sum(len(s.labels) for s in built))

    def _positions(self, batch: Batch, built: Sequence[TrainingSequence]) -> Tensor:
        """Positions `[B, T]` or `[axes, B, T]`: those of the prompts, then counted on from their maximum, as in use."""
        length = max(len(s.labels) for s in built)
        rows = []
        for example, sequence in zip(batch.examples, built, strict=True):
            start = self.model.prompt_positions(example.prompt.input_ids)
            after = start.max() + 1 + torch.arange(len(sequence.labels) - start.shape[-1])
            row = torch.cat([start, after.expand(*start.shape[:-1], -1)], dim=-1)
            rows.append(functional.pad(row, (0, length - row.shape[-1])))
        return torch.cat(rows, dim=-2)

    # The masks.

    def _embed(self, batch: Batch) -> tuple[list[int], ImageEmbedding | None]:
        """The scenes that masks are drawn on, and SAM-2's embedding of their images; None without any mask."""
        owners = zip(batch.owners, batch.examples, strict=True)
        drawn = sorted({owner for owner, example in owners if example.target.masks})
        if not drawn:
            return drawn, None
        return drawn, self.encoders.embed([batch.scenes[n] for n in drawn], [batch.scene_ids[n] for n in drawn])


def _split_scenes(scenes: Sequence[SceneInputs], embedding: ImageEmbedding) -> list[EncodedScene]:
    """Scenes as `drawing.ground` takes them."""
    starts = first_images(scenes)
    return [
        EncodedScene((), tuple(place_images(scene)), scene, embedding[start:stop])
        for scene, start, stop in zip(scenes, starts, starts[1:], strict=False)
    ]
