"""What the form of masks is worth: a predictor whose masks are replaced by their boxes, or by random ones.

A model that takes masks into its reasoning (`TerraScope.ask(..., masks=...)`) is asked twice: once for its own masks,
and again with the changed ones in their place, so that what is interleaved into the reasoning changes, as in Table 2 of
the paper (Box CoT, Random-Mask CoT). Where the second reasoning points at more than the first, those masks are its own.
Any other predictor that points at masks is asked once, and the option is chosen by what the changed masks measure.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from terrascope.answer import Answer
from terrascope.bench.baselines.blank import Blanked
from terrascope.bench.baselines.draws import rng_about
from terrascope.bench.baselines.measuring import Found, answer_from_masks
from terrascope.bench.item_predictor import Outcome, ask_item, ask_items, ask_many, one_by_one
from terrascope.bench.items import Item
from terrascope.errors import QuestionError, TerraScopeError
from terrascope.predictor import Ask, Predictor
from terrascope.scene import Scene
from terrascope.tasks.measured import class_of

Change = Callable[[NDArray[np.bool_], np.random.Generator], NDArray[np.bool_]]
"""What is made of a mask bool `[H, W]`: another one on the same grid."""


def box_of(mask: NDArray[np.bool_], _: np.random.Generator) -> NDArray[np.bool_]:
    """The smallest upright rectangle around a mask; an empty mask stays empty."""
    box = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows):
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def shifted(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A mask of the same size and form at a random place: what leaves the image on one side comes in on the other.

    What is measured of size alone, a share or an area, it leaves as it is; `random_box` changes that as well.
    """
    down, right = (int(rng.integers(side)) for side in mask.shape)
    return np.roll(mask, (down, right), (0, 1))


def random_box(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A rectangle of random place and size, which knows nothing of the mask."""
    box = np.zeros_like(mask)
    (top, bottom), (left, right) = (np.sort(rng.integers(0, side, 2)) for side in mask.shape)
    box[top : bottom + 1, left : right + 1] = True
    return box


_AT_ONCE = 64
"""Items that are asked for their masks before the first of them is asked again."""


class ChangedMasks:
    """A predictor with changed masks.

    Args:
        inner: whose masks they are.
        change: what is made of each.
        name: of the whole, such as `box:nano`.
        seed: of what is drawn; each sample draws anew.
    """

    def __init__(self, inner: Predictor, change: Change, name: str, seed: int = 0) -> None:
        self.inner, self.change, self.name, self.seed = inner, change, name, seed

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        """As `Predictor.ask`.

        Raises:
            QuestionError: the predictor points at nothing.
        """
        return self._again(self.inner.ask(scene, question, options=options), "\n".join((question, *options)))

    def ask_item(self, item: Item) -> Answer:
        """As `ItemPredictor.ask_item`.

        Raises:
            QuestionError: the predictor points at nothing.
        """
        return self._again(ask_item(self.inner, item), item.sample.id)

    def ask_items(self, items: Iterable[Item | TerraScopeError]) -> Iterator[Outcome]:
        """As `ItemsPredictor.ask_items`: some are asked for their masks, then all of these with the changed ones."""
        source = iter(items)
        while some := list(islice(source, _AT_ONCE)):
            first = list(ask_items(self.inner, some))
            changed = [
                self._changed(answer, one.sample.id) if isinstance(answer, Answer) and isinstance(one, Item) else ()
                for one, answer in zip(some, first, strict=True)
            ]
            if takes_masks(self.inner):
                asks = [_with(one, masks) for one, masks in zip(first, changed, strict=True) if masks]  # type: ignore[arg-type]
                again = ask_many(self.inner, asks)
                for answer, masks in zip(first, changed, strict=True):
                    # Without a mask the second reasoning would be the first.
                    yield next(again) if masks else answer
            else:
                for answer, masks in zip(first, changed, strict=True):
                    yield from one_by_one(partial(self._measure, masks=masks), [answer])

    def segment(self, scene: Scene, class_name: str) -> Answer:
        """As `Predictor.segment`; the masks are the predictor's own."""
        return self.inner.segment(scene, class_name)

    def _again(self, answer: Answer, about: str) -> Answer:
        masks = self._changed(answer, about)
        if not takes_masks(self.inner):
            return self._measure(answer, masks)
        if not masks:
            return answer
        (again,) = ask_many(self.inner, [_with(answer, masks)])
        if isinstance(again, Exception):
            raise again
        return again

    def _changed(self, answer: Answer, about: str) -> tuple[NDArray[np.bool_], ...]:
        rng = rng_about(self.seed, about)
        return tuple(self.change(mask, rng) for mask in answer.masks)

    def _measure(self, answer: Answer, masks: tuple[NDArray[np.bool_], ...]) -> Answer:
        if not masks:
            raise QuestionError(f"{answer.model} points at nothing here, so there are no masks to change")
        found = [
            Found(name=class_of(step.text) or step.text, image=step.image, mask=mask, confidence=step.confidence)
            for step, mask in zip(answer.steps, masks, strict=True)
        ]
        return answer_from_masks(answer.scene, answer.question, answer.options, found, self.name)


def _with(answer: Answer, masks: tuple[NDArray[np.bool_], ...]) -> Ask:
    return Ask(scene=answer.scene, question=answer.question, options=answer.options, masks=masks)


def takes_masks(predictor: Predictor) -> bool:
    """Whether a predictor can be asked with masks to reason with."""
    if isinstance(predictor, Blanked):
        return takes_masks(predictor.inner)
    return "masks" in inspect.signature(predictor.ask).parameters
