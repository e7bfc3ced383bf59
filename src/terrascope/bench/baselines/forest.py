"""A random forest on the colours around a pixel: what can be told without language and without form.

It is fitted to labelled chips, predicts a label map, and answers what the masks of the classes that the question names
measure. It sees the picture that a model sees (three channels an image), one forest for each set of sensors.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.answer import Answer
from terrascope.bench.baselines.measuring import Found, answer_from_masks, asked_for
from terrascope.errors import ModelError, QuestionError
from terrascope.landcover import OTHER, UNLABELLED, Nomenclature
from terrascope.question import check_question
from terrascope.rasters.sensors import render
from terrascope.scene import LabelMap, Observation, Scene
from terrascope.sources.chips import Chip, ChipError, Source
from terrascope.tasks.wording import ORDINALS
from terrascope.terracot.naming import named_classes

NUM_TREES = 100
PIXELS_PER_IMAGE = 400
_WINDOW = 5
_MAPS_KEPT = 64
"""Label maps that are kept: questions about one scene mostly follow each other."""

_OTHER_NAME = ""
_DESTROYED, _BUILDING = "destroyed building", "building"

Sensors = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pixels:
    """Labelled pixels: features float32 `[N, F]`, and the names of their classes."""

    features: NDArray[np.float32]
    names: NDArray[np.str_]


class Forest:
    """A forest for each set of sensors that the chips have, fitted when the first question about them comes.

    Args:
        chips: labelled chips to learn from; all dates of each are learned from. They are gone through once.
        seed: of the pixels that are drawn, and of the forests.
        num_trees: of each forest.

    Raises:
        ModelError: no chip has a labelled pixel, or scikit-learn is missing.
    """

    name = "forest"

    def __init__(self, chips: Iterable[Chip], *, seed: int = 0, num_trees: int = NUM_TREES) -> None:
        self.seed, self.num_trees = seed, num_trees
        self._pixels: dict[Sensors, list[_Pixels]] = {}
        self._forests: dict[Sensors, Any] = {}
        self._maps: OrderedDict[bytes, NDArray[np.str_]] = OrderedDict()
        self.nomenclatures: tuple[Nomenclature, ...] = ()
        _forest_class()
        rng = np.random.default_rng(seed)
        for chip in chips:
            self._learn(chip, rng)
        if not self._pixels:
            raise ModelError("the baseline forest has no labelled pixel to learn from; give training chips with labels")

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        """As `Predictor.ask`.

        Raises:
            QuestionError: the question names no class that the forest knows, or it has learned from no such image.
        """
        question, texts = check_question(scene, question, options)
        named = self._classes_in(question, texts)
        if not named:
            raise QuestionError("the question names no class that the baseline forest has learned")
        # Whether a building is destroyed is told in words that name no class: "How many buildings were destroyed?"
        if _BUILDING in named and "destroyed" in question.lower() and len(scene.pairs) > 1:
            wanted = [(_BUILDING, 1), (_DESTROYED, len(scene.pairs))]
        else:
            image = _image_in(question, len(scene.pairs))
            wanted = [(name, image) for name in named]
        found = [Found(name=name, image=image, mask=self.mask(scene, name, image)) for name, image in wanted]
        return answer_from_masks(scene, question, texts, found, self.name)

    def segment(self, scene: Scene, class_name: str) -> Answer:
        """As `Predictor.segment`."""
        named = self._classes_in(class_name)
        if not named:
            raise QuestionError(f"unknown class {class_name!r}: the baseline forest has not learned it")
        found = [
            Found(name=named[0], image=image, mask=self.mask(scene, named[0], image))
            for image in range(1, len(scene.pairs) + 1)
        ]
        return answer_from_masks(scene, f"Segment the {named[0]}.", (), found, self.name)

    def mask(self, scene: Scene, class_name: str, image: int = 1) -> NDArray[np.bool_]:
        """Where a class is likeliest on an image (from 1), bool `[H, W]`.

        Raises:
            QuestionError: the forest has learned from no image of these sensors.
        """
        pair = scene.pairs[image - 1]
        sensors = tuple(observation.sensor for observation in pair.observations)
        features = _describe(pair.observations)
        digest = hashlib.blake2b(repr(sensors).encode() + np.ascontiguousarray(features).tobytes()).digest()
        names = self._maps.get(digest)
        if names is None:
            flat = self._forest(sensors).predict(features.reshape(-1, features.shape[-1]))
            names = self._maps[digest] = np.asarray(flat, np.str_).reshape(scene.shape)
            if len(self._maps) > _MAPS_KEPT:
                self._maps.popitem(last=False)
        found: NDArray[np.bool_] = (names == class_name) & pair.valid
        return found

    def _learn(self, chip: Chip, rng: np.random.Generator) -> None:
        for pair, label_map in zip(chip.scene.pairs, chip.labels, strict=False):
            valid = np.logical_and.reduce([observation.valid for observation in pair.observations])
            known = np.flatnonzero(valid & (label_map.ids != UNLABELLED))
            if not len(known):
                continue
            drawn = np.sort(rng.choice(known, min(PIXELS_PER_IMAGE, len(known)), replace=False))
            names = _names_of(label_map, drawn)
            if label_map.nomenclature not in self.nomenclatures:
                self.nomenclatures += (label_map.nomenclature,)
            alone = [(observation,) for observation in pair.observations]
            for shown in alone if len(alone) == 1 else [*alone, pair.observations]:
                features = _describe(shown)
                pixels = _Pixels(features=features.reshape(-1, features.shape[-1])[drawn], names=names)
                self._pixels.setdefault(tuple(observation.sensor for observation in shown), []).append(pixels)

    def _forest(self, sensors: Sensors) -> Any:
        if sensors not in self._pixels:
            seen = ", ".join(" with ".join(known) for known in self._pixels)
            raise QuestionError(f"the baseline forest has learned from {seen}, and not from {' with '.join(sensors)}")
        if sensors not in self._forests:
            learned = self._pixels[sensors]
            forest = _forest_class()(self.num_trees, n_jobs=-1, random_state=self.seed)
            features, names = ([getattr(part, field) for part in learned] for field in ("features", "names"))
            self._forests[sensors] = forest.fit(np.concatenate(features), np.concatenate(names))
        return self._forests[sensors]

    def _classes_in(self, question: str, options: Sequence[str] = ()) -> tuple[str, ...]:
        """The classes that are asked about, by the nomenclature that knows most of them.

        Where options are classes, they are the ones: a question may call them otherwise, or not at all.
        """
        texts = [question]
        if options and asked_for(question, options) == "class":
            texts.insert(0, "\n".join(options))
        for text in texts:
            found = max((named_classes(text, each) for each in self.nomenclatures), key=len)
            if found:
                return found
        return ()


def training_chips(source: Source, split: str = "train", passed_over: Counter[str] | None = None) -> Iterator[Chip]:
    """The chips of a split that can be used, one after another.

    Args:
        passed_over: counts those that cannot be used, by reason.

    Raises:
        SceneError: the folder is not laid out as the data set is.
        ChipError: none can be used; the last one's fault.
    """
    fault: ChipError | None = None
    is_used = False
    for entry in source.index(split).entries:
        try:
            chip = source.read(entry.key)
        except ChipError as error:
            fault = error
            if passed_over is not None:
                passed_over[error.reason] += 1
            continue
        is_used = True
        yield chip
    if fault is not None and not is_used:
        raise fault


def _describe(observations: Sequence[Observation]) -> NDArray[np.float32]:
    """Features `[H, W, 9 * images]`: values, means and deviations of 5 x 5 pixels, mirrored at the edges."""
    values = np.concatenate([render(observation) for observation in observations]).astype(np.float64)
    size = (1, _WINDOW, _WINDOW)
    mean = ndimage.uniform_filter(values, size, mode="reflect")
    variance = ndimage.uniform_filter(values**2, size, mode="reflect") - mean**2
    features = np.concatenate([values, mean, np.sqrt(np.clip(variance, 0, None))])
    return np.moveaxis(features, 0, -1).astype(np.float32)


def _names_of(label_map: LabelMap, drawn: NDArray[np.intp]) -> NDArray[np.str_]:
    ids = label_map.ids.ravel()[drawn]
    words = {i: _OTHER_NAME if i == OTHER else label_map.nomenclature[i].name for i in np.unique(ids).tolist()}
    return np.array([words[i] for i in ids.tolist()], np.str_)


def _image_in(question: str, num_images: int) -> int:
    """The image (from 1) that a question names; the last one where it names none."""
    number = re.search(r"\bimage (\d+)\b", question, re.I)
    if number and 1 <= int(number[1]) <= num_images:
        return int(number[1])
    for place, ordinal in enumerate(ORDINALS[:num_images], 1):
        if re.search(rf"\b{ordinal} (?:image|date)\b", question, re.I):
            return place
    return num_images


def _forest_class() -> Any:
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError:
        raise ModelError("the baseline forest needs the package scikit-learn: pip install scikit-learn") from None
    return RandomForestClassifier
