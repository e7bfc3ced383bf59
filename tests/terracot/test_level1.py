"""Level 1: how many questions of which kind, and that their answers cannot be guessed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from terrascope import spatial
from terrascope.landcover import OTHER, TERRASCOPE, UNLABELLED
from terrascope.scene import LabelMap
from terrascope.sources.chips import Chip
from terrascope.tasks import LabelledScene, Question
from terrascope.terracot.level1 import KINDS, NEEDS_PIXELS, Level1Settings, ask, measure_presence
from terrascope.terracot.wording import WordingSettings
from terrascope.trace import check_step, parse, render, resolve_images
from tests.tasks.drawn_scenes import chip_of, draw, draw_country

KIND_OF = {task: kind for kind, tasks in KINDS.items() for task in tasks}
EXTENSIONS = ("building_change", "flood")


def asked(num: int = 120, settings: Level1Settings | None = None) -> list[tuple[LabelledScene, list[Question]]]:
    settings = settings or Level1Settings()
    scenes = [draw(seed) for seed in range(num)]
    return [(scene, ask(chip_of(scene), np.random.default_rng(seed), settings)) for seed, scene in enumerate(scenes)]


def test_two_to_four_kinds_of_question_one_of_which_needs_pixels() -> None:
    numbers = Counter()
    for scene, questions in asked():
        if not questions:
            continue
        kinds = [KIND_OF[question.task] for question in questions if question.task not in EXTENSIONS]
        assert len(kinds) == len(set(kinds))
        numbers[len(kinds)] += 1
        assert any(question.task in NEEDS_PIXELS for question in questions)
        if scene.num_dates == 1:
            assert not any(question.task in EXTENSIONS for question in questions)
    assert set(numbers) == {2, 3, 4}
    assert sum(numbers.values()) > 110


def test_every_kind_is_asked() -> None:
    tasks = Counter(question.task for _, questions in asked() for question in questions)
    assert min(tasks[task] for tasks_of_kind in KINDS.values() for task in tasks_of_kind) >= 5
    assert all(tasks[name] >= 5 for name in EXTENSIONS)
    assert tasks["ranking"] == 0
    with_ranking = asked(60, Level1Settings(asks_ranking=True, extensions=()))
    tasks = Counter(question.task for _, questions in with_ranking for question in questions)
    assert tasks["ranking"] >= 5
    assert not any(tasks[name] for name in EXTENSIONS)


def test_the_number_of_kinds_is_a_setting() -> None:
    settings = Level1Settings(num_kinds=(1, 1), extensions=())
    found = [questions for _, questions in asked(60, settings)]
    # Of every scene a share can be asked: the one place is not given away to a question that needs no pixels.
    assert all(len(questions) == 1 and questions[0].task in NEEDS_PIXELS for questions in found)


def test_what_is_said_is_what_the_masks_show() -> None:
    for scene, questions in asked(60):
        assert scene.pixel_size is not None
        for question in questions:
            assert parse(render(question.trace)) == question.trace
            assert len(question.classes) == len(question.trace.grounded_steps)
            earlier = None
            images = resolve_images(question.trace, scene.num_dates)
            for step, image in zip(question.trace.grounded_steps, images, strict=True):
                assert step.mask is not None
                assert (step.image is None) == (scene.num_dates == 1)
                apart = None
                if earlier is not None and earlier.any() and step.mask.any():
                    apart = spatial.distance_m(earlier, step.mask, scene.pixel_size)
                assert not check_step(
                    step,
                    coverage=spatial.coverage(step.mask, scene.measured(image - 1)),
                    area_m2=spatial.area_m2(step.mask, scene.pixel_size),
                    num_objects=spatial.count_objects(step.mask),
                    distance_m=apart,
                )
                earlier = step.mask


def test_half_of_the_questions_have_options() -> None:
    questions = [question for _, questions in asked(200) for question in questions if question.task != "localization"]
    # Where a number is so near to the least or the greatest that its rank would tell it, there are none.
    assert 0.36 < sum(bool(question.options) for question in questions) / len(questions) < 0.5
    free = asked(40, Level1Settings(options_share=0.0))
    assert not any(question.options for _, questions in free for question in questions)


def test_existence_is_not_asked_where_only_yes_is_possible() -> None:
    for seed, (scene, _) in enumerate(asked(60)):
        labels = tuple(
            replace(label_map, class_ids_known=tuple(int(k) for k in np.unique(label_map.ids) if k != UNLABELLED))
            for label_map in scene.labels
        )
        questions = ask(chip_of(replace(scene, labels=labels)), np.random.default_rng(seed))
        assert not any(question.task == "existence" for question in questions)


def test_yes_is_right_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    # Snow is in every third image at most, all else in most.
    truths: dict[str, list[str]] = {"existence": [], "boundary": []}
    for seed in range(700):
        for question in ask(chip_of(draw_country(rng)), np.random.default_rng(seed)):
            if question.task in truths:
                truths[question.task].append(question.truth)
    for task, said in truths.items():
        assert len(said) > 100
        assert 0.42 < said.count("Yes") / len(said) < 0.58, task


def test_presence_is_measured_on_every_image() -> None:
    def chip_with(*num_pixels: int) -> Chip:
        labels = []
        for num in num_pixels:
            ids = np.full(1000, OTHER, np.uint8)
            ids[:num] = TERRASCOPE.id_of("water")
            known = TERRASCOPE.id_of("water"), TERRASCOPE.id_of("snow")
            labels.append(LabelMap(ids=ids.reshape(40, 25), nomenclature=TERRASCOPE, class_ids_known=known))
        return chip_of(LabelledScene(labels=tuple(labels), valid=np.ones((40, 25), bool), pixel_size=None))

    # Four of 1000 pixels are too few to be seen and not none.
    chips = [chip_with(5), chip_with(4), chip_with(300, 0), chip_with(0)]
    first = {"snow": 0.0, "water": 2 / 3}
    assert measure_presence(chips) == {chips[0].source: (first, {"snow": 0.0, "water": 0.0})}
    assert measure_presence([]) == {}


def test_presence_keeps_the_class_from_telling_whether_it_is_there() -> None:
    rng = np.random.default_rng(5)
    chips = []
    for _ in range(1400):
        scene = draw_country(rng)
        for label_map in scene.labels:
            # Hardly a scene without grass, hardly one with snow.
            if rng.random() < 0.85:
                label_map.ids[40:60, 40:60] = TERRASCOPE.id_of("grass")
            if rng.random() < 0.85:
                label_map.ids[label_map.ids == TERRASCOPE.id_of("snow")] = TERRASCOPE.id_of("crop")
        chips.append(chip_of(scene))
    presence = measure_presence(chips)
    (dates,) = presence.values()
    assert all(shares["grass"] > 0.8 and shares["snow"] < 0.2 for shares in dates)

    def shares(settings: Level1Settings) -> dict[str, float]:
        truths: dict[str, list[str]] = {"grass": [], "snow": []}
        for seed, chip in enumerate(chips):
            for question in ask(chip, np.random.default_rng(seed), settings):
                if question.task == "existence" and question.classes[0] in truths:
                    truths[question.classes[0]].append(question.truth)
        return {name: said.count("Yes") / len(said) for name, said in truths.items()}

    told, kept = shares(Level1Settings()), shares(Level1Settings(presence=presence))
    assert told["grass"] > 0.8 and told["snow"] < 0.2
    assert all(0.35 < share < 0.65 for share in kept.values()), kept


def test_options_do_not_give_the_answer_away() -> None:
    letters = Counter()
    for _, questions in asked(200):
        for question in questions:
            if not question.options:
                continue
            letters[len(question.options), question.trace.answer] += 1
            if question.task in ("coverage", "flood"):
                assert not {"0%", "less than 1%"} & set(question.options)
            assert "central part" not in question.options
    for num in (2, 4):
        counts = [letters[num, letter] for letter in "ABCD"[:num]]
        assert min(counts) > 0.6 * sum(counts) / num, counts


def test_a_date_does_not_tell_whether_a_class_is_there() -> None:
    """As in pairs of images before and after a flood: the first never shows one, the second always does."""
    chips = []
    rng = np.random.default_rng(1)
    for scene in (scene for scene in (draw_country(rng) for _ in range(400)) if scene.num_dates == 2):
        flood = TERRASCOPE.id_of("flood")
        for date, label_map in enumerate(scene.labels):
            label_map.ids[label_map.ids == flood] = TERRASCOPE.id_of("crop")
            if date:
                label_map.ids[:20, :20] = flood
        known = tuple(replace(one, class_ids_known=tuple({*one.class_ids_known, flood})) for one in scene.labels)
        chips.append(chip_of(replace(scene, labels=known)))
    presence = measure_presence(chips)
    (dates,) = presence.values()
    assert (dates[0]["flood"], dates[1]["flood"]) == (0.0, 1.0)
    names = [
        question.classes[0]
        for seed, chip in enumerate(chips)
        for question in ask(chip, np.random.default_rng(seed), Level1Settings(presence=presence))
        if question.task == "existence"
    ]
    assert len(names) > 30 and "flood" not in names


def test_the_rank_of_the_truth_among_options_gives_nothing_away() -> None:
    ranks: dict[str, Counter[int]] = {}
    rng = np.random.default_rng(0)
    for seed in range(3000):
        for question in ask(chip_of(draw_country(rng)), np.random.default_rng(seed)):
            if len(question.options) == 4 and question.value is not None:
                values = sorted(question.options, key=value_of)
                ranks.setdefault(question.task, Counter())[values.index(question.truth)] += 1
    for task in ("area", "coverage"):
        counts = [ranks[task][rank] for rank in range(4)]
        assert sum(counts) > 300
        assert all(0.2 < count / sum(counts) < 0.3 for count in counts), (task, counts)


def value_of(option: str) -> float:
    number, _, unit = option.partition(" ")
    return float(number.rstrip("%")) * {"m2": 1, "ha": 1e4, "km2": 1e6}.get(unit, 1)


def test_nothing_that_rests_on_the_whole_image_is_asked_where_little_of_it_is_labelled() -> None:
    for seed in range(20):
        scene = draw(seed)
        ids = scene.labels[0].ids.copy()
        ids.ravel()[: ids.size // 8] = UNLABELLED
        chip = chip_of(replace(scene, labels=(replace(scene.labels[0], ids=ids), *scene.labels[1:])))
        assert chip.labelled.labelled_share <= 0.875
        assert ask(chip, np.random.default_rng(seed)) == []
    asked_of = [ask(chip, np.random.default_rng(seed), Level1Settings(min_labelled=0.5)) for seed in range(20)]
    assert any(asked_of)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"num_kinds": (4, 2)}, "num_kinds is 4 to 2; give the fewest, at least 1, and then the most"),
        ({"options_share": 7.0}, "options_share is 7; give a share from 0 to 1"),
        ({"min_coverage": -1.0}, "min_coverage is -1; give a share from 0 to 1"),
        ({"weights": {"water": -2.0}}, "weights: water is -2; give a number above 0"),
        ({"kind_weights": {"distance": 0.0}}, "kind_weights: distance is 0; give a number above 0"),
        ({"kind_weights": {"lakes": 1.0}}, "kind_weights: no kind lakes; choose among "),
        ({"extensions": ("fire",)}, "extensions: no task fire; choose among "),
    ],
)
def test_settings_out_of_bounds_are_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Level1Settings(**fields)
    assert str(caught.value).startswith(sentence)


def test_rare_classes_are_preferred_where_weights_say_so() -> None:
    scenes = [scene for scene, _ in asked(120)]

    def share_of_snow(settings: Level1Settings) -> float:
        names = [
            question.classes[0]
            for seed, scene in enumerate(scenes)
            for question in ask(chip_of(scene), np.random.default_rng(seed), settings)
            if question.task in ("area", "coverage", "localization")
        ]
        return names.count("snow") / len(names)

    assert share_of_snow(Level1Settings(weights={"snow": 20.0})) > 1.5 * share_of_snow(Level1Settings())


def test_the_same_generator_asks_the_same() -> None:
    for seed in range(30):
        chip = chip_of(draw(seed))
        first, second = (ask(chip, np.random.default_rng(seed)) for _ in range(2))
        assert first == second
        assert ask(replace(chip), np.random.default_rng(seed)) == first


def test_wording_is_a_setting() -> None:
    plain = Level1Settings(wording=WordingSettings(plain_share=1.0))
    for _, questions in asked(30, plain):
        assert all(step.text.startswith("The ") for question in questions for step in question.trace.steps)


@pytest.mark.parametrize("num_dates", [0, 1, 2])
def test_nothing_is_asked_where_nothing_is_known(num_dates: int) -> None:
    ids = np.full((16, 16), UNLABELLED, np.uint8)
    labels = LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=tuple(range(len(TERRASCOPE))))
    scene = LabelledScene(labels=(labels,) * num_dates, valid=np.ones((16, 16), bool), pixel_size=None)
    assert ask(chip_of(scene), np.random.default_rng(0)) == []
