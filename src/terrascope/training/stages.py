"""Which parameters move in which stage (paper, Sec. 3.2, Training; Appendix E.1), and LoRA on the language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn
from transformers import PreTrainedTokenizerBase

from terrascope.errors import ModelError
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.vocabulary import REASONING_TOKENS
from terrascope.training.encoders import projector_of, vision_encoder_of
from terrascope.training.token_rows import add_token_rows, fold_token_rows

Stage = Literal["grounding", "instruction", "all"]
"""`grounding` is the paper's stage 1: mask decoder, [SEG] projection, fusion of masks. `instruction` is its stage 2:
these, projector and language model. `all` lets both image encoders move too, for models that start from nothing."""

Embeddings = Literal["new", "all"]

ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters on the language model's layers.

    Attributes:
        rank, alpha, dropout: of the adapters; those of the released training by default.
        targets: names of the linear layers that get one.
        embeddings: beside the adapters, the input and output rows of the `new` tokens ([SEG] and the tags) move, or
            `all` rows of both matrices, as in the released training.
    """

    rank: Annotated[int, Field(ge=1)] = 128
    alpha: Annotated[float, Field(gt=0)] = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    targets: Sequence[str] = ATTENTION_AND_MLP
    embeddings: Embeddings = "new"


def reasoning_token_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The ids of [SEG] and the tags."""
    return tuple(tokenizer.convert_tokens_to_ids(list(REASONING_TOKENS)))


def prepare_stage(
    model: TerraScopeForConditionalGeneration,
    stage: Stage,
    lora: LoraSettings | None = None,
    *,
    new_tokens: Sequence[int] = (),
) -> None:
    """Freeze everything, then let move what the stage trains.

    Of the mask decoder the convolutions of its fine maps (`conv_s0`, `conv_s1`) move too; its heads that L_seg never
    reaches (predicted IoU, object score, the masks that are not chosen) stay, as do the prompt encoder's embeddings
    ("no mask", "not a point"). With LoRA, the layers' matrices stay, adapters move, and so do the rows of new tokens
    (`token_rows`), without which a model that has never seen [SEG] could not learn to write it.

    Args:
        model: changed in place. It may have been prepared for another stage before, without LoRA or with it merged.
        stage: what is trained.
        lora: adapters for the language model; None to train it whole.
        new_tokens: ids from `reasoning_token_ids`; [SEG] alone where there are none.

    Raises:
        ModelError: LoRA is asked for where the language model does not move, a target is not there, adapters are there
            already, or the package peft is missing.
    """
    if lora is not None and stage == "grounding":
        raise ModelError("stage grounding leaves the language model as it is: give no LoRA settings")
    model.requires_grad_(False)
    moving = [model.seg_projection, model.mask_fusion, model.sam.mask_decoder]
    if stage != "grounding":
        moving.append(projector_of(model))
        if lora is None:
            moving += [model.vlm.model.language_model, model.vlm.lm_head]
    if stage == "all":
        moving += [vision_encoder_of(model), model.sam.vision_encoder]
    for module in moving:
        module.requires_grad_(True)
    for module in _never_reached(model):
        module.requires_grad_(False)
    if lora is not None:
        _add_lora(model, lora, tuple(new_tokens) or (model.config.seg_token_id,))


def freeze_masks(model: TerraScopeForConditionalGeneration, *, projection: bool) -> None:
    """Freeze what draws masks, for a loss in which they have no weight: weight decay would wear it away.

    Args:
        model: prepared for a stage.
        projection: whether the [SEG] projection is frozen as well.
    """
    for module in [model.sam, model.mask_fusion, *([model.seg_projection] if projection else [])]:
        module.requires_grad_(False)


def merge_lora(model: TerraScopeForConditionalGeneration) -> None:
    """Fold adapters and rows of new tokens into the matrices, so that `save_pretrained` writes a plain checkpoint."""
    language_model = model.vlm.model.language_model
    for module in list(language_model.modules()):
        for name, child in list(module.named_children()):
            if hasattr(child, "merge") and hasattr(child, "get_base_layer"):
                child.merge()
                setattr(module, name, child.get_base_layer())
    # What peft notes on a model makes the library believe that adapters are still there.
    vars(language_model).pop("peft_config", None)
    fold_token_rows(model.get_input_embeddings(), model.get_output_embeddings())


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that move, by name; tied ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _never_reached(model: TerraScopeForConditionalGeneration) -> list[nn.Module]:
    """Parts of the mask decoder through which no mask logit depends on anything."""
    decoder: Any = model.sam.mask_decoder
    single, *others = decoder.output_hypernetworks_mlps
    unchosen = others if model.config.mask_choice == "single" else [single]
    return [decoder.iou_prediction_head, decoder.pred_obj_score_head, *unchosen]


def _add_lora(model: TerraScopeForConditionalGeneration, lora: LoraSettings, new_tokens: Sequence[int]) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ModelError("LoRA needs the package peft: pip install 'terrascope-eo[train]'") from None
    language_model = model.vlm.model.language_model
    if any(hasattr(module, "get_base_layer") for module in language_model.modules()):
        raise ModelError("the language model has adapters already: merge them before another stage is prepared")
    there = {name.rpartition(".")[2] for name, part in language_model.named_modules() if isinstance(part, nn.Linear)}
    absent = next((target for target in lora.targets if target not in there), None)
    if absent is not None:
        raise ModelError(
            f"LoRA targets: the language model has no layer {absent}; choose of {', '.join(sorted(there))}"
        )
    settings = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.targets)  # type: ignore[arg-type]
    )  # fmt: skip
    inject_adapter_in_model(settings, language_model)
    for name, parameter in language_model.named_parameters():
        if ".lora_" in name:
            # Small steps are lost in half precision; peft computes in what the layer's input has.
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if lora.embeddings == "all":
        embedding.requires_grad_(True)
        head.requires_grad_(True)
    else:
        add_token_rows(embedding, head, new_tokens)
