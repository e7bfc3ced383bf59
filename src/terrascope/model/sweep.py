"""Masks of a scene larger than SAM-2's view: overlapping views at full resolution, blended and joined, row by row.

A [SEG] state is a prompt that fits any image. So the state that a first look at the reduced scene has found is decoded
on every view, and the scene's mask has the resolution of its pixels. Memory holds one row of views and the masks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terrascope.masks import drop_specks
from terrascope.model.drawing import drawn_on
from terrascope.model.engine.requests import Pause, Program
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import TerraScopeImageProcessor
from terrascope.model.unfinished import Unfinished
from terrascope.model.views import Axis
from terrascope.rasters.sensors import render_overview, shown_bands
from terrascope.scene import Observation, Scene

Progress = Callable[[int, int], None]
"""Called with the number of views that are done, and of all views."""

_SAVE_EVERY_S = 10.0
_FINGERPRINT_SIDE = 256


@dataclass(frozen=True, eq=False)
class Query:
    """What is looked for: a [SEG] state `[D]`, and the pair (from 0) that it lies on."""

    pair: int
    state: Tensor


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """How a large scene is covered.

    Attributes:
        view: pixels of the scene along the edge of a view; it is resized to what SAM-2 takes.
        overlap: pixels that neighbouring views share at least.
        batch: views that are encoded at once.
        precision: number format of the encoders' products; None for bfloat16 where the processor has it.
    """

    view: int
    overlap: int
    batch: int = 8
    precision: torch.dtype | None = None


@dataclass(frozen=True, eq=False)
class Swept:
    """The result of one query: mask bool `[H, W]`, and its confidence as `drawing.ground` defines it."""

    mask: NDArray[np.bool_]
    confidence: float


def has_fast_bfloat16(device: torch.device) -> bool:
    """True if the device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported()


def sweep(
    model: TerraScopeForConditionalGeneration,
    processor: TerraScopeImageProcessor,
    scene: Scene,
    queries: Sequence[Query],
    settings: SweepSettings,
    progress: Progress | None = None,
) -> Program[tuple[list[Swept], str | None]]:
    """Decode queries on all views of a scene, as a program that pauses after every row of views.

    A sweep that is killed leaves its state in the cache folder, and the same sweep goes on from there.

    Returns:
        one result per query, and why the state could not be saved (None if it could).
    """
    height, width = scene.shape
    rows, columns = (Axis(side, settings.view, settings.overlap) for side in (height, width))
    num_views, row_views = len(rows.starts) * len(columns.starts), len(columns.starts)
    unfinished = Unfinished(*_what_decides(model, processor, scene, queries, settings))
    state = unfinished.load() or {
        "next_row": np.zeros(1, np.int64),
        "masks": np.zeros((len(queries), height, (width + 7) // 8), np.uint8),
        "logits": np.zeros((len(queries), rows.size, width), np.float32),
        "highest": np.full(len(queries), -np.inf, np.float32),
        "inside": np.zeros(len(queries), np.float64),
    }
    masks, logits, highest, inside = (state[name] for name in ("masks", "logits", "highest", "inside"))
    first, saved_at = int(state["next_row"][0]), time.monotonic()
    if progress is not None:
        progress(first * row_views, num_views)
    for number in range(first, len(rows.starts)):
        place = rows.slice(number)
        _add_row(model, processor, scene, queries, settings, place, rows.weights[number], columns, logits)
        stop = rows.starts[number + 1] if number + 1 < len(rows.starts) else height
        done = stop - place.start
        _finish(model, scene, queries, logits[:, :done], slice(place.start, stop), masks, highest, inside)
        logits[:, : rows.size - done] = logits[:, done:].copy()
        logits[:, rows.size - done :] = 0
        if stop < height and time.monotonic() - saved_at > _SAVE_EVERY_S:
            unfinished.save(state | {"next_row": np.array([number + 1])})
            saved_at = time.monotonic()
        if progress is not None:
            progress((number + 1) * row_views, num_views)
        yield Pause()
    results = []
    temperature, smallest = model.config.mask_temperature, model.config.min_object_pixels((rows.size, columns.size))
    for number in range(len(queries)):
        mask = np.unpackbits(masks[number], axis=1, count=width).view(np.bool_)
        size = np.count_nonzero(mask)
        confidence = inside[number] / size if size else 1 / (1 + np.exp(float(highest[number]) / temperature))
        results.append(Swept(drop_specks(mask, smallest), float(confidence)))
    unfinished.clear()
    return results, unfinished.problem


def _add_row(
    model: TerraScopeForConditionalGeneration,
    processor: TerraScopeImageProcessor,
    scene: Scene,
    queries: Sequence[Query],
    settings: SweepSettings,
    place: slice,
    row_weights: NDArray[np.float32],
    columns: Axis,
    logits: NDArray[np.float32],
) -> None:
    """Add the weighed logits of one row of views to `logits`, float32 `[queries, rows, W]`."""
    for pair_number in sorted({query.pair for query in queries}):
        asked = [number for number, query in enumerate(queries) if query.pair == pair_number]
        states = torch.stack([queries[number].state for number in asked]).to(model.device)
        images = [
            image.window(place, slice(0, columns.length), shown_bands(image))
            for image in _drawn_on(model, scene, pair_number)
        ]
        pictures = [processor.show(image) for image in images]
        valid = [torch.from_numpy(image.valid) for image in images]
        seen = torch.stack(valid).any(0)
        wanted = [v for v in range(len(columns.starts)) if bool(seen[:, columns.slice(v)].any())]
        for chunk in (wanted[i : i + settings.batch] for i in range(0, len(wanted), settings.batch)):
            places = [columns.slice(view) for view in chunk]
            views = torch.stack([processor.view_for_masks(p[:, :, where]) for where in places for p in pictures])
            found = _decode(model, views, states, settings.precision)
            found = found.unflatten(0, (len(chunk), len(images)))
            for view, where, of_images in zip(chunk, places, found, strict=True):
                full = model.resize_logits(of_images.transpose(0, 1), (place.stop - place.start, columns.size))
                fused = model.fuse_logits(full.transpose(0, 1), torch.stack([v[:, where] for v in valid]))
                weight = row_weights[:, None] * columns.weights[view][None]
                logits[asked, :, where] += fused.numpy() * weight


def _decode(
    model: TerraScopeForConditionalGeneration, views: Tensor, states: Tensor, precision: torch.dtype | None
) -> Tensor:
    """Mask logits float32 `[views, queries, h, w]` of normalised views `[views, 3, S, S]`."""
    device = model.device
    if precision is None:
        precision = torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    # A model that was loaded in a short format computes in it throughout.
    is_mixed = precision != torch.float32 and model.dtype == torch.float32
    with torch.autocast(device.type, precision, enabled=is_mixed):
        embedding = model.encode_for_masks(views.to(device, model.dtype))
        logits, _ = model.decode_masks(embedding, states.expand(len(views), -1, -1))
    return logits.float()


def _finish(
    model: TerraScopeForConditionalGeneration,
    scene: Scene,
    queries: Sequence[Query],
    logits: NDArray[np.float32],
    place: slice,
    masks: NDArray[np.uint8],
    highest: NDArray[np.float32],
    inside: NDArray[np.float64],
) -> None:
    """Write rows to which no further view adds into the masks (bits), and take up what the confidence needs."""
    for number, query in enumerate(queries):
        seen = np.logical_or.reduce([image.valid[place] for image in _drawn_on(model, scene, query.pair)])
        values = logits[number]
        mask = (values > 0) & seen
        masks[number, place] = np.packbits(mask, axis=1)
        if seen.any():
            highest[number] = max(highest[number], values[seen].max())
        probability = 1 / (1 + np.exp(-values[mask] / model.config.mask_temperature))
        inside[number] += float(probability.sum(dtype=np.float64))


def _drawn_on(model: TerraScopeForConditionalGeneration, scene: Scene, pair: int) -> list[Observation]:
    """The images of a pair on which masks are drawn, the optical one first."""
    images = {image.modality: image for image in scene.pairs[pair].observations}
    return [images[kind] for kind in drawn_on(model.config, tuple(images))]  # type: ignore[index]


def _what_decides(
    model: TerraScopeForConditionalGeneration,
    processor: TerraScopeImageProcessor,
    scene: Scene,
    queries: Sequence[Query],
    settings: SweepSettings,
) -> list[bytes]:
    """Bytes of all that decides a sweep's result: the scene as it is seen, the queries, the weights, the settings."""
    pictures = [render_overview(image, _FINGERPRINT_SIDE).tobytes() for image in scene.observations]
    states = [query.state.float().cpu().numpy().tobytes() for query in queries]
    weights = [
        parameter.detach().flatten()[:16].float().cpu().numpy().tobytes()
        for parameter in (*model.sam.parameters(), *model.seg_projection.parameters(), *model.mask_fusion.parameters())
    ]
    rules = (scene.shape, [query.pair for query in queries], settings, str(model.config), str(processor))
    return [repr(rules).encode(), *pictures, *states, *weights]
