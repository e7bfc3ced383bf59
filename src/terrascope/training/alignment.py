"""Two terms beyond Eq. 6: [SEG] states near a prompt of their class, and both modalities near each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from terrascope.errors import QuestionError
from terrascope.landcover import TERRASCOPE
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.selection import cell_coverage
from terrascope.training.batch import Batch
from terrascope.training.encoders import place_images, split_tokens
from terrascope.training.segmentation import idle

Distance = Literal["cosine", "mse"]


def state_gaps(
    model: TerraScopeForConditionalGeneration, batch: Batch, states: Tensor, class_prompts: Tensor
) -> tuple[Tensor, int]:
    """The mean square between each projected [SEG] state and the prompt of its class: their sum and their number.

    Args:
        states: `[M, D]` of all [SEG]s of the batch, in order.
        class_prompts: `[classes, C]`; what shows none of these classes is left out.
    """
    names = [name for example in batch.examples for name in example.class_names]
    rows = [(row, class_id) for row, name in enumerate(names) if (class_id := _class_id(name)) is not None]
    if not rows:
        return idle(model.seg_projection), 0
    places, classes = torch.tensor(rows, device=states.device).T
    projected = model.seg_projection(states[places]).float()
    return functional.mse_loss(projected, class_prompts[classes].float(), reduction="none").mean(1).sum(), len(rows)


def modality_gaps(batch: Batch, tokens: Sequence[Tensor], distance: Distance) -> tuple[Tensor, int]:
    """How far optical and SAR tokens of one cell are apart, over the samples that ask about them: sum and number.

    Only cells of which both images were measured for more than a half; thumbnails lie on no cell.

    Args:
        tokens: per scene, projected visual tokens `[tiles, N, D]`.
        distance: one minus the cosine, or the mean square.
    """
    total, count = tokens[0].new_zeros((), dtype=torch.float32), 0
    for number, (scene, seen) in enumerate(zip(batch.scenes, tokens, strict=True)):
        num_samples = batch.owners.count(number)
        for pair, places, layout in zip(split_tokens(scene, seen), place_images(scene), scene.layouts, strict=True):
            if len(pair) < 2:
                continue
            valid = scene.valid[places["optical"]] & scene.valid[places["sar"]]
            both_seen = (cell_coverage(valid, layout.token_grid) > 0.5).flatten()
            cells = layout.order[both_seen].to(seen.device)
            optical, sar = pair["optical"][cells].float(), pair["sar"][cells].float()
            if distance == "cosine":
                gaps = 1 - functional.cosine_similarity(optical, sar, dim=1)
            else:
                gaps = (optical - sar).square().mean(1)
            total, count = total + num_samples * gaps.sum(), count + num_samples * len(cells)
    return total, count


def _class_id(name: str) -> int | None:
    try:
        return TERRASCOPE.id_of(name)
    except QuestionError:
        return None
