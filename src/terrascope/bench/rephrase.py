"""Stage 2 of the benchmark: its questions in other words, and new wrong options (paper, Appendix D).

By a language model with the paper's prompt, or by templates. Either way a question keeps its truth and the truth's rank
among the options, and a draft that does not ask for the same, or whose options cannot be told apart, is not used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from terrascope import trace
from terrascope.bench.asking import Fault, question_faults
from terrascope.bench.derived import open_folder, question_id, questions_of, write_derived
from terrascope.bench.distractors import (
    NUM_OPTIONS,
    OTHER_KIND,
    Spacing,
    distractor_faults,
    draw_distractors,
    rank_among,
    rank_of,
    read_option,
)
from terrascope.bench.quota import even_places
from terrascope.bench.rewording import reword
from terrascope.llm import Endpoint, NoReply
from terrascope.sample import Sample
from terrascope.terracot.asking import rng_of
from terrascope.terracot.wording import CONCLUSIONS
from terrascope.trace import LETTERS, Trace

NO_WORDS = "no other words for it"
NO_OPTIONS = "no other options for it"
OTHER_TRUTH = "another answer than the truth"
NUM_OFF = "another number of options"
OTHER_RANK = "another rank of the truth"

SYSTEM = "You are an expert in remote sensing who writes questions of a benchmark for satellite image understanding."

PROMPT = """\
Given the following question template and answer:

Question: {original_question}
Answer: {ground_truth_answer}

Task: Rephrase the question to make it more natural and diverse while preserving the original meaning. Generate \
{num_options} plausible but incorrect answer choices (distractors) that are numerically/semantically close to the \
ground truth but clearly distinguishable. Ensure distractors are realistic and challenging.

Output format:

{{
  "question": "rephrased question",
  "options": ["option A", "option B", "option C", "option D"],
  "answer": "correct option letter"
}}

The options are the {num_options} distractors and the answer as it stands above, {num_all} in all, without letters, \
in the same unit and form. Do not change which land cover, image or quantity is asked for.{only}
"""
"""The paper's prompt (Appendix D), completed by what stands after the output format."""

ONLY = " The options of this question are {first} and {second}."
BELOW = " Exactly {num_below} of the {num_options} distractors must be smaller than the answer."

Progress = Callable[[int, int], None]


class Rephrased(BaseModel):
    """A reply to the prompt."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(description="The rephrased question.")
    options: list[str] = Field(description="The distractors and the right answer, without letters.")
    answer: str = Field(description="The letter of the right option, A for the first.")


class Draft(NamedTuple):
    """Other words for a question, and its wrong options."""

    question: str
    distractors: tuple[str, ...]


class Rephraser(Protocol):
    """Gives a question other words and other wrong options; both as the tasks word them, and checked."""

    @property
    def name(self) -> str:
        """What stands as the writer of its samples."""
        ...

    def rephrase(self, sample: Sample, rng: np.random.Generator) -> Draft | str:
        """A draft that passed every check; else, in fixed words, why there is none.

        Raises:
            EndpointError: no language model can be reached any more.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Templates:
    """A `Rephraser` that needs no model: wordings of `bench.rewording`, options as the tasks draw them."""

    spacing: Spacing = field(default_factory=Spacing)
    name: str = "composer"

    def rephrase(self, sample: Sample, rng: np.random.Generator) -> Draft | str:
        text = reword(sample, rng)
        if text is None:
            return NO_WORDS
        distractors = draw_distractors(sample, rng, self.spacing)
        if distractors is None:
            return NO_OPTIONS
        faults = question_faults(sample, text)
        return faults[0].reason if faults else Draft(text, distractors)


@dataclass(frozen=True, kw_only=True)
class LlmRephraser:
    """A `Rephraser` that asks a language model; faults of a draft are named, and it is asked again."""

    endpoint: Endpoint
    spacing: Spacing = field(default_factory=Spacing)

    @property
    def name(self) -> str:
        return self.endpoint.model

    def rephrase(self, sample: Sample, rng: np.random.Generator) -> Draft | str:
        def find_faults(reply: Rephrased) -> list[str]:
            return [fault.sentence for fault in self.read(sample, reply)[1]]

        if NUM_OPTIONS[sample.task] == 2 and draw_distractors(sample, rng) is None:
            return NO_OPTIONS
        try:
            reply = self.endpoint.complete(SYSTEM, word_prompt(sample), schema=Rephrased, check=find_faults)
        except NoReply as error:
            return error.reason
        draft, faults = self.read(sample, reply.parsed)
        return faults[0].reason if faults else draft

    def read(self, sample: Sample, reply: Rephrased) -> tuple[Draft, list[Fault]]:
        """What a model wrote, its options in the words of the tasks, and what is wrong with it."""
        text = " ".join(reply.question.split())
        faults = question_faults(sample, text)
        num = NUM_OPTIONS[sample.task]
        place = LETTERS[:num].find(reply.answer.strip().strip("().").upper() or "-")
        if len(reply.options) != num:
            return Draft(text, ()), [*faults, Fault(NUM_OFF, f"There must be {num} options, the right one among them.")]
        options = [read_option(sample, option) for option in reply.options]
        known = [option for option in options if option is not None]
        if len(known) < num:
            unread = next(text for text, option in zip(reply.options, options, strict=True) if option is None)
            fault = Fault(OTHER_KIND, f"The option {unread!r} is not worded like {sample.truth!r}.")
            return Draft(text, ()), [*faults, fault]
        if place < 0 or known[place] != read_option(sample, sample.truth):
            fault = Fault(OTHER_TRUTH, f"The option under the letter of the answer must be {sample.truth}.")
            return Draft(text, ()), [*faults, fault]
        distractors = tuple(option for index, option in enumerate(known) if index != place)
        faults += distractor_faults(sample, distractors, self.spacing)
        rank = rank_of(sample)
        if rank is not None and rank_among(sample.truth, distractors, sample.unit) != rank:
            faults.append(Fault(OTHER_RANK, f"{rank} of the distractors must be smaller than {sample.truth}."))
        return Draft(text, distractors), faults


@dataclass(frozen=True, kw_only=True)
class RephraseReport:
    """What became of the questions; a question that is shown in several versions counts once.

    Attributes:
        writer: what worded them.
        num_questions, num_samples: all.
        num_rephrased: of the questions.
        kept: those that kept their words and options, by reason.
        letters: how often each letter is right, by task.
    """

    writer: str
    num_questions: int
    num_samples: int
    num_rephrased: int
    kept: Mapping[str, int]
    letters: Mapping[str, Mapping[str, int]]


def rephrase(
    folder: Path,
    out: Path,
    rephraser: Rephraser,
    *,
    seed: int = 0,
    num_threads: int = 4,
    progress: Progress | None = None,
) -> RephraseReport:
    """Write a benchmark whose questions are those of another in other words.

    All versions of a question get the same words and options. The place of the right option is dealt anew, such that
    each is as frequent as the others within a task; its rank among numbers stays, question by question, so that ranks
    are as even as they were. A question for which there is no good draft keeps what it has, and is counted. The same
    seed and drafts give the same bytes.

    Args:
        folder: of the benchmark to be reworded.
        num_threads: questions that are asked about at the same time.
        progress: is called with the questions that are done, and all.

    Raises:
        SampleError: there is no benchmark, it is damaged, or `out` holds another data set.
        EndpointError: no language model can be reached any more.
        OutputError: the folder cannot be written.
    """
    store = open_folder(folder)
    questions = questions_of(tuple(store))
    drafts = _draft_all(questions, rephraser, seed, num_threads, progress)
    places = _deal(questions, drafts, seed)
    samples = [
        sample
        for versions, draft, place in zip(questions, drafts, places, strict=True)
        for sample in _put_in(versions, draft, place, seed, rephraser.name)
    ]
    kept = Counter(draft for draft in drafts if isinstance(draft, str))
    made = {"stage": "rephrase", "writer": rephraser.name, "seed": seed}
    if isinstance(rephraser, Templates | LlmRephraser):
        made["spacing"] = asdict(rephraser.spacing)
    write_derived(store, samples, out, made=made)
    letters: dict[str, Counter[str]] = {}
    for versions, place in zip(questions, places, strict=True):
        letters.setdefault(versions[0].task, Counter())[LETTERS[place]] += 1
    return RephraseReport(
        writer=rephraser.name,
        num_questions=len(questions),
        num_samples=len(samples),
        num_rephrased=len(questions) - kept.total(),
        kept=dict(sorted(kept.items())),
        letters={task: dict(sorted(counts.items())) for task, counts in sorted(letters.items())},
    )


def _draft_all(
    questions: Sequence[Sequence[Sample]],
    rephraser: Rephraser,
    seed: int,
    num_threads: int,
    progress: Progress | None,
) -> list[Draft | str]:
    """A draft for each question, or why there is none."""

    def ask(versions: Sequence[Sample]) -> Draft | str:
        sample = versions[0]
        if sample.task not in NUM_OPTIONS:
            return NO_WORDS
        return rephraser.rephrase(sample, rng_of(seed, "rephrase", question_id(sample)))

    drafts: list[Draft | str] = []
    pool = ThreadPoolExecutor(max_workers=num_threads)
    try:
        for draft in pool.map(ask, questions):
            drafts.append(draft)
            if progress is not None:
                progress(len(drafts), len(questions))
    finally:
        # An error ends the run: what is still waiting is not asked.
        pool.shutdown(cancel_futures=True)
    return drafts


def _put_in(versions: Sequence[Sample], draft: Draft | str, place: int, seed: int, writer: str) -> list[Sample]:
    """The versions of a question with the words and options of a draft, if there is one, and the truth at its place."""
    wrong = [option for option in versions[0].options if option != versions[0].truth]
    if isinstance(draft, Draft):
        wrong = list(draft.distractors)
        versions = [replace(one, question=draft.question, writer=writer) for one in versions]
    # As they were drawn or written, their order may tell which of them lie below the truth.
    order = rng_of(seed, "options", question_id(versions[0])).permutation(len(wrong))
    shuffled = [wrong[int(index)] for index in order]
    options = (*shuffled[:place], versions[0].truth, *shuffled[place:])
    return [with_options(sample, options) if wrong else sample for sample in versions]


def word_prompt(sample: Sample) -> str:
    """The paper's prompt for the question of a sample."""
    num = NUM_OPTIONS[sample.task]
    only = ""
    if num == 2:
        first, second = sorted([sample.truth, *(draw_distractors(sample, np.random.default_rng(0)) or ())])[:2]
        only = ONLY.format(first=first, second=second)
    rank = rank_of(sample)
    if rank is not None:
        only = BELOW.format(num_below=rank, num_options=num - 1)
    return PROMPT.format(
        original_question=sample.question,
        ground_truth_answer=sample.truth,
        num_options=num - 1,
        num_all=num,
        only=only,
    )


def with_options(sample: Sample, options: Sequence[str]) -> Sample:
    """The sample with other options, its truth among them; the letter in its reasoning is that of the truth.

    Raises:
        ValueError: the truth is not among them.
    """
    parsed = trace.parse(sample.reasoning)
    letter = LETTERS[list(options).index(sample.truth)]
    closing = _close(parsed.conclusion, parsed.answer if sample.options else "", letter)
    reasoning = trace.render(Trace(steps=parsed.steps, conclusion=closing, answer=letter))
    return replace(sample, options=tuple(options), reasoning=reasoning)


def _close(conclusion: str, before: str, letter: str) -> str:
    """The conclusion with another letter in its last sentence; with such a sentence where it has none."""
    for form in CONCLUSIONS[0][1]:
        sentence = form.format(letter=before)
        if before and conclusion.endswith(sentence):
            return conclusion.removesuffix(sentence) + form.format(letter=letter)
    return f"{conclusion} So the answer is {letter}.".lstrip()


def _deal(questions: Sequence[Sequence[Sample]], drafts: Sequence[Draft | str], seed: int) -> list[int]:
    """The place of each right option, even for each task and number of options."""
    num_options = [
        1 + len(draft.distractors) if isinstance(draft, Draft) else len(versions[0].options)
        for versions, draft in zip(questions, drafts, strict=True)
    ]
    kinds = [(versions[0].task, num) for versions, num in zip(questions, num_options, strict=True)]
    places = [0] * len(kinds)
    for kind in dict.fromkeys(kinds):
        task, num = kind
        of_kind = [index for index, one in enumerate(kinds) if one == kind]
        truths = [questions[index][0].truth for index in of_kind]
        even = even_places(truths, num, seed=seed, task=f"rephrase/{task}") if num else [0] * len(of_kind)
        for index, place in zip(of_kind, even, strict=True):
            places[index] = place
    return places
