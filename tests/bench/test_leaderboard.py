"""Runs beside each other: their order, whether one is better, and which are refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from terrascope.bench.external.labels import LABELS
from terrascope.bench.external.protocols import PROTOCOLS
from terrascope.bench.leaderboard import compare, open_runs, rank, score_run
from terrascope.bench.score import Score, score
from terrascope.bench.tables import to_markdown
from terrascope.errors import SampleError
from terrascope.sample import Sample
from tests.bench.made_runs import MadeBenchmark, make_question, mask_of, say, write_run

SAMPLES = tuple(
    make_question(n, task=("coverage", "area")[n % 2], place=f"p{n // 2}", true_masks=[mask_of(0, 4)])
    for n in range(40)
)
BENCH = MadeBenchmark(samples=SAMPLES)


def scored(rights: list[bool], name: str = "run", samples: tuple[Sample, ...] = SAMPLES) -> Score:
    return score(samples, [say(s, "B" if right else "A") for s, right in zip(samples, rights, strict=False)], run=name)


def test_a_run_does_not_differ_from_itself() -> None:
    one = scored([n % 3 == 0 for n in range(40)])
    found = compare(one, one)
    assert (found.macro.mean, found.macro.low, found.macro.high, found.p, found.mcnemar_p) == (0.0, 0.0, 0.0, 1.0, 1.0)
    assert (found.only_first, found.only_second, found.num_questions, found.num_tasks) == (0, 0, 40, 2)
    assert found.mark == ""


def test_the_difference_is_taken_question_by_question() -> None:
    # The first is right in 30, the second in 20 of the same: none that only the second has.
    first, second = scored([n < 30 for n in range(40)]), scored([n < 20 for n in range(40)])
    found = compare(first, second)
    assert (found.macro.mean, found.micro.mean) == (pytest.approx(0.25), pytest.approx(0.25))
    assert (found.only_first, found.only_second) == (10, 0)
    # Ten questions at five places.
    assert found.mcnemar_p == pytest.approx(2 / 2**5)
    # Five of twenty places make the difference: a resample has none of them once in 300 times.
    assert found.p == pytest.approx(2 * 0.75**20, abs=0.012) and found.mark in ("*", "**")
    back = compare(second, first)
    assert (back.macro.mean, back.only_second, back.p) == (-found.macro.mean, 10, found.p)
    # Though both intervals by themselves overlap, the paired one does not hold 0.
    assert second.overall.macro.high > first.overall.macro.low and found.macro.low > 0


def test_the_interval_of_the_difference_is_that_of_its_places() -> None:
    rng = np.random.default_rng(8)
    rights = [[bool(r) for r in rng.random(40) < share] for share in (0.7, 0.5)]
    found = compare(scored(rights[0]), scored(rights[1]))
    gains = np.array(rights[0], float) - np.array(rights[1], float)
    # Places have a question of each task, so that the average over tasks is the mean over places.
    by_place = gains.reshape(20, 2).mean(axis=1)
    means = by_place[np.random.default_rng(1).integers(0, 20, (20_000, 20))].mean(axis=1)
    assert found.macro.mean == pytest.approx(by_place.mean())
    assert (found.macro.low, found.macro.high) == pytest.approx(tuple(np.quantile(means, (0.025, 0.975))), abs=0.03)


def test_only_common_questions_of_common_tasks_are_compared() -> None:
    first = scored([True] * 10)
    failing = [say(s, failed="no scale") if s.task == "area" else say(s, "A") for s in SAMPLES]
    found = compare(first, score(SAMPLES, failing))
    assert (found.num_questions, found.num_tasks, found.macro.mean, found.only_first) == (5, 1, 1.0, 5)
    nothing = compare(first, score(SAMPLES, [say(s) for s in SAMPLES[20:]]))
    assert (nothing.num_questions, nothing.p, nothing.mcnemar_p, nothing.mark) == (0, 1.0, 1.0, "")


def test_the_best_average_comes_first_and_what_can_do_nothing_last() -> None:
    nothing = score(SAMPLES, [say(s, failed="no SAR") for s in SAMPLES], run="nothing")
    weak, strong = scored([n < 4 for n in range(40)], "weak"), scored([n < 36 for n in range(40)], "strong")
    board = rank(BENCH, [weak, nothing, strong])
    assert [entry.run for entry in board.scores] == ["strong", "weak", "nothing"]
    assert [board.mark(place) for place in range(3)] == ["**", "", ""]
    assert board.tasks == ("coverage", "area")


def test_the_table_in_markdown() -> None:
    strong, weak = scored([True] * 40, "strong|est"), scored([n < 20 for n in range(10)], "weak")
    lines = to_markdown(rank(BENCH, [weak, strong])).splitlines()
    assert lines[0] == "# made-bench"
    assert lines[2] == "40 questions, digest `abababababab`, rule of reading: paper."
    assert lines[4] == (
        "| # | run | questions | average | tasks | over questions | coverage | area | IoU | unparsable | failed |"
    )
    assert lines[6].startswith("| 1 | strong\\|est | 40 | 100.0 % (100.0 to 100.0) | 2 | 100.0 %")
    assert lines[7].startswith("| - | weak | 10 of 40 | 100.0 %")
    assert "without a rank" in lines[9]
    rows = [line for line in lines if line.startswith("|")]
    for row, following in pairwise(rows):
        if following.startswith("| ---"):
            assert row.count(" | ") == following.count(" | ")


def test_a_run_that_was_asked_only_some_questions_is_not_ranked() -> None:
    weak = scored([n < 4 for n in range(40)], "weak")
    few = score(SAMPLES, [say(s) for s in SAMPLES[:8]], run="few")
    # All of one task, and nothing of the other.
    one_task = score(SAMPLES, [say(s) for s in SAMPLES if s.task == "area"], run="one task")
    board = rank(BENCH, [few, one_task, weak])
    assert [entry.run for entry in board.scores] == ["weak", "few", "one task"]
    assert ([board.rank(place) for place in range(3)], board.num_ranked) == (["1", "-", "-"], 1)
    assert [board.mark(place) for place in range(3)] == ["", "", ""]
    assert (few.overall.macro.mean, board.to_dict()["num_ranked"]) == (1.0, 1)
    text = to_markdown(board)
    assert "| - | few | 8 of 40 | 100.0 %" in text and "| - | one task | 20 of 40 |" in text
    assert "without a rank" not in to_markdown(rank(BENCH, [weak]))


def test_averages_of_its_own_tables_are_told_of_anothers_benchmark() -> None:
    samples = tuple(
        make_question(n, task=task, options=("yes", "no"))
        for n, task in enumerate(["presence"] * 3 + ["comp", "count"])
    )
    bench = MadeBenchmark(samples=samples, name="rsvqa-lr")
    run_score = score(samples, [say(s, text) for s, text in zip(samples, "BBAAB", strict=True)], run="r")
    text = to_markdown(rank(bench, [run_score]))
    assert "## Averages of its own tables" in text
    # OA: 3 of 5; AA: the mean of 2/3, 0 and 1; the first has a column that was not asked.
    assert "| r | - | 55.6 % | 60.0 % |" in text


def test_runs_that_name_labels_are_ranked_by_their_f1() -> None:
    asked = tuple(make_question(n, options=(), answer="Pastures; Arable land") for n in range(20))
    bench = MadeBenchmark(samples=asked, name="bigearthnet")
    protocol = PROTOCOLS["bigearthnet"]
    half = score(asked, [say(s, "Pastures") for s in asked], run="half", protocol=protocol)
    # Two of 19 are right: F1 is 2 * 2 / (2 + 19).
    everything = score(asked, [say(s, "; ".join(LABELS)) for s in asked], run="everything", protocol=protocol)
    board = rank(bench, [everything, half])
    assert [entry.run for entry in board.scores] == ["half", "everything"] and board.mark(0) == "**"
    (gain,) = board.comparisons
    assert gain.macro.mean == gain.micro.mean == pytest.approx(2 / 3 - 4 / 21)
    assert (gain.only_first, gain.only_second, gain.mcnemar_p) == (0, 0, 1.0)
    assert "| everything | 100.0 % | 19.0 % | 19.0 % | 100.0 % | 0.0 % |" in to_markdown(board)


def test_runs_are_opened_and_told_apart(tmp_path: Path) -> None:
    right, wrong = [say(s) for s in SAMPLES], [say(s, "A") for s in SAMPLES]
    one = write_run(tmp_path / "one", BENCH, right, predictor="nano")
    two = write_run(tmp_path / "two", BENCH, wrong, predictor="nano")
    deep = write_run(tmp_path / "deep" / "two", BENCH, wrong, predictor="nano")
    other = write_run(tmp_path / "other", BENCH, wrong, predictor="random")
    assert [run.name for run in open_runs(BENCH, [one, other])] == ["nano", "random"]
    assert [run.name for run in open_runs(BENCH, [one, two])] == ["nano (one)", "nano (two)"]
    names = [run.name for run in open_runs(BENCH, [one, two, deep])]
    assert names == ["nano (one)", f"nano ({tmp_path.name}/two)", "nano (deep/two)"]
    (run,) = open_runs(BENCH, [one])
    assert score_run(BENCH, run).overall.macro.mean == 1.0


def test_a_run_of_another_benchmark_is_refused(tmp_path: Path) -> None:
    other = MadeBenchmark(samples=SAMPLES, name="other-bench", digest="cd" * 32)
    folder = write_run(tmp_path / "run", other, [say(SAMPLES[0])])
    with pytest.raises(
        SampleError, match=r"run: a run on other-bench with the digest cdcdcdcdcdcd, and made-bench has ab"
    ):
        open_runs(BENCH, [folder])
    with pytest.raises(SampleError, match="no reply yet"):
        open_runs(BENCH, [write_run(tmp_path / "empty", BENCH, [])])
    with pytest.raises(SampleError, match=r"run\.json: not found"):
        open_runs(BENCH, [tmp_path])
    twice = write_run(tmp_path / "twice", BENCH, [say(SAMPLES[0])])
    with pytest.raises(SampleError, match="twice: this run is given twice"):
        open_runs(BENCH, [twice, tmp_path / "empty" / ".." / "twice"])
    with pytest.raises(SampleError, match="no run is given"):
        open_runs(BENCH, [])
