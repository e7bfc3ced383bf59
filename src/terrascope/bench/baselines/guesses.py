"""What can be scored without seeing anything: a letter at random, and the most frequent answer of a training set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from terrascope.answer import Answer
from terrascope.bench.baselines.draws import rng_about
from terrascope.bench.baselines.measuring import asked_for
from terrascope.bench.items import Item
from terrascope.choice import quantity_in
from terrascope.errors import QuestionError, SampleError
from terrascope.question import LETTERS, check_question
from terrascope.sample import Sample
from terrascope.scene import Scene


class _Guess:
    """Chooses an option and makes no mask."""

    name: str

    def segment(self, scene: Scene, class_name: str) -> Answer:
        raise QuestionError(f"the baseline {self.name} makes no masks; ask forest or a model")

    def _choose(self, scene: Scene, question: str, options: Sequence[str], place: int) -> Answer:
        return Answer.from_reasoning(
            scene=scene,
            question=question,
            options=options,
            reasoning=f"<answer>{LETTERS[place]}</answer>",
            groundings=(),
            model=self.name,
        )

    def _check(self, scene: Scene, question: str, options: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        question, texts = check_question(scene, question, options)
        if not texts:
            raise QuestionError(f"the baseline {self.name} only chooses among options, and this question has none")
        return question, texts


class RandomGuess(_Guess):
    """Each option is as likely as the others; drawn by the seed and the sample's id, so the same in every run."""

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        """As `Predictor.ask`; without a sample, drawn by question and options."""
        return self._draw(scene, question, options, "\n".join((question, *options)))

    def ask_item(self, item: Item) -> Answer:
        """As `ItemPredictor.ask_item`."""
        return self._draw(item.scene, item.sample.question, item.sample.options, item.sample.id)

    def _draw(self, scene: Scene, question: str, options: Sequence[str], about: str) -> Answer:
        question, texts = self._check(scene, question, options)
        return self._choose(scene, question, texts, int(rng_about(self.seed, about).integers(len(texts))))


class Majority(_Guess):
    """What is right most often in a training set: for each task, a rank among numbers, yes or no, or a letter.

    A task of which the training set has no question with as many options is answered "A". Without a sample, what is
    asked for (a share, an area, ...) stands for the task.
    """

    name = "majority"

    def __init__(self, most_frequent: Mapping[tuple[str, int], str]) -> None:
        self.most_frequent = most_frequent

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Majority:
        """Count the right answers of samples with options.

        Raises:
            SampleError: none of them has options.
        """
        counted: dict[tuple[str, int], Counter[str]] = {}
        for sample in samples:
            if sample.truth not in sample.options:
                continue
            kind = _kinds(sample.question, sample.options)[sample.options.index(sample.truth)]
            for about in (sample.task, asked_for(sample.question, sample.options)):
                counted.setdefault((str(about), len(sample.options)), Counter())[kind] += 1
        if not counted:
            raise SampleError("the training set of the baseline majority has no question with options; give another")
        # Of equally frequent ones the first by name, so that the order of the samples does not matter.
        return cls({about: min(kinds, key=lambda kind: (-kinds[kind], kind)) for about, kinds in counted.items()})

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        """As `Predictor.ask`."""
        return self._look_up(scene, question, options, str(asked_for(question, options)))

    def ask_item(self, item: Item) -> Answer:
        """As `ItemPredictor.ask_item`."""
        return self._look_up(item.scene, item.sample.question, item.sample.options, item.sample.task)

    def _look_up(self, scene: Scene, question: str, options: Sequence[str], about: str) -> Answer:
        question, texts = self._check(scene, question, options)
        kinds = _kinds(question, texts)
        kind = self.most_frequent.get((about, len(texts)), kinds[0])
        return self._choose(scene, question, texts, kinds.index(kind) if kind in kinds else 0)


def _kinds(question: str, options: Sequence[str]) -> list[str]:
    """What is counted of each option: its rank by its number, its yes or no, else its letter."""
    quantity = asked_for(question, options)
    if quantity == "yes or no":
        return [text.strip().lower().split(",")[0].rstrip(".") for text in options]
    numbers = [quantity_in(text.lower()) for text in options]
    if quantity in ("share", "area", "length", "count") and all(number is not None for number in numbers):
        values = [number[1] for number in numbers if number is not None]
        return [f"rank {sorted(values).index(value) + 1}" for value in values]
    return [f"letter {letter}" for letter in LETTERS[: len(options)]]
