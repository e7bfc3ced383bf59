"""Which parameters move in which stage, proved by where gradients arrive; adapters fold in without a trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from terrascope.errors import ModelError
from terrascope.model.checkpoint import load
from terrascope.model.vocabulary import REASONING_TOKENS
from terrascope.training.objective import Objective, ObjectiveSettings
from terrascope.training.stages import LoraSettings, merge_lora, prepare_stage, reasoning_token_ids, trained_parameters
from tests.model.conftest import Loaded, make_tiny
from tests.model.families import make_family
from tests.training.batches_by_hand import make_batch

LORA = LoraSettings(rank=4, alpha=8, dropout=0.0)
PLAIN = ObjectiveSettings(loss_size=64)

MASKS = ("seg_projection.", "mask_fusion.", "sam.mask_decoder.")
UNREACHED = ("iou_prediction_head", "pred_obj_score_head", *(f"output_hypernetworks_mlps.{n}" for n in (1, 2, 3)))
PROJECTOR = ("vlm.model.multi_modal_projector.",)
LANGUAGE = ("vlm.model.language_model.",)


def names(model: nn.Module, prefixes: Sequence[str]) -> set[str]:
    """Parameters of these parts, without those of the mask decoder that no logit depends on."""
    inside = {name for name, _ in model.named_parameters() if name.startswith(tuple(prefixes))}
    return {name for name in inside if not any(part in name for part in UNREACHED)}


def train_one_step(loaded: Loaded, rate: float = 0.1) -> None:
    model, _ = loaded
    parameters = list(trained_parameters(model).values())
    Objective(model, PLAIN)(make_batch(loaded)).mean().backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    torch.optim.SGD(parameters, lr=rate).step()


def wake(model: nn.Module) -> None:
    """Matrices that begin at zero hide the gradients of what stands before them."""
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "mask_fusion.correction" in name:
            nn.init.normal_(parameter, std=0.1)


def prepare(stage: str, lora: LoraSettings | None) -> Loaded:
    loaded = make_tiny()
    prepare_stage(loaded[0], stage, lora, new_tokens=reasoning_token_ids(loaded[1].tokenizer))  # type: ignore[arg-type]
    wake(loaded[0])
    return loaded


def expected_names(model: nn.Module, stage: str, lora: LoraSettings | None) -> set[str]:
    if stage == "grounding":
        return names(model, MASKS)
    if lora is None:
        return names(model, [*MASKS, *PROJECTOR, *LANGUAGE])
    adapters = {n for n in names(model, LANGUAGE) if ".lora_" in n}
    assert len(adapters) == 2 * 7 * 2, "two matrices for seven layers in each of two blocks"
    rows = ".weight" if lora.embeddings == "all" else ".token_rows.rows"
    return names(model, [*MASKS, *PROJECTOR]) | adapters | {f"vlm.model.language_model.embed_tokens{rows}"}


@pytest.mark.parametrize(
    ("stage", "lora"),
    [
        ("grounding", None),
        ("instruction", None),
        ("instruction", LORA),
        ("instruction", LoraSettings(rank=4, alpha=8, dropout=0.0, embeddings="all")),
    ],
)
def test_gradients_reach_exactly_what_the_stage_trains(stage: str, lora: LoraSettings | None) -> None:
    loaded = prepare(stage, lora)
    model = loaded[0]
    expected = expected_names(model, stage, lora)
    assert set(trained_parameters(model)) == expected
    Objective(model, PLAIN)(make_batch(loaded)).mean().backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    touched = {name for name, p in model.named_parameters() if p.grad is not None}
    assert reached == touched == expected
    assert {f"sam.mask_decoder.conv_s{n}.{part}" for n in (0, 1) for part in ("weight", "bias")} <= reached


@pytest.mark.parametrize(("stage", "lora"), [("grounding", None), ("instruction", LORA)])
def test_a_step_changes_nothing_else(stage: str, lora: LoraSettings | None) -> None:
    loaded = prepare(stage, lora)
    model = loaded[0]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train_one_step(loaded)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    # The head of a tied model has the same rows under a second name.
    assert {name for name in moved if not name.startswith("vlm.lm_head.")} == expected_names(model, stage, lora)


def test_in_stage_all_both_encoders_move_too() -> None:
    loaded = prepare("all", None)
    model = loaded[0]
    parts = [*MASKS, *PROJECTOR, *LANGUAGE, "vlm.model.vision_tower.", "sam.vision_encoder."]
    assert set(trained_parameters(model)) == names(model, parts)
    Objective(model, PLAIN, cache_mb=10)(make_batch(loaded)).mean().backward()
    tower, encoder = model.vlm.model.vision_tower, model.sam.vision_encoder
    for part in (tower.embeddings.patch_embeddings.projection, encoder.backbone.patch_embed.projection):
        assert part.weight.grad is not None and part.weight.grad.any()


def test_the_best_of_three_masks_leaves_the_single_one_alone() -> None:
    model, _ = make_tiny(mask_choice="best")  # type: ignore[arg-type]
    prepare_stage(model, "grounding")
    moving = trained_parameters(model)
    decoder = "sam.mask_decoder.output_hypernetworks_mlps"
    assert not any(name.startswith(f"{decoder}.0.") for name in moving)
    assert all(any(name.startswith(f"{decoder}.{n}.") for name in moving) for n in (1, 2, 3))


def test_of_another_family_the_merger_is_the_projector() -> None:
    loaded = make_family("qwen25vl", "sam2")
    model = loaded[0]
    prepare_stage(model, "instruction")
    wake(model)
    Objective(model, PLAIN)(make_batch(loaded)).mean().backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    expected = names(model, [*MASKS, "vlm.model.visual.merger.", *LANGUAGE, "vlm.lm_head."])
    assert reached == set(trained_parameters(model)) == expected


# LoRA.


def logits_of(model: nn.Module, tokenizer: object) -> Tensor:
    ids = torch.arange(0, 60)[None]
    own = torch.tensor([list(reasoning_token_ids(tokenizer))])  # type: ignore[arg-type]
    with torch.no_grad():
        return model(input_ids=torch.cat([ids, own], dim=1)).logits


def same(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-5 * expected.abs().max())


@pytest.mark.parametrize("embeddings", ["new", "all"])
@pytest.mark.parametrize("tied", [True, False])
def test_merging_changes_no_output_and_the_checkpoint_is_plain(embeddings: str, tied: bool, tmp_path: Path) -> None:
    loaded = make_tiny() if tied else make_family("internvl35", "sam2")
    model, processor = loaded
    plain = set(model.state_dict())
    tokens = reasoning_token_ids(processor.tokenizer)
    untouched = logits_of(model, processor.tokenizer)
    lora = LoraSettings(rank=4, alpha=8, embeddings=embeddings)  # type: ignore[arg-type]
    prepare_stage(model, "instruction", lora, new_tokens=tokens)
    assert same(logits_of(model, processor.tokenizer), untouched), "adapters begin at nothing"
    wake(model)
    train_one_step(loaded)
    model.eval()
    before = logits_of(model, processor.tokenizer)
    assert not torch.allclose(before, untouched, atol=1e-2)
    merge_lora(model)
    assert set(model.state_dict()) == plain
    assert (model.vlm.lm_head.weight is model.get_input_embeddings().weight) == tied
    assert same(logits_of(model, processor.tokenizer), before)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, _ = load(str(tmp_path), device="cpu", dtype="float32")
    assert same(logits_of(again, processor.tokenizer), before)


@pytest.mark.parametrize("tied", [True, False])
def test_only_the_rows_of_new_tokens_move_beside_lora(tied: bool) -> None:
    loaded = make_tiny() if tied else make_family("internvl35", "sam2")
    model, processor = loaded
    tokens = reasoning_token_ids(processor.tokenizer)
    assert processor.tokenizer.convert_ids_to_tokens(list(tokens)) == list(REASONING_TOKENS)
    inputs = model.get_input_embeddings().weight.detach().clone()
    outputs = model.get_output_embeddings().weight.detach().clone()
    prepare_stage(model, "instruction", LORA, new_tokens=tokens)
    train_one_step(loaded, rate=10.0)
    merge_lora(model)
    others = [row for row in range(len(inputs)) if row not in tokens]
    after = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    for old, new in zip((inputs, outputs), after, strict=True):
        assert torch.equal(old[others], new[others])
        assert not any(torch.equal(old[row], new[row]) for row in tokens)


def test_without_new_tokens_the_row_of_seg_moves() -> None:
    model, _ = make_tiny()
    prepare_stage(model, "instruction", LORA)
    assert model.get_input_embeddings().token_rows.token_ids.tolist() == [model.config.seg_token_id]


def test_a_merged_model_is_ready_for_another_stage() -> None:
    loaded = make_tiny()
    model = loaded[0]
    for _ in range(2):
        prepare_stage(model, "instruction", LORA)
        train_one_step(loaded)
        merge_lora(model)
    prepare_stage(model, "grounding")
    assert set(trained_parameters(model)) == names(model, MASKS)


def test_adapters_are_kept_in_full_precision() -> None:
    loaded = make_tiny()
    model = loaded[0].to(torch.bfloat16)
    prepare_stage(model, "instruction", LORA)
    adapters = [p for name, p in model.named_parameters() if ".lora_" in name]
    assert adapters and all(p.dtype == torch.float32 for p in adapters)
    assert model(input_ids=torch.arange(5)[None]).logits.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("stage", "lora", "said"),
    [
        ("grounding", LORA, "give no LoRA"),
        ("instruction", LoraSettings(targets=("q_proj", "wqkv")), "no layer wqkv; choose of down_proj"),
    ],
)
def test_settings_that_do_not_fit_are_refused(stage: str, lora: LoraSettings, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        prepare_stage(make_tiny()[0], stage, lora)  # type: ignore[arg-type]


def test_adapters_upon_adapters_are_refused() -> None:
    model, _ = make_tiny()
    prepare_stage(model, "instruction", LORA)
    with pytest.raises(ModelError, match="merge them before"):
        prepare_stage(model, "instruction", LORA)
