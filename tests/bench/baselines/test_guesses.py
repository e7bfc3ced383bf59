"""Chance and habit: what they choose, and that they see nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from terrascope.bench.baselines import Majority, RandomGuess
from terrascope.errors import QuestionError, SampleError
from terrascope.question import LETTERS
from terrascope.sample import Sample
from tests.bench.made_benchmark import make_benchmark, make_scene

ITEMS = make_benchmark(400).items


def choices(predictor: RandomGuess | Majority) -> list[str]:
    return [predictor.ask_item(item).text for item in ITEMS]


class TestRandom:
    def test_letters_are_even_and_the_share_right_is_that_of_chance(self) -> None:
        chosen = choices(RandomGuess(0))
        assert all(70 <= count <= 130 for count in Counter(chosen).values()) and len(set(chosen)) == 4
        right = sum(letter == item.sample.answer for letter, item in zip(chosen, ITEMS, strict=True))
        assert 70 <= right <= 130

    def test_the_seed_and_the_id_decide(self) -> None:
        assert choices(RandomGuess(3)) == choices(RandomGuess(3)) != choices(RandomGuess(4))
        item = ITEMS[0]
        reworded = replace(item, sample=replace(item.sample, question="Quite another question about water?"))
        assert RandomGuess(3).ask_item(item).text == RandomGuess(3).ask_item(reworded).text

    def test_without_a_sample_question_and_options_decide(self) -> None:
        asked = [RandomGuess(1).ask(make_scene(), f"How much? {n}", options=["1%", "2%"]).text for n in range(40)]
        again = [RandomGuess(1).ask(make_scene(), f"How much? {n}", options=["1%", "2%"]).text for n in range(40)]
        assert asked == again and set(asked) == {"A", "B"}

    def test_a_free_question_is_refused(self) -> None:
        with pytest.raises(QuestionError, match="only chooses among options"):
            RandomGuess().ask(make_scene(), "How much of the image is water?")

    def test_it_makes_no_masks(self) -> None:
        assert RandomGuess().ask_item(ITEMS[0]).masks == ()
        with pytest.raises(QuestionError, match="random makes no masks"):
            RandomGuess().segment(make_scene(), "water")


def sample(task: str, truth: str, *options: str) -> Sample:
    letter = LETTERS[options.index(truth)] if options else truth
    return replace(
        ITEMS[0].sample, task=task, truth=truth, options=options, reasoning=f"<answer>{letter}</answer>", level="L1"
    )


def ask(majority: Majority, task: str, *options: str) -> str:
    item = ITEMS[0]
    answer = majority.ask_item(replace(item, sample=replace(item.sample, task=task, options=options)))
    assert answer.option is not None
    return answer.option


class TestMajority:
    def test_of_numbers_the_most_frequent_rank_is_taken_wherever_it_stands(self) -> None:
        learned = [
            sample("area", "900 m2", "5 ha", "900 m2", "2 km2", "1 ha"),
            sample("area", "2 ha", "2 ha", "3 ha", "1 ha", "2 km2"),
            sample("area", "20 ha", "10 ha", "3 km2", "1 km2", "20 ha"),
        ]
        # Ranks 1, 2, 2.
        majority = Majority.of(learned)
        assert ask(majority, "area", "7 ha", "0.1 km2", "6000 m2", "1 ha") == "1 ha"

    def test_yes_and_no_are_counted_by_task(self) -> None:
        learned = [sample("boundary", "No", "Yes", "No"), sample("boundary", "No", "No", "Yes")]
        learned += [sample("existence", "Yes", "Yes", "No")] * 3
        majority = Majority.of(learned)
        assert ask(majority, "boundary", "Yes", "No") == "No"
        assert ask(majority, "existence", "No", "Yes") == "Yes"
        # Without the sample, the pool of all yes-or-no questions.
        assert majority.ask(make_scene(), "Do they touch?", options=["Yes", "No"]).option == "Yes"

    def test_of_classes_the_letter_is_counted(self) -> None:
        learned = [sample("ranking", "crop", "water", "crop"), sample("ranking", "tree", "snow", "tree")]
        assert ask(Majority.of(learned), "ranking", "grass", "water") == "water"

    def test_a_task_that_was_not_learned_is_answered_with_the_first_letter(self) -> None:
        majority = Majority.of([sample("ranking", "crop", "water", "crop")])
        item = ITEMS[0]
        assert majority.ask_item(replace(item, sample=replace(item.sample, task="distance"))).text == "A"

    def test_equally_frequent_answers_do_not_depend_on_the_order_of_the_samples(self) -> None:
        learned = [sample("boundary", "No", "Yes", "No"), sample("boundary", "Yes", "No", "Yes")]
        assert Majority.of(learned).most_frequent == Majority.of(learned[::-1]).most_frequent

    def test_free_questions_teach_nothing(self) -> None:
        with pytest.raises(SampleError, match="no question with options"):
            Majority.of([sample("coverage", "20%")])
