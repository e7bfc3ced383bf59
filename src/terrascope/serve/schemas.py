"""The bodies of replies, as the description of the API (OpenAPI) has them; `docs/answer.schema.json` has the answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from terrascope.serve.form import FILE_FIELDS, YES_OR_NO, AskFields


class Failure(BaseModel):
    """Why a request was not served."""

    code: str = Field(description="for programs")
    message: str = Field(description="one sentence for people")
    field: str | None = Field(description="of the form that it is about")


class FailureReply(BaseModel):
    """The body of every reply that is no success."""

    error: Failure


class Health(BaseModel):
    """Whether the server takes questions."""

    status: Literal["ok", "stopping"]
    model: str


class Limits(BaseModel):
    """What a question may bring."""

    max_upload_bytes: int
    max_files: int
    max_pixels: int
    max_queue: int
    paths: bool = Field(description="images may be named by their paths")
    sensors: list[str]
    band_name: str = Field(
        description="regular expression of a band in a file's name, in any case: files whose names differ in its last "
        "match are the bands of one image"
    )
    model: str


class Mask(BaseModel):
    """COCO's compressed run-length code."""

    size: tuple[int, int] = Field(description="height, width")
    counts: str


class Disagreement(BaseModel):
    """A stated number that the mask contradicts."""

    stated: float
    measured: float
    unit: str
    message: str


class Step(BaseModel):
    """A step of the reasoning, with its mask and what was measured on it."""

    step: int = Field(ge=1)
    text: str
    finding: str
    image: int = Field(ge=1)
    date: str | None
    num_pixels: int
    coverage_percent: float
    area_m2: float | None
    scale_basis: str | None
    num_objects: int
    position: str | None
    distance_to_previous_step_m: float | None
    confidence: float
    num_tokens: int
    num_optical_tokens: int
    num_sar_tokens: int
    agrees: bool
    disagreements: list[Disagreement]
    mask_rle: Mask
    color: str = Field(pattern="^#[0-9a-f]{6}$")
    picture: str | None = Field(None, description="data URI of the mask as a layer; where pictures were asked for")


class Image(BaseModel):
    """One image of the scene."""

    source: str
    sensor: str
    date: str | None
    bands: list[str]
    valid_percent: float
    evidence: list[str]
    assumptions: list[str]


class ImagePair(BaseModel):
    """What is known of one date."""

    image: int = Field(ge=1)
    date: str | None
    optical: Image | None
    sar: Image | None


class AskedScene(BaseModel):
    """The scene as it was understood."""

    height_px: int
    width_px: int
    crs: str | None
    transform: list[float] | None
    scale_basis: str | None
    notes: list[str]
    images: list[ImagePair]


class AnswerReply(BaseModel):
    """An answer (`terrascope-answer/1`), the name under which it is kept, and its files."""

    model_config = ConfigDict(title="Answer")

    id: str
    schema_: Literal["terrascope-answer/1"] = Field(alias="schema")
    terrascope_version: str
    model: str
    question: str
    options: list[str]
    answer: str
    answer_option: str | None
    measured: str | None
    notes: list[str]
    num_disagreements: int
    scene: AskedScene
    steps: list[Step]
    introduction: str
    conclusion: str
    reasoning: str
    files: dict[str, str] = Field(description="where each file of the answer is, by its name")
    geojson: dict[str, Any] | None = Field(None, description="outlines of the masks, where they were asked for")


_SAYS = {
    400: "The form is not what it should be.",
    401: "The token is missing or wrong.",
    403: "The path leads outside of the server's folder, or the request comes from another site.",
    404: "There is no such answer, or it was forgotten.",
    408: "The client sent nothing for too long.",
    413: "The upload is too large.",
    415: "The request is no multipart/form-data.",
    422: "The scene or the question cannot be used.",
    500: "Something failed on the server.",
    503: "The queue is full, the server is stopping, or the answer took too long.",
}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The replies of a route that are no success."""
    return {status: {"model": FailureReply, "description": _SAYS[status]} for status in (*statuses, 403, 500)}


def ask_body() -> dict[str, Any]:
    """The form of a question, for the description of the route that reads it by itself."""
    schema = AskFields.model_json_schema()
    schema["properties"] = {name: _sendable(told) for name, told in schema["properties"].items()}
    for name in FILE_FIELDS:
        modality, _, bands = name.partition("_")
        told = "with one of its bands; names that differ in the band alone are one image" if bands else "once per date"
        schema["properties"][name] = {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": f"A file of an image ({modality}), {told}.",
        }
    encoding = {name: {"contentType": "application/octet-stream"} for name in FILE_FIELDS}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema, "encoding": encoding}}}
    }


def _sendable(told: dict[str, Any]) -> dict[str, Any]:
    """A field as a form can send it: all is text, and one that is left empty counts as not sent."""
    kinds = [kind for kind in told.get("anyOf", (told,)) if kind.get("type") != "null"]
    kind = {"type": "string", "enum": sorted(YES_OR_NO)} if kinds[0].get("type") == "boolean" else kinds[0]
    if "const" in kind:
        kind = {"type": "string", "enum": [kind["const"]]}
    if "enum" in kind:
        kind = {**kind, "enum": [*kind["enum"], ""]}
    more = {name: value for name, value in told.items() if name in ("title", "description")}
    return more | {name: value for name, value in kind.items() if name != "default"}
