"""A data set on disk, read back: any sample at once, or those of a kind one after another.

Random reads go through uncompressed copies of the shards in a temporary folder, mapped into memory: a row costs what
its own values cost, and memory holds what is being read. A copy is made when the first row of its shard is asked for.
"""

from __future__ import annotations

import bisect
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terrascope.errors import SampleError
from terrascope.output import written_whole
from terrascope.sample import Level, Sample, arrow_schema
from terrascope.terracot.record import ChipRecord
from terrascope.terracot.shard import ShardFooter, ShardReport, add_up, read_footer

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
FORM = "terrascope-store/1"

_ROWS_AT_ONCE = 1024


class Store:
    """The samples of a data set, in the order of its shards.

    Attributes:
        path: its folder, or its one file.
        manifest: what `manifest.json` says; None for a file of its own.
    """

    def __init__(self, path: Path, files: Sequence[Path], manifest: Mapping[str, Any] | None) -> None:
        self.path, self.manifest = path, manifest
        self.footers: tuple[ShardFooter, ...] = tuple(read_footer(file) for file in files)
        self._starts = [0, *accumulate(footer.num_rows for footer in self.footers)]
        self._columns: dict[int, tuple[pa.Array, ...]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process makes copies of its own.
        return open_store, (self.path,)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Sample:
        """The sample of this number, from 0; negative numbers count from the end."""
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        shard = bisect.bisect_right(self._starts, place) - 1
        columns = self._columns.get(shard) or self._map(shard)
        row = place - self._starts[shard]
        return Sample.from_row({name: column[row].as_py() for name, column in zip(self._names, columns, strict=True)})

    def __iter__(self) -> Iterator[Sample]:
        return self.select()

    def select(
        self,
        *,
        level: Level | None = None,
        task: str | None = None,
        split: str | None = None,
        source: str | None = None,
    ) -> Iterator[Sample]:
        """The samples of a level, task, split and source, in order; of all where None."""
        for row in self.rows(level=level, task=task, split=split, source=source):
            yield Sample.from_row(row)

    def rows(self, *, columns: Sequence[str] | None = None, **wanted: str | None) -> Iterator[dict[str, Any]]:
        """The rows as plain values, straight from the files, in order.

        Args:
            columns: those to read; None for all.
            wanted: for a column of text, the value that rows must have; None for any.

        Raises:
            SampleError: a shard is damaged.
        """
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        conditions = {name: value for name, value in wanted.items() if value is not None}
        names = list(columns or self._names)
        for footer in self.footers:
            try:
                with pq.ParquetFile(footer.path) as file:
                    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list({*names, *conditions})):
                        for name, value in conditions.items():
                            batch = batch.filter(pc.equal(batch.column(name), value))
                        yield from batch.select(names).to_pylist()
            except (OSError, pa.ArrowException) as error:
                raise _damaged(footer.path, error) from None

    def chips(self) -> Iterator[ChipRecord]:
        """The chips that the samples are about; none where another program has written the files."""
        for footer in self.footers:
            yield from footer.chips

    @cached_property
    def report(self) -> ShardReport:
        """What was counted as it was built."""
        return add_up(footer.report for footer in self.footers if footer.report is not None)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(arrow_schema().names)

    @cached_property
    def _copies(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="terrascope-rows-", ignore_cleanup_errors=True)

    def _map(self, shard: int) -> tuple[pa.Array, ...]:
        """The columns of a shard, mapped into memory."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.footers[shard].path
        copy = Path(self._copies.name) / f"{shard}.arrow"
        try:
            with pq.ParquetFile(path) as file:
                table = file.read().select(list(self._names)).combine_chunks()
        except (OSError, pa.ArrowException) as error:
            raise _damaged(path, error) from None
        with written_whole(copy) as unfinished, pa.ipc.new_file(unfinished, table.schema) as writer:
            writer.write_table(table)
        # What is mapped stays so after the file is closed: there may be more shards than files that can be open.
        with pa.memory_map(str(copy)) as source:
            self._columns[shard] = tuple(pa.ipc.open_file(source).get_batch(0).columns)
        return self._columns[shard]


def open_store(path: str | Path) -> Store:
    """Open a data set: a folder that a build has finished, or one Parquet file of samples.

    Raises:
        SampleError: there is none, its build is not finished, a shard is missing or damaged, or its form is another.
    """
    path = Path(path)
    if path.is_file():
        return Store(path, [path], None)
    manifest = read_manifest(path)
    store = Store(path, [path / shard["file"] for shard in manifest["shards"]], manifest)
    for shard, footer in zip(manifest["shards"], store.footers, strict=True):
        if footer.num_rows != shard["rows"]:
            raise SampleError(
                f"{footer.path}: {footer.num_rows} samples, but {MANIFEST} says {shard['rows']}; build or copy it again"
            )
    return store


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `manifest.json` of a folder says.

    Raises:
        SampleError: there is none, or it is of another form.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        form, _ = manifest["form"], [(shard["file"], shard["rows"], shard["sha256"]) for shard in manifest["shards"]]
    except FileNotFoundError:
        unfinished = (folder / "plan.json").is_file()
        what = "its build is not finished; build it again to go on" if unfinished else "give the folder of a data set"
        raise SampleError(f"{path}: not found; {what}") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise SampleError(f"{path}: not a readable manifest; build the data set again to write it anew") from None
    if form != FORM:
        raise SampleError(f"{path}: a data set of the form {form}, and this program reads {FORM}")
    return manifest


def _damaged(path: Path, error: Exception) -> SampleError:
    reason = " ".join(str(error).split())
    return SampleError(f"{path}: damaged ({reason}); build it again, or copy it again")
