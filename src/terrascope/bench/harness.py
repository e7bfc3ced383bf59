"""Our benchmarks for the harnesses of others: a task folder of lmms-eval, and tables of VLMEvalKit.

Both hold the pictures that other models are shown by our own runner, and its words about them (`bench.prompts`). Where
questions have several images there are two of each, which show them one by one and side by side.
"""

from __future__ import annotations

import base64
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from terrascope.bench.items import Benchmark
from terrascope.bench.prompts import make_turns, to_png, word_question
from terrascope.errors import SampleError, SceneError
from terrascope.output import check_folder, written_together
from terrascope.question import LETTERS
from terrascope.sample import Sample
from terrascope.sources.chips import ChipError

Harness = Literal["lmms-eval", "vlmevalkit"]
HARNESSES: tuple[Harness, ...] = get_args(Harness)

SIDE_BY_SIDE = "_side_by_side"
"""What the name of the second form ends in."""

MAX_NEW_TOKENS = 1024
"""What lmms-eval lets a model write: the prompt asks for a letter, but models that think write more before it."""

_UNSAFE = re.compile(r"[^a-z0-9]+")
_ROWS_AT_ONCE = 32

_READ_AS_MISSING = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
     "NULL", "NaN", "None", "n/a", "nan", "null")
)  # fmt: skip
_READ_AS_NUMBER = re.compile(r"\s*[+-]?(?:\d[\d.,_]*(?:e[+-]?\d+)?|inf(?:inity)?|true|false)\s*", re.I)
_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What was written for a harness.

    Attributes:
        files: names of the files.
        num_questions: how many questions each form holds.
        left_out: questions that it cannot ask, by reason.
    """

    files: tuple[str, ...]
    num_questions: int
    left_out: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A question as other models are asked it: pictures one by one and side by side, and the words beside either."""

    sample: Sample
    pictures: tuple[bytes, ...]
    joined: bytes
    text: str
    text_joined: str


def export_harness(
    benchmark: Benchmark, out: str | Path, kind: str, progress: Callable[[int], None] | None = None
) -> Handed:
    """Write a benchmark for a harness, question by question, so that memory does not grow with it.

    Its files appear together when all is done. Free questions are left out, as either harness wants a letter.

    Args:
        out: the folder: what lmms-eval is given as `--include_path`, or VLMEvalKit's `LMUData`.
        kind: one of `HARNESSES`.
        progress: is told how many questions are done.

    Raises:
        SampleError: no such harness, or no question that it can ask.
        OutputError: the folder cannot be written.
    """
    if kind not in HARNESSES:
        raise SampleError(f"unknown harness {kind!r}; choose one of {', '.join(HARNESSES)}")
    samples = [sample for sample in benchmark.samples if sample.options]
    if not samples:
        raise SampleError(f"benchmark {benchmark.name}: no question has options, and {kind} wants a letter")
    name = name_of(benchmark)
    num_images = max(len(sample.images) for sample in samples)
    names = _file_names(name, kind, several=num_images > 1)
    questions = _Questions(benchmark, progress)
    with written_together(check_folder(out), names) as staging:
        if kind == "lmms-eval":
            _write_rows(staging / f"{name}.parquet", questions, num_images)
            categories = sorted({sample.task for sample in samples})
            for form in names[2:]:
                (staging / form).write_text(_task_yaml(Path(form).stem, name, categories, benchmark), encoding="utf-8")
            (staging / "utils.py").write_text(_task_code(), encoding="utf-8")
        else:
            _write_tables([staging / form for form in names], questions, several=num_images > 1)
        if not questions.num_asked:
            raise SampleError(
                f"benchmark {benchmark.name}: the images of no question can be read "
                f"({'; '.join(questions.left_out)}); check where they lie"
            )
    return Handed(files=names, num_questions=questions.num_asked, left_out=dict(questions.left_out))


def name_of(benchmark: Benchmark) -> str:
    """The name under which a harness knows a benchmark: small letters, digits and underscores."""
    return _UNSAFE.sub("_", benchmark.name.casefold()).strip("_") or "benchmark"


def _file_names(name: str, kind: str, *, several: bool) -> tuple[str, ...]:
    forms = (name, name + SIDE_BY_SIDE) if several else (name,)
    if kind == "vlmevalkit":
        return tuple(f"{form}.tsv" for form in forms)
    return f"{name}.parquet", "utils.py", *(f"{form}.yaml" for form in forms)


class _Questions:
    """The questions of a benchmark that a harness can ask, one after another, and the count of the others."""

    def __init__(self, benchmark: Benchmark, progress: Callable[[int], None] | None) -> None:
        self.benchmark, self.progress = benchmark, progress
        self.left_out = Counter[str]()
        self.num_asked = 0

    def __iter__(self) -> Iterator[_Asked]:
        for index, sample in enumerate(self.benchmark.samples):
            if sample.options:
                try:
                    asked = _ask(self.benchmark, index)
                except SceneError as error:
                    self.left_out[error.reason if isinstance(error, ChipError) else "unreadable image"] += 1
                else:
                    self.num_asked += 1
                    yield asked
            else:
                self.left_out["free question"] += 1
            if self.progress is not None:
                self.progress(index + 1)


def _ask(benchmark: Benchmark, index: int) -> _Asked:
    item = benchmark.item(index)
    question, options = item.sample.question, item.sample.options
    (shown,) = make_turns(item.scene, question, options)
    pictures = tuple(map(to_png, shown.pictures))
    if len(pictures) == 1:
        return _Asked(
            sample=item.sample, pictures=pictures, joined=pictures[0], text=shown.text, text_joined=shown.text
        )
    (joined,) = make_turns(item.scene, question, options, several="side-by-side")
    return _Asked(
        sample=item.sample,
        pictures=pictures,
        joined=to_png(joined.pictures[0]),
        text=shown.text,
        text_joined=joined.text,
    )


# ---------------------------------------------------------------------------------------------------------------------
# lmms-eval: Parquet rows that `datasets` decodes, a YAML file for each form, and the functions that they name.


def _write_rows(path: Path, questions: _Questions, num_images: int) -> None:
    texts = ("id", "prompt", "prompt_side_by_side", *LETTERS, "answer", "category")
    images = [f"image_{number}" for number in range(1, num_images + 1)]
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    # By this `datasets` knows that the structs are pictures.
    features = {name: {"dtype": "string", "_type": "Value"} for name in texts}
    features |= {name: {"_type": "Image"} for name in images}
    schema = pa.schema(
        [*((name, pa.string()) for name in texts), *((name, picture) for name in images)],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for asked in questions:
            rows.append(_row(asked, images))
            if len(rows) == _ROWS_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _row(asked: _Asked, images: list[str]) -> dict[str, Any]:
    sample = asked.sample
    pictures = [{"bytes": data, "path": None} for data in asked.pictures]
    return {
        "id": sample.id,
        "prompt": asked.text,
        "prompt_side_by_side": asked.text_joined,
        **dict(zip(LETTERS, sample.options, strict=False)),
        "answer": sample.answer,
        "category": sample.task,
        **dict(zip(images, pictures, strict=False)),
    }


def _task_yaml(task: str, rows: str, categories: list[str], benchmark: Benchmark) -> str:
    form = SIDE_BY_SIDE if task.endswith(SIDE_BY_SIDE) and task != rows else ""
    metrics = [("macro_accuracy", "macro_accuracy", True), ("micro_accuracy", "mean", True)]
    metrics += [("unparsable", "mean", False), *((f"accuracy_{name}", "mean", True) for name in categories)]
    lines = [
        f"task: {task}",
        "dataset_path: parquet",
        "dataset_kwargs:",
        "  data_files:",
        f"    test: {rows}.parquet",
        "test_split: test",
        "output_type: generate_until",
        f"doc_to_visual: !function utils.doc_to_visual{form}",
        f"doc_to_text: !function utils.doc_to_text{form}",
        "doc_to_target: answer",
        "process_results: !function utils.process_results",
        "generation_kwargs:",
        f"  max_new_tokens: {MAX_NEW_TOKENS}",
        "  temperature: 0",
        "  do_sample: false",
        "metric_list:",
    ]
    for metric, aggregation, is_better in metrics:
        lines += [
            f"  - metric: {json.dumps(metric)}",
            f"    aggregation: !function utils.{aggregation}",
            f"    higher_is_better: {str(is_better).lower()}",
        ]
    lines += ["metadata:", "  - version: 1.0", f"    benchmark: {json.dumps(benchmark.name)}"]
    return "\n".join([*lines, f"    digest: {benchmark.digest}"]) + "\n"


def _task_code() -> str:
    return resources.files("terrascope.bench").joinpath("lmms_task.py").read_text(encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------------
# VLMEvalKit: tables in which pictures stand as base64, or as the index of an earlier row that has the same.


def _write_tables(paths: list[Path], questions: _Questions, *, several: bool) -> None:
    columns = ["index", "image", *(["image_path"] if several else []), "question", *LETTERS, "answer", "category", "id"]
    first_of: dict[tuple[object, ...], int] = {}
    with ExitStack() as opened:
        tables = []
        for path in paths:
            file = opened.enter_context(path.open("w", newline="", encoding="utf-8"))
            tables.append(csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n"))
            tables[-1].writeheader()
        for index, asked in enumerate(questions):
            sample = asked.sample
            first = first_of.setdefault((sample.source, sample.key, sample.images), index)
            options = {letter: _as_text(text) for letter, text in zip(LETTERS, sample.options, strict=False)}
            shared = {
                "index": index,
                **options,
                "answer": sample.answer,
                "category": _as_text(sample.task),
                "id": sample.id,
            }
            forms = ((asked.pictures, asked.text), ((asked.joined,), asked.text_joined))
            for table, (pictures, text) in zip(tables, forms, strict=False):
                names = [f"{first}_{number}.png" for number in range(1, len(pictures) + 1)]
                row = shared | {
                    "image": _cell(pictures) if first == index else first,
                    # The kit puts options and its own request for a letter after the question itself.
                    "question": _as_text(
                        text.removesuffix(word_question(sample.question, sample.options)) + sample.question
                    ),
                }
                table.writerow(row | ({"image_path": names[0] if len(names) == 1 else str(names)} if several else {}))


def _cell(pictures: tuple[bytes, ...]) -> str:
    encoded = [base64.b64encode(data).decode("ascii") for data in pictures]
    return encoded[0] if len(encoded) == 1 else str(encoded)


def _as_text(text: str) -> str:
    """A text that the kit reads as such: it would take "None" for nothing, and "12" in a column of such for 12.0."""
    return text + _NO_BREAK if text in _READ_AS_MISSING or _READ_AS_NUMBER.fullmatch(text) else text
