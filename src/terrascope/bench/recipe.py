"""What benchmark the user wants: data sets, how many questions of each task, by which thresholds. Read from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any, get_args

from pydantic import Field, field_validator

from terrascope.bench.items import Shown
from terrascope.tasks import Task
from terrascope.tasks.area import Area
from terrascope.tasks.boundary import Boundary
from terrascope.tasks.building_change import BuildingChange
from terrascope.tasks.coverage import Coverage
from terrascope.tasks.distance import Distance
from terrascope.tasks.ranking import Ranking
from terrascope.terracot.recipe import RecipeFields, SourceRecipe, check_names, check_settings, settle

QUOTA: Mapping[str, int] = {
    "coverage": 855,
    "area": 855,
    "distance": 129,
    "ranking": 855,
    "boundary": 855,
    "building_change": 288,
}
"""Questions of each task in the paper's benchmark (Section 4), 3,837 in all."""

TASKS: Mapping[str, Task] = {
    "coverage": Coverage(absent_share=0.0, min_coverage=0.01),
    "area": Area(),
    "distance": Distance(),
    "ranking": Ranking(),
    "boundary": Boundary(),
    "building_change": BuildingChange(),
}
"""The tasks with the thresholds of the paper (Appendix D), and with ours where the paper's are lost."""

_NO_SETTINGS = ("name", "num_options", "only_class", "templates", "weights")
"""Fields of tasks that no recipe sets: two or four options are part of what the tasks are."""


class BenchSource(SourceRecipe):
    """A data set, and which of the tasks are asked of it; all where None."""

    tasks: tuple[str, ...] | None = Field(default=None, min_length=1)

    @field_validator("tasks")
    @classmethod
    def _are_known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            _check_task(name)
        return names


class BenchRecipe(RecipeFields):
    """What benchmark to build.

    Attributes:
        sources: the data sets, each once.
        split: of the data sets: `train`, `val` or `test`.
        seed: everything drawn depends on it, the source, and the chip's key; on nothing else.
        quota: questions of each task; of a task that is not named, as many as in the paper. A question that is shown in
            three versions counts once.
        shown: which versions of a question are made, where a chip has the images for them.
        tasks: thresholds of the tasks, by the fields of their classes.
        tries: how often each task is tried on a chip, so that there is a choice among classes.
        per_chip: questions of one task about one chip, at most.
        per_place: questions of one task about one place, at most; None for any number. Places take turns anyway.
        max_unseen_share: part (0-1) of the pixels that the truth counts which a version may not show.
        min_labelled: least part (0-1) of the pixels whose class is known; shares of the image would say little below.
        limit: chips of each source, spread evenly over it; None for all. A source's own limit overrules it.
        max_failed_share: share (0-1) of the chips that may fail before the whole build counts as failed.
    """

    sources: tuple[BenchSource, ...] = Field(min_length=1)
    split: str = "test"
    seed: int = Field(default=0, ge=0)
    quota: dict[str, int] = Field(default_factory=dict)
    shown: tuple[Shown, ...] = Field(default=get_args(Shown), min_length=1)
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    tries: int = Field(default=8, ge=1)
    per_chip: int = Field(default=1, ge=1)
    per_place: int | None = Field(default=None, ge=1)
    max_unseen_share: float = Field(default=0.01, ge=0, le=1)
    min_labelled: float = Field(default=0.9, ge=0, le=1)
    limit: int | None = Field(default=None, ge=1)
    max_failed_share: float = Field(default=0.05, ge=0, le=1)

    @field_validator("sources")
    @classmethod
    def _once_each(cls, sources: tuple[BenchSource, ...]) -> tuple[BenchSource, ...]:
        check_names(sources)
        return sources

    @field_validator("quota")
    @classmethod
    def _are_counts(cls, quota: dict[str, int]) -> dict[str, int]:
        for name, num in quota.items():
            _check_task(name)
            if num < 0:
                raise ValueError(f"{num} questions of {name}; give 0 or more")
        return quota

    @field_validator("shown")
    @classmethod
    def _in_order(cls, shown: tuple[Shown, ...]) -> tuple[Shown, ...]:
        return tuple(one for one in get_args(Shown) if one in shown)

    @field_validator("tasks")
    @classmethod
    def _are_settings(cls, tasks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, values in tasks.items():
            _check_task(name)
            check_settings(type(TASKS[name]), values, without=_NO_SETTINGS)
        return tasks

    @cached_property
    def asked(self) -> dict[str, Task]:
        """The tasks of which questions are wanted, with their thresholds."""
        return {
            name: settle(type(task), {**asdict(task), **self.tasks.get(name, {})})  # type: ignore[call-overload]
            for name, task in TASKS.items()
            if self.wanted[name]
        }

    @cached_property
    def wanted(self) -> dict[str, int]:
        """Questions of each task."""
        return {name: self.quota.get(name, num) for name, num in QUOTA.items()}

    def public(self) -> dict[str, Any]:
        """What decides the questions, as JSON values, without the folders that only this machine has.

        All thresholds stand there, those that the recipe left as they are, too.
        """
        values = self.model_dump(mode="json", exclude={"max_failed_share"})
        for source, own in zip(values["sources"], self.sources, strict=True):
            source["root"] = own.root.resolve().name
        # Apart from the sources, which are thus written as any data set writes them.
        values["tasks_of"] = {source["name"]: source.pop("tasks") for source in values["sources"]}
        values["quota"] = self.wanted
        values["tasks"] = {
            name: {field: value for field, value in asdict(task).items() if field not in _NO_SETTINGS}  # type: ignore[call-overload]
            for name, task in self.asked.items()
        }
        return values


def _check_task(name: str) -> None:
    if name not in TASKS:
        raise ValueError(f"no task {name}; choose among {', '.join(TASKS)}")
