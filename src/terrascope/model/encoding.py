"""What both encoders see of a scene, once for all questions about it, and a prompt with its visual tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from terrascope.errors import ModelError
from terrascope.model.grounding import ImageEmbedding
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import Prompt, SceneInputs


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
