"""Scores to tables: Markdown for people, a dictionary for programs."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, TypeVar

from scoring import MIN_COVERAGE, StepScore

from terrascope.bench.statistics import Interval, bootstrap
from terrascope.tasks import TASKS

Item = TypeVar("Item")
Key = TypeVar("Key")


@dataclass(frozen=True, kw_only=True)
class Score:
    """The score of one question.

    Attributes:
        source, shown, task: the cell that it belongs to.
        group: the place; questions of one place are resampled together.
        num_options: 0 for a free answer.
        steps, forest_steps: per true mask, the model's and the forest's; the latter empty where there is no forest.
        right, oracle_right: whether the answer is right, with the model's own masks and with the true ones.
        disagrees: whether a stated number contradicts its own mask.
        unparsable: whether there is no answer of the right kind.
    """

    source: str
    shown: str
    task: str
    group: str
    num_options: int
    steps: tuple[StepScore, ...]
    forest_steps: tuple[StepScore, ...]
    right: bool
    oracle_right: bool
    disagrees: bool
    unparsable: bool


@dataclass(frozen=True, kw_only=True)
class CloudScore:
    """IoU of one land class on a cloudy scene: by place (everywhere, under and between clouds)."""

    shown: str
    group: str
    iou: Mapping[str, float]


def versions() -> dict[str, str]:
    """Date and versions of what made the numbers."""
    packages = ("terrascope-eo", "torch", "transformers", "numpy", "scikit-learn")
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{package} {version(package)}" for package in packages)]
        ),
    }


@dataclass(frozen=True, kw_only=True)
class Report:
    """All scores of a run and what they were made with."""

    setting: Mapping[str, str]
    seed: int
    scores: Sequence[Score]
    clouds: Sequence[CloudScore]

    def summarize(self, scores: Sequence[Score]) -> dict[str, Interval]:
        """The numbers of one row, by column."""
        choices = [score for score in scores if score.num_options]
        free = [score for score in scores if not score.num_options]
        return {
            "iou_all": self._over_steps(scores, lambda step: step.iou, everything=True),
            "iou": self._over_steps(scores, lambda step: step.iou),
            "coverage_error_all": self._over_steps(scores, lambda step: step.error_points, everything=True),
            "coverage_error": self._over_steps(scores, lambda step: step.error_points),
            "options": self._mean(choices, lambda score: score.right),
            "options_oracle": self._mean(choices, lambda score: score.oracle_right),
            "options_random": self._mean(choices, lambda score: 1 / score.num_options),
            "free": self._mean(free, lambda score: score.right),
            "free_oracle": self._mean(free, lambda score: score.oracle_right),
            "disagreements": self._mean(scores, lambda score: score.disagrees),
            "unparsable": self._mean(scores, lambda score: score.unparsable),
        }

    def cells(self) -> dict[tuple[str, str, str], list[Score]]:
        """The scores of every source, modality and task; empty where nothing could be asked."""
        return {
            (*key, task): [score for score in scores if score.task == task]
            for key, scores in _group(self.scores, lambda score: (score.source, score.shown)).items()
            for task in TASKS
        }

    def against_forest(self) -> dict[str, dict[str, Interval]]:
        """Model and forest on the same steps (over `MIN_COVERAGE`), and the mean difference."""
        both = [score for score in self.scores if score.forest_steps]
        rows = {}
        for name, read in (("iou", lambda step: step.iou), ("coverage_error", lambda step: step.error_points)):
            triples = [
                (score.group, read(own), read(forest))
                for score in both
                for own, forest in zip(score.steps, score.forest_steps, strict=True)
                if own.coverage > MIN_COVERAGE
            ]
            groups = [group for group, _, _ in triples]
            rows[name] = {
                "model": bootstrap([own for _, own, _ in triples], groups, seed=self.seed),
                "forest": bootstrap([forest for _, _, forest in triples], groups, seed=self.seed),
                "difference": bootstrap([own - forest for _, own, forest in triples], groups, seed=self.seed),
            }
        return rows

    def under_clouds(self) -> dict[str, dict[str, Interval]]:
        """By modality and place, the mean IoU of land classes on cloudy scenes."""
        rows: dict[str, dict[str, Interval]] = {}
        for shown, scores in _group(self.clouds, lambda score: score.shown).items():
            rows[shown] = {}
            for place in ("everywhere", "under clouds", "between clouds"):
                kept = [score for score in scores if place in score.iou]
                values = [score.iou[place] for score in kept]
                rows[shown][place] = bootstrap(values, [score.group for score in kept], seed=self.seed)
        return rows

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        by_source = _group(self.scores, lambda score: (score.source, score.shown))
        return {
            "setting": dict(self.setting),
            "headline": [self._row(key, scores) for key, scores in by_source.items()],
            "all": self._row((), self.scores),
            "forest": {name: _values(row) for name, row in self.against_forest().items()},
            "clouds": {shown: _values(row) for shown, row in self.under_clouds().items()},
            "cells": [self._row(key, scores) for key, scores in self.cells().items()],
        }

    def to_markdown(self) -> str:
        """All tables."""
        lines = ["# Validation", ""]
        lines += [f"- {key.replace('_', ' ')}: {value}" for key, value in self.setting.items()]
        share = f"{MIN_COVERAGE:.0%}"
        lines += ["", f"## By source and modality (steps over {share} of the scene; 95 % intervals)", ""]
        lines += _head(
            "source", "shown", "questions", "IoU", "coverage error, points", "options", "options, true masks",
            "options, random", "free", "free, true masks", "disagreements", "unparsable",
        )  # fmt: skip
        by_source = _group(self.scores, lambda score: (score.source, score.shown))
        for key, scores in [*by_source.items(), (("all", ""), self.scores)]:
            row = self.summarize(scores)
            lines.append(
                _line(
                    *key, len(scores), f"{row['iou']:.2f}", f"{row['coverage_error']:.1f}", f"{row['options']:.0%}",
                    _percent(row["options_oracle"]), _percent(row["options_random"]), f"{row['free']:.0%}",
                    _percent(row["free_oracle"]), _percent(row["disagreements"]), _percent(row["unparsable"]),
                )
            )  # fmt: skip
        lines += ["", f"## HLS, beside the random forest (the same steps over {share} of the chip)", ""]
        lines += _head("measure", "steps", "model", "forest", "model minus forest")
        for name, forest_row in self.against_forest().items():
            digits = ".3f" if name == "iou" else ".1f"
            title = {"iou": "mean IoU", "coverage_error": "coverage error, points"}[name]
            values = [f"{interval:{digits}}" for interval in forest_row.values()]
            lines.append(_line(title, forest_row["model"].num, *values))
        lines += ["", "## Cloudy generated scenes: mean IoU of land classes against the ground", ""]
        lines += _head("shown", "classes", "everywhere", "under clouds", "between clouds")
        for shown, cloud_row in self.under_clouds().items():
            values = [f"{interval:.2f}" for interval in cloud_row.values()]
            lines.append(_line(shown, cloud_row["everywhere"].num, *values))
        lines += ["", "## By source, modality and task", ""]
        lines += _head(
            "source", "shown", "task", "n", "steps", "IoU", f"IoU over {share}", "coverage error, points", "options",
            "true masks", "random", "free", "true masks", "disagreements", "unparsable",
        )  # fmt: skip
        for cell, scores in self.cells().items():
            row = self.summarize(scores)
            lines.append(
                _line(
                    *cell, len(scores), row["iou_all"].num, _plain(row["iou_all"], ".2f"),
                    _plain(row["iou"], ".2f"), _plain(row["coverage_error_all"], ".1f"), _percent(row["options"]),
                    _percent(row["options_oracle"]), _percent(row["options_random"]), _percent(row["free"]),
                    _percent(row["free_oracle"]), _percent(row["disagreements"]), _percent(row["unparsable"]),
                )
            )  # fmt: skip
        return "\n".join(lines) + "\n"

    def _row(self, key: tuple[str, ...], scores: Sequence[Score]) -> dict[str, Any]:
        cell = dict(zip(("source", "shown", "task"), key, strict=False))
        return {**cell, "questions": len(scores), **_values(self.summarize(scores))}

    def _over_steps(
        self, scores: Iterable[Score], read: Callable[[StepScore], float], *, everything: bool = False
    ) -> Interval:
        pairs = [
            (read(step), score.group)
            for score in scores
            for step in score.steps
            if everything or step.coverage > MIN_COVERAGE
        ]
        return bootstrap([value for value, _ in pairs], [group for _, group in pairs], seed=self.seed)

    def _mean(self, scores: Sequence[Score], read: Callable[[Score], float]) -> Interval:
        return bootstrap([float(read(score)) for score in scores], [score.group for score in scores], seed=self.seed)


def _group(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _values(row: Mapping[str, Interval]) -> dict[str, dict[str, float] | None]:
    return {name: asdict(interval) if interval.num else None for name, interval in row.items()}


def _head(*titles: str) -> list[str]:
    return [_line(*titles), "|" + "---|" * len(titles)]


def _line(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _plain(interval: Interval, spec: str) -> str:
    return f"{interval.mean:{spec}}" if interval.num else "-"


def _percent(interval: Interval) -> str:
    return _plain(interval, ".0%")
