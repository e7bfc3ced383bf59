"""Several examples with the scenes that they are about, each scene once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from terrascope.model.processing import SceneInputs
from terrascope.training.examples import Example
from terrascope.training.packing import Packed, pack, unpack


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples and their scenes.

    Attributes:
        scenes: the distinct scenes.
        scene_ids: of each.
        examples: in the order of the sampler.
        owners: per example, the place of its scene in `scenes`.
    """

    scenes: tuple[SceneInputs, ...]
    scene_ids: tuple[str, ...]
    examples: tuple[Example, ...]
    owners: tuple[int, ...]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch with the pixels of its scenes on a device.

        Tokens and masks stay where they are: sequences are laid out on the CPU, and only embeddings move.
        """

        def move(pixels: Tensor) -> Tensor:
            return pixels.to(device, non_blocking=non_blocking)

        scenes = (replace(s, tiles=move(s.tiles), sam_images=move(s.sam_images)) for s in self.scenes)
        return replace(self, scenes=tuple(scenes))

    def __reduce__(self) -> tuple[Callable[[Packed], Batch], tuple[Packed]]:
        return _unpack_batch, (pack(self.__dict__),)


def _unpack_batch(packed: Packed) -> Batch:
    return Batch(**unpack(packed))


def collate(items: Sequence[tuple[Example, SceneInputs]]) -> Batch:
    """A batch of items of `TerraCotDataset`; samples of one scene share its tensors."""
    scenes = {example.scene_id: inputs for example, inputs in reversed(items)}
    scene_ids = tuple(dict.fromkeys(example.scene_id for example, _ in items))
    return Batch(
        scenes=tuple(scenes[scene_id] for scene_id in scene_ids),
        scene_ids=scene_ids,
        examples=tuple(example for example, _ in items),
        owners=tuple(scene_ids.index(example.scene_id) for example, _ in items),
    )
