"""The profile `release` against a literal reference, and against outputs of the released code where they are here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terrascope.model.release.convert import import_release
from terrascope.model.terrascope import TerraScope
from terrascope.scene import Scene
from tests.model.release.conftest import Checkpoint
from tests.model.release.literal import replay

TEXT = "<think>ab[SEG]<REGION><REGION>cd[SEG]The tree: Image: 2 [SEG]</think><answer>A</answer>"
PLAIN = TEXT.replace("<REGION>", "")


def picture(folder: Path, name: str, width: int, height: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8))
    path = folder / f"{name}.png"
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize(
    ("sizes", "tiles"),
    [([(56, 56)], 1), ([(150, 100)], 7), ([(60, 230)], 5), ([(97, 64), (97, 64)], 1), ([(40, 64)] * 3, 1)],
)
def test_a_text_goes_through_as_in_the_released_code(
    checkpoint: Checkpoint, tmp_path: Path, sizes: list[tuple[int, int]], tiles: int
) -> None:
    front = TerraScope(checkpoint.model, checkpoint.processor, "tiny")
    paths = [picture(tmp_path, str(i), *size, seed=i) for i, size in enumerate(sizes)]
    scene = Scene.open(optical=paths)
    assert front.processor.image_processor.layout_of(scene.shape, len(sizes)).num_tiles == tiles
    replayed = front.ground(scene, "Q?", TEXT, keep_record=True)
    images = [Image.open(path).convert("RGB") for path in paths]
    logits, injected, masks, states = replay(checkpoint.model, checkpoint.processor.tokenizer, images, "Q?", PLAIN)
    assert replayed.logits is not None and replayed.seg_states is not None
    assert np.abs((replayed.logits - logits).numpy()).max() < 1e-4
    assert np.abs((replayed.seg_states - states).numpy()).max() < 1e-4
    assert [indices.tolist() for indices in replayed.injected] == injected
    assert [step.image for step in replayed.answer.steps] == [1 + i % len(sizes) for i in range(3)]
    for mask, mask_logits in zip(replayed.masks, masks, strict=True):
        clear = np.abs(mask_logits) > 1e-5 * np.abs(mask_logits).max()
        assert clear.mean() > 0.99 and np.array_equal(mask & clear, (mask_logits > 0) & clear)
    assert any(0 < mask.mean() < 1 for mask in replayed.masks)


def test_outputs_of_the_released_code(real_data: Path, tmp_path: Path) -> None:
    parity = real_data.parent / "parity"
    if not parity.is_dir():
        pytest.skip("reference outputs are not here; they lie beside the real scenes")
    import_release(parity / "checkpoint", tmp_path / "ours")
    front = TerraScope.from_pretrained(str(tmp_path / "ours"))
    front.processor.system_prompt = ""
    scene = Scene.open(optical=parity / "image_b.png")
    expected = np.load(parity / "single_256.npz")
    prompt = front.processor.prepare_prompt(front.processor.describe(scene), "Q?")
    assert np.array_equal(prompt.input_ids, expected["input_ids"][0])
    replayed = front.ground(scene, "Q?", str(expected["prediction"]), keep_record=True)
    assert replayed.logits is not None
    # The reference also has the logits at each [SEG] itself and after the last token: no token is chosen by them.
    rows = [0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 13]
    assert np.abs(replayed.logits.numpy() - expected["logits"][rows]).max() < 1e-4
    for number, mask in enumerate(replayed.masks):
        assert np.array_equal(replayed.injected[number], expected[f"visual_token_indices_{number}"])
        assert np.array_equal(mask, expected[f"mask_{number}"])
