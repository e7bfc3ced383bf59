"""The language model's pass over several sequences at once, without what the library does around its products.

One product per matrix serves the tokens of all sequences; attention looks at each sequence's own keys. Sequences that
get one token are one product too. Keys and values are written once, where they stay.

Letters of shapes: T tokens of all pieces, B open slots, H query heads, G groups (heads of keys), W width of a head,
L positions that the longest sequence has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from terrascope.model.engine.cache import Prefix, Slot, SlotCache
from terrascope.model.engine.passes import Piece, next_positions
from terrascope.model.engine.requests import Output
from terrascope.model.modeling import TerraScopeForConditionalGeneration

KNOWN_MODELS = ("qwen2", "qwen3", "llama", "qwen2_5_vl_text")
"""Language models, by their type, whose layers are what is written here."""

STATIC_ROPES = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings of which a position's does not depend on the length of the sequence."""


class OwnPass:
    """The pass for the language models that it knows (`understands`).

    Args:
        model: whose weights are used where they are; query, key and value matrices are laid side by side in memory, and
            so are those of the gate.
    """

    def __init__(self, model: TerraScopeForConditionalGeneration) -> None:
        language = model.vlm.model.language_model
        config = language.config
        self.head = model.vlm.lm_head
        self.norm, self.rotary = language.norm, language.rotary_emb
        self.num_heads, self.num_groups = config.num_attention_heads, config.num_key_value_heads
        self.head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.layers = [_Layer(layer) for layer in language.layers]
        weight = self.layers[0].qkv.weight
        self.cache = SlotCache(
            len(self.layers), self.num_groups, self.head_width, device=weight.device, dtype=weight.dtype
        )
        self._cos = self._sin = weight.new_empty(0, self.head_width)

    def is_current(self) -> bool:
        """False once the model's matrices lie elsewhere in memory, as after `to` another device or number format."""
        return all(layer.qkv.is_current() and layer.gate_up.is_current() for layer in self.layers)

    def has_moved(self) -> bool:
        """True once the first matrix lies elsewhere: a glance at what `is_current` looks at."""
        return not self.layers[0].qkv.is_current()

    def open(self) -> Slot:
        return self.cache.open()

    def close(self, slot: Slot) -> None:
        self.cache.close(slot)

    def copy_prefix(self, slot: Slot, num_positions: int) -> Prefix:
        return self.cache.copy_prefix(slot, num_positions)

    def begin_with(self, slot: Slot, prefix: Prefix) -> None:
        self.cache.begin_with(slot, prefix)

    def feed(self, pieces: Sequence[Piece]) -> list[Output]:
        plan = _Plan(pieces, self.cache)
        cos, sin, following = self._rotate_by(pieces)
        hidden = torch.cat([piece.embeddings for piece in pieces]) if len(pieces) > 1 else pieces[0].embeddings
        for layer, keys, values in zip(self.layers, self.cache.keys, self.cache.values, strict=True):
            hidden = hidden + self._attend(layer, _norm(layer.input_norm, hidden), cos, sin, keys, values, plan)
            gate, up = layer.gate_up(_norm(layer.output_norm, hidden)).chunk(2, dim=-1)
            hidden = hidden + layer.down(layer.activation(gate) * up)
        hidden = _norm(self.norm, hidden[plan.wanted])
        logits = self.head(hidden).float()
        for piece, position in zip(pieces, following, strict=True):
            piece.slot.length += len(piece.embeddings)
            piece.slot.next_position = position
        return [Output(logits[place], hidden[place]) for place in plan.outputs]

    def forget(self, slot: Slot, num_positions: int) -> None:
        slot.length -= num_positions
        slot.next_position -= num_positions

    def _attend(
        self, layer: _Layer, hidden: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor, plan: _Plan
    ) -> Tensor:
        heads = layer.qkv(hidden).unflatten(1, (-1, self.head_width))
        rotated, value = heads.split((self.num_heads + self.num_groups, self.num_groups), dim=1)
        if layer.query_norm is not None:
            query, key = rotated.split((self.num_heads, self.num_groups), dim=1)
            rotated = torch.cat([_norm(layer.query_norm, query), _norm(layer.key_norm, key)], dim=1)
        # rotate_half(x) is (-x2, x1); the sign stands in the sine.
        rotated = torch.addcmul(rotated * cos, torch.roll(rotated, self.head_width // 2, -1), sin)
        query, key = rotated.split((self.num_heads, self.num_groups), dim=1)
        found = plan.attend(query, key, value, keys, values)
        return layer.output(found.flatten(1))

    def _rotate_by(self, pieces: Sequence[Piece]) -> tuple[Tensor, Tensor, list[int]]:
        """Cosine and signed sine `[T, 1, W]` for the positions of all pieces, and the position that follows each."""
        positions, following = zip(*(next_positions(piece) for piece in pieces), strict=True)
        if all(one.dim() == 1 for one in positions):
            self._reach(max(following))
            at = torch.cat(positions) if len(positions) > 1 else positions[0]
            return self._cos[at], self._sin[at], list(following)
        turns = [self._turn(one) for one in positions]
        cos, sin = (torch.cat(part) for part in zip(*turns, strict=True))
        return cos, sin, list(following)

    def _reach(self, num_positions: int) -> None:
        """Make the tables long enough."""
        if num_positions > len(self._cos):
            device = self.layers[0].qkv.weight.device
            self._cos, self._sin = self._turn(torch.arange(2 * num_positions, device=device))

    def _turn(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and signed sine `[n, 1, W]` for positions `[n]` or `[axes, n]`."""
        cos, sin = self.rotary(self.layers[0].qkv.weight[:1], positions.unsqueeze(-2))
        sin = torch.cat([-sin[..., : self.head_width // 2], sin[..., self.head_width // 2 :]], dim=-1)
        return cos[0, :, None], sin[0, :, None]


def understands(model: TerraScopeForConditionalGeneration) -> bool:
    """True if the language model is what `OwnPass` computes: a known type, plain matrices, all on one device."""
    language = model.vlm.model.language_model
    config = language.config
    rope = getattr(config, "rope_parameters", None) or {}
    if config.model_type not in KNOWN_MODELS or rope.get("rope_type", "default") not in STATIC_ROPES:
        return False
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
        return False
    devices = {weight.device for weight in (*language.parameters(), *model.vlm.lm_head.parameters())}
    is_plain = all(_is_plain(layer) for layer in language.layers)
    return is_plain and len(devices) == 1 and "meta" not in {device.type for device in devices}


def _is_plain(layer: Any) -> bool:
    attention, mlp = layer.self_attn, layer.mlp
    matrices = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    matrices += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    # A subclass computes otherwise (fewer bits, an adapter), and a hook moves numbers between devices.
    return all(type(one) is nn.Linear for one in matrices) and not hasattr(layer, "_hf_hook")


class _Layer:
    """One layer of the language model, by its modules."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.qkv = Joined([attention.q_proj, attention.k_proj, attention.v_proj])
        self.output, self.gate_up, self.down = attention.o_proj, Joined([mlp.gate_proj, mlp.up_proj]), mlp.down_proj
        self.activation = mlp.act_fn
        self.input_norm, self.output_norm = layer.input_layernorm, layer.post_attention_layernorm
        self.query_norm = getattr(attention, "q_norm", None)
        self.key_norm = getattr(attention, "k_norm", None)


class Joined:
    """Several linear layers of one input as one product.

    Their matrices become parts of one, each a parameter of its layer as before; so nothing stands twice in memory, and
    what trains or loads the layers changes the joined matrix.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.layers = layers
        self.weight = _join([layer.weight for layer in layers])
        biases = [layer.bias for layer in layers]
        self.bias = _join(biases) if all(bias is not None for bias in biases) else None
        self._parts = self._places()

    def __call__(self, values: Tensor) -> Tensor:
        return functional.linear(values, self.weight, self.bias)

    def is_current(self) -> bool:
        """True while the layers' parameters are parts of the joined ones."""
        return self._parts == self._places()

    def _places(self) -> list[int]:
        return [p.data_ptr() for layer in self.layers for p in (layer.weight, layer.bias) if p is not None]


def _join(parts: Sequence[Tensor]) -> Tensor:
    """One tensor of several along the first axis, of which they become parts."""
    sizes = [len(part) for part in parts]
    first = parts[0]
    is_joined = all(
        part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        and part.storage_offset() == first.storage_offset() + sum(sizes[:number]) * first[0].numel()
        for number, part in enumerate(parts)
    )
    if is_joined:
        return first.detach().as_strided((sum(sizes), *first.shape[1:]), first.stride(), first.storage_offset())
    # Not one of `inference_mode`: the layers may be trained afterwards.
    with torch.inference_mode(False), torch.no_grad():
        joined = torch.cat([part.detach() for part in parts])
        for part, place in zip(parts, joined.split(sizes), strict=True):
            part.data = place
    return joined


def _norm(norm: Any, values: Tensor) -> Tensor:
    return functional.rms_norm(values, values.shape[-1:], norm.weight, norm.variance_epsilon)


@dataclass(eq=False)
class _Longer:
    """A piece of several tokens: where they stand among all, in its slot, and which keys each of them sees."""

    rows: slice
    slot: int
    place: slice
    seen: Tensor | None


class _Plan:
    """Where the tokens of all pieces go, and what they look at; the same for every layer.

    Attributes:
        wanted: int64, the tokens whose output is wanted, or a slice where it is that of all.
        outputs: where that of each piece stands among them.
    """

    def __init__(self, pieces: Sequence[Piece], cache: SlotCache) -> None:
        device = pieces[0].embeddings.device
        cache.reserve(max(piece.slot.length + len(piece.embeddings) for piece in pieces))
        self.longer: list[_Longer] = []
        self.outputs: list[int | slice] = []
        wanted: list[int] = []
        single, begin = [], 0
        for piece in pieces:
            num, done = len(piece.embeddings), piece.slot.length
            if num == 1:
                single.append((begin, piece.slot))
            else:
                # Nothing stands before a prompt; what is injected sees all before it, too.
                seen = torch.arange(done + num, device=device) <= torch.arange(done, done + num, device=device)[:, None]
                place = slice(done, done + num)
                self.longer.append(_Longer(slice(begin, begin + num), piece.slot.index, place, seen if done else None))
            begin += num
            self.outputs.append(slice(len(wanted), len(wanted) + num) if piece.every else len(wanted))
            wanted += range(begin - num, begin) if piece.every else [begin - 1]
        self.num_tokens, self.num_single = begin, len(single)
        self.wanted = slice(None) if len(wanted) == begin else torch.tensor(wanted, device=device)
        self.one = single[0][1] if len(single) == 1 else None
        if self.one is not None:
            self.token = single[0][0]
            self.index, self.length = self.one.index, self.one.length
        elif single:
            self.tokens = torch.tensor([token for token, _ in single], device=device)
            self.slots = torch.tensor([slot.index for _, slot in single], device=device)
            self.ends = torch.tensor([slot.length for _, slot in single], device=device)
            self.num_slots = max(slot.index for _, slot in single) + 1
            self.reach = max(slot.length for _, slot in single) + 1
            self.is_every = [slot.index for _, slot in single] == list(range(self.num_slots)) and not self.longer
            ends = torch.zeros(self.num_slots, dtype=torch.int64, device=device).index_copy_(0, self.slots, self.ends)
            unseen = torch.arange(self.reach, device=device) > ends[:, None]
            dtype = pieces[0].embeddings.dtype
            self.bias = torch.zeros(unseen.shape, dtype=dtype, device=device).masked_fill_(unseen, -math.inf)
            self.bias = self.bias[:, None, None]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Write keys and values `[T, G, W]` into the slots, and what queries `[T, H, W]` find there: `[T, H, W]`."""
        if self.num_tokens == 1:
            return self._attend_one(query, key, value, keys, values)
        found = torch.empty_like(query)
        for piece in self.longer:
            found[piece.rows] = _attend_longer(piece, query, key, value, keys, values)
        if self.one is not None:
            token = slice(self.token, self.token + 1)
            found[token] = self._attend_one(query[token], key[token], value[token], keys, values)
        elif self.num_single:
            if self.is_every:
                return self._attend_single(query, key, value, keys, values)
            mine = self.tokens
            found[mine] = self._attend_single(query[mine], key[mine], value[mine], keys, values)
        return found

    def _attend_one(self, query: Tensor, key: Tensor, value: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        keys[self.index, :, self.length] = key[0]
        values[self.index, :, self.length] = value[0]
        known, told = keys[self.index, :, : self.length + 1], values[self.index, :, : self.length + 1]
        grouped = query.view(len(known), -1, query.shape[-1])
        weights = torch.softmax(grouped @ known.transpose(1, 2) * query.shape[-1] ** -0.5, dim=-1)
        return (weights @ told).view(query.shape)

    def _attend_single(self, query: Tensor, key: Tensor, value: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        keys[self.slots, :, self.ends] = key
        values[self.slots, :, self.ends] = value
        known, told = keys[: self.num_slots, :, : self.reach], values[: self.num_slots, :, : self.reach]
        # Slots without a token of their own take part with a query of zeros: cheaper than to gather the others' keys.
        asked = query if self.is_every else query.new_zeros(self.num_slots, *query.shape[1:])
        if not self.is_every:
            asked[self.slots] = query
        grouped = asked.unflatten(1, (keys.shape[1], -1))
        weights = torch.softmax(grouped @ known.transpose(2, 3) * query.shape[-1] ** -0.5 + self.bias, dim=-1)
        found = (weights @ told).flatten(1, 2)
        return found if self.is_every else found[self.slots]


def _attend_longer(piece: _Longer, query: Tensor, key: Tensor, value: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    keys[piece.slot, :, piece.place] = key[piece.rows].transpose(0, 1)
    values[piece.slot, :, piece.place] = value[piece.rows].transpose(0, 1)
    reach = slice(0, piece.place.stop)
    found = functional.scaled_dot_product_attention(
        query[piece.rows].transpose(0, 1)[None],
        keys[None, piece.slot, :, reach],
        values[None, piece.slot, :, reach],
        attn_mask=piece.seen,
        is_causal=piece.seen is None,
        enable_gqa=True,
    )
    return found[0].transpose(0, 1)
