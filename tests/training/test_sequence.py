"""What the model sees in training is what it sees when it reasons, and the loss counts the text and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from terrascope.masks import encode_rle
from terrascope.model.encoding import EncodedScene, encode_scene
from terrascope.model.engine.engine import Engine
from terrascope.model.generation import GenerationSettings, Reasoning, reason
from terrascope.model.processing import Prompt
from terrascope.model.reasoner import SceneReasoner
from terrascope.model.selection import select_tokens
from terrascope.sample import Sample, SampleImage, SampleMask
from terrascope.scene import Scene
from terrascope.sources.synthetic import make_sample
from terrascope.training.sequence import IGNORED, Target, TrainingSequence, build_sequence, pad_sequences
from tests.model.conftest import Loaded, make_tiny
from tests.training.made_examples import make_example

KINDS = ("optical", "sar", "both", "two dates", "two dates, both")
ONE_DATE = "<think>The water: [SEG] It covers. The tree: [SEG][SEG] So [SEG]</think><answer>A</answer><|im_end|>"
TWO_DATES = (
    "<think>The water: Image: 1 [SEG] It covers. The tree: Image: 2 [SEG][SEG] So Image: 1 [SEG]</think>"
    "<answer>A</answer><|im_end|>"
)


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    return make_tiny()


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    pairs = make_sample(3, size=64, kind="country", num_dates=2, cloudy=True).scene.pairs
    optical, sar = [p.optical for p in pairs if p.optical], [p.sar for p in pairs if p.sar]
    return {
        "optical": Scene.of(optical=optical[:1]),
        "sar": Scene.of(sar=sar[:1]),
        "both": Scene.of(optical=optical[:1], sar=sar[:1]),
        "two dates": Scene.of(optical=optical),
        "two dates, both": Scene.of(optical=optical, sar=sar),
    }


@pytest.fixture(scope="module")
def masks() -> list[np.ndarray]:
    """Left half (8 of 16 tokens), one pixel (its best token), nothing (none), a middle block."""
    masks = [np.zeros((64, 64), bool) for _ in range(4)]
    masks[0][:, :32] = True
    masks[1][40, 50] = True
    masks[3][16:48, 8:40] = True
    return masks


def prepare(tiny: Loaded, scene: Scene, question: str = "How much is water?") -> tuple[EncodedScene, Prompt]:
    model, processor = tiny
    # Not in inference mode: the training sequence computes with these tensors.
    with torch.no_grad():
        encoded = encode_scene(model, processor.image_processor.prepare_scene(scene))
    return encoded, processor.prepare_prompt(processor.describe(scene), question)


def make_target(tiny: Loaded, text: str, masks: Sequence[np.ndarray], pairs: Sequence[int]) -> Target:
    ids = tiny[1].tokenizer(text, add_special_tokens=False)["input_ids"]
    true = tuple(torch.from_numpy(mask) for mask in masks)
    known = tuple(torch.ones_like(mask) for mask in true)
    return Target(token_ids=torch.tensor(ids), masks=true, pairs=tuple(pairs), known=known)


def build(tiny: Loaded, encoded: EncodedScene, prompt: Prompt, target: Target) -> TrainingSequence:
    pairs = [{kind: encoded.context[place] for kind, place in pair.items()} for pair in encoded.pairs]
    with torch.no_grad():
        return build_sequence(tiny[0], prompt, pairs, encoded.inputs.layouts, target)


def both_ways(
    tiny: Loaded, scene: Scene, kind: str, masks: Sequence[np.ndarray]
) -> tuple[TrainingSequence, Reasoning, Prompt, Target, list[Tensor]]:
    """One text with given masks, as training builds it and as inference runs it; and inference's [SEG] states."""
    text, pairs = (TWO_DATES, (0, 1, 1, 0)) if "two" in kind else (ONE_DATE, (0, 0, 0, 0))
    encoded, prompt = prepare(tiny, scene)
    target = make_target(tiny, text, masks, pairs)
    result = reason(*tiny, encoded, prompt, forced_ids=target.token_ids.tolist(), forced_masks=masks, keep_record=True)
    assert result.record is not None
    return build(tiny, encoded, prompt, target), result, prompt, target, result.record.seg_states


@pytest.mark.parametrize("kind", KINDS)
def test_training_sees_exactly_what_inference_sees(
    tiny: Loaded, scenes: dict[str, Scene], masks: list[np.ndarray], kind: str
) -> None:
    built, result, _, target, _ = both_ways(tiny, scenes[kind], kind, masks)
    assert [g.image - 1 for g in result.groundings] == list(target.pairs)
    assert torch.equal(built.embeddings, torch.cat(result.record.embeddings))
    assert len(built.labels) == len(built.embeddings)


@pytest.mark.parametrize("kind", KINDS)
def test_seg_states_in_training_equal_those_at_inference(
    tiny: Loaded, scenes: dict[str, Scene], masks: list[np.ndarray], kind: str
) -> None:
    model, _ = tiny
    built, _, _, _, states = both_ways(tiny, scenes[kind], kind, masks)
    with torch.no_grad():
        hidden = model(inputs_embeds=built.embeddings[None]).last_hidden_state[0]
    assert len(states) == len(built.seg_positions) == 4
    for place, state in zip(built.seg_positions, states, strict=True):
        assert torch.allclose(hidden[place], state, atol=1e-5)
        seg = model.get_input_embeddings().weight[model.config.seg_token_id]
        assert torch.equal(built.embeddings[place], seg)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_counts_every_text_token_once_and_nothing_else(
    tiny: Loaded, scenes: dict[str, Scene], masks: list[np.ndarray], kind: str
) -> None:
    model, _ = tiny
    built, result, prompt, target, _ = both_ways(tiny, scenes[kind], kind, masks)
    counted = built.labels != IGNORED
    assert torch.equal(built.labels[counted], target.token_ids)
    assert (built.labels[: len(prompt.input_ids) - 1] == IGNORED).all()
    assert built.labels[len(prompt.input_ids) - 1] == target.token_ids[0], "the prompt's last position predicts"
    assert built.labels[-1] == IGNORED
    # Position by position: what stands there, and what follows it.
    vocabulary = model.get_input_embeddings().weight
    place, number = len(prompt.input_ids), 0
    for token, following in zip(target.token_ids.tolist(), [*target.token_ids.tolist()[1:], IGNORED], strict=True):
        assert torch.equal(built.embeddings[place], vocabulary[token])
        if token == model.config.seg_token_id:
            assert built.seg_positions[number] == place
            num_injected = len(result.record.injected[number])
            number += 1
            if num_injected:
                assert (built.labels[place : place + num_injected] == IGNORED).all()
                place += num_injected
        assert built.labels[place] == following, "the last injected token, or [SEG] itself without any, predicts"
        place += 1
    assert place == len(built.labels)
    assert [len(indices) for indices in result.record.injected] == [
        8,
        1,
        0,
        len(select_tokens(target.masks[3], (4, 4))),
    ]


def test_a_target_that_ends_with_seg_has_nothing_to_predict_there(
    tiny: Loaded, scenes: dict[str, Scene], masks: list[np.ndarray]
) -> None:
    encoded, prompt = prepare(tiny, scenes["optical"])
    for mask, num_injected in ((masks[0], 8), (masks[2], 0)):
        target = make_target(tiny, "water [SEG]", [mask], [0])
        built = build(tiny, encoded, prompt, target)
        assert (
            len(built.labels) == len(built.embeddings) == len(prompt.input_ids) + len(target.token_ids) + num_injected
        )
        assert torch.equal(built.labels[built.labels != IGNORED], target.token_ids)
        assert built.seg_positions == (len(prompt.input_ids) + len(target.token_ids) - 1,)


def test_a_target_without_seg_is_plain_text(tiny: Loaded, scenes: dict[str, Scene]) -> None:
    encoded, prompt = prepare(tiny, scenes["optical"])
    target = make_target(tiny, "<answer>A</answer>", [], [])
    built = build(tiny, encoded, prompt, target)
    start = len(prompt.input_ids)
    assert built.seg_positions == ()
    assert torch.equal(built.labels[start - 1 : -1], target.token_ids)


def test_padding_keeps_samples_apart(tiny: Loaded, scenes: dict[str, Scene], masks: list[np.ndarray]) -> None:
    model, _ = tiny
    rows = [both_ways(tiny, scenes[kind], kind, masks)[0] for kind in ("two dates, both", "optical")]
    other = prepare(tiny, scenes["sar"], "Is there any tree?")
    rows.append(build(tiny, *other, make_target(tiny, "<answer>A</answer>", [], [])))
    embeddings, attention_mask, labels = pad_sequences(rows)
    lengths = [len(row.labels) for row in rows]
    assert len(set(lengths)) == 3
    assert attention_mask.sum(1).tolist() == lengths
    positions = torch.arange(embeddings.shape[1])[None].expand(3, -1)
    counted = labels != IGNORED
    with torch.no_grad():
        together = model(inputs_embeds=embeddings, attention_mask=attention_mask, position_ids=positions)
        kept = model(
            inputs_embeds=embeddings, attention_mask=attention_mask, position_ids=positions, logits_to_keep=counted
        ).logits
        alone = [model(inputs_embeds=row.embeddings[None]) for row in rows]
    for i, (row, output) in enumerate(zip(rows, alone, strict=True)):
        assert torch.equal(embeddings[i, : lengths[i]], row.embeddings)
        assert torch.equal(labels[i, : lengths[i]], row.labels)
        assert (labels[i, lengths[i] :] == IGNORED).all() and (embeddings[i, lengths[i] :] == 0).all()
        assert torch.allclose(together.logits[i, : lengths[i]], output.logits[0], atol=1e-4)
        assert torch.allclose(together.last_hidden_state[i, : lengths[i]], output.last_hidden_state[0], atol=1e-5)
    expected = torch.cat([output.logits[0][row.labels != IGNORED] for row, output in zip(rows, alone, strict=True)])
    assert torch.allclose(kept, expected, atol=1e-4)


def sample_of(scene: Scene, kind: str, masks: Sequence[np.ndarray]) -> Sample:
    text = (TWO_DATES if "two" in kind else ONE_DATE).removesuffix("<|im_end|>")
    images = (1, 2, 2, 1) if "two" in kind else (1, 1, 1, 1)
    return Sample(
        id="1", level="L1", task="area", source="made", key="1", place="1", split="train", height=64, width=64,
        question="How much is water?", options=("10%", "50%"), reasoning=text,
        images=tuple(
            SampleImage(number=number, modality=image.modality, sensor=image.sensor)
            for number, pair in enumerate(scene.pairs, 1)
            for image in pair.observations
        ),
        masks=tuple(
            SampleMask(counts=encode_rle(mask)["counts"], image=image, class_name="water")
            for mask, image in zip(masks, images, strict=True)
        ),
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_becomes_the_sequence_of_the_same_reasoning_asked_of_its_scene(
    tiny: Loaded, scenes: dict[str, Scene], masks: list[np.ndarray], kind: str
) -> None:
    model, processor = tiny
    scene = scenes[kind]
    sample = sample_of(scene, kind, masks)
    example = make_example(processor, sample, scene, ())
    ids = processor.tokenizer(sample.reasoning + processor.tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    reasoner = SceneReasoner(model, processor, scene, GenerationSettings())
    written = Engine(reasoner.model).run(
        lambda: reasoner.write(sample.question, sample.options, forced_ids=ids, masks=masks, keep_record=True)
    )
    with torch.no_grad():
        encoded = encode_scene(model, processor.image_processor.prepare_scene(scene))
    built = build(tiny, encoded, example.prompt, example.target)
    assert [grounding.image - 1 for grounding in written.groundings] == list(example.target.pairs)
    assert torch.equal(built.embeddings, torch.cat(written.record.embeddings))
    assert torch.equal(built.labels[built.labels != IGNORED], torch.tensor(ids))


def test_another_mask_than_the_true_one_is_injected_where_there_is_one(
    tiny: Loaded, scenes: dict[str, Scene], masks: list[np.ndarray]
) -> None:
    encoded, prompt = prepare(tiny, scenes["optical"])
    target = make_target(tiny, "water [SEG] tree [SEG]", [masks[0], masks[3]], [0, 0])
    swapped = replace(target, injected=(target.masks[1], target.masks[0]))
    built = build(tiny, encoded, prompt, swapped)
    turned = make_target(tiny, "water [SEG] tree [SEG]", [masks[3], masks[0]], [0, 0])
    assert torch.equal(built.embeddings, build(tiny, encoded, prompt, turned).embeddings)
    plain = build(tiny, encoded, prompt, target)
    assert plain.embeddings.shape == built.embeddings.shape and not torch.equal(plain.embeddings, built.embeddings)


def test_gradient_flows_through_injected_tokens_to_the_visual_tokens(tiny: Loaded, scenes: dict[str, Scene]) -> None:
    model, _ = tiny
    encoded, prompt = prepare(tiny, scenes["optical"])
    tokens = encoded.context[0].clone().requires_grad_(True)
    mask = np.zeros((64, 64), bool)
    mask[:16, :16] = True
    target = make_target(tiny, "[SEG] water", [mask], [0])
    built = build_sequence(model, prompt, [{"optical": tokens}], encoded.inputs.layouts, target)
    place = built.seg_positions[0] + 1
    assert torch.equal(built.embeddings[place], tokens[0])
    built.embeddings[place].sum().backward()
    assert tokens.grad is not None
    assert torch.equal(tokens.grad[0], torch.ones_like(tokens.grad[0])) and not tokens.grad[1:].any()
