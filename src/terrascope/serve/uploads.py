"""A form with files, taken in while it arrives: bounded in bytes and parts, files straight to the disk."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from terrascope.serve.body import body_of
from terrascope.serve.refusals import Refusal
from terrascope.serve.settings import MAX_QUESTION, MB, ServeSettings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_FIELDS = 100
_MAX_FIELD_BYTES = 4 * MAX_QUESTION + 4096
_MAX_HEADER_BYTES = 8192
_MAX_NAME_BYTES = 160
_WRITE_AT = MB
"""Bytes that are gathered before they are written, in a thread, to the disk."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file of a form.

    Attributes:
        path: where it lies.
        name: the client's own name for it (never a path).
        digest: SHA-256 of its content.
    """

    path: Path
    name: str
    digest: bytes


@dataclass(kw_only=True)
class Form:
    """The fields of a form, texts and files, by name and in order. Its files go with it: call `close`."""

    folder: Path
    parts: list[tuple[str, str | Upload]] = field(default_factory=list)

    @property
    def texts(self) -> dict[str, list[str]]:
        """The texts of each field."""
        texts: dict[str, list[str]] = {}
        for name, part in self.parts:
            if isinstance(part, str):
                texts.setdefault(name, []).append(part)
        return texts

    @property
    def files(self) -> list[tuple[str, Upload]]:
        """The files with the names of their fields."""
        return [(name, part) for name, part in self.parts if isinstance(part, Upload)]

    def close(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def safe_name(name: str) -> str:
    """The last part of a client's file name, in characters that no shell and no program reads as something else.

    What it says is kept, since products are recognised by the names of their files.
    """
    last = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    plain = re.sub(r"[^\w.()+-]", "_", last).lstrip(".-_")
    stem, dot, suffix = plain.rpartition(".")
    stem, suffix = (stem, dot + suffix[:8]) if stem else (plain, "")
    # Products and dates stand at the beginning of a name, bands at its end.
    half = (_MAX_NAME_BYTES - 40) // 2
    encoded = stem.encode()
    if len(encoded) > 2 * half:
        stem = encoded[:half].decode(errors="ignore") + encoded[-half:].decode(errors="ignore")
    return stem + suffix or "upload"


async def read_form(
    request: Request, folder: Path, settings: ServeSettings, *, file_fields: Collection[str]
) -> tuple[Form, int]:
    """A multipart form, its files below a new folder in `folder`; and the bytes that the body had.

    Args:
        file_fields: names of the fields that may hold files.

    Raises:
        Refusal: no such form, or one that is too large, has too many parts, or does not arrive.
        ClientDisconnect: the client went away.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise Refusal(415, "media_type", "send the question as multipart/form-data, as curl does with -F")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 200:
        raise Refusal(400, "malformed", "the form has no boundary; let the client library make the Content-Type")
    form = Form(folder=Path(tempfile.mkdtemp(dir=folder)))
    reader = _FormReader(form, settings, frozenset(file_fields))
    num_bytes = 0
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        async for chunk in body_of(request, settings.max_upload_bytes, settings):
            num_bytes += len(chunk)
            try:
                parser.write(chunk)
            except MultipartParseError as error:
                raise Refusal(400, "malformed", f"the form cannot be read: {error}") from None
            if reader.num_unwritten >= _WRITE_AT:
                await asyncio.to_thread(reader.write)
        if not reader.has_ended:
            raise Refusal(400, "malformed", "the form ends too early; its last boundary is missing")
        await asyncio.to_thread(reader.write)
    except BaseException:
        reader.close()
        form.close()
        raise
    return form, num_bytes


class _Arriving:
    """A file of a form that is on its way."""

    def __init__(self, path: Path) -> None:
        self._path, self._hash = path, hashlib.sha256()
        self._file: BinaryIO = path.open("xb")

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)

    def close(self) -> None:
        self._file.close()

    def upload(self) -> Upload:
        """It, once it is whole."""
        return Upload(path=self._path, name=self._path.name, digest=self._hash.digest())


class _FormReader:
    """Sorts what the parser finds into the texts and files of a form."""

    def __init__(self, form: Form, settings: ServeSettings, file_fields: frozenset[str]) -> None:
        self.form, self.settings, self.file_fields = form, settings, file_fields
        self.has_ended = False
        self.num_unwritten = 0
        # A file's end is None.
        self._unwritten: list[tuple[_Arriving, bytes | None]] = []
        self._parts: list[tuple[str, str | _Arriving]] = []
        self._num_texts = self._num_files = 0
        self._begin()

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls as it goes."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def write(self) -> None:
        """Write what was gathered, in a thread."""
        unwritten, self._unwritten, self.num_unwritten = self._unwritten, [], 0
        try:
            for file, data in unwritten:
                if data is None:
                    file.close()
                else:
                    file.write(data)
        except OSError as error:
            raise _unstored(error) from None
        if self.has_ended:
            self.form.parts = [
                (name, part.upload() if isinstance(part, _Arriving) else part) for name, part in self._parts
            ]

    def close(self) -> None:
        """Close the files of a form that did not arrive."""
        for _, part in self._parts:
            if isinstance(part, _Arriving):
                part.close()

    def _begin(self) -> None:
        self._header_name = self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._num_header_bytes = 0
        self._text: bytearray | None = None
        self._file: _Arriving | None = None
        self._name = ""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += self._counted(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += self._counted(data[start:end])

    def _counted(self, part: bytes) -> bytes:
        self._num_header_bytes += len(part)
        if self._num_header_bytes > _MAX_HEADER_BYTES:
            raise Refusal(400, "malformed", "the headers of a part of the form are too long")
        return part

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name, self._header_value = b"", b""

    def _on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise Refusal(400, "malformed", "a part of the form has no name")
        self._name = options[b"name"].decode("utf-8", "replace")
        if b"filename" not in options:
            self._num_texts += 1
            if self._num_texts > _MAX_FIELDS:
                raise Refusal(400, "malformed", f"the form has more than {_MAX_FIELDS} fields")
            self._text = bytearray()
            return
        if self._name not in self.file_fields:
            wanted = " or ".join(sorted(self.file_fields))
            raise Refusal(
                400, "unknown_field", f"{self._name[:40]!r} takes no file; send files as {wanted}", self._name
            )
        self._num_files += 1
        if self._num_files > self.settings.max_files:
            raise Refusal(413, "too_many_files", f"more than {self.settings.max_files} files were sent", self._name)
        name = safe_name(options[b"filename"].decode("utf-8", "replace"))
        # A folder for each, so that no file lies beside another that it could make GDAL read.
        home = self.form.folder / str(self._num_files)
        try:
            home.mkdir()
            self._file = _Arriving(home / name)
        except OSError as error:
            raise _unstored(error) from None
        self._parts.append((self._name, self._file))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._unwritten.append((self._file, data[start:end]))
            self.num_unwritten += end - start
        elif self._text is not None:
            self._text += data[start:end]
            if len(self._text) > _MAX_FIELD_BYTES:
                raise Refusal(413, "too_large", f"{self._name[:40]!r} is too long for a field", self._name)

    def _on_part_end(self) -> None:
        if self._file is not None:
            self._unwritten.append((self._file, None))
        if self._text is not None:
            try:
                text = self._text.decode("utf-8")
            except UnicodeDecodeError:
                raise Refusal(400, "malformed", f"{self._name[:40]!r} is no UTF-8 text", self._name) from None
            self._parts.append((self._name, text))

    def _on_end(self) -> None:
        self.has_ended = True


def _unstored(error: OSError) -> Refusal:
    return Refusal(503, "storage", f"the server cannot store the upload ({error.strerror})")
