"""Both image encoders as training runs them: once per distinct scene; what frozen ones gave is kept for later steps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from terrascope.model.grounding import ImageEmbedding, embed_features
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import SceneInputs

_AT_ONCE = 16
"""Images that a frozen encoder takes in one pass: what it needs meanwhile stays small for large models."""

Maps = tuple[Tensor, ...]


def vision_encoder_of(model: TerraScopeForConditionalGeneration) -> nn.Module:
    """The image encoder of the vision-language model; of Qwen2.5-VL it holds the projector too."""
    inner: Any = model.vlm.model
    return inner.vision_tower if hasattr(inner, "vision_tower") else inner.visual


def projector_of(model: TerraScopeForConditionalGeneration) -> nn.Module:
    """What brings visual tokens into the language model's space."""
    inner: Any = model.vlm.model
    return inner.multi_modal_projector if hasattr(inner, "multi_modal_projector") else inner.visual.merger


def is_frozen(module: nn.Module, apart_from: nn.Module | None = None) -> bool:
    """Whether no parameter of a module moves, those of a part of it left aside."""
    aside = set() if apart_from is None else {id(parameter) for parameter in apart_from.parameters()}
    return not any(p.requires_grad for p in module.parameters() if id(p) not in aside)


class SceneEncoders:
    """Encodes scenes with gradients wherever something moves, and keeps what frozen encoders gave.

    Kept are the patches before the projector and SAM-2's feature maps before the convolutions that belong to the mask
    decoder: what comes after them moves in training. Where the projector is part of the encoder (Qwen2.5-VL), only the
    feature maps are kept.

    Args:
        model: whose encoders they are.
        cache_mb: MB (10^6 bytes) in main memory for what is kept; what was used longest ago makes room.

    Attributes:
        num_tiles, num_images: how many tiles have passed the image encoder so far, and how many images that of SAM-2.
    """

    def __init__(self, model: TerraScopeForConditionalGeneration, cache_mb: int = 0) -> None:
        self.model = model
        self._patches = _Kept(cache_mb * 1_000_000 // 2, self._join)
        self._maps = _Kept(cache_mb * 1_000_000 // 2, self._join)
        self.num_tiles, self.num_images = 0, 0

    def look(self, scenes: Sequence[SceneInputs], scene_ids: Sequence[str]) -> list[Tensor]:
        """Per scene, its projected visual tokens `[tiles, N, D]`."""
        model, tower, projector = self.model, vision_encoder_of(self.model), projector_of(self.model)
        tiles, counts = [scene.tiles for scene in scenes], [len(scene.tiles) for scene in scenes]

        def see(some: Tensor) -> Maps:
            self.num_tiles += len(some)
            return (_patches(model, some),)

        if not is_frozen(tower, projector) or any(part is projector for part in tower.modules()):
            self.num_tiles += sum(counts)
            return list(model.encode_tiles(self._join(tiles)).split(counts))
        with torch.no_grad():
            patches = self._patches.fetch(scene_ids, tiles, see)
        return list(projector(self._join([maps[0] for maps in patches])).split(counts))

    def embed(self, scenes: Sequence[SceneInputs], scene_ids: Sequence[str]) -> ImageEmbedding:
        """SAM-2's embedding of the images of all scenes, one after the other."""
        model, encoder = self.model, self.model.sam.vision_encoder

        def see(some: Tensor) -> Maps:
            self.num_images += len(some)
            return tuple(encoder(some).fpn_hidden_states[:3])

        images = [scene.sam_images for scene in scenes]
        if is_frozen(encoder):
            with torch.no_grad():
                maps = self._maps.fetch(scene_ids, images, see)
            together = [self._join([scene[level] for scene in maps]) for level in range(3)]
        else:
            together = list(see(self._join(images)))
        return embed_features(model.sam, *together)

    def _join(self, parts: Sequence[Tensor]) -> Tensor:
        """One tensor of several, where the model is and in its format."""
        # Each before they are joined: kept scenes are in float16, which autocast to bfloat16 refuses to join.
        return torch.cat([part.to(self.model.device, self.model.dtype, non_blocking=True) for part in parts])


def place_images(scene: SceneInputs) -> list[dict[str, int]]:
    """Per pair, where the image of each kind stands among the scene's images."""
    places, image = [], 0
    for kinds in scene.modalities:
        places.append({kind: image + number for number, kind in enumerate(kinds)})
        image += len(kinds)
    return places


def split_tokens(scene: SceneInputs, tokens: Tensor) -> list[dict[str, Tensor]]:
    """Per pair, kind -> visual tokens `[tiles * N, D]`, of a scene's tokens `[tiles, N, D]`."""
    pairs, tile = [], 0
    for layout, kinds in zip(scene.layouts, scene.modalities, strict=True):
        pair = {}
        for kind in kinds:
            pair[kind] = tokens[tile : tile + layout.num_tiles].flatten(0, 1)
            tile += layout.num_tiles
        pairs.append(pair)
    return pairs


class _Kept:
    """Tensors by scene, up to a number of bytes.

    Args:
        limit: so many bytes.
        join: makes one input of those of several scenes, as an encoder takes it.
    """

    def __init__(self, limit: int, join: Callable[[Sequence[Tensor]], Tensor]) -> None:
        self.limit, self.size, self.join = limit, 0, join
        self.scenes: OrderedDict[str, Maps] = OrderedDict()

    def fetch(self, scene_ids: Sequence[str], inputs: Sequence[Tensor], see: Callable[[Tensor], Maps]) -> list[Maps]:
        """What an encoder makes of inputs `[images, 3, S, S]`, per scene; scenes that are kept are not seen again."""
        missing = [number for number, scene_id in enumerate(scene_ids) if scene_id not in self.scenes]
        found = {number: self.scenes[scene_id] for number, scene_id in enumerate(scene_ids) if scene_id in self.scenes}
        if missing:
            images = self.join([inputs[number] for number in missing])
            pieces = [see(piece) for piece in images.split(_AT_ONCE)]
            maps = [torch.cat(level).split([len(inputs[n]) for n in missing]) for level in zip(*pieces, strict=True)]
            found |= {number: tuple(level[place] for level in maps) for place, number in enumerate(missing)}
        for number, scene_id in enumerate(scene_ids):
            self._keep(scene_id, found[number])
        return [found[number] for number in range(len(scene_ids))]

    def _keep(self, scene_id: str, maps: Maps) -> None:
        if scene_id in self.scenes:
            self.scenes.move_to_end(scene_id)
            return
        num_bytes = _num_bytes(maps)
        if num_bytes > self.limit:
            return
        while self.size + num_bytes > self.limit:
            self.size -= _num_bytes(self.scenes.popitem(last=False)[1])
        # A copy: a piece of a batch would keep the whole batch alive.
        self.scenes[scene_id] = tuple(level.cpu().clone() for level in maps)
        self.size += num_bytes


def _num_bytes(maps: Maps) -> int:
    return sum(level.numel() * level.element_size() for level in maps)


def _patches(model: TerraScopeForConditionalGeneration, tiles: Tensor) -> Tensor:
    """What the projector takes: the input that `encode_tiles` gives it for tiles `[tiles, 3, S, S]`."""
    caught: list[Tensor] = []

    def catch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught.append(inputs[0])

    hook = projector_of(model).register_forward_pre_hook(catch)
    try:
        model.encode_tiles(tiles)
    finally:
        hook.remove()
    return caught[0]
