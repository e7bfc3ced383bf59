"""The authors' own Terra-CoT, and every other JSON of conversations with run-length masks, ours included.

Layout: JSON lists or JSON lines beside the images that they name. A record has `image` (one name or a list), or
`pre_image` and `post_image`; `conversations`; and `masks`, for every [SEG] a list of COCO run-length codes. Where a
scene has SAR, a record that names X means `s2_images/X` and `s1_images/{vh,vv}/X`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from terrascope import trace
from terrascope.errors import QuestionError, SceneError
from terrascope.landcover import TERRASCOPE
from terrascope.sample import Level, Sample, SampleMask
from terrascope.sources.chips import Chip, ChipError, Entry, GivenQuestion, Index, Origin
from terrascope.sources.record_scenes import find_image, image_size, images_of, read_scene
from terrascope.sources.records import (
    EXTRA,
    RecordError,
    clean,
    image_names,
    origins_in,
    read_masks,
    read_records,
    sizes_of_masks,
    split_prompt,
    turns,
    unpack,
)

NAME = "terracot"
"""Name of the source, which samples that name none are said to be of."""

_CAPTION_WORDS = 20
"""An answer longer than this is taken for a caption."""


class _Place(NamedTuple):
    """Where a record lies: its file, and the bytes of it."""

    path: Path
    start: int
    stop: int


def read_samples(path: Path, *, images: Path | None = None, faults: Counter[str] | None = None) -> Iterator[Sample]:
    """The grounded samples of a file, in its order. Records that are none are passed over.

    What this program wrote comes back with all of its fields. Of other records the level is a guess, each turn of a
    conversation is a sample of its own, the place is the name of the image, and a class is the one that the mask's step
    names.

    Args:
        path: a JSON list or JSON lines.
        images: the folder that image names start from; None to look for no image.
        faults: is told how many records were passed over, by reason.

    Raises:
        SampleError: the file cannot be read, or is not JSON up to its end.
    """
    faults = Counter() if faults is None else faults
    for number, (_, _, record) in enumerate(read_records(path)):
        try:
            yield from _samples_of(record, images, f"{path.stem}-{number}")
        except (RecordError, ChipError) as error:
            faults[error.reason] += 1


@dataclass(frozen=True)
class TerraCotJson:
    """The JSON files of a folder with their images. A chip is an image, or the images of one record; its key is their
    names, joined by `|`. It has no label map: what is known of it are its questions, captions and `samples`.
    """

    root: Path
    name: str = NAME

    def index(self, split: str) -> Index:
        """The images of a split in the order in which the files name them; records that state none are of `train`.

        Raises:
            SceneError: the folder holds no such file.
        """
        entries = tuple(Entry(key, place) for key, (place, stated, _) in self._chips.items() if stated == split)
        return Index(entries=entries, skipped=dict(self._skipped))

    def read(self, key: str) -> Chip:
        """The images of a chip with what is asked of them.

        Raises:
            ChipError: there is no such chip, or an image is missing or unreadable.
        """
        place, split, records = self._chip(key)
        usable = [(record, sample) for record in records for sample in self._usable(record)]
        samples = [sample for _, sample in usable]
        origins = (origin for record, sample in usable for origin in self._origins(record, sample, key))
        first = samples[0] if samples else None
        scene = read_scene(self.root, key.split("|"), first)
        return Chip(
            source=self.name,
            key=key,
            place=place,
            split=split,
            scene=scene,
            captions=tuple(sample.answer for sample in samples if sample.level == "caption"),
            questions=tuple(
                GivenQuestion(kind=sample.task, text=sample.question, answer=sample.truth) for sample in samples
            ),
            country=first.country if first else None,
            lonlat=(first.lon, first.lat) if first and first.lon is not None and first.lat is not None else None,
            origins=tuple(dict.fromkeys(origins)),
        )

    def samples(self, key: str) -> tuple[Sample, ...]:
        """The grounded samples of a chip, as far as they are usable.

        Raises:
            ChipError: there is no such chip.
        """
        return tuple(sample for record in self._chip(key)[2] for sample in self._usable(record))

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The files of conversations."""
        found = sorted(path for pattern in ("*.json", "*.jsonl") for path in self.root.glob(pattern))
        # Such a table says where InternVL's training finds the rest.
        found = [path for path in found if not path.stem.endswith("_meta")]
        if not found:
            raise SceneError(f"{self.root}: no JSON file of conversations; give the folder that holds it")
        return tuple(found)

    @cached_property
    def _listed(self) -> tuple[dict[str, tuple[str, str, list[_Place]]], Counter[str]]:
        chips: dict[str, tuple[str, str, list[_Place]]] = {}
        skipped: Counter[str] = Counter()
        for path in self.files:
            for start, stop, record in read_records(path):
                try:
                    turns(record)
                    key = "|".join(image_names(record))
                except RecordError as error:
                    skipped[error.reason] += 1
                    continue
                known = record.get(EXTRA)
                known = known if isinstance(known, dict) else {}
                chip = chips.setdefault(key, (known.get("place", key), known.get("split", "train"), []))
                chip[2].append(_Place(path, start, stop))
        return chips, skipped

    @property
    def _chips(self) -> dict[str, tuple[str, str, list[_Place]]]:
        return self._listed[0]

    @property
    def _skipped(self) -> Counter[str]:
        return self._listed[1]

    def _chip(self, key: str) -> tuple[str, str, list[Any]]:
        if key not in self._chips:
            raise ChipError(f"{self.root}: no image {key}", reason="unknown chip")
        place, split, places = self._chips[key]
        return place, split, [_read_at(place) for place in places]

    def _origins(self, record: Any, sample: Sample, key: str) -> tuple[Origin, ...]:
        """What a chip was before, the last first, as a record tells with its sample: only those of this program do."""
        last = Origin(sample.source, sample.key, sample.place)
        return (*((last,) if last[:2] != (self.name, key) else ()), *origins_in(record))

    def _usable(self, record: Any) -> tuple[Sample, ...]:
        try:
            return tuple(_samples_of(record, self.root, "|".join(image_names(record)), self.name))
        except (RecordError, ChipError):
            return ()


def _read_at(place: _Place) -> Any:
    with place.path.open("rb") as file:
        file.seek(place.start)
        return json.loads(file.read(place.stop - place.start))


def _samples_of(record: Any, images: Path | None, name: str, source: str = NAME) -> Iterator[Sample]:
    conversation = turns(record)
    names = image_names(record)
    size = None
    if images is not None:
        size = image_size(find_image(images, names[0]))
        for other in names[1:]:
            find_image(images, other)
    if EXTRA in record:
        sample = unpack(record)
        origins_in(record)
        if size not in (None, (sample.height, sample.width)):
            raise RecordError(f"sample {sample.id}: its image is of another size", reason="mask of another size")
        yield sample
        return
    asked = [(*split_prompt(prompt), clean(reply)) for prompt, reply in conversation]
    traces = [trace.parse(reply) for _, _, reply in asked]
    pointed = [image for parsed in traces for image in _named_images(parsed, len(names))]
    size = size or next(iter(sizes_of_masks(record)), None)
    found = read_masks(record, pointed, size)
    if size is None:
        raise RecordError(f"record {name}: the size of its image is unknown", reason="size unknown")
    classes = _classes(record, traces)
    pictures = images_of(images, names)
    start = 0
    for number, ((question, options, reply), parsed) in enumerate(zip(asked, traces, strict=True)):
        own = slice(start, start := start + len(parsed.grounded_steps))
        level = _level(question, parsed.answer)
        letter = trace.answer_letter(parsed.answer, len(options)) if options else None
        yield Sample(
            id=str(record.get("id", name)) + (f"-{number}" if len(asked) > 1 else ""),
            level=level,
            task=str(record.get("task_type") or record.get("task") or level),
            source=source,
            key="|".join(names),
            place="|".join(names),
            split="train",
            images=pictures,
            height=size[0],
            width=size[1],
            question=question,
            options=options,
            reasoning=trace.render(parsed) if not parsed.steps and not parsed.conclusion else reply,
            masks=tuple(
                SampleMask(counts=counts, image=image, class_name=class_name)
                for (image, counts), class_name in zip(found[own], classes[own], strict=True)
            ),
            truth=options[trace.LETTERS.index(letter)] if letter else parsed.answer,
            writer="unknown",
        )


def _named_images(parsed: trace.Trace, num_images: int) -> list[int | None]:
    """The image of every [SEG] as the text names it, now or before; None where it has named none so far."""
    if num_images == 1:
        return [1] * len(parsed.grounded_steps)
    named: list[int | None] = []
    for step in parsed.grounded_steps:
        is_known = step.image is not None and 1 <= step.image <= num_images
        named.append(step.image if is_known else named[-1] if named else None)
    return named


def _classes(record: Mapping[str, Any], traces: list[trace.Trace]) -> list[str]:
    """The class of every [SEG]: as `labels` lists them, else the last one that its step's text names."""
    steps = [step for parsed in traces for step in parsed.grounded_steps]
    labels = record.get("labels")
    if isinstance(labels, list) and len(labels) == len(steps) and all(isinstance(label, str) for label in labels):
        return list(labels)
    return [_class_in(step.text) for step in steps]


def _class_in(text: str) -> str:
    words = "".join(letter if letter.isalpha() or letter == "-" else " " for letter in text).split()
    for stop in range(len(words), 0, -1):
        for start in (stop - 2, stop - 1):
            try:
                return TERRASCOPE[TERRASCOPE.id_of(" ".join(words[max(start, 0) : stop]))].name
            except QuestionError:
                continue
    return "unknown"


def _level(question: str, answer: str) -> Level:
    if "segment" in question.lower():
        return "referring"
    return "caption" if len(answer.split()) > _CAPTION_WORDS else "L1"
