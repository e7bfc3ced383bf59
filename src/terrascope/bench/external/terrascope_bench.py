"""TerraScope-Bench as its authors publish it: one Parquet file of questions with an image each, and no masks.

Columns: `image` (a struct of bytes and path, or bytes), `question` (may hold the prompt, options included),
`candidates` (letters and options, as a struct or as JSON; null where there are fewer), `answer` (a letter) and
`task_type`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from terrascope.bench.external.benchmark import ExternalBenchmark, Unusable, collect, make_sample
from terrascope.bench.external.choices import check_options, find_letter, list_options, stated_gsd_m
from terrascope.bench.external.pictures import Pictures, decode_picture
from terrascope.errors import SampleError
from terrascope.output import written_whole
from terrascope.question import LETTERS
from terrascope.sample import Sample, SampleImage
from terrascope.scene import Scene
from terrascope.sources.chips import ChipError
from terrascope.sources.records import split_prompt

NAME = "terrascope-bench"
COLUMNS = ("image", "question", "candidates", "answer", "task_type")

GSD_M = 10.0
"""Pixel size of its Sentinel-2 images; pictures before and after a disaster have another, which no one states."""

_ROWS_AT_ONCE = 64


def open_terrascope_bench(path: Path, images: Path | None) -> ExternalBenchmark:
    """The questions of the Parquet file, or of all such files of a folder.

    Args:
        images: folder of images of which the file holds only the path.

    Raises:
        SampleError: a file is damaged or has not the columns.
    """
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise SampleError(f"{path}: holds no Parquet file; give TerraScope_bench.parquet or its folder")
    columns = _Images(files=tuple(files), root=images)
    made = (partial(_make, number, row) for number, row in enumerate(_rows(files)))
    samples, skipped = collect(made)
    return ExternalBenchmark(name=NAME, samples=samples, skipped=skipped, read=columns.read)


def _make(number: int, row: Mapping[str, Any]) -> Sample:
    if not _is_image(row["image"]):
        raise Unusable("missing image")
    question, asked = split_prompt(str(row["question"] or ""))
    given = list_options(row["candidates"]) or dict(zip(LETTERS, asked, strict=False))
    options = check_options(list(given.values()))
    if not question:
        raise Unusable("question missing")
    task = str(row["task_type"] or "untold")
    return make_sample(
        name=NAME,
        number=number,
        task=task,
        question=question,
        options=options,
        truth=find_letter(row["answer"], list(given), options),
        images=[SampleImage(number=1, modality="optical", sensor="rgb")],
        key=str(number),
        gsd_m=stated_gsd_m(question) or (None if "building" in task or "change" in task else GSD_M),
    )


def _rows(files: list[Path]) -> Iterator[dict[str, Any]]:
    """All rows; what an image holds is not kept, only that there is one."""
    for path in files:
        try:
            with pq.ParquetFile(path, memory_map=True) as file:
                missing = next((name for name in COLUMNS if name not in file.schema_arrow.names), None)
                if missing is not None:
                    raise SampleError(f"{path}: has no column {missing}; give the Parquet file of TerraScope-Bench")
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(COLUMNS)):
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise _damaged(path, error) from None


def _is_image(image: Any) -> bool:
    return bool(image.get("bytes") or image.get("path")) if isinstance(image, Mapping) else bool(image)


@dataclass(frozen=True, kw_only=True)
class _Images:
    """The images of the files by the numbers of their rows.

    They are read from an uncompressed copy in a temporary folder, mapped into memory, as a row group of a Parquet file
    may hold thousands of them.
    """

    files: tuple[Path, ...]
    root: Path | None

    def read(self, sample: Sample) -> Scene:
        image = self._column[int(sample.key)].as_py()
        told = f"{self.files[0]}: the image of question {sample.key}"
        data = image.get("bytes") if isinstance(image, Mapping) else image
        if data:
            return Scene.of(optical=[decode_picture(data, source=told, gsd_m=sample.gsd_m)])
        if self.root is None:
            raise ChipError(f"{told}: only its path is there; give the folder of the images", reason="missing image")
        pictures = Pictures(root=self.root, told=self.root)
        return Scene.of(optical=[pictures.read(image["path"], gsd_m=sample.gsd_m)])

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="terrascope-images-", ignore_cleanup_errors=True)

    @cached_property
    def _column(self) -> pa.ChunkedArray:
        chunks = []
        for number, path in enumerate(self.files):
            copy = Path(self._folder.name) / f"{number}.arrow"
            try:
                with pq.ParquetFile(path, memory_map=True) as file, written_whole(copy) as unfinished:
                    schema = pa.schema([file.schema_arrow.field("image")])
                    with pa.ipc.new_file(unfinished, schema) as writer:
                        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=["image"]):
                            writer.write_batch(batch.cast(schema))
            except (OSError, pa.ArrowException) as error:
                raise _damaged(path, error) from None
            with pa.memory_map(str(copy)) as source:
                chunks += pa.ipc.open_file(source).read_all().column("image").chunks
        return pa.chunked_array(chunks)


def _damaged(path: Path, error: Exception) -> SampleError:
    reason = " ".join(str(error).split())
    return SampleError(f"{path}: cannot be read as Parquet ({reason}); fetch it again")
