"""Terra-CoT for the training of other models: one file of conversations a split, and the pictures that they name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from terrascope.errors import SampleError, SceneError
from terrascope.output import check_folder, written_together
from terrascope.sample import Sample
from terrascope.sources.chips import ChipError, Origin
from terrascope.sources.records import EXTRA, ORIGINS
from terrascope.terracot.conversations import FORMATS, FORMS, Form, Format, layout_of, to_record
from terrascope.terracot.pictures import IMAGES, Read, name_images, picture_files, write_pictures

SPLITS = ("train", "val", "test")
_LAYOUTS = ("single", "temporal", "sar")

INTERNVL_TILES = 12
"""`max_dynamic_patch` of InternVL's tables: tiles that an image may be cut into, as in the paper."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote.

    Attributes:
        records: file -> number of its records.
        num_images: pictures written now; those that were there already do not count.
        left_out: samples that are in no file, by reason.
    """

    records: Mapping[str, int]
    num_images: int
    left_out: Mapping[str, int]


def export(
    samples: Iterable[Sample],
    directory: Path,
    *,
    form: Form,
    file_format: Format,
    read: Read | None,
    origins: Mapping[tuple[str, str], Sequence[Origin]] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Exported:
    """Write samples as conversations, in their order and one at a time, so that memory does not grow with them.

    The files of a form appear together when all is done. Pictures are written once a scene and stay when an export is
    cut off: the next one goes on with what is missing.

    Args:
        samples: of any splits.
        directory: is made if need be.
        form: `plain` and `thinking` leave out referring samples, whose answer is a mask.
        file_format: `internvl`, `llava` or `terrascope`.
        read: gives the chip of a source's name and a key, for the pictures; None to write text alone.
        origins: by source and key, what a chip was before it was exported and read again; grounded records take it
            along, so that it is known again however often it was exported.
        progress: is told how many samples are done.

    Raises:
        SampleError: there is no such form, format or split.
        OutputError: the folder cannot be written.
    """
    if form not in FORMS or file_format not in FORMATS:
        raise SampleError(f"no export {form!r} as {file_format!r}: choose of {', '.join(FORMS)}; {', '.join(FORMATS)}")
    target = check_folder(directory)
    pictures = _Pictures(read, file_format, target)
    left_out: Counter[str] = Counter()
    with written_together(target, file_names(form, file_format)) as staging:
        with ExitStack() as opened:
            files: dict[str, _RecordFile] = {}
            for number, sample in enumerate(samples, 1):
                record = to_record(sample, form, file_format, name_images(sample))
                if record is not None and EXTRA in record and origins and (sample.source, sample.key) in origins:
                    record[EXTRA][ORIGINS] = origins[sample.source, sample.key]
                reason = "no answer in words" if record is None else pictures.provide(sample)
                if reason is None:
                    name = _file_of(sample, form, file_format)
                    if name not in files:
                        files[name] = opened.enter_context(_RecordFile(staging / name))
                    files[name].write(record)
                else:
                    left_out[reason] += 1
                if progress is not None:
                    progress(number)
        if file_format == "internvl":
            for name, file in files.items():
                _write_table(staging, target, name, file.num_records)
    return Exported(
        records={name: file.num_records for name, file in files.items()},
        num_images=pictures.num_written,
        left_out=dict(left_out),
    )


def file_names(form: Form, file_format: Format) -> tuple[str, ...]:
    """The files that an export of a form may write beside its pictures."""
    if file_format == "terrascope":
        return tuple(f"{form}-{split}-{layout}.json" for split in SPLITS for layout in _LAYOUTS)
    if file_format == "llava":
        return tuple(f"{form}-{split}.json" for split in SPLITS)
    return tuple(f"{form}-{split}{end}" for split in SPLITS for end in (".jsonl", "_meta.json"))


def _file_of(sample: Sample, form: Form, file_format: Format) -> str:
    if sample.split not in SPLITS:
        raise SampleError(f"sample {sample.id}: split {sample.split!r}, but it must be one of {', '.join(SPLITS)}")
    if file_format == "terrascope":
        return f"{form}-{sample.split}-{layout_of(sample)}.json"
    return f"{form}-{sample.split}.{'jsonl' if file_format == 'internvl' else 'json'}"


class _Pictures:
    """Sees to it that the pictures of each sample's scene are there."""

    def __init__(self, read: Read | None, file_format: Format, root: Path) -> None:
        self.read, self.file_format, self.root = read, file_format, root
        self.num_written = 0
        self.failed: dict[tuple[str, str], str] = {}

    def provide(self, sample: Sample) -> str | None:
        """Write what is missing; why that cannot be, if it cannot."""
        if self.read is None:
            return None
        place = sample.source, sample.key
        if place in self.failed:
            return self.failed[place]
        files = picture_files(sample, self.file_format, self.root)
        missing = {path: shown for path, shown in files.items() if not path.exists()}
        if not missing:
            return None
        try:
            write_pictures(self.read(*place), sample, missing)
        except SceneError as error:
            self.failed[place] = error.reason if isinstance(error, ChipError) else "unreadable scene"
            return self.failed[place]
        self.num_written += len(missing)
        return None


class _RecordFile:
    """A JSON list or JSON lines, written record by record."""

    def __init__(self, path: Path) -> None:
        self.path, self.is_list = path, path.suffix == ".json"
        self.num_records = 0

    def __enter__(self) -> _RecordFile:
        self.file: TextIO = self.path.open("w", encoding="utf-8", newline="\n")
        return self

    def write(self, record: Any) -> None:
        before = ("[\n" if not self.num_records else ",\n") if self.is_list else ""
        # In ASCII, so that half of a surrogate pair, which UTF-8 cannot hold, stands as its escape.
        self.file.write(before + json.dumps(record, allow_nan=False) + ("" if self.is_list else "\n"))
        self.num_records += 1

    def __exit__(self, *_: object) -> None:
        if self.is_list:
            self.file.write("\n]\n" if self.num_records else "[]\n")
        self.file.close()


def _write_table(staging: Path, target: Path, name: str, num_records: int) -> None:
    """The table by which InternVL's training finds a file. Its paths are absolute: it is started from elsewhere."""
    stem = Path(name).stem
    table = {
        f"terracot-{stem}": {
            "root": str(target / IMAGES),
            "annotation": str(target / name),
            "data_augment": False,
            "max_dynamic_patch": INTERNVL_TILES,
            "repeat_time": 1,
            "length": num_records,
        }
    }
    (staging / f"{stem}_meta.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
