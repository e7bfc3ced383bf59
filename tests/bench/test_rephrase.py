"""Stage 2: other words and options for a whole benchmark, by templates and by a language model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.reviewed import questions, samples, write
from endpoint import FakeServer, Scripted, fails, says, served
from terrascope.bench.asking import OTHER_CLASSES, question_faults
from terrascope.bench.build import build
from terrascope.bench.derived import question_id, questions_of
from terrascope.bench.distractors import ALIKE, NUM_OPTIONS, OTHER_KIND, distractor_faults, rank_of
from terrascope.bench.recipe import BenchRecipe
from terrascope.bench.rephrase import (
    NO_WORDS,
    NUM_OFF,
    OTHER_RANK,
    OTHER_TRUTH,
    Draft,
    LlmRephraser,
    Templates,
    rephrase,
    with_options,
    word_prompt,
)
from terrascope.bench.store import open_bench
from terrascope.errors import EndpointError, SampleError
from terrascope.llm import Endpoint, server
from terrascope.sample import Sample
from terrascope.terracot.store import open_store

LETTERS = "ABCD"


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_acquaintances", {})


def of_task(task: str) -> Sample:
    return next(sample for sample in samples() if sample.task == task)


def without_words(sample: Sample) -> Sample:
    """The sample without what a rephrasing may change."""
    reasoning = re.sub(r"So the answer is [A-E]\.</think><answer>[A-E]", "", sample.reasoning)
    return replace(sample, question="", options=(), writer="", reasoning=reasoning)


def test_a_built_benchmark_in_other_words(tmp_path: Path) -> None:
    sources = [{"name": "synthetic", "root": "12", "options": {"size": 64}}]
    build(BenchRecipe.of({"sources": sources}), tmp_path / "before")
    report = rephrase(tmp_path / "before", tmp_path / "after", Templates(), seed=3)
    before, after = list(open_store(tmp_path / "before")), list(open_store(tmp_path / "after"))
    assert report.num_samples == len(after) == len(before) == 3 * report.num_questions
    assert report.num_rephrased == report.num_questions and report.kept == {} and report.writer == "composer"
    assert [without_words(sample) for sample in after] == [without_words(sample) for sample in before]
    assert [rank_of(sample) for sample in after] == [rank_of(sample) for sample in before]
    assert {rank_of(sample) for sample in after} == {None, 0, 1, 2, 3}
    changed = 0
    for old, new in zip(before, after, strict=True):
        wrong = [option for option in new.options if option != new.truth]
        assert len(new.options) == NUM_OPTIONS[new.task] == len(wrong) + 1
        assert distractor_faults(new, wrong) == [] and question_faults(old, new.question) == []
        assert new.options["ABCD".index(new.answer)] == new.truth
        assert f"So the answer is {new.answer}.</think><answer>{new.answer}</answer>" in new.reasoning
        changed += new.question != old.question
    assert changed > 0.8 * len(after)
    for of_question in questions_of(after):
        assert len({(one.question, one.options, one.reasoning) for one in of_question}) == 1
    letters: dict[str, Counter[str]] = {}
    for of_question in questions_of(after):
        letters.setdefault(of_question[0].task, Counter())[of_question[0].answer] += 1
    assert letters == report.letters
    for task, counts in letters.items():
        spread = [counts[letter] for letter in LETTERS[: NUM_OPTIONS[task]]]
        assert max(spread) - min(spread) <= 1


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = write(tmp_path / "bench")
    for name, seed, num_threads in (("a", 5, 1), ("b", 5, 4), ("c", 6, 4)):
        rephrase(folder, tmp_path / name, Templates(), seed=seed, num_threads=num_threads)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "abc"]
    assert files[0] == files[1] and files[0] != files[2]
    assert open_bench(tmp_path / "a").digest != open_bench(folder).digest


def test_the_new_folder_says_how_it_was_made_and_keeps_what_the_old_one_knew(tmp_path: Path) -> None:
    folder = write(tmp_path / "bench", boundary={"max_objects": 9})
    rephrase(folder, tmp_path / "out", Templates(), seed=5)
    old, new = open_store(folder), open_store(tmp_path / "out")
    assert old.manifest is not None and new.manifest is not None
    assert list(new.chips()) == list(old.chips())
    assert new.manifest["recipe"]["tasks"] == {"boundary": {"max_objects": 9}}
    [made] = new.manifest["recipe"]["made"]
    assert (made["stage"], made["writer"], made["seed"]) == ("rephrase", "composer", 5)
    rephrase(tmp_path / "out", tmp_path / "again", Templates())
    again = open_store(tmp_path / "again").manifest
    assert again is not None and [one["stage"] for one in again["recipe"]["made"]] == ["rephrase", "rephrase"]


def test_questions_without_other_words_keep_theirs_and_are_counted(tmp_path: Path) -> None:
    strange = [replace(one, question="How much is that?") for one in questions()[0]]
    folder = write(tmp_path / "bench", [*strange, *samples()[3:]])
    report = rephrase(folder, tmp_path / "out", Templates())
    assert (report.num_questions, report.num_rephrased, report.kept) == (6, 5, {NO_WORDS: 1})
    kept = list(open_store(tmp_path / "out"))[:3]
    assert {one.question for one in kept} == {"How much is that?"} and {one.writer for one in kept} == {"templates"}
    assert set(kept[0].options) == set(strange[0].options) and kept[0].options["ABCD".index(kept[0].answer)] == "20%"


def test_folders_that_will_not_do(tmp_path: Path) -> None:
    folder = write(tmp_path / "bench")
    with pytest.raises(SampleError, match="a single file; give the folder"):
        rephrase(next(folder.glob("*.parquet")), tmp_path / "out", Templates())
    with pytest.raises(SampleError, match="holds a benchmark of another recipe, which would be lost"):
        rephrase(folder, folder, Templates())
    rephrase(folder, tmp_path / "first", Templates(), seed=1)
    content = next((tmp_path / "first").glob("*.parquet")).read_bytes()
    with pytest.raises(SampleError, match="of another recipe"):
        rephrase(folder, tmp_path / "first", Templates(), seed=2)
    rephrase(folder, tmp_path / "first", Templates(), seed=1)
    assert next((tmp_path / "first").glob("*.parquet")).read_bytes() == content
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.parquet").touch()
    with pytest.raises(SampleError, match="holds another data set"):
        rephrase(folder, tmp_path / "other", Templates())
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["train.parquet"]


@pytest.mark.parametrize(
    ("closing", "after"),
    [
        ("So the answer is B.", "So the answer is A."),
        ("Hence option B fits.", "Hence option A fits."),
        ("Therefore I choose B.", "Therefore I choose A."),
        ("So the B is larger.", "So the B is larger. So the answer is A."),
    ],
)
def test_only_the_letter_of_the_reasoning_changes(closing: str, after: str) -> None:
    start = "<think>The water: [SEG] It covers 20% of the image. "
    options = ("10%", "20%", "40%", "60%")
    sample = replace(of_task("coverage"), options=options, reasoning=f"{start}{closing}</think><answer>B</answer>")
    moved = with_options(sample, ("20%", "5%", "40%", "60%"))
    assert moved.reasoning == f"{start}{after}</think><answer>A</answer>"
    with pytest.raises(ValueError, match="not in"):
        with_options(sample, ("5%", "40%"))


def test_a_free_question_gets_options(tmp_path: Path) -> None:
    free = [
        replace(
            one, options=(), reasoning="<think>The water: [SEG] It covers 20% of the image.</think><answer>20%</answer>"
        )
        for one in questions()[0]
    ]
    rephrase(write(tmp_path / "bench", free), tmp_path / "out", Templates())
    [first, *_] = open_store(tmp_path / "out")
    assert len(first.options) == 4 and first.options["ABCD".index(first.answer)] == "20%"
    assert first.reasoning == (
        f"<think>The water: [SEG] It covers 20% of the image. So the answer is {first.answer}.</think>"
        f"<answer>{first.answer}</answer>"
    )


# ---------------------------------------------------------------------------------------------------------------------
# By a language model.

GOOD = {
    "question": "What fraction of the scene does the water account for?",
    "options": ["A lot: 12 %", "20%", "34.2 percent", "45%"],
    "answer": "B",
}
"""A draft for the question of coverage, whose truth is 20%."""


def coverage() -> Sample:
    """The question of coverage, with one option below its truth."""
    return with_options(of_task("coverage"), ("60%", "10%", "20%", "35%"))


@contextmanager
def asking(*replies: Scripted, **settings: Any) -> Iterator[tuple[LlmRephraser, FakeServer]]:
    with served(replies) as fake:
        at = Endpoint(**{"model": "atlas", "base_url": fake.url, "max_rounds": 2, "max_tries": 1, **settings})
        yield LlmRephraser(endpoint=at), fake


def draft(sample: Sample, *replies: Scripted) -> tuple[Draft | str, FakeServer]:
    with asking(*replies) as (rephraser, fake):
        return rephraser.rephrase(sample, np.random.default_rng(0)), fake


def test_the_prompt_is_that_of_the_paper() -> None:
    sample = replace(coverage(), question="How much of the image is water?")
    text = word_prompt(sample)
    assert text.startswith(
        "Given the following question template and answer:\n\nQuestion: How much of the image is water?\n"
        "Answer: 20%\n\nTask: Rephrase the question to make it more natural and diverse while preserving the original "
        "meaning. Generate 3 plausible but incorrect answer choices (distractors) that are numerically/semantically "
        "close to the ground truth but clearly distinguishable. Ensure distractors are realistic and challenging.\n\n"
        'Output format:\n\n{\n  "question": "rephrased question",\n'
        '  "options": ["option A", "option B", "option C", "option D"],\n  "answer": "correct option letter"\n}\n'
    )
    assert text.endswith("is asked for. Exactly 1 of the 3 distractors must be smaller than the answer.\n")
    assert word_prompt(replace(sample, options=())).endswith("is asked for.\n")
    assert "The options of this question are tree and water." in word_prompt(of_task("ranking"))
    assert "The options of this question are No and Yes." in word_prompt(of_task("boundary"))


def test_a_draft_is_put_in_the_words_of_the_tasks() -> None:
    result, fake = draft(coverage(), says(GOOD))
    assert result == Draft("What fraction of the scene does the water account for?", ("12%", "34%", "45%"))
    assert fake.num_asked == 1 and fake.asked[0]["messages"][1]["content"][0]["text"] == word_prompt(coverage())


@pytest.mark.parametrize(
    ("change", "fault", "reason"),
    [
        ({"question": "What fraction of the scene is forest?"}, "The question must name", OTHER_CLASSES),
        ({"options": ["12%", "20%", "34%"]}, "There must be 4 options", NUM_OFF),
        ({"options": ["12%", "20%", "34%", "5 ha"]}, "The option '5 ha' is not worded like '20%'.", OTHER_KIND),
        ({"options": ["12%", "20%", "34%", "21%"]}, "The options 20% and 21% are too close", ALIKE),
        ({"options": ["12%", "20%", "34%", "34.1%"]}, "The options 34% and 34% are too close", ALIKE),
        ({"options": ["45%", "20%", "34%", "60%"]}, "1 of the distractors must be smaller than 20%.", OTHER_RANK),
        ({"answer": "A"}, "The option under the letter of the answer must be 20%.", OTHER_TRUTH),
        ({"answer": "none"}, "The option under the letter of the answer must be 20%.", OTHER_TRUTH),
        ({"answer": ""}, "The option under the letter of the answer must be 20%.", OTHER_TRUTH),
    ],
)
def test_a_bad_draft_is_asked_again_then_given_up(change: dict[str, Any], fault: str, reason: str) -> None:
    bad = says({**GOOD, **change})
    result, fake = draft(coverage(), bad, says(GOOD))
    assert isinstance(result, Draft) and result.distractors == ("12%", "34%", "45%")
    assert fault in fake.last_words()
    result, fake = draft(coverage(), bad, bad)
    assert (result, fake.num_asked) == (reason, 2)


def test_two_answers_leave_no_choice_of_options() -> None:
    reply = {"question": "Do the lake and the forest touch?", "options": ["No", "Yes"], "answer": "b)"}
    assert draft(of_task("boundary"), says(reply))[0] == Draft(reply["question"], ("No",))
    reply = {"question": "Is there more forest than water?", "options": ["Woodland", "the lake"], "answer": "A"}
    assert draft(of_task("ranking"), says(reply))[0] == Draft(reply["question"], ("water",))


def test_a_benchmark_by_a_model(tmp_path: Path) -> None:
    def reply(request: dict[str, Any]) -> Scripted:
        text = request["messages"][1]["content"][0]["text"]
        return says(GOOD) if "Answer: 20%" in text else says({**GOOD, "question": "Nonsense?"})

    versions = [with_options(one, coverage().options) for one in samples()[:3]]
    folder = write(tmp_path / "bench", [*versions, *samples()[3:]])
    with served(reply) as fake:
        at = Endpoint(model="atlas", base_url=fake.url, max_rounds=1, cache=tmp_path / "replies")
        first = rephrase(folder, tmp_path / "a", LlmRephraser(endpoint=at), seed=1)
        num_asked = fake.num_asked
        second = rephrase(folder, tmp_path / "b", LlmRephraser(endpoint=at), seed=1)
    assert (num_asked, fake.num_asked, first) == (6, 6, second)
    assert (first.num_questions, first.num_rephrased, sum(first.kept.values())) == (6, 1, 5)
    assert (tmp_path / "a" / "manifest.json").read_bytes() == (tmp_path / "b" / "manifest.json").read_bytes()
    after = list(open_store(tmp_path / "a"))
    assert [one.writer for one in after] == ["atlas"] * 3 + ["templates"] * 15
    assert {one.question for one in after[:3]} == {GOOD["question"]}
    assert {frozenset(one.options) for one in after[:3]} == {frozenset(("12%", "20%", "34%", "45%"))}
    assert [one.question for one in after[3:]] == [one.question for one in samples()[3:]]


def test_a_refusal_is_counted_and_a_wrong_key_ends_the_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "bench", samples()[:3])
    with asking(Scripted(text="", refusal="I will not")) as (rephraser, _):
        assert rephrase(folder, tmp_path / "a", rephraser).kept == {"refused": 1}
    with asking(fails(401)) as (rephraser, _), pytest.raises(EndpointError, match="does not accept the key"):
        rephrase(folder, tmp_path / "b", rephraser)
    assert not (tmp_path / "b").exists()


def test_ids_of_questions() -> None:
    sample = coverage()
    assert question_id(sample) == "painted/land/coverage/1"
    assert question_id(replace(sample, id="elsewhere/7")) == "elsewhere/7"
    assert [len(of_question) for of_question in questions_of(samples())] == [3] * 6
