"""What the form of masks is worth: a predictor whose masks are replaced by their boxes, or by random ones.

A model that takes masks into its reasoning (`TerraScope.ask(..., masks=...)`) is asked twice: once for its own masks,
and again with the changed ones in their place, so that what is interleaved into the reasoning changes, as in Table 2 of
the paper (Box CoT, Random-Mask CoT). Where the second reasoning points at more than the first, those masks are its own.
Any other predictor that points at masks is asked once, and the option is chosen by what the changed masks measure.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.bench.baselines.blank import Blanked
from terrascope.bench.baselines.draws import rng_about
from terrascope.bench.baselines.measuring import Found, answer_from_masks
from terrascope.bench.item_predictor import ask_item
from terrascope.bench.items import Item
from terrascope.errors import QuestionError
from terrascope.predictor import Answer, Predictor
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

    def segment(self, scene: Scene, class_name: str) -> Answer:
        """As `Predictor.segment`; the masks are the predictor's own."""
        return self.inner.segment(scene, class_name)

    def _again(self, answer: Answer, about: str) -> Answer:
        rng = rng_about(self.seed, about)
        masks = [self.change(mask, rng) for mask in answer.masks]
        if takes_masks(self.inner):
            # Without a mask the second reasoning would be the first.
            return self._reason_again(answer, masks) if masks else answer
        if not masks:
            raise QuestionError(f"{answer.model} points at nothing here, so there are no masks to change")
        found = [
            Found(name=class_of(step.text) or step.text, image=step.image, mask=mask, confidence=step.confidence)
            for step, mask in zip(answer.steps, masks, strict=True)
        ]
        return answer_from_masks(answer.scene, answer.question, answer.options, found, self.name)

    def _reason_again(self, answer: Answer, masks: Sequence[NDArray[np.bool_]]) -> Answer:
        ask: Any = self.inner.ask
        again: Answer = ask(answer.scene, answer.question, options=answer.options, masks=masks)
        return again


def takes_masks(predictor: Predictor) -> bool:
    """Whether a predictor can be asked with masks to reason with."""
    if isinstance(predictor, Blanked):
        return takes_masks(predictor.inner)
    return "masks" in inspect.signature(predictor.ask).parameters
