"""From a recipe to a data set on disk: shards, each by itself and all or nothing, then a manifest of them.

A build that was stopped, however that came, goes on with the shards that are not there yet, and with those that lack
replies of a language model. What a shard holds depends
on the recipe and on its number alone: not on the engine, the number of workers, or what was built before.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from terrascope import __version__
from terrascope.errors import OutputError, SampleError, SceneError, TerraScopeError
from terrascope.llm import Usage, summarize
from terrascope.output import check_folder, written_whole
from terrascope.sample import SCHEMA, Sample
from terrascope.terracot.asking import ask_chip
from terrascope.terracot.engines import Engine, run
from terrascope.terracot.level1 import Presence, PresenceCount
from terrascope.terracot.plan import CALLS, PLAN, ClassCount, Plan, list_chips, load_plan, spread
from terrascope.terracot.recipe import Recipe
from terrascope.terracot.record import ChipRecord
from terrascope.terracot.separation import Benchmark
from terrascope.terracot.shard import ShardReport, add_up, hash_file, read_footer, write_shard
from terrascope.terracot.store import FORM, MANIFEST
from terrascope.terracot.tools import Tools

_COUNTED_CHIPS = 200
"""Chips of a source, spread evenly over it, whose label maps tell how common each class is."""

COUNTING, BUILDING = "counting classes", "building"
"""The stages of a build."""

Progress = Callable[[str, int, int], None]

OpenTools = Callable[[Recipe, Path], Tools]
"""Opens what a worker needs, from the recipe and the output folder. It is pickled for every worker."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker is sent: the plan, the folder to write into, and how to open its tools. Equal for equal plans."""

    plan: Plan
    out: Path
    open_tools: OpenTools = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build made.

    Attributes:
        total: counts over all shards.
        num_shards: shards of the data set; num_kept: those that an earlier run had built.
        skipped: for each source, chips that it left out of its index, by reason.
        usage: requests to a language model, over all runs; None where there were none. used_now: those of this run.
        max_failed_share: share of the chips that may fail.
    """

    total: ShardReport
    num_shards: int
    num_kept: int
    skipped: Mapping[str, Mapping[str, int]]
    usage: Usage | None
    used_now: Usage
    max_failed_share: float

    @property
    def too_many_failed(self) -> bool:
        return self.total.num_failed > self.max_failed_share * self.total.num_chips


def build_shard(job: Job, number: int) -> ShardReport:
    """Build one shard: read its chips, ask of them, and write one Parquet file.

    A chip that cannot be used is counted by its reason, and the next one is read.

    Raises:
        SeparationError: a chip shows what a scene of the benchmark shows.
        EndpointError: no language model can be reached any more.
        OutputError: the file cannot be written.
    """
    plan = job.plan
    tools, benchmark = _open(job)
    records: list[ChipRecord] = []
    samples: list[Sample] = []
    num_empty = num_unlabelled = 0
    failed: Counter[str] = Counter()
    told: dict[str, str] = {}
    rejected: Counter[str] = Counter()
    for chip in plan.shards[number]:
        asked = ask_chip(plan, tools, benchmark, chip.source, chip.key)
        rejected.update(asked.rejected)
        if asked.failed is not None:
            failed[asked.failed] += 1
            if asked.failed not in told and asked.sentence:
                sentence = _without_root(asked.sentence, tools.roots.get(chip.source))
                told[asked.failed] = f"{chip.source}/{chip.key}: {sentence}"
        elif not asked.samples:
            num_empty += 1
            num_unlabelled += asked.record is not None and not asked.record.num_measured
        if asked.record is not None and asked.samples:
            records.append(asked.record)
            samples += asked.samples
    report = ShardReport.of(
        number=number,
        num_chips=len(plan.shards[number]),
        num_empty=num_empty,
        num_unlabelled=num_unlabelled,
        samples=samples,
        failed=failed,
        told=told,
        rejected=rejected,
    )
    write_shard(job.out / plan.shard_name(number), samples, records, report, plan=plan.digest)
    return report


def _without_root(sentence: str, root: Path | None) -> str:
    """A sentence with the paths of a source named from its folder: no one else has our folders."""
    for folder in () if root is None else dict.fromkeys((str(root.resolve()), str(root))):
        sentence = sentence.replace(folder.rstrip("/") + "/", "")
    return sentence


@lru_cache(maxsize=1)
def _open(job: Job) -> tuple[Tools, Benchmark | None]:
    """What a worker needs for all of its shards, opened once."""
    return job.open_tools(job.plan.recipe, job.out), _open_benchmark(job.plan.recipe)


def build(
    recipe: Recipe,
    out: Path,
    *,
    open_tools: OpenTools,
    engine: Engine = "local",
    num_workers: int = 1,
    progress: Progress | None = None,
) -> BuildReport:
    """Build the data set of a recipe in a folder, or go on with it.

    Args:
        open_tools: opens sources, writer and whatever else the recipe names.
        engine: where shards are built.
        num_workers: how many are built at a time.
        progress: is called with the stage, the chips that are done, and all of the stage.

    Raises:
        SampleError: another recipe was begun in the folder, another build runs there, or there is no chip at all.
        SeparationError: a scene of the benchmark would be a training scene.
        TerraScopeError: a source, the writer or the folder cannot be used.
    """
    out = check_folder(out)
    with _made(out), _held(out):
        _remove_unfinished(out)
        logged = (out / CALLS).stat().st_size if (out / CALLS).exists() else 0
        plan = load_plan(out, recipe)
        if plan is None:
            plan = make_plan(recipe, open_tools(recipe, out), progress)
            plan.save(out)
        names = [plan.shard_name(number) for number in range(len(plan.shards))]
        finished = {number: report for number, name in enumerate(names) if (report := _finished(plan, out / name))}
        num_kept = len(finished)
        tell = progress or (lambda stage, done, total: None)
        done = sum(report.num_chips for report in finished.values())
        tell(BUILDING, done, plan.num_chips)
        job = Job(plan=plan, out=out, open_tools=open_tools)
        missing = [number for number in range(len(plan.shards)) if number not in finished]
        try:
            if missing:
                for report in run(engine, partial(build_shard, job), missing, min(num_workers, len(missing))):
                    finished[report.number] = report
                    done += report.num_chips
                    tell(BUILDING, done, plan.num_chips)
        except TerraScopeError:
            # What was refused before anything was made leaves the folder free for another recipe.
            if not any((out / name).exists() for name in names):
                (out / PLAN).unlink(missing_ok=True)
            raise
        finally:
            _open.cache_clear()
            _remove_unfinished(out)
        total = add_up(finished[number] for number in range(len(plan.shards)))
        usage = summarize(out / CALLS) if (out / CALLS).exists() else None
        write_manifest(
            out,
            recipe=recipe.public(),
            plan=plan.digest,
            num_chips=Counter(chip.source for chip in plan.chips),
            skipped=plan.skipped,
            total=total,
            shards={plan.shard_name(number): finished[number].num_samples for number in range(len(plan.shards))},
            usage=usage,
        )
    return BuildReport(
        total=total,
        num_shards=len(plan.shards),
        num_kept=num_kept,
        skipped=plan.skipped,
        usage=usage,
        used_now=summarize(out / CALLS, first_byte=logged),
        max_failed_share=recipe.max_failed_share,
    )


def make_plan(recipe: Recipe, tools: Tools, progress: Progress | None = None) -> Plan:
    """List the chips of a recipe, refuse places of the benchmark, and count how common each class is.

    Raises:
        SampleError: there is no chip at all.
        SeparationError: a chip is of a place of the benchmark.
        SceneError: a folder is not laid out as its data set is.
    """
    plan = list_chips(recipe, tools.sources)
    benchmark = _open_benchmark(recipe)
    if benchmark is not None:
        benchmark.check_places(plan.chips)
    classes, presence = _count_classes(plan, tools, progress)
    return replace(plan, classes=classes, presence=presence, digest="")


def _open_benchmark(recipe: Recipe) -> Benchmark | None:
    return None if recipe.exclude is None else Benchmark.open(recipe.exclude)


def _count_classes(plan: Plan, tools: Tools, progress: Progress | None) -> tuple[dict[str, ClassCount], Presence]:
    """How common each class is on label maps of a part of the chips, spread evenly over each source."""
    by_source: dict[str, list[str]] = {}
    for chip in plan.chips:
        by_source.setdefault(chip.source, []).append(chip.key)
    chosen = [(source, key) for source, keys in by_source.items() for key in spread(keys, _COUNTED_CHIPS)]
    shown: Counter[str] = Counter()
    known: Counter[str] = Counter()
    presence = PresenceCount()
    for number, (source, key) in enumerate(chosen, 1):
        if progress is not None:
            progress(COUNTING, number, len(chosen))
        try:
            counted = tools.sources[source].read(key)
        except SceneError:
            # It is counted by its reason when its shard is built.
            continue
        presence.add(counted)
        for region in (region for survey in counted.labelled.surveys for region in survey.regions):
            known[region.name] += 1
            shown[region.name] += region.num_pixels >= plan.referring.min_pixels
    classes = {name: ClassCount(shown=shown[name], known=known[name]) for name in sorted(known)}
    return classes, presence.shares


def _finished(plan: Plan, path: Path) -> ShardReport | None:
    """The report of a shard that is there, whole, of this plan, and lacks no reply of a language model."""
    if not path.exists():
        return None
    try:
        footer = read_footer(path)
    except SampleError:
        # Damaged, or of an older form: it is built again.
        return None
    report = footer.report if footer.plan == plan.digest else None
    if report is None or report.num_samples != footer.num_rows:
        return None
    # Built again, it asks only for the replies that are not kept.
    return None if report.num_without_reply else report


def write_manifest(
    folder: Path,
    *,
    recipe: Mapping[str, Any],
    plan: str,
    num_chips: Mapping[str, int],
    skipped: Mapping[str, Mapping[str, int]],
    total: ShardReport,
    shards: Mapping[str, int],
    usage: Usage | None = None,
) -> None:
    """Write what says that a data set is whole, and what it is.

    Args:
        recipe: as JSON values, with `seed`, `split`, and `sources` of which each has `name` and `root`.
        plan: digest of what decides the samples.
        num_chips, skipped: for each source, chips that were to be read, and those left out of its index, by reason.
        shards: rows of each file of the folder, in order.

    Raises:
        OutputError: it cannot be written.
    """
    manifest: dict[str, Any] = {
        "form": FORM,
        "samples": SCHEMA,
        "seed": recipe["seed"],
        "split": recipe["split"],
        "plan": plan,
        "recipe": dict(recipe),
        "sources": [
            {
                "name": source["name"],
                "root": source["root"],
                "chips": num_chips.get(source["name"], 0),
                "skipped": dict(skipped.get(source["name"], {})),
            }
            for source in recipe["sources"]
        ],
        "total": {name: value for name, value in asdict(total).items() if name != "number"},
        "usage": None if usage is None else asdict(usage),
        "versions": {"terrascope": __version__, **{name: version(name) for name in ("pyarrow", "numpy")}},
        "shards": [
            {
                "file": name,
                "rows": num_rows,
                "bytes": (folder / name).stat().st_size,
                "sha256": hash_file(folder / name),
            }
            for name, num_rows in shards.items()
        ],
    }
    with written_whole(folder / MANIFEST) as unfinished:
        unfinished.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _made(out: Path) -> Iterator[None]:
    """Make the folder, and remove it again where nothing came to lie in it."""
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made ({error.strerror}); give another folder with --out") from None
    try:
        yield
    finally:
        if is_new and not any(out.iterdir()):
            out.rmdir()


def _remove_unfinished(out: Path) -> None:
    """Remove what workers that were killed had begun to write; no other build is at work here."""
    for path in out.glob(".*.parquet"):
        path.unlink(missing_ok=True)


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Hold the folder for as long as this process builds in it, and no longer than it lives."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SampleError(f"{out}: another build is at work here; wait for it, or give another --out") from None
        yield
    finally:
        os.close(handle)
