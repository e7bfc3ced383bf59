"""One file of a data set: its samples, what was counted as they were made, and the chips that they are about.

Counts and chips lie in the metadata of the same Parquet file, so that a shard is all there or not there.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from terrascope.errors import SampleError
from terrascope.llm import Reason
from terrascope.output import written_whole
from terrascope.sample import SCHEMA, Sample, arrow_schema
from terrascope.terracot.record import ChipRecord

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_GROUP = 512
"""Rows that are read at least, wherever one is wanted straight from the file."""

_REPORT, _CHIPS, _PLAN = b"terrascope.report", b"terrascope.chips", b"terrascope.plan"


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What became of the chips of a shard.

    Attributes:
        number: of the shard, from 0.
        num_chips: chips that were to be read.
        num_empty: chips of which nothing was asked, for lack of anything that could be.
        num_unlabelled: those of them that have no label map.
        num_samples: rows of the shard.
        by_source, by_level, by_task, by_class: samples, by each; the tasks as `L1/area`; a sample counts once for every
            class that its masks show.
        by_answer: samples by kind of answer, as `L1/area: B`: a letter, yes or no, a number, or words.
        failed: chips that could not be used, or not wholly, by reason.
        told: for reasons of `failed`, what was said of the first such chip; files are named from their source's folder.
        rejected: drafts of a writer that did not pass its checks, by reason.
    """

    number: int
    num_chips: int
    num_empty: int = 0
    num_unlabelled: int = 0
    num_samples: int = 0
    by_source: Mapping[str, int] = field(default_factory=dict)
    by_level: Mapping[str, int] = field(default_factory=dict)
    by_task: Mapping[str, int] = field(default_factory=dict)
    by_class: Mapping[str, int] = field(default_factory=dict)
    by_answer: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *,
        number: int,
        num_chips: int,
        num_empty: int,
        samples: Sequence[Sample],
        failed: Mapping[str, int],
        rejected: Mapping[str, int],
        num_unlabelled: int = 0,
        told: Mapping[str, str] | None = None,
    ) -> ShardReport:
        """Count samples."""
        return cls(
            number=number,
            num_chips=num_chips,
            num_empty=num_empty,
            num_unlabelled=num_unlabelled,
            num_samples=len(samples),
            by_source=_count(sample.source for sample in samples),
            by_level=_count(sample.level for sample in samples),
            by_task=_count(f"{sample.level}/{sample.task}" for sample in samples),
            by_class=_count(name for sample in samples for name in sample.classes),
            by_answer=_count(f"{sample.level}/{sample.task}: {_kind_of_answer(sample)}" for sample in samples),
            failed=_count(failed),
            told=dict(sorted((told or {}).items())),
            rejected=_count(rejected),
        )

    @property
    def num_failed(self) -> int:
        return sum(self.failed.values())

    @property
    def num_without_reply(self) -> int:
        """Chips that failed as a language model gave no reply: another try may bring one."""
        return sum(self.failed.get(reason, 0) for reason in get_args(Reason))


def add_up(reports: Iterable[ShardReport]) -> ShardReport:
    """The counts of several shards as those of one, with the number -1; of a reason is told what comes first."""
    numbers: Counter[str] = Counter()
    tables: dict[str, Counter[str]] = {}
    told: dict[str, str] = {}
    for report in reports:
        told = {**report.told, **told}
        for name, value in asdict(replace(report, told={})).items():
            if isinstance(value, dict):
                tables.setdefault(name, Counter()).update(value)
            else:
                numbers[name] += value
    sums: dict[str, Any] = {"num_chips": 0, **numbers, **{name: _count(table) for name, table in tables.items()}}
    return ShardReport(**sums | {"number": -1, "told": dict(sorted(told.items()))})


def write_shard(
    path: Path, samples: Sequence[Sample], chips: Sequence[ChipRecord], report: ShardReport, *, plan: str
) -> None:
    """Write a shard, whole or not at all; the same arguments give the same bytes.

    Args:
        plan: digest of the plan that it is part of.

    Raises:
        OutputError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([sample.to_row() for sample in samples], schema=arrow_schema())
    with (
        written_whole(path) as unfinished,
        pq.ParquetWriter(unfinished, table.schema, compression="zstd") as writer,
    ):
        writer.write_table(table, row_group_size=ROWS_PER_GROUP)
        # Not as metadata of the schema, which Parquet keeps twice.
        writer.add_key_value_metadata(
            {
                _REPORT: json.dumps(asdict(report), sort_keys=True),
                _CHIPS: json.dumps([chip.to_json() for chip in chips], separators=(",", ":")),
                _PLAN: plan,
            }
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardFooter:
    """What a shard says of itself: rows, and, where this program has built it, counts, chips and the plan's digest."""

    path: Path
    num_rows: int
    metadata: Mapping[bytes, bytes]

    @property
    def plan(self) -> str | None:
        return self.metadata[_PLAN].decode() if _PLAN in self.metadata else None

    @property
    def report(self) -> ShardReport | None:
        return ShardReport(**json.loads(self.metadata[_REPORT])) if _REPORT in self.metadata else None

    @property
    def chips(self) -> tuple[ChipRecord, ...]:
        """Its chips, in order; none in a file of another program."""
        return tuple(ChipRecord.from_json(values) for values in json.loads(self.metadata.get(_CHIPS, b"[]")))


def read_footer(path: Path) -> ShardFooter:
    """What a shard says of itself.

    Raises:
        SampleError: the file is missing or damaged, or its columns are not those of a sample.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise SampleError(f"{path}: not found; build the data set again") from None
    except (OSError, pa.ArrowException):
        raise SampleError(f"{path}: not a whole Parquet file; build it again, or copy it again") from None
    with file:
        _check_columns(path, file.schema_arrow)
        return ShardFooter(path=path, num_rows=file.metadata.num_rows, metadata=dict(file.metadata.metadata or {}))


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_columns(path: Path, schema: pa.Schema) -> None:
    form = (schema.metadata or {}).get(b"terrascope", SCHEMA.encode()).decode(errors="replace")
    if form != SCHEMA:
        raise SampleError(f"{path}: its samples are of the form {form}, and this program reads {SCHEMA}")
    wanted = arrow_schema()
    wrong = next((name for name in wanted.names if name not in schema.names), None)
    if wrong is not None:
        raise SampleError(f"{path}: has no column {wrong}; give a file of samples of the form {SCHEMA}")
    extra = next((name for name in schema.names if name not in wanted.names), None)
    if extra is not None:
        raise SampleError(f"{path}: the column {extra} is none of a sample; give a file of the form {SCHEMA}")


def _count(things: Iterable[str] | Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(Counter(things).items()))


def _kind_of_answer(sample: Sample) -> str:
    if sample.options:
        return sample.answer
    if sample.truth.lower() in ("yes", "no"):
        return sample.truth.lower()
    return "a number" if sample.value is not None else "words"
