"""The tools of a recipe, opened: its data sets, its writer, and its model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from terrascope.llm import Endpoint
from terrascope.predictor import Predictor
from terrascope.sources.chips import Chip
from terrascope.terracot.annotate import AnnotationSettings, annotate
from terrascope.terracot.captions import CaptionSettings
from terrascope.terracot.composer import Composer
from terrascope.terracot.llm_writer import LlmWriter
from terrascope.terracot.plan import CALLS
from terrascope.terracot.recipe import Recipe, WriterRecipe, settle
from terrascope.terracot.tools import Labelled, Tools
from terrascope.terracot.writer import Writer

REPLIES = "replies"
"""Folder of the replies of a language model, in the output folder where no other one is named."""


def open_tools(recipe: Recipe, out: Path, *, load: Callable[[str], Predictor]) -> Tools:
    """Open what a recipe names.

    Args:
        out: the output folder, for the log of requests and the replies that are kept.
        load: gives the model of a name; it is called when the first chip is labelled.

    Raises:
        SceneError: a source is unknown, or its folder is missing.
        EndpointError: a setting of the endpoint cannot be used.
    """
    labeller = None
    if recipe.annotate is not None:
        labeller = _Labeller(name=recipe.annotate, load=load, settings=settle(AnnotationSettings, recipe.annotation))
    return Tools(
        sources={one.name: one.opened() for one in recipe.sources},
        roots={one.name: one.root for one in recipe.sources},
        writer=_open_writer(recipe.writer, out),
        annotate=labeller,
    )


def _open_writer(wanted: WriterRecipe, out: Path) -> Writer:
    if wanted.kind == "offline":
        return Composer(settings=settle(CaptionSettings, wanted.options))
    kept = {"log": out / CALLS, "cache": wanted.cache or out / REPLIES}
    return LlmWriter(endpoint=settle(Endpoint, {**wanted.endpoint, **kept}), **wanted.options)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Labeller:
    """Labels chips by a model that is loaded for the first of them."""

    name: str
    load: Callable[[str], Predictor]
    settings: AnnotationSettings

    def __call__(self, chip: Chip) -> Labelled:
        return annotate(chip, self._predictor, self.settings)

    @cached_property
    def _predictor(self) -> Predictor:
        return self.load(self.name)
