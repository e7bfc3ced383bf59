"""Building a benchmark: answers that plain arrays give again, versions that share them, the same bytes every time."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.bench import build as builder
from terrascope.bench.build import BenchReport, build, is_told_by_masks, move_truth, versions_of
from terrascope.bench.items import shown_of
from terrascope.bench.recipe import QUOTA, BenchRecipe
from terrascope.errors import OutputError, SampleError, SceneError
from terrascope.landcover import UNLABELLED
from terrascope.sample import Sample
from terrascope.scene import Observation, Pair, Scene
from terrascope.sources import generated
from terrascope.sources.chips import Chip, ChipError, read_layers
from terrascope.sources.generated import FIRST_SEED, Generated
from terrascope.tasks.question import Question
from terrascope.terracot.drawing import draw as draw_sample
from terrascope.terracot.store import open_store
from terrascope.terracot.validate import validate
from terrascope.trace import Step, Trace
from tests.bench.drawn_scenes import GSD_M, ID, draw, make_sample

NUM = 60
FIRST = FIRST_SEED["test"]


def recipe(num: int = NUM, **fields: Any) -> BenchRecipe:
    return BenchRecipe.of({"sources": [{"name": "synthetic", "root": num}], **fields})


@pytest.fixture(scope="module", autouse=True)
def _drawn() -> Iterator[None]:
    """Generated scenes are the drawn ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generated, "make_sample", make_sample)
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BenchReport]:
    out = tmp_path_factory.mktemp("bench") / "bench"
    return out, build(recipe(), out)


@pytest.fixture(scope="module")
def samples(built: tuple[Path, BenchReport]) -> list[Sample]:
    return list(open_store(built[0]))


def two_digits(value: float) -> float:
    return float(f"{value:.1e}")


def put_share(share: float) -> str:
    return "less than 1%" if 0 < share < 0.01 else f"{round(100 * share)}%"


def put_area(area_m2: float) -> str:
    rounded = two_digits(area_m2)
    for unit, scale, below in (("m2", 1, 1e4), ("ha", 1e4, 1e7), ("km2", 1e6, np.inf)):
        if rounded < below:
            return f"{rounded / scale:g} {unit}"
    raise AssertionError


def put_distance(distance_m: float) -> str:
    rounded = two_digits(distance_m)
    return f"{rounded:g} m" if rounded < 1000 else f"{rounded / 1000:g} km"


def count(mask: NDArray[np.bool_]) -> int:
    return int(ndimage.label(mask, np.ones((3, 3)))[1])


def gap_px(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float(ndimage.distance_transform_edt(~first)[second].min())


def touch(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> bool:
    return bool((ndimage.binary_dilation(first) & second).any())


def answer_again(sample: Sample, masks: list[NDArray[np.bool_]], shares: list[float]) -> tuple[str, float | None]:
    """Truth and value of a question from its masks alone, with numpy and scipy."""
    names = [mask.class_name for mask in sample.masks]
    sizes = [int(mask.sum()) for mask in masks]
    match sample.task:
        case "coverage":
            return put_share(shares[0]), 100 * shares[0]
        case "area":
            return put_area(sizes[0] * GSD_M**2), sizes[0] * GSD_M**2
        case "distance":
            distance_m = gap_px(*masks) * GSD_M
            return put_distance(distance_m), distance_m
        case "ranking":
            return names[int(np.argmax(sizes))], None
        case "boundary":
            return "Yes" if touch(*masks) else "No", None
        case "building_change":
            total, destroyed = count(masks[0]), count(masks[1])
            if sample.unit == "count":
                return str(destroyed), destroyed
            return put_share(destroyed / total), 100 * destroyed / total
    raise AssertionError(sample.task)


def test_plain_arrays_give_every_stored_answer_again(samples: list[Sample]) -> None:
    seen = Counter(sample.task for sample in samples)
    assert set(seen) == set(QUOTA) and min(seen.values()) >= 9
    for sample in samples:
        drawn = draw(int(sample.key))
        masks = [sample.mask(number) for number in range(len(sample.masks))]
        shares = []
        for mask, mark in zip(masks, sample.masks, strict=True):
            measured = drawn.measured(mark.image - 1)
            assert np.array_equal(mask, measured & (drawn.ids[mark.image - 1] == ID[mark.class_name]))
            shares.append(float(mask.sum() / measured.sum()))
        truth, value = answer_again(sample, masks, shares)
        assert sample.truth == truth, sample.id
        assert sample.value == (None if value is None else pytest.approx(value, rel=1e-9)), sample.id
        assert "ABCD"[sample.options.index(truth)] == sample.answer
        match sample.task:
            case "boundary":
                assert min(shares) >= 0.03 and max(map(count, masks)) <= 5
            case "distance":
                assert gap_px(*masks) >= 3 and not touch(*masks)
            case "ranking":
                assert max(shares) >= 1.25 * min(shares)
            case "building_change":
                assert count(masks[0]) >= 10 and count(masks[1]) >= 3
                assert [mark.image for mark in sample.masks] == [1, 2]


def test_options_are_two_or_four_and_told_apart(samples: list[Sample]) -> None:
    for sample in samples:
        assert len(set(sample.options)) == len(sample.options) == (2 if sample.task in ("ranking", "boundary") else 4)
        assert sample.options.count(sample.truth) == 1


def test_right_letters_are_even_and_so_are_yes_and_no(samples: list[Sample]) -> None:
    questions = {sample.id.rpartition("/")[0]: sample for sample in samples}
    for task in QUOTA:
        of_task = [sample for sample in questions.values() if sample.task == task]
        letters = Counter(sample.answer for sample in of_task)
        assert max(letters.values()) - min(letters["ABCD"[place]] for place in range(len(of_task[0].options))) <= 1
    boundary = Counter(sample.truth for sample in questions.values() if sample.task == "boundary")
    assert abs(boundary["Yes"] - boundary["No"]) <= 1 and boundary["Yes"] > 5


def test_the_right_number_is_as_often_the_smallest_as_any_other(samples: list[Sample]) -> None:
    def size(text: str) -> float:
        number, _, unit = text.replace("less than 1%", "0.5%").replace("%", " %").partition(" ")
        return float(number) * {"": 1, "%": 1, "m2": 1, "ha": 1e4, "km2": 1e6, "m": 1, "km": 1e3}[unit]

    questions = {sample.id.rpartition("/")[0]: sample for sample in samples}
    for task in ("coverage", "area", "distance", "building_change"):
        of_task = [sample for sample in questions.values() if sample.task == task]
        ranks = Counter(sorted(map(size, sample.options)).index(size(sample.truth)) for sample in of_task)
        assert max(ranks.values()) - min(ranks[rank] for rank in range(4)) <= 2, task


def test_versions_share_question_options_and_answer(samples: list[Sample]) -> None:
    versions: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        question, _, shown = sample.id.rpartition("/")
        assert question == f"synthetic/{sample.key}/{sample.task}/1" and sample.level == "bench"
        assert shown == shown_of(sample)
        kinds = {"optical": ["optical"], "sar": ["sar"], "both": ["optical", "sar"]}[shown]
        dates = range(1, len(draw(int(sample.key)).ids) + 1)
        assert [(image.number, image.modality) for image in sample.images] == [
            (n, kind) for n in dates for kind in kinds
        ]
        versions[question].append(sample)
    for question in versions.values():
        # Every fifth scene has no SAR image.
        assert len(question) == (3 if int(question[0].key) % 5 else 1)
        assert len({replace(one, id="", images=()) for one in question}) == 1
    names = [sample.id.rpartition("/")[0] for sample in samples]
    assert names == sorted(names, key=names.index), "versions of a question follow each other"


def test_at_most_one_question_of_a_task_about_a_chip_unless_more_are_wanted(
    samples: list[Sample], tmp_path: Path
) -> None:
    asked = Counter((sample.key, sample.task) for sample in samples if shown_of(sample) == "optical")
    assert set(asked.values()) == {1}
    report = build(recipe(10, per_chip=2, quota={"building_change": 0}), tmp_path / "more")
    more = Counter(
        (sample.key, sample.task) for sample in open_store(tmp_path / "more") if shown_of(sample) == "optical"
    )
    assert max(more.values()) == 2 and report.questions["building_change"] == 0
    kept = list(open_store(tmp_path / "more"))
    assert {sample.id.split("/")[3] for sample in kept} == {"1", "2"}
    meant = [(s.key, s.task, frozenset(s.classes), s.truth) for s in kept if shown_of(s) == "optical"]
    assert len(set(meant)) == len(meant), "no question is asked twice with other wrong options"


def test_the_report_and_the_manifest_say_what_there_is(built: tuple[Path, BenchReport], samples: list[Sample]) -> None:
    out, report = built
    questions = Counter(sample.task for sample in samples if shown_of(sample) == "optical")
    assert dict(report.questions) == dict(questions)
    assert report.wanted == QUOTA and sum(QUOTA.values()) == 3837
    assert report.num_places == len({sample.place for sample in samples})
    assert (report.total.num_chips, report.total.num_samples, report.too_many_failed) == (NUM, len(samples), False)
    manifest = open_store(out).manifest
    assert manifest is not None
    assert manifest["recipe"]["tasks"]["boundary"]["max_objects"] == 5
    assert manifest["sources"] == [{"name": "synthetic", "root": str(NUM), "chips": NUM, "skipped": {}}]
    assert [shard["file"] for shard in manifest["shards"]] == ["test-00000-of-00001.parquet"]
    assert validate(out).problems == ()
    assert {chip.key for chip in open_store(out).chips()} == {sample.key for sample in samples}


def test_the_same_recipe_gives_the_same_bytes_and_another_seed_does_not(
    built: tuple[Path, BenchReport], tmp_path: Path
) -> None:
    build(recipe(), tmp_path / "again")
    build(recipe(seed=1), tmp_path / "other")
    first, again, other = (hashes(folder) for folder in (built[0], tmp_path / "again", tmp_path / "other"))
    assert first == again and len(first) == 2
    assert set(first) == set(other) and not set(first.values()) & set(other.values())


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_a_quota_bounds_questions_and_not_versions(tmp_path: Path) -> None:
    quota = dict.fromkeys(QUOTA, 0) | {"coverage": 7, "boundary": 4}
    report = build(recipe(quota=quota), tmp_path / "few")
    assert dict(report.questions) == {"coverage": 7, "boundary": 4}
    kept = list(open_store(tmp_path / "few"))
    assert len({sample.id.rpartition("/")[0] for sample in kept}) == 11 < len(kept)
    truths = {sample.id.rpartition("/")[0]: sample.truth for sample in kept if sample.task == "boundary"}
    assert Counter(truths.values()) == {"Yes": 2, "No": 2}


def test_thresholds_of_a_recipe_are_used(tmp_path: Path) -> None:
    only = {name: 0 for name in QUOTA if name != "area"}
    build(recipe(30, quota=only, tasks={"area": {"min_coverage": 0.5}}, shown=["sar"]), tmp_path / "large")
    kept = list(open_store(tmp_path / "large"))
    assert kept and all(sample.mask(0).mean() > 0.45 for sample in kept)
    assert {shown_of(sample) for sample in kept} == {"sar"}


def test_a_source_may_be_asked_some_of_the_tasks(tmp_path: Path) -> None:
    sources = [
        {"name": "towns", "kind": "synthetic", "root": 9, "tasks": ["building_change"]},
        {"name": "synthetic", "root": 9, "tasks": ["coverage", "distance"]},
    ]
    build(BenchRecipe.of({"sources": sources, "split": "val"}), tmp_path / "both")
    asked = {(sample.source, sample.task) for sample in open_store(tmp_path / "both")}
    assert asked == {("towns", "building_change"), ("synthetic", "coverage"), ("synthetic", "distance")}


def test_chips_that_fail_are_counted_by_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Generated.read

    def fail(source: Generated, key: str) -> Chip:
        if key == str(FIRST + 1):
            raise ChipError("1.tif: not a readable label raster", reason="unreadable label")
        chip = read(source, key)
        if key == str(FIRST + 2):
            return replace(chip, scene=Scene((Pair(sar=chip.scene.pairs[0].sar),)))
        return replace(chip, labels=()) if key == str(FIRST + 3) else chip

    monkeypatch.setattr(Generated, "read", fail)
    report = build(recipe(10, shown=["optical"]), tmp_path / "some")
    assert report.total.failed == {"unreadable label": 1} and report.too_many_failed
    assert report.skipped == {"synthetic": {"no version shows the whole scene": 1}}
    assert report.total.num_empty == 1
    missing = {str(FIRST + number) for number in (1, 2, 3)}
    assert missing.isdisjoint(sample.key for sample in open_store(tmp_path / "some"))


def test_a_chip_of_which_too_little_is_labelled_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_part(seed: int, **how: Any) -> Any:
        sample = make_sample(seed, **how)
        if seed % 2:
            for labels in sample.labels:
                labels.ids[: labels.ids.shape[0] // 5] = UNLABELLED
        return sample

    monkeypatch.setattr(generated, "make_sample", make_part)
    report = build(recipe(10), tmp_path / "bench")
    assert report.skipped == {"synthetic": {"too little of it is labelled": 5}}
    assert all(int(sample.key) % 2 == 0 for sample in open_store(tmp_path / "bench"))


def test_a_version_shows_what_the_truth_counts() -> None:
    chip = Generated(num=1).read(str(FIRST + 1))
    assert versions_of(chip, recipe()) == ("optical", "sar", "both")
    pair = chip.scene.pairs[0]
    assert pair.optical is not None and pair.sar is not None
    half = pair.sar.valid.copy()
    half[:, :32] = False
    torn = replace(chip, scene=Scene((Pair(optical=pair.optical, sar=replace(pair.sar, valid=half)),)))
    assert versions_of(torn, recipe()) == ("optical", "both")
    assert versions_of(torn, recipe(max_unseen_share=0.6)) == ("optical", "sar", "both")
    assert versions_of(torn, recipe(shown=["sar"])) == ()


def test_moving_the_right_option_keeps_the_others_in_their_order() -> None:
    trace = Trace(
        steps=(Step(text="The water:"),), conclusion="So the water is larger. So the answer is B.", answer="B"
    )
    question = Question(task="coverage", text="?", options=("1%", "2%", "3%", "4%"), trace=trace, truth="2%")
    moved = move_truth(question, 3)
    assert moved.options == ("1%", "3%", "4%", "2%")
    assert (moved.trace.answer, moved.trace.conclusion) == ("D", "So the water is larger. So the answer is D.")
    assert moved.trace.steps == trace.steps
    assert move_truth(moved, 1) == question


def test_buildings_that_touch_are_asked_about_only_where_their_masks_tell_the_answer() -> None:
    houses, ruins = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    for number in range(12):
        house = np.s_[3 * number : 3 * number + 2, 2:8]
        houses[house] = True
        ruins[house] = number < 4

    def ask(truth: str, unit: str, mask: NDArray[np.bool_]) -> bool:
        steps = (Step(text="The building:", mask=houses), Step(text="The destroyed building:", mask=mask))
        trace = Trace(steps=tuple(replace(step, grounded=True) for step in steps), answer=truth)
        question = Question(task="building_change", text="?", options=(), trace=trace, truth=truth, unit=unit)
        return is_told_by_masks(question)

    assert ask("4", "count", ruins) and ask("33%", "%", ruins)
    together = ruins | ndimage.binary_dilation(ruins)
    assert not ask("4", "count", together) and not ask("33%", "%", together)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"quota": {"areas": 3}}, "no task areas; choose among coverage, area"),
        ({"quota": {"area": -3}}, "-3 questions of area; give 0 or more"),
        ({"tasks": {"area": {"least": 3}}}, "no setting least; choose among min_coverage, option_ratios"),
        ({"tasks": {"boundary": {"max_objects": "few"}}}, "give a whole number, got 'few'"),
        ({"shown": ["infrared"]}, "choose 'optical', 'sar' or 'both', got 'infrared'"),
        ({"sources": [{"name": "synthetic", "root": 1, "tasks": ["counting"]}]}, "no task counting"),
        ({"sources": [{"name": "synthetic", "root": 1}] * 2}, "synthetic is given twice"),
        ({"levels": ["L1"]}, "levels: there is no such field; choose among sources"),
    ],
)
def test_what_is_no_recipe_is_one_sentence(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SampleError, match=r"^the recipe: ") as caught:
        recipe(**fields)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_only_a_benchmark_of_the_same_recipe_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "bench"
    build(recipe(6), out)
    before = hashes(out)
    with pytest.raises(SampleError, match="bench: holds a benchmark of another recipe, which would be lost"):
        build(recipe(6, seed=1), out)
    with pytest.raises(SampleError, match="of another recipe"):
        build(recipe(5), out)
    assert hashes(out) == before
    next(out.glob("*.parquet")).write_bytes(b"torn")
    build(recipe(6), out)
    assert hashes(out) == before
    (out / "manifest.json").unlink()
    with pytest.raises(SampleError, match=r"holds a data set of which nothing is known \(.*manifest.json: not found"):
        build(recipe(6), out)
    (out / "manifest.json").write_text("{")
    with pytest.raises(SampleError, match="of which nothing is known"):
        build(recipe(6), out)


def test_another_data_set_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "bench"
    build(recipe(6), out)
    with pytest.raises(SampleError, match=r"holds another data set \(test-00000-of-00001.parquet\); give a new folder"):
        build(recipe(6, split="val"), out)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "plan.json").write_text("{}")
    with pytest.raises(SampleError, match=r"another data set \(plan.json\)"):
        build(recipe(6), tmp_path / "begun")


def test_nothing_to_ask_and_no_chip_are_one_sentence_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="synthetic: nothing can be asked of these scenes"):
        build(recipe(1, quota=dict.fromkeys(QUOTA, 0)), tmp_path / "out")
    with pytest.raises(SceneError, match="no such folder"):
        build(BenchRecipe.of({"sources": [{"name": "xbd", "root": str(tmp_path / "missing")}]}), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_fails_in_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(builder, "write_manifest", fail)
    with pytest.raises(OutputError, match="the disk is full"):
        build(recipe(6), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_progress_goes_through_both_stages(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    tell: Callable[[str, int, int], None] = lambda *step: told.append(step)  # noqa: E731
    build(recipe(6), tmp_path / "out", tell)
    looking = [(done, total) for stage, done, total in told if stage == "looking at scenes"]
    asking = [(done, total) for stage, done, total in told if stage == "asking"]
    assert looking == [(number, 6) for number in range(7)]
    assert asking[-1][0] == asking[-1][1] and len(told) == len(looking) + len(asking)


def test_observations_of_the_drawn_scenes_are_what_they_say() -> None:
    scene = Generated(num=1).read(str(FIRST + 1)).scene
    (pair,) = scene.pairs
    assert isinstance(pair.optical, Observation) and pair.optical.modality == "optical"
    assert not pair.optical.valid[0].any() and pair.optical.valid[1:].all()


WORLDCOVER = {"tree": [10], "shrub": [20], "grass": [30], "crop": [40], "developed area": [50], "water": [80]}


def test_real_scenes_are_asked_by_the_rules_of_the_paper(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "hls-worldcover"
    report = build(
        BenchRecipe.of({"sources": [{"name": root.name, "root": str(root)}], "split": "val"}), tmp_path / "a"
    )
    assert report.total.failed == {} and report.questions["coverage"] > 50
    store = open_store(tmp_path / "a")
    num_measured = {chip.key: chip.num_measured[0] for chip in store.chips()}
    checked = Counter[str]()
    for sample in store.select(source=root.name):
        codes, water = read_layers(root / "labels" / f"{sample.key}.tif")
        codes = np.where(water == 1, 80, codes)
        masks = [sample.mask(number) for number in range(len(sample.masks))]
        for mask, mark in zip(masks, sample.masks, strict=True):
            if mark.class_name in WORLDCOVER:
                assert np.isin(codes[mask], WORLDCOVER[mark.class_name]).all()
        shares = [float(mask.sum()) / num_measured[sample.key] for mask in masks]
        if sample.task == "coverage":
            assert sample.truth == put_share(shares[0]) and shares[0] >= 0.01
        if sample.task == "area":
            assert sample.truth == put_area(masks[0].sum() * 30.0**2)
        if sample.task == "ranking":
            assert sample.truth == sample.masks[int(np.argmax(shares))].class_name
        checked[sample.task] += 1
    assert min(checked[task] for task in ("coverage", "area", "ranking")) > 40
    assert validate(tmp_path / "a").problems == ()


def test_a_version_is_drawn_with_its_own_images_alone(samples: list[Sample]) -> None:
    source = Generated(num=NUM)
    for sample in samples[:12]:
        drawn = draw_sample(sample, lambda _, key: source.read(key))
        assert [(picture.image, picture.modality) for picture in drawn.pictures] == [
            (image.number, image.modality) for image in sample.images
        ]
