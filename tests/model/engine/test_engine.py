"""Many reasonings at once: each as if it were alone, whoever fails, leaves or runs out of memory beside it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from weakref import ref

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from terrascope.errors import ModelError, QuestionError
from terrascope.model.drafting import Phrases
from terrascope.model.encoding import EncodedScene, encode_scene
from terrascope.model.engine import engine as engines
from terrascope.model.engine.engine import Engine
from terrascope.model.engine.own_pass import OwnPass
from terrascope.model.engine.passes import LibraryPass, Piece
from terrascope.model.engine.requests import Feed, Ground, Pause, Prefill, Program
from terrascope.model.engine.ticket import Ticket
from terrascope.model.generation import GenerationSettings, Reasoning, reason, reasoning, shared_ids
from terrascope.model.processing import Prompt
from terrascope.model.terrascope import TerraScope
from terrascope.scene import Scene
from tests.model.conftest import Loaded, make_tiny
from tests.model.engine.made_programs import Watched, alone, chain, out_of_memory, random, same, watched

KINDS = ("optical", "sar", "both", "two dates", "two dates, both")
QUESTIONS = ("How much is water?", "Where are the trees, and how many of them stand there?", "A?")


class Asked:
    """Scenes as the tiny model has encoded them, and what each reasoning comes to alone."""

    def __init__(self, loaded: Loaded, sample: Any) -> None:
        self.model, self.processor = loaded
        pairs = sample.scene.pairs
        self.scenes = {
            "optical": Scene.of(optical=[pairs[0].optical]),
            "sar": Scene.of(sar=[pairs[0].sar]),
            "both": Scene.of(optical=[pairs[0].optical], sar=[pairs[0].sar]),
            "two dates": Scene.of(optical=[pair.optical for pair in pairs]),
            "two dates, both": sample.scene,
        }
        self.encoded = {kind: self.encode(kind) for kind in KINDS}
        self.known: dict[Any, Reasoning] = {}

    def encode(self, kind: str) -> EncodedScene:
        with torch.inference_mode():
            return encode_scene(self.model, self.processor.image_processor.prepare_scene(self.scenes[kind]))

    def prompt(self, kind: str, question: str = QUESTIONS[0]) -> Prompt:
        return self.processor.prepare_prompt(self.processor.describe(self.scenes[kind]), question)

    def write(
        self,
        kind: str,
        text: str | None,
        question: str = QUESTIONS[0],
        *,
        encoded: EncodedScene | None = None,
        phrases: Phrases | None = None,
    ) -> Callable[[], Program[Reasoning]]:
        """A reasoning with forced words, or a free one of 30 tokens."""
        forced = None if text is None else self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        limits = GenerationSettings(max_new_tokens=30 if text is None else 1024, phrases=phrases)
        return lambda: reasoning(
            self.model, self.processor, encoded or self.encoded[kind], self.prompt(kind, question), limits,
            forced_ids=forced, keep_record=True,
        )  # fmt: skip

    def alone(self, kind: str, text: str | None, question: str = QUESTIONS[0]) -> Reasoning:
        key = (kind, text, question)
        if key not in self.known:
            self.known[key] = alone(self.model, self.write(*key))
        return self.known[key]


@pytest.fixture(scope="module")
def asked(exact: Loaded, two_dates: Any) -> Asked:
    return Asked(exact, two_dates)


@pytest.fixture(scope="module")
def model(exact: Loaded) -> Any:
    return exact[0]


def check_same(found: Reasoning, expected: Reasoning) -> None:
    assert found.text == expected.text and found.token_ids == expected.token_ids
    assert found.finish_reason == expected.finish_reason
    assert len(found.groundings) == len(expected.groundings)
    for mine, other in zip(found.groundings, expected.groundings, strict=True):
        np.testing.assert_array_equal(mine.mask, other.mask)
        assert mine.image == other.image and mine.confidence == pytest.approx(other.confidence, abs=1e-5)
        assert mine.num_optical_tokens == other.num_optical_tokens and mine.num_sar_tokens == other.num_sar_tokens
    assert found.record is not None and expected.record is not None
    assert [one.tolist() for one in found.record.injected] == [one.tolist() for one in expected.record.injected]
    assert found.record.positions == expected.record.positions
    for mine, other in zip(found.record.logits, expected.record.logits, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)
    for mine, other in zip(found.record.seg_states, expected.record.seg_states, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-6)


TEXTS = st.lists(
    st.sampled_from(
        ["[SEG]", "[SEG]", "The water: ", " It covers 1%.", " Image: 2 tree", "</think><answer>A</answer>"]
    ),
    max_size=7,
).map("".join)
WHATS = st.lists(st.tuples(st.sampled_from(KINDS), TEXTS, st.sampled_from(QUESTIONS)), min_size=1, max_size=7)


class TestEachAsIfItWereAlone:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(whats=WHATS, max_rows=st.integers(1, 5))
    def test_forced_reasonings_of_any_length_and_scene(
        self, asked: Asked, whats: list[tuple[str, str, str]], max_rows: int
    ) -> None:
        engine, language = watched(asked.model, max_rows=max_rows)
        tickets = list(engine.run_all(asked.write(*what) for what in whats))
        assert len(tickets) == len(whats) and language.open_slots == []
        assert max(map(len, language.fed)) <= max_rows
        for ticket, what in zip(tickets, whats, strict=True):
            check_same(ticket.result(), asked.alone(*what))

    @pytest.mark.parametrize("max_rows", [2, 5, 16])
    def test_free_reasonings_write_the_same_words(self, asked: Asked, max_rows: int) -> None:
        whats = [(kind, None, question) for kind in KINDS for question in QUESTIONS]
        tickets = Engine(asked.model, max_rows=max_rows).run_all(asked.write(*what) for what in whats)
        found = [ticket.result() for ticket in tickets]
        for one, what in zip(found, whats, strict=True):
            check_same(one, asked.alone(*what))
        assert len({one.text for one in found}) > 3

    def test_single_precision_differs_by_rounding_alone(self, tiny: Loaded, two_dates: Any) -> None:
        asked = Asked(tiny, two_dates)
        whats = [(kind, "The water: [SEG] It covers [SEG]", question) for kind in KINDS for question in QUESTIONS]
        tickets = Engine(asked.model, max_rows=4).run_all(asked.write(*what) for what in whats)
        for ticket, what in zip(tickets, whats, strict=True):
            found, expected = ticket.result().record, asked.alone(*what).record
            torch.testing.assert_close(found.logits[0], expected.logits[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(found.seg_states[0], expected.seg_states[0], atol=1e-4, rtol=1e-4)

    def test_reason_alone_uses_the_same_loop(self, asked: Asked) -> None:
        text = "The water: [SEG] Image: 2 [SEG]"
        ids = asked.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        kind = "two dates, both"
        found = reason(
            asked.model, asked.processor, asked.encoded[kind], asked.prompt(kind), forced_ids=ids, keep_record=True
        )
        check_same(found, asked.alone(kind, text))

    def test_more_tokens_than_one_pass_takes_are_fed_in_several(
        self, asked: Asked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engines, "MAX_TOKENS", 20)
        engine, language = watched(asked.model)
        begins = [partial(chain, asked.model, seed) for seed in range(9)]
        for ticket, begin in zip(engine.run_all(begins), begins, strict=True):
            assert same(ticket.result(), alone(asked.model, begin))
        assert all(sum(lengths) <= 20 for lengths in language.fed)
        assert language.fed[:3] == [[3, 4, 5, 6], [7, 3, 4, 5], [6]]
        one = watched(asked.model)[0].run(asked.write("two dates, both", "[SEG]"))
        check_same(one, asked.alone("two dates, both", "[SEG]"))


class Guesses(Phrases):
    """Guesses what is written next, or nearly so."""

    def __init__(self, texts: list[tuple[int, ...]], wrong_every: int) -> None:
        super().__init__()
        self.texts, self.wrong_every, self.learnt = texts, wrong_every, list[tuple[int, ...]]()

    def learn(self, token_ids: Sequence[int]) -> None:
        self.learnt.append(tuple(token_ids))

    def guess(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        num = len(token_ids)
        begun = [text for text in self.texts if text[:num] == tuple(token_ids)]
        follow = begun[0][num : num + 6] if begun else (7, 8, 9)
        return tuple(3 if (num + place) % self.wrong_every == 0 else token for place, token in enumerate(follow))


class TestGuesses:
    @pytest.mark.parametrize("wrong_every", [1, 2, 5, 1000])
    def test_guesses_right_or_wrong_change_nothing_of_what_is_written(self, asked: Asked, wrong_every: int) -> None:
        whats = [(kind, None, question) for kind in KINDS for question in QUESTIONS[:2]]
        expected = [asked.alone(*what) for what in whats]
        guesses = Guesses([one.token_ids for one in expected], wrong_every)
        engine, language = watched(asked.model, max_rows=4)
        tickets = engine.run_all(asked.write(*what, phrases=guesses) for what in whats)
        for ticket, one in zip(tickets, expected, strict=True):
            check_same(ticket.result(), one)
        assert sorted(guesses.learnt) == sorted(one.token_ids for one in expected)
        num_fed = sum(map(len, language.fed))
        num_tokens = sum(len(one.token_ids) for one in expected)
        # A guess that is wrong costs what a token alone costs; one that is right saves a pass.
        assert num_fed >= num_tokens if wrong_every == 1 else num_fed < 2 * num_tokens / 3
        assert wrong_every < 1000 or num_fed < num_tokens / 4
        assert language.num_forgotten > (0 if wrong_every == 1000 else 100)

    def test_forced_words_are_fed_several_at_a_time(self, asked: Asked) -> None:
        engine, language = watched(asked.model)
        text = "The water: [SEG] It covers 1%. The tree: [SEG] So"
        found = engine.run(asked.write("optical", text))
        check_same(found, asked.alone("optical", text))
        assert language.num_forgotten == 0
        # The prompt, what stands before each mask with its [SEG], the visual tokens, and the rest.
        assert len(language.fed) <= 1 + 2 + 2 + 2 < len(found.token_ids)


class TestMasks:
    def count(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The states of every call of the mask decoder."""
        calls: list[int] = []
        decode = model.decode_masks
        monkeypatch.setattr(
            model, "decode_masks", lambda embedding, states: (calls.append(len(states)), decode(embedding, states))[1]
        )
        return calls

    def test_those_of_one_step_are_decoded_in_one_call(self, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = self.count(asked.model, monkeypatch)
        tickets = list(Engine(asked.model).run_all(asked.write(kind, "The water: [SEG]") for kind in KINDS))
        # One image each for optical and SAR and their first dates, two where there are both.
        assert calls == [1 + 1 + 2 + 1 + 2]
        for ticket, kind in zip(tickets, KINDS, strict=True):
            check_same(ticket.result(), asked.alone(kind, "The water: [SEG]"))

    def test_no_step_calls_the_decoder_twice(self, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = self.count(asked.model, monkeypatch)
        engine = Engine(asked.model)
        for number, kind in enumerate(KINDS * 2):
            engine.submit(asked.write(kind, "tree " * (number % 3) + "[SEG][SEG] It covers [SEG]"))
        numbers = []
        while True:
            before = len(calls)
            if not engine.step():
                break
            numbers.append(len(calls) - before)
        assert max(numbers) == 1 and sum(calls) == 2 * 3 * (1 + 1 + 2 + 1 + 2)

    def test_one_whose_mask_has_no_numbers_fails_alone(self, asked: Asked) -> None:
        def draw(state: Tensor) -> Program[Any]:
            return (yield Ground(asked.encoded["both"], 0, state))

        states = [torch.randn(32, generator=torch.Generator().manual_seed(n)).double() for n in range(3)]
        begins = [partial(draw, states[0]), partial(draw, states[1] * float("nan")), partial(draw, states[2])]
        begins.append(asked.write("sar", "[SEG] It"))
        tickets = list(Engine(asked.model).run_all(begins))
        with pytest.raises(ModelError, match="not finite"):
            tickets[1].result()
        for number in (0, 2):
            mask, confidence = tickets[number].result()
            expected, sure = alone(asked.model, begins[number])
            assert torch.equal(mask, expected) and confidence == pytest.approx(sure, abs=1e-6)
        check_same(tickets[3].result(), asked.alone("sar", "[SEG] It"))


class TestSharedBeginnings:
    def test_questions_about_one_scene_feed_their_common_beginning_once(self, asked: Asked) -> None:
        kind = "two dates, both"
        engine, language = watched(asked.model)
        found = list(engine.run_all(asked.write(kind, "[SEG] It", question) for question in QUESTIONS))
        lengths = [len(asked.prompt(kind, question).input_ids) for question in QUESTIONS]
        shared = len(shared_ids(asked.prompt(kind)))
        assert shared > 64, "the visual tokens of four images are part of it"
        # The first goes ahead; the others begin with what it leaves.
        assert language.fed[0] == [lengths[0]]
        assert sorted(language.fed[1]) == sorted([1, lengths[1] - shared, lengths[2] - shared])
        for ticket, question in zip(found, QUESTIONS, strict=True):
            check_same(ticket.result(), asked.alone(kind, "[SEG] It", question))

    def test_one_that_comes_later_begins_with_it_too(self, asked: Asked) -> None:
        engine, language = watched(asked.model)
        check_same(engine.run(asked.write("sar", "[SEG]")), asked.alone("sar", "[SEG]"))
        num = len(language.fed)
        check_same(engine.run(asked.write("sar", "tree", QUESTIONS[1])), asked.alone("sar", "tree", QUESTIONS[1]))
        prompt = asked.prompt("sar", QUESTIONS[1])
        assert language.fed[num] == [len(prompt.input_ids) - len(shared_ids(prompt))]
        assert language.num_prefixes == 1

    def test_scenes_share_nothing_though_their_prompts_are_alike(self, asked: Asked) -> None:
        """Of the same size and kind, but with other images."""
        turned = asked.encode("optical")
        turned = EncodedScene(tuple(-one for one in turned.context), turned.pairs, turned.inputs, turned.embeddings)
        engine, language = watched(asked.model)
        begins = [asked.write("optical", "[SEG]"), asked.write("optical", "[SEG]", encoded=turned)]
        one, other = (ticket.result() for ticket in engine.run_all(begins))
        num = len(asked.prompt("optical").input_ids)
        assert language.fed[0] == [num, num]
        check_same(one, asked.alone("optical", "[SEG]"))
        check_same(other, alone(asked.model, begins[1]))
        assert not torch.allclose(one.record.logits[0], other.record.logits[0], atol=1e-2)

    def test_they_vanish_with_their_scene(self, asked: Asked) -> None:
        engine, language = watched(asked.model)
        encoded = asked.encode("optical")
        engine.run(asked.write("optical", "tree", encoded=encoded))
        engine.run(asked.write("sar", "tree"))
        assert language.num_prefixes == 2
        scene = ref(encoded)
        del encoded
        gc.collect()
        assert scene() is None and language.num_prefixes == 1

    def test_memory_that_runs_out_while_they_are_copied_harms_nobody(
        self, asked: Asked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine, language = watched(asked.model)

        def fail(*args: Any) -> None:
            raise out_of_memory()

        monkeypatch.setattr(language, "copy_prefix", fail)
        found = list(engine.run_all(asked.write("sar", "[SEG] It", question) for question in QUESTIONS))
        for ticket, question in zip(found, QUESTIONS, strict=True):
            check_same(ticket.result(), asked.alone("sar", "[SEG] It", question))
        assert engine.max_rows == engines.MAX_ROWS
        prompts = [len(asked.prompt("sar", question).input_ids) for question in QUESTIONS]
        fed = [length for lengths in language.fed for length in lengths]
        assert all(length in fed for length in prompts)


class TestWeightsThatMove:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
    def test_a_new_pass_is_made_and_what_was_kept_is_dropped(self, two_dates: Any, dtype: torch.dtype) -> None:
        asked = Asked(make_tiny(), two_dates)
        model = asked.model
        engine = Engine(model)
        encoded = asked.encoded["optical"]
        engine.run(asked.write("optical", "tree"))
        made: list[OwnPass] = []
        plain = OwnPass.__init__
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(OwnPass, "__init__", lambda self, model: (made.append(self), plain(self, model))[1])
            engine.run(asked.write("optical", "tree", QUESTIONS[1]))
            assert made == []
            model.to(dtype)
            model.mask_fusion.float()
            # What was encoded before is kept by the caller, so its beginning would be found, in the old format.
            context = tuple(one.to(dtype) for one in encoded.context)
            moved = EncodedScene(context, encoded.pairs, encoded.inputs, encoded.embeddings)
            engine.run(asked.write("optical", "tree", encoded=moved))
            object.__setattr__(encoded, "context", context)
            found = engine.run(asked.write("optical", "tree"))
            assert len(made) == 1
        expected = alone(model, asked.write("optical", "tree"))
        tolerance = 0.2 if dtype == torch.bfloat16 else 1e-5
        assert found.record is not None and expected.record is not None
        for mine, other in zip(found.record.logits, expected.record.logits, strict=True):
            torch.testing.assert_close(mine, other, atol=tolerance, rtol=tolerance)

    def test_what_questions_shared_is_made_anew_with_other_weights(self, two_dates: Any) -> None:
        asked = Asked(make_tiny(), two_dates)
        engine = Engine(asked.model)
        before = engine.run(asked.write("optical", "tree"))
        weights = {name: value.clone() for name, value in asked.model.state_dict().items()}
        weights["vlm.model.language_model.layers.1.self_attn.k_proj.weight"] *= -1
        asked.model.load_state_dict(weights, assign=True)
        found, expected = engine.run(asked.write("optical", "tree")), asked.alone("optical", "tree")
        assert before.record is not None and found.record is not None and expected.record is not None
        torch.testing.assert_close(found.record.logits[0], expected.record.logits[0], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(found.record.logits[0], before.record.logits[0], atol=1e-2)

    def test_reasonings_under_way_begin_anew(self, two_dates: Any) -> None:
        model = make_tiny()[0]
        engine = Engine(model)
        begins = [partial(chain, model, seed) for seed in (1, 2)]
        tickets = [engine.submit(begin) for begin in begins]
        for _ in range(3):
            engine.step()
        model.double()
        for ticket, begin in zip(tickets, begins, strict=True):
            assert same(engine.wait_for(ticket), alone(model, begin))

    def test_an_adapter_that_is_put_on_later_counts(self) -> None:
        peft = pytest.importorskip("peft")
        model = make_tiny()[0]
        engine, begin = Engine(model), partial(chain, model, 1)
        before = engine.run(begin)
        peft.inject_adapter_in_model(peft.LoraConfig(target_modules=["v_proj"], init_lora_weights=False), model)
        expected = alone(model, begin)
        assert not same(expected, before)
        assert same(engine.run(begin), expected)


class TestFailures:
    @pytest.mark.parametrize("when", [0, 1, 3, 5])
    def test_one_that_raises_fails_alone(self, model: Any, when: int) -> None:
        def fail(number: int) -> None:
            if number == when:
                raise QuestionError("such a question")

        engine, language = watched(model)
        begins = [partial(chain, model, seed) for seed in range(4)]
        begins[1] = partial(chain, model, 1, do=fail)
        tickets = list(engine.run_all(begins))
        with pytest.raises(QuestionError, match="such a question"):
            tickets[1].result()
        for seed in (0, 2, 3):
            assert same(tickets[seed].result(), alone(model, begins[seed]))
        assert language.open_slots == []

    def test_one_that_cannot_even_be_made_fails_alone(self, model: Any) -> None:
        def refuse() -> Program[Any]:
            raise QuestionError("no")

        engine = Engine(model)
        tickets = list(engine.run_all([refuse, partial(chain, model, 1)]))
        with pytest.raises(QuestionError, match="no"):
            tickets[0].result()
        assert same(tickets[1].result(), alone(model, partial(chain, model, 1)))

    def test_one_that_cannot_be_fed_fails_alone(self, model: Any) -> None:
        def wide() -> Program[Any]:
            yield Prefill(torch.zeros(2, 32).double(), torch.arange(2))
            yield Feed(torch.zeros(2, 31).double())

        engine, language = watched(model)
        begins = [partial(chain, model, 0), wide, partial(chain, model, 2)]
        tickets = list(engine.run_all(begins))
        with pytest.raises(RuntimeError):
            tickets[1].result()
        for number in (0, 2):
            assert same(tickets[number].result(), alone(model, begins[number]))
        assert language.open_slots == []

    def test_what_is_taken_back_is_taken_back_once_though_its_pass_is_tried_again(self, model: Any) -> None:
        def taking_back(seed: int) -> Program[Any]:
            yield Prefill(random(seed, 5, model.dtype), torch.arange(5))
            every = yield Feed(random(seed + 1, 4, model.dtype), every=True)
            last = yield Feed(random(seed + 2, 1, model.dtype), forget=2)
            return seed, torch.cat([every.logits, last.logits[None]])

        def wide() -> Program[Any]:
            yield Prefill(torch.zeros(2, 32).double(), torch.arange(2))
            yield Feed(torch.zeros(1, 32).double())
            yield Feed(torch.zeros(2, 31).double())

        engine, language = watched(model)
        begins: list[Any] = [partial(taking_back, 10), wide, partial(taking_back, 20)]
        tickets = list(engine.run_all(begins))
        assert isinstance(tickets[1].error, RuntimeError) and language.num_forgotten == 4
        for number in (0, 2):
            assert same(tickets[number].result(), alone(model, begins[number]))

    def test_one_that_overflows_leaves_its_place_clean(self, model: Any) -> None:
        def overflow() -> Program[Any]:
            output = yield Prefill(torch.full((9, 32), float("nan")).double(), torch.arange(9))
            assert output.logits.isnan().all()
            raise ModelError("the model's numbers are not finite")

        begins: list[Any] = [partial(chain, model, seed, num) for seed, num in ((1, 12), (2, 4), (3, 4), (4, 4))]
        begins[1:1] = [overflow, overflow]
        tickets = list(Engine(model, max_rows=3).run_all(begins))
        for number in (0, 3, 4, 5):
            assert same(tickets[number].result(), alone(model, begins[number]))

    def test_errors_of_the_program_itself_come_out_as_they_are(self, model: Any) -> None:
        def divide(number: int) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            Engine(model).run(partial(chain, model, 0, do=divide))


def at_most(rows: int) -> Callable[[Sequence[Piece]], None]:
    def check(pieces: Sequence[Piece]) -> None:
        if len(pieces) > rows:
            raise out_of_memory()

    return check


class TestMemory:
    @pytest.mark.parametrize(("rows", "now"), [(1, [4, 2, 1]), (2, [4, 2]), (3, [4, 2]), (4, [4]), (7, [4]), (8, [])])
    def test_where_it_runs_out_half_as_many_run_at_once(self, model: Any, rows: int, now: list[int]) -> None:
        said: list[str] = []
        engine, language = watched(model, at_most(rows), max_rows=8, tell=said.append)
        begins = [partial(chain, model, seed) for seed in range(11)]
        for ticket, begin in zip(engine.run_all(begins), begins, strict=True):
            assert same(ticket.result(), alone(model, begin))
        assert said == [f"Memory ran out; from now on {num} questions are answered at once." for num in now]
        assert engine.max_rows == (now or [8])[-1]
        assert language.open_slots == []
        assert max(map(len, language.fed[len(now) + 1 :])) == engine.max_rows

    def test_one_alone_for_whom_it_does_not_suffice_fails(self, model: Any) -> None:
        engine, language = watched(model, at_most(0))
        with pytest.raises(torch.OutOfMemoryError):
            engine.run(partial(chain, model, 0))
        assert language.open_slots == []
        tickets = list(engine.run_all(partial(chain, model, seed) for seed in range(3)))
        assert all(isinstance(ticket.error, torch.OutOfMemoryError) for ticket in tickets)

    def test_one_that_is_too_large_for_itself_does_not_fail_the_others(self, model: Any) -> None:
        def check(pieces: Sequence[Piece]) -> None:
            if any(len(piece.embeddings) > 50 for piece in pieces):
                raise out_of_memory()

        def large() -> Program[Any]:
            return (yield Prefill(random(1, 51, model.dtype), torch.arange(51)))

        engine, _ = watched(model, check)
        begins: list[Any] = [partial(chain, model, seed) for seed in range(3)]
        begins.insert(1, large)
        tickets = list(engine.run_all(begins))
        assert isinstance(tickets[1].error, torch.OutOfMemoryError)
        for number in (0, 2, 3):
            assert same(tickets[number].result(), alone(model, begins[number]))

    def test_one_that_joins_when_others_fill_it_waits_for_them(self, model: Any) -> None:
        """Its prompt stands alone in its pass, but it is not alone."""
        engine, language = watched(model)

        def check(pieces: Sequence[Piece]) -> None:
            if len(language.open_slots) > 2:
                raise out_of_memory()

        language.before_feed = check
        begins = [partial(chain, model, seed) for seed in range(3)]
        tickets = [engine.submit(begin) for begin in begins[:2]]
        engine.step()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engines, "MAX_TOKENS", 1)
            tickets.append(engine.submit(begins[2]))
            for ticket, begin in zip(tickets, begins, strict=True):
                assert same(engine.wait_for(ticket), alone(model, begin))

    def test_what_a_failed_pass_has_computed_is_gone_before_the_next_try(self, model: Any) -> None:
        computed: list[Any] = []
        alive: list[int] = []

        def check(pieces: Sequence[Piece]) -> None:
            alive.append(sum(one() is not None for one in computed))
            if len(pieces) > 1:
                activations = torch.zeros(10)
                computed.append(ref(activations))
                raise out_of_memory()

        engine, _ = watched(model, check, max_rows=4)
        tickets = list(engine.run_all(partial(chain, model, seed) for seed in range(4)))
        assert all(ticket.error is None for ticket in tickets)
        assert len(computed) == 2 and set(alive) == {0}

    def test_slots_that_are_no_longer_needed_take_none(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Room for 3 prompts, but for one sequence alone once they are longer."""
        plain = torch.Tensor.new_zeros

        def allocate(numbers: Tensor, *shape: int) -> Tensor:
            if len(shape) == 4 and shape[0] * shape[2] > 1024:
                raise out_of_memory()
            return plain(numbers, *shape)

        def long(seed: int) -> Program[Any]:
            length = 250
            output = yield Prefill(random(seed, length, model.dtype), torch.arange(length))
            for number in range(4):
                output = yield Feed(random(seed + number, 190, model.dtype))
            return seed, output.logits

        expected = [alone(model, partial(long, seed)) for seed in range(3)]
        monkeypatch.setattr(torch.Tensor, "new_zeros", allocate)
        engine = Engine(model, language=OwnPass(model), max_rows=3)
        for ticket, one in zip(engine.run_all(partial(long, seed) for seed in range(3)), expected, strict=True):
            assert same(ticket.result(), one)
        assert engine.max_rows == 1

    @pytest.mark.parametrize("when", [0, 2])
    def test_it_runs_out_inside_of_one_that_begins_again_later(self, model: Any, when: int) -> None:
        begun: list[int] = []

        def fail_once(number: int) -> None:
            if number == 0:
                begun.append(1)
            if number == when and len(begun) == 1:
                raise MemoryError

        said: list[str] = []
        engine, language = watched(model, tell=said.append)
        begins = [partial(chain, model, seed) for seed in range(3)]
        begins[1] = partial(chain, model, 1, do=fail_once)
        for number, ticket in enumerate(engine.run_all(begins)):
            assert same(ticket.result(), alone(model, partial(chain, model, number)))
        assert len(begun) == 2 and len(said) == 1 and language.open_slots == []

    def test_it_runs_out_inside_of_one_alone(self, model: Any) -> None:
        def fail(number: int) -> None:
            raise MemoryError

        with pytest.raises(MemoryError):
            Engine(model).run(partial(chain, model, 0, do=fail))

    def test_a_second_prompt_for_which_there_is_none_takes_nobodys_place(self, model: Any) -> None:
        """A large scene is reasoned about twice in one program; the second time, no slot can be opened."""

        def twice() -> Program[Any]:
            yield from chain(model, 7, 1)
            return (yield from chain(model, 8, 1))

        engine, language = watched(model)
        plain, opened = language.open, []

        def open_or_fail() -> Any:
            opened.append(1)
            if len(opened) in (4, 5):
                raise out_of_memory()
            return plain()

        language.open = open_or_fail
        begins: list[Any] = [partial(chain, model, 1, 6), twice, partial(chain, model, 3, 6)]
        for ticket, begin in zip(engine.run_all(begins), begins, strict=True):
            assert same(ticket.result(), alone(model, begin))
        assert len(opened) > 5 and language.open_slots == []

    def test_the_front_door_says_it_in_a_sentence(self, tiny: Loaded, two_dates: Any) -> None:
        front = TerraScope(*tiny, "tiny")
        front.engine, _ = watched(front.model, at_most(0))
        with pytest.raises(ModelError, match="memory ran out on cpu"):
            front.ask(two_dates.scene, "How much is water?")


class TestInterruptions:
    @pytest.mark.parametrize("where", ["pass", "program"])
    def test_a_key_that_is_pressed_leaves_nothing_behind(self, model: Any, where: str) -> None:
        pressed: list[int] = []

        def press(*args: Any) -> None:
            if not pressed and (where == "program" or len(language.fed) == 3):
                pressed.append(1)
                raise KeyboardInterrupt

        engine, language = watched(model, press if where == "pass" else None)
        hit = partial(chain, model, 1, do=lambda number: press() if number == 2 and where == "program" else None)
        with pytest.raises(KeyboardInterrupt):
            engine.run(hit)
        assert pressed and language.open_slots == []
        assert not engine.step()
        assert same(engine.run(hit), alone(model, partial(chain, model, 1)))

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_others_that_were_under_way_still_come_to_what_they_would(self, model: Any, place: int) -> None:
        """It is pressed within the code of any of three, while one of them is waited for."""
        pressed: list[int] = []

        def press(number: int) -> None:
            if number == 3 and not pressed:
                pressed.append(1)
                raise KeyboardInterrupt

        engine, language = watched(model)
        begins = [partial(chain, model, seed) for seed in range(3)]
        begins[place] = partial(chain, model, place, do=press)
        tickets = [engine.submit(begin) for begin in begins]
        with pytest.raises(KeyboardInterrupt):
            engine.wait_for(tickets[1])
        assert tickets[1].is_done and tickets[1].is_cancelled
        for number in (0, 2):
            expected = alone(model, partial(chain, model, number))
            assert same(engine.wait_for(tickets[number]), expected)
        assert language.open_slots == []

    def test_while_many_run(self, model: Any) -> None:
        closed: list[int] = []

        def press(number: int) -> None:
            if number == 3:
                raise KeyboardInterrupt

        def noticed(seed: int) -> Program[Any]:
            try:
                return (yield from chain(model, seed, do=press if seed == 2 else lambda number: None))
            finally:
                closed.append(seed)

        engine, language = watched(model, max_rows=4)
        with pytest.raises(KeyboardInterrupt):
            list(engine.run_all(partial(noticed, seed) for seed in range(9)))
        assert sorted(closed) == [0, 1, 2, 3] and language.open_slots == []
        assert not engine.step()


class TestPauses:
    """Long work in parts that take ten seconds each, beside texts of which a piece takes one."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [0.0]
        monkeypatch.setattr(engines.time, "monotonic", lambda: now[0])
        return now

    @staticmethod
    def long(clock: list[float], told: list[str], num_parts: int = 3, name: str = "part") -> Program[str]:
        for number in range(num_parts):
            clock[0] += 10
            told.append(f"{name} {number}")
            yield Pause()
        return name

    def test_others_get_as_much_time_as_each_part_took(self, model: Any, clock: list[float]) -> None:
        told: list[str] = []

        def piece(seed: int, number: int) -> None:
            clock[0] += 1
            told.append("piece")

        engine, _ = watched(model)
        work = engine.submit(lambda: self.long(clock, told))
        text = engine.submit(partial(chain, model, 1, num=24, do=partial(piece, 1)))
        assert engine.wait_for(work) == "part"
        assert told == ["part 0", *["piece"] * 10, "part 1", *["piece"] * 10, "part 2", *["piece"] * 6]
        assert same(engine.wait_for(text), alone(model, partial(chain, model, 1, num=24)))

    def test_alone_it_does_not_wait_and_several_take_turns(self, model: Any, clock: list[float]) -> None:
        told: list[str] = []
        engine, _ = watched(model)
        works = [engine.submit(partial(self.long, clock, told, 2, name)) for name in "ab"]
        assert [engine.wait_for(work) for work in works] == ["a", "b"]
        assert told == ["a 0", "b 0", "a 1", "b 1"]

    def test_it_is_cancelled_between_two_parts(self, model: Any, clock: list[float]) -> None:
        told: list[str] = []
        engine, _ = watched(model)
        work = engine.submit(lambda: self.long(clock, told))
        engine.step()
        engine.cancel(work)
        assert work.is_done and told == ["part 0", "part 1"]
        assert not engine.step() and told == ["part 0", "part 1"]


class TestCancelling:
    def test_before_while_and_after(self, model: Any) -> None:
        engine, language = watched(model, max_rows=2)
        begun: list[int] = []
        begins = [partial(chain, model, seed, do=lambda number: begun.append(number)) for seed in range(4)]
        first, second, third, fourth = (engine.submit(begin) for begin in begins)
        engine.step()
        assert len(language.open_slots) == 2
        engine.cancel(first)
        engine.cancel(third)
        assert first.is_done and third.is_done and len(language.open_slots) == 1
        num_begun = begun.count(0)
        assert num_begun == 2
        assert same(engine.wait_for(second), alone(model, begins[1]))
        assert same(engine.wait_for(fourth), alone(model, begins[3]))
        engine.cancel(second)
        second.cancel()
        assert same(second.result(), alone(model, begins[1])) and not second.is_cancelled
        for ticket in (first, third):
            with pytest.raises(ModelError, match="was cancelled"):
                ticket.result()
            with pytest.raises(ModelError, match="was cancelled"):
                engine.wait_for(ticket)
        assert language.open_slots == [] and not engine.step()

    def test_a_flag_ends_it_with_the_next_step(self, model: Any) -> None:
        engine, language = watched(model)
        begins = [partial(chain, model, seed) for seed in range(3)]
        tickets = [engine.submit(begin) for begin in begins]
        with pytest.raises(ModelError, match="still under way"):
            tickets[0].result()
        engine.step()
        tickets[0].cancel()
        assert not tickets[0].is_done and len(language.open_slots) == 3
        engine.step()
        assert tickets[0].is_done and len(language.open_slots) == 2
        for ticket, begin in zip(tickets[1:], begins[1:], strict=True):
            assert same(engine.wait_for(ticket), alone(model, begin))

    def test_a_program_that_is_cancelled_is_closed(self, model: Any) -> None:
        ended: list[str] = []

        def noticed() -> Program[Any]:
            try:
                yield from chain(model, 0)
            except GeneratorExit:
                ended.append("closed")
                raise

        engine = Engine(model)
        ticket = engine.submit(noticed)
        engine.step()
        engine.cancel(ticket)
        assert ended == ["closed"]


class TestRunAll:
    @pytest.mark.parametrize("max_rows", [1, 2, 5])
    def test_no_more_are_taken_ahead_than_run_at_once(self, model: Any, max_rows: int) -> None:
        engine, _ = watched(model, max_rows=max_rows)
        num_taken, num_ended, ahead = 0, 0, []

        def count(number: int, last: int) -> None:
            nonlocal num_ended
            num_ended += number == last

        def source() -> Iterator[Callable[[], Program[Any]]]:
            nonlocal num_taken
            for seed in range(12):
                num_taken += 1
                ahead.append(num_taken - num_ended)
                num = 1 + seed * 5 % 7
                yield partial(chain, model, seed, num, do=partial(count, last=num + 1))

        found = [ticket.result()[0] for ticket in engine.run_all(source())]
        assert found == list(range(12)) and num_ended == 12
        assert max(ahead) == max_rows

    def test_nothing_is_taken_before_it_is_asked_for(self, model: Any) -> None:
        def source() -> Iterator[Any]:
            raise AssertionError
            yield

        Engine(model).run_all(source())
        assert list(Engine(model).run_all([])) == []

    def test_who_stops_listening_ends_what_runs(self, model: Any) -> None:
        engine, language = watched(model, max_rows=3)
        tickets = engine.run_all(partial(chain, model, seed, 2 + 3 * seed) for seed in range(9))
        first = next(tickets)
        assert same(first.result(), alone(model, partial(chain, model, 0, 2)))
        assert len(language.open_slots) == 2
        tickets.close()  # type: ignore[attr-defined]
        assert language.open_slots == [] and not engine.step()

    def test_a_source_that_fails_ends_what_runs(self, model: Any) -> None:
        def source() -> Iterator[Any]:
            yield partial(chain, model, 0, 1)
            yield partial(chain, model, 1, 9)
            yield partial(chain, model, 2, 9)
            raise OSError("no more can be read")

        engine, language = watched(model, max_rows=3)
        tickets = engine.run_all(source())
        assert next(tickets).result()[0] == 0
        with pytest.raises(OSError, match="no more can be read"):
            next(tickets)
        assert language.open_slots == [] and not engine.step()


class TestThreads:
    def test_two_that_run_at_once_both_get_what_is_theirs(self, model: Any) -> None:
        engine, language = watched(model, max_rows=3)
        expected = [alone(model, partial(chain, model, seed, 8)) for seed in range(8)]
        together = threading.Barrier(2)

        def run(seeds: list[int]) -> list[Any]:
            together.wait(timeout=30)
            return [engine.run(partial(chain, model, seed, 8)) for seed in seeds]

        with ThreadPoolExecutor(2) as pool:
            halves = [pool.submit(run, seeds) for seeds in ([0, 2, 4, 6], [1, 3, 5, 7])]
            found = [result for half in halves for result in half.result(timeout=60)]
        assert all(same(result, expected[result[0]]) for result in found)
        assert sorted(result[0] for result in found) == list(range(8)) and language.open_slots == []

    def test_one_drives_what_another_has_handed_in(self, model: Any) -> None:
        engine = Engine(model)
        handed_in: Ticket[Any] = engine.submit(partial(chain, model, 3))
        with ThreadPoolExecutor(1) as pool:
            assert same(
                pool.submit(engine.run, partial(chain, model, 4, 9)).result(), alone(model, partial(chain, model, 4, 9))
            )
        assert handed_in.is_done and same(handed_in.result(), alone(model, partial(chain, model, 3)))


def test_the_library_s_pass_serves_many_too(asked: Asked) -> None:
    engine = Engine(asked.model, language=Watched(LibraryPass(asked.model)), max_rows=3)
    tickets = engine.run_all(asked.write(kind, "[SEG] It", QUESTIONS[1]) for kind in KINDS)
    for kind, ticket in zip(KINDS, tickets, strict=True):
        check_same(ticket.result(), asked.alone(kind, "[SEG] It", QUESTIONS[1]))
