"""`terrascope bench run`: a model, or whatever else can answer, is asked all questions."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

from terrascope.bench_commands.options import AskedBench, Bench, Seed
from terrascope.command_options import Bits, Device, DeviceMap, NumberFormat, ProfileName, read_source, with_options
from terrascope.errors import SampleError
from terrascope.quantities import list_counts

if TYPE_CHECKING:
    from terrascope.predictor import Predictor
    from terrascope.sources.chips import Chip

app = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class Answering:
    """What models are opened with; each is used only by those that need it."""

    device: Device = "auto"
    dtype: NumberFormat = "auto"
    device_map: DeviceMap = None
    quantization: Bits = None
    profile: ProfileName = None
    several: Annotated[
        Literal["images", "side-by-side", "one-by-one"],
        typer.Option("--several", help="How vlm: and endpoint: models are shown several images."),
    ] = "images"
    endpoint: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--endpoint", metavar="URL", help="Of endpoint: models; its key: TERRASCOPE_LLM_KEY."),
    ] = None
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="How long to wait for one reply of an endpoint.")
    ] = 120.0
    max_tokens: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--max-tokens", min=1, metavar="NUMBER", help="Longest reply of vlm: and endpoint: models."),
    ] = None
    training: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--training", metavar="DIR", help="The training data set that majority counts."),
    ] = None
    learn_from: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--learn-from", metavar="NAME=DIR", help="Labelled chips that forest learns from."),
    ] = None

    def settings(self) -> dict[str, Any]:
        """What decides the answers and was typed, as JSON values.

        Addresses and folders stand there as digests: whose they are is nobody's business, whether they are the same is.
        """
        from terrascope.bench.endpoint import address_digest
        from terrascope.bench.run_folder import data_digest

        told = {
            "dtype": self.dtype if self.dtype != "auto" else None,
            "quantization": self.quantization,
            "profile": self.profile,
            "several": self.several if self.several != "images" else None,
            "max_tokens": self.max_tokens,
            "endpoint": address_digest(self.endpoint) if self.endpoint else None,
            "training": data_digest(self.training) if self.training else None,
            "learn_from": [_name_source(text) for text in self.learn_from or ()] or None,
        }
        return {name: value for name, value in told.items() if value is not None}


@app.command()
@with_options
def run(
    bench: Bench,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the run; a begun one goes on.")],
    asked: AskedBench,
    answering: Answering,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAME",
            help="nano, a folder, or a repository of the hub; vlm:NAME, endpoint:NAME; random, majority, forest, "
            "oracle; and before any of these box:, random-mask:, random-box:, blank:, blank-optical: or blank-sar:.",
        ),
    ] = "nano",
    limit: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--limit", min=1, metavar="NUMBER", help="Ask the first so many; a later call goes on."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Ask once more what failed before.")] = False,
    seed: Seed = 0,
) -> None:
    """Ask a model all questions of a benchmark; a run that was stopped goes on. Exit code 1 if all of them failed."""
    from terrascope.progress import Waiting

    with Waiting("preparing") as waiting:
        from terrascope.bench.external import ExternalBenchmark
        from terrascope.bench.run import run as ask_all

        benchmark = asked.opened(bench, with_scenes=True)
        passed_over: Counter[str] = Counter()
        predictor = _open_predictor(model, answering, out, seed, passed_over)
        waiting.say("asking")
        report = ask_all(
            benchmark,
            predictor,
            out,
            name=model,
            settings={"seed": seed, **answering.settings()},
            progress=waiting.advance,
            limit=limit,
            again=again,
        )
    typer.echo(str(report))
    if isinstance(benchmark, ExternalBenchmark) and benchmark.skipped:
        typer.echo(f"left out: {list_counts(benchmark.skipped)}")
    if passed_over:
        typer.echo(f"chips that {model} could not learn from: {list_counts(passed_over)}")
    if report.all_failed:
        typer.echo(f"error: no question has an answer; mend what failed and start the same run again: {out}", err=True)
        raise typer.Exit(1)


def _open_predictor(name: str, answering: Answering, out: Path, seed: int, passed_over: Counter[str]) -> Predictor:
    """The predictor of a name; what it needs is loaded only then. Chips it cannot learn from are counted."""
    from terrascope.bench.predictors import Means, open_predictor

    means = Means(
        load_model=partial(_load_model, answering=answering),
        load_vlm=partial(_load_vlm, answering=answering),
        load_endpoint=partial(_open_endpoint, answering=answering, out=out),
        training=answering.training,
        seed=seed,
    )
    if answering.learn_from:
        means = replace(means, chips=partial(_training_chips, answering.learn_from, passed_over))
    return open_predictor(name, means)


def _load_model(name: str, answering: Answering) -> Predictor:
    from terrascope.model import TerraScope

    return TerraScope.from_pretrained(
        name,
        device=answering.device,
        dtype=answering.dtype,
        device_map=answering.device_map,
        quantization=answering.quantization,
        profile=answering.profile,
    )


def _load_vlm(name: str, answering: Answering) -> Predictor:
    from terrascope.model.vlm import VisionLanguageModel

    limits = {} if answering.max_tokens is None else {"max_new_tokens": answering.max_tokens}
    return VisionLanguageModel.from_pretrained(
        name, device=answering.device, dtype=answering.dtype, several=answering.several, **limits
    )


def _open_endpoint(name: str, answering: Answering, out: Path) -> Predictor:
    from terrascope.bench.endpoint import MAX_TOKENS, EndpointPredictor

    if answering.endpoint is None:
        raise SampleError(f"endpoint:{name} needs an address; give it with --endpoint URL")
    predictor = EndpointPredictor.at(
        name,
        answering.endpoint,
        several=answering.several,
        max_tokens=answering.max_tokens or MAX_TOKENS,
        timeout_s=answering.timeout,
        cache=out / "replies",
        log=out / "calls.jsonl",
    )
    predictor.endpoint.check()
    return predictor


def _name_source(text: str) -> str:
    """A source of `--learn-from` by its name, and by a digest of its folder and its options."""
    from terrascope.terracot.recipe import SourceRecipe

    source = SourceRecipe.of(read_source(text), "--learn-from")
    about = json.dumps([source.kind, str(source.root.resolve()), source.options], sort_keys=True)
    return f"{source.name} {hashlib.sha256(about.encode()).hexdigest()[:12]}"


def _training_chips(texts: Sequence[str], passed_over: Counter[str]) -> Iterable[Chip]:
    from terrascope.bench.baselines.forest import training_chips
    from terrascope.terracot.recipe import SourceRecipe

    for text in texts:
        source = SourceRecipe.of(read_source(text), "--learn-from").opened()
        yield from training_chips(source, passed_over=passed_over)
