"""Texts of a product's XML metadata, read without trust in where the file comes from."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from xml.parsers import expat

from terrascope.errors import SceneError

MAX_METADATA_BYTES = 16 * 2**20
"""Larger files are no metadata of an image."""


def read_texts(path: Path, names: Collection[str]) -> dict[str, list[str]]:
    """The texts of all elements of these names (without namespace), in document order; names that are missing too.

    Entities are refused, not expanded: a few lines of them can stand for gigabytes.

    Raises:
        SceneError: the file is too large, is no XML, or declares entities.
    """
    texts: dict[str, list[str]] = {name: [] for name in names}
    inside: list[str] = []

    def start(element: str, _: dict[str, str]) -> None:
        name = element.rpartition(":")[2]
        inside.append(name)
        if name in texts:
            texts[name].append("")

    def end(_: str) -> None:
        inside.pop()

    def text(characters: str) -> None:
        if inside and inside[-1] in texts:
            texts[inside[-1]][-1] += characters

    def refuse(*_: object) -> None:
        raise SceneError(f"{path}: declares entities, which metadata of an image have no need of; fetch the file again")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.EntityDeclHandler = refuse
    parser.buffer_text = True
    try:
        with path.open("rb") as file:
            content = file.read(MAX_METADATA_BYTES + 1)
    except OSError as error:
        raise SceneError(f"{path}: cannot be read ({error.strerror}); make it readable or remove it") from None
    if len(content) > MAX_METADATA_BYTES:
        raise SceneError(f"{path}: larger than {MAX_METADATA_BYTES // 2**20} MiB, so it is no metadata; remove it")
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise SceneError(f"{path}: is no XML ({error}); fetch the file again") from None
    return {name: [each.strip() for each in found] for name, found in texts.items()}
