"""The questions of an ablation lie on other places than its training data, and a model is judged by its own words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from terrascope.bench.items import shown_of
from terrascope.bench.run import to_reply
from terrascope.bench.score import score
from terrascope.bench.store import open_bench
from terrascope.errors import OutputError, SampleError
from terrascope.model import TerraScope
from terrascope.question import LETTERS
from terrascope.terracot.store import open_store
from terrascope.training.ablations.judge import (
    COSTS,
    OwnAnswers,
    Questions,
    ask_all,
    build_questions,
    choose_questions,
    count_positions,
    judge_recipe,
    note_asking,
    read_answers,
    read_costs,
    sources_of,
)
from tests.bench.made_benchmark import MadeBenchmark, answer, make_benchmark
from tests.model.conftest import make_tiny


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("judge") / "questions"
    store = open_store(data)
    build_questions(judge_recipe(sources_of(store, {}), num_questions=4, split="val"), store, place)
    return place


def test_the_questions_are_about_places_that_training_has_not_seen(folder: Path, data: Path) -> None:
    asked = {sample.place for sample in open_bench(folder).samples}
    assert asked
    assert not asked & {sample.place for sample in open_store(data)}
    assert {sample.split for sample in open_bench(folder).samples} == {"val"}


def test_no_task_is_asked_more_often_than_wanted(folder: Path) -> None:
    questions = choose_questions(open_bench(folder), "all")
    tasks = [sample.task for sample in questions.samples]
    assert {"coverage", "area", "ranking"} <= set(tasks)
    assert max(tasks.count(task) for task in tasks) == 4


def test_each_question_is_asked_once_with_all_that_its_scene_shows(folder: Path) -> None:
    bench = open_bench(folder)
    everything, pairs = choose_questions(bench, "all"), choose_questions(bench, "pairs")
    names = [sample.id.rpartition("/")[0] for sample in everything.samples]
    assert len(set(names)) == len(names)
    assert {shown_of(sample) for sample in pairs.samples} == {"both"}
    # Every fifth drawn scene has no SAR image: it is asked about, but not as a pair.
    alone = [sample for sample in everything.samples if int(sample.key) % 5 == 0]
    assert {shown_of(sample) for sample in alone} <= {"optical"}
    assert len(pairs.samples) == len(everything.samples) - len(alone)
    assert everything.digest != pairs.digest or not alone


def test_shown_the_optical_image_alone_the_question_stays_the_same(folder: Path) -> None:
    pairs = choose_questions(open_bench(folder, {}), "pairs")
    both, alone = pairs.item(0), replace(pairs, optical_only=True).item(0)
    assert alone.sample == both.sample
    assert [pair.sar is None for pair in both.scene.pairs] == [False] * len(both.scene.pairs)
    assert [pair.sar for pair in alone.scene.pairs] == [None] * len(both.scene.pairs)


def test_pairs_are_missed_where_there_are_none() -> None:
    with pytest.raises(SampleError, match="this table needs training data with such pairs"):
        choose_questions(make_benchmark(2), "pairs")


def test_other_questions_are_not_written_over(folder: Path, data: Path) -> None:
    store = open_store(data)
    build_questions(judge_recipe(sources_of(store, {}), num_questions=4, split="val"), store, folder)
    with pytest.raises(OutputError, match="holds other questions than those asked for now"):
        build_questions(judge_recipe(sources_of(store, {}), num_questions=5, split="val"), store, folder)


def test_questions_about_places_of_the_training_data_are_refused(data: Path, tmp_path: Path) -> None:
    store = open_store(data)
    with pytest.raises(SampleError, match="which questions of the split train are about"):
        build_questions(
            judge_recipe(sources_of(store, {}), num_questions=2, split="train"), store, tmp_path / "questions"
        )


def test_the_folder_of_a_source_must_be_given(data: Path) -> None:
    store = open_store(data)
    assert store.manifest is not None
    source = {"name": "floods", "kind": "ombria", "root": "ombria", "options": {}}
    store.manifest = {"recipe": {"sources": [source]}}
    with pytest.raises(SampleError, match="the folder of floods was not given; name it with --read floods=DIR"):
        sources_of(store, {})


# ---------------------------------------------------------------------------------------------------------------------
# Whose answer counts.


class Scripted:
    """Says what it is told to, free or with options, in place of a model."""

    def __init__(self, free: str, letter: str) -> None:
        self.free, self.letter = free, letter
        self.asked: list[tuple[str, ...]] = []

    def ask(self, scene, question, *, options=(), settings=None):  # type: ignore[no-untyped-def]
        assert settings.choice_rule == "letter"
        self.asked.append(tuple(options))
        said = self.letter if options else self.free
        water = np.zeros(scene.shape, bool)
        water[:, :4] = True
        text = f"<think>The water: [SEG] It covers 20% of the image.</think><answer>{said}</answer>"
        return answer(scene, question, options, text, water)


def test_the_letter_that_the_model_writes_counts_and_not_its_mask(tmp_path: Path) -> None:
    """Its mask measures 20 %, the right option; it writes the letter of another one."""
    item = make_benchmark(1).item(0)
    wrong = next(letter for letter in "ABCD" if letter != item.sample.answer)
    model = Scripted("20%", wrong)
    said = OwnAnswers(model, "letter", tmp_path / COSTS).ask(  # type: ignore[arg-type]
        item.scene, item.sample.question, options=item.sample.options
    )
    (asked,) = score([item.sample], [to_reply(item.sample.id, said, 0.0)]).questions
    assert (asked.readings["paper"].choice, asked.readings["paper"].credit) == (wrong, 0.0)
    assert model.asked == [item.sample.options]


def test_the_option_nearest_to_its_words_counts_where_that_is_wanted(tmp_path: Path) -> None:
    """Its mask measures 20 %, and it says 41 %: 40 % is nearest to its words."""
    item = make_benchmark(1).item(0)
    model = Scripted("41%", "A")
    said = OwnAnswers(model, "nearest", tmp_path / COSTS).ask(  # type: ignore[arg-type]
        item.scene, item.sample.question, options=item.sample.options
    )
    assert said.option == "40%"
    (asked,) = score([item.sample], [to_reply(item.sample.id, said, 0.0)]).questions
    assert asked.readings["paper"].choice == LETTERS[item.sample.options.index("40%")]
    assert model.asked == [()]


def test_words_that_are_near_no_option_are_kept_as_they_are(tmp_path: Path) -> None:
    item = make_benchmark(1).item(0)
    said = OwnAnswers(Scripted("hard to say", "A"), "nearest", tmp_path / COSTS).ask(  # type: ignore[arg-type]
        item.scene, item.sample.question, options=item.sample.options
    )
    assert (said.text, said.option) == ("hard to say", None)


# ---------------------------------------------------------------------------------------------------------------------
# A real model.


def whole(bench: MadeBenchmark) -> Questions:
    return choose_questions(bench, "all")


def test_positions_are_those_of_the_sequence_that_went_through_the_model() -> None:
    """`ground` replays a reasoning and keeps what went through: its prompt, its tokens, and what was fed back."""
    model = TerraScope(*make_tiny(first_token_if_empty=True), "tiny")
    item = make_benchmark(1).item(0)
    text = "<think>The water: [SEG] It covers 20% of the image.</think><answer>A</answer>"
    replay = model.ground(item.scene, item.sample.question, text, options=item.sample.options)
    prompt = model.processor.prepare_prompt(
        model.processor.describe(item.scene), item.sample.question, item.sample.options
    )
    fed_back = sum(len(indices) for indices in replay.injected)
    assert fed_back > 0
    found = count_positions(model, replay.answer, item.sample.options)
    assert found == {"positions": len(prompt.input_ids) + len(replay.token_ids) + 1 + fed_back, "injected": fed_back}


def test_a_run_is_answers_and_what_they_cost(tmp_path: Path) -> None:
    bench, model = make_benchmark(3), TerraScope(*make_tiny(), "tiny")
    asked = whole(bench)
    noted = note_asking(asked, choice="letter", settings={}, budget=6)
    assert read_answers(asked, tmp_path / "run", noted) is None
    ask_all(asked, model, tmp_path / "run", choice="letter", settings={}, budget=6)
    replies = read_answers(asked, tmp_path / "run", noted)
    assert replies is not None
    assert [reply.id for reply in replies] == [sample.id for sample in bench.samples]
    costs = read_costs(tmp_path / "run")
    assert costs.shape == (3, 2)
    assert (costs[:, 0] > costs[:, 1]).all()


def test_answers_that_are_not_all_there_are_none_yet(tmp_path: Path) -> None:
    bench, model = make_benchmark(3), TerraScope(*make_tiny(), "tiny")
    ask_all(whole(bench), model, tmp_path / "run", choice="letter", settings={}, budget=6)
    replies = tmp_path / "run" / "replies.jsonl"
    lines = replies.read_text().splitlines(keepends=True)
    replies.write_text("".join(lines[:2]))
    noted = note_asking(whole(bench), choice="letter", settings={}, budget=6)
    assert read_answers(whole(bench), tmp_path / "run", noted) is None
    ask_all(whole(bench), model, tmp_path / "run", choice="letter", settings={}, budget=6)
    again = [json.loads(line) for line in replies.read_text().splitlines()]
    assert [line["text"] for line in again] == [json.loads(line)["text"] for line in lines]
    # The question that was asked twice counts once.
    assert read_costs(tmp_path / "run").shape == (3, 2)


def test_a_torn_line_of_costs_takes_no_other_with_it(tmp_path: Path) -> None:
    lines = ['\n{"id": "a", "positions": 7, "injected": 2}', '\n{"id": "b", "posit']
    (tmp_path / COSTS).write_text("".join(lines) + '\n{"id": "c", "positions": 9, "injected": 0}')
    assert read_costs(tmp_path).tolist() == [[7, 2], [9, 0]]


def test_a_run_that_never_was_has_no_costs(tmp_path: Path) -> None:
    assert read_costs(tmp_path).shape == (0, 2)
