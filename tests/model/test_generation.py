"""Algorithm 1: the cached loop against one uncached pass, and every edge case of a [SEG]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from terrascope.model.drawing import ground
from terrascope.model.encoding import EncodedScene, embed_prompt, encode_scene
from terrascope.model.generation import GenerationSettings, Reasoning, reason
from terrascope.model.injection import weigh_pairs
from terrascope.model.processing import Prompt
from terrascope.model.selection import select_tokens
from terrascope.scene import Scene
from tests.model.conftest import Loaded, make_tiny


def prepare(tiny: Loaded, scene: Scene, options: Sequence[str] = ()) -> tuple[EncodedScene, Prompt]:
    model, processor = tiny
    with torch.inference_mode():
        encoded = encode_scene(model, processor.image_processor.prepare_scene(scene))
    return encoded, processor.prepare_prompt(processor.describe(scene), "How much is water?", options)


def replay(tiny: Loaded, scene: Scene, text: str, masks: Sequence[np.ndarray], **limits: int) -> Reasoning:
    model, processor = tiny
    encoded, prompt = prepare(tiny, scene)
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    settings = GenerationSettings(**limits)
    return reason(model, processor, encoded, prompt, settings, forced_ids=ids, forced_masks=masks, keep_record=True)


def scenes(sample) -> dict[str, Scene]:  # type: ignore[no-untyped-def]
    pairs = sample.scene.pairs
    return {
        "optical": Scene.of(optical=[pairs[0].optical]),
        "sar": Scene.of(sar=[pairs[0].sar]),
        "both": Scene.of(optical=[pairs[0].optical], sar=[pairs[0].sar]),
        "two dates": Scene.of(optical=[p.optical for p in pairs]),
        "two dates, both": sample.scene,
    }


TEXT = "<think>The water: [SEG] It covers. The tree: Image: 2 [SEG][SEG] So Image: 1 [SEG]</think><answer>A</answer>"


@pytest.mark.parametrize("kind", ["optical", "sar", "both", "two dates", "two dates, both"])
def test_cached_loop_equals_one_uncached_pass(tiny: Loaded, two_dates, half_masks, kind: str) -> None:  # type: ignore[no-untyped-def]
    model, _ = tiny
    scene = scenes(two_dates)[kind]
    given = [half_masks[0], half_masks[1], half_masks[2], half_masks[4]]
    result = replay(tiny, scene, TEXT, given)
    assert [g.image for g in result.groundings] == ([1, 2, 2, 1] if "two" in kind else [1, 1, 1, 1])
    # Build the whole sequence anew, by hand, from what the paper says it is.
    encoded, prompt = prepare(tiny, scene)
    with torch.no_grad():
        visual = weigh_pairs(
            model,
            [{k: encoded.context[i] for k, i in pair.items()} for pair in encoded.pairs],
            encoded.inputs.layouts,
            prompt,
        )
        pieces = [embed_prompt(model, prompt, encoded.context)]
        number = 0
        for token in result.token_ids:
            pieces.append(model.get_input_embeddings()(torch.tensor([token])))
            if token == model.config.seg_token_id:
                tokens = visual[result.groundings[number].image - 1]
                indices = select_tokens(torch.from_numpy(given[number]), (4, 4))
                features, _ = tokens.gather(indices)
                pieces.append(features)
                assert result.groundings[number].num_optical_tokens + result.groundings[number].num_sar_tokens == len(
                    indices
                )
                number += 1
        sequence = torch.cat(pieces)
        logits = model(inputs_embeds=sequence[None]).logits[0]
    assert torch.allclose(torch.cat(result.record.embeddings), sequence, atol=1e-6)
    for position, step in zip(result.record.positions, result.record.logits, strict=True):
        assert torch.allclose(step, logits[position - 1], atol=1e-4)


def test_both_modalities_are_injected_and_counted_apart(tiny: Loaded, two_dates, half_masks) -> None:  # type: ignore[no-untyped-def]
    full = replay(tiny, scenes(two_dates)["both"], "[SEG]", [half_masks[3]]).groundings[0]
    assert full.num_optical_tokens + full.num_sar_tokens == 16
    assert full.num_optical_tokens > 0 and full.num_sar_tokens > 0
    for kind, counts in (("optical", (16, 0)), ("sar", (0, 16))):
        only = replay(tiny, scenes(two_dates)[kind], "[SEG]", [half_masks[3]]).groundings[0]
        assert (only.num_optical_tokens, only.num_sar_tokens) == counts


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("[SEG]", [1]),
        ("[SEG][SEG][SEG]", [1, 1, 1]),
        ("Image: 9 [SEG]", [1]),
        ("Image: 2 water [SEG] Image: 9 [SEG]", [2, 2]),
        ("<think>Image: 2 [SEG] tree [SEG]", [2, 2]),
        ("[SEG]</think><answer>A</answer>", [1]),
    ],
)
def test_every_seg_gets_one_mask_on_an_image_that_exists(tiny: Loaded, two_dates, text: str, images: list[int]) -> None:  # type: ignore[no-untyped-def]
    result = replay(tiny, two_dates.scene, text, [])
    assert [g.image for g in result.groundings] == images
    assert all(g.mask.shape == (64, 64) and 0 <= g.confidence <= 1 for g in result.groundings)
    assert result.finish_reason == "end"


def test_a_mask_that_selects_nothing_injects_nothing(tiny: Loaded, two_dates, half_masks) -> None:  # type: ignore[no-untyped-def]
    with_mask = replay(tiny, two_dates.scene, "[SEG]A", [half_masks[2]])
    assert with_mask.groundings[0].num_optical_tokens + with_mask.groundings[0].num_sar_tokens == 0
    assert len(with_mask.record.embeddings) == 3  # prompt, [SEG], A


def test_budget_in_the_middle_of_an_injection_stops_before_it(tiny: Loaded, two_dates, half_masks) -> None:  # type: ignore[no-untyped-def]
    result = replay(tiny, scenes(two_dates)["optical"], "water [SEG] tree", [half_masks[3]], max_new_tokens=10)
    assert result.finish_reason == "length"
    assert len(result.groundings) == 1 and result.groundings[0].mask.all()
    assert result.groundings[0].num_optical_tokens == 0
    prompt = len(result.record.embeddings[0])
    assert sum(len(piece) for piece in result.record.embeddings) <= prompt + 10


def test_end_right_after_seg(tiny: Loaded, two_dates) -> None:  # type: ignore[no-untyped-def]
    result = replay(tiny, two_dates.scene, "water [SEG]<|im_end|>", [])
    assert len(result.groundings) == 1
    assert result.text.endswith("[SEG]")


def test_too_many_masks_stop_the_loop(two_dates) -> None:  # type: ignore[no-untyped-def]
    model, processor = make_tiny(max_masks=3)
    # A model that always writes [SEG].
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight
        model.vlm.model.language_model.norm.weight.fill_(1.0)
        model.vlm.lm_head.weight = torch.nn.Parameter(torch.zeros_like(embedding))
        model.vlm.lm_head.bias = torch.nn.Parameter(
            torch.zeros(len(embedding)).index_fill(0, torch.tensor([model.config.seg_token_id]), 5.0)
        )
    encoded, prompt = prepare((model, processor), two_dates.scene)
    result = reason(model, processor, encoded, prompt)
    assert result.finish_reason == "masks" and len(result.groundings) == 3


def test_choices_are_answered_with_one_of_their_letters(tiny: Loaded, two_dates) -> None:  # type: ignore[no-untyped-def]
    model, processor = tiny
    encoded, prompt = prepare(tiny, two_dates.scene, ["10%", "20%", "30%"])
    # Whatever the random weights prefer: after <answer> only A, B or C may come. Force the tag by stopping short of it.
    forced = processor.tokenizer("<answer>", add_special_tokens=False)["input_ids"]
    begun = reason(model, processor, encoded, prompt, forced_ids=forced)
    assert begun.token_ids == tuple(forced)
    letters = processor.tokenizer.convert_tokens_to_ids(["A", "B", "C"])
    original = processor.tokenizer.convert_tokens_to_ids
    answer_id = original("<answer>")
    calls: list[int] = []
    head = model.vlm.lm_head

    def steer(module, inputs, logits):  # type: ignore[no-untyped-def]
        # The first choice of the model becomes <answer>, every later one <think>.
        logits[..., original("<think>") if calls else answer_id] = 1e4
        calls.append(1)
        return logits

    hook = head.register_forward_hook(steer)
    try:
        result = reason(model, processor, encoded, prompt, GenerationSettings(max_new_tokens=2))
    finally:
        hook.remove()
    assert result.token_ids[0] == answer_id
    assert result.token_ids[1] in letters


def test_encoders_run_once_per_image(tiny: Loaded, two_dates, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    model, _ = tiny
    seen: list[int] = []
    original = model.sam.vision_encoder.forward
    monkeypatch.setattr(
        model.sam.vision_encoder, "forward", lambda pixels, **kw: (seen.append(len(pixels)), original(pixels, **kw))[1]
    )
    result = replay(tiny, two_dates.scene, "[SEG] Image: 2 [SEG] [SEG]", [])
    assert seen == [4], "two dates of optical and SAR: four images, one pass"
    assert len(result.groundings) == 3


def test_masks_may_be_drawn_on_the_optical_image_alone(two_dates) -> None:  # type: ignore[no-untyped-def]
    pair = two_dates.scene.pairs[0]
    model, processor = make_tiny(mask_images="optical")  # type: ignore[arg-type]
    state = torch.randn(model.config.vlm_config.text_config.hidden_size, generator=torch.Generator().manual_seed(0))
    both = encode_scene(model, processor.image_processor.prepare_scene(Scene((pair,))))
    alone = encode_scene(model, processor.image_processor.prepare_scene(Scene.of(optical=[pair.optical])))
    radar = encode_scene(model, processor.image_processor.prepare_scene(Scene.of(sar=[pair.sar])))
    with torch.inference_mode():
        masks = [ground(model, encoded, 0, state)[0] for encoded in (both, alone, radar)]
        fused = ground(make_tiny()[0], both, 0, state)[0]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2]) and not torch.equal(masks[0], fused)
