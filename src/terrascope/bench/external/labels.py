"""Scene classification with several labels: how it is asked, what an answer names, and how right that is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from terrascope.landcover import BIGEARTHNET_LABELS

LABELS: tuple[str, ...] = tuple(BIGEARTHNET_LABELS)
"""The 19 labels of BigEarthNet as its table writes them."""

SEPARATOR = "; "
"""Between labels in a question and in a true answer: some labels hold commas."""

QUESTION = (
    "Which of these land cover classes does the image show? Name every class that is there, as it is written here, "
    f"separated by semicolons: {SEPARATOR.join(LABELS)}."
)

_WORDS = re.compile(r"[a-z0-9]+")


def _plain(text: str) -> str:
    """The text as its words alone, with a space around each."""
    return f" {' '.join(_WORDS.findall(text.casefold()))} "


_LONGEST_FIRST = sorted(
    {(_plain(text), label) for label, our in BIGEARTHNET_LABELS.items() for text in (label, our)},
    key=lambda pair: (-len(pair[0]), pair),
)


def read_labels(answer: str) -> frozenset[str]:
    """The labels that an answer names, under BigEarthNet's names or ours, whatever stands between them.

    A longer name is read first and taken out, so that it does not count for a shorter one within it.
    """
    said = _plain(answer)
    found = set()
    for name, label in _LONGEST_FIRST:
        if name in said:
            found.add(label)
            said = said.replace(name, " | ")
    return frozenset(found)


@dataclass(frozen=True, kw_only=True)
class LabelScores:
    """How well labels were named, each 0 to 1.

    Attributes:
        f1: mean over images of `f1_of`.
        micro_f1: of all (image, label) pairs together.
        macro_f1: mean F1 of the labels that are in any truth.
        recall: mean share of an image's labels that were named, as EarthDial's script scores it: naming all earns 1.
        exact: share of images of which just the right labels were named.
        by_label: F1 of each label that is in any truth.
    """

    f1: float
    micro_f1: float
    macro_f1: float
    recall: float
    exact: float
    by_label: Mapping[str, float]


def score_labels(truths: Sequence[frozenset[str]], named: Sequence[frozenset[str]]) -> LabelScores:
    """Scores over images, each with its true labels and those that were named.

    Raises:
        ValueError: not one set of named labels for each truth, no image, or an image without labels.
    """
    if not truths or not all(truths):
        raise ValueError("labels are scored on images that have some")
    pairs = list(zip(truths, named, strict=True))
    counts = {
        label: tuple(
            sum((label in truth, label in said) == which for truth, said in pairs)
            for which in ((True, True), (False, True), (True, False))
        )
        for label in LABELS
    }
    hits, false, missed = (sum(column) for column in zip(*counts.values(), strict=True))
    by_label = {label: _f1(*count) for label, count in counts.items() if count[0] + count[2]}
    return LabelScores(
        f1=sum(f1_of(truth, said) for truth, said in pairs) / len(pairs),
        micro_f1=_f1(hits, false, missed),
        macro_f1=sum(by_label.values()) / len(by_label),
        recall=sum(len(truth & said) / len(truth) for truth, said in pairs) / len(pairs),
        exact=sum(truth == said for truth, said in pairs) / len(pairs),
        by_label=by_label,
    )


def f1_of(truth: frozenset[str], named: frozenset[str]) -> float:
    """F1 (0 to 1) of the labels that were named of one image: 1 for just the right ones, little for all."""
    return _f1(len(truth & named), len(named - truth), len(truth - named))


def _f1(hits: int, false: int, missed: int) -> float:
    return 2 * hits / (2 * hits + false + missed) if hits else 0.0
