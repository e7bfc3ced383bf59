"""The upper bound: the true masks, measured. Right wherever masks decide, or the question or the geometry is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from terrascope.answer import Answer
from terrascope.bench.baselines.measuring import Found, answer_from_masks
from terrascope.bench.items import Item
from terrascope.errors import QuestionError
from terrascope.question import check_question
from terrascope.scene import Scene


class OracleMasks:
    """Answers an item from its true masks; it knows neither the truth nor the right option."""

    name = "oracle"

    def ask_item(self, item: Item) -> Answer:
        """As `ItemPredictor.ask_item`.

        Raises:
            QuestionError: the benchmark has no masks.
        """
        sample = item.sample
        question, options = check_question(item.scene, sample.question, sample.options)
        if not sample.masks:
            raise QuestionError(f"{sample.id}: no true masks, and the baseline oracle answers from nothing else")
        found = [
            Found(name=mask.class_name, image=mask.image, mask=sample.mask(number))
            for number, mask in enumerate(sample.masks)
        ]
        return answer_from_masks(item.scene, question, options, found, self.name)

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        raise QuestionError("the baseline oracle only answers items of a benchmark, whose masks it is given")

    def segment(self, scene: Scene, class_name: str) -> Answer:
        raise QuestionError("the baseline oracle only answers items of a benchmark, whose masks it is given")
