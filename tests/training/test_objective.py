"""Eq. 6 over batches: every sample keeps to itself, sees what inference sees, and counts what it should."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from terrascope.model.drawing import ground
from terrascope.model.encoding import encode_scene
from terrascope.model.generation import GenerationSettings, reason
from terrascope.training.batch import Batch, collate
from terrascope.training.examples import Example
from terrascope.training.losses import LossWeights, mask_losses
from terrascope.training.objective import Losses, Objective, ObjectiveSettings
from terrascope.training.stages import prepare_stage
from tests.model.conftest import Loaded, make_tiny
from tests.model.families import make_family
from tests.training.batches_by_hand import (
    NO_MASK,
    SIZE,
    TWO_MASKS,
    block,
    make_batch,
    make_item,
    make_items,
    make_scenes,
)

PLAIN = ObjectiveSettings(loss_size=SIZE)


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    return make_tiny()


@pytest.fixture(scope="module")
def qwen() -> Loaded:
    return make_family("qwen25vl", "sam2")


def count(tiny: Loaded, batch: Batch, settings: ObjectiveSettings = PLAIN, **arguments: object) -> Losses:
    with torch.no_grad():
        return Objective(tiny[0], settings, **arguments)(batch)  # type: ignore[arg-type]


def close(found: Tensor | float, expected: Tensor | float, rel: float = 1e-5) -> bool:
    return float(found) == pytest.approx(float(expected), rel=rel)


def single_rows(tiny: Loaded) -> list[Losses]:
    return [count(tiny, make_batch(tiny, [row])) for row in range(5)]


def infer(tiny: Loaded, example: Example, batch: Batch):  # type: ignore[no-untyped-def]
    """What inference says and sees when the text and the true masks are forced upon it."""
    model, processor = tiny
    inputs = batch.scenes[batch.scene_ids.index(example.scene_id)]
    with torch.inference_mode():
        encoded = encode_scene(model, inputs)
        masks = [mask.numpy() for mask in example.target.masks]
        ids = example.target.token_ids.tolist()
        settings = GenerationSettings()
        result = reason(
            model, processor, encoded, example.prompt, settings, forced_ids=ids, forced_masks=masks, keep_record=True
        )
    return encoded, result


# Eq. 6 against inference and by hand.


@pytest.mark.parametrize("family", ["internvl", "qwen"])
def test_seg_states_equal_those_of_inference(family: str, tiny: Loaded, qwen: Loaded) -> None:
    loaded = tiny if family == "internvl" else qwen
    batch = make_batch(loaded)
    states = Objective(loaded[0], PLAIN).read_states(batch)
    for example, found in zip(batch.examples, states, strict=True):
        _, result = infer(loaded, example, batch)
        assert len(found) == len(result.record.seg_states) == len(example.target.masks)
        for state, expected in zip(found, result.record.seg_states, strict=True):
            assert torch.allclose(state, expected, atol=1e-4)


@pytest.mark.parametrize("family", ["internvl", "qwen"])
def test_language_loss_is_the_surprise_of_inference_over_text_tokens_alone(
    family: str, tiny: Loaded, qwen: Loaded
) -> None:
    loaded = tiny if family == "internvl" else qwen
    batch = make_batch(loaded)
    losses = count(loaded, batch)
    expected, positions = 0.0, 0
    for example in batch.examples:
        _, result = infer(loaded, example, batch)
        # Before every token of the text, and at no injected position, inference has its logits.
        for logits, token in zip(result.record.logits, example.target.token_ids.tolist(), strict=True):
            expected -= float(logits.log_softmax(-1)[token])
        positions += sum(map(len, result.record.embeddings))
        assert sum(map(len, result.record.injected)) > 0 or not example.target.masks
    assert losses.num_tokens == sum(len(example.target.token_ids) for example in batch.examples)
    assert losses.num_positions == positions
    assert close(losses.language, expected)


def test_segmentation_loss_compares_the_masks_that_inference_would_draw(tiny: Loaded) -> None:
    model, _ = tiny
    batch = make_batch(tiny)
    # Of the pair, the optical image was measured on the left and the SAR image above.
    seen = block(0, 0, 64, 40), block(0, 0, 40, 64)
    scenes = tuple(replace(s, valid=seen) if i == 1 else s for i, s in enumerate(batch.scenes))
    batch = replace(batch, scenes=scenes)
    expected = 0.0
    for example in batch.examples:
        encoded, result = infer(tiny, example, batch)
        for number, state in enumerate(result.record.seg_states):
            pair = encoded.pairs[example.target.pairs[number]]
            places = [pair[kind] for kind in ("optical", "sar") if kind in pair]
            truth, known = example.target.masks[number], example.target.known[number].float()
            valid = torch.stack([encoded.inputs.valid[place] for place in places])
            with torch.no_grad():
                rows = torch.tensor(places)
                logits = model.decode_masks(encoded.embeddings[rows], state.expand(len(places), 1, -1))[0]
                full = model.resize_logits(logits, (SIZE, SIZE))[:, 0]
                drawn = [(full[i], known * valid[i]) for i in range(len(places))]
                if len(places) == 2:
                    drawn.append((model.fuse_logits(full, valid), known))
                terms = [
                    float(mask_losses(x[None], (truth & (known > 0)).float()[None], w[None], LossWeights()))
                    for x, w in drawn
                ]
            expected += sum(terms) / len(terms)
    losses = count(tiny, batch)
    assert losses.num_masks == 6
    assert close(losses.segmentation, expected)


def test_pairs_count_both_images_and_their_fusion_or_the_optical_alone(tiny: Loaded) -> None:
    model, _ = make_tiny()
    batch = make_batch(tiny, [1])
    torch.nn.init.normal_(model.mask_fusion.correction.weight)
    before = float(count((model, tiny[1]), batch).segmentation)
    with torch.no_grad():
        model.mask_fusion.correction.bias += 1
    assert float(count((model, tiny[1]), batch).segmentation) != pytest.approx(before, rel=1e-4)
    model.config.mask_images = "optical"
    alone = float(count((model, tiny[1]), batch).segmentation)
    with torch.no_grad():
        model.mask_fusion.correction.bias += 1
    assert close(count((model, tiny[1]), batch).segmentation, alone)


def test_what_is_not_known_does_not_count(tiny: Loaded) -> None:
    (example, inputs), *_ = make_items(tiny)
    before = count(tiny, collate([(example, inputs)]))
    # The last row is unknown: its truth may be anything, as long as the tokens that are injected stay.
    masks = tuple(mask.clone() for mask in example.target.masks)
    masks[1][-1] = ~masks[1][-1]
    target = replace(example.target, masks=masks, injected=example.target.masks)
    after = count(tiny, collate([(replace(example, target=target), inputs)]), replace(PLAIN, injected="noisy"))
    assert torch.equal(before.segmentation, after.segmentation)
    unknown = (torch.zeros_like(masks[0]),) * 2
    nothing = count(tiny, collate([(replace(example, target=replace(example.target, known=unknown)), inputs)]))
    assert float(nothing.segmentation) == 0.0 and nothing.num_masks == 0


def test_masks_that_overlap_are_compared_each_alone(tiny: Loaded) -> None:
    scene = make_scenes()["optical"]
    first, second = block(0, 0, 40, 64), block(20, 0, 44, 64)
    assert (first & second).any()
    item = make_item(tiny, scene, "optical", TWO_MASKS, [first, second])
    together = count(tiny, collate([item]))
    model, _ = tiny
    encoded, result = infer(tiny, item[0], collate([item]))
    expected = 0.0
    for mask, state in zip((first, second), result.record.seg_states, strict=True):
        with torch.no_grad():
            logits, _ = model.decode_masks(encoded.embeddings, state[None, None])
            full = model.resize_logits(logits, (SIZE, SIZE))[0]
            known = item[0].target.known[0]
            valid = encoded.inputs.valid[0]
            truth, weight = (mask & known).float()[None], (known & valid).float()[None]
            expected += float(mask_losses(full, truth, weight, LossWeights()))
    assert together.num_masks == 2 and close(together.segmentation, expected)


@pytest.mark.parametrize("size", [16, 24, 100])
def test_a_mask_is_compared_by_the_shares_of_a_coarser_or_finer_grid(tiny: Loaded, size: int) -> None:
    batch = make_batch(tiny, [0])
    losses = count(tiny, batch, ObjectiveSettings(loss_size=size))
    model, example = tiny[0], batch.examples[0]
    encoded, result = infer(tiny, example, batch)
    expected = 0.0
    for number, state in enumerate(result.record.seg_states):
        known = example.target.known[number].float()[None, None]
        truth = example.target.masks[number].float()[None, None] * known
        share = functional.adaptive_avg_pool2d(known, size)
        target = functional.adaptive_avg_pool2d(truth, size) / share.clamp_min(1e-6)
        with torch.no_grad():
            logits, _ = model.decode_masks(encoded.embeddings, state[None, None])
            sized = functional.interpolate(logits, (size, size), mode="bilinear", align_corners=False)
            expected += float(mask_losses(sized[:, 0], target[0], share[0], LossWeights()))
    assert close(losses.segmentation, expected)


# Batches.


def test_a_batch_is_the_sum_of_its_samples(tiny: Loaded) -> None:
    alone, together = single_rows(tiny), count(tiny, make_batch(tiny))
    assert close(together.language, sum(float(one.language) for one in alone))
    assert close(together.segmentation, sum(float(one.segmentation) for one in alone))
    assert together.num_tokens == sum(one.num_tokens for one in alone)
    assert together.num_masks == sum(one.num_masks for one in alone)
    assert together.num_positions == sum(one.num_positions for one in alone)


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (2, 0, 4, 1, 3), (1, 4, 0, 3, 2)])
def test_neighbours_change_nothing(tiny: Loaded, order: tuple[int, ...]) -> None:
    objective = Objective(tiny[0], PLAIN)
    alone = [objective.read_states(make_batch(tiny, [row]))[0] for row in range(5)]
    for row, found in zip(order, objective.read_states(make_batch(tiny, order)), strict=True):
        assert torch.allclose(found, alone[row], atol=1e-5)
    straight, permuted = count(tiny, make_batch(tiny)), count(tiny, make_batch(tiny, order))
    assert close(straight.mean(), permuted.mean())


def test_injected_tokens_come_from_the_sample_s_own_scene(tiny: Loaded) -> None:
    """The same text, masks and prompt over two scenes that differ: with a neighbour's tokens the states would move."""
    model, _ = tiny
    scenes = make_scenes()
    kinds = ("optical", "other optical")
    items = [make_item(tiny, scenes[kind], kind, TWO_MASKS, [block(0, 0, 32, 64)] * 2) for kind in kinds]
    objective = Objective(model, PLAIN)
    states = objective.read_states(collate(items))
    embeddings: list[Tensor] = []
    plain = model.forward

    def listen(*arguments, **named):  # type: ignore[no-untyped-def]
        embeddings.append(named["inputs_embeds"])
        return plain(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "forward", listen)
        objective.read_states(collate(items))
    for row, (example, inputs) in enumerate(items):
        with torch.no_grad():
            tokens = model.encode_tiles(inputs.tiles)[0]
        seg = len(example.prompt.input_ids) + example.target.token_ids.tolist().index(model.config.seg_token_id)
        # The upper half of a grid of 4 x 4.
        assert torch.allclose(embeddings[0][row, seg + 1 : seg + 9], tokens[:8], atol=1e-6)
    assert not torch.allclose(states[0], states[1], atol=1e-2)


def test_two_half_batches_give_the_loss_and_the_gradients_of_a_whole_one() -> None:
    tiny = make_tiny()
    objective = Objective(tiny[0], PLAIN)
    whole = objective(make_batch(tiny))
    whole.mean().backward()
    expected = {name: p.grad.clone() for name, p in tiny[0].named_parameters() if p.grad is not None}
    tiny[0].zero_grad()
    halves = [(0, 1), (2, 3, 4)]
    total = 0.0
    for rows in halves:
        loss = objective(make_batch(tiny, rows)).mean(whole.num_tokens, whole.num_masks)
        loss.backward()
        total += float(loss.detach())
    assert close(total, whole.mean().detach())
    found = {name: p.grad for name, p in tiny[0].named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    largest = max(float(grad.abs().max()) for grad in expected.values())
    for name, grad in expected.items():
        assert torch.allclose(found[name], grad, rtol=1e-3, atol=1e-5 * largest), name


def test_a_sample_without_masks_contributes_its_language_loss_only(tiny: Loaded) -> None:
    losses = count(tiny, make_batch(tiny, [2]))
    assert losses.num_masks == 0 and float(losses.segmentation) == 0.0
    assert losses.num_tokens > 0 and close(losses.mean(), losses.language / losses.num_tokens)
    with_it, without = count(tiny, make_batch(tiny, [0, 2])), count(tiny, make_batch(tiny, [0]))
    assert close(with_it.segmentation, without.segmentation) and with_it.num_masks == without.num_masks
    assert close(with_it.language, float(without.language) + float(losses.language))


def test_without_any_mask_the_mask_decoder_gets_gradients_of_zero() -> None:
    """Processes that train together wait for a gradient of everything that moves."""
    tiny = make_tiny()
    Objective(tiny[0], PLAIN)(make_batch(tiny, [2])).mean().backward()
    for module in (tiny[0].seg_projection, tiny[0].mask_fusion, tiny[0].sam.mask_decoder.conv_s0):
        for parameter in module.parameters():
            assert parameter.grad is not None and not parameter.grad.any()
    head = tiny[0].vlm.model.language_model.embed_tokens.weight.grad
    assert head is not None and head.any()


def test_masks_teach_the_language_model_and_the_projector_too() -> None:
    tiny = make_tiny()
    Objective(tiny[0], PLAIN)(make_batch(tiny, [0])).segmentation.backward()
    for part in (tiny[0].vlm.model.language_model.layers[0], tiny[0].vlm.model.multi_modal_projector):
        assert all(p.grad is not None and p.grad.any() for p in part.parameters())


def test_lambda_weighs_the_masks(tiny: Loaded) -> None:
    batch = make_batch(tiny)
    losses = count(tiny, batch, replace(PLAIN, loss=LossWeights(seg_loss_weight=0.25)))
    expected = float(losses.language) / losses.num_tokens + 0.25 * float(losses.segmentation) / 6
    assert close(losses.mean(), expected)


# What is injected.


def test_noisy_masks_are_injected_and_the_true_ones_supervised(tiny: Loaded) -> None:
    (example, inputs), *_ = make_items(tiny)
    other = (block(0, 32, 64, 32), block(48, 0, 16, 64))
    noisy = replace(example, target=replace(example.target, injected=other))
    objective = Objective(tiny[0], replace(PLAIN, injected="noisy"))
    as_truth = replace(example, target=replace(example.target, masks=other))
    assert torch.allclose(
        objective.read_states(collate([(noisy, inputs)]))[0],
        Objective(tiny[0], PLAIN).read_states(collate([(as_truth, inputs)]))[0],
    )
    # With the truth injected, what stands there as noise is not looked at.
    assert torch.equal(
        Objective(tiny[0], PLAIN).read_states(collate([(noisy, inputs)]))[0],
        Objective(tiny[0], PLAIN).read_states(collate([(example, inputs)]))[0],
    )


def test_predicted_masks_are_those_that_inference_draws_from_states_that_saw_the_truth(tiny: Loaded) -> None:
    batch = make_batch(tiny)
    drawn: list[Tensor] = []
    for example in batch.examples:
        encoded, result = infer(tiny, example, batch)
        for state, grounding in zip(result.record.seg_states, result.groundings, strict=True):
            drawn.append(ground(tiny[0], encoded, grounding.image - 1, state)[0])
    masks = iter(drawn)
    examples = tuple(
        replace(e, target=replace(e.target, injected=tuple(next(masks) for _ in e.target.masks)))
        for e in batch.examples
    )
    expected = Objective(tiny[0], replace(PLAIN, injected="noisy")).read_states(replace(batch, examples=examples))
    found = Objective(tiny[0], replace(PLAIN, injected="predicted")).read_states(batch)
    truth = Objective(tiny[0], PLAIN).read_states(batch)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    # The first [SEG] has seen the truth in neither case; what comes after an injection differs.
    assert torch.allclose(found[0][0], truth[0][0], atol=1e-5) and not torch.allclose(found[0][1], truth[0][1])


# Encoders and points.


def test_images_are_encoded_once_for_all_samples_and_kept_between_steps() -> None:
    tiny = make_tiny()
    tiny[0].vlm.model.vision_tower.requires_grad_(False)
    tiny[0].sam.vision_encoder.requires_grad_(False)
    seen: dict[str, int] = {"tower": 0, "sam": 0}

    def note(name: str):  # type: ignore[no-untyped-def]
        def hook(module, inputs, named):  # type: ignore[no-untyped-def]
            seen[name] += len(inputs[0] if inputs else named["pixel_values"])

        return hook

    tiny[0].vlm.model.vision_tower.register_forward_pre_hook(note("tower"), with_kwargs=True)
    tiny[0].sam.vision_encoder.register_forward_pre_hook(note("sam"), with_kwargs=True)
    objective = Objective(tiny[0], PLAIN, cache_mb=100)
    first = objective(make_batch(tiny)).mean()
    # One optical, a pair, one SAR, two pairs; no mask lies on the SAR image alone.
    assert seen == {"tower": 8, "sam": 7}
    second = objective(make_batch(tiny, (4, 3, 2, 1, 0))).mean()
    assert seen == {"tower": 8, "sam": 7}
    assert close(first.detach(), second.detach())
    Objective(tiny[0], PLAIN)(make_batch(tiny))
    assert seen == {"tower": 16, "sam": 14}


def test_points_stand_for_the_whole_mask() -> None:
    tiny = make_tiny()
    batch = make_batch(tiny)
    torch.manual_seed(0)
    losses = Objective(tiny[0], replace(PLAIN, num_points=500))(batch)
    losses.mean().backward()
    assert losses.num_masks == 6 and torch.isfinite(losses.segmentation)
    grad = tiny[0].sam.mask_decoder.conv_s0.weight.grad
    assert grad is not None and grad.any()


def test_class_prompts_are_needed_to_align_to() -> None:
    with pytest.raises(ValueError, match="needs class_prompts"):
        Objective(make_tiny()[0], ObjectiveSettings(alignment=1.0))


@pytest.mark.parametrize("text", [NO_MASK, TWO_MASKS])
def test_half_precision_under_autocast_reaches_the_projector(text: str) -> None:
    """Autocast keeps cast weights: one cast without gradients must not be taken for the pass that needs them."""
    tiny = make_tiny()
    tiny[0].requires_grad_(False)
    projector = tiny[0].vlm.model.multi_modal_projector.requires_grad_(True)
    masks = [block(0, 0, 32, 64)] * text.count("[SEG]")
    batch = collate([make_item(tiny, make_scenes()["optical"], "optical", text, masks)])
    with torch.autocast("cpu", torch.bfloat16):
        loss = Objective(tiny[0], replace(PLAIN, injected="predicted"))(batch).mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in projector.parameters())


# What the encoders see.


def test_only_what_a_loss_needs_passes_the_encoders(tiny: Loaded) -> None:
    batch = make_batch(tiny)
    # Scenes of 1, 2, 1 and 4 images of one tile each; nothing is drawn on the third.
    assert [len(scene.sam_images) for scene in batch.scenes] == [1, 2, 1, 4]
    unmasked = replace(PLAIN, loss=LossWeights(seg_loss_weight=0.0))
    known = Objective(tiny[0], PLAIN).read_states(batch)
    states = {id(example): found for example, found in zip(batch.examples, known, strict=True)}

    def passed(settings: ObjectiveSettings, **arguments: object) -> tuple[int, int]:
        losses = count(tiny, batch, settings, **arguments)
        return losses.num_tiles, losses.num_images

    assert passed(PLAIN) == (8, 7)
    assert passed(unmasked) == (8, 0), "no mask is drawn"
    assert passed(replace(unmasked, injected="predicted")) == (8, 7), "but those that are injected"
    assert passed(PLAIN, states=lambda example: states[id(example)]) == (0, 7), "the language model does not run"


def test_what_is_kept_of_the_encoders_does_not_pass_them_again() -> None:
    model, _ = loaded = make_tiny()
    prepare_stage(model, "grounding")
    objective, batch = Objective(model, PLAIN, cache_mb=100), make_batch(loaded)
    found = [(losses.num_tiles, losses.num_images) for losses in (objective(batch), objective(batch))]
    assert found == [(8, 7), (0, 0)]
