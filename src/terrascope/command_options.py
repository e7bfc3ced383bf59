"""The options that commands share: those by which a scene is named, and those of an answer.

A command takes them as one parameter of the class; `with_options` makes every field an option of its own.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, get_type_hints

import typer

from terrascope.errors import SampleError

# typer reads these at run time, and its own form of an option that may be missing is Optional.
Optical = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--optical",
        metavar="FILE",
        help="Optical image, once per date: a file, a folder of bands, or bands as F1,F2,...",
    ),
]
Sar = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--sar", metavar="FILE", help="SAR image, once per date; paired with the optical image of its place."),
]
Dates = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--date", metavar="YYYY-MM-DD", help="Day of the images, once per date."),
]
SensorName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--sensor", metavar="NAME", help="Sensor of the optical images, where the files do not tell."),
]
SarSensorName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--sar-sensor", metavar="NAME", help="Sensor of the SAR images, where the files do not tell."),
]
Gsd = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--gsd", metavar="METRES", help="Size of a pixel on the ground; overrules what the files say."),
]
Reference = Annotated[
    Optional[Literal["optical", "sar"]],  # noqa: UP045
    typer.Option("--reference", help="Whose grid the answer lies on; without it the optical image's, if there is one."),
]
BoundingBox = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--bbox", metavar="W,S,E,N", help="Use only this part of the scene, in degrees."),
]
AllowVirtual = Annotated[
    bool, typer.Option("--allow-virtual", help="Also open virtual rasters (VRT, /vsi...), which may lead anywhere.")
]
Nodata = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--nodata", metavar="NUMBER", help="Number of pixels without measurement, where the files do not say."
    ),
]
Model = Annotated[str, typer.Option("--model", metavar="NAME", help="nano, a folder, or a repository of the hub.")]
Device = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="auto (a CUDA device if there is one), cpu, cuda, cuda:1, or mps."),
]
NumberFormat = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option("--dtype", help="Number format; auto: the model's own on a GPU, float32 for small models on a CPU."),
]
DeviceMap = Annotated[
    Optional[Literal["auto"]],  # noqa: UP045
    typer.Option("--device-map", help="auto: spread the model over all GPUs and the CPU; needs accelerate."),
]
Bits = Annotated[
    Optional[Literal["8bit", "4bit"]],  # noqa: UP045
    typer.Option("--quantization", help="Fewer bits for the language model; needs bitsandbytes and accelerate."),
]
ProfileName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--profile", metavar="NAME", help="Behave as in the paper (paper) or as the released code (release)."),
]
Out = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--out", metavar="DIR", help="Write the answer there: report.html, answer.json, and masks for a GIS."),
]
LookName = Annotated[
    Literal["auto", "whole", "views"],
    typer.Option(
        "--look",
        help="Reduce a large scene to one view (whole), or cover it at full resolution (views); auto: by its size.",
    ),
]
SourceTexts = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--source",
        metavar="NAME=DIR",
        help="A data set: its name, its folder (of synthetic: how many scenes), and options, as NAME=DIR,A=B; "
        "OTHER:NAME=DIR calls it otherwise.",
    ),
]
RecipeFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--recipe", metavar="FILE.yaml", help="All of this in a file; what is typed overrules it."),
]
Split = Annotated[
    Optional[Literal["train", "val", "test"]],  # noqa: UP045
    typer.Option("--split", help="Of the data sets."),
]
RecipeSeed = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--seed", metavar="NUMBER", help="Everything drawn depends on it."),
]
Limit = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--limit", metavar="NUMBER", help="Chips of each source, spread evenly."),
]
MaxFailed = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--max-failed", metavar="SHARE", help="Share of chips that may fail, 0 to 1."),
]
EndpointAddress = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--endpoint", metavar="URL", help="Of a language model; its key: TERRASCOPE_LLM_KEY."),
]
EndpointModel = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--model", metavar="NAME", help="The language model's name on its server."),
]
Reading = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--read", metavar="NAME=DIR", help="Where the scenes of a source lie; once per source."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """What scene is meant."""

    optical: Optical = None
    sar: Sar = None
    date: Dates = None
    sensor: SensorName = None
    sar_sensor: SarSensorName = None
    gsd: Gsd = None
    nodata: Nodata = None
    reference: Reference = None
    bbox: BoundingBox = None
    allow_virtual: AllowVirtual = False

    def arguments(self) -> dict[str, Any]:
        """The same as `rasters.read.open_scene` takes them.

        Raises:
            SceneError: the box is none.
        """
        from terrascope.rasters.grids import check_box

        return {
            "optical": [files_of(value) for value in self.optical or ()],
            "sar": [files_of(value) for value in self.sar or ()],
            "dates": self.date or None,
            "sensor": self.sensor,
            "sar_sensor": self.sar_sensor,
            "gsd_m": self.gsd,
            "nodata": self.nodata,
            "reference": self.reference,
            "bbox": None if self.bbox is None else check_box(self.bbox.split(",")),
            "allow_virtual": self.allow_virtual,
        }


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Who answers."""

    model: Model = "nano"
    device: Device = "auto"
    dtype: NumberFormat = "auto"
    device_map: DeviceMap = None
    quantization: Bits = None
    profile: ProfileName = None

    def loading(self) -> dict[str, Any]:
        """The model as `TerraScope.from_pretrained` takes it."""
        names = ("device", "dtype", "device_map", "quantization", "profile")
        return {"name": self.model} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(ModelOptions):
    """Who answers, how the scene is looked at, and where the answer goes."""

    look: LookName = "auto"
    out: Out = None
    as_json: AsJson = False


def files_of(value: str) -> str | list[str]:
    """One path, or the band files of one image separated by commas; a path that exists may itself hold a comma."""
    if "," not in value or Path(value).exists():
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def read_source(text: str) -> dict[str, Any]:
    """`NAME=DIR,OPTION=VALUE,...` or `OTHER:NAME=DIR,...` as a recipe has it.

    Raises:
        SampleError: it is neither; the sentence says how to write it.
    """
    name, equals, rest = text.partition("=")
    called, colon, kind = name.partition(":")
    if not (name and equals and rest):
        raise SampleError(f"--source {text}: give the name of a data set and its folder, as NAME=DIR")
    root, *more = rest.split(",")
    options: dict[str, str] = {}
    for part in more:
        option, equals, value = part.partition("=")
        if not (option and equals):
            raise SampleError(f"--source {text}: {part!r} is no option; write it as OPTION=VALUE")
        options[option] = value
    return {"name": called, "kind": kind if colon else None, "root": root, "options": options}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every parameter of a dataclass replaced by the fields of that class, as typer reads them."""
    own = inspect.signature(command, eval_str=True).parameters
    grouped: dict[str, Any] = {name: p.annotation for name, p in own.items() if dataclasses.is_dataclass(p.annotation)}
    shown: list[inspect.Parameter] = []
    for name, parameter in own.items():
        if name not in grouped:
            shown.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        hints = get_type_hints(grouped[name], include_extras=True)
        shown += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
            )
            for field in dataclasses.fields(grouped[name])
        ]

    @wraps(command)
    def run(**given: Any) -> None:
        groups = {
            name: group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
            for name, group in grouped.items()
        }
        command(**given, **groups)

    del run.__wrapped__  # typer would look through it, at the parameters that are replaced
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return run
