"""A benchmark made from another: other words, or what experts have left of it, in a folder of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from terrascope import __version__
from terrascope.bench.items import shown_of
from terrascope.bench.store import open_bench
from terrascope.errors import SampleError
from terrascope.output import check_folder, written_together
from terrascope.sample import Sample
from terrascope.terracot.build import write_manifest
from terrascope.terracot.plan import PLAN
from terrascope.terracot.shard import ShardReport, write_shard
from terrascope.terracot.store import MANIFEST, Store, open_store, read_manifest


def check_vacant(out: Path, name: str, recipe: Mapping[str, Any]) -> None:
    """Refuse a folder in which something else lies: only a benchmark of the same recipe is replaced.

    Args:
        name: of the one file of questions that is to be written.
        recipe: of the benchmark, as JSON values.

    Raises:
        SampleError: another data set lies there, or a benchmark of another recipe, or one whose recipe cannot be read.
    """
    others = [path.name for path in sorted(out.glob("*.parquet")) if path.name != name]
    if others or (out / PLAN).exists():
        found = others[0] if others else PLAN
        raise SampleError(f"{out}: holds another data set ({found}); give a new folder with --out")
    if not any((out / file).exists() for file in (name, MANIFEST)):
        return
    try:
        same = read_manifest(out).get("recipe") == json.loads(json.dumps(recipe))
    except SampleError as error:
        raise SampleError(f"{out}: holds a data set of which nothing is known ({error})") from None
    if not same:
        raise SampleError(
            f"{out}: holds a benchmark of another recipe, which would be lost; give a new folder with --out"
        )


def open_folder(folder: Path) -> Store:
    """The benchmark of a folder, its files checked.

    Raises:
        SampleError: there is none, a file is damaged, or it is a file of its own, which does not say how it was made.
    """
    open_bench(folder)
    store = open_store(folder)
    if store.manifest is None:
        raise SampleError(f"{folder}: a single file; give the folder of a benchmark, with its {MANIFEST}")
    return store


def questions_of(samples: Sequence[Sample]) -> list[tuple[Sample, ...]]:
    """The samples question by question: the versions of one, which differ in their images alone, stand together."""
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(question_id(sample), []).append(sample)
    return [tuple(versions) for versions in grouped.values()]


def question_id(sample: Sample) -> str:
    """The id of a question: that of its samples without what they show."""
    name, _, version = sample.id.rpartition("/")
    return name if version == shown_of(sample) else sample.id


def write_derived(store: Store, samples: Sequence[Sample], out: Path, *, made: Mapping[str, Any]) -> None:
    """Write samples as a benchmark that says of which other one it was made, and how.

    Args:
        store: the benchmark that the samples come from; their scenes are among its own.
        made: how, as JSON values; it decides the samples, together with the other benchmark.

    Raises:
        SampleError: no sample is left, or `out` holds another data set.
        OutputError: the folder cannot be written.
    """
    assert store.manifest is not None
    out = check_folder(out)
    if not samples:
        raise SampleError(f"{store.path}: no question is left, so {out} was not written")
    name = str(store.manifest["shards"][0]["file"])
    recipe = {**store.manifest["recipe"], "made": [*store.manifest["recipe"].get("made", []), dict(made)]}
    check_vacant(out, name, recipe)
    plan = hashlib.sha256(json.dumps([__version__, store.manifest["plan"], made], sort_keys=True).encode()).hexdigest()
    asked = {(sample.source, sample.key) for sample in samples}
    records = [record for record in store.chips() if (record.source, record.key) in asked]
    report = ShardReport.of(
        number=0,
        num_chips=len(records),
        num_empty=0,
        samples=samples,
        failed={},
        rejected={},
    )
    sources = store.manifest["sources"]
    with written_together(out, [name, MANIFEST]) as folder:
        write_shard(folder / name, samples, records, report, plan=plan)
        write_manifest(
            folder,
            recipe=recipe,
            plan=plan,
            num_chips={one["name"]: one["chips"] for one in sources},
            skipped={one["name"]: one["skipped"] for one in sources},
            total=report,
            shards={name: len(samples)},
        )
