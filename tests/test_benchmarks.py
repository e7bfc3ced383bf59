"""What the benchmarks compute, on masks and images of known geometry. No benchmark is run."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the forest needs scikit-learn, which comes with the dev extra")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import alone
import forest
import geometry
import report
import scoring
import serving
import validation_scenes

import rasters
from terrascope.georeference import Georeference
from terrascope.landcover import TERRASCOPE
from terrascope.rasters.sensors import render
from terrascope.scene import LabelMap, Observation, Scene
from terrascope.sources.chips import Chip
from terrascope.sources.hls_worldcover import CLASS_IDS
from terrascope.sources.synthetic import make_sample
from terrascope.tasks import Question
from terrascope.trace import Trace

WATER, TREE, CLOUD = (TERRASCOPE.id_of(name) for name in ("water", "tree", "cloud"))


def halves() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """On 10 x 10 pixels: the left half, the upper half, everything."""
    left, upper = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    left[:, :5], upper[:5] = True, True
    return left, upper, np.ones((10, 10), bool)


def ask(truth: str, *, options: tuple[str, ...] = (), value: float | None = None, unit: str | None = None) -> Question:
    answer = "ABCD"[options.index(truth)] if options else truth
    return Question(
        task="coverage", text="?", options=options, trace=Trace(answer=answer), truth=truth, value=value, unit=unit
    )


def test_a_step_is_scored_where_the_truth_is_known() -> None:
    left, upper, everything = halves()
    score = scoring.score_step(left, upper, everything)
    assert (score.iou, score.coverage, score.error_points) == (pytest.approx(25 / 75), 0.5, 0.0)
    # In the upper half alone, the prediction is half of it and the truth all of it.
    score = scoring.score_step(left, upper, upper)
    assert (score.iou, score.coverage, score.error_points) == (0.5, 1.0, 50.0)


def test_two_empty_masks_agree_and_a_false_alarm_does_not() -> None:
    left, _, everything = halves()
    empty = ~everything
    assert scoring.score_step(empty, empty, everything).iou == 1.0
    assert scoring.score_step(left, empty, everything) == scoring.StepScore(iou=0.0, coverage=0.0, error_points=50.0)


def test_a_missing_step_counts_nothing_and_a_surplus_step_is_passed_over() -> None:
    left, upper, everything = halves()
    found, missing = scoring.score_steps([left], [left, upper], [everything, everything])
    assert (found.iou, missing.iou, missing.error_points) == (1.0, 0.0, 50.0)
    (missing,) = scoring.score_steps([], [~everything], [everything])
    assert missing.iou == 0.0
    assert len(scoring.score_steps([left, upper, left], [left], [everything])) == 1


@pytest.mark.parametrize(
    ("question", "answer", "right"),
    [
        (ask("Yes"), "yes.", True),
        (ask("Yes"), "No", False),
        (ask("northern part"), "northern part", True),
        (ask("34%", options=("12%", "34%")), "B", True),
        (ask("34%", options=("12%", "34%")), "A", False),
        (ask("34%", options=("12%", "34%")), "34%", False),
        (ask("34%", value=34.2, unit="%"), "37%", True),
        (ask("34%", value=34.2, unit="%"), "38%", False),
        (ask("10 ha", value=100_000.0, unit="m2"), "11 ha", True),
        (ask("10 ha", value=100_000.0, unit="m2"), "11.1 ha", False),
        (ask("10 ha", value=100_000.0, unit="m2"), "0.1 km2", True),
        (ask("4", value=4.0, unit="count"), "5", False),
        (ask("20", value=20.0, unit="count"), "22", True),
        (ask("20", value=20.0, unit="count"), "many", False),
    ],
)
def test_an_answer_is_right_within_the_stated_bounds(question: Question, answer: str, right: bool) -> None:
    assert scoring.is_right(question, answer) is right


def test_an_answer_without_its_letter_or_number_is_unparsable() -> None:
    choice, number, word = ask("34%", options=("12%", "34%")), ask("34%", value=34.0, unit="%"), ask("Yes")
    assert [scoring.is_unparsable(choice, text) for text in ("B", "34%", "")] == [False, True, True]
    assert [scoring.is_unparsable(number, text) for text in ("3%", "3 ha", "")] == [False, True, True]
    assert [scoring.is_unparsable(word, text) for text in ("Yes", "perhaps", "")] == [False, False, True]


def test_the_features_are_values_means_and_deviations() -> None:
    image = np.zeros((3, 7, 7), np.float32)
    image[0, 3, 3] = 1.0
    image[1] = 0.25
    features = forest.describe_pixels(image)
    assert features.shape == (7, 7, 9)
    # One pixel of 25 is 1: mean 1/25, variance 1/25 - 1/625.
    expected = [1.0, 0.25, 0.0, 1 / 25, 0.25, 0.0, math.sqrt(24) / 25, 0.0, 0.0]
    np.testing.assert_allclose(features[3, 3], expected, atol=1e-6)
    np.testing.assert_allclose(features[1, 5, 3], 1 / 25, atol=1e-6)
    assert features[0, 0, 3] == 0.0


def make_chip() -> Chip:
    """Dark water on the left, bright trees on the right; the first row was not measured."""
    ids = np.full((10, 10), TREE, np.uint8)
    ids[:, :5] = WATER
    valid = np.ones((10, 10), bool)
    valid[0] = False
    pixels = np.where(ids == WATER, 10, 200).astype(np.float32)[None].repeat(3, 0) * valid
    image = Observation(
        pixels=pixels, bands=("red", "green", "blue"), modality="optical", sensor="rgb", valid=valid,
        georeference=Georeference(gsd_m=30.0),
    )  # fmt: skip
    labels = LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=CLASS_IDS)
    return Chip(source="made", key="0", place="0", split="val", scene=Scene.of(optical=[image]), labels=(labels,))


def test_the_forest_learns_what_colour_tells() -> None:
    chip = make_chip()
    fitted = forest.fit_forest([chip], render)
    predicted = forest.predict_ids(fitted, chip.scene.observations[0], render)
    valid = chip.scene.observations[0].valid
    assert np.array_equal(predicted[valid], chip.labels[0].ids[valid])
    scores = forest.score_chip(predicted, chip)
    assert [(score.iou, score.coverage, score.error_points) for score in scores] == [(1.0, 0.5, 0.0)] * 2


def test_clouds_are_land_cover_where_only_optical_images_are_shown() -> None:
    sample = make_sample(5, size=64, kind="town", num_dates=1, cloudy=True)
    cloud = sample.clouds[0]
    (optical,) = validation_scenes.label_generated(sample, "optical")
    assert np.array_equal(optical.mask(CLOUD), cloud) and CLOUD in optical.class_ids_known
    assert np.array_equal(optical.ids[~cloud], sample.labels[0].ids[~cloud])
    (both,) = validation_scenes.label_generated(sample, "both")
    assert np.array_equal(both.ids, sample.labels[0].ids) and CLOUD not in both.class_ids_known
    assert optical.objects is None and both.objects is None


def test_half_of_the_questions_of_a_task_have_options() -> None:
    scenes = [where for where in validation_scenes.generated_scenes("country", 3) if where.shown == "both"]
    asked = validation_scenes.ask_tasks(scenes, np.random.default_rng(0), per_cell=4)
    coverage = [one.question for one in asked if one.question.task == "coverage"]
    assert sorted(bool(question.options) for question in coverage) == [False, False, True, True]
    assert len({(one.where.name, one.question.text, one.question.options) for one in asked}) == len(asked)


def test_the_truth_holds_on_valid_pixels_and_at_the_scale_of_the_scene() -> None:
    chip = make_chip()
    labelled = validation_scenes.label(chip.scene, chip.labels)
    assert labelled.pixel_size is not None and labelled.pixel_size.width_m[0] == 30.0
    assert not labelled.valid[0].any() and labelled.valid[1:].all()


def test_a_scene_for_reading_is_read_alike_from_disk_and_over_http(tmp_path: Path) -> None:
    rasters.write_scene(tmp_path / "scene.tif", 700)
    (image,) = rasters.opened(str(tmp_path / "scene.tif"))
    assert image.shape == (700, 700) and image.bands == rasters.BANDS and image.sensor == "sentinel-2"
    assert not isinstance(image.pixels, np.ndarray)
    (file,) = rasters.opened_by_rasterio(str(tmp_path / "scene.tif"))
    assert rasters.read_bands(image) == pytest.approx(rasters.read_bands_by_rasterio(file), rel=1e-4)
    with rasters.served(tmp_path) as address:
        (remote,) = rasters.opened(f"{address}/scene.tif")
        part = slice(500, 600), slice(30, 90)
        assert np.array_equal(remote.window(*part).pixels, image.window(*part).pixels)
        assert rasters.Windows(64, 5, False).per_second(remote) > 0


def test_windows_lie_in_the_image() -> None:
    in_order = rasters.Windows(100, 5, True).places(250, 320)
    assert [rows.start for rows, _ in in_order] == [0, 0, 0, 100, 100]
    assert [columns.start for _, columns in in_order] == [0, 100, 200, 0, 100]
    at_random = rasters.Windows(100, 50, False).places(250, 320)
    assert len(at_random) == 50 and len({columns.start for _, columns in at_random}) > 20
    assert all(rows.start >= 0 and rows.stop <= 250 and columns.stop <= 320 for rows, columns in at_random)
    assert rasters.Windows(1024, 3, True).places(64, 50) == [(slice(0, 50), slice(0, 50))]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("label", [label for label, _, theirs, _, _ in rasters.MEASURES if theirs])
def test_the_compared_measures_agree(label: str, tmp_path: Path) -> None:
    a, b = geometry.draw_masks(300)
    for name, numbers in {"a": a, "b": b, "ids": a + 2 * b.astype(np.uint8)}.items():
        np.save(tmp_path / f"{name}.npy", numbers)
    ours, theirs, load = next(row[1:4] for row in rasters.MEASURES if row[0] == label)
    prepared = load(tmp_path)
    np.testing.assert_allclose(ours(*prepared), theirs(*prepared), rtol=1e-9)


def test_a_cost_is_that_of_the_work_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((4096, 4096), bool))
    np.save(tmp_path / "b.npy", np.zeros((4096, 4096), bool))
    cost = alone.run_alone(np.logical_or, geometry.load_masks, tmp_path)
    assert cost.value.all() and cost.seconds > 0
    assert 15 < cost.peak_mib < 25, "one mask of 16 MiB; the masks given do not count"


def score(*, source: str, num_options: int, right: bool, ious: tuple[float, ...]) -> report.Score:
    steps = tuple(scoring.StepScore(iou=iou, coverage=0.5 if iou else 0.01, error_points=10.0) for iou in ious)
    return report.Score(
        source=source, shown="optical", task="coverage", group=source, num_options=num_options, steps=steps,
        forest_steps=steps if source == "HLS" else (), right=right, oracle_right=True, disagrees=not right,
        unparsable=False,
    )  # fmt: skip


def test_the_report_holds_the_means() -> None:
    scores = [
        score(source="HLS", num_options=4, right=True, ious=(0.5,)),
        score(source="HLS", num_options=2, right=False, ious=(0.25, 0.0)),
        score(source="OMBRIA", num_options=0, right=False, ious=(1.0,)),
    ]
    clouds = [report.CloudScore(shown="sar", group="a", iou={"everywhere": 0.5})]
    made = report.Report(setting={"model": "nano"}, seed=0, scores=scores, clouds=clouds)
    numbers = made.to_dict()
    hls, ombria = numbers["headline"]
    assert hls["iou"]["mean"] == 0.375 and hls["iou"]["num"] == 2 and hls["iou_all"]["mean"] == 0.25
    assert hls["options"]["mean"] == 0.5 and hls["options_random"]["mean"] == 0.375
    assert hls["options_oracle"]["mean"] == 1.0 and hls["disagreements"]["mean"] == 0.5
    assert hls["free"] is None and ombria["free"]["mean"] == 0.0 and ombria["options"] is None
    assert numbers["forest"]["iou"]["difference"]["mean"] == 0.0
    assert numbers["clouds"]["sar"]["everywhere"]["mean"] == 0.5 and numbers["clouds"]["sar"]["under clouds"] is None
    counts = {(cell["source"], cell["task"]): cell["questions"] for cell in numbers["cells"]}
    assert counts["HLS", "coverage"] == 2 and counts["HLS", "area"] == 0
    assert "| HLS | optical | 2 | 0.38 (0.38 to 0.38) | 10.0 (10.0 to 10.0) | 50% (50% to 50%) | 100% | 38% | - |" in (
        made.to_markdown()
    )


def test_the_figures_of_the_server_are_read_right() -> None:
    assert [serving.quantile(range(1, 21), share) for share in (0.5, 0.95, 1)] == [10, 19, 20]
    assert serving.slope([0, 30, 60], [100, 101, 102]) == pytest.approx(2)
    assert serving.read_metrics('# HELP a\na 3.0\nb{x="y z"} 2\nc_total 1e3\n') == {"a": 3.0, "c_total": 1000.0}
