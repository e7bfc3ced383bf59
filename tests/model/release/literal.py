"""The released inference written down once more, slowly: no cache, no batch, Python loops, Pillow for all images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from terrascope.model.modeling import TerraScopeForConditionalGeneration

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalize(image: Image.Image) -> Tensor:
    pixels = (np.asarray(image, np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(pixels.transpose(2, 0, 1))


def cut(image: Image.Image, size: int, max_tiles: int) -> tuple[list[Image.Image], int, int]:
    """Tiles row by row with the thumbnail last, and the rows and columns of tiles."""
    ratio = image.width / image.height
    grids = sorted(
        {
            (c, r)
            for n in range(1, max_tiles + 1)
            for c in range(1, n + 1)
            for r in range(1, n + 1)
            if c * r <= max_tiles
        },
        key=lambda grid: grid[0] * grid[1],
    )
    best, gap = (1, 1), math.inf
    for columns, rows in grids:
        difference = abs(ratio - columns / rows)
        if difference < gap or (difference == gap and image.width * image.height > 0.5 * size * size * columns * rows):
            best, gap = (columns, rows), difference
    columns, rows = best
    whole = image.resize((columns * size, rows * size), Image.Resampling.BICUBIC)
    tiles = [
        whole.crop((c * size, r * size, (c + 1) * size, (r + 1) * size)) for r in range(rows) for c in range(columns)
    ]
    if len(tiles) > 1:
        tiles.append(image.resize((size, size), Image.Resampling.BICUBIC))
    return tiles, rows, columns


def choose(mask: np.ndarray, rows: int, columns: int, cap: int = 8) -> list[int]:
    """Row-major indices into the token grid: cells whose centre lies in the mask, at most `cap` of them."""
    height, width = mask.shape
    cells = [
        (r, c)
        for r in range(rows)
        for c in range(columns)
        if mask[int((r + 0.5) * height / rows), int((c + 0.5) * width / columns)]
    ]
    if not cells:
        return [0]
    if len(cells) <= cap:
        return [r * columns + c for r, c in cells]
    side = math.ceil(math.sqrt(cap))
    top, left = min(r for r, _ in cells), min(c for _, c in cells)
    height, width = max(r for r, _ in cells) - top + 1, max(c for _, c in cells) - left + 1
    kept: list[int] = []
    for i in range(side):
        for j in range(side):
            inside = [
                (r, c)
                for r, c in cells
                if i * height <= (r - top) * side < (i + 1) * height
                and j * width <= (c - left) * side < (j + 1) * width
            ]
            if inside and len(kept) < cap:
                middle = (top + (i + 0.5) * height / side, left + (j + 0.5) * width / side)
                nearest = min(inside, key=lambda cell: (cell[0] - middle[0]) ** 2 + (cell[1] - middle[1]) ** 2)
                kept.append(nearest[0] * columns + nearest[1])
    return kept


@torch.inference_mode()
def replay(
    model: TerraScopeForConditionalGeneration,
    tokenizer,
    images: Sequence[Image.Image],
    question: str,
    text: str,  # type: ignore[no-untyped-def]
) -> tuple[Tensor, list[list[int]], list[np.ndarray], Tensor]:
    """Logits before every token `[steps, V]`, injected tokens, mask logits, and [SEG] states `[num_masks, D]`."""
    config = model.config
    size, grid = config.tile_size, config.token_grid
    blocks, visual, grids = [], [], []
    for image in images:
        if len(images) > 1:
            tiles, rows, columns = [image.resize((size, size), Image.Resampling.BICUBIC)], 1, 1
        else:
            tiles, rows, columns = cut(image, size, config.max_tiles)
        tokens = model.encode_tiles(torch.stack([normalize(tile) for tile in tiles]))
        visual.append(tokens)
        grids.append((rows, columns))
        blocks.append("<img>" + "<IMG_CONTEXT>" * (len(tiles) * grid * grid) + "</img>\n")
    prompt = f"<|im_start|>user\n{''.join(blocks)}{question}<|im_end|>\n<|im_start|>assistant\n"
    ids = torch.tensor(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    embed = model.get_input_embeddings()
    sequence = embed(ids).clone()
    sequence[ids == config.vlm_config.image_token_id] = torch.cat([tokens.flatten(0, 1) for tokens in visual])
    logits, injected, masks, states = [], [], [], []
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        logits.append(model(inputs_embeds=sequence[None]).logits[0, -1])
        sequence = torch.cat([sequence, embed(torch.tensor([token]))])
        if token != config.seg_token_id:
            continue
        state = model(inputs_embeds=sequence[None]).last_hidden_state[0, -1]
        states.append(state)
        turn = len(injected) % len(images)
        mask = segment(model, images[turn], state)
        rows, columns = grids[turn]
        chosen = choose(mask > 0, rows * grid, columns * grid)
        features = []
        for index in chosen:
            row, column = divmod(index, columns * grid)
            tile = row // grid * columns + column // grid
            features.append(visual[turn][tile, row % grid * grid + column % grid])
        sequence = torch.cat([sequence, torch.stack(features)])
        injected.append(chosen)
        masks.append(mask)
    return torch.stack(logits), injected, masks, torch.stack(states)


def segment(model: TerraScopeForConditionalGeneration, image: Image.Image, state: Tensor) -> np.ndarray:
    """Logits of the best of the decoder's three masks, resized to SAM-2's input and then to the image."""
    sam, size = model.sam, model.config.sam_size
    embedding = model.encode_for_masks(normalize(image.resize((size, size), Image.Resampling.BICUBIC))[None])
    encoder = sam.prompt_encoder
    sparse = torch.cat([encoder.not_a_point_embed.weight] * 2 + [model.seg_projection(state)[None]])[None, None]
    cells = embedding.features.shape[-1]
    dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, cells, cells)
    logits, quality, _, _ = sam.mask_decoder(
        image_embeddings=embedding.features,
        image_positional_embeddings=sam.get_image_wide_positional_embeddings(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        high_resolution_features=[embedding.fine, embedding.middle],
    )
    best = logits[0, 0, int(quality[0, 0].argmax())][None, None]
    for shape in ((size, size), (image.height, image.width)):
        best = functional.interpolate(best, size=shape, mode="bilinear", align_corners=False)
    return best[0, 0].numpy()
