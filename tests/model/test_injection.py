"""What follows a [SEG] by every setting: brute force, the loop against one pass, and training against inference."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from terrascope.errors import ModelError
from terrascope.model.checkpoint import take_settings
from terrascope.model.encoding import EncodedScene, embed_prompt, encode_scene
from terrascope.model.fusion import VisualTokens
from terrascope.model.generation import GenerationSettings, Reasoning, reason
from terrascope.model.injection import cells_under, inject, num_cells, weigh_pairs
from terrascope.model.processing import Prompt
from terrascope.model.selection import bounding_box, draw_tokens, select_similar
from terrascope.scene import Scene
from terrascope.training.sequence import Target, TrainingSequence, build_sequence
from tests.model.conftest import Loaded, make_tiny

DEFAULTS = {
    "interleave": "mask", "modalities": "adaptive", "prompt_modalities": "all", "similarity_threshold": 0.0,
    "random_tokens": None, "random_seed": 0, "max_masked_tokens": 128, "merged_side": 1,
}  # fmt: skip
INTERLEAVES = ("mask", "box", "random", "similar", "none")
MODALITIES = ("adaptive", "concatenate", "optical", "sar")
TEXT = "<think>The water: [SEG] It covers. The tree: Image: 2 [SEG][SEG] So Image: 1 [SEG]</think><answer>A</answer>"
PAIRS = (0, 1, 1, 0)


@pytest.fixture(scope="module")
def shared() -> Loaded:
    """A model of its own, whose settings change."""
    return make_tiny()


@pytest.fixture
def loaded(shared: Loaded) -> Iterator[Loaded]:
    yield shared
    take_settings(shared[0].config, shared[1], DEFAULTS)


def prepare(loaded: Loaded, scene: Scene, question: str = "How much is water?") -> tuple[EncodedScene, Prompt]:
    model, processor = loaded
    # Not in inference mode: the training sequence computes with these tensors.
    with torch.no_grad():
        encoded = encode_scene(model, processor.image_processor.prepare_scene(scene))
    return encoded, processor.prepare_prompt(processor.describe(scene), question)


def pairs_of(encoded: EncodedScene) -> list[dict[str, torch.Tensor]]:
    return [{kind: encoded.context[place] for kind, place in pair.items()} for pair in encoded.pairs]


def run(loaded: Loaded, scene: Scene, masks: list[np.ndarray], **limits: int) -> tuple[Reasoning, EncodedScene, Prompt]:
    model, processor = loaded
    encoded, prompt = prepare(loaded, scene)
    ids = processor.tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    result = reason(
        model, processor, encoded, prompt, GenerationSettings(**limits),
        forced_ids=ids, forced_masks=masks, keep_record=True,
    )  # fmt: skip
    return result, encoded, prompt


def build(loaded: Loaded, encoded: EncodedScene, prompt: Prompt, masks: list[np.ndarray]) -> TrainingSequence:
    ids = loaded[1].tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    tensors = tuple(torch.from_numpy(mask) for mask in masks)
    target = Target(
        token_ids=torch.tensor(ids), masks=tensors, pairs=PAIRS, known=tuple(torch.ones_like(m) for m in tensors)
    )
    with torch.no_grad():
        return build_sequence(loaded[0], prompt, pairs_of(encoded), encoded.inputs.layouts, target)


def covered(mask: np.ndarray) -> list[int]:
    """Cells of a 4 x 4 grid over 64 x 64 pixels that a mask covers by more than half, or the best one."""
    shares = mask.reshape(4, 16, 4, 16).mean((1, 3)).flatten()
    chosen = np.flatnonzero(shares > 0.5).tolist()
    return chosen or ([int(shares.argmax())] if mask.any() else [])


def boxed(mask: np.ndarray) -> np.ndarray:
    box = np.zeros_like(mask)
    places = np.argwhere(mask)
    if len(places):
        (top, left), (bottom, right) = places.min(0), places.max(0)
        box[top : bottom + 1, left : right + 1] = True
    return box


def literal_similarity(tokens: list[list[float]], words: list[list[float]]) -> list[float]:
    """Cosine of every token, less the mean of all, with the mean of the words."""
    size = len(tokens[0])
    mean = [sum(token[d] for token in tokens) / len(tokens) for d in range(size)]
    asked = [sum(word[d] for word in words) / len(words) for d in range(size)]
    found = []
    for token in tokens:
        own = [token[d] - mean[d] for d in range(size)]
        lengths = math.hypot(*own) * math.hypot(*asked)
        found.append(sum(a * b for a, b in zip(own, asked, strict=True)) / lengths)
    return found


def literal_cells(loaded: Loaded, visual: VisualTokens, mask: np.ndarray, words: list[int]) -> list[int] | None:
    """The cells by the words of the contract; None where they are drawn at random."""
    config = loaded[0].config
    if config.interleave == "none" or (config.interleave == "similar" and not words):
        return []
    if config.interleave != "similar":
        cells = covered(boxed(mask) if config.interleave == "box" else mask)
        return None if config.interleave == "random" else cells
    embedded = loaded[0].get_input_embeddings().weight[words].tolist()
    best = [-2.0] * 16
    wanted = [visual.optical, visual.sar] if config.modalities == "concatenate" else []
    if not wanted:
        wanted = [visual.gather(torch.arange(16), config.modalities)[0]]
    for tokens in wanted:
        if tokens is not None:
            best = [max(a, b) for a, b in zip(best, literal_similarity(tokens.tolist(), embedded), strict=True)]
    return [cell for cell in range(16) if best[cell] > config.similarity_threshold]


def literal_features(visual: VisualTokens, cells: list[int], modalities: str) -> tuple[torch.Tensor, list[bool]]:
    tokens: list[torch.Tensor] = []
    kinds: list[bool] = []
    if visual.optical is None or visual.sar is None:
        only = visual.optical if visual.optical is not None else visual.sar
        assert only is not None
        tokens, kinds = [only[cell] for cell in cells], [visual.optical is not None] * len(cells)
    elif modalities == "concatenate":
        tokens = [visual.optical[cell] for cell in cells] + [visual.sar[cell] for cell in cells]
        kinds = [True] * len(cells) + [False] * len(cells)
    else:
        for cell in cells:
            is_optical = modalities == "optical"
            if modalities == "adaptive":
                is_optical = bool(visual.optical_relevance[cell] > visual.sar_relevance[cell])  # type: ignore[index]
            tokens.append((visual.optical if is_optical else visual.sar)[cell])
            kinds.append(is_optical)
    return torch.stack(tokens) if tokens else torch.zeros(0, 32), kinds


def shown(sample, kind: str) -> Scene:  # type: ignore[no-untyped-def]
    """Two dates as optical images, SAR images, or both show them."""
    pairs = sample.scene.pairs
    if kind == "both":
        return Scene(tuple(pairs))
    return Scene(tuple(replace(pair, **{"sar" if kind == "optical" else "optical": None}) for pair in pairs))


@pytest.mark.parametrize("prompt_modalities", ["all", "optical"])
@pytest.mark.parametrize("modalities", MODALITIES)
@pytest.mark.parametrize("interleave", INTERLEAVES)
@pytest.mark.parametrize("kind", ["both", "sar"])
def test_loop_pass_and_training_sequence_agree_by_every_setting(
    loaded: Loaded, two_dates, half_masks, kind: str, interleave: str, modalities: str, prompt_modalities: str
) -> None:  # type: ignore[no-untyped-def]
    model, processor = loaded
    settings = {"interleave": interleave, "modalities": modalities, "prompt_modalities": prompt_modalities}
    take_settings(model.config, processor, settings)
    # An L, one pixel, nothing, a middle block: a box, an empty mask and a mask without a covered cell are among them.
    corner = half_masks[0].copy()
    corner[:32, 16:32], corner[48:, :48] = False, True
    masks = [corner, half_masks[1], half_masks[2], half_masks[4]]
    result, encoded, prompt = run(loaded, shown(two_dates, kind), masks)
    record = result.record
    assert record is not None and [g.image - 1 for g in result.groundings] == list(PAIRS)
    assert all(np.array_equal(g.mask, mask) for g, mask in zip(result.groundings, masks, strict=True))
    with torch.no_grad():
        visual = weigh_pairs(model, pairs_of(encoded), encoded.inputs.layouts, prompt)
        # Of both images of two dates the optical ones are the first and the third.
        in_prompt = encoded.context[::2] if kind == "both" and prompt_modalities == "optical" else encoded.context
        vocabulary = model.get_input_embeddings().weight
        head = vocabulary[prompt.input_ids].clone()
        head[prompt.input_ids == model.config.vlm_config.image_token_id] = torch.cat(in_prompt)
        pieces, words, number = [head], [], 0  # type: ignore[var-annotated]
        for token in result.token_ids:
            pieces.append(vocabulary[[token]])
            if token != model.config.seg_token_id:
                words.append(token)
                continue
            tokens, grounding = visual[PAIRS[number]], result.groundings[number]
            cells = literal_cells(loaded, tokens, masks[number], words)
            if cells is None:
                cells = record.injected[number].tolist()
                if modalities == "concatenate" and tokens.optical is not None:
                    assert cells[: len(cells) // 2] == cells[len(cells) // 2 :]
                    cells = cells[: len(cells) // 2]
                assert len(cells) == len(set(cells)) == len(covered(masks[number])) and cells == sorted(cells)
            features, kinds = literal_features(tokens, cells, modalities)
            times = 2 if modalities == "concatenate" and None not in (tokens.optical, tokens.sar) else 1
            assert record.injected[number].tolist() == cells * times
            assert (grounding.num_optical_tokens, grounding.num_sar_tokens) == (sum(kinds), len(kinds) - sum(kinds))
            pieces.append(features)
            words, number = [], number + 1
        sequence = torch.cat(pieces)
        logits = model(inputs_embeds=sequence[None]).logits[0]
    assert torch.allclose(torch.cat(record.embeddings), sequence, atol=1e-6)
    for position, step in zip(record.positions, record.logits, strict=True):
        assert torch.allclose(step, logits[position - 1], atol=1e-4)
    assert torch.equal(build(loaded, encoded, prompt, masks).embeddings, torch.cat(record.embeddings))


def test_the_masks_are_told_apart_by_what_is_interleaved(loaded: Loaded, two_dates, half_masks) -> None:  # type: ignore[no-untyped-def]
    model, processor = loaded
    corner = half_masks[0].copy()
    corner[:32, 16:32], corner[48:, :48] = False, True
    found = {}
    for interleave in INTERLEAVES:
        take_settings(model.config, processor, {"interleave": interleave})
        result, *_ = run(loaded, shown(two_dates, "optical"), [corner] * 4)
        assert result.record is not None
        found[interleave] = result.record.injected[0].tolist()
    assert found["mask"] == [0, 4, 8, 9, 12, 13, 14]
    assert found["box"] == [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14]
    assert len(found["random"]) == 7 and found["random"] != found["mask"]
    assert 0 < len(found["similar"]) < 16
    assert found["none"] == []


@pytest.mark.parametrize(("room", "injected"), [(32, 32), (31, 0)])
def test_both_tokens_of_a_cell_or_neither_fit_the_budget(
    loaded: Loaded, two_dates, half_masks, room: int, injected: int
) -> None:  # type: ignore[no-untyped-def]
    model, processor = loaded
    take_settings(model.config, processor, {"modalities": "concatenate"})
    encoded, prompt = prepare(loaded, shown(two_dates, "both"))
    result = reason(
        model, processor, encoded, prompt, GenerationSettings(max_new_tokens=1 + room),
        forced_ids=[model.config.seg_token_id] * 2, forced_masks=[half_masks[3]], keep_record=True,
    )  # fmt: skip
    assert result.finish_reason == "length" and len(result.groundings) == 1 and result.groundings[0].mask.all()
    found = result.groundings[0]
    assert (found.num_optical_tokens, found.num_sar_tokens) == (injected // 2, injected // 2)
    assert result.record is not None
    assert sum(len(piece) for piece in result.record.embeddings) == len(prompt.input_ids) + 1 + injected


def test_the_cap_counts_cells(loaded: Loaded, two_dates, half_masks) -> None:  # type: ignore[no-untyped-def]
    model, processor = loaded
    for interleave in ("mask", "box", "random", "similar"):
        settings = {"interleave": interleave, "modalities": "concatenate", "max_masked_tokens": 5}
        take_settings(model.config, processor, {**settings, "similarity_threshold": -1.0})
        result, *_ = run(loaded, shown(two_dates, "both"), [half_masks[3]] * 4)
        first = result.groundings[0]
        assert (first.num_optical_tokens, first.num_sar_tokens) == (5, 5), interleave
        assert model.config.max_injected_tokens == 10


@pytest.mark.parametrize(
    "settings",
    [{"interleave": name, "max_masked_tokens": cap} for name in INTERLEAVES for cap in (3, 128)]
    + [
        {"interleave": "random", "random_tokens": 5},
        {"interleave": "random", "random_tokens": 5, "max_masked_tokens": 3},
        {"interleave": "mask", "merged_side": 2},
        {"interleave": "box", "merged_side": 3, "max_masked_tokens": 7},
        {"interleave": "similar", "merged_side": 2},
    ],
)
def test_cells_are_counted_without_the_model(loaded: Loaded, two_dates, half_masks, settings) -> None:  # type: ignore[no-untyped-def]
    model, processor = loaded
    # The cosine of every token is above this threshold: as many are similar as there can be.
    take_settings(model.config, processor, {**settings, "similarity_threshold": -1.0})
    encoded, prompt = prepare(loaded, shown(two_dates, "optical"))
    visual = weigh_pairs(model, pairs_of(encoded), encoded.inputs.layouts, prompt)[0]
    for mask in map(torch.from_numpy, (half_masks[0], ~half_masks[0], half_masks[0] & False)):
        found = inject(model, visual, mask, written=[5, model.config.seg_token_id])[0]
        counted = num_cells(model.config, mask, visual.token_grid)
        assert counted == len(found) or (settings["interleave"] == "similar" and counted >= len(found))
        if settings["interleave"] in ("mask", "box") and "merged_side" not in settings:
            assert cells_under(model.config, mask, visual.token_grid).tolist() == found.tolist()


def test_random_tokens_hang_on_question_step_and_setting_but_not_on_the_mask(
    loaded: Loaded, two_dates, half_masks
) -> None:  # type: ignore[no-untyped-def]
    model, processor = loaded
    take_settings(model.config, processor, {"interleave": "random"})
    seg = model.config.seg_token_id
    left, right = torch.from_numpy(half_masks[0]), torch.from_numpy(~half_masks[0])

    def draw(mask: torch.Tensor, written: list[int], question: str = "How much is water?") -> list[int]:
        encoded, prompt = prepare(loaded, shown(two_dates, "optical"), question)
        visual = weigh_pairs(model, pairs_of(encoded), encoded.inputs.layouts, prompt)
        return inject(model, visual[0], mask, written=written)[0].tolist()

    base = draw(left, [5, seg])
    assert len(base) == 8
    assert draw(right, [5, seg]) == draw(left, [7, 8, seg]) == draw(left, [seg]) == base
    assert draw(left, [5, seg, 6, seg]) != base
    assert draw(left, [5, seg], "How much is tree?") != base
    take_settings(model.config, processor, {"random_seed": 1})
    assert draw(left, [5, seg]) != base


def test_what_depends_on_the_text_refuses_to_go_without(loaded: Loaded, two_dates, half_masks) -> None:  # type: ignore[no-untyped-def]
    model, processor = loaded
    encoded, prompt = prepare(loaded, shown(two_dates, "optical"))
    visual = weigh_pairs(model, pairs_of(encoded), encoded.inputs.layouts, prompt)[0]
    seg = model.config.seg_token_id
    for interleave in ("random", "similar"):
        take_settings(model.config, processor, {"interleave": interleave})
        for written in ([], [5], [seg, 5]):
            with pytest.raises(ValueError, match="up to and with the"):
                inject(model, visual, torch.from_numpy(half_masks[0]), written=written)
    take_settings(model.config, processor, {"interleave": "box"})
    assert len(inject(model, visual, torch.from_numpy(half_masks[0]))[0]) == 8


def test_gradient_reaches_the_tokens_that_are_like_the_words(loaded: Loaded, two_dates, half_masks) -> None:  # type: ignore[no-untyped-def]
    model, processor = loaded
    take_settings(model.config, processor, {"interleave": "similar"})
    encoded, prompt = prepare(loaded, shown(two_dates, "optical"))
    tokens = encoded.context[0].clone().requires_grad_(True)
    visual = weigh_pairs(model, [{"optical": tokens}], encoded.inputs.layouts[:1], prompt)[0]
    cells, features, _ = inject(
        model, visual, torch.from_numpy(half_masks[0]), written=torch.tensor([5, 9, model.config.seg_token_id])
    )
    features.sum().backward()
    assert tokens.grad is not None and 0 < len(cells) < 16
    assert sorted(tokens.grad.any(1).nonzero()[:, 0].tolist()) == cells.tolist()


@pytest.mark.parametrize(("num", "cap", "expected"), [(3, 128, 3), (16, 128, 16), (40, 128, 16), (7, 5, 5)])
def test_a_number_of_random_tokens_tells_nothing_of_the_mask(
    loaded: Loaded, two_dates, half_masks, num: int, cap: int, expected: int
) -> None:  # type: ignore[no-untyped-def]
    model, processor = loaded
    take_settings(model.config, processor, {"interleave": "random", "random_tokens": num, "max_masked_tokens": cap})
    result, encoded, prompt = run(loaded, shown(two_dates, "optical"), half_masks[:4])
    assert [grounding.num_optical_tokens for grounding in result.groundings] == [expected] * 4
    assert result.record is not None
    again, *_ = run(loaded, shown(two_dates, "optical"), half_masks[3:4] * 4)
    assert again.record is not None
    assert [i.tolist() for i in again.record.injected] == [i.tolist() for i in result.record.injected]
    built = build(loaded, encoded, prompt, half_masks[:4])
    assert torch.equal(built.embeddings, torch.cat(result.record.embeddings))


@hypothesis_settings(max_examples=40, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_box_is_the_smallest_one(mask: np.ndarray) -> None:
    assert np.array_equal(bounding_box(torch.from_numpy(mask)).numpy(), boxed(mask))


def test_draws_are_even_and_always_the_same() -> None:
    assert draw_tokens(3, (2, 4), (0, 1, 2)).tolist() == [3, 4, 7]
    counts = np.zeros(12)
    for step in range(3000):
        cells = draw_tokens(4, (3, 4), (0, step)).tolist()
        assert len(cells) == 4 and cells == sorted(set(cells))
        counts[cells] += 1
    # Each cell is drawn with probability 1/3: 1000 times, give or take 4 deviations of 26.
    assert (np.abs(counts - 1000) < 104).all()
    assert draw_tokens(0, (3, 4), (0,)).tolist() == [] and draw_tokens(12, (3, 4), (0,)).tolist() == list(range(12))


@pytest.mark.parametrize("cap", [1, 4, 12])
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.2])
def test_similar_tokens_are_the_most_similar_above_the_threshold(threshold: float, cap: int) -> None:
    generator = torch.Generator().manual_seed(2)
    tokens, words = torch.randn(2, 12, 6, generator=generator) + 3, torch.randn(3, 6, generator=generator)
    either = [literal_similarity(one.tolist(), words.tolist()) for one in tokens]
    similarity = [max(pair) for pair in zip(*either, strict=True)]
    ranked = sorted((cell for cell in range(12) if similarity[cell] > threshold), key=lambda cell: -similarity[cell])
    assert len(ranked) == 12 if threshold < 0 else 0 < len(ranked) < 12
    assert select_similar(tokens, words, threshold=threshold, max_tokens=cap).tolist() == sorted(ranked[:cap])


def test_nothing_is_similar_to_no_words_and_nothing_stands_out_of_equal_tokens() -> None:
    tokens = torch.randn(1, 12, 6, generator=torch.Generator().manual_seed(2))
    assert select_similar(tokens, torch.zeros(0, 6), threshold=-1, max_tokens=5).tolist() == []
    assert select_similar(torch.ones(1, 12, 6), torch.ones(2, 6), threshold=0, max_tokens=5).tolist() == []
    # Equally similar: the first.
    assert select_similar(torch.ones(1, 12, 6), torch.ones(2, 6), threshold=-1, max_tokens=3).tolist() == [0, 1, 2]


def test_a_prompt_that_shows_other_images_than_the_model_expects_is_refused(loaded: Loaded, two_dates) -> None:  # type: ignore[no-untyped-def]
    model, _ = loaded
    encoded, prompt = prepare(loaded, two_dates.scene)
    model.config.prompt_modalities = "optical"
    with pytest.raises(ModelError) as caught:
        embed_prompt(model, prompt, encoded.context)
    assert str(caught.value) == (
        "the processor's prompt_modalities is 'all', but the model's is 'optical': set both with take_settings"
    )


@pytest.mark.parametrize("modalities", ["adaptive", "concatenate", "optical", "sar"])
@pytest.mark.parametrize("side", [2, 3, 4])
def test_tokens_of_a_block_are_fed_back_as_their_mean(  # type: ignore[no-untyped-def]
    loaded: Loaded, two_dates, half_masks, side: int, modalities: str
) -> None:
    model, processor = loaded
    take_settings(model.config, processor, {"merged_side": side, "modalities": modalities})
    encoded, prompt = prepare(loaded, shown(two_dates, "both"))
    visual = weigh_pairs(model, pairs_of(encoded), encoded.inputs.layouts, prompt)[0]
    mask = torch.from_numpy(half_masks[4] | half_masks[1])
    blocks: dict[tuple[int, int], list[int]] = {}
    for cell in cells_under(model.config, mask, visual.token_grid).tolist():
        blocks.setdefault((cell // 4 // side, cell % 4 // side), []).append(cell)
    expected, kinds = {"optical": [], "sar": []}, []
    for cells in blocks.values():
        for kind in expected:
            expected[kind].append(torch.stack([getattr(visual, kind)[cell] for cell in cells]).mean(0))
        beta = [float(getattr(visual, f"{kind}_relevance")[cells].detach().mean()) for kind in ("optical", "sar")]
        kinds.append("optical" if beta[0] > beta[1] else "sar")
    indices, features, is_optical = inject(model, visual, mask)
    first = [cells[0] for cells in blocks.values()]
    if modalities == "adaptive":
        wanted = [expected[kind][place] for place, kind in enumerate(kinds)]
        assert is_optical.tolist() == [kind == "optical" for kind in kinds]
    elif modalities == "concatenate":
        wanted, first = expected["optical"] + expected["sar"], first * 2
    else:
        wanted = expected[modalities]
    assert indices.tolist() == first and len(features) == len(first)
    assert torch.allclose(features, torch.stack(wanted), atol=1e-6)
