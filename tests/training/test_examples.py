"""What a sample becomes: the prompt that inference asks, a text with a mask for every [SEG], and what is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from terrascope.bench.items import show_only
from terrascope.errors import SampleError, SceneError
from terrascope.landcover import TERRASCOPE, UNLABELLED
from terrascope.masks import encode_rle
from terrascope.model import TerraScope
from terrascope.model.processing import Prompt, TerraScopeProcessor
from terrascope.sample import Sample, SampleImage, SampleMask
from terrascope.scene import LabelMap, Scene
from terrascope.sources.synthetic import make_sample as generate
from terrascope.training.examples import known_pixels, written_text
from tests.model.conftest import Loaded, make_tiny
from tests.training.made_examples import make_example

TEXT = "<think>The water: Image: 2 [SEG] It covers 50%. The tree: Image: 1 [SEG][SEG] So A.</think><answer>A</answer>"


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    return make_tiny()


@pytest.fixture(scope="module")
def chip() -> Any:
    """Optical and SAR images of two dates, 64 x 64 pixels, with clouds."""
    return generate(3, size=64, kind="country", num_dates=2, cloudy=True)


def boxes(num: int) -> list[np.ndarray]:
    """Different masks: number `n` has its first `8 * (n + 1)` rows."""
    masks = [np.zeros((64, 64), bool) for _ in range(num)]
    for number, mask in enumerate(masks):
        mask[: 8 * (number + 1)] = True
    return masks


def sample_of(scene: Scene, **values: Any) -> Sample:
    masks = boxes(3)
    given = {
        "id": "sample-1", "level": "L1", "task": "coverage", "source": "made", "key": "7", "place": "7",
        "split": "train", "height": 64, "width": 64, "question": "How much is water?", "reasoning": TEXT,
        "options": ("10%", "50%"), "truth": "10%",
        "images": tuple(
            SampleImage(number=number, modality=image.modality, sensor=image.sensor)
            for number, pair in enumerate(scene.pairs, 1)
            for image in pair.observations
        ),
        "masks": tuple(
            SampleMask(counts=encode_rle(mask)["counts"], image=image, class_name=name)
            for mask, image, name in zip(masks, (2, 1, 1), ("water", "tree", "tree"), strict=True)
        ),
    }  # fmt: skip
    return Sample(**{**given, **values})


def asked(tiny: Loaded, scene: Scene, sample: Sample, patch: pytest.MonkeyPatch) -> Prompt:
    """The prompt that `TerraScope.ask` prepares."""
    prompts: list[Prompt] = []

    class Heard(Exception):
        pass

    def listen(self: TerraScopeProcessor, *args: Any) -> Prompt:
        prompts.append(plain(self, *args))
        raise Heard

    plain = TerraScopeProcessor.prepare_prompt
    with patch.context() as inner:
        inner.setattr(TerraScopeProcessor, "prepare_prompt", listen)
        with pytest.raises(Heard):
            TerraScope(*tiny, "tiny").ask(scene, sample.question, options=sample.options)
    return prompts[0]


def as_shown(scene: Scene, kind: str) -> Scene:
    optical, sar = [p.optical for p in scene.pairs if p.optical], [p.sar for p in scene.pairs if p.sar]
    return {
        "optical": Scene.of(optical=optical[:1]),
        "sar": Scene.of(sar=sar[:1]),
        "pair": Scene.of(optical=optical[:1], sar=sar[:1]),
        "two dates": scene,
    }[kind]


@pytest.mark.parametrize("options", [(), ("10%", "50%", "the water: a share")])
@pytest.mark.parametrize("kind", ["optical", "sar", "pair", "two dates"])
def test_the_prompt_is_the_one_that_inference_asks(
    tiny: Loaded, chip: Any, kind: str, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = as_shown(chip.scene, kind)
    sample = sample_of(scene, question=" How much is water? ", options=options)
    example = make_example(tiny[1], sample, scene, ())
    expected = asked(tiny, scene, sample, monkeypatch)
    assert torch.equal(example.prompt.input_ids, expected.input_ids)
    assert torch.equal(example.prompt.question, expected.question)
    assert example.prompt.num_options == expected.num_options == len(options)
    assert (example.prompt.images, example.prompt.modalities) == (expected.images, expected.modalities)
    assert (expected.input_ids == tiny[0].config.vlm_config.image_token_id).sum() == 16 * len(scene.observations)


def test_every_seg_has_its_mask_its_pair_and_its_class(tiny: Loaded, chip: Any) -> None:
    _, processor = tiny
    example = make_example(processor, sample_of(chip.scene), chip.scene, chip.labels)
    text = processor.tokenizer.decode(example.target.token_ids)
    assert text == TEXT + processor.tokenizer.eos_token
    assert example.target.pairs == (1, 0, 0)
    for mask, expected in zip(example.target.masks, boxes(3), strict=True):
        assert mask.dtype == torch.bool and np.array_equal(mask.numpy(), expected)
    assert example.class_names == ("water", "tree", "tree")
    assert (example.sample_id, example.scene_id, example.level, example.task) == (
        "sample-1",
        "made/7",
        "L1",
        "coverage",
    )
    assert example.target.injected is None


def test_masks_lie_where_a_trace_without_or_with_wrong_indicators_resolves_to(tiny: Loaded, chip: Any) -> None:
    text = "<think>[SEG] Image: 9 [SEG] Image: 2 [SEG] So A.</think><answer>A</answer>"
    example = make_example(tiny[1], sample_of(chip.scene, reasoning=text), chip.scene, chip.labels)
    assert example.target.pairs == (0, 0, 1)


def test_truth_is_known_where_pixels_are_labelled_and_were_measured(tiny: Loaded, chip: Any) -> None:
    pairs = chip.scene.pairs
    hidden = [np.ones((64, 64), bool) for _ in range(2)]
    hidden[0][:10], hidden[1][:, 60:] = False, False
    scene = Scene.of(
        optical=[replace(pair.optical, valid=hidden[number]) for number, pair in enumerate(pairs)],
        sar=[replace(pair.sar, valid=np.zeros((64, 64), bool) | (np.arange(64) < 3)[:, None]) for pair in pairs],
    )
    ids = [np.zeros((64, 64), np.uint8) for _ in range(2)]
    ids[0][:, :5], ids[1][20:30] = UNLABELLED, UNLABELLED
    labels = tuple(LabelMap(ids=one, nomenclature=TERRASCOPE, class_ids_known=(0,)) for one in ids)
    first, second = np.ones((64, 64), bool), np.ones((64, 64), bool)
    first[3:10] = False  # by the SAR image its first three rows were measured
    first[:, :5] = False
    second[3:, 60:] = False
    second[20:30] = False
    example = make_example(tiny[1], sample_of(scene), scene, labels)
    for known, expected in zip(example.target.known, (second, first, first), strict=True):
        assert np.array_equal(known.numpy(), expected)
    alone = make_example(tiny[1], sample_of(scene), scene, labels, shown="optical")
    assert np.array_equal(alone.target.known[1].numpy(), hidden[0] & (ids[0] != UNLABELLED))
    unlabelled = make_example(tiny[1], sample_of(scene), scene, ())
    assert np.array_equal(unlabelled.target.known[0].numpy(), scene.pairs[1].valid)


def test_label_maps_that_do_not_fit_are_named(chip: Any) -> None:
    with pytest.raises(SceneError, match=r"1 label maps of the sizes.*for 2 dates"):
        known_pixels(chip.scene, chip.labels[:1])


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        ("grounded", TEXT),
        ("textual", "<think>The water: Image: 2 It covers 50%. The tree: Image: 1 So A.</think><answer>A</answer>"),
        ("answer", "<answer>A</answer>"),
    ],
)
def test_reasoning_is_written_with_masks_as_text_or_not_at_all(
    tiny: Loaded, chip: Any, reasoning: Any, expected: str
) -> None:
    sample = sample_of(chip.scene)
    assert written_text(sample, reasoning) == expected
    example = make_example(tiny[1], sample, chip.scene, chip.labels, reasoning=reasoning)
    assert tiny[1].tokenizer.decode(example.target.token_ids) == expected + tiny[1].tokenizer.eos_token
    num = 3 if reasoning == "grounded" else 0
    target = example.target
    assert [len(part) for part in (target.masks, target.pairs, target.known, example.class_names)] == [num] * 4


def test_a_sample_without_masks_and_options_is_plain_text(tiny: Loaded, chip: Any) -> None:
    sample = sample_of(chip.scene, reasoning="<think></think><answer>yes</answer>", masks=(), options=(), truth="yes")
    example = make_example(tiny[1], sample, chip.scene, chip.labels)
    assert example.target.masks == () and example.prompt.num_options == 0
    assert tiny[1].tokenizer.decode(example.target.token_ids).startswith("<think></think><answer>yes</answer>")


@pytest.mark.parametrize("shown", ["optical", "sar"])
def test_one_kind_of_image_is_shown_on_all_dates(tiny: Loaded, chip: Any, shown: Any) -> None:
    scene = show_only(chip.scene, shown)
    assert [o.modality for o in scene.observations] == [shown, shown]
    assert [scene.pairs[t].observations[0] for t in (0, 1)] == [getattr(p, shown) for p in chip.scene.pairs]
    example = make_example(tiny[1], sample_of(chip.scene), chip.scene, chip.labels, shown=shown)
    assert (example.prompt.input_ids == tiny[0].config.vlm_config.image_token_id).sum() == 32
    assert example.scene_id == f"made/7 ({shown})"
    assert example.target.pairs == (1, 0, 0)


def test_a_scene_without_the_images_to_show_is_named(tiny: Loaded, chip: Any) -> None:
    scene = as_shown(chip.scene, "optical")
    with pytest.raises(SceneError, match="no sar image"):
        make_example(tiny[1], sample_of(scene), scene, (), shown="sar")


def wrong_samples(scene: Scene) -> Iterator[tuple[Sample, str]]:
    sample = sample_of(scene)
    yield replace(sample, masks=sample.masks[:2]), "3 .SEG.s but 2 masks"
    yield replace(sample, masks=(*sample.masks, sample.masks[0])), "3 .SEG.s but 4 masks"
    yield replace(sample, height=32), "64 x 32 pixels and its scene 64 x 64"
    cut = replace(sample.masks[1], counts=sample.masks[1].counts[:-1])
    yield replace(sample, masks=(sample.masks[0], cut, sample.masks[2])), "mask 2"
    yield replace(sample, question="Where is [SEG]?"), "reserved"
    yield replace(sample, options=("only",)), "1 choices"


@pytest.mark.parametrize("number", range(6))
def test_a_sample_that_does_not_fit_is_named(tiny: Loaded, chip: Any, number: int) -> None:
    sample, reason = list(wrong_samples(chip.scene))[number]
    with pytest.raises(SampleError, match=f"sample sample-1: .*{reason}"):
        make_example(tiny[1], sample, chip.scene, chip.labels)
