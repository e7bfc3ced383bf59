"""[SEG] states kept on disk: they give the losses of the whole objective, and are never those of another model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from terrascope.errors import SampleError
from terrascope.training import states as states_module
from terrascope.training.batch import collate
from terrascope.training.objective import Objective, ObjectiveSettings
from terrascope.training.stages import prepare_stage
from terrascope.training.states import SegStateCache, digest_frozen
from tests.model.conftest import Loaded, make_tiny
from tests.training.batches_by_hand import block, make_batch, make_items

PLAIN = ObjectiveSettings(loss_size=64)


@pytest.fixture
def tiny() -> Loaded:
    loaded = make_tiny()
    prepare_stage(loaded[0], "grounding")
    return loaded


def collected(folder: Path, tiny: Loaded) -> SegStateCache:
    cache = SegStateCache(folder, Objective(tiny[0], PLAIN))
    assert cache.collect([make_batch(tiny, (0, 1, 2)), make_batch(tiny, (3, 4))]) == 4
    return cache


def test_cached_states_give_the_segmentation_loss_of_the_whole_objective(tmp_path: Path, tiny: Loaded) -> None:
    cache = collected(tmp_path, tiny)
    plain, quick = Objective(tiny[0], PLAIN), Objective(tiny[0], PLAIN, states=cache.states, cache_mb=50)
    for rows in ((0, 1, 2, 3, 4), (3, 0), (2,)):
        expected = plain(make_batch(tiny, rows))
        found = quick(make_batch(tiny, rows))
        assert found.num_masks == expected.num_masks
        assert float(found.segmentation.detach()) == pytest.approx(float(expected.segmentation.detach()), rel=1e-5)
        assert found.num_tokens == found.num_positions == 0 and float(found.language) == 0.0


def test_cached_states_give_the_gradients_of_the_whole_objective(tmp_path: Path, tiny: Loaded) -> None:
    cache = collected(tmp_path, tiny)
    grads = []
    for objective in (Objective(tiny[0], PLAIN), Objective(tiny[0], PLAIN, states=cache.states)):
        tiny[0].zero_grad()
        losses = objective(make_batch(tiny))
        (losses.segmentation / losses.num_masks).backward()
        grads.append({name: p.grad.clone() for name, p in tiny[0].named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    largest = max(float(grad.abs().max()) for grad in grads[0].values())
    for name, grad in grads[0].items():
        assert torch.allclose(grads[1][name], grad, rtol=1e-3, atol=1e-5 * largest), name


def test_later_epochs_leave_the_language_model_and_the_encoders_alone(tmp_path: Path, tiny: Loaded) -> None:
    cache = collected(tmp_path, tiny)
    objective = Objective(tiny[0], PLAIN, states=cache.states, cache_mb=50)
    objective(make_batch(tiny))

    def refuse(*arguments: object) -> None:
        raise AssertionError("this ran again")

    for part in (tiny[0].vlm.model.vision_tower, tiny[0].vlm.model.language_model, tiny[0].sam.vision_encoder):
        part.register_forward_pre_hook(refuse)
    objective(make_batch(tiny))


def test_what_is_there_is_not_computed_again(tmp_path: Path, tiny: Loaded) -> None:
    collected(tmp_path, tiny)
    again = SegStateCache(tmp_path, Objective(tiny[0], PLAIN))
    assert len(again) == 4
    again.objective.read_states = None  # type: ignore[method-assign, assignment]
    assert again.collect([make_batch(tiny)]) == 0
    for row in (0, 1, 3, 4):
        example = make_items(tiny)[row][0]
        assert example in again and len(again.states(example)) == len(example.target.masks)


def test_an_interrupted_collection_goes_on(tmp_path: Path, tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states_module, "_SHARD_STATES", 2)

    def interrupted():  # type: ignore[no-untyped-def]
        yield make_batch(tiny, (0,))
        yield make_batch(tiny, (1,))
        raise KeyboardInterrupt

    cache = SegStateCache(tmp_path, Objective(tiny[0], PLAIN))
    with pytest.raises(KeyboardInterrupt):
        cache.collect(interrupted())
    again = SegStateCache(tmp_path, Objective(tiny[0], PLAIN))
    assert len(again) == 1 and make_items(tiny)[0][0] in again
    assert again.collect([make_batch(tiny)]) == 3
    whole = SegStateCache(tmp_path / "whole", Objective(tiny[0], PLAIN))
    whole.collect([make_batch(tiny)])
    for row in (0, 1, 3, 4):
        example = make_items(tiny)[row][0]
        assert torch.allclose(again.states(example), whole.states(example), atol=1e-5)


def test_repeated_examples_are_kept_once(tmp_path: Path, tiny: Loaded) -> None:
    cache = SegStateCache(tmp_path, Objective(tiny[0], PLAIN))
    assert cache.collect([make_batch(tiny, (0, 0)), make_batch(tiny, (0, 1))]) == 2
    assert len(cache) == 2


def test_another_mask_another_text_or_another_scene_is_another_example(tmp_path: Path, tiny: Loaded) -> None:
    cache = collected(tmp_path, tiny)
    example, _ = make_items(tiny)[0]
    target = example.target
    changed = [
        replace(example, scene_id="sar"),
        replace(example, target=replace(target, masks=(block(0, 0, 31, 64), target.masks[1]))),
        replace(example, target=replace(target, token_ids=target.token_ids.flip(0))),
        replace(example, prompt=replace(example.prompt, input_ids=example.prompt.input_ids[1:])),
    ]
    assert example in cache
    for other in changed:
        assert other not in cache
        with pytest.raises(SampleError, match=r"are not in .*; collect them"):
            cache.states(other)
    # Noise that is not injected, and what is known of the truth, change no state.
    assert replace(example, target=replace(target, injected=target.masks[::-1], known=target.masks)) in cache


def test_noisy_masks_are_part_of_an_example_where_they_are_injected(tmp_path: Path, tiny: Loaded) -> None:
    example, inputs = make_items(tiny)[0]
    noisy = replace(example, target=replace(example.target, injected=(block(0, 0, 8, 8), block(8, 8, 50, 50))))
    cache = SegStateCache(tmp_path, Objective(tiny[0], replace(PLAIN, injected="noisy")))
    assert cache.collect([collate([(noisy, inputs)]), collate([(example, inputs)])]) == 2
    assert not torch.allclose(cache.states(noisy)[1], cache.states(example)[1], atol=1e-3)


def test_the_name_tells_frozen_weights_and_rules_apart_but_not_the_mask_decoder(tiny: Loaded) -> None:
    model, _ = tiny
    name = digest_frozen(Objective(model, PLAIN))
    with torch.no_grad():
        model.sam.mask_decoder.conv_s0.weight += 1
        model.seg_projection[0].weight += 1
    assert digest_frozen(Objective(model, replace(PLAIN, loss_size=32))) == name
    assert digest_frozen(Objective(model, replace(PLAIN, injected="noisy"))) != name
    model.config.mask_images = "optical"
    assert digest_frozen(Objective(model, PLAIN)) == name
    model.config.max_masked_tokens = 5
    assert digest_frozen(Objective(model, PLAIN)) != name
    model.config.max_masked_tokens = 128
    with torch.no_grad():
        model.vlm.model.language_model.layers[1].mlp.up_proj.weight[0, 0] += 1e-3
    assert digest_frozen(Objective(model, PLAIN)) != name


def test_states_that_move_are_refused(tmp_path: Path) -> None:
    model, _ = make_tiny()
    prepare_stage(model, "instruction")
    with pytest.raises(ValueError, match="frozen"):
        SegStateCache(tmp_path, Objective(model, PLAIN))
    prepare_stage(model, "grounding")
    with pytest.raises(ValueError, match="predicted"):
        SegStateCache(tmp_path, Objective(model, replace(PLAIN, injected="predicted")))


def test_a_cut_file_is_named(tmp_path: Path, tiny: Loaded) -> None:
    cache = collected(tmp_path, tiny)
    (path,) = cache.folder.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SampleError, match=r"states-00000.safetensors: not a file of .SEG. states"):
        SegStateCache(tmp_path, Objective(tiny[0], PLAIN))
