"""How fast a benchmark is built, and beside it what `bench_score.py` and `runner_overhead.py` measure.

    python benchmarks/bench_speed.py
    python benchmarks/bench_speed.py --read hls-worldcover=DIR --read ombria=DIR

The scenes are generated ones, held in memory, so that what is timed is asking: finding out what could be asked of every
chip by all six tasks, checking it, choosing, making the chosen questions with their masks, and writing the benchmark.
With `--read`, the real scenes of `terrascope_bench_small.yaml` are asked, and reading them is part of it. Times are
processor seconds of one process, so that they hold for one core; the runner's own are those of the clock.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alone import cpu_name
from bench_score import make_questions, time_score
from runner_overhead import runner_overhead

from terrascope.bench.build import BenchReport, build
from terrascope.bench.recipe import QUOTA, BenchRecipe
from terrascope.sources.chips import Chip
from terrascope.sources.generated import FIRST_SEED, Generated
from terrascope.terracot.recipe import read_recipe_file

RECIPE = Path(__file__).with_name("terrascope_bench_small.yaml")


@dataclass(frozen=True, kw_only=True)
class Built:
    """Questions, versions and chips of a build, and the processor seconds that it took."""

    questions: int
    versions: int
    chips: int
    seconds: float


def time_build(recipe: BenchRecipe) -> Built:
    """Build into a folder that is removed again."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        report: BenchReport = build(recipe, Path(folder) / "bench")
        seconds = time.process_time() - start
    return Built(
        questions=sum(report.questions.values()),
        versions=report.total.num_samples,
        chips=report.total.num_chips,
        seconds=seconds,
    )


def hold_in_memory(num: int, size: int) -> Callable[[Generated, str], Chip]:
    """A reader of generated scenes that were drawn before; every chip that it gives knows nothing of itself yet."""
    source = Generated(num=num, size=size)
    first = FIRST_SEED["test"]
    chips = {str(seed): source.read(str(seed)) for seed in range(first, first + num)}
    return lambda _, key: replace(chips[key])


def real_recipe(roots: dict[str, str]) -> BenchRecipe:
    """The recipe of the real scenes that are given, without generated ones and with no bound on questions."""
    values: dict[str, Any] = read_recipe_file(RECIPE)
    sources = [{**source, "root": roots[source["name"]]} for source in values["sources"] if source["name"] in roots]
    return BenchRecipe.of({**values, "sources": sources, "quota": {}}, str(RECIPE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200, help="generated scenes")
    parser.add_argument("--size", type=int, default=256, help="their edge in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--read", action="append", default=[], metavar="NAME=DIR", help="folder of real scenes")
    arguments = parser.parse_args()
    print(f"{cpu_name()}, {os.cpu_count()} cores; best of {arguments.repeats}")
    roots = dict(text.split("=", 1) for text in arguments.read)
    if roots:
        show("real scenes, reading included", min_seconds(real_recipe(roots), arguments.repeats))
    Generated.read = hold_in_memory(arguments.scenes, arguments.size)  # type: ignore[method-assign]
    recipe = BenchRecipe.of({"sources": [{"name": "synthetic", "root": arguments.scenes}]})
    show(f"{arguments.size} x {arguments.size}, in memory", min_seconds(recipe, arguments.repeats))
    samples, replies = make_questions(dict(QUOTA))
    print(f"\nscoring {len(samples):,} answers with masks       {time_score(samples, replies).seconds:>8.2f} s")
    print(f"runner's own time for a question       {1000 * runner_overhead():>8.2f} ms")


def min_seconds(recipe: BenchRecipe, repeats: int) -> Built:
    return min((time_build(recipe) for _ in range(repeats)), key=lambda built: built.seconds)


def show(what: str, built: Built) -> None:
    print(f"\n{what}: {built.questions} questions, {built.versions} with all versions, of {built.chips} chips")
    print(f"  questions per second and core   {built.questions / built.seconds:>8,.0f}")
    print(f"  milliseconds per chip           {1000 * built.seconds / built.chips:>8,.1f}")
    whole = sum(QUOTA.values())
    print(f"  seconds for {whole:,}               {whole * built.seconds / built.questions:>8,.0f}")


if __name__ == "__main__":
    main()
