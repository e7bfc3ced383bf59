"""The options that commands on benchmarks share: which benchmark is meant, and where its scenes lie."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from terrascope.command_options import Reading
from terrascope.errors import SampleError

if TYPE_CHECKING:
    from terrascope.bench.items import Benchmark

Bench = Annotated[
    Path, typer.Argument(metavar="BENCH", help="The folder of a benchmark; with --external, the files of another's.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="NUMBER", help="Everything drawn depends on it.")]
External = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--external", metavar="NAME", help="Whose benchmark it is, such as terrascope-bench or landsat30-au."),
]
Images = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--images", metavar="DIR", help="With --external: where its images lie, if not beside the questions."),
]


@dataclass(frozen=True, kw_only=True)
class AskedBench:
    """Where the scenes of a benchmark are, or whose benchmark it is."""

    read: Reading = None
    external: External = None
    images: Images = None

    def opened(self, bench: Path, *, with_scenes: bool) -> Benchmark:
        """The benchmark; `with_scenes` where all folders have to be given.

        Raises:
            SampleError: it cannot be used, or options do not go together.
        """
        from terrascope.bench.external import open_external
        from terrascope.bench.store import open_bench

        if self.external is None:
            if self.images is not None:
                raise SampleError("--images is for the benchmarks of others; say which one it is with --external")
            roots = read_roots(self.read)
            return open_bench(bench, roots if roots or with_scenes else None)
        if self.read:
            raise SampleError("--read is for benchmarks that were built here; give the images with --images")
        return open_external(self.external, bench, self.images)


def read_roots(texts: Iterable[str] | None) -> dict[str, str]:
    """`NAME=DIR` of each source."""
    roots = {}
    for text in texts or ():
        name, equals, root = text.partition("=")
        if not (name and equals and root):
            raise SampleError(f"--read {text}: give the name of a source and its folder, as NAME=DIR")
        if re.search(r",\w+=", root):
            raise SampleError(
                f"--read {text}: its options are known from how this was built; give its folder alone, as "
                f"{name}={root.partition(',')[0]}"
            )
        roots[name] = root
    return roots
