"""Batches of known content for a tiny model: generated scenes, texts written by hand, masks of simple shapes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from terrascope.model.processing import SceneInputs
from terrascope.scene import Scene
from terrascope.sources.synthetic import make_sample
from terrascope.training.batch import Batch, collate
from terrascope.training.examples import Example
from terrascope.training.sequence import Target
from tests.model.conftest import Loaded

SIZE = 64
TWO_MASKS = "<think>The water: [SEG] It covers. The tree: [SEG] So</think><answer>A</answer><|im_end|>"
ONE_MASK = "<think>The tree: [SEG] It covers 2</think><answer>B</answer><|im_end|>"
NO_MASK = "<answer>A</answer><|im_end|>"
TWO_DATES = "<think>The water: Image: 1 [SEG] The tree: Image: 2 [SEG]</think><answer>A</answer><|im_end|>"


def make_scenes() -> dict[str, Scene]:
    """Scenes of 64 x 64 pixels by the kinds of their images."""
    pairs = make_sample(3, size=SIZE, kind="country", num_dates=2, cloudy=True).scene.pairs
    optical, sar = [p.optical for p in pairs if p.optical], [p.sar for p in pairs if p.sar]
    return {
        "optical": Scene.of(optical=optical[:1]),
        "other optical": Scene.of(optical=optical[1:2]),
        "sar": Scene.of(sar=sar[:1]),
        "both": Scene.of(optical=optical[:1], sar=sar[:1]),
        "two dates, both": Scene.of(optical=optical, sar=sar),
    }


def block(top: int, left: int, height: int, width: int) -> Tensor:
    """A rectangle, bool `[64, 64]`."""
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


def make_item(
    tiny: Loaded, scene: Scene, name: str, text: str, masks: Sequence[Tensor], pairs: Sequence[int] | None = None
) -> tuple[Example, SceneInputs]:
    """One sample about a scene; everything is known but its last row."""
    processor = tiny[1]
    known = torch.ones(SIZE, SIZE, dtype=torch.bool)
    known[-1] = False
    target = Target(
        token_ids=torch.tensor(processor.tokenizer(text, add_special_tokens=False)["input_ids"]),
        masks=tuple(masks),
        known=(known,) * len(masks),
        pairs=tuple(pairs or [0] * len(masks)),
    )
    example = Example(
        sample_id=f"{name}: {text}",
        scene_id=name,
        prompt=processor.prepare_prompt(processor.describe(scene), f"How much is water of {name}?"),
        target=target,
        class_names=("water", "tree")[: len(masks)],
        level="L1",
        task="coverage",
    )
    return example, processor.image_processor.prepare_scene(scene)


def make_items(tiny: Loaded) -> list[tuple[Example, SceneInputs]]:
    """Five samples of four scenes: two of one scene, one of a pair, one of two dates, one without a mask."""
    scenes = make_scenes()
    return [
        make_item(tiny, scenes["optical"], "optical", TWO_MASKS, [block(0, 0, 32, 64), block(16, 16, 48, 32)]),
        make_item(tiny, scenes["both"], "both", ONE_MASK, [block(8, 8, 40, 40)]),
        make_item(tiny, scenes["sar"], "sar", NO_MASK, []),
        make_item(
            tiny, scenes["two dates, both"], "two dates, both", TWO_DATES,
            [block(0, 0, 64, 20), block(30, 30, 34, 34)], [0, 1],
        ),
        make_item(tiny, scenes["optical"], "optical", ONE_MASK, [block(40, 40, 1, 1)]),
    ]  # fmt: skip


def make_batch(tiny: Loaded, rows: Sequence[int] = (0, 1, 2, 3, 4)) -> Batch:
    """Some of these samples."""
    items = make_items(tiny)
    return collate([items[row] for row in rows])
