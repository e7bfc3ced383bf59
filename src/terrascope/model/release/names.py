"""Names of tensors in the released checkpoints and in ours: one table, read in both directions.

`{n}` stands for a number, `{p}` for `weight` or `bias`, `{rest}` for anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

_VISION, _OUR_VISION = "vision_model", "vlm.model.vision_tower"
_LAYER, _OUR_LAYER = f"{_VISION}.encoder.layers.{{n}}", f"{_OUR_VISION}.encoder.layer.{{n}}"
_SAM = "grounding_encoder.sam2_model"
_BLOCK, _OUR_BLOCK = f"{_SAM}.image_encoder.trunk.blocks.{{n}}", "sam.vision_encoder.backbone.blocks.{n}"
_PROMPT, _OUR_PROMPT = f"{_SAM}.sam_prompt_encoder", "sam.prompt_encoder"
_DECODER, _OUR_DECODER = f"{_SAM}.sam_mask_decoder", "sam.mask_decoder"
_TWO_WAY, _OUR_TWO_WAY = f"{_DECODER}.transformer.layers.{{n}}", f"{_OUR_DECODER}.transformer.layers.{{n}}"

_TABLE: tuple[tuple[str, str], ...] = (
    # InternVL's vision tower, projector and language model.
    (f"{_VISION}.embeddings.class_embedding", f"{_OUR_VISION}.embeddings.cls_token"),
    (f"{_VISION}.embeddings.position_embedding", f"{_OUR_VISION}.embeddings.position_embeddings"),
    (f"{_VISION}.embeddings.patch_embedding.{{p}}", f"{_OUR_VISION}.embeddings.patch_embeddings.projection.{{p}}"),
    (f"{_LAYER}.ls1", f"{_OUR_LAYER}.lambda_1"),
    (f"{_LAYER}.ls2", f"{_OUR_LAYER}.lambda_2"),
    (f"{_LAYER}.norm1.{{p}}", f"{_OUR_LAYER}.layernorm_before.{{p}}"),
    (f"{_LAYER}.norm2.{{p}}", f"{_OUR_LAYER}.layernorm_after.{{p}}"),
    (f"{_LAYER}.attn.proj.{{p}}", f"{_OUR_LAYER}.attention.projection_layer.{{p}}"),
    (f"{_LAYER}.attn.q_norm.{{p}}", f"{_OUR_LAYER}.attention.q_norm.{{p}}"),
    (f"{_LAYER}.attn.k_norm.{{p}}", f"{_OUR_LAYER}.attention.k_norm.{{p}}"),
    (f"{_LAYER}.mlp.fc1.{{p}}", f"{_OUR_LAYER}.mlp.fc1.{{p}}"),
    (f"{_LAYER}.mlp.fc2.{{p}}", f"{_OUR_LAYER}.mlp.fc2.{{p}}"),
    ("mlp1.0.{p}", "vlm.model.multi_modal_projector.layer_norm.{p}"),
    ("mlp1.1.{p}", "vlm.model.multi_modal_projector.linear_1.{p}"),
    ("mlp1.3.{p}", "vlm.model.multi_modal_projector.linear_2.{p}"),
    ("language_model.model.{rest}", "vlm.model.language_model.{rest}"),
    ("language_model.lm_head.weight", "vlm.lm_head.weight"),
    ("text_hidden_fcs.0.{p}", "seg_projection.0.{p}"),
    ("text_hidden_fcs.2.{p}", "seg_projection.2.{p}"),
    # SAM-2's image encoder.
    (f"{_SAM}.image_encoder.trunk.pos_embed", "sam.vision_encoder.backbone.pos_embed"),
    (f"{_SAM}.image_encoder.trunk.pos_embed_window", "sam.vision_encoder.backbone.pos_embed_window"),
    (
        f"{_SAM}.image_encoder.trunk.patch_embed.proj.{{p}}",
        "sam.vision_encoder.backbone.patch_embed.projection.{p}",
    ),
    (f"{_BLOCK}.norm1.{{p}}", f"{_OUR_BLOCK}.layer_norm1.{{p}}"),
    (f"{_BLOCK}.norm2.{{p}}", f"{_OUR_BLOCK}.layer_norm2.{{p}}"),
    (f"{_BLOCK}.attn.qkv.{{p}}", f"{_OUR_BLOCK}.attn.qkv.{{p}}"),
    (f"{_BLOCK}.attn.proj.{{p}}", f"{_OUR_BLOCK}.attn.proj.{{p}}"),
    (f"{_BLOCK}.proj.{{p}}", f"{_OUR_BLOCK}.proj.{{p}}"),
    (f"{_BLOCK}.mlp.layers.0.{{p}}", f"{_OUR_BLOCK}.mlp.proj_in.{{p}}"),
    (f"{_BLOCK}.mlp.layers.1.{{p}}", f"{_OUR_BLOCK}.mlp.proj_out.{{p}}"),
    (f"{_SAM}.image_encoder.neck.convs.{{n}}.conv.{{p}}", "sam.vision_encoder.neck.convs.{n}.{p}"),
    # Its prompt encoder.
    (f"{_SAM}.no_mem_embed", "sam.no_memory_embedding"),
    (f"{_PROMPT}.no_mask_embed.weight", f"{_OUR_PROMPT}.no_mask_embed.weight"),
    (f"{_PROMPT}.not_a_point_embed.weight", f"{_OUR_PROMPT}.not_a_point_embed.weight"),
    *(
        (f"{_PROMPT}.mask_downscaling.{number}.{{p}}", f"{_OUR_PROMPT}.mask_embed.{name}.{{p}}")
        for number, name in ((0, "conv1"), (1, "layer_norm1"), (3, "conv2"), (4, "layer_norm2"), (6, "conv3"))
    ),
    # Its mask decoder.
    *((f"{_DECODER}.{name}.weight", f"{_OUR_DECODER}.{name}.weight") for name in ("iou_token", "mask_tokens")),
    (f"{_DECODER}.obj_score_token.weight", f"{_OUR_DECODER}.obj_score_token.weight"),
    *((f"{_DECODER}.{name}.{{p}}", f"{_OUR_DECODER}.{name}.{{p}}") for name in ("conv_s0", "conv_s1")),
    *(
        (f"{_DECODER}.output_upscaling.{number}.{{p}}", f"{_OUR_DECODER}.{name}.{{p}}")
        for number, name in ((0, "upscale_conv1"), (1, "upscale_layer_norm"), (3, "upscale_conv2"))
    ),
    *(
        (f"{_DECODER}.{head}.layers.{number}.{{p}}", f"{_OUR_DECODER}.{head}.{name}.{{p}}")
        for head in ("output_hypernetworks_mlps.{n}", "iou_prediction_head", "pred_obj_score_head")
        for number, name in ((0, "proj_in"), (1, "layers.0"), (2, "proj_out"))
    ),
    *(
        (f"{prefix}.{attention}.{theirs}.{{p}}", f"{ours}.{attention}.{name}.{{p}}")
        for prefix, ours, attentions in (
            (_TWO_WAY, _OUR_TWO_WAY, ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token")),
            (f"{_DECODER}.transformer", f"{_OUR_DECODER}.transformer", ("final_attn_token_to_image",)),
        )
        for attention in attentions
        for theirs, name in (("q_proj", "q_proj"), ("k_proj", "k_proj"), ("v_proj", "v_proj"), ("out_proj", "o_proj"))
    ),
    *((f"{_TWO_WAY}.norm{i}.{{p}}", f"{_OUR_TWO_WAY}.layer_norm{i}.{{p}}") for i in range(1, 5)),
    (f"{_TWO_WAY}.mlp.layers.0.{{p}}", f"{_OUR_TWO_WAY}.mlp.proj_in.{{p}}"),
    (f"{_TWO_WAY}.mlp.layers.1.{{p}}", f"{_OUR_TWO_WAY}.mlp.proj_out.{{p}}"),
    (f"{_DECODER}.transformer.norm_final_attn.{{p}}", f"{_OUR_DECODER}.transformer.layer_norm_final_attn.{{p}}"),
)

_QKV = f"{_LAYER}.attn.qkv.{{p}}"
_OUR_QKV = tuple(f"{_OUR_LAYER}.attention.{name}_proj.{{p}}" for name in "qkv")
_POINTS = tuple(f"{_PROMPT}.point_embeddings.{n}.weight" for n in range(4))
_OUR_POINTS = f"{_OUR_PROMPT}.point_embed.weight"
_POSITION = f"{_PROMPT}.pe_layer.positional_encoding_gaussian_matrix"
_OUR_POSITIONS = (
    "sam.shared_image_embedding.positional_embedding",
    f"{_OUR_PROMPT}.shared_embedding.positional_embedding",
)

_DROPPED = re.compile(
    rf"{re.escape(_SAM)}\.(?:memory_attention|memory_encoder|mask_downsample|obj_ptr_proj|maskmem_tpos_enc|no_mem_pos_enc"
    r"|no_obj_ptr|no_obj_embed_spatial|obj_ptr_tpos_proj)(?:\.|$)"
)

Rows = tuple[int, int]
"""(i, n): the i-th of n equal blocks of rows."""


@dataclass(frozen=True)
class Source:
    """Where a tensor, or a block of its rows, comes from: a name of the other layout, and the rows taken of it."""

    name: str
    rows: Rows | None = None


_SAVED = (
    ("vlm.language_model.model.", "vlm.model.language_model."),
    ("vlm.language_model.lm_head.", "vlm.lm_head."),
    ("vlm.vision_tower.", "vlm.model.vision_tower."),
    ("vlm.multi_modal_projector.", "vlm.model.multi_modal_projector."),
)


def in_model(saved: str) -> str:
    """The name in the model of a tensor in a file: `save_pretrained` keeps InternVL's older names."""
    for theirs, ours in _SAVED:
        if saved.startswith(theirs):
            return ours + saved.removeprefix(theirs)
    return saved


def is_dropped(released: str) -> bool:
    """True for tensors of SAM-2's video memory, which no mask of a single image depends on."""
    return _DROPPED.match(released) is not None


def our_names(released: str) -> tuple[str, ...]:
    """The names of ours that a released tensor goes into; none if the layout does not have it."""
    if released in _POINTS:
        return (_OUR_POINTS,)
    if released == _POSITION:
        return _OUR_POSITIONS
    split = _translate(released, _QKV, _OUR_QKV)
    if split is not None:
        return split
    return next((found for found in (_translate(released, a, (b,)) for a, b in _TABLE) if found), ())


def released_sources(ours: str) -> tuple[Source, ...]:
    """The released tensors whose rows, one after the other, make a tensor of ours; none if the release has none."""
    if ours == _OUR_POINTS:
        return tuple(Source(name) for name in _POINTS)
    if ours in _OUR_POSITIONS:
        return (Source(_POSITION),)
    for number, name in enumerate(_OUR_QKV):
        found = _translate(ours, name, (_QKV,))
        if found is not None:
            return (Source(found[0], (number, len(_OUR_QKV))),)
    return tuple(Source(found[0]) for found in (_translate(ours, b, (a,)) for a, b in _TABLE) if found)


def our_sources(released: str) -> tuple[Source, ...]:
    """The reverse: our tensors whose rows make a released one."""
    if released in _POINTS:
        return (Source(_OUR_POINTS, (_POINTS.index(released), len(_POINTS))),)
    if released == _POSITION:
        return (Source(_OUR_POSITIONS[0]),)
    return tuple(Source(name) for name in our_names(released))


def released_names(ours: str) -> tuple[str, ...]:
    """The released tensors that one of ours goes into; none if the release has no place for it."""
    return tuple(source.name for source in released_sources(ours))


def _translate(name: str, pattern: str, templates: tuple[str, ...]) -> tuple[str, ...] | None:
    found = _compiled(pattern).fullmatch(name)
    return None if found is None else tuple(template.format(**found.groupdict()) for template in templates)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    expression = re.escape(pattern)
    for key, value in (("n", r"\d+"), ("p", "weight|bias"), ("rest", ".+")):
        expression = expression.replace(rf"\{{{key}\}}", f"(?P<{key}>{value})")
    return re.compile(expression)
