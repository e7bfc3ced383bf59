"""What both encoders see of a scene, once for all questions about it, and a prompt with its visual tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from terrascope.errors import ModelError
from terrascope.model.grounding import ImageEmbedding
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import Prompt, SceneInputs
from terrascope.scene import Scene


@dataclass(frozen=True, eq=False)
class EncodedScene:
    """What both encoders saw, computed once per scene and shared by all questions about it.

    Attributes:
        context: per image of the scene, projected visual tokens `[tiles * N, D]`.
        pairs: per pair, the kinds of its images and where each stands among the images.
        inputs: what was encoded.
        embeddings: SAM-2's embedding of all images.
    """

    context: tuple[Tensor, ...]
    pairs: tuple[dict[str, int], ...]
    inputs: SceneInputs
    embeddings: ImageEmbedding


class EncodedScenes:
    """The scenes that were encoded last, each for as long as somebody holds on to it.

    Attributes:
        max_scenes: how many are kept; what the engine keeps of a scene lives as long as its place here.
    """

    def __init__(self, max_scenes: int = 0) -> None:
        self.max_scenes = max_scenes
        self._kept: WeakKeyDictionary[Scene, EncodedScene] = WeakKeyDictionary()

    def find(self, scene: Scene) -> EncodedScene | None:
        """What was kept of a scene, which is the last one asked about now."""
        encoded = self._kept.pop(scene, None)
        if encoded is not None:
            self._kept[scene] = encoded
        return encoded

    def keep(self, scene: Scene, encoded: EncodedScene) -> None:
        """Keep what was encoded of a scene, in the place of the one that was asked about longest ago."""
        self._kept[scene] = encoded
        kept = list(self._kept)
        for oldest in kept[: max(0, len(kept) - self.max_scenes)]:
            self._kept.pop(oldest, None)

    def give_up(self) -> bool:
        """Keep none from now on; True if any was kept."""
        had_any = len(self._kept) > 0
        self.max_scenes = 0
        self._kept.clear()
        return had_any


def encode_scene(model: TerraScopeForConditionalGeneration, inputs: SceneInputs) -> EncodedScene:
    """Run the vision encoder and SAM-2's image encoder, each once per image."""
    tokens = model.encode_tiles(inputs.tiles.to(model.device, model.dtype))
    context, pairs, tile, image = [], [], 0, 0
    for layout, kinds in zip(inputs.layouts, inputs.modalities, strict=True):
        places = {}
        for kind in kinds:
            context.append(tokens[tile : tile + layout.num_tiles].flatten(0, 1))
            places[kind] = image
            tile, image = tile + layout.num_tiles, image + 1
        pairs.append(places)
    embeddings = model.encode_for_masks(inputs.sam_images.to(model.device, model.dtype))
    return EncodedScene(tuple(context), tuple(pairs), inputs, embeddings)


def embed_prompt(model: TerraScopeForConditionalGeneration, prompt: Prompt, context: Sequence[Tensor]) -> Tensor:
    """Embeddings `[T, D]` of a prompt with the visual tokens of its images in their places.

    Args:
        model: embeds.
        prompt: of the question.
        context: per image of the scene, whether it stands in the prompt or not, visual tokens `[tiles * N, D]`.

    Raises:
        ModelError: the prompt shows other images than the model's configuration says.
    """
    if prompt.modalities != model.config.prompt_modalities:
        raise ModelError(
            f"the processor's prompt_modalities is {prompt.modalities!r}, but the model's is "
            f"{model.config.prompt_modalities!r}: set both with take_settings"
        )
    ids = prompt.input_ids.to(model.device)
    embeddings = model.get_input_embeddings()(ids)
    places = ids == model.config.vlm_config.image_token_id
    shown = [context[place] for place in prompt.images] if prompt.images is not None else list(context)
    return embeddings.masked_scatter(places[:, None], torch.cat(shown).to(embeddings.dtype))
