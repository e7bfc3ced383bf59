"""A benchmark of ours, opened: its questions with their truths, and the scenes that they are about, read again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from terrascope.bench.items import Item, Shown, digest_of, show_only, shown_of
from terrascope.bench.sound import check_questions
from terrascope.errors import SampleError
from terrascope.sample import Sample
from terrascope.scene import Scene
from terrascope.sources.chips import Chip, Source
from terrascope.terracot.plan import PLAN
from terrascope.terracot.recipe import SourceRecipe
from terrascope.terracot.record import ChipRecord, record_chip
from terrascope.terracot.shard import hash_file
from terrascope.terracot.store import MANIFEST, Store, open_store

GENERATED = "synthetic"


def open_bench(folder: str | Path, roots: Mapping[str, str] | None = None) -> BenchStore:
    """Open a benchmark that was built here: its folder, or one Parquet file of questions.

    Args:
        roots: for each source the folder in which its scenes lie; generated scenes need none. None where no scene will
            be read, as for scoring.

    Raises:
        SampleError: there is no benchmark, a file is damaged, a row is no question of a benchmark, or the folder of a
            source is not given.
        SceneError: a folder does not exist.
    """
    path = Path(folder)
    if not path.is_file() and not (path / MANIFEST).exists() and not (path / PLAN).exists():
        raise SampleError(f"{path}: no benchmark lies there; give the folder of one, as `bench build` writes it")
    store = open_store(path)
    _check_files(store)
    samples = tuple(store)
    if not samples:
        raise SampleError(f"{store.path}: holds no question; build the benchmark again")
    other = next((sample for sample in samples if sample.level != "bench"), None)
    if other is not None:
        raise SampleError(f"{store.path}: {other.id} is a sample of level {other.level}; give a benchmark's folder")
    check_questions(samples, store)
    bench = BenchStore(store, samples, roots or {})
    if roots is not None:
        bench.open_sources()
    return bench


class BenchStore:
    """The questions of a benchmark, in the order of its files; a `Benchmark`.

    Attributes:
        path: its folder or file.
        name: what it is called: its folder's name.
        samples: all questions.
        digest: SHA-256 of them.
    """

    def __init__(self, store: Store, samples: tuple[Sample, ...], roots: Mapping[str, str]) -> None:
        self.path = store.path
        self.name = store.path.resolve().stem if store.path.is_file() else store.path.resolve().name
        self.samples = samples
        self.digest = digest_of(samples)
        self._recipes = _read_recipes(store)
        self._roots = roots
        self._records = {(record.source, record.key): record for record in store.chips()}
        self._sources: dict[str, Source] = {}
        # The versions of a question, and the questions about a chip, follow each other.
        self._read = lru_cache(maxsize=1)(self.read_chip)
        self._show = lru_cache(maxsize=len(get_args(Shown)))(self._read_shown)

    def item(self, index: int) -> Item:
        """The item of this number, from 0, its scene read again.

        Raises:
            SampleError: the folder of its source was not given, or the scene is not the one that was asked about.
            SceneError: its images cannot be read.
        """
        sample = self.samples[index]
        scene = self._show(sample.source, sample.key, shown_of(sample))
        if scene.shape != (sample.height, sample.width):
            raise SampleError(
                f"{sample.id}: its scene has {scene.shape[0]} x {scene.shape[1]} pixels, and its masks "
                f"{sample.height} x {sample.width}; give the data that {self.name} was built from"
            )
        return Item(sample=sample, scene=scene)

    def _read_shown(self, source: str, key: str, shown: Shown) -> Scene:
        """The scene as its questions show it: one object for all of them, so that they share what a model sees."""
        return show_only(self._read(source, key).scene, shown)

    def read_chip(self, source: str, key: str) -> Chip:
        """The chip of a source and key, which must show what was asked about.

        Raises:
            SampleError: the folder of its source was not given, or the chip is not the one that was asked about.
            ChipError: it cannot be read.
        """
        chip = self._source(source).read(key)
        recorded = self._records.get((source, key))
        if recorded is not None and self._told_by(recorded) != self._told_by(record_chip(chip)):
            raise SampleError(
                f"{source}/{key}: its images or labels are not those that {self.name} was built from; "
                f"give the same data with --read {source}=DIR"
            )
        return chip

    def open_sources(self) -> None:
        """Open all sources that are asked about, so that a folder that is missing is missed at once.

        Raises:
            SampleError: the folder of a source was not given, holds no scene that is asked about, or is that of a
                source that is not asked about.
            SceneError: a folder does not exist, or is not laid out as its data set is.
        """
        keys: dict[str, set[str]] = {}
        for sample in self.samples:
            keys.setdefault(sample.source, set()).add(sample.key)
        known = dict.fromkeys([*keys, *self._recipes])
        unknown = next((name for name in self._roots if name not in known), None)
        if unknown is not None:
            raise SampleError(
                f"--read {unknown}: {self.name} asks about no source of this name; it asks about {', '.join(keys)}"
            )
        for name, asked in keys.items():
            source = self._source(name)
            if self._kind(name) != GENERATED and not self._has_any(source, name, asked):
                raise SampleError(
                    f"{self._roots[name]}: holds none of the {len(asked):,} scenes of {name} that {self.name} asks "
                    f"about; give the data that it was built from with --read {name}=DIR"
                )

    def _has_any(self, source: Source, name: str, keys: set[str]) -> bool:
        splits = dict.fromkeys(sample.split for sample in self.samples if sample.source == name)
        return any(entry.key in keys for split in splits for entry in source.index(split).entries)

    def _kind(self, name: str) -> str:
        """Which of `sources.SOURCES` a source is."""
        return self._recipes.get(name, {}).get("kind") or name

    def _source(self, name: str) -> Source:
        if name not in self._sources:
            values = {field: self._recipes.get(name, {}).get(field) for field in ("options", "root")}
            kind = self._kind(name)
            if name in self._roots:
                values["root"] = self._roots[name]
            elif kind != GENERATED:
                raise SampleError(
                    f"{self.path}: the folder of {name}, which it asks about, was not given; "
                    f"name it with --read {name}=DIR"
                )
            opened = SourceRecipe.of(
                {"name": name, "kind": kind, "root": values["root"] or "1", "options": values["options"] or {}},
                f"{self.path}: the source {name}",
            )
            self._sources[name] = opened.opened()
        return self._sources[name]

    def _told_by(self, record: ChipRecord) -> tuple[str, ...]:
        """The fingerprints by which a chip is known again."""
        if self._kind(record.source) != GENERATED:
            return record.contents
        # The last digits of generated reflectances depend on the machine; the label maps, by which answers are
        # judged, do not.
        return tuple(content for content in record.contents if content.startswith("labels:"))


def _read_recipes(store: Store) -> dict[str, dict[str, Any]]:
    """The sources of the recipe in the manifest, by name; none for a file of its own."""
    if store.manifest is None:
        return {}
    recipe = store.manifest.get("recipe")
    sources = recipe.get("sources") if isinstance(recipe, dict) else None
    if not isinstance(sources, list) or not all(isinstance(one, dict) and "name" in one for one in sources):
        raise SampleError(
            f"{store.path / MANIFEST}: its recipe names no sources; copy it again, or build the benchmark again"
        )
    return {str(one["name"]): one for one in sources}


def _check_files(store: Store) -> None:
    """Refuse files that are not those of the manifest."""
    for listed in store.manifest["shards"] if store.manifest else ():
        path = store.path / listed["file"]
        if hash_file(path) != listed["sha256"]:
            raise SampleError(f"{path}: its checksum is not that of the manifest; copy it again, or build it again")
