"""What is fed back after a [SEG]: the one function that decides it, for training and for inference (Sec. 3.2).

The paper feeds back the visual tokens under the mask (Eq. 3), of the modality that is more relevant to the question
(Eq. 4-5). What Tables 2, 3, A and K compare that with is switched by settings of the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.fusion import VisualTokens, weigh_modalities
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import Prompt
from terrascope.model.selection import bounding_box, draw_tokens, merge_cells, select_similar, select_tokens
from terrascope.model.tiles import TileLayout


def weigh_pairs(
    model: TerraScopeForConditionalGeneration,
    pairs: Sequence[Mapping[str, Tensor]],
    layouts: Sequence[TileLayout],
    prompt: Prompt,
) -> list[VisualTokens]:
    """Per pair (kind -> visual tokens `[tiles * N, D]`), its tokens on the grid, weighed by the question (Eq. 4)."""
    question_ids = prompt.input_ids[prompt.question]
    question = model.get_input_embeddings()(question_ids.to(model.device))
    weighed = []
    for pair, layout in zip(pairs, layouts, strict=True):
        on_grid = {kind: tokens[layout.order.to(tokens.device)] for kind, tokens in pair.items()}
        visual = weigh_modalities(on_grid.get("optical"), on_grid.get("sar"), question, layout.token_grid)
        weighed.append(replace(visual, question_ids=tuple(question_ids.tolist())))
    return weighed


def inject(
    model: TerraScopeForConditionalGeneration,
    visual: VisualTokens,
    mask: Tensor,
    *,
    written: Sequence[int] | Tensor = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """The visual tokens that follow a [SEG].

    Args:
        model: its configuration says what is fed back (`interleave`, `modalities`, and the rules of Eq. 3).
        visual: of the pair that the mask lies on, from `weigh_pairs`.
        mask: bool `[H, W]` on the scene's grid.
        written: token ids of the reasoning up to this [SEG], which is the last of them; only `random` and `similar`
            depend on it.

    Returns:
        Indices `[k]` into the token grid, features `[k, D]`, bool `[k]` (True: optical). A cell that gives both its
        tokens stands twice among the indices; of cells that are merged, the first stands for all.

    Raises:
        ValueError: what is fed back depends on `written`, and that does not end with [SEG].
    """
    modalities = model.config.modalities
    cells = _choose_cells(model, visual, mask.cpu(), written)
    if model.config.merged_side == 1:
        features, is_optical = visual.gather(cells.to(model.device), modalities)
    else:
        merged_cells, block_of = merge_cells(cells, visual.token_grid, model.config.merged_side)
        merged = visual.merged(cells.to(model.device), block_of.to(model.device))
        cells = merged_cells
        features, is_optical = merged.gather(torch.arange(len(cells), device=model.device), modalities)
    return cells.repeat(visual.tokens_per_cell(modalities)), features, is_optical


def cells_under(config: TerraScopeConfig, mask: Tensor, token_grid: tuple[int, int]) -> Tensor:
    """The cells that lie under a mask by the rules of a configuration (Eq. 3); under its bounding box for `box`.

    Args:
        config: its rules choose, as `select_tokens` describes them.
        mask: bool `[H, W]`, on the CPU.
        token_grid: (rows, columns).

    Returns:
        int64 indices `[k]` into the flattened grid, in the order in which they are fed back.
    """
    return select_tokens(
        bounding_box(mask) if config.interleave == "box" else mask,
        token_grid,
        rule=config.token_rule,
        threshold=config.coverage_threshold,
        max_tokens=config.max_masked_tokens,
        thinning=config.thinning,
        keep_best=config.keep_best_token,
        first_if_empty=config.first_token_if_empty,
    )


def num_cells(config: TerraScopeConfig, mask: Tensor, token_grid: tuple[int, int]) -> int:
    """How many cells, or blocks of merged ones, are fed back for a mask, as far as that is known without the model.

    Where chance or the model chooses the cells that are merged, it is the number of cells, the most there can be.
    Likeness to words is the model's own: for `similar` it is the most that there can be. `random_tokens` may be more
    than the grid has, which then gives all its cells.

    Args:
        config, mask, token_grid: as of `cells_under`.
    """
    if config.interleave == "none":
        return 0
    if config.interleave == "similar":
        return config.max_masked_tokens
    if config.interleave == "random" and config.random_tokens is not None:
        return min(config.random_tokens, config.max_masked_tokens)
    cells = cells_under(config, mask, token_grid)
    if config.interleave == "random":
        return len(cells)
    return len(merge_cells(cells, token_grid, config.merged_side)[0])


def _choose_cells(
    model: TerraScopeForConditionalGeneration, visual: VisualTokens, mask: Tensor, written: Sequence[int] | Tensor
) -> Tensor:
    """int64 `[k]`: the cells of the token grid whose tokens are fed back."""
    config = model.config
    if config.interleave == "none":
        return torch.zeros(0, dtype=torch.int64)
    if config.interleave == "similar":
        ids, segs = _read_written(config.seg_token_id, written)
        first = segs[-2] + 1 if len(segs) > 1 else 0
        every_cell = torch.arange(visual.token_grid[0] * visual.token_grid[1], device=model.device)
        tokens, _ = visual.gather(every_cell, config.modalities)
        with torch.no_grad():
            words = model.get_input_embeddings()(ids[first:-1].to(model.device))
        return select_similar(
            tokens.unflatten(0, (-1, len(every_cell))),
            words,
            threshold=config.similarity_threshold,
            max_tokens=config.max_masked_tokens,
        )
    if config.interleave == "random":
        _, segs = _read_written(config.seg_token_id, written)
        entropy = (config.random_seed, len(segs) - 1, *visual.question_ids)
        return draw_tokens(num_cells(config, mask, visual.token_grid), visual.token_grid, entropy)
    return cells_under(config, mask, visual.token_grid)


def _read_written(seg_token_id: int, written: Sequence[int] | Tensor) -> tuple[Tensor, list[int]]:
    """The ids on the CPU, and the places of the [SEG]s among them."""
    ids = torch.as_tensor(written, dtype=torch.int64, device="cpu")
    segs = (ids == seg_token_id).nonzero()[:, 0].tolist()
    if not segs or segs[-1] != len(ids) - 1:
        raise ValueError("`written` must be the reasoning up to and with the [SEG] after which tokens are fed back")
    return ids, segs
