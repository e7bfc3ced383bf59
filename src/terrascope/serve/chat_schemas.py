"""What a chat completion may ask, and its reply, as OpenAI's clients have them, without what the model cannot do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from terrascope.serve.schemas import AnswerReply, FailureReply, failures


class StreamOptions(BaseModel):
    """What a stream holds beside the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class TextFormat(BaseModel):
    """The only form of an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["text"]


class SceneFields(BaseModel):
    """The extension field `terrascope`: what /v1/ask takes as fields of its form.

    `modalities` says of every image of the message, in order, what it is; without it they are optical.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    optical: list[str] = []
    sar: list[str] = []
    sample: str | None = None
    dates: list[str] = []
    sensor: str | None = None
    sar_sensor: str | None = None
    gsd: float | None = None
    nodata: float | None = None
    reference: str | None = None
    bbox: Annotated[list[float], Field(min_length=4, max_length=4)] | None = None
    options: list[str] = []
    modalities: list[Literal["optical", "sar"]] | None = None
    geojson: bool = False
    pictures: bool = False


class ChatRequest(BaseModel):
    """The body of a chat completion.

    The answer is that of temperature 0: `temperature`, `top_p` and `seed` are taken and change nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    store: bool | None = None
    terrascope: SceneFields = SceneFields()

    n: Literal[1] = 1
    temperature: float = Field(0, ge=0, le=2)
    top_p: float = Field(1, gt=0, le=1)
    frequency_penalty: float = Field(0, ge=0, le=0)
    presence_penalty: float = Field(0, ge=0, le=0)
    logprobs: Literal[False] = False
    modalities: list[Literal["text"]] = ["text"]
    response_format: TextFormat = TextFormat(type="text")
    seed: int | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default"] = "auto"

    @property
    def max_written(self) -> int | None:
        """Tokens that the answer may have, reasoning included; None for the model's own limit."""
        limits = [limit for limit in (self.max_tokens, self.max_completion_tokens) if limit is not None]
        return min(limits, default=None)


class ChatFailure(BaseModel):
    """Why a request was not served, as OpenAI's clients read it."""

    message: str = Field(description="one sentence for people")
    type: Literal["invalid_request_error", "server_error"]
    param: str | None = Field(description="part of the request that it is about")
    code: str = Field(description="for programs")


class ChatFailureReply(BaseModel):
    """The body of every reply of these routes that is no success."""

    error: ChatFailure


class Model(BaseModel):
    """A model, as OpenAI's clients read it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "terrascope"


class Models(BaseModel):
    """The models of a server."""

    object: Literal["list"] = "list"
    data: list[Model]


class Message(BaseModel):
    """The answer, its reasoning without tags, and all of it with masks."""

    role: Literal["assistant"]
    content: str
    refusal: None
    reasoning_content: str
    terrascope: AnswerReply | None = Field(description="null where the reasoning was cut off by max_tokens")


class Choice(BaseModel):
    """The only choice."""

    index: Literal[0]
    message: Message
    logprobs: None
    finish_reason: Literal["stop", "length"]


class ChatReply(BaseModel):
    """A chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice] = Field(min_length=1, max_length=1)
    usage: None = Field(description="tokens are not counted")


def chat_body() -> dict[str, Any]:
    """The body of a chat completion, for the description of the route that reads it by itself."""
    schema = ChatRequest.model_json_schema()
    parts = schema.pop("$defs")

    def inlined(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return inlined(parts[value["$ref"].rpartition("/")[2]])
            return {name: inlined(each) for name, each in value.items()}
        return [inlined(each) for each in value] if isinstance(value, list) else value

    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(schema)}}}}


def chat_failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The replies of a route that are no success; what every request passes refuses in the form of the other routes."""
    ours = failures(*statuses)
    return {status: {**reply, "model": ChatFailureReply | FailureReply} for status, reply in ours.items()}
