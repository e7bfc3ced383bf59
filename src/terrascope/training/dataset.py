"""Samples of a data set with their scenes, one at a time, as a `DataLoader` asks for them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from terrascope.bench import items
from terrascope.errors import SampleError, SceneError
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.processing import SceneInputs, TerraScopeProcessor
from terrascope.sample import LEVELS, Sample
from terrascope.sources.chips import Source
from terrascope.terracot.store import Store
from terrascope.training.examples import (
    Example,
    Reasoning,
    Shown,
    assemble_example,
    name_scene,
    shown_images,
)
from terrascope.training.lengths import Lengths
from terrascope.training.mask_noise import perturb_mask
from terrascope.training.scene_cache import PreparedScene, SceneCache, prepare_scene


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which samples are trained on, and what of them.

    Attributes:
        levels, tasks, sources: those to take; all where None.
        split: of the samples.
        max_samples: so many are drawn of them by the seed; all where None.
        reasoning: how much of a reasoning is written (Tables 1 and 2).
        shown: the images that the model sees; samples whose scene has none of them are left out.
        max_positions: samples that take more are left out; none where None.
        mask_noise: from 0 to 1, by how much injected masks differ from the true ones (`perturb_mask`).
        seed: of the draw and of the noise.

    Raises:
        SampleError: a value that there is not.
    """

    levels: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    split: str = "train"
    max_samples: int | None = None
    reasoning: Reasoning = "grounded"
    shown: Shown = "all"
    max_positions: int | None = None
    mask_noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for level in self.levels or ():
            _check_choice("levels", level, LEVELS)
        _check_choice("reasoning", self.reasoning, get_args(Reasoning))
        _check_choice("shown", self.shown, get_args(Shown))
        if not 0 <= self.mask_noise <= 1:
            raise SampleError(f"mask_noise is {self.mask_noise}; give a number from 0 to 1")
        for name in ("max_samples", "max_positions"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SampleError(f"{name} is {value}; give at least 1, or leave it out")


class TerraCotDataset(Dataset[tuple[Example, SceneInputs]]):
    """The samples of a store that settings ask for, each with what the encoders see of its scene.

    Args:
        store: the samples.
        sources: by the names that the samples give, where scenes are read.
        processor: of the model.
        settings: which samples, and what of them.
        scene_cache: folder in which prepared scenes are kept; without it, a scene is read whenever it is asked for.
        config: of the model, whose rules say how many tokens a mask feeds back; the paper's where None.

    Attributes:
        rows: int64 `[n]`, the place of every sample in the store.
        scene_ids: int64 `[n]`, the number of every sample's scene.
        left_out: how many samples of the split were left out, by reason.

    Raises:
        SampleError: there is no such sample, or a source is missing.
    """

    def __init__(
        self,
        store: Store,
        sources: Mapping[str, Source],
        processor: TerraScopeProcessor,
        settings: DataSettings,
        *,
        scene_cache: Path | None = None,
        config: TerraScopeConfig | None = None,
    ) -> None:
        self.store, self.sources, self.processor, self.settings = store, dict(sources), processor, settings
        self.folder = scene_cache
        self._scenes = None if scene_cache is None else SceneCache(scene_cache, processor)
        self._lengths = Lengths(processor, config or TerraScopeConfig(), settings.reasoning, settings.shown)
        self._last: tuple[str, PreparedScene] | None = None
        # Shared with the processes of a loader, which may outlive an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self.left_out: dict[str, int] = {}
        self.rows, self.scene_ids = self._choose()
        if settings.max_positions is not None:
            fits = self.lengths <= settings.max_positions
            self.left_out["too long"] = int((~fits).sum())
            self.rows, self.scene_ids, self.lengths = self.rows[fits], self.scene_ids[fits], self.lengths[fits]
        if not len(self.rows):
            told = ", ".join(f"{num} {reason}" for reason, num in self.left_out.items() if num)
            raise SampleError(
                f"{store.path}: no sample is left to train on{f' ({told})' if told else ''}; widen levels, tasks, "
                "sources, split, shown or max_positions"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Example, SceneInputs]:
        """An example and its scene.

        Raises:
            SampleError: a shard is damaged, or the sample does not fit its scene.
            SceneError: the scene cannot be read.
        """
        sample = self.store[int(self.rows[index])]
        scene = self._scene(sample)
        settings = self.settings
        example = assemble_example(
            self.processor, sample, scene.facts, scene.known, reasoning=settings.reasoning, shown=settings.shown
        )
        return self._with_noise(example), scene.inputs

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """int32 `[n]`: positions of every sample in its sequence, injected tokens of the true masks included."""
        return self._lengths.read_or_count(self.store, self.rows, self.folder)

    def set_epoch(self, epoch: int) -> None:
        """Draw other noise than in other epochs."""
        self._epoch.fill_(epoch)

    def _choose(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        settings = self.settings
        columns = ("level", "task", "split", "source", "key", "images")
        wanted = {"level": settings.levels, "task": settings.tasks, "source": settings.sources}
        rows, scenes, missing, num_unseen = [], [], set(), 0
        for number, row in enumerate(self.store.rows(columns=columns)):
            if row["split"] != settings.split:
                continue
            if any(among is not None and row[name] not in among for name, among in wanted.items()):
                continue
            kinds = {image["modality"] for image in row["images"]}
            if settings.shown != "all" and settings.shown not in kinds:
                num_unseen += 1
                continue
            if row["source"] not in self.sources:
                missing.add(row["source"])
            rows.append(number)
            scenes.append(name_scene(row["source"], row["key"], shown_images(kinds, settings.shown)))
        if missing:
            raise SampleError(
                f"{self.store.path}: scenes of {', '.join(sorted(missing))} are needed, but the folder was not given; "
                f"name it as a source, e.g. {min(missing)}=DIR"
            )
        if num_unseen:
            self.left_out[f"without {settings.shown} images"] = num_unseen
        chosen = np.arange(len(rows))
        if settings.max_samples is not None and settings.max_samples < len(rows):
            drawn = np.random.default_rng(settings.seed).permutation(len(rows))[: settings.max_samples]
            chosen = np.sort(drawn)
        numbers = np.unique(np.array(scenes, dtype=object)[chosen].astype(str), return_inverse=True)[1]
        return np.array(rows, dtype=np.int64)[chosen], numbers.astype(np.int64)

    def _scene(self, sample: Sample) -> PreparedScene:
        shown = shown_images(items.kinds_of(sample), self.settings.shown)
        scene_id = name_scene(sample.source, sample.key, shown)
        # Samples of one scene come together.
        if self._last is None or self._last[0] != scene_id:
            source = self.sources[sample.source]
            try:
                if self._scenes is None:
                    scene = self._prepare(source, sample.key, shown)
                else:
                    scene = self._scenes.get(scene_id, source, lambda: self._prepare(source, sample.key, shown))
            except SceneError as error:
                raise SceneError(f"sample {sample.id}: {error}") from error
            self._last = (scene_id, scene)
        return self._last[1]

    def _prepare(self, source: Source, key: str, shown: items.Shown) -> PreparedScene:
        chip = source.read(key)
        return prepare_scene(self.processor, items.show_only(chip.scene, shown), chip.labels)

    def _with_noise(self, example: Example) -> Example:
        target, settings = example.target, self.settings
        if not settings.mask_noise or not target.masks:
            return example
        rng = np.random.default_rng([settings.seed, int(self._epoch), zlib.crc32(example.sample_id.encode())])
        injected = tuple(
            torch.from_numpy(perturb_mask(mask.numpy(), settings.mask_noise, rng)) for mask in target.masks
        )
        return replace(example, target=replace(target, injected=injected))


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise SampleError(f"{name}: {value!r} is unknown; choose of {', '.join(choices)}")
