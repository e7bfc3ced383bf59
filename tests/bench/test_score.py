"""Scores computed by hand."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from terrascope.bench.external.protocols import PROTOCOLS
from terrascope.bench.score import score
from terrascope.errors import SampleError
from terrascope.sample import SampleMask
from tests.bench.made_runs import make_question, mask_of, say

WATER = mask_of(0, 4)
BY_TEXT = PROTOCOLS["landsat30-au"]


def test_a_perfect_run_scores_one_everywhere() -> None:
    tasks = ("coverage", "area", "ranking")
    samples = [make_question(n, task=tasks[n % 3], answer="ABCD"[n % 4], true_masks=[WATER]) for n in range(24)]
    found = score(samples, [say(sample) for sample in samples])
    for summary in (found.overall, *found.by_rule.values(), *found.by_shown.values()):
        assert (summary.macro.mean, summary.macro.low, summary.macro.high) == (1.0, 1.0, 1.0)
        assert (summary.micro.mean, summary.together.unparsable, summary.together.failed) == (1.0, 0.0, 0.0)
    assert found.grounding is not None
    assert (found.grounding.iou.mean, found.grounding.mask_iou.mean, found.grounding.num_missing) == (1.0, 1.0, 0)
    assert found.grounding.wrong_iou.num == 0 and found.grounding.correlation.r is None
    assert (found.num_asked, found.disagreeing, found.reasons) == (24, (), {})


def test_macro_is_over_tasks_and_micro_over_questions() -> None:
    samples = [make_question(n, task="coverage") for n in range(4)]
    samples += [make_question(n, task="ranking", options=("tree", "water")) for n in range(4, 6)]
    texts = ["B", "B", "B", "A", "A", "nothing"]
    found = score(samples, [say(sample, text) for sample, text in zip(samples, texts, strict=True)])
    overall = found.overall
    assert overall.tasks["coverage"].accuracy.mean == 0.75
    assert overall.tasks["ranking"].accuracy.mean == 0.0
    assert overall.tasks["ranking"].unparsable == 0.5
    assert (overall.macro.mean, overall.micro.mean) == (0.375, 0.5)
    assert (overall.num_tasks, overall.macro.num, overall.micro.num) == (2, 6, 6)
    assert overall.together.unparsable == pytest.approx(1 / 6)
    assert (overall.tasks["coverage"].chance, overall.tasks["ranking"].chance) == (0.25, 0.5)
    assert overall.chance == 0.375
    assert found.grounding is None


def test_a_task_that_cannot_be_done_is_out_of_the_average_and_a_failure_in_another_is_wrong() -> None:
    samples = [make_question(n, task="coverage") for n in range(4)]
    samples += [make_question(n, task="building_change", true_masks=[WATER]) for n in range(4, 7)]
    replies = [say(samples[0]), say(samples[1]), say(samples[2]), say(samples[3], failed="out of memory")]
    replies += [say(sample, failed="several dates") for sample in samples[4:]]
    found = score(samples, replies)
    assert (found.overall.num_tasks, found.overall.macro.mean, found.overall.micro.mean) == (1, 0.75, 0.75)
    assert (found.overall.macro.num, found.overall.micro.num) == (4, 4)
    assert not found.overall.tasks["building_change"].can_do
    assert found.overall.together.failed == pytest.approx(4 / 7)
    # What failed is not unparsable as well.
    assert found.overall.together.unparsable == 0.0
    assert found.reasons == {"several dates": 3, "out of memory": 1}


def test_a_run_that_can_do_nothing_has_no_average() -> None:
    samples = [make_question(n, true_masks=[WATER]) for n in range(3)]
    found = score(samples, [say(sample, failed="no SAR") for sample in samples])
    assert (found.overall.num_tasks, found.overall.macro.num, found.grounding) == (0, 0, None)
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_interval_of_the_macro_average_by_enumeration() -> None:
    # Place p: a right coverage and a wrong area; place q: a wrong coverage, twice, and a right area.
    asked = [("p", "coverage", "B"), ("p", "area", "A"), ("q", "coverage", "A"), ("q", "coverage", "A")]
    asked += [("q", "area", "B"), ("r", "area", "B")]
    samples = [make_question(n, task=task, place=place) for n, (place, task, _) in enumerate(asked)]
    replies = [say(sample, text) for sample, (_, _, text) in zip(samples, asked, strict=True)]
    means, possible = {"coverage": 1 / 3, "area": 2 / 3}, []
    for drawn in itertools.product("pqr", repeat=3):
        accuracies = []
        for task in ("coverage", "area"):
            rights = [text == "B" for d in drawn for place, name, text in asked if (place, name) == (d, task)]
            accuracies.append(np.mean(rights) if rights else means[task])
        possible.append(np.mean(accuracies))
    low, high = np.quantile(possible, (0.025, 0.975), method="inverted_cdf")
    found = score(samples, replies).overall.macro
    assert found.mean == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


def test_places_of_two_sources_are_two_places() -> None:
    samples = [make_question(n, place="same") for n in range(8)]
    mixed = [replace(sample, source=f"source{n % 2}") for n, sample in enumerate(samples)]
    texts = ["B", "A"] * 4
    alone = score(samples, [say(s, t) for s, t in zip(samples, texts, strict=True)]).overall.micro
    apart = score(mixed, [say(s, t) for s, t in zip(mixed, texts, strict=True)]).overall.micro
    assert (alone.low, alone.high) == (0.5, 0.5)
    assert (apart.low, apart.high) == (0.0, 1.0)


def test_all_rules_are_told_and_one_counts() -> None:
    samples = [make_question(n) for n in range(4)]
    replies = [say(samples[0], "The answer is B."), say(samples[1], "b"), say(samples[2], "B"), say(samples[3], "20%")]
    found = score(samples, replies)
    means = {rule: summary.micro.mean for rule, summary in found.by_rule.items()}
    assert means == {"paper": 0.5, "release": 0.5, "strict": 0.75}
    assert [question.id for question in found.disagreeing] == ["q0", "q1", "q3"]
    assert found.overall.micro.mean == 0.5
    assert score(samples, replies, rule="strict").overall.micro.mean == 0.75
    assert found.by_rule["strict"].together.unparsable == 0.25


def test_answers_by_text_are_read_where_the_benchmark_says_so() -> None:
    sample = make_question(0, options=("Deciduous", "Water", "Shrub", "Coniferous"), answer="A")
    reply = say(sample, "Deciduous")
    assert score([sample], [reply], rule="release").overall.micro.mean == 0.0
    assert score([sample], [reply], rule="release", protocol=BY_TEXT).overall.micro.mean == 1.0


def test_labels_are_compared_as_sets() -> None:
    truth = "Arable land; Pastures"
    samples = [make_question(n, options=(), answer=truth) for n in range(4)]
    texts = ["pastures, arable land", "Arable land", "no idea", truth]
    found = score(samples, [say(s, t) for s, t in zip(samples, texts, strict=True)], protocol=PROTOCOLS["bigearthnet"])
    # F1 of the four images: 1, 2/3, 0 and 1.
    assert found.overall.macro.mean == found.overall.micro.mean == pytest.approx(8 / 3 / 4)
    assert found.overall.together.unparsable == 0.25 and found.earns == "F1"
    assert found.to_dict()["metric"] == "labels" and score(samples, [say(samples[0])]).to_dict()["metric"] == "accuracy"
    assert [found.is_right(question) for question in found.questions] == [True, False, False, True]
    assert found.labels is not None
    assert found.labels.f1 == pytest.approx(8 / 3 / 4)
    assert found.labels.by_label == pytest.approx({"Arable land": 2 * 3 / (2 * 3 + 1), "Pastures": 2 * 2 / (2 * 2 + 2)})
    # Five of eight labels are named, and none that is wrong.
    assert (found.labels.exact, found.labels.recall) == (0.5, 0.625)
    assert found.labels.micro_f1 == pytest.approx(2 * 5 / (2 * 5 + 3))
    with pytest.raises(SampleError, match="no true label"):
        score([make_question(0, options=(), answer="x")], [say(samples[0])], protocol=PROTOCOLS["bigearthnet"])


def test_labels_that_are_only_thought_of_do_not_count() -> None:
    sample = make_question(0, options=(), answer="Pastures")
    text = "<think>Arable land? No: [SEG] Mixed forest is not there.</think><answer>Pastures</answer>"
    found = score([sample], [say(sample, text)], protocol=PROTOCOLS["bigearthnet"])
    assert found.questions[0].readings["paper"].choice == "Pastures" and found.overall.macro.mean == 1.0
    assert found.labels is not None and found.labels.exact == found.labels.micro_f1 == 1.0


def test_what_is_shown_is_told_apart() -> None:
    samples = [make_question(n, shown=shown) for n, shown in enumerate(("optical", "sar", "both", "both"))]
    found = score(samples, [say(s, t) for s, t in zip(samples, "BABA", strict=True)])
    assert {shown: summary.macro.mean for shown, summary in found.by_shown.items()} == {
        "optical": 1.0, "sar": 0.0, "both": 0.5,
    }  # fmt: skip


def test_free_questions_are_right_within_bounds() -> None:
    samples = [make_question(n, options=(), answer="34%", value=34.0, unit="%") for n in range(3)]
    found = score(samples, [say(s, t) for s, t in zip(samples, ("36%", "40%", "much"), strict=True)])
    assert found.overall.micro.mean == pytest.approx(1 / 3)
    assert found.overall.together.unparsable == pytest.approx(1 / 3)
    assert found.overall.tasks["coverage"].chance is None and found.overall.chance is None
    assert found.disagreeing == ()


def test_grounding_is_over_the_tasks_that_can_be_done_and_a_failure_has_no_mask() -> None:
    samples = [make_question(n, true_masks=[WATER]) for n in range(4)]
    samples.append(make_question(4, task="area", true_masks=[WATER]))
    replies = [
        say(samples[0]),
        say(samples[1], "A", found=[mask_of(0, 2)]),
        say(samples[2], "A", found=[]),
        say(samples[3], failed="out of memory"),
        say(samples[4], failed="no scale"),
    ]
    grounding = score(samples, replies).grounding
    assert grounding is not None
    assert (grounding.num_questions, grounding.num_missing) == (4, 2)
    assert grounding.iou.mean == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert (grounding.right_iou.mean, grounding.wrong_iou.mean) == (1.0, pytest.approx(0.5 / 3))


def test_a_partial_run_is_scored_over_what_was_asked() -> None:
    samples = [make_question(n) for n in range(10)]
    found = score(samples, [say(sample, "B" if n else "A") for n, sample in enumerate(samples[:4])])
    assert (found.num_asked, found.num_questions, found.overall.micro.mean) == (4, 10, 0.75)


def test_of_two_replies_to_one_question_the_last_counts() -> None:
    sample = make_question(0)
    assert score([sample], [say(sample, failed="timeout"), say(sample)]).overall.micro.mean == 1.0


def test_the_order_of_replies_changes_nothing() -> None:
    samples = [make_question(n, true_masks=[WATER]) for n in range(20)]
    replies = [say(sample, "ABCD"[n % 4], found=[mask_of(n % 5, 6)]) for n, sample in enumerate(samples)]
    assert score(samples, replies) == score(samples, replies[::-1])


def test_what_does_not_belong_together_is_refused() -> None:
    sample = make_question(0)
    with pytest.raises(SampleError, match="mine: it answers q7"):
        score([sample], [say(make_question(7))], run="mine")
    with pytest.raises(SampleError, match="no reply"):
        score([sample], [])
    wrong = replace(sample, reasoning="<answer>E</answer>")
    with pytest.raises(SampleError, match="'E' is the letter of none of its 4"):
        score([wrong], [say(sample)])
    damaged = make_question(0, true_masks=[SampleMask(counts="9", image=1, class_name="water")])
    with pytest.raises(SampleError, match="q0"):
        score([damaged], [say(sample)])


def test_the_numbers_are_json() -> None:
    samples = [make_question(n, true_masks=[WATER]) for n in range(3)]
    told = json.loads(json.dumps(score(samples, [say(sample) for sample in samples]).to_dict(), allow_nan=False))
    assert told["overall"]["macro"]["mean"] == 1.0
    assert told["grounding"]["wrong_iou"]["mean"] is None
    assert told["by_rule"]["strict"]["tasks"]["coverage"]["accuracy"]["num"] == 3
