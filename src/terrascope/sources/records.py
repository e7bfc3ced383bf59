"""Samples as records of conversations, the form in which vision-language models are trained; the text of both ways.

A record is a JSON object with `conversations` (turns `from` human and gpt), the names of its images, and for grounded
ones `masks`: for every [SEG], in order, a list of COCO run-length codes. What no such format has a field for travels
under one more key, `terrascope`, which other programs pass over.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from terrascope import masks
from terrascope.errors import SampleError, SceneError
from terrascope.sample import Sample
from terrascope.sources.chips import Origin
from terrascope.trace import LETTERS

EXTRA = "terrascope"
"""The key of a record under which the rest of a sample travels."""

ORIGINS = "origins"
"""The key under `EXTRA` of what a scene was before it was exported and read again: lists of source, key and place."""

IMAGE = "<image>"

_REGION = re.compile(r" ?<REGION>")
_INSTRUCTION = re.compile(r"A conversation between User and Assistant\..*?</answer>\.?\s*", re.S)
_OPTION = re.compile(r"\s*\(?([A-Z])[.):]\s+(\S.*?)\s*")
_SEPARATORS = re.compile(r"[\s,\[\]]*")
_READ_AT_ONCE, _LONGEST_RECORD = 1 << 20, 1 << 26


class RecordError(SampleError):
    """A record cannot be used. `reason` says why in a few words that are the same for every such record."""

    def __init__(self, sentence: str, *, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class PlacedRecord(NamedTuple):
    """A record, and the bytes of its file from `start` up to `stop` that hold it."""

    start: int
    stop: int
    record: Any


def join_prompt(images: Sequence[str], question: str, options: Sequence[str]) -> str:
    """What the human says: a line for each of `images`, the question, and the options as lines "A. ..."."""
    return "\n".join([*images, question, *(f"{LETTERS[place]}. {text}" for place, text in enumerate(options))])


def split_prompt(prompt: str) -> tuple[str, tuple[str, ...]]:
    """The question and its options of what a human says, without images and without the authors' instruction."""
    lines = [
        line.replace(IMAGE, "")
        for line in clean(_INSTRUCTION.sub("", prompt)).splitlines()
        if not (IMAGE in line and line.lstrip().startswith(("Image:", IMAGE)) and line.rstrip().endswith(IMAGE))
    ]
    options: list[str] = []
    for start in range(len(lines) - 1, 0, -1):
        found = [_OPTION.fullmatch(line) for line in lines[start:]]
        letters = "".join(match[1] for match in found if match)
        if len(letters) < len(found):
            break
        if letters == LETTERS[: len(letters)] and len(letters) > 1:
            options = [match[2] for match in found if match]
    num_lines = len(lines) - len(options)
    return "\n".join(lines[:num_lines]).strip(), tuple(options)


def clean(text: str) -> str:
    """The text without `<REGION>`, by which the authors' program marks where it put visual tokens."""
    return _REGION.sub("", text)


def pack(sample: Sample, prompt: str) -> dict[str, Any]:
    """What stands under `EXTRA`: every field of a sample that its record does not hold, or would not give back.

    The record holds question and options (in `prompt`), the reasoning, and the codes of the masks.
    """
    row = sample.to_row()
    question, options = split_prompt(prompt)
    for name, read_back in (("question", question), ("options", options), ("reasoning", clean(sample.reasoning))):
        if row[name] == read_back:
            del row[name]
    row["masks"] = [[mask.image, mask.class_name] for mask in sample.masks]
    row["images"] = [_known(image) for image in row["images"]]
    return _known(row)


def unpack(record: Mapping[str, Any]) -> Sample:
    """The sample of a record that was written with `pack`.

    Raises:
        RecordError: the record is damaged, or has been changed so that its parts do not fit.
    """
    if not isinstance(record[EXTRA], Mapping):
        raise _wrong_form(record)
    prompt, reasoning = turns(record)[0]
    question, options = split_prompt(prompt)
    row: dict[str, Any] = {"question": question, "options": options, "reasoning": clean(reasoning)} | record[EXTRA]
    try:
        pointed = [(int(image), str(class_name)) for image, class_name in row.pop("masks")]
        size = int(row["height"]), int(row["width"])
    except (KeyError, TypeError, ValueError):
        raise _wrong_form(record) from None
    row.pop(ORIGINS, None)
    found = read_masks(record, [image for image, _ in pointed], size)
    row["masks"] = [
        {"counts": counts, "image": image, "class_name": class_name}
        for (image, counts), (_, class_name) in zip(found, pointed, strict=True)
    ]
    try:
        return Sample.from_row(row)
    except SampleError:
        raise _wrong_form(record) from None


def turns(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the human says and what is answered, turn by turn.

    Raises:
        RecordError: the record holds no conversation.
    """
    try:
        said = [(str(turn["from"]), str(turn["value"])) for turn in record["conversations"]]
    except (KeyError, TypeError):
        raise _wrong_form(record) from None
    said = [turn for turn in said if turn[0] != "system"]
    if not said or len(said) % 2 or any(who != ("human", "gpt")[place % 2] for place, (who, _) in enumerate(said)):
        raise _wrong_form(record)
    return [(said[place][1], said[place + 1][1]) for place in range(0, len(said), 2)]


def image_names(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The images of a record as it names them, in time order.

    Raises:
        RecordError: it names none.
    """
    if "pre_image" in record and "post_image" in record:
        names = [record["pre_image"], record["post_image"]]
    else:
        named = record.get("image")
        names = named if isinstance(named, list) else [named]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise RecordError(f"record {_name(record)}: it names no image", reason="no image named")
    return tuple(names)


def read_masks(
    record: Mapping[str, Any], images: Sequence[int | None], size: tuple[int, int] | None
) -> list[tuple[int, str]]:
    """The image (from 1) and the run-length `counts` of every [SEG], checked by decoding.

    In a record with `pre_image` and `post_image`, twice as many masks as [SEG]s are those of the first image for every
    [SEG], then those of the second: the one on the image that the [SEG] points at is taken.

    Args:
        images: for every [SEG] the image that it points at. Where the text does not say (None), the first image is
            meant; of masks on two, the first image on which the mask is not empty.
        size: (height, width) of every mask; None where it is unknown.

    Raises:
        RecordError: the numbers of masks and [SEG]s differ, a code does not decode, or its size is another.
    """
    objects, num_segs = record.get("masks") or [], len(images)
    if not isinstance(objects, list):
        raise _wrong_form(record)
    both_dates = "pre_image" in record and num_segs > 0 and len(objects) == 2 * num_segs
    if not both_dates and len(objects) != num_segs:
        fewer = len(objects) < num_segs
        raise RecordError(
            f"record {_name(record)}: {num_segs} [SEG]s but {len(objects)} masks; give one for each",
            reason="fewer masks than [SEG]s" if fewer else "more masks than [SEG]s",
        )
    found = []
    for place, image in enumerate(images):
        if not both_dates:
            found.append((image or 1, _code(record, objects[place], size)))
            continue
        dates = [_code(record, objects[place + half * num_segs], size) for half in (0, 1)]
        if image is None:
            empty = _code(record, [], mask_size(objects[place]) or size)
            image = 2 if dates[0] == empty != dates[1] else 1
        found.append((image, dates[image - 1]))
    return found


def mask_size(parts: Any) -> tuple[int, int] | None:
    """(height, width) that the first code of an object states; None where there is none."""
    first = parts[0] if isinstance(parts, list) and parts else parts
    size = first.get("size") if isinstance(first, Mapping) else None
    is_size = isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size)
    return (size[0], size[1]) if is_size and isinstance(size, list) else None


def sizes_of_masks(record: Mapping[str, Any]) -> set[tuple[int, int]]:
    """The sizes (height, width) that the codes of a record state."""
    found = (mask_size(parts) for parts in record.get("masks") or [])
    return {size for size in found if size is not None}


def read_records(path: Path) -> Iterator[PlacedRecord]:
    """The records of a JSON list or of JSON lines, one after the other: a list of a million is never held in memory.

    Raises:
        SampleError: the file cannot be read, or is not JSON up to its end.
    """
    decode_json, decode_text = json.JSONDecoder().raw_decode, codecs.getincrementaldecoder("utf-8")().decode
    buffer, start, at_end, is_open = "", 0, False, False
    try:
        with path.open("rb") as file:
            while not at_end:
                chunk = file.read(max(_READ_AT_ONCE, len(buffer)))
                at_end = not chunk
                buffer += decode_text(chunk, at_end)
                place = 0
                while True:
                    skipped = _SEPARATORS.match(buffer, place)
                    assert skipped is not None
                    brackets = skipped[0].strip(" ,\t\r\n")
                    is_open = brackets.endswith("[") if brackets else is_open
                    start, place = start + len(skipped[0]), skipped.end()
                    try:
                        record, stop = decode_json(buffer, place)
                    except json.JSONDecodeError:
                        break
                    if stop == len(buffer) and not at_end:
                        break  # a bare number at the end of what was read may go on
                    text = buffer[place:stop]
                    num_bytes = len(text) if text.isascii() else len(text.encode())
                    yield PlacedRecord(start, start + num_bytes, record)
                    start, place = start + num_bytes, stop
                buffer = buffer[place:]
                if len(buffer) > _LONGEST_RECORD:
                    break
    except OSError as error:
        raise SampleError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SampleError(f"{path}: not text in UTF-8; give a JSON list, or one JSON object a line") from None
    if buffer or is_open:
        raise SampleError(f"{path}: not JSON from byte {start} on; give a JSON list, or one JSON object a line")


def origins_in(record: Mapping[str, Any]) -> tuple[Origin, ...]:
    """What the scene of a record was before it was exported, as far back as the record tells; none if it does not.

    Raises:
        RecordError: what stands there are no origins.
    """
    extra = record.get(EXTRA)
    told = extra.get(ORIGINS, []) if isinstance(extra, Mapping) else []
    try:
        origins = tuple(Origin(*origin) for origin in told)
    except TypeError:
        raise _wrong_form(record) from None
    if not all(isinstance(part, str) for origin in origins for part in origin):
        raise _wrong_form(record)
    return origins


def _code(record: Mapping[str, Any], parts: Any, size: tuple[int, int] | None) -> str:
    """The one code of an object; several parts are united, none is an empty mask of `size`."""
    parts = parts if isinstance(parts, list) else [parts]
    try:
        decoded = [masks.decode_rle(part) for part in parts]
    except SceneError:
        raise RecordError(
            f"record {_name(record)}: a run-length mask does not decode", reason="mask does not decode"
        ) from None
    if any(mask.shape != (size or decoded[0].shape) for mask in decoded):
        raise RecordError(
            f"record {_name(record)}: a mask is {decoded[0].shape}, the image {size}; both must be of one size",
            reason="mask of another size",
        )
    if not decoded and size is None:
        raise RecordError(f"record {_name(record)}: the size of its image is unknown", reason="size unknown")
    if len(parts) == 1 and isinstance(parts[0]["counts"], str):
        return parts[0]["counts"]
    return str(masks.encode_rle(np.logical_or.reduce([*decoded, np.zeros(size or decoded[0].shape, bool)]))["counts"])


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _name(record: Any) -> str:
    named = (record.get("id") or record.get("image") or record.get("pre_image")) if isinstance(record, Mapping) else ""
    return str(named or "without a name")


def _wrong_form(record: Any) -> RecordError:
    return RecordError(f"record {_name(record)}: not a conversation with its images and masks", reason="not a sample")
