"""What the user wants built: data sets, levels, who words what. Read from YAML, or from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from terrascope.errors import SampleError
from terrascope.llm import Endpoint
from terrascope.sources import open_source
from terrascope.sources.chips import Source
from terrascope.terracot.annotate import AnnotationSettings
from terrascope.terracot.captions import CaptionSettings
from terrascope.terracot.level1 import Level1Settings
from terrascope.terracot.llm_writer import LlmWriter
from terrascope.terracot.referring import ReferringSettings

Settings = TypeVar("Settings")

TrainingLevel = Literal["referring", "caption", "L1", "L2"]

COUNTED = ("weights", "presence")
"""Settings that are counted on the chips, not stated."""


def settle(settings: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings of plain values, such as a recipe holds.

    Raises:
        ValidationError: a value is not what its field holds.
    """
    settled: Settings = TypeAdapter(settings).validate_python(values)
    return settled


def check_settings(settings: Any, values: Mapping[str, Any], *, without: Sequence[str] = (), **given: Any) -> None:
    """Refuse fields that the settings do not have, or that are `without` a recipe, and values of another type.

    Raises:
        ValueError: there is one.
    """
    allowed = [one.name for one in fields(settings) if one.name not in without]
    unknown = next((name for name in values if name not in allowed), None)
    if unknown is not None:
        raise ValueError(f"no setting {unknown}; choose among {', '.join(allowed)}")
    settle(settings, {**values, **given})


class RecipeFields(BaseModel):
    """Fields of a recipe: of a data set, of a benchmark, or of a part of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(
        cls, values: Mapping[str, Any], origin: str = "the recipe", *, typed: Mapping[str, str] | None = None
    ) -> Self:
        """The recipe of plain values.

        Args:
            origin: where they come from.
            typed: fields that come from the command line, with their options.

        Raises:
            SampleError: a field is unknown, missing, or not what it should be; the sentence names it and `origin`, or
                the option.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first: Mapping[str, Any] = dict(error.errors()[0])
            names = [str(part) for part in first["loc"]]
            option = (typed or {}).get(names[0]) if names else None
            if option is not None:
                where = [option, *(name for name in names[1:] if not name.isdigit())]
            else:
                where = [origin, ".".join(names)] if names else [origin]
            more = f"; choose among {', '.join(cls.model_fields)}" if names and names[0] not in cls.model_fields else ""
            raise SampleError(f"{': '.join(where)}: {describe_field_error(first)}{more}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """The recipe in a YAML file; folders in it are relative to the working directory.

        Raises:
            SampleError: the file cannot be read, or is no recipe.
        """
        return cls.of(read_recipe_file(path), str(path))


class SourceRecipe(RecipeFields):
    """A data set as `sources.open_source` takes it, and how many of its chips to take.

    `name` is one of `sources.SOURCES`, or any word where `kind` is one of them: so two folders are told apart.
    """

    name: str = Field(pattern=r"^[^/|=,:]+$")
    kind: str | None = None
    root: Path
    options: dict[str, Any] = Field(default_factory=dict)
    limit: int | None = Field(default=None, ge=1)

    def opened(self) -> Source:
        """The data set.

        Raises:
            SceneError: there is no such kind of data set, or its folder is missing.
        """
        return open_source(self.kind or self.name, self.root, called=self.name, **self.options)

    @field_validator("root", mode="before")
    @classmethod
    def _as_text(cls, root: Any) -> Any:
        # YAML takes the number of generated scenes for a number.
        return str(root) if isinstance(root, int) else root


def check_names(sources: Sequence[SourceRecipe]) -> None:
    """Refuse two data sets of one name.

    Raises:
        ValueError: there are two.
    """
    names = [source.name for source in sources]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{repeated} is given twice; call one of them otherwise (OTHER:{repeated}=DIR)")


class WriterRecipe(RecipeFields):
    """Who words captions and composed questions: the offline composer, or a language model behind an endpoint.

    The key of the endpoint is no part of a recipe: it is read from the environment.

    Attributes:
        options: settings by the fields of `CaptionSettings`, or of `LlmWriter`.
        endpoint: the language model, by the fields of `llm.Endpoint`; at least `model`, its name on the server.
        cache: folder of replies, so that no build asks twice what another has asked; None for one in the output folder.
    """

    kind: Literal["offline", "llm"] = "offline"
    options: dict[str, Any] = Field(default_factory=dict)
    endpoint: dict[str, Any] = Field(default_factory=dict)
    cache: Path | None = None

    @model_validator(mode="after")
    def _fits(self) -> WriterRecipe:
        if self.kind == "offline":
            if self.endpoint:
                raise ValueError("the offline composer asks no endpoint; choose the kind llm, or --writer llm")
            check_settings(CaptionSettings, self.options)
            return self
        if "model" not in self.endpoint:
            raise ValueError("a language model has a name on its server; give it as endpoint.model, or with --model")
        check_settings(Endpoint, self.endpoint, without=("cache", "log"))
        check_settings(LlmWriter, self.options, without=("endpoint",), endpoint=Endpoint(model="any"))
        return self


class Recipe(RecipeFields):
    """What to build.

    Attributes:
        sources: the data sets, each once.
        split: of the data sets: `train`, `val` or `test`.
        levels: what is asked of every chip.
        seed: everything drawn depends on it, the source, and the chip's key; on nothing else.
        referring, level1: settings of these levels, by the fields of `ReferringSettings` and `Level1Settings`.
        shown: `all` images of a scene; or, where it has optical and SAR images, the one, the other or both, `drawn` for
            each level of each chip, so that a model learns to do with what there is.
        writer: who words captions and composed questions.
        annotate: name of the model that labels chips; None to ask only of the labels that the data sets bring.
        annotation: settings of that, by the fields of `AnnotationSettings`.
        chips_per_shard: chips of a shard: what one worker does at a time, and what is repeated when it is killed.
        limit: chips of each source, spread evenly over it; None for all. A source's own limit overrules it.
        exclude: a benchmark, as a folder or a Parquet file: a build that would show one of its scenes is refused.
        max_failed_share: share (0-1) of the chips that may fail before the whole build counts as failed.
    """

    sources: tuple[SourceRecipe, ...] = Field(min_length=1)
    split: str = "train"
    levels: tuple[TrainingLevel, ...] = Field(default=get_args(TrainingLevel), min_length=1)
    seed: int = Field(default=0, ge=0)
    referring: dict[str, Any] = Field(default_factory=dict)
    level1: dict[str, Any] = Field(default_factory=dict)
    shown: Literal["all", "drawn"] = "all"
    writer: WriterRecipe = WriterRecipe()
    annotate: str | None = None
    annotation: dict[str, Any] = Field(default_factory=dict)
    chips_per_shard: int = Field(default=500, ge=1)
    limit: int | None = Field(default=None, ge=1)
    exclude: Path | None = None
    max_failed_share: float = Field(default=0.05, ge=0, le=1)

    @field_validator("sources")
    @classmethod
    def _once_each(cls, sources: tuple[SourceRecipe, ...]) -> tuple[SourceRecipe, ...]:
        check_names(sources)
        return sources

    @field_validator("levels")
    @classmethod
    def _in_order(cls, levels: tuple[TrainingLevel, ...]) -> tuple[TrainingLevel, ...]:
        return tuple(level for level in get_args(TrainingLevel) if level in levels)

    @field_validator("referring", "level1", "annotation")
    @classmethod
    def _are_settings(cls, values: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        settings = {"referring": ReferringSettings, "level1": Level1Settings, "annotation": AnnotationSettings}
        check_settings(settings[str(info.field_name)], values, without=COUNTED)
        return values

    def public(self) -> dict[str, Any]:
        """What decides the samples, as JSON values, without the folders that only this machine has."""
        values = self.model_dump(mode="json", exclude={"max_failed_share"})
        for source, own in zip(values["sources"], self.sources, strict=True):
            source["root"] = own.root.resolve().name
        values["writer"].pop("cache")
        # Where a model is served decides nothing, and may be nobody's business.
        values["writer"]["endpoint"].pop("base_url", None)
        values["exclude"] = self.exclude.resolve().name if self.exclude else None
        return values


def read_recipe_file(path: Path) -> dict[str, Any]:
    """The plain values of a YAML file.

    Raises:
        SampleError: the file cannot be read, or holds no fields with values.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SampleError(f"{path}: cannot be read ({error.strerror}); give a recipe in YAML") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise SampleError(f"{path}: not YAML ({reason}); write one field to a line, such as seed: 0") from None
    if not isinstance(values, dict):
        raise SampleError(f"{path}: not a recipe; write one field to a line, such as seed: 0")
    return values


_WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "extra_forbidden": "there is no such field",
    "too_short": "give at least {min_length}",
    "greater_than": "give more than {gt:g}, got {got}",
    "greater_than_equal": "give at least {ge:g}, got {got}",
    "less_than": "give less than {lt:g}, got {got}",
    "less_than_equal": "give at most {le:g}, got {got}",
    "literal_error": "choose {expected}, got {got}",
    "string_pattern_mismatch": "give a name without / | = , and :, got {got}",
}
"""What is said of an error of pydantic, by its type."""

_WANTED: Mapping[str, str] = {
    "tuple": "a list, such as [a, b]",
    "list": "a list, such as [a, b]",
    "dict": "fields with values",
    "model": "fields with values",
    "mapping": "fields with values",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
}
"""What a value should have been, by the first word of the error's type, as in `int_parsing`."""


def describe_field_error(error: Mapping[str, Any]) -> str:
    """An error of pydantic in words of a user who knows nothing of Python."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _WORDS:
        return _WORDS[kind].format(got=repr(error["input"]), **context)
    wanted = _WANTED.get(kind.partition("_")[0])
    if wanted is not None:
        return f"give {wanted}, got {error['input']!r}"
    text = error["msg"].removeprefix("Value error, ").strip().rstrip(".")
    return text[:1].lower() + text[1:]
