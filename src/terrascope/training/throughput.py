"""How fast a training is: floating-point operations of a step, and the share of what the device could do (MFU)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.training.encoders import is_frozen, projector_of, vision_encoder_of

PEAK_TFLOPS = {
    "B200": 2250.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
}
"""Dense bfloat16 TFLOP/s of GPUs by a part of their name, from NVIDIA's data sheets; the first one that fits counts."""


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """What a step costs, by its parts; one multiplication with its addition counts as two operations.

    Attributes:
        layer_parameters: parameters of matrices in the layers of the language model, which every position passes.
        trained_parameters: those among them that move, adapters included.
        head_parameters: parameters of the output matrix, which every supervised position passes.
        head_moves: it is trained.
        attention_width: sum over layers of heads times their width.
        gradient_passes: the gradient goes through the language model, to its adapters or to what lies before it.
        tile, image, mask: operations of one pass of the vision tower with its projector over a tile, of the mask
            model's encoder over an image, and of its decoder for a mask.
        tile_passes, image_passes, mask_passes: passes of each: 1 where it is frozen, 3 where it is trained.
    """

    layer_parameters: int
    trained_parameters: int
    head_parameters: int
    head_moves: bool
    attention_width: int
    gradient_passes: bool
    tile: int
    image: int
    mask: int
    tile_passes: int
    image_passes: int
    mask_passes: int

    @classmethod
    def of(cls, model: TerraScopeForConditionalGeneration) -> StepCost:
        """The costs of a model whose parameters say (`requires_grad`) which of them move."""
        language: Any = model.vlm.model.language_model
        text = model.config.vlm_config.text_config
        head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        matrices = [weight for weight in language.layers.parameters() if weight.dim() > 1]
        trained = [weight for weight in matrices if weight.requires_grad]
        head: Any = model.get_output_embeddings().weight
        words: Any = model.get_input_embeddings().weight
        projector = projector_of(model)
        vision_moves = not is_frozen(vision_encoder_of(model), apart_from=projector)
        before = vision_moves or _moves(projector) or words.requires_grad
        tile, image, mask = _count_encoders(model.config)
        return cls(
            layer_parameters=sum(weight.numel() for weight in matrices),
            trained_parameters=sum(weight.numel() for weight in trained),
            head_parameters=head.numel(),
            head_moves=head.requires_grad,
            attention_width=text.num_hidden_layers * text.num_attention_heads * head_width,
            gradient_passes=bool(trained) or before,
            tile=tile,
            image=image,
            mask=mask,
            tile_passes=3 if vision_moves else 1,
            image_passes=3 if _moves(model.sam.vision_encoder) else 1,
            mask_passes=3,
        )

    def count(
        self,
        *,
        num_positions: int,
        mean_length: float,
        num_supervised: int,
        num_tiles: int = 0,
        num_images: int = 0,
        num_masks: int = 0,
    ) -> float:
        """Floating-point operations of a step, forwards and backwards; what checkpointing repeats does not count.

        With N positions in sequences of L, P parameters in the layers, P' of them trained, width A of the attention
        over all layers, S supervised positions and H parameters of the head:

            forwards    2 P N + 2 A N L + 2 H S         (4 A per pair of positions, of which causality leaves half)
            backwards   2 P N + 4 A N L + 2 P' N        where the gradient passes through the language model
                        2 H S (+ 2 H S)                 where it does, or the head moves (and to the head itself)

        The encoders and the mask decoder add their passes over tiles, images and masks: one forwards, and two more
        backwards where they are trained.

        Args:
            num_positions: positions without padding.
            mean_length: of the sequences.
            num_supervised: positions with logits.
            num_tiles, num_images, num_masks: that pass the encoders and the decoder.
        """
        layers, attention = self.layer_parameters * num_positions, self.attention_width * num_positions * mean_length
        head = self.head_parameters * num_supervised
        total = 2 * layers + 2 * attention + 2 * head
        if self.gradient_passes:
            total += 2 * layers + 4 * attention + 2 * self.trained_parameters * num_positions + 2 * head
        if self.head_moves:
            total += 2 * head
        return (
            total
            + self.tile_passes * self.tile * num_tiles
            + self.image_passes * self.image * num_images
            + self.mask_passes * self.mask * num_masks
        )


def _moves(module: nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())


def _count_encoders(config: TerraScopeConfig) -> tuple[int, int, int]:
    """Operations of one tile, one image and one mask, counted on a model without weights."""
    with torch.device("meta"):
        model = TerraScopeForConditionalGeneration(config).eval()
        width = config.vlm_config.text_config.hidden_size

        def empty(*shape: int) -> Tensor:
            return torch.empty(*shape, dtype=model.dtype)

        tile = _count(lambda: model.encode_tiles(empty(1, 3, config.tile_size, config.tile_size)))
        picture = empty(1, 3, config.sam_size, config.sam_size)
        image = _count(lambda: model.encode_for_masks(picture))
        with torch.no_grad():
            embedding = model.encode_for_masks(picture)
        return tile, image, _count(lambda: model.decode_masks(embedding, empty(1, 1, width)))


def _count(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return int(counter.get_total_flops())


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Operations a second that a device could do; None for a GPU that is not known, or in another format.

    A GPU is known by its name; of a CPU the best of a few matrix products is taken.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        peak = next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)
        return None if peak is None or dtype != torch.bfloat16 else peak * 1e12
    if device.type != "cpu":
        return None
    side = 768
    left = torch.ones(side, side, dtype=dtype)
    right, best = left.clone(), float("inf")
    for _ in range(4):
        begun = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - begun)
    return 2 * side**3 / best
