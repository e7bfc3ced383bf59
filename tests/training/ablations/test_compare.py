"""Intervals over places and seeds against a resampling by hand, and the verdicts drawn from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import pearsonr

from terrascope.bench.score import Score
from terrascope.bench.statistics import NUM_RESAMPLES, Interval
from terrascope.training.ablations.compare import Judged, Order, compare, difference_of, has_interval, judge_sign
from tests.training.ablations.made_scores import made_score, made_variant

# Of 24 questions about 16 places.
GOOD, FAIR, BAD = [1, 1, 1, 1, 1, 0] * 4, [1, 0, 1, 0, 1, 0] * 4, [0, 0, 0, 1, 0, 0] * 4


def interval(low: float, high: float) -> Interval:
    return Interval(mean=(low + high) / 2, low=low, high=high, num=10)


def mean_over_tasks(one: Score, taken: Sequence[str], fallback: Score | None = None) -> float:
    """The macro average over the questions of places, each counted as often as it was drawn."""
    names = list(dict.fromkeys(question.task for question in one.questions))
    means = []
    for name in names:
        credits = [one.credit(q) for place in taken for q in one.questions if q.place == place and q.task == name]
        if not credits:
            credits = [one.credit(q) for q in one.questions if q.task == name]
        means.append(sum(credits) / len(credits))
    return sum(means) / len(means)


def differences_by_hand(one: Judged, other: Judged, seed: int) -> list[float]:
    """The difference in every resample: places drawn as `bench.statistics` draws them, seeds as `over_seeds` does."""
    seeds = sorted(one.scores)
    places = sorted({question.place for question in one.scores[seeds[0]].questions})
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([rng.integers(0, len(places), (100, len(places))) for _ in range(NUM_RESAMPLES // 100)])
    picked = np.random.default_rng([seed, len(seeds)]).integers(0, len(seeds), (NUM_RESAMPLES, len(seeds)))
    found = []
    for numbers, turns in zip(drawn, picked, strict=True):
        taken = [places[number] for number in numbers]
        gains = [
            mean_over_tasks(one.scores[seeds[turn]], taken) - mean_over_tasks(other.scores[seeds[turn]], taken)
            for turn in turns
        ]
        found.append(sum(gains) / len(gains))
    return found


def test_the_interval_of_a_difference_is_that_of_drawing_places_and_seeds_by_hand() -> None:
    one = made_variant("one", {0: GOOD, 1: FAIR, 2: GOOD})
    other = made_variant("other", {0: FAIR, 1: BAD, 2: FAIR})
    found = difference_of(one, other, seed=5)
    by_hand = differences_by_hand(one, other, 5)
    assert found.mean == pytest.approx((5 / 6 + 3 / 6 + 5 / 6 - 3 / 6 - 1 / 6 - 3 / 6) / 3)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(by_hand, (0.025, 0.975))))


def test_a_variant_does_not_differ_from_itself_on_any_draw() -> None:
    one = made_variant("one", {0: GOOD, 1: BAD})
    found = difference_of(one, made_variant("twin", {0: GOOD, 1: BAD}))
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_pairing_by_seed_takes_out_what_a_seed_does_to_both() -> None:
    """Seeds differ widely, but under each the first is right in exactly one more question of each place and task."""
    bits = {0: [0, 0] * 12, 1: [1, 1, 1, 1, 0, 0] * 4}
    one = made_variant("one", {seed: [1 if n % 6 == 4 else bit for n, bit in enumerate(b)] for seed, b in bits.items()})
    found = difference_of(one, made_variant("other", bits))
    assert found.mean == pytest.approx(1 / 6)
    assert found.low >= 0  # unpaired, the two seeds alone would carry it below zero


def test_one_seed_in_common_is_enough_and_none_is_not() -> None:
    one, other = made_variant("one", {0: GOOD, 1: BAD}), made_variant("other", {1: FAIR, 2: BAD})
    assert difference_of(one, other).mean == pytest.approx(1 / 6 - 3 / 6)
    assert difference_of(one, made_variant("far", {7: FAIR})).num == 0


def test_start_weights_are_compared_with_every_seed() -> None:
    start = made_variant("start", {0: BAD}, is_trained=False)
    trained = made_variant("trained", {3: FAIR, 4: GOOD})
    assert difference_of(trained, start).mean == pytest.approx((3 / 6 + 5 / 6) / 2 - 1 / 6)
    assert difference_of(start, trained).mean == pytest.approx(1 / 6 - (3 / 6 + 5 / 6) / 2)


def test_a_row_has_the_means_over_seeds() -> None:
    (row, _), _ = compare([made_variant("one", {1: GOOD, 0: BAD}), made_variant("other", {0: BAD})], "other", {})
    assert row.seeds == (0, 1)
    assert row.by_seed == pytest.approx((1 / 6, 5 / 6))
    assert row.macro.mean == pytest.approx(0.5)
    assert row.tasks["coverage"].mean == pytest.approx((0 + 1) / 2)
    assert row.tasks["area"].mean == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert row.difference.mean == pytest.approx(0)
    assert row.iou.mean == 1
    assert row.macro.low <= row.macro.mean <= row.macro.high


@pytest.mark.parametrize(
    ("found", "expected", "verdict"),
    [
        (interval(0.01, 0.2), 5.0, "yes"),
        (interval(-0.2, -0.01), 5.0, "no"),
        (interval(-0.2, -0.01), -5.0, "yes"),
        (interval(0.01, 0.2), -5.0, "no"),
        (interval(-0.01, 0.2), 5.0, "not told apart"),
        (interval(0.0, 0.2), 5.0, "not told apart"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(found: Interval, expected: float, verdict: str) -> None:
    assert judge_sign(found, expected) == verdict


def test_no_difference_is_no_verdict() -> None:
    nothing = Interval(mean=float("nan"), low=float("nan"), high=float("nan"), num=0)
    assert judge_sign(nothing, 1.0) == "not told apart"


def far_apart(num: int = 60) -> list[Judged]:
    """Three variants that are right everywhere, in every second place, and nowhere."""
    halves = [number // 6 % 2 for number in range(num)]
    return [
        made_variant("all", {0: [1] * num, 1: [1] * num}),
        made_variant("half", {0: halves, 1: halves}),
        made_variant("none", {0: [0] * num, 1: [0] * num}),
    ]


def test_the_papers_order_is_reproduced_pair_by_pair() -> None:
    rows, order = compare(far_apart(), "all", {"all": 70.0, "half": 60.0, "none": 30.0})
    assert order == Order(num_same=3, num_reversed=0, num_open=0)
    assert order.verdict == "yes"
    assert [row.verdict for row in rows] == [None, "yes", "yes"]
    assert [row.direction for row in rows] == [None, "worse", "worse"]


def test_an_order_with_one_pair_the_other_way_round_is_not_the_papers() -> None:
    rows, order = compare(far_apart(), "all", {"all": 60.0, "half": 70.0, "none": 30.0})
    assert order == Order(num_same=2, num_reversed=1, num_open=0)
    assert order.verdict == "no"
    assert [row.verdict for row in rows] == [None, "no", "yes"]


def test_few_places_tell_nothing_apart() -> None:
    """Right everywhere and nowhere, about eight places: means, but no interval, no p value and no verdict."""
    few = [made_variant("all", {0: [1] * 12, 1: [1] * 12}), made_variant("none", {0: [0] * 12, 1: [0] * 12})]
    rows, order = compare(few, "all", {"all": 70.0, "none": 30.0})
    assert order == Order(num_same=0, num_reversed=0, num_open=1)
    assert (rows[1].difference.mean, rows[1].p) == (-1.0, None)
    assert (rows[1].verdict, rows[1].direction) == ("not told apart", "not told apart")
    found = [rows[1].difference, rows[0].macro, rows[0].tasks["area"], rows[0].iou]
    assert not any(has_interval(one) for one in found) and all(one.num for one in found)
    # Ten places are enough.
    rows, order = compare(
        [made_variant(one.name, {0: bits * 3}) for one, bits in zip(few, ([1] * 6, [0] * 6), strict=True)],
        "all",
        {"all": 70.0, "none": 30.0},
    )
    assert order.verdict == "yes" and has_interval(rows[1].difference) and rows[1].p is not None


def test_twins_leave_the_order_open() -> None:
    twins = [*far_apart()[:1], made_variant("twin", {0: [1] * 60, 1: [1] * 60})]
    rows, order = compare(twins, "all", {"all": 70.0, "twin": 60.0})
    assert order == Order(num_same=0, num_reversed=0, num_open=1)
    assert (order.verdict, rows[1].verdict, rows[1].p) == ("not told apart", "not told apart", 1.0)


def test_without_numbers_of_the_paper_there_is_a_direction_and_no_verdict() -> None:
    rows, order = compare(far_apart(), "half", {})
    assert order.verdict is None
    assert [row.verdict for row in rows] == [None, None, None]
    assert [row.direction for row in rows] == ["better", None, "worse"]


def test_good_masks_go_with_right_answers() -> None:
    """Right answers have the true mask, wrong ones columns 0 to 2 of 4: an IoU of 0.5."""
    bits = [1, 1, 0, 1, 0, 0] * 10
    widths = [4 if bit else 2 for bit in bits]
    widths[0] = 3  # an IoU of 0.75, so that the two are not the same thing
    judged = Judged(name="one", scores={0: made_score(bits, widths=widths)})
    (row,), _ = compare([judged], "one", {})
    found = row.separation
    assert found is not None
    assert found.right_iou.mean == pytest.approx((29 * 1.0 + 0.75) / 30)
    assert found.wrong_iou.mean == pytest.approx(0.5)
    assert found.gap.mean == pytest.approx(found.right_iou.mean - 0.5)
    assert found.verdict == "yes"
    ious = [width / 4 for width in widths]
    assert found.correlation.r == pytest.approx(pearsonr(ious, bits).statistic)
    areas = [number for number in range(60) if number % 2]
    expected = pearsonr([ious[n] for n in areas], [bits[n] for n in areas])
    by_task = found.by_task["area"]
    assert (by_task.num, by_task.r) == (30, pytest.approx(expected.statistic))


def test_answers_that_are_all_right_have_no_gap() -> None:
    (row,), _ = compare([made_variant("one", {0: [1] * 6})], "one", {})
    assert row.separation is not None
    assert (row.separation.wrong_iou.num, row.separation.gap.num) == (0, 0)
    assert row.separation.verdict == "not told apart"


def test_a_run_without_masks_has_no_iou() -> None:
    judged = Judged(name="textual", scores={0: made_score(GOOD, num_masks=0)})
    (row,), _ = compare([judged], "textual", {})
    assert (row.iou.num, row.separation) == (0, None)
    assert row.macro.mean == pytest.approx(5 / 6)
