"""The fields of a question that is sent as a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from terrascope.question import parse_options
from terrascope.scene import Modality
from terrascope.serve.refusals import Refusal, about
from terrascope.serve.settings import MAX_QUESTION
from terrascope.serve.wording import complaint

MODALITIES: tuple[Modality, ...] = ("optical", "sar")
FILE_FIELDS = (*MODALITIES, *(f"{modality}_bands" for modality in MODALITIES))
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
            raise ValueError(f"is {value[:40]!r}; give true or false")
        return value

    @field_validator("question")
    @classmethod
    def _is_text(cls, question: str) -> str:
        if not question.strip():
            raise ValueError("is empty; ask something, e.g. How much of the image is water?")
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
        fields = AskFields(**given)
    except ValidationError as error:
        failure = error.errors()[0]
        name = str(failure["loc"][0])
        if name in FILE_FIELDS:
            raise Refusal(400, "malformed", f"{name} takes a file, as curl sends with -F {name}=@FILE", name) from None
        if failure["type"] == "extra_forbidden":
            raise Refusal(400, "unknown_field", f"{name[:40]!r} is no field of a question", name[:40]) from None
        code = "missing_field" if failure["type"] == "missing" else "malformed"
        raise Refusal(400, code, complaint(name, failure), name) from None
    with about("option"):
        parse_options(fields.option)
    return fields
