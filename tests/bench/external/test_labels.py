"""Labels read from answers, and their scores against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from terrascope.bench.external.labels import LABELS, SEPARATOR, read_labels, score_labels

FARMED = "Land principally occupied by agriculture, with significant areas of natural vegetation"
some_labels = st.frozensets(st.sampled_from(LABELS))


@given(some_labels)
def test_labels_as_the_question_lists_them_are_read_back(labels: frozenset[str]) -> None:
    assert read_labels(SEPARATOR.join(sorted(labels))) == labels
    assert read_labels(", ".join(sorted(labels)).upper() + ".") == labels


@pytest.mark.parametrize(
    ("answer", "labels"),
    [
        ("", set()),
        ("There is water and a wood.", set()),
        ("<answer>Arable land</answer>", {"Arable land"}),
        ("- Arable land\n- Mixed forest", {"Arable land", "Mixed forest"}),
        ("Beaches, dunes, sands, Marine waters", {"Beaches, dunes, sands", "Marine waters"}),
        ("broad leaved forest", {"Broad-leaved forest"}),
        ("farmland with natural vegetation", {FARMED}),
        ("Moors, heathland and sclerophyllous vegetation", {"Moors, heathland and sclerophyllous vegetation"}),
        ("Inland waterside", set()),
    ],
)
def test_labels_in_free_words(answer: str, labels: set[str]) -> None:
    assert read_labels(answer) == labels


@given(st.lists(st.tuples(st.frozensets(st.sampled_from(LABELS), min_size=1), some_labels), min_size=1, max_size=12))
def test_scores_are_those_of_scikit_learn(pairs: list[tuple[frozenset[str], frozenset[str]]]) -> None:
    truths, named = [truth for truth, _ in pairs], [said for _, said in pairs]
    true, said = (np.array([[label in labels for label in LABELS] for labels in side]) for side in (truths, named))
    there = true.any(axis=0)
    scores = score_labels(truths, named)
    assert scores.micro_f1 == pytest.approx(f1_score(true, said, average="micro", zero_division=0))
    assert scores.macro_f1 == pytest.approx(f1_score(true, said, average=None, zero_division=0)[there].mean())
    assert scores.f1 == pytest.approx(f1_score(true, said, average="samples", zero_division=0))
    by_label = dict(zip(LABELS, f1_score(true, said, average=None, zero_division=0), strict=True))
    assert scores.by_label == pytest.approx({label: by_label[label] for label in np.array(LABELS)[there]})
    assert scores.exact == pytest.approx((true == said).all(axis=1).mean())
    assert scores.recall == pytest.approx(((true & said).sum(axis=1) / true.sum(axis=1)).mean())


def test_naming_all_earns_the_whole_recall_and_no_exact_match() -> None:
    scores = score_labels([frozenset({"Pastures"})] * 2, [frozenset(LABELS), frozenset({"Pastures"})])
    assert (scores.recall, scores.exact) == (1.0, 0.5)
    assert scores.micro_f1 == pytest.approx(2 * 2 / (2 * 2 + 18))


def test_images_without_labels_are_not_scored() -> None:
    for truths in ([], [frozenset()]):
        with pytest.raises(ValueError, match="on images that have some"):
            score_labels(truths, [frozenset()] * len(truths))
