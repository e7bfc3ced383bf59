"""A chat completion as it is asked: its body is read, its images become files, and what cannot be done is refused."""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from terrascope.serve.chat_schemas import ChatRequest, SceneFields
from terrascope.serve.form import AskFields, read_fields
from terrascope.serve.refusals import Refusal
from terrascope.serve.settings import MAX_QUESTION
from terrascope.serve.uploads import Form, Upload
from terrascope.serve.wording import complaint

_SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/jpg": ".jpg", "image/tiff": ".tif"}
_DATA_URI = re.compile(r"data:([^;,]*)((?:;[^;,]*)*?);base64,", re.IGNORECASE)
_MAX_URI_HEAD = 256
_MAX_PIECES = 2 * MAX_QUESTION

_FORM_FIELDS = {"optical": "optical_path", "sar": "sar_path", "dates": "date", "options": "option"}
"""Fields of the extension that a form calls otherwise."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A chat completion, its scene as a form would have brought it.

    Attributes:
        request: without its messages.
        form: the images.
        fields: the question and the other fields.
    """

    request: ChatRequest
    form: Form
    fields: AskFields


def read_chat(body: BinaryIO, form: Form, *, model: str, max_files: int) -> Asked:
    """Read the body of a chat completion, and put its images into the folder of a form.

    Raises:
        Refusal: it is no such body, asks for what the model cannot do, or names another model.
    """
    content = body.read()
    # Reading and checking hold the interpreter, by the piece. Base64 has none of these characters.
    if sum(map(content.count, (b",", b"[", b"{", b":"))) > _MAX_PIECES:
        raise Refusal(400, "malformed", "the body has too many parts to be a question about a scene")
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        raise Refusal(400, "malformed", "the body is no JSON") from None
    if not isinstance(told, dict):
        raise Refusal(400, "malformed", "the body is no JSON object")
    try:
        request = ChatRequest.model_validate({name: value for name, value in told.items() if value is not None})
    except ValidationError as error:
        raise _refusal_of(error) from None
    if request.model != model:
        raise unknown_model(request.model, model)
    question, addresses = _read_messages(request.messages)
    if len(addresses) > max_files:
        raise Refusal(413, "too_many_files", f"more than {max_files} images were sent", "messages")
    modalities = request.terrascope.modalities or ["optical"] * len(addresses)
    if len(modalities) != len(addresses):
        raise Refusal(
            400,
            "malformed",
            f"{len(modalities)} modalities were given for {len(addresses)} images; give one each",
            "terrascope.modalities",
        )
    fields = _to_ask(question, request.terrascope)
    for number, (modality, (param, address)) in enumerate(zip(modalities, addresses, strict=True), 1):
        form.parts.append((modality, _write_image(address, form.folder / str(number), param)))
    for modality, paths in (("optical", fields.optical_path), ("sar", fields.sar_path)):
        form.parts += [(f"{modality}_path", path) for path in paths]
    if not (form.files or fields.optical_path or fields.sar_path or fields.sample):
        raise Refusal(
            400,
            "missing_field",
            "no image was given; send image_url parts with data: URIs, or name rasters in the field terrascope",
            "messages",
        )
    return Asked(request=request.model_copy(update={"messages": []}), form=form, fields=fields)


def unknown_model(asked: str, model: str) -> Refusal:
    """That a server has another model."""
    return Refusal(404, "model_not_found", f"there is no model {asked[:100]!r}; this server has {model!r}", "model")


def with_param(refusal: Refusal) -> Refusal:
    """A refusal about a field of a form, by the name that the field has in a chat completion."""
    names = {form_name: name for name, form_name in _FORM_FIELDS.items()}
    name = names.get(refusal.field or "", refusal.field)
    if refusal.field in ("question", "optical", "sar"):
        refusal.field = "messages"
    elif name in SceneFields.model_fields:
        refusal.field = f"terrascope.{name}"
    return refusal


def _to_ask(question: str, scene: SceneFields) -> AskFields:
    """The same as the fields of a form."""
    told: dict[str, list[str]] = {"question": [question]}
    for name, value in scene.model_dump(exclude={"modalities"}, exclude_defaults=True).items():
        if name == "bbox":
            value = ",".join(map(repr, value))
        told[_FORM_FIELDS.get(name, name)] = [str(each) for each in (value if isinstance(value, list) else [value])]
    try:
        return read_fields(told)
    except Refusal as refusal:
        raise with_param(refusal) from None


def _read_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[tuple[str, str]]]:
    """The question, and name and address of each image."""
    if len(messages) != 1 or messages[0].get("role") != "user":
        raise Refusal(
            400,
            "unsupported_messages",
            "send one message, of the user: the model answers one question about one scene, and follows neither "
            "instructions of the system nor earlier turns",
            "messages",
        )
    content = messages[0].get("content")
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        raise Refusal(400, "malformed", "the content must be a text or a list of parts", "messages[0].content")
    texts, addresses = [], []
    for number, part in enumerate(content):
        param = f"messages[0].content[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url" and isinstance(part.get("image_url"), dict):
            address = part["image_url"].get("url")
            if not isinstance(address, str):
                raise Refusal(400, "malformed", "the part has no url", f"{param}.image_url.url")
            addresses.append((f"{param}.image_url.url", address))
        else:
            raise Refusal(400, "unsupported_content", "a part must be a text or an image_url", param)
    return "\n".join(texts), addresses


def _write_image(address: str, home: Path, param: str) -> Upload:
    head = _DATA_URI.match(address[:_MAX_URI_HEAD])
    if head is None and not address[:5].lower() == "data:":
        raise Refusal(
            403, "address", "addresses are not fetched; send the image itself as a data: URI, in base64", param
        )
    suffix = _SUFFIXES.get(head[1].strip().lower()) if head else None
    if head is None or suffix is None:
        raise Refusal(415, "media_type", "send images as data:image/png, image/jpeg or image/tiff, in base64", param)
    try:
        content = binascii.a2b_base64(address[head.end() :], strict_mode=True)
    except ValueError:
        raise Refusal(400, "malformed", "the data: URI is no base64", param) from None
    name = f"image-{home.name}{suffix}"
    # A folder for each, as for the files of a form.
    home.mkdir()
    (home / name).write_bytes(content)
    return Upload(path=home / name, name=name, digest=hashlib.sha256(content).digest())


def _refusal_of(error: ValidationError) -> Refusal:
    failure = error.errors(include_url=False)[0]
    param = ".".join(str(part) for part in failure["loc"])[:100]
    if failure["type"] == "extra_forbidden":
        return Refusal(400, "unsupported_parameter", f"{param!r} is not supported; docs/serve.md lists what is", param)
    if failure["type"] == "missing":
        return Refusal(400, "missing_field", complaint(param, failure), param)
    return Refusal(400, "unsupported_value", complaint(param, failure), param)
