"""The image pool: rendered frames of every training scene, on disk once, read by all training stages.

A frame is one date of one scene: up to three views (true colour, false colour, SAR) as the model sees them, the class
ids, and where clouds hide the ground. Frames of one scene follow each other in time order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from terrascope.rasters.sensors import render
from terrascope.scene import LabelMap, Observation, Scene
from terrascope.sources import synthetic
from terrascope.sources.chips import read_all
from terrascope.sources.hls_worldcover import HlsWorldCover
from terrascope.sources.ombria import Ombria

SIZE = 256
VIEWS = ("optical", "false color", "sar")
VALIDATION_SEED = 1_000_000
"""Seeds of generated validation scenes start here; training seeds start at 0."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What the pool's `frames.json` says of one frame."""

    source: str
    scene: str
    date: int
    split: str
    gsd_m: float
    views: tuple[int, ...]
    known: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Pool:
    """Memory-mapped frames: `views` uint8 `[N, 3, 3, S, S]`, `ids` uint8 `[N, S, S]`, `clouds` bool `[N, S, S]`."""

    frames: tuple[Frame, ...]
    views: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    clouds: NDArray[np.bool_]

    @classmethod
    def open(cls, folder: Path) -> Pool:
        frames = [Frame(**entry) for entry in json.loads((folder / "frames.json").read_text())]
        frames = [replace(f, views=tuple(f.views), known=tuple(f.known)) for f in frames]
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("views", "ids", "clouds")]
        return cls(tuple(frames), *arrays)

    def select(self, split: str, source: str) -> list[int]:
        """Indices of the frames of a split and source."""
        return [i for i, frame in enumerate(self.frames) if frame.split == split and frame.source == source]


Entry = tuple[Frame, NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]


def _false_color(observation: Observation) -> Observation | None:
    """The same image shown as short-wave infrared, near infrared and red (the composite of the OMBRIA chips)."""
    wanted = ("B12", "B8A", "B04")
    if not set(wanted) <= set(observation.bands):
        return None
    pixels = np.stack([observation.band(name) for name in wanted]) / 0.5 * 255
    return replace(observation, pixels=np.clip(pixels, 0, 255), bands=("swir", "nir", "red"), sensor="false-color")


def _picture(observation: Observation) -> NDArray[np.uint8]:
    image = torch.from_numpy(render(observation))[None]
    image = functional.interpolate(image, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    return np.asarray((image[0] * 255).round().to(torch.uint8))


def _entries(
    source: str,
    name: str,
    split: str,
    scene: Scene,
    labels: tuple[LabelMap, ...],
    clouds: tuple[NDArray[np.bool_], ...],
) -> Iterator[Entry]:
    for date, (pair, label_map) in enumerate(zip(scene.pairs, labels, strict=True)):
        views = np.zeros((len(VIEWS), 3, SIZE, SIZE), np.uint8)
        shown: list[Observation | None] = [None, None, pair.sar]
        if pair.optical is not None and pair.optical.sensor == "false-color":
            shown[1] = pair.optical
        elif pair.optical is not None:
            shown[:2] = [pair.optical, _false_color(pair.optical)]
        for view, observation in enumerate(shown):
            if observation is not None:
                views[view] = _picture(observation)
        step = SIZE // label_map.ids.shape[0]
        frame = Frame(
            source=source,
            scene=name,
            date=date,
            split=split,
            gsd_m=float(scene.georeference.gsd_m or 10.0) / step,
            views=tuple(view for view, observation in enumerate(shown) if observation is not None),
            known=label_map.class_ids_known,
        )
        grown = label_map.ids.repeat(step, 0).repeat(step, 1)
        yield frame, views, grown, clouds[date]


def _synthetic_entries(seed: int) -> list[Entry]:
    sample = synthetic.make_sample(seed, size=SIZE)
    split = "val" if seed >= VALIDATION_SEED else "train"
    return list(_entries("synthetic", f"s{seed}", split, sample.scene, sample.labels, sample.clouds))


def _chip_entries(data: Path) -> Iterator[Entry]:
    clear = np.zeros((SIZE, SIZE), bool)
    for split in ("train", "val"):
        for chip in read_all(HlsWorldCover(data / "hls-worldcover"), split):
            yield from _entries("hls", f"h{chip.key}", split, chip.scene, chip.labels, (clear,))
        for chip in read_all(Ombria(data / "ombria"), split):
            yield from _entries("ombria", f"o{chip.key}", split, chip.scene, chip.labels, (clear, clear))


def build_pool(folder: Path, data: Path | None, *, num_train: int, num_val: int, num_workers: int) -> Pool:
    """Render all frames into a folder (kept if it is complete) and open it.

    Args:
        folder: where the pool lies or will lie.
        data: folder with `hls-worldcover` and `ombria`; None for generated scenes only.
        num_train, num_val: how many scenes to generate for each split.
        num_workers: processes that generate scenes.
    """
    if (folder / "frames.json").exists():
        return Pool.open(folder)
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[Entry] = list(_chip_entries(data)) if data is not None else []
    seeds = [*range(num_train), *range(VALIDATION_SEED, VALIDATION_SEED + num_val)]
    # Forked workers hang in the thread pool that the chips were resized with.
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as executor:
        for made in executor.map(_synthetic_entries, seeds, chunksize=8):
            entries.extend(made)
    arrays: dict[str, list[NDArray[Any]]] = {
        "views": [views for _, views, _, _ in entries],
        "ids": [ids for _, _, ids, _ in entries],
        "clouds": [clouds for _, _, _, clouds in entries],
    }
    for name, layers in arrays.items():
        shape = (len(layers), *layers[0].shape)
        stored = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", layers[0].dtype, shape)
        for i, layer in enumerate(layers):
            stored[i] = layer
        stored.flush()
    text = json.dumps([vars(entry[0]) for entry in entries])
    (folder / "frames.json.part").write_text(text)
    os.replace(folder / "frames.json.part", folder / "frames.json")
    return Pool.open(folder)
