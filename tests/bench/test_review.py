"""Stage 3 there and back: projects for experts, and what is left of a benchmark when they have seen it."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.reviewed import annotate, brush, choice, export, questions, read, samples, write
from terracot.drawn_chips import chip_of
from terrascope.bench.amend import NO_OPTION, NOT_ASKABLE
from terrascope.bench.derived import question_id
from terrascope.bench.label_studio import NO_RATING, WRONG_SIZE
from terrascope.bench.review import CHECK_FAILED, NOT_HIGH, NOT_REVIEWED, TOO_FEW, import_review, vote
from terrascope.bench.review_export import export_review
from terrascope.bench.store import open_bench
from terrascope.errors import SampleError, SceneError
from terrascope.sample import Sample
from terrascope.sources.chips import Chip, ChipError
from terrascope.terracot.asking import UNUSABLE
from terrascope.terracot.store import open_store

HIGH = (annotate(by=1), annotate(by=2))


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    return write(tmp_path / "bench")


@pytest.fixture
def review(bench: Path, tmp_path: Path) -> Path:
    export_review(bench, tmp_path / "review", read)
    return tmp_path / "review"


def unread(source: str, key: str) -> Chip:
    raise AssertionError("a scene was read whose masks nobody has corrected")


def tasks_of(project: Path) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((project / "tasks.json").read_text())
    return loaded


def box(left: int, right: int) -> np.ndarray:
    mask = np.zeros((100, 100), bool)
    mask[:, left:right] = True
    return mask


def test_a_project_for_every_kind_of_scene(bench: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    report = export_review(bench, tmp_path / "out", read, progress=lambda done, total: told.append((done, total)))
    assert report.projects == {"optical1_sar1": 5, "optical1_sar1_optical2_sar2": 1} and report.failed == {}
    assert told == [(done, 6) for done in range(1, 7)]
    for name, num in report.projects.items():
        assert sorted(path.name for path in (tmp_path / "out" / name).iterdir()) == ["labels.xml", "tasks.json"]
        assert len(tasks_of(tmp_path / "out" / name)) == num
    [task, *_] = tasks_of(tmp_path / "out" / "optical1_sar1")
    png = base64.b64decode(task["data"]["sar1"].removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.size) == ("PNG", (100, 100))
    assert task["data"]["benchmark"] == open_bench(bench).digest
    assert task["data"]["question_id"] == "painted/land/coverage/1"


def test_images_as_files(bench: Path, tmp_path: Path) -> None:
    export_review(bench, tmp_path / "out", read, image_root="/data/local-files/?d=review/")
    folder = tmp_path / "out" / "optical1_sar1"
    shown = {(task["data"]["optical1"], task["data"]["sar1"]) for task in tasks_of(folder)}
    prefix = "/data/local-files/?d=review/optical1_sar1/"
    # All five questions are about one scene.
    assert shown == {(f"{prefix}00000_optical1.png", f"{prefix}00000_sar1.png")}
    with Image.open(folder / "00000_optical1.png") as image:
        assert image.size == (100, 100)


def test_some_kinds_of_question_alone(bench: Path, tmp_path: Path) -> None:
    report = export_review(bench, tmp_path / "out", read, tasks=["area", "boundary"])
    assert report.projects == {"optical1_sar1": 2}
    with pytest.raises(SampleError, match="has no question of flood; choose among coverage, area"):
        export_review(bench, tmp_path / "out", read, tasks=["area", "flood"])


def test_scenes_that_cannot_be_shown_are_counted(bench: Path, tmp_path: Path) -> None:
    def read_some(source: str, key: str) -> Chip:
        if key == "land":
            raise ChipError("gone", reason="missing file")
        raise SceneError("no band that can be shown")

    report = export_review(bench, tmp_path / "out", read_some)
    assert report.failed == {"missing file": 5, UNUSABLE: 1}
    assert report.projects == {"optical1_sar1": 0, "optical1_sar1_optical2_sar2": 0}
    assert tasks_of(tmp_path / "out" / "optical1_sar1") == []


def test_scenes_of_another_size_are_counted(bench: Path, tmp_path: Path) -> None:
    small = chip_of(np.zeros((40, 40), np.uint8))
    assert export_review(bench, tmp_path / "out", lambda *_: small).failed == {"scene of another size": 6}
    one_date = export_review(bench, tmp_path / "out", lambda *_: read("painted", "land"), tasks=["building_change"])
    assert one_date.failed == {"scene without that image": 1}


def run(bench: Path, review: Path, land: dict[str, Any], ruins: Any = HIGH, others: Any = HIGH, **settings: Any) -> Any:
    """The report of a review, and the samples that are left."""
    out = bench.parent / "out"
    files = [
        export(review / "optical1_sar1", bench.parent / "land.json", land, others=others),
        export(review / "optical1_sar1_optical2_sar2", bench.parent / "ruins.json", {}, others=ruins),
    ]
    report = import_review(bench, files, out, settings.pop("read", read), **settings)
    return report, list(open_store(out))


def test_what_all_find_good_stays_as_it_is(bench: Path, review: Path) -> None:
    report, left = run(bench, review, {}, read=unread)
    assert left == samples()
    assert (report.num_questions, report.num_kept, report.num_corrected, report.num_samples) == (6, 6, 0, 18)
    assert report.dropped == {} and report.ratings == {"high": 12}
    assert report.experts == {"land (1): 1": 5, "land (1): 2": 5, "ruins (2): 1": 1, "ruins (2): 2": 1}
    assert (report.agreement.num_questions, report.agreement.unanimous) == (6, 1.0)
    [made] = open_store(bench.parent / "out").manifest["recipe"]["made"]  # type: ignore[index]
    assert (made["stage"], made["found"]["num_kept"], made["num_experts"]) == ("review", 6, 4)
    assert "land (1)" not in json.dumps(made)


def test_masks_that_nobody_changed_are_the_same(bench: Path, review: Path) -> None:
    kept = [
        annotate(*(brush(sample.mask(n), mask.class_name) for n, mask in enumerate(sample.masks)), by=who)
        for sample in (questions()[4][0],)
        for who in (1, 2)
    ]
    report, left = run(bench, review, {"boundary": kept}, read=unread)
    assert left == samples() and report.agreement.num_masks == 0


def test_each_reason_is_counted(bench: Path, review: Path) -> None:
    given = {
        "coverage": [annotate(by=1), annotate(by=2, rating="medium")],
        "area": [annotate(by=1)],
        "distance": [annotate(by=1), annotate(by=2, rating=None)],
        "ranking": [annotate(choice("clarity", "no"), by=1), annotate(by=2)],
        "boundary": [annotate(brush(np.ones((50, 50), bool), "water"), by=1), annotate(by=2)],
    }
    report, left = run(bench, review, given)
    assert report.dropped == {NOT_HIGH: 1, TOO_FEW: 1, NO_RATING: 1, CHECK_FAILED: 1, WRONG_SIZE: 1}
    assert [sample.task for sample in left] == ["building_change"] * 3
    assert report.ratings == {"high": 9, "medium": 1} and report.failed_checks == {"clarity": 1}
    # Two of coverage disagree; area and distance have one rating each.
    assert (report.agreement.num_questions, report.agreement.unanimous) == (4, 0.75)


def test_one_expert_can_be_enough(bench: Path, review: Path) -> None:
    report, left = run(bench, review, {}, ruins=(), others=HIGH[:1], min_experts=1)
    assert report.dropped == {NOT_REVIEWED: 1} and len(left) == 15


def test_nothing_left(bench: Path, review: Path) -> None:
    with pytest.raises(SampleError, match="no question is left"):
        run(bench, review, {}, ruins=(), others=())
    assert not (bench.parent / "out").exists()


def test_a_corrected_mask_changes_the_answer_in_all_versions(bench: Path, review: Path) -> None:
    options = questions()[0][0].options
    share = next(s for s in range(21, 100) if min(abs(s - int(o[:-1])) for o in options if o != "20%") >= 6)
    given = {"coverage": [annotate(brush(box(0, share), "water"), by=who) for who in (1, 2)]}
    report, left = run(bench, review, given)
    assert (report.num_kept, report.num_corrected, report.agreement.num_masks) == (6, 1, 1)
    assert report.agreement.mask_iou == 1.0
    assert left[3:] == samples()[3:]
    for old, new in zip(samples()[:3], left[:3], strict=True):
        assert (new.truth, new.value, new.id) == (f"{share}%", pytest.approx(share), old.id)
        assert np.array_equal(new.mask(0), box(0, share))
        assert new.options == tuple(new.truth if option == "20%" else option for option in old.options)
        assert f"It covers {share}% of the image." in new.reasoning and new.answer == old.answer
    assert open_bench(bench.parent / "out").samples == tuple(left)


def test_corrections_that_leave_no_question(bench: Path, review: Path) -> None:
    wrong = next(int(option[:-1]) for option in questions()[0][0].options if option != "20%")
    given = {
        "coverage": [annotate(brush(box(0, wrong + 1), "water"), by=who) for who in (1, 2)],
        "area": [annotate(brush(np.zeros((100, 100), bool), "crop"), by=who) for who in (1, 2)],
    }
    report, left = run(bench, review, given)
    assert report.dropped == {NO_OPTION: 1, NOT_ASKABLE: 1} and len(left) == 12


def test_thresholds_are_those_of_the_benchmark(tmp_path: Path) -> None:
    folder = write(tmp_path / "bench", boundary={"min_coverage": 0.001})
    export_review(folder, tmp_path / "review", read)
    thin = [annotate(brush(box(0, 2), "water"), by=who) for who in (1, 2)]
    report, left = run(folder, tmp_path / "review", {"boundary": thin})
    assert report.num_corrected == 1
    [changed, *_] = [sample for sample in left if sample.task == "boundary"]
    assert (changed.truth, changed.options["AB".index(changed.answer)]) == ("No", "No")
    # By the paper's 3 % it would not be asked about.
    again = write(tmp_path / "paper")
    export_review(again, tmp_path / "review2", read)
    file = export(tmp_path / "review2" / "optical1_sar1", tmp_path / "x.json", {"boundary": thin}, others=HIGH)
    assert import_review(again, [file], tmp_path / "out2", read).dropped == {NOT_ASKABLE: 1, NOT_REVIEWED: 1}


def test_experts_who_draw_differently(bench: Path, review: Path) -> None:
    # Two of three say that water reaches further; one of these two still further; the third leaves it.
    given = {
        "ranking": [
            annotate(brush(box(0, 45), "water"), by=1),
            annotate(brush(box(0, 55), "water"), by=2),
            annotate(by=3),
        ]
    }
    report, left = run(bench, review, given)
    ranked = [sample for sample in left if sample.task == "ranking"]
    # Water now has 45 % of the image, trees 40 %: too close to be asked about.
    assert ranked == [] and report.dropped == {NOT_ASKABLE: 1}
    assert report.agreement.mask_iou == pytest.approx((45 / 55 + 20 / 45 + 20 / 55) / 3)


def test_the_vote() -> None:
    before = np.array([[False, True, False, True]])
    ballots = [[1, 1, 1, 0], [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    given = [np.array([ballot], bool) for ballot in ballots]
    # Pixels with two of four votes stay as they were.
    assert vote(given, before).tolist() == [[False, True, False, False]]
    assert vote(given[:3], before).tolist() == [[True, True, True, False]]
    assert vote(given[:1], before).tolist() == [[True, True, True, False]]


def test_several_files_of_one_project(bench: Path, review: Path, tmp_path: Path) -> None:
    first, second = (tmp_path / name / "export.json" for name in ("one", "two"))
    for path, rating in ((first, "high"), (second, "low")):
        path.parent.mkdir()
        export(review / "optical1_sar1", path, {"area": [annotate(rating=rating)]}, others=[annotate()])
    report = import_review(bench, [first, second], tmp_path / "out", read)
    assert report.experts == {"export (1): 1": 5, "export (2): 1": 5}
    assert report.dropped == {NOT_HIGH: 1, NOT_REVIEWED: 1}
    (tmp_path / "copy.json").write_bytes(first.read_bytes())
    with pytest.raises(SampleError, match=r"copy\.json: the same export as"):
        import_review(bench, [first, tmp_path / "copy.json"], tmp_path / "out", read)
    with pytest.raises(SampleError, match="no review was given"):
        import_review(bench, [], tmp_path / "out", read)


def test_a_review_of_another_benchmark(bench: Path, review: Path, tmp_path: Path) -> None:
    changed = [replace(sample, question=f"{sample.question} ") for sample in samples()]
    other = write(tmp_path / "other", changed)
    file = export(review / "optical1_sar1", tmp_path / "land.json", {}, others=HIGH)
    with pytest.raises(SampleError, match=r"land\.json: reviews another benchmark"):
        import_review(other, [file], tmp_path / "out", read)


def test_remarks_are_handed_on(bench: Path, review: Path) -> None:
    remark = {"type": "textarea", "from_name": "remarks", "value": {"text": ["blurred"]}}
    report, _ = run(bench, review, {"area": [annotate(remark, by=1), annotate(by=2)]})
    name = question_id(next(sample for sample in samples() if sample.task == "area"))
    assert report.remarks == ((name, "land (1): 1", "blurred"),)


def test_masks_come_back_from_label_studio_as_they_went(bench: Path, review: Path) -> None:
    """The predictions themselves, taken over as an expert's annotation, change nothing."""

    def taken(task: str) -> list[dict[str, Any]]:
        found: list[Sample] = [sample for sample in samples() if sample.task == task]
        written = next(t for p in review.iterdir() for t in tasks_of(p) if t["data"]["task"] == task)
        results = written["predictions"][0]["result"]
        assert len(results) == len(found[0].masks)
        return [annotate(*results, by=who) for who in (1, 2)]

    given = {task: taken(task) for task in ("coverage", "area", "distance", "ranking", "boundary")}
    report, left = run(bench, review, given, ruins=taken("building_change"), read=unread)
    assert left == samples() and report.num_corrected == 0
