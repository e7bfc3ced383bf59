"""What a training does: which model, on which samples, towards which objective, how fast. Read from YAML."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from terrascope.errors import RecipeError, SampleError
from terrascope.terracot.recipe import describe_field_error, read_recipe_file
from terrascope.training.dataset import DataSettings
from terrascope.training.objective import ObjectiveSettings
from terrascope.training.stages import LoraSettings, Stage

FOLDER = Path(__file__).parent / "recipes"

SHARDING = {"zero2": FOLDER / "zero2.json", "fsdp": FOLDER / "fsdp.json"}
"""Configuration files that the package brings for training on several GPUs, by the names that recipes use."""

FREE = (
    "about",
    "store",
    "read",
    "scene_cache",
    "state_cache",
    "cache_mb",
    "num_workers",
    "save_every",
    "keep",
    "log_every",
)
"""Fields that may differ when a run goes on: none of them changes what is learned."""


_Share = Annotated[float, Field(ge=0, lt=1)]
# What float32 cannot hold, torch refuses in a step.
_Rate = Annotated[float, Field(gt=0, le=1e30)]


class Parts(BaseModel):
    """A model that is composed before it is trained: a preset, or a vision-language model and a mask decoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str | None = None
    vlm: str | None = None
    sam: str | None = None


class OptimizerRecipe(BaseModel):
    """How parameters move.

    Attributes:
        kind: Adam, or AdamW, whose weight decay is apart from the gradient.
        learning_rate: highest, of all parameters for which no other rate is given.
        projector_rate, decoder_rate: of what joins vision and language; of the mask decoder and the [SEG] projection.
        weight_decay: of matrices; biases and norms have none.
        betas: of both averages.
        warmup: share (0-1) of the steps in which the rate rises.
        schedule: how it falls then.
        clip: largest norm of the gradient; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["adam", "adamw"] = "adamw"
    learning_rate: _Rate = 1e-5
    projector_rate: _Rate | None = None
    decoder_rate: _Rate | None = None
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[_Share, _Share] = (0.9, 0.999)
    warmup: float = Field(default=0.03, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float = Field(default=1.0, ge=0)


class Evaluation(BaseModel):
    """The loss on samples that nothing is learned of.

    Attributes:
        split: of the data set.
        every: steps between two looks.
        max_samples: at most so many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str = "val"
    every: int = Field(default=500, ge=1)
    max_samples: int = Field(default=200, ge=1)


class Recipe(BaseModel):
    """A training from a model to a model.

    Attributes:
        about: in one sentence, for `terrascope train --list`.
        stage: which parts move: `grounding` (the paper's first stage), `instruction` (its second), or `all`.
        model: `nano`, a folder, a hub id; or parts to compose.
        profile: `paper` or `release`: the model behaves by the settings of that profile.
        settings: of the model's configuration, over those of the checkpoint and the profile, such as `interleave`.
        store: folder of samples, as `terrascope data build` writes it.
        read: where the scenes of each source lie, as `--source` of `terrascope data build` names them.
        data: which samples, and how they are shown.
        objective: the loss.
        cache_mb: memory for what the frozen encoders have seen.
        lora: adapters of the language model; None to train its own matrices, where the stage trains them.
        optimizer: how parameters move.
        batch_size: samples of a device at a time.
        accumulation: batches of a device per step.
        overall_batch: samples of a step over all devices; `accumulation` follows from it.
        max_positions_per_batch: fewer samples where they are long; None for no limit.
        epochs, max_steps: how long; `max_steps` overrules.
        precision: bf16 computes in bfloat16 and keeps what moves in float32.
        seed: everything drawn depends on it.
        gradient_checkpointing: activations of the language model are computed twice instead of kept.
        deepspeed, fsdp: a configuration file, or the name of one that the package brings (`zero2`, `fsdp`).
        save_every: steps between two checkpoints.
        keep: checkpoints that stay.
        log_every: steps between two lines of the log.
        num_workers: processes that prepare samples, per device; 0 for none.
        scene_cache: folder of prepared scenes; None to prepare each anew.
        state_cache: folder of [SEG] states, which are constants while the language model is frozen: it runs once over
            all samples, and then no more; None to run it in every step.
        evaluate: the loss on other samples; None for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str = ""
    stage: Stage
    model: str | Parts = "nano"
    profile: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    store: Path | None = None
    read: dict[str, str] = Field(default_factory=dict)
    data: DataSettings = Field(default_factory=DataSettings)
    objective: ObjectiveSettings = Field(default_factory=ObjectiveSettings)
    cache_mb: int = Field(default=0, ge=0)
    lora: LoraSettings | None = None
    optimizer: OptimizerRecipe = OptimizerRecipe()
    batch_size: int = Field(default=1, ge=1)
    accumulation: int = Field(default=1, ge=1)
    overall_batch: int | None = Field(default=None, ge=1)
    max_positions_per_batch: int | None = Field(default=None, ge=1)
    epochs: float = Field(default=1, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    precision: Literal["bf16", "fp32"] = "bf16"
    seed: int = Field(default=0, ge=0)
    gradient_checkpointing: bool = False
    deepspeed: str | None = None
    fsdp: str | None = None
    save_every: int = Field(default=500, ge=1)
    keep: int = Field(default=2, ge=1)
    log_every: int = Field(default=10, ge=1)
    num_workers: int = Field(default=0, ge=0)
    scene_cache: Path | None = None
    state_cache: Path | None = None
    evaluate: Evaluation | None = None

    @field_validator("read", mode="before")
    @classmethod
    def _as_text(cls, read: Any) -> Any:
        # YAML takes the number of generated scenes for a number.
        if not isinstance(read, dict):
            return read
        return {name: str(root) if isinstance(root, int) else root for name, root in read.items()}

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.deepspeed is not None and self.fsdp is not None:
            raise ValueError("deepspeed and fsdp exclude each other; give one of them")
        if self.overall_batch is not None and self.accumulation != 1:
            raise ValueError("accumulation follows from overall_batch; give one of them")
        changes = self.data.mask_noise > 0 or self.objective.injected == "predicted"
        if self.state_cache is not None and (self.stage != "grounding" or changes):
            raise ValueError("state_cache is for the stage grounding, with masks injected that stay the same")
        return self

    def accumulation_on(self, num_processes: int) -> int:
        """Batches of a device per step.

        Raises:
            RecipeError: the overall batch is no whole number of batches of all devices.
        """
        if self.overall_batch is None:
            return self.accumulation
        at_once = self.batch_size * num_processes
        if self.overall_batch % at_once:
            raise RecipeError(
                f"overall_batch is {self.overall_batch}, but {num_processes} processes take {at_once} samples at a "
                f"time; give a multiple of {at_once}, or another batch_size"
            )
        return self.overall_batch // at_once

    def deciding(self) -> dict[str, Any]:
        """The fields that decide what is learned, as JSON values."""
        return self.model_dump(mode="json", exclude=set(FREE))


def list_recipes() -> dict[str, str]:
    """The recipes that the package brings, each with a sentence on it."""
    return {path.stem: str(read_recipe_file(path)["about"]) for path in sorted(FOLDER.glob("*.yaml"))}


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by its name, or from a YAML file, with some of its fields set to other values.

    Args:
        name_or_path: one of `list_recipes`, or a file.
        overrides: `key=value`, the keys of inner fields after dots, the values in YAML.

    Raises:
        RecipeError: there is no such recipe; a field is unknown, missing, or not what it should be.
    """
    path = FOLDER / f"{name_or_path}.yaml"
    if "/" in name_or_path or not path.is_file():
        path = Path(name_or_path)
        if not path.is_file():
            raise RecipeError(_no_recipe(name_or_path))
    try:
        values = read_recipe_file(path)
        _check_keys(values, name_or_path)
        for override in overrides:
            _override(values, override)
        return Recipe.model_validate(values)
    except SampleError as error:
        raise RecipeError(f"{name_or_path}: {str(error).removeprefix(f'{path}: ')}") from None
    except ValidationError as error:
        first: Mapping[str, Any] = dict(error.errors()[0])
        place = ".".join(str(part) for part in first["loc"])
        where = f"{name_or_path}: {place}" if place else name_or_path
        raise RecipeError(f"{where}: {describe_field_error(first)}") from None


def quoted(value: object) -> str:
    """A value as YAML, whatever characters it holds: the right side of an override of `load_recipe`."""
    return str(yaml.safe_dump(str(value), default_style='"', width=float("inf"))).strip()


def write_recipe(recipe: Recipe, path: Path) -> None:
    """The recipe with all its fields, as a YAML file."""
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _no_recipe(name: str) -> str:
    names = [path.stem for path in sorted(FOLDER.glob("*.yaml"))]
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    if near and not name.endswith((".yaml", ".yml")):
        return f"no such recipe {name}; did you mean {near[0]}?"
    return f"{name}: no such recipe or file; give a YAML file, or one of {', '.join(names)}"


def _check_keys(values: Mapping[str, Any], origin: str, prefix: str = "") -> None:
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        known = _keys()
        if dotted not in known:
            raise RecipeError(f"{origin}: there is no setting {dotted}; {_nearest(dotted)}")
        if isinstance(value, dict) and known[dotted]:
            _check_keys(value, origin, f"{dotted}.")


def _override(values: dict[str, Any], text: str) -> None:
    """Set one field of plain values."""
    key, equals, written = text.partition("=")
    key = key.strip()
    if not (key and equals):
        raise RecipeError(f"--set {text}: write it as KEY=VALUE, such as optimizer.learning_rate=1e-5")
    *outer, last = key.split(".", 1) if key.startswith("read.") else key.split(".")
    known = _keys()
    is_free = outer in (["read"], ["settings"])
    if key not in known and not is_free:
        raise RecipeError(f"--set {text}: there is no setting {key}; {_nearest(key)}")
    try:
        value = yaml.safe_load(written)
    except yaml.YAMLError:
        raise RecipeError(f"--set {text}: the value is not YAML; put it in quotes") from None
    if isinstance(value, dict):
        _check_keys(value, f"--set {text}", f"{key}.")
    for name in outer:
        inner = values.get(name)
        # What was none, or a name, gets fields now.
        values[name] = dict(inner) if isinstance(inner, dict) else {}
        values = values[name]
    values[last] = value


def _nearest(key: str) -> str:
    names = list(_keys())
    same_end = [name for name in names if name.split(".")[-1] == key.split(".")[-1]]
    near = same_end or get_close_matches(key, names, n=1, cutoff=0.5)
    if not near:
        ends = {name.split(".")[-1]: name for name in names}
        near = [ends[end] for end in get_close_matches(key.split(".")[-1], ends, n=1, cutoff=0.5)]
    return f"did you mean {near[0]}?" if near else f"choose among {', '.join(n for n in names if '.' not in n)}"


_Inner: TypeAlias = "dict[str, Any] | None"


@cache
def _keys() -> dict[str, _Inner]:
    """Every dotted key of a recipe, with its inner fields where it has some."""
    found: dict[str, _Inner] = {}

    def walk(fields: Mapping[str, Any], prefix: str) -> None:
        for name, hint in fields.items():
            inner = _fields(hint)
            found[f"{prefix}{name}"] = inner
            if inner:
                walk(inner, f"{prefix}{name}.")

    walk(_fields(Recipe) or {}, "")
    return found


def _fields(hint: Any) -> _Inner:
    """Names and types of the fields of a class of settings; of the first one among alternatives."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next((inner for one in get_args(hint) if (inner := _fields(one))), None)
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return {name: field.annotation for name, field in hint.model_fields.items()}
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return {field.name: hints[field.name] for field in dataclasses.fields(hint)}
    return None
