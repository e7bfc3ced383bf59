"""How an item is put to a predictor: as a scene and a question, or, to a baseline that may know more, as it is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from terrascope.bench.items import Item
from terrascope.predictor import Answer, Predictor


@runtime_checkable
class ItemPredictor(Protocol):
    """A baseline that is told which item it is asked: one that draws by the sample's id, or knows the true masks."""

    def ask_item(self, item: Item) -> Answer:
        """Answer an item.

        Raises:
            QuestionError: it cannot be answered.
        """
        ...


def ask_item(predictor: Predictor, item: Item) -> Answer:
    """The answer to an item. A model sees scene, question and options, and nothing else of it."""
    if isinstance(predictor, ItemPredictor):
        return predictor.ask_item(item)
    return predictor.ask(item.scene, item.sample.question, options=item.sample.options)
