"""`terrascope bench rephrase`, `export-review` and `import-review`: other words, and what experts say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from terrascope.bench_commands.options import Seed, read_roots
from terrascope.command_options import EndpointAddress, EndpointModel, Reading
from terrascope.errors import SampleError
from terrascope.quantities import list_counts

if TYPE_CHECKING:
    from terrascope.bench.rephrase import Rephraser
    from terrascope.bench.review import ReviewReport

app = typer.Typer()

Built = Annotated[Path, typer.Argument(metavar="BENCH", help="The folder of a benchmark.")]


@app.command()
def rephrase(
    bench: Built,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the reworded benchmark.")],
    writer: Annotated[
        Literal["offline", "llm"], typer.Option("--writer", help="Who words questions and wrong options.")
    ] = "offline",
    endpoint: EndpointAddress = None,
    model: EndpointModel = None,
    cache: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--cache", metavar="DIR", help="Replies of the language model; without it OUT.replies."),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", min=1, metavar="NUMBER", help="Questions that are asked about at a time.")
    ] = 4,
    seed: Seed = 0,
) -> None:
    """Give every question of a benchmark other words and other wrong options."""
    from terrascope.progress import Waiting

    with Waiting("rewording") as waiting:
        from terrascope.bench.rephrase import rephrase as reword

        rephraser = _open_rephraser(writer, endpoint, model, cache or out.with_name(f"{out.name}.replies"))
        done = reword(bench, out, rephraser, seed=seed, num_threads=threads, progress=waiting.advance)
    typer.echo(f"{out}: {done.num_rephrased:,} of {done.num_questions:,} questions reworded by {done.writer}")
    if done.kept:
        typer.echo(f"kept as they were: {list_counts(done.kept)}")
    for task, letters in done.letters.items():
        typer.echo(f"right letters of {task}: {list_counts(letters)}")


@app.command("export-review")
def export_review(
    bench: Built,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the projects of Label Studio.")],
    read: Reading = None,
    task: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--task", metavar="NAME", help="Kinds of question for these experts; without it, all."),
    ] = None,
    images_at: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--images-at", metavar="ADDRESS", help="Write images as files that Label Studio finds there."),
    ] = None,
) -> None:
    """Write the questions of a benchmark for experts, as projects of Label Studio."""
    from terrascope.progress import Waiting

    with Waiting("drawing") as waiting:
        from terrascope.bench.review_export import export_review as write
        from terrascope.bench.store import open_bench

        opened = open_bench(bench, read_roots(read))
        done = write(bench, out, opened.read_chip, tasks=task or (), image_root=images_at, progress=waiting.advance)
    for name, num in done.projects.items():
        typer.echo(f"{out / name}: {num:,} questions")
    if done.failed:
        typer.echo(f"left out: {list_counts(done.failed)}")


@app.command("import-review")
def import_review(
    bench: Annotated[Path, typer.Argument(metavar="BENCH", help="The benchmark that was reviewed.")],
    exports: Annotated[list[Path], typer.Argument(metavar="EXPORT", help="JSON exports of Label Studio.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the benchmark that is left.")],
    read: Reading = None,
    min_experts: Annotated[
        int, typer.Option("--min-experts", min=1, metavar="NUMBER", help="Who must have rated a question.")
    ] = 2,
) -> None:
    """Keep what all experts find good, with the masks that they have corrected."""
    from terrascope.progress import Waiting

    with Waiting("reading the reviews") as waiting:
        from terrascope.bench.review import import_review as take
        from terrascope.bench.store import open_bench

        opened = open_bench(bench, read_roots(read) or None)
        done = take(bench, exports, out, opened.read_chip, min_experts=min_experts, progress=waiting.advance)
    typer.echo("\n".join(_describe_review(done, out)))


def _open_rephraser(writer: str, endpoint: str | None, model: str | None, cache: Path) -> Rephraser:
    from terrascope.bench.rephrase import LlmRephraser, Templates
    from terrascope.llm import Endpoint
    from terrascope.terracot.recipe import settle

    if writer == "offline":
        if endpoint is not None or model is not None:
            raise SampleError("the offline composer asks no endpoint; choose --writer llm")
        return Templates()
    if model is None:
        raise SampleError("a language model has a name on its server; give it with --model")
    asked = settle(Endpoint, {"model": model, "cache": cache} | ({"base_url": endpoint} if endpoint else {}))
    asked.check()
    return LlmRephraser(endpoint=asked)


def _describe_review(done: ReviewReport, out: Path) -> Iterable[str]:
    """What the experts have left, line by line."""
    yield f"{out}: {done.num_kept:,} of {done.num_questions:,} questions kept, {done.num_corrected:,} with other masks"
    if done.dropped:
        yield f"dropped: {list_counts(done.dropped)}"
    yield f"ratings: {list_counts(done.ratings)}"
    if done.failed_checks:
        yield f"checks answered with no: {list_counts(done.failed_checks)}"
    yield f"experts: {list_counts(done.experts)}"
    agreement = done.agreement
    if agreement.unanimous is not None:
        kappa = "-" if agreement.fleiss_kappa is None else f"{agreement.fleiss_kappa:.2f}"
        yield (
            f"agreement over {agreement.num_questions:,} questions: {100 * agreement.unanimous:.0f} % unanimous, "
            f"Fleiss' kappa {kappa}"
        )
    if agreement.mask_iou is not None:
        yield f"IoU of {agreement.num_masks:,} corrected masks between experts: {agreement.mask_iou:.2f}"
    for question, expert, words in done.remarks:
        yield f"{question}, {expert}: {' '.join(words.split())}"
