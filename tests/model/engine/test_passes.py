"""Our own pass over several sequences against the library's over each of them, and the matrices that it joins."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from terrascope.model.engine.own_pass import STATIC_ROPES, OwnPass, understands
from terrascope.model.engine.passes import LanguagePass, LibraryPass, Piece
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from tests.model.conftest import in_double, make_tiny
from tests.model.families import TEXTS, make_family

Model = TerraScopeForConditionalGeneration
WIDTH = 32


def make_text_model(name: str) -> Model:
    model = make_family(name)[0]
    # Norms and biases that a random model has at one and zero, where they would hide.
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.vlm.model.language_model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module", params=list(TEXTS))
def model(request: pytest.FixtureRequest) -> Model:
    return make_text_model(request.param)


@pytest.fixture(scope="module", params=list(TEXTS))
def exact_model(request: pytest.FixtureRequest) -> Model:
    return in_double(make_text_model(request.param))


@pytest.fixture
def fresh() -> Model:
    return make_tiny()[0]


@dataclass(eq=False)
class Sequence:
    """One sequence in both passes, and all that it was fed."""

    slots: tuple[Any, Any]
    fed: Tensor
    is_begun: bool = False
    num_after: int = 0
    """Positions that follow its prompt."""


class Both:
    """Our own pass and the library's, fed alike."""

    def __init__(self, model: Model) -> None:
        self.model, self.dtype = model, model.dtype
        # What rounding may amount to; logits are given in single precision in any case.
        self.tolerance = {"atol": 1e-6, "rtol": 1e-6} if model.dtype == torch.float64 else {"atol": 5e-5, "rtol": 1e-5}
        self.passes: tuple[LanguagePass, LanguagePass] = (OwnPass(model), LibraryPass(model))
        self.sequences: list[Sequence] = []
        self.generator = torch.Generator().manual_seed(0)

    def open(self) -> Sequence:
        sequence = Sequence((self.passes[0].open(), self.passes[1].open()), torch.empty(0, WIDTH, dtype=self.dtype))
        self.sequences.append(sequence)
        return sequence

    def close(self, sequence: Sequence) -> None:
        self.sequences.remove(sequence)
        for language, slot in zip(self.passes, sequence.slots, strict=True):
            language.close(slot)

    def positions(self, num: int) -> Tensor:
        if self.model.config.vlm_config.model_type != "qwen2_5_vl":
            return torch.arange(num)
        # A few words, then an image whose tokens share a position in time, then words again.
        steps = torch.randint(0, 2, (3, num), generator=self.generator)
        steps[:, 0] = 0
        return steps.cumsum(1)

    def begin_like(self, other: Sequence, num: int) -> None:
        """A sequence that shares its first positions with another one."""
        sequence = self.open()
        for language, mine, theirs in zip(self.passes, sequence.slots, other.slots, strict=True):
            language.begin_with(mine, language.copy_prefix(theirs, num))
            assert mine.length == num
        sequence.fed = other.fed[:num]

    def forget(self, sequence: Sequence, num: int) -> None:
        """Take back so many of the positions that follow its prompt, where there are as many."""
        num = min(num, sequence.num_after)
        for language, slot in zip(self.passes, sequence.slots, strict=True):
            language.forget(slot, num)
        sequence.fed, sequence.num_after = sequence.fed[: len(sequence.fed) - num], sequence.num_after - num

    def feed(
        self, pieces: list[tuple[Sequence, int]], every: set[Sequence] | frozenset[Sequence] = frozenset()
    ) -> None:
        """Feed so many new tokens to each sequence, and compare what comes of it.

        Args:
            pieces: which sequences, and how many tokens.
            every: those of which the output of each token is wanted.
        """
        new = [torch.randn(num, WIDTH, generator=self.generator).to(self.dtype) for _, num in pieces]
        where: list[Tensor | None] = []
        for sequence, num in pieces:
            done = len(sequence.fed)
            where.append(None if sequence.is_begun else self.positions(done + num)[..., done:])
            sequence.num_after += num if sequence.is_begun else 0
            sequence.is_begun = True
        outputs = [
            language.feed(
                [
                    Piece(sequence.slots[which], embeddings, positions, every=sequence in every)
                    for (sequence, _), embeddings, positions in zip(pieces, new, where, strict=True)
                ]
            )
            for which, language in enumerate(self.passes)
        ]
        for (sequence, _), embeddings, mine, theirs in zip(pieces, new, *outputs, strict=True):
            sequence.fed = torch.cat([sequence.fed, embeddings])
            assert mine.logits.dtype == torch.float32
            assert mine.hidden.shape == ((len(embeddings), WIDTH) if sequence in every else (WIDTH,))
            assert mine.logits.shape[:-1] == mine.hidden.shape[:-1]
            torch.testing.assert_close(mine.logits, theirs.logits, **self.tolerance)
            torch.testing.assert_close(mine.hidden, theirs.hidden, **self.tolerance)
            own, library = sequence.slots
            assert own.length == library.length == len(sequence.fed)
            assert own.next_position == library.next_position


Step = tuple[list[int], list[int], list[tuple[int, int, bool, int]]]
"""Which sequences leave; how long are those that join; to which ones how many tokens are fed, whether the output of
each is wanted, and how many of the last ones are taken back before."""

STEPS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 5), max_size=2),
        st.lists(st.integers(1, 12), max_size=3),
        st.lists(
            st.tuples(
                st.integers(0, 5), st.sampled_from([1, 1, 1, 2, 5]), st.booleans(), st.sampled_from([0, 0, 1, 3])
            ),
            max_size=5,
        ),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, begin_alike=st.booleans(), seed=st.integers(0, 1000))
@torch.inference_mode()
def test_sequences_that_come_and_go_in_any_mix_get_what_the_library_gives_each(
    exact_model: Model, steps: list[Step], begin_alike: bool, seed: int
) -> None:
    both = Both(exact_model)
    both.generator.manual_seed(seed)
    for leaving, joining, feeding in steps:
        for number in leaving:
            if number < len(both.sequences):
                both.close(both.sequences[number])
        pieces, every = dict[Sequence, int](), set[Sequence]()
        for which, num, is_every, forgotten in feeding:
            if which < len(both.sequences):
                sequence = both.sequences[which]
                if sequence not in pieces:
                    both.forget(sequence, forgotten)
                pieces[sequence] = num
                every |= {sequence} if is_every else set()
        for num in joining:
            first = both.sequences[0] if both.sequences else None
            if begin_alike and first is not None and first.fed.numel():
                both.begin_like(first, min(num, len(first.fed)))
                both.sequences[-1].is_begun = True
                # Its positions count on from where it began: on all axes alike, as those after a prompt.
                for slot in both.sequences[-1].slots:
                    slot.next_position = 7
            else:
                both.open()
            pieces[both.sequences[-1]] = num
        if pieces:
            both.feed(list(pieces.items()), every)


@torch.inference_mode()
def test_a_prompt_that_begins_like_another_gets_what_the_whole_prompt_gets(model: Model) -> None:
    own = OwnPass(model)
    whole, rest = own.open(), own.open()
    embeddings = torch.randn(9, WIDTH, generator=torch.Generator().manual_seed(0))
    (expected,) = own.feed([Piece(whole, embeddings, torch.arange(9))])
    own.begin_with(rest, own.copy_prefix(whole, 5))
    (output,) = own.feed([Piece(rest, embeddings[5:], torch.arange(5, 9))])
    torch.testing.assert_close(output.logits, expected.logits, atol=5e-5, rtol=1e-5)
    assert rest.length == rest.next_position == 9


@torch.inference_mode()
def test_a_prompt_of_one_token_and_a_long_one_beside_single_tokens(model: Model) -> None:
    both = Both(model)
    first, second, third = (both.open() for _ in range(3))
    both.feed([(first, 1)])
    both.feed([(first, 1), (second, 300)])
    both.feed([(first, 1), (second, 1), (third, 1)])
    both.feed([(third, 4), (second, 1), (first, 30)])
    both.close(first)
    both.feed([(second, 1), (third, 1)])


@torch.inference_mode()
def test_numbers_that_are_none_stay_in_their_sequence(model: Model) -> None:
    """One reasoning overflows, and ends; who gets its place, and who runs beside it, must not hear of it."""
    both = Both(model)
    first, second = both.open(), both.open()
    both.feed([(first, 20), (second, 3)])
    own = both.passes[0]
    bad = own.open()
    own.feed([Piece(bad, torch.full((15, WIDTH), float("nan")), torch.arange(15))])
    (output,) = own.feed([Piece(bad, torch.full((1, WIDTH), float("nan")))])
    assert output.logits.isnan().all()
    both.feed([(first, 1), (second, 1)])
    own.close(bad)
    third = both.open()
    both.feed([(third, 2)])
    both.feed([(first, 1), (second, 1), (third, 1)])


@torch.inference_mode()
def test_a_pass_that_fails_has_not_changed_its_sequences(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    both = Both(model)
    first, second = both.open(), both.open()
    both.feed([(first, 4)])
    down = model.vlm.model.language_model.layers[1].mlp.down_proj
    for which in (0, 1):
        with monkeypatch.context() as patch:
            calls: list[int] = []

            def fail_at_last(values: Tensor, calls: list[int] = calls) -> Tensor:
                calls.append(1)
                if len(calls) == 1 + which:  # noqa: B023
                    raise torch.OutOfMemoryError("CUDA out of memory.")
                return nn.Linear.forward(down, values)

            patch.setattr(down, "forward", fail_at_last)
            pieces = [
                Piece(first.slots[which], torch.randn(2, WIDTH)),
                Piece(second.slots[which], torch.randn(3, WIDTH), torch.arange(3)),
            ]
            with pytest.raises(torch.OutOfMemoryError):
                both.passes[which].feed(pieces)
            assert (first.slots[which].length, second.slots[which].length) == (4, 0)
    both.feed([(first, 1), (second, 3)])
    both.feed([(first, 1), (second, 1)])


class TestUnderstands:
    def test_all_families_are_known(self, model: Model) -> None:
        assert understands(model)

    @pytest.mark.parametrize("kind", ["type", "sliding window", "dynamic rope", "linear", "adapter", "hook", "meta"])
    def test_what_computes_otherwise_is_left_to_the_library(self, fresh: Model, kind: str) -> None:
        language = fresh.vlm.model.language_model
        layer = language.layers[1]
        assert understands(fresh)
        if kind == "type":
            language.config.model_type = "qwen4"
        elif kind == "sliding window":
            language.config.layer_types = ["full_attention", "sliding_attention"]
        elif kind == "dynamic rope":
            language.config.rope_parameters = {**language.config.rope_parameters, "rope_type": "dynamic"}
        elif kind == "linear":
            layer.mlp.up_proj = type("Fewer", (nn.Linear,), {})(32, 64, bias=False)
        elif kind == "adapter":
            peft = pytest.importorskip("peft")
            peft.inject_adapter_in_model(peft.LoraConfig(target_modules=["v_proj"]), fresh)
        elif kind == "hook":
            hooks = pytest.importorskip("accelerate.hooks")
            hooks.add_hook_to_module(layer, hooks.ModelHook())
        else:
            fresh.to("meta")
        assert not understands(fresh)

    @pytest.mark.parametrize("name", STATIC_ROPES)
    def test_ropes_that_are_not_dynamic_are_known(self, fresh: Model, name: str) -> None:
        config = fresh.vlm.model.language_model.config
        config.rope_parameters = {**config.rope_parameters, "rope_type": name}
        assert understands(fresh)

    def test_parts_on_several_devices_are_left_to_the_library(self, fresh: Model) -> None:
        fresh.vlm.model.language_model.layers[0].to("meta")
        assert not understands(fresh)


def one_feed(language: LanguagePass, width: int = WIDTH, dtype: torch.dtype = torch.float32) -> Tensor:
    """The logits of a prompt and a token after it, the same for every call."""
    generator = torch.Generator().manual_seed(5)
    first, second = (torch.randn(num, width, generator=generator).to(dtype) for num in (6, 1))
    with torch.inference_mode():
        slot = language.open()
        language.feed([Piece(slot, first, torch.arange(6))])
        (output,) = language.feed([Piece(slot, second)])
        language.close(slot)
    return output.logits


class TestJoinedMatrices:
    def test_parameters_remain_parameters_with_the_same_values(self, model: Model) -> None:
        model = deepcopy(model)  # with matrices that lie apart
        before = {name: value.clone() for name, value in model.state_dict().items()}
        parameters = dict(model.named_parameters())
        OwnPass(model)
        after = model.state_dict()
        assert list(before) == list(after)
        assert all(torch.equal(before[name], after[name]) for name in before)
        again = dict(model.named_parameters())
        assert all(again[name] is parameter for name, parameter in parameters.items()) and len(again) == len(parameters)
        assert all(isinstance(p, nn.Parameter) and p.requires_grad and not p.is_inference() for p in again.values())
        assert all(p.is_contiguous() and p.is_leaf for p in again.values())

    def test_nothing_stands_twice_in_memory(self, fresh: Model) -> None:
        def bytes_of_weights() -> int:
            storages = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in fresh.parameters()}
            return sum(storages.values())

        before = bytes_of_weights()
        own = OwnPass(fresh)
        assert bytes_of_weights() == before
        attention = fresh.vlm.model.language_model.layers[0].self_attn
        joined = own.layers[0].qkv
        assert attention.q_proj.weight.data_ptr() == joined.weight.data_ptr()
        assert attention.v_proj.weight.untyped_storage().data_ptr() == joined.weight.untyped_storage().data_ptr()

    def test_a_second_pass_copies_nothing(self, fresh: Model) -> None:
        first = OwnPass(fresh)
        places = [parameter.data_ptr() for parameter in fresh.parameters()]
        second = OwnPass(fresh)
        assert places == [parameter.data_ptr() for parameter in fresh.parameters()]
        for mine, other in zip(first.layers, second.layers, strict=True):
            for one, two in ((mine.qkv, other.qkv), (mine.gate_up, other.gate_up)):
                assert one.weight.data_ptr() == two.weight.data_ptr() and torch.equal(one.weight, two.weight)
            assert torch.equal(mine.qkv.bias, other.qkv.bias)
        assert first.is_current() and second.is_current()
        assert torch.equal(one_feed(first), one_feed(second))

    def test_a_saved_model_is_the_same_to_the_bit(self, fresh: Model, tmp_path: Path) -> None:
        before = {name: value.clone() for name, value in fresh.state_dict().items()}
        OwnPass(fresh)
        fresh.save_pretrained(tmp_path)
        again = Model.from_pretrained(tmp_path).state_dict()
        assert list(again) == list(before)
        assert all(torch.equal(before[name], again[name]) for name in before)

    @pytest.mark.parametrize("change", ["optimizer", "in place", "load_state_dict"])
    def test_what_trains_or_loads_the_weights_changes_the_pass(self, fresh: Model, change: str) -> None:
        own = OwnPass(fresh)
        before = one_feed(own)
        language = fresh.vlm.model.language_model
        if change == "optimizer":
            optimizer = torch.optim.AdamW(language.parameters(), lr=0.05)
            embeddings = torch.randn(1, 5, WIDTH, generator=torch.Generator().manual_seed(3))
            fresh(inputs_embeds=embeddings).logits.square().mean().backward()
            assert language.layers[0].self_attn.k_proj.weight.grad.abs().max() > 0
            optimizer.step()
        elif change == "in place":
            with torch.no_grad():
                language.layers[1].self_attn.v_proj.weight.mul_(-1)
                language.layers[1].mlp.gate_proj.weight.mul_(0.5)
        else:
            other = {name: value + 0.1 for name, value in language.state_dict().items()}
            language.load_state_dict(other)
        after = one_feed(own)
        assert own.is_current()
        assert not torch.allclose(before, after, atol=1e-3)
        torch.testing.assert_close(after, one_feed(LibraryPass(fresh)), atol=5e-5, rtol=1e-5)

    @pytest.mark.parametrize(
        "move",
        [
            lambda model: model.to(torch.bfloat16),
            lambda model: model.double(),
            lambda model: model.load_state_dict({n: v.clone() for n, v in model.state_dict().items()}, assign=True),
        ],
        ids=["bfloat16", "double", "assign"],
    )
    def test_weights_that_have_moved_are_noticed(self, fresh: Model, move: Callable[[Model], Any]) -> None:
        own = OwnPass(fresh)
        assert own.is_current()
        move(fresh)
        assert not own.is_current()
        again = OwnPass(fresh)
        assert again.is_current()
        logits = one_feed(again, dtype=fresh.dtype)
        expected = one_feed(LibraryPass(fresh), dtype=fresh.dtype)
        tolerance = 0.1 if fresh.dtype == torch.bfloat16 else 5e-5
        torch.testing.assert_close(logits, expected, atol=tolerance, rtol=tolerance)

    def test_joined_in_inference_mode_they_can_still_be_trained(self, fresh: Model) -> None:
        with torch.inference_mode():
            OwnPass(fresh)
        fresh(inputs_embeds=torch.randn(1, 5, WIDTH)).logits.square().mean().backward()
        weight = fresh.vlm.model.language_model.layers[0].self_attn.q_proj.weight
        before = weight.detach().clone()
        torch.optim.SGD([weight], lr=1.0).step()
        assert not torch.equal(before, weight)
