"""What is in a data set: counts of all that can be counted, in one pass over its samples."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from terrascope import masks
from terrascope.sample import Level, Sample

MASK_SHARES = (0.001, 0.01, 0.05, 0.2, 0.5)
"""Shares of the image at which the sizes of masks are counted apart."""

MASK_SIZES = ("empty", "below 0.1 %", "0.1 to 1 %", "1 to 5 %", "5 to 20 %", "20 to 50 %", "50 % and more")

SUBSETS = {
    "referring": "Referring",
    "caption": "Cap-CoT",
    "L1": "VQA-CoT",
    "L2": "VQA-CoT",
    "bench": "TerraScope-Bench",
}
"""The paper's subsets, by level."""

_MOST_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Lengths of texts in words: their mean and the longest."""

    mean: float = 0.0
    longest: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary:
    """What was counted.

    Attributes:
        num_samples, num_chips, num_places: samples, and the different chips and places that they are about.
        num_located: chips whose longitude and latitude are known.
        sources, levels, splits, writers, labels: samples, by each.
        tasks: samples by `L1/area`. sources_of_subsets: samples by subset of the paper and source.
        classes: masks by class. mask_sizes: masks by size, in the words of `MASK_SIZES`.
        letters: right options, by letter. yes_no: free answers and right options that are yes or no.
        num_dates, sensors, countries: samples, by each; a sample counts once for each of its sensors.
        steps: samples by number of masks. options: samples by number of options.
        questions, reasonings: lengths of the texts.
        distinct_questions: share (0-1) of the questions that differ from all before them, options apart.
        located: chips by degree, int64 `[180, 360]`: row 0 lies south of 89 degrees south, column 0 at 180 west.
    """

    num_samples: int = 0
    num_chips: int = 0
    num_places: int = 0
    num_located: int = 0
    sources: Mapping[str, int] = field(default_factory=dict)
    levels: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, int] = field(default_factory=dict)
    tasks: Mapping[str, int] = field(default_factory=dict)
    sources_of_subsets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    mask_sizes: Mapping[str, int] = field(default_factory=dict)
    letters: Mapping[str, int] = field(default_factory=dict)
    yes_no: Mapping[str, int] = field(default_factory=dict)
    writers: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    num_dates: Mapping[str, int] = field(default_factory=dict)
    sensors: Mapping[str, int] = field(default_factory=dict)
    countries: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, int] = field(default_factory=dict)
    questions: Texts = field(default_factory=Texts)
    reasonings: Texts = field(default_factory=Texts)
    distinct_questions: float = 1.0
    located: NDArray[np.int64] = field(default_factory=lambda: np.zeros((180, 360), np.int64))

    @property
    def num_masks(self) -> int:
        return sum(self.classes.values())

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON values; of places the number, not the map."""
        values = asdict(self)
        del values["located"]
        return {**values, "num_masks": self.num_masks}


def summarize(samples: Iterable[Sample], progress: Callable[[int], None] | None = None) -> Summary:
    """Count samples in one pass. Beside counts, eight bytes are kept of every chip, place and different question.

    Raises:
        SceneError: a mask does not fill the grid of its sample.
    """
    counts = _Counts()
    for number, sample in enumerate(samples, 1):
        counts.add(sample)
        if progress is not None:
            progress(number)
    return counts.summary()


class _Counts:
    def __init__(self) -> None:
        self.of: dict[str, Counter[str]] = {}
        self.subsets: dict[str, Counter[str]] = {}
        self.num_samples = 0
        self.seen: dict[str, set[int]] = {"chip": set(), "place": set(), "question": set()}
        self.words = {"question": [0, 0], "reasoning": [0, 0]}  # sum, longest
        self.located = np.zeros((180, 360), np.int64)

    def add(self, sample: Sample) -> None:
        self.num_samples += 1
        for name, values in _told(sample).items():
            self.of.setdefault(name, Counter()).update(values)
        self.subsets.setdefault(SUBSETS[sample.level], Counter())[sample.source] += 1
        for name, text in (("question", sample.question), ("reasoning", sample.reasoning)):
            num_words = len(text.split())
            self.words[name] = [self.words[name][0] + num_words, max(self.words[name][1], num_words)]
        self._is_new("question", sample.question)
        self._is_new("place", f"{sample.source}\n{sample.place}")
        is_new = self._is_new("chip", f"{sample.source}\n{sample.key}")
        if is_new and sample.lon is not None and sample.lat is not None:
            row, column = min(int(sample.lat + 90), 179), int(sample.lon + 180) % 360
            self.located[row, column] += 1

    def _is_new(self, kind: str, text: str) -> bool:
        digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
        number, seen = int.from_bytes(digest, "big"), self.seen[kind]
        is_new = number not in seen
        seen.add(number)
        return is_new

    def summary(self) -> Summary:
        def texts(name: str) -> Texts:
            total, longest = self.words[name]
            return Texts(mean=total / max(self.num_samples, 1), longest=longest)

        def by_size(counter: Counter[str]) -> dict[str, int]:
            return dict(counter.most_common())

        ordered = {name: by_size(counter) for name, counter in self.of.items()}
        for name in ("letters", "num_dates", "steps", "options"):
            ordered[name] = {key: ordered[name][key] for key in sorted(ordered.get(name, {}), key=_in_order)}
        for name, order in (("levels", get_args(Level)), ("mask_sizes", MASK_SIZES)):
            ordered[name] = {key: ordered[name][key] for key in order if key in ordered.get(name, {})}
        return Summary(
            num_samples=self.num_samples,
            num_chips=len(self.seen["chip"]),
            num_places=len(self.seen["place"]),
            num_located=int(self.located.sum()),
            sources_of_subsets={name: by_size(self.subsets[name]) for name in sorted(self.subsets)},
            questions=texts("question"),
            reasonings=texts("reasoning"),
            distinct_questions=len(self.seen["question"]) / max(self.num_samples, 1),
            located=self.located,
            **ordered,
        )


def _told(sample: Sample) -> dict[str, list[str]]:
    """What is counted of a sample, by the field of the summary that counts it."""
    truth = sample.truth.strip().lower()
    return {
        "sources": [sample.source],
        "levels": [sample.level],
        "splits": [sample.split],
        "tasks": [f"{sample.level}/{sample.task}"],
        "classes": [mask.class_name for mask in sample.masks],
        "mask_sizes": [_size_of(sample, place) for place in range(len(sample.masks))],
        "letters": [sample.answer] if sample.options else [],
        "yes_no": [truth] if truth in ("yes", "no") else [],
        "writers": [sample.writer],
        "labels": [sample.labels],
        "num_dates": [str(sample.num_dates)],
        "sensors": sorted({image.sensor for image in sample.images}),
        "countries": [sample.country] if sample.country else [],
        "steps": [str(len(sample.masks))],
        "options": [str(len(sample.options))],
    }


def _size_of(sample: Sample, place: int) -> str:
    num_pixels = masks.count(sample.mask(place))
    share = num_pixels / (sample.height * sample.width)
    return MASK_SIZES[1 + sum(share >= limit for limit in MASK_SHARES)] if num_pixels else MASK_SIZES[0]


def _in_order(key: str) -> tuple[int, str]:
    return (int(key), "") if key.isdigit() else (-1, key)


def print_summary(summary: Summary, console: Console) -> None:
    """The summary as tables, for people."""
    facts = Table.grid(padding=(0, 2))
    for name, value in headline(summary).items():
        facts.add_row(name, value)
    console.print(facts)
    for title, heads, counts in tables(summary):
        table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2))
        table.add_column(heads)
        table.add_column("number", justify="right")
        table.add_column("share", justify="right")
        for name, number, share in shown_rows(counts):
            table.add_row(name, number, share)
        console.print()
        console.print(table)


def headline(summary: Summary) -> dict[str, str]:
    """What is said first of a data set, as words."""
    return {
        "samples": f"{summary.num_samples:,}",
        "masks": f"{summary.num_masks:,}",
        "chips": f"{summary.num_chips:,} ({summary.num_located:,} with a known place on the globe)",
        "places": f"{summary.num_places:,}",
        "distinct questions": f"{100 * summary.distinct_questions:.1f} %",
        "words in a question": f"{summary.questions.mean:.1f} on average, at most {summary.questions.longest}",
        "words in a reasoning": f"{summary.reasonings.mean:.1f} on average, at most {summary.reasonings.longest}",
    }


def tables(summary: Summary) -> list[tuple[str, str, Mapping[str, int]]]:
    """The counts that are not empty: title, what is counted apart, and the counts."""
    all_tables = [
        ("Levels", "level", summary.levels),
        ("Tasks", "task", summary.tasks),
        ("Sources", "source", summary.sources),
        *((f"{subset} by source", "source", counts) for subset, counts in summary.sources_of_subsets.items()),
        ("Splits", "split", summary.splits),
        ("Masks by class", "class", summary.classes),
        ("Masks by share of the image", "size", summary.mask_sizes),
        ("Masks in a reasoning", "masks", summary.steps),
        ("Options", "options", summary.options),
        ("Right options", "letter", summary.letters),
        ("Yes and no", "answer", summary.yes_no),
        ("Dates", "dates", summary.num_dates),
        ("Sensors", "sensor", summary.sensors),
        ("Countries", "country", summary.countries),
        ("Worded by", "writer", summary.writers),
        ("Masks from", "labels", summary.labels),
    ]
    return [table for table in all_tables if table[2]]


def shown_rows(counts: Mapping[str, int], most: int = _MOST_SHOWN) -> list[tuple[str, str, str]]:
    """Name, number and share of the first `most` counts, and of all others together."""
    total = sum(counts.values())
    shown = list(counts.items())
    if len(shown) > most + 1:
        rest = shown[most:]
        shown = [*shown[:most], (f"{len(rest)} others", sum(number for _, number in rest))]
    return [(name, f"{number:,}", f"{100 * number / total:.1f} %") for name, number in shown]
