"""How an item is put to a predictor: as a scene and a question, or, to a baseline that may know more, as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

from terrascope.answer import Answer
from terrascope.bench.items import Item
from terrascope.errors import TerraScopeError
from terrascope.predictor import Ask, ManyPredictor, Predictor

T = TypeVar("T")


Outcome = Answer | TerraScopeError | MemoryError
"""What came of a question: its answer, or why there is none."""


@runtime_checkable
class ItemPredictor(Protocol):
    """A baseline that is told which item it is asked: one that draws by the sample's id, or knows the true masks."""

    def ask_item(self, item: Item) -> Answer:
        """Answer an item.

        Raises:
            QuestionError: it cannot be answered.
        """
        ...


@runtime_checkable
class ItemsPredictor(Protocol):
    """A predictor that is built on another one, and hands on to it many items at once."""

    def ask_items(self, items: Iterable[Item | TerraScopeError]) -> Iterator[Outcome]:
        """As the function `ask_items`."""
        ...


def ask_item(predictor: Predictor, item: Item) -> Answer:
    """The answer to an item. A model sees scene, question and options, and nothing else of it."""
    if isinstance(predictor, ItemPredictor):
        return predictor.ask_item(item)
    return predictor.ask(item.scene, item.sample.question, options=item.sample.options)


def ask_items(predictor: Predictor, items: Iterable[Item | TerraScopeError]) -> Iterator[Outcome]:
    """What comes of many items, in order; several are answered at once where the predictor can do that.

    Args:
        items: an error in the place of one, such as of reading its scene, is handed on in its place.
    """
    if isinstance(predictor, ItemsPredictor):
        yield from predictor.ask_items(items)
    elif isinstance(predictor, ManyPredictor) and not isinstance(predictor, ItemPredictor):
        yield from predictor.ask_many(item if isinstance(item, TerraScopeError) else ask_of(item) for item in items)
    else:
        yield from one_by_one(lambda item: ask_item(predictor, item), items)


def ask_many(predictor: Predictor, asks: Iterable[Ask | TerraScopeError]) -> Iterator[Outcome]:
    """What comes of many questions; one after the other where the predictor cannot answer several at once.

    Their masks are for predictors that take them.
    """
    if isinstance(predictor, ManyPredictor):
        yield from predictor.ask_many(asks)
        return

    def answer(ask: Ask) -> Answer:
        how: dict[str, Any] = {} if ask.masks is None else {"masks": ask.masks}
        return predictor.ask(ask.scene, ask.question, options=ask.options, **how)

    yield from one_by_one(answer, asks)


def ask_of(item: Item) -> Ask:
    """What is put to a model of an item."""
    return Ask(scene=item.scene, question=item.sample.question, options=item.sample.options)


def one_by_one(answer: Callable[[T], Answer], asked: Iterable[T | TerraScopeError]) -> Iterator[Outcome]:
    """What comes of each when it is answered before the next one is taken."""
    for one in asked:
        try:
            yield one if isinstance(one, TerraScopeError) else answer(one)
        except (TerraScopeError, MemoryError) as error:
            yield error
