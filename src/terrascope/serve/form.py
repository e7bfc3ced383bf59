"""The fields of a question that is sent as a form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from terrascope.errors import SceneError, TerraScopeError
from terrascope.rasters.grids import check_box
from terrascope.serve.desk import ReadScene
from terrascope.serve.refusals import Refusal, refusal_of
from terrascope.serve.scenes import SceneFiles, resolve_path, sample_scene
from terrascope.serve.settings import MAX_QUESTION, ServeSettings
from terrascope.serve.uploads import Form

Told = Callable[[TerraScopeError], Refusal]

FILE_FIELDS = ("optical", "sar")
_LISTS = ("option", "optical_path", "sar_path", "date")

YES_OR_NO = ("true", "false", "1", "0", "yes", "no", "on", "off")

Line = Annotated[str, Field(max_length=MAX_QUESTION)]


class AskFields(BaseModel):
    """The texts of the form: the options of `terrascope ask` by the same names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: Line = Field(min_length=1, description="What to ask, in English.")
    option: list[Line] = Field([], max_length=5, description="2 to 5 options to choose from.")
    optical_path: list[Line] = Field([], max_length=64, description="An image below the server's folder, one per date.")
    sar_path: list[Line] = Field([], max_length=64, description="The same for SAR.")
    sample: Literal["demo"] | None = Field(None, description="A scene that the package makes, instead of images.")
    date: list[str] = Field([], max_length=64, description="YYYY-MM-DD, once per date.")
    sensor: str | None = Field(None, max_length=64, description="Sensor of the optical images.")
    sar_sensor: str | None = Field(None, max_length=64, description="Sensor of the SAR images.")
    gsd: float | None = Field(None, description="Size of a pixel in metres.")
    nodata: float | None = Field(None, description="Number of pixels without measurement.")
    reference: Literal["optical", "sar"] | None = Field(None, description="Whose grid the answer lies on.")
    bbox: str | None = Field(None, max_length=200, description="W,S,E,N in degrees: the part of the scene to use.")
    geojson: bool = Field(False, description="Add the outlines of the masks.")
    pictures: bool = Field(False, description="Add pictures of the scene and of the masks.")
    stream: bool = Field(False, description="Tell of the answer as it is reasoned (text/event-stream).")

    @field_validator("geojson", "pictures", "stream", mode="before")
    @classmethod
    def _is_yes_or_no(cls, value: object) -> object:
        if isinstance(value, str) and value.lower() not in YES_OR_NO:
            raise ValueError("must be true or false")
        return value

    @field_validator("question")
    @classmethod
    def _is_text(cls, question: str) -> str:
        if not question.strip():
            raise ValueError("the question is empty")
        return question


def read_fields(texts: Mapping[str, Sequence[str]]) -> AskFields:
    """The fields of a form, checked. A field that is sent empty, as browsers do, counts as not sent.

    Raises:
        Refusal: a field is unknown, missing, given twice, or not what it should be.
    """
    given: dict[str, Any] = {}
    for name, values in texts.items():
        filled = [value for value in values if value.strip()]
        if name in _LISTS:
            given[name] = filled
        elif len(filled) > 1:
            raise Refusal(400, "malformed", f"{name} was given {len(filled)} times; give it once", name)
        elif filled:
            given[name] = filled[0]
    try:
        return AskFields(**given)
    except ValidationError as error:
        failure = error.errors()[0]
        name = str(failure["loc"][0])
        if failure["type"] == "extra_forbidden":
            raise Refusal(400, "unknown_field", f"{name[:40]!r} is no field of a question", name[:40]) from None
        if failure["type"] == "missing":
            raise Refusal(400, "missing_field", f"{name} is missing", name) from None
        raise Refusal(400, "malformed", f"{name}: {_in_words(failure['msg'])}", name) from None


_READING = ("date", "sensor", "sar_sensor", "gsd", "nodata", "reference", "bbox")


def scene_of(fields: AskFields, form: Form, settings: ServeSettings) -> tuple[ReadScene, Told]:
    """What reads the scene of a question, and what makes sentences of its errors. Looks at files: for a thread.

    Raises:
        Refusal: there is none, a path is not allowed, or a sample was asked for in another way than it is.
    """
    if fields.sample is None:
        files = scene_files(fields, form, settings)
        return files.open, files.told
    if form.num_files or fields.optical_path or fields.sar_path:
        raise Refusal(400, "malformed", "give a sample or images, not both", "sample")
    beside = next((name for name in _READING if getattr(fields, name) not in (None, [])), None)
    if beside is not None:
        raise Refusal(400, "malformed", f"a sample is taken as it is; leave out {beside}", beside)
    return sample_scene(fields.sample), refusal_of


def scene_files(fields: AskFields, form: Form, settings: ServeSettings) -> SceneFiles:
    """The images that a form means.

    Raises:
        Refusal: none is given, or a path is not allowed.
    """
    optical = [*(str(upload.path) for upload in form.files.get("optical", ()))]
    sar = [*(str(upload.path) for upload in form.files.get("sar", ()))]
    by_path = {
        name: [resolve_path(text, settings.root, f"{name}_path") for text in getattr(fields, f"{name}_path")]
        for name in FILE_FIELDS
    }
    if not (optical or sar or by_path["optical"] or by_path["sar"]):
        raise Refusal(
            422,
            "scene",
            "no image was given; send a file as optical or sar, a path as optical_path or sar_path, or sample=demo",
            "optical",
        )
    try:
        box = None if fields.bbox is None else check_box(fields.bbox.split(","))
    except SceneError as error:
        raise Refusal(422, "scene", str(error), "bbox") from None
    hidden = [str(upload.path.parent) for uploads in form.files.values() for upload in uploads]
    if settings.root is not None:
        hidden.append(str(settings.root.resolve()))
    return SceneFiles(
        optical=[*optical, *by_path["optical"]],
        sar=[*sar, *by_path["sar"]],
        reading={
            "dates": fields.date or None,
            "sensor": fields.sensor,
            "sar_sensor": fields.sar_sensor,
            "gsd_m": fields.gsd,
            "nodata": fields.nodata,
            "reference": fields.reference,
            "bbox": box,
            "max_pixels": settings.max_pixels,
        },
        hidden=tuple(hidden),
        fields={upload.name: name for name, uploads in form.files.items() for upload in uploads},
    )


def _in_words(message: str) -> str:
    """A complaint of pydantic's as the end of one of our sentences."""
    message = re.sub(r"^(Value error, |Input should be )", lambda m: "must be " if "should" in m[0] else "", message)
    return message[:1].lower() + message[1:]
