"""Benchmarks that others have made, read from the files as they are published and asked by our runner."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from terrascope.bench.external.benchmark import ExternalBenchmark
from terrascope.errors import SampleError

__all__ = ["EXTERNAL", "External", "ExternalBenchmark", "open_external"]


class External(NamedTuple):
    """Where a reader is, and in a few words what it reads; its module is imported when it is asked for."""

    module: str
    about: str


EXTERNAL: Mapping[str, External] = {
    "terrascope-bench": External("terrascope_bench", "the Parquet file of TerraScope-Bench as its authors publish it"),
    "landsat30-au": External("landsat30_au", "the CSV file of Landsat30-AU's questions"),
    "disasterm3": External("disasterm3", "the JSON file or the folder of DisasterM3"),
    "rsvqa-lr": External("rsvqa_lr", "the folder of RSVQA-LR"),
    "bigearthnet": External("bigearthnet", "the folder of BigEarthNet v2, for scene classification"),
    "earthmind-bench": External("earthmind_bench", "a JSON file of EarthMind-Bench, or a folder of several"),
}
"""Every benchmark of others by its name, which is the source of its samples."""


def open_external(kind: str, path: str | Path, images: str | Path | None = None) -> ExternalBenchmark:
    """A benchmark of others.

    Questions that cannot be asked (no options, an answer outside of them, a missing image) are left out and counted in
    `skipped`. Where no image is there at all, all questions stay: they can be scored, and asking one is a SceneError.

    Args:
        kind: one of `EXTERNAL`.
        path: its questions, as `EXTERNAL` says.
        images: folder of its images; None where they lie beside the questions, or in their file.

    Raises:
        SampleError: no such kind or path, or a file is damaged or of another form.
        SceneError: the same of a data set's own files; or `images` does not hold the images.
    """
    if kind not in EXTERNAL:
        raise SampleError(f"unknown benchmark {kind!r}; choose one of {', '.join(EXTERNAL)}")
    questions, folder = Path(path), None if images is None else Path(images)
    if not questions.exists():
        raise SampleError(f"{questions}: does not exist; give {EXTERNAL[kind].about}")
    if folder is not None and not folder.is_dir():
        raise SampleError(f"{folder}: no such folder; give the one that holds the images of {kind}")
    module = importlib.import_module(f"{__name__}.{EXTERNAL[kind].module}")
    opener: Callable[[Path, Path | None], ExternalBenchmark] = getattr(module, f"open_{EXTERNAL[kind].module}")
    benchmark = opener(questions, folder)
    if not benchmark.samples:
        why = "; ".join(f"{reason}: {count}" for reason, count in benchmark.skipped.items()) or "it is empty"
        raise SampleError(f"{questions}: holds no question that can be asked ({why}); give {EXTERNAL[kind].about}")
    return benchmark
