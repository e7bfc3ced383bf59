"""A model as annotator: what of its masks and words becomes labels and captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from terracot.known_chip import CROP, IDS, LATER_IDS, TREE, WATER, make_chip, make_labels
from terrascope import masks
from terrascope.answer import Answer, Grounding
from terrascope.errors import QuestionError
from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED
from terrascope.scene import Scene
from terrascope.sources.generated import Generated
from terrascope.tasks.question import LabelledScene
from terrascope.terracot import annotate as rules
from terrascope.terracot import level1, verify
from terrascope.terracot.annotate import AnnotationSettings, annotate
from terrascope.terracot.refine import NOTHING_LEFT

NOTHING = np.zeros(IDS.shape, bool)
SNOW, GRASS = TERRASCOPE.id_of("snow"), TERRASCOPE.id_of("grass")
DESCRIPTION = (
    "<think>The water: [SEG] It covers 20% of the image. Beside it, the trees: [SEG] They cover 30% of the image."
    "</think><answer>A lake lies beside a forest in the north of the place.</answer>"
)


@dataclass
class Fake:
    """Segments what it was told to, with a confidence; describes by a reasoning, or as a model does that cannot."""

    masks: Mapping[str, Sequence[tuple[np.ndarray, float]]]
    reasoning: str = "<think>The water: [SEG]</think><answer>20%</answer>"
    described: Sequence[tuple[np.ndarray, float]] = ((IDS == WATER, 0.9),)

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        return _answer(scene, question, self.reasoning, self.described)

    def segment(self, scene: Scene, class_name: str) -> Answer:
        if class_name not in self.masks:
            raise QuestionError(f"unknown class {class_name!r}")
        steps = " ".join(f"The {class_name}: Image: {date} [SEG]" for date in range(1, len(scene.pairs) + 1))
        reasoning = f"<think>{steps}</think><answer>{class_name}</answer>"
        return _answer(scene, f"Where is the {class_name}?", reasoning, self.masks[class_name])


def _answer(scene: Scene, question: str, reasoning: str, masks: Sequence[tuple[np.ndarray, float]]) -> Answer:
    groundings = [
        Grounding(
            mask=mask,
            image=1 + number % len(scene.pairs),
            confidence=confidence,
            num_optical_tokens=1,
            num_sar_tokens=0,
        )
        for number, (mask, confidence) in enumerate(masks)
    ]
    return Answer.from_reasoning(
        scene=scene, question=question, reasoning=reasoning, groundings=groundings, model="fake"
    )


def some(ids: np.ndarray, class_id: int, confidence: float = 0.9) -> tuple[np.ndarray, float]:
    return ids == class_id, confidence


def test_a_model_that_does_not_caption_is_asked_for_every_class() -> None:
    speck = NOTHING.copy()
    speck[19, :5] = True
    model = Fake(
        masks={
            "water": [some(IDS, WATER)],
            "tree": [some(IDS, TREE)],
            "crop": [(IDS == CROP, 0.6)],
            "snow": [(NOTHING, 0.95)],
            "cloud": [(NOTHING, 0.55)],
            "grass": [(speck, 0.9)],
        }
    )
    chip = make_chip(labelled=False)
    names = ("water", "tree", "crop", "snow", "cloud", "grass", "building")
    found = annotate(chip, model, AnnotationSettings(class_names=names))
    [labels] = found.chip.labels
    expected = np.where(IDS == CROP, UNLABELLED, IDS)
    assert (labels.ids == expected).all()
    assert labels.class_ids_known == tuple(sorted((WATER, TREE, SNOW)))
    assert Counter(found.rejected) == {
        rules.LOW_CONFIDENCE: 2,
        rules.EMPTY: 1,
        rules.TOO_SMALL: 1,
        rules.UNKNOWN_TO_MODEL: 1,
    }
    assert (found.labels, found.chip.captions, found.chip.key) == ("predicted", (), chip.key)


def test_pixels_of_no_mask_are_of_no_class() -> None:
    model = Fake(masks={name: [(NOTHING, 0.9)] for name in TERRASCOPE.names} | {"water": [some(IDS, WATER)]})
    [labels] = annotate(make_chip(labelled=False), model).chip.labels
    assert (labels.ids == np.where(IDS == WATER, WATER, OTHER)).all()
    assert labels.class_ids_known == tuple(range(len(TERRASCOPE)))


def test_the_more_confident_mask_has_the_pixel_and_of_equal_ones_the_smaller() -> None:
    north, west, corner = NOTHING.copy(), NOTHING.copy(), NOTHING.copy()
    north[:10], west[:, :10], corner[:5, :5] = True, True, True
    masks = {"water": [(north, 0.8)], "tree": [(west, 0.9)], "snow": [(corner, 0.9)]}
    settings = AnnotationSettings(class_names=("water", "tree", "snow"))
    [labels] = annotate(make_chip(labelled=False), Fake(masks=masks), settings).chip.labels
    assert (labels.ids[:5, :5] == SNOW).all()
    assert (labels.ids[5:, :10] == TREE).all() and (labels.ids[:5, 5:10] == TREE).all()
    assert (labels.ids[:10, 10:] == WATER).all() and (labels.ids[10:, 10:] == OTHER).all()


def test_a_class_that_others_hide_is_dropped() -> None:
    masks = {"grass": [(IDS == WATER, 0.75)], "water": [some(IDS, WATER)]}
    found = annotate(make_chip(labelled=False), Fake(masks=masks), AnnotationSettings(class_names=("grass", "water")))
    assert found.rejected == (rules.HIDDEN,)
    assert found.chip.labels[0].class_ids_known == (WATER,)


def test_unmeasured_pixels_are_unlabelled() -> None:
    chip = make_chip(labelled=False)
    image = chip.scene.observations[0]
    valid = np.ones(IDS.shape, bool)
    valid[:, :4] = False
    chip = replace(chip, scene=Scene.of(optical=[replace(image, valid=valid)]))
    masks = {"water": [some(IDS, WATER)]}
    [labels] = annotate(chip, Fake(masks=masks), AnnotationSettings(class_names=("water",))).chip.labels
    assert (labels.ids[:, :4] == UNLABELLED).all() and (labels.ids[:10, 4:8] == WATER).all()


def test_every_date_has_its_labels() -> None:
    chip = make_chip(IDS, LATER_IDS, labelled=False)
    model = Fake(
        masks={"water": [some(IDS, WATER), some(LATER_IDS, WATER)]},
        reasoning="<think>The water: Image: 1 [SEG]</think><answer>20%</answer>",
    )
    found = annotate(chip, model, AnnotationSettings(class_names=("water",)))
    assert [int((labels.ids == WATER).sum()) for labels in found.chip.labels] == [80, 160]
    labelled: LabelledScene = found.chip.labelled
    assert labelled.num_dates == 2


def test_a_model_that_captions_is_believed_with_its_words() -> None:
    model = Fake(masks={}, reasoning=DESCRIPTION, described=[some(IDS, WATER), some(IDS, TREE)])
    found = annotate(make_chip(labelled=False, gsd_m=None), model)
    [labels] = found.chip.labels
    assert (labels.ids == np.where(IDS == CROP, OTHER, IDS)).all()
    assert labels.class_ids_known == (WATER, TREE)
    assert found.chip.captions == ("A lake lies beside a forest in the north of the place.",)
    assert (found.labels, found.rejected) == ("predicted", ())


def test_a_description_whose_masks_are_not_believed_gives_no_caption() -> None:
    model = Fake(masks={}, reasoning=DESCRIPTION, described=[(IDS == WATER, 0.6), (NOTHING, 0.9)])
    found = annotate(make_chip(labelled=False), model)
    assert found.chip.captions == () and found.chip.labels[0].class_ids_known == ()
    bad = rules.BAD_CAPTION
    assert Counter(found.rejected) == {
        rules.LOW_CONFIDENCE: 1,
        rules.EMPTY: 1,
        bad.format(NOTHING_LEFT): 2,
        bad.format("caption without a mask left"): 1,
    }
    unnamed = Fake(masks={}, reasoning=DESCRIPTION.replace("the trees", "here"), described=model.described[:1] * 2)
    rejected = annotate(make_chip(labelled=False), unnamed).rejected
    assert rules.NO_CLASS in rejected and bad.format(rules.NO_CLASS) in rejected


def test_predictions_are_intersected_with_annotations() -> None:
    too_wide = IDS == WATER
    too_wide[:10, 8:12] = True
    model = Fake(masks={"water": [(too_wide, 0.9)], "tree": [(IDS == CROP, 0.9)], "grass": [(NOTHING, 0.9)]})
    chip = replace(make_chip(), labels=(make_labels(np.where(IDS == CROP, UNLABELLED, IDS), known=(WATER, TREE)),))
    found = annotate(chip, model, AnnotationSettings(class_names=("water", "tree", "grass")))
    [labels] = found.chip.labels
    assert found.labels == "refined"
    assert (labels.mask(WATER) == (IDS == WATER)).all()
    # The annotation says nothing of the south: what was predicted there stays.
    assert (labels.mask(TREE) == (IDS == CROP)).all()
    assert (labels.ids[:10, 8:] == UNLABELLED).all()
    assert labels.class_ids_known == tuple(sorted((WATER, TREE, GRASS)))


@pytest.mark.weights
def test_nano_labels_a_generated_scene() -> None:
    from terrascope.model import TerraScope

    chip = Generated(num=5, size=96).read("3")
    nano = TerraScope.from_pretrained("nano", device="cpu")
    settings = AnnotationSettings(class_names=("tree", "crop", "snow"), instruction=None)
    found = annotate(replace(chip, labels=()), nano, settings)
    [labels], [truth] = found.chip.labels, chip.labels
    # Of the snow it finds two pixels, and is not confident of them.
    assert labels.class_ids_known == (TREE, CROP)
    for class_id, least in ((TREE, 0.7), (CROP, 0.9)):
        mask, true_mask = labels.mask(class_id), truth.mask(class_id)
        assert masks.iou(mask, true_mask) > least
    assert not labels.mask(SNOW).any() and not truth.mask(SNOW).any()
    assert (found.labels, found.chip.captions, found.rejected) == ("predicted", (), (rules.LOW_CONFIDENCE,))
    questions = level1.ask(found.chip, np.random.default_rng(0))
    assert questions and all(verify.check(question, found.chip.labelled) == () for question in questions)
    refined = annotate(chip, nano, settings).chip.labels[0]
    for class_id in (TREE, CROP):
        assert (refined.mask(class_id) == labels.mask(class_id) & truth.mask(class_id)).all()
